// Package plan decides what to write at a target: it hides every rule of
// provisioning behind pure functions from desired state, current state and the
// target's abilities to sorted steps.
//
//	      Person / Team             what should be (directory, bindings, mapping)
//	      PersonState / TeamState   what is there (remembered or read)
//	      Abilities                 what the target and the administrator allow
//	            │
//	            ▼
//	ForPerson, ForTeam ──▶ []Step ──▶ Build ──▶ Plan (order, counts, hash)
//
// A [Step] is one remote operation with its exact body, or a look-up, or a
// reason why nothing can be sent. Steps of one object are carried out in order.
// A step of kind [Lookup] or [Read] comes alone: what it finds goes into the
// state, and the object is planned again. After each acknowledged write the new
// state is given by [PersonState.After] or [TeamState.After]; planning with that
// state again gives no steps.
//
// The package has no clock, no logger and no network, and the same values always
// give the same steps in the same order.
package plan

import (
	"github.com/latchkey-idp/latchkey/internal/scim"
)

// Want says what should become of an object at the target.
type Want string

const (
	// Leave: nothing is sent. For a staged person, an unbound group, a group
	// while group management is off.
	Leave Want = "leave"
	// Present: it should exist (a person: active) with the desired values.
	Present Want = "present"
	// Gone: a person should have no access (not entitled any more, suspended,
	// deleted); a group was deleted in the directory.
	Gone Want = "gone"
)

// Knowledge says how well the current state is known.
type Knowledge string

const (
	// Unknown: never looked up. The zero value means the same.
	Unknown Knowledge = "unknown"
	// Absent: the target was asked, and it is not there.
	Absent Knowledge = "absent"
	// Remembered: there, as acknowledged answers left it.
	Remembered Knowledge = "remembered"
	// Fresh: there, as just read from the target in full. Needed before a PUT,
	// which clears what it leaves out.
	Fresh Knowledge = "fresh"
	// Doubtful: a write was sent whose answer was lost. It is read or looked up
	// before anything else is written.
	Doubtful Knowledge = "doubtful"
)

// Ref names one object on both sides.
type Ref struct {
	Type   scim.ResourceType `json:"type"`
	ID     string            `json:"id,omitempty"`     // ours; "" when the object is not ours
	Remote string            `json:"remote,omitempty"` // the target's; "" while unknown
	Label  string            `json:"label,omitempty"`  // for people: a name or address
}

// Person is the desired state of one user.
type Person struct {
	ID    string // our immutable id, which is the externalId at the target
	Label string // for people
	Want  Want
	// Fault says, in a sentence for people, why it can't be worked out what the
	// person should be; it blocks. Only read when Want is Present.
	Fault string
	// Attributes come from the mapping. "active" is set here by Want, and
	// "externalId" to ID unless the mapping gives one. Only read when Want is
	// Present.
	Attributes scim.Desired
	// Kept are paths at which the target may hold something else.
	Kept map[string]Kept
}

// Kept is a difference that is left as it is at the target, for as long as the mapping gives what
// it gave when the difference was found: a newer value is written.
type Kept struct {
	Ours   any `json:"ours"`
	Theirs any `json:"theirs"`
	// Any tells that whatever the target has is left, and not only Theirs.
	Any bool `json:"any,omitempty"`
	// Reported tells that nobody chose it: it is left only while other values are put right, and
	// is a difference all the same.
	Reported bool `json:"reported,omitempty"`
}

// PersonState is what is known of one user at the target.
type PersonState struct {
	Known Knowledge
	// Linked: Remote was acknowledged to be this person before. False for an
	// account that a look-up just found.
	Linked   bool
	Remote   string
	Resource scim.Resource
	// Matches is how many accounts the look-up found; more than one blocks.
	Matches int
	// ClaimedBy is the label of another person who is linked to Remote; it
	// blocks.
	ClaimedBy string
	// Lost: somebody deleted it there, and only a person may have it made again.
	// It counts while Known is Absent.
	Lost bool
	// Groups are the managed groups (bound, linked, with management on) that
	// hold the person at the target, for taking leavers out.
	Groups []Ref
}

// Team is the desired state of one group.
type Team struct {
	ID   string
	Name string
	Want Want
	// Members are the entitled members, nested groups flattened. One without
	// Remote has no account yet: it is planned, and sent once it has.
	Members []Ref
	// Kept are remote user ids whose membership is left as it is there, while it is as here:
	// true, an account that should be a member; false, one that should be none.
	Kept map[string]bool
}

// TeamState is what is known of one group at the target.
type TeamState struct {
	Known     Knowledge
	Linked    bool
	Remote    string
	Name      string
	Members   []string      // remote user ids
	Resource  scim.Resource // only needed for targets without PATCH
	Matches   int
	ClaimedBy string
	// Lost is as of a person.
	Lost bool
	// People tells who is behind a remote user id, for labels. Optional.
	People map[string]Ref
	// MembersHidden: no answer of the target carries members, so that those remembered of
	// acknowledged writes are the best that is known.
	MembersHidden bool
}

// Leavers says what happens to people who lose access.
type Leavers string

// Ways to treat leavers. The zero value means Deactivate.
const (
	Deactivate Leavers = "deactivate"
	Delete     Leavers = "delete"
)

// Abilities are the facts of a connector and the choices of an administrator
// that decide which requests are sent. [Full] is a target that can do all.
type Abilities struct {
	// Patch: objects are changed by PATCH of what differs; else by PUT.
	Patch bool
	// PatchGroups: the same for groups.
	PatchGroups bool
	// ActiveByPatch: active is sent by PATCH although the rest goes by PUT.
	ActiveByPatch bool
	// EmailByPut: a change that touches emails is sent as PUT of the full
	// resource (Atlassian answers 400 to a PATCH of emails in some cases).
	EmailByPut bool
	// Fixed are attributes of users that the target takes in a POST only; a
	// difference in them is left alone.
	Fixed []string
	// FirstWrite are attributes of users that are written when an account is made, and are the
	// target's own affair from then on, also in a PUT.
	FirstWrite []string
	// MatchUsers are the attributes by which a user is looked up, in order, of
	// those that the target can filter by; "id" where the target takes our externalId for
	// its own id. Empty: users are found by listing.
	MatchUsers []string
	// MatchGroups: groups can be looked up by displayName.
	MatchGroups bool
	// ManageGroups: groups and memberships are managed at all.
	ManageGroups bool
	// RenameGroups: a changed displayName is accepted.
	RenameGroups bool
	// CreateWithMembers: a new group may bring members in its POST.
	CreateWithMembers bool
	// GroupRequired: attributes without which a new group is refused, of "externalId" (our id
	// is sent) and "members" (an empty list, if there are none yet).
	GroupRequired []string
	// MemberBatch is the most members in one request; 100 when zero.
	MemberBatch int
	// RemoveMembersByValue: members are removed by a list of values in place of
	// one filtered path for each.
	RemoveMembersByValue bool
	// Leavers: deactivate (default) or delete.
	Leavers Leavers
	// ReadOnly lists paths that a PUT must not carry along, besides meta and
	// groups.
	ReadOnly []string
}

// Full is a target that follows the RFCs.
func Full() Abilities {
	return Abilities{
		Patch: true, PatchGroups: true, MatchUsers: []string{"externalId", "userName"}, MatchGroups: true,
		ManageGroups: true, RenameGroups: true, CreateWithMembers: true, MemberBatch: 100, Leavers: Deactivate,
	}
}

// Kind says what a step is for.
type Kind string

const (
	// Lookup: find the object by Match, in order, until one is found.
	Lookup Kind = "lookup"
	// Read: get the object by its remote id.
	Read Kind = "read"
	// Adopt: link the object found to ours. Nothing is sent.
	Adopt Kind = "adopt"
	// Create by POST.
	Create Kind = "create"
	// Update by PATCH or PUT.
	Update Kind = "update"
	// Reactivate: an update that sets active to true.
	Reactivate Kind = "reactivate"
	// Deactivated sets active to false.
	Deactivated Kind = "deactivate"
	// Deleted removes the object at the target.
	Deleted Kind = "delete"
	// AddMembers and RemoveMembers change a group's members.
	AddMembers    Kind = "add_members"
	RemoveMembers Kind = "remove_members"
	// Blocked: nothing can be sent, for Reason. It stops no other step.
	Blocked Kind = "blocked"
)

// Reason codes of a blocked step.
const (
	MissingAttribute  = "missing_attribute"  // a required attribute has no value
	AmbiguousMatch    = "ambiguous_match"    // several remote objects match
	AlreadyClaimed    = "already_claimed"    // the remote object belongs to another of ours
	RenameUnsupported = "rename_unsupported" // the target can't rename groups
	BadMapping        = "bad_mapping"        // the mapping gives what can't be written
	BadScope          = "bad_scope"          // whether a person is in scope can't be said
	DeletedThere      = "deleted_there"      // somebody deleted it at the target
)

// AlternativeReplace is the act offered for a rename that the target can't do:
// create new, move members, delete old; see [ReplaceTeam].
const AlternativeReplace = "replace_group"

// AlternativeRecreate is the act offered for an object that was deleted at the target.
const AlternativeRecreate = "recreate"

// LostReason tells why an object that was deleted at the target isn't made again.
const LostReason = "It was deleted at the target, and isn't made again by itself."

// Match is one condition of a look-up.
type Match struct {
	Attribute string `json:"attribute"`
	Value     string `json:"value"`
}

// Filter is the condition as a SCIM filter.
func (m Match) Filter() scim.Filter { return scim.Eq(m.Attribute, m.Value) }

// Change is one difference, for people. A nil Old or New means no value.
type Change struct {
	Path string `json:"path"`
	Old  any    `json:"old,omitempty"`
	New  any    `json:"new,omitempty"`
}

// Step is one operation at the target, or a reason for none.
type Step struct {
	Kind Kind `json:"kind"`
	// For is the person or group whose state asks for the step; On is the
	// object that is read or written. They differ when a leaver is taken out of
	// a group.
	For Ref `json:"for"`
	On  Ref `json:"on"`
	// Method is the HTTP method, or "" when nothing is sent (Adopt, Blocked).
	Method string `json:"method,omitempty"`
	// Body is the exact body of a POST or PUT.
	Body scim.Resource `json:"body,omitempty"`
	// Operations are the exact operations of a PATCH, but for steps with
	// Members, whose body is made by [Step.Patch] from those with accounts.
	Operations []scim.Operation `json:"operations,omitempty"`
	Match      []Match          `json:"match,omitempty"`
	Changes    []Change         `json:"changes,omitempty"`
	Members    []Ref            `json:"members,omitempty"`
	// ByValue is how members are removed.
	ByValue bool `json:"byValue,omitempty"`
	// Code and Reason tell why a step is blocked; Alternative names an act that
	// a person may choose in its place.
	Code        string `json:"code,omitempty"`
	Reason      string `json:"reason,omitempty"`
	Alternative string `json:"alternative,omitempty"`
	// Guarded: a person has to agree, whatever the mass-change guard says.
	Guarded bool `json:"guarded,omitempty"`
}
