package rehearsal

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// mountBrowser registers what people meet: log-in, the assertion consumer service, the site, the error page.
func (s *Site) mountBrowser(mux *http.ServeMux) {
	mux.HandleFunc("GET /login", s.showLogin)
	mux.HandleFunc("POST /login", s.postLogin)
	mux.HandleFunc("POST /login/callback", s.postCallback)
	mux.HandleFunc("GET /login/callback", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/login", http.StatusFound)
	})
	mux.HandleFunc("GET /error", s.showError)
	mux.HandleFunc("GET /site", s.showSite)
	mux.HandleFunc("GET /site/", s.showSite)
	mux.HandleFunc("GET /start", s.showStart)
	mux.HandleFunc("POST /logout", s.logout)
	mux.HandleFunc("GET /logout", s.logout)
	mux.HandleFunc("GET /saml/{sp}", func(w http.ResponseWriter, r *http.Request) {
		s.render(w, r, http.StatusNotFound, "notfound", pageData{Title: "No metadata here", Data: "The service provider publishes no metadata. Write it by hand: entity ID and one HTTP-POST assertion consumer service."})
	})
}

type loginPage struct {
	Email, Next, Message, Problem string
}

func (s *Site) showLogin(w http.ResponseWriter, r *http.Request) {
	email := r.URL.Query().Get("email")
	next := s.nextURL(r.URL.Query().Get("continue"))
	if email != "" {
		s.beginLogin(w, r, email, next)
		return
	}
	s.render(w, r, http.StatusOK, "login", pageData{Title: "Log in", Public: true, Data: loginPage{Next: next}})
}

func (s *Site) postLogin(w http.ResponseWriter, r *http.Request) {
	s.beginLogin(w, r, r.PostFormValue("email"), s.nextURL(r.PostFormValue("continue")))
}

func (s *Site) beginLogin(w http.ResponseWriter, r *http.Request, email, next string) {
	d, err := s.startLogin(email, next)
	page := loginPage{Email: email, Next: next}
	switch {
	case err != nil:
		page.Problem = publicText(err)
		s.render(w, r, statusOf(err), "login", pageData{Title: "Log in", Public: true, Data: page})
	case d.location != "":
		w.Header().Set("Cache-Control", "no-store")
		http.Redirect(w, r, d.location, http.StatusFound)
	default:
		page.Message = d.message
		s.render(w, r, http.StatusOK, "login", pageData{Title: "Log in", Public: true, Data: page})
	}
}

// nextURL keeps only addresses of this site.
func (s *Site) nextURL(next string) string {
	base := s.BaseURL()
	switch {
	case next == base+"/site", strings.HasPrefix(next, base+"/site/"), strings.HasPrefix(next, base+"/site?"), next == base+"/start":
		return next
	case next == "/site", strings.HasPrefix(next, "/site/"), strings.HasPrefix(next, "/site?"):
		return base + next
	}
	return base + "/start"
}

func (s *Site) postCallback(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 4*maxResponse)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "The form can't be read.", http.StatusBadRequest)
		return
	}
	cookie := ""
	if c, err := r.Cookie(sessionCookie); err == nil {
		cookie = c.Value
	}
	out := s.consume(r.URL.Query().Get("connection"), r.PostForm.Get("SAMLResponse"), r.PostForm.Get("RelayState"), cookie)
	if out.cookie != "" {
		http.SetCookie(w, &http.Cookie{
			Name: sessionCookie, Value: out.cookie, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode,
			Secure: strings.HasPrefix(s.BaseURL(), "https://"),
		})
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, out.location, http.StatusFound)
}

type errorPage struct {
	Error, Description, Reason string
}

func (s *Site) showError(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	page := errorPage{Error: q.Get("error"), Description: q.Get("error_description")}
	// What the real service keeps to itself, if this is about the last refused sign-in.
	ins := s.SignIns()
	for _, in := range slices.Backward(ins) {
		if !in.OK {
			if in.Description == page.Description {
				page.Reason = in.Reason
			}
			break
		}
	}
	s.render(w, r, http.StatusOK, "error", pageData{Title: "Log-in failed", Public: true, Data: page})
}

func (s *Site) showSite(w http.ResponseWriter, r *http.Request) {
	s.showSignedIn(w, r, "site", "Your site")
}

func (s *Site) showStart(w http.ResponseWriter, r *http.Request) {
	s.showSignedIn(w, r, "start", "Start")
}

// showSignedIn shows a page to who is signed in, as JSON to a client that asks for it; others are sent to the
// log-in.
func (s *Site) showSignedIn(w http.ResponseWriter, r *http.Request, page, title string) {
	v := s.visitor(r)
	asJSON := strings.Contains(r.Header.Get("Accept"), mediaJSON)
	switch {
	case v == nil && asJSON:
		writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "Nobody is signed in."})
	case v == nil:
		w.Header().Set("Cache-Control", "no-store")
		http.Redirect(w, r, "/login?continue="+url.QueryEscape(s.BaseURL()+r.URL.Path), http.StatusFound)
	case asJSON:
		writeJSON(w, http.StatusOK, v)
	default:
		s.render(w, r, http.StatusOK, page, pageData{Title: title, Public: true, Data: v})
	}
}

func (s *Site) logout(w http.ResponseWriter, r *http.Request) {
	s.signOut(r)
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, "/login", http.StatusFound)
}
