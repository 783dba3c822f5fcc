// Package problem holds the kinds of error that every layer shares. It hides how an error is
// told to people (a public text that says what to do) from how it is told to operators (the
// wrapped chain in the log).
package problem

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kind says what sort of failure an error is. An edge (page, API, command line) turns it into
// a status code or exit code; nothing else depends on it.
type Kind int

// The kinds. The zero Kind is Internal, so that an error nobody classified is never mistaken
// for the caller's fault.
const (
	Internal Kind = iota
	Invalid
	Unauthenticated
	Forbidden
	NotFound
	Conflict
	Throttled
	Unavailable
)

var kindNames = [...]string{"internal", "invalid", "unauthenticated", "forbidden", "not_found", "conflict", "throttled", "unavailable"}

// String returns the kind's stable lower-case name, as used in the API's problem type.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return "internal"
	}
	return kindNames[k]
}

// Field is one thing that is wrong with one input field.
type Field struct {
	// Name is the field's name as the caller sent it, e.g. "email" or "acs[0].url".
	Name string `json:"name"`
	// Detail is a sentence for the person: what is wrong and what to do.
	Detail string `json:"detail"`
}

// Error is a classified error with two texts: Public for the person, and the wrapped chain
// (Err) for the log.
type Error struct {
	Kind   Kind
	Public string
	Fields []Field
	// RetryAfter, for Throttled and Unavailable, says when trying again makes sense; zero
	// means unknown.
	RetryAfter time.Duration
	Err        error
}

// Error returns the text for the log. It never goes to a person.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Public)
	for i, f := range e.Fields {
		if i == 0 {
			b.WriteString(" (")
		} else {
			b.WriteString("; ")
		}
		b.WriteString(f.Name + ": " + f.Detail)
	}
	if len(e.Fields) > 0 {
		b.WriteString(")")
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// New returns an error of kind k with a text for the person. It is formatted like fmt.Sprintf.
func New(k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Public: fmt.Sprintf(format, args...)}
}

// Wrap classifies err as k and gives it a text for the person. A nil err gives an error
// without a cause.
func Wrap(k Kind, err error, format string, args ...any) *Error {
	return &Error{Kind: k, Public: fmt.Sprintf(format, args...), Err: err}
}

// InvalidField returns an Invalid error about one field.
func InvalidField(name, format string, args ...any) *Error {
	d := fmt.Sprintf(format, args...)
	return &Error{Kind: Invalid, Public: d, Fields: []Field{{Name: name, Detail: d}}}
}

// KindOf returns the kind of the first classified error in err's chain, and Internal if there
// is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// Is reports whether err is of kind k.
func Is(err error, k Kind) bool { return err != nil && KindOf(err) == k }

// Public returns the text for the person: that of the first classified error in err's chain.
// An unclassified error says nothing of its insides.
func Public(err error) string {
	if e, ok := errors.AsType[*Error](err); ok && e.Public != "" {
		return e.Public
	}
	return "Something went wrong on our side. Try again; if it stays, give your administrator the request id."
}

// FieldsOf returns what is wrong field by field, or nil.
func FieldsOf(err error) []Field {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Fields
	}
	return nil
}

// Fields collects field errors while input is checked, so that a person sees all that is
// wrong at once.
type Fields struct{ list []Field }

// Add records that field name is wrong. The detail is formatted like fmt.Sprintf.
func (f *Fields) Add(name, format string, args ...any) {
	f.list = append(f.list, Field{Name: name, Detail: fmt.Sprintf(format, args...)})
}

// Has reports whether field name was recorded as wrong.
func (f *Fields) Has(name string) bool {
	return slices.ContainsFunc(f.list, func(x Field) bool { return x.Name == name })
}

// Err returns nil when nothing was recorded, else one Invalid error with all fields.
func (f *Fields) Err() error {
	switch len(f.list) {
	case 0:
		return nil
	case 1:
		return &Error{Kind: Invalid, Public: f.list[0].Detail, Fields: f.list}
	default:
		return &Error{Kind: Invalid, Public: fmt.Sprintf("%d fields need attention.", len(f.list)), Fields: f.list}
	}
}
