package scim

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Operations of a PATCH (RFC 7644 §3.5.2).
const (
	PatchAdd     = "add"
	PatchReplace = "replace"
	PatchRemove  = "remove"
)

// PatchOp is the body of a PATCH request.
type PatchOp struct {
	Schemas    []string    `json:"schemas"`
	Operations []Operation `json:"Operations"`
}

// Operation is one change. Path may be empty for add and replace, where Value
// is then an object of attributes.
type Operation struct {
	Op    string `json:"op"`
	Path  string `json:"path,omitempty"`
	Value any    `json:"value,omitempty"`
}

// NewPatch makes a PATCH body of operations.
func NewPatch(ops ...Operation) PatchOp {
	return PatchOp{Schemas: []string{SchemaPatchOp}, Operations: ops}
}

// MarshalJSON keeps a value of false, 0 or "" and leaves out only a missing one.
func (o Operation) MarshalJSON() ([]byte, error) {
	m := struct {
		Op    string  `json:"op"`
		Path  string  `json:"path,omitempty"`
		Value *anyRef `json:"value,omitempty"`
	}{Op: o.Op, Path: o.Path}
	if o.Value != nil {
		m.Value = &anyRef{o.Value}
	}
	return marshal(m)
}

type anyRef struct{ v any }

func (r *anyRef) MarshalJSON() ([]byte, error) { return marshal(r.v) }

// UnmarshalJSON reads an operation with exact numbers, keys in any case and the
// operation's word brought to lower case.
func (o *Operation) UnmarshalJSON(b []byte) error {
	var m map[string]any
	if err := decodeExact(b, &m); err != nil {
		return err
	}
	_, op, _ := lookup(m, "op")
	_, path, _ := lookup(m, "path")
	_, value, _ := lookup(m, "value")
	word, ok := op.(string)
	if !ok {
		return fmt.Errorf("scim: an operation without op")
	}
	text, ok := path.(string)
	if !ok && path != nil {
		return fmt.Errorf("scim: the path of an operation is not a string")
	}
	*o = Operation{Op: strings.ToLower(word), Path: text, Value: value}
	return nil
}

// ParsePatch reads the body of a PATCH request. Keys are matched in any case,
// since clients write both "Operations" and "operations". The error is an
// [*Error] with scimType invalidSyntax.
func ParsePatch(b []byte) (PatchOp, error) {
	var p PatchOp
	if err := json.Unmarshal(b, &p); err != nil {
		return PatchOp{}, &Error{Status: 400, ScimType: InvalidSyntax, Detail: err.Error()}
	}
	if len(p.Operations) == 0 {
		return PatchOp{}, &Error{Status: 400, ScimType: InvalidSyntax, Detail: "The request has no operations."}
	}
	return p, nil
}

// Apply gives the resource after the operations, in order; the resource passed
// in is not changed. An error is an [*Error] and means that nothing applies
// (RFC 7644 §3.5.2: all or none).
//
// It is lenient where widespread clients are: attribute names in any case, keys
// of a path-less value that are themselves paths, remove of listed members by
// value, add or replace by a value path that selects nothing yet but tells what
// the element would be.
func (p PatchOp) Apply(r Resource) (Resource, error) {
	out := r.Clone()
	if out == nil {
		out = Resource{}
	}
	for _, op := range p.Operations {
		if err := op.apply(out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (o Operation) apply(r Resource) error {
	op := strings.ToLower(o.Op)
	switch op {
	case PatchAdd, PatchReplace, PatchRemove:
	default:
		return &Error{Status: 400, ScimType: InvalidSyntax, Detail: fmt.Sprintf("Unknown operation %q.", clip(o.Op, 40))}
	}
	if o.Path == "" {
		if op == PatchRemove {
			return &Error{Status: 400, ScimType: NoTarget, Detail: "A remove operation needs a path."}
		}
		m, ok := normal(o.Value).(map[string]any)
		if !ok {
			return &Error{Status: 400, ScimType: InvalidSyntax, Detail: "An operation without a path needs an object as its value."}
		}
		keys := make([]string, 0, len(m))
		for k := range m {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			if err := (Operation{Op: op, Path: k, Value: m[k]}).apply(r); err != nil {
				return err
			}
		}
		return nil
	}
	path, err := ParsePath(o.Path)
	if err != nil {
		return &Error{Status: 400, ScimType: InvalidPath, Detail: err.Error()}
	}
	if path.Schema == "" {
		switch strings.ToLower(path.Attribute) {
		case "id", "meta":
			return &Error{Status: 400, ScimType: Mutability, Detail: fmt.Sprintf("The attribute %s is read-only.", path.Attribute)}
		}
	}
	if op == PatchRemove {
		o.remove(path, r)
		return nil
	}
	value := cloneValue(normal(o.Value))
	if value == nil {
		if op == PatchReplace { // replace with null: unassign (RFC 7643 §2.5)
			path.Remove(r)
			return nil
		}
		return &Error{Status: 400, ScimType: InvalidValue, Detail: "An add operation needs a value."}
	}
	if path.Filter != nil || path.Sub != "" {
		err = path.Set(r, value)
	} else {
		err = merge(path, r, op, value)
	}
	if err != nil {
		return &Error{Status: 400, ScimType: NoTarget, Detail: err.Error()}
	}
	if path.Schema != "" {
		r.addSchema(path.Schema)
	}
	return nil
}

// remove deletes what the path selects; with a value given it deletes from a
// multi-valued attribute only the elements listed.
func (o Operation) remove(path Path, r Resource) {
	listed := elements(o.Value)
	if path.Attribute == "" || path.Filter != nil || path.Sub != "" || len(listed) == 0 {
		path.Remove(r)
		return
	}
	c, ok := path.container(r, false)
	if !ok {
		return
	}
	key, v, _ := lookup(c, path.Attribute)
	list, ok := normal(v).([]any)
	if !ok {
		path.Remove(r)
		return
	}
	drop := make(map[string]bool, len(listed))
	for _, e := range listed {
		drop[identity(e)] = true
	}
	kept := make([]any, 0, len(list))
	for _, e := range list {
		if !drop[identity(e)] {
			kept = append(kept, e)
		}
	}
	if len(kept) == 0 {
		delete(c, key)
		return
	}
	c[key] = kept
}

// merge adds or replaces a whole attribute: lists are joined (add) or exchanged
// (replace), sub-attributes of a complex attribute are laid over the old ones.
func merge(path Path, r Resource, op string, value any) error {
	if path.Attribute == "" {
		m, ok := value.(map[string]any)
		if !ok {
			return fmt.Errorf("an extension is an object")
		}
		c, _ := path.container(r, true)
		for k, v := range m {
			setKey(c, k, v)
		}
		return nil
	}
	c, _ := path.container(r, true)
	key, old, _ := lookup(c, path.Attribute)
	switch old := normal(old).(type) {
	case map[string]any:
		m, ok := value.(map[string]any)
		if !ok {
			return fmt.Errorf("%s is complex", path)
		}
		for k, v := range m {
			setKey(old, k, v)
		}
	case []any:
		list := elements(value)
		if op == PatchReplace {
			c[key] = list
			return nil
		}
		c[key] = join(old, list)
	default:
		if old == nil && op == PatchAdd && path.multiValued() {
			value = elements(value)
		}
		c[key] = value
	}
	return nil
}

// multiValued tells whether the core schema makes the attribute a list, so that
// adding one object to nothing makes a list of one.
func (p Path) multiValued() bool {
	if p.Schema != "" {
		return false
	}
	switch strings.ToLower(p.Attribute) {
	case "emails", "phonenumbers", "ims", "photos", "addresses", "groups",
		"entitlements", "roles", "x509certificates", "members":
		return true
	}
	return false
}

// join appends the elements that are not there yet. An element with the same
// identity as an old one takes its place.
func join(old, added []any) []any {
	at := make(map[string]int, len(old)+len(added))
	out := slices.Clone(old)
	for i, e := range out {
		at[identity(e)] = i
	}
	for _, e := range added {
		id := identity(e)
		i, ok := at[id]
		if ok {
			out[i] = e
		} else {
			i = len(out)
			at[id] = i
			out = append(out, e)
		}
		onePrimary(out, i)
	}
	return out
}

// identity is what makes an element of a list the same one: its "value" and,
// where it has one, its "type" (RFC 7643 §2.4); else all of it.
func identity(e any) string {
	m, ok := normal(e).(map[string]any)
	if !ok {
		b, _ := marshal(normal(e))
		return string(b)
	}
	_, value, _ := lookup(m, "value")
	if s, ok := value.(string); ok {
		_, t, _ := lookup(m, "type")
		kind, _ := t.(string)
		if strings.EqualFold(kind, string(User)) {
			kind = "" // members: the type is decoration
		}
		return strings.ToLower(kind) + "\x00" + s
	}
	b, _ := marshal(m)
	return "\x01" + string(b)
}
