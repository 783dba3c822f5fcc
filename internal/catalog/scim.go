package catalog

import "time"

// SCIM is what is known of a product as a SCIM 2.0 service provider (RFC 7643, RFC 7644).
type SCIM struct {
	// BaseURL describes the input for the base URL; resources hang directly under it.
	BaseURL Field `yaml:"baseURL"`
	// Token describes the input for the bearer token.
	Token TokenFacts `yaml:"token"`
	// ContentType is sent with a body; Accept with every request.
	ContentType string `yaml:"contentType"`
	Accept      string `yaml:"accept"`
	// Discovery tells which of the discovery resources of RFC 7644 §4 are served.
	Discovery DiscoveryFacts `yaml:"discovery"`
	Users     UserFacts      `yaml:"users"`
	Groups    GroupFacts     `yaml:"groups"`
	Page      PageFacts      `yaml:"page"`
	Rate      RateFacts      `yaml:"rate"`
	Size      SizeFacts      `yaml:"size"`
	// Mapping is the default rows; Target is a SCIM path.
	Mapping []Row   `yaml:"mapping"`
	Quirks  []Quirk `yaml:"quirks"`
}

// TokenFacts is what is known of the credential.
type TokenFacts struct {
	Field `yaml:",inline"`
	// Scheme is how requests are authorized with it.
	Scheme TokenScheme `yaml:"scheme"`
	// TokenURL is where TokenAccount gets access tokens; empty for TokenBearer.
	TokenURL string `yaml:"tokenURL"`
	// LifetimeDays is how long a new token lives, 0 if it has no known end.
	LifetimeDays int `yaml:"lifetimeDays"`
	// ShownOnce is true when the product shows the token only at its creation.
	ShownOnce bool `yaml:"shownOnce"`
	// RenewalKillsOld is true when making a new token ends the old one at once.
	RenewalKillsOld bool `yaml:"renewalKillsOld"`
	// WarnDays are how many days before the end to remind the administrator.
	WarnDays []int `yaml:"warnDays"`
}

// TokenScheme is how requests are authorized.
type TokenScheme string

// The schemes.
const (
	// TokenBearer sends the token itself (RFC 6750).
	TokenBearer TokenScheme = "bearer"
	// TokenAccount exchanges the token, which is account, client and client secret joined by
	// colons, for short-lived access tokens at TokenURL: an OAuth 2.0 grant (RFC 6749 §4.5) of
	// the type account_credentials, the client authenticated by HTTP Basic.
	TokenAccount TokenScheme = "account"
)

// Lifetime returns how long a new token lives, or zero if it has no known end.
func (t *TokenFacts) Lifetime() time.Duration {
	return time.Duration(t.LifetimeDays) * 24 * time.Hour
}

// DiscoveryFacts tells which discovery resources are served and can be believed.
type DiscoveryFacts struct {
	ServiceProviderConfig bool `yaml:"serviceProviderConfig"`
	Schemas               bool `yaml:"schemas"`
	ResourceTypes         bool `yaml:"resourceTypes"`
}

// WriteMethod is how a change to an existing resource is sent.
type WriteMethod string

// The methods.
const (
	WritePatch WriteMethod = "patch"
	WritePut   WriteMethod = "put"
)

// DeactivateMethod is how an account is switched off.
type DeactivateMethod string

// The methods.
const (
	// DeactivateByActive sends active: false.
	DeactivateByActive DeactivateMethod = "active"
	// DeactivateByDelete sends DELETE, because the product knows no active: false.
	DeactivateByDelete DeactivateMethod = "delete"
)

// UserFacts is how the product treats users.
type UserFacts struct {
	// Match are the attributes by which an existing account is looked up, in order. Each is
	// among Filters.
	Match []string `yaml:"match"`
	// Filters are the attributes for which `attribute eq "value"` works.
	Filters []string `yaml:"filters"`
	// Update is how changes are sent.
	Update WriteMethod `yaml:"update"`
	// PutFor are attributes whose change is sent by PUT of the whole resource although
	// Update is patch.
	PutFor []string `yaml:"putFor"`
	// PatchFor is [active] where active goes by PATCH although Update is put.
	PatchFor []string `yaml:"patchFor"`
	// PutClearsOmitted is true when a PUT clears what it leaves out, as RFC 7644 §3.5.1 says.
	PutClearsOmitted bool `yaml:"putClearsOmitted"`
	// NeverUnchanged are attributes that the product refuses when they are sent with the
	// value they have.
	NeverUnchanged []string `yaml:"neverUnchanged"`
	// Fixed are attributes that the product takes when an account is made and refuses, ignores
	// or does not give back later: they go into the create and are left alone from then on.
	Fixed []string `yaml:"fixed"`
	// ReadOnly are attributes that come back and that a PUT must not carry along.
	ReadOnly []string `yaml:"readOnly"`
	// Deactivate is how leavers are switched off.
	Deactivate DeactivateMethod `yaml:"deactivate"`
	// Delete tells whether DELETE may be offered as an explicit choice.
	Delete bool `yaml:"delete"`
	// DeleteEffect says in words what DELETE does there, for the person who chooses it.
	DeleteEffect string `yaml:"deleteEffect"`
	// DeactivateEffect says in words what active: false does there.
	DeactivateEffect string `yaml:"deactivateEffect"`
	// DeleteKeepsID is true when a user made again after DELETE gets the old id back.
	DeleteKeepsID bool `yaml:"deleteKeepsID"`
	// Required are attributes without which a create is refused, beside schemas.
	Required []string `yaml:"required"`
	// Projection tells whether `attributes` and `excludedAttributes` work on users.
	Projection bool `yaml:"projection"`
	// EmptyMeansAbsent is true when the product gives "" for a value it does not have.
	EmptyMeansAbsent bool `yaml:"emptyMeansAbsent"`
	// Extensions lists the extension attributes that the product keeps, by URN.
	Extensions []ExtensionFacts `yaml:"extensions"`
}

// ExtensionFacts lists the attributes of one schema extension that a product keeps.
type ExtensionFacts struct {
	URN        string   `yaml:"urn"`
	Attributes []string `yaml:"attributes"`
	// ReadOnly is true when the product sets the values and ignores ours.
	ReadOnly bool `yaml:"readOnly"`
}

// MemberRemoval is the form of a PATCH that takes members out of a group.
type MemberRemoval string

// The forms.
const (
	// RemoveByFilter sends path `members[value eq "id"]`, RFC 7644 §3.5.2.2.
	RemoveByFilter MemberRemoval = "filter"
	// RemoveByValue sends path `members` with a value list.
	RemoveByValue MemberRemoval = "value"
)

// GroupFacts is how the product treats groups.
type GroupFacts struct {
	// Supported is false when the product takes users only; nothing else counts then.
	Supported bool `yaml:"supported"`
	// Match and Filters are as for users.
	Match   []string `yaml:"match"`
	Filters []string `yaml:"filters"`
	// Rename tells whether displayName can be changed.
	Rename bool `yaml:"rename"`
	// RenameAdvice says what to do where Rename is false.
	RenameAdvice string `yaml:"renameAdvice"`
	// Required are attributes without which a create is refused, beside displayName:
	// "externalId" and "members" are known.
	Required []string `yaml:"required"`
	// MembersOnCreate tells whether members in the POST can be relied on.
	MembersOnCreate bool `yaml:"membersOnCreate"`
	// MemberUpdate is how membership is changed.
	MemberUpdate WriteMethod `yaml:"memberUpdate"`
	// MemberBatch is how many members go into one PATCH operation.
	MemberBatch int `yaml:"memberBatch"`
	// MemberRemoval is the form in which members are removed.
	MemberRemoval MemberRemoval `yaml:"memberRemoval"`
	// MembersInList tells whether group lists carry the members.
	MembersInList bool `yaml:"membersInList"`
	// MembersHidden is true when no answer carries the members, so that membership can't be
	// read back and what is remembered of acknowledged writes has to do.
	MembersHidden bool `yaml:"membersHidden"`
	// ExcludeMembers tells whether excludedAttributes=members works on groups.
	ExcludeMembers bool `yaml:"excludeMembers"`
	// ExternalID tells whether the product keeps externalId on groups.
	ExternalID bool `yaml:"externalID"`
	// Nested tells whether a group may be a member.
	Nested bool `yaml:"nested"`
	// Delete tells whether DELETE may be offered; DeleteEffect says what it does there.
	Delete       bool   `yaml:"delete"`
	DeleteEffect string `yaml:"deleteEffect"`
	// Reserved are name patterns of the product's own groups, which cannot be synced.
	Reserved []Check `yaml:"reserved"`
}

// Warnings returns what is known to go wrong with a group of that name, or nil.
func (g *GroupFacts) Warnings(name string) []string {
	f := Field{Checks: g.Reserved}
	return f.Warnings(name)
}

// PageFacts is how lists are paged (RFC 7644 §3.4.2.4).
type PageFacts struct {
	// Cursor is true when lists go on by cursor and nextCursor (RFC 9865) and startIndex is
	// ignored.
	Cursor bool `yaml:"cursor"`
	// Max is the most resources that one page carries, whatever count asks for.
	Max int `yaml:"max"`
	// ItemsPerPageTrusted is false when itemsPerPage is not the number returned.
	ItemsPerPageTrusted bool `yaml:"itemsPerPageTrusted"`
	// ConfigTrusted is false when filter.maxResults of ServiceProviderConfig is wrong.
	ConfigTrusted bool `yaml:"configTrusted"`
	// Sort tells whether sortBy works.
	Sort bool `yaml:"sort"`
}

// RateFacts are the limits that we keep by ourselves; an application may change them.
type RateFacts struct {
	// PerSecond is the number of requests per second, Burst how many may go at once.
	PerSecond float64 `yaml:"perSecond"`
	Burst     int     `yaml:"burst"`
	// Concurrency is how many requests may be under way at once.
	Concurrency int `yaml:"concurrency"`
	// Published is true when the product publishes its limit; else ours is a guess.
	Published bool `yaml:"published"`
	// Headers are the response headers that tell when to go on, most telling first.
	Headers []string `yaml:"headers"`
}

// SizeFacts are the product's limits of size; 0 means unknown.
type SizeFacts struct {
	Users           int `yaml:"users"`
	Groups          int `yaml:"groups"`
	MembersPerGroup int `yaml:"membersPerGroup"`
	Memberships     int `yaml:"memberships"`
}
