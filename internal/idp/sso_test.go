package idp_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/idp"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
	"github.com/latchkey-idp/latchkey/internal/web/webtest"
)

const claims = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/"

func TestSignOnFromTheServiceProvider(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		ann := h.person("ann", h.everyone)
		h.clock.pass(time.Hour)
		const relay = `https://example.atlassian.net/jira?a=1&b="2"<c>'ü %41+`
		send := map[string]func(b *browser, xml string) *httptest.ResponseRecorder{
			"redirect": func(b *browser, xml string) *httptest.ResponseRecorder {
				return b.get(h.ssoPath() + "?" + samltest.RedirectQuery(xml, relay))
			},
			"POST": func(b *browser, xml string) *httptest.ResponseRecorder {
				return b.get(redirected(t, b.post(h.ssoPath(), samltest.PostBody(xml, relay))))
			},
		}
		for binding, arrive := range send {
			for _, signedIn := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, signed in before: %v", binding, signedIn), func(t *testing.T) {
					b := h.browser()
					id, xml := h.request()
					if signedIn {
						b.signIn(ann)
						h.clock.pass(time.Minute)
						id, xml = h.request()
					}
					w := arrive(b, xml)
					if !signedIn {
						flow := flowOf(t, w)
						f, err := h.authn.Flow(t.Context(), flow)
						if err != nil || f.ReturnTo() != idp.ResumePath || f.Application() != "Jira" || f.ApplicationID() != string(h.jira.ID) {
							t.Fatalf("flow for the sign-in page: %+v, %v", f, err)
						}
						b.signIn(ann)
						w = b.get(f.ReturnTo() + "?flow=" + url.QueryEscape(flow))
						defer func() {
							if again := b.get(f.ReturnTo() + "?flow=" + url.QueryEscape(flow)); again.Code != http.StatusGone {
								t.Errorf("the flow works twice: %d", again.Code)
							}
						}()
					}
					got := h.receive(w, id)
					want := map[string][]string{claims + "givenname": {"Ann"}, claims + "surname": {"Example"}, claims + "name": {string(ann.ID)}}
					if d := cmp.Diff(want, got.Attributes); d != "" {
						t.Errorf("attributes:\n%s", d)
					}
					if got.NameID != "ann@example.org" || got.NameIDFormat != saml.NameIDEmailAddress || !got.AssertionSigned || got.ResponseSigned {
						t.Errorf("received %+v", got.Received)
					}
					if got.AuthnContext != saml.AuthnContextPasswordProtectedTransport || got.SessionIndex == "" {
						t.Errorf("authentication: %+v", got.Received)
					}
					if got.relayState != relay {
						t.Errorf("RelayState %q came back as %q", relay, got.relayState)
					}
					e := h.lastEvent()
					if e.Outcome != audit.Success || e.Actor.ID != string(ann.ID) || e.ApplicationID != string(h.jira.ID) || e.Actor.Address != "192.0.2.7" || e.Actor.Correlation == "" {
						t.Errorf("event %+v", e)
					}
					for k, v := range map[string]string{
						"idp_initiated": "false", "acs": acsURL, "request_id": id, "name_id": "ann@example.org", "factors": "[pwd]",
						"groups": "[Everybody]", "session_index": got.SessionIndex, "policy": "default", "request_signed": "false",
						"attributes": fmt.Sprintf("map[%sgivenname:[Ann] %sname:[%s] %ssurname:[Example]]", claims, claims, ann.ID, claims),
					} {
						if s := fmt.Sprint(e.Detail[k]); s != v {
							t.Errorf("event's %s is %s, want %s", k, s, v)
						}
					}
					if n := h.count(`SELECT count(*) FROM saml_sessions WHERE session_index = '` + got.SessionIndex + `' AND name_id = 'ann@example.org'`); n != 1 {
						t.Errorf("%d rows remember the session index", n)
					}
				})
			}
		}
	})
}

func TestSignOnFromThePortal(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		ann := h.person("ann", h.everyone)
		h.settings(func(s *app.SAMLSettings) {
			s.ACS = []app.ACS{{Index: 0, URL: "https://auth.atlassian.com/other?connection=saml-1"}, {Index: 1, URL: acsURL, Default: true}}
		})
		launch := "/launch/" + string(h.jira.ID)
		cases := map[string]struct{ query, want string }{
			"default RelayState": {"", "https://example.atlassian.net"},
			"given RelayState":   {"?RelayState=" + url.QueryEscape("https://example.atlassian.net/wiki?x=1&y=2"), "https://example.atlassian.net/wiki?x=1&y=2"},
			"no RelayState":      {"?RelayState=", ""},
		}
		for name, c := range cases {
			t.Run(name, func(t *testing.T) {
				b := h.browser()
				flow := flowOf(t, b.get(launch+c.query))
				got := h.receive(b.signIn(ann).get(idp.ResumePath+"?flow="+url.QueryEscape(flow)), "")
				if got.relayState != c.want || got.NameID != "ann@example.org" {
					t.Errorf("RelayState %q for %s", got.relayState, got.NameID)
				}
				if got = h.receive(b.get(launch+c.query), ""); got.relayState != c.want {
					t.Errorf("with a session: RelayState %q", got.relayState)
				}
				e := h.lastEvent()
				if e.Outcome != audit.Success || e.Detail["idp_initiated"] != true || e.Detail["acs"] != acsURL {
					t.Errorf("event %+v", e)
				}
			})
		}
		for name, state := range map[string]string{"script": "javascript:alert(1)", "data": "data:text/html,x", "control": "a\nb", "ftp": "ftp://x", "too long": strings.Repeat("x", 5000)} {
			w := h.browser().signIn(ann).get(launch + "?RelayState=" + url.QueryEscape(state))
			if w.Code != http.StatusBadRequest || h.lastEvent().Detail["error"] != "relay_state" {
				t.Errorf("%s: %d", name, w.Code)
			}
		}
		// A bookmark leads to its address, for those who have it.
		link, err := h.apps.Create(t.Context(), admin, app.NewApplication{Connector: "bookmark", Attributes: app.Attributes{Label: "Wiki", BookmarkURL: "https://wiki.example.org/x"}})
		h.ok(err)
		if w := h.browser().signIn(ann).get("/launch/" + string(link.ID)); w.Code != http.StatusForbidden {
			t.Errorf("a bookmark that is bound to nobody: %d", w.Code)
		}
		h.ok(h.apps.Bind(t.Context(), admin, link.ID, h.everyone))
		if to := redirected(t, h.browser().signIn(ann).get("/launch/"+string(link.ID))); to != "https://wiki.example.org/x" {
			t.Errorf("the bookmark leads to %s", to)
		}
	})
}

// TestBadInput goes through everything that can be wrong with a visit. Each ends at a page that says what happened and
// what to do (never at a redirect), or at a status for the service provider, and with an event.
func TestBadInput(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		ann, bob := h.person("ann", h.everyone), h.person("bob")
		redirect := func(change ...func(*samltest.Request)) func(b *browser) *httptest.ResponseRecorder {
			return func(b *browser) *httptest.ResponseRecorder {
				_, xml := h.request(change...)
				return b.get(h.ssoPath() + "?" + samltest.RedirectQuery(xml, ""))
			}
		}
		raw := func(query string) func(b *browser) *httptest.ResponseRecorder {
			return func(b *browser) *httptest.ResponseRecorder { return b.get(h.ssoPath() + "?" + query) }
		}
		post := func(contentType, body string) func(b *browser) *httptest.ResponseRecorder {
			return func(b *browser) *httptest.ResponseRecorder {
				return b.do(http.MethodPost, h.ssoPath(), contentType, body)
			}
		}
		const form = "application/x-www-form-urlencoded"
		nothing := func() {}
		active := func(on bool) func() {
			return func() {
				var err error
				if on {
					h.jira, err = h.apps.ActivateSAML(t.Context(), admin, h.jira.ID)
				} else {
					h.jira, err = h.apps.DeactivateSAML(t.Context(), admin, h.jira.ID)
				}
				h.ok(err)
			}
		}
		cases := []struct {
			name       string
			before     func()
			who        *directory.User
			visit      func(b *browser) *httptest.ResponseRecorder
			after      func()
			status     int
			words      string
			outcome    audit.Outcome
			error      string
			statusCode string // second-level code of a status sent to the service provider instead of a page
		}{
			{"unknown application", nothing, &ann, func(b *browser) *httptest.ResponseRecorder { return b.get("/saml2/nope?SAMLRequest=x") }, nothing, 404, "“nope”", audit.Failure, "unknown_application", ""},
			{"unknown tile", nothing, &ann, func(b *browser) *httptest.ResponseRecorder { return b.get("/launch/nope") }, nothing, 404, "deleted", audit.Failure, "unknown_application", ""},
			{"unbound person", nothing, &bob, redirect(), nothing, 403, "You don't have access to Jira", audit.Denied, "not_bound", ""},
			{"unbound person at the tile", nothing, &bob, func(b *browser) *httptest.ResponseRecorder { return b.get("/launch/" + string(h.jira.ID)) }, nothing, 403, "ask your administrator", audit.Denied, "not_bound", ""},
			{"sign-on off", active(false), &ann, redirect(), active(true), 409, "switched off", audit.Denied, "sign_on_off", ""},
			{"sign-on off, at the tile", active(false), &ann, func(b *browser) *httptest.ResponseRecorder { return b.get("/launch/" + string(h.jira.ID)) }, active(true), 409, "switched off", audit.Denied, "sign_on_off", ""},
			{"sign-on incomplete", func() { active(false)(); h.settings(func(s *app.SAMLSettings) { s.ACS = nil }) }, &ann, redirect(), func() {
				h.settings(func(s *app.SAMLSettings) { s.ACS = []app.ACS{{URL: acsURL}} })
				active(true)()
			}, 409, "Still missing: ACS URL.", audit.Denied, "sign_on_incomplete", ""},
			{"no SAMLRequest", nothing, nil, raw(""), nothing, 400, "no sign-in request came", audit.Failure, "malformed", ""},
			{"not base64", nothing, nil, raw("SAMLRequest=%25%25"), nothing, 400, "can't be read", audit.Failure, "malformed", ""},
			{"not deflated", nothing, nil, raw("SAMLRequest=" + url.QueryEscape(base64.StdEncoding.EncodeToString([]byte("<x/>")))), nothing, 400, "can't be read", audit.Failure, "malformed", ""},
			{"not XML", nothing, nil, raw(samltest.RedirectQuery("hello", "")), nothing, 400, "can't be read", audit.Failure, "malformed", ""},
			{"DOCTYPE", nothing, nil, func(b *browser) *httptest.ResponseRecorder {
				_, xml := h.request()
				return b.get(h.ssoPath() + "?" + samltest.RedirectQuery("<!DOCTYPE x>"+xml, ""))
			}, nothing, 400, "can't be read", audit.Failure, "malformed", ""},
			{"parameter twice", nothing, nil, raw("SAMLRequest=a&SAMLRequest=b"), nothing, 400, "can't be read", audit.Failure, "malformed", ""},
			{"bomb", nothing, nil, raw(samltest.RedirectQuery(strings.Repeat(" ", 1<<20), "")), nothing, 413, "too large", audit.Failure, "too_large", ""},
			{"oversized body", nothing, nil, post(form, "SAMLRequest="+strings.Repeat("A", saml.MaxPostBody)), nothing, 413, "too large", audit.Failure, "too_large", ""},
			{"body of another kind", nothing, nil, post("application/json", "{}"), nothing, 400, "can't be read", audit.Failure, "malformed", ""},
			{"a response instead", nothing, nil, post(form, "SAMLResponse=x"), nothing, 400, "can't be read", audit.Failure, "malformed", ""},
			{"another issuer", nothing, &ann, redirect(func(r *samltest.Request) { r.Issuer = "https://evil.example" }), nothing, 400, "not known under this name", audit.Failure, "unknown_issuer", ""},
			{"ACS not registered", nothing, &ann, redirect(func(r *samltest.Request) { r.ACSURL = "https://evil.example/acs" }), nothing, 400, "not registered", audit.Failure, "unregistered_acs", ""},
			{"ACS without its query", nothing, &ann, redirect(func(r *samltest.Request) { r.ACSURL, _, _ = strings.Cut(acsURL, "?") }), nothing, 400, "not registered", audit.Failure, "unregistered_acs", ""},
			{"index not registered", nothing, &ann, redirect(func(r *samltest.Request) { r.ACSURL, r.ACSIndex = "", "7" }), nothing, 400, "not registered", audit.Failure, "unregistered_acs", ""},
			{"wrong Destination", nothing, &ann, redirect(func(r *samltest.Request) { r.Destination = "https://other.example/saml2/jira" }), nothing, 400, "meant for another address", audit.Failure, "wrong_destination", ""},
			{"too old", nothing, &ann, redirect(func(r *samltest.Request) { r.IssueInstant = h.clock.now().Add(-time.Hour) }), nothing, 400, "too old", audit.Failure, "stale", ""},
			{"from the future", nothing, &ann, redirect(func(r *samltest.Request) { r.IssueInstant = h.clock.now().Add(time.Hour) }), nothing, 400, "clocks", audit.Failure, "from_the_future", ""},
			{"unsigned although it must be signed", func() {
				h.settings(func(s *app.SAMLSettings) {
					s.RequireSignedRequests, s.SPCertificates = true, []string{certPEM(h.sp.Cert)}
				})
			}, &ann, redirect(), func() {
				h.settings(func(s *app.SAMLSettings) { s.RequireSignedRequests, s.SPCertificates = false, nil })
			}, 400, "not signed", audit.Failure, "signature_missing", ""},
			{"missing attribute", func() {
				h.settings(func(s *app.SAMLSettings) {
					yes := true
					s.Mapping.Rows = []catalog.RowOverride{{Target: "department", Label: new("Department"), Source: &catalog.Source{Attribute: "department"}, Required: &yes}}
				})
			}, &ann, redirect(), func() { h.settings(func(s *app.SAMLSettings) { s.Mapping = catalog.MappingOverride{} }) }, 422, "Department", audit.Failure, "attribute_missing", ""},
			{"stale flow", nothing, &ann, func(b *browser) *httptest.ResponseRecorder { return b.get(idp.ResumePath + "?flow=nope") }, nothing, 410, "finished already", audit.Failure, "stale_flow", ""},
			{"no flow", nothing, nil, func(b *browser) *httptest.ResponseRecorder { return b.get(idp.ResumePath) }, nothing, 410, "Start again", audit.Failure, "stale_flow", ""},
			{"passive without session", nothing, nil, redirect(func(r *samltest.Request) { r.IsPassive = "true" }), nothing, 0, "", audit.Denied, "passive_impossible", saml.StatusNoPassive},
			{"passive and unbound", nothing, &bob, redirect(func(r *samltest.Request) { r.IsPassive = "true" }), nothing, 0, "", audit.Denied, "access_denied", saml.StatusRequestDenied},
			{"passive but a new proof is asked for", nothing, &ann, redirect(func(r *samltest.Request) { r.IsPassive, r.ForceAuthn = "1", "1" }), nothing, 0, "", audit.Denied, "passive_impossible", saml.StatusNoPassive},
			{"another NameID format", nothing, nil, redirect(func(r *samltest.Request) { r.NameIDFormat = saml.NameIDPersistent }), nothing, 0, "", audit.Failure, "unsupported_name_id", saml.StatusInvalidNameIDPolicy},
			{"another binding for the answer", nothing, nil, redirect(func(r *samltest.Request) {
				r.ProtocolBinding = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Artifact"
			}), nothing, 0, "", audit.Failure, "unsupported_binding", saml.StatusUnsupportedBinding},
			{"an unreachable proof", nothing, &ann, redirect(func(r *samltest.Request) { r.AuthnContexts = []string{saml.AuthnContextTimeSyncToken} }), nothing, 0, "", audit.Denied, "no_authn_context", saml.StatusNoAuthnContext},
			{"another person is asked for, passively", nothing, &ann, redirect(func(r *samltest.Request) {
				r.IsPassive = "true"
				r.Children = `<saml:Subject xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion"><saml:NameID>bob@example.org</saml:NameID></saml:Subject>`
			}), nothing, 0, "", audit.Denied, "unknown_principal", saml.StatusUnknownPrincipal},
			{"nobody can be asked for by a name of no kind", nothing, &ann, redirect(func(r *samltest.Request) {
				r.Children = `<saml:Subject xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion"><saml:EncryptedID/></saml:Subject>`
			}), nothing, 0, "", audit.Failure, "unsupported_subject", saml.StatusRequestUnsupported},
		}
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				b := h.browser()
				if c.who != nil {
					b.signIn(*c.who)
				}
				c.before()
				before := h.successes()
				w := c.visit(b)
				c.after()
				if w.Header().Get("Location") != "" {
					t.Fatalf("redirected to %s", w.Header().Get("Location"))
				}
				if c.statusCode != "" {
					got, err := h.tryReceiveStatus(w)
					if err != nil {
						t.Fatal(err)
					}
					if len(got.Status) != 2 || got.Status[1] != c.statusCode || !got.ResponseSigned {
						t.Errorf("status %v, signed %v", got.Status, got.ResponseSigned)
					}
				} else {
					if w.Code != c.status {
						t.Errorf("status %d, want %d", w.Code, c.status)
					}
					page := text(w.Body.String())
					if !strings.Contains(page, strings.ReplaceAll(c.words, "'", "&#39;")) && !strings.Contains(page, c.words) {
						t.Errorf("the page doesn't say %q: %s", c.words, page)
					}
					if strings.Contains(w.Body.String(), "SAMLResponse") || strings.Contains(page, "Everybody") {
						t.Errorf("the page gives away too much: %s", page)
					}
					webtest.Check(t, w.Body.Bytes())
				}
				e := h.lastEvent()
				if e.Outcome != c.outcome || e.Detail["error"] != c.error || e.Message == "" {
					t.Errorf("event %s %v: %s", e.Outcome, e.Detail, e.Message)
				}
				if c.who != nil && e.Actor.ID != string(c.who.ID) {
					t.Errorf("the event names %+v", e.Actor)
				}
				if h.successes() != before || h.count(`SELECT count(*) FROM saml_sessions`) != 0 || h.count(`SELECT count(*) FROM flows`) != 0 {
					t.Error("something was left behind")
				}
			})
		}
	})
}

// tryReceiveStatus is tryReceive for a status, whatever request it answers.
func (h *house) tryReceiveStatus(w *httptest.ResponseRecorder) (received, error) {
	_, fields, err := samltest.AutoForm(strings.NewReader(w.Body.String()))
	if err != nil {
		return received{}, fmt.Errorf("no form, but %d: %s", w.Code, text(w.Body.String()))
	}
	xml, err := base64.StdEncoding.DecodeString(fields.Get("SAMLResponse"))
	if err != nil {
		return received{}, err
	}
	_, rest, _ := strings.Cut(string(xml), `InResponseTo="`)
	id, _, _ := strings.Cut(rest, `"`)
	return h.tryReceive(w, id)
}

func TestForceAuthn(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		ann := h.person("ann", h.everyone)
		b := h.browser().signIn(ann)
		h.clock.pass(time.Minute)
		id, xml := h.request(func(r *samltest.Request) { r.ForceAuthn = "true" })
		flow := flowOf(t, b.get(h.ssoPath()+"?"+samltest.RedirectQuery(xml, "")))
		resume := idp.ResumePath + "?flow=" + url.QueryEscape(flow)
		if again := flowOf(t, b.get(resume)); again != flow {
			t.Error("without a new proof the person is sent to sign in once more, with the same flow")
		}
		h.clock.pass(time.Minute)
		b.signIn(ann)
		got := h.receive(b.get(resume), id)
		if !got.AuthnInstant.Equal(h.clock.now()) {
			t.Errorf("AuthnInstant %v, now %v", got.AuthnInstant, h.clock.now())
		}
		// By POST it is the same.
		h.clock.pass(time.Minute)
		_, xml = h.request(func(r *samltest.Request) { r.ForceAuthn = "1" })
		if to := redirected(t, b.get(redirected(t, b.post(h.ssoPath(), samltest.PostBody(xml, ""))))); !strings.HasPrefix(to, "/signin?flow=") {
			t.Errorf("by POST: to %s", to)
		}
	})
}

func TestFlowExpires(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		ann := h.person("ann", h.everyone)
		_, xml := h.request()
		b := h.browser()
		flow := flowOf(t, b.get(h.ssoPath()+"?"+samltest.RedirectQuery(xml, "")))
		h.clock.pass(16 * time.Minute)
		if w := b.signIn(ann).get(idp.ResumePath + "?flow=" + url.QueryEscape(flow)); w.Code != http.StatusGone {
			t.Errorf("after 16 minutes: %d", w.Code)
		}
	})
}

func TestOldSlugAnswers(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t))
	ann := h.person("ann", h.everyone)
	old := h.ssoPath()
	id, xml := h.request() // with the old Destination
	var err error
	h.jira, err = h.apps.ChangeSlug(t.Context(), admin, h.jira.ID, "jira")
	h.ok(err)
	b := h.browser().signIn(ann)
	h.receive(b.get("/saml2/jira?"+samltest.RedirectQuery(xml, "")), id)
	id, xml = h.request(func(r *samltest.Request) { r.Destination = publicURL + old })
	h.receive(b.get(old+"?"+samltest.RedirectQuery(xml, "")), id)
	h.jira, err = h.apps.DropSlug(t.Context(), admin, h.jira.ID, strings.TrimPrefix(old, "/saml2/"))
	h.ok(err)
	if w := b.get(old + "?" + samltest.RedirectQuery(xml, "")); w.Code != http.StatusNotFound {
		t.Errorf("a dropped address answers: %d", w.Code)
	}
	if w := b.get("/saml2/jira?" + samltest.RedirectQuery(xml, "")); w.Code != http.StatusBadRequest {
		t.Errorf("a Destination that was dropped is taken: %d", w.Code)
	}
}

func TestSignedRequests(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t))
	ann := h.person("ann", h.everyone)
	h.settings(func(s *app.SAMLSettings) {
		s.RequireSignedRequests, s.SPCertificates = true, []string{certPEM(h.sp.Cert)}
	})
	b := h.browser().signIn(ann)
	id, xml := h.request()
	h.receive(b.get(h.ssoPath()+"?"+h.sp.SignedRedirectQuery(xml, "r")), id)
	if e := h.lastEvent(); e.Detail["request_signed"] != true {
		t.Errorf("event %v", e.Detail)
	}
	id, xml = h.request()
	h.receive(b.get(redirected(t, b.post(h.ssoPath(), samltest.PostBody(h.sp.Sign(xml), "r")))), id)
	_, xml = h.request()
	query := h.sp.SignedRedirectQuery(xml, "r")
	if w := b.get(h.ssoPath() + "?" + strings.Replace(query, "RelayState=r", "RelayState=s", 1)); w.Code != http.StatusBadRequest || h.lastEvent().Detail["error"] != "signature_invalid" {
		t.Errorf("a changed RelayState is taken: %d", w.Code)
	}
}

func TestWhatIsSigned(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t))
	ann := h.person("ann", h.everyone)
	b := h.browser().signIn(ann)
	for _, c := range []struct{ assertion, response bool }{{true, false}, {false, true}, {true, true}} {
		h.settings(func(s *app.SAMLSettings) { s.SignAssertion, s.SignResponse = c.assertion, c.response })
		for _, algorithm := range app.SignatureAlgorithms() {
			h.settings(func(s *app.SAMLSettings) { s.SignatureAlgorithm = algorithm })
			w := b.get("/launch/" + string(h.jira.ID))
			got := h.receive(w, "")
			if got.AssertionSigned != c.assertion || got.ResponseSigned != c.response {
				t.Errorf("%+v: %+v", c, got.Received)
			}
			_, fields, err := samltest.AutoForm(strings.NewReader(w.Body.String()))
			h.ok(err)
			xml, err := base64.StdEncoding.DecodeString(fields.Get("SAMLResponse"))
			h.ok(err)
			if !strings.Contains(string(xml), `SignatureMethod Algorithm="`+algorithm+`"`) {
				t.Errorf("not signed by %s", algorithm)
			}
		}
	}
}

func TestNoSignOnByHEAD(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t))
	for _, path := range []string{h.ssoPath(), idp.ResumePath, "/launch/" + string(h.jira.ID)} {
		if w := h.browser().do(http.MethodHead, path, "", ""); w.Code != http.StatusMethodNotAllowed {
			t.Errorf("HEAD %s: %d", path, w.Code)
		}
	}
	if h.count(`SELECT count(*) FROM flows`) != 0 || h.lastEvent().ID != "" {
		t.Error("HEAD leaves something behind")
	}
}

func TestStrangersCannotFillTheEvents(t *testing.T) {
	h := replica(t, storetest.SQLite(t), newClock(), idp.Limits{StrangerEvents: 0.2}).furnish()
	ann := h.person("ann")
	b := h.browser()
	for range 50 {
		if w := b.get("/saml2/nope"); w.Code != http.StatusNotFound {
			t.Fatalf("status %d", w.Code)
		}
	}
	n := h.count(`SELECT count(*) FROM events WHERE type = 'sso_auth'`)
	if n == 0 || n > 10 {
		t.Errorf("%d events", n)
	}
	h.browser().signIn(ann).get("/launch/" + string(h.jira.ID))
	if e := h.lastEvent(); e.Actor.ID != string(ann.ID) || e.Detail["error"] != "not_bound" {
		t.Errorf("a person's own refusal is always recorded: %+v", e)
	}
}
