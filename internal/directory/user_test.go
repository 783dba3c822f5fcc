package directory_test

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

var (
	noon     = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	owner    = access.Actor{Kind: access.Person, ID: "actor-owner", Name: "olga@example.com", Role: access.Owner, Correlation: "c1"}
	admin    = access.Actor{Kind: access.Person, ID: "actor-admin", Name: "adam@example.com", Role: access.Administrator}
	helpDesk = access.Actor{Kind: access.Person, ID: "actor-help", Name: "hal@example.com", Role: access.HelpDesk}
	readOnly = access.Actor{Kind: access.Person, ID: "actor-read", Name: "rita@example.com", Role: access.ReadOnly}
	nobody   = access.Actor{Kind: access.Person, ID: "actor-none", Name: "nemo@example.com"}
)

// fixture is a directory with a clock that moves a second at each look.
type fixture struct {
	*directory.Directory
	t  *testing.T
	db *store.DB
}

func newFixture(t *testing.T, db *store.DB) *fixture {
	t.Helper()
	var mu sync.Mutex
	at := noon
	return &fixture{t: t, db: db, Directory: directory.New(db, func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		at = at.Add(time.Second)
		return at
	})}
}

// add creates an active person called "Given Family".
func (f *fixture) add(name string, groups ...directory.GroupID) directory.User {
	f.t.Helper()
	given, family, _ := strings.Cut(name, " ")
	u, err := f.CreateUser(f.t.Context(), owner, directory.NewUser{
		Attributes: directory.Attributes{
			Email:   strings.ToLower(strings.ReplaceAll(name, " ", ".")) + "@example.com",
			Profile: directory.Profile{GivenName: given, FamilyName: family},
		},
		State: directory.Active, Groups: groups,
	})
	if err != nil {
		f.t.Fatalf("create %s: %v", name, err)
	}
	return u
}

func (f *fixture) withRole(name string, role access.Role) directory.User {
	f.t.Helper()
	u, err := f.SetRole(f.t.Context(), owner, f.add(name).ID, role)
	if err != nil {
		f.t.Fatalf("role of %s: %v", name, err)
	}
	return u
}

func (f *fixture) group(name string, members ...directory.UserID) directory.Group {
	f.t.Helper()
	g, err := f.CreateGroup(f.t.Context(), owner, directory.NewGroup{GroupAttributes: directory.GroupAttributes{Name: name}, Members: members})
	if err != nil {
		f.t.Fatalf("create group %s: %v", name, err)
	}
	return g
}

// events returns "type object: message" of all events, oldest first, and forgets none.
func (f *fixture) events() []audit.Event {
	f.t.Helper()
	page, err := audit.NewLog(f.db).Search(f.t.Context(), owner, audit.Query{Limit: 1000})
	if err != nil {
		f.t.Fatalf("events: %v", err)
	}
	out := page.Items
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}

// outbox takes and returns the outbox as "kind id", in the order of writing.
func (f *fixture) outbox() []string {
	f.t.Helper()
	var out []string
	err := f.db.Claim(f.t.Context(), func(tx *store.Tx) error {
		out = nil
		rows, err := audit.Take(tx, 10_000)
		for _, r := range rows {
			out = append(out, r.Kind+" "+r.ID)
			if r.Cause == "" {
				f.t.Errorf("outbox row of %s %s names no cause", r.Kind, r.ID)
			}
		}
		return err
	})
	if err != nil {
		f.t.Fatalf("outbox: %v", err)
	}
	return out
}

func wantKind(t *testing.T, err error, kind problem.Kind, fields ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("got no error, want %s", kind)
	}
	if problem.KindOf(err) != kind {
		t.Fatalf("got %s (%v), want %s", problem.KindOf(err), err, kind)
	}
	var got []string
	for _, f := range problem.FieldsOf(err) {
		got = append(got, f.Name)
		if !strings.HasSuffix(f.Detail, ".") {
			t.Errorf("field %s: %q isn't a sentence", f.Name, f.Detail)
		}
	}
	if fields != nil {
		if d := cmp.Diff(fields, got); d != "" {
			t.Errorf("fields (-want +got):\n%s", d)
		}
	}
}

func everything() directory.Attributes {
	return directory.Attributes{
		Username: "ada", Email: "ada@example.com",
		Profile: directory.Profile{
			GivenName: "Ada", MiddleName: "Augusta", FamilyName: "Lovelace", DisplayName: "Ada Lovelace", AlternateEmail: "ada@home.example",
			Title: "Analyst", Department: "Engines", Company: "Analytical", CostCentre: "CC-1", EmployeeID: "E-1", EmployeeType: "permanent",
			Location: "London", Phones: []directory.Phone{{Type: "work", Value: "+44 20 1234567", Primary: true}},
			Addresses: []directory.Address{{Type: "work", Street: "12 St James's Square\nFloor 2", Locality: "London", Region: "England", PostalCode: "SW1Y 4JH", Country: "GB", Primary: true}},
			Locale:    "en-GB", TimeZone: "Europe/London", PreferredLanguage: "en-GB",
			Custom: map[string]any{"badge": "B-7", "floor": int64(2), "ratio": 0.5, "remote": true, "tools": []string{"pen", "engine"}},
		},
	}
}

func TestCreatedUserComesBackWhole(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		f := newFixture(t, db)
		boss := f.add("Charles Babbage")
		g := f.group("Engineers")
		f.outbox()
		a := everything()
		a.ManagerID = boss.ID
		u, err := f.CreateUser(t.Context(), admin, directory.NewUser{Attributes: a, Groups: []directory.GroupID{g.ID, g.ID}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.User(t.Context(), readOnly, u.ID)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(u, got); d != "" {
			t.Errorf("read back (-created +read):\n%s", d)
		}
		if d := cmp.Diff(a, got.Attributes); d != "" {
			t.Errorf("attributes (-want +got):\n%s", d)
		}
		if got.State != directory.Staged || got.PasswordStatus != directory.PasswordPending || got.Version != 1 || got.Role != access.None {
			t.Errorf("a new person is %s/%s, version %d, role %q", got.State, got.PasswordStatus, got.Version, got.Role)
		}
		if d := cmp.Diff([]string{"user " + string(u.ID), "group " + string(g.ID)}, f.outbox()); d != "" {
			t.Errorf("outbox (-want +got):\n%s", d)
		}
		events := f.events()
		last := events[len(events)-1]
		if last.Type != audit.UserCreate || last.Object.ID != string(u.ID) || last.Message != "Ada Lovelace was created." || last.Actor.ID != admin.ID {
			t.Errorf("event is %+v", last)
		}
		for _, login := range []string{"ada@example.com", "ADA", " Ada@Example.com "} {
			if got, err := f.UserByLogin(t.Context(), readOnly, login); err != nil || got.ID != u.ID {
				t.Errorf("login %q finds %v, %v", login, got.ID, err)
			}
		}
		groups, err := f.GroupsOf(t.Context(), readOnly, u.ID)
		if err != nil || len(groups) != 1 || groups[0].Members != 1 {
			t.Errorf("groups are %+v, %v", groups, err)
		}
	})
}

func TestAttributesAreChecked(t *testing.T) {
	f := newFixture(t, storetest.SQLite(t))
	long := strings.Repeat("x", 256)
	for name, c := range map[string]struct {
		change func(*directory.Attributes)
		fields []string
	}{
		"no e-mail":                 {func(a *directory.Attributes) { a.Email = " " }, []string{"email"}},
		"no at":                     {func(a *directory.Attributes) { a.Email = "ada.example.com" }, []string{"email"}},
		"two ats":                   {func(a *directory.Attributes) { a.Email = "a@b@example.com" }, []string{"email"}},
		"no dot in the domain":      {func(a *directory.Attributes) { a.Email = "ada@localhost" }, []string{"email"}},
		"dot at the end":            {func(a *directory.Attributes) { a.Email = "ada.@example.com" }, []string{"email"}},
		"quoted local part":         {func(a *directory.Attributes) { a.Email = `"ada l"@example.com` }, []string{"email"}},
		"accent before the at":      {func(a *directory.Attributes) { a.Email = "adá@example.com" }, []string{"email"}},
		"display name in e-mail":    {func(a *directory.Attributes) { a.Email = "Ada <ada@example.com>" }, []string{"email"}},
		"local part too long":       {func(a *directory.Attributes) { a.Email = strings.Repeat("a", 65) + "@example.com" }, []string{"email"}},
		"line break in e-mail":      {func(a *directory.Attributes) { a.Email = "ada@example.com\nBcc: x" }, []string{"email"}},
		"bad alternate e-mail":      {func(a *directory.Attributes) { a.AlternateEmail = "x" }, []string{"alternateEmail"}},
		"space in user name":        {func(a *directory.Attributes) { a.Username = "ada lovelace" }, []string{"username"}},
		"sign in user name":         {func(a *directory.Attributes) { a.Username = "ada<b>" }, []string{"username"}},
		"control character":         {func(a *directory.Attributes) { a.GivenName = "A\x00da" }, []string{"givenName"}},
		"turned direction":          {func(a *directory.Attributes) { a.FamilyName = "Love\u202elace" }, []string{"familyName"}},
		"not UTF-8":                 {func(a *directory.Attributes) { a.Title = "A\xff" }, []string{"title"}},
		"too long":                  {func(a *directory.Attributes) { a.Department, a.Company = long, long }, []string{"department", "company"}},
		"unknown time zone":         {func(a *directory.Attributes) { a.TimeZone = "Mars/Olympus" }, []string{"timezone"}},
		"local time zone":           {func(a *directory.Attributes) { a.TimeZone = "Local" }, []string{"timezone"}},
		"path as time zone":         {func(a *directory.Attributes) { a.TimeZone = "../../etc/passwd" }, []string{"timezone"}},
		"locale":                    {func(a *directory.Attributes) { a.Locale = "english" }, []string{"locale"}},
		"preferred language":        {func(a *directory.Attributes) { a.PreferredLanguage = "en,de;q=0.5" }, []string{"preferredLanguage"}},
		"phone with words":          {func(a *directory.Attributes) { a.Phones[0].Value = "call me" }, []string{"phones[0].value"}},
		"two primary phones":        {func(a *directory.Attributes) { a.Phones = append(a.Phones, a.Phones[0]) }, []string{"phones[1].primary"}},
		"eleven phones":             {func(a *directory.Attributes) { a.Phones = make11() }, []string{"phones"}},
		"country by name":           {func(a *directory.Attributes) { a.Addresses[0].Country = "Germany" }, []string{"addresses[0].country"}},
		"control in address":        {func(a *directory.Attributes) { a.Addresses[0].Street = "a\tb" }, []string{"addresses[0].street"}},
		"custom key":                {func(a *directory.Attributes) { a.Custom = map[string]any{"a b": "x"} }, []string{"custom.a b"}},
		"custom object":             {func(a *directory.Attributes) { a.Custom = map[string]any{"a": map[string]any{}} }, []string{"custom.a"}},
		"custom mixed list":         {func(a *directory.Attributes) { a.Custom = map[string]any{"a": []any{"x", 1}} }, []string{"custom.a"}},
		"custom number":             {func(a *directory.Attributes) { a.Custom = map[string]any{"a": 1e300} }, []string{"custom.a"}},
		"custom text":               {func(a *directory.Attributes) { a.Custom = map[string]any{"a": strings.Repeat("x", 1001)} }, []string{"custom.a"}},
		"manager who doesn't exist": {func(a *directory.Attributes) { a.ManagerID = "0000" }, []string{"managerId"}},
		"several":                   {func(a *directory.Attributes) { a.Email, a.Locale = "x", "!" }, []string{"email", "locale"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := everything()
			c.change(&a)
			_, err := f.CreateUser(t.Context(), admin, directory.NewUser{Attributes: a})
			wantKind(t, err, problem.Invalid, c.fields...)
		})
	}
	if events := f.events(); len(events) != 0 {
		t.Errorf("refused people left %d events", len(events))
	}
}

func make11() []directory.Phone {
	var out []directory.Phone
	for i := range 11 {
		out = append(out, directory.Phone{Value: fmt.Sprintf("+1 %d", i)})
	}
	return out
}

func TestAttributesAreTidied(t *testing.T) {
	f := newFixture(t, storetest.SQLite(t))
	u, err := f.CreateUser(t.Context(), admin, directory.NewUser{Attributes: directory.Attributes{
		Email: "  Ada@EXÄMPLE.com ", Profile: directory.Profile{
			GivenName: " Jose\u0301 ", Locale: "en_US", Phones: []directory.Phone{{Value: " "}},
			Addresses: []directory.Address{{Type: "home"}, {Country: "de"}},
			Custom:    map[string]any{"empty": "", "none": nil, "whole": 3.0, "list": []any{" a ", ""}},
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := directory.Attributes{
		Username: "ada@xn--exmple-cua.com", Email: "ada@xn--exmple-cua.com", Profile: directory.Profile{
			GivenName: "José", Locale: "en-US", Addresses: []directory.Address{{Country: "DE"}},
			Custom: map[string]any{"whole": int64(3), "list": []string{"a"}},
		},
	}
	if d := cmp.Diff(want, u.Attributes); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestLoginsAreUnique(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		f := newFixture(t, db)
		if _, err := f.CreateUser(t.Context(), admin, directory.NewUser{Attributes: everything()}); err != nil {
			t.Fatal(err)
		}
		other := f.add("Grace Hopper")
		for name, c := range map[string]struct {
			username, email string
			fields          []string
		}{
			"same e-mail":                {"new", "ADA@example.com", []string{"email"}},
			"same user name":             {"Ada", "new@example.com", []string{"username"}},
			"user name is their e-mail":  {"ada@example.com", "new@example.com", []string{"username"}},
			"both":                       {"aDA", "ada@example.com", []string{"email", "username"}},
			"e-mail alone, no user name": {"", "ada@example.com", []string{"email"}},
		} {
			t.Run(name, func(t *testing.T) {
				_, err := f.CreateUser(t.Context(), admin, directory.NewUser{Attributes: directory.Attributes{Username: c.username, Email: c.email}})
				wantKind(t, err, problem.Conflict, c.fields...)
				if !strings.Contains(problem.Public(err)+fmt.Sprint(problem.FieldsOf(err)), "Ada Lovelace") {
					t.Errorf("%q doesn't say whose it is", problem.Public(err))
				}
			})
		}
		_, err := f.UpdateUser(t.Context(), admin, other.ID, 0, func(a *directory.Attributes) error { a.Email = "ada@example.com"; return nil })
		wantKind(t, err, problem.Conflict, "email")
	})
}

func TestTwoAtOnceCantTakeOneEmail(t *testing.T) {
	storetest.Two(t, func(t *testing.T, a, b *store.DB) {
		fa, fb := newFixture(t, a), newFixture(t, b)
		const n = 8
		errs := make([]error, n)
		var wg sync.WaitGroup
		for i := range n {
			f := fa
			if i%2 == 1 {
				f = fb
			}
			wg.Go(func() {
				_, errs[i] = f.CreateUser(context.Background(), admin, directory.NewUser{Attributes: directory.Attributes{Username: fmt.Sprintf("u%d", i), Email: "one@example.com"}})
			})
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
				continue
			}
			wantKind(t, err, problem.Conflict, "email")
		}
		if won != 1 {
			t.Errorf("%d people have one e-mail address", won)
		}
	})
}

func TestUpdateUser(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		f := newFixture(t, db)
		a := everything()
		u, err := f.CreateUser(t.Context(), admin, directory.NewUser{Attributes: a})
		if err != nil {
			t.Fatal(err)
		}
		f.outbox()
		before := len(f.events())

		same, err := f.UpdateUser(t.Context(), admin, u.ID, u.Version, func(a *directory.Attributes) error {
			a.Title = " Analyst "
			a.Custom["floor"] = 2
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(u, same); d != "" {
			t.Errorf("a change of nothing changed (-before +after):\n%s", d)
		}
		if len(f.events()) != before || len(f.outbox()) != 0 {
			t.Error("a change of nothing was told")
		}

		_, err = f.UpdateUser(t.Context(), admin, u.ID, 7, func(*directory.Attributes) error { t.Error("called for a stale version"); return nil })
		wantKind(t, err, problem.Conflict)

		stop := errors.New("stop")
		if _, err := f.UpdateUser(t.Context(), admin, u.ID, 0, func(a *directory.Attributes) error { a.Phones[0].Value = "1"; return stop }); !errors.Is(err, stop) {
			t.Errorf("got %v, want the change's own error", err)
		}

		after, err := f.UpdateUser(t.Context(), admin, u.ID, u.Version, func(a *directory.Attributes) error {
			a.Title, a.Department = "Countess", ""
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if after.Version != 2 || !after.UpdatedAt.After(u.UpdatedAt) || after.Title != "Countess" || after.Department != "" {
			t.Errorf("after the change: %+v", after)
		}
		got, err := f.User(t.Context(), admin, u.ID)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(after, got); d != "" {
			t.Errorf("read back (-returned +read):\n%s", d)
		}
		events := f.events()
		last := events[len(events)-1]
		want := []audit.Change{{Attribute: "department", Old: "Engines"}, {Attribute: "title", Old: "Analyst", New: "Countess"}}
		if d := cmp.Diff(want, last.Changes); d != "" || last.Type != audit.UserUpdate {
			t.Errorf("event %s, changes (-want +got):\n%s", last.Type, d)
		}
		if last.Message != "Ada Lovelace was changed: department, job title." {
			t.Errorf("message is %q", last.Message)
		}
		if d := cmp.Diff([]string{"user " + string(u.ID)}, f.outbox()); d != "" {
			t.Errorf("outbox (-want +got):\n%s", d)
		}

		_, err = f.UpdateUser(t.Context(), admin, u.ID, 0, func(a *directory.Attributes) error { a.ManagerID = u.ID; return nil })
		wantKind(t, err, problem.Invalid, "managerId")
		_, err = f.UpdateUser(t.Context(), admin, "none", 0, func(*directory.Attributes) error { return nil })
		wantKind(t, err, problem.NotFound)
	})
}

func TestStates(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		f := newFixture(t, db)
		u, err := f.CreateUser(t.Context(), admin, directory.NewUser{Attributes: everything()})
		if err != nil {
			t.Fatal(err)
		}
		step := func(do func(context.Context, access.Actor, directory.UserID) (directory.User, error), by access.Actor, want directory.State, epoch int64, event audit.Type) {
			t.Helper()
			before := len(f.events())
			f.outbox()
			got, err := do(t.Context(), by, u.ID)
			if err != nil {
				t.Fatal(err)
			}
			if got.State != want || got.SessionEpoch != epoch || got.SuspendedAt.IsZero() == (want == directory.Suspended) {
				t.Errorf("state %s, epoch %d, suspended at %v; want %s, %d", got.State, got.SessionEpoch, got.SuspendedAt, want, epoch)
			}
			events := f.events()[before:]
			if event == "" {
				if len(events) != 0 || len(f.outbox()) != 0 {
					t.Errorf("told although nothing changed: %v", events)
				}
				return
			}
			if len(events) != 1 || events[0].Type != event || len(f.outbox()) != 1 {
				t.Errorf("events are %v, want one %s", events, event)
			}
		}
		refuse := func(do func(context.Context, access.Actor, directory.UserID) (directory.User, error), by access.Actor, kind problem.Kind) {
			t.Helper()
			_, err := do(t.Context(), by, u.ID)
			wantKind(t, err, kind)
		}
		refuse(f.Suspend, admin, problem.Conflict) // staged
		refuse(f.Unsuspend, admin, problem.Conflict)
		refuse(f.Activate, helpDesk, problem.Forbidden)
		step(f.Activate, admin, directory.Active, 0, audit.UserActivated)
		step(f.Activate, admin, directory.Active, 0, "")
		step(f.Unsuspend, admin, directory.Active, 0, "")
		refuse(f.Suspend, readOnly, problem.Forbidden)
		step(f.Suspend, helpDesk, directory.Suspended, 1, audit.UserSuspended)
		step(f.Suspend, admin, directory.Suspended, 1, "")
		refuse(f.Activate, admin, problem.Conflict)
		step(f.Unsuspend, helpDesk, directory.Active, 1, audit.UserUnsuspended)
	})
}

func TestRolesProtectEachOther(t *testing.T) {
	f := newFixture(t, storetest.SQLite(t))
	o1, o2 := f.withRole("Olga One", access.Owner), f.withRole("Oscar Two", access.Owner)
	ad, hd := f.withRole("Adam Admin", access.Administrator), f.withRole("Hal Help", access.HelpDesk)
	plain := f.add("Paula Plain")
	edit := func(by access.Actor, id directory.UserID) error {
		_, err := f.UpdateUser(t.Context(), by, id, 0, func(a *directory.Attributes) error { a.Title += "x"; return nil })
		return err
	}
	state := func(do func(context.Context, access.Actor, directory.UserID) (directory.User, error)) func(access.Actor, directory.UserID) error {
		return func(by access.Actor, id directory.UserID) error { _, err := do(t.Context(), by, id); return err }
	}
	remove := func(by access.Actor, id directory.UserID) error { return f.DeleteUser(t.Context(), by, id) }
	role := func(r access.Role) func(access.Actor, directory.UserID) error {
		return func(by access.Actor, id directory.UserID) error {
			_, err := f.SetRole(t.Context(), by, id, r)
			return err
		}
	}
	asSelf := func(u directory.User) access.Actor {
		return access.Actor{Kind: access.Person, ID: string(u.ID), Name: u.Email, Role: u.Role}
	}
	for _, c := range []struct {
		name string
		by   access.Actor
		do   func(access.Actor, directory.UserID) error
		on   directory.User
		want problem.Kind
	}{
		{"administrator edits owner", admin, edit, o1, problem.Forbidden},
		{"administrator suspends owner", admin, state(f.Suspend), o1, problem.Forbidden},
		{"administrator deletes owner", admin, remove, o1, problem.Forbidden},
		{"administrator gives a role", admin, role(access.ReadOnly), plain, problem.Forbidden},
		{"help desk suspends help desk", helpDesk, state(f.Suspend), hd, problem.Forbidden},
		{"help desk suspends administrator", helpDesk, state(f.Suspend), ad, problem.Forbidden},
		{"help desk edits", helpDesk, edit, plain, problem.Forbidden},
		{"help desk deletes", helpDesk, remove, plain, problem.Forbidden},
		{"read only suspends", readOnly, state(f.Suspend), plain, problem.Forbidden},
		{"nobody edits", nobody, edit, plain, problem.Forbidden},
		{"owner gives a role that isn't there", owner, role("emperor"), plain, problem.Invalid},
		{"administrator suspends themselves", asSelf(ad), state(f.Suspend), ad, problem.Conflict},
		{"owner deletes themselves", asSelf(o2), remove, o2, problem.Conflict},
	} {
		t.Run(c.name, func(t *testing.T) { wantKind(t, c.do(c.by, c.on.ID), c.want) })
	}
	for _, c := range []struct {
		name string
		err  error
	}{
		{"administrator edits administrator", edit(admin, ad.ID)},
		{"administrator suspends administrator", state(f.Suspend)(admin, ad.ID)},
		{"owner takes an owner's role", role(access.None)(owner, o2.ID)},
		{"help desk suspends a person", state(f.Suspend)(helpDesk, plain.ID)},
	} {
		if c.err != nil {
			t.Errorf("%s: %v", c.name, c.err)
		}
	}
	// o1 is the last one now.
	for name, err := range map[string]error{
		"suspend": state(f.Suspend)(owner, o1.ID),
		"delete":  remove(owner, o1.ID),
		"role":    role(access.Administrator)(owner, o1.ID),
	} {
		if !problem.Is(err, problem.Conflict) || !strings.Contains(problem.Public(err), "last active owner") {
			t.Errorf("%s the last owner: %v", name, err)
		}
	}
	if _, err := f.CreateUser(t.Context(), admin, directory.NewUser{Attributes: everything(), Role: access.Owner}); !problem.Is(err, problem.Forbidden) {
		t.Errorf("an administrator created an owner: %v", err)
	}
}

func TestLastOwnerStaysWhenTwoGoAtOnce(t *testing.T) {
	storetest.Two(t, func(t *testing.T, a, b *store.DB) {
		fa, fb := newFixture(t, a), newFixture(t, b)
		first := fa.withRole("First Owner", access.Owner)
		for round := range 6 {
			second := fa.withRole(fmt.Sprintf("Second %d", round), access.Owner)
			var wg sync.WaitGroup
			errs := make([]error, 2)
			wg.Go(func() { _, errs[0] = fa.Suspend(context.Background(), owner, first.ID) })
			wg.Go(func() {
				if round%2 == 0 {
					errs[1] = fb.DeleteUser(context.Background(), owner, second.ID)
				} else {
					_, errs[1] = fb.SetRole(context.Background(), owner, second.ID, access.None)
				}
			})
			wg.Wait()
			page, err := fa.ListUsers(t.Context(), owner, directory.UserQuery{Role: access.Owner, State: directory.Active})
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Items) != 1 {
				t.Fatalf("round %d: %d active owners are left (%v)", round, len(page.Items), errs)
			}
			for _, err := range errs {
				if err != nil {
					wantKind(t, err, problem.Conflict)
				}
			}
			first = page.Items[0]
		}
	})
}

func TestDeleteUser(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		f := newFixture(t, db)
		g := f.group("Engineers")
		boss := f.add("Charles Babbage", g.ID)
		a := everything()
		a.ManagerID = boss.ID
		u, err := f.CreateUser(t.Context(), admin, directory.NewUser{Attributes: a})
		if err != nil {
			t.Fatal(err)
		}
		f.outbox()
		if err := f.DeleteUser(t.Context(), admin, boss.ID); err != nil {
			t.Fatal(err)
		}
		_, err = f.User(t.Context(), admin, boss.ID)
		wantKind(t, err, problem.NotFound)
		got, err := f.User(t.Context(), admin, u.ID)
		if err != nil || got.ManagerID != "" || got.Version != 2 {
			t.Errorf("who had them as manager: %q, version %d, %v", got.ManagerID, got.Version, err)
		}
		if g, err := f.Group(t.Context(), admin, g.ID); err != nil || g.Members != 0 {
			t.Errorf("group has %d members, %v", g.Members, err)
		}
		want := []string{"user " + string(u.ID), "user " + string(boss.ID), "group " + string(g.ID)}
		if d := cmp.Diff(want, f.outbox()); d != "" {
			t.Errorf("outbox (-want +got):\n%s", d)
		}
		events := f.events()
		del, upd := events[len(events)-2], events[len(events)-1]
		if del.Type != audit.UserDelete || upd.Type != audit.UserUpdate || upd.Cause != del.ID {
			t.Errorf("events are %s and %s (cause %s)", del.Type, upd.Type, upd.Cause)
		}
		wantKind(t, f.DeleteUser(t.Context(), admin, boss.ID), problem.NotFound)
	})
}

func TestListUsers(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		f := newFixture(t, db)
		g := f.group("Few")
		for _, n := range []string{"Zoë Ångström", "Ada Lovelace", "ada Byron", "Bo_b Percent%"} {
			given, family, _ := strings.Cut(n, " ")
			mail := fmt.Sprintf("u%d@example.com", len(f.events()))
			_, err := f.CreateUser(t.Context(), admin, directory.NewUser{
				Attributes: directory.Attributes{Email: mail, Profile: directory.Profile{GivenName: given, FamilyName: family, EmployeeID: "E" + given}},
				State:      directory.Active,
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		staged, err := f.CreateUser(t.Context(), admin, directory.NewUser{Attributes: directory.Attributes{Email: "staged@example.com"}, Groups: []directory.GroupID{g.ID}})
		if err != nil {
			t.Fatal(err)
		}
		list := func(q directory.UserQuery) (names []string, pages int) {
			t.Helper()
			for {
				page, err := f.ListUsers(t.Context(), readOnly, q)
				if err != nil {
					t.Fatal(err)
				}
				pages++
				for _, u := range page.Items {
					names = append(names, u.Name())
				}
				if page.Next == "" {
					return names, pages
				}
				q.Cursor = page.Next
			}
		}
		all := []string{"ada Byron", "Ada Lovelace", "Bo_b Percent%", "staged@example.com", "Zoë Ångström"}
		for name, c := range map[string]struct {
			q     directory.UserQuery
			want  []string
			pages int
		}{
			"all":                     {directory.UserQuery{}, all, 1},
			"pages of two":            {directory.UserQuery{Limit: 2}, all, 3},
			"text without accents":    {directory.UserQuery{Text: "zoe ANGSTROM"}, all[4:], 1},
			"words in any order":      {directory.UserQuery{Text: "lovelace ada"}, all[1:2], 1},
			"wildcards are text":      {directory.UserQuery{Text: "t%"}, all[2:3], 1},
			"underscore is text":      {directory.UserQuery{Text: "o_b"}, all[2:3], 1},
			"employee id":             {directory.UserQuery{Text: "eada"}, all[:2], 1},
			"staged":                  {directory.UserQuery{State: directory.Staged}, all[3:4], 1},
			"suspended":               {directory.UserQuery{State: directory.Suspended}, nil, 1},
			"active, pages of one":    {directory.UserQuery{State: directory.Active, Limit: 1}, []string{all[0], all[1], all[2], all[4]}, 4},
			"group":                   {directory.UserQuery{GroupID: g.ID}, all[3:4], 1},
			"role":                    {directory.UserQuery{Role: access.Owner}, nil, 1},
			"group that isn't there":  {directory.UserQuery{GroupID: "x"}, nil, 1},
			"text, pages of one":      {directory.UserQuery{Text: "ada", Limit: 1}, all[:2], 2},
			"quote and backslash":     {directory.UserQuery{Text: `'\`}, nil, 1},
			"all together, one found": {directory.UserQuery{Text: "staged", State: directory.Staged, GroupID: g.ID}, all[3:4], 1},
		} {
			t.Run(name, func(t *testing.T) {
				got, pages := list(c.q)
				if d := cmp.Diff(c.want, got); d != "" || pages != c.pages {
					t.Errorf("%d pages, want %d; (-want +got):\n%s", pages, c.pages, d)
				}
			})
		}
		page, err := f.ListUsers(t.Context(), readOnly, directory.UserQuery{Limit: 2})
		if err != nil || page.Total != 5 {
			t.Errorf("total is %d, %v", page.Total, err)
		}
		members, err := f.Members(t.Context(), readOnly, g.ID, directory.UserQuery{})
		if err != nil || len(members.Items) != 1 || members.Items[0].ID != staged.ID {
			t.Errorf("members are %v, %v", members.Items, err)
		}
		_, err = f.Members(t.Context(), readOnly, "x", directory.UserQuery{})
		wantKind(t, err, problem.NotFound)
		for name, q := range map[string]directory.UserQuery{"cursor": {Cursor: "!"}, "state": {State: "x"}, "role": {Role: "x"}} {
			_, err = f.ListUsers(t.Context(), readOnly, q)
			wantKind(t, err, problem.Invalid, name)
		}
		_, err = f.ListUsers(t.Context(), nobody, directory.UserQuery{})
		wantKind(t, err, problem.Forbidden)
	})
}

func TestOneselfCanBeRead(t *testing.T) {
	f := newFixture(t, storetest.SQLite(t))
	u := f.add("Ada Lovelace", f.group("Engineers").ID)
	self := access.Actor{Kind: access.Person, ID: string(u.ID)}
	if got, err := f.User(t.Context(), self, u.ID); err != nil || got.ID != u.ID {
		t.Errorf("own account: %v", err)
	}
	if got, err := f.GroupsOf(t.Context(), self, u.ID); err != nil || len(got) != 1 {
		t.Errorf("own groups: %v %v", got, err)
	}
	_, err := f.User(t.Context(), self, f.add("Grace Hopper").ID)
	wantKind(t, err, problem.Forbidden)
}

func TestPasswordStatusAndSessions(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		f := newFixture(t, db)
		u := f.add("Ada Lovelace")
		f.outbox()
		err := db.Update(t.Context(), func(tx *store.Tx) error {
			if err := directory.SetPasswordStatus(tx, noon, u.ID, directory.PasswordExpired); err != nil {
				return err
			}
			return directory.EndSessions(tx, u.ID)
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.User(t.Context(), admin, u.ID)
		if err != nil || got.PasswordStatus != directory.PasswordExpired || got.SessionEpoch != u.SessionEpoch+1 || got.State != directory.Active {
			t.Errorf("got %+v, %v", got, err)
		}
		if out := f.outbox(); len(out) != 0 {
			t.Errorf("an expired password reached the applications: %v", out)
		}
		if err := db.Update(t.Context(), func(tx *store.Tx) error { return directory.SetPasswordStatus(tx, noon, u.ID, "x") }); err == nil {
			t.Error("an unknown password status was stored")
		}
	})
}

func FuzzCheckEmail(f *testing.F) {
	seeds := []string{"ada@example.com", "A.B+c@EXÄMPLE.de", "a@b", "@", "a..b@c.de", "\"a b\"@c.de", "a@xn--exmple-cua.com"}
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		kept, wrong := directory.CheckEmail(s)
		if wrong != "" {
			return
		}
		if again, wrong := directory.CheckEmail(kept); wrong != "" || again != kept {
			t.Errorf("%q is kept as %q, which becomes %q (%s)", s, kept, again, wrong)
		}
		if a, err := mail.ParseAddress(kept); err != nil || a.Address != kept {
			t.Errorf("%q is kept as %q, which is no address: %v", s, kept, err)
		}
	})
}
