package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/rehearsal"
	"github.com/latchkey-idp/latchkey/internal/server"
)

// The company of the demo.
const (
	companyName     = "Harbour Light"
	companyDomain   = "harbourlight.example"
	companyPassword = "rehearse-before-you-sail"
	companySite     = "harbourlight"
)

type companyPerson struct {
	given, family, title, department string
	groups                           []string
}

// company lists 40 people; the first is the owner of the installation.
func company() []companyPerson {
	lines := strings.Split(strings.TrimSpace(`
Ada Okafor|Head of IT|IT|Engineering,Leadership
Bram Visser|Chief Executive|Leadership|Leadership
Chiara Moretti|Chief Technology Officer|Engineering|Engineering,Leadership
Daniel Kim|Chief Financial Officer|Finance|Finance,Leadership
Elif Yılmaz|Head of Design|Design|Design,Leadership
Femi Adeyemi|Head of Support|Support|Support,Leadership
Greta Lindqvist|Head of People|People|People,Leadership
Hiro Tanaka|Staff Engineer|Engineering|Engineering
Ines Carvalho|Senior Engineer|Engineering|Engineering
Jonas Weber|Senior Engineer|Engineering|Engineering
Kavya Nair|Engineer|Engineering|Engineering
Liam O'Brien|Engineer|Engineering|Engineering
Mariam Haddad|Engineer|Engineering|Engineering
Nils Andersen|Engineer|Engineering|Engineering
Olga Petrova|Site Reliability Engineer|Engineering|Engineering,Support
Pavel Novák|Test Engineer|Engineering|Engineering
Quinn Taylor|Engineering Manager|Engineering|Engineering
Rosa Jiménez|Security Engineer|Engineering|Engineering
Samir Patel|Data Engineer|Engineering|Engineering
Tove Nyström|Engineer|Engineering|Engineering
Uma Krishnan|Product Designer|Design|Design
Vera Schneider|Product Designer|Design|Design
Wim de Boer|Researcher|Design|Design
Xiu Chen|Illustrator|Design|Design
Yara Costa|Content Designer|Design|Design
Zoë Dubois|Design Lead|Design|Design
Amara Diallo|Support Engineer|Support|Support
Björn Eriksson|Support Engineer|Support|Support
Carmen Ruiz|Support Engineer|Support|Support
Dmitri Volkov|Support Engineer|Support|Support
Eun-ji Park|Customer Success|Support|Support
Fatima Zahra|Customer Success|Support|Support
Gábor Nagy|Support Lead|Support|Support
Hannah Fischer|Accountant|Finance|Finance
Ivan Horvat|Controller|Finance|Finance
Jaya Mehta|Payroll|Finance|Finance
Kofi Mensah|Purchasing|Finance|Finance
Lea Rossi|Recruiter|People|People
Mateo Silva|People Partner|People|People
Nora Hansen|Office Manager|People|People`), "\n")
	out := make([]companyPerson, len(lines))
	for i, l := range lines {
		f := strings.Split(l, "|")
		given, family, _ := strings.Cut(f[0], " ")
		out[i] = companyPerson{given: given, family: family, title: f[1], department: f[2], groups: strings.Split(f[3], ",")}
	}
	return out
}

// companyGroups are the groups; the application is bound to those that are bound.
var companyGroups = []struct {
	name, description string
	bound             bool
}{
	{"Engineering", "Everybody who builds the product", true},
	{"Design", "Designers and researchers", true},
	{"Support", "Customer support and success", true},
	{"Leadership", "Heads of departments", true},
	{"Finance", "Accounting, payroll and purchasing", false},
	{"People", "Recruiting and office", false},
}

func (p companyPerson) login() string {
	fold := strings.NewReplacer("ı", "i", "ö", "o", "ë", "e", "á", "a", "é", "e", "ø", "o", "'", "", " ", "", "-", "")
	return fold.Replace(strings.ToLower(p.given + "." + p.family))
}

func (p companyPerson) email() string { return p.login() + "@" + companyDomain }

// seedCompany fills an empty installation and returns the owner's actor and the groups' ids.
func seedCompany(ctx context.Context, h *server.House) (access.Actor, map[string]directory.GroupID, error) {
	people := company()
	first := people[0]
	owner, err := h.Authn.CreateOwner(ctx, authn.Owner{
		Email: first.email(), Username: first.login(), GivenName: first.given, FamilyName: first.family,
		Password: companyPassword, Organization: companyName,
	})
	if err != nil {
		return access.Actor{}, nil, fmt.Errorf("create the owner: %w", err)
	}
	by := access.Actor{Kind: access.Person, ID: string(owner.ID), Name: owner.Email, Role: access.Owner, Correlation: "demo"}
	groups := map[string]directory.GroupID{}
	for _, g := range companyGroups {
		made, err := h.Directory.CreateGroup(ctx, by, directory.NewGroup{GroupAttributes: directory.GroupAttributes{Name: g.name, Description: g.description}})
		if err != nil {
			return by, nil, fmt.Errorf("create group %s: %w", g.name, err)
		}
		groups[g.name] = made.ID
	}
	for i, p := range people {
		at := directory.Attributes{Username: p.login(), Email: p.email()}
		at.GivenName, at.FamilyName, at.DisplayName = p.given, p.family, p.given+" "+p.family
		at.Title, at.Department, at.Company = p.title, p.department, companyName
		at.TimeZone, at.PreferredLanguage = "Europe/Amsterdam", "en"
		at.EmployeeID = fmt.Sprintf("HL-%03d", i+1)
		var member []directory.GroupID
		for _, g := range p.groups {
			member = append(member, groups[g])
		}
		if i == 0 {
			if _, err := h.Directory.UpdateUser(ctx, by, owner.ID, 0, func(a *directory.Attributes) error { *a = at; return nil }); err != nil {
				return by, nil, fmt.Errorf("complete the owner: %w", err)
			}
			for _, g := range member {
				if _, err := h.Directory.AddMembers(ctx, by, g, []directory.UserID{owner.ID}); err != nil {
					return by, nil, err
				}
			}
			continue
		}
		u, err := h.Directory.CreateUser(ctx, by, directory.NewUser{Attributes: at, State: directory.Active, Groups: member})
		if err != nil {
			return by, nil, fmt.Errorf("create %s: %w", p.email(), err)
		}
		if err := h.Authn.SetPassword(ctx, by, u.ID, companyPassword, false); err != nil {
			return by, nil, fmt.Errorf("set a password: %w", err)
		}
	}
	return by, groups, nil
}

// seedSite makes the organization at the stand-in: a verified domain, a directory whose
// default policy enforces single sign-on, and products that groups give access to.
func seedSite(site *rehearsal.Site) (directoryID string, err error) {
	if _, err := site.AddDomain(companyDomain); err != nil {
		return "", err
	}
	if err := site.VerifyDomain(companyDomain); err != nil {
		return "", err
	}
	d, err := site.CreateDirectory("Latchkey")
	if err != nil {
		return "", err
	}
	return d.ID, nil
}

// enforceSite does what is left at the stand-in once both halves of sign-on are entered.
func enforceSite(site *rehearsal.Site, directoryID string) error {
	if err := site.LinkDomain(companyDomain, directoryID); err != nil {
		return err
	}
	if err := site.ClaimDomain(companyDomain, true); err != nil {
		return err
	}
	p, err := site.DefaultPolicy(directoryID)
	if err != nil {
		return err
	}
	return site.EnforceSSO(p.ID, true)
}

// connect makes the Atlassian application, live on both sides.
func connect(ctx context.Context, h *server.House, by access.Actor, groups map[string]directory.GroupID, site *rehearsal.Site) (app.Application, error) {
	var none app.Application
	dir, err := seedSite(site)
	if err != nil {
		return none, err
	}
	a, err := h.Apps.Create(ctx, by, app.NewApplication{
		Connector:  "atlassian-cloud",
		Attributes: app.Attributes{Label: "Atlassian Cloud", Description: "Jira and Confluence", PortalVisible: true},
	})
	if err != nil {
		return none, err
	}
	pairs, err := h.Apps.Certificates(ctx, by, a.ID)
	if err != nil {
		return none, err
	}
	sp, err := site.SetSAML(dir, rehearsal.IdPSettings{EntityID: a.SAML.IDPEntityID, SSOURL: h.Apps.URLs(a).SSO, CertificatePEM: pairs[0].PEM})
	if err != nil {
		return none, err
	}
	if _, err := h.Apps.SaveSAML(ctx, by, a.ID, func(s *app.SAMLSettings) error {
		s.SPEntityID = sp.SPEntityID
		s.ACS = []app.ACS{{URL: sp.ACSURL, Default: true}}
		s.DefaultRelayState = site.Organization().SiteURL
		return nil
	}); err != nil {
		return none, err
	}
	if _, err := h.Apps.ActivateSAML(ctx, by, a.ID); err != nil {
		return none, err
	}
	if err := enforceSite(site, dir); err != nil {
		return none, err
	}
	prov, err := site.SetUpProvisioning(dir)
	if err != nil {
		return none, err
	}
	if _, err := h.Apps.SaveSCIM(ctx, by, a.ID, func(s *app.SCIMSettings) error {
		s.BaseURL, s.ManageGroups = prov.BaseURL, true
		// The stand-in takes more than the real service would be asked to.
		s.RatePerSecond, s.Concurrency = 200, 8
		return nil
	}); err != nil {
		return none, err
	}
	if _, err := h.Apps.SetSCIMToken(ctx, by, a.ID, keys.Secret(prov.APIKey), prov.ExpiresAt); err != nil {
		return none, err
	}
	for _, g := range companyGroups {
		if !g.bound {
			continue
		}
		if err := h.Apps.Bind(ctx, by, a.ID, groups[g.name]); err != nil {
			return none, err
		}
	}
	if err := h.Engine.Activate(ctx, by, a.ID, ""); err != nil {
		return none, err
	}
	return a, nil
}

// waitInSync waits until nothing is left to send, or until the time is over.
func waitInSync(ctx context.Context, h *server.House, by access.Actor, id app.ID, most time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for {
		s, err := h.Engine.Status(ctx, by, id)
		if err != nil {
			return err
		}
		if s.Waiting == 0 && s.Users.Synced > 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(100 * time.Millisecond):
		}
	}
}
