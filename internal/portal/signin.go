package portal

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// journey is where a person is going while they sign in: to an application's pending request
// (flow), or to a page of ours (back).
type journey struct {
	token string
	flow  authn.Flow
	back  string
	// stale says that the flow can't be continued any more.
	stale bool
}

func (p *Portal) journey(r *http.Request) (journey, error) {
	j := journey{token: r.FormValue("flow"), back: web.LocalPath(r.FormValue("return"), "")}
	if j.token == "" {
		return j, nil
	}
	f, err := p.authn.Flow(r.Context(), j.token)
	if errors.Is(err, authn.ErrStale) {
		return journey{stale: true, back: j.back}, nil
	}
	j.flow = f
	return j, err
}

// onward returns where to go after sign-in.
func (j journey) onward() string {
	if to := web.LocalPath(j.flow.ReturnTo(), ""); j.token != "" && to != "" {
		return withQuery(to, "flow", j.token)
	}
	if j.back == "" || strings.HasPrefix(j.back, "/signin") || strings.HasPrefix(j.back, "/signed-out") {
		return "/"
	}
	return j.back
}

// signInPath returns the sign-in page that keeps the journey.
func (j journey) signInPath() string {
	return withQuery(withQuery("/signin", "flow", j.token), "return", j.back)
}

// fields are the hidden fields that carry the journey through forms.
func (j journey) fields() map[string]string {
	m := map[string]string{}
	if j.token != "" {
		m["flow"] = j.token
	}
	if j.back != "" {
		m["return"] = j.back
	}
	return m
}

// to is the line below the title: "to continue to Jira".
func (j journey) to() string {
	if name := j.flow.Application(); name != "" {
		return "to continue to " + name
	}
	return ""
}

// signInView is what the two steps of the sign-in page show.
type signInView struct {
	journey
	// Login is what was entered in the first step; "" shows the first step.
	Login string
	// Error is what was wrong with the last try.
	Error string
	// Again says that the person is signed in and has to prove it once more.
	Again bool
}

// signIn shows the first step; or goes on at once when there is nothing to prove.
func (p *Portal) signIn(w http.ResponseWriter, r *http.Request) error {
	j, err := p.journey(r)
	if err != nil {
		return err
	}
	s, err := p.session(r)
	signedIn := err == nil
	if err != nil && !problem.Is(err, problem.Unauthenticated) {
		return err
	}
	if j.stale {
		return p.stale(w, r, signedIn)
	}
	v := signInView{journey: j, Login: strings.TrimSpace(j.flow.Login())}
	// switch: the application asks for somebody else than who is signed in. other: the person wants to be another one.
	change := r.FormValue("switch") != "" || r.FormValue("other") != ""
	if signedIn && j.token != "" && change {
		return p.renderSignIn(w, r, http.StatusOK, v.as(r))
	}
	if signedIn {
		// A flow comes here with a session only when it needs a proof younger than itself.
		if j.token == "" || !s.AuthenticatedAt.Before(j.flow.CreatedAt) {
			web.Redirect(w, r, j.onward())
			return nil
		}
		v.Login, v.Again = s.User.Email, true
	} else if needs, err := p.authn.NeedsSetup(r.Context()); err != nil {
		return err
	} else if needs {
		return p.notSetUp(w, r)
	}
	return p.renderSignIn(w, r, http.StatusOK, v.as(r))
}

// as shows the first step, in which people say who they are, to those who want to be somebody else.
func (v signInView) as(r *http.Request) signInView {
	if r.FormValue("other") != "" {
		v.Login, v.Again = "", false
	}
	return v
}

func (p *Portal) renderSignIn(w http.ResponseWriter, r *http.Request, status int, v signInView) error {
	page := p.bare(w, r, "Sign in")
	page.Subtitle = v.to()
	if v.Again {
		page.Title = "Confirm it's you"
	}
	return web.Render(w, r, status, signInPage(page, v))
}

// postSignIn takes either step. The first asks the database nothing, so that it can't tell
// whether there is such a person.
func (p *Portal) postSignIn(w http.ResponseWriter, r *http.Request) error {
	j, err := p.journey(r)
	if err != nil {
		return err
	}
	v := signInView{journey: j, Login: strings.TrimSpace(r.PostForm.Get("login"))}
	if v.Login == "" {
		v.Error = "Enter your e-mail address or user name."
		return p.renderSignIn(w, r, http.StatusUnprocessableEntity, v)
	}
	password, given := r.PostForm["password"]
	if !given {
		return p.renderSignIn(w, r, http.StatusOK, v)
	}
	if password[0] == "" {
		v.Error = "Enter your password."
		return p.renderSignIn(w, r, http.StatusUnprocessableEntity, v)
	}
	s, token, err := p.authn.SignIn(r.Context(), authn.Attempt{
		Login: v.Login, Password: keys.Secret(password[0]), Replace: p.cookie.Read(r),
		ApplicationID: j.flow.ApplicationID(), Origin: p.origin(r),
	})
	if expired, ok := errors.AsType[*authn.PasswordExpired](err); ok {
		l, err := p.authn.Link(r.Context(), expired.Token.Reveal())
		if err != nil {
			return err
		}
		return p.renderChoose(w, r, http.StatusOK, chooseView{journey: j, Link: l, Token: expired.Token.Reveal()})
	}
	switch problem.KindOf(err) {
	case problem.Unauthenticated:
		if err != nil {
			v.Error = problem.Public(err)
			return p.renderSignIn(w, r, http.StatusUnauthorized, v)
		}
	case problem.Throttled, problem.Unavailable:
		return p.wait(w, r, v, err)
	}
	if err != nil {
		return err
	}
	p.welcome(w, s, token.Reveal())
	if j.stale {
		web.SetFlash(w, r, web.Info, "You are signed in. The application waited too long for it: open it here, or start again there.")
	}
	web.Redirect(w, r, j.onward())
	return nil
}

// wait shows that there were too many tries, and the way back to the form.
func (p *Portal) wait(w http.ResponseWriter, r *http.Request, v signInView, cause error) error {
	e, ok := errors.AsType[*problem.Error](cause)
	if !ok {
		return cause
	}
	p.log.InfoContext(r.Context(), "a sign-in has to wait", "error", cause)
	seconds := max(int(e.RetryAfter.Seconds()+0.999), 1)
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
	page := p.bare(w, r, "Please wait a little")
	page.HideHeader = true
	return web.Render(w, r, web.Status(cause), waitPage(page, v, e.Kind == problem.Throttled, inWords(seconds)))
}

func inWords(seconds int) string {
	switch {
	case seconds == 1:
		return "one second"
	case seconds < 90:
		return strconv.Itoa(seconds) + " seconds"
	default:
		return strconv.Itoa((seconds+59)/60) + " minutes"
	}
}

// stale shows that an application's request can't be continued.
func (p *Portal) stale(w http.ResponseWriter, r *http.Request, signedIn bool) error {
	page := p.bare(w, r, "This sign-in has expired")
	page.HideHeader = true
	return web.Render(w, r, http.StatusNotFound, stalePage(page, signedIn))
}

func (p *Portal) notSetUp(w http.ResponseWriter, r *http.Request) error {
	page := p.bare(w, r, "Not set up yet")
	page.HideHeader = true
	return web.Render(w, r, http.StatusOK, notSetUpPage(page))
}

// signOut asks, since a link must not sign anybody out.
func (p *Portal) signOut(w http.ResponseWriter, r *http.Request) error {
	s, err := p.session(r)
	if problem.Is(err, problem.Unauthenticated) {
		web.Redirect(w, r, "/signed-out")
		return nil
	}
	if err != nil {
		return err
	}
	page := p.bare(w, r, "Sign out?")
	return web.Render(w, r, http.StatusOK, signOutPage(page, s.User.Name()))
}

func (p *Portal) postSignOut(w http.ResponseWriter, r *http.Request) error {
	token, to := p.cookie.Read(r), ""
	if p.beyond != nil {
		var err error
		if to, err = p.beyond(r, token); err != nil {
			return err
		}
	}
	if to == "" {
		if err := p.authn.SignOut(r.Context(), token); err != nil {
			return err
		}
		to = "/signed-out"
	}
	p.cookie.Clear(w)
	web.Redirect(w, r, to)
	return nil
}

func (p *Portal) signedOut(w http.ResponseWriter, r *http.Request) error {
	page := p.bare(w, r, "You are signed out")
	page.HideHeader = true
	return web.Render(w, r, http.StatusOK, signedOutPage(page))
}
