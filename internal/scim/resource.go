package scim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Schema and message URNs (RFC 7643 §8.7, RFC 7644 §8.2).
const (
	SchemaUser                  = "urn:ietf:params:scim:schemas:core:2.0:User"
	SchemaGroup                 = "urn:ietf:params:scim:schemas:core:2.0:Group"
	SchemaEnterpriseUser        = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
	SchemaServiceProviderConfig = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"
	SchemaListResponse          = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
	SchemaPatchOp               = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
	SchemaError                 = "urn:ietf:params:scim:api:messages:2.0:Error"
)

// ResourceType is the kind of a resource, written as in meta.resourceType.
type ResourceType string

// The two kinds that are provisioned.
const (
	User  ResourceType = "User"
	Group ResourceType = "Group"
)

// Endpoint is the path of the kind's collection below the base URL.
func (t ResourceType) Endpoint() string { return "/" + string(t) + "s" }

// Schema is the URN of the kind's core schema.
func (t ResourceType) Schema() string {
	if t == Group {
		return SchemaGroup
	}
	return SchemaUser
}

// Resource is one SCIM object: attribute names to JSON values. Values are nil,
// bool, string, [json.Number], []any and map[string]any; numbers keep their
// text. Attribute names are matched without regard to case (RFC 7643 §2.1).
//
// Marshalling sorts the keys, so equal resources give equal bytes.
type Resource map[string]any

// UnmarshalJSON reads one JSON object and keeps numbers exact.
func (r *Resource) UnmarshalJSON(b []byte) error {
	var m map[string]any
	if err := decodeExact(b, &m); err != nil {
		return err
	}
	*r = m
	return nil
}

// ParseResource reads one JSON object with nothing after it.
func ParseResource(b []byte) (Resource, error) {
	var r Resource
	if err := r.UnmarshalJSON(b); err != nil {
		return nil, fmt.Errorf("scim: read resource: %w", err)
	}
	if r == nil {
		return nil, errors.New("scim: read resource: not a JSON object")
	}
	return r, nil
}

func decodeExact(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("data after the JSON value")
	}
	return nil
}

// lookup finds the key of m that equals name without regard to case.
func lookup(m map[string]any, name string) (key string, value any, ok bool) {
	if v, ok := m[name]; ok {
		return name, v, true
	}
	best := ""
	for k := range m {
		// The smallest of several spellings, so that the answer does not
		// depend on the order of the map.
		if strings.EqualFold(k, name) && (best == "" || k < best) {
			best = k
		}
	}
	if best == "" {
		return name, nil, false
	}
	return best, m[best], true
}

// Get reads the value at a path in text form; see [Path.Get]. A path that
// cannot be parsed has no value.
func (r Resource) Get(path string) (any, bool) {
	p, err := ParsePath(path)
	if err != nil {
		return nil, false
	}
	return p.Get(r)
}

// Set writes the value at a path in text form; see [Path.Set].
func (r Resource) Set(path string, value any) error {
	p, err := ParsePath(path)
	if err != nil {
		return err
	}
	return p.Set(r, value)
}

// Remove deletes the value at a path in text form; see [Path.Remove].
func (r Resource) Remove(path string) error {
	p, err := ParsePath(path)
	if err != nil {
		return err
	}
	p.Remove(r)
	return nil
}

// Text reads a string value at a path; any other value or none is "".
func (r Resource) Text(path string) string {
	v, _ := r.Get(path)
	s, _ := v.(string)
	return s
}

func (r Resource) text(name string) string {
	_, v, _ := lookup(r, name)
	s, _ := v.(string)
	return s
}

// ID is the identifier that the target gave.
func (r Resource) ID() string { return r.text("id") }

// ExternalID is the identifier that the client gave; "" when there is none.
func (r Resource) ExternalID() string { return r.text("externalId") }

// UserName is the user's name at the target.
func (r Resource) UserName() string { return r.text("userName") }

// DisplayName is the display name of a user or group.
func (r Resource) DisplayName() string { return r.text("displayName") }

// Active tells the administrative state of a user. known is false when the
// resource does not say. The strings "true" and "false" in any case, which some
// targets send, count as booleans.
func (r Resource) Active() (active, known bool) {
	_, v, _ := lookup(r, "active")
	return asBool(v)
}

// Schemas lists the URNs of the resource's schemas.
func (r Resource) Schemas() []string {
	_, v, _ := lookup(r, "schemas")
	list, _ := v.([]any)
	out := make([]string, 0, len(list))
	for _, s := range list {
		if s, ok := s.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// addSchema puts a URN into "schemas" unless it is there.
func (r Resource) addSchema(urn string) {
	key, v, _ := lookup(r, "schemas")
	list, _ := v.([]any)
	for _, s := range list {
		if s, ok := s.(string); ok && strings.EqualFold(s, urn) {
			return
		}
	}
	r[key] = append(slices.Clone(list), urn)
}

// Members lists the ids in a group's "members", in the target's order.
func (r Resource) Members() []string {
	_, v, _ := lookup(r, "members")
	list, _ := v.([]any)
	out := make([]string, 0, len(list))
	for _, m := range list {
		m, ok := m.(map[string]any)
		if !ok {
			continue
		}
		if _, id, _ := lookup(m, "value"); id != nil {
			if id, ok := id.(string); ok && id != "" {
				out = append(out, id)
			}
		}
	}
	return out
}

// Meta is the common metadata of a resource (RFC 7643 §3.1). A time that is
// missing or unreadable is zero.
type Meta struct {
	ResourceType string
	Location     string
	Version      string
	Created      time.Time
	LastModified time.Time
}

// Meta reads the resource's "meta".
func (r Resource) Meta() Meta {
	_, v, _ := lookup(r, "meta")
	m, _ := v.(map[string]any)
	c := Resource(m)
	created, _ := time.Parse(time.RFC3339Nano, c.text("created"))
	modified, _ := time.Parse(time.RFC3339Nano, c.text("lastModified"))
	return Meta{
		ResourceType: c.text("resourceType"),
		Location:     c.text("location"),
		Version:      c.text("version"),
		Created:      created,
		LastModified: modified,
	}
}

// Clone copies the resource and everything in it.
func (r Resource) Clone() Resource {
	if r == nil {
		return nil
	}
	return cloneMap(r)
}

func cloneMap(m map[string]any) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = cloneValue(v)
	}
	return out
}

func cloneValue(v any) any {
	switch v := normal(v).(type) {
	case map[string]any:
		return cloneMap(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = cloneValue(v[i])
		}
		return out
	default:
		return v
	}
}

// Value copies a value and brings it, at every depth, into the types that a
// [Resource] holds: lists of strings or of objects become []any, numbers
// [json.Number].
func Value(v any) any { return cloneValue(v) }

// normal brings Go values that callers like to write into the few types that
// decoded JSON has.
func normal(v any) any {
	switch v := v.(type) {
	case Resource:
		return map[string]any(v)
	case []string:
		out := make([]any, len(v))
		for i := range v {
			out[i] = v[i]
		}
		return out
	case []map[string]any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = v[i]
		}
		return out
	case int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64:
		return json.Number(fmt.Sprint(v))
	case float32, float64:
		b, err := json.Marshal(v)
		if err != nil { // NaN and infinities have no JSON form
			return nil
		}
		return json.Number(b)
	default:
		return v
	}
}

// Empty tells whether a value counts as unassigned: null, "", an empty list or
// an object without assigned attributes (RFC 7643 §2.5, with "" added because
// targets return it for what was never given).
func Empty(v any) bool {
	switch v := normal(v).(type) {
	case nil:
		return true
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		for _, e := range v {
			if !Empty(e) {
				return false
			}
		}
		return true
	default:
		return false
	}
}

// Equal compares two values by meaning: unassigned values are equal to absent
// ones, numbers by amount, attribute names without case, lists without order,
// strings exactly.
func Equal(a, b any) bool {
	a, b = normal(a), normal(b)
	if Empty(a) || Empty(b) {
		return Empty(a) && Empty(b)
	}
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && contains(a, b) && contains(b, a)
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		used := make([]bool, len(b))
	next:
		for _, x := range a {
			for i, y := range b {
				if !used[i] && Equal(x, y) {
					used[i] = true
					continue next
				}
			}
			return false
		}
		return true
	case json.Number:
		b, ok := b.(json.Number)
		return ok && compareNumbers(a, b) == 0
	default:
		return a == b
	}
}

// contains tells whether every attribute of a is equal in b.
func contains(a, b map[string]any) bool {
	for k, v := range a {
		_, w, _ := lookup(b, k)
		if !Equal(v, w) {
			return false
		}
	}
	return true
}

func compareNumbers(a, b json.Number) int {
	if a == b {
		return 0
	}
	if len(a) <= 64 && len(b) <= 64 && plainExponent(a) && plainExponent(b) {
		x, okX := new(big.Rat).SetString(string(a))
		y, okY := new(big.Rat).SetString(string(b))
		if okX && okY {
			return x.Cmp(y)
		}
	}
	// Absurd numbers are ordered by their text: never equal by accident, and
	// never a reason to spend memory on 1e999999999.
	return strings.Compare(string(a), string(b))
}

func plainExponent(n json.Number) bool {
	i := strings.IndexAny(string(n), "eE")
	return i < 0 || len(n)-i <= 4
}

func asBool(v any) (value, ok bool) {
	switch v := v.(type) {
	case bool:
		return v, true
	case string:
		switch {
		case strings.EqualFold(v, "true"):
			return true, true
		case strings.EqualFold(v, "false"):
			return false, true
		}
	}
	return false, false
}

// marshal writes JSON without HTML escapes and without a line end.
func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}

// ListResponse is one page of a list (RFC 7644 §3.4.2). ItemsPerPage is what
// the target claims; count Resources instead.
type ListResponse struct {
	Schemas      []string   `json:"schemas"`
	TotalResults int        `json:"totalResults"`
	StartIndex   int        `json:"startIndex"`
	ItemsPerPage int        `json:"itemsPerPage"`
	Resources    []Resource `json:"Resources"`
	// NextCursor is where the list goes on, "" at its end (RFC 9865 §2.1).
	NextCursor string `json:"nextCursor,omitempty"`
}

// ServiceProviderConfig is what a target says of its abilities (RFC 7643 §5).
// Take MaxResults as a hint: targets announce more than they deliver.
type ServiceProviderConfig struct {
	DocumentationURI string   `json:"documentationUri,omitempty"`
	Patch            Support  `json:"patch"`
	Bulk             Support  `json:"bulk"`
	Filter           Support  `json:"filter"`
	MaxResults       int      `json:"maxResults,omitempty"`
	ChangePassword   Support  `json:"changePassword"`
	Sort             Support  `json:"sort"`
	ETag             Support  `json:"etag"`
	Authentication   []string `json:"authentication,omitempty"` // types, such as oauthbearertoken
}

// Support tells whether one feature exists.
type Support struct {
	Supported bool `json:"supported"`
}

// serviceProviderConfig reads leniently: what is missing or of another type
// counts as not supported.
func serviceProviderConfig(r Resource) ServiceProviderConfig {
	supported := func(name string) Support {
		v, _ := r.Get(name + ".supported")
		b, _ := asBool(v)
		return Support{b}
	}
	c := ServiceProviderConfig{
		DocumentationURI: r.text("documentationUri"),
		Patch:            supported("patch"),
		Bulk:             supported("bulk"),
		Filter:           supported("filter"),
		ChangePassword:   supported("changePassword"),
		Sort:             supported("sort"),
		ETag:             supported("etag"),
	}
	if v, _ := r.Get("filter.maxResults"); v != nil {
		c.MaxResults, _ = strconv.Atoi(fmt.Sprint(v))
	}
	v, _ := r.Get("authenticationSchemes.type")
	for _, t := range elements(v) {
		if t, ok := t.(string); ok {
			c.Authentication = append(c.Authentication, t)
		}
	}
	return c
}
