package provision

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision/plan"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// Preview is what would be sent to an application now.
type Preview struct {
	Hash   string      `json:"hash"`
	Counts plan.Counts `json:"counts"`
	Steps  []plan.Step `json:"steps"`
}

// Preview works out what would be sent, by reading only. Needs ReadApplications.
func (e *Engine) Preview(ctx context.Context, by access.Actor, id app.ID) (Preview, error) {
	if err := access.Allow(by, access.ReadApplications); err != nil {
		return Preview{}, err
	}
	return e.preview(ctx, id)
}

// PreviewUser is Preview for one person: the account and its memberships. Needs
// ReadApplications.
func (e *Engine) PreviewUser(ctx context.Context, by access.Actor, id app.ID, user directory.UserID) (Preview, error) {
	if err := access.Allow(by, access.ReadApplications); err != nil {
		return Preview{}, err
	}
	t, err := e.ready(ctx, id)
	if err != nil {
		return Preview{}, err
	}
	return e.plan(ctx, t, nil, user)
}

// Outlook is the plan of one application among all.
type Outlook struct {
	Application app.Application
	Plan        Preview
	// Err says why there is no plan: the target can't be read, mostly.
	Err error
}

// PreviewAll works out the plan of every application whose provisioning is on, paused or
// stopped, by label. Needs ReadApplications.
func (e *Engine) PreviewAll(ctx context.Context, by access.Actor) ([]Outlook, error) {
	q := app.Query{Limit: 1000}
	var out []Outlook
	for {
		page, err := e.Apps.List(ctx, by, q)
		if err != nil {
			return nil, err
		}
		for _, a := range page.Items {
			switch a.SCIM.Status {
			case app.Active, app.Paused, app.Stopped:
			default:
				continue
			}
			o := Outlook{Application: a}
			if o.Plan, o.Err = e.preview(ctx, a.ID); o.Err != nil && ctx.Err() != nil {
				return nil, o.Err
			}
			out = append(out, o)
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return out, nil
		}
	}
}

func (e *Engine) preview(ctx context.Context, id app.ID) (Preview, error) {
	t, err := e.ready(ctx, id)
	if err != nil {
		return Preview{}, err
	}
	return e.plan(ctx, t, nil, "")
}

// plan works out what would be sent to t. With next, which is t as a change would make it, it
// works out what the change is the reason for: steps that would be sent without it, too, aren't
// in it, so that a plan doesn't become stale by what goes on anyway. With only, it is about this
// person.
func (e *Engine) plan(ctx context.Context, t, next *target, only directory.UserID) (Preview, error) {
	people, err := e.outlooks(ctx, t, next, only)
	if err != nil {
		return Preview{}, err
	}
	there, err := e.accounts(ctx, t, people)
	if err != nil {
		return Preview{}, err
	}
	var parts [][]plan.Step
	for i := range people {
		o := &people[i]
		if look := o.look(); look != nil {
			if err := e.seen(ctx, t, o, there.find(look)); err != nil {
				return Preview{}, err
			}
		}
		if o.same() {
			continue
		}
		parts = append(parts, o.steps)
	}
	teams, err := e.teamParts(ctx, t, next, only)
	if err != nil {
		return Preview{}, err
	}
	p := plan.Build(append(parts, teams...)...)
	return Preview{Hash: p.Hash, Counts: p.Counts(), Steps: p.Steps}, nil
}

// outlook is one person in a plan: what would be sent and, where a change is planned, what would
// be sent without it.
type outlook struct {
	person
	steps  []plan.Step
	before *person
	was    []plan.Step
	t, now *target
}

// decide works out the steps.
func (o *outlook) decide() {
	o.steps = foresee(&o.person, o.t)
	if o.before != nil {
		o.was = foresee(o.before, o.now)
	}
}

// same tells whether the change makes no difference.
func (o *outlook) same() bool {
	if o.before == nil {
		return len(o.steps) == 0
	}
	return plan.Same(o.steps, o.was)
}

// look is how the account has to be found before anything can be said, nil if it hasn't.
func (o *outlook) look() []plan.Match {
	if len(o.steps) != 1 || o.steps[0].Kind != plan.Lookup {
		return nil
	}
	if m := o.steps[0].Match; len(m) > 0 {
		return m
	}
	// The target can't filter: it is listed, and read as the run would read it.
	name, _ := o.want.Attributes.Values["userName"].(string)
	return []plan.Match{{Attribute: "externalId", Value: o.want.ID}, {Attribute: "userName", Value: name}}
}

// foresee is plan.ForPerson for a plan that people look at: an account that is only read again
// before it is replaced as a whole is taken as it is remembered, so that what changes is seen.
func foresee(p *person, t *target) []plan.Step {
	steps := plan.ForPerson(p.want, p.state, t.abilities)
	if len(steps) == 1 && steps[0].Kind == plan.Read && p.state.Known == plan.Remembered {
		s := p.state
		s.Known = plan.Fresh
		return plan.ForPerson(p.want, s, t.abilities)
	}
	return steps
}

// outlooks reads the people whom a plan is about. Of a change, only those for whom it may make a
// difference are kept.
func (e *Engine) outlooks(ctx context.Context, t, next *target, only directory.UserID) ([]outlook, error) {
	var out []outlook
	after := directory.UserID("")
	for {
		var ids []directory.UserID
		var page []outlook
		if err := e.DB.View(ctx, func(tx *store.Tx) (err error) {
			page = nil
			if ids, err = planned(tx, t, next, only, after); err != nil || len(ids) == 0 {
				return err
			}
			standings, err := app.StandingsOf(tx, t.app.ID, ids)
			if err != nil {
				return err
			}
			links, err := getLinks(tx, t.app.ID, ids)
			if err != nil {
				return err
			}
			for _, id := range ids {
				var standing *app.Standing
				if s, ok := standings[id]; ok {
					standing = &s
				}
				o := outlook{t: t}
				if next != nil {
					before, err := newPerson(tx, t, id, links[id], standing)
					if err != nil {
						return err
					}
					o.t, o.now, o.before = next, t, &before
				}
				if o.person, err = newPerson(tx, o.t, id, links[id], standing); err != nil {
					return err
				}
				o.decide()
				// Of who has to be looked up more is known later.
				if o.same() && (o.before == nil || o.look() == nil || reflect.DeepEqual(o.want, o.before.want)) {
					continue
				}
				page = append(page, o)
			}
			return nil
		}); err != nil {
			return nil, err
		}
		if len(ids) == 0 {
			return out, nil
		}
		out = append(out, page...)
		after = ids[len(ids)-1]
		if only != "" {
			return out, nil
		}
	}
}

// planned returns the next people, by id, whom a plan may be about.
func planned(tx *store.Tx, t, next *target, only, after directory.UserID) ([]directory.UserID, error) {
	if only != "" {
		return []directory.UserID{only}, nil
	}
	ids, err := concerned(tx, t.app.ID, after, sweepPage)
	if err != nil || next == nil {
		return ids, err
	}
	for g := range next.bound {
		joining, err := store.All(tx, store.Scalar[directory.UserID], `SELECT m.user_id FROM memberships m
			JOIN users u ON u.id = m.user_id AND u.state = 'active'
			WHERE m.group_id = $1 AND m.user_id > $2 ORDER BY m.user_id LIMIT $3`, string(g), string(after), sweepPage)
		if err != nil {
			return nil, err
		}
		ids = merge(ids, joining, sweepPage)
	}
	return ids, nil
}

// seen takes in what was found of a person at the target.
func (e *Engine) seen(ctx context.Context, t *target, o *outlook, hits []scim.Resource) error {
	o.state = o.state.Seen(hits...)
	if o.state.Remote != "" {
		if err := e.DB.View(ctx, func(tx *store.Tx) (err error) {
			o.state.ClaimedBy, err = claimedBy(tx, object{t.app.ID, scim.User, o.want.ID}, o.state.Remote)
			return err
		}); err != nil {
			return err
		}
	}
	if o.before != nil && len(o.was) == 1 && o.was[0].Kind == plan.Lookup {
		o.before.state = o.state
	}
	o.decide()
	return nil
}

// teamParts works out the steps of groups.
func (e *Engine) teamParts(ctx context.Context, t, next *target, only directory.UserID) ([][]plan.Step, error) {
	ids, err := e.plannedTeams(ctx, t, next, only)
	if err != nil {
		return nil, err
	}
	var parts [][]plan.Step
	for _, id := range ids {
		var g, before groupAt
		if err := e.DB.View(ctx, func(tx *store.Tx) (err error) {
			if next == nil {
				g, err = loadTeam(tx, t, id)
				return err
			}
			if before, err = loadTeam(tx, t, id); err != nil {
				return err
			}
			g, err = loadTeam(tx, next, id)
			return err
		}); err != nil {
			return nil, err
		}
		to := t
		if next != nil {
			to = next
		}
		steps := plan.ForTeam(g.want, g.state, to.abilities)
		var was []plan.Step
		if next != nil {
			was = plan.ForTeam(before.want, before.state, t.abilities)
			if plan.Same(steps, was) && reflect.DeepEqual(g.want, before.want) {
				continue
			}
		}
		if len(steps) == 1 && (steps[0].Kind == plan.Lookup || steps[0].Kind == plan.Read) {
			hits, err := e.lookTeam(ctx, t, steps[0])
			if err != nil {
				return nil, err
			}
			claim := func(s plan.TeamState) (plan.TeamState, error) {
				s = s.Seen(hits...)
				if s.Remote == "" || s.Linked {
					return s, nil
				}
				err := e.DB.View(ctx, func(tx *store.Tx) (err error) {
					s.ClaimedBy, err = claimedBy(tx, object{t.app.ID, scim.Group, string(id)}, s.Remote)
					return err
				})
				return s, err
			}
			if g.state, err = claim(g.state); err != nil {
				return nil, err
			}
			steps = plan.ForTeam(g.want, g.state, to.abilities)
			if len(was) == 1 && (was[0].Kind == plan.Lookup || was[0].Kind == plan.Read) {
				if before.state, err = claim(before.state); err != nil {
					return nil, err
				}
				was = plan.ForTeam(before.want, before.state, t.abilities)
			}
		}
		if steps = plan.Without(steps, was); only != "" {
			steps = plan.About(steps, string(only))
		}
		if len(steps) > 0 {
			parts = append(parts, steps)
		}
	}
	return parts, nil
}

// plannedTeams returns the groups that a plan may be about.
func (e *Engine) plannedTeams(ctx context.Context, t, next *target, only directory.UserID) (ids []directory.GroupID, err error) {
	err = e.DB.View(ctx, func(tx *store.Tx) error {
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
		if next != nil {
			added := slices.Sorted(maps.Keys(next.bound))
			ids = merge(ids, added, len(ids)+len(added))
		}
		if only == "" {
			return nil
		}
		of, err := store.All(tx, store.Scalar[directory.GroupID], `SELECT group_id FROM memberships WHERE user_id = $1
			UNION SELECT m.group_id FROM link_members m JOIN links l ON l.application_id = m.application_id AND l.object_kind = 'user'
				AND l.object_id = $1 AND l.remote_id = m.remote_user_id WHERE m.application_id = $2`, string(only), string(t.app.ID))
		ids = slices.DeleteFunc(ids, func(id directory.GroupID) bool { return !slices.Contains(of, id) })
		return err
	})
	return ids, err
}

// lookTeam reads a group at the target.
func (e *Engine) lookTeam(ctx context.Context, t *target, look plan.Step) (hits []scim.Resource, err error) {
	if look.Kind == plan.Read {
		var hit scim.Resource
		err := e.aside(ctx, t, func() (err error) {
			hit, _, err = t.client.Get(ctx, scim.Group, look.On.Remote)
			return err
		})
		if scim.ClassOf(err) == scim.NotFound {
			return nil, nil
		}
		if err != nil {
			return nil, e.unreadable(t, err)
		}
		return []scim.Resource{hit}, nil
	}
	if len(look.Match) == 0 {
		for page, err := range t.client.List(ctx, scim.Group, scim.ListOptions{}) {
			if err != nil {
				return nil, e.unreadable(t, err)
			}
			for _, res := range page.Resources {
				if strings.EqualFold(res.DisplayName(), look.For.Label) {
					hits = append(hits, res)
				}
			}
		}
		return hits, nil
	}
	for _, m := range look.Match {
		if err := e.aside(ctx, t, func() (err error) {
			hits, _, err = t.client.Find(ctx, scim.Group, m.Filter())
			return err
		}); err != nil {
			return nil, e.unreadable(t, err)
		}
		if len(hits) > 0 {
			break
		}
	}
	return hits, nil
}

// aside sends one request that reads, for a person who waits for the answer. Another replica may
// hold the target's budget as long as it has something to send; so the request goes beside it, at
// the target's rate and no matter who sends else.
func (e *Engine) aside(ctx context.Context, t *target, send func() error) error {
	leave, err := t.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if err := t.wait(ctx, e.Now()); err != nil {
		return err
	}
	return send()
}

// there is what a target holds, by matching attribute and value.
type there map[string]map[string][]scim.Resource

func (a there) find(matches []plan.Match) []scim.Resource {
	for _, m := range matches {
		if hits := a[m.Attribute][foldMatch(m.Attribute, m.Value)]; len(hits) > 0 {
			return hits
		}
	}
	return nil
}

// accounts reads the accounts at the target that the people may match: one by one when they are
// few, else by listing where that takes fewer requests.
func (e *Engine) accounts(ctx context.Context, t *target, people []outlook) (there, error) {
	out := there{}
	wanted := map[string]map[string]bool{}
	var looks [][]plan.Match
	filters := true
	for i := range people {
		look := people[i].look()
		if look == nil {
			continue
		}
		filters = filters && len(people[i].steps[0].Match) > 0
		looks = append(looks, look)
		for _, m := range look {
			if wanted[m.Attribute] == nil {
				wanted[m.Attribute] = map[string]bool{}
			}
			wanted[m.Attribute][foldMatch(m.Attribute, m.Value)] = true
		}
	}
	keep := func(res scim.Resource) {
		for attribute, values := range wanted {
			v := foldMatch(attribute, res.Text(attribute))
			if v == "" || !values[v] {
				continue
			}
			if out[attribute] == nil {
				out[attribute] = map[string][]scim.Resource{}
			}
			if !slices.ContainsFunc(out[attribute][v], func(r scim.Resource) bool { return r.ID() == res.ID() }) {
				out[attribute][v] = append(out[attribute][v], res)
			}
		}
	}
	if len(looks) == 0 {
		return out, nil
	}
	const few = 5
	if !filters || len(looks) >= few {
		all, err := e.listAccounts(ctx, t, filters, len(looks), keep)
		if err != nil || all {
			return out, err
		}
	}
	for _, matches := range looks {
		for i, m := range matches {
			var hits []scim.Resource
			err := e.aside(ctx, t, func() (err error) {
				hits, _, err = t.client.Find(ctx, scim.User, m.Filter())
				return err
			})
			if unfilterable(err) && i < len(matches)-1 {
				continue
			}
			if err != nil {
				return nil, e.unreadable(t, err)
			}
			for _, h := range hits {
				keep(h)
			}
			if len(hits) > 0 {
				break
			}
		}
	}
	return out, nil
}

// listAccounts reads the accounts by pages. Where that would take more requests than there are
// people to look up, and they can be looked up, it stops after the first.
func (e *Engine) listAccounts(ctx context.Context, t *target, filters bool, looks int, keep func(scim.Resource)) (all bool, err error) {
	first := true
	for page, err := range t.client.List(ctx, scim.User, scim.ListOptions{}) {
		if err != nil {
			return false, e.unreadable(t, err)
		}
		if first && filters && page.TotalResults/max(1, len(page.Resources)) > looks {
			return false, nil
		}
		first = false
		for _, res := range page.Resources {
			keep(res)
		}
		if page.StartIndex+len(page.Resources) <= page.TotalResults {
			if err := t.wait(ctx, e.Now()); err != nil {
				return false, problem.Wrap(problem.Unavailable, err, "%s asked us to wait. Try again in a minute.", t.app.Label)
			}
		}
	}
	return true, nil
}

func (e *Engine) unreadable(t *target, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return problem.Wrap(problem.Unavailable, err, "%s can't be read, so the plan can't be made. %s", t.app.Label, explain(err))
}
