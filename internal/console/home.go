package console

import (
	"net/http"
	"slices"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// homeApps bounds how many applications the first page asks how they stand.
const homeApps = 100

// homeEvents is how much of what happened lately the first page shows.
const homeEvents = 8

// concern is something that needs somebody.
type concern struct {
	Level        web.Level
	Text, Detail string
	Action       web.Button
}

// homeView is the first page.
type homeView struct {
	Concerns []concern
	Stats    web.Stats
	// Tasks are the first steps of a new installation; nil when all are done.
	Tasks       web.Checklist
	Done, Steps int
	Recent      eventsView
	Apps        []homeApp
	Now         time.Time
}

// homeApp is one application in short.
type homeApp struct {
	App      app.Application
	Level    web.Level
	Sentence string
}

// installation is what the first steps are told from.
type installation struct {
	people, groups, apps, owners int
	bound, signOn, provisioned   bool
	organization                 string
}

func (c *Console) home(w http.ResponseWriter, r *request) error {
	v := homeView{Now: c.Now()}
	var have installation
	stats, err := c.homeCounts(r, &have)
	if err != nil {
		return err
	}
	parked, waiting, err := c.homeApplications(r, &v, &have)
	if err != nil {
		return err
	}
	if have.provisioned {
		stats = append(stats, web.Stat{Label: "Changes waiting", Value: web.Number(waiting).String(), Href: appsPath})
		s := web.Stat{Label: "Blocked or refused", Value: web.Number(parked).String(), Href: appsPath, Level: web.OK, Note: "people and groups at applications"}
		if parked > 0 {
			s.Level = web.Warn
		}
		stats = append(stats, s)
	}
	v.Stats = stats
	list, err := c.Events.Search(r.Context(), r.By, audit.Query{Limit: homeEvents})
	if err != nil {
		return err
	}
	list.Next = ""
	v.Recent = c.eventsView(r, list, "")
	v.Tasks, v.Done, v.Steps = firstSteps(have, r)
	p := c.page(w, r, "home", "Home")
	p.Subtitle = "How things stand at " + nameOr(p.Organization.Name, "your organization") + "."
	return web.Render(w, r.Request, http.StatusOK, homePage(p, v))
}

func (c *Console) homeCounts(r *request, have *installation) (web.Stats, error) {
	count := func(q directory.UserQuery) (int, string, error) {
		q.Limit = 1
		page, err := c.Directory.ListUsers(r.Context(), r.By, q)
		if page.Total < 0 {
			return 10_001, "10,000+", err
		}
		return page.Total, web.Number(page.Total).String(), err
	}
	active, activeText, err := count(directory.UserQuery{State: directory.Active})
	if err != nil {
		return nil, err
	}
	staged, stagedText, err := count(directory.UserQuery{State: directory.Staged})
	if err != nil {
		return nil, err
	}
	suspended, suspendedText, err := count(directory.UserQuery{State: directory.Suspended})
	if err != nil {
		return nil, err
	}
	if have.owners, _, err = count(directory.UserQuery{Role: access.Owner}); err != nil {
		return nil, err
	}
	have.people = active + staged + suspended
	groups, err := c.Directory.ListGroups(r.Context(), r.By, directory.GroupQuery{Limit: 1})
	if err != nil {
		return nil, err
	}
	groupsText := web.Number(groups.Total).String()
	if have.groups = groups.Total; groups.Total < 0 {
		have.groups, groupsText = 10_001, "10,000+"
	}
	org, err := c.Directory.Organization(r.Context())
	if err != nil {
		return nil, err
	}
	have.organization = org.Name
	note := ""
	switch {
	case staged > 0 && suspended > 0:
		note = stagedText + " staged, " + suspendedText + " suspended"
	case staged > 0:
		note = stagedText + " staged"
	case suspended > 0:
		note = suspendedText + " suspended"
	}
	return web.Stats{
		{Label: "Active users", Value: activeText, Href: usersPath + "?state=active", Note: note},
		{Label: "Groups", Value: groupsText, Href: groupsPath},
	}, nil
}

// homeApplications asks each application how it stands and notes what needs somebody.
func (c *Console) homeApplications(r *request, v *homeView, have *installation) (parked, waiting int, err error) {
	page, err := c.Apps.List(r.Context(), r.By, app.Query{Limit: homeApps})
	if err != nil {
		return 0, 0, err
	}
	have.apps = len(page.Items)
	told := 0
	for _, a := range page.Items {
		have.bound = have.bound || a.Groups > 0
		have.signOn = have.signOn || a.SAML.Status == app.Active || a.BookmarkURL != ""
		x := homeApp{App: a, Level: web.Neutral, Sentence: "Not set up yet."}
		switch {
		case a.SAML.Status == app.Active:
			x.Level, x.Sentence = web.OK, "Sign-on is active."
		case !a.SAML.Offered && !a.SCIM.Offered:
			x.Sentence = "A bookmark in the portal."
		}
		if a.SAML.Status == app.Active {
			if err := c.certificateConcern(r, v, a); err != nil {
				return 0, 0, err
			}
		}
		if a.SAML.Offered {
			src, _, err := c.Apps.MetadataSource(r.Context(), r.By, a.ID)
			if err != nil {
				return 0, 0, err
			}
			metadataConcern(v, a, src)
		}
		if a.SCIM.Status == app.Active || a.SCIM.Status == app.Paused || a.SCIM.Status == app.Stopped {
			have.provisioned = true
			s, err := c.Engine.Status(r.Context(), r.By, a.ID)
			if err != nil {
				return 0, 0, err
			}
			waiting += s.Waiting
			bad := s.Users.Blocked + s.Users.Failed + s.Groups.Blocked + s.Groups.Failed
			parked += bad
			x.Level, x.Sentence = web.Level(s.Level), s.Sentence
			told += s.Receipts.Overdue
			if s.Receipts.Overdue > 0 {
				v.Concerns = append(v.Concerns, overdueConcern(a.Label, s.Receipts.Overdue))
			}
			if l := web.Level(s.Level); l == web.Danger || l == web.Warn && !(s.Receipts.Overdue > 0 && bad == 0 && s.Failures == 0 && s.State == app.Active) {
				d := concern{Level: l, Text: a.Label + ": " + s.Sentence, Action: web.Button{Label: "Look at it", Small: true, Href: appPath(a.ID, "provisioning")}}
				if s.Waiting > 0 && a.SCIM.Status != app.Active {
					d.Detail = count(s.Waiting, "change is", "changes are") + " kept and will be sent afterwards."
				}
				v.Concerns = append(v.Concerns, d)
			}
			if a.SCIM.TokenSet {
				if l, text := endState(a.SCIM.TokenExpiresAt, v.Now); l == web.Warn || l == web.Danger {
					v.Concerns = append(v.Concerns, concern{Level: l, Text: a.Label + ": the provisioning token " + text + ".", Detail: "Afterwards nothing can be sent.", Action: web.Button{Label: "Replace it", Small: true, Href: appPath(a.ID, "provisioning", "token")}})
				}
			}
		}
		if (a.SAML.Status == app.Active || a.SCIM.Status == app.Active) && a.Groups == 0 {
			v.Concerns = append(v.Concerns, concern{Level: web.Warn, Text: a.Label + " is bound to no group, so nobody reaches it.", Action: web.Button{Label: "Bind groups", Small: true, Href: appPath(a.ID, "groups")}})
		}
		v.Apps = append(v.Apps, x)
	}
	// Where provisioning is off nothing is sent, and people leave all the same.
	all, err := c.Engine.CountReceipts(r.Context(), r.By, "")
	if err != nil {
		return 0, 0, err
	}
	if all.Overdue > told {
		v.Concerns = append(v.Concerns, overdueConcern("Where provisioning is off", all.Overdue-told))
	}
	v.Concerns = worstFirst(v.Concerns)
	slices.SortStableFunc(v.Apps, func(a, b homeApp) int { return urgency(b.Level) - urgency(a.Level) })
	return parked, waiting, nil
}

func (c *Console) certificateConcern(r *request, v *homeView, a app.Application) error {
	pairs, err := c.Apps.Certificates(r.Context(), r.By, a.ID)
	if err != nil {
		return err
	}
	current, ok := pairOf(pairs, keys.Current)
	if !ok {
		return nil
	}
	if l, text := endState(current.NotAfter, v.Now); l == web.Warn || l == web.Danger {
		v.Concerns = append(v.Concerns, concern{
			Level: l, Text: a.Label + ": the signing certificate " + text + ".", Detail: "Afterwards the application may refuse sign-on.",
			Action: web.Button{Label: "Renew it", Small: true, Href: appPath(a.ID, "sign-on")},
		})
	}
	return nil
}

// urgency orders levels, the worst highest.
func urgency(l web.Level) int {
	return slices.Index([]web.Level{web.Neutral, web.OK, web.Info, web.Warn, web.Danger}, l)
}

func worstFirst(list []concern) []concern {
	slices.SortStableFunc(list, func(a, b concern) int { return urgency(b.Level) - urgency(a.Level) })
	return list
}

// firstSteps is the checklist of a new installation, and how many of how many steps are done; nil
// when all are.
func firstSteps(have installation, r *request) (open web.Checklist, done, all int) {
	button := func(label, href string) web.Button { return web.Button{Label: label, Small: true, Href: href} }
	list := web.Checklist{
		{Title: "Name the organization", Text: "People see it when they sign in.", Done: have.organization != "", Action: button("Enter it", settingsPath)},
		{Title: "Add people", Text: "One by one, or from a CSV file.", Done: have.people > 1, Action: button("Add people", usersPath+"/import")},
		{Title: "Make a group", Text: "Groups decide who reaches what.", Done: have.groups > 0, Action: button("Add group", groupsPath+"/new")},
		{Title: "Add an application", Text: "Choose it in the catalogue.", Done: have.apps > 0, Action: button("Open catalogue", cataloguePath)},
		{Title: "Set up sign-on", Text: "Swap values with the application and activate it.", Done: have.signOn, Action: button("Applications", appsPath)},
		{Title: "Bind a group to an application", Text: "Without a group nobody reaches it.", Done: have.bound, Action: button("Applications", appsPath)},
		{Title: "Turn provisioning on", Text: "Accounts at the application then follow the directory.", Done: have.provisioned, Action: button("Applications", appsPath)},
		{Title: "Have a second owner", Text: "A way in when the first one can't.", Done: have.owners > 1, Action: button("Administrators", settingsPath+"/administrators")},
	}
	n, steps := 0, len(list)
	for i := range list {
		if list[i].Done {
			n++
		}
		if !r.can(access.ManageDirectory) {
			list[i].Action = nil
		}
	}
	switch {
	case n == len(list):
		return nil, n, n
	case n > len(list)/2: // what is done needs no room any more
		list = slices.DeleteFunc(list, func(t web.Task) bool { return t.Done })
	}
	return list, n, steps
}
