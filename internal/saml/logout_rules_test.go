package saml_test

import (
	"testing"

	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
)

// Whoever is not the service provider of this address has no signature looked at, and is told so: a message that was sent
// to the wrong address isn't a wrong certificate.
func TestLogoutIssuerComesBeforeTheSignature(t *testing.T) {
	fake, sp, idp := leaving()
	stranger := *fake
	stranger.KeyPair, stranger.EntityID = samltest.Other(), "https://other.example/"
	for kind, xml := range map[string]string{
		"LogoutRequest":  stranger.LogoutRequest(sloURL, somebody(), noon).XML(),
		"LogoutResponse": stranger.LogoutResponse(sloURL, "_ours", noon).XML(),
	} {
		for way, send := range ways(&stranger) {
			t.Run(kind+"/"+way, func(t *testing.T) {
				in, err := send(xml)
				if err != nil {
					t.Fatal(err)
				}
				_, err = logoutCheck(in, sp, idp)
				refused(t, err, saml.UnknownIssuer)
			})
		}
	}
}

// An endpoint is used only if both of its addresses may be sent to: the one for requests, too, where answers go elsewhere.
func TestLogoutEndpointHasTwoGoodAddresses(t *testing.T) {
	const good = "https://sp.example/slo"
	for _, bad := range []string{"javascript:alert(1)", "http://sp.example/slo", "https://user@sp.example/", "/slo", "https://sp.example/#x", " "} {
		for _, binding := range []string{"", saml.BindingHTTPRedirect, saml.BindingHTTPPost} {
			for _, e := range []saml.Endpoint{
				{Binding: binding, URL: bad}, {Binding: binding, URL: bad, ResponseLocation: good}, {Binding: binding, URL: good, ResponseLocation: bad},
			} {
				sp := saml.ServiceProvider{SLO: []saml.Endpoint{e}}
				if got, ok := sp.LogoutEndpoint(saml.BindingHTTPPost); ok {
					t.Errorf("%+v is used", got)
				}
				sp.SLO = append(sp.SLO, saml.Endpoint{Binding: saml.BindingHTTPRedirect, URL: good})
				if got, ok := sp.LogoutEndpoint(saml.BindingHTTPPost); !ok || got.URL != good || got.Binding != saml.BindingHTTPRedirect {
					t.Errorf("%+v is used instead of the good one behind %+v", got, e)
				}
			}
		}
	}
}

// Of two second-level codes none is chosen.
func TestLogoutResponseWithTwoSecondLevelCodes(t *testing.T) {
	fake, sp, idp := leaving()
	code := func(value, within string) string {
		return `<samlp:StatusCode Value="` + value + `">` + within + `</samlp:StatusCode>`
	}
	for name, within := range map[string]string{
		"partial and denied": code(saml.StatusPartialLogout, "") + code(saml.StatusRequestDenied, ""),
		"the same twice":     code(saml.StatusPartialLogout, "") + code(saml.StatusPartialLogout, ""),
	} {
		for way, send := range ways(fake) {
			t.Run(name+"/"+way, func(t *testing.T) {
				res := fake.LogoutResponse(sloURL, "_ours", noon)
				res.Status, res.Children = nil, `<samlp:Status>`+code(saml.StatusSuccess, within)+`</samlp:Status>`
				in, err := send(res.XML())
				if err != nil {
					t.Fatal(err)
				}
				_, err = logoutCheck(in, sp, idp)
				refused(t, err, saml.Malformed)
			})
		}
	}
}
