package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

// A connection keeps the statements that it ran. Nothing of an earlier run may show in a later.
func TestStatementsRunAgain(t *testing.T) {
	pair := func(r store.Row) (string, error) {
		var a, b string
		err := r.Scan(&a, &b)
		return a + "=" + b, err
	}
	const insert = `INSERT INTO settings (key, value, updated_at) VALUES ($1, $2, 0)`
	const from = `SELECT key, value FROM settings WHERE key >= $1 ORDER BY key`
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, key := range []string{"a", "b", "c"} {
			must(db.Update(ctx, func(tx *store.Tx) error {
				_, err := tx.Exec(insert, key, "1")
				return err
			}))
		}
		t.Run("after a failure", func(t *testing.T) {
			err := db.Update(ctx, func(tx *store.Tx) error {
				_, err := tx.Exec(insert, "a", "2")
				return err
			})
			if store.Unique(err) == "" {
				t.Fatalf("got %v", err)
			}
			must(db.Update(ctx, func(tx *store.Tx) error {
				_, err := tx.Exec(insert, "d", "1")
				return err
			}))
		})
		t.Run("inside itself, and broken off", func(t *testing.T) {
			if db.Engine() == store.PostgreSQL {
				// One connection reads one result at a time there; nobody may nest.
				return
			}
			var got []string
			must(db.View(ctx, func(tx *store.Tx) error {
				for outer, err := range store.Each(tx, pair, from, "c") {
					if err != nil {
						return err
					}
					inner, err := store.One(tx, pair, from, "b")
					if err != nil {
						return err
					}
					got = append(got, outer+" "+inner)
				}
				return nil
			}))
			if diff := cmp.Diff([]string{"c=1 b=1", "d=1 b=1"}, got); diff != "" {
				t.Error(diff)
			}
		})
		t.Run("more texts than are kept", func(t *testing.T) {
			for round := range 2 {
				must(db.View(ctx, func(tx *store.Tx) error {
					for i := range 500 {
						n, err := store.One(tx, store.Scalar[int], fmt.Sprintf(`SELECT count(*) + %d FROM settings WHERE key = $1`, i), "a")
						if err != nil {
							return err
						}
						if n != i+1 {
							return fmt.Errorf("round %d: statement %d gave %d", round, i, n)
						}
					}
					return nil
				}))
			}
		})
		t.Run("after the schema changed", func(t *testing.T) {
			all := func() (out []string) {
				must(db.View(ctx, func(tx *store.Tx) (err error) {
					out, err = store.All(tx, pair, from, "a")
					return err
				}))
				return out
			}
			before := all()
			must(db.Update(ctx, func(tx *store.Tx) error {
				_, err := tx.Exec(`CREATE INDEX settings_value ON settings (value)`)
				return err
			}))
			if diff := cmp.Diff(before, all()); diff != "" {
				t.Error(diff)
			}
		})
		t.Run("a parameter that can't be bound", func(t *testing.T) {
			err := db.Update(ctx, func(tx *store.Tx) error {
				_, err := tx.Exec(insert, "x", func() {})
				return err
			})
			if err == nil || errors.Is(err, context.Canceled) {
				t.Fatalf("got %v", err)
			}
			must(db.Update(ctx, func(tx *store.Tx) error {
				_, err := tx.Exec(insert, "x", "1")
				return err
			}))
		})
	})
}
