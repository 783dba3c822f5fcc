// Package samltest is a service provider for tests: it makes AuthnRequests and logout messages as real ones do, and
// judges what it gets with libraries other than those that wrote it (goxmldsig with etree, and the program xmlsec1).
package samltest

import (
	"bytes"
	"compress/flate"
	"crypto"
	"crypto/rand"
	_ "crypto/sha1" //nolint:gosec // G505: for service providers that can do no better
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

// SP is a service provider with one assertion consumer service.
type SP struct {
	EntityID string
	ACS      string
	KeyPair  // signs messages, and decrypts assertions

	// SLO is where it takes logout messages, and SLOResponse where it takes answers to its own, if elsewhere; in its
	// metadata SLO is there for both bindings, unless it is empty.
	SLO, SLOResponse string

	Hash      crypto.Hash // of its signatures; 0 is SHA-256
	AllowSHA1 bool        // takes signatures by SHA-1
	Encrypted bool        // publishes its key for encryption, and refuses an assertion that is not encrypted
}

// NewSP makes a service provider; its key is the package's own.
func NewSP(entityID, acs string) *SP {
	return &SP{EntityID: entityID, ACS: acs, KeyPair: load("sp")}
}

// Request is an AuthnRequest to be sent. Empty fields are left out, except that ID and IssueInstant are always there.
type Request struct {
	ID              string
	IssueInstant    time.Time
	Destination     string
	Issuer          string
	ACSURL          string
	ACSIndex        string
	ProtocolBinding string
	ForceAuthn      string // "true", "1" …
	IsPassive       string
	NameIDFormat    string
	AuthnContexts   []string
	Comparison      string
	Attributes      string // more attributes, as XML
	Children        string // more children, as XML
}

// Request returns the request that the service provider sends by itself, in the shape that Atlassian Cloud's has.
func (sp *SP) Request(destination string, now time.Time) Request {
	return Request{
		ID: newID(), IssueInstant: now, Destination: destination, Issuer: sp.EntityID, ACSURL: sp.ACS,
		ProtocolBinding: "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST",
	}
}

func newID() string {
	var b [16]byte
	rand.Read(b[:])
	return "_" + hex.EncodeToString(b[:])
}

// XML writes the request. Values are escaped, Attributes and Children are not.
func (r Request) XML() string {
	var b strings.Builder
	attr := attributes(&b)
	b.WriteString(`<samlp:AuthnRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol"`)
	attr("AssertionConsumerServiceIndex", r.ACSIndex)
	attr("AssertionConsumerServiceURL", r.ACSURL)
	attr("Destination", r.Destination)
	attr("ForceAuthn", r.ForceAuthn)
	attr("ID", r.ID)
	attr("IsPassive", r.IsPassive)
	attr("IssueInstant", r.IssueInstant.UTC().Format("2006-01-02T15:04:05Z"))
	attr("ProtocolBinding", r.ProtocolBinding)
	if !strings.Contains(r.Attributes, "Version=") {
		attr("Version", "2.0")
	}
	b.WriteString(r.Attributes + `>`)
	if r.Issuer != "" {
		fmt.Fprintf(&b, `<saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">%s</saml:Issuer>`, escape(r.Issuer))
	}
	if r.NameIDFormat != "" {
		fmt.Fprintf(&b, `<samlp:NameIDPolicy AllowCreate="true" Format="%s"/>`, escape(r.NameIDFormat))
	}
	if len(r.AuthnContexts) > 0 {
		b.WriteString(`<samlp:RequestedAuthnContext`)
		attr("Comparison", r.Comparison)
		b.WriteString(`>`)
		for _, c := range r.AuthnContexts {
			fmt.Fprintf(&b, `<saml:AuthnContextClassRef xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">%s</saml:AuthnContextClassRef>`, escape(c))
		}
		b.WriteString(`</samlp:RequestedAuthnContext>`)
	}
	b.WriteString(r.Children + `</samlp:AuthnRequest>`)
	return b.String()
}

// attributes returns a function that writes an attribute unless its value is empty.
func attributes(b *strings.Builder) func(name, value string) {
	return func(name, value string) {
		if value != "" {
			fmt.Fprintf(b, ` %s="%s"`, name, escape(value))
		}
	}
}

func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace(s)
}

// RedirectQuery packs a message, request or response, for the HTTP-Redirect binding, without signature. An empty
// relayState is left out.
func RedirectQuery(xml, relayState string) string {
	var deflated bytes.Buffer
	w, err := flate.NewWriter(&deflated, flate.DefaultCompression)
	if err != nil {
		panic(err)
	}
	if _, err := w.Write([]byte(xml)); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	q := parameterOf(xml) + "=" + url.QueryEscape(base64.StdEncoding.EncodeToString(deflated.Bytes()))
	if relayState != "" {
		q += "&RelayState=" + url.QueryEscape(relayState)
	}
	return q
}

// SignedRedirectQuery is RedirectQuery with the detached signature.
func (sp *SP) SignedRedirectQuery(xml, relayState string) string {
	ctx := sp.signing()
	q := RedirectQuery(xml, relayState) + "&SigAlg=" + url.QueryEscape(ctx.GetSignatureMethodIdentifier())
	sig, err := ctx.SignString(q)
	if err != nil {
		panic(err)
	}
	return q + "&Signature=" + url.QueryEscape(base64.StdEncoding.EncodeToString(sig))
}

// PostBody packs a message, request or response, for the HTTP-POST binding: the body of the form.
func PostBody(xml, relayState string) string {
	f := url.Values{parameterOf(xml): {base64.StdEncoding.EncodeToString([]byte(xml))}}
	if relayState != "" {
		f.Set("RelayState", relayState)
	}
	return f.Encode()
}

// Sign puts an enveloped signature behind the Issuer of a message, or at the beginning if it has none.
func (sp *SP) Sign(xml string) string {
	doc := etree.NewDocument()
	if err := doc.ReadFromString(xml); err != nil {
		panic(err)
	}
	root := doc.Root()
	sig, err := sp.signing().ConstructSignature(root, true)
	if err != nil {
		panic(err)
	}
	at := 0
	if issuer := root.FindElement("./Issuer"); issuer != nil {
		at = issuer.Index() + 1
	}
	root.InsertChildAt(at, sig)
	doc.WriteSettings = etree.WriteSettings{CanonicalEndTags: true, CanonicalText: true, CanonicalAttrVal: true}
	out, err := doc.WriteToString()
	if err != nil {
		panic(err)
	}
	return out
}

func (sp *SP) signing() *dsig.SigningContext {
	ctx, err := dsig.NewSigningContext(sp.Key, [][]byte{sp.Cert.Raw})
	if err != nil {
		panic(err)
	}
	if ctx.Hash = crypto.SHA256; sp.Hash != 0 {
		ctx.Hash = sp.Hash
	}
	ctx.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	return ctx
}

// Metadata returns the service provider's metadata.
func (sp *SP) Metadata() []byte {
	key := func(use string) string {
		return fmt.Sprintf(`
    <md:KeyDescriptor use="%s">
      <ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data><ds:X509Certificate>%s</ds:X509Certificate></ds:X509Data></ds:KeyInfo>
    </md:KeyDescriptor>`, use, base64.StdEncoding.EncodeToString(sp.Cert.Raw))
	}
	keys, slo := key("signing"), ""
	if sp.Encrypted {
		keys += key("encryption")
	}
	if sp.SLO != "" {
		for _, binding := range []string{"HTTP-Redirect", "HTTP-POST"} {
			slo += fmt.Sprintf(`
    <md:SingleLogoutService Binding="urn:oasis:names:tc:SAML:2.0:bindings:%s" Location="%s"`, binding, escape(sp.SLO))
			if sp.SLOResponse != "" {
				slo += fmt.Sprintf(` ResponseLocation="%s"`, escape(sp.SLOResponse))
			}
			slo += `/>`
		}
	}
	return fmt.Appendf(nil, `<?xml version="1.0" encoding="UTF-8"?>
<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="%s">
  <md:SPSSODescriptor AuthnRequestsSigned="true" WantAssertionsSigned="true" protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">%s%s
    <md:NameIDFormat>urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress</md:NameIDFormat>
    <md:AssertionConsumerService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="%s" index="0" isDefault="true"/>
  </md:SPSSODescriptor>
</md:EntityDescriptor>
`, escape(sp.EntityID), keys, slo, escape(sp.ACS))
}

// Received is what a response says, read only from what its signatures cover.
type Received struct {
	ResponseSigned, AssertionSigned, Encrypted bool

	Status       []string // top-level code, then the second-level one
	Message      string
	Issuer       string
	InResponseTo string

	NameID, NameIDFormat           string
	NameQualifier, SPNameQualifier string
	SessionIndex                   string
	SessionNotOnOrAfter            time.Time
	AuthnContext                   string
	AuthnInstant                   time.Time
	Audiences                      []string
	NotOnOrAfter                   time.Time
	Attributes                     map[string][]string
}

// Receive checks a response as a careful service provider does: the value of the form field SAMLResponse, the identity
// provider's entityID and certificate, the ID of the request that it must answer ("" for IdP-initiated sign-on), now.
// A status response is no error: look at Status.
func (sp *SP) Receive(value, idpEntityID string, idp *x509.Certificate, inResponseTo string, now time.Time) (Received, error) {
	raw, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return Received{}, fmt.Errorf("SAMLResponse: %w", err)
	}
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(raw); err != nil {
		return Received{}, fmt.Errorf("SAMLResponse: %w", err)
	}
	root := doc.Root()
	if root == nil || root.Tag != "Response" || root.NamespaceURI() != "urn:oasis:names:tc:SAML:2.0:protocol" {
		return Received{}, fmt.Errorf("the root is no Response")
	}
	var got Received
	if hasSignature(root) {
		if root, err = sp.validate(root, idp, now); err != nil {
			return got, fmt.Errorf("signature of the response: %w", err)
		}
		got.ResponseSigned = true
	}
	if d := root.SelectAttrValue("Destination", ""); d != sp.ACS {
		return got, fmt.Errorf("Destination %q is not %q", d, sp.ACS)
	}
	got.InResponseTo = root.SelectAttrValue("InResponseTo", "")
	if got.InResponseTo != inResponseTo {
		return got, fmt.Errorf("InResponseTo %q is not %q", got.InResponseTo, inResponseTo)
	}
	for code := root.FindElement("./Status/StatusCode"); code != nil; code = code.SelectElement("StatusCode") {
		got.Status = append(got.Status, code.SelectAttrValue("Value", ""))
	}
	got.Message = text(root, "./Status/StatusMessage")
	got.Issuer = text(root, "./Issuer")
	if got.Issuer != idpEntityID {
		return got, fmt.Errorf("Issuer %q is not %q", got.Issuer, idpEntityID)
	}
	assertions := root.SelectElements("Assertion")
	for _, e := range root.SelectElements("EncryptedAssertion") {
		assertion, err := sp.decrypt(e)
		if err != nil {
			return got, fmt.Errorf("EncryptedAssertion: %w", err)
		}
		got.Encrypted = true
		assertions = append(assertions, assertion)
	}
	if len(got.Status) == 0 || got.Status[0] != "urn:oasis:names:tc:SAML:2.0:status:Success" {
		if len(assertions) > 0 {
			return got, fmt.Errorf("an assertion beside the status %v", got.Status)
		}
		return got, nil
	}
	if len(assertions) != 1 {
		return got, fmt.Errorf("%d assertions", len(assertions))
	}
	if sp.Encrypted && !got.Encrypted {
		return got, fmt.Errorf("the assertion is not encrypted")
	}
	assertion := assertions[0]
	if hasSignature(assertion) {
		if assertion, err = sp.validate(assertion, idp, now); err != nil {
			return got, fmt.Errorf("signature of the assertion: %w", err)
		}
		got.AssertionSigned = true
	}
	if !got.ResponseSigned && !got.AssertionSigned {
		return got, fmt.Errorf("nothing is signed")
	}
	return got, sp.readAssertion(&got, assertion, idpEntityID, now)
}

// readAssertion checks and reads the assertion (saml-profiles §4.1.4.3).
func (sp *SP) readAssertion(got *Received, a *etree.Element, idpEntityID string, now time.Time) error {
	const skew = 3 * time.Minute
	if issuer := text(a, "./Issuer"); issuer != idpEntityID {
		return fmt.Errorf("the assertion's Issuer %q is not %q", issuer, idpEntityID)
	}
	got.NameID = text(a, "./Subject/NameID")
	if e := a.FindElement("./Subject/NameID"); e != nil {
		got.NameIDFormat = e.SelectAttrValue("Format", "")
		got.NameQualifier, got.SPNameQualifier = e.SelectAttrValue("NameQualifier", ""), e.SelectAttrValue("SPNameQualifier", "")
	}
	data := a.FindElement("./Subject/SubjectConfirmation[@Method='urn:oasis:names:tc:SAML:2.0:cm:bearer']/SubjectConfirmationData")
	if data == nil {
		return fmt.Errorf("no bearer confirmation")
	}
	if r := data.SelectAttrValue("Recipient", ""); r != sp.ACS {
		return fmt.Errorf("Recipient %q is not %q", r, sp.ACS)
	}
	if r := data.SelectAttrValue("InResponseTo", ""); r != got.InResponseTo {
		return fmt.Errorf("InResponseTo of the subject %q is not %q", r, got.InResponseTo)
	}
	if data.SelectAttr("NotBefore") != nil {
		return fmt.Errorf("NotBefore on a bearer confirmation")
	}
	if end, err := time.Parse(time.RFC3339, data.SelectAttrValue("NotOnOrAfter", "")); err != nil || !now.Before(end.Add(skew)) {
		return fmt.Errorf("the subject's confirmation is over: %q", data.SelectAttrValue("NotOnOrAfter", ""))
	}
	conditions := a.FindElement("./Conditions")
	if conditions == nil {
		return fmt.Errorf("no Conditions")
	}
	var err error
	if got.NotOnOrAfter, err = time.Parse(time.RFC3339, conditions.SelectAttrValue("NotOnOrAfter", "")); err != nil || !now.Before(got.NotOnOrAfter.Add(skew)) {
		return fmt.Errorf("assertion has expired")
	}
	if v := conditions.SelectAttrValue("NotBefore", ""); v != "" {
		if from, err := time.Parse(time.RFC3339, v); err != nil || now.Add(skew).Before(from) {
			return fmt.Errorf("the assertion is not valid yet")
		}
	}
	for _, e := range a.FindElements("./Conditions/AudienceRestriction/Audience") {
		got.Audiences = append(got.Audiences, e.Text())
	}
	if len(got.Audiences) == 0 || got.Audiences[0] != sp.EntityID {
		return fmt.Errorf("the audience %q is not %q", got.Audiences, sp.EntityID)
	}
	authn := a.FindElement("./AuthnStatement")
	if authn == nil {
		return fmt.Errorf("no AuthnStatement")
	}
	if got.AuthnInstant, err = time.Parse(time.RFC3339, authn.SelectAttrValue("AuthnInstant", "")); err != nil {
		return fmt.Errorf("AuthnInstant: %w", err)
	}
	got.SessionIndex = authn.SelectAttrValue("SessionIndex", "")
	if v := authn.SelectAttrValue("SessionNotOnOrAfter", ""); v != "" {
		if got.SessionNotOnOrAfter, err = time.Parse(time.RFC3339, v); err != nil || !now.Before(got.SessionNotOnOrAfter) {
			return fmt.Errorf("SessionNotOnOrAfter %q", v)
		}
	}
	got.AuthnContext = text(authn, "./AuthnContext/AuthnContextClassRef")
	got.Attributes = map[string][]string{}
	for _, e := range a.FindElements("./AttributeStatement/Attribute") {
		name := e.SelectAttrValue("Name", "")
		if _, twice := got.Attributes[name]; twice {
			return fmt.Errorf("attribute %q twice", name)
		}
		for _, v := range e.SelectElements("AttributeValue") {
			got.Attributes[name] = append(got.Attributes[name], v.Text())
		}
	}
	return nil
}

func hasSignature(e *etree.Element) bool { return e.SelectElement("Signature") != nil }

func text(e *etree.Element, path string) string {
	if found := e.FindElement(path); found != nil {
		return found.Text()
	}
	return ""
}
