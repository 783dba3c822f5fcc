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
