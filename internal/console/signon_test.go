package console_test

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
	"github.com/latchkey-idp/latchkey/internal/web/webtest"
)

// intranet makes an application of the connector for any service provider.
func (s *site) intranet() app.ID {
	s.t.Helper()
	a, err := s.apps.Create(s.ctx(), system, app.NewApplication{Connector: "custom-saml", Attributes: app.Attributes{Label: "Intranet", PortalVisible: true}})
	s.must(err)
	return a.ID
}

// certificate makes a certificate of a service provider.
func (s *site) certificate(bits, days int) keys.Material {
	s.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	s.must(err)
	m, err := keys.SelfSign(key, "sp.example.com", time.Now(), keys.Options{Days: days})
	s.must(err)
	return m
}

// spXML is the metadata of a service provider; inside goes before the ACS.
func spXML(entity, acs, inside string) string {
	return `<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="` + entity + `">
		<SPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">` + inside + `
		<AssertionConsumerService index="3" isDefault="true" Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="` + acs + `"/>
		</SPSSODescriptor></EntityDescriptor>`
}

func (s *site) saml(id app.ID) app.SAMLSettings { return s.app(id).SAML.SAMLSettings }

func TestSubject(t *testing.T) {
	s := newSite(t)
	id := s.intranet()
	save := func(pairs ...string) {
		s.post("admin", s.appPath(id, "sign-on", "subject"), pairs...).goes(s.appPath(id, "sign-on") + "#subject")
	}
	s.get("admin", s.appPath(id, "sign-on")).page().has("E-mail address, from e-mail", "pairwise", "A new random name at every sign-on")

	save("format", saml.NameIDUnspecified, "source", "username")
	if o := s.saml(id).Mapping.NameID; o == nil || o.Format != saml.NameIDUnspecified || o.Source == nil || o.Source.Attribute != "username" {
		t.Errorf("the user name gives %+v", o)
	}
	save("format", saml.NameIDUnspecified, "source", "custom", "customKey", "badge")
	s.get("reader", s.appPath(id, "sign-on")).page().has("Unspecified, from").hasNot("Save NameID")
	if got := s.saml(id).Mapping.NameID.Source.Attribute; got != "custom.badge" {
		t.Errorf("source %q", got)
	}
	// A random name of our own is what no own source means.
	save("format", saml.NameIDPersistent, "source", "username", "persistentSource", "pairwise")
	if o := s.saml(id).Mapping.NameID; o == nil || o.Format != saml.NameIDPersistent || o.Source != nil {
		t.Errorf("pairwise gives %+v", o)
	}
	s.get("admin", s.appPath(id, "sign-on")).page().has("Persistent, made here for each person")
	save("format", saml.NameIDPersistent, "persistentSource", "employeeId")
	s.get("admin", s.appPath(id, "sign-on")).page().has("Persistent, from employee")
	save("format", saml.NameIDTransient, "source", "username")
	s.get("admin", s.appPath(id, "sign-on")).page().has("Transient, new at each sign-on")
	save("format", saml.NameIDEmailAddress, "source", "email")
	if o := s.saml(id).Mapping.NameID; o != nil {
		t.Errorf("the connector's own is stored as %+v", o)
	}
	// An expression is kept unless another source is chosen.
	s.post("admin", s.appPath(id, "mappings", "saml", "row")+"?target=NameID", "kind", "expression", "expression", "user.username.lowerAscii()", "format", saml.NameIDUnspecified).goes(s.appPath(id, "mappings") + "#saml")
	s.get("admin", s.appPath(id, "sign-on")).page().has("As in the mapping")
	save("format", saml.NameIDEmailAddress, "source", "kept")
	if o := s.saml(id).Mapping.NameID; o == nil || o.Source == nil || o.Source.Expression == "" {
		t.Errorf("the expression became %+v", o)
	}
	s.post("admin", s.appPath(id, "sign-on", "subject"), "format", "urn:x", "source", "email").status(http.StatusUnprocessableEntity).has("does not take the NameID format")
}

func TestSHA1IsAnException(t *testing.T) {
	s := newSite(t)
	id := s.intranet()
	at := func(rest ...string) string { return s.appPath(id, append([]string{"sign-on"}, rest...)...) }
	s.get("admin", at("sha1")).page().has("SHA-1 is broken", "Type the application")
	bad := s.post("admin", at("sha1"), "confirm", "yes").status(http.StatusUnprocessableEntity).has("Type Intranet to confirm")
	webtest.Check(t, bad.Body.Bytes())
	s.post("admin", at("sha1"), "confirm", "intranet").goes(at() + "#signatures")
	s.get("admin", at("sha1")).status(http.StatusConflict)
	s.get("admin", at()).page().has("SHA-1 is allowed", "End the exception")
	s.post("admin", at("signatures"), "sign", "assertion", "signatureAlgorithm", xmldsig.RSASHA1).goes(at() + "#signatures")
	s.get("reader", at()).page().has("RSA with SHA-1, which is broken").hasNot("End the exception")
	s.post("admin", at("sha1", "end")).goes(at() + "#signatures")
	if got := s.saml(id); got.AllowSHA1 || got.SignatureAlgorithm != xmldsig.RSASHA256 {
		t.Errorf("afterwards: %t, %s", got.AllowSHA1, got.SignatureAlgorithm)
	}
}

func TestEncryption(t *testing.T) {
	s := newSite(t)
	id := s.intranet()
	at := func(rest ...string) string { return s.appPath(id, append([]string{"sign-on"}, rest...)...) }
	m := s.certificate(2048, 20)
	s.post("admin", at("encryption"), "encryptAssertions", "on", "encryptionCertificate", m.PEM, "encryptionAlgorithm", app.EncryptionAlgorithms()[1]).goes(at() + "#encryption")
	if got := s.saml(id); !got.EncryptAssertions || got.EncryptionAlgorithm != app.EncryptionAlgorithms()[1] || keys.Fingerprint(m.Certificate) == "" {
		t.Errorf("encryption: %+v", got)
	}
	s.get("reader", at()).page().has("Assertions are encrypted, AES-GCM with 128 bits", keys.Fingerprint(m.Certificate), "ends in 20 days").hasNot("Save encryption")
	s.post("admin", at("encryption"), "encryptionCertificate", m.PEM).goes(at() + "#encryption")
	if s.saml(id).EncryptAssertions {
		t.Error("it is still on")
	}
	s.get("admin", s.appPath(s.atlassian, "sign-on")).page().has("Atlassian Cloud can&#39;t read encrypted assertions")
}

func TestSignedRequests(t *testing.T) {
	s := newSite(t)
	id := s.intranet()
	at := func(rest ...string) string { return s.appPath(id, append([]string{"sign-on"}, rest...)...) }
	good, soon, weak := s.certificate(2048, 900), s.certificate(2048, 5), s.certificate(1024, 900)
	for i, m := range []keys.Material{good, soon, weak} {
		pairs := []string{"requireSignedRequests", "optional", "newCertificate", m.PEM}
		for _, text := range s.saml(id).SPCertificates {
			c, err := keys.ParseCertificate(text)
			s.must(err)
			pairs = append(pairs, "keep", keys.Fingerprint(c))
		}
		s.post("admin", at("requests"), pairs...).goes(at() + "#requests")
		if n := len(s.saml(id).SPCertificates); n != i+1 {
			t.Fatalf("%d certificates after %d were added", n, i+1)
		}
	}
	s.get("admin", at()).page().has("3 certificates, 2 need attention", "too weak", "ends soon", "ends in 5 days")
	s.get("reader", at()).page().has("3 certificates, 2 need attention").hasNot("Save requests")
	// What isn't ticked is removed.
	s.post("admin", at("requests"), "requireSignedRequests", "required", "keep", keys.Fingerprint(good.Certificate)).goes(at() + "#requests")
	if got := s.saml(id); !got.RequireSignedRequests || len(got.SPCertificates) != 1 || got.SPCertificates[0] != good.PEM {
		t.Errorf("kept: %t, %d", got.RequireSignedRequests, len(got.SPCertificates))
	}
	s.get("admin", at()).page().has("Unsigned requests are refused; 1 certificate")
	bad := s.post("admin", at("requests"), "requireSignedRequests", "required", "keep", keys.Fingerprint(good.Certificate), "newCertificate", "nonsense!").status(http.StatusUnprocessableEntity).has("not a certificate")
	webtest.Check(t, bad.Body.Bytes())
}

func TestLogoutAndSessionEnd(t *testing.T) {
	s := newSite(t)
	id := s.intranet()
	at := func(rest ...string) string { return s.appPath(id, append([]string{"sign-on"}, rest...)...) }
	s.post("admin", at("logout"), "sloUrl", "https://sp.example.com/slo", "sloBinding", saml.BindingHTTPPost, "sloResponseUrl", "https://sp.example.com/slo/done").goes(at() + "#logout")
	s.post("admin", at("session"), "sendSessionEnd", "on").goes(at() + "#session")
	got := s.saml(id)
	if got.SLOURL != "https://sp.example.com/slo" || got.SLOBinding != saml.BindingHTTPPost || got.SLOResponseURL != "https://sp.example.com/slo/done" || !got.SendSessionEnd {
		t.Errorf("logout: %+v", got)
	}
	s.get("reader", at()).page().has("HTTP-POST to https://sp.example.com/slo", s.apps.URLs(s.app(id)).SLO, "https://sp.example.com/slo/done", "ends with the one here").hasNot("Save single logout")
	s.get("admin", at()).page().has("its logout messages are refused")
	s.get("admin", s.appPath(s.atlassian, "sign-on")).page().has("Atlassian Cloud doesn&#39;t offer it")
}

func TestMetadataFile(t *testing.T) {
	s := newSite(t)
	id := s.intranet()
	at := func(rest ...string) string { return s.appPath(id, append([]string{"sign-on"}, rest...)...) }
	s.get("admin", at()).page().has("needed to activate", "From a file", "From an address")
	s.get("reader", at()).page().hasNot("From a file")

	up := s.upload("admin", at("metadata", "import"), "metadata", "sp.xml", spXML("https://sp.example.com", "https://sp.example.com/acs", ""))
	up.status(http.StatusSeeOther)
	path := up.Header().Get("Location")
	page := s.get("admin", path).page().has("2 changes", "https://sp.example.com/acs (index 3, default)", "added", "Take these values")
	if got := s.saml(id); got.SPEntityID != "" {
		t.Fatal("looking changed something")
	}
	// Nobody else's, nowhere else.
	s.get("owner", path).status(http.StatusNotFound)
	s.get("reader", path).status(http.StatusForbidden)
	s.get("admin", strings.Replace(path, string(id), string(s.atlassian), 1)).status(http.StatusNotFound)
	s.get("admin", "/console/imports/"+path[strings.LastIndexByte(path, '/')+1:]).status(http.StatusNotFound)
	stale := s.post("admin", path+"/take", "hash", "old", "entity", "https://sp.example.com").status(http.StatusConflict).has("have changed since you looked")
	webtest.Check(t, stale.Body.Bytes())
	s.follow("admin", s.post("admin", path+"/take", "hash", page.hidden("hash"), "entity", page.hidden("entity"))).page().has("Taken from the metadata: ACS URLs and SP entity ID", "sign-on can be activated")
	if got := s.saml(id); got.SPEntityID != "https://sp.example.com" || len(got.ACS) != 1 || got.ACS[0].Index != 3 {
		t.Errorf("taken: %+v", got)
	}
	s.get("admin", path).status(http.StatusNotFound)

	// The same again changes nothing, another one is doubted, and can be thrown away.
	up = s.upload("admin", at("metadata", "import"), "metadata", "sp.xml", spXML("https://sp.example.com", "https://sp.example.com/acs", ""))
	s.get("admin", up.Header().Get("Location")).page().has("Nothing would change", "in use already").hasNot("Take these values")
	up = s.upload("admin", at("metadata", "import"), "metadata", "sp.xml", spXML("https://other.example.com", "https://other.example.com/acs", ""))
	path = up.Header().Get("Location")
	s.get("admin", path).page().has("still the same service provider", "https://sp.example.com/acs (index 3, default)", "https://other.example.com/acs (index 3, default)")
	s.follow("admin", s.post("admin", path+"/drop")).page().has("Nothing was changed")
	s.get("admin", path).status(http.StatusNotFound)
	if got := s.saml(id).SPEntityID; got != "https://sp.example.com" {
		t.Errorf("SP entity ID %q", got)
	}
}

func TestMetadataOfAFederation(t *testing.T) {
	s := newSite(t)
	id := s.intranet()
	at := func(rest ...string) string { return s.appPath(id, append([]string{"sign-on"}, rest...)...) }
	var b strings.Builder
	b.WriteString(`<EntitiesDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata">`)
	for i := range 120 {
		b.WriteString(spXML(fmt.Sprintf("https://sp%d.example.com/saml", i), fmt.Sprintf("https://sp%d.example.com/acs", i), ""))
	}
	b.WriteString(`</EntitiesDescriptor>`)
	up := s.upload("admin", at("metadata", "import"), "metadata", "federation.xml", b.String())
	up.status(http.StatusSeeOther)
	path := up.Header().Get("Location")
	s.get("admin", path).page().has("120 service providers", "The first 50 of 120", "https://sp0.example.com/saml").hasNot("https://sp77.example.com/saml")
	s.get("admin", path+"?q=SP77").page().has("https://sp77.example.com/saml", "1 service provider")
	s.get("admin", path+"?q=zzz").page().has("None matches")
	page := s.get("admin", path+"?entity=https%3A%2F%2Fsp77.example.com%2Fsaml").page().has("https://sp77.example.com/acs", "Choose another")
	s.post("admin", path+"/take", "hash", page.hidden("hash"), "entity", page.hidden("entity")).goes(at())
	if got := s.saml(id).SPEntityID; got != "https://sp77.example.com/saml" {
		t.Errorf("SP entity ID %q", got)
	}
	// Next time its own is shown first.
	up = s.upload("admin", at("metadata", "import"), "metadata", "federation.xml", b.String())
	path = up.Header().Get("Location")
	s.get("admin", path).page().has("https://sp77.example.com/saml", "Choose another")
	s.get("admin", path+"?choose=1").page().has("Which service provider?")
	s.follow("admin", s.get("admin", path+"?entity=https%3A%2F%2Fnobody.example.com")).page()
}

func TestWatchedMetadata(t *testing.T) {
	s := newSite(t)
	id := s.intranet()
	at := func(rest ...string) string { return s.appPath(id, append([]string{"sign-on"}, rest...)...) }
	const url = "https://sp.example.com/metadata"
	gone := s.post("admin", at("metadata", "watch"), "url", url).status(http.StatusUnprocessableEntity).has("The address doesn&#39;t answer", `value="`+url+`"`)
	webtest.Check(t, gone.Body.Bytes())

	// An application without values takes what is there.
	s.metadata = spXML("https://sp.example.com", "https://sp.example.com/acs", "")
	s.follow("admin", s.post("admin", at("metadata", "watch"), "url", url)).page().has("were taken from the metadata", "Watched", url)
	if got := s.saml(id); got.SPEntityID != "https://sp.example.com" {
		t.Fatalf("taken: %+v", got)
	}
	s.follow("admin", s.post("admin", at("metadata", "check"))).page().has("nothing has changed")
	s.get("admin", at("metadata", "changes")).goes(at())

	// A change waits, and is told wherever one looks.
	s.metadata = spXML("https://sp.example.com", "https://sp.example.com/acs2", "")
	s.post("admin", at("metadata", "check")).goes(at("metadata", "changes"))
	for _, p := range []string{at(), s.appPath(id)} {
		s.get("reader", p).page().has("The metadata of Intranet has changed", "Metadata has changed")
	}
	s.get("reader", "/console").page().has("The metadata of Intranet has changed", "Review")
	s.get("reader", "/console/applications").page().has("Its metadata has changed")
	s.get("reader", at("metadata", "changes")).page().has("https://sp.example.com/acs2").hasNot("Approve")
	page := s.get("admin", at("metadata", "changes")).page().has("https://sp.example.com/acs (index 3, default)", "https://sp.example.com/acs2 (index 3, default)", "Approve", "Dismiss")
	if got := s.saml(id).ACS[0].URL; got != "https://sp.example.com/acs" {
		t.Errorf("applied blindly: %s", got)
	}

	// What is approved must be what was looked at.
	s.metadata = spXML("https://sp.example.com", "https://sp.example.com/acs3", "")
	s.post("admin", at("metadata", "check"))
	stale := s.post("admin", at("metadata", "approve"), "hash", page.hidden("hash")).status(http.StatusConflict).has("changed", "https://sp.example.com/acs3")
	webtest.Check(t, stale.Body.Bytes())
	s.post("admin", at("metadata", "dismiss"), "hash", page.hidden("hash")).status(http.StatusConflict)
	s.follow("admin", s.post("admin", at("metadata", "approve"), "hash", stale.hidden("hash"))).page().has("Taken from the metadata: ACS URLs")
	if got := s.saml(id).ACS[0].URL; got != "https://sp.example.com/acs3" {
		t.Errorf("approved: %s", got)
	}
	s.get("reader", "/console").page().hasNot("Review")

	// Dismissed, it doesn't come again; an address that fails is told.
	s.metadata = spXML("https://sp.example.com", "https://sp.example.com/acs4", "")
	s.post("admin", at("metadata", "check"))
	page = s.get("admin", at("metadata", "changes")).page()
	s.follow("admin", s.post("admin", at("metadata", "dismiss"), "hash", page.hidden("hash"))).page().has("not proposed again")
	s.follow("admin", s.post("admin", at("metadata", "check"))).page().has("nothing has changed")
	s.metadata = ""
	s.follow("admin", s.post("admin", at("metadata", "check"))).page().has("can&#39;t be taken", "The address doesn&#39;t answer", "Can&#39;t be read")
	s.get("reader", "/console").page().has("The metadata of Intranet can&#39;t be taken")
	s.get("reader", "/console/applications").page().has("Its metadata can&#39;t be read")

	s.follow("admin", s.post("admin", at("metadata", "stop"))).page().has("no longer watched", "From an address")
	if got := s.saml(id).SPEntityID; got != "https://sp.example.com" {
		t.Errorf("afterwards SP entity ID %q", got)
	}
	s.post("admin", at("metadata", "check")).status(http.StatusNotFound)
}

// A certificate that goes is told, since what it signs is refused then.
func TestMetadataTakesACertificateAway(t *testing.T) {
	s := newSite(t)
	id := s.intranet()
	old, next := s.certificate(2048, 900), s.certificate(2048, 900)
	key := func(m keys.Material) string {
		text := strings.NewReplacer("-----BEGIN CERTIFICATE-----", "", "-----END CERTIFICATE-----", "").Replace(m.PEM)
		return `<KeyDescriptor use="signing"><KeyInfo xmlns="http://www.w3.org/2000/09/xmldsig#"><X509Data><X509Certificate>` + text + `</X509Certificate></X509Data></KeyInfo></KeyDescriptor>`
	}
	_, err := s.apps.ImportSPMetadata(s.ctx(), system, id, []byte(spXML("https://sp.example.com", "https://sp.example.com/acs", key(old))), "")
	s.must(err)
	up := s.upload("admin", s.appPath(id, "sign-on", "metadata", "import"), "metadata", "sp.xml", spXML("https://sp.example.com", "https://sp.example.com/acs", key(next)))
	print := func(m keys.Material) string { return keys.Fingerprint(m.Certificate)[:23] + "… until" }
	s.get("admin", up.Header().Get("Location")).page().has("1 change", print(old), print(next))
	up = s.upload("admin", s.appPath(id, "sign-on", "metadata", "import"), "metadata", "sp.xml", spXML("https://sp.example.com", "https://sp.example.com/acs", key(next)+key(old)))
	s.get("admin", up.Header().Get("Location")).page().has("1 change", print(next), "added")
}

func TestRenewalBothWays(t *testing.T) {
	s := newSite(t)
	id := s.intranet()
	at := func(rest ...string) string { return s.appPath(id, append([]string{"certificate"}, rest...)...) }
	s.get("admin", at("swap")).page().has("RSA with 4096 bits", "10 years", "Valid for")
	bad := s.post("admin", at("prepare"), "bits", "1000", "days", "365").status(http.StatusUnprocessableEntity).has("2048, 3072 or 4096 bits")
	webtest.Check(t, bad.Body.Bytes())
	s.post("admin", at("prepare"), "bits", "2048", "days", "99999").status(http.StatusUnprocessableEntity).has("1 to 3650 days")
	s.post("admin", at("prepare"), "bits", "many").status(http.StatusUnprocessableEntity).has("Choose one of the list")
	s.post("admin", at("prepare"), "bits", "2048", "days", "1095").goes(at("swap"))
	s.get("admin", s.appPath(id, "sign-on")).page().has("published beside", "Mail isn&#39;t set up")
	// A service provider of which nothing is known may hold one or several.
	s.get("admin", at("swap")).page().has("beside the present one", "Metadata URL", "It holds one certificate").hasNot("But don&#39;t save there yet")
	s.get("admin", at("swap")+"?way=instant").page().has("But don&#39;t save there yet", `value="instant"`)
	s.post("admin", at("switch"), "way", "instant").status(http.StatusUnprocessableEntity).has("But don&#39;t save there yet")
	s.post("admin", at("switch"), "way", "instant", "ready", "on").goes(at("swap") + "?way=instant")
	s.get("admin", at("swap")+"?way=instant").page().has("paste the old certificate there again", "Prepare another one")
	s.get("admin", at("swap")).page().has("it knows the previous one still")
}
