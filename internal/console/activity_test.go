package console_test

import (
	"encoding/csv"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/directory"
)

// lastEvent is the newest event of a type.
func (s *site) lastEvent(t audit.Type) audit.Event {
	s.t.Helper()
	list, err := audit.NewLog(s.db).Search(s.ctx(), system, audit.Query{Types: []audit.Type{t}, Limit: 1})
	s.must(err)
	if len(list.Items) == 0 {
		s.t.Fatalf("no event %s", t)
	}
	return list.Items[0]
}

func TestActivityFilters(t *testing.T) {
	s := newSite(t)
	s.post("owner", s.userPath("bob", "suspend"))
	bob := string(s.people["bob"].ID)
	for path, c := range map[string]struct{ has, hasNot []string }{
		"":                                    {[]string{"Bob Example was suspended", "user_suspended", "owner@example.com"}, nil},
		"?type=user_suspended":                {[]string{"Bob Example was suspended"}, []string{"was created"}},
		"?type=@signin":                       {[]string{"admin_login_attempt"}, []string{"was suspended"}},
		"?type=@security":                     {[]string{"user_password_set"}, []string{"was suspended"}},
		"?outcome=denied":                     {[]string{"No event matches"}, nil},
		"?object=user:" + bob:                 {[]string{"was suspended", "about Bob Example"}, []string{"Carol Example was"}},
		"?object=group":                       {[]string{"of the kind “Group”", "Engineering"}, []string{"was suspended"}},
		"?application=" + string(s.atlassian): {[]string{"Atlassian Cloud"}, []string{"was suspended"}},
		"?actor=" + string(s.people["owner"].ID) + "&type=user_suspended": {[]string{"was suspended", "done by owner@example.com"}, nil},
		"?q=suspended":                   {[]string{"was suspended"}, []string{"The group Empty"}},
		"?from=2000-01-01&to=2000-12-31": {[]string{"No event matches", "since 1 January 2000", "until 31 December 2000"}, nil},
		"?correlation=none":              {[]string{"No event matches", "of one request"}, nil},
	} {
		t.Run(path, func(t *testing.T) {
			s.t = t
			events := s.get("reader", "/console/activity"+path).page()
			events.has(c.has...)
			// The lists of choices have names of types too; only the log counts.
			if _, log, ok := strings.Cut(events.text(), `id="events"`); ok {
				for _, x := range c.hasNot {
					if strings.Contains(log, x) {
						t.Errorf("%q is shown", x)
					}
				}
			}
		})
	}
	s.t = t
	s.get("reader", "/console/activity?type=user_flown&from=tomorrow").status(http.StatusUnprocessableEntity).has("no event of type user_flown", "Enter a day")
	s.get("reader", "/console/activity?from=2026-02-02&to=2026-01-01").status(http.StatusUnprocessableEntity).has("lies before the first one")
	s.get("reader", "/console/activity?cursor=broken").status(http.StatusUnprocessableEntity)
}

func TestEvent(t *testing.T) {
	s := newSite(t)
	s.provision()
	s.post("owner", s.userPath("bob"), "email", "bob@example.com", "givenName", "Bob", "familyName", "Example", "title", "Boss")
	s.settle()
	change := s.lastEvent(audit.UserUpdate)
	s.get("reader", "/console/activity/"+change.ID).page().has("job title", "Engineer", "Boss", "192.0.2.1", "What followed")
	sent := s.lastEvent(audit.UserUpdateProvision)
	part := s.part("reader", "/console/activity/"+sent.ID).status(http.StatusOK)
	part.has("Because of", change.ID, "What was sent", "What came back", "PATCH ", "200 OK", "&#34;Boss&#34;", "Atlassian Cloud").hasNot("<html", "scimtest-token", "How it stands now")
	s.get("reader", "/console/activity?cause="+change.ID).page().has("Bob Example was updated at Atlassian Cloud")

	s.post("owner", s.userPath("bob"), "email", "bob@example.com", "givenName", "Bob")
	s.settle()
	blocked := s.lastEvent(audit.UserUpdateProvision)
	s.get("reader", "/console/activity/"+blocked.ID).page().has("Failed", "How it stands now", "/console/applications/"+string(s.atlassian)+"/provisioning/people/"+string(s.people["bob"].ID))
	s.get("reader", "/console/activity/none").status(http.StatusNotFound)
}

func TestExport(t *testing.T) {
	s := newSite(t)
	a := directory.Attributes{Email: "formula@example.com"}
	a.DisplayName = "=cmd()"
	_, err := s.directory.CreateUser(t.Context(), system, directory.NewUser{Attributes: a})
	s.must(err)
	out := s.get("reader", "/console/activity/export.csv?type=user_create").status(http.StatusOK)
	if got := out.Header().Get("Content-Disposition"); !strings.HasPrefix(got, `attachment; filename="latchkey-activity-`) {
		t.Errorf("disposition %q", got)
	}
	rows, err := csv.NewReader(out.Body).ReadAll()
	s.must(err)
	if len(rows) != 1+9 || rows[0][0] != "id" || rows[1][2] != "user_create" {
		t.Errorf("%d rows, first %q", len(rows), rows[:2])
	}
	if got := rows[1][11]; got != "'=cmd()" {
		t.Errorf("a formula is exported as %q", got)
	}
	out = s.get("reader", "/console/activity/export.jsonl?object=group").status(http.StatusOK)
	lines := strings.Split(strings.TrimSpace(out.text()), "\n")
	var e struct {
		Type   string
		Object struct{ Kind, Name string }
	}
	s.must(json.Unmarshal([]byte(lines[0]), &e))
	if e.Object.Kind != "group" || e.Type == "" {
		t.Errorf("line %+v", e)
	}
	s.get("reader", "/console/activity/export.csv?type=user_flown").status(http.StatusUnprocessableEntity)
	s.get("nobody", "/console/activity/export.csv").status(http.StatusForbidden)
}

// An export goes on behind the page of a search.
func TestExportIsWhole(t *testing.T) {
	s := newSite(t)
	for i := range 60 {
		for j := range 10 {
			_, err := s.directory.CreateGroup(t.Context(), system, directory.NewGroup{GroupAttributes: directory.GroupAttributes{Name: string(rune('a'+i%26)) + string(rune('a'+i/26)) + string(rune('a'+j))}})
			s.must(err)
		}
	}
	out := s.get("reader", "/console/activity/export.jsonl?type=group_create").status(http.StatusOK)
	if n := strings.Count(out.text(), "\n"); n != 602 {
		t.Errorf("%d events of 602", n)
	}
}
