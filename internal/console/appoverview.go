package console

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/a-h/templ"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// appOverviewPage is an application's first tab.
type appOverviewPage struct {
	appFrame
	Health    []web.Banner
	Checklist web.Checklist
	// Todo is how many lines of the checklist aren't done.
	Todo int
	Form web.Form
	// Removal are the steps out, in order.
	Removal web.Checklist
	// Doubts are the connector's about the bookmark's address.
	Doubts []string
}

func (c *Console) appOverview(w http.ResponseWriter, r *request) error {
	f, err := c.application(w, r, tabOverview)
	if err != nil {
		return err
	}
	return c.renderOverview(w, r, http.StatusOK, f, web.NewForm(map[string]string{
		"label": f.App.Label, "description": f.App.Description, "colour": f.App.Colour,
		"portalVisible": boolValue(f.App.PortalVisible), "bookmarkUrl": f.App.BookmarkURL, "version": strconv.FormatInt(f.App.Version, 10),
	}))
}

func (c *Console) renderOverview(w http.ResponseWriter, r *request, status int, f appFrame, form web.Form) error {
	p := appOverviewPage{appFrame: f, Form: form, Health: f.health(), Removal: f.removal()}
	signedOn, err := c.signedOnOnce(r, f.App.ID)
	if err != nil {
		return err
	}
	p.Checklist = f.checklist(signedOn)
	for _, x := range c.Apps.Warnings(f.App) {
		if x.Field == "bookmarkUrl" {
			p.Doubts = append(p.Doubts, x.Text)
		}
	}
	for _, t := range p.Checklist {
		if !t.Done {
			p.Todo++
		}
	}
	return web.Render(w, r.Request, status, appOverviewView(p))
}

// signedOnOnce tells whether anybody has ever signed on to the application.
func (c *Console) signedOnOnce(r *request, id app.ID) (bool, error) {
	page, err := c.Events.Search(r.Context(), r.By, audit.Query{
		Types: []audit.Type{audit.SSOAuth}, ApplicationID: string(id), Outcome: audit.Success, Limit: 1,
	})
	return len(page.Items) > 0, err
}

// health says in a sentence each how it stands, what needs a person first.
func (f appFrame) health() []web.Banner {
	var out []web.Banner
	add := func(b web.Banner) { out = append(out, b) }
	if f.Con.Key == f.Con.Name && f.Con.SAML == nil && f.Con.SCIM == nil && f.Con.Bookmark == nil {
		add(web.Banner{Level: web.Danger, Text: "The catalogue no longer has the connector " + f.Con.Key + ".", Detail: "Sign-on and provisioning don't work until it is back."})
	}
	if level, text := f.certificateState(); level == web.Warn || level == web.Danger {
		add(web.Banner{
			Level: level, Text: "The signing certificate " + text + ".", Detail: "Afterwards " + f.product() + " refuses everybody who signs in from here.",
			Action: f.button("Renew it", "calendar-clock", f.path("sign-on")+"#certificates"),
		})
	}
	if level, text := f.tokenState(); level == web.Warn || level == web.Danger {
		add(web.Banner{
			Level: level, Text: "The provisioning token " + text + ".", Detail: "Afterwards nothing reaches " + f.product() + " until it is replaced.",
			Action: f.button("Replace token", "key-round", f.path("provisioning", "token")),
		})
	}
	if f.Con.SAML != nil {
		add(f.signOnBanner(f.button("Set up", "arrow-right", f.path("sign-on"))))
	}
	if f.Con.SCIM != nil {
		b := f.provisioningBanner()
		if b.Level != web.OK {
			b.Action = web.Button{Label: "Look", Icon: "arrow-right", Small: true, Href: f.path("provisioning")}
		}
		add(b)
	}
	return out
}

// button is a link for those who may change the application; nil for the others.
func (f appFrame) button(label, icon, href string) templ.Component {
	if !f.May {
		return nil
	}
	return web.Button{Label: label, Icon: icon, Small: true, Href: href}
}

// provisioningBanner says in one sentence how it stands with provisioning.
func (f appFrame) provisioningBanner() web.Banner {
	b := web.Banner{Level: web.Level(f.Provisioning.Level), Text: f.Provisioning.Sentence, Icon: provisioningIcon(f.Provisioning.State)}
	if f.App.SCIM.Status == app.Off && len(f.App.SCIM.Missing) > 0 {
		b.Text, b.Detail = "Provisioning isn't set up yet.", "It needs the "+strings.Join(f.App.SCIM.Missing, " and the ")+" of "+f.product()+"."
	}
	return b
}

func provisioningIcon(s app.Status) string {
	switch s {
	case app.Paused:
		return "circle-pause"
	case app.Stopped:
		return "circle-stop"
	case app.Off, app.Incomplete:
		return "refresh-cw-off"
	}
	return ""
}

// signOnBanner says in one sentence how it stands with sign-on.
func (f appFrame) signOnBanner(setUp templ.Component) web.Banner {
	s := f.App.SAML
	switch {
	case s.Status == app.Active:
		b := web.Banner{Level: web.OK, Text: "Sign-on is active since " + day(s.ActivatedAt) + "."}
		if f.App.Groups == 0 {
			b.Level, b.Detail = web.Warn, "But no group is bound, so nobody can use it."
			b.Action = f.button("Bind groups", "users-round", f.path("groups"))
		}
		return b
	case len(s.Missing) == 0:
		return web.Banner{Level: web.Info, Text: "Sign-on is off: nobody gets in from here.", Detail: "Everything that it needs is entered: it can be activated.", Icon: "log-in", Action: setUp}
	case s.Status == app.Off:
		b := web.Banner{Level: web.Info, Text: "Sign-on isn't set up yet.", Detail: "It needs the " + strings.Join(s.Missing, " and the ") + " of " + f.product() + ".", Icon: "log-in", Action: setUp}
		if f.Con.SAML.TwoHalves() {
			b.Detail = f.product() + " shows its SP entity ID and ACS URL after it has the values of this side."
		}
		return b
	}
	return web.Banner{
		Level: web.Info, Icon: "log-in", Text: "Sign-on is incomplete: the " + strings.Join(s.Missing, " and the ") + " " + isAre(s.Missing) + " missing.",
		Detail: "Until then people who try see a page that says so.", Action: setUp,
	}
}

func isAre(list []string) string {
	if len(list) == 1 {
		return "is"
	}
	return "are"
}

// checklist is the way to a working application, in the order in which it is walked.
func (f appFrame) checklist(signedOn bool) web.Checklist {
	act := func(label, href string) templ.Component {
		if !f.May {
			return nil
		}
		return web.Button{Label: label, Small: true, Href: href}
	}
	list := web.Checklist{{Title: "Create it", Text: "Created on " + day(f.App.CreatedAt) + ".", Done: true}}
	s := f.App.SAML
	if f.Con.SAML != nil {
		first := s.DefaultRelayState != "" || s.Status == app.Active || len(s.Missing) == 0
		half := "Decide the entity ID and where people land, then give " + f.product() + " the entity ID, the IdP URL and the certificate."
		if f.Con.SAML.TwoHalves() {
			list = append(list,
				web.Task{Title: "Sign-on, first half", Text: half, Done: first || s.SPEntityID != "", Action: act("Open", f.path("sign-on"))},
				web.Task{Title: "At " + f.product(), Text: "Paste the values there. In return it shows its SP entity ID and ACS URL.", Done: s.SPEntityID != "" && len(s.ACS) > 0, Action: act("See how", f.path("sign-on"))},
				web.Task{Title: "Sign-on, second half", Text: "Enter these two here.", Done: len(s.Missing) == 0, Action: act("Enter", f.path("sign-on")+"#theirs")},
			)
		} else {
			list = append(list,
				web.Task{Title: "Swap the values of sign-on", Text: "Enter SP entity ID and ACS URL, or upload the other side's metadata, and give it ours.", Done: len(s.Missing) == 0, Action: act("Open", f.path("sign-on"))})
		}
		list = append(list, web.Task{Title: "Activate sign-on", Done: s.Status == app.Active, Text: "From then on people of bound groups get in.", Action: act("Activate", f.path("sign-on"))})
	}
	list = append(list, web.Task{
		Title: "Authorize", Text: "Nobody is let in by default: bind the user groups that may use it.", Done: f.App.Groups > 0, Action: act("Bind groups", f.path("groups")),
	})
	if f.App.Groups > 0 {
		list[len(list)-1].Text = count(f.App.Groups, "group is bound.", "groups are bound.")
	}
	if f.Con.SAML != nil {
		t := web.Task{Title: "Validate", Text: "Sign in once from the portal and once from " + f.product() + ", best in a private window.", Done: signedOn}
		if s.Status == app.Active {
			t.Action = web.Button{Label: "Test sign-on", Small: true, Href: f.launchURL(), NewTab: true}
		}
		if signedOn {
			t.Text = "People have signed in."
		}
		list = append(list, t)
	}
	if f.Con.SCIM != nil {
		p := f.App.SCIM
		on := p.Status == app.Active || p.Status == app.Paused || p.Status == app.Stopped
		list = append(list,
			web.Task{Title: "Set up provisioning", Text: "Base URL and token, then test the connection.", Done: len(p.Missing) == 0, Action: act("Set up", f.path("provisioning"))},
			web.Task{Title: "Look at the plan and activate provisioning", Text: "See every account and group that would be written before anything is.", Done: on, Action: act("Open", f.path("provisioning"))},
		)
	}
	return list
}

// removal is the way out, in the order in which it is safe.
func (f appFrame) removal() web.Checklist {
	var list web.Checklist
	link := func(label, href string) templ.Component { return web.Button{Label: label, Small: true, Href: href} }
	if f.Con.SCIM != nil {
		on := f.App.SCIM.Status == app.Active || f.App.SCIM.Status == app.Paused || f.App.SCIM.Status == app.Stopped
		if on {
			t := web.Task{
				Title: "Switch the accounts off first, if they shouldn't stay active", Text: "Unbind every group and wait until nothing is waiting: people are then deactivated at " + f.product() + ".",
				Done: f.App.Groups == 0 && f.Provisioning.Waiting == 0, Action: link("Unbind groups", f.path("groups")),
			}
			if f.App.Groups == 0 && f.Provisioning.Waiting > 0 {
				t.Text = count(f.Provisioning.Waiting, "change is", "changes are") + " still being sent. Wait until there are none."
				t.Action = link("Watch", f.path("provisioning"))
			}
			list = append(list, t)
		}
		list = append(list, web.Task{
			Title: "Deactivate provisioning", Text: "Sending stops at once. Everything at " + f.product() + " stays as it is.", Done: !on,
			Action: link("Deactivate…", f.path("provisioning", "deactivate")),
		})
	}
	if f.Con.SAML != nil {
		list = append(list, web.Task{
			Title: "Deactivate sign-on", Text: "Nobody gets in from here any more.", Done: f.App.SAML.Status != app.Active,
			Action: link("Deactivate…", f.path("sign-on", "deactivate")),
		})
	}
	text := "Its settings and bindings are deleted here."
	if f.Con.SAML != nil {
		text = "Its settings, certificates and bindings are deleted here."
	}
	if f.Con.SCIM != nil {
		text += " Accounts at " + f.product() + " stay active."
	}
	return append(list, web.Task{Title: "Delete the application", Text: text, Action: web.Button{Label: "Delete…", Icon: "trash-2", Small: true, Href: f.path("delete")}})
}

func (c *Console) saveApp(w http.ResponseWriter, r *request) error {
	f, err := c.application(w, r, tabOverview)
	if err != nil {
		return err
	}
	fail := func(err error) error {
		form, ok := web.PostedForm(r.Request).Fail(err)
		if !ok {
			return err
		}
		return c.renderOverview(w, r, web.Status(err), f, form)
	}
	logo, err := postedFile(r, "logo", app.MaxLogo)
	if err != nil {
		return fail(err)
	}
	at := postedAttributes(r)
	a, err := c.Apps.Update(r.Context(), r.By, f.App.ID, formVersion(r), func(x *app.Attributes) error {
		*x = at
		return nil
	})
	if err != nil {
		return fail(err)
	}
	if len(logo) > 0 || checked(r, "removeLogo") {
		if _, err := c.Apps.SetLogo(r.Context(), r.By, f.App.ID, logo); err != nil {
			return fail(err)
		}
	}
	return done(w, r, f.path(), a.Label+" is saved.")
}

// appSlugPage changes the IdP URL.
type appSlugPage struct {
	appFrame
	Form   web.Form
	Prefix string
}

func (c *Console) slugFrame(w http.ResponseWriter, r *request) (appSlugPage, error) {
	if err := mayManage(r); err != nil {
		return appSlugPage{}, err
	}
	f, err := c.application(w, r, "")
	if err != nil {
		return appSlugPage{}, err
	}
	if f.App.Slug == "" {
		return appSlugPage{}, problem.New(problem.NotFound, "%s has no sign-on, so it has no IdP URL.", f.App.Label)
	}
	return appSlugPage{appFrame: f.inner("IdP URL", "", ""), Prefix: strings.TrimRight(c.PublicURL, "/") + app.SSOPath}, nil
}

func (c *Console) appSlug(w http.ResponseWriter, r *request) error {
	p, err := c.slugFrame(w, r)
	if err != nil {
		return err
	}
	p.Form = web.NewForm(map[string]string{"slug": p.App.Slug})
	return web.Render(w, r.Request, http.StatusOK, appSlugView(p))
}

func (c *Console) changeSlug(w http.ResponseWriter, r *request) error {
	p, err := c.slugFrame(w, r)
	if err != nil {
		return err
	}
	a, err := c.Apps.ChangeSlug(r.Context(), r.By, p.App.ID, r.PostForm.Get("slug"))
	if err != nil {
		form, ok := web.PostedForm(r.Request).Fail(err)
		if !ok {
			return err
		}
		p.Form = form
		return web.Render(w, r.Request, web.Status(err), appSlugView(p))
	}
	if a.Slug == p.App.Slug {
		return redirect(w, r, p.path("slug"), web.Info, "That is the IdP URL already.")
	}
	return done(w, r, p.path("slug"), "The IdP URL is changed. The old one answers too, until you drop it: now give "+p.product()+" the new one.")
}

// confirmPage asks before something that can't be taken back.
type confirmPage struct {
	web.Page
	Intro   string
	Confirm web.ConfirmForm
	// Aside is a guide; nil if there is none.
	Aside templ.Component
	// First are things to do before, e.g. to switch accounts off.
	First templ.Component
}

func (c *Console) renderConfirm(w http.ResponseWriter, r *request, status int, p confirmPage) error {
	p.Narrow = p.Aside == nil
	return web.Render(w, r.Request, status, confirmView(p))
}

func (c *Console) dropFrame(w http.ResponseWriter, r *request) (confirmPage, appFrame, error) {
	s, err := c.slugFrame(w, r)
	if err != nil {
		return confirmPage{}, appFrame{}, err
	}
	old := r.PathValue("old")
	found := false
	for _, x := range s.App.OldSlugs {
		found = found || x == old
	}
	if !found {
		return confirmPage{}, appFrame{}, problem.New(problem.NotFound, "%s has no old IdP URL %q. It may have been dropped already.", s.App.Label, old)
	}
	f := s.inner("Drop the old IdP URL?", "IdP URL", "slug")
	return confirmPage{Page: f.Page, Intro: s.Prefix + old, Confirm: web.ConfirmForm{
		Action: f.path("slug", old, "drop"), Submit: "Drop it", Cancel: f.path("slug"),
		Consequences: []string{
			"Whoever is still sent to this address sees a page that there is nothing. See first that " + s.product() + " and people's bookmarks use the new one.",
			"Another application can then take the address.",
		},
	}}, f, nil
}

func (c *Console) confirmDropSlug(w http.ResponseWriter, r *request) error {
	p, _, err := c.dropFrame(w, r)
	if err != nil {
		return err
	}
	return c.renderConfirm(w, r, http.StatusOK, p)
}

func (c *Console) dropSlug(w http.ResponseWriter, r *request) error {
	_, f, err := c.dropFrame(w, r)
	if err != nil {
		return err
	}
	if _, err := c.Apps.DropSlug(r.Context(), r.By, f.App.ID, r.PathValue("old")); err != nil {
		return err
	}
	return done(w, r, f.path("slug"), "The old IdP URL no longer answers.")
}

func (c *Console) deleteFrame(w http.ResponseWriter, r *request) (confirmPage, appFrame, error) {
	if err := mayManage(r); err != nil {
		return confirmPage{}, appFrame{}, err
	}
	f, err := c.application(w, r, "")
	if err != nil {
		return confirmPage{}, appFrame{}, err
	}
	f = f.inner("Delete "+f.App.Label, "", "")
	p := confirmPage{Page: f.Page, Confirm: web.ConfirmForm{
		Action: f.path("delete"), Word: f.App.Label, What: "the application's label", Submit: "Delete application", Cancel: f.path(),
	}}
	add := func(format string, args ...any) {
		p.Confirm.Consequences = append(p.Confirm.Consequences, fmt.Sprintf(format, args...))
	}
	n, err := c.entitledPeople(r, f.App.ID)
	if err != nil {
		return p, f, err
	}
	if f.Con.SAML != nil && f.App.SAML.Status == app.Active {
		add("%s can no longer sign in to it from here. If %s enforces single sign-on, turn that off there first, or they are locked out.", atMost(n), f.product())
	} else if n > 0 {
		add("%s of its groups lose the tile.", atMost(n))
	}
	if f.Con.SCIM != nil {
		if live := f.Provisioning.Users.Synced + f.Provisioning.Users.Pending; live > 0 {
			add("%s at %s stay active, and nobody keeps them true any more.", count(live, "account", "accounts"), f.product())
		} else {
			add("Accounts at %s stay as they are.", f.product())
		}
	}
	if _, ok := f.pair(keys.Current); ok {
		add("Its signing keys are deleted for good: adding the application again makes new ones, which have to be entered there.")
	}
	switch f.App.SCIM.Status {
	case app.Active, app.Paused:
		p.First = web.Banner{
			Level: web.Warn, Text: "Provisioning is " + string(f.App.SCIM.Status) + ". It must be deactivated before.",
			Detail: "If accounts there shouldn't stay active, unbind the groups first and wait until they are deactivated.",
			Action: web.Group(
				web.Button{Label: "Unbind groups", Small: true, Href: f.path("groups")},
				web.Button{Label: "Deactivate provisioning", Small: true, Href: f.path("provisioning", "deactivate")},
			),
		}
	}
	p.Aside = f.guide("removal", "")
	return p, f, nil
}

// entitledMost bounds how many people are counted for a sentence.
const entitledMost = 10_000

// atMost is a number of people, as far as it was counted.
func atMost(n int) string {
	if n > entitledMost {
		return "More than " + people(entitledMost)
	}
	return people(n)
}

func (c *Console) confirmDeleteApp(w http.ResponseWriter, r *request) error {
	p, _, err := c.deleteFrame(w, r)
	if err != nil {
		return err
	}
	return c.renderConfirm(w, r, http.StatusOK, p)
}

func (c *Console) deleteApp(w http.ResponseWriter, r *request) error {
	p, f, err := c.deleteFrame(w, r)
	if err != nil {
		return err
	}
	if err := c.Apps.Delete(r.Context(), r.By, f.App.ID, r.PostForm.Get("confirm")); err != nil {
		switch problem.KindOf(err) {
		case problem.Invalid, problem.Conflict:
			p.Confirm.Error = problem.Public(err)
			return c.renderConfirm(w, r, web.Status(err), p)
		}
		return err
	}
	return done(w, r, appsPath, f.App.Label+" is deleted.")
}
