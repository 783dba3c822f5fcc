package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/scim"
)

var update = flag.Bool("update", false, "write golden files")

// ada has every attribute; bob only what Atlassian needs.
func ada() *Person {
	return &Person{
		ID: "0193e2c4-7b1f-7c50-9a63-3f2d8a1f0001", Username: "ada.lovelace", Email: "ada@example.com",
		AlternateEmail: "ada@home.example", GivenName: "Ada", MiddleName: "King", FamilyName: "Lovelace",
		DisplayName: "Ada Lovelace", Title: "Analyst", Department: "Engines", Company: "Example Ltd",
		CostCentre: "CC-7", EmployeeID: "1815", EmployeeType: "employee", Location: "London",
		ManagerID: "0193e2c4-7b1f-7c50-9a63-3f2d8a1f0002", Locale: "en-GB", Timezone: "Europe/London",
		PreferredLanguage: "en-GB",
		Phones:            []Phone{{Type: "work", Value: "+44 20 7946 0000", Primary: true}, {Type: "mobile", Value: "+44 7700 900000"}},
		Addresses:         []Address{{Type: "work", Street: "12 St James's Square", Locality: "London", PostalCode: "SW1Y 4JH", Country: "GB", Primary: true}},
		Custom:            map[string]any{"badge": "A-1", "floor": 3, "remote": true},
		State:             "active", Groups: []string{"Engineering", "jira editors"},
	}
}

func bob() *Person {
	return &Person{
		ID: "0193e2c4-7b1f-7c50-9a63-3f2d8a1f0003", Username: "bob", Email: "bob@example.com",
		GivenName: "Bob", FamilyName: "Builder", State: "active", Groups: []string{"Engineering"},
	}
}

func golden(t *testing.T, name string, got any) {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(got); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("%s (run with -update after a look):\n%s", file, diff)
	}
}

func TestAtlassianProvisioningGolden(t *testing.T) {
	m, err := builtinCatalog(t).SCIMMapping("atlassian-cloud", MappingOverride{})
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]*Person{"ada": ada(), "bob": bob()} {
		t.Run(name, func(t *testing.T) {
			d, err := m.Apply(p)
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Check(); err != nil {
				t.Errorf("package scim refuses the paths: %v", err)
			}
			res, err := d.Resource(scim.User)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "atlassian-scim-"+name+".json", struct {
				Resource scim.Resource
				Clear    []string
			}{res, d.Clear})
		})
	}
}

func TestAtlassianSignOnGolden(t *testing.T) {
	m, err := builtinCatalog(t).SAMLMapping("atlassian-cloud", MappingOverride{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := m.Apply(ada())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "atlassian-saml-ada.json", c)
}

// NameID and provisioned e-mail must be the same value, whoever the person is.
func TestAtlassianNameIDIsTheWorkEmail(t *testing.T) {
	c := builtinCatalog(t)
	sm, err := c.SAMLMapping("atlassian-cloud", MappingOverride{})
	if err != nil {
		t.Fatal(err)
	}
	pm, err := c.SCIMMapping("atlassian-cloud", MappingOverride{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*Person{ada(), bob()} {
		claims, err := sm.Apply(p)
		if err != nil {
			t.Fatal(err)
		}
		d, err := pm.Apply(p)
		if err != nil {
			t.Fatal(err)
		}
		if claims.NameID.Value != d.Values[`emails[type eq "work"].value`] {
			t.Errorf("NameID %q, e-mail %q", claims.NameID.Value, d.Values[`emails[type eq "work"].value`])
		}
	}
}

func TestMissingRequiredBlocksWithAdvice(t *testing.T) {
	m, err := builtinCatalog(t).SCIMMapping("atlassian-cloud", MappingOverride{})
	if err != nil {
		t.Fatal(err)
	}
	p := bob()
	p.FamilyName, p.Email = "", ""
	d, err := m.Apply(p)
	var blocked *BlockedError
	if !errors.As(err, &blocked) {
		t.Fatalf("Apply: %v", err)
	}
	want := []Missing{
		{
			Target: `emails[type eq "work"].value`, Label: "Work e-mail", Attributes: []string{"email"},
			Advice: "Work e-mail is required and this person has no e-mail: enter it, or give the mapping another source or a default.",
		},
		{
			Target: "name.familyName", Label: "Family name", Attributes: []string{"familyName"},
			Advice: "Family name is required and this person has no family name: enter it, or give the mapping another source or a default.",
		},
	}
	if diff := cmp.Diff(want, blocked.Missing); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"Work e-mail", "Family name"}, d.Missing); diff != "" {
		t.Errorf("Desired.Missing: %s", diff)
	}
	if !problem.Is(err, problem.Invalid) || len(problem.FieldsOf(err)) != 2 || !strings.Contains(problem.Public(err), "Family name is required") {
		t.Errorf("as a problem: %v, %v", problem.Public(err), problem.FieldsOf(err))
	}
}

func compileSCIM(t *testing.T, rows ...Row) *SCIMMapping {
	t.Helper()
	m, err := NewCompiler().CompileSCIM(rows)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// What one row answers, for each kind of source.
func TestRowAnswers(t *testing.T) {
	for _, x := range []struct {
		name   string
		row    Row
		action Action
		value  any
		fault  string
	}{
		{"attribute", Row{Target: "title", Source: Source{Attribute: "title"}}, Set, "Analyst", ""},
		{"attribute without value clears", Row{Target: "title", Source: Source{Attribute: "custom.none"}}, Clear, nil, ""},
		{"attribute without value leaves", Row{Target: "title", Source: Source{Attribute: "custom.none"}, Empty: EmptyLeave}, Leave, nil, ""},
		{"default", Row{Target: "title", Source: Source{Attribute: "custom.none"}, Default: "None"}, Set, "None", ""},
		{"default unused", Row{Target: "title", Source: Source{Attribute: "title"}, Default: "None"}, Set, "Analyst", ""},
		{"disabled", Row{Target: "title", Source: Source{Attribute: "title"}, Disabled: true}, Leave, nil, ""},
		{"disabled and faulty", Row{Target: "title", Source: Source{Expression: "1 +"}, Disabled: true}, Leave, nil, ""},
		{"custom text", Row{Target: "title", Source: Source{Attribute: "custom.badge"}}, Set, "A-1", ""},
		{"custom number", Row{Target: "title", Source: Source{Attribute: "custom.floor"}}, Set, int64(3), ""},
		{"custom yes", Row{Target: "title", Source: Source{Attribute: "custom.remote"}}, Set, true, ""},
		{"constant", Row{Target: "title", Source: Source{Constant: "X"}}, Set, "X", ""},
		{"constant false", Row{Target: "title", Source: Source{Constant: false}}, Set, false, ""},
		{"constant number from JSON", Row{Target: "title", Source: Source{Constant: float64(7)}}, Set, int64(7), ""},
		{"empty constant clears", Row{Target: "title", Source: Source{Constant: ""}}, Clear, nil, ""},
		{"composed name", Row{Target: "displayName", Source: Source{Attribute: "fullName"}}, Set, "Ada Lovelace", ""},
		{"groups", Row{Target: "x", Source: Source{Attribute: "groups"}}, Set, []string{"Engineering", "jira editors"}, ""},
		{"phones", Row{Target: "phoneNumbers", Source: Source{Attribute: "phones"}}, Set, []map[string]any{
			{"type": "work", "value": "+44 20 7946 0000", "primary": true}, {"type": "mobile", "value": "+44 7700 900000"},
		}, ""},
		{"addresses", Row{Target: "addresses", Source: Source{Attribute: "addresses"}}, Set, []map[string]any{{
			"type": "work", "streetAddress": "12 St James's Square", "locality": "London", "postalCode": "SW1Y 4JH", "country": "GB", "primary": true,
		}}, ""},
		{"expression", Row{Target: "title", Source: Source{Expression: `user.title + ", " + user.department`}}, Set, "Analyst, Engines", ""},
		{"expression that clears", Row{Target: "title", Source: Source{Expression: `user.locale == "en-GB" ? clear : user.title`}, Default: "D"}, Clear, nil, ""},
		{"expression that leaves", Row{Target: "title", Source: Source{Expression: `leave`}, Default: "D"}, Leave, nil, ""},
		{"expression without value takes the default", Row{Target: "title", Source: Source{Expression: `""`}, Default: "D"}, Set, "D", ""},
		{"expression null", Row{Target: "title", Source: Source{Expression: `null`}}, Clear, nil, ""},
		{"required cleared", Row{Target: "title", Source: Source{Expression: `clear`}, Required: true}, Clear, nil, "Title is required and its source gives no value: change the mapping."},
		{"required left", Row{Target: "title", Source: Source{Attribute: "custom.none"}, Empty: EmptyLeave, Required: true}, Leave, nil, "Title is required and this person has no none: enter it, or give the mapping another source or a default."},
		{"expression fails", Row{Target: "title", Source: Source{Expression: `user.custom.nothing`}}, Leave, nil, `No such key: nothing; for an attribute that not everybody has write user.custom[?"key"].orValue("").`},
		{"expression gives a wrong kind", Row{Target: "title", Source: Source{Expression: `user.custom["floor"] == 3 ? dyn(duration("1s")) : "x"`}}, Leave, nil, "The expression must give text, a number, true or false, or a list of texts."},
	} {
		t.Run(x.name, func(t *testing.T) {
			x.row.Label = "Title"
			m := compileSCIM(t, x.row)
			got := m.Preview(ada())
			if len(got) != 1 {
				t.Fatalf("%d outcomes", len(got))
			}
			if got[0].Action != x.action || got[0].Problem != x.fault {
				t.Errorf("%s, problem %q", got[0].Action, got[0].Problem)
			}
			if diff := cmp.Diff(x.value, got[0].Value); diff != "" {
				t.Error(diff)
			}
			d, err := m.Apply(ada())
			if (err != nil) != (x.fault != "") {
				t.Fatalf("Apply: %v", err)
			}
			if err != nil {
				if len(d.Missing) != 1 {
					t.Errorf("Missing: %v", d.Missing)
				}
				return
			}
			_, has := d.Values[x.row.Target]
			if has != (x.action == Set) || slices.Contains(d.Clear, x.row.Target) != (x.action == Clear) {
				t.Errorf("Desired: %+v", d)
			}
		})
	}
}

func TestPreviewTellsWhatIsDefaulted(t *testing.T) {
	m := compileSCIM(t,
		Row{Target: "title", Source: Source{Attribute: "custom.none"}, Default: "D"},
		Row{Target: "nickName", Source: Source{Attribute: "givenName"}, Default: "D"})
	got := m.Preview(ada())
	if !got[0].Defaulted || got[1].Defaulted {
		t.Errorf("defaulted: %v, %v", got[0].Defaulted, got[1].Defaulted)
	}
}

func TestFilteredTargets(t *testing.T) {
	m := compileSCIM(t,
		Row{Target: `emails[type eq "work"].value`, Source: Source{Attribute: "email"}, Primary: true},
		Row{Target: `emails[ TYPE eq "home" ].value`, Source: Source{Attribute: "alternateEmail"}},
		Row{Target: `phoneNumbers[type eq "fax"].value`, Source: Source{Attribute: "custom.fax"}},
		Row{Target: "urn:ietf:params:scim:schemas:core:2.0:User:title", Source: Source{Attribute: "title"}})
	d, err := m.Apply(ada())
	if err != nil {
		t.Fatal(err)
	}
	want := scim.Desired{
		Values: map[string]any{
			`emails[type eq "work"].value`:   "ada@example.com",
			`emails[type eq "work"].primary`: true,
			`emails[TYPE eq "home"].value`:   "ada@home.example",
			"title":                          "Analyst",
		},
		Clear: []string{`phoneNumbers[type eq "fax"]`},
	}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Error(diff)
	}
}

func TestActiveIsForThePlanner(t *testing.T) {
	m, err := builtinCatalog(t).SCIMMapping("custom-scim", MappingOverride{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := m.Apply(ada())
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := d.Values["active"]; ok {
		t.Error("active is in Desired")
	}
	last := m.Preview(ada())
	if o := last[len(last)-1]; o.Row.Target != "active" || o.Value != true {
		t.Errorf("the preview shows active as %+v", o)
	}
}

func TestCompileRefuses(t *testing.T) {
	for _, x := range []struct {
		name string
		rows []Row
		says string
	}{
		{"bad path", []Row{{Target: "a b", Source: Source{Attribute: "title"}}}, "not a SCIM path"},
		{"whole extension", []Row{{Target: EnterpriseUser, Source: Source{Attribute: "title"}}}, "whole extension"},
		{"other filter", []Row{{Target: `emails[value eq "x"].value`, Source: Source{Attribute: "title"}}}, "only filter possible"},
		{"compound filter", []Row{{Target: `emails[type eq "x" and primary eq true].value`, Source: Source{Attribute: "title"}}}, "only filter possible"},
		{"entry without part", []Row{{Target: `emails[type eq "x"]`, Source: Source{Attribute: "title"}}}, "name the part"},
		{"id", []Row{{Target: "ID", Source: Source{Attribute: "title"}}}, "can't be the target"},
		{"primary without entry", []Row{{Target: "title", Primary: true, Source: Source{Attribute: "title"}}}, "primary needs"},
		{"SAML fields", []Row{{Target: "title", NameFormat: "a:b", Source: Source{Attribute: "title"}}}, "belong to SAML"},
		{"twice", []Row{{Target: "title", Source: Source{Attribute: "title"}}, {Target: "Title", Source: Source{Attribute: "title"}}}, "two rows"},
		{"constant of a wrong kind", []Row{{Target: "title", Source: Source{Constant: map[string]any{"a": 1}}}}, "must be text"},
		{"default of a wrong kind", []Row{{Target: "title", Default: struct{}{}, Source: Source{Attribute: "title"}}}, "default"},
		{"empty", []Row{{Target: "title", Empty: "vanish", Source: Source{Attribute: "title"}}}, "empty must be"},
		{"active otherwise", []Row{{Target: "active", Source: Source{Constant: true}}}, "always follows"},
		{"faulty expression", []Row{{Target: "title", Source: Source{Expression: "user.titel"}}}, "no attribute user.titel"},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, err := NewCompiler().CompileSCIM(x.rows)
			if err == nil || !strings.Contains(err.Error(), x.says) {
				t.Fatalf("CompileSCIM: %v", err)
			}
			if !problem.Is(err, problem.Invalid) || !strings.HasPrefix(problem.FieldsOf(err)[0].Name, "rows[") {
				t.Errorf("fields: %+v", problem.FieldsOf(err))
			}
		})
	}
}

func TestFaultyExpressionInAMappingHasItsPosition(t *testing.T) {
	_, err := NewCompiler().CompileSCIM([]Row{
		{Target: "title", Source: Source{Attribute: "title"}},
		{Target: "nickName", Source: Source{Expression: "user.givenName +\n  user.nick"}},
	})
	var e *ExpressionError
	if !errors.As(err, &e) || e.Line != 2 || e.Column != 7 {
		t.Fatalf("position: %+v (%v)", e, err)
	}
	if f := problem.FieldsOf(err); len(f) != 1 || f[0].Name != "rows[1]" {
		t.Errorf("fields: %+v", f)
	}
}

func TestSAMLValues(t *testing.T) {
	id := NameIDFacts{Source: Source{Attribute: "username"}, Format: saml.NameIDUnspecified}
	m, err := NewCompiler().CompileSAML(id, []Row{
		{Target: "groups", Source: Source{Attribute: "groups"}},
		{Target: "floor", Source: Source{Attribute: "custom.floor"}},
		{Target: "remote", Source: Source{Attribute: "custom.remote"}, NameFormat: saml.AttrNameBasic},
		{Target: "none", Source: Source{Attribute: "custom.none"}},
		{Target: "phones", Source: Source{Attribute: "phones"}},
		{Target: "roles", Source: Source{Expression: `user.groups.filter(g, g.startsWith("jira ")).map(g, g.substring(5))`}},
		{Target: "ratio", Source: Source{Expression: `1.5`}},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.Apply(ada())
	if err != nil {
		t.Fatal(err)
	}
	want := Claims{
		NameID: saml.NameID{Value: "ada.lovelace", Format: saml.NameIDUnspecified},
		Attributes: []saml.Attribute{
			{Name: "groups", Values: []string{"Engineering", "jira editors"}},
			{Name: "floor", Values: []string{"3"}},
			{Name: "remote", NameFormat: saml.AttrNameBasic, Values: []string{"true"}},
			{Name: "phones", Values: []string{"+44 20 7946 0000", "+44 7700 900000"}},
			{Name: "roles", Values: []string{"editors"}},
			{Name: "ratio", Values: []string{"1.5"}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if o := m.Preview(ada()); len(o) != 8 || o[0].Row.Target != NameIDTarget || o[4].Action != Clear {
		t.Errorf("preview: %+v", o)
	}
	if diff := cmp.Diff([]string{"username", "groups", "custom.floor", "custom.remote", "custom.none", "phones"}, m.Reads()); diff != "" {
		t.Errorf("Reads: %s", diff)
	}
}

func TestSAMLSubjectFaults(t *testing.T) {
	c := NewCompiler()
	for _, x := range []struct {
		name string
		id   NameIDFacts
		says string
	}{
		{"no value", NameIDFacts{Source: Source{Attribute: "custom.none"}, Format: saml.NameIDUnspecified}, "NameID is required"},
		{"several values", NameIDFacts{Source: Source{Attribute: "groups"}, Format: saml.NameIDUnspecified}, "exactly one value"},
		{"failing expression", NameIDFacts{Source: Source{Expression: `user.custom.none`}, Format: saml.NameIDUnspecified}, "no such key"},
	} {
		t.Run(x.name, func(t *testing.T) {
			m, err := c.CompileSAML(x.id, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := m.Apply(ada())
			var blocked *BlockedError
			if !errors.As(err, &blocked) || !strings.Contains(err.Error(), x.says) {
				t.Fatalf("Apply: %v", err)
			}
			if diff := cmp.Diff(Claims{}, got); diff != "" {
				t.Errorf("claims of a blocked person: %s", diff)
			}
		})
	}
	if _, err := c.CompileSAML(NameIDFacts{Source: Source{Attribute: "email"}}, nil); !problem.Is(err, problem.Invalid) {
		t.Errorf("no format: %v", err)
	}
	if _, err := c.CompileSAML(NameIDFacts{Source: Source{Expression: "1 +"}, Format: "x:y"}, nil); !problem.Is(err, problem.Invalid) {
		t.Errorf("faulty subject: %v", err)
	}
	if _, err := c.CompileSAML(NameIDFacts{Source: Source{Attribute: "email"}, Format: "x:y"}, []Row{{Target: "a\nb", Source: Source{Attribute: "email"}}}); !problem.Is(err, problem.Invalid) {
		t.Errorf("faulty name: %v", err)
	}
}

func TestReadsNamesWhatAMappingDependsOn(t *testing.T) {
	m := compileSCIM(t,
		Row{Target: "displayName", Source: Source{Attribute: "fullName"}},
		Row{Target: "title", Source: Source{Expression: `user.title + user.givenName + user.custom[?"x"].orValue("")`}},
		Row{Target: "nickName", Source: Source{Attribute: "username"}, Disabled: true},
		Row{Target: "active", Source: Source{Attribute: "active"}, Locked: true})
	want := []string{"displayName", "givenName", "familyName", "custom", "title", "state", "groups"}
	if diff := cmp.Diff(want, m.Reads()); diff != "" {
		t.Error(diff)
	}
}

func override(t *testing.T, text string) MappingOverride {
	t.Helper()
	o, err := ParseOverride([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestMergeSCIM(t *testing.T) {
	base := []Row{
		{Target: `emails[type eq "work"].value`, Label: "Work e-mail", Source: Source{Attribute: "email"}, Primary: true, Required: true},
		{Target: "title", Label: "Job title", Source: Source{Attribute: "title"}},
		{Target: "externalId", Label: "External id", Source: Source{Attribute: "id"}, Required: true, Locked: true},
	}
	with := func(i int, change func(*Row)) []Row {
		out := slices.Clone(base)
		change(&out[i])
		return out
	}
	for _, x := range []struct {
		name, over string
		want       []Row
		fault      string
	}{
		{"nothing", ``, base, ""},
		{"excluded", `{"rows":[{"target":"title","enabled":false}]}`, with(1, func(r *Row) { r.Disabled = true }), ""},
		{"other attribute", `{"rows":[{"target":"TITLE","source":{"attribute":"department"}}]}`, with(1, func(r *Row) { r.Source = Source{Attribute: "department"} }), ""},
		{"expression", `{"rows":[{"target":"title","source":{"expression":"user.title.trim()"}}]}`, with(1, func(r *Row) { r.Source = Source{Expression: "user.title.trim()"} }), ""},
		{"constant", `{"rows":[{"target":"title","source":{"constant":"Staff"}}]}`, with(1, func(r *Row) { r.Source = Source{Constant: "Staff"} }), ""},
		{"default and empty", `{"rows":[{"target":"title","default":"Staff","empty":"leave"}]}`, with(1, func(r *Row) { r.Default, r.Empty = "Staff", EmptyLeave }), ""},
		{"made required", `{"rows":[{"target":"title","required":true}]}`, with(1, func(r *Row) { r.Required = true }), ""},
		{"required with another source", `{"rows":[{"target":"emails[type eq \"work\"].value","source":{"attribute":"alternateEmail"}}]}`, with(0, func(r *Row) { r.Source = Source{Attribute: "alternateEmail"} }), ""},
		{"added", `{"rows":[{"target":"nickName","label":"Nick","source":{"attribute":"givenName"}}]}`, append(slices.Clone(base), Row{Target: "nickName", Label: "Nick", Source: Source{Attribute: "givenName"}}), ""},
		{"added without source", `{"rows":[{"target":"nickName"}]}`, nil, "rows[0].source"},
		{"added with bad path", `{"rows":[{"target":"nick name","source":{"attribute":"givenName"}}]}`, nil, "rows[0].target"},
		{"required excluded", `{"rows":[{"target":"emails[type eq \"work\"].value","enabled":false}]}`, nil, "rows[0].enabled"},
		{"required relaxed", `{"rows":[{"target":"emails[type eq \"work\"].value","required":false}]}`, nil, "rows[0].required"},
		{"locked changed", `{"rows":[{"target":"externalId","source":{"attribute":"email"}}]}`, nil, "rows[0].target"},
		{"locked named only", `{"rows":[{"target":"externalId"}]}`, base, ""},
		{"twice", `{"rows":[{"target":"title","enabled":false},{"target":"Title","enabled":true}]}`, nil, "rows[1].target"},
		{"unknown attribute", `{"rows":[{"target":"title","source":{"attribute":"nope"}}]}`, nil, "rows[0].source"},
		{"active added", `{"rows":[{"target":"active","source":{"constant":true}}]}`, nil, "rows[0].target"},
		{"NameID", `{"nameID":{"format":"x"}}`, nil, "nameID"},
	} {
		t.Run(x.name, func(t *testing.T) {
			before := slices.Clone(base)
			got, err := MergeSCIM(base, override(t, x.over))
			if diff := cmp.Diff(before, base); diff != "" {
				t.Errorf("the connector's rows were changed:\n%s", diff)
			}
			if x.fault != "" {
				if f := problem.FieldsOf(err); len(f) != 1 || f[0].Name != x.fault {
					t.Errorf("MergeSCIM: %v, fields %+v, want %s", err, f, x.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(x.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMergeSAML(t *testing.T) {
	con, err := builtinCatalog(t).Get("custom-saml")
	if err != nil {
		t.Fatal(err)
	}
	id, rows, err := MergeSAML(con.SAML, override(t, `{"nameID":{"source":{"attribute":"username"},"format":"urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"},"rows":[{"target":"groups","enabled":true}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if id.Attribute != "username" || id.Format != saml.NameIDPersistent {
		t.Errorf("NameID: %+v", id)
	}
	if last := rows[len(rows)-1]; last.Target != "groups" || last.Disabled {
		t.Errorf("groups: %+v", last)
	}
	if con.SAML.NameID.Attribute != "email" {
		t.Error("the connector was changed")
	}
	// Names of SAML attributes are exact: "Groups" is another one.
	_, rows, err = MergeSAML(con.SAML, override(t, `{"rows":[{"target":"Groups","source":{"attribute":"groups"}}]}`))
	if err != nil || len(rows) != len(con.SAML.Attributes)+1 {
		t.Errorf("Groups beside groups: %v", err)
	}
	_, _, err = MergeSAML(con.SAML, override(t, `{"nameID":{"source":{"attribute":"nope"},"format":"x:y"},"rows":[{"target":"new"}]}`))
	var names []string
	for _, f := range problem.FieldsOf(err) {
		names = append(names, f.Name)
	}
	if diff := cmp.Diff([]string{"nameID.source", "nameID.format", "rows[0].source"}, names); diff != "" {
		t.Errorf("faults: %s", diff)
	}
}

func TestParseOverrideIsStrict(t *testing.T) {
	for _, bad := range []string{`{"row":[]}`, `{"rows":[{"target":"a","sauce":{}}]}`, `{} {}`, `[`, `{"rows":[{"target":"a","enabled":"no"}]}`} {
		if _, err := ParseOverride([]byte(bad)); !problem.Is(err, problem.Invalid) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if o, err := ParseOverride([]byte("  ")); err != nil || !o.IsZero() {
		t.Errorf("empty: %v, %v", o, err)
	}
}

// Whatever an administrator stores, required and locked rows survive, the connector's order
// stays, merging is repeatable, and an override keeps its meaning through JSON.
func TestMergeKeepsTheConnectorsRules(t *testing.T) {
	con, err := builtinCatalog(t).Get("atlassian-cloud")
	if err != nil {
		t.Fatal(err)
	}
	base := con.SCIM.Mapping
	var targets []string
	for _, r := range base {
		targets = append(targets, r.Target)
	}
	targets = append(targets, "nickName", "locale", "x.y", "not a path")
	optional := func(t *rapid.T, name string) *bool {
		if rapid.Bool().Draw(t, name+" set") {
			v := rapid.Bool().Draw(t, name)
			return &v
		}
		return nil
	}
	rapid.Check(t, func(t *rapid.T) {
		var o MappingOverride
		for i := range rapid.IntRange(0, 6).Draw(t, "rows") {
			r := RowOverride{
				Target:   rapid.SampledFrom(targets).Draw(t, fmt.Sprint("target", i)),
				Enabled:  optional(t, fmt.Sprint("enabled", i)),
				Required: optional(t, fmt.Sprint("required", i)),
			}
			if rapid.Bool().Draw(t, fmt.Sprint("source", i)) {
				s := rapid.SampledFrom([]Source{{Attribute: "title"}, {Constant: "c"}, {Attribute: "nope"}, {}}).Draw(t, fmt.Sprint("which", i))
				r.Source = &s
			}
			o.Rows = append(o.Rows, r)
		}
		got, err := MergeSCIM(base, o)
		if err != nil {
			if !problem.Is(err, problem.Invalid) || len(problem.FieldsOf(err)) == 0 {
				t.Fatalf("an error without a field: %v", err)
			}
			return
		}
		for i, r := range base {
			if got[i].Target != r.Target {
				t.Fatalf("row %d is %s", i, got[i].Target)
			}
			if r.Required && (!got[i].Required || got[i].Disabled) {
				t.Fatalf("%s is no longer required", r.Target)
			}
			if r.Locked && cmp.Diff(r, got[i]) != "" {
				t.Fatalf("%s was changed", r.Target)
			}
		}
		text, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseOverride(text)
		if err != nil {
			t.Fatal(err)
		}
		twice, err := MergeSCIM(base, again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, twice); diff != "" {
			t.Fatalf("after JSON:\n%s", diff)
		}
		if _, err := NewCompiler().CompileSCIM(got); err != nil {
			t.Fatalf("merged rows do not compile: %v", err)
		}
	})
}

func BenchmarkApply(b *testing.B) {
	cat := builtinCatalog(b)
	p := ada()
	b.Run("scim/atlassian", func(b *testing.B) {
		m, err := cat.SCIMMapping("atlassian-cloud", MappingOverride{})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := m.Apply(p); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("saml/atlassian", func(b *testing.B) {
		m, err := cat.SAMLMapping("atlassian-cloud", MappingOverride{})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := m.Apply(p); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("scim/expressions", func(b *testing.B) {
		e := func(s string) *Source { return &Source{Expression: s} }
		m, err := cat.SCIMMapping("atlassian-cloud", MappingOverride{Rows: []RowOverride{
			{Target: "title", Source: e(`user.title == "" ? leave : user.title`)},
			{Target: "displayName", Source: e(`(user.givenName + " " + user.familyName).plain().lower()`)},
			{Target: "userName", Source: e(`user.email.split("@")[0]`)},
			{Target: "timezone", Source: e(`user.custom[?"zone"].orValue(user.timezone)`)},
			{Target: "preferredLanguage", Source: e(`user.groups.exists(g, g == "Engineering") ? "en" : user.preferredLanguage`)},
		}})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := m.Apply(p); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Merging and compiling anew for each sign-on must be possible, if a caller keeps nothing.
func BenchmarkMergeAndCompile(b *testing.B) {
	cat := builtinCatalog(b)
	b.Run("saml/atlassian", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := cat.SAMLMapping("atlassian-cloud", MappingOverride{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("scim/atlassian", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := cat.SCIMMapping("atlassian-cloud", MappingOverride{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
