package provision

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision/plan"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/work"
)

// groupAt is one group at one application: what should be, and what is.
type groupAt struct {
	want  plan.Team
	state plan.TeamState
	link  Link
	// coming is how many members have no account yet but are on their way.
	coming int
}

func loadTeam(tx *store.Tx, t *target, id directory.GroupID) (groupAt, error) {
	o := object{t.app.ID, scim.Group, string(id)}
	link, err := getLink(tx, o)
	if err != nil {
		return groupAt{}, err
	}
	g := groupAt{link: link, want: plan.Team{ID: string(id), Name: link.Name, Want: plan.Leave}}
	group, err := directory.GetGroup(tx, id)
	switch {
	case problem.Is(err, problem.NotFound):
		if link.Linked && link.Status != LinkReleased {
			g.want.Want = plan.Gone
		}
	case err != nil:
		return g, err
	default:
		g.link.Name, g.want.Name = group.Name, group.Name
		n, err := store.One(tx, store.Scalar[int], `SELECT count(*) FROM bindings WHERE application_id = $1 AND group_id = $2`, string(o.app), string(id))
		if err != nil {
			return g, err
		}
		if t.binds(id, n > 0) {
			g.want.Want = plan.Present
		}
	}
	g.state = plan.TeamState{
		Known: link.Known, Linked: link.Linked, Remote: link.RemoteID, Name: link.Snapshot.DisplayName(),
		Resource: link.Snapshot, Matches: 1, People: map[string]plan.Ref{},
		MembersHidden: t.connector.SCIM.Groups.MembersHidden,
	}
	if g.state.Members, err = memberIDs(tx, o.app, o.id); err != nil {
		return g, err
	}
	g.state.Lost = link.Drift.Lost
	g.want.Kept = link.Drift.Members
	if g.want.Want != plan.Present {
		return g, nil
	}
	type member struct {
		ref    plan.Ref
		coming bool
	}
	// Members as they should be, each with the account that it has.
	members, err := store.All(tx, func(r store.Row) (member, error) {
		m := member{ref: plan.Ref{Type: scim.User}}
		err := r.Scan(&m.ref.ID, &m.ref.Label, &m.ref.Remote, &m.coming)
		return m, err
	}, `SELECT u.id, u.display_name,
			CASE WHEN l.linked THEN l.remote_id ELSE '' END,
			EXISTS (SELECT 1 FROM lanes w WHERE w.kind = $3 AND w.key = $1 || '/user/' || u.id AND w.wanted > w.synced AND NOT w.parked)
		FROM memberships m JOIN users u ON u.id = m.user_id
		LEFT JOIN links l ON l.application_id = $1 AND l.object_kind = 'user' AND l.object_id = u.id
		WHERE m.group_id = $2 AND u.state = 'active' ORDER BY u.id`, string(o.app), string(id), laneSync)
	if err != nil {
		return g, err
	}
	within, err := withinScope(tx, t, members, func(m member) string { return m.ref.ID })
	if err != nil {
		return g, err
	}
	for _, m := range members {
		if !within(m.ref.ID) {
			continue
		}
		g.want.Members = append(g.want.Members, m.ref)
		if m.ref.Remote == "" {
			if m.coming {
				g.coming++
			}
			continue
		}
		g.state.People[m.ref.Remote] = m.ref
	}
	// Those who should leave have names too.
	var leaving []string
	for _, remote := range g.state.Members {
		if _, ok := g.state.People[remote]; !ok {
			leaving = append(leaving, remote)
		}
	}
	for part := range slices.Chunk(leaving, memberChunk) {
		args := []any{string(o.app)}
		for _, remote := range part {
			args = append(args, remote)
		}
		refs, err := store.All(tx, func(r store.Row) (plan.Ref, error) {
			ref := plan.Ref{Type: scim.User}
			err := r.Scan(&ref.ID, &ref.Label, &ref.Remote)
			return ref, err
		}, `SELECT object_id, object_name, remote_id FROM links
			WHERE application_id = $1 AND object_kind = 'user' AND remote_id IN (`+store.Placeholders(2, len(part))+`)`, args...)
		if err != nil {
			return g, err
		}
		for _, ref := range refs {
			g.state.People[ref.Remote] = ref
		}
	}
	return g, nil
}

// syncTeam brings one group to what it should be.
func (e *Engine) syncTeam(ctx context.Context, l work.Lease, t *target, o object) error {
	var g groupAt
	if err := e.DB.View(ctx, func(tx *store.Tx) (err error) {
		g, err = loadTeam(tx, t, directory.GroupID(o.id))
		return err
	}); err != nil {
		return err
	}
	run := &run{e: e, lease: l, t: t, o: o, link: &g.link}
	if g.want.Want == plan.Leave || !t.abilities.ManageGroups {
		return e.releaseTeam(ctx, run)
	}
	if l.Orphaned {
		if err := run.doubt(ctx); err != nil {
			return err
		}
		g.state.Known = plan.Doubtful
	}
	notFound := 0
	for range maxSteps * 10 { // a group of 40,000 comes in batches of 100
		steps := plan.ForTeam(g.want, g.state, t.abilities)
		if g.coming > 0 {
			steps = fullBatches(steps, t.abilities)
			if len(steps) == 0 {
				return work.RetryAfter(500*time.Millisecond, fmt.Sprintf("%d members have no account yet.", g.coming))
			}
		}
		for len(steps) > 0 && steps[0].Kind == plan.AddMembers && !steps[0].Ready() {
			steps = steps[1:]
		}
		if len(steps) == 0 {
			status := LinkSynced
			if g.want.Want == plan.Gone {
				status = LinkInactive
			}
			return run.rest(ctx, status, "")
		}
		step := steps[0]
		switch {
		case step.Kind == plan.Blocked:
			return run.block(ctx, step)
		case step.Kind == plan.Deleted && !g.link.Approved:
			return run.block(ctx, plan.Step{
				Kind: plan.Blocked, For: step.For, On: step.On, Code: "approval_needed", Changes: step.Changes,
				Reason: fmt.Sprintf("The group was deleted here. Deleting it at %s takes licences and permissions away with it: approve that, or leave it there.", t.app.Label),
			})
		case step.Kind == plan.Lookup || step.Kind == plan.Read:
			hits, err := run.look(ctx, step, func(r scim.Resource) bool { return strings.EqualFold(r.DisplayName(), g.want.Name) })
			if err != nil {
				return err
			}
			g.state = g.state.Seen(hits...)
			g.state.Lost = g.link.Drift.Lost
			if err := e.seenTeam(ctx, run, &g, hits); err != nil {
				return err
			}
			continue
		}
		answer, ex, err := run.send(ctx, step)
		if scim.ClassOf(err) == scim.NotFound {
			switch {
			case step.Kind == plan.Deleted:
				err = nil
			case step.Kind != plan.Create && notFound == 0:
				// The group is gone, or one of the members: reading the group tells which.
				notFound++
				g.state.Known = plan.Doubtful
				continue
			case step.Kind == plan.AddMembers:
				return e.unknownMembers(ctx, run, step, ex, err)
			}
		}
		if scim.ClassOf(err) == scim.Conflict && step.Kind == plan.Create && !run.conflicted {
			run.conflicted = true
			g.state = plan.TeamState{Known: plan.Unknown, People: g.state.People, MembersHidden: g.state.MembersHidden}
			continue
		}
		if err != nil {
			return run.failed(ctx, step, ex, err)
		}
		next := g.state.After(step, answer)
		left := plan.ForTeam(g.want, next, t.abilities)
		rest := g.coming == 0 && !anyReady(left) && !anyBlocked(left)
		status := LinkSynced
		if g.want.Want == plan.Gone {
			status = LinkInactive
		}
		err = run.ack(ctx, step, ex, rest, status, func(tx *store.Tx) error {
			g.link.Known, g.link.Linked, g.link.RemoteID = next.Known, next.Linked, next.Remote
			g.link.Snapshot = scim.Resource{"id": next.Remote, "displayName": next.Name}
			if err := g.link.written(tx, o, step); err != nil {
				return err
			}
			switch step.Kind {
			case plan.AddMembers:
				return addMembers(tx, o.app, o.id, remotes(step.Members))
			case plan.RemoveMembers:
				return removeMembers(tx, o.app, o.id, remotes(step.Members))
			case plan.Create, plan.Deleted, plan.Update:
				return setMembers(tx, o.app, o.id, next.Members)
			}
			return nil
		})
		if err != nil || rest {
			return err
		}
		g.state = next
	}
	return work.RetryAfter(time.Second, "More members than fit into one run; going on.")
}

func remotes(members []plan.Ref) (ids []string) {
	for _, m := range members {
		if m.Remote != "" {
			ids = append(ids, m.Remote)
		}
	}
	return ids
}

func anyReady(steps []plan.Step) bool {
	for _, s := range steps {
		if s.Ready() {
			return true
		}
	}
	return false
}

func anyBlocked(steps []plan.Step) bool {
	for _, s := range steps {
		if s.Kind == plan.Blocked {
			return true
		}
	}
	return false
}

// fullBatches leaves out additions that are not full yet: while members are on their way it
// would take many small requests in place of a few large ones.
func fullBatches(steps []plan.Step, a plan.Abilities) []plan.Step {
	batch := a.MemberBatch
	if batch <= 0 {
		batch = 100
	}
	out := steps[:0:0]
	for _, s := range steps {
		if s.Kind == plan.AddMembers && len(remotes(s.Members)) < batch {
			continue
		}
		out = append(out, s)
	}
	return out
}

// seenTeam notes what a look at the target showed.
func (e *Engine) seenTeam(ctx context.Context, r *run, g *groupAt, hits []scim.Resource) error {
	if len(hits) != 1 {
		return nil
	}
	return r.store(ctx, func(tx *store.Tx) (err error) {
		if !g.state.Linked {
			g.state.ClaimedBy, err = claimedBy(tx, r.o, hits[0].ID())
			return err
		}
		g.link.Known, g.link.Snapshot = plan.Remembered, scim.Resource{"id": hits[0].ID(), "displayName": hits[0].DisplayName()}
		if err := g.link.save(tx, e.Now()); err != nil {
			return err
		}
		return setMembers(tx, r.o.app, r.o.id, g.state.Members)
	})
}

// releaseTeam stops managing a group: it stays at the target as it is.
func (e *Engine) releaseTeam(ctx context.Context, r *run) error {
	now := e.Now()
	return r.store(ctx, func(tx *store.Tx) error {
		if r.link.stored && r.link.Status != LinkReleased {
			// It may change there while we don't look: should it be bound again, it is read first.
			r.link.Status, r.link.Reason, r.link.Known = LinkReleased, "No longer managed; left there as it is.", plan.Unknown
			if err := r.link.save(tx, now); err != nil {
				return err
			}
		}
		return r.lease.Done(tx)
	})
}

// unknownMembers deals with a target that doesn't know an account which we remember: the
// accounts are looked at again, then the group.
func (e *Engine) unknownMembers(ctx context.Context, r *run, s plan.Step, ex scim.Exchange, cause error) error {
	if err := r.store(ctx, func(tx *store.Tx) error {
		for _, m := range s.Members {
			if m.Remote == "" || m.ID == "" {
				continue
			}
			if _, err := tx.Exec(`UPDATE links SET known = 'doubtful' WHERE application_id = $1 AND object_kind = 'user' AND object_id = $2`,
				string(r.o.app), m.ID); err != nil {
				return err
			}
			if err := e.want(tx, object{r.o.app, scim.User, m.ID}, joiner, r.lease.Cause); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if r.lease.Attempts > 3 {
		return r.failed(ctx, s, ex, cause)
	}
	return work.RetryAfter(2*time.Second, "The target doesn't know one of the members; their accounts are being read again.")
}

// ReplaceGroup is the act offered where a target can't rename a group: a new group is made,
// the members are moved, the old group is deleted. It is carried out at once.
func (e *Engine) replaceGroup(ctx context.Context, t *target, id directory.GroupID) error {
	o := object{t.app.ID, scim.Group, string(id)}
	var g groupAt
	if err := e.DB.View(ctx, func(tx *store.Tx) (err error) {
		g, err = loadTeam(tx, t, id)
		return err
	}); err != nil {
		return err
	}
	steps := plan.ReplaceTeam(g.want, g.state, t.abilities)
	if len(steps) == 0 {
		return problem.New(problem.Conflict, "There is nothing to replace: the group has the same name at %s.", t.app.Label)
	}
	r := &run{e: e, t: t, o: o, link: &g.link}
	for _, s := range steps {
		if s.Kind == plan.AddMembers {
			s.On.Remote = g.state.Remote
			if !s.Ready() {
				continue
			}
		}
		answer, ex, err := r.send(ctx, s)
		if err != nil {
			_ = r.failed(ctx, s, ex, err)
			return problem.Wrap(problem.Unavailable, err, "%s refused a step of it (%s). What was done so far stays; look at the activity.", t.app.Label, s.Kind)
		}
		next := g.state.After(s, answer)
		err = r.ack(ctx, s, ex, false, LinkPending, func(tx *store.Tx) error {
			g.link.Known, g.link.Linked, g.link.RemoteID = next.Known, next.Linked, next.Remote
			g.link.Snapshot = scim.Resource{"id": next.Remote, "displayName": next.Name}
			if err := setMembers(tx, o.app, o.id, next.Members); err != nil {
				return err
			}
			return e.want(tx, o, team, "")
		})
		if err != nil {
			return err
		}
		g.state = next
	}
	return nil
}
