package xmldsig

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Namespaces that every document has.
const (
	nsXML   = "http://www.w3.org/XML/1998/namespace"
	nsXMLNS = "http://www.w3.org/2000/xmlns/"
)

// ErrLimit is wrapped by the errors of Read that say a document is too large in some dimension.
var ErrLimit = errors.New("over the limit")

// Limits bound a document; they are checked while reading, before anything is built for the part that is over.
type Limits struct {
	Bytes      int // length of the document
	Depth      int // nesting of elements
	Attributes int // attributes and namespace declarations of one element
	Nodes      int // elements, attributes, texts and comments together
}

// Attr is an attribute that is no namespace declaration.
type Attr struct {
	Space, Local string // namespace ("" if it has no prefix) and local name
	Value        string
	prefix       string
}

// Element is one element of a document that Read accepted. The zero value is an element that has nothing.
type Element struct {
	Space, Local string // namespace and local name

	prefix   string
	attrs    []Attr
	declares []declaration
	content  []node
	comment  bool // a comment stood among the content
	text     bool // text other than white space stands among the content
}

// node is a child element or, if that is nil, a piece of text; between two texts stood a comment.
type node struct {
	element *Element
	text    string
}

// declaration is one xmlns attribute; an empty prefix is the default namespace.
type declaration struct{ prefix, uri string }

// Is reports whether the element has this namespace and local name.
func (e *Element) Is(space, local string) bool { return e.Local == local && e.Space == space }

// Attr returns the value of the attribute without a namespace that has this name; false if there is none.
func (e *Element) Attr(local string) (string, bool) { return e.AttrNS("", local) }

// AttrNS is Attr for an attribute of a namespace.
func (e *Element) AttrNS(space, local string) (string, bool) {
	for i := range e.attrs {
		if e.attrs[i].Local == local && e.attrs[i].Space == space {
			return e.attrs[i].Value, true
		}
	}
	return "", false
}

// Elements returns the child elements in document order.
func (e *Element) Elements() []*Element {
	var out []*Element
	for _, n := range e.content {
		if n.element != nil {
			out = append(out, n.element)
		}
	}
	return out
}

// Children returns the child elements of this namespace and local name.
func (e *Element) Children(space, local string) []*Element {
	var out []*Element
	for _, n := range e.content {
		if n.element != nil && n.element.Is(space, local) {
			out = append(out, n.element)
		}
	}
	return out
}

// Child returns the only child element of this name. found is false if there is none; several are an error.
func (e *Element) Child(space, local string) (child *Element, found bool, err error) {
	for _, n := range e.content {
		if n.element == nil || !n.element.Is(space, local) {
			continue
		}
		if found {
			return nil, false, fmt.Errorf("more than one %s in %s", local, e.Local)
		}
		child, found = n.element, true
	}
	return child, found, nil
}

// Text returns the text of an element that has nothing but text. A comment, even one that splits the text, or a child
// element is an error: two readers might disagree about the value.
func (e *Element) Text() (string, error) {
	if e.comment {
		return "", fmt.Errorf("comment within %s", e.Local)
	}
	switch len(e.content) {
	case 0:
		return "", nil
	case 1:
		if e.content[0].element == nil {
			return e.content[0].text, nil
		}
	}
	return "", fmt.Errorf("%s holds more than text", e.Local)
}

// All calls visit for the element and all below it, in document order, until visit returns false.
func (e *Element) All(visit func(*Element) bool) bool {
	if !visit(e) {
		return false
	}
	for _, n := range e.content {
		if n.element != nil && !n.element.All(visit) {
			return false
		}
	}
	return true
}

// Read reads a document of a strict subset of XML 1.0 with namespaces, in UTF-8. It refuses DOCTYPE, processing
// instructions, entities but the five built-in ones, comments within text, undeclared or undeclared-again prefixes,
// namespace names that are relative or have odd characters, names beyond ASCII, duplicate attributes, and whatever is
// not well-formed. Nothing is loaded from elsewhere.
func Read(data []byte, lim Limits) (*Element, error) {
	s, err := prepare(data, lim)
	if err != nil {
		return nil, err
	}
	p := reader{s: s, lim: lim, eof: true}
	root, err := p.tree()
	if err != nil {
		return nil, p.at(err)
	}
	return root, nil
}

// prepare checks length and encoding, and turns the ends of lines into line feeds.
func prepare(data []byte, lim Limits) (string, error) {
	if len(data) > lim.Bytes {
		return "", fmt.Errorf("document of %d bytes (at most %d): %w", len(data), lim.Bytes, ErrLimit)
	}
	if !utf8.Valid(data) {
		return "", errors.New("not UTF-8")
	}
	s := strings.TrimPrefix(string(data), "\ufeff")
	if strings.Contains(s, "\r") { // XML 1.0 §2.11
		s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
	}
	return s, nil
}

// maxScope bounds the namespace declarations that are in force at one place, so that looking one up costs little. Real
// documents have some ten.
const maxScope = 128

// reader walks over the document once, construct by construct. It is given the document as a whole, or (Scanner) a
// window of it that moves.
type reader struct {
	s     string
	i     int
	mark  int  // where the present construct begins
	eof   bool // nothing comes behind s
	base  int  // bytes before s
	lim   Limits
	nodes int
	open  []frame       // elements that are not yet closed
	scope []declaration // innermost last
	buf   strings.Builder

	begun, ended bool // the root element has been opened, closed

	// recycle lets elements be used again once they are closed: for callers that keep none.
	recycle bool
	idle    []*Element
}

// frame is an element that is not yet closed, and what is known of its content.
type frame struct {
	element       *Element
	name          string // as written
	scope         int    // length of reader.scope outside of the element
	at            int    // where its start tag begins, in reader.s
	text, comment bool   // text other than white space, a comment stood in it
}

// kind is what the reader met.
type kind int

const (
	startTag kind = iota // the element has its name and attributes
	endTag
	charData
	remark // a comment
	endOfDocument
)

// next reads the next construct of the document; an empty-element tag gives startTag, then endTag. e is the element that
// begins or ends.
func (p *reader) next() (k kind, e *Element, text string, err error) {
	if n := len(p.open); n > 0 && p.open[n-1].name == "" { // an empty-element tag was opened
		return endTag, p.close(), "", nil
	}
	if !p.begun && p.i == 0 && p.base == 0 {
		if err := p.xmlDeclaration(); err != nil {
			return 0, nil, "", err
		}
	}
	p.mark = p.i
	if len(p.open) == 0 {
		p.space()
		if p.i == len(p.s) && p.eof {
			if !p.ended {
				return 0, nil, "", errors.New("no element")
			}
			return endOfDocument, nil, "", nil
		}
	} else if text, found, err := p.characters(); err != nil || found {
		return charData, nil, text, err
	}
	rest := p.s[p.i:]
	p.mark = p.i
	switch {
	case rest == "":
		return 0, nil, "", errors.New("unexpected end")
	case rest[0] != '<':
		return 0, nil, "", errors.New("text outside of the root element")
	case strings.HasPrefix(rest, "</"):
		e, err := p.end()
		return endTag, e, "", err
	case strings.HasPrefix(rest, "<!--"):
		return remark, nil, "", p.commentary()
	case strings.HasPrefix(rest, "<!"):
		return 0, nil, "", errors.New("DOCTYPE and other declarations are refused")
	case strings.HasPrefix(rest, "<?"):
		return 0, nil, "", errors.New("processing instructions are refused")
	case p.ended:
		return 0, nil, "", errors.New("more than one root element")
	}
	e, err = p.start()
	return startTag, e, "", err
}

// at adds the place to an error.
func (p *reader) at(err error) error { return fmt.Errorf("byte %d: %w", p.base+p.i, err) }

// tree reads the whole document.
func (p *reader) tree() (*Element, error) {
	var root, open *Element
	var path []*Element
	for {
		k, e, text, err := p.next()
		if err != nil {
			return nil, err
		}
		switch k {
		case startTag:
			if open == nil {
				root = e
			} else {
				open.content = append(open.content, node{element: e})
			}
			path = append(path, open)
			open = e
		case endTag:
			open, path = path[len(path)-1], path[:len(path)-1]
		case charData:
			open.content = append(open.content, node{text: text})
			open.text = open.text || !blank(text)
		case remark:
			if open != nil {
				open.comment = true
			}
		case endOfDocument:
			return root, nil
		}
	}
}

// blank reports whether s is white space.
func blank(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			return false
		}
	}
	return true
}

// xmlDeclaration passes over <?xml version="1.0" encoding="UTF-8" standalone="yes"?>, if it is there.
func (p *reader) xmlDeclaration() error {
	if !strings.HasPrefix(p.s, "<?xml") {
		return nil
	}
	head, _, ok := strings.Cut(p.s, "?>")
	if !ok {
		return errors.New("unfinished XML declaration")
	}
	end := len(head) + 2
	p.i = len("<?xml")
	for step := 0; ; {
		spaced := p.space()
		if p.i == len(head) {
			p.i = end
			if step == 0 {
				return errors.New("XML declaration without version")
			}
			return nil
		}
		name := p.name()
		if !spaced || name == "" || p.i >= len(head) || !p.take("=") {
			return errors.New("malformed XML declaration")
		}
		if p.i >= len(head) || (p.s[p.i] != '"' && p.s[p.i] != '\'') {
			return errors.New("malformed XML declaration")
		}
		value, _, ok := strings.Cut(head[p.i+1:], p.s[p.i:p.i+1])
		if !ok {
			return errors.New("malformed XML declaration")
		}
		p.i += len(value) + 2
		switch {
		case name == "version" && step == 0 && value == "1.0":
			step = 1
		case name == "encoding" && step == 1 && (strings.EqualFold(value, "utf-8") || strings.EqualFold(value, "us-ascii")):
			step = 2
		case name == "standalone" && (step == 1 || step == 2) && (value == "yes" || value == "no"):
			step = 3
		case name == "encoding" && step == 1:
			return fmt.Errorf("encoding %q; only UTF-8 is read", value)
		default:
			return errors.New("malformed XML declaration")
		}
	}
}

// count notes one more node.
func (p *reader) count() error {
	p.nodes++
	if p.nodes > p.lim.Nodes {
		return fmt.Errorf("more than %d nodes: %w", p.lim.Nodes, ErrLimit)
	}
	return nil
}

// start reads a start or empty-element tag and opens the element.
func (p *reader) start() (*Element, error) {
	if len(p.open) >= p.lim.Depth {
		return nil, fmt.Errorf("more than %d levels: %w", p.lim.Depth, ErrLimit)
	}
	if err := p.count(); err != nil {
		return nil, err
	}
	p.i++ // <
	from := p.i
	prefix, local, err := p.qname()
	if err != nil {
		return nil, err
	}
	e := p.newElement()
	e.prefix, e.Local = prefix, local
	f := frame{element: e, name: p.s[from:p.i], scope: len(p.scope), at: from - 1}
	for {
		spaced := p.space()
		if p.take("/>") {
			f.name = ""
			break
		}
		if p.take(">") {
			break
		}
		if !spaced {
			return nil, errors.New("malformed tag")
		}
		if len(e.attrs)+len(e.declares) >= p.lim.Attributes {
			return nil, fmt.Errorf("more than %d attributes: %w", p.lim.Attributes, ErrLimit)
		}
		if err := p.attribute(e); err != nil {
			return nil, err
		}
	}
	if p.scope = append(p.scope, e.declares...); len(p.scope) > maxScope {
		return nil, fmt.Errorf("more than %d namespaces in force: %w", maxScope, ErrLimit)
	}
	if e.Space, err = p.lookup(prefix); err != nil {
		return nil, err
	}
	for i := range e.attrs {
		a := &e.attrs[i]
		if a.prefix != "" {
			if a.Space, err = p.lookup(a.prefix); err != nil {
				return nil, err
			}
		}
		for _, b := range e.attrs[:i] {
			if b.Local == a.Local && b.Space == a.Space {
				return nil, fmt.Errorf("attribute %s twice", a.Local)
			}
		}
	}
	p.open = append(p.open, f)
	p.begun = true
	return e, nil
}

func (p *reader) newElement() *Element {
	if n := len(p.idle); n > 0 {
		e := p.idle[n-1]
		p.idle = p.idle[:n-1]
		*e = Element{attrs: e.attrs[:0], declares: e.declares[:0]}
		return e
	}
	return &Element{}
}

// close closes the innermost element.
func (p *reader) close() *Element {
	f := p.open[len(p.open)-1]
	p.open = p.open[:len(p.open)-1]
	p.scope = p.scope[:f.scope]
	p.ended = len(p.open) == 0
	if p.recycle {
		p.idle = append(p.idle, f.element)
	}
	return f.element
}

// attribute reads one attribute or namespace declaration.
func (p *reader) attribute(e *Element) error {
	if err := p.count(); err != nil {
		return err
	}
	prefix, local, err := p.qname()
	if err != nil {
		return err
	}
	p.space()
	if !p.take("=") {
		return fmt.Errorf("attribute %s without value", local)
	}
	p.space()
	value, err := p.attributeValue()
	if err != nil {
		return err
	}
	if prefix == "xmlns" || (prefix == "" && local == "xmlns") {
		d := declaration{uri: value}
		if prefix != "" {
			d.prefix = local
		}
		return p.declare(e, d)
	}
	e.attrs = append(e.attrs, Attr{Local: local, prefix: prefix, Value: value})
	return nil
}

// declare notes a namespace declaration if it is one that all readers understand alike.
func (p *reader) declare(e *Element, d declaration) error {
	switch {
	case d.prefix == "xmlns" || d.uri == nsXMLNS:
		return errors.New("the prefix xmlns can't be declared")
	case (d.prefix == "xml") != (d.uri == nsXML):
		return errors.New("the prefix xml can't be declared otherwise")
	case d.uri == "" && d.prefix != "":
		return fmt.Errorf("the prefix %s can't be undeclared", d.prefix)
	case d.uri != "" && !absolute(d.uri):
		return fmt.Errorf("relative namespace name %q", d.uri)
	case strings.ContainsFunc(d.uri, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"&'<>\\^`{|}", r) }):
		return fmt.Errorf("namespace name %q", d.uri) // that libxml2 writes without escaping, or refuses
	}
	for _, other := range e.declares {
		if other.prefix == d.prefix {
			return fmt.Errorf("prefix %q declared twice", d.prefix)
		}
	}
	e.declares = append(e.declares, d)
	return nil
}

// absolute reports whether a namespace name begins with a scheme (RFC 3986 §3.1). Canonical XML
// makes implementations fail on relative names, or worse, give nothing (CVE-2025-66475).
func absolute(uri string) bool {
	scheme, rest, ok := strings.Cut(uri, ":")
	if !ok || scheme == "" || rest == "" {
		return false
	}
	for i := range len(scheme) {
		c := scheme[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (i == 0 || (c < '0' || c > '9') && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	return true
}

// lookup resolves a prefix in the present scope.
func (p *reader) lookup(prefix string) (string, error) {
	for _, d := range slices.Backward(p.scope) {
		if d.prefix == prefix {
			return d.uri, nil
		}
	}
	switch prefix {
	case "":
		return "", nil
	case "xml":
		return nsXML, nil
	}
	return "", fmt.Errorf("prefix %q is not declared", prefix)
}

// end reads an end tag and closes the innermost element.
func (p *reader) end() (*Element, error) {
	p.i += len("</")
	if len(p.open) == 0 {
		return nil, errors.New("end tag without start")
	}
	name := p.open[len(p.open)-1].name
	if !p.take(name) {
		return nil, fmt.Errorf("end tag does not match <%s>", name)
	}
	p.space()
	if !p.take(">") {
		return nil, fmt.Errorf("end tag does not match <%s>", name)
	}
	return p.close(), nil
}

// commentary passes over a comment; beside text it is refused.
func (p *reader) commentary() error {
	if err := p.count(); err != nil {
		return err
	}
	body, _, ok := strings.Cut(p.s[p.i+len("<!--"):], "--")
	if !ok {
		return errors.New("unfinished comment")
	}
	if err := checkChars(body); err != nil {
		return err
	}
	p.i += len("<!--") + len(body) + len("--")
	if !p.take(">") {
		return errors.New("-- within a comment")
	}
	if len(p.open) > 0 {
		f := &p.open[len(p.open)-1]
		f.comment = true
		return f.checkComment()
	}
	return nil
}

// checkComment refuses a comment beside text (CVE-2017-11428 and its family).
func (f *frame) checkComment() error {
	if f.comment && f.text {
		return fmt.Errorf("comment within the text of %s", f.element.Local)
	}
	return nil
}

// characters reads text, references and CDATA sections up to the next tag or comment.
func (p *reader) characters() (text string, found bool, err error) {
	const open, shut = "<![CDATA[", "]]>"
	pieces := 0
	add := func(s string) {
		if pieces == 0 {
			text = s
		} else {
			if pieces == 1 {
				p.buf.Reset()
				p.buf.WriteString(text)
			}
			p.buf.WriteString(s)
		}
		pieces++
	}
	for p.i < len(p.s) {
		rest := p.s[p.i:]
		switch {
		case rest[0] == '&':
			s, err := p.reference()
			if err != nil {
				return "", false, err
			}
			add(s)
			continue
		case strings.HasPrefix(rest, open):
			body, _, ok := strings.Cut(rest[len(open):], shut)
			if !ok {
				return "", false, errors.New("unfinished CDATA section")
			}
			if err := checkChars(body); err != nil {
				return "", false, err
			}
			p.i += len(open) + len(body) + len(shut)
			if body != "" {
				add(body)
			}
			continue
		case rest[0] != '<':
			n, err := textLen(rest)
			if err != nil {
				return "", false, err
			}
			p.i += n
			add(rest[:n])
			continue
		}
		break
	}
	if pieces == 0 {
		return "", false, nil
	}
	if pieces > 1 {
		text = p.buf.String()
	}
	if p.i == len(p.s) && !p.eof {
		return "", false, fmt.Errorf("text too long: %w", ErrLimit) // and cut off by the window
	}
	if err := p.count(); err != nil {
		return "", false, err
	}
	f := &p.open[len(p.open)-1]
	f.text = f.text || !blank(text)
	return text, true, f.checkComment()
}

// attributeValue reads a quoted value and normalizes its white space (XML 1.0 §3.3.3).
func (p *reader) attributeValue() (string, error) {
	if p.i >= len(p.s) || (p.s[p.i] != '"' && p.s[p.i] != '\'') {
		return "", errors.New("attribute value without quotes")
	}
	raw, _, ok := strings.Cut(p.s[p.i+1:], p.s[p.i:p.i+1])
	if !ok {
		return "", errors.New("unfinished attribute value")
	}
	p.i++
	asIs := true
	for i := range len(raw) {
		switch bytesOf[raw[i]] {
		case plain, bracket:
		case tabbed:
			asIs = false
		case markup:
			if raw[i] == '<' {
				return "", errors.New("< within an attribute value")
			}
			asIs = false
		default:
			if err := checkByte(raw, i); err != nil {
				return "", err
			}
		}
	}
	if asIs {
		p.i += len(raw) + 1
		return raw, nil
	}
	end := p.i + len(raw)
	p.buf.Reset()
	for p.i < end {
		switch c := p.s[p.i]; c {
		case '&':
			s, err := p.reference()
			if err != nil {
				return "", err
			}
			p.buf.WriteString(s)
		case '\t', '\n':
			p.buf.WriteByte(' ')
			p.i++
		default:
			p.buf.WriteByte(c)
			p.i++
		}
	}
	p.i = end + 1
	return p.buf.String(), nil
}

// reference reads one of the five built-in entities or a character reference.
func (p *reader) reference() (string, error) {
	const longest = len("#x10FFFF")
	rest := p.s[p.i+1:]
	if len(rest) > longest+1 {
		rest = rest[:longest+1]
	}
	name, _, ok := strings.Cut(rest, ";")
	if !ok {
		return "", errors.New("unfinished reference")
	}
	p.i += len(name) + 2
	switch name {
	case "lt":
		return "<", nil
	case "gt":
		return ">", nil
	case "amp":
		return "&", nil
	case "quot":
		return `"`, nil
	case "apos":
		return "'", nil
	}
	digits, ok := strings.CutPrefix(name, "#")
	if !ok {
		return "", fmt.Errorf("unknown entity %q", name)
	}
	base := 10
	if hex, ok := strings.CutPrefix(digits, "x"); ok {
		digits, base = hex, 16
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil || !validChar(rune(n)) {
		return "", fmt.Errorf("reference to no character: %q", name)
	}
	return string(rune(n)), nil
}

// validChar is the production Char of XML 1.0.
func validChar(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || r >= 0x20 && r <= 0xd7ff || r >= 0xe000 && r <= 0xfffd || r >= 0x10000 && r <= 0x10ffff
}

// What stands out among the bytes of text and of attribute values; all others are taken as they are.
const (
	plain   byte = iota
	control      // what XML 1.0 can't hold
	higher       // the first byte of U+FFFE and U+FFFF, among others
	markup       // < and &
	bracket      // >, which may not follow ]]
	tabbed       // tab and line feed
)

var bytesOf = [256]byte{
	0: control, 1: control, 2: control, 3: control, 4: control, 5: control, 6: control, 7: control, 8: control,
	'\t': tabbed, '\n': tabbed, 11: control, 12: control, 13: control, 14: control, 15: control,
	16: control, 17: control, 18: control, 19: control, 20: control, 21: control, 22: control, 23: control,
	24: control, 25: control, 26: control, 27: control, 28: control, 29: control, 30: control, 31: control,
	'<': markup, '&': markup, '>': bracket, 0xef: higher,
}

// checkByte refuses a character that XML 1.0 can't hold. s is valid UTF-8.
func checkByte(s string, i int) error {
	switch {
	case bytesOf[s[i]] == control:
		return errors.New("control character")
	case bytesOf[s[i]] == higher && (strings.HasPrefix(s[i:], "\uffff") || strings.HasPrefix(s[i:], "\ufffe")):
		return errors.New("not an XML character")
	}
	return nil
}

func checkChars(s string) error {
	for i := range len(s) {
		if bytesOf[s[i]] != plain {
			if err := checkByte(s, i); err != nil {
				return err
			}
		}
	}
	return nil
}

// textLen returns the length of the text up to the next markup.
func textLen(s string) (int, error) {
	for i := range len(s) {
		switch bytesOf[s[i]] {
		case plain, tabbed:
		case markup:
			return i, nil
		case bracket:
			if strings.HasSuffix(s[:i], "]]") {
				return 0, errors.New("]]> within text")
			}
		default:
			if err := checkByte(s, i); err != nil {
				return 0, err
			}
		}
	}
	return len(s), nil
}

// space passes over white space and reports whether there was any.
func (p *reader) space() bool {
	from := p.i
	for p.i < len(p.s) && (p.s[p.i] == ' ' || p.s[p.i] == '\n' || p.s[p.i] == '\t') {
		p.i++
	}
	return p.i > from
}

// take passes over t if it comes next.
func (p *reader) take(t string) bool {
	if strings.HasPrefix(p.s[p.i:], t) {
		p.i += len(t)
		return true
	}
	return false
}

// name reads an NCName of ASCII characters; "" if there is none.
func (p *reader) name() string {
	from := p.i
	for p.i < len(p.s) && nameByte(p.s[p.i], p.i == from) {
		p.i++
	}
	return p.s[from:p.i]
}

func nameByte(c byte, first bool) bool {
	if c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' {
		return true
	}
	return !first && (c >= '0' && c <= '9' || c == '-' || c == '.')
}

// IsNCName reports whether s can be an ID: an ASCII letter or underscore, then letters, digits, "_", "-" and ".".
func IsNCName(s string) bool {
	for i := range len(s) {
		if !nameByte(s[i], i == 0) {
			return false
		}
	}
	return s != ""
}

// qname reads prefix:local or local.
func (p *reader) qname() (prefix, local string, err error) {
	local = p.name()
	if p.take(":") {
		prefix, local = local, p.name()
		if prefix == "" {
			return "", "", errors.New("malformed name")
		}
	}
	if local == "" || p.i < len(p.s) && p.s[p.i] == ':' {
		return "", "", errors.New("malformed name")
	}
	return prefix, local, nil
}
