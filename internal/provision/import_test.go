package provision_test

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

// account is one as it stands at the target, made by somebody else.
func account(name, email, given, family string) scim.Resource {
	r := scim.Resource{"userName": name, "active": true, "name": map[string]any{"givenName": given, "familyName": family}}
	if email != "" {
		r["emails"] = []any{map[string]any{"value": email, "type": "work", "primary": true}}
	}
	return r
}

func (w *world) list() provision.Import {
	w.t.Helper()
	imp, err := w.engine.StartImport(w.t.Context(), owner, w.app)
	w.must(err)
	w.settled()
	imp, err = w.engine.Import(w.t.Context(), owner, imp.ID)
	w.must(err)
	if imp.State != "listed" {
		w.t.Fatalf("%+v", imp)
	}
	return imp
}

func (w *world) rows(importID string) map[string]provision.ImportRow {
	w.t.Helper()
	out := map[string]provision.ImportRow{}
	w.must(w.engine.EachImportRow(w.t.Context(), owner, importID, provision.RowQuery{}, func(r provision.ImportRow) error {
		out[r.Username] = r
		return nil
	}))
	return out
}

// do runs a job to its end.
func (w *world) do(importID string, c provision.ImportChoice) provision.ImportCounts {
	w.t.Helper()
	job, err := w.engine.StartImportJob(w.t.Context(), owner, importID, c)
	w.must(err)
	return w.done(importID, job.ID)
}

func (w *world) done(importID, id string) provision.ImportCounts {
	w.t.Helper()
	w.settled()
	job, err := w.engine.ImportJob(w.t.Context(), owner, importID, id)
	w.must(err)
	if job.State != "done" || job.Done != job.Total || job.EndedAt.IsZero() {
		w.t.Fatalf("%+v", job)
	}
	return job.ImportCounts
}

func TestImportTellsWhatEachAccountMeans(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		ada := w.user("ada")
		w.user("grace", w.group)
		gone, idle := w.user("gone", w.group), w.user("idle")
		named := directory.NewUser{Attributes: directory.Attributes{Username: "lin", Email: "lin@example.com", Profile: directory.Profile{GivenName: "Linda", FamilyName: "Ördög", AlternateEmail: "linda@home.example"}}}
		_, err := w.dir.CreateUser(t.Context(), owner, named)
		w.must(err)
		w.activate()
		w.settled()
		_, err = w.dir.Suspend(t.Context(), owner, idle)
		w.must(err)
		w.must(w.dir.DeleteUser(t.Context(), owner, gone))
		w.settled()
		with := func(r scim.Resource, k string, v any) scim.Resource { r[k] = v; return r }
		for _, r := range []scim.Resource{
			with(account("there", "there@other.example", "The", "Re"), "externalId", string(ada)),
			account("ADA2", "ADA@example.com", "A", "B"),
			account("quite-new", "new@example.com", "Quite", "New"),
			account("lin", "other@other.example", "L", "O"),
			account("grace@other.example", "ada@example.com", "G", "H"),
			account("nomail", "", "No", "Mail"),
			account("someone", "linda@home.example", "S", "One"),
			account("lin ", "ada@example.com", "X", "Y"),
			account("ada@corp.example", "ada@corp.example", "Q", "R"),
			account("lo", "lo@corp.example", "LINDA", "Ordog"),
			with(account("left", "left@corp.example", "Le", "Ft"), "externalId", string(gone)),
			account("sleeper", "idle@example.com", "Sle", "Eper"),
		} {
			w.target.Put(scim.User, r)
		}
		imp := w.list()
		got := map[string]string{}
		for name, r := range w.rows(imp.ID) {
			got[name] = string(r.Status)
		}
		want := map[string]string{
			"there": "matched", "ADA2": "matched", "quite-new": "new", "lin": "conflict", "grace@other.example": "matched", "nomail": "conflict",
			"someone": "likely", "ada@corp.example": "likely", "lo": "likely", "left": "orphan", "lin ": "conflict", "sleeper": "orphan",
		}
		maps.DeleteFunc(got, func(name, _ string) bool { _, ok := want[name]; return !ok })
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if imp.New != 1 || imp.Likely != 3 || imp.Orphan != 3 || imp.Accounts() != len(w.rows(imp.ID)) {
			t.Errorf("%+v", imp)
		}
		for _, q := range []struct {
			q    provision.RowQuery
			want int
		}{
			{provision.RowQuery{Status: provision.ImportLikely}, 3},
			{provision.RowQuery{Status: provision.ImportLikely, Text: "corp"}, 2},
			{provision.RowQuery{Text: "quite new"}, 1},
			{provision.RowQuery{Outcome: provision.ImportCreated}, 0},
		} {
			n := 0
			q.q.Limit = 1
			for {
				p, err := w.engine.ImportRows(t.Context(), owner, imp.ID, q.q)
				w.must(err)
				n += len(p.Items)
				if q.q.Cursor = p.Next; p.Next == "" {
					break
				}
			}
			if n != q.want {
				t.Errorf("%+v: %d rows", q.q, n)
			}
		}
		r := w.rows(imp.ID)
		if x := r["someone"]; !strings.Contains(x.Detail, "alternate one of Linda Ördög") {
			t.Errorf("%+v", x)
		}
		if x := r["sleeper"]; x.UserID != idle || !strings.Contains(x.Detail, "suspended here") {
			t.Errorf("%+v", x)
		}
	})
}

func TestImportCreatesOnceAndIsUndone(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		for i := range 60 {
			w.target.Put(scim.User, account(fmt.Sprintf("new%02d", i), fmt.Sprintf("new%02d@example.com", i), fmt.Sprintf("N%02d", i), "X"))
		}
		imp := w.list()
		if imp.New != 60 {
			t.Fatalf("%+v", imp)
		}
		// Between listing and import somebody took one address, and one account has none that is valid.
		w.user("new07")
		before := len(w.target.Requests())
		if got, want := w.do(imp.ID, provision.ImportChoice{Act: provision.ActCreate, Status: provision.ImportNew}), (provision.ImportCounts{Created: 59, Skipped: 1}); got != want {
			t.Errorf("%+v", got)
		}
		if n := len(w.target.Requests()) - before; n != 0 {
			t.Errorf("%d requests", n)
		}
		var picked []string
		for _, r := range w.rows(imp.ID) {
			picked = append(picked, r.RemoteID)
		}
		if got, want := w.do(imp.ID, provision.ImportChoice{Act: provision.ActCreate, RemoteIDs: picked}), (provision.ImportCounts{Skipped: 60}); got != want {
			t.Errorf("again: %+v", got)
		}
		again := w.list()
		if again.Matched != 60 || again.New != 0 {
			t.Errorf("a newer list: %+v", again)
		}
		u, err := w.dir.UserByLogin(t.Context(), owner, "new03@example.com")
		w.must(err)
		if u.State != directory.Staged || u.PasswordStatus != directory.PasswordPending || u.GivenName != "N03" {
			t.Errorf("%+v", u)
		}
		_, err = w.dir.UpdateUser(t.Context(), owner, u.ID, 0, func(a *directory.Attributes) error { a.Title = "Boss"; return nil })
		w.must(err)
		joined, err := w.dir.UserByLogin(t.Context(), owner, "new04@example.com")
		w.must(err)
		_, err = w.dir.AddMembers(t.Context(), owner, w.group, []directory.UserID{joined.ID})
		w.must(err)
		w.must(w.dir.DeleteUser(t.Context(), owner, w.rows(imp.ID)["new05"].UserID))
		if imp, err = w.engine.Import(t.Context(), owner, imp.ID); err != nil || imp.Undoable != 59 {
			t.Errorf("%+v %v", imp, err)
		}
		if got, want := w.do(imp.ID, provision.ImportChoice{Act: provision.ActUndo}), (provision.ImportCounts{Undone: 57, Kept: 2}); got != want {
			t.Errorf("undo: %+v", got)
		}
		kept := map[string]string{}
		for name, r := range w.rows(imp.ID) {
			if r.Outcome == provision.ImportKept {
				kept[name] = r.Result
			}
		}
		if d := cmp.Diff(map[string]string{"new03": "Kept: the person was changed since.", "new04": "Kept: the person is in a group since."}, kept); d != "" {
			t.Error(d)
		}
		if _, err := w.dir.UserByLogin(t.Context(), owner, "new08@example.com"); !problem.Is(err, problem.NotFound) {
			t.Errorf("somebody who was undone: %v", err)
		}
		if imp, err = w.engine.Import(t.Context(), owner, imp.ID); err != nil || imp.New != 58 || imp.Matched != 2 || imp.Undoable != 2 || imp.Job == nil || imp.Job.Act != provision.ActUndo {
			t.Errorf("%+v %v", imp, err)
		}
		if got, want := w.do(imp.ID, provision.ImportChoice{Act: provision.ActCreate, Status: provision.ImportNew, State: directory.Active}), (provision.ImportCounts{Created: 57, Skipped: 1}); got != want {
			t.Errorf("after the undo: %+v", got)
		}
		if n := len(w.target.Requests()) - before; n > 10 {
			t.Errorf("%d requests", n)
		}
		if got := w.events(audit.UserImport); len(got) < 4 || !strings.Contains(got[0].Message+got[len(got)-1].Message, "imported from") {
			t.Errorf("%+v", got)
		}
	})
}

func TestImportLinksWithoutSending(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		ada, bob, eve := w.user("ada"), w.user("bob"), w.user("eve")
		w.activate()
		w.settled()
		a := w.target.Put(scim.User, account("ada@old.example", "ada@old.example", "Ada", "Old")) // likely
		w.target.Put(scim.User, account("bob-b", "bob@example.com", "Robert", "Bobson"))          // matched
		w.target.Put(scim.User, account("bob-c", "BOB@example.com", "Robert", "Bobson"))          // a second one
		w.target.Put(scim.User, account("eve-e", "eve@example.com", "Eve", "Adam"))
		imp := w.list()
		writes := len(w.writes())
		if got, want := w.do(imp.ID, provision.ImportChoice{Act: provision.ActLink, RemoteIDs: []string{a}}), (provision.ImportCounts{Linked: 1}); got != want {
			t.Errorf("%+v %+v", got, w.rows(imp.ID))
		}
		if got, want := w.do(imp.ID, provision.ImportChoice{Act: provision.ActLink, Status: provision.ImportMatched, Text: "bob"}), (provision.ImportCounts{Linked: 2}); got.Linked+got.Skipped != want.Linked {
			t.Errorf("%+v", got)
		}
		if got, want := w.do(imp.ID, provision.ImportChoice{Act: provision.ActLink, Status: provision.ImportMatched, Text: "eve"}), (provision.ImportCounts{Linked: 1}); got != want {
			t.Errorf("%+v", got)
		}
		if got := w.do(imp.ID, provision.ImportChoice{Act: provision.ActLink, RemoteIDs: []string{a}}); got != (provision.ImportCounts{Skipped: 1}) {
			t.Errorf("again: %+v", got)
		}
		// Nobody is entitled: whatever looks at the links leaves the accounts alone.
		for _, id := range []directory.UserID{ada, bob, eve} {
			_, err := w.dir.UpdateUser(t.Context(), owner, id, 0, func(a *directory.Attributes) error { a.Location = "Bern"; return nil })
			w.must(err)
		}
		w.settled()
		if got := w.writes(); len(got) != writes {
			t.Errorf("something was sent: %v", got[writes:])
		}
		// Once entitled, the account is taken over.
		_, err := w.dir.AddMembers(t.Context(), owner, w.group, []directory.UserID{ada})
		w.must(err)
		w.settled()
		for _, r := range w.target.Resources(scim.User) {
			if r.UserName() == "ada@example.com" && r.ID() != a {
				t.Errorf("another account was made: %v", r)
			}
			if r.ID() == a && r.ExternalID() != string(ada) {
				t.Errorf("the account wasn't taken over: %v", r)
			}
		}
		got := w.do(imp.ID, provision.ImportChoice{Act: provision.ActUndo})
		if got.Kept != 1 || got.Undone < 2 {
			t.Errorf("undo: %+v %+v", got, w.rows(imp.ID))
		}
		links, err := w.engine.LinksOf(t.Context(), owner, scim.User, string(eve))
		w.must(err)
		if len(links) != 0 {
			t.Errorf("%+v", links)
		}
		if r := w.rows(imp.ID)["ada@old.example"]; !strings.Contains(r.Result, "took the account over") {
			t.Errorf("%+v", r)
		}
	})
}

func TestImportUpdatesMatchedPeopleOnRequest(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		ada, bob := w.user("ada"), w.user("bob")
		_, err := w.dir.UpdateUser(t.Context(), owner, ada, 0, func(a *directory.Attributes) error { a.Title = "Countess"; return nil })
		w.must(err)
		w.target.Put(scim.User, account("ada-there", "ada@example.com", "Augusta", "King"))
		w.target.Put(scim.User, account("bob-there", "bob@example.com", "Robert", "Bobson"))
		imp := w.list()
		if got := w.do(imp.ID, provision.ImportChoice{Act: provision.ActUpdate, Status: provision.ImportMatched}); got != (provision.ImportCounts{Updated: 2}) {
			t.Errorf("%+v", got)
		}
		if got := w.do(imp.ID, provision.ImportChoice{Act: provision.ActUpdate, Status: provision.ImportMatched}); got != (provision.ImportCounts{Skipped: 2}) {
			t.Errorf("again: %+v", got)
		}
		u, err := w.dir.User(t.Context(), owner, ada)
		w.must(err)
		if u.GivenName != "Augusta" || u.FamilyName != "King" || u.Title != "Countess" || u.Username != "ada" {
			t.Errorf("%+v", u)
		}
		_, err = w.dir.UpdateUser(t.Context(), owner, bob, 0, func(a *directory.Attributes) error { a.Title = "Boss"; return nil })
		w.must(err)
		if got := w.do(imp.ID, provision.ImportChoice{Act: provision.ActUndo}); got != (provision.ImportCounts{Undone: 1, Kept: 1}) {
			t.Errorf("undo: %+v", got)
		}
		u, err = w.dir.User(t.Context(), owner, ada)
		w.must(err)
		if u.GivenName != "Ada" || u.FamilyName != "Example" || u.Title != "Countess" {
			t.Errorf("%+v", u)
		}
	})
}

// A process that ends in the middle of a job leaves a job that the next one ends, with each person made once.
func TestImportGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		const people = 600
		for i := range people {
			w.target.Put(scim.User, account(fmt.Sprintf("p%03d", i), fmt.Sprintf("p%03d@example.com", i), fmt.Sprintf("P%03d", i), "X"))
		}
		imp := w.list()
		job, err := w.engine.StartImportJob(t.Context(), owner, imp.ID, provision.ImportChoice{Act: provision.ActCreate, Status: provision.ImportNew})
		w.must(err)
		if _, err := w.engine.StartImportJob(t.Context(), owner, imp.ID, provision.ImportChoice{Act: provision.ActUndo}); err == nil {
			t.Error("two jobs at a time")
		}
		stops := 0
		for range 4 {
			w.until("some are done", func() bool {
				j, err := w.engine.ImportJob(t.Context(), owner, imp.ID, job.ID)
				w.must(err)
				return j.State == "done" || j.Done > 100*stops
			})
			w.stop()
			w.start()
			stops++
		}
		if got := w.done(imp.ID, job.ID); got != (provision.ImportCounts{Created: people}) {
			t.Errorf("%+v", got)
		}
		list, err := w.dir.ListUsers(t.Context(), owner, directory.UserQuery{Limit: 1000})
		w.must(err)
		if len(list.Items) != people {
			t.Errorf("%d people", len(list.Items))
		}
	})
}

func TestImportRefusesWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	w.target.Put(scim.User, account("new", "new@example.com", "N", "X"))
	imp := w.list()
	for name, c := range map[string]struct {
		by     access.Actor
		choice provision.ImportChoice
		want   problem.Kind
	}{
		"nothing chosen":  {owner, provision.ImportChoice{Act: provision.ActCreate}, problem.Invalid},
		"no such act":     {owner, provision.ImportChoice{Act: "burn", Status: provision.ImportNew}, problem.Invalid},
		"no such status":  {owner, provision.ImportChoice{Act: provision.ActCreate, Status: "odd"}, problem.Invalid},
		"no such state":   {owner, provision.ImportChoice{Act: provision.ActCreate, Status: provision.ImportNew, State: "odd"}, problem.Invalid},
		"no such account": {owner, provision.ImportChoice{Act: provision.ActCreate, RemoteIDs: []string{"none"}}, problem.Invalid},
		"both":            {owner, provision.ImportChoice{Act: provision.ActLink, RemoteIDs: []string{"none"}, Status: provision.ImportNew}, problem.Invalid},
		"nothing to undo": {owner, provision.ImportChoice{Act: provision.ActUndo}, problem.Invalid},
		"a reader":        {access.Actor{Kind: access.Person, ID: "r", Role: access.ReadOnly}, provision.ImportChoice{Act: provision.ActCreate, Status: provision.ImportNew}, problem.Forbidden},
	} {
		if _, err := w.engine.StartImportJob(t.Context(), c.by, imp.ID, c.choice); !problem.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	jobs, err := w.engine.ImportJobs(t.Context(), owner, imp.ID)
	w.must(err)
	if len(jobs) != 0 {
		t.Errorf("%+v", jobs)
	}
}

// What is held in memory doesn't grow with the accounts there.
func TestImportOfManyAccountsIsBounded(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	const many = 6000
	for i := range many {
		w.target.Put(scim.User, account(fmt.Sprintf("p%05d", i), fmt.Sprintf("p%05d@example.com", i), fmt.Sprintf("P%05d", i), "X"))
	}
	var m runtime.MemStats
	heap := func() uint64 { runtime.GC(); runtime.ReadMemStats(&m); return m.HeapAlloc }
	base := heap()
	imp, err := w.engine.StartImport(t.Context(), owner, w.app)
	w.must(err)
	var most []uint64
	begin := time.Now()
	for imp.State == "listing" && time.Since(begin) < time.Minute {
		most = append(most, heap())
		time.Sleep(50 * time.Millisecond)
		imp, err = w.engine.Import(t.Context(), owner, imp.ID)
		w.must(err)
	}
	if imp.New != many {
		t.Fatalf("%+v", imp)
	}
	if grown := int64(slices.Max(most)) - int64(base); grown > 24<<20 {
		t.Errorf("%d MB", grown>>20)
	}
}
