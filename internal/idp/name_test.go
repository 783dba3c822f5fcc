package idp_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/idp"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
	"github.com/latchkey-idp/latchkey/internal/web/webtest"
)

// custom makes h's application one of the connector that takes any NameID format, for the same service provider.
func (h *house) custom(label, entityID string) *house {
	h.t.Helper()
	there := *h
	var err error
	there.jira, err = h.apps.Create(h.t.Context(), admin, app.NewApplication{Connector: "custom-saml", Attributes: app.Attributes{Label: label}})
	h.ok(err)
	there.sp = samltest.NewSP(entityID, acsURL)
	there.settings(func(s *app.SAMLSettings) { s.SPEntityID, s.ACS = entityID, []app.ACS{{URL: acsURL}} })
	there.jira, err = h.apps.ActivateSAML(h.t.Context(), admin, there.jira.ID)
	h.ok(err)
	h.ok(h.apps.Bind(h.t.Context(), admin, there.jira.ID, h.everyone))
	return &there
}

// nameIDPolicy is the element as a service provider writes it.
func nameIDPolicy(attributes string) func(*samltest.Request) {
	return func(r *samltest.Request) {
		r.Children = `<samlp:NameIDPolicy ` + attributes + `></samlp:NameIDPolicy>`
	}
}

func subjectIs(format, value string) func(*samltest.Request) {
	return func(r *samltest.Request) {
		r.Children = `<saml:Subject xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion"><saml:NameID Format="` + format + `">` + value + `</saml:NameID></saml:Subject>`
	}
}

// ask sends a request by Redirect and reads the answer.
func (h *house) ask(b *browser, change ...func(*samltest.Request)) (received, error) {
	id, xml := h.request(change...)
	return h.tryReceive(b.get(h.ssoPath()+"?"+samltest.RedirectQuery(xml, "")), id)
}

func TestNameIDFormats(t *testing.T) {
	each(t, func(t *testing.T, home *house) {
		h, other := home.custom("Wiki", "https://wiki.example/sp"), home.custom("Shop", "https://shop.example/sp")
		ann, bob := h.person("ann", h.everyone), h.person("bob", h.everyone)
		b, bobs := h.browser().signIn(ann), h.browser().signIn(bob)
		for format, want := range map[string]string{
			"": saml.NameIDEmailAddress, saml.NameIDUnspecified: saml.NameIDEmailAddress, saml.NameIDEmailAddress: saml.NameIDEmailAddress,
		} {
			if got, err := h.ask(b, func(r *samltest.Request) { r.NameIDFormat = format }); err != nil || got.NameIDFormat != want || got.NameID != "ann@example.org" {
				t.Errorf("asked for %q: %q in %q, %v", format, got.NameID, got.NameIDFormat, err)
			}
		}
		refused := func(name string, change ...func(*samltest.Request)) {
			t.Helper()
			got, err := h.ask(b, change...)
			if err != nil || len(got.Status) != 2 || got.Status[1] != saml.StatusInvalidNameIDPolicy || got.NameID != "" {
				t.Errorf("%s: %v %q, %v", name, got.Status, got.NameID, err)
			}
		}
		refused("a format that isn't served", func(r *samltest.Request) { r.NameIDFormat = saml.NameIDX509SubjectName })
		refused("another's name space", nameIDPolicy(`SPNameQualifier="https://evil.example"`))

		transient := func() string {
			got, err := h.ask(b, func(r *samltest.Request) { r.NameIDFormat = saml.NameIDTransient })
			h.ok(err)
			if got.NameIDFormat != saml.NameIDTransient || strings.Contains(got.NameID, "ann") {
				t.Errorf("transient: %q in %q", got.NameID, got.NameIDFormat)
			}
			if n := h.count(`SELECT count(*) FROM saml_sessions WHERE name_id = '` + got.NameID + `' AND name_id_format = '` + saml.NameIDTransient + `'`); n != 1 {
				t.Errorf("%d rows remember the transient name", n)
			}
			return got.NameID
		}
		if one, two := transient(), transient(); one == two {
			t.Error("the same transient name twice")
		}

		// A persistent name is made only where that is allowed, then stays; it differs from one application to another and
		// from one person to another.
		refused("no name yet, and none may be made", nameIDPolicy(`Format="`+saml.NameIDPersistent+`" AllowCreate="false"`))
		refused("no name yet; by default none may be made", nameIDPolicy(`Format="`+saml.NameIDPersistent+`"`))
		if n := h.count(`SELECT count(*) FROM name_ids`); n != 0 {
			t.Fatalf("%d names were made although none may be", n)
		}
		persistent := func(h *house, b *browser, change ...func(*samltest.Request)) string {
			t.Helper()
			got, err := h.ask(b, change...)
			h.ok(err)
			if got.NameIDFormat != saml.NameIDPersistent || len(got.NameID) < 20 || strings.Contains(got.NameID, string(ann.ID)) {
				t.Errorf("persistent: %q in %q", got.NameID, got.NameIDFormat)
			}
			for _, part := range []string{`NameQualifier="` + h.jira.SAML.IDPEntityID + `"`, `SPNameQualifier="` + h.jira.SAML.SPEntityID + `"`} {
				if !strings.Contains(string(got.xml), part) {
					t.Errorf("%s is missing", part)
				}
			}
			return got.NameID
		}
		ask := func(r *samltest.Request) { r.NameIDFormat = saml.NameIDPersistent }
		first := persistent(h, b, ask)
		for name, again := range map[string]string{
			"again":                 persistent(h, b, ask),
			"none need be made now": persistent(h, b, nameIDPolicy(`Format="`+saml.NameIDPersistent+`" AllowCreate="0"`)),
			"in another browser":    persistent(h, h.browser().signIn(ann), ask),
			"in its own name space": persistent(h, b, nameIDPolicy(`Format="`+saml.NameIDPersistent+`" SPNameQualifier="`+h.jira.SAML.SPEntityID+`"`)),
			"by name, at the answer": persistent(h, b, func(r *samltest.Request) {
				subjectIs(saml.NameIDPersistent, first)(r)
				r.NameIDFormat = saml.NameIDPersistent
			}),
		} {
			if again != first {
				t.Errorf("%s: %q, at first %q", name, again, first)
			}
		}
		if x := persistent(h, bobs, ask); x == first {
			t.Error("two people have one name")
		}
		if x := persistent(other, b, ask); x == first {
			t.Error("two applications know a person by one name")
		}
		// It outlives the person, so that nobody else ever gets it.
		h.ok(h.dir.DeleteUser(t.Context(), admin, bob.ID))
		if n := h.count(`SELECT count(*) FROM name_ids`); n != 3 {
			t.Errorf("%d names are kept, want 3", n)
		}

		// Configured as the format, it is also that of sign-on from the portal, where nobody forbids to make one.
		h.settings(func(s *app.SAMLSettings) {
			s.Mapping.NameID = &catalog.NameIDOverride{Source: &catalog.Source{Attribute: "email"}, Format: saml.NameIDPersistent}
		})
		carl := h.person("carl", h.everyone)
		got := h.receive(h.browser().signIn(carl).get("/launch/"+string(h.jira.ID)), "")
		if got.NameIDFormat != saml.NameIDPersistent || strings.Contains(got.NameID, "@") {
			t.Errorf("the connector's own source was taken for a persistent name: %q", got.NameID)
		}
		refused("an e-mail address of whom a persistent name is sent", func(r *samltest.Request) { r.NameIDFormat = saml.NameIDEmailAddress })

		// An administrator may choose what it is made of.
		for name, c := range map[string]struct {
			source catalog.Source
			want   string
		}{
			"attribute":  {catalog.Source{Attribute: "id"}, string(ann.ID)},
			"expression": {catalog.Source{Expression: `user.username + "-" + user.familyName.lowerAscii()`}, "ann-example"},
		} {
			h.settings(func(s *app.SAMLSettings) {
				s.Mapping.NameID = &catalog.NameIDOverride{Source: &c.source, Format: saml.NameIDPersistent}
			})
			if got, err := h.ask(b, ask); err != nil || got.NameID != c.want || got.NameIDFormat != saml.NameIDPersistent {
				t.Errorf("%s: %q in %q, %v", name, got.NameID, got.NameIDFormat, err)
			}
		}
		// An application that takes only one format is sent no other.
		if got, err := home.ask(b, ask); err != nil || len(got.Status) != 2 || got.Status[1] != saml.StatusInvalidNameIDPolicy {
			t.Errorf("Atlassian Cloud was sent %q, %v", got.NameIDFormat, err)
		}
	})
}

// Of two first sign-ons at the same time, on two replicas, one makes the name and both send it.
func TestPersistentNameIsMadeOnce(t *testing.T) {
	two(t, func(t *testing.T, a, b *house) {
		here := a.custom("Wiki", "https://wiki.example/sp")
		there := *b
		there.jira, there.sp = here.jira, here.sp
		for _, who := range []string{"ann", "bob", "carl"} {
			u := a.person(who, a.everyone)
			const visits = 8
			names := make([]string, visits)
			errs := make([]error, visits)
			var wg sync.WaitGroup
			for i := range visits {
				h := []*house{here, &there}[i%2]
				br := (&browser{h: h, web: h.web}).signIn(u)
				wg.Go(func() {
					got, err := h.ask(br, func(r *samltest.Request) { r.NameIDFormat = saml.NameIDPersistent })
					names[i], errs[i] = got.NameID, err
				})
			}
			wg.Wait()
			for i := range visits {
				if errs[i] != nil || names[i] == "" || names[i] != names[0] {
					t.Fatalf("visit %d got %q, the first one %q, %v", i, names[i], names[0], errs[i])
				}
			}
		}
		if n := a.count(`SELECT count(*) FROM name_ids`); n != 3 {
			t.Errorf("%d names for 3 people", n)
		}
	})
}

// The person asked for must be the one who is signed in. Whoever isn't is told, may become the other one, or goes back.
func TestAnotherPersonIsAskedFor(t *testing.T) {
	each(t, func(t *testing.T, home *house) {
		h := home.custom("Wiki", "https://wiki.example/sp")
		ann, bob := h.person("ann", h.everyone), h.person("bob", h.everyone)
		b := h.browser().signIn(ann)
		lasting, err := h.ask(b, func(r *samltest.Request) { r.NameIDFormat = saml.NameIDPersistent })
		h.ok(err)
		brief, err := h.ask(b, func(r *samltest.Request) { r.NameIDFormat = saml.NameIDTransient })
		h.ok(err)
		for name, c := range map[string]func(*samltest.Request){
			"e-mail address":                    subjectIs(saml.NameIDEmailAddress, "Ann@Example.org"),
			"no format":                         subjectIs("", "ann@example.org"),
			"persistent":                        subjectIs(saml.NameIDPersistent, lasting.NameID),
			"transient name of this session":    subjectIs(saml.NameIDTransient, brief.NameID),
			"persistent, of no declared format": subjectIs(saml.NameIDUnspecified, lasting.NameID),
		} {
			if got, err := h.ask(b, c); err != nil || got.NameID != "ann@example.org" {
				t.Errorf("%s: %q, %v", name, got.NameID, err)
			}
		}
		bobs := h.browser().signIn(bob)
		lastingBob, err := h.ask(bobs, func(r *samltest.Request) { r.NameIDFormat = saml.NameIDPersistent })
		h.ok(err)
		for name, c := range map[string]func(*samltest.Request){
			"e-mail address":    subjectIs(saml.NameIDEmailAddress, "bob@example.org"),
			"persistent":        subjectIs(saml.NameIDPersistent, lastingBob.NameID),
			"foreign transient": subjectIs(saml.NameIDTransient, "_1234"),
		} {
			id, xml := h.request(c)
			w := b.get(h.ssoPath() + "?" + samltest.RedirectQuery(xml, "state"))
			page := w.Body.String()
			if w.Code != http.StatusConflict || strings.Contains(page, "SAMLResponse") || !strings.Contains(page, "Use another account") {
				t.Fatalf("%s: %d %s", name, w.Code, text(page))
			}
			webtest.Check(t, w.Body.Bytes())
			_, rest, _ := strings.Cut(page, `href="/signin?flow=`)
			token, _, _ := strings.Cut(rest, "&amp;")
			// Going back tells the application, once.
			back := idp.ResumePath + "?flow=" + token + "&give_up=1"
			if !strings.Contains(page, strings.ReplaceAll(back, "&", "&amp;")) {
				t.Fatalf("%s: no way back on the page: %s", name, page)
			}
			got, err := h.tryReceive(b.get(back), id)
			if err != nil || len(got.Status) != 2 || got.Status[1] != saml.StatusUnknownPrincipal || got.relayState != "state" {
				t.Errorf("%s: %v, %v", name, got.Status, err)
			}
			if w := b.get(back); w.Code != http.StatusGone {
				t.Errorf("%s: the way back works twice: %d", name, w.Code)
			}
		}
		// Signing in as the other one gives the answer that was asked for.
		id, xml := h.request(subjectIs(saml.NameIDEmailAddress, "bob@example.org"))
		page := b.get(h.ssoPath() + "?" + samltest.RedirectQuery(xml, "")).Body.String()
		_, rest, _ := strings.Cut(page, `href="/signin?flow=`)
		token, _, _ := strings.Cut(rest, "&amp;")
		if f, err := h.authn.Flow(t.Context(), token); err != nil || f.Login() != "bob@example.org" {
			t.Errorf("the sign-in page is told %q, %v", f.Login(), err)
		}
		if got := h.receive(b.signIn(bob).get(idp.ResumePath+"?flow="+token), id); got.NameID != "bob@example.org" {
			t.Errorf("answered about %s", got.NameID)
		}
	})
}

// factors makes a browser's session rest on other proofs than sign-in gives at present.
func (b *browser) factors(list string) *browser {
	b.h.t.Helper()
	s, err := b.h.authn.Session(b.h.t.Context(), b.cookie)
	b.h.ok(err)
	b.h.ok(b.h.db.Update(b.h.t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE sessions SET factors = $1 WHERE id = $2`, list, s.ID)
		return err
	}))
	return b
}

// The class that is stated is one that the session's proofs earn, and the wish decides by its comparison. Where signing in
// anew may give what is asked for the person signs in, else the application is told.
func TestRequestedAuthnContext(t *testing.T) {
	const (
		pw, ppt = saml.AuthnContextPassword, saml.AuthnContextPasswordProtectedTransport
		mfa     = saml.AuthnContextREFEDSMFA
		foreign = "urn:oasis:names:tc:SAML:2.0:ac:classes:X509"
		one     = `[{"method":"pwd","at":"2026-11-25T12:00:00Z"}]`
		both    = `[{"method":"pwd","at":"2026-11-25T12:00:00Z"},{"method":"otp","at":"2026-11-25T12:00:01Z"}]`
		onlyOTP = `[{"method":"otp","at":"2026-11-25T12:00:00Z"}]`
		twice   = `[{"method":"pwd","at":"2026-11-25T12:00:00Z"},{"method":"pwd","at":"2026-11-25T12:00:01Z"}]`
	)
	const none, again = "none", "again" // instead of a class: NoAuthnContext, and sign in
	each(t, func(t *testing.T, h *house) {
		ann := h.person("ann", h.everyone)
		h.clock.pass(time.Second)
		for name, c := range map[string]struct {
			factors, comparison string
			classes             []string
			want                string
		}{
			"no wish":                        {one, "", nil, ppt},
			"no wish, two factors":           {both, "", nil, mfa},
			"no wish, one factor twice":      {twice, "", nil, ppt},
			"no wish, nothing known":         {onlyOTP, "", nil, saml.AuthnContextUnspecified},
			"unspecified":                    {one, "exact", []string{saml.AuthnContextUnspecified}, ppt},
			"exact":                          {one, "", []string{pw}, pw},
			"exact, said":                    {one, "exact", []string{ppt}, ppt},
			"exact, of several":              {one, "exact", []string{foreign, pw}, pw},
			"exact, stronger":                {one, "exact", []string{mfa}, none},
			"exact, two factors":             {both, "exact", []string{mfa}, mfa},
			"exact, weaker than what is had": {both, "exact", []string{pw}, pw},
			"exact, unknown":                 {both, "exact", []string{foreign}, none},
			"exact, password is missing":     {onlyOTP, "exact", []string{ppt}, again},
			"minimum":                        {one, "minimum", []string{pw}, pw},
			"minimum, stronger":              {one, "minimum", []string{mfa}, none},
			"minimum, had":                   {both, "minimum", []string{mfa}, mfa},
			"minimum, password is missing":   {onlyOTP, "minimum", []string{pw}, again},
			"minimum, unknown":               {both, "minimum", []string{foreign}, none},
			"maximum":                        {one, "maximum", []string{mfa}, ppt},
			"maximum, password is missing":   {onlyOTP, "maximum", []string{mfa}, again},
			"better":                         {one, "better", []string{pw}, ppt},
			"better than all":                {one, "better", []string{ppt}, none},
			"better, two factors":            {both, "better", []string{ppt}, mfa},
			"better than the best":           {both, "better", []string{mfa}, none},
		} {
			t.Run(name, func(t *testing.T) {
				b := h.browser().signIn(ann).factors(c.factors)
				h.clock.pass(time.Second)
				id, xml := h.request(func(r *samltest.Request) { r.AuthnContexts, r.Comparison = c.classes, c.comparison })
				w := b.get(h.ssoPath() + "?" + samltest.RedirectQuery(xml, ""))
				if c.want == again {
					flow := flowOf(t, w)
					h.clock.pass(time.Second)
					// Who doesn't prove it is asked again; who does gets on.
					resume := idp.ResumePath + "?flow=" + url.QueryEscape(flow)
					if flowOf(t, b.get(resume)) != flow {
						t.Error("another flow")
					}
					if got := h.receive(b.signIn(ann).get(resume), id); got.AuthnContext != ppt && got.AuthnContext != c.classes[0] {
						t.Errorf("class %s", got.AuthnContext)
					}
					return
				}
				got, err := h.tryReceive(w, id)
				h.ok(err)
				if c.want == none {
					if d := cmp.Diff([]string{"urn:oasis:names:tc:SAML:2.0:status:Responder", saml.StatusNoAuthnContext}, got.Status); d != "" {
						t.Error(d)
					}
				} else if got.AuthnContext != c.want {
					t.Errorf("class %q, want %q", got.AuthnContext, c.want)
				}
			})
		}
		// Nobody is sent to sign in for something that signing in can't give, and nothing is shown where nothing may be.
		_, xml := h.request(func(r *samltest.Request) { r.AuthnContexts = []string{mfa} })
		if got, err := h.tryReceiveStatus(h.browser().get(h.ssoPath() + "?" + samltest.RedirectQuery(xml, ""))); err != nil || got.Status[1] != saml.StatusNoAuthnContext {
			t.Errorf("without a session: %v, %v", got.Status, err)
		}
		_, xml = h.request(func(r *samltest.Request) { r.AuthnContexts, r.IsPassive = []string{pw}, "true" })
		if got, err := h.tryReceiveStatus(h.browser().signIn(ann).factors(onlyOTP).get(h.ssoPath() + "?" + samltest.RedirectQuery(xml, ""))); err != nil || got.Status[1] != saml.StatusNoPassive {
			t.Errorf("passively: %v, %v", got.Status, err)
		}
	})
}

// The ways of signing in are told as an attribute only where the mapping asks for it.
func TestAuthnMethodsAsAttribute(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t)).custom("Wiki", "https://wiki.example/sp")
	const amr = "http://schemas.microsoft.com/claims/authnmethodsreferences"
	b := h.browser().signIn(h.person("ann", h.everyone))
	got, err := h.ask(b)
	if _, sent := got.Attributes[amr]; err != nil || sent || strings.Contains(string(got.xml), ">pwd<") {
		t.Errorf("%v, %v", got.Attributes, err)
	}
	h.settings(func(s *app.SAMLSettings) {
		s.Mapping.Rows = []catalog.RowOverride{{Target: amr, Source: &catalog.Source{Attribute: "authnMethods"}}}
	})
	got, err = h.ask(b)
	if d := cmp.Diff([]string{"pwd"}, got.Attributes[amr]); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	got, err = h.ask(b.factors(`[{"method":"pwd","at":"2026-11-25T12:00:00Z"},{"method":"otp","at":"2026-11-25T12:00:01Z"}]`))
	if d := cmp.Diff([]string{"pwd", "otp"}, got.Attributes[amr]); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
}

// Where a password goes over the wire in the clear, no protected transport is claimed.
func TestNoProtectedTransportWithoutHTTPS(t *testing.T) {
	for url, want := range map[string]string{
		"http://id.example.org": saml.AuthnContextPassword, "http://127.0.0.1:8080": saml.AuthnContextPasswordProtectedTransport,
		"http://localhost:8080": saml.AuthnContextPasswordProtectedTransport, "http://[::1]:8080": saml.AuthnContextPasswordProtectedTransport,
	} {
		h := replicaAt(t, storetest.SQLite(t), newClock(), idp.Limits{}, url).furnish()
		b := h.browser().signIn(h.person("ann", h.everyone))
		if got := h.receive(b.get("/launch/"+string(h.jira.ID)), ""); got.AuthnContext != want {
			t.Errorf("%s: %s", url, got.AuthnContext)
		}
	}
}
