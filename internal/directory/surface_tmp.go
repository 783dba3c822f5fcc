package directory

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
)

var errLater = errors.New("directory: not there yet")

// RowReport tells what an import did with one row.
type RowReport struct {
	Line    int             `json:"line"`
	Email   string          `json:"email"`
	UserID  UserID          `json:"userId,omitempty"`
	Outcome RowOutcome      `json:"outcome"`
	Detail  string          `json:"detail,omitempty"`
	Fields  []problem.Field `json:"fields,omitempty"`
}

// ImportReport tells what an import did, or would do.
type ImportReport struct {
	DryRun    bool `json:"dryRun"`
	Created   int  `json:"created"`
	Updated   int  `json:"updated"`
	Unchanged int  `json:"unchanged"`
	Failed    int  `json:"failed"`
	// GroupsCreated are the names of groups that were created for rows.
	GroupsCreated []string    `json:"groupsCreated,omitempty"`
	Rows          []RowReport `json:"rows"`
}

func (d *Directory) CreateUser(ctx context.Context, by access.Actor, n NewUser) (User, error) {
	return User{}, errLater
}
func (d *Directory) User(ctx context.Context, by access.Actor, id UserID) (User, error) {
	return User{}, errLater
}
func (d *Directory) UserByLogin(ctx context.Context, by access.Actor, login string) (User, error) {
	return User{}, errLater
}
func (d *Directory) ListUsers(ctx context.Context, by access.Actor, q UserQuery) (store.Page[User], error) {
	return store.Page[User]{}, errLater
}
func (d *Directory) UpdateUser(ctx context.Context, by access.Actor, id UserID, ifVersion int64, change func(*Attributes) error) (User, error) {
	return User{}, errLater
}
func (d *Directory) Activate(ctx context.Context, by access.Actor, id UserID) (User, error) {
	return User{}, errLater
}
func (d *Directory) Suspend(ctx context.Context, by access.Actor, id UserID) (User, error) {
	return User{}, errLater
}
func (d *Directory) Unsuspend(ctx context.Context, by access.Actor, id UserID) (User, error) {
	return User{}, errLater
}
func (d *Directory) DeleteUser(ctx context.Context, by access.Actor, id UserID) error {
	return errLater
}
func (d *Directory) SetRole(ctx context.Context, by access.Actor, id UserID, role access.Role) (User, error) {
	return User{}, errLater
}
func (d *Directory) CreateGroup(ctx context.Context, by access.Actor, n NewGroup) (Group, error) {
	return Group{}, errLater
}
func (d *Directory) Group(ctx context.Context, by access.Actor, id GroupID) (Group, error) {
	return Group{}, errLater
}
func (d *Directory) ListGroups(ctx context.Context, by access.Actor, q GroupQuery) (store.Page[Group], error) {
	return store.Page[Group]{}, errLater
}
func (d *Directory) UpdateGroup(ctx context.Context, by access.Actor, id GroupID, ifVersion int64, change func(*GroupAttributes) error) (Group, error) {
	return Group{}, errLater
}
func (d *Directory) DeleteGroup(ctx context.Context, by access.Actor, id GroupID) error {
	return errLater
}

// AddMembers returns how many people were not members before.
func (d *Directory) AddMembers(ctx context.Context, by access.Actor, id GroupID, users []UserID) (int, error) {
	return 0, errLater
}

// RemoveMembers returns how many people were members before.
func (d *Directory) RemoveMembers(ctx context.Context, by access.Actor, id GroupID, users []UserID) (int, error) {
	return 0, errLater
}
func (d *Directory) Members(ctx context.Context, by access.Actor, id GroupID, q UserQuery) (store.Page[User], error) {
	return store.Page[User]{}, errLater
}
func (d *Directory) GroupsOf(ctx context.Context, by access.Actor, id UserID) ([]Group, error) {
	return nil, errLater
}
func ParseImport(r io.Reader, format ImportFormat) ([]ImportRow, error) { return nil, errLater }
func (d *Directory) Import(ctx context.Context, by access.Actor, rows []ImportRow, o ImportOptions) (ImportReport, error) {
	return ImportReport{}, errLater
}

// tx-level
func GetUser(tx *store.Tx, id UserID) (User, error)         { return User{}, errLater }
func FindByLogin(tx *store.Tx, login string) (User, error)  { return User{}, errLater }
func GetGroup(tx *store.Tx, id GroupID) (Group, error)      { return Group{}, errLater }
func GroupsOfUser(tx *store.Tx, id UserID) ([]Group, error) { return nil, errLater }
func SetPasswordStatus(tx *store.Tx, now time.Time, id UserID, st PasswordStatus) error {
	return errLater
}
func EndSessions(tx *store.Tx, id UserID) error { return errLater }

// Effective returns u with what it inherits from groups. The user's own values win.
func Effective(u User, groups []Group) User { return u }
