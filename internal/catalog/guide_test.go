package catalog

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func values() GuideValues {
	return GuideValues{
		Label: "Atlassian", EntityID: "example.com", SSOURL: "https://login.example.com/saml2/atlassiancloud",
		MetadataURL: "https://login.example.com/saml2/atlassiancloud/metadata", CertificateURL: "https://login.example.com/saml2/atlassiancloud/certificate.pem",
		CertificateExpiry: "1 March 2029", SPEntityID: "https://auth.atlassian.com/saml/1", ACSURL: "https://auth.atlassian.com/login/callback?connection=saml-1",
		RelayState: "https://example.atlassian.net", SCIMBaseURL: "https://api.atlassian.com/scim/directory/1", PortalURL: "https://login.example.com",
	}
}

func TestParseText(t *testing.T) {
	for _, x := range []struct {
		name, text string
		want       Text
		fault      string
	}{
		{"plain", "a [b] c * d", Text{{Kind: SpanText, Text: "a [b] c * d"}}, ""},
		{"marks", "go **now** to `x y`.", Text{
			{Kind: SpanText, Text: "go "},
			{Kind: SpanBold, Text: "now"},
			{Kind: SpanText, Text: " to "},
			{Kind: SpanCode, Text: "x y"},
			{Kind: SpanText, Text: "."},
		}, ""},
		{"link", "[there](https://example.com/a?b=c)", Text{{Kind: SpanLink, Text: "there", URL: "https://example.com/a?b=c"}}, ""},
		{"value", "paste {{.EntityID}} there", Text{{Kind: SpanText, Text: "paste "}, {Kind: SpanValue, Name: "EntityID"}, {Kind: SpanText, Text: " there"}}, ""},
		{"unknown value", "{{.Token}}", nil, "unknown placeholder"},
		{"code in value", "{{.EntityID | html}}", nil, "unknown placeholder"},
		{"no dot", "{{EntityID}}", nil, "unknown placeholder"},
		{"open", "{{.EntityID", nil, "{{ without }}"},
		{"open bold", "a **b", nil, "without a second"},
		{"open code", "a `b", nil, "without a second"},
		{"value in bold", "**{{.EntityID}}**", nil, "inside other marks"},
		{"script link", "[x](javascript:alert(1))", nil, "https address"},
		{"relative link", "[x](/a)", nil, "https address"},
		{"open link", "[x](https://example.com", nil, "link without )"},
	} {
		t.Run(x.name, func(t *testing.T) {
			got, err := parseText(x.text)
			if x.fault != "" {
				if err == nil || !strings.Contains(err.Error(), x.fault) {
					t.Fatalf("parseText: %v", err)
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

// Every placeholder is a field of GuideValues and is filled.
func TestPlaceholders(t *testing.T) {
	full := values()
	for name, p := range placeholders {
		got := fill("{{."+name+"}}", &full)
		if len(got) != 1 || got[0].Kind != SpanValue || got[0].Text == "" || got[0].Name != name {
			t.Errorf("%s: %+v", name, got)
		}
		got = fill("{{."+name+"}}", &GuideValues{})
		if len(got) != 1 || got[0].Kind != SpanPending || got[0].Text != p.pending || p.pending == "" {
			t.Errorf("%s pending: %+v", name, got)
		}
	}
}

func TestEveryGuideFills(t *testing.T) {
	for _, con := range builtinCatalog(t).All() {
		if len(con.FillGuide(PartStart, values())) == 0 {
			t.Errorf("%s: nothing to read before one begins", con.Key)
		}
		if con.SAML != nil {
			var text strings.Builder
			for _, s := range con.FillGuide(PartSignOn, values()) {
				for _, line := range append(s.Steps, s.Notes...) {
					text.WriteString(line.String() + "\n")
				}
			}
			for _, want := range []string{"example.com", "https://login.example.com/saml2/atlassiancloud", "certificate.pem"} {
				if !strings.Contains(text.String(), want) {
					t.Errorf("%s: the sign-on guide does not give %s", con.Key, want)
				}
			}
		}
		if con.SCIM != nil && len(con.FillGuide(PartProvisioning, values())) == 0 {
			t.Errorf("%s: no provisioning guide", con.Key)
		}
		if con.Bookmark == nil && len(con.FillGuide(PartRemoval, values())) == 0 {
			t.Errorf("%s: nothing about removal", con.Key)
		}
		for _, s := range con.FillGuide("", values()) {
			for _, line := range append(s.Steps, s.Notes...) {
				if strings.ContainsAny(line.String(), "{}") || strings.Contains(line.String(), "**") {
					t.Errorf("%s: %s: marks are left in %q", con.Key, s.ID, line.String())
				}
			}
		}
	}
}

// What the guide beside Atlassian's form must tell.
func TestAtlassianGuideTellsWhatItMust(t *testing.T) {
	con, err := builtinCatalog(t).Get("atlassian-cloud")
	if err != nil {
		t.Fatal(err)
	}
	for part, wants := range map[Part][]string{
		PartStart:        {"organization administrator", "72 hours", "Guard Standard", "same e-mail"},
		PartSignOn:       {"Identity providers", "Public x509 certificate", "?connection=", "March 2021", "Enforce single sign-on", "private window", "not verified", "claimed automatically", "default policy", "Invalid thumbprint"},
		PartProvisioning: {"SCIM base URL", "only this one time", "one year", "ends the old one at once", "site with products", "Default access groups", "Group names can't be changed", "licences", "unverified domain"},
		PartRemoval:      {"stay as they are", "locks people out", "Remove the identity provider there"},
	} {
		var text strings.Builder
		for _, s := range con.FillGuide(part, values()) {
			text.WriteString(s.Intro.String() + "\n")
			for _, line := range append(s.Steps, s.Notes...) {
				text.WriteString(line.String() + "\n")
			}
		}
		for _, w := range wants {
			if !strings.Contains(text.String(), w) {
				t.Errorf("%s does not tell %q", part, w)
			}
		}
	}
}

func FuzzGuideText(f *testing.F) {
	for _, s := range []string{"a **b** `c` [d](https://e.f) {{.ACSURL}}", "[[]](", "**", "``", "{{.}}", "[a](https://b)c"} {
		f.Add(s)
	}
	v := values()
	f.Fuzz(func(t *testing.T, s string) {
		spans, err := parseText(s)
		if err != nil {
			return
		}
		for _, x := range spans {
			if x.Kind == SpanLink && !strings.HasPrefix(x.URL, "https://") && !strings.HasPrefix(strings.ToLower(x.URL), "https://") {
				t.Errorf("%q links to %q", s, x.URL)
			}
		}
		for _, x := range fill(s, &v) {
			if x.Kind == SpanValue && x.Text == "" {
				t.Errorf("%q: %s is empty", s, x.Name)
			}
		}
	})
}
