package saml

import (
	"crypto"
	"time"
)

// ServiceProvider is what we have registered about the other side. Requests never add to it.
type ServiceProvider struct {
	EntityID string

	// ACS are the registered assertion consumer services; the default is the one marked, else the first.
	ACS []Endpoint

	// NameIDFormats are the formats that we can serve to this SP, the default one first. Empty serves any format
	// that has no rules of its own, and says unspecified when not asked.
	NameIDFormats []string

	// Keys verify signed requests. With no key a signature is not looked at and the request counts as unsigned.
	Keys []crypto.PublicKey

	// RequireSignedRequests refuses a request that carries no valid signature.
	RequireSignedRequests bool
}

// IdentityProvider is our own side of Check.
type IdentityProvider struct {
	// Endpoints are our single sign-on URLs for this SP: a Destination must be one of them, exactly.
	Endpoints []string

	// AuthnContexts are the classes that we can reach, weakest first.
	AuthnContexts []string

	// Skew is how far the clocks may differ (0 means 3 minutes), MaxAge how old a request may be (0: 10 minutes).
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
