package authn

import (
	"context"
	"strconv"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
)

func itoa(n int) string { return strconv.Itoa(n) }

// SetPassword gives somebody else a password, ends their sessions and makes their one-time
// links void. A temporary one has to be replaced at the next sign-in. Needs ResetSignIn and a
// role as strong as the person's.
func (a *Authn) SetPassword(ctx context.Context, by access.Actor, id directory.UserID, pw keys.Secret, temporary bool) error {
	if own(by, id) {
		return problem.New(problem.Forbidden, "Change your own password on your Security page.")
	}
	var u directory.User
	err := a.db.View(ctx, func(tx *store.Tx) (err error) {
		if u, err = directory.GetUser(tx, id); err != nil {
			return err
		}
		return mayTouch(by, u)
	})
	if err != nil {
		return err
	}
	if err := a.CheckPasswordPolicy(pw, u); err != nil {
		return err
	}
	hash, err := a.hasher.hash(ctx, pw)
	if err != nil {
		return err
	}
	now := a.now()
	return a.db.Update(ctx, func(tx *store.Tx) error {
		u, err := directory.GetUser(tx, id)
		if err != nil {
			return err
		}
		if err := mayTouch(by, u); err != nil {
			return err
		}
		message := by.Name + " set the password of " + u.Name() + "."
		if temporary {
			message = by.Name + " set a temporary password for " + u.Name() + "."
		}
		return a.storePassword(tx, now, by, u, hash, temporary, "", message)
	})
}

// storePassword writes a password, with all that follows from it: status, the end of sessions
// but one, the end of one-time links, and the event.
func (a *Authn) storePassword(tx *store.Tx, now time.Time, by access.Actor, u directory.User, hash string, temporary bool, keep, message string) error {
	_, err := tx.Exec(`INSERT INTO passwords (user_id, hash, temporary, changed_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash, temporary = excluded.temporary, changed_at = excluded.changed_at`,
		string(u.ID), hash, temporary, store.Micros(now))
	if err != nil {
		return err
	}
	status := directory.PasswordCurrent
	if temporary {
		status = directory.PasswordExpired
	}
	if err := directory.SetPasswordStatus(tx, now, u.ID, status); err != nil {
		return err
	}
	if _, err := endSessions(tx, u, keep); err != nil {
		return err
	}
	if err := voidLinks(tx, now, u.ID); err != nil {
		return err
	}
	_, err = audit.Record(tx, now, audit.Event{
		Type: audit.UserPasswordSet, Actor: by, Object: personRef(u), Message: message,
		Detail: map[string]any{"temporary": temporary},
	})
	return err
}

// ChangePassword replaces a signed-in person's password, proved by the current one. Their other
// sessions end and their one-time links are void; s goes on. Failures are slowed down like
// those of sign-in.
func (a *Authn) ChangePassword(ctx context.Context, s Session, from Origin, current, replacement keys.Secret) error {
	t := Attempt{Login: s.User.Username, Password: current, Origin: from, changing: true}
	leave, err := a.throttle.enter(ctx, network(from.Address)+" "+store.Key(t.Login), a.throttle.name.free, a.hasher.wait)
	if err != nil {
		return err
	}
	defer leave()
	now := a.now()
	var c candidate
	err = a.db.View(ctx, func(tx *store.Tx) (err error) {
		c, err = a.candidate(tx, now, t)
		return err
	})
	if err != nil {
		return err
	}
	if c.user.ID != s.User.ID {
		return signedOut() // deleted or renamed just now
	}
	// Here the person is known anyway, so nothing needs to be hidden.
	if d := max(c.tallies.name.blocked(now), c.tallies.account.blocked(now)); d > 0 {
		return tooMany(d)
	}
	match, _, err := a.hasher.verify(ctx, c.hash, current)
	if err != nil {
		return err
	}
	if !match {
		v := verdict{check: true, count: []*tally{&c.tallies.name, &c.tallies.account}}
		if err := a.failed(ctx, t, c, v, false); !problem.Is(err, problem.Unauthenticated) {
			return err
		}
		return problem.InvalidField("current", "This isn't your current password. Check it and try again.")
	}
	if current == replacement {
		return problem.InvalidField("password", "This is the password you have now. Choose another one.")
	}
	if err := a.CheckPasswordPolicy(replacement, c.user); err != nil {
		return err
	}
	hash, err := a.hasher.hash(ctx, replacement)
	if err != nil {
		return err
	}
	now = a.now()
	return a.db.Update(ctx, func(tx *store.Tx) error {
		u, err := directory.GetUser(tx, s.User.ID)
		if err != nil {
			return err
		}
		if u.State != directory.Active || u.SessionEpoch != c.user.SessionEpoch {
			return signedOut()
		}
		if err := c.forgive(tx); err != nil {
			return err
		}
		by := personActor(u, from.Address, from.Correlation)
		return a.storePassword(tx, now, by, u, hash, false, s.ID, u.Name()+" changed their password.")
	})
}
