package provision

import (
	"context"
	"errors"
	"time"

	"golang.org/x/time/rate"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// Health is what shows whether provisioning lives, and how fast it goes.
type Health struct {
	// SilentSince is since when it is told that the target gives no good answer though work waits; zero if it does.
	SilentSince time.Time `json:"silentSince,omitzero"`
	// OldestSeconds is how long the first of what waits has been waiting.
	OldestSeconds float64 `json:"oldestSeconds"`
	Budget        Budget  `json:"budget"`
	// ObjectsPerSecond is how fast people and groups came to rest in the last five minutes.
	ObjectsPerSecond float64 `json:"objectsPerSecond"`
	// FinishAt is when nothing will wait any more at that speed; zero if nothing waits or it isn't known.
	FinishAt time.Time     `json:"finishAt,omitzero"`
	Receipts ReceiptCounts `json:"receipts"`

	now time.Time
}

// Budget is how many requests an application's target may be sent.
type Budget struct {
	// Limited is false where neither the connector nor an administrator sets a limit.
	Limited   bool    `json:"limited"`
	PerSecond float64 `json:"perSecond,omitempty"`
	Burst     int     `json:"burst,omitempty"`
	// Left is how many could be sent at once now.
	Left int `json:"left"`
}

// read reads what is stored of an application's health.
func (s *Status) read(tx *store.Tx, now time.Time, a app.Application) error {
	s.now = now
	type row struct{ answered, silent, left, failures, quiet int64 }
	x, err := store.One(tx, func(r store.Row) (x row, err error) {
		err = r.Scan(&x.answered, &x.silent, &x.left, &x.failures, &x.quiet)
		return x, err
	}, `SELECT h.answered_at, h.silent_at, h.budget_left, h.failures, COALESCE(b.quiet_until, 0)
		FROM target_health h LEFT JOIN budgets b ON b.application_id = h.application_id WHERE h.application_id = $1`, string(a.ID))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	s.LastAnswer, s.Failures = store.FromMicros(x.answered), int(x.failures)
	if a.SCIM.Status == app.Active {
		s.SilentSince = store.FromMicros(x.silent)
	}
	if quiet := store.FromMicros(x.quiet); quiet.After(now) {
		s.HeldTill = quiet
	}
	s.Budget.Left = int(max(0, x.left))
	if s.ObjectsPerSecond, err = pace(tx, now, a.ID, s.OldestWaiting); err != nil {
		return err
	}
	s.Receipts, err = countReceipts(tx, a.ID)
	return err
}

// reckon works out what follows from what was read.
func (e *Engine) reckon(ctx context.Context, s *Status, a app.Application, t *target) {
	if !s.OldestWaiting.IsZero() {
		s.OldestSeconds = max(0, s.now.Sub(s.OldestWaiting).Seconds())
	}
	if t == nil {
		// Not worked with on this replica yet: read it, for its limits.
		t, _ = e.target(ctx, a.ID) //nolint:errcheck // then they aren't shown
	}
	if t != nil && t.client != nil {
		if limit := t.limiter.Limit(); limit != rate.Inf {
			s.Budget.Limited, s.Budget.PerSecond, s.Budget.Burst = true, float64(limit), t.limiter.Burst()
			if left, _ := t.budgetLeft(s.now); e.sends(a.ID, s.now) || s.Budget.Left == 0 && a.SCIM.Status != app.Active {
				s.Budget.Left = int(left)
			}
			s.Budget.Left = min(s.Budget.Left, s.Budget.Burst)
		}
	}
	if s.Waiting > 0 && a.SCIM.Status == app.Active && s.ObjectsPerSecond > 0 && s.SilentSince.IsZero() && s.HeldTill.IsZero() {
		s.FinishAt = s.now.Add(time.Duration(float64(s.Waiting) / s.ObjectsPerSecond * float64(time.Second)))
	}
}

// sends reports whether this replica holds an application's budget, so that it knows best what is left.
func (e *Engine) sends(id app.ID, now time.Time) bool {
	e.holds.mu.Lock()
	defer e.holds.mu.Unlock()
	return e.holds.until[id].After(now)
}

// Vital is an application's health, for metrics.
type Vital struct {
	ID    app.ID
	Label string
	Status
	// Good, Bad and Finished count since this replica began: good answers, failures of the target as a whole, and
	// people and groups that came to rest.
	Good, Bad, Finished int64
}

// Vitals returns the health of all applications that are provisioned or were.
func (e *Engine) Vitals(ctx context.Context, by access.Actor) ([]Vital, error) {
	type row struct {
		id    app.ID
		label string
	}
	if err := access.Allow(by, access.ReadApplications); err != nil {
		return nil, err
	}
	var rows []row
	if err := e.DB.View(ctx, func(tx *store.Tx) (err error) {
		rows, err = store.All(tx, func(r store.Row) (x row, err error) {
			err = r.Scan(&x.id, &x.label)
			return x, err
		}, `SELECT a.id, a.label FROM applications a JOIN scim_integrations s ON s.application_id = a.id WHERE s.base_url <> '' ORDER BY a.label_key`)
		return err
	}); err != nil {
		return nil, err
	}
	out := make([]Vital, 0, len(rows))
	for _, x := range rows {
		s, err := e.Status(ctx, by, x.id)
		if err != nil {
			return nil, err
		}
		v := Vital{ID: x.id, Label: x.label, Status: s}
		p := e.pulseOf(x.id)
		p.mu.Lock()
		v.Good, v.Bad, v.Finished = p.good, p.bad, p.done
		p.mu.Unlock()
		out = append(out, v)
	}
	return out, nil
}
