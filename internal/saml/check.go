package saml

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
	"github.com/latchkey-idp/latchkey/internal/saml/xmlenc"
)

// Defaults of IdentityProvider.
const (
	DefaultSkew   = 3 * time.Minute
	DefaultMaxAge = 10 * time.Minute
)

// ServiceProvider is what we have registered about the other side. Requests never add to it.
type ServiceProvider struct {
	EntityID string

	// ACS are the registered assertion consumer services. Only those of the HTTP-POST binding are used; the default is
	// the one marked, else the first.
	ACS []Endpoint

	// NameIDFormats are the formats that we serve to this SP, the default one first. None means unspecified and
	// emailAddress.
	NameIDFormats []string

	// Keys verify signed requests. With no key a signature is not looked at and the request counts as unsigned.
	Keys []crypto.PublicKey

	// RequireSignedRequests refuses a request that carries no valid signature.
	RequireSignedRequests bool

	// SLO are the registered endpoints for single logout. Those of Redirect and POST are used.
	SLO []Endpoint

	// AllowSHA1 takes signatures by RSA with SHA-1: an exception that an administrator makes for this SP.
	AllowSHA1 bool

	// Encryption is the key that assertions for this SP are encrypted to; nil: they are not.
	Encryption *xmlenc.Recipient
}

// IdentityProvider is our own side of Check.
type IdentityProvider struct {
	// EntityID is our name towards this SP. Only Explain reads it.
	EntityID string

	// Endpoints are our single sign-on URLs for this SP: a Destination must be one of them, exactly.
	Endpoints []string

	// LogoutEndpoints are our single logout URLs for this SP, for requests and responses alike: a Destination must be
	// one of them, exactly.
	LogoutEndpoints []string

	// Certificates are those that we sign answers with, the current one first. Only Explain reads them, to tell about an
	// answer; with none, its signatures are not judged.
	Certificates []*x509.Certificate

	// AuthnContexts are the classes that we can reach, weakest first. None means that wishes are not judged by Check.
	AuthnContexts []string

	// Skew is how far the clocks may differ, MaxAge how old a request may be; 0 means the defaults.
	Skew   time.Duration
	MaxAge time.Duration
}

// Decision is a request that may be answered. It is the only thing to read after Check.
type Decision struct {
	Request AuthnRequest
	Reply   Reply

	// NameIDFormat is the format to answer with: the one asked for if we serve it, else the SP's default.
	NameIDFormat string

	// Signed is true if a signature by one of the SP's keys covers Request.
	Signed bool
}

// Check decides about a request of a known service provider: whether it is really theirs, meant for us and fresh, where
// the answer goes, and whether we can give what they ask. It does not know whether the ID was seen before; the caller
// keeps those if replays matter. The error is an *Error.
//
// Sources: saml-core §3.4.1, saml-bindings §3.4.5.2 and §3.5.5.2, saml-profiles §4.1.4.1.
func Check(in Incoming, sp ServiceProvider, idp IdentityProvider, now time.Time) (Decision, error) {
	if in.root == nil {
		return Decision{}, malformed(errors.New("no message"))
	}
	if in.issuer != sp.EntityID {
		return Decision{}, unknownIssuer(in.issuer)
	}
	root, signed, err := in.authenticate(sp)
	if err != nil {
		return Decision{}, err
	}
	// From here on only root is read: for a signed message it is what the signature covers.
	req, err := readAuthnRequest(root)
	if err != nil {
		return Decision{}, malformed(err)
	}
	if req.Issuer != sp.EntityID {
		return Decision{}, unknownIssuer(req.Issuer)
	}
	if err := checkDelivery(req, idp, signed, now); err != nil {
		return Decision{}, err
	}
	acs, err := sp.chooseACS(req)
	if err != nil {
		return Decision{}, err
	}
	// From here on issuer and address are known ones, and the SP may be told what is wrong.
	d := Decision{
		Request: req, Signed: signed,
		Reply: Reply{ACS: acs, InResponseTo: req.ID, RelayState: in.relayState},
	}
	if reason, text := d.checkWishes(root, sp, idp); reason != "" {
		return Decision{}, d.Refuse(reason, text)
	}
	return d, nil
}

// authenticate verifies the message's signature if there is one that we can verify, and returns the element to read.
func (in Incoming) authenticate(sp ServiceProvider) (root *xmldsig.Element, signed bool, err error) {
	enveloped := xmldsig.HasSignature(in.root)
	if in.binding == BindingHTTPRedirect && enveloped {
		// §3.4.4.1: such a signature must be removed; passing over it would let a sender believe that it counted.
		return nil, false, malformed(errors.New("XML signature within a message of the Redirect binding"))
	}
	switch {
	case !enveloped && !in.hasSig:
		if sp.RequireSignedRequests {
			return nil, false, &Error{
				Reason: SignatureMissing,
				Text:   "The application must sign its sign-in requests, and this one is not signed. Tell your administrator.",
			}
		}
		return in.root, false, nil
	case len(sp.Keys) == 0 && sp.RequireSignedRequests:
		return nil, false, &Error{
			Reason: SignatureInvalid, Err: errors.New("no key is registered for the service provider"),
			Text: "The application's signature can't be checked, because no certificate of the application is registered here. Tell your administrator.",
		}
	case len(sp.Keys) == 0:
		return in.root, false, nil
	case in.hasSig:
		if err := xmldsig.VerifyDetached(in.sigAlg, in.octets, in.signature, sp.Keys); err != nil {
			return nil, false, badSignature(err)
		}
		return in.root, true, nil
	default:
		v, err := xmldsig.Verify(in.root, sp.Keys, messageLimits)
		if err != nil {
			return nil, false, badSignature(err)
		}
		return v.Root(), true, nil
	}
}

// checkDelivery checks that the request is meant for us and fresh.
func checkDelivery(req AuthnRequest, idp IdentityProvider, signed bool, now time.Time) error {
	if req.Destination == "" && signed || req.Destination != "" && !slices.Contains(idp.Endpoints, req.Destination) {
		return &Error{
			Reason: WrongDestination, Err: fmt.Errorf("Destination %q", req.Destination),
			Text: "The sign-in request was meant for another address. Ask your administrator to compare the sign-on URL in the application with the one shown here.",
		}
	}
	skew, maxAge := idp.Skew, idp.MaxAge
	if skew == 0 {
		skew = DefaultSkew
	}
	if maxAge == 0 {
		maxAge = DefaultMaxAge
	}
	if req.IssueInstant.After(now.Add(skew)) {
		return &Error{
			Reason: FromTheFuture, Err: fmt.Errorf("IssueInstant %s, now %s", req.IssueInstant.Format(time.RFC3339), now.UTC().Format(time.RFC3339)),
			Text: "The clocks of the application and of this service differ too much. Tell your administrator.",
		}
	}
	if req.IssueInstant.Before(now.Add(-maxAge - skew)) {
		return &Error{
			Reason: Stale, Err: fmt.Errorf("IssueInstant %s, now %s", req.IssueInstant.Format(time.RFC3339), now.UTC().Format(time.RFC3339)),
			Text: "This sign-in request is too old. Open the application again to get a new one.",
		}
	}
	return nil
}

// DefaultACS returns the endpoint for IdP-initiated sign-on and for requests that name none; false if there is none.
func (sp ServiceProvider) DefaultACS() (Endpoint, bool) {
	var first Endpoint
	for _, e := range sp.ACS {
		if !e.takesPost() {
			continue
		}
		if e.Default {
			return e, true
		}
		if first.URL == "" {
			first = e
		}
	}
	return first, first.URL != ""
}

func (e Endpoint) takesPost() bool {
	return e.URL != "" && (e.Binding == "" || e.Binding == BindingHTTPPost)
}

// chooseACS picks the registered endpoint that the request means. URL and index exclude one another by the standard; if
// both come they must mean the same endpoint.
func (sp ServiceProvider) chooseACS(req AuthnRequest) (Endpoint, error) {
	acs, found := sp.DefaultACS()
	if !found {
		return Endpoint{}, &Error{
			Reason: NoACS,
			Text:   "Sign-on to this application is not set up completely: no assertion consumer service URL is registered. Tell your administrator.",
		}
	}
	if req.ACSURL != "" || req.HasACSIndex {
		found = false
		for _, e := range sp.ACS {
			if e.takesPost() && (req.ACSURL == "" || e.URL == req.ACSURL) && (!req.HasACSIndex || e.Index == req.ACSIndex) {
				acs, found = e, true
				break
			}
		}
	}
	var err error
	if !found {
		err = fmt.Errorf("AssertionConsumerServiceURL %q, index %d (given: %t)", req.ACSURL, req.ACSIndex, req.HasACSIndex)
	} else {
		err = CheckACS(acs.URL)
	}
	if err != nil {
		return Endpoint{}, &Error{
			Reason: UnregisteredACS, Err: err,
			Text: "The application asks for the answer at an address that is not registered here. Ask your administrator to compare the assertion consumer service URLs, to the letter.",
		}
	}
	return acs, nil
}

// CheckACS reports why a URL may not be registered as an assertion consumer service. It must be an absolute https URL,
// or http on a loopback address, without user or fragment. The error's text is for the administrator.
func CheckACS(raw string) error {
	const maxLen = 2048
	if len(raw) > maxLen {
		return fmt.Errorf("the URL is longer than %d characters", maxLen)
	}
	if strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune("\"<>\\^`{|}", r) }) {
		return errors.New("the URL has characters that must be percent-encoded")
	}
	u, err := url.Parse(raw)
	if err != nil {
		return errors.New("this is not a URL")
	}
	switch {
	case u.Host == "" || u.Hostname() == "":
		return errors.New("the URL must be complete, such as https://app.example.com/saml/acs")
	case u.User != nil:
		return errors.New("the URL must not have a user name")
	case strings.Contains(raw, "#"):
		return errors.New("the URL must not have a fragment (#…)")
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	}
	return errors.New("the URL must begin with https:// (http:// is allowed on this machine's loopback address only)")
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// checkWishes checks what the SP asks about the answer. It also settles NameIDFormat.
func (d *Decision) checkWishes(root *xmldsig.Element, sp ServiceProvider, idp IdentityProvider) (Reason, string) {
	req := d.Request
	if version, _ := root.Attr("Version"); version != "2.0" {
		return UnsupportedVersion, "The application speaks another version of SAML than 2.0."
	}
	if req.ProtocolBinding != "" && req.ProtocolBinding != BindingHTTPPost {
		return UnsupportedBinding, "The application asks for the answer by a SAML binding that is not supported; only HTTP-POST is."
	}
	formats := sp.NameIDFormats
	if len(formats) == 0 {
		formats = []string{NameIDUnspecified, NameIDEmailAddress}
	}
	d.NameIDFormat = formats[0]
	if wish := req.NameIDPolicy.Format; wish != "" && wish != NameIDUnspecified {
		if wish == NameIDEncrypted || !slices.Contains(formats, wish) {
			return UnsupportedNameID, "The application asks for a kind of name (NameID format) that is not set up for it. Ask your administrator to compare the NameID format on both sides."
		}
		d.NameIDFormat = wish
	}
	if q := req.NameIDPolicy.SPNameQualifier; q != "" && q != sp.EntityID {
		return UnsupportedNameID, "The application asks for a name in another application's name space."
	}
	if req.HasSubject && req.Subject.Value == "" {
		return UnsupportedSubject, "The application asks for a person in a way that is not supported."
	}
	if len(idp.AuthnContexts) > 0 {
		if _, ok := req.RequestedAuthnContext.Choose(idp.AuthnContexts, idp.AuthnContexts...); !ok {
			return NoAuthnContext, "The application asks for a way of signing in that is not available here."
		}
	}
	return "", ""
}

// Refuse makes the error for a good request that can't be granted, with the status that the standard has for the
// reason; text is for the person, if a page is shown. It is always Sendable.
func (d Decision) Refuse(reason Reason, text string) *Error {
	return &Error{Reason: reason, Text: text, Reply: d.Reply, Status: statusOf(reason)}
}

// statusOf maps a reason to status codes (saml-core §3.2.2.2). The messages tell nothing about the person.
func statusOf(reason Reason) Status {
	switch reason {
	case UnsupportedVersion:
		return Status{Code: StatusVersionMismatch, Message: "Only SAML 2.0 is supported"}
	case UnsupportedBinding:
		return Status{StatusRequester, StatusUnsupportedBinding, "Only the HTTP-POST binding is supported for responses"}
	case UnsupportedNameID:
		return Status{StatusRequester, StatusInvalidNameIDPolicy, "The NameIDPolicy can't be met"}
	case UnsupportedSubject:
		return Status{StatusRequester, StatusRequestUnsupported, "The Subject can't be read"}
	case NoAuthnContext:
		return Status{StatusResponder, StatusNoAuthnContext, "The requested authentication context can't be met"}
	case PassiveImpossible:
		return Status{StatusResponder, StatusNoPassive, "The user can't be authenticated passively"}
	case AuthenticationFails:
		return Status{StatusResponder, StatusAuthnFailed, "The user was not authenticated"}
	case UnknownPrincipal:
		return Status{StatusResponder, StatusUnknownPrincipal, "Another user is signed in than the one asked for"}
	case AccessDenied:
		return Status{StatusResponder, StatusRequestDenied, "Access was denied"}
	}
	return Status{Code: StatusResponder}
}

func unknownIssuer(issuer string) *Error {
	return &Error{
		Reason: UnknownIssuer, Err: fmt.Errorf("issuer %q", issuer),
		Text: "The application that sent you here is not known under this name. Ask your administrator to compare the service provider's entity ID.",
	}
}

func badSignature(err error) *Error {
	return &Error{
		Reason: SignatureInvalid, Err: err,
		Text: "The signature of the sign-in request is not valid. Ask your administrator to compare the application's certificate.",
	}
}
