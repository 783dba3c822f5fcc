package provision_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/provision/plan"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/scim/scimtest"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

func settings(change func(*app.SCIMSettings)) app.SCIMChange {
	return app.SCIMChange{Settings: func(s *app.SCIMSettings) error { change(s); return nil }}
}

func mapTitle(expression string) app.SCIMChange {
	return settings(func(s *app.SCIMSettings) {
		s.Mapping = catalog.MappingOverride{Rows: []catalog.RowOverride{{Target: "title", Source: &catalog.Source{Expression: expression}}}}
	})
}

func filter(expression string) app.SCIMChange {
	return settings(func(s *app.SCIMSettings) { s.ScopeFilter = expression })
}

// told renders a plan as the requests that it announces, sorted.
func told(p provision.Preview) []string {
	var out []string
	for _, s := range p.Steps {
		if !s.Writes() {
			continue
		}
		path := "/" + string(s.On.Type) + "s"
		if s.On.Remote != "" {
			path += "/" + s.On.Remote
		}
		out = append(out, s.Method+" "+path)
	}
	slices.Sort(out)
	return out
}

// sent renders what was written in the same form: of what was not there before, no id. A leaver
// is taken out of a group by the run of the person or of the group, and by both if they run side
// by side; it counts once.
func (w *world) sent(before []string) []string {
	var out []string
	for _, r := range w.target.Requests() {
		if r.Method == http.MethodGet {
			continue
		}
		kind, id, _ := strings.Cut(strings.TrimPrefix(r.Path, "/"), "/")
		path := "/" + kind
		if slices.Contains(before, id) {
			path += "/" + id
		}
		out = append(out, r.Method+" "+path)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ids are those of all that is at the target.
func (w *world) ids() (out []string) {
	for _, kind := range []scim.ResourceType{scim.User, scim.Group} {
		for _, r := range w.target.Resources(kind) {
			out = append(out, r.ID())
		}
	}
	return out
}

// department creates somebody with a department.
func (w *world) department(name, department string, groups ...directory.GroupID) directory.UserID {
	id := w.user(name, groups...)
	_, err := w.dir.UpdateUser(w.t.Context(), owner, id, 0, func(a *directory.Attributes) error { a.Department = department; return nil })
	w.must(err)
	return id
}

func (w *world) newGroup(name string, members ...directory.UserID) directory.GroupID {
	g, err := w.dir.CreateGroup(w.t.Context(), owner, directory.NewGroup{GroupAttributes: directory.GroupAttributes{Name: name}})
	w.must(err)
	if len(members) > 0 {
		_, err = w.dir.AddMembers(w.t.Context(), owner, g.ID, members)
		w.must(err)
	}
	return g.ID
}

// TestAppliedIsExactlyWhatWasPlanned makes every kind of change to an active application: what
// was planned is what is sent, and afterwards nothing is left to do.
func TestAppliedIsExactlyWhatWasPlanned(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(w *world, sales directory.GroupID) app.SCIMChange
		counts plan.Counts
		after  string
	}{
		"a mapping row": {
			func(*world, directory.GroupID) app.SCIMChange { return mapTitle(`user.department`) },
			plan.Counts{Users: plan.Tally{Update: 3}, Writes: 3},
			"group Engineering: ada bob cyd; user ada active; user bob active; user cyd active",
		},
		"a filter makes leavers": {
			func(*world, directory.GroupID) app.SCIMChange { return filter(`user.department == "Research"`) },
			plan.Counts{Users: plan.Tally{Deactivate: 1}, MembersRemoved: 1, Writes: 2},
			"group Engineering: ada bob; user ada active; user bob active; user cyd inactive",
		},
		"leavers are deleted from now on, and so is one who fell out": {
			func(*world, directory.GroupID) app.SCIMChange {
				return settings(func(s *app.SCIMSettings) { s.OnLeave, s.ScopeFilter = app.Remove, `user.department != "Sales"` })
			},
			plan.Counts{Users: plan.Tally{Delete: 1}, MembersRemoved: 1, Writes: 2},
			"group Engineering: ada bob; user ada active; user bob active",
		},
		"a group is bound": {
			func(_ *world, sales directory.GroupID) app.SCIMChange {
				return app.SCIMChange{Bind: []directory.GroupID{sales}}
			},
			plan.Counts{Users: plan.Tally{Create: 1}, Groups: plan.Tally{Create: 1}, MembersAdded: 2, Writes: 3},
			"group Engineering: ada bob cyd; group Sales: ada dan; user ada active; user bob active; user cyd active; user dan active",
		},
		"one group is bound and the other unbound": {
			func(w *world, sales directory.GroupID) app.SCIMChange {
				return app.SCIMChange{Bind: []directory.GroupID{sales}, Unbind: []directory.GroupID{w.group}}
			},
			plan.Counts{Users: plan.Tally{Create: 1, Deactivate: 2}, Groups: plan.Tally{Create: 1}, MembersAdded: 2, Writes: 5},
			"group Engineering: ada bob cyd; group Sales: ada dan; user ada active; user bob inactive; user cyd inactive; user dan active",
		},
		"a group is bound under a filter": {
			func(_ *world, sales directory.GroupID) app.SCIMChange {
				c := filter(`user.username != "dan"`)
				c.Bind = []directory.GroupID{sales}
				return c
			},
			plan.Counts{Groups: plan.Tally{Create: 1}, MembersAdded: 1, Writes: 2},
			"group Engineering: ada bob cyd; group Sales: ada; user ada active; user bob active; user cyd active",
		},
		"groups are no longer managed": {
			func(*world, directory.GroupID) app.SCIMChange {
				return settings(func(s *app.SCIMSettings) { s.ManageGroups = false })
			},
			plan.Counts{},
			"group Engineering: ada bob cyd; user ada active; user bob active; user cyd active",
		},
		"a rate": {
			func(*world, directory.GroupID) app.SCIMChange {
				return settings(func(s *app.SCIMSettings) { s.RatePerSecond = 500 })
			},
			plan.Counts{},
			"group Engineering: ada bob cyd; user ada active; user bob active; user cyd active",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Each(t, func(t *testing.T, db *store.DB) {
				w := newWorld(t, db)
				ada := w.department("ada", "Research", w.group)
				w.department("bob", "Research", w.group)
				w.department("cyd", "Sales", w.group)
				sales := w.newGroup("Sales", ada, w.department("dan", "Sales"))
				w.activate()
				w.settled()
				w.target.Forget()
				before := w.ids()
				change := c.change(w, sales)
				p, err := w.engine.Propose(t.Context(), owner, w.app, change)
				w.must(err)
				if diff := cmp.Diff(c.counts, p.Counts); diff != "" {
					t.Errorf("counts (-want +got):\n%s", diff)
				}
				if got := w.sent(nil); len(got) > 0 {
					t.Fatalf("planning sent %v", got)
				}
				if p.Counts.Writes > 0 {
					_, _, err := w.engine.Apply(t.Context(), owner, w.app, change, "")
					if u, ok := errors.AsType[*provision.Unapproved](err); !ok || u.Stale || u.Plan.Hash != p.Hash || !problem.Is(err, problem.Conflict) {
						t.Fatalf("without a hash: %v", err)
					}
				}
				w.target.Forget()
				_, _, err = w.engine.Apply(t.Context(), owner, w.app, change, p.Hash)
				w.must(err)
				w.settled()
				if diff := cmp.Diff(told(p), w.sent(before)); diff != "" {
					t.Errorf("what was sent isn't what was planned (-planned +sent):\n%s", diff)
				}
				w.expect(c.after)
				left, err := w.engine.Preview(t.Context(), owner, w.app)
				w.must(err)
				if len(left.Steps) != 0 {
					t.Errorf("left to do: %+v", left.Steps)
				}
			})
		})
	}
}

// TestStalePlanIsRefused changes what a plan rests on, one thing at a time.
func TestStalePlanIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		meanwhile func(w *world, ada directory.UserID)
		stale     bool
	}{
		"nothing": {func(*world, directory.UserID) {}, false},
		"a person of the plan changed": {func(w *world, ada directory.UserID) {
			_, err := w.dir.UpdateUser(w.t.Context(), owner, ada, 0, func(a *directory.Attributes) error { a.Department = "Law"; return nil })
			w.must(err)
		}, true},
		"a person of the plan left": {func(w *world, ada directory.UserID) {
			_, err := w.dir.Suspend(w.t.Context(), owner, ada)
			w.must(err)
		}, true},
		"somebody joined": {func(w *world, _ directory.UserID) { w.department("eve", "Law", w.group) }, true},
		"the mapping changed": {func(w *world, _ directory.UserID) {
			_, err := w.apps.SaveSCIM(w.t.Context(), owner, w.app, func(s *app.SCIMSettings) error {
				s.Mapping.Rows = []catalog.RowOverride{{Target: "title", Source: &catalog.Source{Constant: "Boss"}}}
				return nil
			})
			w.must(err)
		}, true},
		"somebody who isn't in the plan changed": {func(w *world, _ directory.UserID) { w.department("eve", "Law") }, false},
		"what goes on anyway": {func(w *world, ada directory.UserID) {
			w.newGroup("Elsewhere", ada)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Each(t, func(t *testing.T, db *store.DB) {
				w := newWorld(t, db)
				ada := w.department("ada", "Research", w.group)
				w.department("bob", "Research", w.group)
				w.activate()
				w.settled()
				change := mapTitle(`user.department`)
				p, err := w.engine.Propose(t.Context(), owner, w.app, change)
				w.must(err)
				c.meanwhile(w, ada)
				w.settled()
				w.target.Forget()
				before, err := w.apps.Get(t.Context(), owner, w.app)
				w.must(err)
				_, now, err := w.engine.Apply(t.Context(), owner, w.app, change, p.Hash)
				if !c.stale {
					w.must(err)
					return
				}
				u, ok := errors.AsType[*provision.Unapproved](err)
				if !ok || !u.Stale || u.Plan.Hash == p.Hash || u.Plan.Hash != now.Hash || !strings.Contains(problem.Public(err), "Nothing was changed") {
					t.Fatalf("%v", err)
				}
				w.settled()
				after, err := w.apps.Get(t.Context(), owner, w.app)
				w.must(err)
				if diff := cmp.Diff(before.SCIM.SCIMSettings, after.SCIM.SCIMSettings); diff != "" {
					t.Errorf("a refused change was saved:\n%s", diff)
				}
				if got := w.sent(nil); len(got) > 0 {
					t.Errorf("a refused change sent %v", got)
				}
				// The new plan can be applied.
				_, _, err = w.engine.Apply(t.Context(), owner, w.app, change, u.Plan.Hash)
				w.must(err)
			})
		})
	}
}

// TestPlanTellsWhatTheChangeIsTheReasonFor keeps what waits for other reasons out of the plan.
func TestPlanTellsWhatTheChangeIsTheReasonFor(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w.department("ada", "Research", w.group)
		w.activate()
		w.settled()
		// bob's create is refused: it waits, and is no part of what follows.
		w.target.Fail(scimtest.Fault{Method: http.MethodPost, Path: "/Users", Times: 1, Status: http.StatusBadRequest, Body: `{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"400","detail":"not this one"}`})
		w.user("bob", w.group)
		w.settled()
		sales := w.newGroup("Sales", w.department("cyd", "Sales"))
		p, err := w.engine.Propose(t.Context(), owner, w.app, app.SCIMChange{Bind: []directory.GroupID{sales}})
		w.must(err)
		for _, s := range p.Steps {
			if s.For.Label == "Bob Example" {
				t.Errorf("bob is in the plan: %+v", s)
			}
		}
		if p.Counts.Users.Create != 1 || p.Counts.Groups.Create != 1 {
			t.Errorf("%+v", p.Counts)
		}
		all, err := w.engine.Preview(t.Context(), owner, w.app)
		w.must(err)
		if all.Counts.Users.Create != 1 || all.Steps[0].For.Label != "Bob Example" {
			t.Errorf("the whole plan: %+v", all)
		}
	})
}

// TestChangeAtRestIsMadeAtOnce needs no plan where nothing is sent.
func TestChangeAtRestIsMadeAtOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w.department("ada", "Research", w.group)
		w.activate()
		w.settled()
		w.must(w.engine.Pause(t.Context(), owner, w.app, ""))
		_, _, err := w.engine.Apply(t.Context(), owner, w.app, mapTitle(`user.department`), "")
		w.must(err)
		w.settled()
		if got := w.events("application_update"); len(got) == 0 || got[len(got)-1].Changes == nil {
			t.Errorf("no event of the change: %+v", got)
		}
		_, _, err = w.engine.Apply(t.Context(), access.Actor{Kind: access.Person, ID: "x", Role: access.ReadOnly}, w.app, filter("true"), "")
		if !problem.Is(err, problem.Forbidden) {
			t.Errorf("who may only read: %v", err)
		}
		if _, err := w.engine.Propose(t.Context(), owner, w.app, filter(`user.nonsense`)); !problem.Is(err, problem.Invalid) || !strings.Contains(problem.FieldsOf(err)[0].Detail, "Line 1, column 5: there is no attribute user.nonsense") {
			t.Errorf("a faulty filter: %v", err)
		}
	})
}

// TestGuardHoldsAnApprovedPlan holds what takes too much away, approved plan or not.
func TestGuardHoldsAnApprovedPlan(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		for i := range 20 {
			w.department(fmt.Sprintf("u%02d", i), "Research", w.group)
		}
		w.activate()
		w.settled()
		w.target.Forget()
		change := filter(`user.department == "Sales"`)
		p, err := w.engine.Propose(t.Context(), owner, w.app, change)
		w.must(err)
		if p.Counts.Users.Deactivate != 20 {
			t.Fatalf("%+v", p.Counts)
		}
		_, _, err = w.engine.Apply(t.Context(), owner, w.app, change, p.Hash)
		w.must(err)
		for range 500 {
			a, err := w.apps.Get(t.Context(), owner, w.app)
			w.must(err)
			if a.SCIM.Status == app.Paused {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		s, err := w.engine.Status(t.Context(), owner, w.app)
		w.must(err)
		if s.State != app.Paused || !strings.Contains(s.Sentence, "held for approval") {
			t.Fatalf("%+v", s)
		}
		for _, r := range w.target.Requests() {
			if r.Method == http.MethodPatch && strings.HasPrefix(r.Path, "/Users/") {
				t.Errorf("sent without approval: %v", r)
			}
		}
	})
}

// TestScopeFilter follows a person in and out of the scope by what the directory says.
func TestScopeFilter(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		_, err := w.apps.SaveSCIM(t.Context(), owner, w.app, func(s *app.SCIMSettings) error {
			s.ScopeFilter = `user.department == "Research" || user.custom["vip"] == "yes"`
			return nil
		})
		w.must(err)
		ada := w.department("ada", "Research", w.group)
		cyd := w.department("cyd", "Sales", w.group) // no vip: it can't be said
		w.activate()
		w.settled()
		w.expect("group Engineering: ada; user ada active")
		x, err := w.engine.Explain(t.Context(), owner, w.app, cyd)
		w.must(err)
		if x.Link.Status != provision.LinkBlocked || !strings.Contains(x.Link.Reason, "scope can't be worked out") {
			t.Errorf("%+v", x)
		}
		_, _, err = w.engine.Apply(t.Context(), owner, w.app, filter(`user.department == "Research"`), "")
		w.must(err)
		w.settled()
		move := func(id directory.UserID, department string) {
			_, err := w.dir.UpdateUser(t.Context(), owner, id, 0, func(a *directory.Attributes) error { a.Department = department; return nil })
			w.must(err)
			w.settled()
		}
		move(cyd, "Research")
		w.expect("group Engineering: ada cyd; user ada active; user cyd active")
		move(ada, "Sales")
		w.expect("group Engineering: cyd; user ada inactive; user cyd active")
		x, err = w.engine.Explain(t.Context(), owner, w.app, ada)
		w.must(err)
		if x.Want != plan.Gone || !strings.Contains(x.Why, "outside the scope") {
			t.Errorf("%+v", x)
		}
		move(ada, "Research")
		w.expect("group Engineering: ada cyd; user ada active; user cyd active")
	})
}

// TestPreviewOfOnePerson shows the account and its memberships, and nobody else.
func TestPreviewOfOnePerson(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		ada := w.department("ada", "Research", w.group)
		w.department("bob", "Research", w.group)
		p, err := w.engine.PreviewUser(t.Context(), owner, w.app, ada)
		w.must(err)
		if p.Counts.Users.Create != 1 || p.Counts.Writes != 2 {
			t.Errorf("%+v", p.Counts)
		}
		for _, s := range p.Steps {
			if s.For.Type == scim.User && s.For.ID != string(ada) {
				t.Errorf("%+v", s)
			}
		}
		w.activate()
		w.settled()
		all, err := w.engine.PreviewAll(t.Context(), owner)
		w.must(err)
		if len(all) != 1 || all[0].Err != nil || all[0].Application.ID != w.app || len(all[0].Plan.Steps) != 0 {
			t.Errorf("%+v", all)
		}
	})
}

// TestLookedUpByWhatTheApplicationSays prefers the account that the first attribute finds.
func TestLookedUpByWhatTheApplicationSays(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		ada := w.user("ada", w.group)
		byID := w.target.Put(scim.User, scim.Resource{"userName": "old.ada", "externalId": string(ada), "active": true})
		byName := w.target.Put(scim.User, scim.Resource{"userName": "ada", "active": true})
		for _, c := range []struct {
			match []string
			want  string
		}{{nil, byID}, {[]string{"userName"}, byName}, {[]string{"userName", "externalId"}, byName}, {[]string{"externalId"}, byID}} {
			_, _, err := w.engine.Apply(t.Context(), owner, w.app, settings(func(s *app.SCIMSettings) { s.Match = c.match }), "")
			w.must(err)
			p, err := w.engine.Preview(t.Context(), owner, w.app)
			w.must(err)
			if len(p.Steps) == 0 || p.Steps[0].Kind != plan.Adopt || p.Steps[0].On.Remote != c.want {
				t.Errorf("by %v: %+v", c.match, p.Steps)
			}
		}
	})
}
