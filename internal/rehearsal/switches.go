package rehearsal

import "time"

// Switches choose between behaviours where the public material leaves more than one possible, and set limits.
type Switches struct {
	// LenientRename ignores a changed group displayName with 200; otherwise it is refused with 400 mutability.
	// A group is never renamed.
	LenientRename bool `json:"lenientRename"`
	// RefuseSameEmail is defect ID-8027: a PATCH that replaces emails by the same address answers 400.
	RefuseSameEmail bool `json:"refuseSameEmail"`
	// IgnoreUnknownMembers skips unknown ids in a group PATCH; otherwise 404.
	IgnoreUnknownMembers bool `json:"ignoreUnknownMembers"`
	// KeepMembersOnCreate honours members in POST /Groups; otherwise they are dropped silently.
	KeepMembersOnCreate bool `json:"keepMembersOnCreate"`
	// UniqueExternalID refuses a second user with the same externalId with 409.
	UniqueExternalID bool `json:"uniqueExternalId"`
	// IgnoreUnknownPaths skips PATCH operations on attributes that the service doesn't have; otherwise 400.
	IgnoreUnknownPaths bool `json:"ignoreUnknownPaths"`
	// RequireSchemas refuses a user or group whose body names no schemas.
	RequireSchemas bool `json:"requireSchemas"`
	// UnknownDirectory404 answers 404 for an unknown directory id; otherwise 401.
	UnknownDirectory404 bool `json:"unknownDirectory404"`
	// NameInGroupConflict puts the name in brackets into the 409 of a duplicate group.
	NameInGroupConflict bool `json:"nameInGroupConflict"`
	// CheckIssuer refuses an assertion whose Issuer isn't the configured identity-provider entity ID.
	CheckIssuer bool `json:"checkIssuer"`
	// RefuseSecondAccount refuses a SAML response in a browser that is signed in to another account.
	RefuseSecondAccount bool `json:"refuseSecondAccount"`

	// MaxUsers, MaxGroups and MaxMembers limit one directory and one group; 0 means the hard maximum.
	MaxUsers   int `json:"maxUsers"`
	MaxGroups  int `json:"maxGroups"`
	MaxMembers int `json:"maxMembers"`
	// PropagationDelay is the time between a SCIM write and its effect on organization, site and products.
	PropagationDelay time.Duration `json:"propagationDelay"`
	// ClockSkew is what is tolerated on assertion times; 3 minutes by default.
	ClockSkew time.Duration `json:"clockSkew"`
}

// The documented hard maxima of one directory.
const (
	hardMaxUsers   = 1_000_000
	hardMaxGroups  = 250_000
	hardMaxMembers = 290_000
)

// DefaultSwitches is the behaviour that the material makes most likely, and where it is silent the stricter one.
func DefaultSwitches() Switches {
	return Switches{
		RefuseSameEmail:     true,
		UniqueExternalID:    true,
		CheckIssuer:         true,
		RefuseSecondAccount: true,
		ClockSkew:           3 * time.Minute,
	}
}

func limit(n, hard int) int {
	if n > 0 {
		return n
	}
	return hard
}

// Switches reads the current behaviour.
func (s *Site) Switches() Switches {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.st.switches
}

// SetSwitches changes the behaviour from the next request on.
func (s *Site) SetSwitches(sw Switches) {
	s.lock()
	defer s.unlock()
	s.st.switches = sw
}
