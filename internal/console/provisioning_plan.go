package console

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/provision/plan"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// planMost is how many steps one page of a plan shows.
const planMost = 100

// planPage is what would be sent, before it is.
type planPage struct {
	appFrame
	Hash   string
	Counts plan.Counts
	// Steps are those shown; Found is how many match the filter.
	Steps []planStep
	Found int
	All   int
	Show  string
	Query string
	// Held says why the plan needs a person's word; "" if it doesn't.
	Held string
	// Problem says why the plan couldn't be carried out as it was seen, or typed wrongly.
	Problem string
	Wrong   string
}

// planStep is one object with what would be sent.
type planStep struct {
	Badge web.Badge
	// Kind is Person or Group, Method how it is sent, "" if nothing is.
	Kind, Method string
	Title        string
	Detail       string
	Href         string
	Note         web.Banner
	Changes      web.Diff
	Members      []string
	// Sent is the request as it would go out, "" if nothing is sent.
	Sent string
}

func (c *Console) provisioningPlan(w http.ResponseWriter, r *request) error {
	return c.renderPlan(w, r, http.StatusOK, "", "")
}

func (c *Console) renderPlan(w http.ResponseWriter, r *request, status int, stale, wrong string) error {
	s, err := c.provisioningFrame(w, r)
	if err != nil {
		return err
	}
	if len(s.App.SCIM.Missing) > 0 {
		return redirect(w, r, s.path("provisioning"), web.Warn, "Enter the "+strings.Join(s.App.SCIM.Missing, " and the ")+" first.")
	}
	preview, err := c.Engine.Preview(r.Context(), r.By, s.App.ID)
	if err != nil {
		if problem.Is(err, problem.Unavailable) || problem.Is(err, problem.Conflict) {
			c.Log.InfoContext(r.Context(), "no plan", "application", s.App.ID, "error", err)
			return redirect(w, r, s.path("provisioning"), web.Danger, problem.Public(err))
		}
		return err
	}
	q := r.URL.Query()
	p := planPage{
		appFrame: s.inner("Plan", "Provisioning", "provisioning"), Hash: preview.Hash, Counts: preview.Counts, All: len(preview.Steps),
		Show: q.Get("show"), Query: strings.TrimSpace(q.Get("q")), Problem: stale, Wrong: wrong,
	}
	p.Subtitle = "What would be written at " + s.product() + " now. Made by reading only."
	p.Held = heldReason(s, preview)
	words := store.Fold(p.Query)
	for _, x := range preview.Steps {
		if !showsStep(p.Show, x) || words != "" && !strings.Contains(store.Fold(stepName(x)+" "+x.For.Label), words) {
			continue
		}
		p.Found++
		if len(p.Steps) < planMost {
			p.Steps = append(p.Steps, s.planStep(x))
		}
	}
	return web.Render(w, r.Request, status, planView(p))
}

// heldReason says why a plan must not be carried out without a person's word. The floor keeps
// one leaver of three people from being an alarm.
func heldReason(s provisioningPage, preview provision.Preview) string {
	const floor = 5
	g := plan.Guard{MaxCount: s.App.SCIM.Guard.MaxCount, MaxPercent: s.App.SCIM.Guard.MaxPercent, Floor: floor}
	there := func(t provision.Tally) int { return t.Synced + t.Pending + t.Blocked + t.Failed }
	reason, held := g.Held(plan.Plan{Steps: preview.Steps}, there(s.Provisioning.Users)+there(s.Provisioning.Groups))
	if !held {
		return ""
	}
	return reason
}

// What can be shown of a plan alone.
const (
	showNew     = "new"
	showAdopt   = "adopt"
	showUpdate  = "update"
	showLeave   = "leave"
	showGroups  = "groups"
	showBlocked = "blocked"
)

func showsStep(show string, s plan.Step) bool {
	group := s.On.Type == scim.Group
	switch show {
	case showNew:
		return !group && (s.Kind == plan.Create || s.Kind == plan.Reactivate)
	case showAdopt:
		return s.Kind == plan.Adopt
	case showUpdate:
		return !group && s.Kind == plan.Update
	case showLeave:
		return s.Kind == plan.Deactivated || s.Kind == plan.Deleted
	case showGroups:
		return group
	case showBlocked:
		return s.Kind == plan.Blocked || s.Guarded
	}
	return true
}

func stepName(s plan.Step) string { return cmp.Or(s.On.Label, s.For.Label, s.On.ID, s.For.ID) }

// planStep tells one step for people.
func (p provisioningPage) planStep(s plan.Step) planStep {
	v := planStep{Title: stepName(s), Badge: stepBadge(s), Kind: "Person", Method: s.Method}
	if s.On.Type == scim.Group {
		v.Kind = "Group"
	}
	switch {
	case s.On.ID == "":
	case s.On.Type == scim.Group:
		v.Href = p.path("provisioning", "groups", s.On.ID)
	default:
		v.Href = p.path("provisioning", "people", s.On.ID)
	}
	switch s.Kind {
	case plan.Adopt:
		v.Detail = "Exists there already and is taken over: from then on it follows the directory"
	case plan.AddMembers:
		v.Detail = people(len(s.Members)) + " " + verb(len(s.Members), "joins", "join")
	case plan.RemoveMembers:
		v.Detail = people(len(s.Members)) + " " + verb(len(s.Members), "leaves", "leave")
	case plan.Create:
		if s.On.Type == scim.Group && len(s.Members) > 0 {
			v.Detail = "With " + people(len(s.Members))
		}
	case plan.Update:
		v.Detail = changedPaths(s.Changes)
	case plan.Blocked:
		v.Detail = s.Reason
	case plan.Lookup, plan.Read:
		v.Detail = "Is looked up first; what follows depends on what is found"
	}
	for i, m := range s.Members {
		if i == 50 {
			v.Members = append(v.Members, fmt.Sprintf("and %d more", len(s.Members)-i))
			break
		}
		v.Members = append(v.Members, cmp.Or(m.Label, m.ID, m.Remote))
	}
	for _, x := range s.Changes {
		v.Changes = append(v.Changes, web.Change{Name: x.Path, Old: planValue(x.Old), New: planValue(x.New)})
	}
	switch {
	case s.Kind == plan.Blocked:
		v.Note = web.Banner{Level: web.Warn, Text: s.Reason, Detail: "Nothing is sent for it. Everybody else goes on."}
		if s.Alternative == plan.AlternativeReplace {
			v.Note.Detail = "It can be replaced by a new group instead: that is offered on its page."
		}
	case s.Guarded:
		v.Note = web.Banner{Level: web.Danger, Text: "This takes a group away at " + p.product() + ".", Detail: p.Con.SCIM.Groups.DeleteEffect}
	case s.Kind == plan.Deactivated:
		v.Note = web.Banner{Level: web.Info, Text: "The account is switched off there.", Detail: p.Con.SCIM.Users.DeactivateEffect}
	case s.Kind == plan.Deleted:
		v.Note = web.Banner{Level: web.Danger, Text: "The account is deleted there.", Detail: p.Con.SCIM.Users.DeleteEffect}
	}
	if s.Method != "" {
		v.Sent = stepRequest(s)
	}
	return v
}

// changedPaths names what an update changes.
func changedPaths(list []plan.Change) string {
	var names []string
	for _, x := range list {
		names = append(names, x.Path)
	}
	return sentenceList(names)
}

// stepRequest is a step's request as it would be sent, without the address' beginning.
func stepRequest(s plan.Step) string {
	path := "/" + string(s.On.Type) + "s"
	if s.On.Remote != "" {
		path += "/" + s.On.Remote
	}
	var body any
	switch {
	case len(s.Body) > 0:
		body = s.Body
	case len(s.Operations) > 0:
		body = map[string]any{"Operations": s.Operations}
	default:
		return s.Method + " " + path
	}
	text, err := json.MarshalIndent(body, "", "  ")
	if err != nil {
		return s.Method + " " + path
	}
	return s.Method + " " + path + "\n\n" + string(text)
}

// planValue is a value in a plan as text.
func planValue(v any) string {
	if v == nil {
		return ""
	}
	if s := shownValue(v); s != "" {
		return s
	}
	return "(empty)"
}

func stepBadge(s plan.Step) web.Badge {
	group := s.On.Type == scim.Group
	switch s.Kind {
	case plan.Create:
		return web.Badge{Level: web.OK, Label: "Create", Icon: "plus"}
	case plan.Adopt:
		return web.Badge{Level: web.Info, Label: "Take over", Icon: "link"}
	case plan.Update:
		if group {
			return web.Badge{Level: web.Info, Label: "Update", Icon: "pencil"}
		}
		return web.Badge{Level: web.Info, Label: "Update", Icon: "user-pen"}
	case plan.Reactivate:
		return web.Badge{Level: web.OK, Label: "Activate", Icon: "user-check"}
	case plan.Deactivated:
		return web.Badge{Level: web.Warn, Label: "Deactivate", Icon: "user-minus"}
	case plan.Deleted:
		return web.Badge{Level: web.Danger, Label: "Delete", Icon: "trash-2"}
	case plan.AddMembers:
		return web.Badge{Level: web.OK, Label: "Add", Icon: "user-plus"}
	case plan.RemoveMembers:
		return web.Badge{Level: web.Warn, Label: "Take out", Icon: "user-minus"}
	case plan.Blocked:
		return web.Badge{Level: web.Warn, Label: "Blocked", Icon: "hand"}
	case plan.Lookup, plan.Read:
		return web.Badge{Level: web.Neutral, Label: "Look up", Icon: "search"}
	}
	return web.Badge{Level: web.Neutral, Label: string(s.Kind)}
}

// tiles are the counts; each narrows the list.
func (p planPage) tiles() web.Stats {
	c := p.Counts
	tile := func(label string, n int, show string, level web.Level, note string) web.Stat {
		s := web.Stat{Label: label, Value: web.Number(n).String(), Href: withQuery(p.path("provisioning", "plan"), "show", show)}
		if n > 0 {
			s.Level, s.Note = level, note
		}
		return s
	}
	groups := c.Groups.Create + c.Groups.Update + c.Groups.Delete
	members := ""
	if c.MembersAdded+c.MembersRemoved > 0 {
		members = fmt.Sprintf("%s join, %d leave", web.Number(c.MembersAdded), c.MembersRemoved)
	}
	groupTile := tile("Groups", groups, showGroups, web.Neutral, members)
	groupTile.Note = members
	return web.Stats{
		tile("Create people", c.Users.Create+c.Users.Reactivate, showNew, web.OK, reactivated(c.Users.Reactivate)),
		tile("Take over", c.Users.Adopt+c.Groups.Adopt, showAdopt, web.Info, "exist there already"),
		tile("Update people", c.Users.Update, showUpdate, web.Neutral, ""),
		tile("Switch off", c.Users.Deactivate+c.Users.Delete+c.Groups.Delete, showLeave, web.Warn, deleted(c)),
		groupTile,
		tile("Blocked", c.Blocked, showBlocked, web.Warn, "need a person"),
	}
}

func reactivated(n int) string {
	if n == 0 {
		return ""
	}
	return web.Number(n).String() + " of them come back"
}

func deleted(c plan.Counts) string {
	if n := c.Users.Delete + c.Groups.Delete; n > 0 {
		return web.Number(n).String() + " of them deleted"
	}
	return "accounts deactivated"
}

// confirm is the form that activates with this very plan.
func (p planPage) confirm() web.ConfirmForm {
	f := web.ConfirmForm{
		Action: p.path("provisioning", "activate"), Submit: "Activate provisioning", Cancel: p.path("provisioning"),
		Hidden: map[string]string{"hash": p.Hash, "held": boolValue(p.Held != "")}, Error: p.Wrong,
	}
	if p.Held != "" {
		f.Word, f.What = p.App.Label, "the application's label"
		f.Consequences = []string{p.Held}
	}
	return f
}

func (p planPage) summary() string {
	c := p.Counts
	if c.Writes == 0 && c.Users.Adopt+c.Groups.Adopt == 0 {
		if c.Lookups > 0 {
			return "Nothing is known to be written; " + count(c.Lookups, "object is", "objects are") + " looked up first."
		}
		return "Nothing has to be written: everything there is as it should be."
	}
	return count(c.Writes, "request changes", "requests change") + " something there."
}

func (c *Console) activateProvisioning(w http.ResponseWriter, r *request) error {
	id := app.ID(r.PathValue("id"))
	hash := r.PostForm.Get("hash")
	if hash == "" {
		return redirect(w, r, appPath(id, "provisioning", "plan"), web.Info, "Look at the plan first; it activates exactly what it shows.")
	}
	if err := mayManage(r); err != nil {
		return err
	}
	a, err := c.Apps.Get(r.Context(), r.By, id)
	if err != nil {
		return err
	}
	if r.PostForm.Get("held") != "" && store.Key(r.PostForm.Get("confirm")) != store.Key(a.Label) {
		return c.renderPlan(w, r, http.StatusUnprocessableEntity, "", "Type "+a.Label+" to confirm that this plan takes so much away.")
	}
	err = c.Engine.Activate(r.Context(), r.By, id, hash)
	if problem.Is(err, problem.Conflict) {
		return c.renderPlan(w, r, http.StatusConflict, problem.Public(err), "")
	}
	if err != nil {
		return err
	}
	return done(w, r, appPath(id, "provisioning"), "Provisioning is active. The plan is being carried out; you can leave this page.")
}

// linksPage lists what is remembered of people and groups.
type linksPage struct {
	appFrame
	Links  []provision.Link
	Filter web.FilterBar
	Pager  web.Pager
	MayRun bool
	// Narrowed tells whether a filter is set.
	Narrowed bool
}

func (c *Console) provisioningObjects(w http.ResponseWriter, r *request) error {
	s, err := c.provisioningFrame(w, r)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	query := provision.LinkQuery{Status: provision.LinkStatus(q.Get("status")), Text: q.Get("q"), Cursor: q.Get("cursor"), Limit: 50}
	switch q.Get("kind") {
	case "user":
		query.Kind = scim.User
	case "group":
		query.Kind = scim.Group
	}
	list, err := c.Engine.Links(r.Context(), r.By, s.App.ID, query)
	if err != nil {
		return err
	}
	p := linksPage{
		appFrame: s.inner("People and groups at "+s.product(), "Provisioning", "provisioning"), Links: list.Items, MayRun: s.MayRun && s.running(),
		Narrowed: q.Get("q")+q.Get("status")+q.Get("kind") != "", Pager: pager(r, list.Next, ""),
	}
	p.Filter = web.FilterBar{
		Action: p.path("provisioning", "objects"), Query: query.Text, Placeholder: "Name", Target: "#objects",
		Filters: []web.Filter{
			{Name: "kind", Label: "Kind", Value: q.Get("kind"), Options: []web.Option{{Value: "", Label: "People and groups"}, {Value: "user", Label: "People"}, {Value: "group", Label: "Groups"}}},
			{Name: "status", Label: "State", Value: q.Get("status"), Options: linkStatusOptions()},
		},
	}
	if p.Narrowed {
		p.Filter.Clear = p.Filter.Action
	}
	return web.Render(w, r.Request, http.StatusOK, linksView(p))
}

func linkStatusOptions() []web.Option {
	list := []web.Option{{Value: "", Label: "Any"}}
	for _, s := range []provision.LinkStatus{
		provision.LinkSynced, provision.LinkPending, provision.LinkBlocked, provision.LinkFailed, provision.LinkInactive, provision.LinkReleased,
	} {
		list = append(list, web.Option{Value: string(s), Label: linkBadge(s).Label})
	}
	return list
}

// linkRows are the rows of a list of links.
func (p linksPage) linkRows() []web.Row {
	var rows []web.Row
	for _, l := range p.Links {
		kind, part := "people", "Person"
		if l.Kind == scim.Group {
			kind, part = "groups", "Group"
		}
		row := web.Row{ID: l.ObjectID, Name: l.Name, Quiet: l.Status == provision.LinkInactive || l.Status == provision.LinkReleased}
		retry := web.PostButton{
			Button: web.Button{Label: "Retry " + l.Name, Icon: "rotate-ccw", IconOnly: true, Small: true, Variant: web.Ghost},
			Action: p.path("provisioning", kind, l.ObjectID, "retry"),
		}
		row.Cells = web.Cells(
			web.Identity{Name: cmp.Or(l.Name, l.ObjectID), Detail: part, Href: p.path("provisioning", kind, l.ObjectID)},
			linkBadge(l.Status), web.Text(l.Reason), web.Time{At: l.SyncedAt, Now: p.Now, None: "not yet"}, nil)
		switch l.Status {
		case provision.LinkBlocked:
			row.Level = web.Warn
		case provision.LinkFailed:
			row.Level = web.Danger
		}
		if p.MayRun && (l.Status == provision.LinkBlocked || l.Status == provision.LinkFailed || l.Status == provision.LinkPending) {
			row.Cells[4] = retry
		}
		rows = append(rows, row)
	}
	return rows
}

// objectPage tells all about one person or group at one application.
type objectPage struct {
	appFrame
	Kind   string // "people" or "groups"
	Object string
	Banner web.Banner
	Facts  web.Facts
	// Snapshot is what the target holds as far as it acknowledged; "" if nothing is known.
	Snapshot string
	Events   eventsView
	MayRun   bool
	// Grants, Pending and Sent tell of a person why, what is still to come, and what was sent.
	Grants, Pending, Sent []web.Row
	// Receipt proves that somebody who left has no access; nil for others.
	Receipt *provision.ReceiptItem
}

func (c *Console) provisionedPerson(w http.ResponseWriter, r *request) error {
	s, err := c.provisioningFrame(w, r)
	if err != nil {
		return err
	}
	id := directory.UserID(r.PathValue("object"))
	x, err := c.Engine.Explain(r.Context(), r.By, s.App.ID, id)
	if err != nil {
		return err
	}
	name := cmp.Or(x.Name, string(id))
	p := objectPage{appFrame: s.inner(name, "Provisioning", "provisioning"), Kind: "people", Object: string(id), MayRun: s.MayRun && s.running()}
	p.Subtitle = "At " + s.product()
	p.Badge = explanationBadge(x)
	p.Banner = s.explanationBanner(x)
	p.Facts = append(p.Facts, web.Fact{Term: "Person", Value: web.Link{Label: "Open in the directory", Href: userPath(id)}})
	why := web.Fact{Term: "Because", Value: web.Text(x.Why)}
	if len(x.Via) > 0 {
		var list []string
		for _, g := range x.Via {
			list = append(list, g.Name)
		}
		why = web.Fact{Term: "Entitled by", Value: web.Text(sentenceList(list))}
	}
	p.Facts = append(p.Facts, why)
	if len(x.Missing) > 0 {
		p.Facts = append(p.Facts, web.Fact{Term: "Missing", Value: web.Text(sentenceList(x.Missing))})
	}
	p.explained(x)
	if err := c.finishObject(r, &p, x.Link, "user"); err != nil {
		return err
	}
	return web.Render(w, r.Request, http.StatusOK, objectView(p))
}

// finishObject adds what people and groups have in common.
func (c *Console) finishObject(r *request, p *objectPage, l provision.Link, kind string) error {
	if l.RemoteID != "" {
		p.Facts = append(p.Facts, web.Fact{Term: "Id there", Value: web.Code(l.RemoteID), Copy: l.RemoteID})
	}
	p.Facts = append(p.Facts, web.Fact{Term: "Last in order", Value: web.Time{At: l.SyncedAt, Now: p.Now, None: "not yet"}})
	if len(l.Snapshot) > 0 {
		text, err := json.MarshalIndent(l.Snapshot, "", "  ")
		if err != nil {
			return fmt.Errorf("console: snapshot: %w", err)
		}
		p.Snapshot = string(text)
	}
	list, err := c.Events.Search(r.Context(), r.By, auditOfObject(p.App.ID, kind, p.Object))
	if err != nil {
		return err
	}
	p.Events = c.eventsView(r, list, withQuery(activityPath, "object", kind+":"+p.Object, "application", string(p.App.ID)))
	p.Events.Pager = web.Pager{}
	return nil
}

func explanationBadge(x provision.Explanation) web.Badge {
	if x.Link.Known == plan.Unknown && x.Link.RemoteID == "" && x.Want != plan.Present {
		return web.Badge{Level: web.Neutral, Label: "No account"}
	}
	if x.Link.Status == provision.LinkSynced && (x.Waiting != nil || len(x.Pending) > 0) {
		return linkBadge(provision.LinkPending)
	}
	return linkBadge(x.Link.Status)
}

// explanationBanner says in one sentence whether the person has an account, and why.
func (p provisioningPage) explanationBanner(x provision.Explanation) web.Banner {
	b := web.Banner{}
	switch x.Want {
	case plan.Present:
		b = web.Banner{Level: web.OK, Text: "This person should have an active account: " + x.Why + "."}
	case plan.Gone:
		b = web.Banner{Level: web.Neutral, Text: "This person should have no access: " + x.Why + ".", Icon: "lock"}
	default:
		b = web.Banner{Level: web.Neutral, Text: "Nothing is sent for this person: " + x.Why + ".", Icon: "circle-dashed"}
	}
	switch {
	case len(x.Missing) > 0 && x.Want == plan.Present:
		b.Level, b.Detail = web.Warn, "But it can't be written: "+sentenceList(x.Missing)+" "+isAre(x.Missing)+" required and have no value. Enter them, or change the mapping."
		if len(x.Missing) == 1 {
			b.Detail = "But it can't be written: " + x.Missing[0] + " is required and has no value. Enter it, or change the mapping."
		}
	case x.Link.Status == provision.LinkFailed:
		b.Level, b.Detail = web.Danger, cmp.Or(x.Link.Reason, "The target refused it.")
	case x.Link.Status == provision.LinkBlocked:
		b.Level, b.Detail = web.Warn, x.Link.Reason
	case x.Want == plan.Present && x.Link.Status == provision.LinkPending:
		b.Level, b.Detail = web.Info, "It is still to be sent."
		if !p.running() {
			b.Detail = "It is sent once provisioning is active."
		}
	}
	return b
}

// linkOfGroup finds what is remembered of a group, and what the directory knows of it.
func (c *Console) linkOfGroup(r *request, id app.ID, group directory.GroupID) (provision.Link, *directory.Group, error) {
	links, err := c.Engine.LinksOf(r.Context(), r.By, scim.Group, string(group))
	if err != nil {
		return provision.Link{}, nil, err
	}
	var link provision.Link
	for _, l := range links {
		if l.Application == id {
			link = l
		}
	}
	g, err := c.Directory.Group(r.Context(), r.By, group)
	if problem.Is(err, problem.NotFound) {
		if link.ObjectID == "" {
			return link, nil, problem.New(problem.NotFound, "There is no such group, and nothing is remembered of one there.")
		}
		return link, nil, nil
	}
	return link, &g, err
}

// renameBlocked tells whether the group has another name there, which the target can't change.
func (p provisioningPage) renameBlocked(l provision.Link, g *directory.Group) bool {
	return g != nil && l.Linked && !p.Con.SCIM.Groups.Rename && l.Status != provision.LinkReleased &&
		l.Snapshot.DisplayName() != "" && l.Snapshot.DisplayName() != g.Name
}

// deletionHeld tells whether a group that is deleted here waits for a word before it is deleted
// there.
func deletionHeld(l provision.Link, g *directory.Group) bool {
	return g == nil && l.Linked && !l.Approved && l.Status == provision.LinkBlocked
}

func (c *Console) provisionedGroup(w http.ResponseWriter, r *request) error {
	s, err := c.provisioningFrame(w, r)
	if err != nil {
		return err
	}
	id := directory.GroupID(r.PathValue("object"))
	link, g, err := c.linkOfGroup(r, s.App.ID, id)
	if err != nil {
		return err
	}
	name := link.Name
	if g != nil {
		name = g.Name
	}
	p := objectPage{appFrame: s.inner(name, "Provisioning", "provisioning"), Kind: "groups", Object: string(id), MayRun: s.MayRun && s.running()}
	p.Subtitle = "Group at " + s.product()
	p.Badge = linkBadge(link.Status)
	switch {
	case s.renameBlocked(link, g):
		p.Banner = web.Banner{Level: web.Warn, Text: "There it is still called " + link.Snapshot.DisplayName() + ", and " + s.product() + " can't rename groups.", Detail: s.Con.SCIM.Groups.RenameAdvice}
		if s.May && s.App.SCIM.Status == app.Active {
			p.Banner.Action = web.Button{Label: "Replace the group…", Icon: "git-compare", Small: true, Href: p.path("provisioning", "groups", string(id), "replace")}
		}
	case deletionHeld(link, g):
		p.Banner = web.Banner{Level: web.Warn, Text: "The group was deleted here and still exists there.", Detail: link.Reason}
		if s.May && s.running() {
			p.Banner.Action = web.Button{Label: "Delete it there…", Icon: "trash-2", Small: true, Href: p.path("provisioning", "groups", string(id), "approve")}
		}
	case link.Status == provision.LinkBlocked:
		p.Banner = web.Banner{Level: web.Warn, Text: cmp.Or(link.Reason, "It can't be written.")}
	case link.Status == provision.LinkFailed:
		p.Banner = web.Banner{Level: web.Danger, Text: cmp.Or(link.Reason, "The target refused it.")}
	case link.Status == provision.LinkReleased:
		p.Banner = web.Banner{Level: web.Neutral, Icon: "link-2-off", Text: "It is no longer managed, and left there as it is."}
	case link.ObjectID == "":
		p.Banner = web.Banner{Level: web.Neutral, Icon: "circle-dashed", Text: "Nothing was sent for this group yet."}
	case link.Status == provision.LinkSynced:
		p.Banner = web.Banner{Level: web.OK, Text: "The group there is as it should be."}
	default:
		p.Banner = web.Banner{Level: web.Info, Icon: "clock", Text: cmp.Or(link.Reason, "It is still to be sent.")}
	}
	if g != nil {
		p.Facts = append(p.Facts,
			web.Fact{Term: "Group", Value: web.Link{Label: "Open in the directory", Href: groupPath(g.ID)}},
			web.Fact{Term: "Members here", Value: web.Number(g.Members)})
	} else {
		p.Facts = append(p.Facts, web.Fact{Term: "Group", Value: web.Text("deleted from the directory")})
	}
	if err := c.finishObject(r, &p, link, "group"); err != nil {
		return err
	}
	return web.Render(w, r.Request, http.StatusOK, objectView(p))
}

func (c *Console) retryObject(w http.ResponseWriter, r *request) error {
	id, kind, object := app.ID(r.PathValue("id")), r.PathValue("kind"), r.PathValue("object")
	t := scim.User
	switch kind {
	case "people":
	case "groups":
		t = scim.Group
	default:
		return problem.New(problem.NotFound, "There is nothing at this address.")
	}
	back := appPath(id, "provisioning", kind, object)
	if err := c.Engine.RetryObject(r.Context(), r.By, id, t, object); err != nil {
		if problem.Is(err, problem.Conflict) {
			return redirect(w, r, back, web.Warn, problem.Public(err))
		}
		return err
	}
	return done(w, r, back, "It is tried again now.")
}

// replaceFrame says what replacing a group does.
func (c *Console) replaceFrame(w http.ResponseWriter, r *request) (confirmPage, appFrame, directory.GroupID, error) {
	id := directory.GroupID(r.PathValue("object"))
	if err := mayManage(r); err != nil {
		return confirmPage{}, appFrame{}, id, err
	}
	s, err := c.provisioningFrame(w, r)
	if err != nil {
		return confirmPage{}, appFrame{}, id, err
	}
	link, g, err := c.linkOfGroup(r, s.App.ID, id)
	if err != nil {
		return confirmPage{}, appFrame{}, id, err
	}
	if !s.renameBlocked(link, g) {
		return confirmPage{}, appFrame{}, id, problem.New(problem.Conflict, "There is nothing to replace: the group has the same name at %s.", s.product())
	}
	f := s.inner("Replace "+link.Snapshot.DisplayName()+" by "+g.Name+"?", "Provisioning", "provisioning")
	p := confirmPage{Page: f.Page, Confirm: web.ConfirmForm{
		Action: f.path("provisioning", "groups", string(id), "replace"), Submit: "Replace the group", Cancel: f.path("provisioning", "groups", string(id)),
		Word: g.Name, What: "the group's name",
		Consequences: []string{
			fmt.Sprintf("A group %s is made at %s, its %s move there, and %s is deleted there. It is done at once.", g.Name, s.product(), people(g.Members), link.Snapshot.DisplayName()),
			"Give the new group its roles and licences there: those of the old one go with it.",
			s.Con.SCIM.Groups.DeleteEffect,
		},
	}}
	return p, f, id, nil
}

func (c *Console) confirmReplaceGroup(w http.ResponseWriter, r *request) error {
	p, _, _, err := c.replaceFrame(w, r)
	if err != nil {
		return err
	}
	return c.renderConfirm(w, r, http.StatusOK, p)
}

func (c *Console) replaceGroup(w http.ResponseWriter, r *request) error {
	p, f, id, err := c.replaceFrame(w, r)
	if err != nil {
		return err
	}
	if !sameWord(r, p.Confirm.Word) {
		p.Confirm.Error = "Type the group's name, " + p.Confirm.Word + ", to replace it."
		return c.renderConfirm(w, r, http.StatusUnprocessableEntity, p)
	}
	if err := c.Engine.ReplaceGroup(r.Context(), r.By, f.App.ID, id); err != nil {
		if problem.Is(err, problem.Conflict) || problem.Is(err, problem.Unavailable) {
			c.Log.InfoContext(r.Context(), "a group couldn't be replaced", "application", f.App.ID, "group", id, "error", err)
			return redirect(w, r, f.path("provisioning", "groups", string(id)), web.Danger, problem.Public(err))
		}
		return err
	}
	return done(w, r, f.path("provisioning", "groups", string(id)), "The group is replaced. Give the new one its roles there.")
}

// sameWord compares the word that was typed to confirm.
func sameWord(r *request, word string) bool {
	return store.Key(r.PostForm.Get("confirm")) == store.Key(word)
}

func (c *Console) approveFrame(w http.ResponseWriter, r *request) (confirmPage, appFrame, directory.GroupID, error) {
	id := directory.GroupID(r.PathValue("object"))
	if err := mayManage(r); err != nil {
		return confirmPage{}, appFrame{}, id, err
	}
	s, err := c.provisioningFrame(w, r)
	if err != nil {
		return confirmPage{}, appFrame{}, id, err
	}
	link, g, err := c.linkOfGroup(r, s.App.ID, id)
	if err != nil {
		return confirmPage{}, appFrame{}, id, err
	}
	if !deletionHeld(link, g) {
		return confirmPage{}, appFrame{}, id, problem.New(problem.Conflict, "This group doesn't wait for its deletion at %s.", s.product())
	}
	f := s.inner("Delete "+link.Name+" at "+s.product()+"?", "Provisioning", "provisioning")
	p := confirmPage{Page: f.Page, Confirm: web.ConfirmForm{
		Action: f.path("provisioning", "groups", string(id), "approve"), Submit: "Delete it there", Cancel: f.path("provisioning", "groups", string(id)),
		Word: link.Name, What: "the group's name",
		Consequences: []string{cmp.Or(s.Con.SCIM.Groups.DeleteEffect, "The group is deleted there, with everything that hangs on it."), "It can't be taken back. Left alone, the group stays there as it is."},
	}}
	return p, f, id, nil
}

func (c *Console) confirmApproveDeletion(w http.ResponseWriter, r *request) error {
	p, _, _, err := c.approveFrame(w, r)
	if err != nil {
		return err
	}
	return c.renderConfirm(w, r, http.StatusOK, p)
}

func (c *Console) approveDeletion(w http.ResponseWriter, r *request) error {
	p, f, id, err := c.approveFrame(w, r)
	if err != nil {
		return err
	}
	if !sameWord(r, p.Confirm.Word) {
		p.Confirm.Error = "Type the group's name, " + p.Confirm.Word + ", to delete it there."
		return c.renderConfirm(w, r, http.StatusUnprocessableEntity, p)
	}
	if err := c.Engine.ApproveDeletion(r.Context(), r.By, f.App.ID, id); err != nil {
		return err
	}
	return done(w, r, f.path("provisioning", "groups", string(id)), "The deletion is approved and on its way.")
}
