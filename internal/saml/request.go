package saml

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
)

// AuthnRequest is what a service provider asks (saml-core §3.4.1). Absent parts are zero values; the Has… fields tell
// absence from emptiness where that matters.
type AuthnRequest struct {
	ID           string
	IssueInstant time.Time
	Destination  string
	Issuer       string // entityID of the service provider

	ACSURL          string // AssertionConsumerServiceURL
	HasACSIndex     bool
	ACSIndex        int
	ProtocolBinding string

	HasNameIDPolicy bool
	NameIDPolicy    NameIDPolicy

	ForceAuthn bool
	IsPassive  bool

	// Subject is the person that the SP asks for, by name. If HasSubject, the answer must be about that person or be
	// the status UnknownPrincipal (saml-core §3.4.1).
	HasSubject bool
	Subject    NameID

	// RequestedAuthnContext is empty if the SP has no wish.
	RequestedAuthnContext RequestedAuthnContext

	// HasAttributeIndex and AttributeIndex: AttributeConsumingServiceIndex, tolerated and without effect.
	HasAttributeIndex bool
	AttributeIndex    int

	ProviderName string
}

// NameIDPolicy is the SP's wish about the subject's name (saml-core §3.4.1.1).
type NameIDPolicy struct {
	Format          string
	SPNameQualifier string
	AllowCreate     bool
}

// NameID names a person to a service provider (saml-core §2.2.2).
type NameID struct {
	Value           string `json:"value"`
	Format          string `json:"format,omitempty"`          // "" is left out
	NameQualifier   string `json:"nameQualifier,omitempty"`   // "" is left out
	SPNameQualifier string `json:"spNameQualifier,omitempty"` // "" is left out
}

// Comparison says how RequestedAuthnContext's classes are to be compared (saml-core §3.3.2.2.1).
type Comparison string

// The four comparisons; an absent attribute means Exact.
const (
	Exact   Comparison = "exact"
	Minimum Comparison = "minimum"
	Maximum Comparison = "maximum"
	Better  Comparison = "better"
)

// RequestedAuthnContext is the SP's wish about how the person proves who they are.
type RequestedAuthnContext struct {
	Comparison Comparison
	Classes    []string // in the SP's order of preference
}

// Reply says where the answer to a request goes.
type Reply struct {
	ACS          Endpoint // one of the SP's registered endpoints
	InResponseTo string   // ID of the request; "" for IdP-initiated sign-on
	RelayState   string   // to be returned verbatim
}

// Endpoint is a URL at which a party takes messages of one binding (saml-metadata §2.2.2, §2.2.3).
type Endpoint struct {
	Binding          string // "" means HTTP-POST
	URL              string // the full URL with its query string, compared exactly
	ResponseLocation string // where answers go, if elsewhere (single logout)
	Index            int
	Default          bool
}

// Choose picks the authentication context class to state in the answer. order ranks the known classes, weakest first;
// achieved are those that the person's sign-in satisfies. Without a wish it is the strongest one achieved. false means
// that the wish is not met: ask for more proof, or answer NoAuthnContext.
func (r RequestedAuthnContext) Choose(order []string, achieved ...string) (string, bool) {
	strongest := func(fits func(rank int) bool) (string, bool) {
		for rank, class := range slices.Backward(order) {
			if fits(rank) && slices.Contains(achieved, class) {
				return class, true
			}
		}
		return "", false
	}
	if len(r.Classes) == 0 || r.Comparison != Better && slices.Contains(r.Classes, AuthnContextUnspecified) {
		class, ok := strongest(func(int) bool { return true })
		if !ok {
			class = AuthnContextUnspecified
		}
		return class, true
	}
	// What is wished for literally meets all comparisons but Better.
	if r.Comparison != Better {
		for _, wish := range r.Classes {
			if slices.Contains(achieved, wish) {
				return wish, true
			}
		}
	}
	weakest, best := len(order), -1
	for _, wish := range r.Classes {
		if rank := slices.Index(order, wish); rank >= 0 {
			weakest, best = min(weakest, rank), max(best, rank)
		} else if r.Comparison == Better {
			return "", false // nothing is known to be stronger than an unknown class
		}
	}
	switch r.Comparison {
	case Minimum:
		return strongest(func(rank int) bool { return rank >= weakest })
	case Maximum:
		return strongest(func(rank int) bool { return rank <= best })
	case Better:
		return strongest(func(rank int) bool { return rank > best })
	}
	return "", false
}

// read reads what only an AuthnRequest has from the element, which is a verified one if the request is signed.
func (r *AuthnRequest) read(root *xmldsig.Element) error {
	var err error
	r.ACSURL, _ = root.Attr("AssertionConsumerServiceURL")
	r.ProtocolBinding, _ = root.Attr("ProtocolBinding")
	r.ProviderName, _ = root.Attr("ProviderName")
	if r.ACSIndex, r.HasACSIndex, err = readIndex(root, "AssertionConsumerServiceIndex"); err != nil {
		return err
	}
	if r.AttributeIndex, r.HasAttributeIndex, err = readIndex(root, "AttributeConsumingServiceIndex"); err != nil {
		return err
	}
	if r.ForceAuthn, err = readBool(root, "ForceAuthn"); err != nil {
		return err
	}
	if r.IsPassive, err = readBool(root, "IsPassive"); err != nil {
		return err
	}
	if err := r.readNameIDPolicy(root); err != nil {
		return err
	}
	if err := r.readSubject(root); err != nil {
		return err
	}
	return r.readAuthnContext(root)
}

func (r *AuthnRequest) readNameIDPolicy(root *xmldsig.Element) error {
	policy, found, err := root.Child(NSProtocol, "NameIDPolicy")
	if err != nil || !found {
		return err
	}
	r.HasNameIDPolicy = true
	r.NameIDPolicy.Format, _ = policy.Attr("Format")
	r.NameIDPolicy.SPNameQualifier, _ = policy.Attr("SPNameQualifier")
	r.NameIDPolicy.AllowCreate, err = readBool(policy, "AllowCreate")
	return err
}

// readSubject reads the NameID of a Subject. A Subject without one, or with an encrypted one, leaves Subject empty:
// nobody fits it.
func (r *AuthnRequest) readSubject(root *xmldsig.Element) error {
	subject, found, err := root.Child(NSAssertion, "Subject")
	if err != nil || !found {
		return err
	}
	r.HasSubject = true
	id, found, err := subject.Child(NSAssertion, "NameID")
	if err != nil || !found {
		return err
	}
	r.Subject, err = readNameID(id)
	return err
}

func readNameID(e *xmldsig.Element) (n NameID, err error) {
	n.Format, _ = e.Attr("Format")
	n.NameQualifier, _ = e.Attr("NameQualifier")
	n.SPNameQualifier, _ = e.Attr("SPNameQualifier")
	n.Value, err = trimmedText(e)
	return n, err
}

func (r *AuthnRequest) readAuthnContext(root *xmldsig.Element) error {
	wish, found, err := root.Child(NSProtocol, "RequestedAuthnContext")
	if err != nil || !found {
		return err
	}
	r.RequestedAuthnContext.Comparison = Exact
	if c, ok := wish.Attr("Comparison"); ok {
		r.RequestedAuthnContext.Comparison = Comparison(c)
	}
	switch r.RequestedAuthnContext.Comparison {
	case Exact, Minimum, Maximum, Better:
	default:
		return errors.New("unknown Comparison")
	}
	for _, child := range wish.Elements() {
		// A declaration is taken as a class that nobody reaches: the answer is NoAuthnContext, as it must be.
		if !child.Is(NSAssertion, "AuthnContextClassRef") && !child.Is(NSAssertion, "AuthnContextDeclRef") {
			return fmt.Errorf("unexpected element %s", child.Local)
		}
		class, err := trimmedText(child)
		if err != nil {
			return err
		}
		if class == "" {
			return errors.New("empty authentication context")
		}
		r.RequestedAuthnContext.Classes = append(r.RequestedAuthnContext.Classes, class)
	}
	if len(r.RequestedAuthnContext.Classes) == 0 {
		return errors.New("RequestedAuthnContext names nothing")
	}
	return nil
}

// readIssuer reads the entityID of the sender (saml-profiles §4.1.4.1).
func readIssuer(root *xmldsig.Element) (string, error) {
	e, found, err := root.Child(NSAssertion, "Issuer")
	if err != nil {
		return "", err
	}
	if !found {
		return "", errors.New("no Issuer")
	}
	if format, ok := e.Attr("Format"); ok && format != NameIDEntity && format != NameIDUnspecified {
		return "", fmt.Errorf("Issuer of format %q", format)
	}
	issuer, err := trimmedText(e)
	if err != nil {
		return "", err
	}
	if issuer == "" || len(issuer) > 1024 { // saml-core §8.3.6
		return "", errors.New("Issuer is empty or too long")
	}
	return issuer, nil
}

// maxID is the longest ID that is taken, in bytes.
const maxID = 256

func readID(root *xmldsig.Element) (string, error) {
	id, _ := root.Attr("ID")
	if !xmldsig.IsNCName(id) || len(id) > maxID {
		return "", errors.New("ID is missing, too long or no XML identifier")
	}
	return id, nil
}

// readTime reads an xs:dateTime with its zone; zero if the attribute is absent (saml-core §1.3.3).
func readTime(e *xmldsig.Element, name string) (time.Time, error) {
	v, ok := e.Attr(name)
	if !ok {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, strings.TrimSpace(v))
	if err != nil || t.Year() < 1 {
		return time.Time{}, fmt.Errorf("%s is not a time in UTC", name)
	}
	return t.UTC(), nil
}

// readBool reads an xs:boolean; absent is false.
func readBool(e *xmldsig.Element, name string) (bool, error) {
	v, _ := e.Attr(name)
	switch strings.TrimSpace(v) {
	case "true", "1":
		return true, nil
	case "", "false", "0":
		return false, nil
	}
	return false, fmt.Errorf("%s is neither true nor false", name)
}

// readIndex reads an xs:unsignedShort.
func readIndex(e *xmldsig.Element, name string) (int, bool, error) {
	v, ok := e.Attr(name)
	if !ok {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(strings.TrimSpace(v), 10, 16)
	if err != nil {
		return 0, false, fmt.Errorf("%s is not a number from 0 to 65535", name)
	}
	return int(n), true, nil
}

func trimmedText(e *xmldsig.Element) (string, error) {
	s, err := e.Text()
	return strings.TrimSpace(s), err
}
