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

	// MayCreate is whether a persistent name may be made for a person who has none with this SP. If it is false and there
	// is none, the answer is Refuse(UnsupportedNameID, …) (saml-core §3.4.1.1). An SP that sends no NameIDPolicy at all,
	// but is registered to get persistent names, has not forbidden it.
	MayCreate bool

	// Signed is true if a signature by one of the SP's keys covers Request.
	Signed bool
}

// Check decides about a request of a known service provider: whether it is really theirs, meant for us and fresh, where
// the answer goes, and whether we can give what they ask. It does not know whether the ID was seen before; the caller
// keeps those if replays matter. The error is an *Error.
//
// Sources: saml-core §3.4.1, saml-bindings §3.4.5.2 and §3.5.5.2, saml-profiles §4.1.4.1.
func Check(in Incoming, sp ServiceProvider, idp IdentityProvider, now time.Time) (Decision, error) {
	if e := begin(in); e != nil {
		return Decision{}, e
	}
	j := judgement{in: in, root: in.root, sp: sp, idp: idp, now: now, words: signOnWords}
	if e := j.judge(authnRequestRules); e != nil {
		return Decision{}, e
	}
	return j.decision(), nil
}

// decision is what Check returns once all rules are kept.
func (j *judgement) decision() Decision {
	req := j.request
	req.ID, req.IssueInstant, req.Destination, req.Issuer = j.id, j.issueInstant, j.destination, j.issuer
	return Decision{
		Request: req, Signed: j.signed, NameIDFormat: j.format,
		MayCreate: j.format != NameIDPersistent || !req.HasNameIDPolicy || req.NameIDPolicy.AllowCreate,
		Reply:     Reply{ACS: j.acs, InResponseTo: j.id, RelayState: j.in.relayState},
	}
}

// authnRequestRules are those of an AuthnRequest, in the order in which they are applied. What stands before "acs" ends
// at a page when it is broken; what stands behind it is told to the service provider.
var authnRequestRules = []rule{
	ruleMessage(kindAuthnRequest, "saml-profiles §4.1.3.3"),
	ruleIssuer("saml-profiles §4.1.4.1"),
	ruleSignatureForm,
	ruleSignature("saml-profiles §4.1.3.3, saml-core §5.4, saml-bindings §3.4.4.1",
		"A request whose service provider signs its requests carries a signature, and one that is there must hold: by one of the service provider's keys, over the whole message.",
		func(j *judgement) bool { return j.sp.RequireSignedRequests }),
	ruleContent("saml-core §3.4.1", []child{
		{space: NSAssertion, local: "Issuer"},
		{space: nsSignature, local: "Signature"},
		{space: NSProtocol, local: "Extensions"},
		{space: NSAssertion, local: "Subject"},
		{space: NSProtocol, local: "NameIDPolicy"},
		{space: NSAssertion, local: "Conditions"},
		{space: NSProtocol, local: "RequestedAuthnContext"},
		{space: NSProtocol, local: "Scoping"},
	}, nil),
	ruleSignedIssuer,
	ruleID,
	ruleIssueInstant,
	{
		name: "values", source: "saml-core §3.4.1", needs: "content",
		text: "All attributes and elements of the request have values of their types.",
		check: func(j *judgement) *Error {
			if err := j.request.read(j.root); err != nil {
				return malformed(err)
			}
			return nil
		},
		found: always("All values can be read."),
	},
	ruleDestination("saml-bindings §3.4.5.2, §3.5.5.2", func(j *judgement) []string { return j.idp.Endpoints }),
	ruleClock,
	ruleFresh,
	{
		name: "acs", source: "saml-profiles §4.1.4.1, saml-core §3.4.1", needs: "values",
		text: "The answer goes to an assertion consumer service that is registered for the service provider: the one named by URL or by index, else the default one.",
		check: func(j *judgement) (e *Error) {
			j.acs, e = j.sp.chooseACS(j.request)
			return e
		},
		found: foundACS,
	},
	ruleVersion,
	{
		name: "response_binding", source: "saml-core §3.4.1, saml-profiles §4.1.2", needs: "values",
		text: "The answer is asked for by a binding that can carry it, HTTP-POST or HTTP-Artifact.",
		check: func(j *judgement) *Error {
			if b := j.request.ProtocolBinding; b != "" && b != BindingHTTPPost {
				return &Error{
					Reason: UnsupportedBinding, Err: fmt.Errorf("ProtocolBinding %q", b),
					Text: "The application asks for the answer by a SAML binding that is not supported; only HTTP-POST is.",
				}
			}
			return nil
		},
		found: func(j *judgement, e *Error) (Verdict, string) {
			if e != nil {
				return Fail, "The answer is asked for by " + quoted(j.request.ProtocolBinding) + "; only HTTP-POST is supported."
			}
			return Pass, "The answer goes by HTTP-POST."
		},
	},
	{
		name: "name_id_format", source: "saml-core §3.4.1.1", needs: "values",
		text: "The subject's name has the format that NameIDPolicy asks for, or the answer is the status InvalidNameIDPolicy.",
		check: func(j *judgement) *Error {
			formats := j.sp.nameIDFormats()
			j.format = formats[0]
			wish := j.request.NameIDPolicy.Format
			if wish == "" || wish == NameIDUnspecified {
				return nil
			}
			if wish == NameIDEncrypted || !slices.Contains(formats, wish) {
				return &Error{
					Reason: UnsupportedNameID, Err: fmt.Errorf("NameIDPolicy has the format %q", wish),
					Text: "The application asks for a kind of name (NameID format) that is not set up for it. Ask your administrator to compare the NameID format on both sides.",
				}
			}
			j.format = wish
			return nil
		},
		found: func(j *judgement, e *Error) (Verdict, string) {
			wish := j.request.NameIDPolicy.Format
			switch {
			case e != nil:
				return Fail, fmt.Sprintf("The application asks for the NameID format %s; set up for it: %s.", quoted(wish), list(j.sp.nameIDFormats()))
			case wish == "" || wish == NameIDUnspecified:
				return Pass, "The application leaves the NameID format to us: " + quoted(j.format) + "."
			}
			return Pass, "The application asks for " + quoted(wish) + "."
		},
	},
	{
		name: "name_id_qualifier", source: "saml-core §3.4.1.1", needs: "values",
		text: "A name is asked for in the service provider's own name space, or in that of an affiliation to which it belongs.",
		check: func(j *judgement) *Error {
			if q := j.request.NameIDPolicy.SPNameQualifier; q != "" && q != j.sp.EntityID {
				return &Error{
					Reason: UnsupportedNameID, Err: fmt.Errorf("SPNameQualifier %q is not the service provider's entity ID", q),
					Text: "The application asks for a name in another application's name space.",
				}
			}
			return nil
		},
		found: always("The name is asked for in the application's own name space."),
	},
	{
		name: "allow_create", source: "saml-core §3.4.1.1", needs: "values",
		text: "A persistent name that does not exist yet is made only if AllowCreate says so.",
		found: func(j *judgement, _ *Error) (Verdict, string) {
			switch {
			case j.format != NameIDPersistent:
				return Skip, "Nothing lasting is made for names of this format."
			case j.request.NameIDPolicy.AllowCreate:
				return Pass, "A persistent name may be made at the first use."
			case !j.request.HasNameIDPolicy:
				return Pass, "There is no NameIDPolicy; that persistent names are set up here is the permission to make one."
			}
			return Warn, "AllowCreate is not true: persons who never used the application before are refused (InvalidNameIDPolicy)."
		},
	},
	{
		name: "subject", source: "saml-core §3.4.1", needs: "values",
		text: "A Subject names the person that the answer must be about.",
		check: func(j *judgement) *Error {
			if j.request.HasSubject && j.request.Subject.Value == "" {
				return &Error{
					Reason: UnsupportedSubject, Err: errors.New("the Subject has no NameID that can be read"),
					Text: "The application asks for a person in a way that is not supported.",
				}
			}
			return nil
		},
		found: func(j *judgement, e *Error) (Verdict, string) {
			switch {
			case e != nil:
				return Fail, ""
			case !j.request.HasSubject:
				return Skip, "No person is named."
			}
			return Pass, "The answer must be about " + Mask(j.request.Subject.Value) + "."
		},
	},
	{
		name: "authn_context", source: "saml-core §3.3.2.2.1", needs: "values",
		text: "The person is authenticated in a way that RequestedAuthnContext asks for, or the answer is the status NoAuthnContext.",
		check: func(j *judgement) *Error {
			reach := j.idp.AuthnContexts
			if len(reach) == 0 {
				return nil
			}
			if _, ok := j.request.RequestedAuthnContext.Choose(reach, reach...); !ok {
				return &Error{
					Reason: NoAuthnContext, Err: fmt.Errorf("%s of %q is out of reach", j.request.RequestedAuthnContext.Comparison, j.request.RequestedAuthnContext.Classes),
					Text: "The application asks for a way of signing in that is not available here.",
				}
			}
			return nil
		},
		found: func(j *judgement, e *Error) (Verdict, string) {
			wish := j.request.RequestedAuthnContext
			switch {
			case e != nil:
				return Fail, fmt.Sprintf("The application asks for %s (%s); within reach are %s.", list(wish.Classes), wish.Comparison, list(j.idp.AuthnContexts))
			case len(wish.Classes) == 0:
				return Skip, "The application leaves it to us."
			}
			return Pass, fmt.Sprintf("The application asks for %s (%s), which is within reach.", list(wish.Classes), wish.Comparison)
		},
	},
	{
		name: "passed_over", source: "saml-core §3.4.1, §3.4.1.2, §3.4.1.4", needs: "values",
		text: "Conditions, Scoping, Extensions and AttributeConsumingServiceIndex are wishes that the identity provider may leave without effect.",
		found: func(j *judgement, _ *Error) (Verdict, string) {
			var there []string
			for _, e := range j.root.Elements() {
				if e.Is(NSAssertion, "Conditions") || e.Is(NSProtocol, "Scoping") || e.Is(NSProtocol, "Extensions") {
					there = append(there, e.Local)
				}
			}
			if j.request.HasAttributeIndex {
				there = append(there, "AttributeConsumingServiceIndex")
			}
			if len(there) == 0 {
				return Skip, "There are none."
			}
			return Warn, "These have no effect here: " + strings.Join(there, ", ") + "."
		},
	},
	ruleRelayState,
}

func foundACS(j *judgement, e *Error) (Verdict, string) {
	var registered []string
	for _, acs := range j.sp.ACS {
		if acs.takesPost() {
			registered = append(registered, acs.URL)
		}
	}
	r := &j.request
	var asked string
	switch {
	case r.ACSURL != "" && r.HasACSIndex:
		asked = fmt.Sprintf("The request names %s and index %d", quoted(r.ACSURL), r.ACSIndex)
	case r.ACSURL != "":
		asked = "The request names " + quoted(r.ACSURL)
	case r.HasACSIndex:
		asked = fmt.Sprintf("The request names index %d", r.ACSIndex)
	default:
		asked = "The request names none"
	}
	switch {
	case e != nil:
		return Fail, asked + "; registered for HTTP-POST: " + list(registered) + "."
	case r.ACSURL != "" && r.HasACSIndex:
		return Warn, asked + ", which exclude one another by the standard. Both mean the same registered address, so it is taken."
	}
	return Pass, asked + "; the answer goes to " + quoted(j.acs.URL) + "."
}

// nameIDFormats are the formats that we serve, the default one first.
func (sp *ServiceProvider) nameIDFormats() []string {
	if len(sp.NameIDFormats) == 0 {
		return []string{NameIDUnspecified, NameIDEmailAddress}
	}
	return sp.NameIDFormats
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
func (sp *ServiceProvider) chooseACS(req AuthnRequest) (Endpoint, *Error) {
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
