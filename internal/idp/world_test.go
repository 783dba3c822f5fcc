package idp_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
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
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/idp"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
	"github.com/latchkey-idp/latchkey/internal/web"
)

const (
	publicURL = "https://id.example.org"
	spEntity  = "https://auth.atlassian.com/saml/5b9f6a52"
	acsURL    = "https://auth.atlassian.com/login/callback?connection=saml-5b9f6a52"
	password  = keys.Secret("velvet-hammer-drums")
)

var admin = access.Actor{Kind: access.Person, ID: "admin", Name: "ada@example.org", Role: access.Administrator}

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

// clock is the time of a test.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// house is one replica of an installation with one Atlassian application, "Jira", bound to the group "Everybody".
type house struct {
	t     testing.TB
	clock *clock
	db    *store.DB
	dir   *directory.Directory
	authn *authn.Authn
	apps  *app.Applications
	log   *audit.Log
	idp   *idp.IDP
	web   http.Handler
	// cookie is the name of the session's.
	cookie string

	jira     app.Application
	everyone directory.GroupID
	sp       *samltest.SP
}

// replica joins the packages over a database.
func replica(t testing.TB, db *store.DB, c *clock, limits idp.Limits) *house {
	t.Helper()
	return replicaAt(t, db, c, limits, publicURL)
}

// replicaAt is replica for a house that people reach at another address.
func replicaAt(t testing.TB, db *store.DB, c *clock, limits idp.Limits, publicURL string) *house {
	t.Helper()
	h := &house{t: t, clock: c, db: db, sp: samltest.NewSP(spEntity, acsURL)}
	sealer, err := keys.NewSealer([]byte("0123456789abcdef0123456789ABCDEF"))
	if err != nil {
		t.Fatal(err)
	}
	cat, err := connectors()
	if err != nil {
		t.Fatal(err)
	}
	pairs := keys.NewPairs(sealer, c.now)
	h.dir, h.log = directory.New(db, c.now), audit.NewLog(db)
	h.apps = app.New(app.Config{DB: db, Catalog: cat, Pairs: pairs, Sealer: sealer, PublicURL: publicURL, Now: c.now, Generate: generate})
	h.authn, err = authn.New(authn.Config{DB: db, Directory: h.dir, Now: c.now, Argon2: authn.Argon2{Memory: 64, Passes: 1, Threads: 1}})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	h.idp = idp.New(idp.Config{
		DB: db, Apps: h.apps, Authn: h.authn, Catalog: cat, Pairs: pairs, PublicURL: publicURL, Now: c.now,
		ClientAddress: func(*http.Request) string { return "192.0.2.7" }, Limits: limits,
	})
	h.idp.Routes(mux)
	h.cookie = web.SessionCookie{Secure: strings.HasPrefix(publicURL, "https:")}.Name()
	h.web = web.RequestIDs(web.SecurityHeaders(h.cookie[0] == '_')(mux))
	return h
}

func newClock() *clock { return &clock{t: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)} }

// furnish creates what a house has.
func (h *house) furnish() *house {
	h.t.Helper()
	ctx := h.t.Context()
	var err error
	h.jira, err = h.apps.Create(ctx, admin, app.NewApplication{Connector: "atlassian-cloud", Attributes: app.Attributes{Label: "Jira", PortalVisible: true}})
	h.ok(err)
	g, err := h.dir.CreateGroup(ctx, admin, directory.NewGroup{GroupAttributes: directory.GroupAttributes{Name: "Everybody"}})
	h.ok(err)
	h.everyone = g.ID
	h.settings(func(s *app.SAMLSettings) {
		s.SPEntityID, s.ACS, s.DefaultRelayState = spEntity, []app.ACS{{URL: acsURL}}, "https://example.atlassian.net"
	})
	h.jira, err = h.apps.ActivateSAML(ctx, admin, h.jira.ID)
	h.ok(err)
	h.ok(h.apps.Bind(ctx, admin, h.jira.ID, h.everyone))
	return h
}

func newHouse(t testing.TB, db *store.DB) *house {
	t.Helper()
	return replica(t, db, newClock(), idp.Limits{StrangerEvents: 1000}).furnish()
}

func each(t *testing.T, fn func(t *testing.T, h *house)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, db *store.DB) { fn(t, newHouse(t, db)) })
}

func (h *house) ok(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) settings(change func(*app.SAMLSettings)) {
	h.t.Helper()
	var err error
	h.jira, err = h.apps.SaveSAML(h.t.Context(), admin, h.jira.ID, func(s *app.SAMLSettings) error { change(s); return nil })
	h.ok(err)
}

func (h *house) person(name string, groups ...directory.GroupID) directory.User {
	h.t.Helper()
	u, err := h.dir.CreateUser(h.t.Context(), admin, directory.NewUser{
		Attributes: directory.Attributes{
			Username: name, Email: name + "@example.org",
			Profile: directory.Profile{GivenName: strings.ToUpper(name[:1]) + name[1:], FamilyName: "Example"},
		},
		State: directory.Active, Groups: groups,
	})
	h.ok(err)
	h.ok(h.authn.SetPassword(h.t.Context(), access.SystemActor(""), u.ID, password, false))
	return u
}

// certificate returns Jira's current certificate.
func (h *house) certificate() *x509.Certificate {
	h.t.Helper()
	pairs, err := h.apps.Certificates(h.t.Context(), admin, h.jira.ID)
	h.ok(err)
	return pairs[0].Certificate
}

// request returns a request of the service provider as XML.
func (h *house) request(change ...func(*samltest.Request)) (id, xml string) {
	r := h.sp.Request(publicURL+"/saml2/"+h.jira.Slug, h.clock.now())
	for _, f := range change {
		f(&r)
	}
	return r.ID, r.XML()
}

func (h *house) ssoPath() string { return "/saml2/" + h.jira.Slug }

// browser is somebody's browser.
type browser struct {
	header http.Header
	h      *house
	web    http.Handler
	cookie string
}

func (h *house) browser() *browser { return &browser{h: h, web: h.web} }

// signIn is what the sign-in page does.
func (b *browser) signIn(u directory.User) *browser {
	b.h.t.Helper()
	_, token, err := b.h.authn.SignIn(b.h.t.Context(), authn.Attempt{Login: u.Email, Password: password, Replace: b.cookie, Origin: authn.Origin{Address: "192.0.2.7"}})
	b.h.ok(err)
	b.cookie = token.Reveal()
	return b
}

func (b *browser) do(method, target, contentType, body string) *httptest.ResponseRecorder {
	var rd io.Reader
	if body != "" {
		rd = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, target, rd)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	maps.Copy(r.Header, b.header)
	// A browser doesn't send the cookie with a post from another site.
	if b.cookie != "" && method != http.MethodPost {
		r.AddCookie(&http.Cookie{Name: b.h.cookie, Value: b.cookie})
	}
	w := httptest.NewRecorder()
	b.web.ServeHTTP(w, r)
	return w
}

// with returns the browser sending one header more.
func (b *browser) with(name, value string) *browser {
	other := *b
	other.header = http.Header{}
	maps.Copy(other.header, b.header)
	other.header.Set(name, value)
	return &other
}

func (b *browser) get(target string) *httptest.ResponseRecorder {
	return b.do(http.MethodGet, target, "", "")
}

func (b *browser) post(target, body string) *httptest.ResponseRecorder {
	return b.do(http.MethodPost, target, "application/x-www-form-urlencoded", body)
}

// redirected returns where an answer leads.
func redirected(t testing.TB, w *httptest.ResponseRecorder) string {
	t.Helper()
	to := w.Header().Get("Location")
	if w.Code != http.StatusSeeOther || to == "" {
		t.Fatalf("no redirect: %d %s", w.Code, text(w.Body.String()))
	}
	return to
}

// flowOf returns the flow's token in a redirect to the sign-in page.
func flowOf(t testing.TB, w *httptest.ResponseRecorder) string {
	t.Helper()
	to := redirected(t, w)
	token, ok := strings.CutPrefix(to, "/signin?flow=")
	if !ok {
		t.Fatalf("not to the sign-in page, but to %s", to)
	}
	token, err := url.QueryUnescape(token)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// received is what the service provider got.
type received struct {
	samltest.Received
	relayState string
	xml        []byte
}

// receive reads an answer's form as browser and service provider do.
func (h *house) receive(w *httptest.ResponseRecorder, inResponseTo string) received {
	h.t.Helper()
	got, err := h.tryReceive(w, inResponseTo)
	if err != nil {
		h.t.Fatal(err)
	}
	return got
}

func (h *house) tryReceive(w *httptest.ResponseRecorder, inResponseTo string) (received, error) {
	var out received
	if w.Code != http.StatusOK {
		return out, fmt.Errorf("no form, but %d: %s", w.Code, text(w.Body.String()))
	}
	action, fields, err := samltest.AutoForm(bytes.NewReader(w.Body.Bytes()))
	if err != nil {
		return out, err
	}
	if action != h.sp.ACS {
		return out, fmt.Errorf("the form goes to %s", action)
	}
	if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "script-src 'self'") || strings.Contains(csp, "unsafe") {
		return out, fmt.Errorf("Content-Security-Policy %q", csp)
	}
	if c := w.Header().Get("Cache-Control"); c != "no-store" {
		return out, fmt.Errorf("Cache-Control %q", c)
	}
	for name := range fields {
		if name != "SAMLResponse" && name != "RelayState" || len(fields[name]) != 1 {
			return out, fmt.Errorf("field %s: %q", name, fields[name])
		}
	}
	out.relayState = fields.Get("RelayState")
	if out.xml, err = base64.StdEncoding.DecodeString(fields.Get("SAMLResponse")); err != nil {
		return out, err
	}
	out.Received, err = h.sp.Receive(fields.Get("SAMLResponse"), h.jira.SAML.IDPEntityID, h.certificate(), inResponseTo, h.clock.now())
	return out, err
}

// text is a page without its markup.
func text(page string) string {
	var b strings.Builder
	depth := 0
	for _, r := range page {
		switch r {
		case '<':
			depth++
		case '>':
			depth--
			b.WriteByte(' ')
		default:
			if depth == 0 {
				b.WriteRune(r)
			}
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// lastEvent returns the newest sign-on event, or the zero event.
func (h *house) lastEvent() audit.Event {
	h.t.Helper()
	page, err := h.log.Search(h.t.Context(), admin, audit.Query{Types: []audit.Type{audit.SSOAuth}, Limit: 1})
	h.ok(err)
	if len(page.Items) == 0 {
		return audit.Event{}
	}
	return page.Items[0]
}

func (h *house) count(query string) int {
	h.t.Helper()
	var n int
	h.ok(h.db.View(h.t.Context(), func(tx *store.Tx) (err error) {
		n, err = store.One(tx, store.Scalar[int], query)
		return err
	}))
	return n
}

func (h *house) successes() int {
	return h.count(`SELECT count(*) FROM events WHERE type = 'sso_auth' AND outcome = 'success'`)
}
