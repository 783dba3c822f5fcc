package saml

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
)

// NewID returns a fresh identifier for a message or assertion: "_" and 160 random bits in hexadecimal (saml-core §1.3.4).
func NewID() string {
	var random [20]byte
	rand.Read(random[:]) // never fails
	var id [1 + 2*len(random)]byte
	id[0] = '_'
	hex.Encode(id[1:], random[:])
	return string(id[:])
}

// writer writes XML that is already in exclusive canonical form (xml-exc-c14n), so that a signature is taken over the
// bytes where they stand. What the caller must see to: namespace declarations stand where a prefix is first used on the
// path and nowhere else, come before the attributes, and attributes without a namespace are in alphabetical order.
//
// The first problem sticks; all later calls do nothing useful.
type writer struct {
	b   []byte
	err error
}

func (w *writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

// raw writes markup.
func (w *writer) raw(s string) { w.b = append(w.b, s...) }

// attr writes an attribute whose value comes from outside.
func (w *writer) attr(name, value string) {
	w.raw(" ")
	w.raw(name)
	w.raw(`="`)
	w.escape(value, true)
	w.raw(`"`)
}

// optional writes an attribute unless its value is empty.
func (w *writer) optional(name, value string) {
	if value != "" {
		w.attr(name, value)
	}
}

// id writes an attribute of type ID or IDREF.
func (w *writer) id(name, value string) {
	if !xmldsig.IsNCName(value) {
		w.fail(fmt.Errorf("%s %q is no XML identifier", name, value))
	}
	w.attr(name, value)
}

// time writes an attribute of type xs:dateTime, in UTC with milliseconds (saml-core §1.3.3).
func (w *writer) time(name string, t time.Time) {
	w.raw(" ")
	w.raw(name)
	w.raw(`="`)
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	if year < 1 || year > 9999 || t.IsZero() {
		w.fail(fmt.Errorf("%s is missing or out of range", name))
		year = 1
	}
	ms := t.Nanosecond() / 1e6
	w.b = append(w.b,
		byte('0'+year/1000), byte('0'+year/100%10), byte('0'+year/10%10), byte('0'+year%10), '-',
		byte('0'+month/10), byte('0'+month%10), '-', byte('0'+day/10), byte('0'+day%10), 'T',
		byte('0'+hour/10), byte('0'+hour%10), ':', byte('0'+minute/10), byte('0'+minute%10), ':',
		byte('0'+second/10), byte('0'+second%10), '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z', '"')
}

// text writes character data.
func (w *writer) text(s string) { w.escape(s, false) }

// element writes an element that holds text only. tag may carry attributes; name is the name for the end tag.
func (w *writer) element(tag, name, text string) {
	w.raw("<")
	w.raw(tag)
	w.raw(">")
	w.text(text)
	w.raw("</")
	w.raw(name)
	w.raw(">")
}

// escape writes s as Canonical XML does (xml-c14n §2.3): in text & < > and carriage return are replaced, in attribute
// values & < " and tab, line feed and carriage return. What XML 1.0 can't hold is refused.
func (w *writer) escape(s string, attribute bool) {
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		var out string
		switch {
		case c >= utf8.RuneSelf:
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 || r == 0xfffe || r == 0xffff {
				w.fail(errors.New("text that is not UTF-8 or not XML"))
				return
			}
			i += size
			continue
		case c >= 0x20 && c != '&' && c != '<' && c != '>' && c != '"':
			i++
			continue
		case c == '&':
			out = "&amp;"
		case c == '<':
			out = "&lt;"
		case c == '>':
			if attribute {
				i++
				continue
			}
			out = "&gt;"
		case c == '"':
			if !attribute {
				i++
				continue
			}
			out = "&quot;"
		case c == '\r':
			out = "&#xD;"
		case c == '\t' || c == '\n':
			if !attribute {
				i++
				continue
			}
			out = "&#x9;"
			if c == '\n' {
				out = "&#xA;"
			}
		default:
			w.fail(errors.New("text with a control character"))
			return
		}
		w.b = append(w.b, s[from:i]...)
		w.b = append(w.b, out...)
		i++
		from = i
	}
	w.b = append(w.b, s[from:]...)
}

// gap leaves room for the signature of the element with this ID, and returns where.
func (w *writer) gap(k *xmldsig.Signer, id string) int {
	at, n := len(w.b), k.Len(id)
	w.b = slices.Grow(w.b, n)[:at+n]
	return at
}

// sign fills the gap; the element began at start and ends here.
func (w *writer) sign(k *xmldsig.Signer, id string, start, gap int) {
	if w.err != nil {
		return
	}
	if err := k.Sign(w.b[start:], gap-start, id); err != nil {
		w.fail(err)
	}
}
