package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/beevik/etree"
)

// aCase is one row of the matrix.
type aCase struct {
	key   string
	title string
	// needs are the fields of our settings without which it can't be tried.
	needs []string
	run   func(context.Context, *bench) error
}

// cases are in the order in which they are run: the certificate is changed before the cases that forge.
var cases = []aCase{
	{"metadata", "Metadata both ways", nil, func(ctx context.Context, b *bench) error { return b.exchange(ctx) }},
	{"sp-redirect", "SP-initiated, Redirect", nil, begun("redirect", false)},
	{"sp-post", "SP-initiated, POST", nil, begun("post", false)},
	{"idp-initiated", "IdP-initiated", nil, idpInitiated},
	{"signed-redirect", "Signed request required, Redirect", nil, begun("redirect", true)},
	{"signed-post", "Signed request required, POST", nil, begun("post", true)},
	{"sign-response", "Response signed", nil, signedAs(false, true)},
	{"sign-assertion", "Assertion signed", nil, signedAs(true, false)},
	{"sign-both", "Both signed", nil, signedAs(true, true)},
	{"sha384", "RSA-SHA384", nil, algorithm("http://www.w3.org/2001/04/xmldsig-more#rsa-sha384", "http://www.w3.org/2001/04/xmldsig-more#sha384")},
	{"sha512", "RSA-SHA512", nil, algorithm("http://www.w3.org/2001/04/xmldsig-more#rsa-sha512", "http://www.w3.org/2001/04/xmlenc#sha512")},
	{"sha1", "RSA-SHA1 by exception", []string{"allowSha1"}, sha1},
	{"encrypted-256", "Encrypted, AES-256-GCM", []string{"encryptAssertions"}, encrypted("http://www.w3.org/2009/xmlenc11#aes256-gcm", false)},
	{"encrypted-128", "Encrypted, AES-128-GCM", []string{"encryptAssertions"}, encrypted("http://www.w3.org/2009/xmlenc11#aes128-gcm", false)},
	{"encrypted-both", "Encrypted, both signed", []string{"encryptAssertions"}, encrypted("http://www.w3.org/2009/xmlenc11#aes256-gcm", true)},
	{"persistent", "Persistent NameID", nil, persistent},
	{"transient", "Transient NameID", nil, transient},
	{"force", "ForceAuthn", nil, force},
	{"passive", "IsPassive: NoPassive without a session, and sign-on with one", nil, passive},
	{"attributes", "Attribute values to the byte", nil, attributes},
	{"slo-sp", "Logout begun by the SP", []string{"sloUrl"}, logoutAtSP},
	{"slo-idp", "Logout begun at Latchkey", []string{"sloUrl"}, logoutAtIdP},
	{"slo-both", "Logout begun by the SP reaches another SP", []string{"sloUrl"}, logoutReachesOther},
	{"certificate", "Change of our certificate", nil, certificateChange},
	{"forged-true", "Control: signed anew, unchanged: accepted", nil, forgedTrue},
	{"refuse-tampered", "Tampered response: refused", nil, refuseTampered},
	{"refuse-audience", "Wrong audience: refused", nil, refuseForged(wrongAudience)},
	{"refuse-expired", "Expired response: refused", nil, refuseForged(expire)},
	{"refuse-recipient", "Wrong recipient: refused", nil, refuseForged(wrongRecipient)},
	{"refuse-key", "Signed by another key: refused", nil, refuseOtherKey},
	{"refuse-unsigned", "Signature removed: refused", nil, refuseUnsigned},
	{"judges", "What Latchkey sent: OASIS schemas, xmlsec1", nil, judges},
}

// begun is a sign-on that begins at the service provider.
func begun(binding string, sign bool) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) error {
		set := baseline()
		set.Binding, set.Sign = binding, sign
		if err := b.arrange(ctx, set, map[string]any{"requireSignedRequests": sign}); err != nil {
			return err
		}
		br, err := b.browser()
		if err != nil {
			return err
		}
		if _, err := b.accepted(ctx, br); err != nil {
			return err
		}
		m := br.last("AuthnRequest")
		if m == nil {
			return errors.New("no AuthnRequest was sent")
		}
		if !strings.EqualFold(m.binding, binding) {
			return fmt.Errorf("the request went by %s", m.binding)
		}
		if sign && !m.signed() {
			return errors.New("the request wasn't signed")
		}
		if !sign {
			return nil
		}
		return unsignedRefused(ctx, b, m)
	}
}

// unsignedRefused sends the request without its signature, and has to be refused by us.
func unsignedRefused(ctx context.Context, b *bench, m *message) error {
	if m.binding != "Redirect" {
		return nil
	}
	br, err := b.browser()
	if err != nil {
		return err
	}
	to, q := *m.to, url.Values{"SAMLRequest": m.values["SAMLRequest"]}
	to.RawQuery = q.Encode()
	if _, err := br.open(ctx, to.String()); err != nil {
		return err
	}
	if r := br.last("Response"); r != nil && holds(r.xml, "Assertion") {
		return errors.New("Latchkey answered a request without the signature that it requires")
	}
	return nil
}

func idpInitiated(ctx context.Context, b *bench) error {
	if err := b.arrange(ctx, baseline(), nil); err != nil {
		return err
	}
	br, err := b.browser()
	if err != nil {
		return err
	}
	p, err := br.open(ctx, b.product.url+"/launch/"+b.app.ID)
	if err != nil {
		return err
	}
	s, err := b.provider.session(ctx, br)
	if err != nil {
		return err
	}
	if s == nil {
		return fmt.Errorf("nobody is signed in: %s", p)
	}
	if m := br.last("Response"); m == nil || holds(m.xml, "InResponseTo") {
		return errors.New("the response answers a request")
	}
	return b.sentAndMeant(br, s)
}

// signedAs has the assertion, the response or both signed, and the service provider insist on it.
func signedAs(assertion, response bool) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) error {
		set := baseline()
		set.WantAssertionSigned, set.WantResponseSigned = assertion, response
		if err := b.arrange(ctx, set, map[string]any{"signAssertion": assertion, "signResponse": response}); err != nil {
			return err
		}
		br, err := b.browser()
		if err != nil {
			return err
		}
		if _, err := b.accepted(ctx, br); err != nil {
			return err
		}
		m := br.last("Response")
		if a, r := signedElement(m.xml, "Assertion"), signedElement(m.xml, ""); a != assertion || r != response {
			return fmt.Errorf("signed: assertion %v, response %v", a, r)
		}
		return nil
	}
}

// algorithm signs both with an algorithm.
func algorithm(signature, digest string) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) error {
		return signedBy(ctx, b, map[string]any{"signatureAlgorithm": signature}, signature, digest)
	}
}

func signedBy(ctx context.Context, b *bench, changes map[string]any, signature, digest string) error {
	set := baseline()
	set.WantResponseSigned = true
	changes["signResponse"] = true
	if err := b.arrange(ctx, set, changes); err != nil {
		return err
	}
	br, err := b.browser()
	if err != nil {
		return err
	}
	if _, err := b.accepted(ctx, br); err != nil {
		return err
	}
	m := br.last("Response")
	if n := bytes.Count(m.xml, []byte(`"`+signature+`"`)); n != 2 || bytes.Count(m.xml, []byte(`"`+digest+`"`)) != 2 {
		return fmt.Errorf("%d signatures by that algorithm", n)
	}
	return nil
}

func sha1(ctx context.Context, b *bench) error {
	err := signedBy(ctx, b, map[string]any{"allowSha1": true, "signatureAlgorithm": "http://www.w3.org/2000/09/xmldsig#rsa-sha1"},
		"http://www.w3.org/2000/09/xmldsig#rsa-sha1", "http://www.w3.org/2000/09/xmldsig#sha1")
	return errors.Join(err, b.arrange(ctx, baseline(), map[string]any{"allowSha1": false}))
}

// encrypted sends the assertion encrypted for the key of the service provider's metadata.
func encrypted(algorithm string, both bool) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) error {
		set := baseline()
		set.WantEncrypted, set.WantResponseSigned = true, both
		if err := b.arrange(ctx, set, map[string]any{
			"encryptAssertions": true, "encryptionAlgorithm": algorithm, "signResponse": both, "encryptionCertificate": string(b.lab.key.certPEM),
		}); err != nil {
			return err
		}
		br, err := b.browser()
		if err != nil {
			return err
		}
		s, err := b.accepted(ctx, br)
		if err != nil {
			return err
		}
		m := br.last("Response")
		if holds(m.xml, "AttributeStatement") || !holds(m.xml, "EncryptedAssertion") || !holds(m.xml, `"`+algorithm+`"`) {
			return errors.New("the assertion wasn't encrypted so")
		}
		// Values to the byte are another case.
		if got := s.Attributes; !slices.Equal(got["email"], []string{email}) || len(got["text"]) != len(values) {
			return fmt.Errorf("the attributes are %q", got)
		}
		return nil
	}
}

// persistent NameIDs are the same each time, and aren't the e-mail address.
func persistent(ctx context.Context, b *bench) error {
	one, two, err := twice(ctx, b, formatPersistent)
	switch {
	case err != nil:
		return err
	case one != two:
		return fmt.Errorf("the NameID was %q, then %q", one, two)
	case strings.Contains(one, "@") && strings.Contains(one, "zoe"):
		return fmt.Errorf("the NameID is %q, which tells who it is", one)
	}
	return nil
}

// transient NameIDs are new each time.
func transient(ctx context.Context, b *bench) error {
	one, two, err := twice(ctx, b, formatTransient)
	if err == nil && one == two {
		err = fmt.Errorf("the NameID was %q twice", one)
	}
	return err
}

func twice(ctx context.Context, b *bench, format string) (one, two string, err error) {
	set := baseline()
	set.Format = format
	if err := b.arrange(ctx, set, nil); err != nil {
		return "", "", err
	}
	ids := make([]string, 2)
	for i := range ids {
		br, err := b.browser()
		if err != nil {
			return "", "", err
		}
		s, err := b.accepted(ctx, br)
		if err != nil {
			return "", "", err
		}
		if s.NameID == "" || s.Format != "" && s.Format != format {
			return "", "", fmt.Errorf("the NameID is %q in the format %s", s.NameID, s.Format)
		}
		if m := br.last("Response"); !holds(m.xml, format) {
			return "", "", errors.New("the response has another NameID format")
		}
		ids[i] = s.NameID
	}
	return ids[0], ids[1], nil
}

// force signs on with a session at Latchkey: without ForceAuthn no password is asked for, with it one is.
func force(ctx context.Context, b *bench) error {
	if err := b.arrange(ctx, baseline(), nil); err != nil {
		return err
	}
	br, err := b.browser()
	if err != nil {
		return err
	}
	if _, err := br.open(ctx, b.product.url+"/"); err != nil {
		return err
	}
	if _, err := b.accepted(ctx, br); err != nil {
		return err
	}
	if br.signIns != 1 {
		return fmt.Errorf("%d passwords before ForceAuthn", br.signIns)
	}
	set := baseline()
	set.Force = true
	if err := b.arrange(ctx, set, nil); err != nil {
		return err
	}
	second, err := b.browser()
	if err != nil {
		return err
	}
	if _, err := second.open(ctx, b.product.url+"/"); err != nil {
		return err
	}
	if _, err := b.accepted(ctx, second); err != nil {
		return err
	}
	if m := second.last("AuthnRequest"); m == nil || !isTrue(m.xml, "ForceAuthn") {
		return errors.New("the request has no ForceAuthn")
	}
	if second.signIns != 2 {
		return fmt.Errorf("%d passwords instead of 2", second.signIns)
	}
	return nil
}

func passive(ctx context.Context, b *bench) error {
	set := baseline()
	set.Passive = true
	if err := b.arrange(ctx, set, nil); err != nil {
		return err
	}
	br, err := b.browser()
	if err != nil {
		return err
	}
	_, s, err := b.signOn(ctx, br)
	if err != nil {
		return err
	}
	if m := br.last("AuthnRequest"); m == nil || !isTrue(m.xml, "IsPassive") {
		return errors.New("the request has no IsPassive")
	}
	m := br.last("Response")
	switch {
	case m == nil || !holds(m.xml, "urn:oasis:names:tc:SAML:2.0:status:NoPassive"):
		return errors.New("the answer wasn't NoPassive")
	case br.signIns != 0:
		return errors.New("a password was asked for")
	case s != nil:
		return fmt.Errorf("it signed %s in", s.NameID)
	}
	second, err := b.browser()
	if err != nil {
		return err
	}
	if _, err := second.open(ctx, b.product.url+"/"); err != nil {
		return err
	}
	_, err = b.accepted(ctx, second)
	return err
}

func attributes(ctx context.Context, b *bench) error {
	if err := b.arrange(ctx, baseline(), nil); err != nil {
		return err
	}
	br, err := b.browser()
	if err != nil {
		return err
	}
	s, err := b.accepted(ctx, br)
	if err != nil {
		return err
	}
	return differences(s.Attributes)
}

// out tells whether the browser has no session at either side.
func (b *bench) out(ctx context.Context, br *browser) error {
	s, err := b.provider.session(ctx, br)
	if err != nil {
		return err
	}
	if s != nil {
		return errors.New("the service provider's session goes on")
	}
	br.stay = true
	p, err := br.open(ctx, b.product.url+"/")
	if err != nil {
		return err
	}
	if p.url.Path != "/signin" {
		return fmt.Errorf("Latchkey's session goes on: %s", p.url.Path)
	}
	return nil
}

// signing is the usual with all messages of the service provider signed, as logout needs.
func signing() settings {
	set := baseline()
	set.Sign = true
	return set
}

// logoutAtSP ends the session at the service provider, which ends ours.
func logoutAtSP(ctx context.Context, b *bench) error {
	if b.idp.SLORedirect == "" && b.idp.SLOPost == "" {
		return errors.New("our metadata has no SingleLogoutService")
	}
	if err := b.arrange(ctx, signing(), nil); err != nil {
		return err
	}
	br, err := b.browser()
	if err != nil {
		return err
	}
	if _, err := b.accepted(ctx, br); err != nil {
		return err
	}
	p, err := br.open(ctx, b.provider.logout(b.set))
	if err != nil {
		return err
	}
	if m := br.last("LogoutRequest"); m == nil {
		return fmt.Errorf("no LogoutRequest was sent: %s", p)
	}
	m := br.last("LogoutResponse")
	if m == nil {
		return fmt.Errorf("no LogoutResponse came: %s", p)
	}
	if !holds(m.xml, "urn:oasis:names:tc:SAML:2.0:status:Success") {
		return fmt.Errorf("the LogoutResponse isn't Success: %s", m.xml)
	}
	if !strings.HasPrefix(m.to.String(), b.product.url) && p.status >= 400 {
		return fmt.Errorf("the service provider refused the LogoutResponse: %s", p)
	}
	return b.out(ctx, br)
}

// logoutAtIdP ends the session at Latchkey, which ends the service provider's.
func logoutAtIdP(ctx context.Context, b *bench) error {
	if err := b.arrange(ctx, signing(), nil); err != nil {
		return err
	}
	br, err := b.browser()
	if err != nil {
		return err
	}
	if _, err := b.accepted(ctx, br); err != nil {
		return err
	}
	p, err := br.post(ctx, b.product.url+"/signout", url.Values{})
	if err != nil {
		return err
	}
	if m := br.last("LogoutRequest"); m == nil {
		return fmt.Errorf("no LogoutRequest was sent: %s", p)
	}
	m := br.last("LogoutResponse")
	if m == nil {
		return fmt.Errorf("no LogoutResponse came back: %s", p)
	}
	if !holds(m.xml, "urn:oasis:names:tc:SAML:2.0:status:Success") {
		return fmt.Errorf("the LogoutResponse isn't Success: %s", m.xml)
	}
	if !strings.HasPrefix(p.url.String(), b.product.url) {
		return fmt.Errorf("the walk ended elsewhere: %s", p)
	}
	return b.out(ctx, br)
}

// logoutReachesOther signs on at another service provider, too, in the same session at Latchkey.
func logoutReachesOther(ctx context.Context, b *bench) (err error) {
	l := &lab{root: b.lab.root, dir: b.lab.dir, slug: b.lab.slug + "-other", label: b.lab.label + " (another)"}
	other := &bench{product: b.product, groups: b.groups, provider: crewjam(), lab: l}
	if err := other.join(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, other.provider.stop()) }()
	if err := other.exchange(ctx); err != nil {
		return err
	}
	if err := errors.Join(other.arrange(ctx, signing(), nil), b.arrange(ctx, signing(), nil)); err != nil {
		return err
	}
	br, err := b.browser()
	if err != nil {
		return err
	}
	if _, err := other.accepted(ctx, br); err != nil {
		return fmt.Errorf("at the other: %w", err)
	}
	if _, err := b.accepted(ctx, br); err != nil {
		return err
	}
	if br.signIns != 1 {
		return fmt.Errorf("%d passwords for two service providers", br.signIns)
	}
	if s, err := other.provider.session(ctx, br); err != nil || s == nil {
		return errors.Join(err, errors.New("the other service provider's session ended too early"))
	}
	p, err := br.open(ctx, b.provider.logout(b.set))
	if err != nil {
		return err
	}
	if s, err := other.provider.session(ctx, br); err != nil || s != nil {
		return errors.Join(err, fmt.Errorf("the other service provider's session goes on: %s", p))
	}
	return b.out(ctx, br)
}

// certificateChange prepares a next certificate, lets the service provider read both, switches, and then lets it read
// the new one alone.
func certificateChange(ctx context.Context, b *bench) error {
	certificates := "/applications/" + b.app.ID + "/certificates"
	if err := b.product.call(ctx, http.MethodPut, certificates+"/next", map[string]any{
		"certificate": string(b.own.certPEM), "privateKey": string(b.own.keyPEM),
	}, nil); err != nil {
		return err
	}
	try := func(when string) error {
		br, err := b.browser()
		if err != nil {
			return err
		}
		if _, err := b.accepted(ctx, br); err != nil {
			return fmt.Errorf("%s: %w", when, err)
		}
		return nil
	}
	if err := b.arrange(ctx, baseline(), nil); err != nil {
		return err
	}
	if len(b.idp.Certificates) != 2 {
		return fmt.Errorf("our metadata has %d certificates", len(b.idp.Certificates))
	}
	before := try("before the switch")
	if err := b.product.call(ctx, http.MethodPost, certificates+"/switch", nil, nil); err != nil {
		return err
	}
	b.uploaded = true
	between := try("after the switch, without reading our metadata again")
	if err := b.arrange(ctx, baseline(), nil); err != nil {
		return err
	}
	return errors.Join(before, between, try("after reading our metadata again"))
}

// forged is a browser that carries changed and newly signed responses.
func (b *bench) forged(ctx context.Context, p pair, change func(*etree.Element) error) (*browser, error) {
	if !b.uploaded {
		return nil, errors.New("the certificate wasn't changed to one whose key is known here")
	}
	if err := b.arrange(ctx, baseline(), nil); err != nil {
		return nil, err
	}
	br, err := b.browser()
	if err != nil {
		return nil, err
	}
	br.alter = func(f url.Values) error {
		return altered(func(xml []byte) ([]byte, error) { return forge(xml, p, change) })(f)
	}
	return br, nil
}

func unchanged(*etree.Element) error { return nil }

func forgedTrue(ctx context.Context, b *bench) error {
	br, err := b.forged(ctx, b.own, unchanged)
	if err != nil {
		return err
	}
	_, err = b.accepted(ctx, br)
	return err
}

func refuseForged(change func(*etree.Element) error) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) error {
		br, err := b.forged(ctx, b.own, change)
		if err != nil {
			return err
		}
		return b.refusedBy(ctx, br)
	}
}

func refuseOtherKey(ctx context.Context, b *bench) error {
	other, err := newPair(b.lab.dir, b.lab.slug+"-other")
	if err != nil {
		return err
	}
	br, err := b.forged(ctx, other, unchanged)
	if err != nil {
		return err
	}
	return b.refusedBy(ctx, br)
}

// refuseTampered changes the person in a response and leaves its signature.
func refuseTampered(ctx context.Context, b *bench) error {
	return b.changed(ctx, func(xml []byte) ([]byte, error) {
		if !holds(xml, email) {
			return nil, errors.New("the response doesn't hold the e-mail address")
		}
		return bytes.ReplaceAll(xml, []byte(email), []byte("eve@interop.example")), nil
	})
}

func refuseUnsigned(ctx context.Context, b *bench) error {
	return b.changed(ctx, func(xml []byte) ([]byte, error) {
		doc := etree.NewDocument()
		if err := doc.ReadFromBytes(xml); err != nil {
			return nil, err
		}
		sig, err := find(doc.Root(), "Assertion", "Signature")
		if err != nil {
			return nil, err
		}
		sig.Parent().RemoveChild(sig)
		return doc.WriteToBytes()
	})
}

func (b *bench) changed(ctx context.Context, change func([]byte) ([]byte, error)) error {
	if err := b.arrange(ctx, baseline(), nil); err != nil {
		return err
	}
	br, err := b.browser()
	if err != nil {
		return err
	}
	br.alter = func(f url.Values) error { return altered(change)(f) }
	return b.refusedBy(ctx, br)
}

func wrongAudience(response *etree.Element) error {
	e, err := find(response, "Assertion", "Conditions", "AudienceRestriction", "Audience")
	if err == nil {
		e.SetText("https://elsewhere.example/metadata")
	}
	return err
}

func wrongRecipient(response *etree.Element) error {
	e, err := find(response, "Assertion", "Subject", "SubjectConfirmation", "SubjectConfirmationData")
	if err == nil {
		e.CreateAttr("Recipient", "https://elsewhere.example/acs")
	}
	return err
}

// expire lets all times be an hour ago.
func expire(response *etree.Element) error {
	data, err := find(response, "Assertion", "Subject", "SubjectConfirmation", "SubjectConfirmationData")
	if err != nil {
		return err
	}
	conditions, err := find(response, "Assertion", "Conditions")
	if err != nil {
		return err
	}
	statement, err := find(response, "Assertion", "AuthnStatement")
	if err != nil {
		return err
	}
	assertion, err := find(response, "Assertion")
	if err != nil {
		return err
	}
	at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format("2006-01-02T15:04:05Z") }
	for _, e := range []*etree.Element{data, conditions} {
		e.CreateAttr("NotOnOrAfter", at(-time.Hour))
		if e.SelectAttr("NotBefore") != nil {
			e.CreateAttr("NotBefore", at(-65*time.Minute))
		}
	}
	for _, e := range []*etree.Element{response, assertion} {
		e.CreateAttr("IssueInstant", at(-65*time.Minute))
	}
	statement.CreateAttr("AuthnInstant", at(-65*time.Minute))
	return nil
}
