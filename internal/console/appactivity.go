package console

import (
	"net/http"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// auditOfObject asks for the last events of one object at one application.
func auditOfObject(id app.ID, kind, object string) audit.Query {
	return audit.Query{ApplicationID: string(id), Object: audit.Ref{Kind: kind, ID: object}, Limit: 10}
}

// appActivity is the activity tab of an application.
func (c *Console) appActivity(w http.ResponseWriter, r *request) error {
	f, err := c.application(w, r, tabActivity)
	if err != nil {
		return err
	}
	path := f.path("activity")
	q := audit.Query{ApplicationID: string(f.App.ID), Cursor: r.URL.Query().Get("cursor")}
	show := r.URL.Query().Get("show")
	inner := []web.Tab{{Label: "All", Href: path, Active: show == ""}}
	all := []string{"application", string(f.App.ID)}
	for _, x := range []struct {
		key, label string
		has        bool
	}{{"signin", "Sign-on", f.Con.SAML != nil}, {"provision", "Provisioning", f.Con.SCIM != nil}, {"application", "Changes of settings", true}} {
		if !x.has {
			continue
		}
		inner = append(inner, web.Tab{Label: x.label, Href: withQuery(path, "show", x.key), Active: show == x.key})
		if show == x.key {
			q.Types = typesOf("@" + x.key)
			all = append(all, "type", "@"+x.key)
		}
	}
	list, err := c.Events.Search(r.Context(), r.By, q)
	if err != nil {
		return err
	}
	v := objectActivityView{Page: f.Page, Inner: inner, Log: c.eventsView(r, list, withQuery(activityPath, all...))}
	return web.Render(w, r.Request, http.StatusOK, objectActivityPage(v))
}
