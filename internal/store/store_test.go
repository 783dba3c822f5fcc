package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

func put(ctx context.Context, db *store.DB, key, value string) error {
	return db.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`INSERT INTO settings (key, value, updated_at) VALUES ($1, $2, $3)`, key, value, 1)
		return err
	})
}

func get(t *testing.T, db *store.DB, key string) (value string, err error) {
	t.Helper()
	err = db.View(t.Context(), func(tx *store.Tx) error {
		value, err = store.One(tx, store.Scalar[string], `SELECT value FROM settings WHERE key = $1`, key)
		return err
	})
	return value, err
}

func TestUpdateWritesAllOrNothing(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		boom := errors.New("boom")
		err := db.Update(t.Context(), func(tx *store.Tx) error {
			if _, err := tx.Exec(`INSERT INTO settings (key, value, updated_at) VALUES ('a', '1', 1)`); err != nil {
				return err
			}
			return boom
		})
		if !errors.Is(err, boom) {
			t.Fatalf("got %v", err)
		}
		if _, err := get(t, db, "a"); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("a failed update left something: %v", err)
		}
		if err := put(t.Context(), db, "a", "2"); err != nil {
			t.Fatal(err)
		}
		if v, err := get(t, db, "a"); err != nil || v != "2" {
			t.Fatalf("got %q, %v", v, err)
		}
	})
}

func TestFailingUpdateTakesNobodyWithIt(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		const n = 200
		var wg sync.WaitGroup
		errs := make([]error, n)
		for i := range n {
			wg.Go(func() {
				key := strconv.Itoa(i)
				if i%3 == 0 {
					key = "same" // all but one of these must fail
				}
				errs[i] = put(t.Context(), db, key, "x")
			})
		}
		wg.Wait()
		same := 0
		for i, err := range errs {
			switch {
			case i%3 == 0 && err == nil:
				same++
			case i%3 == 0 && store.Unique(err) == "":
				t.Errorf("update %d: %v", i, err)
			case i%3 != 0 && err != nil:
				t.Errorf("update %d: %v", i, err)
			case i%3 != 0:
				if _, err := get(t, db, strconv.Itoa(i)); err != nil {
					t.Errorf("acknowledged update %d is not there: %v", i, err)
				}
			}
		}
		if same != 1 {
			t.Errorf("%d of the clashing updates succeeded", same)
		}
	})
}

func TestPanicReachesItsCallerOnly(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		func() {
			defer func() {
				if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), "kaboom") {
					t.Errorf("recovered %v", p)
				}
			}()
			_ = db.Update(t.Context(), func(*store.Tx) error { panic("kaboom") })
		}()
		if err := put(t.Context(), db, "after", "1"); err != nil {
			t.Fatalf("the store is dead after a panic: %v", err)
		}
	})
}

func TestUniqueNamesTheIndex(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		insert := func(id, username, email string) error {
			return db.Update(t.Context(), func(tx *store.Tx) error {
				_, err := tx.Exec(`INSERT INTO users (id, username, username_key, email, state, password_status, sort_key, search_key, created_at, updated_at)
					VALUES ($1, $2, $2, $3, 'active', 'pending', '', '', 1, 1)`, id, username, email)
				return err
			})
		}
		if err := insert("1", "ada", "ada@example.com"); err != nil {
			t.Fatal(err)
		}
		if got := store.Unique(insert("2", "ada", "other@example.com")); got != "users_username_key" {
			t.Errorf("user name clash: %q", got)
		}
		if got := store.Unique(insert("2", "bob", "ada@example.com")); got != "users_email" {
			t.Errorf("e-mail clash: %q", got)
		}
		err := db.Update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(`INSERT INTO memberships (group_id, user_id, added_at) VALUES ('none', '1', 1)`)
			return err
		})
		if !store.Foreign(err) {
			t.Errorf("missing group: %v", err)
		}
	})
}

// Two handles that read a counter and write it back must not lose an increment.
func TestReadThenWriteLosesNothing(t *testing.T) {
	storetest.Two(t, func(t *testing.T, a, b *store.DB) {
		if err := put(t.Context(), a, "n", "0"); err != nil {
			t.Fatal(err)
		}
		const each = 25
		var wg sync.WaitGroup
		for _, db := range []*store.DB{a, b, a, b} {
			wg.Go(func() {
				for range each {
					err := db.Update(t.Context(), func(tx *store.Tx) error {
						v, err := store.One(tx, store.Scalar[string], `SELECT value FROM settings WHERE key = 'n'`)
						if err != nil {
							return err
						}
						n, err := strconv.Atoi(v)
						if err != nil {
							return err
						}
						_, err = tx.Exec(`UPDATE settings SET value = $1 WHERE key = 'n'`, strconv.Itoa(n+1))
						return err
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if v, err := get(t, a, "n"); err != nil || v != strconv.Itoa(4*each) {
			t.Fatalf("counter is %s, want %d (%v)", v, 4*each, err)
		}
	})
}

func TestViewCannotWrite(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		err := db.View(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(`INSERT INTO settings (key, value, updated_at) VALUES ('a', '1', 1)`)
			return err
		})
		if err == nil {
			t.Fatal("a view wrote")
		}
	})
}

func TestWakeReachesOtherReplicas(t *testing.T) {
	storetest.Two(t, func(t *testing.T, a, b *store.DB) {
		own := a.Wakes("topic")
		other := b.Wakes("topic")
		silent := a.Wakes("else")
		ring := func() {
			if err := a.Update(t.Context(), func(tx *store.Tx) error { tx.Wake("topic"); return nil }); err != nil {
				t.Fatal(err)
			}
		}
		ring()
		wait(t, own, nil)
		if a.Engine() == store.PostgreSQL {
			// The listener of b may not be up yet: ring until it hears.
			wait(t, other, ring)
		}
		select {
		case <-silent:
			t.Error("a topic rang that nobody woke")
		default:
		}
		_ = a.Update(t.Context(), func(tx *store.Tx) error { tx.Wake("else"); return errors.New("no") })
		select {
		case <-silent:
			t.Error("a failed update rang")
		case <-time.After(20 * time.Millisecond):
		}
	})
}

func wait(t *testing.T, ch <-chan struct{}, again func()) {
	t.Helper()
	for range 100 {
		select {
		case <-ch:
			return
		case <-time.After(100 * time.Millisecond):
			if again != nil {
				again()
			}
		}
	}
	t.Fatal("nobody woke")
}

func TestCancelledUpdateWritesNothing(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := put(ctx, db, "a", "1"); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		if _, err := get(t, db, "a"); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("got %v", err)
		}
	})
}

func TestCancelledViewEndsBeforeTheNextRow(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		for i := range 10 {
			if err := put(t.Context(), db, fmt.Sprint(i), "1"); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		rows := 0
		err := db.View(ctx, func(tx *store.Tx) error {
			for _, err := range store.Each(tx, store.Scalar[string], `SELECT key FROM settings`) {
				if err != nil {
					return err
				}
				rows++
				cancel()
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) || rows >= 10 {
			t.Errorf("%d rows, %v", rows, err)
		}
		if err := db.View(ctx, func(*store.Tx) error { t.Error("ran"); return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("a view under an ended context: %v", err)
		}
		if err := put(t.Context(), db, "after", "1"); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestReopenKeepsDataAndMigratesOnce(t *testing.T) {
	dir := t.TempDir()
	for i := range 2 {
		db, err := store.Open(t.Context(), store.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if err := put(t.Context(), db, strconv.Itoa(i), "x"); err != nil {
			t.Fatal(err)
		}
		if _, err := get(t, db, "0"); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if err := put(t.Context(), db, "closed", "x"); err == nil {
			t.Fatal("a closed database took a write")
		}
	}
}

func TestBackupIsWholeAndPrivate(t *testing.T) {
	db := storetest.SQLite(t)
	if err := put(t.Context(), db, "a", "1"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "latchkey.db")
	if err := db.Backup(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if err := db.Backup(t.Context(), path); err == nil {
		t.Fatal("a backup overwrote a file")
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	copied, err := store.Open(t.Context(), store.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = copied.Close() }()
	if v, err := get(t, copied, "a"); err != nil || v != "1" {
		t.Fatalf("got %q, %v", v, err)
	}
}

// Before 3.51.3 SQLite could corrupt a database in WAL mode.
func TestSQLiteVersion(t *testing.T) {
	db := storetest.SQLite(t)
	var v string
	err := db.View(t.Context(), func(tx *store.Tx) (err error) {
		v, err = store.One(tx, store.Scalar[string], `SELECT sqlite_version()`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var major, minor, patch int
	if _, err := fmt.Sscanf(v, "%d.%d.%d", &major, &minor, &patch); err != nil {
		t.Fatal(err)
	}
	if major*1_000_000+minor*1000+patch < 3_051_003 {
		t.Fatalf("SQLite %s is older than 3.51.3", v)
	}
}

func TestBadPostgresURLDoesNotLeakThePassword(t *testing.T) {
	_, err := store.Open(t.Context(), store.Config{PostgresURL: "postgres://me:hunter2@[::1:bad"})
	if problem.KindOf(err) != problem.Invalid || strings.Contains(err.Error(), "hunter2") {
		t.Fatalf("got %v", err)
	}
}

func TestCursor(t *testing.T) {
	c := store.EncodeCursor("a'b", "ü")
	keys, err := store.DecodeCursor(c, 2)
	if err != nil || keys[0] != "a'b" || keys[1] != "ü" {
		t.Fatalf("got %q, %v", keys, err)
	}
	if keys, err := store.DecodeCursor("", 2); keys != nil || err != nil {
		t.Fatalf("first page: %q, %v", keys, err)
	}
	for _, bad := range []string{"x", c[:len(c)-3], store.EncodeCursor("one"), "!!!"} {
		if _, err := store.DecodeCursor(bad, 2); problem.KindOf(err) != problem.Invalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestFirstIDBoundsByTime(t *testing.T) {
	before := store.NewID()
	time.Sleep(2 * time.Millisecond)
	bound := store.FirstID(time.Now())
	if after := store.NewID(); before >= bound || after < bound {
		t.Errorf("%s, %s, %s are not in order", before, bound, after)
	}
}

func TestFoldAndKey(t *testing.T) {
	if got := store.Fold("  José  ÅNGSTRÖM "); got != "jose angstrom" {
		t.Errorf("Fold: %q", got)
	}
	if store.Key("José") == store.Key("Jose") || store.Key("JOSÉ ") != store.Key("jose\u0301") {
		t.Error("Key must keep accents and drop case")
	}
}

func BenchmarkUpdate(b *testing.B) {
	db := storetest.SQLite(b)
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := put(b.Context(), db, store.NewID(), "x"); err != nil {
				b.Error(err)
			}
		}
	})
}
