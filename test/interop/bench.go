package main

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/beevik/etree"
)

// The person, and what service providers must get of them to the byte.
const (
	email      = "zoe@interop.example"
	givenName  = "Zoë"
	familyName = `Ångström-<O'Neill> & "Söhne"`
	title      = `]]> &amp; <b>Chief</b> 🦊 日本語`
)

// values are those of the attribute "text": each is something that breaks in careless hands.
var values = []string{
	"plain",
	`<>&"']]>`,
	"&lt;script&gt;alert(1)&lt;/script&gt;",
	"two\nlines and\ta tab",
	"Ünïcödé ελληνικά עברית 漢字 🦊",
	"semi;colon, comma; back\\slash $dollar %percent+plus",
}

// groupNames are the person's groups that are bound to the application.
var groupNames = []string{"Everybody", `R&D <"core">`}

// bench is one service provider joined to Latchkey, and what cases do with them.
type bench struct {
	product  *product
	groups   []string // ids of groupNames
	provider provider
	lab      *lab
	app      application
	// known are the fields of sign-on settings that this build has.
	known map[string]any
	// own is a pair that this program knows the key of; it signs after the case of the certificate change.
	own pair
	// uploaded tells that own is Latchkey's current pair for the application.
	uploaded bool
	idp      idpSide
	set      settings
	// browsers are those of the case that runs.
	browsers []*browser
	// issued are messages that Latchkey sent, with the certificate of that time.
	issued []issued
}

// mapping is what the application gets of people.
func mapping(format string) map[string]any {
	row := func(target string, source map[string]any) map[string]any {
		return map[string]any{"target": target, "source": source, "nameFormat": "urn:oasis:names:tc:SAML:2.0:attrname-format:basic"}
	}
	return map[string]any{
		"nameID": map[string]any{"format": format},
		"rows": []any{
			map[string]any{"target": "groups", "enabled": true},
			row("title", map[string]any{"attribute": "title"}),
			row("text", map[string]any{"constant": values}),
		},
	}
}

// want are the attributes that must arrive.
func want() map[string][]string {
	return map[string][]string{
		"email": {email}, "firstName": {givenName}, "lastName": {familyName}, "title": {title}, "text": values, "groups": groupNames,
	}
}

// join makes the application and starts the service provider; the exchange of metadata is a case.
func (b *bench) join(ctx context.Context) (err error) {
	if b.lab.key, err = newPair(b.lab.dir, b.lab.slug); err != nil {
		return err
	}
	if b.app, err = b.product.application(ctx, b.lab.label, b.lab.slug, b.groups...); err != nil {
		return err
	}
	if err := b.product.call(ctx, http.MethodGet, "/applications/"+b.app.ID+"/saml", nil, &b.known); err != nil {
		return err
	}
	return b.provider.start(ctx, b.lab)
}

// exchange gives each side the other's metadata, and activates sign-on.
func (b *bench) exchange(ctx context.Context) error {
	if err := b.arrange(ctx, baseline(), nil); err != nil {
		return fmt.Errorf("our metadata: %w", err)
	}
	md, err := b.provider.metadata(ctx)
	if err != nil {
		return fmt.Errorf("its metadata: %w", err)
	}
	if err := os.WriteFile(filepath.Join(b.lab.dir, b.lab.slug+"-metadata.xml"), md, 0o644); err != nil {
		return err
	}
	var result struct {
		Application application
		Notes       []string
	}
	if err := b.product.call(ctx, http.MethodPost, "/applications/"+b.app.ID+"/saml/metadata", md, &result); err != nil {
		return fmt.Errorf("its metadata: %w", err)
	}
	b.app = result.Application
	if b.app.SAML.Status == "active" {
		return nil
	}
	return b.product.call(ctx, http.MethodPost, "/applications/"+b.app.ID+"/saml/activate", nil, nil)
}

// has tells whether this build knows a field of sign-on settings.
func (b *bench) has(field string) bool { _, ok := b.known[field]; return ok }

// arrange sets both sides: ours to the usual with changes, the service provider to set.
func (b *bench) arrange(ctx context.Context, set settings, changes map[string]any) error {
	patch := map[string]any{
		"signAssertion": true, "signResponse": false, "signatureAlgorithm": "", "requireSignedRequests": false, "mapping": mapping(set.Format),
		"encryptAssertions": false, "encryptionAlgorithm": "",
	}
	maps.Copy(patch, changes)
	maps.DeleteFunc(patch, func(k string, _ any) bool { return !b.has(k) })
	if err := b.product.call(ctx, http.MethodPatch, "/applications/"+b.app.ID+"/saml", patch, nil); err != nil {
		return err
	}
	md, err := fetch(ctx, b.app.URLs.Metadata)
	if err != nil {
		return err
	}
	idp, err := readIdP(md)
	if err != nil {
		return err
	}
	idp.Metadata = filepath.Join(b.lab.dir, b.lab.slug+"-idp.xml")
	if err := os.WriteFile(idp.Metadata, md, 0o644); err != nil {
		return err
	}
	b.idp, b.set = idp, set
	return b.provider.configure(ctx, set, idp)
}

// readIdP takes from our metadata what libraries want that can't read metadata.
func readIdP(md []byte) (idpSide, error) {
	var s idpSide
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(md); err != nil {
		return s, err
	}
	s.EntityID = doc.Root().SelectAttrValue("entityID", "")
	d := doc.Root().SelectElement("IDPSSODescriptor")
	if s.EntityID == "" || d == nil {
		return s, errors.New("our metadata has no entityID or no IDPSSODescriptor")
	}
	for _, e := range d.ChildElements() {
		at, binding := e.SelectAttrValue("Location", ""), e.SelectAttrValue("Binding", "")
		redirect := strings.HasSuffix(binding, ":HTTP-Redirect")
		switch {
		case e.Tag == "SingleSignOnService" && redirect:
			s.SSORedirect = at
		case e.Tag == "SingleSignOnService":
			s.SSOPost = at
		case e.Tag == "SingleLogoutService" && redirect:
			s.SLORedirect = at
		case e.Tag == "SingleLogoutService":
			s.SLOPost = at
		case e.Tag == "KeyDescriptor":
			c := e.FindElement(".//X509Certificate")
			if c == nil {
				return s, errors.New("a KeyDescriptor without certificate")
			}
			der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(c.Text()), ""))
			if err != nil {
				return s, err
			}
			if _, err := x509.ParseCertificate(der); err != nil {
				return s, err
			}
			s.Certificates = append(s.Certificates, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
		}
	}
	if s.SSORedirect == "" || s.SSOPost == "" || len(s.Certificates) == 0 {
		return s, errors.New("our metadata lacks an endpoint or a certificate")
	}
	return s, nil
}

// browser is a new one for the person.
func (b *bench) browser() (*browser, error) {
	br, err := newBrowser(b.product.url, email)
	b.browsers = append(b.browsers, br)
	return br, err
}

// issued is a message that Latchkey sent.
type issued struct {
	caseKey     string
	xml         []byte
	certificate string
}

// collect keeps what Latchkey sent in a case, for the judges.
func (b *bench) collect(caseKey string) {
	for _, br := range b.browsers {
		for _, m := range br.messages {
			if !m.changed && !strings.HasPrefix(m.to.String(), b.product.url+"/") {
				b.issued = append(b.issued, issued{caseKey, m.xml, b.idp.Certificates[0]})
			}
		}
	}
}

// keep writes the messages that the browsers of a case carried to files.
func (b *bench) keep(name string) error {
	n := 0
	for _, br := range b.browsers {
		for _, m := range br.messages {
			n++
			file := fmt.Sprintf("%s-%s-%d-%s.xml", b.lab.slug, name, n, rootName(m.xml))
			if err := os.WriteFile(filepath.Join(b.lab.dir, file), m.xml, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// signOn begins at the service provider and ends there; the session is nil if it took nobody in.
func (b *bench) signOn(ctx context.Context, br *browser) (*page, *session, error) {
	p, err := br.open(ctx, b.provider.login(b.set))
	if err != nil {
		return nil, nil, err
	}
	s, err := b.provider.session(ctx, br)
	return p, s, err
}

// accepted is a sign-on at the service provider that must succeed.
func (b *bench) accepted(ctx context.Context, br *browser) (*session, error) {
	p, s, err := b.signOn(ctx, br)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return nil, fmt.Errorf("nobody is signed in: %s", p)
	}
	return s, b.sentAndMeant(br, s)
}

// sentAndMeant checks that the browser carried a response, and that the session is the person's.
func (b *bench) sentAndMeant(br *browser, s *session) error {
	m := br.last("Response")
	if m == nil || m.binding != "POST" {
		return errors.New("no response was posted")
	}
	if req := br.last("AuthnRequest"); req != nil && req.values.Get("RelayState") != m.values.Get("RelayState") {
		return fmt.Errorf("the RelayState %q came back as %q", req.values.Get("RelayState"), m.values.Get("RelayState"))
	}
	if b.set.Format == formatEmail && s.NameID != email {
		return fmt.Errorf("the NameID is %q", s.NameID)
	}
	return nil
}

// refusedBy is a sign-on whose response the service provider must refuse.
func (b *bench) refusedBy(ctx context.Context, br *browser) error {
	p, s, err := b.signOn(ctx, br)
	if err != nil {
		return err
	}
	if br.last("Response") == nil {
		return fmt.Errorf("no response was sent: %s", p)
	}
	if s != nil {
		return fmt.Errorf("it signed %s in", s.NameID)
	}
	return nil
}

// altered has each response changed on its way.
func altered(change func([]byte) ([]byte, error)) func(fields map[string][]string) error {
	return func(fields map[string][]string) error {
		raw, err := base64.StdEncoding.DecodeString(fields["SAMLResponse"][0])
		if err != nil {
			return err
		}
		if raw, err = change(raw); err != nil {
			return err
		}
		fields["SAMLResponse"] = []string{base64.StdEncoding.EncodeToString(raw)}
		return nil
	}
}

// differences tells what of the wanted attributes didn't arrive as they are.
func differences(got map[string][]string) error {
	var wrong []string
	for name, values := range want() {
		have := slices.Clone(got[name])
		if name == "groups" {
			// Groups have no order.
			slices.Sort(have)
			values = slices.Sorted(slices.Values(values))
		}
		if !slices.Equal(have, values) {
			wrong = append(wrong, fmt.Sprintf("%s is %q instead of %q", name, have, values))
		}
	}
	slices.Sort(wrong)
	if wrong != nil {
		return errors.New(strings.Join(wrong, "; "))
	}
	return nil
}
