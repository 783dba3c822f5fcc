package console

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

func TestUploadStore(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		now := time.Now().UTC().Truncate(time.Microsecond)
		owner, err := directory.New(db, time.Now).CreateUser(t.Context(), access.SystemActor(""), directory.NewUser{Attributes: directory.Attributes{Email: "ada@example.com"}})
		if err != nil {
			t.Fatal(err)
		}
		do := func(fn func(tx *store.Tx) error) {
			t.Helper()
			if err := db.Update(t.Context(), fn); err != nil {
				t.Fatal(err)
			}
		}
		claim := func(at, before time.Time) (ok bool) {
			t.Helper()
			do(func(tx *store.Tx) (err error) { ok, err = claimUpload(tx, at, "u1", before); return err })
			return ok
		}
		get := func() (u upload) {
			t.Helper()
			do(func(tx *store.Tx) (err error) { u, err = getUpload(tx, "u1"); return err })
			return u
		}
		u := upload{
			ID: "u1", By: string(owner.ID), Name: "people.csv", State: uploadChecking, All: 2, Content: []byte("email\r\n\xff\x00"),
			Options: uploadOptions{State: directory.Active, Update: true, Groups: []directory.GroupID{"g"}}, CreatedAt: now, UpdatedAt: now,
		}
		do(func(tx *store.Tx) error { return insertUpload(tx, now, u) })
		if d := cmp.Diff(u, get()); d != "" {
			t.Error(d)
		}
		if claim(now, now.Add(-time.Minute)) {
			t.Error("a file that is being checked can be imported")
		}
		u.State, u.Done, u.Report = uploadChecked, 2, directory.ImportReport{ID: "i", DryRun: true, Created: 1, Rows: []directory.RowReport{{Line: 2, Email: "x@example.com", Outcome: directory.RowCreated}}}
		do(func(tx *store.Tx) error { return finishUpload(tx, now, u) })
		if d := cmp.Diff(u, get()); d != "" {
			t.Error(d)
		}
		if !claim(now, now.Add(-time.Minute)) || claim(now, now.Add(-time.Minute)) {
			t.Error("a checked file is imported once")
		}
		do(func(tx *store.Tx) error { return noteProgress(tx, now.Add(time.Minute), "u1", 1) })
		if got := get(); got.Done != 1 || got.State != uploadRunning {
			t.Errorf("under way: %+v", got)
		}
		do(func(tx *store.Tx) error { return deleteUpload(tx, "u1") })
		if !claim(now.Add(time.Hour), now.Add(2*time.Minute)) {
			t.Error("an import that stopped can't go on, or was deleted while it ran")
		}
		do(func(tx *store.Tx) error { return pruneUploads(tx, now.Add(2*time.Hour)) })
		if err := db.View(t.Context(), func(tx *store.Tx) error { _, err := getUpload(tx, "u1"); return err }); !problem.Is(err, problem.NotFound) {
			t.Errorf("an old file: %v", err)
		}
	})
}
