package scim_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/scim"
)

var patchTests = []struct {
	name, start, patch, want string
	scimType                 string // of the error, when one is wanted
}{
	{name: "replace a simple attribute", start: `{"title":"A"}`, patch: `[{"op":"replace","path":"title","value":"B"}]`, want: `{"title":"B"}`},
	{name: "replace what is absent adds it", start: `{}`, patch: `[{"op":"replace","path":"title","value":"B"}]`, want: `{"title":"B"}`},
	{name: "words and keys in any case", start: `{}`, patch: `[{"OP":"Replace","Path":"Title","VALUE":"B"}]`, want: `{"Title":"B"}`},
	{name: "without a path, as some clients deactivate", start: `{"active":true}`, patch: `[{"op":"replace","value":{"active":false}}]`, want: `{"active":false}`},
	{name: "without a path, keys that are paths", start: `{}`, patch: `[{"op":"add","value":{"name.givenName":"A","` + ent + `:department":"R"}}]`, want: `{"schemas":["` + ent + `"],"name":{"givenName":"A"},"` + ent + `":{"department":"R"}}`},
	{name: "without a path, a whole extension", start: `{"` + ent + `":{"organization":"O"}}`, patch: `[{"op":"add","value":{"` + ent + `":{"department":"R"}}}]`, want: `{"schemas":["` + ent + `"],"` + ent + `":{"organization":"O","department":"R"}}`},
	{name: "complex attributes are laid over", start: `{"name":{"givenName":"A","familyName":"B"}}`, patch: `[{"op":"replace","path":"name","value":{"givenName":"C"}}]`, want: `{"name":{"givenName":"C","familyName":"B"}}`},
	{name: "replace a list", start: `{"emails":[{"value":"a"},{"value":"b"}]}`, patch: `[{"op":"replace","path":"emails","value":[{"value":"c"}]}]`, want: `{"emails":[{"value":"c"}]}`},
	{name: "add to a list", start: `{"members":[{"value":"1"}]}`, patch: `[{"op":"add","path":"members","value":[{"value":"2"},{"value":"1"}]}]`, want: `{"members":[{"value":"1"},{"value":"2"}]}`},
	{name: "add one object to no list", start: `{}`, patch: `[{"op":"add","path":"members","value":{"value":"2"}}]`, want: `{"members":[{"value":"2"}]}`},
	{name: "remove by filter", start: `{"members":[{"value":"1"},{"value":"2"}]}`, patch: `[{"op":"remove","path":"members[value eq \"1\"]"}]`, want: `{"members":[{"value":"2"}]}`},
	{name: "remove by listed values", start: `{"members":[{"value":"1","type":"User"},{"value":"2"}]}`, patch: `[{"op":"remove","path":"members","value":[{"value":"1"}]}]`, want: `{"members":[{"value":"2"}]}`},
	{name: "remove an absent member changes nothing", start: `{"members":[{"value":"1"}]}`, patch: `[{"op":"remove","path":"members[value eq \"9\"]"}]`, want: `{"members":[{"value":"1"}]}`},
	{name: "remove all members", start: `{"members":[{"value":"1"}]}`, patch: `[{"op":"remove","path":"members"}]`, want: `{}`},
	{name: "a filtered sub-attribute", start: `{"emails":[{"type":"work","value":"a"}]}`, patch: `[{"op":"replace","path":"emails[type eq \"work\"].value","value":"b"}]`, want: `{"emails":[{"type":"work","value":"b"}]}`},
	{name: "a filtered sub-attribute of no element yet", start: `{}`, patch: `[{"op":"add","path":"emails[type eq \"work\"].value","value":"b"}]`, want: `{"emails":[{"type":"work","value":"b"}]}`},
	{name: "a new primary takes it from the old", start: `{"emails":[{"type":"home","value":"a","primary":true}]}`, patch: `[{"op":"add","path":"emails","value":[{"type":"work","value":"b","primary":true}]}]`, want: `{"emails":[{"type":"home","value":"a","primary":false},{"type":"work","value":"b","primary":true}]}`},
	{name: "replace with null unassigns", start: `{"title":"A"}`, patch: `[{"op":"replace","path":"title","value":null}]`, want: `{}`},
	{name: "several in order", start: `{}`, patch: `[{"op":"add","path":"a","value":"1"},{"op":"replace","path":"a","value":"2"},{"op":"add","path":"b","value":"3"}]`, want: `{"a":"2","b":"3"}`},
	{name: "text booleans pass as they are", start: `{}`, patch: `[{"op":"add","path":"active","value":"False"}]`, want: `{"active":"False"}`},

	{name: "unknown word", start: `{}`, patch: `[{"op":"move","path":"a","value":"x"}]`, scimType: scim.InvalidSyntax},
	{name: "remove without a path", start: `{}`, patch: `[{"op":"remove"}]`, scimType: scim.NoTarget},
	{name: "no path and no object", start: `{}`, patch: `[{"op":"add","value":"x"}]`, scimType: scim.InvalidSyntax},
	{name: "bad path", start: `{}`, patch: `[{"op":"add","path":"a[","value":"x"}]`, scimType: scim.InvalidPath},
	{name: "add without a value", start: `{}`, patch: `[{"op":"add","path":"a"}]`, scimType: scim.InvalidValue},
	{name: "read-only", start: `{"id":"1"}`, patch: `[{"op":"replace","path":"id","value":"2"}]`, scimType: scim.Mutability},
	{name: "filter that selects nothing", start: `{"emails":[{"type":"home"}]}`, patch: `[{"op":"replace","path":"emails[type ne \"home\"].value","value":"x"}]`, scimType: scim.NoTarget},
	{name: "a simple value for a complex attribute", start: `{"name":{"givenName":"A"}}`, patch: `[{"op":"replace","path":"name","value":"x"}]`, scimType: scim.NoTarget},
	{name: "no operations", start: `{}`, patch: `[]`, scimType: scim.InvalidSyntax},
	{name: "no word", start: `{}`, patch: `[{"path":"a"}]`, scimType: scim.InvalidSyntax},
	{name: "path of another type", start: `{}`, patch: `[{"op":"add","path":7,"value":"x"}]`, scimType: scim.InvalidSyntax},
}

func TestPatchApply(t *testing.T) {
	for _, tt := range patchTests {
		t.Run(tt.name, func(t *testing.T) {
			start := resource(t, tt.start)
			p, err := scim.ParsePatch([]byte(`{"schemas":["` + scim.SchemaPatchOp + `"],"operations":` + tt.patch + `}`))
			var got scim.Resource
			if err == nil {
				got, err = p.Apply(start)
			}
			if tt.scimType != "" {
				if e, ok := errors.AsType[*scim.Error](err); !ok || e.ScimType != tt.scimType || e.Status != 400 {
					t.Fatalf("error %v, want 400 %s", err, tt.scimType)
				}
			} else {
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(resource(t, tt.want), got); d != "" {
					t.Error(d)
				}
			}
			if d := cmp.Diff(resource(t, tt.start), start); d != "" {
				t.Error("the resource given was changed:", d)
			}
		})
	}
}

func TestPatchAppliesAllOrNothing(t *testing.T) {
	p := scim.NewPatch(
		scim.Operation{Op: scim.PatchReplace, Path: "title", Value: "B"},
		scim.Operation{Op: scim.PatchReplace, Path: "id", Value: "2"},
	)
	if got, err := p.Apply(scim.Resource{"title": "A"}); err == nil || got != nil {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestOperationKeepsFalse(t *testing.T) {
	b, err := json.Marshal(scim.NewPatch(
		scim.Operation{Op: scim.PatchReplace, Path: "active", Value: false},
		scim.Operation{Op: scim.PatchReplace, Path: "title", Value: ""},
		scim.Operation{Op: scim.PatchRemove, Path: "nickName"},
	))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[` +
		`{"op":"replace","path":"active","value":false},{"op":"replace","path":"title","value":""},{"op":"remove","path":"nickName"}]}`
	if string(b) != want {
		t.Errorf("got %s", b)
	}
}

func FuzzPatch(f *testing.F) {
	if len(patchTests) == 0 {
		f.Fatal("no seeds")
	}
	for _, tt := range patchTests {
		f.Add(tt.start, `{"Operations":`+tt.patch+`}`)
	}
	f.Fuzz(func(t *testing.T, start, patch string) {
		r, err := scim.ParseResource([]byte(start))
		if err != nil {
			return
		}
		before, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		p, err := scim.ParsePatch([]byte(patch))
		if err != nil {
			return
		}
		got, err := p.Apply(r)
		after, _ := json.Marshal(r)
		if string(after) != string(before) {
			t.Fatalf("the resource given was changed from %s to %s", before, after)
		}
		if err != nil {
			if _, ok := errors.AsType[*scim.Error](err); !ok {
				t.Fatalf("%v is not an Error", err)
			}
			return
		}
		if _, err := json.Marshal(got); err != nil {
			t.Fatal(err)
		}
		again, err := p.Apply(r)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(got, again); d != "" {
			t.Fatal("the same operations gave two results:", d)
		}
	})
}

func ExamplePatchOp_Apply() {
	user := scim.Resource{"userName": "ada", "title": "Analyst"}
	patch := scim.NewPatch(scim.Operation{Op: scim.PatchReplace, Path: "title", Value: "Countess"})
	after, err := patch.Apply(user)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(after["title"], user["title"])
	// Output: Countess Analyst
}
