package rehearsal

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"
)

// state is everything that is remembered. It is guarded by Site.mu.
type state struct {
	orgID, orgName, siteName string
	guard                    bool
	switches                 Switches

	domains     []*domain
	directories []*directory
	policies    []*policy

	accounts       []*account
	accountByID    map[string]*account
	accountByEmail map[string]*account // lower-cased address; the whole platform
	// accountByImmutable may hold stale entries: compare immutableID.
	accountByImmutable map[string]*account

	orgGroups map[string]*orgGroup // by lower-cased name
	products  []*product

	pending  []effect
	trouble  []LogLine
	signIns  []SignIn
	signInNo int64
	sessions map[string]*session      // by hash of the cookie
	logins   map[string]*pendingLogin // by RelayState
}

type domain struct {
	name      string
	verified  bool
	automatic bool // claim setting
	directory string
	txt       string
}

type directory struct {
	id, name string
	saml     *samlConfig
	prov     *provisioning

	users       []*userRecord // in order of creation
	userSeq     int64
	userByID    map[string]*userRecord
	userByName  map[string]*userRecord
	userByExt   map[string]*userRecord
	userByEmail map[string]*userRecord

	groups      []*groupRecord
	groupSeq    int64
	groupByID   map[string]*groupRecord
	groupByName map[string]*groupRecord
	memberships int
}

type samlConfig struct {
	sp       string // unique part of the SP's identifiers
	entityID string
	ssoURL   string
	pem      string
	cert     *x509.Certificate
}

type provisioning struct {
	keyHash string
	keyTail string
	created time.Time
	expires time.Time
}

type policy struct {
	id, name  string
	directory string // "" is the local directory
	enforce   bool
	deflt     bool
}

type account struct {
	id          string
	email       string
	given       string
	family      string
	fullName    string
	publicName  string
	jobTitle    string
	department  string
	company     string
	timezone    string
	language    string
	active      bool
	claimed     bool
	foreign     bool // belongs to another organization
	source      string
	policy      string
	immutableID string
	scimDir     string
	scimUser    string
	created     time.Time
	lastSignIn  time.Time
}

// orgGroup is a group as the organization and its site see it.
type orgGroup struct {
	name      string
	deflt     bool   // a default access group of a product
	directory string // set when it is synced from there
	scimGroup string
	automatic bool // "All members for directory - …"
	members   map[string]struct{}
}

type product struct {
	name   string
	groups []string // names of groups that give access
}

type session struct {
	id         string
	accountID  string
	started    time.Time
	nameID     string
	directory  string
	attributes []Attribute
}

type pendingLogin struct {
	requestID string
	email     string
	directory string
	next      string
	at        time.Time
}

// effect is something that the SCIM service has accepted and the organization has not yet done.
type effect struct {
	Due       time.Time  `json:"due"`
	Kind      effectKind `json:"kind"`
	Directory string     `json:"directory"`
	User      string     `json:"user,omitempty"`
	Group     string     `json:"group,omitempty"`
	Account   string     `json:"account,omitempty"`
	Name      string     `json:"name,omitempty"`
}

type effectKind string

const (
	effectAccount     effectKind = "account"      // attributes and state of a record reach the account
	effectUserDelete  effectKind = "user-delete"  // the record is gone: deactivate, leave groups
	effectJoin        effectKind = "join"         // account joins the organization's copy of a group
	effectLeave       effectKind = "leave"        // and leaves it
	effectGroup       effectKind = "group"        // a SCIM group wants to exist in the organization
	effectGroupDelete effectKind = "group-delete" // and no longer
)

const defaultPolicyName = "Default policy"

func newState(organization, siteName string, switches Switches) *state {
	st := &state{
		orgID:    newID(),
		orgName:  organization,
		siteName: siteName,
		guard:    true,
		switches: switches,
	}
	st.reindex()
	st.policies = []*policy{{id: newID(), name: "Local directory: " + defaultPolicyName, deflt: true}}
	for _, name := range []string{"Jira", "Confluence"} {
		group := strings.ToLower(name) + "-users-" + siteName
		st.orgGroups[group] = &orgGroup{name: group, deflt: true, members: map[string]struct{}{}}
		st.products = append(st.products, &product{name: name, groups: []string{group}})
	}
	for _, name := range []string{"site-admins"} {
		st.orgGroups[name] = &orgGroup{name: name, members: map[string]struct{}{}}
	}
	return st
}

func (st *state) reindex() {
	if st.orgGroups == nil {
		st.orgGroups = map[string]*orgGroup{}
	}
	if st.sessions == nil {
		st.sessions = map[string]*session{}
	}
	st.logins = map[string]*pendingLogin{}
	st.accountByID = map[string]*account{}
	st.accountByEmail = map[string]*account{}
	st.accountByImmutable = map[string]*account{}
	for _, a := range st.accounts {
		st.accountByID[a.id] = a
		st.accountByEmail[fold(a.email)] = a
		if a.immutableID != "" {
			st.accountByImmutable[a.immutableID] = a
		}
	}
}

func fold(s string) string { return strings.ToLower(s) }

func domainOf(email string) string {
	_, d, ok := strings.Cut(email, "@")
	if !ok {
		return ""
	}
	return fold(d)
}

func (st *state) domain(name string) *domain {
	name = fold(name)
	for _, d := range st.domains {
		if d.name == name {
			return d
		}
	}
	return nil
}

func (st *state) directory(id string) *directory {
	for _, d := range st.directories {
		if d.id == id {
			return d
		}
	}
	return nil
}

func (st *state) policy(id string) *policy {
	for _, p := range st.policies {
		if p.id == id {
			return p
		}
	}
	return nil
}

func (st *state) defaultPolicy(directoryID string) *policy {
	for _, p := range st.policies {
		if p.directory == directoryID && p.deflt {
			return p
		}
	}
	return st.policies[0]
}

// verified says whether an address is on a domain that the organization has proved to own.
func (st *state) verified(email string) bool {
	d := st.domain(domainOf(email))
	return d != nil && d.verified
}

// managed says whether the organization owns the account: its domain is verified and the account is claimed.
func (st *state) managed(a *account) bool {
	if a.foreign {
		return false
	}
	d := st.domain(domainOf(a.email))
	return d != nil && d.verified && (d.automatic || a.claimed)
}

func (st *state) addAccount(a *account) {
	st.accounts = append(st.accounts, a)
	st.accountByID[a.id] = a
	st.accountByEmail[fold(a.email)] = a
}

func (st *state) renameAccount(a *account, email string) {
	delete(st.accountByEmail, fold(a.email))
	a.email = email
	st.accountByEmail[fold(email)] = a
}

// later schedules an effect on the organization, or has it at once when there is no delay.
func (st *state) later(now time.Time, e effect) {
	if st.switches.PropagationDelay <= 0 {
		st.apply(now, e)
		return
	}
	e.Due = now.Add(st.switches.PropagationDelay)
	st.pending = append(st.pending, e)
}

// settle lets all effects happen that are due, in their order.
func (st *state) settle(now time.Time) {
	n := 0
	for n < len(st.pending) && !st.pending[n].Due.After(now) {
		st.apply(now, st.pending[n])
		n++
	}
	if n > 0 {
		st.pending = slices.Delete(st.pending, 0, n)
	}
}

func (st *state) apply(now time.Time, e effect) {
	switch e.Kind {
	case effectAccount:
		st.applyAccount(e)
	case effectUserDelete:
		a := st.accountByID[e.Account]
		if a == nil || a.scimUser != "" {
			return // provisioned again in the meantime
		}
		if st.managed(a) {
			a.active = false
		}
		st.leaveDirectory(a, e.Directory)
	case effectJoin:
		g := st.groupOf(e.Directory, e.Group)
		a := st.accountByID[e.Account]
		if g != nil && a != nil && (a.active || st.managed(a)) {
			g.members[a.id] = struct{}{}
		}
	case effectLeave:
		if g := st.groupOf(e.Directory, e.Group); g != nil {
			delete(g.members, e.Account)
		}
	case effectGroup:
		st.applyGroup(now, e)
	case effectGroupDelete:
		key := fold(e.Name)
		if g := st.orgGroups[key]; g != nil && g.scimGroup == e.Group {
			delete(st.orgGroups, key)
			for _, p := range st.products {
				p.groups = slices.DeleteFunc(p.groups, func(n string) bool { return fold(n) == key })
			}
		}
	}
}

// applyAccount carries attributes and state of a record to its account. Accounts that the organization doesn't
// own are only moved in and out of groups.
func (st *state) applyAccount(e effect) {
	d := st.directory(e.Directory)
	if d == nil {
		return
	}
	u := d.userByID[e.User]
	if u == nil || u.accountID == "" {
		return
	}
	a := st.accountByID[u.accountID]
	if a == nil {
		return
	}
	if !st.managed(a) {
		if u.Active {
			st.rejoin(d, u, a)
		} else {
			st.leaveDirectory(a, d.id)
		}
		return
	}
	a.given, a.family = u.givenName(), u.familyName()
	a.fullName = u.DisplayName
	if a.fullName == "" {
		a.fullName = strings.TrimSpace(a.given + " " + a.family)
	}
	a.publicName = u.NickName
	if a.publicName == "" {
		a.publicName = a.fullName
	}
	a.jobTitle, a.department, a.company = u.Title, u.Department, u.Organization
	a.timezone, a.language = u.Timezone, u.PreferredLanguage
	a.active = u.Active
}

func (st *state) rejoin(d *directory, u *userRecord, a *account) {
	if g := st.automaticGroup(d); g != nil {
		g.members[a.id] = struct{}{}
	}
	for _, id := range u.groups {
		if g := st.groupOf(d.id, id); g != nil {
			g.members[a.id] = struct{}{}
		}
	}
}

func (st *state) leaveDirectory(a *account, directoryID string) {
	for _, g := range st.orgGroups {
		if g.directory == directoryID {
			delete(g.members, a.id)
		}
	}
}

// automaticGroup is the group that holds everybody of a directory.
func (st *state) automaticGroup(d *directory) *orgGroup {
	name := "All members for directory - " + d.id
	g := st.orgGroups[fold(name)]
	if g == nil {
		g = &orgGroup{name: name, directory: d.id, automatic: true, members: map[string]struct{}{}}
		st.orgGroups[fold(name)] = g
	}
	return g
}

// groupOf finds the organization's copy of a SCIM group, if it has been propagated.
func (st *state) groupOf(directoryID, scimGroup string) *orgGroup {
	d := st.directory(directoryID)
	if d == nil {
		return nil
	}
	rec := d.groupByID[scimGroup]
	if rec == nil {
		return nil
	}
	g := st.orgGroups[fold(rec.DisplayName)]
	if g == nil || g.scimGroup != scimGroup {
		return nil
	}
	return g
}

func (st *state) applyGroup(now time.Time, e effect) {
	d := st.directory(e.Directory)
	if d == nil {
		return
	}
	rec := d.groupByID[e.Group]
	if rec == nil {
		return
	}
	if st.orgGroups[fold(rec.DisplayName)] != nil {
		rec.conflict = true
		st.troubleshoot(now, d.id, fmt.Sprintf(
			"Failed to create group of name %s for OrgId %s due to existing group with same name in organization",
			rec.DisplayName, st.orgID))
		return
	}
	st.takeGroup(d, rec)
}

// takeGroup makes the organization's group of that name a copy of the SCIM group.
func (st *state) takeGroup(d *directory, rec *groupRecord) {
	g := &orgGroup{name: rec.DisplayName, directory: d.id, scimGroup: rec.id, members: map[string]struct{}{}}
	st.orgGroups[fold(rec.DisplayName)] = g
	rec.conflict = false
	for _, id := range rec.members {
		if u := d.userByID[id]; u != nil && u.accountID != "" {
			if a := st.accountByID[u.accountID]; a != nil && (a.active || st.managed(a)) {
				g.members[a.id] = struct{}{}
			}
		}
	}
}

const keptLogLines = 2000

func (st *state) troubleshoot(now time.Time, directoryID, text string) {
	if len(st.trouble) >= keptLogLines {
		st.trouble = slices.Delete(st.trouble, 0, keptLogLines/10)
	}
	st.trouble = append(st.trouble, LogLine{Time: now.UTC(), DirectoryID: directoryID, Text: text})
}

// link joins a SCIM record to the platform's account of its primary address, creating the account when there
// is none. It says in the troubleshooting log why a link could not be made.
func (st *state) link(now time.Time, d *directory, u *userRecord) {
	email := u.primary()
	a := st.accountByEmail[fold(email)]
	switch {
	case a == nil:
		a = &account{
			id: newAccountID(), email: email, active: true, source: SourceSCIM, created: now.UTC(),
			policy: st.defaultPolicy("").id,
			given:  u.givenName(), family: u.familyName(), fullName: u.DisplayName,
		}
		st.addAccount(a)
	case a.scimUser != "":
		st.troubleshoot(now, d.id, fmt.Sprintf(
			"User with ID %s, primary email %s, not linked: the account is managed by another directory", u.id, email))
		return
	}
	a.scimDir, a.scimUser = d.id, u.id
	u.accountID = a.id
	if st.managed(a) {
		if p := st.policy(a.policy); p == nil || p.directory != d.id {
			a.policy = st.defaultPolicy(d.id).id
		}
	}
	st.automaticGroup(d).members[a.id] = struct{}{}
}

// unlink separates a record from its account; the caller decides what becomes of the account.
func (st *state) unlink(u *userRecord) *account {
	a := st.accountByID[u.accountID]
	u.accountID = ""
	if a == nil {
		return nil
	}
	a.scimDir, a.scimUser = "", ""
	return a
}
