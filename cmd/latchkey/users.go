package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/api"
	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/internal/store"
)

type usersCmd struct {
	List        usersListCmd        `cmd:"" help:"List people."`
	Show        usersShowCmd        `cmd:"" help:"Show one person: attributes, groups, applications."`
	Create      usersCreateCmd      `cmd:"" help:"Add a person."`
	Update      usersUpdateCmd      `cmd:"" help:"Change a person's attributes or role."`
	Activate    usersActivateCmd    `cmd:"" help:"Give staged people access."`
	Suspend     usersSuspendCmd     `cmd:"" help:"Take people's access away at once, here and at every application."`
	Unsuspend   usersUnsuspendCmd   `cmd:"" help:"Give suspended people access again, to what they are entitled to now."`
	Delete      usersDeleteCmd      `cmd:"" help:"Remove people for good."`
	Import      usersImportCmd      `cmd:"" help:"Create and update many people from a CSV or JSON Lines file."`
	SetPassword usersSetPasswordCmd `cmd:"" help:"Give a person a password."`
	Link        usersLinkCmd        `cmd:"" help:"Make a one-time link by which a person chooses a password."`
	SignOut     usersSignOutCmd     `cmd:"" help:"End all sessions of a person."`
}

// userView is a person as JSON: in the API's form, with groups and applications where one
// person is shown.
type userView struct {
	api.User
	Groups       []api.GroupRef        `json:"groups,omitempty"`
	Applications []api.UserApplication `json:"applications,omitempty"`
}

func viewUser(u directory.User) userView { return userView{User: api.UserJSON(u)} }

func stateCell(s directory.State) cell {
	return cell{string(s), map[directory.State]tone{directory.Active: good, directory.Suspended: bad, directory.Staged: warn}[s]}
}

type usersListCmd struct {
	Text  string          `arg:"" optional:"" help:"Look for this in names, user name, e-mail address and employee id."`
	State directory.State `enum:",staged,active,suspended" default:"" help:"Only people in this state: staged, active or suspended."`
	Role  access.Role     `enum:",owner,administrator,help_desk,read_only" default:"" help:"Only people with this role: owner, administrator, help_desk or read_only."`
	Group string          `placeholder:"GROUP" help:"Only members of this group."`
	limitFlag
	outputFlag
}

func (l usersListCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		q := directory.UserQuery{Text: l.Text, State: l.State, Role: l.Role}
		if l.Group != "" {
			g, err := d.group(ctx, l.Group)
			if err != nil {
				return err
			}
			q.GroupID = g.ID
		}
		return d.listUsers(ctx, q, l.limitFlag, l.outputFlag)
	})
}

func (d desk) listUsers(ctx context.Context, q directory.UserQuery, l limitFlag, o outputFlag) error {
	views := []userView{}
	tb := newTable("NAME", "E-MAIL", "USER NAME", "STATE", "ROLE", "CHANGED")
	total, more, err := pages(l.most(o), func(cursor string, limit int) (store.Page[directory.User], error) {
		q.Cursor, q.Limit = cursor, limit
		return d.Directory.ListUsers(ctx, d.by, q)
	}, func(u directory.User) {
		if o.json() {
			views = append(views, viewUser(u))
			return
		}
		tb.add(u.Name(), u.Email, u.Username, stateCell(u.State), u.Role, day(u.UpdatedAt))
	})
	switch {
	case err != nil:
		return err
	case o.json():
		return d.printJSON(views)
	case len(tb.rows) == 0:
		return d.say("Nobody found.")
	}
	if err := tb.print(d.terminal); err != nil || !more {
		return err
	}
	return d.left(len(tb.rows), total)
}

type usersShowCmd struct {
	User string `arg:"" help:"E-mail address, user name or id."`
	outputFlag
}

func (s usersShowCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		u, err := d.user(ctx, s.User)
		if err != nil {
			return err
		}
		return d.showUser(ctx, u, s.outputFlag)
	})
}

func (d desk) showUser(ctx context.Context, u directory.User, o outputFlag) error {
	groups, err := d.Directory.GroupsOf(ctx, d.by, u.ID)
	if err != nil {
		return err
	}
	apps, err := d.Apps.ApplicationsOfUser(ctx, d.by, u.ID)
	if err != nil {
		return err
	}
	v := viewUser(u)
	v.Groups = api.GroupRefs(groups)
	for _, a := range apps {
		v.Applications = append(v.Applications, api.UserApplication{ID: a.ID, Label: a.Label, Via: api.GroupRefs(a.Via)})
	}
	if o.json() {
		return d.printJSON(v)
	}
	var f facts
	f.add("Name", cell{u.Name(), strong})
	f.add("State", stateCell(u.State))
	f.add("Role", u.Role)
	f.add("Password", u.PasswordStatus)
	flat, err := flatAttributes(u.Attributes)
	if err != nil {
		return err
	}
	for _, name := range attributeOrder(flat) {
		f.add(name, flat[name])
	}
	f.add("Id", u.ID)
	f.add("Created", u.CreatedAt)
	f.add("Changed", u.UpdatedAt)
	f.add("Suspended", u.SuspendedAt)
	f.add("Groups", strings.Join(names(groups), ", "))
	for _, a := range apps {
		f.add("Application", a.Label+" via "+strings.Join(names(a.Via), ", "))
	}
	return f.print(d.terminal)
}

func names(groups []directory.Group) []string {
	out := make([]string, len(groups))
	for i, g := range groups {
		out[i] = g.Name
	}
	return out
}

// flatAttributes are a person's attributes as name and printed value.
func flatAttributes(a directory.Attributes) (map[string]string, error) {
	tree, err := attributeTree(a)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	put := func(name string, v any) error {
		if s, ok := v.(string); ok {
			out[name] = s
			return nil
		}
		b, err := json.Marshal(v)
		out[name] = string(b)
		return err
	}
	for k, v := range tree {
		if custom, ok := v.(map[string]any); ok && k == "custom" {
			for ck, cv := range custom {
				if err := put(directory.CustomPrefix+ck, cv); err != nil {
					return nil, err
				}
			}
			continue
		}
		if err := put(k, v); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// attributeOrder sorts names as a form would, the organization's own last.
func attributeOrder(flat map[string]string) []string {
	rank := map[string]int{}
	for i, name := range attributeNames() {
		rank[name] = i + 1
	}
	return slices.SortedFunc(maps.Keys(flat), func(a, b string) int {
		ra, rb := rank[a], rank[b]
		switch {
		case ra != 0 && rb != 0:
			return ra - rb
		case ra != 0:
			return -1
		case rb != 0:
			return 1
		}
		return strings.Compare(a, b)
	})
}

func attributeTree(a directory.Attributes) (map[string]any, error) {
	raw, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	var tree map[string]any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	return tree, dec.Decode(&tree)
}

// attributeFlags set a person's attributes. An empty value clears.
type attributeFlags struct {
	Username    *string  `placeholder:"TEXT" help:"User name."`
	GivenName   *string  `placeholder:"TEXT" help:"Given name."`
	FamilyName  *string  `placeholder:"TEXT" help:"Family name."`
	DisplayName *string  `placeholder:"TEXT" help:"Display name."`
	Title       *string  `placeholder:"TEXT" help:"Job title."`
	Department  *string  `placeholder:"TEXT" help:"Department."`
	Company     *string  `placeholder:"TEXT" help:"Company."`
	EmployeeID  *string  `name:"employee-id" placeholder:"TEXT" help:"Employee id."`
	Manager     *string  `placeholder:"USER" help:"Manager."`
	Timezone    *string  `placeholder:"ZONE" help:"Time zone, as Europe/Paris."`
	Language    *string  `placeholder:"TAG" help:"Preferred language, as en-GB."`
	Set         []string `sep:"none" placeholder:"NAME=VALUE" help:"Any attribute by its name: --set location=Oslo, --set custom.badge:=7 (JSON). An empty value clears. Repeatable."`
}

// attributeFlagNames tell which flag a field came from.
func attributeFlagNames() map[string]string {
	m := map[string]string{
		"username": "--username", "email": "--email", "givenName": "--given-name", "familyName": "--family-name", "displayName": "--display-name",
		"title": "--title", "department": "--department", "company": "--company", "employeeId": "--employee-id", "managerId": "--manager",
		"timezone": "--timezone", "preferredLanguage": "--language", "role": "--role", "state": "--state", "groups": "--group",
	}
	for _, name := range attributeNames() {
		if _, ok := m[name]; !ok {
			m[name] = "--set " + name
		}
	}
	return m
}

// change returns the function that applies the flags.
func (f attributeFlags) change(ctx context.Context, d desk) (func(*directory.Attributes) error, error) {
	var manager directory.UserID
	if f.Manager != nil && *f.Manager != "" {
		u, err := d.user(ctx, *f.Manager)
		if err != nil {
			return nil, err
		}
		manager = u.ID
	}
	return func(a *directory.Attributes) error {
		for _, x := range []struct {
			from *string
			to   *string
		}{
			{f.Username, &a.Username},
			{f.GivenName, &a.GivenName},
			{f.FamilyName, &a.FamilyName},
			{f.DisplayName, &a.DisplayName},
			{f.Title, &a.Title},
			{f.Department, &a.Department},
			{f.Company, &a.Company},
			{f.EmployeeID, &a.EmployeeID},
			{f.Timezone, &a.TimeZone},
			{f.Language, &a.PreferredLanguage},
		} {
			if x.from != nil {
				*x.to = *x.from
			}
		}
		if f.Manager != nil {
			a.ManagerID = manager
		}
		return setAttributes(a, f.Set)
	}, nil
}

// setAttributes applies "name=text" and "name:=json".
func setAttributes(a *directory.Attributes, sets []string) error {
	if len(sets) == 0 {
		return nil
	}
	tree, err := attributeTree(*a)
	if err != nil {
		return err
	}
	for _, set := range sets {
		name, value, err := parseSet(set)
		if err != nil {
			return err
		}
		at := tree
		if key, ok := strings.CutPrefix(name, directory.CustomPrefix); ok {
			custom, ok := tree["custom"].(map[string]any)
			if !ok {
				custom = map[string]any{}
				tree["custom"] = custom
			}
			at, name = custom, key
		} else if !knownAttribute(name) {
			return problem.InvalidField("--set", "There is no attribute %q. There are %s; one of your own begins with custom.", name, strings.Join(attributeNames(), ", "))
		}
		if value == nil || value == "" {
			delete(at, name)
		} else {
			at[name] = value
		}
	}
	raw, err := json.Marshal(tree)
	if err != nil {
		return err
	}
	var changed directory.Attributes
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&changed); err != nil {
		return problem.Wrap(problem.Invalid, err, "--set: %v", err)
	}
	for k, v := range changed.Custom {
		changed.Custom[k] = exact(v)
	}
	*a = changed
	return nil
}

// exact turns what JSON gave into what the directory keeps.
func exact(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		if f, err := v.Float64(); err == nil {
			return f
		}
	case []any:
		list := make([]string, 0, len(v))
		for _, x := range v {
			s, ok := x.(string)
			if !ok {
				return v
			}
			list = append(list, s)
		}
		return list
	}
	return v
}

// parseSet splits "name=text" or "name:=json".
func parseSet(set string) (name string, value any, err error) {
	name, text, ok := strings.Cut(set, "=")
	if !ok || name == "" || name == ":" {
		return "", nil, problem.InvalidField("--set", "--set %s: write name=value, or name:=json.", set)
	}
	name, isJSON := strings.CutSuffix(name, ":")
	if !isJSON {
		return name, text, nil
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&value); err != nil || dec.More() {
		return "", nil, problem.InvalidField("--set", "--set %s: the value isn't JSON.", set)
	}
	return name, value, nil
}

// attributeNames lists what --set knows, in the order of a form.
func attributeNames() []string {
	var out []string
	for _, t := range []reflect.Type{reflect.TypeFor[directory.Attributes](), reflect.TypeFor[directory.Profile]()} {
		for f := range t.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name != "" && name != "custom" {
				out = append(out, name)
			}
		}
	}
	return out
}

func knownAttribute(name string) bool { return slices.Contains(attributeNames(), name) }

type usersCreateCmd struct {
	Email string `arg:"" help:"E-mail address."`
	attributeFlags
	State directory.State `enum:"staged,active" default:"staged" help:"staged (no access yet) or active."`
	Group []string        `placeholder:"GROUP" sep:"none" help:"Group to become a member of. Repeatable."`
	Role  access.Role     `enum:",owner,administrator,help_desk,read_only" default:"" help:"Role in Latchkey: owner, administrator, help_desk or read_only. Default: none."`
	outputFlag
}

func (n usersCreateCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		groups, err := d.groups(ctx, n.Group)
		if err != nil {
			return err
		}
		change, err := n.change(ctx, d)
		if err != nil {
			return err
		}
		at := directory.Attributes{Email: n.Email}
		if err := change(&at); err != nil {
			return err
		}
		u, err := d.Directory.CreateUser(ctx, d.by, directory.NewUser{Attributes: at, State: n.State, Role: n.Role, Groups: groups})
		if err != nil {
			flags := attributeFlagNames()
			flags["email"] = "E-mail address"
			return flagged(err, flags)
		}
		if n.json() {
			return d.showUser(ctx, u, n.outputFlag)
		}
		if err := d.say("%s (%s) was added as %s.", visible(u.Name()), u.Email, u.State); err != nil || u.State == directory.Active {
			return err
		}
		return d.say("Give access with: latchkey users activate %s", u.Email)
	})
}

type usersUpdateCmd struct {
	User string `arg:"" help:"E-mail address, user name or id."`
	attributeFlags
	Email *string      `placeholder:"ADDRESS" help:"E-mail address."`
	Role  *access.Role `placeholder:"ROLE" help:"Role in Latchkey: owner, administrator, help_desk, read_only or none."`
	outputFlag
}

func (n usersUpdateCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		u, err := d.user(ctx, n.User)
		if err != nil {
			return err
		}
		before := u.Version
		change, err := n.change(ctx, d)
		if err != nil {
			return err
		}
		if u, err = d.Directory.UpdateUser(ctx, d.by, u.ID, 0, func(a *directory.Attributes) error {
			if n.Email != nil {
				a.Email = *n.Email
			}
			return change(a)
		}); err != nil {
			return flagged(err, attributeFlagNames())
		}
		if n.Role != nil {
			role := *n.Role
			if role == "none" {
				role = access.None
			}
			if !role.Valid() {
				return problem.InvalidField("--role", "--role: there is no role %q. Choose owner, administrator, help_desk, read_only or none.", role)
			}
			if u, err = d.Directory.SetRole(ctx, d.by, u.ID, role); err != nil {
				return err
			}
		}
		if n.json() {
			return d.showUser(ctx, u, n.outputFlag)
		}
		if u.Version == before {
			return d.say("%s is as asked for already; nothing was changed.", u.Email)
		}
		return d.say("%s was changed.", u.Email)
	})
}

// people is the argument of commands for several people.
type people struct {
	Users []string `arg:"" name:"user" help:"E-mail addresses, user names or ids."`
	outputFlag
}

// act changes the state of several people.
func (p people) act(ctx context.Context, c *server.Config, t terminal, done string, do func(desk, directory.UserID) (directory.User, error)) error {
	return at(ctx, c, t, func(d desk) error {
		return each(t, p.Users, func(ref string) error {
			u, err := d.user(ctx, ref)
			if err != nil {
				return err
			}
			if u, err = do(d, u.ID); err != nil {
				return err
			}
			return d.done(p.outputFlag, viewUser(u), "%s %s.", u.Email, done)
		})
	})
}

type usersActivateCmd struct{ people }

func (p usersActivateCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return p.act(ctx, c, t, "is active", func(d desk, id directory.UserID) (directory.User, error) { return d.Directory.Activate(ctx, d.by, id) })
}

type usersSuspendCmd struct{ people }

func (p usersSuspendCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return p.act(ctx, c, t, "is suspended", func(d desk, id directory.UserID) (directory.User, error) { return d.Directory.Suspend(ctx, d.by, id) })
}

type usersUnsuspendCmd struct{ people }

func (p usersUnsuspendCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return p.act(ctx, c, t, "is active again", func(d desk, id directory.UserID) (directory.User, error) {
		return d.Directory.Unsuspend(ctx, d.by, id)
	})
}

type usersSignOutCmd struct{ people }

func (p usersSignOutCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return p.act(ctx, c, t, "is signed out everywhere", func(d desk, id directory.UserID) (directory.User, error) {
		if err := d.Authn.RevokeAll(ctx, d.by, id); err != nil {
			return directory.User{}, err
		}
		return d.Directory.User(ctx, d.by, id)
	})
}

// removed is what a removal tells programs.
type removed struct {
	ID      string `json:"id"`
	Removed bool   `json:"removed"`
}

type usersDeleteCmd struct {
	people
	Yes bool `short:"y" help:"Don't ask."`
}

func (p usersDeleteCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		return each(t, p.Users, func(ref string) error {
			u, err := d.user(ctx, ref)
			if err != nil {
				return err
			}
			apps, err := d.Apps.ApplicationsOfUser(ctx, d.by, u.ID)
			if err != nil {
				return err
			}
			consequence := fmt.Sprintf("%s will be removed for good, and loses access to %s.", u.Email, count(len(apps), "application", "applications"))
			if err := d.agree(p.Yes, consequence, u.Email); err != nil {
				return err
			}
			if err := d.Directory.DeleteUser(ctx, d.by, u.ID); err != nil {
				return err
			}
			return d.done(p.outputFlag, removed{string(u.ID), true}, "%s was removed.", u.Email)
		})
	})
}

type usersSetPasswordCmd struct {
	User      string `arg:"" help:"E-mail address, user name or id."`
	Temporary bool   `help:"It has to be replaced at the next sign-in."`
	outputFlag
}

// Help tells where the password comes from.
func (usersSetPasswordCmd) Help() string {
	return "The password is asked for on a terminal, and read as a line from standard input elsewhere."
}

func (s usersSetPasswordCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		u, err := d.user(ctx, s.User)
		if err != nil {
			return err
		}
		pw, err := d.secret("New password of "+u.Email, "password")
		if err != nil {
			return err
		}
		if err := d.Authn.SetPassword(ctx, d.by, u.ID, pw, s.Temporary); err != nil {
			return err
		}
		if u, err = d.Directory.User(ctx, d.by, u.ID); err != nil {
			return err
		}
		return d.done(s.outputFlag, viewUser(u), "%s has a new password; open sessions have ended.", u.Email)
	})
}

type usersLinkCmd struct {
	User    string        `arg:"" help:"E-mail address, user name or id."`
	Purpose string        `enum:",activation,reset" default:"" help:"activation (a first password) or reset. Default: what fits."`
	Valid   time.Duration `default:"72h" help:"How long the link holds, at most 720h."`
	outputFlag
}

func (l usersLinkCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		u, err := d.user(ctx, l.User)
		if err != nil {
			return err
		}
		purpose := authn.Purpose(l.Purpose)
		if purpose == "" {
			purpose = authn.Reset
			if u.PasswordStatus == directory.PasswordPending {
				purpose = authn.Activation
			}
		}
		token, err := d.Authn.NewLink(ctx, d.by, u.ID, purpose, l.Valid)
		if err != nil {
			return err
		}
		url, until := d.Config.PublicURL+"/activate?token="+token.Reveal(), d.Now().Add(l.Valid)
		if l.json() {
			return d.printJSON(map[string]any{"user": u.ID, "purpose": purpose, "url": url, "expiresAt": until.UTC().Truncate(time.Second)})
		}
		return d.say("Give this link to %s. It works once, until %s:\n%s", u.Email, moment(until), url)
	})
}
