package portal_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/portal"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/internal/web/webtest"
)

const (
	goodPassword  = "velvet-hammer-drums"
	otherPassword = "paper-lantern-orbit"
)

var (
	system     = access.SystemActor("")
	connectors = sync.OnceValues(catalog.Builtin)
	oneKey     = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })
)

// site is a portal that a browser can visit.
type site struct {
	t     testing.TB
	db    *store.DB
	dir   *directory.Directory
	authn *authn.Authn
	apps  *app.Applications
	srv   *httptest.Server
	// beyond stands for single logout; nil does nothing.
	beyond func(r *http.Request, token string) (string, error)
	mu     sync.Mutex
	ahead  time.Duration
}

func (s *site) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC).Add(s.ahead)
}

func (s *site) pass(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead += d
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{t: t, db: storetest.SQLite(t)}
	s.dir = directory.New(s.db, s.now)
	var err error
	s.authn, err = authn.New(authn.Config{
		DB: s.db, Directory: s.dir, Now: s.now, Argon2: authn.Argon2{Memory: 64, Passes: 1, Threads: 1}, Throttle: authn.Limits{Account: 3},
	})
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := keys.NewSealer([]byte("0123456789abcdef0123456789ABCDEF"))
	if err != nil {
		t.Fatal(err)
	}
	cat, err := connectors()
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	protection := http.NewCrossOriginProtection()
	s.srv = httptest.NewServer(web.RequestIDs(web.SecurityHeaders(false)(protection.Handler(mux))))
	t.Cleanup(s.srv.Close)
	s.apps = app.New(app.Config{
		DB: s.db, Catalog: cat, Pairs: keys.NewPairs(sealer, s.now), Sealer: sealer, PublicURL: s.srv.URL, Now: s.now,
		Generate: func(name string, now time.Time, o keys.Options) (keys.Material, error) {
			key, err := oneKey()
			if err != nil {
				return keys.Material{}, err
			}
			return keys.SelfSign(key, name, now, o)
		},
	})
	portal.New(portal.Config{
		DB: s.db, Authn: s.authn, Apps: s.apps, Directory: s.dir, PublicURL: s.srv.URL, Now: s.now,
		ClientAddress: func(r *http.Request) string {
			host, _, _ := net.SplitHostPort(r.RemoteAddr)
			return host
		},
		SignOut: func(r *http.Request, token string) (string, error) {
			if s.beyond == nil {
				return "", nil
			}
			return s.beyond(r, token)
		},
	}).Routes(mux)
	mux.Handle("GET /static/", web.Static())
	// What the sign-in returns to: stands for the single sign-on service.
	mux.HandleFunc("GET /resume", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "<p>resumed "+r.URL.Query().Get("flow")+"</p>")
	})
	return s
}

func (s *site) person(name string, change ...func(*directory.NewUser)) directory.User {
	s.t.Helper()
	n := directory.NewUser{State: directory.Active, Attributes: directory.Attributes{
		Username: name, Email: name + "@corp.example",
		Profile: directory.Profile{GivenName: strings.ToUpper(name[:1]) + name[1:], FamilyName: "Example", Title: "Engineer", Department: "Platform"},
	}}
	for _, f := range change {
		f(&n)
	}
	u, err := s.dir.CreateUser(context.Background(), system, n)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.authn.SetPassword(context.Background(), system, u.ID, goodPassword, false); err != nil {
		s.t.Fatal(err)
	}
	return u
}

// owner makes the installation count as set up.
func (s *site) owner() directory.User {
	s.t.Helper()
	u, err := s.authn.CreateOwner(context.Background(), authn.Owner{Email: "olga@corp.example", GivenName: "Olga", FamilyName: "Owner", Password: goodPassword, Organization: "Corp & Sons"})
	if err != nil {
		s.t.Fatal(err)
	}
	return u
}

func (s *site) flow(data map[string]any) string {
	s.t.Helper()
	var token string
	err := s.db.Update(context.Background(), func(tx *store.Tx) (err error) {
		token, err = authn.StartFlow(tx, s.now(), "saml", data, 10*time.Minute)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return token
}

// browser keeps cookies, follows redirects and fills forms without running any script.
type browser struct {
	*site
	client *http.Client
	page   page
}

type page struct {
	status int
	path   string
	header http.Header
	body   string
	root   *html.Node
}

func (s *site) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return &browser{site: s, client: &http.Client{Jar: jar, Transport: s.srv.Client().Transport}}
}

func (b *browser) do(req *http.Request) *browser {
	b.t.Helper()
	res, err := b.client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	root, err := html.Parse(strings.NewReader(string(body)))
	if err != nil {
		b.t.Fatal(err)
	}
	b.page = page{status: res.StatusCode, path: res.Request.URL.RequestURI(), header: res.Header, body: string(body), root: root}
	if strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") && strings.Contains(b.page.body, "<html") {
		webtest.Check(b.t, body)
	}
	return b
}

func (b *browser) get(path string) *browser {
	b.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, b.srv.URL+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.do(req)
}

func (b *browser) post(path string, values url.Values) *browser {
	b.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, b.srv.URL+path, strings.NewReader(values.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	return b.do(req)
}

// submit fills the form of the page that posts to action, and sends it as a browser would.
func (b *browser) submit(action string, fill map[string]string) *browser {
	b.t.Helper()
	var form *html.Node
	for n := range b.page.root.Descendants() {
		if n.Data == "form" && attr(n, "action") == action {
			form = n
			break
		}
	}
	if form == nil {
		b.t.Fatalf("%s has no form that posts to %s:\n%s", b.page.path, action, b.page.body)
	}
	values := url.Values{}
	for n := range form.Descendants() {
		if n.Data == "input" && attr(n, "name") != "" {
			values.Set(attr(n, "name"), attr(n, "value"))
		}
	}
	for name, v := range fill {
		if _, ok := values[name]; !ok {
			b.t.Fatalf("the form %s has no field %s", action, name)
		}
		values.Set(name, v)
	}
	return b.post(action, values)
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// field returns the attributes of the page's input of this name.
func (b *browser) field(name string) map[string]string {
	for n := range b.page.root.Descendants() {
		if n.Data == "input" && attr(n, "name") == name {
			out := map[string]string{}
			for _, a := range n.Attr {
				out[a.Key] = a.Val
			}
			return out
		}
	}
	return nil
}

func (b *browser) signIn(login, password string) *browser {
	b.t.Helper()
	return b.get("/signin").submit("/signin", map[string]string{"login": login}).submit("/signin", map[string]string{"password": password})
}

// want checks where the browser is and what it shows.
func (b *browser) want(status int, path string, shows ...string) *browser {
	b.t.Helper()
	if b.page.status != status || b.page.path != path {
		b.t.Errorf("at %s with %d, want %s with %d", b.page.path, b.page.status, path, status)
	}
	for _, s := range shows {
		if !strings.Contains(b.page.body, html.EscapeString(s)) && !strings.Contains(b.page.body, s) {
			b.t.Errorf("%s doesn't show %q:\n%s", b.page.path, s, b.page.body)
		}
	}
	return b
}

func TestSignInInTwoSteps(t *testing.T) {
	s := newSite(t)
	s.owner()
	s.person("anna")
	b := s.browser()
	b.get("/").want(http.StatusOK, "/signin", "Sign in", "Corp & Sons")
	if f := b.field("login"); f["autocomplete"] != "username" || f["type"] != "text" {
		t.Errorf("first step: %v", f)
	}
	if b.field("password") != nil {
		t.Error("the first step asks for a password")
	}
	b.submit("/signin", map[string]string{"login": " anna@corp.example "}).want(http.StatusOK, "/signin")
	if f := b.field("login"); f["autocomplete"] != "username" || f["value"] != "anna@corp.example" {
		t.Errorf("second step: %v", f)
	}
	if f := b.field("password"); f["autocomplete"] != "current-password" || f["type"] != "password" || f["value"] != "" {
		t.Errorf("second step: %v", f)
	}
	b.submit("/signin", map[string]string{"password": "wrong"}).want(http.StatusUnauthorized, "/signin", "Check the e-mail address or user name and the password")
	if strings.Contains(b.page.body, `value="wrong"`) {
		t.Error("the page repeats the password")
	}
	b.submit("/signin", map[string]string{"password": goodPassword}).want(http.StatusOK, "/", "Applications", "Anna Example", "No applications for you yet")
	b.get("/signin").want(http.StatusOK, "/")
	if c := b.page.header.Get("Cache-Control"); c != "no-store" {
		t.Errorf("Cache-Control %q", c)
	}
}

func TestUnknownNameLooksLikeAKnownOne(t *testing.T) {
	s := newSite(t)
	s.owner()
	s.person("anna")
	page := func(login string) string {
		b := s.browser()
		first := b.get("/signin").submit("/signin", map[string]string{"login": login}).page
		second := b.submit("/signin", map[string]string{"password": "wrong"}).page
		if first.status != http.StatusOK || second.status != http.StatusUnauthorized {
			t.Errorf("%s: %d, %d", login, first.status, second.status)
		}
		return strings.ReplaceAll(first.body+second.body, login, "LOGIN")
	}
	if known, unknown := page("anna@corp.example"), page("nobody@corp.example"); known != unknown {
		t.Errorf("known:\n%s\nunknown:\n%s", known, unknown)
	}
}

func TestSignInGoesOnWhereThePersonWasGoing(t *testing.T) {
	s := newSite(t)
	s.owner()
	s.person("anna")
	t.Run("a page of ours", func(t *testing.T) {
		b := s.browser()
		b.get("/security").want(http.StatusOK, "/signin?return=%2Fsecurity")
		b.submit("/signin", map[string]string{"login": "anna"}).submit("/signin", map[string]string{"password": "wrong"})
		b.submit("/signin", map[string]string{"password": goodPassword}).want(http.StatusOK, "/security", "Where you are signed in")
	})
	t.Run("an application", func(t *testing.T) {
		token := s.flow(map[string]any{"returnTo": "/resume", "application": "Jira <Cloud>"})
		b := s.browser()
		b.get("/signin?flow="+token).want(http.StatusOK, "/signin?flow="+token, "to continue to Jira <Cloud>")
		b.submit("/signin", map[string]string{"login": "anna"}).want(http.StatusOK, "/signin", "to continue to Jira")
		b.submit("/signin", map[string]string{"password": goodPassword}).want(http.StatusOK, "/resume?flow="+token, "resumed "+token)
	})
	t.Run("an application, signed in since in another tab", func(t *testing.T) {
		token := s.flow(map[string]any{"returnTo": "/resume", "application": "Jira"})
		s.pass(time.Second)
		b := s.browser().signIn("anna", goodPassword)
		b.get("/signin?flow="+token).want(http.StatusOK, "/resume?flow="+token)
	})
	t.Run("an application that wants the password again", func(t *testing.T) {
		b := s.browser().signIn("anna", goodPassword)
		s.pass(time.Minute)
		token := s.flow(map[string]any{"returnTo": "/resume", "application": "Jira"})
		b.get("/signin?flow="+token).want(http.StatusOK, "/signin?flow="+token, "Confirm it's you", "to continue to Jira")
		if f := b.field("login"); f["value"] != "anna@corp.example" {
			t.Errorf("the person has to say again who they are: %v", f)
		}
		b.submit("/signin", map[string]string{"password": goodPassword}).want(http.StatusOK, "/resume?flow="+token)
	})
	t.Run("an application that says who it expects", func(t *testing.T) {
		token := s.flow(map[string]any{"returnTo": "/resume", "application": "Jira", "login": "anna@corp.example"})
		b := s.browser().get("/signin?flow=" + token)
		if f := b.field("login"); f["value"] != "anna@corp.example" || b.field("password") == nil {
			t.Errorf("%v", f)
		}
		b.get("/signin?flow=" + token + "&other=1")
		if f := b.field("login"); f["value"] != "" || b.field("password") != nil {
			t.Errorf("another account: %v", f)
		}
	})
}

func TestSignInLeavesThisSiteForNobody(t *testing.T) {
	s := newSite(t)
	s.owner()
	s.person("anna")
	for _, bad := range []string{
		"https://evil.example/", "//evil.example", `/\evil.example`, "/\t/evil.example", "javascript:alert(1)", "http:evil", "evil", "%2F%2Fevil.example", "/%0d%0aSet-Cookie:x=y",
	} {
		for name, path := range map[string]string{
			"return": "/signin?return=" + url.QueryEscape(bad),
			"flow":   "/signin?flow=" + s.flow(map[string]any{"returnTo": bad}),
		} {
			b := s.browser()
			b.get(path).submit("/signin", map[string]string{"login": "anna"})
			var went []string
			b.client.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
				went = append(went, r.URL.String())
				return http.ErrUseLastResponse
			}
			b.submit("/signin", map[string]string{"password": goodPassword})
			if len(went) != 1 || !strings.HasPrefix(went[0], s.srv.URL+"/") || b.page.header.Get("Set-Cookie") == "x=y" {
				t.Errorf("%s %q leads to %q", name, bad, went)
			}
		}
	}
}

func TestStaleFlow(t *testing.T) {
	s := newSite(t)
	s.owner()
	s.person("anna")
	token := s.flow(map[string]any{"returnTo": "/resume", "application": "Jira"})
	b := s.browser()
	b.get("/signin?flow="+token).submit("/signin", map[string]string{"login": "anna"})
	s.pass(11 * time.Minute)
	b.get("/signin?flow="+token).want(http.StatusNotFound, "/signin?flow="+token, "This sign-in has expired", "Sign in to your applications")
	b.get("/signin?flow=nonsense").want(http.StatusNotFound, "/signin?flow=nonsense", "This sign-in has expired")

	// Whoever typed the password for too long is signed in all the same.
	fresh := s.flow(map[string]any{"returnTo": "/resume", "application": "Jira"})
	b.get("/signin?flow="+fresh).submit("/signin", map[string]string{"login": "anna"})
	s.pass(11 * time.Minute)
	b.submit("/signin", map[string]string{"password": goodPassword}).want(http.StatusOK, "/", "The application waited too long")
	b.get("/signin?flow="+fresh).want(http.StatusNotFound, "/signin?flow="+fresh, "Go to your applications")
}

func TestTooManyTries(t *testing.T) {
	s := newSite(t)
	s.owner()
	s.person("anna")
	b := s.browser()
	b.get("/signin").submit("/signin", map[string]string{"login": "anna"})
	for range 3 {
		b.submit("/signin", map[string]string{"password": "wrong"}).want(http.StatusUnauthorized, "/signin")
	}
	b.submit("/signin", map[string]string{"password": goodPassword}).want(http.StatusTooManyRequests, "/signin", "Please wait a little", "Wait 5 seconds", "Try again")
	if got := b.page.header.Get("Retry-After"); got != "5" {
		t.Errorf("Retry-After %q", got)
	}
	s.pass(6 * time.Second)
	b.signIn("anna", goodPassword).want(http.StatusOK, "/")
}

func TestSessionCookieAndFixation(t *testing.T) {
	s := newSite(t)
	s.owner()
	s.person("anna")
	b := s.browser()
	here, err := url.Parse(s.srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	planted := strings.Repeat("A", 43)
	b.client.Jar.SetCookies(here, []*http.Cookie{{Name: "latchkey_session", Value: planted, Path: "/"}})
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	b.signIn("anna", goodPassword)
	cookies := map[string]string{}
	for _, c := range b.page.header.Values("Set-Cookie") {
		name, rest, _ := strings.Cut(c, "=")
		cookies[name] = rest
	}
	session := cookies["latchkey_session"]
	if strings.Contains(session, planted) || !strings.HasSuffix(session, "; Path=/; HttpOnly; SameSite=Lax") {
		t.Errorf("session cookie %q", session)
	}
	if device := cookies["latchkey_device"]; !strings.Contains(device, "Max-Age=31536000") {
		t.Errorf("device cookie %q", device)
	}
	b.get("/signout").submit("/signout", nil)
	b.signIn("anna", goodPassword)
	for _, c := range b.page.header.Values("Set-Cookie") {
		if strings.HasPrefix(c, "latchkey_device") {
			t.Error("a known browser gets another token")
		}
	}
}

func TestCookiesOnHTTPS(t *testing.T) {
	s := newSite(t)
	s.owner()
	s.person("anna")
	mux := http.NewServeMux()
	portal.New(portal.Config{
		DB: s.db, Authn: s.authn, Apps: s.apps, Directory: s.dir, PublicURL: "https://id.corp.example", Now: s.now,
		ClientAddress: func(*http.Request) string { return "192.0.2.1" },
	}).Routes(mux)
	form := url.Values{"login": {"anna"}, "password": {goodPassword}}.Encode()
	r := httptest.NewRequest(http.MethodPost, "/signin", strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	if w.Code != http.StatusSeeOther {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	for _, c := range w.Result().Cookies() {
		if strings.Contains(c.Name, "latchkey") && (!strings.HasPrefix(c.Name, "__Host-latchkey_") || !c.Secure || !c.HttpOnly) {
			t.Errorf("cookie %v", c)
		}
	}
	if len(w.Result().Cookies()) != 2 {
		t.Errorf("cookies: %v", w.Result().Cookies())
	}
}

func TestSignOut(t *testing.T) {
	s := newSite(t)
	s.owner()
	s.person("anna")
	b := s.browser().signIn("anna", goodPassword)
	b.get("/signout").want(http.StatusOK, "/signout", "You are signed in as Anna Example")
	b.get("/").want(http.StatusOK, "/") // a mere link signs nobody out
	b.get("/signout").submit("/signout", nil).want(http.StatusOK, "/signed-out", "You are signed out", "Sign in again")
	b.get("/security").want(http.StatusOK, "/signin?return=%2Fsecurity")
	b.get("/signout").want(http.StatusOK, "/signed-out")
	b.post("/signout", nil).want(http.StatusOK, "/signed-out")
}

// Where applications can be told, sign-out goes on there; the browser forgets the session either way.
func TestSignOutGoesBeyond(t *testing.T) {
	s := newSite(t)
	s.owner()
	s.person("anna")
	b := s.browser().signIn("anna", goodPassword)
	var ended []string
	s.beyond = func(r *http.Request, token string) (string, error) {
		session, err := s.authn.Session(r.Context(), token)
		if err != nil {
			return "", err
		}
		ended = append(ended, session.User.Username)
		return "/signed-out?beyond=1", s.authn.SignOut(r.Context(), token)
	}
	b.post("/signout", nil).want(http.StatusOK, "/signed-out?beyond=1")
	b.get("/security").want(http.StatusOK, "/signin?return=%2Fsecurity")
	if len(ended) != 1 || ended[0] != "anna" {
		t.Errorf("ended for %v", ended)
	}
	// What can't be told at once keeps nobody signed in by a mistaken success.
	b = s.browser().signIn("anna", goodPassword)
	s.beyond = func(*http.Request, string) (string, error) {
		return "", problem.New(problem.Unavailable, "The database can't be reached.")
	}
	if b.post("/signout", nil); b.page.status != http.StatusServiceUnavailable {
		t.Errorf("status %d", b.page.status)
	}
	b.get("/").want(http.StatusOK, "/", "Anna Example")
}

// An application that asks for somebody else leads to the sign-in page of that person, also with a session.
func TestSignInAsTheOneWhoIsAskedFor(t *testing.T) {
	s := newSite(t)
	s.owner()
	s.person("anna")
	s.person("ben")
	b := s.browser().signIn("anna", goodPassword)
	s.pass(time.Minute)
	flow := s.flow(map[string]any{"returnTo": "/resume", "application": "Jira", "login": "ben@corp.example"})
	b.get("/signin?flow="+flow+"&switch=1").want(http.StatusOK, "/signin?flow="+flow+"&switch=1", "Sign in", "to continue to Jira", "Use another account")
	if f := b.field("login"); f["value"] != "ben@corp.example" || b.field("password") == nil {
		t.Errorf("%v", f)
	}
	b.get("/signin?flow="+flow+"&other=1").want(http.StatusOK, "/signin?flow="+flow+"&other=1", "Next")
	if f := b.field("login"); f["value"] != "" {
		t.Errorf("%v", f)
	}
	b.get("/signin?flow="+flow).want(http.StatusOK, "/signin?flow="+flow, "Confirm it's you")
}

func TestOtherSitesCannotPost(t *testing.T) {
	s := newSite(t)
	s.owner()
	s.person("anna")
	b := s.browser().signIn("anna", goodPassword)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.srv.URL+"/signout", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	if b.do(req); b.page.status != http.StatusForbidden {
		t.Errorf("status %d", b.page.status)
	}
	b.get("/").want(http.StatusOK, "/", "Anna Example")
}

func TestSetup(t *testing.T) {
	s := newSite(t)
	link, err := s.authn.NewSetupLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := s.browser()
	b.get("/").want(http.StatusOK, "/signin", "Not set up yet", "latchkey setup")
	b.get("/setup").want(http.StatusOK, "/setup", "Not set up yet")
	b.get("/setup?token=nonsense").want(http.StatusOK, "/setup?token=nonsense", "Not set up yet")
	b.get("/activate?token="+link.Reveal()).want(http.StatusOK, "/setup?token="+link.Reveal(), "Welcome to Latchkey")

	fill := map[string]string{"organization": "Corp & Sons", "givenName": "Olga", "familyName": "Owner", "email": "olga@corp.example", "password": goodPassword, "repeat": goodPassword}
	with := func(name, value string) map[string]string {
		m := map[string]string{}
		maps.Copy(m, fill)
		m[name] = value
		return m
	}
	b.submit("/setup", with("organization", " ")).want(http.StatusUnprocessableEntity, "/setup", "Enter your organization's name.")
	b.submit("/setup", with("repeat", otherPassword)).want(http.StatusUnprocessableEntity, "/setup", "The two passwords differ")
	b.submit("/setup", map[string]string{"password": "password1234", "repeat": "password1234"}).want(http.StatusUnprocessableEntity, "/setup", "guessers try first")
	if f := b.field("email"); f["value"] != "olga@corp.example" {
		t.Errorf("what was typed is lost: %v", f)
	}
	if strings.Contains(b.page.body, "password1234") {
		t.Error("the page repeats the password")
	}
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	b.submit("/setup", fill)
	if b.page.status != http.StatusSeeOther || b.page.header.Get("Location") != "/console" {
		t.Errorf("%d to %q", b.page.status, b.page.header.Get("Location"))
	}
	b.client.CheckRedirect = nil
	b.get("/").want(http.StatusOK, "/", "Olga Owner", "Corp & Sons", "Open the console", "Latchkey is set up")
	b.get("/setup?token="+link.Reveal()).want(http.StatusOK, "/")
	s.browser().post("/setup", url.Values{"token": {link.Reveal()}, "organization": {"x"}, "givenName": {"x"}, "familyName": {"x"}, "email": {"x@corp.example"}, "password": {goodPassword}, "repeat": {goodPassword}}).
		want(http.StatusOK, "/signin")
}

func TestActivate(t *testing.T) {
	s := newSite(t)
	s.owner()
	u := s.person("anna")
	link, err := s.authn.NewLink(t.Context(), system, u.ID, authn.Activation, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	path := "/activate?token=" + link.Reveal()
	b := s.browser()
	for range 2 { // opening it doesn't use it up
		b.get(path).want(http.StatusOK, path, "Welcome, Anna Example")
	}
	if f := b.field("username"); f["autocomplete"] != "username" || f["value"] != "anna@corp.example" {
		t.Errorf("password managers need the name: %v", f)
	}
	b.submit("/activate", map[string]string{"password": "short", "repeat": "short"}).want(http.StatusUnprocessableEntity, "/activate", "Use at least 12 characters")
	b.submit("/activate", map[string]string{"password": otherPassword, "repeat": otherPassword}).want(http.StatusOK, "/", "Your password is set", "Anna Example")
	b.get(path).want(http.StatusNotFound, path, "This link doesn't work any more")
	b.post("/activate", url.Values{"token": {link.Reveal()}, "password": {goodPassword}, "repeat": {goodPassword}}).want(http.StatusNotFound, "/activate", "This link doesn't work any more")
	s.browser().signIn("anna", otherPassword).want(http.StatusOK, "/")
}

func TestExpiredPasswordIsReplacedOnTheWay(t *testing.T) {
	s := newSite(t)
	s.owner()
	u := s.person("anna")
	if err := s.authn.SetPassword(t.Context(), system, u.ID, goodPassword, true); err != nil {
		t.Fatal(err)
	}
	token := s.flow(map[string]any{"returnTo": "/resume", "application": "Jira"})
	b := s.browser()
	b.get("/signin?flow="+token).submit("/signin", map[string]string{"login": "anna"}).submit("/signin", map[string]string{"password": goodPassword})
	b.want(http.StatusOK, "/signin", "Choose a new password", "it has to be replaced")
	b.submit("/activate", map[string]string{"password": goodPassword, "repeat": goodPassword}).want(http.StatusUnprocessableEntity, "/activate", "has to be replaced")
	b.submit("/activate", map[string]string{"password": otherPassword, "repeat": otherPassword}).want(http.StatusOK, "/resume?flow="+token)
}

func TestTiles(t *testing.T) {
	s := newSite(t)
	s.owner()
	u := s.person("anna")
	s.person("bob")
	ctx := t.Context()
	g, err := s.dir.CreateGroup(ctx, system, directory.NewGroup{GroupAttributes: directory.GroupAttributes{Name: "Engineering"}, Members: []directory.UserID{u.ID}})
	if err != nil {
		t.Fatal(err)
	}
	jira, err := s.apps.Create(ctx, system, app.NewApplication{Connector: "atlassian-cloud", Attributes: app.Attributes{Label: "Jira", Description: "Tickets", PortalVisible: true}, Logo: onePixel})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.apps.SaveSAML(ctx, system, jira.ID, func(x *app.SAMLSettings) error {
		x.SPEntityID, x.ACS = "https://auth.atlassian.com/saml/1", []app.ACS{{URL: "https://auth.atlassian.com/login/callback?connection=saml-1"}}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.apps.ActivateSAML(ctx, system, jira.ID); err != nil {
		t.Fatal(err)
	}
	wiki, err := s.apps.Create(ctx, system, app.NewApplication{Connector: "bookmark", Attributes: app.Attributes{Label: "Handbook", BookmarkURL: "https://wiki.example.org/start", PortalVisible: true}})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []app.ID{jira.ID, wiki.ID} {
		if err := s.apps.Bind(ctx, system, id, g.ID); err != nil {
			t.Fatal(err)
		}
	}
	links := func(b *browser) map[string]string {
		out := map[string]string{}
		for n := range b.page.root.Descendants() {
			if n.Data == "a" && attr(n, "class") == "tile" {
				for x := range n.Descendants() {
					if attr(x, "class") == "tile-name" {
						out[x.FirstChild.Data] = attr(n, "href")
					}
				}
			}
		}
		return out
	}
	b := s.browser().signIn("anna", goodPassword).want(http.StatusOK, "/", "Jira", "Tickets", "Handbook")
	got := links(b)
	if got["Jira"] != "/launch/"+string(jira.ID) || got["Handbook"] != "/launch/"+string(wiki.ID) || len(got) != 2 {
		t.Errorf("tiles lead to %v", got)
	}
	b.get("/logo/" + string(jira.ID))
	if b.page.status != http.StatusOK || b.page.header.Get("Content-Type") != "image/png" || b.page.body != string(onePixel) {
		t.Errorf("logo: %d %q", b.page.status, b.page.header.Get("Content-Type"))
	}
	b.get("/logo/nonsense").want(http.StatusNotFound, "/logo/nonsense")

	other := s.browser().signIn("bob", goodPassword).want(http.StatusOK, "/", "No applications for you yet")
	if got := links(other); len(got) != 0 {
		t.Errorf("somebody in no group sees %v", got)
	}
	s.browser().signIn("olga@corp.example", goodPassword).want(http.StatusOK, "/", "Bind a group of yours to it in the console")
}

var onePixel = []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89\x00\x00\x00\rIDATx\x9cc\xf8\xcf\xc0\xf0\x1f\x00\x05\x00\x01\xff\x89\x99=\x1d\x00\x00\x00\x00IEND\xaeB`\x82")

func TestProfile(t *testing.T) {
	s := newSite(t)
	boss := s.owner()
	s.person("anna", func(n *directory.NewUser) {
		n.ManagerID = boss.ID
		n.Phones = []directory.Phone{{Type: "work", Value: "+49 30 123456"}}
		n.Addresses = []directory.Address{{Street: "Main Street 1", PostalCode: "10115", Locality: "Berlin", Country: "DE"}}
	})
	b := s.browser().signIn("anna", goodPassword)
	b.get("/profile").want(http.StatusOK, "/profile", "Anna Example", "anna@corp.example", "Engineer", "Platform", "Olga Owner", "+49 30 123456 (work)", "Main Street 1, 10115 Berlin, DE")
	if strings.Contains(b.page.body, "Open the console") {
		t.Error("somebody without a role is shown the console")
	}
}

func TestSecurityPage(t *testing.T) {
	s := newSite(t)
	s.owner()
	s.person("anna")
	s.person("mallory")
	here, phone, library := s.browser().signIn("anna", goodPassword), s.browser().signIn("anna", goodPassword), s.browser().signIn("anna", goodPassword)
	stranger := s.browser().signIn("mallory", goodPassword)

	here.get("/security").want(http.StatusOK, "/security", "this one", "Sign out everywhere else")
	var ends []string
	for n := range here.page.root.Descendants() {
		if a := attr(n, "action"); n.Data == "form" && strings.HasSuffix(a, "/end") {
			ends = append(ends, a)
		}
	}
	if len(ends) != 2 {
		t.Fatalf("sessions to end: %v", ends)
	}
	// Another person can't end it, nor learn that it exists.
	stranger.post(ends[0], nil).want(http.StatusOK, "/security", "That session had ended already.")
	here.get("/security").submit(ends[0], nil).want(http.StatusOK, "/security", "That session is ended.")
	open := 0
	for _, b := range []*browser{phone, library} {
		if b.get("/security"); b.page.path == "/security" {
			open++
		}
	}
	if open != 1 {
		t.Errorf("%d of two others are open after one was ended", open)
	}
	here.get("/security").submit("/security/sessions/end-others", nil).want(http.StatusOK, "/security", "signed out everywhere but here")
	for _, b := range []*browser{phone, library} {
		b.get("/security").want(http.StatusOK, "/signin?return=%2Fsecurity")
	}
	stranger.get("/security").want(http.StatusOK, "/security")
}

func TestChangePassword(t *testing.T) {
	s := newSite(t)
	s.owner()
	s.person("anna")
	b, other := s.browser().signIn("anna", goodPassword), s.browser().signIn("anna", goodPassword)
	form := func(current, wanted, repeat string) map[string]string {
		return map[string]string{"current": current, "password": wanted, "repeat": repeat}
	}
	b.get("/security").submit("/security/password", form("wrong", otherPassword, otherPassword)).want(http.StatusUnprocessableEntity, "/security/password", "This isn't your current password")
	b.submit("/security/password", form(goodPassword, otherPassword, "typo")).want(http.StatusUnprocessableEntity, "/security/password", "The two passwords differ")
	b.submit("/security/password", form(goodPassword, "anna.example.2026", "anna.example.2026")).want(http.StatusUnprocessableEntity, "/security/password", "mostly your own name")
	b.submit("/security/password", form(goodPassword, otherPassword, otherPassword)).want(http.StatusOK, "/security", "Your password is changed")
	other.get("/security").want(http.StatusOK, "/signin?return=%2Fsecurity")
	s.browser().signIn("anna", otherPassword).want(http.StatusOK, "/")
}

func TestTooLargeAForm(t *testing.T) {
	s := newSite(t)
	s.owner()
	b := s.browser().post("/signin", url.Values{"login": {strings.Repeat("x", 70<<10)}})
	if b.page.status != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d", b.page.status)
	}
}
