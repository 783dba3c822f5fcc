package portal

import (
	"errors"
	"net/http"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// setupView is the page on which the first owner begins.
type setupView struct {
	Token string
	Form  web.Form
	Least int
}

func (p *Portal) setup(w http.ResponseWriter, r *http.Request) error {
	needs, err := p.authn.NeedsSetup(r.Context())
	if err != nil {
		return err
	}
	if !needs {
		web.Redirect(w, r, "/")
		return nil
	}
	token := r.FormValue("token")
	l, err := p.authn.Link(r.Context(), token)
	if errors.Is(err, authn.ErrStale) || err == nil && l.Purpose != authn.Setup {
		return p.notSetUp(w, r)
	}
	if err != nil {
		return err
	}
	return p.renderSetup(w, r, http.StatusOK, setupView{Token: token})
}

func (p *Portal) renderSetup(w http.ResponseWriter, r *http.Request, status int, v setupView) error {
	v.Least = p.authn.MinPassword()
	page := p.bare(w, r, "Welcome to Latchkey")
	page.Subtitle = "Name your organization and create its first owner: the account that may do everything."
	return web.Render(w, r, status, setupPage(page, v))
}

func (p *Portal) postSetup(w http.ResponseWriter, r *http.Request) error {
	v := setupView{Token: r.PostForm.Get("token"), Form: web.PostedForm(r)}
	field := func(name string) string { return strings.TrimSpace(r.PostForm.Get(name)) }
	var wrong problem.Fields
	for _, must := range [][2]string{
		{"organization", "Enter your organization's name."},
		{"givenName", "Enter your given name."},
		{"familyName", "Enter your family name."},
		{"email", "Enter your e-mail address."},
	} {
		if field(must[0]) == "" {
			wrong.Add(must[0], "%s", must[1])
		}
	}
	err := wrong.Err()
	if err == nil {
		err = samePassword(r)
	}
	var s authn.Session
	var session keys.Secret
	if err == nil {
		s, session, err = p.authn.CompleteSetup(r.Context(), v.Token, authn.Owner{
			Email: field("email"), GivenName: field("givenName"), FamilyName: field("familyName"),
			Organization: field("organization"), Password: keys.Secret(r.PostForm.Get("password")),
		}, p.cookie.Read(r), p.origin(r))
	}
	if errors.Is(err, authn.ErrStale) {
		if needs, err := p.authn.NeedsSetup(r.Context()); err != nil {
			return err
		} else if needs {
			return p.notSetUp(w, r)
		}
		web.Redirect(w, r, "/signin")
		return nil
	}
	if err != nil {
		var ok bool
		if v.Form, ok = v.Form.Fail(err); !ok {
			return err
		}
		return p.renderSetup(w, r, web.Status(err), v)
	}
	p.welcome(w, s, session.Reveal())
	web.SetFlash(w, r, web.OK, "Latchkey is set up. Next: add people and groups, then an application.")
	web.Redirect(w, r, p.console)
	return nil
}
