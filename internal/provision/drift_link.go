package provision

import (
	"context"
	"encoding/json"
	"maps"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/provision/plan"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// LinkDrift is what is left at a target otherwise than the directory says.
type LinkDrift struct {
	// Kept are attributes of an account, by path, that are left as they are there.
	Kept map[string]plan.Kept `json:"kept,omitempty"`
	// Members are accounts, by their id there, whose membership of a group is left as it is: true
	// for one that should be a member and is none.
	Members map[string]bool `json:"members,omitempty"`
	// Lost tells that the object was deleted there, and waits for a person to have it made again.
	Lost bool `json:"lost,omitempty"`
}

func (d LinkDrift) empty() bool { return len(d.Kept) == 0 && len(d.Members) == 0 && !d.Lost }

// chosen are the attributes that somebody, or the policy, chose to leave.
func (d LinkDrift) chosen() map[string]plan.Kept {
	out := maps.Clone(d.Kept)
	maps.DeleteFunc(out, func(_ string, k plan.Kept) bool { return k.Reported })
	return out
}

// saveDrift stores what is left otherwise of an object.
func saveDrift(tx *store.Tx, o object, d LinkDrift) error {
	text := ""
	if !d.empty() {
		b, err := json.Marshal(d)
		if err != nil {
			return err
		}
		text = string(b)
	}
	_, err := tx.Exec(`UPDATE links SET drift = $1 WHERE application_id = $2 AND object_kind = $3 AND object_id = $4`,
		text, string(o.app), kindName(o.kind), o.id)
	return err
}

// drifted makes what is left otherwise known to the planner.
func (p *person) drifted() {
	p.want.Kept, p.state.Lost = p.link.Drift.Kept, p.link.Drift.Lost
}

// written forgets that an attribute was kept, or the account lost, once ours is there.
func (l *Link) written(tx *store.Tx, o object, s plan.Step) error {
	d := l.Drift
	if d.empty() {
		return nil
	}
	switch s.Kind {
	case plan.Create, plan.Adopt:
		d.Lost = false
	case plan.Update, plan.Reactivate:
		d.Kept = maps.Clone(d.Kept)
		for _, c := range s.Changes {
			delete(d.Kept, c.Path)
		}
	default:
		return nil
	}
	if len(d.Kept) == len(l.Drift.Kept) && d.Lost == l.Drift.Lost {
		return nil
	}
	l.Drift = d
	return saveDrift(tx, o, d)
}

// vanishes notes that an object was deleted at the target, where the policy is to leave it so.
func (r *run) vanishes(tx *store.Tx) error {
	if r.t.drift.Deleted != DriftPark || r.link.Drift.Lost {
		return nil
	}
	r.link.Drift.Lost = true
	return saveDrift(tx, r.o, r.link.Drift)
}

// leaveTheirs keeps what differs at the target and was changed there, where the policy is to
// leave it: it is called when an account was read whose memory is before.
func (r *run) leaveTheirs(ctx context.Context, p *person, before scim.Resource) error {
	if p.state.Known != plan.Fresh {
		return nil
	}
	kept := theirs(r.t, p, before)
	if len(kept) == 0 {
		return nil
	}
	d := p.link.Drift
	d.Kept = maps.Clone(d.Kept)
	if d.Kept == nil {
		d.Kept = map[string]plan.Kept{}
	}
	maps.Copy(d.Kept, kept)
	p.link.Drift = d
	p.want.Kept = d.Kept
	return r.store(ctx, func(tx *store.Tx) error { return saveDrift(tx, r.o, d) })
}

// theirs are the differences of an account, which was just read, that the policy leaves: those
// that were as we have them before. What never arrived there is written.
func theirs(t *target, p *person, before scim.Resource) map[string]plan.Kept {
	if !t.drift.leavesAny() || !p.link.Linked || p.want.Want != plan.Present {
		return nil
	}
	var out map[string]plan.Kept
	for _, s := range plan.ForPerson(p.want, p.state, t.abilities) {
		for _, c := range s.Changes {
			if t.drift.Of(c.Path) != Theirs || !sameValue(valueAt(before, c.Path), c.New) {
				continue
			}
			if out == nil {
				out = map[string]plan.Kept{}
			}
			out[c.Path] = plan.Kept{Ours: c.New, Theirs: c.Old, Any: true}
		}
	}
	return out
}

func sameValue(a, b any) bool {
	a, b = scim.Value(a), scim.Value(b)
	if s, ok := a.(string); ok {
		if t, ok := b.(string); ok {
			return strings.EqualFold(s, t) // targets fold some; ours has to have been there in some form
		}
	}
	return scim.Empty(a) && scim.Empty(b) || scim.Equal(a, b)
}

// valueAt is the value at a path, nil if there is none.
func valueAt(r scim.Resource, path string) any {
	p, err := scim.ParsePath(path)
	if err != nil || r == nil {
		return nil
	}
	v, _ := p.Get(r)
	return v
}

// learn is what is remembered of an account, with the attributes that the paths name as they were
// read: each as a whole, since what stands for a part of it is the target's affair.
func learn(remembered, read scim.Resource, paths []string) scim.Resource {
	out := remembered.Clone()
	if out == nil {
		out = scim.Resource{}
	}
	for _, text := range paths {
		p, err := scim.ParsePath(text)
		if err != nil {
			continue
		}
		p.Sub, p.Filter = "", nil
		if v, ok := p.Get(read); ok {
			_ = p.Set(out, scim.Value(v)) // a whole attribute can always be set
		} else {
			p.Remove(out)
		}
	}
	return out
}

// doubt makes the next run of an object read it, and asks for that run.
func (e *Engine) doubt(tx *store.Tx, o object, remoteID string, priority int, cause string) error {
	if _, err := tx.Exec(`UPDATE links SET known = 'doubtful', status = 'pending' WHERE application_id = $1 AND object_kind = $2 AND object_id = $3
		AND linked AND remote_id = $4 AND known <> 'absent'`, string(o.app), kindName(o.kind), o.id, remoteID); err != nil {
		return err
	}
	return e.want(tx, o, priority, cause)
}

// forgetMembers forgets the memberships of a group, or of an account, that is no longer there.
func forgetMembers(tx *store.Tx, o object, remoteID string) error {
	if o.kind == scim.Group {
		return setMembers(tx, o.app, o.id, nil)
	}
	_, err := tx.Exec(`DELETE FROM link_members WHERE application_id = $1 AND remote_user_id = $2`, string(o.app), remoteID)
	return err
}
