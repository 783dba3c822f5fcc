package saml

import (
	"time"
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
	Value           string
	Format          string // "" is left out
	NameQualifier   string // "" is left out
	SPNameQualifier string // "" is left out
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
