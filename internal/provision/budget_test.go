package provision_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/scim/scimtest"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

// The limits of a target hold over all replicas, also while one of them takes over from another that died.
func TestOneBudgetOverReplicas(t *testing.T) {
	const perSecond, burst, people = 40, 5, 150
	storetest.Two(t, func(t *testing.T, da, db *store.DB) {
		a := newWorld(t, da)
		_, err := a.apps.SaveSCIM(t.Context(), owner, a.app, func(s *app.SCIMSettings) error {
			s.RatePerSecond, s.Burst, s.Concurrency, s.ManageGroups = perSecond, burst, 2, false
			return nil
		})
		a.must(err)
		for i := range people {
			a.user(fmt.Sprintf("p%03d", i), a.group)
		}
		b := *a
		b.db, b.name = db, "b"
		b.start()
		t.Cleanup(func() { b.stop() })
		a.activate()
		senders := map[string]int{}
		seen := func() []scimtest.Request {
			all := a.target.Requests()
			clear(senders)
			for _, r := range all {
				senders[r.Header.Get("User-Agent")]++
			}
			return all
		}
		for len(seen()) < people/3 {
			time.Sleep(10 * time.Millisecond)
		}
		if len(senders) != 1 {
			t.Errorf("several send at once: %v", senders)
		}
		// Whoever sends dies without a word.
		if senders["Latchkey/b"] > 0 {
			b.stop()
		} else {
			a.stop()
		}
		a.settled()
		all := seen()
		if len(senders) != 2 {
			t.Errorf("nobody took over: %v", senders)
		}
		at := make([]time.Time, len(all))
		for i, r := range all {
			at[i] = r.At
		}
		slices.SortFunc(at, time.Time.Compare)
		// A request may be under way for a while before it arrives: allow that for two.
		for i := range at {
			n := 0
			for ; i+n < len(at) && at[i+n].Sub(at[i]) < time.Second; n++ {
			}
			if n > perSecond+burst+2 {
				t.Fatalf("%d requests within a second", n)
			}
		}
		if n := len(a.target.Resources(scim.User)); n != people {
			t.Errorf("%d accounts for %d people", n, people)
		}
	})
}

// A target's wish to be left alone outlives the replica that was told.
func TestRestOutlivesTheReplica(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w.target.Fail(scimtest.Fault{Status: http.StatusTooManyRequests, Header: map[string]string{"Retry-After": "5"}, Times: 1})
		w.user("ann", w.group)
		w.activate()
		for len(w.target.Requests()) == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		told := w.target.Requests()[0].At
		quiet := func() (n int) {
			w.must(db.View(t.Context(), func(tx *store.Tx) (err error) {
				n, err = store.One(tx, store.Scalar[int], `SELECT count(*) FROM budgets WHERE quiet_until > 0`)
				return err
			}))
			return n
		}
		for quiet() == 0 && time.Since(told) < 4*time.Second {
			time.Sleep(10 * time.Millisecond)
		}
		w.stop()
		w.start()
		w.settled()
		for _, r := range w.target.Requests()[1:] {
			if d := r.At.Sub(told); d < 4900*time.Millisecond {
				t.Errorf("%s came after %s, within Retry-After", r, d)
			}
		}
	})
}
