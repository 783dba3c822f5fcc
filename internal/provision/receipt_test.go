package provision_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/provision/plan"
	"github.com/latchkey-idp/latchkey/internal/scim/scimtest"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

// entry returns the only entry of somebody's receipt.
func (w *world) entry(user directory.UserID) provision.ReceiptItem {
	w.t.Helper()
	r, err := w.engine.Receipt(w.t.Context(), owner, user)
	w.must(err)
	if len(r.Items) != 1 {
		w.t.Fatalf("entries: %+v", r.Items)
	}
	return r.Items[0]
}

// until waits for something that another goroutine does.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.t.Fatalf("in vain: %s", what)
}

func TestReceiptIsClosedByReadingBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		// prepare may change the target; leave ends ada's access.
		prepare func(w *world)
		leave   func(w *world, ada directory.UserID) error
		reason  string
		outcome provision.ReceiptOutcome
		finding string
	}{
		{"suspended", nil, func(w *world, ada directory.UserID) error {
			_, err := w.dir.Suspend(w.t.Context(), owner, ada)
			return err
		}, "suspended", provision.Verified, "not active"},
		{"deleted", nil, func(w *world, ada directory.UserID) error { return w.dir.DeleteUser(w.t.Context(), owner, ada) }, "deleted", provision.Verified, "not active"},
		{"left the group", nil, func(w *world, ada directory.UserID) error {
			_, err := w.dir.RemoveMembers(w.t.Context(), owner, w.group, []directory.UserID{ada})
			return err
		}, "left", provision.Verified, "not active"},
		{"group unbound", nil, func(w *world, _ directory.UserID) error { return w.apps.Unbind(w.t.Context(), owner, w.app, w.group) }, "left", provision.Verified, "not active"},
		{"deleted there", func(w *world) {
			_, err := w.apps.SaveSCIM(w.t.Context(), owner, w.app, func(s *app.SCIMSettings) error { s.OnLeave = app.Remove; return nil })
			w.must(err)
		}, func(w *world, ada directory.UserID) error { return w.dir.DeleteUser(w.t.Context(), owner, ada) }, "deleted", provision.GoneThere, "no such account"},
		{"can't be read", func(w *world) {
			w.target.Fail(scimtest.Fault{Method: http.MethodGet, Path: "/Users/", Status: http.StatusNotImplemented, Body: `{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"501","detail":"no reading"}`})
		}, func(w *world, ada directory.UserID) error {
			_, err := w.dir.Suspend(w.t.Context(), owner, ada)
			return err
		}, "suspended", provision.Unreadable, "doesn't let the account be read back"},
		{"fails for a while", func(w *world) {
			w.target.Fail(scimtest.Fault{Method: http.MethodGet, Path: "/Users/", Times: 2, Status: http.StatusServiceUnavailable, Header: map[string]string{"Retry-After": "0"}})
		}, func(w *world, ada directory.UserID) error {
			_, err := w.dir.Suspend(w.t.Context(), owner, ada)
			return err
		}, "suspended", provision.Verified, "not active"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			storetest.Each(t, func(t *testing.T, db *store.DB) {
				w := newWorld(t, db)
				ada := w.user("ada", w.group)
				w.activate()
				w.settled()
				if c.prepare != nil {
					c.prepare(w)
				}
				before := time.Now().Add(-time.Second)
				w.must(c.leave(w, ada))
				w.settled()
				x := w.entry(ada)
				if x.State != provision.ReceiptClosed || x.Outcome != c.outcome || !strings.Contains(x.Finding, c.finding) || x.Reason != c.reason {
					t.Errorf("entry: %+v", x)
				}
				if x.Name != "Ada Example" || x.Email != "ada@example.com" || x.Cause.Message == "" || x.Cause.Actor != owner.Name || x.EndedAt.Before(before) {
					t.Errorf("who and why: %+v", x)
				}
				if x.SentAt.IsZero() || x.SentEvent == "" || !strings.Contains(x.Request, "/Users/") || x.Answer < 200 || x.ReadAt.Before(x.SentAt) {
					t.Errorf("proof: %+v", x)
				}
				found := w.events(audit.UserVerifyProvision)
				last := found[len(found)-1]
				if last.ID != x.ReadEvent || last.Cause != x.SentEvent || last.Detail["exchange"] == nil {
					t.Errorf("event: %+v", last)
				}
				// Found by what they were called, deleted or not.
				for _, ref := range []string{string(ada), "ada@example.com", "ADA@example.com"} {
					if id, err := w.engine.FindLeaver(t.Context(), owner, ref); err != nil || id != ada {
						t.Errorf("%s: %q, %v", ref, id, err)
					}
				}
			})
		})
	}
}

func TestReceiptFindsAnAccountThatIsStillActive(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		ada := w.user("ada", w.group)
		w.activate()
		w.settled()
		// The target says yes, and does nothing.
		w.target.Fail(scimtest.Fault{Method: http.MethodPatch, Path: "/Users/", Times: 1, Status: http.StatusNoContent})
		_, err := w.dir.Suspend(t.Context(), owner, ada)
		w.must(err)
		w.settled()
		if x := w.entry(ada); x.State != provision.ReceiptClosed || x.Outcome != provision.Verified {
			t.Errorf("%+v", x)
		}
		w.expect("group Engineering; user ada inactive")
		found := w.events(audit.UserVerifyProvision)
		if len(found) != 2 || found[0].Outcome != audit.Failure || !strings.Contains(found[0].Message, "still active") || found[1].Outcome != audit.Success {
			t.Errorf("events: %+v", found)
		}
	})
}

func TestReceiptStaysOpenAndAlarms(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		ada, bob := w.user("ada", w.group), w.user("bob", w.group)
		w.activate()
		w.settled()
		w.must(w.engine.SetAlarms(t.Context(), owner, provision.Alarms{ReceiptSeconds: 1, SilenceSeconds: 60}))
		w.must(w.engine.Pause(t.Context(), owner, w.app, "Audit at the other side"))
		_, err := w.dir.Suspend(t.Context(), owner, ada)
		w.must(err)
		w.until("an open entry", func() bool {
			c, err := w.engine.CountReceipts(t.Context(), owner, w.app)
			w.must(err)
			return c.Open == 1
		})
		w.must(w.engine.Watch(t.Context()))
		if n := len(w.events(audit.ReceiptOverdue)); n != 0 {
			t.Fatalf("%d alarms before it is time", n)
		}
		time.Sleep(1100 * time.Millisecond)
		w.must(w.engine.Watch(t.Context()))
		w.must(w.engine.Watch(t.Context()))
		told := w.events(audit.ReceiptOverdue)
		if len(told) != 1 || told[0].Outcome != audit.Failure || !strings.Contains(told[0].Message, "Audit at the other side") || told[0].Cause == "" {
			t.Fatalf("alarms: %+v", told)
		}
		x := w.entry(ada)
		if x.State != provision.ReceiptOpen || !x.Overdue || !strings.Contains(x.Why, "paused") {
			t.Errorf("%+v", x)
		}
		r, err := w.engine.Receipt(t.Context(), owner, ada)
		w.must(err)
		if r.Complete || r.Overdue != 1 || r.Ended.Type != audit.UserSuspended || r.State != "suspended" {
			t.Errorf("%+v", r)
		}
		w.must(w.engine.Resume(t.Context(), owner, w.app))
		w.settled()
		if r, err = w.engine.Receipt(t.Context(), owner, ada); err != nil || !r.Complete || !strings.Contains(r.Sentence, "1 account is proved to be off") {
			t.Errorf("%+v %v", r, err)
		}

		// Provisioning is off: nothing will be sent, and that is said. A person closes it by their word.
		w.must(w.engine.Deactivate(t.Context(), owner, w.app))
		w.must(w.dir.DeleteUser(t.Context(), owner, bob))
		w.until("an open entry", func() bool {
			c, err := w.engine.CountReceipts(t.Context(), owner, "")
			w.must(err)
			return c.Open == 1
		})
		if x = w.entry(bob); !strings.Contains(x.Why, "Provisioning is off") || x.Reason != "deleted" || x.Email != "bob@example.com" {
			t.Errorf("%+v", x)
		}
		if err := w.engine.CloseReceipt(t.Context(), owner, x.ID, " "); !problem.Is(err, problem.Invalid) {
			t.Errorf("without a word: %v", err)
		}
		if err := w.engine.CloseReceipt(t.Context(), access.Actor{Role: access.HelpDesk}, x.ID, "x"); !problem.Is(err, problem.Forbidden) {
			t.Errorf("by the help desk: %v", err)
		}
		w.must(w.engine.CloseReceipt(t.Context(), owner, x.ID, "Switched off in their console."))
		if x = w.entry(bob); x.State != provision.ReceiptClosed || x.Outcome != provision.ByHand || x.ClosedBy != owner.Name {
			t.Errorf("%+v", x)
		}
		if err := w.engine.CloseReceipt(t.Context(), owner, x.ID, "again"); !problem.Is(err, problem.Conflict) {
			t.Errorf("twice: %v", err)
		}
	})
}

func TestReceiptIsWithdrawn(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		ada := w.user("ada", w.group)
		w.activate()
		w.settled()
		w.must(w.engine.Pause(t.Context(), owner, w.app, ""))
		_, err := w.dir.Suspend(t.Context(), owner, ada)
		w.must(err)
		w.until("an open entry", func() bool {
			c, err := w.engine.CountReceipts(t.Context(), owner, "")
			w.must(err)
			return c.Open == 1
		})
		_, err = w.dir.Unsuspend(t.Context(), owner, ada)
		w.must(err)
		w.must(w.engine.Watch(t.Context()))
		page, err := w.engine.Receipts(t.Context(), owner, provision.ReceiptQuery{})
		w.must(err)
		if len(page.Items) != 1 || page.Items[0].State != provision.ReceiptWithdrawn {
			t.Errorf("%+v", page.Items)
		}
		if r, err := w.engine.Receipt(t.Context(), owner, ada); err != nil || len(r.Items) != 0 || !r.Complete {
			t.Errorf("%+v %v", r, err)
		}
	})
}

func TestVerificationOutlivesTheProgram(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		ada := w.user("ada", w.group)
		w.activate()
		w.settled()
		w.target.Fail(scimtest.Fault{Method: http.MethodGet, Path: "/Users/", Status: http.StatusBadGateway})
		_, err := w.dir.Suspend(t.Context(), owner, ada)
		w.must(err)
		w.until("a reading that failed", func() bool {
			x, err := w.engine.Receipt(t.Context(), owner, ada)
			w.must(err)
			return len(x.Items) == 1 && !x.Items[0].SentAt.IsZero() && x.Items[0].Why != ""
		})
		w.stop()
		w.target.Heal()
		w.start()
		w.settled()
		if x := w.entry(ada); x.State != provision.ReceiptClosed || x.Outcome != provision.Verified {
			t.Errorf("%+v", x)
		}
	})
}

func TestExplain(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		ada, eve := w.user("ada", w.group), w.user("eve")
		w.activate()
		w.settled()
		_, err := w.dir.UpdateUser(t.Context(), owner, ada, 0, func(a *directory.Attributes) error { a.Title = "Countess"; return nil })
		w.must(err)
		w.settled()
		x, err := w.engine.Explain(t.Context(), owner, w.app, ada)
		w.must(err)
		if x.Want != plan.Present || len(x.Grants) != 1 || x.Grants[0].Name != "Engineering" || x.Grants[0].Cause.Actor != owner.Name || x.Grants[0].Since.IsZero() {
			t.Errorf("why: %+v", x)
		}
		if len(x.Pending) != 0 || x.Waiting != nil || x.WaitingFor != "" || !strings.Contains(x.Sentence, "Nothing is left to be sent") {
			t.Errorf("pending: %+v", x)
		}
		var said []string
		for _, s := range x.Sent {
			said = append(said, string(s.Type)+" "+s.Request[:max(0, strings.Index(s.Request, "/"))])
		}
		if !slices.IsSortedFunc(x.Sent, func(a, b provision.Sent) int { return strings.Compare(b.Event, a.Event) }) || len(x.Sent) < 3 ||
			x.Sent[0].Type != audit.UserUpdateProvision || x.Sent[0].Cause.Type != audit.UserUpdate || x.Sent[0].Cause.Actor != owner.Name ||
			!strings.HasPrefix(x.Sent[0].Request, "PATCH ") || x.Sent[0].Answer != 200 ||
			!slices.ContainsFunc(x.Sent, func(s provision.Sent) bool {
				return s.Type == audit.GroupUpdateProvision || s.Type == audit.GroupCreateProvision
			}) {
			t.Errorf("sent: %q %+v", said, x.Sent)
		}

		// Paused: what is pending, and why.
		w.must(w.engine.Pause(t.Context(), owner, w.app, "Audit"))
		_, err = w.dir.UpdateUser(t.Context(), owner, ada, 0, func(a *directory.Attributes) error { a.Title = "Lady"; return nil })
		w.must(err)
		w.until("a lane", func() bool {
			x, err = w.engine.Explain(t.Context(), owner, w.app, ada)
			w.must(err)
			return x.Waiting != nil
		})
		if len(x.Pending) != 1 || !strings.Contains(x.Pending[0].Text, "title") || x.Pending[0].Changes[0].Old != "Countess" || !strings.Contains(x.WaitingFor, "paused: Audit") ||
			!x.NextTry.IsZero() || x.WaitingCause.Type != audit.UserUpdate {
			t.Errorf("paused: %+v", x)
		}
		w.must(w.engine.Resume(t.Context(), owner, w.app))
		w.settled()

		// In no group; deleted; never there.
		if x, err = w.engine.Explain(t.Context(), owner, w.app, eve); err != nil || x.Want != plan.Gone || !strings.Contains(x.Sentence, "in none of the application's groups") {
			t.Errorf("eve: %+v %v", x, err)
		}
		w.must(w.dir.DeleteUser(t.Context(), owner, ada))
		w.settled()
		if x, err = w.engine.Explain(t.Context(), owner, w.app, ada); err != nil || x.Receipt == nil || x.Receipt.Outcome != provision.Verified || x.Name != "Ada Example" ||
			x.Link.Status != provision.LinkInactive || !strings.Contains(x.Why, "deleted") {
			t.Errorf("deleted: %+v %v", x, err)
		}
		for _, try := range []struct {
			name string
			app  app.ID
			user directory.UserID
		}{
			{"nobody", w.app, "nobody"}, {"no application", "none", eve},
		} {
			if _, err := w.engine.Explain(t.Context(), owner, try.app, try.user); !problem.Is(err, problem.NotFound) {
				t.Errorf("%s: %v", try.name, err)
			}
		}
		if _, err := w.engine.Receipt(t.Context(), owner, "nobody"); !problem.Is(err, problem.NotFound) {
			t.Errorf("receipt of nobody: %v", err)
		}
		if _, err := w.engine.FindLeaver(t.Context(), owner, "nobody"); !problem.Is(err, problem.NotFound) {
			t.Errorf("nobody: %v", err)
		}
		if _, err := w.engine.Imports(t.Context(), owner, "none"); !problem.Is(err, problem.NotFound) {
			t.Errorf("imports of no application: %v", err)
		}
	})
}

func TestHealth(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w.user("ada", w.group)
		// A test is a sign of life, and outlives the program.
		if p, err := w.engine.Test(t.Context(), owner, w.app); err != nil || !p.OK {
			t.Fatal(p, err)
		}
		w.stop()
		w.start()
		s, err := w.engine.Status(t.Context(), owner, w.app)
		w.must(err)
		if s.LastAnswer.IsZero() || !s.Budget.Limited || s.Budget.PerSecond != 10000 || s.Budget.Left <= 0 {
			t.Errorf("after a restart: %+v", s)
		}
		w.activate()
		w.settled()
		w.must(w.engine.SetAlarms(t.Context(), owner, provision.Alarms{ReceiptSeconds: 60, SilenceSeconds: 1}))
		if err := w.engine.SetAlarms(t.Context(), owner, provision.Alarms{}); !problem.Is(err, problem.Invalid) {
			t.Errorf("no time at all: %v", err)
		}
		time.Sleep(1100 * time.Millisecond)
		w.must(w.engine.Watch(t.Context()))
		if n := len(w.events(audit.IntegrationSilent)); n != 0 {
			t.Fatalf("%d alarms though nothing waits", n)
		}
		// Silence while something waits.
		w.target.Fail(scimtest.Fault{Status: http.StatusBadGateway})
		w.user("bob", w.group)
		w.until("an alarm", func() bool {
			w.must(w.engine.Watch(t.Context()))
			return len(w.events(audit.IntegrationSilent)) > 0
		})
		w.must(w.engine.Watch(t.Context()))
		told := w.events(audit.IntegrationSilent)
		if len(told) != 1 || told[0].Outcome != audit.Failure || !strings.Contains(told[0].Message, "no good answer") {
			t.Errorf("%+v", told)
		}
		if s, err = w.engine.Status(t.Context(), owner, w.app); err != nil || s.SilentSince.IsZero() || s.Level != "danger" || s.OldestSeconds <= 0 || s.Waiting == 0 {
			t.Errorf("silent: %+v %v", s, err)
		}
		w.target.Heal()
		w.settled()
		w.until("the end of silence", func() bool {
			time.Sleep(50 * time.Millisecond)
			w.must(w.engine.Watch(t.Context()))
			return len(w.events(audit.IntegrationAnswers)) == 1
		})
		if s, err = w.engine.Status(t.Context(), owner, w.app); err != nil || !s.SilentSince.IsZero() || s.Level != "ok" {
			t.Errorf("again: %+v %v", s, err)
		}
		v, err := w.engine.Vitals(t.Context(), owner)
		w.must(err)
		if len(v) != 1 || v[0].Label != "Atlassian" || v[0].Good == 0 || v[0].Bad == 0 || v[0].Finished == 0 {
			t.Errorf("vitals: %+v", v)
		}
	})
}

func TestPredictedFinish(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w.activate()
		w.settled()
		w.stop()
		now := time.Now()
		w.must(db.Update(t.Context(), func(tx *store.Tx) error {
			for i := range int64(3) { // 600 in the last three minutes
				if _, err := tx.Exec(`INSERT INTO target_pace (application_id, minute, finished, requests, failures) VALUES ($1, $2, 200, 0, 0)
					ON CONFLICT (application_id, minute) DO UPDATE SET finished = 200`, string(w.app), now.Unix()/60-i); err != nil {
					return err
				}
			}
			return nil
		}))
		w.user("ada", w.group)
		w.must(db.Update(t.Context(), func(tx *store.Tx) error {
			for i := range 100 {
				if _, err := tx.Exec(`INSERT INTO lanes (kind, key, scope, wanted, due_at, since) VALUES ('provision.sync', $1, $2, 1, $3, $3)`,
					string(w.app)+"/user/"+string(rune('A'+i)), string(w.app), store.Micros(now)); err != nil {
					return err
				}
			}
			return nil
		}))
		s, err := w.engine.Status(t.Context(), owner, w.app)
		w.must(err)
		if s.ObjectsPerSecond < 3 || s.ObjectsPerSecond > 6 { // two to three minutes, as the clock stands
			t.Errorf("speed: %+v", s)
		}
		if left := s.FinishAt.Sub(now); left < 15*time.Second || left > 40*time.Second || !strings.Contains(s.Sentence, "done in about") {
			t.Errorf("finish in %s: %s", left, s.Sentence)
		}
	})
}
