package plan_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/provision/plan"
	"github.com/latchkey-idp/latchkey/internal/scim"
)

const (
	ent      = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
	external = "urn:scim:schemas:extension:atlassian-external:1.0"
)

// atlassian are the abilities of Atlassian Cloud.
func atlassian() plan.Abilities {
	return plan.Abilities{
		Patch: true, PatchGroups: true, EmailByPut: true,
		MatchUsers: []string{"externalId", "userName"}, MatchGroups: true,
		ManageGroups: true, MemberBatch: 100, Leavers: plan.Deactivate,
		ReadOnly: []string{external},
	}
}

func without(a plan.Abilities, change func(*plan.Abilities)) plan.Abilities {
	change(&a)
	return a
}

// desired is what the default mapping gives for one person.
func desired(change ...func(*scim.Desired)) scim.Desired {
	var d scim.Desired
	d.Set("userName", "ada@example.com")
	d.Set("externalId", "u1")
	d.Set("name.givenName", "Ada")
	d.Set("name.familyName", "King")
	d.Set("displayName", "Ada King")
	d.Set("title", "Analyst")
	d.Set(`emails[type eq "work"].value`, "ada@example.com")
	d.Set(`emails[type eq "work"].primary`, true)
	d.Set(ent+":department", "Research")
	for _, f := range change {
		f(&d)
	}
	return d
}

func ada(change ...func(*scim.Desired)) plan.Person {
	return plan.Person{ID: "u1", Label: "Ada King", Want: plan.Present, Attributes: desired(change...)}
}

func gone() plan.Person { return plan.Person{ID: "u1", Label: "Ada King", Want: plan.Gone} }

func resource(tb testing.TB, text string) scim.Resource {
	tb.Helper()
	r, err := scim.ParseResource([]byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// there is Ada as Atlassian answers.
func there(tb testing.TB, change ...func(scim.Resource)) plan.PersonState {
	r := resource(tb, `{
		"schemas": ["`+external+`", "`+scim.SchemaUser+`", "`+ent+`"],
		"id": "r1", "externalId": "u1", "userName": "ADA@example.com", "active": true,
		"name": {"givenName": "Ada", "familyName": "King", "formatted": "Ada King"},
		"displayName": "Ada King", "title": "Analyst", "nickName": "countess",
		"emails": [{"value": "ada@example.com", "type": "work", "primary": true}],
		"department": "Research", "organization": "Example", "groups": [],
		"`+external+`": {"atlassianAccountId": "712020:x"},
		"meta": {"resourceType": "User"}
	}`)
	for _, f := range change {
		f(r)
	}
	return plan.PersonState{Known: plan.Remembered, Linked: true, Remote: "r1", Resource: r, Matches: 1}
}

func set(path string, v any) func(scim.Resource) {
	return func(r scim.Resource) {
		if err := r.Set(path, v); err != nil {
			panic(err)
		}
	}
}

// sketch writes a step in one line.
func sketch(s plan.Step) string {
	out := string(s.Kind)
	if s.Method != "" {
		out += " " + s.Method + " " + string(s.On.Type) + " " + cmpOr(s.On.Remote, "-")
	}
	for _, m := range s.Match {
		out += fmt.Sprintf(" %s=%s", m.Attribute, m.Value)
	}
	if s.Code != "" {
		out += " " + s.Code
	}
	if s.Alternative != "" {
		out += " or " + s.Alternative
	}
	if s.Guarded {
		out += " guarded"
	}
	var body any
	switch s.Method {
	case http.MethodPatch:
		body = s.Patch().Operations
	case http.MethodPost, http.MethodPut:
		body = s.Body
	}
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			panic(err)
		}
		out += " " + string(b)
	}
	for _, m := range s.Members {
		if m.Remote == "" {
			out += " waiting:" + m.ID
		}
	}
	return out
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func sketches(steps []plan.Step) []string {
	out := []string{}
	for _, s := range steps {
		out = append(out, sketch(s))
	}
	return out
}

const createAda = `create POST User - {"active":true,"displayName":"Ada King","emails":[{"primary":true,"type":"work","value":"ada@example.com"}],` +
	`"externalId":"u1","name":{"familyName":"King","givenName":"Ada"},"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","` + ent + `"],` +
	`"title":"Analyst","` + ent + `":{"department":"Research"},"userName":"ada@example.com"}`

const deactivateAda = `deactivate PATCH User r1 [{"op":"replace","path":"active","value":false}]`

// The lifecycle table of people, row by row, and the mapping's three answers.
func TestForPerson(t *testing.T) {
	found := func(change ...func(scim.Resource)) plan.PersonState {
		s := there(t, change...)
		s.Linked, s.Known = false, plan.Fresh
		return s
	}
	fresh := func(change ...func(scim.Resource)) plan.PersonState {
		s := there(t, change...)
		s.Known = plan.Fresh
		return s
	}
	groups := func(s plan.PersonState, refs ...plan.Ref) plan.PersonState {
		s.Groups = refs
		return s
	}
	tests := []struct {
		name      string
		person    plan.Person
		state     plan.PersonState
		abilities *plan.Abilities
		want      []string
	}{
		// person enters a bound group
		{name: "joiner, never looked up", person: ada(), want: []string{"lookup GET User - externalId=u1 userName=ada@example.com"}},
		{name: "joiner, not there", person: ada(), state: plan.PersonState{Known: plan.Absent}, want: []string{createAda}},
		{name: "joiner, found with everything right", person: ada(), state: found(), want: []string{"adopt externalId=u1"}},
		{
			name: "joiner, found by user name", person: ada(), state: found(set("externalId", "")),
			want: []string{"adopt userName=ada@example.com", `update PATCH User r1 [{"op":"add","path":"externalId","value":"u1"}]`},
		},
		{
			name: "joiner, found deactivated", person: ada(), state: found(set("active", false)),
			want: []string{"adopt externalId=u1", `reactivate PATCH User r1 [{"op":"replace","path":"active","value":true}]`},
		},
		{
			name: "joiner, several accounts match", person: ada(), state: func() plan.PersonState { s := found(); s.Matches = 2; return s }(),
			want: []string{"blocked ambiguous_match"},
		},
		{
			name: "joiner, the account belongs to another person", person: ada(), state: func() plan.PersonState { s := found(); s.ClaimedBy = "Bob"; return s }(),
			want: []string{"blocked already_claimed"},
		},
		{
			name: "joiner at a target that can't filter", person: ada(), abilities: &plan.Abilities{Patch: true},
			want: []string{"lookup GET User -"},
		},
		{
			name: "the answer to a create was lost", person: ada(), state: plan.PersonState{Known: plan.Doubtful},
			want: []string{"lookup GET User - externalId=u1 userName=ada@example.com"},
		},
		{
			name: "the answer to an update was lost", person: ada(), state: plan.PersonState{Known: plan.Doubtful, Linked: true, Remote: "r1"},
			want: []string{"read GET User r1"},
		},
		{
			name: "linked, but nothing is remembered", person: ada(), state: plan.PersonState{Linked: true, Remote: "r1"},
			want: []string{"read GET User r1"},
		},

		// mapped attribute changes
		{name: "nothing differs", person: ada(), state: there(t), want: nil},
		{
			name: "one attribute", person: ada(func(d *scim.Desired) { d.Set("title", "Countess") }), state: there(t),
			want: []string{`update PATCH User r1 [{"op":"replace","path":"title","value":"Countess"}]`},
		},
		{
			name: "several attributes, one request", person: ada(func(d *scim.Desired) {
				d.Set("title", "Countess")
				d.Set("name.familyName", "Lovelace")
				d.Set("timezone", "Europe/London")
			}), state: there(t),
			want: []string{`update PATCH User r1 [{"op":"replace","path":"name.familyName","value":"Lovelace"},` +
				`{"op":"add","path":"timezone","value":"Europe/London"},{"op":"replace","path":"title","value":"Countess"}]`},
		},
		{
			name: "only what the target takes in a POST differs", person: ada(func(d *scim.Desired) {
				d.Set("userName", "ada@new.example")
				d.Set(`emails[type eq "work"].value`, "ada@new.example")
				d.Set("name.familyName", "Lovelace")
			}), state: there(t, set("externalId", "")),
			abilities: &plan.Abilities{Patch: true, Fixed: []string{"userName", "emails", "externalId", "name.familyName"}}, want: nil,
		},
		{
			name: "the rest still goes", person: ada(func(d *scim.Desired) {
				d.Set("name.familyName", "Lovelace")
				d.Set("title", "Countess")
			}), state: there(t, set("active", false)),
			abilities: &plan.Abilities{Patch: true, Fixed: []string{"name"}},
			want:      []string{`reactivate PATCH User r1 [{"op":"replace","path":"active","value":true},{"op":"replace","path":"title","value":"Countess"}]`},
		},
		{
			name: "clear", person: ada(func(d *scim.Desired) { delete(d.Values, "title"); d.Unset("title") }), state: there(t),
			want: []string{`update PATCH User r1 [{"op":"remove","path":"title"}]`},
		},
		{
			name: "clear by an empty value", person: ada(func(d *scim.Desired) { d.Set("title", "") }), state: there(t),
			want: []string{`update PATCH User r1 [{"op":"remove","path":"title"}]`},
		},
		{name: "clear what is empty already", person: ada(func(d *scim.Desired) { d.Unset("locale"); d.Set("timezone", "") }), state: there(t, set("timezone", "")), want: nil},
		{name: "leave alone", person: ada(func(d *scim.Desired) { delete(d.Values, "title") }), state: there(t), want: nil},
		{
			name: "an enterprise attribute that the target repeats at the top", person: ada(func(d *scim.Desired) { d.Set(ent+":department", "Sales") }), state: there(t),
			want: []string{`update PATCH User r1 [{"op":"add","path":"` + ent + `:department","value":"Sales"}]`},
		},
		{
			name: "clear an element", person: ada(func(d *scim.Desired) { d.Unset(`phoneNumbers[type eq "work"].value`) }),
			state: there(t, set("phoneNumbers", []any{map[string]any{"type": "work", "value": "1"}, map[string]any{"type": "mobile", "value": "2"}})),
			want:  []string{`update PATCH User r1 [{"op":"remove","path":"phoneNumbers[type eq \"work\"]"}]`},
		},
		{
			name: "add an element", person: ada(func(d *scim.Desired) { d.Set(`phoneNumbers[type eq "work"].value`, "1") }), state: there(t),
			want: []string{`update PATCH User r1 [{"op":"add","path":"phoneNumbers","value":[{"type":"work","value":"1"}]}]`},
		},
		{
			name: "change an element", person: ada(func(d *scim.Desired) { d.Set(`phoneNumbers[type eq "work"].value`, "1") }),
			state: there(t, set("phoneNumbers", []any{map[string]any{"type": "Work", "value": "0"}})),
			want:  []string{`update PATCH User r1 [{"op":"replace","path":"phoneNumbers[type eq \"work\"].value","value":"1"}]`},
		},
		{
			name: "change an element whose type the target dropped", person: ada(func(d *scim.Desired) { d.Set(`phoneNumbers[type eq "work"].value`, "1") }),
			state: there(t, set("phoneNumbers", []any{map[string]any{"value": "0"}})),
			want:  []string{`update PATCH User r1 [{"op":"replace","path":"phoneNumbers","value":[{"type":"work","value":"1"}]}]`},
		},
		{
			name: "a whole list, whatever its order and decoration", person: ada(func(d *scim.Desired) {
				d.Set("phoneNumbers", []any{map[string]any{"type": "work", "value": "1"}, map[string]any{"type": "mobile", "value": "2"}})
			}),
			state: there(t, set("phoneNumbers", []any{map[string]any{"type": "mobile", "value": "2", "primary": false}, map[string]any{"type": "work", "value": "1", "display": "one"}})),
			want:  nil,
		},
		{
			name: "Go's own lists and numbers, as a mapping gives them", person: ada(func(d *scim.Desired) {
				d.Set("phoneNumbers", []map[string]any{{"type": "work", "value": "1", "rank": 7}})
				d.Set("tags", []string{"a", "b"})
				d.Set("level", int64(3))
				d.Set("share", 0.5)
			}),
			state: there(t, set("phoneNumbers", []any{map[string]any{"type": "work", "value": "1", "display": "one", "rank": json.Number("7")}}),
				set("tags", []any{"b", "a"}), set("level", json.Number("3")), set("share", json.Number("0.50"))),
			want: nil,
		},

		// e-mail
		{
			name: "e-mail equal by meaning: case, text primary, type's case", person: ada(),
			state: there(t, set("emails", []any{map[string]any{"value": "ADA@Example.com", "type": "Work", "primary": "true"}})), want: nil,
		},
		{
			name: "e-mail without a type", person: ada(),
			state: there(t, set("emails", []any{map[string]any{"value": "ada@example.com", "primary": true}})), want: nil,
		},
		{
			name: "a second address of the target's own", person: ada(),
			state: there(t, set("emails", []any{
				map[string]any{"value": "ada@home.org", "type": "home"},
				map[string]any{"value": "ada@example.com", "type": "work", "primary": true},
			})), want: nil,
		},
		{
			name: "e-mail changes: read before PUT", person: ada(func(d *scim.Desired) { d.Set(`emails[type eq "work"].value`, "al@example.com") }),
			state: there(t), want: []string{"read GET User r1"},
		},
		{
			name: "e-mail changes: PUT carries what the target has", person: ada(func(d *scim.Desired) { d.Set(`emails[type eq "work"].value`, "al@example.com") }),
			state: fresh(set("phoneNumbers", []any{map[string]any{"value": "7"}})),
			want: []string{`update PUT User r1 {"active":true,"displayName":"Ada King","emails":[{"primary":true,"type":"work","value":"al@example.com"}],` +
				`"externalId":"u1","id":"r1","name":{"familyName":"King","formatted":"Ada King","givenName":"Ada"},"nickName":"countess","phoneNumbers":[{"value":"7"}],` +
				`"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","` + ent + `"],"title":"Analyst",` +
				`"` + ent + `":{"department":"Research","organization":"Example"},"userName":"ada@example.com"}`},
		},
		{
			name: "e-mail changes together with the name: one PUT, without the old full name", person: ada(func(d *scim.Desired) {
				d.Set(`emails[type eq "work"].value`, "al@example.com")
				d.Set("name.familyName", "Lovelace")
				d.Unset("nickName")
			}), state: fresh(),
			want: []string{`update PUT User r1 {"active":true,"displayName":"Ada King","emails":[{"primary":true,"type":"work","value":"al@example.com"}],` +
				`"externalId":"u1","id":"r1","name":{"familyName":"Lovelace","givenName":"Ada"},` +
				`"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","` + ent + `"],"title":"Analyst",` +
				`"` + ent + `":{"department":"Research","organization":"Example"},"userName":"ada@example.com"}`},
		},
		{
			name: "e-mail changes where PATCH may carry it", person: ada(func(d *scim.Desired) { d.Set(`emails[type eq "work"].value`, "al@example.com") }),
			state: there(t), abilities: new(plan.Full()),
			want: []string{`update PATCH User r1 [{"op":"replace","path":"emails[type eq \"work\"].value","value":"al@example.com"}]`},
		},
		{
			name: "no primary in the mapping: the planner sees to it", person: ada(func(d *scim.Desired) { delete(d.Values, `emails[type eq "work"].primary`) }),
			state: plan.PersonState{Known: plan.Absent}, want: []string{createAda},
		},
		{
			name: "the target made another address primary", person: ada(), abilities: new(plan.Full()),
			state: there(t, set("emails", []any{
				map[string]any{"value": "ada@home.org", "type": "home", "primary": true},
				map[string]any{"value": "ada@example.com", "type": "work"},
			})),
			want: []string{`update PATCH User r1 [{"op":"add","path":"emails[type eq \"work\"].primary","value":true}]`},
		},

		// targets without PATCH
		{
			name: "PUT only: read first", person: ada(func(d *scim.Desired) { d.Set("title", "Countess") }), state: there(t),
			abilities: new(without(plan.Full(), func(a *plan.Abilities) { a.Patch = false })), want: []string{"read GET User r1"},
		},
		{
			name: "PUT only: nothing differs", person: ada(), state: there(t),
			abilities: new(without(plan.Full(), func(a *plan.Abilities) { a.Patch = false })), want: nil,
		},
		{
			name: "PUT only: leaver read first", person: gone(), state: there(t),
			abilities: new(without(plan.Full(), func(a *plan.Abilities) { a.Patch = false })), want: []string{"read GET User r1"},
		},
		{
			name: "PUT only: leaver", person: gone(), state: fresh(func(r scim.Resource) {
				for _, k := range []string{"name", "displayName", "title", "department", "organization", "emails"} {
					delete(r, k)
				}
			}),
			abilities: new(without(atlassian(), func(a *plan.Abilities) { a.Patch = false })),
			want: []string{`deactivate PUT User r1 {"active":false,"externalId":"u1","id":"r1","nickName":"countess",` +
				`"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","` + ent + `"],"userName":"ADA@example.com"}`},
		},

		// leaves, suspended, deleted
		{name: "leaver in no group", person: gone(), state: there(t), want: []string{deactivateAda}},
		{
			name: "leaver in two managed groups", person: gone(),
			state: groups(there(t), plan.Ref{ID: "g2", Remote: "rg2", Label: "B"}, plan.Ref{ID: "g1", Remote: "rg1", Label: "A"}, plan.Ref{ID: "g1", Remote: "rg1"}),
			want: []string{
				`remove_members PATCH Group rg1 [{"op":"remove","path":"members[value eq \"r1\"]"}]`,
				`remove_members PATCH Group rg2 [{"op":"remove","path":"members[value eq \"r1\"]"}]`,
				deactivateAda,
			},
		},
		{
			name: "leaver, removed by value", person: gone(), state: groups(there(t), plan.Ref{ID: "g1", Remote: "rg1"}),
			abilities: new(without(atlassian(), func(a *plan.Abilities) { a.RemoveMembersByValue = true })),
			want:      []string{`remove_members PATCH Group rg1 [{"op":"remove","path":"members","value":[{"value":"r1"}]}]`, deactivateAda},
		},
		{
			name: "leaver, groups not managed", person: gone(), state: groups(there(t), plan.Ref{ID: "g1", Remote: "rg1"}),
			abilities: new(without(atlassian(), func(a *plan.Abilities) { a.ManageGroups = false })), want: []string{deactivateAda},
		},
		{name: "leaver, inactive already", person: gone(), state: there(t, set("active", false)), want: nil},
		{
			name: "leaver, inactive already, yet in a group", person: gone(), state: groups(there(t, set("active", false)), plan.Ref{ID: "g1", Remote: "rg1"}),
			want: []string{`remove_members PATCH Group rg1 [{"op":"remove","path":"members[value eq \"r1\"]"}]`},
		},
		{
			name: "leaver, delete chosen", person: gone(), state: groups(there(t), plan.Ref{ID: "g1", Remote: "rg1"}),
			abilities: new(without(atlassian(), func(a *plan.Abilities) { a.Leavers = plan.Delete })),
			want:      []string{`remove_members PATCH Group rg1 [{"op":"remove","path":"members[value eq \"r1\"]"}]`, "delete DELETE User r1"},
		},
		{name: "leaver who never had an account", person: gone(), want: nil},
		{name: "leaver whose account is gone", person: gone(), state: plan.PersonState{Known: plan.Absent}, want: nil},
		{
			name: "leaver with a doubtful create: look up by our id only", person: gone(), state: plan.PersonState{Known: plan.Doubtful},
			want: []string{"lookup GET User - externalId=u1"},
		},
		{
			name: "leaver with a doubtful create, where the id is ours", person: gone(), state: plan.PersonState{Known: plan.Doubtful},
			abilities: new(without(atlassian(), func(a *plan.Abilities) { a.MatchUsers = []string{"id", "userName"} })), want: []string{"lookup GET User - id=u1"},
		},
		{
			name: "leaver with a doubtful create, where our id can't be asked for", person: gone(), state: plan.PersonState{Known: plan.Doubtful},
			abilities: new(without(atlassian(), func(a *plan.Abilities) { a.MatchUsers = []string{"userName"} })), want: []string{"lookup GET User -"},
		},
		{
			name: "leaver at a target with PUT, and active by PATCH: nothing is read first", person: gone(), state: there(t),
			abilities: new(without(atlassian(), func(a *plan.Abilities) { a.Patch, a.ActiveByPatch = false, true })), want: []string{deactivateAda},
		},
		{name: "leaver with a doubtful write", person: gone(), state: plan.PersonState{Known: plan.Doubtful, Linked: true, Remote: "r1"}, want: []string{"read GET User r1"}},
		{name: "leaver, our lost create is found", person: gone(), state: found(), want: []string{deactivateAda}},
		{name: "leaver, somebody else's account is found", person: gone(), state: found(set("externalId", "other")), want: nil},
		{name: "leaver with a missing attribute is still deactivated", person: func() plan.Person {
			p := gone()
			p.Attributes.Missing = []string{"given name"}
			return p
		}(), state: there(t), want: []string{deactivateAda}},

		// becomes entitled again
		{
			name: "returner with the attributes of now", person: ada(func(d *scim.Desired) { d.Set("title", "Countess") }), state: there(t, set("active", false)),
			want: []string{`reactivate PATCH User r1 [{"op":"replace","path":"active","value":true},{"op":"replace","path":"title","value":"Countess"}]`},
		},

		// staged
		{name: "staged, not there", person: plan.Person{ID: "u1", Want: plan.Leave, Attributes: desired()}, want: nil},
		{name: "staged, there", person: plan.Person{ID: "u1", Want: plan.Leave}, state: there(t), want: nil},

		// required attribute missing
		{
			name: "missing attribute", person: ada(func(d *scim.Desired) { d.Missing = []string{"given name", "e-mail"} }), state: there(t),
			want: []string{"blocked missing_attribute"},
		},
		{name: "mapping that can't be read", person: ada(func(d *scim.Desired) { d.Set("a[", "x") }), state: there(t), want: []string{"blocked bad_mapping"}},
		{name: "mapping that contradicts itself", person: ada(func(d *scim.Desired) { d.Unset("TITLE") }), state: there(t), want: []string{"blocked bad_mapping"}},
		{name: "mapping that can't be written", person: ada(func(d *scim.Desired) { d.Set(`ims[type ne "x"].value`, "x") }), state: plan.PersonState{Known: plan.Absent}, want: []string{"blocked bad_mapping"}},
		{name: "mapping of what is not its business", person: ada(func(d *scim.Desired) {
			d.Set("active", false)
			d.Set("id", "x")
			d.Set("meta.created", "x")
			d.Set("groups", []any{"x"})
			d.Set("schemas", []any{"x"})
		}), state: there(t), want: nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := atlassian()
			if tt.abilities != nil {
				a = *tt.abilities
			}
			before, err := json.Marshal([]any{tt.person, tt.state})
			if err != nil {
				t.Fatal(err)
			}
			steps := plan.ForPerson(tt.person, tt.state, a)
			if tt.want == nil {
				tt.want = []string{}
			}
			if d := cmp.Diff(tt.want, sketches(steps)); d != "" {
				t.Error(d)
			}
			after, err := json.Marshal([]any{tt.person, tt.state})
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(before), string(after)); d != "" {
				t.Error("planning changed its input:", d)
			}
			for _, s := range steps {
				if (s.Kind == plan.Blocked) != (s.Reason != "") || s.For.ID != "u1" || s.For.Label != "Ada King" {
					t.Errorf("step %+v", s)
				}
			}
		})
	}
}

//go:fix inline
func ptr[T any](v T) *T { return new(v) }

func TestChangesForPeople(t *testing.T) {
	p := ada(func(d *scim.Desired) {
		d.Set("title", "Countess")
		d.Set("timezone", "Europe/London")
		d.Unset("nickName")
	})
	steps := plan.ForPerson(p, there(t, set("active", false)), atlassian())
	want := []plan.Change{
		{Path: "active", Old: false, New: true},
		{Path: "nickName", Old: "countess"},
		{Path: "timezone", New: "Europe/London"},
		{Path: "title", Old: "Analyst", New: "Countess"},
	}
	if d := cmp.Diff(want, steps[0].Changes); d != "" {
		t.Error(d)
	}
	steps = plan.ForPerson(ada(), plan.PersonState{Known: plan.Absent}, atlassian())
	if n := len(steps[0].Changes); n != 10 || steps[0].Changes[0] != (plan.Change{Path: "active", New: true}) {
		t.Errorf("%d changes of a new account: %+v", n, steps[0].Changes)
	}
	reason := plan.ForPerson(ada(func(d *scim.Desired) { d.Missing = []string{"given name"} }), plan.PersonState{}, atlassian())[0].Reason
	if !strings.Contains(reason, "given name") {
		t.Errorf("reason %q", reason)
	}
}

func member(n int) plan.Ref {
	return plan.Ref{ID: fmt.Sprintf("u%d", n), Remote: fmt.Sprintf("r%d", n), Label: fmt.Sprintf("Person %d", n)}
}

// The table of groups, row by row.
func TestForTeam(t *testing.T) {
	team := func(members ...plan.Ref) plan.Team {
		return plan.Team{ID: "g1", Name: "Research", Want: plan.Present, Members: members}
	}
	named := func(x plan.Team, name string) plan.Team { x.Name = name; return x }
	wanted := func(x plan.Team, w plan.Want) plan.Team { x.Want = w; return x }
	linked := func(members ...string) plan.TeamState {
		return plan.TeamState{Known: plan.Remembered, Linked: true, Remote: "rg", Name: "Research", Members: members, Matches: 1}
	}
	found := func(members ...string) plan.TeamState {
		s := linked(members...)
		s.Linked, s.Known = false, plan.Fresh
		return s
	}
	waiting := plan.Ref{ID: "u9", Label: "Person 9"}
	full := plan.Full()
	putOnly := without(plan.Full(), func(a *plan.Abilities) { a.PatchGroups = false; a.CreateWithMembers = false })
	tests := []struct {
		name      string
		team      plan.Team
		state     plan.TeamState
		abilities *plan.Abilities
		want      []string
	}{
		// which
		{name: "empty and never looked up", team: team(), want: nil},
		{name: "empty and not there", team: team(), state: plan.TeamState{Known: plan.Absent}, want: nil},
		{name: "first member, never looked up", team: team(member(1)), want: []string{"lookup GET Group - displayName=Research"}},
		{
			name: "first member, not there", team: team(member(2), member(1)), state: plan.TeamState{Known: plan.Absent},
			want: []string{
				`create POST Group - {"displayName":"Research","schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"]}`,
				`add_members PATCH Group - [{"op":"add","path":"members","value":[{"value":"r1"},{"value":"r2"}]}]`,
			},
		},
		{
			name: "created with its members where the target takes them", team: team(waiting, member(2), member(1)), state: plan.TeamState{Known: plan.Absent}, abilities: &full,
			want: []string{
				`create POST Group - {"displayName":"Research","members":[{"value":"r1"},{"value":"r2"}],"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"]}`,
				`add_members PATCH Group - null waiting:u9`,
			},
		},
		{name: "the answer to the create was lost", team: team(member(1)), state: plan.TeamState{Known: plan.Doubtful}, want: []string{"lookup GET Group - displayName=Research"}},
		{name: "the answer to a change was lost", team: team(member(1)), state: plan.TeamState{Known: plan.Doubtful, Linked: true, Remote: "rg"}, want: []string{"read GET Group rg"}},
		{name: "linked, nothing remembered", team: team(), state: plan.TeamState{Linked: true, Remote: "rg"}, want: []string{"read GET Group rg"}},
		{name: "nothing differs", team: team(member(2), member(1)), state: linked("r1", "r2"), want: nil},
		{
			name: "members come and go", team: team(member(1), member(3)), state: linked("r1", "r2"),
			want: []string{
				`remove_members PATCH Group rg [{"op":"remove","path":"members[value eq \"r2\"]"}]`,
				`add_members PATCH Group rg [{"op":"add","path":"members","value":[{"value":"r3"}]}]`,
			},
		},
		{
			name: "removed by value", team: team(member(1)), state: linked("r1", "r2", "r3"),
			abilities: new(without(atlassian(), func(a *plan.Abilities) { a.RemoveMembersByValue = true })),
			want:      []string{`remove_members PATCH Group rg [{"op":"remove","path":"members","value":[{"value":"r2"},{"value":"r3"}]}]`},
		},
		{name: "last member leaves: the group stays", team: team(), state: linked("r1"), want: []string{`remove_members PATCH Group rg [{"op":"remove","path":"members[value eq \"r1\"]"}]`}},
		{name: "a member without an account waits", team: team(member(1), waiting), state: linked("r1"), want: []string{"add_members PATCH Group rg null waiting:u9"}},
		{
			name: "in batches", team: team(member(1), member(2), member(3), waiting, member(4), member(5)), state: linked(),
			abilities: new(without(atlassian(), func(a *plan.Abilities) { a.MemberBatch = 2 })),
			want: []string{
				`add_members PATCH Group rg [{"op":"add","path":"members","value":[{"value":"r1"},{"value":"r2"}]}]`,
				`add_members PATCH Group rg [{"op":"add","path":"members","value":[{"value":"r3"},{"value":"r4"}]}]`,
				`add_members PATCH Group rg [{"op":"add","path":"members","value":[{"value":"r5"}]}] waiting:u9`,
			},
		},
		{name: "the same member twice", team: team(member(1), member(1)), state: linked(), want: []string{`add_members PATCH Group rg [{"op":"add","path":"members","value":[{"value":"r1"}]}]`}},

		// same name exists
		{name: "adopted, members equal", team: team(member(1)), state: found("r1"), want: []string{"adopt displayName=Research"}},
		{
			name: "adopted, members taken over", team: team(member(1)), state: found("x"),
			want: []string{
				"adopt displayName=Research",
				`remove_members PATCH Group rg [{"op":"remove","path":"members[value eq \"x\"]"}]`,
				`add_members PATCH Group rg [{"op":"add","path":"members","value":[{"value":"r1"}]}]`,
			},
		},
		{name: "an empty group takes nothing over", team: team(), state: found("x"), want: nil},
		{name: "several of the name", team: team(member(1)), state: func() plan.TeamState { s := found(); s.Matches = 2; return s }(), want: []string{"blocked ambiguous_match"}},
		{name: "belongs to another group of ours", team: team(member(1)), state: func() plan.TeamState { s := found(); s.ClaimedBy = "X"; return s }(), want: []string{"blocked already_claimed"}},

		// rename
		{
			name: "rename where it works", team: named(team(member(1)), "Science"), state: linked("r1"), abilities: &full,
			want: []string{`update PATCH Group rg [{"op":"replace","path":"displayName","value":"Science"}]`},
		},
		{
			name: "rename where it doesn't: members are still kept true", team: named(team(member(1)), "Science"), state: linked(),
			want: []string{
				`add_members PATCH Group rg [{"op":"add","path":"members","value":[{"value":"r1"}]}]`,
				"blocked rename_unsupported or replace_group",
			},
		},
		{name: "another case is not a rename there", team: named(team(member(1)), "RESEARCH"), state: linked("r1"), want: nil},
		{name: "another case is one here", team: named(team(member(1)), "RESEARCH"), state: linked("r1"), abilities: &full, want: []string{`update PATCH Group rg [{"op":"replace","path":"displayName","value":"RESEARCH"}]`}},

		// unbound, deleted, management off
		{name: "unbound", team: wanted(team(member(1)), plan.Leave), state: linked("r2"), want: nil},
		{name: "deleted", team: wanted(team(), plan.Gone), state: linked("r2"), want: []string{"delete DELETE Group rg guarded"}},
		{name: "deleted, never made", team: wanted(team(), plan.Gone), want: nil},
		{name: "deleted, not ours", team: wanted(team(), plan.Gone), state: found("x"), want: nil},
		{name: "deleted, gone already", team: wanted(team(), plan.Gone), state: plan.TeamState{Known: plan.Absent, Linked: true, Remote: "rg"}, want: nil},
		{name: "management off", team: team(member(1)), state: linked(), abilities: new(without(atlassian(), func(a *plan.Abilities) { a.ManageGroups = false })), want: nil},
		{name: "management off, deleted", team: wanted(team(), plan.Gone), state: linked(), abilities: new(without(atlassian(), func(a *plan.Abilities) { a.ManageGroups = false })), want: nil},
		{name: "no name", team: named(team(member(1)), ""), state: linked(), want: []string{"blocked missing_attribute"}},

		// targets without PATCH
		{name: "PUT only, nothing differs", team: team(member(1)), state: linked("r1"), abilities: &putOnly, want: nil},
		{name: "PUT only, read first", team: team(member(1)), state: linked(), abilities: &putOnly, want: []string{"read GET Group rg"}},
		{
			name: "PUT only", team: named(team(member(2), member(1), waiting), "Science"), abilities: &putOnly,
			state: func() plan.TeamState {
				s := linked("r3")
				s.Known = plan.Fresh
				s.Resource = scim.Resource{"id": "rg", "displayName": "Research", "externalId": "own", "members": []any{}, "meta": map[string]any{}}
				return s
			}(),
			want: []string{`update PUT Group rg {"displayName":"Science","externalId":"own","id":"rg","members":[{"value":"r1"},{"value":"r2"}],"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"]}`},
		},
		{
			name: "PUT only, new", team: team(member(1)), state: plan.TeamState{Known: plan.Absent}, abilities: &putOnly,
			want: []string{
				`create POST Group - {"displayName":"Research","schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"]}`,
				`update PUT Group - {"displayName":"Research","members":[{"value":"r1"}],"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"]}`,
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := atlassian()
			if tt.abilities != nil {
				a = *tt.abilities
			}
			steps := plan.ForTeam(tt.team, tt.state, a)
			if tt.want == nil {
				tt.want = []string{}
			}
			if d := cmp.Diff(tt.want, sketches(steps)); d != "" {
				t.Error(d)
			}
			for _, s := range steps {
				ready := s.Kind != plan.Blocked && !strings.HasSuffix(sketch(s), "null waiting:u9")
				if (s.Kind == plan.Blocked) != (s.Reason != "") || s.Ready() != ready {
					t.Errorf("ready %v: %+v", s.Ready(), s)
				}
			}
		})
	}
}

func TestReplaceTeam(t *testing.T) {
	team := plan.Team{ID: "g1", Name: "Science", Want: plan.Present, Members: []plan.Ref{member(1)}}
	state := plan.TeamState{Known: plan.Remembered, Linked: true, Remote: "rg", Name: "Research", Members: []string{"r1"}}
	steps := plan.ReplaceTeam(team, state, atlassian())
	want := []string{
		`create POST Group - {"displayName":"Science","schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"]}`,
		`add_members PATCH Group - [{"op":"add","path":"members","value":[{"value":"r1"}]}]`,
		"delete DELETE Group rg guarded",
	}
	if d := cmp.Diff(want, sketches(steps)); d != "" {
		t.Error(d)
	}
	// Carried out in order, the state ends with the new group.
	state = state.After(steps[0], scim.Resource{"id": "new", "displayName": "Science"})
	for _, s := range steps[1:] {
		state = state.After(s, nil)
	}
	if rest := plan.ForTeam(team, state, atlassian()); len(rest) != 0 || state.Remote != "new" {
		t.Errorf("left to do: %v, remote %s", sketches(rest), state.Remote)
	}
	team.Name = "RESEARCH"
	state.Name = "Research"
	if steps := plan.ReplaceTeam(team, state, atlassian()); steps != nil {
		t.Errorf("nothing to replace, yet %v", sketches(steps))
	}
}

func TestMembersHaveNames(t *testing.T) {
	state := plan.TeamState{
		Known: plan.Remembered, Linked: true, Remote: "rg", Name: "Research", Members: []string{"r1", "zz"},
		People: map[string]plan.Ref{"r1": member(1)},
	}
	steps := plan.ForTeam(plan.Team{ID: "g1", Name: "Research", Want: plan.Present}, state, atlassian())
	want := []plan.Ref{{Type: scim.User, Remote: "zz"}, {Type: scim.User, ID: "u1", Remote: "r1", Label: "Person 1"}}
	if d := cmp.Diff(want, steps[0].Members); d != "" {
		t.Error(d)
	}
}

func TestSeen(t *testing.T) {
	linked := there(t)
	linked.Groups = []plan.Ref{{Remote: "rg"}}
	again := linked.Seen(scim.Resource{"id": "r1", "title": "New"})
	if again.Known != plan.Fresh || !again.Linked || len(again.Groups) != 1 || again.Resource["title"] != "New" {
		t.Errorf("the linked account read again: %+v", again)
	}
	if gone := linked.Seen(); gone.Known != plan.Absent || gone.Linked || gone.Remote != "" {
		t.Errorf("the linked account is gone: %+v", gone)
	}
	other := linked.Seen(scim.Resource{"id": "r2"}, scim.Resource{"id": "r3"})
	if other.Linked || other.Remote != "r2" || other.Matches != 2 || other.Groups != nil {
		t.Errorf("other accounts found: %+v", other)
	}
	team := plan.TeamState{Linked: true, Remote: "rg"}.Seen(scim.Resource{
		"id": "rg", "displayName": "X", "members": []any{map[string]any{"value": "r1"}},
	})
	if d := cmp.Diff([]any{plan.Fresh, true, "X", []string{"r1"}}, []any{team.Known, team.Linked, team.Name, team.Members}); d != "" {
		t.Error(d)
	}
	if gone := team.Seen(); gone.Known != plan.Absent || gone.Linked {
		t.Errorf("the group is gone: %+v", gone)
	}
}

// A target that silently drops an attribute is not written to for ever, and a
// reading still tells the truth.
func TestDroppedAttributeIsNotSentAgain(t *testing.T) {
	p := ada(func(d *scim.Desired) { d.Set("locale", "en") })
	state := there(t)
	steps := plan.ForPerson(p, state, atlassian())
	after := state.After(steps[0], state.Resource)
	if rest := plan.ForPerson(p, after, atlassian()); len(rest) != 0 {
		t.Errorf("sent again: %v", sketches(rest))
	}
	if rest := plan.ForPerson(p, after.Seen(state.Resource), atlassian()); len(rest) != 1 {
		t.Errorf("drift is not seen: %v", sketches(rest))
	}
}

func TestGuard(t *testing.T) {
	leavers := func(n int) plan.Plan {
		var parts [][]plan.Step
		for i := range n {
			p := gone()
			p.ID = fmt.Sprintf("u%d", i)
			parts = append(parts, plan.ForPerson(p, there(t), atlassian()))
		}
		return plan.Build(parts...)
	}
	group := plan.Build(plan.ForTeam(plan.Team{ID: "g", Name: "X", Want: plan.Gone},
		plan.TeamState{Known: plan.Remembered, Linked: true, Remote: "rg"}, atlassian()))
	tests := []struct {
		name   string
		guard  plan.Guard
		plan   plan.Plan
		linked int
		held   bool
	}{
		{"off", plan.Guard{}, leavers(50), 50, false},
		{"at the count", plan.Guard{MaxCount: 5}, leavers(5), 100, false},
		{"over the count", plan.Guard{MaxCount: 5}, leavers(6), 100, true},
		{"at the percentage", plan.Guard{MaxPercent: 10}, leavers(10), 100, false},
		{"over the percentage", plan.Guard{MaxPercent: 10}, leavers(11), 100, true},
		{"over the percentage, few people", plan.Guard{MaxPercent: 10, Floor: 3}, leavers(3), 3, false},
		{"a group is deleted", plan.Guard{}, group, 100, true},
		{"nothing", plan.Guard{MaxCount: 1, MaxPercent: 1}, plan.Build(), 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reason, held := tt.guard.Held(tt.plan, tt.linked)
			if held != tt.held || (reason != "") != held {
				t.Errorf("held %v, reason %q", held, reason)
			}
		})
	}
}

func ExampleForPerson() {
	var attributes scim.Desired
	attributes.Set("userName", "ada")
	attributes.Set("title", "Countess")
	ada := plan.Person{ID: "u1", Label: "Ada", Want: plan.Present, Attributes: attributes}
	state := plan.PersonState{
		Known: plan.Remembered, Linked: true, Remote: "r1",
		Resource: scim.Resource{"id": "r1", "externalId": "u1", "userName": "ada", "title": "Analyst", "active": true},
	}
	for _, step := range plan.ForPerson(ada, state, plan.Full()) {
		fmt.Println(step.Kind, step.Method, step.On.Remote, step.Operations)
		state = state.After(step, nil)
	}
	fmt.Println(len(plan.ForPerson(ada, state, plan.Full())), "steps left")
	// Output:
	// update PATCH r1 [{replace title Countess}]
	// 0 steps left
}

func BenchmarkForPersonNothingDiffers(b *testing.B) {
	p, s, a := ada(), there(b), atlassian()
	b.ReportAllocs()
	for b.Loop() {
		if len(plan.ForPerson(p, s, a)) != 0 {
			b.Fatal("steps")
		}
	}
}

func BenchmarkForPersonOneDiffers(b *testing.B) {
	p, s, a := ada(func(d *scim.Desired) { d.Set("title", "Countess") }), there(b), atlassian()
	b.ReportAllocs()
	for b.Loop() {
		if len(plan.ForPerson(p, s, a)) != 1 {
			b.Fatal("steps")
		}
	}
}

// However the mapping writes e-mail addresses, exactly one becomes primary.
func TestOnePrimaryAddress(t *testing.T) {
	const work = `emails[type eq "work"]`
	tests := []struct {
		name   string
		values map[string]any
		want   string
	}{
		{"a list", map[string]any{"emails": []any{map[string]any{"value": "a"}, map[string]any{"value": "b"}}}, `[{"primary":true,"value":"a"},{"value":"b"}]`},
		{"a list with one", map[string]any{"emails": []any{map[string]any{"value": "a"}, map[string]any{"value": "b", "primary": true}}}, `[{"value":"a"},{"primary":true,"value":"b"}]`},
		{"an element", map[string]any{work: map[string]any{"value": "a"}}, `[{"primary":true,"type":"work","value":"a"}]`},
		{"a value", map[string]any{work + ".value": "a"}, `[{"primary":true,"type":"work","value":"a"}]`},
		{"a value and primary false", map[string]any{work + ".value": "a", work + ".primary": false}, `[{"primary":true,"type":"work","value":"a"}]`},
		{"two values, the second primary", map[string]any{`emails[type eq "home"].value`: "h", work + ".value": "a", work + ".primary": true}, `[{"type":"home","value":"h"},{"primary":true,"type":"work","value":"a"}]`},
		{"two values, none primary", map[string]any{`emails[type eq "home"].value`: "h", work + ".value": "a"}, `[{"primary":true,"type":"home","value":"h"},{"type":"work","value":"a"}]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := plan.Person{ID: "u1", Want: plan.Present, Attributes: scim.Desired{Values: tt.values}}
			p.Attributes.Set("userName", "ada")
			state := plan.PersonState{Known: plan.Absent}
			step := plan.ForPerson(p, state, atlassian())[0]
			b, err := json.Marshal(step.Body["emails"])
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, string(b)); d != "" {
				t.Error(d)
			}
			if rest := plan.ForPerson(p, state.After(step, scim.Resource{"id": "r1"}), atlassian()); len(rest) != 0 {
				t.Errorf("left to do: %v", sketches(rest))
			}
		})
	}
}

// Where no answer carries members, a read doesn't take away what is remembered of them.
func TestSeenWhereMembersAreHidden(t *testing.T) {
	team := plan.TeamState{Linked: true, Remote: "rg", Name: "Old", Members: []string{"r1", "r2"}, MembersHidden: true}
	again := team.Seen(scim.Resource{"id": "rg", "displayName": "New", "members": []any{}})
	if again.Name != "New" || !slices.Equal(again.Members, []string{"r1", "r2"}) || !again.MembersHidden {
		t.Errorf("read: %+v", again)
	}
	if other := team.Seen(scim.Resource{"id": "rx", "displayName": "Old"}); len(other.Members) != 0 || !other.MembersHidden {
		t.Errorf("another group: %+v", other)
	}
	if gone := team.Seen(); gone.Known != plan.Absent || len(gone.Members) != 0 || !gone.MembersHidden {
		t.Errorf("gone: %+v", gone)
	}
}

// A new group carries what the target wants of one, also when nobody is in it yet.
func TestNewGroupCarriesWhatIsRequired(t *testing.T) {
	team := plan.Team{ID: "g1", Name: "Staff", Want: plan.Present, Members: []plan.Ref{{Type: scim.User, ID: "u1"}}}
	for name, x := range map[string]struct {
		required []string
		with     bool
		members  []plan.Ref
		want     scim.Resource
	}{
		"nothing": {nil, false, team.Members, scim.Resource{"displayName": "Staff"}},
		"both, nobody has an account yet": {
			[]string{"externalId", "members"},
			true, team.Members,
			scim.Resource{"displayName": "Staff", "externalId": "g1", "members": []any{}},
		},
		"both, with a member": {
			[]string{"externalId", "members"},
			true,
			[]plan.Ref{{Type: scim.User, ID: "u1", Remote: "r1"}},
			scim.Resource{"displayName": "Staff", "externalId": "g1", "members": []any{map[string]any{"value": "r1"}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := plan.Full()
			a.GroupRequired, a.CreateWithMembers = x.required, x.with
			mine := team
			mine.Members = x.members
			steps := plan.ForTeam(mine, plan.TeamState{Known: plan.Absent}, a)
			if len(steps) == 0 || steps[0].Kind != plan.Create {
				t.Fatalf("steps: %+v", steps)
			}
			x.want["schemas"] = []any{scim.SchemaGroup}
			if d := cmp.Diff(x.want, steps[0].Body); d != "" {
				t.Error(d)
			}
		})
	}
}
