package provision

import (
	"context"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision/plan"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/work"
)

// sweepAll asks for a sweep of every application that is provisioned.
func (e *Engine) sweepAll(ctx context.Context) error {
	return e.DB.Update(ctx, func(tx *store.Tx) error {
		apps, err := store.All(tx, store.Scalar[app.ID], `SELECT application_id FROM scim_integrations WHERE state <> 'off'`)
		if err != nil {
			return err
		}
		for _, id := range apps {
			if err := e.wantSweep(tx, id, ""); err != nil {
				return err
			}
		}
		return nil
	})
}

// sweepPage is how many objects are compared in one transaction.
const sweepPage = 500

// sweep is the handler of laneSweep: it compares everything that should be at an application
// with what is remembered, and asks for what differs. It sends nothing but, before a first
// load, requests that list.
func (e *Engine) sweep(ctx context.Context, l work.Lease) error {
	e.stale(app.ID(l.Key))
	t, err := e.target(ctx, app.ID(l.Key))
	if problem.Is(err, problem.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if t.app.SCIM.Status != app.Active || t.client == nil {
		return nil // resuming sweeps again
	}
	if err := e.prime(ctx, t); err != nil {
		return err
	}
	if err := e.eachPerson(ctx, t, func(tx *store.Tx, people []person) error {
		for _, p := range people {
			steps := plan.ForPerson(p.want, p.state, t.abilities)
			if quiet(p.link, steps) && p.link.Status == p.settled() {
				continue
			}
			priority := update
			switch {
			case p.want.Want == plan.Gone:
				priority = leaver
			case !p.link.Linked:
				priority = joiner
			}
			if err := e.want(tx, object{t.app.ID, scim.User, p.want.ID}, priority, l.Cause); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	return e.eachTeam(ctx, t, func(tx *store.Tx, g groupAt) error {
		steps := plan.ForTeam(g.want, g.state, t.abilities)
		released := g.want.Want == plan.Leave || !t.abilities.ManageGroups
		switch {
		case quiet(g.link, steps) && !released:
			return nil
		case released && (!g.link.stored || g.link.Status == LinkReleased):
			return nil
		}
		return e.want(tx, object{t.app.ID, scim.Group, g.want.ID}, team, l.Cause)
	})
}

// settled is the status that the link has when nothing is left to do.
func (p *person) settled() LinkStatus {
	if !p.link.stored {
		return p.link.Status
	}
	return p.restStatus()
}

// quiet tells whether there is nothing to do, or nothing but what is known to be blocked.
func quiet(l Link, steps []plan.Step) bool {
	switch len(steps) {
	case 0:
		return true
	case 1:
		return steps[0].Kind == plan.Blocked && l.Status == LinkBlocked && l.Reason == steps[0].Reason
	}
	return false
}

// eachPerson goes through everybody who is entitled to an application or known there, page by
// page. Each page is read in one transaction and given to fn in another.
func (e *Engine) eachPerson(ctx context.Context, t *target, fn func(*store.Tx, []person) error) error {
	after := directory.UserID("")
	for {
		var page []person
		var last directory.UserID
		if err := e.DB.View(ctx, func(tx *store.Tx) error {
			page = nil
			ids, err := concerned(tx, t.app.ID, after, sweepPage)
			if err != nil {
				return err
			}
			for _, id := range ids {
				p, err := loadPerson(tx, t, id)
				if err != nil {
					return err
				}
				page, last = append(page, p), id
			}
			return nil
		}); err != nil {
			return err
		}
		if len(page) == 0 {
			return nil
		}
		if err := e.DB.Update(ctx, func(tx *store.Tx) error { return fn(tx, page) }); err != nil {
			return err
		}
		after = last
	}
}

// concerned returns the next people, by id, who are entitled to an application or known there.
func concerned(tx *store.Tx, id app.ID, after directory.UserID, limit int) ([]directory.UserID, error) {
	entitled, err := app.EntitledUserIDs(tx, id, after, limit)
	if err != nil {
		return nil, err
	}
	linked, err := store.All(tx, store.Scalar[directory.UserID], `SELECT object_id FROM links
		WHERE application_id = $1 AND object_kind = 'user' AND object_id > $2 ORDER BY object_id LIMIT $3`, string(id), string(after), limit)
	if err != nil {
		return nil, err
	}
	return merge(entitled, linked, limit), nil
}

// merge joins two sorted lists into one without doubles.
func merge[T ~string](a, b []T, limit int) []T {
	var out []T
	for len(out) < limit && (len(a) > 0 || len(b) > 0) {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0] < b[0]:
			out, a = append(out, a[0]), a[1:]
		case len(a) == 0 || b[0] < a[0]:
			out, b = append(out, b[0]), b[1:]
		default:
			out, a, b = append(out, a[0]), a[1:], b[1:]
		}
	}
	return out
}

// eachTeam goes through every group that is bound to an application or known there.
func (e *Engine) eachTeam(ctx context.Context, t *target, fn func(*store.Tx, groupAt) error) error {
	var ids []directory.GroupID
	if err := e.DB.View(ctx, func(tx *store.Tx) error {
		bound, err := app.BoundGroupIDs(tx, t.app.ID)
		if err != nil {
			return err
		}
		linked, err := store.All(tx, store.Scalar[directory.GroupID], `SELECT object_id FROM links
			WHERE application_id = $1 AND object_kind = 'group' ORDER BY object_id`, string(t.app.ID))
		if err != nil {
			return err
		}
		ids = merge(bound, linked, len(bound)+len(linked))
		return nil
	}); err != nil {
		return err
	}
	for _, id := range ids {
		var g groupAt
		if err := e.DB.View(ctx, func(tx *store.Tx) (err error) {
			g, err = loadTeam(tx, t, id)
			return err
		}); err != nil {
			return err
		}
		if err := e.DB.Update(ctx, func(tx *store.Tx) error { return fn(tx, g) }); err != nil {
			return err
		}
	}
	return nil
}

// primeFrom is from how many people on, of whom nothing is known, listing the target is
// considered in place of looking each up.
const primeFrom = 20

// prime lists the accounts at a target before a first load, when that takes fewer requests than
// looking up each person: whoever isn't in the list is known to be absent.
func (e *Engine) prime(ctx context.Context, t *target) error {
	type newcomer struct {
		id      string
		name    string
		matches []plan.Match
	}
	var unknown []newcomer
	if err := e.eachPerson(ctx, t, func(_ *store.Tx, people []person) error {
		for _, p := range people {
			if p.want.Want != plan.Present || p.link.Known != plan.Unknown && p.link.Known != "" || p.link.RemoteID != "" {
				continue
			}
			steps := plan.ForPerson(p.want, p.state, t.abilities)
			if len(steps) == 1 && steps[0].Kind == plan.Lookup {
				unknown = append(unknown, newcomer{p.want.ID, p.want.Label, steps[0].Match})
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if len(unknown) < primeFrom {
		return nil
	}
	// Whoever an account matches is found by attribute and value.
	wanted := map[string]map[string]int{}
	for i, n := range unknown {
		for _, m := range n.matches {
			if wanted[m.Attribute] == nil {
				wanted[m.Attribute] = map[string]int{}
			}
			wanted[m.Attribute][foldMatch(m.Attribute, m.Value)] = i
		}
	}
	found := make([]bool, len(unknown))
	first := true
	for page, err := range t.client.List(ctx, scim.User, scim.ListOptions{}) {
		if err != nil {
			// The lanes find out what is wrong, and say so for each person.
			return nil
		}
		t.good(e.Now())
		perPage := max(1, len(page.Resources))
		if first && page.TotalResults/perPage > len(unknown) {
			return nil
		}
		first = false
		if err := e.DB.Update(ctx, func(tx *store.Tx) error {
			for _, res := range page.Resources {
				for _, m := range unknown[0].matches {
					i, ok := wanted[m.Attribute][foldMatch(m.Attribute, res.Text(m.Attribute))]
					if !ok || found[i] || res.Text(m.Attribute) == "" {
						continue
					}
					o := object{t.app.ID, scim.User, unknown[i].id}
					if other, err := claimedBy(tx, o, res.ID()); err != nil {
						return err
					} else if other != "" {
						break // the look-up of that person says so
					}
					link, err := getLink(tx, o)
					if err != nil {
						return err
					}
					link.Name, link.Known, link.RemoteID, link.Snapshot = unknown[i].name, plan.Remembered, res.ID(), res
					if err := link.save(tx, e.Now()); err != nil {
						return err
					}
					break
				}
			}
			return nil
		}); err != nil {
			return err
		}
		for _, res := range page.Resources {
			for _, m := range unknown[0].matches {
				if i, ok := wanted[m.Attribute][foldMatch(m.Attribute, res.Text(m.Attribute))]; ok {
					found[i] = true
				}
			}
		}
		if err := t.wait(ctx, e.Now()); err != nil {
			return err
		}
	}
	for from := 0; from < len(unknown); from += sweepPage {
		if err := e.DB.Update(ctx, func(tx *store.Tx) error {
			for i := from; i < min(from+sweepPage, len(unknown)); i++ {
				if found[i] {
					continue
				}
				link, err := getLink(tx, object{t.app.ID, scim.User, unknown[i].id})
				if err != nil {
					return err
				}
				link.Name, link.Known = unknown[i].name, plan.Absent
				if err := link.save(tx, e.Now()); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// foldMatch compares as targets do: externalId exactly, all else without case.
func foldMatch(attribute, value string) string {
	if strings.EqualFold(attribute, "externalId") {
		return value
	}
	return strings.ToLower(value)
}
