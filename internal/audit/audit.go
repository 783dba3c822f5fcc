// Package audit keeps what happened. It hides how an event is stored in the transaction that
// caused it, how events are searched, and the outbox through which a change reaches the work
// that follows from it.
package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// Type names what happened, in the words that administrators of such platforms know.
type Type string

// The types of event.
const (
	UserCreate      Type = "user_create"
	UserUpdate      Type = "user_update"
	UserDelete      Type = "user_delete"
	UserActivated   Type = "user_activated"
	UserSuspended   Type = "user_suspended"
	UserUnsuspended Type = "user_unsuspended"
	UserRoleChange  Type = "user_role_change"
	UserImport      Type = "user_import"

	GroupCreate       Type = "group_create"
	GroupUpdate       Type = "group_update"
	GroupDelete       Type = "group_delete"
	AssociationChange Type = "association_change"

	UserPasswordSet   Type = "user_password_set"
	UserLockout       Type = "user_lockout"
	UserLoginAttempt  Type = "user_login_attempt"
	AdminLoginAttempt Type = "admin_login_attempt"
	SessionEnd        Type = "session_end"
	OneTimeLinkCreate Type = "one_time_link_create"
	APIKeyCreate      Type = "api_key_create"
	APIKeyRevoke      Type = "api_key_revoke"

	ApplicationCreate     Type = "application_create"
	ApplicationUpdate     Type = "application_update"
	ApplicationDelete     Type = "application_delete"
	CertificateChange     Type = "certificate_change"
	CertificateExpires    Type = "certificate_expires"
	TokenExpires          Type = "token_expires"
	MetadataChange        Type = "metadata_change"
	IntegrationActivate   Type = "integration_activate"
	IntegrationDeactivate Type = "integration_deactivate"
	IntegrationPause      Type = "integration_pause"
	IntegrationResume     Type = "integration_resume"
	IntegrationStop       Type = "integration_stop"

	SSOAuth Type = "sso_auth"
	SLO     Type = "slo"

	UserLookupProvision  Type = "user_lookup_provision"
	UserCreateProvision  Type = "user_create_provision"
	UserUpdateProvision  Type = "user_update_provision"
	UserDeprovision      Type = "user_deprovision"
	UserDeleteProvision  Type = "user_delete_provision"
	GroupLookupProvision Type = "group_lookup_provision"
	GroupCreateProvision Type = "group_create_provision"
	GroupUpdateProvision Type = "group_update_provision"
	GroupDeleteProvision Type = "group_delete_provision"

	// UserVerifyProvision tells what was found when a leaver's account was read back.
	UserVerifyProvision Type = "user_verify_provision"
	ReceiptOverdue      Type = "receipt_overdue"
	ReceiptClose        Type = "receipt_close"
	IntegrationSilent   Type = "integration_silent"
	IntegrationAnswers  Type = "integration_answers"

	// DriftCheck tells what a comparison with a target found, DriftRepair that a person decided about it.
	DriftCheck  Type = "drift_check"
	DriftRepair Type = "drift_repair"

	SettingsUpdate Type = "settings_update"
)

// Types lists all types of event, sorted by name.
func Types() []Type {
	all := []Type{
		UserCreate, UserUpdate, UserDelete, UserActivated, UserSuspended, UserUnsuspended, UserRoleChange, UserImport,
		GroupCreate, GroupUpdate, GroupDelete, AssociationChange,
		UserPasswordSet, UserLockout, UserLoginAttempt, AdminLoginAttempt, SessionEnd, OneTimeLinkCreate, APIKeyCreate, APIKeyRevoke,
		ApplicationCreate, ApplicationUpdate, ApplicationDelete, CertificateChange, CertificateExpires, TokenExpires, MetadataChange,
		IntegrationActivate, IntegrationDeactivate, IntegrationPause, IntegrationResume, IntegrationStop,
		SSOAuth, SLO,
		UserLookupProvision, UserCreateProvision, UserUpdateProvision, UserDeprovision, UserDeleteProvision,
		GroupLookupProvision, GroupCreateProvision, GroupUpdateProvision, GroupDeleteProvision,
		UserVerifyProvision, ReceiptOverdue, ReceiptClose, IntegrationSilent, IntegrationAnswers,
		DriftCheck, DriftRepair,
		SettingsUpdate,
	}
	slices.Sort(all)
	return all
}

// Outcome says how it ended.
type Outcome string

// The outcomes.
const (
	Success Outcome = "success"
	Failure Outcome = "failure"
	Denied  Outcome = "denied"
)

// The kinds of object that events are about.
const (
	KindUser        = "user"
	KindGroup       = "group"
	KindApplication = "application"
	KindSession     = "session"
	KindAPIKey      = "api_key"
	KindSettings    = "settings"
	KindImport      = "import"
)

// Ref points at the object that an event is about, with the name it had then.
type Ref struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Change is one attribute's old and new value.
type Change struct {
	Attribute string `json:"attribute"`
	Old       any    `json:"old"`
	New       any    `json:"new"`
}

// Event is one thing that happened. Events are only ever added.
type Event struct {
	ID            string
	At            time.Time
	Type          Type
	Outcome       Outcome
	Actor         access.Actor
	Object        Ref
	ApplicationID string
	// Cause is the id of the event that this one follows from; "" if a person or the clock
	// caused it.
	Cause string
	// Message is one sentence for people.
	Message string
	Changes []Change
	// Detail holds what else is worth knowing: request and answer, factors, the policy that
	// applied. It must hold no secret.
	Detail map[string]any
}

// Record adds an event to the transaction that made it true, and returns its id. An empty
// Outcome is Success.
func Record(tx *store.Tx, at time.Time, e Event) (string, error) {
	e.ID, e.At = store.NewID(), at
	if e.Outcome == "" {
		e.Outcome = Success
	}
	if err := insert(tx, e); err != nil {
		return "", fmt.Errorf("audit: record %s: %w", e.Type, err)
	}
	return e.ID, nil
}

// RecordAll is Record of many events; it returns their ids in the same order.
func RecordAll(tx *store.Tx, at time.Time, events []Event) ([]string, error) {
	out := make([]string, len(events))
	all := slices.Clone(events)
	for i := range all {
		e := &all[i]
		e.ID, e.At = store.NewID(), at
		if e.Outcome == "" {
			e.Outcome = Success
		}
		out[i] = e.ID
	}
	if err := insert(tx, all...); err != nil {
		return nil, fmt.Errorf("audit: record %d events: %w", len(all), err)
	}
	return out, nil
}

// OutboxTopic is the wake-up that Changed rings.
const OutboxTopic = "outbox"

// Changed notes that an object changed, so that its consequences at the applications are
// worked out. cause is the id of the event that tells the change.
func Changed(tx *store.Tx, at time.Time, kind, id, cause string) error {
	return ChangedAll(tx, at, []Pending{{Kind: kind, ID: id, Cause: cause}})
}

// ChangedAll is Changed of many objects; their At isn't used.
func ChangedAll(tx *store.Tx, at time.Time, objects []Pending) error {
	const together, width = 30, 5
	for part := range slices.Chunk(objects, together) {
		args := make([]any, 0, width*len(part))
		var values strings.Builder
		for i, p := range part {
			args = append(args, store.NewID(), p.Kind, p.ID, p.Cause, store.Micros(at))
			if i > 0 {
				values.WriteString(", ")
			}
			values.WriteString("(" + store.Placeholders(1+i*width, width) + ")")
		}
		if _, err := tx.Exec(`INSERT INTO outbox (id, object_kind, object_id, cause, created_at) VALUES `+values.String(), args...); err != nil {
			return fmt.Errorf("audit: outbox: %w", err)
		}
		tx.Wake(OutboxTopic)
	}
	return nil
}

// Pending is one outbox row.
type Pending struct {
	Kind  string
	ID    string
	Cause string
	At    time.Time
}

// Take claims and deletes up to limit outbox rows, oldest first. It runs in store.DB.Claim,
// in the transaction that writes what follows from the rows: should that fail, they are back.
func Take(tx *store.Tx, limit int) ([]Pending, error) {
	type row struct {
		id string
		p  Pending
	}
	rows, err := store.All(tx, func(r store.Row) (row, error) {
		var x row
		var at int64
		err := r.Scan(&x.id, &x.p.Kind, &x.p.ID, &x.p.Cause, &at)
		x.p.At = store.FromMicros(at)
		return x, err
	}, `SELECT id, object_kind, object_id, cause, created_at FROM outbox ORDER BY id LIMIT $1`+tx.SkipLocked(), limit)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	ids := make([]any, len(rows))
	out := make([]Pending, len(rows))
	for i, x := range rows {
		ids[i], out[i] = x.id, x.p
	}
	if _, err := tx.Exec(`DELETE FROM outbox WHERE id IN (`+store.Placeholders(1, len(ids))+`)`, ids...); err != nil {
		return nil, err
	}
	return out, nil
}

// Diff compares two values by their JSON form and returns what differs, by attribute name,
// sorted. Nested objects are compared as a whole.
func Diff(before, after any) []Change {
	a, b := flat(before), flat(after)
	names := make([]string, 0, len(a)+len(b))
	for k := range a {
		names = append(names, k)
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			names = append(names, k)
		}
	}
	sort.Strings(names)
	var out []Change
	for _, k := range names {
		if !reflect.DeepEqual(a[k], b[k]) {
			out = append(out, Change{Attribute: k, Old: a[k], New: b[k]})
		}
	}
	return out
}

func flat(v any) map[string]any {
	if v == nil {
		return nil
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return map[string]any{"": err.Error()}
	}
	var out map[string]any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if d.Decode(&out) != nil {
		return map[string]any{"value": strings.TrimSpace(string(raw))}
	}
	return out
}

// Waiting reports whether there are outbox rows that nobody took yet.
func Waiting(tx *store.Tx) (bool, error) {
	rows, err := store.All(tx, store.Scalar[string], `SELECT id FROM outbox LIMIT 1`)
	return len(rows) > 0, err
}
