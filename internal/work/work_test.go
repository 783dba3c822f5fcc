package work_test

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
	"github.com/latchkey-idp/latchkey/internal/work"
)

var quiet = slog.New(slog.DiscardHandler)

func want(t *testing.T, db *store.DB, l work.Lane) {
	t.Helper()
	if err := db.Update(t.Context(), func(tx *store.Tx) error { return work.Want(tx, time.Now(), l) }); err != nil {
		t.Fatal(err)
	}
}

// start runs a pool until the test ends, and checks that it ends cleanly.
func start(t *testing.T, db *store.DB, register func(*work.Pool)) (stop func()) {
	t.Helper()
	p := work.NewPool(db, quiet, time.Now)
	register(p)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("pool: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func states(t *testing.T, db *store.DB, f work.Filter) (out []work.State) {
	t.Helper()
	if err := db.View(t.Context(), func(tx *store.Tx) (err error) {
		out, err = work.States(tx, time.Now(), f)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("never happened: %s", what)
}

func TestManyWishesBecomeOneRun(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		for range 10 {
			want(t, db, work.Lane{Kind: "k", Key: "a"})
		}
		var runs atomic.Int64
		start(t, db, func(p *work.Pool) {
			p.Handle("k", work.Options{Workers: 4}, func(context.Context, work.Lease) error { runs.Add(1); return nil })
		})
		eventually(t, "rest", func() bool { return len(states(t, db, work.Filter{})) == 0 })
		if runs.Load() != 1 {
			t.Fatalf("%d runs", runs.Load())
		}
	})
}

func TestWishDuringARunRunsOnceMore(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		want(t, db, work.Lane{Kind: "k", Key: "a"})
		var runs atomic.Int64
		start(t, db, func(p *work.Pool) {
			p.Handle("k", work.Options{Workers: 4}, func(ctx context.Context, l work.Lease) error {
				if runs.Add(1) == 1 {
					want(t, db, work.Lane{Kind: "k", Key: "a"})
					want(t, db, work.Lane{Kind: "k", Key: "a"})
				}
				return db.Update(ctx, l.Done)
			})
		})
		eventually(t, "rest", func() bool { return runs.Load() >= 2 && len(states(t, db, work.Filter{})) == 0 })
		if runs.Load() != 2 {
			t.Fatalf("%d runs", runs.Load())
		}
	})
}

func TestLostLeaseMarksNothingDone(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		want(t, db, work.Lane{Kind: "k", Key: "a", Scope: "s"})
		result := make(chan error, 1)
		start(t, db, func(p *work.Pool) {
			p.Handle("k", work.Options{}, func(ctx context.Context, l work.Lease) error {
				if err := db.Update(ctx, func(tx *store.Tx) error {
					_, err := work.CancelScope(tx, "k", "s")
					return err
				}); err != nil {
					return err
				}
				err := db.Update(ctx, func(tx *store.Tx) error {
					if _, err := tx.Exec(`INSERT INTO settings (key, value, updated_at) VALUES ('stale', '', 1)`); err != nil {
						return err
					}
					return l.Done(tx)
				})
				result <- err
				return err
			})
		})
		if err := <-result; !errors.Is(err, work.ErrLost) {
			t.Fatalf("got %v", err)
		}
		if err := db.View(t.Context(), func(tx *store.Tx) error {
			_, err := store.One(tx, store.Scalar[string], `SELECT value FROM settings WHERE key = 'stale'`)
			return err
		}); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("a fenced worker wrote: %v", err)
		}
	})
}

func TestDeadWorkersLaneIsTakenOver(t *testing.T) {
	t.Parallel()
	storetest.Two(t, func(t *testing.T, a, b *store.DB) {
		want(t, a, work.Lane{Kind: "k", Key: "a"})
		// The first worker leases the lane and dies: nothing extends the lease.
		if err := a.Update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(`UPDATE lanes SET leased_until = $1, fence = fence + 1`, store.Micros(time.Now().Add(1500*time.Millisecond)))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		took := make(chan int64, 1)
		start(t, b, func(p *work.Pool) {
			p.Handle("k", work.Options{}, func(_ context.Context, l work.Lease) error { took <- l.Fence; return nil })
		})
		if fence := <-took; fence != 2 {
			t.Errorf("fence %d", fence)
		}
		if d := time.Since(begin); d < time.Second || d > 10*time.Second {
			t.Errorf("taken over after %s", d)
		}
	})
}

func TestLongRunKeepsItsLease(t *testing.T) {
	t.Parallel()
	storetest.Two(t, func(t *testing.T, a, b *store.DB) {
		var runs atomic.Int64
		release := make(chan struct{})
		register := func(p *work.Pool) {
			p.Handle("k", work.Options{}, func(context.Context, work.Lease) error { runs.Add(1); <-release; return nil })
		}
		want(t, a, work.Lane{Kind: "k", Key: "a"})
		start(t, a, register)
		start(t, b, register)
		time.Sleep(6 * time.Second) // longer than a lease
		close(release)
		eventually(t, "rest", func() bool { return len(states(t, a, work.Filter{})) == 0 })
		if runs.Load() != 1 {
			t.Fatalf("%d runs", runs.Load())
		}
	})
}

func TestRetryParkHold(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		var mu sync.Mutex
		attempts := map[string]int{}
		count := func(key string) int { mu.Lock(); defer mu.Unlock(); return attempts[key] }
		want(t, db, work.Lane{Kind: "k", Key: "retry", Scope: "1"})
		want(t, db, work.Lane{Kind: "k", Key: "park", Scope: "2"})
		want(t, db, work.Lane{Kind: "k", Key: "panic", Scope: "3"})
		want(t, db, work.Lane{Kind: "k", Key: "hold", Scope: "4"})
		start(t, db, func(p *work.Pool) {
			p.Handle("k", work.Options{Workers: 4}, func(_ context.Context, l work.Lease) error {
				mu.Lock()
				attempts[l.Key]++
				n := attempts[l.Key]
				mu.Unlock()
				switch {
				case l.Key == "retry" && n < 3:
					if l.Attempts != n {
						t.Errorf("attempt %d says %d", n, l.Attempts)
					}
					return work.RetryAfter(10*time.Millisecond, "not yet")
				case l.Key == "park" && n == 1:
					return work.Park("the target refused it")
				case l.Key == "panic" && n == 1:
					panic("boom")
				case l.Key == "hold" && n == 1:
					return work.Hold(300*time.Millisecond, "too many requests")
				}
				return nil
			})
		})
		eventually(t, "only the park is left", func() bool { s := states(t, db, work.Filter{}); return len(s) == 1 && s[0].Parked })
		s := states(t, db, work.Filter{Parked: true})[0]
		if s.Key != "park" || s.Reason != "the target refused it" || count("park") != 1 {
			t.Fatalf("%+v after %d", s, count("park"))
		}
		if count("retry") != 3 || count("panic") != 2 || count("hold") != 2 {
			t.Fatalf("attempts %v", attempts)
		}
		if err := db.Update(t.Context(), func(tx *store.Tx) error {
			ok, err := work.Retry(tx, time.Now(), "k", "park")
			if err == nil && !ok {
				t.Error("nothing to retry")
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "rest", func() bool { return len(states(t, db, work.Filter{})) == 0 })
	})
}

func TestScopesShareAndPrioritiesOrder(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		for i := range 20 {
			want(t, db, work.Lane{Kind: "k", Key: "busy" + strconv.Itoa(i), Scope: "busy", Priority: 5})
		}
		want(t, db, work.Lane{Kind: "k", Key: "leaver", Scope: "busy", Priority: 0})
		var mu sync.Mutex
		var order []string
		var now, most atomic.Int64
		start(t, db, func(p *work.Pool) {
			p.Handle("k", work.Options{Workers: 8, PerScope: func(string) int { return 2 }}, func(_ context.Context, l work.Lease) error {
				n := now.Add(1)
				defer now.Add(-1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				mu.Lock()
				order = append(order, l.Key)
				mu.Unlock()
				time.Sleep(5 * time.Millisecond)
				return nil
			})
		})
		eventually(t, "rest", func() bool { return len(states(t, db, work.Filter{})) == 0 })
		if most.Load() != 2 {
			t.Errorf("%d ran at once", most.Load())
		}
		if order[0] != "leaver" && order[1] != "leaver" {
			t.Errorf("the leaver came too late: %v", order)
		}
	})
}

func TestEveryRunsAgainAndAgain(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		var runs atomic.Int64
		stop := start(t, db, func(p *work.Pool) {
			p.Every("sweep", 20*time.Millisecond, func(context.Context) error { runs.Add(1); return nil })
		})
		eventually(t, "three runs", func() bool { return runs.Load() >= 3 })
		stop()
	})
}

func TestCountScope(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		want(t, db, work.Lane{Kind: "k", Key: "a", Scope: "s"})
		want(t, db, work.Lane{Kind: "k", Key: "b", Scope: "s"})
		want(t, db, work.Lane{Kind: "k", Key: "c", Scope: "other"})
		if err := db.Update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(`UPDATE lanes SET parked = TRUE WHERE key = 'b'`)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if err := db.View(t.Context(), func(tx *store.Tx) error {
			c, err := work.CountScope(tx, "k", "s")
			if err == nil && (c.Waiting != 1 || c.Parked != 1 || c.Oldest.IsZero()) {
				t.Errorf("%+v", c)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func BenchmarkLanes(b *testing.B) {
	db := storetest.SQLite(b)
	const chunk = 500
	for i := 0; i < b.N; i += chunk {
		if err := db.Update(b.Context(), func(tx *store.Tx) error {
			for j := i; j < min(i+chunk, b.N); j++ {
				if err := work.Want(tx, time.Now(), work.Lane{Kind: "k", Key: strconv.Itoa(j)}); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	ctx, cancel := context.WithCancel(b.Context())
	p := work.NewPool(db, quiet, time.Now)
	p.Handle("k", work.Options{Workers: 32}, func(ctx context.Context, l work.Lease) error {
		if err := db.Update(ctx, l.Done); err != nil {
			return err
		}
		if left.Add(-1) == 0 {
			cancel()
		}
		return nil
	})
	b.ResetTimer()
	if err := p.Run(ctx); err != nil {
		b.Fatal(err)
	}
}
