package plan

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/scim"
)

// ForTeam decides the steps for one group.
//
//	Want     Known         steps
//	any      management off: none
//	leave    any           none
//	present  unknown       look up, once it has a member (a linked one: read)
//	present  absent        create, once it has a member; then members
//	present  remembered    adopt unless linked; rename; remove, then add members
//	gone     linked        delete, guarded
//
// A rename that the target can't do is blocked with [AlternativeReplace] offered;
// the members are kept true under the old name. A group that lost its last
// member stays, without members.
func ForTeam(t Team, s TeamState, a Abilities) []Step {
	if !a.ManageGroups {
		return nil
	}
	self := Ref{Type: scim.Group, ID: t.ID, Remote: s.Remote, Label: t.Name}
	switch t.Want {
	case Gone:
		if !s.Linked || s.Remote == "" || s.Known == Absent {
			return nil
		}
		return []Step{{
			Kind: Deleted, For: self, On: self, Method: http.MethodDelete, Guarded: true,
			Changes: []Change{{Path: "displayName", Old: orNil(s.Name)}},
		}}
	case Present:
	default:
		return nil
	}

	if t.Name == "" {
		return []Step{blocked(self, MissingAttribute, "A required attribute has no value: name.")}
	}
	known := s.Known == Remembered || s.Known == Fresh
	if !s.Linked && len(t.Members) == 0 {
		// Neither made nor taken over while nobody is entitled: taking over
		// would empty it.
		return nil
	}
	switch {
	case known:
	case s.Known == Absent:
		if s.Lost {
			return []Step{lost(self)}
		}
		if len(t.Members) == 0 {
			return nil
		}
		return create(t, a, self)
	default:
		var match []Match
		if a.MatchGroups {
			match = []Match{{Attribute: "displayName", Value: t.Name}}
		}
		return []Step{find(self, s.Linked || s.Known == Doubtful, match)}
	}

	var steps []Step
	if !s.Linked {
		if s.Matches > 1 {
			return []Step{blocked(self, AmbiguousMatch,
				fmt.Sprintf("%d groups at the target have the name %q; only one may.", s.Matches, t.Name))}
		}
		if s.ClaimedBy != "" {
			return []Step{blocked(self, AlreadyClaimed,
				"The group at the target already belongs to "+s.ClaimedBy+".")}
		}
		steps = append(steps, Step{
			Kind: Adopt, For: self, On: self,
			Match: []Match{{Attribute: "displayName", Value: s.Name}},
		})
	}

	rename := s.Name != t.Name
	var refusal []Step
	if rename && !a.RenameGroups {
		rename = false
		if !strings.EqualFold(s.Name, t.Name) {
			step := blocked(self, RenameUnsupported, fmt.Sprintf(
				"The target can't rename a group: it stays %q there. Create %q, move the members and delete %q instead?",
				s.Name, t.Name, s.Name))
			step.Alternative = AlternativeReplace
			step.Changes = []Change{{Path: "displayName", Old: orNil(s.Name), New: t.Name}}
			refusal = []Step{step}
		}
	}
	add, remove := memberDiff(t, s)

	if !a.PatchGroups {
		put, ready := replaceMembers(t, s, a, self, rename, add, remove)
		if !ready {
			return []Step{find(self, true, nil)}
		}
		return append(append(steps, put...), refusal...)
	}
	if rename {
		steps = append(steps, Step{
			Kind: Update, For: self, On: self, Method: http.MethodPatch,
			Operations: []scim.Operation{{Op: scim.PatchReplace, Path: "displayName", Value: t.Name}},
			Changes:    []Change{{Path: "displayName", Old: orNil(s.Name), New: t.Name}},
		})
	}
	steps = append(steps, batches(RemoveMembers, self, remove, a)...)
	steps = append(steps, batches(AddMembers, self, add, a)...)
	return append(steps, refusal...)
}

// ReplaceTeam is the explicit act for a rename that the target can't do: make a
// group of the new name, move the members, delete the old group. It gives no
// steps unless the group is linked, known, and named otherwise.
func ReplaceTeam(t Team, s TeamState, a Abilities) []Step {
	if !a.ManageGroups || !s.Linked || s.Remote == "" || t.Name == "" || strings.EqualFold(s.Name, t.Name) ||
		s.Known != Remembered && s.Known != Fresh {
		return nil
	}
	fresh := Ref{Type: scim.Group, ID: t.ID, Label: t.Name}
	old := Ref{Type: scim.Group, ID: t.ID, Remote: s.Remote, Label: s.Name}
	return append(create(t, a, fresh), Step{
		Kind: Deleted, For: fresh, On: old, Method: http.MethodDelete, Guarded: true,
		Changes: []Change{{Path: "displayName", Old: orNil(s.Name)}},
	})
}

// create makes the group and brings its members in.
func create(t Team, a Abilities, self Ref) []Step {
	self.Remote = ""
	members := sortedMembers(t.Members)
	body := scim.Resource{"schemas": []any{scim.SchemaGroup}, "displayName": t.Name}
	if slices.Contains(a.GroupRequired, "externalId") {
		body["externalId"] = t.ID
	}
	if slices.Contains(a.GroupRequired, "members") {
		body["members"] = []any{}
	}
	step := Step{
		Kind: Create, For: self, On: self, Method: http.MethodPost, Body: body,
		Changes: []Change{{Path: "displayName", New: t.Name}},
	}
	if a.CreateWithMembers {
		n := 0
		for n < len(members) && members[n].Remote != "" && n < a.batch() {
			n++
		}
		if n > 0 {
			step.Members, members = members[:n:n], members[n:]
			body["members"] = memberValues(step.Members)
		}
	}
	if a.PatchGroups || len(members) == 0 {
		return append([]Step{step}, batches(AddMembers, self, members, a)...)
	}
	put, _ := replaceMembers(t, TeamState{Known: Fresh, Name: t.Name}, a, self, false, members, nil)
	return append([]Step{step}, put...)
}

// replaceMembers is the PUT of a whole group, for targets without PATCH. It is
// not ready when the state was not read just now.
func replaceMembers(t Team, s TeamState, a Abilities, self Ref, rename bool, add, remove []Ref) ([]Step, bool) {
	var resolved []Ref
	for _, m := range add {
		if m.Remote != "" {
			resolved = append(resolved, m)
		}
	}
	if !rename && len(resolved) == 0 && len(remove) == 0 {
		return nil, true
	}
	if s.Known != Fresh {
		return nil, false
	}
	name := s.Name
	step := Step{Kind: Update, For: self, On: self, Method: http.MethodPut}
	if rename {
		name = t.Name
		step.Changes = append(step.Changes, Change{Path: "displayName", Old: orNil(s.Name), New: t.Name})
	}
	if len(resolved) > 0 || len(remove) > 0 {
		step.Changes = append(step.Changes, Change{Path: "members", Old: labels(remove), New: labels(resolved)})
	}
	step.Body = carried(s.Resource, a)
	step.Body["displayName"] = name
	var all []Ref
	for _, m := range sortedMembers(t.Members) {
		if keep, ok := t.Kept[m.Remote]; m.Remote != "" && (!ok || !keep || slices.Contains(s.Members, m.Remote)) {
			all = append(all, m)
		}
	}
	for _, id := range s.Members {
		if keep, ok := t.Kept[id]; ok && !keep && !slices.ContainsFunc(all, func(r Ref) bool { return r.Remote == id }) {
			all = append(all, Ref{Type: scim.User, Remote: id})
		}
	}
	step.Body["members"] = memberValues(all)
	withSchema(step.Body, scim.SchemaGroup)
	return []Step{step}, true
}

func labels(members []Ref) any {
	if len(members) == 0 {
		return nil
	}
	out := make([]any, len(members))
	for i, m := range members {
		out[i] = cmpOr(m.Label, m.Remote)
	}
	return out
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func (a Abilities) batch() int {
	if a.MemberBatch > 0 {
		return a.MemberBatch
	}
	return 100
}

// memberDiff compares members by remote id. Members without an account yet come
// last among those to add.
func memberDiff(t Team, s TeamState) (add, remove []Ref) {
	have := make(map[string]bool, len(s.Members))
	for _, id := range s.Members {
		have[id] = true
	}
	want := make(map[string]bool, len(t.Members))
	for _, m := range sortedMembers(t.Members) {
		if m.Remote != "" {
			want[m.Remote] = true
			if keep, ok := t.Kept[m.Remote]; have[m.Remote] || ok && keep {
				continue
			}
		}
		add = append(add, m)
	}
	for id := range have {
		if keep, ok := t.Kept[id]; want[id] || ok && !keep {
			continue
		}
		m := s.People[id]
		m.Type, m.Remote = scim.User, id
		remove = append(remove, m)
	}
	return add, sortedMembers(remove)
}

// MemberDiff tells which members are missing at the target, and who is one there and should not
// be. Those without an account yet are not missing.
func MemberDiff(t Team, s TeamState) (missing, foreign []Ref) {
	missing, foreign = memberDiff(t, s)
	return slices.DeleteFunc(missing, func(r Ref) bool { return r.Remote == "" }), foreign
}

// sortedMembers puts those with an account first, each part by our id, then the
// target's, and drops doubles.
func sortedMembers(members []Ref) []Ref {
	out := slices.Clone(members)
	for i := range out {
		out[i].Type = scim.User
	}
	slices.SortFunc(out, func(a, b Ref) int {
		if (a.Remote == "") != (b.Remote == "") {
			if a.Remote != "" {
				return -1
			}
			return 1
		}
		if c := strings.Compare(a.ID, b.ID); c != 0 {
			return c
		}
		return strings.Compare(a.Remote, b.Remote)
	})
	return slices.CompactFunc(out, func(a, b Ref) bool { return a.ID == b.ID && a.Remote == b.Remote })
}

func batches(kind Kind, group Ref, members []Ref, a Abilities) []Step {
	var steps []Step
	for chunk := range slices.Chunk(members, a.batch()) {
		step := Step{Kind: kind, For: group, On: group, Method: http.MethodPatch, Members: slices.Clip(chunk)}
		step.ByValue = kind == RemoveMembers && a.RemoveMembersByValue
		steps = append(steps, step)
	}
	return steps
}

func memberValues(members []Ref) []any {
	out := make([]any, 0, len(members))
	for _, m := range members {
		out = append(out, map[string]any{"value": m.Remote})
	}
	return out
}

// Patch is the body of a step that is sent as PATCH. For steps with members it
// holds those that have an account.
func (s Step) Patch() scim.PatchOp {
	switch s.Kind {
	case AddMembers, RemoveMembers:
	default:
		return scim.NewPatch(s.Operations...)
	}
	var values []any
	var ops []scim.Operation
	for _, m := range s.Members {
		if m.Remote == "" {
			continue
		}
		values = append(values, map[string]any{"value": m.Remote})
		if s.Kind == RemoveMembers && !s.ByValue {
			one := scim.Eq("value", m.Remote)
			path := scim.Path{Attribute: "members", Filter: &one}
			ops = append(ops, scim.Operation{Op: scim.PatchRemove, Path: path.String()})
		}
	}
	switch {
	case len(values) == 0:
		return scim.NewPatch()
	case s.Kind == AddMembers:
		return scim.NewPatch(scim.Operation{Op: scim.PatchAdd, Path: "members", Value: values})
	case s.ByValue:
		return scim.NewPatch(scim.Operation{Op: scim.PatchRemove, Path: "members", Value: values})
	default:
		return scim.NewPatch(ops...)
	}
}

// Ready tells whether the step can be carried out now: a step that only adds
// members without accounts has to wait for them.
func (s Step) Ready() bool {
	switch s.Kind {
	case AddMembers, RemoveMembers:
		return slices.ContainsFunc(s.Members, func(m Ref) bool { return m.Remote != "" })
	case Blocked:
		return false
	default:
		return true
	}
}

// Writes tells whether the step changes something at the target.
func (s Step) Writes() bool { return s.Method != "" && s.Method != http.MethodGet }

// Seen is the state after a look-up or read; no hit means that the group is not
// there.
func (s TeamState) Seen(hits ...scim.Resource) TeamState {
	if len(hits) == 0 {
		return TeamState{Known: Absent, People: s.People, MembersHidden: s.MembersHidden}
	}
	out := s
	out.Known, out.Matches, out.Resource = Fresh, len(hits), hits[0]
	out.Name = hits[0].DisplayName()
	if !s.MembersHidden {
		out.Members = hits[0].Members()
	} else if hits[0].ID() != s.Remote {
		out.Members = nil // another group, of which nothing is remembered
	}
	if id := hits[0].ID(); id != s.Remote {
		out.Remote, out.Linked, out.ClaimedBy = id, false, ""
	}
	return out
}

// After is the state once a step was acknowledged with the answer, which may be
// nil. Members that were sent count as members even when the answer is silent.
func (s TeamState) After(step Step, answer scim.Resource) TeamState {
	out := s
	switch step.Kind {
	case Adopt:
		out.Linked, out.Matches = true, 1
	case Create:
		out = TeamState{
			Known: Remembered, Linked: true, Matches: 1, People: s.People, MembersHidden: s.MembersHidden,
			Remote: answer.ID(), Name: step.Body.DisplayName(), Members: step.Body.Members(),
		}
		out.Resource = overlay(answer, step.Body)
	case Update:
		out.Known = Remembered
		for _, c := range step.Changes {
			if name, ok := c.New.(string); ok && c.Path == "displayName" {
				out.Name = name
			}
		}
		if step.Method == http.MethodPut {
			out.Members = step.Body.Members()
			out.Resource = overlay(answer, step.Body)
		}
	case Deleted:
		if step.On.Remote != s.Remote {
			break // the old group of a replacement
		}
		out = TeamState{Known: Absent, People: s.People, MembersHidden: s.MembersHidden}
	case AddMembers:
		out.Known, out.Members = Remembered, slices.Clone(s.Members)
		have := make(map[string]bool, len(s.Members))
		for _, id := range s.Members {
			have[id] = true
		}
		for _, m := range step.Members {
			if m.Remote != "" && !have[m.Remote] {
				have[m.Remote] = true
				out.Members = append(out.Members, m.Remote)
			}
		}
	case RemoveMembers:
		out.Known = Remembered
		drop := make(map[string]bool, len(step.Members))
		for _, m := range step.Members {
			drop[m.Remote] = true
		}
		out.Members = slices.DeleteFunc(slices.Clone(s.Members), func(id string) bool { return drop[id] })
	}
	return out
}
