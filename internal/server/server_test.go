package server

import (
	"context"
	"encoding/pem"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
)

// newServer opens an empty installation whose proxies are 10.0.0.0/8.
func newServer(t *testing.T, change func(*Config)) *Server {
	t.Helper()
	cfg := Config{
		Listen: "127.0.0.1:0", PublicURL: "http://id.example.com", Data: t.TempDir(), TrustedProxies: []string{"10.0.0.0/8", "::1"},
		Limits: LimitsConfig{Body: 1 << 20, Import: 8 << 20}, Outbound: OutboundConfig{Timeout: 2 * time.Second},
	}
	if change != nil {
		change(&cfg)
	}
	h, err := Open(t.Context(), cfg, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	s, err := New(h)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func get(t *testing.T, s *Server, path, from string, header http.Header) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	r.RemoteAddr = from
	maps.Copy(r.Header, header)
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

// An address that a client writes itself is believed from nobody but a trusted proxy, and then
// only as far as proxies vouch for it.
func TestClientAddress(t *testing.T) {
	s := newServer(t, nil)
	for name, c := range map[string]struct {
		remote    string
		forwarded []string
		want      string
	}{
		"direct":                         {"203.0.113.9:4000", nil, "203.0.113.9"},
		"a stranger's word":              {"203.0.113.9:4000", []string{"198.51.100.1"}, "203.0.113.9"},
		"proxy":                          {"10.1.2.3:4000", []string{"198.51.100.1"}, "198.51.100.1"},
		"client wrote one before":        {"10.1.2.3:4000", []string{"192.0.2.66, 198.51.100.1"}, "198.51.100.1"},
		"two proxies":                    {"10.1.2.3:4000", []string{"198.51.100.1, 10.9.9.9"}, "198.51.100.1"},
		"several headers":                {"10.1.2.3:4000", []string{"192.0.2.66", "198.51.100.1"}, "198.51.100.1"},
		"nonsense":                       {"10.1.2.3:4000", []string{"unknown"}, "10.1.2.3"},
		"nonsense behind an address":     {"10.1.2.3:4000", []string{"198.51.100.1, <script>"}, "10.1.2.3"},
		"proxy without header":           {"10.1.2.3:4000", nil, "10.1.2.3"},
		"IPv6 proxy":                     {"[::1]:4000", []string{"2001:db8::7"}, "2001:db8::7"},
		"mapped IPv4 is the IPv4":        {"[::ffff:10.1.2.3]:4000", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		"Forwarded isn't read":           {"10.1.2.3:4000", nil, "10.1.2.3"},
		"everybody in the chain trusted": {"10.1.2.3:4000", []string{"10.4.4.4"}, "10.4.4.4"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.RemoteAddr = c.remote
		r.Header["X-Forwarded-For"] = c.forwarded
		r.Header.Set("Forwarded", "for=192.0.2.1")
		if got := s.ClientAddress(r); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestHealthAndMetrics(t *testing.T) {
	s := newServer(t, nil)
	for _, path := range []string{"/livez", "/readyz", "/healthz"} {
		if w := get(t, s, path, "203.0.113.9:1", nil); w.Code != http.StatusOK || w.Body.String() != "ok\n" {
			t.Errorf("%s: %d %q", path, w.Code, w.Body)
		}
	}
	if w := get(t, s, "/metrics", "127.0.0.1:1", nil); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "latchkey_outbox_rows 0") {
		t.Errorf("metrics on loopback: %d", w.Code)
	}
	if w := get(t, s, "/metrics", "203.0.113.9:1", nil); w.Code != http.StatusNotFound {
		t.Errorf("metrics for a stranger: %d", w.Code)
	}
	// A trusted proxy on loopback must not make strangers local.
	if w := get(t, s, "/metrics", "[::1]:1", http.Header{"X-Forwarded-For": {"203.0.113.9"}}); w.Code != http.StatusNotFound {
		t.Errorf("metrics through a proxy: %d", w.Code)
	}
}

// Labels are patterns of routes: a client can't make new ones up.
func TestMetricLabelsAreBounded(t *testing.T) {
	s := newServer(t, nil)
	for _, path := range []string{"/saml2/nobody-1", "/saml2/nobody-2", "/no/such/page-1", "/no/such/page-2"} {
		get(t, s, path, "203.0.113.9:1", nil)
	}
	if body := get(t, s, "/metrics", "127.0.0.1:1", nil).Body.String(); strings.Contains(body, "nobody-") || strings.Contains(body, "page-") {
		t.Error("a path became a label")
	}
}

// No page, redirect or header is built from what the client calls us.
func TestHostHeaderIsNotBelieved(t *testing.T) {
	s := newServer(t, nil)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.Host = "evil.example"
	r.Header.Set("X-Forwarded-Host", "evil.example")
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	body, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(body), "evil.example") || strings.Contains(w.Header().Get("Location"), "evil.example") {
		t.Errorf("%d %v %s", w.Code, w.Header(), body)
	}
}

func TestSecurityHeadersOnEveryKindOfAnswer(t *testing.T) {
	s := newServer(t, nil)
	for _, path := range []string{"/signin", "/no/such/page", "/console/users", "/static/none.css"} {
		w := get(t, s, path, "203.0.113.9:1", nil)
		h := w.Header()
		if !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Request-Id") == "" {
			t.Errorf("%s: %d %v", path, w.Code, h)
		}
	}
}

// Every form of every page is protected by one rule: a browser's post from another site is
// refused. Only the SAML endpoint takes posts from service providers' pages.
func TestPostsFromOtherSitesAreRefused(t *testing.T) {
	s := newServer(t, nil)
	post := func(path string, header map[string]string) int {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(url.Values{"a": {"b"}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for k, v := range header {
			r.Header.Set(k, v)
		}
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		return w.Code
	}
	cross := map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
	for _, path := range []string{"/signin", "/signout", "/setup", "/security/password", "/console/users/new", "/console/settings/organization", "/api/v1/users", "/saml2/x/anything", "/saml2/x/slo/x", "/saml2/logout/skip"} {
		if code := post(path, cross); code != http.StatusForbidden {
			t.Errorf("%s: %d", path, code)
		}
		if code := post(path, map[string]string{"Origin": "https://evil.example"}); code != http.StatusForbidden {
			t.Errorf("%s, old browser: %d", path, code)
		}
	}
	if code := post("/signin", map[string]string{"Sec-Fetch-Site": "same-origin"}); code == http.StatusForbidden {
		t.Errorf("our own form: %d", code)
	}
	if code := post("/signin", map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "http://id.example.com"}); code == http.StatusForbidden {
		t.Errorf("our own origin: %d", code)
	}
	for _, path := range []string{"/saml2/nobody", "/saml2/nobody/slo"} {
		if code := post(path, cross); code == http.StatusForbidden {
			t.Errorf("a service provider's post to %s: %d", path, code)
		}
	}
}

// Signing out at the portal goes on at the applications that were used, if they can be told; their answers may be posted
// from their own pages.
func TestSignOutReachesTheApplications(t *testing.T) {
	s := newServer(t, nil)
	ctx, by := t.Context(), access.SystemActor("")
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	g, err := s.Directory.CreateGroup(ctx, by, directory.NewGroup{GroupAttributes: directory.GroupAttributes{Name: "Everybody"}})
	ok(err)
	u, err := s.Directory.CreateUser(ctx, by, directory.NewUser{
		Attributes: directory.Attributes{Username: "ann", Email: "ann@example.com", Profile: directory.Profile{GivenName: "Ann", FamilyName: "Example"}},
		State:      directory.Active, Groups: []directory.GroupID{g.ID},
	})
	ok(err)
	ok(s.Authn.SetPassword(ctx, by, u.ID, ownersPassword, false))
	sp := samltest.NewSP("https://wiki.example/sp", "https://wiki.example/acs")
	sp.SLO = "https://wiki.example/slo"
	a, err := s.Apps.Create(ctx, by, app.NewApplication{Connector: "custom-saml", Attributes: app.Attributes{Label: "Wiki"}})
	ok(err)
	_, err = s.Apps.SaveSAML(ctx, by, a.ID, func(x *app.SAMLSettings) error {
		x.SPEntityID, x.ACS, x.SLOURL = sp.EntityID, []app.ACS{{URL: sp.ACS}}, sp.SLO
		x.SPCertificates = []string{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: sp.Cert.Raw}))}
		return nil
	})
	ok(err)
	a, err = s.Apps.ActivateSAML(ctx, by, a.ID)
	ok(err)
	ok(s.Apps.Bind(ctx, by, a.ID, g.ID))
	_, token, err := s.Authn.SignIn(ctx, authn.Attempt{Login: u.Email, Password: ownersPassword, Origin: authn.Origin{Address: "203.0.113.9"}})
	ok(err)
	cookie := http.Header{"Cookie": {"latchkey_session=" + token.Reveal()}}
	if w := get(t, s, "/launch/"+string(a.ID), "203.0.113.9:1", cookie); !strings.Contains(w.Body.String(), "SAMLResponse") {
		t.Fatalf("no sign-on: %d", w.Code)
	}
	post := func(path, body string, header http.Header) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, path, strings.NewReader(body))
		r.Header = header
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.RemoteAddr = "203.0.113.9:1"
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		return w
	}
	out := cookie.Clone()
	out.Set("Sec-Fetch-Site", "same-origin")
	w := post("/signout", "", out)
	view := w.Header().Get("Location")
	if w.Code != http.StatusSeeOther || !strings.HasPrefix(view, "/saml2/logout?flow=") || !strings.Contains(w.Header().Get("Set-Cookie"), "latchkey_session=;") {
		t.Fatalf("sign-out: %d to %q", w.Code, view)
	}
	if _, err := s.Authn.Session(ctx, token.Reveal()); problem.KindOf(err) != problem.Unauthenticated {
		t.Errorf("the session: %v", err)
	}
	w = get(t, s, view, "203.0.113.9:1", nil)
	target, found := strings.CutPrefix(w.Header().Get("Refresh"), "0; url="+sp.SLO+"?")
	if !found {
		t.Fatalf("the browser isn't led to the application: %d %v", w.Code, w.Header())
	}
	pairs, err := s.Apps.Certificates(ctx, by, a.ID)
	ok(err)
	m, err := sp.ReceiveLogoutRedirect(target, a.SAML.IDPEntityID, pairs[0].Certificate, s.Now())
	ok(err)
	slo := s.Apps.URLs(a).SLO
	answer := sp.Sign(sp.LogoutResponse(slo, m.ID, s.Now()).XML())
	w = post("/saml2/"+a.Slug+"/slo", samltest.PostBody(answer, m.RelayState), http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://wiki.example"}})
	if w.Code != http.StatusSeeOther {
		t.Fatalf("the application's answer: %d %s", w.Code, w.Body)
	}
	if w = get(t, s, w.Header().Get("Location"), "203.0.113.9:1", nil); !strings.Contains(w.Body.String(), "You are signed out here and of the applications") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestLargeBodiesAreRefused(t *testing.T) {
	s := newServer(t, nil)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/signin", strings.NewReader("login="+strings.Repeat("a", 2<<20)))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	if w.Code != http.StatusRequestEntityTooLarge && w.Code != http.StatusBadRequest && w.Code != http.StatusUnprocessableEntity {
		t.Errorf("%d", w.Code)
	}
}

// Whoever can enter a base URL must not reach what only this machine can.
func TestOutboundRefusesPrivateAddresses(t *testing.T) {
	inside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{}`)) }))
	defer inside.Close()
	closed, err := outboundClient(OutboundConfig{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer closed.CloseIdleConnections()
	port := inside.Listener.Addr().(*net.TCPAddr).Port
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "169.254.169.254", "10.0.0.1", "192.168.1.1", "[fe80::1]", "0.0.0.0", "[::ffff:127.0.0.1]"} {
		target := url.URL{Scheme: "http", Host: host + ":" + strconv.Itoa(port)}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := closed.Do(req)
		if err == nil {
			_ = res.Body.Close()
			t.Errorf("%s was reached", host)
			continue
		}
		if problem.KindOf(err) != problem.Forbidden && host != "localhost" {
			t.Errorf("%s: refused for another reason: %v", host, err)
		}
	}
	open, err := outboundClient(OutboundConfig{Timeout: time.Second, Allow: []string{"127.0.0.0/8"}})
	if err != nil {
		t.Fatal(err)
	}
	defer open.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, inside.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := open.Do(req)
	if err != nil {
		t.Fatalf("an allowed address: %v", err)
	}
	_ = res.Body.Close()
}

func TestConfigCheck(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		field  string // "" is good
	}{
		"defaults":           {func(*Config) {}, ""},
		"path in URL":        {func(c *Config) { c.PublicURL = "https://example.com/id" }, "publicUrl"},
		"no scheme":          {func(c *Config) { c.PublicURL = "id.example.com" }, "publicUrl"},
		"slash is dropped":   {func(c *Config) { c.PublicURL = "https://id.example.com/" }, ""},
		"half of TLS":        {func(c *Config) { c.TLSCert = "a.pem" }, "tlsKey"},
		"bad proxy":          {func(c *Config) { c.TrustedProxies = []string{"proxy.local"} }, "trustedProxies"},
		"bad network":        {func(c *Config) { c.Outbound.Allow = []string{"10.0.0.0/99"} }, "outbound.allow"},
		"address as network": {func(c *Config) { c.Outbound.Allow = []string{"10.0.0.1"} }, ""},
		"weak password":      {func(c *Config) { c.Session.MinPassword = 4 }, "session.minPassword"},
	} {
		cfg := Config{Listen: "127.0.0.1:8080", Data: "d"}
		c.change(&cfg)
		err := cfg.Check()
		if c.field == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if f := problem.FieldsOf(err); len(f) != 1 || f[0].Name != c.field {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The whole server starts, answers, and ends without losing what is under way.
func TestRunServesAndEnds(t *testing.T) {
	s := newServer(t, nil)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	told := make(chan struct{})
	go func() { ended <- s.Run(ctx, l, func() { close(told) }) }()
	<-told
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Addr().String()+"/readyz", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("%s", res.Status)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("end: %v", err)
	}
}

// Secrets that are entered come back from nowhere: not from the database file, not from events.
func TestTokensAreSealedAtRest(t *testing.T) {
	s := newServer(t, nil)
	const token = "scim-token-that-must-not-be-seen"
	u, err := s.Authn.CreateOwner(t.Context(), authn.Owner{Email: "ada@example.com", GivenName: "Ada", FamilyName: "O", Password: "a-long-enough-password"})
	if err != nil {
		t.Fatal(err)
	}
	by := access.Actor{Kind: access.Person, ID: string(u.ID), Name: u.Email, Role: access.Owner}
	a, err := s.Apps.Create(t.Context(), by, app.NewApplication{Connector: "custom-scim", Attributes: app.Attributes{Label: "X"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apps.SetSCIMToken(t.Context(), by, a.ID, token, time.Time{}); err != nil {
		t.Fatal(err)
	}
	copied := t.TempDir() + "/copy.db"
	if err := s.DB.Backup(t.Context(), copied); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{token, "a-long-enough-password"} {
		if fileHolds(t, copied, secret) {
			t.Errorf("the database holds %q in the clear", secret)
		}
	}
}
