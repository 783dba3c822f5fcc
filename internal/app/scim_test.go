package app_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

const baseURL = "https://api.atlassian.com/scim/directory/1234"

func TestToken(t *testing.T) {
	const secret = "ATSCIM-very-secret-token"
	each(t, func(t *testing.T, w *world) {
		a := w.create(app.NewApplication{})
		expires := w.now.AddDate(1, 0, 0)
		got := must(w.apps.SetSCIMToken(t.Context(), admin, a.ID, " "+secret+"\n", expires))(t)
		if !got.SCIM.TokenSet || !got.SCIM.TokenExpiresAt.Equal(expires) || got.SCIM.Status != app.Incomplete {
			t.Errorf("token set: %+v", got.SCIM)
		}
		text, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		shown := fmt.Sprintf("%+v %s %v", got, text, w.events(a.ID))
		w.view(func(tx *store.Tx) error {
			token, err := w.apps.SCIMToken(tx, a.ID)
			if token.Reveal() != secret {
				t.Errorf("the engine gets %q", token.Reveal())
			}
			stored, err2 := store.One(tx, store.Scalar[string], `SELECT token FROM scim_integrations`)
			all, err3 := store.All(tx, store.Scalar[string], `SELECT changes || detail || message FROM events`)
			shown += stored + strings.Join(all, " ")
			for _, e := range []error{err, err2, err3} {
				if e != nil {
					return e
				}
			}
			return nil
		})
		if strings.Contains(shown, secret) {
			t.Error("the token can be read somewhere")
		}
		// A token moved to another application's row is of no use there.
		b := w.create(app.NewApplication{Attributes: app.Attributes{Label: "B"}})
		err = w.db.Update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(`UPDATE scim_integrations SET token = (SELECT token FROM scim_integrations WHERE application_id = $1) WHERE application_id = $2`, string(a.ID), string(b.ID))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		err = w.db.View(t.Context(), func(tx *store.Tx) error { _, err := w.apps.SCIMToken(tx, b.ID); return err })
		if err == nil {
			t.Error("another application's token was opened")
		}
		for name, bad := range map[string]keys.Secret{"space within": "a b", "line break": "a\nb", "not ASCII": "tökén", "huge": keys.Secret(strings.Repeat("x", 9000))} {
			if _, err := w.apps.SetSCIMToken(t.Context(), admin, a.ID, bad, time.Time{}); !problem.Is(err, problem.Invalid) || strings.Contains(err.Error(), bad.Reveal()) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := w.apps.SetSCIMToken(t.Context(), reader, a.ID, secret, time.Time{}); !problem.Is(err, problem.Forbidden) {
			t.Errorf("without permission: %v", err)
		}
		if got = must(w.apps.SetSCIMToken(t.Context(), admin, a.ID, "", time.Time{}))(t); got.SCIM.TokenSet || !got.SCIM.TokenExpiresAt.IsZero() {
			t.Errorf("removed: %+v", got.SCIM)
		}
		err = w.db.View(t.Context(), func(tx *store.Tx) error { _, err := w.apps.SCIMToken(tx, a.ID); return err })
		if !problem.Is(err, problem.NotFound) {
			t.Errorf("no token: %v", err)
		}
		want := []string{
			"scim.token=<nil>→a token until 2027-11-25",
			"scim.token=a token until 2027-11-25→<nil>",
		}
		if d := cmp.Diff(want, changesOf(w.events(a.ID)[1:])); d != "" {
			t.Error(d)
		}
	})
}

func TestSCIMSettingsAreChecked(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	a := w.create(app.NewApplication{Connector: "custom-scim"})
	base := func(v string) func(*app.SCIMSettings) { return func(s *app.SCIMSettings) { s.BaseURL = v } }
	cases := map[string]struct {
		change func(*app.SCIMSettings)
		want   []string
	}{
		"https":                    {base(baseURL), nil},
		"slash at the end":         {base(baseURL + "/"), nil},
		"http on loopback":         {base("http://127.0.0.1:8090/scim"), nil},
		"http elsewhere":           {base("http://api.example.org/scim"), []string{"baseUrl"}},
		"query":                    {base(baseURL + "?x=1"), []string{"baseUrl"}},
		"fragment":                 {base(baseURL + "#x"), []string{"baseUrl"}},
		"with /Users":              {base(baseURL + "/Users"), []string{"baseUrl"}},
		"no scheme":                {base("api.example.org/scim"), []string{"baseUrl"}},
		"password":                 {base("https://u:p@api.example.org/scim"), []string{"baseUrl"}},
		"delete on leaving":        {func(s *app.SCIMSettings) { s.OnLeave = app.Remove }, nil},
		"something on leaving":     {func(s *app.SCIMSettings) { s.OnLeave = "burn" }, []string{"onLeave"}},
		"guard below zero":         {func(s *app.SCIMSettings) { s.Guard.MaxCount = -1 }, []string{"guard.maxCount"}},
		"guard above 100":          {func(s *app.SCIMSettings) { s.Guard.MaxPercent = 101 }, []string{"guard.maxPercent"}},
		"guard off":                {func(s *app.SCIMSettings) { s.Guard = app.Guard{} }, nil},
		"negative rate":            {func(s *app.SCIMSettings) { s.RatePerSecond = -1 }, []string{"ratePerSecond"}},
		"negative burst and so on": {func(s *app.SCIMSettings) { s.Burst, s.Concurrency = -1, 101 }, []string{"burst", "concurrency"}},
		"mapping with a NameID": {func(s *app.SCIMSettings) {
			s.Mapping.NameID = &catalog.NameIDOverride{}
		}, []string{"mapping.nameID"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := w.apps.SaveSCIM(t.Context(), admin, a.ID, func(s *app.SCIMSettings) error { c.change(s); return nil })
			if d := cmp.Diff(c.want, fields(err)); d != "" {
				t.Fatalf("%v\n%s", err, d)
			}
			if strings.HasSuffix(got.SCIM.BaseURL, "/") {
				t.Errorf("base URL %q", got.SCIM.BaseURL)
			}
		})
	}
	link := w.create(app.NewApplication{Connector: "bookmark", Attributes: app.Attributes{Label: "B", BookmarkURL: "https://x.example.org"}})
	if _, err := w.apps.SaveSCIM(t.Context(), admin, link.ID, func(*app.SCIMSettings) error { return nil }); !problem.Is(err, problem.Invalid) {
		t.Errorf("connector without provisioning: %v", err)
	}
}

// setStatus is what the engine does.
func (w *world) setStatus(id app.ID, st app.Status, reason string) error {
	return w.db.Update(w.t.Context(), func(tx *store.Tx) error {
		_, err := app.SetSCIMStatus(tx, w.now, admin, id, st, reason)
		return err
	})
}

func TestProvisioningStatus(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.create(app.NewApplication{})
		if err := w.setStatus(a.ID, app.Active, ""); !problem.Is(err, problem.Invalid) || !strings.Contains(problem.Public(err), "base URL, token") {
			t.Errorf("activated while incomplete: %v", err)
		}
		got := must(w.apps.SaveSCIM(t.Context(), admin, a.ID, func(s *app.SCIMSettings) error { s.BaseURL = baseURL; return nil }))(t)
		if got.SCIM.Status != app.Incomplete || got.SCIM.Generation != 2 {
			t.Errorf("with base URL: %+v", got.SCIM)
		}
		must(w.apps.SetSCIMToken(t.Context(), admin, a.ID, "secret", time.Time{}))(t)
		w.outbox()
		for _, st := range []app.Status{app.Active, app.Active, app.Paused, app.Active, app.Stopped, app.Active, app.Off} {
			reason := ""
			if st == app.Stopped {
				reason = "The token was refused (401)."
			}
			if err := w.setStatus(a.ID, st, reason); err != nil {
				t.Fatalf("%s: %v", st, err)
			}
			got = must(w.apps.Get(t.Context(), admin, a.ID))(t)
			if got.SCIM.Status != st || got.SCIM.Reason != reason || !got.SCIM.Since.Equal(w.now) {
				t.Errorf("set to %s: %+v", st, got.SCIM)
			}
		}
		var types []string
		for _, e := range w.events(a.ID)[3:] {
			types = append(types, e)
		}
		want := []string{
			"integration_activate success: scim.status=off→active",
			"integration_pause success: scim.status=active→paused",
			"integration_resume success: scim.status=paused→active",
			"integration_stop failure: scim.status=active→stopped",
			"integration_activate success: scim.status=stopped→active",
			"integration_deactivate success: scim.status=active→off",
		}
		if d := cmp.Diff(want, types); d != "" {
			t.Error(d)
		}
		if out := w.outbox(); len(out) != 6 || out[0] != "application "+string(a.ID) {
			t.Errorf("outbox %v", out)
		}
		for _, st := range []app.Status{app.Incomplete, "x"} {
			if err := w.setStatus(a.ID, st, ""); err == nil {
				t.Errorf("set to %q", st)
			}
		}
	})
}

func TestChangesOfScopeHaveConsequences(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.create(app.NewApplication{})
		g := w.group("Jira users")
		w.outbox()
		generation := func() int64 { return must(w.apps.Get(t.Context(), admin, a.ID))(t).SCIM.Generation }
		save := func(change func(s *app.SCIMSettings)) func() error {
			return func() error {
				_, err := w.apps.SaveSCIM(t.Context(), admin, a.ID, func(s *app.SCIMSettings) error { change(s); return nil })
				return err
			}
		}
		off := false
		steps := []struct {
			name  string
			do    func() error
			scope bool
		}{
			{"base URL", save(func(s *app.SCIMSettings) { s.BaseURL = baseURL }), true},
			{"groups", save(func(s *app.SCIMSettings) { s.ManageGroups = true }), true},
			{"mapping", save(func(s *app.SCIMSettings) {
				s.Mapping.Rows = []catalog.RowOverride{{Target: "title", Enabled: &off}}
			}), true},
			{"same mapping", save(func(s *app.SCIMSettings) {}), false},
			{"rate", save(func(s *app.SCIMSettings) { s.RatePerSecond = 3 }), false},
			{"on leave", save(func(s *app.SCIMSettings) { s.OnLeave = app.Remove }), true},
			{"bind", func() error { return w.apps.Bind(t.Context(), admin, a.ID, g) }, true},
			{"bind again", func() error { return w.apps.Bind(t.Context(), admin, a.ID, g) }, false},
			{"unbind", func() error { return w.apps.Unbind(t.Context(), admin, a.ID, g) }, true},
			{"unbind again", func() error { return w.apps.Unbind(t.Context(), admin, a.ID, g) }, false},
		}
		for _, s := range steps {
			before := generation()
			if err := s.do(); err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
			out := w.outbox()
			if s.scope && (generation() != before+1 || len(out) != 1 || out[0] != "application "+string(a.ID)) ||
				!s.scope && (generation() != before || len(out) != 0) {
				t.Errorf("%s: generation %d → %d, outbox %v", s.name, before, generation(), out)
			}
		}
		want := []string{"association_change success: groups=<nil>→Jira users", "association_change success: groups=Jira users→<nil>"}
		if ev := w.events(a.ID); !cmp.Equal(want, ev[len(ev)-2:]) {
			t.Errorf("events %v", ev[len(ev)-2:])
		}
	})
}

func TestBindRefuses(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.create(app.NewApplication{})
		g := w.group("G")
		for name, c := range map[string]struct {
			by    access.Actor
			id    app.ID
			group directory.GroupID
			kind  problem.Kind
		}{
			"no permission":       {reader, a.ID, g, problem.Forbidden},
			"unknown application": {admin, "nope", g, problem.NotFound},
			"unknown group":       {admin, a.ID, "nope", problem.NotFound},
		} {
			if err := w.apps.Bind(t.Context(), c.by, c.id, c.group); !problem.Is(err, c.kind) {
				t.Errorf("bind, %s: %v", name, err)
			}
			if err := w.apps.Unbind(t.Context(), c.by, c.id, c.group); !problem.Is(err, c.kind) {
				t.Errorf("unbind, %s: %v", name, err)
			}
		}
	})
}

func TestDelete(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.create(app.NewApplication{Logo: encode(t, "png", 4)})
		g := w.group("G")
		if err := w.apps.Bind(t.Context(), admin, a.ID, g); err != nil {
			t.Fatal(err)
		}
		must(w.apps.SaveSCIM(t.Context(), admin, a.ID, func(s *app.SCIMSettings) error { s.BaseURL = baseURL; return nil }))(t)
		must(w.apps.SetSCIMToken(t.Context(), admin, a.ID, "secret", time.Time{}))(t)
		if err := w.setStatus(a.ID, app.Active, ""); err != nil {
			t.Fatal(err)
		}
		del := func(by access.Actor, label string) error { return w.apps.Delete(t.Context(), by, a.ID, label) }
		if err := del(admin, "Atlas"); !problem.Is(err, problem.Invalid) || fields(err)[0] != "label" {
			t.Errorf("wrong label typed: %v", err)
		}
		if err := del(reader, "Atlassian"); !problem.Is(err, problem.Forbidden) {
			t.Errorf("without permission: %v", err)
		}
		if err := del(admin, "Atlassian"); !problem.Is(err, problem.Conflict) || !strings.Contains(problem.Public(err), "Deactivate it first") {
			t.Errorf("while provisioning is active: %v", err)
		}
		if err := w.setStatus(a.ID, app.Off, ""); err != nil {
			t.Fatal(err)
		}
		w.outbox()
		if err := del(admin, "atlassian"); err != nil {
			t.Fatal(err)
		}
		if err := del(admin, "Atlassian"); !problem.Is(err, problem.NotFound) {
			t.Errorf("deleted twice: %v", err)
		}
		w.view(func(tx *store.Tx) error {
			for _, table := range []string{"applications", "application_slugs", "saml_integrations", "scim_integrations", "bindings", "key_pairs"} {
				n, err := store.One(tx, store.Scalar[int], `SELECT count(*) FROM `+table)
				if err != nil || n != 0 {
					t.Errorf("%d rows are left in %s, %v", n, table, err)
				}
			}
			return nil
		})
		if out := w.outbox(); len(out) != 1 || out[0] != "application "+string(a.ID) {
			t.Errorf("outbox %v", out)
		}
		page := must(w.log.Search(t.Context(), admin, audit.Query{ApplicationID: string(a.ID), Types: []audit.Type{audit.ApplicationDelete}}))(t)
		if len(page.Items) != 1 || fmt.Sprint(page.Items[0].Detail["groups"]) != "[G]" {
			t.Errorf("the event says %+v", page.Items)
		}
		if again := w.create(app.NewApplication{}); again.Slug != "atlassiancloud" {
			t.Errorf("label and slug are free again: %q", again.Slug)
		}
	})
}
