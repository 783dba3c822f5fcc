package console_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/web/webtest"
)

// recorded lets the inspector write down what it has seen.
func (s *site) recorded() {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.ctx())
	cancel()
	s.must(s.idp.Run(ctx))
}

// signedIn gives somebody a session.
func (s *site) signedIn(name string) {
	s.t.Helper()
	_, token, err := s.authn.SignIn(s.ctx(), authn.Attempt{Login: name + "@example.com", Password: password, Origin: authn.Origin{Address: "192.0.2.7"}})
	s.must(err)
	s.cookies[name] = token.Reveal()
}

func TestExchanges(t *testing.T) {
	s := newSite(t)
	s.signedIn("bob")
	at := func(rest ...string) string {
		return s.appPath(s.atlassian, append([]string{"sign-on", "exchanges"}, rest...)...)
	}
	s.get("admin", at()).page().has("Nothing has come yet", "Simulate")
	s.get("bob", "/launch/"+string(s.atlassian)).status(http.StatusOK).has("SAMLResponse")
	s.get("nobody", "/launch/"+string(s.atlassian)).status(http.StatusForbidden)
	s.recorded()
	for _, as := range []string{"admin", "helpdesk", "reader"} {
		s.get(as, at()).page().has("Sign-on from the portal by", "bob@example.com", "in none of the bound groups", "Done", "Denied")
	}
	list, err := s.idp.Exchanges(s.ctx(), system, s.atlassian, "", 10)
	s.must(err)
	if len(list.Items) != 2 {
		t.Fatalf("%d exchanges", len(list.Items))
	}
	good, denied := at(list.Items[1].ID), at(list.Items[0].ID)
	s.get("reader", good).page().has("the person started from the portal", "What it was answered", "passed", "Audience", "saml-core", "Download bundle", "&lt;").
		hasNot("bob@example.com&lt;/")
	s.part("reader", good).status(http.StatusOK).has("What it was answered").hasNot("<html")
	s.get("reader", denied).page().has("was sent nothing", "in none of the bound groups", "nobody@example.com")
	file := s.get("reader", good+"/bundle.json").status(http.StatusOK)
	if d := file.Header().Get("Content-Disposition"); !strings.HasPrefix(d, `attachment; filename="sign-on-`) {
		t.Errorf("the bundle comes as %q", d)
	}
	var bundle map[string]any
	if err := json.Unmarshal(file.Body.Bytes(), &bundle); err != nil || bundle["exchange"] == nil {
		t.Errorf("the bundle: %v, %v", err, bundle)
	}
	if strings.Contains(file.text(), "bob@example.com") {
		t.Error("the bundle names the person")
	}
	// From what went wrong in the activity one gets there.
	events, err := audit.NewLog(s.db).Search(s.ctx(), system, audit.Query{Types: []audit.Type{audit.SSOAuth}, Outcome: audit.Denied})
	s.must(err)
	if len(events.Items) != 1 {
		t.Fatalf("%d events", len(events.Items))
	}
	s.get("reader", "/console/activity/"+events.Items[0].ID).page().has("The last exchanges", `href="`+at()+`"`)
	// Only of its own application; who has no role sees nothing.
	id := s.intranet()
	s.get("admin", s.appPath(id, "sign-on", "exchanges", list.Items[1].ID)).status(http.StatusNotFound)
	s.get("admin", s.appPath(id, "sign-on", "exchanges", list.Items[1].ID, "bundle.json")).status(http.StatusNotFound)
	s.get("admin", at("none")).status(http.StatusNotFound)
	s.get("nobody", good).status(http.StatusForbidden)
	s.get("admin", s.appPath(s.wiki, "sign-on", "exchanges")).status(http.StatusNotFound)
	// A person who is gone is no link.
	s.must(s.directory.DeleteUser(s.ctx(), system, s.people["bob"].ID))
	s.get("reader", good).page().has("bob@example.com").hasNot(s.userPath("bob"))
}

func TestSimulate(t *testing.T) {
	s := newSite(t)
	at := func(query string) string { return s.appPath(s.atlassian, "sign-on", "simulate") + query }
	for _, as := range []string{"admin", "helpdesk", "reader"} {
		s.get(as, at("?person=bob")).page().has("nobody is signed in by it", "Bob Example would get in", "Engineering", "bob@example.com", "E-mail address",
			s.app(s.atlassian).SAML.ACS[0].URL, "isn&#39;t signed and is dated a day back", "Response, unsigned", "Given name")
	}
	s.get("admin", at("")).page().has("Bob Example would get in")
	s.get("admin", at("?person=carol")).page().has("Carol Example would not get in", "is suspended")
	s.get("admin", at("?person=reader")).page().has("would not get in", "in none of the groups")
	s.get("admin", at("?person=no-such-person")).page().has("Nobody matches")
	s.get("nobody", at("")).status(http.StatusForbidden)
	// Whoever has no value that is needed is told so.
	_, err := s.directory.UpdateUser(s.ctx(), system, s.people["dan"].ID, 0, func(a *directory.Attributes) error { a.GivenName = ""; return nil })
	s.must(err)
	s.get("admin", at("?person=dan")).page().has("would not get in")
	// What isn't registered isn't offered.
	bad := s.get("admin", at("?person=bob&acs=https%3A%2F%2Fevil.example%2Facs")).status(http.StatusUnprocessableEntity).has("isn&#39;t registered")
	webtest.Check(t, bad.Body.Bytes())

	id := s.intranet()
	s.get("admin", s.appPath(id, "sign-on", "simulate")).page().has("Nothing can be simulated yet")
	_, err = s.apps.SaveSAML(s.ctx(), system, id, func(to *app.SAMLSettings) error {
		to.SPEntityID, to.ACS = "https://sp.example.com", []app.ACS{{URL: "https://sp.example.com/acs", Default: true}, {Index: 1, URL: "https://sp.example.com/acs2"}}
		return nil
	})
	s.must(err)
	_, err = s.apps.ActivateSAML(s.ctx(), system, id)
	s.must(err)
	q := url.Values{"person": {"bob"}, "format": {saml.NameIDPersistent}, "acs": {"https://sp.example.com/acs2"}}
	s.get("admin", s.appPath(id, "sign-on", "simulate")+"?"+q.Encode()).page().has("made at sign-on", "It is made at the first sign-on, at random, and stays", "https://sp.example.com/acs2")
}

func TestDecode(t *testing.T) {
	s := newSite(t)
	path := s.appPath(s.atlassian, "sign-on", "decode")
	s.get("reader", path).page().has("Decode a message")
	bad := s.post("reader", path, "message", " ").status(http.StatusUnprocessableEntity).has("Paste a message")
	webtest.Check(t, bad.Body.Bytes())
	bad = s.post("reader", path, "message", "%%% nothing of the kind").status(http.StatusUnprocessableEntity)
	webtest.Check(t, bad.Body.Bytes())
	const request = `<samlp:AuthnRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="_1" Version="2.0" IssueInstant="2020-01-01T00:00:00Z"><saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">https://other.example.com</saml:Issuer></samlp:AuthnRequest>`
	s.post("reader", path, "message", request).page().has("A request to sign on (AuthnRequest)", "https://other.example.com", "failed", "Failed", "Issuer.", "2020-01-01")
	s.post("nobody", path, "message", request).status(http.StatusForbidden)
	s.post("admin", s.appPath(s.intranet(), "sign-on", "decode"), "message", request).status(http.StatusConflict).has("once it is active")
	s.post("admin", s.appPath(s.wiki, "sign-on", "decode"), "message", request).status(http.StatusNotFound)
}

func TestMailSettings(t *testing.T) {
	s := newSite(t)
	const path = "/console/settings/mail"
	s.get("admin", path).page().has("Mail isn&#39;t set up", "latchkey.yaml", "LATCHKEY_MAIL_PASSWORD")
	for _, as := range []string{"helpdesk", "reader", "nobody"} {
		s.get(as, path).status(http.StatusForbidden)
		s.post(as, path+"/test", "to", "x@example.com").status(http.StatusForbidden)
		s.post(as, path+"/none/retry").status(http.StatusForbidden)
	}
	s.get("reader", "/console/settings").page().hasNot(path)
	s.follow("admin", s.post("admin", path+"/test", "to", "x@example.com")).page().has("was not sent", "No mail is set up")

	s = newSiteWith(t, true)
	s.get("admin", path).page().has("Mail is sent by smtp.example.com", `value="admin@example.com"`, "Nothing was sent yet")
	bad := s.post("admin", path+"/test", "to", "nobody").status(http.StatusUnprocessableEntity).has("Give one e-mail address")
	webtest.Check(t, bad.Body.Bytes())
	s.follow("admin", s.post("admin", path+"/test", "to", "x@example.com")).page().has("A test was sent to x@example.com", "Sent")
	if len(s.sent) != 1 || s.sent[0].To != "x@example.com" {
		t.Errorf("sent %v", s.sent)
	}
	s.mailbox = problem.New(problem.Unavailable, "The mail server doesn't answer.")
	s.follow("admin", s.post("admin", path+"/test", "to", "y@example.com")).page().has("was not sent. The mail server doesn&#39;t answer", "Failed")
	list, err := s.mail.List(s.ctx(), system, "", 10)
	s.must(err)
	s.mailbox = nil
	s.follow("admin", s.post("admin", path+"/"+list.Items[0].ID+"/retry")).page().has("sent again now")
	s.settle()
	s.get("admin", path).page().hasNot("Failed")
	s.follow("admin", s.post("admin", path+"/"+list.Items[0].ID+"/retry")).page()
	s.post("admin", path+"/none/retry").status(http.StatusNotFound)
	s.get("admin", s.appPath(s.atlassian, "sign-on")).page().has("by mail, and in the activity")
}
