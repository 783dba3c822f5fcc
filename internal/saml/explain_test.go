package saml_test

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
)

// sample is a message and what we know of its sender; broken is the first rule that it breaks, "" if none.
type sample struct {
	name   string
	broken string
	in     saml.Incoming
	sp     saml.ServiceProvider
	idp    saml.IdentityProvider
}

// samples break each rule of each kind of message.
func samples(t testing.TB) []sample {
	t.Helper()
	fake, sp, idp := leaving()
	idp.EntityID = idpEntityID
	stranger := atlassian()
	stranger.KeyPair = samltest.Other()
	query := func(xml string) saml.Incoming { return readRedirect(t, fake.SignedRedirectQuery(xml, "relay")) }
	logout := func(query string) saml.Incoming {
		in, err := saml.ReadLogoutRedirect(query)
		if err != nil {
			t.Fatal(err)
		}
		return in
	}
	authn := func(change func(*samltest.Request)) string {
		r := fake.Request(ssoURL, noon)
		if change != nil {
			change(&r)
		}
		return r.XML()
	}
	request := func(change func(*samltest.LogoutRequest)) saml.Incoming {
		r := fake.LogoutRequest(sloURL, somebody(), noon)
		if change != nil {
			change(&r)
		}
		return logout(fake.SignedRedirectQuery(r.XML(), "relay"))
	}
	response := func(change func(*samltest.LogoutResponse)) saml.Incoming {
		r := fake.LogoutResponse(sloURL, "_ours", noon)
		if change != nil {
			change(&r)
		}
		return logout(fake.SignedRedirectQuery(r.XML(), "relay"))
	}
	noID := func(xml string) string { return strings.Replace(xml, ` ID="`, ` Id="`, 1) }
	noTime := func(xml string) string { return strings.Replace(xml, ` IssueInstant="`, ` x="`, 1) }
	plainRequest := fake.LogoutRequest(sloURL, somebody(), noon).XML()
	plainResponse := fake.LogoutResponse(sloURL, "_ours", noon).XML()
	must := func(sp saml.ServiceProvider) saml.ServiceProvider { sp.RequireSignedRequests = true; return sp }
	another := func(sp saml.ServiceProvider) saml.ServiceProvider { sp.EntityID = "https://other.example/"; return sp }
	nowhere := func(sp saml.ServiceProvider) saml.ServiceProvider { sp.SLO = nil; return sp }
	out := []sample{
		{"request", "", query(authn(nil)), sp, idp},
		{"request, with everything", "", query(authn(func(r *samltest.Request) {
			r.NameIDFormat, r.AuthnContexts, r.ACSIndex = saml.NameIDPersistent, []string{saml.AuthnContextREFEDSMFA}, "1"
			r.Children = `<saml:Conditions xmlns:saml="` + saml.NSAssertion + `"/><samlp:Scoping ProxyCount="0"/>`
			r.Attributes = ` AttributeConsumingServiceIndex="0"`
		})), sp, idp},
		{"request, unsigned", "", readRedirect(t, samltest.RedirectQuery(authn(nil), "")), sp, idp},
		{"request, unsigned but must be", "signature", readRedirect(t, samltest.RedirectQuery(authn(nil), "")), must(sp), idp},
		{"request, badly signed", "signature", readRedirect(t, stranger.SignedRedirectQuery(authn(nil), "")), sp, idp},
		{"request, badly signed, post", "signature", readPost(t, samltest.PostBody(stranger.Sign(authn(nil)), "")), sp, idp},
		{"request, XML signature by redirect", "signature_form", readRedirect(t, samltest.RedirectQuery(fake.Sign(authn(nil)), "")), sp, idp},
		{"request of another", "issuer", query(authn(nil)), another(sp), idp},
		{"request of another, badly signed", "issuer", readRedirect(t, stranger.SignedRedirectQuery(authn(nil), "")), another(sp), idp},
		{"request with an odd child", "content", query(authn(func(r *samltest.Request) { r.Children = "<samlp:Oops/>" })), sp, idp},
		{"request with two policies", "content", query(authn(func(r *samltest.Request) { r.Children = "<samlp:NameIDPolicy/><samlp:NameIDPolicy/>" })), sp, idp},
		{"request without ID", "id", query(noID(authn(nil))), sp, idp},
		{"request without time", "issue_instant", query(noTime(authn(nil))), sp, idp},
		{"request with an odd value", "values", query(authn(func(r *samltest.Request) { r.ForceAuthn = "yes" })), sp, idp},
		{"request for elsewhere", "destination", query(authn(func(r *samltest.Request) { r.Destination = spACS })), sp, idp},
		{"request from the future", "clock", query(authn(func(r *samltest.Request) { r.IssueInstant = noon.Add(time.Hour) })), sp, idp},
		{"request, old", "fresh", query(authn(func(r *samltest.Request) { r.IssueInstant = noon.Add(-time.Hour) })), sp, idp},
		{"request, ACS not registered", "acs", query(authn(func(r *samltest.Request) { r.ACSURL = "https://evil.example/" })), sp, idp},
		{"request of SAML 1", "version", query(authn(func(r *samltest.Request) { r.Attributes = ` Version="1.1"` })), sp, idp},
		{"request for artifact", "response_binding", query(authn(func(r *samltest.Request) { r.ProtocolBinding = "urn:x" })), sp, idp},
		{"request for a format", "name_id_format", query(authn(func(r *samltest.Request) { r.NameIDFormat = saml.NameIDTransient })), sp, idp},
		{"request for another's name", "name_id_qualifier", query(authn(func(r *samltest.Request) {
			r.Children = `<samlp:NameIDPolicy SPNameQualifier="urn:x:y"/>`
		})), sp, idp},
		{"request for nobody", "subject", query(authn(func(r *samltest.Request) {
			r.Children = `<saml:Subject xmlns:saml="` + saml.NSAssertion + `"/>`
		})), sp, idp},
		{"request for a context", "authn_context", query(authn(func(r *samltest.Request) { r.AuthnContexts = []string{"urn:x"} })), sp, idp},

		{"logout", "", request(nil), sp, idp},
		{"logout, nowhere to answer", "", request(nil), nowhere(sp), idp},
		{"logout, unsigned", "signature", logout(samltest.RedirectQuery(plainRequest, "")), sp, idp},
		{"logout, badly signed", "signature", logout(stranger.SignedRedirectQuery(plainRequest, "")), sp, idp},
		{"logout, XML signature by redirect", "signature_form", logout(fake.SignedRedirectQuery(fake.Sign(plainRequest), "")), sp, idp},
		{"logout of another", "issuer", request(nil), another(sp), idp},
		{"logout of another, badly signed", "issuer", logout(stranger.SignedRedirectQuery(plainRequest, "")), another(sp), idp},
		{"logout with an odd child", "content", request(func(r *samltest.LogoutRequest) { r.Children = "<samlp:Oops/>" }), sp, idp},
		{"logout without ID", "id", logout(fake.SignedRedirectQuery(noID(plainRequest), "")), sp, idp},
		{"logout without time", "issue_instant", logout(fake.SignedRedirectQuery(noTime(plainRequest), "")), sp, idp},
		{"logout without name", "values", request(func(r *samltest.LogoutRequest) { r.NameID = "" }), sp, idp},
		{"logout for elsewhere", "destination", request(func(r *samltest.LogoutRequest) { r.Destination = ssoURL }), sp, idp},
		{"logout without Destination", "destination", request(func(r *samltest.LogoutRequest) { r.Destination = "" }), sp, idp},
		{"logout from the future", "clock", request(func(r *samltest.LogoutRequest) { r.IssueInstant = noon.Add(time.Hour) }), sp, idp},
		{"logout, old", "fresh", request(func(r *samltest.LogoutRequest) { r.IssueInstant = noon.Add(-time.Hour) }), sp, idp},
		{"logout, over", "not_on_or_after", request(func(r *samltest.LogoutRequest) { r.NotOnOrAfter = noon.Add(-time.Hour) }), sp, idp},
		{"logout of SAML 1", "version", request(func(r *samltest.LogoutRequest) { r.Attributes = ` Version="1.1"` }), sp, idp},
		{"logout of an encrypted name", "name_id", request(func(r *samltest.LogoutRequest) { r.NameID, r.Children = "", "<saml:EncryptedID/>" }), sp, idp},

		{"logout answer", "", response(nil), sp, idp},
		{"logout answer, unsigned", "signature", logout(samltest.RedirectQuery(plainResponse, "")), sp, idp},
		{"logout answer, XML signature by redirect", "signature_form", logout(fake.SignedRedirectQuery(fake.Sign(plainResponse), "")), sp, idp},
		{"logout answer of another", "issuer", response(nil), another(sp), idp},
		{"logout answer of another, badly signed", "issuer", logout(stranger.SignedRedirectQuery(plainResponse, "")), another(sp), idp},
		{"logout answer with an odd child", "content", response(func(r *samltest.LogoutResponse) { r.Children = "<samlp:Oops/>" }), sp, idp},
		{"logout answer without ID", "id", logout(fake.SignedRedirectQuery(noID(plainResponse), "")), sp, idp},
		{"logout answer without time", "issue_instant", logout(fake.SignedRedirectQuery(noTime(plainResponse), "")), sp, idp},
		{"logout answer to nothing", "in_response_to", response(func(r *samltest.LogoutResponse) { r.InResponseTo = "" }), sp, idp},
		{"logout answer for elsewhere", "destination", response(func(r *samltest.LogoutResponse) { r.Destination = ssoURL }), sp, idp},
		{"logout answer from the future", "clock", response(func(r *samltest.LogoutResponse) { r.IssueInstant = noon.Add(time.Hour) }), sp, idp},
		{"logout answer, old", "fresh", response(func(r *samltest.LogoutResponse) { r.IssueInstant = noon.Add(-time.Hour) }), sp, idp},
		{"logout answer of SAML 1", "version", response(func(r *samltest.LogoutResponse) { r.Attributes = ` Version="1.1"` }), sp, idp},
		{"logout answer without status", "status", response(func(r *samltest.LogoutResponse) { r.Status = nil }), sp, idp},
	}
	return append(out, answers(t)...)
}

// check is the check of a message's kind.
func check(in saml.Incoming, sp saml.ServiceProvider, idp saml.IdentityProvider) error {
	var err error
	switch in.Message() {
	case "LogoutRequest":
		_, err = saml.CheckLogoutRequest(in, sp, idp, noon)
	case "LogoutResponse":
		_, err = saml.CheckLogoutResponse(in, sp, idp, noon)
	default:
		_, err = saml.Check(in, sp, idp, noon)
	}
	return err
}

// firstFailure is the name of the first check that fails; "" if none does.
func firstFailure(findings []saml.Finding) string {
	for _, f := range findings {
		if f.Verdict == saml.Fail {
			return f.Check
		}
	}
	return ""
}

// TestExplain: the findings about each sample, and that they agree with the check.
func TestExplain(t *testing.T) {
	covered := map[string]bool{}
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			findings := saml.Explain(s.in, s.sp, s.idp, noon)
			covered[s.in.Message()+" "+s.broken] = true
			if got := firstFailure(findings); got != s.broken {
				t.Errorf("the first that fails is %q, want %q", got, s.broken)
			}
			if s.in.Message() != "Response" {
				if err := check(s.in, s.sp, s.idp); (err == nil) != (s.broken == "") {
					t.Errorf("the check says %v", err)
				}
			}
			names := map[string]bool{}
			for _, f := range findings {
				if names[f.Check] {
					t.Errorf("%s comes twice", f.Check)
				}
				names[f.Check] = true
				if f.Check == "" || f.Text == "" || f.Rule == "" || !strings.HasPrefix(f.Source, "saml-") || !strings.Contains(f.Source, "§") {
					t.Errorf("something is missing: %+v", f)
				}
				if !strings.HasSuffix(f.Text, ".") {
					t.Errorf("no sentence: %q", f.Text)
				}
				if strings.Contains(f.Text, "ada@") {
					t.Errorf("it names the person: %q", f.Text)
				}
				switch f.Verdict {
				case saml.Pass, saml.Fail, saml.Warn, saml.Skip:
				default:
					t.Errorf("verdict %q", f.Verdict)
				}
			}
			text, err := json.MarshalIndent(findings, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			if s.broken == "" || s.broken == "signature" {
				golden(t, "explain-"+strings.NewReplacer(" ", "-", ",", "").Replace(s.name)+".json", unstable(text, s.in))
			}
		})
	}
	for _, kind := range []string{"AuthnRequest", "LogoutRequest", "LogoutResponse", "Response"} {
		for _, name := range saml.RuleNames(kind) {
			if !covered[kind+" "+name] && !slices.Contains([]string{"message", "signed_issuer", "reply"}, name) {
				t.Errorf("no sample breaks %s of %s", name, kind)
			}
		}
	}
}

// unstable replaces what is random in a message's findings.
func unstable(text []byte, in saml.Incoming) []byte {
	_, after, _ := strings.Cut(string(in.XML()), ` ID="`)
	id, _, _ := strings.Cut(after, `"`)
	s := strings.ReplaceAll(string(text), id, "_id")
	return []byte(s + "\n")
}

// TestEveryRuleMatters takes away one rule after the other and looks whether the samples notice.
func TestEveryRuleMatters(t *testing.T) {
	all := samples(t)
	for _, kind := range []string{"AuthnRequest", "LogoutRequest", "LogoutResponse", "Response"} {
		for _, name := range saml.RuleNames(kind) {
			t.Run(kind+"/"+name, func(t *testing.T) {
				for _, s := range all {
					if s.in.Message() != kind {
						continue
					}
					want, wantErr := saml.JudgeWithout(s.in, s.sp, s.idp, noon, "")
					got, gotErr := saml.JudgeWithout(s.in, s.sp, s.idp, noon, name)
					if (wantErr == nil) != (gotErr == nil) || wantErr != nil && wantErr.Reason != gotErr.Reason || !reflect.DeepEqual(want, got) {
						return
					}
				}
				// What guards the door of a kind is shown by TestLogoutDoors.
				if name != "message" {
					t.Error("nobody would notice if this rule were gone")
				}
			})
		}
	}
}

// TestExplainUnreadable: one finding says why nothing could be read.
func TestExplainUnreadable(t *testing.T) {
	xml := atlassian().Request(ssoURL, noon).XML()
	for name, test := range map[string]struct {
		query string
		want  string
	}{
		"nothing":       {"", "No SAML message."},
		"twice":         {"a=1&a=2", `Parameter "a" twice.`},
		"not base64":    {"SAMLRequest=*", "Not base64."},
		"not deflated":  {"SAMLRequest=" + url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(xml))), "Not DEFLATE"},
		"DOCTYPE":       {samltest.RedirectQuery("<!DOCTYPE x>"+xml, ""), "DOCTYPE"},
		"cut":           {samltest.RedirectQuery(xml[:200], ""), "byte 200"},
		"too long":      {strings.Repeat("a", 50<<10), "A query of 51200 bytes"},
		"other message": {samltest.RedirectQuery(strings.ReplaceAll(xml, "AuthnRequest", "ArtifactResolve"), ""), "holds a ArtifactResolve"},
		"bidi and bell": {samltest.RedirectQuery(strings.Replace(xml, "ID=", "\u202ea=", 1), ""), "byte"},
	} {
		t.Run(name, func(t *testing.T) {
			in, err := saml.ReadRedirect(test.query)
			if err == nil {
				t.Fatal("it was read")
			}
			got := saml.Explain(in, registered(), ourselves(), noon)
			if len(got) != 1 || got[0].Check != "message" || got[0].Verdict != saml.Fail || !strings.Contains(strings.ToLower(got[0].Text), strings.ToLower(test.want)) {
				t.Errorf("%+v", got)
			}
			_, again := saml.Check(in, registered(), ourselves(), noon)
			if again == nil || again.Error() != err.Error() {
				t.Errorf("the check says %v instead of %v", again, err)
			}
		})
	}
}

// answers are samples of responses.
func answers(t testing.TB) []sample {
	t.Helper()
	k := signer(t, 0)
	sp, idp := registered(), ourselves()
	idp.EntityID, idp.Certificates = idpEntityID, samltest.Certificates(samltest.IdP(), samltest.IdPNext())
	encrypting := sp
	encrypting.Encryption = atlassian().Recipient()
	write := func(what saml.Sign, change func(*saml.Response)) string {
		r := response()
		if change != nil {
			change(r)
		}
		out, err := saml.AppendResponse(nil, r, k, what)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	status, err := saml.AppendStatus(nil, &saml.StatusResponse{
		ID: "_r1", IssueInstant: noon, Issuer: idpEntityID, Destination: spACS, InResponseTo: "_q1",
		Status: saml.Status{Code: saml.StatusResponder, SubCode: saml.StatusNoPassive},
	}, k)
	if err != nil {
		t.Fatal(err)
	}
	read := func(xml string) saml.Incoming {
		in, err := saml.ReadPasted(xml)
		if err != nil {
			t.Fatal(err)
		}
		return in
	}
	preview, err := saml.PreviewResponse(response())
	if err != nil {
		t.Fatal(err)
	}
	unsigned := string(preview)
	blind := idp
	blind.Certificates = nil
	old := idp
	old.Certificates = samltest.Certificates(samltest.IdPNext(), samltest.IdP())
	stranger := idp
	stranger.Certificates = samltest.Certificates(samltest.Other())
	edit := func(from, to string) saml.Incoming {
		x := strings.Replace(unsigned, from, to, 1)
		if x == unsigned {
			t.Fatalf("%q changes nothing", from)
		}
		return read(x)
	}
	assertion := func(x string) string {
		_, within, _ := between(x, "<saml:Assertion ", "</saml:Assertion>")
		return "<saml:Assertion " + within + "</saml:Assertion>"
	}
	return []sample{
		{"answer", "", read(write(saml.SignAssertion, nil)), sp, idp},
		{"answer, response signed", "", read(write(saml.SignResponse, nil)), sp, idp},
		{"answer, both signed", "", read(write(saml.SignBoth, nil)), sp, idp},
		{"answer, encrypted", "", read(write(saml.SignBoth, func(r *saml.Response) { r.Encrypt = encrypting.Encryption })), encrypting, idp},
		{"answer, not encrypted", "", read(write(saml.SignAssertion, nil)), encrypting, idp},
		{"answer, not asked for", "", read(write(saml.SignAssertion, func(r *saml.Response) { r.InResponseTo = "" })), sp, idp},
		{"answer, failure", "", read(string(status)), sp, idp},
		{"answer, preview", "", read(unsigned), sp, blind},
		{"answer, by the old certificate", "", read(write(saml.SignAssertion, nil)), sp, old},
		{"answer, nothing signed", "signed", read(unsigned), sp, idp},
		{"answer, changed", "assertion_signature", read(strings.Replace(write(saml.SignAssertion, nil), "Lovelace", "Loveless", 1)), sp, idp},
		{"answer, response changed", "response_signature", read(strings.Replace(write(saml.SignResponse, nil), "Lovelace", "Loveless", 1)), sp, idp},
		{"answer, by an unknown certificate", "response_signature", read(write(saml.SignBoth, nil)), sp, stranger},
		{"answer, odd child", "content", edit("<samlp:Status>", "<samlp:Oops/><samlp:Status>"), sp, blind},
		{"answer, no ID", "id", edit(` ID="_r1"`, ` Id="_r1"`), sp, blind},
		{"answer, no time", "issue_instant", edit(` IssueInstant="`, ` x="`), sp, blind},
		{"answer, version", "version", edit(` Version="2.0"`, ` Version="1.1"`), sp, blind},
		{"answer, another issuer", "issuer", edit(idpEntityID+"</saml:Issuer><saml:Subject>", "https://evil.example/</saml:Issuer><saml:Subject>"), sp, blind},
		{"answer, for elsewhere", "destination", edit(` Destination="https://auth.`, ` Destination="https://evil.`), sp, blind},
		{"answer, wholly for elsewhere", "destination", read(write(saml.SignAssertion, func(r *saml.Response) { r.Destination = "https://evil.example/" })), sp, idp},
		{"answer, to no ID", "in_response_to", edit(` InResponseTo="_q1"`, ` InResponseTo="9 9"`), sp, blind},
		{"answer, no status", "status", edit(` Value="`+saml.StatusSuccess+`"`, ""), sp, blind},
		{"answer, assertion beside failure", "status", edit(saml.StatusSuccess, saml.StatusResponder), sp, blind},
		{"answer, no assertion", "status", edit(assertion(unsigned), ""), sp, blind},
		{"answer, two assertions", "status", edit(assertion(unsigned), assertion(unsigned)+assertion(unsigned)), sp, blind},
		{"answer, nobody", "subject", edit(">ada@example.com<", "><"), sp, blind},
		{"answer, no bearer", "confirmation", edit("cm:bearer", "cm:holder-of-key"), sp, blind},
		{"answer, other recipient", "confirmation", edit(` Recipient="`, ` Recipient="x`), sp, blind},
		{"answer, confirmation of another request", "confirmation", edit(`ConfirmationData InResponseTo="_q1"`, `ConfirmationData InResponseTo="_q2"`), sp, blind},
		{"answer, NotBefore on the bearer", "confirmation", edit(`ConfirmationData `, `ConfirmationData NotBefore="2026-03-14T11:00:00Z" `), sp, blind},
		{"answer, bearer without end", "confirmation", edit(` NotOnOrAfter="2026-03-14T12:05:00.000Z" Recipient`, ` Recipient`), sp, blind},
		{"answer, over", "conditions", edit(`<saml:Conditions NotBefore="2026-03-14T11:59:00.000Z" NotOnOrAfter="2026-03-14T12:05`, `<saml:Conditions NotBefore="2026-03-14T11:59:00.000Z" NotOnOrAfter="2026-03-14T11:05`), sp, blind},
		{"answer, early", "conditions", edit(`NotBefore="2026-03-14T11:59`, `NotBefore="2026-03-14T12:04`), sp, blind},
		{"answer, another audience", "audience", edit(`<saml:Audience>https`, `<saml:Audience>http`), sp, blind},
		{"answer, no AuthnStatement", "authn_statement", edit(` AuthnInstant="`, ` x="`), sp, blind},
		{"answer, session over", "authn_statement", edit(` SessionNotOnOrAfter="2026-03-14T20`, ` SessionNotOnOrAfter="2026-03-14T10`), sp, blind},
		{"answer, nameless attribute", "attributes", edit(` Name="department"`, ""), sp, blind},
	}
}

// TestPastedIsNeverAnswered: what was read to be explained passes no check.
func TestPastedIsNeverAnswered(t *testing.T) {
	fake, sp, idp := leaving()
	for name, xml := range map[string]string{
		"AuthnRequest":   fake.Sign(fake.Request(ssoURL, noon).XML()),
		"LogoutRequest":  fake.Sign(fake.LogoutRequest(sloURL, somebody(), noon).XML()),
		"LogoutResponse": fake.Sign(fake.LogoutResponse(sloURL, "_ours", noon).XML()),
	} {
		in, err := saml.ReadPasted(xml)
		if err != nil {
			t.Fatal(err)
		}
		if got := firstFailure(saml.Explain(in, sp, idp, noon)); got != "" {
			t.Errorf("%s: %s fails", name, got)
		}
		refused(t, check(in, sp, idp), saml.Malformed)
	}
}

func TestReadPasted(t *testing.T) {
	fake, sp, idp := leaving()
	xml := fake.Request(ssoURL, noon).XML()
	encoded := base64.StdEncoding.EncodeToString([]byte(xml))
	query := fake.SignedRedirectQuery(xml, "relay")
	value, _, _ := strings.Cut(strings.TrimPrefix(samltest.RedirectQuery(xml, ""), "SAMLRequest="), "&")
	deflated, err := url.QueryUnescape(value)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := saml.AppendResponse(nil, response(), signer(t, 0), saml.SignAssertion)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, pasted      string
		message, binding  string // "" means that it can't be read
		relayState, wrong string // wrong: the first check that fails
	}{
		{"XML", xml, "AuthnRequest", saml.BindingHTTPPost, "", ""},
		{"XML with a declaration and space", "\ufeff \n<?xml version=\"1.0\"?>\n" + xml + "\n ", "AuthnRequest", saml.BindingHTTPPost, "", ""},
		{"URL", ssoURL + "?" + query, "AuthnRequest", saml.BindingHTTPRedirect, "relay", ""},
		{"URL with own query", ssoURL + "?x=1&" + query + "#frag", "AuthnRequest", saml.BindingHTTPRedirect, "relay", ""},
		{"query", query, "AuthnRequest", saml.BindingHTTPRedirect, "relay", ""},
		{"query with a mark", "?" + query, "AuthnRequest", saml.BindingHTTPRedirect, "relay", ""},
		{"form", samltest.PostBody(xml, "relay"), "AuthnRequest", saml.BindingHTTPPost, "relay", ""},
		{"base64", encoded, "AuthnRequest", saml.BindingHTTPPost, "", ""},
		{"base64 in lines", encoded[:70] + "\r\n  " + encoded[70:], "AuthnRequest", saml.BindingHTTPPost, "", ""},
		{"base64, percent-encoded", url.QueryEscape(encoded), "AuthnRequest", saml.BindingHTTPPost, "", ""},
		{"deflated base64", deflated, "AuthnRequest", saml.BindingHTTPRedirect, "", ""},
		{"deflated base64, percent-encoded", value, "AuthnRequest", saml.BindingHTTPRedirect, "", ""},
		{"answer in a form", url.Values{"SAMLResponse": {saml.EncodePost(answer)}, "RelayState": {"r"}}.Encode(), "Response", saml.BindingHTTPPost, "r", ""},
		{"answer in base64", saml.EncodePost(answer), "Response", saml.BindingHTTPPost, "", ""},
		{"changed query", strings.Replace(ssoURL+"?"+query, "relay", "evil", 1), "AuthnRequest", saml.BindingHTTPRedirect, "evil", "signature"},
		{"nothing", " \n", "", saml.BindingHTTPPost, "", ""},
		{"words", "hello, world", "", saml.BindingHTTPPost, "", ""},
		{"base64 of nothing known", "aGVsbG8=", "", saml.BindingHTTPRedirect, "", ""},
		{"web page", "<html><body></body></html>", "", saml.BindingHTTPPost, "", ""},
		{"web page with DOCTYPE", "<!DOCTYPE html><html>", "", saml.BindingHTTPPost, "", ""},
		{"URL without message", "https://x.example/?SAMLRequest=", "", saml.BindingHTTPRedirect, "", ""},
		{"too much", strings.Repeat("a", 300<<10), "", saml.BindingHTTPPost, "", ""},
		{"bomb", bombQuery(t), "", saml.BindingHTTPRedirect, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			in, err := saml.ReadPasted(test.pasted)
			if in.Message() != test.message || in.Binding() != test.binding || in.RelayState() != test.relayState || (err == nil) != (test.message != "") {
				t.Fatalf("read %q %q %q, %v", in.Message(), in.Binding(), in.RelayState(), err)
			}
			findings := saml.Explain(in, sp, idp, noon)
			if err != nil {
				if len(findings) != 1 || findings[0].Verdict != saml.Fail {
					t.Errorf("%+v", findings)
				}
				return
			}
			if got := firstFailure(findings); got != test.wrong {
				t.Errorf("%q fails", got)
			}
		})
	}
}

// bombQuery is a message that inflates to megabytes.
func bombQuery(t testing.TB) string {
	t.Helper()
	return samltest.RedirectQuery("<a>"+strings.Repeat(" ", 8<<20)+"</a>", "")
}

// TestExplainResponse: the XML of an answer, as it is stored or pasted.
func TestExplainResponse(t *testing.T) {
	sp, idp := registered(), ourselves()
	idp.EntityID, idp.Certificates = idpEntityID, samltest.Certificates(samltest.IdP())
	answer, err := saml.AppendResponse(nil, response(), signer(t, 0), saml.SignBoth)
	if err != nil {
		t.Fatal(err)
	}
	if got := firstFailure(saml.ExplainResponse(answer, sp, idp, noon)); got != "" {
		t.Errorf("%s fails", got)
	}
	late := saml.ExplainResponse(answer, sp, idp, noon.Add(time.Hour))
	if got := firstFailure(late); got != "confirmation" {
		t.Errorf("an hour later %q fails", got)
	}
	for name, xml := range map[string]string{
		"nothing": "", "no XML": "hello", "request": atlassian().Request(ssoURL, noon).XML(), "cut": string(answer[:len(answer)-5]),
	} {
		if f := saml.ExplainResponse([]byte(xml), sp, idp, noon); len(f) != 1 || f[0].Check != "message" || f[0].Verdict != saml.Fail {
			t.Errorf("%s: %+v", name, f)
		}
	}
	// By which certificate: the one of SHA-1 needs the exception here too.
	sha1, err := xmldsig.NewSignerSHA1(samltest.IdP().Key, samltest.IdP().Cert)
	if err != nil {
		t.Fatal(err)
	}
	if answer, err = saml.AppendResponse(nil, response(), sha1, saml.SignAssertion); err != nil {
		t.Fatal(err)
	}
	if got := firstFailure(saml.ExplainResponse(answer, sp, idp, noon)); got != "assertion_signature" {
		t.Errorf("SHA-1 without exception: %q fails", got)
	}
	sp.AllowSHA1 = true
	if got := firstFailure(saml.ExplainResponse(answer, sp, idp, noon)); got != "" {
		t.Errorf("SHA-1 by exception: %q fails", got)
	}
}

// TestPreview: what is shown is what would be sent, but for the signatures.
func TestPreview(t *testing.T) {
	preview, err := saml.PreviewResponse(response())
	if err != nil {
		t.Fatal(err)
	}
	signed, err := saml.AppendResponse(nil, response(), signer(t, 0), saml.SignAssertion)
	if err != nil {
		t.Fatal(err)
	}
	before, _, after := between(string(signed), "<ds:Signature ", "</ds:Signature>")
	if diff := cmp.Diff(before+after, string(preview)); diff != "" {
		t.Error(diff)
	}
	if _, err := atlassian().Receive(saml.EncodePost(preview), idpEntityID, samltest.IdP().Cert, "_q1", noon); err == nil {
		t.Error("a preview was taken for an answer")
	}
	r := response()
	r.Encrypt = atlassian().Recipient()
	encrypted, err := saml.PreviewResponse(r)
	if err != nil || string(encrypted) != string(preview) {
		t.Error("a preview of what would be encrypted can't be read")
	}
}

// TestSHA1ByException: the exception is for signatures by both bindings, and shows in the findings.
func TestSHA1ByException(t *testing.T) {
	fake, sp := atlassian(), signing()
	fake.Hash = crypto.SHA1
	xml := fake.Request(ssoURL, noon).XML()
	for name, in := range map[string]saml.Incoming{
		"redirect": readRedirect(t, fake.SignedRedirectQuery(xml, "r")),
		"post":     readPost(t, samltest.PostBody(fake.Sign(xml), "r")),
	} {
		_, err := saml.Check(in, sp, ourselves(), noon)
		refused(t, err, saml.SignatureInvalid)
		sp := sp
		sp.AllowSHA1 = true
		d, err := saml.Check(in, sp, ourselves(), noon)
		if err != nil || !d.Signed {
			t.Errorf("%s: %v", name, err)
		}
		found := false
		for _, f := range saml.Explain(in, sp, ourselves(), noon) {
			found = found || f.Check == "signature" && f.Verdict == saml.Warn && strings.Contains(f.Text, "SHA-1")
		}
		if !found {
			t.Errorf("%s: nobody is warned of SHA-1", name)
		}
	}
}

func ExampleExplain() {
	now := time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	fake := samltest.NewSP("https://sp.example.com/", "https://sp.example.com/acs")
	sp := saml.ServiceProvider{EntityID: fake.EntityID, ACS: []saml.Endpoint{{URL: "https://sp.example.com/saml/acs"}}}
	idp := saml.IdentityProvider{Endpoints: []string{"https://login.example.com/saml2/wiki"}}

	in, err := saml.ReadPasted("https://login.example.com/saml2/wiki?" + samltest.RedirectQuery(fake.Request("https://login.example.com/saml2/wiki", now).XML(), ""))
	if err != nil {
		panic(err)
	}
	for _, f := range saml.Explain(in, sp, idp, now) {
		if f.Verdict == saml.Fail {
			fmt.Printf("%s: %s\n%s (%s)\n", f.Check, f.Text, f.Rule, f.Source)
		}
	}
	// Output:
	// acs: The request names “https://sp.example.com/acs”; registered for HTTP-POST: “https://sp.example.com/saml/acs”.
	// The answer goes to an assertion consumer service that is registered for the service provider: the one named by URL or by index, else the default one. (saml-profiles §4.1.4.1, saml-core §3.4.1)
}
