package idp_test

import (
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

func certPEM(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

func TestMetadata(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		fresh, err := h.apps.Create(t.Context(), admin, app.NewApplication{Connector: "atlassian-cloud", Attributes: app.Attributes{Label: "Not set up yet"}})
		h.ok(err)
		pairs, err := h.apps.Certificates(t.Context(), admin, fresh.ID)
		h.ok(err)
		next, err := h.apps.PrepareCertificate(t.Context(), admin, fresh.ID, keys.Options{})
		h.ok(err)
		b := h.browser()
		path := "/saml2/" + fresh.Slug
		for _, query := range []string{"", "?signed=1"} {
			w := b.get(path + "/metadata" + query)
			if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/samlmetadata+xml" {
				t.Fatalf("%d %s", w.Code, w.Header().Get("Content-Type"))
			}
			doc := etree.NewDocument()
			h.ok(doc.ReadFromBytes(w.Body.Bytes()))
			root := doc.Root()
			if id := root.SelectAttrValue("entityID", ""); id != publicURL+path+"/metadata" {
				t.Errorf("entityID %s", id)
			}
			for _, sso := range root.FindElements("./IDPSSODescriptor/SingleSignOnService") {
				if l := sso.SelectAttrValue("Location", ""); l != publicURL+path {
					t.Errorf("sign-on at %s", l)
				}
			}
			var certs []string
			for _, c := range root.FindElements("./IDPSSODescriptor/KeyDescriptor/KeyInfo/X509Data/X509Certificate") {
				certs = append(certs, strings.Join(strings.Fields(c.Text()), ""))
			}
			if len(certs) != 2 || !strings.Contains(strings.ReplaceAll(pairs[0].PEM, "\n", ""), certs[0]) || !strings.Contains(strings.ReplaceAll(next.PEM, "\n", ""), certs[1]) {
				t.Errorf("%d certificates: current first, then next", len(certs))
			}
			signatures := 0
			if query != "" {
				signatures = 1
			}
			h.ok(samltest.XMLSec(t.Context(), w.Body.Bytes(), pairs[0].Certificate, signatures))
			h.ok(samltest.Validate(t.Context(), w.Body.Bytes(), samltest.SchemaMetadata))
		}
		if w := b.get(path + "/metadata?download=1"); !strings.Contains(w.Header().Get("Content-Disposition"), `filename="`+fresh.Slug+`-metadata.xml"`) {
			t.Errorf("not as a file: %v", w.Header())
		}
		w := b.get(path + "/certificate.pem")
		if w.Body.String() != pairs[0].PEM || !strings.Contains(w.Header().Get("Content-Disposition"), `filename="certificate.pem"`) {
			t.Errorf("certificate.pem: %q", w.Body.String())
		}
		if w := b.get(path + "/certificate.pem?which=next"); w.Body.String() != next.PEM {
			t.Errorf("next: %q", w.Body.String())
		}
		for _, p := range []string{"/saml2/nope/metadata", "/saml2/nope/certificate.pem", h.ssoPath() + "/certificate.pem?which=next"} {
			if w := b.get(p); w.Code != http.StatusNotFound {
				t.Errorf("%s: %d", p, w.Code)
			}
		}
		for _, query := range []string{"", "?signed=1"} {
			target := path + "/metadata" + query
			w := b.get(target)
			tag := w.Header().Get("ETag")
			text := w.Body.String()
			for _, part := range []string{
				`cacheDuration="PT21600S"`, `validUntil="` + pairs[0].NotAfter.UTC().Format("2006-01-02T15:04:05.000Z") + `"`,
				`<md:SingleLogoutService Binding="` + saml.BindingHTTPRedirect + `" Location="` + publicURL + path + `/slo"`,
				`<md:SingleLogoutService Binding="` + saml.BindingHTTPPost + `" Location="` + publicURL + path + `/slo"`,
			} {
				if !strings.Contains(text, part) {
					t.Errorf("%s: no %s in %s", target, part, text)
				}
			}
			for _, header := range []string{tag, "W/" + tag, `"x", ` + tag, "*"} {
				if w := b.with("If-None-Match", header).get(target); w.Code != http.StatusNotModified || w.Body.Len() != 0 || w.Header().Get("ETag") != tag {
					t.Errorf("%s, If-None-Match %s: %d, %d bytes", target, header, w.Code, w.Body.Len())
				}
			}
			if w := b.with("If-None-Match", `"x"`).get(target); w.Code != http.StatusOK || w.Body.String() != text {
				t.Errorf("%s: %d; it is another document now", target, w.Code)
			}
			head := b.do(http.MethodHead, target, "", "")
			if head.Code != http.StatusOK || head.Header().Get("ETag") != tag || head.Header().Get("Content-Length") != strconv.Itoa(len(text)) {
				t.Errorf("HEAD %s: %d %v", target, head.Code, head.Header())
			}
			// A certificate that is put to use changes it at once.
			_, err := h.apps.SwitchCertificate(t.Context(), admin, fresh.ID)
			h.ok(err)
			if w := b.with("If-None-Match", tag).get(target); w.Code != http.StatusOK || w.Header().Get("ETag") == tag {
				t.Errorf("%s, after a switch: %d", target, w.Code)
			}
			_, err = h.apps.BackCertificate(t.Context(), admin, fresh.ID)
			h.ok(err)
		}
		if w := b.do(http.MethodHead, path+"/metadata", "", ""); w.Code != http.StatusOK || w.Body.Len() != 0 || w.Header().Get("Content-Length") == "0" {
			t.Errorf("HEAD: %d, %d bytes", w.Code, w.Body.Len())
		}
	})
}

// Metadata whose certificate has ended doesn't call itself ended: service providers would drop all of it.
func TestMetadataOfAnEndedCertificate(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t))
	h.clock.pass(30 * 365 * 24 * time.Hour)
	if w := h.browser().get(h.ssoPath() + "/metadata"); w.Code != http.StatusOK || strings.Contains(w.Body.String(), "validUntil") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// The signature of a real answer is verified by another program, and the answer is valid by the standard's schema.
func TestAnswerStandsUpToOthers(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t))
	ann := h.person("ann", h.everyone)
	w := h.browser().signIn(ann).get("/launch/" + string(h.jira.ID))
	xml := h.receive(w, "").xml
	h.ok(samltest.XMLSec(t.Context(), xml, h.certificate(), 1))
	h.ok(samltest.Validate(t.Context(), xml, samltest.SchemaProtocol))
}
