package scim

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"
	"unicode/utf8"
)

// Operator is a word of the filter language (RFC 7644 §3.4.2.2).
type Operator string

// Operators. Each is lower case, however it was written. Has is a value path
// used as a condition, such as emails[type eq "work"].
const (
	OpEqual          Operator = "eq"
	OpNotEqual       Operator = "ne"
	OpContains       Operator = "co"
	OpStartsWith     Operator = "sw"
	OpEndsWith       Operator = "ew"
	OpPresent        Operator = "pr"
	OpGreater        Operator = "gt"
	OpGreaterOrEqual Operator = "ge"
	OpLess           Operator = "lt"
	OpLessOrEqual    Operator = "le"
	OpAnd            Operator = "and"
	OpOr             Operator = "or"
	OpNot            Operator = "not"
	OpHas            Operator = "has"
)

// Filter is a condition on a resource, as a tree: OpAnd and OpOr have Left and
// Right, OpNot has Left, OpHas has a Path with a filter, all others a Path and
// (but for OpPresent) a Value, which is a string, bool, [json.Number] or nil.
type Filter struct {
	Op    Operator
	Path  Path
	Value any
	Left  *Filter
	Right *Filter
}

// ErrFilter is wrapped by every error about a filter's text.
var ErrFilter = errors.New("invalid filter")

// Eq is the filter that the attribute at path equals the value. It panics when
// the path cannot be read: paths of filters are constants.
func Eq(path string, value any) Filter {
	return Filter{Op: OpEqual, Path: MustPath(path), Value: normal(value)}
}

// ParseFilter reads a filter. Beyond the RFC it accepts a sub-attribute after a
// value path in a comparison, emails[type eq "work"].value eq "a@b.c", which
// widespread clients send.
func ParseFilter(text string) (Filter, error) {
	if len(text) > maxFilterLength {
		return Filter{}, fmt.Errorf("scim: %w: longer than %d bytes", ErrFilter, maxFilterLength)
	}
	s := scanner{text: text}
	s.space()
	f, err := s.or()
	s.space()
	if err == nil && s.pos < len(s.text) {
		err = s.errorf("unexpected %q", s.rest())
	}
	if err != nil {
		return Filter{}, fmt.Errorf("scim: %w %q: %w", ErrFilter, clip(text, 80), err)
	}
	return *f, nil
}

// String writes the filter so that [ParseFilter] reads it back.
func (f Filter) String() string {
	var b strings.Builder
	f.write(&b, precedenceOr)
	return b.String()
}

const (
	precedenceOr = iota
	precedenceAnd
	precedenceNot
)

func (f Filter) write(b *strings.Builder, outer int) {
	binary := func(own int, word string) {
		if own < outer {
			b.WriteByte('(')
			defer b.WriteByte(')')
		}
		f.Left.write(b, own)
		b.WriteString(word)
		// The parser groups to the left; a tree that leans to the right
		// needs brackets to come back the same.
		f.Right.write(b, own+1)
	}
	switch f.Op {
	case OpOr:
		binary(precedenceOr, " or ")
	case OpAnd:
		binary(precedenceAnd, " and ")
	case OpNot:
		b.WriteString("not (")
		f.Left.write(b, precedenceOr)
		b.WriteByte(')')
	case OpHas:
		f.Path.write(b)
	case OpPresent:
		f.Path.write(b)
		b.WriteString(" pr")
	default:
		f.Path.write(b)
		b.WriteByte(' ')
		b.WriteString(string(f.Op))
		b.WriteByte(' ')
		v, err := marshal(normal(f.Value))
		if err != nil {
			v = []byte("null")
		}
		b.Write(v)
	}
}

// seed is an element that fulfils a filter made only of "eq" and "and".
func (f *Filter) seed() (map[string]any, bool) {
	if f == nil {
		return map[string]any{}, true
	}
	switch f.Op {
	case OpEqual:
		if f.Path.Sub != "" || f.Path.Filter != nil || f.Path.Schema != "" || f.Value == nil {
			return nil, false
		}
		return map[string]any{f.Path.Attribute: f.Value}, true
	case OpAnd:
		left, okL := f.Left.seed()
		right, okR := f.Right.seed()
		if !okL || !okR {
			return nil, false
		}
		maps.Copy(left, right)
		return left, true
	default:
		return nil, false
	}
}

// Match tells whether the filter holds for the resource. A multi-valued
// attribute matches when one of its elements does; a complex element without a
// sub-attribute is compared by its "value". Strings are compared without case
// but for id, externalId, $ref and member ids (RFC 7643 §7 caseExact); two
// RFC 3339 times are compared as times by gt, ge, lt and le.
func (f Filter) Match(r Resource) bool {
	switch f.Op {
	case OpAnd:
		return f.Left.Match(r) && f.Right.Match(r)
	case OpOr:
		return f.Left.Match(r) || f.Right.Match(r)
	case OpNot:
		return !f.Left.Match(r)
	}
	values := f.Path.values(r)
	switch f.Op {
	case OpHas:
		return len(values) > 0
	case OpPresent:
		for _, v := range values {
			if !Empty(v) {
				return true
			}
		}
		return false
	case OpNotEqual:
		return !f.anyEqual(values)
	case OpEqual:
		return f.anyEqual(values)
	}
	for _, v := range values {
		if f.compare(comparable1(v)) {
			return true
		}
	}
	return false
}

func (f Filter) anyEqual(values []any) bool {
	if f.Value == nil { // eq null: unassigned
		for _, v := range values {
			if !Empty(v) {
				return false
			}
		}
		return true
	}
	for _, v := range values {
		v = comparable1(v)
		switch want := f.Value.(type) {
		case string:
			if got, ok := v.(string); ok && (got == want || !f.Path.caseExact() && strings.EqualFold(got, want)) {
				return true
			}
			// A target that keeps booleans as text, or the reverse.
			if got, ok := v.(bool); ok {
				if b, isBool := asBool(want); isBool && b == got {
					return true
				}
			}
		case bool:
			if got, ok := asBool(v); ok && got == want {
				return true
			}
		default:
			if Equal(v, want) {
				return true
			}
		}
	}
	return false
}

// comparable1 is the simple value of an element.
func comparable1(v any) any {
	if m, ok := normal(v).(map[string]any); ok {
		_, v, _ = lookup(m, "value")
	}
	return normal(v)
}

func (f Filter) compare(v any) bool {
	switch want := f.Value.(type) {
	case string:
		got, ok := v.(string)
		if !ok {
			return false
		}
		switch f.Op {
		case OpGreater, OpGreaterOrEqual, OpLess, OpLessOrEqual:
			x, errX := time.Parse(time.RFC3339Nano, got)
			y, errY := time.Parse(time.RFC3339Nano, want)
			if errX == nil && errY == nil {
				return ordered(f.Op, x.Compare(y))
			}
		}
		if !f.Path.caseExact() {
			got, want = strings.ToLower(got), strings.ToLower(want)
		}
		switch f.Op {
		case OpContains:
			return strings.Contains(got, want)
		case OpStartsWith:
			return strings.HasPrefix(got, want)
		case OpEndsWith:
			return strings.HasSuffix(got, want)
		default:
			return ordered(f.Op, strings.Compare(got, want))
		}
	case json.Number:
		got, ok := v.(json.Number)
		return ok && ordered(f.Op, compareNumbers(got, want))
	default:
		return false
	}
}

func ordered(op Operator, c int) bool {
	switch op {
	case OpGreater:
		return c > 0
	case OpGreaterOrEqual:
		return c >= 0
	case OpLess:
		return c < 0
	case OpLessOrEqual:
		return c <= 0
	default:
		return false
	}
}

func (p Path) caseExact() bool {
	if p.Schema != "" {
		return false
	}
	switch strings.ToLower(p.Attribute) {
	case "id", "externalid", "$ref":
		return true
	case "members", "groups":
		return p.Sub == "" || strings.EqualFold(p.Sub, "value") || strings.EqualFold(p.Sub, "$ref")
	}
	return strings.EqualFold(p.Sub, "$ref")
}

// values lists everything at the path, element by element.
func (p Path) values(r Resource) []any {
	c, ok := p.container(r, false)
	if !ok {
		return nil
	}
	if p.Attribute == "" {
		return []any{c}
	}
	_, v, _ := lookup(c, p.Attribute)
	list := elements(v)
	if p.Filter == nil && p.Sub == "" {
		return list
	}
	var out []any
	for _, e := range list {
		if p.Filter != nil && !p.Filter.matchElement(e) {
			continue
		}
		if p.Sub == "" {
			out = append(out, e)
			continue
		}
		if m, ok := normal(e).(map[string]any); ok {
			if _, sub, ok := lookup(m, p.Sub); ok {
				out = append(out, elements(sub)...)
			}
		}
	}
	return out
}

// matchElement tells whether the filter of a value path holds for one element.
// A simple element is its own "value".
func (f *Filter) matchElement(e any) bool {
	m, ok := normal(e).(map[string]any)
	if !ok {
		m = map[string]any{"value": e}
	}
	return f.Match(m)
}

// scanner reads the shared grammar of paths and filters.
type scanner struct {
	text  string
	pos   int
	depth int
}

func (s *scanner) errorf(format string, args ...any) error {
	return fmt.Errorf("at byte %d: %s", s.pos, fmt.Sprintf(format, args...))
}

func (s *scanner) rest() string { return clip(s.text[s.pos:], 20) }

func (s *scanner) peek() byte {
	if s.pos < len(s.text) {
		return s.text[s.pos]
	}
	return 0
}

func (s *scanner) space() bool {
	start := s.pos
	for s.pos < len(s.text) && s.text[s.pos] == ' ' {
		s.pos++
	}
	return s.pos > start
}

func (s *scanner) enter() error {
	if s.depth++; s.depth > maxFilterDepth {
		return s.errorf("nested deeper than %d", maxFilterDepth)
	}
	return nil
}

// word reads a keyword if it comes next as a whole word.
func (s *scanner) word(w string) bool {
	end := s.pos + len(w)
	if end > len(s.text) || !strings.EqualFold(s.text[s.pos:end], w) {
		return false
	}
	if end < len(s.text) && isNameByte(s.text[end]) {
		return false
	}
	s.pos = end
	return true
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

func (s *scanner) or() (*Filter, error) { return s.chain("or", OpOr, s.and) }

func (s *scanner) and() (*Filter, error) { return s.chain("and", OpAnd, s.term) }

func (s *scanner) chain(word string, op Operator, next func() (*Filter, error)) (*Filter, error) {
	left, err := next()
	if err != nil {
		return nil, err
	}
	for n := 1; ; n++ {
		mark := s.pos
		if !s.space() || !s.word(word) || !s.space() && s.peek() != '(' {
			s.pos = mark
			return left, nil
		}
		if n > maxFilterDepth*4 {
			return nil, s.errorf("more than %d conditions", maxFilterDepth*4)
		}
		right, err := next()
		if err != nil {
			return nil, err
		}
		left = &Filter{Op: op, Left: left, Right: right}
	}
}

func (s *scanner) term() (*Filter, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer func() { s.depth-- }()
	mark := s.pos
	if s.word("not") {
		s.space()
		if s.peek() == '(' {
			inner, err := s.brackets()
			if err != nil {
				return nil, err
			}
			return &Filter{Op: OpNot, Left: inner}, nil
		}
		s.pos = mark // an attribute called "not"
	}
	if s.peek() == '(' {
		return s.brackets()
	}
	p, err := s.path()
	if err != nil {
		return nil, err
	}
	mark = s.pos
	if !s.space() {
		if p.Filter != nil && p.Sub == "" {
			return &Filter{Op: OpHas, Path: p}, nil
		}
		return nil, s.errorf("an operator is missing")
	}
	for _, op := range []Operator{
		OpEqual, OpNotEqual, OpContains, OpStartsWith, OpEndsWith, OpPresent,
		OpGreater, OpGreaterOrEqual, OpLess, OpLessOrEqual,
	} {
		if !s.word(string(op)) {
			continue
		}
		if op == OpPresent {
			return &Filter{Op: op, Path: p}, nil
		}
		if !s.space() {
			return nil, s.errorf("a value is missing")
		}
		v, err := s.value()
		if err != nil {
			return nil, err
		}
		if _, isText := v.(string); !isText && (op == OpContains || op == OpStartsWith || op == OpEndsWith) {
			return nil, s.errorf("%s needs a string", op)
		}
		return &Filter{Op: op, Path: p, Value: v}, nil
	}
	if p.Filter != nil && p.Sub == "" {
		s.pos = mark
		return &Filter{Op: OpHas, Path: p}, nil
	}
	return nil, s.errorf("unknown operator %q", s.rest())
}

func (s *scanner) brackets() (*Filter, error) {
	s.pos++ // (
	s.space()
	f, err := s.or()
	if err != nil {
		return nil, err
	}
	s.space()
	if s.peek() != ')' {
		return nil, s.errorf("a closing bracket is missing")
	}
	s.pos++
	return f, nil
}

// value reads a JSON string, number, true, false or null.
func (s *scanner) value() (any, error) {
	start := s.pos
	if s.peek() == '"' {
		for s.pos++; s.pos < len(s.text); s.pos++ {
			switch s.text[s.pos] {
			case '\\':
				s.pos++
			case '"':
				s.pos++
				raw := s.text[start:s.pos]
				if !utf8.ValidString(raw) {
					return nil, s.errorf("not UTF-8")
				}
				var v string
				if err := json.Unmarshal([]byte(raw), &v); err != nil {
					return nil, s.errorf("bad string: %v", err)
				}
				return v, nil
			}
		}
		s.pos = start
		return nil, s.errorf("a closing quote is missing")
	}
	for s.pos < len(s.text) && strings.IndexByte(" )]", s.text[s.pos]) < 0 {
		s.pos++
	}
	raw := s.text[start:s.pos]
	switch strings.ToLower(raw) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	case "null":
		return nil, nil
	}
	var n json.Number
	if raw == "" || raw[0] == '"' || json.Unmarshal([]byte(raw), &n) != nil {
		s.pos = start
		return nil, s.errorf("bad value %q", clip(raw, 20))
	}
	return n, nil
}

// path reads [URI ":"] attribute ["[" filter "]"] ["." sub].
func (s *scanner) path() (Path, error) {
	if err := s.enter(); err != nil {
		return Path{}, err
	}
	defer func() { s.depth-- }()
	var p Path
	if len(s.text)-s.pos > 4 && strings.EqualFold(s.text[s.pos:s.pos+4], "urn:") {
		start := s.pos
		end := start
		for end < len(s.text) && (isNameByte(s.text[end]) || strings.IndexByte(":.$%+!*'", s.text[end]) >= 0) {
			end++
		}
		word := s.text[start:end]
		if schema, ok := knownSchema(word); ok {
			s.pos = end
			return Path{Schema: schema}, nil
		}
		colon := strings.LastIndexByte(word, ':')
		if colon <= len("urn:")-1 {
			return Path{}, s.errorf("a URN without an attribute")
		}
		p.Schema = word[:colon]
		if p.Schema[len(p.Schema)-1] == ':' {
			return Path{}, s.errorf("an empty part in the URN")
		}
		if schema, ok := knownSchema(p.Schema); ok {
			p.Schema = schema
		}
		if p.Schema == SchemaUser || p.Schema == SchemaGroup {
			p.Schema = ""
		}
		s.pos = start + colon + 1
	}
	var err error
	if p.Attribute, err = s.name(); err != nil {
		return Path{}, err
	}
	if s.peek() == '[' {
		s.pos++
		s.space()
		if p.Filter, err = s.or(); err != nil {
			return Path{}, err
		}
		s.space()
		if s.peek() != ']' {
			return Path{}, s.errorf("a closing square bracket is missing")
		}
		s.pos++
	}
	if s.peek() == '.' {
		s.pos++
		if p.Sub, err = s.name(); err != nil {
			return Path{}, err
		}
	}
	return p, nil
}

func knownSchema(urn string) (string, bool) {
	for _, k := range []string{SchemaUser, SchemaGroup, SchemaEnterpriseUser} {
		if strings.EqualFold(urn, k) {
			return k, true
		}
	}
	return "", false
}

func (s *scanner) name() (string, error) {
	start := s.pos
	if s.peek() == '$' { // $ref
		s.pos++
	}
	if c := s.peek(); !isNameByte(c) || c >= '0' && c <= '9' || c == '-' {
		s.pos = start
		return "", s.errorf("an attribute name is missing")
	}
	for s.pos < len(s.text) && isNameByte(s.text[s.pos]) {
		s.pos++
	}
	return s.text[start:s.pos], nil
}
