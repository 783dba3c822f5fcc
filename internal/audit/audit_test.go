package audit_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

var auditor = access.Actor{Role: access.ReadOnly}

func record(t *testing.T, db *store.DB, at time.Time, events ...audit.Event) (ids []string) {
	t.Helper()
	for _, e := range events {
		if err := db.Update(t.Context(), func(tx *store.Tx) error {
			id, err := audit.Record(tx, at, e)
			ids = append(ids, id)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	return ids
}

func TestEventComesBackWhole(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		at := time.Date(2026, 11, 25, 10, 0, 0, 1000, time.UTC)
		want := audit.Event{
			At: at, Type: audit.UserUpdateProvision, Outcome: audit.Failure,
			Actor:  access.Actor{Kind: access.Person, ID: "u1", Name: "ada@example.com", Address: "192.0.2.1", Correlation: "c1"},
			Object: audit.Ref{Kind: audit.KindUser, ID: "u2", Name: "bob@example.com"}, ApplicationID: "a1", Cause: "e0",
			Message: "Atlassian refused the change.", Changes: []audit.Change{{Attribute: "title", Old: "Dr", New: nil}},
			Detail: map[string]any{"status": float64(409)},
		}
		want.ID = record(t, db, at, want)[0]
		got, err := audit.NewLog(db).Get(t.Context(), auditor, want.ID)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if _, err := audit.NewLog(db).Get(t.Context(), auditor, "none"); problem.KindOf(err) != problem.NotFound {
			t.Errorf("missing event: %v", err)
		}
		if _, err := audit.NewLog(db).Search(t.Context(), access.Actor{}, audit.Query{}); problem.KindOf(err) != problem.Forbidden {
			t.Errorf("no role: %v", err)
		}
	})
}

func TestSearchNarrowsAndPages(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		at := time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)
		ids := record(t, db, at,
			audit.Event{Type: audit.UserCreate, Object: audit.Ref{Kind: "user", ID: "u1", Name: "Zoë Ångström"}, Actor: access.Actor{ID: "p1", Name: "ada"}},
			audit.Event{Type: audit.SSOAuth, Outcome: audit.Denied, ApplicationID: "a1", Object: audit.Ref{Kind: "user", ID: "u1"}},
			audit.Event{Type: audit.SSOAuth, ApplicationID: "a2", Object: audit.Ref{Kind: "user", ID: "u2"}, Message: "100%_sure"})
		ids = append(ids, record(t, db, at.Add(time.Hour), audit.Event{Type: audit.UserDelete, Object: audit.Ref{Kind: "user", ID: "u1"}, Actor: access.Actor{Correlation: "c9"}})...)
		log := audit.NewLog(db)
		for name, c := range map[string]struct {
			q    audit.Query
			want []int
		}{
			"all, newest first":  {audit.Query{}, []int{3, 2, 1, 0}},
			"type":               {audit.Query{Types: []audit.Type{audit.SSOAuth, audit.UserDelete}}, []int{3, 2, 1}},
			"object":             {audit.Query{Object: audit.Ref{Kind: "user", ID: "u1"}}, []int{3, 1, 0}},
			"application":        {audit.Query{ApplicationID: "a1"}, []int{1}},
			"outcome":            {audit.Query{Outcome: audit.Denied}, []int{1}},
			"actor":              {audit.Query{ActorID: "p1"}, []int{0}},
			"text, no accents":   {audit.Query{Text: "zoe angstrom"}, []int{0}},
			"text is no pattern": {audit.Query{Text: "100%_s"}, []int{2}},
			"wildcards alone":    {audit.Query{Text: "%x%"}, nil},
			"correlation":        {audit.Query{Correlation: "c9"}, []int{3}},
			"from":               {audit.Query{From: at.Add(time.Minute)}, []int{3}},
			"to":                 {audit.Query{To: at.Add(time.Minute)}, []int{2, 1, 0}},
		} {
			page, err := log.Search(t.Context(), auditor, c.q)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			var got, want []string
			for _, e := range page.Items {
				got = append(got, e.ID)
			}
			for _, i := range c.want {
				want = append(want, ids[i])
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s: %s", name, d)
			}
		}
		var got []string
		for q := (audit.Query{Limit: 3}); ; {
			page, err := log.Search(t.Context(), auditor, q)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Items {
				got = append(got, e.ID)
			}
			if q.Cursor = page.Next; page.Next == "" {
				break
			}
		}
		if d := cmp.Diff([]string{ids[3], ids[2], ids[1], ids[0]}, got); d != "" {
			t.Errorf("paging: %s", d)
		}
	})
}

func TestOutboxRowsAreTakenOnceAndComeBackOnFailure(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		now := time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)
		wakes := db.Wakes(audit.OutboxTopic)
		if err := db.Update(t.Context(), func(tx *store.Tx) error {
			for _, id := range []string{"1", "2", "3"} {
				if err := audit.Changed(tx, now, "user", id, "e"); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		<-wakes
		take := func(fail error) (got []string) {
			err := db.Claim(t.Context(), func(tx *store.Tx) error {
				got = nil
				rows, err := audit.Take(tx, 2)
				for _, r := range rows {
					got = append(got, r.ID)
				}
				if err != nil {
					return err
				}
				return fail
			})
			if err != fail { //nolint:errorlint // the very same
				t.Fatal(err)
			}
			return got
		}
		take(problem.New(problem.Internal, "no"))
		if d := cmp.Diff([]string{"1", "2"}, take(nil)); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff([]string{"3"}, take(nil)); d != "" {
			t.Error(d)
		}
		if got := take(nil); got != nil {
			t.Errorf("taken twice: %v", got)
		}
	})
}

func TestDiff(t *testing.T) {
	type v struct {
		Title string   `json:"title,omitempty"`
		Name  string   `json:"name"`
		Tags  []string `json:"tags,omitempty"`
	}
	got := audit.Diff(v{Title: "Dr", Name: "A", Tags: []string{"x"}}, v{Name: "A", Tags: []string{"x", "y"}})
	want := []audit.Change{{Attribute: "tags", Old: []any{"x"}, New: []any{"x", "y"}}, {Attribute: "title", Old: "Dr", New: nil}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got := audit.Diff(nil, v{Name: "A"}); len(got) != 1 || got[0].Attribute != "name" {
		t.Errorf("created: %+v", got)
	}
}
