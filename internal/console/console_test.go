package console_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/console"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/idp"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/mail"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/scim/scimtest"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/internal/web/webtest"
	"github.com/latchkey-idp/latchkey/internal/work"
)

var system = access.SystemActor("seed")

const password = keys.Secret("quiet lantern over nine rivers")

// material makes one signing pair and gives it to every application: making them takes long.
func material(commonName string, now time.Time, o keys.Options) (keys.Material, error) {
	if err := o.Check(); err != nil {
		return keys.Material{}, err
	}
	return oncePair(commonName, now, o)
}

var oncePair = func() func(string, time.Time, keys.Options) (keys.Material, error) {
	var once sync.Once
	var m keys.Material
	var err error
	return func(commonName string, now time.Time, o keys.Options) (keys.Material, error) {
		once.Do(func() { m, err = keys.GenerateMaterial(commonName, now, o) })
		return m, err
	}
}()

// site is a console over a real database, with a person for each role, two groups, and two
// applications: one with sign-on and provisioning, one bookmark.
type site struct {
	t         testing.TB
	db        *store.DB
	directory *directory.Directory
	apps      *app.Applications
	authn     *authn.Authn
	engine    *provision.Engine
	idp       *idp.IDP
	mail      *mail.Mailer
	// sent are the mails, and mailbox is what the mail server says; nil takes them.
	sent    []mail.Message
	mailbox error
	pool    *work.Pool
	target  *scimtest.Target
	handler http.Handler
	cookies map[string]string // session tokens by name
	// metadata is what the address of any metadata answers; "" is nothing.
	metadata string

	// The people, by short name: owner, admin, helpdesk, reader, nobody, bob (active, in
	// Engineering), carol (suspended), dan (staged).
	people             map[string]directory.User
	engineering, empty directory.GroupID
	atlassian, wiki    app.ID
}

func newSite(t testing.TB) *site { return newSiteWith(t, false) }

// newSiteWith is newSite with or without mail.
func newSiteWith(t testing.TB, mailing bool) *site {
	t.Helper()
	s := &site{t: t, db: storetest.SQLite(t), cookies: map[string]string{}, people: map[string]directory.User{}}
	cat, err := catalog.Builtin()
	s.must(err)
	sealer, err := keys.NewSealer(make([]byte, keys.MasterKeySize))
	s.must(err)
	log := slog.New(slog.DiscardHandler)
	s.directory = directory.New(s.db, time.Now)
	pairs := keys.NewPairs(sealer, time.Now)
	s.apps = app.New(app.Config{DB: s.db, Catalog: cat, Pairs: pairs, Sealer: sealer, PublicURL: "http://latchkey.test", Now: time.Now, Generate: material, Fetch: s.fetch})
	s.authn, err = authn.New(authn.Config{DB: s.db, Directory: s.directory, Now: time.Now, Argon2: authn.Argon2{Memory: 64, Passes: 1, Threads: 1}})
	s.must(err)
	s.pool = work.NewPool(s.db, log, time.Now)
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	s.engine = provision.New(provision.Config{
		DB: s.db, Catalog: cat, Apps: s.apps, Directory: s.directory, Pool: s.pool, HTTP: client, Version: "test", Now: time.Now, Log: log,
	})
	s.idp = idp.New(idp.Config{
		DB: s.db, Apps: s.apps, Authn: s.authn, Catalog: cat, Pairs: pairs, PublicURL: "http://latchkey.test", Now: time.Now,
		ClientAddress: func(*http.Request) string { return "192.0.2.7" },
	})
	var sender mail.Sender
	if mailing {
		sender = mailServer{s}
	}
	s.mail = mail.New(mail.Config{DB: s.db, Sealer: sealer, Pool: s.pool, Now: time.Now, Log: log, Sender: sender})
	c := console.New(console.Config{
		Inspector: s.idp, Mail: s.mail, MailWhere: "by smtp.example.com",
		Authn: s.authn, Directory: s.directory, Apps: s.apps, Engine: s.engine, Events: audit.NewLog(s.db), Catalog: cat, DB: s.db,
		PublicURL: "http://latchkey.test", Version: "1.2.3-test", Now: time.Now, MaxImport: 1 << 20,
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError})),
	})
	mux := http.NewServeMux()
	c.Routes(mux)
	s.idp.Routes(mux)
	s.handler = web.RequestIDs(web.SecurityHeaders(false)(http.NewCrossOriginProtection().Handler(mux)))
	s.seed()
	return s
}

// mailServer takes the mails of a site.
type mailServer struct{ s *site }

func (m mailServer) Send(_ context.Context, x mail.Message) error {
	if m.s.mailbox != nil {
		return m.s.mailbox
	}
	m.s.sent = append(m.s.sent, x)
	return nil
}

// fetch answers for the rest of the world.
func (s *site) fetch(context.Context, app.Request) (app.Answer, error) {
	if s.metadata == "" {
		return app.Answer{}, problem.New(problem.Unavailable, "The address doesn't answer.")
	}
	return app.Answer{Body: io.NopCloser(strings.NewReader(s.metadata))}, nil
}

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) ctx() context.Context { return s.t.Context() }

func (s *site) person(name, given, family string, state directory.State, role access.Role) directory.User {
	s.t.Helper()
	a := directory.Attributes{Email: name + "@example.com"}
	a.GivenName, a.FamilyName, a.Title, a.Department = given, family, "Engineer", "Platform"
	u, err := s.directory.CreateUser(s.ctx(), system, directory.NewUser{Attributes: a, State: directory.Active, Role: role})
	s.must(err)
	if state == directory.Active {
		s.must(s.authn.SetPassword(s.ctx(), system, u.ID, password, false))
	}
	s.people[name] = u
	return u
}

func (s *site) seed() {
	s.t.Helper()
	s.must(s.directory.SetOrganization(s.ctx(), system, directory.Organization{Name: "Vertex"}))
	s.person("owner", "Ada", "Lovelace", directory.Active, access.Owner)
	s.person("admin", "Alan", "Turing", directory.Active, access.Administrator)
	s.person("helpdesk", "Hedy", "Lamarr", directory.Active, access.HelpDesk)
	s.person("reader", "Rosalind", "Franklin", directory.Active, access.ReadOnly)
	s.person("nobody", "Niels", "Bohr", directory.Active, access.None)
	s.person("bob", "Bob", "Example", directory.Active, access.None)
	carol := s.person("carol", "Carol", "Example", directory.Suspended, access.None)
	_, err := s.directory.Suspend(s.ctx(), system, carol.ID)
	s.must(err)
	dan := directory.Attributes{Email: "dan@example.com", Profile: directory.Profile{GivenName: "Dan", FamilyName: "<b>Markup</b>"}}
	u, err := s.directory.CreateUser(s.ctx(), system, directory.NewUser{Attributes: dan})
	s.must(err)
	s.people["dan"] = u
	for _, name := range []string{"owner", "admin", "helpdesk", "reader", "nobody"} {
		_, token, err := s.authn.SignIn(s.ctx(), authn.Attempt{Login: name + "@example.com", Password: password, Origin: authn.Origin{Address: "192.0.2.7", UserAgent: "Mozilla/5.0 (X11; Linux x86_64) Chrome/156.0 Safari/537.36"}})
		s.must(err)
		s.cookies[name] = token.Reveal()
	}
	g, err := s.directory.CreateGroup(s.ctx(), system, directory.NewGroup{
		GroupAttributes: directory.GroupAttributes{Name: "Engineering", Description: "Who builds it", Attributes: map[string]any{"costCentre": "4711", "custom.floor": int64(3)}},
		Members:         []directory.UserID{s.people["bob"].ID, carol.ID},
	})
	s.must(err)
	s.engineering = g.ID
	g, err = s.directory.CreateGroup(s.ctx(), system, directory.NewGroup{GroupAttributes: directory.GroupAttributes{Name: "Empty"}})
	s.must(err)
	s.empty = g.ID
	a, err := s.apps.Create(s.ctx(), system, app.NewApplication{Connector: "atlassian-cloud", Attributes: app.Attributes{Label: "Atlassian Cloud", Description: "Jira and Confluence", PortalVisible: true}})
	s.must(err)
	s.atlassian = a.ID
	_, err = s.apps.SaveSAML(s.ctx(), system, a.ID, func(to *app.SAMLSettings) error {
		to.SPEntityID = "https://auth.atlassian.com/saml/1"
		to.ACS = []app.ACS{{URL: "https://auth.atlassian.com/login/callback?connection=saml-1", Default: true}}
		return nil
	})
	s.must(err)
	_, err = s.apps.ActivateSAML(s.ctx(), system, a.ID)
	s.must(err)
	s.must(s.apps.Bind(s.ctx(), system, a.ID, s.engineering))
	a, err = s.apps.Create(s.ctx(), system, app.NewApplication{Connector: "bookmark", Attributes: app.Attributes{Label: "Wiki", BookmarkURL: "https://wiki.example.com", PortalVisible: true}})
	s.must(err)
	s.wiki = a.ID
}

// provision connects Atlassian Cloud to a target and carries everything out.
func (s *site) provision() {
	s.t.Helper()
	s.target = scimtest.New(scimtest.Atlassian())
	base := s.target.Start(s.t)
	_, err := s.apps.SaveSCIM(s.ctx(), system, s.atlassian, func(to *app.SCIMSettings) error {
		to.BaseURL, to.ManageGroups, to.RatePerSecond, to.Burst = base, true, 10_000, 1000
		return nil
	})
	s.must(err)
	_, err = s.apps.SetSCIMToken(s.ctx(), system, s.atlassian, keys.Secret(scimtest.Token), time.Now().AddDate(0, 0, 20))
	s.must(err)
	s.must(s.engine.Activate(s.ctx(), system, s.atlassian, ""))
	s.settle()
}

// settle runs the engine until nothing is left to do.
func (s *site) settle() {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.ctx())
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.pool.Run(ctx) })
	wg.Go(func() { _ = s.engine.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	for range 1000 {
		left := 0
		s.must(s.db.View(s.ctx(), func(tx *store.Tx) (err error) {
			left, err = store.One(tx, store.Scalar[int], `SELECT (SELECT count(*) FROM outbox) +
				(SELECT count(*) FROM lanes WHERE wanted > synced AND NOT parked AND kind NOT LIKE 'periodic%')`)
			return err
		}))
		if left == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Fatal("provisioning doesn't come to rest")
}

// answer is what the console answered.
type answer struct {
	*httptest.ResponseRecorder
	t testing.TB
}

func (a answer) text() string { return a.Body.String() }

// has fails unless all texts are in the page.
func (a answer) has(texts ...string) answer {
	a.t.Helper()
	for _, s := range texts {
		if !strings.Contains(a.text(), s) {
			a.t.Errorf("%d: %q isn't in the answer:\n%s", a.Code, s, readable(a.text()))
		}
	}
	return a
}

func (a answer) hasNot(texts ...string) answer {
	a.t.Helper()
	for _, s := range texts {
		if strings.Contains(a.text(), s) {
			a.t.Errorf("%q is in the answer", s)
		}
	}
	return a
}

// readable is the main part of a page, short enough for a failure's text.
func readable(page string) string {
	if i := strings.Index(page, "<main"); i >= 0 {
		page = page[i:]
	}
	return page[:min(len(page), 3000)]
}

func (a answer) status(want int) answer {
	a.t.Helper()
	if a.Code != want {
		a.t.Errorf("status %d, want %d; location %q\n%s", a.Code, want, a.Header().Get("Location"), readable(a.text()))
	}
	return a
}

// goes fails unless the answer leads to path.
func (a answer) goes(path string) answer {
	a.t.Helper()
	a.status(http.StatusSeeOther)
	if got := a.Header().Get("Location"); got != path {
		a.t.Errorf("leads to %q, want %q", got, path)
	}
	return a
}

// page fails unless the answer is a page that is in order.
func (a answer) page() answer {
	a.t.Helper()
	a.status(http.StatusOK)
	webtest.Check(a.t, a.Body.Bytes())
	return a
}

func (s *site) do(as string, r *http.Request) answer {
	s.t.Helper()
	if token := s.cookies[as]; token != "" {
		r.AddCookie(&http.Cookie{Name: web.SessionCookie{}.Name(), Value: token})
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return answer{w, s.t}
}

func (s *site) get(as, path string) answer {
	s.t.Helper()
	return s.do(as, httptest.NewRequestWithContext(s.ctx(), http.MethodGet, path, nil))
}

// part gets what htmx would get.
func (s *site) part(as, path string) answer {
	s.t.Helper()
	r := httptest.NewRequestWithContext(s.ctx(), http.MethodGet, path, nil)
	r.Header.Set("HX-Request", "true")
	return s.do(as, r)
}

func (s *site) post(as, path string, pairs ...string) answer {
	s.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	r := httptest.NewRequestWithContext(s.ctx(), http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return s.do(as, r)
}

// upload posts a form with a file.
func (s *site) upload(as, path, field, name, content string, pairs ...string) answer {
	s.t.Helper()
	var body bytes.Buffer
	m := multipart.NewWriter(&body)
	for i := 0; i+1 < len(pairs); i += 2 {
		s.must(m.WriteField(pairs[i], pairs[i+1]))
	}
	if name != "" {
		f, err := m.CreateFormFile(field, name)
		s.must(err)
		_, err = io.WriteString(f, content)
		s.must(err)
	}
	s.must(m.Close())
	r := httptest.NewRequestWithContext(s.ctx(), http.MethodPost, path, &body)
	r.Header.Set("Content-Type", m.FormDataContentType())
	return s.do(as, r)
}

func (s *site) user(name string) directory.User {
	s.t.Helper()
	u, err := s.directory.User(s.ctx(), system, s.people[name].ID)
	s.must(err)
	return u
}

func (s *site) userPath(name string, rest ...string) string {
	return strings.Join(append([]string{"/console/users/" + string(s.people[name].ID)}, rest...), "/")
}

func (s *site) groupPath(id directory.GroupID, rest ...string) string {
	return strings.Join(append([]string{"/console/groups/" + string(id)}, rest...), "/")
}

func TestSignedOut(t *testing.T) {
	s := newSite(t)
	s.get("", "/console/users?q=bob").goes("/signin?return=%2Fconsole%2Fusers%3Fq%3Dbob")
	s.post("", "/console/users/new", "email", "x@example.com").status(http.StatusUnauthorized).has("Please sign in", `href="/signin`)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/console/pick/users", nil)
	r.Header.Set("HX-Request", "true")
	r.Header.Set("HX-Current-URL", "http://latchkey.test/console/groups/1")
	a := s.do("", r)
	if got := a.Header().Get("HX-Redirect"); got != "/signin?return=%2Fconsole%2Fgroups%2F1" {
		t.Errorf("htmx is sent to %q", got)
	}
	s.get("nobody", "/console").status(http.StatusForbidden).has("These pages are for administrators")
	s.get("owner", "/console/nothing/here").status(http.StatusNotFound)
	s.get("owner", "/console/users/"+store.NewID()).status(http.StatusNotFound)
}

func TestForeignFormsAreRefused(t *testing.T) {
	s := newSite(t)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, s.userPath("bob", "suspend"), nil)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	s.do("owner", r).status(http.StatusForbidden)
	if s.user("bob").State != directory.Active {
		t.Error("another site's form suspended somebody")
	}
}
