package main

import (
	"bytes"
	"crypto/x509"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/beevik/etree"
	"github.com/google/go-cmp/cmp"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/latchkey-idp/latchkey/internal/keys"
)

func TestSAMLForm(t *testing.T) {
	at, err := url.Parse("https://idp.example.org/saml2/x")
	if err != nil {
		t.Fatal(err)
	}
	p := &page{url: at, status: http.StatusOK, body: []byte(`<form action="/other"><input name="q"></form>
		<form method="post" action="../acs?a=1&amp;b=2"><input type="hidden" name="SAMLResponse" value="PGE+&#10;">
		<textarea name="RelayState">x &amp; y</textarea><input type="submit" name="go" value="Continue"></form>`)}
	action, fields := samlForm(p)
	if action == nil || action.String() != "https://idp.example.org/acs?a=1&b=2" {
		t.Fatalf("action %v", action)
	}
	want := url.Values{"SAMLResponse": {"PGE+\n"}, "RelayState": {"x & y"}}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Error(diff)
	}
	p.body = []byte(`<form action="/signin"><input name="login"></form>SAMLRequest`)
	if action, _ := samlForm(p); action != nil {
		t.Errorf("%v is not a form of SAML", action)
	}
}

func TestNext(t *testing.T) {
	for _, test := range []struct {
		name   string
		status int
		header http.Header
		body   string
		want   string
	}{
		{"redirect", http.StatusFound, http.Header{"Location": {"/a"}}, "", "/a"},
		{"page", http.StatusOK, http.Header{"Content-Type": {"text/html"}}, "<p>Hello</p>", ""},
		{"refresh", http.StatusOK, http.Header{"Refresh": {"0; url=/b"}}, "", "/b"},
		{"meta", http.StatusOK, http.Header{"Content-Type": {"text/html"}}, `<meta http-equiv="Refresh" content="0;URL='/c'">`, "/c"},
		{"meta without scripts only", http.StatusOK, http.Header{"Content-Type": {"text/html"}}, `<noscript><meta http-equiv="refresh" content="0;url=/d"></noscript>`, ""},
		{"reload", http.StatusOK, http.Header{"Refresh": {"30"}}, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := (&browser{}).next(&page{status: test.status, header: test.header, body: []byte(test.body)})
			if got != test.want {
				t.Errorf("%q instead of %q", got, test.want)
			}
		})
	}
}

func TestSemicolons(t *testing.T) {
	if diff := cmp.Diff([]string{"a", "b;c", `d\e`}, semicolons(`a;b\;c;d\e`)); diff != "" {
		t.Error(diff)
	}
}

// TestForge: what is signed anew verifies, and holds the change.
func TestForge(t *testing.T) {
	p, err := newPair(t.TempDir(), "own")
	if err != nil {
		t.Fatal(err)
	}
	response := `<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="_r"><saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_a">` +
		`<saml:Issuer>us</saml:Issuer><ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"></ds:Signature><saml:Conditions><saml:AudienceRestriction>` +
		`<saml:Audience>them</saml:Audience></saml:AudienceRestriction></saml:Conditions></saml:Assertion></samlp:Response>`
	out, err := forge([]byte(response), p, wrongAudience)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(out, []byte("elsewhere")) || bytes.Contains(out, []byte("them")) {
		t.Errorf("not changed: %s", out)
	}
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(out); err != nil {
		t.Fatal(err)
	}
	cert, err := keys.ParseCertificate(string(p.certPEM))
	if err != nil {
		t.Fatal(err)
	}
	v := dsig.NewDefaultValidationContext(&dsig.MemoryX509CertificateStore{Roots: []*x509.Certificate{cert}})
	if _, err := v.Validate(doc.Root().SelectElement("Assertion")); err != nil {
		t.Error(err)
	}
	if _, err := forge([]byte(response), p, wrongRecipient); err == nil {
		t.Error("changed what isn't there")
	}
}

func TestVerdictAndPage(t *testing.T) {
	rows := []aCase{{key: "one", title: "First"}, {key: "two", title: "Second"}}
	good := &column{name: "A", version: "1", cells: map[string]outcome{"one": {mark: pass}, "two": {none, "can't | won't"}}}
	bad := &column{name: "B", version: "2", cells: map[string]outcome{"one": {fail, "no <b>"}}}
	broken := &column{name: "C", failed: "isn't there"}
	for _, test := range []struct {
		columns []*column
		want    string
	}{
		{[]*column{good}, "VERDICT interop pass 1 service providers, 1 cases pass, 1 not supported by the service provider"},
		{[]*column{good, bad, broken}, "VERDICT interop short B fails one; B not tried: two; C could not be tried"},
	} {
		m := &matrix{rows: rows, columns: test.columns}
		if got := m.verdict(); got != test.want {
			t.Errorf("%s instead of %s", got, test.want)
		}
	}
	file := filepath.Join(t.TempDir(), "page.md")
	if err := writePage(file, &matrix{rows: rows, columns: []*column{good, bad}}, nil); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"| First | ✓ | ✗ <sup>1</sup> |", "| Second | – <sup>2</sup> | not tried |", `1. B, First: no \<b>.`, `2. A, Second: can't \| won't.`} {
		if !strings.Contains(string(b), line+"\n") {
			t.Errorf("no line %q in %s", line, b)
		}
	}
}
