package saml

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
	"github.com/latchkey-idp/latchkey/internal/saml/xmlenc"
)

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

// Limits on metadata documents. eduGAIN's aggregate of all the world's research federations has some 100 MB and 10,000
// entities of a few KB each.
const (
	// MaxMetadata is the largest metadata document that is read, in bytes.
	MaxMetadata = 256 << 20
	// MaxMetadataEntity is the largest description of one entity in it, in bytes.
	MaxMetadataEntity = 2 << 20
)

var (
	metadataLimits = xmldsig.Limits{Bytes: MaxMetadata, Depth: 32, Attributes: 64, Nodes: 20_000_000}
	entityLimits   = xmldsig.Limits{Bytes: MaxMetadataEntity, Depth: 32, Attributes: 64, Nodes: 20_000}
)

// ParseSPMetadata reads a service provider's metadata: an EntityDescriptor, or from an EntitiesDescriptor the one with
// the given entityID ("" if there is only one service provider in it). A signature is not looked at; see
// VerifyMetadata. The error is an *Error with a text for the administrator; with reason MetadataManyEntities, use
// SPEntityIDs to offer a choice.
func ParseSPMetadata(data []byte, entityID string, now time.Time) (SPMetadata, error) {
	return ReadSPMetadata(bytes.NewReader(data), entityID, now)
}

// ReadSPMetadata is ParseSPMetadata for a document that is read piece by piece: of a federation's aggregate no more is
// held than a window of a few MB. An error of the reader is returned as it is, wrapped.
func ReadSPMetadata(r io.Reader, entityID string, now time.Time) (SPMetadata, error) {
	var found *xmldsig.Element
	var around validity
	all, wanted := 0, 0
	idp, err := eachSP(r, now, func(id string, part xmldsig.Part, v validity) (err error) {
		all++
		if entityID != "" && id != entityID {
			return nil
		}
		if wanted++; wanted == 1 {
			around = v
			found, err = part.Tree()
		}
		return err
	})
	switch {
	case err != nil:
		return SPMetadata{}, err
	case wanted == 1:
		return readSP(found, around, now)
	case wanted > 1 && entityID == "":
		return SPMetadata{}, &Error{
			Reason: MetadataManyEntities,
			Text:   fmt.Sprintf("The file describes %d service providers. Choose one by its entity ID.", wanted),
		}
	case wanted > 1:
		return SPMetadata{}, badMetadata("The file describes the service provider %q more than once.", entityID)
	case all > 0:
		return SPMetadata{}, badMetadata("The file has no service provider with the entity ID %q.", entityID)
	case idp:
		return SPMetadata{}, badMetadata("This is the metadata of an identity provider. Get the metadata of the application (service provider) instead.")
	}
	return SPMetadata{}, badMetadata("The file has no service provider that speaks SAML 2.0.")
}

// SPEntityIDs lists the service providers in a metadata document, in its order.
func SPEntityIDs(data []byte, now time.Time) ([]string, error) {
	return ReadSPEntityIDs(bytes.NewReader(data), now)
}

// ReadSPEntityIDs is SPEntityIDs for a document that is read piece by piece.
func ReadSPEntityIDs(r io.Reader, now time.Time) ([]string, error) {
	var ids []string
	_, err := eachSP(r, now, func(id string, _ xmldsig.Part, _ validity) error {
		if id != "" {
			ids = append(ids, strings.Clone(id)) // without the window that it is a part of
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
}

// VerifyMetadata checks the enveloped signature of a metadata document by one of the keys, and returns the bytes that
// it covers, for ParseSPMetadata. Time and memory grow with the document's length only.
func VerifyMetadata(data []byte, keys []crypto.PublicKey) ([]byte, error) {
	signed, err := xmldsig.VerifyBytes(data, keys, metadataLimits)
	switch {
	case errors.Is(err, xmldsig.ErrLimit):
		return nil, metadataTooLarge(err)
	case err != nil:
		return nil, &Error{Reason: SignatureInvalid, Text: "The signature of the metadata is missing or not valid.", Err: err}
	}
	return signed, nil
}

// eachSP reads a metadata document to its end and calls visit for every EntityDescriptor that describes a SAML 2.0
// service provider; id is valid only during the call. idp tells whether some entity is an identity provider. An
// EntitiesDescriptor past its end is refused with all that it holds.
func eachSP(r io.Reader, now time.Time, visit func(id string, part xmldsig.Part, around validity) error) (idp bool, err error) {
	src := &source{Reader: r}
	if known, ok := r.(lengthy); ok && known.Len() > MaxMetadata {
		return false, metadataTooLarge(nil)
	}
	s := xmldsig.NewScanner(src.sized(), metadataLimits, entityLimits)
	groups := []validity{{}} // of the EntitiesDescriptors around, outermost first
	for {
		e, depth, err := s.Next()
		switch {
		case errors.Is(err, io.EOF):
			return idp, nil
		case err != nil:
			return false, src.judge(err)
		case e.Is(NSMetadata, "EntitiesDescriptor"):
			v, err := groups[depth-1].within(e, now)
			if err != nil {
				return false, err
			}
			groups = append(groups[:depth], v)
			continue
		case depth == 1 && !e.Is(NSMetadata, "EntityDescriptor"):
			return false, src.foreign(e.Local)
		}
		entity, id, sp := e.Is(NSMetadata, "EntityDescriptor"), readEntityID(e), false
		part, err := s.Part(func(role *xmldsig.Element) {
			sp = sp || entity && isSP(role)
			idp = idp || entity && role.Is(NSMetadata, "IDPSSODescriptor")
		})
		if err == nil && sp {
			err = visit(id, part, groups[depth-1])
		}
		if err != nil {
			return false, src.judge(err)
		}
	}
}

// source is where a metadata document comes from. It remembers what is needed to tell what went wrong.
type source struct {
	io.Reader
	head []byte // the beginning of the document
	n    int    // bytes read
	err  error  // other than io.EOF
}

const headSize = 512

func (s *source) Read(b []byte) (int, error) {
	n, err := s.Reader.Read(b)
	if len(s.head) < headSize {
		s.head = append(s.head, b[:min(n, headSize-len(s.head))]...)
	}
	s.n += n
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// lengthy is a reader that knows how much is left, such as a bytes.Reader.
type lengthy interface{ Len() int }

// sized lets a Scanner know the length of a document that is in memory.
func (s *source) sized() io.Reader {
	if known, ok := s.Reader.(lengthy); ok {
		return struct {
			io.Reader
			lengthy
		}{s, known}
	}
	return s
}

// judge makes the error for the administrator from one of reading.
func (s *source) judge(err error) error {
	switch {
	case s.err != nil:
		return fmt.Errorf("saml: metadata: %w", s.err)
	case errors.Is(err, xmldsig.ErrLimit):
		return metadataTooLarge(err)
	case s.n <= headSize && len(bytes.TrimSpace(s.head)) == 0:
		return badMetadata("The file is empty.")
	case s.isPage():
		return aPage(err)
	}
	bad := badMetadata("The file can't be read as XML: %s.", err)
	bad.Err = err
	return bad
}

// foreign makes the error for a root that is none of metadata.
func (s *source) foreign(root string) error {
	if s.isPage() {
		return aPage(nil)
	}
	return badMetadata("This is not SAML 2.0 metadata: it begins with %q instead of EntityDescriptor.", root)
}

func (s *source) isPage() bool {
	head := strings.ToLower(string(s.head))
	return strings.Contains(head, "<html") || strings.Contains(head, "<!doctype html")
}

func aPage(err error) *Error {
	bad := badMetadata("This is a web page, not metadata. Perhaps the address needs a sign-in, or is that of a page about the metadata.")
	bad.Err = err
	return bad
}

func metadataTooLarge(err error) *Error {
	return &Error{Reason: TooLarge, Text: "The file is too large or too deeply nested for metadata of an application.", Err: err}
}

// validity is how long metadata may be used (saml-metadata §2.3.1): what an element says holds for all within it.
type validity struct {
	until time.Time     // zero: no end
	cache time.Duration // 0: nothing is said
	odd   bool          // a cacheDuration can't be read
}

// within adds what an element says to what those around it do, and refuses what is over.
func (v validity) within(e *xmldsig.Element, now time.Time) (validity, error) {
	t, err := readTime(e, "validUntil")
	if err != nil {
		return v, badMetadata("The end of validity (validUntil) can't be read.")
	}
	if !t.IsZero() && !t.After(now) {
		return v, badMetadata("The metadata was valid until %s only. Get it anew from the application.", t.Format("2 January 2006"))
	}
	if !t.IsZero() && (v.until.IsZero() || t.Before(v.until)) {
		v.until = t
	}
	if text, ok := e.Attr("cacheDuration"); ok {
		d, ok := readDuration(strings.TrimSpace(text))
		v.odd = v.odd || !ok
		if ok && d > 0 && (v.cache == 0 || d < v.cache) {
			v.cache = d
		}
	}
	return v, nil
}

var durations = regexp.MustCompile(`^P(?:([0-9]{1,4})Y)?(?:([0-9]{1,5})M)?(?:([0-9]{1,6})D)?(T(?:([0-9]{1,7})H)?(?:([0-9]{1,9})M)?(?:([0-9]{1,10})(?:\.[0-9]+)?S)?)?$`)

// readDuration reads an xs:duration; a month counts as 30 days, a year as 365, fractions of a second not at all.
func readDuration(s string) (d time.Duration, ok bool) {
	m := durations.FindStringSubmatch(s)
	if m == nil || s == "P" || strings.HasSuffix(s, "T") {
		return 0, false
	}
	const day = 24 * time.Hour
	const most = 10 * 365 * day
	for i, unit := range map[int]time.Duration{1: 365 * day, 2: 30 * day, 3: day, 5: time.Hour, 6: time.Minute, 7: time.Second} {
		if m[i] == "" {
			continue
		}
		n, err := strconv.Atoi(m[i])
		if err != nil {
			return 0, false
		}
		d += time.Duration(min(n, int(most/unit))) * unit
	}
	return min(d, most), true
}

func readEntityID(entity *xmldsig.Element) string {
	id, _ := entity.Attr("entityID")
	return strings.TrimSpace(id)
}

func badMetadata(format string, args ...any) *Error {
	return &Error{Reason: MetadataInvalid, Text: fmt.Sprintf(format, args...)}
}

// isSP reports whether an element is the role of a SAML 2.0 service provider.
func isSP(role *xmldsig.Element) bool {
	protocols, _ := role.Attr("protocolSupportEnumeration")
	return role.Is(NSMetadata, "SPSSODescriptor") && slices.Contains(strings.Fields(protocols), NSProtocol)
}

// spRole returns the first SPSSODescriptor that speaks SAML 2.0.
func spRole(entity *xmldsig.Element) (*xmldsig.Element, bool) {
	for _, role := range entity.Elements() {
		if isSP(role) {
			return role, true
		}
	}
	return nil, false
}

func readSP(entity *xmldsig.Element, v validity, now time.Time) (SPMetadata, error) {
	var m SPMetadata
	var err error
	if m.EntityID = readEntityID(entity); m.EntityID == "" || len(m.EntityID) > 1024 {
		return m, badMetadata("The service provider has no entity ID, or one longer than 1024 characters.")
	}
	role, ok := spRole(entity)
	if !ok {
		return m, badMetadata("The file has no service provider that speaks SAML 2.0.")
	}
	for _, e := range []*xmldsig.Element{entity, role} {
		if v, err = v.within(e, now); err != nil {
			return m, err
		}
	}
	m.ValidUntil, m.CacheDuration = v.until, v.cache
	if v.odd {
		m.note("How long the metadata may be kept (cacheDuration) can't be read and was passed over.")
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
	if err = m.readKeys(role); err != nil {
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

// maxKeys bounds an SP's certificates: reading one costs much more than its bytes.
const maxKeys = 32

// readKeys reads the certificates, and notes what was passed over and which keys are weak.
func (m *SPMetadata) readKeys(role *xmldsig.Element) error {
	for _, kd := range role.Children(NSMetadata, "KeyDescriptor") {
		use, _ := kd.Attr("use")
		switch KeyUse(use) {
		case UseAny, UseSigning, UseEncryption:
		default:
			return badMetadata("A key has the unknown use %q.", use)
		}
		var methods []string
		for _, e := range kd.Children(NSMetadata, "EncryptionMethod") {
			if a, _ := e.Attr("Algorithm"); a != "" {
				methods = append(methods, strings.TrimSpace(a))
			}
		}
		before := len(m.Certificates)
		for _, info := range kd.Children(nsSignature, "KeyInfo") {
			for _, data := range info.Children(nsSignature, "X509Data") {
				for _, e := range data.Children(nsSignature, "X509Certificate") {
					if len(m.Certificates) == maxKeys {
						return badMetadata("The service provider has more than %d certificates.", maxKeys)
					}
					cert, err := readCertificate(e)
					if err != nil {
						return err
					}
					m.Certificates = append(m.Certificates, KeyCertificate{Use: KeyUse(use), Certificate: cert, EncryptionMethods: methods})
				}
			}
		}
		if len(m.Certificates) == before {
			m.note("A key%s was passed over: it is not given by a certificate. Ask for metadata with X509Certificate.", purpose(KeyUse(use)))
		}
	}
	for _, c := range m.Certificates {
		weak := c.CheckSigning()
		if c.Use == UseEncryption {
			weak = c.CheckEncryption()
		}
		if weak != nil {
			m.note("The key%s in the certificate of %s can't be used: %s. Ask the service provider for a new one.", purpose(c.Use), shortened(c.Certificate.Subject.String()), weak)
		}
	}
	return nil
}

func (m *SPMetadata) note(format string, args ...any) {
	m.Notes = append(m.Notes, fmt.Sprintf(format, args...))
}

func purpose(use KeyUse) string {
	if use == UseAny {
		return ""
	}
	return " for " + string(use)
}

// shortened quotes a text that comes from outside.
func shortened(s string) string {
	if s = strings.ToValidUTF8(s, "?"); len(s) > 100 {
		s = strings.ToValidUTF8(s[:100], "") + "…"
	}
	return strconv.Quote(s)
}

func readCertificate(e *xmldsig.Element) (*x509.Certificate, error) {
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
	return cert, nil
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
