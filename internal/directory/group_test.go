package directory_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

func TestGroups(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		f := newFixture(t, db)
		ada, grace := f.add("Ada Lovelace"), f.add("Grace Hopper")
		f.outbox()
		attributes := directory.GroupAttributes{
			Name: "Engineers", Description: "They build.",
			Attributes: map[string]any{"department": "Engines", "custom.floor": int64(2), "custom.tools": []string{"pen"}},
		}
		g, err := f.CreateGroup(t.Context(), admin, directory.NewGroup{GroupAttributes: attributes, Members: []directory.UserID{ada.ID, ada.ID}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.Group(t.Context(), readOnly, g.ID)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(g, got); d != "" {
			t.Errorf("read back (-created +read):\n%s", d)
		}
		if d := cmp.Diff(attributes, got.GroupAttributes); d != "" || got.Members != 1 {
			t.Errorf("%d members, attributes (-want +got):\n%s", got.Members, d)
		}
		if d := cmp.Diff([]string{"group " + string(g.ID), "user " + string(ada.ID), "group " + string(g.ID)}, f.outbox()); d != "" {
			t.Errorf("outbox (-want +got):\n%s", d)
		}

		_, err = f.CreateGroup(t.Context(), admin, directory.NewGroup{GroupAttributes: directory.GroupAttributes{Name: " engineers"}})
		wantKind(t, err, problem.Conflict, "name")
		_, err = f.CreateGroup(t.Context(), admin, directory.NewGroup{GroupAttributes: directory.GroupAttributes{Name: "  "}})
		wantKind(t, err, problem.Invalid, "name")
		_, err = f.CreateGroup(t.Context(), admin, directory.NewGroup{GroupAttributes: directory.GroupAttributes{Name: "X"}, Members: []directory.UserID{"none"}})
		wantKind(t, err, problem.Invalid, "members")
		_, err = f.CreateGroup(t.Context(), helpDesk, directory.NewGroup{GroupAttributes: directory.GroupAttributes{Name: "X"}})
		wantKind(t, err, problem.Forbidden)

		before := len(f.events())
		same, err := f.UpdateGroup(t.Context(), admin, g.ID, g.Version, func(a *directory.GroupAttributes) error { a.Name = "Engineers "; return nil })
		if err != nil || same.Version != 1 || len(f.events()) != before || len(f.outbox()) != 0 {
			t.Errorf("a change of nothing: version %d, %v", same.Version, err)
		}
		_, err = f.UpdateGroup(t.Context(), admin, g.ID, 9, func(*directory.GroupAttributes) error { return nil })
		wantKind(t, err, problem.Conflict)
		_, err = f.UpdateGroup(t.Context(), admin, g.ID, 0, func(a *directory.GroupAttributes) error {
			a.Attributes = map[string]any{"email": "x", "timezone": "Nowhere", "department": 4}
			return nil
		})
		wantKind(t, err, problem.Invalid, "attributes.department", "attributes.email", "attributes.timezone")

		after, err := f.UpdateGroup(t.Context(), admin, g.ID, 0, func(a *directory.GroupAttributes) error { a.Description = "They build engines."; return nil })
		if err != nil || after.Version != 2 || after.Members != 1 {
			t.Errorf("after the change: %+v, %v", after, err)
		}
		if d := cmp.Diff([]string{"group " + string(g.ID)}, f.outbox()); d != "" {
			t.Errorf("a description concerns no member; outbox (-want +got):\n%s", d)
		}
		if _, err := f.UpdateGroup(t.Context(), admin, g.ID, 0, func(a *directory.GroupAttributes) error { a.Attributes["department"] = "Sums"; return nil }); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]string{"user " + string(ada.ID), "group " + string(g.ID)}, f.outbox()); d != "" {
			t.Errorf("members inherit; outbox (-want +got):\n%s", d)
		}

		if n, err := f.AddMembers(t.Context(), admin, g.ID, []directory.UserID{grace.ID, ada.ID}); err != nil || n != 1 {
			t.Errorf("added %d, %v", n, err)
		}
		f.outbox()
		if err := f.DeleteGroup(t.Context(), admin, g.ID); err != nil {
			t.Fatal(err)
		}
		users := []string{"user " + string(ada.ID), "user " + string(grace.ID)}
		slices.Sort(users)
		if d := cmp.Diff(append(users, "group "+string(g.ID)), f.outbox()); d != "" {
			t.Errorf("outbox (-want +got):\n%s", d)
		}
		_, err = f.Group(t.Context(), admin, g.ID)
		wantKind(t, err, problem.NotFound)
		wantKind(t, f.DeleteGroup(t.Context(), admin, g.ID), problem.NotFound)
	})
}

func TestMembership(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		f := newFixture(t, db)
		ada, grace := f.add("Ada Lovelace"), f.add("Grace Hopper")
		g := f.group("Engineers")
		f.outbox()
		start := len(f.events())
		count := func(want int, n int, err error, events, outbox int) {
			t.Helper()
			if err != nil || n != want {
				t.Errorf("%d changed, %v; want %d", n, err, want)
			}
			got := f.events()[start:]
			start += len(got)
			if len(got) != events || len(f.outbox()) != outbox {
				t.Errorf("%d events, want %d", len(got), events)
			}
			for _, e := range got {
				if e.Type != audit.AssociationChange {
					t.Errorf("event %s", e.Type)
				}
			}
		}
		n, err := f.AddMembers(t.Context(), admin, g.ID, []directory.UserID{ada.ID, grace.ID, ada.ID})
		count(2, n, err, 3, 3)
		n, err = f.AddMembers(t.Context(), admin, g.ID, []directory.UserID{ada.ID})
		count(0, n, err, 0, 0)
		n, err = f.RemoveMembers(t.Context(), admin, g.ID, []directory.UserID{ada.ID, "none"})
		count(1, n, err, 2, 2)
		n, err = f.RemoveMembers(t.Context(), admin, g.ID, []directory.UserID{ada.ID})
		count(0, n, err, 0, 0)
		_, err = f.AddMembers(t.Context(), admin, g.ID, []directory.UserID{ada.ID, "none"})
		wantKind(t, err, problem.Invalid, "members")
		_, err = f.AddMembers(t.Context(), admin, "none", []directory.UserID{ada.ID})
		wantKind(t, err, problem.NotFound)
		_, err = f.RemoveMembers(t.Context(), readOnly, g.ID, []directory.UserID{grace.ID})
		wantKind(t, err, problem.Forbidden)
		events := f.events()
		last := events[len(events)-1]
		if last.Message != "Ada Lovelace was removed from Engineers." || last.Object.ID != string(ada.ID) || last.Cause != events[len(events)-2].ID {
			t.Errorf("last event: %+v", last)
		}
	})
}

func TestManyMembersAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		f := newFixture(t, db)
		rows := make([]directory.ImportRow, 1200)
		for i := range rows {
			rows[i].Line, rows[i].Email = i+1, fmt.Sprintf("u%04d@example.com", i)
		}
		report, err := f.Import(t.Context(), admin, rows, directory.ImportOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var users []directory.UserID
		for _, r := range report.Rows {
			users = append(users, r.UserID)
		}
		g := f.group("Everybody")
		if n, err := f.AddMembers(t.Context(), admin, g.ID, users); err != nil || n != 1200 {
			t.Fatalf("added %d, %v", n, err)
		}
		if got, err := f.Group(t.Context(), admin, g.ID); err != nil || got.Members != 1200 {
			t.Errorf("%d members, %v", got.Members, err)
		}
	})
}

func TestListGroups(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		f := newFixture(t, db)
		ada := f.add("Ada Lovelace")
		for _, n := range []string{"Zebra", "alpha", "Beta", "Ünder"} {
			f.group(n)
		}
		f.group("Own", ada.ID)
		list := func(q directory.GroupQuery) []string {
			t.Helper()
			var out []string
			for {
				page, err := f.ListGroups(t.Context(), readOnly, q)
				if err != nil {
					t.Fatal(err)
				}
				for _, g := range page.Items {
					out = append(out, fmt.Sprintf("%s/%d", g.Name, g.Members))
				}
				if page.Next == "" {
					return out
				}
				q.Cursor = page.Next
			}
		}
		got := list(directory.GroupQuery{})
		paged := list(directory.GroupQuery{Limit: 2})
		if d := cmp.Diff(got, paged); d != "" || len(got) != 5 || got[0] != "alpha/0" {
			t.Errorf("%v; pages differ (-one +several):\n%s", got, d)
		}
		if d := cmp.Diff([]string{"Ünder/0"}, list(directory.GroupQuery{Text: "UNDER"})); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff([]string{"Own/1"}, list(directory.GroupQuery{UserID: ada.ID})); d != "" {
			t.Error(d)
		}
		_, err := f.ListGroups(t.Context(), nobody, directory.GroupQuery{})
		wantKind(t, err, problem.Forbidden)
	})
}

func TestEffective(t *testing.T) {
	u := directory.User{Attributes: directory.Attributes{Email: "a@b.example", Profile: directory.Profile{
		Title: "Own", Custom: map[string]any{"own": "mine"},
	}}}
	groups := []directory.Group{
		{GroupAttributes: directory.GroupAttributes{Name: "zeta", Attributes: map[string]any{
			"title": "Zeta", "department": "Zeta", "location": "Zeta", "custom.own": "zeta", "custom.floor": int64(9),
		}}},
		{GroupAttributes: directory.GroupAttributes{Name: "Alpha", Attributes: map[string]any{
			"department": "Alpha", "custom.floor": int64(1), "email": "stolen@b.example",
		}}},
	}
	got := directory.Effective(u, groups)
	want := u
	want.Department, want.Location = "Alpha", "Zeta"
	want.Custom = map[string]any{"own": "mine", "floor": int64(1)}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if d := cmp.Diff(map[string]any{"own": "mine"}, u.Custom); d != "" {
		t.Errorf("the person given was changed:\n%s", d)
	}
	if !slices.Contains(directory.InheritedAttributes(), "department") || strings.Contains(strings.Join(directory.InheritedAttributes(), " "), "email") {
		t.Errorf("inherited: %v", directory.InheritedAttributes())
	}
}
