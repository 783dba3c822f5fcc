package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/api"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/internal/store"
)

type appsCmd struct {
	Catalogue   appsCatalogueCmd   `cmd:"" help:"List the products that Latchkey knows."`
	List        appsListCmd        `cmd:"" help:"List applications."`
	Show        appsShowCmd        `cmd:"" help:"Show one application and the values for its other side."`
	Guide       appsGuideCmd       `cmd:"" help:"Print the set-up guide with this installation's values."`
	Create      appsCreateCmd      `cmd:"" help:"Add an application from the catalogue."`
	Update      appsUpdateCmd      `cmd:"" help:"Change label, description, tile or IdP URL."`
	Delete      appsDeleteCmd      `cmd:"" help:"Remove an application; accounts there stay as they are."`
	Bind        appsBindCmd        `cmd:"" help:"Give groups access."`
	Unbind      appsUnbindCmd      `cmd:"" help:"Take groups' access away."`
	SAML        appsSAMLCmd        `cmd:"" name:"saml" help:"Show or change the sign-on settings, both halves."`
	Metadata    appsMetadataCmd    `cmd:"" help:"Watch the other side's metadata, and decide about its changes."`
	Certificate appsCertificateCmd `cmd:"" help:"The signing certificate: print, renew, switch."`
	SCIM        appsSCIMCmd        `cmd:"" name:"scim" help:"Show or change the provisioning settings."`
	Mapping     appsMappingCmd     `cmd:"" help:"Show or change which attribute goes where."`
	Token       appsTokenCmd       `cmd:"" help:"Set or replace the target's SCIM token."`
	Test        appsTestCmd        `cmd:"" help:"Try the connection to the target by reading only."`
	Activate    appsActivateCmd    `cmd:"" help:"Turn sign-on or provisioning on."`
	Deactivate  appsDeactivateCmd  `cmd:"" help:"Turn sign-on or provisioning off."`
	Pause       appsPauseCmd       `cmd:"" help:"Stop sending for a while; changes are kept."`
	Resume      appsResumeCmd      `cmd:"" help:"Go on after a pause or a stop."`
	Status      appsStatusCmd      `cmd:"" help:"Say how provisioning stands, or wait until all is in sync."`
	Accounts    appsAccountsCmd    `cmd:"" help:"List people and groups at the target, and how each stands."`
	Explain     appsExplainCmd     `cmd:"" help:"Tell why a person has, or hasn't, an account there."`
	Retry       appsRetryCmd       `cmd:"" help:"Try an object again that the target refused."`
}

// appArg is the argument of commands about one application.
type appArg struct {
	App string `arg:"" help:"Label, last part of the IdP URL, or id."`
}

// appView is an application as JSON: in the API's form, with its groups where one is shown.
type appView struct {
	api.Application
	BoundGroups []api.GroupRef `json:"boundGroups,omitempty"`
}

func (d desk) viewApp(a app.Application) appView {
	return appView{Application: api.ApplicationJSON(d.Apps, a)}
}

// statusCell shows how it stands with an integration.
func statusCell(offered bool, s app.Status) cell {
	if !offered {
		return cell{"-", faint}
	}
	return cell{string(s), map[app.Status]tone{app.Active: good, app.Paused: warn, app.Stopped: bad, app.Incomplete: faint, app.Off: faint}[s]}
}

type appsCatalogueCmd struct {
	Text string `arg:"" optional:"" help:"Name of a product, e.g. Jira."`
	outputFlag
}

func (l appsCatalogueCmd) Run(_ context.Context, t terminal) error {
	// The catalogue is part of the program: no installation is needed to read it.
	c, err := catalog.Builtin()
	if err != nil {
		return err
	}
	list := c.All()
	if l.Text != "" {
		list = c.Search(l.Text)
	}
	views := []api.Connector{}
	tb := newTable("CONNECTOR", "NAME", "SAML", "SCIM", "ALSO KNOWN AS")
	for _, x := range list {
		saml, scim, _ := x.Has()
		views = append(views, api.ConnectorJSON(x))
		tb.add(x.Key, x.Name, yes(saml), yes(scim), strings.Join(x.Aliases, ", "))
	}
	switch {
	case l.json():
		return t.printJSON(views)
	case len(list) == 0:
		return t.say("The catalogue has no %q. custom-saml-scim, custom-saml and custom-scim fit every product that follows the standards.", l.Text)
	}
	return tb.print(t)
}

type appsListCmd struct {
	Text string `arg:"" optional:"" help:"Look for this in label, description, connector and IdP URL."`
	limitFlag
	outputFlag
}

func (l appsListCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		views := []appView{}
		tb := newTable("LABEL", "CONNECTOR", "SIGN-ON", "PROVISIONING", "GROUPS", "IDP URL").figures(4)
		total, more, err := pages(l.most(l.outputFlag), func(cursor string, limit int) (store.Page[app.Application], error) {
			return d.Apps.List(ctx, d.by, app.Query{Text: l.Text, Cursor: cursor, Limit: limit})
		}, func(a app.Application) {
			if l.json() {
				views = append(views, d.viewApp(a))
				return
			}
			url := ""
			if a.SAML.Offered {
				url = d.Apps.URLs(a).SSO
			}
			tb.add(a.Label, a.Connector, statusCell(a.SAML.Offered, a.SAML.Status), statusCell(a.SCIM.Offered, a.SCIM.Status), grouped(a.Groups), url)
		})
		switch {
		case err != nil:
			return err
		case l.json():
			return d.printJSON(views)
		case len(tb.rows) == 0:
			return d.say("No application found. `latchkey apps catalogue` lists what can be added.")
		}
		if err := tb.print(t); err != nil || !more {
			return err
		}
		return d.left(len(tb.rows), total)
	})
}

type appsShowCmd struct {
	appArg
	outputFlag
}

func (s appsShowCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		a, err := d.app(ctx, s.App)
		if err != nil {
			return err
		}
		return d.showApp(ctx, a, s.outputFlag)
	})
}

func (d desk) showApp(ctx context.Context, a app.Application, o outputFlag) error {
	groups, err := d.Apps.BoundGroups(ctx, d.by, a.ID)
	if err != nil {
		return err
	}
	a.Groups = len(groups)
	v := d.viewApp(a)
	v.BoundGroups = api.GroupRefs(groups)
	if o.json() {
		return d.printJSON(v)
	}
	var f facts
	f.add("Label", cell{a.Label, strong})
	f.add("Description", a.Description)
	f.add("Connector", a.Connector)
	f.add("In the portal", yes(a.PortalVisible))
	f.add("Address", a.BookmarkURL)
	f.add("User groups", strings.Join(names(groups), ", "))
	if len(groups) == 0 {
		f.add("User groups", cell{"none, so nobody has access: latchkey apps bind", warn})
	}
	f.add("Id", a.ID)
	if err := f.print(d.terminal); err != nil {
		return err
	}
	if a.SAML.Offered {
		d.heading("Sign-on")
		if err := d.printSAML(a); err != nil {
			return err
		}
	}
	if a.SCIM.Offered {
		d.heading("Provisioning")
		if err := d.printSCIM(a); err != nil {
			return err
		}
	}
	return d.warnings(a)
}

func (d desk) warn(warnings []string) error {
	for _, w := range warnings {
		if err := d.say("%s %s", d.paint(warn, "Note:"), visible(w)); err != nil {
			return err
		}
	}
	return nil
}

// warnings prints the doubts about an application's settings.
func (d desk) warnings(a app.Application) error {
	var texts []string
	for _, w := range d.Apps.Warnings(a) {
		texts = append(texts, w.Text)
	}
	return d.warn(texts)
}

// appFlagNames tell which flag a field of an application came from.
func appFlagNames() map[string]string {
	return map[string]string{
		"label": "--label", "description": "--description", "colour": "--colour", "slug": "--slug", "bookmarkUrl": "--bookmark-url", "logo": "--logo",
		"portalVisible": "--portal", "idpEntityId": "--idp-entity-id", "spEntityId": "--sp-entity-id", "acs": "--acs",
		"defaultRelayState": "--relay-state", "spCertificates": "--sp-certificate",
		"signAssertion": "--sign", "signatureAlgorithm": "--signature-algorithm", "sloUrl": "--slo-url", "metadata": "--metadata",
		"baseUrl": "--base-url", "manageGroups": "--manage-groups", "onLeave": "--on-leave", "scopeFilter": "--scope-filter", "match": "--match", "guard.maxCount": "--guard-count",
		"guard.maxPercent": "--guard-percent", "ratePerSecond": "--rate", "burst": "--burst", "concurrency": "--concurrency",
	}
}

type appsCreateCmd struct {
	Connector   string `arg:"" help:"Key of the catalogue, e.g. atlassian-cloud."`
	Label       string `placeholder:"TEXT" help:"Label that people see. Default: the product's name."`
	Description string `placeholder:"TEXT" help:"Description, at most 256 characters."`
	Colour      string `placeholder:"#RRGGBB" help:"Colour of the tile."`
	Logo        string `placeholder:"FILE" help:"Picture for the tile: PNG, JPEG, WebP or GIF."`
	Slug        string `placeholder:"WORD" help:"Last part of the IdP URL. Default: the product's."`
	Portal      bool   `default:"true" negatable:"" help:"Show it in the portal."`
	BookmarkURL string `name:"bookmark-url" placeholder:"URL" help:"Address that the tile opens when there is no sign-on."`
	outputFlag
}

func (n appsCreateCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		con, err := d.Catalog.Get(n.Connector)
		if err != nil {
			hint := "`latchkey apps catalogue` lists all."
			if likely := words(d.Catalog.Search(n.Connector), 3, func(c *catalog.Connector) string { return c.Key }); likely != "" {
				hint = "Did you mean " + likely + "?"
			}
			return problem.Wrap(problem.NotFound, err, "The catalogue has no connector %q. %s", n.Connector, hint)
		}
		label := n.Label
		if label == "" {
			label = con.Label
		}
		made := app.NewApplication{
			Connector: n.Connector, Slug: n.Slug,
			Attributes: app.Attributes{Label: label, Description: n.Description, Colour: n.Colour, PortalVisible: n.Portal, BookmarkURL: n.BookmarkURL},
		}
		if n.Logo != "" {
			if made.Logo, err = t.readFile(n.Logo, app.MaxLogo); err != nil {
				return err
			}
		}
		a, err := d.Apps.Create(ctx, d.by, made)
		if err != nil {
			return flagged(err, appFlagNames())
		}
		if n.json() {
			return d.showApp(ctx, a, n.outputFlag)
		}
		if err := d.say("Application %s was added.", visible(a.Label)); err != nil {
			return err
		}
		if a.SAML.Offered {
			d.heading("Values for %s", con.Name)
			if err := d.printOurHalf(a); err != nil {
				return err
			}
		}
		return d.say("\nNext: latchkey apps guide %s", quoted(a.Label))
	})
}

// quoted is a word for the shell.
func quoted(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '-' && r != '_' && r != '.' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(visible(s), "'", `'\''`) + "'"
}

type appsUpdateCmd struct {
	appArg
	Label       *string `placeholder:"TEXT" help:"Label that people see."`
	Description *string `placeholder:"TEXT" help:"Description, at most 256 characters."`
	Colour      *string `placeholder:"#RRGGBB" help:"Colour of the tile; empty is the product's."`
	Logo        *string `placeholder:"FILE" help:"Picture for the tile; empty removes it."`
	Portal      *bool   `negatable:"" help:"Show it in the portal."`
	BookmarkURL *string `name:"bookmark-url" placeholder:"URL" help:"Address that the tile opens when there is no sign-on."`
	Slug        *string `placeholder:"WORD" help:"New last part of the IdP URL. The old URL keeps answering until --drop-slug."`
	DropSlug    string  `placeholder:"WORD" help:"End an old IdP URL."`
	outputFlag
}

func (n appsUpdateCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		a, err := d.app(ctx, n.App)
		if err != nil {
			return err
		}
		before := a.Version
		if a, err = d.Apps.Update(ctx, d.by, a.ID, 0, func(at *app.Attributes) error {
			set(&at.Label, n.Label)
			set(&at.Description, n.Description)
			set(&at.Colour, n.Colour)
			set(&at.PortalVisible, n.Portal)
			set(&at.BookmarkURL, n.BookmarkURL)
			return nil
		}); err != nil {
			return flagged(err, appFlagNames())
		}
		if n.Logo != nil {
			var picture []byte
			if *n.Logo != "" {
				if picture, err = t.readFile(*n.Logo, app.MaxLogo); err != nil {
					return err
				}
			}
			if a, err = d.Apps.SetLogo(ctx, d.by, a.ID, picture); err != nil {
				return flagged(err, appFlagNames())
			}
		}
		if n.Slug != nil {
			if a, err = d.Apps.ChangeSlug(ctx, d.by, a.ID, *n.Slug); err != nil {
				return flagged(err, appFlagNames())
			}
		}
		if n.DropSlug != "" {
			if a, err = d.Apps.DropSlug(ctx, d.by, a.ID, n.DropSlug); err != nil {
				return err
			}
		}
		if n.json() {
			return d.showApp(ctx, a, n.outputFlag)
		}
		if a.Version == before {
			return d.say("Application %s is as asked for already; nothing was changed.", visible(a.Label))
		}
		return d.say("Application %s was changed.", visible(a.Label))
	})
}

// set stores a value that was given.
func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

type appsDeleteCmd struct {
	appArg
	outputFlag
	Yes bool `short:"y" help:"Don't ask."`
}

func (n appsDeleteCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		a, err := d.app(ctx, n.App)
		if err != nil {
			return err
		}
		consequence := fmt.Sprintf("Application %s with its settings, keys and bindings will be removed. Accounts there stay as they are and keep working: "+
			"to end them, unbind its groups first and wait until all is in sync.", visible(a.Label))
		if err := d.agree(n.Yes, consequence, a.Label); err != nil {
			return err
		}
		if err := d.Apps.Delete(ctx, d.by, a.ID, a.Label); err != nil {
			return err
		}
		return d.done(n.outputFlag, removed{string(a.ID), true}, "Application %s was removed.", visible(a.Label))
	})
}

// binding is what a change of bindings tells programs.
type binding struct {
	ApplicationID app.ID            `json:"applicationId"`
	GroupID       directory.GroupID `json:"groupId"`
	Bound         bool              `json:"bound"`
}

type appsBindCmd struct {
	appArg
	Groups []string `arg:"" name:"group" help:"Names or ids of groups."`
	approvalFlags
	outputFlag
}

func (n appsBindCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		a, err := d.app(ctx, n.App)
		if err != nil {
			return err
		}
		return d.rebind(ctx, a, n.Groups, n.approvalFlags, n.outputFlag, func(ids []directory.GroupID) app.SCIMChange { return app.SCIMChange{Bind: ids} }, func(g directory.Group) error {
			return d.done(n.outputFlag, binding{a.ID, g.ID, true}, "Group %s (%s) has access to %s.", visible(g.Name), count(g.Members, "member", "members"), visible(a.Label))
		})
	})
}

// rebind binds or unbinds groups by one change, and tells each.
func (d desk) rebind(ctx context.Context, a app.Application, refs []string, f approvalFlags, o outputFlag, change func([]directory.GroupID) app.SCIMChange, tell func(directory.Group) error) error {
	var groups []directory.Group
	var ids []directory.GroupID
	failed := each(d.terminal, refs, func(ref string) error {
		g, err := d.group(ctx, ref)
		if err == nil {
			groups, ids = append(groups, g), append(ids, g.ID)
		}
		return err
	})
	if len(ids) == 0 {
		return failed
	}
	if _, err := d.change(ctx, a, change(ids), f, o); err != nil {
		return err
	}
	for _, g := range groups {
		if err := tell(g); err != nil {
			return err
		}
	}
	return failed
}

type appsUnbindCmd struct {
	appArg
	Groups []string `arg:"" name:"group" help:"Names or ids of groups."`
	approvalFlags
	outputFlag
}

func (n appsUnbindCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		a, err := d.app(ctx, n.App)
		if err != nil {
			return err
		}
		return d.rebind(ctx, a, n.Groups, n.approvalFlags, n.outputFlag, func(ids []directory.GroupID) app.SCIMChange { return app.SCIMChange{Unbind: ids} }, func(g directory.Group) error {
			return d.done(n.outputFlag, binding{a.ID, g.ID, false}, "Group %s gives no access to %s any more.", visible(g.Name), visible(a.Label))
		})
	})
}

type appsGuideCmd struct {
	appArg
	Part string `enum:",start,sign-on,provisioning,removal" default:"" help:"Only one part: start, sign-on, provisioning or removal."`
}

func (n appsGuideCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		a, err := d.app(ctx, n.App)
		if err != nil {
			return err
		}
		con, err := d.Catalog.Get(a.Connector)
		if err != nil {
			return err
		}
		v := catalog.GuideValues{
			Label: a.Label, SPEntityID: a.SAML.SPEntityID, RelayState: a.SAML.DefaultRelayState, SCIMBaseURL: a.SCIM.BaseURL, PortalURL: d.Config.PublicURL,
		}
		if a.SAML.Offered {
			u := d.Apps.URLs(a)
			v.EntityID, v.SSOURL, v.MetadataURL, v.CertificateURL = a.SAML.IDPEntityID, u.SSO, u.Metadata, u.Certificate
			if acs, ok := a.SAML.DefaultACS(); ok {
				v.ACSURL = acs.URL
			}
			pairs, err := d.Apps.Certificates(ctx, d.by, a.ID)
			if err != nil {
				return err
			}
			if len(pairs) > 0 {
				v.CertificateExpiry = day(pairs[0].NotAfter)
			}
		}
		return d.printGuide(con.FillGuide(catalog.Part(n.Part), v))
	})
}

func (d desk) printGuide(sections []catalog.FilledSection) error {
	for _, s := range sections {
		d.heading("%s", s.Title)
		if text := s.Intro.String(); text != "" {
			if err := d.wrapped("", text); err != nil {
				return err
			}
		}
		for i, step := range s.Steps {
			if err := d.wrapped(fmt.Sprintf("%2d. ", i+1), withLinks(step)); err != nil {
				return err
			}
		}
		for _, note := range s.Notes {
			if err := d.wrapped("  - ", withLinks(note)); err != nil {
				return err
			}
		}
	}
	return nil
}

// withLinks is guide text with the addresses of its links.
func withLinks(text catalog.Text) string {
	var b strings.Builder
	for _, s := range text {
		b.WriteString(s.Text)
		if s.Kind == catalog.SpanLink {
			b.WriteString(" (" + s.URL + ")")
		}
	}
	return b.String()
}

// wrapped prints a paragraph that hangs behind its mark.
func (t terminal) wrapped(mark, text string) error {
	width := t.width()
	if width == 0 || width > 100 {
		width = 100
	}
	line := mark
	for word := range strings.FieldsSeq(visible(text)) {
		switch {
		case strings.TrimSpace(line) == "" || line == mark:
			line += word
		case len([]rune(line))+1+len([]rune(word)) > width:
			if err := t.say("%s", line); err != nil {
				return err
			}
			line = strings.Repeat(" ", len(mark)) + word
		default:
			line += " " + word
		}
	}
	return t.say("%s", line)
}

// state of both integrations, as an argument.
type integrationArg struct {
	What string `arg:"" name:"integration" enum:"sign-on,provisioning" help:"sign-on or provisioning."`
}
