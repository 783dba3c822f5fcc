package catalog

import (
	"fmt"
	"strings"
)

// Target is a SCIM path (RFC 7644 §3.10) of the shapes that a mapping can write:
//
//	title
//	name.givenName
//	emails[type eq "work"].value
//	urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department
type Target struct {
	// URN is the schema extension, or "" for the core schema.
	URN string
	// Attribute is the attribute's name.
	Attribute string
	// Type is the value of the filter `[type eq "…"]`, or "".
	Type string
	// Sub is the sub-attribute, or "".
	Sub string
}

// EnterpriseUser is the URN of the enterprise extension, RFC 7643 §4.3.
const EnterpriseUser = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"

const coreUser = "urn:ietf:params:scim:schemas:core:2.0:User"

// ParseTarget reads a target. It accepts only what a mapping can write, which is less than
// RFC 7644 allows in a PATCH. A path with the core schema's URN loses it.
func ParseTarget(s string) (Target, error) {
	var t Target
	rest := s
	if len(s) > 512 {
		return t, fmt.Errorf("SCIM path is longer than 512 characters")
	}
	if len(rest) >= 4 && strings.EqualFold(rest[:4], "urn:") {
		i := strings.LastIndexByte(rest, ':')
		t.URN, rest = rest[:i], rest[i+1:]
		if strings.EqualFold(t.URN, coreUser) {
			t.URN = ""
		} else if strings.EqualFold(t.URN, EnterpriseUser) {
			t.URN = EnterpriseUser
		} else if strings.ContainsAny(t.URN, " \"[]") || len(t.URN) < len("urn:x:y") {
			return Target{}, fmt.Errorf("%q is not a SCIM path: bad schema URN", s)
		}
	}
	if i := strings.IndexByte(rest, '['); i >= 0 {
		j := strings.IndexByte(rest, ']')
		if j < i {
			return Target{}, fmt.Errorf("%q is not a SCIM path: [ without ]", s)
		}
		typ, ok := typeFilter(rest[i+1 : j])
		if !ok {
			return Target{}, fmt.Errorf(`%q: the only filter possible in a mapping is [type eq "…"]`, s)
		}
		t.Type = typ
		after := rest[j+1:]
		if !strings.HasPrefix(after, ".") {
			return Target{}, fmt.Errorf("%q: name the part of the entry to set, for example .value", s)
		}
		t.Attribute, t.Sub = rest[:i], after[1:]
		if !attrName(t.Sub) {
			return Target{}, fmt.Errorf("%q is not a SCIM path: bad sub-attribute", s)
		}
	} else {
		name, sub, dotted := strings.Cut(rest, ".")
		t.Attribute, t.Sub = name, sub
		if dotted && !attrName(sub) {
			return Target{}, fmt.Errorf("%q is not a SCIM path: bad sub-attribute", s)
		}
	}
	if !attrName(t.Attribute) {
		return Target{}, fmt.Errorf("%q is not a SCIM path: bad attribute name", s)
	}
	return t, nil
}

// typeFilter reads `type eq "value"`.
func typeFilter(s string) (string, bool) {
	f := strings.SplitN(strings.TrimSpace(s), " ", 3)
	if len(f) != 3 || !strings.EqualFold(f[0], "type") || !strings.EqualFold(f[1], "eq") {
		return "", false
	}
	v := strings.TrimSpace(f[2])
	if len(v) < 3 || v[0] != '"' || v[len(v)-1] != '"' {
		return "", false
	}
	v = v[1 : len(v)-1]
	for _, c := range []byte(v) {
		if !nameByte(c) {
			return "", false
		}
	}
	return v, true
}

// attrName reports whether s is an ATTRNAME of RFC 7644 §3.4.2.2, or $ref.
func attrName(s string) bool {
	s = strings.TrimPrefix(s, "$")
	if s == "" || !letter(s[0]) {
		return false
	}
	for i := range len(s) {
		if !nameByte(s[i]) {
			return false
		}
	}
	return true
}

func letter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func nameByte(c byte) bool {
	return letter(c) || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// String returns the canonical path.
func (t Target) String() string {
	var b strings.Builder
	if t.URN != "" {
		b.WriteString(t.URN + ":")
	}
	b.WriteString(t.Attribute)
	if t.Type != "" {
		b.WriteString(`[type eq "` + t.Type + `"]`)
	}
	if t.Sub != "" {
		b.WriteString("." + t.Sub)
	}
	return b.String()
}

// entry returns the path of the whole entry for a filtered target, else of the target itself:
// what is to be removed when the value goes.
func (t Target) entry() string {
	if t.Type != "" {
		t.Sub = ""
	}
	return t.String()
}

// forbidden are attributes that the product sets, RFC 7643 §3.1, or that the engine sets.
var forbidden = map[string]bool{"id": true, "meta": true, "schemas": true, "groups": true, "password": true}

func checkSCIMRow(r *Row) error {
	t, err := ParseTarget(r.Target)
	if err != nil {
		return err
	}
	if t.URN == "" && forbidden[strings.ToLower(t.Attribute)] {
		return fmt.Errorf("%s can't be the target of a mapping", r.Target)
	}
	if r.Primary && t.Type == "" {
		return fmt.Errorf(`%s: primary needs a target of the form emails[type eq "work"].value`, r.Target)
	}
	if r.NameFormat != "" || r.JIT {
		return fmt.Errorf("%s: nameFormat and jit belong to SAML attributes", r.Target)
	}
	if r.Expression == "" && r.Attribute != "" {
		a, ok := FindAttribute(r.Attribute)
		if ok && (a.Kind == KindPhones || a.Kind == KindAddresses) && (t.Sub != "" || t.Type != "") {
			return fmt.Errorf("%s: %s is a list; map it to a whole multi-valued attribute", r.Target, a.Label)
		}
	}
	return nil
}

func checkSAMLRow(r *Row) error {
	if r.Target == "" || len(r.Target) > 1024 {
		return fmt.Errorf("the attribute's name must have 1 to 1024 characters")
	}
	for _, c := range r.Target {
		if c < 0x20 || c == 0x7f {
			return fmt.Errorf("%q: the attribute's name holds a control character", r.Target)
		}
	}
	if r.Primary {
		return fmt.Errorf("%s: primary belongs to SCIM paths", r.Target)
	}
	if r.NameFormat != "" && !strings.Contains(r.NameFormat, ":") {
		return fmt.Errorf("%s: nameFormat must be a URI", r.Target)
	}
	return nil
}
