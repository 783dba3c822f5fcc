package samltest_test

import (
	"crypto/rsa"
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
)

var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

const (
	idp = "https://login.example.com/"
	acs = "https://sp.example.com/acs?a=1&b=2"
)

func write(t *testing.T, sign saml.Sign, change func(*saml.Response)) string {
	t.Helper()
	pair := samltest.IdP()
	k, err := xmldsig.NewSigner(pair.Key, pair.Cert, 0)
	if err != nil {
		t.Fatal(err)
	}
	r := &saml.Response{
		ID: "_r", AssertionID: "_a", IssueInstant: noon, Issuer: idp, Destination: acs, InResponseTo: "_q",
		Audiences: []string{"https://sp.example.com/"}, Subject: saml.NameID{Value: "ada"},
		NotBefore: noon, NotOnOrAfter: noon.Add(5 * time.Minute), Authn: saml.Authn{Instant: noon},
		Attributes: []saml.Attribute{{Name: "a", Values: []string{"1"}}},
	}
	if change != nil {
		change(r)
	}
	out, err := saml.AppendResponse(nil, r, k, sign)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestReceive: the judge of our responses must itself be strict, or it proves nothing.
func TestReceive(t *testing.T) {
	sp := samltest.NewSP("https://sp.example.com/", acs)
	receive := func(xml, inResponseTo string, now time.Time) (samltest.Received, error) {
		return sp.Receive(base64.StdEncoding.EncodeToString([]byte(xml)), idp, samltest.IdP().Cert, inResponseTo, now)
	}
	good := write(t, saml.SignAssertion, nil)
	if _, err := receive(good, "_q", noon); err != nil {
		t.Fatal(err)
	}
	cut := func(xml, from, to string) string {
		i, j := strings.Index(xml, from), strings.Index(xml, to)+len(to)
		return xml[:i] + xml[j:]
	}
	for name, test := range map[string]struct {
		xml          string
		inResponseTo string
		now          time.Time
		want         string
	}{
		"not signed":              {cut(good, "<ds:Signature", "</ds:Signature>"), "_q", noon, "nothing is signed"},
		"changed":                 {strings.Replace(good, ">ada<", ">eve<", 1), "_q", noon, "signature"},
		"response changed":        {strings.Replace(write(t, saml.SignBoth, nil), ">ada<", ">eve<", 1), "_q", noon, "signature of the response"},
		"another request":         {good, "_other", noon, "InResponseTo"},
		"not asked for":           {good, "", noon, "InResponseTo"},
		"another address":         {write(t, 0, func(r *saml.Response) { r.Destination = "https://sp.example.com/acs" }), "_q", noon, "Destination"},
		"another audience":        {write(t, 0, func(r *saml.Response) { r.Audiences = []string{"urn:x", sp.EntityID} }), "_q", noon, "audience"},
		"another issuer":          {write(t, 0, func(r *saml.Response) { r.Issuer = "urn:x" }), "_q", noon, "Issuer"},
		"late":                    {good, "_q", noon.Add(9 * time.Minute), "over"},
		"early":                   {good, "_q", noon.Add(-4 * time.Minute), "not valid yet"},
		"attribute twice":         {write(t, 0, func(r *saml.Response) { r.Attributes = append(r.Attributes, r.Attributes[0]) }), "_q", noon, "twice"},
		"no response":             {"<a/>", "_q", noon, "no Response"},
		"not XML":                 {"<a", "_q", noon, "SAMLResponse"},
		"assertion beside error":  {strings.Replace(good, saml.StatusSuccess, saml.StatusResponder, 1), "_q", noon, "beside the status"},
		"two assertions":          {strings.Replace(good, "</samlp:Response>", "<saml:Assertion xmlns:saml=\"urn:x\"></saml:Assertion></samlp:Response>", 1), "_q", noon, "2 assertions"},
		"signed by somebody else": {sp.Sign(strings.Replace(cut(good, "<ds:Signature", "</ds:Signature>"), "<saml:Issuer", "<saml:Issuer", 1)), "_q", noon, "signature of the response"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := receive(test.xml, test.inResponseTo, test.now); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one about %q", err, test.want)
			}
		})
	}
}

// TestReceiveLogout: the judge of our logout messages must be strict too.
func TestReceiveLogout(t *testing.T) {
	const slo = "https://sp.example.com/slo"
	sp := samltest.NewSP("https://sp.example.com/", acs)
	sp.SLO = slo
	pair := samltest.IdP()
	k, err := xmldsig.NewSigner(pair.Key, pair.Cert, 0)
	if err != nil {
		t.Fatal(err)
	}
	sha1, err := xmldsig.NewSignerSHA1(pair.Key, pair.Cert)
	if err != nil {
		t.Fatal(err)
	}
	request := func(change func(*saml.LogoutRequest)) saml.LogoutRequest {
		r := saml.LogoutRequest{
			ID: "_l", IssueInstant: noon, Destination: slo, Issuer: idp, NotOnOrAfter: noon.Add(time.Minute),
			NameID: saml.NameID{Value: "ada"}, SessionIndexes: []string{"_s"},
		}
		if change != nil {
			change(&r)
		}
		return r
	}
	for _, test := range []struct {
		name   string
		change func(*saml.LogoutRequest)
		edit   func(string) string // of the URL's query
		k      *xmldsig.Signer
		now    time.Time
		want   string // "": it is taken
	}{
		{name: "good", k: k, now: noon},
		{name: "not signed", now: noon, want: "signature"},
		{name: "SHA-1", k: sha1, now: noon, want: "signature"},
		{name: "changed", k: k, now: noon, edit: func(q string) string { return q + "&RelayState=x" }, want: "signature"},
		{name: "another issuer", k: k, now: noon, change: func(r *saml.LogoutRequest) { r.Issuer = "urn:x" }, want: "Issuer"},
		{name: "for elsewhere", k: k, now: noon, change: func(r *saml.LogoutRequest) { r.Destination = acs }, want: "Destination"},
		{name: "old", k: k, now: noon.Add(time.Hour), want: "IssueInstant"},
		{name: "over", k: k, now: noon, change: func(r *saml.LogoutRequest) { r.NotOnOrAfter = noon.Add(-time.Hour) }, want: "NotOnOrAfter"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := request(test.change)
			plain, err := saml.AppendLogoutRequest(nil, &r, nil)
			if err != nil {
				t.Fatal(err)
			}
			signed, err := saml.AppendLogoutRequest(nil, &r, test.k)
			if err != nil {
				t.Fatal(err)
			}
			to, err := saml.RedirectURL(slo, saml.ParameterRequest, plain, "", test.k)
			if err != nil {
				t.Fatal(err)
			}
			_, query, _ := strings.Cut(to, "?")
			form := url.Values{saml.ParameterRequest: {saml.EncodePost(signed)}}
			if test.edit != nil {
				query = test.edit(query)
				form.Set(saml.ParameterRequest, saml.EncodePost([]byte(strings.Replace(string(signed), ">ada<", ">eve<", 1))))
			}
			byRedirect, redirectErr := sp.ReceiveLogoutRedirect(query, idp, pair.Cert, test.now)
			byPost, postErr := sp.ReceiveLogoutPost(form, idp, pair.Cert, test.now)
			if test.want == "" {
				if redirectErr != nil || postErr != nil {
					t.Fatal(redirectErr, postErr)
				}
				if diff := cmp.Diff(byRedirect, byPost); diff != "" || !byPost.Means(samltest.Received{NameID: "ada", SessionIndex: "_s"}) || byPost.Means(samltest.Received{NameID: "ada", SessionIndex: "_t"}) {
					t.Error(diff)
				}
				return
			}
			if redirectErr == nil || !strings.Contains(redirectErr.Error(), test.want) {
				t.Errorf("by Redirect: %v, want an error about %q", redirectErr, test.want)
			}
			if postErr == nil || !strings.Contains(postErr.Error(), test.want) && !strings.Contains(postErr.Error(), "signed") {
				t.Errorf("by POST: %v, want an error about %q", postErr, test.want)
			}
		})
	}
	t.Run("under the wrong parameter", func(t *testing.T) {
		r := request(nil)
		signed, err := saml.AppendLogoutRequest(nil, &r, k)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sp.ReceiveLogoutPost(url.Values{saml.ParameterResponse: {saml.EncodePost(signed)}}, idp, pair.Cert, noon); err == nil {
			t.Error("a request was taken for a response")
		}
	})
	t.Run("SHA-1 by exception", func(t *testing.T) {
		sp := *sp
		sp.AllowSHA1 = true
		r := request(nil)
		signed, err := saml.AppendLogoutRequest(nil, &r, sha1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sp.ReceiveLogoutPost(url.Values{saml.ParameterRequest: {saml.EncodePost(signed)}}, idp, pair.Cert, noon); err != nil {
			t.Error(err)
		}
	})
}

// TestPrograms: the outer programs notice what is wrong.
func TestPrograms(t *testing.T) {
	good := write(t, saml.SignBoth, nil)
	cert := samltest.IdP().Cert
	for name, err := range map[string]error{
		"changed":          samltest.XMLSec(t.Context(), []byte(strings.Replace(good, ">ada<", ">eve<", 1)), cert, 2),
		"another key":      samltest.XMLSec(t.Context(), []byte(good), samltest.Other().Cert, 2),
		"fewer signatures": samltest.XMLSec(t.Context(), []byte(good), cert, 1),
		"schema":           samltest.Validate(t.Context(), []byte(strings.Replace(good, ` Version="2.0"`, "", 1)), samltest.SchemaProtocol),
		"wrong schema":     samltest.Validate(t.Context(), []byte(good), samltest.SchemaMetadata),
		"not XML":          samltest.Validate(t.Context(), []byte("<a"), samltest.SchemaMetadata),
	} {
		if err == nil {
			t.Error(name, "passes")
		}
	}
	if err := samltest.XMLSec(t.Context(), []byte(good), cert, 2); err != nil {
		t.Error(err)
	}
	if err := samltest.Validate(t.Context(), []byte(good), samltest.SchemaProtocol); err != nil {
		t.Error(err)
	}
	sp := samltest.NewSP("urn:a:a", acs)
	if err := samltest.Validate(t.Context(), sp.Metadata(), samltest.SchemaMetadata); err != nil {
		t.Error(err)
	}
	sp.SLO, sp.SLOResponse, sp.Encrypted = "https://sp.example.com/slo", "https://sp.example.com/slo?r", true
	if err := samltest.Validate(t.Context(), sp.Metadata(), samltest.SchemaMetadata); err != nil {
		t.Error(err)
	}
	logout := sp.LogoutRequest("https://login.example.com/slo", samltest.Received{NameID: "ada", SessionIndex: "_s"}, noon)
	for name, xml := range map[string]string{
		"LogoutRequest":  logout.XML(),
		"LogoutResponse": sp.LogoutResponse("https://login.example.com/slo", logout.ID, noon, saml.StatusSuccess, saml.StatusPartialLogout).XML(),
	} {
		signed := []byte(sp.Sign(xml))
		if err := samltest.Validate(t.Context(), signed, samltest.SchemaProtocol); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := samltest.XMLSec(t.Context(), signed, sp.Cert, 1); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := samltest.XMLSecDecrypt(t.Context(), []byte(good), sp.Key.(*rsa.PrivateKey)); err == nil {
		t.Error("what is not encrypted was decrypted")
	}
	if err := samltest.Validate(t.Context(), []byte(sp.Sign(sp.Request("https://login.example.com/", noon).XML())), samltest.SchemaProtocol); err != nil {
		t.Error(err)
	}
}

func TestAutoForm(t *testing.T) {
	action, fields, err := samltest.AutoForm(strings.NewReader(`<!doctype html><form method="post" action="https://sp.example.com/?a&amp;b"><input type=hidden name=SAMLResponse value="x+/="><input name="RelayState" value="&quot;&lt;"><noscript><button>Go</button></noscript></form>`))
	if err != nil || action != "https://sp.example.com/?a&b" || fields.Get("SAMLResponse") != "x+/=" || fields.Get("RelayState") != `"<` {
		t.Error(action, fields, err)
	}
	for _, page := range []string{"", "<form action=x><input name=a></form>", "<form method=post></form><form method=post></form>"} {
		if _, _, err := samltest.AutoForm(strings.NewReader(page)); err == nil {
			t.Errorf("%q passes", page)
		}
	}
}
