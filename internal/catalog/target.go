package catalog

import (
	"fmt"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/scim"
)

// EnterpriseUser is the URN of the enterprise extension, RFC 7643 §4.3.
const EnterpriseUser = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"

// ActiveTarget is the SCIM attribute that switches an account on and off. Its row is always
// locked, shown to administrators, and not part of scim.Desired: the planner decides it from
// Person.Active.
const ActiveTarget = "active"

// parseTarget reads the SCIM path of a row. A mapping can write less than RFC 7644 §3.10
// allows:
//
//	title
//	name.givenName
//	emails[type eq "work"].value
//	urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department
func parseTarget(s string) (scim.Path, error) {
	p, err := scim.ParsePath(s)
	if err != nil {
		return p, fmt.Errorf("%q is not a SCIM path: %w", s, err)
	}
	if p.Attribute == "" {
		return p, fmt.Errorf("%q is a whole extension; name one of its attributes", s)
	}
	if f := p.Filter; f != nil {
		text, isText := f.Value.(string)
		if f.Op != scim.OpEqual || !strings.EqualFold(f.Path.String(), "type") || !isText || text == "" {
			return p, fmt.Errorf(`%q: the only filter possible in a mapping is [type eq "…"]`, s)
		}
		if p.Sub == "" {
			return p, fmt.Errorf("%q: name the part of the entry to set, for example .value", s)
		}
	}
	return p, nil
}

// entryOf returns the path of the whole entry for a filtered path, else the path itself: what
// is to be removed when the value goes.
func entryOf(p scim.Path) string {
	if p.Filter != nil {
		p.Sub = ""
	}
	return p.String()
}

// forbidden are attributes that the product sets, RFC 7643 §3.1, or that no mapping may write.
var forbidden = map[string]bool{"id": true, "meta": true, "schemas": true, "groups": true, "password": true}

func checkSCIMRow(r *Row) error {
	p, err := parseTarget(r.Target)
	if err != nil {
		return err
	}
	if p.Schema == "" {
		switch name := strings.ToLower(p.Attribute); {
		case forbidden[name]:
			return fmt.Errorf("%s can't be the target of a mapping", r.Target)
		case name == ActiveTarget && (p.Sub != "" || p.Filter != nil || r.Attribute != "active" || !r.Locked):
			return fmt.Errorf("%s always follows the person's state and bindings and can't be mapped otherwise", r.Target)
		}
	}
	if r.Primary && p.Filter == nil {
		return fmt.Errorf(`%s: primary needs a target of the form emails[type eq "work"].value`, r.Target)
	}
	if r.NameFormat != "" || r.JIT {
		return fmt.Errorf("%s: nameFormat and jit belong to SAML attributes", r.Target)
	}
	if a, ok := FindAttribute(r.Attribute); ok && (a.Kind == KindPhones || a.Kind == KindAddresses) && (p.Sub != "" || p.Filter != nil) {
		return fmt.Errorf("%s: %s is a list; map it to a whole multi-valued attribute", r.Target, a.Label)
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
