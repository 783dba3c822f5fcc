package provision_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/rehearsal"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/scim/scimtest"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

// driftWorld is a world whose application is at the rehearsal, with somebody else who changes
// things there.
type driftWorld struct {
	*world
	site  *rehearsal.Site
	dirID string
	other *scim.Client
}

func newDriftWorld(t *testing.T, db *store.DB) *driftWorld {
	t.Helper()
	w := &driftWorld{world: newWorld(t, db)}
	site, err := rehearsal.New(rehearsal.Config{BaseURL: "http://127.0.0.1"})
	w.must(err)
	srv := httptest.NewServer(site.Handler())
	t.Cleanup(func() {
		w.stop()
		srv.Close()
		w.must(site.Close())
	})
	site.SetBaseURL(srv.URL)
	_, err = site.AddDomain("example.com")
	w.must(err)
	w.must(site.VerifyDomain("example.com"))
	d, err := site.CreateDirectory("Latchkey")
	w.must(err)
	p, err := site.SetUpProvisioning(d.ID)
	w.must(err)
	w.site, w.dirID = site, d.ID
	_, err = w.apps.SaveSCIM(t.Context(), owner, w.app, func(s *app.SCIMSettings) error { s.BaseURL = p.BaseURL; return nil })
	w.must(err)
	_, err = w.apps.SetSCIMToken(t.Context(), owner, w.app, keys.Secret(p.APIKey), time.Time{})
	w.must(err)
	httpc := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(httpc.CloseIdleConnections)
	w.other, err = scim.NewClient(scim.ClientConfig{BaseURL: p.BaseURL, Token: scim.NewToken(p.APIKey), HTTP: httpc, UserAgent: "somebody", Now: time.Now})
	w.must(err)
	return w
}

// account is an account as it is there.
func (w *driftWorld) account(name string) scim.Resource {
	w.t.Helper()
	hits, _, err := w.other.FindUser(w.t.Context(), "userName", name)
	w.must(err)
	if len(hits) != 1 {
		return nil
	}
	return hits[0]
}

func (w *driftWorld) team(name string) scim.Resource {
	w.t.Helper()
	hits, _, err := w.other.FindGroup(w.t.Context(), name)
	w.must(err)
	if len(hits) != 1 {
		return nil
	}
	return hits[0]
}

func (w *driftWorld) patch(kind scim.ResourceType, id string, ops ...scim.Operation) {
	w.t.Helper()
	_, _, err := w.other.Patch(w.t.Context(), kind, id, scim.NewPatch(ops...))
	w.must(err)
}

// compare compares now and waits for the report and for what follows.
func (w *world) compare() provision.DriftReport {
	w.t.Helper()
	_, err := w.engine.Compare(w.t.Context(), owner, w.app)
	w.must(err)
	w.settled()
	d, err := w.engine.Drift(w.t.Context(), owner, w.app)
	w.must(err)
	if d.Report == nil || d.Report.State != provision.DriftDone {
		w.t.Fatalf("report %+v", d.Report)
	}
	return *d.Report
}

func (w *world) policy(change func(*provision.DriftSettings)) {
	w.t.Helper()
	_, err := w.engine.SaveDrift(w.t.Context(), owner, w.app, func(s *provision.DriftSettings) error { change(s); return nil })
	w.must(err)
}

// findings tells a report: "changed ada open: title Ours/Theirs".
func (w *world) findings() (out []string) {
	w.t.Helper()
	page, err := w.engine.DriftRows(w.t.Context(), owner, w.app, provision.DriftQuery{Limit: 1000})
	w.must(err)
	for _, r := range page.Items {
		var what []string
		for _, d := range r.Differences {
			what = append(what, fmt.Sprintf("%s %v/%v", d.Path, d.Ours, d.Theirs))
		}
		out = append(out, strings.TrimRight(fmt.Sprintf("%s %s %s: %s", r.Finding, r.Name, r.State, strings.Join(what, ", ")), ": "))
	}
	slices.Sort(out)
	return out
}

func (w *world) found(want ...string) {
	w.t.Helper()
	if d := cmp.Diff(want, w.findings()); d != "" {
		w.t.Errorf("findings (-want +got):\n%s", d)
	}
}

// mess has somebody change about everything there.
func (w *driftWorld) mess(ada, bob, cyd, dan directory.UserID) {
	w.t.Helper()
	ctx := w.t.Context()
	w.patch(scim.User, w.account("ada").ID(), scim.Operation{Op: scim.PatchReplace, Path: "title", Value: "Queen"}, scim.Operation{Op: scim.PatchReplace, Path: "name.givenName", Value: "Adele"})
	_, err := w.other.Delete(ctx, scim.User, w.account("bob").ID())
	w.must(err)
	w.patch(scim.User, w.account("cyd").ID(), scim.Operation{Op: scim.PatchReplace, Path: "active", Value: false})
	w.patch(scim.User, w.account("dan").ID(), scim.Operation{Op: scim.PatchReplace, Path: "active", Value: true})
	orphan, _, err := w.other.Create(ctx, scim.User, scim.Resource{
		"schemas": []any{scim.SchemaUser}, "userName": "zoe", "displayName": "Zoe Stranger", "active": true,
		"emails": []any{map[string]any{"value": "zoe@example.com", "type": "work", "primary": true}},
	})
	w.must(err)
	team := w.team("Engineering").ID()
	w.patch(scim.Group, team, scim.Operation{Op: scim.PatchAdd, Path: "members", Value: []any{map[string]any{"value": orphan.ID()}}})
}

// company is four people, of whom one has left.
func (w *driftWorld) company() (ada, bob, cyd, dan directory.UserID) {
	w.t.Helper()
	ada, bob, cyd, dan = w.user("ada", w.group), w.user("bob", w.group), w.user("cyd", w.group), w.user("dan", w.group)
	_, err := w.dir.UpdateUser(w.t.Context(), owner, ada, 0, func(a *directory.Attributes) error { a.Title = "Countess"; return nil })
	w.must(err)
	w.activate()
	w.settled()
	_, err = w.dir.Suspend(w.t.Context(), owner, dan)
	w.must(err)
	w.settled()
	return ada, bob, cyd, dan
}

func (w *driftWorld) state(name string) string {
	r := w.account(name)
	if r == nil {
		return "none"
	}
	active, _ := r.Active()
	return fmt.Sprintf("%v %s %s", active, r.Text("title"), r.Text("name.givenName"))
}

func (w *driftWorld) members() (names []string) {
	w.t.Helper()
	byID := map[string]string{}
	for _, u := range w.site.Users(w.dirID) {
		byID[u.ID] = u.UserName
	}
	for _, id := range w.team("Engineering").Members() {
		names = append(names, byID[id])
	}
	slices.Sort(names)
	return names
}

func TestDriftIsReportedFirst(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newDriftWorld(t, db)
		ada, bob, cyd, dan := w.company()
		rep := w.compare()
		if n := rep.Counts; n.Differing() != 0 || n.Unmanaged != 0 || n.Users != 4 || n.Groups != 1 {
			t.Fatalf("at first: %+v %v", n, w.findings())
		}
		w.mess(ada, bob, cyd, dan)
		writes := len(w.site.Requests(rehearsal.RequestFilter{Writes: true}))
		rep = w.compare()
		w.found(
			"active Dan Example open: active false/true",
			"changed Ada Example open: name.givenName Ada/Adele, title Countess/Queen",
			"deleted Bob Example open",
			"inactive Cyd Example open: active true/false",
			"members Engineering open: members [Bob Example]/[Zoe Stranger]",
			"unmanaged Zoe Stranger open: userName <nil>/zoe, emails <nil>/zoe@example.com, active <nil>/true",
		)
		want := provision.DriftCounts{Users: 4, Groups: 1, Changed: 1, Deleted: 1, Active: 1, Inactive: 1, Members: 1, Unmanaged: 1}
		got := rep.Counts
		got.Requests = 0
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("counts:\n%s", d)
		}
		if n := len(w.site.Requests(rehearsal.RequestFilter{Writes: true})) - writes; n != 0 {
			t.Errorf("%d writes by a report", n)
		}
		// Nor does a sweep write anything: what is remembered is as it was.
		w.must(db.Update(t.Context(), func(tx *store.Tx) error {
			return audit.Changed(tx, time.Now(), audit.KindApplication, string(w.app), "")
		}))
		w.settled()
		if n := len(w.site.Requests(rehearsal.RequestFilter{Writes: true})) - writes; n != 0 {
			t.Errorf("%d writes by a sweep after it", n)
		}
		events := w.events(audit.DriftCheck)
		if len(events) != 2 || !strings.Contains(events[1].Message, "1 was deleted there") || events[1].Detail["counts"] == nil {
			t.Errorf("events %+v", events)
		}

		// Put right: one by one, what was looked at and nothing else.
		row := func(name string) provision.DriftRow {
			page, err := w.engine.DriftRows(t.Context(), owner, w.app, provision.DriftQuery{Text: name})
			w.must(err)
			return page.Items[0]
		}
		one := provision.DriftChoice{RemoteIDs: []string{row("ada").RemoteID}}
		p, err := w.engine.RepairPlan(t.Context(), owner, w.app, one)
		w.must(err)
		if p.Objects != 1 || len(p.Steps) != 1 || p.Steps[0].Method != http.MethodPatch || p.Counts.Users.Update != 1 {
			t.Errorf("plan %+v", p)
		}
		if _, err := w.engine.Repair(t.Context(), owner, w.app, one, "0"); !problem.Is(err, problem.Conflict) {
			t.Errorf("another hash: %v", err)
		}
		if _, err := w.engine.Repair(t.Context(), access.Actor{Kind: access.Person, ID: "x", Role: access.HelpDesk}, w.app, one, p.Hash); !problem.Is(err, problem.Forbidden) {
			t.Errorf("the help desk: %v", err)
		}
		_, err = w.engine.Repair(t.Context(), owner, w.app, one, p.Hash)
		w.must(err)
		w.settled()
		if got := w.state("ada"); got != "true Countess Ada" {
			t.Errorf("ada: %s", got)
		}
		if got := w.state("cyd"); got != "false  Cyd" {
			t.Errorf("cyd was not chosen: %s", got)
		}
		if s := row("ada").State; s != provision.DriftRepaired {
			t.Errorf("ada is %s", s)
		}

		// And all the rest.
		p, err = w.engine.RepairPlan(t.Context(), owner, w.app, provision.DriftChoice{All: true})
		w.must(err)
		if c := p.Counts; p.Objects != 4 || c.Users.Create != 1 || c.Users.Reactivate != 1 || c.Users.Deactivate != 1 || c.MembersRemoved != 1 {
			t.Errorf("plan of all: %+v", p.Counts)
		}
		_, err = w.engine.Repair(t.Context(), owner, w.app, provision.DriftChoice{All: true}, p.Hash)
		w.must(err)
		w.settled()
		for name, want := range map[string]string{"bob": "true  Bob", "cyd": "true  Cyd", "dan": "false  Dan", "zoe": "true  "} {
			if got := w.state(name); strings.TrimSpace(got) != strings.TrimSpace(want) {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if d := cmp.Diff([]string{"ada", "bob", "cyd"}, w.members()); d != "" {
			t.Errorf("members:\n%s", d)
		}
		if repairs := w.events(audit.DriftRepair); len(repairs) != 2 || repairs[0].Actor.ID != owner.ID {
			t.Errorf("events of repairs: %+v", repairs)
		}
		rep = w.compare()
		if rep.Counts.Differing() != 0 {
			t.Errorf("after: %v", w.findings())
		}
	})
}

func TestDriftOurs(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newDriftWorld(t, db)
		ada, bob, cyd, dan := w.company()
		w.policy(func(s *provision.DriftSettings) { s.Policy, s.Deleted = provision.Ours, provision.DriftRecreate })
		w.mess(ada, bob, cyd, dan)
		rep := w.compare()
		if rep.Held != "" || rep.Counts.Repairing != 5 {
			t.Fatalf("report %+v", rep)
		}
		for name, want := range map[string]string{"ada": "true Countess Ada", "bob": "true  Bob", "cyd": "true  Cyd", "dan": "false  Dan"} {
			if got := w.state(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if d := cmp.Diff([]string{"ada", "bob", "cyd"}, w.members()); d != "" {
			t.Errorf("members:\n%s", d)
		}
		// The writes follow from the comparison.
		check := w.events(audit.DriftCheck)[0]
		var after []string
		for _, e := range w.events(audit.UserUpdateProvision, audit.UserCreateProvision, audit.UserDeprovision, audit.GroupUpdateProvision) {
			if e.Cause == check.ID {
				after = append(after, string(e.Type))
			}
		}
		if len(after) < 5 {
			t.Errorf("events of the comparison: %v", after)
		}
		if rep := w.compare(); rep.Counts.Differing() != 0 {
			t.Errorf("after: %v", w.findings())
		}
	})
}

func TestDriftTheirs(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newDriftWorld(t, db)
		ada, bob, cyd, dan := w.company()
		w.policy(func(s *provision.DriftSettings) { s.Policy = provision.Theirs })
		w.mess(ada, bob, cyd, dan)
		writes := len(w.site.Requests(rehearsal.RequestFilter{Writes: true}))
		rep := w.compare()
		// Access never follows the application.
		w.found(
			"active Dan Example open: active false/true",
			"changed Ada Example kept: name.givenName Ada/Adele, title Countess/Queen",
			"deleted Bob Example open",
			"inactive Cyd Example open: active true/false",
			"members Engineering kept: members [Bob Example]/[Zoe Stranger]",
			"unmanaged Zoe Stranger open: userName <nil>/zoe, emails <nil>/zoe@example.com, active <nil>/true",
		)
		if rep.Counts.Kept != 2 {
			t.Errorf("%+v", rep.Counts)
		}
		// It isn't reported again, not even with another value, and no sweep and no reading writes it.
		w.patch(scim.User, w.account("ada").ID(), scim.Operation{Op: scim.PatchReplace, Path: "title", Value: "Empress"})
		rep = w.compare()
		if rep.Counts.Changed != 0 || rep.Counts.Members != 0 {
			t.Errorf("again: %v", w.findings())
		}
		w.must(db.Update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(`UPDATE links SET known = 'doubtful' WHERE object_id = $1`, string(ada))
			if err != nil {
				return err
			}
			return audit.Changed(tx, time.Now(), audit.KindApplication, string(w.app), "")
		}))
		w.settled()
		if n := len(w.site.Requests(rehearsal.RequestFilter{Writes: true})) - writes; n != 1 { // the one above, by somebody
			t.Errorf("%d writes", n)
		}
	})
}

func TestDriftFirstWriteAndExceptions(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newDriftWorld(t, db)
		w.policy(func(s *provision.DriftSettings) {
			s.Attributes = map[string]provision.DriftPolicy{"name.givenName": provision.FirstWrite, "title": provision.Ours, "members": provision.Ours}
		})
		ada, _, _, _ := w.company()
		if got := w.state("ada"); got != "true Countess Ada" {
			t.Fatalf("first write: %s", got)
		}
		ada1 := w.account("ada").ID()
		w.patch(scim.User, ada1, scim.Operation{Op: scim.PatchReplace, Path: "title", Value: "Queen"},
			scim.Operation{Op: scim.PatchReplace, Path: "name.givenName", Value: "Adele"}, scim.Operation{Op: scim.PatchReplace, Path: "name.familyName", Value: "Byron"})
		w.compare()
		// One is theirs, one ours, and one is only reported: the others aren't written with it.
		w.found("changed Ada Example repaired: name.familyName Example/Byron, title Countess/Queen")
		r := w.account("ada")
		if got := r.Text("title") + " " + r.Text("name.givenName") + " " + r.Text("name.familyName"); got != "Countess Adele Byron" {
			t.Errorf("there: %s", got)
		}
		// A change here of what is theirs isn't sent.
		_, err := w.dir.UpdateUser(t.Context(), owner, ada, 0, func(a *directory.Attributes) error { a.GivenName, a.Title = "Augusta", "Lady"; return nil })
		w.must(err)
		w.settled()
		if got := w.state("ada"); got != "true Lady Adele" {
			t.Errorf("after a change here: %s", got)
		}

		for name, s := range map[string]provision.DriftSettings{
			"access follows nobody": {Attributes: map[string]provision.DriftPolicy{"active": provision.Theirs}},
			"leavers leave":         {Attributes: map[string]provision.DriftPolicy{"members": provision.FirstWrite}},
			"no path":               {Attributes: map[string]provision.DriftPolicy{"emails[": provision.Ours}},
			"no policy":             {Policy: "sometimes"},
			"no hours":              {EveryHours: -1},
			"no way":                {Deleted: "cry"},
		} {
			if err := s.Check(); !problem.Is(err, problem.Invalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestDriftKeptByHand(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newDriftWorld(t, db)
		ada, bob, cyd, dan := w.company()
		w.mess(ada, bob, cyd, dan)
		w.compare()
		n, err := w.engine.KeepTheirs(t.Context(), owner, w.app, provision.DriftChoice{All: true})
		w.must(err)
		if n != 2 { // one account's values, one group's members
			t.Errorf("%d kept: %v", n, w.findings())
		}
		w.compare()
		w.found(
			"active Dan Example open: active false/true", "deleted Bob Example open", "inactive Cyd Example open: active true/false",
			"unmanaged Zoe Stranger open: userName <nil>/zoe, emails <nil>/zoe@example.com, active <nil>/true",
		)
		// Another change there is another difference.
		w.patch(scim.User, w.account("ada").ID(), scim.Operation{Op: scim.PatchReplace, Path: "title", Value: "Empress"})
		w.compare()
		if got := w.findings(); !slices.Contains(got, "changed Ada Example open: title Countess/Empress") {
			t.Errorf("%v", got)
		}
		// A change here is written over it, and what was kept is forgotten.
		_, err = w.dir.UpdateUser(t.Context(), owner, ada, 0, func(a *directory.Attributes) error { a.Title = "Lady"; return nil })
		w.must(err)
		w.settled()
		if got := w.state("ada"); got != "true Lady Adele" {
			t.Errorf("after a change here: %s", got)
		}
		if _, err := w.engine.KeepTheirs(t.Context(), owner, w.app, provision.DriftChoice{RemoteIDs: []string{w.account("dan").ID()}}); !problem.Is(err, problem.Conflict) {
			t.Errorf("access was kept: %v", err)
		}
	})
}

func TestDriftDeletedIsParked(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newDriftWorld(t, db)
		_, bob, cyd, _ := w.company()
		w.policy(func(s *provision.DriftSettings) { s.Deleted = provision.DriftPark })
		for _, name := range []string{"bob", "cyd"} {
			_, err := w.other.Delete(t.Context(), scim.User, w.account(name).ID())
			w.must(err)
		}
		// One is found by a write, the other by the comparison.
		_, err := w.dir.UpdateUser(t.Context(), owner, cyd, 0, func(a *directory.Attributes) error { a.Title = "Cook"; return nil })
		w.must(err)
		w.settled()
		rep := w.compare()
		if rep.Counts.Parked != 1 || w.state("bob") != "none" || w.state("cyd") != "none" {
			t.Fatalf("%+v: bob %s, cyd %s", rep.Counts, w.state("bob"), w.state("cyd"))
		}
		_, err = w.dir.UpdateUser(t.Context(), owner, bob, 0, func(a *directory.Attributes) error { a.Title = "Mate"; return nil })
		w.must(err)
		w.must(w.engine.RetryObject(t.Context(), owner, w.app, scim.User, string(cyd)))
		w.settled()
		if w.state("bob") != "none" || w.state("cyd") != "none" {
			t.Errorf("made again without a word: bob %s, cyd %s", w.state("bob"), w.state("cyd"))
		}
		links, err := w.engine.Links(t.Context(), owner, w.app, provision.LinkQuery{Status: provision.LinkBlocked})
		w.must(err)
		if len(links.Items) != 2 || !strings.Contains(links.Items[0].Reason, "deleted at the target") {
			t.Errorf("links %+v", links.Items)
		}
		page, err := w.engine.DriftRows(t.Context(), owner, w.app, provision.DriftQuery{Finding: provision.FoundDeleted})
		w.must(err)
		one := provision.DriftChoice{RemoteIDs: []string{page.Items[0].RemoteID}}
		p, err := w.engine.RepairPlan(t.Context(), owner, w.app, one)
		w.must(err)
		if p.Counts.Users.Create != 1 {
			t.Errorf("plan %+v", p.Counts)
		}
		_, err = w.engine.Repair(t.Context(), owner, w.app, one, p.Hash)
		w.must(err)
		w.settled()
		if got := w.state("bob"); got != "true Mate Bob" {
			t.Errorf("bob %s", got)
		}
		if d := cmp.Diff([]string{"ada", "bob"}, w.members()); d != "" {
			t.Error(d)
		}
		// The other is in no report: it is found as blocked, and is let be made again.
		w.must(w.engine.Recreate(t.Context(), owner, w.app, scim.User, string(cyd)))
		w.settled()
		if got := w.state("cyd"); got != "true Cook Cyd" {
			t.Errorf("cyd %s", got)
		}
		if err := w.engine.Recreate(t.Context(), owner, w.app, scim.User, string(cyd)); !problem.Is(err, problem.Conflict) {
			t.Errorf("not lost: %v", err)
		}
	})
}

func TestManyRepairsAreHeld(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newDriftWorld(t, db)
		w.company()
		w.policy(func(s *provision.DriftSettings) { s.Policy = provision.Ours })
		_, err := w.apps.SaveSCIM(t.Context(), owner, w.app, func(s *app.SCIMSettings) error { s.Guard.MaxCount = 2; return nil })
		w.must(err)
		for _, name := range []string{"ada", "bob", "cyd"} {
			w.patch(scim.User, w.account(name).ID(), scim.Operation{Op: scim.PatchReplace, Path: "title", Value: "Elsewhere"})
		}
		rep := w.compare()
		if !strings.Contains(rep.Held, "more than the limit of 2") || rep.Counts.Repairing != 0 {
			t.Errorf("report %+v", rep)
		}
		if got := w.state("bob"); got != "true Elsewhere Bob" {
			t.Errorf("bob %s", got)
		}
		all := provision.DriftChoice{All: true}
		p, err := w.engine.RepairPlan(t.Context(), owner, w.app, all)
		w.must(err)
		if p.Held == "" || p.Objects != 3 {
			t.Errorf("plan %+v", p)
		}
		_, err = w.engine.Repair(t.Context(), owner, w.app, all, p.Hash)
		w.must(err)
		w.settled()
		if got := w.state("bob"); got != "true  Bob" {
			t.Errorf("bob %s", got)
		}
	})
}

func TestComparisonGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		for i := range 9 {
			w.user(fmt.Sprintf("user%d", i), w.group)
		}
		w.activate()
		w.settled()
		w.target.Change(func(q *scimtest.Quirks) { q.PageCap = 2 })
		for _, r := range w.target.Resources(scim.User) {
			if r.UserName() == "user1" || r.UserName() == "user8" {
				w.target.Put(scim.User, with(r, "title", "Elsewhere"))
			}
		}
		// The program dies in the middle of the list.
		w.target.Fail(scimtest.Fault{Method: "GET", Path: "/Users", Skip: 2, Status: 503})
		_, err := w.engine.Compare(t.Context(), owner, w.app)
		w.must(err)
		at := func() (next string) {
			w.must(db.View(t.Context(), func(tx *store.Tx) (err error) {
				next, err = store.One(tx, store.Scalar[string], `SELECT next FROM drift_reports WHERE application_id = $1`, string(w.app))
				return err
			}))
			return next
		}
		for range 1000 {
			if at() == "5" {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		w.stop()
		if at() != "5" {
			t.Fatalf("it stands at %q", at())
		}
		w.target.Heal()
		w.target.Forget()
		w.start()
		w.settled()
		w.found("changed User1 Example open: title <nil>/Elsewhere", "changed User8 Example open: title <nil>/Elsewhere")
		var asked []string
		for _, r := range w.target.Requests() {
			asked = append(asked, r.Method+" "+r.Path+" "+r.Query)
		}
		if d := cmp.Diff([]string{"GET /Users startIndex=5&count=100", "GET /Users startIndex=7&count=100", "GET /Users startIndex=9&count=100", "GET /Groups startIndex=1&count=20"}, asked); d != "" {
			t.Errorf("after the restart:\n%s", d)
		}
		d, err := w.engine.Drift(t.Context(), owner, w.app)
		w.must(err)
		if d.Report.State != provision.DriftDone || d.Report.Counts.Users != 9 {
			t.Errorf("%+v", d.Report)
		}
		if d.Next.Sub(d.Report.StartedAt) != 24*time.Hour {
			t.Errorf("the next is at %s", d.Next)
		}
		if n := len(w.events(audit.DriftCheck)); n != 1 {
			t.Errorf("told %d times", n)
		}
	})
}

func with(r scim.Resource, path string, v any) scim.Resource {
	out := r.Clone()
	out[path] = v
	return out
}

func TestComparisonWaitsWhilePaused(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w.user("ada", w.group)
		w.activate()
		w.settled()
		w.must(w.engine.Pause(t.Context(), owner, w.app, "audit there"))
		if _, err := w.engine.Compare(t.Context(), owner, w.app); !problem.Is(err, problem.Conflict) {
			t.Errorf("asked while paused: %v", err)
		}
		// One that is due doesn't begin, and one that runs waits.
		w.must(w.engine.Resume(t.Context(), owner, w.app))
		w.settled()
		w.target.Fail(scimtest.Fault{Method: "GET", Path: "/Users", Status: 429, Header: map[string]string{"Retry-After": "1"}, Times: 1})
		w.target.Forget()
		_, err := w.engine.Compare(t.Context(), owner, w.app)
		w.must(err)
		for range 400 {
			if len(w.target.Requests()) > 0 {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		w.must(w.engine.Pause(t.Context(), owner, w.app, "audit there"))
		time.Sleep(100 * time.Millisecond)
		w.target.Forget()
		time.Sleep(1500 * time.Millisecond)
		if got := w.target.Requests(); len(got) != 0 {
			t.Errorf("read while paused: %v", got)
		}
		w.must(w.engine.Resume(t.Context(), owner, w.app))
		w.settled()
		d, err := w.engine.Drift(t.Context(), owner, w.app)
		w.must(err)
		if d.Report.State != provision.DriftDone {
			t.Errorf("%+v", d.Report)
		}
		// A refused token stops provisioning, and the report says why.
		w.target.Fail(scimtest.Fault{Status: 401})
		_, err = w.engine.Compare(t.Context(), owner, w.app)
		w.must(err)
		w.settled()
		d, err = w.engine.Drift(t.Context(), owner, w.app)
		w.must(err)
		a, err := w.apps.Get(t.Context(), owner, w.app)
		w.must(err)
		if d.Report.State != provision.DriftFailed || !strings.Contains(d.Report.Reason, "refuses the token") || a.SCIM.Status != app.Stopped {
			t.Errorf("%+v, %s", d.Report, a.SCIM.Status)
		}
		if e := w.events(audit.DriftCheck); e[len(e)-1].Outcome != audit.Failure {
			t.Errorf("event %+v", e[len(e)-1])
		}
	})
}

func TestComparisonByObject(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w.user("ada", w.group)
		w.user("bob", w.group)
		w.activate()
		w.settled()
		for _, r := range w.target.Resources(scim.User) {
			if r.UserName() == "ada" {
				w.target.Put(scim.User, with(r, "title", "Elsewhere"))
			}
		}
		w.target.Put(scim.User, scim.Resource{"userName": "zoe", "active": true, "emails": []any{map[string]any{"value": "zoe@example.com", "primary": true}}})
		w.target.Fail(scimtest.Fault{Method: "GET", Path: "/Users", Status: 501, Times: 1}) // the list; each can be read
		rep := w.compare()
		if !rep.ByObject || rep.Counts.Users != 2 || rep.Counts.Groups != 1 || rep.Counts.Unmanaged != 0 {
			t.Errorf("%+v", rep)
		}
		w.found("changed Ada Example open: title <nil>/Elsewhere")
	})
}

// A target that doesn't keep what it is told isn't told every day.
func TestDriftThatComesBackIsNotRepairedForEver(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		ada := w.user("ada", w.group)
		w.target.Change(func(q *scimtest.Quirks) { q.Drop = []string{"title"} })
		_, err := w.dir.UpdateUser(t.Context(), owner, ada, 0, func(a *directory.Attributes) error { a.Title = "Countess"; return nil })
		w.must(err)
		w.policy(func(s *provision.DriftSettings) { s.Policy = provision.Ours })
		w.activate()
		w.settled()
		for i, want := range []int{1, 0, 0} {
			w.target.Forget()
			rep := w.compare()
			if rep.Counts.Changed != 1 || rep.Counts.Repairing != want || len(w.writes()) != want {
				t.Errorf("comparison %d: %+v, writes %v", i+1, rep.Counts, w.writes())
			}
		}
		page, err := w.engine.DriftRows(t.Context(), owner, w.app, provision.DriftQuery{})
		w.must(err)
		if !strings.Contains(page.Items[0].Note, "may not keep") {
			t.Errorf("%+v", page.Items[0])
		}
	})
}
