package saml

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
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

// answerLimits bound the XML of an answer that is to be explained, which may hold the names of many groups.
var answerLimits = xmldsig.Limits{Bytes: 512 << 10, Depth: 64, Attributes: 100, Nodes: 20000}

// MaxPostBody is the largest form body that ReadPost and ReadLogoutPost take, in bytes; read no more of a request than
// one byte above it.
const MaxPostBody = maxBody

// Incoming is a message as it arrived: decoded and within limits, not yet checked. The zero value is no message; all
// checks refuse it. What comes beside an error is no message either, but Explain and XML tell what is known of it.
type Incoming struct {
	binding    string
	parameter  string // SAMLRequest or SAMLResponse
	relayState string
	xml        []byte
	root       *xmldsig.Element
	issuer     string

	// Only for HTTP-Redirect: the signature and the octets of the query string that it covers, exactly as they came.
	sigAlg    string
	signature []byte
	octets    []byte
	hasSig    bool

	pasted  bool   // by ReadPasted: may be explained, but not answered
	failure *Error // why there is no message
}

// Issuer is the entityID that the message claims, never empty for a message that was read by ReadRedirect, ReadPost and
// their like. Nothing is verified: use it only to find the service provider for Check.
func (in Incoming) Issuer() string { return in.issuer }

// Binding is the binding by which the message came.
func (in Incoming) Binding() string { return in.binding }

// RelayState is what came beside the message. It is not verified.
func (in Incoming) RelayState() string { return in.relayState }

// XML is the message as it came, for the log of what was received. It is not verified, and after an error it may be
// missing or be no XML at all.
func (in Incoming) XML() []byte { return in.xml }

// Message is the kind of message: the local name of its root element, such as "LogoutRequest". It is empty after an
// error.
func (in Incoming) Message() string {
	if in.root == nil {
		return ""
	}
	return in.root.Local
}

// door is a place where messages are taken: what may come there, and how it is called.
type door struct {
	kinds  []string // local names of root elements
	words  words
	limits xmldsig.Limits
}

// words are how a kind of message is called to the person who has to do with it.
type words struct {
	message string // "sign-in request"
	absent  string // said when nothing came
	again   string // what to do
}

var (
	signOnWords = words{
		message: "sign-in request",
		absent:  "This address is for applications that send people to sign in, and no sign-in request came with the visit. Open the application itself, or choose it in your portal.",
		again:   "Open the application again; if it happens again, tell your administrator.",
	}
	logoutWords = words{
		message: "sign-out message",
		absent:  "This address is for applications that sign people out, and no sign-out message came with the visit. Sign out in the application itself, or in your portal.",
		again:   "Sign out again; if it happens again, close the browser and tell your administrator.",
	}
	pastedWords = words{
		message: "message",
		absent:  "There is no SAML message in this. Paste the URL, the value of SAMLRequest or SAMLResponse, or the XML.",
		again:   "Compare what you pasted with what the browser sent.",
	}
	signOnDoor = door{kinds: []string{kindAuthnRequest}, words: signOnWords, limits: messageLimits}
	logoutDoor = door{kinds: []string{kindLogoutRequest, kindLogoutResponse}, words: logoutWords, limits: messageLimits}
	// anyDoor and responseDoor are those of ReadPasted and ExplainResponse.
	anyDoor      = door{kinds: []string{kindAuthnRequest, kindLogoutRequest, kindLogoutResponse, kindResponse}, words: pastedWords, limits: answerLimits}
	responseDoor = door{kinds: []string{kindResponse}, words: pastedWords, limits: answerLimits}
)

// Kinds of messages, by the local names of their root elements in the protocol namespace.
const (
	kindAuthnRequest   = "AuthnRequest"
	kindLogoutRequest  = "LogoutRequest"
	kindLogoutResponse = "LogoutResponse"
	kindResponse       = "Response"
)

// parameterOf returns the parameter in which a kind of message travels (saml-bindings §3.4.3, §3.5.3).
func parameterOf(kind string) string {
	if kind == kindAuthnRequest || kind == kindLogoutRequest {
		return ParameterRequest
	}
	return ParameterResponse
}

// Parameters of both bindings (saml-bindings §3.4.3, §3.5.3).
const (
	ParameterRequest  = "SAMLRequest"
	ParameterResponse = "SAMLResponse"
)

// ReadRedirect reads an AuthnRequest from a URL's raw query string, undecoded (saml-bindings §3.4). Parameters that are
// not SAML's are passed over, for a sign-on URL may have its own; but no parameter may come twice or have a
// percent-encoded name, for then two readers might disagree. The error is an *Error.
func ReadRedirect(rawQuery string) (Incoming, error) { return signOnDoor.redirect(rawQuery) }

// ReadPost reads an AuthnRequest from the raw body of an HTML form, application/x-www-form-urlencoded (saml-bindings
// §3.5). The error is an *Error.
func ReadPost(body []byte) (Incoming, error) { return signOnDoor.post(body) }

// ReadLogoutRedirect is ReadRedirect for a LogoutRequest or a LogoutResponse; Message tells which.
func ReadLogoutRedirect(rawQuery string) (Incoming, error) { return logoutDoor.redirect(rawQuery) }

// ReadLogoutPost is ReadPost for a LogoutRequest or a LogoutResponse; Message tells which.
func ReadLogoutPost(body []byte) (Incoming, error) { return logoutDoor.post(body) }

func (d door) redirect(rawQuery string) (Incoming, error) {
	in := Incoming{binding: BindingHTTPRedirect}
	return d.fail(&in, d.readRedirect(&in, rawQuery))
}

func (d door) post(body []byte) (Incoming, error) {
	in := Incoming{binding: BindingHTTPPost}
	return d.fail(&in, d.readPost(&in, body))
}

// fail makes of the message and an error what the caller gets.
func (d door) fail(in *Incoming, err error) (Incoming, error) {
	if err == nil {
		return *in, nil
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = &Error{Reason: Malformed, Err: err}
	}
	if e.Text == "" {
		e.Text = d.words.unreadable(e.Reason)
	}
	return Incoming{binding: in.binding, xml: in.xml, pasted: in.pasted, failure: e}, e
}

func (w words) unreadable(reason Reason) string {
	if reason == TooLarge {
		return "The " + w.message + " from the application is too large. " + w.again
	}
	return "The " + w.message + " from the application can't be read. " + w.again
}

func (d door) readRedirect(in *Incoming, rawQuery string) error {
	if len(rawQuery) > maxQuery {
		return tooLarge(fmt.Errorf("a query of %d bytes; at most %d are read", len(rawQuery), maxQuery))
	}
	f, err := readForm(rawQuery)
	if err != nil {
		return err
	}
	if enc, ok := f.values["SAMLEncoding"]; ok && enc != "urn:oasis:names:tc:SAML:2.0:bindings:URL-Encoding:DEFLATE" {
		return fmt.Errorf("SAMLEncoding %q", enc)
	}
	message, err := d.message(in, f)
	if err != nil {
		return err
	}
	deflated, err := decodeBase64(message)
	if err != nil {
		return err
	}
	if in.xml, err = inflate(deflated); err != nil {
		return err
	}
	alg, hasAlg := f.values["SigAlg"]
	sig, hasSig := f.values["Signature"]
	if hasAlg != hasSig {
		return errors.New("SigAlg and Signature belong together")
	}
	if hasSig {
		in.hasSig, in.sigAlg = true, alg
		if in.signature, err = decodeBase64(sig); err != nil {
			return fmt.Errorf("Signature: %w", err)
		}
		// §3.4.4.1: the original octets, in this order whatever the order in the URL.
		in.octets = append(in.octets, in.parameter+"="+f.raw[in.parameter]...)
		if relay, ok := f.raw["RelayState"]; ok {
			in.octets = append(in.octets, "&RelayState="+relay...)
		}
		in.octets = append(in.octets, "&SigAlg="+f.raw["SigAlg"]...)
	}
	return d.finish(in, f)
}

func (d door) readPost(in *Incoming, body []byte) error {
	if len(body) > maxBody {
		return tooLarge(fmt.Errorf("a form of more than %d bytes", maxBody))
	}
	f, err := readForm(string(body))
	if err != nil {
		return err
	}
	message, err := d.message(in, f)
	if err != nil {
		return err
	}
	xml, err := decodeBase64(message)
	if err != nil {
		return err
	}
	if len(xml) > maxMessage {
		return tooLarge(fmt.Errorf("a message of %d bytes; at most %d are read", len(xml), maxMessage))
	}
	in.xml = xml
	return d.finish(in, f)
}

// finish reads the XML and the issuer.
func (d door) finish(in *Incoming, f form) error {
	in.relayState = f.values["RelayState"]
	if len(in.relayState) > maxRelayState {
		return tooLarge(fmt.Errorf("a RelayState of %d bytes; at most %d are read", len(in.relayState), maxRelayState))
	}
	if !utf8.ValidString(in.relayState) || strings.ContainsRune(in.relayState, 0) {
		return errors.New("RelayState is not text") // it could not be returned verbatim
	}
	root, err := xmldsig.Read(in.xml, d.limits)
	if errors.Is(err, xmldsig.ErrLimit) {
		return tooLarge(err)
	}
	if err != nil {
		return err
	}
	if in.parameter == "" { // pasted without it
		in.parameter = parameterOf(root.Local)
	}
	if root.Space != NSProtocol || !slices.Contains(d.kinds, root.Local) || parameterOf(root.Local) != in.parameter {
		return &Error{
			Reason: UnexpectedMessage, Err: fmt.Errorf("%s holds a %s", in.parameter, root.Local),
			Text: "The application sent a SAML message that does not belong at this address. " + d.words.again,
		}
	}
	// An answer may leave it to the assertion to tell the issuer (saml-profiles §4.1.4.2).
	if in.issuer, err = readIssuer(root); err != nil && root.Local != kindResponse {
		return err
	}
	in.root = root
	return nil
}

// form is a set of parameters, both as they came and decoded.
type form struct {
	raw, values map[string]string
}

// message finds the message among the parameters: exactly one, in a parameter that this door takes.
func (d door) message(in *Incoming, f form) (string, error) {
	request, hasRequest := f.values[ParameterRequest]
	response, hasResponse := f.values[ParameterResponse]
	takesResponses := slices.ContainsFunc(d.kinds, func(kind string) bool { return parameterOf(kind) == ParameterResponse })
	switch {
	case hasRequest && hasResponse:
		return "", errors.New("both a SAMLRequest and a SAMLResponse")
	case hasResponse && !takesResponses:
		return "", errors.New("a SAMLResponse at an address for requests")
	case request == "" && response == "":
		return "", &Error{Reason: Malformed, Err: errors.New("no SAML message"), Text: d.words.absent}
	case hasResponse:
		in.parameter = ParameterResponse
		return response, nil
	}
	in.parameter = ParameterRequest
	return request, nil
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

// malformed and tooLarge make errors whose text the door or the check fills in.
func malformed(err error) *Error { return &Error{Reason: Malformed, Err: err} }

func tooLarge(err error) *Error { return &Error{Reason: TooLarge, Err: err} }

// deflaters keeps idle writers of DEFLATE, which are larger still than its readers. It is a cache.
var deflaters = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, flate.DefaultCompression)
	if err != nil {
		panic(err) // the level is a constant
	}
	return w
}}

// RedirectURL packs a message for the HTTP-Redirect binding into a URL at the receiver's location, whose own query stays
// (saml-bindings §3.4.4). parameter is ParameterRequest or ParameterResponse. An empty relayState is left out. Unless k
// is nil, the URL carries k's detached signature over the exact octets (§3.4.4.1); the message itself must then, and
// should always, have none.
func RedirectURL(location, parameter string, xml []byte, relayState string, k *xmldsig.Signer) (string, error) {
	if err := CheckACS(location); err != nil {
		return "", fmt.Errorf("saml: redirect: location: %w", err)
	}
	if parameter != ParameterRequest && parameter != ParameterResponse {
		return "", fmt.Errorf("saml: redirect: %q is no parameter for messages", parameter)
	}
	switch {
	case len(xml) == 0 || len(xml) > maxMessage:
		return "", errors.New("saml: redirect: the message is empty or too large")
	case bytes.Contains(xml, []byte("Signature xmlns")) || bytes.Contains(xml, []byte("<Signature")):
		return "", errors.New("saml: redirect: the message carries a signature already")
	case len(relayState) > maxRelayState:
		return "", errors.New("saml: redirect: RelayState is too long")
	}
	base, own, hasQuery := strings.Cut(location, "?")
	if hasQuery {
		f, err := readForm(own)
		if err != nil {
			return "", fmt.Errorf("saml: redirect: the location's query: %w", err)
		}
		if len(f.values) > 0 {
			return "", errors.New("saml: redirect: the location's query has parameters of SAML already")
		}
	}
	var deflated bytes.Buffer
	w := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(w)
	w.Reset(&deflated)
	if _, err := w.Write(xml); err != nil {
		return "", fmt.Errorf("saml: redirect: %w", err)
	}
	if err := w.Close(); err != nil {
		return "", fmt.Errorf("saml: redirect: %w", err)
	}
	query := parameter + "=" + url.QueryEscape(base64.StdEncoding.EncodeToString(deflated.Bytes()))
	if relayState != "" {
		query += "&RelayState=" + url.QueryEscape(relayState)
	}
	if k != nil {
		query += "&SigAlg=" + url.QueryEscape(k.Algorithm())
		signature, err := k.SignDetached([]byte(query))
		if err != nil {
			return "", fmt.Errorf("saml: redirect: %w", err)
		}
		query += "&Signature=" + url.QueryEscape(base64.StdEncoding.EncodeToString(signature))
	}
	if own = strings.Trim(own, "&"); own != "" {
		query = own + "&" + query
	}
	return base + "?" + query, nil
}
