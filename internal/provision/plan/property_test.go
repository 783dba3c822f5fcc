package plan_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/latchkey-idp/latchkey/internal/provision/plan"
	"github.com/latchkey-idp/latchkey/internal/scim"
)

// world is a target in memory: what SCIM says a target does, and no more.
type world struct {
	resource scim.Resource // nil: not there
	silent   bool          // answers 204 where it may
	lower    bool          // keeps e-mail addresses in lower case
	untyped  bool          // keeps no types of e-mail addresses
	writes   []plan.Step
}

func (w *world) normalize() {
	v, _ := w.resource.Get("emails")
	list, _ := v.([]any)
	for _, e := range list {
		m, ok := e.(map[string]any)
		if !ok {
			continue
		}
		if s, ok := m["value"].(string); ok && w.lower {
			m["value"] = strings.ToLower(s)
		}
		if w.untyped {
			delete(m, "type")
		}
	}
}

// do carries a step out and gives the answer.
func (w *world) do(t *rapid.T, s plan.Step) scim.Resource {
	if s.Writes() {
		w.writes = append(w.writes, s)
	}
	switch s.Method {
	case http.MethodPost:
		if w.resource != nil {
			t.Fatalf("created twice: %s", sketch(s))
		}
		w.resource = s.Body.Clone()
		w.resource["id"] = "r1"
		w.normalize()
		return w.resource.Clone()
	case http.MethodPut:
		w.resource = s.Body.Clone()
		w.resource["id"] = "r1"
	case http.MethodPatch:
		next, err := s.Patch().Apply(w.resource)
		if err != nil {
			t.Fatalf("%s on %v: %v", sketch(s), w.resource, err)
		}
		// A strict target refuses to remove or replace by a path that selects
		// nothing.
		for _, op := range s.Operations {
			if _, ok := w.resource.Get(op.Path); !ok && op.Op != scim.PatchAdd {
				t.Fatalf("%s %s selects nothing in %v", op.Op, op.Path, w.resource)
			}
		}
		w.resource = next
	case http.MethodDelete:
		w.resource = nil
		return nil
	}
	w.normalize()
	if w.silent {
		return nil
	}
	return w.resource.Clone()
}

var texts = []string{"", "a", "A", "b", "ä \"x\" \\", "false"}

// pool are the attributes that are drawn from.
var pool = []string{
	"userName", "displayName", "title", "timezone", "name.givenName", "name.familyName", "name.formatted",
	`phoneNumbers[type eq "work"].value`, `phoneNumbers[type eq "mobile"].value`, "nickName",
	ent + ":department", ent + ":organization", "urn:example:params:2.0:User:badge",
}

func drawDesired(t *rapid.T, label string) scim.Desired {
	var d scim.Desired
	d.Set("userName", rapid.SampledFrom([]string{"ada", "ADA", "al"}).Draw(t, label+" userName"))
	d.Set(`emails[type eq "work"].value`, rapid.SampledFrom([]string{"a@x.org", "A@x.org", "b@x.org"}).Draw(t, label+" email"))
	for _, p := range pool[1:] {
		switch rapid.IntRange(0, 3).Draw(t, label+" "+p) {
		case 0:
			d.Set(p, rapid.SampledFrom(texts).Draw(t, label+" value"))
		case 1:
			d.Unset(p)
		}
	}
	if rapid.Bool().Draw(t, label+" second email") {
		d.Set(`emails[type eq "other"].value`, "o@x.org")
	}
	if rapid.Bool().Draw(t, label+" list") {
		d.Set("addresses", []any{map[string]any{"type": "work", "locality": rapid.SampledFrom(texts[1:]).Draw(t, label+" locality")}})
	}
	return d
}

func drawAbilities(t *rapid.T) plan.Abilities {
	a := plan.Full()
	a.Patch = rapid.Bool().Draw(t, "patch")
	a.EmailByPut = rapid.Bool().Draw(t, "email by put")
	a.PatchGroups = rapid.Bool().Draw(t, "patch groups")
	a.RenameGroups = rapid.Bool().Draw(t, "rename")
	a.CreateWithMembers = rapid.Bool().Draw(t, "create with members")
	a.RemoveMembersByValue = rapid.Bool().Draw(t, "by value")
	a.MemberBatch = rapid.IntRange(0, 3).Draw(t, "batch")
	if rapid.Bool().Draw(t, "delete") {
		a.Leavers = plan.Delete
	}
	return a
}

// Carrying the plan out makes the target what is desired, keeps what is the
// target's own, and leaves nothing to do, by memory and by a fresh reading.
func TestPersonConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawDesired(t, "want")
		p := plan.Person{ID: "u1", Label: "x", Want: plan.Present, Attributes: want}
		a := drawAbilities(t)
		w := &world{
			silent: rapid.Bool().Draw(t, "silent"), lower: rapid.Bool().Draw(t, "lower"),
			untyped: rapid.Bool().Draw(t, "untyped") && want.Values[`emails[type eq "other"].value`] == nil,
		}
		state := plan.PersonState{Known: plan.Absent}
		if rapid.Bool().Draw(t, "exists") {
			r, err := drawDesired(t, "have").Resource(scim.User)
			if err != nil {
				t.Fatal(err)
			}
			r["id"], r["active"], r["profileUrl"] = "r1", rapid.Bool().Draw(t, "active"), "own"
			r["meta"] = map[string]any{"resourceType": "User"}
			if w.untyped {
				// More than one address without types can't be told apart.
				v, _ := r.Get("emails")
				r["emails"] = v.([]any)[:1]
			}
			w.resource = r
			w.normalize()
			state = plan.PersonState{Known: plan.Fresh, Remote: "r1", Resource: r.Clone(), Matches: 1}
			if rapid.Bool().Draw(t, "linked") {
				state.Linked, state.Known = true, plan.Remembered
			}
		}
		existed := w.resource != nil
		rounds := 0
		for {
			steps := plan.ForPerson(p, state, a)
			if len(steps) == 0 {
				break
			}
			if rounds++; rounds > 3 {
				t.Fatalf("still not done: %v\nstate %v", sketches(steps), state)
			}
			for _, s := range steps {
				if s.Kind == plan.Read {
					if len(steps) != 1 {
						t.Fatalf("a read does not come alone: %v", sketches(steps))
					}
					state = state.Seen(w.resource.Clone())
					continue
				}
				state = state.After(s, w.do(t, s))
			}
		}
		if len(w.writes) > 1 {
			t.Fatalf("%d writes for one change: %v", len(w.writes), sketches(w.writes))
		}

		// By a fresh reading, nothing is left to do either.
		if rest := plan.ForPerson(p, state.Seen(w.resource.Clone()), a); len(rest) != 0 {
			t.Fatalf("the target has %v and the plan is %v", w.resource, sketches(rest))
		}
		for path, v := range want.Values {
			got, _ := w.resource.Get(path)
			if w.untyped && strings.HasPrefix(path, "emails") {
				got, _ = w.resource.Get(strings.Replace(path, `[type eq "work"]`, "", 1))
				got = got.([]any)[0]
			}
			same := scim.Equal(got, v)
			if path == "userName" || strings.HasPrefix(path, "emails") {
				same = strings.EqualFold(got.(string), v.(string))
			}
			if path == "addresses" {
				same = len(got.([]any)) == 1 && scim.Equal(got, v)
			}
			if !same {
				t.Fatalf("%s is %v, want %v", path, got, v)
			}
		}
		for _, path := range want.Clear {
			if got, _ := w.resource.Get(path); !scim.Empty(got) {
				t.Fatalf("%s is %v, want it cleared", path, got)
			}
		}
		if active, _ := w.resource.Active(); !active || w.resource.ExternalID() != "u1" {
			t.Fatalf("active or externalId: %v", w.resource)
		}
		primaries := 0
		v, _ := w.resource.Get("emails.primary")
		for _, b := range v.([]any) {
			if b == true {
				primaries++
			}
		}
		if primaries != 1 {
			t.Fatalf("%d primary addresses in %v", primaries, w.resource)
		}
		if existed && w.resource.Text("profileUrl") != "own" {
			t.Fatalf("what is the target's own is gone: %v", w.resource)
		}
	})
}

// Nothing is written when only what the plan does not manage differs.
func TestDecorationIsNoDifference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawDesired(t, "want")
		p := plan.Person{ID: "u1", Want: plan.Present, Attributes: want}
		a := plan.Full()
		step := plan.ForPerson(p, plan.PersonState{Known: plan.Absent}, a)[0]
		r := step.Body.Clone()
		r["id"] = "r1"
		for _, d := range []string{"profileUrl", "userType", "urn:example:own:x"} {
			if rapid.Bool().Draw(t, d) {
				r[d] = map[string]any{"x": "y"}
			}
		}
		if rapid.Bool().Draw(t, "upper case names") {
			up := scim.Resource{}
			for k, v := range r {
				up[strings.ToUpper(k)] = v
			}
			r = up
		}
		v, _ := r.Get("emails")
		for _, e := range v.([]any) {
			m := e.(map[string]any)
			m["display"] = "x"
			if rapid.Bool().Draw(t, "text primary") && m["primary"] == true {
				m["primary"] = "True"
			}
			m["value"] = strings.ToUpper(m["value"].(string))
		}
		if _, ok := r.Get("title"); !ok && rapid.Bool().Draw(t, "empty title") && want.Values["title"] == nil {
			r["title"] = ""
		}
		state := plan.PersonState{Known: plan.Fresh, Linked: true, Remote: "r1", Resource: r}
		if steps := plan.ForPerson(p, state, a); len(steps) != 0 {
			t.Fatalf("%v for %v", sketches(steps), r)
		}
	})
}

func TestTeamConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawAbilities(t)
		ids := rapid.SliceOfNDistinct(rapid.IntRange(1, 9), 0, 9, rapid.ID).Draw(t, "members")
		team := plan.Team{ID: "g1", Name: rapid.SampledFrom([]string{"A", "a", "B"}).Draw(t, "name"), Want: plan.Present}
		wanted := []string{}
		for _, n := range ids {
			m := member(n)
			if n > 7 {
				m.Remote = ""
			} else {
				wanted = append(wanted, m.Remote)
			}
			team.Members = append(team.Members, m)
		}
		slices.Sort(wanted)
		w := &world{silent: rapid.Bool().Draw(t, "silent")}
		state := plan.TeamState{Known: plan.Absent}
		if rapid.Bool().Draw(t, "exists") {
			members := []any{}
			for _, n := range rapid.SliceOfNDistinct(rapid.IntRange(1, 9), 0, 9, rapid.ID).Draw(t, "have") {
				members = append(members, map[string]any{"value": fmt.Sprintf("r%d", n), "display": "own"})
			}
			w.resource = scim.Resource{"id": "r1", "displayName": "A", "members": members}
			state = state.Seen(w.resource.Clone())
			state.Linked = rapid.Bool().Draw(t, "linked")
			if state.Linked && rapid.Bool().Draw(t, "remembered") {
				state.Known = plan.Remembered
			}
		}
		linked := state.Linked
		for rounds := 0; ; rounds++ {
			steps := plan.ForTeam(team, state, a)
			if !slices.ContainsFunc(steps, plan.Step.Ready) {
				break
			}
			if rounds > 3 {
				t.Fatalf("still not done: %v", sketches(steps))
			}
			for _, s := range steps {
				limit := a.MemberBatch
				if limit == 0 {
					limit = 100
				}
				if len(s.Members) > limit {
					t.Fatalf("%d members in one request", len(s.Members))
				}
				switch {
				case s.Kind == plan.Read:
					state = state.Seen(w.resource.Clone())
				case s.Ready():
					state = state.After(s, w.do(t, s))
				}
			}
		}
		if !linked && len(team.Members) == 0 {
			if len(w.writes) != 0 {
				t.Fatalf("an empty group was written: %v", sketches(w.writes))
			}
			return
		}
		got := w.resource.Members()
		slices.Sort(got)
		if d := cmp.Diff(wanted, append([]string{}, got...)); d != "" {
			t.Fatal(d)
		}
		if name := w.resource.DisplayName(); a.RenameGroups && name != team.Name {
			t.Fatalf("name %q, want %q", name, team.Name)
		}
		if steps := plan.ForTeam(team, state.Seen(w.resource.Clone()), a); slices.ContainsFunc(steps, plan.Step.Ready) {
			t.Fatalf("by a fresh reading there is %v", sketches(steps))
		}
	})
}

// Whatever the parts and their order, the plan is the same and keeps its order.
func TestBuildOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawAbilities(t)
		var parts [][]plan.Step
		shared := plan.Ref{ID: "g1", Remote: "rg1", Label: "One"}
		var members []plan.Ref
		var there []string
		for n := range rapid.IntRange(0, 8).Draw(t, "people") {
			id := fmt.Sprintf("u%d", n)
			p := plan.Person{ID: id, Label: id, Attributes: drawDesired(t, id)}
			p.Want = rapid.SampledFrom([]plan.Want{plan.Leave, plan.Present, plan.Gone}).Draw(t, id+" want")
			s := plan.PersonState{Known: rapid.SampledFrom([]plan.Knowledge{plan.Unknown, plan.Absent, plan.Fresh}).Draw(t, id+" known")}
			if s.Known == plan.Fresh {
				s.Linked, s.Remote = true, fmt.Sprintf("r%d", n)
				s.Resource = scim.Resource{"id": s.Remote, "userName": "x", "active": rapid.Bool().Draw(t, id+" active")}
				s.Groups = []plan.Ref{shared, {ID: "g2", Remote: "rg2"}}
				there = append(there, s.Remote)
			}
			if p.Want == plan.Present {
				members = append(members, plan.Ref{ID: id, Remote: s.Remote})
			}
			parts = append(parts, plan.ForPerson(p, s, a))
		}
		parts = append(parts, plan.ForTeam(plan.Team{ID: "g1", Name: "One", Want: plan.Present, Members: members},
			plan.TeamState{Known: plan.Fresh, Linked: true, Remote: "rg1", Name: "Old", Members: there}, a))
		parts = append(parts, plan.ForTeam(plan.Team{ID: "g3", Name: "New", Want: plan.Present, Members: members},
			plan.TeamState{Known: plan.Absent}, a))
		parts = append(parts, plan.ForTeam(plan.Team{ID: "g4", Name: "Del", Want: plan.Gone},
			plan.TeamState{Known: plan.Remembered, Linked: true, Remote: "rg4"}, a))

		built := plan.Build(parts...)
		shuffled := rapid.Permutation(parts).Draw(t, "order")
		again := plan.Build(shuffled...)
		if d := cmp.Diff(built, again); d != "" {
			t.Fatal("the order of the parts matters:", d)
		}

		at := func(match func(plan.Step) bool) (first, last int) {
			first, last = len(built.Steps), -1
			for i, s := range built.Steps {
				if match(s) {
					first, last = min(first, i), i
				}
			}
			return first, last
		}
		before := func(name string, x, y func(plan.Step) bool) {
			_, last := at(x)
			first, _ := at(y)
			if last > first {
				t.Fatalf("%s: %v", name, sketches(built.Steps))
			}
		}
		user := func(kinds ...plan.Kind) func(plan.Step) bool {
			return func(s plan.Step) bool { return s.For.Type == scim.User && slices.Contains(kinds, s.Kind) }
		}
		group := func(kinds ...plan.Kind) func(plan.Step) bool {
			return func(s plan.Step) bool { return s.For.Type == scim.Group && slices.Contains(kinds, s.Kind) }
		}
		leavers := user(plan.Deactivated, plan.Deleted, plan.RemoveMembers)
		joiners := user(plan.Lookup, plan.Read, plan.Adopt, plan.Create, plan.Reactivate)
		before("leavers before joiners", leavers, joiners)
		before("joiners before updates", joiners, user(plan.Update))
		before("members leave before people are deactivated", group(plan.RemoveMembers), leavers)
		before("accounts before members", user(plan.Create), group(plan.AddMembers))
		before("groups before members", group(plan.Create), group(plan.AddMembers))
		before("groups are deleted at the end", func(s plan.Step) bool {
			return s.Kind != plan.Blocked && !(s.Kind == plan.Deleted && s.On.Type == scim.Group)
		}, group(plan.Deleted))
		before("blocked last", func(s plan.Step) bool { return s.Kind != plan.Blocked }, func(s plan.Step) bool { return s.Kind == plan.Blocked })
		removals := make(map[string]int)
		for i, s := range built.Steps {
			if s.Kind == plan.RemoveMembers {
				for _, m := range s.Members {
					removals[s.On.Remote+" "+m.Remote]++
				}
			}
			if s.For.Type == scim.User && (s.Kind == plan.Deactivated || s.Kind == plan.Deleted) {
				for _, later := range built.Steps[i:] {
					if later.Kind == plan.RemoveMembers && slices.ContainsFunc(later.Members, func(m plan.Ref) bool { return m.Remote == s.On.Remote }) {
						t.Fatalf("%s is deactivated before leaving a group: %v", s.On.Remote, sketches(built.Steps))
					}
				}
			}
		}
		for k, n := range removals {
			if n > 1 {
				t.Fatalf("%s is removed %d times: %v", k, n, sketches(built.Steps))
			}
		}
		c := built.Counts()
		writes := 0
		for _, s := range built.Steps {
			if s.Method != "" && s.Method != http.MethodGet {
				writes++
			}
		}
		if c.Writes != writes {
			t.Fatalf("%d writes counted, %d in the plan", c.Writes, writes)
		}
	})
}

func TestHash(t *testing.T) {
	build := func(title, label string) plan.Plan {
		p := ada(func(d *scim.Desired) { d.Set("title", title) })
		p.Label = label
		return plan.Build(plan.ForPerson(p, there(t), atlassian()))
	}
	one := build("Countess", "Ada")
	if two := build("Countess", "Ada King"); one.Hash != two.Hash {
		t.Error("a label changes the hash")
	}
	if two := build("Duchess", "Ada"); one.Hash == two.Hash {
		t.Error("another value has the same hash")
	}
	if len(one.Hash) != 64 || one.Empty() {
		t.Errorf("hash %q, empty %v", one.Hash, one.Empty())
	}
	none := plan.Build(nil, nil)
	if !none.Empty() || none.Hash == one.Hash || none.Steps == nil {
		t.Errorf("the empty plan: %+v", none)
	}
	const known = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // SHA-256 of nothing
	if none.Hash != known {
		t.Errorf("hash of the empty plan %s", none.Hash)
	}
	blockedOnly := plan.Build(plan.ForPerson(ada(func(d *scim.Desired) { d.Missing = []string{"x"} }), there(t), atlassian()))
	if !blockedOnly.Empty() || blockedOnly.Counts().Blocked != 1 {
		t.Errorf("%+v", blockedOnly)
	}
}

func TestCounts(t *testing.T) {
	a := atlassian()
	found := there(t)
	found.Linked = false
	leaver := there(t)
	leaver.Groups = []plan.Ref{{Remote: "rg"}}
	p := plan.Build(
		plan.ForPerson(ada(), plan.PersonState{}, a),
		plan.ForPerson(ada(), plan.PersonState{Known: plan.Absent}, a),
		plan.ForPerson(ada(), found, a),
		plan.ForPerson(ada(func(d *scim.Desired) { d.Set("title", "x") }), there(t), a),
		plan.ForPerson(ada(), there(t, set("active", false)), a),
		plan.ForPerson(gone(), leaver, a),
		plan.ForTeam(plan.Team{ID: "g", Name: "A", Want: plan.Present, Members: []plan.Ref{member(1), member(2)}}, plan.TeamState{Known: plan.Absent}, a),
		plan.ForTeam(plan.Team{ID: "h", Name: "B", Want: plan.Gone}, plan.TeamState{Known: plan.Fresh, Linked: true, Remote: "rh"}, a),
	)
	want := plan.Counts{
		Users:  plan.Tally{Create: 1, Adopt: 1, Update: 1, Reactivate: 1, Deactivate: 1},
		Groups: plan.Tally{Create: 1, Delete: 1}, MembersAdded: 2, MembersRemoved: 1, Lookups: 1, Guarded: 1, Writes: 8,
	}
	if d := cmp.Diff(want, p.Counts()); d != "" {
		t.Error(d)
	}
}
