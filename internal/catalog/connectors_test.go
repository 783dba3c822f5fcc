package catalog

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/scim"
)

// What each connector makes of one person who has everything: the assertion's claims and the
// account. A new connector is covered by adding its file and running with -update.
func TestEveryConnectorMapsARichPerson(t *testing.T) {
	c := builtinCatalog(t)
	known := map[string]bool{}
	for _, con := range c.All() {
		if con.SAML == nil && con.SCIM == nil {
			continue
		}
		known[con.Key+".json"] = true
		t.Run(con.Key, func(t *testing.T) {
			var got struct {
				Claims  *Claims       `json:",omitempty"`
				Account scim.Resource `json:",omitempty"`
				Clear   []string      `json:",omitempty"`
			}
			if con.SAML != nil {
				m, err := c.SAMLMapping(con.Key, MappingOverride{})
				if err != nil {
					t.Fatal(err)
				}
				claims, err := m.Apply(rich(con))
				if err != nil {
					t.Fatal(err)
				}
				got.Claims = &claims
			}
			if con.SCIM != nil {
				m, err := c.SCIMMapping(con.Key, MappingOverride{})
				if err != nil {
					t.Fatal(err)
				}
				d, err := m.Apply(rich(con))
				if err != nil {
					t.Fatal(err)
				}
				if err := d.Check(); err != nil {
					t.Errorf("package scim refuses the paths: %v", err)
				}
				if got.Account, err = d.Resource(scim.User); err != nil {
					t.Fatal(err)
				}
				got.Clear = d.Clear
			}
			golden(t, filepath.Join("connectors", con.Key+".json"), got)
		})
	}
	files, err := filepath.Glob("testdata/connectors/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !known[filepath.Base(f)] {
			t.Errorf("%s belongs to no connector", f)
		}
	}
}

// rich is ada with a value for every custom attribute that the connector reads.
func rich(con *Connector) *Person {
	p := ada()
	var rows []Row
	if con.SAML != nil {
		rows = append(rows, con.SAML.Attributes...)
	}
	if con.SCIM != nil {
		rows = append(rows, con.SCIM.Mapping...)
	}
	for _, r := range rows {
		if key, ok := strings.CutPrefix(r.Attribute, CustomPrefix); ok {
			p.Custom[key] = "her " + key
		}
	}
	return p
}

// A person who has no more than the mapping requires can be created everywhere: what a product
// refuses to create an account without is required by the mapping, too.
func TestWhatAProductRequiresIsRequired(t *testing.T) {
	for _, con := range builtinCatalog(t).All() {
		if con.SCIM == nil {
			continue
		}
		for _, need := range con.SCIM.Users.Required {
			ok := false
			for _, r := range con.SCIM.Mapping {
				p, err := parseTarget(r.Target)
				if err != nil {
					t.Fatal(err)
				}
				whole := p
				whole.Sub, whole.Filter = "", nil
				// A constant always has a value.
				ok = ok || (r.Required || r.Constant != nil) && (strings.EqualFold(p.String(), need) || strings.EqualFold(whole.String(), need))
			}
			if !ok {
				t.Errorf("%s: the product requires %s and the mapping doesn't", con.Key, need)
			}
		}
	}
}

// Every product's guide covers the parts of the form that it has, and says how to come out again.
func TestEveryGuideCoversItsForms(t *testing.T) {
	for _, con := range builtinCatalog(t).All() {
		if con.Bookmark != nil {
			continue
		}
		want := []Part{PartStart, PartRemoval}
		if con.SAML != nil {
			want = append(want, PartSignOn)
		}
		if con.SCIM != nil {
			want = append(want, PartProvisioning)
		}
		for _, p := range want {
			if len(con.FillGuide(p, values())) == 0 {
				t.Errorf("%s: the guide has nothing for %s", con.Key, p)
			}
		}
	}
}

// docs/connectors.md lists the catalogue and docs/catalogue.md says what is known of each
// product; both are made of the files (-update).
func TestTheCatalogueIsDocumented(t *testing.T) {
	c := builtinCatalog(t)
	const begin, end = "<!-- catalogue: written by go test ./internal/catalog -update -->\n", "<!-- end of catalogue -->\n"
	file := filepath.Join("..", "..", "docs", "connectors.md")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the list", file)
	}
	written(t, file, before+begin+list(c)+end+after)
	written(t, filepath.Join("..", "..", "docs", "catalogue.md"), pages(c))
}

func written(t *testing.T, file, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("%s doesn't say what the connectors do (run with -update):\n%s", file, diff)
	}
}

func list(c *Catalog) string {
	var b strings.Builder
	b.WriteString("| connector | key | SAML | SCIM | groups | quirks |\n|---|---|---|---|---|---:|\n")
	for _, con := range c.All() {
		sign, provide := "–", "–"
		if con.SAML != nil {
			sign = "yes"
			if con.SAML.JIT {
				sign = "yes, makes accounts"
			}
		}
		if con.SCIM != nil {
			provide = "users"
			if con.SCIM.Groups.Supported {
				provide = "users, groups"
			}
		}
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s | %s | %s |\n", linked(con), con.Key, sign, provide, groupsDo(con), quirkCount(con))
	}
	return b.String()
}

func linked(con *Connector) string {
	if con.Generic {
		return con.Name
	}
	return "[" + con.Name + "](catalogue.md#" + con.Key + ")"
}

// groupsDo says in words what the product makes of groups.
func groupsDo(con *Connector) string {
	var parts []string
	if con.SCIM != nil && con.SCIM.Groups.Supported {
		s := "synced, renamed"
		if !con.SCIM.Groups.Rename {
			s = "synced, not renamed"
		}
		if !con.SCIM.Groups.Delete {
			s += ", never deleted"
		}
		parts = append(parts, s)
	}
	if con.SAML != nil && con.SAML.GroupsUsed {
		parts = append(parts, "in the assertion")
	}
	if len(parts) == 0 {
		return "say who has access"
	}
	return strings.Join(parts, "; ")
}

func quirkCount(con *Connector) string {
	n := 0
	if con.SAML != nil {
		n += len(con.SAML.Quirks)
	}
	if con.SCIM != nil {
		n += len(con.SCIM.Quirks)
	}
	return fmt.Sprint(n)
}

func pages(c *Catalog) string {
	var b strings.Builder
	b.WriteString("# What is known of each product\n\nWritten from the connectors' files by `go test ./internal/catalog -update`; change the files, not this page.\n" +
		"A fact is *documented* by the maker, comes from the maker's *support*, from the *field* (others report it), or is *inferred* from the sources.\n")
	for _, con := range c.All() {
		if con.Generic {
			continue
		}
		fmt.Fprintf(&b, "\n<a id=\"%s\"></a>\n## %s\n\n%s\n", con.Key, con.Name, con.Description)
		if s := con.SAML; s != nil {
			fmt.Fprintf(&b, "\n**Sign-on**: NameID from %s; %s is signed; %s; %s; %s.\n", s.NameID.Source, signed(s.Sign),
				counted(s.Certificates.Slots, "certificate", "certificates")+" of ours at a time", flows(s), encrypted(s.EncryptionSupported))
			quirkList(&b, con, s.Quirks)
		}
		if s := con.SCIM; s != nil {
			fmt.Fprintf(&b, "\n**Provisioning**: accounts are found by %s; changes go by %s; leavers: %s; groups %s; %g requests a second, %d at once.\n",
				strings.Join(s.Users.Match, ", then "), strings.ToUpper(string(s.Users.Update)), leavers(s), groupsDo(con), s.Rate.PerSecond, s.Rate.Concurrency)
			quirkList(&b, con, s.Quirks)
		}
	}
	return b.String()
}

func signed(p SignPart) string {
	if p == SignBoth {
		return "the assertion and the response"
	}
	return "the " + string(p)
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", many)
}

func flows(s *SAML) string {
	switch {
	case s.SPInitiated && s.IdPInitiated:
		return "started there or from the portal"
	case s.SPInitiated:
		return "started there only"
	default:
		return "started from the portal only"
	}
}

func encrypted(yes bool) string {
	if yes {
		return "encrypted assertions possible"
	}
	return "no encrypted assertions"
}

func leavers(s *SCIM) string {
	if s.Users.Deactivate == DeactivateByDelete {
		return "DELETE"
	}
	return "`active: false`"
}

func quirkList(b *strings.Builder, con *Connector, quirks []Quirk) {
	if len(quirks) == 0 {
		return
	}
	b.WriteString("\n")
	for _, q := range quirks {
		var refs []string
		for _, id := range q.References {
			if r, ok := con.Reference(id); ok {
				refs = append(refs, "["+r.Title+"]("+r.URL+")")
			}
		}
		fmt.Fprintf(b, "- %s *%s* (%s: %s)\n", q.Fact, q.Measure, q.Basis, strings.Join(refs, ", "))
	}
}

// A person who signs in is found by what provisioning sent: NameID is the user name, the
// work e-mail or our id. A persistent name is made, not mapped.
func TestNameIDIsSomethingProvisioned(t *testing.T) {
	c := builtinCatalog(t)
	for _, con := range c.All() {
		if con.SAML == nil || con.SCIM == nil || con.SAML.NameID.Format == saml.NameIDPersistent {
			continue
		}
		sm, err := c.SAMLMapping(con.Key, MappingOverride{})
		if err != nil {
			t.Fatal(err)
		}
		pm, err := c.SCIMMapping(con.Key, MappingOverride{})
		if err != nil {
			t.Fatal(err)
		}
		claims, err := sm.Apply(rich(con))
		if err != nil {
			t.Fatal(err)
		}
		d, err := pm.Apply(rich(con))
		if err != nil {
			t.Fatal(err)
		}
		if v := claims.NameID.Value; v != d.Values["userName"] && v != d.Values["externalId"] && v != d.Values[`emails[type eq "work"].value`] {
			t.Errorf("%s: NameID %q is nothing that the account is known by", con.Key, v)
		}
	}
}

// Hints, warnings and quirks are plain words; marks are for guides.
func TestPlainWordsHoldNoMarks(t *testing.T) {
	plain := regexp.MustCompile("(?m)^ +(hint|label|warning|fact|measure|deleteEffect|deactivateEffect|renameAdvice): .*(\\*\\*|`|\\{\\{).*$")
	files, err := fs.Glob(builtin, "connectors/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		for _, line := range plain.FindAllString(readConnector(t, filepath.Base(f)), -1) {
			t.Errorf("%s: %s", f, strings.TrimSpace(line))
		}
	}
}
