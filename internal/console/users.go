package console

import (
	"context"
	"net/http"
	"net/url"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/web"
)

const usersPath = root + "/users"

func userPath(id directory.UserID) string { return usersPath + "/" + url.PathEscape(string(id)) }

// usersView is the list of people.
type usersView struct {
	Users  store.Page[directory.User]
	Pager  web.Pager
	Filter web.FilterBar
	// Filtered says that something narrows the list.
	Filtered  bool
	CanManage bool
}

func (c *Console) users(w http.ResponseWriter, r *request) error {
	q := r.URL.Query()
	query := directory.UserQuery{
		Text: q.Get("q"), State: directory.State(q.Get("state")), Role: access.Role(q.Get("role")), Cursor: q.Get("cursor"),
	}
	list, err := c.Directory.ListUsers(r.Context(), r.By, query)
	if err != nil {
		return err
	}
	v := usersView{
		Users: list, Pager: pager(r, list.Next, listSummary(r, list, "person", "people")),
		Filtered: query.Text != "" || query.State != "" || query.Role != "", CanManage: r.can(access.ManageDirectory),
		Filter: web.FilterBar{
			Action: usersPath, Query: query.Text, Placeholder: "Name, e-mail, user name or employee id", Target: "#users",
			Filters: []web.Filter{
				{Name: "state", Label: "State", Value: string(query.State), Options: []web.Option{
					{Value: "", Label: "Any state"},
					{Value: string(directory.Active), Label: stateName(directory.Active)},
					{Value: string(directory.Staged), Label: stateName(directory.Staged)},
					{Value: string(directory.Suspended), Label: stateName(directory.Suspended)},
				}},
				{Name: "role", Label: "Role", Value: string(query.Role), Options: append([]web.Option{{Value: "", Label: "Any role"}}, roleOptions(access.Owner, "")...)},
			},
		},
	}
	if v.Filtered {
		v.Filter.Clear = usersPath
	}
	p := c.page(w, r, "users", "Users")
	p.Subtitle = "Everybody who signs in here, and whose accounts at applications are kept."
	if v.CanManage {
		p.Actions = web.Group(
			web.Button{Label: "Leavers", Icon: "shield-check", Href: receiptsPath},
			web.Button{Label: "Import", Icon: "upload", Href: usersPath + "/import"},
			web.Button{Label: "Add user", Icon: "user-plus", Variant: web.Primary, Href: usersPath + "/new"},
		)
	}
	return web.Render(w, r.Request, http.StatusOK, usersPage(p, v))
}

// newUserView is the form that adds a person.
type newUserView struct {
	Form              web.Form
	Phones, Addresses int
	Custom            []customField
	Groups            []web.Option // offered
	Chosen            []web.Option
	Roles             []web.Option
}

func (c *Console) newUser(w http.ResponseWriter, r *request) error {
	if err := access.Allow(r.By, access.ManageDirectory); err != nil {
		return err
	}
	var chosen []string
	if g := r.URL.Query().Get("group"); g != "" {
		chosen = []string{g}
	}
	form := web.NewForm(map[string]string{"state": string(directory.Active)})
	return c.renderNewUser(w, r, http.StatusOK, form, directory.Attributes{}, chosen)
}

func (c *Console) renderNewUser(w http.ResponseWriter, r *request, status int, form web.Form, a directory.Attributes, chosen []string) error {
	v := newUserView{Form: form, Phones: len(a.Phones), Addresses: len(a.Addresses), Custom: customFields(a.Custom)}
	var err error
	if v.Groups, err = c.groupChoices(r, "", chosen); err != nil {
		return err
	}
	if v.Chosen, err = c.chosenGroups(r, chosen); err != nil {
		return err
	}
	if r.can(access.ManageRoles) {
		v.Roles = roleOptions(r.By.Role, "No role")
	}
	p := c.page(w, r, "users", "Add user")
	p.Crumbs = []web.Crumb{{Label: "Users", Href: usersPath}}
	p.Narrow = true
	return web.Render(w, r.Request, status, newUserPage(p, v))
}

func (c *Console) createUser(w http.ResponseWriter, r *request) error {
	var bad problem.Fields
	n := directory.NewUser{Attributes: readAttributes(r.PostForm, &bad), State: directory.State(r.PostForm.Get("state")), Role: postedRole(r)}
	for _, id := range r.PostForm["group"] {
		n.Groups = append(n.Groups, directory.GroupID(id))
	}
	err := c.findManager(r, &n.Attributes, &bad)
	if err == nil {
		err = bad.Err()
	}
	var u directory.User
	if err == nil {
		u, err = c.Directory.CreateUser(r.Context(), r.By, n)
	}
	if err != nil {
		values := attributeValues(n.Attributes)
		values["manager"], values["state"], values["role"] = r.PostForm.Get("manager"), r.PostForm.Get("state"), r.PostForm.Get("role")
		form, ok := web.NewForm(values).Fail(withFieldNames(err, attributeNames()))
		if !ok {
			return err
		}
		return c.renderNewUser(w, r, web.Status(err), form, n.Attributes, r.PostForm["group"])
	}
	message := u.Name() + " was added."
	if u.State == directory.Staged {
		message += " They have no access until you activate them."
	} else {
		message += " Hand out an activation link so that they can choose a password."
	}
	return done(w, r, userPath(u.ID), message)
}

// postedRole is the role that a form names; "none" and nothing are no role.
func postedRole(r *request) access.Role {
	if v := r.PostForm.Get("role"); v != "none" {
		return access.Role(v)
	}
	return access.None
}

// attributeNames tells how fields are called in the forms that the directory calls otherwise.
func attributeNames() map[string]string { return map[string]string{"managerId": "manager"} }

// findManager sets the manager that the form names by e-mail or user name.
func (c *Console) findManager(r *request, a *directory.Attributes, bad *problem.Fields) error {
	login := r.PostForm.Get("manager")
	if login == "" {
		return nil
	}
	m, err := c.Directory.UserByLogin(r.Context(), r.By, login)
	if problem.Is(err, problem.NotFound) {
		bad.Add("manager", "There is nobody with this e-mail address or user name.")
		return nil
	}
	a.ManagerID = m.ID
	return err
}

// managerLogin is what the form shows for a manager.
func (c *Console) managerLogin(ctx context.Context, by access.Actor, id directory.UserID) (string, error) {
	if id == "" {
		return "", nil
	}
	m, err := c.Directory.User(ctx, by, id)
	if problem.Is(err, problem.NotFound) {
		return "", nil
	}
	return m.Email, err
}

// pickUsers offers people for a Picker of field "user".
func (c *Console) pickUsers(w http.ResponseWriter, r *request) error {
	list, err := c.userChoices(r, r.URL.Query().Get("q"), nil)
	if err != nil {
		return err
	}
	return web.Render(w, r.Request, http.StatusOK, web.PickerOptions("user", list...))
}

const offered = 8 // options that a Picker shows at once

// userChoices offers people whom text finds, except some.
func (c *Console) userChoices(r *request, text string, except []string) ([]web.Option, error) {
	page, err := c.Directory.ListUsers(r.Context(), r.By, directory.UserQuery{Text: text, Limit: offered + min(len(except), 200)})
	return someOptions(page.Items, except, func(u directory.User) web.Option {
		help := u.Email
		if u.State != directory.Active {
			help += " · " + string(u.State)
		}
		return web.Option{Value: string(u.ID), Label: u.Name(), Help: help}
	}), err
}

// pickGroups offers groups for a Picker of field "group".
func (c *Console) pickGroups(w http.ResponseWriter, r *request) error {
	list, err := c.groupChoices(r, r.URL.Query().Get("q"), nil)
	if err != nil {
		return err
	}
	return web.Render(w, r.Request, http.StatusOK, web.PickerOptions("group", list...))
}

// groupChoices offers groups whose name has text, except some.
func (c *Console) groupChoices(r *request, text string, except []string) ([]web.Option, error) {
	page, err := c.Directory.ListGroups(r.Context(), r.By, directory.GroupQuery{Text: text, Limit: offered + min(len(except), 200)})
	return someOptions(page.Items, except, func(g directory.Group) web.Option { return groupOption(g) }), err
}

func groupOption(g directory.Group) web.Option {
	return web.Option{Value: string(g.ID), Label: g.Name, Help: people(g.Members)}
}

// chosenGroups are the groups with these ids, as far as they exist.
func (c *Console) chosenGroups(r *request, ids []string) ([]web.Option, error) {
	var list []web.Option
	for _, id := range ids {
		g, err := c.Directory.Group(r.Context(), r.By, directory.GroupID(id))
		if problem.Is(err, problem.NotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, groupOption(g))
	}
	return list, nil
}

// someOptions makes options of things, without those whose value is among except, up to what a
// Picker shows.
func someOptions[T any](things []T, except []string, option func(T) web.Option) []web.Option {
	skip := map[string]bool{}
	for _, id := range except {
		skip[id] = true
	}
	var list []web.Option
	for _, t := range things {
		if o := option(t); !skip[o.Value] && len(list) < offered {
			list = append(list, o)
		}
	}
	return list
}
