package console

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/a-h/templ"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/web"
)

const groupsPath = root + "/groups"

// groupsView is the list of groups.
type groupsView struct {
	Groups    store.Page[directory.Group]
	Pager     web.Pager
	Filter    web.FilterBar
	CanManage bool
}

func (c *Console) groups(w http.ResponseWriter, r *request) error {
	q := r.URL.Query()
	list, err := c.Directory.ListGroups(r.Context(), r.By, directory.GroupQuery{Text: q.Get("q"), Cursor: q.Get("cursor")})
	if err != nil {
		return err
	}
	v := groupsView{
		Groups: list, Pager: pager(r, list.Next, listSummary(r, list, "group", "groups")), CanManage: r.can(access.ManageDirectory),
		Filter: web.FilterBar{Action: groupsPath, Query: q.Get("q"), Placeholder: "Name or description", Target: "#groups"},
	}
	if q.Get("q") != "" {
		v.Filter.Clear = groupsPath
	}
	p := c.page(w, r, "groups", "Groups")
	p.Subtitle = "A group decides which applications its members reach."
	if v.CanManage {
		p.Actions = web.Button{Label: "Add group", Icon: "plus", Variant: web.Primary, Href: groupsPath + "/new"}
	}
	return web.Render(w, r.Request, http.StatusOK, groupsPage(p, v))
}

// groupForm is the form of a group's own attributes.
type groupForm struct {
	Form   web.Form
	Custom []customField
}

const inheritedPrefix = "attributes."

// inheritedFields are the attributes that members can inherit, in the order of the form of people.
func inheritedFields() []textField {
	var list []textField
	can := directory.InheritedAttributes()
	for _, t := range textFields() {
		if slices.Contains(can, t.Name) {
			t.Name, t.Help = inheritedPrefix+t.Name, ""
			list = append(list, t)
		}
	}
	return list
}

func groupValues(g directory.GroupAttributes) (map[string]string, []customField) {
	v := map[string]string{"name": g.Name, "description": g.Description}
	custom := map[string]any{}
	for name, x := range g.Attributes {
		v[inheritedPrefix+name] = customText(x)
		if key, ok := strings.CutPrefix(name, directory.CustomPrefix); ok {
			custom[key] = x
		}
	}
	return v, customFields(custom)
}

func readGroup(form url.Values, bad *problem.Fields) directory.GroupAttributes {
	g := directory.GroupAttributes{Name: form.Get("name"), Description: form.Get("description"), Attributes: map[string]any{}}
	for _, t := range inheritedFields() {
		if s := strings.TrimSpace(form.Get(t.Name)); s != "" {
			g.Attributes[strings.TrimPrefix(t.Name, inheritedPrefix)] = s
		}
	}
	for key, x := range readCustom(form, inheritedPrefix+directory.CustomPrefix, bad) {
		g.Attributes[directory.CustomPrefix+key] = x
	}
	return g
}

// newGroupView is the form that adds a group.
type newGroupView struct {
	groupForm
	Offered []web.Option
	Chosen  []web.Option
}

func (c *Console) newGroup(w http.ResponseWriter, r *request) error {
	if err := access.Allow(r.By, access.ManageDirectory); err != nil {
		return err
	}
	return c.renderNewGroup(w, r, http.StatusOK, groupForm{}, nil)
}

func (c *Console) renderNewGroup(w http.ResponseWriter, r *request, status int, form groupForm, chosen []string) error {
	v := newGroupView{groupForm: form}
	var err error
	if v.Offered, err = c.userChoices(r, "", chosen); err != nil {
		return err
	}
	for _, id := range chosen {
		u, err := c.Directory.User(r.Context(), r.By, directory.UserID(id))
		if err != nil && !problem.Is(err, problem.NotFound) {
			return err
		}
		if err == nil {
			v.Chosen = append(v.Chosen, web.Option{Value: id, Label: u.Name(), Help: u.Email})
		}
	}
	p := c.page(w, r, "groups", "Add group")
	p.Crumbs = []web.Crumb{{Label: "Groups", Href: groupsPath}}
	p.Narrow = true
	return web.Render(w, r.Request, status, newGroupPage(p, v))
}

func (c *Console) createGroup(w http.ResponseWriter, r *request) error {
	var bad problem.Fields
	n := directory.NewGroup{GroupAttributes: readGroup(r.PostForm, &bad)}
	for _, id := range r.PostForm["user"] {
		n.Members = append(n.Members, directory.UserID(id))
	}
	err := bad.Err()
	var g directory.Group
	if err == nil {
		g, err = c.Directory.CreateGroup(r.Context(), r.By, n)
	}
	if err != nil {
		values, custom := groupValues(n.GroupAttributes)
		form, ok := web.NewForm(values).Fail(err)
		if !ok {
			return err
		}
		return c.renderNewGroup(w, r, web.Status(err), groupForm{form, custom}, r.PostForm["user"])
	}
	return done(w, r, groupPath(g.ID)+"/applications", "The group "+g.Name+" was added. Choose the applications that its members reach.")
}

// groupFrame is what all pages about one group share.
type groupFrame struct {
	web.Page
	Group directory.Group
	// Manage allows to change the group, Bind to change its applications.
	Manage, Bind bool
	// Deleting says what would happen; nil when it can't be done.
	Deleting []string
}

func (c *Console) groupFrame(w http.ResponseWriter, r *request, tab string) (groupFrame, error) {
	g, err := c.Directory.Group(r.Context(), r.By, directory.GroupID(r.PathValue("id")))
	if err != nil {
		return groupFrame{}, err
	}
	f := groupFrame{Page: c.page(w, r, "groups", g.Name), Group: g, Manage: r.can(access.ManageDirectory), Bind: r.can(access.ManageApplications)}
	f.Subtitle = g.Description
	f.Crumbs = []web.Crumb{{Label: "Groups", Href: groupsPath}}
	apps, err := c.Apps.ApplicationsOfGroup(r.Context(), r.By, g.ID)
	if err != nil {
		return f, err
	}
	path := groupPath(g.ID)
	f.Tabs = []web.Tab{
		{Label: "Members", Href: path, Active: tab == "", Count: web.Number(g.Members).String()},
		{Label: "Applications", Href: path + "/applications", Active: tab == "applications", Count: web.Number(len(apps)).String()},
		{Label: "Activity", Href: path + "/activity", Active: tab == "activity"},
	}
	if f.Manage && tab != noTab {
		if f.Deleting, err = c.losingGroup(r, g); err != nil {
			return f, err
		}
		f.Actions = groupActions(f)
	}
	return f, nil
}

// losingGroup says what happens when a group is deleted.
func (c *Console) losingGroup(r *request, g directory.Group) ([]string, error) {
	list := []string{"Its " + people(g.Members) + " leave it. They stay in the directory and in their other groups."}
	if g.Members == 0 {
		list = []string{"Nobody is in it."}
	}
	apps, err := c.Apps.ApplicationsOfGroup(r.Context(), r.By, g.ID)
	if err != nil {
		return nil, err
	}
	var labels []string
	for _, a := range apps {
		labels = append(labels, a.Label)
	}
	if len(labels) > 0 {
		list = append(list, "Members who reach "+sentenceList(labels)+" by no other group lose access there, and their accounts are deactivated.")
	} else {
		list = append(list, "It is bound to no application.")
	}
	links, err := c.Engine.LinksOf(r.Context(), r.By, scim.Group, string(g.ID))
	if err != nil {
		return nil, err
	}
	var remote []string
	for _, l := range links {
		if l.RemoteID == "" || l.Status == provision.LinkReleased {
			continue
		}
		if a, err := c.Apps.Get(r.Context(), r.By, l.Application); err == nil {
			remote = append(remote, a.Label)
		} else if !problem.Is(err, problem.NotFound) {
			return nil, err
		}
	}
	if len(remote) > 0 {
		list = append(list, "The group at "+sentenceList(remote)+" isn't deleted at once, because its licences and permissions would go with it: you approve that on the application's provisioning page, or leave it there.")
	}
	return append(list, "This can't be taken back."), nil
}

// groupView is a group's members.
type groupView struct {
	groupFrame
	Members store.Page[directory.User]
	Pager   web.Pager
	Filter  web.FilterBar
	Offered []web.Option
	Form    web.Form
	Inherit web.Diff
}

func (c *Console) group(w http.ResponseWriter, r *request) error {
	return c.renderGroup(w, r, http.StatusOK, web.Form{})
}

func (c *Console) renderGroup(w http.ResponseWriter, r *request, status int, form web.Form) error {
	f, err := c.groupFrame(w, r, "")
	if err != nil {
		return err
	}
	q := r.URL.Query()
	v := groupView{groupFrame: f, Form: form}
	if v.Members, err = c.Directory.Members(r.Context(), r.By, f.Group.ID, directory.UserQuery{Text: q.Get("q"), Cursor: q.Get("cursor")}); err != nil {
		return err
	}
	v.Pager = pager(r, v.Members.Next, listSummary(r, v.Members, "member", "members"))
	v.Filter = web.FilterBar{Action: groupPath(f.Group.ID), Query: q.Get("q"), Placeholder: "Name, e-mail or user name", Target: "#members"}
	if q.Get("q") != "" {
		v.Filter.Clear = groupPath(f.Group.ID)
	}
	if f.Manage {
		var here []string
		for _, u := range v.Members.Items {
			here = append(here, string(u.ID))
		}
		if v.Offered, err = c.userChoices(r, "", here); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Group.Attributes)) {
		v.Inherit = append(v.Inherit, web.Change{Name: name, New: customText(f.Group.Attributes[name])})
	}
	return web.Render(w, r.Request, status, groupPage(v))
}

func (c *Console) addMembers(w http.ResponseWriter, r *request) error {
	id := directory.GroupID(r.PathValue("id"))
	users := userIDs(r.PostForm["user"])
	if len(users) == 0 {
		form, _ := web.PostedForm(r.Request).Fail(problem.InvalidField("user", "Choose at least one person."))
		return c.renderGroup(w, r, http.StatusUnprocessableEntity, form)
	}
	n, err := c.Directory.AddMembers(r.Context(), r.By, id, users)
	if problem.Is(err, problem.Invalid) {
		form, _ := web.PostedForm(r.Request).Fail(withFieldNames(err, map[string]string{"users": "user", "members": "user"}))
		return c.renderGroup(w, r, web.Status(err), form)
	}
	if err != nil {
		return err
	}
	if n == 0 {
		return redirect(w, r, groupPath(id), web.Info, "They were members already.")
	}
	return done(w, r, groupPath(id), upper(people(n))+" added.")
}

func (c *Console) removeMembers(w http.ResponseWriter, r *request) error {
	id := directory.GroupID(r.PathValue("id"))
	users := userIDs(r.PostForm["member"])
	if len(users) == 0 {
		return redirect(w, r, groupPath(id), web.Warn, "Nobody was chosen, so nobody was removed.")
	}
	n, err := c.Directory.RemoveMembers(r.Context(), r.By, id, users)
	if err != nil {
		return err
	}
	return done(w, r, groupPath(id), upper(people(n))+" removed.")
}

func userIDs(in []string) []directory.UserID {
	var out []directory.UserID
	for _, id := range in {
		out = append(out, directory.UserID(id))
	}
	return out
}

// groupAppsView is the applications that a group is bound to.
type groupAppsView struct {
	groupFrame
	Apps    []app.Application
	Links   map[app.ID]provision.Link
	Offered []web.Option
	Form    web.Form
}

func (c *Console) groupApplications(w http.ResponseWriter, r *request) error {
	return c.renderGroupApps(w, r, http.StatusOK, web.Form{})
}

func (c *Console) renderGroupApps(w http.ResponseWriter, r *request, status int, form web.Form) error {
	f, err := c.groupFrame(w, r, "applications")
	if err != nil {
		return err
	}
	v := groupAppsView{groupFrame: f, Form: form, Links: map[app.ID]provision.Link{}}
	if v.Apps, err = c.Apps.ApplicationsOfGroup(r.Context(), r.By, f.Group.ID); err != nil {
		return err
	}
	links, err := c.Engine.LinksOf(r.Context(), r.By, scim.Group, string(f.Group.ID))
	if err != nil {
		return err
	}
	for _, l := range links {
		v.Links[l.Application] = l
	}
	if f.Bind {
		var bound []string
		for _, a := range v.Apps {
			bound = append(bound, string(a.ID))
		}
		if v.Offered, err = c.appChoices(r, "", bound); err != nil {
			return err
		}
	}
	return web.Render(w, r.Request, status, groupAppsPage(v))
}

func (c *Console) bindApplications(w http.ResponseWriter, r *request) error {
	id := directory.GroupID(r.PathValue("id"))
	chosen := r.PostForm["application"]
	if len(chosen) == 0 {
		form, _ := web.PostedForm(r.Request).Fail(problem.InvalidField("application", "Choose at least one application."))
		return c.renderGroupApps(w, r, http.StatusUnprocessableEntity, form)
	}
	// Where members would be provisioned, the plan is looked at on the application's own page.
	var labels, what []string
	var planned []app.Application
	for _, s := range chosen {
		a, err := c.Apps.Get(r.Context(), r.By, app.ID(s))
		if err != nil {
			return err
		}
		_, _, err = c.Engine.Apply(r.Context(), r.By, a.ID, app.SCIMChange{Bind: []directory.GroupID{id}}, "")
		if u, ok := errors.AsType[*provision.Unapproved](err); ok {
			planned = append(planned, a)
			what = append(what, a.Label+" ("+count(u.Plan.Counts.Writes, "request", "requests")+")")
			continue
		}
		if err != nil {
			return err
		}
		labels = append(labels, a.Label)
	}
	if len(planned) > 0 {
		said := "Look at what is sent first: "
		if len(labels) > 0 {
			said = "Members now reach " + sentenceList(labels) + ". " + said
		}
		return redirect(w, r, withQuery(appPath(planned[0].ID, "groups"), "bind", string(id)), web.Info, said+sentenceList(what)+".")
	}
	return done(w, r, groupPath(id)+"/applications", "Members now reach "+sentenceList(labels)+".")
}

// unbindForm asks before a group's members lose an application.
func (c *Console) unbindForm(w http.ResponseWriter, r *request) error {
	f, err := c.groupFrame(w, r, noTab)
	if err != nil {
		return err
	}
	if err := access.Allow(r.By, access.ManageApplications); err != nil {
		return err
	}
	a, err := c.Apps.Get(r.Context(), r.By, app.ID(r.PathValue("application")))
	if err != nil {
		return err
	}
	f.Crumbs = append(f.Crumbs, web.Crumb{Label: f.Group.Name, Href: groupPath(f.Group.ID) + "/applications"})
	f.Title, f.Subtitle, f.Tabs, f.Narrow = "Unbind "+a.Label+" from "+f.Group.Name, "", nil, true
	list := []string{"Of its " + people(f.Group.Members) + ", those who reach " + a.Label + " by no other group lose access at once."}
	if a.SCIM.Status == app.Active || a.SCIM.Status == app.Paused {
		list = append(list, "Their accounts there are "+map[bool]string{true: "deleted", false: "deactivated"}[a.SCIM.OnLeave == app.Remove]+". The group there stays as it is.")
	}
	return web.Render(w, r.Request, http.StatusOK, actPage(f.Page, web.ConfirmForm{
		Action: groupPath(f.Group.ID) + "/applications/" + url.PathEscape(string(a.ID)) + "/unbind", Submit: "Unbind",
		Cancel: groupPath(f.Group.ID) + "/applications", Consequences: list,
	}))
}

func (c *Console) unbindApplication(w http.ResponseWriter, r *request) error {
	id := directory.GroupID(r.PathValue("id"))
	a, err := c.Apps.Get(r.Context(), r.By, app.ID(r.PathValue("application")))
	if err != nil {
		return err
	}
	_, _, err = c.Engine.Apply(r.Context(), r.By, a.ID, app.SCIMChange{Unbind: []directory.GroupID{id}}, "")
	if _, ok := errors.AsType[*provision.Unapproved](err); ok {
		return redirect(w, r, appPath(a.ID, "groups", string(id), "unbind"), web.Info, "Members lose accounts by that: look at what is sent first.")
	}
	if err != nil {
		return err
	}
	return done(w, r, groupPath(id)+"/applications", a.Label+" was unbound.")
}

// pickApplications offers applications for a Picker of field "application".
func (c *Console) pickApplications(w http.ResponseWriter, r *request) error {
	list, err := c.appChoices(r, r.URL.Query().Get("q"), nil)
	if err != nil {
		return err
	}
	return web.Render(w, r.Request, http.StatusOK, web.PickerOptions("application", list...))
}

func (c *Console) appChoices(r *request, text string, except []string) ([]web.Option, error) {
	page, err := c.Apps.List(r.Context(), r.By, app.Query{Text: text, Limit: offered + min(len(except), 200)})
	return someOptions(page.Items, except, func(a app.Application) web.Option {
		return web.Option{Value: string(a.ID), Label: a.Label, Help: a.Description}
	}), err
}

func (c *Console) groupActivity(w http.ResponseWriter, r *request) error {
	f, err := c.groupFrame(w, r, "activity")
	if err != nil {
		return err
	}
	list, err := c.Events.Search(r.Context(), r.By, audit.Query{
		Object: audit.Ref{Kind: audit.KindGroup, ID: string(f.Group.ID)}, Cursor: r.URL.Query().Get("cursor"),
	})
	if err != nil {
		return err
	}
	return web.Render(w, r.Request, http.StatusOK, objectActivityPage(objectActivityView{
		Page: f.Page, Dialogs: groupDialogs(f), Log: c.eventsView(r, list, withQuery(activityPath, "object", "group:"+string(f.Group.ID))),
	}))
}

// editGroupView is the form of a group.
type editGroupView struct {
	groupFrame
	groupForm
}

func (c *Console) editGroup(w http.ResponseWriter, r *request) error {
	f, err := c.groupFrame(w, r, noTab)
	if err != nil {
		return err
	}
	values, custom := groupValues(f.Group.GroupAttributes)
	return c.renderEditGroup(w, r, http.StatusOK, f, groupForm{web.NewForm(values), custom})
}

func (c *Console) renderEditGroup(w http.ResponseWriter, r *request, status int, f groupFrame, form groupForm) error {
	if err := access.Allow(r.By, access.ManageDirectory); err != nil {
		return err
	}
	f.Crumbs = append(f.Crumbs, web.Crumb{Label: f.Group.Name, Href: groupPath(f.Group.ID)})
	f.Title, f.Subtitle, f.Tabs, f.Narrow = "Edit "+f.Group.Name, "", nil, true
	return web.Render(w, r.Request, status, editGroupPage(editGroupView{f, form}))
}

func (c *Console) saveGroup(w http.ResponseWriter, r *request) error {
	id := directory.GroupID(r.PathValue("id"))
	var bad problem.Fields
	to := readGroup(r.PostForm, &bad)
	err := bad.Err()
	if err == nil {
		var g directory.Group
		g, err = c.Directory.UpdateGroup(r.Context(), r.By, id, formVersion(r), func(a *directory.GroupAttributes) error {
			*a = to
			return nil
		})
		if err == nil {
			return done(w, r, groupPath(id), "The group "+g.Name+" was saved.")
		}
	}
	values, custom := groupValues(to)
	form, ok := web.NewForm(values).Fail(err)
	if !ok {
		return err
	}
	f, ferr := c.groupFrame(w, r, noTab)
	if ferr != nil {
		return ferr
	}
	return c.renderEditGroup(w, r, web.Status(err), f, groupForm{form, custom})
}

func deleteGroupForm(g directory.Group, consequences []string, wrong string) web.ConfirmForm {
	return web.ConfirmForm{
		Action: groupPath(g.ID) + "/delete", Word: g.Name, What: "the group's name", Submit: "Delete group", Cancel: groupPath(g.ID),
		Consequences: consequences, Error: wrong,
	}
}

func (c *Console) confirmDeleteGroup(w http.ResponseWriter, r *request) error {
	return c.renderDeleteGroup(w, r, http.StatusOK, "")
}

func (c *Console) renderDeleteGroup(w http.ResponseWriter, r *request, status int, wrong string) error {
	if err := access.Allow(r.By, access.ManageDirectory); err != nil {
		return err
	}
	f, err := c.groupFrame(w, r, noTab)
	if err != nil {
		return err
	}
	list, err := c.losingGroup(r, f.Group)
	if err != nil {
		return err
	}
	f.Crumbs = append(f.Crumbs, web.Crumb{Label: f.Group.Name, Href: groupPath(f.Group.ID)})
	f.Title, f.Subtitle, f.Tabs, f.Narrow = "Delete "+f.Group.Name, "", nil, true
	var body templ.Component = deleteGroupForm(f.Group, list, wrong)
	return web.Render(w, r.Request, status, actPage(f.Page, body))
}

func (c *Console) deleteGroup(w http.ResponseWriter, r *request) error {
	g, err := c.Directory.Group(r.Context(), r.By, directory.GroupID(r.PathValue("id")))
	if err != nil {
		return err
	}
	if !confirmed(r, g.Name) {
		return c.renderDeleteGroup(w, r, http.StatusUnprocessableEntity, "This isn't the group's name. Nothing was deleted.")
	}
	if err := c.Directory.DeleteGroup(r.Context(), r.By, g.ID); err != nil {
		return err
	}
	return done(w, r, groupsPath, "The group "+g.Name+" was deleted.")
}
