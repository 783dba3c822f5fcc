package directory

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// groupColumns is what scanGroup reads; members is one of the two below.
const groupColumns = `g.id, g.name, g.description, g.attributes, g.version, g.created_at, g.updated_at`

const (
	counted = `, (SELECT count(*) FROM memberships m WHERE m.group_id = g.id) AS members`
	// Counting "everybody" at each sign-on would cost more than the sign-on.
	uncounted = `, -1 AS members`
)

const nameTaken = "There is already a group with this name. Names are compared without regard to case."

func scanGroup(r store.Row) (Group, error) {
	var g Group
	var attributes string
	var created, updated int64
	err := r.Scan(&g.ID, &g.Name, &g.Description, &attributes, &g.Version, &created, &updated, &g.Members)
	if err != nil {
		return g, err
	}
	if err := json.Unmarshal([]byte(attributes), &g.Attributes); err != nil {
		return g, fmt.Errorf("attributes of group %s: %w", g.ID, err)
	}
	for name, v := range g.Attributes {
		if g.Attributes[name], _ = customValue(v); g.Attributes[name] == nil {
			delete(g.Attributes, name)
		}
	}
	if len(g.Attributes) == 0 {
		g.Attributes = nil
	}
	g.CreatedAt, g.UpdatedAt = store.FromMicros(created), store.FromMicros(updated)
	return g, nil
}

func groupRow(g Group) (attributes, searchKey string, err error) {
	attributes = "{}"
	if len(g.Attributes) > 0 {
		raw, err := json.Marshal(g.Attributes)
		if err != nil {
			return "", "", fmt.Errorf("directory: group attributes: %w", err)
		}
		attributes = string(raw)
	}
	return attributes, store.Fold(g.Name + " " + g.Description), nil
}

func insertGroup(tx *store.Tx, g Group) error {
	attributes, search, err := groupRow(g)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO groups (id, name, name_key, description, attributes, search_key, version, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		string(g.ID), g.Name, store.Key(g.Name), g.Description, attributes, search, g.Version, store.Micros(g.CreatedAt), store.Micros(g.UpdatedAt))
	return taken(err)
}

func updateGroup(tx *store.Tx, g Group) error {
	attributes, search, err := groupRow(g)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`UPDATE groups SET name = $2, name_key = $3, description = $4, attributes = $5, search_key = $6, version = $7,
		updated_at = $8 WHERE id = $1`,
		string(g.ID), g.Name, store.Key(g.Name), g.Description, attributes, search, g.Version, store.Micros(g.UpdatedAt))
	return taken(err)
}

func noSuchGroup(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return problem.New(problem.NotFound, "There is no such group. It may have been deleted.")
	}
	return err
}

// GetGroup returns a group, or a NotFound error. Its Members is -1: not counted.
func GetGroup(tx *store.Tx, id GroupID) (Group, error) {
	g, err := store.One(tx, scanGroup, `SELECT `+groupColumns+uncounted+` FROM groups g WHERE g.id = $1`, string(id))
	return g, noSuchGroup(err)
}

// GroupsOfUser returns the groups that a person is a member of, sorted by name. Their Members
// is -1: not counted.
func GroupsOfUser(tx *store.Tx, id UserID) ([]Group, error) {
	return store.All(tx, scanGroup, `SELECT `+groupColumns+uncounted+` FROM groups g
		JOIN memberships own ON own.group_id = g.id WHERE own.user_id = $1 ORDER BY g.name_key`, string(id))
}

// groupsByID returns these groups, each once; one that doesn't exist is an Invalid error.
func groupsByID(tx *store.Tx, ids []GroupID) ([]Group, error) {
	var out []Group
	for _, id := range ids {
		if slices.ContainsFunc(out, func(g Group) bool { return g.ID == id }) {
			continue
		}
		g, err := GetGroup(tx, id)
		if problem.Is(err, problem.NotFound) {
			return nil, problem.InvalidField("groups", "One of the groups doesn't exist. It may have been deleted.")
		}
		if err != nil {
			return nil, err
		}
		out = append(out, g)
	}
	return out, nil
}

// listed bounds the parameters of one statement. SQLite looks up each by its name among all
// before it, so that one statement of thousands costs far more than many of a hundred.
const listed = 150

// membership is one person in one group.
type membership struct {
	group GroupID
	user  UserID
}

// insertMemberships writes memberships that aren't there yet.
func insertMemberships(tx *store.Tx, now time.Time, all []membership) error {
	for part := range slices.Chunk(all, listed/3) {
		args := make([]any, 0, 3*len(part))
		for _, m := range part {
			args = append(args, string(m.group), string(m.user), store.Micros(now))
		}
		if _, err := tx.Exec(`INSERT INTO memberships (group_id, user_id, added_at) VALUES `+values(len(part), 3), args...); err != nil {
			return err
		}
	}
	return nil
}

// inList returns ids as parameters and the placeholders for them, from $from on.
func inList[T ~string](from int, ids []T) (string, []any) {
	args := make([]any, len(ids))
	for i, id := range ids {
		args[i] = string(id)
	}
	return store.Placeholders(from, len(ids)), args
}
