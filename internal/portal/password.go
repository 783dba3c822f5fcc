package portal

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// chooseView is the page on which the person of a one-time link chooses a password.
type chooseView struct {
	journey
	Link  authn.Link
	Token string
	Form  web.Form
	// Least is how many characters a password has at least.
	Least int
}

// title says why the person is here.
func (v chooseView) title() string {
	switch v.Link.Purpose {
	case authn.Activation:
		return "Welcome, " + v.Link.User.Name()
	case authn.Renewal:
		return "Choose a new password"
	default:
		return "Reset your password"
	}
}

func (v chooseView) lead() string {
	switch v.Link.Purpose {
	case authn.Activation:
		return "Choose the password that you will sign in with."
	case authn.Renewal:
		return "Your password was right, but it has to be replaced before you go on."
	default:
		return "Choose another password. You will be signed out everywhere else."
	}
}

func (p *Portal) renderChoose(w http.ResponseWriter, r *http.Request, status int, v chooseView) error {
	v.Least = p.authn.MinPassword()
	page := p.bare(w, r, v.title())
	page.Subtitle = v.lead()
	return web.Render(w, r, status, choosePage(page, v))
}

// activate shows the form behind a one-time link. Opening it doesn't use the link up: programs
// that look into mail open links too.
func (p *Portal) activate(w http.ResponseWriter, r *http.Request) error {
	token := r.FormValue("token")
	l, err := p.authn.Link(r.Context(), token)
	if errors.Is(err, authn.ErrStale) {
		return p.staleLink(w, r)
	}
	if err != nil {
		return err
	}
	if l.Purpose == authn.Setup {
		web.Redirect(w, r, withQuery("/setup", "token", token))
		return nil
	}
	return p.renderChoose(w, r, http.StatusOK, chooseView{Link: l, Token: token})
}

func (p *Portal) postActivate(w http.ResponseWriter, r *http.Request) error {
	j, err := p.journey(r)
	if err != nil {
		return err
	}
	token := r.PostForm.Get("token")
	l, err := p.authn.Link(r.Context(), token)
	if errors.Is(err, authn.ErrStale) || err == nil && l.Purpose == authn.Setup {
		return p.staleLink(w, r)
	}
	if err != nil {
		return err
	}
	var s authn.Session
	var session keys.Secret
	err = samePassword(r)
	if err == nil {
		s, session, err = p.authn.RedeemLink(r.Context(), token, keys.Secret(r.PostForm.Get("password")), p.cookie.Read(r), p.origin(r))
	}
	if errors.Is(err, authn.ErrStale) {
		return p.staleLink(w, r)
	}
	if err != nil {
		form, ok := web.PostedForm(r).Fail(err)
		if !ok {
			return err
		}
		return p.renderChoose(w, r, web.Status(err), chooseView{journey: j, Link: l, Token: token, Form: form})
	}
	p.welcome(w, s, session.Reveal())
	web.SetFlash(w, r, web.OK, "Your password is set and you are signed in.")
	web.Redirect(w, r, j.onward())
	return nil
}

// samePassword compares the two fields of a form that sets a password. A typing error in one
// that nobody sees would lock the person out.
func samePassword(r *http.Request) error {
	if r.PostForm.Get("password") != r.PostForm.Get("repeat") {
		return problem.InvalidField("repeat", "The two passwords differ. Type the same one twice.")
	}
	return nil
}

func (p *Portal) staleLink(w http.ResponseWriter, r *http.Request) error {
	page := p.bare(w, r, "This link doesn't work any more")
	page.HideHeader = true
	return web.Render(w, r, http.StatusNotFound, staleLinkPage(page))
}

func passwordHelp(least int) string {
	return "At least " + strconv.Itoa(least) + " characters. A few unrelated words make a good one."
}
