package saml

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
	"github.com/latchkey-idp/latchkey/internal/saml/xmlenc"
)

// Response is a successful answer with one assertion (saml-profiles §4.1.4.2).
type Response struct {
	ID           string // of the response; see NewID
	AssertionID  string // of the assertion; see NewID
	IssueInstant time.Time
	Issuer       string // our entityID
	Destination  string // the full ACS URL: Destination and Recipient
	InResponseTo string // ID of the request; "" for IdP-initiated sign-on
	Audiences    []string
	Subject      NameID

	// NotBefore (zero: left out) and NotOnOrAfter bound the assertion's Conditions; NotOnOrAfter bounds the
	// SubjectConfirmation too.
	NotBefore    time.Time
	NotOnOrAfter time.Time

	Authn      Authn
	Attributes []Attribute // those without values are left out

	// Encrypt is whom the assertion is encrypted to, after it was signed (saml-core §2.3.4, §6.2); nil: to nobody.
	Encrypt *xmlenc.Recipient
}

// Authn is the AuthnStatement (saml-core §2.7.2).
type Authn struct {
	Instant             time.Time // when the person proved who they are
	SessionIndex        string    // "" is left out
	SessionNotOnOrAfter time.Time // zero is left out
	ContextClass        string    // AuthnContextClassRef; "" becomes unspecified
}

// Attribute is one fact about the person (saml-core §2.7.3.1).
type Attribute struct {
	Name         string   `json:"name"`
	NameFormat   string   `json:"nameFormat,omitempty"`   // "" is left out
	FriendlyName string   `json:"friendlyName,omitempty"` // "" is left out
	Values       []string `json:"values"`
}

// StatusResponse is an answer without assertion: an error that the SP may know.
type StatusResponse struct {
	ID           string
	IssueInstant time.Time
	Issuer       string
	Destination  string
	InResponseTo string
	Status       Status
}

// Sign says what is signed in a response.
type Sign uint8

// SignAssertion is the default and what Atlassian Cloud wants.
const (
	SignAssertion Sign = iota
	SignResponse
	SignBoth
)

// AppendResponse appends the response, signed by k, to dst. It is written once, in exclusive canonical form; the
// signatures are put into gaps left for them. A response that could not be valid (a missing part, text that XML can't
// hold) is an error, and nothing of it may be used then.
//
// xsi:type is left out of attribute values: they are strings, and its QName would need namespace declarations that
// exclusive canonicalization drops.
func AppendResponse(dst []byte, r *Response, k *xmldsig.Signer, what Sign) ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("saml: response: %w", err)
	}
	if k == nil || what > SignBoth {
		return nil, errors.New("saml: response: nothing to sign with")
	}
	const typical = 4 << 10
	w := writer{b: slices.Grow(dst, typical+2*k.Len(r.ID))}
	w.response(r, k, what)
	if w.err != nil {
		return nil, fmt.Errorf("saml: response: %w", w.err)
	}
	return w.b, nil
}

// response writes all of it; without signatures if k is nil.
func (w *writer) response(r *Response, k *xmldsig.Signer, what Sign) {
	start := len(w.b)
	w.responseStart(r.ID, r.IssueInstant, r.Issuer, r.Destination, r.InResponseTo)
	gap := len(w.b)
	if k != nil && what != SignAssertion {
		gap = w.gap(k, r.ID)
	}
	w.raw(`<samlp:Status><samlp:StatusCode Value="` + StatusSuccess + `"></samlp:StatusCode></samlp:Status>`)
	if k != nil && r.Encrypt != nil {
		w.encrypted(r, k, what)
	} else {
		w.assertion(r, k, what)
	}
	w.raw(`</samlp:Response>`)
	if k != nil && what != SignAssertion {
		w.sign(k, r.ID, start, gap)
	}
}

// check refuses responses that no service provider could accept.
func (r *Response) check() error {
	switch {
	case r.Issuer == "":
		return errors.New("no issuer")
	case r.Subject.Value == "":
		return errors.New("no NameID")
	case r.AssertionID == r.ID:
		return errors.New("response and assertion need different IDs")
	case len(r.Audiences) == 0 || slices.Contains(r.Audiences, ""):
		return errors.New("no audience")
	case !r.NotOnOrAfter.After(r.IssueInstant):
		return errors.New("it is never valid: NotOnOrAfter is not after IssueInstant")
	case r.Authn.Instant.IsZero():
		return errors.New("no time of authentication")
	}
	if err := CheckACS(r.Destination); err != nil {
		return fmt.Errorf("destination: %w", err)
	}
	for i := range r.Attributes {
		if r.Attributes[i].Name == "" {
			return errors.New("attribute without name")
		}
	}
	return nil
}

// responseStart writes the start tag and the issuer, after which the schema has the signature.
func (w *writer) responseStart(id string, at time.Time, issuer, destination, inResponseTo string) {
	w.raw(`<samlp:Response xmlns:samlp="` + NSProtocol + `"`)
	w.attr("Destination", destination)
	w.id("ID", id)
	if inResponseTo != "" {
		w.id("InResponseTo", inResponseTo)
	}
	w.time("IssueInstant", at)
	w.raw(` Version="2.0">`)
	// The prefix saml is not used by Response itself, so exclusive canonicalization declares it anew on each child.
	w.element(`saml:Issuer xmlns:saml="`+NSAssertion+`"`, "saml:Issuer", issuer)
}

// encrypted writes what the assertion is encrypted to.
func (w *writer) encrypted(r *Response, k *xmldsig.Signer, what Sign) {
	// The assertion declares all its prefixes itself, so that it can be read on its own once it is decrypted.
	clear := writer{}
	clear.assertion(r, k, what)
	if clear.err != nil {
		w.fail(clear.err)
	}
	if w.err != nil {
		return
	}
	w.raw(`<saml:EncryptedAssertion xmlns:saml="` + NSAssertion + `">`)
	b, err := r.Encrypt.AppendEncryptedData(w.b, clear.b)
	if err != nil {
		w.fail(err)
		return
	}
	w.b = b
	w.raw(`</saml:EncryptedAssertion>`)
}

func (w *writer) assertion(r *Response, k *xmldsig.Signer, what Sign) {
	start := len(w.b)
	w.raw(`<saml:Assertion xmlns:saml="` + NSAssertion + `"`)
	w.id("ID", r.AssertionID)
	w.time("IssueInstant", r.IssueInstant)
	w.raw(` Version="2.0">`)
	w.element("saml:Issuer", "saml:Issuer", r.Issuer)
	gap := len(w.b)
	if k != nil && what != SignResponse {
		gap = w.gap(k, r.AssertionID)
	}
	w.subject(r)
	w.raw(`<saml:Conditions`)
	if !r.NotBefore.IsZero() {
		w.time("NotBefore", r.NotBefore)
	}
	w.time("NotOnOrAfter", r.NotOnOrAfter)
	w.raw(`><saml:AudienceRestriction>`)
	for _, audience := range r.Audiences {
		w.element("saml:Audience", "saml:Audience", audience)
	}
	w.raw(`</saml:AudienceRestriction></saml:Conditions>`)
	w.authn(&r.Authn)
	w.attributes(r.Attributes)
	w.raw(`</saml:Assertion>`)
	if k != nil && what != SignResponse {
		w.sign(k, r.AssertionID, start, gap)
	}
}

// subject writes the NameID and its bearer confirmation, which must not have NotBefore (saml-profiles §4.1.4.2).
func (w *writer) subject(r *Response) {
	w.raw(`<saml:Subject><saml:NameID`)
	w.nameID(r.Subject)
	w.raw(`<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData`)
	if r.InResponseTo != "" {
		w.id("InResponseTo", r.InResponseTo)
	}
	w.time("NotOnOrAfter", r.NotOnOrAfter)
	w.attr("Recipient", r.Destination)
	w.raw(`></saml:SubjectConfirmationData></saml:SubjectConfirmation></saml:Subject>`)
}

// nameID writes the rest of a saml:NameID of which the name and the namespace stand already.
func (w *writer) nameID(n NameID) {
	w.optional("Format", n.Format)
	w.optional("NameQualifier", n.NameQualifier)
	w.optional("SPNameQualifier", n.SPNameQualifier)
	w.raw(`>`)
	w.text(n.Value)
	w.raw(`</saml:NameID>`)
}

func (w *writer) authn(a *Authn) {
	w.raw(`<saml:AuthnStatement`)
	w.time("AuthnInstant", a.Instant)
	w.optional("SessionIndex", a.SessionIndex)
	if !a.SessionNotOnOrAfter.IsZero() {
		w.time("SessionNotOnOrAfter", a.SessionNotOnOrAfter)
	}
	class := a.ContextClass
	if class == "" {
		class = AuthnContextUnspecified
	}
	w.raw(`><saml:AuthnContext>`)
	w.element("saml:AuthnContextClassRef", "saml:AuthnContextClassRef", class)
	w.raw(`</saml:AuthnContext></saml:AuthnStatement>`)
}

// attributes writes the statement; it needs at least one attribute (saml-core §2.7.3).
func (w *writer) attributes(attributes []Attribute) {
	open := false
	for i := range attributes {
		a := &attributes[i]
		if len(a.Values) == 0 {
			continue
		}
		if !open {
			open = true
			w.raw(`<saml:AttributeStatement>`)
		}
		w.raw(`<saml:Attribute`)
		w.optional("FriendlyName", a.FriendlyName)
		w.attr("Name", a.Name)
		w.optional("NameFormat", a.NameFormat)
		w.raw(`>`)
		for _, v := range a.Values {
			w.element("saml:AttributeValue", "saml:AttributeValue", v)
		}
		w.raw(`</saml:Attribute>`)
	}
	if open {
		w.raw(`</saml:AttributeStatement>`)
	}
}

// AppendStatus appends a status response, signed unless k is nil, to dst.
func AppendStatus(dst []byte, r *StatusResponse, k *xmldsig.Signer) ([]byte, error) {
	if r.Issuer == "" || r.Status.Code == "" || r.Status.Code == StatusSuccess {
		return nil, errors.New("saml: status response: it needs an issuer and a code that tells of an error")
	}
	if err := CheckACS(r.Destination); err != nil {
		return nil, fmt.Errorf("saml: status response: destination: %w", err)
	}
	w := writer{b: dst}
	start := len(w.b)
	w.responseStart(r.ID, r.IssueInstant, r.Issuer, r.Destination, r.InResponseTo)
	gap := len(w.b)
	if k != nil {
		gap = w.gap(k, r.ID)
	}
	w.status(r.Status)
	w.raw(`</samlp:Response>`)
	if k != nil {
		w.sign(k, r.ID, start, gap)
	}
	if w.err != nil {
		return nil, fmt.Errorf("saml: status response: %w", w.err)
	}
	return w.b, nil
}

// status writes an outcome (saml-core §3.2.2.1).
func (w *writer) status(s Status) {
	w.raw(`<samlp:Status><samlp:StatusCode`)
	w.attr("Value", s.Code)
	w.raw(`>`)
	if s.SubCode != "" {
		w.raw(`<samlp:StatusCode`)
		w.attr("Value", s.SubCode)
		w.raw(`></samlp:StatusCode>`)
	}
	w.raw(`</samlp:StatusCode>`)
	if s.Message != "" {
		w.element("samlp:StatusMessage", "samlp:StatusMessage", s.Message)
	}
	w.raw(`</samlp:Status>`)
}

// PreviewResponse writes the response that AppendResponse would write, without any signature and not encrypted, so that
// people can look at it. No service provider that verifies anything takes it.
func PreviewResponse(r *Response) ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("saml: response: %w", err)
	}
	var w writer
	w.response(r, nil, SignAssertion)
	if w.err != nil {
		return nil, fmt.Errorf("saml: response: %w", w.err)
	}
	return w.b, nil
}
