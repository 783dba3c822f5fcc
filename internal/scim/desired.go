package scim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Desired is what a mapping wants of one object at a target. For every
// attribute a mapping answers one of three things: a value (Values), clear
// (Clear), or leave alone (the path is in neither).
//
// Paths are text as in RFC 7644 §3.10:
//
//	userName
//	name.givenName
//	emails[type eq "work"].value
//	emails[type eq "work"].primary
//	phoneNumbers[type eq "mobile"].value
//	urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department
//
// Values are string, bool, any number, map[string]any, or a list of them ([]any,
// []string, []map[string]any); see [Value]. An empty value ("", nil, an empty
// list) means clear, the same as a path in Clear. Do not put
// "active", "id", "meta" or "schemas" in it: whether a user is active is decided
// by the planner, and the others belong to the target. "externalId" is welcome.
type Desired struct {
	Values map[string]any
	Clear  []string
	// Missing names, in words for people, the required attributes for which
	// the mapping found no value. An object with Missing is not written.
	Missing []string
}

// Set wants the value at path.
func (d *Desired) Set(path string, value any) {
	if d.Values == nil {
		d.Values = make(map[string]any)
	}
	d.Values[path] = value
}

// Unset wants nothing at path.
func (d *Desired) Unset(path string) { d.Clear = append(d.Clear, path) }

// Paths lists the paths with a value, sorted.
func (d Desired) Paths() []string { return slices.Sorted(maps.Keys(d.Values)) }

// Check tells whether all paths can be read and do not contradict each other.
func (d Desired) Check() error {
	seen := make(map[string]string)
	for _, text := range append(d.Paths(), d.Clear...) {
		p, err := ParsePath(text)
		if err != nil {
			return err
		}
		key := strings.ToLower(p.String())
		if first, ok := seen[key]; ok {
			return fmt.Errorf("scim: %q and %q name the same attribute", first, text)
		}
		seen[key] = text
	}
	return nil
}

// Resource builds the body that holds exactly the wanted values, with the
// schemas of the kind and of the extensions that are used.
func (d Desired) Resource(t ResourceType) (Resource, error) {
	r := Resource{"schemas": []any{t.Schema()}}
	for _, text := range d.Paths() {
		v := d.Values[text]
		if Empty(v) {
			continue
		}
		p, err := ParsePath(text)
		if err != nil {
			return nil, err
		}
		if err := p.Set(r, v); err != nil {
			return nil, fmt.Errorf("scim: set %s: %w", text, err)
		}
		if p.Schema != "" {
			r.addSchema(p.Schema)
		}
	}
	return r, nil
}
