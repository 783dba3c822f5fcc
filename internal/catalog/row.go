package catalog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/problem"
)

// Source is where a row's value comes from. Exactly one of the three is set.
type Source struct {
	// Attribute is the name of an attribute (see Attributes), or "custom.<key>".
	Attribute string `yaml:"attribute" json:"attribute,omitempty"`
	// Constant is a fixed string, bool, number, or list of strings.
	Constant any `yaml:"constant" json:"constant,omitempty"`
	// Expression is a CEL expression over `user`, e.g. `user.givenName.lowerAscii()`.
	Expression string `yaml:"expression" json:"expression,omitempty"`
}

// String names the source in words for a person.
func (s Source) String() string {
	switch {
	case s.Expression != "":
		return s.Expression
	case s.Constant != nil:
		return fmt.Sprintf("always %q", fmt.Sprint(s.Constant))
	default:
		if a, ok := FindAttribute(s.Attribute); ok {
			return a.Label
		}
		return s.Attribute
	}
}

// IsZero reports whether no source is set.
func (s Source) IsZero() bool {
	return s.Attribute == "" && s.Constant == nil && s.Expression == ""
}

// check returns what is wrong with the source itself, not compiling its expression.
func (s Source) check() error {
	n := 0
	for _, set := range []bool{s.Attribute != "", s.Constant != nil, s.Expression != ""} {
		if set {
			n++
		}
	}
	if n != 1 {
		return fmt.Errorf("give exactly one of attribute, constant and expression")
	}
	if s.Attribute != "" {
		if _, ok := FindAttribute(s.Attribute); !ok {
			return fmt.Errorf("there is no attribute %q", s.Attribute)
		}
	}
	if s.Constant != nil {
		if _, err := plainValue(s.Constant); err != nil {
			return fmt.Errorf("constant: %w", err)
		}
	}
	if len(s.Expression) > MaxExpression {
		return fmt.Errorf("expression is longer than %d characters", MaxExpression)
	}
	return nil
}

// Empty says what a row answers when its source and its default give no value.
type Empty string

// The answers.
const (
	// EmptyClear removes the value at the target; it is the default.
	EmptyClear Empty = "clear"
	// EmptyLeave leaves the target as it is.
	EmptyLeave Empty = "leave"
)

// Row maps one source to one target. Target is a SCIM path (RFC 7644 §3.10), e.g.
// `emails[type eq "work"].value`, or the Name of a SAML attribute.
type Row struct {
	Target string `yaml:"target" json:"target"`
	// Label is the administrator's word for the target, e.g. "Job title".
	Label  string `yaml:"label" json:"label,omitempty"`
	Source `yaml:",inline"`
	// Default is the value when the source gives none: string, bool, number or strings.
	Default any `yaml:"default" json:"default,omitempty"`
	// Empty says what no value at all means; "" is EmptyClear.
	Empty Empty `yaml:"empty" json:"empty,omitempty"`
	// Required blocks a person who has no value here. A connector's required row can be
	// given another source but cannot be excluded.
	Required bool `yaml:"required" json:"required,omitempty"`
	// Locked rows cannot be changed by an application.
	Locked bool `yaml:"locked" json:"locked,omitempty"`
	// Disabled rows answer "leave alone" for everybody.
	Disabled bool `yaml:"disabled" json:"disabled,omitempty"`
	// Primary marks the value as primary, for a target inside a multi-valued attribute
	// with a type, e.g. `emails[type eq "work"].value`.
	Primary bool `yaml:"primary" json:"primary,omitempty"`
	// NameFormat is the SAML attribute's NameFormat URI (saml-core §8.2), or "" for none.
	NameFormat string `yaml:"nameFormat" json:"nameFormat,omitempty"`
	// JIT marks a SAML attribute that the product needs to create an account at sign-on.
	JIT bool `yaml:"jit" json:"jit,omitempty"`
	// Hint is for the administrator.
	Hint string `yaml:"hint" json:"hint,omitempty"`
}

// Enabled reports whether the row takes part.
func (r *Row) Enabled() bool { return !r.Disabled }

// MappingOverride is what an application changes in its connector's default mapping. It is
// stored as JSON with the application; the zero value changes nothing. SAML and SCIM have one
// each.
type MappingOverride struct {
	// NameID, for SAML only, replaces the subject's source or format.
	NameID *NameIDOverride `json:"nameID,omitempty"`
	Rows   []RowOverride   `json:"rows,omitempty"`
}

// ParseOverride reads a stored override. Unknown keys give an Invalid error. Empty input is
// the zero override.
func ParseOverride(data []byte) (MappingOverride, error) {
	var o MappingOverride
	if len(bytes.TrimSpace(data)) == 0 {
		return o, nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil {
		return MappingOverride{}, problem.Wrap(problem.Invalid, err, "The mapping can't be read: %s.", strings.TrimPrefix(err.Error(), "json: "))
	}
	if d.More() {
		return MappingOverride{}, problem.New(problem.Invalid, "The mapping can't be read: there is more after its end.")
	}
	return o, nil
}

// IsZero reports whether nothing is overridden.
func (o MappingOverride) IsZero() bool { return o.NameID == nil && len(o.Rows) == 0 }

// NameIDOverride replaces what is set of the connector's subject.
type NameIDOverride struct {
	Source *Source `json:"source,omitempty"`
	Format string  `json:"format,omitempty"`
}

// RowOverride changes the connector's row with that target, or adds a row if there is none.
// A nil field keeps what the connector says; an added row needs a Source.
type RowOverride struct {
	Target     string  `json:"target"`
	Label      *string `json:"label,omitempty"`
	Source     *Source `json:"source,omitempty"`
	Default    *any    `json:"default,omitempty"`
	Empty      *Empty  `json:"empty,omitempty"`
	Required   *bool   `json:"required,omitempty"`
	Enabled    *bool   `json:"enabled,omitempty"`
	Primary    *bool   `json:"primary,omitempty"`
	NameFormat *string `json:"nameFormat,omitempty"`
}

// MergeSCIM lays an application's override over a connector's SCIM rows. The connector's
// order stays; added rows follow in the override's order. It returns an Invalid error with one
// field per bad row, named "rows[i].…" after the override; the rows given are not modified.
// Expressions are not compiled here.
func MergeSCIM(rows []Row, o MappingOverride) ([]Row, error) {
	if o.NameID != nil {
		return nil, problem.InvalidField("nameID", "A SCIM mapping has no NameID.")
	}
	return merge(rows, o.Rows, scimKind)
}

// MergeSAML lays an application's override over a connector's SAML subject and attributes.
// Otherwise it is like MergeSCIM.
func MergeSAML(s *SAML, o MappingOverride) (NameIDFacts, []Row, error) {
	var f problem.Fields
	id := s.NameID
	if o.NameID != nil {
		if o.NameID.Source != nil {
			id.Source = *o.NameID.Source
			if err := id.Source.check(); err != nil {
				f.Add("nameID.source", "%s.", sentence(err))
			}
		}
		if o.NameID.Format != "" {
			if len(id.Formats) > 0 && !contains(id.Formats, o.NameID.Format) {
				f.Add("nameID.format", "This application does not take the NameID format %s. It takes: %s.", o.NameID.Format, strings.Join(id.Formats, ", "))
			}
			id.Format = o.NameID.Format
		}
	}
	rows, err := merge(s.Attributes, o.Rows, samlKind)
	for _, x := range problem.FieldsOf(err) {
		f.Add(x.Name, "%s", x.Detail)
	}
	if err := f.Err(); err != nil {
		return NameIDFacts{}, nil, err
	}
	return id, rows, nil
}

// kind is what differs between the two sorts of mapping.
type kind struct {
	isSCIM bool
	// key folds a target so that two spellings of the same target are equal.
	key func(string) string
	// check returns what is wrong with a row's target and the fields that go with it.
	check func(*Row) error
}

var (
	scimKind = kind{
		isSCIM: true,
		key: func(t string) string {
			if p, err := parseTarget(t); err == nil {
				return strings.ToLower(p.String())
			}
			return strings.ToLower(t)
		},
		check: checkSCIMRow,
	}
	samlKind = kind{key: func(t string) string { return t }, check: checkSAMLRow}
)

func merge(rows []Row, over []RowOverride, k kind) ([]Row, error) {
	out := make([]Row, len(rows), len(rows)+len(over))
	copy(out, rows)
	if len(over) == 0 {
		return out, nil
	}
	at := make(map[string]int, len(out))
	for i := range out {
		at[k.key(out[i].Target)] = i
	}
	var f problem.Fields
	seen := make(map[string]bool, len(over))
	for i, o := range over {
		name := func(field string) string { return fmt.Sprintf("rows[%d].%s", i, field) }
		key := k.key(o.Target)
		if seen[key] {
			f.Add(name("target"), "%s is given twice; keep one row.", o.Target)
			continue
		}
		seen[key] = true
		j, known := at[key]
		if !known {
			r := Row{Target: o.Target}
			o.apply(&r)
			if o.Source == nil {
				f.Add(name("source"), "%s is not in this connector's mapping. To add it, say where its value comes from.", o.Target)
				continue
			}
			if err := checkRow(&r, k); err != nil {
				f.Add(name("target"), "%s.", sentence(err))
				continue
			}
			out = append(out, r)
			continue
		}
		was := out[j]
		if was.Locked && o.changes() {
			f.Add(name("target"), "%s is fixed by the connector and can't be changed.", o.Target)
			continue
		}
		if was.Required && o.Enabled != nil && !*o.Enabled {
			f.Add(name("enabled"), "%s is required by the application and can't be excluded. You can give it another source.", o.Target)
			continue
		}
		if was.Required && o.Required != nil && !*o.Required {
			f.Add(name("required"), "%s is required by the application.", o.Target)
			continue
		}
		o.apply(&out[j])
		if err := checkRow(&out[j], k); err != nil {
			f.Add(name("source"), "%s.", sentence(err))
		}
	}
	if err := f.Err(); err != nil {
		return nil, err
	}
	return out, nil
}

// changes reports whether the override says anything beside its target.
func (o *RowOverride) changes() bool {
	return o.Label != nil || o.Source != nil || o.Default != nil || o.Empty != nil ||
		o.Required != nil || o.Enabled != nil || o.Primary != nil || o.NameFormat != nil
}

func (o *RowOverride) apply(r *Row) {
	set(&r.Label, o.Label)
	set(&r.Source, o.Source)
	set(&r.Default, o.Default)
	set(&r.Empty, o.Empty)
	set(&r.Required, o.Required)
	set(&r.Primary, o.Primary)
	set(&r.NameFormat, o.NameFormat)
	if o.Enabled != nil {
		r.Disabled = !*o.Enabled
	}
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// checkRow returns what is wrong with a row, not compiling its expression.
func checkRow(r *Row, k kind) error {
	if err := k.check(r); err != nil {
		return err
	}
	if err := r.Source.check(); err != nil {
		return fmt.Errorf("%s: %w", r.Target, err)
	}
	if r.Default != nil {
		if _, err := plainValue(r.Default); err != nil {
			return fmt.Errorf("%s: default: %w", r.Target, err)
		}
	}
	switch r.Empty {
	case "", EmptyClear, EmptyLeave:
	default:
		return fmt.Errorf("%s: empty must be %q or %q", r.Target, EmptyClear, EmptyLeave)
	}
	return nil
}

// plainValue returns v as one of the kinds that a target can hold: string, bool, int64,
// float64, []string, or nil for no value.
func plainValue(v any) (any, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		if v == "" {
			return nil, nil
		}
		return v, nil
	case bool, int64:
		return v, nil
	case int:
		return int64(v), nil
	case uint64:
		if v > 1<<53 {
			return nil, fmt.Errorf("%d is too large", v)
		}
		return int64(v), nil
	case float64:
		// JSON knows one kind of number; a whole one is meant as an integer.
		if v == float64(int64(v)) && v < 1<<53 && v > -(1<<53) {
			return int64(v), nil
		}
		return v, nil
	case []string, []any:
		if list := customValue(v); list != nil {
			return list, nil
		}
		return nil, nil
	default:
		return nil, fmt.Errorf("must be text, a number, true, false, or a list of texts")
	}
}

func contains(list []string, s string) bool {
	return slices.Contains(list, s)
}

// sentence gives an error's text a capital, for a person.
func sentence(err error) string {
	s := strings.TrimSuffix(err.Error(), ".")
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
