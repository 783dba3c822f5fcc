package provision

import (
	"context"
	"errors"
	"slices"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
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

func (e *Engine) preview(ctx context.Context, id app.ID) (Preview, error) {
	t, err := e.ready(ctx, id)
	if err != nil {
		return Preview{}, err
	}
	var people []person
	if err := e.eachPerson(ctx, t, nil, func(_ *store.Tx, page []person) error {
		people = append(people, page...)
		return nil
	}); err != nil {
		return Preview{}, err
	}
	there, err := e.accounts(ctx, t, people)
	if err != nil {
		return Preview{}, err
	}
	var parts [][]plan.Step
	future := map[string]bool{} // people who will have an account
	for i := range people {
		p := &people[i]
		steps := plan.ForPerson(p.want, p.state, t.abilities)
		if len(steps) == 1 && steps[0].Kind == plan.Lookup {
			p.state = p.state.Seen(there.find(steps[0].Match)...)
			if p.state.Remote != "" {
				if err := e.DB.View(ctx, func(tx *store.Tx) (err error) {
					p.state.ClaimedBy, err = claimedBy(tx, object{id, scim.User, p.want.ID}, p.state.Remote)
					return err
				}); err != nil {
					return Preview{}, err
				}
			}
			steps = plan.ForPerson(p.want, p.state, t.abilities)
		}
		parts = append(parts, steps)
		future[p.want.ID] = p.want.Want == plan.Present
	}
	if err := e.eachTeam(ctx, t, func(_ *store.Tx, teams []groupAt) error {
		for _, g := range teams {
			if g.want.Want != plan.Leave {
				parts = append(parts, plan.ForTeam(g.want, g.state, t.abilities))
			}
		}
		return nil
	}); err != nil {
		return Preview{}, err
	}
	// Groups of which nothing is known yet are looked up by name.
	for i, steps := range parts {
		if len(steps) != 1 || steps[0].Kind != plan.Lookup || steps[0].For.Type != scim.Group {
			continue
		}
		if parts[i], err = e.previewTeam(ctx, t, steps[0]); err != nil {
			return Preview{}, err
		}
	}
	p := plan.Build(parts...)
	return Preview{Hash: p.Hash, Counts: p.Counts(), Steps: p.Steps}, nil
}

func (e *Engine) previewTeam(ctx context.Context, t *target, look plan.Step) ([]plan.Step, error) {
	var g groupAt
	if err := e.DB.View(ctx, func(tx *store.Tx) (err error) {
		g, err = loadTeam(tx, t, groupID(look.For.ID))
		return err
	}); err != nil {
		return nil, err
	}
	r := &run{e: e, t: t}
	var hits []scim.Resource
	for _, m := range look.Match {
		if _, err := r.call(ctx, func() (ex scim.Exchange, err error) {
			hits, ex, err = t.client.Find(ctx, scim.Group, m.Filter())
			return ex, err
		}); err != nil {
			return nil, e.unreadable(t, err)
		}
		if len(hits) > 0 {
			break
		}
	}
	g.state = g.state.Seen(hits...)
	return plan.ForTeam(g.want, g.state, t.abilities), nil
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
// few, else by listing.
func (e *Engine) accounts(ctx context.Context, t *target, people []person) (there, error) {
	out := there{}
	wanted := map[string]map[string]bool{}
	var looks [][]plan.Match
	for _, p := range people {
		steps := plan.ForPerson(p.want, p.state, t.abilities)
		if len(steps) != 1 || steps[0].Kind != plan.Lookup {
			continue
		}
		looks = append(looks, steps[0].Match)
		for _, m := range steps[0].Match {
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
	r := &run{e: e, t: t}
	if len(looks) < 5 {
		for _, matches := range looks {
			for _, m := range matches {
				var hits []scim.Resource
				if _, err := r.call(ctx, func() (ex scim.Exchange, err error) {
					hits, ex, err = t.client.Find(ctx, scim.User, m.Filter())
					return ex, err
				}); err != nil {
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
	for page, err := range t.client.List(ctx, scim.User, scim.ListOptions{}) {
		if err != nil {
			return nil, e.unreadable(t, err)
		}
		for _, res := range page.Resources {
			keep(res)
		}
		if page.StartIndex+len(page.Resources) <= page.TotalResults {
			if err := t.wait(ctx, e.Now()); err != nil {
				return nil, problem.Wrap(problem.Unavailable, err, "%s asked us to wait. Try again in a minute.", t.app.Label)
			}
		}
	}
	return out, nil
}

func (e *Engine) unreadable(t *target, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return problem.Wrap(problem.Unavailable, err, "%s can't be read, so the plan can't be made. %s", t.app.Label, explain(err))
}
