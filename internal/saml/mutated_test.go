package saml_test

import (
	"flag"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
)

var rounds = flag.Int("rounds", 300, "mutations of each kind of message in TestMutated")

// pieces are what mutations put into messages.
var pieces = []string{
	"<!-- -->", "<![CDATA[x]]>", "<?x?>", "&amp;", "&#0;", "&#x10FFFF;", "\x00", "\xff", "\u202e", "\ufffe", "<", ">", "\"", "'", "=", "/", ":", "&",
	` ID="_q1"`, ` Version="2.0"`, ` NotOnOrAfter="2026-03-14T12:00:00Z"`, ` xmlns:t="urn:example:t"`, ` t:ID="x"`, ` Destination="` + sloURL + `"`,
	`<saml:NameID>eve</saml:NameID>`, `<saml:EncryptedID/>`, `<saml:BaseID/>`, `<samlp:SessionIndex/>`, `<samlp:Extensions>`, `</samlp:Extensions>`,
	`<saml:Issuer>x</saml:Issuer>`, `<samlp:Status/>`, `<samlp:StatusCode Value="x"/>`, `<samlp:NameIDPolicy AllowCreate="1"/>`, `<saml:Subject/>`,
	`<saml:Assertion ID="_a"/>`, `<saml:EncryptedAssertion/>`, `<saml:Conditions/>`, `<saml:Audience/>`, `<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"/>`,
	"0", "-1", "65536", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "true", "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent",
}

// mutate changes a message in a few places: it cuts, repeats, moves, flips and inserts.
func mutate(r *rand.Rand, s string) string {
	for range 1 + r.IntN(3) {
		if s == "" {
			return s
		}
		i := r.IntN(len(s))
		n := min(1+r.IntN(40), len(s)-i)
		switch r.IntN(6) {
		case 0:
			s = s[:i] + s[i+n:]
		case 1:
			s = s[:i+n] + s[i:]
		case 2:
			j := r.IntN(len(s))
			s = s[:j] + s[i:i+n] + s[j:]
		case 3:
			s = s[:i] + string(s[i]^byte(1<<r.IntN(8))) + s[i+1:]
		case 4: // whole tags, so that it stays XML more often
			from, to := strings.LastIndexByte(s[:i+1], '<'), strings.IndexByte(s[i:], '>')
			if from >= 0 && to >= 0 {
				tag := s[from : i+to+1]
				s = strings.Replace(s, tag, tag+pieces[r.IntN(len(pieces))], 1)
			}
		default:
			s = s[:i] + pieces[r.IntN(len(pieces))] + s[i:]
		}
	}
	return s
}

// TestMutated throws mutated messages at every door, signed ones and unsigned ones. It looks for the same as the fuzz
// targets do, but knows the shape of messages. Whatever comes in, it is never read otherwise than signed.
func TestMutated(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2)) // the same mutations each time
	stranger := samltest.Other().Cert.PublicKey
	fake, sp, idp := leaving()
	idp.EntityID, idp.Certificates = idpEntityID, samltest.Certificates(samltest.IdP())
	answer, err := saml.AppendResponse(nil, response(), signer(t, 0), saml.SignBoth)
	if err != nil {
		t.Fatal(err)
	}
	request, logout := fake.Request(ssoURL, noon).XML(), logoutSeeds()
	signedRequest, signedLogout := fake.Sign(request), fake.Sign(logout[0])
	for range *rounds {
		in, err := saml.ReadPost([]byte(samltest.PostBody(mutate(r, request), "")))
		judge(t, stranger, in, err)

		in, err = saml.ReadPost([]byte(samltest.PostBody(mutate(r, signedRequest), "")))
		judge(t, stranger, in, err)
		if d, err := saml.Check(in, signing(), idp, noon); err == nil && (d.Reply.ACS.URL != spACS || d.Request.Destination != ssoURL) {
			t.Fatalf("read otherwise than signed: %s", in.XML())
		}

		in, err = saml.ReadLogoutPost([]byte(samltest.PostBody(mutate(r, logout[r.IntN(len(logout))]), "")))
		judgeLogout(t, stranger, in, err)

		in, err = saml.ReadLogoutPost([]byte(samltest.PostBody(mutate(r, signedLogout), "")))
		judgeLogout(t, stranger, in, err)
		if d, err := saml.CheckLogoutRequest(in, sp, idp, noon); err == nil && (d.Request.NameID.Value != "ada@example.com" || len(d.Request.SessionIndexes) != 1) {
			t.Fatalf("read otherwise than signed: %s", in.XML())
		}

		x := mutate(r, string(answer))
		findings := saml.ExplainResponse([]byte(x), sp, idp, noon)
		judgeFindings(t, findings, firstFailure(findings) == "")
		boundedRedaction(t, x)
	}
}
