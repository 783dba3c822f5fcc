package web

import (
	"net/http"
	"time"

	"github.com/latchkey-idp/latchkey/internal/problem"
)

// Gallery serves a page for every layout, with every component on them and made-up data, to
// look at and to test. It is for development only: mount it below a prefix that it is told,
// e.g. "/gallery".
func Gallery(prefix string) http.Handler {
	edge := Edge{}
	mux := http.NewServeMux()
	mux.Handle(StaticPath, Static())
	page := func(pattern string, h Handler) { mux.Handle("GET "+prefix+pattern, edge.Handle(h)) }
	now := func() time.Time { return time.Date(2026, 11, 25, 14, 30, 0, 0, time.UTC) }
	frame := func(w http.ResponseWriter, r *http.Request, title, nav string) Page {
		p := NewPage(w, r, title)
		p.Organization = Organization{Name: "Vertex Instruments"}
		p.Person = &Person{Name: "Åsa Lindqvist", Email: "asa.lindqvist@vertex.example", Role: "Administrator"}
		p.Nav = nav
		return p
	}
	console := func(w http.ResponseWriter, r *http.Request, title, nav string) Page {
		p := frame(w, r, title, nav)
		p.Menu = ConsoleMenu(prefix)
		p.Search = prefix + "/users"
		p.Switch = &Crumb{"Go to the portal", prefix + "/portal"}
		return p
	}
	page("/{$}", func(w http.ResponseWriter, r *http.Request) error {
		p := console(w, r, "Home", "home")
		p.Subtitle = "Two applications need attention; everything else is in sync."
		return Render(w, r, http.StatusOK, galleryHome(p, now()))
	})
	page("/users", func(w http.ResponseWriter, r *http.Request) error {
		p := console(w, r, "Users", "users")
		p.Subtitle = "Everybody who can sign in, and everybody who could."
		p.Actions = Group(
			Button{Label: "Import", Icon: "upload", Href: prefix + "/users"},
			Button{Label: "Add user", Icon: "user-plus", Variant: Primary, Href: prefix + "/form"},
		)
		return Render(w, r, http.StatusOK, galleryUsers(p, now()))
	})
	page("/form", func(w http.ResponseWriter, r *http.Request) error {
		p := console(w, r, "Add application", "applications")
		p.Crumbs = []Crumb{{"Applications", prefix + "/applications"}}
		return Render(w, r, http.StatusOK, galleryForm(p, galleryBadForm()))
	})
	page("/applications", func(w http.ResponseWriter, r *http.Request) error {
		p := console(w, r, "Applications", "applications")
		p.Subtitle = "Choose a product from the catalogue. Another one works with Custom SAML, Custom SCIM, or both."
		return Render(w, r, http.StatusOK, galleryCatalogue(p))
	})
	page("/application", func(w http.ResponseWriter, r *http.Request) error {
		p := console(w, r, "Atlassian Cloud", "applications")
		p.Logo = AppLogo{Name: "Atlassian Cloud", Color: "#1558bc", Large: true}
		p.Badge = Badge{OK, "active", ""}
		p.Subtitle = "Jira, Confluence and Bitbucket for the engineering site."
		p.Crumbs = []Crumb{{"Applications", prefix + "/applications"}}
		p.Tabs = []Tab{
			{Label: "Overview", Href: "#"},
			{Label: "Sign-on", Href: "#", Active: true},
			{Label: "Provisioning", Href: "#", Level: Warn},
			{Label: "User groups", Href: "#", Count: "6"},
			{Label: "Mappings", Href: "#"},
			{Label: "Activity", Href: "#"},
		}
		p.Actions = Group(
			Menu{Label: "More actions", Icon: "ellipsis", Items: []MenuItem{
				{Label: "Download metadata", Icon: "download", Href: "#"},
				{Label: "Pause provisioning", Icon: "pause", Href: "#", Post: true},
				{Label: "Delete application…", Icon: "trash-2", Href: prefix + "/confirm", Opens: "delete", Danger: true},
			}},
			Button{Label: "Test sign-on", Icon: "log-in", Href: "#", NewTab: true},
		)
		return Render(w, r, http.StatusOK, galleryApplication(p, prefix))
	})
	page("/activity", func(w http.ResponseWriter, r *http.Request) error {
		p := console(w, r, "Activity", "activity")
		return Render(w, r, http.StatusOK, galleryActivity(p, now()))
	})
	page("/resumed", func(w http.ResponseWriter, r *http.Request) error {
		SetFlash(w, r, OK, "Provisioning was resumed. 12 changes are on their way.")
		Redirect(w, r, prefix+"/activity")
		return nil
	})
	page("/picker", func(w http.ResponseWriter, r *http.Request) error {
		return Render(w, r, http.StatusOK, PickerOptions("groups", Option{Value: "4", Label: "Support", Help: "31 people"}, Option{Value: "1", Label: "Engineering"}))
	})
	page("/drawer", func(w http.ResponseWriter, r *http.Request) error {
		if !IsHTMX(r) {
			return problem.New(problem.NotFound, "This is a part of a page.")
		}
		return Render(w, r, http.StatusOK, Banner{Level: Warn, Text: "The target refused the new name.", Detail: "Make a new group and move its members, as an act of its own."})
	})
	page("/confirm", func(w http.ResponseWriter, r *http.Request) error {
		p := console(w, r, "Delete Atlassian Cloud", "applications")
		p.Narrow = true
		return Render(w, r, http.StatusOK, galleryConfirm(p, prefix))
	})
	page("/empty", func(w http.ResponseWriter, r *http.Request) error {
		return Render(w, r, http.StatusOK, galleryEmpty(console(w, r, "Groups", "groups")))
	})
	page("/portal", func(w http.ResponseWriter, r *http.Request) error {
		p := frame(w, r, "Good morning, Åsa", "applications")
		p.Menu = PortalMenu(prefix + "/portal")
		p.Person.Role = ""
		p.Switch = &Crumb{"Go to the console", prefix + "/"}
		return Render(w, r, http.StatusOK, galleryPortal(p))
	})
	page("/signin", func(w http.ResponseWriter, r *http.Request) error {
		p := frame(w, r, "Sign in", "")
		p.Subtitle = "to continue to Atlassian Cloud"
		return Render(w, r, http.StatusOK, gallerySignIn(p))
	})
	page("/post", func(w http.ResponseWriter, r *http.Request) error {
		const acs = "https://auth.atlassian.example/login/callback?connection=saml-1"
		AllowFormTarget(w, acs)
		return Render(w, r, http.StatusOK, PostPage(PostForm{Action: acs, To: "Atlassian Cloud", Fields: []Hidden{{"SAMLResponse", "PHNhbWw+"}}, Theme: ThemeOf(r)}))
	})
	page("/error/{kind}", func(_ http.ResponseWriter, r *http.Request) error {
		for k := problem.Internal; k <= problem.Unavailable; k++ {
			if k.String() == r.PathValue("kind") {
				return &problem.Error{Kind: k, Public: "Jira doesn't show among your applications, because you are in none of its groups.", RetryAfter: 90 * time.Second}
			}
		}
		return problem.New(problem.NotFound, "There is no such kind of error.")
	})
	return RequestIDs(SecurityHeaders(false)(mux))
}

func galleryBadForm() Form {
	f := NewForm(map[string]string{
		"label": "Atlassian", "slug": "atlassian cloud", "kind": "both", "portal": "on", "email": "it@vertex", "relay": "https://vertex.atlassian.example",
	})
	var bad problem.Fields
	bad.Add("slug", "Use small letters, digits and hyphens only, e.g. atlassian-cloud.")
	bad.Add("email", "This address has no domain ending. Write it as name@example.com.")
	f, _ = f.Fail(bad.Err())
	return f
}

const galleryPEM = `-----BEGIN CERTIFICATE-----
MIIDazCCAlOgAwIBAgIUGb0d5e3oVvJmQzq1gk1m7k3hJ5QwDQYJKoZIhvcNAQEL
BQAwRTELMAkGA1UEBhMCU0UxEzARBgNVBAgMClNvbWUtU3RhdGUxITAfBgNVBAoM
-----END CERTIFICATE-----`
