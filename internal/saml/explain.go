package saml

import "time"

// Verdict is how a check went.
type Verdict string

// Verdicts.
const (
	Pass Verdict = "pass"
	Fail Verdict = "fail" // the message is refused for this, or another party should refuse it
	Warn Verdict = "warn" // it is taken, but an administrator may want to know
	Skip Verdict = "skip" // not looked at: nothing to look at, or an earlier failure left nothing
)

// Finding is one check of a message and what came of it.
type Finding struct {
	Check   string  `json:"check"` // stable name
	Verdict Verdict `json:"verdict"`
	Text    string  `json:"text"`   // what was found, for an administrator
	Rule    string  `json:"rule"`   // what the standard demands, in our words
	Source  string  `json:"source"` // where it does, such as "saml-bindings §3.4.4.1"
}

// Explain runs all checks of a message without stopping at the first that fails.
func Explain(in Incoming, sp ServiceProvider, idp IdentityProvider, now time.Time) []Finding {
	return nil
}

// ExplainResponse is Explain for an answer to a service provider, ours or one pasted from a browser.
func ExplainResponse(xml []byte, sp ServiceProvider, idp IdentityProvider, now time.Time) []Finding {
	return nil
}

// ReadPasted reads what an administrator pasted: the URL or query of a redirect, the body of a form, base64, or XML, of
// any message. What it returns can be explained but never answered: Check refuses it.
func ReadPasted(s string) (Incoming, error) {
	return Incoming{}, malformed(nil)
}

// PreviewResponse writes the response that AppendResponse would, without any signature: for people to look at.
func PreviewResponse(r *Response) ([]byte, error) {
	return nil, nil
}

// Redact returns a message as indented text for people to read, without what is secret in it.
func Redact(xml []byte) string { return "" }

// CheckLogoutRequest decides about a request to end a session.
func CheckLogoutRequest(in Incoming, sp ServiceProvider, idp IdentityProvider, now time.Time) (LogoutDecision, error) {
	return LogoutDecision{}, malformed(nil)
}

// CheckLogoutResponse decides about an answer to a request of ours to end a session.
func CheckLogoutResponse(in Incoming, sp ServiceProvider, idp IdentityProvider, now time.Time) (LogoutResponse, error) {
	return LogoutResponse{}, malformed(nil)
}
