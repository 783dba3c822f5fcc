package provision

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// pulse counts what shows that a target lives, on this replica. It is stored every few seconds, summed over all
// replicas, so that it outlives this one.
type pulse struct {
	mu                           sync.Mutex
	answered                     time.Time // last good answer
	finished, requests, failures int64     // since they were stored
	// totals since the start, for metrics
	good, bad, done int64
	dirty           bool
}

// pulseEvery is how often signs of life are stored.
const pulseEvery = 5 * time.Second

type pulses struct {
	mu     sync.Mutex
	of     map[app.ID]*pulse
	stored time.Time
}

// pulseOf returns an application's pulse.
func (e *Engine) pulseOf(id app.ID) *pulse {
	e.pulses.mu.Lock()
	defer e.pulses.mu.Unlock()
	if e.pulses.of == nil {
		e.pulses.of = map[app.ID]*pulse{}
	}
	p := e.pulses.of[id]
	if p == nil {
		p = &pulse{}
		e.pulses.of[id] = p
	}
	return p
}

// answer notes a good answer.
func (p *pulse) answer(now time.Time) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answered, p.dirty = now, true
	p.requests++
	p.good++
}

// fail notes a request that the target as a whole didn't answer as it should.
func (p *pulse) fail() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests++
	p.failures++
	p.bad++
	p.dirty = true
}

// finish notes an object that came to rest.
func (p *pulse) finish() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finished++
	p.done++
	p.dirty = true
}

// storePulses stores the signs of life, if it is time.
func (e *Engine) storePulses(ctx context.Context, atOnce bool) error {
	now := e.Now()
	e.pulses.mu.Lock()
	if !atOnce && now.Sub(e.pulses.stored) < pulseEvery {
		e.pulses.mu.Unlock()
		return nil
	}
	e.pulses.stored = now
	all := make(map[app.ID]*pulse, len(e.pulses.of))
	for id, p := range e.pulses.of {
		all[id] = p
	}
	e.pulses.mu.Unlock()
	var errs []error
	for id, p := range all {
		if err := e.storePulse(ctx, now, id, p); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (e *Engine) storePulse(ctx context.Context, now time.Time, id app.ID, p *pulse) error {
	p.mu.Lock()
	if !p.dirty {
		p.mu.Unlock()
		return nil
	}
	answered, finished, requests, failures := p.answered, p.finished, p.requests, p.failures
	p.finished, p.requests, p.failures, p.dirty = 0, 0, 0, false
	p.mu.Unlock()
	left, row := int64(-1), int64(0)
	e.mu.Lock()
	if t := e.targets[id]; t != nil {
		if n, limited := t.budgetLeft(now); limited {
			left = int64(n)
		}
		t.mu.Lock()
		row = int64(t.failures)
		t.mu.Unlock()
	}
	e.mu.Unlock()
	err := e.DB.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(`INSERT INTO target_health (application_id, answered_at, budget_left, failures, updated_at) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (application_id) DO UPDATE SET
				answered_at = CASE WHEN excluded.answered_at > target_health.answered_at THEN excluded.answered_at ELSE target_health.answered_at END,
				budget_left = excluded.budget_left, failures = excluded.failures, updated_at = excluded.updated_at`,
			string(id), store.Micros(answered), left, row, store.Micros(now)); err != nil {
			return err
		}
		_, err := tx.Exec(`INSERT INTO target_pace (application_id, minute, finished, requests, failures) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (application_id, minute) DO UPDATE SET finished = target_pace.finished + excluded.finished,
				requests = target_pace.requests + excluded.requests, failures = target_pace.failures + excluded.failures`,
			string(id), now.Unix()/60, finished, requests, failures)
		return err
	})
	if store.Foreign(err) { // the application is gone
		e.pulses.mu.Lock()
		delete(e.pulses.of, id)
		e.pulses.mu.Unlock()
		return nil
	}
	if err != nil {
		p.mu.Lock()
		p.finished, p.requests, p.failures, p.dirty = p.finished+finished, p.requests+requests, p.failures+failures, true
		p.mu.Unlock()
	}
	return err
}

// budgetLeft is how many requests could be sent at once, and whether there is a limit at all.
func (t *target) budgetLeft(now time.Time) (float64, bool) {
	if t.limiter.Limit() == rate.Inf {
		return 0, false
	}
	return max(0, t.limiter.TokensAt(now)), true
}

// paceWindow is what the recent speed is measured over.
const paceWindow = 5 * time.Minute

// pace is how fast objects came to rest lately, in objects a second; 0 if none did. What this replica has counted and
// not stored yet is left out.
func pace(tx *store.Tx, now time.Time, id app.ID, since time.Time) (float64, error) {
	type sum struct{ finished, first int64 }
	from := now.Add(-paceWindow)
	s, err := store.One(tx, func(r store.Row) (sum, error) {
		var x sum
		err := r.Scan(&x.finished, &x.first)
		return x, err
	}, `SELECT COALESCE(SUM(finished), 0), COALESCE(MIN(minute), 0) FROM target_pace
		WHERE application_id = $1 AND minute >= $2 AND finished > 0`, string(id), from.Unix()/60)
	if err != nil || s.finished == 0 {
		return 0, err
	}
	begin := time.Unix(s.first*60, 0)
	if since.After(begin) && now.Sub(since) > 20*time.Second {
		begin = since // work that waits for so long began with it; the minute before was at rest
	}
	return float64(s.finished) / max(now.Sub(begin).Seconds(), pulseEvery.Seconds()), nil
}
