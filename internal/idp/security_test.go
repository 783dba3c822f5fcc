package idp_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/idp"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
	"github.com/latchkey-idp/latchkey/internal/web/webtest"
)

// two gives two replicas of one installation.
func two(t *testing.T, fn func(t *testing.T, a, b *house)) {
	t.Helper()
	storetest.Two(t, func(t *testing.T, dbA, dbB *store.DB) {
		c := newClock()
		limits := idp.Limits{StrangerEvents: 1000}
		a := replica(t, dbA, c, limits).furnish()
		b := replica(t, dbB, c, limits)
		b.jira, b.everyone = a.jira, a.everyone
		fn(t, a, b)
	})
}

// Class 12: a disabled thing still works. Whatever is switched off on one replica is refused on another at once, on every
// way in, also for those who were on their way already.
func TestClass12_DisabledThingsAreRefusedOnEveryWayIn(t *testing.T) {
	two(t, func(t *testing.T, a, b *house) {
		ctx := t.Context()
		n := 0
		ways := map[string]func(br *browser, flow string) *httptest.ResponseRecorder{
			"redirect": func(br *browser, _ string) *httptest.ResponseRecorder {
				_, xml := b.request()
				return br.get(b.ssoPath() + "?" + samltest.RedirectQuery(xml, ""))
			},
			"POST": func(br *browser, _ string) *httptest.ResponseRecorder {
				_, xml := b.request()
				w := br.post(b.ssoPath(), samltest.PostBody(xml, ""))
				if to := w.Header().Get("Location"); strings.HasPrefix(to, idp.ResumePath) {
					return br.get(to)
				}
				return w
			},
			"a flow begun before": func(br *browser, flow string) *httptest.ResponseRecorder {
				return br.get(idp.ResumePath + "?flow=" + url.QueryEscape(flow))
			},
			"tile": func(br *browser, _ string) *httptest.ResponseRecorder {
				return br.get("/launch/" + string(b.jira.ID))
			},
		}
		disable := map[string]struct {
			off, on func(u directory.User, br *browser) error
			want    string // part of the page, "" for the sign-in page
		}{
			"sign-on off": {
				func(directory.User, *browser) error {
					_, err := a.apps.DeactivateSAML(ctx, admin, a.jira.ID)
					return err
				},
				func(directory.User, *browser) error { _, err := a.apps.ActivateSAML(ctx, admin, a.jira.ID); return err },
				"switched off",
			},
			"group unbound": {
				func(directory.User, *browser) error { return a.apps.Unbind(ctx, admin, a.jira.ID, a.everyone) },
				func(directory.User, *browser) error { return a.apps.Bind(ctx, admin, a.jira.ID, a.everyone) },
				"You don",
			},
			"person out of the group": {
				func(u directory.User, _ *browser) error {
					_, err := a.dir.RemoveMembers(ctx, admin, a.everyone, []directory.UserID{u.ID})
					return err
				}, nil, "You don",
			},
			"person suspended": {
				func(u directory.User, _ *browser) error { _, err := a.dir.Suspend(ctx, admin, u.ID); return err }, nil, "",
			},
			"person deleted": {
				func(u directory.User, _ *browser) error { return a.dir.DeleteUser(ctx, admin, u.ID) }, nil, "",
			},
			"signed out": {
				func(_ directory.User, br *browser) error { return a.authn.SignOut(ctx, br.cookie) }, nil, "",
			},
			"all sessions ended": {
				func(u directory.User, _ *browser) error {
					return a.authn.RevokeAll(ctx, access.SystemActor(""), u.ID)
				}, nil, "",
			},
		}
		for what, d := range disable {
			for way, enter := range ways {
				t.Run(what+", "+way, func(t *testing.T) {
					n++
					u := a.person(fmt.Sprintf("u%d", n), a.everyone)
					br := &browser{h: b, web: b.web}
					_, xml := b.request()
					flow := flowOf(t, br.get(b.ssoPath()+"?"+samltest.RedirectQuery(xml, "")))
					br.signIn(u)
					if w := br.get("/launch/" + string(b.jira.ID)); w.Code != http.StatusOK {
						t.Fatalf("before: %d %s", w.Code, text(w.Body.String()))
					}
					before := b.successes()
					b.ok(d.off(u, br))
					w := enter(br, flow)
					if d.on != nil {
						b.ok(d.on(u, br))
					}
					if strings.Contains(w.Body.String(), "SAMLResponse") || b.successes() != before {
						t.Fatal("the person got in")
					}
					if d.want == "" {
						flowOf(t, w)
					} else if !strings.Contains(text(w.Body.String()), d.want) {
						t.Errorf("%d %s", w.Code, text(w.Body.String()))
					}
				})
			}
		}
		// A deleted application answers nobody, and those on their way to it are told.
		u := a.person("last", a.everyone)
		br := &browser{h: b, web: b.web}
		_, xml := b.request()
		flow := flowOf(t, br.get(b.ssoPath()+"?"+samltest.RedirectQuery(xml, "")))
		br.signIn(u)
		b.ok(a.apps.Delete(ctx, admin, a.jira.ID, "Jira"))
		for way, enter := range ways {
			if w := enter(br, flow); w.Code != http.StatusNotFound || strings.Contains(w.Body.String(), "SAMLResponse") {
				t.Errorf("application deleted, %s: %d", way, w.Code)
			}
		}
	})
}

// A certificate that is switched on one replica is used on the other at once (class 20, stale trust).
func TestClass20_SwitchedCertificateIsUsedAtOnce(t *testing.T) {
	two(t, func(t *testing.T, a, b *house) {
		u := a.person("ann", a.everyone)
		br := (&browser{h: b, web: b.web}).signIn(u)
		b.receive(br.get("/launch/"+string(b.jira.ID)), "")
		old := b.certificate()
		_, err := a.apps.PrepareCertificate(t.Context(), admin, a.jira.ID, keys.Options{})
		b.ok(err)
		_, err = a.apps.SwitchCertificate(t.Context(), admin, a.jira.ID)
		b.ok(err)
		if b.certificate().Equal(old) {
			t.Fatal("not switched")
		}
		xml := b.receive(br.get("/launch/"+string(b.jira.ID)), "").xml // verified with the new certificate
		if !bytes.Contains(xml, []byte(strings.Join(strings.Fields(strings.NewReplacer("-----BEGIN CERTIFICATE-----", "", "-----END CERTIFICATE-----", "").Replace(certPEM(b.certificate()))), ""))) {
			t.Error("KeyInfo names another certificate")
		}
		// An ACS that was removed on one replica is no target on the other, not even for a flow begun before.
		id, request := b.request()
		flow := flowOf(t, (&browser{h: b, web: b.web}).get(b.ssoPath()+"?"+samltest.RedirectQuery(request, "")))
		a.settings(func(s *app.SAMLSettings) { s.ACS = []app.ACS{{URL: "https://auth.atlassian.com/new"}} })
		w := br.get(idp.ResumePath + "?flow=" + url.QueryEscape(flow))
		if w.Code != http.StatusBadRequest || strings.Contains(w.Body.String(), "SAMLResponse") {
			t.Errorf("an answer to %s for an address that was removed: %d", id, w.Code)
		}
	})
}

// Class 13: reply address or form injection. Whatever a request carries, the page has one form, it goes to a registered
// address, and nothing of the request becomes markup.
func TestClass13_NothingOfARequestBecomesMarkup(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t))
	ann := h.person("ann", h.everyone)
	b := h.browser().signIn(ann)
	for _, relay := range relayStates {
		checkRelayed(t, h, b, relay)
	}
	for _, target := range []string{"https://evil.example/acs", "https://auth.atlassian.com@evil.example/login/callback?connection=saml-5b9f6a52", acsURL + "&x=1", acsURL + "#x", "javascript:alert(1)", strings.ToUpper(acsURL), "//evil.example", acsURL + " "} {
		_, xml := h.request(func(r *samltest.Request) { r.ACSURL = target })
		w := b.get(h.ssoPath() + "?" + samltest.RedirectQuery(xml, ""))
		if w.Code != http.StatusBadRequest || strings.Contains(w.Body.String(), "SAMLResponse") {
			t.Errorf("ACS %q: %d", target, w.Code)
		}
		webtest.Check(t, w.Body.Bytes())
	}
	for _, slug := range []string{"%3Cscript%3Ealert(1)%3C%2Fscript%3E", "%E2%80%AEx", strings.Repeat("a", 2000), "%00", "%FF"} {
		w := b.get("/saml2/" + slug)
		if w.Code != http.StatusNotFound || strings.Contains(w.Body.String(), "<script>alert") {
			t.Errorf("slug %q: %d", slug, w.Code)
		}
		webtest.Check(t, w.Body.Bytes())
	}
}

var relayStates = []string{
	"plain", `"><script>alert(1)</script>`, `'/><input name="SAMLResponse" value="x">`, `</form><form action="https://evil.example">`,
	"&quot;&#34;&lt;", "javascript:alert(1)", "a\tb", "ü\U0001F600\u202e", " spaces  kept ", strings.Repeat("x", 4000),
}

// checkRelayed checks that the page gives back relay verbatim and has nothing else in it.
func checkRelayed(t testing.TB, h *house, b *browser, relay string) {
	t.Helper()
	id, xml := h.request()
	w := b.get(h.ssoPath() + "?" + samltest.RedirectQuery(xml, relay))
	got, err := h.tryReceive(w, id)
	if err != nil {
		t.Fatalf("RelayState %q: %v", relay, err)
	}
	if got.relayState != relay {
		t.Fatalf("RelayState %q came back as %q", relay, got.relayState)
	}
	doc, err := html.Parse(bytes.NewReader(w.Body.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		count[n.Data]++
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") {
				t.Fatalf("RelayState %q: attribute %s", relay, a.Key)
			}
		}
	}
	if count["form"] != 1 || count["script"] != 1 || count["input"] != 2 {
		t.Fatalf("RelayState %q: the page has %v", relay, count)
	}
}

func FuzzRelayState(f *testing.F) {
	h := newHouse(f, storetest.SQLite(f))
	b := h.browser().signIn(h.person("ann", h.everyone))
	if len(relayStates) == 0 {
		f.Fatal("no seed")
	}
	for _, s := range relayStates {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, relay string) {
		if relay == "" || len(relay) > 8<<10 || strings.ToValidUTF8(relay, "") != relay || strings.ContainsAny(relay, "\x00\r") {
			return // refused, or read differently by every HTML parser (CR)
		}
		here := *h
		here.t = t
		checkRelayed(t, &here, b, relay)
	})
}

// Class 19: race on single-use things. Of any number of browsers that bring the same flow at the same time, to several
// replicas, exactly one gets an answer.
func TestClass19_AFlowIsConsumedOnce(t *testing.T) {
	two(t, func(t *testing.T, a, b *house) {
		u := a.person("ann", a.everyone)
		for round := range 3 {
			br := &browser{h: a, web: a.web}
			id, xml := a.request()
			flow := flowOf(t, br.get(a.ssoPath()+"?"+samltest.RedirectQuery(xml, "")))
			br.signIn(u)
			const visits = 12
			before := a.successes()
			results := make([]*httptest.ResponseRecorder, visits)
			var wg sync.WaitGroup
			for i := range visits {
				at := &browser{h: a, web: []http.Handler{a.web, b.web}[i%2], cookie: br.cookie}
				wg.Go(func() { results[i] = at.get(idp.ResumePath + "?flow=" + url.QueryEscape(flow)) })
			}
			wg.Wait()
			answers := 0
			for _, w := range results {
				switch w.Code {
				case http.StatusOK:
					answers++
					a.receive(w, id)
				case http.StatusGone:
					if strings.Contains(w.Body.String(), "SAMLResponse") {
						t.Error("a page for a stale flow carries an answer")
					}
				default:
					t.Errorf("status %d: %s", w.Code, text(w.Body.String()))
				}
			}
			if answers != 1 || a.successes() != before+1 {
				t.Errorf("round %d: %d answers, %d events", round, answers, a.successes()-before)
			}
			if n := a.count(`SELECT count(*) FROM saml_sessions`); n != round+1 {
				t.Errorf("round %d: %d session indexes", round, n)
			}
		}
	})
}

// An answer is recorded before it is sent, and only if it still may be given: no success is recorded after access ended.
func TestAccessThatEndsMeanwhile(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t))
	u := h.person("ann", h.everyone)
	b := h.browser().signIn(u)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if w := b.get("/launch/" + string(h.jira.ID)); w.Code == http.StatusForbidden {
					return
				}
			}
		})
	}
	for h.successes() < 20 {
		time.Sleep(5 * time.Millisecond)
	}
	h.ok(h.apps.Unbind(t.Context(), admin, h.jira.ID, h.everyone))
	close(stop)
	wg.Wait()
	page, err := h.log.Search(t.Context(), admin, audit.Query{ApplicationID: string(h.jira.ID), Limit: 1000})
	h.ok(err)
	for _, e := range page.Items { // newest first
		if e.Type == audit.AssociationChange {
			return
		}
		if e.Type == audit.SSOAuth && e.Outcome == audit.Success {
			t.Fatal("somebody got in after the group was unbound")
		}
	}
	t.Fatal("the unbinding is not among the events")
}

// Class 11: a request that was answered is not answered again, by whichever binding, replica or way it comes back; the
// person is told what happened and what to do.
func TestClass11_ARequestIsAnsweredOnce(t *testing.T) {
	two(t, func(t *testing.T, a, b *house) {
		u := a.person("ann", a.everyone)
		br := (&browser{h: a, web: a.web}).signIn(u)
		id, xml := a.request()
		query := a.ssoPath() + "?" + samltest.RedirectQuery(xml, "")
		pending := flowOf(t, (&browser{h: a, web: a.web}).get(query)) // begun before, from another tab
		a.receive(br.get(query), id)
		before := a.successes()
		for name, enter := range map[string]func(*browser) *httptest.ResponseRecorder{
			"loaded again": func(br *browser) *httptest.ResponseRecorder { return br.get(query) },
			"by POST":      func(br *browser) *httptest.ResponseRecorder { return br.post(a.ssoPath(), samltest.PostBody(xml, "")) },
			"a flow": func(br *browser) *httptest.ResponseRecorder {
				return br.get(idp.ResumePath + "?flow=" + url.QueryEscape(pending))
			},
		} {
			for _, at := range []*house{a, b} {
				w := enter(&browser{h: at, web: at.web, cookie: br.cookie})
				if page := text(w.Body.String()); w.Code != http.StatusConflict || !strings.Contains(page, "was used already") || !strings.Contains(page, "open it again") {
					t.Fatalf("%s: %d %s", name, w.Code, page)
				}
				webtest.Check(t, w.Body.Bytes())
				if !strings.Contains(w.Body.String(), `href="/launch/`+string(a.jira.ID)+`"`) || strings.Contains(w.Body.String(), "SAMLResponse") {
					t.Errorf("%s: the page offers no way on, or carries an answer", name)
				}
				if e := a.lastEvent(); e.Detail["error"] != "replayed" || e.Outcome != audit.Failure || e.ApplicationID != string(a.jira.ID) {
					t.Errorf("%s: event %+v", name, e)
				}
			}
		}
		// Whoever isn't signed in is told before they sign in for nothing.
		if w := (&browser{h: b, web: b.web}).get(query); w.Code != http.StatusConflict {
			t.Errorf("without a session: %d", w.Code)
		}
		if a.successes() != before {
			t.Error("somebody got in by a used request")
		}
		// A refusal is an answer too.
		_, xml = a.request(func(r *samltest.Request) { r.IsPassive = "true" })
		query = a.ssoPath() + "?" + samltest.RedirectQuery(xml, "")
		if got, err := a.tryReceiveStatus((&browser{h: a, web: a.web}).get(query)); err != nil || got.Status[1] != saml.StatusNoPassive {
			t.Fatalf("%v, %v", got.Status, err)
		}
		if w := br.get(query); w.Code != http.StatusConflict {
			t.Errorf("answered again after a refusal: %d", w.Code)
		}
		// Another application may use the same ID: they are its own.
		other := a.custom("Wiki", "https://wiki.example/sp")
		wid, wiki := other.request(func(r *samltest.Request) { r.ID = id })
		other.receive(br.get(other.ssoPath()+"?"+samltest.RedirectQuery(wiki, "")), wid)
	})
}

// Used IDs are kept for as long as the request could still be accepted or a flow could hold it, and no longer.
func TestClass11_UsedRequestsAreForgottenWhenTheyAreStale(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		b := h.browser().signIn(h.person("ann", h.everyone))
		id, xml := h.request(func(r *samltest.Request) { r.IssueInstant = h.clock.now().Add(2 * time.Minute) }) // a fast clock
		query := h.ssoPath() + "?" + samltest.RedirectQuery(xml, "")
		h.receive(b.get(query), id)
		for minutes := range 60 {
			h.ok(h.idp.Prune(t.Context()))
			w := b.get(query)
			if strings.Contains(w.Body.String(), "SAMLResponse") {
				t.Fatalf("answered again after %d minutes", minutes)
			}
			h.clock.pass(time.Minute)
		}
		if n := h.count(`SELECT count(*) FROM saml_requests`); n != 0 {
			t.Errorf("%d used IDs are kept for ever", n)
		}
	})
}

// Class 19: of any number of simultaneous answers to one request, on several replicas and without a flow between, exactly
// one goes out.
func TestClass19_OneAnswerToOneRequest(t *testing.T) {
	two(t, func(t *testing.T, a, b *house) {
		br := (&browser{h: a, web: a.web}).signIn(a.person("ann", a.everyone))
		for round := range 3 {
			id, xml := a.request()
			query := a.ssoPath() + "?" + samltest.RedirectQuery(xml, "")
			const visits = 16
			before := a.successes()
			results := make([]*httptest.ResponseRecorder, visits)
			var wg sync.WaitGroup
			for i := range visits {
				at := &browser{h: a, web: []http.Handler{a.web, b.web}[i%2], cookie: br.cookie}
				wg.Go(func() { results[i] = at.get(query) })
			}
			wg.Wait()
			answers := 0
			for _, w := range results {
				switch w.Code {
				case http.StatusOK:
					answers++
					a.receive(w, id)
				case http.StatusConflict:
					if strings.Contains(w.Body.String(), "SAMLResponse") {
						t.Error("a page for a used request carries an answer")
					}
				default:
					t.Errorf("status %d: %s", w.Code, text(w.Body.String()))
				}
			}
			if answers != 1 || a.successes() != before+1 || a.count(`SELECT count(*) FROM saml_sessions`) != 1 {
				t.Errorf("round %d: %d answers, %d events", round, answers, a.successes()-before)
			}
		}
	})
}
