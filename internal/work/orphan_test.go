package work_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
	"github.com/latchkey-idp/latchkey/internal/work"
)

func TestOrphanedAfterARunWithoutAWord(t *testing.T) {
	t.Parallel()
	cancel := func(ctx context.Context, db *store.DB) error {
		return db.Update(ctx, func(tx *store.Tx) error {
			if _, err := work.CancelScope(tx, "k", "s"); err != nil {
				return err
			}
			return work.Want(tx, time.Now(), work.Lane{Kind: "k", Key: "a", Scope: "s"})
		})
	}
	for _, c := range []struct {
		name string
		// first is how the first run ends.
		first func(ctx context.Context, db *store.DB, l work.Lease) error
		want  bool
	}{
		{"retry", func(context.Context, *store.DB, work.Lease) error { return work.RetryAfter(time.Millisecond, "later") }, false},
		{"hold", func(context.Context, *store.DB, work.Lease) error { return work.Hold(time.Millisecond, "later") }, false},
		{"park, then wanted", func(ctx context.Context, db *store.DB, _ work.Lease) error {
			go func() {
				time.Sleep(100 * time.Millisecond)
				_ = db.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
					return work.Want(tx, time.Now(), work.Lane{Kind: "k", Key: "a", Scope: "s"})
				})
			}()
			return work.Park("look at it")
		}, false},
		{"done, and wanted meanwhile", func(ctx context.Context, db *store.DB, l work.Lease) error {
			return db.Update(ctx, func(tx *store.Tx) error {
				if err := work.Want(tx, time.Now(), work.Lane{Kind: "k", Key: "a", Scope: "s"}); err != nil {
					return err
				}
				return l.Done(tx)
			})
		}, false},
		{"an error that nobody expected", func(context.Context, *store.DB, work.Lease) error { return errors.New("broken") }, true},
		{"a panic", func(context.Context, *store.DB, work.Lease) error { panic("broken") }, true},
		{"cancelled, and wanted again", func(ctx context.Context, db *store.DB, l work.Lease) error {
			if err := cancel(ctx, db); err != nil {
				return err
			}
			return db.Update(ctx, l.Done)
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			storetest.Each(t, func(t *testing.T, db *store.DB) {
				want(t, db, work.Lane{Kind: "k", Key: "a", Scope: "s"})
				seen := make(chan bool, 2)
				start(t, db, func(p *work.Pool) {
					first := true
					p.Handle("k", work.Options{}, func(ctx context.Context, l work.Lease) error {
						seen <- l.Orphaned
						if !first {
							return nil
						}
						first = false
						return c.first(ctx, db, l)
					})
				})
				if diff := cmp.Diff([]bool{false, c.want}, []bool{<-seen, <-seen}); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func TestWantAllAndWaiting(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		now := time.Now()
		var lanes []work.Lane
		for i := range 70 { // more than one statement takes
			lanes = append(lanes, work.Lane{Kind: "k", Key: string(rune('A' + i)), Scope: "s", Priority: i % 3})
		}
		update := func(fn func(*store.Tx) error) {
			t.Helper()
			if err := db.Update(t.Context(), fn); err != nil {
				t.Fatal(err)
			}
		}
		waiting := func(key string) (yes bool) {
			t.Helper()
			update(func(tx *store.Tx) (err error) {
				yes, err = work.Waiting(tx, time.Now(), "k", key)
				return err
			})
			return yes
		}
		if waiting("A") {
			t.Error("it waits before it is wanted")
		}
		update(func(tx *store.Tx) error { return work.WantAll(tx, now, nil) })
		update(func(tx *store.Tx) error { return work.WantAll(tx, now, lanes) })
		if got := len(states(t, db, work.Filter{Limit: 100})); got != len(lanes) {
			t.Fatalf("%d lanes wait", got)
		}
		if !waiting("A") {
			t.Error("a wanted lane doesn't wait")
		}
		// While it runs it doesn't: what is written now is maybe not seen by that run.
		running := make(chan bool, 1)
		start(t, db, func(p *work.Pool) {
			p.Handle("k", work.Options{}, func(_ context.Context, l work.Lease) error {
				if l.Key == "A" {
					running <- waiting("A")
				}
				return nil
			})
		})
		if <-running {
			t.Error("a running lane counts as waiting")
		}
		eventually(t, "rest", func() bool { return len(states(t, db, work.Filter{})) == 0 })
	})
}
