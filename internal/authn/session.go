package authn

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// Factor is one proof that a session rests on.
type Factor struct {
	// Method is an authentication method reference of RFC 8176; "pwd" for a password.
	Method string    `json:"method"`
	At     time.Time `json:"at"`
}

// Session is a signed-in person in one browser.
type Session struct {
	ID   string
	User directory.User
	// Factors are the proofs given at AuthenticatedAt.
	Factors []Factor
	// AuthenticatedAt is when the person last proved who they are; signing in again moves it.
	AuthenticatedAt time.Time
	CreatedAt       time.Time
	// SeenAt is when the session was last used, to the minute.
	SeenAt time.Time
	// ExpiresAt is the end that use doesn't move.
	ExpiresAt time.Time
	// Address and UserAgent are those of the last sign-in.
	Address   string
	UserAgent string
	// Device is set by a sign-in in a browser that the person wasn't known by: the token by
	// which it shall be known, to be kept there for a year and given in Origin.Device.
	Device keys.Secret
}

// Actor returns the person as who acts from address under a correlation id.
func (s Session) Actor(address, correlation string) access.Actor {
	return personActor(s.User, address, correlation)
}

func personActor(u directory.User, address, correlation string) access.Actor {
	return access.Actor{Kind: access.Person, ID: string(u.ID), Name: u.Email, Role: u.Role, Address: address, Correlation: correlation}
}

func personRef(u directory.User) audit.Ref {
	return audit.Ref{Kind: audit.KindUser, ID: string(u.ID), Name: u.Name()}
}

// sessionSelect reads sessions with their people, and only those that still hold: the person
// is active, and nothing ended all of their sessions since.
var sessionSelect = `SELECT s.id, s.factors, s.authenticated_at, s.address, s.user_agent, s.created_at, s.seen_at, s.expires_at, ` +
	directory.UserColumns("u") + ` FROM sessions s JOIN users u ON u.id = s.user_id
	WHERE s.epoch = u.session_epoch AND u.state = '` + string(directory.Active) + `' AND `

func scanSession(r store.Row) (Session, error) {
	var s Session
	var factors string
	var authenticated, created, seen, expires int64
	var err error
	s.User, err = directory.ScanUser(r, &s.ID, &factors, &authenticated, &s.Address, &s.UserAgent, &created, &seen, &expires)
	if err != nil {
		return s, err
	}
	s.AuthenticatedAt, s.CreatedAt = store.FromMicros(authenticated), store.FromMicros(created)
	s.SeenAt, s.ExpiresAt = store.FromMicros(seen), store.FromMicros(expires)
	return s, json.Unmarshal([]byte(factors), &s.Factors)
}

func (a *Authn) holds(s Session, now time.Time) bool {
	return now.Before(s.ExpiresAt) && now.Sub(s.SeenAt) < a.idle
}

// Session returns the session that a browser's token stands for. If there is none, it has
// ended, or the person isn't active any more, the error is Unauthenticated. It reads one row.
func (a *Authn) Session(ctx context.Context, token string) (Session, error) {
	if _, ok := tokenHash(token); !ok {
		return Session{}, signedOut()
	}
	var s Session
	err := a.db.View(ctx, func(tx *store.Tx) (err error) {
		s, err = a.SessionIn(tx, token)
		return err
	})
	return s, err
}

// SessionIn is Session within a transaction.
func (a *Authn) SessionIn(tx *store.Tx, token string) (Session, error) {
	hash, ok := tokenHash(token)
	if !ok {
		return Session{}, signedOut()
	}
	now := a.now()
	s, err := store.One(tx, scanSession, sessionSelect+`s.token_hash = $1`, hash)
	if errors.Is(err, store.ErrNotFound) || err == nil && !a.holds(s, now) {
		return Session{}, signedOut()
	}
	if err != nil {
		return Session{}, err
	}
	a.seen.session(s.ID, s.SeenAt, now)
	return s, nil
}

func signedOut() error {
	return problem.New(problem.Unauthenticated, "You aren't signed in, or your session has ended. Sign in to go on.")
}

// Bounds of what is kept of a browser's own words.
const (
	maxAgent   = 300
	maxAddress = 64
)

func clip(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return printable(s)
}

// printable drops what can't be shown or stored: broken UTF-8 and control characters.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
}

// startSession writes a session of u after a proof by method. The session that replace stands
// for ends: if it is the person's own it goes on under the new token, so that what hangs on it
// stays, and nobody who knew the old token has it.
func (a *Authn) startSession(tx *store.Tx, now time.Time, u directory.User, method, replace string, from Origin) (Session, keys.Secret, error) {
	token := newToken()
	s := Session{
		ID: store.NewID(), User: u, Factors: []Factor{{Method: method, At: now.UTC()}},
		AuthenticatedAt: now, CreatedAt: now, SeenAt: now, ExpiresAt: now.Add(a.absolute),
		Address: clip(from.Address, maxAddress), UserAgent: clip(from.UserAgent, maxAgent),
	}
	factors, err := json.Marshal(s.Factors)
	if err != nil {
		return s, "", err
	}
	if old, ok := tokenHash(replace); ok {
		type kept struct {
			id      string
			created int64
		}
		k, err := store.One(tx, func(r store.Row) (k kept, err error) {
			err = r.Scan(&k.id, &k.created)
			return k, err
		}, `UPDATE sessions SET token_hash = $1, factors = $2, authenticated_at = $3, address = $4, user_agent = $5, seen_at = $3, expires_at = $6
			WHERE token_hash = $7 AND user_id = $8 AND epoch = $9 AND expires_at > $3 RETURNING id, created_at`,
			mustHash(token), string(factors), store.Micros(now), s.Address, s.UserAgent, store.Micros(s.ExpiresAt),
			old, string(u.ID), u.SessionEpoch)
		if err == nil {
			s.ID, s.CreatedAt = k.id, store.FromMicros(k.created)
			return s, token, nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return s, "", err
		}
		if _, err := tx.Exec(`DELETE FROM sessions WHERE token_hash = $1`, old); err != nil {
			return s, "", err
		}
	}
	_, err = tx.Exec(`INSERT INTO sessions (id, token_hash, user_id, epoch, factors, authenticated_at, address, user_agent, created_at, seen_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $6, $6, $9)`,
		s.ID, mustHash(token), string(u.ID), u.SessionEpoch, string(factors), store.Micros(now), s.Address, s.UserAgent, store.Micros(s.ExpiresAt))
	return s, token, err
}

// SignOut ends the session that a browser's token stands for. A token that stands for none is
// no error.
func (a *Authn) SignOut(ctx context.Context, token string) error {
	hash, ok := tokenHash(token)
	if !ok {
		return nil
	}
	now := a.now()
	return a.db.Update(ctx, func(tx *store.Tx) error {
		s, err := store.One(tx, scanSession, sessionSelect+`s.token_hash = $1`, hash)
		known := err == nil
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		n, err := tx.Exec(`DELETE FROM sessions WHERE token_hash = $1`, hash)
		if err != nil || !known || n == 0 {
			return err
		}
		return recordEnd(tx, now, s.Actor(s.Address, ""), s.User, s.ID, s.User.Name()+" signed out.")
	})
}

func recordEnd(tx *store.Tx, now time.Time, by access.Actor, u directory.User, sessionID, message string) error {
	detail := map[string]any{}
	if sessionID != "" {
		detail["session"] = sessionID
	}
	_, err := audit.Record(tx, now, audit.Event{Type: audit.SessionEnd, Actor: by, Object: personRef(u), Message: message, Detail: detail})
	return err
}

// own reports whether the actor is the person themselves.
func own(by access.Actor, id directory.UserID) bool {
	return by.Kind == access.Person && by.ID == string(id)
}

// mayTouch returns nil if the actor holds ResetSignIn and is as strong as the person. Without the latter
// a help desk could make itself owner by taking over an owner's account.
func mayTouch(by access.Actor, u directory.User) error {
	if err := access.Allow(by, access.ResetSignIn); err != nil {
		return err
	}
	if !by.Role.AtLeast(u.Role) {
		return problem.New(problem.Forbidden, "%s has a stronger role than you. Ask somebody with that role.", u.Name())
	}
	return nil
}

// Sessions lists a person's sessions, last used first. One's own need no permission, others'
// ReadDirectory.
func (a *Authn) Sessions(ctx context.Context, by access.Actor, id directory.UserID) ([]Session, error) {
	if !own(by, id) {
		if err := access.Allow(by, access.ReadDirectory); err != nil {
			return nil, err
		}
	}
	now := a.now()
	var list []Session
	err := a.db.View(ctx, func(tx *store.Tx) error {
		list = nil
		for s, err := range store.Each(tx, scanSession, sessionSelect+`s.user_id = $1 ORDER BY s.seen_at DESC, s.id DESC`, string(id)) {
			if err != nil {
				return err
			}
			if a.holds(s, now) {
				list = append(list, s)
			}
		}
		return nil
	})
	return list, err
}

// RevokeSession ends one session at once, on every replica. One's own need no permission,
// others' ResetSignIn.
func (a *Authn) RevokeSession(ctx context.Context, by access.Actor, id string) error {
	gone := problem.New(problem.NotFound, "There is no such session. It may have ended already.")
	now := a.now()
	return a.db.Update(ctx, func(tx *store.Tx) error {
		s, err := store.One(tx, scanSession, sessionSelect+`s.id = $1`, id)
		if errors.Is(err, store.ErrNotFound) {
			return gone
		}
		if err != nil {
			return err
		}
		if !own(by, s.User.ID) {
			if access.Allow(by, access.ReadDirectory) != nil {
				return gone // who may not see it is not told that it exists
			}
			if err := mayTouch(by, s.User); err != nil {
				return err
			}
		}
		n, err := tx.Exec(`DELETE FROM sessions WHERE id = $1`, id)
		if err != nil {
			return err
		}
		if n == 0 {
			return gone
		}
		return recordEnd(tx, now, by, s.User, s.ID, "A session of "+s.User.Name()+" was ended.")
	})
}

// RevokeAll ends all sessions of a person at once, on every replica. One's own need no
// permission, others' ResetSignIn.
func (a *Authn) RevokeAll(ctx context.Context, by access.Actor, id directory.UserID) error {
	return a.revokeAll(ctx, by, id, "")
}

// RevokeOthers ends all sessions of a person but s, their own.
func (a *Authn) RevokeOthers(ctx context.Context, s Session, from Origin) error {
	return a.revokeAll(ctx, s.Actor(from.Address, from.Correlation), s.User.ID, s.ID)
}

func (a *Authn) revokeAll(ctx context.Context, by access.Actor, id directory.UserID, but string) error {
	now := a.now()
	return a.db.Update(ctx, func(tx *store.Tx) error {
		u, err := directory.GetUser(tx, id)
		if err != nil {
			return err
		}
		if !own(by, id) {
			if err := mayTouch(by, u); err != nil {
				return err
			}
		}
		n, err := endSessions(tx, u, but)
		if err != nil || n == 0 {
			return err
		}
		message := "All sessions of " + u.Name() + " were ended."
		if but != "" {
			message = "All other sessions of " + u.Name() + " were ended."
		}
		return recordEnd(tx, now, by, u, "", message)
	})
}

// endSessions ends a person's sessions but one, and returns how many rows that were. The rise
// of the epoch also ends a session that another transaction is just writing.
func endSessions(tx *store.Tx, u directory.User, but string) (int64, error) {
	if err := directory.EndSessions(tx, u.ID); err != nil {
		return 0, err
	}
	n, err := tx.Exec(`DELETE FROM sessions WHERE user_id = $1 AND id <> $2`, string(u.ID), but)
	if err != nil || but == "" {
		return n, err
	}
	_, err = tx.Exec(`UPDATE sessions SET epoch = $3 WHERE id = $1 AND epoch = $2`, but, u.SessionEpoch, u.SessionEpoch+1)
	return n, err
}
