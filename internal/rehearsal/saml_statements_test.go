package rehearsal

import (
	"compress/flate"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/google/go-cmp/cmp"
	dsig "github.com/russellhaering/goxmldsig"
)

var testKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func certificate(t *testing.T, key *rsa.PrivateKey, serial int64) []byte {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "idp.acme.test"},
		NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC), // expired: not refused
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	must(t, err)
	return der
}

type keyPair struct {
	key  *rsa.PrivateKey
	cert []byte
}

func (k keyPair) GetKeyPair() (*rsa.PrivateKey, []byte, error) { return k.key, k.cert, nil }

// idp is a small identity provider for tests, which can be told to do things wrong.
type idp struct {
	*stage
	keys keyPair
	sp   SAMLSettings
}

const testEntityID = "https://idp.acme.test/metadata"

func newIdP(t *testing.T) *idp {
	t.Helper()
	st := newStage(t)
	p := &idp{stage: st, keys: keyPair{testKey(), certificate(t, testKey(), 1)}}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.keys.cert})
	sp, err := st.site.SetSAML(st.dir.ID, IdPSettings{EntityID: testEntityID, SSOURL: "https://idp.acme.test/sso?tenant=1", CertificatePEM: string(text)})
	must(t, err)
	p.sp = sp
	pol, err := st.site.DefaultPolicy(st.dir.ID)
	must(t, err)
	must(t, st.site.EnforceSSO(pol.ID, true))
	return p
}

// member makes a managed account that is under the directory's policy and not under SCIM.
func (p *idp) member(email string) Account {
	p.Helper()
	must(p.T, second(p.site.AddAccount(NewAccount{Email: email, GivenName: "Ada", FamilyName: "Old"})))
	pol, err := p.site.DefaultPolicy(p.dir.ID)
	must(p.T, err)
	must(p.T, p.site.MoveToPolicy(pol.ID, email))
	return p.account(email)
}

// says is what a response says; the zero value of a field is what is right.
type says struct {
	nameID       string
	format       string
	issuer       string
	audience     string
	recipient    string
	destination  string
	inResponseTo string
	notBefore    time.Time
	notOnOrAfter time.Time
	attributes   map[string]string
	status       string
	message      string
}

func everything(immutable string) map[string]string {
	return map[string]string{claimGivenName: "Ada", claimSurname: "Lovelace", claimName: immutable}
}

func or(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

func (p *idp) response(s says) *etree.Document {
	p.Helper()
	now := p.clock.Now().UTC()
	if s.notBefore.IsZero() {
		s.notBefore = now.Add(-time.Minute)
	}
	if s.notOnOrAfter.IsZero() {
		s.notOnOrAfter = now.Add(5 * time.Minute)
	}
	irt, data := "", ""
	if s.inResponseTo != "" {
		irt = ` InResponseTo="` + s.inResponseTo + `"`
		data = irt
	}
	var attrs strings.Builder
	names := make([]string, 0, len(s.attributes))
	for n := range s.attributes {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		fmt.Fprintf(&attrs, `<saml:Attribute Name="%s"><saml:AttributeValue>%s</saml:AttributeValue></saml:Attribute>`, n, s.attributes[n])
	}
	statement := ""
	if attrs.Len() > 0 {
		statement = "<saml:AttributeStatement>" + attrs.String() + "</saml:AttributeStatement>"
	}
	message := ""
	if s.message != "" {
		message = "<samlp:StatusMessage>" + s.message + "</samlp:StatusMessage>"
	}
	text := fmt.Sprintf(`<samlp:Response xmlns:samlp="%s" xmlns:saml="%s" ID="_r1" Version="2.0" IssueInstant="%s" Destination="%s"%s>`+
		`<saml:Issuer>%s</saml:Issuer><samlp:Status><samlp:StatusCode Value="%s"/>%s</samlp:Status>`+
		`<saml:Assertion ID="_a1" Version="2.0" IssueInstant="%s"><saml:Issuer>%s</saml:Issuer>`+
		`<saml:Subject><saml:NameID Format="%s">%s</saml:NameID><saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">`+
		`<saml:SubjectConfirmationData NotOnOrAfter="%s" Recipient="%s"%s/></saml:SubjectConfirmation></saml:Subject>`+
		`<saml:Conditions NotBefore="%s" NotOnOrAfter="%s"><saml:AudienceRestriction><saml:Audience>%s</saml:Audience></saml:AudienceRestriction></saml:Conditions>`+
		`<saml:AuthnStatement AuthnInstant="%s"/>%s</saml:Assertion></samlp:Response>`,
		nsProtocol, nsAssertion, timestamp(now), escapeXML(or(s.destination, p.sp.ACSURL)), irt,
		or(s.issuer, testEntityID), or(s.status, statusSuccess), message,
		timestamp(now), or(s.issuer, testEntityID),
		or(s.format, "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"), s.nameID,
		timestamp(s.notOnOrAfter), escapeXML(or(s.recipient, p.sp.ACSURL)), data,
		timestamp(s.notBefore), timestamp(s.notOnOrAfter), or(s.audience, p.sp.SPEntityID), timestamp(now), statement)
	doc := etree.NewDocument()
	must(p.T, doc.ReadFromString(text))
	return doc
}

// sign signs the assertion and, when asked, the response.
func (p *idp) sign(doc *etree.Document, response bool) *etree.Document {
	p.Helper()
	ctx := dsig.NewDefaultSigningContext(p.keys)
	ctx.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	if response {
		signed, err := ctx.SignEnveloped(doc.Root())
		must(p.T, err)
		doc.SetRoot(signed)
		return doc
	}
	a := child(doc.Root(), nsAssertion, "Assertion")
	// The assertion is signed where it stands, with the namespaces that are in scope there.
	alone := a.Copy()
	alone.CreateAttr("xmlns:saml", nsAssertion)
	signed, err := ctx.SignEnveloped(alone)
	must(p.T, err)
	root := doc.Root()
	at := a.Index()
	root.RemoveChild(a)
	root.InsertChildAt(at, signed)
	return doc
}

func encode(t *testing.T, doc *etree.Document) string {
	t.Helper()
	b, err := doc.WriteToBytes()
	must(t, err)
	return base64.StdEncoding.EncodeToString(b)
}

// browser is a browser that doesn't follow redirects by itself.
type browser struct {
	*testing.T
	http.Client
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	must(t, err)
	return &browser{T: t, Client: http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func (b *browser) post(url string, form url.Values) (status int, location, body string) {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), "POST", url, strings.NewReader(form.Encode()))
	must(b.T, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.send(req)
}

func (b *browser) get(url, accept string) (status int, location, body string) {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), "GET", url, nil)
	must(b.T, err)
	req.Header.Set("Accept", accept)
	return b.send(req)
}

func (b *browser) send(req *http.Request) (status int, location, body string) {
	b.Helper()
	resp, err := b.Do(req)
	must(b.T, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	must(b.T, err)
	return resp.StatusCode, resp.Header.Get("Location"), string(data)
}

// deliver posts a response to the assertion consumer service in a new browser.
func (p *idp) deliver(doc *etree.Document, relayState string) string {
	p.Helper()
	return p.deliverIn(newBrowser(p.T), doc, relayState)
}

func (p *idp) deliverIn(b *browser, doc *etree.Document, relayState string) string {
	p.Helper()
	status, location, _ := b.post(p.sp.ACSURL, url.Values{"SAMLResponse": {encode(p.T, doc)}, "RelayState": {relayState}})
	if status != http.StatusFound {
		p.Fatalf("status %d", status)
	}
	return location
}

// refused checks that a location is the error page with that description.
func (p *idp) refused(location, description string) {
	p.Helper()
	want := p.url + "/error?error=access_denied&error_description=" + strings.ReplaceAll(url.QueryEscape(description), "+", "%20")
	if location != want {
		ins := p.site.SignIns()
		p.Errorf("location %s\n    want %s\n  reason %s", location, want, ins[len(ins)-1].Reason)
	}
}

func (p *idp) landed(location, want string) {
	p.Helper()
	if location != want {
		ins := p.site.SignIns()
		p.Fatalf("location %s, want %s: %s", location, want, ins[len(ins)-1].Reason)
	}
}

func TestStatement41_AuthnRequest(t *testing.T) {
	p := newIdP(t)
	p.member("ada@acme.test")
	b := newBrowser(t)
	status, location, _ := b.post(p.url+"/login", url.Values{"email": {"Ada@acme.test"}})
	u, err := url.Parse(location)
	must(t, err)
	if status != 302 || u.Host != "idp.acme.test" || u.Path != "/sso" || u.Query().Get("tenant") != "1" {
		t.Fatalf("%d %s", status, location)
	}
	q := u.Query()
	if q.Has("Signature") || q.Has("SigAlg") {
		t.Error("it is not signed")
	}
	if rs := q.Get("RelayState"); len(rs) < 20 || strings.Contains(rs, "/") || len(rs) > 80 {
		t.Errorf("RelayState %q is not opaque", rs)
	}
	raw, err := base64.StdEncoding.DecodeString(q.Get("SAMLRequest"))
	must(t, err)
	text, err := io.ReadAll(flate.NewReader(strings.NewReader(string(raw))))
	must(t, err)
	doc := etree.NewDocument()
	must(t, doc.ReadFromBytes(text))
	root := doc.Root()
	got := map[string]string{}
	for _, a := range root.Attr {
		if a.Space == "" && a.Key != "ID" {
			got[a.Key] = a.Value
		}
	}
	want := map[string]string{
		"AssertionConsumerServiceURL": p.sp.ACSURL, "Destination": "https://idp.acme.test/sso?tenant=1",
		"IssueInstant": "2026-03-01T09:00:00Z", "ProtocolBinding": "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST", "Version": "2.0",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if n := len(root.ChildElements()); n != 1 || textOf(child(root, nsAssertion, "Issuer")) != p.sp.SPEntityID {
		t.Errorf("%d children: only Issuer is expected: %s", n, text)
	}
	if !strings.Contains(p.sp.ACSURL, "/login/callback?connection=saml-") {
		t.Error(p.sp.ACSURL)
	}
	// Without an enforcing policy nobody is sent anywhere.
	must(t, second(p.site.AddAccount(NewAccount{Email: "bob@acme.test"})))
	status, location, body := b.post(p.url+"/login", url.Values{"email": {"bob@acme.test"}})
	if status != 200 || location != "" || !strings.Contains(body, "No single sign-on for this address") {
		t.Errorf("%d %s", status, location)
	}
}

func TestStatement42_Audience(t *testing.T) {
	p := newIdP(t)
	p.member("ada@acme.test")
	loc := p.deliver(p.sign(p.response(says{nameID: "ada@acme.test", audience: testEntityID}), false), "")
	if loc != p.url+"/error?error=access_denied&error_description=Audience%20is%20invalid." {
		t.Error(loc)
	}
	doc := p.response(says{nameID: "ada@acme.test"})
	a := child(doc.Root(), nsAssertion, "Assertion")
	a.RemoveChild(child(a, nsAssertion, "Conditions"))
	p.refused(p.deliver(p.sign(doc, false), ""), "Audience is invalid.")
	// The first Audience counts.
	doc = p.response(says{nameID: "ada@acme.test", audience: "x"})
	descendants(doc.Root(), nsAssertion, "AudienceRestriction")[0].CreateElement("saml:Audience").SetText(p.sp.SPEntityID)
	p.refused(p.deliver(p.sign(doc, false), ""), "Audience is invalid.")
}

func TestStatement43_Thumbprint(t *testing.T) {
	p := newIdP(t)
	p.member("ada@acme.test")
	p.landed(p.deliver(p.sign(p.response(says{nameID: "ada@acme.test"}), false), ""), p.url+"/start")
	p.keys.cert = certificate(t, testKey(), 2) // re-issued over the same key
	p.refused(p.deliver(p.sign(p.response(says{nameID: "ada@acme.test"}), false), ""), "Invalid thumbprint")
	// Without KeyInfo the pasted certificate is used, whatever the new one looks like.
	doc := p.sign(p.response(says{nameID: "ada@acme.test"}), false)
	sig := descendants(doc.Root(), nsDSig, "Signature")[0]
	sig.RemoveChild(child(sig, nsDSig, "KeyInfo"))
	p.landed(p.deliver(doc, ""), p.url+"/start")
}

func TestStatement44_Expired(t *testing.T) {
	p := newIdP(t)
	p.member("ada@acme.test")
	now := p.clock.Now()
	for name, c := range map[string]struct {
		notBefore, notOnOrAfter time.Time
		ok                      bool
	}{
		"just inside the skew": {now.Add(-time.Hour), now.Add(-3*time.Minute + time.Second), true},
		"past the skew":        {now.Add(-time.Hour), now.Add(-3 * time.Minute), false},
		"a little early":       {now.Add(2 * time.Minute), now.Add(time.Hour), true},
		"far too early":        {now.Add(4 * time.Minute), now.Add(time.Hour), false},
	} {
		t.Run(name, func(t *testing.T) {
			loc := p.deliver(p.sign(p.response(says{nameID: "ada@acme.test", notBefore: c.notBefore, notOnOrAfter: c.notOnOrAfter}), false), "")
			if c.ok {
				p.landed(loc, p.url+"/start")
			} else {
				p.refused(loc, "assertion has expired.")
			}
		})
	}
}

func TestStatement45_Unsigned(t *testing.T) {
	p := newIdP(t)
	p.member("ada@acme.test")
	p.refused(p.deliver(p.response(says{nameID: "ada@acme.test"}), ""), "neither the response nor the assertion are signed")
	// A signed response alone will do.
	p.landed(p.deliver(p.sign(p.response(says{nameID: "ada@acme.test"}), true), ""), p.url+"/start")
	// A signed response is the only thing that is verified, so both is fine too.
	p.landed(p.deliver(p.sign(p.sign(p.response(says{nameID: "ada@acme.test"}), false), true), ""), p.url+"/start")
}

func TestStatement46_DestinationAndRecipientNeedTheQuery(t *testing.T) {
	p := newIdP(t)
	p.member("ada@acme.test")
	bare := p.url + "/login/callback"
	p.refused(p.deliver(p.sign(p.response(says{nameID: "ada@acme.test", destination: bare}), false), ""),
		"Destination endpoint "+bare+" did not match "+p.sp.ACSURL)
	p.refused(p.deliver(p.sign(p.response(says{nameID: "ada@acme.test", recipient: bare}), false), ""), "Recipient is invalid.")
	// Posted to the bare address, the connection isn't even found.
	_, loc, _ := newBrowser(t).post(bare, url.Values{"SAMLResponse": {"x"}})
	p.refused(loc, "the connection was not found")
}

func TestStatement47_TwoAssertionsOrAnEncryptedOne(t *testing.T) {
	p := newIdP(t)
	p.member("ada@acme.test")
	doc := p.sign(p.response(says{nameID: "ada@acme.test"}), false)
	doc.Root().AddChild(child(doc.Root(), nsAssertion, "Assertion").Copy())
	p.refused(p.deliver(doc, ""), "A SAMLResponse can contain only one Assertion element.")

	doc = p.response(says{nameID: "ada@acme.test"})
	doc.Root().RemoveChild(child(doc.Root(), nsAssertion, "Assertion"))
	doc.Root().CreateElement("saml:EncryptedAssertion")
	p.refused(p.deliver(doc, ""), "Assertion is encrypted. Please set options.decryptionKey with the private key for decrypting the assertion.")

	doc = p.sign(p.response(says{nameID: "ada@acme.test"}), false)
	doc.Root().AddChild(p.response(says{nameID: "eve@acme.test"}).Root())
	p.refused(p.deliver(doc, ""), "SAMLResponse should be unique")
}

func TestStatement48_PolicyStrategyMismatch(t *testing.T) {
	const mismatch = "authentication-policy-strategy-mismatch"
	t.Run("NameID is not the address that began the login", func(t *testing.T) {
		p := newIdP(t)
		p.member("ada@acme.test")
		p.member("bob@acme.test")
		b := newBrowser(t)
		_, location, _ := b.post(p.url+"/login", url.Values{"email": {"ada@acme.test"}})
		u, err := url.Parse(location)
		must(t, err)
		p.refused(p.deliverIn(b, p.sign(p.response(says{nameID: "bob@acme.test"}), false), u.Query().Get("RelayState")), mismatch)
	})
	t.Run("NameID is a user name", func(t *testing.T) {
		p := newIdP(t)
		p.member("ada@acme.test")
		p.refused(p.deliver(p.sign(p.response(says{nameID: "ada", attributes: everything("1")}), false), ""), mismatch)
	})
	t.Run("policy does not enforce", func(t *testing.T) {
		p := newIdP(t)
		p.member("ada@acme.test")
		pol, err := p.site.CreatePolicy(p.dir.ID, "Without")
		must(t, err)
		must(t, p.site.MoveToPolicy(pol.ID, "ada@acme.test"))
		p.refused(p.deliver(p.sign(p.response(says{nameID: "ada@acme.test"}), false), ""), mismatch)
	})
	t.Run("still in the local directory", func(t *testing.T) {
		p := newIdP(t)
		must(t, second(p.site.AddAccount(NewAccount{Email: "ada@acme.test"})))
		p.refused(p.deliver(p.sign(p.response(says{nameID: "ada@acme.test"}), false), ""), mismatch)
	})
	t.Run("browser signed in as somebody else", func(t *testing.T) {
		p := newIdP(t)
		p.member("ada@acme.test")
		p.member("bob@acme.test")
		b := newBrowser(t)
		p.landed(p.deliverIn(b, p.sign(p.response(says{nameID: "ada@acme.test"}), false), ""), p.url+"/start")
		p.refused(p.deliverIn(b, p.sign(p.response(says{nameID: "bob@acme.test"}), false), ""), mismatch)
		b.post(p.url+"/logout", nil)
		p.landed(p.deliverIn(b, p.sign(p.response(says{nameID: "bob@acme.test"}), false), ""), p.url+"/start")
	})
}

func TestStatement49_JustInTime(t *testing.T) {
	const mismatch = "authentication-policy-strategy-mismatch"
	t.Run("all in place", func(t *testing.T) {
		p := newIdP(t)
		p.landed(p.deliver(p.sign(p.response(says{nameID: "new@acme.test", attributes: everything("id-1")}), false), p.url+"/site"), p.url+"/site")
		a := p.account("new@acme.test")
		got := []string{a.GivenName, a.FamilyName, a.FullName, a.ImmutableID, a.Source}
		if d := cmp.Diff([]string{"Ada", "Lovelace", "Ada Lovelace", "id-1", SourceJIT}, got); d != "" || !a.Managed || !a.SSO {
			t.Error(d, a)
		}
		if ins := p.site.SignIns(); !ins[0].Created || !ins[0].OK {
			t.Errorf("%+v", ins[0])
		}
	})
	t.Run("upn will do for the immutable id", func(t *testing.T) {
		p := newIdP(t)
		at := everything("")
		delete(at, claimName)
		at[claimUPN] = "id-2"
		p.landed(p.deliver(p.sign(p.response(says{nameID: "new@acme.test", attributes: at}), false), ""), p.url+"/start")
	})
	for _, missing := range []string{claimGivenName, claimSurname, claimName} {
		t.Run("without "+missing[strings.LastIndexByte(missing, '/')+1:], func(t *testing.T) {
			p := newIdP(t)
			at := everything("id-1")
			delete(at, missing)
			p.refused(p.deliver(p.sign(p.response(says{nameID: "new@acme.test", attributes: at}), false), ""), mismatch)
			if n := len(p.site.Accounts()); n != 0 {
				t.Errorf("%d accounts", n)
			}
		})
	}
	for name, spoil := range map[string]func(p *idp) error{
		"domain not linked": func(p *idp) error { return p.site.LinkDomain("acme.test", "") },
		"claim is manual":   func(p *idp) error { return p.site.ClaimDomain("acme.test", false) },
		"default policy does not enforce": func(p *idp) error {
			pol, err := p.site.DefaultPolicy(p.dir.ID)
			must(p.T, err)
			return p.site.EnforceSSO(pol.ID, false)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newIdP(t)
			must(t, spoil(p))
			p.refused(p.deliver(p.sign(p.response(says{nameID: "new@acme.test", attributes: everything("id-1")}), false), ""), mismatch)
		})
	}
	t.Run("unverified domain", func(t *testing.T) {
		p := newIdP(t)
		p.refused(p.deliver(p.sign(p.response(says{nameID: "new@gmail.test", attributes: everything("id-1")}), false), ""), mismatch)
	})
}

func TestStatement50_ImmutableID(t *testing.T) {
	t.Run("the address follows", func(t *testing.T) {
		p := newIdP(t)
		before := p.member("ada@acme.test")
		p.landed(p.deliver(p.sign(p.response(says{nameID: "ada@acme.test", attributes: everything("id-1")}), false), ""), p.url+"/start")
		p.landed(p.deliver(p.sign(p.response(says{nameID: "ada.lovelace@acme.test", attributes: everything("id-1")}), false), ""), p.url+"/start")
		if after := p.account("ada.lovelace@acme.test"); after.ID != before.ID {
			t.Error("another account")
		}
		if n := len(p.site.Accounts()); n != 1 {
			t.Errorf("%d accounts", n)
		}
	})
	t.Run("without it a new account", func(t *testing.T) {
		p := newIdP(t)
		before := p.member("ada@acme.test")
		p.landed(p.deliver(p.sign(p.response(says{nameID: "ada@acme.test"}), false), ""), p.url+"/start")
		p.landed(p.deliver(p.sign(p.response(says{nameID: "ada.lovelace@acme.test", attributes: everything("id-1")}), false), ""), p.url+"/start")
		if after := p.account("ada.lovelace@acme.test"); after.ID == before.ID || after.Source != SourceJIT {
			t.Errorf("%+v", after)
		}
	})
	t.Run("somebody else's login does not follow", func(t *testing.T) {
		p := newIdP(t)
		p.member("ada@acme.test")
		p.member("bob@acme.test")
		p.landed(p.deliver(p.sign(p.response(says{nameID: "bob@acme.test", attributes: everything("id-b")}), false), ""), p.url+"/start")
		_, location, _ := newBrowser(t).post(p.url+"/login", url.Values{"email": {"ada@acme.test"}})
		u, err := url.Parse(location)
		must(t, err)
		p.refused(p.deliver(p.sign(p.response(says{nameID: "bob@acme.test", attributes: everything("id-b")}), false), u.Query().Get("RelayState")), policyMismatch)
	})
}

func TestStatement51_IdPInitiated(t *testing.T) {
	p := newIdP(t)
	p.member("ada@acme.test")
	for relayState, want := range map[string]string{
		p.url + "/site":             p.url + "/site",
		p.url + "/site/wiki?page=1": p.url + "/site/wiki?page=1",
		"":                          p.url + "/start",
		"https://evil.test/site":    p.url + "/start",
		strings.Replace(p.url, "http://", "http://evil.test/", 1) + "/site": p.url + "/start",
	} {
		b := newBrowser(t)
		loc := p.deliverIn(b, p.sign(p.response(says{nameID: "ada@acme.test", attributes: everything("id-1")}), false), relayState)
		p.landed(loc, want)
		status, _, body := b.get(loc, "text/html")
		if status != 200 || !strings.Contains(body, "ada@acme.test") {
			t.Errorf("%s: %d", loc, status)
		}
	}
	in := p.site.SignIns()[0]
	if !in.IdPInitiated || in.Signed != "assertion" || in.NameID != "ada@acme.test" {
		t.Errorf("%+v", in)
	}
}

func TestStatement52_RelayStateMustComeBack(t *testing.T) {
	p := newIdP(t)
	p.member("ada@acme.test")
	begin := func(b *browser) (relayState, id string) {
		status, location, _ := b.get(p.url+"/site", "text/html")
		if status != 302 || !strings.HasPrefix(location, "/login?continue=") {
			t.Fatal(status, location)
		}
		cont, err := url.Parse(location)
		must(t, err)
		_, location, _ = b.post(p.url+"/login", url.Values{"email": {"ada@acme.test"}, "continue": {cont.Query().Get("continue")}})
		u, err := url.Parse(location)
		must(t, err)
		raw, err := base64.StdEncoding.DecodeString(u.Query().Get("SAMLRequest"))
		must(t, err)
		text, err := io.ReadAll(flate.NewReader(strings.NewReader(string(raw))))
		must(t, err)
		doc := etree.NewDocument()
		must(t, doc.ReadFromBytes(text))
		return u.Query().Get("RelayState"), doc.Root().SelectAttrValue("ID", "")
	}
	b := newBrowser(t)
	relayState, id := begin(b)
	doc := p.sign(p.response(says{nameID: "ada@acme.test", inResponseTo: id, attributes: everything("id-1")}), false)
	for _, altered := range []string{relayState + "x", strings.ToUpper(relayState), "", p.url + "/site"} {
		p.refused(p.deliverIn(b, doc, altered), "Unable to verify the login state.")
	}
	p.landed(p.deliverIn(b, doc, relayState), p.url+"/site")
	p.refused(p.deliverIn(b, doc, relayState), "Unable to verify the login state.") // good for once
	p.refused(p.deliver(p.sign(p.response(says{nameID: "ada@acme.test"}), false), "opaque"), "Unable to verify the login state.")
}

func TestStatement53_NamesFollowTheLoginOnlyWithoutSCIM(t *testing.T) {
	p := newIdP(t)
	p.member("ada@acme.test")
	p.user("bob") // by SCIM, named "Ada bob"
	for _, email := range []string{"ada@acme.test", "bob@acme.test"} {
		p.landed(p.deliver(p.sign(p.response(says{nameID: email, attributes: everything("id-" + email[:3])}), false), ""), p.url+"/start")
	}
	got := []string{p.account("ada@acme.test").FullName, p.account("bob@acme.test").FullName}
	if d := cmp.Diff([]string{"Ada Lovelace", "Ada bob"}, got); d != "" {
		t.Error(d)
	}
}

func TestDeactivatedAccountsCannotSignIn(t *testing.T) {
	p := newIdP(t)
	u := p.user("ada")
	b := newBrowser(t)
	p.landed(p.deliverIn(b, p.sign(p.response(says{nameID: "ada@acme.test"}), false), ""), p.url+"/start")
	if status, _, _ := b.get(p.url+"/site", "application/json"); status != 200 {
		t.Error(status)
	}
	p.want(p.do("PATCH", "/Users/"+u.str("id"), patchBody(`{"op":"replace","path":"active","value":false}`)), 200, "")
	if status, _, _ := b.get(p.url+"/site", "application/json"); status != 401 {
		t.Errorf("the session lives on: %d", status)
	}
	p.refused(p.deliver(p.sign(p.response(says{nameID: "ada@acme.test"}), false), ""), "Your account is deactivated.")
}

func TestResponsesThatLie(t *testing.T) {
	p := newIdP(t)
	p.member("ada@acme.test")
	p.member("eve@acme.test")
	good := func() *etree.Document { return p.sign(p.response(says{nameID: "eve@acme.test"}), false) }
	t.Run("changed after signing", func(t *testing.T) {
		doc := good()
		descendants(doc.Root(), nsAssertion, "NameID")[0].SetText("ada@acme.test")
		if loc := p.deliver(doc, ""); !strings.Contains(loc, "Signature%20check%20errors") {
			t.Error(loc)
		}
	})
	t.Run("signed assertion wrapped in an extension", func(t *testing.T) {
		doc := good()
		signed := child(doc.Root(), nsAssertion, "Assertion")
		evil := signed.Copy()
		descendants(evil, nsAssertion, "NameID")[0].SetText("ada@acme.test")
		evil.CreateAttr("ID", "_evil")
		doc.Root().RemoveChild(signed)
		doc.Root().CreateElement("samlp:Extensions").AddChild(signed)
		doc.Root().AddChild(evil)
		p.refused(p.deliver(doc, ""), "A SAMLResponse can contain only one Assertion element.")
	})
	t.Run("signature over another element", func(t *testing.T) {
		doc := good()
		child(doc.Root(), nsAssertion, "Assertion").CreateAttr("ID", "_other")
		if loc := p.deliver(doc, ""); !strings.Contains(loc, "does%20not%20point") {
			t.Error(loc)
		}
	})
	t.Run("comment in the NameID", func(t *testing.T) {
		doc := p.response(says{nameID: "eve@acme.test"})
		n := descendants(doc.Root(), nsAssertion, "NameID")[0]
		n.SetText("")
		n.CreateText("eve@acme")
		n.CreateComment("x")
		n.CreateText(".test")
		loc := p.deliver(p.sign(doc, false), "")
		ins := p.site.SignIns()
		if got := ins[len(ins)-1].NameID; got != "eve@acme.test" {
			t.Errorf("read as %q, landed on %s", got, loc)
		}
	})
	t.Run("document type", func(t *testing.T) {
		text := `<!DOCTYPE x [<!ENTITY e "ada">]><samlp:Response xmlns:samlp="` + nsProtocol + `"/>`
		_, loc, _ := newBrowser(t).post(p.sp.ACSURL, url.Values{"SAMLResponse": {base64.StdEncoding.EncodeToString([]byte(text))}})
		p.refused(loc, "SAMLResponse should be a valid xml")
	})
	t.Run("another key behind the pasted certificate", func(t *testing.T) {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		must(t, err)
		evil := *p
		evil.keys.key = k
		if loc := p.deliver(evil.sign(p.response(says{nameID: "ada@acme.test"}), false), ""); !strings.Contains(loc, "Signature%20check%20errors") {
			t.Error(loc)
		}
	})
	t.Run("issuer", func(t *testing.T) {
		doc := p.sign(p.response(says{nameID: "ada@acme.test", issuer: "somebody"}), false)
		p.refused(p.deliver(doc, ""), "Issuer is invalid.")
		sw := p.site.Switches()
		sw.CheckIssuer = false
		p.site.SetSwitches(sw)
		p.landed(p.deliver(doc, ""), p.url+"/start")
	})
	t.Run("status", func(t *testing.T) {
		p.refused(p.deliver(p.response(says{nameID: "x", status: "urn:oasis:names:tc:SAML:2.0:status:Responder", message: "No access"}), ""), "No access")
		p.refused(p.deliver(p.response(says{nameID: "x", status: "urn:oasis:names:tc:SAML:2.0:status:Requester"}), ""),
			"The request could not be performed due to an error on the part of the requester")
	})
	t.Run("not base64, empty", func(t *testing.T) {
		_, loc, _ := newBrowser(t).post(p.sp.ACSURL, url.Values{"SAMLResponse": {"%%%"}})
		p.refused(loc, "SAMLResponse should be a valid xml")
		_, loc, _ = newBrowser(t).post(p.sp.ACSURL, nil)
		p.refused(loc, "SAMLResponse is missing.")
	})
	t.Run("persistent NameID of another provider", func(t *testing.T) {
		doc := p.response(says{nameID: "ada@acme.test", format: "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"})
		descendants(doc.Root(), nsAssertion, "NameID")[0].CreateAttr("NameQualifier", "other")
		p.refused(p.deliver(p.sign(doc, false), ""), "NameQualifier attribute in the NameID element does not match "+testEntityID)
	})
}
