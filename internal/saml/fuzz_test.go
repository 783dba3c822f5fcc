package saml_test

import (
	"bytes"
	"crypto"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
)

// seeds returns the files that match, by name; none is a failure.
func seeds(t testing.TB, pattern string) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("no seed matches %s", pattern)
	}
	out := map[string][]byte{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(file)] = b
	}
	return out
}

// TestRequestsOfProducts reads requests in the shapes that other products' service providers give them.
func TestRequestsOfProducts(t *testing.T) {
	for file, xml := range seeds(t, "testdata/requests/*.xml") {
		t.Run(file, func(t *testing.T) {
			byRedirect, err := saml.Check(readRedirect(t, samltest.RedirectQuery(string(xml), "r")), registered(), ourselves(), noon)
			if err != nil {
				t.Fatal(err)
			}
			byPost, err := saml.Check(readPost(t, samltest.PostBody(string(xml), "r")), registered(), ourselves(), noon)
			if diff := cmp.Diff(byRedirect, byPost); diff != "" || err != nil {
				t.Error(diff, err)
			}
			signed, err := checkPost(atlassian().Sign(string(xml)))
			if err != nil || !signed.Signed {
				t.Fatal(err)
			}
			if diff := cmp.Diff(byPost.Request, signed.Request); diff != "" {
				t.Errorf("the signed request reads otherwise: %s", diff)
			}
			if byPost.Reply.ACS.URL != spACS || byPost.Request.Issuer != spEntityID {
				t.Errorf("%+v", byPost)
			}
		})
	}
}

// judge asserts what must hold of any message that was read, whatever it says. stranger is a key that signed nothing.
func judge(t *testing.T, stranger crypto.PublicKey, in saml.Incoming, err error) {
	if err != nil {
		if in.Issuer() != "" {
			t.Fatal("a message beside an error")
		}
		return
	}
	if in.Issuer() == "" {
		t.Fatal("a message without issuer")
	}
	sp := registered()
	sp.EntityID = in.Issuer()
	for _, required := range []bool{false, true} {
		sp.RequireSignedRequests = required
		sp.Keys = []crypto.PublicKey{stranger}
		d, err := saml.Check(in, sp, ourselves(), noon)
		if err != nil {
			continue
		}
		if required || d.Signed {
			t.Fatal("a signature out of nothing")
		}
		if d.Reply.ACS.URL != spACS && d.Reply.ACS.URL != otherACS {
			t.Fatalf("an answer would go to %q", d.Reply.ACS.URL)
		}
		if !xmldsig.IsNCName(d.Reply.InResponseTo) || d.Request.Issuer != sp.EntityID {
			t.Fatalf("%+v", d)
		}
	}
}

func FuzzReadRedirect(f *testing.F) {
	stranger := samltest.Other().Cert.PublicKey
	for _, xml := range seeds(f, "testdata/requests/*.xml") {
		f.Add(samltest.RedirectQuery(string(xml), "r"))
		f.Add(atlassian().SignedRedirectQuery(string(xml), "https://example.atlassian.net/"))
	}
	f.Fuzz(func(t *testing.T, query string) {
		in, err := saml.ReadRedirect(query)
		judge(t, stranger, in, err)
	})
}

func FuzzReadPost(f *testing.F) {
	stranger := samltest.Other().Cert.PublicKey
	for _, xml := range seeds(f, "testdata/requests/*.xml") {
		f.Add([]byte(samltest.PostBody(string(xml), "r")))
		f.Add([]byte(samltest.PostBody(atlassian().Sign(string(xml)), "")))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		in, err := saml.ReadPost(body)
		judge(t, stranger, in, err)
	})
}

// FuzzAuthnRequest mutates the XML itself, which the other two hide behind base64.
func FuzzAuthnRequest(f *testing.F) {
	stranger := samltest.Other().Cert.PublicKey
	for _, xml := range seeds(f, "testdata/requests/*.xml") {
		f.Add(string(xml))
		f.Add(atlassian().Sign(string(xml)))
	}
	f.Fuzz(func(t *testing.T, xml string) {
		in, err := saml.ReadPost([]byte(samltest.PostBody(xml, "")))
		judge(t, stranger, in, err)
	})
}

func FuzzParseSPMetadata(f *testing.F) {
	for _, xml := range seeds(f, "testdata/metadata/*.xml") {
		f.Add(xml, "")
	}
	f.Add(atlassian().Metadata(), spEntityID)
	f.Add([]byte(entity("urn:a:a", onePostACS)), "urn:a:a")
	f.Fuzz(func(t *testing.T, xml []byte, id string) {
		m, err := saml.ParseSPMetadata(xml, id, noon)
		if err != nil {
			return
		}
		if m.EntityID == "" || id != "" && m.EntityID != id {
			t.Fatalf("entityID %q for %q", m.EntityID, id)
		}
		acs, ok := saml.ServiceProvider{ACS: m.ACS}.DefaultACS()
		if !ok || saml.CheckACS(acs.URL) != nil {
			t.Fatalf("unusable endpoint %+v", acs)
		}
	})
}

// FuzzAppendResponse: whatever text goes in, either nothing comes out or exactly this text does, signed.
func FuzzAppendResponse(f *testing.F) {
	for _, xml := range seeds(f, "testdata/golden/response-*.xml") {
		f.Add(string(xml), "name", "ada@example.com")
	}
	f.Add("\r\n\t<>&\"'", "\x00", "\xff")
	k := signer(f, 0)
	keys := []crypto.PublicKey{k.Certificate().PublicKey}
	f.Fuzz(func(t *testing.T, value, name, subject string) {
		r := response()
		r.Attributes = []saml.Attribute{{Name: name, Values: []string{value}}}
		r.Subject.Value = subject
		out, err := saml.AppendResponse(nil, r, k, saml.SignResponse)
		if err != nil {
			return
		}
		limits := xmldsig.Limits{Bytes: 1 << 24, Depth: 20, Attributes: 20, Nodes: 1000}
		root, err := xmldsig.Read(out, limits)
		if err != nil {
			t.Fatal(err)
		}
		v, err := xmldsig.Verify(root, keys, limits)
		if err != nil {
			t.Fatal(err)
		}
		before, _, after := between(string(out), "<ds:Signature ", "</ds:Signature>")
		if !bytes.Equal(v.Bytes(), []byte(before+after)) {
			t.Fatal("what we wrote is not in canonical form")
		}
		var got []string
		v.Root().All(func(e *xmldsig.Element) bool {
			if e.Is(saml.NSAssertion, "NameID") || e.Is(saml.NSAssertion, "AttributeValue") {
				s, err := e.Text()
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, s)
			}
			if e.Is(saml.NSAssertion, "Attribute") {
				s, _ := e.Attr("Name")
				got = append(got, s)
			}
			return true
		})
		if diff := cmp.Diff([]string{subject, name, value}, got); diff != "" {
			t.Fatal(diff)
		}
	})
}
