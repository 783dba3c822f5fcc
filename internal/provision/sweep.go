package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	handled, err := e.prime(ctx, t, l.Cause)
	if err != nil {
		return err
	}
	if err := e.eachPerson(ctx, t, handled, func(tx *store.Tx, people []person) error {
		var lanes []work.Lane
		now := e.Now()
		for _, p := range people {
			steps := plan.ForPerson(p.want, p.state, t.abilities)
			if quiet(p.link, steps) && p.link.Status == p.settled() {
				continue
			}
			priority := update
			switch {
			case p.want.Want == plan.Gone:
				priority = leaver
				if err := e.openReceipt(tx, p.link, l.Cause); err != nil {
					return err
				}
			case !p.link.Linked:
				priority = joiner
			}
			lanes = append(lanes, object{t.app.ID, scim.User, p.want.ID}.lane(now, priority, l.Cause))
		}
		return work.WantAll(tx, now, lanes)
	}); err != nil {
		return err
	}
	return e.eachTeam(ctx, t, func(tx *store.Tx, teams []groupAt) error {
		var lanes []work.Lane
		now := e.Now()
		for _, g := range teams {
			steps := plan.ForTeam(g.want, g.state, t.abilities)
			released := g.want.Want == plan.Leave || !t.abilities.ManageGroups
			switch {
			case quiet(g.link, steps) && !released:
				continue
			case released && (!g.link.stored || g.link.Status == LinkReleased):
				continue
			}
			lanes = append(lanes, object{t.app.ID, scim.Group, g.want.ID}.lane(now, team, l.Cause))
		}
		return work.WantAll(tx, now, lanes)
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

// eachPerson goes through everybody who is entitled to an application or known there, but for
// those to be left out, page by page. Each page is read in one transaction and given to fn in
// another.
func (e *Engine) eachPerson(ctx context.Context, t *target, without map[directory.UserID]bool, fn func(*store.Tx, []person) error) error {
	after := directory.UserID("")
	for {
		var page []person
		var ids []directory.UserID
		if err := e.DB.View(ctx, func(tx *store.Tx) (err error) {
			if ids, err = concerned(tx, t.app.ID, after, sweepPage); err != nil || len(ids) == 0 {
				return err
			}
			after = ids[len(ids)-1]
			left := slices.DeleteFunc(slices.Clone(ids), func(id directory.UserID) bool { return without[id] })
			page, err = loadPeople(tx, t, left)
			return err
		}); err != nil {
			return err
		}
		if len(ids) == 0 {
			return nil
		}
		if len(page) == 0 {
			continue
		}
		if err := e.DB.Update(ctx, func(tx *store.Tx) error { return fn(tx, page) }); err != nil {
			return err
		}
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
func (e *Engine) eachTeam(ctx context.Context, t *target, fn func(*store.Tx, []groupAt) error) error {
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
	// A group may be large: few at once.
	const together = 20
	for part := range slices.Chunk(ids, together) {
		var teams []groupAt
		if err := e.DB.View(ctx, func(tx *store.Tx) error {
			teams = nil
			for _, id := range part {
				g, err := loadTeam(tx, t, id)
				if err != nil {
					return err
				}
				teams = append(teams, g)
			}
			return nil
		}); err != nil {
			return err
		}
		if err := e.DB.Update(ctx, func(tx *store.Tx) error { return fn(tx, teams) }); err != nil {
			return err
		}
	}
	return nil
}

// primeFrom is from how many people on, of whom nothing is known, listing the target is
// considered in place of looking each up.
const primeFrom = 20

// newcomer is somebody of whom nothing is known at a target.
type newcomer struct {
	id      directory.UserID
	name    string
	matches []plan.Match
}

// newcomers returns those of whom nothing is known, all of them or, if they are fewer than
// primeFrom, maybe none.
func (e *Engine) newcomers(ctx context.Context, t *target) (out []newcomer, err error) {
	// Mostly there are none, and that is asked in one statement.
	var some int
	if err := e.DB.View(ctx, func(tx *store.Tx) (err error) {
		some, err = store.One(tx, store.Scalar[int], `SELECT count(*) FROM (SELECT 1 FROM bindings b
			JOIN memberships m ON m.group_id = b.group_id JOIN users u ON u.id = m.user_id AND u.state = 'active'
			WHERE b.application_id = $1 AND NOT EXISTS (SELECT 1 FROM links l WHERE l.application_id = b.application_id
				AND l.object_kind = 'user' AND l.object_id = m.user_id AND (l.known <> 'unknown' OR l.remote_id <> ''))
			LIMIT $2) AS newcomers`, string(t.app.ID), primeFrom)
		return err
	}); err != nil || some < primeFrom {
		return nil, err
	}
	err = e.eachPerson(ctx, t, nil, func(_ *store.Tx, people []person) error {
		for _, p := range people {
			if p.want.Want != plan.Present || !p.link.unknown() {
				continue
			}
			steps := plan.ForPerson(p.want, p.state, t.abilities)
			if len(steps) == 1 && steps[0].Kind == plan.Lookup {
				out = append(out, newcomer{directory.UserID(p.want.ID), p.want.Label, steps[0].Match})
			}
		}
		return nil
	})
	return out, err
}

// unknown tells whether nothing is known of the object at the target.
func (l *Link) unknown() bool {
	return (l.Known == plan.Unknown || l.Known == "") && l.RemoteID == "" && !l.Linked
}

// prime lists the accounts at a target before a first load, when that takes fewer requests than
// looking up each person: whoever isn't in the list is known to be absent, and asked to be
// synchronized. It returns those. Lanes may run meanwhile: what they found out is left alone.
func (e *Engine) prime(ctx context.Context, t *target, cause string) (map[directory.UserID]bool, error) {
	unknown, err := e.newcomers(ctx, t)
	if err != nil || len(unknown) < primeFrom {
		return nil, err
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
			return nil, e.unlisted(t, err)
		}
		t.good(e.Now())
		perPage := max(1, len(page.Resources))
		if first && page.TotalResults/perPage > len(unknown) {
			return nil, nil
		}
		first = false
		if err := e.DB.Update(ctx, func(tx *store.Tx) error {
			for _, res := range page.Resources {
				for _, m := range unknown[0].matches {
					i, ok := wanted[m.Attribute][foldMatch(m.Attribute, res.Text(m.Attribute))]
					if !ok || found[i] || res.Text(m.Attribute) == "" {
						continue
					}
					o := object{t.app.ID, scim.User, string(unknown[i].id)}
					if other, err := claimedBy(tx, o, res.ID()); err != nil {
						return err
					} else if other != "" {
						break // the look-up of that person says so
					}
					link, err := getLink(tx, o)
					if err != nil {
						return err
					}
					if !link.unknown() {
						break
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
			return nil, err
		}
		for _, res := range page.Resources {
			for _, m := range unknown[0].matches {
				if i, ok := wanted[m.Attribute][foldMatch(m.Attribute, res.Text(m.Attribute))]; ok {
					found[i] = true
				}
			}
		}
		if err := e.wait(ctx, t); err != nil {
			return nil, err
		}
	}
	handled := make(map[directory.UserID]bool, len(unknown))
	var absent []newcomer
	for i, n := range unknown {
		if !found[i] {
			absent = append(absent, n)
			handled[n.id] = true
		}
	}
	for part := range slices.Chunk(absent, sweepPage) {
		if err := e.DB.Update(ctx, func(tx *store.Tx) error { return e.absent(tx, t, part, cause) }); err != nil {
			return nil, err
		}
	}
	return handled, nil
}

// unlisted decides what to do when the list couldn't be had: come again in a moment, since to look up each person takes many
// more requests. It returns nil to leave it to the lanes, which find out what is wrong and say so for each person.
func (e *Engine) unlisted(t *target, cause error) error {
	const patience = 3
	call, ok := errors.AsType[*scim.CallError](cause)
	if !ok || call.Class != scim.Throttled && call.Class != scim.Temporary {
		return nil
	}
	d := t.bad(e.Now(), call.RetryAfter)
	t.mu.Lock()
	failures := t.failures
	t.mu.Unlock()
	if call.Class == scim.Temporary && failures >= patience {
		return nil
	}
	return work.Hold(d, fmt.Sprintf("The accounts at %s could not be listed (%s); trying again.", t.app.Label, strings.TrimSpace(call.Detail())))
}

// absent notes that people have no account, and asks for them to be synchronized.
func (e *Engine) absent(tx *store.Tx, t *target, people []newcomer, cause string) error {
	now := e.Now()
	ids := make([]directory.UserID, len(people))
	for i, n := range people {
		ids[i] = n.id
	}
	known, err := getLinks(tx, t.app.ID, ids)
	if err != nil {
		return err
	}
	var links []*Link
	var lanes []work.Lane
	for _, n := range people {
		if link := known[n.id]; link.unknown() {
			link.Name, link.Known = n.name, plan.Absent
			links = append(links, &link)
		}
		lanes = append(lanes, object{t.app.ID, scim.User, string(n.id)}.lane(now, joiner, cause))
	}
	if err := saveLinks(tx, now, links); err != nil {
		return err
	}
	return work.WantAll(tx, now, lanes)
}

// foldMatch compares as targets do: externalId and id exactly, all else without case.
func foldMatch(attribute, value string) string {
	if strings.EqualFold(attribute, "externalId") || strings.EqualFold(attribute, "id") {
		return value
	}
	return strings.ToLower(value)
}
