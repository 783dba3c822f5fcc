package provision

import (
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/provision/plan"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// scope is who is provisioned at an application: the active members of the groups that are bound
// to it, as far as the filter lets them in. Bindings are in the database; only what a proposed
// change would add to them or take from them is here.
type scope struct {
	filter         *catalog.Filter // nil lets everybody in
	bound, unbound map[directory.GroupID]bool
}

// narrow sets the filter; "" is none.
func (s *scope) narrow(c *catalog.Compiler, expression string) (err error) {
	s.filter = nil
	if expression != "" {
		s.filter, err = c.Filter(expression)
	}
	return err
}

// binds tells whether a group is bound, given whether it is now.
func (s *scope) binds(id directory.GroupID, now bool) bool {
	return (now || s.bound[id]) && !s.unbound[id]
}

// via returns the person's groups that are bound.
func (s *scope) via(standing app.Standing) []directory.Group {
	if len(s.bound)+len(s.unbound) == 0 {
		return standing.Via
	}
	now := map[directory.GroupID]bool{}
	for _, g := range standing.Via {
		now[g.ID] = true
	}
	var out []directory.Group
	for _, g := range standing.Groups {
		if s.binds(g.ID, now[g.ID]) {
			out = append(out, g)
		}
	}
	return out
}

// managed leaves out groups that aren't bound any more: they stay there as they are.
func (s *scope) managed(groups []plan.Ref) []plan.Ref {
	return slices.DeleteFunc(groups, func(g plan.Ref) bool { return s.unbound[directory.GroupID(g.ID)] })
}

// within tells whether the filter lets a person in. An error is a sentence for people.
func (s *scope) within(p *catalog.Person) (bool, error) {
	if s.filter == nil {
		return true, nil
	}
	in, err := s.filter.Matches(p)
	if err != nil {
		return false, fmt.Errorf("the scope can't be worked out for this person, so the account is left as it is: %s", strings.TrimSuffix(err.Error(), "."))
	}
	return in, nil
}

// withinScope tells who among many members is let in. Those for whom it can't be said stay as
// they are, so they count as let in.
func withinScope[T any](tx *store.Tx, t *target, members []T, id func(T) string) (func(string) bool, error) {
	if t.filter == nil {
		return func(string) bool { return true }, nil
	}
	out := make(map[string]bool, len(members))
	for part := range slices.Chunk(members, sweepPage) {
		ids := make([]directory.UserID, len(part))
		for i, m := range part {
			ids[i] = directory.UserID(id(m))
		}
		standings, err := app.StandingsOf(tx, t.app.ID, ids)
		if err != nil {
			return nil, err
		}
		for uid, s := range standings {
			s.Via = t.via(s)
			who := s.Person()
			in, err := t.within(&who)
			out[string(uid)] = in || err != nil
		}
	}
	return func(id string) bool { return out[id] }, nil
}
