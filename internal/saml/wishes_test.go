package saml_test

import (
	"crypto"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
)

// checked sends a request unsigned by HTTP-Redirect.
func checked(t *testing.T, sp saml.ServiceProvider, idp saml.IdentityProvider, change func(*samltest.Request)) (saml.Decision, error) {
	t.Helper()
	req := atlassian().Request(ssoURL, noon)
	change(&req)
	return saml.Check(readRedirect(t, samltest.RedirectQuery(req.XML(), "relay")), sp, idp, noon)
}

// TestNameIDPolicy: format, qualifier and permission to make a name (saml-core §3.4.1.1).
func TestNameIDPolicy(t *testing.T) {
	const all = "all"
	for _, test := range []struct {
		name      string
		policy    string // "" means that there is none
		formats   []string
		format    string // to answer with; "" means InvalidNameIDPolicy
		mayCreate bool
	}{
		{"none, persistent is the default", "", []string{saml.NameIDPersistent}, saml.NameIDPersistent, true},
		{"empty, persistent is the default", `<samlp:NameIDPolicy/>`, []string{saml.NameIDPersistent}, saml.NameIDPersistent, false},
		{"unspecified, persistent is the default", `<samlp:NameIDPolicy Format="` + saml.NameIDUnspecified + `"/>`, []string{saml.NameIDPersistent}, saml.NameIDPersistent, false},
		{"unspecified, may be made", `<samlp:NameIDPolicy Format="` + saml.NameIDUnspecified + `" AllowCreate="true"/>`, []string{saml.NameIDPersistent}, saml.NameIDPersistent, true},
		{"persistent, may be made", `<samlp:NameIDPolicy Format="` + saml.NameIDPersistent + `" AllowCreate="true"/>`, nil, saml.NameIDPersistent, true},
		{"persistent, may be made (1)", `<samlp:NameIDPolicy Format="` + saml.NameIDPersistent + `" AllowCreate="1"/>`, nil, saml.NameIDPersistent, true},
		{"persistent, may not be made", `<samlp:NameIDPolicy Format="` + saml.NameIDPersistent + `" AllowCreate="false"/>`, nil, saml.NameIDPersistent, false},
		{"persistent, nothing said", `<samlp:NameIDPolicy Format="` + saml.NameIDPersistent + `"/>`, nil, saml.NameIDPersistent, false},
		{"transient is made each time", `<samlp:NameIDPolicy Format="` + saml.NameIDTransient + `" AllowCreate="false"/>`, []string{saml.NameIDEmailAddress, saml.NameIDTransient}, saml.NameIDTransient, true},
		{"e-mail is there already", `<samlp:NameIDPolicy Format="` + saml.NameIDEmailAddress + `" AllowCreate="false"/>`, nil, saml.NameIDEmailAddress, true},
		{"own qualifier", `<samlp:NameIDPolicy Format="` + saml.NameIDPersistent + `" AllowCreate="1" SPNameQualifier="` + spEntityID + `"/>`, nil, saml.NameIDPersistent, true},
		{"empty qualifier", `<samlp:NameIDPolicy SPNameQualifier=""/>`, nil, saml.NameIDEmailAddress, true},
		{"another's qualifier", `<samlp:NameIDPolicy SPNameQualifier="https://other.example/"/>`, nil, "", false},
		{"an affiliation's qualifier", `<samlp:NameIDPolicy Format="` + saml.NameIDPersistent + `" AllowCreate="1" SPNameQualifier="urn:affiliation"/>`, nil, "", false},
		{"format not served", `<samlp:NameIDPolicy Format="` + saml.NameIDTransient + `"/>`, nil, "", false},
		{"format unknown", `<samlp:NameIDPolicy Format="urn:x"/>`, nil, "", false},
		{"Kerberos", `<samlp:NameIDPolicy Format="urn:oasis:names:tc:SAML:2.0:nameid-format:kerberos"/>`, nil, "", false},
		{"entity", `<samlp:NameIDPolicy Format="` + saml.NameIDEntity + `"/>`, nil, "", false},
		{"encrypted", `<samlp:NameIDPolicy Format="` + saml.NameIDEncrypted + `"/>`, []string{saml.NameIDEncrypted, all}, "", false},
		{"other case", `<samlp:NameIDPolicy Format="` + strings.ToUpper(saml.NameIDEmailAddress) + `"/>`, nil, "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			sp := registered()
			if test.formats != nil {
				sp.NameIDFormats = test.formats
			}
			d, err := checked(t, sp, ourselves(), func(r *samltest.Request) { r.Children = test.policy })
			if test.format == "" {
				e := refused(t, err, saml.UnsupportedNameID)
				if !e.Sendable() || e.Status.Code != saml.StatusRequester || e.Status.SubCode != saml.StatusInvalidNameIDPolicy {
					t.Errorf("%+v", e)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d.NameIDFormat != test.format || d.MayCreate != test.mayCreate || d.Request.HasNameIDPolicy != (test.policy != "") {
				t.Errorf("%+v", d)
			}
		})
	}
}

// TestRequestedAuthnContext: the four comparisons, as a request has them (saml-core §3.3.2.2.1). The identity provider
// reaches password, password over TLS, and a second factor, in this order.
func TestRequestedAuthnContext(t *testing.T) {
	const pw, ppt, mfa, x509 = saml.AuthnContextPassword, saml.AuthnContextPasswordProtectedTransport, saml.AuthnContextREFEDSMFA, "urn:oasis:names:tc:SAML:2.0:ac:classes:X509"
	for _, test := range []struct {
		name, comparison string
		classes          []string
		want             bool
	}{
		{"none", "", nil, true},
		{"one, comparison left out", "", []string{ppt}, true},
		{"exact", "exact", []string{mfa}, true},
		{"exact, second wish", "exact", []string{x509, pw}, true},
		{"exact, out of reach", "exact", []string{x509}, false},
		{"exact, unspecified", "exact", []string{saml.AuthnContextUnspecified}, true},
		{"minimum", "minimum", []string{ppt}, true},
		{"minimum, strongest", "minimum", []string{mfa}, true},
		{"minimum, out of reach", "minimum", []string{x509}, false},
		{"maximum", "maximum", []string{pw}, true},
		{"maximum, out of reach", "maximum", []string{x509}, false},
		{"better", "better", []string{ppt}, true},
		{"better than the strongest", "better", []string{mfa}, false},
		{"better than all of several", "better", []string{pw, mfa}, false},
		{"better than what nobody knows", "better", []string{x509}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, err := checked(t, registered(), ourselves(), func(r *samltest.Request) {
				r.Comparison, r.AuthnContexts = test.comparison, test.classes
			})
			if !test.want {
				e := refused(t, err, saml.NoAuthnContext)
				if e.Status.Code != saml.StatusResponder || e.Status.SubCode != saml.StatusNoAuthnContext || !e.Sendable() {
					t.Errorf("%+v", e)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			wish := saml.Comparison(test.comparison)
			if wish == "" && test.classes != nil {
				wish = saml.Exact
			}
			if diff := cmp.Diff(saml.RequestedAuthnContext{Comparison: wish, Classes: test.classes}, d.Request.RequestedAuthnContext); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("declaration", func(t *testing.T) {
		_, err := checked(t, registered(), ourselves(), func(r *samltest.Request) {
			r.Children = `<samlp:RequestedAuthnContext><saml:AuthnContextDeclRef xmlns:saml="` + saml.NSAssertion + `">urn:decl</saml:AuthnContextDeclRef></samlp:RequestedAuthnContext>`
		})
		refused(t, err, saml.NoAuthnContext)
	})
}

// TestTolerated: what the identity provider may pass over changes nothing (saml-core §3.4.1, §3.4.1.2).
func TestTolerated(t *testing.T) {
	const assertion = `xmlns:saml="` + saml.NSAssertion + `"`
	plain, err := checked(t, registered(), ourselves(), func(r *samltest.Request) { r.ID = "_q1" })
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*samltest.Request){
		"Conditions": func(r *samltest.Request) {
			r.Children = `<saml:Conditions ` + assertion + ` NotBefore="2020-01-01T00:00:00Z" NotOnOrAfter="2020-01-02T00:00:00Z"><saml:AudienceRestriction><saml:Audience>urn:x</saml:Audience></saml:AudienceRestriction></saml:Conditions>`
		},
		"Scoping": func(r *samltest.Request) {
			r.Children = `<samlp:Scoping ProxyCount="0"><samlp:IDPList><samlp:IDPEntry ProviderID="https://other.example/"/></samlp:IDPList><samlp:RequesterID>urn:x</samlp:RequesterID></samlp:Scoping>`
		},
		"Extensions": func(r *samltest.Request) {
			r.Children = `<samlp:Extensions><x xmlns="urn:x:y">z</x></samlp:Extensions>`
		},
		"Consent and ProviderName": func(r *samltest.Request) { r.Attributes = ` Consent="urn:oasis:names:tc:SAML:2.0:consent:obtained"` },
	} {
		t.Run(name, func(t *testing.T) {
			d, err := checked(t, registered(), ourselves(), func(r *samltest.Request) { r.ID = "_q1"; change(r) })
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(plain, d); diff != "" {
				t.Error(diff)
			}
		})
	}
	for name, children := range map[string]string{
		"two Scopings":   `<samlp:Scoping/><samlp:Scoping/>`,
		"two Conditions": `<saml:Conditions ` + assertion + `/><saml:Conditions ` + assertion + `/>`,
		"two Subjects":   `<saml:Subject ` + assertion + `/><saml:Subject ` + assertion + `/>`,
		"two Extensions": `<samlp:Extensions/><samlp:Extensions/>`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := checked(t, registered(), ourselves(), func(r *samltest.Request) { r.Children = children })
			refused(t, err, saml.Malformed)
		})
	}
}

// TestChooseACS: several addresses that differ in little.
func TestChooseACS(t *testing.T) {
	const base = "https://sp.example.com/acs"
	sp := registered()
	sp.ACS = []saml.Endpoint{
		{URL: base + "?a=1&b=2", Index: 0},
		{URL: base + "?b=2&a=1", Index: 1, Default: true},
		{URL: base, Index: 2},
		{URL: base + "?next=%2Fhome%3Fx%3D1", Index: 7},
		{URL: base + "?a=1&b=2", Index: 9}, // the same address under another index
		{URL: "https://SP.example.com/acs", Index: 10},
	}
	for _, test := range []struct {
		name, url, index string
		want             string // "" means that it is refused
	}{
		{"none", "", "", base + "?b=2&a=1"},
		{"with query", base + "?a=1&b=2", "", base + "?a=1&b=2"},
		{"query in the other order", base + "?b=2&a=1", "", base + "?b=2&a=1"},
		{"without query", base, "", base},
		{"encoded query", base + "?next=%2Fhome%3Fx%3D1", "", base + "?next=%2Fhome%3Fx%3D1"},
		{"index", "", "7", base + "?next=%2Fhome%3Fx%3D1"},
		{"index 0", "", "0", base + "?a=1&b=2"},
		{"index with space", "", " 2 ", base},
		{"index and URL", base + "?a=1&b=2", "9", base + "?a=1&b=2"},
		{"index and URL that differ", base, "9", ""},
		{"index not registered", "", "3", ""},
		{"empty query", base + "?", "", ""},
		{"part of the query", base + "?a=1", "", ""},
		{"more query", base + "?a=1&b=2&c=3", "", ""},
		{"other encoding of the same", base + "?next=%2fhome%3fx%3d1", "", ""},
		{"decoded", base + "?next=/home?x=1", "", ""},
		{"host in other case", "https://sp.EXAMPLE.com/acs", "", ""},
		{"host in the case registered", "https://SP.example.com/acs", "", "https://SP.example.com/acs"},
		{"port named", "https://sp.example.com:443/acs", "", ""},
		{"slash", base + "/", "", ""},
		{"dots", "https://sp.example.com/x/../acs", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, err := checked(t, sp, ourselves(), func(r *samltest.Request) { r.ACSURL, r.ACSIndex = test.url, test.index })
			if test.want == "" {
				if e := refused(t, err, saml.UnregisteredACS); e.Sendable() {
					t.Error("there is an address to answer at")
				}
				return
			}
			if err != nil || d.Reply.ACS.URL != test.want {
				t.Errorf("%q, %v", d.Reply.ACS.URL, err)
			}
		})
	}
}

// TestSkew: the difference of the clocks is a parameter, and an exact one.
func TestSkew(t *testing.T) {
	for _, test := range []struct {
		name         string
		skew, maxAge time.Duration
		at           time.Duration // of the request, from now
		want         saml.Reason
	}{
		{"default, ahead", 0, 0, 3 * time.Minute, ""},
		{"default, too far ahead", 0, 0, 3*time.Minute + time.Second, saml.FromTheFuture},
		{"default, old", 0, 0, -13 * time.Minute, ""},
		{"default, too old", 0, 0, -13*time.Minute - time.Second, saml.Stale},
		{"a second, ahead", time.Second, 0, time.Second, ""},
		{"a second, too far ahead", time.Second, 0, 2 * time.Second, saml.FromTheFuture},
		{"a second and a minute, old", time.Second, time.Minute, -61 * time.Second, ""},
		{"a second and a minute, too old", time.Second, time.Minute, -62 * time.Second, saml.Stale},
		{"an hour", time.Hour, time.Hour, 59 * time.Minute, ""},
		{"an hour, old", time.Hour, time.Hour, -2 * time.Hour, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			idp := ourselves()
			idp.Skew, idp.MaxAge = test.skew, test.maxAge
			_, err := checked(t, registered(), idp, func(r *samltest.Request) { r.IssueInstant = noon.Add(test.at) })
			if test.want != "" {
				refused(t, err, test.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSignatureIsNeverPassedOver: with a key at hand, a signature that does not hold is refused whatever the service
// provider's settings are, by each binding and for each way of being wrong; and the application is never told, for nobody
// knows who sent it.
func TestSignatureIsNeverPassedOver(t *testing.T) {
	fake, evil := atlassian(), atlassian()
	evil.KeyPair = samltest.Other()
	weak := atlassian()
	weak.Hash = crypto.SHA1
	xml := fake.Request(ssoURL, noon).XML()
	changed := func(s, from, to string) string {
		out := strings.Replace(s, from, to, 1)
		if out == s {
			t.Fatalf("%q changes nothing", from)
		}
		return out
	}
	for name, in := range map[string]saml.Incoming{
		"redirect, another's key":     readRedirect(t, evil.SignedRedirectQuery(xml, "r")),
		"redirect, SHA-1":             readRedirect(t, weak.SignedRedirectQuery(xml, "r")),
		"redirect, RelayState added":  readRedirect(t, fake.SignedRedirectQuery(xml, "")+"&RelayState=x"),
		"redirect, unknown algorithm": readRedirect(t, changed(fake.SignedRedirectQuery(xml, "r"), "rsa-sha256", "rsa-md5")),
		"post, another's key":         readPost(t, samltest.PostBody(evil.Sign(xml), "r")),
		"post, SHA-1":                 readPost(t, samltest.PostBody(weak.Sign(xml), "r")),
		"post, changed":               readPost(t, samltest.PostBody(changed(fake.Sign(xml), ` ID="_`, ` IsPassive="true" ID="_`), "r")),
		"post, empty signature":       readPost(t, samltest.PostBody(changed(xml, "</saml:Issuer>", `</saml:Issuer><ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"/>`), "r")),
		"post, signature elsewhere": readPost(t, samltest.PostBody(changed(xml, "</samlp:AuthnRequest>",
			`<samlp:Extensions><ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"/></samlp:Extensions></samlp:AuthnRequest>`), "r")),
	} {
		for _, required := range []bool{false, true} {
			sp := signing()
			sp.RequireSignedRequests = required
			_, err := saml.Check(in, sp, ourselves(), noon)
			if e := refused(t, err, saml.SignatureInvalid); e.Sendable() {
				t.Errorf("%s: would be answered", name)
			}
		}
	}
}
