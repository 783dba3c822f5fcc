package directory_test

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

// BenchmarkLists shows what the pages of a large directory cost. LATCHKEY_BENCH_USERS sets how
// many people there are; 100,000 when unset. One in a hundred is suspended, half are in one
// group and fifty in another.
func BenchmarkLists(b *testing.B) {
	n := 100_000
	if v, err := strconv.Atoi(os.Getenv("LATCHKEY_BENCH_USERS")); err == nil {
		n = v
	}
	for _, engine := range []string{"sqlite", "postgresql"} {
		b.Run(engine, func(b *testing.B) {
			cfg := store.Config{Dir: b.TempDir()}
			if engine == "postgresql" {
				cfg = store.Config{PostgresURL: storetest.Schema(b), MaxConns: 8}
			}
			db, err := store.Open(b.Context(), cfg)
			if err != nil {
				b.Fatal(err)
			}
			defer func() {
				if err := db.Close(); err != nil {
					b.Error(err)
				}
			}()
			fill(b, db, n)
			d := directory.New(db, time.Now)
			for _, c := range []struct {
				name string
				q    directory.UserQuery
			}{
				{"first page", directory.UserQuery{}},
				{"page in the middle", directory.UserQuery{Cursor: store.EncodeCursor(fmt.Sprintf("name %07d", n/2), "")}},
				{"rare word", directory.UserQuery{Text: fmt.Sprintf("u%07d", n-3)}},
				{"common word", directory.UserQuery{Text: "name"}},
				{"nothing found", directory.UserQuery{Text: "nosuchword"}},
				{"suspended", directory.UserQuery{State: directory.Suspended}},
				{"active", directory.UserQuery{State: directory.Active}},
				{"large group", directory.UserQuery{GroupID: "large"}},
				{"small group", directory.UserQuery{GroupID: "small"}},
				{"nobody has the role", directory.UserQuery{Role: "owner"}},
			} {
				b.Run(c.name, func(b *testing.B) {
					for b.Loop() {
						if _, err := d.ListUsers(b.Context(), readOnly, c.q); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
			b.Run("groups", func(b *testing.B) {
				for b.Loop() {
					if _, err := d.ListGroups(b.Context(), readOnly, directory.GroupQuery{}); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("login", func(b *testing.B) {
				for b.Loop() {
					if _, err := d.UserByLogin(b.Context(), readOnly, "u0000042"); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

// fill writes n people and two groups without events.
func fill(b *testing.B, db *store.DB, n int) {
	b.Helper()
	err := db.Update(b.Context(), func(tx *store.Tx) error {
		// Padded numbers, made so that both engines understand it.
		const pad = `substr('0000000' || CAST(i AS TEXT), length(CAST(i AS TEXT)) + 1, 7)`
		for _, q := range []string{
			`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
			INSERT INTO users (id, username, username_key, email, state, password_status, display_name, profile, sort_key, search_key, created_at, updated_at)
			SELECT 'id' || ` + pad + `, 'u' || ` + pad + `, 'u' || ` + pad + `, 'u' || ` + pad + ` || '@example.com',
				CASE WHEN i % 100 = 0 THEN 'suspended' ELSE 'active' END, 'pending', 'Name ' || ` + pad + `,
				'{"givenName":"Name","familyName":"Family","title":"Engineer","department":"Development"}',
				'name ' || ` + pad + `, 'name ' || ` + pad + ` || ' u' || ` + pad + ` || ' u' || ` + pad + ` || '@example.com', 1, 1 FROM n`,
			`INSERT INTO groups (id, name, name_key, created_at, updated_at) VALUES ('large', 'Large', 'large', $1, $1), ('small', 'Small', 'small', $1, $1)`,
			`INSERT INTO memberships (group_id, user_id, added_at) SELECT 'large', id, $1 FROM users WHERE substr(id, 9, 1) IN ('0', '2', '4', '6', '8')`,
			`INSERT INTO memberships (group_id, user_id, added_at) SELECT 'small', id, $1 FROM users WHERE id < 'id0000051'`,
		} {
			if _, err := tx.Exec(q, n); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && db.Engine() == store.PostgreSQL {
		// As its background worker does after a while.
		err = db.Update(b.Context(), func(tx *store.Tx) error { _, err := tx.Exec(`ANALYZE`); return err })
	}
	if err != nil {
		b.Fatal(err)
	}
}
