package scim

import (
	"errors"
	"fmt"
	"strings"
)

// Path names a place in a resource (RFC 7644 §3.10):
//
//	[Schema ":"] Attribute ["[" Filter "]"] ["." Sub]
//
// Schema is empty for the core schemas, whether or not the text spelled them
// out. A path with a Schema and no Attribute is a whole extension.
type Path struct {
	Schema    string
	Attribute string
	Filter    *Filter
	Sub       string
}

const (
	maxPathLength   = 4096
	maxFilterLength = 16384
	maxFilterDepth  = 64
)

// ErrPath is wrapped by every error about a path's text.
var ErrPath = errors.New("invalid attribute path")

// ErrNoTarget says that a path selects nothing that could be written.
var ErrNoTarget = errors.New("the path selects nothing")

// ParsePath reads a path.
func ParsePath(text string) (Path, error) {
	if len(text) > maxPathLength {
		return Path{}, fmt.Errorf("scim: %w: longer than %d bytes", ErrPath, maxPathLength)
	}
	s := scanner{text: text}
	p, err := s.path()
	if err == nil && s.pos < len(s.text) {
		err = s.errorf("unexpected %q", s.rest())
	}
	if err != nil {
		return Path{}, fmt.Errorf("scim: %w %q: %w", ErrPath, clip(text, 80), err)
	}
	return p, nil
}

// MustPath is [ParsePath] for constants; it panics on an error.
func MustPath(text string) Path {
	p, err := ParsePath(text)
	if err != nil {
		panic(err)
	}
	return p
}

// String writes the path so that [ParsePath] reads it back.
func (p Path) String() string {
	if p.Attribute == "" {
		return p.Schema
	}
	var b strings.Builder
	p.write(&b)
	return b.String()
}

func (p Path) write(b *strings.Builder) {
	if p.Schema != "" {
		b.WriteString(p.Schema)
		if p.Attribute == "" {
			return
		}
		b.WriteByte(':')
	}
	b.WriteString(p.Attribute)
	if p.Filter != nil {
		b.WriteByte('[')
		p.Filter.write(b, precedenceOr)
		b.WriteByte(']')
	}
	if p.Sub != "" {
		b.WriteByte('.')
		b.WriteString(p.Sub)
	}
}

// container is the object that holds the path's attribute: the resource itself
// or the object of the extension.
func (p Path) container(r Resource, create bool) (map[string]any, bool) {
	if p.Schema == "" {
		return r, r != nil
	}
	key, v, ok := lookup(r, p.Schema)
	if m, isMap := v.(map[string]any); ok && isMap {
		return m, true
	}
	if !create {
		return nil, false
	}
	m := make(map[string]any)
	r[key] = m
	return m, true
}

// Get reads the value at the path. With a filter it is the first element that
// matches, or that element's sub-attribute; without one, the sub-attribute of a
// multi-valued attribute is the list of all of them.
func (p Path) Get(r Resource) (any, bool) {
	c, ok := p.container(r, false)
	if !ok {
		return nil, false
	}
	if p.Attribute == "" {
		return c, true
	}
	_, v, ok := lookup(c, p.Attribute)
	if !ok || v == nil {
		return nil, false
	}
	v = normal(v)
	if p.Filter != nil {
		for _, e := range elements(v) {
			if !p.Filter.matchElement(e) {
				continue
			}
			if p.Sub == "" {
				return e, true
			}
			m, _ := normal(e).(map[string]any)
			_, sub, ok := lookup(m, p.Sub)
			return sub, ok && sub != nil
		}
		return nil, false
	}
	if p.Sub == "" {
		return v, true
	}
	switch v := v.(type) {
	case map[string]any:
		_, sub, ok := lookup(v, p.Sub)
		return sub, ok && sub != nil
	case []any:
		var out []any
		for _, e := range v {
			if m, isMap := normal(e).(map[string]any); isMap {
				if _, sub, ok := lookup(m, p.Sub); ok && sub != nil {
					out = append(out, sub)
				}
			}
		}
		return out, len(out) > 0
	}
	return nil, false
}

// elements sees a value as a list: a single complex value is a list of one.
func elements(v any) []any {
	switch v := normal(v).(type) {
	case nil:
		return nil
	case []any:
		return v
	default:
		return []any{v}
	}
}

// Set writes the value at the path and makes what is missing on the way. With a
// filter made only of "eq" and "and", a missing element is created with the
// filter's values; otherwise [ErrNoTarget]. Setting "primary" of one element
// true takes it from the others (RFC 7643 §2.4).
func (p Path) Set(r Resource, value any) error {
	value = cloneValue(normal(value))
	if p.Attribute == "" {
		m, ok := value.(map[string]any)
		if !ok {
			return fmt.Errorf("scim: %s: an extension is an object", p.Schema)
		}
		key, _, _ := lookup(r, p.Schema)
		r[key] = m
		return nil
	}
	c, _ := p.container(r, true)
	key, old, _ := lookup(c, p.Attribute)
	old = normal(old)
	switch {
	case p.Filter != nil:
		list := append([]any(nil), elements(old)...)
		hit := false
		for i, e := range list {
			if !p.Filter.matchElement(e) {
				continue
			}
			hit = true
			next, err := p.setElement(e, value)
			if err != nil {
				return err
			}
			list[i] = next
			onePrimary(list, i)
		}
		if !hit {
			seed, ok := p.Filter.seed()
			if !ok {
				return fmt.Errorf("scim: %s: %w", p, ErrNoTarget)
			}
			next, err := p.setElement(seed, value)
			if err != nil {
				return err
			}
			list = append(list, next)
			onePrimary(list, len(list)-1)
		}
		c[key] = list
	case p.Sub != "":
		if list, ok := old.([]any); ok && len(list) > 0 {
			for _, e := range list {
				m, ok := e.(map[string]any)
				if !ok {
					return fmt.Errorf("scim: %s: %w", p, ErrNoTarget)
				}
				setKey(m, p.Sub, value)
			}
			return nil
		}
		m, ok := old.(map[string]any)
		if !ok {
			if !Empty(old) {
				return fmt.Errorf("scim: %s: %s is not complex", p, p.Attribute)
			}
			m = make(map[string]any)
			c[key] = m
		}
		setKey(m, p.Sub, value)
	default:
		c[key] = value
	}
	return nil
}

// setElement is the element with the value written into it. With no Sub the
// value is the element; a bare value becomes its "value".
func (p Path) setElement(e, value any) (any, error) {
	if p.Sub == "" {
		if m, ok := value.(map[string]any); ok {
			if seed, ok := p.Filter.seed(); ok {
				for k, v := range seed {
					if _, _, has := lookup(m, k); !has {
						m[k] = v
					}
				}
			}
			return m, nil
		}
	}
	m, ok := e.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("scim: %s: the element is not complex", p)
	}
	m = cloneMap(m)
	if p.Sub == "" {
		setKey(m, "value", value)
	} else {
		setKey(m, p.Sub, value)
	}
	return m, nil
}

func setKey(m map[string]any, name string, value any) {
	key, _, _ := lookup(m, name)
	m[key] = value
}

// onePrimary takes "primary" from all elements but the i-th, if that one is.
func onePrimary(list []any, i int) {
	if !isPrimary(list[i]) {
		return
	}
	for j, e := range list {
		if j == i || !isPrimary(e) {
			continue
		}
		m := cloneMap(e.(map[string]any))
		setKey(m, "primary", false)
		list[j] = m
	}
}

func isPrimary(e any) bool {
	m, ok := e.(map[string]any)
	if !ok {
		return false
	}
	_, v, _ := lookup(m, "primary")
	b, _ := asBool(v)
	return b
}

// Remove deletes the value at the path and reports whether there was one. An
// object or list that becomes empty is deleted with it.
func (p Path) Remove(r Resource) bool {
	c, ok := p.container(r, false)
	if !ok {
		return false
	}
	if p.Attribute == "" {
		key, _, _ := lookup(r, p.Schema)
		delete(r, key)
		return true
	}
	removed := p.removeFrom(c)
	if removed && p.Schema != "" && len(c) == 0 {
		key, _, _ := lookup(r, p.Schema)
		delete(r, key)
	}
	return removed
}

func (p Path) removeFrom(c map[string]any) bool {
	key, v, ok := lookup(c, p.Attribute)
	if !ok {
		return false
	}
	if p.Filter == nil && p.Sub == "" {
		delete(c, key)
		return true
	}
	removed := false
	switch v := normal(v).(type) {
	case map[string]any:
		if p.Filter != nil && !p.Filter.matchElement(v) {
			return false
		}
		if p.Sub == "" {
			delete(c, key)
			return true
		}
		removed = deleteKey(v, p.Sub)
		if len(v) == 0 {
			delete(c, key)
		}
	case []any:
		kept := make([]any, 0, len(v))
		for _, e := range v {
			if p.Filter != nil && !p.Filter.matchElement(e) {
				kept = append(kept, e)
				continue
			}
			if p.Sub == "" {
				removed = true
				continue
			}
			if m, ok := e.(map[string]any); ok {
				removed = deleteKey(m, p.Sub) || removed
				if len(m) == 0 {
					continue
				}
			}
			kept = append(kept, e)
		}
		if len(kept) == 0 {
			delete(c, key)
		} else {
			c[key] = kept
		}
	}
	return removed
}

func deleteKey(m map[string]any, name string) bool {
	key, _, ok := lookup(m, name)
	delete(m, key)
	return ok
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
