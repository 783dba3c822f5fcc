package app_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
	"github.com/latchkey-idp/latchkey/internal/saml/xmlenc"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

const (
	spEntity = "https://auth.atlassian.com/saml/5b9f6a52"
	acsURL   = "https://auth.atlassian.com/login/callback?connection=saml-5b9f6a52"
)

// complete enters what sign-on needs.
func complete(s *app.SAMLSettings) error {
	s.SPEntityID, s.ACS = spEntity, []app.ACS{{URL: acsURL}}
	return nil
}

func TestSignOnInTwoHalves(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.create(app.NewApplication{})
		save := func(change func(*app.SAMLSettings) error) app.Application {
			t.Helper()
			return must(w.apps.SaveSAML(t.Context(), admin, a.ID, change))(t)
		}
		got := save(func(s *app.SAMLSettings) error {
			s.IDPEntityID, s.DefaultRelayState = "example.org", "https://example.atlassian.net"
			return nil
		})
		if got.SAML.Status != app.Incomplete || len(got.SAML.Missing) != 2 {
			t.Errorf("after the first half: %v, %v", got.SAML.Status, got.SAML.Missing)
		}
		_, err := w.apps.ActivateSAML(t.Context(), admin, a.ID)
		if !problem.Is(err, problem.Invalid) || !strings.Contains(problem.Public(err), "SP entity ID, ACS URL") {
			t.Errorf("activated while incomplete: %v", err)
		}
		if d := cmp.Diff([]string{"spEntityId", "acs"}, fields(err)); d != "" {
			t.Error(d)
		}
		if got = save(complete); got.SAML.Status != app.Off || got.SAML.Missing != nil {
			t.Errorf("after the second half: %v, %v", got.SAML.Status, got.SAML.Missing)
		}
		if acs, ok := got.SAML.DefaultACS(); !ok || acs.URL != acsURL {
			t.Errorf("a single ACS URL is the default: %+v", got.SAML.ACS)
		}
		if got = must(w.apps.ActivateSAML(t.Context(), admin, a.ID))(t); got.SAML.Status != app.Active || !got.SAML.ActivatedAt.Equal(w.now) {
			t.Errorf("activated: %+v", got.SAML)
		}
		version := got.Version
		if got = must(w.apps.ActivateSAML(t.Context(), admin, a.ID))(t); got.Version != version {
			t.Error("activating twice writes twice")
		}
		if _, err := w.apps.SaveSAML(t.Context(), admin, a.ID, func(s *app.SAMLSettings) error { s.ACS = nil; return nil }); !problem.Is(err, problem.Conflict) {
			t.Errorf("an active sign-on was made incomplete: %v", err)
		}
		if got = save(func(s *app.SAMLSettings) error { s.IDPEntityID = " "; return nil }); got.SAML.IDPEntityID != "https://id.example.org/saml2/atlassiancloud/metadata" {
			t.Errorf("emptied, our entity ID is %q", got.SAML.IDPEntityID)
		}
		if again := save(func(*app.SAMLSettings) error { return nil }); again.Version != got.Version {
			t.Error("saving without change writes")
		}
		if got = must(w.apps.DeactivateSAML(t.Context(), admin, a.ID))(t); got.SAML.Status != app.Off || !got.SAML.ActivatedAt.IsZero() {
			t.Errorf("deactivated: %+v", got.SAML)
		}
		types := []string{}
		for _, e := range w.events(a.ID) {
			types = append(types, strings.Fields(e)[0])
		}
		want := []string{"application_create", "application_update", "application_update", "integration_activate", "application_update", "integration_deactivate"}
		if d := cmp.Diff(want, types); d != "" {
			t.Error(d)
		}
		if ev := w.events(a.ID)[1]; !strings.Contains(ev, "saml.idpEntityId=https://id.example.org/saml2/atlassiancloud/metadata→example.org") {
			t.Errorf("event %s", ev)
		}
		if out := w.outbox(); len(out) != 0 {
			t.Errorf("sign-on has no consequences for provisioning, but the outbox holds %v", out)
		}
	})
}

func TestSAMLSettingsAreChecked(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	a := w.create(app.NewApplication{})
	pair := must(w.apps.Certificates(t.Context(), admin, a.ID))(t)[0]
	acs := func(list ...app.ACS) func(*app.SAMLSettings) {
		return func(s *app.SAMLSettings) { s.ACS = list }
	}
	url := func(u string) func(*app.SAMLSettings) { return acs(app.ACS{URL: u}) }
	relay := func(v string) func(*app.SAMLSettings) { return func(s *app.SAMLSettings) { s.DefaultRelayState = v } }
	text := func(s string) *string { return &s }
	weakKey, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	curveKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, strangeKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	until := w.now.AddDate(1, 0, 0)
	weak, curve, strange := spCert(t, weakKey, until), spCert(t, curveKey, until), spCert(t, strangeKey, until)
	cases := map[string]struct {
		change func(*app.SAMLSettings)
		want   []string
	}{
		"https with query":             {url(acsURL), nil},
		"http on loopback":             {url("http://127.0.0.1:8090/acs?x=1"), nil},
		"http on IPv6 loopback":        {url("http://[::1]:8090/acs"), nil},
		"http on localhost":            {url("http://localhost/acs"), nil},
		"http elsewhere":               {url("http://sp.example.org/acs"), []string{"acs[0].url"}},
		"http on a name that pretends": {url("http://localhost.example.org/acs"), []string{"acs[0].url"}},
		"http on a private address":    {url("http://10.0.0.1/acs"), []string{"acs[0].url"}},
		"fragment":                     {url(acsURL + "#x"), []string{"acs[0].url"}},
		"empty fragment":               {url(acsURL + "#"), []string{"acs[0].url"}},
		"user":                         {url("https://me@sp.example.org/acs"), []string{"acs[0].url"}},
		"script":                       {url("javascript:alert(1)"), []string{"acs[0].url"}},
		"data":                         {url("data:text/html,x"), []string{"acs[0].url"}},
		"relative":                     {url("/acs"), []string{"acs[0].url"}},
		"no host":                      {url("https:///acs"), []string{"acs[0].url"}},
		"space within":                 {url("https://sp.example.org/a cs"), []string{"acs[0].url"}},
		"quote":                        {url(`https://sp.example.org/"><script>`), []string{"acs[0].url"}},
		"empty":                        {url(""), []string{"acs[0].url"}},
		"much too long":                {url("https://sp.example.org/" + strings.Repeat("x", 3000)), []string{"acs[0].url"}},
		"two, one default":             {acs(app.ACS{URL: acsURL}, app.ACS{Index: 1, URL: acsURL + "2", Default: true}), nil},
		"two, no default":              {acs(app.ACS{URL: acsURL}, app.ACS{Index: 1, URL: acsURL + "2"}), []string{"acs"}},
		"two defaults":                 {acs(app.ACS{URL: acsURL, Default: true}, app.ACS{Index: 1, URL: acsURL + "2", Default: true}), []string{"acs"}},
		"index twice":                  {acs(app.ACS{URL: acsURL, Default: true}, app.ACS{URL: acsURL + "2"}), []string{"acs[1].index"}},
		"URL twice":                    {acs(app.ACS{URL: acsURL, Default: true}, app.ACS{Index: 1, URL: acsURL}), []string{"acs[1].url"}},
		"index too large":              {acs(app.ACS{URL: acsURL, Index: 65536}), []string{"acs[0].index"}},
		"index negative":               {acs(app.ACS{URL: acsURL, Index: -1}), []string{"acs[0].index"}},
		"far too many":                 {acs(make([]app.ACS, 101)...), []string{"acs"}},
		"entity ID with space":         {func(s *app.SAMLSettings) { s.SPEntityID = "a b" }, []string{"spEntityId"}},
		"entity ID too long":           {func(s *app.SAMLSettings) { s.IDPEntityID = strings.Repeat("x", 1025) }, []string{"idpEntityId"}},
		"entity ID of 1024":            {func(s *app.SAMLSettings) { s.SPEntityID = strings.Repeat("x", 1024) }, nil},
		"RelayState URL":               {relay("https://example.atlassian.net/jira?x=1#here"), nil},
		"RelayState opaque":            {relay("ss:mem:0123abc"), nil},
		"RelayState path":              {relay("/jira/your-work"), nil},
		"RelayState script":            {relay("javascript:alert(1)"), []string{"defaultRelayState"}},
		"RelayState Script":            {relay("JavaScript:alert(1)"), []string{"defaultRelayState"}},
		"RelayState data":              {relay("data:text/html,<b>x</b>"), []string{"defaultRelayState"}},
		"RelayState ftp":               {relay("ftp://example.org"), []string{"defaultRelayState"}},
		"RelayState not filled in":     {relay("https://<site>.atlassian.net"), []string{"defaultRelayState"}},
		"RelayState too long":          {relay(strings.Repeat("x", 1025)), []string{"defaultRelayState"}},
		"nothing signed":               {func(s *app.SAMLSettings) { s.SignAssertion, s.SignResponse = false, false }, []string{"signAssertion"}},
		"SHA-512":                      {func(s *app.SAMLSettings) { s.SignatureAlgorithm = xmldsig.RSASHA512 }, nil},
		"SHA-1":                        {func(s *app.SAMLSettings) { s.SignatureAlgorithm = "http://www.w3.org/2000/09/xmldsig#rsa-sha1" }, []string{"signatureAlgorithm"}},
		"SHA-1 by exception":           {func(s *app.SAMLSettings) { s.SignatureAlgorithm, s.AllowSHA1 = xmldsig.RSASHA1, true }, nil},
		"the exception ended while it is used": {func(s *app.SAMLSettings) {
			s.SignatureAlgorithm, s.AllowSHA1 = xmldsig.RSASHA1, false
		}, []string{"signatureAlgorithm"}},
		"encryption": {func(s *app.SAMLSettings) {
			s.EncryptAssertions, s.EncryptionCertificate, s.EncryptionAlgorithm = true, pair.PEM, xmlenc.AES128GCM
		}, nil},
		"encryption without a certificate yet": {func(s *app.SAMLSettings) { s.EncryptAssertions = true }, nil},
		"encryption for no certificate":        {func(s *app.SAMLSettings) { s.EncryptionCertificate = "rubbish" }, []string{"encryptionCertificate"}},
		"encryption for a weak key":            {func(s *app.SAMLSettings) { s.EncryptionCertificate = weak }, []string{"encryptionCertificate"}},
		"encryption for another kind of key":   {func(s *app.SAMLSettings) { s.EncryptionCertificate = curve }, []string{"encryptionCertificate"}},
		"encryption by CBC": {func(s *app.SAMLSettings) {
			s.EncryptionAlgorithm = "http://www.w3.org/2001/04/xmlenc#aes256-cbc"
		}, []string{"encryptionAlgorithm"}},
		"certificate of a curve":       {func(s *app.SAMLSettings) { s.SPCertificates = []string{curve} }, nil},
		"weak certificate":             {func(s *app.SAMLSettings) { s.SPCertificates = []string{weak} }, nil},
		"certificate of a strange key": {func(s *app.SAMLSettings) { s.SPCertificates = []string{strange} }, []string{"spCertificates[0]"}},
		"logout": {func(s *app.SAMLSettings) {
			s.SLOURL, s.SLOBinding, s.SLOResponseURL = "https://sp.example.org/slo?x=1", saml.BindingHTTPPost, "https://sp.example.org/done"
		}, nil},
		"logout by Redirect on loopback": {func(s *app.SAMLSettings) {
			s.SLOURL, s.SLOBinding = "http://127.0.0.1:9000/slo", saml.BindingHTTPRedirect
		}, nil},
		"logout by SOAP": {func(s *app.SAMLSettings) {
			s.SLOURL, s.SLOBinding = "https://sp.example.org/slo", "urn:oasis:names:tc:SAML:2.0:bindings:SOAP"
		}, []string{"sloBinding"}},
		"logout response elsewhere over http": {func(s *app.SAMLSettings) {
			s.SLOURL, s.SLOResponseURL = "https://sp.example.org/slo", "http://sp.example.org/done"
		}, []string{"sloResponseUrl"}},
		"logout response without logout": {func(s *app.SAMLSettings) { s.SLOResponseURL = "https://sp.example.org/done" }, []string{"sloUrl"}},
		"an algorithm of other keys":     {func(s *app.SAMLSettings) { s.SignatureAlgorithm = xmldsig.ECDSASHA256 }, []string{"signatureAlgorithm"}},
		"certificate":                    {func(s *app.SAMLSettings) { s.SPCertificates = []string{pair.PEM, "", pair.PEM} }, nil},
		"no certificate":                 {func(s *app.SAMLSettings) { s.SPCertificates = []string{"rubbish"} }, []string{"spCertificates[0]"}},
		"too many certificates":          {func(s *app.SAMLSettings) { s.SPCertificates = make([]string, 11) }, []string{"spCertificates"}},
		"logout URL":                     {func(s *app.SAMLSettings) { s.SLOURL = "http://sp.example.org/slo" }, []string{"sloUrl"}},
		"mapping of an unknown attribute": {func(s *app.SAMLSettings) {
			s.Mapping.Rows = []catalog.RowOverride{{Target: "x", Source: &catalog.Source{Attribute: "nope"}}}
		}, []string{"mapping.rows[0].target"}},
		"mapping without a source": {func(s *app.SAMLSettings) {
			s.Mapping.Rows = []catalog.RowOverride{{Target: "x", Label: text("X")}}
		}, []string{"mapping.rows[0].source"}},
		"NameID format that the product doesn't take": {func(s *app.SAMLSettings) {
			s.Mapping.NameID = &catalog.NameIDOverride{Format: saml.NameIDTransient}
		}, []string{"mapping.nameID.format"}},
		"an added attribute": {func(s *app.SAMLSettings) {
			s.Mapping.Rows = []catalog.RowOverride{{Target: "department", Source: &catalog.Source{Attribute: "department"}}}
		}, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := w.apps.SaveSAML(t.Context(), admin, a.ID, func(s *app.SAMLSettings) error { c.change(s); return nil })
			if d := cmp.Diff(c.want, fields(err)); d != "" {
				t.Fatalf("%v\n%s", err, d)
			}
			if c.want != nil {
				return
			}
			for _, x := range got.SAML.ACS {
				if err := saml.CheckACS(x.URL); err != nil {
					t.Errorf("taken here, refused at sign-on: %v", err)
				}
			}
			if len(got.SAML.SPCertificates) > 1 {
				t.Errorf("the same certificate is kept twice")
			}
			if _, err := w.apps.SaveSAML(t.Context(), admin, a.ID, func(s *app.SAMLSettings) error {
				*s = app.SAMLSettings{SignAssertion: true}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Run("required signature without certificate", func(t *testing.T) {
		got := must(w.apps.SaveSAML(t.Context(), admin, a.ID, func(s *app.SAMLSettings) error {
			s.RequireSignedRequests = true
			return complete(s)
		}))(t)
		if d := cmp.Diff([]string{"SP certificate"}, got.SAML.Missing); d != "" || got.SAML.Status != app.Incomplete {
			t.Errorf("%v %s", got.SAML.Status, d)
		}
	})
	t.Run("required signature with a weak certificate", func(t *testing.T) {
		got := must(w.apps.SaveSAML(t.Context(), admin, a.ID, func(s *app.SAMLSettings) error {
			s.RequireSignedRequests, s.SPCertificates = true, []string{weak}
			return complete(s)
		}))(t)
		if d := cmp.Diff([]string{"SP certificate"}, got.SAML.Missing); d != "" {
			t.Error(d)
		}
	})
	t.Run("encryption without certificate", func(t *testing.T) {
		got := must(w.apps.SaveSAML(t.Context(), admin, a.ID, func(s *app.SAMLSettings) error {
			*s = app.SAMLSettings{SignAssertion: true, EncryptAssertions: true}
			return complete(s)
		}))(t)
		if d := cmp.Diff([]string{"SP encryption certificate"}, got.SAML.Missing); d != "" || got.SAML.Status != app.Incomplete {
			t.Errorf("%v %s", got.SAML.Status, d)
		}
		_, err := w.apps.ActivateSAML(t.Context(), admin, a.ID)
		if d := cmp.Diff([]string{"encryptionCertificate"}, fields(err)); d != "" {
			t.Error(d)
		}
		must(w.apps.SaveSAML(t.Context(), admin, a.ID, func(s *app.SAMLSettings) error { s.EncryptionCertificate = pair.PEM; return nil }))(t)
		must(w.apps.ActivateSAML(t.Context(), admin, a.ID))(t)
		if _, err := w.apps.SaveSAML(t.Context(), admin, a.ID, func(s *app.SAMLSettings) error { s.EncryptionCertificate = ""; return nil }); !problem.Is(err, problem.Conflict) {
			t.Errorf("an active sign-on lost its certificate: %v", err)
		}
		if got := must(w.apps.DeactivateSAML(t.Context(), admin, a.ID))(t); got.SAML.Status != app.Off {
			t.Errorf("%v", got.SAML.Status)
		}
	})
	t.Run("connector without sign-on", func(t *testing.T) {
		b := w.create(app.NewApplication{Connector: "custom-scim", Attributes: app.Attributes{Label: "SCIM only"}})
		if _, err := w.apps.SaveSAML(t.Context(), admin, b.ID, complete); !problem.Is(err, problem.Invalid) {
			t.Errorf("%v", err)
		}
		if _, err := w.apps.ActivateSAML(t.Context(), admin, b.ID); !problem.Is(err, problem.Invalid) {
			t.Errorf("%v", err)
		}
		if _, err := w.apps.PrepareCertificate(t.Context(), admin, b.ID, keys.Options{}); !problem.Is(err, problem.Invalid) {
			t.Errorf("%v", err)
		}
	})
}

func FuzzACSURL(f *testing.F) {
	w := newWorld(f, storetest.SQLite(f))
	a := w.create(app.NewApplication{})
	for _, seed := range []string{acsURL, "http://localhost:1/x", "http://[::ffff:127.0.0.1]/", "https://a\\b", "https://x/%zz", "https://ä.example"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := w.apps.SaveSAML(t.Context(), admin, a.ID, func(s *app.SAMLSettings) error {
			s.ACS = []app.ACS{{URL: raw}}
			return nil
		})
		if err != nil {
			return
		}
		if err := saml.CheckACS(got.SAML.ACS[0].URL); err != nil {
			t.Fatalf("%q is taken here and refused at sign-on: %v", raw, err)
		}
	})
}

func TestWarnings(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	a := w.create(app.NewApplication{})
	if got := w.apps.Warnings(a); len(got) != 0 {
		t.Errorf("an empty application has warnings: %v", got)
	}
	a = must(w.apps.SaveSAML(t.Context(), admin, a.ID, complete))(t)
	if got := w.apps.Warnings(a); len(got) != 0 {
		t.Errorf("Atlassian's own values have warnings: %v", got)
	}
	a = must(w.apps.SaveSAML(t.Context(), admin, a.ID, func(s *app.SAMLSettings) error {
		s.SPEntityID, s.ACS[0].URL, s.DefaultRelayState = "https://sp.example.org", "https://auth.atlassian.com/login/callback", "https://example.org"
		return nil
	}))(t)
	a = must(w.apps.SaveSCIM(t.Context(), admin, a.ID, func(s *app.SCIMSettings) error { s.BaseURL = "https://scim.example.org/v2"; return nil }))(t)
	var got []string
	for _, x := range w.apps.Warnings(a) {
		if len(got) == 0 || got[len(got)-1] != x.Field {
			got = append(got, x.Field)
		}
		if x.Text == "" {
			t.Errorf("%s without words", x.Field)
		}
	}
	if d := cmp.Diff([]string{"saml.spEntityId", "saml.acs[0].url", "saml.defaultRelayState", "scim.baseUrl"}, got); d != "" {
		t.Error(d)
	}
	hr := w.create(app.NewApplication{Connector: "custom-scim", Attributes: app.Attributes{Label: "HR"}})
	if got := w.apps.TokenWarnings(hr, "Bearer abc"); len(got) == 0 || got[0].Field != "token" {
		t.Errorf("token with its scheme: %v", got)
	}
}

func TestWarningsOfKeys(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	good, ended := spCert(t, rsaKey(t), w.now.AddDate(0, 0, 5)), spCert(t, rsaKey(t), w.now.AddDate(0, 0, -5))
	for name, c := range map[string]struct {
		connector string
		change    func(*app.SAMLSettings)
		want      []string
	}{
		"none": {"custom-saml", func(s *app.SAMLSettings) {
			s.SPCertificates, s.EncryptionCertificate, s.EncryptAssertions = []string{good}, good, true
		}, nil},
		"weak and ended": {"custom-saml", func(s *app.SAMLSettings) {
			s.SPCertificates, s.EncryptionCertificate = []string{good, ended, spCert(t, weak, w.now.AddDate(0, 0, -1))}, ended
		}, []string{"saml.spCertificates[1]", "saml.spCertificates[2]", "saml.spCertificates[2]", "saml.encryptionCertificate"}},
		"SHA-1":         {"custom-saml", func(s *app.SAMLSettings) { s.AllowSHA1, s.SignatureAlgorithm = true, xmldsig.RSASHA1 }, []string{"saml.signatureAlgorithm"}},
		"SHA-1 allowed": {"custom-saml", func(s *app.SAMLSettings) { s.AllowSHA1 = true }, []string{"saml.allowSha1"}},
		"encryption for a product without it": {"atlassian-cloud", func(s *app.SAMLSettings) {
			s.EncryptAssertions, s.EncryptionCertificate = true, good
		}, []string{"saml.encryptAssertions"}},
	} {
		a := w.create(app.NewApplication{Connector: c.connector, Attributes: app.Attributes{Label: name}})
		a = must(w.apps.SaveSAML(t.Context(), admin, a.ID, func(s *app.SAMLSettings) error { c.change(s); return nil }))(t)
		var got []string
		for _, x := range w.apps.Warnings(a) {
			got = append(got, x.Field)
			if x.Text == "" {
				t.Errorf("%s without words", x.Field)
			}
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestSAMLSettingsAreKeptWhole(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.saml()
		cert := spCert(t, rsaKey(t), w.now.AddDate(1, 0, 0))
		want := app.SAMLSettings{
			IDPEntityID: "https://id.example.org/x", SPEntityID: spEntity, ACS: []app.ACS{{URL: acsURL, Default: true}}, DefaultRelayState: "/x",
			SignAssertion: true, SignResponse: true, SignatureAlgorithm: xmldsig.RSASHA1, RequireSignedRequests: true, SPCertificates: []string{cert},
			AllowSHA1: true, EncryptAssertions: true, EncryptionCertificate: cert, EncryptionAlgorithm: xmlenc.AES192GCM,
			SLOURL: "https://sp.example.org/slo", SLOBinding: saml.BindingHTTPPost, SLOResponseURL: "https://sp.example.org/done", SendSessionEnd: true,
		}
		must(w.apps.SaveSAML(t.Context(), admin, a.ID, func(s *app.SAMLSettings) error { *s = want; return nil }))(t)
		got := must(w.apps.Get(t.Context(), admin, a.ID))(t).SAML.SAMLSettings
		got.Mapping.Rows = nil
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if got.Hash() != crypto.SHA1 || got.Sign() != saml.SignBoth {
			t.Errorf("%v, %v", got.Hash(), got.Sign())
		}
		ev := w.events(a.ID)[1]
		for _, field := range []string{
			"allowSha1", "encryptAssertions", "encryptionCertificate", "encryptionAlgorithm", "sloUrl", "sloBinding", "sloResponseUrl", "sendSessionEnd", "signatureAlgorithm",
		} {
			if !strings.Contains(ev, "saml."+field+"=") {
				t.Errorf("%s isn't told in %s", field, ev)
			}
		}
		if strings.Contains(ev, "BEGIN") {
			t.Errorf("PEM in the event: %s", ev)
		}
	})
}

func TestLogoutEndpoints(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	a := w.saml()
	old := w.apps.URLs(a).SLO
	a = must(w.apps.ChangeSlug(t.Context(), admin, a.ID, "elsewhere"))(t)
	if d := cmp.Diff([]string{"https://id.example.org/saml2/elsewhere/slo", old}, w.apps.LogoutEndpoints(a)); d != "" {
		t.Error(d)
	}
	b := w.create(app.NewApplication{Connector: "custom-scim", Attributes: app.Attributes{Label: "SCIM only"}})
	if got := w.apps.LogoutEndpoints(b); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func spMetadata(cert string) string {
	cert = strings.NewReplacer("-----BEGIN CERTIFICATE-----", "", "-----END CERTIFICATE-----", "").Replace(cert)
	return fmt.Sprintf(`<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="https://sp.example.org/metadata">
  <SPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol" AuthnRequestsSigned="true">
    <KeyDescriptor use="signing"><KeyInfo xmlns="http://www.w3.org/2000/09/xmldsig#"><X509Data><X509Certificate>%s</X509Certificate></X509Data></KeyInfo></KeyDescriptor>
    <SingleLogoutService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="https://sp.example.org/slo"/>
    <AssertionConsumerService index="0" Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Artifact" Location="https://sp.example.org/artifact"/>
    <AssertionConsumerService index="1" Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="https://sp.example.org/acs?x=1"/>
    <AssertionConsumerService index="2" isDefault="true" Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="https://sp.example.org/acs2"/>
  </SPSSODescriptor>
</EntityDescriptor>`, cert)
}

func TestImportSPMetadata(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.create(app.NewApplication{Connector: "custom-saml"})
		cert := must(w.apps.Certificates(t.Context(), admin, a.ID))(t)[0]
		got := must(w.apps.ImportSPMetadata(t.Context(), admin, a.ID, []byte(spMetadata(cert.PEM)), ""))(t)
		s := got.Application.SAML
		want := []app.ACS{{Index: 1, URL: "https://sp.example.org/acs?x=1"}, {Index: 2, URL: "https://sp.example.org/acs2", Default: true}}
		if d := cmp.Diff(want, s.ACS); d != "" {
			t.Error(d)
		}
		if s.SPEntityID != "https://sp.example.org/metadata" || s.SLOURL != "https://sp.example.org/slo" || len(s.SPCertificates) != 1 || s.SPCertificates[0] != cert.PEM {
			t.Errorf("taken: %+v", s.SAMLSettings)
		}
		if s.Status != app.Off || s.Missing != nil {
			t.Errorf("status %v, missing %v", s.Status, s.Missing)
		}
		var changed []string
		for _, c := range got.Changes {
			changed = append(changed, c.Attribute)
		}
		if d := cmp.Diff([]string{"acs", "sloUrl", "spCertificates", "spEntityId"}, changed); d != "" {
			t.Error(d)
		}
		if len(got.Notes) != 2 || !strings.Contains(got.Notes[0], "artifact") || !strings.Contains(got.Notes[1], "signs its requests") {
			t.Errorf("notes %q", got.Notes)
		}
		again := must(w.apps.ImportSPMetadata(t.Context(), admin, a.ID, []byte(spMetadata(cert.PEM)), ""))(t)
		if len(again.Changes) != 0 || again.Application.Version != got.Application.Version {
			t.Errorf("the same file changes %v", again.Changes)
		}

		bad := map[string]string{
			"empty":       "",
			"not XML":     "hello",
			"DOCTYPE":     `<!DOCTYPE x [<!ENTITY a "b">]>` + spMetadata(cert.PEM),
			"no POST ACS": strings.ReplaceAll(spMetadata(cert.PEM), "bindings:HTTP-POST", "bindings:HTTP-Artifact"),
			"http ACS":    strings.ReplaceAll(spMetadata(cert.PEM), "https://sp.example.org/acs", "http://sp.example.org/acs"),
			"too large":   spMetadata(cert.PEM) + strings.Repeat(" ", app.MaxSPMetadata),
		}
		for name, file := range bad {
			_, err := w.apps.ImportSPMetadata(t.Context(), admin, a.ID, []byte(file), "")
			if !problem.Is(err, problem.Invalid) || len(fields(err)) != 1 || fields(err)[0] != "metadata" {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := w.apps.ImportSPMetadata(t.Context(), reader, a.ID, []byte(spMetadata(cert.PEM)), ""); !problem.Is(err, problem.Forbidden) {
			t.Errorf("without permission: %v", err)
		}
		if now := must(w.apps.Get(t.Context(), admin, a.ID))(t); now.Version != again.Application.Version {
			t.Error("a refused file changed something")
		}
	})
}

func TestCertificates(t *testing.T) {
	own, err := keys.GenerateMaterial("own", newWorld(t, nil).now, keys.Options{})
	if err != nil {
		t.Fatal(err)
	}
	each(t, func(t *testing.T, w *world) {
		a := w.create(app.NewApplication{})
		first := must(w.apps.Certificates(t.Context(), admin, a.ID))(t)[0]
		next := must(w.apps.PrepareCertificate(t.Context(), admin, a.ID, keys.Options{}))(t)
		if next.Status != keys.Next || next.Fingerprint() == first.Fingerprint() {
			t.Errorf("prepared %+v", next)
		}
		_, err := w.apps.PrepareCertificate(t.Context(), admin, a.ID, keys.Options{Bits: 1024, Days: -1})
		if d := cmp.Diff([]string{"bits", "days"}, fields(err)); d != "" {
			t.Errorf("wrong options: %v", err)
		}
		if now := must(w.apps.SwitchCertificate(t.Context(), admin, a.ID))(t); now.Fingerprint() != next.Fingerprint() {
			t.Error("switched to another one")
		}
		if now := must(w.apps.BackCertificate(t.Context(), admin, a.ID))(t); now.Fingerprint() != first.Fingerprint() {
			t.Error("not back at the first")
		}
		if err := w.apps.RemoveCertificate(t.Context(), admin, a.ID, keys.Next); err != nil {
			t.Fatal(err)
		}
		if err := w.apps.RemoveCertificate(t.Context(), admin, a.ID, keys.Next); !problem.Is(err, problem.NotFound) {
			t.Errorf("removed twice: %v", err)
		}
		if err := w.apps.RemoveCertificate(t.Context(), admin, a.ID, keys.Current); !problem.Is(err, problem.Conflict) {
			t.Errorf("removed the current one: %v", err)
		}
		_, err = w.apps.UploadCertificate(t.Context(), admin, a.ID, app.CertificateUpload{Certificate: own.PEM, PrivateKey: "rubbish"})
		if !problem.Is(err, problem.Invalid) || fields(err)[0] != "privateKey" {
			t.Errorf("upload without key: %v", err)
		}
		if _, err := w.apps.PrepareCertificate(t.Context(), reader, a.ID, keys.Options{}); !problem.Is(err, problem.Forbidden) {
			t.Errorf("without permission: %v", err)
		}
		ev := w.events(a.ID)
		if len(ev) != 5 {
			t.Fatalf("events %v", ev)
		}
		for _, e := range ev {
			if strings.Contains(e, "PRIVATE") || strings.Contains(e, "v1.") {
				t.Errorf("an event holds a key: %s", e)
			}
		}
		if !strings.Contains(ev[2], "certificate.current="+first.Fingerprint()) || !strings.Contains(ev[2], "→"+next.Fingerprint()) {
			t.Errorf("the switch is told as %s", ev[2])
		}
	})
}
