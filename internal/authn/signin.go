package authn

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// Origin is where a request to prove something comes from.
type Origin struct {
	// Address is the client's IP address, without port, as found behind trusted proxies.
	Address   string
	UserAgent string
	// Correlation ties together everything that one request caused.
	Correlation string
	// Device is the long-lived token of a browser in which somebody signed in before (see
	// Session.Device), or "". It proves nothing; but others' failures don't slow down a browser
	// that the person is known by.
	Device string
}

// Attempt is one try to sign in.
type Attempt struct {
	// Login is an e-mail address or user name.
	Login    string
	Password keys.Secret
	// Replace is the session token that the browser holds, or "". It stands for nothing after
	// a success, so that nobody can plant a session in another's browser.
	Replace string
	// ApplicationID is the application that the person is on the way to, for the event; or "".
	ApplicationID string
	Origin

	// changing says that a signed-in person proves their password to change it.
	changing bool
}

// PasswordExpired is the error of a sign-in whose password was right, but has to be replaced
// first.
type PasswordExpired struct {
	// Token is of a one-time link, to be redeemed at once with a new password.
	Token keys.Secret
}

func (e *PasswordExpired) Error() string { return "authn: the password has to be replaced" }

// candidate is what a try is judged by.
type candidate struct {
	user   directory.User
	known  bool // there is such a person
	hash   string
	temp   bool
	places familiar
	tallies
}

// longestLogin is more than the longest e-mail address (RFC 5321 §4.5.3.1) in bytes.
const longestLogin = 512

// SignIn checks a password and starts a session. The token goes into the browser's cookie.
//
// A wrong password, an unknown name and a person who isn't active get the same Unauthenticated
// error after the same time. Too many failures give a Throttled error, which is also the same
// for known and unknown people. A right password that has expired gives *PasswordExpired.
// Asking a signed-in person to sign in again (ForceAuthn) is a SignIn with Replace: the session
// goes on with a new AuthenticatedAt.
func (a *Authn) SignIn(ctx context.Context, t Attempt) (Session, keys.Secret, error) {
	if len(t.Login) > longestLogin {
		t.Login = t.Login[:longestLogin]
	}
	t.Login = printable(t.Login)
	leave, err := a.throttle.enter(ctx, network(t.Address)+" "+store.Key(t.Login), a.throttle.name.free, a.hasher.wait)
	if err != nil {
		return Session{}, "", err
	}
	defer leave()
	now := a.now()
	var c candidate
	err = a.db.View(ctx, func(tx *store.Tx) (err error) {
		c, err = a.candidate(tx, now, t)
		return err
	})
	if err != nil {
		return Session{}, "", err
	}
	v := c.judge(now, c.places.network || c.places.device)
	if v.refuse > 0 {
		return Session{}, "", tooMany(v.refuse)
	}
	if v.told > 0 {
		// See throttle: tries from a network that is held up are checked a few at a time.
		leave, err := a.throttle.enter(ctx, "held up "+network(t.Address), checkedInHeldUp, a.hasher.wait)
		if err != nil {
			return Session{}, "", err
		}
		defer leave()
	}
	stored := ""
	if v.check {
		stored = c.hash
	}
	match, again, err := a.hasher.verify(ctx, stored, t.Password)
	if err != nil {
		return Session{}, "", err
	}
	if !match || c.user.State != directory.Active {
		return Session{}, "", a.failed(ctx, t, c, v, match)
	}
	if again {
		if err := a.rehash(ctx, c, t.Password); err != nil {
			a.log.WarnContext(ctx, "a password was not hashed anew", "user", c.user.ID, "error", err)
		}
	}
	return a.succeeded(ctx, t, c)
}

func (a *Authn) candidate(tx *store.Tx, now time.Time, t Attempt) (candidate, error) {
	var c candidate
	u, err := directory.FindByLogin(tx, t.Login)
	switch {
	case err == nil:
		c.user, c.known = u, true
	case !problem.Is(err, problem.NotFound):
		return c, err
	}
	// The same reads for somebody unknown, so that they take the same time.
	c.hash, c.temp, err = readPassword(tx, c.user.ID)
	if err != nil {
		return c, err
	}
	if c.places, err = readFamiliar(tx, c.user.ID, t.Origin, now); err != nil {
		return c, err
	}
	c.tallies, err = a.throttle.read(tx, t.Login, c.subject(t.Login), c.places, t.Origin)
	return c, err
}

// subject returns whom hidden counters are about.
func (c candidate) subject(login string) string {
	if c.known {
		return string(c.user.ID)
	}
	return "?" + store.Key(login)
}

var errWrong = problem.New(problem.Unauthenticated,
	"That didn't work. Check the e-mail address or user name and the password. If they are right, wait a minute, then ask your administrator whether your account is active.")

// failed counts and tells a failure, and returns the error for the person.
func (a *Authn) failed(ctx context.Context, t Attempt, c candidate, v verdict, match bool) error {
	now := a.now()
	reason := "wrong password"
	switch {
	case !c.known:
		reason = "unknown name"
	case match:
		reason = "account is " + string(c.user.State)
	case !v.check:
		reason = "too many failures before"
	case c.hash == "":
		reason = "no password set yet"
	}
	actor := access.Actor{Kind: access.Person, Name: shownLogin(t.Login), Address: t.Address, Correlation: t.Correlation}
	object := audit.Ref{Kind: audit.KindUser, Name: shownLogin(t.Login)}
	if c.known {
		object = personRef(c.user)
	}
	event := audit.Event{
		Type: attemptType(c.user), Outcome: audit.Failure, Actor: actor, Object: object, ApplicationID: t.ApplicationID,
		Message: "Sign-in as " + object.Name + " failed: " + reason + ".",
		Detail:  map[string]any{"reason": reason, "userAgent": clip(t.UserAgent, maxAgent)},
	}
	if match {
		event.Outcome = audit.Denied
	}
	if t.changing {
		event.Actor = personActor(c.user, t.Address, t.Correlation)
		event.Message = object.Name + " wanted to change their password, but typed a wrong one."
	}
	err := a.db.Update(ctx, func(tx *store.Tx) error {
		if _, err := audit.Record(tx, now, event); err != nil {
			return err
		}
		begun, err := fail(tx, now, v.count)
		if err != nil {
			return err
		}
		for _, x := range begun {
			if x.key == c.tallies.name.key {
				continue // goes together with "account"
			}
			lock := audit.Event{Type: audit.UserLockout, Outcome: audit.Denied, Actor: actor, Object: object, Detail: map[string]any{"counter": x.counter.name, "failures": x.free}}
			if x.key == c.tallies.network.key {
				lock.Object = audit.Ref{}
				lock.Message = "Sign-in from the network " + network(t.Address) + " is slowed down after " + itoa(x.free) + " failures."
			} else {
				lock.Message = "Sign-in as " + object.Name + " is slowed down after " + itoa(x.free) + " failures."
			}
			if _, err := audit.Record(tx, now, lock); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if v.told > 0 {
		return tooMany(v.told)
	}
	return errWrong
}

// shownLogin returns what an event shows of a typed name that may belong to nobody: people
// sometimes type a password there, so only what looks like an e-mail address is shown.
func shownLogin(login string) string {
	s := clip(strings.TrimSpace(login), 254)
	local, domain, ok := strings.Cut(s, "@")
	if ok && local != "" && strings.Contains(domain, ".") && !strings.ContainsAny(s, " \t") {
		return s
	}
	return "(a user name)"
}

func attemptType(u directory.User) audit.Type {
	if u.Role != access.None {
		return audit.AdminLoginAttempt
	}
	return audit.UserLoginAttempt
}

// succeeded starts the session, unless something changed while the password was checked.
func (a *Authn) succeeded(ctx context.Context, t Attempt, c candidate) (Session, keys.Secret, error) {
	now := a.now()
	var s Session
	var token keys.Secret
	var expired *PasswordExpired
	err := a.db.Update(ctx, func(tx *store.Tx) error {
		s, token, expired = Session{}, "", nil
		u, err := directory.GetUser(tx, c.user.ID)
		if problem.Is(err, problem.NotFound) {
			return errWrong
		}
		if err != nil {
			return err
		}
		if u.State != directory.Active || u.SessionEpoch != c.user.SessionEpoch {
			return errWrong
		}
		if err := c.forgive(tx); err != nil {
			return err
		}
		actor := personActor(u, t.Address, t.Correlation)
		event := audit.Event{
			Type: attemptType(u), Actor: actor, Object: personRef(u), ApplicationID: t.ApplicationID,
			Detail: map[string]any{"factors": []string{"pwd"}, "userAgent": clip(t.UserAgent, maxAgent)},
		}
		if c.temp || u.PasswordStatus == directory.PasswordExpired {
			link, err := insertLink(tx, now, Renewal, u.ID, renewalLife)
			if err != nil {
				return err
			}
			expired = &PasswordExpired{Token: link}
			event.Outcome, event.Message = audit.Denied, u.Name()+" has to choose a new password before signing in."
			event.Detail["reason"] = "password expired"
		} else {
			if s, token, err = a.startSession(tx, now, u, "pwd", t.Replace, t.Origin); err != nil {
				return err
			}
			if s.Device, err = remember(tx, now, u.ID, c.places, t.Origin); err != nil {
				return err
			}
			event.Message = u.Name() + " signed in."
			event.Detail["session"] = s.ID
		}
		_, err = audit.Record(tx, now, event)
		return err
	})
	if err != nil {
		return Session{}, "", err
	}
	if expired != nil {
		return Session{}, "", expired
	}
	return s, token, nil
}

// remember makes the place of a success known, and returns the token for a new device.
func remember(tx *store.Tx, now time.Time, id directory.UserID, known familiar, from Origin) (keys.Secret, error) {
	if known.device {
		return "", markFamiliar(tx, id, now, networkPlace(from.Address), devicePlace(from.Device))
	}
	// A browser that others are known by keeps its token, and becomes known for this person too.
	if place := devicePlace(from.Device); place != "" {
		return "", markFamiliar(tx, id, now, networkPlace(from.Address), place)
	}
	device := newToken()
	return device, markFamiliar(tx, id, now, networkPlace(from.Address), "dev:"+mustHash(device))
}

// rehash stores a password that was just proved at today's cost, if it is still the same one.
func (a *Authn) rehash(ctx context.Context, c candidate, pw keys.Secret) error {
	hash, err := a.hasher.hash(ctx, pw)
	if err != nil {
		return err
	}
	return a.db.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE passwords SET hash = $3 WHERE user_id = $1 AND hash = $2`, string(c.user.ID), c.hash, hash)
		return err
	})
}

func readPassword(tx *store.Tx, id directory.UserID) (hash string, temporary bool, err error) {
	type row struct {
		hash string
		temp bool
	}
	r, err := store.One(tx, func(r store.Row) (x row, err error) {
		err = r.Scan(&x.hash, &x.temp)
		return x, err
	}, `SELECT hash, temporary FROM passwords WHERE user_id = $1`, string(id))
	if errors.Is(err, store.ErrNotFound) {
		return "", false, nil
	}
	return r.hash, r.temp, err
}
