package idp_test

import (
	"crypto"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
	"github.com/latchkey-idp/latchkey/internal/saml/xmlenc"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

// An application with a key for it is sent its assertions encrypted, whatever is signed; what is in them is the same.
func TestEncryptedAssertions(t *testing.T) {
	home := newHouse(t, storetest.SQLite(t))
	h := home.custom("Wiki", "https://wiki.example/sp")
	b := h.browser().signIn(h.person("ann", h.everyone))
	for _, algorithm := range append(xmlenc.Algorithms(), "") {
		for _, sign := range [][2]bool{{true, false}, {false, true}, {true, true}} {
			h.settings(func(s *app.SAMLSettings) {
				s.EncryptAssertions, s.EncryptionCertificate, s.EncryptionAlgorithm = true, certPEM(h.sp.Cert), algorithm
				s.SignAssertion, s.SignResponse = sign[0], sign[1]
			})
			h.sp.Encrypted = true
			got, err := h.ask(b)
			if err != nil || got.NameID != "ann@example.org" || got.AssertionSigned != sign[0] || got.ResponseSigned != sign[1] {
				t.Errorf("%s, %v: %+v, %v", algorithm, sign, got.Received, err)
			}
			for _, clear := range []string{"ann@example.org", "<saml:Assertion", "AuthnStatement"} {
				if strings.Contains(string(got.xml), clear) {
					t.Errorf("%s is in clear", clear)
				}
			}
		}
	}
	// To the next certificate as soon as it is registered, and to nobody else.
	other := samltest.Other()
	h.settings(func(s *app.SAMLSettings) { s.EncryptionCertificate = certPEM(other.Cert) })
	if got, err := h.ask(b); err == nil {
		t.Errorf("the former key reads %+v", got.Received)
	}
	h.sp.KeyPair = other
	if got, err := h.ask(b); err != nil || got.NameID != "ann@example.org" {
		t.Errorf("%+v, %v", got.Received, err)
	}
	h.settings(func(s *app.SAMLSettings) { s.EncryptAssertions = false })
	h.sp.Encrypted = false
	if got, err := h.ask(b); err != nil || !strings.Contains(string(got.xml), "<saml:Assertion") {
		t.Errorf("%v", err)
	}
}

// SHA-1 is for the one application that can't do better, in both directions; for all others it is refused.
func TestSHA1ByException(t *testing.T) {
	home := newHouse(t, storetest.SQLite(t))
	h := home.custom("Wiki", "https://wiki.example/sp").signed(samltest.Other())
	b := h.browser().signIn(h.person("ann", h.everyone))
	h.sp.Hash = crypto.SHA1
	for way, bring := range ways {
		_, xml := h.request()
		if w := bring(b, h.sp, h.ssoPath(), xml); w.Code != http.StatusBadRequest || h.lastEvent().Detail["error"] != "signature_invalid" {
			t.Errorf("%s: a request by SHA-1 is taken: %d", way, w.Code)
		}
	}
	h.settings(func(s *app.SAMLSettings) { s.AllowSHA1, s.SignatureAlgorithm = true, xmldsig.RSASHA1 })
	h.sp.AllowSHA1 = true
	for way, bring := range ways {
		id, xml := h.request()
		got, err := h.tryReceive(bring(b, h.sp, h.ssoPath(), xml), id)
		if err != nil || !strings.Contains(string(got.xml), xmldsig.RSASHA1) {
			t.Errorf("%s: %v", way, err)
		}
	}
	// The exception is this application's only.
	other := home.custom("Shop", "https://shop.example/sp").signed(samltest.Other())
	other.sp.Hash = crypto.SHA1
	_, xml := other.request()
	if w := ways["Redirect"](b, other.sp, other.ssoPath(), xml); w.Code != http.StatusBadRequest {
		t.Errorf("another application's request by SHA-1 is taken: %d", w.Code)
	}
}

// SessionNotOnOrAfter is there by setting, and is when our session ends at the latest.
func TestSessionNotOnOrAfter(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t))
	b := h.browser().signIn(h.person("ann", h.everyone))
	s, err := h.authn.Session(t.Context(), b.cookie)
	h.ok(err)
	h.clock.pass(time.Hour)
	if got := h.receive(b.get("/launch/"+string(h.jira.ID)), ""); strings.Contains(string(got.xml), "SessionNotOnOrAfter") {
		t.Error("it is sent although nobody asked for it")
	}
	h.settings(func(s *app.SAMLSettings) { s.SendSessionEnd = true })
	got := h.receive(b.get("/launch/"+string(h.jira.ID)), "")
	if want := `SessionNotOnOrAfter="` + s.ExpiresAt.UTC().Format("2006-01-02T15:04:05.000Z") + `"`; !strings.Contains(string(got.xml), want) {
		t.Errorf("no %s in %s", want, got.xml)
	}
}

// Class 9: ambiguity in a query. At both endpoints that take one, what two readers could understand differently is
// refused: names that are encoded, given twice, in another case; a signature covers the octets as they came.
func TestClass09_AmbiguousQueriesAreRefused(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t)).party("Wiki", "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect")
	h.signed(h.sp.KeyPair)
	b := h.browser().signIn(h.person("ann", h.everyone))
	of := h.signOnSigned(b)
	for name, change := range map[string]func(query string) string{
		"name encoded":           func(q string) string { return strings.Replace(q, "SAMLRequest", "%53AMLRequest", 1) },
		"another name encoded":   func(q string) string { return strings.Replace(q, "RelayState", "Relay%53tate", 1) },
		"SigAlg encoded":         func(q string) string { return strings.Replace(q, "SigAlg", "Sig%41lg", 1) },
		"plus in a name":         func(q string) string { return q + "&x+y=1" },
		"request twice":          func(q string) string { return q[:strings.Index(q, "&")] + "&" + q },
		"RelayState twice":       func(q string) string { return q + "&RelayState=other" },
		"signature twice":        func(q string) string { return q + q[strings.Index(q, "&Signature="):] },
		"another case":           func(q string) string { return strings.Replace(q, "SAMLRequest", "samlrequest", 1) },
		"both kinds":             func(q string) string { return q + "&SAMLResponse=x" },
		"other octets, same URL": func(q string) string { return strings.Replace(q, "SigAlg=http%3A", "SigAlg=http%3a", 1) },
		"algorithm left out": func(q string) string {
			i, j := strings.Index(q, "&SigAlg="), strings.Index(q, "&Signature=")
			return q[:i] + q[j:]
		},
		"semicolon": func(q string) string { return strings.Replace(q, "&RelayState", ";RelayState", 1) },
	} {
		_, request := h.request()
		_, logout := h.logoutRequest(of)
		for path, xml := range map[string]string{h.ssoPath(): request, h.sloPath(): logout} {
			query := h.sp.SignedRedirectQuery(xml, "state")
			changed := change(query)
			if changed == query {
				t.Fatalf("%s changes nothing", name)
			}
			w := b.get(path + "?" + changed)
			if w.Code != http.StatusBadRequest || w.Header().Get("Location") != "" || strings.Contains(w.Body.String(), "SAMLResponse") {
				t.Errorf("%s at %s: %d %s", name, path, w.Code, text(w.Body.String()))
			}
		}
	}
	if h.count(`SELECT count(*) FROM sessions`) != 1 {
		t.Error("somebody was signed out")
	}
}

// signOnSigned is signOn for an application that must sign its requests.
func (p *party) signOnSigned(b *browser) received {
	p.t.Helper()
	id, xml := p.request()
	return p.receive(b.get(p.ssoPath()+"?"+p.sp.SignedRedirectQuery(xml, "")), id)
}
