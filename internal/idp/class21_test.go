package idp_test

import (
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/idp"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

// signed demands signed requests of h's application, by a key that is registered for it alone.
func (h *house) signed(pair samltest.KeyPair) *house {
	h.t.Helper()
	h.sp.KeyPair = pair
	h.settings(func(s *app.SAMLSettings) {
		s.RequireSignedRequests, s.SPCertificates = true, []string{certPEM(pair.Cert)}
	})
	return h
}

// ways brings a signed request to an endpoint by each binding, and follows to the end.
var ways = map[string]func(b *browser, by *samltest.SP, path, xml string) *httptest.ResponseRecorder{
	"Redirect": func(b *browser, by *samltest.SP, path, xml string) *httptest.ResponseRecorder {
		return b.get(path + "?" + by.SignedRedirectQuery(xml, ""))
	},
	"POST": func(b *browser, by *samltest.SP, path, xml string) *httptest.ResponseRecorder {
		w := b.post(path, samltest.PostBody(by.Sign(xml), ""))
		if to := w.Header().Get("Location"); strings.HasPrefix(to, idp.ResumePath) {
			return b.get(to)
		}
		return w
	},
}

// Class 21: a validator that takes any key it knows. The keys are those of the application at whose address a message
// arrives and whose issuer it names; a key that is registered for one application verifies nothing of another.
func TestClass21_KeysAreChosenByIssuer(t *testing.T) {
	home := newHouse(t, storetest.SQLite(t))
	wiki := home.custom("Wiki", "https://wiki.example/sp").signed(samltest.Other())
	shop := home.custom("Shop", "https://shop.example/sp").signed(samltest.IdPNext())
	b := home.browser().signIn(home.person("ann", home.everyone))
	for way, bring := range ways {
		for name, h := range map[string]*house{"Wiki": wiki, "Shop": shop} {
			id, xml := h.request()
			if got, err := h.tryReceive(bring(b, h.sp, h.ssoPath(), xml), id); err != nil || got.NameID == "" {
				t.Fatalf("%s by %s with its own key: %v", name, way, err)
			}
		}
		for name, c := range map[string]struct {
			issuer, signer, at *house
			reason             string
		}{
			"the issuer's endpoint, another application's key":          {wiki, shop, wiki, "signature_invalid"},
			"the other's endpoint, with the other's key":                {wiki, shop, shop, "unknown_issuer"},
			"the other's endpoint, with its own key":                    {wiki, wiki, shop, "unknown_issuer"},
			"the other way round":                                       {shop, wiki, shop, "signature_invalid"},
			"an application that has no key, with another's":            {home, wiki, wiki, "unknown_issuer"},
			"the endpoint of an application that has no key, signed so": {wiki, wiki, home, "unknown_issuer"},
		} {
			_, xml := c.issuer.request(func(r *samltest.Request) { r.Destination = publicURL + c.at.ssoPath() })
			w := bring(b, c.signer.sp, c.at.ssoPath(), xml)
			if w.Code != http.StatusBadRequest || strings.Contains(w.Body.String(), "SAMLResponse") {
				t.Errorf("%s, by %s: %d %s", name, way, w.Code, text(w.Body.String()))
			}
			if got := home.lastEvent().Detail["error"]; got != c.reason {
				t.Errorf("%s, by %s: %v, want %s", name, way, got, c.reason)
			}
		}
		// Our own signing keys, and the certificate that comes with the message, are no keys of service providers.
		for name, pair := range map[string]samltest.KeyPair{"Latchkey's own": {Key: first(oneKey()), Cert: home.certificate()}, "a stranger's": samltest.IdP()} {
			_, xml := wiki.request()
			by := *wiki.sp
			by.KeyPair = pair
			if w := bring(b, &by, wiki.ssoPath(), xml); w.Code != http.StatusBadRequest || home.lastEvent().Detail["error"] != "signature_invalid" {
				t.Errorf("%s key, by %s: %d", name, way, w.Code)
			}
		}
	}
}

func first[T any](v T, _ error) T { return v }

// One service provider may be registered twice, under the same entity ID: each registration has keys of its own.
func TestClass21_TheSameIssuerTwice(t *testing.T) {
	const entity = "https://wiki.example/sp"
	home := newHouse(t, storetest.SQLite(t))
	one := home.custom("Wiki, staff", entity).signed(samltest.Other())
	two := home.custom("Wiki, guests", entity).signed(samltest.IdPNext())
	b := home.browser().signIn(home.person("ann", home.everyone))
	for way, bring := range ways {
		for name, h := range map[string]*house{"staff": one, "guests": two} {
			id, xml := h.request()
			if _, err := h.tryReceive(bring(b, h.sp, h.ssoPath(), xml), id); err != nil {
				t.Errorf("%s by %s: %v", name, way, err)
			}
		}
		for name, c := range map[string]struct{ signer, at *house }{"staff's key for guests": {one, two}, "guests' key for staff": {two, one}} {
			_, xml := c.at.request()
			if w := bring(b, c.signer.sp, c.at.ssoPath(), xml); w.Code != http.StatusBadRequest || home.lastEvent().Detail["error"] != "signature_invalid" {
				t.Errorf("%s by %s: %d %v", name, way, w.Code, home.lastEvent().Detail)
			}
		}
		// A request that was signed for one isn't taken by the other either: Destination is signed too.
		_, xml := one.request()
		by := *one.sp
		two.settings(func(s *app.SAMLSettings) { s.SPCertificates = []string{certPEM(one.sp.Cert)} })
		if w := bring(b, &by, two.ssoPath(), xml); w.Code != http.StatusBadRequest || home.lastEvent().Detail["error"] != "wrong_destination" {
			t.Errorf("sent on, by %s: %d %v", way, w.Code, home.lastEvent().Detail)
		}
		two.signed(two.sp.KeyPair)
	}
	// And each is answered with its own certificate.
	certificates := map[string]bool{}
	for _, h := range []*house{one, two} {
		c := h.certificate()
		certificates[string(c.Raw)] = true
		id, xml := h.request()
		got := h.receive(ways["Redirect"](b, h.sp, h.ssoPath(), xml), id)
		for _, other := range []*x509.Certificate{one.certificate(), two.certificate()} {
			if !other.Equal(c) && strings.Contains(string(got.xml), base64.StdEncoding.EncodeToString(other.Raw)) {
				t.Error("an answer names another application's certificate")
			}
		}
	}
	if len(certificates) != 2 {
		t.Error("two applications share a certificate")
	}
}
