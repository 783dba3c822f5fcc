package saml

import (
	"time"
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
	Name         string
	NameFormat   string // "" is left out
	FriendlyName string // "" is left out
	Values       []string
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

// What is signed in a response.
type Sign uint8

// SignAssertion is the default and what Atlassian Cloud wants.
const (
	SignAssertion Sign = iota
	SignResponse
	SignBoth
)
