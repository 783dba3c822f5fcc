package app

import (
	"time"

	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
)

// ID identifies an application for ever.
type ID string

// Status is how it stands with one of an application's integrations.
type Status string

// The statuses. Incomplete is derived: something needed is missing. Stopped is for provisioning only: the target refuses
// us, and an administrator has to act.
const (
	Off        Status = "off"
	Incomplete Status = "incomplete"
	Active     Status = "active"
	Paused     Status = "paused"
	Stopped    Status = "stopped"
)

// Application is an instance of a connector.
type Application struct {
	ID ID
	// Connector is the key of its connector in the catalogue.
	Connector string
	Attributes
	// HasLogo tells whether Applications.Logo gives a picture; else the tile shows the connector's drawing and Colour.
	HasLogo bool
	// Slug is the last part of the IdP URL, "" if the connector has no sign-on. OldSlugs answer too, until dropped.
	Slug     string
	OldSlugs []string
	SAML     SAML
	SCIM     SCIM
	// Groups is how many groups are bound.
	Groups int
	// Version rises with every change of attributes or settings.
	Version   int64
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Attributes are what an administrator edits of the application itself.
type Attributes struct {
	// Label is the name that people see, unique without regard to case.
	Label       string `json:"label"`
	Description string `json:"description"`
	// Colour is the tile's, as #rrggbb. Set to "" it becomes the connector's.
	Colour        string `json:"colour"`
	PortalVisible bool   `json:"portalVisible"`
	// BookmarkURL is where the tile leads when there is no sign-on.
	BookmarkURL string `json:"bookmarkUrl"`
}

// NewApplication is what an application is created from.
type NewApplication struct {
	// Connector is a key of the catalogue.
	Connector string
	Attributes
	// Logo is a PNG, JPEG, WebP or GIF picture, or empty. LogoType is what its sender calls it; the content decides.
	Logo     []byte
	LogoType string
	// Slug is the last part of the IdP URL; left empty it is the connector's, with -2, -3 … if that is taken.
	Slug string
}

// ACS is one assertion consumer service of the service provider.
type ACS struct {
	Index int `json:"index"`
	// URL is the full address with its query string: answers go there and nowhere else.
	URL     string `json:"url"`
	Default bool   `json:"default,omitempty"`
}

// SAMLSettings are what an administrator edits of sign-on.
type SAMLSettings struct {
	// IDPEntityID is how we call ourselves towards this application. Set to "" it becomes our metadata URL.
	IDPEntityID string `json:"idpEntityId"`
	SPEntityID  string `json:"spEntityId"`
	ACS         []ACS  `json:"acs"`
	// DefaultRelayState goes with sign-on that starts at our portal: usually the page to land on.
	DefaultRelayState string `json:"defaultRelayState"`
	// Mapping is what differs from the connector's subject and attributes.
	Mapping catalog.MappingOverride `json:"mapping"`
	// SignAssertion and SignResponse say what is signed; at least one of them.
	SignAssertion bool `json:"signAssertion"`
	SignResponse  bool `json:"signResponse"`
	// SignatureAlgorithm is an XML signature algorithm URI; "" is RSA-SHA256.
	SignatureAlgorithm string `json:"signatureAlgorithm"`
	// RequireSignedRequests refuses requests that aren't signed with one of SPCertificates (PEM).
	RequireSignedRequests bool     `json:"requireSignedRequests"`
	SPCertificates        []string `json:"spCertificates"`
	// AllowSHA1 is the exception for one application that can't do better: SHA-1 may be chosen for our signatures, and
	// is accepted in the service provider's.
	AllowSHA1 bool `json:"allowSha1"`
	// EncryptAssertions sends the assertion encrypted for EncryptionCertificate (PEM), an RSA one of the service provider.
	EncryptAssertions     bool   `json:"encryptAssertions"`
	EncryptionCertificate string `json:"encryptionCertificate"`
	// EncryptionAlgorithm is an XML encryption algorithm URI; "" is AES-256-GCM.
	EncryptionAlgorithm string `json:"encryptionAlgorithm"`
	// SLOURL is the service provider's single logout service; "" if it has none. SLOBinding is how it takes messages
	// ("" is HTTP-Redirect), SLOResponseURL where it takes our answers, if elsewhere.
	SLOURL         string `json:"sloUrl"`
	SLOBinding     string `json:"sloBinding"`
	SLOResponseURL string `json:"sloResponseUrl"`
	// SendSessionEnd tells the service provider when our session ends at the latest (SessionNotOnOrAfter).
	SendSessionEnd bool `json:"sendSessionEnd"`
}

// DefaultACS returns the assertion consumer service of sign-on that starts with us; false if there is none.
func (s *SAMLSettings) DefaultACS() (ACS, bool) {
	for _, a := range s.ACS {
		if a.Default {
			return a, true
		}
	}
	return ACS{}, false
}

// SAML is an application's sign-on.
type SAML struct {
	SAMLSettings
	// Offered tells whether the connector has sign-on by SAML at all.
	Offered bool
	Status  Status
	// Missing names, in words for the administrator, what must be entered before sign-on can be activated.
	Missing     []string
	ActivatedAt time.Time
}

// OnLeave says what happens to the account of a person who is no longer entitled.
type OnLeave string

// What can happen.
const (
	Deactivate OnLeave = "deactivate"
	Remove     OnLeave = "delete"
)

// Guard holds a plan for approval when it would deactivate or delete more accounts than this. Zero switches that half
// off.
type Guard struct {
	MaxCount   int `json:"maxCount"`
	MaxPercent int `json:"maxPercent"`
}

// SCIMSettings are what an administrator edits of provisioning. The token isn't among them: it goes in and never out.
type SCIMSettings struct {
	// BaseURL is where /Users and /Groups hang, without a slash at the end.
	BaseURL string `json:"baseUrl"`
	// ManageGroups also sends the bound groups and their members.
	ManageGroups bool `json:"manageGroups"`
	// Mapping is what differs from the connector's.
	Mapping catalog.MappingOverride `json:"mapping"`
	// ScopeFilter is an expression over `user` that narrows who is provisioned among the members of bound groups; "" is
	// all of them. Whoever it leaves out is treated as a leaver. It doesn't touch sign-on.
	ScopeFilter string `json:"scopeFilter"`
	// Match are the attributes there by which the account of somebody is looked up of whom nothing is known yet, in this
	// order; empty means the connector's. Each is one that the product can filter by.
	Match   []string `json:"match"`
	OnLeave OnLeave  `json:"onLeave"`
	Guard   Guard    `json:"guard"`
	// TokenExpiresAt is when the token ends, zero if unknown.
	TokenExpiresAt time.Time `json:"tokenExpiresAt,omitzero"`
	// RatePerSecond, Burst and Concurrency bound our requests over all replicas; zero means the connector's.
	RatePerSecond float64 `json:"ratePerSecond"`
	Burst         int     `json:"burst"`
	Concurrency   int     `json:"concurrency"`
}

// SCIM is an application's provisioning.
type SCIM struct {
	SCIMSettings
	// Offered tells whether the connector can be provisioned at all.
	Offered  bool
	TokenSet bool
	Status   Status
	// Reason says why it has this status, e.g. what the target answered when it was stopped.
	Reason string
	// Since is when the status was last set; zero if never.
	Since time.Time
	// Generation rises with every change of mapping, scope or bindings: what was in sync before has to be compared again.
	Generation int64
	// Missing names what must be entered before provisioning can be activated.
	Missing []string
}

// URLs are the addresses that a service provider is given.
type URLs struct {
	SSO string
	// SLO takes logout messages of both bindings.
	SLO         string
	Metadata    string
	Certificate string
}

// Warning is a doubt about one setting. It doesn't keep anything from being saved.
type Warning struct {
	// Field names the setting as in the JSON forms above, e.g. "saml.acs[0].url".
	Field string `json:"field"`
	Text  string `json:"text"`
}

// Query narrows a list of applications.
type Query struct {
	// Text is looked for in label, description, connector and slug, without case and accents.
	Text   string
	Cursor string
	// Limit is the size of a page, 50 when zero, at most 1000.
	Limit int
}

// UserApplication is an application that a person reaches by their groups.
type UserApplication struct {
	Application
	// Via are the person's groups that are bound to it.
	Via []directory.Group
}

// MetadataImport tells what came out of a service provider's metadata.
type MetadataImport struct {
	Application Application
	// Changes are the settings that changed, old and new; none if all was as before.
	Changes []Change
	// Notes are sentences about what was left out or should be looked at.
	Notes []string
}

// CertificateUpload is an administrator's own key pair.
type CertificateUpload struct {
	Certificate string
	PrivateKey  keys.Secret
}
