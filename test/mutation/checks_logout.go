package main

import "strings"

const (
	sloFile        = "internal/idp/slo.go"
	chainFile      = "internal/idp/logout.go"
	slNameFile     = "internal/saml/logout.go"
	chainStateFile = "internal/authn/logout.go"
	errorFile      = "internal/saml/error.go"
)

// gone takes one piece out of what stands around it, where the piece alone occurs more than once.
func gone(around, piece string) []edit {
	return one(around, strings.Replace(around, piece, "", 1))
}

// Pieces of the tables of internal/saml/logout_check.go.
const (
	requestBegins  = "ruleMessage(kindLogoutRequest, \"saml-profiles §4.4.3.1\"),\n\truleIssuer(\"saml-profiles §4.4.4.1\"),\n\truleSignatureForm,\n\truleLogoutSignature,\n"
	requestReads   = "\truleSignedIssuer,\n\truleID,\n\truleIssueInstant,\n\t{\n\t\tname: \"values\""
	requestTimes   = "\truleLogoutDestination,\n\truleClock,\n\truleFresh,\n\t{\n\t\tname: \"not_on_or_after\""
	responseBegins = "ruleMessage(kindLogoutResponse, \"saml-profiles §4.4.3.4\"),\n\truleIssuer(\"saml-profiles §4.4.4.2\"),\n\truleSignatureForm,\n\truleLogoutSignature,\n"
	responseReads  = "\truleSignedIssuer,\n\truleID,\n\truleIssueInstant,\n\t{\n\t\tname: \"in_response_to\""
	responseTimes  = "\truleLogoutDestination,\n\truleClock,\n\truleFresh,\n\truleVersion,\n\t{\n\t\tname: \"status\""
)

// logoutChecks are those of single logout: of its messages (more of them stand among requestChecks), and of what is done
// about them.
var logoutChecks = []check{
	// The rules of a LogoutRequest and of a LogoutResponse.
	{"logout: the message is one", logoutFile, gone(requestBegins, "ruleMessage(kindLogoutRequest, \"saml-profiles §4.4.3.1\"),\n"), samlSuite},
	{"logout: Issuer, before a key is tried", logoutFile, gone(requestBegins, "\truleIssuer(\"saml-profiles §4.4.4.1\"),\n"), samlSuite},
	{"logout: XML signature in the Redirect binding", logoutFile, gone(requestBegins, "\truleSignatureForm,\n"), samlSuite},
	{"logout: the rule of signatures", logoutFile, gone(requestBegins, "\truleLogoutSignature,\n"), samlSuite},
	{"logout: Issuer of what was signed", logoutFile, gone(requestReads, "\truleSignedIssuer,\n"), samlSuite},
	{"logout: ID", logoutFile, gone(requestReads, "\truleID,\n"), samlSuite},
	{"logout: IssueInstant", logoutFile, gone(requestReads, "\truleIssueInstant,\n"), samlSuite},
	{"logout: Destination", logoutFile, gone(requestTimes, "\truleLogoutDestination,\n"), samlSuite},
	{"logout: not from the future", logoutFile, gone(requestTimes, "\truleClock,\n"), samlSuite},
	{"logout: not too old", logoutFile, gone(requestTimes, "\truleFresh,\n"), samlSuite},
	{"logout: Version", logoutFile, gone("\truleVersion,\n\t{\n\t\tname: \"name_id\"", "\truleVersion,\n"), samlSuite},
	{"logout: values", logoutFile, one("if err := j.logout.read(j.root); err != nil {", "if err := j.logout.read(j.root); err != nil && false {"), samlSuite},
	{"logout: its end is a time", logoutFile, one(`if r.NotOnOrAfter, err = readTime(root, "NotOnOrAfter"); err != nil {`, `if r.NotOnOrAfter, err = readTime(root, "NotOnOrAfter"); err != nil && false {`), samlSuite},
	{"logout: the NameID can be read", logoutFile, one("if r.NameID, err = readNameID(id); err != nil {", "if r.NameID, err = readNameID(id); err != nil && false {"), samlSuite},
	{"logout: a BaseID names nobody", logoutFile, one(`case has("BaseID") || j.logout.NameID.Value == "":`, `case !has("BaseID") && j.logout.NameID.Value == "":`), samlSuite},
	{"logout: an error is told only to who signed", errorFile, one(`func (e *Error) SendableLogout() bool { return e.SLO.URL != "" }`, `func (e *Error) SendableLogout() bool { return true }`), logoutSuite},
	{"logout response: the message is one", logoutFile, gone(responseBegins, "ruleMessage(kindLogoutResponse, \"saml-profiles §4.4.3.4\"),\n"), samlSuite},
	{"logout response: Issuer, before a key is tried", logoutFile, gone(responseBegins, "\truleIssuer(\"saml-profiles §4.4.4.2\"),\n"), samlSuite},
	{"logout response: XML signature in the Redirect binding", logoutFile, gone(responseBegins, "\truleSignatureForm,\n"), samlSuite},
	{"logout response: the rule of signatures", logoutFile, gone(responseBegins, "\truleLogoutSignature,\n"), samlSuite},
	{"logout response: Issuer of what was signed", logoutFile, gone(responseReads, "\truleSignedIssuer,\n"), samlSuite},
	{"logout response: ID", logoutFile, gone(responseReads, "\truleID,\n"), samlSuite},
	{"logout response: IssueInstant", logoutFile, gone(responseReads, "\truleIssueInstant,\n"), samlSuite},
	{"logout response: Destination", logoutFile, gone(responseTimes, "\truleLogoutDestination,\n"), samlSuite},
	{"logout response: not from the future", logoutFile, gone(responseTimes, "\truleClock,\n"), samlSuite},
	{"logout response: not too old", logoutFile, gone(responseTimes, "\truleFresh,\n"), samlSuite},
	{"logout response: Version", logoutFile, gone(responseTimes, "\truleVersion,\n"), samlSuite},
	{"logout response: one Status", logoutFile, one("return Status{}, errors.Join(err, missing(found, \"Status\"))", "return Status{Code: StatusSuccess}, nil"), samlSuite},
	{"logout response: one StatusCode", logoutFile, one("return Status{}, errors.Join(err, missing(found, \"StatusCode\"))", "return Status{Code: StatusSuccess}, nil"), samlSuite},
	{"logout response: a StatusCode has a Value", logoutFile, one(`if s.Code, _ = code.Attr("Value"); s.Code == "" {`, `if s.Code, _ = code.Attr("Value"); false {`), samlSuite},
	{"logout response: one second-level code", logoutFile, one("sub, found, err := code.Child(NSProtocol, \"StatusCode\")\n\tif err != nil {", "sub, found, err := code.Child(NSProtocol, \"StatusCode\")\n\tif err != nil && false {"), samlSuite},

	// Names and addresses.
	{"logout name: its value", slNameFile, one("return n.Value == sent.Value && (", "return ("), samlSuite},
	{"logout name: its format", slNameFile, one(`(sent.Format == "" || format(n.Format) == format(sent.Format))`, "(true || format(n.Format) == format(sent.Format))"), samlSuite},
	{"logout name: its qualifier", slNameFile, one("same(n.NameQualifier, sent.NameQualifier) && ", ""), samlSuite},
	{"logout name: the service provider's qualifier", slNameFile, one(" && same(n.SPNameQualifier, sent.SPNameQualifier)", ""), samlSuite},
	{"logout address: a binding that is spoken", slNameFile, one(`return (e.Binding == "" || e.Binding == BindingHTTPPost || e.Binding == BindingHTTPRedirect) &&`, "return true &&"), samlSuite},
	{"logout address: one that may be sent to", slNameFile, one("CheckACS(e.URL) == nil && CheckACS(e.ReplyURL()) == nil", "CheckACS(e.ReplyURL()) == nil"), samlSuite},
	{"logout address: one that may be answered at", slNameFile, one("CheckACS(e.URL) == nil && CheckACS(e.ReplyURL()) == nil", "CheckACS(e.URL) == nil"), samlSuite},
	{"logout address: of a request that is sent", slNameFile, one("if err := CheckACS(r.Destination); err != nil {\n\t\treturn nil, fmt.Errorf(\"saml: logout request: ", "if err := CheckACS(r.Destination); err != nil && false {\n\t\treturn nil, fmt.Errorf(\"saml: logout request: "), samlSuite},
	{"logout address: of a response that is sent", slNameFile, one("if err := CheckACS(r.Destination); err != nil {\n\t\treturn nil, fmt.Errorf(\"saml: logout response: ", "if err := CheckACS(r.Destination); err != nil && false {\n\t\treturn nil, fmt.Errorf(\"saml: logout response: "), samlSuite},
	{"logout request that is sent: issuer", slNameFile, one(`if r.Issuer == "" || r.NameID.Value == "" {`, `if r.NameID.Value == "" {`), samlSuite},
	{"logout request that is sent: name", slNameFile, one(`if r.Issuer == "" || r.NameID.Value == "" {`, `if r.Issuer == "" {`), samlSuite},
	{"logout response that is sent: issuer", slNameFile, one(`if r.Issuer == "" || r.Status.Code == "" {`, `if r.Status.Code == "" {`), samlSuite},
	{"logout response that is sent: status", slNameFile, one(`if r.Issuer == "" || r.Status.Code == "" {`, `if r.Issuer == "" {`), samlSuite},

	// What comes in.
	{"single logout: HEAD", sloFile, one("if noHead(w, r) {", "if noHead(w, r) && false {"), logoutSuite},
	{"single logout: HEAD of the page", chainFile, one("if noHead(w, r) {", "if noHead(w, r) && false {"), logoutSuite},
	{"single logout: content type of a post", sloFile, one(`media != "application/x-www-form-urlencoded" {`, `media == "-" {`), logoutSuite},
	{"single logout: how much of a post is read", sloFile, one("io.LimitReader(r.Body, saml.MaxPostBody+1)", "r.Body"), logoutSuite},
	{"single logout: switched off", sloFile, one("if !x.active() {", "if false {"), logoutSuite},
	{"single logout: settings that changed meanwhile", sloFile, one("if err := p.stillActive(tx, a); err != nil {", "if err := error(nil); err != nil {"), logoutSuite},
	{"single logout: an application that was deleted meanwhile", sloFile, one("if problem.Is(err, problem.NotFound) || err == nil && version", "if err == nil && version"), logoutSuite},
	{"single logout: a request is followed once", sloFile, one("if err := claimMessage(tx, a.ID, d.Request.ID, p.remembered(m.at)); err != nil {", "if err := error(nil); err != nil {"), logoutSuite},
	{"single logout: the application's own sign-ons", sloFile, one("WHERE application_id = $1 AND name_id = $2`", "WHERE $1 <> '' AND name_id = $2`"), logoutSuite},
	{"single logout: the name", sloFile, []edit{
		{"AND name_id = $2`", "AND $2 <> ''`"},
		{"if qualified(a, x.name).Matches(name) && !seen[x.session] {", "if !seen[x.session] {"},
	}, logoutSuite},
	{"single logout: format and qualifiers of the name", sloFile, one("if qualified(a, x.name).Matches(name) && !seen[x.session] {", "if !seen[x.session] {"), logoutSuite},
	{"single logout: the session index", sloFile, one("if len(indexes) > 0 {", "if false {"), logoutSuite},
	{"single logout: how many session indexes are looked for", sloFile, one("indexes = indexes[:min(len(indexes), maxAsked)]", "indexes = indexes[:]"), logoutSuite},
	{"single logout: a session that had ended tells nobody", sloFile, one("c.Steps = nil // what is left of sessions that ended otherwise is told to nobody", ""), logoutSuite},
	{"single logout: a session that had ended isn't ended again", sloFile, one("if !held {", "if !held && false {"), logoutSuite},
	{"single logout: one's session ends first", sloFile, one("s, held, err := authn.EndSession(tx, id)", "s, held, err := authn.Session{ID: id}, true, error(nil)"), logoutSuite},
	{"single logout: an answer that declines", sloFile, one("case answer.Status.Code != saml.StatusSuccess:", "case false:"), logoutSuite},
	{"single logout: an answer in part", sloFile, one("case answer.Status.SubCode == saml.StatusPartialLogout:", "case false:"), logoutSuite},
	{"single logout: an answer that can't be trusted is none", sloFile, one(`how, why, token := silent, "", m.in.RelayState()`, `how, why, token := out, "", m.in.RelayState()`), logoutSuite},
	{"single logout: an answer counts once", sloFile, one("f, err := authn.ConsumeFlow(tx, m.at, token)", "f, err := authn.FlowByID(tx, m.at, authn.FlowID(token))"), logoutSuite},
	{"single logout: an answer of the application that was asked", sloFile, one("if s.ApplicationID != a.ID {", "if false {"), logoutSuite},

	// The chain.
	{"logout chain: only a view leads to it", chainFile, one("if err == nil && f.Kind != viewKind {", "if false {"), logoutSuite},
	{"logout chain: it is one", chainFile, one("if err == nil && f.Kind != chainKind {", "if false {"), logoutSuite},
	{"logout chain: its end", chainStateFile, one("WHERE id = $1 AND consumed_at = 0 AND expires_at > $2`+tx.ForUpdate()", "WHERE id = $1 AND consumed_at = 0 AND $2 <> 0`+tx.ForUpdate()"), flowSuite},
	{"logout chain: a used flow", chainStateFile, one("WHERE id = $1 AND consumed_at = 0 AND expires_at > $2`+tx.ForUpdate()", "WHERE id = $1 AND expires_at > $2`+tx.ForUpdate()"), flowSuite},
	{"logout chain: a session that didn't hold", chainStateFile, one("return s, held && n > 0, err", "return s, (held || true) && n > 0, err"), suite{"internal/authn", `^TestEndSession`}},
	{"logout chain: our session ends at the portal", chainFile, one("if _, _, err := authn.EndSession(tx, s.ID); err != nil {", "if err != nil {"), logoutSuite},
	{"logout chain: who asked isn't asked", chainFile, one("case x.application == but:", "case x.application == but && false:"), logoutSuite},
	{"logout chain: sign-ons under the newest name", chainFile, one("case steps[i].Name == x.name && len", "case len"), logoutSuite},
	{"logout chain: how many sign-ons are told", chainFile, one("len(steps[i].Indexes) < maxIndexes:", "true:"), logoutSuite},
	{"logout chain: how many applications are asked", chainFile, one("if i >= maxSteps {", "if false {"), logoutSuite},
	{"logout chain: its size", chainFile, one("i >= 0 && len(raw) > maxChain;", "i >= 0 && len(raw) < 0;"), logoutSuite},
	{"logout chain: one is asked at a time", chainFile, one("if c.pending() != nil {", "if false {"), logoutSuite},
	{"logout chain: each is asked once", chainFile, one("if s.Result != waiting {", "if false {"), logoutSuite},
	{"logout chain: who asked first is answered once", chainFile, one("c.First != nil && !c.Told {", "c.First != nil {"), logoutSuite},
	{"logout chain: the address of the answer is registered now", chainFile, one("err == nil && !(x.active() && slices.Contains(x.sp.SLO, c.First.Reply)) {", "err == nil && false {"), logoutSuite},
	{"logout chain: a logout in part is told as one", chainFile, one("if !c.complete() {", "if false {"), logoutSuite},
	{"logout chain: only who is waited for is passed over", chainFile, one(`s == nil || string(s.ApplicationID) != r.FormValue("application") {`, "s == nil {"), logoutSuite},
	{"logout chain: a session that holds keeps its cookie", chainFile, one("if _, err := p.authn.Session(r.Context(), token); problem.Is(err, problem.Unauthenticated) {", "if _, err := p.authn.Session(r.Context(), token); problem.Is(err, problem.Unauthenticated) || true {"), logoutSuite},
	{"logout chain: the form's target alone is allowed", chainFile, one("web.AllowFormTarget(w, s.URL)", ""), logoutSuite},
}
