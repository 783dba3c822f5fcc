package server

import (
	"bytes"
	"context"
	"io/fs"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/html"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// lair is a place on this machine that nobody may reach through us. It counts who does.
func lair(t *testing.T) (port int, visits *atomic.Int64) {
	t.Helper()
	visits = &atomic.Int64{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		visits.Add(1)
		_, _ = w.Write([]byte(`{"schemas":["urn:ietf:params:scim:api:messages:2.0:ListResponse"],"totalResults":0,"Resources":[]}`))
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).Port, visits
}

// names makes every name resolve to one address. It is what an attacker's name server does.
func names(t *testing.T, address [4]byte) {
	t.Helper()
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			m.Response, m.Authoritative, m.Additionals = true, true, nil
			if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
					Body:   &dnsmessage.AResource{A: address},
				}}
			}
			if out, err := m.Pack(); err == nil {
				_, _ = conn.WriteTo(out, from)
			}
		}
	}()
	old := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
	t.Cleanup(func() {
		net.DefaultResolver = old
		_ = conn.Close()
		<-ended
	})
}

// Server-side request forgery: whoever can enter a URL (a SCIM base URL, a metadata URL) must not make us ask what only
// this machine, or only this network, can reach.
func TestNeighbour_SSRF(t *testing.T) {
	port, visits := lair(t)
	client, err := outboundClient(OutboundConfig{Timeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	refuses := func(t *testing.T, client *http.Client, target string, kind problem.Kind) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
		if err != nil {
			return // no URL at all
		}
		res, err := client.Do(req)
		if err == nil {
			_ = res.Body.Close()
			t.Errorf("%s was reached: %s", target, res.Status)
		} else if kind != 0 && problem.KindOf(err) != kind {
			t.Errorf("%s: refused for another reason: %v", target, err)
		}
		if n := visits.Swap(0); n > 0 {
			t.Errorf("%s: %d visits", target, n)
		}
	}
	at := func(host string) string { return "http://" + host + ":" + strconv.Itoa(port) + "/" }
	inside := []string{
		"127.0.0.1", "127.1.2.3", "0.0.0.0", "[::]", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:a9fe:a9fe]",
		"10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "[::ffff:10.0.0.1]", "[fd00::1]", "[fc00::1]",
		"169.254.169.254", "169.254.1.1", "[fe80::1]", "[fd00:ec2::254]", // cloud metadata and link-local
		"100.64.0.1",                                // carrier-grade NAT
		"224.0.0.1", "[ff02::1]", "255.255.255.255", // multicast and broadcast
		"192.0.2.1", "198.18.0.1", "240.0.0.1", "[2001:db8::1]", // documentation, benchmark, reserved
		"[64:ff9b::7f00:1]", "[2002:7f00:1::]", // IPv4 within NAT64 and 6to4
	}
	t.Run("addresses", func(t *testing.T) {
		for _, host := range inside {
			refuses(t, client, at(host), problem.Forbidden)
		}
	})
	t.Run("other spellings", func(t *testing.T) {
		// Whether these are addresses is for the system's resolver to say; none leads in.
		for _, host := range []string{"2130706433", "017700000001", "0x7f000001", "0x7f.1", "127.1", "0177.0.0.1", "127.0.0.1.", "localhost", "LOCALHOST", "localhost.", "[::1%25lo]"} {
			refuses(t, client, at(host), 0)
		}
	})
	t.Run("other schemes", func(t *testing.T) {
		for _, target := range []string{"file:///etc/passwd", "gopher://127.0.0.1/", "unix:///run/x", "ftp://127.0.0.1/"} {
			refuses(t, client, target, 0)
		}
	})
	t.Run("names", func(t *testing.T) {
		for _, address := range [][4]byte{{127, 0, 0, 1}, {169, 254, 169, 254}, {10, 0, 0, 1}} {
			t.Run(net.IP(address[:]).String(), func(t *testing.T) {
				names(t, address)
				refuses(t, client, at("scim.evil.example"), problem.Forbidden)
			})
		}
	})
	t.Run("redirects", func(t *testing.T) {
		// One address is allowed, and what listens there sends on to another.
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.2:0")
		if err != nil {
			t.Fatal(err)
		}
		to := ""
		s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, to, http.StatusTemporaryRedirect)
		})}}
		s.Start()
		defer s.Close()
		half, err := outboundClient(OutboundConfig{Timeout: 2 * time.Second, Allow: []string{"127.0.0.2"}})
		if err != nil {
			t.Fatal(err)
		}
		defer half.CloseIdleConnections()
		for _, to = range []string{at("127.0.0.1"), at("localhost"), at("169.254.169.254"), at("[::1]"), "file:///etc/passwd"} {
			refuses(t, half, s.URL, 0)
		}
	})
	t.Run("a proxy of the environment is not asked", func(t *testing.T) {
		if tr, ok := client.Transport.(*http.Transport); !ok || tr.Proxy != nil {
			t.Error("requests may go through a proxy, which resolves names by itself")
		}
	})
	t.Run("the address of metadata", func(t *testing.T) {
		f, err := newFetcher(OutboundConfig{Timeout: 2 * time.Second}, "test")
		if err != nil {
			t.Fatal(err)
		}
		defer f.close()
		for _, host := range append(inside, "localhost", "2130706433", "0x7f.1", "127.1") {
			for _, target := range []string{at(host), strings.Replace(at(host), "http:", "https:", 1), "file://" + host + "/etc/passwd"} {
				if ans, err := f.fetch(t.Context(), app.Request{URL: target}); err == nil {
					_ = ans.Body.Close()
					t.Errorf("%s was fetched", target)
				}
				if n := visits.Swap(0); n > 0 {
					t.Errorf("%s: %d visits", target, n)
				}
			}
		}
		s := newServer(t, nil)
		by := owner(t, s)
		a, err := s.Apps.Create(t.Context(), by, app.NewApplication{Connector: "custom-saml", Attributes: app.Attributes{Label: "X"}})
		if err != nil {
			t.Fatal(err)
		}
		for _, target := range []string{at("127.0.0.1"), at("localhost"), "https://169.254.169.254/latest/meta-data/", "https://127.0.0.1:" + strconv.Itoa(port) + "/"} {
			if _, err := s.Apps.WatchMetadata(t.Context(), by, a.ID, app.MetadataWatch{URL: target}); err == nil || strings.Contains(problem.Public(err), "fetches nothing") {
				t.Errorf("%s is watched, or nothing is: %v", target, err)
			}
			if n := visits.Swap(0); n > 0 {
				t.Errorf("%s: %d visits", target, n)
			}
		}
	})
	t.Run("the base URL of provisioning", func(t *testing.T) {
		s := newServer(t, nil)
		by := owner(t, s)
		a, err := s.Apps.Create(t.Context(), by, app.NewApplication{Connector: "custom-scim", Attributes: app.Attributes{Label: "X"}})
		if err != nil {
			t.Fatal(err)
		}
		for _, base := range []string{at("127.0.0.1") + "scim/v2", at("localhost") + "scim/v2", at("169.254.169.254") + "scim/v2"} {
			_, err := s.Apps.SaveSCIM(t.Context(), by, a.ID, func(to *app.SCIMSettings) error { to.BaseURL = base; return nil })
			if err != nil {
				continue // not even kept
			}
			if _, err := s.Apps.SetSCIMToken(t.Context(), by, a.ID, "token-of-sixteen-characters", time.Time{}); err != nil {
				t.Fatal(err)
			}
			if probe, err := s.Engine.Test(t.Context(), by, a.ID); err == nil && probe.OK {
				t.Errorf("%s: the connection test says that all is well", base)
			}
			if n := visits.Swap(0); n > 0 {
				t.Errorf("%s: %d visits", base, n)
			}
		}
	})
}

const ownersPassword = keys.Secret("quiet lantern over nine rivers")

// owner makes the installation's owner.
func owner(t *testing.T, s *Server) access.Actor {
	t.Helper()
	u, err := s.Authn.CreateOwner(t.Context(), authn.Owner{Email: "ada@example.com", GivenName: "Ada", FamilyName: "Lovelace", Password: ownersPassword})
	if err != nil {
		t.Fatal(err)
	}
	return access.Actor{Kind: access.Person, ID: string(u.ID), Name: u.Email, Role: access.Owner}
}

// visitor is a signed-in browser that adds its own headers to each request.
type visitor struct {
	s      *Server
	cookie string
	host   string
	header http.Header
	from   string
}

func visit(t *testing.T, s *Server) *visitor {
	t.Helper()
	_, token, err := s.Authn.SignIn(t.Context(), authn.Attempt{Login: "ada@example.com", Password: ownersPassword, Origin: authn.Origin{Address: "203.0.113.9"}})
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{s: s, cookie: token.Reveal(), from: "203.0.113.9:4000"}
}

func (v *visitor) do(t *testing.T, method, target string, form url.Values) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(form.Encode()))
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return v.send(r)
}

func (v *visitor) send(r *http.Request) *httptest.ResponseRecorder {
	if v.host != "" {
		r.Host = v.host
	}
	for name, values := range v.header {
		r.Header[name] = values
	}
	r.RemoteAddr = v.from
	if v.cookie != "" {
		r.AddCookie(&http.Cookie{Name: web.SessionCookie{Secure: v.s.Config.HTTPS()}.Name(), Value: v.cookie})
	}
	w := httptest.NewRecorder()
	v.s.Handler().ServeHTTP(w, r)
	return w
}

// furnish gives an installation one of each: people, groups, applications, sign-on, a key. Every text that an
// administrator may write is made by words.
func furnish(t *testing.T, s *Server, by access.Actor, words func(field string) string) app.Application {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.Directory.SetOrganization(ctx, by, directory.Organization{Name: words("organization")}))
	attributes := directory.Attributes{Email: "eve@example.com", Username: words("username"), Profile: directory.Profile{
		GivenName: words("given"), MiddleName: words("middle"), FamilyName: words("family"), DisplayName: words("display"),
		Title: words("title"), Department: words("department"), Company: words("company"), CostCentre: words("cost"),
		EmployeeID: words("employee"), EmployeeType: words("type"), Location: words("location"), Custom: map[string]any{"note": words("custom")},
	}}
	u, err := s.Directory.CreateUser(ctx, by, directory.NewUser{Attributes: attributes, State: directory.Active})
	must(err)
	g, err := s.Directory.CreateGroup(ctx, by, directory.NewGroup{
		GroupAttributes: directory.GroupAttributes{Name: words("group"), Description: words("groupDescription"), Attributes: map[string]any{"custom.note": words("groupCustom")}},
		Members:         []directory.UserID{u.ID, directory.UserID(by.ID)},
	})
	must(err)
	a, err := s.Apps.Create(ctx, by, app.NewApplication{Connector: "custom-saml", Attributes: app.Attributes{
		Label: words("label"), Description: words("description"), PortalVisible: true,
	}})
	must(err)
	_, err = s.Apps.SaveSAML(ctx, by, a.ID, func(to *app.SAMLSettings) error {
		to.SPEntityID, to.ACS, to.DefaultRelayState = words("spEntityID"), []app.ACS{{URL: "https://sp.example.com/acs", Default: true}}, words("relayState")
		return nil
	})
	must(err)
	_, err = s.Apps.ActivateSAML(ctx, by, a.ID)
	must(err)
	must(s.Apps.Bind(ctx, by, a.ID, g.ID))
	b, err := s.Apps.Create(ctx, by, app.NewApplication{Connector: "bookmark", Attributes: app.Attributes{
		Label: words("bookmark"), Description: words("bookmarkDescription"), BookmarkURL: "https://wiki.example.com/", PortalVisible: true,
	}})
	must(err)
	must(s.Apps.Bind(ctx, by, b.ID, g.ID))
	_, err = s.Apps.Create(ctx, by, app.NewApplication{Connector: "atlassian-cloud", Attributes: app.Attributes{Label: words("atlassian"), PortalVisible: true}})
	must(err)
	_, _, err = s.Authn.CreateAPIKey(ctx, by, words("apiKey"), access.ReadOnly, time.Time{})
	must(err)
	// Somebody whose name and browser are hostile tries to sign in: that is in the events.
	_, _, err = s.Authn.SignIn(ctx, authn.Attempt{Login: words("login"), Password: "x", Origin: authn.Origin{Address: "203.0.113.66", UserAgent: words("userAgent")}})
	if err == nil {
		t.Fatal("a stranger got in")
	}
	a, err = s.Apps.Get(ctx, by, a.ID)
	must(err)
	return a
}

var plainWords = func(field string) string {
	switch field {
	case "spEntityID":
		return "https://sp.example.com/" + field
	case "username":
		return field
	}
	return "Some " + field
}

// crawl follows every link and looks at each page. It leaves out what changes something.
func crawl(t *testing.T, v *visitor, start []string, look func(path string, w *httptest.ResponseRecorder, doc *html.Node)) {
	t.Helper()
	queue, seen := slices.Clone(start), map[string]bool{}
	shapes := map[string]int{}
	id := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-z]{20,}`)
	for len(queue) > 0 {
		path := queue[0]
		queue = queue[1:]
		if seen[path] {
			continue
		}
		seen[path] = true
		// A few pages of each shape are enough.
		u, err := url.Parse(path)
		if err != nil {
			t.Errorf("a link that is no URL: %q", path)
			continue
		}
		shape := id.ReplaceAllString(u.Path, "{id}")
		if shapes[shape]++; shapes[shape] > 8 {
			continue
		}
		w := v.do(t, http.MethodGet, path, nil)
		if to := w.Header().Get("Location"); to != "" && strings.HasPrefix(to, "/") {
			queue = append(queue, to)
		}
		var doc *html.Node
		if strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
			if doc, err = html.Parse(bytes.NewReader(w.Body.Bytes())); err != nil {
				t.Fatal(err)
			}
			for n := range doc.Descendants() {
				for _, a := range n.Attr {
					if (a.Key == "href" || a.Key == "hx-get" || a.Key == "src") && strings.HasPrefix(a.Val, "/") && !strings.HasPrefix(a.Val, "/static/") && !strings.HasPrefix(a.Val, "/signout") {
						to, _, _ := strings.Cut(a.Val, "#")
						queue = append(queue, to)
					}
				}
			}
		}
		look(path, w, doc)
	}
	if len(shapes) < 25 {
		t.Errorf("only %d kinds of pages were found: the crawl is broken", len(shapes))
	}
}

var everywhere = []string{
	"/", "/profile", "/security", "/signin", "/setup", "/activate?token=x", "/signed-out", "/console/", "/console/users", "/console/groups", "/console/activity",
	"/console/applications", "/console/catalogue", "/console/settings", "/console/settings/administrators", "/console/settings/keys", "/console/settings/about", "/console/policy",
	"/console/pick/users", "/console/pick/groups", "/console/pick/applications", "/console/search?q=some", "/no/such/page", "/api/openapi.json",
	"/saml2/nobody", "/saml2/resume?flow=x", "/launch/nobody", "/console/activity/export.csv", "/console/activity/export.jsonl",
}

// Host-header and Forwarded poisoning: no link, redirect or metadata is built from what the client calls us, whether a
// trusted proxy brings it or not.
func TestNeighbour_HostHeader(t *testing.T) {
	s := newServer(t, nil)
	by := owner(t, s)
	a := furnish(t, s, by, plainWords)
	v := visit(t, s)
	v.host = "evil.example"
	v.header = http.Header{
		"X-Forwarded-Host": {"evil.example"}, "X-Forwarded-Proto": {"evil"}, "X-Forwarded-Server": {"evil.example"}, "X-Forwarded-Port": {"666"},
		"X-Forwarded-Prefix": {"/evil.example"}, "Forwarded": {`for=192.0.2.66;host=evil.example;proto=evil`}, "X-Host": {"evil.example"},
		"X-Original-Url": {"/evil.example"}, "X-Rewrite-Url": {"/evil.example"}, "X-Http-Host-Override": {"evil.example"},
	}
	for _, from := range []string{"203.0.113.9:4000", "10.1.2.3:4000"} {
		v.from = from
		crawl(t, v, append(everywhere, "/saml2/"+a.Slug, "/saml2/"+a.Slug+"/metadata", "/saml2/"+a.Slug+"/certificate.pem", "/launch/"+string(a.ID)), func(path string, w *httptest.ResponseRecorder, _ *html.Node) {
			for name, values := range w.Header() {
				if strings.Contains(strings.Join(values, " "), "evil") {
					t.Errorf("%s: header %s: %s", path, name, values)
				}
			}
			if strings.Contains(w.Body.String(), "evil") {
				t.Errorf("%s from %s: the page has what the client called us", path, from)
			}
		})
	}
	v.from = "203.0.113.9:4000"
	t.Run("what we say of ourselves is the public URL", func(t *testing.T) {
		if w := v.do(t, http.MethodGet, "/saml2/"+a.Slug+"/metadata", nil); !strings.Contains(w.Body.String(), `Location="http://id.example.com/saml2/`+a.Slug+`"`) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		u, err := s.Directory.UserByLogin(t.Context(), by, "eve@example.com")
		if err != nil {
			t.Fatal(err)
		}
		w := v.do(t, http.MethodPost, "/console/users/"+string(u.ID)+"/link", url.Values{"purpose": {"reset"}, "hours": {"24"}, "ttl": {"24h"}})
		if !strings.Contains(w.Body.String(), "http://id.example.com/activate") || strings.Contains(w.Body.String(), "evil") {
			t.Errorf("a one-time link: %d %s", w.Code, w.Body)
		}
	})
	t.Run("signing in leads nowhere else", func(t *testing.T) {
		stranger := &visitor{s: s, host: "evil.example", header: v.header, from: v.from}
		for _, path := range []string{"/console/users", "/", "/console/settings?x=//evil.example"} {
			w := stranger.do(t, http.MethodGet, path, nil)
			if to := w.Header().Get("Location"); !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") {
				t.Errorf("%s leads to %q", path, to)
			}
		}
	})
}

// Cardinality of metric labels (CVE-2026-16100): whatever a stranger asks for, the number of series is bounded by what
// we wrote ourselves.
func TestNeighbour_MetricCardinality(t *testing.T) {
	s := newServer(t, nil)
	series := func() []string {
		var out []string
		for line := range strings.Lines(get(t, s, "/metrics", "127.0.0.1:1", nil).Body.String()) {
			if name, _, ok := strings.Cut(line, "} "); ok && strings.HasPrefix(line, "latchkey_") {
				out = append(out, name)
			}
		}
		return out
	}
	flood := func(mark string) {
		for i := range 40 {
			n := mark + strconv.Itoa(i)
			for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodHead, http.MethodOptions, "X" + strings.ToUpper(n)} {
				for _, path := range []string{
					"/saml2/" + n, "/saml2/" + n + "/metadata", "/launch/" + n, "/" + n, "/console/users/" + n, "/api/v1/users/" + n, "/api/v1/" + n,
					"/static/" + n, "/logo/" + n, "/activate?token=" + n, "/saml2/resume?flow=" + n,
				} {
					r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
					r.Host, r.RemoteAddr = n+".example", "203.0.113.9:1"
					r.Header.Set("User-Agent", n)
					s.Handler().ServeHTTP(httptest.NewRecorder(), r)
				}
			}
		}
	}
	flood("aaaa")
	series() // reading them is a request of its own
	before := series()
	flood("bbbb")
	after := series()
	if len(before) == 0 || !slices.Equal(before, after) {
		t.Errorf("%d series, then %d: %v", len(before), len(after), cmp.Diff(before, after))
	}
	for _, line := range after {
		if strings.Contains(line, "aaaa") || strings.Contains(line, "bbbb") || strings.Contains(line, "XAAAA") {
			t.Errorf("a label holds what a stranger wrote: %s", line)
		}
	}
	t.Run("only this machine reads them", func(t *testing.T) {
		for name, header := range map[string]http.Header{
			"X-Forwarded-For":  {"X-Forwarded-For": {"203.0.113.9"}},
			"Forwarded":        {"Forwarded": {"for=203.0.113.9"}},
			"X-Forwarded-Host": {"X-Forwarded-Host": {"id.example.com"}},
		} {
			// A proxy on this machine that the configuration doesn't name makes everybody's request come from here.
			if w := get(t, s, "/metrics", "127.0.0.1:1", header); w.Code != http.StatusNotFound {
				t.Errorf("through a proxy, told by %s: %d", name, w.Code)
			}
		}
	})
}

// Stored cross-site scripting: text that somebody with a role wrote (names, labels, descriptions), or that came from a
// browser (its name, a login), is never markup in any page.
func TestNeighbour_StoredXSS(t *testing.T) {
	s := newServer(t, nil)
	by := owner(t, s)
	const evil = `"'></title></textarea><x-evil onclick=alert(1)><script>alert(1)</script><svg/onload=alert(1)>{{7*7}}javascript:alert(1)`
	a := furnish(t, s, by, func(field string) string {
		switch field {
		case "username":
			return "eve" // markup isn't taken at all
		case "organization", "group", "apiKey", "label", "bookmark", "atlassian":
			return field + `"'><x-evil onclick=alert(1)><script>alert(1)</script>`
		case "spEntityID":
			return `https://sp.example.com/"'onclick=alert(1)`
		case "relayState":
			return `a'onclick=alert(1)`
		}
		return field + evil
	})
	v := visit(t, s)
	marked := 0
	crawl(t, v, append(everywhere, "/launch/"+string(a.ID), "/saml2/"+a.Slug, "/console/search?q="+url.QueryEscape(evil), "/console/users?q="+url.QueryEscape(evil),
		"/console/groups?q="+url.QueryEscape(evil), "/console/activity?q="+url.QueryEscape(evil), "/signin?flow="+url.QueryEscape(evil), "/saml2/"+url.PathEscape(evil)),
		func(path string, w *httptest.ResponseRecorder, doc *html.Node) {
			if strings.Contains(w.Body.String(), "x-evil") {
				marked++
			}
			if w.Code >= 500 {
				t.Errorf("%s: %d", path, w.Code)
			}
			if doc == nil {
				if ct := w.Header().Get("Content-Type"); w.Header().Get("X-Content-Type-Options") != "nosniff" || strings.Contains(ct, "svg") && !strings.HasPrefix(path, "/console/catalog") { // those are ours
					t.Errorf("%s: %s may be taken for a page", path, ct)
				}
				return
			}
			csp := w.Header().Get("Content-Security-Policy")
			if !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "script-src 'self'") || strings.Contains(csp, "unsafe") {
				t.Errorf("%s: Content-Security-Policy %q", path, csp)
			}
			for n := range doc.Descendants() {
				if n.Type != html.ElementNode {
					continue
				}
				if n.Data == "x-evil" || n.Data == "style" || n.Data == "iframe" || n.Data == "object" || n.Data == "base" {
					t.Errorf("%s: an element %s", path, n.Data)
				}
				if n.Data == "script" && (n.FirstChild != nil || !strings.HasPrefix(attribute(n, "src"), "/static/")) {
					t.Errorf("%s: a script in the page", path)
				}
				for _, at := range n.Attr {
					value := strings.ToLower(strings.TrimSpace(at.Val))
					switch {
					case strings.HasPrefix(at.Key, "on"), at.Key == "style", at.Key == "srcdoc", strings.HasPrefix(at.Key, "hx-on"):
						t.Errorf("%s: attribute %s=%q", path, at.Key, at.Val)
					case (at.Key == "href" || at.Key == "src" || at.Key == "action" || at.Key == "formaction") && (strings.HasPrefix(value, "javascript:") || strings.HasPrefix(value, "data:text")):
						t.Errorf("%s: %s=%q", path, at.Key, at.Val)
					}
				}
			}
		})
	if marked < 15 {
		t.Errorf("only %d pages show the texts: the test looks in the wrong place", marked)
	}
}

func attribute(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// File write through what is uploaded (GO-2026-5945): a name that comes with an upload, or an identifier in a path, never
// names a file.
func TestNeighbour_FileWrite(t *testing.T) {
	outside := t.TempDir()
	data := filepath.Join(outside, "data")
	s := newServer(t, func(c *Config) { c.Data = data })
	by := owner(t, s)
	a, err := s.Apps.Create(t.Context(), by, app.NewApplication{Connector: "bookmark", Attributes: app.Attributes{Label: "X", BookmarkURL: "https://x.example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	v := visit(t, s)
	before := files(t, outside)
	picture := "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"
	for _, name := range []string{"../evil", "../../evil.png", "/tmp/evil", `..\..\evil`, "evil\x00.png", "%2e%2e%2fevil", "....//evil", "C:\\evil", ".", "..", "master.key", "latchkey.db"} {
		for path, content := range map[string]string{
			"/console/users/import":                               "email\nnew@example.com\n",
			"/console/applications/" + string(a.ID) + "/logo":     picture,
			"/console/applications/" + string(a.ID) + "/settings": picture,
		} {
			var body bytes.Buffer
			m := multipart.NewWriter(&body)
			for _, field := range []string{"file", "logo", "metadata"} {
				part, err := m.CreatePart(textproto.MIMEHeader{"Content-Disposition": {`form-data; name="` + field + `"; filename="` + name + `"`}, "Content-Type": {"application/octet-stream"}})
				if err != nil {
					t.Fatal(err)
				}
				_, _ = part.Write([]byte(content))
			}
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, &body)
			r.Header.Set("Content-Type", m.FormDataContentType())
			if w := v.send(r); w.Code >= 500 {
				t.Errorf("%s with a file %q: %d", path, name, w.Code)
			}
		}
		for _, path := range []string{"/logo/", "/static/", "/saml2/", "/api/v1/applications/"} {
			w := v.do(t, http.MethodGet, path+url.PathEscape(name), nil)
			if w.Code == http.StatusOK && !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") || w.Code >= 500 {
				t.Errorf("%s%q: %d %s", path, name, w.Code, w.Header().Get("Content-Type"))
			}
		}
	}
	if after := files(t, outside); !slices.Equal(before, after) {
		t.Errorf("files before: %v\nafter: %v", before, after)
	}
	t.Run("a logo is a picture, never one with scripts", func(t *testing.T) {
		for _, logo := range []string{
			`<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>`, `<?xml version="1.0"?><svg/>`, "<html><script>alert(1)</script>", "GIF89a", "\x89PNG\r\n\x1a\n<script>",
		} {
			if _, err := s.Apps.SetLogo(t.Context(), by, a.ID, []byte(logo)); problem.KindOf(err) != problem.Invalid {
				t.Errorf("%q: %v", logo, err)
			}
		}
	})
}

// files lists the files below dir, but those that a database makes beside itself.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.HasSuffix(path, "-wal") && !strings.HasSuffix(path, "-shm") {
			out = append(out, strings.TrimPrefix(path, dir))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
