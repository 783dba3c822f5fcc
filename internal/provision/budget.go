package provision

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/work"
)

// A target has one budget, however many replicas there are: so many requests a second, so many at once, and none while it
// asked to be left alone. One replica holds it at a time, and only it sends; it keeps it while there is something to send.
// If it dies, another takes the budget over when the hold has run out, with nothing saved up and the target's last wish
// for rest.

// A hold lasts so long, and is renewed every second while it is used.
const (
	holdTime  = 3 * time.Second
	renewTime = time.Second
)

// holds are the budgets that this replica holds.
type holds struct {
	holder string
	mu     sync.Mutex
	until  map[app.ID]time.Time
}

func newHolds() holds { return holds{holder: store.NewID(), until: map[app.ID]time.Time{}} }

// held makes sure that this replica holds a target's budget. It is false if another one does.
func (e *Engine) held(ctx context.Context, t *target) (bool, error) {
	now, id := e.Now(), t.app.ID
	e.holds.mu.Lock()
	left := e.holds.until[id].Sub(now)
	e.holds.mu.Unlock()
	if left > holdTime-renewTime {
		return true, nil
	}
	type row struct {
		holder       string
		until, quiet int64
	}
	var was row
	mine := false
	err := e.DB.Claim(ctx, func(tx *store.Tx) (err error) {
		was, mine = row{}, true
		was, err = store.One(tx, func(r store.Row) (x row, err error) {
			err = r.Scan(&x.holder, &x.until, &x.quiet)
			return x, err
		}, `SELECT holder, held_until, quiet_until FROM budgets WHERE application_id = $1`+tx.ForUpdate(), string(id))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if was.holder != e.holds.holder && was.until > store.Micros(now) {
			mine = false
			return nil
		}
		n, err := tx.Exec(`INSERT INTO budgets (application_id, holder, held_until, quiet_until) VALUES ($1, $2, $3, 0)
			ON CONFLICT (application_id) DO UPDATE SET holder = excluded.holder, held_until = excluded.held_until
			WHERE budgets.holder = $4 AND budgets.held_until = $5`,
			string(id), e.holds.holder, store.Micros(now.Add(holdTime)), was.holder, was.until)
		mine = n > 0 // else another one was quicker
		return err
	})
	if store.Foreign(err) {
		return false, nil // the application is gone
	}
	if err != nil {
		return left > 0, err
	}
	e.holds.mu.Lock()
	if mine {
		e.holds.until[id] = now.Add(holdTime)
	} else {
		delete(e.holds.until, id)
	}
	e.holds.mu.Unlock()
	if mine && was.holder != "" && was.holder != e.holds.holder {
		t.takeOver(now, store.FromMicros(was.until), store.FromMicros(was.quiet))
	}
	return mine, nil
}

// takeOver continues a budget that another held until a time.
func (t *target) takeOver(now, until, quiet time.Time) {
	limit, burst := t.limiter.Limit(), t.limiter.Burst()
	if limit != rate.Inf && now.Sub(until) < time.Duration(float64(burst)/float64(limit)*float64(time.Second)) {
		t.limiter.AllowN(now, int(t.limiter.TokensAt(now))) // the other one may have used all of it
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if quiet.After(t.till) {
		t.till = quiet
	}
}

// holding limits how many lanes of an application run on this replica to n, and to none where another one holds the budget.
func (e *Engine) holding(n int) func(scope string) int {
	return func(scope string) int {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if t, err := e.target(ctx, app.ID(scope)); err == nil {
			if mine, err := e.held(ctx, t); err == nil && !mine {
				return 0
			}
		}
		return n // the handler deals with what is wrong
	}
}

// wait waits for the budget of a target. It returns a work.Hold while the target asked to be left alone, and where
// another replica holds the budget.
func (e *Engine) wait(ctx context.Context, t *target) error {
	mine, err := e.held(ctx, t)
	if err != nil {
		return err
	}
	if !mine {
		return work.Hold(time.Second, "Another replica sends to this application.")
	}
	return t.wait(ctx, e.Now())
}

// quiet notes, in tx, until when a target asked to be left alone, for whoever holds its budget then.
func (e *Engine) quiet(tx *store.Tx, t *target) error {
	t.mu.Lock()
	till := t.till
	t.mu.Unlock()
	_, err := tx.Exec(`UPDATE budgets SET quiet_until = $1 WHERE application_id = $2 AND holder = $3 AND quiet_until < $1`,
		store.Micros(till), string(t.app.ID), e.holds.holder)
	return err
}

// Release lets go of all budgets, so that another replica needn't wait until the holds run out. Call it when nothing of
// the engine runs any more.
func (e *Engine) Release(ctx context.Context) error {
	e.holds.mu.Lock()
	clear(e.holds.until)
	e.holds.mu.Unlock()
	return e.DB.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE budgets SET held_until = $1 WHERE holder = $2 AND held_until > $1`, store.Micros(e.Now()), e.holds.holder)
		return err
	})
}
