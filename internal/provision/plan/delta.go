package plan

import (
	"net/http"
	"slices"
)

// Same tells whether two lists of steps have the same effect. Names for people don't count, but
// reasons do: a person who is blocked for another reason is told so.
func Same(a, b []Step) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Reason != b[i].Reason {
			return false
		}
	}
	return hash(a) == hash(b)
}

// Without returns the steps of one group without what was has, too: equal steps and, of members
// who join or leave, those who do so anyway.
func Without(steps, was []Step) []Step {
	if len(was) == 0 {
		return steps
	}
	gone := map[string]bool{}
	type membership struct {
		kind   Kind
		member string
	}
	members := map[membership]bool{}
	for _, s := range was {
		gone[hash([]Step{s})] = true
		if partial(s) {
			for _, m := range s.Members {
				members[membership{s.Kind, m.ID + " " + m.Remote}] = true
			}
		}
	}
	var out []Step
	for _, s := range steps {
		if gone[hash([]Step{s})] {
			continue
		}
		if partial(s) {
			s.Members = slices.DeleteFunc(slices.Clone(s.Members), func(m Ref) bool { return members[membership{s.Kind, m.ID + " " + m.Remote}] })
			if len(s.Members) == 0 {
				continue
			}
		}
		out = append(out, s)
	}
	return out
}

// About returns the steps of one group that are about one person, with no other member in them.
func About(steps []Step, user string) []Step {
	var out []Step
	for _, s := range steps {
		if !slices.ContainsFunc(s.Members, func(m Ref) bool { return m.ID == user }) {
			continue
		}
		if partial(s) {
			s.Members = slices.DeleteFunc(slices.Clone(s.Members), func(m Ref) bool { return m.ID != user })
		}
		out = append(out, s)
	}
	return out
}

// partial tells whether a step takes members in or out one by one: its request is made of those
// that are named.
func partial(s Step) bool {
	return (s.Kind == AddMembers || s.Kind == RemoveMembers) && s.Method == http.MethodPatch
}
