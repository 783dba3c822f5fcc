package saml

// Reason is a stable word for why a request or file was refused; it is fit for events, metrics and tests.
type Reason string

// Reasons. Those of the first block always end at an error page; those of the second may be sent to the SP.
const (
	TooLarge             Reason = "too_large"
	Malformed            Reason = "malformed"
	UnknownIssuer        Reason = "unknown_issuer"
	UnregisteredACS      Reason = "unregistered_acs"
	WrongDestination     Reason = "wrong_destination"
	Stale                Reason = "stale"
	FromTheFuture        Reason = "from_the_future"
	SignatureMissing     Reason = "signature_missing"
	SignatureInvalid     Reason = "signature_invalid"
	UnexpectedMessage    Reason = "unexpected_message"
	NoACS                Reason = "no_acs"
	MetadataInvalid      Reason = "metadata_invalid"
	MetadataManyEntities Reason = "metadata_many_entities"

	UnsupportedVersion  Reason = "unsupported_version"
	UnsupportedBinding  Reason = "unsupported_binding"
	UnsupportedNameID   Reason = "unsupported_name_id"
	UnsupportedSubject  Reason = "unsupported_subject"
	NoAuthnContext      Reason = "no_authn_context"
	PassiveImpossible   Reason = "passive_impossible"
	AccessDenied        Reason = "access_denied"
	AuthenticationFails Reason = "authentication_failed"
	UnknownPrincipal    Reason = "unknown_principal"
)

// Status is a response's outcome (saml-core §3.2.2).
type Status struct {
	Code    string // top-level code
	SubCode string // second-level code; "" is left out
	Message string // "" is left out
}

// Error is why a request can't be served or a file can't be read.
type Error struct {
	Reason Reason
	Text   string // for the person: what happened and what to do
	Status Status // for the SP; only meaningful if Sendable
	Reply  Reply  // zero: nothing about the request is trusted, show a page and never redirect

	// SLO is the SP's registered endpoint for a LogoutResponse with Status; only for a LogoutRequest whose signature
	// holds. Reply then has the request's ID and RelayState.
	SLO Endpoint

	Err error // more detail for the log; may be nil
}

// Sendable reports whether the error may go to the SP as a status response (AppendStatus) at Reply.ACS: issuer and ACS
// are registered ones. Otherwise it is shown to the person as a page.
func (e *Error) Sendable() bool { return e.Reply.ACS.URL != "" }

// SendableLogout reports whether the error may go to the SP as a LogoutResponse at SLO.ReplyURL.
func (e *Error) SendableLogout() bool { return e.SLO.URL != "" }

// Error is the text for the log.
func (e *Error) Error() string {
	s := "saml: " + string(e.Reason) + ": " + e.Text
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the detail.
func (e *Error) Unwrap() error { return e.Err }
