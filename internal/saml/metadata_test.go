package saml_test

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
	"github.com/latchkey-idp/latchkey/internal/saml/xmlenc"
)

func metadata() *saml.IdPMetadata {
	return &saml.IdPMetadata{
		ID: "_m1", EntityID: idpEntityID,
		SSO:           []saml.Endpoint{{Binding: saml.BindingHTTPRedirect, URL: ssoURL}, {URL: ssoURL + "?a=1&b=2"}},
		Certificates:  []*x509.Certificate{samltest.IdP().Cert, samltest.IdPNext().Cert},
		NameIDFormats: []string{saml.NameIDEmailAddress, saml.NameIDPersistent},
	}
}

func TestAppendMetadata(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*saml.IdPMetadata)
		signed bool
	}{
		{name: "plain"},
		{name: "signed", signed: true, change: func(m *saml.IdPMetadata) {
			m.WantAuthnRequestsSigned = true
			m.ValidUntil = noon.AddDate(0, 0, 7)
			m.CacheDuration = 90 * time.Minute
			m.SLO = []saml.Endpoint{{Binding: saml.BindingHTTPRedirect, URL: ssoURL + "/slo", ResponseLocation: ssoURL + "/slo/done"}}
		}},
		{name: "least", change: func(m *saml.IdPMetadata) {
			m.ID, m.NameIDFormats, m.SSO, m.Certificates = "", nil, m.SSO[:1], m.Certificates[:1]
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := metadata()
			if test.change != nil {
				test.change(m)
			}
			var k *xmldsig.Signer
			signatures := 0
			if test.signed {
				k, signatures = signer(t, 0), 1
			}
			out, err := saml.AppendMetadata([]byte("kept"), m, k)
			if err != nil {
				t.Fatal(err)
			}
			out = bytes.TrimPrefix(out, []byte("kept"))
			golden(t, "metadata-"+test.name+".xml", out)
			if err := samltest.Validate(t.Context(), out, samltest.SchemaMetadata); err != nil {
				t.Error(err)
			}
			if err := samltest.XMLSec(t.Context(), out, samltest.IdP().Cert, signatures); err != nil {
				t.Error(err)
			}
			if test.signed {
				keys := []crypto.PublicKey{samltest.Other().Cert.PublicKey, samltest.IdP().Cert.PublicKey}
				got, err := saml.VerifyMetadata(out, keys)
				if err != nil {
					t.Fatal(err)
				}
				before, _, after := between(string(out), "<ds:Signature ", "</ds:Signature>")
				if diff := cmp.Diff(before+after, string(got)); diff != "" {
					t.Errorf("verified other bytes than were signed: %s", diff)
				}
			}
		})
	}
	for name, change := range map[string]func(*saml.IdPMetadata){
		"no entityID":      func(m *saml.IdPMetadata) { m.EntityID = "" },
		"long entityID":    func(m *saml.IdPMetadata) { m.EntityID = strings.Repeat("a", 1025) },
		"no endpoint":      func(m *saml.IdPMetadata) { m.SSO = nil },
		"endpoint nowhere": func(m *saml.IdPMetadata) { m.SSO[0].URL = "" },
		"no certificate":   func(m *saml.IdPMetadata) { m.Certificates = nil },
		"bad ID":           func(m *saml.IdPMetadata) { m.ID = "1 2" },
		"bad text":         func(m *saml.IdPMetadata) { m.NameIDFormats[0] = "\x00" },
	} {
		m := metadata()
		change(m)
		if out, err := saml.AppendMetadata(nil, m, nil); err == nil || out != nil {
			t.Errorf("%s: written", name)
		}
	}
}

func TestParseSPMetadata(t *testing.T) {
	full, err := os.ReadFile("testdata/metadata/full.xml")
	if err != nil {
		t.Fatal(err)
	}
	full = bytes.ReplaceAll(full, []byte("CERTIFICATE-SP"), []byte(base64Cert(atlassian().Cert)))
	full = bytes.ReplaceAll(full, []byte("CERTIFICATE-NEXT"), []byte("\n-----BEGIN CERTIFICATE-----\n"+base64Cert(samltest.IdPNext().Cert)+"\n-----END CERTIFICATE-----\n"))
	got, err := saml.ParseSPMetadata(full, "", noon)
	if err != nil {
		t.Fatal(err)
	}
	want := saml.SPMetadata{
		EntityID: "https://sp.example.com/metadata", DisplayName: "Wiki & Tracker",
		ACS: []saml.Endpoint{
			{Binding: "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Artifact", URL: "https://sp.example.com/artifact", Index: 0},
			{Binding: saml.BindingHTTPPost, URL: "https://sp.example.com/acs?tenant=7&x=1", Index: 1, Default: true},
			{Binding: saml.BindingHTTPPost, URL: "https://sp.example.com/acs2", Index: 2},
		},
		SLO:           []saml.Endpoint{{Binding: saml.BindingHTTPRedirect, URL: "https://sp.example.com/slo", ResponseLocation: "https://sp.example.com/slo/done"}},
		NameIDFormats: []string{saml.NameIDPersistent, saml.NameIDEmailAddress},
		Certificates: []saml.KeyCertificate{
			{Use: saml.UseSigning, Certificate: atlassian().Cert},
			{Use: saml.UseAny, Certificate: samltest.IdPNext().Cert},
			{Use: saml.UseEncryption, Certificate: atlassian().Cert, EncryptionMethods: []string{xmlenc.AES256GCM}},
		},
		AuthnRequestsSigned: true, WantAssertionsSigned: true,
		ValidUntil: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), CacheDuration: time.Hour,
	}
	if diff := cmp.Diff(want, got, cmp.Comparer((*x509.Certificate).Equal)); diff != "" {
		t.Error(diff)
	}
	if n := len(got.SigningKeys()); n != 2 {
		t.Errorf("%d signing keys, want 2", n)
	}
	if _, err := saml.ParseSPMetadata(full, "", time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)); err == nil {
		t.Error("expired metadata was read")
	}
}

func base64Cert(c *x509.Certificate) string { return saml.EncodePost(c.Raw) }

func TestParseSPMetadataDefault(t *testing.T) {
	acs := func(attrs ...string) string {
		s := ""
		for i, a := range attrs {
			s += fmt.Sprintf(`<md:AssertionConsumerService Binding="%s" Location="https://sp.example.com/%d" index="%d" %s/>`, saml.BindingHTTPPost, i, i, a)
		}
		return entity("https://sp.example.com/", s)
	}
	for _, test := range []struct {
		name, xml string
		want      int
	}{
		{"first marked", acs("", `isDefault="true"`, `isDefault="1"`), 1},
		{"first not denied", acs(`isDefault="false"`, `isDefault="0"`, ""), 2},
		{"first when all are denied", acs(`isDefault="false"`, `isDefault="false"`), 0},
		{"first", acs("", ""), 0},
	} {
		m, err := saml.ParseSPMetadata([]byte(test.xml), "", noon)
		if err != nil {
			t.Fatal(test.name, err)
		}
		got, ok := saml.ServiceProvider{ACS: m.ACS}.DefaultACS()
		if !ok || got.Index != test.want {
			t.Errorf("%s: %+v", test.name, got)
		}
	}
}

const onePostACS = `<md:AssertionConsumerService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="https://sp.example.com/acs" index="0"/>`

// entity writes an SP's EntityDescriptor with this content of its role.
func entity(id, content string) string {
	return `<md:EntityDescriptor xmlns:md="` + saml.NSMetadata + `" entityID="` + id + `"><md:SPSSODescriptor protocolSupportEnumeration="urn:x ` + saml.NSProtocol + `">` + content + `</md:SPSSODescriptor></md:EntityDescriptor>`
}

func TestParseSPMetadataMany(t *testing.T) {
	idp, err := saml.AppendMetadata(nil, metadata(), nil)
	if err != nil {
		t.Fatal(err)
	}
	wrap := func(attr string, parts ...string) []byte {
		return []byte(`<md:EntitiesDescriptor xmlns:md="` + saml.NSMetadata + `"` + attr + `>` + strings.Join(parts, "\n") + `</md:EntitiesDescriptor>`)
	}
	a, b := entity("urn:a:a", onePostACS), entity("urn:b:b", onePostACS)
	two := wrap("", string(idp), a, string(wrap("", b)))
	_, err = saml.ParseSPMetadata(two, "", noon)
	refused(t, err, saml.MetadataManyEntities)
	ids, err := saml.SPEntityIDs(two, noon)
	if diff := cmp.Diff([]string{"urn:a:a", "urn:b:b"}, ids); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if m, err := saml.ParseSPMetadata(two, "urn:b:b", noon); err != nil || m.EntityID != "urn:b:b" {
		t.Error(m, err)
	}
	if m, err := saml.ParseSPMetadata(wrap("", string(idp), a), "", noon); err != nil || m.EntityID != "urn:a:a" {
		t.Error(m, err)
	}
	_, err = saml.ParseSPMetadata(two, "urn:c:c", noon)
	refused(t, err, saml.MetadataInvalid)
	_, err = saml.ParseSPMetadata(wrap("", a, a), "urn:a:a", noon)
	refused(t, err, saml.MetadataInvalid)
	_, err = saml.ParseSPMetadata(wrap(` validUntil="2020-01-01T00:00:00Z"`, a), "", noon)
	refused(t, err, saml.MetadataInvalid)
}

func TestParseSPMetadataRefused(t *testing.T) {
	idp, err := saml.AppendMetadata(nil, metadata(), nil)
	if err != nil {
		t.Fatal(err)
	}
	cert := func(content, use string) string {
		return entity("urn:a:a", `<md:KeyDescriptor`+use+`><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data><ds:X509Certificate>`+content+`</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>`+onePostACS)
	}
	good := entity("urn:a:a", onePostACS)
	for _, test := range []struct{ name, xml, text string }{
		{"empty", " \n", "The file is empty"},
		{"not XML", "entityID: x", "can't be read as XML"},
		{"web page", "<!DOCTYPE html><html><body>Sign in</body></html>", "This is a web page"},
		{"web page without doctype", "<html><br></html>", "This is a web page"},
		{"something else", `<a xmlns="urn:x:y"/>`, `begins with "a"`},
		{"an identity provider", string(idp), "identity provider"},
		{"another protocol", strings.Replace(good, saml.NSProtocol, "urn:oasis:names:tc:SAML:1.1:protocol", 1), "no service provider that speaks SAML 2.0"},
		{"no entityID", strings.Replace(good, `entityID="urn:a:a"`, "", 1), "no entity ID"},
		{"no ACS", entity("urn:a:a", ""), "no assertion consumer service"},
		{"no ACS for POST", entity("urn:a:a", strings.Replace(onePostACS, "HTTP-POST", "PAOS", 1)), "no assertion consumer service"},
		{"ACS without Location", strings.Replace(good, " Location=", " x=", 1), "lacks its Binding or Location"},
		{"ACS without TLS", strings.Replace(good, "https://sp.example.com/acs", "http://sp.example.com/acs", 1), "must begin with https://"},
		{"bad index", strings.Replace(good, `index="0"`, `index="x"`, 1), "index"},
		{"bad isDefault", strings.Replace(good, `index="0"`, `index="0" isDefault="maybe"`, 1), "default"},
		{"expired", strings.Replace(good, ` entityID`, ` validUntil="2026-03-14T12:00:00Z" entityID`, 1), "valid until 14 March 2026"},
		{"bad validUntil", strings.Replace(good, ` entityID`, ` validUntil="tomorrow" entityID`, 1), "validUntil"},
		{"bad AuthnRequestsSigned", strings.Replace(good, ` protocolS`, ` AuthnRequestsSigned="x" protocolS`, 1), "AuthnRequestsSigned"},
		{"bad WantAssertionsSigned", strings.Replace(good, ` protocolS`, ` WantAssertionsSigned="x" protocolS`, 1), "WantAssertionsSigned"},
		{"empty NameIDFormat", entity("urn:a:a", "<md:NameIDFormat/>"+onePostACS), "NameIDFormat"},
		{"SLO without Binding", entity("urn:a:a", `<md:SingleLogoutService Location="https://sp.example.com/"/>`+onePostACS), "SingleLogoutService"},
		{"certificate not base64", cert("!!!", ""), "certificate"},
		{"certificate is none", cert("AAAA", ""), "certificate"},
		{"certificate with comment", cert("AA<!-- -->AA", ""), "can't be read"},
		{"unknown use", cert("AAAA", ` use="fun"`), "unknown use"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := saml.ParseSPMetadata([]byte(test.xml), "", noon)
			if e := refused(t, err, saml.MetadataInvalid); !strings.Contains(e.Text, test.text) {
				t.Errorf("the text %q does not say %q", e.Text, test.text)
			}
		})
	}
	_, err = saml.ParseSPMetadata(make([]byte, saml.MaxMetadata+1), "", noon)
	refused(t, err, saml.TooLarge)
}
