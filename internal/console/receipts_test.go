package console_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/web/webtest"
)

// dispatched works out the consequences of what changed, and sends nothing.
func (s *site) dispatched() {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.ctx())
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.engine.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	for range 1000 {
		left := 0
		s.must(s.db.View(s.ctx(), func(tx *store.Tx) (err error) {
			left, err = store.One(tx, store.Scalar[int], `SELECT count(*) FROM outbox`)
			return err
		}))
		if left == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Fatal("changes aren't dispatched")
}

func TestReceiptsAndAlarms(t *testing.T) {
	s := newSite(t)
	s.provision()
	bob := s.people["bob"]
	at := "/console/receipts/"
	s.get("reader", "/console/receipts").page().has("Nothing is open")
	s.get("reader", "/console/receipts?show=all").page().has("Nobody has left yet")
	s.get("admin", at+"nobody-at-all").status(http.StatusNotFound)
	s.get("reader", at+string(bob.ID)).page().has("Has left nothing", "Sessions open here now")

	// The alarms, in minutes.
	s.get("reader", "/console/settings").page().has("15 minutes").hasNot("Save alarms")
	s.post("reader", "/console/settings/alarms", "receiptSeconds", "1", "silenceSeconds", "1").status(http.StatusForbidden)
	bad := s.post("owner", "/console/settings/alarms", "receiptSeconds", "soon", "silenceSeconds", "5").status(http.StatusUnprocessableEntity).has("Enter a number of minutes")
	webtest.Check(t, bad.Body.Bytes())
	s.follow("owner", s.post("owner", "/console/settings/alarms", "receiptSeconds", "0.01", "silenceSeconds", "5")).page().has("The alarms are saved")
	set, err := s.engine.Alarms(s.ctx(), system)
	s.must(err)
	if set != (provision.Alarms{ReceiptSeconds: 1, SilenceSeconds: 300}) {
		t.Errorf("%+v", set)
	}

	// Paused: the entry stays open, and calls.
	s.must(s.engine.Pause(s.ctx(), system, s.atlassian, "Audit"))
	_, err = s.directory.Suspend(s.ctx(), system, bob.ID)
	s.must(err)
	s.dispatched()
	time.Sleep(1100 * time.Millisecond)
	s.must(s.engine.Watch(s.ctx()))
	s.get("reader", "/console/receipts?show=overdue").page().has("Bob Example", "Overdue", "paused: Audit")
	s.get("reader", "/console").page().has("isn&#39;t proved that the account is off", "See who")
	s.get("reader", at+bob.Email).page().has("Overdue", "Alarm given", "Bob Example was suspended", "nothing was sent", "data-print").hasNot("Close by hand")
	s.get("admin", s.appPath(s.atlassian, "provisioning", "people", string(bob.ID))).page().has("Still to be sent", "is to be deactivated", "Not sent yet because", "paused: Audit", "What was sent, and why", "Whole receipt")
	entries, err := s.engine.Receipts(s.ctx(), system, provision.ReceiptQuery{})
	s.must(err)
	entry := entries.Items[0].ID
	s.get("admin", at+string(bob.ID)).page().has("Close by hand")
	bad = s.post("admin", at+string(bob.ID)+"/close", "entry", entry, "note", "").status(http.StatusUnprocessableEntity).has("Say in a few words")
	webtest.Check(t, bad.Body.Bytes())
	s.post("reader", at+string(bob.ID)+"/close", "entry", entry, "note", "off").status(http.StatusForbidden)

	// Resumed: switched off, read back, proved.
	s.must(s.engine.Resume(s.ctx(), system, s.atlassian))
	s.settle()
	s.get("reader", at+string(bob.ID)).page().has("1 account is proved to be off", "Proved off", "PATCH /", "Read back", "the account is not active").hasNot("Close by hand")
	s.get("reader", "/console").page().hasNot("See who")

	// The receipt outlives the person.
	s.must(s.directory.DeleteUser(s.ctx(), system, bob.ID))
	s.settle()
	s.get("reader", at+string(bob.ID)).page().has("deleted", "Bob Example", "Proved off")
	s.get("reader", at+bob.Email).page().has("deleted")
	s.get("reader", s.appPath(s.atlassian, "provisioning", "people", string(bob.ID))).page().has("deleted from the directory", "Proved off")
	s.get("reader", s.appPath(s.atlassian, "provisioning", "people", "nobody-at-all")).status(http.StatusNotFound)

	// Where provisioning is off, a person's word closes it.
	eve, err := s.directory.CreateUser(s.ctx(), system, directory.NewUser{Attributes: directory.Attributes{Username: "eve", Email: "eve@example.com", Profile: directory.Profile{GivenName: "Eve", FamilyName: "Example"}}, State: directory.Active, Groups: []directory.GroupID{s.engineering}})
	s.must(err)
	s.settle()
	s.must(s.engine.Deactivate(s.ctx(), system, s.atlassian))
	s.must(s.directory.DeleteUser(s.ctx(), system, eve.ID))
	s.settle()
	s.get("reader", "/console/receipts").page().has("Eve Example", "Provisioning is off")
	entries, err = s.engine.Receipts(s.ctx(), system, provision.ReceiptQuery{State: provision.ReceiptOpen})
	s.must(err)
	s.follow("admin", s.post("admin", at+string(eve.ID)+"/close", "entry", entries.Items[0].ID, "note", "Switched off in their console")).page().has("By hand", "Switched off in their console", "closed by your word")
}
