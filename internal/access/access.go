// Package access says who acts and what they may do. It is pure: it hides the table of roles
// and permissions behind one question, Allow.
package access

import (
	"slices"

	"github.com/latchkey-idp/latchkey/internal/problem"
)

// Kind says what sort of actor does something.
type Kind string

// The kinds of actor.
const (
	Person Kind = "person"
	APIKey Kind = "api_key"
	System Kind = "system"
)

// Role is what an actor is trusted with. The empty role may do nothing but look after its own
// account.
type Role string

// The roles, strongest first.
const (
	Owner         Role = "owner"
	Administrator Role = "administrator"
	HelpDesk      Role = "help_desk"
	ReadOnly      Role = "read_only"
	None          Role = ""
)

// Roles lists the roles that can be given, strongest first.
func Roles() []Role { return []Role{Owner, Administrator, HelpDesk, ReadOnly} }

// Valid reports whether r is a role that exists (None included).
func (r Role) Valid() bool { return r == None || slices.Contains(Roles(), r) }

// Actor is who does something, from where, and under which correlation id. It is passed
// explicitly to every domain method.
type Actor struct {
	Kind Kind
	// ID is the person's or API key's id; empty for the system.
	ID string
	// Name is what people know the actor by (e-mail, key name, "system").
	Name string
	Role Role
	// Address is the source IP address, without port; empty for the system.
	Address string
	// Correlation ties together everything that one request caused.
	Correlation string
}

// SystemActor returns the actor of work that the program does by itself.
func SystemActor(correlation string) Actor {
	return Actor{Kind: System, Name: "system", Role: Owner, Correlation: correlation}
}

// Permission names one thing that can be allowed.
type Permission string

// The permissions. Reading is granted apart from changing, so that an auditor can look at
// everything and break nothing.
const (
	ReadDirectory      Permission = "directory.read"
	ManageDirectory    Permission = "directory.manage"
	SuspendUser        Permission = "user.suspend"
	ResetSignIn        Permission = "user.reset_sign_in"
	ReadApplications   Permission = "application.read"
	ManageApplications Permission = "application.manage"
	RunProvisioning    Permission = "provisioning.run"
	ReadEvents         Permission = "event.read"
	ManageSettings     Permission = "settings.manage"
	ManageRoles        Permission = "role.manage"
	ManageAPIKeys      Permission = "api_key.manage"
)

var granted = map[Role][]Permission{
	Owner: {
		ReadDirectory, ManageDirectory, SuspendUser, ResetSignIn, ReadApplications, ManageApplications,
		RunProvisioning, ReadEvents, ManageSettings, ManageRoles, ManageAPIKeys,
	},
	Administrator: {
		ReadDirectory, ManageDirectory, SuspendUser, ResetSignIn, ReadApplications, ManageApplications,
		RunProvisioning, ReadEvents, ManageSettings, ManageAPIKeys,
	},
	HelpDesk: {ReadDirectory, SuspendUser, ResetSignIn, ReadApplications, ReadEvents},
	ReadOnly: {ReadDirectory, ReadApplications, ReadEvents},
}

// Can reports whether role r holds permission p.
func (r Role) Can(p Permission) bool { return slices.Contains(granted[r], p) }

// AtLeast reports whether r is as strong as other. It decides who may hand out or touch a role.
func (r Role) AtLeast(other Role) bool {
	rank := func(x Role) int {
		if i := slices.Index(Roles(), x); i >= 0 {
			return i
		}
		return len(Roles())
	}
	return rank(r) <= rank(other)
}

// Allow returns nil if the actor may do p, and a Forbidden error that names what is missing
// otherwise.
func Allow(by Actor, p Permission) error {
	if by.Role.Can(p) {
		return nil
	}
	return problem.New(problem.Forbidden, "Your role doesn't allow this (%s). Ask an owner or administrator.", p)
}
