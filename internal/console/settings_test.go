package console_test

import (
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
)

func TestOrganizationName(t *testing.T) {
	s := newSite(t)
	s.post("admin", "/console/settings", "organization", " ").status(http.StatusUnprocessableEntity).has("Enter the name")
	a := s.post("admin", "/console/settings", "organization", "Acme & Sons").goes("/console/settings")
	if len(a.Result().Cookies()) == 0 {
		t.Error("nothing says that it was saved")
	}
	s.get("reader", "/console").page().has("Acme &amp; Sons")
}

func TestAPIKeys(t *testing.T) {
	s := newSite(t)
	const path = "/console/settings/keys"
	s.post("admin", path, "name", "", "role", "read_only", "life", "30").status(http.StatusUnprocessableEntity).has("Give the key a name")
	s.post("admin", path, "name", "x", "role", "none", "life", "30").status(http.StatusUnprocessableEntity).has("Choose what the key may do")
	s.post("admin", path, "name", "x", "role", "read_only", "life", "1000").status(http.StatusUnprocessableEntity).has("how long the key holds")
	s.post("admin", path, "name", "x", "role", "owner", "life", "30").status(http.StatusForbidden)
	a := s.post("admin", path, "name", "HR import", "role", "administrator", "life", "90").page().has("shown only once")
	m := regexp.MustCompile(`value="(lk_[^"]+)"`).FindStringSubmatch(a.text())
	if m == nil {
		t.Fatal("the key isn't shown")
	}
	by, err := s.authn.APIKeyActor(t.Context(), keys.Secret(m[1]), "192.0.2.1", "c")
	if err != nil || by.Role != access.Administrator {
		t.Errorf("the key acts as %+v, %v", by, err)
	}
	s.get("admin", path).page().has("HR import", "by Alan Turing", "Works").hasNot(m[1])
	list, err := s.authn.APIKeys(t.Context(), system)
	s.must(err)
	if left := time.Until(list[0].ExpiresAt); left < 89*24*time.Hour || left > 91*24*time.Hour {
		t.Errorf("ends in %v", left)
	}
	s.get("admin", path+"/"+list[0].ID+"/revoke").page().has("refused from now on")
	s.get("admin", path+"/none/revoke").status(http.StatusNotFound)
	s.post("admin", path+"/"+list[0].ID+"/revoke").goes(path)
	if _, err := s.authn.APIKeyActor(t.Context(), keys.Secret(m[1]), "192.0.2.1", "c"); err == nil {
		t.Error("a revoked key works")
	}
	s.get("admin", path).page().has("Revoked")
	s.post("admin", path, "name", "for ever", "role", "read_only", "life", "none").page()
	s.get("admin", path).page().has("no end")
}

func TestAboutAndPolicy(t *testing.T) {
	s := newSite(t)
	s.get("reader", "/console/settings/about").page().has("1.2.3-test", "SQLite", "within a millisecond")
	s.get("reader", "/console/policy").page().has("8 hours", "at least 12 characters", "5 failures", "session.idle")
}

func TestHomeOfANewInstallation(t *testing.T) {
	s := newSite(t)
	for _, id := range []directory.GroupID{s.engineering, s.empty} {
		s.must(s.directory.DeleteGroup(t.Context(), system, id))
	}
	s.get("owner", "/console").page().has("First steps", "of 8 done", "Make a group", "Atlassian Cloud is bound to no group")
	s.get("reader", "/console").page().has("First steps").hasNot("Add group<")
}
