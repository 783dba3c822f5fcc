package provision

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision/plan"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// Unapproved says that a change was not made because its plan needs a person's word first: none
// was given, or one on another plan.
type Unapproved struct {
	// Plan is what the change would send now.
	Plan Preview
	// Stale tells that a plan was approved, but not this one.
	Stale bool
	label string
}

// Error says what to do.
func (u *Unapproved) Error() string {
	if u.Stale {
		return fmt.Sprintf("What the change would send to %s is not what it was when you looked at it. Nothing was changed: look at the plan again, then apply it.", u.label)
	}
	return fmt.Sprintf("The change would send something to %s (%s). Look at its plan first, then apply that.", u.label, count(u.Plan.Counts.Writes, "request", "requests"))
}

// Unwrap gives edges the kind and a public text.
func (u *Unapproved) Unwrap() error { return problem.New(problem.Conflict, "%s", u.Error()) }

// Propose works out what a change would send to an application, without making it: exactly what
// the change is the reason for. What is to be sent anyway isn't in it. Needs ManageApplications.
func (e *Engine) Propose(ctx context.Context, by access.Actor, id app.ID, c app.SCIMChange) (Preview, error) {
	if err := access.Allow(by, access.ManageApplications); err != nil {
		return Preview{}, err
	}
	t, err := e.ready(ctx, id)
	if err != nil {
		return Preview{}, err
	}
	return e.propose(ctx, t, c)
}

func (e *Engine) propose(ctx context.Context, t *target, c app.SCIMChange) (Preview, error) {
	next, err := e.proposed(ctx, t, c)
	if err != nil {
		return Preview{}, err
	}
	if alike(t, next) {
		p := plan.Build()
		return Preview{Hash: p.Hash, Counts: p.Counts(), Steps: p.Steps}, nil
	}
	return e.plan(ctx, t, next, "")
}

// proposed is an application as a change would make it. Nothing is sent by it: what has to be
// read is read by way of the application as it is.
func (e *Engine) proposed(ctx context.Context, t *target, c app.SCIMChange) (*target, error) {
	a, err := e.Apps.ProposeSCIM(t.app, c)
	if err != nil {
		return nil, err
	}
	next, err := e.build(a, "")
	if err != nil {
		return nil, err
	}
	next.bound, next.unbound = map[directory.GroupID]bool{}, map[directory.GroupID]bool{}
	err = e.DB.View(ctx, func(tx *store.Tx) error {
		for _, g := range c.Bind {
			if _, err := directory.GetGroup(tx, g); err != nil {
				return err
			}
			next.bound[g] = true
		}
		ids, err := app.BoundGroupIDs(tx, t.app.ID)
		if err != nil {
			return err
		}
		now := map[directory.GroupID]bool{}
		for _, g := range ids {
			now[g] = true
			delete(next.bound, g)
		}
		for _, g := range c.Unbind {
			if now[g] {
				next.unbound[g] = true
			}
		}
		return nil
	})
	return next, err
}

// alike tells whether a change can't make a difference at the target.
func alike(t, next *target) bool {
	a, b := t.app.SCIM, next.app.SCIM
	return len(next.bound)+len(next.unbound) == 0 && a.ManageGroups == b.ManageGroups && a.OnLeave == b.OnLeave &&
		a.ScopeFilter == b.ScopeFilter && slices.Equal(a.Match, b.Match) && reflect.DeepEqual(a.Mapping, b.Mapping)
}

// errDisturbed says that something changed while a plan was made.
var errDisturbed = errors.New("provision: something changed meanwhile")

// Apply makes a change. At an application whose provisioning is active, the change must be
// approved by the hash of its plan, as [Engine.Propose] gives it, unless the plan is empty: else
// nothing is changed and the error is an [*Unapproved] with the plan of now. It is made in one
// transaction that sees to it that the plan's objects, the settings and the bindings are still
// those from which the plan was made, and from there on the plan is carried out by itself.
// Provisioning that is off, paused or stopped sends nothing, so there the change is made at once;
// the plan of the application shows what follows. Needs ManageApplications.
func (e *Engine) Apply(ctx context.Context, by access.Actor, id app.ID, c app.SCIMChange, hash string) (app.Application, Preview, error) {
	if err := access.Allow(by, access.ManageApplications); err != nil {
		return app.Application{}, Preview{}, err
	}
	const attempts = 3
	for range attempts {
		a, p, err := e.apply(ctx, by, id, c, hash)
		if !errors.Is(err, errDisturbed) {
			return a, p, err
		}
	}
	return app.Application{}, Preview{}, problem.New(problem.Conflict, "Others are changing this application or its people right now, so nothing was changed. Try again in a moment.")
}

func (e *Engine) apply(ctx context.Context, by access.Actor, id app.ID, c app.SCIMChange, hash string) (app.Application, Preview, error) {
	a, err := e.Apps.Get(ctx, by, id)
	if err != nil {
		return a, Preview{}, err
	}
	planned := a
	check := func(_ *store.Tx, now app.Application) error {
		// A status that was set to active meanwhile asks for a plan.
		if now.SCIM.Status == app.Active {
			return errDisturbed
		}
		return nil
	}
	p := plan.Build()
	out := Preview{Hash: p.Hash, Counts: p.Counts(), Steps: p.Steps}
	if a.SCIM.Status == app.Active {
		mark, err := e.lastEvent(ctx)
		if err != nil {
			return a, out, err
		}
		t, err := e.ready(ctx, id)
		if err != nil {
			return a, out, err
		}
		planned = t.app
		if out, err = e.propose(ctx, t, c); err != nil {
			return a, out, err
		}
		if len(out.Steps) > 0 && out.Hash != hash {
			return a, out, &Unapproved{Plan: out, Stale: hash != "", label: a.Label}
		}
		check = func(tx *store.Tx, now app.Application) error {
			if now.SCIM.Status != planned.SCIM.Status || now.SCIM.Generation != planned.SCIM.Generation ||
				!reflect.DeepEqual(now.SCIM.SCIMSettings, planned.SCIM.SCIMSettings) {
				return errDisturbed
			}
			return undisturbed(tx, mark, out.Steps)
		}
	}
	a, err = e.Apps.ChangeSCIM(ctx, by, id, c, check)
	e.stale(id)
	return a, out, err
}

// lastEvent returns the id of the latest event.
func (e *Engine) lastEvent(ctx context.Context) (id string, err error) {
	err = e.DB.View(ctx, func(tx *store.Tx) (err error) {
		id, err = store.One(tx, store.Scalar[string], `SELECT COALESCE(max(id), '') FROM events`)
		return err
	})
	return id, err
}

// undisturbed sees to it that nothing happened to a plan's objects since an event: whatever
// changes one of them, here or at the target, is an event of it.
func undisturbed(tx *store.Tx, since string, steps []plan.Step) error {
	if len(steps) == 0 {
		return nil
	}
	const most = 10_000
	touched, err := store.All(tx, store.Scalar[string], `SELECT DISTINCT object_id FROM events
		WHERE id > $1 AND object_kind IN ('user', 'group') LIMIT $2`, since, most)
	if err != nil {
		return err
	}
	if len(touched) == most {
		return errDisturbed
	}
	objects := map[string]bool{}
	for _, s := range steps {
		objects[s.For.ID], objects[s.On.ID] = true, true
	}
	for _, id := range touched {
		if id != "" && objects[id] {
			return errDisturbed
		}
	}
	return nil
}
