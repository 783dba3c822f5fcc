package saml

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
)

// LogoutRequest says that a person's session is to end (saml-core §3.7.1). It is read by CheckLogoutRequest and written
// by AppendLogoutRequest.
type LogoutRequest struct {
	ID             string
	IssueInstant   time.Time
	Destination    string
	Issuer         string // entityID of who asks
	NotOnOrAfter   time.Time
	Reason         string // "" is left out; see LogoutByUser
	NameID         NameID
	SessionIndexes []string // none means all sessions of the person with who asks
}

// LogoutDecision is a logout request that must be carried out. It is the only thing to read after CheckLogoutRequest.
type LogoutDecision struct {
	Request    LogoutRequest
	RelayState string // to be returned verbatim
	Binding    string // by which the request came

	// Reply is the SP's registered endpoint for the LogoutResponse, of the binding by which the request came if there is
	// one; send it to Reply.ReplyURL. The zero value: the SP has registered none, and nobody can be told.
	Reply Endpoint
}

// LogoutResponse tells how a logout went (saml-core §3.7.2). It is read by CheckLogoutResponse and written by
// AppendLogoutResponse.
type LogoutResponse struct {
	ID           string
	InResponseTo string // ID of the LogoutRequest
	IssueInstant time.Time
	Destination  string
	Issuer       string
	Status       Status // Success, perhaps with the second-level code PartialLogout
}

// Matches reports whether the name that a service provider sent means the one that we gave (saml-core §3.3.4): same
// value, same format, and no qualifier that differs. What sent leaves out matches anything.
func (n NameID) Matches(sent NameID) bool {
	format := func(f string) string {
		if f == "" {
			return NameIDUnspecified
		}
		return f
	}
	same := func(given, sent string) bool { return sent == "" || given == "" || given == sent }
	return n.Value == sent.Value && (sent.Format == "" || format(n.Format) == format(sent.Format)) &&
		same(n.NameQualifier, sent.NameQualifier) && same(n.SPNameQualifier, sent.SPNameQualifier)
}

// ReplyURL is where answers to messages from this endpoint's owner go (saml-metadata §2.2.2).
func (e Endpoint) ReplyURL() string {
	if e.ResponseLocation != "" {
		return e.ResponseLocation
	}
	return e.URL
}

// LogoutEndpoint chooses the endpoint of single logout: one of the wanted binding if there is one, else the first that
// we can send to. The URL and the ReplyURL of what it returns are ones that CheckACS takes; false if there is none.
func (sp ServiceProvider) LogoutEndpoint(binding string) (Endpoint, bool) {
	usable := func(e Endpoint) bool {
		return (e.Binding == "" || e.Binding == BindingHTTPPost || e.Binding == BindingHTTPRedirect) &&
			CheckACS(e.URL) == nil && CheckACS(e.ReplyURL()) == nil
	}
	for _, e := range sp.SLO {
		if usable(e) && (e.Binding == binding || e.Binding == "" && binding == BindingHTTPPost) {
			return e, true
		}
	}
	if i := slices.IndexFunc(sp.SLO, usable); i >= 0 {
		return sp.SLO[i], true
	}
	return Endpoint{}, false
}

// AppendLogoutRequest appends the request in canonical form to dst, with an enveloped signature unless k is nil. A
// request by the Redirect binding must have none: RedirectURL signs it (saml-profiles §4.4.3.1 wants every one signed).
func AppendLogoutRequest(dst []byte, r *LogoutRequest, k *xmldsig.Signer) ([]byte, error) {
	if r.Issuer == "" || r.NameID.Value == "" {
		return nil, errors.New("saml: logout request: it needs an issuer and a NameID")
	}
	if err := CheckACS(r.Destination); err != nil {
		return nil, fmt.Errorf("saml: logout request: destination: %w", err)
	}
	w := writer{b: dst}
	start := len(w.b)
	w.raw(`<samlp:LogoutRequest xmlns:samlp="` + NSProtocol + `"`)
	w.attr("Destination", r.Destination)
	w.id("ID", r.ID)
	w.time("IssueInstant", r.IssueInstant)
	if !r.NotOnOrAfter.IsZero() {
		w.time("NotOnOrAfter", r.NotOnOrAfter)
	}
	w.optional("Reason", r.Reason)
	w.raw(` Version="2.0">`)
	w.element(`saml:Issuer xmlns:saml="`+NSAssertion+`"`, "saml:Issuer", r.Issuer)
	gap := len(w.b)
	if k != nil {
		gap = w.gap(k, r.ID)
	}
	w.raw(`<saml:NameID xmlns:saml="` + NSAssertion + `"`)
	w.nameID(r.NameID)
	for _, index := range r.SessionIndexes {
		w.element("samlp:SessionIndex", "samlp:SessionIndex", index)
	}
	w.raw(`</samlp:LogoutRequest>`)
	if k != nil {
		w.sign(k, r.ID, start, gap)
	}
	if w.err != nil {
		return nil, fmt.Errorf("saml: logout request: %w", w.err)
	}
	return w.b, nil
}

// AppendLogoutResponse appends the response in canonical form to dst, with an enveloped signature unless k is nil. A
// response by the Redirect binding must have none: RedirectURL signs it.
func AppendLogoutResponse(dst []byte, r *LogoutResponse, k *xmldsig.Signer) ([]byte, error) {
	if r.Issuer == "" || r.Status.Code == "" {
		return nil, errors.New("saml: logout response: it needs an issuer and a status")
	}
	if err := CheckACS(r.Destination); err != nil {
		return nil, fmt.Errorf("saml: logout response: destination: %w", err)
	}
	w := writer{b: dst}
	start := len(w.b)
	w.raw(`<samlp:LogoutResponse xmlns:samlp="` + NSProtocol + `"`)
	w.attr("Destination", r.Destination)
	w.id("ID", r.ID)
	if r.InResponseTo != "" {
		w.id("InResponseTo", r.InResponseTo)
	}
	w.time("IssueInstant", r.IssueInstant)
	w.raw(` Version="2.0">`)
	w.element(`saml:Issuer xmlns:saml="`+NSAssertion+`"`, "saml:Issuer", r.Issuer)
	gap := len(w.b)
	if k != nil {
		gap = w.gap(k, r.ID)
	}
	w.status(r.Status)
	w.raw(`</samlp:LogoutResponse>`)
	if k != nil {
		w.sign(k, r.ID, start, gap)
	}
	if w.err != nil {
		return nil, fmt.Errorf("saml: logout response: %w", w.err)
	}
	return w.b, nil
}
