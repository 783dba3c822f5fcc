package saml_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"flag"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
	"github.com/latchkey-idp/latchkey/internal/saml/xmlenc"
)

var update = flag.Bool("update", false, "write the golden files anew")

const (
	idpEntityID = "https://login.example.com/saml2/atlassiancloud"
	spEntityID  = "https://auth.atlassian.com/saml/7e2c6b9a-0c55-4b8f-9f0e-3a1d5c1c9f10"
	spACS       = "https://auth.atlassian.com/login/callback?connection=saml-7e2c6b9a-0c55-4b8f-9f0e-3a1d5c1c9f10"
	ssoURL      = "https://login.example.com/saml2/atlassiancloud"
	claims      = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/"
)

var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

func signer(t testing.TB, hash crypto.Hash) *xmldsig.Signer {
	t.Helper()
	pair := samltest.IdP()
	k, err := xmldsig.NewSigner(pair.Key, pair.Cert, hash)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// response is what Atlassian Cloud gets, with the group attribute besides.
func response() *saml.Response {
	return &saml.Response{
		ID: "_r1", AssertionID: "_a1", IssueInstant: noon,
		Issuer: idpEntityID, Destination: spACS, InResponseTo: "_q1",
		Audiences:    []string{spEntityID},
		Subject:      saml.NameID{Value: "ada@example.com", Format: saml.NameIDEmailAddress},
		NotBefore:    noon.Add(-time.Minute),
		NotOnOrAfter: noon.Add(5 * time.Minute),
		Authn: saml.Authn{
			Instant: noon.Add(-time.Hour), SessionIndex: "_s1",
			SessionNotOnOrAfter: noon.Add(8 * time.Hour), ContextClass: saml.AuthnContextPasswordProtectedTransport,
		},
		Attributes: []saml.Attribute{
			{Name: claims + "givenname", NameFormat: saml.AttrNameURI, FriendlyName: "givenName", Values: []string{"Ada"}},
			{Name: claims + "surname", NameFormat: saml.AttrNameURI, Values: []string{"Lovelace"}},
			{Name: claims + "name", NameFormat: saml.AttrNameURI, Values: []string{"0195f3a2-7c1e-7d44-8a55-1f2e3d4c5b6a"}},
			{Name: "department", NameFormat: saml.AttrNameBasic, Values: []string{"Engines & Numbers"}},
			{Name: "empty", NameFormat: saml.AttrNameBasic},
			{Name: "title", NameFormat: saml.AttrNameBasic, Values: []string{"Analyst"}},
			{Name: "locale", NameFormat: saml.AttrNameBasic, Values: []string{"en-GB"}},
			{Name: "groups", NameFormat: saml.AttrNameBasic, Values: []string{
				"jira-users", "confluence-users", "engineering", "analysts", "all-staff", "london", "on-call", "reviewers", "release", "wiki-editors",
			}},
		},
	}
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	file = filepath.Join("testdata", "golden", file)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", file, diff)
	}
}

// TestResponse writes each kind of response and has it judged by other libraries and programs than the one that wrote
// it: the golden file, goxmldsig, xmlsec1, and the OASIS schema.
func TestResponse(t *testing.T) {
	for _, test := range []struct {
		name                string
		sign                saml.Sign
		hash                crypto.Hash
		change              func(*saml.Response)
		response, assertion bool
	}{
		{name: "assertion", sign: saml.SignAssertion, assertion: true},
		{name: "response", sign: saml.SignResponse, response: true},
		{name: "both", sign: saml.SignBoth, response: true, assertion: true},
		{name: "sha384", sign: saml.SignBoth, hash: crypto.SHA384, response: true, assertion: true},
		{name: "sha512", sign: saml.SignBoth, hash: crypto.SHA512, response: true, assertion: true},
		{name: "idp-initiated", change: func(r *saml.Response) { r.InResponseTo = "" }, assertion: true},
		{name: "least", change: func(r *saml.Response) {
			r.NotBefore, r.Attributes = time.Time{}, nil
			r.Authn = saml.Authn{Instant: noon}
			r.Subject = saml.NameID{Value: "u1"}
		}, assertion: true},
		{name: "persistent", change: func(r *saml.Response) {
			r.Subject = saml.NameID{Value: "x7", Format: saml.NameIDPersistent, NameQualifier: idpEntityID, SPNameQualifier: spEntityID}
		}, assertion: true},
		{name: "awkward-text", sign: saml.SignBoth, change: func(r *saml.Response) {
			r.Attributes = []saml.Attribute{{
				Name: "tab\tline\nreturn\rquote\"apos'amp&lt<gt>", FriendlyName: " spaced  out ",
				Values: []string{"tab\tline\nreturn\rquote\"apos'amp&lt<gt>]]>", "<!-- no comment -->", "Ωμέγα 𝄞 \u0085\u2028", "", " ", "\r\n"},
			}}
			r.Subject.Value = "o'neil&sons\"<ada>@example.com"
		}, response: true, assertion: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := response()
			if test.change != nil {
				test.change(r)
			}
			k := signer(t, test.hash)
			prefix := []byte("kept")
			out, err := saml.AppendResponse(prefix, r, k, test.sign)
			if err != nil {
				t.Fatal(err)
			}
			out, ok := bytes.CutPrefix(out, []byte("kept"))
			if !ok {
				t.Fatal("what stood in the buffer is gone")
			}
			golden(t, "response-"+test.name+".xml", out)

			signatures := 0
			if test.response {
				signatures++
			}
			if test.assertion {
				signatures++
			}
			if err := samltest.XMLSec(t.Context(), out, k.Certificate(), signatures); err != nil {
				t.Error(err)
			}
			if err := samltest.Validate(t.Context(), out, samltest.SchemaProtocol); err != nil {
				t.Error(err)
			}
			got, err := samltest.NewSP(spEntityID, spACS).Receive(saml.EncodePost(out), idpEntityID, k.Certificate(), r.InResponseTo, noon)
			if err != nil {
				t.Fatal(err)
			}
			want := samltest.Received{
				ResponseSigned: test.response, AssertionSigned: test.assertion,
				Status: []string{saml.StatusSuccess}, Issuer: idpEntityID, InResponseTo: r.InResponseTo,
				NameID: r.Subject.Value, NameIDFormat: r.Subject.Format,
				NameQualifier: r.Subject.NameQualifier, SPNameQualifier: r.Subject.SPNameQualifier, SessionNotOnOrAfter: r.Authn.SessionNotOnOrAfter,
				SessionIndex: r.Authn.SessionIndex, AuthnContext: r.Authn.ContextClass, AuthnInstant: r.Authn.Instant,
				Audiences: r.Audiences, NotOnOrAfter: r.NotOnOrAfter, Attributes: map[string][]string{},
			}
			if want.AuthnContext == "" {
				want.AuthnContext = saml.AuthnContextUnspecified
			}
			for _, a := range r.Attributes {
				if len(a.Values) > 0 {
					want.Attributes[a.Name] = a.Values
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the service provider read something else (-want +got):\n%s", diff)
			}
		})
	}
}

// TestEncryptedResponse: the assertion is signed first, then encrypted; the response's own signature is over what was
// encrypted. xmlsec1 decrypts it, and what comes out is what would have been sent in clear.
func TestEncryptedResponse(t *testing.T) {
	fake := atlassian()
	fake.Encrypted = true
	sha256, err := xmlenc.NewRecipient(fake.Cert, xmlenc.AES128GCM, xmlenc.OAEPSHA256())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name                string
		sign                saml.Sign
		to                  *xmlenc.Recipient
		response, assertion bool
	}{
		{"assertion", saml.SignAssertion, fake.Recipient(), false, true},
		{"response", saml.SignResponse, fake.Recipient(), true, false},
		{"both", saml.SignBoth, fake.Recipient(), true, true},
		{"AES-128, OAEP with SHA-256", saml.SignBoth, sha256, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			k, r := signer(t, 0), response()
			plain, err := saml.AppendResponse(nil, r, k, test.sign)
			if err != nil {
				t.Fatal(err)
			}
			r.Encrypt = test.to
			out, err := saml.AppendResponse([]byte("kept"), r, k, test.sign)
			if err != nil {
				t.Fatal(err)
			}
			out, ok := bytes.CutPrefix(out, []byte("kept"))
			if !ok {
				t.Fatal("what stood in the buffer is gone")
			}
			if bytes.Contains(out, []byte("ada@example.com")) || bytes.Contains(out, []byte("Lovelace")) || bytes.Contains(out, []byte("<saml:Assertion")) {
				t.Errorf("not all is encrypted:\n%s", out)
			}
			if test.response {
				if err := samltest.XMLSec(t.Context(), out, k.Certificate(), 1); err != nil {
					t.Error(err)
				}
			}
			if test.to != sha256 { // of which neither the schemas of that time nor Debian's xmlsec1 know
				if err := samltest.Validate(t.Context(), out, samltest.SchemaProtocol); err != nil {
					t.Error(err)
				}
				clear, err := samltest.XMLSecDecrypt(t.Context(), out, fake.Key.(*rsa.PrivateKey))
				if err != nil {
					t.Fatal(err)
				}
				_, want, _ := between(string(plain), "<saml:Assertion ", "</saml:Assertion>")
				_, got, _ := between(string(clear), "<saml:Assertion ", "</saml:Assertion>")
				empty := regexp.MustCompile(`(<[^/<>][^<>]*)></[\w:]+>`) // which xmlsec1 writes in the short form
				if diff := cmp.Diff(empty.ReplaceAllString(want, "$1/>"), got); diff != "" {
					t.Errorf("another assertion was encrypted: %s", diff)
				}
			}
			received, err := fake.Receive(saml.EncodePost(out), idpEntityID, k.Certificate(), "_q1", noon)
			if err != nil {
				t.Fatal(err)
			}
			if !received.Encrypted || received.ResponseSigned != test.response || received.AssertionSigned != test.assertion ||
				received.NameID != "ada@example.com" || len(received.Attributes["groups"]) != 10 {
				t.Errorf("%+v", received)
			}
			// Another service provider can't read it, and one that wants it encrypted takes nothing else.
			other := atlassian()
			other.KeyPair = samltest.Other()
			if _, err := other.Receive(saml.EncodePost(out), idpEntityID, k.Certificate(), "_q1", noon); err == nil {
				t.Error("somebody else can decrypt it")
			}
			if _, err := fake.Receive(saml.EncodePost(plain), idpEntityID, k.Certificate(), "_q1", noon); err == nil {
				t.Error("an assertion in clear was taken")
			}
		})
	}
	t.Run("refused like others", func(t *testing.T) {
		r := response()
		r.Encrypt, r.Attributes[0].Values = fake.Recipient(), []string{"\x00"}
		if out, err := saml.AppendResponse(nil, r, signer(t, 0), saml.SignBoth); err == nil || out != nil {
			t.Error("text that XML can't hold was encrypted")
		}
	})
}

// TestResponseECDSA: the signature is r and s side by side, which xmlsec1 takes; goxmldsig wants ASN.1 and can't judge.
func TestResponseECDSA(t *testing.T) {
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		t.Run(curve.Params().Name, func(t *testing.T) {
			key, cert := ecdsaPair(t, curve)
			k, err := xmldsig.NewSigner(key, cert, 0)
			if err != nil {
				t.Fatal(err)
			}
			out, err := saml.AppendResponse(nil, response(), k, saml.SignBoth)
			if err != nil {
				t.Fatal(err)
			}
			if err := samltest.XMLSec(t.Context(), out, cert, 2); err != nil {
				t.Error(err)
			}
		})
	}
}

func ecdsaPair(t testing.TB, curve elliptic.Curve) (crypto.Signer, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ec"}, NotBefore: noon, NotAfter: noon.AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}

func TestResponseRefused(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*saml.Response)
		want   string
	}{
		{"control character", func(r *saml.Response) { r.Attributes[0].Values = []string{"a\x01b"} }, "control character"},
		{"NUL", func(r *saml.Response) { r.Subject.Value = "a\x00" }, "control character"},
		{"not UTF-8", func(r *saml.Response) { r.Attributes[0].Values = []string{"a\xffb"} }, "not UTF-8"},
		{"half a surrogate", func(r *saml.Response) { r.Attributes[0].Values = []string{"\xed\xa0\x80"} }, "not UTF-8"},
		{"U+FFFE", func(r *saml.Response) { r.Attributes[0].Values = []string{"\ufffe"} }, "not XML"},
		{"in an attribute's name", func(r *saml.Response) { r.Attributes[0].Name = "\x1b" }, "control character"},
		{"no NameID", func(r *saml.Response) { r.Subject.Value = "" }, "no NameID"},
		{"no issuer", func(r *saml.Response) { r.Issuer = "" }, "no issuer"},
		{"no audience", func(r *saml.Response) { r.Audiences = nil }, "no audience"},
		{"empty audience", func(r *saml.Response) { r.Audiences = []string{""} }, "no audience"},
		{"same IDs", func(r *saml.Response) { r.AssertionID = r.ID }, "different IDs"},
		{"no ID", func(r *saml.Response) { r.ID = "" }, "no XML identifier"},
		{"ID with quote", func(r *saml.Response) { r.AssertionID = `_"` }, "no XML identifier"},
		{"InResponseTo with space", func(r *saml.Response) { r.InResponseTo = "a b" }, "no XML identifier"},
		{"never valid", func(r *saml.Response) { r.NotOnOrAfter = r.IssueInstant }, "never valid"},
		{"no time", func(r *saml.Response) { r.IssueInstant = time.Time{} }, "IssueInstant is missing"},
		{"no authentication", func(r *saml.Response) { r.Authn.Instant = time.Time{} }, "no time of authentication"},
		{"nameless attribute", func(r *saml.Response) { r.Attributes[0].Name = "" }, "without name"},
		{"javascript destination", func(r *saml.Response) { r.Destination = "javascript:alert(1)" }, "destination"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := response()
			test.change(r)
			out, err := saml.AppendResponse(nil, r, signer(t, 0), saml.SignAssertion)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one about %q", err, test.want)
			}
			if out != nil {
				t.Error("something came out beside the error")
			}
		})
	}
	if _, err := saml.AppendResponse(nil, response(), nil, saml.SignAssertion); err == nil {
		t.Error("an unsigned response was written")
	}
}

func TestStatusResponse(t *testing.T) {
	for _, test := range []struct {
		name   string
		signed bool
		status saml.Status
	}{
		{"no-passive", true, saml.Status{Code: saml.StatusResponder, SubCode: saml.StatusNoPassive, Message: "Nobody is signed in & may not be asked"}},
		{"unsigned", false, saml.Status{Code: saml.StatusRequester}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &saml.StatusResponse{ID: "_r1", IssueInstant: noon, Issuer: idpEntityID, Destination: spACS, InResponseTo: "_q1", Status: test.status}
			var k *xmldsig.Signer
			signatures := 0
			if test.signed {
				k, signatures = signer(t, 0), 1
			}
			out, err := saml.AppendStatus(nil, r, k)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "status-"+test.name+".xml", out)
			cert := samltest.IdP().Cert
			if err := samltest.XMLSec(t.Context(), out, cert, signatures); err != nil {
				t.Error(err)
			}
			if err := samltest.Validate(t.Context(), out, samltest.SchemaProtocol); err != nil {
				t.Error(err)
			}
			got, err := samltest.NewSP(spEntityID, spACS).Receive(saml.EncodePost(out), idpEntityID, cert, "_q1", noon)
			if err != nil {
				t.Fatal(err)
			}
			want := samltest.Received{ResponseSigned: test.signed, Status: []string{test.status.Code}, Message: test.status.Message, Issuer: idpEntityID, InResponseTo: "_q1"}
			if test.status.SubCode != "" {
				want.Status = append(want.Status, test.status.SubCode)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, bad := range []saml.StatusResponse{
		{ID: "_r1", IssueInstant: noon, Issuer: idpEntityID, Destination: spACS, Status: saml.Status{Code: saml.StatusSuccess}},
		{ID: "_r1", IssueInstant: noon, Issuer: idpEntityID, Destination: spACS},
		{ID: "_r1", IssueInstant: noon, Issuer: idpEntityID, Destination: "http://sp.example.com/", Status: saml.Status{Code: saml.StatusResponder}},
		{ID: "", IssueInstant: noon, Issuer: idpEntityID, Destination: spACS, Status: saml.Status{Code: saml.StatusResponder}},
	} {
		if out, err := saml.AppendStatus(nil, &bad, nil); err == nil || out != nil {
			t.Errorf("%+v was written", bad)
		}
	}
}

func TestNewID(t *testing.T) {
	a, b := saml.NewID(), saml.NewID()
	if a == b || len(a) != 41 || !xmldsig.IsNCName(a) {
		t.Errorf("IDs %q and %q", a, b)
	}
}

// instant is a signer that costs nothing, to see what the encoder costs.
type instant struct {
	crypto.Signer
	value []byte
}

func (s instant) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return s.value, nil }

// TestResponseAllocations holds the encoder to five allocations, the signature's own not counted.
func TestResponseAllocations(t *testing.T) {
	pair := samltest.IdP()
	k, err := xmldsig.NewSigner(instant{pair.Key, make([]byte, 256)}, pair.Cert, 0)
	if err != nil {
		t.Fatal(err)
	}
	r := response()
	for name, sign := range map[string]saml.Sign{"assertion": saml.SignAssertion, "both": saml.SignBoth} {
		buf := make([]byte, 0, 32<<10)
		got := testing.AllocsPerRun(100, func() {
			if _, err := saml.AppendResponse(buf, r, k, sign); err != nil {
				t.Fatal(err)
			}
		})
		if got > 5 {
			t.Errorf("%s: %.0f allocations, at most 5 are wanted", name, got)
		}
	}
}

// BenchmarkResponse measures a response as performance.md §1 has it: e-mail NameID, 6 attributes and 10 group values.
// "bare" is the yardstick, one RSA signature; "encode" leaves the signature out.
func BenchmarkResponse(b *testing.B) {
	pair := samltest.IdP()
	free, err := xmldsig.NewSigner(instant{pair.Key, make([]byte, 256)}, pair.Cert, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("bare", func(b *testing.B) {
		digest := make([]byte, 32)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := pair.Key.Sign(rand.Reader, digest, crypto.SHA256); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, bench := range []struct {
		name string
		k    *xmldsig.Signer
		sign saml.Sign
	}{
		{"encode/a", free, saml.SignAssertion},
		{"encode/b", free, saml.SignBoth},
		{"signed/a", signer(b, 0), saml.SignAssertion},
		{"signed/b", signer(b, 0), saml.SignBoth},
	} {
		b.Run(bench.name, func(b *testing.B) {
			r := response()
			buf := make([]byte, 0, 32<<10)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := saml.AppendResponse(buf, r, bench.k, bench.sign); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
