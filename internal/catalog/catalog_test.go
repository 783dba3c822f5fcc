package catalog

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"cel.dev/cel-go/cel"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/latchkey-idp/latchkey/internal/problem"
)

func builtinCatalog(tb testing.TB) *Catalog {
	tb.Helper()
	c, err := Builtin()
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func keys(list []*Connector) []string {
	out := []string{}
	for _, c := range list {
		out = append(out, c.Key)
	}
	return out
}

func TestBuiltinConnectors(t *testing.T) {
	c := builtinCatalog(t)
	files, err := fs.Glob(builtin, "connectors/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.All()) != len(files) || len(files) < 5 {
		t.Errorf("%d connectors of %d files", len(c.All()), len(files))
	}
	// The generic ones come last, whatever else there is.
	if got := keys(c.All()); len(got) > 4 {
		if diff := cmp.Diff([]string{"bookmark", "custom-saml", "custom-saml-scim", "custom-scim"}, got[len(got)-4:]); diff != "" {
			t.Error(diff)
		}
	}
	if err := c.Verify(); err != nil {
		t.Error(err)
	}
	if _, err := c.Get("nothing"); !problem.Is(err, problem.NotFound) {
		t.Errorf("unknown key: %v", err)
	}
	for _, x := range []struct {
		key                  string
		saml, scim, bookmark bool
	}{
		{"atlassian-cloud", true, true, false},
		{"custom-saml", true, false, false},
		{"custom-scim", false, true, false},
		{"custom-saml-scim", true, true, false},
		{"bookmark", false, false, true},
	} {
		con, err := c.Get(x.key)
		if err != nil {
			t.Fatal(err)
		}
		if sa, sc, b := con.Has(); sa != x.saml || sc != x.scim || b != x.bookmark {
			t.Errorf("%s has saml=%v scim=%v bookmark=%v", x.key, sa, sc, b)
		}
	}
}

// The facts of Atlassian Cloud on which provisioning and sign-on depend.
func TestAtlassianFacts(t *testing.T) {
	con, err := builtinCatalog(t).Get("atlassian-cloud")
	if err != nil {
		t.Fatal(err)
	}
	if con.Slug != "atlassiancloud" || con.SAML.RelayState != "https://<site>.atlassian.net" {
		t.Errorf("slug %q, RelayState %q", con.Slug, con.SAML.RelayState)
	}
	if !con.SAML.TwoHalves() || con.SAML.Certificates.Slots != 1 || con.SAML.SPMetadata || con.SAML.SingleLogout || con.SAML.EncryptionSupported {
		t.Errorf("sign-on facts: %+v", con.SAML)
	}
	u, g := con.SCIM.Users, con.SCIM.Groups
	if diff := cmp.Diff([]string{"externalId", "userName"}, u.Match); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"emails"}, u.PutFor); diff != "" {
		t.Error(diff)
	}
	if u.Update != WritePatch || u.Deactivate != DeactivateByActive || g.Rename || g.MembersOnCreate || g.MemberBatch != 100 {
		t.Errorf("users %+v\ngroups %+v", u, g)
	}
	if con.SCIM.Page.Max != 100 || con.SCIM.Rate.PerSecond != 5 || con.SCIM.Rate.Concurrency != 2 {
		t.Errorf("page %+v, rate %+v", con.SCIM.Page, con.SCIM.Rate)
	}
	if con.SCIM.Token.Lifetime().Hours() != 365*24 || !con.SCIM.Token.RenewalKillsOld {
		t.Errorf("token %+v", con.SCIM.Token)
	}
	for _, name := range []string{"jira-users-acme", "Jira-Software-Users", "confluence-users", "site-admins", "system-administrators"} {
		if len(g.Warnings(name)) == 0 {
			t.Errorf("group name %q gives no warning", name)
		}
	}
	for _, name := range []string{"Engineering", "All users", "jira editors"} {
		if w := g.Warnings(name); len(w) > 0 {
			t.Errorf("group name %q: %v", name, w)
		}
	}
}

func TestACSWithoutConnectionIsWarnedAbout(t *testing.T) {
	con, err := builtinCatalog(t).Get("atlassian-cloud")
	if err != nil {
		t.Fatal(err)
	}
	w := con.SAML.Fields.ACSURL.Warnings("https://auth.atlassian.com/login/callback")
	if len(w) != 1 || !strings.Contains(w[0], "?connection=") {
		t.Errorf("warnings: %q", w)
	}
	if w := con.SAML.Fields.ACSURL.Warnings(""); w != nil {
		t.Errorf("an empty value is not wrong yet: %q", w)
	}
}

// The combined connector is the other two put together.
func TestCustomConnectorsAgree(t *testing.T) {
	c := builtinCatalog(t)
	get := func(key string) *Connector {
		con, err := c.Get(key)
		if err != nil {
			t.Fatal(err)
		}
		return con
	}
	same := cmpopts.IgnoreUnexported(Check{})
	both := get("custom-saml-scim")
	if diff := cmp.Diff(get("custom-saml").SAML, both.SAML, same); diff != "" {
		t.Errorf("saml differs:\n%s", diff)
	}
	if diff := cmp.Diff(get("custom-scim").SCIM, both.SCIM, same); diff != "" {
		t.Errorf("scim differs:\n%s", diff)
	}
}

// The few connectors that came first, so that what a query finds doesn't change with each
// product that is added.
func firstCatalog(t *testing.T) *Catalog {
	t.Helper()
	files := fstest.MapFS{}
	for _, key := range []string{"atlassian-cloud", "bookmark", "custom-saml", "custom-saml-scim", "custom-scim"} {
		files[key+".yaml"] = &fstest.MapFile{Data: []byte(readConnector(t, key+".yaml"))}
	}
	c, err := Load(files)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Whoever types a product's name, or another name of it, finds it first.
func TestSearchFindsEveryConnectorByItsNames(t *testing.T) {
	c := builtinCatalog(t)
	for _, con := range c.All() {
		for _, name := range append([]string{con.Name, con.Key}, con.Aliases...) {
			if found := c.Search(name); len(found) == 0 || found[0].Key != con.Key {
				t.Errorf("%q finds %v, not %s first", name, keys(found), con.Key)
			}
		}
	}
}

func TestSearch(t *testing.T) {
	c := firstCatalog(t)
	for _, x := range []struct {
		query string
		want  []string
	}{
		{"jira", []string{"atlassian-cloud"}},
		{"TRELLO", []string{"atlassian-cloud"}},
		{"Bit", []string{"atlassian-cloud"}},
		{"cloud", []string{"atlassian-cloud"}},
		{"Çonflüence", []string{"atlassian-cloud"}},
		{"  atlassian   cloud ", []string{"atlassian-cloud"}},
		{"cloud jira", []string{"atlassian-cloud"}},
		{"service management", []string{"atlassian-cloud"}},
		{"link", []string{"bookmark"}},
		{"custom saml", []string{"custom-saml", "custom-saml-scim"}},
		{"scim", []string{"custom-scim", "custom-saml-scim"}},
		{"jira nothing", []string{}},
		{"zzz", []string{}},
	} {
		t.Run(x.query, func(t *testing.T) {
			if diff := cmp.Diff(x.want, keys(c.Search(x.query))); diff != "" {
				t.Error(diff)
			}
		})
	}
	if diff := cmp.Diff(keys(c.All()), keys(c.Search(" - "))); diff != "" {
		t.Errorf("an empty query gives all:\n%s", diff)
	}
}

func TestSearchRanksExactBeforePrefixBeforePart(t *testing.T) {
	c := &Catalog{byKey: map[string]*Connector{}, terms: map[string]terms{}}
	for _, con := range []*Connector{
		{Key: "a", Name: "Sunbox"},
		{Key: "b", Name: "Boxer"},
		{Key: "c", Name: "Box"},
		{Key: "d", Name: "Drop Box"},
		{Key: "e", Name: "Crate", Aliases: []string{"Box"}},
		{Key: "f", Name: "Paper", Description: "Puts things in a box."},
	} {
		c.list = append(c.list, con)
		c.terms[con.Key] = termsOf(con)
	}
	if diff := cmp.Diff([]string{"c", "e", "b", "d", "a", "f"}, keys(c.Search("bóx"))); diff != "" {
		t.Error(diff)
	}
}

func TestLoadingDoesNotStartCEL(t *testing.T) {
	c := builtinCatalog(t)
	started := errors.New("started")
	c.compiler.env = func() (*cel.Env, error) { return nil, started }
	if err := c.Verify(); err != nil {
		t.Errorf("the built-in mappings need CEL at compile time: %v", err)
	}
	if _, err := c.compiler.CheckExpression(`user.email`); !errors.Is(err, started) {
		t.Errorf("an expression does not use the environment: %v", err)
	}
}

func TestSameMappingSameProgram(t *testing.T) {
	c := NewCompiler()
	a, err := c.compile(`user.email`)
	if err != nil {
		t.Fatal(err)
	}
	b, err := c.compile(`user.email`)
	if err != nil {
		t.Fatal(err)
	}
	if a != b {
		t.Error("the program was compiled twice")
	}
	for i := range maxPrograms + 10 {
		if _, err := c.compile(strings.Repeat(" ", i) + `"x"`); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(c.programs); n > maxPrograms {
		t.Errorf("%d programs are kept", n)
	}
}

func TestMappingsOfConnectorsWithoutThePart(t *testing.T) {
	c := builtinCatalog(t)
	if _, err := c.SCIMMapping("custom-saml", MappingOverride{}); !problem.Is(err, problem.Invalid) {
		t.Errorf("custom-saml has no provisioning: %v", err)
	}
	if _, err := c.SAMLMapping("custom-scim", MappingOverride{}); !problem.Is(err, problem.Invalid) {
		t.Errorf("custom-scim has no sign-on: %v", err)
	}
	if _, err := c.SAMLMapping("nothing", MappingOverride{}); !problem.Is(err, problem.NotFound) {
		t.Errorf("nothing: %v", err)
	}
}

func TestAttributeNames(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range Attributes() {
		if seen[a.Name] || a.Label == "" || a.Kind == "" {
			t.Errorf("attribute %+v", a)
		}
		seen[a.Name] = true
		if got, ok := FindAttribute(a.Name); !ok || got.Label != a.Label {
			t.Errorf("%s is not found", a.Name)
		}
	}
	if _, ok := FindAttribute("custom."); ok {
		t.Error(`"custom." names no attribute`)
	}
	if _, ok := FindAttribute("Email"); ok {
		t.Error("names are case-sensitive")
	}
}

func TestActive(t *testing.T) {
	for _, x := range []struct {
		name   string
		person Person
		want   bool
	}{
		{"active in a bound group", Person{State: "active", Groups: []string{"a"}}, true},
		{"active without a binding", Person{State: "active"}, false},
		{"staged", Person{State: "staged", Groups: []string{"a"}}, false},
		{"suspended", Person{State: "suspended", Groups: []string{"a"}}, false},
		{"deleted", Person{State: "deleted", Groups: []string{"a"}}, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			if got := x.person.Active(); got != x.want {
				t.Errorf("Active() = %v", got)
			}
		})
	}
}

func TestCustomValues(t *testing.T) {
	p := Person{Custom: map[string]any{
		"text": "x", "empty": "", "yes": true, "int": 3, "int64": int64(4), "float": 1.5,
		"list": []string{"a"}, "none": []string{}, "any": []any{"a", "", 3, "b"}, "odd": struct{}{},
	}}
	got := map[string]any{}
	for k := range p.Custom {
		a, _ := FindAttribute("custom." + k)
		got[k] = a.read(&p)
	}
	want := map[string]any{
		"text": "x", "empty": nil, "yes": true, "int": int64(3), "int64": int64(4), "float": 1.5,
		"list": []string{"a"}, "none": nil, "any": []string{"a", "b"}, "odd": nil,
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}
