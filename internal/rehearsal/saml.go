package rehearsal

import (
	"bytes"
	"compress/flate"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // a thumbprint to compare with, as the service does; no security rests on it
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
	"github.com/russellhaering/goxmldsig/etreeutils"
)

const (
	nsProtocol  = "urn:oasis:names:tc:SAML:2.0:protocol"
	nsAssertion = "urn:oasis:names:tc:SAML:2.0:assertion"
	nsDSig      = "http://www.w3.org/2000/09/xmldsig#"

	statusSuccess = "urn:oasis:names:tc:SAML:2.0:status:Success"

	claimGivenName = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/givenname"
	claimSurname   = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/surname"
	claimName      = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name"
	claimUPN       = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn"

	maxResponse = 1 << 20 // bytes of XML
	maxDepth    = 64
)

// authnRequest writes an AuthnRequest (saml-core §3.4.1) as the service does: unsigned, without NameIDPolicy,
// RequestedAuthnContext or ForceAuthn; and the address that carries it (saml-bindings §3.4).
func authnRequest(c *samlConfig, spEntityID, acsURL, relayState string, now time.Time) (id, location string, err error) {
	var random [16]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", "", err
	}
	id = "_" + hex.EncodeToString(random[:])
	var doc bytes.Buffer
	fmt.Fprintf(&doc, `<samlp:AuthnRequest xmlns:samlp="%s" AssertionConsumerServiceURL="%s" Destination="%s" ID="%s" IssueInstant="%s" `+
		`ProtocolBinding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Version="2.0">`+
		`<saml:Issuer xmlns:saml="%s">%s</saml:Issuer></samlp:AuthnRequest>`,
		nsProtocol, escapeXML(acsURL), escapeXML(c.ssoURL), id, now.UTC().Format("2006-01-02T15:04:05Z"), nsAssertion, escapeXML(spEntityID))
	var deflated bytes.Buffer
	w, err := flate.NewWriter(&deflated, flate.DefaultCompression)
	if err != nil {
		return "", "", err
	}
	if _, err := w.Write(doc.Bytes()); err != nil {
		return "", "", err
	}
	if err := w.Close(); err != nil {
		return "", "", err
	}
	u, err := url.Parse(c.ssoURL)
	if err != nil {
		return "", "", err
	}
	q := "SAMLRequest=" + url.QueryEscape(base64.StdEncoding.EncodeToString(deflated.Bytes())) +
		"&RelayState=" + url.QueryEscape(relayState)
	if u.RawQuery != "" {
		q = u.RawQuery + "&" + q // parameters of the configured URL are kept
	}
	u.RawQuery = q
	return id, u.String(), nil
}

func escapeXML(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder doesn't fail
	return b.String()
}

// expectation is what a response is measured against.
type expectation struct {
	idpEntityID string
	spEntityID  string
	acsURL      string
	cert        *x509.Certificate
	skew        time.Duration
	checkIssuer bool
	now         time.Time
}

// assertion is what a good response says.
type assertion struct {
	issuer       string
	nameID       string
	nameIDFormat string
	attributes   []Attribute
	inResponseTo string
	signed       string // "assertion" or "response"
}

func (a *assertion) attribute(name string) string {
	for _, at := range a.attributes {
		if at.Name == name && len(at.Values) > 0 {
			return at.Values[0]
		}
	}
	return ""
}

// rejection is a refusal of a response: description is what the browser is told, reason what only we tell.
type rejection struct {
	description string
	reason      string
}

func (r *rejection) Error() string { return r.description }

func reject(description, reason string, args ...any) error {
	return &rejection{description, fmt.Sprintf(reason, args...)}
}

// verifyResponse checks a SAMLResponse parameter. It does the checks, in the order and with the texts, of the
// library that the service is inferred to use; and it reads nothing but the element whose signature it has
// verified. The decoded XML is returned even when the response is refused.
func verifyResponse(param string, want expectation) (*assertion, string, error) {
	if param == "" {
		return nil, "", reject("SAMLResponse is missing.", "The form has no field SAMLResponse.")
	}
	if len(param) > 2*maxResponse {
		return nil, "", reject("SAMLResponse is too large.", "The limit is %d bytes.", maxResponse)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(param), ""))
	if err != nil {
		return nil, "", reject("SAMLResponse should be a valid xml", "SAMLResponse isn't base64: %v", err)
	}
	text := string(raw)
	if err := plainXML(raw); err != nil {
		return nil, text, reject("SAMLResponse should be a valid xml", "%v", err)
	}
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(raw); err != nil || doc.Root() == nil {
		return nil, text, reject("SAMLResponse should be a valid xml", "%v", err)
	}
	root := doc.Root()
	switch n := len(descendants(root, nsProtocol, "Response")); {
	case n == 0 || !is(root, nsProtocol, "Response"):
		return nil, text, reject("SAMLResponse should be a valid xml", "The document element is %s, not a samlp:Response.", root.Tag)
	case n > 1:
		return nil, text, reject("SAMLResponse should be unique", "The document holds %d Response elements.", n)
	}
	if dest := root.SelectAttrValue("Destination", ""); dest != "" && dest != want.acsURL {
		return nil, text, reject("Destination endpoint "+dest+" did not match "+want.acsURL,
			"The Destination must be the whole assertion consumer service URL, with its query.")
	}
	if err := checkStatus(root); err != nil {
		return nil, text, err
	}
	if len(descendants(root, nsAssertion, "EncryptedAssertion")) > 0 {
		return nil, text, reject("Assertion is encrypted. Please set options.decryptionKey with the private key for decrypting the assertion.",
			"The service provider publishes no key, so nothing can be encrypted for it.")
	}
	assertions := descendants(root, nsAssertion, "Assertion")
	switch {
	case len(assertions) > 1:
		return nil, text, reject("A SAMLResponse can contain only one Assertion element.", "The response holds %d.", len(assertions))
	case len(assertions) == 0 || assertions[0].Parent() != root:
		return nil, text, reject("saml response does not contain an Assertion element (Name=Assertion, Namespace="+nsAssertion+")",
			"The response holds no assertion as its child.")
	}
	verified, signed, err := verifySignature(root, assertions[0], want.cert)
	if err != nil {
		return nil, text, err
	}
	a, err := readAssertion(verified, want)
	if err != nil {
		return nil, text, err
	}
	a.signed = signed
	if a.inResponseTo == "" {
		// A hint only; nothing is trusted because of it.
		a.inResponseTo = root.SelectAttrValue("InResponseTo", "")
	}
	return a, text, nil
}

// plainXML refuses what has no place in a SAML message before a tree is built: document types, processing
// instructions other than the XML declaration, and deep nesting.
func plainXML(raw []byte) error {
	dec := xml.NewDecoder(bytes.NewReader(raw))
	depth := 0
	for {
		tok, err := dec.RawToken()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch t := tok.(type) {
		case xml.StartElement:
			if depth++; depth > maxDepth {
				return errors.New("the document is nested too deeply")
			}
			if len(t.Attr) > 100 {
				return errors.New("an element has too many attributes")
			}
		case xml.EndElement:
			depth--
		case xml.Directive:
			return errors.New("a document type is not allowed")
		case xml.ProcInst:
			if t.Target != "xml" {
				return errors.New("processing instructions are not allowed")
			}
		}
	}
}

func is(el *etree.Element, ns, tag string) bool { return el.Tag == tag && el.NamespaceURI() == ns }

// descendants finds all elements of a name, the root included.
func descendants(root *etree.Element, ns, tag string) []*etree.Element {
	var out []*etree.Element
	var walk func(*etree.Element)
	walk = func(el *etree.Element) {
		if is(el, ns, tag) {
			out = append(out, el)
		}
		for _, c := range el.ChildElements() {
			walk(c)
		}
	}
	walk(root)
	return out
}

func children(el *etree.Element, ns, tag string) []*etree.Element {
	var out []*etree.Element
	for _, c := range el.ChildElements() {
		if is(c, ns, tag) {
			out = append(out, c)
		}
	}
	return out
}

func child(el *etree.Element, ns, tag string) *etree.Element {
	if el == nil {
		return nil
	}
	if c := children(el, ns, tag); len(c) > 0 {
		return c[0]
	}
	return nil
}

// textOf joins the character data of an element across comments, as canonicalization does.
func textOf(el *etree.Element) string {
	if el == nil {
		return ""
	}
	var b strings.Builder
	for _, t := range el.Child {
		if c, ok := t.(*etree.CharData); ok {
			b.WriteString(c.Data)
		}
	}
	return strings.TrimSpace(b.String())
}

func checkStatus(response *etree.Element) error {
	status := child(response, nsProtocol, "Status")
	code := child(status, nsProtocol, "StatusCode")
	if status == nil || code == nil {
		return nil // the library asks for a status only when there is one
	}
	value := code.SelectAttrValue("Value", "")
	if value == statusSuccess {
		return nil
	}
	if sub := child(code, nsProtocol, "StatusCode"); sub != nil {
		value += " / " + sub.SelectAttrValue("Value", "")
	}
	if text := textOf(child(status, nsProtocol, "StatusMessage")); text != "" {
		return reject(text, "The identity provider answered %s.", value)
	}
	switch {
	case strings.Contains(value, ":Requester"):
		return reject("The request could not be performed due to an error on the part of the requester", "The identity provider answered %s.", value)
	case strings.Contains(value, ":VersionMismatch"):
		return reject("The SAML responder could not process the request because the version of the request message was incorrect.", "The identity provider answered %s.", value)
	}
	return reject("The request could not be performed due to an error on the part of the SAML responder or SAML authority", "The identity provider answered %s.", value)
}

// verifySignature verifies the response's signature, or else the assertion's, and returns the assertion as it
// was signed.
func verifySignature(response, inner *etree.Element, cert *x509.Certificate) (verified *etree.Element, signed string, err error) {
	target, signed := response, "response"
	signatures := children(response, nsDSig, "Signature")
	if len(signatures) == 0 {
		target, signed = inner, "assertion"
		signatures = children(inner, nsDSig, "Signature")
	}
	if len(signatures) == 0 {
		return nil, "", reject("neither the response nor the assertion are signed", "Sign the assertion.")
	}
	if len(signatures) > 1 {
		return nil, "", reject("Signature check errors: more than one signature", "An element has %d signatures.", len(signatures))
	}
	sig := signatures[0]
	if err := checkKeyInfo(sig, cert); err != nil {
		return nil, "", err
	}
	if err := checkSignedInfo(sig, target); err != nil {
		return nil, "", err
	}
	nsContext, err := etreeutils.NSBuildParentContext(target)
	if err != nil {
		return nil, "", reject("Signature check errors: "+err.Error(), "Namespaces can't be resolved.")
	}
	detached, err := etreeutils.NSDetatch(nsContext, target)
	if err != nil {
		return nil, "", reject("Signature check errors: "+err.Error(), "Namespaces can't be resolved.")
	}
	ctx := dsig.NewDefaultValidationContext(&dsig.MemoryX509CertificateStore{Roots: []*x509.Certificate{cert}})
	// An expired certificate is not refused; only the pasted certificate itself counts.
	ctx.Clock = dsig.NewFakeClockAt(cert.NotBefore)
	out, err := ctx.Validate(detached)
	if err != nil {
		return nil, "", reject("Signature check errors: "+err.Error(), "The %s was changed after it was signed, or signed with another key.", signed)
	}
	if signed == "response" {
		found := descendants(out, nsAssertion, "Assertion")
		if len(found) != 1 || found[0].Parent() != out {
			return nil, "", reject("A SAMLResponse can contain only one Assertion element.", "The signed response holds %d.", len(found))
		}
		out = found[0]
	}
	if !is(out, nsAssertion, "Assertion") {
		return nil, "", reject("Signature check errors: the signed element is not an assertion", "It is %s.", out.Tag)
	}
	return out, signed, nil
}

// checkKeyInfo compares the certificate in the signature, if there is one, with the one that was pasted: by its
// thumbprint, so that a certificate that was re-issued over the same key doesn't fit.
func checkKeyInfo(sig *etree.Element, cert *x509.Certificate) error {
	info := child(sig, nsDSig, "KeyInfo")
	if info == nil {
		return nil
	}
	found := descendants(info, nsDSig, "X509Certificate")
	if len(found) == 0 {
		return nil
	}
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(textOf(found[0])), ""))
	if err != nil {
		return reject("Invalid thumbprint", "The certificate in KeyInfo isn't base64.")
	}
	have, want := sha1.Sum(der), sha1.Sum(cert.Raw) //nolint:gosec // as above
	if have != want {
		return reject("Invalid thumbprint", "KeyInfo has a certificate with SHA-1 thumbprint %X, the pasted one has %X.", have, want)
	}
	return nil
}

func checkSignedInfo(sig, target *etree.Element) error {
	infos := children(sig, nsDSig, "SignedInfo")
	if len(infos) != 1 {
		return reject("Signature check errors: could not find SignedInfo element", "The signature has %d SignedInfo elements.", len(infos))
	}
	method := ""
	if m := child(infos[0], nsDSig, "SignatureMethod"); m != nil {
		method = m.SelectAttrValue("Algorithm", "")
	}
	switch method {
	case dsig.RSASHA1SignatureMethod, dsig.RSASHA256SignatureMethod, dsig.RSASHA512SignatureMethod:
	default:
		return reject("Signature check errors: signature algorithm '"+method+"' is not supported", "Use RSA-SHA256.")
	}
	refs := children(infos[0], nsDSig, "Reference")
	if len(refs) != 1 {
		return reject("Signature check errors: could not find any Reference elements", "The signature has %d references; it needs one.", len(refs))
	}
	id := target.SelectAttrValue("ID", "")
	if uri := refs[0].SelectAttrValue("URI", ""); id == "" || uri != "#"+id {
		return reject("Signature check errors: invalid signature: the reference does not point to the signed element", "It points to %q, the element's ID is %q.", uri, id)
	}
	for _, el := range descendants(target, nsDSig, "DigestMethod") {
		switch a := el.SelectAttrValue("Algorithm", ""); a {
		case "http://www.w3.org/2000/09/xmldsig#sha1", "http://www.w3.org/2001/04/xmlenc#sha256", "http://www.w3.org/2001/04/xmlenc#sha512":
		default:
			return reject("Signature check errors: hash algorithm '"+a+"' is not supported", "Use SHA-256.")
		}
	}
	return nil
}

// readAssertion checks and reads a verified assertion.
func readAssertion(el *etree.Element, want expectation) (*assertion, error) {
	a := &assertion{issuer: textOf(child(el, nsAssertion, "Issuer"))}
	if want.checkIssuer && a.issuer != want.idpEntityID {
		return nil, reject("Issuer is invalid.", "The assertion's Issuer is %q, the identity provider entity ID given at set-up is %q.", a.issuer, want.idpEntityID)
	}
	conditions := child(el, nsAssertion, "Conditions")
	if conditions != nil {
		if err := checkTimes(conditions, want); err != nil {
			return nil, err
		}
	}
	audience := ""
	if conditions != nil {
		if found := descendants(conditions, nsAssertion, "Audience"); len(found) > 0 {
			audience = textOf(found[0])
		}
	}
	if audience != want.spEntityID {
		return nil, reject("Audience is invalid.", "The first Audience is %q, the service provider's entity ID is %q.", audience, want.spEntityID)
	}
	subject := child(el, nsAssertion, "Subject")
	nameID := child(subject, nsAssertion, "NameID")
	for _, confirmation := range subjectConfirmations(subject) {
		data := child(confirmation, nsAssertion, "SubjectConfirmationData")
		if data == nil {
			continue
		}
		if r := data.SelectAttr("Recipient"); r != nil && r.Value != want.acsURL {
			return nil, reject("Recipient is invalid.", "Recipient is %q; it must be the whole assertion consumer service URL, %q.", r.Value, want.acsURL)
		}
		if err := checkTimes(data, want); err != nil {
			return nil, err
		}
		if v := data.SelectAttrValue("InResponseTo", ""); v != "" {
			a.inResponseTo = v
		}
	}
	a.nameID = textOf(nameID)
	if nameID == nil || a.nameID == "" {
		return nil, reject("The assertion has no subject NameID.", "NameID must be the account's e-mail address.")
	}
	a.nameIDFormat = nameID.SelectAttrValue("Format", "")
	if strings.HasSuffix(a.nameIDFormat, ":persistent") || strings.HasSuffix(a.nameIDFormat, ":transient") {
		if q := nameID.SelectAttr("NameQualifier"); q != nil && q.Value != want.idpEntityID {
			return nil, reject("NameQualifier attribute in the NameID element does not match "+want.idpEntityID, "It is %q.", q.Value)
		}
		if q := nameID.SelectAttr("SPNameQualifier"); q != nil && q.Value != want.spEntityID {
			return nil, reject("SPNameQualifier attribute in the NameID element does not match "+want.spEntityID, "It is %q.", q.Value)
		}
	}
	for _, statement := range children(el, nsAssertion, "AttributeStatement") {
		for _, at := range children(statement, nsAssertion, "Attribute") {
			v := Attribute{Name: at.SelectAttrValue("Name", ""), Values: []string{}}
			for _, value := range children(at, nsAssertion, "AttributeValue") {
				v.Values = append(v.Values, textOf(value))
			}
			a.attributes = append(a.attributes, v)
		}
	}
	return a, nil
}

func subjectConfirmations(subject *etree.Element) []*etree.Element {
	if subject == nil {
		return nil
	}
	return children(subject, nsAssertion, "SubjectConfirmation")
}

// checkTimes enforces NotBefore and NotOnOrAfter with the tolerated skew.
func checkTimes(el *etree.Element, want expectation) error {
	for _, name := range []string{"NotBefore", "NotOnOrAfter"} {
		at := el.SelectAttr(name)
		if at == nil {
			continue
		}
		t, err := time.Parse(time.RFC3339Nano, at.Value)
		if err != nil {
			return reject("assertion has expired.", "%s is not a time: %q.", name, at.Value)
		}
		if name == "NotBefore" && want.now.Add(want.skew).Before(t) {
			return reject("assertion has expired.", "NotBefore is %s, now is %s: compare the clocks.", at.Value, timestamp(want.now))
		}
		if name == "NotOnOrAfter" && !want.now.Add(-want.skew).Before(t) {
			return reject("assertion has expired.", "NotOnOrAfter is %s, now is %s: compare the clocks.", at.Value, timestamp(want.now))
		}
	}
	return nil
}
