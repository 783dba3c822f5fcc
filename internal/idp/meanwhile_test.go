package idp_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/idp"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
	"github.com/latchkey-idp/latchkey/internal/web/webtest"
)

// What happens between two steps of a sign-on or a logout, and checks that stand behind others.

// posted brings a request by POST and returns where the flow goes on.
func (h *house) posted(b *browser, change ...func(*samltest.Request)) (id, resume string) {
	h.t.Helper()
	id, xml := h.request(change...)
	return id, redirected(h.t, b.post(h.ssoPath(), samltest.PostBody(xml, "state")))
}

// declined are requests that are answered by a status once the flow goes on, for somebody who isn't signed in.
var declined = map[string]struct {
	change func(*samltest.Request)
	status string
}{
	"passive":           {func(r *samltest.Request) { r.IsPassive = "true" }, saml.StatusNoPassive},
	"out of reach here": {func(r *samltest.Request) { r.AuthnContexts = []string{saml.AuthnContextREFEDSMFA} }, saml.StatusNoAuthnContext},
}

// An application that is switched off isn't answered, not even by a refusal.
func TestClass12_NoStatusForASwitchedOffApplication(t *testing.T) {
	two(t, func(t *testing.T, a, b *house) {
		for name, c := range declined {
			br := &browser{h: b, web: b.web}
			_, resume := b.posted(br, c.change)
			_, err := a.apps.DeactivateSAML(t.Context(), admin, a.jira.ID)
			b.ok(err)
			w := br.get(resume)
			_, err = a.apps.ActivateSAML(t.Context(), admin, a.jira.ID)
			b.ok(err)
			if w.Code != http.StatusConflict || strings.Contains(w.Body.String(), "SAMLResponse") || !strings.Contains(text(w.Body.String()), "switched off") {
				t.Errorf("%s: %d %s", name, w.Code, text(w.Body.String()))
			}
			webtest.Check(t, w.Body.Bytes())
			if e := b.lastEvent(); e.Outcome != audit.Denied || e.Detail["error"] != "sign_on_off" {
				t.Errorf("%s: event %s %v", name, e.Outcome, e.Detail)
			}
			// The request wasn't answered, so it may be still.
			id, resume := b.posted(br, c.change)
			if got, err := b.tryReceive(br.get(resume), id); err != nil || len(got.Status) != 2 || got.Status[1] != c.status {
				t.Errorf("%s, switched on: %v, %v", name, got.Status, err)
			}
		}
	})
}

// A refusal, like an answer, goes only to an address that is registered now.
func TestClass20_NoStatusToAnAddressThatWasRemoved(t *testing.T) {
	two(t, func(t *testing.T, a, b *house) {
		for name, c := range declined {
			br := &browser{h: b, web: b.web}
			id, resume := b.posted(br, c.change)
			a.settings(func(s *app.SAMLSettings) { s.ACS = []app.ACS{{URL: "https://auth.atlassian.com/new"}} })
			w := br.get(resume)
			if w.Code != http.StatusBadRequest || strings.Contains(w.Body.String(), "SAMLResponse") {
				t.Errorf("%s: %d %s", name, w.Code, text(w.Body.String()))
			}
			webtest.Check(t, w.Body.Bytes())
			if e := b.lastEvent(); e.Outcome == audit.Success || e.ApplicationID != string(b.jira.ID) {
				t.Errorf("%s: event %+v", name, e)
			}
			// Registered again, beside another one, it has its answer.
			a.settings(func(s *app.SAMLSettings) {
				s.ACS = []app.ACS{{URL: "https://auth.atlassian.com/new", Default: true}, {URL: acsURL, Index: 1}}
			})
			if got, err := b.tryReceive(br.get(resume), id); err != nil || len(got.Status) != 2 || got.Status[1] != c.status || got.relayState != "state" {
				t.Errorf("%s, registered again: %v, %v", name, got.Status, err)
			}
			a.settings(func(s *app.SAMLSettings) { s.ACS = []app.ACS{{URL: acsURL}} })
		}
	})
}

// Settings that a replica has in memory answer nobody and refuse nobody: what counts is what they are now.
func TestClass20_SettingsInMemory(t *testing.T) {
	two(t, func(t *testing.T, a, b *house) {
		ann := a.person("ann", a.everyone)
		br := (&browser{h: b, web: b.web}).signIn(ann)
		ask := func(change ...func(*samltest.Request)) (received, error) { t.Helper(); return b.ask(br, change...) }
		warm := func() {
			t.Helper()
			if _, err := ask(); err != nil {
				t.Fatal(err)
			}
		}
		warm()
		// Requests must be signed from now on.
		cert := certPEM(b.sp.Cert)
		a.settings(func(s *app.SAMLSettings) { s.SPCertificates, s.RequireSignedRequests = []string{cert}, true })
		before := b.successes()
		_, xml := b.request()
		if w := br.get(b.ssoPath() + "?" + samltest.RedirectQuery(xml, "")); w.Code != http.StatusBadRequest || b.successes() != before {
			t.Errorf("an unsigned request: %d", w.Code)
		}
		// And no more.
		a.settings(func(s *app.SAMLSettings) { s.RequireSignedRequests = false })
		warm()
		// Another address is registered now: a request that names it is answered there.
		const other = "https://auth.atlassian.com/other"
		a.settings(func(s *app.SAMLSettings) { s.ACS = []app.ACS{{URL: acsURL, Default: true}, {URL: other, Index: 1}} })
		b.sp.ACS = other
		if _, err := ask(func(r *samltest.Request) { r.ACSURL = other }); err != nil {
			t.Errorf("an address that was added: %v", err)
		}
		b.sp.ACS = acsURL
		// Off, which is seen, and on again.
		_, err := a.apps.DeactivateSAML(t.Context(), admin, a.jira.ID)
		b.ok(err)
		if _, err := ask(); err == nil {
			t.Error("it is off")
		}
		_, err = a.apps.ActivateSAML(t.Context(), admin, a.jira.ID)
		b.ok(err)
		warm()
	})
}

// Another application may answer at an address since, and may be at the same version: it is another one all the same.
func TestClass20_AnotherApplicationAtTheAddress(t *testing.T) {
	two(t, func(t *testing.T, a, b *house) {
		ann := a.person("ann", a.everyone)
		now := func() app.Application {
			t.Helper()
			x, err := a.apps.Get(t.Context(), admin, a.jira.ID)
			a.ok(err)
			return x
		}
		install := func(signed bool) {
			t.Helper()
			var err error
			a.jira, err = a.apps.Create(t.Context(), admin, app.NewApplication{Connector: "atlassian-cloud", Attributes: app.Attributes{Label: "Jira", PortalVisible: true}})
			a.ok(err)
			a.settings(func(s *app.SAMLSettings) {
				s.SPEntityID, s.ACS = spEntity, []app.ACS{{URL: acsURL}}
				s.SPCertificates, s.RequireSignedRequests = []string{certPEM(a.sp.Cert)}, signed
			})
			a.jira, err = a.apps.ActivateSAML(t.Context(), admin, a.jira.ID)
			a.ok(err)
			a.ok(a.apps.Bind(t.Context(), admin, a.jira.ID, a.everyone))
			b.jira = a.jira
		}
		a.ok(a.apps.Delete(t.Context(), admin, a.jira.ID, "Jira"))
		install(false)
		br := (&browser{h: b, web: b.web}).signIn(ann)
		if _, err := b.ask(br); err != nil {
			t.Fatal(err)
		}
		former := now()
		a.ok(a.apps.Delete(t.Context(), admin, a.jira.ID, "Jira"))
		install(true)
		if x := now(); x.Slug != former.Slug || x.Version != former.Version || x.ID == former.ID {
			t.Fatalf("it differs in more than its ID: %s %d, %s %d", former.Slug, former.Version, x.Slug, x.Version)
		}
		before := b.successes()
		_, xml := b.request()
		if w := br.get(b.ssoPath() + "?" + samltest.RedirectQuery(xml, "")); w.Code != http.StatusBadRequest || b.successes() != before {
			t.Errorf("an unsigned request: %d", w.Code)
		}
	})
}

// Who signs in although the way that is asked for isn't to be had gets no answer that claims it: the way of signing in is
// looked at when the answer is made, whatever led there.
func TestRequestedAuthnContextAfterASignIn(t *testing.T) {
	const mfa = saml.AuthnContextREFEDSMFA
	each(t, func(t *testing.T, h *house) {
		ann := h.person("ann", h.everyone)
		for name, c := range map[string]struct {
			comparison string
			classes    []string
		}{
			"exact":   {"exact", []string{mfa}},
			"minimum": {"minimum", []string{mfa}},
			"better":  {"better", []string{saml.AuthnContextPasswordProtectedTransport}},
			"unknown": {"", []string{"urn:oasis:names:tc:SAML:2.0:ac:classes:X509"}},
		} {
			b := h.browser()
			id, resume := h.posted(b, func(r *samltest.Request) { r.AuthnContexts, r.Comparison = c.classes, c.comparison })
			b.signIn(ann)
			before := h.successes()
			got, err := h.tryReceive(b.get(resume), id)
			if err != nil || len(got.Status) != 2 || got.Status[1] != saml.StatusNoAuthnContext || got.NameID != "" {
				t.Errorf("%s: %v %q, %v", name, got.Status, got.AuthnContext, err)
			}
			if h.successes() != before {
				t.Errorf("%s: a sign-on is recorded", name)
			}
		}
	})
}

// moment is a clock that lets something happen when it is asked.
type moment struct {
	*clock
	mu sync.Mutex
	in int // how often it is asked before
	do func()
}

func (m *moment) now() time.Time {
	m.mu.Lock()
	m.in--
	do := m.do
	if m.in != 0 {
		do = nil
	}
	m.mu.Unlock()
	if do != nil {
		do()
	}
	return m.clock.now()
}

// next lets something happen when the clock is asked next.
func (m *moment) next(do func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.in, m.do = 1, do
}

// moments returns an identity provider of the same installation whose clock is a moment.
func (h *house) moments() (http.Handler, *moment) {
	h.t.Helper()
	m := &moment{clock: h.clock}
	sealer, err := keys.NewSealer([]byte("0123456789abcdef0123456789ABCDEF"))
	h.ok(err)
	cat, err := connectors()
	h.ok(err)
	mux := http.NewServeMux()
	idp.New(idp.Config{
		DB: h.db, Apps: h.apps, Authn: h.authn, Catalog: cat, Pairs: keys.NewPairs(sealer, h.clock.now), PublicURL: publicURL, Now: m.now,
		ClientAddress: func(*http.Request) string { return "192.0.2.7" }, Limits: idp.Limits{StrangerEvents: 1000},
	}).Routes(mux)
	return mux, m
}

// A logout message is acted upon only under the settings by which it was checked.
func TestLogoutWhileSettingsChange(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		handler, m := h.moments()
		ann := h.person("ann", h.everyone)
		for _, c := range []struct {
			name   string
			change func(p *party)
		}{
			{"another certificate", func(p *party) {
				p.settings(func(s *app.SAMLSettings) { s.SPCertificates = []string{certPEM(samltest.Other().Cert)} })
			}},
			{"switched off", func(p *party) { _, err := h.apps.DeactivateSAML(t.Context(), admin, p.jira.ID); h.ok(err) }},
			{"deleted", func(p *party) { h.ok(h.apps.Delete(t.Context(), admin, p.jira.ID, p.jira.Label)) }},
		} {
			wiki := h.party("Wiki", saml.BindingHTTPRedirect)
			b := h.browser().signIn(ann)
			_, xml := wiki.logoutRequest(wiki.signOn(b))
			ends, happened := len(h.events(audit.SessionEnd)), false
			m.next(func() { happened = true; c.change(wiki) })
			at := &browser{h: h, web: handler}
			w := at.get(wiki.sloPath() + "?" + wiki.sp.SignedRedirectQuery(xml, ""))
			if w.Code != http.StatusServiceUnavailable || !happened {
				t.Errorf("%s: %d %s", c.name, w.Code, text(w.Body.String()))
			}
			if n := h.count(`SELECT count(*) FROM sessions`); n != 1 {
				t.Errorf("%s: %d sessions are left", c.name, n)
			}
			if n := len(h.events(audit.SessionEnd)); n != ends {
				t.Errorf("%s: %d events of a session's end", c.name, n-ends)
			}
			h.ok(h.authn.SignOut(t.Context(), b.cookie))
			if c.name != "deleted" {
				h.ok(h.apps.Delete(t.Context(), admin, wiki.jira.ID, wiki.jira.Label))
			}
		}
	})
}

// counting is a body without an end that tells how much of it was read.
type counting struct{ n int64 }

func (c *counting) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	c.n += int64(len(p))
	if c.n > 64<<20 {
		return 0, io.ErrUnexpectedEOF
	}
	return len(p), nil
}

// Nothing but a form is taken by POST, and of it no more is read than a message may have.
func TestLogoutByPostOfAnotherKind(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t))
	wiki := h.party("Wiki", saml.BindingHTTPPost)
	b := h.browser().signIn(h.person("ann", h.everyone))
	_, xml := wiki.logoutRequest(wiki.signOn(b))
	body := samltest.PostBody(wiki.sp.Sign(xml), "")
	for _, media := range []string{"", "text/plain", "application/xml", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded2"} {
		if w := b.do(http.MethodPost, wiki.sloPath(), media, body); w.Code < 400 || w.Code >= 500 {
			t.Errorf("%q: %d", media, w.Code)
		}
	}
	if n := h.count(`SELECT count(*) FROM sessions`); n != 1 {
		t.Fatal("it was followed")
	}
	for _, path := range []string{wiki.sloPath(), wiki.ssoPath()} {
		endless := &counting{}
		r := httptest.NewRequest(http.MethodPost, path, endless)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		h.web.ServeHTTP(w, r)
		if w.Code != http.StatusRequestEntityTooLarge && w.Code != http.StatusBadRequest || endless.n > 4*saml.MaxPostBody {
			t.Errorf("%s: %d after %d bytes", path, w.Code, endless.n)
		}
	}
	if w := b.do(http.MethodPost, wiki.sloPath(), "application/x-www-form-urlencoded; charset=utf-8", body); w.Code != http.StatusSeeOther {
		t.Errorf("a form: %d", w.Code)
	}
}

// A session that had ended already is not ended again, and what is left of it is told to nobody.
func TestLogoutOfASessionThatHadEnded(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		wiki, shop := h.party("Wiki", saml.BindingHTTPRedirect), h.party("Shop", saml.BindingHTTPRedirect)
		ann := h.person("ann", h.everyone)
		b := h.browser().signIn(ann)
		shop.signOn(b)
		of := wiki.signOn(b)
		_, err := h.dir.Suspend(t.Context(), admin, ann.ID)
		h.ok(err)
		ends := len(h.events(audit.SessionEnd))
		id, xml := wiki.logoutRequest(of)
		if w := follow(t, b, wiki.send(b, saml.BindingHTTPRedirect, xml, ""), wiki, shop); w != nil {
			t.Fatalf("%d %s", w.Code, text(w.Body.String()))
		}
		if len(shop.asked) != 0 || len(wiki.told) != 1 || len(wiki.told[0].Status) != 1 || wiki.told[0].InResponseTo != id {
			t.Errorf("Shop was asked %d times, Wiki was told %+v", len(shop.asked), wiki.told)
		}
		if n := len(h.events(audit.SessionEnd)); n != ends {
			t.Errorf("%d events of the session's end", n-ends)
		}
		if e := h.events(audit.SLO)[0]; e.Detail["sessions"] == nil || e.Detail["request_id"] != id || e.Actor.ID != "" {
			t.Errorf("event %+v", e)
		}
	})
}

// Of very many session indexes so many are looked for, and no more.
func TestLogoutLooksForSoManyIndexes(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		wiki := h.party("Wiki", saml.BindingHTTPPost)
		b := h.browser().signIn(h.person("ann", h.everyone))
		of := wiki.signOn(b)
		indexes := []string{}
		for range 200 {
			indexes = append(indexes, saml.NewID())
		}
		ask := func(indexes []string) int {
			t.Helper()
			_, xml := wiki.logoutRequest(of, func(r *samltest.LogoutRequest) { r.SessionIndexes = indexes })
			if w := wiki.send(b, saml.BindingHTTPPost, xml, ""); w.Code != http.StatusSeeOther {
				t.Fatalf("%d %s", w.Code, text(w.Body.String()))
			}
			return h.count(`SELECT count(*) FROM sessions`)
		}
		if n := ask(append(indexes[:200:200], of.SessionIndex)); n != 1 {
			t.Errorf("behind 200 others: %d sessions are left", n)
		}
		if n := ask(append(indexes[:199:199], of.SessionIndex)); n != 0 {
			t.Errorf("behind 199 others: %d sessions are left", n)
		}
	})
}

// An application that is asked learns nothing by which it could look at the chain or change it, nor does any other flow
// lead there.
func TestLogoutIsSeenByAViewOnly(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		wiki, shop := h.party("Wiki", saml.BindingHTTPRedirect), h.party("Shop", saml.BindingHTTPRedirect)
		b := h.browser()
		signOn := strings.TrimPrefix(redirected(t, b.get(h.ssoPath()+"?"+requestQuery(h))), "/signin?flow=")
		b.signIn(h.person("ann", h.everyone))
		shop.signOn(b)
		h.clock.pass(time.Second)
		wiki.signOn(b)
		wiki.answers = "leaves"
		view := b.signOut()
		w := b.get(view)
		if c := w.Header().Get("Cache-Control"); c != "no-store" {
			t.Errorf("Cache-Control %q", c)
		}
		to, _ := led(t, w)
		m := wiki.receiveLogout(t, to, nil)
		for name, token := range map[string]string{"the request's ID": strings.TrimPrefix(m.ID, "_"), "RelayState": m.RelayState, "a sign-on": signOn} {
			if w := b.get(idp.LogoutPath + "?flow=" + token); w.Code != http.StatusGone {
				t.Errorf("%s: %d %s", name, w.Code, text(w.Body.String()))
			}
			form := url.Values{"flow": {token}, "application": {string(wiki.jira.ID)}}.Encode()
			if w := b.post(idp.LogoutPath+"/skip", form); w.Code != http.StatusGone {
				t.Errorf("%s, to go on: %d", name, w.Code)
			}
		}
		// Only who is waited for is passed over.
		token := strings.TrimPrefix(view, idp.LogoutPath+"?flow=")
		for _, other := range []string{"", string(shop.jira.ID), "x"} {
			b.post(idp.LogoutPath+"/skip", url.Values{"flow": {token}, "application": {other}}.Encode())
			if page := text(b.get(view).Body.String()); !strings.Contains(page, "Waiting for Wiki") {
				t.Errorf("passed over %q: %s", other, page)
			}
		}
		wiki.answers = ""
		if w := follow(t, b, wiki.answer(b, m), wiki, shop); w == nil || !strings.Contains(text(w.Body.String()), "and of the applications") {
			t.Error("it doesn't go on")
		}
	})
}

func requestQuery(h *house) string {
	_, xml := h.request()
	return samltest.RedirectQuery(xml, "")
}

// Who asked first is answered once; the page that is loaded again tells how it went. Nor does it end a session that was
// begun since.
func TestLogoutIsAnsweredOnce(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		for way, binding := range bindings {
			wiki := h.party("Wiki"+way, binding)
			ann := h.person("ann"+strings.ToLower(way), h.everyone)
			b := h.browser().signIn(ann)
			_, xml := wiki.logoutRequest(wiki.signOn(b))
			view := redirected(t, wiki.send(b, binding, xml, "relay"))
			w := b.get(view)
			if to, _ := led(t, w); !strings.HasPrefix(to, wiki.sp.SLOResponse) {
				t.Fatalf("%s: led to %q", way, to)
			}
			if c := w.Header().Get("Cache-Control"); c != "no-store" {
				t.Errorf("%s: Cache-Control %q", way, c)
			}
			b.signIn(ann)
			w = b.get(view)
			if to, _ := led(t, w); to != "" || w.Code != http.StatusOK || !strings.Contains(text(w.Body.String()), "You are signed out here") {
				t.Errorf("%s, loaded again: led to %q, %d %s", way, to, w.Code, text(w.Body.String()))
			}
			if c := w.Header().Get("Set-Cookie"); strings.Contains(c, h.cookie+"=;") {
				t.Errorf("%s: the page takes the cookie of a session that was begun since: %q", way, c)
			}
			h.receive(b.get("/launch/"+string(h.jira.ID)), "")
		}
	})
}

// A HEAD of the page on which a logout goes on asks nobody: there is no browser that would follow.
func TestNoLogoutByHEADOfThePage(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t))
	wiki := h.party("Wiki", saml.BindingHTTPRedirect)
	b := h.browser().signIn(h.person("ann", h.everyone))
	wiki.signOn(b)
	view := b.signOut()
	flows := h.count(`SELECT count(*) FROM flows`)
	if w := b.do(http.MethodHead, view, "", ""); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Refresh") != "" || w.Body.Len() != 0 {
		t.Errorf("HEAD: %d %v", w.Code, w.Header())
	}
	if n := h.count(`SELECT count(*) FROM flows`); n != flows {
		t.Errorf("HEAD asked somebody: %d flows, %d before", n, flows)
	}
	if to, _ := led(t, b.get(view)); !strings.HasPrefix(to, wiki.sp.SLO) {
		t.Errorf("the browser is led to %q", to)
	}
}

// A session has one index at each application, and none by which two applications could tell that they serve the same
// person (saml-core §2.7.2).
func TestSignOnSessionIndex(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		wiki, shop := h.custom("Wiki", "https://wiki.example/sp"), h.custom("Shop", "https://shop.example/sp")
		ann := h.person("ann", h.everyone)
		seen := map[string]string{}
		for _, who := range []string{"one browser", "another browser"} {
			b := h.browser().signIn(ann)
			for name, at := range map[string]*house{"Wiki": wiki, "Shop": shop, "Jira": h} {
				first, err := at.ask(b)
				h.ok(err)
				second, err := at.ask(b)
				h.ok(err)
				if first.SessionIndex == "" || first.SessionIndex != second.SessionIndex {
					t.Errorf("%s, %s: %q, then %q", who, name, first.SessionIndex, second.SessionIndex)
				}
				if other, known := seen[first.SessionIndex]; known {
					t.Errorf("%s, %s: the index of %s", who, name, other)
				}
				seen[first.SessionIndex] = who + ", " + name
			}
		}
	})
}
