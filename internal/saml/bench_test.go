package saml_test

import (
	"crypto"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
)

// BenchmarkCheck measures what comes before the answer: reading and judging a request.
func BenchmarkCheck(b *testing.B) {
	fake := atlassian()
	xml := fake.Request(ssoURL, noon).XML()
	sp, idp := registered(), ourselves()
	sp.Keys = []crypto.PublicKey{fake.Cert.PublicKey}
	plain, signed := samltest.RedirectQuery(xml, "relay"), fake.SignedRedirectQuery(xml, "relay")
	post := []byte(samltest.PostBody(fake.Sign(xml), "relay"))
	for name, read := range map[string]func() (saml.Incoming, error){
		"redirect":        func() (saml.Incoming, error) { return saml.ReadRedirect(plain) },
		"redirect-signed": func() (saml.Incoming, error) { return saml.ReadRedirect(signed) },
		"post-signed":     func() (saml.Incoming, error) { return saml.ReadPost(post) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				in, err := read()
				if err != nil {
					b.Fatal(err)
				}
				if _, err := saml.Check(in, sp, idp, noon); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkInspect measures what is done for the record of an exchange, beside the sign-on: the findings about the request
// and about the answer, and both made fit to be kept.
func BenchmarkInspect(b *testing.B) {
	fake := atlassian()
	sp, idp := registered(), ourselves()
	sp.Keys = []crypto.PublicKey{fake.Cert.PublicKey}
	idp.EntityID, idp.Certificates = idpEntityID, samltest.Certificates(samltest.IdP())
	in, err := saml.ReadRedirect(fake.SignedRedirectQuery(fake.Request(ssoURL, noon).XML(), "relay"))
	if err != nil {
		b.Fatal(err)
	}
	answer, err := saml.AppendResponse(nil, response(), signer(b, 0), saml.SignBoth)
	if err != nil {
		b.Fatal(err)
	}
	for name, run := range map[string]func() int{
		"explain-request": func() int { return len(saml.Explain(in, sp, idp, noon)) },
		"explain-answer":  func() int { return len(saml.ExplainResponse(answer, sp, idp, noon)) },
		"redact-answer":   func() int { return len(saml.Redact(answer)) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if run() == 0 {
					b.Fatal("nothing came out")
				}
			}
		})
	}
}

// BenchmarkLogout measures a LogoutRequest by HTTP-Redirect: reading and judging it, and writing the signed answer.
func BenchmarkLogout(b *testing.B) {
	fake, sp, idp := leaving()
	query := fake.SignedRedirectQuery(fake.LogoutRequest(sloURL, somebody(), noon).XML(), "relay")
	k := signer(b, 0)
	b.Run("check", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			in, err := saml.ReadLogoutRedirect(query)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := saml.CheckLogoutRequest(in, sp, idp, noon); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("answer", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			xml, err := saml.AppendLogoutResponse(nil, &saml.LogoutResponse{
				ID: "_l2", InResponseTo: "_q1", IssueInstant: noon, Destination: spAnswer, Issuer: idpEntityID, Status: saml.Status{Code: saml.StatusSuccess},
			}, nil)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := saml.RedirectURL(spAnswer, saml.ParameterResponse, xml, "relay", k); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkEncryptedResponse is BenchmarkResponse's signed/a with the assertion encrypted.
func BenchmarkEncryptedResponse(b *testing.B) {
	r, k := response(), signer(b, 0)
	r.Encrypt = atlassian().Recipient()
	buf := make([]byte, 0, 32<<10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := saml.AppendResponse(buf, r, k, saml.SignAssertion); err != nil {
			b.Fatal(err)
		}
	}
}
