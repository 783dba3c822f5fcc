package console

import (
	"context"
	"net/http"
	"net/url"
	"runtime"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/web"
)

const settingsPath = root + "/settings"

// settingsFrame is the frame of the settings' tabs.
func (c *Console) settingsFrame(w http.ResponseWriter, r *request, tab string) web.Page {
	p := c.page(w, r, "settings", "Settings")
	for _, t := range []struct{ key, label string }{{"", "Organization"}, {"administrators", "Administrators"}, {"keys", "API keys"}, {"mail", "Mail"}, {"about", "About"}} {
		if t.key == "keys" && !r.can(access.ManageAPIKeys) {
			continue
		}
		if t.key == "mail" && !r.can(access.ManageSettings) {
			continue
		}
		href := settingsPath
		if t.key != "" {
			href += "/" + t.key
		}
		p.Tabs = append(p.Tabs, web.Tab{Label: t.label, Href: href, Active: t.key == tab})
	}
	return p
}

func (c *Console) settings(w http.ResponseWriter, r *request) error {
	org, err := c.Directory.Organization(r.Context())
	if err != nil {
		return err
	}
	return c.renderSettings(w, r, http.StatusOK, web.NewForm(map[string]string{"organization": org.Name}), nil)
}

func (c *Console) renderSettings(w http.ResponseWriter, r *request, status int, form web.Form, calls *web.Form) error {
	p := c.settingsFrame(w, r, "")
	if calls == nil {
		f, err := c.alarmForm(r)
		if err != nil {
			return err
		}
		calls = &f
	}
	return web.Render(w, r.Request, status, settingsPage(p, form, *calls, r.can(access.ManageSettings)))
}

func (c *Console) saveSettings(w http.ResponseWriter, r *request) error {
	err := c.Directory.SetOrganization(r.Context(), r.By, directory.Organization{Name: r.PostForm.Get("organization")})
	if err == nil {
		return done(w, r, settingsPath, "The organization's name was saved.")
	}
	form, ok := web.PostedForm(r.Request).Fail(err)
	if !ok {
		return err
	}
	return c.renderSettings(w, r, web.Status(err), form, nil)
}

// adminsView lists the people who have a role.
type adminsView struct {
	People []directory.User
	// Roles that the person may give; nil without the permission.
	Roles   []web.Option
	Form    web.Form
	By      access.Actor
	Offered []web.Option
	// More says that there are too many to list.
	More bool
}

const mostAdmins = 200

func (c *Console) administrators(w http.ResponseWriter, r *request) error {
	return c.renderAdmins(w, r, http.StatusOK, web.Form{})
}

func (c *Console) renderAdmins(w http.ResponseWriter, r *request, status int, form web.Form) error {
	v := adminsView{Form: form, By: r.By}
	for _, role := range access.Roles() {
		page, err := c.Directory.ListUsers(r.Context(), r.By, directory.UserQuery{Role: role, Limit: mostAdmins})
		if err != nil {
			return err
		}
		v.People = append(v.People, page.Items...)
		v.More = v.More || page.Next != ""
	}
	if r.can(access.ManageRoles) {
		v.Roles = roleOptions(r.By.Role, "")
	}
	return web.Render(w, r.Request, status, adminsPage(c.settingsFrame(w, r, "administrators"), v))
}

// addAdmin gives a role to the person whom the form names by e-mail or user name.
func (c *Console) addAdmin(w http.ResponseWriter, r *request) error {
	role := postedRole(r)
	var bad problem.Fields
	u, err := c.Directory.UserByLogin(r.Context(), r.By, r.PostForm.Get("login"))
	if problem.Is(err, problem.NotFound) {
		bad.Add("login", "There is nobody with this e-mail address or user name.")
	} else if err != nil {
		return err
	}
	if role == access.None || !role.Valid() {
		bad.Add("role", "Choose a role.")
	}
	if err = bad.Err(); err == nil {
		u, err = c.Directory.SetRole(r.Context(), r.By, u.ID, role)
	}
	if err != nil {
		form, ok := web.PostedForm(r.Request).Fail(err)
		if !ok {
			return err
		}
		return c.renderAdmins(w, r, web.Status(err), form)
	}
	return done(w, r, settingsPath+"/administrators", u.Name()+" now has the role "+roleName(u.Role)+".")
}

// keysView lists the API keys.
type keysView struct {
	Keys []authn.APIKey
	// Makers are the names of who made them, by id.
	Makers map[string]string
	Form   web.Form
	Roles  []web.Option
	By     access.Actor
	Now    time.Time
}

func (c *Console) apiKeys(w http.ResponseWriter, r *request) error {
	return c.renderKeys(w, r, http.StatusOK, web.NewForm(map[string]string{"life": "90", "role": string(access.ReadOnly)}))
}

func (c *Console) renderKeys(w http.ResponseWriter, r *request, status int, form web.Form) error {
	v := keysView{Form: form, Roles: roleOptions(r.By.Role, ""), By: r.By, Now: c.Now(), Makers: map[string]string{}}
	var err error
	if v.Keys, err = c.Authn.APIKeys(r.Context(), r.By); err != nil {
		return err
	}
	for _, k := range v.Keys {
		if _, ok := v.Makers[k.CreatedBy]; ok || k.CreatedBy == "" {
			continue
		}
		u, err := c.Directory.User(r.Context(), r.By, directory.UserID(k.CreatedBy))
		if err != nil && !problem.Is(err, problem.NotFound) {
			return err
		}
		v.Makers[k.CreatedBy] = u.Name()
	}
	return web.Render(w, r.Request, status, keysPage(c.settingsFrame(w, r, "keys"), v))
}

func keyLives() []web.Option {
	return []web.Option{
		{Value: "30", Label: "30 days"}, {Value: "90", Label: "90 days"}, {Value: "365", Label: "a year"}, {Value: "none", Label: "No end"},
	}
}

func (c *Console) createKey(w http.ResponseWriter, r *request) error {
	var expires time.Time
	switch r.PostForm.Get("life") {
	case "30":
		expires = c.Now().AddDate(0, 0, 30)
	case "90":
		expires = c.Now().AddDate(0, 0, 90)
	case "365":
		expires = c.Now().AddDate(1, 0, 0)
	case "none":
	default:
		form, _ := web.PostedForm(r.Request).Fail(problem.InvalidField("life", "Choose how long the key holds."))
		return c.renderKeys(w, r, http.StatusUnprocessableEntity, form)
	}
	k, secret, err := c.Authn.CreateAPIKey(r.Context(), r.By, r.PostForm.Get("name"), postedRole(r), expires)
	if err != nil {
		form, ok := web.PostedForm(r.Request).Fail(err)
		if !ok {
			return err
		}
		return c.renderKeys(w, r, web.Status(err), form)
	}
	p := c.page(w, r, "settings", "API key "+k.Name)
	p.Crumbs = []web.Crumb{{Label: "Settings", Href: settingsPath}, {Label: "API keys", Href: settingsPath + "/keys"}}
	p.Narrow = true
	return web.Render(w, r.Request, http.StatusOK, newKeyPage(p, k, secret.Reveal(), c.PublicURL))
}

func keyPath(id string) string { return settingsPath + "/keys/" + url.PathEscape(id) }

func (c *Console) confirmRevokeKey(w http.ResponseWriter, r *request) error {
	list, err := c.Authn.APIKeys(r.Context(), r.By)
	if err != nil {
		return err
	}
	for _, k := range list {
		if k.ID != r.PathValue("id") {
			continue
		}
		p := c.page(w, r, "settings", "Revoke "+k.Name)
		p.Crumbs = []web.Crumb{{Label: "Settings", Href: settingsPath}, {Label: "API keys", Href: settingsPath + "/keys"}}
		p.Narrow = true
		used := "It was never used."
		if !k.LastUsedAt.IsZero() {
			used = "It was last used " + web.Ago(k.LastUsedAt, c.Now()) + "."
		}
		return web.Render(w, r.Request, http.StatusOK, actPage(p, web.ConfirmForm{
			Action: keyPath(k.ID) + "/revoke", Submit: "Revoke key", Cancel: settingsPath + "/keys",
			Consequences: []string{"Whatever uses it is refused from now on. " + used, "This can't be taken back; make a new key instead."},
		}))
	}
	return problem.New(problem.NotFound, "There is no such API key.")
}

func (c *Console) revokeKey(w http.ResponseWriter, r *request) error {
	if err := c.Authn.RevokeAPIKey(r.Context(), r.By, r.PathValue("id")); err != nil {
		return err
	}
	return done(w, r, settingsPath+"/keys", "The key was revoked.")
}

// aboutView tells what runs here.
type aboutView struct {
	Version, Database, PublicURL, Runtime string
	// Trouble is what is wrong with the database, "" if it answers.
	Trouble string
	Took    time.Duration
	Now     time.Time
	Links   []web.Link
}

func (c *Console) about(w http.ResponseWriter, r *request) error {
	v := aboutView{Version: c.Version, PublicURL: c.PublicURL, Runtime: runtime.Version() + ", " + runtime.GOOS + "/" + runtime.GOARCH, Now: c.Now()}
	v.Database = "SQLite, in the data folder"
	if c.DB.Engine() == store.PostgreSQL {
		v.Database = "PostgreSQL"
	}
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	begin := time.Now()
	if err := c.DB.Ping(ctx); err != nil {
		c.Log.WarnContext(r.Context(), "the database doesn't answer", "error", err)
		v.Trouble = "The database doesn't answer."
	}
	v.Took = time.Since(begin)
	return web.Render(w, r.Request, http.StatusOK, aboutPage(c.settingsFrame(w, r, "about"), v))
}
