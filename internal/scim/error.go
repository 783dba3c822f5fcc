package scim

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Values of scimType (RFC 7644 §3.12).
const (
	InvalidFilter = "invalidFilter"
	TooMany       = "tooMany"
	Uniqueness    = "uniqueness"
	Mutability    = "mutability"
	InvalidSyntax = "invalidSyntax"
	InvalidPath   = "invalidPath"
	NoTarget      = "noTarget"
	InvalidValue  = "invalidValue"
	InvalidVers   = "invalidVers"
	Sensitive     = "sensitive"
)

// Error is the error body of a SCIM service (RFC 7644 §3.12).
type Error struct {
	Status   int
	ScimType string
	Detail   string
}

// Error says status, type and detail in one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("scim: status ")
	b.WriteString(strconv.Itoa(e.Status))
	if e.ScimType != "" {
		b.WriteString(" " + e.ScimType)
	}
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	return b.String()
}

// MarshalJSON writes the RFC's form, with the status as a string.
func (e *Error) MarshalJSON() ([]byte, error) {
	return marshal(struct {
		Schemas  []string `json:"schemas"`
		Status   string   `json:"status"`
		ScimType string   `json:"scimType,omitempty"`
		Detail   string   `json:"detail,omitempty"`
	}{[]string{SchemaError}, strconv.Itoa(e.Status), e.ScimType, e.Detail})
}

const maxDetail = 500

// ParseError makes an error out of an answer's status and body, whatever the
// body is: a SCIM error with its status as text or number, another JSON object
// with a message, HTML from a gateway, plain text, or nothing. The HTTP status
// always wins over the one in the body.
func ParseError(status int, body []byte) *Error {
	e := &Error{Status: status}
	var m map[string]any
	if decodeExact(body, &m) == nil && m != nil {
		get := func(names ...string) string {
			for _, n := range names {
				_, v, _ := lookup(m, n)
				if s, ok := v.(string); ok && s != "" {
					return s
				}
			}
			return ""
		}
		e.ScimType = clip(oneLine(get("scimType")), 40)
		e.Detail = get("detail", "message", "error_description", "errorMessage", "title")
		if e.Detail == "" {
			_, v, _ := lookup(m, "error")
			switch v := v.(type) {
			case string:
				e.Detail = v
			case map[string]any:
				_, msg, _ := lookup(v, "message")
				e.Detail, _ = msg.(string)
			}
		}
		if e.Detail == "" {
			_, v, _ := lookup(m, "Errors")
			for _, item := range elements(v) {
				sub, _ := item.(map[string]any)
				_, d, _ := lookup(sub, "description")
				if d == nil {
					_, d, _ = lookup(sub, "detail")
				}
				if s, ok := d.(string); ok {
					e.Detail = s
					break
				}
			}
		}
		if e.Status == 0 {
			_, v, _ := lookup(m, "status")
			switch v := v.(type) {
			case string:
				e.Status, _ = strconv.Atoi(v)
			case json.Number:
				e.Status, _ = strconv.Atoi(string(v))
			}
		}
	} else if text := strings.TrimSpace(string(body)); text != "" {
		if looksLikeHTML(text) {
			e.Detail = "The answer is an HTML page" + htmlTitle(text) + ", not SCIM."
		} else {
			e.Detail = text
		}
	}
	e.Detail = clip(oneLine(e.Detail), maxDetail)
	return e
}

func looksLikeHTML(text string) bool {
	head := strings.ToLower(clip(text, 256))
	return strings.HasPrefix(head, "<!doctype html") || strings.HasPrefix(head, "<html") ||
		strings.HasPrefix(head, "<") && strings.Contains(head, "<html")
}

func htmlTitle(text string) string {
	text = clip(text, 4096)
	lower := strings.ToLower(text)
	i := strings.Index(lower, "<title>")
	if i < 0 || len(lower) != len(text) {
		return ""
	}
	title := text[i+len("<title>"):]
	j := strings.IndexByte(title, '<')
	if j < 0 {
		return ""
	}
	title = strings.TrimSpace(title[:j])
	if title == "" {
		return ""
	}
	return fmt.Sprintf(" (%s)", clip(title, 80))
}

// oneLine keeps the printable text and turns runs of space into one.
func oneLine(s string) string {
	s = strings.ToValidUTF8(s, "�")
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}
