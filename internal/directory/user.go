package directory

import (
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
)

// UserID identifies a person for ever. It is never given to another one.
type UserID string

// State says whether a person has access.
type State string

// The states.
const (
	// Staged people have no access yet and are sent to no application.
	Staged State = "staged"
	Active State = "active"
	// Suspended people have lost their access, here and at every application.
	Suspended State = "suspended"
)

// Valid reports whether s is a state that exists.
func (s State) Valid() bool { return s == Staged || s == Active || s == Suspended }

// PasswordStatus says how it stands with a person's password. It is apart from State: an
// expired password takes nobody's access at an application away.
type PasswordStatus string

// The password statuses.
const (
	PasswordPending PasswordStatus = "pending"
	PasswordCurrent PasswordStatus = "active"
	PasswordExpired PasswordStatus = "expired"
)

// Phone is one telephone number (RFC 7643 §4.1.2).
type Phone struct {
	Type    string `json:"type,omitempty"`
	Value   string `json:"value"`
	Primary bool   `json:"primary,omitempty"`
}

// Address is one postal address (RFC 7643 §4.1.2).
type Address struct {
	Type       string `json:"type,omitempty"`
	Street     string `json:"street,omitempty"`
	Locality   string `json:"locality,omitempty"`
	Region     string `json:"region,omitempty"`
	PostalCode string `json:"postalCode,omitempty"`
	// Country is an ISO 3166-1 alpha-2 code.
	Country string `json:"country,omitempty"`
	Primary bool   `json:"primary,omitempty"`
}

// Profile is what is known of a person apart from how they sign in.
type Profile struct {
	GivenName      string    `json:"givenName,omitempty"`
	MiddleName     string    `json:"middleName,omitempty"`
	FamilyName     string    `json:"familyName,omitempty"`
	DisplayName    string    `json:"displayName,omitempty"`
	AlternateEmail string    `json:"alternateEmail,omitempty"`
	Title          string    `json:"title,omitempty"`
	Department     string    `json:"department,omitempty"`
	Company        string    `json:"company,omitempty"`
	CostCentre     string    `json:"costCentre,omitempty"`
	EmployeeID     string    `json:"employeeId,omitempty"`
	EmployeeType   string    `json:"employeeType,omitempty"`
	Location       string    `json:"location,omitempty"`
	ManagerID      UserID    `json:"managerId,omitempty"`
	Phones         []Phone   `json:"phones,omitempty"`
	Addresses      []Address `json:"addresses,omitempty"`
	// Locale and PreferredLanguage are BCP 47 tags, TimeZone a name of the IANA database.
	Locale            string `json:"locale,omitempty"`
	TimeZone          string `json:"timezone,omitempty"`
	PreferredLanguage string `json:"preferredLanguage,omitempty"`
	// Custom holds the organization's own attributes by key. A value is a string, bool, int64,
	// float64 or []string.
	Custom map[string]any `json:"custom,omitempty"`
}

// Attributes are what an administrator edits of a person. As JSON they are one flat object.
type Attributes struct {
	// Username is unique without regard to case. Left empty for a new person, it becomes the
	// e-mail address.
	Username string `json:"username"`
	// Email is unique and kept in lower case.
	Email string `json:"email"`
	Profile
}

// User is one person.
type User struct {
	ID UserID
	Attributes
	State          State
	PasswordStatus PasswordStatus
	Role           access.Role
	// Version rises with every change of attributes, state or role.
	Version int64
	// SessionEpoch rises when all sessions end; a session of an older epoch has ended.
	SessionEpoch int64
	CreatedAt    time.Time
	UpdatedAt    time.Time
	// SuspendedAt is zero unless the person is suspended.
	SuspendedAt time.Time
}

// Name returns what people call the person: the display name, else given and family name, else
// the user name.
func (a Attributes) Name() string {
	if a.DisplayName != "" {
		return a.DisplayName
	}
	if n := strings.TrimSpace(a.GivenName + " " + a.FamilyName); n != "" {
		return n
	}
	if a.Username != "" {
		return a.Username
	}
	return a.Email
}

// NewUser is what a person is created from.
type NewUser struct {
	Attributes
	// State is Staged when empty.
	State State
	// Groups are those that the person becomes a member of.
	Groups []GroupID
}

// UserQuery narrows a list of people; zero fields don't.
type UserQuery struct {
	// Text is looked for in names, user name, e-mail and employee id, without case and accents.
	Text    string
	State   State
	GroupID GroupID
	Role    access.Role
	// Cursor continues a list: Next of the page before.
	Cursor string
	// Limit is the size of a page, 50 when zero, at most 1000.
	Limit int
}
