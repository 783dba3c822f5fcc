package xmldsig_test

import (
	"crypto"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
)

// messages are the limits that package saml sets on the XML of a message, which anybody may send.
var messages = xmldsig.Limits{Bytes: 128 << 10, Depth: 24, Attributes: 40, Nodes: 2000}

// times repeats a pattern with %d as long as it stays within n bytes, at most most times.
func times(pattern string, n, most int) string {
	var b strings.Builder
	for i := range most {
		next := strings.ReplaceAll(pattern, "%d", fmt.Sprint(i))
		if b.Len()+len(next) > n {
			break
		}
		b.WriteString(next)
	}
	return b.String()
}

// worst are contents of a message that drive some cost to what the limits allow. Each is put into a signed document.
func worst() map[string]string {
	const room = 124 << 10 // what the signature and the root leave
	long := strings.Repeat("n", 2000)
	scope := times(` xmlns:p%d="urn:p:%d"`, room, 39) + ">"
	return map[string]string{
		"text":                  strings.Repeat("x", room),
		"text to be escaped":    strings.Repeat("&#62;", room/8),
		"references":            strings.Repeat("&#x100;", room/7),
		"CDATA sections":        strings.Repeat("<![CDATA[x]]>", room/13),
		"elements":              times("<a/>", room, 1950),
		"elements, long names":  times("<a"+strings.Repeat("b", 26)+"/>", room, 1950),
		"deep":                  strings.Repeat("<a>", 20) + strings.Repeat("<b/>", 1900) + strings.Repeat("</a>", 20),
		"comments":              times("<!-- 0123456789012345678901234567890123456789 -->", room, 1900),
		"attributes":            times("<a "+times(`a%d="" `, room, 40)+"/>", room, 47),
		"attributes, long name": times("<a "+times(long+`%d="" `, room, 40)+"/>", room, 2),
		"attribute values":      times("<a "+times(`a%d='&#62;&#38;&#9;""""""' `, room, 40)+"/>", room, 47),
		"identifiers":           times(`<a ID="i%d"/>`, room, 970),
		"namespaces in force":   "<a" + scope + "<a" + strings.ReplaceAll(scope, ":p", ":q") + "<a" + strings.ReplaceAll(scope, ":p", ":r") + times("<a "+times(`p%d:a="" `, room, 39)+"/>", room, 44) + "</a></a></a>",
		"namespaces rendered":   "<a" + scope + times("<a "+times(`p%d:a="" `, room, 39)+"/>", room, 25) + "</a>",
	}
}

// signedWorst is a document of almost 128 KB that verifies.
func signedWorst(t testing.TB, content string) string {
	t.Helper()
	head, tail := enclose("<c>" + content + "</c>")
	return signed(t, head, tail, strings.TrimSpace(times("p%d ", 4000, 39)), samltest.IdP().Key)
}

// TestClass14_WorstAccepted: the worst that is accepted costs little more than a plain text of this length.
func TestClass14_WorstAccepted(t *testing.T) {
	keys := []crypto.PublicKey{samltest.IdP().Cert.PublicKey}
	for name, content := range worst() {
		doc := []byte(signedWorst(t, content))
		began := time.Now()
		root, err := xmldsig.Read(doc, messages)
		if err != nil {
			t.Fatal(name, err)
		}
		if _, err := xmldsig.Verify(root, keys, messages); err != nil {
			t.Fatal(name, err)
		}
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("%s: %v for %d bytes", name, took, len(doc))
		}
	}
}

// TestClass14_NamespacesInForce: looking up a prefix costs little anywhere.
func TestClass14_NamespacesInForce(t *testing.T) {
	level := func(prefix string, n int) string { return "<a" + times(" xmlns:"+prefix+`%d="urn:p:p"`, 4000, n) + ">" }
	for last, ok := range map[int]bool{32: true, 33: false} {
		doc := level("a", 32) + level("b", 32) + level("c", 32) + level("d", last) + "</a></a></a></a>"
		_, err := xmldsig.Read([]byte(doc), messages)
		if (err == nil) != ok || err != nil && !errors.Is(err, xmldsig.ErrLimit) {
			t.Errorf("%d declarations: %v", 96+last, err)
		}
	}
	siblings := "<x>" + strings.Repeat(level("a", 39)+"</a>", 10) + "</x>"
	if _, err := xmldsig.Read([]byte(siblings), messages); err != nil {
		t.Error("declarations that are not in force together:", err)
	}
}

// TestClass14_CanonicalForm: a document whose canonical form is its square, under a signature that somebody else made
// for another one with the same ID.
func TestClass14_CanonicalForm(t *testing.T) {
	head, tail := enclose("<c/>")
	good := signed(t, head, tail, "", samltest.IdP().Key)
	grown := `<q:c xmlns:q="urn:q:q" xmlns:p="urn:p:` + strings.Repeat("n", 60<<10) + `">` + strings.Repeat("<p:a/>", 1900) + `</q:c>`
	bad := []byte(strings.Replace(good, "<c/>", grown, 1))
	keys := []crypto.PublicKey{samltest.IdP().Cert.PublicKey}
	root, err := xmldsig.Read(bad, messages)
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := xmldsig.Verify(root, keys, messages); !errors.Is(err, xmldsig.ErrLimit) {
		t.Error(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d bytes are used for a document of %d", n, len(bad))
	}
	if _, err := xmldsig.VerifyBytes(bad, keys, messages); !errors.Is(err, xmldsig.ErrLimit) {
		t.Error(err)
	}
	for name, doc := range map[string]string{
		"long SignedInfo":  strings.Replace(good, "<ds:SignedInfo>", `<ds:SignedInfo a="`+strings.Repeat("x", 17<<10)+`">`, 1),
		"long prefix list": signed(t, head, tail, times("p%d ", 4000, 129), samltest.IdP().Key),
	} {
		if _, err := xmldsig.Verify(read(t, doc), keys, limits); err == nil {
			t.Error(name, "passes")
		}
	}
}

// BenchmarkWorst shows what the worst accepted documents cost, "text" being the plainest.
func BenchmarkWorst(b *testing.B) {
	keys := []crypto.PublicKey{samltest.IdP().Cert.PublicKey}
	for name, content := range worst() {
		doc := []byte(signedWorst(b, content))
		root, err := xmldsig.Read(doc, messages)
		if err != nil {
			b.Fatal(name, err)
		}
		b.Run("read/"+name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(doc)))
			for b.Loop() {
				if _, err := xmldsig.Read(doc, messages); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("verify/"+name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(doc)))
			for b.Loop() {
				if _, err := xmldsig.Verify(root, keys, messages); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkVerify measures an ordinary signed request.
func BenchmarkVerify(b *testing.B) {
	doc, err := os.ReadFile("testdata/verify/signed-plain.xml")
	if err != nil {
		b.Fatal(err)
	}
	keys := []crypto.PublicKey{samltest.IdP().Cert.PublicKey}
	root := read(b, string(doc))
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := xmldsig.Read(doc, messages); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("verify", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := xmldsig.Verify(root, keys, messages); err != nil {
				b.Fatal(err)
			}
		}
	})
}
