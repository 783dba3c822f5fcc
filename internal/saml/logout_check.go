package saml

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
)

// CheckLogoutRequest decides about a known service provider's request to end a session: whether it is really theirs,
// meant for us, still wanted, and names somebody. A valid signature by a registered key is always needed, for anybody
// could sign people out otherwise (saml-profiles §4.4.4.1). It does not know whether the ID was seen before, nor which
// sessions there are. The error is an *Error; see SendableLogout.
func CheckLogoutRequest(in Incoming, sp ServiceProvider, idp IdentityProvider, now time.Time) (LogoutDecision, error) {
	if e := begin(in); e != nil {
		return LogoutDecision{}, e
	}
	j := judgement{in: in, root: in.root, sp: sp, idp: idp, now: now, words: logoutWords}
	if e := j.judge(logoutRequestRules); e != nil {
		return LogoutDecision{}, e
	}
	r := j.logout
	r.ID, r.IssueInstant, r.Destination, r.Issuer = j.id, j.issueInstant, j.destination, j.issuer
	return LogoutDecision{Request: r, RelayState: in.relayState, Binding: in.binding, Reply: j.reply}, nil
}

// CheckLogoutResponse decides about a known service provider's answer to a request of ours. A valid signature is always
// needed. Whether InResponseTo is the ID of a request that waits for an answer is the caller's to compare. The error is
// an *Error, for a page only.
func CheckLogoutResponse(in Incoming, sp ServiceProvider, idp IdentityProvider, now time.Time) (LogoutResponse, error) {
	if e := begin(in); e != nil {
		return LogoutResponse{}, e
	}
	j := judgement{in: in, root: in.root, sp: sp, idp: idp, now: now, words: logoutWords}
	if e := j.judge(logoutResponseRules); e != nil {
		return LogoutResponse{}, e
	}
	r := j.response
	r.ID, r.IssueInstant, r.Destination, r.Issuer = j.id, j.issueInstant, j.destination, j.issuer
	return r, nil
}

var ruleLogoutSignature = ruleSignature("saml-profiles §4.4.4.1, §4.4.4.2, saml-core §5.4, saml-bindings §3.4.4.1",
	"A logout message by HTTP-Redirect or HTTP-POST is signed by one of the service provider's keys, over the whole message.",
	func(*judgement) bool { return true })

var ruleLogoutDestination = ruleDestination("saml-bindings §3.4.5.2, §3.5.5.2", func(j *judgement) []string { return j.idp.LogoutEndpoints })

// logoutRequestRules are those of a LogoutRequest, in the order in which they are applied. What stands behind "reply" may
// be told to the service provider when it is broken.
var logoutRequestRules = []rule{
	ruleMessage(kindLogoutRequest, "saml-profiles §4.4.3.1"),
	ruleIssuer("saml-profiles §4.4.4.1"),
	ruleSignatureForm,
	ruleLogoutSignature,
	ruleContent("saml-core §3.7.1", []child{
		{space: NSAssertion, local: "Issuer"},
		{space: nsSignature, local: "Signature"},
		{space: NSProtocol, local: "Extensions"},
		{space: NSAssertion, local: "NameID"},
		{space: NSAssertion, local: "BaseID"},
		{space: NSAssertion, local: "EncryptedID"},
		{space: NSProtocol, local: "SessionIndex", many: true},
	}, nil),
	ruleSignedIssuer,
	ruleID,
	ruleIssueInstant,
	{
		name: "values", source: "saml-core §3.7.1", needs: "content",
		text: "All attributes and elements of the request have values of their types.",
		check: func(j *judgement) *Error {
			if err := j.logout.read(j.root); err != nil {
				return malformed(err)
			}
			return nil
		},
		found: func(j *judgement, e *Error) (Verdict, string) {
			switch {
			case e != nil:
				return Fail, ""
			case len(j.logout.SessionIndexes) == 0:
				return Pass, "No session is named: all of the person's sessions with the application are meant."
			}
			return Pass, fmt.Sprintf("All values can be read; sessions named: %d.", len(j.logout.SessionIndexes))
		},
	},
	ruleLogoutDestination,
	ruleClock,
	ruleFresh,
	{
		name: "not_on_or_after", source: "saml-core §3.7.1, §3.7.3.2", needs: "values",
		text: "The request is not over: NotOnOrAfter, if there is one, lies ahead.",
		check: func(j *judgement) *Error {
			if end := j.logout.NotOnOrAfter; !end.IsZero() && !j.now.Before(end.Add(j.idp.skew())) {
				return &Error{
					Reason: Stale, Err: fmt.Errorf("NotOnOrAfter %s, now %s", moment(end), moment(j.now)),
					Text: "This sign-out message is too old. " + j.words.again,
				}
			}
			return nil
		},
		found: func(j *judgement, e *Error) (Verdict, string) {
			switch end := j.logout.NotOnOrAfter; {
			case e != nil:
				return Fail, fmt.Sprintf("It was over at %s.", moment(end))
			case end.IsZero():
				return Skip, "There is none."
			default:
				return Pass, "It holds until " + moment(end) + "."
			}
		},
	},
	{
		name: "reply", source: "saml-profiles §4.4.3.5, §4.4.5", needs: "signature",
		text: "The answer goes to a single logout service that is registered for the service provider.",
		check: func(j *judgement) *Error {
			j.reply, _ = j.sp.LogoutEndpoint(j.in.binding)
			return nil
		},
		found: func(j *judgement, _ *Error) (Verdict, string) {
			if j.reply.URL == "" {
				return Warn, "No single logout service of the application is registered here: it is not told how the sign-out went."
			}
			return Pass, "The answer goes to " + quoted(j.reply.ReplyURL()) + "."
		},
	},
	ruleVersion,
	{
		name: "name_id", source: "saml-core §3.7.1, saml-profiles §4.4.4.1", needs: "values",
		text: "The request names the person by the NameID that the service provider was given.",
		check: func(j *judgement) *Error {
			refuse := func(why, text string) *Error {
				return &Error{Reason: UnsupportedSubject, Err: errors.New(why), Text: text}
			}
			has := func(local string) bool { _, found, _ := j.root.Child(NSAssertion, local); return found }
			switch {
			case has("EncryptedID"):
				return refuse("the person is named by an EncryptedID, but no key for encryption is published here",
					"The application names the person to sign out in encrypted form, and this service has no key for that. Ask your administrator to turn off encryption of names in sign-out messages.")
			case has("BaseID") || j.logout.NameID.Value == "":
				return refuse("the person is named by no NameID",
					"The application does not say by a NameID whom to sign out. Tell your administrator.")
			}
			return nil
		},
		found: func(j *judgement, e *Error) (Verdict, string) {
			if e != nil {
				return Fail, ""
			}
			text := "The person is " + Mask(j.logout.NameID.Value)
			if j.logout.NameID.Format != "" {
				text += ", in the format " + quoted(j.logout.NameID.Format)
			}
			return Pass, text + "."
		},
	},
	ruleRelayState,
}

// logoutResponseRules are those of a LogoutResponse, in the order in which they are applied.
var logoutResponseRules = []rule{
	ruleMessage(kindLogoutResponse, "saml-profiles §4.4.3.4"),
	ruleIssuer("saml-profiles §4.4.4.2"),
	ruleSignatureForm,
	ruleLogoutSignature,
	ruleContent("saml-core §3.7.2, §3.2.2", []child{
		{space: NSAssertion, local: "Issuer"},
		{space: nsSignature, local: "Signature"},
		{space: NSProtocol, local: "Extensions"},
		{space: NSProtocol, local: "Status"},
	}, nil),
	ruleSignedIssuer,
	ruleID,
	ruleIssueInstant,
	{
		name: "in_response_to", source: "saml-core §3.2.2",
		text: "InResponseTo is the ID of the request that is answered.",
		check: func(j *judgement) *Error {
			id, _ := j.root.Attr("InResponseTo")
			if !xmldsig.IsNCName(id) || len(id) > maxID {
				return malformed(errors.New("InResponseTo is missing or no XML identifier"))
			}
			j.response.InResponseTo = id
			return nil
		},
		found: func(j *judgement, e *Error) (Verdict, string) {
			if e != nil {
				return Fail, ""
			}
			return Pass, "It answers " + quoted(j.response.InResponseTo) + ". Whether that request waits for an answer can't be told from the message."
		},
	},
	ruleLogoutDestination,
	ruleClock,
	ruleFresh,
	ruleVersion,
	{
		name: "status", source: "saml-core §3.2.2.1, §3.7.3.2", needs: "content",
		text: "Status tells how the logout went, and can be read.",
		check: func(j *judgement) *Error {
			status, err := readStatus(j.root)
			if err != nil {
				return malformed(err)
			}
			j.response.Status = status
			return nil
		},
		found: func(j *judgement, e *Error) (Verdict, string) {
			switch s := j.response.Status; {
			case e != nil:
				return Fail, ""
			case s.Code != StatusSuccess || s.SubCode == StatusPartialLogout:
				return Warn, "Not all went well: " + s.describe() + "."
			default:
				return Pass, "The application ended the session."
			}
		},
	},
	ruleRelayState,
}

// read reads what only a LogoutRequest has. NameID stays empty if there is none.
func (r *LogoutRequest) read(root *xmldsig.Element) error {
	var err error
	if r.NotOnOrAfter, err = readTime(root, "NotOnOrAfter"); err != nil {
		return err
	}
	r.Reason, _ = root.Attr("Reason")
	id, found, err := root.Child(NSAssertion, "NameID")
	if err != nil {
		return err
	}
	if found {
		if r.NameID, err = readNameID(id); err != nil {
			return err
		}
	}
	names := 0
	for _, local := range []string{"NameID", "BaseID", "EncryptedID"} {
		names += len(root.Children(NSAssertion, local))
	}
	if names != 1 {
		return fmt.Errorf("%d names of the person; there must be one", names)
	}
	for _, e := range root.Children(NSProtocol, "SessionIndex") {
		index, err := trimmedText(e)
		if err != nil {
			return err
		}
		if index == "" {
			return errors.New("empty SessionIndex")
		}
		r.SessionIndexes = append(r.SessionIndexes, index)
	}
	return nil
}

// readStatus reads the outcome that a response tells (saml-core §3.2.2.1). Codes below the second level are passed over.
func readStatus(root *xmldsig.Element) (Status, error) {
	status, found, err := root.Child(NSProtocol, "Status")
	if err != nil || !found {
		return Status{}, errors.Join(err, missing(found, "Status"))
	}
	code, found, err := status.Child(NSProtocol, "StatusCode")
	if err != nil || !found {
		return Status{}, errors.Join(err, missing(found, "StatusCode"))
	}
	var s Status
	if s.Code, _ = code.Attr("Value"); s.Code == "" {
		return Status{}, errors.New("StatusCode without Value")
	}
	sub, found, err := code.Child(NSProtocol, "StatusCode")
	if err != nil {
		return Status{}, err
	}
	if found {
		s.SubCode, _ = sub.Attr("Value")
	}
	message, found, err := status.Child(NSProtocol, "StatusMessage")
	if err != nil {
		return Status{}, err
	}
	if found {
		s.Message, err = trimmedText(message)
	}
	return s, err
}

func missing(found bool, name string) error {
	if found {
		return nil
	}
	return errors.New("no " + name)
}

// describe tells the outcome by the last words of its codes.
func (s Status) describe() string {
	last := func(code string) string {
		if name, ok := strings.CutPrefix(code, "urn:oasis:names:tc:SAML:2.0:status:"); ok {
			return printable(name, 100)
		}
		return quoted(code)
	}
	text := last(s.Code)
	if s.SubCode != "" {
		text += ", " + last(s.SubCode)
	}
	if s.Message != "" {
		text += ", " + quoted(s.Message)
	}
	return text
}
