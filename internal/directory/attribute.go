package directory

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // names of time zones are known on every machine
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"

	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// CustomPrefix begins the name of an attribute of the organization's own: "custom.<key>".
const CustomPrefix = "custom."

const (
	maxText         = 255
	maxEmail        = 254
	maxListed       = 10 // phones, addresses
	maxCustom       = 50
	maxCustomText   = 1000
	maxCustomValues = 100
	// Larger whole numbers don't survive JSON in every program.
	maxCustomNumber = 1 << 53
)

// textAttribute is an attribute of people that is one piece of text.
type textAttribute struct {
	name  string
	label string
	at    func(*Attributes) *string
	// check returns the value as it is kept, or what is wrong with it. It sees no empty value.
	check func(string) (string, string)
	// inherited attributes can be set on a group.
	inherited bool
}

var textAttributes = []textAttribute{
	{"username", "user name", func(a *Attributes) *string { return &a.Username }, checkUsername, false},
	{"email", "e-mail", func(a *Attributes) *string { return &a.Email }, CheckEmail, false},
	{"givenName", "given name", func(a *Attributes) *string { return &a.GivenName }, nil, false},
	{"middleName", "middle name", func(a *Attributes) *string { return &a.MiddleName }, nil, false},
	{"familyName", "family name", func(a *Attributes) *string { return &a.FamilyName }, nil, false},
	{"displayName", "display name", func(a *Attributes) *string { return &a.DisplayName }, nil, false},
	{"alternateEmail", "alternate e-mail", func(a *Attributes) *string { return &a.AlternateEmail }, CheckEmail, false},
	{"title", "job title", func(a *Attributes) *string { return &a.Title }, nil, true},
	{"department", "department", func(a *Attributes) *string { return &a.Department }, nil, true},
	{"company", "company", func(a *Attributes) *string { return &a.Company }, nil, true},
	{"costCentre", "cost centre", func(a *Attributes) *string { return &a.CostCentre }, nil, true},
	{"employeeId", "employee id", func(a *Attributes) *string { return &a.EmployeeID }, nil, false},
	{"employeeType", "employee type", func(a *Attributes) *string { return &a.EmployeeType }, nil, true},
	{"location", "location", func(a *Attributes) *string { return &a.Location }, nil, true},
	{"managerId", "manager", func(a *Attributes) *string { return (*string)(&a.ManagerID) }, nil, false},
	{"locale", "locale", func(a *Attributes) *string { return &a.Locale }, checkLanguage, true},
	{"timezone", "time zone", func(a *Attributes) *string { return &a.TimeZone }, checkTimeZone, true},
	{"preferredLanguage", "preferred language", func(a *Attributes) *string { return &a.PreferredLanguage }, checkLanguage, true},
}

func findText(name string) (textAttribute, bool) {
	i := slices.IndexFunc(textAttributes, func(t textAttribute) bool { return t.name == name })
	if i < 0 {
		return textAttribute{}, false
	}
	return textAttributes[i], true
}

// tidy is how every text is kept: Unicode NFC, no space around it.
func tidy(s string) string {
	if isPlain(s) {
		return s
	}
	return norm.NFC.String(strings.TrimSpace(s))
}

// isPlain reports whether tidy would leave s alone; it spares most values the slow way.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return s == "" || s[0] > ' ' && s[len(s)-1] > ' '
}

// checkText says what is wrong with a tidy text of at most limit characters.
func checkText(s string, limit int) string {
	if !utf8.ValidString(s) {
		return "This isn't valid text (UTF-8). Enter it again."
	}
	if utf8.RuneCountInString(s) > limit {
		return fmt.Sprintf("Use at most %d characters.", limit)
	}
	for _, r := range s {
		if isControl(r) {
			return "Line breaks and other control characters aren't allowed here."
		}
	}
	return ""
}

// isControl finds what can't be seen and changes how the text around it is read: control
// characters, line separators, and marks that turn the direction of writing.
func isControl(r rune) bool {
	if r < utf8.RuneSelf {
		return r < ' ' || r == 0x7f
	}
	return unicode.Is(unicode.Cc, r) || r == 0x2028 || r == 0x2029 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfeff
}

// checkUsername allows letters and digits of every script and the signs that e-mail addresses
// are made of.
func checkUsername(s string) (string, string) {
	for _, r := range s {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.Is(unicode.M, r) || r < utf8.RuneSelf && strings.ContainsRune(".-_+@'~!#$%&*=/?^{|}`", r) {
			continue
		}
		if unicode.IsSpace(r) {
			return s, "A user name can't contain spaces."
		}
		return s, `A user name can't contain the character ` + quoteRune(r) + `. Use letters, digits and . - _ + @.`
	}
	return s, ""
}

func quoteRune(r rune) string { return "“" + string(r) + "”" }

const emailHint = "This isn't an e-mail address. It looks like name@example.com."

// CheckEmail returns an e-mail address as it is kept (lower case, an international domain in
// its ASCII form), or a sentence that says what is wrong with it. The part before the @ has to
// be ASCII (RFC 5321 §4.1.2, dot-string): few applications accept more.
func CheckEmail(s string) (string, string) {
	local, domain, ok := strings.Cut(s, "@")
	if !ok || local == "" || domain == "" || strings.Contains(domain, "@") {
		return s, emailHint
	}
	for i, r := range local {
		switch {
		case r >= utf8.RuneSelf:
			return s, "The part before the @ can only have letters without accents, digits and common signs: many applications refuse others."
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r):
		case r == '.' && i > 0 && i < len(local)-1 && local[i-1] != '.':
		default:
			return s, emailHint
		}
	}
	ascii, err := toASCII(domain)
	if err != nil || !domainShape.MatchString(ascii) {
		return s, emailHint
	}
	out := strings.ToLower(local) + "@" + ascii
	if len(local) > 64 || len(out) > maxEmail {
		return s, fmt.Sprintf("This e-mail address is too long: at most 64 characters before the @ and %d in all.", maxEmail)
	}
	if !plainLocal(local) {
		if _, err := mail.ParseAddress(out); err != nil {
			return s, emailHint
		}
	}
	return out, ""
}

// plainLocal spares usual addresses a second parser.
func plainLocal(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool {
		plain := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_' || r == '+'
		return !plain
	}) < 0
}

func toASCII(domain string) (string, error) {
	for i := range len(domain) {
		if domain[i] >= utf8.RuneSelf {
			return idna.Lookup.ToASCII(domain)
		}
	}
	return strings.ToLower(domain), nil
}

// domainShape: labels of RFC 1123, at least two: an address without a dot is a slip, not an
// address that reaches an application.
var domainShape = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+$`)

var languageShape = regexp.MustCompile(`^[A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8})*$`)

// checkLanguage checks the shape of a BCP 47 tag. An underscore is taken as a hyphen.
func checkLanguage(s string) (string, string) {
	if !languageShape.MatchString(s) || len(s) > 35 {
		return s, "This isn't a language tag. It looks like en, en-GB or pt-BR."
	}
	return strings.ReplaceAll(s, "_", "-"), ""
}

// checkTimeZone asks the IANA database.
func checkTimeZone(s string) (string, string) {
	const hint = "This time zone isn't known. It looks like Europe/Berlin or America/New_York."
	if s == "Local" || len(s) > 64 {
		return s, hint
	}
	if _, err := time.LoadLocation(s); err != nil {
		return s, hint
	}
	return s, ""
}

var (
	phoneShape   = regexp.MustCompile(`^[+0-9A-Za-z ()./,;*#-]+$`)
	countryShape = regexp.MustCompile(`^[A-Z]{2}$`)
	customKey    = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,63}$`)
)

// checker checks attributes. It remembers time zones, because reading one costs more than all
// the rest of a row of an import.
type checker struct{ zones map[string]string }

// check brings a into the form that is kept and adds what is wrong with it to f. needed says
// whether the e-mail address and user name have to be there.
func (c *checker) check(a *Attributes, f *problem.Fields) {
	for _, t := range textAttributes {
		p := t.at(a)
		*p = tidy(*p)
		if *p == "" {
			continue
		}
		if detail := checkText(*p, maxText); detail != "" {
			f.Add(t.name, "%s", detail)
			continue
		}
		if t.check == nil {
			continue
		}
		if t.name == "timezone" && c.zones != nil {
			detail, known := c.zones[*p]
			if !known {
				_, detail = checkTimeZone(*p)
				c.zones[*p] = detail
			}
			if detail != "" {
				f.Add(t.name, "%s", detail)
			}
			continue
		}
		v, detail := t.check(*p)
		if *p = v; detail != "" {
			f.Add(t.name, "%s", detail)
		}
	}
	switch {
	case a.Email == "" && !f.Has("email"):
		f.Add("email", "Enter an e-mail address.")
	case a.Username == "" && !f.Has("username"):
		a.Username = a.Email
	}
	a.Phones = checkPhones(a.Phones, f)
	a.Addresses = checkAddresses(a.Addresses, f)
	a.Custom = checkCustom(a.Custom, CustomPrefix, f)
}

func checkPhones(in []Phone, f *problem.Fields) []Phone {
	var out []Phone
	primary := false
	for i, p := range in {
		name := fmt.Sprintf("phones[%d]", i)
		p.Type, p.Value = tidy(p.Type), tidy(p.Value)
		if p.Value == "" {
			continue
		}
		if detail := checkText(p.Type, 50); detail != "" {
			f.Add(name+".type", "%s", detail)
		}
		digits := strings.IndexFunc(p.Value, unicode.IsDigit) >= 0
		switch {
		case len(p.Value) > 50:
			f.Add(name+".value", "Use at most 50 characters.")
		case !digits || !phoneShape.MatchString(p.Value):
			f.Add(name+".value", "This isn't a phone number. It looks like +49 30 1234567.")
		}
		if p.Primary && primary {
			f.Add(name+".primary", "Only one phone number can be the primary one.")
		}
		primary = primary || p.Primary
		out = append(out, p)
	}
	if len(out) > maxListed {
		f.Add("phones", "A person can have at most %d phone numbers.", maxListed)
	}
	return out
}

func checkAddresses(in []Address, f *problem.Fields) []Address {
	var out []Address
	primary := false
	for i, a := range in {
		name := fmt.Sprintf("addresses[%d]", i)
		empty := true
		for _, part := range []struct {
			name string
			at   *string
		}{
			{"type", &a.Type},
			{"street", &a.Street},
			{"locality", &a.Locality},
			{"region", &a.Region},
			{"postalCode", &a.PostalCode},
			{"country", &a.Country},
		} {
			*part.at = tidy(*part.at)
			empty = empty && (*part.at == "" || part.name == "type")
			text := *part.at
			if part.name == "street" {
				// The only text that has lines (RFC 7643 §4.1.2).
				text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", " ")
			}
			if detail := checkText(text, maxText); detail != "" {
				f.Add(name+"."+part.name, "%s", detail)
			}
		}
		if empty {
			continue
		}
		if a.Country = strings.ToUpper(a.Country); a.Country != "" && !countryShape.MatchString(a.Country) {
			f.Add(name+".country", "Enter the country's two-letter code, such as DE or US.")
		}
		if a.Primary && primary {
			f.Add(name+".primary", "Only one address can be the primary one.")
		}
		primary = primary || a.Primary
		out = append(out, a)
	}
	if len(out) > maxListed {
		f.Add("addresses", "A person can have at most %d addresses.", maxListed)
	}
	return out
}

// checkCustom returns custom values in the form that is kept; empty ones are dropped.
func checkCustom(in map[string]any, prefix string, f *problem.Fields) map[string]any {
	if len(in) == 0 {
		return nil
	}
	out := make(map[string]any, len(in))
	for _, key := range slices.Sorted(maps.Keys(in)) {
		if !customKey.MatchString(key) {
			f.Add(prefix+key, "The name of a custom attribute begins with a letter and has only letters, digits and _, at most 64.")
			continue
		}
		v, detail := customValue(in[key])
		switch {
		case detail != "":
			f.Add(prefix+key, "%s", detail)
		case v != nil:
			out[key] = v
		}
	}
	if len(out) > maxCustom {
		f.Add(strings.TrimSuffix(prefix, "."), "At most %d custom attributes are allowed.", maxCustom)
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// customValue brings a value into one of the kinds that are kept: string, bool, int64, float64,
// []string. nil means no value.
func customValue(v any) (any, string) {
	number := func(x float64) (any, string) {
		switch {
		case math.IsNaN(x) || math.IsInf(x, 0) || math.Abs(x) > maxCustomNumber:
			return nil, "This number is too large."
		case x == math.Trunc(x):
			return int64(x), ""
		}
		return x, ""
	}
	switch v := v.(type) {
	case nil:
		return nil, ""
	case string:
		if v = tidy(v); v == "" {
			return nil, ""
		}
		return v, checkText(v, maxCustomText)
	case bool:
		return v, ""
	case int:
		return number(float64(v))
	case int64:
		return number(float64(v))
	case float64:
		return number(v)
	case json.Number:
		x, err := v.Float64()
		if err != nil {
			return nil, "This number is too large."
		}
		return number(x)
	case []any:
		list := make([]string, 0, len(v))
		for _, x := range v {
			s, ok := x.(string)
			if !ok {
				return nil, "A list can only have texts in it."
			}
			list = append(list, s)
		}
		return customList(list)
	case []string:
		return customList(v)
	}
	return nil, "The value has to be text, a number, yes or no (true or false), or a list of texts."
}

func customList(in []string) (any, string) {
	var out []string
	for _, s := range in {
		if s = tidy(s); s == "" {
			continue
		}
		if detail := checkText(s, maxText); detail != "" {
			return nil, detail
		}
		out = append(out, s)
	}
	if len(out) > maxCustomValues {
		return nil, fmt.Sprintf("A list can have at most %d values.", maxCustomValues)
	}
	if out == nil {
		return nil, ""
	}
	return out, ""
}

// clone returns a copy that shares nothing with a.
func (a Attributes) clone() Attributes {
	a.Phones, a.Addresses = slices.Clone(a.Phones), slices.Clone(a.Addresses)
	a.Custom = cloneCustom(a.Custom)
	return a
}

func cloneCustom(in map[string]any) map[string]any {
	if in == nil {
		return nil
	}
	out := make(map[string]any, len(in))
	for k, v := range in {
		if list, ok := v.([]string); ok {
			v = slices.Clone(list)
		}
		out[k] = v
	}
	return out
}

// Effective returns u with what it inherits from groups. A value of the person's own wins; of
// two groups that set the same attribute, the first by name does.
func Effective(u User, groups []Group) User {
	if !slices.ContainsFunc(groups, func(g Group) bool { return len(g.Attributes) > 0 }) {
		return u
	}
	u.Attributes = u.clone()
	sorted := slices.SortedFunc(slices.Values(groups), func(a, b Group) int {
		if c := strings.Compare(store.Key(a.Name), store.Key(b.Name)); c != 0 {
			return c
		}
		return strings.Compare(string(a.ID), string(b.ID))
	})
	for _, g := range sorted {
		for name, v := range g.Attributes {
			if key, ok := strings.CutPrefix(name, CustomPrefix); ok {
				if _, own := u.Custom[key]; !own {
					if u.Custom == nil {
						u.Custom = map[string]any{}
					}
					u.Custom[key] = v
				}
				continue
			}
			text, isText := v.(string)
			if t, ok := findText(name); ok && isText && t.inherited && *t.at(&u.Attributes) == "" {
				*t.at(&u.Attributes) = text
			}
		}
	}
	return u
}

// InheritedAttributes lists the names of the text attributes that can be set on a group;
// custom ones ("custom.<key>") can be too.
func InheritedAttributes() []string {
	var out []string
	for _, t := range textAttributes {
		if t.inherited {
			out = append(out, t.name)
		}
	}
	return out
}

// checkGroup brings a group's attributes into the form that is kept and adds what is wrong to f.
func checkGroup(g *GroupAttributes, f *problem.Fields) {
	g.Name = strings.Join(strings.Fields(tidy(g.Name)), " ")
	switch detail := checkText(g.Name, maxText); {
	case g.Name == "":
		f.Add("name", "Give the group a name.")
	case detail != "":
		f.Add("name", "%s", detail)
	}
	g.Description = tidy(g.Description)
	if detail := checkText(strings.ReplaceAll(strings.ReplaceAll(g.Description, "\r\n", "\n"), "\n", " "), 1000); detail != "" {
		f.Add("description", "%s", detail)
	}
	custom, texts := map[string]any{}, map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(g.Attributes)) {
		if key, ok := strings.CutPrefix(name, CustomPrefix); ok {
			custom[key] = g.Attributes[name]
			continue
		}
		t, ok := findText(name)
		if !ok || !t.inherited {
			f.Add("attributes."+name, "Members can't inherit this. They can inherit %s, and custom.<name>.", strings.Join(InheritedAttributes(), ", "))
			continue
		}
		s, isText := g.Attributes[name].(string)
		if !isText && g.Attributes[name] != nil {
			f.Add("attributes."+name, "The value has to be text.")
			continue
		}
		if s = tidy(s); s == "" {
			continue
		}
		detail := checkText(s, maxText)
		if detail == "" && t.check != nil {
			s, detail = t.check(s)
		}
		if detail != "" {
			f.Add("attributes."+name, "%s", detail)
			continue
		}
		texts[name] = s
	}
	for key, v := range checkCustom(custom, "attributes."+CustomPrefix, f) {
		texts[CustomPrefix+key] = v
	}
	g.Attributes = texts
	if len(texts) == 0 {
		g.Attributes = nil
	}
}
