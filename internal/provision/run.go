package provision

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision/plan"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/work"
)

// sync is the handler of laneSync.
func (e *Engine) sync(ctx context.Context, l work.Lease) error {
	o, err := parseObject(l.Key)
	if err != nil {
		return work.Park(err.Error())
	}
	t, err := e.target(ctx, o.app)
	if problem.Is(err, problem.NotFound) {
		return nil // the application is gone, and with it all that was wanted
	}
	if err != nil {
		return err
	}
	switch t.app.SCIM.Status {
	case app.Active:
	case app.Paused, app.Stopped:
		return work.Hold(5*time.Second, "Provisioning is "+string(t.app.SCIM.Status)+".")
	default:
		return nil
	}
	if t.client == nil {
		return work.Hold(5*time.Second, "Base URL or token is missing.")
	}
	if o.kind == scim.Group {
		return e.syncTeam(ctx, l, t, o)
	}
	return e.syncPerson(ctx, l, t, o)
}

// run is one run of one lane.
type run struct {
	e     *Engine
	lease work.Lease
	t     *target
	o     object
	link  *Link

	conflicted bool
	cleared    bool // the guard let a leaver pass
}

// call sends one request within the target's budget.
func (r *run) call(ctx context.Context, send func() (scim.Exchange, error)) (scim.Exchange, error) {
	leave, err := r.t.enter(ctx)
	if err != nil {
		return scim.Exchange{}, err
	}
	defer leave()
	if err := r.e.wait(ctx, r.t); err != nil {
		return scim.Exchange{}, err
	}
	ex, err := send()
	switch scim.ClassOf(err) {
	case scim.Throttled, scim.Temporary, scim.Unauthorized:
		r.t.pulse.fail()
	default:
		r.t.good(r.e.Now())
	}
	return ex, err
}

// look carries out a Lookup or Read and returns full resources. A look-up without conditions, at
// a target that can't filter, lists everything and takes what is says is the object.
func (r *run) look(ctx context.Context, step plan.Step, is func(scim.Resource) bool) ([]scim.Resource, error) {
	c := r.t.client
	if step.Kind == plan.Read {
		var hit scim.Resource
		ex, err := r.call(ctx, func() (ex scim.Exchange, err error) {
			hit, ex, err = c.Get(ctx, r.o.kind, step.On.Remote)
			return ex, err
		})
		switch {
		case scim.ClassOf(err) == scim.NotFound:
			return nil, r.vanished(ctx, step, ex)
		case err != nil:
			return nil, r.failed(ctx, step, ex, err)
		}
		return []scim.Resource{hit}, nil
	}
	if len(step.Match) == 0 {
		return r.scan(ctx, step, is)
	}
	for i, m := range step.Match {
		var hits []scim.Resource
		ex, err := r.call(ctx, func() (ex scim.Exchange, err error) {
			hits, ex, err = c.Find(ctx, r.o.kind, m.Filter())
			return ex, err
		})
		if unfilterable(err) && i < len(step.Match)-1 {
			continue // the target can't look by this attribute, but maybe by the next
		}
		if err != nil {
			return nil, r.failed(ctx, step, ex, err)
		}
		if len(hits) > 0 {
			return hits, nil
		}
	}
	return nil, nil
}

func (r *run) scan(ctx context.Context, step plan.Step, is func(scim.Resource) bool) (hits []scim.Resource, err error) {
	leave, err := r.t.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	for page, err := range r.t.client.List(ctx, r.o.kind, scim.ListOptions{}) {
		if err != nil {
			return nil, r.failed(ctx, step, page.Exchange, err)
		}
		r.t.good(r.e.Now())
		for _, res := range page.Resources {
			if is(res) {
				hits = append(hits, res)
			}
		}
		if err := r.e.wait(ctx, r.t); err != nil {
			return nil, err
		}
	}
	return hits, nil
}

// unfilterable tells whether a target refused a look-up because of its filter.
func unfilterable(err error) bool {
	e, ok := errors.AsType[*scim.Error](err)
	return ok && e.ScimType == scim.InvalidFilter
}

// send carries out a step that writes.
func (r *run) send(ctx context.Context, s plan.Step) (answer scim.Resource, ex scim.Exchange, err error) {
	if s.Method == "" {
		return nil, scim.Exchange{}, nil
	}
	c := r.t.client
	ex, err = r.call(ctx, func() (ex scim.Exchange, err error) {
		switch s.Method {
		case http.MethodPost:
			answer, ex, err = c.Create(ctx, s.On.Type, s.Body)
		case http.MethodPut:
			answer, ex, err = c.Replace(ctx, s.On.Type, s.On.Remote, s.Body)
		case http.MethodPatch:
			answer, ex, err = c.Patch(ctx, s.On.Type, s.On.Remote, s.Patch())
		case http.MethodDelete:
			ex, err = c.Delete(ctx, s.On.Type, s.On.Remote)
		default:
			err = fmt.Errorf("provision: step %s has method %q", s.Kind, s.Method)
		}
		return ex, err
	})
	return answer, ex, err
}

// store writes in one transaction. The context that ends at shutdown must not keep an answer
// that has come from being noted.
func (r *run) store(ctx context.Context, fn func(*store.Tx) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return r.e.DB.Update(ctx, fn)
}

// ack notes a step that the target acknowledged: link and event, and with the last step the
// lane's end, in one transaction.
func (r *run) ack(ctx context.Context, s plan.Step, ex scim.Exchange, rest bool, status LinkStatus, more func(*store.Tx) error) error {
	now := r.e.Now()
	before := *r.link
	err := r.store(ctx, func(tx *store.Tx) error {
		*r.link = before // the function may run again
		if err := more(tx); err != nil {
			return err
		}
		r.link.Reason = ""
		r.link.Status = LinkPending
		if rest {
			r.link.Status, r.link.SyncedAt = status, now
			r.link.Approved = false
		}
		if err := r.link.save(tx, now); err != nil {
			return err
		}
		event, err := audit.Record(tx, now, r.event(s, ex, audit.Success, sentence(s, r.label(), r.t.app.Label)))
		if err != nil {
			return err
		}
		if err := r.receipt(tx, now, s, ex, event); err != nil {
			return err
		}
		if rest {
			return r.lease.Done(tx)
		}
		return nil
	})
	if errors.Is(err, work.ErrLost) {
		return r.lost(ctx, s, ex)
	}
	if rest && err == nil {
		r.t.pulse.finish()
	}
	return err
}

// lost tells a step that was acknowledged after the lane was taken away: what it did is told, and what is remembered of
// the object is not trusted.
func (r *run) lost(ctx context.Context, s plan.Step, ex scim.Exchange) error {
	now := r.e.Now()
	return errors.Join(work.ErrLost, r.store(ctx, func(tx *store.Tx) error {
		if err := r.distrust(tx); err != nil {
			return err
		}
		_, err := audit.Record(tx, now, r.event(s, ex, audit.Success, sentence(s, r.label(), r.t.app.Label)))
		return err
	}))
}

// distrust has the object looked at anew: this run may have changed it behind the back of the one that has the lane now,
// or had it meanwhile and found nothing to do.
func (r *run) distrust(tx *store.Tx) error {
	n, err := tx.Exec(`UPDATE links SET known = $1 WHERE application_id = $2 AND object_kind = $3 AND object_id = $4`,
		string(plan.Doubtful), string(r.o.app), kindName(r.o.kind), r.o.id)
	if err != nil {
		return err
	}
	if n == 0 {
		r.link.Known, r.link.Status = plan.Doubtful, LinkPending
		if err := r.link.save(tx, r.e.Now()); err != nil {
			return err
		}
	}
	return r.e.want(tx, r.o, r.lease.Priority, r.lease.Cause)
}

// keep is store for what a run remembers without ending it. If the lane was taken away nothing of that counts, and the
// error is work.ErrLost.
func (r *run) keep(ctx context.Context, fn func(*store.Tx) error) error {
	held := r.lease.Kind == "" // an act of a person has no lane
	err := r.store(ctx, func(tx *store.Tx) (err error) {
		if r.lease.Kind != "" {
			if held, err = r.lease.Held(tx); err != nil {
				return err
			}
		}
		if !held {
			return r.distrust(tx)
		}
		return fn(tx)
	})
	if err == nil && !held {
		err = work.ErrLost
	}
	return err
}

// doubt notes that the run before ended without a word: it may have made the object, or changed it, and nobody knows. It
// is looked at before anything is sent, and should this run end before that, by the next.
func (r *run) doubt(ctx context.Context) error {
	r.link.Known, r.link.Status = plan.Doubtful, LinkPending
	err := r.keep(ctx, func(tx *store.Tx) error { return r.link.save(tx, r.e.Now()) })
	r.link.stored = r.link.stored || err == nil
	return err
}

// rest notes that nothing is left to do.
func (r *run) rest(ctx context.Context, status LinkStatus, reason string) error {
	now := r.e.Now()
	return r.store(ctx, func(tx *store.Tx) error {
		// Nothing is remembered of who never was there.
		if r.link.stored || r.link.Linked || status == LinkSynced {
			if r.link.Status != status || r.link.Reason != reason {
				r.link.SyncedAt = now
			}
			r.link.Status, r.link.Reason = status, reason
			if err := r.link.save(tx, now); err != nil {
				return err
			}
		}
		if status == LinkInactive {
			if err := r.restReceipt(tx, now); err != nil {
				return err
			}
		}
		return r.lease.Done(tx)
	})
}

// block notes why nothing can be sent, and parks the lane until something changes.
func (r *run) block(ctx context.Context, s plan.Step) error {
	now := r.e.Now()
	err := r.keep(ctx, func(tx *store.Tx) error {
		told := r.link.Status == LinkBlocked && r.link.Reason == s.Reason
		r.link.Status, r.link.Reason = LinkBlocked, s.Reason
		if err := r.link.save(tx, now); err != nil || told {
			return err
		}
		e := r.event(s, scim.Exchange{}, audit.Failure, fmt.Sprintf("%s is blocked at %s: %s", r.label(), r.t.app.Label, s.Reason))
		e.Detail["code"] = s.Code
		if s.Alternative != "" {
			e.Detail["alternative"] = s.Alternative
		}
		_, err := audit.Record(tx, now, e)
		return err
	})
	if err != nil {
		return err
	}
	return work.Park(s.Reason)
}

// vanished notes that an object which was there isn't any more.
func (r *run) vanished(ctx context.Context, s plan.Step, ex scim.Exchange) error {
	now := r.e.Now()
	return r.keep(ctx, func(tx *store.Tx) error {
		r.link.Known, r.link.RemoteID, r.link.Linked, r.link.Snapshot = plan.Absent, "", false, nil
		r.link.Status = LinkPending
		if err := r.link.save(tx, now); err != nil {
			return err
		}
		if err := forgetMembers(tx, r.o, s.On.Remote); err != nil {
			return err
		}
		if err := r.vanishes(tx); err != nil {
			return err
		}
		_, err := audit.Record(tx, now, r.event(plan.Step{Kind: plan.Read, On: s.On}, ex, audit.Failure,
			fmt.Sprintf("%s is no longer at %s; somebody deleted it there.", r.label(), r.t.app.Label)))
		return err
	})
}

// failed decides what to do about a request that failed, and notes it.
func (r *run) failed(ctx context.Context, s plan.Step, ex scim.Exchange, cause error) error {
	var call *scim.CallError
	if !errors.As(cause, &call) {
		return cause // a hold, or the program is ending
	}
	if ctx.Err() != nil && call.Class == scim.Temporary && call.Exchange.Status == 0 && !call.Uncertain {
		return cause
	}
	now := r.e.Now()
	reason, result := r.consequence(now, call)
	status := LinkFailed
	if call.Class == scim.Throttled || call.Class == scim.Temporary || call.Class == scim.Unauthorized {
		status = LinkPending
	}
	err := r.keep(ctx, func(tx *store.Tx) error {
		r.link.Status, r.link.Reason = status, reason
		if call.Uncertain {
			r.link.Known = plan.Doubtful
		} else if s.Kind == plan.Create && call.Class != scim.Throttled && call.Class != scim.Unauthorized { // those were not heard
			r.link.Known = plan.Unknown
		}
		if r.link.stored || call.Uncertain || status == LinkFailed {
			if err := r.link.save(tx, now); err != nil {
				return err
			}
			r.link.stored = true
		}
		if call.Class == scim.Throttled || call.Class == scim.Temporary {
			if err := r.e.quiet(tx, r.t); err != nil {
				return err
			}
		}
		if call.Class == scim.Unauthorized {
			if err := r.e.stop(tx, r.t.app.ID, reason); err != nil {
				return err
			}
		}
		e := r.event(s, ex, audit.Failure, fmt.Sprintf("%s: %s", r.label(), reason))
		e.Detail["error"] = string(call.Class)
		if call.Uncertain {
			e.Detail["uncertain"] = true
		}
		_, err := audit.Record(tx, now, e)
		return err
	})
	if err != nil {
		return err
	}
	if call.Class == scim.Unauthorized {
		r.e.stale(r.t.app.ID)
	}
	return result
}

// consequence says in words what a failure means, and what becomes of the lane.
func (r *run) consequence(now time.Time, call *scim.CallError) (reason string, result error) {
	name := r.t.app.Label
	detail := strings.TrimSpace(call.Detail())
	switch call.Class {
	case scim.Unauthorized:
		reason = fmt.Sprintf("%s refuses the token (%d). Make a new one there and enter it here; nothing is sent until then.", name, call.Exchange.Status)
		return reason, work.Hold(5*time.Second, reason)
	case scim.Throttled:
		d := r.t.bad(now, call.RetryAfter)
		reason = fmt.Sprintf("%s asks for fewer requests; going on in %s.", name, d.Round(time.Second))
		return reason, work.Hold(d, reason)
	case scim.Temporary:
		d := r.t.bad(now, call.RetryAfter)
		reason = fmt.Sprintf("%s can't be reached or doesn't answer as it should (%s); trying again.", name, detail)
		return reason, work.Hold(d, reason)
	case scim.NotFound:
		reason = fmt.Sprintf("%s says that it doesn't exist there (%s). Check the base URL.", name, detail)
	case scim.Conflict:
		reason = fmt.Sprintf("%s has another account or group with the same value (%s). Change it there or here, then retry.", name, detail)
	default:
		reason = fmt.Sprintf("%s refuses it (%s).", name, detail)
	}
	return reason, work.Park(reason)
}

// stop ends all sending to an application until an administrator acts.
func (e *Engine) stop(tx *store.Tx, id app.ID, reason string) error {
	a, err := app.GetApplication(tx, id)
	if err != nil || a.SCIM.Status != app.Active {
		return err
	}
	_, err = app.SetSCIMStatus(tx, e.Now(), system(), id, app.Stopped, reason)
	return err
}

func (r *run) label() string {
	if r.link.Name != "" {
		return r.link.Name
	}
	return r.o.id
}

// event is the event of a step.
func (r *run) event(s plan.Step, ex scim.Exchange, outcome audit.Outcome, message string) audit.Event {
	e := audit.Event{
		Type: eventType(r.o, s), Outcome: outcome, Actor: system(),
		Object:        audit.Ref{Kind: kindName(r.o.kind), ID: r.o.id, Name: r.label()},
		ApplicationID: string(r.o.app), Cause: r.lease.Cause, Message: message,
		Detail: map[string]any{"step": string(s.Kind)},
	}
	for _, c := range s.Changes {
		e.Changes = append(e.Changes, audit.Change{Attribute: c.Path, Old: c.Old, New: c.New})
	}
	if len(s.Members) > 0 {
		names := make([]string, 0, len(s.Members))
		for _, m := range s.Members {
			if m.Remote == "" {
				continue
			}
			if m.Label != "" {
				names = append(names, m.Label)
			} else {
				names = append(names, m.Remote)
			}
		}
		c := audit.Change{Attribute: "members", New: names}
		if s.Kind == plan.RemoveMembers {
			c = audit.Change{Attribute: "members", Old: names}
		}
		e.Changes = append(e.Changes, c)
	}
	if s.On.Remote != "" {
		e.Detail["remoteId"] = s.On.Remote
	}
	if ex.Method != "" {
		e.Detail["exchange"] = ex
	}
	return e
}
