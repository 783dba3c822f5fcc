package console

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/a-h/templ"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// signOnPage is the sign-on tab.
type signOnPage struct {
	appFrame
	Inner  []web.Tab
	Banner web.Banner
	// Ours, Theirs, File and Watch are its forms.
	Ours, Theirs, File, Watch web.Form
	// Settings are the forms of the rows that open, by their names; Failed is the one that
	// couldn't be saved.
	Settings map[string]web.Form
	Failed   string
	// Subject is the NameID as it is.
	Subject mappingFacts
	// ACS are the rows of the form Theirs.
	ACS int
	// Warnings are doubts about values, by field, e.g. "acs[0].url".
	Warnings map[string][]string
	Guide    templ.Component
}

// emptyACS is how many empty rows follow the entered ones.
const emptyACS = 1

func (c *Console) signOnFrame(w http.ResponseWriter, r *request) (signOnPage, error) {
	f, err := c.application(w, r, tabSignOn)
	if err != nil {
		return signOnPage{}, err
	}
	if f.Con.SAML == nil {
		return signOnPage{}, problem.New(problem.NotFound, "%s has no sign-on by SAML.", f.App.Label)
	}
	f.Actions = nil
	p := signOnPage{appFrame: f, Warnings: map[string][]string{}, Inner: f.signOnTabs("")}
	if p.Subject, err = factsOf(f.Con, sideSAML, f.App.SAML.Mapping); err != nil {
		return signOnPage{}, err
	}
	for _, x := range c.Apps.Warnings(f.App) {
		if name, ok := strings.CutPrefix(x.Field, "saml."); ok {
			p.Warnings[name] = append(p.Warnings[name], x.Text)
		}
	}
	open := "sign-on-there"
	if f.App.SAML.Status == app.Active {
		open = "enforce"
	}
	p.Guide = f.guide(catalog.PartSignOn, open)
	if g, ok := p.Guide.(web.Guide); ok && !slices.ContainsFunc(g.Sections, func(s web.GuideSection) bool { return s.ID == open }) {
		g.Open = ""
		p.Guide = g
	}
	p.Banner = f.signOnBanner(nil)
	p.Banner.Action = p.switchAction()
	p.fill(f.App.SAML.SAMLSettings)
	return p, nil
}

// switchAction turns sign-on on or off, and tries it out.
func (p *signOnPage) switchAction() templ.Component {
	var list []templ.Component
	if p.App.SAML.Status == app.Active {
		list = append(list, web.Button{Label: "Test sign-on", Icon: "log-in", Small: true, Href: p.launchURL(), NewTab: true})
	}
	switch {
	case !p.May:
	case p.App.SAML.Status == app.Active:
		if p.App.Groups == 0 {
			list = append(list, web.Button{Label: "Bind groups", Small: true, Href: p.path("groups")})
		}
		list = append(list, web.Button{Label: "Deactivate…", Icon: "power", Small: true, Href: p.path("sign-on", "deactivate")})
	case len(p.App.SAML.Missing) == 0:
		list = append(list, web.PostButton{Button: web.Button{Label: "Activate sign-on", Icon: "power", Variant: web.Primary}, Action: p.path("sign-on", "activate")})
	}
	if len(list) == 0 {
		return nil
	}
	return web.Group(list...)
}

// fill sets the forms from settings.
func (p *signOnPage) fill(s app.SAMLSettings) {
	p.Ours = web.NewForm(map[string]string{"idpEntityId": s.IDPEntityID}).Named("ours")
	p.Theirs, p.ACS = theirForm(s)
	p.File, p.Watch = web.Form{}.Named("file"), watchForm(p.Source)
	p.Settings = settingForms(p.appFrame, s)
}

// signOnTabs are the pages of the sign-on tab.
func (f appFrame) signOnTabs(active string) []web.Tab {
	var list []web.Tab
	for _, x := range []struct{ key, label string }{{"", "Settings"}, {"exchanges", "Last exchanges"}, {"simulate", "Simulate"}, {"decode", "Decode"}} {
		t := web.Tab{Label: x.label, Href: f.path("sign-on"), Active: x.key == active}
		if x.key != "" {
			t.Href = f.path("sign-on", x.key)
		}
		list = append(list, t)
	}
	return list
}

func theirForm(s app.SAMLSettings) (web.Form, int) {
	v := map[string]string{"spEntityId": s.SPEntityID, "defaultRelayState": s.DefaultRelayState}
	for i, acs := range s.ACS {
		v[acsField(i, "url")], v[acsField(i, "index")] = acs.URL, strconv.Itoa(acs.Index)
		if acs.Default {
			v["acsDefault"] = strconv.Itoa(i)
		}
	}
	return web.NewForm(v).Named("theirs"), len(s.ACS) + emptyACS
}

func acsField(i int, part string) string { return fmt.Sprintf("acs[%d].%s", i, part) }

func signValue(s app.SAMLSettings) string {
	switch {
	case s.SignAssertion && s.SignResponse:
		return "both"
	case s.SignResponse:
		return "response"
	}
	return "assertion"
}

func (c *Console) signOn(w http.ResponseWriter, r *request) error {
	p, err := c.signOnFrame(w, r)
	if err != nil {
		return err
	}
	return web.Render(w, r.Request, http.StatusOK, signOnView(p))
}

// saveSignOn changes settings; when they can't be saved, failed puts the reason into a form. anchor is where the page is
// shown from afterwards.
func (c *Console) saveSignOn(w http.ResponseWriter, r *request, anchor, message string, change func(*app.SAMLSettings) error, failed func(*signOnPage, error) bool) error {
	p, err := c.signOnFrame(w, r)
	if err != nil {
		return err
	}
	a, err := c.Apps.SaveSAML(r.Context(), r.By, p.App.ID, change)
	if err != nil {
		if !failed(&p, err) {
			return err
		}
		return web.Render(w, r.Request, web.Status(err), signOnView(p))
	}
	if len(a.SAML.Missing) == 0 && a.SAML.Status != app.Active {
		message += " Nothing is missing: sign-on can be activated."
	}
	return done(w, r, p.path("sign-on")+anchor, message)
}

func (c *Console) saveOurValues(w http.ResponseWriter, r *request) error {
	id := r.PostForm.Get("idpEntityId")
	return c.saveSignOn(w, r, "", "The entity ID is saved.", func(s *app.SAMLSettings) error {
		s.IDPEntityID = id
		return nil
	}, func(p *signOnPage, err error) (ok bool) {
		p.Ours, ok = web.PostedForm(r.Request).Named("ours").Fail(err)
		return ok
	})
}

const maxPostedACS = 200

// postedACS reads the rows of assertion consumer services; empty ones are left out.
func postedACS(r *request) ([]app.ACS, error) {
	var list []app.ACS
	var bad problem.Fields
	chosen := r.PostForm.Get("acsDefault")
	used := map[int]bool{}
	var open []int // rows without an index
	for i := range maxPostedACS {
		url := strings.TrimSpace(r.PostForm.Get(acsField(i, "url")))
		if url == "" {
			continue
		}
		acs := app.ACS{URL: url, Default: chosen == strconv.Itoa(i)}
		if text := strings.TrimSpace(r.PostForm.Get(acsField(i, "index"))); text == "" {
			open = append(open, len(list))
		} else if n, err := strconv.Atoi(text); err != nil {
			bad.Add(acsField(len(list), "index"), "An index is a number from 0 to 65535.")
		} else {
			acs.Index, used[n] = n, true
		}
		list = append(list, acs)
	}
	for _, i := range open {
		n := 0
		for used[n] {
			n++
		}
		list[i].Index, used[n] = n, true
	}
	return list, bad.Err()
}

func (c *Console) saveTheirValues(w http.ResponseWriter, r *request) error {
	acs, acsErr := postedACS(r)
	set := func(s *app.SAMLSettings) {
		s.SPEntityID, s.ACS, s.DefaultRelayState = r.PostForm.Get("spEntityId"), acs, r.PostForm.Get("defaultRelayState")
	}
	return c.saveSignOn(w, r, "", "The values of the other side are saved.", func(s *app.SAMLSettings) error {
		if acsErr != nil {
			return acsErr
		}
		set(s)
		return nil
	}, func(p *signOnPage, err error) (ok bool) {
		var posted app.SAMLSettings
		set(&posted)
		p.Theirs, p.ACS = theirForm(posted)
		p.Theirs, ok = p.Theirs.Fail(err)
		return ok
	})
}

// inputNamed gives a field's error to the input that stands for it.
func inputNamed(err error, field, input string) error {
	p, ok := errors.AsType[*problem.Error](err)
	if !ok {
		return err
	}
	out := *p
	out.Fields = slices.Clone(p.Fields)
	for i := range out.Fields {
		if out.Fields[i].Name == field {
			out.Fields[i].Name = input
		}
	}
	return &out
}

func (c *Console) activateSignOn(w http.ResponseWriter, r *request) error {
	id := app.ID(r.PathValue("id"))
	a, err := c.Apps.ActivateSAML(r.Context(), r.By, id)
	if problem.Is(err, problem.Invalid) {
		return redirect(w, r, appPath(id, "sign-on"), web.Warn, problem.Public(err))
	}
	if err != nil {
		return err
	}
	message := "Sign-on is active."
	if a.Groups == 0 {
		message += " Now bind the groups whose members may use it."
		return done(w, r, appPath(id, "groups"), message)
	}
	return done(w, r, appPath(id, "sign-on"), message+" Try it in a private window.")
}

func (c *Console) deactivateSignOnFrame(w http.ResponseWriter, r *request) (confirmPage, appFrame, error) {
	if err := mayManage(r); err != nil {
		return confirmPage{}, appFrame{}, err
	}
	s, err := c.signOnFrame(w, r)
	if err != nil {
		return confirmPage{}, appFrame{}, err
	}
	n, err := c.entitledPeople(r, s.App.ID)
	if err != nil {
		return confirmPage{}, appFrame{}, err
	}
	f := s.inner("Deactivate sign-on?", "Sign-on", "sign-on")
	p := confirmPage{Page: f.Page, Confirm: web.ConfirmForm{Action: f.path("sign-on", "deactivate"), Submit: "Deactivate sign-on", Cancel: f.path("sign-on")}}
	p.Confirm.Consequences = []string{
		fmt.Sprintf("%s can't sign in to %s from here any more, at once. Who is signed in there stays so until that session ends.", atMost(n), f.App.Label),
		fmt.Sprintf("If %s enforces single sign-on, turn that off there first: people are locked out otherwise.", f.product()),
		"All settings and certificates are kept, so that it can be activated again.",
	}
	p.Aside = f.guide(catalog.PartRemoval, "")
	return p, f, nil
}

func (c *Console) confirmDeactivateSignOn(w http.ResponseWriter, r *request) error {
	p, _, err := c.deactivateSignOnFrame(w, r)
	if err != nil {
		return err
	}
	return c.renderConfirm(w, r, http.StatusOK, p)
}

func (c *Console) deactivateSignOn(w http.ResponseWriter, r *request) error {
	id := app.ID(r.PathValue("id"))
	if _, err := c.Apps.DeactivateSAML(r.Context(), r.By, id); err != nil {
		return err
	}
	return done(w, r, appPath(id, "sign-on"), "Sign-on is off. Nobody gets in from here.")
}
