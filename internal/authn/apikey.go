package authn

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// keyPrefix lets people and secret scanners see what the text is.
const keyPrefix = "lk_"

// APIKey lets a program act with a role. The key itself is shown once, at its creation.
type APIKey struct {
	ID   string
	Name string
	Role access.Role
	// CreatedBy is the id of the actor who made it; "" for the system.
	CreatedBy string
	CreatedAt time.Time
	// ExpiresAt is zero for a key without an end.
	ExpiresAt time.Time
	// LastUsedAt is to the minute; zero if it never was.
	LastUsedAt time.Time
	// RevokedAt is zero for a key that works.
	RevokedAt time.Time
}

// Works reports whether the key is accepted at now.
func (k APIKey) Works(now time.Time) bool {
	return k.RevokedAt.IsZero() && (k.ExpiresAt.IsZero() || now.Before(k.ExpiresAt))
}

const keyColumns = `id, name, role, created_by, created_at, expires_at, last_used_at, revoked_at`

func scanKey(r store.Row) (APIKey, error) {
	var k APIKey
	var created, expires, used, revoked int64
	err := r.Scan(&k.ID, &k.Name, &k.Role, &k.CreatedBy, &created, &expires, &used, &revoked)
	k.CreatedAt, k.ExpiresAt = store.FromMicros(created), store.FromMicros(expires)
	k.LastUsedAt, k.RevokedAt = store.FromMicros(used), store.FromMicros(revoked)
	return k, err
}

// CreateAPIKey makes a key with a role no stronger than the actor's own. expires may be zero:
// no end. The secret is returned once and can't be read again. Needs ManageAPIKeys.
func (a *Authn) CreateAPIKey(ctx context.Context, by access.Actor, name string, role access.Role, expires time.Time) (APIKey, keys.Secret, error) {
	if err := access.Allow(by, access.ManageAPIKeys); err != nil {
		return APIKey{}, "", err
	}
	now := a.now()
	name = strings.TrimSpace(name)
	var fields problem.Fields
	if n := utf8.RuneCountInString(name); n == 0 || n > 100 {
		fields.Add("name", "Give the key a name of 1 to 100 characters that says what uses it.")
	}
	if role == access.None || !role.Valid() {
		fields.Add("role", "Choose what the key may do: owner, administrator, help_desk or read_only.")
	}
	if !expires.IsZero() && !expires.After(now) {
		fields.Add("expires", "The end lies in the past. Choose a later date, or none.")
	}
	if err := fields.Err(); err != nil {
		return APIKey{}, "", err
	}
	if !by.Role.AtLeast(role) {
		return APIKey{}, "", problem.New(problem.Forbidden, "A key can't be stronger than your own role. Ask an owner.")
	}
	secret := keyPrefix + newToken()
	k := APIKey{ID: store.NewID(), Name: name, Role: role, CreatedBy: by.ID, CreatedAt: now, ExpiresAt: expires}
	err := a.db.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`INSERT INTO api_keys (id, name, secret_hash, role, created_by, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			k.ID, k.Name, mustHash(secret), string(role), k.CreatedBy, store.Micros(now), store.Micros(expires))
		if err != nil {
			return err
		}
		detail := map[string]any{"role": string(role)}
		if !expires.IsZero() {
			detail["expires"] = expires.UTC().Format(time.RFC3339)
		}
		_, err = audit.Record(tx, now, audit.Event{
			Type: audit.APIKeyCreate, Actor: by, Object: k.ref(), Detail: detail,
			Message: "API key " + name + " was created with the role " + string(role) + ".",
		})
		return err
	})
	if err != nil {
		return APIKey{}, "", err
	}
	return k, secret, nil
}

func (k APIKey) ref() audit.Ref { return audit.Ref{Kind: audit.KindAPIKey, ID: k.ID, Name: k.Name} }

// APIKeys lists all keys, newest first, revoked ones included. Needs ManageAPIKeys.
func (a *Authn) APIKeys(ctx context.Context, by access.Actor) ([]APIKey, error) {
	if err := access.Allow(by, access.ManageAPIKeys); err != nil {
		return nil, err
	}
	var list []APIKey
	err := a.db.View(ctx, func(tx *store.Tx) (err error) {
		list, err = store.All(tx, scanKey, `SELECT `+keyColumns+` FROM api_keys ORDER BY id DESC`)
		return err
	})
	return list, err
}

// RevokeAPIKey ends a key at once. Revoking it again changes nothing. Needs ManageAPIKeys and a
// role as strong as the key's.
func (a *Authn) RevokeAPIKey(ctx context.Context, by access.Actor, id string) error {
	if err := access.Allow(by, access.ManageAPIKeys); err != nil {
		return err
	}
	now := a.now()
	return a.db.Update(ctx, func(tx *store.Tx) error {
		k, err := store.One(tx, scanKey, `SELECT `+keyColumns+` FROM api_keys WHERE id = $1`+tx.ForUpdate(), id)
		if errors.Is(err, store.ErrNotFound) {
			return problem.New(problem.NotFound, "There is no such API key.")
		}
		if err != nil {
			return err
		}
		if !by.Role.AtLeast(k.Role) {
			return problem.New(problem.Forbidden, "This key is stronger than your own role. Ask an owner.")
		}
		if !k.RevokedAt.IsZero() {
			return nil
		}
		if _, err := tx.Exec(`UPDATE api_keys SET revoked_at = $2 WHERE id = $1`, id, store.Micros(now)); err != nil {
			return err
		}
		_, err = audit.Record(tx, now, audit.Event{
			Type: audit.APIKeyRevoke, Actor: by, Object: k.ref(), Message: "API key " + k.Name + " was revoked.",
		})
		return err
	})
}

// APIKeyActor returns who acts with a key, or an Unauthenticated error that is the same for a
// key that never was, has expired or was revoked. It reads one row.
func (a *Authn) APIKeyActor(ctx context.Context, secret keys.Secret, address, correlation string) (access.Actor, error) {
	refused := problem.New(problem.Unauthenticated, "This API key isn't valid. Use one from Settings, API keys.")
	token, ok := strings.CutPrefix(secret.Reveal(), keyPrefix)
	if ok {
		_, ok = tokenHash(token)
	}
	if !ok {
		return access.Actor{}, refused
	}
	now := a.now()
	var k APIKey
	err := a.db.View(ctx, func(tx *store.Tx) (err error) {
		k, err = store.One(tx, scanKey, `SELECT `+keyColumns+` FROM api_keys WHERE secret_hash = $1`, mustHash(secret))
		return err
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && !k.Works(now) {
		return access.Actor{}, refused
	}
	if err != nil {
		return access.Actor{}, err
	}
	a.seen.key(k.ID, k.LastUsedAt, now)
	return access.Actor{Kind: access.APIKey, ID: k.ID, Name: k.Name, Role: k.Role, Address: address, Correlation: correlation}, nil
}
