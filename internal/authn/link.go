package authn

import (
	"context"
	"errors"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// Purpose says what a one-time link is for.
type Purpose string

// The purposes.
const (
	// Setup makes the first owner of a new installation.
	Setup Purpose = "setup"
	// Activation lets a person choose their first password.
	Activation Purpose = "activation"
	// Reset lets a person who forgot their password choose another.
	Reset Purpose = "reset"
	// Renewal follows a sign-in with a password that has to be replaced.
	Renewal Purpose = "renewal"
)

const (
	renewalLife = 15 * time.Minute
	setupLife   = 24 * time.Hour
	// longestLink is the longest life of a link that somebody asks for.
	longestLink = 30 * 24 * time.Hour
)

// Link is a one-time link that can still be redeemed.
type Link struct {
	Purpose Purpose
	// User is who it is for; zero for Setup.
	User      directory.User
	ExpiresAt time.Time
}

func insertLink(tx *store.Tx, now time.Time, p Purpose, id directory.UserID, life time.Duration) (keys.Secret, error) {
	token := newToken()
	_, err := tx.Exec(`INSERT INTO one_time_links (token_hash, purpose, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)`,
		mustHash(token), string(p), string(id), store.Micros(now), store.Micros(now.Add(life)))
	return token, err
}

// voidLinks makes all links of a person void.
func voidLinks(tx *store.Tx, now time.Time, id directory.UserID) error {
	_, err := tx.Exec(`UPDATE one_time_links SET consumed_at = $2 WHERE user_id = $1 AND consumed_at = 0`, string(id), store.Micros(now))
	return err
}

// NewLink makes a one-time link for an active person, Activation or Reset, that holds for ttl
// (at most 30 days), and makes their earlier ones void. The token goes to the person and is
// never shown again. Needs ResetSignIn and a role as strong as the person's.
func (a *Authn) NewLink(ctx context.Context, by access.Actor, id directory.UserID, purpose Purpose, ttl time.Duration) (keys.Secret, error) {
	if purpose != Activation && purpose != Reset {
		return "", problem.InvalidField("purpose", "A link is for activation or reset.")
	}
	if ttl <= 0 || ttl > longestLink {
		return "", problem.InvalidField("ttl", "A link can hold for up to 30 days.")
	}
	now := a.now()
	var token keys.Secret
	err := a.db.Update(ctx, func(tx *store.Tx) error {
		u, err := directory.GetUser(tx, id)
		if err != nil {
			return err
		}
		if err := mayTouch(by, u); err != nil {
			return err
		}
		if u.State != directory.Active {
			return problem.New(problem.Conflict, "%s isn't active. Activate the account first, then make the link.", u.Name())
		}
		if err := voidLinks(tx, now, id); err != nil {
			return err
		}
		if token, err = insertLink(tx, now, purpose, id, ttl); err != nil {
			return err
		}
		_, err = audit.Record(tx, now, audit.Event{
			Type: audit.OneTimeLinkCreate, Actor: by, Object: personRef(u),
			Message: by.Name + " made a link for " + u.Name() + " to choose a password.",
			Detail:  map[string]any{"purpose": string(purpose), "expires": now.Add(ttl).UTC().Format(time.RFC3339)},
		})
		return err
	})
	if err != nil {
		return "", err
	}
	return token, nil
}

func staleLink() error {
	return problem.Wrap(problem.NotFound, ErrStale, "This link has expired or was used already. Ask your administrator for a new one.")
}

type linkRow struct {
	purpose Purpose
	user    directory.UserID
	expires int64
}

func scanLink(r store.Row) (linkRow, error) {
	var l linkRow
	err := r.Scan(&l.purpose, &l.user, &l.expires)
	return l, err
}

const linkColumns = `purpose, user_id, expires_at`

// Link returns a link that can still be redeemed, or a NotFound error with ErrStale. A person's
// link is void while they aren't active.
func (a *Authn) Link(ctx context.Context, token string) (Link, error) {
	hash, ok := tokenHash(token)
	if !ok {
		return Link{}, staleLink()
	}
	var l Link
	err := a.db.View(ctx, func(tx *store.Tx) error {
		row, err := store.One(tx, scanLink, `SELECT `+linkColumns+` FROM one_time_links
			WHERE token_hash = $1 AND consumed_at = 0 AND expires_at > $2`, hash, store.Micros(a.now()))
		if err != nil {
			return err
		}
		l, err = row.link(tx)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return Link{}, staleLink()
	}
	return l, err
}

// link reads who the link is for.
func (r linkRow) link(tx *store.Tx) (Link, error) {
	l := Link{Purpose: r.purpose, ExpiresAt: store.FromMicros(r.expires)}
	if r.purpose == Setup {
		return l, nil
	}
	u, err := directory.GetUser(tx, r.user)
	if problem.Is(err, problem.NotFound) || err == nil && u.State != directory.Active {
		return l, staleLink()
	}
	l.User = u
	return l, err
}

// consumeLink returns a link and makes sure that nobody gets it again: of any number of callers
// on any replica exactly one gets it.
func consumeLink(tx *store.Tx, now time.Time, token string) (Link, error) {
	hash, ok := tokenHash(token)
	if !ok {
		return Link{}, staleLink()
	}
	row, err := store.One(tx, scanLink, `UPDATE one_time_links SET consumed_at = $2 WHERE token_hash = $1 AND consumed_at = 0 AND expires_at > $2
		RETURNING `+linkColumns, hash, store.Micros(now))
	if errors.Is(err, store.ErrNotFound) {
		return Link{}, staleLink()
	}
	if err != nil {
		return Link{}, err
	}
	return row.link(tx)
}

// RedeemLink gives the person of a link the password that they chose, ends their sessions, and
// signs them in. A password that isn't accepted leaves the link as it was. replace is as in
// Attempt.
func (a *Authn) RedeemLink(ctx context.Context, token string, pw keys.Secret, replace string, from Origin) (Session, keys.Secret, error) {
	l, err := a.Link(ctx, token)
	if err != nil {
		return Session{}, "", err
	}
	if l.Purpose == Setup {
		return Session{}, "", staleLink()
	}
	if err := a.CheckPasswordPolicy(pw, l.User); err != nil {
		return Session{}, "", err
	}
	if l.Purpose == Renewal {
		if err := a.isNew(ctx, l.User, pw); err != nil {
			return Session{}, "", err
		}
	}
	hash, err := a.hasher.hash(ctx, pw)
	if err != nil {
		return Session{}, "", err
	}
	now := a.now()
	var s Session
	var session keys.Secret
	err = a.db.Update(ctx, func(tx *store.Tx) error {
		l, err := consumeLink(tx, now, token)
		if err != nil {
			return err
		}
		by := personActor(l.User, from.Address, from.Correlation)
		if err := a.storePassword(tx, now, by, l.User, hash, false, "", l.User.Name()+" chose a password by a one-time link."); err != nil {
			return err
		}
		s, session, err = a.enter(tx, now, l.User.ID, replace, from)
		return err
	})
	if err != nil {
		return Session{}, "", err
	}
	return s, session, nil
}

// isNew refuses the password that a person has now as its own replacement.
func (a *Authn) isNew(ctx context.Context, u directory.User, pw keys.Secret) error {
	var old string
	err := a.db.View(ctx, func(tx *store.Tx) (err error) {
		old, _, err = readPassword(tx, u.ID)
		return err
	})
	if err != nil {
		return err
	}
	same, _, err := a.hasher.verify(ctx, old, pw)
	if err == nil && same {
		return problem.InvalidField("password", "This is the password that has to be replaced. Choose another one.")
	}
	return err
}

// enter signs in a person who has just set their password.
func (a *Authn) enter(tx *store.Tx, now time.Time, id directory.UserID, replace string, from Origin) (Session, keys.Secret, error) {
	u, err := directory.GetUser(tx, id) // with the epoch and status of now
	if err != nil {
		return Session{}, "", err
	}
	known, err := readFamiliar(tx, id, from, now)
	if err != nil {
		return Session{}, "", err
	}
	s, token, err := a.startSession(tx, now, u, "pwd", replace, from)
	if err != nil {
		return s, "", err
	}
	if s.Device, err = remember(tx, now, id, known, from); err != nil {
		return s, "", err
	}
	_, err = audit.Record(tx, now, audit.Event{
		Type: attemptType(u), Actor: personActor(u, from.Address, from.Correlation), Object: personRef(u), Message: u.Name() + " signed in.",
		Detail: map[string]any{"factors": []string{"pwd"}, "session": s.ID, "userAgent": clip(from.UserAgent, maxAgent)},
	})
	return s, token, err
}
