package scim_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/scim"
)

const ent = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"

func TestParsePath(t *testing.T) {
	tests := []struct {
		text                   string
		schema, attribute, sub string
		filter                 string
	}{
		{"userName", "", "userName", "", ""},
		{"name.givenName", "", "name", "givenName", ""},
		{`emails[type eq "work"].value`, "", "emails", "value", `type eq "work"`},
		{`emails[type eq "work" and primary eq true]`, "", "emails", "", `type eq "work" and primary eq true`},
		{`members[value eq "a\"b]c"]`, "", "members", "", `value eq "a\"b]c"`},
		{ent + ":department", ent, "department", "", ""},
		{ent + ":manager.value", ent, "manager", "value", ""},
		{ent, ent, "", "", ""},
		{strings.ToUpper(ent) + ":department", ent, "department", "", ""},
		{"urn:ietf:params:scim:schemas:core:2.0:User:name.familyName", "", "name", "familyName", ""},
		{"urn:scim:my:custom:1.0:colour", "urn:scim:my:custom:1.0", "colour", "", ""},
		{"$ref", "", "$ref", "", ""},
		{"x-custom_2.y", "", "x-custom_2", "y", ""},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			p, err := scim.ParsePath(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			got := []string{p.Schema, p.Attribute, p.Sub, ""}
			if p.Filter != nil {
				got[3] = p.Filter.String()
			}
			if d := cmp.Diff([]string{tt.schema, tt.attribute, tt.sub, tt.filter}, got); d != "" {
				t.Error(d)
			}
			again, err := scim.ParsePath(p.String())
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(p, again); d != "" {
				t.Error("written and read again:", d)
			}
		})
	}
}

func TestParsePathRefuses(t *testing.T) {
	for _, text := range []string{
		"", ".", "a.", ".a", "a..b", "a.b.c", "a b", "9a", "-a", "a[", "a[]", "a[b]", `a[b eq "c"`, `a[b eq "c"]]`,
		`a[b eq "c"].`, "urn:", "urn:a:", "urn::a", "a/b", "a[b eq c]", "ä", `a[b eq "c"].d.e`,
		strings.Repeat("a[", 5000), strings.Repeat("(", 100),
	} {
		if p, err := scim.ParsePath(text); err == nil {
			t.Errorf("%q gave %+v, want an error", text, p)
		} else if !errors.Is(err, scim.ErrPath) {
			t.Errorf("%q: error %v is not an ErrPath", text, err)
		}
	}
}

const person = `{
	"userName": "ada",
	"name": {"givenName": "Ada", "familyName": "King"},
	"emails": [
		{"type": "home", "value": "h@x.org", "primary": true},
		{"type": "work", "value": "w@x.org"}
	],
	"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "Research"}
}`

func TestPathGet(t *testing.T) {
	tests := []struct {
		path string
		want any
		ok   bool
	}{
		{"USERNAME", "ada", true},
		{"name.GivenName", "Ada", true},
		{"name.middleName", nil, false},
		{"nothing.at.all", nil, false},
		{`emails[type eq "work"].value`, "w@x.org", true},
		{`emails[type eq "WORK"].value`, "w@x.org", true},
		{`emails[type eq "other"].value`, nil, false},
		{"emails.value", []any{"h@x.org", "w@x.org"}, true},
		{`emails[primary eq true].type`, "home", true},
		{ent + ":department", "Research", true},
		{ent + ":organization", nil, false},
		{ent, map[string]any{"department": "Research"}, true},
		{"userName.sub", nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			got, ok := resource(t, person).Get(tt.path)
			if d := cmp.Diff(tt.want, got); d != "" || ok != tt.ok {
				t.Errorf("ok %v, want %v; %s", ok, tt.ok, d)
			}
		})
	}
}

func TestPathSetAndRemove(t *testing.T) {
	type act struct {
		path  string
		value any // nil removes
	}
	tests := []struct {
		name        string
		start, want string
		acts        []act
		err         error
	}{
		{"simple", `{"a":"x"}`, `{"a":"y"}`, []act{{"A", "y"}}, nil},
		{"new", `{}`, `{"a":true}`, []act{{"a", true}}, nil},
		{"complex", `{"name":{"givenName":"A"}}`, `{"name":{"givenName":"A","familyName":"B"}}`, []act{{"name.familyName", "B"}}, nil},
		{"sub-attribute of every element", `{"a":[{"b":"1"},{"b":"2"}]}`, `{"a":[{"b":"3"},{"b":"3"}]}`, []act{{"a.b", "3"}}, nil},
		{
			"existing element", `{"emails":[{"type":"work","value":"a"},{"type":"home","value":"b"}]}`,
			`{"emails":[{"type":"work","value":"c"},{"type":"home","value":"b"}]}`,
			[]act{{`emails[type eq "work"].value`, "c"}},
			nil,
		},
		{
			"new element", `{"emails":[{"type":"home","value":"b"}]}`,
			`{"emails":[{"type":"home","value":"b"},{"type":"work","value":"c"}]}`,
			[]act{{`emails[type eq "work"].value`, "c"}},
			nil,
		},
		{
			"primary moves", `{"emails":[{"type":"home","value":"b","primary":true}]}`,
			`{"emails":[{"type":"home","value":"b","primary":false},{"type":"work","value":"c","primary":true}]}`,
			[]act{{`emails[type eq "work"].value`, "c"}, {`emails[type eq "work"].primary`, true}},
			nil,
		},
		{
			"whole element", `{}`, `{"phoneNumbers":[{"type":"mobile","value":"1","display":"one"}]}`,
			[]act{{`phoneNumbers[type eq "mobile"]`, map[string]any{"value": "1", "display": "one"}}},
			nil,
		},
		{"element by its value", `{}`, `{"phoneNumbers":[{"type":"mobile","value":"1"}]}`, []act{{`phoneNumbers[type eq "mobile"]`, "1"}}, nil},
		{"a filter that says no element", `{}`, `{}`, []act{{`emails[type ne "work"].value`, "c"}}, scim.ErrNoTarget},
		{"extension", `{}`, `{"` + ent + `":{"department":"R"}}`, []act{{ent + ":department", "R"}}, nil},
		{"remove simple", `{"a":"x","b":"y"}`, `{"b":"y"}`, []act{{"A", nil}}, nil},
		{"remove the last of a complex", `{"name":{"givenName":"A"}}`, `{}`, []act{{"name.givenName", nil}}, nil},
		{"remove an element", `{"members":[{"value":"1"},{"value":"2"}]}`, `{"members":[{"value":"2"}]}`, []act{{`members[value eq "1"]`, nil}}, nil},
		{"remove the last element", `{"members":[{"value":"1"}]}`, `{}`, []act{{`members[value eq "1"]`, nil}}, nil},
		{"remove what is not there", `{"members":[{"value":"1"}]}`, `{"members":[{"value":"1"}]}`, []act{{`members[value eq "9"]`, nil}}, nil},
		{"remove the last of an extension", `{"` + ent + `":{"department":"R"}}`, `{}`, []act{{ent + ":department", nil}}, nil},
		{"remove from every element", `{"a":[{"b":"1","c":"1"},{"b":"2"}]}`, `{"a":[{"c":"1"}]}`, []act{{"a.b", nil}}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := resource(t, tt.start)
			var err error
			for _, a := range tt.acts {
				if a.value == nil {
					err = r.Remove(a.path)
				} else {
					err = r.Set(a.path, a.value)
				}
			}
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if d := cmp.Diff(resource(t, tt.want), r); d != "" {
				t.Error(d)
			}
		})
	}
}

func FuzzPath(f *testing.F) {
	seeds := []string{
		"userName", "name.givenName", `emails[type eq "work"].value`, ent + ":department", ent,
		`members[value eq "a\"b"]`, `a[b pr and not (c sw "d" or e gt 1.5e3)].f`, `a[b[c eq 1] or d eq null]`,
	}
	for _, s := range seeds {
		f.Add(s, person)
	}
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	f.Fuzz(func(t *testing.T, text, body string) {
		p, err := scim.ParsePath(text)
		if err != nil {
			return
		}
		again, err := scim.ParsePath(p.String())
		if err != nil {
			t.Fatalf("%q became %q: %v", text, p, err)
		}
		if again.String() != p.String() {
			t.Fatalf("%q became %q, then %q", text, p, again)
		}
		r, err := scim.ParseResource([]byte(body))
		if err != nil {
			return
		}
		p.Get(r)
		changed := r.Clone()
		if p.Set(changed, "v") == nil {
			if _, err := json.Marshal(changed); err != nil {
				t.Fatal(err)
			}
		}
		p.Remove(changed)
		if p.Filter == nil && p.Attribute != "" {
			if v, ok := p.Get(changed); ok {
				t.Fatalf("%q still gives %v after its removal", p, v)
			}
		}
	})
}
