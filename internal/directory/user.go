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

// UserID identifies a person for ever. It is never given to another one.
type UserID string

// State says whether a person has access.
type State string

// The states.
const (
	// Staged people have no access yet and are sent to no application.
	Staged State = "staged"
	Active State = "active"
	// Suspended people have lost their access, here and at every application.
	Suspended State = "suspended"
)

// Valid reports whether s is a state that exists.
func (s State) Valid() bool { return s == Staged || s == Active || s == Suspended }

// PasswordStatus says how it stands with a person's password. It is apart from State: an
// expired password takes nobody's access at an application away.
type PasswordStatus string

// The password statuses.
const (
	PasswordPending PasswordStatus = "pending"
	PasswordCurrent PasswordStatus = "active"
	PasswordExpired PasswordStatus = "expired"
)

// Phone is one telephone number (RFC 7643 §4.1.2).
type Phone struct {
	Type    string `json:"type,omitempty"`
	Value   string `json:"value"`
	Primary bool   `json:"primary,omitempty"`
}

// Address is one postal address (RFC 7643 §4.1.2).
type Address struct {
	Type       string `json:"type,omitempty"`
	Street     string `json:"street,omitempty"`
	Locality   string `json:"locality,omitempty"`
	Region     string `json:"region,omitempty"`
	PostalCode string `json:"postalCode,omitempty"`
	// Country is an ISO 3166-1 alpha-2 code.
	Country string `json:"country,omitempty"`
	Primary bool   `json:"primary,omitempty"`
}

// Profile is what is known of a person apart from how they sign in.
type Profile struct {
	GivenName      string    `json:"givenName,omitempty"`
	MiddleName     string    `json:"middleName,omitempty"`
	FamilyName     string    `json:"familyName,omitempty"`
	DisplayName    string    `json:"displayName,omitempty"`
	AlternateEmail string    `json:"alternateEmail,omitempty"`
	Title          string    `json:"title,omitempty"`
	Department     string    `json:"department,omitempty"`
	Company        string    `json:"company,omitempty"`
	CostCentre     string    `json:"costCentre,omitempty"`
	EmployeeID     string    `json:"employeeId,omitempty"`
	EmployeeType   string    `json:"employeeType,omitempty"`
	Location       string    `json:"location,omitempty"`
	ManagerID      UserID    `json:"managerId,omitempty"`
	Phones         []Phone   `json:"phones,omitempty"`
	Addresses      []Address `json:"addresses,omitempty"`
	// Locale and PreferredLanguage are BCP 47 tags, TimeZone a name of the IANA database.
	Locale            string `json:"locale,omitempty"`
	TimeZone          string `json:"timezone,omitempty"`
	PreferredLanguage string `json:"preferredLanguage,omitempty"`
	// Custom holds the organization's own attributes by key. A value is a string, bool, int64,
	// float64 or []string.
	Custom map[string]any `json:"custom,omitempty"`
}

// Attributes are what an administrator edits of a person. As JSON they are one flat object.
type Attributes struct {
	// Username is unique without regard to case. Left empty for a new person, it becomes the
	// e-mail address.
	Username string `json:"username"`
	// Email is unique and kept in lower case.
	Email string `json:"email"`
	Profile
}

// User is one person.
type User struct {
	ID UserID
	Attributes
	State          State
	PasswordStatus PasswordStatus
	Role           access.Role
	// Version rises with every change of attributes, state or role.
	Version int64
	// SessionEpoch rises when all sessions end; a session of an older epoch has ended.
	SessionEpoch int64
	CreatedAt    time.Time
	UpdatedAt    time.Time
	// SuspendedAt is zero unless the person is suspended.
	SuspendedAt time.Time
}

// Name returns what people call the person: the display name, else given and family name, else
// the user name.
func (a Attributes) Name() string {
	if a.DisplayName != "" {
		return a.DisplayName
	}
	if n := strings.TrimSpace(a.GivenName + " " + a.FamilyName); n != "" {
		return n
	}
	if a.Username != "" {
		return a.Username
	}
	return a.Email
}

// NewUser is what a person is created from.
type NewUser struct {
	Attributes
	// State is Staged when empty.
	State State
	// Role needs ManageRoles unless it is None.
	Role access.Role
	// Groups are those that the person becomes a member of.
	Groups []GroupID
}

// UserQuery narrows a list of people; zero fields don't.
type UserQuery struct {
	// Text is looked for in names, user name, e-mail and employee id, without case and accents.
	Text    string
	State   State
	GroupID GroupID
	Role    access.Role
	// Cursor continues a list: Next of the page before.
	Cursor string
	// Limit is the size of a page, 50 when zero, at most 1000.
	Limit int
}

// CreateUser adds a person and makes them a member of groups. Needs ManageDirectory. A taken
// e-mail address or user name is a Conflict.
func (d *Directory) CreateUser(ctx context.Context, by access.Actor, n NewUser) (User, error) {
	var u User
	err := d.db.Update(ctx, func(tx *store.Tx) (err error) {
		u, err = d.CreateUserIn(tx, by, n)
		return err
	})
	return u, err
}

// CreateUserIn is CreateUser inside a transaction of the caller's.
func (d *Directory) CreateUserIn(tx *store.Tx, by access.Actor, n NewUser) (User, error) {
	if err := access.Allow(by, access.ManageDirectory); err != nil {
		return User{}, err
	}
	if err := mayGive(by, access.None, n.Role); err != nil {
		return User{}, err
	}
	now := d.moment()
	u := User{
		ID: UserID(store.NewID()), Attributes: n.clone(), State: n.State, PasswordStatus: PasswordPending, Role: n.Role,
		Version: 1, CreatedAt: now, UpdatedAt: now,
	}
	var f problem.Fields
	switch {
	case u.State == "":
		u.State = Staged
	case !u.State.Valid():
		f.Add("state", "The state has to be staged, active or suspended.")
	}
	if u.State == Suspended {
		u.SuspendedAt = now
	}
	(&checker{}).check(&u.Attributes, &f)
	if err := checkManager(tx, u.ID, u.ManagerID, &f); err != nil {
		return User{}, err
	}
	if err := f.Err(); err != nil {
		return User{}, err
	}
	if err := clash(tx, u); err != nil {
		return User{}, err
	}
	groups, err := groupsByID(tx, n.Groups)
	if err != nil {
		return User{}, err
	}
	if err := insertUsers(tx, []User{u}); err != nil {
		return User{}, err
	}
	joins := make([]membership, len(groups))
	for i, g := range groups {
		joins[i] = membership{g.ID, u.ID}
	}
	if err := insertMemberships(tx, now, joins); err != nil {
		return User{}, err
	}
	cause, err := audit.Record(tx, now, created(by, u, groups))
	if err != nil {
		return User{}, err
	}
	return u, tell(tx, now, cause, []UserID{u.ID}, ids(groups))
}

// created is the event of a new person.
func created(by access.Actor, u User, groups []Group) audit.Event {
	changes := append(audit.Diff(nil, u.Attributes), audit.Change{Attribute: "state", New: string(u.State)})
	if u.Role != access.None {
		changes = append(changes, audit.Change{Attribute: "role", New: string(u.Role)})
	}
	if len(groups) > 0 {
		changes = append(changes, audit.Change{Attribute: "groups", New: names(groups)})
	}
	return audit.Event{
		Type: audit.UserCreate, Actor: by, Object: u.ref(), Changes: changes,
		Message: u.Name() + " was created.",
	}
}

func (u User) ref() audit.Ref {
	return audit.Ref{Kind: audit.KindUser, ID: string(u.ID), Name: u.Name()}
}

// tell writes the outbox rows of changed people and groups.
func tell(tx *store.Tx, now time.Time, cause string, users []UserID, groups []GroupID) error {
	rows := make([]audit.Pending, 0, len(users)+len(groups))
	for _, id := range users {
		rows = append(rows, audit.Pending{Kind: audit.KindUser, ID: string(id), Cause: cause})
	}
	for _, id := range groups {
		rows = append(rows, audit.Pending{Kind: audit.KindGroup, ID: string(id), Cause: cause})
	}
	return audit.ChangedAll(tx, now, rows)
}

// checkManager looks whether a manager exists. It spares the look-up when there is none.
func checkManager(tx *store.Tx, id, manager UserID, f *problem.Fields) error {
	switch {
	case manager == "" || f.Has("managerId"):
		return nil
	case manager == id:
		f.Add("managerId", "Nobody can be their own manager.")
		return nil
	}
	n, err := store.One(tx, store.Scalar[int64], `SELECT count(*) FROM users WHERE id = $1`, string(manager))
	if err == nil && n == 0 {
		f.Add("managerId", "There is no such person. Choose a manager who is in the directory.")
	}
	return err
}

// clash looks whether another person has u's e-mail address or user name. An e-mail address
// can't be somebody else's user name either: both are used to sign in.
func clash(tx *store.Tx, u User) error {
	type other struct{ email, usernameKey, name string }
	key := store.Key(u.Username)
	others, err := store.All(tx, func(r store.Row) (other, error) {
		var o other
		return o, r.Scan(&o.email, &o.usernameKey, &o.name)
	}, `SELECT email, username_key, display_name FROM users
		WHERE (email IN ($1, $2) OR username_key IN ($1, $2)) AND id <> $3 ORDER BY id`, u.Email, key, string(u.ID))
	if err != nil || len(others) == 0 {
		return err
	}
	var f problem.Fields
	for _, o := range others {
		if (o.email == u.Email || o.usernameKey == u.Email) && !f.Has("email") {
			f.Add("email", emailTaken, ", "+o.name)
		}
		if (o.email == key || o.usernameKey == key) && key != u.Email && !f.Has("username") {
			f.Add("username", usernameTaken, ", "+o.name)
		}
	}
	return asConflict(f.Err())
}

// asConflict turns collected field errors into a Conflict.
func asConflict(err error) error {
	if err == nil {
		return nil
	}
	return &problem.Error{Kind: problem.Conflict, Public: problem.Public(err), Fields: problem.FieldsOf(err)}
}

// mayTouch says whether by's role is strong enough to change a person who holds a role
// themselves.
func mayTouch(by access.Actor, u User) error {
	if by.Role.AtLeast(u.Role) {
		return nil
	}
	return problem.New(problem.Forbidden, "%s is %s. Only somebody with that role or a stronger one may change this account.", u.Name(), roleName(u.Role))
}

// mayGive says whether by may change somebody's role from one to the other.
func mayGive(by access.Actor, from, to access.Role) error {
	if !to.Valid() {
		return problem.InvalidField("role", "There is no such role. Choose owner, administrator, help_desk, read_only or none.")
	}
	if from == to {
		return nil
	}
	if err := access.Allow(by, access.ManageRoles); err != nil {
		return err
	}
	if !by.Role.AtLeast(from) || !by.Role.AtLeast(to) {
		return problem.New(problem.Forbidden, "You can only give and take roles that aren't stronger than your own.")
	}
	return nil
}

func roleName(r access.Role) string {
	switch r {
	case access.Owner:
		return "an owner"
	case access.Administrator:
		return "an administrator"
	case access.HelpDesk:
		return "help desk"
	case access.ReadOnly:
		return "a read-only administrator"
	}
	return "without a role"
}

// isSelf reports whether by is that person.
func isSelf(by access.Actor, id UserID) bool {
	return by.Kind == access.Person && by.ID == string(id)
}

// keepOwner refuses to take the last active owner away.
func keepOwner(tx *store.Tx, u User) error {
	if u.Role != access.Owner || u.State != Active {
		return nil
	}
	owners, err := activeOwners(tx)
	if err != nil {
		return err
	}
	if len(owners) <= 1 {
		return problem.New(problem.Conflict, "%s is the last active owner. Make somebody else an owner first.", u.Name())
	}
	return nil
}

// User returns one person. Needs ReadDirectory, except for oneself.
func (d *Directory) User(ctx context.Context, by access.Actor, id UserID) (User, error) {
	var u User
	if !isSelf(by, id) {
		if err := access.Allow(by, access.ReadDirectory); err != nil {
			return u, err
		}
	}
	err := d.db.View(ctx, func(tx *store.Tx) (err error) {
		u, err = GetUser(tx, id)
		return err
	})
	return u, err
}

// UserByLogin returns the person with that e-mail address or user name. Needs ReadDirectory.
func (d *Directory) UserByLogin(ctx context.Context, by access.Actor, login string) (User, error) {
	var u User
	if err := access.Allow(by, access.ReadDirectory); err != nil {
		return u, err
	}
	err := d.db.View(ctx, func(tx *store.Tx) (err error) {
		u, err = FindByLogin(tx, login)
		return err
	})
	return u, err
}

const changedMeanwhile = "Somebody else changed this in the meantime. Load it again and repeat your change."

// UpdateUser lets change edit a person's attributes and stores the result. Needs
// ManageDirectory, and a role at least as strong as the person's. An ifVersion other than 0
// has to be the person's version, else it is a Conflict. A change that changes nothing writes
// nothing. change may run more than once.
func (d *Directory) UpdateUser(ctx context.Context, by access.Actor, id UserID, ifVersion int64, change func(*Attributes) error) (User, error) {
	var u User
	err := d.db.Update(ctx, func(tx *store.Tx) (err error) {
		u, err = d.UpdateUserIn(tx, by, id, ifVersion, change)
		return err
	})
	return u, err
}

// UpdateUserIn is UpdateUser inside a transaction of the caller's.
func (d *Directory) UpdateUserIn(tx *store.Tx, by access.Actor, id UserID, ifVersion int64, change func(*Attributes) error) (User, error) {
	if err := access.Allow(by, access.ManageDirectory); err != nil {
		return User{}, err
	}
	before, err := GetUser(tx, id)
	if err != nil {
		return User{}, err
	}
	if err := mayTouch(by, before); err != nil {
		return User{}, err
	}
	if ifVersion != 0 && ifVersion != before.Version {
		return User{}, problem.New(problem.Conflict, changedMeanwhile)
	}
	u := before
	u.Attributes = before.clone()
	if err := change(&u.Attributes); err != nil {
		return u, err
	}
	var f problem.Fields
	(&checker{}).check(&u.Attributes, &f)
	if u.ManagerID != before.ManagerID {
		if err := checkManager(tx, id, u.ManagerID, &f); err != nil {
			return u, err
		}
	}
	if err := f.Err(); err != nil {
		return u, err
	}
	changes := audit.Diff(before.Attributes, u.Attributes)
	if len(changes) == 0 {
		return before, nil
	}
	if err := clash(tx, u); err != nil {
		return u, err
	}
	return u, d.store(tx, by, &u, audit.UserUpdate, changes, u.Name()+" was changed: "+labels(changes)+".")
}

// store writes a changed person with its event and outbox row.
func (d *Directory) store(tx *store.Tx, by access.Actor, u *User, t audit.Type, changes []audit.Change, message string) error {
	now := d.moment()
	u.Version++
	u.UpdatedAt = now
	if err := updateUser(tx, *u); err != nil {
		return err
	}
	cause, err := audit.Record(tx, now, audit.Event{Type: t, Actor: by, Object: u.ref(), Changes: changes, Message: message})
	if err != nil {
		return err
	}
	return audit.Changed(tx, now, audit.KindUser, string(u.ID), cause)
}

// labels names what changed, for a sentence.
func labels(changes []audit.Change) string {
	out := make([]string, len(changes))
	for i, c := range changes {
		out[i] = c.Attribute
		if t, ok := findText(c.Attribute); ok {
			out[i] = t.label
		}
	}
	return strings.Join(out, ", ")
}

// Activate gives a staged person access. Needs ManageDirectory. It changes nothing when the
// person is active, and is a Conflict when they are suspended.
func (d *Directory) Activate(ctx context.Context, by access.Actor, id UserID) (User, error) {
	return d.move(ctx, by, id, access.ManageDirectory, transition{
		from: Staged, to: Active, event: audit.UserActivated, done: "%s was activated.",
		refused: "%s is suspended. End the suspension instead.",
	})
}

// Suspend takes a person's access away: their sessions end at once. Needs SuspendUser and a
// role at least as strong as theirs; help desk may suspend only people without a role. It
// changes nothing when the person is suspended, and is a Conflict when they are staged. The
// last active owner and oneself can't be suspended.
func (d *Directory) Suspend(ctx context.Context, by access.Actor, id UserID) (User, error) {
	return d.move(ctx, by, id, access.SuspendUser, transition{
		from: Active, to: Suspended, event: audit.UserSuspended, done: "%s was suspended.",
		refused: "%s hasn't been activated yet and has no access that could be suspended.",
	})
}

// Unsuspend gives a suspended person access again: to what they are entitled to now. Needs the
// same as Suspend. It changes nothing when the person is active, and is a Conflict when they
// are staged.
func (d *Directory) Unsuspend(ctx context.Context, by access.Actor, id UserID) (User, error) {
	return d.move(ctx, by, id, access.SuspendUser, transition{
		from: Suspended, to: Active, event: audit.UserUnsuspended, done: "The suspension of %s was ended.",
		refused: "%s isn't suspended but staged. Activate the account instead.",
	})
}

// transition is one arrow of the package's picture.
type transition struct {
	from, to      State
	event         audit.Type
	done, refused string
}

// allowed says whether by may take a transition of u's.
func (t transition) allowed(by access.Actor, u User) error {
	if !by.Role.Can(access.ManageDirectory) && u.Role != access.None {
		return problem.New(problem.Forbidden, "%s is %s. Your role may only do this to people without a role.", u.Name(), roleName(u.Role))
	}
	if err := mayTouch(by, u); err != nil {
		return err
	}
	if t.to == Suspended && isSelf(by, u.ID) {
		return problem.New(problem.Conflict, "You can't suspend yourself. Ask another administrator.")
	}
	return nil
}

// apply takes the transition, or says why it can't be taken.
func (t transition) apply(tx *store.Tx, now time.Time, u *User) error {
	if u.State != t.from {
		return problem.New(problem.Conflict, t.refused, u.Name())
	}
	u.State, u.SuspendedAt = t.to, time.Time{}
	if t.to != Suspended {
		return nil
	}
	before := *u
	before.State = t.from
	u.SuspendedAt = now
	u.SessionEpoch++
	return keepOwner(tx, before)
}

func (d *Directory) move(ctx context.Context, by access.Actor, id UserID, needs access.Permission, t transition) (User, error) {
	var u User
	if err := access.Allow(by, needs); err != nil {
		return u, err
	}
	err := d.db.Update(ctx, func(tx *store.Tx) (err error) {
		if u, err = GetUser(tx, id); err != nil {
			return err
		}
		if err := t.allowed(by, u); err != nil {
			return err
		}
		if u.State == t.to {
			return nil
		}
		from := u.State
		if err := t.apply(tx, d.moment(), &u); err != nil {
			return err
		}
		changes := []audit.Change{{Attribute: "state", Old: string(from), New: string(u.State)}}
		return d.store(tx, by, &u, t.event, changes, fmt.Sprintf(t.done, u.Name()))
	})
	return u, err
}

// SetRole gives a person a role, or takes it with access.None. Needs ManageRoles. The last
// active owner keeps theirs.
func (d *Directory) SetRole(ctx context.Context, by access.Actor, id UserID, role access.Role) (User, error) {
	var u User
	if err := access.Allow(by, access.ManageRoles); err != nil {
		return u, err
	}
	err := d.db.Update(ctx, func(tx *store.Tx) (err error) {
		if u, err = GetUser(tx, id); err != nil {
			return err
		}
		if err := mayGive(by, u.Role, role); err != nil || u.Role == role {
			return err
		}
		if err := keepOwner(tx, u); err != nil {
			return err
		}
		changes := []audit.Change{{Attribute: "role", Old: string(u.Role), New: string(role)}}
		u.Role = role
		return d.store(tx, by, &u, audit.UserRoleChange, changes, u.Name()+" is now "+roleName(role)+".")
	})
	return u, err
}

// DeleteUser removes a person for good. Needs ManageDirectory and a role at least as strong as
// theirs. Their sessions end at once; whoever had them as manager has none. The last active
// owner and oneself can't be deleted.
func (d *Directory) DeleteUser(ctx context.Context, by access.Actor, id UserID) error {
	return d.db.Update(ctx, func(tx *store.Tx) error { return d.DeleteUserIn(tx, by, id) })
}

// DeleteUserIn is DeleteUser inside a transaction of the caller's.
func (d *Directory) DeleteUserIn(tx *store.Tx, by access.Actor, id UserID) error {
	if err := access.Allow(by, access.ManageDirectory); err != nil {
		return err
	}
	u, err := GetUser(tx, id)
	if err != nil {
		return err
	}
	if err := mayTouch(by, u); err != nil {
		return err
	}
	if isSelf(by, id) {
		return problem.New(problem.Conflict, "You can't delete yourself. Ask another administrator.")
	}
	if err := keepOwner(tx, u); err != nil {
		return err
	}
	groups, err := GroupsOfUser(tx, id)
	if err != nil {
		return err
	}
	reports, err := store.All(tx, scanUser, `SELECT `+userColumns+` FROM users WHERE manager_id = $1 AND manager_id <> '' ORDER BY id`, string(id))
	if err != nil {
		return err
	}
	now := d.moment()
	changes := append(audit.Diff(u.Attributes, nil), audit.Change{Attribute: "state", Old: string(u.State)})
	if len(groups) > 0 {
		changes = append(changes, audit.Change{Attribute: "groups", Old: names(groups)})
	}
	cause, err := audit.Record(tx, now, audit.Event{
		Type: audit.UserDelete, Actor: by, Object: u.ref(), Changes: changes, Message: u.Name() + " was deleted.",
	})
	if err != nil {
		return err
	}
	if _, err := tx.Exec(`DELETE FROM users WHERE id = $1`, string(id)); err != nil {
		return err
	}
	for _, r := range reports {
		changes := []audit.Change{{Attribute: "managerId", Old: string(id)}}
		r.ManagerID = ""
		r.Version++
		r.UpdatedAt = now
		if err := updateUser(tx, r); err != nil {
			return err
		}
		event, err := audit.Record(tx, now, audit.Event{
			Type: audit.UserUpdate, Actor: by, Object: r.ref(), Changes: changes, Cause: cause,
			Message: r.Name() + " has no manager any more, because " + u.Name() + " was deleted.",
		})
		if err != nil {
			return err
		}
		if err := audit.Changed(tx, now, audit.KindUser, string(r.ID), event); err != nil {
			return err
		}
	}
	return tell(tx, now, cause, []UserID{id}, ids(groups))
}

// ListUsers returns people sorted by name. Needs ReadDirectory.
func (d *Directory) ListUsers(ctx context.Context, by access.Actor, q UserQuery) (store.Page[User], error) {
	page := store.Page[User]{Total: -1}
	if err := access.Allow(by, access.ReadDirectory); err != nil {
		return page, err
	}
	cursor, err := store.DecodeCursor(q.Cursor, 2)
	if err != nil {
		return page, err
	}
	if q.State != "" && !q.State.Valid() {
		return page, problem.InvalidField("state", "The state has to be staged, active or suspended.")
	}
	if !q.Role.Valid() {
		return page, problem.InvalidField("role", "There is no such role. Choose owner, administrator, help_desk or read_only.")
	}
	var w where
	w.search(q.Text)
	switch {
	case q.State == Active:
		w.add(`state = 'active'`)
	case q.State != "":
		// Literals, so that both engines see that the partial index serves.
		w.add(`state = '` + string(q.State) + `' AND state <> 'active'`)
	}
	if q.Role != access.None {
		w.add(`role = '` + string(q.Role) + `' AND role <> ''`)
	}
	limit := store.PageLimit(q.Limit, 50)
	err = d.db.View(ctx, func(tx *store.Tx) error {
		count := cursor == nil && q.Text == ""
		if q.GroupID != "" {
			var of where
			of.add(`group_id = ?`, string(q.GroupID))
			members, err := countUpTo(tx, "memberships", of)
			if err != nil {
				return err
			}
			if members < 0 || members > countMost/10 {
				// Most people pass, so going through them in order finds a page soon.
				w.add(`EXISTS (SELECT 1 FROM memberships m WHERE m.group_id = ? AND m.user_id = users.id)`, string(q.GroupID))
			} else {
				w.add(`id IN (SELECT user_id FROM memberships WHERE group_id = ?)`, string(q.GroupID))
			}
			if count && q.State == "" && q.Role == access.None {
				page.Total, count = members, false
			}
		}
		if count {
			if page.Total, err = countUpTo(tx, "users", w); err != nil {
				return err
			}
		}
		if cursor != nil {
			w.add(`(sort_key, id) > (?, ?)`, cursor[0], cursor[1])
		}
		// The inner query reads an index only where it can; the rows themselves are long.
		page.Items, err = store.All(tx, scanUser, `SELECT `+userColumns+` FROM users WHERE id IN (
			SELECT id FROM users`+w.sql()+` ORDER BY sort_key, id LIMIT `+w.param(limit+1)+`) ORDER BY sort_key, id`, w.args...)
		return err
	})
	if err != nil {
		return page, err
	}
	if len(page.Items) > limit {
		page.Items = page.Items[:limit]
		last := page.Items[limit-1]
		page.Next = store.EncodeCursor(sortKey(last.Name()), string(last.ID))
	} else if cursor == nil {
		page.Total = len(page.Items)
	}
	return page, nil
}

// ids returns the ids of groups.
func ids(groups []Group) []GroupID {
	out := make([]GroupID, len(groups))
	for i, g := range groups {
		out[i] = g.ID
	}
	return out
}

// names returns the names of groups, sorted.
func names(groups []Group) []string {
	out := make([]string, len(groups))
	for i, g := range groups {
		out[i] = g.Name
	}
	slices.Sort(out)
	return out
}
