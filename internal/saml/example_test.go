package saml_test

import (
	"crypto"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
)

// A whole sign-on: the request comes in by the Redirect binding, the answer goes out by the POST binding.
func Example() {
	now := time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	fake := samltest.NewSP("https://sp.example.com/", "https://sp.example.com/acs?tenant=7")
	query := samltest.RedirectQuery(fake.Request("https://login.example.com/saml2/wiki", now).XML(), "where I was")

	in, err := saml.ReadRedirect(query) // of an http.Request: r.URL.RawQuery
	if err != nil {
		panic(err)
	}
	// in.Issuer() tells which application this is about; this is what we registered for it.
	sp := saml.ServiceProvider{
		EntityID:      "https://sp.example.com/",
		ACS:           []saml.Endpoint{{URL: "https://sp.example.com/acs?tenant=7"}},
		NameIDFormats: []string{saml.NameIDEmailAddress},
	}
	decision, err := saml.Check(in, sp, saml.IdentityProvider{Endpoints: []string{"https://login.example.com/saml2/wiki"}}, now)
	if err != nil {
		panic(err)
	}

	// Now the person signs in, and then:
	pair := samltest.IdP()
	signer, err := xmldsig.NewSigner(pair.Key, pair.Cert, 0) // once per application, not per response
	if err != nil {
		panic(err)
	}
	out, err := saml.AppendResponse(nil, &saml.Response{
		ID: saml.NewID(), AssertionID: saml.NewID(), IssueInstant: now,
		Issuer: "https://login.example.com/", Destination: decision.Reply.ACS.URL, InResponseTo: decision.Reply.InResponseTo,
		Audiences:    []string{sp.EntityID},
		Subject:      saml.NameID{Value: "ada@example.com", Format: decision.NameIDFormat},
		NotOnOrAfter: now.Add(5 * time.Minute),
		Authn:        saml.Authn{Instant: now, SessionIndex: saml.NewID(), ContextClass: saml.AuthnContextPasswordProtectedTransport},
		Attributes:   []saml.Attribute{{Name: "groups", NameFormat: saml.AttrNameBasic, Values: []string{"staff", "editors"}}},
	}, signer, saml.SignAssertion)
	if err != nil {
		panic(err)
	}

	got, err := fake.Receive(saml.EncodePost(out), "https://login.example.com/", pair.Cert, decision.Reply.InResponseTo, now)
	if err != nil {
		panic(err)
	}
	fmt.Println(got.NameID, got.Attributes["groups"], decision.Reply.RelayState)
	// Output: ada@example.com [staff editors] where I was
}

// An error says itself whether the service provider may hear of it.
func ExampleCheck_refused() {
	now := time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	fake := samltest.NewSP("https://sp.example.com/", "https://sp.example.com/acs")
	sp := saml.ServiceProvider{EntityID: fake.EntityID, ACS: []saml.Endpoint{{URL: fake.ACS}}, NameIDFormats: []string{saml.NameIDEmailAddress}}
	idp := saml.IdentityProvider{Endpoints: []string{"https://login.example.com/saml2/wiki"}}

	transient := fake.Request(idp.Endpoints[0], now)
	transient.NameIDFormat = saml.NameIDTransient
	elsewhere := fake.Request(idp.Endpoints[0], now)
	elsewhere.ACSURL = "https://evil.example/acs"
	for _, request := range []samltest.Request{transient, elsewhere} {
		in, err := saml.ReadRedirect(samltest.RedirectQuery(request.XML(), ""))
		if err != nil {
			panic(err)
		}
		_, err = saml.Check(in, sp, idp, now)
		var refusal *saml.Error
		if errors.As(err, &refusal) && refusal.Sendable() {
			out, err := saml.AppendStatus(nil, &saml.StatusResponse{
				ID: saml.NewID(), IssueInstant: now, Issuer: "https://login.example.com/",
				Destination: refusal.Reply.ACS.URL, InResponseTo: refusal.Reply.InResponseTo, Status: refusal.Status,
			}, nil)
			if err != nil {
				panic(err)
			}
			fmt.Println("to the service provider:", refusal.Reason, strings.Contains(string(out), "InvalidNameIDPolicy"))
		} else {
			fmt.Println("a page for the person:", refusal.Reason)
		}
	}
	// Output:
	// to the service provider: unsupported_name_id true
	// a page for the person: unregistered_acs
}

// A service provider signs a person out: its request comes in by the Redirect binding, and the answer goes out by it.
func ExampleCheckLogoutRequest() {
	now := time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	fake := samltest.NewSP("https://sp.example.com/", "https://sp.example.com/acs")
	fake.SLO = "https://sp.example.com/slo?tenant=7"
	sp := saml.ServiceProvider{
		EntityID: fake.EntityID,
		Keys:     []crypto.PublicKey{fake.Cert.PublicKey},
		SLO:      []saml.Endpoint{{Binding: saml.BindingHTTPRedirect, URL: fake.SLO}},
	}
	idp := saml.IdentityProvider{LogoutEndpoints: []string{"https://login.example.com/saml2/wiki/slo"}}
	request := fake.LogoutRequest(idp.LogoutEndpoints[0], samltest.Received{NameID: "ada@example.com", SessionIndex: "_s1"}, now)

	in, err := saml.ReadLogoutRedirect(fake.SignedRedirectQuery(request.XML(), "back")) // of an http.Request: r.URL.RawQuery
	if err != nil {
		panic(err)
	}
	decision, err := saml.CheckLogoutRequest(in, sp, idp, now)
	if err != nil {
		panic(err)
	}
	fmt.Println("end the session", decision.Request.SessionIndexes, "of", decision.Request.NameID.Value)

	pair := samltest.IdP()
	signer, err := xmldsig.NewSigner(pair.Key, pair.Cert, 0)
	if err != nil {
		panic(err)
	}
	to := decision.Reply.ReplyURL()
	xml, err := saml.AppendLogoutResponse(nil, &saml.LogoutResponse{
		ID: saml.NewID(), InResponseTo: decision.Request.ID, IssueInstant: now, Destination: to,
		Issuer: "https://login.example.com/", Status: saml.Status{Code: saml.StatusSuccess, SubCode: saml.StatusPartialLogout},
	}, nil)
	if err != nil {
		panic(err)
	}
	location, err := saml.RedirectURL(to, saml.ParameterResponse, xml, decision.RelayState, signer)
	if err != nil {
		panic(err)
	}

	query, _ := strings.CutPrefix(location, "https://sp.example.com/slo?tenant=7&")
	got, err := fake.ReceiveLogoutRedirect(query, "https://login.example.com/", pair.Cert, now)
	if err != nil {
		panic(err)
	}
	fmt.Println(got.InResponseTo == request.ID, got.RelayState, got.Status[1])
	// Output:
	// end the session [_s1] of ada@example.com
	// true back urn:oasis:names:tc:SAML:2.0:status:PartialLogout
}

func ExampleReadPost() {
	now := time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	fake := samltest.NewSP("https://sp.example.com/", "https://sp.example.com/acs")
	body := samltest.PostBody(fake.Sign(fake.Request("https://login.example.com/saml2/wiki", now).XML()), "")
	in, err := saml.ReadPost([]byte(body))
	fmt.Println(in.Issuer(), err)
	_, err = saml.ReadPost([]byte("SAMLRequest=x&SAMLRequest=y"))
	fmt.Println(err)
	// Output:
	// https://sp.example.com/ <nil>
	// saml: malformed: The sign-in request from the application can't be read. Open the application again; if it happens again, tell your administrator.: parameter "SAMLRequest" twice
}

func ExampleRequestedAuthnContext_Choose() {
	order := []string{saml.AuthnContextPassword, saml.AuthnContextPasswordProtectedTransport, saml.AuthnContextREFEDSMFA}
	wish := saml.RequestedAuthnContext{Comparison: saml.Minimum, Classes: []string{saml.AuthnContextREFEDSMFA}}
	_, ok := wish.Choose(order, saml.AuthnContextPasswordProtectedTransport)
	fmt.Println("password alone:", ok)
	class, ok := wish.Choose(order, saml.AuthnContextPasswordProtectedTransport, saml.AuthnContextREFEDSMFA)
	fmt.Println("with a second factor:", ok, class)
	// Output:
	// password alone: false
	// with a second factor: true https://refeds.org/profile/mfa
}

func ExampleParseSPMetadata() {
	sp := samltest.NewSP("https://sp.example.com/", "https://sp.example.com/acs")
	m, err := saml.ParseSPMetadata(sp.Metadata(), "", time.Now())
	if err != nil {
		panic(err)
	}
	acs, _ := saml.ServiceProvider{ACS: m.ACS}.DefaultACS()
	fmt.Println(m.EntityID, acs.URL, len(m.SigningKeys()))

	_, err = saml.ParseSPMetadata([]byte("<!DOCTYPE html><html>…"), "", time.Now())
	var refusal *saml.Error
	errors.As(err, &refusal)
	fmt.Println(refusal.Text)
	// Output:
	// https://sp.example.com/ https://sp.example.com/acs 1
	// This is a web page, not metadata. Perhaps the address needs a sign-in, or is that of a page about the metadata.
}

func ExampleAppendMetadata() {
	out, err := saml.AppendMetadata(nil, &saml.IdPMetadata{
		EntityID: "https://login.example.com/",
		SSO: []saml.Endpoint{
			{Binding: saml.BindingHTTPRedirect, URL: "https://login.example.com/saml2/wiki"},
			{Binding: saml.BindingHTTPPost, URL: "https://login.example.com/saml2/wiki"},
		},
		Certificates: samltest.Certificates(samltest.IdP(), samltest.IdPNext()),
	}, nil)
	if err != nil {
		panic(err)
	}
	fmt.Println(strings.Count(string(out), `<md:KeyDescriptor use="signing">`), "certificates")
	// Output: 2 certificates
}
