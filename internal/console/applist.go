package console

import (
	"net/http"

	"github.com/a-h/templ"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// appsPerPage is small enough to ask of each how it stands.
const appsPerPage = 25

// appListPage is the list of applications.
type appListPage struct {
	web.Page
	Query string
	Rows  []web.Row
	Pager web.Pager
	May   bool
}

func (c *Console) appList(w http.ResponseWriter, r *request) error {
	q := r.URL.Query()
	page, err := c.Apps.List(r.Context(), r.By, app.Query{Text: q.Get("q"), Cursor: q.Get("cursor"), Limit: appsPerPage})
	if err != nil {
		return err
	}
	p := appListPage{
		Page: c.page(w, r, "applications", "Applications"), Query: q.Get("q"), May: r.can(access.ManageApplications),
		Pager: pager(r, page.Next, listSummary(r, page, "application", "applications")),
	}
	p.Subtitle = "What people reach from here, and where their accounts are kept up to date."
	if p.May {
		p.Actions = web.Button{Label: "Add application", Icon: "plus", Variant: web.Primary, Href: cataloguePath}
	}
	for _, a := range page.Items {
		row, err := c.appRow(r, a)
		if err != nil {
			return err
		}
		p.Rows = append(p.Rows, row)
	}
	return web.Render(w, r.Request, http.StatusOK, appListView(p))
}

// appRow is one application with how it stands.
func (c *Console) appRow(r *request, a app.Application) (web.Row, error) {
	row := web.Row{ID: string(a.ID), Name: a.Label}
	con, err := c.Catalog.Get(a.Connector)
	if err != nil {
		con = &catalog.Connector{Key: a.Connector, Name: a.Connector, Generic: true}
	}
	raise := func(l web.Level) {
		if l == web.Danger || l == web.Warn && row.Level != web.Danger {
			row.Level = l
		}
	}
	detail := con.Name
	if a.Description != "" && con.Generic {
		detail = a.Description
	}
	identity := web.Identity{
		Name: a.Label, Detail: detail, Href: appPath(a.ID),
		Mark: web.AppLogo{Name: a.Label, Color: a.Colour, ImageURL: appLogoURL(a, con)},
	}
	var signOn, provisioning templ.Component = web.Muted("—"), web.Muted("—")
	if con.SAML != nil {
		state := stateCell{Badge: integrationBadge(a.SAML.Status)}
		pairs, err := c.Apps.Certificates(r.Context(), r.By, a.ID)
		if err != nil {
			return row, err
		}
		if p, ok := pairOf(pairs, keys.Current); ok {
			if level, text := endState(p.NotAfter, c.Now()); level != web.OK {
				state.Warning, state.Level = "Certificate "+text, level
				raise(level)
			}
		}
		src, _, err := c.Apps.MetadataSource(r.Context(), r.By, a.ID)
		if err != nil {
			return row, err
		}
		if src.Proposal != nil || src.Error != "" {
			state.Sentence, state.Href = "Its metadata can't be read", appPath(a.ID, "sign-on")+"#metadata"
			if src.Proposal != nil {
				state.Sentence, state.Href = "Its metadata has changed", appPath(a.ID, "sign-on", "metadata", "changes")
			}
			raise(web.Warn)
		}
		signOn = state
	}
	if con.SCIM != nil {
		s, err := c.Engine.Status(r.Context(), r.By, a.ID)
		if err != nil {
			return row, err
		}
		state := stateCell{Badge: integrationBadge(a.SCIM.Status)}
		if a.SCIM.Status != app.Incomplete && a.SCIM.Status != app.Off {
			state.Sentence, state.Level = s.Sentence, web.Level(s.Level)
			raise(state.Level)
		}
		if a.SCIM.TokenSet {
			if level, text := endState(a.SCIM.TokenExpiresAt, c.Now()); level == web.Warn || level == web.Danger {
				state.Warning = "Token " + text
				raise(level)
			}
		}
		provisioning = state
	}
	var groups templ.Component = web.Badge{Level: web.Neutral, Label: "nobody", Icon: "lock"}
	if a.Groups > 0 {
		groups = web.Link{Label: web.Number(a.Groups).String(), Href: appPath(a.ID, "groups")}
	}
	row.Cells = web.Cells(identity, signOn, provisioning, groups)
	return row, nil
}

// stateCell is an integration's state in a table: badge, sentence, warning.
type stateCell struct {
	Badge    web.Badge
	Sentence string
	Level    web.Level
	Warning  string
	// Href leads from the sentence to what it tells of.
	Href string
}
