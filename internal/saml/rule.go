package saml

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
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

// rule is one thing that a kind of message must satisfy. A table of rules is run by judge, which decides and stops at the
// first that is broken, and by explain, which tells about each; so the two can't part.
type rule struct {
	name   string // stable
	source string // where the standard says it
	text   string // what the standard says, in our words

	// needs names an earlier rule of the table; if that one is broken there is nothing for this one to look at.
	needs string

	// check decides, and keeps what it read for the rules behind it; nil: the rule can't be broken. The engine adds to the
	// error what is common to the message: text, reply and status.
	check func(*judgement) *Error

	// found says what was found, given what check returned. The verdict counts only if that was nil; an empty text is
	// taken from the error.
	found func(*judgement, *Error) (Verdict, string)
}

// judgement is a message while it is judged: what is given, and what the rules have read of it.
type judgement struct {
	in    Incoming
	sp    ServiceProvider
	idp   IdentityProvider
	now   time.Time
	words words

	// root is what is read. Once the rule "signature" holds for a signed message, it is what the signature covers.
	root   *xmldsig.Element
	signed bool

	issuer       string
	id           string
	issueInstant time.Time
	destination  string

	request  AuthnRequest   // the rest of an AuthnRequest
	acs      Endpoint       // set once the answer's address is known; from then on the SP may be told
	format   string         // NameID format to answer with
	logout   LogoutRequest  // the rest of a LogoutRequest
	reply    Endpoint       // set once the LogoutRequest is known to be good; from then on the SP may be told
	response LogoutResponse // the rest of a LogoutResponse
	answer   answer         // a Response
}

// begin refuses what is no message that a check may look at.
func begin(in Incoming) *Error {
	switch {
	case in.failure != nil:
		return in.failure
	case in.root == nil:
		return &Error{Reason: Malformed, Text: signOnWords.unreadable(Malformed), Err: errors.New("no message")}
	case in.pasted:
		return &Error{Reason: Malformed, Text: signOnWords.unreadable(Malformed), Err: errors.New("a message that was read to be explained only")}
	}
	return nil
}

// judge applies the rules until one is broken.
func (j *judgement) judge(rules []rule) *Error {
	for i := range rules {
		if rules[i].check == nil {
			continue
		}
		if e := rules[i].check(j); e != nil {
			return j.complete(e)
		}
	}
	return nil
}

// complete adds to an error whom it may be told, and what the person reads.
func (j *judgement) complete(e *Error) *Error {
	if e.Text == "" {
		e.Text = j.words.unreadable(e.Reason)
	}
	switch {
	case j.acs.URL != "":
		e.Reply = Reply{ACS: j.acs, InResponseTo: j.id, RelayState: j.in.relayState}
	case j.reply.URL != "":
		e.Reply, e.SLO = Reply{InResponseTo: j.id, RelayState: j.in.relayState}, j.reply
	default:
		return e
	}
	e.Status = statusOf(e.Reason)
	return e
}

// explain applies all rules.
func (j *judgement) explain(rules []rule) []Finding {
	out := make([]Finding, 0, len(rules))
	broken := map[string]bool{}
	for i := range rules {
		r := &rules[i]
		f := Finding{Check: r.name, Rule: r.text, Source: r.source}
		if broken[r.needs] {
			broken[r.name] = true
			f.Verdict, f.Text = Skip, "Not looked at, because “"+r.needs+"” fails."
			out = append(out, f)
			continue
		}
		var e *Error
		if r.check != nil {
			e = r.check(j)
		}
		f.Verdict, f.Text = r.found(j, e)
		if e != nil {
			broken[r.name] = true
			f.Verdict = Fail
			if f.Text == "" {
				f.Text = sentence(e)
			}
		}
		out = append(out, f)
	}
	return out
}

// sentence tells an administrator what an error says.
func sentence(e *Error) string {
	if e.Err == nil {
		return e.Text
	}
	s := printable(e.Err.Error(), 500)
	if s != "" && s[0] >= 'a' && s[0] <= 'z' {
		s = string(s[0]-0x20) + s[1:]
	}
	return s + "."
}

// always makes the found function of a rule that has one thing to say when it is kept.
func always(text string) func(*judgement, *Error) (Verdict, string) {
	return func(_ *judgement, e *Error) (Verdict, string) {
		if e != nil {
			return Fail, ""
		}
		return Pass, text
	}
}

// Rules that the tables of several messages share.

func ruleMessage(kind, source string) rule {
	return rule{
		name: "message", source: source,
		text: "The message can be read, and is the message \"" + kind + "\" of SAML 2.0 in the parameter " + parameterOf(kind) + ".",
		check: func(j *judgement) *Error {
			if !j.in.root.Is(NSProtocol, kind) {
				return &Error{
					Reason: UnexpectedMessage, Err: fmt.Errorf("this is a %s, not a %s", j.in.root.Local, kind),
					Text: "The application sent a SAML message that does not belong at this address. " + j.words.again,
				}
			}
			return nil
		},
		found: func(j *judgement, _ *Error) (Verdict, string) {
			how := "HTTP-POST"
			if j.in.binding == BindingHTTPRedirect {
				how = "HTTP-Redirect"
			}
			return Pass, fmt.Sprintf("%s of %d bytes by %s.", kind, len(j.in.xml), how)
		},
	}
}

func ruleIssuer(source string) rule {
	return rule{
		name: "issuer", source: source,
		text: "Issuer is the entity ID of the service provider, to the letter.",
		check: func(j *judgement) *Error {
			if j.in.issuer != j.sp.EntityID {
				return unknownIssuer(j.in.issuer)
			}
			return nil
		},
		found: func(j *judgement, e *Error) (Verdict, string) {
			if e != nil {
				return Fail, fmt.Sprintf("Issuer is %s, and the application is registered as %s.", quoted(j.in.issuer), quoted(j.sp.EntityID))
			}
			return Pass, "Issuer is " + quoted(j.in.issuer) + "."
		},
	}
}

var ruleSignatureForm = rule{
	name: "signature_form", source: "saml-bindings §3.4.4.1",
	text: "A message by HTTP-Redirect is signed by the parameters SigAlg and Signature; an XML signature must be taken out of it.",
	check: func(j *judgement) *Error {
		if j.in.binding == BindingHTTPRedirect && xmldsig.HasSignature(j.in.root) {
			// Passing over it would let a sender believe that it counted.
			return malformed(errors.New("there is an XML signature within a message of the Redirect binding"))
		}
		return nil
	},
	found: func(j *judgement, e *Error) (Verdict, string) {
		switch {
		case e != nil:
			return Fail, ""
		case j.in.hasSig:
			return Pass, "There is a signature beside the message."
		case xmldsig.HasSignature(j.in.root):
			return Pass, "There is a signature within the message."
		}
		return Skip, "There is no signature."
	},
}

// ruleSignature verifies the signature. Only required says whether there must be one; a signature that is there and can be
// verified must always hold.
func ruleSignature(source, text string, required func(*judgement) bool) rule {
	return rule{
		name: "signature", source: source, text: text,
		check: func(j *judgement) *Error {
			enveloped := xmldsig.HasSignature(j.in.root)
			var opts []xmldsig.Option
			if j.sp.AllowSHA1 {
				opts = append(opts, xmldsig.AllowSHA1())
			}
			switch {
			case !enveloped && !j.in.hasSig:
				if required(j) {
					return &Error{
						Reason: SignatureMissing,
						Text:   "The application must sign its " + j.words.message + "s, and this one is not signed. Tell your administrator.",
					}
				}
			case len(j.sp.Keys) == 0:
				if required(j) {
					return &Error{
						Reason: SignatureInvalid, Err: errors.New("no key is registered for the service provider"),
						Text: "The application's signature can't be checked, because no certificate of the application is registered here. Tell your administrator.",
					}
				}
			case j.in.hasSig:
				if err := xmldsig.VerifyDetached(j.in.sigAlg, j.in.octets, j.in.signature, j.sp.Keys, opts...); err != nil {
					return j.badSignature(err, opts...)
				}
				j.signed = true
			default:
				v, err := xmldsig.Verify(j.in.root, j.sp.Keys, messageLimits, opts...)
				if err != nil {
					return j.badSignature(err, opts...)
				}
				j.root, j.signed = v.Root(), true
			}
			return nil
		},
		found: func(j *judgement, e *Error) (Verdict, string) {
			there := j.in.hasSig || xmldsig.HasSignature(j.in.root)
			switch {
			case e != nil && e.Reason == SignatureMissing:
				return Fail, "The message is not signed, but must be."
			case e != nil:
				return Fail, ""
			case !there:
				return Skip, "The message is not signed, and this is not demanded."
			case !j.signed:
				return Warn, "The message is signed, but no certificate of the application is registered here: the signature was not looked at, and the message counts as unsigned."
			}
			alg := j.algorithm()
			text := fmt.Sprintf("The signature (%s) is by a registered key: %s.", shortAlgorithm(alg), j.signedBy())
			if alg == xmldsig.RSASHA1 {
				return Warn, text + " SHA-1 is broken; it is taken by an exception for this application."
			}
			return Pass, text
		},
	}
}

// badSignature says what to do about it. A wrong certificate is the usual cause, but an application may also sign in a way
// that is never taken: then no certificate helps.
func (j *judgement) badSignature(err error, opts ...xmldsig.Option) *Error {
	text := "The signature of the " + j.words.message + " is not valid. Ask your administrator to compare the application's certificate."
	if alg := j.algorithm(); alg != "" && !xmldsig.Accepts(alg, opts...) {
		text = "The " + j.words.message + " is signed with an algorithm that is not accepted (" + shortAlgorithm(alg) +
			"). Ask your administrator to have the application sign with RSA-SHA256."
	}
	return &Error{Reason: SignatureInvalid, Err: err, Text: text}
}

// algorithm is the one that a message names for its signature.
func (j *judgement) algorithm() string {
	if j.in.hasSig {
		return j.in.sigAlg
	}
	alg := ""
	j.in.root.All(func(e *xmldsig.Element) bool {
		if e.Is(nsSignature, "SignatureMethod") {
			alg, _ = e.Attr("Algorithm")
		}
		return alg == ""
	})
	return alg
}

// signedBy tells which of the registered keys a signature that holds is by.
func (j *judgement) signedBy() string {
	for i, key := range j.sp.Keys {
		one := []crypto.PublicKey{key}
		var err error
		opts := []xmldsig.Option{xmldsig.AllowSHA1()} // whether it may be was decided before
		if j.in.hasSig {
			err = xmldsig.VerifyDetached(j.in.sigAlg, j.in.octets, j.in.signature, one, opts...)
		} else {
			_, err = xmldsig.Verify(j.in.root, one, messageLimits, opts...)
		}
		if err == nil {
			return fmt.Sprintf("number %d of %d, %s", i+1, len(j.sp.Keys), keyName(key))
		}
	}
	return "unknown"
}

// keyName tells a key from others: its kind and the beginning of its SPKI's SHA-256.
func keyName(key crypto.PublicKey) string {
	kind := fmt.Sprintf("%T", key)
	switch key := key.(type) {
	case *rsa.PublicKey:
		kind = fmt.Sprintf("RSA %d", key.N.BitLen())
	case *ecdsa.PublicKey:
		kind = "ECDSA " + key.Curve.Params().Name
	}
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return kind
	}
	sum := sha256.Sum256(spki)
	return kind + " key " + hex.EncodeToString(sum[:8])
}

// shortAlgorithm is the end of an algorithm's URI, by which people know it.
func shortAlgorithm(uri string) string {
	_, after, found := strings.Cut(uri, "#")
	if !found {
		return quoted(uri)
	}
	return printable(after, 40)
}

// ruleContent reads what every message has, and refuses children that have no place in it. The order of the children is
// not enforced. read, if it is not nil, reads what the kind of message has besides.
func ruleContent(source string, once []child, read func(*judgement)) rule {
	return rule{
		name: "content", source: source,
		text: "The message holds the elements of its schema, each as often as the schema has it; others only within Extensions.",
		check: func(j *judgement) *Error {
			j.destination, _ = j.root.Attr("Destination")
			if read != nil {
				read(j)
			}
			seen := uint32(0)
			for _, e := range j.root.Elements() {
				i := slices.IndexFunc(once, func(c child) bool { return e.Is(c.space, c.local) })
				if i < 0 {
					return malformed(fmt.Errorf("unexpected element %s", e.Local))
				}
				if seen&(1<<i) != 0 && !once[i].many {
					return malformed(fmt.Errorf("more than one %s in %s", e.Local, j.root.Local))
				}
				seen |= 1 << i
			}
			return nil
		},
		found: always("All elements have their place."),
	}
}

// child is an element that may stand in a message.
type child struct {
	space, local string
	many         bool
}

var ruleSignedIssuer = rule{
	name: "signed_issuer", source: "saml-core §2.2.5", needs: "content",
	text: "What the signature covers has the same Issuer as the message.",
	check: func(j *judgement) *Error {
		issuer, err := readIssuer(j.root)
		if err != nil {
			return malformed(err)
		}
		if issuer != j.sp.EntityID {
			return unknownIssuer(issuer)
		}
		j.issuer = issuer
		return nil
	},
	found: func(j *judgement, e *Error) (Verdict, string) {
		switch {
		case e != nil:
			return Fail, ""
		case !j.signed:
			return Skip, "Nothing is covered by a signature that holds."
		}
		return Pass, "The Issuer is the same."
	},
}

var ruleID = rule{
	name: "id", source: "saml-core §1.3.4",
	text: "ID is an identifier of XML that nobody gives twice.",
	check: func(j *judgement) *Error {
		id, err := readID(j.root)
		if err != nil {
			return malformed(err)
		}
		j.id = id
		return nil
	},
	found: func(j *judgement, e *Error) (Verdict, string) {
		if e != nil {
			return Fail, ""
		}
		return Pass, "ID is " + quoted(j.id) + ". Whether it came before can't be told from the message."
	},
}

var ruleIssueInstant = rule{
	name: "issue_instant", source: "saml-core §1.3.3",
	text: "IssueInstant is there, and is a time in UTC.",
	check: func(j *judgement) *Error {
		at, err := readTime(j.root, "IssueInstant")
		if err != nil {
			return malformed(err)
		}
		if at.IsZero() {
			return malformed(errors.New("no IssueInstant"))
		}
		j.issueInstant = at
		return nil
	},
	found: func(j *judgement, e *Error) (Verdict, string) {
		if e != nil {
			return Fail, ""
		}
		return Pass, "It was made at " + moment(j.issueInstant) + "."
	},
}

// ruleDestination compares Destination with our addresses, which ours finds.
func ruleDestination(source string, ours func(*judgement) []string) rule {
	return rule{
		name: "destination", source: source,
		text: "Destination is the address at which the message arrived; a signed message must have one.",
		check: func(j *judgement) *Error {
			if j.destination == "" && j.signed || j.destination != "" && !slices.Contains(ours(j), j.destination) {
				return &Error{
					Reason: WrongDestination, Err: fmt.Errorf("Destination %q", j.destination),
					Text: "The " + j.words.message + " was meant for another address. Ask your administrator to compare the address in the application's settings with the one shown here.",
				}
			}
			return nil
		},
		found: func(j *judgement, e *Error) (Verdict, string) {
			switch {
			case e != nil && j.destination == "":
				return Fail, "The message is signed, but has no Destination: anybody could send it on to somebody else."
			case e != nil:
				return Fail, fmt.Sprintf("Destination is %s; our address for this application is %s.", quoted(j.destination), list(ours(j)))
			case j.destination == "":
				return Pass, "There is none, and an unsigned message needs none."
			}
			return Pass, "Destination is " + quoted(j.destination) + "."
		},
	}
}

func (idp *IdentityProvider) skew() time.Duration {
	if idp.Skew == 0 {
		return DefaultSkew
	}
	return idp.Skew
}

func (idp *IdentityProvider) maxAge() time.Duration {
	if idp.MaxAge == 0 {
		return DefaultMaxAge
	}
	return idp.MaxAge
}

var ruleClock = rule{
	name: "clock", source: "saml-core §1.3.3", needs: "issue_instant",
	text: "The message was not made in the future, but for a difference of the clocks.",
	check: func(j *judgement) *Error {
		if !j.issueInstant.After(j.now.Add(j.idp.skew())) {
			return nil
		}
		return &Error{
			Reason: FromTheFuture, Err: fmt.Errorf("IssueInstant %s, now %s", moment(j.issueInstant), moment(j.now)),
			Text: "The clocks of the application and of this service differ too much. Tell your administrator.",
		}
	},
	found: func(j *judgement, e *Error) (Verdict, string) {
		switch ahead := j.issueInstant.Sub(j.now).Round(time.Second); {
		case e != nil:
			return Fail, fmt.Sprintf("The application's clock is %s ahead of ours; %s is allowed.", ahead, j.idp.skew())
		case ahead > 5*time.Second:
			return Warn, fmt.Sprintf("The application's clock is %s ahead of ours.", ahead)
		}
		return Pass, "It was not made in the future."
	},
}

var ruleFresh = rule{
	name: "fresh", source: "saml-core §3.2.1", needs: "issue_instant",
	text: "The message is not so old that somebody may have kept it to send it again. The standard leaves the limit to the receiver.",
	check: func(j *judgement) *Error {
		if !j.issueInstant.Before(j.now.Add(-j.idp.maxAge() - j.idp.skew())) {
			return nil
		}
		return &Error{
			Reason: Stale, Err: fmt.Errorf("IssueInstant %s, now %s", moment(j.issueInstant), moment(j.now)),
			Text: "This " + j.words.message + " is too old. " + j.words.again,
		}
	},
	found: func(j *judgement, e *Error) (Verdict, string) {
		age := j.now.Sub(j.issueInstant).Round(time.Second)
		if e != nil {
			return Fail, fmt.Sprintf("It is %s old; %s is allowed.", age, j.idp.maxAge()+j.idp.skew())
		}
		return Pass, fmt.Sprintf("It is %s old.", max(age, 0))
	},
}

var ruleVersion = rule{
	name: "version", source: "saml-core §3.2.1",
	text: "Version is 2.0.",
	check: func(j *judgement) *Error {
		if version, _ := j.root.Attr("Version"); version != "2.0" {
			return &Error{
				Reason: UnsupportedVersion, Err: fmt.Errorf("Version %q", version),
				Text: "The application speaks another version of SAML than 2.0.",
			}
		}
		return nil
	},
	found: always("It is version 2.0."),
}

var ruleRelayState = rule{
	name: "relay_state", source: "saml-bindings §3.4.3",
	text: "RelayState has at most 80 bytes, and comes back as it was sent.",
	found: func(j *judgement, _ *Error) (Verdict, string) {
		const most = 80
		switch n := len(j.in.relayState); {
		case n == 0:
			return Skip, "There is none."
		case n > most:
			return Warn, fmt.Sprintf("It has %d bytes, more than the standard allows; it is returned all the same.", n)
		default:
			return Pass, fmt.Sprintf("It has %d bytes.", n)
		}
	},
}

// moment writes a time as messages do, to the second.
func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// quoted makes of a text that others chose one that can be shown.
func quoted(s string) string { return "“" + printable(s, 300) + "”" }

func list(values []string) string {
	if len(values) == 0 {
		return "not set"
	}
	var b bytes.Buffer
	for i, v := range values {
		if i > 0 {
			b.WriteString(" or ")
		}
		b.WriteString(quoted(v))
	}
	return b.String()
}
