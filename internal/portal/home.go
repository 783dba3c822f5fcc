package portal

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// searchFrom is how many tiles make a search box worth its room.
const searchFrom = 7

// applications shows the tiles of what the person may use.
func (p *Portal) applications(w http.ResponseWriter, r *http.Request) error {
	s, err := p.session(r)
	if problem.Is(err, problem.Unauthenticated) {
		web.Redirect(w, r, "/signin") // without "return": this is where sign-in leads anyway
		return nil
	}
	if err != nil {
		return err
	}
	var list []app.Application
	err = p.db.View(r.Context(), func(tx *store.Tx) (err error) {
		list, err = app.TileApplications(tx, s.User.ID)
		return err
	})
	if err != nil {
		return err
	}
	tiles := web.Tiles{}
	for _, a := range list {
		tiles.Items = append(tiles.Items, tile(a))
	}
	if len(list) >= searchFrom {
		tiles.Search = "Search your applications"
	}
	page := p.frame(w, r, s, "Applications", "applications")
	return web.Render(w, r, http.StatusOK, applicationsPage(page, tiles, s.User.Role != access.None, p.console))
}

func tile(a app.Application) web.Tile {
	t := web.Tile{
		Name: a.Label, Description: a.Description, Color: a.Colour, NewTab: true, Terms: a.Connector,
		Href: "/launch/" + url.PathEscape(string(a.ID)),
	}
	if a.HasLogo {
		t.ImageURL = "/logo/" + url.PathEscape(string(a.ID)) + "?v=" + strconv.FormatInt(a.Version, 10)
	}
	return t
}

// logo sends an application's picture. Its address changes with the application, so it may be
// kept for long.
func (p *Portal) logo(w http.ResponseWriter, r *http.Request) error {
	if _, err := p.session(r); err != nil {
		return err
	}
	kind, picture, err := p.apps.Logo(r.Context(), app.ID(r.PathValue("id")))
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(picture)))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Cache-Control", "private, max-age=604800, immutable")
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(picture) // the reader may have gone
	}
	return nil
}

// profileView is what people see of what is kept about them.
type profileView struct {
	User    directory.User
	Manager string
	Groups  []directory.Group
}

// profile shows what is kept about the person. Only administrators change it.
func (p *Portal) profile(w http.ResponseWriter, r *http.Request) error {
	s, err := p.session(r)
	if err != nil {
		return err
	}
	var v profileView
	err = p.db.View(r.Context(), func(tx *store.Tx) (err error) {
		if v.Groups, err = directory.GroupsOfUser(tx, s.User.ID); err != nil {
			return err
		}
		v.User = directory.Effective(s.User, v.Groups)
		if v.User.ManagerID == "" {
			return nil
		}
		m, err := directory.GetUser(tx, v.User.ManagerID)
		if problem.Is(err, problem.NotFound) {
			return nil
		}
		v.Manager = m.Name()
		return err
	})
	if err != nil {
		return err
	}
	page := p.frame(w, r, s, "Profile", "profile")
	page.Subtitle = "What your organization keeps about you. Ask an administrator to correct it."
	return web.Render(w, r, http.StatusOK, profilePage(page, v))
}

// facts are the attributes that have a value, in groups of a card each.
func (v profileView) person() web.Facts {
	u := v.User
	return present([][2]string{
		{"Name", u.Name()},
		{"Given name", u.GivenName},
		{"Middle name", u.MiddleName},
		{"Family name", u.FamilyName},
		{"E-mail", u.Email},
		{"User name", u.Username},
		{"Other e-mail", u.AlternateEmail},
		{"Phone", phones(u.Phones)},
		{"Address", addresses(u.Addresses)},
		{"Language", u.PreferredLanguage},
		{"Time zone", u.TimeZone},
	})
}

func (v profileView) work() web.Facts {
	u := v.User
	return present([][2]string{
		{"Job title", u.Title},
		{"Department", u.Department},
		{"Company", u.Company},
		{"Location", u.Location},
		{"Manager", v.Manager},
		{"Employee id", u.EmployeeID},
		{"Employee type", u.EmployeeType},
		{"Cost centre", u.CostCentre},
		{"Groups", groupNames(v.Groups)},
	})
}

func present(list [][2]string) web.Facts {
	var out web.Facts
	for _, f := range list {
		if f[1] != "" {
			out = append(out, web.Fact{Term: f[0], Value: web.Text(f[1])})
		}
	}
	return out
}

func phones(list []directory.Phone) string {
	var out []string
	for _, x := range list {
		s := x.Value
		if x.Type != "" {
			s += " (" + x.Type + ")"
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

func addresses(list []directory.Address) string {
	var out []string
	for _, x := range list {
		parts := slices.DeleteFunc([]string{x.Street, strings.TrimSpace(x.PostalCode + " " + x.Locality), x.Region, x.Country}, func(s string) bool { return s == "" })
		out = append(out, strings.Join(parts, ", "))
	}
	return strings.Join(out, "; ")
}

func groupNames(list []directory.Group) string {
	var out []string
	for _, g := range list {
		out = append(out, g.Name)
	}
	return strings.Join(out, ", ")
}

// securityView is how safe the person's account is.
type securityView struct {
	Session  authn.Session
	Sessions []authn.Session
	Form     web.Form
	Least    int
	Now      time.Time
}

func (p *Portal) security(w http.ResponseWriter, r *http.Request) error {
	s, err := p.session(r)
	if err != nil {
		return err
	}
	return p.renderSecurity(w, r, http.StatusOK, s, web.Form{})
}

func (p *Portal) renderSecurity(w http.ResponseWriter, r *http.Request, status int, s authn.Session, form web.Form) error {
	list, err := p.authn.Sessions(r.Context(), p.actor(r, s), s.User.ID)
	if err != nil {
		return err
	}
	page := p.frame(w, r, s, "Security", "security")
	page.Subtitle = "How you sign in, and where you are signed in."
	return web.Render(w, r, status, securityPage(page, securityView{Session: s, Sessions: list, Form: form, Least: p.authn.MinPassword(), Now: p.now()}))
}

func (p *Portal) changePassword(w http.ResponseWriter, r *http.Request) error {
	s, err := p.session(r)
	if err != nil {
		return err
	}
	err = samePassword(r)
	if err == nil {
		err = p.authn.ChangePassword(r.Context(), s, p.origin(r), keys.Secret(r.PostForm.Get("current")), keys.Secret(r.PostForm.Get("password")))
	}
	if err != nil {
		form, ok := web.PostedForm(r).Fail(err)
		if !ok {
			return err
		}
		return p.renderSecurity(w, r, web.Status(err), s, form)
	}
	web.SetFlash(w, r, web.OK, "Your password is changed. You are signed out everywhere else.")
	web.Redirect(w, r, "/security")
	return nil
}

func (p *Portal) endSession(w http.ResponseWriter, r *http.Request) error {
	s, err := p.session(r)
	if err != nil {
		return err
	}
	err = p.authn.RevokeSession(r.Context(), p.actor(r, s), r.PathValue("id"))
	switch {
	case problem.Is(err, problem.NotFound):
		web.SetFlash(w, r, web.Info, "That session had ended already.")
	case err != nil:
		return err
	default:
		web.SetFlash(w, r, web.OK, "That session is ended.")
	}
	web.Redirect(w, r, "/security")
	return nil
}

func (p *Portal) endOthers(w http.ResponseWriter, r *http.Request) error {
	s, err := p.session(r)
	if err != nil {
		return err
	}
	if err := p.authn.RevokeOthers(r.Context(), s, p.origin(r)); err != nil {
		return err
	}
	web.SetFlash(w, r, web.OK, "You are signed out everywhere but here.")
	web.Redirect(w, r, "/security")
	return nil
}

func (v securityView) table() web.Table {
	t := web.Table{
		Caption: "Where you are signed in",
		Columns: []web.Column{{Title: "Browser"}, {Title: "Address"}, {Title: "Signed in"}, {Title: "Last used"}, {Title: "End", Hidden: true, Narrow: true}},
	}
	for _, s := range v.Sessions {
		row := web.Row{ID: s.ID, Cells: web.Cells(
			web.Text(browser(s.UserAgent)), web.Code(s.Address), web.Time{At: s.AuthenticatedAt, Now: v.Now}, web.Time{At: s.SeenAt, Now: v.Now}, nil)}
		if s.ID == v.Session.ID {
			row.Cells[0] = web.Group(web.Text(browser(s.UserAgent)+" "), web.Badge{Level: web.OK, Label: "this one"})
		} else {
			row.Cells[4] = web.PostButton{
				Button: web.Button{Label: "End", Small: true, Icon: "log-out"}, Action: "/security/sessions/" + url.PathEscape(s.ID) + "/end",
			}
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// browser names browser and system in a User-Agent, roughly: it is only there to tell one's own
// sessions apart.
func browser(agent string) string {
	find := func(list [][2]string) string {
		for _, x := range list {
			if strings.Contains(agent, x[0]) {
				return x[1]
			}
		}
		return ""
	}
	name := find([][2]string{
		{"Edg/", "Edge"},
		{"OPR/", "Opera"},
		{"Firefox/", "Firefox"},
		{"FxiOS/", "Firefox"},
		{"CriOS/", "Chrome"},
		{"Chromium/", "Chromium"},
		{"HeadlessChrome/", "Chrome"},
		{"Chrome/", "Chrome"},
		{"Safari/", "Safari"},
		{"curl/", "curl"},
	})
	system := find([][2]string{
		{"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"Windows", "Windows"}, {"Mac OS X", "macOS"}, {"CrOS", "ChromeOS"}, {"Linux", "Linux"},
	})
	switch {
	case name != "" && system != "":
		return name + " on " + system
	case name != "" || system != "":
		return name + system
	case agent == "":
		return "Unknown"
	}
	if r := []rune(agent); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return agent
}
