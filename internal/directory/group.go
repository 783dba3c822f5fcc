package directory

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// GroupID identifies a group for ever.
type GroupID string

// Group is a named set of people.
type Group struct {
	ID GroupID
	GroupAttributes
	// Members is how many people are in it, -1 where it wasn't counted.
	Members   int
	Version   int64
	CreatedAt time.Time
	UpdatedAt time.Time
}

// GroupAttributes are what an administrator edits of a group.
type GroupAttributes struct {
	// Name is unique without regard to case.
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	// Attributes are inherited by the members (see Effective). A key is the name of a text
	// attribute of people ("department") or "custom.<key>".
	Attributes map[string]any `json:"attributes,omitempty"`
}

// NewGroup is what a group is created from.
type NewGroup struct {
	GroupAttributes
	Members []UserID
}

// GroupQuery narrows a list of groups; zero fields don't.
type GroupQuery struct {
	// Text is looked for in name and description, without case and accents.
	Text   string
	UserID UserID
	Cursor string
	// Limit is the size of a page, 50 when zero, at most 1000.
	Limit int
}

func (g Group) ref() audit.Ref {
	return audit.Ref{Kind: audit.KindGroup, ID: string(g.ID), Name: g.Name}
}

func (g GroupAttributes) clone() GroupAttributes {
	g.Attributes = cloneCustom(g.Attributes)
	return g
}

// CreateGroup adds a group with its first members. Needs ManageDirectory. A taken name is a
// Conflict.
func (d *Directory) CreateGroup(ctx context.Context, by access.Actor, n NewGroup) (Group, error) {
	var g Group
	err := d.db.Update(ctx, func(tx *store.Tx) (err error) {
		g, err = d.CreateGroupIn(tx, by, n)
		return err
	})
	return g, err
}

// CreateGroupIn is CreateGroup inside a transaction of the caller's.
func (d *Directory) CreateGroupIn(tx *store.Tx, by access.Actor, n NewGroup) (Group, error) {
	if err := access.Allow(by, access.ManageDirectory); err != nil {
		return Group{}, err
	}
	now := d.moment()
	g := Group{ID: GroupID(store.NewID()), GroupAttributes: n.clone(), Version: 1, CreatedAt: now, UpdatedAt: now}
	var f problem.Fields
	checkGroup(&g.GroupAttributes, &f)
	if err := f.Err(); err != nil {
		return Group{}, err
	}
	if err := nameFree(tx, g); err != nil {
		return Group{}, err
	}
	if err := insertGroup(tx, g); err != nil {
		return Group{}, err
	}
	cause, err := audit.Record(tx, now, audit.Event{
		Type: audit.GroupCreate, Actor: by, Object: g.ref(), Changes: audit.Diff(nil, g.GroupAttributes),
		Message: "The group " + g.Name + " was created.",
	})
	if err != nil {
		return Group{}, err
	}
	if err := audit.Changed(tx, now, audit.KindGroup, string(g.ID), cause); err != nil {
		return Group{}, err
	}
	g.Members, err = d.join(tx, by, g, n.Members)
	return g, err
}

// nameFree refuses a name that another group has.
func nameFree(tx *store.Tx, g Group) error {
	n, err := store.One(tx, store.Scalar[int64], `SELECT count(*) FROM groups WHERE name_key = $1 AND id <> $2`, store.Key(g.Name), string(g.ID))
	if err == nil && n > 0 {
		return conflict("name", nameTaken)
	}
	return err
}

// Group returns one group. Needs ReadDirectory.
func (d *Directory) Group(ctx context.Context, by access.Actor, id GroupID) (Group, error) {
	var g Group
	if err := access.Allow(by, access.ReadDirectory); err != nil {
		return g, err
	}
	err := d.db.View(ctx, func(tx *store.Tx) (err error) {
		g, err = store.One(tx, scanGroup, `SELECT `+groupColumns+counted+` FROM groups g WHERE g.id = $1`, string(id))
		return noSuchGroup(err)
	})
	return g, err
}

// ListGroups returns groups sorted by name. Needs ReadDirectory.
func (d *Directory) ListGroups(ctx context.Context, by access.Actor, q GroupQuery) (store.Page[Group], error) {
	page := store.Page[Group]{Total: -1}
	if err := access.Allow(by, access.ReadDirectory); err != nil {
		return page, err
	}
	cursor, err := store.DecodeCursor(q.Cursor, 1)
	if err != nil {
		return page, err
	}
	var w where
	w.search(q.Text)
	if q.UserID != "" {
		w.add(`id IN (SELECT own.group_id FROM memberships own WHERE own.user_id = ?)`, string(q.UserID))
	}
	limit := store.PageLimit(q.Limit, 50)
	err = d.db.View(ctx, func(tx *store.Tx) error {
		if cursor == nil && q.Text == "" {
			if page.Total, err = countUpTo(tx, "groups", w); err != nil {
				return err
			}
		}
		if cursor != nil {
			w.add(`name_key > ?`, cursor[0])
		}
		page.Items, err = store.All(tx, scanGroup, `SELECT `+groupColumns+counted+` FROM groups g`+w.sql()+` ORDER BY name_key LIMIT `+w.param(limit+1), w.args...)
		return err
	})
	if err != nil {
		return page, err
	}
	if len(page.Items) > limit {
		page.Items = page.Items[:limit]
		page.Next = store.EncodeCursor(store.Key(page.Items[limit-1].Name))
	} else if cursor == nil {
		page.Total = len(page.Items)
	}
	return page, nil
}

// UpdateGroup lets change edit a group and stores the result. Needs ManageDirectory. ifVersion
// is as in UpdateUser; a change that changes nothing writes nothing. When what members inherit
// changes, each of them counts as changed. change may run more than once.
func (d *Directory) UpdateGroup(ctx context.Context, by access.Actor, id GroupID, ifVersion int64, change func(*GroupAttributes) error) (Group, error) {
	var g Group
	if err := access.Allow(by, access.ManageDirectory); err != nil {
		return g, err
	}
	err := d.db.Update(ctx, func(tx *store.Tx) error {
		before, err := store.One(tx, scanGroup, `SELECT `+groupColumns+counted+` FROM groups g WHERE g.id = $1`, string(id))
		if err != nil {
			return noSuchGroup(err)
		}
		if ifVersion != 0 && ifVersion != before.Version {
			return problem.New(problem.Conflict, changedMeanwhile)
		}
		g = before
		g.GroupAttributes = before.clone()
		if err := change(&g.GroupAttributes); err != nil {
			return err
		}
		var f problem.Fields
		checkGroup(&g.GroupAttributes, &f)
		if err := f.Err(); err != nil {
			return err
		}
		changes := audit.Diff(before.GroupAttributes, g.GroupAttributes)
		if len(changes) == 0 {
			g = before
			return nil
		}
		if err := nameFree(tx, g); err != nil {
			return err
		}
		now := d.moment()
		g.Version++
		g.UpdatedAt = now
		if err := updateGroup(tx, g); err != nil {
			return err
		}
		cause, err := audit.Record(tx, now, audit.Event{
			Type: audit.GroupUpdate, Actor: by, Object: g.ref(), Changes: changes,
			Message: "The group " + g.Name + " was changed: " + labels(changes) + ".",
		})
		if err != nil {
			return err
		}
		var members []UserID
		if slices.ContainsFunc(changes, func(c audit.Change) bool { return c.Attribute == "attributes" || c.Attribute == "name" }) {
			if members, err = memberIDs(tx, id); err != nil {
				return err
			}
		}
		return tell(tx, now, cause, members, []GroupID{id})
	})
	return g, err
}

func memberIDs(tx *store.Tx, id GroupID) ([]UserID, error) {
	return store.All(tx, store.Scalar[UserID], `SELECT user_id FROM memberships WHERE group_id = $1 ORDER BY user_id`, string(id))
}

// DeleteGroup removes a group; its members stay. Needs ManageDirectory. The group and each
// member count as changed.
func (d *Directory) DeleteGroup(ctx context.Context, by access.Actor, id GroupID) error {
	if err := access.Allow(by, access.ManageDirectory); err != nil {
		return err
	}
	return d.db.Update(ctx, func(tx *store.Tx) error {
		g, err := GetGroup(tx, id)
		if err != nil {
			return err
		}
		members, err := memberIDs(tx, id)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM groups WHERE id = $1`, string(id)); err != nil {
			return err
		}
		now := d.moment()
		cause, err := audit.Record(tx, now, audit.Event{
			Type: audit.GroupDelete, Actor: by, Object: g.ref(), Changes: audit.Diff(g.GroupAttributes, nil),
			Detail:  map[string]any{"members": len(members)},
			Message: fmt.Sprintf("The group %s was deleted. It had %s.", g.Name, people(len(members))),
		})
		if err != nil {
			return err
		}
		return tell(tx, now, cause, members, []GroupID{id})
	})
}

func people(n int) string {
	if n == 1 {
		return "1 person in it"
	}
	return fmt.Sprintf("%d people in it", n)
}

// AddMembers makes people members of a group and returns how many were not before. Needs
// ManageDirectory. Somebody who doesn't exist is an Invalid error, and nobody is added.
func (d *Directory) AddMembers(ctx context.Context, by access.Actor, id GroupID, users []UserID) (int, error) {
	return d.members(ctx, by, id, users, d.join)
}

// RemoveMembers takes people out of a group and returns how many were in it. Needs
// ManageDirectory.
func (d *Directory) RemoveMembers(ctx context.Context, by access.Actor, id GroupID, users []UserID) (int, error) {
	return d.members(ctx, by, id, users, d.leave)
}

func (d *Directory) members(ctx context.Context, by access.Actor, id GroupID, users []UserID, act func(*store.Tx, access.Actor, Group, []UserID) (int, error)) (int, error) {
	if err := access.Allow(by, access.ManageDirectory); err != nil {
		return 0, err
	}
	var n int
	err := d.db.Update(ctx, func(tx *store.Tx) error {
		g, err := GetGroup(tx, id)
		if err != nil {
			return err
		}
		n, err = act(tx, by, g, users)
		return err
	})
	return n, err
}

// named is a person's id and name.
type named struct {
	id   UserID
	name string
}

func scanNamed(r store.Row) (named, error) {
	var n named
	return n, r.Scan(&n.id, &n.name)
}

// join makes people members of g and returns how many were not before.
func (d *Directory) join(tx *store.Tx, by access.Actor, g Group, users []UserID) (int, error) {
	var joined []named
	for part := range slices.Chunk(unique(users), listed) {
		in, args := inList(2, part)
		known, err := store.One(tx, store.Scalar[int], `SELECT count(*) FROM users WHERE id IN (`+store.Placeholders(1, len(part))+`)`, args...)
		if err != nil {
			return 0, err
		}
		if known < len(part) {
			return 0, problem.InvalidField("members", "One of these people doesn't exist. They may have been deleted.")
		}
		missing, err := store.All(tx, scanNamed, `SELECT id, display_name FROM users WHERE id IN (`+in+`)
			AND NOT EXISTS (SELECT 1 FROM memberships m WHERE m.group_id = $1 AND m.user_id = users.id) ORDER BY id`, append([]any{string(g.ID)}, args...)...)
		if err != nil {
			return 0, err
		}
		joins := make([]membership, len(missing))
		for i, m := range missing {
			joins[i] = membership{g.ID, m.id}
		}
		if err := insertMemberships(tx, d.moment(), joins); err != nil {
			return 0, err
		}
		joined = append(joined, missing...)
	}
	return len(joined), d.tellMembers(tx, by, g, joined, true)
}

// leave takes people out of g and returns how many were in it.
func (d *Directory) leave(tx *store.Tx, by access.Actor, g Group, users []UserID) (int, error) {
	var left []named
	for part := range slices.Chunk(unique(users), listed) {
		in, args := inList(2, part)
		args = append([]any{string(g.ID)}, args...)
		present, err := store.All(tx, scanNamed, `SELECT users.id, users.display_name FROM memberships m JOIN users ON users.id = m.user_id
			WHERE m.group_id = $1 AND m.user_id IN (`+in+`) ORDER BY users.id`, args...)
		if err != nil {
			return 0, err
		}
		if _, err := tx.Exec(`DELETE FROM memberships WHERE group_id = $1 AND user_id IN (`+in+`)`, args...); err != nil {
			return 0, err
		}
		left = append(left, present...)
	}
	return len(left), d.tellMembers(tx, by, g, left, false)
}

// tellMembers records who came into or went out of a group: one event of the group, from which
// one of each person follows, so that both their histories are whole.
func (d *Directory) tellMembers(tx *store.Tx, by access.Actor, g Group, who []named, added bool) error {
	if len(who) == 0 {
		return nil
	}
	now := d.moment()
	verb, prep, attribute := "added", "to", "added"
	if !added {
		verb, prep, attribute = "removed", "from", "removed"
	}
	whom := who[0].name + " was"
	if len(who) > 1 {
		whom = fmt.Sprintf("%d people were", len(who))
	}
	// A long list isn't repeated here: the people's own events have it.
	const most = 100
	list := make([]string, 0, min(len(who), most))
	for _, w := range who[:min(len(who), most)] {
		list = append(list, w.name)
	}
	cause, err := audit.Record(tx, now, audit.Event{
		Type: audit.AssociationChange, Actor: by, Object: g.ref(),
		Message: fmt.Sprintf("%s %s %s %s.", whom, verb, prep, g.Name),
		Detail:  map[string]any{attribute: list, "count": len(who)},
	})
	if err != nil {
		return err
	}
	events := make([]audit.Event, len(who))
	for i, w := range who {
		change := audit.Change{Attribute: "groups", New: g.Name}
		if !added {
			change.Old, change.New = change.New, nil
		}
		events[i] = audit.Event{
			Type: audit.AssociationChange, Actor: by, Object: audit.Ref{Kind: audit.KindUser, ID: string(w.id), Name: w.name}, Cause: cause,
			Message: fmt.Sprintf("%s was %s %s %s.", w.name, verb, prep, g.Name), Changes: []audit.Change{change},
			Detail: map[string]any{"group": g.ref()},
		}
	}
	if _, err := audit.RecordAll(tx, now, events); err != nil {
		return err
	}
	return tell(tx, now, cause, named2ids(who), []GroupID{g.ID})
}

func named2ids(in []named) []UserID {
	out := make([]UserID, len(in))
	for i, n := range in {
		out[i] = n.id
	}
	return out
}

// unique returns ids sorted, each once, without empty ones.
func unique(ids []UserID) []UserID {
	out := slices.Clone(ids)
	slices.Sort(out)
	out = slices.Compact(out)
	return slices.DeleteFunc(out, func(id UserID) bool { return strings.TrimSpace(string(id)) == "" })
}

// Members returns the people in a group, sorted by name. Needs ReadDirectory.
func (d *Directory) Members(ctx context.Context, by access.Actor, id GroupID, q UserQuery) (store.Page[User], error) {
	if _, err := d.Group(ctx, by, id); err != nil {
		return store.Page[User]{Total: -1}, err
	}
	q.GroupID = id
	return d.ListUsers(ctx, by, q)
}

// GroupsOf returns the groups that a person is a member of, sorted by name, with their number
// of members. Needs ReadDirectory, except for oneself.
func (d *Directory) GroupsOf(ctx context.Context, by access.Actor, id UserID) ([]Group, error) {
	if !isSelf(by, id) {
		if err := access.Allow(by, access.ReadDirectory); err != nil {
			return nil, err
		}
	}
	var out []Group
	err := d.db.View(ctx, func(tx *store.Tx) error {
		if _, err := GetUser(tx, id); err != nil {
			return err
		}
		var err error
		out, err = store.All(tx, scanGroup, `SELECT `+groupColumns+counted+` FROM groups g
			JOIN memberships own ON own.group_id = g.id WHERE own.user_id = $1 ORDER BY g.name_key`, string(id))
		return err
	})
	return out, err
}
