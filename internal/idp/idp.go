// Package idp is the SAML identity provider's face to browsers: sign-on started by a service provider or from our
// portal, single logout, metadata and certificate; and the inspector, which shows what went on. It hides the order of a
// sign-on and of a logout, which state each step leaves behind, and what each failure shows, sends and records.
//
//	GET  /saml2/{slug}   a request by HTTP-Redirect ─┐
//	POST /saml2/{slug}   a request by HTTP-POST ─────┤ saml.Check
//	GET  /launch/{id}    a tile ─────────────────────┤
//	                                                 ▼
//	             ┌──── no session, or a new proof ─ dispatch ──── may have it ────▶ answer ──▶ form to the ACS
//	             ▼     is asked for                  ▲    ╲                           │
//	        flow stored ──▶ /signin?flow=… ──▶ /saml2/resume?flow=…  ╲── else ──▶ page, or status to the ACS
//
// There is one dispatcher: every step comes back to it, and it looks at everything anew. An answer is signed first, then
// recorded in one transaction that consumes the flow and makes sure that nothing has changed since, and only then sent.
//
// A request is answered once: its ID is noted in that transaction (name.go). Single logout has a picture of its own
// (logout.go).
//
// What can't be trusted (who asks, where the answer would go) ends at a page and is never redirected anywhere.
package idp

import (
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// Config joins an IDP to its house. Fields without a default are needed.
type Config struct {
	DB      *store.DB
	Apps    *app.Applications
	Authn   *authn.Authn
	Catalog *catalog.Catalog
	Pairs   *keys.Pairs
	// PublicURL is how browsers reach us, e.g. "https://id.example.org".
	PublicURL string
	Now       func() time.Time
	// Log gets errors; nil discards them.
	Log *slog.Logger
	// ClientAddress gives the address of who asks, without port, as found behind trusted proxies.
	ClientAddress func(*http.Request) string
	// Page gives the frame of a page: organization, theme. Nil means an empty frame.
	Page func(w http.ResponseWriter, r *http.Request) web.Page
	// SignIn is the path of the sign-in page, which is given ?flow=; default "/signin".
	SignIn string
	Limits Limits
}

// Limits bound what strangers can make us do. Zero fields have defaults.
type Limits struct {
	// FlowLife is how long a person may take to sign in; default 15 minutes.
	FlowLife time.Duration
	// AssertionLife is how long an answer is valid; default 5 minutes.
	AssertionLife time.Duration
	// StrangerEvents is how many events per second the failed requests of people without a session may write; default 10,
	// with a burst of ten times that. What goes beyond is only logged.
	StrangerEvents float64
}

// IDP is the identity provider. It is safe for concurrent use.
type IDP struct {
	db      *store.DB
	apps    *app.Applications
	authn   *authn.Authn
	catalog *catalog.Catalog
	pairs   *keys.Pairs
	now     func() time.Time
	log     *slog.Logger
	address func(*http.Request) string
	page    func(http.ResponseWriter, *http.Request) web.Page
	cookie  web.SessionCookie
	// protected says that nobody between the person and us can read a password.
	protected bool
	signIn    string
	limits    Limits
	strangers *rate.Limiter
	recorder  *recorder

	mu       sync.Mutex
	prepared map[app.ID]*prepared
	slugs    map[string]app.ID
}

// New returns an identity provider.
func New(c Config) *IDP {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.SignIn == "" {
		c.SignIn = "/signin"
	}
	if c.Page == nil {
		c.Page = func(w http.ResponseWriter, r *http.Request) web.Page { return web.NewPage(w, r, "") }
	}
	if c.Limits.FlowLife <= 0 {
		c.Limits.FlowLife = 15 * time.Minute
	}
	if c.Limits.AssertionLife <= 0 {
		c.Limits.AssertionLife = 5 * time.Minute
	}
	if c.Limits.StrangerEvents <= 0 {
		c.Limits.StrangerEvents = 10
	}
	secure := strings.HasPrefix(c.PublicURL, "https:")
	return &IDP{
		db: c.DB, apps: c.Apps, authn: c.Authn, catalog: c.Catalog, pairs: c.Pairs, now: c.Now, log: c.Log,
		address: c.ClientAddress, page: c.Page, signIn: c.SignIn, limits: c.Limits,
		cookie: web.SessionCookie{Secure: secure}, protected: secure || local(c.PublicURL),
		strangers: rate.NewLimiter(rate.Limit(c.Limits.StrangerEvents), max(1, int(10*c.Limits.StrangerEvents))),
		recorder:  newRecorder(),
		prepared:  map[app.ID]*prepared{},
		slugs:     map[string]app.ID{},
	}
}

// local reports whether a URL leads to this very machine: what is sent there goes over no wire.
func local(publicURL string) bool {
	u, err := url.Parse(publicURL)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
}

// ResumePath is where the sign-in page sends the browser back to, with ?flow= and the flow's token.
const ResumePath = app.SSOPath + "resume"

// launchPath is the path of the tiles, to be followed by the application's id.
const launchPath = "/launch/"

// Routes adds the endpoints to mux. The server must exempt POST to app.SSOPath + "{slug}" and to the /slo below it from
// its check for cross-origin requests: service providers post there from their own sites. (It is safe: a cross-site POST
// carries no session cookie; the one begins a flow, the other does only what a signed message says.)
func (p *IDP) Routes(mux *http.ServeMux) {
	edge := web.Edge{Log: p.log, Page: p.page}
	for pattern, h := range map[string]web.Handler{
		"GET " + app.SSOPath + "{slug}":                 p.redirectBinding,
		"POST " + app.SSOPath + "{slug}":                p.postBinding,
		"GET " + app.SSOPath + "{slug}/slo":             p.logoutRedirect,
		"POST " + app.SSOPath + "{slug}/slo":            p.logoutPost,
		"GET " + LogoutPath:                             p.logout,
		"POST " + skipPath:                              p.skip,
		"GET " + ResumePath:                             p.resume,
		"GET " + launchPath + "{application}":           p.launch,
		"GET " + app.SSOPath + "{slug}/metadata":        p.metadata,
		"GET " + app.SSOPath + "{slug}/certificate.pem": p.certificate,
	} {
		mux.Handle(pattern, edge.Handle(h))
	}
}
