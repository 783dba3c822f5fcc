package catalog

import (
	"fmt"
	"regexp"
)

// Connector is one product as the catalogue knows it. Connectors are read from YAML and never
// change after Load; callers must not modify them.
type Connector struct {
	// Key is the stable identity, e.g. "atlassian-cloud". Applications refer to it.
	Key string `yaml:"key"`
	// Name is the product's name, e.g. "Atlassian Cloud".
	Name string `yaml:"name"`
	// Aliases are other names that an administrator may type, e.g. "Jira".
	Aliases []string `yaml:"aliases"`
	// Description is one or two sentences for the catalogue (at most 256 characters).
	Description string   `yaml:"description"`
	Category    Category `yaml:"category"`
	// Colour is the tile's colour as #rrggbb.
	Colour string `yaml:"colour"`
	// Logo is a plain SVG drawing of our own, checked when loaded: no script, style or reference.
	Logo string `yaml:"logo"`
	// Website is the product's address for the administrator, or empty for a generic connector.
	Website string `yaml:"website"`
	// Generic marks a connector for any product that has none of its own.
	Generic bool `yaml:"generic"`
	// Slug is the default last part of the IdP URL: /saml2/<slug>.
	Slug string `yaml:"slug"`
	// Label is the default display label of a new application.
	Label string `yaml:"label"`
	// SAML is nil when the product has no SAML sign-on.
	SAML *SAML `yaml:"saml"`
	// SCIM is nil when the product cannot be provisioned by SCIM.
	SCIM *SCIM `yaml:"scim"`
	// Bookmark is set for a tile that only opens an address.
	Bookmark *Bookmark `yaml:"bookmark"`
	Guide    Guide     `yaml:"guide"`
	// References are where the claims come from. Every Quirk names at least one.
	References []Reference `yaml:"references"`
}

// Category groups connectors in the catalogue.
type Category string

// The categories.
const (
	CategoryCollaboration  Category = "collaboration"
	CategoryDevelopment    Category = "development"
	CategoryInfrastructure Category = "infrastructure"
	CategoryBusiness       Category = "business"
	CategorySecurity       Category = "security"
	CategoryGeneric        Category = "generic"
)

// SAML is what is known of a product as a SAML service provider.
type SAML struct {
	NameID NameIDFacts `yaml:"nameID"`
	// Attributes are the default rows of the SAML mapping; Target is the attribute's Name.
	Attributes []Row `yaml:"attributes"`
	// GroupsUsed is false when the product ignores groups in the assertion.
	GroupsUsed bool `yaml:"groupsUsed"`
	// Sign is what we sign by default.
	Sign SignPart `yaml:"sign"`
	// SignatureAlgorithm is the default, an XML signature algorithm URI.
	SignatureAlgorithm string `yaml:"signatureAlgorithm"`
	// EncryptionSupported tells whether the product can read encrypted assertions.
	EncryptionSupported bool `yaml:"encryptionSupported"`
	// Certificates is how the product holds our certificate.
	Certificates CertificateFacts `yaml:"certificates"`
	// Setup is the order in which the two sides get their values.
	Setup SetupOrder `yaml:"setup"`
	// RequestsSigned tells whether the product signs its AuthnRequests.
	RequestsSigned Presence `yaml:"requestsSigned"`
	// SPInitiated, IdPInitiated and SingleLogout tell which flows the product has.
	SPInitiated  bool `yaml:"spInitiated"`
	IdPInitiated bool `yaml:"idpInitiated"`
	SingleLogout bool `yaml:"singleLogout"`
	// SPMetadata tells whether the product publishes SP metadata that we can read.
	SPMetadata bool `yaml:"spMetadata"`
	// IdPMetadata tells whether the product can read our metadata.
	IdPMetadata bool `yaml:"idpMetadata"`
	// JIT tells whether the product creates accounts at first sign-on.
	JIT bool `yaml:"jit"`
	// ClockSkewSeconds is the difference of clocks that the product tolerates, 0 if unknown.
	ClockSkewSeconds int `yaml:"clockSkewSeconds"`
	// RelayState is the default RelayState, e.g. "https://<site>.atlassian.net". Parts in
	// angle brackets are to be filled in by the administrator.
	RelayState string `yaml:"relayState"`
	// Fields describes the form's inputs.
	Fields SAMLFields `yaml:"fields"`
	Quirks []Quirk    `yaml:"quirks"`
}

// NameIDFacts is the default subject (saml-core §2.2.2) and what the product accepts.
type NameIDFacts struct {
	Source `yaml:",inline"`
	// Format is the default NameID format URI (saml-core §8.3).
	Format string `yaml:"format"`
	// Formats are the formats that the product accepts, Format among them.
	Formats []string `yaml:"formats"`
	Hint    string   `yaml:"hint"`
}

// SignPart is the part of the answer that carries our signature.
type SignPart string

// What can be signed.
const (
	SignAssertion SignPart = "assertion"
	SignResponse  SignPart = "response"
	SignBoth      SignPart = "both"
)

// CertificateFacts is how the product holds our signing certificate.
type CertificateFacts struct {
	// Slots is how many certificates the product holds at once. With one slot a renewal is
	// an instant swap on both sides.
	Slots int `yaml:"slots"`
	// Exact is true when the product compares the certificate and not only its key, so that
	// a new certificate over the same key is refused.
	Exact bool `yaml:"exact"`
	// Form is how the certificate is handed over.
	Form CertificateForm `yaml:"form"`
	// MinRSABits is the smallest RSA key that we recommend for this product.
	MinRSABits int `yaml:"minRSABits"`
	// Hint says how to put the certificate in, for the person.
	Hint string `yaml:"hint"`
}

// CertificateForm is how a product takes a certificate.
type CertificateForm string

// The forms.
const (
	CertificatePEM      CertificateForm = "pem"
	CertificateMetadata CertificateForm = "metadata"
	CertificateAny      CertificateForm = "any"
)

// SetupOrder is the order in which the two sides get each other's values.
type SetupOrder string

// The orders.
const (
	// SetupIdPFirst: the product shows its values only after it has ours, so sign-on is
	// saved in two halves.
	SetupIdPFirst SetupOrder = "idp-first"
	// SetupSPFirst: the product's values are known before.
	SetupSPFirst SetupOrder = "sp-first"
	// SetupAny: either order works.
	SetupAny SetupOrder = "any"
)

// TwoHalves reports whether sign-on must be savable before the SP's values are known.
func (s *SAML) TwoHalves() bool { return s.Setup == SetupIdPFirst }

// Presence says how often something happens.
type Presence string

// The presences.
const (
	Never    Presence = "never"
	Optional Presence = "optional"
	Always   Presence = "always"
)

// SAMLFields describes the inputs of the sign-on form.
type SAMLFields struct {
	IdPEntityID Field `yaml:"idpEntityID"`
	SPEntityID  Field `yaml:"spEntityID"`
	ACSURL      Field `yaml:"acsURL"`
	RelayState  Field `yaml:"relayState"`
}

// Field describes one input of a form: its words, and checks that warn about values which this
// product would not use.
type Field struct {
	// Label is the product's own word for the value, if it differs from ours.
	Label string `yaml:"label"`
	// Hint says where to find the value and what it looks like.
	Hint string `yaml:"hint"`
	// Placeholder is shown in the empty input.
	Placeholder string `yaml:"placeholder"`
	// Checks are tried in order on a value that is not empty.
	Checks []Check `yaml:"checks"`
	// Examples are values that pass every check; Wrong are values that fail at least one.
	// Both are verified when the file is loaded.
	Examples []string `yaml:"examples"`
	Wrong    []string `yaml:"wrong"`
}

// Check is one pattern (RE2 syntax) with its warning. Exactly one of Match and Avoid is set.
type Check struct {
	// Match must be found in the value; Avoid must not.
	Match string `yaml:"match"`
	Avoid string `yaml:"avoid"`
	// Warning is a sentence for the person: what looks wrong and what to do.
	Warning string `yaml:"warning"`

	re *regexp.Regexp // of whichever is set; compiled when the file is loaded
}

// maxPattern is the longest pattern, in bytes.
const maxPattern = 512

func (c *Check) compile() error {
	pattern := c.Match + c.Avoid
	if len(pattern) > maxPattern {
		return fmt.Errorf("is longer than %d bytes", maxPattern)
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return err
	}
	c.re = re
	return nil
}

// Warnings returns what looks wrong with value for this product, or nil. They are advice: a
// value with warnings may be saved. An empty value gives none.
func (f *Field) Warnings(value string) []string {
	if value == "" {
		return nil
	}
	var out []string
	for _, c := range f.Checks {
		if c.re != nil && c.re.MatchString(value) == (c.Avoid != "") {
			out = append(out, c.Warning)
		}
	}
	return out
}

// Bookmark is a tile that opens an address and nothing more.
type Bookmark struct {
	URL Field `yaml:"url"`
}

// Quirk is one thing that a product does differently from what its standard or its manual
// leads one to expect, and what Latchkey does about it.
type Quirk struct {
	// ID is stable, e.g. "emails-unchanged-patch".
	ID string `yaml:"id"`
	// Fact is what the product does; Measure is what Latchkey (or the administrator) does.
	Fact    string `yaml:"fact"`
	Measure string `yaml:"measure"`
	// Basis is how well the fact is known.
	Basis Basis `yaml:"basis"`
	// References are ids of Connector.References; at least one.
	References []string `yaml:"references"`
}

// Basis is how well a fact is known.
type Basis string

// The bases, from firm to weak.
const (
	// BasisDocumented: the product's own documentation says so.
	BasisDocumented Basis = "documented"
	// BasisSupport: a support article or ticket of the product's maker says so.
	BasisSupport Basis = "support"
	// BasisField: other integrators report it or a captured answer shows it.
	BasisField Basis = "field"
	// BasisInferred: follows from the references, but none says it.
	BasisInferred Basis = "inferred"
)

// Reference is a public place where a claim comes from.
type Reference struct {
	ID    string `yaml:"id"`
	Title string `yaml:"title"`
	URL   string `yaml:"url"`
}

// Has reports which integrations the connector offers.
func (c *Connector) Has() (saml, scim, bookmark bool) {
	return c.SAML != nil, c.SCIM != nil, c.Bookmark != nil
}

// Reference returns the reference with that id.
func (c *Connector) Reference(id string) (Reference, bool) {
	for _, r := range c.References {
		if r.ID == id {
			return r, true
		}
	}
	return Reference{}, false
}
