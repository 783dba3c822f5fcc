package console_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
)

const peopleCSV = "email,givenName,groups,timezone\n" +
	"new1@example.com,Nina,Engineering,Europe/Rome\n" +
	"bob@example.com,Robert,,\n" +
	"broken,No,,\n" +
	"new2@example.com,Nils,Brand new,Nowhere/Else\n" +
	"new3@example.com,Nora,Brand new,\n"

func (s *site) login(login string) (directory.User, bool) {
	s.t.Helper()
	u, err := s.directory.UserByLogin(s.ctx(), system, login)
	if problem.Is(err, problem.NotFound) {
		return u, false
	}
	s.must(err)
	return u, true
}

func TestImport(t *testing.T) {
	s := newSite(t)
	a := s.upload("admin", "/console/users/import", "file", "people.csv", peopleCSV, "state", "active", "createGroups", "on", "group", string(s.empty)).status(http.StatusSeeOther)
	path := a.Header().Get("Location")
	s.get("admin", path).page().has("Would add 2 people", "Nothing is changed yet", "New groups: Brand new", "2 rows aren&#39;t possible", "Time zone: This time zone isn&#39;t known", "the import doesn&#39;t update people")
	s.get("admin", path+"?outcome=failed").page().has("broken").hasNot("new1@example.com")
	if _, ok := s.login("new1@example.com"); ok {
		t.Fatal("checking a file changed something")
	}
	s.post("admin", path+"/run").goes(path)
	s.get("admin", path).page().has("2 people added, 2 left out")
	u, ok := s.login("new1@example.com")
	if !ok || u.State != directory.Active {
		t.Errorf("new1 is %+v", u)
	}
	groups, err := s.directory.GroupsOf(t.Context(), system, u.ID)
	s.must(err)
	if len(groups) != 2 {
		t.Errorf("groups %v", groups)
	}
	if s.user("bob").GivenName != "Bob" {
		t.Error("somebody was updated unasked")
	}
	s.post("admin", path+"/run").goes(path) // says that it was done already
	s.get("admin", path+"/report.csv").status(http.StatusOK).has("line,email,outcome,detail", "3,bob@example.com,unchanged", "4,broken,failed")

	// With updates, the same file changes one person and adds nobody.
	path = s.upload("admin", "/console/users/import", "file", "people.csv", peopleCSV, "update", "on", "createGroups", "on").status(http.StatusSeeOther).Header().Get("Location")
	s.get("admin", path).page().has("Would add 0 people and change 1")
	s.post("admin", path+"/run").goes(path)
	if s.user("bob").GivenName != "Robert" {
		t.Error("nobody was updated")
	}
	path = s.upload("admin", "/console/users/import", "file", "people.jsonl", `{"email": "ada@example.com", "givenName": "Ada"}`+"\n").status(http.StatusSeeOther).Header().Get("Location")
	s.post("admin", path+"/discard").goes("/console/users/import")
	s.get("admin", path).status(http.StatusNotFound)
}

func TestImportRefuses(t *testing.T) {
	s := newSite(t)
	for name, c := range map[string]struct{ file, content, want string }{
		"no file":        {"", "", "Choose a file"},
		"empty":          {"a.csv", " \n", "The file is empty"},
		"no e-mail":      {"a.csv", "name\nx\n", "email"},
		"unknown column": {"a.csv", "email,shoeSize\na@example.com,42\n", "shoeSize"},
		"not text":       {"a.csv", "\x00\x01\x02", "f-file-error"},
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			s.upload("admin", "/console/users/import", "file", c.file, c.content, "state", "active", "group", string(s.empty)).
				status(http.StatusUnprocessableEntity).has(c.want, `value="active" id="f-state-1" checked`, `value="`+string(s.empty)+`" checked`)
		})
	}
	s.t = t
	s.upload("admin", "/console/users/import", "file", "big.csv", "email\n"+strings.Repeat("x", 1<<20)).status(http.StatusRequestEntityTooLarge)
	s.upload("helpdesk", "/console/users/import", "file", "a.csv", peopleCSV).status(http.StatusForbidden)
	s.get("admin", "/console/users/import/template.csv").status(http.StatusOK).has("email,")
}

// A long import answers before it is done and isn't interrupted by a browser that goes away.
func TestLongImport(t *testing.T) {
	s := newSite(t)
	var b strings.Builder
	b.WriteString("email\n")
	for i := range 1200 {
		fmt.Fprintf(&b, "p%04d@example.org\n", i)
	}
	a := s.upload("admin", "/console/users/import", "file", "people.csv", b.String()).status(http.StatusSeeOther)
	path := a.Header().Get("Location")
	s.get("admin", path).page().has("Would add 1,200 people", "1–100 of 1,200 rows", `rel="next"`)
	s.get("admin", path+"?from=1100").page().has("1,101–1,200 of 1,200 rows", `rel="prev"`).hasNot(`rel="next"`)
	s.get("admin", path+"?from=99999&outcome=created").page()

	ctx, cancel := context.WithCancel(t.Context())
	gone := &leaver{ResponseRecorder: httptest.NewRecorder(), leave: cancel}
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, path+"/run", nil)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.AddCookie(&http.Cookie{Name: "latchkey_session", Value: s.cookies["admin"]})
	s.handler.ServeHTTP(gone, r)
	if gone.Code != http.StatusSeeOther || !gone.Flushed {
		t.Errorf("answered %d, flushed %v", gone.Code, gone.Flushed)
	}
	s.get("admin", path).page().has("1,200 people added")
	if _, ok := s.login("p1199@example.org"); !ok {
		t.Error("the last one is missing")
	}
}

// leaver is a browser that closes the connection once it is answered.
type leaver struct {
	*httptest.ResponseRecorder
	leave func()
}

func (l *leaver) Flush() {
	l.ResponseRecorder.Flush()
	l.leave()
}

// Over a real connection: the browser is sent on at once, sees how far the import is, and the
// server waits for it when it stops.
func TestLongImportOverTheNetwork(t *testing.T) {
	s := newSite(t)
	var b strings.Builder
	b.WriteString("email,displayName\n")
	for i := range 4000 {
		fmt.Fprintf(&b, "q%05d@example.org,Person %d\n", i, i)
	}
	path := s.upload("admin", "/console/users/import", "file", "people.csv", b.String()).status(http.StatusSeeOther).Header().Get("Location")
	srv := httptest.NewServer(s.handler)
	client := srv.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	send := func(method, path string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, nil)
		s.must(err)
		r.AddCookie(&http.Cookie{Name: "latchkey_session", Value: s.cookies["admin"]})
		a, err := client.Do(r)
		s.must(err)
		body, err := io.ReadAll(a.Body)
		s.must(err)
		s.must(a.Body.Close())
		return a.StatusCode, string(body)
	}
	if status, body := send(http.MethodPost, path+"/run"); status != http.StatusSeeOther {
		t.Fatalf("%d %s", status, body)
	}
	if status, body := send(http.MethodGet, path); status != http.StatusOK || !strings.Contains(body, "Importing") && !strings.Contains(body, "4,000 people added") {
		t.Errorf("%d %s", status, readable(body))
	}
	if status, _ := send(http.MethodPost, path+"/run"); status != http.StatusSeeOther {
		t.Errorf("a second start: %d", status)
	}
	srv.Close() // waits for its requests
	s.get("admin", path).page().has("4,000 people added")
}
