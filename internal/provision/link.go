package provision

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/provision/plan"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// LinkStatus says how it stands with one object at one target.
type LinkStatus string

// The statuses.
const (
	LinkPending  LinkStatus = "pending"  // something is still to be sent
	LinkSynced   LinkStatus = "synced"   // as it should be
	LinkInactive LinkStatus = "inactive" // has no access any more, and the target knows
	LinkBlocked  LinkStatus = "blocked"  // can't be sent until something here changes
	LinkFailed   LinkStatus = "failed"   // the target refused it
	LinkReleased LinkStatus = "released" // no longer managed; left there as it is
)

// Link is what is remembered of one object at one target.
type Link struct {
	Application app.ID
	Kind        scim.ResourceType
	ObjectID    string
	// Name is what people know the object by; it outlives the object.
	Name     string
	RemoteID string
	// Linked is false for an account that a look-up found and nobody took over yet.
	Linked    bool
	Known     plan.Knowledge
	Snapshot  scim.Resource
	Status    LinkStatus
	Reason    string
	Approved  bool
	CreatedAt time.Time
	UpdatedAt time.Time
	SyncedAt  time.Time
	// Drift is what is left there otherwise than the directory says. It isn't stored by save, but
	// by saveDrift: what a comparison notes must outlive a run that began before.
	Drift LinkDrift

	stored bool
}

func kindName(t scim.ResourceType) string {
	if t == scim.Group {
		return "group"
	}
	return "user"
}

// savedColumns are what save stores, linkColumns what is read: of the latter, drift is stored by
// saveDrift.
const (
	savedColumns = `application_id, object_kind, object_id, object_name, remote_id, linked, known, snapshot, status, reason,
	approved, created_at, updated_at, synced_at`
	linkColumns = savedColumns + `, drift`
)

func scanLink(r store.Row) (Link, error) {
	l := Link{stored: true}
	var kind, snapshot, drift string
	var created, updated, synced int64
	err := r.Scan(&l.Application, &kind, &l.ObjectID, &l.Name, &l.RemoteID, &l.Linked, &l.Known, &snapshot, &l.Status,
		&l.Reason, &l.Approved, &created, &updated, &synced, &drift)
	if err == nil && drift != "" {
		err = json.Unmarshal([]byte(drift), &l.Drift)
	}
	if err != nil {
		return l, err
	}
	l.Kind = scim.User
	if kind == "group" {
		l.Kind = scim.Group
	}
	l.CreatedAt, l.UpdatedAt, l.SyncedAt = store.FromMicros(created), store.FromMicros(updated), store.FromMicros(synced)
	if snapshot != "" {
		l.Snapshot, err = scim.ParseResource([]byte(snapshot))
	}
	return l, err
}

// getLink returns the link of an object; a new one, of which nothing is known, if there is none.
func getLink(tx *store.Tx, o object) (Link, error) {
	l, err := store.One(tx, scanLink, `SELECT `+linkColumns+` FROM links WHERE application_id = $1 AND object_kind = $2 AND object_id = $3`,
		string(o.app), kindName(o.kind), o.id)
	if errors.Is(err, store.ErrNotFound) {
		return Link{Application: o.app, Kind: o.kind, ObjectID: o.id, Known: plan.Unknown, Status: LinkPending}, nil
	}
	return l, err
}

// getLinks is getLink for many people.
func getLinks(tx *store.Tx, id app.ID, people []directory.UserID) (map[directory.UserID]Link, error) {
	out := make(map[directory.UserID]Link, len(people))
	args := []any{string(id)}
	for _, p := range people {
		out[p] = Link{Application: id, Kind: scim.User, ObjectID: string(p), Known: plan.Unknown, Status: LinkPending}
		args = append(args, string(p))
	}
	for l, err := range store.Each(tx, scanLink, `SELECT `+linkColumns+` FROM links
		WHERE application_id = $1 AND object_kind = 'user' AND object_id IN (`+store.Placeholders(2, len(people))+`)`, args...) {
		if err != nil {
			return nil, err
		}
		out[directory.UserID(l.ObjectID)] = l
	}
	return out, nil
}

const linkWidth = 14

// saveSQL stores n links; none may be there twice.
func saveSQL(n int) string {
	var rows strings.Builder
	for i := range n {
		if i > 0 {
			rows.WriteString(", ")
		}
		rows.WriteString("(" + store.Placeholders(1+i*linkWidth, linkWidth) + ")")
	}
	return `INSERT INTO links (` + savedColumns + `) VALUES ` + rows.String() + `
		ON CONFLICT (application_id, object_kind, object_id) DO UPDATE SET
			object_name = excluded.object_name, remote_id = excluded.remote_id, linked = excluded.linked, known = excluded.known,
			snapshot = excluded.snapshot, status = excluded.status, reason = excluded.reason, approved = excluded.approved,
			updated_at = excluded.updated_at, synced_at = excluded.synced_at`
}

var saveOne = saveSQL(1)

// saveLinks is save for many links.
func saveLinks(tx *store.Tx, now time.Time, links []*Link) error {
	const together = 20
	for part := range slices.Chunk(links, together) {
		args := make([]any, 0, linkWidth*len(part))
		for _, l := range part {
			row, err := l.row(now)
			if err != nil {
				return err
			}
			args = append(args, row...)
		}
		if _, err := tx.Exec(saveSQL(len(part)), args...); err != nil {
			return err
		}
	}
	return nil
}

// save stores the link.
func (l *Link) save(tx *store.Tx, now time.Time) error {
	row, err := l.row(now)
	if err != nil {
		return err
	}
	_, err = tx.Exec(saveOne, row...)
	return err
}

// row is the link as it is stored, at a time.
func (l *Link) row(now time.Time) ([]any, error) {
	snapshot := ""
	if len(l.Snapshot) > 0 {
		b, err := json.Marshal(l.Snapshot)
		if err != nil {
			return nil, err
		}
		snapshot = string(b)
	}
	known := l.Known
	switch known {
	case plan.Fresh:
		known = plan.Remembered // it is fresh only while the run that read it lasts
	case "":
		known = plan.Unknown
	}
	if l.CreatedAt.IsZero() {
		l.CreatedAt = now
	}
	l.UpdatedAt = now
	return []any{
		string(l.Application), kindName(l.Kind), l.ObjectID, l.Name, l.RemoteID, l.Linked, string(known), snapshot,
		string(l.Status), l.Reason, l.Approved, store.Micros(l.CreatedAt), store.Micros(l.UpdatedAt), store.Micros(l.SyncedAt),
	}, nil
}

// claimedBy returns the name of another object of ours that is linked to a remote one, "" if
// there is none.
func claimedBy(tx *store.Tx, o object, remoteID string) (string, error) {
	name, err := store.One(tx, store.Scalar[string], `SELECT object_name FROM links
		WHERE application_id = $1 AND object_kind = $2 AND remote_id = $3 AND remote_id <> '' AND object_id <> $4`,
		string(o.app), kindName(o.kind), remoteID, o.id)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	return name, err
}

// memberIDs returns the remote ids of a remote group's acknowledged members.
func memberIDs(tx *store.Tx, id app.ID, groupID string) ([]string, error) {
	return store.All(tx, store.Scalar[string], `SELECT remote_user_id FROM link_members
		WHERE application_id = $1 AND group_id = $2 ORDER BY remote_user_id`, string(id), groupID)
}

// setMembers replaces what is remembered of a group's members.
func setMembers(tx *store.Tx, id app.ID, groupID string, members []string) error {
	if _, err := tx.Exec(`DELETE FROM link_members WHERE application_id = $1 AND group_id = $2`, string(id), groupID); err != nil {
		return err
	}
	return addMembers(tx, id, groupID, members)
}

// memberChunk keeps a statement's parameters few: SQLite looks them up by name, so that many cost
// more than their number.
const memberChunk = 150

func addMembers(tx *store.Tx, id app.ID, groupID string, members []string) error {
	for len(members) > 0 {
		part := members[:min(len(members), memberChunk)]
		members = members[len(part):]
		args := []any{string(id), groupID}
		values := make([]byte, 0, 16*len(part))
		for i, m := range part {
			if i > 0 {
				values = append(values, ", "...)
			}
			args = append(args, m)
			values = append(values, "($1, $2, "+store.Placeholders(len(args), 1)+")"...)
		}
		if _, err := tx.Exec(`INSERT INTO link_members (application_id, group_id, remote_user_id) VALUES `+string(values)+`
			ON CONFLICT DO NOTHING`, args...); err != nil {
			return err
		}
	}
	return nil
}

func removeMembers(tx *store.Tx, id app.ID, groupID string, members []string) error {
	for len(members) > 0 {
		part := members[:min(len(members), memberChunk)]
		members = members[len(part):]
		args := []any{string(id), groupID}
		for _, m := range part {
			args = append(args, m)
		}
		if _, err := tx.Exec(`DELETE FROM link_members WHERE application_id = $1 AND group_id = $2
			AND remote_user_id IN (`+store.Placeholders(3, len(part))+`)`, args...); err != nil {
			return err
		}
	}
	return nil
}
