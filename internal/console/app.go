package console

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/web"
)

const (
	appsPath      = root + "/applications"
	cataloguePath = root + "/catalogue"
)

// routesApplications adds the pages of applications.
func (c *Console) routesApplications(mux *http.ServeMux) {
	for _, r := range []struct {
		pattern string
		handler handler
	}{
		{"GET " + appsPath, c.appList},
		{"GET " + cataloguePath, c.catalogue},
		{"GET " + cataloguePath + "/{connector}", c.newApp},
		{"POST " + cataloguePath + "/{connector}", c.createApp},
		{"GET " + cataloguePath + "/{connector}/logo.svg", c.connectorLogo},

		{"GET " + appsPath + "/{id}", c.appOverview},
		{"POST " + appsPath + "/{id}", c.saveApp},
		{"GET " + appsPath + "/{id}/created", c.appCreated},
		{"GET " + appsPath + "/{id}/logo", c.appLogo},
		{"GET " + appsPath + "/{id}/slug", c.appSlug},
		{"POST " + appsPath + "/{id}/slug", c.changeSlug},
		{"GET " + appsPath + "/{id}/slug/{old}/drop", c.confirmDropSlug},
		{"POST " + appsPath + "/{id}/slug/{old}/drop", c.dropSlug},
		{"GET " + appsPath + "/{id}/delete", c.confirmDeleteApp},
		{"POST " + appsPath + "/{id}/delete", c.deleteApp},

		{"GET " + appsPath + "/{id}/sign-on", c.signOn},
		{"POST " + appsPath + "/{id}/sign-on/ours", c.saveOurValues},
		{"POST " + appsPath + "/{id}/sign-on/theirs", c.saveTheirValues},
		{"GET " + appsPath + "/{id}/sign-on/exchanges", c.exchanges},
		{"GET " + appsPath + "/{id}/sign-on/exchanges/{exchange}", c.exchange},
		{"GET " + appsPath + "/{id}/sign-on/exchanges/{exchange}/bundle.json", c.bundle},
		{"GET " + appsPath + "/{id}/sign-on/simulate", c.simulate},
		{"GET " + appsPath + "/{id}/sign-on/decode", c.decodeForm},
		{"POST " + appsPath + "/{id}/sign-on/decode", c.decode},
		{"GET " + appsPath + "/{id}/sign-on/metadata/changes", c.metadataChanges},
		{"POST " + appsPath + "/{id}/sign-on/metadata/watch", c.watchMetadata},
		{"POST " + appsPath + "/{id}/sign-on/metadata/check", c.checkMetadata},
		{"POST " + appsPath + "/{id}/sign-on/metadata/stop", c.unwatchMetadata},
		{"POST " + appsPath + "/{id}/sign-on/metadata/approve", c.approveMetadata},
		{"POST " + appsPath + "/{id}/sign-on/metadata/dismiss", c.dismissMetadata},
		{"GET " + appsPath + "/{id}/sign-on/metadata/{upload}", c.showMetadataFile},
		{"POST " + appsPath + "/{id}/sign-on/metadata/{upload}/take", c.takeMetadataFile},
		{"POST " + appsPath + "/{id}/sign-on/metadata/{upload}/drop", c.dropMetadataFile},
		{"POST " + appsPath + "/{id}/sign-on/subject", c.saveSubject},
		{"POST " + appsPath + "/{id}/sign-on/signatures", c.saveSignatures},
		{"GET " + appsPath + "/{id}/sign-on/sha1", c.confirmSHA1},
		{"POST " + appsPath + "/{id}/sign-on/sha1", c.allowSHA1},
		{"POST " + appsPath + "/{id}/sign-on/sha1/end", c.endSHA1},
		{"POST " + appsPath + "/{id}/sign-on/requests", c.saveRequests},
		{"POST " + appsPath + "/{id}/sign-on/encryption", c.saveEncryption},
		{"POST " + appsPath + "/{id}/sign-on/logout", c.saveLogout},
		{"POST " + appsPath + "/{id}/sign-on/session", c.saveSessionEnd},
		{"POST " + appsPath + "/{id}/sign-on/activate", c.activateSignOn},
		{"GET " + appsPath + "/{id}/sign-on/deactivate", c.confirmDeactivateSignOn},
		{"POST " + appsPath + "/{id}/sign-on/deactivate", c.deactivateSignOn},
		{"GET " + appsPath + "/{id}/certificate/{status}", c.downloadCertificate},
		{"POST " + appsPath + "/{id}/certificate/prepare", c.prepareCertificate},
		{"GET " + appsPath + "/{id}/certificate/upload", c.uploadCertificatePage},
		{"POST " + appsPath + "/{id}/certificate/upload", c.uploadCertificate},
		{"GET " + appsPath + "/{id}/certificate/swap", c.swapCertificatePage},
		{"POST " + appsPath + "/{id}/certificate/switch", c.switchCertificate},
		{"POST " + appsPath + "/{id}/certificate/back", c.backCertificate},
		{"POST " + appsPath + "/{id}/certificate/remove", c.removeCertificate},

		{"GET " + appsPath + "/{id}/provisioning", c.provisioning},
		{"POST " + appsPath + "/{id}/provisioning", c.saveProvisioning},
		{"POST " + appsPath + "/{id}/provisioning/test", c.testProvisioning},
		{"GET " + appsPath + "/{id}/provisioning/plan", c.provisioningPlan},
		{"POST " + appsPath + "/{id}/provisioning/activate", c.activateProvisioning},
		{"POST " + appsPath + "/{id}/provisioning/pause", c.pauseProvisioning},
		{"POST " + appsPath + "/{id}/provisioning/resume", c.resumeProvisioning},
		{"GET " + appsPath + "/{id}/provisioning/deactivate", c.confirmDeactivateProvisioning},
		{"POST " + appsPath + "/{id}/provisioning/deactivate", c.deactivateProvisioning},
		{"GET " + appsPath + "/{id}/provisioning/token", c.tokenPage},
		{"POST " + appsPath + "/{id}/provisioning/token", c.replaceToken},
		{"GET " + appsPath + "/{id}/provisioning/drift", c.drift},
		{"POST " + appsPath + "/{id}/provisioning/drift", c.compareNow},
		{"POST " + appsPath + "/{id}/provisioning/drift/settings", c.saveDrift},
		{"GET " + appsPath + "/{id}/provisioning/drift/repair", c.repairForm},
		{"POST " + appsPath + "/{id}/provisioning/drift/repair", c.repairDrift},
		{"POST " + appsPath + "/{id}/provisioning/drift/keep", c.keepDrift},
		{"GET " + appsPath + "/{id}/provisioning/objects", c.provisioningObjects},
		{"GET " + appsPath + "/{id}/provisioning/people/{object}", c.provisionedPerson},
		{"GET " + appsPath + "/{id}/provisioning/groups/{object}", c.provisionedGroup},
		{"POST " + appsPath + "/{id}/provisioning/{kind}/{object}/retry", c.retryObject},
		{"GET " + appsPath + "/{id}/provisioning/groups/{object}/replace", c.confirmReplaceGroup},
		{"POST " + appsPath + "/{id}/provisioning/groups/{object}/replace", c.replaceGroup},
		{"GET " + appsPath + "/{id}/provisioning/groups/{object}/approve", c.confirmApproveDeletion},
		{"POST " + appsPath + "/{id}/provisioning/groups/{object}/approve", c.approveDeletion},

		{"GET " + appsPath + "/{id}/import", c.importHome},
		{"POST " + appsPath + "/{id}/import", c.startImport},
		{"GET " + appsPath + "/{id}/import/{import}", c.importAccounts},
		{"POST " + appsPath + "/{id}/import/{import}", c.runImport},
		{"GET " + appsPath + "/{id}/import/{import}/undo", c.askUndoImport},
		{"POST " + appsPath + "/{id}/import/{import}/undo", c.undoImport},
		{"GET " + appsPath + "/{id}/import/{import}/{file}", c.importReport},

		{"GET " + appsPath + "/{id}/groups", c.appGroups},
		{"POST " + appsPath + "/{id}/groups", c.bindGroups},
		{"GET " + appsPath + "/{id}/groups/options", c.appGroupOptions},
		{"GET " + appsPath + "/{id}/groups/{group}/unbind", c.confirmUnbind},
		{"POST " + appsPath + "/{id}/groups/{group}/unbind", c.unbindGroup},

		{"GET " + appsPath + "/{id}/mappings", c.mappings},
		{"GET " + appsPath + "/{id}/mappings/scope", c.scopeFilter},
		{"POST " + appsPath + "/{id}/mappings/scope", c.saveScopeFilter},
		{"GET " + appsPath + "/{id}/mappings/{side}/row", c.mappingRow},
		{"POST " + appsPath + "/{id}/mappings/{side}/row", c.saveMappingRow},
		{"POST " + appsPath + "/{id}/mappings/{side}/reset", c.resetMappingRow},

		{"GET " + appsPath + "/{id}/activity", c.appActivity},
	} {
		c.handle(mux, r.pattern, r.handler)
	}
	// A path that ends so may carry a large file.
	c.handleUpload(mux, "POST "+appsPath+"/{id}/sign-on/metadata/import", postedUpload, c.uploadMetadata)
}

// appPath is the path of an application's page, with further parts behind it.
func appPath(id app.ID, parts ...string) string {
	var b strings.Builder
	b.WriteString(appsPath + "/" + url.PathEscape(string(id)))
	for _, s := range parts {
		b.WriteString("/" + url.PathEscape(s))
	}
	return b.String()
}

// appFrame is what every page of an application knows.
type appFrame struct {
	web.Page
	App app.Application
	// Con is its connector. When the catalogue has lost it, it holds nothing but the key.
	Con *catalog.Connector
	// Provisioning is how it stands with provisioning, if the connector has that.
	Provisioning provision.Status
	// Pairs are the signing certificates: current, next, previous, as far as there are any.
	Pairs []keys.Pair
	URLs  app.URLs
	// Source is where the other side's metadata is watched, if Watched.
	Source  app.MetadataSource
	Watched bool
	// Mailing tells whether mail is set up.
	Mailing bool
	// May tells whether the person may change applications.
	May bool
	Now time.Time
	// publicURL is how people reach us.
	publicURL string
}

// The tabs of an application.
const (
	tabOverview     = "overview"
	tabSignOn       = "sign-on"
	tabProvisioning = "provisioning"
	tabGroups       = "groups"
	tabMappings     = "mappings"
	tabActivity     = "activity"
)

// application loads the application that the path names, and the frame of one of its tabs.
func (c *Console) application(w http.ResponseWriter, r *request, tab string) (appFrame, error) {
	a, err := c.Apps.Get(r.Context(), r.By, app.ID(r.PathValue("id")))
	if err != nil {
		return appFrame{}, err
	}
	return c.frame(w, r, a, tab)
}

func (c *Console) frame(w http.ResponseWriter, r *request, a app.Application, tab string) (appFrame, error) {
	f := appFrame{App: a, May: r.can(access.ManageApplications), Now: c.Now(), URLs: c.Apps.URLs(a), publicURL: c.PublicURL, Mailing: c.Mail.Configured()}
	var err error
	if f.Con, err = c.Catalog.Get(a.Connector); err != nil {
		f.Con = &catalog.Connector{Key: a.Connector, Name: a.Connector, Generic: true}
	}
	if f.Con.SAML != nil {
		if f.Pairs, err = c.Apps.Certificates(r.Context(), r.By, a.ID); err != nil {
			return f, err
		}
		if f.Source, f.Watched, err = c.Apps.MetadataSource(r.Context(), r.By, a.ID); err != nil {
			return f, err
		}
	}
	if f.Con.SCIM != nil {
		if f.Provisioning, err = c.Engine.Status(r.Context(), r.By, a.ID); err != nil {
			return f, err
		}
	}
	f.Page = c.page(w, r, "applications", a.Label)
	f.Subtitle = f.Con.Name
	if f.Con.Name == a.Label {
		f.Subtitle = a.Description
	}
	f.Logo = web.AppLogo{Name: a.Label, Color: a.Colour, ImageURL: f.logoURL(), Large: true}
	f.Badge = f.badges()
	f.Crumbs = []web.Crumb{{Label: "Applications", Href: appsPath}}
	f.Tabs = f.tabs(tab)
	if a.SAML.Status == app.Active {
		f.Actions = web.Button{Label: "Test sign-on", Icon: "log-in", Href: f.launchURL(), NewTab: true}
	}
	return f, nil
}

// inner makes the frame that of a page below the tab: without tabs and badges, with a title of
// its own and the way back.
func (f appFrame) inner(title, tabLabel, tab string) appFrame {
	f.Title, f.Subtitle, f.Logo, f.Badge, f.Actions, f.Tabs = title, "", nil, nil, nil, nil
	f.Crumbs = append(f.Crumbs[:1:1], web.Crumb{Label: f.App.Label, Href: f.path()})
	if tabLabel != "" {
		f.Crumbs = append(f.Crumbs, web.Crumb{Label: tabLabel, Href: f.path(tab)})
	}
	return f
}

func (f appFrame) path(parts ...string) string { return appPath(f.App.ID, parts...) }

func (f appFrame) launchURL() string { return "/launch/" + url.PathEscape(string(f.App.ID)) }

// logoURL is the uploaded picture, else the connector's own drawing; "" shows colour and
// initials.
func (f appFrame) logoURL() string { return appLogoURL(f.App, f.Con) }

func appLogoURL(a app.Application, con *catalog.Connector) string {
	switch {
	case a.HasLogo:
		return appPath(a.ID, "logo") + "?v=" + strconv.FormatInt(a.Version, 10)
	case con != nil && con.Logo != "" && strings.EqualFold(a.Colour, con.Colour) && !con.Generic:
		return connectorLogoURL(con)
	}
	return ""
}

func connectorLogoURL(con *catalog.Connector) string {
	return cataloguePath + "/" + url.PathEscape(con.Key) + "/logo.svg"
}

// product is the other side's name in sentences: "Atlassian Cloud", or the application's label
// where the connector is for any product.
func (f appFrame) product() string {
	if f.Con.Generic {
		return f.App.Label
	}
	return f.Con.Name
}

func (f appFrame) badges() templ.Component {
	var list []templ.Component
	if f.Con.SAML != nil {
		list = append(list, signOnBadge(f.App.SAML.Status))
	}
	if f.Con.SCIM != nil {
		list = append(list, provisioningBadge(f.Provisioning))
	}
	if level, text := f.certificateState(); level == web.Warn || level == web.Danger {
		list = append(list, web.Badge{Level: level, Label: "Certificate " + text, Icon: "calendar-clock"})
	}
	if f.Source.Proposal != nil {
		list = append(list, web.Badge{Level: web.Warn, Label: "Metadata has changed", Icon: "git-compare"})
	}
	if f.Con.Bookmark != nil {
		list = append(list, web.Badge{Level: web.Neutral, Label: "Bookmark", Icon: "bookmark"})
	}
	return web.Group(list...)
}

func signOnBadge(s app.Status) web.Badge {
	b := integrationBadge(s)
	b.Label = "Sign-on " + strings.ToLower(b.Label)
	return b
}

func provisioningBadge(s provision.Status) web.Badge {
	b := integrationBadge(s.State)
	b.Label = "Provisioning " + strings.ToLower(b.Label)
	if s.State == app.Active && web.Level(s.Level) == web.Warn {
		b = web.Badge{Level: web.Warn, Label: "Provisioning needs attention"}
	}
	return b
}

func (f appFrame) tabs(active string) []web.Tab {
	tab := func(key, label, path string) web.Tab {
		t := web.Tab{Label: label, Href: f.path(), Active: key == active}
		if path != "" {
			t.Href = f.path(path)
		}
		return t
	}
	list := []web.Tab{tab(tabOverview, "Overview", "")}
	if f.Con.SAML != nil {
		t := tab(tabSignOn, "Sign-on", "sign-on")
		if level, _ := f.certificateState(); level != web.OK && level != web.Neutral {
			t.Level = level
		}
		if f.Watched && t.Level != web.Danger && (f.Source.Proposal != nil || f.Source.Error != "") {
			t.Level = web.Warn
		}
		list = append(list, t)
	}
	if f.Con.SCIM != nil {
		t := tab(tabProvisioning, "Provisioning", "provisioning")
		if level := web.Level(f.Provisioning.Level); level == web.Warn || level == web.Danger {
			t.Level = level
		}
		if level, _ := f.tokenState(); level == web.Danger || level == web.Warn && t.Level != web.Danger {
			t.Level = level
		}
		list = append(list, t)
	}
	groups := tab(tabGroups, "User groups", "groups")
	groups.Count = web.Number(f.App.Groups).String()
	list = append(list, groups)
	if f.Con.SAML != nil || f.Con.SCIM != nil {
		list = append(list, tab(tabMappings, "Mappings", "mappings"))
	}
	return append(list, tab(tabActivity, "Activity", "activity"))
}

// pair returns the certificate of a status.
func (f appFrame) pair(s keys.Status) (keys.Pair, bool) { return pairOf(f.Pairs, s) }

func pairOf(pairs []keys.Pair, s keys.Status) (keys.Pair, bool) {
	for _, p := range pairs {
		if p.Status == s {
			return p, true
		}
	}
	return keys.Pair{}, false
}

// When the end of a certificate or token is worth a warning.
const (
	endsSoon     = 60 * 24 * time.Hour
	endsVerySoon = 7 * 24 * time.Hour
)

// endState says how near an end is: "in 12 days".
func endState(end, now time.Time) (web.Level, string) {
	left := end.Sub(now)
	switch {
	case end.IsZero():
		return web.Neutral, ""
	case left <= 0:
		return web.Danger, "ended " + web.Ago(end, now)
	case left <= endsVerySoon:
		return web.Danger, "ends " + web.Ago(end, now)
	case left <= endsSoon:
		return web.Warn, "ends " + web.Ago(end, now)
	}
	return web.OK, "ends " + day(end)
}

// certificateState says how near the end of the current certificate is.
func (f appFrame) certificateState() (web.Level, string) {
	p, ok := f.pair(keys.Current)
	if !ok {
		return web.Neutral, ""
	}
	return endState(p.NotAfter, f.Now)
}

// tokenState says how near the token's known end is; nothing is known of a token that isn't
// set.
func (f appFrame) tokenState() (web.Level, string) {
	if !f.App.SCIM.TokenSet {
		return web.Neutral, ""
	}
	return endState(f.App.SCIM.TokenExpiresAt, f.Now)
}

// guide is the connector's guide for one part, with this application's values.
func (f appFrame) guide(part catalog.Part, open string) templ.Component {
	v := catalog.GuideValues{
		Label: f.App.Label, EntityID: f.App.SAML.IDPEntityID, SSOURL: f.URLs.SSO, MetadataURL: f.URLs.Metadata,
		CertificateURL: f.URLs.Certificate, SPEntityID: f.App.SAML.SPEntityID, RelayState: f.App.SAML.DefaultRelayState,
		SCIMBaseURL: f.App.SCIM.BaseURL, PortalURL: f.publicURL,
	}
	if p, ok := f.pair(keys.Current); ok {
		v.CertificateExpiry = day(p.NotAfter)
	}
	if acs, ok := f.App.SAML.DefaultACS(); ok {
		v.ACSURL = acs.URL
	}
	return guideOf("Guide: "+f.Con.Name, f.Con.FillGuide(part, v), open)
}

// guideOf turns a connector's guide into the component; nil if it says nothing.
func guideOf(title string, sections []catalog.FilledSection, open string) templ.Component {
	if len(sections) == 0 {
		return nil
	}
	g := web.Guide{Title: title, Open: open}
	for _, s := range sections {
		x := web.GuideSection{ID: s.ID, Title: s.Title, Intro: spansOf(s.Intro)}
		for _, t := range s.Steps {
			x.Steps = append(x.Steps, spansOf(t))
		}
		for _, t := range s.Notes {
			x.Notes = append(x.Notes, spansOf(t))
		}
		for _, r := range s.References {
			x.References = append(x.References, web.Link{Label: r.Title, Href: r.URL})
		}
		g.Sections = append(g.Sections, x)
	}
	return g
}

func spansOf(t catalog.Text) []web.Span {
	var out []web.Span
	for _, s := range t {
		out = append(out, web.Span{Kind: web.SpanKind(s.Kind), Text: s.Text, URL: s.URL})
	}
	return out
}

// postedFile returns the bytes of a file that was posted, at most limit and one more; nil if none
// was chosen.
func postedFile(r *request, name string, limit int64) ([]byte, error) {
	if r.MultipartForm == nil {
		return nil, nil
	}
	file, _, err := r.FormFile(name)
	if errors.Is(err, http.ErrMissingFile) {
		return nil, nil
	}
	if err != nil {
		return nil, problem.Wrap(problem.Invalid, err, "The file can't be read. Choose it again.")
	}
	defer func() { _ = file.Close() }() // only read
	b, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, problem.Wrap(problem.Invalid, err, "The file can't be read. Choose it again.")
	}
	return b, nil
}

// checked tells whether a check box was ticked.
func checked(r *request, name string) bool { return r.PostForm.Get(name) != "" }

func boolValue(b bool) string {
	if b {
		return "on"
	}
	return ""
}

func groupPath(id directory.GroupID) string {
	return root + "/groups/" + url.PathEscape(string(id))
}

// mayManage refuses pages that lead to a change to those who can't make it.
func mayManage(r *request) error { return access.Allow(r.By, access.ManageApplications) }

// withRows is a TextArea's field with its height.
func withRows(f web.Field, n int) web.Field { f.Rows = n; return f }
