package saml

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
	"github.com/latchkey-idp/latchkey/internal/saml/xmlenc"
)

// IdPMetadata is what an SP needs to know of us (saml-metadata §2.4.3).
type IdPMetadata struct {
	ID                      string // needed when signed; see NewID
	EntityID                string
	SSO                     []Endpoint          // Redirect and POST, at least one
	SLO                     []Endpoint          // none: no single logout is offered
	Certificates            []*x509.Certificate // current first, then the next one
	NameIDFormats           []string
	WantAuthnRequestsSigned bool
	ValidUntil              time.Time     // zero is left out
	CacheDuration           time.Duration // in whole seconds; 0 is left out
}

// AppendMetadata appends our metadata in canonical form, signed unless k is nil, to dst.
func AppendMetadata(dst []byte, m *IdPMetadata, k *xmldsig.Signer) ([]byte, error) {
	if m.EntityID == "" || len(m.EntityID) > 1024 || len(m.SSO) == 0 || len(m.Certificates) == 0 {
		return nil, errors.New("saml: metadata: it needs an entityID, a sign-on endpoint and a certificate")
	}
	w := writer{b: dst}
	start := len(w.b)
	w.raw(`<md:EntityDescriptor xmlns:md="` + NSMetadata + `"`)
	if m.ID != "" || k != nil {
		w.id("ID", m.ID)
	}
	if m.CacheDuration >= time.Second {
		w.attr("cacheDuration", "PT"+strconv.Itoa(int(m.CacheDuration/time.Second))+"S")
	}
	w.attr("entityID", m.EntityID)
	if !m.ValidUntil.IsZero() {
		w.time("validUntil", m.ValidUntil)
	}
	w.raw(`>`)
	gap := len(w.b)
	if k != nil {
		gap = w.gap(k, m.ID)
	}
	w.raw(`<md:IDPSSODescriptor WantAuthnRequestsSigned="` + strconv.FormatBool(m.WantAuthnRequestsSigned) +
		`" protocolSupportEnumeration="` + NSProtocol + `">`)
	for _, c := range m.Certificates {
		w.raw(`<md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="` + nsSignature + `"><ds:X509Data><ds:X509Certificate>`)
		w.b = base64.StdEncoding.AppendEncode(w.b, c.Raw)
		w.raw(`</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>`)
	}
	w.endpoints("md:SingleLogoutService", m.SLO)
	for _, format := range m.NameIDFormats {
		w.element("md:NameIDFormat", "md:NameIDFormat", format)
	}
	w.endpoints("md:SingleSignOnService", m.SSO)
	w.raw(`</md:IDPSSODescriptor></md:EntityDescriptor>`)
	if k != nil {
		w.sign(k, m.ID, start, gap)
	}
	if w.err != nil {
		return nil, fmt.Errorf("saml: metadata: %w", w.err)
	}
	return w.b, nil
}

func (w *writer) endpoints(name string, endpoints []Endpoint) {
	for _, e := range endpoints {
		if e.URL == "" {
			w.fail(errors.New("endpoint without URL"))
		}
		binding := e.Binding
		if binding == "" {
			binding = BindingHTTPPost
		}
		w.raw("<" + name)
		w.attr("Binding", binding)
		w.attr("Location", e.URL)
		w.optional("ResponseLocation", e.ResponseLocation)
		w.raw("></" + name + ">")
	}
}

// SPMetadata is what a service provider says of itself (saml-metadata §2.4.4).
type SPMetadata struct {
	EntityID             string
	DisplayName          string     // mdui:DisplayName, else Organization's, else "", English if there is a choice
	ACS                  []Endpoint // all bindings, in document order; at least one takes HTTP-POST
	SLO                  []Endpoint
	Certificates         []KeyCertificate
	NameIDFormats        []string
	AuthnRequestsSigned  bool
	WantAssertionsSigned bool
	ValidUntil           time.Time     // zero: no end; the earliest of all that holds for this SP
	CacheDuration        time.Duration // 0: nothing is said; the shortest of all that holds for this SP

	// Notes say, in sentences for the administrator, what was passed over and what is weak.
	Notes []string
}

// KeyUse is the purpose of a key in metadata. A key without use serves both (saml-metadata §2.4.1.1).
type KeyUse string

// Uses of a key.
const (
	UseAny        KeyUse = ""
	UseSigning    KeyUse = "signing"
	UseEncryption KeyUse = "encryption"
)

// KeyCertificate is a certificate with its purpose. Its dates and issuer say nothing: metadata pins the key.
type KeyCertificate struct {
	Use         KeyUse
	Certificate *x509.Certificate

	// EncryptionMethods are the algorithms that the SP can decrypt with this key, most wanted first; none is no
	// statement. xmlenc.Choose picks one.
	EncryptionMethods []string
}

// CheckSigning reports why this key can't verify the SP's messages. It does not look at Use.
func (c KeyCertificate) CheckSigning() error { return xmldsig.CheckKey(c.Certificate.PublicKey) }

// CheckEncryption reports why nothing can be encrypted to this key. It does not look at Use.
func (c KeyCertificate) CheckEncryption() error { return xmlenc.CheckKey(c.Certificate.PublicKey) }

// SigningKeys returns the public keys that may sign this SP's messages: those for signing and those for any use.
func (m SPMetadata) SigningKeys() []crypto.PublicKey {
	var keys []crypto.PublicKey
	for _, c := range m.Certificates {
		if c.Use != UseEncryption {
			keys = append(keys, c.Certificate.PublicKey)
		}
	}
	return keys
}

// EncryptionKeys returns those that may be encrypted to, in the SP's order: for encryption, or for any use, and strong
// enough.
func (m SPMetadata) EncryptionKeys() []KeyCertificate {
	var keys []KeyCertificate
	for _, c := range m.Certificates {
		if c.Use != UseSigning && c.CheckEncryption() == nil {
			keys = append(keys, c)
		}
	}
	return keys
}

// MaxMetadata is the largest metadata document that is read, in bytes.
const MaxMetadata = 4 << 20

var metadataLimits = xmldsig.Limits{Bytes: MaxMetadata, Depth: 32, Attributes: 64, Nodes: 100_000}

// ParseSPMetadata reads a service provider's metadata: an EntityDescriptor, or from an EntitiesDescriptor the one with
// the given entityID ("" if there is only one service provider in it). A signature is not looked at; see
// VerifyMetadata. The error is an *Error with a text for the administrator; with reason MetadataManyEntities, use
// SPEntityIDs to offer a choice.
func ParseSPMetadata(data []byte, entityID string, now time.Time) (SPMetadata, error) {
	root, err := readMetadata(data)
	if err != nil {
		return SPMetadata{}, err
	}
	candidates, err := entities(root, now)
	if err != nil {
		return SPMetadata{}, err
	}
	var chosen []*xmldsig.Element
	for _, e := range candidates {
		if entityID == "" || readEntityID(e) == entityID {
			chosen = append(chosen, e)
		}
	}
	switch {
	case len(chosen) == 1:
	case len(chosen) > 1 && entityID == "":
		return SPMetadata{}, &Error{
			Reason: MetadataManyEntities,
			Text:   fmt.Sprintf("The file describes %d service providers. Choose one by its entity ID.", len(chosen)),
		}
	case len(chosen) > 1:
		return SPMetadata{}, badMetadata("The file describes the service provider %q more than once.", entityID)
	case len(candidates) > 0:
		return SPMetadata{}, badMetadata("The file has no service provider with the entity ID %q.", entityID)
	case hasIdP(root):
		return SPMetadata{}, badMetadata("This is the metadata of an identity provider. Get the metadata of the application (service provider) instead.")
	default:
		return SPMetadata{}, badMetadata("The file has no service provider that speaks SAML 2.0.")
	}
	return readSP(chosen[0], now)
}

// ReadSPMetadata is ParseSPMetadata for a file that is read piece by piece.
func ReadSPMetadata(r io.Reader, entityID string, now time.Time) (SPMetadata, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxMetadata+1))
	if err != nil {
		return SPMetadata{}, err
	}
	return ParseSPMetadata(data, entityID, now)
}

// ReadSPEntityIDs is SPEntityIDs for a file that is read piece by piece.
func ReadSPEntityIDs(r io.Reader, now time.Time) ([]string, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxMetadata+1))
	if err != nil {
		return nil, err
	}
	return SPEntityIDs(data, now)
}

// SPEntityIDs lists the service providers in a metadata document, in its order.
func SPEntityIDs(data []byte, now time.Time) ([]string, error) {
	root, err := readMetadata(data)
	if err != nil {
		return nil, err
	}
	candidates, err := entities(root, now)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range candidates {
		if id := readEntityID(e); id != "" {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// VerifyMetadata checks the enveloped signature of a metadata document by one of the keys, and returns the bytes that
// it covers, for ParseSPMetadata. goxmldsig takes documents of up to about 1,000 elements.
func VerifyMetadata(data []byte, keys []crypto.PublicKey) ([]byte, error) {
	root, err := readMetadata(data)
	if err != nil {
		return nil, err
	}
	v, err := xmldsig.Verify(root, keys, metadataLimits)
	if err != nil {
		return nil, &Error{Reason: SignatureInvalid, Text: "The signature of the metadata is missing or not valid.", Err: err}
	}
	return v.Bytes(), nil
}

func readEntityID(entity *xmldsig.Element) string {
	id, _ := entity.Attr("entityID")
	return strings.TrimSpace(id)
}

func badMetadata(format string, args ...any) *Error {
	return &Error{Reason: MetadataInvalid, Text: fmt.Sprintf(format, args...)}
}

func readMetadata(data []byte) (*xmldsig.Element, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, badMetadata("The file is empty.")
	}
	root, err := xmldsig.Read(data, metadataLimits)
	if errors.Is(err, xmldsig.ErrLimit) {
		return nil, &Error{Reason: TooLarge, Text: "The file is too large or too deeply nested for metadata of an application.", Err: err}
	}
	if err != nil {
		e := badMetadata("The file can't be read as XML: %s.", err)
		head := strings.ToLower(string(data[:min(len(data), 512)]))
		if strings.Contains(head, "<html") || strings.Contains(head, "<!doctype html") {
			e = badMetadata("This is a web page, not metadata. Perhaps the address needs a sign-in, or is that of a page about the metadata.")
		}
		e.Err = err
		return nil, e
	}
	if !root.Is(NSMetadata, "EntityDescriptor") && !root.Is(NSMetadata, "EntitiesDescriptor") {
		return nil, badMetadata("This is not SAML 2.0 metadata: it begins with %q instead of EntityDescriptor.", root.Local)
	}
	return root, nil
}

// entities returns the EntityDescriptors that describe a SAML 2.0 service provider. An EntitiesDescriptor past its end
// is refused with all that it holds.
func entities(root *xmldsig.Element, now time.Time) ([]*xmldsig.Element, error) {
	if root.Is(NSMetadata, "EntityDescriptor") {
		if _, ok := spRole(root); ok {
			return []*xmldsig.Element{root}, nil
		}
		return nil, nil
	}
	if _, err := validUntil(root, now); err != nil {
		return nil, err
	}
	var out []*xmldsig.Element
	for _, child := range root.Elements() {
		if child.Is(NSMetadata, "EntityDescriptor") || child.Is(NSMetadata, "EntitiesDescriptor") {
			found, err := entities(child, now)
			if err != nil {
				return nil, err
			}
			out = append(out, found...)
		}
	}
	return out, nil
}

// spRole returns the first SPSSODescriptor that speaks SAML 2.0.
func spRole(entity *xmldsig.Element) (*xmldsig.Element, bool) {
	for _, role := range entity.Children(NSMetadata, "SPSSODescriptor") {
		protocols, _ := role.Attr("protocolSupportEnumeration")
		if slices.Contains(strings.Fields(protocols), NSProtocol) {
			return role, true
		}
	}
	return nil, false
}

func hasIdP(root *xmldsig.Element) bool {
	return !root.All(func(e *xmldsig.Element) bool { return !e.Is(NSMetadata, "IDPSSODescriptor") })
}

// validUntil reads the attribute and refuses what is over.
func validUntil(e *xmldsig.Element, now time.Time) (time.Time, error) {
	t, err := readTime(e, "validUntil")
	if err != nil {
		return t, badMetadata("The end of validity (validUntil) can't be read.")
	}
	if !t.IsZero() && !t.After(now) {
		return t, badMetadata("The metadata was valid until %s only. Get it anew from the application.", t.Format("2 January 2006"))
	}
	return t, nil
}

func readSP(entity *xmldsig.Element, now time.Time) (SPMetadata, error) {
	var m SPMetadata
	var err error
	if m.EntityID = readEntityID(entity); m.EntityID == "" || len(m.EntityID) > 1024 {
		return m, badMetadata("The service provider has no entity ID, or one longer than 1024 characters.")
	}
	role, _ := spRole(entity)
	for _, e := range []*xmldsig.Element{entity, role} {
		t, err := validUntil(e, now)
		if err != nil {
			return m, err
		}
		if !t.IsZero() && (m.ValidUntil.IsZero() || t.Before(m.ValidUntil)) {
			m.ValidUntil = t
		}
	}
	if m.AuthnRequestsSigned, err = readBool(role, "AuthnRequestsSigned"); err != nil {
		return m, badMetadata("AuthnRequestsSigned is neither true nor false.")
	}
	if m.WantAssertionsSigned, err = readBool(role, "WantAssertionsSigned"); err != nil {
		return m, badMetadata("WantAssertionsSigned is neither true nor false.")
	}
	for _, e := range role.Children(NSMetadata, "NameIDFormat") {
		format, err := trimmedText(e)
		if err != nil || format == "" {
			return m, badMetadata("A NameIDFormat can't be read.")
		}
		m.NameIDFormats = append(m.NameIDFormats, format)
	}
	if m.Certificates, err = readKeys(role); err != nil {
		return m, err
	}
	if m.ACS, err = readACS(role); err != nil {
		return m, err
	}
	for _, e := range role.Children(NSMetadata, "SingleLogoutService") {
		endpoint := readEndpoint(e)
		if endpoint.URL == "" || endpoint.Binding == "" {
			return m, badMetadata("A SingleLogoutService lacks its Binding or Location.")
		}
		m.SLO = append(m.SLO, endpoint)
	}
	m.DisplayName = displayName(entity, role)
	return m, nil
}

func readEndpoint(e *xmldsig.Element) Endpoint {
	attr := func(name string) string {
		v, _ := e.Attr(name)
		return strings.TrimSpace(v)
	}
	return Endpoint{Binding: attr("Binding"), URL: attr("Location"), ResponseLocation: attr("ResponseLocation")}
}

// readACS reads the assertion consumer services and settles which one is the default: the first marked as such, else the
// first not marked as not being it, else the first (saml-metadata §2.2.3).
func readACS(role *xmldsig.Element) ([]Endpoint, error) {
	var acs []Endpoint
	def, unmarked, post := -1, -1, false
	for i, e := range role.Children(NSMetadata, "AssertionConsumerService") {
		endpoint := readEndpoint(e)
		if endpoint.URL == "" || endpoint.Binding == "" {
			return nil, badMetadata("An AssertionConsumerService lacks its Binding or Location.")
		}
		var err error
		if endpoint.Index, _, err = readIndex(e, "index"); err != nil {
			return nil, badMetadata("The AssertionConsumerService %s has an index that is no number.", endpoint.URL)
		}
		isDefault, err := readBool(e, "isDefault")
		if err != nil {
			return nil, badMetadata("The AssertionConsumerService %s is marked neither as default nor as not default.", endpoint.URL)
		}
		_, marked := e.Attr("isDefault")
		if isDefault && def < 0 {
			def = i
		}
		if !marked && unmarked < 0 {
			unmarked = i
		}
		if endpoint.Binding == BindingHTTPPost {
			if err := CheckACS(endpoint.URL); err != nil {
				return nil, badMetadata("The AssertionConsumerService %s can't be used: %s.", endpoint.URL, err)
			}
			post = true
		}
		acs = append(acs, endpoint)
	}
	if !post {
		return nil, badMetadata("The service provider has no assertion consumer service for the HTTP-POST binding.")
	}
	if def < 0 {
		def = max(unmarked, 0)
	}
	acs[def].Default = true
	return acs, nil
}

// readKeys reads the certificates. Keys given in other ways than by certificate are passed over.
func readKeys(role *xmldsig.Element) ([]KeyCertificate, error) {
	var out []KeyCertificate
	for _, kd := range role.Children(NSMetadata, "KeyDescriptor") {
		use, _ := kd.Attr("use")
		switch KeyUse(use) {
		case UseAny, UseSigning, UseEncryption:
		default:
			return nil, badMetadata("A key has the unknown use %q.", use)
		}
		var methods []string
		for _, e := range kd.Children(NSMetadata, "EncryptionMethod") {
			if a, _ := e.Attr("Algorithm"); a != "" {
				methods = append(methods, a)
			}
		}
		for _, info := range kd.Children(nsSignature, "KeyInfo") {
			for _, data := range info.Children(nsSignature, "X509Data") {
				for _, e := range data.Children(nsSignature, "X509Certificate") {
					text, err := e.Text()
					if err != nil {
						return nil, badMetadata("A certificate can't be read.")
					}
					cert, err := parseCertificate(text)
					if err != nil {
						bad := badMetadata("A certificate can't be read. It must be an X.509 certificate in base64.")
						bad.Err = err
						return nil, bad
					}
					out = append(out, KeyCertificate{Use: KeyUse(use), Certificate: cert, EncryptionMethods: methods})
				}
			}
		}
	}
	return out, nil
}

// parseCertificate reads base64 of DER, with the lines of PEM around it if they were left.
func parseCertificate(text string) (*x509.Certificate, error) {
	text = strings.TrimSpace(text)
	text = strings.TrimPrefix(text, "-----BEGIN CERTIFICATE-----")
	text = strings.TrimSuffix(text, "-----END CERTIFICATE-----")
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// displayName finds a name for the console: a convenience, so that what can't be read is passed over.
func displayName(entity, role *xmldsig.Element) string {
	var names []*xmldsig.Element
	for _, ext := range role.Children(NSMetadata, "Extensions") {
		for _, ui := range ext.Children(nsMDUI, "UIInfo") {
			names = append(names, ui.Children(nsMDUI, "DisplayName")...)
		}
	}
	if len(names) == 0 {
		for _, org := range entity.Children(NSMetadata, "Organization") {
			names = append(names, org.Children(NSMetadata, "OrganizationDisplayName")...)
		}
	}
	best := ""
	for _, e := range names {
		name, err := trimmedText(e)
		if err != nil || name == "" {
			continue
		}
		lang, _ := e.AttrNS("http://www.w3.org/XML/1998/namespace", "lang")
		if english := lang == "en" || strings.HasPrefix(lang, "en-"); best == "" || english {
			best = name
			if english {
				break
			}
		}
	}
	return best
}
