package console_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
)

func (s *site) group(id directory.GroupID) directory.Group {
	s.t.Helper()
	g, err := s.directory.Group(s.ctx(), system, id)
	s.must(err)
	return g
}

func TestCreateGroup(t *testing.T) {
	s := newSite(t)
	s.post("admin", "/console/groups/new", "name", "", "description", "kept", "user", string(s.people["bob"].ID)).
		status(http.StatusUnprocessableEntity).has("Give the group a name", "kept", `value="`+string(s.people["bob"].ID)+`" checked`)
	s.post("admin", "/console/groups/new", "name", "ENGINEERING").status(http.StatusConflict).has("already a group with this name", `value="ENGINEERING"`)
	s.post("admin", "/console/groups/new", "name", "X", "attributes.timezone", "Mars/Base").status(http.StatusUnprocessableEntity).has(`id="f-attributes-timezone-error"`)
	s.post("admin", "/console/groups/new", "name", "Design", "description", "Draws", "attributes.department", "Design",
		"new.attributes.custom.0.key", "floor", "new.attributes.custom.0.kind", "list", "new.attributes.custom.0.value", "1\r\n2\r\n", "user", string(s.people["bob"].ID)).status(http.StatusSeeOther)
	list, err := s.directory.ListGroups(t.Context(), system, directory.GroupQuery{Text: "design"})
	s.must(err)
	if len(list.Items) != 1 {
		t.Fatalf("groups %v", list.Items)
	}
	g := list.Items[0]
	want := directory.GroupAttributes{Name: "Design", Description: "Draws", Attributes: map[string]any{"department": "Design", "custom.floor": []string{"1", "2"}}}
	if d := cmp.Diff(want, g.GroupAttributes); d != "" || g.Members != 1 {
		t.Errorf("%d members\n%s", g.Members, d)
	}
	s.get("admin", s.groupPath(g.ID, "edit")).page().has("1\n2")
	s.get("admin", s.groupPath(g.ID)).page().has("What members inherit", "Design", "floor")
}

func TestEditGroup(t *testing.T) {
	s := newSite(t)
	path := s.groupPath(s.engineering)
	s.post("admin", path+"/edit", "version", "1", "name", "Builders", "description", "", "attributes.custom.floor", "4", "kind.attributes.custom.floor", "number").goes(path)
	if d := cmp.Diff(directory.GroupAttributes{Name: "Builders", Attributes: map[string]any{"custom.floor": int64(4)}}, s.group(s.engineering).GroupAttributes); d != "" {
		t.Error(d)
	}
	s.post("admin", path+"/edit", "version", "1", "name", "Late").status(http.StatusConflict).has("in the meantime", `value="Late"`)
	s.post("admin", path+"/edit", "name", "Empty").status(http.StatusConflict).has("already a group")
}

func TestMembers(t *testing.T) {
	s := newSite(t)
	path := s.groupPath(s.engineering)
	s.post("admin", path+"/members").status(http.StatusUnprocessableEntity).has("Choose at least one person")
	s.post("admin", path+"/members", "user", string(s.people["dan"].ID), "user", string(s.people["bob"].ID)).goes(path)
	if n := s.group(s.engineering).Members; n != 3 {
		t.Errorf("%d members", n)
	}
	s.post("admin", path+"/members", "user", "no-such-id").status(http.StatusUnprocessableEntity)
	s.post("admin", path+"/members/remove", "member", string(s.people["dan"].ID), "member", string(s.people["carol"].ID)).goes(path)
	if n := s.group(s.engineering).Members; n != 1 {
		t.Errorf("%d members", n)
	}
	s.post("admin", path+"/members/remove").goes(path)
}

func TestBindings(t *testing.T) {
	s := newSite(t)
	path := s.groupPath(s.empty, "applications")
	labels := func() (out []string) {
		list, err := s.apps.ApplicationsOfGroup(t.Context(), system, s.empty)
		s.must(err)
		for _, a := range list {
			out = append(out, a.Label)
		}
		return out
	}
	s.post("admin", path).status(http.StatusUnprocessableEntity).has("Choose at least one application")
	s.post("admin", path, "application", string(s.wiki), "application", string(s.atlassian)).goes(path)
	if d := cmp.Diff([]string{"Atlassian Cloud", "Wiki"}, labels()); d != "" {
		t.Error(d)
	}
	s.get("admin", path+"/"+string(s.wiki)+"/unbind").page().has("lose access at once")
	s.post("admin", path+"/"+string(s.wiki)+"/unbind").goes(path)
	if d := cmp.Diff([]string{"Atlassian Cloud"}, labels()); d != "" {
		t.Error(d)
	}
	s.post("admin", path, "application", string(app.ID("no-such-id"))).status(http.StatusNotFound)
}

func TestDeleteGroup(t *testing.T) {
	s := newSite(t)
	s.provision()
	path := s.groupPath(s.engineering)
	s.get("admin", path+"/delete").page().has("Its 2 people leave it", "Members who reach Atlassian Cloud by no other group", "The group at Atlassian Cloud isn&#39;t deleted at once")
	s.get("admin", s.groupPath(s.empty, "delete")).page().has("Nobody is in it", "bound to no application")
	s.post("admin", path+"/delete", "confirm", "Engine").status(http.StatusUnprocessableEntity).has("Nothing was deleted")
	s.group(s.engineering)
	s.post("admin", path+"/delete", "confirm", "engineering").goes("/console/groups")
	if _, err := s.directory.Group(t.Context(), system, s.engineering); !problem.Is(err, problem.NotFound) {
		t.Errorf("after deletion: %v", err)
	}
}
