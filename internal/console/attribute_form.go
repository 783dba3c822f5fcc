package console

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// textField is an attribute that is one line of text in a form.
type textField struct {
	Name, Label, Help, Example, Completes string
	at                                    func(*directory.Attributes) *string
}

func nameFields() []textField {
	return []textField{
		{Name: "givenName", Label: "Given name", at: func(a *directory.Attributes) *string { return &a.GivenName }},
		{Name: "familyName", Label: "Family name", at: func(a *directory.Attributes) *string { return &a.FamilyName }},
		{Name: "middleName", Label: "Middle name", at: func(a *directory.Attributes) *string { return &a.MiddleName }},
		{Name: "displayName", Label: "Display name", Example: "Given and family name", at: func(a *directory.Attributes) *string { return &a.DisplayName }},
	}
}

func accountFields() []textField {
	return []textField{
		{Name: "email", Label: "E-mail", Help: "Applications know people by it.", Example: "name@example.com", at: func(a *directory.Attributes) *string { return &a.Email }},
		{Name: "username", Label: "User name", Help: "Empty: the e-mail address.", at: func(a *directory.Attributes) *string { return &a.Username }},
	}
}

func workFields() []textField {
	return []textField{
		{Name: "title", Label: "Job title", at: func(a *directory.Attributes) *string { return &a.Title }},
		{Name: "department", Label: "Department", at: func(a *directory.Attributes) *string { return &a.Department }},
		{Name: "company", Label: "Company", at: func(a *directory.Attributes) *string { return &a.Company }},
		{Name: "costCentre", Label: "Cost centre", at: func(a *directory.Attributes) *string { return &a.CostCentre }},
		{Name: "employeeId", Label: "Employee id", at: func(a *directory.Attributes) *string { return &a.EmployeeID }},
		{Name: "employeeType", Label: "Employee type", Example: "Employee, contractor, intern", at: func(a *directory.Attributes) *string { return &a.EmployeeType }},
		{Name: "location", Label: "Location", at: func(a *directory.Attributes) *string { return &a.Location }},
	}
}

func languageFields() []textField {
	return []textField{
		{Name: "preferredLanguage", Label: "Preferred language", Example: "en-GB", Help: "A tag such as en-GB.", at: func(a *directory.Attributes) *string { return &a.PreferredLanguage }},
		{Name: "locale", Label: "Locale", Example: "de-CH", Help: "How dates and numbers are written.", at: func(a *directory.Attributes) *string { return &a.Locale }},
		{Name: "timezone", Label: "Time zone", Example: "Europe/Berlin", Help: "A name of the IANA database.", at: func(a *directory.Attributes) *string { return &a.TimeZone }},
	}
}

func contactFields() []textField {
	return []textField{
		{Name: "alternateEmail", Label: "Alternate e-mail", Help: "Where people can be reached when the first one fails.", at: func(a *directory.Attributes) *string { return &a.AlternateEmail }},
	}
}

func textFields() []textField {
	return slices.Concat(nameFields(), accountFields(), workFields(), languageFields(), contactFields())
}

// field is the text field in a form.
func (t textField) field(f web.Form) web.Field {
	return f.Field(t.Name, t.Label).Hint(t.Help).Example(t.Example).Completes("off")
}

// Custom attributes are rows of a form: what there is by key, and an empty row for one more.
const (
	customRows = 1
	kindText   = "text"
	kindNumber = "number"
	kindBool   = "bool"
	kindList   = "list"
)

// customField is one custom attribute in a form.
type customField struct{ Key, Kind string }

func customKind(v any) string {
	switch v.(type) {
	case bool:
		return kindBool
	case int64, float64, int:
		return kindNumber
	case []string, []any:
		return kindList
	default:
		return kindText
	}
}

func customText(v any) string {
	switch x := v.(type) {
	case nil:
		return ""
	case string:
		return x
	case []string:
		return strings.Join(x, "\n")
	case []any:
		parts := make([]string, len(x))
		for i, p := range x {
			parts[i] = fmt.Sprint(p)
		}
		return strings.Join(parts, "\n")
	case float64:
		return strconv.FormatFloat(x, 'f', -1, 64)
	default:
		return fmt.Sprint(x)
	}
}

// customFields lists the custom attributes of a form in order.
func customFields(custom map[string]any) []customField {
	var list []customField
	for _, k := range slices.Sorted(maps.Keys(custom)) {
		list = append(list, customField{Key: k, Kind: customKind(custom[k])})
	}
	return list
}

// readCustom reads the custom attributes of a posted form. Fields begin with prefix, e.g.
// "custom.".
func readCustom(form url.Values, prefix string, bad *problem.Fields) map[string]any {
	out := map[string]any{}
	read := func(key, kind, text, field string) {
		text = strings.TrimSpace(text)
		if text == "" {
			return
		}
		v, detail := customValue(kind, text)
		if detail != "" {
			bad.Add(field, "%s", detail)
			v = text
		}
		out[key] = v
	}
	for name := range form {
		key, ok := strings.CutPrefix(name, prefix)
		if !ok || key == "" {
			continue
		}
		read(key, form.Get("kind."+name), form.Get(name), name)
	}
	for i := range customRows {
		row := "new." + prefix + strconv.Itoa(i)
		key, text := strings.TrimSpace(form.Get(row+".key")), form.Get(row+".value")
		switch _, there := out[key]; {
		case key == "" && strings.TrimSpace(text) == "":
		case key == "":
			bad.Add(row+".key", "Give the attribute a name, such as badgeNumber.")
		case there:
			bad.Add(row+".key", "There is already an attribute %s. Change its value instead.", key)
		default:
			read(key, form.Get(row+".kind"), text, prefix+key)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// customValue turns text into a value of a kind, or says what is wrong with it.
func customValue(kind, text string) (any, string) {
	switch kind {
	case kindNumber:
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n, ""
		}
		if x, err := strconv.ParseFloat(text, 64); err == nil {
			return x, ""
		}
		return nil, "This isn't a number. Write it like 42 or 3.5."
	case kindBool:
		switch text {
		case "true":
			return true, ""
		case "false":
			return false, ""
		}
		return nil, "Choose yes or no."
	case kindList:
		var list []string
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "" {
				list = append(list, line)
			}
		}
		return list, ""
	default:
		return text, ""
	}
}

func kindOptions() []web.Option {
	return []web.Option{{Value: kindText, Label: "Text"}, {Value: kindNumber, Label: "Number"}, {Value: kindBool, Label: "Yes or no"}, {Value: kindList, Label: "List, one per line"}}
}

// attributeValues is a person's attributes as the values of a form.
func attributeValues(a directory.Attributes) map[string]string {
	v := map[string]string{}
	for _, t := range textFields() {
		v[t.Name] = *t.at(&a)
	}
	for i, p := range a.Phones {
		n := indexed("phones", i)
		v[n+".type"], v[n+".value"] = p.Type, p.Value
		if p.Primary {
			v["phones.primary"] = strconv.Itoa(i)
		}
	}
	for i, d := range a.Addresses {
		n := indexed("addresses", i)
		v[n+".type"], v[n+".street"], v[n+".locality"] = d.Type, d.Street, d.Locality
		v[n+".region"], v[n+".postalCode"], v[n+".country"] = d.Region, d.PostalCode, d.Country
		if d.Primary {
			v["addresses.primary"] = strconv.Itoa(i)
		}
	}
	for k, x := range a.Custom {
		v[directory.CustomPrefix+k] = customText(x)
	}
	return v
}

func indexed(name string, i int) string { return name + "[" + strconv.Itoa(i) + "]" }

// readAttributes reads what attributeValues writes. The manager is read by its caller, who can
// look people up.
func readAttributes(form url.Values, bad *problem.Fields) directory.Attributes {
	var a directory.Attributes
	for _, t := range textFields() {
		*t.at(&a) = form.Get(t.Name)
	}
	a.Phones = readRows(form, "phones", func(get func(string) string) (directory.Phone, bool) {
		p := directory.Phone{Type: get("type"), Value: get("value")}
		return p, p.Value == ""
	})
	if i, ok := primary(form, "phones", len(a.Phones)); ok {
		a.Phones[i].Primary = true
	}
	a.Addresses = readRows(form, "addresses", func(get func(string) string) (directory.Address, bool) {
		d := directory.Address{
			Type: get("type"), Street: get("street"), Locality: get("locality"), Region: get("region"),
			PostalCode: get("postalCode"), Country: get("country"),
		}
		return d, d.Street+d.Locality+d.Region+d.PostalCode+d.Country == ""
	})
	if i, ok := primary(form, "addresses", len(a.Addresses)); ok {
		a.Addresses[i].Primary = true
	}
	a.Custom = readCustom(form, directory.CustomPrefix, bad)
	return a
}

const mostRows = 20 // beyond what the directory accepts, so that its own sentence is shown

// readRows reads rows "name[0].part", "name[1].part" …; empty ones are left out.
func readRows[T any](form url.Values, name string, read func(get func(string) string) (T, bool)) []T {
	var rows []T
	for i := range mostRows {
		row, empty := read(func(part string) string { return strings.TrimSpace(form.Get(indexed(name, i) + "." + part)) })
		if !empty {
			rows = append(rows, row)
		}
	}
	return rows
}

// primary is which of n rows was chosen as the primary one, counted without the empty rows.
func primary(form url.Values, name string, n int) (int, bool) {
	i, err := strconv.Atoi(form.Get(name + ".primary"))
	if err != nil || i < 0 || i >= mostRows {
		return 0, false
	}
	filled := func(i int) bool {
		for field := range form {
			if part, ok := strings.CutPrefix(field, indexed(name, i)+"."); ok && part != "type" && strings.TrimSpace(form.Get(field)) != "" {
				return true
			}
		}
		return false
	}
	if !filled(i) {
		return 0, false
	}
	at := 0
	for before := range i {
		if filled(before) {
			at++
		}
	}
	return at, at < n
}

// withFieldNames gives field errors the names of a form's fields.
func withFieldNames(err error, names map[string]string) error {
	p, ok := errors.AsType[*problem.Error](err)
	if !ok || len(p.Fields) == 0 {
		return err
	}
	out := *p
	out.Fields = slices.Clone(p.Fields)
	for i, f := range out.Fields {
		if to, ok := names[f.Name]; ok {
			out.Fields[i].Name = to
		}
	}
	return &out
}
