package console

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// cataloguePage is the choice of a connector.
type cataloguePage struct {
	web.Page
	Query string
	// Products have a connector of their own; Generic ones fit any product.
	Products, Generic []web.Tile
}

func (c *Console) catalogue(w http.ResponseWriter, r *request) error {
	if err := mayManage(r); err != nil {
		return err
	}
	p := cataloguePage{Page: c.page(w, r, "applications", "Add application"), Query: strings.TrimSpace(r.URL.Query().Get("q"))}
	p.Subtitle = "Choose the product. Its connector knows which values are swapped, what it takes and what it refuses."
	p.Crumbs = []web.Crumb{{Label: "Applications", Href: appsPath}}
	for _, con := range c.Catalog.Search(p.Query) {
		t := connectorTile(con)
		if con.Generic {
			p.Generic = append(p.Generic, t)
		} else {
			p.Products = append(p.Products, t)
		}
	}
	return web.Render(w, r.Request, http.StatusOK, catalogueView(p))
}

func connectorTile(con *catalog.Connector) web.Tile {
	t := web.Tile{
		Name: con.Name, Description: con.Description, Href: cataloguePath + "/" + url.PathEscape(con.Key), Color: con.Colour,
		Terms: strings.Join(con.Aliases, " "),
	}
	if con.Logo != "" {
		t.ImageURL = connectorLogoURL(con)
	}
	saml, scim, bookmark := con.Has()
	for _, x := range []struct {
		has bool
		tag string
	}{{saml, "SAML"}, {scim, "SCIM"}, {bookmark, "Bookmark"}} {
		if x.has {
			t.Tags = append(t.Tags, x.tag)
		}
	}
	return t
}

// connectorLogo sends a connector's drawing. It was checked when the catalogue was loaded; the
// headers keep it harmless even when it is opened by itself.
func (c *Console) connectorLogo(w http.ResponseWriter, r *request) error {
	con, err := c.Catalog.Get(r.PathValue("connector"))
	if err != nil {
		return err
	}
	if con.Logo == "" {
		return problem.New(problem.NotFound, "This connector has no drawing.")
	}
	sendPicture(w, r, "image/svg+xml", []byte(con.Logo), "private, max-age=3600")
	return nil
}

func (c *Console) appLogo(w http.ResponseWriter, r *request) error {
	kind, picture, err := c.Apps.Logo(r.Context(), app.ID(r.PathValue("id")))
	if err != nil {
		return err
	}
	sendPicture(w, r, kind, picture, "private, max-age=604800, immutable")
	return nil
}

func sendPicture(w http.ResponseWriter, r *request, kind string, picture []byte, cache string) {
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(picture)))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Cache-Control", cache)
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(picture) // the reader may have gone
	}
}

// newAppPage names a new application.
type newAppPage struct {
	web.Page
	Con  *catalog.Connector
	Form web.Form
	// Prefix is what stands before the slug in the IdP URL.
	Prefix string
	Guide  web.Guide
}

func (c *Console) newAppFrame(w http.ResponseWriter, r *request) (newAppPage, error) {
	if err := access.Allow(r.By, access.ManageApplications); err != nil {
		return newAppPage{}, err
	}
	con, err := c.Catalog.Get(r.PathValue("connector"))
	if err != nil {
		return newAppPage{}, err
	}
	p := newAppPage{Page: c.page(w, r, "applications", "Add "+con.Name), Con: con, Prefix: strings.TrimRight(c.PublicURL, "/") + app.SSOPath}
	p.Subtitle = con.Description
	p.Crumbs = []web.Crumb{{Label: "Applications", Href: appsPath}, {Label: "Add application", Href: cataloguePath}}
	p.Logo = web.AppLogo{Name: con.Name, Color: con.Colour, ImageURL: connectorLogoURL(con), Large: true}
	if g, ok := guideOf("Guide: "+con.Name, con.FillGuide(catalog.PartStart, catalog.GuideValues{PortalURL: c.PublicURL}), "").(web.Guide); ok {
		p.Guide = g
	}
	return p, nil
}

func (c *Console) newApp(w http.ResponseWriter, r *request) error {
	p, err := c.newAppFrame(w, r)
	if err != nil {
		return err
	}
	label := p.Con.Label
	if label == "" {
		label = p.Con.Name
	}
	p.Form = web.NewForm(map[string]string{"label": label, "colour": p.Con.Colour, "portalVisible": "on"})
	return web.Render(w, r.Request, http.StatusOK, newAppView(p))
}

func (c *Console) createApp(w http.ResponseWriter, r *request) error {
	p, err := c.newAppFrame(w, r)
	if err != nil {
		return err
	}
	logo, err := postedFile(r, "logo", app.MaxLogo)
	if err != nil {
		return err
	}
	a, err := c.Apps.Create(r.Context(), r.By, app.NewApplication{
		Connector: p.Con.Key, Attributes: postedAttributes(r), Logo: logo, Slug: r.PostForm.Get("slug"),
	})
	if err != nil {
		form, ok := web.PostedForm(r.Request).Fail(err)
		if !ok {
			return err
		}
		p.Form = form
		return web.Render(w, r.Request, web.Status(err), newAppView(p))
	}
	web.Redirect(w, r.Request, appPath(a.ID, "created"))
	return nil
}

func postedAttributes(r *request) app.Attributes {
	return app.Attributes{
		Label: r.PostForm.Get("label"), Description: r.PostForm.Get("description"), Colour: r.PostForm.Get("colour"),
		PortalVisible: checked(r, "portalVisible"), BookmarkURL: r.PostForm.Get("bookmarkUrl"),
	}
}

// appCreatedPage says that an application is saved, and asks how to go on.
type appCreatedPage struct {
	appFrame
	// Next is the tab where configuration begins.
	Next, NextText string
}

func (c *Console) appCreated(w http.ResponseWriter, r *request) error {
	f, err := c.application(w, r, "")
	if err != nil {
		return err
	}
	p := appCreatedPage{appFrame: f.inner(f.App.Label+" is saved", "", "")}
	p.Narrow = true
	saml, scim, _ := f.Con.Has()
	switch {
	case saml:
		p.Next, p.NextText = f.path("sign-on"), "Next, the two sides get each other's values for sign-on."
		if f.Con.SAML.TwoHalves() {
			p.NextText = "Next, " + f.product() + " gets the values of this installation, and shows its own in return. You can leave in between: every half is kept."
		}
	case scim:
		p.Next, p.NextText = f.path("provisioning"), "Next, enter base URL and token, and look at what would be sent."
	default:
		p.Next, p.NextText = f.path("groups"), "Next, bind the groups whose members see the tile."
	}
	return web.Render(w, r.Request, http.StatusOK, appCreatedView(p))
}
