package authn

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/store"
)

var errLater = errors.New("authn: not there yet")

const maxPassword = 256

type policy struct{ min int }
type hasher struct{}
type throttle struct{}
type seen struct{}

func newHasher(Argon2, int, time.Duration) *hasher { return nil }
func newThrottle(Limits) throttle                  { return throttle{} }
func newSeen() seen                                { return seen{} }
func (s *seen) run(ctx context.Context, a *Authn) error {
	<-ctx.Done()
	return nil
}

// Argon2 is the cost of an Argon2id hash (RFC 9106).
type Argon2 struct {
	// Memory is in KiB.
	Memory uint32
	// Passes is the number of passes over the memory.
	Passes  uint32
	Threads uint8
}

// DefaultArgon2 is 19 MiB, two passes, one thread: about 20 ms.
func DefaultArgon2() Argon2 { return Argon2{Memory: 19 * 1024, Passes: 2, Threads: 1} }

func (p Argon2) check() error { return nil }

// Limits is how much guessing is borne.
type Limits struct {
	// Account is how many failures for one account from one place are free; default 5.
	Account int
	// Strange is how many failures for one account from all places it isn't known at are free; default 50.
	Strange int
	// Network is how many failures from one network are free; default 100.
	Network int
}

// PasswordExpired is the error of a sign-in whose password was right, but has to be replaced.
type PasswordExpired struct {
	// Token is of a one-time link, to be redeemed with a new password.
	Token keys.Secret
}

func (e *PasswordExpired) Error() string { return "authn: the password has to be replaced" }

// ErrStale is in the chain of the NotFound error for a flow or link that doesn't exist, has expired or was used.
var ErrStale = errors.New("authn: expired or used")

func (a *Authn) SignIn(ctx context.Context, t Attempt) (Session, keys.Secret, error) {
	return Session{}, "", errLater
}
func (a *Authn) Session(ctx context.Context, token string) (Session, error) {
	return Session{}, errLater
}
func (a *Authn) SignOut(ctx context.Context, token string) error { return errLater }
func (a *Authn) Sessions(ctx context.Context, by access.Actor, id directory.UserID) ([]Session, error) {
	return nil, errLater
}
func (a *Authn) RevokeSession(ctx context.Context, by access.Actor, id string) error { return errLater }
func (a *Authn) RevokeAll(ctx context.Context, by access.Actor, id directory.UserID) error {
	return errLater
}
func (a *Authn) SetPassword(ctx context.Context, by access.Actor, id directory.UserID, pw keys.Secret, temporary bool) error {
	return errLater
}
func (a *Authn) ChangePassword(ctx context.Context, s Session, from Origin, current, replacement keys.Secret) error {
	return errLater
}
func (a *Authn) CheckPasswordPolicy(pw keys.Secret, u directory.User) error { return errLater }

// Flow is what was asked for while the person proves who they are.
type Flow struct {
	Kind      string
	Data      json.RawMessage
	CreatedAt time.Time
	ExpiresAt time.Time
}

// ReturnTo is the local path that Data's "returnTo" names, or "".
func (f Flow) ReturnTo() string { return "" }

func StartFlow(tx *store.Tx, now time.Time, kind string, data any, ttl time.Duration) (string, error) {
	return "", errLater
}
func (a *Authn) Flow(ctx context.Context, token string) (Flow, error) { return Flow{}, errLater }
func ConsumeFlow(tx *store.Tx, now time.Time, token string) (Flow, error) {
	return Flow{}, errLater
}

// APIKey lets a program act with a role.
type APIKey struct {
	ID         string
	Name       string
	Role       access.Role
	CreatedBy  string
	CreatedAt  time.Time
	ExpiresAt  time.Time
	LastUsedAt time.Time
	RevokedAt  time.Time
}

func (a *Authn) CreateAPIKey(ctx context.Context, by access.Actor, name string, role access.Role, expires time.Time) (APIKey, keys.Secret, error) {
	return APIKey{}, "", errLater
}
func (a *Authn) APIKeys(ctx context.Context, by access.Actor) ([]APIKey, error) { return nil, errLater }
func (a *Authn) RevokeAPIKey(ctx context.Context, by access.Actor, id string) error {
	return errLater
}
func (a *Authn) APIKeyActor(ctx context.Context, secret keys.Secret, address, correlation string) (access.Actor, error) {
	return access.Actor{}, errLater
}

// Owner is who a new installation begins with.
type Owner struct {
	Email, Username, GivenName, FamilyName string
	Password                               keys.Secret
	// Organization is the organization's name; "" leaves it as it is.
	Organization string
}

// Purpose says what a one-time link is for.
type Purpose string

const (
	Setup      Purpose = "setup"
	Activation Purpose = "activation"
	Reset      Purpose = "reset"
	Replace    Purpose = "replace"
)

// Link is a one-time link that can still be redeemed.
type Link struct {
	Purpose   Purpose
	User      directory.User
	ExpiresAt time.Time
}

func (a *Authn) NeedsSetup(ctx context.Context) (bool, error)          { return false, errLater }
func (a *Authn) NewSetupLink(ctx context.Context) (keys.Secret, error) { return "", errLater }
func (a *Authn) CreateOwner(ctx context.Context, o Owner) (directory.User, error) {
	return directory.User{}, errLater
}
func (a *Authn) CompleteSetup(ctx context.Context, token string, o Owner, from Origin) (Session, keys.Secret, error) {
	return Session{}, "", errLater
}
func (a *Authn) NewLink(ctx context.Context, by access.Actor, id directory.UserID, purpose Purpose, ttl time.Duration) (keys.Secret, error) {
	return "", errLater
}
func (a *Authn) Link(ctx context.Context, token string) (Link, error) { return Link{}, errLater }
func (a *Authn) RedeemLink(ctx context.Context, token string, pw keys.Secret, from Origin) (Session, keys.Secret, error) {
	return Session{}, "", errLater
}

// Prune deletes what has expired.
func (a *Authn) Prune(ctx context.Context) error { return errLater }
