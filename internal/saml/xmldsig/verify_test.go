package xmldsig_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
)

func certificate(t testing.TB, key crypto.Signer) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1, 0)} // long expired
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// byXMLSec signs the template with the program xmlsec1, an implementation that shares nothing with ours.
func byXMLSec(t *testing.T, key crypto.Signer, method, digest, inclusive string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/verify/template.xml")
	if err != nil {
		t.Fatal(err)
	}
	s := strings.NewReplacer("SIGNATURE-METHOD", method, "DIGEST-METHOD", digest, "INCLUSIVE", inclusive).Replace(string(b))
	return byXMLSecTemplate(t, key, certificate(t, key), "urn:example:message:Message", s)
}

// byXMLSecTemplate lets xmlsec1 fill in the signature of a document whose root has this namespace and name.
func byXMLSecTemplate(t testing.TB, key crypto.Signer, cert *x509.Certificate, root, template string) string {
	t.Helper()
	dir := t.TempDir()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{
		"template.xml": []byte(template),
		"key.pem":      pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		"cert.pem":     pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}),
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "xmlsec1", "--sign", "--privkey-pem", "key.pem,cert.pem", "--id-attr:ID", root, "--output", "out.xml", "template.xml")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("xmlsec1: %v: %s", err, out)
	}
	out, err := os.ReadFile(filepath.Join(dir, "out.xml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func read(t testing.TB, s string) *xmldsig.Element {
	t.Helper()
	e, err := xmldsig.Read([]byte(s), limits)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

const (
	sha256URI = "http://www.w3.org/2001/04/xmlenc#sha256"
	sha384URI = "http://www.w3.org/2001/04/xmldsig-more#sha384"
	sha512URI = "http://www.w3.org/2001/04/xmlenc#sha512"
)

// TestVerify takes signatures made by xmlsec1 with all allowed algorithms, in an XML style other than ours.
func TestVerify(t *testing.T) {
	rsaKey := samltest.IdP().Key
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	strangers := []crypto.PublicKey{samltest.Other().Cert.PublicKey, nil}
	const inclusive = `<InclusiveNamespaces xmlns="http://www.w3.org/2001/10/xml-exc-c14n#" PrefixList="unused p"/>`
	withDefault := strings.Replace(inclusive, `"unused p"`, `"#default samlp unused"`, 1)
	for _, test := range []struct {
		name, method, digest, inclusive string
		key                             crypto.Signer
	}{
		{"RSA, SHA-256", xmldsig.RSASHA256, sha256URI, "", rsaKey},
		{"RSA, SHA-384", xmldsig.RSASHA384, sha384URI, "", rsaKey},
		{"RSA, SHA-512", xmldsig.RSASHA512, sha512URI, "", rsaKey},
		{"RSA, mixed hashes", xmldsig.RSASHA512, sha256URI, "", rsaKey},
		{"inclusive prefixes", xmldsig.RSASHA256, sha256URI, inclusive, rsaKey},
		{"inclusive prefixes and the default", xmldsig.RSASHA256, sha256URI, withDefault, rsaKey},
		{"P-256, SHA-256", xmldsig.ECDSASHA256, sha256URI, "", p256},
		{"P-521, SHA-512", xmldsig.ECDSASHA512, sha512URI, "", p521},
		{"P-256, SHA-384", xmldsig.ECDSASHA384, sha384URI, "", p256},
	} {
		t.Run(test.name, func(t *testing.T) {
			signed := byXMLSec(t, test.key, test.method, test.digest, test.inclusive)
			root := read(t, signed)
			v, err := xmldsig.Verify(root, append(strangers, test.key.Public()), limits)
			if err != nil {
				t.Fatal(err)
			}
			unused := ""
			if test.inclusive != "" {
				unused = ` xmlns:unused="urn:example:unused"`
			}
			want := `<p:Message xmlns:p="urn:example:message"` + unused + ` Alpha="2" ID="_m1" zebra="1">` + "\n  \n  " +
				`<body xmlns="urn:example:default" a=">" p:x="&quot;tab&#x9;&lt;">text &amp; more &lt;data&gt; &#xD;</body>` + "\n  " +
				`<empty xmlns="urn:example:default"></empty><p:nested><q:inner xmlns:q="urn:example:q" attr="2" q:attr="1"></q:inner></p:nested>` + "\n" + `</p:Message>`
			if test.inclusive == withDefault {
				const byDefault = ` xmlns="urn:example:default"`
				want = strings.Replace(strings.ReplaceAll(want, byDefault, ""), "<p:Message", "<p:Message"+byDefault, 1)
			}
			if diff := cmp.Diff(want, string(v.Bytes())); diff != "" {
				t.Error(diff)
			}
			if xmldsig.HasSignature(v.Root()) || !v.Root().Is("urn:example:message", "Message") {
				t.Error("the verified element is another one")
			}
			for _, bad := range [][]crypto.PublicKey{nil, strangers, {test.key}} {
				if _, err := xmldsig.Verify(root, bad, limits); err == nil {
					t.Error("verified without the key")
				}
			}
			for _, change := range []string{"text", "Alpha", "_m1", "urn:example:q", ` attr="2"`} {
				if _, err := xmldsig.Verify(read(t, strings.ReplaceAll(signed, change, change[:len(change)-1]+"z"+change[len(change)-1:])), []crypto.PublicKey{test.key.Public()}, limits); err == nil {
					t.Errorf("verified after %q was changed", change)
				}
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		_, err := xmldsig.Verify(read(t, `<a ID="_1"/>`), []crypto.PublicKey{rsaKey.Public()}, limits)
		if !errors.Is(err, xmldsig.ErrNoSignature) {
			t.Error(err)
		}
	})
	t.Run("result over the limits", func(t *testing.T) {
		small := limits
		small.Nodes = 10
		if _, err := xmldsig.Verify(read(t, byXMLSec(t, rsaKey, xmldsig.RSASHA256, sha256URI, "")), []crypto.PublicKey{rsaKey.Public()}, small); !errors.Is(err, xmldsig.ErrLimit) {
			t.Error(err)
		}
	})
	t.Run("SHA-1 is refused though it is right", func(t *testing.T) {
		signed := byXMLSec(t, rsaKey, "http://www.w3.org/2000/09/xmldsig#rsa-sha1", "http://www.w3.org/2000/09/xmldsig#sha1", "")
		if _, err := xmldsig.Verify(read(t, signed), []crypto.PublicKey{rsaKey.Public()}, limits); err == nil {
			t.Error("verified")
		}
	})
	t.Run("short RSA key", func(t *testing.T) {
		t.Setenv("GODEBUG", "rsa1024min=0")
		key, err := rsa.GenerateKey(rand.Reader, 1024)
		if err != nil {
			t.Fatal(err)
		}
		signed := byXMLSec(t, key, xmldsig.RSASHA256, sha256URI, "")
		if _, err := xmldsig.Verify(read(t, signed), []crypto.PublicKey{key.Public()}, limits); err == nil {
			t.Error("verified")
		}
		if _, err := xmldsig.NewSigner(key, certificate(t, key), 0); err == nil {
			t.Error("signs")
		}
	})
}

func TestSigner(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name      string
		key       crypto.Signer
		hash      crypto.Hash
		algorithm string
	}{
		{"default", samltest.IdP().Key, 0, xmldsig.RSASHA256},
		{"SHA-384", samltest.IdP().Key, crypto.SHA384, xmldsig.RSASHA384},
		{"SHA-512", samltest.IdP().Key, crypto.SHA512, xmldsig.RSASHA512},
		{"ECDSA", p384, crypto.SHA384, xmldsig.ECDSASHA384},
	} {
		t.Run(test.name, func(t *testing.T) {
			k, err := xmldsig.NewSigner(test.key, certificate(t, test.key), test.hash)
			if err != nil {
				t.Fatal(err)
			}
			if k.Algorithm() != test.algorithm {
				t.Error(k.Algorithm())
			}
			const head, tail, id = `<a xmlns="urn:a:a" ID="_1">`, `</a>`, "_1"
			doc := []byte(head + strings.Repeat(" ", k.Len(id)) + tail)
			keys := []crypto.PublicKey{test.key.Public()}
			for range 20 { // ECDSA signatures differ, and some have leading zeros
				if err := k.Sign(doc, len(head), id); err != nil {
					t.Fatal(err)
				}
				v, err := xmldsig.Verify(read(t, string(doc)), keys, limits)
				if err != nil || string(v.Bytes()) != head+tail {
					t.Fatal(err, string(v.Bytes()))
				}
			}
			sig, err := k.SignDetached([]byte("octets"))
			if err != nil {
				t.Fatal(err)
			}
			if err := xmldsig.VerifyDetached(k.Algorithm(), []byte("octets"), sig, keys); err != nil {
				t.Error(err)
			}
			for name, err := range map[string]error{
				"other octets":   xmldsig.VerifyDetached(k.Algorithm(), []byte("octetz"), sig, keys),
				"other key":      xmldsig.VerifyDetached(k.Algorithm(), []byte("octets"), sig, []crypto.PublicKey{samltest.Other().Cert.PublicKey}),
				"no key":         xmldsig.VerifyDetached(k.Algorithm(), []byte("octets"), sig, nil),
				"cut":            xmldsig.VerifyDetached(k.Algorithm(), []byte("octets"), sig[1:], keys),
				"empty":          xmldsig.VerifyDetached(k.Algorithm(), []byte("octets"), nil, keys),
				"no algorithm":   xmldsig.VerifyDetached("", []byte("octets"), sig, keys),
				"outside":        k.Sign(doc, len(doc)-1, id),
				"at the start":   k.Sign(doc, 0, id),
				"up to the end":  k.Sign(doc[:len(doc)-len(tail)], len(head), id),
				"ID with markup": k.Sign(doc, len(head), `"`),
			} {
				if err == nil {
					t.Error(name, "passes")
				}
			}
		})
	}
	pair := samltest.IdP()
	for name, make := range map[string]func() (*xmldsig.Signer, error){
		"no key":         func() (*xmldsig.Signer, error) { return xmldsig.NewSigner(nil, pair.Cert, 0) },
		"no certificate": func() (*xmldsig.Signer, error) { return xmldsig.NewSigner(pair.Key, nil, 0) },
		"another's":      func() (*xmldsig.Signer, error) { return xmldsig.NewSigner(pair.Key, samltest.Other().Cert, 0) },
		"SHA-1":          func() (*xmldsig.Signer, error) { return xmldsig.NewSigner(pair.Key, pair.Cert, crypto.SHA1) },
		"MD5":            func() (*xmldsig.Signer, error) { return xmldsig.NewSigner(pair.Key, pair.Cert, crypto.MD5) },
	} {
		if k, err := make(); err == nil || k != nil {
			t.Error(name, "signs")
		}
	}
}

// TestSignerParallel: one signer serves many requests at once.
func TestSignerParallel(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, err := xmldsig.NewSigner(key, certificate(t, key), 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			head := fmt.Sprintf(`<a ID="_%d">`, i)
			for range 20 {
				id := fmt.Sprintf("_%d", i)
				doc := []byte(head + strings.Repeat(" ", k.Len(id)) + `</a>`)
				if err := k.Sign(doc, len(head), id); err != nil {
					t.Fatal(err)
				}
				if _, err := xmldsig.Verify(read(t, string(doc)), []crypto.PublicKey{key.Public()}, limits); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// FuzzVerify: what verifies is what the key signed, whatever is done to the document.
func FuzzVerify(f *testing.F) {
	pair := samltest.IdP()
	keys := []crypto.PublicKey{pair.Cert.PublicKey}
	signed := map[[32]byte]bool{}
	for file, b := range seeds(f, "testdata/verify/signed-*.xml") {
		f.Add(b)
		v, err := xmldsig.Verify(read(f, string(b)), keys, limits)
		if err != nil {
			f.Fatal(file, err)
		}
		signed[sha256.Sum256(v.Bytes())] = true
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		root, err := xmldsig.Read(data, limits)
		if err != nil {
			return
		}
		v, err := xmldsig.Verify(root, keys, limits)
		if raw, errBytes := xmldsig.VerifyBytes(data, keys, limits); (err == nil) != (errBytes == nil) || !bytes.Equal(raw, v.Bytes()) {
			t.Fatalf("Verify: %v; VerifyBytes: %v, %s", err, errBytes, raw)
		}
		if err == nil && !signed[sha256.Sum256(v.Bytes())] {
			t.Fatalf("verified what nobody signed: %s", v.Bytes())
		}
		if err != nil && v.Bytes() != nil {
			t.Fatal("bytes beside an error")
		}
	})
}

func ExampleVerify() {
	pair := samltest.IdP()
	signer, err := xmldsig.NewSigner(pair.Key, pair.Cert, crypto.SHA256)
	if err != nil {
		panic(err)
	}
	// The document in canonical form, with a gap for the signature.
	const head, tail, id = `<note ID="_n1">`, `<to>Ada</to></note>`, "_n1"
	doc := append([]byte(head), make([]byte, signer.Len(id))...)
	doc = append(doc, tail...)
	if err := signer.Sign(doc, len(head), id); err != nil {
		panic(err)
	}

	limits := xmldsig.Limits{Bytes: 10000, Depth: 10, Attributes: 10, Nodes: 100}
	root, err := xmldsig.Read(doc, limits)
	if err != nil {
		panic(err)
	}
	verified, err := xmldsig.Verify(root, []crypto.PublicKey{pair.Cert.PublicKey}, limits)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s\n", verified.Bytes())
	// Output: <note ID="_n1"><to>Ada</to></note>
}

// faulty is a key that fails, or gives a value of the wrong length.
type faulty struct {
	crypto.Signer
	value []byte
	err   error
}

func (f faulty) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return f.value, f.err }

func TestSignerFaultyKey(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("the key is gone")
	for name, key := range map[string]faulty{
		"error":          {samltest.IdP().Key, nil, broken},
		"nothing":        {samltest.IdP().Key, nil, nil},
		"short":          {samltest.IdP().Key, make([]byte, 255), nil},
		"long":           {samltest.IdP().Key, make([]byte, 257), nil},
		"ECDSA, not DER": {p256, make([]byte, 64), nil},
	} {
		k, err := xmldsig.NewSigner(key, certificate(t, map[bool]crypto.Signer{true: p256, false: samltest.IdP().Key}[strings.HasPrefix(name, "ECDSA")]), 0)
		if err != nil {
			t.Fatal(name, err)
		}
		const head = `<a ID="_1">`
		doc := []byte(head + strings.Repeat(" ", k.Len("_1")) + `</a>`)
		if err := k.Sign(doc, len(head), "_1"); err == nil || key.err != nil && !errors.Is(err, broken) {
			t.Error(name, err)
		}
		if _, err := k.SignDetached([]byte("x")); err == nil {
			t.Error(name, "signs octets")
		}
	}
}
