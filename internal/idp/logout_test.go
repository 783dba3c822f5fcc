package idp_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/idp"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
	"github.com/latchkey-idp/latchkey/internal/web/webtest"
)

// party is an application that takes part in single logout.
type party struct {
	*house
	binding string
	// answers is how it takes a LogoutRequest: "" signs out, "declines", "partly", "leaves" (the browser goes no further),
	// "forges" (its answer has a wrong signature).
	answers string
	asked   []samltest.Logout
	told    []samltest.Logout
}

// party adds an application with a single logout service of a binding; "" means that it has none.
func (h *house) party(label, binding string) *party {
	h.t.Helper()
	host := strings.ToLower(label)
	p := &party{house: h.custom(label, "https://"+host+".example/sp"), binding: binding}
	p.sp.SLO, p.sp.SLOResponse = "https://"+host+".example/slo?tenant=1", "https://"+host+".example/slo/answer"
	p.settings(func(s *app.SAMLSettings) {
		s.SPCertificates = []string{certPEM(p.sp.Cert)}
		if binding != "" {
			s.SLOURL, s.SLOBinding, s.SLOResponseURL = p.sp.SLO, binding, p.sp.SLOResponse
		}
	})
	return p
}

func (p *party) sloPath() string { return p.ssoPath() + "/slo" }

// signOn signs a browser's person on and returns what the application was told.
func (p *party) signOn(b *browser, change ...func(*samltest.Request)) received {
	p.t.Helper()
	got, err := p.ask(b, change...)
	p.ok(err)
	if got.SessionIndex == "" {
		p.t.Fatalf("no sign-on to %s: %v", p.jira.Label, got.Status)
	}
	return got
}

// send brings a signed logout message to our endpoint.
func (p *party) send(b *browser, binding, xml, relayState string) *httptest.ResponseRecorder {
	if binding == saml.BindingHTTPPost {
		return b.post(p.sloPath(), samltest.PostBody(p.sp.Sign(xml), relayState))
	}
	return b.get(p.sloPath() + "?" + p.sp.SignedRedirectQuery(xml, relayState))
}

// logoutRequest asks to end the session that the application was told of.
func (p *party) logoutRequest(of received, change ...func(*samltest.LogoutRequest)) (id, xml string) {
	r := p.sp.LogoutRequest(publicURL+p.sloPath(), of.Received, p.clock.now())
	for _, f := range change {
		f(&r)
	}
	return r.ID, r.XML()
}

// led returns where a page leads by itself, and with what: a URL, or a form's action and fields.
func led(t testing.TB, w *httptest.ResponseRecorder) (to string, form url.Values) {
	t.Helper()
	if refresh := w.Header().Get("Refresh"); refresh != "" {
		to, ok := strings.CutPrefix(refresh, "0; url=")
		if !ok || w.Code != http.StatusOK {
			t.Fatalf("%d, Refresh: %s", w.Code, refresh)
		}
		webtest.Check(t, w.Body.Bytes())
		return to, nil
	}
	if w.Code == http.StatusOK && bytes.Contains(w.Body.Bytes(), []byte("data-autosubmit")) {
		if !bytes.Contains(w.Body.Bytes(), []byte("javascript:")) { // a RelayState may be any text
			webtest.Check(t, w.Body.Bytes())
		}
		to, form, err := samltest.AutoForm(bytes.NewReader(w.Body.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self' https:") || strings.Contains(csp, "unsafe") {
			t.Fatalf("Content-Security-Policy %q", csp)
		}
		return to, form
	}
	return "", nil
}

// follow goes where the browser is led, with the applications answering as they do, until it is led nowhere: to a page of
// ours, or back to the application that asked (then w is nil).
func follow(t testing.TB, b *browser, w *httptest.ResponseRecorder, parties ...*party) *httptest.ResponseRecorder {
	t.Helper()
	for range 100 {
		if w.Code == http.StatusSeeOther {
			if c := w.Header().Get("Set-Cookie"); strings.Contains(c, b.h.cookie+"=;") {
				b.cookie = ""
			}
			w = b.get(redirected(t, w))
			continue
		}
		if c := w.Header().Get("Set-Cookie"); strings.Contains(c, b.h.cookie+"=;") {
			b.cookie = ""
		}
		to, form := led(t, w)
		if to == "" {
			return w
		}
		i := slices.IndexFunc(parties, func(p *party) bool {
			return to == p.sp.SLO || strings.HasPrefix(to, p.sp.SLO+"&") || strings.HasPrefix(to, p.sp.SLOResponse)
		})
		if i < 0 {
			t.Fatalf("led to %s", to)
		}
		p := parties[i]
		if (form == nil) != (p.binding == saml.BindingHTTPRedirect) {
			t.Fatalf("%s is told by another binding than its own", p.jira.Label)
		}
		m := p.receiveLogout(t, to, form)
		if m.Kind == "LogoutResponse" {
			p.told = append(p.told, m)
			return nil
		}
		p.asked = append(p.asked, m)
		if n := p.count(`SELECT count(*) FROM sessions`); n != 0 {
			t.Errorf("%s is asked while %d of our sessions are open", p.jira.Label, n)
		}
		if w = p.answer(b, m); w == nil {
			return nil
		}
	}
	t.Fatal("led on and on")
	return nil
}

func (p *party) receiveLogout(t testing.TB, to string, form url.Values) (m samltest.Logout) {
	t.Helper()
	var err error
	if form != nil {
		m, err = p.sp.ReceiveLogoutPost(form, p.jira.SAML.IDPEntityID, p.certificate(), p.clock.now())
	} else {
		_, query, _ := strings.Cut(to, "?")
		m, err = p.sp.ReceiveLogoutRedirect(query, p.jira.SAML.IDPEntityID, p.certificate(), p.clock.now())
	}
	if err != nil {
		t.Fatalf("%s got a message that it can't accept: %v", p.jira.Label, err)
	}
	return m
}

// answer is what an application does with our request.
func (p *party) answer(b *browser, m samltest.Logout) *httptest.ResponseRecorder {
	status := []string{saml.StatusSuccess}
	switch p.answers {
	case "leaves":
		return nil
	case "declines":
		status = []string{saml.StatusResponder, saml.StatusRequestDenied}
	case "partly":
		status = []string{saml.StatusSuccess, saml.StatusPartialLogout}
	}
	xml := p.sp.LogoutResponse(publicURL+p.sloPath(), m.ID, p.clock.now(), status...).XML()
	if p.answers == "forges" {
		forger := *p
		own := *p.sp
		own.KeyPair = samltest.Other()
		forger.house = &house{}
		*forger.house = *p.house
		forger.sp = &own
		return forger.send(b, p.binding, xml, m.RelayState)
	}
	return p.send(b, p.binding, xml, m.RelayState)
}

// signOut is what the portal does.
func (b *browser) signOut() string {
	b.h.t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/signout", nil)
	path, err := b.h.idp.SignOut(r, b.cookie)
	b.h.ok(err)
	return path
}

func (h *house) events(t audit.Type) []audit.Event {
	h.t.Helper()
	page, err := h.log.Search(h.t.Context(), admin, audit.Query{Types: []audit.Type{t}, Limit: 100})
	h.ok(err)
	return page.Items
}

var bindings = map[string]string{"Redirect": saml.BindingHTTPRedirect, "POST": saml.BindingHTTPPost}

// An application asks: our session ends first, the others are told one after another, and then it has its answer.
func TestSingleLogoutFromAnApplication(t *testing.T) {
	cases := map[string]struct {
		answers string // of the second of the others
		without bool   // one more application has no single logout service
		want    []string
	}{
		"all sign out":      {"", false, []string{saml.StatusSuccess}},
		"one declines":      {"declines", false, []string{saml.StatusSuccess, saml.StatusPartialLogout}},
		"one in part":       {"partly", false, []string{saml.StatusSuccess, saml.StatusPartialLogout}},
		"one forges":        {"forges", false, []string{saml.StatusSuccess, saml.StatusPartialLogout}},
		"one has no way to": {"", true, []string{saml.StatusSuccess, saml.StatusPartialLogout}},
	}
	each(t, func(t *testing.T, h *house) {
		ann, bob := h.person("ann", h.everyone), h.person("bob", h.everyone)
		n := 0
		for name, c := range cases {
			for way, binding := range bindings {
				t.Run(name+", "+way, func(t *testing.T) {
					n++
					h.clock.pass(time.Second)
					began := h.clock.now()
					label := func(s string) string { return fmt.Sprint(s, n) }
					wiki, shop, chat := h.party(label("Wiki"), binding), h.party(label("Shop"), saml.BindingHTTPRedirect), h.party(label("Chat"), saml.BindingHTTPPost)
					shop.answers = c.answers
					b := h.browser().signIn(ann)
					at := map[*party][]received{}
					for _, p := range []*party{shop, wiki, chat, shop} {
						at[p] = append(at[p], p.signOn(b))
					}
					if c.without {
						h.receive(b.get("/launch/"+string(h.jira.ID)), "")
					}
					other := h.browser().signIn(bob) // has nothing to do with it
					wiki.signOn(other)
					bobs := h.count(`SELECT count(*) FROM sessions`) - 1
					h.ok(h.authn.SignOut(t.Context(), other.cookie))
					if bobs != 1 {
						t.Fatal("Bob has no session")
					}
					const relay = `a "b"<c>&d=ü`
					id, xml := wiki.logoutRequest(at[wiki][0])
					w := wiki.send(b, binding, xml, relay)
					if n := h.count(`SELECT count(*) FROM sessions`); n != 0 {
						t.Fatalf("%d sessions are open after the request", n)
					}
					cookie := b.cookie
					if w := follow(t, b, w, wiki, shop, chat); w != nil {
						t.Fatalf("ends at a page: %d %s", w.Code, text(w.Body.String()))
					}
					if b.cookie != "" {
						t.Error("the browser keeps the cookie")
					}
					if len(wiki.told) != 1 || len(wiki.asked) != 0 {
						t.Fatalf("Wiki was told %d times and asked %d times", len(wiki.told), len(wiki.asked))
					}
					m := wiki.told[0]
					if d := cmp.Diff(c.want, m.Status); d != "" || m.InResponseTo != id || m.RelayState != relay {
						t.Errorf("Wiki was told %+v\n%s", m, d)
					}
					for _, p := range []*party{shop, chat} {
						if len(p.asked) != 1 {
							t.Fatalf("%s was asked %d times", p.jira.Label, len(p.asked))
						}
						ask := p.asked[0]
						var indexes []string
						for _, r := range at[p] {
							if !ask.Means(r.Received) {
								t.Errorf("%s was asked about %s and %v, but knows %s and %s", p.jira.Label, ask.NameID, ask.SessionIndexes, r.NameID, r.SessionIndex)
							}
							indexes = append(indexes, r.SessionIndex)
						}
						slices.Sort(indexes)
						slices.Sort(ask.SessionIndexes)
						if d := cmp.Diff(slices.Compact(indexes), ask.SessionIndexes); d != "" || ask.Reason != saml.LogoutByUser || ask.NotOnOrAfter.IsZero() {
							t.Errorf("%s was asked %+v\n%s", p.jira.Label, ask, d)
						}
					}
					// The session opens nothing any more.
					flowOf(t, (&browser{h: h, web: h.web, cookie: cookie}).get("/launch/"+string(h.jira.ID)))

					end := h.events(audit.SessionEnd)
					if end[0].Detail["protocol"] != "saml" || end[0].Detail["request_id"] != id || end[0].ApplicationID != string(wiki.jira.ID) ||
						end[0].Actor.ID != string(ann.ID) || fmt.Sprint(end[0].Detail["session_index"]) != "["+at[wiki][0].SessionIndex+"]" {
						t.Errorf("events of the session's end: %+v", end)
					}
					results := map[string]string{}
					for _, e := range h.events(audit.SLO) {
						if !strings.HasSuffix(e.Object.Name, label("")) && e.Object.Name != "Jira" || e.At.Before(began) {
							continue
						}
						results[e.Object.Name] = fmt.Sprint(e.Detail["result"], " ", e.Outcome)
					}
					want := map[string]string{label("Chat"): "out success", label("Shop"): map[string]string{
						"": "out success", "declines": "declined denied", "partly": "partly success", "forges": "silent failure",
					}[c.answers]}
					if c.without {
						want["Jira"] = "unable failure"
					}
					if d := cmp.Diff(want, results); d != "" {
						t.Errorf("events of the steps:\n%s", d)
					}
				})
			}
		}
	})
}

// A person signs out at our portal: the same chain, ending at a page that tells about each application.
func TestSingleLogoutFromThePortal(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		wiki, shop, chat := h.party("Wiki", saml.BindingHTTPRedirect), h.party("Shop", saml.BindingHTTPPost), h.party("Chat", saml.BindingHTTPRedirect)
		mute := h.party("Mute", saml.BindingHTTPRedirect)
		shop.answers, chat.answers = "declines", "forges"
		ann := h.person("ann", h.everyone)
		b := h.browser().signIn(ann)
		for _, p := range []*party{wiki, shop, chat, mute} {
			p.signOn(b, func(r *samltest.Request) { r.NameIDFormat = saml.NameIDPersistent })
		}
		h.receive(b.get("/launch/"+string(h.jira.ID)), "")
		to := b.signOut()
		if !strings.HasPrefix(to, idp.LogoutPath+"?flow=") || h.count(`SELECT count(*) FROM sessions`) != 0 {
			t.Fatalf("sign-out goes on at %q", to)
		}
		_, err := mute.apps.DeactivateSAML(t.Context(), admin, mute.jira.ID) // meanwhile
		h.ok(err)
		w := follow(t, b, b.get(to), wiki, shop, chat, mute)
		if w == nil || w.Code != http.StatusOK {
			t.Fatal("it doesn't end at a page")
		}
		webtest.Check(t, w.Body.Bytes())
		page := text(w.Body.String())
		for _, words := range []string{
			"You are signed out here", "close the browser", "Wiki signed out", "Shop refused", "Chat no answer", "Mute can&#39;t be signed out from here",
			"Jira can&#39;t be signed out from here", "Sign in again",
		} {
			if !strings.Contains(page, words) && !strings.Contains(page, strings.ReplaceAll(words, "&#39;", "'")) {
				t.Errorf("the page doesn't say %q: %s", words, page)
			}
		}
		if len(mute.asked) != 0 || len(shop.asked) != 1 || shop.asked[0].NameIDFormat != saml.NameIDPersistent ||
			shop.asked[0].NameQualifier != shop.jira.SAML.IDPEntityID || shop.asked[0].SPNameQualifier != shop.jira.SAML.SPEntityID {
			t.Errorf("Shop was asked %+v, Mute %+v", shop.asked, mute.asked)
		}
		if again := b.get(to); text(again.Body.String()) == "" || again.Header().Get("Refresh") != "" || len(wiki.asked) != 1 {
			t.Error("loading the page again asks again")
		}
		if e := h.events(audit.SessionEnd)[0]; e.Detail["protocol"] != "saml" || !strings.Contains(e.Message, "signed out") || e.Actor.ID != string(ann.ID) {
			t.Errorf("event %+v", e)
		}
		// All of them: then nothing is left to say.
		shop.answers, chat.answers = "", ""
		b = h.browser().signIn(ann)
		for _, p := range []*party{wiki, shop, chat} {
			p.signOn(b)
		}
		if page := text(follow(t, b, b.get(b.signOut()), wiki, shop, chat).Body.String()); !strings.Contains(page, "You are signed out here and of the applications") {
			t.Error(page)
		}
		// Nobody can be told: the caller ends the session, and nothing is begun.
		b = h.browser().signIn(ann)
		h.receive(b.get("/launch/"+string(h.jira.ID)), "")
		before := h.count(`SELECT count(*) FROM flows`)
		if to := b.signOut(); to != "" || h.count(`SELECT count(*) FROM flows`) != before || h.count(`SELECT count(*) FROM sessions`) != 1 {
			t.Errorf("sign-out goes on at %q", to)
		}
		if to := h.browser().signOut(); to != "" {
			t.Errorf("without a session sign-out goes on at %q", to)
		}
		if to := (&browser{h: h, cookie: strings.Repeat("A", 43)}).signOut(); to != "" {
			t.Errorf("with another's token sign-out goes on at %q", to)
		}
	})
}

// An application that the browser doesn't come back from keeps nobody signed in, and the page can be reached: one can go
// on without it. An answer that comes late still counts, once.
func TestChainThatBreaks(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		wiki, shop := h.party("Wiki", saml.BindingHTTPRedirect), h.party("Shop", saml.BindingHTTPPost)
		wiki.answers = "leaves"
		b := h.browser().signIn(h.person("ann", h.everyone))
		shop.signOn(b)
		h.clock.pass(time.Second)
		wiki.signOn(b) // the latest is asked first
		cookie, to := b.cookie, b.signOut()
		if follow(t, b, b.get(to), wiki, shop) != nil || len(wiki.asked) != 1 || len(shop.asked) != 0 {
			t.Fatalf("Wiki was asked %d times, Shop %d times", len(wiki.asked), len(shop.asked))
		}
		flowOf(t, (&browser{h: h, web: h.web, cookie: cookie}).get("/launch/"+string(h.jira.ID)))
		for range 2 {
			w := b.get(to)
			webtest.Check(t, w.Body.Bytes())
			if page := text(w.Body.String()); w.Code != http.StatusOK || w.Header().Get("Refresh") != "" || !strings.Contains(page, "Waiting for Wiki") || !strings.Contains(page, "Go on without Wiki") {
				t.Fatalf("%d %s", w.Code, page)
			}
		}
		token := strings.TrimPrefix(to, idp.LogoutPath+"?flow=")
		skip := url.Values{"flow": {token}, "application": {string(wiki.jira.ID)}}.Encode()
		w := b.post(idp.LogoutPath+"/skip", skip)
		if w = follow(t, b, w, wiki, shop); w == nil || len(shop.asked) != 1 {
			t.Fatal("it doesn't go on")
		}
		if page := text(w.Body.String()); !strings.Contains(page, "Wiki no answer") || !strings.Contains(page, "Shop signed out") {
			t.Error(page)
		}
		if w := b.post(idp.LogoutPath+"/skip", skip); redirected(t, w) != to { // no one is waited for any more
			t.Errorf("skipped again: %s", w.Header().Get("Location"))
		}
		wiki.answers = ""
		late := wiki.answer(b, wiki.asked[0])
		if page := text(follow(t, b, late, wiki, shop).Body.String()); !strings.Contains(page, "Wiki signed out") {
			t.Errorf("after a late answer: %s", page)
		}
		if w := wiki.answer(b, wiki.asked[0]); w.Code != http.StatusBadRequest || !strings.Contains(text(w.Body.String()), "answers no request") {
			t.Errorf("the same answer again: %d %s", w.Code, text(w.Body.String()))
		}
		h.clock.pass(16 * time.Minute)
		if w := b.get(to); w.Code != http.StatusGone {
			t.Errorf("after 16 minutes: %d", w.Code)
		}
		for _, path := range []string{idp.LogoutPath, idp.LogoutPath + "?flow=x", idp.LogoutPath + "?flow=" + strings.Repeat("A", 43)} {
			w := b.get(path)
			webtest.Check(t, w.Body.Bytes())
			if w.Code != http.StatusGone || !strings.Contains(text(w.Body.String()), "over") {
				t.Errorf("%s: %d", path, w.Code)
			}
		}
	})
}

// Which sessions a request ends: those that this application took part in, by the name it was told and the index if it
// gives one. Whatever it names, the answer is the same (class 18: it doesn't tell who is signed in).
func TestClass18_LogoutOfUnknownSessionsTellsNothing(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		wiki, shop := h.party("Wiki", saml.BindingHTTPRedirect), h.party("Shop", saml.BindingHTTPRedirect)
		ann := h.person("ann", h.everyone)
		one, two, elsewhere := h.browser().signIn(ann), h.browser().signIn(ann), h.browser().signIn(ann)
		first, second := wiki.signOn(one), wiki.signOn(two)
		shops := shop.signOn(elsewhere)
		transient := wiki.signOn(one, func(r *samltest.Request) { r.NameIDFormat = saml.NameIDTransient })
		sessions := func() int { return h.count(`SELECT count(*) FROM sessions`) }
		var pages []string
		ask := func(of received, change ...func(*samltest.LogoutRequest)) {
			t.Helper()
			wiki.told = nil
			b := h.browser()
			_, xml := wiki.logoutRequest(of, change...)
			if w := follow(t, b, wiki.send(b, saml.BindingHTTPRedirect, xml, ""), wiki, shop); w != nil {
				t.Fatalf("%d %s", w.Code, text(w.Body.String()))
			}
			pages = append(pages, strings.Join(wiki.told[0].Status, " ")+wiki.told[0].Message)
		}
		for name, change := range map[string]func(*samltest.LogoutRequest){
			"nobody":                    func(r *samltest.LogoutRequest) { r.NameID = "nobody@example.org" },
			"another's index":           func(r *samltest.LogoutRequest) { r.SessionIndexes = []string{shops.SessionIndex} },
			"no such index":             func(r *samltest.LogoutRequest) { r.SessionIndexes = []string{"_1"} },
			"another name, right index": func(r *samltest.LogoutRequest) { r.NameID = "bob@example.org" },
			"another format":            func(r *samltest.LogoutRequest) { r.NameIDFormat = saml.NameIDPersistent },
			"the name in another case":  func(r *samltest.LogoutRequest) { r.NameID = "ANN@example.org" },
			"index of another session": func(r *samltest.LogoutRequest) {
				r.NameID, r.NameIDFormat, r.SessionIndexes = transient.NameID, transient.NameIDFormat, []string{second.SessionIndex}
			},
		} {
			ask(first, change)
			if n := sessions(); n != 3 {
				t.Errorf("%s: %d sessions are left of 3", name, n)
			}
		}
		if e := h.events(audit.SLO)[0]; e.Outcome != audit.Success || e.ApplicationID != string(wiki.jira.ID) || fmt.Sprint(e.Detail["sessions"]) != "0" {
			t.Errorf("event %+v", e)
		}
		ask(second)
		if n := sessions(); n != 2 {
			t.Errorf("with an index: %d sessions are left, want 2", n)
		}
		two = h.browser().signIn(ann)
		wiki.signOn(two)
		ask(first, func(r *samltest.LogoutRequest) { r.SessionIndexes = nil })
		if n := sessions(); n != 1 { // the one in which only Shop was opened
			t.Errorf("without an index: %d sessions are left, want 1", n)
		}
		slices.Sort(pages)
		if kinds := slices.Compact(pages); len(kinds) != 1 || kinds[0] != saml.StatusSuccess {
			t.Errorf("the answers differ: %q", kinds)
		}
		h.receive(elsewhere.get("/launch/"+string(h.jira.ID)), "")
	})
}

// Class 6: nothing to check is not good. A logout message without a valid signature of that application ends nothing, by
// either binding, also where no certificate is registered.
func TestClass06_UnsignedLogoutIsRefused(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		wiki := h.party("Wiki", saml.BindingHTTPRedirect)
		b := h.browser().signIn(h.person("ann", h.everyone))
		of := wiki.signOn(b)
		signed := func(by *samltest.SP, xml string) string { return by.SignedRedirectQuery(xml, "") }
		stranger := *wiki.sp
		stranger.KeyPair = samltest.Other()
		sha1 := *wiki.sp
		sha1.Hash = 3 // crypto.SHA1
		cut := func(query string) string { before, _, _ := strings.Cut(query, "&Signature="); return before }
		tries := map[string]struct {
			query, body func(xml string) string
			reason      string
		}{
			"no signature": {func(x string) string { return samltest.RedirectQuery(x, "") }, func(x string) string { return samltest.PostBody(x, "") }, "signature_missing"},
			"a stranger's": {func(x string) string { return signed(&stranger, x) }, func(x string) string { return samltest.PostBody(stranger.Sign(x), "") }, "signature_invalid"},
			"by SHA-1":     {func(x string) string { return signed(&sha1, x) }, func(x string) string { return samltest.PostBody(sha1.Sign(x), "") }, "signature_invalid"},
			"empty":        {func(x string) string { return cut(signed(wiki.sp, x)) + "&Signature=" }, nil, "malformed"},
			"no value":     {func(x string) string { return cut(signed(wiki.sp, x)) }, nil, "malformed"},
			"of another message": {func(x string) string {
				return samltest.RedirectQuery(x, "") + signed(wiki.sp, x+" ")[strings.Index(signed(wiki.sp, x+" "), "&SigAlg="):]
			}, nil, "signature_invalid"},
			"of what was changed": {nil, func(x string) string {
				return samltest.PostBody(strings.Replace(wiki.sp.Sign(x), "ann@", "bob@", 1), "")
			}, "signature_invalid"},
			"twice":                {nil, func(x string) string { return samltest.PostBody(wiki.sp.Sign(wiki.sp.Sign(x)), "") }, ""},
			"enveloped, in a URL":  {func(x string) string { return samltest.RedirectQuery(wiki.sp.Sign(x), "") }, nil, ""},
			"percent-encoded name": {func(x string) string { return strings.Replace(signed(wiki.sp, x), "SAMLRequest=", "SAML%52equest=", 1) }, nil, "malformed"},
			"parameter twice":      {func(x string) string { return signed(wiki.sp, x) + "&" + samltest.RedirectQuery(x, "") }, nil, "malformed"},
			"RelayState added":     {func(x string) string { return signed(wiki.sp, x) + "&RelayState=x" }, nil, "signature_invalid"},
		}
		for _, registered := range []bool{true, false} {
			wiki.settings(func(s *app.SAMLSettings) {
				if s.SPCertificates = nil; registered {
					s.SPCertificates = []string{certPEM(wiki.sp.Cert)}
				}
			})
			for name, c := range tries {
				_, xml := wiki.logoutRequest(of)
				var answers []*httptest.ResponseRecorder
				if c.query != nil {
					answers = append(answers, b.get(wiki.sloPath()+"?"+c.query(xml)))
				}
				if c.body != nil {
					answers = append(answers, b.post(wiki.sloPath(), c.body(xml)))
				}
				for _, w := range answers {
					if w.Code != http.StatusBadRequest || w.Header().Get("Location") != "" || w.Header().Get("Refresh") != "" {
						t.Errorf("%s, registered %v: %d", name, registered, w.Code)
					}
					webtest.Check(t, w.Body.Bytes())
					if e := h.events(audit.SLO)[0]; e.Outcome != audit.Failure || e.Detail["error"] == nil || registered && c.reason != "" && e.Detail["error"] != c.reason {
						t.Errorf("%s, registered %v: event %v", name, registered, e.Detail)
					}
				}
			}
			if !registered { // even signed
				_, xml := wiki.logoutRequest(of)
				for _, binding := range bindings {
					if w := wiki.send(b, binding, xml, ""); w.Code != http.StatusBadRequest {
						t.Errorf("without a registered certificate: %d", w.Code)
					}
				}
			}
			h.receive(b.get("/launch/"+string(h.jira.ID)), "") // still signed in
		}
	})
}

// Class 11: what a message must say to be acted upon, each thing by itself.
func TestClass11_LogoutIsForUsFreshAndOnce(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		wiki, shop := h.party("Wiki", saml.BindingHTTPRedirect), h.party("Shop", saml.BindingHTTPRedirect)
		b := h.browser().signIn(h.person("ann", h.everyone))
		of := wiki.signOn(b)
		shop.signOn(b)
		for name, c := range map[string]struct {
			change func(*samltest.LogoutRequest)
			reason string
		}{
			"another issuer":     {func(r *samltest.LogoutRequest) { r.Issuer = shop.sp.EntityID }, "unknown_issuer"},
			"no destination":     {func(r *samltest.LogoutRequest) { r.Destination = "" }, "wrong_destination"},
			"sign-on's":          {func(r *samltest.LogoutRequest) { r.Destination = publicURL + wiki.ssoPath() }, "wrong_destination"},
			"another's":          {func(r *samltest.LogoutRequest) { r.Destination = publicURL + shop.sloPath() }, "wrong_destination"},
			"too old":            {func(r *samltest.LogoutRequest) { r.IssueInstant = h.clock.now().Add(-time.Hour) }, "stale"},
			"from the future":    {func(r *samltest.LogoutRequest) { r.IssueInstant = h.clock.now().Add(time.Hour) }, "from_the_future"},
			"over":               {func(r *samltest.LogoutRequest) { r.NotOnOrAfter = h.clock.now().Add(-time.Hour) }, ""},
			"nobody is named":    {func(r *samltest.LogoutRequest) { r.NameID = "" }, ""},
			"an encrypted name":  {func(r *samltest.LogoutRequest) { r.NameID, r.Children = "", `<saml:EncryptedID/>` }, ""},
			"another version":    {func(r *samltest.LogoutRequest) { r.Attributes = ` Version="1.1"` }, ""},
			"an ID that is none": {func(r *samltest.LogoutRequest) { r.ID = "1 2" }, ""},
		} {
			for way, binding := range bindings {
				_, xml := wiki.logoutRequest(of, c.change)
				wiki.told = nil
				w := wiki.send(b, binding, xml, "")
				if to, _ := led(t, w); to != "" { // told to the application, which is known to have asked
					follow(t, b, w, wiki)
					if len(wiki.told) != 1 || wiki.told[0].Status[0] == saml.StatusSuccess {
						t.Errorf("%s, %s: Wiki was told %+v", name, way, wiki.told)
					}
				} else if w.Code != http.StatusBadRequest {
					t.Errorf("%s, %s: %d %s", name, way, w.Code, text(w.Body.String()))
				}
				e := h.events(audit.SLO)[0]
				if c.reason != "" && e.Detail["error"] != c.reason || e.Outcome == audit.Success {
					t.Errorf("%s, %s: event %s %v", name, way, e.Outcome, e.Detail)
				}
			}
		}
		h.receive(b.get("/launch/"+string(h.jira.ID)), "")

		// Once: a copy that somebody kept ends no later session, at no replica and by no binding.
		_, xml := wiki.logoutRequest(of, func(r *samltest.LogoutRequest) { r.SessionIndexes = nil })
		if follow(t, b, wiki.send(b, saml.BindingHTTPRedirect, xml, ""), wiki, shop) != nil {
			t.Fatal("it isn't answered")
		}
		b = h.browser().signIn(h.person("anne", h.everyone))
		for _, binding := range bindings {
			w := wiki.send(b, binding, xml, "")
			webtest.Check(t, w.Body.Bytes())
			if w.Code != http.StatusConflict || h.events(audit.SLO)[0].Detail["error"] != "replayed" {
				t.Errorf("a request that was followed: %d %v", w.Code, h.events(audit.SLO)[0].Detail)
			}
		}

		// An answer belongs to the request that waits, and to the application that was asked.
		wiki.signOn(b)
		shop.signOn(b)
		wiki.answers, wiki.asked = "leaves", nil
		shop.answers, shop.asked = "leaves", nil
		follow(t, b, b.get(b.signOut()), wiki, shop)
		asked, other := shop, wiki
		if len(wiki.asked) == 1 {
			asked, other = wiki, shop
		}
		id := asked.asked[0].ID
		for name, w := range map[string]*httptest.ResponseRecorder{
			"another application's": other.send(b, saml.BindingHTTPRedirect, other.sp.LogoutResponse(publicURL+other.sloPath(), id, h.clock.now()).XML(), asked.asked[0].RelayState),
			"to nothing":            asked.send(b, saml.BindingHTTPRedirect, asked.sp.LogoutResponse(publicURL+asked.sloPath(), "", h.clock.now()).XML(), ""),
			"to another request":    asked.send(b, saml.BindingHTTPRedirect, asked.sp.LogoutResponse(publicURL+asked.sloPath(), "_"+strings.Repeat("A", 43), h.clock.now()).XML(), asked.asked[0].RelayState),
		} {
			if w.Code != http.StatusBadRequest {
				t.Errorf("an answer %s: %d", name, w.Code)
			}
		}
		asked.answers, other.answers = "", ""
		if w := follow(t, b, asked.answer(b, asked.asked[0]), wiki, shop); w == nil || !strings.Contains(text(w.Body.String()), "and of the applications") {
			t.Error("the right answer counts no more")
		}
	})
}

// Class 12: an application whose sign-on is off, or that is gone, ends nobody's session; nor is it asked or answered.
func TestClass12_DisabledApplicationsLogNobodyOut(t *testing.T) {
	two(t, func(t *testing.T, a, b *house) {
		wiki, shop := a.party("Wiki", saml.BindingHTTPRedirect), a.party("Shop", saml.BindingHTTPRedirect)
		ann := a.person("ann", a.everyone)
		// In this order: nothing comes back from being gone.
		for _, way := range []struct {
			name string
			off  func(p *party)
		}{
			{"off", func(p *party) { _, err := a.apps.DeactivateSAML(t.Context(), admin, p.jira.ID); a.ok(err) }},
			{"gone", func(p *party) { a.ok(a.apps.Delete(t.Context(), admin, p.jira.ID, p.jira.Label)) }},
		} {
			name, off := way.name, way.off
			at := &browser{h: b, web: b.web}
			at.signIn(ann)
			of := wiki.signOn(at)
			shop.signOn(at)
			off(wiki)
			for way, binding := range bindings {
				_, xml := wiki.logoutRequest(of)
				if w := wiki.send(at, binding, xml, ""); w.Code != map[string]int{"off": http.StatusConflict, "gone": http.StatusNotFound}[name] {
					t.Errorf("%s, %s: %d", name, way, w.Code)
				}
			}
			a.receive(at.get("/launch/"+string(a.jira.ID)), "") // still signed in
			if name == "off" {
				var err error
				wiki.jira, err = a.apps.ActivateSAML(t.Context(), admin, wiki.jira.ID)
				a.ok(err)
				// It asks, and is switched off before it is answered.
				shop.asked, shop.answers = nil, "leaves"
				_, xml := wiki.logoutRequest(of)
				follow(t, at, wiki.send(at, saml.BindingHTTPRedirect, xml, ""), wiki, shop)
				off(wiki)
				shop.answers = ""
				if w := follow(t, at, shop.answer(at, shop.asked[0]), wiki, shop); w == nil || !strings.Contains(text(w.Body.String()), "You are signed out here") {
					t.Error("an application that was switched off is answered")
				}
				wiki.jira, err = a.apps.ActivateSAML(t.Context(), admin, wiki.jira.ID)
				a.ok(err)
			}
		}
		// The person has been suspended: the session ended then, and what is left of it ends here.
		at := (&browser{h: b, web: b.web}).signIn(ann)
		of := shop.signOn(at)
		_, err := a.dir.Suspend(t.Context(), admin, ann.ID)
		a.ok(err)
		_, xml := shop.logoutRequest(of)
		if w := follow(t, at, shop.send(at, saml.BindingHTTPRedirect, xml, ""), shop); w != nil || len(shop.told) != 1 || shop.told[0].Status[0] != saml.StatusSuccess {
			t.Error("a suspended person's application isn't answered")
		}
	})
}

// Class 19: of any number of copies of one request that arrive at the same time, on two replicas, one is acted upon; of
// any number of copies of one answer, one counts.
func TestClass19_LogoutMessagesCountOnce(t *testing.T) {
	two(t, func(t *testing.T, a, b *house) {
		wiki, shop := a.party("Wiki", saml.BindingHTTPRedirect), a.party("Shop", saml.BindingHTTPRedirect)
		ann := a.person("ann", a.everyone)
		const copies = 12
		all := func(send func(at *browser) *httptest.ResponseRecorder) map[int]int {
			codes := make([]int, copies)
			var wg sync.WaitGroup
			for i := range copies {
				at := &browser{h: a, web: []http.Handler{a.web, b.web}[i%2]}
				wg.Go(func() { codes[i] = send(at).Code })
			}
			wg.Wait()
			out := map[int]int{}
			for _, c := range codes {
				out[c]++
			}
			return out
		}
		for range 2 {
			br := a.browser().signIn(ann)
			of := wiki.signOn(br)
			shop.signOn(br)
			_, xml := wiki.logoutRequest(of)
			query := wiki.sloPath() + "?" + wiki.sp.SignedRedirectQuery(xml, "")
			before := len(a.events(audit.SessionEnd))
			if d := cmp.Diff(map[int]int{http.StatusSeeOther: 1, http.StatusConflict: copies - 1}, all(func(at *browser) *httptest.ResponseRecorder { return at.get(query) })); d != "" {
				t.Error(d)
			}
			if n := len(a.events(audit.SessionEnd)) - before; n != 1 {
				t.Errorf("%d events of one session's end", n)
			}
			br = a.browser().signIn(ann)
			shop.signOn(br)
			shop.answers, shop.asked = "leaves", nil
			to := br.signOut()
			// The view too: loaded by many at once, it asks once.
			asks := 0
			var mu sync.Mutex
			all(func(at *browser) *httptest.ResponseRecorder {
				w := at.get(to)
				mu.Lock()
				defer mu.Unlock()
				if to, form := led(t, w); to != "" {
					asks++
					shop.asked = append(shop.asked, shop.receiveLogout(t, to, form))
				}
				return w
			})
			if asks != 1 {
				t.Fatalf("Shop is asked %d times", asks)
			}
			shop.answers = ""
			if d := cmp.Diff(map[int]int{http.StatusSeeOther: 1, http.StatusBadRequest: copies - 1}, all(func(at *browser) *httptest.ResponseRecorder { return shop.answer(at, shop.asked[0]) })); d != "" {
				t.Error(d)
			}
		}
	})
}

// Class 20: a certificate of an application that was taken away on one replica verifies nothing on another, at once.
func TestClass20_LogoutByAFormerCertificateIsRefused(t *testing.T) {
	two(t, func(t *testing.T, a, b *house) {
		wiki := a.party("Wiki", saml.BindingHTTPRedirect)
		at := (&browser{h: b, web: b.web}).signIn(a.person("ann", a.everyone))
		of := wiki.signOn(at)
		_, xml := wiki.logoutRequest(of)
		wiki.settings(func(s *app.SAMLSettings) { s.SPCertificates = []string{certPEM(samltest.Other().Cert)} })
		if w := wiki.send(at, saml.BindingHTTPRedirect, xml, ""); w.Code != http.StatusBadRequest || a.events(audit.SLO)[0].Detail["error"] != "signature_invalid" {
			t.Errorf("the former certificate: %d", w.Code)
		}
		wiki.sp.KeyPair = samltest.Other()
		if w := wiki.send(at, saml.BindingHTTPRedirect, xml, ""); w.Code != http.StatusSeeOther {
			t.Errorf("the new certificate: %d %s", w.Code, text(w.Body.String()))
		}
	})
}

// Class 13: nothing of a message becomes markup, and pages lead nowhere but to registered addresses.
func TestClass13_LogoutPagesLeadOnlyToRegisteredAddresses(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t))
	wiki := h.party("Wiki", saml.BindingHTTPPost)
	ann := h.person("ann", h.everyone)
	for _, relay := range relayStates {
		b := h.browser().signIn(ann)
		_, xml := wiki.logoutRequest(wiki.signOn(b))
		wiki.told = nil
		w := wiki.send(b, saml.BindingHTTPRedirect, xml, relay)
		if follow(t, b, w, wiki) != nil || len(wiki.told) != 1 || wiki.told[0].RelayState != relay {
			t.Errorf("RelayState %q: %+v", relay, wiki.told)
		}
	}
	// An address that is changed meanwhile is no target.
	b := h.browser().signIn(ann)
	_, xml := wiki.logoutRequest(wiki.signOn(b))
	w := wiki.send(b, saml.BindingHTTPRedirect, xml, "")
	wiki.settings(func(s *app.SAMLSettings) { s.SLOURL, s.SLOResponseURL = "", "" })
	if w = b.get(redirected(t, w)); strings.Contains(w.Body.String(), "SAMLResponse") || w.Header().Get("Refresh") != "" {
		t.Error("an answer goes to an address that was removed")
	}
	// A RelayState with an address leads nowhere either.
	if to, _ := led(t, w); to != "" {
		t.Errorf("led to %s", to)
	}
}

// A HEAD asks nothing of anybody.
func TestNoLogoutByHEAD(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t))
	wiki := h.party("Wiki", saml.BindingHTTPRedirect)
	b := h.browser().signIn(h.person("ann", h.everyone))
	_, xml := wiki.logoutRequest(wiki.signOn(b))
	for _, target := range []string{wiki.sloPath() + "?" + wiki.sp.SignedRedirectQuery(xml, ""), idp.LogoutPath} {
		if w := b.do(http.MethodHead, target, "", ""); w.Code != http.StatusMethodNotAllowed {
			t.Errorf("HEAD: %d", w.Code)
		}
	}
	if h.count(`SELECT count(*) FROM sessions`) != 1 || h.count(`SELECT count(*) FROM flows`) != 0 {
		t.Error("HEAD leaves something behind")
	}
}

// Many applications in one session: each is asked, and a browser that follows twenty redirects in a row gets to the end.
func TestLogoutOfManyApplications(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t))
	ann := h.person("ann", h.everyone)
	b := h.browser().signIn(ann)
	var parties []*party
	for i := range 25 {
		p := h.party(fmt.Sprintf("App%02d", i), []string{saml.BindingHTTPRedirect, saml.BindingHTTPPost}[i%2])
		p.signOn(b)
		parties = append(parties, p)
	}
	w := follow(t, b, b.get(b.signOut()), parties...)
	if w == nil || !strings.Contains(text(w.Body.String()), "You are signed out here and of the applications") {
		t.Fatal("not everybody was asked")
	}
	for _, p := range parties {
		if len(p.asked) != 1 {
			t.Errorf("%s was asked %d times", p.jira.Label, len(p.asked))
		}
	}
}
