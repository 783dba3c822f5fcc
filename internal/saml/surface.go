package saml

import (
	"errors"
	"time"

	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
)

// TEMPORARY bodies: the signatures are final, the bodies arrive in the next commits.
var errSoon = errors.New("saml: being written")

// Incoming is a message as it arrived: decoded and within limits, not yet checked.
type Incoming struct{ issuer, relayState string }

// ReadRedirect reads a request from a URL's raw query string (saml-bindings §3.4). The error is an *Error.
func ReadRedirect(rawQuery string) (Incoming, error) { return Incoming{}, errSoon }

// ReadPost reads a request from the raw body of an HTML form (saml-bindings §3.5). The error is an *Error.
func ReadPost(body []byte) (Incoming, error) { return Incoming{}, errSoon }

// Issuer is the entityID that the message claims; use it only to find the service provider for Check.
func (in Incoming) Issuer() string { return in.issuer }

// Check decides about a request of a known service provider. The error is an *Error.
func Check(in Incoming, sp ServiceProvider, idp IdentityProvider, now time.Time) (Decision, error) {
	return Decision{}, errSoon
}

// Refuse makes the error for a request that was good but can't be granted: NoPassive, AccessDenied and the like.
func (d Decision) Refuse(reason Reason, text string) *Error { return nil }

// DefaultACS returns the endpoint for IdP-initiated sign-on; false if none is registered.
func (sp ServiceProvider) DefaultACS() (Endpoint, bool) { return Endpoint{}, false }

// CheckACS reports why a URL may not be registered as an assertion consumer service: only https, or http on loopback.
func CheckACS(rawURL string) error { return errSoon }

// Choose picks the class to state in the answer: the first wish met by what the person achieved.
func (r RequestedAuthnContext) Choose(order []string, achieved ...string) (string, bool) {
	return "", false
}

// NewID returns a fresh identifier: "_" and 160 random bits in hexadecimal.
func NewID() string { return "" }

// AppendResponse appends the response in canonical form, signed, to dst. It writes nothing that is not well-formed.
func AppendResponse(dst []byte, r *Response, k *xmldsig.Signer, what Sign) ([]byte, error) {
	return nil, errSoon
}

// AppendStatus appends a status response, signed unless k is nil.
func AppendStatus(dst []byte, r *StatusResponse, k *xmldsig.Signer) ([]byte, error) {
	return nil, errSoon
}

// EncodePost returns the value of the form field SAMLResponse.
func EncodePost(xml []byte) string { return "" }

// AppendMetadata appends our metadata, signed unless k is nil.
func AppendMetadata(dst []byte, m *IdPMetadata, k *xmldsig.Signer) ([]byte, error) {
	return nil, errSoon
}

// ParseSPMetadata reads a service provider's metadata: an EntityDescriptor, or from an EntitiesDescriptor the one with
// the given entityID ("" if there is only one). The error is an *Error with a text for the administrator.
func ParseSPMetadata(data []byte, entityID string, now time.Time) (SPMetadata, error) {
	return SPMetadata{}, errSoon
}
