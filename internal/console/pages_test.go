package console_test

import (
	"testing"
)

// Every page is in order for everybody who may see it.
func TestPages(t *testing.T) {
	s := newSite(t)
	s.provision()
	pages := []string{
		"/console", "/console/users", "/console/users?q=exam&state=active", "/console/users?q=nobody-at-all", "/console/users?role=owner",
		"/console/groups", "/console/groups?q=zzz", "/console/policy", "/console/activity", "/console/activity?type=@signin&outcome=success",
		"/console/activity?object=user:" + string(s.people["bob"].ID) + "&from=2020-01-01&to=2099-01-01&correlation=x&actor=y&cause=z",
		"/console/search", "/console/search?q=e", "/console/search?q=no-such-thing",
		"/console/settings", "/console/settings/administrators", "/console/settings/about",
	}
	for name := range s.people {
		for _, tab := range []string{"", "/groups", "/applications", "/sessions", "/activity", "/activity?by=them"} {
			pages = append(pages, s.userPath(name)+tab)
		}
	}
	for _, tab := range []string{"", "/applications", "/activity", "?q=bob", "?q=zzz"} {
		pages = append(pages, s.groupPath(s.engineering)+tab, s.groupPath(s.empty)+tab)
	}
	for _, as := range []string{"owner", "admin", "helpdesk", "reader"} {
		t.Run(as, func(t *testing.T) {
			s.t = t
			for _, p := range pages {
				t.Run(p, func(t *testing.T) {
					s.t = t
					s.get(as, p).page()
				})
			}
		})
	}
	s.t = t
	forms := []string{
		"/console/users/new", "/console/users/new?group=" + string(s.engineering), "/console/users/import", "/console/groups/new",
		s.userPath("bob", "suspend"), s.userPath("bob", "delete"), s.userPath("bob", "role"), s.userPath("bob", "link"), s.userPath("bob", "password"),
		s.userPath("bob", "sessions/end"), s.groupPath(s.engineering, "edit"), s.groupPath(s.engineering, "delete"), s.groupPath(s.empty, "delete"),
		s.groupPath(s.engineering, "applications", string(s.atlassian), "unbind"), "/console/settings/keys",
	}
	for _, p := range forms {
		t.Run("form "+p, func(t *testing.T) {
			s.t = t
			s.get("owner", p).page()
		})
	}
}
