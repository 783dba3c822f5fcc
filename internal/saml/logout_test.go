package saml_test

import (
	"crypto"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
)

const (
	sloURL   = "https://login.example.com/saml2/atlassiancloud/slo"
	spSLO    = "https://auth.atlassian.com/logout?tenant=7&x=a%20b"
	spSLO2   = "https://auth.atlassian.com/logout/post"
	spAnswer = "https://auth.atlassian.com/logout/done"
)

// leaving is a service provider that takes part in single logout, and what we have registered of it.
func leaving() (*samltest.SP, saml.ServiceProvider, saml.IdentityProvider) {
	fake, sp, idp := atlassian(), registered(), ourselves()
	fake.SLO, fake.SLOResponse = spSLO, spAnswer
	sp.Keys = []crypto.PublicKey{samltest.IdPNext().Cert.PublicKey, fake.Cert.PublicKey}
	sp.SLO = []saml.Endpoint{
		{Binding: "urn:oasis:names:tc:SAML:2.0:bindings:SOAP", URL: "https://auth.atlassian.com/soap"},
		{Binding: saml.BindingHTTPRedirect, URL: spSLO, ResponseLocation: spAnswer},
		{Binding: saml.BindingHTTPPost, URL: spSLO2},
	}
	idp.LogoutEndpoints = []string{sloURL}
	return fake, sp, idp
}

// somebody is whom the service provider signs out.
func somebody() samltest.Received {
	return samltest.Received{NameID: "ada@example.com", NameIDFormat: saml.NameIDEmailAddress, SessionIndex: "_s1"}
}

// ways are the two bindings, by which a signed logout message travels.
func ways(fake *samltest.SP) map[string]func(xml string) (saml.Incoming, error) {
	return map[string]func(string) (saml.Incoming, error){
		"redirect": func(xml string) (saml.Incoming, error) {
			return saml.ReadLogoutRedirect(fake.SignedRedirectQuery(xml, "relay"))
		},
		"post": func(xml string) (saml.Incoming, error) {
			return saml.ReadLogoutPost([]byte(samltest.PostBody(fake.Sign(xml), "relay")))
		},
	}
}

// TestCheckLogoutRequest sends each request by both bindings.
func TestCheckLogoutRequest(t *testing.T) {
	for _, test := range []struct {
		name    string
		request func(*samltest.LogoutRequest)
		xml     func(string) string
		sp      func(*saml.ServiceProvider)
		idp     func(*saml.IdentityProvider)

		want   saml.Reason // "": it is granted
		status saml.Status // non-zero: the service provider may be told
		text   string      // part of what the person is told
		check  func(*testing.T, saml.LogoutDecision)
	}{
		{name: "as a service provider sends it", check: func(t *testing.T, d saml.LogoutDecision) {
			want := saml.LogoutRequest{
				ID: d.Request.ID, IssueInstant: noon, Destination: sloURL, Issuer: spEntityID, NotOnOrAfter: noon.Add(5 * time.Minute),
				NameID: saml.NameID{Value: "ada@example.com", Format: saml.NameIDEmailAddress}, SessionIndexes: []string{"_s1"},
			}
			if diff := cmp.Diff(want, d.Request); diff != "" {
				t.Error(diff)
			}
			reply := spAnswer
			if d.Binding == saml.BindingHTTPPost {
				reply = spSLO2
			}
			if d.Reply.ReplyURL() != reply || d.Reply.Binding != d.Binding || d.RelayState != "relay" {
				t.Errorf("%+v", d)
			}
		}},
		{name: "all that may be there", request: func(r *samltest.LogoutRequest) {
			r.Reason, r.NameQualifier, r.SPNameQualifier, r.SessionIndexes = saml.LogoutByUser, idpEntityID, spEntityID, []string{"_a", " _b\n"}
			r.Attributes = ` Consent="urn:x"`
			r.Children = `<samlp:Extensions><x:y xmlns:x="urn:example:x">z</x:y></samlp:Extensions>`
		}, check: func(t *testing.T, d saml.LogoutDecision) {
			if d.Request.Reason != saml.LogoutByUser || d.Request.NameID.NameQualifier != idpEntityID || d.Request.NameID.SPNameQualifier != spEntityID {
				t.Errorf("%+v", d.Request)
			}
			if diff := cmp.Diff([]string{"_a", "_b"}, d.Request.SessionIndexes); diff != "" {
				t.Error(diff)
			}
		}},
		{name: "all sessions", request: func(r *samltest.LogoutRequest) { r.SessionIndexes = nil }, check: func(t *testing.T, d saml.LogoutDecision) {
			if d.Request.SessionIndexes != nil {
				t.Error(d.Request.SessionIndexes)
			}
		}},
		{name: "no end", request: func(r *samltest.LogoutRequest) { r.NotOnOrAfter = time.Time{} }},
		{name: "nowhere to answer", sp: func(sp *saml.ServiceProvider) { sp.SLO = sp.SLO[:1] }, check: func(t *testing.T, d saml.LogoutDecision) {
			if d.Reply != (saml.Endpoint{}) {
				t.Errorf("%+v", d.Reply)
			}
		}},
		{name: "only unusable addresses", sp: func(sp *saml.ServiceProvider) {
			sp.SLO = []saml.Endpoint{
				{URL: "javascript:alert(1)"},
				{URL: "http://sp.example.com/"},
				{Binding: saml.BindingHTTPRedirect, URL: spSLO, ResponseLocation: "javascript:alert(1)"},
			}
		}, check: func(t *testing.T, d saml.LogoutDecision) {
			if d.Reply != (saml.Endpoint{}) {
				t.Errorf("%+v", d.Reply)
			}
		}},
		{name: "only the other binding", sp: func(sp *saml.ServiceProvider) { sp.SLO = []saml.Endpoint{{URL: spSLO2}} }, check: func(t *testing.T, d saml.LogoutDecision) {
			if d.Reply.URL != spSLO2 {
				t.Errorf("%+v", d.Reply)
			}
		}},

		{name: "unknown issuer", request: func(r *samltest.LogoutRequest) { r.Issuer = "https://evil.example/" }, want: saml.UnknownIssuer},
		{name: "no key registered", sp: func(sp *saml.ServiceProvider) { sp.Keys = nil }, want: saml.SignatureInvalid, text: "no certificate"},
		{name: "another's key registered", sp: func(sp *saml.ServiceProvider) { sp.Keys = sp.Keys[:1] }, want: saml.SignatureInvalid},
		{name: "wrong Destination", request: func(r *samltest.LogoutRequest) { r.Destination = ssoURL }, want: saml.WrongDestination},
		{name: "no Destination", request: func(r *samltest.LogoutRequest) { r.Destination = "" }, want: saml.WrongDestination},
		{name: "no endpoint of ours", idp: func(idp *saml.IdentityProvider) { idp.LogoutEndpoints = nil }, want: saml.WrongDestination},
		{name: "slow clock, within the skew", request: func(r *samltest.LogoutRequest) { r.IssueInstant = noon.Add(-13 * time.Minute) }},
		{name: "too old", request: func(r *samltest.LogoutRequest) { r.IssueInstant = noon.Add(-13*time.Minute - time.Second) }, want: saml.Stale},
		{name: "from the future", request: func(r *samltest.LogoutRequest) { r.IssueInstant = noon.Add(3*time.Minute + time.Second) }, want: saml.FromTheFuture},
		{name: "over, within the skew", request: func(r *samltest.LogoutRequest) { r.NotOnOrAfter = noon.Add(-3*time.Minute + time.Second) }},
		{name: "over", request: func(r *samltest.LogoutRequest) { r.NotOnOrAfter = noon.Add(-3 * time.Minute) }, want: saml.Stale},
		{name: "own skew", idp: func(idp *saml.IdentityProvider) { idp.Skew = time.Second }, request: func(r *samltest.LogoutRequest) { r.NotOnOrAfter = noon.Add(-time.Second) }, want: saml.Stale},

		{name: "other version", request: func(r *samltest.LogoutRequest) { r.Attributes = ` Version="1.1"` }, want: saml.UnsupportedVersion, status: saml.Status{Code: saml.StatusVersionMismatch}},
		{name: "encrypted name", request: func(r *samltest.LogoutRequest) {
			r.NameID, r.Children = "", `<saml:EncryptedID><xenc:EncryptedData xmlns:xenc="http://www.w3.org/2001/04/xmlenc#"/></saml:EncryptedID>`
		}, want: saml.UnsupportedSubject, status: saml.Status{Code: saml.StatusRequester, SubCode: saml.StatusRequestUnsupported}, text: "turn off encryption of names"},
		{name: "BaseID", request: func(r *samltest.LogoutRequest) { r.NameID, r.Children = "", `<saml:BaseID/>` }, want: saml.UnsupportedSubject, status: saml.Status{Code: saml.StatusRequester, SubCode: saml.StatusRequestUnsupported}},
		{name: "blank name", request: func(r *samltest.LogoutRequest) { r.NameID = " \t" }, want: saml.UnsupportedSubject, status: saml.Status{Code: saml.StatusRequester, SubCode: saml.StatusRequestUnsupported}},
		{name: "other version, nowhere to answer", sp: func(sp *saml.ServiceProvider) { sp.SLO = nil }, request: func(r *samltest.LogoutRequest) { r.Attributes = ` Version="1.1"` }, want: saml.UnsupportedVersion},

		{name: "no name", request: func(r *samltest.LogoutRequest) { r.NameID = "" }, want: saml.Malformed},
		{name: "two names", request: func(r *samltest.LogoutRequest) { r.Children = `<saml:NameID>eve</saml:NameID>` }, want: saml.Malformed},
		{name: "name twice, encrypted too", request: func(r *samltest.LogoutRequest) { r.Children = `<saml:EncryptedID/>` }, want: saml.Malformed},
		{name: "element within the name", request: func(r *samltest.LogoutRequest) { r.NameID, r.Children = "", `<saml:NameID>ada<x/></saml:NameID>` }, want: saml.Malformed},
		{name: "empty SessionIndex", request: func(r *samltest.LogoutRequest) { r.SessionIndexes = []string{""} }, want: saml.Malformed},
		{name: "bad NotOnOrAfter", xml: func(x string) string { return strings.Replace(x, `NotOnOrAfter="2026-`, `NotOnOrAfter="soon-`, 1) }, want: saml.Malformed},
		{name: "no ID", xml: func(x string) string { return strings.Replace(x, ` ID="`, ` Id="`, 1) }, want: saml.Malformed},
		{name: "no IssueInstant", xml: func(x string) string { return strings.Replace(x, ` IssueInstant="`, ` x="`, 1) }, want: saml.Malformed},
		{name: "unknown child", request: func(r *samltest.LogoutRequest) { r.Children = `<samlp:NameIDPolicy/>` }, want: saml.Malformed},
	} {
		fake, sp, idp := leaving()
		for way, send := range ways(fake) {
			t.Run(test.name+"/"+way, func(t *testing.T) {
				sp, idp := sp, idp
				req := fake.LogoutRequest(sloURL, somebody(), noon)
				if test.request != nil {
					test.request(&req)
				}
				xml := req.XML()
				if test.xml != nil {
					xml = test.xml(xml)
				}
				if test.sp != nil {
					test.sp(&sp)
				}
				if test.idp != nil {
					test.idp(&idp)
				}
				in, err := send(xml)
				if err != nil {
					t.Fatal(err)
				}
				if in.Message() != "LogoutRequest" {
					t.Error(in.Message())
				}
				d, err := saml.CheckLogoutRequest(in, sp, idp, noon)
				if test.want == "" {
					if err != nil {
						t.Fatal(err)
					}
					if test.check != nil {
						test.check(t, d)
					}
					return
				}
				want := test.want
				if way == "post" && test.name == "no ID" {
					want = saml.SignatureInvalid // what has no ID can't be signed
				}
				e := refused(t, err, want)
				if diff := cmp.Diff(saml.LogoutDecision{}, d); diff != "" {
					t.Errorf("a decision beside the error: %s", diff)
				}
				if !strings.Contains(e.Text, test.text) || e.Sendable() {
					t.Errorf("%+v", e)
				}
				e.Status.Message = ""
				if e.SendableLogout() != (test.status != saml.Status{}) || e.Status != test.status {
					t.Errorf("sendable: %t, status %+v", e.SendableLogout(), e.Status)
				}
				if e.SendableLogout() && (e.Reply.InResponseTo != req.ID || e.Reply.RelayState != "relay") {
					t.Errorf("reply %+v", e.Reply)
				}
			})
		}
	}
}

func TestCheckLogoutResponse(t *testing.T) {
	for _, test := range []struct {
		name     string
		response func(*samltest.LogoutResponse)
		want     saml.Reason
		status   saml.Status
	}{
		{name: "all went well", status: saml.Status{Code: saml.StatusSuccess}},
		{name: "partial", response: func(r *samltest.LogoutResponse) {
			r.Status = []string{saml.StatusSuccess, saml.StatusPartialLogout}
		}, status: saml.Status{Code: saml.StatusSuccess, SubCode: saml.StatusPartialLogout}},
		{name: "failed, with a third level", response: func(r *samltest.LogoutResponse) {
			r.Status = []string{saml.StatusResponder, saml.StatusRequestDenied, "urn:x"}
		}, status: saml.Status{Code: saml.StatusResponder, SubCode: saml.StatusRequestDenied}},
		{name: "message", response: func(r *samltest.LogoutResponse) {
			r.Status = nil
			r.Children = `<samlp:Status><samlp:StatusCode Value="` + saml.StatusResponder + `"/><samlp:StatusMessage> no &amp; no </samlp:StatusMessage><samlp:StatusDetail><x xmlns="urn:x:y"/></samlp:StatusDetail></samlp:Status>`
		}, status: saml.Status{Code: saml.StatusResponder, Message: "no & no"}},
		{name: "unknown issuer", response: func(r *samltest.LogoutResponse) { r.Issuer = "https://evil.example/" }, want: saml.UnknownIssuer},
		{name: "no InResponseTo", response: func(r *samltest.LogoutResponse) { r.InResponseTo = "" }, want: saml.Malformed},
		{name: "InResponseTo is no ID", response: func(r *samltest.LogoutResponse) { r.InResponseTo = "9 <" }, want: saml.Malformed},
		{name: "no Status", response: func(r *samltest.LogoutResponse) { r.Status = nil }, want: saml.Malformed},
		{name: "empty Status", response: func(r *samltest.LogoutResponse) { r.Status, r.Children = nil, `<samlp:Status/>` }, want: saml.Malformed},
		{name: "code without value", response: func(r *samltest.LogoutResponse) {
			r.Status, r.Children = nil, `<samlp:Status><samlp:StatusCode/></samlp:Status>`
		}, want: saml.Malformed},
		{name: "two codes", response: func(r *samltest.LogoutResponse) {
			r.Status, r.Children = nil, `<samlp:Status>`+strings.Repeat(`<samlp:StatusCode Value="`+saml.StatusSuccess+`"/>`, 2)+`</samlp:Status>`
		}, want: saml.Malformed},
		{name: "two Statuses", response: func(r *samltest.LogoutResponse) {
			r.Children = `<samlp:Status><samlp:StatusCode Value="` + saml.StatusSuccess + `"/></samlp:Status>`
		}, want: saml.Malformed},
		{name: "wrong Destination", response: func(r *samltest.LogoutResponse) { r.Destination = spSLO }, want: saml.WrongDestination},
		{name: "no Destination", response: func(r *samltest.LogoutResponse) { r.Destination = "" }, want: saml.WrongDestination},
		{name: "too old", response: func(r *samltest.LogoutResponse) { r.IssueInstant = noon.Add(-time.Hour) }, want: saml.Stale},
		{name: "from the future", response: func(r *samltest.LogoutResponse) { r.IssueInstant = noon.Add(time.Hour) }, want: saml.FromTheFuture},
		{name: "other version", response: func(r *samltest.LogoutResponse) { r.Attributes = ` Version="1.1"` }, want: saml.UnsupportedVersion},
		{name: "assertion within", response: func(r *samltest.LogoutResponse) {
			r.Children = `<saml:Assertion xmlns:saml="` + saml.NSAssertion + `"/>`
		}, want: saml.Malformed},
	} {
		fake, sp, idp := leaving()
		for way, send := range ways(fake) {
			t.Run(test.name+"/"+way, func(t *testing.T) {
				res := fake.LogoutResponse(sloURL, "_ours", noon)
				if test.response != nil {
					test.response(&res)
				}
				in, err := send(res.XML())
				if err != nil {
					t.Fatal(err)
				}
				got, err := saml.CheckLogoutResponse(in, sp, idp, noon)
				if test.want != "" {
					if e := refused(t, err, test.want); e.Sendable() || e.SendableLogout() {
						t.Error("an answer would be answered")
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				want := saml.LogoutResponse{ID: res.ID, InResponseTo: "_ours", IssueInstant: noon, Destination: sloURL, Issuer: spEntityID, Status: test.status}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// TestLogoutDoors: each kind of message has its own door, parameter and check.
func TestLogoutDoors(t *testing.T) {
	fake, sp, idp := leaving()
	request := fake.LogoutRequest(sloURL, somebody(), noon).XML()
	response := fake.LogoutResponse(sloURL, "_ours", noon).XML()
	authn := fake.Request(ssoURL, noon).XML()
	swap := strings.NewReplacer("SAMLRequest=", "SAMLResponse=", "SAMLResponse=", "SAMLRequest=")
	for name, test := range map[string]struct {
		query string
		want  saml.Reason
	}{
		"AuthnRequest":                     {samltest.RedirectQuery(authn, ""), saml.UnexpectedMessage},
		"LogoutRequest as SAMLResponse":    {swap.Replace(samltest.RedirectQuery(request, "")), saml.UnexpectedMessage},
		"LogoutResponse as SAMLRequest":    {swap.Replace(samltest.RedirectQuery(response, "")), saml.UnexpectedMessage},
		"both":                             {samltest.RedirectQuery(request, "") + "&" + samltest.RedirectQuery(response, ""), saml.Malformed},
		"request, and an empty response":   {samltest.RedirectQuery(request, "") + "&SAMLResponse=", saml.Malformed},
		"nothing":                          {"RelayState=x", saml.Malformed},
		"answer to a sign-on":              {samltest.RedirectQuery(`<samlp:Response xmlns:samlp="`+saml.NSProtocol+`"/>`, ""), saml.UnexpectedMessage},
		"LogoutRequest of SAML 1":          {samltest.RedirectQuery(strings.Replace(request, saml.NSProtocol, "urn:oasis:names:tc:SAML:1.0:protocol", 1), ""), saml.UnexpectedMessage},
		"no Issuer":                        {samltest.RedirectQuery(strings.ReplaceAll(response, "saml:Issuer", "saml:Audience"), ""), saml.Malformed},
		"inflates to too much":             {samltest.RedirectQuery(strings.Replace(request, "</samlp", strings.Repeat(" ", 200<<10)+"</samlp", 1), ""), saml.TooLarge},
		"message of many megabytes of zip": {strings.Repeat("a", 49<<10), saml.TooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			in, err := saml.ReadLogoutRedirect(test.query)
			e := refused(t, err, test.want)
			if in.Message() != "" || in.Issuer() != "" {
				t.Error("a message beside the error")
			}
			if !strings.Contains(e.Text, "sign-out") && test.want != saml.UnexpectedMessage {
				t.Errorf("the person reads %q", e.Text)
			}
		})
	}
	t.Run("logout at the sign-on address", func(t *testing.T) {
		_, err := saml.ReadRedirect(fake.SignedRedirectQuery(request, ""))
		refused(t, err, saml.UnexpectedMessage)
		_, err = saml.ReadPost([]byte(samltest.PostBody(fake.Sign(request), "")))
		refused(t, err, saml.UnexpectedMessage)
		_, err = saml.ReadRedirect(fake.SignedRedirectQuery(response, ""))
		refused(t, err, saml.Malformed)
		_, err = saml.ReadPost([]byte(samltest.PostBody(fake.Sign(response), "")))
		refused(t, err, saml.Malformed)
	})
	t.Run("check of another kind", func(t *testing.T) {
		req, err := saml.ReadLogoutRedirect(fake.SignedRedirectQuery(request, ""))
		if err != nil {
			t.Fatal(err)
		}
		res, err := saml.ReadLogoutRedirect(fake.SignedRedirectQuery(response, ""))
		if err != nil {
			t.Fatal(err)
		}
		_, err = saml.Check(req, sp, idp, noon)
		refused(t, err, saml.UnexpectedMessage)
		_, err = saml.CheckLogoutResponse(req, sp, idp, noon)
		refused(t, err, saml.UnexpectedMessage)
		_, err = saml.CheckLogoutRequest(res, sp, idp, noon)
		refused(t, err, saml.UnexpectedMessage)
		_, err = saml.CheckLogoutRequest(readRedirect(t, fake.SignedRedirectQuery(authn, "")), sp, idp, noon)
		refused(t, err, saml.UnexpectedMessage)
		_, err = saml.CheckLogoutRequest(saml.Incoming{}, sp, idp, noon)
		refused(t, err, saml.Malformed)
		_, err = saml.CheckLogoutResponse(saml.Incoming{}, sp, idp, noon)
		refused(t, err, saml.Malformed)
	})
}

// TestWriteLogout writes logout messages, and has them judged by the golden file, the OASIS schema, xmlsec1 and a service
// provider built on other libraries, by both bindings.
func TestWriteLogout(t *testing.T) {
	fake, _, _ := leaving()
	fake.SLO, fake.SLOResponse = spSLO, spAnswer
	sha1, err := xmldsig.NewSignerSHA1(samltest.IdP().Key, samltest.IdP().Cert)
	if err != nil {
		t.Fatal(err)
	}
	request := func(change func(*saml.LogoutRequest)) func([]byte, *xmldsig.Signer) ([]byte, error) {
		r := &saml.LogoutRequest{
			ID: "_l1", IssueInstant: noon, Destination: spSLO, Issuer: idpEntityID, NotOnOrAfter: noon.Add(5 * time.Minute),
			NameID:         saml.NameID{Value: "ada@example.com", Format: saml.NameIDEmailAddress},
			SessionIndexes: []string{"_s1"},
		}
		if change != nil {
			change(r)
		}
		return func(dst []byte, k *xmldsig.Signer) ([]byte, error) { return saml.AppendLogoutRequest(dst, r, k) }
	}
	response := func(status saml.Status) func([]byte, *xmldsig.Signer) ([]byte, error) {
		r := &saml.LogoutResponse{ID: "_l2", InResponseTo: "_q1", IssueInstant: noon, Destination: spAnswer, Issuer: idpEntityID, Status: status}
		return func(dst []byte, k *xmldsig.Signer) ([]byte, error) { return saml.AppendLogoutResponse(dst, r, k) }
	}
	for _, test := range []struct {
		name      string
		write     func([]byte, *xmldsig.Signer) ([]byte, error)
		location  string
		parameter string
		k         *xmldsig.Signer
		want      samltest.Logout
	}{
		{"request", request(nil), spSLO, saml.ParameterRequest, signer(t, 0), samltest.Logout{
			Kind: "LogoutRequest", ID: "_l1", IssueInstant: noon, NotOnOrAfter: noon.Add(5 * time.Minute),
			NameID: "ada@example.com", NameIDFormat: saml.NameIDEmailAddress, SessionIndexes: []string{"_s1"},
		}},
		{"request-full", request(func(r *saml.LogoutRequest) {
			r.NotOnOrAfter, r.Reason = time.Time{}, saml.LogoutByAdmin
			r.NameID = saml.NameID{Value: `o'neil&"<sons>"`, Format: saml.NameIDPersistent, NameQualifier: idpEntityID, SPNameQualifier: spEntityID}
			r.SessionIndexes = []string{"_s1", "_s2 & <3>"}
		}), spSLO, saml.ParameterRequest, signer(t, crypto.SHA512), samltest.Logout{
			Kind: "LogoutRequest", ID: "_l1", IssueInstant: noon, Reason: saml.LogoutByAdmin,
			NameID: `o'neil&"<sons>"`, NameIDFormat: saml.NameIDPersistent, NameQualifier: idpEntityID, SPNameQualifier: spEntityID,
			SessionIndexes: []string{"_s1", "_s2 & <3>"},
		}},
		{"request-sha1", request(nil), spSLO, saml.ParameterRequest, sha1, samltest.Logout{
			Kind: "LogoutRequest", ID: "_l1", IssueInstant: noon, NotOnOrAfter: noon.Add(5 * time.Minute),
			NameID: "ada@example.com", NameIDFormat: saml.NameIDEmailAddress, SessionIndexes: []string{"_s1"},
		}},
		{"response", response(saml.Status{Code: saml.StatusSuccess}), spAnswer, saml.ParameterResponse, signer(t, 0), samltest.Logout{
			Kind: "LogoutResponse", ID: "_l2", InResponseTo: "_q1", IssueInstant: noon, Status: []string{saml.StatusSuccess},
		}},
		{"response-partial", response(saml.Status{Code: saml.StatusSuccess, SubCode: saml.StatusPartialLogout, Message: "One of <2> & no more"}), spAnswer, saml.ParameterResponse, signer(t, 0), samltest.Logout{
			Kind: "LogoutResponse", ID: "_l2", InResponseTo: "_q1", IssueInstant: noon, Status: []string{saml.StatusSuccess, saml.StatusPartialLogout}, Message: "One of <2> & no more",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			fake.AllowSHA1 = test.k == sha1
			signed, err := test.write([]byte("kept"), test.k)
			if err != nil {
				t.Fatal(err)
			}
			text, ok := strings.CutPrefix(string(signed), "kept")
			if !ok {
				t.Fatal("what stood in the buffer is gone")
			}
			golden(t, "logout-"+test.name+".xml", []byte(text))
			if err := samltest.XMLSec(t.Context(), []byte(text), test.k.Certificate(), 1); err != nil {
				t.Error(err)
			}
			if err := samltest.Validate(t.Context(), []byte(text), samltest.SchemaProtocol); err != nil {
				t.Error(err)
			}
			form := url.Values{test.parameter: {saml.EncodePost([]byte(text))}, "RelayState": {"r s"}}
			test.want.Issuer, test.want.RelayState = idpEntityID, "r s"
			got, err := fake.ReceiveLogoutPost(form, idpEntityID, test.k.Certificate(), noon)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}

			plain, err := test.write(nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := samltest.Validate(t.Context(), plain, samltest.SchemaProtocol); err != nil {
				t.Error(err)
			}
			to, err := saml.RedirectURL(test.location, test.parameter, plain, "r s", test.k)
			if err != nil {
				t.Fatal(err)
			}
			query, ok := strings.CutPrefix(to, test.location)
			if !ok || query[0] != "?&"[strings.Count(test.location, "?")] {
				t.Fatalf("the location is not kept: %s", to)
			}
			if got, err = fake.ReceiveLogoutRedirect(query[1:], idpEntityID, test.k.Certificate(), noon); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if _, err := fake.ReceiveLogoutRedirect(strings.Replace(query[1:], "RelayState=r+s", "RelayState=evil", 1), idpEntityID, test.k.Certificate(), noon); err == nil {
				t.Error("RelayState is not covered by the signature")
			}
		})
	}
}

// TestOwnLogout: what we write we can read, as another server of ours would.
func TestOwnLogout(t *testing.T) {
	k := signer(t, 0)
	peer := saml.ServiceProvider{EntityID: idpEntityID, Keys: []crypto.PublicKey{k.Certificate().PublicKey}, SLO: []saml.Endpoint{{URL: sloURL}}}
	self := saml.IdentityProvider{LogoutEndpoints: []string{spSLO2}}
	want := saml.LogoutRequest{
		ID: "_l1", IssueInstant: noon, Destination: spSLO2, Issuer: idpEntityID, NotOnOrAfter: noon.Add(time.Minute),
		Reason: saml.LogoutByAdmin, NameID: saml.NameID{Value: "x y", Format: saml.NameIDTransient}, SessionIndexes: []string{"_a", "_b"},
	}
	xml, err := saml.AppendLogoutRequest(nil, &want, k)
	if err != nil {
		t.Fatal(err)
	}
	in, err := saml.ReadLogoutPost([]byte(url.Values{"SAMLRequest": {saml.EncodePost(xml)}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	got, err := saml.CheckLogoutRequest(in, peer, self, noon)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.Request); diff != "" {
		t.Error(diff)
	}
}

func TestWriteLogoutRefused(t *testing.T) {
	good := saml.LogoutRequest{ID: "_l1", IssueInstant: noon, Destination: spSLO, Issuer: idpEntityID, NameID: saml.NameID{Value: "ada"}}
	for name, change := range map[string]func(*saml.LogoutRequest){
		"no issuer":         func(r *saml.LogoutRequest) { r.Issuer = "" },
		"no name":           func(r *saml.LogoutRequest) { r.NameID.Value = "" },
		"no ID":             func(r *saml.LogoutRequest) { r.ID = "" },
		"no time":           func(r *saml.LogoutRequest) { r.IssueInstant = time.Time{} },
		"no destination":    func(r *saml.LogoutRequest) { r.Destination = "" },
		"javascript":        func(r *saml.LogoutRequest) { r.Destination = "javascript:alert(1)" },
		"plain http":        func(r *saml.LogoutRequest) { r.Destination = "http://sp.example.com/" },
		"control character": func(r *saml.LogoutRequest) { r.SessionIndexes = []string{"\x00"} },
		"not UTF-8":         func(r *saml.LogoutRequest) { r.NameID.Format = "\xff" },
	} {
		for _, k := range []*xmldsig.Signer{nil, signer(t, 0)} {
			r := good
			change(&r)
			if out, err := saml.AppendLogoutRequest(nil, &r, k); err == nil || out != nil {
				t.Errorf("%s: %s", name, out)
			}
		}
	}
	fine := saml.LogoutResponse{ID: "_l1", IssueInstant: noon, Destination: spSLO, Issuer: idpEntityID, InResponseTo: "_q", Status: saml.Status{Code: saml.StatusSuccess}}
	for name, change := range map[string]func(*saml.LogoutResponse){
		"no issuer":    func(r *saml.LogoutResponse) { r.Issuer = "" },
		"no status":    func(r *saml.LogoutResponse) { r.Status = saml.Status{} },
		"no ID":        func(r *saml.LogoutResponse) { r.ID = "" },
		"InResponseTo": func(r *saml.LogoutResponse) { r.InResponseTo = "a b" },
		"javascript":   func(r *saml.LogoutResponse) { r.Destination = "javascript:alert(1)" },
		"bad message":  func(r *saml.LogoutResponse) { r.Status.Message = "\x01" },
	} {
		for _, k := range []*xmldsig.Signer{nil, signer(t, 0)} {
			r := fine
			change(&r)
			if out, err := saml.AppendLogoutResponse(nil, &r, k); err == nil || out != nil {
				t.Errorf("%s: %s", name, out)
			}
		}
	}
}

func TestRedirectURL(t *testing.T) {
	xml := []byte(`<a/>`)
	signed := []byte(atlassian().Sign(atlassian().Request(ssoURL, noon).XML()))
	for _, test := range []struct {
		name, location, parameter string
		xml                       []byte
		relayState                string
		prefix                    string // of the URL; "" means that it is refused
	}{
		{"plain", "https://sp.example.com/slo", "SAMLRequest", xml, "", "https://sp.example.com/slo?SAMLRequest="},
		{"own query", spSLO, "SAMLResponse", xml, "", spSLO + "&SAMLResponse="},
		{"empty query", "https://sp.example.com/slo?", "SAMLRequest", xml, "", "https://sp.example.com/slo?SAMLRequest="},
		{"loopback", "http://127.0.0.1:8080/slo", "SAMLRequest", xml, "", "http://127.0.0.1:8080/slo?SAMLRequest="},
		{"javascript", "javascript:alert(1)", "SAMLRequest", xml, "", ""},
		{"plain http", "http://sp.example.com/slo", "SAMLRequest", xml, "", ""},
		{"no location", "", "SAMLRequest", xml, "", ""},
		{"another parameter", "https://sp.example.com/slo", "RelayState", xml, "", ""},
		{"own query has ours", "https://sp.example.com/slo?RelayState=x", "SAMLRequest", xml, "", ""},
		{"own query has ours, encoded", "https://sp.example.com/slo?Relay%53tate=x", "SAMLRequest", xml, "", ""},
		{"nothing to send", "https://sp.example.com/slo", "SAMLRequest", nil, "", ""},
		{"too much to send", "https://sp.example.com/slo", "SAMLRequest", make([]byte, 200<<10), "", ""},
		{"signed already", "https://sp.example.com/slo", "SAMLRequest", signed, "", ""},
		{"long RelayState", "https://sp.example.com/slo", "SAMLRequest", xml, strings.Repeat("r", 9<<10), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := saml.RedirectURL(test.location, test.parameter, test.xml, test.relayState, nil)
			if (err == nil) != (test.prefix != "") || !strings.HasPrefix(got, test.prefix) || err != nil && got != "" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestNameIDMatches(t *testing.T) {
	given := saml.NameID{Value: "x7", Format: saml.NameIDPersistent, NameQualifier: idpEntityID, SPNameQualifier: spEntityID}
	for _, test := range []struct {
		name        string
		given, sent saml.NameID
		want        bool
	}{
		{"the same", given, given, true},
		{"qualifiers left out", given, saml.NameID{Value: "x7", Format: saml.NameIDPersistent}, true},
		{"all left out", given, saml.NameID{Value: "x7"}, true},
		{"another value", given, saml.NameID{Value: "x8", Format: saml.NameIDPersistent}, false},
		{"other case", given, saml.NameID{Value: "X7", Format: saml.NameIDPersistent}, false},
		{"another format", given, saml.NameID{Value: "x7", Format: saml.NameIDTransient}, false},
		{"another qualifier", given, saml.NameID{Value: "x7", NameQualifier: "https://other.example/"}, false},
		{"another SP's qualifier", given, saml.NameID{Value: "x7", SPNameQualifier: "https://other.example/"}, false},
		{"given without format", saml.NameID{Value: "x7"}, saml.NameID{Value: "x7", Format: saml.NameIDUnspecified}, true},
		{"given without qualifier", saml.NameID{Value: "x7"}, saml.NameID{Value: "x7", NameQualifier: idpEntityID}, true},
		{"empty", saml.NameID{}, saml.NameID{}, true},
	} {
		if got := test.given.Matches(test.sent); got != test.want {
			t.Errorf("%s: %t", test.name, got)
		}
	}
}
