package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/scim"
)

// Plan is the work for an application, in the order in which it is carried out:
//
//  1. members leave groups
//  2. leavers: out of their groups, then deactivated or deleted
//  3. joiners: looked up, adopted, created, reactivated
//  4. updates of people
//  5. groups: looked up, adopted, created, renamed
//  6. members join groups
//  7. groups are deleted
//  8. what is blocked
//
// Within a rank it goes by our ids, and the steps of one object keep their order.
type Plan struct {
	Steps []Step `json:"steps"`
	// Hash is the SHA-256, in hex, of all that would be sent. Two plans with
	// the same hash have the same effect; names for people don't count.
	Hash string `json:"hash"`
}

// Build joins the steps of many objects, each as given by [ForPerson] or
// [ForTeam]. A leaver's removal from a group is left out where the group's own
// steps have it.
func Build(parts ...[]Step) Plan {
	type entry struct {
		step Step
		rank int
		seq  int
	}
	type membership struct{ group, member string }
	removed := make(map[membership]bool)
	for _, part := range parts {
		for _, s := range part {
			if s.Kind == RemoveMembers && s.For.Type == scim.Group {
				for _, m := range s.Members {
					removed[membership{s.On.Remote, m.Remote}] = true
				}
			}
		}
	}
	var all []entry
	for _, part := range parts {
		ranks := ranksOf(part)
		for i, s := range part {
			if s.Kind == RemoveMembers && s.For.Type == scim.User && removed[membership{s.On.Remote, s.For.Remote}] {
				continue
			}
			all = append(all, entry{s, ranks[i], i})
		}
	}
	slices.SortStableFunc(all, func(a, b entry) int {
		if c := a.rank - b.rank; c != 0 {
			return c
		}
		if c := strings.Compare(a.step.For.ID, b.step.For.ID); c != 0 {
			return c
		}
		return a.seq - b.seq
	})
	p := Plan{Steps: make([]Step, len(all))}
	for i, e := range all {
		p.Steps[i] = e.step
	}
	p.Hash = hash(p.Steps)
	return p
}

func ranksOf(part []Step) []int {
	ranks := make([]int, len(part))
	rank := 4
	for _, s := range part {
		switch s.Kind {
		case Deactivated, Deleted, RemoveMembers:
			rank = 2
		case Lookup, Read, Adopt, Create, Reactivate:
			if rank == 4 {
				rank = 3
			}
		}
	}
	linked := !slices.ContainsFunc(part, func(s Step) bool { return s.Kind == Adopt || s.Kind == Create })
	for i, s := range part {
		switch {
		case s.Kind == Blocked:
			ranks[i] = 8
		case s.For.Type == scim.User:
			ranks[i] = rank
		case s.Kind == RemoveMembers && linked:
			ranks[i] = 1
		case s.Kind == AddMembers:
			ranks[i] = 6
		case s.Kind == Update && s.Method == http.MethodPut:
			ranks[i] = 6 // brings members in, who must exist
		case s.Kind == Create && len(s.Members) > 0:
			ranks[i] = 5
		case s.Kind == Deleted:
			ranks[i] = 7
		default:
			ranks[i] = 5
		}
	}
	return ranks
}

// hash is over canonical JSON: fields in the order of Step, object keys sorted.
func hash(steps []Step) string {
	h := sha256.New()
	e := json.NewEncoder(h)
	for _, s := range steps {
		s.For.Label, s.On.Label, s.Reason = "", "", ""
		s.Members = slices.Clone(s.Members)
		for i := range s.Members {
			s.Members[i].Label = ""
		}
		if s.On.Type == scim.Group && s.Method == http.MethodPut {
			s.Changes = nil // the body says it; these hold labels
		}
		if err := e.Encode(s); err != nil {
			// Only a value that no mapping can give, a channel or the like.
			fmt.Fprintf(h, "%v", s)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Empty tells whether there is nothing to do: no step but blocked ones.
func (p Plan) Empty() bool {
	return !slices.ContainsFunc(p.Steps, func(s Step) bool { return s.Kind != Blocked })
}

// Tally counts the operations on objects of one type.
type Tally struct {
	Create     int `json:"create"`
	Adopt      int `json:"adopt"`
	Update     int `json:"update"`
	Reactivate int `json:"reactivate"`
	Deactivate int `json:"deactivate"`
	Delete     int `json:"delete"`
}

// Counts sums a plan up.
type Counts struct {
	Users          Tally `json:"users"`
	Groups         Tally `json:"groups"`
	MembersAdded   int   `json:"membersAdded"`
	MembersRemoved int   `json:"membersRemoved"`
	Lookups        int   `json:"lookups"` // objects of which more must be known first
	Blocked        int   `json:"blocked"`
	Guarded        int   `json:"guarded"`
	Writes         int   `json:"writes"` // requests that change something
}

// Counts sums the plan up.
func (p Plan) Counts() Counts {
	var c Counts
	for _, s := range p.Steps {
		t := &c.Users
		if s.On.Type == scim.Group {
			t = &c.Groups
		}
		switch s.Kind {
		case Lookup, Read:
			c.Lookups++
		case Adopt:
			t.Adopt++
		case Create:
			t.Create++
			c.MembersAdded += len(s.Members)
		case Update:
			t.Update++
		case Reactivate:
			t.Reactivate++
		case Deactivated:
			t.Deactivate++
		case Deleted:
			t.Delete++
		case AddMembers:
			c.MembersAdded += len(s.Members)
		case RemoveMembers:
			c.MembersRemoved += len(s.Members)
		case Blocked:
			c.Blocked++
		}
		if s.Guarded {
			c.Guarded++
		}
		if s.Writes() {
			c.Writes++
		}
	}
	return c
}

// Guard holds a plan that takes away more than usual. A limit of zero is off.
type Guard struct {
	// MaxCount is the most deactivations and deletions in one plan.
	MaxCount int
	// MaxPercent is the most of them in percent of the objects that are linked
	// at the target. It holds nothing of up to Floor, so that one leaver of
	// three people is no alarm.
	MaxPercent int
	Floor      int
}

// Held tells whether a plan needs a person's approval, and why. linked is the
// number of users and groups at the target that are ours.
func (g Guard) Held(p Plan, linked int) (reason string, held bool) {
	c := p.Counts()
	if c.Guarded > 0 {
		return fmt.Sprintf("%d steps delete a group at the target, which can take licences and permissions away.", c.Guarded), true
	}
	return g.Exceeded(c.Users.Deactivate+c.Users.Delete+c.Groups.Delete, linked)
}

// GuardFloor is how many deactivations and deletions a percentage never holds.
const GuardFloor = 10

// Exceeded tells whether so many deactivations and deletions, of linked objects, need a
// person's approval, and why.
func (g Guard) Exceeded(losses, linked int) (reason string, held bool) {
	switch {
	case g.MaxCount > 0 && losses > g.MaxCount:
		return fmt.Sprintf("%d deactivations or deletions are more than the limit of %d.", losses, g.MaxCount), true
	case g.MaxPercent > 0 && losses > g.Floor && losses*100 > g.MaxPercent*linked:
		return fmt.Sprintf("%d deactivations or deletions of %d are more than the limit of %d %%.", losses, linked, g.MaxPercent), true
	default:
		return "", false
	}
}
