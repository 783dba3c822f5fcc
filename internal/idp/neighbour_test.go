package idp_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/idp"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

// Missing audience (GO-2026-5391): whatever begins a sign-on, the answer is for exactly one service provider, and no
// other one takes it.
func TestNeighbour_MissingAudience(t *testing.T) {
	home := newHouse(t, storetest.SQLite(t))
	wiki, shop := home.custom("Wiki", "https://wiki.example/sp"), home.custom("Shop", "https://shop.example/sp")
	b := home.browser().signIn(home.person("ann", home.everyone))
	for name, begin := range map[string]func(h *house) (received, error){
		"request by Redirect": func(h *house) (received, error) { return h.ask(b) },
		"request by POST": func(h *house) (received, error) {
			id, xml := h.request()
			return h.tryReceive(b.get(redirected(t, b.post(h.ssoPath(), samltest.PostBody(xml, "")))), id)
		},
		"tile": func(h *house) (received, error) { return h.tryReceive(b.get("/launch/"+string(h.jira.ID)), "") },
	} {
		for _, sign := range []struct{ assertion, response bool }{{true, false}, {false, true}, {true, true}} {
			wiki.settings(func(s *app.SAMLSettings) { s.SignAssertion, s.SignResponse = sign.assertion, sign.response })
			got, err := begin(wiki)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			xml := string(got.xml)
			if strings.Count(xml, "<saml:AudienceRestriction>") != 1 || strings.Count(xml, "<saml:Audience>") != 1 ||
				!strings.Contains(xml, "<saml:Audience>https://wiki.example/sp</saml:Audience>") {
				t.Errorf("%s, signed %v: %s", name, sign, xml)
			}
			// The other service provider has the same ACS, and even takes our certificate for Wiki: the audience alone keeps it out.
			inResponseTo := ""
			if _, after, ok := strings.Cut(xml, ` InResponseTo="`); ok {
				inResponseTo, _, _ = strings.Cut(after, `"`)
			}
			if _, err := shop.sp.Receive(saml.EncodePost(got.xml), wiki.jira.SAML.IDPEntityID, wiki.certificate(), inResponseTo, home.clock.now()); err == nil || !strings.Contains(strings.ToLower(err.Error()), "audience") {
				t.Errorf("%s: another service provider takes it: %v", name, err)
			}
		}
	}
}

// A flow that isn't bound to its application (GO-2026-5768): a flow's token leads to the application that it was begun
// for and to no other, once, and is of no use in somebody else's browser but to that person.
func TestNeighbour_FlowBinding(t *testing.T) {
	home := newHouse(t, storetest.SQLite(t))
	wiki := home.custom("Wiki", "https://wiki.example/sp")
	wiki.sp.ACS = "https://wiki.example/acs"
	wiki.settings(func(s *app.SAMLSettings) { s.ACS = []app.ACS{{URL: wiki.sp.ACS}} })
	ann, bob := home.person("ann", home.everyone), home.person("bob", home.everyone)
	begin := func(h *house, change ...func(*samltest.Request)) (id, flow string) {
		id, xml := h.request(change...)
		return id, flowOf(t, home.browser().get(h.ssoPath()+"?"+samltest.RedirectQuery(xml, "")))
	}
	resume := func(flow string) string { return idp.ResumePath + "?flow=" + url.QueryEscape(flow) }

	t.Run("nothing in the address changes the application", func(t *testing.T) {
		for _, more := range []string{
			"&application=" + string(home.jira.ID), "&applicationId=" + string(home.jira.ID), "&slug=" + home.jira.Slug,
			"&RelayState=https://evil.example", "&SAMLRequest=x", "&acs=" + url.QueryEscape(acsURL), "&flow=other",
		} {
			id, flow := begin(wiki)
			got := wiki.receive(home.browser().signIn(ann).get(resume(flow)+more), id) // goes to Wiki's ACS, for Wiki
			if got.relayState != "" {
				t.Errorf("%s: RelayState %q", more, got.relayState)
			}
		}
	})
	t.Run("it opens no other door", func(t *testing.T) {
		_, flow := begin(wiki)
		b := home.browser().signIn(ann)
		for _, path := range []string{home.ssoPath() + "?flow=", "/launch/" + string(home.jira.ID) + "?flow=", "/launch/" + flow + "?x=", "/saml2/" + flow + "?x="} {
			if w := b.get(path + url.QueryEscape(flow)); strings.Contains(w.Body.String(), "wiki.example") {
				t.Errorf("%s: %d leads to Wiki", path, w.Code)
			}
		}
	})
	t.Run("a flow of another kind", func(t *testing.T) {
		var flow string
		home.ok(home.db.Update(t.Context(), func(tx *store.Tx) (err error) {
			flow, err = authn.StartFlow(tx, home.clock.now(), "oidc", map[string]any{
				"returnTo": idp.ResumePath, "application": "Wiki", "applicationId": string(wiki.jira.ID),
			}, time.Hour)
			return err
		}))
		if w := home.browser().signIn(ann).get(resume(flow)); w.Code != http.StatusGone || strings.Contains(w.Body.String(), "SAMLResponse") {
			t.Errorf("%d %s", w.Code, text(w.Body.String()))
		}
	})
	t.Run("in another browser it is about whom that browser knows, once", func(t *testing.T) {
		id, flow := begin(wiki)
		// Who isn't signed in is asked to.
		if got := flowOf(t, home.browser().get(resume(flow))); got != flow {
			t.Error("another flow")
		}
		if got := wiki.receive(home.browser().signIn(bob).get(resume(flow)), id); got.NameID != "bob@example.org" {
			t.Errorf("NameID %q", got.NameID)
		}
		if w := home.browser().signIn(ann).get(resume(flow)); w.Code != http.StatusGone || strings.Contains(w.Body.String(), "SAMLResponse") {
			t.Errorf("used twice: %d", w.Code)
		}
	})
	t.Run("a demanded proof is that browser's own", func(t *testing.T) {
		old := home.browser().signIn(bob)
		home.clock.pass(time.Minute)
		id, flow := begin(wiki, func(r *samltest.Request) { r.ForceAuthn = "true" })
		home.clock.pass(time.Second)
		fresh := home.browser().signIn(ann) // somebody proves who they are: that proves nothing of Bob
		if got := flowOf(t, old.get(resume(flow))); got != flow {
			t.Error("another flow")
		}
		if got := wiki.receive(fresh.get(resume(flow)), id); got.NameID != "ann@example.org" {
			t.Errorf("NameID %q", got.NameID)
		}
	})
	t.Run("the service provider is another one in the same application", func(t *testing.T) {
		_, flow := begin(wiki)
		wiki.settings(func(s *app.SAMLSettings) { s.SPEntityID = "https://other.example/sp" })
		if w := home.browser().signIn(ann).get(resume(flow)); strings.Contains(w.Body.String(), "SAMLResponse") {
			t.Errorf("who asked isn't registered any more, and is answered: %d", w.Code)
		}
		wiki.settings(func(s *app.SAMLSettings) { s.SPEntityID = "https://wiki.example/sp" })
	})
	t.Run("the application is another one under the same address", func(t *testing.T) {
		_, flow := begin(wiki)
		slug := wiki.jira.Slug
		home.ok(home.apps.Delete(t.Context(), admin, wiki.jira.ID, "Wiki"))
		again := home.custom("Wiki", "https://wiki.example/sp")
		if again.jira.Slug != slug {
			t.Logf("the address isn't given again: %s", again.jira.Slug)
		}
		if w := home.browser().signIn(ann).get(resume(flow)); w.Code != http.StatusNotFound || strings.Contains(w.Body.String(), "SAMLResponse") {
			t.Errorf("%d %s", w.Code, text(w.Body.String()))
		}
	})
}

// Recycled identifiers (GO-2026-5197): whoever is created with a deleted person's name and address is somebody else
// everywhere. Nothing that belonged to the other one is theirs.
func TestNeighbour_RecycledIdentifiers(t *testing.T) {
	each(t, func(t *testing.T, home *house) {
		ctx := t.Context()
		h := home.custom("Wiki", "https://wiki.example/sp")
		persistent := func(r *samltest.Request) { r.NameIDFormat = saml.NameIDPersistent }
		old := home.person("ann", home.everyone)
		_, err := home.dir.SetRole(ctx, access.SystemActor(""), old.ID, access.Administrator)
		h.ok(err)
		b := home.browser().signIn(old)
		before, err := h.ask(b, persistent)
		h.ok(err)
		link, err := home.authn.NewLink(ctx, access.SystemActor(""), old.ID, authn.Reset, time.Hour)
		h.ok(err)
		_, xml := h.request()
		flow := flowOf(t, home.browser().get(h.ssoPath()+"?"+samltest.RedirectQuery(xml, "")))

		h.ok(home.dir.DeleteUser(ctx, access.SystemActor(""), old.ID))
		if n := home.count(`SELECT count(*) FROM saml_sessions`); n != 0 {
			t.Errorf("%d sessions at service providers are left", n)
		}
		again, err := home.dir.CreateUser(ctx, admin, directory.NewUser{Attributes: old.Attributes, State: directory.Active})
		h.ok(err)
		if again.ID == old.ID {
			t.Fatal("the identifier is given again")
		}
		if again.Role != access.None || again.PasswordStatus == directory.PasswordCurrent {
			t.Errorf("role %q, password %s", again.Role, again.PasswordStatus)
		}
		if groups, err := home.dir.GroupsOf(ctx, admin, again.ID); err != nil || len(groups) > 0 {
			t.Errorf("groups %v, %v", groups, err)
		}
		if _, err := home.authn.Session(ctx, b.cookie); !problem.Is(err, problem.Unauthenticated) {
			t.Errorf("the old session: %v", err)
		}
		if _, err := home.authn.Link(ctx, link.Reveal()); !problem.Is(err, problem.NotFound) {
			t.Errorf("the old link: %v", err)
		}
		if _, _, err := home.authn.SignIn(ctx, authn.Attempt{Login: old.Email, Password: password, Origin: authn.Origin{Address: "192.0.2.7"}}); !problem.Is(err, problem.Unauthenticated) {
			t.Errorf("the old password: %v", err)
		}
		if w := b.get(idp.ResumePath + "?flow=" + url.QueryEscape(flow)); strings.Contains(w.Body.String(), "SAMLResponse") {
			t.Error("the old browser gets an answer")
		}
		h.ok(home.authn.SetPassword(ctx, access.SystemActor(""), again.ID, password, false))
		b2 := home.browser().signIn(again)
		if w := b2.get("/launch/" + string(h.jira.ID)); w.Code != http.StatusForbidden {
			t.Errorf("access of the other one: %d", w.Code)
		}
		_, err = home.dir.AddMembers(ctx, admin, home.everyone, []directory.UserID{again.ID})
		h.ok(err)
		after, err := h.ask(b2, persistent)
		h.ok(err)
		if after.NameID == "" || after.NameID == before.NameID {
			t.Errorf("persistent name %q, before %q", after.NameID, before.NameID)
		}
		// The same holds for a group: one of the same name has neither members nor applications.
		h.ok(home.dir.DeleteGroup(ctx, admin, home.everyone))
		g, err := home.dir.CreateGroup(ctx, admin, directory.NewGroup{GroupAttributes: directory.GroupAttributes{Name: "Everybody"}, Members: []directory.UserID{again.ID}})
		h.ok(err)
		if g.ID == home.everyone {
			t.Error("the group's identifier is given again")
		}
		if w := b2.get("/launch/" + string(h.jira.ID)); w.Code != http.StatusForbidden {
			t.Errorf("access by a group of the same name: %d", w.Code)
		}
	})
}
