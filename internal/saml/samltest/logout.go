package samltest

import (
	"bytes"
	"compress/flate"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
	"github.com/latchkey-idp/latchkey/internal/saml/xmlenc"
)

const (
	nsProtocol  = "urn:oasis:names:tc:SAML:2.0:protocol"
	nsAssertion = "urn:oasis:names:tc:SAML:2.0:assertion"
	success     = "urn:oasis:names:tc:SAML:2.0:status:Success"
)

// LogoutRequest is a LogoutRequest to be sent. Empty fields are left out, except that ID and IssueInstant are always
// there.
type LogoutRequest struct {
	ID              string
	IssueInstant    time.Time
	Destination     string
	Issuer          string
	NotOnOrAfter    time.Time
	Reason          string
	NameID          string
	NameIDFormat    string
	NameQualifier   string
	SPNameQualifier string
	SessionIndexes  []string
	Attributes      string // more attributes, as XML
	Children        string // more children, as XML, before SessionIndex
}

// LogoutRequest returns the request that the service provider sends for the person and session of a response.
func (sp *SP) LogoutRequest(destination string, of Received, now time.Time) LogoutRequest {
	r := LogoutRequest{
		ID: newID(), IssueInstant: now, Destination: destination, Issuer: sp.EntityID,
		NotOnOrAfter: now.Add(5 * time.Minute), NameID: of.NameID, NameIDFormat: of.NameIDFormat,
		NameQualifier: of.NameQualifier, SPNameQualifier: of.SPNameQualifier,
	}
	if of.SessionIndex != "" {
		r.SessionIndexes = []string{of.SessionIndex}
	}
	return r
}

// XML writes the request. Values are escaped, Attributes and Children are not.
func (r LogoutRequest) XML() string {
	var b strings.Builder
	attr := attributes(&b)
	b.WriteString(`<samlp:LogoutRequest xmlns:samlp="` + nsProtocol + `" xmlns:saml="` + nsAssertion + `"`)
	attr("Destination", r.Destination)
	attr("ID", r.ID)
	attr("IssueInstant", r.IssueInstant.UTC().Format("2006-01-02T15:04:05Z"))
	if !r.NotOnOrAfter.IsZero() {
		attr("NotOnOrAfter", r.NotOnOrAfter.UTC().Format("2006-01-02T15:04:05Z"))
	}
	attr("Reason", r.Reason)
	if !strings.Contains(r.Attributes, "Version=") {
		attr("Version", "2.0")
	}
	b.WriteString(r.Attributes + `>`)
	if r.Issuer != "" {
		fmt.Fprintf(&b, `<saml:Issuer>%s</saml:Issuer>`, escape(r.Issuer))
	}
	if r.NameID != "" {
		b.WriteString(`<saml:NameID`)
		attr("Format", r.NameIDFormat)
		attr("NameQualifier", r.NameQualifier)
		attr("SPNameQualifier", r.SPNameQualifier)
		fmt.Fprintf(&b, `>%s</saml:NameID>`, escape(r.NameID))
	}
	b.WriteString(r.Children)
	for _, index := range r.SessionIndexes {
		fmt.Fprintf(&b, `<samlp:SessionIndex>%s</samlp:SessionIndex>`, escape(index))
	}
	b.WriteString(`</samlp:LogoutRequest>`)
	return b.String()
}

// LogoutResponse is a LogoutResponse to be sent. Empty fields are left out.
type LogoutResponse struct {
	ID           string
	IssueInstant time.Time
	Destination  string
	Issuer       string
	InResponseTo string
	Status       []string // top-level code, then the second-level one
	Attributes   string   // more attributes, as XML
	Children     string   // more children, as XML
}

// LogoutResponse returns the service provider's answer to a request.
func (sp *SP) LogoutResponse(destination, inResponseTo string, now time.Time, status ...string) LogoutResponse {
	if len(status) == 0 {
		status = []string{success}
	}
	return LogoutResponse{
		ID: newID(), IssueInstant: now, Destination: destination, Issuer: sp.EntityID, InResponseTo: inResponseTo, Status: status,
	}
}

// XML writes the response. Values are escaped, Attributes and Children are not.
func (r LogoutResponse) XML() string {
	var b strings.Builder
	attr := attributes(&b)
	b.WriteString(`<samlp:LogoutResponse xmlns:samlp="` + nsProtocol + `"`)
	attr("Destination", r.Destination)
	attr("ID", r.ID)
	attr("InResponseTo", r.InResponseTo)
	attr("IssueInstant", r.IssueInstant.UTC().Format("2006-01-02T15:04:05Z"))
	if !strings.Contains(r.Attributes, "Version=") {
		attr("Version", "2.0")
	}
	b.WriteString(r.Attributes + `>`)
	if r.Issuer != "" {
		fmt.Fprintf(&b, `<saml:Issuer xmlns:saml="%s">%s</saml:Issuer>`, nsAssertion, escape(r.Issuer))
	}
	if len(r.Status) > 0 {
		b.WriteString(`<samlp:Status>`)
		for _, code := range r.Status {
			fmt.Fprintf(&b, `<samlp:StatusCode Value="%s">`, escape(code))
		}
		b.WriteString(strings.Repeat(`</samlp:StatusCode>`, len(r.Status)) + `</samlp:Status>`)
	}
	b.WriteString(r.Children + `</samlp:LogoutResponse>`)
	return b.String()
}

// Parameters of both bindings.
const (
	ParameterRequest  = "SAMLRequest"
	ParameterResponse = "SAMLResponse"
)

// parameterOf is the parameter in which a message travels.
func parameterOf(xml string) string {
	if strings.HasPrefix(xml, "<?xml") {
		_, xml, _ = strings.Cut(xml, "?>")
	}
	fields := strings.FieldsFunc(xml, func(r rune) bool { return unicode.IsSpace(r) || r == '<' || r == '>' || r == '/' })
	if len(fields) > 0 && strings.HasSuffix(fields[0], "Response") {
		return ParameterResponse
	}
	return ParameterRequest
}

// Logout is a logout message that the service provider got, read only from what its signature covers.
type Logout struct {
	Kind         string // LogoutRequest or LogoutResponse
	ID           string
	InResponseTo string
	Issuer       string
	IssueInstant time.Time
	RelayState   string

	NameID, NameIDFormat           string
	NameQualifier, SPNameQualifier string
	SessionIndexes                 []string
	Reason                         string
	NotOnOrAfter                   time.Time

	Status  []string // top-level code, then the second-level one
	Message string
}

// ReceiveLogoutRedirect checks a logout message by HTTP-Redirect, at the service provider's SLO address: a URL's raw query,
// the identity provider's entityID and certificate, now. The signature is needed, and is verified over the octets as they
// came.
func (sp *SP) ReceiveLogoutRedirect(rawQuery, idpEntityID string, idp *x509.Certificate, now time.Time) (Logout, error) {
	raw, values := map[string]string{}, map[string]string{}
	for pair := range strings.SplitSeq(rawQuery, "&") {
		name, value, _ := strings.Cut(pair, "=")
		plain, err := url.QueryUnescape(value)
		if err != nil {
			return Logout{}, err
		}
		if _, twice := raw[name]; twice {
			return Logout{}, fmt.Errorf("parameter %q twice", name)
		}
		raw[name], values[name] = value, plain
	}
	parameter := ParameterRequest
	if raw[parameter] == "" {
		parameter = ParameterResponse
	}
	octets := parameter + "=" + raw[parameter]
	if relay, ok := raw["RelayState"]; ok {
		octets += "&RelayState=" + relay
	}
	octets += "&SigAlg=" + raw["SigAlg"]
	signature, err := base64.StdEncoding.DecodeString(values["Signature"])
	if err != nil {
		return Logout{}, fmt.Errorf("Signature: %w", err)
	}
	hash, ok := map[string]crypto.Hash{
		xmldsig.RSASHA1: crypto.SHA1, xmldsig.RSASHA256: crypto.SHA256, xmldsig.RSASHA384: crypto.SHA384, xmldsig.RSASHA512: crypto.SHA512,
	}[values["SigAlg"]]
	if !ok || hash == crypto.SHA1 && !sp.AllowSHA1 {
		return Logout{}, fmt.Errorf("signature algorithm %q", values["SigAlg"])
	}
	h := hash.New()
	h.Write([]byte(octets))
	if err := rsa.VerifyPKCS1v15(idp.PublicKey.(*rsa.PublicKey), hash, h.Sum(nil), signature); err != nil {
		return Logout{}, fmt.Errorf("signature of the query: %w", err)
	}
	deflated, err := base64.StdEncoding.DecodeString(values[parameter])
	if err != nil {
		return Logout{}, fmt.Errorf("%s: %w", parameter, err)
	}
	message, err := io.ReadAll(flate.NewReader(bytes.NewReader(deflated)))
	if err != nil {
		return Logout{}, fmt.Errorf("%s: %w", parameter, err)
	}
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(message); err != nil || doc.Root() == nil {
		return Logout{}, fmt.Errorf("%s is no XML: %w", parameter, err)
	}
	if hasSignature(doc.Root()) {
		return Logout{}, fmt.Errorf("an XML signature within a message by Redirect")
	}
	return sp.readLogout(doc.Root(), parameter, values["RelayState"], idpEntityID, now)
}

// ReceiveLogoutPost is ReceiveLogoutRedirect for a message by HTTP-POST: the fields of its form.
func (sp *SP) ReceiveLogoutPost(form url.Values, idpEntityID string, idp *x509.Certificate, now time.Time) (Logout, error) {
	parameter := ParameterRequest
	if !form.Has(parameter) {
		parameter = ParameterResponse
	}
	message, err := base64.StdEncoding.DecodeString(form.Get(parameter))
	if err != nil {
		return Logout{}, fmt.Errorf("%s: %w", parameter, err)
	}
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(message); err != nil || doc.Root() == nil {
		return Logout{}, fmt.Errorf("%s is no XML: %w", parameter, err)
	}
	root := doc.Root()
	if !hasSignature(root) {
		return Logout{}, fmt.Errorf("nothing is signed")
	}
	if root, err = sp.validate(root, idp, now); err != nil {
		return Logout{}, fmt.Errorf("signature: %w", err)
	}
	return sp.readLogout(root, parameter, form.Get("RelayState"), idpEntityID, now)
}

func (sp *SP) readLogout(root *etree.Element, parameter, relayState, idpEntityID string, now time.Time) (Logout, error) {
	const skew = 3 * time.Minute
	got := Logout{
		Kind: root.Tag, ID: root.SelectAttrValue("ID", ""), InResponseTo: root.SelectAttrValue("InResponseTo", ""),
		Issuer: text(root, "./Issuer"), RelayState: relayState, Reason: root.SelectAttrValue("Reason", ""),
	}
	want := map[string]string{ParameterRequest: "LogoutRequest", ParameterResponse: "LogoutResponse"}[parameter]
	if got.Kind != want || root.NamespaceURI() != nsProtocol || root.SelectAttrValue("Version", "") != "2.0" {
		return got, fmt.Errorf("%s holds a %s", parameter, root.Tag)
	}
	if got.Issuer != idpEntityID {
		return got, fmt.Errorf("Issuer %q is not %q", got.Issuer, idpEntityID)
	}
	if d := root.SelectAttrValue("Destination", ""); d != sp.SLO && d != sp.SLOResponse {
		return got, fmt.Errorf("Destination %q is not %q", d, sp.SLO)
	}
	var err error
	if got.IssueInstant, err = time.Parse(time.RFC3339, root.SelectAttrValue("IssueInstant", "")); err != nil || got.IssueInstant.Sub(now).Abs() > skew {
		return got, fmt.Errorf("IssueInstant %q, now %s", root.SelectAttrValue("IssueInstant", ""), now)
	}
	if got.Kind == "LogoutResponse" {
		for code := root.FindElement("./Status/StatusCode"); code != nil; code = code.SelectElement("StatusCode") {
			got.Status = append(got.Status, code.SelectAttrValue("Value", ""))
		}
		got.Message = text(root, "./Status/StatusMessage")
		if len(got.Status) == 0 || got.InResponseTo == "" {
			return got, fmt.Errorf("no Status or no InResponseTo")
		}
		return got, nil
	}
	if v := root.SelectAttrValue("NotOnOrAfter", ""); v != "" {
		if got.NotOnOrAfter, err = time.Parse(time.RFC3339, v); err != nil || !now.Before(got.NotOnOrAfter.Add(skew)) {
			return got, fmt.Errorf("NotOnOrAfter %q, now %s", v, now)
		}
	}
	name := root.FindElement("./NameID")
	if name == nil || name.Text() == "" {
		return got, fmt.Errorf("no NameID")
	}
	got.NameID, got.NameIDFormat = name.Text(), name.SelectAttrValue("Format", "")
	got.NameQualifier, got.SPNameQualifier = name.SelectAttrValue("NameQualifier", ""), name.SelectAttrValue("SPNameQualifier", "")
	for _, e := range root.SelectElements("SessionIndex") {
		got.SessionIndexes = append(got.SessionIndexes, e.Text())
	}
	return got, nil
}

// Means reports whether the request names the person and a session of a response that the service provider got.
func (l Logout) Means(r Received) bool {
	return l.NameID == r.NameID && (len(l.SessionIndexes) == 0 || slices.Contains(l.SessionIndexes, r.SessionIndex))
}

// validate verifies an element's enveloped signature by goxmldsig, and returns what it covers.
func (sp *SP) validate(e *etree.Element, cert *x509.Certificate, now time.Time) (*etree.Element, error) {
	for _, m := range e.FindElements(".//SignatureMethod") {
		if m.SelectAttrValue("Algorithm", "") == xmldsig.RSASHA1 && !sp.AllowSHA1 {
			return nil, fmt.Errorf("signature by SHA-1")
		}
	}
	ctx := dsig.NewDefaultValidationContext(&dsig.MemoryX509CertificateStore{Roots: []*x509.Certificate{cert}})
	ctx.Clock = dsig.NewFakeClockAt(now)
	return ctx.Validate(e)
}

// decrypt returns the assertion within an EncryptedAssertion, which is read anew.
func (sp *SP) decrypt(e *etree.Element) (*etree.Element, error) {
	data := e.SelectElement("EncryptedData")
	if data == nil || len(e.ChildElements()) != 1 {
		return nil, fmt.Errorf("no EncryptedData")
	}
	doc := etree.NewDocument()
	doc.SetRoot(data.Copy())
	text, err := doc.WriteToBytes()
	if err != nil {
		return nil, err
	}
	limits := xmldsig.Limits{Bytes: 1 << 20, Depth: 20, Attributes: 20, Nodes: 200}
	root, err := xmldsig.Read(text, limits)
	if err != nil {
		return nil, err
	}
	plain, err := xmlenc.Decrypt(root, sp.Key.(*rsa.PrivateKey), limits)
	if err != nil {
		return nil, err
	}
	clear := etree.NewDocument()
	if err := clear.ReadFromBytes(plain); err != nil {
		return nil, err
	}
	if clear.Root() == nil || clear.Root().Tag != "Assertion" || clear.Root().NamespaceURI() != nsAssertion {
		return nil, fmt.Errorf("no Assertion is encrypted")
	}
	return clear.Root(), nil
}

// Recipient is the service provider as one to encrypt to.
func (sp *SP) Recipient() *xmlenc.Recipient {
	r, err := xmlenc.NewRecipient(sp.Cert, "")
	if err != nil {
		panic(err)
	}
	return r
}
