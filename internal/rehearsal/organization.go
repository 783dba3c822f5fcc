package rehearsal

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Organization is the customer at Atlassian and its one site.
type Organization struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	SiteName string `json:"siteName"`
	SiteURL  string `json:"siteUrl"`  // stands for https://<site>.atlassian.net; the RelayState of IdP-initiated sign-on
	StartURL string `json:"startUrl"` // stands for https://home.atlassian.com
	LoginURL string `json:"loginUrl"` // stands for https://id.atlassian.com/login
	Guard    bool   `json:"guard"`    // Guard Standard, needed for single sign-on and provisioning
}

// Domain is a mail domain of the organization.
type Domain struct {
	Name      string `json:"name"`
	Verified  bool   `json:"verified"`
	Automatic bool   `json:"automatic"` // new accounts on it are claimed automatically
	Directory string `json:"directory"` // id of the linked identity-provider directory, or ""
	TXT       string `json:"txt"`       // the DNS record that would prove ownership
}

// Directory is an identity-provider directory.
type Directory struct {
	ID           string        `json:"id"`
	Name         string        `json:"name"`
	SAML         *SAMLSettings `json:"saml,omitempty"`
	Provisioning *Provisioning `json:"provisioning,omitempty"`
	Users        int           `json:"users"`
	Groups       int           `json:"groups"`
	Memberships  int           `json:"memberships"`
}

// IdPSettings are the three values that the set-up form asks for.
type IdPSettings struct {
	EntityID       string `json:"entityId"`
	SSOURL         string `json:"ssoUrl"`
	CertificatePEM string `json:"certificate"`
}

// SAMLSettings are the values of the identity provider and those given back for it.
type SAMLSettings struct {
	IdPSettings
	SPEntityID       string    `json:"spEntityId"`
	ACSURL           string    `json:"acsUrl"`
	CertificateUntil time.Time `json:"certificateUntil"`
}

// Provisioning is the SCIM endpoint of a directory. APIKey is set only in the answer that creates the key.
type Provisioning struct {
	BaseURL   string    `json:"baseUrl"`
	APIKey    string    `json:"apiKey,omitempty"`
	KeyTail   string    `json:"keyTail"` // the last characters, to tell keys apart
	CreatedAt time.Time `json:"createdAt"`
	ExpiresAt time.Time `json:"expiresAt"`
}

// Policy is an authentication policy.
type Policy struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Directory  string `json:"directory"` // "" is the local directory
	EnforceSSO bool   `json:"enforceSso"`
	Default    bool   `json:"default"`
	Members    int    `json:"members"`
}

// Organization describes the organization.
func (s *Site) Organization() Organization {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.organization()
}

func (s *Site) organization() Organization {
	return Organization{
		ID: s.st.orgID, Name: s.st.orgName, SiteName: s.st.siteName,
		SiteURL: s.base + "/site", StartURL: s.base + "/start", LoginURL: s.base + "/login", Guard: s.st.guard,
	}
}

// SetOrganization renames the organization and switches its Guard Standard subscription. Without it neither
// single sign-on nor provisioning can be set up.
func (s *Site) SetOrganization(name string, guard bool) error {
	if strings.TrimSpace(name) == "" {
		return refuse(http.StatusBadRequest, "The organization needs a name.")
	}
	s.lock()
	defer s.unlock()
	s.st.orgName, s.st.guard = strings.TrimSpace(name), guard
	return nil
}

// AddDomain adds a domain that isn't verified yet.
func (s *Site) AddDomain(name string) (Domain, error) {
	name = fold(strings.TrimSpace(name))
	if name == "" || strings.ContainsAny(name, "@/ ") || !strings.Contains(name, ".") {
		return Domain{}, refuse(http.StatusBadRequest, "Enter a domain name such as example.com.")
	}
	s.lock()
	defer s.unlock()
	if s.st.domain(name) != nil {
		return Domain{}, refuse(http.StatusConflict, "The domain %s is there already.", name)
	}
	d := &domain{name: name, automatic: true, txt: "rehearsal-domain-verification=" + newSecret()[:24]}
	s.st.domains = append(s.st.domains, d)
	return d.view(), nil
}

// VerifyDomain proves ownership of a domain at once (the real check of DNS may take up to 72 hours).
func (s *Site) VerifyDomain(name string) error {
	return s.changeDomain(name, func(d *domain) error {
		d.verified = true
		return nil
	})
}

// ClaimDomain chooses whether accounts on the domain are claimed automatically or one by one (ClaimAccounts).
// Automatic is the setting of a new domain.
func (s *Site) ClaimDomain(name string, automatic bool) error {
	return s.changeDomain(name, func(d *domain) error {
		d.automatic = automatic
		return nil
	})
}

// ClaimAccounts claims all accounts that exist on a verified domain now.
func (s *Site) ClaimAccounts(name string) error {
	return s.changeDomain(name, func(d *domain) error {
		if !d.verified {
			return refuse(http.StatusConflict, "Verify %s before you claim its accounts.", d.name)
		}
		for _, a := range s.st.accounts {
			if domainOf(a.email) == d.name {
				a.claimed = true
			}
		}
		return nil
	})
}

// LinkDomain links a verified domain to an identity-provider directory; an empty id unlinks it.
func (s *Site) LinkDomain(name, directoryID string) error {
	return s.changeDomain(name, func(d *domain) error {
		if directoryID != "" && s.st.directory(directoryID) == nil {
			return refuse(http.StatusNotFound, "There is no directory %s.", directoryID)
		}
		if directoryID != "" && !d.verified {
			return refuse(http.StatusConflict, "Verify %s before you link it to a directory.", d.name)
		}
		d.directory = directoryID
		return nil
	})
}

func (s *Site) changeDomain(name string, change func(*domain) error) error {
	s.lock()
	defer s.unlock()
	d := s.st.domain(strings.TrimSpace(name))
	if d == nil {
		return refuse(http.StatusNotFound, "There is no domain %s.", name)
	}
	return change(d)
}

// Domains lists the domains in the order in which they were added.
func (s *Site) Domains() []Domain {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]Domain, 0, len(s.st.domains))
	for _, d := range s.st.domains {
		out = append(out, d.view())
	}
	return out
}

func (d *domain) view() Domain {
	return Domain{Name: d.name, Verified: d.verified, Automatic: d.automatic, Directory: d.directory, TXT: d.txt}
}

// CreateDirectory adds an identity-provider directory with a default authentication policy that doesn't
// enforce single sign-on.
func (s *Site) CreateDirectory(name string) (Directory, error) {
	name = strings.TrimSpace(name)
	if name == "" {
		return Directory{}, refuse(http.StatusBadRequest, "Give the directory a name.")
	}
	s.lock()
	defer s.unlock()
	if !s.st.guard {
		return Directory{}, refuse(http.StatusConflict, "Guard Standard is not active: an identity-provider directory needs it.")
	}
	for _, d := range s.st.directories {
		if fold(d.name) == fold(name) {
			return Directory{}, refuse(http.StatusConflict, "A directory named %s exists.", d.name)
		}
	}
	d := newDirectory(newID(), name)
	s.st.directories = append(s.st.directories, d)
	s.st.policies = append(s.st.policies, &policy{id: newID(), name: name + ": " + defaultPolicyName, directory: d.id, deflt: true})
	return s.directoryView(d), nil
}

func newDirectory(id, name string) *directory {
	return &directory{
		id: id, name: name,
		userByID: map[string]*userRecord{}, userByName: map[string]*userRecord{},
		userByExt: map[string]*userRecord{}, userByEmail: map[string]*userRecord{},
		groupByID: map[string]*groupRecord{}, groupByName: map[string]*groupRecord{},
	}
}

// Directories lists the identity-provider directories.
func (s *Site) Directories() []Directory {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]Directory, 0, len(s.st.directories))
	for _, d := range s.st.directories {
		out = append(out, s.directoryView(d))
	}
	return out
}

// Directory reads one directory.
func (s *Site) Directory(id string) (Directory, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	d := s.st.directory(id)
	if d == nil {
		return Directory{}, refuse(http.StatusNotFound, "There is no directory %s.", id)
	}
	return s.directoryView(d), nil
}

func (s *Site) directoryView(d *directory) Directory {
	v := Directory{ID: d.id, Name: d.name, Users: len(d.users), Groups: len(d.groups), Memberships: d.memberships}
	if d.saml != nil {
		v.SAML = &SAMLSettings{
			IdPSettings:      IdPSettings{EntityID: d.saml.entityID, SSOURL: d.saml.ssoURL, CertificatePEM: d.saml.pem},
			SPEntityID:       s.spEntityID(d.saml),
			ACSURL:           s.acsURL(d.saml),
			CertificateUntil: d.saml.cert.NotAfter.UTC(),
		}
	}
	if d.prov != nil {
		v.Provisioning = &Provisioning{
			BaseURL: s.scimBase(d), KeyTail: d.prov.keyTail, CreatedAt: d.prov.created, ExpiresAt: d.prov.expires,
		}
	}
	return v
}

func (s *Site) spEntityID(c *samlConfig) string { return s.base + "/saml/" + c.sp }

func (s *Site) acsURL(c *samlConfig) string {
	return s.base + "/login/callback?connection=saml-" + c.sp
}

func (s *Site) scimBase(d *directory) string { return s.base + "/scim/directory/" + d.id }

// SetSAML saves the identity provider's values and gives back the service provider's. Saving again changes the
// identity provider's values (a new certificate, for instance) and keeps the service provider's.
func (s *Site) SetSAML(directoryID string, idp IdPSettings) (SAMLSettings, error) {
	idp.EntityID, idp.SSOURL = strings.TrimSpace(idp.EntityID), strings.TrimSpace(idp.SSOURL)
	if idp.EntityID == "" {
		return SAMLSettings{}, refuse(http.StatusBadRequest, "Enter the identity provider entity ID.")
	}
	u, err := url.Parse(idp.SSOURL)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return SAMLSettings{}, refuse(http.StatusBadRequest, "The identity provider SSO URL must be an absolute http or https URL.")
	}
	cert, text, err := parseCertificate(idp.CertificatePEM)
	if err != nil {
		return SAMLSettings{}, err
	}
	s.lock()
	defer s.unlock()
	d := s.st.directory(directoryID)
	if d == nil {
		return SAMLSettings{}, refuse(http.StatusNotFound, "There is no directory %s.", directoryID)
	}
	if !s.st.guard {
		return SAMLSettings{}, refuse(http.StatusConflict, "Guard Standard is not active: SAML single sign-on needs it.")
	}
	sp := newID()
	if d.saml != nil {
		sp = d.saml.sp
	}
	d.saml = &samlConfig{sp: sp, entityID: idp.EntityID, ssoURL: idp.SSOURL, pem: text, cert: cert}
	return *s.directoryView(d).SAML, nil
}

// parseCertificate reads the one certificate that the form takes, as PEM or bare base64.
func parseCertificate(text string) (*x509.Certificate, string, error) {
	text = strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n"))
	var der []byte
	if block, rest := pem.Decode([]byte(text)); block != nil {
		if block.Type != "CERTIFICATE" {
			return nil, "", refuse(http.StatusBadRequest, "That is a %s, not a certificate.", strings.ToLower(block.Type))
		}
		if strings.Contains(string(rest), "-----BEGIN") {
			return nil, "", refuse(http.StatusBadRequest, "Paste one certificate only: there is no second slot for a roll-over.")
		}
		der = block.Bytes
	} else {
		var err error
		if der, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), "")); err != nil || len(der) == 0 {
			return nil, "", refuse(http.StatusBadRequest, "Paste the public x509 certificate with its BEGIN and END lines.")
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, "", refuse(http.StatusBadRequest, "The certificate can't be read. Paste the whole PEM text.")
	}
	canonical := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	return cert, canonical, nil
}

// SetUpProvisioning makes the SCIM endpoint of a directory. The answer holds the API key, which is shown only
// this once and expires one year later.
func (s *Site) SetUpProvisioning(directoryID string) (Provisioning, error) {
	return s.newKey(directoryID, false)
}

// RegenerateKey replaces the API key; the old one is dead at once.
func (s *Site) RegenerateKey(directoryID string) (Provisioning, error) {
	return s.newKey(directoryID, true)
}

func (s *Site) newKey(directoryID string, again bool) (Provisioning, error) {
	s.lock()
	defer s.unlock()
	d := s.st.directory(directoryID)
	switch {
	case d == nil:
		return Provisioning{}, refuse(http.StatusNotFound, "There is no directory %s.", directoryID)
	case !s.st.guard:
		return Provisioning{}, refuse(http.StatusConflict, "Guard Standard is not active: user provisioning needs it.")
	case again && d.prov == nil:
		return Provisioning{}, refuse(http.StatusConflict, "Set up user provisioning for this directory first.")
	case !again && d.prov != nil:
		return Provisioning{}, refuse(http.StatusConflict, "User provisioning is set up already. Regenerate the API key if you have lost it.")
	}
	key := "RHSL" + newSecret()
	now := s.now().UTC()
	d.prov = &provisioning{keyHash: hashSecret(key), keyTail: key[len(key)-4:], created: now, expires: now.AddDate(1, 0, 0)}
	out := *s.directoryView(d).Provisioning
	out.APIKey = key
	return out, nil
}

// SetKeyExpiry moves the expiry of the current API key, to rehearse what happens when it passes.
func (s *Site) SetKeyExpiry(directoryID string, at time.Time) error {
	s.lock()
	defer s.unlock()
	d := s.st.directory(directoryID)
	if d == nil || d.prov == nil {
		return refuse(http.StatusNotFound, "This directory has no API key.")
	}
	d.prov.expires = at.UTC()
	return nil
}

// Policies lists the authentication policies.
func (s *Site) Policies() []Policy {
	s.mu.RLock()
	defer s.mu.RUnlock()
	members := map[string]int{}
	for _, a := range s.st.accounts {
		members[a.policy]++
	}
	out := make([]Policy, 0, len(s.st.policies))
	for _, p := range s.st.policies {
		out = append(out, Policy{ID: p.id, Name: p.name, Directory: p.directory, EnforceSSO: p.enforce, Default: p.deflt, Members: members[p.id]})
	}
	return out
}

// CreatePolicy adds a policy that isn't the default of its directory.
func (s *Site) CreatePolicy(directoryID, name string) (Policy, error) {
	name = strings.TrimSpace(name)
	if name == "" {
		return Policy{}, refuse(http.StatusBadRequest, "Give the policy a name.")
	}
	s.lock()
	defer s.unlock()
	if directoryID != "" && s.st.directory(directoryID) == nil {
		return Policy{}, refuse(http.StatusNotFound, "There is no directory %s.", directoryID)
	}
	p := &policy{id: newID(), name: name, directory: directoryID}
	s.st.policies = append(s.st.policies, p)
	return Policy{ID: p.id, Name: p.name, Directory: p.directory}, nil
}

// EnforceSSO switches single sign-on of a policy. It can only be enforced where SAML has been set up.
func (s *Site) EnforceSSO(policyID string, enforce bool) error {
	s.lock()
	defer s.unlock()
	p := s.st.policy(policyID)
	if p == nil {
		return refuse(http.StatusNotFound, "There is no policy %s.", policyID)
	}
	if enforce {
		if p.directory == "" {
			return refuse(http.StatusConflict, "The local directory has no identity provider: single sign-on can't be enforced there.")
		}
		if d := s.st.directory(p.directory); d == nil || d.saml == nil {
			return refuse(http.StatusConflict, "Set up SAML single sign-on for this directory before you enforce it.")
		}
	}
	p.enforce = enforce
	return nil
}

// SetDefaultPolicy makes a policy the one in which new people of its directory land.
func (s *Site) SetDefaultPolicy(policyID string) error {
	s.lock()
	defer s.unlock()
	p := s.st.policy(policyID)
	if p == nil {
		return refuse(http.StatusNotFound, "There is no policy %s.", policyID)
	}
	for _, other := range s.st.policies {
		if other.directory == p.directory {
			other.deflt = other == p
		}
	}
	return nil
}

// DefaultPolicy finds the default policy of a directory ("" is the local one).
func (s *Site) DefaultPolicy(directoryID string) (Policy, error) {
	for _, p := range s.Policies() {
		if p.Directory == directoryID && p.Default {
			return p, nil
		}
	}
	return Policy{}, refuse(http.StatusNotFound, "There is no directory %s.", directoryID)
}

// MoveToPolicy puts managed accounts, named by id or e-mail address, under a policy.
func (s *Site) MoveToPolicy(policyID string, accounts ...string) error {
	s.lock()
	defer s.unlock()
	p := s.st.policy(policyID)
	if p == nil {
		return refuse(http.StatusNotFound, "There is no policy %s.", policyID)
	}
	found := make([]*account, 0, len(accounts))
	for _, ref := range accounts {
		a := s.st.account(ref)
		if a == nil {
			return refuse(http.StatusNotFound, "There is no account %s.", ref)
		}
		if !s.st.managed(a) {
			return refuse(http.StatusConflict, "%s is not a managed account: verify and claim its domain first.", a.email)
		}
		found = append(found, a)
	}
	for _, a := range found {
		a.policy = p.id
	}
	return nil
}

// account finds an account by id or e-mail address.
func (st *state) account(ref string) *account {
	ref = strings.TrimSpace(ref)
	if a := st.accountByID[ref]; a != nil {
		return a
	}
	return st.accountByEmail[fold(ref)]
}

// The sources of an account.
const (
	SourceLocal = "local" // invited or signed up at Atlassian
	SourceSCIM  = "scim"  // created by provisioning
	SourceJIT   = "jit"   // created by a first single sign-on
)

// NewAccount describes an account that exists before any integration.
type NewAccount struct {
	Email      string `json:"email"`
	GivenName  string `json:"givenName"`
	FamilyName string `json:"familyName"`
	// OtherOrganization makes it an account of somebody else's organization on the same platform.
	OtherOrganization bool `json:"otherOrganization"`
}

// Account is an Atlassian account, with what the site gives it.
type Account struct {
	ID           string    `json:"id"`
	Email        string    `json:"email"`
	GivenName    string    `json:"givenName"`
	FamilyName   string    `json:"familyName"`
	FullName     string    `json:"fullName"`
	PublicName   string    `json:"publicName"`
	JobTitle     string    `json:"jobTitle"`
	Department   string    `json:"department"`
	Organization string    `json:"organization"`
	Timezone     string    `json:"timezone"`
	Language     string    `json:"language"`
	Active       bool      `json:"active"`
	Managed      bool      `json:"managed"`
	Foreign      bool      `json:"foreign"` // of another organization
	Source       string    `json:"source"`
	Policy       string    `json:"policy"`
	PolicyName   string    `json:"policyName"`
	SSO          bool      `json:"sso"` // its policy enforces single sign-on
	ImmutableID  string    `json:"immutableId"`
	DirectoryID  string    `json:"directoryId"` // set while linked to a SCIM record
	SCIMUserID   string    `json:"scimUserId"`
	Groups       []string  `json:"groups"`
	Products     []string  `json:"products"`
	CreatedAt    time.Time `json:"createdAt"`
	LastSignIn   time.Time `json:"lastSignIn,omitzero"`
}

// AddAccount makes an account in the local directory, or one of another organization.
func (s *Site) AddAccount(n NewAccount) (Account, error) {
	email := strings.TrimSpace(n.Email)
	if !plausibleEmail(email) {
		return Account{}, refuse(http.StatusBadRequest, "Enter an e-mail address.")
	}
	s.lock()
	defer s.unlock()
	if s.st.accountByEmail[fold(email)] != nil {
		return Account{}, refuse(http.StatusConflict, "An account with the address %s exists.", email)
	}
	a := &account{
		id: newAccountID(), email: email, given: n.GivenName, family: n.FamilyName,
		fullName: strings.TrimSpace(n.GivenName + " " + n.FamilyName), active: true,
		foreign: n.OtherOrganization, source: SourceLocal, created: s.now().UTC(),
		policy: s.st.defaultPolicy("").id,
	}
	a.publicName = a.fullName
	s.st.addAccount(a)
	return s.accountView(a), nil
}

// Accounts lists all accounts of the platform, oldest first. On an installation with many thousands prefer
// Account.
func (s *Site) Accounts() []Account {
	s.lock()
	defer s.unlock()
	out := make([]Account, 0, len(s.st.accounts))
	for _, a := range s.st.accounts {
		out = append(out, s.accountView(a))
	}
	return out
}

// Account finds one account by id or e-mail address.
func (s *Site) Account(ref string) (Account, error) {
	s.lock()
	defer s.unlock()
	a := s.st.account(ref)
	if a == nil {
		return Account{}, refuse(http.StatusNotFound, "There is no account %s.", ref)
	}
	return s.accountView(a), nil
}

// SetAccountActive deactivates or re-activates an account in Atlassian Administration. Accounts that SCIM
// manages can only be re-activated by SCIM.
func (s *Site) SetAccountActive(ref string, active bool) error {
	s.lock()
	defer s.unlock()
	a := s.st.account(ref)
	if a == nil {
		return refuse(http.StatusNotFound, "There is no account %s.", ref)
	}
	if active && a.scimUser != "" {
		return refuse(http.StatusConflict, "%s is synced from an identity provider: re-activate the person there.", a.email)
	}
	a.active = active
	return nil
}

func (s *Site) accountView(a *account) Account {
	v := Account{
		ID: a.id, Email: a.email, GivenName: a.given, FamilyName: a.family, FullName: a.fullName, PublicName: a.publicName,
		JobTitle: a.jobTitle, Department: a.department, Organization: a.company, Timezone: a.timezone, Language: a.language,
		Active: a.active, Managed: s.st.managed(a), Foreign: a.foreign, Source: a.source, Policy: a.policy,
		ImmutableID: a.immutableID, DirectoryID: a.scimDir, SCIMUserID: a.scimUser,
		CreatedAt: a.created, LastSignIn: a.lastSignIn,
		Groups: []string{}, Products: []string{},
	}
	if p := s.st.policy(a.policy); p != nil {
		v.PolicyName, v.SSO = p.name, p.enforce
	}
	for _, g := range s.st.orgGroups {
		if _, in := g.members[a.id]; in {
			v.Groups = append(v.Groups, g.name)
		}
	}
	slices.Sort(v.Groups)
	if a.active {
		for _, p := range s.st.products {
			if s.st.grants(p, a) != "" {
				v.Products = append(v.Products, p.name)
			}
		}
	}
	return v
}

// grants names the group by which an account has access to a product, or "".
func (st *state) grants(p *product, a *account) string {
	for _, name := range p.groups {
		if g := st.orgGroups[fold(name)]; g != nil {
			if _, in := g.members[a.id]; in {
				return g.name
			}
		}
	}
	return ""
}

func plausibleEmail(s string) bool {
	local, dom, ok := strings.Cut(s, "@")
	return ok && local != "" && dom != "" && !strings.ContainsAny(s, " \t\r\n<>") && !strings.Contains(dom, "@")
}

// Product is an application on the site; Groups give access to it.
type Product struct {
	Name   string   `json:"name"`
	Groups []string `json:"groups"`
}

// SiteGroup is a group as organization and site see it.
type SiteGroup struct {
	Name      string   `json:"name"`
	Default   bool     `json:"default"`             // a default access group: it can't be synced
	Directory string   `json:"directory,omitempty"` // set when synced from there
	SCIMGroup string   `json:"scimGroup,omitempty"`
	Automatic bool     `json:"automatic,omitempty"`
	Products  []string `json:"products"`
	Members   []string `json:"members"` // e-mail addresses
}

// Products lists the applications on the site.
func (s *Site) Products() []Product {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]Product, 0, len(s.st.products))
	for _, p := range s.st.products {
		out = append(out, Product{Name: p.name, Groups: slices.Clone(p.groups)})
	}
	return out
}

// GrantProduct gives the members of a group access to a product.
func (s *Site) GrantProduct(productName, group string) error {
	s.lock()
	defer s.unlock()
	p := s.st.product(productName)
	if p == nil {
		return refuse(http.StatusNotFound, "There is no product %s.", productName)
	}
	g := s.st.orgGroups[fold(strings.TrimSpace(group))]
	if g == nil {
		return refuse(http.StatusNotFound, "There is no group %s in the organization.", group)
	}
	if !slices.Contains(p.groups, g.name) {
		p.groups = append(p.groups, g.name)
	}
	return nil
}

// RevokeProduct takes a group's access to a product away.
func (s *Site) RevokeProduct(productName, group string) error {
	s.lock()
	defer s.unlock()
	p := s.st.product(productName)
	if p == nil {
		return refuse(http.StatusNotFound, "There is no product %s.", productName)
	}
	p.groups = slices.DeleteFunc(p.groups, func(n string) bool { return fold(n) == fold(strings.TrimSpace(group)) })
	return nil
}

func (st *state) product(name string) *product {
	for _, p := range st.products {
		if fold(p.name) == fold(name) {
			return p
		}
	}
	return nil
}

// AddSiteGroup makes a local group of the site.
func (s *Site) AddSiteGroup(name string) error {
	name = strings.TrimSpace(name)
	if name == "" {
		return refuse(http.StatusBadRequest, "Give the group a name.")
	}
	s.lock()
	defer s.unlock()
	if g := s.st.orgGroups[fold(name)]; g != nil {
		return refuse(http.StatusConflict, "A group named %s exists.", g.name)
	}
	s.st.orgGroups[fold(name)] = &orgGroup{name: name, members: map[string]struct{}{}}
	return nil
}

// SetGroupMember puts an account, named by id or e-mail address, into a local group of the site or takes it
// out. Synced groups are read-only here.
func (s *Site) SetGroupMember(group, ref string, member bool) error {
	s.lock()
	defer s.unlock()
	g := s.st.orgGroups[fold(strings.TrimSpace(group))]
	if g == nil {
		return refuse(http.StatusNotFound, "There is no group %s in the organization.", group)
	}
	if g.directory != "" {
		return refuse(http.StatusConflict, "%s is synced: its members can only be changed at the identity provider.", g.name)
	}
	a := s.st.account(ref)
	if a == nil {
		return refuse(http.StatusNotFound, "There is no account %s.", ref)
	}
	if member {
		g.members[a.id] = struct{}{}
	} else {
		delete(g.members, a.id)
	}
	return nil
}

// SetDefaultGroup gives a site group default status, or takes it.
func (s *Site) SetDefaultGroup(name string, deflt bool) error {
	s.lock()
	defer s.unlock()
	g := s.st.orgGroups[fold(strings.TrimSpace(name))]
	if g == nil {
		return refuse(http.StatusNotFound, "There is no group %s in the organization.", name)
	}
	if deflt && g.scimGroup != "" {
		return refuse(http.StatusConflict, "%s is synced: a synced group can't be a default access group.", g.name)
	}
	g.deflt = deflt
	return nil
}

// SiteGroups lists the groups of the organization, by name.
func (s *Site) SiteGroups() []SiteGroup {
	s.lock()
	defer s.unlock()
	out := make([]SiteGroup, 0, len(s.st.orgGroups))
	for _, g := range s.st.orgGroups {
		v := SiteGroup{
			Name: g.name, Default: g.deflt, Directory: g.directory, SCIMGroup: g.scimGroup, Automatic: g.automatic,
			Products: []string{}, Members: make([]string, 0, len(g.members)),
		}
		for id := range g.members {
			if a := s.st.accountByID[id]; a != nil {
				v.Members = append(v.Members, a.email)
			}
		}
		slices.Sort(v.Members)
		for _, p := range s.st.products {
			if slices.ContainsFunc(p.groups, func(n string) bool { return fold(n) == fold(g.name) }) {
				v.Products = append(v.Products, p.name)
			}
		}
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b SiteGroup) int { return strings.Compare(fold(a.Name), fold(b.Name)) })
	return out
}

// SyncGroup resolves a name conflict as "Review groups → Sync group" does: the group of the organization is
// taken over by the synced one. A default access group must lose its default status first.
func (s *Site) SyncGroup(directoryID, groupID string) error {
	s.lock()
	defer s.unlock()
	d := s.st.directory(directoryID)
	if d == nil {
		return refuse(http.StatusNotFound, "There is no directory %s.", directoryID)
	}
	rec := d.groupByID[groupID]
	if rec == nil {
		return refuse(http.StatusNotFound, "There is no group %s in this directory.", groupID)
	}
	if g := s.st.orgGroups[fold(rec.DisplayName)]; g != nil {
		if g.deflt {
			return refuse(http.StatusConflict, "%s is a default access group. Remove its default status first.", g.name)
		}
		if g.scimGroup != "" && g.scimGroup != rec.id {
			return refuse(http.StatusConflict, "%s is synced from another directory.", g.name)
		}
	}
	s.st.takeGroup(d, rec)
	return nil
}
