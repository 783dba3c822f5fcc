package authn

import (
	"context"
	"errors"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// Owner is who a new installation begins with.
type Owner struct {
	Email string
	// Username is the e-mail address when empty.
	Username   string
	GivenName  string
	FamilyName string
	Password   keys.Secret
	// Organization is the organization's name; empty leaves it as it is.
	Organization string
}

// NeedsSetup reports whether there is no owner yet.
func (a *Authn) NeedsSetup(ctx context.Context) (bool, error) {
	if a.owned.Load() {
		return false, nil
	}
	var owned bool
	err := a.db.View(ctx, func(tx *store.Tx) (err error) {
		owned, err = hasOwner(tx)
		return err
	})
	if owned {
		// The directory never lets the last owner go, so this stays true.
		a.owned.Store(true)
	}
	return !owned, err
}

func hasOwner(tx *store.Tx) (bool, error) {
	_, err := store.One(tx, store.Scalar[string], `SELECT id FROM users WHERE role = $1 AND role <> '' LIMIT 1`, string(access.Owner))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func setUpAlready() error {
	return problem.New(problem.Conflict, "This installation is set up already. Sign in, or ask one of its owners.")
}

// NewSetupLink makes a one-time link that makes the first owner, for whoever reads the
// program's own output. It holds for a day. A Conflict error if there is an owner.
func (a *Authn) NewSetupLink(ctx context.Context) (keys.Secret, error) {
	now := a.now()
	var token keys.Secret
	err := a.db.Update(ctx, func(tx *store.Tx) error {
		owned, err := hasOwner(tx)
		if err != nil {
			return err
		}
		if owned {
			return setUpAlready()
		}
		token, err = insertLink(tx, now, Setup, "", setupLife)
		return err
	})
	if err != nil {
		return "", err
	}
	return token, nil
}

// CompleteSetup makes the first owner by a link of NewSetupLink, names the organization, and
// signs the owner in. Input that isn't accepted leaves the link as it was.
func (a *Authn) CompleteSetup(ctx context.Context, token string, o Owner, replace string, from Origin) (Session, keys.Secret, error) {
	l, err := a.Link(ctx, token)
	if err != nil {
		return Session{}, "", err
	}
	if l.Purpose != Setup {
		return Session{}, "", staleLink()
	}
	hash, err := a.prepare(ctx, o)
	if err != nil {
		return Session{}, "", err
	}
	now := a.now()
	by := access.SystemActor(from.Correlation)
	by.Address = from.Address
	var s Session
	var session keys.Secret
	err = a.db.Update(ctx, func(tx *store.Tx) error {
		// Before the link: who set up at once wait for each other here, each with no lock yet.
		if err := claimSetup(tx, now); err != nil {
			return err
		}
		if _, err := consumeLink(tx, now, token); err != nil {
			return err
		}
		u, err := a.firstOwner(tx, now, by, o, hash)
		if err != nil {
			return err
		}
		s, session, err = a.enter(tx, now, u.ID, replace, from)
		return err
	})
	if err != nil {
		return Session{}, "", err
	}
	return s, session, nil
}

// CreateOwner makes the first owner for whoever runs the program itself. A Conflict error if
// there is one.
func (a *Authn) CreateOwner(ctx context.Context, o Owner) (directory.User, error) {
	hash, err := a.prepare(ctx, o)
	if err != nil {
		return directory.User{}, err
	}
	now := a.now()
	var u directory.User
	err = a.db.Update(ctx, func(tx *store.Tx) (err error) {
		if err := claimSetup(tx, now); err != nil {
			return err
		}
		u, err = a.firstOwner(tx, now, access.SystemActor(""), o, hash)
		return err
	})
	return u, err
}

// prepare checks what can be checked before and hashes the password.
func (a *Authn) prepare(ctx context.Context, o Owner) (string, error) {
	if needs, err := a.NeedsSetup(ctx); err != nil {
		return "", err
	} else if !needs {
		return "", setUpAlready()
	}
	if err := a.CheckPasswordPolicy(o.Password, directory.User{Attributes: o.attributes()}); err != nil {
		return "", err
	}
	return a.hasher.hash(ctx, o.Password)
}

func (o Owner) attributes() directory.Attributes {
	return directory.Attributes{
		Username: o.Username, Email: o.Email,
		Profile: directory.Profile{GivenName: o.GivenName, FamilyName: o.FamilyName},
	}
}

// claimSetup refuses when there is an owner. Two that set up at once would both see none, so a
// row that only one can write decides.
func claimSetup(tx *store.Tx, now time.Time) error {
	_, err := tx.Exec(`INSERT INTO settings (key, value, updated_at) VALUES ('setup', '{"done":true}', $1)`, store.Micros(now))
	if store.Unique(err) != "" {
		return setUpAlready()
	}
	if err != nil {
		return err
	}
	owned, err := hasOwner(tx)
	if err == nil && owned {
		return setUpAlready()
	}
	return err
}

func (a *Authn) firstOwner(tx *store.Tx, now time.Time, by access.Actor, o Owner, hash string) (directory.User, error) {
	u, err := a.directory.CreateUserIn(tx, by, directory.NewUser{Attributes: o.attributes(), State: directory.Active, Role: access.Owner})
	if err != nil {
		return u, err
	}
	if o.Organization != "" {
		if err := directory.SetOrganization(tx, now, by, directory.Organization{Name: o.Organization}); err != nil {
			return u, err
		}
	}
	if err := a.storePassword(tx, now, by, u, hash, false, "", u.Name()+" became the first owner."); err != nil {
		return u, err
	}
	// Set-up links that others hold end with the set-up.
	_, err = tx.Exec(`UPDATE one_time_links SET consumed_at = $2 WHERE purpose = $1 AND consumed_at = 0`, string(Setup), store.Micros(now))
	return u, err
}
