package browser

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The company of the story.
const (
	organization = "Harbour Light"
	domain       = "harbourlight.example"
	ownerEmail   = "ada.okafor@" + domain
	ownerPass    = "three small boats at dawn"
	hiroEmail    = "hiro.tanaka@" + domain
	hiroPass     = "ropes and tides and moons"
	label        = "Atlassian Cloud"
)

// story is the main job as one administrator and one employee live through it.
type story struct {
	*testing.T
	in    installation
	admin *person // at Latchkey
	there *person // the same administrator, at the rehearsal Atlassian Cloud
	hiro  *person // an employee

	app      string // address of the application in the console
	entityID string
	baseURL  string
	token    string
	spEntity string
	acs      string
	siteURL  string
}

// TestMainJob clicks the main job from the first link to the deletion of the application.
func TestMainJob(t *testing.T) {
	s := &story{in: start(t, "--empty")}
	var seq int
	s.admin, s.there, s.hiro = newPerson(t, "", &seq), newPerson(t, "atlassian-", &seq), newPerson(t, "hiro-", &seq)
	for _, chapter := range []struct {
		name string
		tell func(*story)
	}{
		{"set up the first owner", (*story).setUp},
		{"add groups and people", (*story).addPeople},
		{"import people", (*story).importPeople},
		{"create the application", (*story).createApplication},
		{"sign-on, first half", (*story).firstHalf},
		{"at Atlassian: domain, directory, SAML", (*story).atAtlassian},
		{"sign-on, second half, activate", (*story).secondHalf},
		{"a password for the employee", (*story).handOver},
		{"nobody without a bound group", (*story).notBound},
		{"bind a group", (*story).bind},
		{"sign on from Atlassian", (*story).fromAtlassian},
		{"sign on from the portal", (*story).fromPortal},
		{"provisioning: connect and see the plan", (*story).plan},
		{"provisioning: activate and watch", (*story).activate},
		{"change a title and see it there", (*story).changeTitle},
		{"import an account that exists there", (*story).importAccounts},
		{"renew the certificate", (*story).renew},
		{"remove everything", (*story).remove},
		{"read the story in Activity", (*story).activity},
	} {
		if !t.Run(chapter.name, func(t *testing.T) {
			s.T, s.admin.t, s.there.t, s.hiro.t = t, t, t, t
			chapter.tell(s)
		}) {
			t.FailNow()
		}
	}
	for _, p := range []*person{s.admin, s.there, s.hiro} {
		p.t = t
		p.contented()
	}
}

func (s *story) setUp() {
	p := s.admin
	if s.in.setup == "" {
		s.Fatal("an empty demo prints no link for the first owner")
	}
	p.open(s.in.setup)
	p.sees("Welcome to Latchkey")
	p.shot("setup")
	p.fill("Organization", organization)
	p.fill("Your given name", "Ada")
	p.fill("Your family name", "Okafor")
	p.fill("Your e-mail address", ownerEmail)
	p.fill("New password", ownerPass)
	p.fill("New password, again", ownerPass)
	p.follow("Create owner and sign in", "")
	p.arrives(s.in.url + "/console")
	p.sees("Latchkey is set up", organization)
	p.shot("console-first-steps")
}

func (s *story) addPeople() {
	p := s.admin
	p.follow("Groups", "")
	p.sees("No groups yet")
	p.shot("groups-empty")
	p.follow("Add group", "No groups yet")
	p.fill("Name", "Engineering")
	p.fill("Description", "Everybody who builds the product")
	p.follow("Add group", "")
	p.sees("The group Engineering was added")
	p.follow("Users", "")
	p.follow("Add user", "")
	p.fill("Given name", "Hiro")
	p.fill("Family name", "Tanaka")
	p.fill("User name", "hiro.tanaka")
	p.fill("E-mail", hiroEmail)
	p.fill("Job title", "Engineer")
	p.choose("Active", "State")
	p.choose("Engineering", "Groups")
	p.shot("user-new")
	p.follow("Add user", "")
	p.sees("Hiro Tanaka", "hasn't chosen a password yet")
	p.shot("user")
}

const people = `email,username,givenName,familyName,title,department,groups
ines.carvalho@harbourlight.example,ines.carvalho,Ines,Carvalho,Senior Engineer,Engineering,Engineering
jonas.weber@harbourlight.example,jonas.weber,Jonas,Weber,Senior Engineer,Engineering,Engineering
kavya.nair@harbourlight.example,kavya.nair,Kavya,Nair,Engineer,Engineering,Engineering
uma.krishnan@harbourlight.example,uma.krishnan,Uma,Krishnan,Product Designer,Design,Design
xiu.chen@harbourlight.example,xiu.chen,Xiu,Chen,Illustrator,Design,Design
jaya.mehta@harbourlight.example,jaya.mehta,Jaya,Mehta,Payroll,Finance,Finance
not an address,broken,Bro,Ken,,,
`

func (s *story) importPeople() {
	p := s.admin
	file := filepath.Join(s.TempDir(), "people.csv")
	if err := os.WriteFile(file, []byte(people), 0o600); err != nil {
		s.Fatal(err)
	}
	p.follow("Users", "")
	p.follow("Import", "")
	p.attach("File", file)
	p.choose("Active", "New people are")
	p.set("Make groups that the file names and that don't exist", true)
	p.shot("import")
	p.follow("Check the file", "")
	p.sees("Would add 6 people", "1 row isn't possible")
	p.shot("import-checked")
	p.follow("Import 6 people", "")
	p.sees("6 people added", "1 left out")
	p.shot("import-done")
	p.follow("Users", "")
	p.sees("Kavya Nair", "Jaya Mehta")
	p.shot("users")
}

func (s *story) createApplication() {
	p := s.admin
	p.follow("Applications", "")
	p.sees("No applications yet")
	p.follow("Add application", "No applications yet")
	p.fill("Search", "Jira")
	p.missing("Salesforce") // the list is redrawn, and the tile has moved
	p.sees("Atlassian Cloud")
	p.shot("catalogue-jira")
	p.follow("Atlassian Cloud", "")
	p.fill("Display label", label)
	p.fill("Description", "Jira and Confluence")
	p.set("Show in the user portal", true)
	p.click("Advanced", "")
	if got := p.value("IdP URL", ""); got != "" {
		s.Errorf("the IdP URL is filled with %q", got)
	}
	p.shot("application-new")
	p.follow("Save", "")
	p.sees(label+" is saved", "/saml2/atlassiancloud", "Nobody yet")
	p.shot("application-saved")
	p.follow("Configure now", "")
	s.app = strings.TrimSuffix(p.at(), "/sign-on")
}

func (s *story) firstHalf() {
	p := s.admin
	p.shot("sign-on-empty")
	p.click("Change the entity ID", "")
	p.fill("New entity ID", domain)
	p.follow("Save entity ID", "")
	s.entityID = p.value("IdP entity ID", "")
	if sso := p.value("IdP URL", ""); sso != s.in.url+"/saml2/atlassiancloud" {
		s.Errorf("the IdP URL is %q", sso)
	}
	p.lacks("Activate sign-on")
}

// certificate reads the certificate by the page's download button.
func (s *story) certificate(button string) string {
	s.Helper()
	href := wait(s.admin, "find “"+button+"”", anything[string], "href", button, "")
	pem := fetch(s.T, href, s.admin.cookies(href))
	if !strings.HasPrefix(pem, "-----BEGIN CERTIFICATE-----\n") || !strings.HasSuffix(pem, "-----END CERTIFICATE-----\n") {
		s.Fatalf("%s holds %.80q", button, pem)
	}
	return pem
}

func (s *story) atAtlassian() {
	p := s.there
	p.open(s.in.site)
	p.sees("0 of 9 done")
	s.siteURL = p.value("Value to copy", "Site address")
	p.shot("overview")
	p.follow("Domains & policies", "Administration")
	p.fill("Add a domain", domain)
	p.follow("Add domain", "")
	p.sees(domain, "not verified")
	p.follow("Verify now", domain)
	p.missing("not verified")
	p.follow("Directories", "Administration")
	p.fill("Directory name", "Latchkey")
	p.follow("Add directory", "")
	p.sees("These appear once the values of the identity provider are saved")
	p.fill("Identity provider entity ID", s.entityID)
	p.fill("Identity provider SSO URL", s.admin.value("IdP URL", ""))
	p.fill("Public x509 certificate", s.certificate("certificate.pem"))
	p.follow("Save SAML configuration", "")
	s.spEntity = p.value("Value to copy", "Service provider entity URL")
	s.acs = p.value("Value to copy", "Service provider assertion consumer service URL")
	if !strings.Contains(s.acs, "?") {
		s.Errorf("the ACS URL %q has no query", s.acs)
	}
	p.shot("saml")
	p.follow("Domains & policies", "Administration")
	p.fill("Directory of "+domain, "Latchkey")
	p.follow("Link", domain)
	p.follow("Enforce", "Latchkey")
	p.sees("enforced")
	p.shot("domains")
}

func (s *story) secondHalf() {
	p := s.admin
	p.open(s.app + "/sign-on")
	p.fill("SP entity ID", s.spEntity)
	p.fill("ACS URL", s.acs)
	p.fill("Default RelayState", s.siteURL)
	p.follow("Save", "Values that Atlassian Cloud gives you")
	p.shot("sign-on-complete")
	p.follow("Activate sign-on", "")
	p.sees("Sign-on active")
	p.shot("sign-on-active")
}

// handOver makes a one-time link in the console, by which the employee chooses a password.
func (s *story) handOver() {
	p := s.admin
	p.follow("Users", "")
	p.fill("Search", "Hiro")
	p.sees("1 person") // the list is redrawn, and the row has moved
	p.follow("Hiro Tanaka", "")
	p.follow("Hand out an activation link", "")
	p.follow("Make the link", "")
	p.sees("This is shown only once")
	link := wait(p, "find the link", func(s string) bool { return strings.HasPrefix(s, "http") }, "copyable")
	p.shot("activation-link")

	s.hiro.open(link)
	s.hiro.fill("New password", hiroPass)
	s.hiro.fill("New password, again", hiroPass)
	s.hiro.shot("activate")
	s.hiro.follow("Set password and sign in", "")
	s.hiro.sees("No applications for you yet")
	s.hiro.shot("portal-empty")
	s.signOut()
}

func (s *story) signOut() {
	s.hiro.open(s.in.url + "/")
	s.hiro.click("Hiro Tanaka", "")
	s.hiro.follow("Sign out", "")
	s.hiro.sees("You are signed out")
}

// fromLogin goes from the log-in page at Atlassian through Latchkey's sign-in.
func (s *story) fromLogin(signIn bool) {
	p := s.hiro
	p.open(s.in.site + "/login")
	p.fill("E-mail address", hiroEmail)
	p.follow("Continue", "")
	if !signIn {
		return
	}
	p.arrives(s.in.url + "/signin")
	p.shot("sign-in-name")
	p.fill("E-mail or user name", hiroEmail)
	p.follow("Next", "")
	p.fill("Password", hiroPass)
	p.shot("sign-in-password")
	p.follow("Sign in", "")
}

func (s *story) notBound() {
	s.fromLogin(true)
	s.hiro.sees("You don't have access to "+label, "you are in none of its groups")
	s.hiro.shot("not-bound")
	s.signOut()
}

func (s *story) bind() {
	p := s.admin
	p.open(s.app + "/groups")
	p.sees("Nobody reaches " + label)
	p.shot("user-groups-empty")
	p.choose("Engineering", "")
	p.follow("Bind", "")
	p.sees("1 group is bound", "4 people have access")
	p.shot("user-groups")
}

func (s *story) fromAtlassian() {
	p := s.hiro
	s.fromLogin(true)
	p.arrives(s.in.site)
	p.open(s.siteURL)
	p.sees("Hiro Tanaka", "Signed in to", hiroEmail, "givenname", "surname")
	p.shot("site-signed-in")
	p.follow("Log out", "")
	s.signOut()
}

func (s *story) fromPortal() {
	p := s.hiro
	p.open(s.in.url + "/")
	p.arrives(s.in.url + "/signin")
	p.fill("E-mail or user name", hiroEmail)
	p.follow("Next", "")
	p.fill("Password", hiroPass)
	p.follow("Sign in", "")
	p.sees(label)
	p.shot("portal")
	p.inNewTab(label, "", func(p *person) {
		p.arrives(s.siteURL) // by the default RelayState
		p.sees("Hiro Tanaka", "Signed in to")
		p.shot("site-from-portal")
		p.follow("Log out", "")
	})
	// A session serves without a new sign-in.
	s.fromLogin(false)
	p.arrives(s.in.site)
	p.open(s.siteURL)
	p.sees("Signed in to")
}

func (s *story) plan() {
	p := s.there
	p.follow("Directories", "Administration")
	p.follow("Latchkey", "")
	p.follow("Set up user provisioning", "")
	p.sees("shown only this once")
	s.baseURL = p.value("Value to copy", "SCIM base URL")
	s.token = p.value("Value to copy", "API key")
	p.shot("provisioning")

	p = s.admin
	p.open(s.app + "/provisioning")
	p.shot("provisioning-empty")
	p.fill("Base URL", s.baseURL)
	p.fill("Token", s.token)
	p.fill("Token ends on", "2027-11-20")
	p.set("Manage groups and group membership", true)
	p.follow("Save", "Connection")
	p.missing(s.token)
	p.follow("Test connection", "")
	p.sees("The connection works")
	p.shot("connection-works")
	p.follow("See the plan", "")
	p.sees("Activate with this plan", "Kavya Nair", "Engineering")
	p.missing("Jaya Mehta")
	p.shot("plan")
}

func (s *story) activate() {
	p := s.admin
	p.follow("Activate provisioning", "")
	p.comesToSee("In sync")
	p.sees("Provisioning active")
	s.there.open(s.in.site + "/admin/users")
	s.there.comesToSee("Kavya Nair")
	s.there.comesToSee("Jonas Weber")
	s.there.sees("Hiro Tanaka", "Ines Carvalho")
	s.there.missing("Jaya Mehta")
	s.there.shot("users")
	s.there.follow("Groups", "Administration")
	s.there.comesToSee("Engineering")
	s.there.shot("groups")
	p.open(s.app + "/provisioning")
	p.comesToSee("4 people, 1 group")
	p.shot("provisioning-in-sync")
	p.open(s.app)
	p.shot("application-overview")
}

func (s *story) changeTitle() {
	p := s.admin
	p.follow("Users", "")
	p.fill("Search", "Kavya")
	p.sees("1 person") // the list is redrawn, and the row has moved
	p.follow("Kavya Nair", "")
	p.fill("Job title", "Staff Engineer")
	p.follow("Save", "Profile")
	s.there.follow("Users", "Administration")
	s.there.follow("Kavya Nair", "")
	s.there.comesToSee("Staff Engineer")
	s.there.shot("changed-title")
	s.there.follow("Request log", "")
	s.there.sees("PATCH")
	s.there.shot("request-log")
	p.follow("Applications", "Kavya Nair")
	p.sees(label, "Engineering")
	p.shot("user-applications")
}

func (s *story) importAccounts() {
	// Somebody of whom only the target knows: another client made the account.
	body := `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"gus.guest","displayName":"Gus Guest","name":{"givenName":"Gus","familyName":"Guest"},` +
		`"emails":[{"value":"gus.guest@` + domain + `","type":"work","primary":true}]}`
	req, err := http.NewRequestWithContext(s.Context(), http.MethodPost, s.baseURL+"/Users", strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	req.Header.Set("Content-Type", "application/scim+json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		s.Fatalf("the stand-in answers %s", res.Status)
	}

	p := s.admin
	p.open(s.app + "/provisioning")
	p.follow("Import", "People who are there already")
	p.follow("List accounts", "")
	p.comesToSee("Gus Guest")
	p.sees("New 1", "Matched 4", "Conflicting 0")
	p.shot("import-accounts")
	p.choose("Staged", "New people are created as")
	p.follow("Import all 1 new", "")
	p.comesToSee("New 0")
	p.shot("import-accounts-done")
	p.follow("Users", "")
	p.sees("Gus Guest", "Staged")
}

func (s *story) renew() {
	p := s.admin
	p.open(s.app + "/sign-on")
	p.follow("Renew…", "")
	p.sees("Prepare the next certificate")
	p.follow("Prepare it", "")
	p.sees("Switch now")
	p.shot("renew")
	next := s.certificate("certificate-next.pem")
	p.choose("The next certificate is pasted at "+label+", and I save it there in this minute", "")
	p.follow("Switch now", "")
	p.sees("Try it out")
	p.shot("renewed")

	// Before the certificate is there, sign-on is refused there; after it, it goes.
	s.fromLogin(false)
	s.hiro.sees("We're having trouble logging you in")
	s.hiro.shot("old-certificate")
	s.there.follow("Directories", "Administration")
	s.there.follow("Latchkey", "")
	s.there.fill("Public x509 certificate", next)
	s.there.follow("Save SAML configuration", "")
	s.fromLogin(false)
	s.hiro.arrives(s.in.site)
	s.hiro.open(s.siteURL)
	s.hiro.sees("Signed in to")
}

func (s *story) remove() {
	p := s.admin
	p.open(s.app)
	p.follow("Deactivate…", "Deactivate provisioning")
	p.sees("Sending stops at once")
	p.shot("deactivate-provisioning")
	p.follow("Deactivate provisioning", "")
	p.open(s.app)
	p.follow("Deactivate…", "Deactivate sign-on")
	p.shot("deactivate-sign-on")
	p.follow("Deactivate sign-on", "")
	s.hiro.open(s.in.url + "/")
	s.hiro.sees("No applications for you yet")
	p.open(s.app)
	p.follow("Delete…", "Delete the application")
	p.sees("Type the application's label")
	p.shot("delete")
	p.fill("Type the application's label "+label+" to confirm", label)
	p.follow("Delete application", "")
	p.sees("No applications yet")
	p.shot("deleted")
	// What is there stays.
	s.there.open(s.in.site + "/admin/users")
	s.there.sees("Kavya Nair")
}

func (s *story) activity() {
	p := s.admin
	p.follow("Activity", "")
	p.sees(
		"Application "+label+" was created", "Group Engineering was bound to "+label, "Hiro Tanaka was refused at "+label,
		"Hiro Tanaka signed on to "+label, "Provisioning of "+label+" was activated", "Kavya Nair was created at "+label,
		"Kavya Nair was updated at "+label+": title", "Sign-on to "+label+" was switched to the next certificate",
		"Application "+label+" was deleted",
	)
	p.shot("activity")
	// A row opens to what was sent and what came back, without the token.
	p.fill("Search", "Kavya Nair")
	p.missing("Group Engineering was bound")
	p.click("Kavya Nair was updated at "+label, "")
	p.sees("Staff Engineer", "PATCH", "was Engineer becomes Staff Engineer")
	p.missing(s.token)
	p.shot("activity-drawer")
}
