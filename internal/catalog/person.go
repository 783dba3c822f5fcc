package catalog

import (
	"slices"
	"strings"
)

// Person is what a mapping reads: one user of the directory, seen from one application. Package
// directory fills it. Empty strings, nil slices and missing custom keys all mean "no value".
type Person struct {
	ID                string
	Username          string
	Email             string
	AlternateEmail    string
	GivenName         string
	MiddleName        string
	FamilyName        string
	DisplayName       string
	Title             string
	Department        string
	Company           string
	CostCentre        string
	EmployeeID        string
	EmployeeType      string
	Location          string
	ManagerID         string
	Locale            string
	Timezone          string
	PreferredLanguage string
	Phones            []Phone
	Addresses         []Address
	// Custom holds the organization's own attributes by key: string, bool, int64, float64 or
	// []string.
	Custom map[string]any
	// State is the directory's state: staged, active, suspended or deleted.
	State string
	// Groups are the names of the person's groups that are bound to this application.
	Groups []string
	// AuthnMethods are the proofs of the session that a sign-on rests on (RFC 8176), e.g. "pwd". Only sign-on fills it.
	AuthnMethods []string
}

// Phone is one telephone number.
type Phone struct {
	Type    string `json:"type"`
	Value   string `json:"value"`
	Primary bool   `json:"primary"`
}

// Address is one postal address (RFC 7643 §4.1.2).
type Address struct {
	Type       string `json:"type"`
	Street     string `json:"street"`
	Locality   string `json:"locality"`
	Region     string `json:"region"`
	PostalCode string `json:"postalCode"`
	Country    string `json:"country"`
	Primary    bool   `json:"primary"`
}

// StateActive is the only Person.State that has access.
const StateActive = "active"

// Active reports whether the account should be active at the application: the person is
// active and holds at least one group bound to it (access comes from bindings only).
func (p *Person) Active() bool { return p.State == StateActive && len(p.Groups) > 0 }

// FullName returns the display name or, if there is none, given and family name.
func (p *Person) FullName() string {
	if p.DisplayName != "" {
		return p.DisplayName
	}
	return strings.TrimSpace(p.GivenName + " " + p.FamilyName)
}

// AttributeKind is the kind of value an attribute holds.
type AttributeKind string

// The kinds.
const (
	KindString    AttributeKind = "string"
	KindBool      AttributeKind = "bool"
	KindStrings   AttributeKind = "strings"
	KindPhones    AttributeKind = "phones"
	KindAddresses AttributeKind = "addresses"
	// KindAny is a custom attribute: its value decides.
	KindAny AttributeKind = "any"
)

// Attribute is one attribute that a row can read.
type Attribute struct {
	// Name is what Source.Attribute holds, e.g. "givenName".
	Name string
	// Label is the administrator's word for it, e.g. "given name".
	Label string
	Kind  AttributeKind
	read  func(*Person) any
}

// CustomPrefix starts the name of an attribute of the organization's own: "custom.<key>".
const CustomPrefix = "custom."

// Attributes returns every attribute that a row can read, in the order of a form. Custom ones
// ("custom.<key>") are not among them.
func Attributes() []Attribute { return slices.Clone(attributes) }

func text(f func(*Person) *string) func(*Person) any {
	return func(p *Person) any {
		if s := *f(p); s != "" {
			return s
		}
		return nil
	}
}

var attributes = []Attribute{
	{"id", "id", KindString, text(func(p *Person) *string { return &p.ID })},
	{"username", "username", KindString, text(func(p *Person) *string { return &p.Username })},
	{"email", "e-mail", KindString, text(func(p *Person) *string { return &p.Email })},
	{"alternateEmail", "alternate e-mail", KindString, text(func(p *Person) *string { return &p.AlternateEmail })},
	{"givenName", "given name", KindString, text(func(p *Person) *string { return &p.GivenName })},
	{"middleName", "middle name", KindString, text(func(p *Person) *string { return &p.MiddleName })},
	{"familyName", "family name", KindString, text(func(p *Person) *string { return &p.FamilyName })},
	{"displayName", "display name", KindString, text(func(p *Person) *string { return &p.DisplayName })},
	{"fullName", "display name, else given and family name", KindString, func(p *Person) any {
		if s := p.FullName(); s != "" {
			return s
		}
		return nil
	}},
	{"title", "job title", KindString, text(func(p *Person) *string { return &p.Title })},
	{"department", "department", KindString, text(func(p *Person) *string { return &p.Department })},
	{"company", "company", KindString, text(func(p *Person) *string { return &p.Company })},
	{"costCentre", "cost centre", KindString, text(func(p *Person) *string { return &p.CostCentre })},
	{"employeeId", "employee id", KindString, text(func(p *Person) *string { return &p.EmployeeID })},
	{"employeeType", "employee type", KindString, text(func(p *Person) *string { return &p.EmployeeType })},
	{"location", "location", KindString, text(func(p *Person) *string { return &p.Location })},
	{"managerId", "manager", KindString, text(func(p *Person) *string { return &p.ManagerID })},
	{"phones", "phone numbers", KindPhones, func(p *Person) any {
		if len(p.Phones) == 0 {
			return nil
		}
		return p.Phones
	}},
	{"addresses", "addresses", KindAddresses, func(p *Person) any {
		if len(p.Addresses) == 0 {
			return nil
		}
		return p.Addresses
	}},
	{"locale", "locale", KindString, text(func(p *Person) *string { return &p.Locale })},
	{"timezone", "time zone", KindString, text(func(p *Person) *string { return &p.Timezone })},
	{"preferredLanguage", "preferred language", KindString, text(func(p *Person) *string { return &p.PreferredLanguage })},
	{"state", "state", KindString, text(func(p *Person) *string { return &p.State })},
	{"active", "active and entitled", KindBool, func(p *Person) any { return p.Active() }},
	{"groups", "groups bound to this application", KindStrings, func(p *Person) any {
		if len(p.Groups) == 0 {
			return nil
		}
		return p.Groups
	}},
	{"authnMethods", "ways of signing in (AMR), at sign-on", KindStrings, func(p *Person) any {
		if len(p.AuthnMethods) == 0 {
			return nil
		}
		return p.AuthnMethods
	}},
}

// FindAttribute returns the attribute of that name. Names are case-sensitive. Any
// "custom.<key>" is found.
func FindAttribute(name string) (Attribute, bool) {
	for _, a := range attributes {
		if a.Name == name {
			return a, true
		}
	}
	if key, ok := strings.CutPrefix(name, CustomPrefix); ok && key != "" {
		return Attribute{Name: name, Label: key, Kind: KindAny, read: func(p *Person) any { return customValue(p.Custom[key]) }}, true
	}
	return Attribute{}, false
}

// customValue drops values that mean "no value" and kinds that no target can hold.
func customValue(v any) any {
	switch v := v.(type) {
	case string:
		if v == "" {
			return nil
		}
		return v
	case bool, int64, float64:
		return v
	case int:
		return int64(v)
	case []string:
		if len(v) == 0 {
			return nil
		}
		return v
	case []any:
		out := make([]string, 0, len(v))
		for _, e := range v {
			if s, ok := e.(string); ok && s != "" {
				out = append(out, s)
			}
		}
		if len(out) == 0 {
			return nil
		}
		return out
	default:
		return nil
	}
}
