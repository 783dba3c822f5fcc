// Package storetest runs a test on both database engines. It hides where the databases come
// from: a fresh SQLite file, and a fresh schema of a PostgreSQL on loopback that `make test`
// starts.
package storetest

import (
	"context"
	"database/sql"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver "pgx"

	"github.com/latchkey-idp/latchkey/internal/store"
)

// defaultURL is where `make postgres` listens.
const defaultURL = "postgres://latchkey@127.0.0.1:54329/latchkey?sslmode=disable"

// Each runs fn once on SQLite and once on PostgreSQL, each with an empty, migrated database.
// No engine is ever skipped: without a PostgreSQL the test fails and says how to start one.
func Each(t *testing.T, fn func(t *testing.T, db *store.DB)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { fn(t, open(t, store.Config{Dir: t.TempDir()})) })
	t.Run("postgresql", func(t *testing.T) { fn(t, open(t, store.Config{PostgresURL: Schema(t), MaxConns: 8})) })
}

// Two runs fn once per engine with two handles on one database, as two replicas (PostgreSQL)
// or two processes (SQLite) have.
func Two(t *testing.T, fn func(t *testing.T, a, b *store.DB)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		cfg := store.Config{Dir: t.TempDir()}
		fn(t, open(t, cfg), open(t, cfg))
	})
	t.Run("postgresql", func(t *testing.T) {
		cfg := store.Config{PostgresURL: Schema(t), MaxConns: 8}
		fn(t, open(t, cfg), open(t, cfg))
	})
}

// SQLite returns an empty SQLite database, for tests of pages and wiring whose SQL is tested
// elsewhere on both engines.
func SQLite(t testing.TB) *store.DB {
	t.Helper()
	return open(t, store.Config{Dir: t.TempDir()})
}

func open(t testing.TB, cfg store.Config) *store.DB {
	t.Helper()
	db, err := store.Open(context.Background(), cfg)
	if err != nil {
		t.Fatalf("open the test database: %v", err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close the test database: %v", err)
		}
	})
	return db
}

// Schema makes an empty PostgreSQL schema for this test, dropped at its end, and returns a URL
// whose connections use it.
func Schema(t testing.TB) string {
	t.Helper()
	base := os.Getenv("LATCHKEY_TEST_POSTGRES")
	if base == "" {
		base = defaultURL
	}
	admin, err := sql.Open("pgx", base)
	if err != nil {
		t.Fatalf("LATCHKEY_TEST_POSTGRES can't be understood: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	name := "t" + strings.ReplaceAll(store.NewID(), "-", "")
	if _, err := admin.ExecContext(ctx, "CREATE SCHEMA "+name); err != nil {
		t.Fatalf("tests need a PostgreSQL: run them with `make test`, or start one with `make postgres` (or set LATCHKEY_TEST_POSTGRES): %v", err)
	}
	t.Cleanup(func() {
		if _, err := admin.ExecContext(context.Background(), "DROP SCHEMA "+name+" CASCADE"); err != nil {
			t.Errorf("drop the test schema: %v", err)
		}
		if err := admin.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	u, err := url.Parse(base)
	if err != nil {
		t.Fatalf("LATCHKEY_TEST_POSTGRES: %v", err)
	}
	q := u.Query()
	q.Set("search_path", name)
	u.RawQuery = q.Encode()
	return u.String()
}
