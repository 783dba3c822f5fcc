package web

import (
	"context"
	"io"
	"net/http"

	"github.com/a-h/templ"
)

// Page is what every layout needs to know. Start with NewPage, which fills Theme, Flash and
// Path from the request.
type Page struct {
	// Title names the page, in the window's title and as its one h1.
	Title string
	// Subtitle is one line below the title.
	Subtitle string
	// HideHeader leaves out the h1 and its line, for a page that draws its own h1.
	HideHeader bool
	// Badge stands beside the title, e.g. a Badge with the state.
	Badge templ.Component
	// Logo stands before the title, e.g. an AppLogo or Avatar.
	Logo templ.Component
	// Actions stand at the right of the title, most important last; several with Group.
	Actions templ.Component
	// Crumbs lead to this page, from the outside in, without the page itself.
	Crumbs []Crumb
	// Tabs are the parts of the object that the page shows.
	Tabs []Tab

	// Organization is whose installation this is.
	Organization Organization
	// Person is who is signed in; nil on sign-in and error pages.
	Person *Person
	// Nav is the Key of the navigation entry that is current.
	Nav string
	// Menu is the navigation; nil means ConsoleMenu("/console") or PortalMenu("/").
	Menu []NavItem
	// Search is where the console's search box sends its GET with parameter "q"; empty hides it.
	Search string
	// SignOut is where the sign-out form posts; empty means "/signout".
	SignOut string
	// Switch is a link to the other audience's pages in the account menu, e.g. from console to
	// portal; nil leaves it out.
	Switch *Crumb
	// Narrow sets the content in one reading column, for forms and wizards.
	Narrow bool
	// Wide gives the card of Bare more room, for set-up pages.
	Wide bool

	// Theme is the person's choice of colours.
	Theme Theme
	// Flash is what just happened.
	Flash []Message
	// Path is the request's path and query, for links that return here.
	Path string
}

// NewPage returns a Page with a title and what the request itself tells: theme, path, and the
// message kept by SetFlash, which is thereby taken.
func NewPage(w http.ResponseWriter, r *http.Request, title string) Page {
	return Page{Title: title, Theme: ThemeOf(r), Flash: TakeFlash(w, r), Path: r.URL.RequestURI()}
}

// Organization is shown on sign-in and in the portal.
type Organization struct {
	// Name as people know it; empty shows only Latchkey.
	Name string
	// LogoURL is a path on this site; empty shows the name alone.
	LogoURL string
}

// Person is who is signed in.
type Person struct {
	Name  string
	Email string
	// Role is shown below the name in the console, e.g. "Administrator".
	Role string
}

// Crumb is a link with a name.
type Crumb struct{ Label, Href string }

// Tab is one part of an object's page.
type Tab struct {
	Label  string
	Href   string
	Active bool
	// Count is shown behind the label when it isn't empty.
	Count string
	// Level marks a tab that needs attention (Warn, Danger) with a dot and the word.
	Level Level
}

// NavItem is one entry of the navigation.
type NavItem struct {
	Key, Label, Href, Icon string
	// Note is shown behind the label, e.g. a count of things to do; empty hides it.
	Note string
}

// ConsoleMenu returns the console's navigation below base, e.g. "/console". Keys: "home",
// "users", "groups", "applications", "policy", "activity", "settings"; each is also the path
// below base ("home" is base itself).
func ConsoleMenu(base string) []NavItem {
	return []NavItem{
		{Key: "home", Label: "Home", Href: cmpOr(base, "/"), Icon: "house"},
		{Key: "users", Label: "Users", Href: base + "/users", Icon: "user-round"},
		{Key: "groups", Label: "Groups", Href: base + "/groups", Icon: "users-round"},
		{Key: "applications", Label: "Applications", Href: base + "/applications", Icon: "layout-grid"},
		{Key: "policy", Label: "Sign-in policy", Href: base + "/policy", Icon: "shield-check"},
		{Key: "activity", Label: "Activity", Href: base + "/activity", Icon: "activity"},
		{Key: "settings", Label: "Settings", Href: base + "/settings", Icon: "settings"},
	}
}

// PortalMenu returns the portal's navigation. Keys: "applications" (at base, e.g. "/"),
// "profile", "security".
func PortalMenu(base string) []NavItem {
	root := base
	if root != "" && root[len(root)-1] == '/' {
		root = root[:len(root)-1]
	}
	return []NavItem{
		{Key: "applications", Label: "Applications", Href: cmpOr(root, "/"), Icon: "layout-grid"},
		{Key: "profile", Label: "Profile", Href: root + "/profile", Icon: "user-round"},
		{Key: "security", Label: "Security", Href: root + "/security", Icon: "shield-check"},
	}
}

// Theme is a choice of colours.
type Theme string

// The themes. ThemeAuto follows the system.
const (
	ThemeAuto  Theme = ""
	ThemeLight Theme = "light"
	ThemeDark  Theme = "dark"
)

// ThemeOf returns the theme in the request's cookie "theme", which app.js writes. The server
// reads it so that a page never flashes in the wrong colours.
func ThemeOf(r *http.Request) Theme {
	c, err := r.Cookie("theme")
	if err != nil {
		return ThemeAuto
	}
	switch t := Theme(c.Value); t {
	case ThemeLight, ThemeDark:
		return t
	}
	return ThemeAuto
}

// Level says how much something matters. Every level has a colour, an icon and a word.
type Level string

// The levels.
const (
	Neutral Level = ""
	Info    Level = "info"
	OK      Level = "ok"
	Warn    Level = "warn"
	Danger  Level = "danger"
)

func (l Level) icon() string {
	switch l {
	case OK:
		return "circle-check"
	case Warn:
		return "triangle-alert"
	case Danger:
		return "octagon-alert"
	case Info:
		return "info"
	default:
		return "circle"
	}
}

func (l Level) word() string {
	switch l {
	case OK:
		return "Done"
	case Warn:
		return "Attention"
	case Danger:
		return "Problem"
	case Info:
		return "Note"
	default:
		return ""
	}
}

func (l Level) class() string {
	if l == Neutral {
		return "neutral"
	}
	return string(l)
}

func (p Page) windowTitle() string {
	t := cmpOr(p.Title, "Latchkey")
	if n := p.Organization.Name; n != "" {
		return t + " · " + n
	}
	if t == "Latchkey" {
		return t
	}
	return t + " · Latchkey"
}

func (p Page) menu(fallback []NavItem) []NavItem {
	if p.Menu != nil {
		return p.Menu
	}
	return fallback
}

// htmxConfig switches off what the Content-Security-Policy forbids and what would keep pages
// of persons in the browser's storage. Error answers are shown only when they come from Edge,
// which retargets them; app.js sees to that.
const htmxConfig = `{"allowEval":false,"allowScriptTags":false,"includeIndicatorStyles":false,` +
	`"historyCacheSize":0,"refreshOnHistoryMiss":true,"selfRequestsOnly":true,"timeout":20000,` +
	`"responseHandling":[{"code":"204","swap":false},{"code":"[23]..","swap":true},` +
	`{"code":"422","swap":true},{"code":"[45]..","swap":false,"error":true}]}`

// Group puts components beside each other, e.g. several buttons as Page.Actions.
func Group(parts ...templ.Component) templ.Component { return group(parts) }

// within renders inner as the children of outer.
func within(outer, inner templ.Component) templ.Component {
	return templ.ComponentFunc(func(ctx context.Context, w io.Writer) error {
		return outer.Render(templ.WithChildren(ctx, inner), w)
	})
}
