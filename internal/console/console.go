// Package console is the administrators' pages below /console. It hides how an administrator's
// request becomes an actor, and how what the domain packages know is laid out, explained and
// confirmed on pages that work without script.
//
// A page is a struct with what it shows and a templ component of the same name beside its
// handler. A handler decodes, calls the domain with the request's actor, and renders; whether
// something is allowed is decided there. The pages only leave out what a role can't do anyway.
package console

import (
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/a-h/templ"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/mail"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// Config joins a Console to its house. All fields are needed but Log, ClientAddress, Version,
// Mail, MailWhere and MaxImport.
type Config struct {
	Authn     *authn.Authn
	Directory *directory.Directory
	Apps      *app.Applications
	Engine    *provision.Engine
	Events    *audit.Log
	Catalog   *catalog.Catalog
	DB        *store.DB
	Inspector Inspector
	// Mail is the mail that the program sends; nil: none is set up.
	Mail *mail.Mailer
	// MailWhere says in words how mail is sent: "by smtp.example.org", "into the folder …".
	MailWhere string
	// PublicURL is how people reach us, without a slash at the end.
	PublicURL string
	Version   string
	Now       func() time.Time
	// Log receives errors that no page can explain; nil discards them.
	Log *slog.Logger
	// ClientAddress returns a request's IP address, as found behind trusted proxies; nil takes
	// that of the connection.
	ClientAddress func(*http.Request) string
	Cookie        web.SessionCookie
	// MaxImport is the largest file of people in bytes; default 64 MiB.
	MaxImport int64
	// Policy is what the sign-in policy page shows; its zero fields aren't shown.
	Policy Policy
}

const (
	maxForm          = 1 << 20 // bytes; also a logo, a metadata file and a key pair fit
	defaultMaxImport = 64 << 20
	root             = "/console"
)

// Console serves the pages. It is safe for concurrent use.
type Console struct {
	Config
}

// New returns the console of a house.
func New(c Config) *Console {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.ClientAddress == nil {
		c.ClientAddress = func(r *http.Request) string { return hostOf(r.RemoteAddr) }
	}
	if c.MaxImport == 0 {
		c.MaxImport = defaultMaxImport
	}
	return &Console{c}
}

// Routes adds the console's pages to mux, all below /console. The caller refuses cross-origin
// posts.
func (c *Console) Routes(mux *http.ServeMux) {
	c.routesApplications(mux)
	for _, x := range []struct {
		pattern string
		handler handler
	}{
		{"GET " + root, c.home},
		{"GET " + searchPath, c.search},

		{"GET " + usersPath, c.users},
		{"GET " + usersPath + "/new", c.newUser},
		{"POST " + usersPath + "/new", c.createUser},
		{"GET " + usersPath + "/{id}", c.user},
		{"POST " + usersPath + "/{id}", c.saveUser},
		{"GET " + usersPath + "/{id}/groups", c.userGroups},
		{"POST " + usersPath + "/{id}/groups", c.joinGroups},
		{"POST " + usersPath + "/{id}/groups/leave", c.leaveGroup},
		{"GET " + usersPath + "/{id}/applications", c.userApplications},
		{"POST " + usersPath + "/{id}/applications/retry", c.retryUser},
		{"GET " + usersPath + "/{id}/sessions", c.userSessions},
		{"POST " + usersPath + "/{id}/sessions", c.endSession},
		{"GET " + usersPath + "/{id}/sessions/end", c.userAct("End all sessions of", mayEnd, c.endSessionsForm)},
		{"POST " + usersPath + "/{id}/sessions/end", c.endSessions},
		{"GET " + usersPath + "/{id}/activity", c.userActivity},
		{"GET " + usersPath + "/{id}/suspend", c.userAct("Suspend", mayMove, c.suspendForm)},
		{"POST " + usersPath + "/{id}/suspend", c.suspendUser},
		{"POST " + usersPath + "/{id}/unsuspend", c.unsuspendUser},
		{"POST " + usersPath + "/{id}/activate", c.activateUser},
		{"GET " + usersPath + "/{id}/delete", c.userAct("Delete", mayDelete, c.deleteForm)},
		{"POST " + usersPath + "/{id}/delete", c.deleteUser},
		{"GET " + usersPath + "/{id}/role", c.userAct("Role of", mayGiveRole, c.roleForm)},
		{"POST " + usersPath + "/{id}/role", c.setRole},
		{"GET " + usersPath + "/{id}/link", c.userAct("One-time link for", mayReset, c.linkForm)},
		{"POST " + usersPath + "/{id}/link", c.newLink},
		{"GET " + usersPath + "/{id}/password", c.userAct(passwordTitle, mayReset, c.passwordForm)},
		{"POST " + usersPath + "/{id}/password", c.setPassword},

		{"GET " + userImportPath, c.userImport},
		{"GET " + userImportPath + "/template.csv", c.importTemplate},
		{"GET " + uploadsPath + "/{id}", c.showUpload},
		{"GET " + uploadsPath + "/{id}/report.csv", c.uploadReport},
		{"POST " + uploadsPath + "/{id}/run", c.runUpload},
		{"POST " + uploadsPath + "/{id}/discard", c.dropUpload},

		{"GET " + receiptsPath, c.receipts},
		{"GET " + receiptsPath + "/{user}", c.receipt},
		{"POST " + receiptsPath + "/{user}/close", c.closeReceipt},

		{"GET " + groupsPath, c.groups},
		{"GET " + groupsPath + "/new", c.newGroup},
		{"POST " + groupsPath + "/new", c.createGroup},
		{"GET " + groupsPath + "/{id}", c.group},
		{"POST " + groupsPath + "/{id}/members", c.addMembers},
		{"POST " + groupsPath + "/{id}/members/remove", c.removeMembers},
		{"GET " + groupsPath + "/{id}/applications", c.groupApplications},
		{"POST " + groupsPath + "/{id}/applications", c.bindApplications},
		{"GET " + groupsPath + "/{id}/applications/{application}/unbind", c.unbindForm},
		{"POST " + groupsPath + "/{id}/applications/{application}/unbind", c.unbindApplication},
		{"GET " + groupsPath + "/{id}/activity", c.groupActivity},
		{"GET " + groupsPath + "/{id}/edit", c.editGroup},
		{"POST " + groupsPath + "/{id}/edit", c.saveGroup},
		{"GET " + groupsPath + "/{id}/delete", c.confirmDeleteGroup},
		{"POST " + groupsPath + "/{id}/delete", c.deleteGroup},

		{"GET " + root + "/pick/users", c.pickUsers},
		{"GET " + root + "/pick/groups", c.pickGroups},
		{"GET " + root + "/pick/applications", c.pickApplications},

		{"GET " + root + "/policy", c.policy},
		{"GET " + activityPath, c.activity},
		{"GET " + activityPath + "/{id}", c.event},
		{"GET " + activityPath + "/export.csv", c.exportCSV},
		{"GET " + activityPath + "/export.jsonl", c.exportLines},

		{"GET " + settingsPath, c.settings},
		{"POST " + settingsPath, c.saveSettings},
		{"POST " + settingsPath + "/alarms", c.saveAlarms},
		{"GET " + settingsPath + "/administrators", c.administrators},
		{"POST " + settingsPath + "/administrators", c.addAdmin},
		{"GET " + settingsPath + "/keys", c.apiKeys},
		{"POST " + settingsPath + "/keys", c.createKey},
		{"GET " + settingsPath + "/keys/{id}/revoke", c.confirmRevokeKey},
		{"POST " + settingsPath + "/keys/{id}/revoke", c.revokeKey},
		{"GET " + mailPath, c.mail},
		{"POST " + mailPath + "/test", c.testMail},
		{"POST " + mailPath + "/{id}/retry", c.retryMail},
		{"GET " + settingsPath + "/about", c.about},
	} {
		c.handle(mux, x.pattern, x.handler)
	}
	c.handleUpload(mux, "POST "+userImportPath, c.MaxImport, c.uploadPeople)
	c.handle(mux, root+"/", func(http.ResponseWriter, *request) error {
		return problem.New(problem.NotFound, "There is nothing at this address. The link may be old, or the thing may have been deleted.")
	})
}

// request is a request of a signed-in person who has a role.
type request struct {
	*http.Request
	// Session is whose request it is, By the person as the actor of what it does.
	Session authn.Session
	By      access.Actor
}

// can reports whether the person's role allows p, to leave out what it doesn't.
func (r *request) can(p access.Permission) bool { return r.By.Role.Can(p) }

// handler answers a request or returns an error, which becomes a page. See web.Handler.
type handler func(w http.ResponseWriter, r *request) error

// handle adds a page. Its form, if it posts one, is parsed when h is called.
func (c *Console) handle(mux *http.ServeMux, pattern string, h handler) {
	c.handleUpload(mux, pattern, maxForm, h)
}

// handleUpload is handle for posts of up to max bytes.
func (c *Console) handleUpload(mux *http.ServeMux, pattern string, max int64, h handler) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, hr *http.Request) {
		r := &request{Request: hr}
		edge := web.Edge{
			Log:    c.Log,
			Home:   "/",
			SignIn: "/signin",
			Page: func(w http.ResponseWriter, hr *http.Request) web.Page {
				return c.page(w, r, "", "")
			},
			Layout: func(p web.Page) templ.Component {
				if r.By.Role == access.None {
					return web.Bare(p)
				}
				return web.Console(p)
			},
		}
		edge.Handle(func(w http.ResponseWriter, _ *http.Request) error {
			return c.enter(w, r, max, h)
		}).ServeHTTP(w, hr)
	})
}

// enter finds out who asks, sends away who may not, and calls h.
func (c *Console) enter(w http.ResponseWriter, r *request, max int64, h handler) error {
	s, err := c.Authn.Session(r.Context(), c.Cookie.Read(r.Request))
	if err != nil {
		return err
	}
	r.Session = s
	r.By = s.Actor(c.ClientAddress(r.Request), web.RequestID(r.Context()))
	if s.User.Role == access.None {
		return problem.New(problem.Forbidden,
			"These pages are for administrators, and %s isn't one. Your applications are on the start page.", s.User.Email)
	}
	if r.Method == http.MethodPost {
		r.Body = http.MaxBytesReader(w, r.Body, max)
		if err := parseForm(r.Request); err != nil {
			return err
		}
		if r.MultipartForm != nil {
			defer func() { _ = r.MultipartForm.RemoveAll() }() // temporary files; the system's clean-up is the fallback
		}
	}
	return h(w, r)
}

func parseForm(r *http.Request) error {
	var err error
	if strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/form-data") {
		err = r.ParseMultipartForm(1 << 20)
	} else {
		err = r.ParseForm()
	}
	if err == nil || web.Status(err) == http.StatusRequestEntityTooLarge {
		return err
	}
	return problem.Wrap(problem.Invalid, err, "The form can't be read. Go back and send it again.")
}

func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}

// page returns the frame of a page. nav is the key of its entry in the navigation.
func (c *Console) page(w http.ResponseWriter, r *request, nav, title string) web.Page {
	p := web.NewPage(w, r.Request, title)
	p.Nav = nav
	org, err := c.Directory.Organization(r.Context())
	if err != nil {
		c.Log.WarnContext(r.Context(), "the organization's name can't be read", "error", err)
	}
	p.Organization.Name = org.Name
	if r.By.Role != access.None {
		p.Person = &web.Person{Name: r.Session.User.Name(), Email: r.Session.User.Email, Role: roleName(r.By.Role)}
		p.Search = searchPath
		p.Switch = &web.Crumb{Label: "My applications", Href: "/"}
	}
	return p
}

// redirect tells the person what happened and sends them to the next page.
func redirect(w http.ResponseWriter, r *request, path string, level web.Level, message string) error {
	if message != "" {
		web.SetFlash(w, r.Request, level, message)
	}
	web.Redirect(w, r.Request, path)
	return nil
}

// done is redirect after something went well.
func done(w http.ResponseWriter, r *request, path, message string) error {
	return redirect(w, r, path, web.OK, message)
}
