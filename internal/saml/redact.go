package saml

import (
	"fmt"
	"html"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
)

// Bounds of what Redact returns, in bytes.
const (
	maxRedacted   = 64 << 10
	maxShown      = 1024 // of one value
	maxUnreadable = 4 << 10
)

// Mask names a person, or a fact about one, so that who knows the value recognizes it and nobody else can tell it: the
// first character and the length in characters, as in "a…(3)". Of an e-mail address the domain stays: "a…(3)@example.com".
// A value of one or two characters shows its length only.
func Mask(s string) string {
	local, domain := s, ""
	if at := strings.LastIndexByte(s, '@'); at > 0 && isDomain(s[at+1:]) && strings.Count(s, "@") == 1 {
		local, domain = s[:at], s[at:]
	}
	n := utf8.RuneCountInString(local)
	const least = 3
	if n < least {
		return fmt.Sprintf("…(%d)", n) + domain
	}
	_, size := utf8.DecodeRuneInString(local)
	return printable(local[:size], 16) + fmt.Sprintf("…(%d)", n) + domain
}

// isDomain reports whether s looks like the domain of an e-mail address.
func isDomain(s string) bool {
	const longest = 253
	if len(s) > longest || !strings.Contains(s, ".") {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || strings.ContainsFunc(label, func(r rune) bool {
			return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
		}) {
			return false
		}
	}
	return true
}

// printable bounds a text that others chose, and makes what does not show, or shows otherwise than it reads, visible.
func printable(s string, most int) string {
	if len(s) <= most && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		if i >= most {
			b.WriteString("…")
			break
		}
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\ufffd"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\u{%x}`, r)
		}
	}
	return b.String()
}

// Redact returns a message as text for people to read, one element or value to a line, without what is secret in it:
//
//   - the person's names (NameID, BaseID) and the values of attributes are masked (see Mask);
//   - signatures, digests, certificates and ciphertexts are cut to their first eight characters;
//   - of all other text and XML attributes only that which the standard defines, and which says nothing about a person,
//     is shown: names, formats, addresses, times, IDs, status. The rest is masked, comments are dropped.
//
// What can't be read as XML by our rules, or is too large, comes out as its beginning in which only the words of SAML are
// left. The text has at most 64 KiB and some more, and no character that does not show.
func Redact(xml []byte) string {
	if _, err := xmldsig.Read(xml, answerLimits); err != nil {
		return redactUnreadable(string(xml))
	}
	s := strings.TrimPrefix(string(xml), "\ufeff")
	r := redactor{rest: strings.ReplaceAll(s, "\r", "\n")}
	r.document()
	return r.out.String()
}

// treatment is what becomes of the text of an element.
type treatment uint8

const (
	mask treatment = iota // the default
	show
	cut
	hide // with all elements within
)

// treatmentOf knows the elements of SAML and of XML's signature and encryption by their local names: who uses one of
// these names in another namespace means the same.
func treatmentOf(local string) treatment {
	switch local {
	case "Issuer", "Audience", "AuthnContextClassRef", "AuthnContextDeclRef", "AuthenticatingAuthority", "StatusMessage",
		"SessionIndex", "NameIDFormat", "RequesterID", "GetComplete":
		return show
	case "SignatureValue", "DigestValue", "X509Certificate", "CipherValue", "Modulus":
		return cut
	case "NameID", "BaseID", "AttributeValue":
		return hide
	}
	return mask
}

// showsAttribute reports whether an XML attribute is one of the standard's that says nothing about a person.
func showsAttribute(name string) bool {
	switch name {
	case "ID", "Id", "InResponseTo", "IssueInstant", "Version", "Destination", "Consent", "NotBefore", "NotOnOrAfter",
		"Recipient", "Method", "AuthnInstant", "SessionIndex", "SessionNotOnOrAfter", "Format", "NameQualifier",
		"SPNameQualifier", "Name", "NameFormat", "FriendlyName", "Value", "Algorithm", "URI", "Type", "PrefixList",
		"AssertionConsumerServiceURL", "AssertionConsumerServiceIndex", "AttributeConsumingServiceIndex", "ProtocolBinding",
		"ForceAuthn", "IsPassive", "AllowCreate", "Comparison", "ProviderName", "Reason", "ProxyCount", "ProviderID", "Loc",
		"version", "encoding", "standalone", "xml:lang", "xsi:type", "xmlns":
		return true
	}
	return strings.HasPrefix(name, "xmlns:")
}

// redactor walks over a document that Read accepted, whose syntax it need not doubt. It is no parser: what it makes is
// never read again.
type redactor struct {
	rest string
	out  strings.Builder
	open []string // local names of the open elements
	full bool
}

// line writes one line, unless the text is full.
func (r *redactor) line(text string) {
	if r.full {
		return
	}
	if r.out.Len()+len(text) > maxRedacted {
		r.full = true
		text = "…"
	}
	r.out.WriteString(strings.Repeat("  ", len(r.open)))
	r.out.WriteString(text)
	r.out.WriteByte('\n')
}

func (r *redactor) document() {
	for r.rest != "" && !r.full {
		switch {
		case strings.HasPrefix(r.rest, "<!--"):
			r.skip("-->")
			r.line("<!-- … -->")
		case strings.HasPrefix(r.rest, "<?"):
			r.skip("?>")
		case strings.HasPrefix(r.rest, "</"):
			name := strings.TrimSpace(r.skip(">")[2:])
			r.close()
			r.line("</" + printable(name, maxShown) + ">")
		case strings.HasPrefix(r.rest, "<![CDATA["), r.rest[0] != '<':
			if text := strings.TrimSpace(r.text()); text != "" && len(r.open) > 0 {
				r.line(r.value(r.open[len(r.open)-1], text))
			}
		default:
			r.element()
		}
	}
}

// close notes an end tag.
func (r *redactor) close() {
	if len(r.open) > 0 {
		r.open = r.open[:len(r.open)-1]
	}
}

// skip passes over all up to and with a mark, and returns what stood before it.
func (r *redactor) skip(mark string) string {
	before, after, _ := strings.Cut(r.rest, mark)
	r.rest = after
	return before
}

// text passes over text, CDATA sections among it, and returns it decoded.
func (r *redactor) text() string {
	var b strings.Builder
	for r.rest != "" {
		if after, ok := strings.CutPrefix(r.rest, "<![CDATA["); ok {
			r.rest = after
			b.WriteString(r.skip("]]>"))
			continue
		}
		end := strings.IndexByte(r.rest, '<')
		if end == 0 {
			break
		}
		if end < 0 {
			end = len(r.rest)
		}
		b.WriteString(html.UnescapeString(r.rest[:end]))
		r.rest = r.rest[end:]
	}
	return b.String()
}

// tag passes over a start tag and returns its parts as they are to be shown.
func (r *redactor) tag() (name, shown string, empty bool) {
	r.rest = r.rest[1:]
	end := strings.IndexAny(r.rest, " \t\n/>")
	if end < 0 {
		end = len(r.rest)
	}
	name, r.rest = r.rest[:end], r.rest[end:]
	var b strings.Builder
	b.WriteString("<" + printable(name, maxShown))
	for {
		r.rest = strings.TrimLeft(r.rest, " \t\n")
		switch {
		case strings.HasPrefix(r.rest, "/>"):
			r.rest = r.rest[2:]
			return name, b.String(), true
		case r.rest == "" || r.rest[0] == '>':
			r.skip(">")
			return name, b.String(), false
		}
		attribute := strings.TrimSpace(r.skip("="))
		r.rest = strings.TrimLeft(r.rest, " \t\n")
		if r.rest == "" {
			return name, b.String(), true
		}
		quote := r.rest[:1]
		r.rest = r.rest[1:]
		value := html.UnescapeString(r.skip(quote))
		if showsAttribute(attribute) {
			value = printable(value, maxShown)
		} else {
			value = Mask(value)
		}
		b.WriteString(" " + printable(attribute, maxShown) + `="` + escapeShown(value) + `"`)
	}
}

var shownEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;")

func escapeShown(s string) string { return shownEscaper.Replace(s) }

// value is the text of an element as it is to be shown.
func (r *redactor) value(local, text string) string {
	switch treatmentOf(local) {
	case show:
		return escapeShown(printable(text, maxShown))
	case cut:
		return escapeShown(shorten(text))
	}
	return escapeShown(Mask(text))
}

// shorten cuts a value of which nobody needs the whole.
func shorten(text string) string {
	text = strings.Join(strings.Fields(text), "")
	const kept = 8
	if len(text) <= 2*kept {
		return "…(" + strconv.Itoa(len(text)) + ")"
	}
	return printable(text[:kept], 4*kept) + "…(" + strconv.Itoa(len(text)) + ")"
}

// element writes an element that has nothing but text in one line, and opens any other. Of one that is hidden nothing is
// shown of the elements within.
func (r *redactor) element() {
	name, shown, empty := r.tag()
	local := name[strings.IndexByte(name, ':')+1:]
	end := "</" + printable(name, maxShown) + ">"
	if empty {
		r.line(shown + "/>")
		return
	}
	before := r.rest
	text := strings.TrimSpace(r.text())
	if strings.HasPrefix(r.rest, "</") {
		r.skip(">")
		if text != "" {
			text = r.value(local, text)
		}
		r.line(shown + ">" + text + end)
		return
	}
	if treatmentOf(local) == hide {
		from := len(r.rest)
		r.within()
		r.line(shown + ">…(" + strconv.Itoa(from-len(r.rest)) + " bytes of XML)" + end)
		return
	}
	r.rest = before
	r.line(shown + ">")
	r.open = append(r.open, local)
}

// within passes over the content of the element that was opened last, and its end tag.
func (r *redactor) within() {
	for depth := 1; depth > 0 && r.rest != ""; {
		switch {
		case strings.HasPrefix(r.rest, "<!--"):
			r.skip("-->")
		case strings.HasPrefix(r.rest, "<![CDATA["):
			r.skip("]]>")
		case strings.HasPrefix(r.rest, "</"):
			r.skip(">")
			depth--
		case r.rest[0] == '<':
			if _, _, empty := r.tag(); !empty {
				depth++
			}
		default:
			r.skip("<")
			r.rest = "<" + r.rest
		}
	}
}

// redactUnreadable shows the beginning of what is no XML: words of SAML and marks. All other words become
// dots.
func redactUnreadable(s string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "(%d bytes that can't be read as XML)\n", len(s))
	if len(s) > maxUnreadable {
		s = s[:maxUnreadable]
	}
	isWord := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || r == utf8.RuneError }
	for s != "" {
		end := strings.IndexFunc(s, func(r rune) bool { return !isWord(r) })
		if end < 0 {
			end = len(s)
		}
		if end > 0 {
			if word := s[:end]; knownWord(word) {
				b.WriteString(word)
			} else {
				b.WriteString("…")
			}
			s = s[end:]
			continue
		}
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case strings.ContainsRune("<>/=:\"'?!-_.#&; \n", r):
			b.WriteRune(r)
		default:
			b.WriteString("·")
		}
		s = s[size:]
	}
	return b.String()
}

// knownWord reports whether a word belongs to the standard.
func knownWord(w string) bool {
	switch w {
	case "xml", "xmlns", "xsi", "xs", "version", "encoding", "utf", "UTF", "DOCTYPE", "ENTITY", "SYSTEM", "html", "CDATA",
		"saml", "saml2", "samlp", "saml2p", "ds", "dsig", "xenc", "md", "urn", "oasis", "names", "tc", "SAML", "http", "https",
		"www", "w3", "org", "protocol", "assertion", "AuthnRequest", "LogoutRequest", "LogoutResponse", "Response", "Assertion",
		"EncryptedAssertion", "EncryptedData", "EncryptedKey", "EncryptedID", "Subject", "SubjectConfirmation",
		"SubjectConfirmationData", "Conditions", "AudienceRestriction", "Audience", "AuthnStatement", "AuthnContext",
		"AuthnContextClassRef", "AttributeStatement", "Attribute", "AttributeValue", "NameID", "NameIDPolicy", "Issuer",
		"Status", "StatusCode", "StatusMessage", "Extensions", "Scoping", "RequestedAuthnContext", "SessionIndex", "Signature",
		"SignedInfo", "SignatureValue", "SignatureMethod", "CanonicalizationMethod", "Reference", "Transforms", "Transform",
		"DigestMethod", "DigestValue", "KeyInfo", "X509Data", "X509Certificate", "CipherData", "CipherValue",
		"EncryptionMethod":
		return true
	}
	return showsAttribute(w)
}
