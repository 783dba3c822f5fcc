package saml_test

import (
	"bytes"
	"crypto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

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
		if in.Issuer() != "" || in.Message() != "" {
			t.Fatal("a message beside an error")
		}
		judgeFindings(t, saml.Explain(in, registered(), ourselves(), noon), false)
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
		judgeFindings(t, saml.Explain(in, sp, ourselves(), noon), err == nil)
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

// judgeFindings asserts what must hold of the findings about any message: they agree with the check, and can be shown.
func judgeFindings(t *testing.T, findings []saml.Finding, taken bool) {
	t.Helper()
	if len(findings) == 0 || (firstFailure(findings) == "") != taken {
		t.Fatalf("taken: %t, but the findings are %+v", taken, findings)
	}
	for _, f := range findings {
		const longest = 4 << 10
		if f.Check == "" || f.Text == "" || f.Rule == "" || f.Source == "" || len(f.Text) > longest || !utf8.ValidString(f.Text) {
			t.Fatalf("%+v", f)
		}
		if strings.ContainsFunc(f.Text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Fatalf("%q can't be shown", f.Text)
		}
	}
}

// judgeLogout is judge for the door of logout: nothing passes without a signature that a stranger's key verifies.
func judgeLogout(t *testing.T, stranger crypto.PublicKey, in saml.Incoming, err error) {
	_, sp, idp := leaving()
	if err != nil {
		if in.Issuer() != "" || in.Message() != "" {
			t.Fatal("a message beside an error")
		}
		judgeFindings(t, saml.Explain(in, sp, idp, noon), false)
		return
	}
	if in.Issuer() == "" || in.Message() != "LogoutRequest" && in.Message() != "LogoutResponse" {
		t.Fatalf("a %q of %q", in.Message(), in.Issuer())
	}
	sp.EntityID = in.Issuer()
	for _, keys := range [][]crypto.PublicKey{nil, {stranger}} {
		sp.Keys = keys
		if d, err := saml.CheckLogoutRequest(in, sp, idp, noon); err == nil {
			t.Fatalf("a signature out of nothing: %+v", d)
		}
		if r, err := saml.CheckLogoutResponse(in, sp, idp, noon); err == nil {
			t.Fatalf("a signature out of nothing: %+v", r)
		}
		judgeFindings(t, saml.Explain(in, sp, idp, noon), false)
	}
}

// logoutSeeds are the messages that the fuzz targets of logout begin with.
func logoutSeeds() []string {
	fake, _, _ := leaving()
	encrypted := fake.LogoutRequest(sloURL, somebody(), noon)
	encrypted.NameID, encrypted.Children = "", `<saml:EncryptedID/>`
	return []string{
		fake.LogoutRequest(sloURL, somebody(), noon).XML(), encrypted.XML(),
		fake.LogoutResponse(sloURL, "_ours", noon).XML(),
		fake.LogoutResponse(sloURL, "_ours", noon, saml.StatusSuccess, saml.StatusPartialLogout).XML(),
	}
}

func FuzzReadLogoutRedirect(f *testing.F) {
	stranger := samltest.Other().Cert.PublicKey
	fake, _, _ := leaving()
	for _, xml := range logoutSeeds() {
		f.Add(samltest.RedirectQuery(xml, "r"))
		f.Add(fake.SignedRedirectQuery(xml, "r"))
	}
	f.Fuzz(func(t *testing.T, query string) {
		in, err := saml.ReadLogoutRedirect(query)
		judgeLogout(t, stranger, in, err)
	})
}

func FuzzReadLogoutPost(f *testing.F) {
	stranger := samltest.Other().Cert.PublicKey
	fake, _, _ := leaving()
	for _, xml := range logoutSeeds() {
		f.Add([]byte(samltest.PostBody(xml, "r")))
		f.Add([]byte(samltest.PostBody(fake.Sign(xml), "")))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		in, err := saml.ReadLogoutPost(body)
		judgeLogout(t, stranger, in, err)
	})
}

// FuzzLogout mutates the XML itself, which the other two hide behind base64.
func FuzzLogout(f *testing.F) {
	stranger := samltest.Other().Cert.PublicKey
	fake, _, _ := leaving()
	for _, xml := range logoutSeeds() {
		f.Add(xml)
		f.Add(fake.Sign(xml))
	}
	f.Fuzz(func(t *testing.T, xml string) {
		in, err := saml.ReadLogoutPost([]byte(samltest.PostBody(xml, "")))
		judgeLogout(t, stranger, in, err)
	})
}

// FuzzExplain explains whatever somebody pastes.
func FuzzExplain(f *testing.F) {
	fake, sp, idp := leaving()
	idp.EntityID, idp.Certificates = idpEntityID, samltest.Certificates(samltest.IdP())
	for _, xml := range append(logoutSeeds(), fake.Request(ssoURL, noon).XML()) {
		f.Add(xml)
		f.Add("https://login.example.com/?" + fake.SignedRedirectQuery(xml, "r"))
		f.Add(samltest.PostBody(fake.Sign(xml), "r"))
	}
	for _, xml := range seeds(f, "testdata/golden/*.xml") {
		f.Add(string(xml))
	}
	f.Fuzz(func(t *testing.T, pasted string) {
		in, err := saml.ReadPasted(pasted)
		findings := saml.Explain(in, sp, idp, noon)
		judgeFindings(t, findings, err == nil && firstFailure(findings) == "")
		judgeFindings(t, saml.ExplainResponse([]byte(pasted), sp, idp, noon), firstFailure(saml.ExplainResponse([]byte(pasted), sp, idp, noon)) == "")
		if err == nil && check(in, sp, idp) == nil {
			t.Fatal("what was pasted would be answered")
		}
		boundedRedaction(t, string(in.XML()))
	})
}

// FuzzRedirectURL: whatever goes in, either nothing comes out or the receiver reads exactly this, at the location.
func FuzzRedirectURL(f *testing.F) {
	f.Add(spSLO, "r & s", "ada@example.com")
	f.Add("https://sp.example.com/?SAMLRequest=x", "", "x")
	f.Add("http://127.0.0.1/", "=&%?#", "<>")
	fake := atlassian()
	key, err := xmldsig.NewSigner(fake.Key, fake.Cert, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, location, relayState, name string) {
		_, sp, idp := leaving()
		idp.LogoutEndpoints = []string{location}
		xml, err := saml.AppendLogoutRequest(nil, &saml.LogoutRequest{
			ID: "_1", IssueInstant: noon, Destination: location, Issuer: spEntityID, NameID: saml.NameID{Value: name},
		}, nil)
		if err != nil {
			return
		}
		to, err := saml.RedirectURL(location, saml.ParameterRequest, xml, relayState, key)
		if err != nil {
			return
		}
		_, query, _ := strings.Cut(to, "?")
		in, err := saml.ReadLogoutRedirect(query)
		if err != nil {
			if strings.Contains(location, "?") || !utf8.ValidString(relayState) || strings.Contains(relayState, "\x00") {
				return // the location's own query, or a state that is not text, is the caller's
			}
			t.Fatal(err)
		}
		d, err := saml.CheckLogoutRequest(in, sp, idp, noon)
		if err != nil {
			if strings.TrimSpace(name) == "" {
				return
			}
			t.Fatalf("%q: %v", to, err)
		}
		if d.Request.NameID.Value != strings.TrimSpace(name) || d.RelayState != relayState || d.Request.Destination != location {
			t.Fatalf("%+v", d)
		}
	})
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
