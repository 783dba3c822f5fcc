package saml

import (
	"errors"
	"time"
)

// Verdict is how a check went.
type Verdict string

// Verdicts.
const (
	Pass Verdict = "pass"
	Fail Verdict = "fail" // the message is refused for this; an answer should be refused for it by the service provider
	Warn Verdict = "warn" // it is taken, but an administrator may want to know
	Skip Verdict = "skip" // not looked at: there is nothing to look at, or an earlier failure left nothing
)

// Finding is one check of a message and what came of it.
type Finding struct {
	Check   string  `json:"check"` // stable name
	Verdict Verdict `json:"verdict"`
	Text    string  `json:"text"`   // what was found, for an administrator; persons are masked (see Mask)
	Rule    string  `json:"rule"`   // what the standard demands, in our words
	Source  string  `json:"source"` // where it does, such as "saml-bindings §3.4.4.1"
}

// Explain runs all checks of a message, without stopping at the first that fails: of an AuthnRequest those of Check, of a
// logout message those of CheckLogoutRequest and CheckLogoutResponse, of an answer those of ExplainResponse. One that
// fails is one for which the message is refused, and the first that fails is what the person or the service provider was
// told. What a signature that does not hold covers is read all the same: nothing here is a decision.
//
// A message that could not be read (what comes beside an error of ReadRedirect and its like) has one finding: why.
func Explain(in Incoming, sp ServiceProvider, idp IdentityProvider, now time.Time) []Finding {
	unreadable := func(e *Error) []Finding {
		return []Finding{{
			Check: "message", Verdict: Fail, Text: sentence(e), Source: "saml-bindings §3.4.4, §3.5.4",
			Rule: "One SAML message comes by one of the bindings, and is XML that every reader understands in the same way, within limits.",
		}}
	}
	switch {
	case in.failure != nil:
		return unreadable(in.failure)
	case in.root == nil:
		return unreadable(malformed(errors.New("there is no message")))
	}
	j := judgement{in: in, root: in.root, sp: sp, idp: idp, now: now, words: logoutWords}
	switch in.root.Local {
	case kindLogoutRequest:
		return j.explain(logoutRequestRules)
	case kindLogoutResponse:
		return j.explain(logoutResponseRules)
	case kindResponse:
		return j.explain(responseRules)
	}
	j.words = signOnWords
	return j.explain(authnRequestRules)
}

// ExplainResponse is Explain for the XML of an answer to a service provider, ours or one that somebody pasted: whether the
// service provider should take it at this time. idp tells our entity ID and certificates.
func ExplainResponse(xml []byte, sp ServiceProvider, idp IdentityProvider, now time.Time) []Finding {
	in := Incoming{binding: BindingHTTPPost, parameter: ParameterResponse, xml: xml, pasted: true}
	in, _ = responseDoor.fail(&in, responseDoor.finish(&in, form{})) // the error is in the message
	return Explain(in, sp, idp, now)
}
