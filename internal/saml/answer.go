package saml

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
)

// answer is what the rules have read of a Response. Only Explain reads answers: nobody signs on here by one.
type answer struct {
	status       Status
	inResponseTo string
	assertions   []*xmldsig.Element
	encrypted    int
	assertion    *xmldsig.Element // the only one, if it can be read
	signatures   int              // that hold
	signedBy     map[string]int   // numbers of our certificates, by rule
}

// issuedBy says by which of our certificates a signature of this element holds, by its number; an error if by none.
func (j *judgement) issuedBy(e *xmldsig.Element) (int, error) {
	err := errors.New("no certificate is known")
	for i, cert := range j.idp.Certificates {
		opts := []xmldsig.Option{xmldsig.AllowInner()}
		if j.sp.AllowSHA1 {
			opts = append(opts, xmldsig.AllowSHA1())
		}
		if _, err = xmldsig.Verify(e, []crypto.PublicKey{cert.PublicKey}, answerLimits, opts...); err == nil {
			return i, nil
		}
	}
	return 0, err
}

// ruleAnswerSignature judges the signature of the response or of its assertion.
func ruleAnswerSignature(name, source, what string, element func(*judgement) *xmldsig.Element) rule {
	signed := func(j *judgement) bool {
		e := element(j)
		return e != nil && len(e.Children(nsSignature, "Signature")) > 0
	}
	return rule{
		name: name, source: source,
		text: "A signature of the " + what + " holds by a certificate of the identity provider that the service provider knows.",
		check: func(j *judgement) *Error {
			if !signed(j) || len(j.idp.Certificates) == 0 {
				return nil
			}
			i, err := j.issuedBy(element(j))
			if err != nil {
				return &Error{Reason: SignatureInvalid, Err: err}
			}
			if j.answer.signatures++; j.answer.signedBy == nil {
				j.answer.signedBy = map[string]int{}
			}
			j.answer.signedBy[name] = i
			return nil
		},
		found: func(j *judgement, e *Error) (Verdict, string) {
			switch {
			case !signed(j):
				return Skip, "The " + what + " is not signed."
			case e != nil:
				return Fail, "The signature of the " + what + " holds by none of our certificates: " + printable(e.Err.Error(), 300) + "."
			case len(j.idp.Certificates) == 0:
				return Skip, "The " + what + " is signed; there is no certificate to compare with."
			}
			i := j.answer.signedBy[name]
			cert := j.idp.Certificates[i]
			text := fmt.Sprintf("The signature of the %s holds by our certificate number %d of %d: %s.", what, i+1, len(j.idp.Certificates), certificateName(cert))
			switch {
			case i > 0:
				return Warn, text + " That is not the current one."
			case j.now.After(cert.NotAfter):
				return Warn, text + " The certificate has expired."
			}
			return Pass, text
		},
	}
}

// certificateName tells a certificate from others.
func certificateName(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return fmt.Sprintf("SHA-256 %s…, valid until %s", hex.EncodeToString(sum[:8]), c.NotAfter.UTC().Format("2006-01-02"))
}

// part returns the only child of an element at the end of a path in the assertion namespace; nil if it isn't there.
func part(e *xmldsig.Element, path ...string) *xmldsig.Element {
	for _, local := range path {
		if e == nil {
			return nil
		}
		child, found, err := e.Child(NSAssertion, local)
		if err != nil || !found {
			return nil
		}
		e = child
	}
	return e
}

func refusal(format string, args ...any) *Error {
	return &Error{Reason: Malformed, Err: fmt.Errorf(format, args...)}
}

// bearer returns the bearer confirmation's data.
func (a *answer) bearer() *xmldsig.Element {
	subject := part(a.assertion, "Subject")
	if subject == nil {
		return nil
	}
	for _, c := range subject.Children(NSAssertion, "SubjectConfirmation") {
		if method, _ := c.Attr("Method"); method == "urn:oasis:names:tc:SAML:2.0:cm:bearer" {
			return part(c, "SubjectConfirmationData")
		}
	}
	return nil
}

// period checks that now lies between the two attributes of an element.
func (j *judgement) period(e *xmldsig.Element) (from, end time.Time, err error) {
	if from, err = readTime(e, "NotBefore"); err != nil {
		return from, end, err
	}
	if end, err = readTime(e, "NotOnOrAfter"); err != nil {
		return from, end, err
	}
	switch {
	case !from.IsZero() && j.now.Add(j.idp.skew()).Before(from):
		err = fmt.Errorf("it holds from %s only, and now it is %s", moment(from), moment(j.now))
	case !end.IsZero() && !j.now.Before(end.Add(j.idp.skew())):
		err = fmt.Errorf("it was over at %s, and now it is %s", moment(end), moment(j.now))
	}
	return from, end, err
}

// responseRules are those of an answer, as a service provider is to apply them (saml-profiles §4.1.4.3).
var responseRules = []rule{
	ruleMessage(kindResponse, "saml-profiles §4.1.4.2"),
	ruleContent("saml-core §3.3.3", []child{
		{space: NSAssertion, local: "Issuer"},
		{space: nsSignature, local: "Signature"},
		{space: NSProtocol, local: "Extensions"},
		{space: NSProtocol, local: "Status"},
		{space: NSAssertion, local: "Assertion", many: true},
		{space: NSAssertion, local: "EncryptedAssertion", many: true},
	}, func(j *judgement) {
		j.answer.assertions = j.root.Children(NSAssertion, "Assertion")
		j.answer.encrypted = len(j.root.Children(NSAssertion, "EncryptedAssertion"))
		if len(j.answer.assertions) == 1 && j.answer.encrypted == 0 {
			j.answer.assertion = j.answer.assertions[0]
		}
	}),
	ruleID,
	ruleIssueInstant,
	ruleVersion,
	{
		name: "issuer", source: "saml-profiles §4.1.4.2",
		text: "Issuer, of the response if it is signed and of the assertion always, is the entity ID of the identity provider.",
		check: func(j *judgement) *Error {
			var issuers []string
			for _, e := range append([]*xmldsig.Element{j.root}, j.answer.assertions...) {
				if len(e.Children(NSAssertion, "Issuer")) == 0 && e == j.root && len(e.Children(nsSignature, "Signature")) == 0 {
					continue
				}
				issuer, err := readIssuer(e)
				if err != nil {
					return malformed(fmt.Errorf("%s: %w", e.Local, err))
				}
				issuers = append(issuers, issuer)
			}
			for _, issuer := range issuers {
				if issuer != issuers[0] || j.idp.EntityID != "" && issuer != j.idp.EntityID {
					return refusal("Issuer is %q, and the service provider expects %q", issuer, j.idp.EntityID)
				}
				j.issuer = issuer
			}
			return nil
		},
		found: func(j *judgement, e *Error) (Verdict, string) {
			switch {
			case e != nil:
				return Fail, ""
			case j.issuer == "":
				return Skip, "No Issuer can be read."
			}
			return Pass, "Issuer is " + quoted(j.issuer) + "."
		},
	},
	{
		name: "destination", source: "saml-bindings §3.5.5.2, saml-profiles §4.1.4.3",
		text: "Destination is the assertion consumer service at which the answer arrives, with its query string.",
		check: func(j *judgement) *Error {
			if !slices.ContainsFunc(j.sp.ACS, func(e Endpoint) bool { return e.takesPost() && e.URL == j.destination }) {
				return refusal("Destination is %q, which is not registered as an assertion consumer service", j.destination)
			}
			return nil
		},
		found: func(j *judgement, e *Error) (Verdict, string) {
			if e != nil {
				return Fail, ""
			}
			return Pass, "Destination is " + quoted(j.destination) + "."
		},
	},
	{
		name: "in_response_to", source: "saml-core §3.2.2, saml-profiles §4.1.5",
		text: "InResponseTo is the ID of the request that is answered; an answer that nobody asked for has none.",
		check: func(j *judgement) *Error {
			id, there := j.root.Attr("InResponseTo")
			if there && !xmldsig.IsNCName(id) {
				return refusal("InResponseTo is no XML identifier")
			}
			j.answer.inResponseTo = id
			return nil
		},
		found: func(j *judgement, e *Error) (Verdict, string) {
			switch {
			case e != nil:
				return Fail, ""
			case j.answer.inResponseTo == "":
				return Pass, "The sign-on began at the identity provider: no request is answered."
			}
			return Pass, "It answers " + quoted(j.answer.inResponseTo) + "."
		},
	},
	{
		name: "status", source: "saml-core §3.2.2.1",
		text: "Status tells whether the answer holds an assertion: one of Success does, no other.",
		check: func(j *judgement) *Error {
			status, err := readStatus(j.root)
			if err != nil {
				return malformed(err)
			}
			j.answer.status = status
			n := len(j.answer.assertions) + j.answer.encrypted
			switch {
			case status.Code == StatusSuccess && n == 0:
				return refusal("the status is Success, but there is no assertion")
			case status.Code != StatusSuccess && n > 0:
				return refusal("there is an assertion beside the status %s", status.describe())
			case n > 1:
				return refusal("there are %d assertions; one is what this profile and its readers expect", n)
			}
			return nil
		},
		found: func(j *judgement, e *Error) (Verdict, string) {
			switch {
			case e != nil:
				return Fail, ""
			case j.answer.status.Code != StatusSuccess:
				return Warn, "The answer tells the application that the sign-on failed: " + j.answer.status.describe() + "."
			}
			return Pass, "The status is Success."
		},
	},
	{
		name: "encryption", source: "saml-core §2.3.4",
		text: "An assertion may be encrypted to a key of the service provider.",
		found: func(j *judgement, _ *Error) (Verdict, string) {
			switch {
			case j.answer.encrypted > 0:
				return Pass, "The assertion is encrypted to the application. What it says can't be shown, for only the application has the key."
			case len(j.answer.assertions) > 0 && j.sp.Encryption != nil:
				return Warn, "The assertion is not encrypted, though that is set up for the application."
			}
			return Skip, "Nothing is encrypted."
		},
	},
	ruleAnswerSignature("response_signature", "saml-profiles §4.1.4.5, saml-core §5.4", "response",
		func(j *judgement) *xmldsig.Element { return j.root }),
	ruleAnswerSignature("assertion_signature", "saml-profiles §4.1.4.5, saml-core §5.4", "assertion",
		func(j *judgement) *xmldsig.Element { return j.answer.assertion }),
	{
		name: "signed", source: "saml-profiles §4.1.4.5", needs: "status",
		text: "The assertion is protected by its own signature, by that of the response, or by both.",
		check: func(j *judgement) *Error {
			if j.answer.status.Code == StatusSuccess && len(j.idp.Certificates) > 0 && j.answer.signatures == 0 && j.answer.encrypted == 0 {
				return &Error{Reason: SignatureMissing, Err: errors.New("nothing is signed by a certificate of ours")}
			}
			return nil
		},
		found: func(j *judgement, e *Error) (Verdict, string) {
			switch {
			case e != nil:
				return Fail, ""
			case j.answer.status.Code != StatusSuccess:
				return Skip, "There is no assertion to protect."
			case len(j.idp.Certificates) == 0:
				return Skip, "There is no certificate to compare with."
			case j.answer.signatures == 0:
				return Skip, "A signature may stand within what is encrypted."
			}
			return Pass, "The assertion is protected."
		},
	},
	ofAssertion(rule{
		name: "subject", source: "saml-core §2.4.1, saml-profiles §4.1.4.2",
		text: "The assertion names the person.",
		check: func(j *judgement) *Error {
			id := part(j.answer.assertion, "Subject", "NameID")
			if id == nil {
				return refusal("there is no NameID")
			}
			name, err := readNameID(id)
			if err != nil {
				return malformed(err)
			}
			if name.Value == "" {
				return refusal("the NameID is empty")
			}
			j.logout.NameID = name
			return nil
		},
		found: func(j *judgement, e *Error) (Verdict, string) {
			if e != nil {
				return Fail, ""
			}
			format := j.logout.NameID.Format
			if format == "" {
				format = NameIDUnspecified
			}
			return Pass, "The person is " + Mask(j.logout.NameID.Value) + ", in the format " + quoted(format) + "."
		},
	}),
	ofAssertion(rule{
		name: "confirmation", source: "saml-profiles §4.1.4.2, §4.1.4.3",
		text: "A bearer confirmation has the assertion consumer service as its Recipient, the request's ID, and an end that lies ahead.",
		check: func(j *judgement) *Error {
			data := j.answer.bearer()
			if data == nil {
				return refusal("there is no bearer confirmation")
			}
			if r, _ := data.Attr("Recipient"); r != j.destination {
				return refusal("Recipient is %q, and Destination %q", r, j.destination)
			}
			if id, _ := data.Attr("InResponseTo"); id != j.answer.inResponseTo {
				return refusal("the confirmation answers %q, and the response %q", id, j.answer.inResponseTo)
			}
			from, end, err := j.period(data)
			switch {
			case err != nil:
				return malformed(err)
			case !from.IsZero():
				return refusal("a bearer confirmation must not have NotBefore")
			case end.IsZero():
				return refusal("a bearer confirmation must have NotOnOrAfter")
			}
			return nil
		},
		found: func(j *judgement, e *Error) (Verdict, string) {
			if e != nil {
				return Fail, ""
			}
			_, end, _ := j.period(j.answer.bearer())
			return Pass, "Who brings it to " + quoted(j.destination) + " before " + moment(end) + " is the person."
		},
	}),
	ofAssertion(rule{
		name: "conditions", source: "saml-core §2.5.1.2",
		text: "The assertion holds at this time.",
		check: func(j *judgement) *Error {
			conditions := part(j.answer.assertion, "Conditions")
			if conditions == nil {
				return refusal("there are no Conditions")
			}
			if _, _, err := j.period(conditions); err != nil {
				return malformed(err)
			}
			return nil
		},
		found: func(j *judgement, e *Error) (Verdict, string) {
			if e != nil {
				return Fail, ""
			}
			from, end, _ := j.period(part(j.answer.assertion, "Conditions"))
			text := "It holds"
			if !from.IsZero() {
				text += " from " + moment(from)
			}
			if !end.IsZero() {
				text += " until " + moment(end)
			}
			return Pass, text + "."
		},
	}),
	ofAssertion(rule{
		name: "audience", source: "saml-core §2.5.1.4, saml-profiles §4.1.4.2",
		text: "The service provider's entity ID is among the audiences.",
		check: func(j *judgement) *Error {
			audiences := j.audiences()
			if !slices.Contains(audiences, j.sp.EntityID) {
				return refusal("the audience is %s, and the application is registered as %q", list(audiences), j.sp.EntityID)
			}
			return nil
		},
		found: func(j *judgement, e *Error) (Verdict, string) {
			if e != nil {
				return Fail, ""
			}
			return Pass, "The audience is " + list(j.audiences()) + "."
		},
	}),
	ofAssertion(rule{
		name: "authn_statement", source: "saml-core §2.7.2, saml-profiles §4.1.4.2",
		text: "The assertion tells when and how the person was authenticated, and the session is not over.",
		check: func(j *judgement) *Error {
			statement := part(j.answer.assertion, "AuthnStatement")
			if statement == nil {
				return refusal("there is no AuthnStatement, or more than one")
			}
			at, err := readTime(statement, "AuthnInstant")
			if err != nil || at.IsZero() {
				return refusal("AuthnInstant is missing or can't be read")
			}
			end, err := readTime(statement, "SessionNotOnOrAfter")
			if err != nil {
				return malformed(err)
			}
			if !end.IsZero() && !j.now.Before(end.Add(j.idp.skew())) {
				return refusal("the session was over at %s", moment(end))
			}
			return nil
		},
		found: func(j *judgement, e *Error) (Verdict, string) {
			if e != nil {
				return Fail, ""
			}
			statement := part(j.answer.assertion, "AuthnStatement")
			at, _ := readTime(statement, "AuthnInstant")
			text := "Authenticated at " + moment(at)
			if class := part(statement, "AuthnContext", "AuthnContextClassRef"); class != nil {
				name, _ := trimmedText(class)
				text += ", as " + quoted(name)
			}
			if end, _ := readTime(statement, "SessionNotOnOrAfter"); !end.IsZero() {
				text += "; the session ends at " + moment(end)
			}
			return Pass, text + "."
		},
	}),
	ofAssertion(rule{
		name: "attributes", source: "saml-core §2.7.3",
		text: "Facts about the person stand in one statement, each attribute with a name.",
		check: func(j *judgement) *Error {
			for _, e := range j.attributes() {
				if name, _ := e.Attr("Name"); name == "" {
					return refusal("an attribute has no Name")
				}
			}
			return nil
		},
		found: func(j *judgement, e *Error) (Verdict, string) {
			if e != nil {
				return Fail, ""
			}
			var names []string
			twice := ""
			for _, e := range j.attributes() {
				name, _ := e.Attr("Name")
				if slices.Contains(names, name) {
					twice = name
				}
				names = append(names, name)
			}
			switch {
			case len(names) == 0:
				return Skip, "There are no attributes."
			case twice != "":
				return Warn, "The attribute " + quoted(twice) + " comes more than once; many applications read only one."
			}
			return Pass, printable(fmt.Sprintf("%d attributes: %s.", len(names), strings.Join(names, ", ")), 2000)
		},
	}),
}

// ofAssertion makes of a rule about an assertion one that has nothing to look at if there is none that can be read.
func ofAssertion(r rule) rule {
	check, found := r.check, r.found
	r.needs = "status"
	r.check = func(j *judgement) *Error {
		if j.answer.assertion == nil {
			return nil
		}
		return check(j)
	}
	r.found = func(j *judgement, e *Error) (Verdict, string) {
		if j.answer.assertion == nil {
			return Skip, "There is no assertion that can be read."
		}
		return found(j, e)
	}
	return r
}

func (j *judgement) audiences() []string {
	var out []string
	conditions := part(j.answer.assertion, "Conditions")
	if conditions == nil {
		return nil
	}
	for _, restriction := range conditions.Children(NSAssertion, "AudienceRestriction") {
		for _, e := range restriction.Children(NSAssertion, "Audience") {
			if audience, err := trimmedText(e); err == nil {
				out = append(out, audience)
			}
		}
	}
	return out
}

func (j *judgement) attributes() []*xmldsig.Element {
	var out []*xmldsig.Element
	for _, statement := range j.answer.assertion.Children(NSAssertion, "AttributeStatement") {
		out = append(out, statement.Children(NSAssertion, "Attribute")...)
	}
	return out
}
