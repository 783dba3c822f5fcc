package store_test

import (
	"encoding/base64"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

// Forged pagination tokens: what isn't a cursor of so many keys is refused, in any spelling but the one that we write.
func TestNeighbour_ForgedCursor(t *testing.T) {
	good := store.EncodeCursor("a", "b")
	raw := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	for name, bad := range map[string]string{
		"no base64": "!!!", "padding": good + "=", "one key": store.EncodeCursor("a"), "three keys": store.EncodeCursor("a", "b", "c"),
		"numbers": raw(`[1,2]`), "an object": raw(`{"0":"a","1":"b"}`), "a text": raw(`"ab"`), "nothing": raw(`null`), "lists": raw(`[["a"],["b"]]`),
		"cut off": good[:len(good)-1], "two": good + good, "text behind": raw(`["a","b"]x`), "white space": " " + good,
		"NUL": store.EncodeCursor("a", "b\x00"), "bits that say nothing": store.EncodeCursor("a", "bc")[:len(store.EncodeCursor("a", "bc"))-1] + "1",
	} {
		if keys, err := store.DecodeCursor(bad, 2); problem.KindOf(err) != problem.Invalid {
			t.Errorf("%s: %q, %v", name, keys, err)
		}
	}
	// What is within is only ever a value, whatever it says.
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		for _, key := range []string{`' OR 1=1 --`, `"; DROP TABLE users; --`, "$1", "%", `\`, "a\u2028b", "\U0001F600"} {
			keys, err := store.DecodeCursor(store.EncodeCursor(key), 1)
			if err != nil {
				t.Fatal(err)
			}
			err = db.View(t.Context(), func(tx *store.Tx) error {
				got, err := store.One(tx, store.Scalar[string], `SELECT CAST($1 AS TEXT)`, keys[0])
				if err == nil && got != key {
					t.Errorf("%q came back as %q", key, got)
				}
				return err
			})
			if err != nil {
				t.Errorf("%q: %v", key, err)
			}
		}
	})
}

// Text that PostgreSQL can't hold is the caller's mistake, and never an error of ours.
func TestNeighbour_TextThatCannotBeStored(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		for _, text := range []string{"a\x00b", "\xff\xfe", "\xc3\x28"} {
			err := db.View(t.Context(), func(tx *store.Tx) error {
				_, err := store.One(tx, store.Scalar[int], `SELECT count(*) FROM users WHERE email = $1`, text)
				return err
			})
			if err != nil && problem.KindOf(err) != problem.Invalid {
				t.Errorf("read %q: %v", text, err)
			}
			err = db.Update(t.Context(), func(tx *store.Tx) error {
				_, err := tx.Exec(`UPDATE users SET email = $1 WHERE email = $1`, text)
				return err
			})
			if err != nil && problem.KindOf(err) != problem.Invalid {
				t.Errorf("write %q: %v", text, err)
			}
		}
	})
}
