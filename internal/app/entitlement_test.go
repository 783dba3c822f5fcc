package app_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

func groupNames(groups []directory.Group) string {
	names := make([]string, len(groups))
	for i, g := range groups {
		names[i] = g.Name
	}
	return strings.Join(names, ",")
}

func TestAccessComesFromBindingsOnly(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		a := w.create(app.NewApplication{Attributes: app.Attributes{PortalVisible: true}})
		dev, ops, hr := w.group("Developers"), w.group("Operations"), w.group("HR")
		both := w.user("both", directory.Active, dev, ops, hr)
		one := w.user("one", directory.Active, ops)
		other := w.user("other", directory.Active, hr)
		staged := w.user("staged", directory.Staged, dev)
		suspended := w.user("suspended", directory.Active, dev)
		if _, err := w.dir.Suspend(ctx, admin, suspended.ID); err != nil {
			t.Fatal(err)
		}
		users := []directory.User{both, one, other, staged, suspended}

		// rights tells, for each person, by which groups they have access.
		rights := func() []string {
			var out []string
			w.view(func(tx *store.Tx) error {
				out = nil
				ids, err := app.EntitledUserIDs(tx, a.ID, "", 100)
				if err != nil {
					return err
				}
				for _, u := range users {
					via, err := app.Entitled(tx, a.ID, u.ID)
					if err != nil {
						return err
					}
					s, err := app.StandingOf(tx, a.ID, u.ID)
					if err != nil {
						return err
					}
					if s.Granted() != (len(via) > 0) || s.Granted() != slices.Contains(ids, u.ID) || s.Granted() && groupNames(s.Via) != groupNames(via) {
						t.Errorf("%s: the answers disagree: %v, %v, %v", u.GivenName, groupNames(s.Via), groupNames(via), ids)
					}
					if p := s.Person(); p.Active() != s.Granted() {
						t.Errorf("%s: mappings see active %v", u.GivenName, p.Active())
					}
					if len(via) > 0 {
						out = append(out, u.GivenName+"="+groupNames(via))
					}
				}
				return nil
			})
			return out
		}
		if got := rights(); got != nil {
			t.Errorf("without a binding these have access: %v", got)
		}
		for _, g := range []directory.GroupID{dev, ops} {
			if err := w.apps.Bind(ctx, admin, a.ID, g); err != nil {
				t.Fatal(err)
			}
		}
		if d := cmp.Diff([]string{"both=Developers,Operations", "one=Operations"}, rights()); d != "" {
			t.Error(d)
		}
		w.view(func(tx *store.Tx) error {
			members, err := app.EntitledMembers(tx, a.ID, dev)
			if err != nil || len(members) != 1 || members[0] != both.ID {
				t.Errorf("entitled members of Developers: %v, %v", members, err)
			}
			if members, err = app.EntitledMembers(tx, a.ID, hr); err != nil || len(members) != 0 {
				t.Errorf("of a group that isn't bound: %v, %v", members, err)
			}
			ids, err := app.BoundGroupIDs(tx, a.ID)
			if err != nil || len(ids) != 2 {
				t.Errorf("bound groups: %v, %v", ids, err)
			}
			if _, err := app.StandingOf(tx, a.ID, "nope"); !problem.Is(err, problem.NotFound) {
				t.Errorf("unknown person: %v", err)
			}
			return nil
		})
		bound := must(w.apps.BoundGroups(ctx, reader, a.ID))(t)
		if groupNames(bound) != "Developers,Operations" || bound[0].Members != 3 {
			t.Errorf("bound groups: %+v", bound)
		}
		if got := must(w.apps.Get(ctx, reader, a.ID))(t); got.Groups != 2 {
			t.Errorf("%d groups", got.Groups)
		}
		if got := must(w.apps.ApplicationsOfGroup(ctx, reader, dev))(t); len(got) != 1 || got[0].ID != a.ID {
			t.Errorf("applications of Developers: %v", got)
		}
		if got := must(w.apps.ApplicationsOfGroup(ctx, reader, hr))(t); len(got) != 0 {
			t.Errorf("applications of HR: %v", got)
		}
		if got := must(w.apps.ApplicationsOfUser(ctx, reader, both.ID))(t); len(got) != 1 || groupNames(got[0].Via) != "Developers,Operations" {
			t.Errorf("applications of the person: %+v", got)
		}
		if err := w.apps.Unbind(ctx, admin, a.ID, dev); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]string{"both=Operations", "one=Operations"}, rights()); d != "" {
			t.Error(d)
		}
		if err := w.dir.DeleteGroup(ctx, admin, ops); err != nil {
			t.Fatal(err)
		}
		if got := rights(); got != nil {
			t.Errorf("after the group is gone: %v", got)
		}
	})
}

func TestTileApplications(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		g, far := w.group("Everybody"), w.group("Others")
		u := w.user("ann", directory.Active, g)
		gone := w.user("bob", directory.Active, g)
		if _, err := w.dir.Suspend(t.Context(), admin, gone.ID); err != nil {
			t.Fatal(err)
		}
		add := func(label string, bind directory.GroupID, visible, active bool, bookmark string) {
			connector := "atlassian-cloud"
			if bookmark != "" {
				connector = "bookmark"
			}
			a := w.create(app.NewApplication{Connector: connector, Attributes: app.Attributes{Label: label, PortalVisible: visible, BookmarkURL: bookmark}})
			if active {
				must(w.apps.SaveSAML(t.Context(), admin, a.ID, complete))(t)
				must(w.apps.ActivateSAML(t.Context(), admin, a.ID))(t)
			}
			if bind != "" {
				if err := w.apps.Bind(t.Context(), admin, a.ID, bind); err != nil {
					t.Fatal(err)
				}
			}
		}
		add("Wiki", g, true, false, "https://wiki.example.org")
		add("Jira", g, true, true, "")
		add("hidden", g, false, true, "")
		add("not set up", g, true, false, "")
		add("unbound", "", true, true, "")
		add("bound elsewhere", far, true, true, "")
		labels := func(id directory.UserID) (out []string) {
			w.view(func(tx *store.Tx) error {
				apps, err := app.TileApplications(tx, id)
				for _, a := range apps {
					out = append(out, a.Label)
				}
				return err
			})
			return out
		}
		if d := cmp.Diff([]string{"Jira", "Wiki"}, labels(u.ID)); d != "" {
			t.Error(d)
		}
		if got := labels(gone.ID); got != nil {
			t.Errorf("a suspended person sees %v", got)
		}
		w.view(func(tx *store.Tx) error {
			active, err := app.ActiveSCIM(tx)
			if len(active) != 0 {
				t.Errorf("active provisioning: %v", active)
			}
			return err
		})
	})
}

func TestEntitledUserIDsInPages(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.create(app.NewApplication{})
		g1, g2 := w.group("One"), w.group("Two")
		var want []directory.UserID
		for i := range 12 {
			groups := [][]directory.GroupID{{g1}, {g2}, {g1, g2}}[i%3]
			want = append(want, w.user(fmt.Sprintf("u%d", i), directory.Active, groups...).ID)
		}
		slices.Sort(want)
		for _, g := range []directory.GroupID{g1, g2} {
			if err := w.apps.Bind(t.Context(), admin, a.ID, g); err != nil {
				t.Fatal(err)
			}
		}
		for limit := 1; limit <= 13; limit++ {
			var got []directory.UserID
			w.view(func(tx *store.Tx) error {
				for after := directory.UserID(""); ; {
					page, err := app.EntitledUserIDs(tx, a.ID, after, limit)
					if err != nil || len(page) == 0 {
						return err
					}
					got, after = append(got, page...), page[len(page)-1]
				}
			})
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("pages of %d:\n%s", limit, d)
			}
		}
	})
}

func TestPerson(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	a := w.create(app.NewApplication{})
	g := must(w.dir.CreateGroup(t.Context(), admin, directory.NewGroup{GroupAttributes: directory.GroupAttributes{
		Name: "Berlin", Attributes: map[string]any{"location": "Berlin", "department": "From the group"},
	}}))(t)
	free := w.group("Free")
	u := must(w.dir.CreateUser(t.Context(), admin, directory.NewUser{
		Attributes: directory.Attributes{
			Username: "ann", Email: "ann@example.org",
			Profile: directory.Profile{
				GivenName: "Ann", FamilyName: "Lee", Department: "Own", TimeZone: "Europe/Berlin", PreferredLanguage: "de",
				Phones:    []directory.Phone{{Type: "work", Value: "+49301234567", Primary: true}},
				Addresses: []directory.Address{{Type: "work", Locality: "Berlin", Country: "DE"}},
			},
		},
		State: directory.Active, Groups: []directory.GroupID{g.ID, free},
	}))(t)
	if err := w.apps.Bind(t.Context(), admin, a.ID, free); err != nil {
		t.Fatal(err)
	}
	var got catalog.Person
	w.view(func(tx *store.Tx) error {
		s, err := app.StandingOf(tx, a.ID, u.ID)
		got = s.Person()
		return err
	})
	want := catalog.Person{
		ID: string(u.ID), Username: "ann", Email: "ann@example.org", GivenName: "Ann", FamilyName: "Lee",
		Department: "Own", Location: "Berlin", Timezone: "Europe/Berlin", PreferredLanguage: "de",
		Phones:    []catalog.Phone{{Type: "work", Value: "+49301234567", Primary: true}},
		Addresses: []catalog.Address{{Type: "work", Locality: "Berlin", Country: "DE"}},
		State:     "active", Groups: []string{"Free"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// BenchmarkEntitlement asks with 100,000 people in one bound group.
func BenchmarkEntitlement(b *testing.B) {
	w := newWorld(b, storetest.SQLite(b))
	a := w.create(app.NewApplication{})
	g := w.group("Everybody")
	u := w.user("ann", directory.Active, g)
	if err := w.apps.Bind(b.Context(), admin, a.ID, g); err != nil {
		b.Fatal(err)
	}
	err := w.db.Update(b.Context(), func(tx *store.Tx) error {
		for i := range 100_000 {
			id := store.NewID()
			if _, err := tx.Exec(`INSERT INTO users (id, username, username_key, email, state, password_status, sort_key, search_key, created_at, updated_at)
				VALUES ($1, $1, $1, $1, 'active', 'active', $1, $1, 1, 1)`, id); err != nil {
				return fmt.Errorf("%d: %w", i, err)
			}
			if _, err := tx.Exec(`INSERT INTO memberships (group_id, user_id, added_at) VALUES ($1, $2, 1)`, string(g), id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	view := func(b *testing.B, fn func(tx *store.Tx) error) {
		for b.Loop() {
			if err := w.db.View(b.Context(), fn); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("standing", func(b *testing.B) {
		view(b, func(tx *store.Tx) error { _, err := app.StandingOf(tx, a.ID, u.ID); return err })
	})
	b.Run("tiles", func(b *testing.B) {
		view(b, func(tx *store.Tx) error { _, err := app.TileApplications(tx, u.ID); return err })
	})
	b.Run("last page of 1000", func(b *testing.B) {
		view(b, func(tx *store.Tx) error { _, err := app.EntitledUserIDs(tx, a.ID, u.ID, 1000); return err })
	})
	b.Run("all in pages of 1000", func(b *testing.B) {
		view(b, func(tx *store.Tx) error {
			n := 0
			for after := directory.UserID(""); ; {
				page, err := app.EntitledUserIDs(tx, a.ID, after, 1000)
				if err != nil {
					return err
				}
				if len(page) == 0 {
					break
				}
				n, after = n+len(page), page[len(page)-1]
			}
			if n != 100_001 {
				b.Fatalf("%d people", n)
			}
			return nil
		})
	})
}
