package app_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/mail"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
	"github.com/latchkey-idp/latchkey/internal/work"
)

var (
	admin  = access.Actor{Kind: access.Person, ID: "admin", Name: "ada@example.org", Role: access.Administrator, Address: "192.0.2.1", Correlation: "c1"}
	reader = access.Actor{Kind: access.Person, ID: "reader", Name: "rae@example.org", Role: access.ReadOnly}
	nobody = access.Actor{Kind: access.Person, ID: "nobody", Name: "nob@example.org"}
)

// world is an installation for tests.
type world struct {
	t    testing.TB
	db   *store.DB
	dir  *directory.Directory
	apps *app.Applications
	log  *audit.Log
	mail *mail.Mailer
	now  time.Time
	web  *web
}

var (
	connectors = sync.OnceValues(catalog.Builtin)
	oneKey     = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })
)

// generate makes a new certificate for the same key each time, which is much faster than new keys.
func generate(commonName string, now time.Time, o keys.Options) (keys.Material, error) {
	key, err := oneKey()
	if err != nil {
		return keys.Material{}, err
	}
	return keys.SelfSign(key, commonName, now, o)
}

func newWorld(t testing.TB, db *store.DB) *world {
	t.Helper()
	w := &world{t: t, db: db, now: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC), web: &web{pages: map[string]page{}}}
	clock := func() time.Time { return w.now }
	sealer, err := keys.NewSealer([]byte("0123456789abcdef0123456789ABCDEF"))
	if err != nil {
		t.Fatal(err)
	}
	cat, err := connectors()
	if err != nil {
		t.Fatal(err)
	}
	w.dir = directory.New(db, clock)
	w.log = audit.NewLog(db)
	quiet := slog.New(slog.DiscardHandler)
	w.mail = mail.New(mail.Config{ // nothing is sent: its pool doesn't run
		DB: db, Sealer: sealer, Pool: work.NewPool(db, quiet, clock), Now: clock, Log: quiet, Sender: &mail.Folder{Dir: t.TempDir(), From: "latchkey@example.org"},
	})
	w.apps = app.New(app.Config{
		DB: db, Catalog: cat, Pairs: keys.NewPairs(sealer, clock), Sealer: sealer,
		PublicURL: "https://id.example.org/", Now: clock, Generate: generate, Fetch: w.web.fetch, Mailer: w.mail,
	})
	return w
}

// replica returns the applications of the same installation through another handle on its database.
func (w *world) replica(db *store.DB) *app.Applications {
	w.t.Helper()
	clock := func() time.Time { return w.now }
	sealer := must(keys.NewSealer([]byte("0123456789abcdef0123456789ABCDEF")))(w.t)
	quiet := slog.New(slog.DiscardHandler)
	return app.New(app.Config{
		DB: db, Catalog: must(connectors())(w.t), Pairs: keys.NewPairs(sealer, clock), Sealer: sealer, PublicURL: "https://id.example.org",
		Now: clock, Generate: generate, Fetch: w.web.fetch,
		Mailer: mail.New(mail.Config{
			DB: db, Sealer: sealer, Pool: work.NewPool(db, quiet, clock), Now: clock, Log: quiet, Sender: &mail.Folder{Dir: w.t.TempDir(), From: "latchkey@example.org"},
		}),
	})
}

// must returns a result or ends the test.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (w *world) create(n app.NewApplication) app.Application {
	w.t.Helper()
	if n.Label == "" {
		n.Label = "Atlassian"
	}
	if n.Connector == "" {
		n.Connector = "atlassian-cloud"
	}
	return must(w.apps.Create(w.t.Context(), admin, n))(w.t)
}

func (w *world) user(name string, state directory.State, groups ...directory.GroupID) directory.User {
	w.t.Helper()
	return must(w.dir.CreateUser(w.t.Context(), admin, directory.NewUser{
		Attributes: directory.Attributes{Email: name + "@example.org", Profile: directory.Profile{GivenName: name, FamilyName: "Test"}},
		State:      state, Groups: groups,
	}))(w.t)
}

func (w *world) group(name string) directory.GroupID {
	w.t.Helper()
	return must(w.dir.CreateGroup(w.t.Context(), admin, directory.NewGroup{GroupAttributes: directory.GroupAttributes{Name: name}}))(w.t).ID
}

// events returns the application's events, oldest first, as "type outcome: attribute=old→new …".
func (w *world) events(id app.ID) []string {
	w.t.Helper()
	page := must(w.log.Search(w.t.Context(), admin, audit.Query{ApplicationID: string(id), Limit: 1000}))(w.t)
	var out []string
	for _, e := range slices.Backward(page.Items) {

		s := fmt.Sprintf("%s %s:", e.Type, e.Outcome)
		for _, c := range e.Changes {
			s += fmt.Sprintf(" %s=%v→%v", c.Attribute, c.Old, c.New)
		}
		if e.Actor.ID != admin.ID || e.Object.Kind != audit.KindApplication || e.Message == "" {
			w.t.Errorf("event without actor, object or message: %+v", e)
		}
		out = append(out, s)
	}
	return out
}

// changesOf leaves out type and outcome.
func changesOf(events []string) (out []string) {
	for _, e := range events {
		_, c, _ := strings.Cut(e, ": ")
		out = append(out, c)
	}
	return out
}

// outbox returns and empties the outbox.
func (w *world) outbox() []string {
	w.t.Helper()
	var out []string
	err := w.db.Claim(w.t.Context(), func(tx *store.Tx) error {
		out = nil
		rows, err := audit.Take(tx, 1000)
		for _, r := range rows {
			if r.Cause == "" {
				w.t.Errorf("outbox row without cause: %+v", r)
			}
			out = append(out, r.Kind+" "+r.ID)
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *world) view(fn func(tx *store.Tx) error) {
	w.t.Helper()
	if err := w.db.View(w.t.Context(), fn); err != nil {
		w.t.Fatal(err)
	}
}

func fields(err error) []string {
	var out []string
	for _, f := range problem.FieldsOf(err) {
		out = append(out, f.Name)
	}
	return out
}

func each(t *testing.T, fn func(t *testing.T, w *world)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, db *store.DB) { fn(t, newWorld(t, db)) })
}

func TestCreate(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		got := w.create(app.NewApplication{Attributes: app.Attributes{Label: "  Jira  and friends ", Description: "Tickets", PortalVisible: true}})
		if got.Label != "Jira and friends" || got.Slug != "atlassiancloud" || got.Version != 1 || got.Colour == "" || !got.CreatedAt.Equal(w.now) {
			t.Errorf("created %+v", got)
		}
		if got.SAML.Status != app.Off || !got.SAML.Offered || got.SCIM.Status != app.Off || !got.SCIM.Offered {
			t.Errorf("statuses %v, %v", got.SAML.Status, got.SCIM.Status)
		}
		if d := cmp.Diff([]string{"SP entity ID", "ACS URL"}, got.SAML.Missing); d != "" {
			t.Errorf("missing: %s", d)
		}
		if d := cmp.Diff([]string{"base URL", "token"}, got.SCIM.Missing); d != "" {
			t.Errorf("missing: %s", d)
		}
		want := app.URLs{
			SSO: "https://id.example.org/saml2/atlassiancloud", SLO: "https://id.example.org/saml2/atlassiancloud/slo", Metadata: "https://id.example.org/saml2/atlassiancloud/metadata",
			Certificate: "https://id.example.org/saml2/atlassiancloud/certificate.pem",
		}
		if d := cmp.Diff(want, w.apps.URLs(got)); d != "" {
			t.Errorf("URLs: %s", d)
		}
		if got.SAML.IDPEntityID != want.Metadata || !got.SAML.SignAssertion || got.SAML.SignResponse {
			t.Errorf("sign-on starts with %+v", got.SAML.SAMLSettings)
		}
		if got.SCIM.OnLeave != app.Deactivate || got.SCIM.Guard.MaxCount == 0 {
			t.Errorf("provisioning starts with %+v", got.SCIM.SCIMSettings)
		}
		pairs := must(w.apps.Certificates(t.Context(), reader, got.ID))(t)
		if len(pairs) != 1 || pairs[0].Status != keys.Current || pairs[0].DaysLeft(w.now) != 1095 {
			t.Errorf("key pairs: %+v", pairs)
		}
		read := must(w.apps.Get(t.Context(), reader, got.ID))(t)
		if d := cmp.Diff(got, read); d != "" {
			t.Errorf("read back (-created +read):\n%s", d)
		}
		if ev := w.events(got.ID); len(ev) != 1 || !strings.HasPrefix(ev[0], "application_create success:") {
			t.Errorf("events %v", ev)
		}

		second := w.create(app.NewApplication{Attributes: app.Attributes{Label: "Second"}})
		third := w.create(app.NewApplication{Attributes: app.Attributes{Label: "Third"}})
		if second.Slug != "atlassiancloud-2" || third.Slug != "atlassiancloud-3" {
			t.Errorf("slugs %s, %s", second.Slug, third.Slug)
		}
		link := w.create(app.NewApplication{Connector: "bookmark", Attributes: app.Attributes{Label: "Wiki", BookmarkURL: "https://wiki.example.org"}})
		if link.Slug != "" || link.SAML.Offered || link.SAML.Status != app.Off || link.SCIM.Offered || w.apps.URLs(link) != (app.URLs{}) {
			t.Errorf("bookmark %+v", link)
		}
		provisioned := w.create(app.NewApplication{Connector: "custom-scim", Attributes: app.Attributes{Label: "HR"}})
		if provisioned.SAML.Offered || !provisioned.SCIM.Offered {
			t.Errorf("SCIM only: %+v", provisioned)
		}
	})
}

func TestCreateRefuses(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.create(app.NewApplication{Attributes: app.Attributes{Label: "Jira"}, Slug: "jira"})
		long := strings.Repeat("x", 300)
		one := func(connector, slug string, at app.Attributes) app.NewApplication {
			return app.NewApplication{Connector: connector, Attributes: at, Slug: slug}
		}
		x := app.Attributes{Label: "X"}
		bad := one("atlassian-cloud", "Not OK", app.Attributes{Label: long, Description: long, Colour: "red", BookmarkURL: "javascript:alert(1)"})
		bad.Logo = []byte("<svg/>")
		cases := map[string]struct {
			by   access.Actor
			new  app.NewApplication
			kind problem.Kind
			want []string
		}{
			"no permission":         {reader, one("atlassian-cloud", "", x), problem.Forbidden, nil},
			"no role at all":        {nobody, one("atlassian-cloud", "", x), problem.Forbidden, nil},
			"unknown connector":     {admin, one("nope", "", x), problem.Invalid, []string{"connector"}},
			"no label":              {admin, one("atlassian-cloud", "", app.Attributes{}), problem.Invalid, []string{"label"}},
			"everything wrong":      {admin, bad, problem.Invalid, []string{"label", "description", "colour", "bookmarkUrl", "logo", "slug"}},
			"control characters":    {admin, one("atlassian-cloud", "", app.Attributes{Label: "a\u202eb"}), problem.Invalid, []string{"label"}},
			"label taken":           {admin, one("atlassian-cloud", "", app.Attributes{Label: "JIRA"}), problem.Conflict, []string{"label"}},
			"slug taken":            {admin, one("atlassian-cloud", "jira", x), problem.Conflict, []string{"slug"}},
			"slug reserved":         {admin, one("atlassian-cloud", "resume", x), problem.Invalid, []string{"slug"}},
			"slug begins with dash": {admin, one("atlassian-cloud", "-x", x), problem.Invalid, []string{"slug"}},
			"slug without sign-on":  {admin, one("custom-scim", "x", x), problem.Invalid, []string{"slug"}},
			"bookmark without URL":  {admin, one("bookmark", "", x), problem.Invalid, []string{"bookmarkUrl"}},
			"bookmark to a file":    {admin, one("bookmark", "", app.Attributes{Label: "X", BookmarkURL: "file:///etc/passwd"}), problem.Invalid, []string{"bookmarkUrl"}},
		}
		for name, c := range cases {
			t.Run(name, func(t *testing.T) {
				_, err := w.apps.Create(t.Context(), c.by, c.new)
				if !problem.Is(err, c.kind) {
					t.Fatalf("error %v, want %v", err, c.kind)
				}
				if d := cmp.Diff(c.want, fields(err)); d != "" {
					t.Errorf("fields:\n%s", d)
				}
			})
		}
		if page := must(w.apps.List(t.Context(), admin, app.Query{}))(t); page.Total != 1 {
			t.Errorf("%d applications are left behind", page.Total-1)
		}
	})
}

func TestUpdate(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.create(app.NewApplication{})
		w.create(app.NewApplication{Attributes: app.Attributes{Label: "Other"}})
		got := must(w.apps.Update(t.Context(), admin, a.ID, a.Version, func(at *app.Attributes) error {
			at.Label, at.Colour, at.PortalVisible = "Jira", "#ABCDEF", true
			return nil
		}))(t)
		if got.Label != "Jira" || got.Colour != "#abcdef" || !got.PortalVisible || got.Version != a.Version+1 {
			t.Errorf("updated to %+v", got)
		}
		same := must(w.apps.Update(t.Context(), admin, a.ID, 0, func(*app.Attributes) error { return nil }))(t)
		if same.Version != got.Version || len(w.events(a.ID)) != 2 {
			t.Errorf("an update without change writes: version %d, %v", same.Version, w.events(a.ID))
		}
		if ev := w.events(a.ID)[1]; ev != "application_update success: colour=#1558bc→#abcdef label=Atlassian→Jira portalVisible=false→true" {
			t.Errorf("event %s", ev)
		}
		back := must(w.apps.Update(t.Context(), admin, a.ID, 0, func(at *app.Attributes) error { at.Colour = ""; return nil }))(t)
		if back.Colour != "#1558bc" {
			t.Errorf("without colour it gets the connector's, not %q", back.Colour)
		}
		refused := map[string]struct {
			by      access.Actor
			id      app.ID
			version int64
			change  func(*app.Attributes) error
			kind    problem.Kind
		}{
			"stale":         {admin, a.ID, a.Version, func(at *app.Attributes) error { at.Label = "Z"; return nil }, problem.Conflict},
			"label taken":   {admin, a.ID, 0, func(at *app.Attributes) error { at.Label = "other"; return nil }, problem.Conflict},
			"unknown":       {admin, "nope", 0, func(*app.Attributes) error { return nil }, problem.NotFound},
			"no permission": {reader, a.ID, 0, func(at *app.Attributes) error { at.Label = "Z"; return nil }, problem.Forbidden},
			"own refusal":   {admin, a.ID, 0, func(*app.Attributes) error { return problem.New(problem.Invalid, "no") }, problem.Invalid},
		}
		for name, c := range refused {
			if _, err := w.apps.Update(t.Context(), c.by, c.id, c.version, c.change); !problem.Is(err, c.kind) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestParallelUpdatesLoseNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.create(app.NewApplication{})
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				_, err := w.apps.Update(t.Context(), admin, a.ID, 0, func(at *app.Attributes) error {
					at.Description += fmt.Sprint(i)
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := must(w.apps.Get(t.Context(), admin, a.ID))(t); len(got.Description) != 5 || got.Version != a.Version+5 {
			t.Errorf("after five changes: %q, version %d", got.Description, got.Version)
		}
	})
}

func TestList(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, label := range []string{"Zeta", "alpha", "Béta", "Gamma", "Äpfel"} {
			w.create(app.NewApplication{Connector: "bookmark", Attributes: app.Attributes{Label: label, BookmarkURL: "https://x.example.org"}})
		}
		w.create(app.NewApplication{Attributes: app.Attributes{Label: "Work"}})
		labels := func(q app.Query) (out []string) {
			for {
				page := must(w.apps.List(t.Context(), reader, q))(t)
				for _, a := range page.Items {
					out = append(out, a.Label)
				}
				if page.Next == "" {
					return append(out, fmt.Sprint(page.Total))
				}
				q.Cursor = page.Next
			}
		}
		for limit := range 7 {
			if d := cmp.Diff([]string{"alpha", "Béta", "Gamma", "Work", "Zeta", "Äpfel", "6"}, labels(app.Query{Limit: limit})); d != "" {
				t.Errorf("pages of %d: %s", limit, d)
			}
		}
		if d := cmp.Diff([]string{"Béta", "Zeta", "2"}, labels(app.Query{Text: "ETA"})); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff([]string{"Work", "1"}, labels(app.Query{Text: "confluence"})); d != "" {
			t.Errorf("found by the connector's other name: %s", d)
		}
		if _, err := w.apps.List(t.Context(), reader, app.Query{Cursor: "rubbish"}); !problem.Is(err, problem.Invalid) {
			t.Errorf("forged cursor: %v", err)
		}
		if _, err := w.apps.List(t.Context(), nobody, app.Query{}); !problem.Is(err, problem.Forbidden) {
			t.Errorf("without permission: %v", err)
		}
	})
}

func TestSlugs(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.create(app.NewApplication{Slug: "one"})
		b := w.create(app.NewApplication{Attributes: app.Attributes{Label: "B"}, Slug: "other"})
		entity := a.SAML.IDPEntityID
		answers := func(slug string) string {
			out := "-"
			err := w.db.View(t.Context(), func(tx *store.Tx) error {
				found, current, err := app.BySlug(tx, slug)
				if err == nil {
					out = fmt.Sprintf("%s %v", found.Label, current)
				}
				return err
			})
			if err != nil && !problem.Is(err, problem.NotFound) {
				t.Fatal(err)
			}
			return out
		}
		got := must(w.apps.ChangeSlug(t.Context(), admin, a.ID, "two"))(t)
		if got.Slug != "two" || len(got.OldSlugs) != 1 || got.SAML.IDPEntityID != entity {
			t.Errorf("changed to %+v", got)
		}
		if d := cmp.Diff([]string{"https://id.example.org/saml2/two", "https://id.example.org/saml2/one"}, w.apps.Endpoints(got)); d != "" {
			t.Error(d)
		}
		if answers("one") != "Atlassian false" || answers("two") != "Atlassian true" || answers("three") != "-" {
			t.Errorf("answers: %s, %s, %s", answers("one"), answers("two"), answers("three"))
		}
		if got = must(w.apps.ChangeSlug(t.Context(), admin, a.ID, "one"))(t); got.Slug != "one" || got.OldSlugs[0] != "two" {
			t.Errorf("taken back: %+v", got)
		}
		for slug, kind := range map[string]problem.Kind{"other": problem.Conflict, "UPPER": problem.Invalid, "": problem.Invalid, "a/b": problem.Invalid, "resume": problem.Invalid} {
			if _, err := w.apps.ChangeSlug(t.Context(), admin, a.ID, slug); !problem.Is(err, kind) {
				t.Errorf("slug %q: %v", slug, err)
			}
		}
		if _, err := w.apps.DropSlug(t.Context(), admin, a.ID, "one"); !problem.Is(err, problem.Invalid) {
			t.Errorf("drop the present slug: %v", err)
		}
		if _, err := w.apps.DropSlug(t.Context(), admin, a.ID, "other"); !problem.Is(err, problem.NotFound) {
			t.Errorf("drop another application's slug: %v", err)
		}
		if got = must(w.apps.DropSlug(t.Context(), admin, a.ID, "two"))(t); len(got.OldSlugs) != 0 || answers("two") != "-" {
			t.Errorf("dropped: %+v", got)
		}
		if b = must(w.apps.ChangeSlug(t.Context(), admin, b.ID, "two"))(t); b.Slug != "two" {
			t.Errorf("a dropped slug is free: %+v", b)
		}
		if d := cmp.Diff([]string{"slug=one→two", "slug=two→one", "oldSlugs=two→<nil>"}, changesOf(w.events(a.ID)[1:])); d != "" {
			t.Error(d)
		}
	})
}

func encode(t *testing.T, format string, side int) []byte {
	t.Helper()
	m := image.NewRGBA(image.Rect(0, 0, side, side))
	var b bytes.Buffer
	var err error
	switch format {
	case "png":
		err = png.Encode(&b, m)
	case "jpeg":
		err = jpeg.Encode(&b, m, nil)
	case "gif":
		err = gif.Encode(&b, m, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestLogo(t *testing.T) {
	webp := append([]byte("RIFF\x10\x00\x00\x00WEBPVP8 "), make([]byte, 16)...)
	wide := encode(t, "png", 5000)
	each(t, func(t *testing.T, w *world) {
		a := w.create(app.NewApplication{Logo: encode(t, "png", 8), LogoType: "image/svg+xml"})
		if !a.HasLogo {
			t.Fatal("the logo given at creation is lost")
		}
		cases := map[string]struct {
			picture []byte
			want    string // media type, "" if refused
		}{
			"PNG":        {encode(t, "png", 16), "image/png"},
			"JPEG":       {encode(t, "jpeg", 16), "image/jpeg"},
			"GIF":        {encode(t, "gif", 16), "image/gif"},
			"WebP":       {webp, "image/webp"},
			"SVG":        {[]byte(`<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`), ""},
			"HTML":       {[]byte("<html>"), ""},
			"cut PNG":    {encode(t, "png", 16)[:10], ""},
			"too large":  {append(encode(t, "png", 16), make([]byte, app.MaxLogo)...), ""},
			"gigantic":   {wide, ""},
			"other RIFF": {append([]byte("RIFF\x10\x00\x00\x00WAVEfmt "), make([]byte, 16)...), ""},
		}
		for name, c := range cases {
			got, err := w.apps.SetLogo(t.Context(), admin, a.ID, c.picture)
			if c.want == "" {
				if !problem.Is(err, problem.Invalid) || fields(err)[0] != "logo" {
					t.Errorf("%s: %v", name, err)
				}
				continue
			}
			if err != nil || !got.HasLogo {
				t.Errorf("%s: %v", name, err)
				continue
			}
			mediaType, picture, err := w.apps.Logo(t.Context(), a.ID)
			if err != nil || mediaType != c.want || !bytes.Equal(picture, c.picture) {
				t.Errorf("%s: read back %q, %d bytes, %v", name, mediaType, len(picture), err)
			}
		}
		if got := must(w.apps.SetLogo(t.Context(), admin, a.ID, nil))(t); got.HasLogo {
			t.Error("the logo is still there")
		}
		if _, _, err := w.apps.Logo(t.Context(), a.ID); !problem.Is(err, problem.NotFound) {
			t.Errorf("no logo: %v", err)
		}
	})
}
