package provision_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/scim/scimtest"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

// contract is what a product's documentation says of its SCIM service, independent of the
// connector's file, so that the two can disagree: the habits that a target plays, what an account
// holds in the end, and what decides the least possible number of requests.
type contract struct {
	quirks scimtest.Quirks
	// holds tells what an account holds: by path, which attribute of the person.
	holds map[string]string
	// fixed are those of holds that stay as they were when the account was made.
	fixed []string
	// rows are what an administrator has to enter in the mapping.
	rows []catalog.RowOverride
	// lookups is how many look-ups tell that an account isn't there.
	lookups int
	// byID is whether an account that is there has our id from elsewhere, and another user name.
	byID bool
	// unseen is whether an account that is there is found only by making it.
	unseen bool
	// put: a change is sent by PUT, for which the account is read first; emailPut: only a changed
	// address is. activePatch: active is sent by PATCH all the same.
	put, emailPut, activePatch bool
	noRename                   bool
	// startsFull: a group is made with its members.
	startsFull bool
	// goes: a leaver's account is gone.
	goes bool
	// groupReads is how many requests it takes to compare the two groups; one list where it is 0.
	groupReads int
}

const (
	workMail   = `emails[type eq "work"].value`
	given      = "name.givenName"
	family     = "name.familyName"
	formatted  = "name.formatted"
	profile    = `entitlements[type eq "Profile"].value`
	enterprise = "User.urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
)

// kept lists what a product's documentation names.
func kept(user string, group ...string) (out []string) {
	for _, a := range strings.Fields(user) {
		out = append(out, "User."+a)
	}
	out = append(out, "User.active")
	for _, a := range group {
		out = append(out, "Group."+a)
	}
	return out
}

// uuids are ids as most products make them.
func uuids(kind scim.ResourceType, n int, _ scim.Resource) string {
	return fmt.Sprintf("%08x-1c1b-4b1f-9c3e-%012d", n*7919, len(kind))
}

// rfc is a service that does what the RFCs say and can filter by the usual attributes.
func rfc() contract {
	return contract{
		quirks:  scimtest.Quirks{Filters: []string{"User.userName", "User.externalId", "Group.displayName"}, ID: uuids},
		lookups: 2,
		holds: map[string]string{
			"userName": "username", workMail: "email", given: "given", family: "family", "displayName": "full", "title": "title", "externalId": "id",
		},
	}
}

// The sources are in the connectors' files; of each product the habits that a client meets.
func contracts() map[string]contract {
	atlassian := scimtest.Atlassian()
	atlassian.ID, atlassian.GroupsStartEmpty, atlassian.NoProjection = uuids, true, true
	return map[string]contract{
		"custom-scim":      rfc(),
		"custom-saml-scim": rfc(),
		"atlassian-cloud": {
			quirks: atlassian, lookups: 2, emailPut: true, noRename: true,
			holds: rfc().holds,
		},
		"1password": {
			quirks: scimtest.Quirks{
				BasePath: "/scim", Filters: []string{"User.userName", "Group.displayName"}, NoRename: true, NoDiscovery: true,
				Required: []string{"User.emails"}, GroupsStartEmpty: true, ListHidesMembers: true,
				Kept: kept("userName displayName name emails", "displayName", "members"),
			},
			lookups: 1, noRename: true, groupReads: 2,
			holds: map[string]string{"userName": "email", workMail: "email", given: "given", family: "family", "displayName": "full"},
		},
		"aws-iam-identity-center": {
			quirks: scimtest.Quirks{
				BasePath: "/tenant/scim/v2", ID: uuids, Cursor: true, NoProjection: true, HideMembers: true,
				Filters:  []string{"User.userName", "User.externalId", "Group.displayName", "Group.externalId"},
				Required: []string{"User.name.givenName", "User.name.familyName", "User.displayName"},
				Single:   []string{"User.emails", "User.phoneNumbers", "User.addresses"},
				Removal:  "value", NoMembersReplaced: true, MostMembers: 100, GroupsStartEmpty: true,
			},
			lookups: 2,
			holds: map[string]string{
				"userName": "email", workMail: "email", given: "given", family: "family", "displayName": "full", "title": "title", "externalId": "id",
			},
		},
		"cloudflare-access": {
			quirks: scimtest.Quirks{
				Filters: []string{"User.userName", "Group.displayName"}, Required: []string{"User.emails"},
				NoRename: true, GroupsStartEmpty: true, NoDiscovery: true,
			},
			lookups: 1, noRename: true,
			holds: map[string]string{"userName": "email", workMail: "email", given: "given", family: "family", "displayName": "full", "externalId": "id"},
		},
		"datadog": {
			quirks: scimtest.Quirks{
				BasePath: "/api/v2/scim", Filters: []string{"User.userName", "Group.displayName", "Group.externalId"}, ID: uuids,
				Required: []string{"User.emails"}, Single: []string{"User.emails"}, DeleteDeactivates: true, GroupsStartEmpty: true, NoDiscovery: true,
				Kept: kept("userName title emails name.formatted roles", "displayName", "externalId", "members"),
			},
			lookups: 1,
			holds:   map[string]string{"userName": "email", workMail: "email", formatted: "full", "title": "title"},
		},
		"figma": {
			quirks: scimtest.Quirks{
				BasePath: "/scim/v2/1234", PageCap: 200, NoUserPatch: true, EmailIsName: true,
				Filters: []string{"User.userName", "User.externalId", "Group.displayName", "Group.externalId"},
				Spelt:   map[string]string{"externalId": "external_id"}, Longest: map[string]int{"User.userName": 100, "User.displayName": 100},
			},
			lookups: 2, unseen: true, put: true, startsFull: true,
			holds: map[string]string{"userName": "email", given: "given", family: "family", "displayName": "full", "title": "title", "externalId": "id"},
		},
		"github-enterprise": {
			quirks: scimtest.Quirks{
				BasePath: "/scim/v2/enterprises/example", ID: uuids, UserAgent: true, NoDiscovery: true, NoPathFilters: true, Removal: "value",
				Filters:  []string{"User.userName", "User.externalId", "User.displayName", "Group.displayName", "Group.externalId"},
				Required: []string{"User.externalId", "User.displayName", "User.emails", "User.name.givenName", "User.name.familyName", "Group.externalId", "Group.members"},
				Kept:     kept("userName externalId displayName name emails roles", "displayName", "externalId", "members"),
			},
			lookups: 2, emailPut: true, startsFull: true,
			holds: map[string]string{"userName": "username", workMail: "email", given: "given", family: "family", "displayName": "full", "externalId": "id"},
		},
		"gitlab": {
			quirks: scimtest.Quirks{
				BasePath: "/api/scim/v2/groups/example", PageCap: 20, NoGroups: true, NoDiscovery: true, NoUserPut: true, NoContent: true,
				Filters: []string{"User.externalId", "User.id", "User.userName"}, Unshown: []string{"User.externalId"}, DeleteDeactivates: true,
				ID:       func(_ scim.ResourceType, _ int, r scim.Resource) string { return r.ExternalID() },
				Required: []string{"User.externalId", "User.emails", "User.name"},
				Fixed:    []string{"userName", "emails", "name", "displayName", "externalId"},
				Kept:     kept("userName externalId name emails"),
			},
			lookups: 2, byID: true,
			holds: map[string]string{"userName": "username", workMail: "email", given: "given", family: "family", formatted: "full", "externalId": "id"},
			fixed: []string{"userName", workMail, given, family, formatted, "externalId"},
		},
		"grafana": {
			quirks: scimtest.Quirks{
				BasePath: "/apis/scim.grafana.app/v0alpha1/namespaces/stacks-1", Filters: []string{"User.userName", "Group.displayName"},
				Required: []string{"User.externalId", "User.emails"}, DeleteDeactivates: true, NoRename: true, GroupsStartEmpty: true, NoDiscovery: true,
				Kept: kept("userName displayName externalId emails", "displayName", "externalId", "members"),
			},
			lookups: 1, noRename: true,
			holds: map[string]string{"userName": "email", workMail: "email", "displayName": "full", "externalId": "id"},
		},
		"miro": {
			quirks: scimtest.Quirks{
				BasePath: "/api/v1/scim", Filters: []string{"User.userName", "Group.displayName"}, GroupsStartEmpty: true, MostMembers: 8000,
				Longest: map[string]int{"User.displayName": 60},
				Kept:    append(kept("userName displayName name userType", "displayName", "members"), enterprise),
			},
			lookups: 1,
			holds:   map[string]string{"userName": "email", given: "given", family: "family", "displayName": "full"},
		},
		"notion": {
			quirks: scimtest.Quirks{
				BasePath: "/scim/v2", ID: uuids, Filters: []string{"User.userName", "User.email", "Group.displayName"}, InactiveGoes: true,
				Kept: append(kept("userName name.formatted emails title", "displayName", "members"), enterprise), GroupsStartEmpty: true,
			},
			lookups: 1, goes: true,
			holds: map[string]string{"userName": "email", workMail: "email", formatted: "full", "title": "title"},
		},
		"salesforce": {
			quirks: scimtest.Quirks{
				BasePath: "/services/scim/v2", PageCap: 20, Filters: []string{"User.userName"}, NoGroups: true, NoDiscovery: true,
				LowerUserNames: true, PlainErrors: true, DeleteDeactivates: true,
				Required: []string{"User.emails", "User.name.familyName", "User.entitlements"}, Single: []string{"User.entitlements"},
				// Ids that are told apart by upper and lower case only.
				ID: func(_ scim.ResourceType, n int, _ scim.Resource) string {
					return "0055g00000" + strings.Map(func(r rune) rune {
						if r == '1' {
							return 'x'
						}
						return 'X'
					}, fmt.Sprintf("%08b", n)) + "AAA"
				},
			},
			rows:    []catalog.RowOverride{{Target: profile, Source: &catalog.Source{Constant: "00e5g000001AbCd"}}},
			lookups: 1,
			holds: map[string]string{
				"userName": "email", workMail: "email", given: "given", family: "family", "title": "title", "externalId": "id", profile: "=00e5g000001AbCd",
			},
			fixed: []string{profile},
		},
		"sentry": {
			quirks: scimtest.Quirks{
				BasePath: "/api/0/organizations/example/scim/v2", Filters: []string{"User.userName", "Group.displayName"},
				InactiveGoes: true, PatchActiveOnly: true, NoUserPut: true, NoGroupPut: true, Slugs: true, GroupsStartEmpty: true,
				Removal: "filter", MostOperations: 100, NoContent: true, Fixed: []string{"userName"},
				Kept: kept("userName sentryOrgRole", "displayName", "members"),
			},
			lookups: 1, goes: true,
			holds: map[string]string{"userName": "email"},
			fixed: []string{"userName"},
		},
		"slack": {
			quirks: scimtest.Quirks{
				BasePath: "/scim/v2", Filters: []string{"User.userName", "User.email", "Group.displayName"}, DeleteDeactivates: true,
				Longest: map[string]int{"User.userName": 20}, Required: []string{"User.emails"}, GroupsStartEmpty: true, NoDiscovery: true,
				ID: func(kind scim.ResourceType, n int, _ scim.Resource) string { return fmt.Sprintf("%c%08XZ", kind[0], n) },
				Kept: append(kept("userName nickName name displayName profileUrl emails phoneNumbers photos timezone title locale externalId roles", "displayName", "members"),
					enterprise),
			},
			lookups: 1,
			holds:   rfc().holds,
		},
		"tailscale": {
			quirks: scimtest.Quirks{
				BasePath: "/scim/v2", Filters: []string{"User.externalId", "User.userName", "Group.displayName"},
				Required: []string{"User.externalId", "Group.externalId"}, NoRename: true, GroupsStartEmpty: true, NoDiscovery: true,
				Kept: kept("userName externalId displayName name emails preferredLanguage", "displayName", "externalId", "members"),
			},
			lookups: 2, noRename: true,
			holds: map[string]string{
				"userName": "email", workMail: "email", given: "given", family: "family", formatted: "full", "displayName": "full", "externalId": "id",
			},
		},
		"zoom": {
			quirks: scimtest.Quirks{
				BasePath: "/scim2", Account: "AbCdEf0123:kLmNoPqRsT:uVwXyZ0123456789", Filters: []string{"User.userName", "Group.displayName"},
				PatchActiveOnly: true, PutMerges: true, NoGroupPut: true, NoRename: true, GroupsStartEmpty: true, ListHidesMembers: true, NoDiscovery: true,
				Kept: append(kept("userName name.givenName name.familyName displayName emails userType title locale phoneNumbers roles", "displayName", "members"),
					enterprise),
			},
			lookups: 1, put: true, activePatch: true, noRename: true, groupReads: 2,
			holds: map[string]string{"userName": "email", workMail: "email", given: "given", family: "family"},
		},
	}
}

// TestContracts takes every SCIM connector of the catalogue through one life at a target with the
// product's habits. The target must refuse nothing, hold exactly what it should in the end, and
// have seen hardly more requests than are possible.
func TestContracts(t *testing.T) {
	t.Parallel()
	cat, err := catalog.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	all := contracts()
	for _, con := range cat.All() {
		if _, ok := all[con.Key]; con.SCIM != nil && !ok {
			t.Errorf("no contract of %s", con.Key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			newLife(t, key, all[key]).run()
		})
	}
}

// life is one connector with its target, and the count of requests.
type life struct {
	*world
	contract
	research directory.GroupID
	people   map[string]*living
	least    int
	saw      int
	told     []string
	before   scim.Resource // the account that is there already
}

type living struct {
	id                           directory.UserID
	username, email, given, last string
	title                        string
}

func (p *living) value(attribute string) string {
	switch attribute {
	case "username":
		return p.username
	case "email":
		return p.email
	case "given":
		return p.given
	case "family":
		return p.last
	case "full":
		return p.given + " " + p.last
	case "title":
		return p.title
	case "id":
		return string(p.id)
	}
	return strings.TrimPrefix(attribute, "=")
}

// tokenAt sends what would go to a product's token endpoint to the target.
type tokenAt struct {
	http.RoundTripper
	base string
}

func (c *tokenAt) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == "/oauth/token" {
		u, err := url.Parse(c.base)
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.URL.Scheme, r.URL.Host, r.Host = u.Scheme, u.Host, u.Host
	}
	return c.RoundTripper.RoundTrip(r)
}

func (c *tokenAt) CloseIdleConnections() { c.RoundTripper.(*http.Transport).CloseIdleConnections() }

func newLife(t *testing.T, connector string, c contract) *life {
	t.Helper()
	l := &life{world: &world{t: t, target: scimtest.New(c.quirks), name: "test"}, contract: c, people: map[string]*living{}}
	w := l.world
	base := w.target.Start(t)
	w.carry = &tokenAt{&http.Transport{}, base}
	w.boot(storetest.SQLite(t))
	w.start()
	t.Cleanup(func() { w.stop() })
	a, err := w.apps.Create(t.Context(), owner, app.NewApplication{Connector: connector, Attributes: app.Attributes{Label: connector}})
	w.must(err)
	w.app = a.ID
	_, err = w.apps.SaveSCIM(t.Context(), owner, w.app, func(s *app.SCIMSettings) error {
		s.BaseURL, s.ManageGroups, s.RatePerSecond, s.Burst, s.Concurrency = base, !c.quirks.NoGroups, 10000, 1000, 8
		s.Mapping.Rows = c.rows
		return nil
	})
	w.must(err)
	token := scimtest.Token
	if c.quirks.Account != "" {
		token = c.quirks.Account
	}
	_, err = w.apps.SetSCIMToken(t.Context(), owner, w.app, keys.Secret(token), time.Time{})
	w.must(err)
	for _, g := range []struct {
		id   *directory.GroupID
		name string
	}{{&w.group, "Engineering"}, {&l.research, "Research"}} {
		made, err := w.dir.CreateGroup(t.Context(), owner, directory.NewGroup{GroupAttributes: directory.GroupAttributes{Name: g.name}})
		w.must(err)
		*g.id = made.ID
		w.must(w.apps.Bind(t.Context(), owner, w.app, made.ID))
	}
	w.policy(func(s *provision.DriftSettings) { s.Policy = provision.Ours })
	return l
}

func (l *life) comes(name string, groups ...directory.GroupID) *living {
	l.t.Helper()
	p := &living{username: name, email: strings.ToLower(name) + "@example.com", given: name, last: "Example", title: "Clerk"}
	at := directory.Attributes{Username: p.username, Email: p.email}
	at.GivenName, at.FamilyName, at.Title = p.given, p.last, p.title
	u, err := l.dir.CreateUser(l.t.Context(), owner, directory.NewUser{Attributes: at, State: directory.Active, Groups: groups})
	l.must(err)
	p.id = u.ID
	l.people[name] = p
	return p
}

func (l *life) changes(p *living, change func(p *living)) {
	l.t.Helper()
	change(p)
	_, err := l.dir.UpdateUser(l.t.Context(), owner, p.id, 0, func(a *directory.Attributes) error {
		a.Username, a.Email, a.GivenName, a.FamilyName, a.Title = p.username, p.email, p.given, p.last, p.title
		return nil
	})
	l.must(err)
}

// does lets something happen, waits for what comes of it, and counts.
func (l *life) does(what string, least int, happen func()) {
	l.t.Helper()
	l.target.Forget()
	happen()
	l.settled()
	l.counts(what, least)
}

func (l *life) counts(what string, least int) {
	l.t.Helper()
	all := l.target.Requests()
	l.least, l.saw = l.least+least, l.saw+len(all)
	l.told = append(l.told, fmt.Sprintf("%s: least %d, saw %d", what, least, len(all)))
	for _, r := range all {
		if len(all) != least {
			l.told = append(l.told, fmt.Sprintf("    %s -> %d", r, r.Status))
		}
		// Where leavers are gone, the account is missing when they come back.
		if r.Status >= 400 && (!l.goes || r.Status != http.StatusNotFound) {
			l.t.Errorf("%s: refused with %d: %s", what, r.Status, r)
		}
	}
	l.target.Forget()
}

// reach is how many requests it takes to bring a change of these attributes there.
func (l *life) reach(attributes ...string) int {
	for path, attribute := range l.holds {
		switch {
		case !slices.Contains(attributes, attribute) || slices.Contains(l.fixed, path):
		case l.put, l.emailPut && slices.Contains(attributes, "email"):
			return 2
		default:
			return 1
		}
	}
	return 0
}

func (l *life) run() {
	t, ctx := l.t, l.t.Context()
	groups := !l.quirks.NoGroups
	if groups {
		l.target.Put(scim.Group, scim.Resource{"displayName": "Research", "externalId": "theirs", "members": []any{}})
	}
	ada := l.comes("Ada", l.group, l.research)
	l.wasThere(ada)
	bob, cyd := l.comes("Bob", l.group, l.research), l.comes("Cyd", l.group)

	// Ada is found and put right, the others are made.
	least := 1 + 2*(l.lookups+1)
	if !l.byID && !l.unseen {
		least = l.lookups + 2*(l.lookups+1)
	}
	if l.unseen {
		least += l.lookups
	} else if l.reach("title", "full", "family") > 0 {
		least++ // just found, nothing has to be read for a PUT
	}
	if groups {
		least += 2 + 1 + 2 // two are looked up, one is made, and both get members
		if l.startsFull {
			least--
		}
	}
	if l.quirks.Account != "" {
		least++
	}
	l.does("activated", least, l.activate)
	l.holdsAll("activated", map[string]string{"Engineering": "Ada Bob Cyd", "Research": "Ada Bob"}, ada, bob, cyd)

	l.does("title", l.reach("title"), func() { l.changes(ada, func(p *living) { p.title = "Countess" }) })
	l.does("name", l.reach("family", "full"), func() { l.changes(ada, func(p *living) { p.last = "King" }) })
	l.does("e-mail", l.reach("email"), func() { l.changes(ada, func(p *living) { p.email = "ada.king@example.com" }) })

	rename := func(name string) {
		_, err := l.dir.UpdateGroup(ctx, owner, l.group, 0, func(g *directory.GroupAttributes) error { g.Name = name; return nil })
		l.must(err)
	}
	least = 1
	if l.noRename || !groups {
		least = 0
	}
	l.does("rename", least, func() { rename("Builders") })
	if groups && l.noRename {
		links, err := l.engine.Links(ctx, owner, l.app, provision.LinkQuery{Kind: scim.Group, Status: provision.LinkBlocked})
		l.must(err)
		if len(links.Items) != 1 || !strings.Contains(links.Items[0].Reason, "Builders") {
			t.Errorf("a rename that isn't possible: %+v", links.Items)
		}
	}
	l.does("rename back", least, func() { rename("Engineering") })

	one, two := 0, 0
	if groups {
		one, two = 1, 2
	}
	l.does("leaves a group", one, func() {
		_, err := l.dir.RemoveMembers(ctx, owner, l.group, []directory.UserID{bob.id})
		l.must(err)
	})
	off := 1 // and another, for the receipt, which reads the account back
	if l.put && !l.activePatch {
		off = 2
	}
	l.does("suspended", two+off+1, func() {
		_, err := l.dir.Suspend(ctx, owner, ada.id)
		l.must(err)
	})
	l.holdsAll("suspended", map[string]string{"Engineering": "Cyd", "Research": "Bob"}, bob, cyd)
	back := off + two
	if l.goes {
		back = l.lookups + 1 + two
		l.before = nil
	}
	l.does("back", back, func() {
		_, err := l.dir.Unsuspend(ctx, owner, ada.id)
		l.must(err)
	})
	l.does("last group left", one+off+1, func() {
		_, err := l.dir.RemoveMembers(ctx, owner, l.group, []directory.UserID{cyd.id})
		l.must(err)
	})

	// Nothing differs: a comparison reads and writes nothing, planning everything again asks nothing.
	least = 1
	if groups {
		least += max(1, l.groupReads)
	}
	l.target.Forget()
	rep := l.compare()
	if got := l.target.Writes(); len(got) != 0 || rep.Counts.Differing() != 0 {
		t.Errorf("a second comparison: %+v, findings %q, wrote %v", rep.Counts, l.findings(), got)
	}
	l.counts("compared", least)
	l.does("planned again", 0, func() {
		l.must(l.engine.Pause(ctx, owner, l.app, "test"))
		l.must(l.engine.Resume(ctx, owner, l.app))
	})
	l.holdsAll("at the end", map[string]string{"Engineering": "Ada", "Research": "Ada Bob"}, ada, bob)
	l.listed()

	if float64(l.saw) > 1.1*float64(l.least) {
		t.Errorf("%d requests, at least %d are needed: %.2f times as many", l.saw, l.least, float64(l.saw)/float64(l.least))
	}
	t.Logf("%d requests, at least %d are needed", l.saw, l.least)
	if t.Failed() {
		t.Log(strings.Join(l.told, "\n"))
	}
}

// wasThere puts an account of the person there, with old values.
func (l *life) wasThere(p *living) {
	l.t.Helper()
	r := scim.Resource{"schemas": []any{scim.SchemaUser}, "active": true}
	for path, attribute := range l.holds {
		value := "Old " + attribute
		switch {
		case attribute == "id" && !l.byID:
			if !slices.Contains(l.quirks.Required, "User.externalId") {
				continue
			}
			value = "of-another-provider"
		case attribute == "email" || attribute == "username" && !l.byID || attribute == "id":
			value = p.value(attribute)
		}
		l.must(r.Set(path, value))
	}
	if list, _ := r["emails"].([]any); len(list) == 1 {
		list[0].(map[string]any)["primary"] = true
	}
	id := l.target.Put(scim.User, r)
	l.before = l.target.Resource(scim.User, id)
	if l.unseen {
		l.target.Hide(id)
		l.before = nil
	}
}

// holdsAll compares the target with what it should hold: the active people with their values,
// everybody else inactive or gone, and the groups with their members.
func (l *life) holdsAll(when string, groups map[string]string, active ...*living) {
	l.t.Helper()
	names, seen := map[string]string{}, map[string]bool{}
	for _, r := range l.target.Resources(scim.User) {
		var who *living
		for _, p := range l.people {
			mine := strings.EqualFold(r.UserName(), p.value(l.holds["userName"])) || r.ExternalID() == string(p.id) ||
				l.before != nil && p.username == "Ada" && r.ID() == l.before.ID()
			if mine && who == nil {
				who = p
			}
		}
		if who == nil || seen[who.username] {
			l.t.Errorf("%s: an account that is nobody's: %v", when, r)
			continue
		}
		names[r.ID()], seen[who.username] = who.username, true
		on, _ := r.Active()
		if on != slices.Contains(active, who) {
			l.t.Errorf("%s: %s is active: %v", when, who.username, on)
		}
		if on {
			l.account(when, who, r)
		} else if l.goes {
			l.t.Errorf("%s: %s is still there", when, who.username)
		}
	}
	for _, p := range active {
		if !seen[p.username] {
			l.t.Errorf("%s: %s has no account", when, p.username)
		}
	}
	if l.quirks.NoGroups {
		groups = nil
	}
	got := map[string]string{}
	for _, r := range l.target.Resources(scim.Group) {
		var members []string
		for _, id := range r.Members() {
			members = append(members, names[id])
		}
		slices.Sort(members)
		got[r.DisplayName()] = strings.Join(members, " ")
	}
	if !maps.Equal(got, groups) {
		l.t.Errorf("%s: groups %v, want %v", when, got, groups)
	}
}

// account compares one account's values.
func (l *life) account(when string, p *living, r scim.Resource) {
	l.t.Helper()
	allowed := map[string]bool{"id": true, "meta": true, "schemas": true, "active": true}
	for path, attribute := range l.holds {
		top, _, _ := strings.Cut(path, "[")
		top, _, _ = strings.Cut(top, ".")
		allowed[top] = true
		want := p.value(attribute)
		if slices.Contains(l.fixed, path) && p.username == "Ada" && l.before != nil {
			want = l.before.Text(path)
		}
		if got := r.Text(path); got != want && !(path == "userName" && strings.EqualFold(got, want)) {
			l.t.Errorf("%s: %s of %s is %q, want %q", when, path, p.username, got, want)
		}
	}
	for name := range r {
		if _, theirs := l.quirks.Extension[name]; !allowed[name] && !theirs {
			l.t.Errorf("%s: %s of %s is there: %v", when, name, p.username, r[name])
		}
	}
}

// listed lists more accounts than two pages hold, for an import.
func (l *life) listed() {
	t, ctx := l.t, l.t.Context()
	size := l.quirks.PageCap
	if size == 0 {
		size = 100
	}
	ours := len(l.target.Resources(scim.User))
	more := 2*size + 1 - ours
	for i := range more {
		name := fmt.Sprintf("guest%03d", i)
		l.target.Put(scim.User, scim.Resource{
			"schemas": []any{scim.SchemaUser}, "userName": name + "@example.org", "externalId": name, "active": true,
			"emails": []any{map[string]any{"value": name + "@example.org", "type": "work", "primary": true}},
		})
	}
	l.target.Forget()
	imp, err := l.engine.StartImport(ctx, owner, l.app)
	l.must(err)
	for range 1000 {
		if imp, err = l.engine.Import(ctx, owner, imp.ID); imp.State != "listing" {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	l.must(err)
	if imp.State != "listed" || imp.New != more || imp.Matched != ours || imp.Conflict != 0 {
		t.Errorf("import: %+v, want %d new and %d matched", imp, more, ours)
	}
	l.counts("listed", 3)
}
