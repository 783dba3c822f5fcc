package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// Bind gives the members of a group access to an application. A group that is bound already stays so, without an event.
// Needs ManageApplications.
func (a *Applications) Bind(ctx context.Context, by access.Actor, id ID, group directory.GroupID) error {
	return a.bind(ctx, by, id, group, true)
}

// Unbind takes that access away again. People who have no other bound group are deactivated at the target; the remote
// group stays as it is. Needs ManageApplications.
func (a *Applications) Unbind(ctx context.Context, by access.Actor, id ID, group directory.GroupID) error {
	return a.bind(ctx, by, id, group, false)
}

func (a *Applications) bind(ctx context.Context, by access.Actor, id ID, group directory.GroupID, bound bool) error {
	if err := access.Allow(by, access.ManageApplications); err != nil {
		return err
	}
	return a.db.Update(ctx, func(tx *store.Tx) error { return bindGroup(tx, a.now().UTC(), by, id, group, bound) })
}

// bindGroup binds or unbinds one group. Where it is so already there is no event.
func bindGroup(tx *store.Tx, now time.Time, by access.Actor, id ID, group directory.GroupID, bound bool) error {
	app, err := getForUpdate(tx, id)
	if err != nil {
		return err
	}
	name, err := store.One(tx, store.Scalar[string], `SELECT name FROM groups WHERE id = $1`, string(group))
	if errors.Is(err, store.ErrNotFound) {
		return problem.New(problem.NotFound, "There is no such group. It may have been deleted.")
	}
	if err != nil {
		return err
	}
	query, args := `DELETE FROM bindings WHERE application_id = $1 AND group_id = $2`, []any{string(id), string(group)}
	if bound {
		query = `INSERT INTO bindings (application_id, group_id, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`
		args = append(args, store.Micros(now))
	}
	n, err := tx.Exec(query, args...)
	if err != nil || n == 0 {
		return err
	}
	if err := raiseGeneration(tx, id); err != nil {
		return err
	}
	e := event(by, app, audit.AssociationChange, fmt.Sprintf("Group %s was bound to %s.", name, app.Label))
	c := audit.Change{Attribute: "groups", New: name}
	if !bound {
		e.Message = fmt.Sprintf("Group %s was unbound from %s.", name, app.Label)
		c.Old, c.New = name, nil
	}
	e.Changes = []audit.Change{c}
	e.Detail = map[string]any{"group": map[string]any{"id": group, "name": name}}
	eid, err := audit.Record(tx, now, e)
	if err != nil {
		return err
	}
	return audit.Changed(tx, now, audit.KindApplication, string(id), eid)
}

// BoundGroups returns the groups that are bound to an application, by name. Needs ReadApplications.
func (a *Applications) BoundGroups(ctx context.Context, by access.Actor, id ID) ([]directory.Group, error) {
	if err := access.Allow(by, access.ReadApplications); err != nil {
		return nil, err
	}
	var out []directory.Group
	err := a.db.View(ctx, func(tx *store.Tx) error {
		if _, err := GetApplication(tx, id); err != nil {
			return err
		}
		var err error
		out, err = boundGroups(tx, id)
		return err
	})
	return out, err
}

// ApplicationsOfGroup returns the applications that a group is bound to, by label. Needs ReadApplications.
func (a *Applications) ApplicationsOfGroup(ctx context.Context, by access.Actor, group directory.GroupID) ([]Application, error) {
	if err := access.Allow(by, access.ReadApplications); err != nil {
		return nil, err
	}
	var out []Application
	err := a.db.View(ctx, func(tx *store.Tx) (err error) {
		out, err = listApplications(tx, ` JOIN bindings b ON b.application_id = a.id WHERE b.group_id = $1`, string(group))
		return err
	})
	return out, err
}

// ApplicationsOfUser returns the applications that a person's groups are bound to, by label, and by which groups. It
// doesn't ask whether the person is active. Needs ReadApplications.
func (a *Applications) ApplicationsOfUser(ctx context.Context, by access.Actor, user directory.UserID) ([]UserApplication, error) {
	if err := access.Allow(by, access.ReadApplications); err != nil {
		return nil, err
	}
	var out []UserApplication
	err := a.db.View(ctx, func(tx *store.Tx) error {
		out = nil
		type link struct {
			app   ID
			group directory.GroupID
		}
		links, err := store.All(tx, func(r store.Row) (link, error) {
			var l link
			err := r.Scan(&l.app, &l.group)
			return l, err
		}, `SELECT b.application_id, b.group_id FROM memberships m JOIN bindings b ON b.group_id = m.group_id WHERE m.user_id = $1`, string(user))
		if err != nil {
			return err
		}
		groups, err := store.All(tx, scanGroup, `SELECT `+groupColumns+` FROM groups g JOIN memberships m ON m.group_id = g.id
			WHERE m.user_id = $1 ORDER BY g.name_key`, string(user))
		if err != nil {
			return err
		}
		via := map[ID][]directory.Group{}
		for _, g := range groups {
			for _, l := range links {
				if l.group == g.ID {
					via[l.app] = append(via[l.app], g)
				}
			}
		}
		apps, err := listApplications(tx, ` WHERE a.id IN (
			SELECT b.application_id FROM memberships m JOIN bindings b ON b.group_id = m.group_id WHERE m.user_id = $1)`, string(user))
		for _, app := range apps {
			out = append(out, UserApplication{Application: app, Via: via[app.ID]})
		}
		return err
	})
	return out, err
}

// groupColumns are a group without the number of its members, which is only counted where it is shown.
const groupColumns = `g.id, g.name, g.description, g.attributes, 0, g.version, g.created_at, g.updated_at`

const groupColumnsCounted = `g.id, g.name, g.description, g.attributes,
	(SELECT count(*) FROM memberships c WHERE c.group_id = g.id), g.version, g.created_at, g.updated_at`

func scanGroup(r store.Row) (directory.Group, error) {
	var g directory.Group
	var attributes string
	var created, updated int64
	err := r.Scan(&g.ID, &g.Name, &g.Description, &attributes, &g.Members, &g.Version, &created, &updated)
	if err != nil {
		return g, err
	}
	g.CreatedAt, g.UpdatedAt = store.FromMicros(created), store.FromMicros(updated)
	return g, unpackAttributes(attributes, &g)
}

func unpackAttributes(text string, g *directory.Group) error {
	if text == "{}" {
		return nil
	}
	if err := json.Unmarshal([]byte(text), &g.Attributes); err != nil {
		return fmt.Errorf("app: attributes of group %s: %w", g.ID, err)
	}
	return nil
}

func boundGroups(tx *store.Tx, id ID) ([]directory.Group, error) {
	return store.All(tx, scanGroup, `SELECT `+groupColumnsCounted+` FROM bindings b JOIN groups g ON g.id = b.group_id
		WHERE b.application_id = $1 ORDER BY g.name_key`, string(id))
}
