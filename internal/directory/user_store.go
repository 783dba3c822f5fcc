package directory

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// userColumns is what scanUser reads. The columns beside them (keys, display name) are made of
// these.
const userColumns = `id, username, email, state, password_status, role, profile, manager_id,
	session_epoch, version, created_at, updated_at, suspended_at`

func scanUser(r store.Row) (User, error) {
	var u User
	var profile string
	var manager string
	var created, updated, suspended int64
	err := r.Scan(&u.ID, &u.Username, &u.Email, &u.State, &u.PasswordStatus, &u.Role, &profile, &manager,
		&u.SessionEpoch, &u.Version, &created, &updated, &suspended)
	if err != nil {
		return u, err
	}
	if err := json.Unmarshal([]byte(profile), &u.Profile); err != nil {
		return u, fmt.Errorf("profile of %s: %w", u.ID, err)
	}
	u.ManagerID = UserID(manager)
	for key, v := range u.Custom {
		if u.Custom[key], _ = customValue(v); u.Custom[key] == nil {
			delete(u.Custom, key)
		}
	}
	u.CreatedAt, u.UpdatedAt, u.SuspendedAt = store.FromMicros(created), store.FromMicros(updated), store.FromMicros(suspended)
	return u, nil
}

// derived are the columns made of a person's attributes.
type derived struct {
	usernameKey, name, profile, sortKey, searchKey string
}

func derive(a Attributes) (derived, error) {
	profile := a.Profile
	profile.ManagerID = "" // has a column of its own
	raw, err := json.Marshal(profile)
	if err != nil {
		return derived{}, fmt.Errorf("directory: profile: %w", err)
	}
	words := []string{a.DisplayName, a.GivenName, a.MiddleName, a.FamilyName, a.Username, a.Email, a.EmployeeID}
	return derived{
		usernameKey: store.Key(a.Username),
		name:        a.Name(),
		profile:     string(raw),
		sortKey:     sortKey(a.Name()),
		searchKey:   clipBytes(store.Fold(strings.Join(words, " ")), maxSearchKey),
	}, nil
}

// Both are columns of one index, whose rows are at most 2.7 kB on PostgreSQL.
const (
	maxSortKey   = 400
	maxSearchKey = 2000
)

// sortKey is what people are sorted by.
func sortKey(name string) string { return clipBytes(store.Fold(name), maxSortKey) }

// clipBytes cuts s to at most n bytes, between characters.
func clipBytes(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// insertWidth is how many parameters one person takes in insertUsers.
const insertWidth = 17

// insertUsers writes new people.
func insertUsers(tx *store.Tx, users []User) error {
	for part := range slices.Chunk(users, listed/insertWidth) {
		args := make([]any, 0, insertWidth*len(part))
		for _, u := range part {
			c, err := derive(u.Attributes)
			if err != nil {
				return err
			}
			args = append(args, string(u.ID), u.Username, c.usernameKey, u.Email, string(u.State), string(u.PasswordStatus), string(u.Role),
				c.name, c.profile, string(u.ManagerID), c.sortKey, c.searchKey, u.SessionEpoch, u.Version,
				store.Micros(u.CreatedAt), store.Micros(u.UpdatedAt), store.Micros(u.SuspendedAt))
		}
		_, err := tx.Exec(`INSERT INTO users (id, username, username_key, email, state, password_status, role, display_name, profile,
			manager_id, sort_key, search_key, session_epoch, version, created_at, updated_at, suspended_at) VALUES `+
			values(len(part), insertWidth), args...)
		if err != nil {
			return taken(err)
		}
	}
	return nil
}

// updateUser writes all of a person back.
func updateUser(tx *store.Tx, u User) error {
	c, err := derive(u.Attributes)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`UPDATE users SET username = $2, username_key = $3, email = $4, state = $5, password_status = $6, role = $7,
		display_name = $8, profile = $9, manager_id = $10, sort_key = $11, search_key = $12, session_epoch = $13, version = $14,
		updated_at = $15, suspended_at = $16 WHERE id = $1`,
		string(u.ID), u.Username, c.usernameKey, u.Email, string(u.State), string(u.PasswordStatus), string(u.Role),
		c.name, c.profile, string(u.ManagerID), c.sortKey, c.searchKey, u.SessionEpoch, u.Version,
		store.Micros(u.UpdatedAt), store.Micros(u.SuspendedAt))
	return taken(err)
}

const (
	emailTaken    = "This e-mail address belongs to another person%s. Use another one, or change theirs first."
	usernameTaken = "This user name belongs to another person%s. Use another one, or change theirs first."
)

// conflict is a Conflict about one field.
func conflict(field, format string, args ...any) *problem.Error {
	e := problem.New(problem.Conflict, format, args...)
	e.Fields = []problem.Field{{Name: field, Detail: e.Public}}
	return e
}

// taken gives a broken unique index its meaning for a person. Usually the look-up before has
// found the conflict and can name the other person; this is for the race.
func taken(err error) error {
	switch store.Unique(err) {
	case "":
		return err
	case "users_email":
		return conflict("email", emailTaken, "")
	case "users_username_key":
		return conflict("username", usernameTaken, "")
	case "groups_name_key":
		return conflict("name", nameTaken)
	}
	return err
}

// values returns "($1, $2 …), ($k …) …": n rows of width parameters.
func values(n, width int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("(" + store.Placeholders(1+i*width, width) + ")")
	}
	return b.String()
}

func noSuchUser(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return problem.New(problem.NotFound, "There is no such person. They may have been deleted.")
	}
	return err
}

// GetUser returns a person, or a NotFound error.
func GetUser(tx *store.Tx, id UserID) (User, error) {
	u, err := store.One(tx, scanUser, `SELECT `+userColumns+` FROM users WHERE id = $1`, string(id))
	return u, noSuchUser(err)
}

// FindByLogin returns the person with that e-mail address or, failing that, that user name,
// both without regard to case; or a NotFound error.
func FindByLogin(tx *store.Tx, login string) (User, error) {
	key := store.Key(login)
	if key == "" || len(key) > maxText*4 {
		return User{}, noSuchUser(store.ErrNotFound)
	}
	u, err := store.One(tx, scanUser, `SELECT `+userColumns+` FROM users WHERE email = $1`, key)
	if errors.Is(err, store.ErrNotFound) {
		u, err = store.One(tx, scanUser, `SELECT `+userColumns+` FROM users WHERE username_key = $1`, key)
	}
	return u, noSuchUser(err)
}

// GetUsers returns those of the people who exist, by id. Up to some hundred are read at once.
func GetUsers(tx *store.Tx, ids []UserID) (map[UserID]User, error) {
	out := make(map[UserID]User, len(ids))
	if len(ids) == 0 {
		return out, nil
	}
	args := make([]any, len(ids))
	for i, id := range ids {
		args[i] = string(id)
	}
	for u, err := range store.Each(tx, scanUser, `SELECT `+userColumns+` FROM users WHERE id IN (`+store.Placeholders(1, len(ids))+`)`, args...) {
		if err != nil {
			return nil, err
		}
		out[u.ID] = u
	}
	return out, nil
}

// SetPasswordStatus notes how it stands with a person's password. The caller records the event.
func SetPasswordStatus(tx *store.Tx, now time.Time, id UserID, st PasswordStatus) error {
	if st != PasswordPending && st != PasswordCurrent && st != PasswordExpired {
		return fmt.Errorf("directory: unknown password status %q", st)
	}
	_, err := tx.Exec(`UPDATE users SET password_status = $2, updated_at = $3 WHERE id = $1 AND password_status <> $2`,
		string(id), string(st), store.Micros(now))
	return err
}

// EndSessions ends all of a person's sessions at once, on every replica: a session of an older
// epoch is refused. The caller records the event.
func EndSessions(tx *store.Tx, id UserID) error {
	_, err := tx.Exec(`UPDATE users SET session_epoch = session_epoch + 1 WHERE id = $1`, string(id))
	return err
}

// activeOwners returns the owners that can act, and keeps their rows from being changed by
// others until the transaction ends.
func activeOwners(tx *store.Tx) ([]UserID, error) {
	return store.All(tx, store.Scalar[UserID],
		`SELECT id FROM users WHERE role = '`+string(access.Owner)+`' AND role <> '' AND state = '`+string(Active)+`' ORDER BY id`+tx.ForUpdate())
}
