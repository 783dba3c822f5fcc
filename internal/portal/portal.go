// Package portal is the pages for everybody: sign-in, first set-up, one's applications, profile
// and security. It hides the steps of sign-in and that each of them returns to where the person
// was going; it decides nothing about who people are (authn) or what they may use (app).
package portal

import (
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// Config joins a Portal to its house. All fields but Log, Console and SignOut are needed.
type Config struct {
	DB        *store.DB
	Authn     *authn.Authn
	Apps      *app.Applications
	Directory *directory.Directory
	// PublicURL is how people reach us, e.g. "https://id.example.org".
	PublicURL string
	// Console is the path of the console, which people with a role find in their menu; empty
	// means "/console".
	Console string
	Now     func() time.Time
	Log     *slog.Logger
	// ClientAddress returns the IP address that a request comes from, without port.
	ClientAddress func(*http.Request) string
	// SignOut ends the session of a browser's token also at the applications that were used in it, and returns the local
	// path at which that goes on; "" if there is none of them, and then it has ended nothing. Nil: sign-out is only ours.
	SignOut func(r *http.Request, token string) (path string, err error)
}

// Portal serves the pages.
type Portal struct {
	db        *store.DB
	authn     *authn.Authn
	apps      *app.Applications
	directory *directory.Directory
	console   string
	now       func() time.Time
	log       *slog.Logger
	address   func(*http.Request) string
	beyond    func(r *http.Request, token string) (path string, err error)
	cookie    web.SessionCookie
	edge      web.Edge
}

// New returns a Portal.
func New(c Config) *Portal {
	p := &Portal{
		db: c.DB, authn: c.Authn, apps: c.Apps, directory: c.Directory, console: c.Console, now: c.Now, log: c.Log,
		address: c.ClientAddress, beyond: c.SignOut, cookie: web.SessionCookie{Secure: strings.HasPrefix(c.PublicURL, "https:")},
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.console == "" {
		p.console = "/console"
	}
	p.edge = web.Edge{
		Log: p.log, SignIn: "/signin",
		Page: func(w http.ResponseWriter, r *http.Request) web.Page { return p.bare(w, r, "") },
	}
	return p
}

// maxBody is more than the largest form here.
const maxBody = 64 << 10

// Routes adds the portal's pages to mux.
func (p *Portal) Routes(mux *http.ServeMux) {
	for _, route := range []struct {
		pattern string
		handler web.Handler
	}{
		{"GET /{$}", p.applications},
		{"GET /profile", p.profile},
		{"GET /security", p.security},
		{"POST /security/password", p.changePassword},
		{"POST /security/sessions/{id}/end", p.endSession},
		{"POST /security/sessions/end-others", p.endOthers},
		{"GET /logo/{id}", p.logo},

		{"GET /signin", p.signIn},
		{"POST /signin", p.postSignIn},
		{"GET /signout", p.signOut},
		{"POST /signout", p.postSignOut},
		{"GET /signed-out", p.signedOut},
		{"GET /activate", p.activate},
		{"POST /activate", p.postActivate},
		{"GET /setup", p.setup},
		{"POST /setup", p.postSetup},
	} {
		mux.Handle(route.pattern, p.edge.Handle(func(w http.ResponseWriter, r *http.Request) error {
			if r.Method == http.MethodPost {
				r.Body = http.MaxBytesReader(w, r.Body, maxBody)
				if err := r.ParseForm(); err != nil {
					return problem.Wrap(problem.Invalid, err, "The form couldn't be read. Go back and send it again.")
				}
			}
			return route.handler(w, r)
		}))
	}
}

// bare returns the frame of a page outside of a session.
func (p *Portal) bare(w http.ResponseWriter, r *http.Request, title string) web.Page {
	page := web.NewPage(w, r, title)
	org, err := p.directory.Organization(r.Context())
	if err != nil {
		// The page itself says more than its frame; the name is left out.
		p.log.WarnContext(r.Context(), "the organization's name couldn't be read", "error", err)
	}
	page.Organization = web.Organization{Name: org.Name}
	return page
}

// frame returns the frame of a signed-in person's page.
func (p *Portal) frame(w http.ResponseWriter, r *http.Request, s authn.Session, title, nav string) web.Page {
	page := p.bare(w, r, title)
	page.Nav = nav
	page.Person = &web.Person{Name: s.User.Name(), Email: s.User.Email}
	if s.User.Role != access.None {
		page.Switch = &web.Crumb{Label: "Open the console", Href: p.console}
	}
	return page
}

// session returns who is signed in, or an Unauthenticated error.
func (p *Portal) session(r *http.Request) (authn.Session, error) {
	return p.authn.Session(r.Context(), p.cookie.Read(r))
}

func (p *Portal) actor(r *http.Request, s authn.Session) access.Actor {
	return s.Actor(p.address(r), web.RequestID(r.Context()))
}

func (p *Portal) origin(r *http.Request) authn.Origin {
	return authn.Origin{
		Address: p.address(r), UserAgent: r.UserAgent(), Correlation: web.RequestID(r.Context()), Device: p.cookie.ReadDevice(r),
	}
}

// welcome gives the browser a new session.
func (p *Portal) welcome(w http.ResponseWriter, s authn.Session, token string) {
	p.cookie.Set(w, token)
	if device := s.Device.Reveal(); device != "" {
		p.cookie.SetDevice(w, device)
	}
}

// withQuery returns path with one parameter more.
func withQuery(path, name, value string) string {
	if value == "" {
		return path
	}
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	return path + sep + name + "=" + url.QueryEscape(value)
}
