package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision/plan"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/work"
)

// person is one user at one application: what should be, and what is.
type person struct {
	want  plan.Person
	state plan.PersonState
	link  Link
	// why says in words what decides about access; via are the groups that grant it.
	why string
	via []directory.Group
}

// loadPerson reads what should be and what is remembered.
func loadPerson(tx *store.Tx, t *target, id directory.UserID) (person, error) {
	link, err := getLink(tx, object{t.app.ID, scim.User, string(id)})
	if err != nil {
		return person{}, err
	}
	standing, err := app.StandingOf(tx, t.app.ID, id)
	if problem.Is(err, problem.NotFound) {
		return newPerson(tx, t, id, link, nil)
	}
	if err != nil {
		return person{link: link}, err
	}
	return newPerson(tx, t, id, link, &standing)
}

// loadPeople is loadPerson for up to some hundred people, in few statements.
func loadPeople(tx *store.Tx, t *target, ids []directory.UserID) ([]person, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	standings, err := app.StandingsOf(tx, t.app.ID, ids)
	if err != nil {
		return nil, err
	}
	links, err := getLinks(tx, t.app.ID, ids)
	if err != nil {
		return nil, err
	}
	out := make([]person, len(ids))
	for i, id := range ids {
		var standing *app.Standing
		if s, ok := standings[id]; ok {
			standing = &s
		}
		if out[i], err = newPerson(tx, t, id, links[id], standing); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// newPerson puts together what was read. standing is nil for somebody who was deleted.
func newPerson(tx *store.Tx, t *target, id directory.UserID, link Link, standing *app.Standing) (person, error) {
	p := person{link: link}
	if standing == nil {
		p.want = plan.Person{ID: string(id), Label: link.Name, Want: plan.Gone}
		p.why = "deleted from the directory"
	} else {
		p.link.Name = standing.User.Name()
		p.want = plan.Person{ID: string(id), Label: standing.User.Name()}
		if err := p.decide(t, *standing); err != nil {
			return p, err
		}
	}
	p.state = plan.PersonState{Known: link.Known, Linked: link.Linked, Remote: link.RemoteID, Resource: link.Snapshot, Matches: 1}
	p.drifted()
	var err error
	if !link.Linked && link.RemoteID != "" {
		if p.state.ClaimedBy, err = claimedBy(tx, object{t.app.ID, scim.User, string(id)}, link.RemoteID); err != nil {
			return p, err
		}
	}
	if p.want.Want == plan.Gone && link.RemoteID != "" {
		p.state.Groups, err = managedGroups(tx, t.app.ID, link.RemoteID)
		p.state.Groups = t.managed(p.state.Groups)
	}
	return p, err
}

// decide works out whether the person should have an account, and what it should hold.
func (p *person) decide(t *target, s app.Standing) error {
	s.Via = t.via(s)
	switch {
	case s.User.State == directory.Staged:
		p.want.Want, p.why = plan.Leave, "staged: not active yet"
		return nil
	case s.User.State != directory.Active:
		p.want.Want, p.why = plan.Gone, "suspended"
		return nil
	case len(s.Via) == 0:
		p.want.Want, p.why = plan.Gone, "in none of the application's groups"
		return nil
	}
	p.want.Want, p.why = plan.Present, "member of "+s.Via[0].Name
	p.via = s.Via
	who := s.Person()
	in, err := t.within(&who)
	switch {
	case err != nil:
		p.want.Fault = err.Error()
		return nil
	case !in:
		p.want.Want, p.why, p.via = plan.Gone, "outside the scope: "+t.app.SCIM.ScopeFilter, nil
		return nil
	}
	p.want.Attributes, err = t.mapping.Apply(&who)
	if blocked, ok := errors.AsType[*catalog.BlockedError](err); ok {
		// What is missing is in Attributes.Missing, and plan says so.
		if len(p.want.Attributes.Missing) == 0 {
			p.want.Attributes.Missing = []string{blocked.Error()}
		}
		err = nil
	}
	return err
}

// managedGroups returns the groups that we manage at the target and that hold the account.
func managedGroups(tx *store.Tx, id app.ID, remoteUser string) ([]plan.Ref, error) {
	return store.All(tx, func(r store.Row) (plan.Ref, error) {
		ref := plan.Ref{Type: scim.Group}
		err := r.Scan(&ref.ID, &ref.Label, &ref.Remote)
		return ref, err
	}, `SELECT l.object_id, l.object_name, l.remote_id FROM link_members m
		JOIN links l ON l.application_id = m.application_id AND l.object_kind = 'group' AND l.object_id = m.group_id
		JOIN bindings b ON b.application_id = l.application_id AND b.group_id = l.object_id
		WHERE m.application_id = $1 AND m.remote_user_id = $2 AND l.linked
		ORDER BY l.object_id`, string(id), remoteUser)
}

// maxSteps bounds the steps of one run; a plan that needs more is wrong, or the target doesn't
// keep what it is told.
const maxSteps = 40

// syncPerson brings one account to what it should be, step by step, each acknowledged durably
// before the next.
func (e *Engine) syncPerson(ctx context.Context, l work.Lease, t *target, o object) error {
	var p person
	if err := e.DB.View(ctx, func(tx *store.Tx) (err error) {
		p, err = loadPerson(tx, t, directory.UserID(o.id))
		return err
	}); err != nil {
		return err
	}
	run := &run{e: e, lease: l, t: t, o: o, link: &p.link}
	if l.Orphaned {
		if err := run.doubt(ctx); err != nil {
			return err
		}
		p.state.Known = plan.Doubtful
	}
	for range maxSteps {
		steps := plan.ForPerson(p.want, p.state, t.abilities)
		if len(steps) == 0 {
			if p.state.Known == plan.Fresh && p.link.Linked && p.state.Remote == p.link.RemoteID {
				// It was read, and was as it should be: that is known from now on.
				p.link.Known, p.link.Snapshot = plan.Remembered, p.state.Resource
			}
			return run.rest(ctx, p.restStatus(), p.restReason())
		}
		step := steps[0]
		switch step.Kind {
		case plan.Blocked:
			return run.block(ctx, step)
		case plan.Lookup, plan.Read:
			hits, err := run.look(ctx, step, p.is)
			if err != nil {
				return err
			}
			was := p.state
			p.state = p.state.Seen(hits...)
			if len(hits) == 1 && !p.state.Linked {
				if err := e.DB.View(ctx, func(tx *store.Tx) (err error) {
					p.state.ClaimedBy, err = claimedBy(tx, o, hits[0].ID())
					return err
				}); err != nil {
					return err
				}
			}
			p.state.Groups, p.state.Lost = was.Groups, p.link.Drift.Lost
			if err := run.leaveTheirs(ctx, &p, was.Resource); err != nil {
				return err
			}
			continue
		}
		if p.want.Want == plan.Gone && !run.cleared {
			if err := e.guard(ctx, l, t); err != nil {
				return err
			}
			run.cleared = true
		}
		answer, ex, err := run.send(ctx, step)
		if scim.ClassOf(err) == scim.NotFound && step.Kind != plan.Create {
			if step.Kind == plan.RemoveMembers || step.Kind == plan.Deleted {
				// The group, the member or the account is gone already: that is what was asked for.
				answer, err = nil, nil
			} else {
				if err := run.vanished(ctx, step, ex); err != nil {
					return err
				}
				p.state = plan.PersonState{Known: plan.Absent, Lost: p.link.Drift.Lost}
				continue
			}
		}
		if scim.ClassOf(err) == scim.Conflict && step.Kind == plan.Create && !run.conflicted {
			// Somebody made the account between our look-up and now.
			run.conflicted = true
			p.state = plan.PersonState{Known: plan.Unknown}
			continue
		}
		if err != nil {
			return run.failed(ctx, step, ex, err)
		}
		next := p.state.After(step, answer)
		rest := len(plan.ForPerson(p.want, next, t.abilities)) == 0
		err = run.ack(ctx, step, ex, rest, p.restStatus(), func(tx *store.Tx) error {
			p.link.Known, p.link.Linked, p.link.RemoteID, p.link.Snapshot = next.Known, next.Linked, next.Remote, next.Resource
			if err := p.link.written(tx, o, step); err != nil {
				return err
			}
			switch step.Kind {
			case plan.RemoveMembers:
				return removeMembers(tx, o.app, step.On.ID, []string{p.state.Remote})
			case plan.Adopt, plan.Create, plan.Reactivate:
				return e.wantGroupsOf(tx, t, p.via, l.Cause)
			case plan.Deleted:
				_, err := tx.Exec(`DELETE FROM link_members WHERE application_id = $1 AND remote_user_id = $2`, string(o.app), p.state.Remote)
				return err
			}
			return nil
		})
		if err != nil || rest {
			return err
		}
		p.state = next
	}
	return work.Park(fmt.Sprintf("After %d steps the account is still not as it should be. The target may not keep what it is told: look at the last events.", maxSteps))
}

// wantGroupsOf asks for the bound groups of a person whose account has just come to be. Should
// the person have joined or left one since they were read, that change asks for itself.
func (e *Engine) wantGroupsOf(tx *store.Tx, t *target, via []directory.Group, cause string) error {
	if !t.abilities.ManageGroups {
		return nil
	}
	now := e.Now()
	var lanes []work.Lane
	for _, g := range via {
		o := object{t.app.ID, scim.Group, string(g.ID)}
		// A hundred joiners of one group would all write its lane, and wait for each other. A run
		// of it that begins before this transaction ends sees that the person is on the way, and
		// comes again.
		waiting, err := work.Waiting(tx, now, laneSync, o.key())
		if err != nil {
			return err
		}
		if !waiting {
			lanes = append(lanes, o.lane(now, team, cause))
		}
	}
	return work.WantAll(tx, now, lanes)
}

// is tells whether an account is this person's, for targets that can't be asked by a filter.
func (p *person) is(r scim.Resource) bool {
	if id := r.ExternalID(); id != "" {
		return id == p.want.ID
	}
	name, _ := p.want.Attributes.Values["userName"].(string)
	return name != "" && strings.EqualFold(r.UserName(), name)
}

func (p *person) restStatus() LinkStatus {
	switch p.want.Want {
	case plan.Present:
		return LinkSynced
	case plan.Gone:
		return LinkInactive
	default:
		return LinkPending
	}
}

func (p *person) restReason() string {
	if p.want.Want == plan.Present {
		return ""
	}
	return p.why
}

// personEvents are the types of event by step.
var personEvents = map[plan.Kind]audit.Type{
	plan.Lookup: audit.UserLookupProvision, plan.Read: audit.UserLookupProvision, plan.Adopt: audit.UserLookupProvision,
	plan.Create: audit.UserCreateProvision, plan.Update: audit.UserUpdateProvision, plan.Reactivate: audit.UserUpdateProvision,
	plan.Deactivated: audit.UserDeprovision, plan.Deleted: audit.UserDeleteProvision,
	plan.AddMembers: audit.GroupUpdateProvision, plan.RemoveMembers: audit.GroupUpdateProvision,
}

var groupEvents = map[plan.Kind]audit.Type{
	plan.Lookup: audit.GroupLookupProvision, plan.Read: audit.GroupLookupProvision, plan.Adopt: audit.GroupLookupProvision,
	plan.Create: audit.GroupCreateProvision, plan.Update: audit.GroupUpdateProvision, plan.Deleted: audit.GroupDeleteProvision,
	plan.AddMembers: audit.GroupUpdateProvision, plan.RemoveMembers: audit.GroupUpdateProvision,
}

func eventType(o object, s plan.Step) audit.Type {
	types := personEvents
	if o.kind == scim.Group {
		types = groupEvents
	}
	if t, ok := types[s.Kind]; ok {
		return t
	}
	return types[plan.Update]
}

// sentence tells a step for people.
func sentence(s plan.Step, label, appLabel string) string {
	switch s.Kind {
	case plan.Lookup, plan.Read:
		return fmt.Sprintf("%s was looked up at %s.", label, appLabel)
	case plan.Adopt:
		return fmt.Sprintf("%s exists at %s already and was taken over.", label, appLabel)
	case plan.Create:
		return fmt.Sprintf("%s was created at %s.", label, appLabel)
	case plan.Reactivate:
		return fmt.Sprintf("%s was made active again at %s.", label, appLabel)
	case plan.Deactivated:
		return fmt.Sprintf("%s was deactivated at %s.", label, appLabel)
	case plan.Deleted:
		return fmt.Sprintf("%s was deleted at %s.", label, appLabel)
	case plan.AddMembers:
		return fmt.Sprintf("%s joined group %s at %s.", people(s.Members), s.On.Label, appLabel)
	case plan.RemoveMembers:
		return fmt.Sprintf("%s left group %s at %s.", people(s.Members), s.On.Label, appLabel)
	}
	var what []string
	for _, c := range s.Changes {
		what = append(what, c.Path)
	}
	slices.Sort(what)
	if len(what) == 0 {
		return fmt.Sprintf("%s was updated at %s.", label, appLabel)
	}
	return fmt.Sprintf("%s was updated at %s: %s.", label, appLabel, joinWords(what))
}

func people(members []plan.Ref) string {
	switch len(members) {
	case 0:
		return "Nobody"
	case 1:
		if members[0].Label != "" {
			return members[0].Label
		}
		return "1 person"
	}
	return fmt.Sprintf("%d people", len(members))
}

func joinWords(words []string) string {
	if len(words) > 6 {
		words = append(slices.Clone(words[:5]), fmt.Sprintf("%d more", len(words)-5))
	}
	return strings.Join(words, ", ")
}
