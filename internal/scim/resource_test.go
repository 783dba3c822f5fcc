package scim_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/scim"
)

func fixture(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "atlassian", name))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func resource(tb testing.TB, text string) scim.Resource {
	tb.Helper()
	r, err := scim.ParseResource([]byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func TestRecordedUser(t *testing.T) {
	r := resource(t, string(fixture(t, "user.json")))
	active, known := r.Active()
	got := []any{r.ID(), r.ExternalID(), r.UserName(), r.DisplayName(), active, known, len(r.Schemas())}
	want := []any{
		"ef5ff80e-9ca6-449c-8cca-5b621085c6c9", "0190a000-0000-7000-8000-000000000001", "ada@example.com",
		"Ada King", true, true, 3,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	m := r.Meta()
	if want := time.Date(2021, 4, 5, 3, 16, 34, 135450000, time.UTC); !m.LastModified.Equal(want) {
		t.Errorf("lastModified with trimmed zeros: %v, want %v", m.LastModified, want)
	}
	if m.ResourceType != "User" {
		t.Errorf("resourceType %q", m.ResourceType)
	}
	bare := resource(t, string(fixture(t, "user-bare.json")))
	if v, _ := bare.Get("externalId"); !scim.Empty(v) || bare.ExternalID() != "" {
		t.Errorf("an externalId of \"\" has to count as absent, got %v", v)
	}
	g := resource(t, string(fixture(t, "group.json")))
	if d := cmp.Diff([]string{"ef5ff80e-9ca6-449c-8cca-5b621085c6c9", "0f5ff80e-9ca6-449c-8cca-5b621085c6c9"}, g.Members()); d != "" {
		t.Error(d)
	}
}

func TestNumbersStayExact(t *testing.T) {
	const text = `{"a":12345678901234567890,"b":1.10,"c":[{"d":1e400}]}`
	b, err := json.Marshal(resource(t, text))
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != text {
		t.Errorf("got %s, want %s", b, text)
	}
}

func TestParseResourceRefuses(t *testing.T) {
	for _, text := range []string{``, `null`, `[]`, `"x"`, `{`, `{} {}`, `<html>`, `{"a":1}]`} {
		if r, err := scim.ParseResource([]byte(text)); err == nil {
			t.Errorf("%q gave %v, want an error", text, r)
		}
	}
}

func TestEqual(t *testing.T) {
	num := func(s string) json.Number { return json.Number(s) }
	tests := []struct {
		name string
		a, b any
		want bool
	}{
		{"empty text and absent", "", nil, true},
		{"empty list and absent", []any{}, nil, true},
		{"object of empties and absent", map[string]any{"a": ""}, nil, true},
		{"false is a value", false, nil, false},
		{"numbers by amount", num("1.0"), 1, true},
		{"large numbers exactly", num("9007199254740993"), num("9007199254740992"), false},
		{"absurd exponents do not hang", num("1e999999999"), num("1e999999998"), false},
		{"text by case", "a", "A", false},
		{"names without case", map[string]any{"Value": "x"}, map[string]any{"value": "x"}, true},
		{"extra attribute", map[string]any{"a": "x", "b": "y"}, map[string]any{"a": "x"}, false},
		{"extra empty attribute", map[string]any{"a": "x", "b": ""}, map[string]any{"a": "x"}, true},
		{"lists without order", []any{"a", "b"}, []string{"b", "a"}, true},
		{"lists with doubles", []any{"a", "a", "b"}, []any{"a", "b", "b"}, false},
		{"text and number", "1", num("1"), false},
		{"resource and object", scim.Resource{"a": true}, map[string]any{"a": true}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := scim.Equal(tt.a, tt.b); got != tt.want {
				t.Errorf("Equal(%v, %v) = %v", tt.a, tt.b, got)
			}
			if got := scim.Equal(tt.b, tt.a); got != tt.want {
				t.Errorf("Equal(%v, %v) = %v", tt.b, tt.a, got)
			}
		})
	}
}

func TestCloneIsDeep(t *testing.T) {
	r := resource(t, `{"a":{"b":[{"c":"x"}]}}`)
	c := r.Clone()
	if err := c.Set("a.b", "y"); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(resource(t, `{"a":{"b":[{"c":"x"}]}}`), r); d != "" {
		t.Error(d)
	}
}

func TestDesired(t *testing.T) {
	var d scim.Desired
	d.Set("userName", "ada")
	d.Set("name.givenName", "Ada")
	d.Set("name.familyName", "")
	d.Set(`emails[type eq "work"].value`, "ada@example.com")
	d.Set(`emails[type eq "work"].primary`, true)
	d.Set("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", "Research")
	d.Unset("title")
	if err := d.Check(); err != nil {
		t.Fatal(err)
	}
	got, err := d.Resource(scim.User)
	if err != nil {
		t.Fatal(err)
	}
	want := resource(t, `{
		"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
		"userName": "ada",
		"name": {"givenName": "Ada"},
		"emails": [{"type": "work", "value": "ada@example.com", "primary": true}],
		"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "Research"}
	}`)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	d.Unset("USERNAME")
	if d.Check() == nil {
		t.Error("a path that is both set and cleared passed the check")
	}
}

func TestValue(t *testing.T) {
	in := map[string]any{
		"list": []map[string]any{{"n": 7, "tags": []string{"a"}}}, "f": 1.5, "u": uint8(3), "r": scim.Resource{"x": int64(1)},
	}
	want := map[string]any{
		"list": []any{map[string]any{"n": json.Number("7"), "tags": []any{"a"}}},
		"f":    json.Number("1.5"), "u": json.Number("3"), "r": map[string]any{"x": json.Number("1")},
	}
	if d := cmp.Diff(want, scim.Value(in)); d != "" {
		t.Error(d)
	}
}
