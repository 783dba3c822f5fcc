package console

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// driftPage is the report of the newest comparison, and how it is made.
type driftPage struct {
	appFrame
	Drift  provision.Drift
	Rows   []provision.DriftRow
	Filter web.FilterBar
	Pager  web.Pager
	// Narrowed tells whether a filter is set.
	Narrowed bool
	MayRun   bool
	Form     web.Form
	// Paths are the attributes that the mapping writes.
	Paths []string
}

func (f appFrame) driftPath(parts ...string) string {
	return f.path(append([]string{"provisioning", "drift"}, parts...)...)
}

func (c *Console) drift(w http.ResponseWriter, r *request) error {
	return c.renderDrift(w, r, http.StatusOK, nil)
}

func (c *Console) renderDrift(w http.ResponseWriter, r *request, status int, form *web.Form) error {
	s, err := c.provisioningFrame(w, r)
	if err != nil {
		return err
	}
	p := driftPage{appFrame: s.inner("Drift", "Provisioning", "provisioning"), MayRun: s.MayRun}
	p.Subtitle = "What is at " + s.product() + " otherwise than it should be."
	if p.Drift, err = c.Engine.Drift(r.Context(), r.By, s.App.ID); err != nil {
		return err
	}
	q := r.URL.Query()
	query := provision.DriftQuery{
		Finding: provision.DriftFinding(q.Get("finding")), State: provision.DriftState(q.Get("state")), Text: q.Get("q"), Cursor: q.Get("cursor"), Limit: 50,
	}
	list, err := c.Engine.DriftRows(r.Context(), r.By, s.App.ID, query)
	if err != nil {
		return err
	}
	p.Rows, p.Pager = list.Items, pager(r, list.Next, "")
	p.Narrowed = q.Get("q")+q.Get("finding")+q.Get("state") != ""
	p.Filter = web.FilterBar{
		Action: p.driftPath(), Query: query.Text, Placeholder: "Name", Target: "#findings",
		Filters: []web.Filter{
			{Name: "finding", Label: "Finding", Value: q.Get("finding"), Options: findingOptions()},
			{Name: "state", Label: "State", Value: q.Get("state"), Options: []web.Option{
				{Value: "", Label: "Any"}, {Value: string(provision.DriftOpen), Label: "Open"}, {Value: string(provision.DriftRepairing), Label: "Put right"},
				{Value: string(provision.DriftKept), Label: "Left as it is"}, {Value: string(provision.DriftParked), Label: "Parked"},
			}},
		},
	}
	if p.Narrowed {
		p.Filter.Clear = p.Filter.Action
	}
	if rows, err := catalog.MergeSCIM(s.Con.SCIM.Mapping, s.App.SCIM.Mapping); err == nil {
		for _, x := range rows {
			if x.Enabled() {
				p.Paths = append(p.Paths, x.Target)
			}
		}
	}
	slices.Sort(p.Paths)
	for _, path := range slices.Sorted(maps.Keys(p.Drift.Settings.Attributes)) {
		if !slices.Contains(p.Paths, path) && path != "active" && path != "members" {
			p.Paths = append(p.Paths, path)
		}
	}
	if form != nil {
		p.Form = *form
	} else {
		v := map[string]string{
			"everyHours": strconv.Itoa(p.Drift.Settings.EveryHours), "policy": string(p.Drift.Settings.Policy), "deleted": string(p.Drift.Settings.Deleted),
		}
		for path, policy := range p.Drift.Settings.Attributes {
			v["attributes."+path] = string(policy)
		}
		p.Form = web.NewForm(v)
	}
	return web.Render(w, r.Request, status, driftView(p))
}

func findingOptions() []web.Option {
	list := []web.Option{{Value: "", Label: "Any"}}
	for _, f := range []provision.DriftFinding{
		provision.FoundChanged, provision.FoundMembers, provision.FoundActive, provision.FoundInactive, provision.FoundDeleted, provision.FoundUnmanaged,
	} {
		list = append(list, web.Option{Value: string(f), Label: findingBadge(f).Label})
	}
	return list
}

func findingBadge(f provision.DriftFinding) web.Badge {
	switch f {
	case provision.FoundChanged:
		return web.Badge{Level: web.Info, Label: "Other values", Icon: "pencil"}
	case provision.FoundMembers:
		return web.Badge{Level: web.Info, Label: "Other members", Icon: "users"}
	case provision.FoundActive:
		return web.Badge{Level: web.Danger, Label: "Still active"}
	case provision.FoundInactive:
		return web.Badge{Level: web.Warn, Label: "Switched off", Icon: "circle-pause"}
	case provision.FoundDeleted:
		return web.Badge{Level: web.Warn, Label: "Deleted there", Icon: "trash-2"}
	}
	return web.Badge{Level: web.Neutral, Label: "Unmanaged", Icon: "inbox"}
}

func driftStateBadge(s provision.DriftState) web.Badge {
	switch s {
	case provision.DriftRepairing:
		return web.Badge{Level: web.Info, Label: "Being put right", Icon: "hourglass"}
	case provision.DriftRepaired:
		return web.Badge{Level: web.OK, Label: "Put right"}
	case provision.DriftStuck:
		return web.Badge{Level: web.Danger, Label: "Not put right"}
	case provision.DriftKept:
		return web.Badge{Level: web.Neutral, Label: "Left as it is", Icon: "hand"}
	case provision.DriftParked:
		return web.Badge{Level: web.Warn, Label: "Parked", Icon: "circle-pause"}
	}
	return web.Badge{Level: web.Neutral, Label: "Open", Icon: "search"}
}

// refresh is how often the report is looked at again.
func (p driftPage) refresh() time.Duration {
	if p.running() {
		return 2 * time.Second
	}
	for _, r := range p.Rows {
		if r.State == provision.DriftRepairing {
			return 2 * time.Second
		}
	}
	return 0
}

func (p driftPage) running() bool {
	return p.Drift.Report != nil && p.Drift.Report.State == provision.DriftRunning
}

// banner says in one sentence how it stands.
func (p driftPage) banner() web.Banner {
	r := p.Drift.Report
	next := "It is compared only when somebody asks."
	if p.Drift.Settings.EveryHours > 0 {
		next = "It is compared again every " + roughly(time.Duration(p.Drift.Settings.EveryHours)*time.Hour) + " while provisioning is active."
	}
	if !p.Drift.Next.IsZero() {
		next = "The next comparison begins " + web.Ago(p.Drift.Next, p.Now) + "."
	}
	b := web.Banner{Level: web.OK, Detail: next}
	if p.MayRun && p.App.SCIM.Status == app.Active && !p.running() {
		b.Action = web.PostButton{Button: web.Button{Label: "Compare now", Icon: "refresh-cw", Small: true}, Action: p.driftPath()}
	}
	switch {
	case r == nil:
		b.Level, b.Text = web.Info, p.product()+" has not been compared yet."
		if p.App.SCIM.Status != app.Active {
			b.Detail = "It is compared while provisioning is active."
		}
	case r.State == provision.DriftRunning:
		b.Level, b.Icon = web.Info, "hourglass"
		b.Text = fmt.Sprintf("%s is being compared: %s and %s read so far.", p.product(), count(r.Counts.Users, "account", "accounts"), count(r.Counts.Groups, "group", "groups"))
		b.Detail = "Reading only. You can leave this page."
		if p.App.SCIM.Status != app.Active {
			b.Text, b.Detail = "The comparison waits while provisioning is "+string(p.App.SCIM.Status)+".", "It goes on where it was."
		}
	case r.State == provision.DriftFailed:
		b.Level, b.Text = web.Danger, p.product()+" couldn't be compared: "+r.Reason
	case r.Held != "":
		b.Level, b.Text = web.Warn, "What the policy would repair waits for you: "+r.Held
	case r.Counts.Differing() > 0:
		n := r.Counts.Differing()
		b.Level, b.Text = web.Warn, fmt.Sprintf("%s otherwise than %s should be, as of %s.", count(n, "person or group is", "people and groups are"), verb(n, "it", "they"), web.Ago(r.EndedAt, p.Now))
	default:
		b.Text = "Everything there was as it should be " + web.Ago(r.EndedAt, p.Now) + "."
	}
	return b
}

func (p driftPage) stats() web.Stats {
	if p.Drift.Report == nil {
		return nil
	}
	n := p.Drift.Report.Counts
	tile := func(f provision.DriftFinding, k int) web.Stat {
		b := findingBadge(f)
		s := web.Stat{Label: b.Label, Value: web.Number(k).String(), Href: withQuery(p.driftPath(), "finding", string(f))}
		if k > 0 {
			s.Level = b.Level
		}
		return s
	}
	unmanaged := tile(provision.FoundUnmanaged, n.Unmanaged)
	if p.Drift.Report.ByObject {
		unmanaged.Value, unmanaged.Note = "?", "it can't list"
	}
	return web.Stats{
		tile(provision.FoundChanged, n.Changed), tile(provision.FoundMembers, n.Members), tile(provision.FoundActive, n.Active),
		tile(provision.FoundInactive, n.Inactive), tile(provision.FoundDeleted, n.Deleted), unmanaged,
	}
}

// openDiffer tells whether something can be put right, as far as the counts know.
func (p driftPage) openDiffer() bool {
	r := p.Drift.Report
	return r != nil && r.State == provision.DriftDone && r.Counts.Differing() > r.Counts.Kept+r.Counts.Parked+r.Counts.Repairing && p.App.SCIM.Status == app.Active && p.MayRun
}

// driftChanges are the values that differ: theirs, and what would be in their place.
func driftChanges(r provision.DriftRow) web.Diff {
	var out web.Diff
	for _, x := range r.Differences {
		if r.Finding == provision.FoundUnmanaged {
			continue
		}
		if x.Path == "members" {
			if x.Ours != nil {
				out = append(out, web.Change{Name: "missing members", New: planValue(x.Ours)})
			}
			if x.Theirs != nil {
				out = append(out, web.Change{Name: "members that should not be", Old: planValue(x.Theirs)})
			}
			continue
		}
		out = append(out, web.Change{Name: x.Path, Old: planValue(x.Theirs), New: planValue(x.Ours)})
	}
	return out
}

// driftDetail says in a few words what differs.
func driftDetail(r provision.DriftRow) string {
	var parts []string
	for _, x := range r.Differences {
		switch {
		case r.Finding == provision.FoundUnmanaged:
			if s, ok := x.Theirs.(string); ok && s != "" {
				parts = append(parts, s)
			}
		case x.Path == "members":
			if list, _ := x.Ours.([]any); len(list) > 0 {
				parts = append(parts, people(len(list))+" missing")
			}
			if list, _ := x.Theirs.([]any); len(list) > 0 {
				parts = append(parts, people(len(list))+" too many")
			}
		default:
			parts = append(parts, x.Path)
		}
	}
	return sentenceList(slices.Compact(parts))
}

func (p driftPage) objectHref(r provision.DriftRow) string {
	switch {
	case r.ObjectID == "":
		return ""
	case r.Kind == scim.Group:
		return p.path("provisioning", "groups", r.ObjectID)
	}
	return p.path("provisioning", "people", r.ObjectID)
}

func driftKind(r provision.DriftRow) string {
	if r.Kind == scim.Group {
		return "Group"
	}
	if r.ObjectID == "" {
		return "Account"
	}
	return "Person"
}

// mayKeep tells whether a finding can be left as it is there.
func (p driftPage) mayKeep(r provision.DriftRow) bool {
	return p.May && r.State == provision.DriftOpen && (r.Finding == provision.FoundChanged || r.Finding == provision.FoundMembers)
}

func (p driftPage) mayRepair(r provision.DriftRow) bool {
	return p.MayRun && p.App.SCIM.Status == app.Active && r.ObjectID != "" && !p.running() && r.State != provision.DriftRepairing && r.State != provision.DriftRepaired
}

func (c *Console) compareNow(w http.ResponseWriter, r *request) error {
	id := app.ID(r.PathValue("id"))
	if _, err := c.Engine.Compare(r.Context(), r.By, id); err != nil {
		if problem.Is(err, problem.Conflict) {
			return redirect(w, r, appPath(id, "provisioning", "drift"), web.Warn, problem.Public(err))
		}
		return err
	}
	web.Redirect(w, r.Request, appPath(id, "provisioning", "drift"))
	return nil
}

func (c *Console) saveDrift(w http.ResponseWriter, r *request) error {
	id := app.ID(r.PathValue("id"))
	_, err := c.Engine.SaveDrift(r.Context(), r.By, id, func(s *provision.DriftSettings) error {
		n, err := strconv.Atoi(strings.TrimSpace(cmp.Or(r.PostForm.Get("everyHours"), "0")))
		if err != nil {
			return problem.InvalidField("everyHours", "Enter a whole number of hours.")
		}
		s.EveryHours, s.Policy, s.Deleted = n, provision.DriftPolicy(r.PostForm.Get("policy")), provision.DriftDeleted(r.PostForm.Get("deleted"))
		s.Attributes = map[string]provision.DriftPolicy{}
		for name, values := range r.PostForm {
			if path, ok := strings.CutPrefix(name, "attributes."); ok && len(values) > 0 && values[0] != "" {
				s.Attributes[path] = provision.DriftPolicy(values[0])
			}
		}
		return nil
	})
	if err != nil {
		form, ok := web.PostedForm(r.Request).Fail(err)
		if !ok {
			return err
		}
		return c.renderDrift(w, r, web.Status(err), &form)
	}
	return redirect(w, r, appPath(id, "provisioning", "drift"), web.OK, "The settings are saved.")
}

// driftChoice is what the form or the address means.
func driftChoice(get func(string) string) provision.DriftChoice {
	if id := get("account"); id != "" {
		c := provision.DriftChoice{RemoteIDs: []string{id}, Kind: scim.User}
		if get("kind") == "Group" {
			c.Kind = scim.Group
		}
		return c
	}
	return provision.DriftChoice{All: true}
}

// repairPage shows what a repair would write.
type repairPage struct {
	appFrame
	Repair  provision.Repair
	Steps   []planStep
	Account string
	Kind    string
	Problem string
	Wrong   string
}

func (c *Console) repairForm(w http.ResponseWriter, r *request) error {
	return c.renderRepair(w, r, http.StatusOK, driftChoice(r.URL.Query().Get), "", "")
}

func (c *Console) renderRepair(w http.ResponseWriter, r *request, status int, choice provision.DriftChoice, stale, wrong string) error {
	s, err := c.provisioningFrame(w, r)
	if err != nil {
		return err
	}
	p := repairPage{appFrame: s.inner("Put right", "Drift", "provisioning"), Problem: stale, Wrong: wrong}
	p.Crumbs[len(p.Crumbs)-1] = web.Crumb{Label: "Drift", Href: p.driftPath()}
	p.Subtitle = "What would be written at " + s.product() + ". Each object is read again first."
	if p.Repair, err = c.Engine.RepairPlan(r.Context(), r.By, s.App.ID, choice); err != nil {
		if problem.Is(err, problem.Conflict) {
			return redirect(w, r, p.driftPath(), web.Warn, problem.Public(err))
		}
		return err
	}
	if !choice.All {
		p.Account, p.Kind = choice.RemoteIDs[0], "User"
		if choice.Kind == scim.Group {
			p.Kind = "Group"
		}
	}
	for _, x := range p.Repair.Steps[:min(len(p.Repair.Steps), planMost)] {
		p.Steps = append(p.Steps, s.planStep(x))
	}
	return web.Render(w, r.Request, status, repairView(p))
}

func (p repairPage) confirm() web.ConfirmForm {
	f := web.ConfirmForm{
		Action: p.driftPath("repair"), Submit: "Put right", Cancel: p.driftPath(), Error: p.Wrong,
		Hidden: map[string]string{"hash": p.Repair.Hash, "account": p.Account, "kind": p.Kind, "held": boolValue(p.Repair.Held != "")},
	}
	if p.Repair.Held != "" {
		f.Word, f.What, f.Consequences = p.App.Label, "the application's label", []string{p.Repair.Held}
	}
	return f
}

func (p repairPage) summary() string {
	n := p.Repair.Counts
	if p.Repair.Objects == 0 {
		return "There is nothing to put right: it is as it should be by now, or is left as it is."
	}
	text := count(p.Repair.Objects, "person or group is", "people and groups are") + " put right by " + count(n.Writes, "request that changes something", "requests that change something") + "."
	if d := n.Users.Deactivate + n.Users.Delete; d > 0 {
		text += " " + count(d, "account loses", "accounts lose") + " access."
	}
	return text
}

func (p repairPage) shown() string {
	if n := len(p.Repair.Steps); n > len(p.Steps) || n >= 500 {
		return "The first " + web.Number(len(p.Steps)).String() + " operations."
	}
	return count(len(p.Steps), "operation", "operations") + ", as of what was read then and of the directory now."
}

func (c *Console) repairDrift(w http.ResponseWriter, r *request) error {
	id := app.ID(r.PathValue("id"))
	choice := driftChoice(r.PostForm.Get)
	a, err := c.Apps.Get(r.Context(), r.By, id)
	if err != nil {
		return err
	}
	if r.PostForm.Get("held") != "" && store.Key(r.PostForm.Get("confirm")) != store.Key(a.Label) {
		return c.renderRepair(w, r, http.StatusUnprocessableEntity, choice, "", "Type "+a.Label+" to confirm that so much is written.")
	}
	done, err := c.Engine.Repair(r.Context(), r.By, id, choice, r.PostForm.Get("hash"))
	if problem.Is(err, problem.Conflict) {
		return c.renderRepair(w, r, http.StatusConflict, choice, problem.Public(err), "")
	}
	if err != nil {
		return err
	}
	return redirect(w, r, appPath(id, "provisioning", "drift"), web.OK, count(done.Objects, "person or group is", "people and groups are")+" being put right.")
}

func (c *Console) keepDrift(w http.ResponseWriter, r *request) error {
	id := app.ID(r.PathValue("id"))
	_, err := c.Engine.KeepTheirs(r.Context(), r.By, id, driftChoice(r.PostForm.Get))
	if problem.Is(err, problem.Conflict) {
		return redirect(w, r, appPath(id, "provisioning", "drift"), web.Warn, problem.Public(err))
	}
	if err != nil {
		return err
	}
	return redirect(w, r, appPath(id, "provisioning", "drift"), web.OK, "It is left as it is there, until the directory changes it.")
}

// policyOptions are the policies for one attribute; the first is that of all.
func policyOptions(path string, all provision.DriftPolicy) []web.Option {
	list := []web.Option{{Value: "", Label: "As for all (" + policyWord(all) + ")"}}
	for _, x := range []provision.DriftPolicy{provision.ReportOnly, provision.Ours, provision.Theirs, provision.FirstWrite} {
		if path == "active" && (x == provision.Theirs || x == provision.FirstWrite) || path == "members" && x == provision.FirstWrite {
			continue
		}
		list = append(list, web.Option{Value: string(x), Label: policyWord(x)})
	}
	return list
}

func policyWord(p provision.DriftPolicy) string {
	switch p {
	case provision.Ours:
		return "ours"
	case provision.Theirs:
		return "theirs"
	case provision.FirstWrite:
		return "first write"
	}
	return "report"
}

func driftLevel(f provision.DriftFinding) string {
	switch l := findingBadge(f).Level; l {
	case web.Warn, web.Danger:
		return string(l)
	}
	return "neutral"
}
