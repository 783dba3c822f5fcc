package idp_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/idp"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

// recorded lets the inspector run while fn does something, until all that it saw is written.
func (h *house) recorded(fn func()) {
	h.t.Helper()
	ctx, stop := context.WithCancel(h.t.Context())
	done := make(chan error, 1)
	go func() { done <- h.idp.Run(ctx) }()
	fn()
	stop()
	h.ok(<-done)
}

// exchanges returns an application's exchanges in full, oldest first.
func (h *house) exchanges(id app.ID) []idp.Exchange {
	h.t.Helper()
	var out []idp.Exchange
	cursor := ""
	for {
		page, err := h.idp.Exchanges(h.t.Context(), admin, id, cursor, 7)
		h.ok(err)
		for _, x := range page.Items {
			full, err := h.idp.Exchange(h.t.Context(), admin, x.ID)
			h.ok(err)
			out = append(out, full)
		}
		if cursor = page.Next; cursor == "" {
			slices.Reverse(out)
			return out
		}
	}
}

// What is recorded of each kind of exchange, with the verdicts of the checks; and nothing secret is in it, neither in the
// database nor in what may be given to others.
func TestExchanges(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		wiki, shop := h.party("Wiki", saml.BindingHTTPRedirect), h.party("Shop", saml.BindingHTTPRedirect)
		wiki.settings(func(s *app.SAMLSettings) { s.DefaultRelayState = "https://wiki.example/start?token=very-secret" })
		ann, bob := h.person("ann", h.everyone), h.person("bob")
		const relay = "https://wiki.example/page?ticket=very-secret"
		b := h.browser()
		var cookie, flow, flow2 string
		var answers []string
		h.recorded(func() {
			_, xml := wiki.request() // by Redirect, with signing in between
			flow = flowOf(t, b.get(wiki.ssoPath()+"?"+wiki.sp.SignedRedirectQuery(xml, relay)))
			b.signIn(ann)
			cookie = b.cookie
			answers = append(answers, b.get(idp.ResumePath+"?flow="+url.QueryEscape(flow)).Body.String())
			_, xml = wiki.request() // by POST
			to := redirected(t, b.post(wiki.ssoPath(), samltest.PostBody(wiki.sp.Sign(xml), relay)))
			_, flow2, _ = strings.Cut(to, "flow=")
			answers = append(answers, b.get(to).Body.String())
			_, xml = wiki.request() // by Redirect, with a session
			answers = append(answers, b.get(wiki.ssoPath()+"?"+samltest.RedirectQuery(xml, relay)).Body.String())
			b.get(wiki.ssoPath() + "?" + samltest.RedirectQuery(xml, relay)) // again
			b.get("/launch/" + string(wiki.jira.ID))
			b.get(wiki.ssoPath() + "?SAMLRequest=%25")
			_, xml = wiki.request(func(r *samltest.Request) { r.ACSURL = "https://evil.example/acs" })
			b.get(wiki.ssoPath() + "?" + samltest.RedirectQuery(xml, ""))
			_, xml = wiki.request(func(r *samltest.Request) { r.IsPassive = "true" })
			h.browser().get(wiki.ssoPath() + "?" + samltest.RedirectQuery(xml, ""))
			bobs := h.browser().signIn(bob)
			bobs.get("/launch/" + string(wiki.jira.ID))
			h.ok(h.authn.SignOut(t.Context(), bobs.cookie))
			of := wiki.signOn(b)
			shop.signOn(b)
			_, out := wiki.logoutRequest(of)
			h.browser().get(wiki.sloPath() + "?" + samltest.RedirectQuery(out, ""))
			follow(t, b, wiki.send(b, saml.BindingHTTPRedirect, out, relay), wiki, shop)
		})
		type line struct {
			Kind              idp.ExchangeKind
			Outcome           audit.Outcome
			Reason, User      string
			Request, Response string // binding; "" for no message
			Failed            bool
		}
		const redirect, post = saml.BindingHTTPRedirect, saml.BindingHTTPPost
		want := []line{
			{idp.SignOnExchange, audit.Success, "", "ann@example.org", redirect, post, false},
			{idp.SignOnExchange, audit.Success, "", "ann@example.org", post, post, false},
			{idp.SignOnExchange, audit.Success, "", "ann@example.org", redirect, post, false},
			{idp.SignOnExchange, audit.Failure, "replayed", "ann@example.org", redirect, "", false},
			{idp.SignOnExchange, audit.Success, "", "ann@example.org", "", post, false},
			{idp.SignOnExchange, audit.Failure, "malformed", "ann@example.org", redirect, "", true},
			{idp.SignOnExchange, audit.Failure, "unregistered_acs", "ann@example.org", redirect, "", true},
			{idp.SignOnExchange, audit.Denied, "passive_impossible", "", redirect, post, false},
			{idp.SignOnExchange, audit.Denied, "not_bound", "bob@example.org", "", "", false},
			{idp.SignOnExchange, audit.Success, "", "ann@example.org", redirect, post, false},
			{idp.LogoutRequestExchange, audit.Failure, "signature_missing", "", redirect, "", true},
			{idp.LogoutRequestExchange, audit.Success, "", "ann@example.org", redirect, "", false},
		}
		var got []line
		all := h.exchanges(wiki.jira.ID)
		for _, x := range all {
			l := line{x.Kind, x.Outcome, x.Reason, x.UserName, "", "", x.Failed > 0}
			for to, m := range map[*string]*idp.ExchangedMessage{&l.Request: x.Request, &l.Response: x.Response} {
				if m == nil {
					continue
				}
				*to = m.Binding
				if m.Findings == nil || m.XML == "" && x.Reason != "malformed" || x.ApplicationID != wiki.jira.ID || x.At.IsZero() || x.Correlation == "" {
					t.Errorf("%s: %+v", x.Reason, x)
				}
				for _, f := range m.Findings {
					if f.Check == "" || f.Verdict == "" || f.Text == "" || f.Rule == "" && f.Source == "" {
						t.Errorf("finding %+v", f)
					}
				}
			}
			got = append(got, l)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("exchanges of Wiki:\n%s", d)
			for _, x := range all {
				for _, m := range []*idp.ExchangedMessage{x.Request, x.Response} {
					for i := 0; m != nil && i < len(m.Findings); i++ {
						if m.Findings[i].Verdict == saml.Fail {
							t.Logf("%s %s: %+v", x.Kind, x.Reason, m.Findings[i])
						}
					}
				}
			}
		}
		if x := h.exchanges(shop.jira.ID); len(x) != 2 || x[1].Kind != idp.LogoutResponseExchange || x[1].Outcome != audit.Success || x[1].UserID != string(ann.ID) || x[1].Failed != 0 {
			t.Errorf("exchanges of Shop: %+v", x)
		}

		secrets := []string{"very-secret", cookie, flow, flow2, string(password), certPEM(h.certificate())[100:200]}
		for _, page := range answers {
			_, fields, err := samltest.AutoForm(strings.NewReader(page))
			h.ok(err)
			xml, err := base64.StdEncoding.DecodeString(fields.Get("SAMLResponse"))
			h.ok(err)
			_, rest, _ := strings.Cut(string(xml), "SignatureValue>")
			value, _, _ := strings.Cut(rest, "<")
			if len(value) < 100 {
				t.Fatal("no signature in the answer")
			}
			secrets = append(secrets, value[:40], value[len(value)-40:])
		}
		personal := []string{"ann@example.org", ">Ann<", "Example<", string(ann.ID), "bob@example.org"}
		for _, x := range all {
			raw, err := json.Marshal(x)
			h.ok(err)
			var kept string
			h.ok(h.db.View(t.Context(), func(tx *store.Tx) (err error) {
				kept, err = store.One(tx, store.Scalar[string], `SELECT content FROM saml_exchanges WHERE id = $1`, x.ID)
				return err
			}))
			file, err := h.idp.Bundle(t.Context(), admin, x.ID)
			h.ok(err)
			if !json.Valid(file) || !strings.Contains(string(file), wiki.jira.SAML.SPEntityID) {
				t.Errorf("the bundle: %s", file)
			}
			for _, s := range append(secrets, strings.ReplaceAll(url.QueryEscape(relay), "%", "%")) {
				for where, text := range map[string]string{"an exchange": string(raw), "the database": kept, "a bundle": string(file)} {
					if strings.Contains(text, s) {
						t.Errorf("%q is in %s: %s", s, where, text)
					}
				}
			}
			for _, s := range personal {
				for where, text := range map[string]string{"the content": kept, "a bundle": string(file)} {
					if strings.Contains(text, s) {
						t.Errorf("%q is in %s: %s", s, where, text)
					}
				}
			}
		}
		list, err := h.idp.Exchanges(t.Context(), admin, wiki.jira.ID, "", 0)
		h.ok(err)
		if list.Total != len(want) || list.Items[0].Request.XML != "" || list.Items[0].Request.Binding == "" || list.Items[0].Kind != idp.LogoutRequestExchange {
			t.Errorf("list of %d: %+v", list.Total, list.Items[0])
		}
		// The application goes, and so does what is known of its exchanges.
		h.ok(h.apps.Delete(t.Context(), admin, wiki.jira.ID, "Wiki"))
		if _, err := h.idp.Exchange(t.Context(), admin, all[0].ID); !problem.Is(err, problem.NotFound) {
			t.Errorf("an exchange of a deleted application: %v", err)
		}
	})
}

// The inspector is bounded: of very many exchanges some are recorded, the last are kept, and strangers can't push out
// what happened to people.
func TestExchangesAreBounded(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		b := h.browser().signIn(h.person("ann", h.everyone))
		bob := h.browser().signIn(h.person("bob"))
		h.recorded(func() {
			for range 10 {
				h.receive(b.get("/launch/"+string(h.jira.ID)), "")
			}
			for range 60 {
				bob.get("/launch/" + string(h.jira.ID))
			}
		})
		all := h.exchanges(h.jira.ID)
		if len(all) != 50 {
			t.Fatalf("%d exchanges are kept of 60 or so", len(all))
		}
		for range 4 {
			h.recorded(func() {
				for range 30 {
					h.browser().get(h.ssoPath() + "?SAMLRequest=x")
				}
				time.Sleep(50 * time.Millisecond)
			})
		}
		strangers := 0
		all = h.exchanges(h.jira.ID)
		for _, x := range all {
			if x.UserID == "" {
				strangers++
			}
		}
		if strangers == 0 || strangers > 25 || len(all)-strangers < 25 {
			t.Errorf("%d exchanges of strangers among %d", strangers, len(all))
		}
	})
}

// Nobody has to run the inspector, and nobody waits for it.
func TestSignOnWithoutInspector(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t))
	b := h.browser().signIn(h.person("ann", h.everyone))
	for range 400 {
		h.browser().get(h.ssoPath() + "?SAMLRequest=x")
	}
	h.receive(b.get("/launch/"+string(h.jira.ID)), "")
	if n := h.count(`SELECT count(*) FROM saml_exchanges`); n != 0 {
		t.Errorf("%d exchanges", n)
	}
	// An application that is deleted before its exchange is written spoils nothing.
	wiki := h.party("Wiki", saml.BindingHTTPRedirect)
	wiki.signOn(b)
	shop := h.party("Shop", saml.BindingHTTPRedirect)
	shop.signOn(b)
	h.ok(h.apps.Delete(t.Context(), admin, wiki.jira.ID, "Wiki"))
	h.recorded(func() {})
	if n := len(h.exchanges(shop.jira.ID)); n != 1 {
		t.Errorf("%d exchanges of Shop", n)
	}
}

// Who may look: those who may read applications and people.
func TestInspectorNeedsPermission(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t))
	ann := h.person("ann", h.everyone)
	b := h.browser().signIn(ann)
	h.recorded(func() { h.receive(b.get("/launch/"+string(h.jira.ID)), "") })
	id := h.exchanges(h.jira.ID)[0].ID
	for _, role := range append(access.Roles(), access.None) {
		by := access.Actor{Kind: access.Person, ID: "x", Name: "x", Role: role}
		_, list := h.idp.Exchanges(t.Context(), by, h.jira.ID, "", 0)
		_, one := h.idp.Exchange(t.Context(), by, id)
		_, bundle := h.idp.Bundle(t.Context(), by, id)
		_, simulation := h.idp.Simulate(t.Context(), by, h.jira.ID, ann.ID, idp.SimulateOptions{})
		_, inspection := h.idp.Inspect(t.Context(), by, h.jira.ID, "<x/>")
		for what, err := range map[string]error{"list": list, "one": one, "bundle": bundle, "simulation": simulation, "inspection": inspection} {
			if allowed := role.Can(access.ReadApplications) && role.Can(access.ReadDirectory); allowed != (err == nil) || !allowed && !problem.Is(err, problem.Forbidden) {
				t.Errorf("%s, %q: %v", what, role, err)
			}
		}
	}
	for what, err := range map[string]error{
		"exchange": second(h.idp.Exchange(t.Context(), admin, "x")), "bundle": second(h.idp.Bundle(t.Context(), admin, "x")),
		"list": second(h.idp.Exchanges(t.Context(), admin, "x", "", 0)), "simulation": second(h.idp.Simulate(t.Context(), admin, "x", ann.ID, idp.SimulateOptions{})),
		"somebody": second(h.idp.Simulate(t.Context(), admin, h.jira.ID, "x", idp.SimulateOptions{})), "inspection": second(h.idp.Inspect(t.Context(), admin, "x", "<x/>")),
	} {
		if !problem.Is(err, problem.NotFound) {
			t.Errorf("%s of nothing: %v", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// A simulation tells what an answer would say, and nobody can get in by it.
func TestSimulate(t *testing.T) {
	each(t, func(t *testing.T, home *house) {
		h := home.custom("Wiki", "https://wiki.example/sp")
		yes := true
		h.settings(func(s *app.SAMLSettings) {
			s.Mapping.Rows = []catalog.RowOverride{{Target: "mail", Source: &catalog.Source{Attribute: "email"}, Required: &yes}}
		})
		ann, bob, carl := h.person("ann", h.everyone), h.person("bob"), h.person("carl", h.everyone)
		_, err := h.dir.Suspend(t.Context(), admin, carl.ID)
		h.ok(err)
		before := [3]int{h.count(`SELECT count(*) FROM events`), h.count(`SELECT count(*) FROM saml_sessions`), h.count(`SELECT count(*) FROM name_ids`)}
		for name, c := range map[string]struct {
			who     directory.User
			options idp.SimulateOptions
			granted bool
			refusal string
			nameID  string // "" for one that isn't known before
			format  string
			class   string
		}{
			"as from the portal":  {ann, idp.SimulateOptions{}, true, "", "ann@example.org", saml.NameIDEmailAddress, saml.AuthnContextPasswordProtectedTransport},
			"two factors":         {ann, idp.SimulateOptions{Methods: []string{"pwd", "otp"}}, true, "", "ann@example.org", saml.NameIDEmailAddress, saml.AuthnContextREFEDSMFA},
			"transient":           {ann, idp.SimulateOptions{NameIDFormat: saml.NameIDTransient}, true, "", "", saml.NameIDTransient, saml.AuthnContextPasswordProtectedTransport},
			"persistent, not yet": {ann, idp.SimulateOptions{NameIDFormat: saml.NameIDPersistent}, true, "", "", saml.NameIDPersistent, saml.AuthnContextPasswordProtectedTransport},
			"not bound":           {bob, idp.SimulateOptions{ACS: acsURL}, false, "none of the groups", "bob@example.org", saml.NameIDEmailAddress, saml.AuthnContextPasswordProtectedTransport},
			"suspended":           {carl, idp.SimulateOptions{}, false, "suspended", "carl@example.org", saml.NameIDEmailAddress, saml.AuthnContextPasswordProtectedTransport},
		} {
			s, err := h.idp.Simulate(t.Context(), admin, h.jira.ID, c.who.ID, c.options)
			h.ok(err)
			if s.Granted != c.granted || !strings.Contains(strings.Join(s.Refusals, " "), c.refusal) || (c.refusal == "") != (len(s.Refusals) == 0) {
				t.Errorf("%s: granted %v, %q", name, s.Granted, s.Refusals)
			}
			if c.nameID != "" && s.NameID.Value != c.nameID || s.NameID.Format != c.format || s.AuthnContext != c.class || (c.nameID == "") != (s.NameIDNote != "") {
				t.Errorf("%s: %+v, %s, %q", name, s.NameID, s.AuthnContext, s.NameIDNote)
			}
			if len(s.Attributes) == 0 || len(s.Rows) == 0 || s.Destination != acsURL || s.Signed != "assertion" || s.Encrypted || len(s.Findings) == 0 {
				t.Errorf("%s: %+v", name, s)
			}
			for _, part := range []string{c.who.Email, s.NameID.Value, h.jira.SAML.SPEntityID, "<saml:Assertion"} {
				if !strings.Contains(s.XML, part) {
					t.Errorf("%s: no %q in %s", name, part, s.XML)
				}
			}
			// Neither a service provider that checks signatures takes it, nor one that looks at nothing but the times.
			if strings.Contains(s.XML, "Signature") || strings.Contains(s.XML, base64.StdEncoding.EncodeToString(h.certificate().Raw)[:40]) {
				t.Errorf("%s: it is signed", name)
			}
			if _, err := h.sp.Receive(base64.StdEncoding.EncodeToString([]byte(s.XML)), h.jira.SAML.IDPEntityID, h.certificate(), "", h.clock.now()); err == nil {
				t.Errorf("%s: a service provider takes it", name)
			}
			for i, rest := 0, s.XML; ; i++ {
				var found bool
				if _, rest, found = strings.Cut(rest, "NotOnOrAfter=\""); !found {
					if i < 2 {
						t.Errorf("%s: %d times", name, i)
					}
					break
				}
				end, _, _ := strings.Cut(rest, `"`)
				if at, err := time.Parse(time.RFC3339, end); err != nil || at.After(h.clock.now().Add(-23*time.Hour)) {
					t.Errorf("%s: it holds until %s", name, end)
				}
			}
			unsigned := slices.ContainsFunc(s.Findings, func(f saml.Finding) bool { return f.Check == "signed" && f.Verdict == saml.Skip })
			if !unsigned || slices.ContainsFunc(s.Findings, func(f saml.Finding) bool { return f.Verdict == saml.Fail }) {
				t.Errorf("%s: findings %+v", name, slices.DeleteFunc(s.Findings, func(f saml.Finding) bool { return f.Verdict != saml.Fail }))
			}
		}
		after := [3]int{h.count(`SELECT count(*) FROM events`), h.count(`SELECT count(*) FROM saml_sessions`), h.count(`SELECT count(*) FROM name_ids`)}
		if before != after {
			t.Errorf("events, sessions and names were %v, are %v", before, after)
		}
		// A name that was made is shown.
		got, err := h.ask(h.browser().signIn(ann), func(r *samltest.Request) { r.NameIDFormat = saml.NameIDPersistent })
		h.ok(err)
		s, err := h.idp.Simulate(t.Context(), admin, h.jira.ID, ann.ID, idp.SimulateOptions{NameIDFormat: saml.NameIDPersistent})
		if err != nil || s.NameID.Value != got.NameID || s.NameIDNote != "" || s.NameID.SPNameQualifier != h.jira.SAML.SPEntityID {
			t.Errorf("%+v, %v", s.NameID, err)
		}
		for name, o := range map[string]idp.SimulateOptions{"nameIdFormat": {NameIDFormat: saml.NameIDX509SubjectName}, "acs": {ACS: "https://evil.example/"}} {
			if _, err := h.idp.Simulate(t.Context(), admin, h.jira.ID, ann.ID, o); len(problem.FieldsOf(err)) != 1 || problem.FieldsOf(err)[0].Name != name {
				t.Errorf("%s: %v", name, err)
			}
		}
		// Encrypted and signed as a whole in earnest, it is shown in clear.
		h.settings(func(s *app.SAMLSettings) {
			s.EncryptAssertions, s.EncryptionCertificate, s.SignResponse, s.SendSessionEnd = true, certPEM(h.sp.Cert), true, true
			s.Mapping.Rows = append(s.Mapping.Rows, catalog.RowOverride{Target: "dept", Label: new("Department"), Source: &catalog.Source{Attribute: "department"}})
		})
		s, err = h.idp.Simulate(t.Context(), admin, h.jira.ID, ann.ID, idp.SimulateOptions{})
		if err != nil || !s.Encrypted || s.Signed != "assertion and response" || !strings.Contains(s.XML, "ann@example.org") || !strings.Contains(s.XML, "SessionNotOnOrAfter") || strings.Contains(s.XML, "Signature") {
			t.Errorf("%+v, %v", s, err)
		}
		h.settings(func(s *app.SAMLSettings) { s.Mapping.Rows[1].Required = &yes })
		s, err = h.idp.Simulate(t.Context(), admin, h.jira.ID, ann.ID, idp.SimulateOptions{})
		if err != nil || s.Granted || s.XML != "" || !strings.Contains(strings.Join(s.Refusals, " "), "Department is missing") || len(s.Rows) == 0 {
			t.Errorf("%+v, %v", s, err)
		}
		h.jira, err = h.apps.DeactivateSAML(t.Context(), admin, h.jira.ID)
		h.ok(err)
		if _, err := h.idp.Simulate(t.Context(), admin, h.jira.ID, ann.ID, idp.SimulateOptions{}); !problem.Is(err, problem.Conflict) {
			t.Errorf("sign-on is off: %v", err)
		}
	})
}

// What an administrator pastes is decoded and judged, whatever its shape.
func TestInspect(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t)).party("Wiki", saml.BindingHTTPRedirect)
	b := h.browser().signIn(h.person("ann", h.everyone))
	_, xml := h.request()
	of := h.signOn(b)
	_, logout := h.logoutRequest(of)
	_, stale := h.request(func(r *samltest.Request) { r.IssueInstant = h.clock.now().Add(-time.Hour) })
	for name, c := range map[string]struct {
		pasted, message, binding, failed string
	}{
		"URL":             {publicURL + h.ssoPath() + "?" + h.sp.SignedRedirectQuery(xml, "https://x.example/y"), "AuthnRequest", saml.BindingHTTPRedirect, ""},
		"query":           {samltest.RedirectQuery(xml, ""), "AuthnRequest", saml.BindingHTTPRedirect, ""},
		"form":            {samltest.PostBody(h.sp.Sign(xml), "r"), "AuthnRequest", saml.BindingHTTPPost, ""},
		"base64":          {base64.StdEncoding.EncodeToString([]byte(xml)), "AuthnRequest", saml.BindingHTTPPost, ""},
		"XML":             {xml, "AuthnRequest", saml.BindingHTTPPost, ""},
		"stale":           {stale, "AuthnRequest", saml.BindingHTTPPost, "time"},
		"answer":          {string(of.xml), "Response", saml.BindingHTTPPost, ""},
		"logout":          {h.sp.SignedRedirectQuery(logout, ""), "LogoutRequest", saml.BindingHTTPRedirect, ""},
		"logout unsigned": {logout, "LogoutRequest", saml.BindingHTTPPost, "signature"},
		"not SAML":        {"<html></html>", "", saml.BindingHTTPPost, "message"},
	} {
		got, err := h.idp.Inspect(t.Context(), admin, h.jira.ID, c.pasted)
		h.ok(err)
		if got.Message != c.message || got.Binding != c.binding || got.XML == "" || len(got.Findings) == 0 {
			t.Errorf("%s: %+v", name, got)
		}
		failed := slices.DeleteFunc(slices.Clone(got.Findings), func(f saml.Finding) bool { return f.Verdict != saml.Fail })
		if (c.failed == "") != (len(failed) == 0) || got.Failed != len(failed) {
			t.Errorf("%s: %+v failed", name, failed)
		}
		if strings.Contains(got.Redacted, "ann@example.org") {
			t.Errorf("%s: %s", name, got.Redacted)
		}
	}
	for _, nothing := range []string{"", "   ", "%%", "SAMLRequest=", strings.Repeat("A", 1<<20)} {
		if _, err := h.idp.Inspect(t.Context(), admin, h.jira.ID, nothing); len(problem.FieldsOf(err)) != 1 {
			t.Errorf("%.20q: %v", nothing, err)
		}
	}
	if n := h.successes(); n != 1 {
		t.Errorf("%d sign-ons", n)
	}
	w := b.get(h.ssoPath() + "?" + samltest.RedirectQuery(xml, "")) // it wasn't used up
	if w.Code != http.StatusOK {
		t.Errorf("the request that was looked at: %d", w.Code)
	}
}
