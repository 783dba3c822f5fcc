package console_test

import (
	"html"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/web/webtest"
)

// repost posts a form of a page again, as the review does: its hidden fields, and more.
func (s *site) repost(as, path string, page answer, pairs ...string) answer {
	s.t.Helper()
	form := page.text()
	form = form[strings.Index(form, `id="review"`):]
	form = form[:strings.Index(form, "</form>")]
	for _, part := range strings.Split(form, `<input type="hidden"`)[1:] {
		value := func(name string) string {
			_, rest, _ := strings.Cut(part, name+`="`)
			text, _, _ := strings.Cut(rest, `"`)
			return html.UnescapeString(text)
		}
		pairs = append([]string{value("name"), value("value")}, pairs...)
	}
	return s.post(as, path, pairs...)
}

// TestChangesToActiveProvisioningAreReviewed goes through each form whose change may send
// something: the review first, nothing saved before, and back to the form.
func TestChangesToActiveProvisioningAreReviewed(t *testing.T) {
	s := newSite(t)
	s.provision()
	at := func(rest ...string) string { return s.appPath(s.atlassian, rest...) }
	sales, err := s.directory.CreateGroup(s.ctx(), system, directory.NewGroup{
		GroupAttributes: directory.GroupAttributes{Name: "Sales"}, Members: []directory.UserID{s.person("dora", "Dora", "Example", directory.Active, access.None).ID},
	})
	s.must(err)
	row := at("mappings", "scim", "row") + "?target=title"
	for _, c := range []struct {
		name  string
		path  string
		pairs []string
		back  string // what the form shows after going back; "" if there is none
		has   []string
		saved func(app.Application) bool
	}{
		{
			"mapping", row,
			[]string{"kind", "expression", "expression", `user.title + " of " + user.department`, "empty", "clear", "act", "save"},
			"user.title + &#34; of &#34; + user.department",
			[]string{"The mapping of", "Nothing is saved yet", "Engineer of Platform", "request changes something there", "Update"},
			func(a app.Application) bool { return len(a.SCIM.Mapping.Rows) == 1 },
		},
		{
			"mapping taken back", at("mappings", "scim", "reset"), []string{"target", "title"}, "",
			[]string{"goes back to the connector", "Apply the change"},
			func(a app.Application) bool { return a.SCIM.Mapping.IsZero() },
		},
		{
			"scope", at("mappings", "scope"), []string{"scopeFilter", `user.department != "Platform"`, "act", "save"},
			`user.department != &#34;Platform&#34;`,
			[]string{"Who is provisioned", "Deactivate", "Switch off"},
			func(a app.Application) bool { return a.SCIM.ScopeFilter != "" },
		},
		{
			"scope lifted", at("mappings", "scope"), []string{"scopeFilter", "", "act", "save"}, "everybody in a bound group is",
			[]string{"everybody in a bound group", "Activate"},
			func(a app.Application) bool { return a.SCIM.ScopeFilter == "" },
		},
		{
			"bind", at("groups"), []string{"group", string(sales.ID)}, "",
			[]string{"1 group is bound", "Create"},
			func(a app.Application) bool { return a.Groups == 2 },
		},
		{
			"unbind", at("groups", string(sales.ID), "unbind"), nil, "",
			[]string{"Sales is unbound", "Deactivate"},
			func(a app.Application) bool { return a.Groups == 1 },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.t = t
			before := s.app(s.atlassian)
			page := s.post("admin", c.path, c.pairs...).page().has(c.has...)
			if a := s.app(s.atlassian); a.Version != before.Version || a.Groups != before.Groups || a.SCIM.Generation != before.SCIM.Generation {
				t.Fatal("looking at it saved it")
			}
			if c.back != "" {
				s.repost("admin", c.path, page, "act", "back").page().has(c.back, "Save")
			} else {
				page.hasNot("Back to the form")
			}
			// Another plan than that of now is refused, and the plan of now is shown.
			stale := append(slices.Clone(c.pairs), "planHash", "0123")
			s.post("admin", c.path, stale...).status(http.StatusConflict).has("Nothing was changed", "Below is the plan of now")
			s.follow("admin", s.repost("admin", c.path, page)).page()
			if !c.saved(s.app(s.atlassian)) {
				t.Errorf("it isn't saved: %+v", s.app(s.atlassian).SCIM)
			}
			s.settle()
			s.get("admin", at("provisioning", "plan")).page().has("Nothing has to be written")
		})
	}
	s.t = t
	// Who may only look is kept out.
	s.post("reader", at("mappings", "scope"), "scopeFilter", "true").status(http.StatusForbidden)
}

func TestReviewOfWhatTakesMuchAwayIsConfirmed(t *testing.T) {
	s := newSite(t)
	s.provision()
	_, err := s.apps.SaveSCIM(s.ctx(), system, s.atlassian, func(to *app.SCIMSettings) error { to.Guard.MaxCount = 1; return nil })
	s.must(err)
	for _, name := range []string{"dora", "emil"} {
		u := s.person(name, name, "Example", directory.Active, access.None)
		_, err := s.directory.AddMembers(s.ctx(), system, s.engineering, []directory.UserID{u.ID})
		s.must(err)
	}
	s.settle()
	path := s.appPath(s.atlassian, "mappings", "scope")
	page := s.post("admin", path, "scopeFilter", "false", "act", "save").page().has("This takes much away", "Type Atlassian Cloud to confirm")
	wrong := s.repost("admin", path, page, "confirm", "Atlas").status(http.StatusUnprocessableEntity).has("to confirm that this change takes so much away")
	webtest.Check(t, wrong.Body.Bytes())
	if s.app(s.atlassian).SCIM.ScopeFilter != "" {
		t.Fatal("it was saved without the word")
	}
	s.repost("admin", path, page, "confirm", "atlassian cloud").goes(s.appPath(s.atlassian, "mappings") + "#scope")
	if s.app(s.atlassian).SCIM.ScopeFilter != "false" {
		t.Error("it isn't saved")
	}
}

func TestScopePage(t *testing.T) {
	s := newSite(t)
	path := s.appPath(s.atlassian, "mappings", "scope")
	s.get("admin", s.appPath(s.atlassian, "mappings")).page().has("Who is provisioned", "Set a filter", "In scope")
	s.get("admin", path).page().has("Bob Example", "In scope")
	s.get("admin", path+"?person=carol@example.com").page().has("No access")
	// Off, nothing is sent: it is saved at once.
	s.post("admin", path, "scopeFilter", `user.department == "Law"`, "act", "preview").page().has("Out of scope", "It looks at department")
	bad := s.post("admin", path, "scopeFilter", `user.departmnt == "Law"`).status(http.StatusUnprocessableEntity).has("Line 1, column 5", "Where it is wrong", "^")
	webtest.Check(t, bad.Body.Bytes())
	s.post("admin", path, "scopeFilter", `user.department`).status(http.StatusUnprocessableEntity).has("must give true or false")
	s.post("admin", path, "scopeFilter", `user.custom["nowhere"] == "3"`, "act", "preview").page().has("Can&#39;t be said")
	s.follow("admin", s.post("admin", path, "scopeFilter", `user.department == "Law"`, "act", "save")).page().has("The scope is saved", "Out of scope", "Change the filter")
	s.get("admin", s.appPath(s.wiki, "mappings", "scope")).status(http.StatusNotFound)
}

// TestGroupPageLeadsToTheReview binds and unbinds from a group's own page.
func TestGroupPageLeadsToTheReview(t *testing.T) {
	s := newSite(t)
	s.provision()
	sales, err := s.directory.CreateGroup(s.ctx(), system, directory.NewGroup{
		GroupAttributes: directory.GroupAttributes{Name: "Sales"}, Members: []directory.UserID{s.person("dora", "Dora", "Example", directory.Active, access.None).ID},
	})
	s.must(err)
	s.follow("admin", s.post("admin", s.groupPath(sales.ID, "applications"), "application", string(s.atlassian), "application", string(s.wiki))).page().
		has("Members now reach Wiki", "Look at what is sent first", "Sales is not bound yet")
	if s.app(s.atlassian).Groups != 1 || s.app(s.wiki).Groups != 1 {
		t.Error("bound without a look")
	}
	s.follow("admin", s.post("admin", s.groupPath(s.engineering, "applications", string(s.atlassian), "unbind"))).page().has("look at what is sent first", "Unbind")
	if s.app(s.atlassian).Groups != 1 {
		t.Error("unbound without a look")
	}
}
