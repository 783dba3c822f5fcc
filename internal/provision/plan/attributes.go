package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/scim"
)

// item is one wanted attribute; a nil value means clear.
type item struct {
	path  scim.Path
	text  string
	value any
}

func (i item) isCore(attribute string) bool {
	return i.path.Schema == "" && strings.EqualFold(i.path.Attribute, attribute)
}

// fixed says whether the target takes the item in a POST only: the attribute as
// a whole, or the very part of it, is among Fixed.
func (a Abilities) fixed(i item) bool {
	whole := i.path
	whole.Sub, whole.Filter = "", nil
	return slices.ContainsFunc(a.Fixed, func(f string) bool {
		return strings.EqualFold(f, whole.String()) || strings.EqualFold(f, i.text)
	})
}

// among says whether the item is named by one of the paths, as a whole attribute or as the very
// part of it.
func (i item) among(paths []string) bool { return Abilities{Fixed: paths}.fixed(i) }

// without are the items that are written to an account that is there: not those that the target
// has from its first write, nor those that are kept as they are there.
func (w wants) without(kept map[string]Kept, have scim.Resource, a Abilities) wants {
	if len(kept) == 0 && len(a.FirstWrite) == 0 {
		return w
	}
	return slices.DeleteFunc(slices.Clone(w), func(i item) bool {
		if i.isCore("active") {
			return false
		}
		if i.among(a.FirstWrite) {
			return true
		}
		k, ok := kept[i.text]
		if !ok || !same(k.Ours, i.value) {
			return false
		}
		old, _ := w.current(i, have)
		return k.Any || same(k.Theirs, old)
	})
}

// same compares two values, of which one may have been stored meanwhile; nothing and empty are
// the same.
func same(a, b any) bool {
	a, b = scim.Value(a), scim.Value(b)
	return scim.Empty(a) && scim.Empty(b) || scim.Equal(a, b)
}

// slot is the path of the element that the item is about, without the
// sub-attribute.
func (i item) slot() scim.Path {
	p := i.path
	p.Sub = ""
	return p
}

// wants are the wanted attributes, sorted by path.
type wants []item

func externalID(p Person) string {
	if v, ok := p.Attributes.Values["externalId"].(string); ok && v != "" {
		return v
	}
	return p.ID
}

// wanted reads the mapping's result and adds what the planner answers for:
// active, externalId, and one primary e-mail address.
func wanted(p Person) (wants, error) {
	w := make(wants, 0, len(p.Attributes.Values)+len(p.Attributes.Clear)+3)
	seen := func(text string) bool {
		return slices.ContainsFunc(w, func(i item) bool { return strings.EqualFold(i.text, text) })
	}
	add := func(text string, value any) error {
		path, err := scim.ParsePath(text)
		if err != nil {
			return err
		}
		if path.Schema == "" {
			switch strings.ToLower(path.Attribute) {
			case "active", "id", "meta", "schemas", "groups":
				return nil
			}
		}
		value = scim.Value(value)
		if scim.Empty(value) {
			value = nil
		}
		i := item{path: path, text: path.String(), value: value}
		if seen(i.text) {
			return fmt.Errorf("%s is mapped twice", i.text)
		}
		w = append(w, i)
		return nil
	}
	for _, text := range p.Attributes.Paths() {
		if err := add(text, p.Attributes.Values[text]); err != nil {
			return nil, err
		}
	}
	for _, text := range p.Attributes.Clear {
		if err := add(text, nil); err != nil {
			return nil, err
		}
	}
	if !seen("externalId") {
		if err := add("externalId", p.ID); err != nil {
			return nil, err
		}
	}
	w = append(w, item{path: scim.Path{Attribute: "active"}, text: "active", value: true})
	w = w.withPrimary()
	slices.SortFunc(w, func(a, b item) int { return strings.Compare(a.text, b.text) })
	return w, nil
}

// withPrimary makes the first wanted e-mail address primary if none is.
func (w wants) withPrimary() wants {
	first := -1
	for n, i := range w {
		if !i.isCore("emails") || i.value == nil {
			continue
		}
		if strings.EqualFold(i.path.Sub, "primary") && truthy(i.value) {
			return w
		}
		for _, e := range list(i.value) {
			if m, ok := e.(map[string]any); ok && truthy(sub(m, "primary")) {
				return w
			}
		}
		if first < 0 && (i.path.Sub == "" || i.path.Filter != nil && strings.EqualFold(i.path.Sub, "value")) {
			first = n
		}
	}
	if first < 0 {
		return w
	}
	i := w[first]
	if i.path.Sub != "" {
		p := i.path
		p.Sub = "primary"
		for n := range w {
			if strings.EqualFold(w[n].text, p.String()) {
				w[n].value = true
				return w
			}
		}
		return append(w, item{path: p, text: p.String(), value: true})
	}
	elements := slices.Clone(list(i.value))
	if m, ok := elements[0].(map[string]any); ok {
		m = maps.Clone(m)
		m["primary"] = true
		elements[0] = m
	}
	if _, isList := i.value.([]any); isList {
		w[first].value = elements
	} else {
		w[first].value = elements[0]
	}
	return w
}

// body is the resource to create.
func (w wants) body() (scim.Resource, error) {
	r := scim.Resource{}
	if err := w.lay(r); err != nil {
		return nil, err
	}
	withSchema(r, scim.SchemaUser)
	return r, nil
}

// lay writes all wanted values into r and takes out the cleared ones.
func (w wants) lay(r scim.Resource) error {
	// Clear first: clearing an element must not take what another item puts
	// into the same place.
	for _, i := range w {
		if i.value == nil {
			i.clearPath().Remove(r)
			if top, ok := i.topLevel(); ok {
				top.Remove(r)
			}
		}
	}
	for _, i := range w {
		if i.value == nil {
			continue
		}
		if e := w.untyped(i, r); e != nil {
			e["type"] = i.path.Filter.Value
		}
		if err := i.path.Set(r, i.value); err != nil {
			return err
		}
		if i.path.Schema != "" {
			withSchema(r, i.path.Schema)
		}
	}
	return nil
}

func withSchema(r scim.Resource, urn string) {
	if slices.ContainsFunc(r.Schemas(), func(s string) bool { return strings.EqualFold(s, urn) }) {
		return
	}
	list := []any{}
	for _, s := range r.Schemas() {
		list = append(list, s)
	}
	list = append(list, urn)
	slices.SortStableFunc(list, func(a, b any) int { return rankSchema(a) - rankSchema(b) })
	r["schemas"] = list
}

// rankSchema puts the core schema first.
func rankSchema(urn any) int {
	if urn == scim.SchemaUser || urn == scim.SchemaGroup {
		return 0
	}
	return 1
}

// asNew lists the values of a new object for people.
func (w wants) asNew() []Change {
	var out []Change
	for _, i := range w {
		if i.value != nil {
			out = append(out, Change{Path: i.text, New: i.value})
		}
	}
	return out
}

// ours tells whether an attribute holds our id of the person.
func ours(attribute string) bool {
	return strings.EqualFold(attribute, "externalId") || strings.EqualFold(attribute, "id")
}

// matchesOurs are the conditions that hold of no account but the person's; none where the target
// can't be asked for it.
func matchesOurs(p Person, a Abilities) []Match {
	for _, attribute := range a.MatchUsers {
		if ours(attribute) {
			return []Match{{Attribute: attribute, Value: externalID(p)}}
		}
	}
	return nil
}

// matches are the conditions to look the person up by.
func (w wants) matches(p Person, a Abilities) []Match {
	var out []Match
	for _, attribute := range a.MatchUsers {
		value := ""
		if ours(attribute) {
			value = externalID(p)
		}
		for _, i := range w {
			if s, ok := i.value.(string); ok && strings.EqualFold(i.text, attribute) {
				value = s
			}
		}
		if value != "" {
			out = append(out, Match{Attribute: attribute, Value: value})
		}
	}
	return out
}

// matchedBy tells which condition the found account fulfils.
func (w wants) matchedBy(p Person, found scim.Resource, a Abilities) []Match {
	matches := w.matches(p, a)
	if len(matches) == 0 {
		a.MatchUsers = []string{"externalId", "userName"}
		matches = w.matches(p, a)
	}
	for _, m := range matches {
		if m.Filter().Match(found) {
			return []Match{m}
		}
	}
	return nil
}

// diff is an item whose value at the target differs.
type diff struct {
	item
	old any
}

// differences compares only what is wanted; whatever else the target holds is
// its own affair.
func (w wants) differences(have scim.Resource) []diff {
	var out []diff
	for _, i := range w {
		old, _ := w.current(i, have)
		if i.isCore("active") {
			// A target that doesn't say counts as active, which is the default.
			if active, known := have.Active(); !known || active {
				continue
			}
			old = false
		}
		if i.value == nil {
			if !scim.Empty(old) {
				out = append(out, diff{i, old})
			}
			continue
		}
		if !covers(i.path, old, i.value) {
			if scim.Empty(old) {
				old = nil
			}
			out = append(out, diff{i, old})
		}
	}
	return out
}

// current is the item's value at the target. An enterprise attribute is also
// found at the top level, where some targets repeat it, and the element of a
// type also where the target dropped the type.
func (w wants) current(i item, have scim.Resource) (value any, exact bool) {
	if v, ok := i.path.Get(have); ok {
		return v, true
	}
	if top, ok := i.topLevel(); ok {
		v, _ := top.Get(have)
		return v, false
	}
	if e := w.untyped(i, have); e != nil {
		if i.path.Sub == "" {
			return e, false
		}
		return sub(e, i.path.Sub), false
	}
	return nil, false
}

func (i item) topLevel() (scim.Path, bool) {
	if i.path.Schema != scim.SchemaEnterpriseUser || i.path.Attribute == "" {
		return scim.Path{}, false
	}
	return scim.Path{Attribute: i.path.Attribute, Sub: i.path.Sub}, true
}

// untyped is the element that stands for the one of a type when the target
// does not keep types: the only element without one, if the mapping wants only
// one type of the attribute and no element has that type.
func (w wants) untyped(i item, have scim.Resource) map[string]any {
	f := i.path.Filter
	if f == nil || f.Op != scim.OpEqual || !strings.EqualFold(f.Path.Attribute, "type") {
		return nil
	}
	slot := i.slot()
	if _, ok := slot.Get(have); ok {
		return nil
	}
	key := strings.ToLower(slot.String())
	for _, other := range w {
		if other.path.Schema == i.path.Schema && strings.EqualFold(other.path.Attribute, i.path.Attribute) &&
			other.value != nil && strings.ToLower(other.slot().String()) != key {
			return nil
		}
	}
	all, _ := scim.Path{Schema: i.path.Schema, Attribute: i.path.Attribute}.Get(have)
	var found map[string]any
	for _, e := range list(all) {
		m, ok := e.(map[string]any)
		if !ok || !scim.Empty(sub(m, "type")) {
			continue
		}
		if found != nil {
			return nil
		}
		found = m
	}
	return found
}

// clearPath is what is removed when an item is cleared: for the value of an
// element the whole element, which would be hollow without it.
func (i item) clearPath() scim.Path {
	if i.path.Filter != nil && strings.EqualFold(i.path.Sub, "value") {
		return i.slot()
	}
	return i.path
}

// operations are the PATCH operations for the differences, sorted by path.
func (w wants) operations(have scim.Resource, diffs []diff) ([]scim.Operation, error) {
	var ops []scim.Operation
	done := make(map[string]bool) // attributes and elements already written as a whole
	var merged scim.Resource
	for _, d := range diffs {
		old, exact := w.current(d.item, have)
		if d.value == nil {
			p := d.clearPath()
			if top, ok := d.topLevel(); ok && !exact {
				p = top
			}
			if d.path.Filter != nil && !exact {
				continue // what stands for it is untyped and may be anything
			}
			ops = append(ops, scim.Operation{Op: scim.PatchRemove, Path: p.String()})
			continue
		}
		op := scim.PatchReplace
		if scim.Empty(old) || !exact {
			op = scim.PatchAdd
		}
		if d.path.Filter == nil {
			ops = append(ops, scim.Operation{Op: op, Path: d.text, Value: d.value})
			continue
		}
		attribute := scim.Path{Schema: d.path.Schema, Attribute: d.path.Attribute}
		slot := d.slot()
		if done[strings.ToLower(attribute.String())] || done[strings.ToLower(slot.String())] {
			continue
		}
		if _, ok := slot.Get(have); ok {
			ops = append(ops, scim.Operation{Op: op, Path: d.text, Value: d.value})
			continue
		}
		if merged == nil {
			merged = have.Clone()
			if err := w.lay(merged); err != nil {
				return nil, err
			}
		}
		if w.untyped(d.item, have) != nil {
			all, _ := attribute.Get(merged)
			ops = append(ops, scim.Operation{Op: scim.PatchReplace, Path: attribute.String(), Value: all})
			done[strings.ToLower(attribute.String())] = true
			continue
		}
		element, _ := slot.Get(merged)
		ops = append(ops, scim.Operation{Op: scim.PatchAdd, Path: attribute.String(), Value: []any{element}})
		done[strings.ToLower(slot.String())] = true
	}
	return ops, nil
}

// replacement is the body of a PUT: what the target has, without what only the
// target may write, with the wanted values laid over it.
func (w wants) replacement(have scim.Resource, a Abilities) (scim.Resource, error) {
	r := carried(have, a)
	named, formatted := false, false
	for _, d := range w.differences(have) {
		named = named || d.isCore("name")
	}
	for _, i := range w {
		formatted = formatted || i.isCore("name") && (i.path.Sub == "" || strings.EqualFold(i.path.Sub, "formatted"))
	}
	if named && !formatted {
		// Otherwise the old full name would come back over the new parts.
		_ = r.Remove("name.formatted")
	}
	if err := w.lay(r); err != nil {
		return nil, err
	}
	withSchema(r, scim.SchemaUser)
	return r, nil
}

// carried is what the target has, fit to be sent back in a PUT: without
// metadata, groups, read-only and empty attributes, and with enterprise
// attributes in their extension only.
func carried(have scim.Resource, a Abilities) scim.Resource {
	r := have.Clone()
	if r == nil {
		r = scim.Resource{}
	}
	drop := append([]string{"meta", "groups"}, a.ReadOnly...)
	for _, text := range drop {
		for k := range r {
			if strings.EqualFold(k, text) {
				delete(r, k)
			}
		}
		_ = r.Remove(text) // a URN alone is not a path; it was handled above
	}
	for _, name := range []string{"employeeNumber", "costCenter", "organization", "division", "department", "manager"} {
		top := scim.Path{Attribute: name}
		v, ok := top.Get(r)
		if !ok {
			continue
		}
		top.Remove(r)
		ext := scim.Path{Schema: scim.SchemaEnterpriseUser, Attribute: name}
		if own, _ := ext.Get(r); scim.Empty(own) && !scim.Empty(v) {
			if ext.Set(r, v) == nil {
				withSchema(r, scim.SchemaEnterpriseUser)
			}
		}
	}
	var schemas []any
	for _, urn := range r.Schemas() {
		if !slices.ContainsFunc(a.ReadOnly, func(s string) bool { return strings.EqualFold(s, urn) }) {
			schemas = append(schemas, urn)
		}
	}
	for k, v := range r {
		if scim.Empty(v) {
			delete(r, k)
		}
	}
	if schemas != nil {
		r["schemas"] = schemas
	}
	return r
}

// covers tells whether the target's value has all of the wanted one. User names,
// e-mail addresses and element types are compared without case, booleans may be
// text, a missing "primary" is false, sub-attributes and elements' decoration
// that only the target has are ignored. Lists have to have the same elements.
func covers(p scim.Path, have, want any) bool {
	name := strings.ToLower(p.Attribute)
	last := strings.ToLower(p.Sub)
	if last == "" {
		last = name
	}
	if b, ok := want.(bool); ok {
		got, known := boolean(have)
		if !known && last == "primary" && scim.Empty(have) {
			return !b
		}
		return known && got == b
	}
	if scim.Empty(want) {
		return scim.Empty(have)
	}
	switch want := want.(type) {
	case string:
		got, ok := have.(string)
		if !ok {
			return false
		}
		fold := p.Schema == "" && (last == "username" || last == "type" || name == "emails" && last == "value")
		return got == want || fold && strings.EqualFold(got, want)
	case map[string]any:
		got, ok := have.(map[string]any)
		if !ok {
			if l, isList := have.([]any); isList && len(l) == 1 {
				got, ok = l[0].(map[string]any)
			}
			if !ok {
				return false
			}
		}
		for k, v := range want {
			inner := scim.Path{Schema: p.Schema, Attribute: p.Attribute, Sub: k}
			if p.Attribute == "" {
				inner = scim.Path{Schema: p.Schema, Attribute: k}
			}
			if !covers(inner, sub(got, k), v) {
				return false
			}
		}
		return true
	case []any:
		got := list(have)
		if len(got) != len(want) {
			return false
		}
		used := make([]bool, len(got))
	next:
		for _, w := range want {
			for i, g := range got {
				if !used[i] && covers(p, g, w) {
					used[i] = true
					continue next
				}
			}
			return false
		}
		return true
	default:
		return scim.Equal(have, want)
	}
}

func sub(m map[string]any, name string) any {
	v, _ := scim.Path{Attribute: name}.Get(m)
	return v
}

func list(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return v
	default:
		return []any{v}
	}
}

func truthy(v any) bool {
	b, ok := boolean(v)
	return ok && b
}

func boolean(v any) (value, ok bool) {
	return scim.Resource{"active": v}.Active()
}
