package web

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/a-h/templ"

	"github.com/latchkey-idp/latchkey/internal/problem"
)

// Variant is the weight of a button.
type Variant string

// The variants. A page has at most one Primary.
const (
	Secondary Variant = ""
	Primary   Variant = "primary"
	Ghost     Variant = "ghost"
	// Destructive is for acts that take something away.
	Destructive Variant = "danger"
)

// Button is a button, or a link that looks like one when Href is set.
type Button struct {
	Label   string
	Variant Variant
	// Icon stands before the label; see Icons for names.
	Icon string
	// IconOnly hides the label from sight and keeps it for screen readers and as a tip.
	IconOnly bool
	Small    bool
	// Href makes it a link.
	Href string
	// NewTab opens the link in a new tab.
	NewTab bool
	// Download makes the link save a file of this name.
	Download string
	// Opens is the id of a Dialog on this page that opens instead of following Href. Without
	// script Href is followed, so it should lead to the same form as a page.
	Opens string
	// Type is "submit" (the default) or "button".
	Type string
	// Name and Value are sent when this button submits the form.
	Name, Value string
	Disabled    bool
	// Attrs are further attributes, e.g. hx-post.
	Attrs templ.Attributes
}

// Render implements templ.Component.
func (b Button) Render(ctx context.Context, w io.Writer) error { return button(b).Render(ctx, w) }

func (b Button) class() string {
	c := "btn"
	if b.Variant != "" {
		c += " " + string(b.Variant)
	}
	if b.Small {
		c += " small"
	}
	if b.IconOnly {
		c += " icon-only"
	}
	return c
}

// PostButton is a button in a form of its own, for an act that needs no input. CSRF is
// refused by the server's cross-origin check, so it carries no token.
type PostButton struct {
	Button
	// Action is where it posts.
	Action string
	// Hidden are values that go along, by name.
	Hidden map[string]string
}

// Render implements templ.Component.
func (b PostButton) Render(ctx context.Context, w io.Writer) error {
	return postButton(b).Render(ctx, w)
}

// Link is a text link.
type Link struct {
	Label, Href string
	Icon        string
	// NewTab opens it in a new tab and says so.
	NewTab bool
	// Strong marks the main link of a row.
	Strong bool
}

// Render implements templ.Component.
func (l Link) Render(ctx context.Context, w io.Writer) error { return link(l).Render(ctx, w) }

// Menu is a button that opens a list of further acts.
type Menu struct {
	// Label names it, e.g. "More actions".
	Label string
	// Icon, when set, is shown instead of the label.
	Icon  string
	Items []MenuItem
}

// MenuItem is one act of a Menu.
type MenuItem struct {
	Label, Icon string
	// Href is a link; with Post it is where a form posts.
	Href string
	Post bool
	// Opens is the id of a Dialog, as in Button.
	Opens string
	// Danger marks an act that takes something away.
	Danger bool
	Attrs  templ.Attributes
}

// Render implements templ.Component.
func (m Menu) Render(ctx context.Context, w io.Writer) error { return menu(m).Render(ctx, w) }

// Field describes one input. The functions TextField, Select … draw it. Build it from a Form,
// so that after an error the person's values and the reasons are kept:
//
//	@web.TextField(form.Field("label", "Display label").Must().Hint("Shown to people."))
type Field struct {
	Name, Label string
	// ID defaults to "f-" and the name.
	ID    string
	Value string
	// Checked is for Checkbox and Switch.
	Checked bool
	// Help says what to enter, below the label.
	Help string
	// Error says what is wrong with Value and what to do.
	Error        string
	Required     bool
	Disabled     bool
	ReadOnly     bool
	Autofocus    bool
	Placeholder  string
	Autocomplete string
	InputMode    string
	// MaxLength in characters; 0 means no limit here.
	MaxLength int
	// Rows of a TextArea; 0 means 4.
	Rows int
	// Mono shows the value in the code font, for URLs, identifiers and PEM.
	Mono bool
	// Prefix and Suffix are shown inside the frame, e.g. "https://" or "days".
	Prefix, Suffix string
	// Accept is a FileField's list of types, e.g. ".csv,text/csv".
	Accept string
	// When shows the field only while another has a value: "mode=custom". Without script it
	// is always shown.
	When string
	// Need replaces the word "optional" beside a label, e.g. "needed to activate".
	Need string
	// Attrs are further attributes of the input.
	Attrs templ.Attributes

	form url.Values // the values of the Form that it comes from
	off  bool       // When isn't met
}

// Hint sets Help.
func (f Field) Hint(text string) Field { f.Help = text; return f }

// Must sets Required.
func (f Field) Must() Field { f.Required = true; return f }

// NeededTo says what the field is needed for later, in place of "optional": "activate".
func (f Field) NeededTo(what string) Field { f.Need = "needed to " + what; return f }

// Default sets Value where it is empty.
func (f Field) Default(v string) Field {
	if f.Value == "" {
		f.Value = v
	}
	return f
}

// Example sets Placeholder.
func (f Field) Example(text string) Field { f.Placeholder = text; return f }

// Completes sets Autocomplete, e.g. "username".
func (f Field) Completes(token string) Field { f.Autocomplete = token; return f }

// Focus sets Autofocus.
func (f Field) Focus() Field { f.Autofocus = true; return f }

// Code sets Mono.
func (f Field) Code() Field { f.Mono = true; return f }

// Limit sets MaxLength.
func (f Field) Limit(characters int) Field { f.MaxLength = characters; return f }

// Off sets Disabled when off is true.
func (f Field) Off(off bool) Field { f.Disabled = off; return f }

// OnlyWhen sets When. A field of a Form that doesn't meet the condition now is left out from the
// first moment where scripts run, so that nothing moves.
func (f Field) OnlyWhen(condition string) Field {
	f.When = condition
	if f.form != nil {
		name, values, _ := strings.Cut(condition, "=")
		f.off = !slices.Contains(strings.Split(values, "|"), f.form.Get(name))
	}
	return f
}

// With sets one further attribute of the input.
func (f Field) With(name string, value any) Field {
	attrs := templ.Attributes{}
	maps.Copy(attrs, f.Attrs)
	attrs[name] = value
	f.Attrs = attrs
	return f
}

func (f Field) id() string { return cmpOr(f.ID, "f-"+fieldID(f.Name)) }

// fieldID keeps a name such as "acs[0].url" usable in an id, a selector and a fragment.
func fieldID(name string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
			return c
		}
		return '-'
	}, name)
}

func (f Field) describedBy() string {
	var ids []string
	if f.Error != "" {
		ids = append(ids, f.id()+"-error")
	}
	if f.Help != "" {
		ids = append(ids, f.id()+"-help")
	}
	return strings.Join(ids, " ")
}

// attrs are the attributes that every kind of input shares.
func (f Field) attrs() templ.Attributes {
	a := templ.Attributes{"id": f.id(), "name": f.Name}
	maps.Copy(a, f.Attrs)
	if d := f.describedBy(); d != "" {
		a["aria-describedby"] = d
	}
	if f.Error != "" {
		a["aria-invalid"] = "true"
	}
	set := func(name string, on bool) {
		if on {
			a[name] = true
		}
	}
	set("required", f.Required)
	set("disabled", f.Disabled)
	set("readonly", f.ReadOnly)
	set("autofocus", f.Autofocus)
	text := func(name, v string) {
		if v != "" {
			a[name] = v
		}
	}
	text("placeholder", f.Placeholder)
	text("autocomplete", f.Autocomplete)
	text("inputmode", f.InputMode)
	if f.MaxLength > 0 {
		a["maxlength"] = strconv.Itoa(f.MaxLength)
	}
	return a
}

// Option is one choice of Select, Radios or RadioCards.
type Option struct {
	Value, Label string
	// Help is a second line in Radios and RadioCards.
	Help string
	// Icon is shown by RadioCards.
	Icon     string
	Disabled bool
	// Group puts options of a Select under a heading.
	Group string
}

// Form is what a form shows: the values and what is wrong with them. Its zero value is an
// empty form.
type Form struct {
	values url.Values
	fields []problem.Field
	text   string
	id     string
}

// NewForm returns a form filled with values, by field name.
func NewForm(values map[string]string) Form {
	f := Form{values: url.Values{}}
	for k, v := range values {
		f.values.Set(k, v)
	}
	return f
}

// PostedForm returns a form with what r posted, so that nothing the person typed is lost. It
// expects that the handler has parsed the body (r.ParseForm or r.ParseMultipartForm).
func PostedForm(r *http.Request) Form { return Form{values: r.PostForm} }

// Named tells the form from another on the same page that has fields of the same names: it
// starts the ids of its fields.
func (f Form) Named(id string) Form { f.id = id; return f }

func (f Form) fieldID(name string) string { return cmpOr(f.id, "f") + "-" + fieldID(name) }

// Fail returns the form with what err says is wrong, and true, when err can be put right in
// the form: when it is of kind Invalid or Conflict. Otherwise it returns false and the handler
// should return err.
//
//	if err := users.Create(…); err != nil {
//		form, ok := web.PostedForm(r).Fail(err)
//		if !ok {
//			return err
//		}
//		return web.Render(w, r, web.Status(err), newUserPage(page, form))
//	}
func (f Form) Fail(err error) (Form, bool) {
	if k := problem.KindOf(err); k != problem.Invalid && k != problem.Conflict {
		return f, false
	}
	f.text, f.fields = problem.Public(err), problem.FieldsOf(err)
	return f, true
}

// Failed reports whether something is wrong.
func (f Form) Failed() bool { return f.text != "" || len(f.fields) > 0 }

// Value returns the value of a field.
func (f Form) Value(name string) string { return f.values.Get(name) }

// All returns all values of a field, e.g. of several checkboxes of one name.
func (f Form) All(name string) []string { return f.values[name] }

// Has reports whether a field has the value among its values.
func (f Form) Has(name, value string) bool {
	return slices.Contains(f.values[name], value)
}

// Error returns what is wrong with a field, or "".
func (f Form) Error(name string) string {
	for _, p := range f.fields {
		if p.Name == name {
			return p.Detail
		}
	}
	return ""
}

// Field returns the field of this name with its value and error. For Checkbox and Switch it is
// checked when the value is "on", "true" or "1".
func (f Form) Field(name, label string) Field {
	v := f.Value(name)
	return Field{
		Name: name, Label: label, ID: f.fieldID(name), Value: v, Error: f.Error(name), Checked: v == "on" || v == "true" || v == "1",
		form: f.values,
	}
}

// Summary is the list of all that is wrong, with links to the fields; it draws nothing when
// nothing is. Put it first in the form.
func (f Form) Summary() templ.Component { return errorSummary(f) }

// Picker chooses several things from a list too long to show: a search box whose answers can
// be ticked, and the ticked ones above it. It sends Name once per choice.
type Picker struct {
	Name, Label string
	Help, Error string
	// Source is a path that answers GET with parameter "q" by PickerOptions of the same name.
	Source string
	// Placeholder says what is searched.
	Placeholder string
	// Chosen are ticked already; Options are offered before anything is searched, which is
	// all there is where scripts don't run.
	Chosen, Options []Option
}

// Render implements templ.Component.
func (p Picker) Render(ctx context.Context, w io.Writer) error { return picker(p).Render(ctx, w) }

func (p Picker) id() string { return "pick-" + fieldID(p.Name) }

// ConfirmForm asks to type a word, usually the object's name, before something that can't be
// taken back. The button waits for the word where scripts run; the server must compare the
// field "confirm" in any case.
type ConfirmForm struct {
	// Action is where it posts.
	Action string
	// Word must be typed; empty asks for nothing.
	Word string
	// What says what kind of word it is, e.g. "the application's name".
	What string
	// Consequences say how many people are touched and what happens to them.
	Consequences []string
	// Submit is the button's label, e.g. "Delete application".
	Submit string
	// Cancel is where the way back leads; inside a Dialog it only closes.
	Cancel string
	// Error is what was wrong with the last try.
	Error string
	// Hidden are values that go along, by name.
	Hidden map[string]string
}

// Render implements templ.Component.
func (c ConfirmForm) Render(ctx context.Context, w io.Writer) error {
	return confirmForm(c).Render(ctx, w)
}

func (c ConfirmForm) id() string { return "confirm-" + fieldID(c.Action) }

// DialogOptions describe a Dialog.
type DialogOptions struct {
	// ID is what Button.Opens names.
	ID    string
	Title string
	// Wide gives room for tables.
	Wide bool
}

func boolAttr(b bool) string {
	if b {
		return "true"
	}
	return "false"
}

func iconRef(name string) string {
	set := loadAssets()
	if !set.icons[name] {
		name = "circle-dashed"
	}
	return set.byName["icons.svg"].url + "#" + name
}

// groupsOf returns the options' groups in order of appearance; "" comes first.
func groupsOf(options []Option) []string {
	groups := []string{""}
	seen := map[string]bool{"": true}
	for _, o := range options {
		if !seen[o.Group] {
			seen[o.Group] = true
			groups = append(groups, o.Group)
		}
	}
	return groups
}

// sortedNames lists a map's keys in order, so that a page is the same every time.
func sortedNames(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

func areaRows(f Field) string {
	if f.Rows <= 0 {
		return "4"
	}
	return strconv.Itoa(f.Rows)
}

func checkValue(f Field) string {
	if f.Value == "" || f.Value == "true" || f.Value == "1" {
		return "on"
	}
	return f.Value
}

// optionID lets the error summary's link reach the first choice: the fieldset itself carries
// the field's id.
func optionID(f Field, i int) string { return f.id() + "-" + strconv.Itoa(i) }
