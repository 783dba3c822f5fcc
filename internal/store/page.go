package store

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/runes"
	"golang.org/x/text/transform"
	"golang.org/x/text/unicode/norm"

	"github.com/latchkey-idp/latchkey/internal/problem"
)

// Page is one page of a list.
type Page[T any] struct {
	Items []T
	// Next is the cursor of the next page, "" on the last one.
	Next string
	// Total is how many there are on all pages; -1 where it isn't counted.
	Total int
}

// PageLimit returns a page size within bounds: def when limit is not positive, at most 1000.
func PageLimit(limit, def int) int {
	if limit <= 0 {
		return def
	}
	return min(limit, 1000)
}

// EncodeCursor packs the sort key of a page's last row. It is opaque, but not secret and not
// trusted: DecodeCursor gives only values to bind as parameters.
func EncodeCursor(keys ...string) string {
	b, err := json.Marshal(keys)
	if err != nil {
		panic("store: strings always marshal: " + err.Error())
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// DecodeCursor unpacks a cursor of n keys. An empty cursor gives nil: the first page.
func DecodeCursor(cursor string, n int) ([]string, error) {
	if cursor == "" {
		return nil, nil
	}
	var keys []string
	b, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err == nil {
		err = json.Unmarshal(b, &keys)
	}
	// PostgreSQL can't hold a NUL, so no row has one in its key.
	odd := func(key string) bool { return strings.ContainsRune(key, 0) }
	if err != nil || len(keys) != n || slices.ContainsFunc(keys, odd) {
		return nil, problem.InvalidField("cursor", "This page address is no longer valid. Start again from the first page.")
	}
	return keys, nil
}

// Fold returns s without case, accents and surrounding space: what *_key columns hold and
// searches use.
func Fold(s string) string {
	if isASCII(s) {
		return plain(s)
	}
	strip := transform.Chain(norm.NFKD, runes.Remove(runes.In(unicode.Mn)), norm.NFC)
	out, _, err := transform.String(strip, s)
	if err != nil {
		out = s
	}
	return strings.ToLower(strings.Join(strings.Fields(out), " "))
}

// Key returns what a unique, case-insensitive column holds: s without case and surrounding
// space, accents kept ("José" and "jose" are two people).
func Key(s string) string {
	if isASCII(s) {
		return plain(s)
	}
	return norm.NFC.String(strings.ToLower(strings.Join(strings.Fields(s), " ")))
}

// plain is Fold and Key of ASCII text, which most is.
func plain(s string) string { return strings.ToLower(strings.Join(strings.Fields(s), " ")) }

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
