package saml_test

import (
	"crypto"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
)

func atlassian() *samltest.SP { return samltest.NewSP(spEntityID, spACS) }

// registered is what we know of the service provider in these tests: two POST endpoints, and one of a binding that we
// don't answer by.
func registered() saml.ServiceProvider {
	return saml.ServiceProvider{
		EntityID: spEntityID,
		ACS: []saml.Endpoint{
			{Binding: "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Artifact", URL: "https://auth.atlassian.com/artifact", Index: 0, Default: true},
			{URL: "https://auth.atlassian.com/other", Index: 3},
			{Binding: saml.BindingHTTPPost, URL: spACS, Index: 1, Default: true},
		},
		NameIDFormats: []string{saml.NameIDEmailAddress, saml.NameIDPersistent},
	}
}

func ourselves() saml.IdentityProvider {
	return saml.IdentityProvider{
		Endpoints:     []string{ssoURL, "https://login.example.com/saml2/old-slug"},
		AuthnContexts: []string{saml.AuthnContextPassword, saml.AuthnContextPasswordProtectedTransport, saml.AuthnContextREFEDSMFA},
	}
}

func readRedirect(t testing.TB, query string) saml.Incoming {
	t.Helper()
	in, err := saml.ReadRedirect(query)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func readPost(t testing.TB, body string) saml.Incoming {
	t.Helper()
	in, err := saml.ReadPost([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// refused asserts that err is an *Error of this reason.
func refused(t testing.TB, err error, want saml.Reason) *saml.Error {
	t.Helper()
	var e *saml.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v (%T), want an *Error with reason %s", err, err, want)
	}
	if e.Reason != want {
		t.Fatalf("refused for %q (%v), want %q", e.Reason, e, want)
	}
	if e.Text == "" {
		t.Error("the person is told nothing")
	}
	return e
}

func TestCheck(t *testing.T) {
	keys := []crypto.PublicKey{atlassian().Cert.PublicKey}
	for _, test := range []struct {
		name    string
		request func(*samltest.Request)
		sp      func(*saml.ServiceProvider)
		idp     func(*saml.IdentityProvider)

		acs    string      // the endpoint chosen; "" means spACS
		format string      // the NameID format chosen; "" means emailAddress
		want   saml.Reason // "": it is granted
		status saml.Status // non-zero: the error may be sent, with this status
	}{
		{name: "as Atlassian sends it"},
		{name: "bare: no ACS, no Destination, no binding", request: func(r *samltest.Request) { r.ACSURL, r.Destination, r.ProtocolBinding = "", "", "" }},
		{name: "ACS by another registered URL", request: func(r *samltest.Request) { r.ACSURL = "https://auth.atlassian.com/other" }, acs: "https://auth.atlassian.com/other"},
		{name: "ACS by index", request: func(r *samltest.Request) { r.ACSURL, r.ProtocolBinding, r.ACSIndex = "", "", "3" }, acs: "https://auth.atlassian.com/other"},
		{name: "ACS by index and URL that agree", request: func(r *samltest.Request) { r.ACSIndex = "1" }},
		{name: "ACS by index and URL that differ", request: func(r *samltest.Request) { r.ACSIndex = "3" }, want: saml.UnregisteredACS},
		{name: "ACS by unknown index", request: func(r *samltest.Request) { r.ACSURL, r.ACSIndex = "", "7" }, want: saml.UnregisteredACS},
		{name: "ACS by index of another binding", request: func(r *samltest.Request) { r.ACSURL, r.ACSIndex = "", "0" }, want: saml.UnregisteredACS},
		{name: "ACS by URL of another binding", request: func(r *samltest.Request) { r.ACSURL = "https://auth.atlassian.com/artifact" }, want: saml.UnregisteredACS},
		{name: "ACS without its query", request: func(r *samltest.Request) { r.ACSURL, _, _ = strings.Cut(spACS, "?") }, want: saml.UnregisteredACS},
		{name: "ACS with other case", request: func(r *samltest.Request) { r.ACSURL = strings.ToUpper(spACS) }, want: saml.UnregisteredACS},
		{name: "no ACS registered", sp: func(sp *saml.ServiceProvider) { sp.ACS = sp.ACS[:1] }, want: saml.NoACS},
		{name: "first ACS when none is marked", sp: func(sp *saml.ServiceProvider) { sp.ACS[2].Default = false }, request: func(r *samltest.Request) { r.ACSURL = "" }, acs: "https://auth.atlassian.com/other"},

		{name: "unknown issuer", request: func(r *samltest.Request) { r.Issuer = "https://evil.example/" }, want: saml.UnknownIssuer},
		{name: "issuer with other case", request: func(r *samltest.Request) { r.Issuer = strings.ToUpper(spEntityID) }, want: saml.UnknownIssuer},
		{name: "our other endpoint", request: func(r *samltest.Request) { r.Destination = "https://login.example.com/saml2/old-slug" }},
		{name: "wrong Destination", request: func(r *samltest.Request) { r.Destination = "https://login.example.com/saml2/other" }, want: saml.WrongDestination},
		{name: "Destination is a prefix", request: func(r *samltest.Request) { r.Destination = ssoURL + "/" }, want: saml.WrongDestination},
		{name: "no endpoint of ours", idp: func(idp *saml.IdentityProvider) { idp.Endpoints = nil }, want: saml.WrongDestination},

		{name: "slow clock, within the skew", request: func(r *samltest.Request) { r.IssueInstant = noon.Add(-13 * time.Minute) }},
		{name: "fast clock, within the skew", request: func(r *samltest.Request) { r.IssueInstant = noon.Add(3 * time.Minute) }},
		{name: "too old", request: func(r *samltest.Request) { r.IssueInstant = noon.Add(-13*time.Minute - time.Second) }, want: saml.Stale},
		{name: "from the future", request: func(r *samltest.Request) { r.IssueInstant = noon.Add(3*time.Minute + time.Second) }, want: saml.FromTheFuture},
		{name: "own limits", idp: func(idp *saml.IdentityProvider) { idp.Skew, idp.MaxAge = time.Second, time.Second }, request: func(r *samltest.Request) { r.IssueInstant = noon.Add(-3 * time.Second) }, want: saml.Stale},

		{name: "format of the second rank", request: func(r *samltest.Request) { r.NameIDFormat = saml.NameIDPersistent }, format: saml.NameIDPersistent},
		{name: "format unspecified", request: func(r *samltest.Request) { r.NameIDFormat = saml.NameIDUnspecified }},
		{name: "format not served", request: func(r *samltest.Request) { r.NameIDFormat = saml.NameIDTransient }, want: saml.UnsupportedNameID, status: saml.Status{Code: saml.StatusRequester, SubCode: saml.StatusInvalidNameIDPolicy}},
		{name: "format encrypted", sp: func(sp *saml.ServiceProvider) { sp.NameIDFormats = append(sp.NameIDFormats, saml.NameIDEncrypted) }, request: func(r *samltest.Request) { r.NameIDFormat = saml.NameIDEncrypted }, want: saml.UnsupportedNameID, status: saml.Status{Code: saml.StatusRequester, SubCode: saml.StatusInvalidNameIDPolicy}},
		{name: "no formats set up", sp: func(sp *saml.ServiceProvider) { sp.NameIDFormats = nil }, format: saml.NameIDUnspecified},
		{name: "no formats set up, e-mail asked", sp: func(sp *saml.ServiceProvider) { sp.NameIDFormats = nil }, request: func(r *samltest.Request) { r.NameIDFormat = saml.NameIDEmailAddress }},
		{name: "own SPNameQualifier", request: func(r *samltest.Request) {
			r.Children = `<samlp:NameIDPolicy SPNameQualifier="` + spEntityID + `"/>`
		}},
		{name: "another's SPNameQualifier", request: func(r *samltest.Request) {
			r.Children = `<samlp:NameIDPolicy SPNameQualifier="https://other.example/"/>`
		}, want: saml.UnsupportedNameID, status: saml.Status{Code: saml.StatusRequester, SubCode: saml.StatusInvalidNameIDPolicy}},

		{name: "artifact asked for", request: func(r *samltest.Request) {
			r.ProtocolBinding = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Artifact"
		}, want: saml.UnsupportedBinding, status: saml.Status{Code: saml.StatusRequester, SubCode: saml.StatusUnsupportedBinding}},
		{name: "SAML 1.1", request: func(r *samltest.Request) { r.Attributes = ` Version="1.1"` }, want: saml.UnsupportedVersion, status: saml.Status{Code: saml.StatusVersionMismatch}},
		{name: "password context", request: func(r *samltest.Request) {
			r.AuthnContexts = []string{saml.AuthnContextPasswordProtectedTransport}
		}},
		{name: "unreachable context", request: func(r *samltest.Request) { r.AuthnContexts = []string{"urn:oasis:names:tc:SAML:2.0:ac:classes:X509"} }, want: saml.NoAuthnContext, status: saml.Status{Code: saml.StatusResponder, SubCode: saml.StatusNoAuthnContext}},
		{name: "nothing better", request: func(r *samltest.Request) {
			r.AuthnContexts, r.Comparison = []string{saml.AuthnContextREFEDSMFA}, "better"
		}, want: saml.NoAuthnContext, status: saml.Status{Code: saml.StatusResponder, SubCode: saml.StatusNoAuthnContext}},
		{name: "contexts not judged", idp: func(idp *saml.IdentityProvider) { idp.AuthnContexts = nil }, request: func(r *samltest.Request) { r.AuthnContexts = []string{"urn:x"} }},
		{name: "subject without name", request: func(r *samltest.Request) {
			r.Children = `<saml:Subject xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion"><saml:EncryptedID/></saml:Subject>`
		}, want: saml.UnsupportedSubject, status: saml.Status{Code: saml.StatusRequester, SubCode: saml.StatusRequestUnsupported}},
	} {
		// Each request goes three ways. The ways differ in what authenticates it, not in the outcome.
		for way, send := range map[string]func(*samltest.SP, string) saml.Incoming{
			"redirect": func(_ *samltest.SP, xml string) saml.Incoming {
				return readRedirect(t, samltest.RedirectQuery(xml, "relay"))
			},
			"post": func(_ *samltest.SP, xml string) saml.Incoming {
				return readPost(t, samltest.PostBody(xml, "relay"))
			},
			"signed post": func(sp *samltest.SP, xml string) saml.Incoming {
				return readPost(t, samltest.PostBody(sp.Sign(xml), "relay"))
			},
		} {
			t.Run(test.name+"/"+way, func(t *testing.T) {
				fake, sp, idp := atlassian(), registered(), ourselves()
				req := fake.Request(ssoURL, noon)
				if test.request != nil {
					test.request(&req)
				}
				if test.sp != nil {
					test.sp(&sp)
				}
				if test.idp != nil {
					test.idp(&idp)
				}
				if way == "signed post" {
					sp.Keys, sp.RequireSignedRequests = keys, true
					if req.Destination == "" {
						req.Destination = ssoURL // a signed message needs it; see TestCheckSigned
					}
				}
				d, err := saml.Check(send(fake, req.XML()), sp, idp, noon)
				if test.want != "" {
					e := refused(t, err, test.want)
					if e.Sendable() != (test.status != saml.Status{}) {
						t.Fatalf("sendable: %t", e.Sendable())
					}
					if e.Sendable() {
						e.Status.Message = ""
						if diff := cmp.Diff(test.status, e.Status); diff != "" {
							t.Error(diff)
						}
						if e.Reply.InResponseTo != req.ID || e.Reply.RelayState != "relay" || e.Reply.ACS.URL != spACS {
							t.Errorf("reply %+v", e.Reply)
						}
					}
					if diff := cmp.Diff(saml.Decision{}, d); diff != "" {
						t.Errorf("a decision beside the error: %s", diff)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				acs, format := test.acs, test.format
				if acs == "" {
					acs = spACS
				}
				if format == "" {
					format = saml.NameIDEmailAddress
				}
				if d.Reply.ACS.URL != acs || d.NameIDFormat != format || d.Signed != (way == "signed post") ||
					d.Reply.InResponseTo != req.ID || d.Reply.RelayState != "relay" {
					t.Errorf("decision %+v", d)
				}
			})
		}
	}
}

// TestCheckSigned: who signs how, and what we make of it.
func TestCheckSigned(t *testing.T) {
	fake, other := atlassian(), atlassian()
	other.KeyPair = samltest.Other()
	known := []crypto.PublicKey{samltest.IdPNext().Cert.PublicKey, fake.Cert.PublicKey}
	xml := fake.Request(ssoURL, noon).XML()
	nowhere := fake.Request("", noon).XML()
	for _, test := range []struct {
		name     string
		in       func() saml.Incoming
		keys     []crypto.PublicKey
		required bool
		want     saml.Reason
		signed   bool
	}{
		{"redirect, signed", func() saml.Incoming { return readRedirect(t, fake.SignedRedirectQuery(xml, "r")) }, known, false, "", true},
		{"redirect, signed, no RelayState", func() saml.Incoming { return readRedirect(t, fake.SignedRedirectQuery(xml, "")) }, known, true, "", true},
		{"redirect, signed by another", func() saml.Incoming { return readRedirect(t, other.SignedRedirectQuery(xml, "r")) }, known, false, saml.SignatureInvalid, false},
		{"redirect, unsigned, optional", func() saml.Incoming { return readRedirect(t, samltest.RedirectQuery(xml, "r")) }, known, false, "", false},
		{"redirect, unsigned, required", func() saml.Incoming { return readRedirect(t, samltest.RedirectQuery(xml, "r")) }, known, true, saml.SignatureMissing, false},
		{"redirect, signed, no key known", func() saml.Incoming { return readRedirect(t, fake.SignedRedirectQuery(xml, "r")) }, nil, false, "", false},
		{"redirect, signed, no key known, required", func() saml.Incoming { return readRedirect(t, fake.SignedRedirectQuery(xml, "r")) }, nil, true, saml.SignatureInvalid, false},
		{"redirect, signed, no Destination", func() saml.Incoming { return readRedirect(t, fake.SignedRedirectQuery(nowhere, "r")) }, known, false, saml.WrongDestination, false},
		{"redirect, XML signature inside", func() saml.Incoming { return readRedirect(t, samltest.RedirectQuery(fake.Sign(xml), "r")) }, known, false, saml.Malformed, false},
		{"post, signed", func() saml.Incoming { return readPost(t, samltest.PostBody(fake.Sign(xml), "r")) }, known, true, "", true},
		{"post, signed by another", func() saml.Incoming { return readPost(t, samltest.PostBody(other.Sign(xml), "r")) }, known, false, saml.SignatureInvalid, false},
		{"post, unsigned, required", func() saml.Incoming { return readPost(t, samltest.PostBody(xml, "r")) }, known, true, saml.SignatureMissing, false},
		{"post, unsigned, required, no key known", func() saml.Incoming { return readPost(t, samltest.PostBody(xml, "r")) }, nil, true, saml.SignatureMissing, false},
		{"post, signed, no key known", func() saml.Incoming { return readPost(t, samltest.PostBody(fake.Sign(xml), "r")) }, nil, false, "", false},
		{"post, signed, no Destination", func() saml.Incoming { return readPost(t, samltest.PostBody(fake.Sign(nowhere), "r")) }, known, false, saml.WrongDestination, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			sp := registered()
			sp.Keys, sp.RequireSignedRequests = test.keys, test.required
			d, err := saml.Check(test.in(), sp, ourselves(), noon)
			if test.want != "" {
				if e := refused(t, err, test.want); e.Sendable() {
					t.Error("an untrusted request would be answered")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d.Signed != test.signed {
				t.Errorf("signed: %t", d.Signed)
			}
		})
	}
}

func TestCheckNothing(t *testing.T) {
	_, err := saml.Check(saml.Incoming{}, saml.ServiceProvider{}, ourselves(), noon)
	refused(t, err, saml.Malformed)
}

// TestAuthnRequest reads all parts that we know.
func TestAuthnRequest(t *testing.T) {
	xml := `<?xml version="1.0" encoding="UTF-8"?>
<!-- a comment between elements is harmless -->
<p:AuthnRequest xmlns:p="urn:oasis:names:tc:SAML:2.0:protocol" ID="_q1" Version="2.0" IssueInstant="2026-03-14T13:00:00.123456+01:00"
  Destination="` + ssoURL + `" ForceAuthn=" 1 " IsPassive="true" AttributeConsumingServiceIndex="2" ProviderName="R&amp;D&#x20;&quot;App&quot;" AssertionConsumerServiceIndex="1" Consent="urn:x" vendor="y">
  <Issuer xmlns="urn:oasis:names:tc:SAML:2.0:assertion" Format="urn:oasis:names:tc:SAML:2.0:nameid-format:entity">
    ` + spEntityID + `
  </Issuer>
  <p:Extensions><x:y xmlns:x="urn:example:x"><x:z>mixed <x:b>content</x:b></x:z></x:y></p:Extensions>
  <a:Subject xmlns:a="urn:oasis:names:tc:SAML:2.0:assertion"><a:NameID Format="` + saml.NameIDEmailAddress + `">ada<![CDATA[@]]>example.com</a:NameID></a:Subject>
  <p:NameIDPolicy Format="` + saml.NameIDEmailAddress + `" AllowCreate="true"/>
  <p:RequestedAuthnContext Comparison="minimum"><a:AuthnContextClassRef xmlns:a="urn:oasis:names:tc:SAML:2.0:assertion">` + saml.AuthnContextPassword + `</a:AuthnContextClassRef></p:RequestedAuthnContext>
  <p:Scoping ProxyCount="0"/>
</p:AuthnRequest>`
	d, err := saml.Check(readPost(t, samltest.PostBody(xml, "")), registered(), ourselves(), noon)
	if err != nil {
		t.Fatal(err)
	}
	want := saml.AuthnRequest{
		ID: "_q1", IssueInstant: noon.Add(123456 * time.Microsecond), Destination: ssoURL, Issuer: spEntityID,
		HasACSIndex: true, ACSIndex: 1, HasNameIDPolicy: true,
		NameIDPolicy: saml.NameIDPolicy{Format: saml.NameIDEmailAddress, AllowCreate: true},
		ForceAuthn:   true, IsPassive: true, HasSubject: true,
		Subject:               saml.NameID{Value: "ada@example.com", Format: saml.NameIDEmailAddress},
		RequestedAuthnContext: saml.RequestedAuthnContext{Comparison: saml.Minimum, Classes: []string{saml.AuthnContextPassword}},
		HasAttributeIndex:     true, AttributeIndex: 2, ProviderName: `R&D "App"`,
	}
	if diff := cmp.Diff(want, d.Request); diff != "" {
		t.Error(diff)
	}
}

func TestAuthnRequestMalformed(t *testing.T) {
	good := atlassian().Request(ssoURL, noon)
	for name, change := range map[string]func(string) string{
		"no ID":            func(x string) string { return strings.Replace(x, ` ID="`, ` Id="`, 1) },
		"ID is a number":   func(x string) string { return strings.Replace(x, ` ID="_`, ` ID="9`, 1) },
		"ID with markup":   func(x string) string { return strings.Replace(x, ` ID="_`, ` ID="&lt;`, 1) },
		"long ID":          func(x string) string { return strings.Replace(x, ` ID="_`, ` ID="_`+strings.Repeat("a", 300), 1) },
		"no IssueInstant":  func(x string) string { return strings.Replace(x, ` IssueInstant="`, ` x="`, 1) },
		"bad IssueInstant": func(x string) string { return strings.Replace(x, `T12:00:00Z`, `T12:00:00`, 1) },
		"year zero":        func(x string) string { return strings.Replace(x, `2026-`, `0000-`, 1) },
		"two Issuers": func(x string) string {
			i := strings.Index(x, "<saml:Issuer")
			j := strings.Index(x, "</samlp")
			return x[:j] + x[i:j] + x[j:]
		},
		"no Issuer":    func(x string) string { return strings.ReplaceAll(x, "saml:Issuer", "saml:Audience") },
		"empty Issuer": func(x string) string { return strings.Replace(x, ">"+spEntityID+"<", "> <", 1) },
		"Issuer of persons": func(x string) string {
			return strings.Replace(x, "<saml:Issuer ", `<saml:Issuer Format="`+saml.NameIDPersistent+`" `, 1)
		},
		"unknown child":  func(x string) string { return strings.Replace(x, "</samlp", "<samlp:Oops/></samlp", 1) },
		"foreign child":  func(x string) string { return strings.Replace(x, "</samlp", `<x xmlns="urn:x:y"/></samlp`, 1) },
		"bad ForceAuthn": func(x string) string { return strings.Replace(x, ` ID=`, ` ForceAuthn="yes" ID=`, 1) },
		"bad IsPassive":  func(x string) string { return strings.Replace(x, ` ID=`, ` IsPassive="TRUE" ID=`, 1) },
		"bad ACS index":  func(x string) string { return strings.Replace(x, ` ID=`, ` AssertionConsumerServiceIndex="-1" ID=`, 1) },
		"huge ACS index": func(x string) string {
			return strings.Replace(x, ` ID=`, ` AssertionConsumerServiceIndex="65536" ID=`, 1)
		},
		"bad attr. index": func(x string) string { return strings.Replace(x, ` ID=`, ` AttributeConsumingServiceIndex="" ID=`, 1) },
		"bad AllowCreate": func(x string) string {
			return strings.Replace(x, "</samlp", `<samlp:NameIDPolicy AllowCreate="maybe"/></samlp`, 1)
		},
		"two policies": func(x string) string {
			return strings.Replace(x, "</samlp", `<samlp:NameIDPolicy/><samlp:NameIDPolicy/></samlp`, 1)
		},
		"empty context": func(x string) string {
			return strings.Replace(x, "</samlp", `<samlp:RequestedAuthnContext/></samlp`, 1)
		},
		"odd comparison": func(x string) string {
			return strings.Replace(x, "</samlp", `<samlp:RequestedAuthnContext Comparison="x"/></samlp`, 1)
		},
		"odd context child": func(x string) string {
			return strings.Replace(x, "</samlp", `<samlp:RequestedAuthnContext><samlp:X/></samlp:RequestedAuthnContext></samlp`, 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			xml := change(good.XML())
			if xml == good.XML() {
				t.Fatal("the case changes nothing")
			}
			in, err := saml.ReadPost([]byte(samltest.PostBody(xml, "")))
			if err == nil {
				_, err = saml.Check(in, registered(), ourselves(), noon)
			}
			if e := refused(t, err, saml.Malformed); e.Sendable() {
				t.Error("a malformed request would be answered")
			}
		})
	}
}

func TestRefuse(t *testing.T) {
	d, err := saml.Check(readRedirect(t, samltest.RedirectQuery(atlassian().Request(ssoURL, noon).XML(), "r")), registered(), ourselves(), noon)
	if err != nil {
		t.Fatal(err)
	}
	for reason, want := range map[saml.Reason]string{
		saml.PassiveImpossible: saml.StatusNoPassive, saml.AccessDenied: saml.StatusRequestDenied,
		saml.AuthenticationFails: saml.StatusAuthnFailed, saml.UnknownPrincipal: saml.StatusUnknownPrincipal,
		saml.NoAuthnContext: saml.StatusNoAuthnContext, "anything else": "",
	} {
		e := d.Refuse(reason, "Text.")
		if e.Status.Code != saml.StatusResponder || e.Status.SubCode != want || !e.Sendable() || e.Text != "Text." {
			t.Errorf("%s: %+v", reason, e)
		}
		if _, err := saml.AppendStatus(nil, &saml.StatusResponse{
			ID: saml.NewID(), IssueInstant: noon, Issuer: idpEntityID, Destination: e.Reply.ACS.URL, InResponseTo: e.Reply.InResponseTo, Status: e.Status,
		}, nil); err != nil {
			t.Error(err)
		}
	}
}

func TestChoose(t *testing.T) {
	const pw, ppt, mfa, x509 = saml.AuthnContextPassword, saml.AuthnContextPasswordProtectedTransport, saml.AuthnContextREFEDSMFA, "urn:x509"
	order := []string{pw, ppt, mfa}
	for _, test := range []struct {
		name       string
		comparison saml.Comparison
		classes    []string
		achieved   []string
		want       string
		ok         bool
	}{
		{"no wish", "", nil, []string{pw, ppt}, ppt, true},
		{"no wish, nothing known", "", nil, []string{"urn:odd"}, saml.AuthnContextUnspecified, true},
		{"unspecified", saml.Exact, []string{saml.AuthnContextUnspecified}, []string{ppt}, ppt, true},
		{"exact", saml.Exact, []string{ppt}, []string{pw, ppt, mfa}, ppt, true},
		{"exact, first wish first", saml.Exact, []string{mfa, ppt}, []string{pw, ppt, mfa}, mfa, true},
		{"exact, second wish", saml.Exact, []string{x509, ppt}, []string{pw, ppt}, ppt, true},
		{"exact, not met", saml.Exact, []string{mfa}, []string{pw, ppt}, "", false},
		{"exact, class without rank", saml.Exact, []string{x509}, []string{x509}, x509, true},
		{"minimum, literally", saml.Minimum, []string{ppt}, []string{pw, ppt, mfa}, ppt, true},
		{"minimum, stronger", saml.Minimum, []string{ppt}, []string{mfa}, mfa, true},
		{"minimum, weaker", saml.Minimum, []string{ppt}, []string{pw}, "", false},
		{"minimum, unknown wish", saml.Minimum, []string{x509}, []string{mfa}, "", false},
		{"maximum", saml.Maximum, []string{ppt}, []string{pw, mfa}, pw, true},
		{"maximum, too strong", saml.Maximum, []string{pw}, []string{mfa}, "", false},
		{"better", saml.Better, []string{pw, ppt}, []string{ppt, mfa}, mfa, true},
		{"better, same is not better", saml.Better, []string{ppt}, []string{ppt}, "", false},
		{"better than unspecified", saml.Better, []string{saml.AuthnContextUnspecified}, []string{ppt}, "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, ok := saml.RequestedAuthnContext{Comparison: test.comparison, Classes: test.classes}.Choose(order, test.achieved...)
			if got != test.want || ok != test.ok {
				t.Errorf("got %q %t, want %q %t", got, ok, test.want, test.ok)
			}
		})
	}
}

func TestCheckACS(t *testing.T) {
	for url, ok := range map[string]bool{
		spACS:                             true,
		"https://sp.example.com":          true,
		"https://sp.example.com:8443/a?b": true,
		"http://localhost:8080/acs":       true,
		"http://127.0.0.1/acs":            true,
		"http://127.8.9.1:1/acs":          true,
		"http://[::1]:9000/acs":           true,
		"http://sp.example.com/acs":       false,
		"http://localhost.evil.com/acs":   false,
		"http://127.0.0.1.evil.com/acs":   false,
		"http://10.0.0.1/acs":             false,
		"":                                false,
		"/acs":                            false,
		"//sp.example.com/acs":            false,
		"https:///acs":                    false,
		"https://:443/acs":                false,
		"https:opaque":                    false,
		"javascript:alert(1)":             false,
		"data:text/html,x":                false,
		"https://user@sp.example.com/acs": false,
		"https://sp.example.com/acs#frag": false,
		"https://sp.example.com/acs#":     false,
		"https://sp.example.com/a b":      false,
		"https://sp.example.com/a\nb":     false,
		"https://sp.example.com/\"><x>":   false,
		"https://sp.example.com\\@evil":   false,
		" https://sp.example.com/":        false,
		"https://sp.example.com/" + strings.Repeat("a", 2048): false,
	} {
		if err := saml.CheckACS(url); (err == nil) != ok {
			t.Errorf("%q: %v", url, err)
		}
	}
}

// TestDecisionIsPlain: a decision waits in the database while the person signs in.
func TestDecisionIsPlain(t *testing.T) {
	req := atlassian().Request(ssoURL, noon)
	req.NameIDFormat, req.AuthnContexts, req.ForceAuthn = saml.NameIDPersistent, []string{saml.AuthnContextPassword}, "true"
	want, err := saml.Check(readRedirect(t, samltest.RedirectQuery(req.XML(), "r")), registered(), ourselves(), noon)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got saml.Decision
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A certificate can't help where an application signs in a way that is never taken, so nobody is sent to compare it.
func TestRefusedAlgorithmIsNamed(t *testing.T) {
	signed := atlassian().Sign(atlassian().Request(ssoURL, noon).XML())
	for alg, want := range map[string]string{
		xmldsig.RSASHA1:   "(rsa-sha1)",
		xmldsig.RSASHA384: "certificate", // taken, but not what was signed with
	} {
		_, err := checkPost(strings.Replace(signed, xmldsig.RSASHA256, alg, 1))
		var e *saml.Error
		if !errors.As(err, &e) || e.Reason != saml.SignatureInvalid || !strings.Contains(e.Text, want) {
			t.Errorf("%s: %v", alg, err)
		}
	}
}
