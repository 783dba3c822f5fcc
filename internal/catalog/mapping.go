package catalog

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/scim"
)

// Action is what a row answers for a person.
type Action uint8

// The actions.
const (
	// Leave: say nothing about the target.
	Leave Action = iota
	// Set: the target gets Outcome.Value.
	Set
	// Clear: the target must hold nothing.
	Clear
)

// String returns "leave", "set" or "clear".
func (a Action) String() string {
	switch a {
	case Set:
		return "set"
	case Clear:
		return "clear"
	default:
		return "leave"
	}
}

// MarshalText gives the action's name.
func (a Action) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// Outcome is one row's answer for one person.
type Outcome struct {
	Row    Row    `json:"row"`
	Action Action `json:"action"`
	// Value, with Set, is a string, bool, int64, float64, []string, or a list of objects
	// ([]map[string]any).
	Value any `json:"value,omitempty"`
	// Defaulted tells that the value is the row's default.
	Defaulted bool `json:"defaulted,omitempty"`
	// Problem says why the row blocks the person, or is empty.
	Problem string `json:"problem,omitempty"`

	missing *Missing
}

// Missing is one required value that a person does not have.
type Missing struct {
	// Target is the row that needs the value, Label its words.
	Target, Label string
	// Attributes are our attributes that could give it, e.g. "familyName".
	Attributes []string
	// Advice says what to do.
	Advice string
}

// RowError is a row that could not be computed for this person.
type RowError struct {
	Target, Label string
	Err           error
}

// Error names the row and the reason.
func (e *RowError) Error() string { return fmt.Sprintf("%s: %v", e.Label, e.Err) }

// Unwrap returns the reason.
func (e *RowError) Unwrap() error { return e.Err }

// BlockedError says that a mapping can't be carried out for one person. Everybody else goes
// on. Its chain holds a *problem.Error of kind Invalid with one field per target.
type BlockedError struct {
	Missing []Missing
	Faulty  []RowError
}

// Error lists everything that is wrong, with what to do.
func (e *BlockedError) Error() string {
	var parts []string
	for _, m := range e.Missing {
		parts = append(parts, m.Advice)
	}
	for i := range e.Faulty {
		parts = append(parts, e.Faulty[i].Error())
	}
	return strings.Join(parts, " ")
}

// Unwrap gives edges a kind, a public text and fields.
func (e *BlockedError) Unwrap() error {
	p := problem.New(problem.Invalid, "%s", e.Error())
	for _, m := range e.Missing {
		p.Fields = append(p.Fields, problem.Field{Name: m.Target, Detail: m.Advice})
	}
	for i := range e.Faulty {
		p.Fields = append(p.Fields, problem.Field{Name: e.Faulty[i].Target, Detail: e.Faulty[i].Err.Error()})
	}
	return p
}

// row is a compiled row.
type row struct {
	Row
	read  func(*Person) any
	prog  *program
	fixed any
	def   any
	reads []string
	// path, entry and primary are for SCIM: the canonical path, what to clear, and the path
	// of the entry's primary mark.
	path, entry, primary string
}

func (c *Compiler) row(r *Row, k kind) (row, error) {
	if err := checkRow(r, k); err != nil {
		return row{}, err
	}
	out := row{Row: *r}
	out.def, _ = plainValue(r.Default)
	switch {
	case r.Expression != "":
		if r.Disabled {
			break
		}
		p, err := c.compile(r.Expression)
		if err != nil {
			return row{}, err
		}
		out.prog, out.reads = p, depends(p.reads...)
	case r.Constant != nil:
		out.fixed, _ = plainValue(r.Constant)
	default:
		a, _ := FindAttribute(r.Attribute)
		out.read, out.reads = a.read, depends(a.Name)
	}
	return out, nil
}

// depends puts what a composed attribute is made of in its place.
func depends(names ...string) []string {
	out := make([]string, 0, len(names))
	for _, n := range names {
		switch n {
		case "fullName":
			out = append(out, "displayName", "givenName", "familyName")
		case "active":
			out = append(out, "state", "groups")
		default:
			out = append(out, n)
		}
	}
	return out
}

// answer computes the row for a person.
func (r *row) answer(p *Person) (v any, act Action, defaulted bool, err error) {
	if r.Disabled {
		return nil, Leave, false, nil
	}
	switch {
	case r.prog != nil:
		v, act, err = r.prog.eval(p)
		if err != nil || act != Set {
			return nil, act, false, err
		}
	case r.read != nil:
		v = r.read(p)
		switch list := v.(type) {
		case []Phone:
			v = nonEmpty(phoneMaps(list))
		case []Address:
			v = nonEmpty(addressMaps(list))
		}
	default:
		v = r.fixed
	}
	if v == nil && r.def != nil {
		return r.def, Set, true, nil
	}
	if v == nil {
		if r.Empty == EmptyLeave {
			return nil, Leave, false, nil
		}
		return nil, Clear, false, nil
	}
	return v, Set, false, nil
}

func nonEmpty(list []map[string]any) any {
	if len(list) == 0 {
		return nil
	}
	return list
}

func (r *row) missing() *Missing {
	m := &Missing{Target: r.Target, Label: r.label(), Attributes: r.reads}
	if len(m.Attributes) == 0 {
		m.Advice = fmt.Sprintf("%s is required and its source gives no value: change the mapping.", m.Label)
		return m
	}
	var words []string
	for _, n := range m.Attributes {
		if a, ok := FindAttribute(n); ok {
			n = a.Label
		}
		words = append(words, n)
	}
	m.Advice = fmt.Sprintf("%s is required and this person has no %s: enter it, or give the mapping another source or a default.", m.Label, strings.Join(words, " or "))
	return m
}

func (r *row) label() string {
	if r.Label != "" {
		return r.Label
	}
	return r.Target
}

// outcome is answer with required values checked.
func (r *row) outcome(p *Person) Outcome {
	o := Outcome{Row: r.Row}
	var err error
	o.Value, o.Action, o.Defaulted, err = r.answer(p)
	switch {
	case err != nil:
		o.Problem = sentence(err) + "."
	case r.Required && r.Enabled() && o.Action != Set:
		o.missing = r.missing()
		o.Problem = o.missing.Advice
	}
	return o
}

// findPaths fills path, entry and primary.
func (r *row) findPaths() error {
	path, err := parseTarget(r.Target)
	if err != nil {
		return err
	}
	r.path, r.entry = path.String(), entryOf(path)
	if r.Primary {
		path.Sub = "primary"
		r.primary = path.String()
	}
	if strings.EqualFold(r.path, ActiveTarget) {
		r.path = ActiveTarget
	}
	return nil
}

func compileRows(c *Compiler, rows []Row, k kind) ([]row, error) {
	var f problem.Fields
	var faults []error
	out := make([]row, 0, len(rows))
	seen := map[string]bool{}
	for i := range rows {
		r, err := c.row(&rows[i], k)
		if err == nil && k.isSCIM {
			err = r.findPaths()
		}
		key := r.Target
		if k.isSCIM {
			key = strings.ToLower(r.path)
		}
		if err == nil && seen[key] {
			err = fmt.Errorf("%s is the target of two rows; keep one", rows[i].Target)
		}
		seen[key] = true
		if err != nil {
			f.Add(fmt.Sprintf("rows[%d]", i), "%s: %s.", rows[i].Target, sentence(err))
			faults = append(faults, err)
			continue
		}
		out = append(out, r)
	}
	if err := f.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", err, errors.Join(faults...))
	}
	return out, nil
}

// SCIMMapping is a compiled mapping to SCIM. It is safe for concurrent use.
type SCIMMapping struct{ rows []row }

// CompileSCIM compiles merged rows. A faulty row gives an Invalid error with a field
// "rows[i]"; its chain holds the *ExpressionError, if there is one.
func (c *Compiler) CompileSCIM(rows []Row) (*SCIMMapping, error) {
	out, err := compileRows(c, rows, scimKind)
	if err != nil {
		return nil, err
	}
	return &SCIMMapping{out}, nil
}

// Apply computes what the person's account should look like, without "active" (see
// ActiveTarget). If a required value is missing or an expression fails it returns a
// *BlockedError together with what could be computed; Missing then names every row at fault,
// so that the planner writes nothing of it.
func (m *SCIMMapping) Apply(p *Person) (scim.Desired, error) {
	d := scim.Desired{Values: make(map[string]any, len(m.rows)+1)}
	var blocked *BlockedError
	for i := range m.rows {
		r := &m.rows[i]
		if r.path == ActiveTarget {
			continue
		}
		v, act, _, err := r.answer(p)
		switch {
		case err != nil:
			blocked = blocked.fault(r, err)
			d.Missing = append(d.Missing, r.label())
		case r.Required && r.Enabled() && act != Set:
			blocked = blocked.miss(r)
			d.Missing = append(d.Missing, r.label())
		case act == Set:
			d.Values[r.path] = v
			if r.Primary {
				d.Values[r.primary] = true
			}
		case act == Clear:
			d.Clear = append(d.Clear, r.entry)
		}
	}
	if blocked != nil {
		return d, blocked
	}
	return d, nil
}

func (e *BlockedError) fault(r *row, err error) *BlockedError {
	if e == nil {
		e = &BlockedError{}
	}
	e.Faulty = append(e.Faulty, RowError{Target: r.Target, Label: r.label(), Err: err})
	return e
}

func (e *BlockedError) miss(r *row) *BlockedError {
	if e == nil {
		e = &BlockedError{}
	}
	e.Missing = append(e.Missing, *r.missing())
	return e
}

// Preview answers every row for a person, in order, faults included.
func (m *SCIMMapping) Preview(p *Person) []Outcome { return preview(m.rows, p) }

// Reads returns the names of the attributes that the mapping looks at, in row order, each
// once. "custom" stands for any custom attribute of an expression.
func (m *SCIMMapping) Reads() []string { return reads(m.rows) }

func preview(rows []row, p *Person) []Outcome {
	out := make([]Outcome, len(rows))
	for i := range rows {
		out[i] = rows[i].outcome(p)
	}
	return out
}

func reads(rows []row) []string {
	var out []string
	seen := map[string]bool{}
	for i := range rows {
		if rows[i].Disabled {
			continue
		}
		for _, n := range rows[i].reads {
			if !seen[n] {
				seen[n] = true
				out = append(out, n)
			}
		}
	}
	return out
}

// SAMLMapping is a compiled mapping to a SAML subject and attributes. It is safe for
// concurrent use.
type SAMLMapping struct {
	nameID row
	format string
	rows   []row
}

// NameIDTarget is the Target by which a subject's row goes in outcomes and errors.
const NameIDTarget = "NameID"

// CompileSAML compiles a merged subject and merged attributes.
func (c *Compiler) CompileSAML(id NameIDFacts, rows []Row) (*SAMLMapping, error) {
	if id.Format == "" {
		return nil, problem.InvalidField("nameID.format", "Choose a NameID format.")
	}
	subject, err := c.row(&Row{Target: NameIDTarget, Label: "NameID", Source: id.Source, Required: true}, samlKind)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", problem.InvalidField("nameID.source", "%s.", sentence(err)), err)
	}
	out, err := compileRows(c, rows, samlKind)
	if err != nil {
		return nil, err
	}
	return &SAMLMapping{nameID: subject, format: id.Format, rows: out}, nil
}

// Claims is what an assertion says about a person.
type Claims struct {
	// NameID is the subject. For the transient format its value is only a seed, which the
	// identity provider replaces by a fresh one.
	NameID saml.NameID
	// Attributes are in row order; none is without values.
	Attributes []saml.Attribute
}

// Apply computes the claims. If a required value is missing or an expression fails it returns
// a *BlockedError and empty claims. An attribute without value is not sent.
func (m *SAMLMapping) Apply(p *Person) (Claims, error) {
	c := Claims{Attributes: make([]saml.Attribute, 0, len(m.rows))}
	var blocked *BlockedError
	v, act, _, err := m.nameID.answer(p)
	switch vs := texts(v); {
	case err != nil:
		blocked = blocked.fault(&m.nameID, err)
	case act != Set:
		blocked = blocked.miss(&m.nameID)
	case len(vs) != 1:
		blocked = blocked.fault(&m.nameID, errors.New("a NameID needs exactly one value"))
	default:
		c.NameID = saml.NameID{Value: vs[0], Format: m.format}
	}
	for i := range m.rows {
		r := &m.rows[i]
		v, act, _, err := r.answer(p)
		switch {
		case err != nil:
			blocked = blocked.fault(r, err)
		case r.Required && r.Enabled() && act != Set:
			blocked = blocked.miss(r)
		case act == Set:
			if vs := texts(v); len(vs) > 0 {
				c.Attributes = append(c.Attributes, saml.Attribute{Name: r.Target, NameFormat: r.NameFormat, Values: vs})
			}
		}
	}
	if blocked != nil {
		return Claims{}, blocked
	}
	return c, nil
}

// Preview answers the NameID, as row "NameID", and every attribute for a person, in order.
func (m *SAMLMapping) Preview(p *Person) []Outcome {
	return append([]Outcome{m.nameID.outcome(p)}, preview(m.rows, p)...)
}

// Reads is like SCIMMapping.Reads.
func (m *SAMLMapping) Reads() []string { return reads(append([]row{m.nameID}, m.rows...)) }

// texts gives a value as SAML attribute values.
func texts(v any) []string {
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		return []string{v}
	case []string:
		return v
	case bool:
		return []string{strconv.FormatBool(v)}
	case int64:
		return []string{strconv.FormatInt(v, 10)}
	case float64:
		return []string{strconv.FormatFloat(v, 'g', -1, 64)}
	case []map[string]any:
		var out []string
		for _, m := range v {
			if s, ok := m["value"].(string); ok {
				out = append(out, s)
			}
		}
		return out
	default:
		return nil
	}
}
