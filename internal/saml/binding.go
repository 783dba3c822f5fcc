package saml

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
)

// Limits on what a browser may bring. They are checked before base64, after it, while inflating and while reading.
const (
	maxQuery      = 48 << 10 // a whole query string; what is left of 64 KiB of headers
	maxBody       = 256 << 10
	maxRelayState = 8 << 10 // saml-bindings says 80 bytes, products send far more
	maxMessage    = 128 << 10
)

// messageLimits bound the XML of a message. Real requests have 1 to 6 KB, up to 10 levels and 100 nodes.
var messageLimits = xmldsig.Limits{Bytes: maxMessage, Depth: 24, Attributes: 40, Nodes: 2000}

// MaxPostBody is the largest form body that ReadPost takes, in bytes; read no more of a request than one byte above it.
const MaxPostBody = maxBody

// Incoming is a message as it arrived: decoded and within limits, not yet checked. The zero value is no message; Check
// refuses it.
type Incoming struct {
	binding    string
	relayState string
	xml        []byte
	root       *xmldsig.Element
	issuer     string

	// Only for HTTP-Redirect: the signature and the octets of the query string that it covers, exactly as they came.
	sigAlg    string
	signature []byte
	octets    []byte
	hasSig    bool
}

// Issuer is the entityID that the message claims, never empty for a message that was read. Nothing is verified: use it
// only to find the service provider for Check.
func (in Incoming) Issuer() string { return in.issuer }

// Binding is the binding by which the message came.
func (in Incoming) Binding() string { return in.binding }

// XML is the message as it came, for the log of what was received. It is not verified.
func (in Incoming) XML() []byte { return in.xml }

// ReadRedirect reads a request from a URL's raw query string, undecoded (saml-bindings §3.4). Parameters that are not
// SAML's are passed over, for a sign-on URL may have its own; but no parameter may come twice or have a percent-encoded
// name, for then two readers might disagree. The error is an *Error.
func ReadRedirect(rawQuery string) (Incoming, error) {
	in := Incoming{binding: BindingHTTPRedirect}
	if len(rawQuery) > maxQuery {
		return Incoming{}, tooLarge(nil)
	}
	f, err := readForm(rawQuery)
	if err != nil {
		return Incoming{}, malformed(err)
	}
	if enc, ok := f.values["SAMLEncoding"]; ok && enc != "urn:oasis:names:tc:SAML:2.0:bindings:URL-Encoding:DEFLATE" {
		return Incoming{}, malformed(fmt.Errorf("SAMLEncoding %q", enc))
	}
	message, err := f.message()
	if err != nil {
		return Incoming{}, err
	}
	deflated, err := decodeBase64(message)
	if err != nil {
		return Incoming{}, malformed(err)
	}
	if in.xml, err = inflate(deflated); err != nil {
		return Incoming{}, err
	}
	alg, hasAlg := f.values["SigAlg"]
	sig, hasSig := f.values["Signature"]
	if hasAlg != hasSig {
		return Incoming{}, malformed(errors.New("SigAlg and Signature belong together"))
	}
	if hasSig {
		in.hasSig, in.sigAlg = true, alg
		if in.signature, err = decodeBase64(sig); err != nil {
			return Incoming{}, malformed(fmt.Errorf("Signature: %w", err))
		}
		// §3.4.4.1: the original octets, in this order whatever the order in the URL.
		in.octets = append(in.octets, "SAMLRequest="+f.raw["SAMLRequest"]...)
		if relay, ok := f.raw["RelayState"]; ok {
			in.octets = append(in.octets, "&RelayState="+relay...)
		}
		in.octets = append(in.octets, "&SigAlg="+f.raw["SigAlg"]...)
	}
	return in.finish(f)
}

// ReadPost reads a request from the raw body of an HTML form, application/x-www-form-urlencoded (saml-bindings §3.5).
// The error is an *Error.
func ReadPost(body []byte) (Incoming, error) {
	in := Incoming{binding: BindingHTTPPost}
	if len(body) > maxBody {
		return Incoming{}, tooLarge(nil)
	}
	f, err := readForm(string(body))
	if err != nil {
		return Incoming{}, malformed(err)
	}
	message, err := f.message()
	if err != nil {
		return Incoming{}, err
	}
	if in.xml, err = decodeBase64(message); err != nil {
		return Incoming{}, malformed(err)
	}
	if len(in.xml) > maxMessage {
		return Incoming{}, tooLarge(nil)
	}
	return in.finish(f)
}

// finish reads the XML and the issuer.
func (in Incoming) finish(f form) (Incoming, error) {
	in.relayState = f.values["RelayState"]
	if len(in.relayState) > maxRelayState {
		return Incoming{}, tooLarge(errors.New("RelayState"))
	}
	if !utf8.ValidString(in.relayState) || strings.ContainsRune(in.relayState, 0) {
		return Incoming{}, malformed(errors.New("RelayState is not text")) // it could not be returned verbatim
	}
	root, err := xmldsig.Read(in.xml, messageLimits)
	if errors.Is(err, xmldsig.ErrLimit) {
		return Incoming{}, tooLarge(err)
	}
	if err != nil {
		return Incoming{}, malformed(err)
	}
	if !root.Is(NSProtocol, "AuthnRequest") {
		return Incoming{}, &Error{
			Reason: UnexpectedMessage, Err: fmt.Errorf("root element %s", root.Local),
			Text: "The application sent a SAML message that does not belong at this address. Open the application again; if it happens again, tell your administrator.",
		}
	}
	in.root = root
	if in.issuer, err = readIssuer(root); err != nil {
		return Incoming{}, malformed(err)
	}
	return in, nil
}

// form is a set of parameters, both as they came and decoded.
type form struct {
	raw, values map[string]string
}

// message returns the SAMLRequest.
func (f form) message() (string, error) {
	message, ok := f.values["SAMLRequest"]
	_, response := f.values["SAMLResponse"]
	switch {
	case response:
		return "", malformed(errors.New("a SAMLResponse at an address for requests"))
	case !ok || message == "":
		return "", &Error{
			Reason: Malformed, Err: errors.New("no SAMLRequest"),
			Text: "This address is for applications that send people to sign in, and no sign-in request came with the visit. Open the application itself, or choose it in your portal.",
		}
	}
	return message, nil
}

// readForm splits name=value pairs and decodes the values of those that SAML knows.
func readForm(s string) (form, error) {
	f := form{raw: map[string]string{}, values: map[string]string{}}
	const maxPairs = 100
	for pairs := 0; s != ""; pairs++ {
		if pairs == maxPairs {
			return form{}, errors.New("too many parameters")
		}
		var pair string
		pair, s, _ = strings.Cut(s, "&")
		if pair == "" {
			continue
		}
		name, raw, _ := strings.Cut(pair, "=")
		if strings.ContainsAny(name, "%+") {
			return form{}, errors.New("encoded parameter name")
		}
		if _, twice := f.raw[name]; twice {
			return form{}, fmt.Errorf("parameter %q twice", name)
		}
		f.raw[name] = raw
		switch name {
		case "SAMLRequest", "SAMLResponse", "RelayState", "SigAlg", "Signature", "SAMLEncoding":
			value, err := unescape(raw)
			if err != nil {
				return form{}, fmt.Errorf("parameter %s: %w", name, err)
			}
			f.values[name] = value
		}
	}
	return f, nil
}

// unescape decodes one value of application/x-www-form-urlencoded.
func unescape(s string) (string, error) {
	if !strings.ContainsAny(s, "%+") {
		return s, nil
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '+':
			b.WriteByte(' ')
		case '%':
			if i+2 >= len(s) {
				return "", errors.New("malformed percent-encoding")
			}
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi < 0 || lo < 0 {
				return "", errors.New("malformed percent-encoding")
			}
			b.WriteByte(byte(hi<<4 | lo))
			i += 2
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), nil
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// decodeBase64 takes the standard alphabet with padding; line breaks are allowed (RFC 2045).
func decodeBase64(s string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(s) // passes over \r and \n
	if err != nil {
		return nil, errors.New("not base64")
	}
	if len(b) == 0 {
		return nil, errors.New("empty")
	}
	return b, nil
}

// inflater is a reader of DEFLATE; making one allocates 44 KB, which would be most of what reading a request costs.
type inflater struct {
	src bytes.Reader
	r   io.ReadCloser // from flate.NewReader, hence a flate.Resetter
	out bytes.Buffer
}

// inflaters keeps idle ones. It is a cache: nothing depends on what is in it.
var inflaters = sync.Pool{New: func() any {
	f := new(inflater)
	f.r = flate.NewReader(&f.src)
	return f
}}

// inflate undoes DEFLATE (RFC 1951), stopping as soon as the limit is passed.
func inflate(deflated []byte) ([]byte, error) {
	f := inflaters.Get().(*inflater)
	defer inflaters.Put(f)
	f.src.Reset(deflated)
	defer f.src.Reset(nil) // keep no request alive
	f.out.Reset()
	if err := f.r.(flate.Resetter).Reset(&f.src, nil); err != nil {
		return nil, malformed(err)
	}
	_, err := f.out.ReadFrom(io.LimitReader(f.r, maxMessage+1))
	src, b := &f.src, f.out.Bytes()
	if len(b) > maxMessage {
		return nil, tooLarge(errors.New("inflated message"))
	}
	if err != nil {
		return nil, malformed(fmt.Errorf("not DEFLATE: %w", err))
	}
	if src.Len() > 0 {
		return nil, malformed(errors.New("bytes behind the DEFLATE stream"))
	}
	return bytes.Clone(b), nil
}

// EncodePost returns the value of the form field SAMLResponse (saml-bindings §3.5.4).
func EncodePost(xml []byte) string { return base64.StdEncoding.EncodeToString(xml) }

const (
	textMalformed = "The sign-in request from the application can't be read. Open the application again; if it happens again, tell your administrator."
	textTooLarge  = "The sign-in request from the application is too large. Open the application again; if it happens again, tell your administrator."
)

func malformed(err error) *Error { return &Error{Reason: Malformed, Text: textMalformed, Err: err} }

func tooLarge(err error) *Error { return &Error{Reason: TooLarge, Text: textTooLarge, Err: err} }
