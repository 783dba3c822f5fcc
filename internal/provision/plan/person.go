package plan

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/scim"
)

// ForPerson decides the steps for one user.
//
//	Want     Known           steps
//	leave    any             none
//	present  unknown         look up (a linked one: read)
//	present  doubtful        read, or look up while the remote id is unknown
//	present  absent          create
//	present  remembered      adopt unless linked; then update what differs
//	present  any, a required attribute missing: blocked
//	gone     unknown, not linked: none
//	gone     remembered      out of the managed groups, then deactivate or delete
//
// An account that is not linked is deactivated only when its externalId says
// that it is ours: a lost answer to our own create.
func ForPerson(p Person, s PersonState, a Abilities) []Step {
	self := Ref{Type: scim.User, ID: p.ID, Remote: s.Remote, Label: p.Label}
	switch p.Want {
	case Present:
		return present(p, s, a, self)
	case Gone:
		return gone(p, s, a, self)
	default:
		return nil
	}
}

func present(p Person, s PersonState, a Abilities, self Ref) []Step {
	if p.Fault != "" {
		return []Step{blocked(self, BadScope, p.Fault)}
	}
	if len(p.Attributes.Missing) > 0 {
		return []Step{blocked(self, MissingAttribute,
			"A required attribute has no value: "+strings.Join(p.Attributes.Missing, ", ")+".")}
	}
	want, err := wanted(p)
	if err != nil {
		return []Step{blocked(self, BadMapping, "The attribute mapping can't be used: "+err.Error()+".")}
	}
	switch s.Known {
	case Absent:
		if s.Lost {
			return []Step{lost(self)}
		}
		body, err := want.body()
		if err != nil {
			return []Step{blocked(self, BadMapping, "The attribute mapping can't be used: "+err.Error()+".")}
		}
		self.Remote = ""
		return []Step{{Kind: Create, For: self, On: self, Method: http.MethodPost, Body: body, Changes: want.asNew()}}
	case Remembered, Fresh:
	default:
		return []Step{find(self, s.Linked || s.Known == Doubtful, want.matches(p, a))}
	}

	var steps []Step
	if !s.Linked {
		if s.Matches > 1 {
			return []Step{blocked(self, AmbiguousMatch,
				fmt.Sprintf("%d accounts at the target match; only one may.", s.Matches))}
		}
		if s.ClaimedBy != "" {
			return []Step{blocked(self, AlreadyClaimed,
				"The matching account at the target already belongs to "+s.ClaimedBy+".")}
		}
		steps = append(steps, Step{Kind: Adopt, For: self, On: self, Match: want.matchedBy(p, s.Resource, a)})
	}
	want = want.without(p.Kept, s.Resource, a)
	diffs := slices.DeleteFunc(want.differences(s.Resource), func(d diff) bool { return a.fixed(d.item) })
	if len(diffs) == 0 {
		return steps
	}
	step := Step{Kind: Update, For: self, On: self}
	emails := false
	for _, d := range diffs {
		step.Changes = append(step.Changes, Change{Path: d.item.text, Old: d.old, New: d.item.value})
		if d.item.isCore("active") {
			step.Kind = Reactivate
		}
		emails = emails || d.item.isCore("emails")
	}
	if on := slices.IndexFunc(diffs, func(d diff) bool { return d.item.isCore("active") }); on >= 0 && !a.Patch && a.ActiveByPatch {
		first := Step{Kind: Reactivate, For: self, On: self, Method: http.MethodPatch, Changes: []Change{step.Changes[on]},
			Operations: []scim.Operation{{Op: scim.PatchReplace, Path: "active", Value: true}}}
		steps = append(steps, first)
		if len(diffs) == 1 || s.Known != Fresh {
			return steps // the rest is planned again, once this is acknowledged
		}
		step.Kind, step.Changes = Update, slices.Delete(step.Changes, on, on+1)
	}
	if !a.Patch || emails && a.EmailByPut {
		if s.Known != Fresh {
			return []Step{find(self, true, nil)}
		}
		step.Method = http.MethodPut
		step.Body, err = want.replacement(s.Resource, a)
	} else {
		step.Method = http.MethodPatch
		step.Operations, err = want.operations(s.Resource, diffs)
	}
	if err != nil {
		return []Step{blocked(self, BadMapping, "The attribute mapping can't be used: "+err.Error()+".")}
	}
	return append(steps, step)
}

func gone(p Person, s PersonState, a Abilities, self Ref) []Step {
	switch s.Known {
	case Remembered, Fresh:
		if !s.Linked && (s.ClaimedBy != "" || s.Matches > 1 || s.Resource.ExternalID() != externalID(p) && s.Resource.ID() != externalID(p)) {
			return nil
		}
	case Doubtful:
		return []Step{find(self, true, matchesOurs(p, a))}
	case Absent:
		return nil
	default:
		if !s.Linked || s.Remote == "" {
			return nil
		}
		return []Step{find(self, true, nil)}
	}

	active, known := s.Resource.Active()
	inactive := known && !active && a.Leavers != Delete
	patch := a.Patch || a.ActiveByPatch
	if !inactive && a.Leavers != Delete && !patch && s.Known != Fresh {
		return []Step{find(self, true, nil)}
	}
	var steps []Step
	if a.ManageGroups {
		groups := slices.Clone(s.Groups)
		slices.SortFunc(groups, func(x, y Ref) int { return strings.Compare(x.Remote, y.Remote) })
		for _, g := range slices.CompactFunc(groups, func(x, y Ref) bool { return x.Remote == y.Remote }) {
			if g.Remote == "" {
				continue
			}
			g.Type = scim.Group
			steps = append(steps, Step{
				Kind: RemoveMembers, For: self, On: g, Method: http.MethodPatch,
				Members: []Ref{self}, ByValue: a.RemoveMembersByValue,
			})
		}
	}
	if a.Leavers == Delete {
		return append(steps, Step{Kind: Deleted, For: self, On: self, Method: http.MethodDelete})
	}
	if inactive {
		return steps
	}
	step := Step{Kind: Deactivated, For: self, On: self, Changes: []Change{{Path: "active", Old: true, New: false}}}
	if patch {
		step.Method = http.MethodPatch
		step.Operations = []scim.Operation{{Op: scim.PatchReplace, Path: "active", Value: false}}
	} else {
		step.Method = http.MethodPut
		step.Body = carried(s.Resource, a)
		step.Body["active"] = false
		withSchema(step.Body, scim.SchemaUser)
	}
	return append(steps, step)
}

// find is the step that gets knowledge: by the remote id where that is known
// and trusted, else by the conditions.
func find(self Ref, byID bool, match []Match) Step {
	if byID && self.Remote != "" {
		return Step{Kind: Read, For: self, On: self, Method: http.MethodGet}
	}
	self.Remote = ""
	return Step{Kind: Lookup, For: self, On: self, Method: http.MethodGet, Match: match}
}

// lost is the step of an object that was deleted at the target.
func lost(self Ref) Step {
	self.Remote = ""
	s := blocked(self, DeletedThere, LostReason)
	s.Alternative = AlternativeRecreate
	return s
}

func blocked(self Ref, code, reason string) Step {
	return Step{Kind: Blocked, For: self, On: self, Code: code, Reason: reason}
}

// Seen is the state after a look-up or read: no hit means that the object is
// not there. The hits must be full resources. A hit with another id than the
// linked one is a newly found account.
func (s PersonState) Seen(hits ...scim.Resource) PersonState {
	if len(hits) == 0 {
		return PersonState{Known: Absent}
	}
	out := s
	out.Known, out.Matches, out.Resource = Fresh, len(hits), hits[0]
	if id := hits[0].ID(); id != s.Remote {
		out.Remote, out.Linked, out.Groups, out.ClaimedBy = id, false, nil, ""
	}
	return out
}

// After is the state once a step was acknowledged with the answer, which may be
// nil. Values that were sent count as kept even when the answer doesn't show
// them, so that a target which drops an attribute is not written to for ever; a
// later reading tells the truth.
func (s PersonState) After(step Step, answer scim.Resource) PersonState {
	out := s
	switch step.Kind {
	case Adopt:
		out.Linked, out.Matches = true, 1
	case Create:
		out = PersonState{Known: Remembered, Linked: true, Remote: answer.ID(), Matches: 1}
		out.Resource = overlay(answer, step.Body)
	case Update, Reactivate, Deactivated:
		out.Known = Remembered
		if step.Method == http.MethodPut {
			out.Resource = overlay(answer, step.Body)
			if out.Resource.ID() == "" && s.Remote != "" {
				out.Resource["id"] = s.Remote
			}
			break
		}
		base := answer
		if len(base) == 0 {
			base = s.Resource
		}
		if next, err := scim.NewPatch(step.Operations...).Apply(base); err == nil {
			out.Resource = next
		} else {
			out.Known = Doubtful // the answer does not fit what was sent
		}
	case Deleted:
		out = PersonState{Known: Absent}
	case RemoveMembers:
		out.Groups = slices.DeleteFunc(slices.Clone(s.Groups), func(g Ref) bool { return g.Remote == step.On.Remote })
	}
	return out
}

// overlay is the answer with what was sent laid over it where the answer does
// not show it.
func overlay(answer, sent scim.Resource) scim.Resource {
	out := answer.Clone()
	if out == nil {
		out = scim.Resource{}
	}
	for name, value := range sent {
		switch {
		case strings.EqualFold(name, "schemas"), strings.EqualFold(name, "meta"), strings.EqualFold(name, "id"):
			if _, ok := out.Get(name); !ok {
				out[name] = value
			}
			continue
		}
		p := scim.Path{Attribute: name}
		if strings.HasPrefix(strings.ToLower(name), "urn:") {
			p = scim.Path{Schema: name}
		}
		if have, _ := p.Get(out); covers(p, have, value) {
			continue
		}
		_ = p.Set(out, value) // a whole attribute can always be set
	}
	return out
}
