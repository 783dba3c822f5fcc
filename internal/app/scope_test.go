package app_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
)

// TestScopeAndMatch saves who is provisioned and by what accounts are looked up, and refuses what
// can't be.
func TestScopeAndMatch(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.create(app.NewApplication{})
		for _, c := range []struct {
			name, filter string
			match        []string
			wantMatch    []string
			field, says  string
		}{
			{"a filter", " user.department == \"Sales\"\r\n ", nil, nil, "", ""},
			{"an order", "", []string{"username", " externalId"}, []string{"userName", "externalId"}, "", ""},
			{"nothing", "", []string{}, nil, "", ""},
			{"a faulty filter", "user.department ==", nil, nil, "scopeFilter", "Line 1, column"},
			{"a filter that gives text", "user.department", nil, nil, "scopeFilter", "must give true or false"},
			{"what can't be asked for", "", []string{"nickName"}, nil, "match", "It can by: userName, externalId"},
			{"named twice", "", []string{"userName", "USERNAME"}, nil, "match", "named twice"},
		} {
			t.Run(c.name, func(t *testing.T) {
				before := must(w.apps.Get(t.Context(), admin, a.ID))(t)
				got, err := w.apps.SaveSCIM(t.Context(), admin, a.ID, func(s *app.SCIMSettings) error {
					s.ScopeFilter, s.Match = c.filter, c.match
					return nil
				})
				if c.field != "" {
					fields := problem.FieldsOf(err)
					if len(fields) != 1 || fields[0].Name != c.field || !strings.Contains(fields[0].Detail, c.says) {
						t.Fatalf("%v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if got.SCIM.ScopeFilter != strings.TrimSpace(c.filter) || !slices.Equal(got.SCIM.Match, c.wantMatch) {
					t.Errorf("%+v", got.SCIM.SCIMSettings)
				}
				if got.SCIM.Generation != before.SCIM.Generation+1 {
					t.Errorf("generation %d after %d", got.SCIM.Generation, before.SCIM.Generation)
				}
			})
		}
	})
}

// TestChangeIsMadeAsAWhole makes settings and bindings one transaction.
func TestChangeIsMadeAsAWhole(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.create(app.NewApplication{})
		g := w.group("Engineering")
		change := app.SCIMChange{Settings: func(s *app.SCIMSettings) error { s.ScopeFilter = "true"; return nil }, Bind: []directory.GroupID{g, "none"}}
		if _, err := w.apps.ChangeSCIM(t.Context(), admin, a.ID, change, nil); !problem.Is(err, problem.NotFound) {
			t.Fatalf("%v", err)
		}
		if got := must(w.apps.Get(t.Context(), admin, a.ID))(t); got.SCIM.ScopeFilter != "" || got.Groups != 0 {
			t.Errorf("half of it was made: %+v", got)
		}
	})
}
