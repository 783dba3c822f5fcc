package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// Organization is whose directory this is, as everybody may see it.
type Organization struct {
	// Name is empty until somebody gives one.
	Name string `json:"name"`
}

const organizationKey = "organization"

// Organization returns whose directory this is. It needs no permission: sign-in shows it.
func (d *Directory) Organization(ctx context.Context) (Organization, error) {
	var o Organization
	err := d.db.View(ctx, func(tx *store.Tx) (err error) {
		o, err = GetOrganization(tx)
		return err
	})
	return o, err
}

// SetOrganization says whose directory this is. Needs ManageSettings.
func (d *Directory) SetOrganization(ctx context.Context, by access.Actor, o Organization) error {
	return d.db.Update(ctx, func(tx *store.Tx) error { return SetOrganization(tx, d.now(), by, o) })
}

// GetOrganization is Directory.Organization inside a transaction.
func GetOrganization(tx *store.Tx) (Organization, error) {
	var o Organization
	raw, err := store.One(tx, store.Scalar[string], `SELECT value FROM settings WHERE key = $1`, organizationKey)
	if errors.Is(err, store.ErrNotFound) {
		return o, nil
	}
	if err != nil {
		return o, err
	}
	if err := json.Unmarshal([]byte(raw), &o); err != nil {
		return o, fmt.Errorf("directory: organization: %w", err)
	}
	return o, nil
}

// SetOrganization is Directory.SetOrganization inside a transaction.
func SetOrganization(tx *store.Tx, now time.Time, by access.Actor, o Organization) error {
	if err := access.Allow(by, access.ManageSettings); err != nil {
		return err
	}
	o.Name = strings.Join(strings.Fields(o.Name), " ")
	if o.Name == "" {
		return problem.InvalidField("organization", "Enter the name that people know the organization by.")
	}
	if detail := checkText(o.Name, 100); detail != "" {
		return problem.InvalidField("organization", "%s", detail)
	}
	old, err := GetOrganization(tx)
	if err != nil || old == o {
		return err
	}
	raw, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("directory: organization: %w", err)
	}
	_, err = tx.Exec(`INSERT INTO settings (key, value, updated_at) VALUES ($1, $2, $3)
		ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at`,
		organizationKey, string(raw), store.Micros(now))
	if err != nil {
		return err
	}
	_, err = audit.Record(tx, now, audit.Event{
		Type: audit.SettingsUpdate, Actor: by, Object: audit.Ref{Kind: audit.KindSettings, ID: organizationKey, Name: "Organization"},
		Changes: audit.Diff(old, o), Message: "The organization is now called " + o.Name + ".",
	})
	return err
}
