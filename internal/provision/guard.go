package provision

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/provision/plan"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/work"
)

// guardWindow is how far back deactivations count together with those that wait: a mistake made
// by a script, one person at a time, is one mistake.
const guardWindow = 10 * time.Minute

// guard holds an application when too many people would lose their account at once: sending is
// paused, what waits stays waiting, and resuming approves it. It is asked before a leaver's
// first request.
func (e *Engine) guard(ctx context.Context, l work.Lease, t *target) error {
	limits := plan.Guard{MaxCount: t.app.SCIM.Guard.MaxCount, MaxPercent: t.app.SCIM.Guard.MaxPercent, Floor: plan.GuardFloor}
	if limits.MaxCount == 0 && limits.MaxPercent == 0 {
		return nil
	}
	now := e.Now()
	var losses, linked int
	var approved int64
	readApproved := func(tx *store.Tx) (int64, error) {
		return store.One(tx, store.Scalar[int64], `SELECT approved_at FROM scim_integrations WHERE application_id = $1`, string(t.app.ID))
	}
	if err := e.DB.View(ctx, func(tx *store.Tx) (err error) {
		if approved, err = readApproved(tx); err != nil {
			return err
		}
		if store.Micros(l.Since) <= approved {
			return nil // it was waiting when a person said yes
		}
		from := max(approved, store.Micros(now.Add(-guardWindow)))
		waiting, err := store.One(tx, store.Scalar[int], `SELECT count(*) FROM lanes
			WHERE kind = $1 AND scope = $2 AND priority = $3 AND wanted > synced AND NOT parked AND since > $4`,
			laneSync, string(t.app.ID), leaver, approved)
		if err != nil {
			return err
		}
		sent, err := store.One(tx, store.Scalar[int], `SELECT count(*) FROM events
			WHERE application_id = $1 AND id >= $2 AND type IN ($3, $4) AND outcome = 'success' AND at > $5`,
			string(t.app.ID), store.FirstID(store.FromMicros(from)), string(audit.UserDeprovision), string(audit.UserDeleteProvision), from)
		if err != nil {
			return err
		}
		losses = waiting + sent
		if losses <= limits.Floor && (limits.MaxCount == 0 || losses <= limits.MaxCount) {
			return nil
		}
		linked, err = store.One(tx, store.Scalar[int], `SELECT count(*) FROM links
			WHERE application_id = $1 AND object_kind = 'user' AND linked AND status <> 'inactive'`, string(t.app.ID))
		linked += sent
		return err
	}); err != nil {
		return err
	}
	reason, held := limits.Exceeded(losses, linked)
	if !held {
		return nil
	}
	reason = fmt.Sprintf("held for approval: %s Look at the plan, then resume to approve, or undo the change.", reason)
	overtaken := false
	err := e.DB.Update(ctx, func(tx *store.Tx) error {
		// A person may have said yes since we counted.
		said, err := readApproved(tx)
		if overtaken = said != approved; overtaken || err != nil {
			return err
		}
		a, err := app.GetApplication(tx, t.app.ID)
		if err != nil || a.SCIM.Status != app.Active {
			return err
		}
		_, err = app.SetSCIMStatus(tx, now, system(), t.app.ID, app.Paused, reason)
		return err
	})
	e.stale(t.app.ID)
	if overtaken && err == nil {
		return work.RetryAfter(50*time.Millisecond, "")
	}
	return errors.Join(err, work.Hold(time.Second, reason))
}
