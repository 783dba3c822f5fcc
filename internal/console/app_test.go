package console_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"html"
	"image"
	"image/png"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/scim/scimtest"
	"github.com/latchkey-idp/latchkey/internal/web/webtest"
)

func (s *site) appPath(id app.ID, rest ...string) string {
	return strings.Join(append([]string{"/console/applications/" + string(id)}, rest...), "/")
}

func (s *site) app(id app.ID) app.Application {
	s.t.Helper()
	a, err := s.apps.Get(s.ctx(), system, id)
	s.must(err)
	return a
}

// connected points Atlassian Cloud at a target without activating provisioning.
func (s *site) connected() {
	s.t.Helper()
	s.target = scimtest.New(scimtest.Atlassian())
	base := s.target.Start(s.t)
	_, err := s.apps.SaveSCIM(s.ctx(), system, s.atlassian, func(to *app.SCIMSettings) error {
		to.BaseURL, to.ManageGroups, to.RatePerSecond, to.Burst = base, true, 10_000, 1000
		return nil
	})
	s.must(err)
	_, err = s.apps.SetSCIMToken(s.ctx(), system, s.atlassian, keys.Secret(scimtest.Token), time.Now().AddDate(0, 0, 20))
	s.must(err)
}

// hidden reads a hidden field's value off a page.
func (a answer) hidden(name string) string {
	a.t.Helper()
	m := regexp.MustCompile(`name="` + regexp.QuoteMeta(name) + `" value="([^"]*)"`).FindStringSubmatch(a.text())
	if m == nil {
		a.t.Fatalf("no hidden field %s in:\n%s", name, readable(a.text()))
	}
	return html.UnescapeString(m[1])
}

// flash is the message that the next page will show.
func (s *site) follow(as string, a answer) answer {
	s.t.Helper()
	a.status(http.StatusSeeOther)
	where, _, _ := strings.Cut(a.Header().Get("Location"), "#")
	r := s.request(http.MethodGet, where)
	for _, c := range a.Result().Cookies() {
		r.AddCookie(c)
	}
	return s.do(as, r)
}

func (s *site) request(method, path string) *http.Request {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.ctx(), method, "http://latchkey.test"+path, http.NoBody)
	s.must(err)
	r.RequestURI = path
	r.RemoteAddr = "192.0.2.7:4711"
	return r
}

// The whole of the main job, from the catalogue to removal, by pages alone.
func TestMainJobThroughThePages(t *testing.T) {
	s := newSite(t)
	s.target = scimtest.New(scimtest.Atlassian())
	base := s.target.Start(t)
	s.target.Put(scim.User, scim.Resource{
		"schemas": []any{scim.SchemaUser}, "userName": "zoe@example.com", "active": true, "displayName": "Zoe Old",
		"name":   map[string]any{"givenName": "Zoe", "familyName": "Old"},
		"emails": []any{map[string]any{"value": "zoe@example.com", "primary": true, "type": "work"}},
	})

	// 1. Create it: found under another name.
	s.get("admin", "/console/catalogue?q=jira").page().has("Atlassian Cloud", "SAML", "SCIM").hasNot("No connector is made")
	s.get("admin", "/console/catalogue/atlassian-cloud").page().has("Before you begin", "http://latchkey.test/saml2/", `value="Atlassian Cloud"`)
	made := s.post("admin", "/console/catalogue/atlassian-cloud", "label", "Atlassian test", "description", "Jira for the lab", "colour", "#1558bc", "portalVisible", "on", "slug", "lab")
	made.status(http.StatusSeeOther)
	created := made.Header().Get("Location")
	id := app.ID(strings.TrimSuffix(strings.TrimPrefix(created, "/console/applications/"), "/created"))
	s.get("admin", created).page().has("Configure now", "Close", "http://latchkey.test/saml2/lab", "Nobody yet")
	at := func(rest ...string) string { return s.appPath(id, rest...) }
	s.get("admin", at()).page().has("Sign-on, first half", "Sign-on, second half", "Authorize", "Validate", "Set up provisioning")

	// 2. Sign-on, first half.
	s.post("admin", at("sign-on", "ours"), "idpEntityId", "example.com").goes(at("sign-on"))
	s.follow("admin", s.post("admin", at("sign-on", "theirs"), "defaultRelayState", "https://vertex.atlassian.net")).page().has("are saved")
	first := s.get("admin", at("sign-on")).page().has("example.com", "http://latchkey.test/saml2/lab", "BEGIN CERTIFICATE", "Service provider entity URL", "is incomplete")
	first.hasNot("Activate sign-on</span>")
	pemFile := s.get("admin", at("certificate", "current.pem")).status(http.StatusOK)
	if d := pemFile.Header().Get("Content-Disposition"); d != `attachment; filename="certificate.pem"` {
		t.Errorf("certificate.pem comes as %q", d)
	}
	if block, _ := pem.Decode(pemFile.Body.Bytes()); block == nil || block.Type != "CERTIFICATE" {
		t.Errorf("certificate.pem holds %s", pemFile.text())
	}
	s.follow("admin", s.post("admin", at("sign-on", "activate"))).page().has("can&#39;t be activated yet", "SP entity ID", "ACS URL")

	// 4. Second half; 3 is at Atlassian.
	s.follow("admin", s.post("admin", at("sign-on", "theirs"), "spEntityId", "https://auth.atlassian.com/saml/9", "acs[0].url", "https://auth.atlassian.com/login/callback?connection=saml-9", "defaultRelayState", "https://vertex.atlassian.net")).
		page().has("sign-on can be activated", "Activate sign-on")
	s.post("admin", at("sign-on", "activate")).goes(at("groups"))
	if got := s.app(id).SAML.Status; got != app.Active {
		t.Fatalf("sign-on is %s", got)
	}

	// 5. Authorize.
	s.get("admin", at("groups")).page().has("Nobody reaches Atlassian test", "Engineering")
	s.post("admin", at("groups"), "group", string(s.engineering)).goes(at("groups"))
	s.get("admin", at("groups")).page().has("One active person has access", "Unbind")

	// 8. Provisioning.
	s.post("admin", at("provisioning"), "baseUrl", base, "token", scimtest.Token, "tokenExpiresAt", "2099-12-31", "manageGroups", "on", "onLeave", "deactivate",
		"guard.maxCount", "50", "guard.maxPercent", "20", "ratePerSecond", "10000", "burst", "100", "concurrency", "").goes(at("provisioning"))
	page := s.get("admin", at("provisioning")).page().has("See the plan", "Test connection", base)
	page.hasNot(scimtest.Token)
	s.post("admin", at("provisioning", "test")).page().has("The connection works", "nothing was created", "Users can be read")
	if w := s.target.Writes(); len(w) != 0 {
		t.Fatalf("the test wrote: %v", w)
	}
	plan := s.get("admin", at("provisioning", "plan")).page().has("Activate provisioning", "Bob Example", "Create", "bob@example.com", "Engineering")
	s.post("admin", at("provisioning", "activate"), "hash", plan.hidden("hash")).goes(at("provisioning"))
	s.settle()
	s.get("admin", at("provisioning")).page().has("1 person and 1 group are in sync", "Pause")
	s.get("admin", at("provisioning", "objects")).page().has("Bob Example", "In sync", "Engineering")
	if _, err := s.directory.UpdateUser(s.ctx(), system, s.people["bob"].ID, 0, func(a *directory.Attributes) error { a.Title = "Chief engineer"; return nil }); err != nil {
		t.Fatal(err)
	}
	s.settle()
	s.get("admin", at("provisioning", "people", string(s.people["bob"].ID))).page().has("should have an active account", "Chief engineer", "Engineering", "user_update_provision")

	// 9. Import.
	started := s.post("admin", at("import"))
	started.status(http.StatusSeeOther)
	listing := started.Header().Get("Location")
	s.get("admin", listing).page().has("being listed")
	s.settle()
	s.get("admin", listing).page().has("Zoe Old", "Import all 1 new")
	s.get("admin", listing+"?status=matched").page().has("Bob Example", "Matched")
	s.post("admin", listing, "act", "create", "shown", "new", "state", "staged").goes(listing + "?status=new")
	s.settle()
	s.get("admin", listing+"?status=all").page().has("1 person was imported", "Created as staged", "Undo")
	zoe, err := s.directory.UserByLogin(s.ctx(), system, "zoe@example.com")
	s.must(err)
	if zoe.State != directory.Staged || zoe.GivenName != "Zoe" {
		t.Errorf("imported %+v", zoe)
	}

	// 10. Watch.
	s.get("admin", at("activity")).page().has("application_create", "integration_activate", "user_create_provision")

	// 11. Renew the certificate, with the way back.
	before, _ := s.apps.Certificates(s.ctx(), system, id)
	s.get("admin", at("certificate", "swap")).page().has("Prepare the next certificate")
	s.post("admin", at("certificate", "prepare")).goes(at("certificate", "swap"))
	s.get("admin", at("certificate", "swap")).page().has("Switch now", "But don&#39;t save there yet", "certificate-next.pem")
	early := s.post("admin", at("certificate", "switch")).status(http.StatusUnprocessableEntity).has("Tick it when it is done there")
	webtest.Check(t, early.Body.Bytes())
	s.post("admin", at("certificate", "switch"), "ready", "on").goes(at("certificate", "swap"))
	s.get("admin", at("certificate", "swap")).page().has("Go back to the previous one", "Test sign-on")
	s.post("admin", at("certificate", "back")).goes(at("certificate", "swap"))
	after, err := s.apps.Certificates(s.ctx(), system, id)
	s.must(err)
	if after[0].ID != before[0].ID {
		t.Error("the way back didn't bring the first certificate back")
	}

	// 12. Remove: everybody out, provisioning off, sign-on off, delete.
	s.get("admin", at("delete")).page().has("Provisioning is active. It must be deactivated before")
	s.post("admin", at("delete"), "confirm", "Atlassian test").status(http.StatusConflict).has("Deactivate it first")
	s.get("admin", at("groups", string(s.engineering), "unbind")).page().has("One person reaches Atlassian test through it", "The account at Atlassian Cloud is deactivated", "is left as it is")
	unbind := s.post("admin", at("groups", string(s.engineering), "unbind")).page().has("Engineering is unbound", "Deactivate")
	s.repost("admin", at("groups", string(s.engineering), "unbind"), unbind).goes(at("groups"))
	s.settle()
	if bob := s.target.Resources(scim.User); len(bob) != 2 {
		t.Fatalf("at the target: %v", bob)
	} else {
		for _, r := range bob {
			if active, _ := r.Active(); active && r.UserName() == "bob@example.com" {
				t.Error("Bob's account is still active")
			}
		}
	}
	s.get("admin", at("provisioning", "deactivate")).page().has("Sending stops at once")
	s.post("admin", at("provisioning", "deactivate")).goes(at("provisioning"))
	s.get("admin", at("sign-on", "deactivate")).page().has("can&#39;t sign in to Atlassian test")
	s.post("admin", at("sign-on", "deactivate")).goes(at("sign-on"))
	s.post("admin", at("delete"), "confirm", "something else").status(http.StatusUnprocessableEntity).has("Type the application&#39;s label")
	s.post("admin", at("delete"), "confirm", "Atlassian test").goes("/console/applications")
	s.get("admin", at()).status(http.StatusNotFound)
}

// applicationPages are the pages that everybody with a role may see.
func (s *site) applicationPages(id app.ID) []string {
	var list []string
	for _, p := range []string{
		"", "/sign-on", "/provisioning", "/provisioning/plan", "/provisioning/plan?show=new&q=bob", "/provisioning/plan?q=zzz", "/provisioning/objects",
		"/provisioning/objects?status=blocked&kind=user", "/provisioning/objects?kind=group&q=eng", "/import", "/groups", "/mappings", "/mappings?person=bob@example.com",
		"/mappings?person=zzz", "/activity", "/activity?show=provision",
		"/provisioning/people/" + string(s.people["bob"].ID), "/provisioning/people/" + string(s.people["carol"].ID), "/provisioning/people/" + string(s.people["dan"].ID),
		"/provisioning/groups/" + string(s.engineering), "/provisioning/groups/" + string(s.empty),
	} {
		list = append(list, s.appPath(id)+p)
	}
	return append(list, "/console/applications", "/console/applications?q=jira", "/console/applications?q=zzz")
}

// managingPages lead to a change, for those who may make it.
func (s *site) managingPages(id app.ID) []string {
	var list []string
	for _, p := range []string{
		"/slug", "/delete", "/sign-on/deactivate", "/sign-on/sha1", "/certificate/upload", "/certificate/swap", "/provisioning/deactivate", "/provisioning/token",
		"/groups/" + string(s.engineering) + "/unbind", "/mappings/scim/row", "/mappings/saml/row", "/mappings/scim/row?target=displayName",
		"/mappings/saml/row?target=NameID", "/mappings/scim/row?target=" + url.QueryEscape(`emails[type eq "work"].value`),
	} {
		list = append(list, s.appPath(id)+p)
	}
	return append(list, "/console/catalogue", "/console/catalogue?q=zzz", "/console/catalogue/bookmark", "/console/catalogue/custom-saml", "/console/catalogue/custom-scim")
}

func TestApplicationPages(t *testing.T) {
	s := newSite(t)
	s.provision()
	for _, as := range []string{"admin", "helpdesk", "reader"} {
		for _, p := range s.applicationPages(s.atlassian) {
			t.Run(as+" "+p, func(t *testing.T) {
				s.t = t
				s.get(as, p).page()
			})
		}
	}
	for _, p := range s.managingPages(s.atlassian) {
		t.Run("admin "+p, func(t *testing.T) {
			s.t = t
			s.get("admin", p).page()
		})
		for _, as := range []string{"helpdesk", "reader", "nobody"} {
			t.Run(as+" "+p, func(t *testing.T) {
				s.t = t
				s.get(as, p).status(http.StatusForbidden)
			})
		}
	}
	s.t = t
	for _, p := range []string{s.appPath(s.wiki), s.appPath(s.wiki, "groups"), s.appPath(s.wiki, "activity"), s.appPath(s.wiki, "delete")} {
		s.get("admin", p).page()
	}
	for _, p := range []string{
		s.appPath("none"), s.appPath("none", "sign-on"), s.appPath(s.wiki, "sign-on"), s.appPath(s.wiki, "provisioning"), s.appPath(s.wiki, "mappings"),
		s.appPath(s.wiki, "slug"), s.appPath(s.atlassian, "certificate", "next.pem"), s.appPath(s.atlassian, "certificate", "current"),
		s.appPath(s.atlassian, "import", "none"), s.appPath(s.atlassian, "mappings", "none", "row"), s.appPath(s.atlassian, "mappings", "scim", "row?target=none"),
		s.appPath(s.atlassian, "provisioning", "people", "none"), s.appPath(s.atlassian, "provisioning", "groups", "none"),
		s.appPath(s.atlassian, "slug", "none", "drop"), "/console/catalogue/none", s.appPath(s.atlassian, "logo"),
	} {
		t.Run("missing "+p, func(t *testing.T) {
			s.t = t
			s.get("admin", p).status(http.StatusNotFound)
		})
	}
}

// Nobody without the permission changes anything, whatever they post.
func TestApplicationRoles(t *testing.T) {
	s := newSite(t)
	s.provision()
	bob := string(s.people["bob"].ID)
	imp, err := s.engine.StartImport(s.ctx(), system, s.atlassian)
	s.must(err)
	s.settle()
	posts := []struct {
		path  string
		pairs []string
	}{
		{"/console/catalogue/bookmark", []string{"label", "X", "bookmarkUrl", "https://example.com"}},
		{s.appPath(s.atlassian), []string{"label", "X"}},
		{s.appPath(s.atlassian, "slug"), []string{"slug", "x"}},
		{s.appPath(s.atlassian, "delete"), []string{"confirm", "Atlassian Cloud"}},
		{s.appPath(s.atlassian, "sign-on", "ours"), []string{"idpEntityId", "x"}},
		{s.appPath(s.atlassian, "sign-on", "theirs"), []string{"spEntityId", "x"}},
		{s.appPath(s.atlassian, "sign-on", "subject"), []string{"source", "username"}},
		{s.appPath(s.atlassian, "sign-on", "signatures"), []string{"sign", "both"}},
		{s.appPath(s.atlassian, "sign-on", "encryption"), nil},
		{s.appPath(s.atlassian, "sign-on", "requests"), nil},
		{s.appPath(s.atlassian, "sign-on", "logout"), []string{"sloUrl", "https://x.example/slo"}},
		{s.appPath(s.atlassian, "sign-on", "session"), []string{"sendSessionEnd", "on"}},
		{s.appPath(s.atlassian, "sign-on", "sha1"), []string{"confirm", "Atlassian Cloud"}},
		{s.appPath(s.atlassian, "sign-on", "sha1", "end"), nil},
		{s.appPath(s.atlassian, "sign-on", "metadata", "import"), nil},
		{s.appPath(s.atlassian, "sign-on", "metadata", "watch"), []string{"url", "https://x.example/md"}},
		{s.appPath(s.atlassian, "sign-on", "metadata", "check"), nil},
		{s.appPath(s.atlassian, "sign-on", "metadata", "stop"), nil},
		{s.appPath(s.atlassian, "sign-on", "metadata", "approve"), nil},
		{s.appPath(s.atlassian, "sign-on", "metadata", "dismiss"), nil},
		{s.appPath(s.atlassian, "sign-on", "metadata", "none", "take"), nil},
		{s.appPath(s.atlassian, "sign-on", "metadata", "none", "drop"), nil},
		{s.appPath(s.atlassian, "sign-on", "activate"), nil},
		{s.appPath(s.atlassian, "sign-on", "deactivate"), nil},
		{s.appPath(s.atlassian, "certificate", "prepare"), nil},
		{s.appPath(s.atlassian, "certificate", "upload"), nil},
		{s.appPath(s.atlassian, "certificate", "switch"), nil},
		{s.appPath(s.atlassian, "certificate", "back"), nil},
		{s.appPath(s.atlassian, "certificate", "remove"), []string{"status", "next"}},
		{s.appPath(s.atlassian, "provisioning"), []string{"baseUrl", "https://example.com", "onLeave", "deactivate"}},
		{s.appPath(s.atlassian, "provisioning", "test"), nil},
		{s.appPath(s.atlassian, "provisioning", "activate"), []string{"hash", "x"}},
		{s.appPath(s.atlassian, "provisioning", "pause"), nil},
		{s.appPath(s.atlassian, "provisioning", "resume"), nil},
		{s.appPath(s.atlassian, "provisioning", "deactivate"), nil},
		{s.appPath(s.atlassian, "provisioning", "token"), []string{"token", "x"}},
		{s.appPath(s.atlassian, "provisioning", "people", bob, "retry"), nil},
		{s.appPath(s.atlassian, "provisioning", "groups", string(s.engineering), "replace"), nil},
		{s.appPath(s.atlassian, "provisioning", "groups", string(s.engineering), "approve"), nil},
		{s.appPath(s.atlassian, "import"), nil},
		{s.appPath(s.atlassian, "import", imp.ID), []string{"act", "create", "shown", "new", "state", "staged"}},
		{s.appPath(s.atlassian, "import", imp.ID, "undo"), nil},
		{s.appPath(s.atlassian, "groups"), []string{"group", string(s.empty)}},
		{s.appPath(s.atlassian, "groups", string(s.engineering), "unbind"), nil},
		{s.appPath(s.atlassian, "mappings", "scim", "row?target=title"), []string{"kind", "constant", "constant", "x"}},
		{s.appPath(s.atlassian, "mappings", "scim", "reset"), []string{"target", "title"}},
	}
	before := s.app(s.atlassian)
	for _, as := range []string{"helpdesk", "reader", "nobody"} {
		for _, p := range posts {
			t.Run(as+" "+p.path, func(t *testing.T) {
				s.t = t
				s.post(as, p.path, p.pairs...).status(http.StatusForbidden)
			})
		}
	}
	s.t = t
	if after := s.app(s.atlassian); after.Version != before.Version || after.Groups != before.Groups || after.SCIM.Status != app.Active {
		t.Errorf("something changed: %+v", after)
	}
	page, err := s.apps.List(s.ctx(), system, app.Query{})
	s.must(err)
	if len(page.Items) != 2 {
		t.Errorf("%d applications instead of 2", len(page.Items))
	}
}

func picture(t *testing.T, side int) string {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewRGBA(image.Rect(0, 0, side, side))); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestCreateApplication(t *testing.T) {
	s := newSite(t)
	const path = "/console/catalogue/custom-saml"
	for name, c := range map[string]struct {
		pairs []string
		want  string
	}{
		"no label":        {[]string{"label", " "}, "Give the application a label"},
		"label taken":     {[]string{"label", "atlassian cloud"}, "Another application is called"},
		"long":            {[]string{"label", "X", "description", strings.Repeat("x", 257)}, "at most 256"},
		"bad colour":      {[]string{"label", "X", "colour", "red"}, "hexadecimal"},
		"bad slug":        {[]string{"label", "X", "slug", "Not A Slug"}, "a to z"},
		"slug taken":      {[]string{"label", "X", "slug", "atlassiancloud"}, "Another application answers"},
		"slug of our own": {[]string{"label", "X", "slug", "resume"}, "is used by Latchkey itself"},
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			a := s.post("admin", path, c.pairs...)
			if a.Code != http.StatusUnprocessableEntity && a.Code != http.StatusConflict {
				t.Errorf("status %d", a.Code)
			}
			a.has(html.EscapeString(c.want))
			webtest.Check(t, a.Body.Bytes())
		})
	}
	s.t = t
	s.post("admin", "/console/catalogue/bookmark", "label", "News").status(http.StatusUnprocessableEntity).has("address")
	s.upload("admin", path, "logo", "x.svg", "<svg xmlns='http://www.w3.org/2000/svg'/>", "label", "X").status(http.StatusUnprocessableEntity).has("SVG isn")
	made := s.upload("admin", path, "logo", "x.png", picture(t, 32), "label", "Travel", "portalVisible", "on")
	made.status(http.StatusSeeOther)
	id := app.ID(strings.Split(made.Header().Get("Location"), "/")[3])
	a := s.app(id)
	if !a.HasLogo || !a.PortalVisible || a.Slug == "" {
		t.Errorf("made %+v", a)
	}
	logo := s.get("reader", s.appPath(id, "logo")).status(http.StatusOK)
	if ct := logo.Header().Get("Content-Type"); ct != "image/png" {
		t.Errorf("the logo is %s", ct)
	}
	svg := s.get("reader", "/console/catalogue/atlassian-cloud/logo.svg").status(http.StatusOK)
	if csp := svg.Header().Get("Content-Security-Policy"); csp != "default-src 'none'; sandbox" {
		t.Errorf("the drawing could do something: %q", csp)
	}

	// Edit it.
	s.upload("admin", s.appPath(id), "logo", "", "", "label", "Trips", "description", "Book them", "colour", "#112233", "removeLogo", "on").goes(s.appPath(id))
	a = s.app(id)
	if a.Label != "Trips" || a.HasLogo || a.PortalVisible || a.Colour != "#112233" {
		t.Errorf("changed to %+v", a)
	}
	stale := s.post("admin", s.appPath(id), "label", "Journeys", "version", "1").status(http.StatusConflict).has("Somebody changed this application")
	webtest.Check(t, stale.Body.Bytes())
	bad := s.post("admin", s.appPath(id), "label", "Atlassian Cloud").status(http.StatusConflict).has("Another application is called")
	webtest.Check(t, bad.Body.Bytes())
}

func TestIdPURLIsChangedWithoutAGap(t *testing.T) {
	s := newSite(t)
	at := func(rest ...string) string { return s.appPath(s.atlassian, rest...) }
	s.post("admin", at("slug"), "slug", "work").goes(at("slug"))
	s.get("admin", at("slug")).page().has("http://latchkey.test/saml2/work", "http://latchkey.test/saml2/atlassiancloud", "Drop")
	s.follow("admin", s.post("admin", at("slug"), "slug", "work")).has("is the IdP URL already")
	bad := s.post("admin", at("slug"), "slug", "Not valid").status(http.StatusUnprocessableEntity)
	webtest.Check(t, bad.Body.Bytes())
	s.get("admin", at("slug", "atlassiancloud", "drop")).page().has("Drop the old IdP URL?")
	s.post("admin", at("slug", "atlassiancloud", "drop")).goes(at("slug"))
	if a := s.app(s.atlassian); a.Slug != "work" || len(a.OldSlugs) != 0 {
		t.Errorf("%s, old %v", a.Slug, a.OldSlugs)
	}
	s.post("admin", at("slug", "atlassiancloud", "drop")).status(http.StatusNotFound)
}

func TestSignOnForms(t *testing.T) {
	s := newSite(t)
	at := func(rest ...string) string { return s.appPath(s.atlassian, rest...) }
	const acs = "https://auth.atlassian.com/login/callback?connection=saml-1"
	for name, c := range map[string]struct {
		path   string
		pairs  []string
		status int
		want   string
	}{
		"entity ID with a space": {"ours", []string{"idpEntityId", "two words"}, 422, "holds no spaces"},
		"http elsewhere":         {"theirs", []string{"spEntityId", "x", "acs[0].url", "http://example.com/acs"}, 422, "must begin with https"},
		"twice the same":         {"theirs", []string{"spEntityId", "x", "acs[0].url", acs, "acs[1].url", acs, "acsDefault", "0"}, 422, "given twice"},
		"no default":             {"theirs", []string{"spEntityId", "x", "acs[0].url", acs, "acs[1].url", acs + "2"}, 422, "Mark one of the ACS URLs"},
		"index no number":        {"theirs", []string{"spEntityId", "x", "acs[0].url", acs, "acs[0].index", "first"}, 422, "number from 0 to 65535"},
		"placeholder left":       {"theirs", []string{"spEntityId", "x", "acs[0].url", acs, "defaultRelayState", "https://<site>.atlassian.net"}, 422, "angle brackets"},
		"active needs them":      {"theirs", []string{"spEntityId", ""}, 409, "Deactivate it before"},
		"nothing signed":         {"signatures", []string{"sign", "", "signatureAlgorithm", xmldsig.RSASHA256}, 422, "unsigned answer"},
		"unknown algorithm":      {"signatures", []string{"sign", "both", "signatureAlgorithm", "sha1"}, 422, "Choose RSA"},
		"SHA-1 unasked":          {"signatures", []string{"sign", "both", "signatureAlgorithm", xmldsig.RSASHA1}, 422, "SHA-1 is broken"},
		"no certificate":         {"requests", []string{"newCertificate", "nonsense!"}, 422, "not a certificate"},
		"signed by whom":         {"requests", []string{"requireSignedRequests", "required"}, 422, "every request would be refused"},
		"encrypted for whom":     {"encryption", []string{"encryptAssertions", "on"}, 422, "certificate to encrypt for"},
		"encrypted for nonsense": {"encryption", []string{"encryptAssertions", "on", "encryptionCertificate", "nonsense!"}, 422, "not a certificate"},
		"encrypted badly":        {"encryption", []string{"encryptionAlgorithm", "aes-cbc"}, 422, "AES-CBC can be tampered with"},
		"logout over http":       {"logout", []string{"sloUrl", "http://example.com/slo"}, 422, "must begin with https"},
		"logout to nowhere":      {"logout", []string{"sloResponseUrl", "https://example.com/slo"}, 422, "single logout URL too"},
		"logout by pigeon":       {"logout", []string{"sloUrl", "https://example.com/slo", "sloBinding", "pigeon"}, 422, "HTTP-Redirect or HTTP-POST"},
		"known by nothing":       {"subject", nil, 422, "what identifies a person"},
		"known by no attribute":  {"subject", []string{"source", "custom"}, 422, "custom attribute"},
		"no metadata":            {"metadata/import", nil, 422, "Choose the metadata file"},
		"no address":             {"metadata/watch", []string{"url", "atlassian"}, 422, "metadata URL"},
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			a := s.post("admin", at("sign-on", c.path), c.pairs...).status(c.status).has(html.EscapeString(c.want))
			webtest.Check(t, a.Body.Bytes())
		})
	}
	s.t = t
	bad := s.upload("admin", at("sign-on", "metadata", "import"), "metadata", "x.xml", "<not-metadata/>").status(http.StatusUnprocessableEntity)
	webtest.Check(t, bad.Body.Bytes())
	_, err := s.apps.SaveSAML(s.ctx(), system, s.atlassian, func(to *app.SAMLSettings) error {
		to.SPEntityID, to.ACS = "https://sp.example.com", []app.ACS{{Index: 3, URL: "https://sp.example.com/acs"}}
		return nil
	})
	s.must(err)
	// The connector doubts what isn't Atlassian's.
	s.get("admin", at("sign-on")).page().has("SP entity ID starts with https://auth.atlassian.com/", "ACS URL starts with")
	// Two, with a default and a gap filled.
	s.post("admin", at("sign-on", "theirs"), "spEntityId", "https://auth.atlassian.com/saml/2", "acs[0].url", acs, "acs[0].index", "7", "acs[1].url", acs+"b", "acsDefault", "1").goes(at("sign-on"))
	want := []app.ACS{{Index: 7, URL: acs}, {Index: 0, URL: acs + "b", Default: true}}
	if got := s.app(s.atlassian).SAML.ACS; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("ACS %v, want %v", got, want)
	}
	s.get("admin", at("sign-on")).page().has("Another ACS URL", "Default 3")
	s.post("admin", at("sign-on", "signatures"), "sign", "both", "signatureAlgorithm", xmldsig.RSASHA512).goes(at("sign-on") + "#signatures")
	if got := s.app(s.atlassian).SAML; !got.SignAssertion || !got.SignResponse || !strings.HasSuffix(got.SignatureAlgorithm, "sha512") {
		t.Errorf("signing: %+v", got.SAMLSettings)
	}
}

func TestOwnCertificate(t *testing.T) {
	s := newSite(t)
	at := func(rest ...string) string { return s.appPath(s.atlassian, rest...) }
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	s.must(err)
	m, err := keys.SelfSign(key, "our own", time.Now(), keys.Options{})
	s.must(err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	s.must(err)
	private := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	bad := s.post("admin", at("certificate", "upload"), "certificate", m.PEM, "privateKey", "nonsense").status(http.StatusUnprocessableEntity).has("not a private key")
	webtest.Check(t, bad.Body.Bytes())
	bad = s.post("admin", at("certificate", "upload"), "certificate", "nonsense!", "privateKey", private).status(http.StatusUnprocessableEntity).has("not a certificate")
	if strings.Contains(bad.text(), private[30:60]) {
		t.Error("the private key is sent back")
	}
	s.upload("admin", at("certificate", "upload"), "privateKeyFile", "key.pem", private, "certificate", m.PEM).goes(at("certificate", "swap"))
	s.get("admin", at("certificate", "next.pem")).status(http.StatusOK).has(m.PEM)
	s.get("admin", at("sign-on")).page().has("Next", "Go on renewing")
	s.post("admin", at("certificate", "remove"), "status", "current").status(http.StatusUnprocessableEntity)
	s.post("admin", at("certificate", "remove"), "status", "next").goes(at("sign-on") + "#certificates")
	s.follow("admin", s.post("admin", at("certificate", "switch"))).page().has("no next certificate")
	s.follow("admin", s.post("admin", at("certificate", "back"))).page()
}

func TestProvisioningForms(t *testing.T) {
	s := newSite(t)
	at := func(rest ...string) string { return s.appPath(s.atlassian, rest...) }
	for name, c := range map[string]struct {
		pairs []string
		want  string
	}{
		"users at the end": {[]string{"baseUrl", "https://api.atlassian.com/scim/directory/1/Users"}, "without /Users"},
		"no address":       {[]string{"baseUrl", "atlassian"}, "whole address"},
		"no number":        {[]string{"guard.maxCount", "many"}, "whole number"},
		"no share":         {[]string{"guard.maxPercent", "101"}, "percentage from 0"},
		"no rate":          {[]string{"ratePerSecond", "fast"}, "number of requests"},
		"no day":           {[]string{"tokenExpiresAt", "tomorrow"}, "Enter a day such as"},
		"no token":         {[]string{"token", "two words"}, "holds no spaces"},
		"neither nor":      {[]string{"onLeave", "forget"}, "Choose deactivate or delete"},
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			pairs := append([]string{"onLeave", "deactivate"}, c.pairs...)
			if c.pairs[0] == "onLeave" {
				pairs = c.pairs
			}
			a := s.post("admin", at("provisioning"), pairs...).status(http.StatusUnprocessableEntity).has(html.EscapeString(c.want))
			webtest.Check(t, a.Body.Bytes())
			if c.pairs[0] == "token" && strings.Contains(a.text(), "two words") {
				t.Error("the token is sent back")
			}
		})
	}
	s.t = t
	s.follow("admin", s.get("admin", at("provisioning", "plan"))).page().has("Enter the base URL and the token first")
	s.follow("admin", s.post("admin", at("provisioning", "test"))).page().has("first")
	s.follow("admin", s.post("admin", at("provisioning", "pause"))).page().has("not active")
	s.follow("admin", s.post("admin", at("provisioning", "resume"))).page().has("nothing to resume")
	s.follow("admin", s.post("admin", at("import"))).page().has("first")
	s.post("admin", at("provisioning", "activate")).goes(at("provisioning", "plan"))
	// A token without a known end gets the usual one, and a doubtful one is doubted.
	s.follow("admin", s.post("admin", at("provisioning"), "baseUrl", "https://api.atlassian.com/scim/directory/1", "onLeave", "deactivate", "token", "BearerXYZ")).
		page().has("365 days is watched", "without the word Bearer")
	if got := s.app(s.atlassian).SCIM.TokenExpiresAt; time.Until(got) < 364*24*time.Hour {
		t.Errorf("the token ends %v", got)
	}
}

func TestConnectionThatDoesNotWork(t *testing.T) {
	s := newSite(t)
	s.connected()
	s.target.Fail(scimtest.Fault{Status: http.StatusUnauthorized})
	at := func(rest ...string) string { return s.appPath(s.atlassian, rest...) }
	s.post("admin", at("provisioning", "test")).page().has("The connection doesn&#39;t work", "refuses the token")
	s.follow("admin", s.get("admin", at("provisioning", "plan"))).page().has("plan can&#39;t be made")
	s.post("admin", at("provisioning", "token"), "token", "").status(http.StatusUnprocessableEntity).has("Enter the new token")
	bad := s.post("admin", at("provisioning", "token"), "token", "wrong", "tokenExpiresAt", "2030-01-01").status(http.StatusUnprocessableEntity).has("Nothing was changed", "The connection doesn&#39;t work")
	webtest.Check(t, bad.Body.Bytes())
	s.target.Heal()
	s.post("admin", at("provisioning", "token"), "token", scimtest.Token, "tokenExpiresAt", "2030-01-01").goes(at("provisioning"))
	if got := s.app(s.atlassian).SCIM.TokenExpiresAt.UTC(); got.Format(time.RFC3339) != "2030-01-01T23:59:59Z" {
		t.Errorf("the token ends %v", got)
	}
}

func TestPlanIsRefusedWhenItIsStale(t *testing.T) {
	s := newSite(t)
	s.connected()
	at := func(rest ...string) string { return s.appPath(s.atlassian, rest...) }
	hash := s.get("admin", at("provisioning", "plan")).page().hidden("hash")
	_, err := s.directory.UpdateUser(s.ctx(), system, s.people["bob"].ID, 0, func(a *directory.Attributes) error { a.Title = "Other"; return nil })
	s.must(err)
	stale := s.post("admin", at("provisioning", "activate"), "hash", hash).status(http.StatusConflict).has("has changed since you looked at it", "Below is the plan of now")
	webtest.Check(t, stale.Body.Bytes())
	if got := s.app(s.atlassian).SCIM.Status; got != app.Off {
		t.Fatalf("provisioning is %s", got)
	}
	s.post("admin", at("provisioning", "activate"), "hash", stale.hidden("hash")).goes(at("provisioning"))
	s.settle()
	s.get("admin", at("provisioning", "plan")).page().has("everything there is as it should be")
	s.post("admin", at("provisioning", "pause")).goes(at("provisioning"))
	s.get("admin", at("provisioning")).page().has("Provisioning is paused", "Resume")
	s.get("admin", at("provisioning", "plan")).page().has("Resuming carries this out")
	s.post("admin", at("provisioning", "resume")).goes(at("provisioning"))
}

// A plan that takes much away wants the label typed.
func TestPlanThatTakesMuchAway(t *testing.T) {
	s := newSite(t)
	s.provision()
	at := func(rest ...string) string { return s.appPath(s.atlassian, rest...) }
	s.must(s.engine.Deactivate(s.ctx(), system, s.atlassian))
	_, err := s.apps.SaveSCIM(s.ctx(), system, s.atlassian, func(to *app.SCIMSettings) error {
		to.Guard = app.Guard{MaxCount: 1}
		return nil
	})
	s.must(err)
	// Two leavers.
	ada := s.person("ada", "Ada", "Byron", directory.Active, "")
	_, err = s.directory.AddMembers(s.ctx(), system, s.engineering, []directory.UserID{ada.ID})
	s.must(err)
	s.must(s.engine.Activate(s.ctx(), system, s.atlassian, ""))
	s.settle()
	s.must(s.engine.Deactivate(s.ctx(), system, s.atlassian))
	s.must(s.apps.Unbind(s.ctx(), system, s.atlassian, s.engineering))
	plan := s.get("admin", at("provisioning", "plan")).page().has("more than the limit of 1", "Type the application", "Switch off")
	s.get("admin", at("provisioning", "plan")+"?show=leave").page().has("The account is switched off there", "Bob Example")
	hash := plan.hidden("hash")
	bad := s.post("admin", at("provisioning", "activate"), "hash", hash, "held", "on", "confirm", "yes").status(http.StatusUnprocessableEntity).has("Type Atlassian Cloud to confirm")
	webtest.Check(t, bad.Body.Bytes())
	s.post("admin", at("provisioning", "activate"), "hash", hash, "held", "on", "confirm", "atlassian cloud").goes(at("provisioning"))
}

func TestBlockedPersonAndRetry(t *testing.T) {
	s := newSite(t)
	s.provision()
	at := func(rest ...string) string { return s.appPath(s.atlassian, rest...) }
	bob := string(s.people["bob"].ID)
	_, err := s.directory.UpdateUser(s.ctx(), system, s.people["bob"].ID, 0, func(a *directory.Attributes) error { a.FamilyName = ""; return nil })
	s.must(err)
	s.settle()
	s.get("admin", at("provisioning", "objects")+"?status=blocked").page().has("Bob", "Retry Bob")
	s.get("reader", at("provisioning", "objects")+"?status=blocked").page().has("Bob").hasNot("Retry Bob")
	s.get("admin", at("provisioning", "people", bob)).page().has("But it can&#39;t be written: Family name is required", "tried again when something changes")
	s.follow("admin", s.post("admin", at("provisioning", "people", bob, "retry"))).page().has("tried again now")
	s.post("admin", at("provisioning", "things", bob, "retry")).status(http.StatusNotFound)
	s.get("admin", at()).page().has("needs attention")
	s.get("admin", "/console/applications").page().has("1 needs attention")
	// Staged, suspended and outside: each with its reason.
	s.get("admin", at("provisioning", "people", string(s.people["dan"].ID))).page().has("Nothing is sent for this person")
	s.get("admin", at("provisioning", "people", string(s.people["carol"].ID))).page().has("should have no access: suspended")
	s.must(s.engine.Deactivate(s.ctx(), system, s.atlassian))
	s.follow("admin", s.post("admin", at("provisioning", "people", bob, "retry"))).page().has("is not active")
}

func TestGroupThatCannotBeRenamed(t *testing.T) {
	s := newSite(t)
	s.provision()
	at := func(rest ...string) string { return s.appPath(s.atlassian, rest...) }
	group := string(s.engineering)
	s.get("admin", at("provisioning", "groups", group)).page().has("as it should be")
	s.get("admin", at("provisioning", "groups", group, "replace")).status(http.StatusConflict)
	_, err := s.directory.UpdateGroup(s.ctx(), system, s.engineering, 0, func(g *directory.GroupAttributes) error { g.Name = "Builders"; return nil })
	s.must(err)
	s.settle()
	s.get("admin", at("provisioning", "groups", group)).page().has("There it is still called Engineering", "Replace the group")
	s.get("admin", at("provisioning", "groups", group, "replace")).page().has("Replace Engineering by Builders?", "Type the group&#39;s name")
	bad := s.post("admin", at("provisioning", "groups", group, "replace"), "confirm", "Engineering").status(http.StatusUnprocessableEntity)
	webtest.Check(t, bad.Body.Bytes())
	s.post("admin", at("provisioning", "groups", group, "replace"), "confirm", "Builders").goes(at("provisioning", "groups", group))
	s.settle()
	var names []string
	for _, g := range s.target.Resources(scim.Group) {
		names = append(names, g.DisplayName())
	}
	if fmt.Sprint(names) != "[Builders]" {
		t.Errorf("groups there: %v", names)
	}
}

func TestDeletionOfAGroupIsApproved(t *testing.T) {
	s := newSite(t)
	s.provision()
	at := func(rest ...string) string { return s.appPath(s.atlassian, rest...) }
	group := string(s.engineering)
	s.get("admin", at("provisioning", "groups", group, "approve")).status(http.StatusConflict)
	s.must(s.directory.DeleteGroup(s.ctx(), system, s.engineering))
	s.settle()
	s.get("admin", at("provisioning", "groups", group)).page().has("was deleted here and still exists there", "Delete it there")
	s.get("admin", at("provisioning", "groups", group, "approve")).page().has("can lose licences and permissions")
	s.post("admin", at("provisioning", "groups", group, "approve"), "confirm", "no").status(http.StatusUnprocessableEntity)
	s.post("admin", at("provisioning", "groups", group, "approve"), "confirm", "Engineering").goes(at("provisioning", "groups", group))
	s.settle()
	if left := s.target.Resources(scim.Group); len(left) != 0 {
		t.Errorf("groups there: %v", left)
	}
}

func TestBindAndUnbind(t *testing.T) {
	s := newSite(t)
	at := func(rest ...string) string { return s.appPath(s.atlassian, rest...) }
	bad := s.post("admin", at("groups")).status(http.StatusUnprocessableEntity).has("Choose at least one group")
	webtest.Check(t, bad.Body.Bytes())
	s.post("admin", at("groups"), "group", "none").status(http.StatusNotFound)
	s.part("admin", at("groups", "options")+"?q=emp").status(http.StatusOK).has("Empty").hasNot("Engineering", "<html")
	s.part("admin", at("groups", "options")+"?q=zzz").status(http.StatusOK).has("Nothing matches")
	// A name that the product reserves is doubted.
	g, err := s.directory.CreateGroup(s.ctx(), system, directory.NewGroup{GroupAttributes: directory.GroupAttributes{Name: "site-admins"}, Members: []directory.UserID{s.people["bob"].ID}})
	s.must(err)
	s.get("admin", at("groups")).page().has("administrators&#39; group of this name")
	s.post("admin", at("groups"), "group", string(g.ID), "group", string(s.empty)).goes(at("groups"))
	s.get("admin", at("groups")).page().has("administrators&#39; group of this name", "Every group is bound")
	s.get("admin", at("groups", string(g.ID), "unbind")).page().has("hold another bound group, so nobody loses access", "Provisioning is off")
	s.get("admin", at("groups", string(s.empty), "unbind")).page().has("0 people reach")
	s.get("admin", at("groups", "none", "unbind")).status(http.StatusNotFound)
	s.post("admin", at("groups", string(g.ID), "unbind")).goes(at("groups"))
	if got := s.app(s.atlassian).Groups; got != 2 {
		t.Errorf("%d groups are bound", got)
	}
}

func TestMappings(t *testing.T) {
	s := newSite(t)
	at := func(rest ...string) string { return s.appPath(s.atlassian, rest...) }
	row := func(side, target string) string {
		return at("mappings", side, "row") + "?target=" + url.QueryEscape(target)
	}
	s.get("admin", at("mappings")).page().has("bob@example.com", "For Bob Example", "Fixed", "Required")
	s.get("admin", at("mappings")+"?person=carol@example.com").page().has("who has no access")

	// An expression with a mistake: shown where it is.
	bad := s.post("admin", row("scim", "title"), "kind", "expression", "expression", `user.title + user.nothing`, "empty", "clear").
		status(http.StatusUnprocessableEntity).has("Line 1, column", "Where it is wrong", "^")
	webtest.Check(t, bad.Body.Bytes())
	// Tried on a person without saving.
	tried := s.post("admin", row("scim", "title"), "kind", "expression", "expression", `user.title + " of " + user.department`, "empty", "clear", "act", "preview").page().
		has("Engineer of Platform", "It looks at")
	tried.has("user.title + &#34; of &#34;")
	if !s.app(s.atlassian).SCIM.Mapping.IsZero() {
		t.Fatal("trying saved it")
	}
	s.follow("admin", s.post("admin", row("scim", "title"), "kind", "expression", "expression", `user.title + " of " + user.department`, "empty", "leave", "required", "on", "act", "save")).page().
		has("The mapping is saved", "Changed", "Engineer of Platform")
	s.get("admin", row("scim", "title")).page().has("Back to the connector&#39;s default", "Engineer of Platform")
	// A second change keeps the first.
	s.post("admin", row("scim", "title"), "kind", "attribute", "attribute", "title", "empty", "leave", "default", "Staff", "excluded", "on").goes(at("mappings") + "#scim")
	s.get("admin", at("mappings")).page().has("Excluded", "else “Staff”")
	s.post("admin", at("mappings", "scim", "reset"), "target", "title").goes(at("mappings") + "#scim")
	if !s.app(s.atlassian).SCIM.Mapping.IsZero() {
		t.Errorf("left of it: %+v", s.app(s.atlassian).SCIM.Mapping)
	}

	for name, c := range map[string]struct {
		path  string
		pairs []string
		want  string
	}{
		"required can't be excluded": {row("scim", "userName"), []string{"kind", "attribute", "attribute", "username", "excluded", "on", "required", "on"}, "can't be excluded"},
		"no source":                  {row("scim", "title"), []string{"kind", ""}, "Choose where the value comes from"},
		"no attribute":               {row("scim", "title"), []string{"kind", "attribute"}, "Choose an attribute"},
		"no key":                     {row("scim", "title"), []string{"kind", "attribute", "attribute", "custom"}, "custom attribute"},
		"no constant":                {row("scim", "title"), []string{"kind", "constant", "constant", " "}, "that everybody gets"},
		"no number":                  {row("scim", "title"), []string{"kind", "constant", "constantKind", "number", "constant", "x"}, "Enter a number"},
		"no truth":                   {row("scim", "title"), []string{"kind", "constant", "constantKind", "bool", "constant", "x"}, "true or false"},
		"no list":                    {row("scim", "title"), []string{"kind", "constant", "constantKind", "list", "constant", "\n"}, "one value on each line"},
		"empty expression":           {row("scim", "title"), []string{"kind", "expression"}, "Enter an expression"},
		"no target":                  {at("mappings", "scim", "row"), []string{"kind", "attribute", "attribute", "title"}, "where the value goes"},
		"not a path":                 {at("mappings", "scim", "row"), []string{"kind", "attribute", "attribute", "title", "target", "a b["}, "SCIM path"},
		"taken":                      {at("mappings", "scim", "row"), []string{"kind", "attribute", "attribute", "title", "target", "title"}, "already"},
		"a product's own":            {at("mappings", "scim", "row"), []string{"kind", "attribute", "attribute", "title", "target", "id"}, "can't be the target"},
		"a list into a text":         {row("scim", "name.givenName"), []string{"kind", "attribute", "attribute", "phones", "required", "on"}, "multi-valued"},
		"bad format":                 {row("saml", "NameID"), []string{"kind", "attribute", "attribute", "username", "format", "urn:x"}, "does not take the NameID format"},
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			a := s.post("admin", c.path, c.pairs...).status(http.StatusUnprocessableEntity).has(html.EscapeString(c.want))
			webtest.Check(t, a.Body.Bytes())
		})
	}
	s.t = t
	s.get("admin", row("scim", "externalId")).status(http.StatusConflict)

	// Add, and remove again.
	s.post("admin", at("mappings", "scim", "row"), "kind", "constant", "constantKind", "list", "constant", "a\nb", "target", "nickName", "label", "Nick").goes(at("mappings") + "#scim")
	s.get("admin", at("mappings")).page().has("Nick", "Added")
	s.get("admin", row("scim", "nickName")).page().has("Remove this attribute")
	s.post("admin", at("mappings", "scim", "reset"), "target", "nickName").goes(at("mappings") + "#scim")
	// The subject of sign-on.
	s.post("admin", row("saml", "NameID"), "kind", "attribute", "attribute", "username", "format", "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress").goes(at("mappings") + "#saml")
	if o := s.app(s.atlassian).SAML.Mapping.NameID; o == nil || o.Source == nil || o.Source.Attribute != "username" {
		t.Errorf("NameID: %+v", o)
	}
	s.get("admin", row("saml", "NameID")).page()
	s.post("admin", at("mappings", "saml", "reset"), "target", "NameID").goes(at("mappings") + "#saml")
	s.post("admin", at("mappings", "saml", "row"), "kind", "attribute", "attribute", "custom", "customKey", "badge", "target", "badge", "nameFormat", "urn:oasis:names:tc:SAML:2.0:attrname-format:basic").goes(at("mappings") + "#saml")
	s.get("admin", at("mappings")).page().has("badge")
}

func TestImportFromApplication(t *testing.T) {
	s := newSite(t)
	s.provision()
	at := func(rest ...string) string { return s.appPath(s.atlassian, rest...) }
	account := func(user, email string) string {
		return s.target.Put(scim.User, scim.Resource{
			"schemas": []any{scim.SchemaUser}, "userName": user, "active": true, "displayName": "X " + user,
			"name": map[string]any{"givenName": "X", "familyName": user}, "emails": []any{map[string]any{"value": email, "primary": true, "type": "work"}},
		})
	}
	first := account("new-one", "new-one@example.com")
	account("new-two", "new-two@example.com")
	account("owner@example.com", "elsewhere@example.com")
	imp, err := s.engine.StartImport(s.ctx(), system, s.atlassian)
	s.must(err)
	s.settle()
	path := at("import", imp.ID)
	s.get("admin", at("import")).page().has("Listed before", "Open")
	s.get("reader", path).page().has("new-one").hasNot("Import all")
	s.get("admin", path).page().has("new-one", "new-two", `name="account"`)
	s.get("admin", path+"?q=two").page().has("new-two").hasNot("X new-one")
	s.get("admin", path+"?status=conflict").page().has("another e-mail address")
	bad := s.post("admin", path, "chosen", "create", "state", "staged").status(http.StatusUnprocessableEntity).has("Choose accounts in the list")
	webtest.Check(t, bad.Body.Bytes())
	s.post("admin", path, "act", "create", "shown", "new", "state", "suspended").status(http.StatusUnprocessableEntity).has("in which state")
	s.follow("admin", s.post("admin", path, "chosen", "create", "shown", "new", "state", "active", "account", first)).page().has("Importing people")
	s.settle()
	s.get("admin", path+"?outcome=created").page().has("1 person was imported", "Created as active", "X new-one").hasNot("X new-two")
	u, err := s.directory.UserByLogin(s.ctx(), system, "new-one")
	s.must(err)
	if u.State != directory.Active {
		t.Errorf("created as %s", u.State)
	}
	s.post("admin", path, "act", "create", "shown", "new", "text", "two", "state", "staged").goes(path + "?status=new")
	s.settle()
	s.get("admin", path).page().has("1 person was imported", "Nobody is new").hasNot("Import all")
	s.post("admin", path, "act", "create", "shown", "new", "state", "staged").status(http.StatusUnprocessableEntity).has("nothing would be done")
	s.get("admin", path+"/report.csv").status(http.StatusOK).has("account,userName,email", "new-one@example.com", "created", "another e-mail address")
	s.get("reader", path+"/report.jsonl").status(http.StatusOK).has(`"outcome":"created"`)
	s.get("admin", path+"/report.xml").status(http.StatusNotFound)

	s.post("admin", path, "act", "link", "shown", "matched").goes(path + "?status=matched")
	s.settle()
	s.get("admin", path+"?status=matched").page().has("2 accounts at", "linked", "Link all", "Update all")
	s.post("admin", path, "act", "update", "shown", "matched").goes(path + "?status=matched")
	s.settle()
	if _, err := s.directory.UpdateUser(s.ctx(), system, u.ID, 0, func(a *directory.Attributes) error { a.Title = "Boss"; return nil }); err != nil {
		t.Fatal(err)
	}
	s.get("reader", path+"/undo").status(http.StatusForbidden)
	s.get("admin", path+"/undo").page().has("3 accounts are looked at", "Undo the import")
	s.post("admin", path+"/undo").goes(path + "?status=all")
	s.settle()
	s.get("admin", path).page().has("was undone for 2 accounts; 1 kept", "Show what was kept", "X new-two")
	s.get("admin", path+"?status=all&outcome=kept").page().has("X new-one", "changed since")
	if _, err := s.directory.UserByLogin(s.ctx(), system, "new-two"); !problem.Is(err, problem.NotFound) {
		t.Errorf("new-two: %v", err)
	}
	s.get("admin", s.appPath(s.wiki, "import", imp.ID)).status(http.StatusNotFound)
}

// What a target answered is somebody else's text.
func TestForeignTextIsEscaped(t *testing.T) {
	s := newSite(t)
	s.connected()
	const evil = `<script>alert(1)</script>`
	s.target.Put(scim.User, scim.Resource{
		"schemas": []any{scim.SchemaUser}, "userName": evil, "active": true, "displayName": evil,
		"emails": []any{map[string]any{"value": "evil@example.com", "primary": true, "type": "work"}},
	})
	imp, err := s.engine.StartImport(s.ctx(), system, s.atlassian)
	s.must(err)
	s.settle()
	s.get("admin", s.appPath(s.atlassian, "import", imp.ID)).page().has("&lt;script&gt;").hasNot(evil)
}

// The day on which a token ends can be put right without another token.
func TestTokenExpiryIsCorrected(t *testing.T) {
	s := newSite(t)
	s.provision()
	was := s.app(s.atlassian).SCIM
	s.post("admin", s.appPath(s.atlassian, "provisioning"), "baseUrl", was.BaseURL, "manageGroups", "on", "onLeave", "deactivate", "tokenExpiresAt", "2031-05-06").
		goes(s.appPath(s.atlassian, "provisioning"))
	now := s.app(s.atlassian).SCIM
	if now.TokenExpiresAt.UTC().Format(time.DateOnly) != "2031-05-06" || !now.TokenSet || now.Status != app.Active {
		t.Errorf("%+v", now)
	}
	s.post("admin", s.appPath(s.atlassian, "provisioning"), "baseUrl", was.BaseURL, "onLeave", "deactivate", "token", "other").
		status(http.StatusUnprocessableEntity).has("Use Replace token")
}

func TestBookmarkIsDoubted(t *testing.T) {
	s := newSite(t)
	_, err := s.apps.Update(s.ctx(), system, s.wiki, 0, func(a *app.Attributes) error { a.BookmarkURL = "http://wiki.example.com"; return nil })
	s.must(err)
	s.get("admin", s.appPath(s.wiki)).page().has("The address is not encrypted")
	s.get("reader", s.appPath(s.wiki)).page().hasNot("Save")
}

func TestExpiryIsShownEverywhere(t *testing.T) {
	s := newSite(t)
	s.connected() // a token that ends in 20 days
	s.get("reader", "/console/applications").page().has("Token ends in 20 days")
	s.get("reader", s.appPath(s.atlassian)).page().has("The provisioning token ends in 20 days", "Attention")
	events, err := audit.NewLog(s.db).Search(s.ctx(), system, audit.Query{ApplicationID: string(s.atlassian)})
	s.must(err)
	for _, e := range events.Items {
		if strings.Contains(fmt.Sprint(e), scimtest.Token) {
			t.Errorf("the token is in event %s", e.Type)
		}
	}
}

func TestFirstPagesAreSmall(t *testing.T) {
	s := newSite(t)
	s.provision()
	for _, p := range append(s.applicationPages(s.atlassian), s.managingPages(s.atlassian)...) {
		if n := s.get("owner", p).Body.Len(); n > 100<<10 {
			t.Errorf("%s has %d KB", p, n>>10)
		}
	}
}
