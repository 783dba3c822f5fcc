package app_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

const day = 24 * time.Hour

// remind runs the reminders at a time and returns what was told: "type outcome days kind".
func (w *world) remind(at time.Time) []string {
	w.t.Helper()
	seen := w.reminders()
	w.now = at
	if err := w.apps.RunReminders(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	return w.reminders()[len(seen):]
}

func (w *world) reminders() []string {
	w.t.Helper()
	page := must(w.log.Search(w.t.Context(), admin, audit.Query{Types: []audit.Type{audit.CertificateExpires, audit.TokenExpires}, Limit: 1000}))(w.t)
	var out []string
	for _, e := range slices.Backward(page.Items) {
		if e.Actor.Kind != access.System || e.Object.Kind != audit.KindApplication || e.ApplicationID == "" || fmt.Sprint(e.Detail["todo"]) == "" {
			w.t.Errorf("event %+v", e)
		}
		out = append(out, fmt.Sprintf("%s %s %v %v", e.Type, e.Outcome, e.Detail["reminder"], e.Detail["kind"]))
	}
	return out
}

func (w *world) mails() []string {
	w.t.Helper()
	page := must(w.mail.List(w.t.Context(), admin, "", 1000))(w.t)
	var out []string
	for _, m := range slices.Backward(page.Items) {
		out = append(out, m.To+": "+m.Subject)
		if m.Kind != "reminder" || m.Cause == "" {
			w.t.Errorf("mail %+v", m)
		}
	}
	return out
}

func (w *world) owner(name string, role access.Role, state directory.State) {
	w.t.Helper()
	u := w.user(name, state)
	if err := w.db.Update(w.t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE users SET role = $1 WHERE id = $2`, string(role), string(u.ID))
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
}

func TestRemindersOfASigningCertificate(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.owner("olga", access.Owner, directory.Active)
		w.owner("adam", access.Administrator, directory.Active)
		w.owner("gone", access.Owner, directory.Suspended)
		w.owner("rita", access.ReadOnly, directory.Active)
		a := w.create(app.NewApplication{})
		end := must(w.apps.Certificates(t.Context(), admin, a.ID))(t)[0].NotAfter
		var got []string
		for _, at := range []time.Time{
			end.Add(-61 * day), end.Add(-60 * day), end.Add(-59 * day), end.Add(-30 * day), end.Add(-8 * day), end.Add(-7*day + time.Hour), end.Add(-23 * time.Hour),
			end.Add(-time.Second), end, end.Add(day), end.Add(400 * day),
		} {
			for _, s := range w.remind(at) {
				got = append(got, fmt.Sprintf("%.0f %s", end.Sub(at).Hours()/24, s))
			}
			if more := w.remind(at); len(more) != 0 {
				t.Errorf("reminded again: %v", more)
			}
		}
		want := []string{
			"60 certificate_expires success 60 certificate", "30 certificate_expires success 30 certificate", "7 certificate_expires success 7 certificate",
			"1 certificate_expires success 1 certificate", "0 certificate_expires failure 0 certificate",
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		mails := w.mails()
		wantMails := []string{
			"adam@example.org: Atlassian: the signing certificate ends in 60 days", "olga@example.org: Atlassian: the signing certificate ends in 60 days",
			"adam@example.org: Atlassian: the signing certificate ends in 30 days", "olga@example.org: Atlassian: the signing certificate ends in 30 days",
			"adam@example.org: Atlassian: the signing certificate ends in 7 days", "olga@example.org: Atlassian: the signing certificate ends in 7 days",
			"adam@example.org: Atlassian: the signing certificate ends in less than a day", "olga@example.org: Atlassian: the signing certificate ends in less than a day",
			"adam@example.org: Atlassian: the signing certificate has ended", "olga@example.org: Atlassian: the signing certificate has ended",
		}
		if d := cmp.Diff(wantMails, mails); d != "" {
			t.Error(d)
		}
	})
}

func TestRemindersOfAToken(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.create(app.NewApplication{})
		end := w.now.Add(90 * day).UTC().Truncate(time.Microsecond)
		must(w.apps.SetSCIMToken(t.Context(), admin, a.ID, "secret", end))(t)
		var got []string
		for _, days := range []time.Duration{61, 60, 31, 30, 15, 14, 13, 8, 7, 2, 1, 0, -1} {
			got = append(got, w.remind(end.Add(-days*day))...)
		}
		want := []string{
			"token_expires success 60 token", "token_expires success 30 token", "token_expires success 14 token", "token_expires success 7 token",
			"token_expires success 1 token", "token_expires failure 0 token",
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	})
}

// Whoever was switched off for long is reminded of the most urgent only; a new certificate has reminders of its own.
func TestOnlyTheMostUrgentReminder(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.create(app.NewApplication{})
		end := must(w.apps.Certificates(t.Context(), admin, a.ID))(t)[0].NotAfter
		if d := cmp.Diff([]string{"certificate_expires success 7 certificate"}, w.remind(end.Add(-5*day))); d != "" {
			t.Error(d)
		}
		if got := w.remind(end.Add(-2 * day)); len(got) != 0 {
			t.Errorf("%v", got)
		}
		next := must(w.apps.PrepareCertificate(t.Context(), admin, a.ID, keys.Options{Days: 20}))(t)
		if got := w.remind(w.now); len(got) != 0 {
			t.Errorf("of one that isn't in use: %v", got)
		}
		must(w.apps.SwitchCertificate(t.Context(), admin, a.ID))(t)
		if d := cmp.Diff([]string{"certificate_expires success 30 certificate"}, w.remind(w.now)); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff([]string{"certificate_expires failure 0 certificate"}, w.remind(next.NotAfter.Add(100*day))); d != "" {
			t.Error(d)
		}
	})
}

func TestRemindersOfTheirs(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.owner("olga", access.Owner, directory.Active)
		a := w.create(app.NewApplication{})
		end := w.now.Add(100 * day)
		must(w.apps.SaveSAML(t.Context(), admin, a.ID, func(s *app.SAMLSettings) error {
			s.SPCertificates = []string{spCert(t, rsaKey(t), end), spCert(t, rsaKey(t), end.Add(10*day))}
			s.EncryptionCertificate = spCert(t, rsaKey(t), end.Add(time.Hour))
			return complete(s)
		}))(t)
		must(w.apps.SetSCIMToken(t.Context(), admin, a.ID, "secret", end.Add(2*time.Hour)))(t)
		got := w.remind(end.Add(-30 * day))
		want := []string{
			"certificate_expires success 30 sp_certificate", "certificate_expires success 60 sp_certificate",
			"token_expires success 60 token", "certificate_expires success 60 sp_certificate",
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff([]string{"olga@example.org: Atlassian: a certificate of the service provider ends in 30 days, and 3 more"}, w.mails()); d != "" {
			t.Error(d)
		}
		got = w.remind(end.Add(3 * time.Hour))
		want = []string{
			"certificate_expires failure 0 sp_certificate", "certificate_expires failure 0 sp_certificate",
			"token_expires failure 0 token", "certificate_expires success 30 sp_certificate",
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		// A new token with another end.
		must(w.apps.SetSCIMToken(t.Context(), admin, a.ID, "another", w.now.Add(6*day)))(t)
		if d := cmp.Diff([]string{"token_expires success 7 token"}, w.remind(w.now)); d != "" {
			t.Error(d)
		}
		must(w.apps.SetSCIMToken(t.Context(), admin, a.ID, "third", time.Time{}))(t)
		if got := w.remind(w.now); len(got) != 0 {
			t.Errorf("%v", got)
		}
		page := must(w.log.Search(t.Context(), admin, audit.Query{Types: []audit.Type{audit.TokenExpires}}))(t)
		if m := page.Items[0].Message; !strings.Contains(m, "ends in 6 days, on ") || !strings.Contains(m, "Make a new token") || strings.Contains(m, "another") {
			t.Errorf("message %q", m)
		}
	})
}

// Two replicas that run at once remind once.
func TestReplicasRemindOnce(t *testing.T) {
	storetest.Two(t, func(t *testing.T, one, two *store.DB) {
		w := newWorld(t, one)
		w.owner("olga", access.Owner, directory.Active)
		const many = 12
		for i := range many {
			w.create(app.NewApplication{Connector: "custom-saml", Attributes: app.Attributes{Label: fmt.Sprintf("App %d", i)}})
		}
		w.now = w.now.Add(keys.Lifetime - 20*day)
		other := w.replica(two)
		var wg sync.WaitGroup
		for _, apps := range []*app.Applications{w.apps, other} {
			wg.Go(func() {
				if err := apps.RunReminders(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := len(w.reminders()); n != many {
			t.Errorf("%d reminders of %d certificates", n, many)
		}
		if n := len(w.mails()); n != 1 {
			t.Errorf("%d mails", n)
		}
	})
}

func TestNoMailWithoutAMailer(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	w.owner("olga", access.Owner, directory.Active)
	sealer := must(keys.NewSealer([]byte("0123456789abcdef0123456789ABCDEF")))(t)
	clock := func() time.Time { return w.now }
	apps := app.New(app.Config{
		DB: w.db, Catalog: must(connectors())(t), Pairs: keys.NewPairs(sealer, clock), Sealer: sealer, PublicURL: "https://id.example.org", Now: clock, Generate: generate,
	})
	a := w.create(app.NewApplication{})
	w.now = must(w.apps.Certificates(t.Context(), admin, a.ID))(t)[0].NotAfter
	if err := apps.RunReminders(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, mails := w.reminders(), w.mails(); len(got) != 1 || len(mails) != 0 {
		t.Errorf("%v, %v", got, mails)
	}
	if err := apps.RunMetadata(t.Context()); err != nil {
		t.Error(err)
	}
}
