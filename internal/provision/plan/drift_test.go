package plan_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/provision/plan"
	"github.com/latchkey-idp/latchkey/internal/scim"
)

// What is kept as it is at the target is left alone until the directory changes it, and what is
// written first only isn't written again.
func TestDriftIsLeftAlone(t *testing.T) {
	person := func(title string, kept map[string]plan.Kept) plan.Person {
		return plan.Person{ID: "u1", Want: plan.Present, Kept: kept, Attributes: scim.Desired{Values: map[string]any{"userName": "ada", "title": title, "nickName": "A"}}}
	}
	there := scim.Resource{"id": "r1", "externalId": "u1", "userName": "ada", "title": "Theirs", "nickName": "A", "active": true}
	off := there.Clone()
	off["active"] = false
	for name, tt := range map[string]struct {
		person    plan.Person
		have      scim.Resource
		abilities func(*plan.Abilities)
		want      []string
	}{
		"nothing kept":                 {person: person("Ours", nil), want: []string{"title"}},
		"kept":                         {person: person("Ours", map[string]plan.Kept{"title": {Ours: "Ours", Theirs: "Theirs"}})},
		"kept, whatever it is":         {person: person("Ours", map[string]plan.Kept{"title": {Ours: "Ours", Any: true}})},
		"kept another value":           {person: person("Ours", map[string]plan.Kept{"title": {Ours: "Ours", Theirs: "Older"}}), want: []string{"title"}},
		"changed here since":           {person: person("Newer", map[string]plan.Kept{"title": {Ours: "Ours", Any: true}}), want: []string{"title"}},
		"first write":                  {person: person("Ours", nil), abilities: func(a *plan.Abilities) { a.FirstWrite = []string{"title"} }},
		"activity is never kept":       {person: person("Theirs", map[string]plan.Kept{"active": {Ours: true, Any: true}}), have: off, want: []string{"active"}},
		"first write of activity, too": {person: person("Theirs", nil), have: off, abilities: func(a *plan.Abilities) { a.FirstWrite = []string{"active"} }, want: []string{"active"}},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.have == nil {
				tt.have = there
			}
			a := plan.Full()
			if tt.abilities != nil {
				tt.abilities(&a)
			}
			state := plan.PersonState{Known: plan.Fresh, Linked: true, Remote: "r1", Matches: 1, Resource: tt.have}
			var got []string
			for _, s := range plan.ForPerson(tt.person, state, a) {
				for _, c := range s.Changes {
					got = append(got, c.Path)
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("patch (-want +got):\n%s", d)
			}
			// A PUT for another reason carries theirs.
			a.Patch = false
			tt.person.Attributes.Values["nickName"] = "B"
			steps := plan.ForPerson(tt.person, state, a)
			if len(steps) != 1 || steps[0].Method != "PUT" {
				t.Fatalf("steps %+v", steps)
			}
			title := tt.person.Attributes.Values["title"]
			if len(tt.want) == 0 {
				title = "Theirs"
			}
			if steps[0].Body["title"] != title {
				t.Errorf("the PUT has title %v, want %v", steps[0].Body["title"], title)
			}
		})
	}
}

func TestLostIsNotMadeAgain(t *testing.T) {
	p := plan.Person{ID: "u1", Want: plan.Present, Attributes: scim.Desired{Values: map[string]any{"userName": "ada"}}}
	steps := plan.ForPerson(p, plan.PersonState{Known: plan.Absent, Lost: true}, plan.Full())
	if len(steps) != 1 || steps[0].Code != plan.DeletedThere || steps[0].Alternative != plan.AlternativeRecreate {
		t.Errorf("person: %+v", steps)
	}
	g := plan.Team{ID: "g1", Name: "G", Want: plan.Present, Members: []plan.Ref{{ID: "u1", Remote: "r1"}}}
	steps = plan.ForTeam(g, plan.TeamState{Known: plan.Absent, Lost: true}, plan.Full())
	if len(steps) != 1 || steps[0].Code != plan.DeletedThere {
		t.Errorf("group: %+v", steps)
	}
	p.Want = plan.Gone
	if steps := plan.ForPerson(p, plan.PersonState{Known: plan.Absent, Lost: true}, plan.Full()); len(steps) != 0 {
		t.Errorf("a leaver: %+v", steps)
	}
}

func TestMembershipsAreLeftAlone(t *testing.T) {
	g := plan.Team{
		ID: "g1", Name: "G", Want: plan.Present,
		Members: []plan.Ref{{ID: "u1", Remote: "r1"}, {ID: "u2", Remote: "r2"}, {ID: "u3"}},
		Kept:    map[string]bool{"r2": true, "r9": false},
	}
	s := plan.TeamState{Known: plan.Fresh, Linked: true, Remote: "g", Name: "G", Members: []string{"r8", "r9"}, Resource: scim.Resource{"id": "g", "displayName": "G"}}
	missing, foreign := plan.MemberDiff(g, s)
	ids := func(list []plan.Ref) (out []string) {
		for _, r := range list {
			out = append(out, r.Remote)
		}
		return out
	}
	if d := cmp.Diff([][]string{{"r1"}, {"r8"}}, [][]string{ids(missing), ids(foreign)}); d != "" {
		t.Error(d)
	}
	a := plan.Full()
	a.PatchGroups = false
	steps := plan.ForTeam(g, s, a)
	if len(steps) != 1 {
		t.Fatalf("%+v", steps)
	}
	if d := cmp.Diff([]string{"r1", "r9"}, steps[0].Body.Members()); d != "" {
		t.Error(d)
	}
	// As soon as the directory has it otherwise than when it was kept, it is written again.
	g.Kept = map[string]bool{"r1": false, "r9": true}
	missing, foreign = plan.MemberDiff(g, s)
	if d := cmp.Diff([][]string{{"r1", "r2"}, {"r8", "r9"}}, [][]string{ids(missing), ids(foreign)}); d != "" {
		t.Error(d)
	}
}
