package console

import (
	"net/http"
	"slices"

	"github.com/a-h/templ"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// userFrame is what all pages about one person share.
type userFrame struct {
	web.Page
	User directory.User
	// Self says that the person looks at themselves.
	Self bool
	// May says what the one who looks may do with this person.
	May userMay
	// Suspending and Deleting say what would happen; nil when it can't be done.
	Suspending, Deleting []string
}

// userMay is what an actor may do with a person, as far as pages care; the domain decides.
type userMay struct{ Edit, Move, ResetSignIn, EndSessions, GiveRole, Delete bool }

func may(r *request, u directory.User) userMay {
	self := r.By.ID == string(u.ID)
	strong := r.By.Role.AtLeast(u.Role)
	return userMay{
		Edit:        r.can(access.ManageDirectory) && strong,
		Move:        r.can(access.SuspendUser) && strong && !self && (r.By.Role != access.HelpDesk || u.Role == access.None),
		ResetSignIn: r.can(access.ResetSignIn) && strong && !self,
		EndSessions: self || r.can(access.ResetSignIn),
		GiveRole:    r.can(access.ManageRoles) && strong,
		Delete:      r.can(access.ManageDirectory) && strong && !self,
	}
}

// noTab is for pages of acts, which show none of the tabs.
const noTab = "-"

func (c *Console) userFrame(w http.ResponseWriter, r *request, tab string) (userFrame, error) {
	u, err := c.Directory.User(r.Context(), r.By, directory.UserID(r.PathValue("id")))
	if err != nil {
		return userFrame{}, err
	}
	f := userFrame{Page: c.page(w, r, "users", u.Name()), User: u, Self: r.By.ID == string(u.ID), May: may(r, u)}
	f.Subtitle = u.Email
	f.Logo = web.Avatar{Name: u.Name(), Large: true}
	f.Badge = stateBadge(u.State)
	if u.Role != access.None {
		f.Badge = web.Group(stateBadge(u.State), web.Tag(roleName(u.Role)))
	}
	f.Crumbs = []web.Crumb{{Label: "Users", Href: usersPath}}
	path := userPath(u.ID)
	for _, t := range []struct{ key, label string }{{"", "Overview"}, {"groups", "Groups"}, {"applications", "Applications"}, {"sessions", "Sessions"}, {"activity", "Activity"}} {
		href := path
		if t.key != "" {
			href += "/" + t.key
		}
		f.Tabs = append(f.Tabs, web.Tab{Label: t.label, Href: href, Active: t.key == tab})
	}
	if f.May.Move && u.State == directory.Active && tab != noTab {
		if f.Suspending, err = c.leaving(r, u, false); err != nil {
			return f, err
		}
	}
	if f.May.Delete && tab != noTab {
		if f.Deleting, err = c.leaving(r, u, true); err != nil {
			return f, err
		}
	}
	f.Actions = userActions(f)
	return f, nil
}

// userView is a person's overview.
type userView struct {
	userFrame
	Form              web.Form
	Phones, Addresses int
	Custom            []customField
	Manager           directory.User // zero without one
	Roles             []web.Option
}

func (c *Console) user(w http.ResponseWriter, r *request) error {
	f, err := c.userFrame(w, r, "")
	if err != nil {
		return err
	}
	manager, err := c.managerLogin(r.Context(), r.By, f.User.ManagerID)
	if err != nil {
		return err
	}
	values := attributeValues(f.User.Attributes)
	values["manager"] = manager
	return c.renderUser(w, r, http.StatusOK, f, web.NewForm(values), f.User.Attributes)
}

func (c *Console) renderUser(w http.ResponseWriter, r *request, status int, f userFrame, form web.Form, a directory.Attributes) error {
	v := userView{userFrame: f, Form: form, Phones: len(a.Phones), Addresses: len(a.Addresses), Custom: customFields(a.Custom)}
	if id := f.User.ManagerID; id != "" {
		m, err := c.Directory.User(r.Context(), r.By, id)
		if err != nil && !problem.Is(err, problem.NotFound) {
			return err
		}
		v.Manager = m
	}
	if f.May.GiveRole {
		v.Roles = roleOptions(r.By.Role, "No role")
	}
	return web.Render(w, r.Request, status, userPage(v))
}

func (c *Console) saveUser(w http.ResponseWriter, r *request) error {
	id := directory.UserID(r.PathValue("id"))
	var bad problem.Fields
	a := readAttributes(r.PostForm, &bad)
	err := c.findManager(r, &a, &bad)
	if err == nil {
		err = bad.Err()
	}
	if err == nil {
		var u directory.User
		u, err = c.Directory.UpdateUser(r.Context(), r.By, id, formVersion(r), func(to *directory.Attributes) error {
			*to = a
			return nil
		})
		if err == nil {
			return done(w, r, userPath(id), u.Name()+" was saved.")
		}
	}
	values := attributeValues(a)
	values["manager"] = r.PostForm.Get("manager")
	form, ok := web.NewForm(values).Fail(withFieldNames(err, attributeNames()))
	if !ok {
		return err
	}
	f, ferr := c.userFrame(w, r, "")
	if ferr != nil {
		return ferr
	}
	return c.renderUser(w, r, web.Status(err), f, form, a)
}

// userGroupsView is a person's groups.
type userGroupsView struct {
	userFrame
	Groups  []directory.Group
	Offered []web.Option
	Form    web.Form
}

func (c *Console) userGroups(w http.ResponseWriter, r *request) error {
	return c.renderUserGroups(w, r, http.StatusOK, web.Form{})
}

func (c *Console) renderUserGroups(w http.ResponseWriter, r *request, status int, form web.Form) error {
	f, err := c.userFrame(w, r, "groups")
	if err != nil {
		return err
	}
	v := userGroupsView{userFrame: f, Form: form}
	if v.Groups, err = c.Directory.GroupsOf(r.Context(), r.By, f.User.ID); err != nil {
		return err
	}
	if f.May.Edit {
		var mine []string
		for _, g := range v.Groups {
			mine = append(mine, string(g.ID))
		}
		if v.Offered, err = c.groupChoices(r, "", mine); err != nil {
			return err
		}
	}
	return web.Render(w, r.Request, status, userGroupsPage(v))
}

func (c *Console) joinGroups(w http.ResponseWriter, r *request) error {
	id := directory.UserID(r.PathValue("id"))
	chosen := r.PostForm["group"]
	if len(chosen) == 0 {
		form, _ := web.PostedForm(r.Request).Fail(problem.InvalidField("group", "Choose at least one group."))
		return c.renderUserGroups(w, r, http.StatusUnprocessableEntity, form)
	}
	var names []string
	for _, g := range chosen {
		group, err := c.Directory.Group(r.Context(), r.By, directory.GroupID(g))
		if err != nil {
			return err
		}
		if _, err := c.Directory.AddMembers(r.Context(), r.By, group.ID, []directory.UserID{id}); err != nil {
			return err
		}
		names = append(names, group.Name)
	}
	return done(w, r, userPath(id)+"/groups", "Added to "+sentenceList(names)+".")
}

func (c *Console) leaveGroup(w http.ResponseWriter, r *request) error {
	id := directory.UserID(r.PathValue("id"))
	g, err := c.Directory.Group(r.Context(), r.By, directory.GroupID(r.PostForm.Get("group")))
	if err != nil {
		return err
	}
	if _, err := c.Directory.RemoveMembers(r.Context(), r.By, g.ID, []directory.UserID{id}); err != nil {
		return err
	}
	return done(w, r, userPath(id)+"/groups", "Removed from "+g.Name+".")
}

// userApp is one application of a person.
type userApp struct {
	ID    app.ID
	Label string
	Logo  web.AppLogo
	Via   []directory.Group
	// SignOn says whether they get in now, and why not.
	SignOn       web.Badge
	SignOnReason string
	// Account says how it stands with their account there; zero Label without provisioning.
	Account       web.Badge
	AccountReason string
	// Remote is the account's id there, "" if none is known.
	Remote   string
	CanRetry bool
}

type userAppsView struct {
	userFrame
	Apps []userApp
}

func (c *Console) userApplications(w http.ResponseWriter, r *request) error {
	f, err := c.userFrame(w, r, "applications")
	if err != nil {
		return err
	}
	v := userAppsView{userFrame: f}
	if v.Apps, err = c.appsOf(r, f.User); err != nil {
		return err
	}
	return web.Render(w, r.Request, http.StatusOK, userAppsPage(v))
}

// appsOf lists the applications that a person reaches, and those where they still have an
// account.
func (c *Console) appsOf(r *request, u directory.User) ([]userApp, error) {
	entitled, err := c.Apps.ApplicationsOfUser(r.Context(), r.By, u.ID)
	if err != nil {
		return nil, err
	}
	links, err := c.Engine.LinksOf(r.Context(), r.By, scim.User, string(u.ID))
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		if slices.ContainsFunc(entitled, func(a app.UserApplication) bool { return a.ID == l.Application }) {
			continue
		}
		a, err := c.Apps.Get(r.Context(), r.By, l.Application)
		if problem.Is(err, problem.NotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		entitled = append(entitled, app.UserApplication{Application: a})
	}
	var list []userApp
	for _, a := range entitled {
		one, err := c.userApp(r, u, a)
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, nil
}

func (c *Console) userApp(r *request, u directory.User, a app.UserApplication) (userApp, error) {
	x := userApp{ID: a.ID, Label: a.Label, Logo: appLogoOf(a.Application), Via: a.Via}
	switch {
	case len(a.Via) == 0:
		x.SignOn, x.SignOnReason = web.Badge{Label: "No access"}, "In none of its groups any more."
	case u.State == directory.Staged:
		x.SignOn, x.SignOnReason = web.Badge{Label: "Not yet"}, "The person isn't active yet."
	case u.State == directory.Suspended:
		x.SignOn, x.SignOnReason = web.Badge{Level: web.Warn, Label: "No access"}, "The person is suspended."
	case a.SAML.Status == app.Active:
		x.SignOn = web.Badge{Level: web.OK, Label: "Can sign on"}
	case a.SAML.Offered && a.SAML.Status == app.Incomplete:
		x.SignOn, x.SignOnReason = web.Badge{Level: web.Info, Label: "Not ready"}, "Its sign-on isn't set up yet."
	case a.SAML.Offered:
		x.SignOn, x.SignOnReason = web.Badge{Label: "Off"}, "Its sign-on is turned off."
	case a.BookmarkURL != "":
		x.SignOn = web.Badge{Level: web.OK, Label: "Bookmark", Icon: "bookmark"}
	default:
		x.SignOn = web.Badge{Label: "None"}
	}
	if !a.SCIM.Offered || a.SCIM.Status == app.Off && a.SCIM.BaseURL == "" {
		return x, nil
	}
	why, err := c.Engine.Explain(r.Context(), r.By, a.ID, u.ID)
	if err != nil {
		return x, err
	}
	x.Remote = why.Link.RemoteID
	x.Account = linkBadge(why.Link.Status)
	x.AccountReason = accountReason(a, why)
	x.CanRetry = r.can(access.RunProvisioning) && why.Waiting != nil && a.SCIM.Status == app.Active
	return x, nil
}

// accountReason says in a sentence why it stands so with an account.
func accountReason(a app.UserApplication, x provision.Explanation) string {
	switch {
	case len(x.Missing) > 0:
		return "Missing: " + sentenceList(x.Missing) + ". Enter it on the overview."
	case x.Link.Reason != "":
		return x.Link.Reason
	case x.Waiting != nil && x.Waiting.Reason != "":
		return x.Waiting.Reason
	case a.SCIM.Status == app.Paused:
		return "Provisioning is paused; changes are kept."
	case a.SCIM.Status == app.Stopped:
		return "Provisioning has stopped: " + a.SCIM.Reason
	case a.SCIM.Status != app.Active:
		return "Provisioning is off."
	case x.Waiting != nil:
		return "Something is still to be sent."
	case x.Why != "":
		return upper(x.Why) + "."
	default:
		return ""
	}
}

func appLogoOf(a app.Application) web.AppLogo {
	l := web.AppLogo{Name: a.Label, Color: a.Colour}
	if a.HasLogo {
		l.ImageURL = "/logo/" + string(a.ID)
	}
	return l
}

func (c *Console) retryUser(w http.ResponseWriter, r *request) error {
	id := r.PathValue("id")
	if err := c.Engine.RetryObject(r.Context(), r.By, app.ID(r.PostForm.Get("application")), scim.User, id); err != nil {
		return err
	}
	return redirect(w, r, userPath(directory.UserID(id))+"/applications", web.Info, "It is tried again now.")
}

// userSessionsView is where a person is signed in.
type userSessionsView struct {
	userFrame
	Sessions []authn.Session
	// Mine is the id of the session of the one who looks.
	Mine string
	At   web.Time
}

func (c *Console) userSessions(w http.ResponseWriter, r *request) error {
	f, err := c.userFrame(w, r, "sessions")
	if err != nil {
		return err
	}
	v := userSessionsView{userFrame: f, Mine: r.Session.ID, At: web.Time{Now: c.Now()}}
	if v.Sessions, err = c.Authn.Sessions(r.Context(), r.By, f.User.ID); err != nil {
		return err
	}
	return web.Render(w, r.Request, http.StatusOK, userSessionsPage(v))
}

func (c *Console) endSession(w http.ResponseWriter, r *request) error {
	if err := c.Authn.RevokeSession(r.Context(), r.By, r.PostForm.Get("session")); err != nil {
		return err
	}
	return done(w, r, userPath(directory.UserID(r.PathValue("id")))+"/sessions", "The session has ended.")
}

func (c *Console) endSessions(w http.ResponseWriter, r *request) error {
	id := directory.UserID(r.PathValue("id"))
	if err := c.Authn.RevokeAll(r.Context(), r.By, id); err != nil {
		return err
	}
	return done(w, r, userPath(id)+"/sessions", "All sessions have ended.")
}

// objectActivityView is the activity tab of a person or group.
type objectActivityView struct {
	Page    web.Page
	Dialogs templ.Component
	Inner   []web.Tab
	Log     eventsView
}

func (c *Console) userActivity(w http.ResponseWriter, r *request) error {
	f, err := c.userFrame(w, r, "activity")
	if err != nil {
		return err
	}
	path := userPath(f.User.ID) + "/activity"
	byThem := r.URL.Query().Get("by") == "them"
	q := audit.Query{Object: audit.Ref{Kind: audit.KindUser, ID: string(f.User.ID)}, Cursor: r.URL.Query().Get("cursor")}
	all := withQuery(activityPath, "object", "user:"+string(f.User.ID))
	if byThem {
		q.Object, q.ActorID = audit.Ref{}, string(f.User.ID)
		all = withQuery(activityPath, "actor", string(f.User.ID))
	}
	list, err := c.Events.Search(r.Context(), r.By, q)
	if err != nil {
		return err
	}
	v := objectActivityView{Page: f.Page, Dialogs: userDialogs(f), Log: c.eventsView(r, list, all), Inner: []web.Tab{
		{Label: "What happened to them", Href: path, Active: !byThem},
		{Label: "What they did", Href: path + "?by=them", Active: byThem},
	}}
	return web.Render(w, r.Request, http.StatusOK, objectActivityPage(v))
}

// formVersion is the version of the object that a form was filled from; 0 for any.
func formVersion(r *request) int64 {
	var n int64
	for _, d := range r.PostForm.Get("version") {
		if d < '0' || d > '9' || n > 1<<50 {
			return 0
		}
		n = n*10 + int64(d-'0')
	}
	return n
}
