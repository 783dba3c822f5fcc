package console_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/store"
)

func TestUserList(t *testing.T) {
	s := newSite(t)
	s.get("reader", "/console/users").page().has("Bob Example", "bob@example.com", "8 people", "Suspended", "&lt;b&gt;Markup").hasNot("Add user", "<b>Markup")
	s.get("reader", "/console/users?q=franklin").page().has("Rosalind").hasNot("Bob Example")
	s.get("reader", "/console/users?state=suspended").page().has("Carol").hasNot("Bob Example")
	s.get("reader", "/console/users?role=help_desk").page().has("Hedy").hasNot("Rosalind Franklin</a>")
	s.get("reader", "/console/users?q=zzz").page().has("Nobody matches")
	s.get("reader", "/console/users?state=broken").status(http.StatusUnprocessableEntity)
	s.get("reader", "/console/users?cursor=broken").status(http.StatusUnprocessableEntity)
}

func TestSearch(t *testing.T) {
	s := newSite(t)
	s.person("ninth", "Emmy", "Noether", directory.Active, access.None)
	s.get("reader", "/console/search?q=e").page().has("Bob Example", "Engineering", "Atlassian Cloud", `href="/console/users?q=e"`)
	s.get("reader", "/console/search?q=bob").goes(s.userPath("bob"))
	s.get("reader", "/console/search?q=zzz").page().has("Nothing matches", "/console/activity?q=zzz")
}

func TestUserListPages(t *testing.T) {
	s := newSite(t)
	for i := range 120 {
		a := directory.Attributes{Email: "p" + string(rune('a'+i/26)) + string(rune('a'+i%26)) + "@example.org"}
		if _, err := s.directory.CreateUser(t.Context(), system, directory.NewUser{Attributes: a}); err != nil {
			t.Fatal(err)
		}
	}
	link := func(a answer, rel string) string {
		t.Helper()
		m := regexp.MustCompile(`href="([^"]+)" rel="` + rel + `"`).FindStringSubmatch(a.text())
		if m == nil {
			return ""
		}
		return strings.ReplaceAll(m[1], "&amp;", "&")
	}
	seen := map[string]int{}
	note := func(a answer) {
		for _, m := range regexp.MustCompile(`[a-z]+@example\.(org|com)`).FindAllString(a.text(), -1) {
			seen[m] = 1
		}
	}
	first := s.get("reader", "/console/users?state=").page().has("128 people")
	note(first)
	second := s.get("reader", link(first, "next")).page()
	note(second)
	third := s.get("reader", link(second, "next")).page()
	note(third)
	if link(third, "next") != "" || len(seen) != 128 {
		t.Errorf("three pages show %d of 128", len(seen))
	}
	back := s.get("reader", link(third, "prev")).page()
	if again := s.get("reader", link(second, "prev")).page(); readable(again.text()) != readable(first.text()) {
		t.Error("back from the second page isn't the first")
	}
	if strings.Join(regexp.MustCompile(`[a-z]+@example\.org`).FindAllString(back.text(), -1), " ") != strings.Join(regexp.MustCompile(`[a-z]+@example\.org`).FindAllString(second.text(), -1), " ") {
		t.Error("back from the third page isn't the second")
	}
}

func TestCreateUser(t *testing.T) {
	s := newSite(t)
	s.post("owner", "/console/users/new", "email", "not an address", "state", "active", "title", "Kept", "manager", "nobody-at-all", "group", string(s.engineering)).
		status(http.StatusUnprocessableEntity).has("There is nobody with this e-mail address", `value="Kept"`, `value="nobody-at-all"`, `value="`+string(s.engineering)+`" checked`)
	s.post("owner", "/console/users/new", "email", "not an address", "state", "active").
		status(http.StatusUnprocessableEntity).has("isn&#39;t an e-mail address", `value="not an address"`)
	s.post("owner", "/console/users/new", "email", "BOB@example.com", "state", "active").status(http.StatusConflict).has("belongs to another person, Bob Example")
	a := s.post("owner", "/console/users/new",
		"email", "Eve@Example.com", "givenName", "Eve", "familyName", "New", "state", "active", "role", "none", "manager", "bob@example.com",
		"phones[0].value", "", "phones[1].value", "+49 30 1234567", "phones[1].type", "mobile", "phones.primary", "1",
		"addresses[0].locality", "Berlin", "addresses[0].country", "DE",
		"new.custom.0.key", "badge", "new.custom.0.kind", "number", "new.custom.0.value", "17",
		"group", string(s.engineering))
	a.status(http.StatusSeeOther)
	u, err := s.directory.UserByLogin(t.Context(), system, "eve@example.com")
	s.must(err)
	a.goes("/console/users/" + string(u.ID))
	want := directory.Profile{
		GivenName: "Eve", FamilyName: "New", ManagerID: s.people["bob"].ID,
		Phones:    []directory.Phone{{Type: "mobile", Value: "+49 30 1234567", Primary: true}},
		Addresses: []directory.Address{{Locality: "Berlin", Country: "DE"}}, Custom: map[string]any{"badge": int64(17)},
	}
	if d := cmp.Diff(want, u.Profile); d != "" {
		t.Error(d)
	}
	if u.State != directory.Active || u.Role != access.None {
		t.Errorf("state %s, role %s", u.State, u.Role)
	}
	groups, err := s.directory.GroupsOf(t.Context(), system, u.ID)
	s.must(err)
	if len(groups) != 1 || groups[0].ID != s.engineering {
		t.Errorf("groups %v", groups)
	}
	s.post("admin", "/console/users/new", "email", "o2@example.com", "state", "active", "role", "owner").status(http.StatusForbidden)
}

func TestEditUser(t *testing.T) {
	s := newSite(t)
	path := s.userPath("bob")
	bob := s.user("bob")
	s.post("admin", path, "email", "bob@example.com", "username", "bob@example.com", "givenName", "Robert", "familyName", "Example", "custom.left", "", "new.custom.0.key", "floor", "new.custom.0.kind", "bool", "new.custom.0.value", "true").goes(path)
	got := s.user("bob")
	if got.GivenName != "Robert" || got.Title != "" || got.Custom["floor"] != true {
		t.Errorf("saved as %+v", got.Profile)
	}
	// Somebody else saved in the meantime: what was typed is kept, what is there isn't overwritten.
	s.post("admin", path, "version", "1", "email", "bob@example.com", "username", "b", "givenName", "Late").
		status(http.StatusConflict).has("in the meantime", `value="Late"`)
	if s.user("bob").GivenName != "Robert" || bob.Version == got.Version {
		t.Error("a stale form was saved")
	}
	for name, c := range map[string]struct{ pairs, want []string }{
		"manager of oneself": {[]string{"email", "bob@example.com", "manager", "bob@example.com"}, []string{`id="f-manager-error"`}},
		"unknown time zone":  {[]string{"email", "bob@example.com", "timezone", "Mars/Base"}, []string{`id="f-timezone-error"`, `value="Mars/Base"`}},
		"bad phone":          {[]string{"email", "bob@example.com", "phones[0].value", "call me"}, []string{`id="f-phones-0--value-error"`}},
		"nameless attribute": {[]string{"email", "bob@example.com", "new.custom.0.value", "x"}, []string{"Give the attribute a name"}},
		"bad number":         {[]string{"email", "bob@example.com", "custom.floor", "high", "kind.custom.floor", "number"}, []string{"isn&#39;t a number", `value="high"`}},
		"bad attribute name": {[]string{"email", "bob@example.com", "new.custom.0.key", "2 fast", "new.custom.0.value", "x"}, []string{"begins with a letter"}},
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			s.post("admin", path, c.pairs...).status(http.StatusUnprocessableEntity).has(c.want...)
		})
	}
	s.t = t
	s.post("admin", s.userPath("owner"), "email", "owner@example.com", "givenName", "X").status(http.StatusForbidden)
}

func TestUserStates(t *testing.T) {
	s := newSite(t)
	s.provision()
	state := func(name string) directory.State { return s.user(name).State }
	s.get("owner", s.userPath("bob", "suspend")).page().has("sessions end at once", "can&#39;t sign on to Atlassian Cloud", "account at Atlassian Cloud is deactivated")
	s.get("owner", s.userPath("bob")).page().has(`id="suspend"`, `id="delete"`)
	s.post("helpdesk", s.userPath("bob", "suspend")).goes(s.userPath("bob"))
	if state("bob") != directory.Suspended {
		t.Error("not suspended")
	}
	s.settle()
	s.get("owner", s.userPath("bob", "applications")).page().has("Inactive there", "The person is suspended")
	s.post("helpdesk", s.userPath("bob", "unsuspend")).goes(s.userPath("bob"))
	if state("bob") != directory.Active {
		t.Error("still suspended")
	}
	s.post("admin", s.userPath("dan", "activate")).goes(s.userPath("dan"))
	if state("dan") != directory.Active {
		t.Error("not activated")
	}
	s.post("owner", s.userPath("owner", "suspend")).status(http.StatusConflict)
	s.get("owner", s.userPath("owner", "suspend")).status(http.StatusForbidden)

	s.post("owner", s.userPath("bob", "delete"), "confirm", "robert").status(http.StatusUnprocessableEntity).has("Nothing was deleted", "bob@example.com")
	if state("bob") != directory.Active {
		t.Error("deleted without confirmation")
	}
	s.post("owner", s.userPath("bob", "delete"), "confirm", " Bob@example.com ").goes("/console/users")
	if _, err := s.directory.User(t.Context(), system, s.people["bob"].ID); !problem.Is(err, problem.NotFound) {
		t.Errorf("after deletion: %v", err)
	}
	s.get("owner", s.userPath("bob")).status(http.StatusNotFound)
}

func TestRoles(t *testing.T) {
	s := newSite(t)
	s.post("owner", s.userPath("bob", "role"), "role", "help_desk").goes(s.userPath("bob"))
	if s.user("bob").Role != access.HelpDesk {
		t.Error("no role")
	}
	s.post("owner", s.userPath("bob", "role"), "role", "none", "back", "/console/settings/administrators").goes("/console/settings/administrators")
	if s.user("bob").Role != access.None {
		t.Error("still a role")
	}
	s.post("owner", s.userPath("bob", "role"), "role", "none", "back", "https://evil.example/").goes(s.userPath("bob"))
	s.post("owner", s.userPath("owner", "role"), "role", "none").goes(s.userPath("owner"))
	if s.user("owner").Role != access.Owner {
		t.Error("the last owner is gone")
	}
	s.post("owner", s.userPath("bob", "role"), "role", "emperor").status(http.StatusUnprocessableEntity)

	s.post("owner", "/console/settings/administrators", "login", "nobody-at-all", "role", "").status(http.StatusUnprocessableEntity).
		has("There is nobody with this", "Choose a role", `value="nobody-at-all"`)
	s.post("owner", "/console/settings/administrators", "login", "bob@example.com", "role", "owner").goes("/console/settings/administrators")
	s.get("owner", "/console/settings/administrators").page().has("Bob Example").hasNot("only one active owner")
}

func TestUserGroups(t *testing.T) {
	s := newSite(t)
	path := s.userPath("bob", "groups")
	groups := func() (names []string) {
		list, err := s.directory.GroupsOf(t.Context(), system, s.people["bob"].ID)
		s.must(err)
		for _, g := range list {
			names = append(names, g.Name)
		}
		return names
	}
	s.post("admin", path).status(http.StatusUnprocessableEntity).has("Choose at least one group")
	s.post("admin", path, "group", string(s.empty)).goes(path)
	if d := cmp.Diff([]string{"Empty", "Engineering"}, groups()); d != "" {
		t.Error(d)
	}
	s.post("admin", path+"/leave", "group", string(s.engineering)).goes(path)
	if d := cmp.Diff([]string{"Empty"}, groups()); d != "" {
		t.Error(d)
	}
	s.post("admin", path, "group", store.NewID()).status(http.StatusNotFound)
	s.part("reader", "/console/pick/groups?q=eng").status(http.StatusOK).has("Engineering", `name="group"`).hasNot("Empty", "<html")
	s.part("reader", "/console/pick/users?q=hedy").status(http.StatusOK).has("Hedy Lamarr", `name="user"`).hasNot("Bob")
	s.part("reader", "/console/pick/applications?q=wiki").status(http.StatusOK).has("Wiki", `name="application"`).hasNot("Atlassian")
}

func TestUserApplications(t *testing.T) {
	s := newSite(t)
	path := s.userPath("bob", "applications")
	s.get("reader", path).page().has("Atlassian Cloud", "Engineering", "Can sign on").hasNot("In sync")
	s.get("reader", s.userPath("nobody", "applications")).page().has("No applications")
	s.provision()
	s.get("reader", path).page().has("In sync", "Member of Engineering")
	s.get("reader", s.userPath("carol", "applications")).page().has("The person is suspended")
	// A person without a family name can't be sent; it is said what is missing.
	s.post("owner", s.userPath("bob"), "email", "bob@example.com", "givenName", "Bob").status(http.StatusSeeOther)
	s.settle()
	s.get("owner", path).page().has("Blocked", "Missing: Family name", "Retry now")
	s.get("reader", path).page().hasNot("Retry now")
	s.post("reader", path+"/retry", "application", string(s.atlassian)).status(http.StatusForbidden)
	s.post("owner", path+"/retry", "application", string(s.atlassian)).goes(path)
	s.get("owner", "/console").page().has("Atlassian Cloud: ", "needs attention", "Blocked or refused", "the provisioning token ends in 20 days")
	// Out of the group, the account stays on the list as inactive.
	s.post("owner", s.userPath("bob"), "email", "bob@example.com", "givenName", "Bob", "familyName", "Example").status(http.StatusSeeOther)
	s.post("owner", s.userPath("bob", "groups/leave"), "group", string(s.engineering)).status(http.StatusSeeOther)
	s.settle()
	s.get("owner", path).page().has("Inactive there", "In none of its groups any more")
	if links, err := s.engine.LinksOf(t.Context(), system, scim.User, string(s.people["bob"].ID)); err != nil || len(links) != 1 {
		t.Errorf("links %v, %v", links, err)
	}
}

func TestSessions(t *testing.T) {
	s := newSite(t)
	_, token, err := s.authn.SignIn(t.Context(), authn.Attempt{Login: "bob@example.com", Password: password})
	s.must(err)
	list, err := s.authn.Sessions(t.Context(), system, s.people["bob"].ID)
	s.must(err)
	path := s.userPath("bob", "sessions")
	s.get("helpdesk", path).page().has("Unknown program", "password")
	s.post("reader", path, "session", list[0].ID).status(http.StatusForbidden)
	s.post("helpdesk", path, "session", list[0].ID).goes(path)
	if _, err := s.authn.Session(t.Context(), token.Reveal()); err == nil {
		t.Error("the session goes on")
	}
	_, token, err = s.authn.SignIn(t.Context(), authn.Attempt{Login: "bob@example.com", Password: password})
	s.must(err)
	s.get("helpdesk", path+"/end").page().has("signed out in every browser")
	s.post("reader", path+"/end").status(http.StatusForbidden)
	s.post("helpdesk", path+"/end").goes(path)
	if _, err := s.authn.Session(t.Context(), token.Reveal()); err == nil {
		t.Error("the session goes on")
	}
	s.get("owner", s.userPath("owner", "sessions")).page().has("This session", "Chrome on Linux", "192.0.2.7")
}

func TestLinks(t *testing.T) {
	s := newSite(t)
	shown := func(a answer) string {
		t.Helper()
		m := regexp.MustCompile(`value="http://latchkey\.test/activate\?token=([^"]+)"`).FindStringSubmatch(a.page().text())
		if m == nil {
			t.Fatalf("no link:\n%s", readable(a.text()))
		}
		return m[1]
	}
	a := s.post("helpdesk", s.userPath("bob", "link"), "life", "1h0m0s")
	if a.Header().Get("Cache-Control") != "no-store" {
		t.Error("a secret may be kept by the browser")
	}
	link, err := s.authn.Link(t.Context(), shown(a))
	if err != nil || link.Purpose != authn.Reset || time.Until(link.ExpiresAt) > time.Hour {
		t.Errorf("link %+v, %v", link, err)
	}
	s.post("admin", s.userPath("dan", "activate"))
	link, err = s.authn.Link(t.Context(), shown(s.post("helpdesk", s.userPath("dan", "link"))))
	if err != nil || link.Purpose != authn.Activation {
		t.Errorf("link %+v, %v", link, err)
	}
	s.get("helpdesk", s.userPath("carol", "link")).status(http.StatusConflict)
	s.post("helpdesk", s.userPath("owner", "link")).status(http.StatusForbidden)
	s.get("helpdesk", s.userPath("owner", "link")).status(http.StatusForbidden)
	s.post("reader", s.userPath("bob", "link")).status(http.StatusForbidden)
}

func TestPasswords(t *testing.T) {
	s := newSite(t)
	path := s.userPath("bob", "password")
	signIn := func(pw string) error {
		_, _, err := s.authn.SignIn(t.Context(), authn.Attempt{Login: "bob@example.com", Password: keys.Secret(pw)})
		return err
	}
	a := s.post("helpdesk", path, "mode", "generate", "temporary", "on").page().has("shown only once")
	m := regexp.MustCompile(`value="([a-z0-9]{5}(?:-[a-z0-9]{5}){3})"`).FindStringSubmatch(a.text())
	if m == nil {
		t.Fatalf("no password:\n%s", readable(a.text()))
	}
	if err := signIn(m[1]); err == nil || !strings.Contains(err.Error(), "expired") && !strings.Contains(err.Error(), "replaced") {
		t.Errorf("a temporary password lets in: %v", err)
	}
	s.post("helpdesk", path, "mode", "own", "password", "short").status(http.StatusUnprocessableEntity).has("Use at least 12 characters").hasNot(`value="short"`)
	s.post("helpdesk", path, "mode", "own", "password", "seven tall lanterns swing").goes(s.userPath("bob"))
	if err := signIn("seven tall lanterns swing"); err != nil {
		t.Error(err)
	}
	s.post("helpdesk", s.userPath("admin", "password"), "mode", "generate").status(http.StatusForbidden)
}

// What a role may not do is neither offered nor done.
func TestRoleTable(t *testing.T) {
	s := newSite(t)
	const allowed = http.StatusSeeOther
	bob, eng := s.userPath("bob"), s.groupPath(s.engineering)
	for _, c := range []struct {
		act            string
		method, path   string
		pairs          []string
		helpdesk, read int
	}{
		{"add a user", "GET", "/console/users/new", nil, 403, 403},
		{"add a user", "POST", "/console/users/new", []string{"email", "new@example.com"}, 403, 403},
		{"edit a user", "POST", bob, []string{"email", "bob@example.com"}, 403, 403},
		{"import", "GET", "/console/users/import", nil, 403, 403},
		{"template", "GET", "/console/users/import/template.csv", nil, 403, 403},
		{"see an import", "GET", "/console/imports/1", nil, 403, 403},
		{"run an import", "POST", "/console/imports/1/run", nil, 403, 403},
		{"discard an import", "POST", "/console/imports/1/discard", nil, 403, 403},
		{"join a group", "POST", bob + "/groups", []string{"group", string(s.empty)}, 403, 403},
		{"leave a group", "POST", bob + "/groups/leave", []string{"group", string(s.engineering)}, 403, 403},
		{"activate", "POST", s.userPath("dan", "activate"), nil, 403, 403},
		{"suspend", "GET", bob + "/suspend", nil, 200, 403},
		{"suspend", "POST", bob + "/suspend", nil, allowed, 403},
		{"unsuspend", "POST", bob + "/unsuspend", nil, allowed, 403},
		{"suspend an administrator", "POST", s.userPath("reader", "suspend"), nil, 403, 403},
		{"delete", "GET", bob + "/delete", nil, 403, 403},
		{"delete", "POST", bob + "/delete", []string{"confirm", "bob@example.com"}, 403, 403},
		{"give a role", "GET", bob + "/role", nil, 403, 403},
		{"give a role", "POST", bob + "/role", []string{"role", "owner"}, 403, 403},
		{"make a link", "GET", bob + "/link", nil, 200, 403},
		{"make a link", "POST", bob + "/link", nil, 200, 403},
		{"set a password", "GET", bob + "/password", nil, 200, 403},
		{"set a password", "POST", bob + "/password", []string{"mode", "generate"}, 200, 403},
		{"end sessions", "POST", bob + "/sessions/end", nil, allowed, 403},
		{"add a group", "GET", "/console/groups/new", nil, 403, 403},
		{"add a group", "POST", "/console/groups/new", []string{"name", "New"}, 403, 403},
		{"edit a group", "GET", eng + "/edit", nil, 403, 403},
		{"edit a group", "POST", eng + "/edit", []string{"name", "New"}, 403, 403},
		{"add members", "POST", eng + "/members", []string{"user", string(s.people["dan"].ID)}, 403, 403},
		{"remove members", "POST", eng + "/members/remove", []string{"member", string(s.people["bob"].ID)}, 403, 403},
		{"bind", "POST", eng + "/applications", []string{"application", string(s.wiki)}, 403, 403},
		{"unbind", "GET", eng + "/applications/" + string(s.atlassian) + "/unbind", nil, 403, 403},
		{"unbind", "POST", eng + "/applications/" + string(s.atlassian) + "/unbind", nil, 403, 403},
		{"delete a group", "GET", eng + "/delete", nil, 403, 403},
		{"delete a group", "POST", eng + "/delete", []string{"confirm", "Engineering"}, 403, 403},
		{"name the organization", "POST", "/console/settings", []string{"organization", "Other"}, 403, 403},
		{"make an administrator", "POST", "/console/settings/administrators", []string{"login", "bob@example.com", "role", "owner"}, 403, 403},
		{"see API keys", "GET", "/console/settings/keys", nil, 403, 403},
		{"make an API key", "POST", "/console/settings/keys", []string{"name", "x", "role", "read_only", "life", "30"}, 403, 403},
		{"revoke an API key", "POST", "/console/settings/keys/1/revoke", nil, 403, 403},
	} {
		for as, want := range map[string]int{"reader": c.read, "helpdesk": c.helpdesk, "nobody": 403} {
			t.Run(as+" "+c.method+" "+c.act, func(t *testing.T) {
				s.t = t
				if c.method == "GET" {
					s.get(as, c.path).status(want)
				} else {
					s.post(as, c.path, c.pairs...).status(want)
				}
			})
		}
	}
	s.t = t
	if u := s.user("bob"); u.State != directory.Active || u.Role != access.None {
		t.Errorf("bob ends as %s, %s", u.State, u.Role)
	}
	s.get("reader", bob).page().hasNot("Suspend", "Delete", "Hand out", "Save<", "Change role").has("Platform", "Read-only")
	s.get("helpdesk", bob).page().has("Suspend", "Set a password").hasNot("Save<", "Change role", `id="delete"`)
	s.get("reader", eng).page().hasNot("Remove from the group", "Add to the group", "Add people", ">Edit<")
	s.get("reader", "/console/settings").page().hasNot("API keys", "Save<").has("Vertex")
}
