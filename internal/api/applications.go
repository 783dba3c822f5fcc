package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/directory"
)

// Application is an instance of a connector.
type Application struct {
	ID        app.ID `json:"id"`
	Connector string `json:"connector" doc:"Key of its connector in the catalogue."`
	app.Attributes
	HasLogo   bool             `json:"hasLogo"`
	Slug      string           `json:"slug,omitempty" doc:"Last part of the IdP URL."`
	OldSlugs  []string         `json:"oldSlugs" doc:"Older ones, which answer until they are dropped."`
	URLs      *ApplicationURLs `json:"urls,omitempty" doc:"What the service provider is given."`
	Groups    int              `json:"groups" doc:"How many groups are bound."`
	SAML      *SAML            `json:"saml,omitempty" doc:"Sign-on; missing if the connector has none."`
	SCIM      *SCIM            `json:"scim,omitempty" doc:"Provisioning; missing if the connector has none."`
	Warnings  []app.Warning    `json:"warnings" doc:"Doubts about settings; they keep nothing from being saved."`
	Version   int64            `json:"version"`
	CreatedAt time.Time        `json:"createdAt"`
	UpdatedAt time.Time        `json:"updatedAt"`
}

// ApplicationURLs are the addresses that a service provider is given.
type ApplicationURLs struct {
	SSO         string `json:"sso"`
	SLO         string `json:"slo"`
	Metadata    string `json:"metadata"`
	Certificate string `json:"certificate"`
}

// SAML is an application's sign-on.
type SAML struct {
	app.SAMLSettings
	Status      app.Status `json:"status" enum:"off,incomplete,active,paused"`
	Missing     []string   `json:"missing" doc:"What has to be entered before it can be activated."`
	ActivatedAt time.Time  `json:"activatedAt,omitzero"`
}

// SCIM is an application's provisioning.
type SCIM struct {
	app.SCIMSettings
	TokenSet bool       `json:"tokenSet"`
	Status   app.Status `json:"status" enum:"off,incomplete,active,paused,stopped"`
	Reason   string     `json:"reason,omitempty"`
	Since    time.Time  `json:"since,omitzero"`
	Missing  []string   `json:"missing" doc:"What has to be entered before it can be activated."`
}

func (a *API) wireApplication(x app.Application) Application {
	out := Application{
		ID: x.ID, Connector: x.Connector, Attributes: x.Attributes, HasLogo: x.HasLogo, Slug: x.Slug, OldSlugs: orEmpty(x.OldSlugs),
		Groups: x.Groups, Warnings: orEmpty(a.Apps.Warnings(x)), Version: x.Version, CreatedAt: x.CreatedAt, UpdatedAt: x.UpdatedAt,
	}
	if x.Slug != "" {
		u := a.Apps.URLs(x)
		out.URLs = &ApplicationURLs{SSO: u.SSO, SLO: u.SLO, Metadata: u.Metadata, Certificate: u.Certificate}
	}
	if x.SAML.Offered {
		s := wireSAML(x.SAML)
		out.SAML = &s
	}
	if x.SCIM.Offered {
		s := wireSCIM(x.SCIM)
		out.SCIM = &s
	}
	return out
}

func wireSAML(s app.SAML) SAML {
	s.ACS, s.SPCertificates = orEmpty(s.ACS), orEmpty(s.SPCertificates)
	return SAML{SAMLSettings: s.SAMLSettings, Status: s.Status, Missing: orEmpty(s.Missing), ActivatedAt: s.ActivatedAt}
}

func wireSCIM(s app.SCIM) SCIM {
	s.Match = orEmpty(s.Match)
	return SCIM{SCIMSettings: s.SCIMSettings, TokenSet: s.TokenSet, Status: s.Status, Reason: s.Reason, Since: s.Since, Missing: orEmpty(s.Missing)}
}

// NewApplication is what an application is created from.
type NewApplication struct {
	Connector string `json:"connector" doc:"Key of a connector, see GET /connectors."`
	app.Attributes
	PortalVisible *bool  `json:"portalVisible,omitempty" doc:"True when missing."`
	Slug          string `json:"slug,omitempty" doc:"Last part of the IdP URL; the connector's when missing."`
}

// Connector is a product that the catalogue knows.
type Connector struct {
	Key         string   `json:"key"`
	Name        string   `json:"name"`
	Aliases     []string `json:"aliases"`
	Description string   `json:"description"`
	Category    string   `json:"category"`
	SAML        bool     `json:"saml"`
	SCIM        bool     `json:"scim"`
}

func wireConnector(c *catalog.Connector) Connector {
	return Connector{
		Key: c.Key, Name: c.Name, Aliases: orEmpty(c.Aliases), Description: c.Description, Category: string(c.Category),
		SAML: c.SAML != nil, SCIM: c.SCIM != nil,
	}
}

// SlugChange gives another IdP URL.
type SlugChange struct {
	Slug string `json:"slug" required:"true"`
}

// ApplicationPath names an application.
type ApplicationPath struct {
	ID app.ID `path:"id" doc:"The application's id."`
}

func (a *API) answerApplication(x app.Application, err error) (*answer[Application], error) {
	if err != nil {
		return nil, err
	}
	return &answer[Application]{ETag: etag(x.Version), Body: a.wireApplication(x)}, nil
}

func (a *API) applicationRoutes() {
	route(a, operation{method: http.MethodGet, path: "/connectors", id: "list-connectors", tag: "applications", summary: "List the catalogue of products"},
		func(_ context.Context, by access.Actor, in *struct {
			Text string `query:"text" doc:"Looked for in names and aliases."`
		},
		) (*list[Connector], error) {
			if err := access.Allow(by, access.ReadApplications); err != nil {
				return nil, err
			}
			if in.Text != "" {
				return all(a.Catalog.Search(in.Text), wireConnector, nil)
			}
			return all(a.Catalog.All(), wireConnector, nil)
		})
	route(a, operation{method: http.MethodGet, path: "/applications", id: "list-applications", tag: "applications", summary: "List applications", text: "Sorted by label."},
		func(ctx context.Context, by access.Actor, in *struct {
			Paging
			Text string `query:"text" doc:"Looked for in label, description, connector and slug."`
		},
		) (*list[Application], error) {
			p, err := a.Apps.List(ctx, by, app.Query{Text: in.Text, Cursor: in.Cursor, Limit: in.Limit})
			return page(p, a.wireApplication, err)
		})
	route(a, operation{
		method: http.MethodPost, path: "/applications", id: "create-application", tag: "applications", summary: "Create an application", status: http.StatusCreated,
		text: "Makes its signing key, too. Nobody reaches it until a group is bound.",
	}, func(ctx context.Context, by access.Actor, in *struct{ Body NewApplication }) (*answer[Application], error) {
		n := app.NewApplication{Connector: in.Body.Connector, Attributes: in.Body.Attributes, Slug: in.Body.Slug}
		n.PortalVisible = in.Body.PortalVisible == nil || *in.Body.PortalVisible
		x, err := a.Apps.Create(ctx, by, n)
		out, err := a.answerApplication(x, err)
		if err == nil {
			out.Location = Prefix + "/applications/" + string(x.ID)
		}
		return out, err
	})
	route(a, operation{method: http.MethodGet, path: "/applications/{id}", id: "get-application", tag: "applications", summary: "Read an application"},
		func(ctx context.Context, by access.Actor, in *ApplicationPath) (*answer[Application], error) {
			return a.answerApplication(a.Apps.Get(ctx, by, in.ID))
		})
	route(a, operation{
		method: http.MethodPatch, path: "/applications/{id}", id: "update-application", tag: "applications", summary: "Change an application's display",
		body: patchBody[app.Attributes](a),
	}, func(ctx context.Context, by access.Actor, in *struct {
		ApplicationPath
		Precondition
		MergePatch
	},
	) (*answer[Application], error) {
		v, err := in.version()
		if err != nil {
			return nil, err
		}
		x, err := a.Apps.Update(ctx, by, in.ID, v, func(at *app.Attributes) error { return in.apply(at) })
		return a.answerApplication(x, stale(err, v))
	})
	route(a, operation{
		method: http.MethodDelete, path: "/applications/{id}", id: "delete-application", tag: "applications", summary: "Delete an application", status: http.StatusNoContent,
		text: "Accounts at the application stay as they are. Provisioning has to be deactivated before.",
	}, func(ctx context.Context, by access.Actor, in *struct {
		ApplicationPath
		Label string `query:"label" required:"true" doc:"The application's label, to confirm."`
	},
	) (*struct{}, error) {
		return nil, a.Apps.Delete(ctx, by, in.ID, in.Label)
	})
	route(a, operation{method: http.MethodPut, path: "/applications/{id}/slug", id: "change-slug", tag: "applications", summary: "Change the IdP URL", text: "The old one goes on answering."},
		func(ctx context.Context, by access.Actor, in *struct {
			ApplicationPath
			Body SlugChange
		},
		) (*answer[Application], error) {
			return a.answerApplication(a.Apps.ChangeSlug(ctx, by, in.ID, in.Body.Slug))
		})
	route(a, operation{method: http.MethodDelete, path: "/applications/{id}/slugs/{slug}", id: "drop-slug", tag: "applications", summary: "End an old IdP URL"},
		func(ctx context.Context, by access.Actor, in *struct {
			ApplicationPath
			Slug string `path:"slug"`
		},
		) (*answer[Application], error) {
			return a.answerApplication(a.Apps.DropSlug(ctx, by, in.ID, in.Slug))
		})
	a.logoRoutes()
	a.bindingRoutes()
}

var pictureTypes = []string{"image/png", "image/jpeg", "image/webp", "image/gif"}

func (a *API) logoRoutes() {
	pictures := map[string]*huma.MediaType{}
	for _, t := range pictureTypes {
		pictures[t] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}
	}
	route(a, operation{
		method: http.MethodGet, path: "/applications/{id}/logo", id: "get-logo", tag: "applications", summary: "Read the logo",
		responses: map[string]*huma.Response{"200": {Description: "The picture.", Content: pictures}},
	}, func(ctx context.Context, by access.Actor, in *ApplicationPath) (*struct {
		ContentType string `header:"Content-Type"`
		Body        []byte
	}, error,
	) {
		if err := access.Allow(by, access.ReadApplications); err != nil {
			return nil, err
		}
		t, b, err := a.Apps.Logo(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		return &struct {
			ContentType string `header:"Content-Type"`
			Body        []byte
		}{t, b}, nil
	})
	route(a, operation{
		method: http.MethodPut, path: "/applications/{id}/logo", id: "set-logo", tag: "applications", summary: "Replace the logo", size: app.MaxLogo + 2, needs: access.ManageApplications,
		body: &huma.RequestBody{Required: true, Content: pictures},
	}, func(ctx context.Context, by access.Actor, in *struct {
		ApplicationPath
		RawBody []byte `contentType:"image/png"`
	},
	) (*answer[Application], error) {
		return a.answerApplication(a.Apps.SetLogo(ctx, by, in.ID, append([]byte(nil), in.RawBody...)))
	})
	route(a, operation{method: http.MethodDelete, path: "/applications/{id}/logo", id: "remove-logo", tag: "applications", summary: "Remove the logo", needs: access.ManageApplications},
		func(ctx context.Context, by access.Actor, in *ApplicationPath) (*answer[Application], error) {
			return a.answerApplication(a.Apps.SetLogo(ctx, by, in.ID, nil))
		})
}

func (a *API) bindingRoutes() {
	route(a, operation{
		method: http.MethodGet, path: "/applications/{id}/groups", id: "list-bindings", tag: "applications", summary: "List the groups that may use an application",
	}, func(ctx context.Context, by access.Actor, in *ApplicationPath) (*list[Group], error) {
		groups, err := a.Apps.BoundGroups(ctx, by, in.ID)
		return all(groups, wireGroup, err)
	})
	type binding struct {
		ApplicationPath
		Group directory.GroupID `path:"group" doc:"The group's id."`
		Approval
	}
	route(a, operation{method: http.MethodPut, path: "/applications/{id}/groups/{group}", id: "bind-group", tag: "applications", summary: "Let a group use an application", status: http.StatusNoContent},
		func(ctx context.Context, by access.Actor, in *binding) (*struct{}, error) {
			_, _, err := a.Engine.Apply(ctx, by, in.ID, app.SCIMChange{Bind: []directory.GroupID{in.Group}}, in.PlanHash)
			return nil, err
		})
	route(a, operation{
		method: http.MethodDelete, path: "/applications/{id}/groups/{group}", id: "unbind-group", tag: "applications", summary: "Take an application from a group", status: http.StatusNoContent,
		text: "Members who have it by no other group are deactivated there; the group there is left as it is.",
	}, func(ctx context.Context, by access.Actor, in *binding) (*struct{}, error) {
		_, _, err := a.Engine.Apply(ctx, by, in.ID, app.SCIMChange{Unbind: []directory.GroupID{in.Group}}, in.PlanHash)
		return nil, err
	})
}
