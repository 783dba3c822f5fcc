package xmlenc_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/google/go-cmp/cmp"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
	"github.com/latchkey-idp/latchkey/internal/saml/xmlenc"
)

var update = flag.Bool("update", false, "write the seeds anew")

var limits = xmldsig.Limits{Bytes: 64 << 10, Depth: 10, Attributes: 10, Nodes: 100}

func read(t testing.TB, s string) *xmldsig.Element {
	t.Helper()
	e, err := xmldsig.Read([]byte(s), limits)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func recipient(t testing.TB, algorithm string, opts ...xmlenc.Option) *xmlenc.Recipient {
	t.Helper()
	r, err := xmlenc.NewRecipient(samltest.IdP().Cert, algorithm, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func key(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	k, ok := samltest.IdP().Key.(*rsa.PrivateKey)
	if !ok {
		t.Fatal("not an RSA key")
	}
	return k
}

func encrypt(t testing.TB, r *xmlenc.Recipient, plain string) string {
	t.Helper()
	out, err := r.AppendEncryptedData(nil, []byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

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

func TestRoundTrip(t *testing.T) {
	k := key(t)
	for _, algorithm := range append(xmlenc.Algorithms(), "") {
		for name, opts := range map[string][]xmlenc.Option{"SHA-1": nil, "SHA-256": {xmlenc.OAEPSHA256()}} {
			t.Run(algorithm+" "+name, func(t *testing.T) {
				r := recipient(t, algorithm, opts...)
				if want := algorithm; want != "" && r.Algorithm() != want || want == "" && r.Algorithm() != xmlenc.AES256GCM {
					t.Error(r.Algorithm())
				}
				for _, plain := range []string{"x", "<a></a>", strings.Repeat("<b>é</b>", 5000)} {
					one, other := encrypt(t, r, plain), encrypt(t, r, plain)
					got, err := xmlenc.Decrypt(read(t, one), k, limits)
					if err != nil || string(got) != plain {
						t.Fatalf("%v, %d bytes of %d", err, len(got), len(plain))
					}
					if one == other {
						t.Error("the same key twice")
					}
				}
			})
		}
	}
	t.Run("in place", func(t *testing.T) {
		buf := []byte("head<a></a>")
		buf, err := recipient(t, "").AppendEncryptedData(buf[:4], buf[4:])
		if err != nil {
			t.Fatal(err)
		}
		xml, ok := strings.CutPrefix(string(buf), "head")
		if got, err := xmlenc.Decrypt(read(t, xml), k, limits); !ok || err != nil || string(got) != "<a></a>" {
			t.Errorf("%s, %v", got, err)
		}
	})
	t.Run("canonical", func(t *testing.T) {
		for _, opts := range [][]xmlenc.Option{nil, {xmlenc.OAEPSHA256()}} {
			xml := encrypt(t, recipient(t, "", opts...), "<a></a>")
			doc := etree.NewDocument()
			if err := doc.ReadFromString(xml); err != nil {
				t.Fatal(err)
			}
			want, err := dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("").Canonicalize(doc.Root())
			if diff := cmp.Diff(string(want), xml); diff != "" || err != nil {
				t.Error(err, diff)
			}
		}
	})
	t.Run("nothing", func(t *testing.T) {
		if out, err := recipient(t, "").AppendEncryptedData(nil, nil); err == nil {
			t.Errorf("%s", out)
		}
	})
}

func TestNewRecipient(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GODEBUG", "rsa1024min=0")
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	good := samltest.IdP().Cert
	for name, test := range map[string]struct {
		cert      *x509.Certificate
		algorithm string
	}{
		"no certificate":      {nil, ""},
		"ECDSA key":           {certificate(t, p256), ""},
		"short key":           {certificate(t, short), ""},
		"CBC":                 {good, "http://www.w3.org/2001/04/xmlenc#aes256-cbc"},
		"3DES":                {good, "http://www.w3.org/2001/04/xmlenc#tripledes-cbc"},
		"key transport":       {good, xmlenc.OAEPMGF1P},
		"unknown":             {good, "urn:x"},
		"another upper case":  {good, strings.ToUpper(xmlenc.AES256GCM)},
		"algorithm and blank": {good, xmlenc.AES256GCM + " "},
	} {
		if r, err := xmlenc.NewRecipient(test.cert, test.algorithm); err == nil || r != nil {
			t.Error(name, "is encrypted to")
		}
	}
	if r := recipient(t, ""); !r.Certificate().Equal(good) {
		t.Error("another certificate")
	}
}

func TestChoose(t *testing.T) {
	const cbc, v15 = "http://www.w3.org/2001/04/xmlenc#aes128-cbc", "http://www.w3.org/2001/04/xmlenc#rsa-1_5"
	for _, test := range []struct {
		name    string
		methods []string
		want    string
		sha256  bool
	}{
		{"no statement", nil, xmlenc.AES256GCM, false},
		{"key transport only", []string{xmlenc.OAEPMGF1P}, xmlenc.AES256GCM, false},
		{"old key transport only", []string{v15}, xmlenc.AES256GCM, false},
		{"one", []string{cbc, xmlenc.AES128GCM}, xmlenc.AES128GCM, false},
		{"the strongest", []string{xmlenc.AES128GCM, xmlenc.AES256GCM, cbc}, xmlenc.AES256GCM, false},
		{"newer key transport", []string{xmlenc.AES256GCM, xmlenc.OAEP}, xmlenc.AES256GCM, true},
		{"both key transports", []string{xmlenc.OAEP, xmlenc.OAEPMGF1P}, xmlenc.AES256GCM, false},
		{"CBC only", []string{cbc, xmlenc.OAEPMGF1P}, "", false},
		{"something unknown", []string{"urn:x"}, "", false},
	} {
		algorithm, opts, ok := xmlenc.Choose(test.methods)
		if algorithm != test.want || ok != (test.want != "") || (len(opts) > 0) != test.sha256 {
			t.Errorf("%s: %q, %d options, %t", test.name, algorithm, len(opts), ok)
		}
		if !ok {
			continue
		}
		xml := encrypt(t, recipient(t, algorithm, opts...), "<a></a>")
		if strings.Contains(xml, xmlenc.OAEP+`"`) != test.sha256 {
			t.Errorf("%s: the other key transport", test.name)
		}
	}
}

// files writes a test's files and returns their folder.
func files(t testing.TB, content map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	der, err := x509.MarshalPKCS8PrivateKey(key(t))
	if err != nil {
		t.Fatal(err)
	}
	content["key.pem"] = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	content["cert.pem"] = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: samltest.IdP().Cert.Raw}))
	for name, s := range content {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// byXMLSec encrypts with the program xmlsec1.
func byXMLSec(t testing.TB, algorithm, sessionKey, transport, plain string) string {
	t.Helper()
	dir := files(t, map[string]string{"plain.xml": plain, "template.xml": `<e:EncryptedData xmlns:e="http://www.w3.org/2001/04/xmlenc#" Type="http://www.w3.org/2001/04/xmlenc#Element">
  <e:EncryptionMethod Algorithm="` + algorithm + `"/>
  <KeyInfo xmlns="http://www.w3.org/2000/09/xmldsig#">
    <e:EncryptedKey>
      <e:EncryptionMethod Algorithm="` + transport + `"/>
      <KeyInfo><X509Data/></KeyInfo>
      <e:CipherData><e:CipherValue/></e:CipherData>
    </e:EncryptedKey>
  </KeyInfo>
  <e:CipherData><e:CipherValue/></e:CipherData>
</e:EncryptedData>`})
	cmd := exec.CommandContext(t.Context(), "xmlsec1", "--encrypt", "--pubkey-cert-pem", "cert.pem", "--session-key", sessionKey, "--xml-data", "plain.xml", "--output", "out.xml", "template.xml")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("xmlsec1: %v: %s", err, out)
	}
	b, err := os.ReadFile(filepath.Join(dir, "out.xml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestOtherProgram: xmlsec1 decrypts what we encrypt, and the other way round. It does not know xmlenc11#rsa-oaep.
func TestOtherProgram(t *testing.T) {
	const plain = `<a xmlns="urn:a:a" b="1">é &amp; <c></c></a>`
	for algorithm, sessionKey := range map[string]string{xmlenc.AES128GCM: "aes-128", xmlenc.AES192GCM: "aes-192", xmlenc.AES256GCM: "aes-256"} {
		t.Run(sessionKey, func(t *testing.T) {
			dir := files(t, map[string]string{"ours.xml": `<doc>` + encrypt(t, recipient(t, algorithm), plain) + `</doc>`})
			cmd := exec.CommandContext(t.Context(), "xmlsec1", "--decrypt", "--privkey-pem", "key.pem", "--output", "out.xml", "ours.xml")
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("xmlsec1: %v: %s", err, out)
			}
			b, err := os.ReadFile(filepath.Join(dir, "out.xml"))
			if err != nil {
				t.Fatal(err)
			}
			if want := `<doc>` + strings.NewReplacer("<c></c>", "<c/>", "é", "&#xE9;").Replace(plain) + `</doc>`; !strings.Contains(string(b), want) {
				t.Errorf("xmlsec1 reads %s", b)
			}

			theirs := byXMLSec(t, algorithm, sessionKey, xmlenc.OAEPMGF1P, plain)
			got, err := xmlenc.Decrypt(read(t, theirs), key(t), limits)
			if err != nil || !strings.Contains(string(got), `é &amp; <c/>`) {
				t.Errorf("%s, %v", got, err)
			}
		})
	}
}

// flip changes one bit of the base64 value behind the n-th CipherValue tag: 0 is the key, 1 the content. A negative
// index counts from the end.
func flip(xml string, n, index int) string {
	return edit(xml, n, func(b []byte) []byte {
		if index < 0 {
			index += len(b)
		}
		b[index] ^= 1
		return b
	})
}

func edit(xml string, n int, change func([]byte) []byte) string {
	const open, shut = "<xenc:CipherValue>", "</xenc:CipherValue>"
	parts := strings.Split(xml, open)
	value, rest, _ := strings.Cut(parts[n+1], shut)
	b, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		panic(err)
	}
	parts[n+1] = base64.StdEncoding.EncodeToString(change(b)) + shut + rest
	return strings.Join(parts, open)
}

// TestClass08_EncryptedParts: whatever is wrong, the answer is the same error, and nothing comes out.
func TestClass08_EncryptedParts(t *testing.T) {
	const plain = `<saml:NameID xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">ada</saml:NameID>`
	const v15, cbc, enc = "http://www.w3.org/2001/04/xmlenc#rsa-1_5", "http://www.w3.org/2001/04/xmlenc#aes256-cbc", "http://www.w3.org/2001/04/xmlenc#"
	k := key(t)
	good, newer := encrypt(t, recipient(t, ""), plain), encrypt(t, recipient(t, "", xmlenc.OAEPSHA256()), plain)
	for name, xml := range map[string]string{"good": good, "good, newer transport": newer} {
		if got, err := xmlenc.Decrypt(read(t, xml), k, limits); err != nil || string(got) != plain {
			t.Fatal(name, err)
		}
	}
	replaced := func(old, by string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not there", old)
		}
		return strings.Replace(good, old, by, 1)
	}
	oaep := func(of []byte) func([]byte) []byte { // moves another key
		return func([]byte) []byte {
			b, err := rsa.EncryptOAEP(crypto.SHA1.New(), rand.Reader, &k.PublicKey, of, nil)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
	}
	digest := `<ds:DigestMethod Algorithm="http://www.w3.org/2000/09/xmldsig#sha1"></ds:DigestMethod>`
	contentMethod := `<xenc:EncryptionMethod Algorithm="` + xmlenc.AES256GCM + `"></xenc:EncryptionMethod>`
	data := good[strings.LastIndex(good, "<xenc:CipherData>"):strings.LastIndex(good, "</xenc:EncryptedData>")]
	info := good[strings.Index(good, "<ds:KeyInfo xmlns"):strings.LastIndex(good, "<xenc:CipherData>")]
	for name, xml := range map[string]string{
		"tag":                   flip(good, 1, -1),
		"first byte of the tag": flip(good, 1, -16),
		"ciphertext":            flip(good, 1, 12),
		"IV":                    flip(good, 1, 0),
		"key":                   flip(good, 0, 9),
		"one byte less":         edit(good, 1, func(b []byte) []byte { return b[:len(b)-1] }),
		"one byte more":         edit(good, 1, func(b []byte) []byte { return append(b, 0) }),
		"tag cut off":           edit(good, 1, func(b []byte) []byte { return b[:len(b)-16] }),
		"IV and tag only":       edit(good, 1, func(b []byte) []byte { return append(b[:12:12], b[len(b)-16:]...) }),
		"IV only":               edit(good, 1, func(b []byte) []byte { return b[:12] }),
		"less than an IV":       edit(good, 1, func(b []byte) []byte { return b[:5] }),
		"no content":            edit(good, 1, func([]byte) []byte { return nil }),
		"no key":                edit(good, 0, func([]byte) []byte { return nil }),
		"short key value":       edit(good, 0, func(b []byte) []byte { return b[1:] }),
		"long key value":        edit(good, 0, func(b []byte) []byte { return append(b, b...) }),
		"key value without its leading zero": edit(good, 0, func(b []byte) []byte {
			session, err := k.Decrypt(nil, b, &rsa.OAEPOptions{Hash: crypto.SHA1})
			if err != nil {
				t.Fatal(err)
			}
			for { // one in 256 begins so
				if b, err = rsa.EncryptOAEP(crypto.SHA1.New(), rand.Reader, &k.PublicKey, session, nil); err != nil || b[0] == 0 {
					return b[1:]
				}
			}
		}),
		"absurdly long key value": edit(good, 0, func([]byte) []byte { return make([]byte, 10000) }),
		"key of 16 bytes for 32":  edit(good, 0, oaep(make([]byte, 16))),
		"key of 31 bytes":         edit(good, 0, oaep(make([]byte, 31))),
		"empty key":               edit(good, 0, oaep(nil)),
		"key with a label": edit(good, 0, func([]byte) []byte {
			b, _ := rsa.EncryptOAEP(crypto.SHA1.New(), rand.Reader, &k.PublicKey, make([]byte, 32), []byte("x"))
			return b
		}),
		"another key's":              encrypt(t, must(xmlenc.NewRecipient(samltest.Other().Cert, "")), plain),
		"content of another message": edit(good, 1, func([]byte) []byte { _, b := values(newer); return b }),
		"transports exchanged":       edit(newer, 0, func([]byte) []byte { b, _ := values(good); return b }),

		"other key length named":    replaced("aes256-gcm", "aes128-gcm"),
		"CBC named":                 replaced(xmlenc.AES256GCM, cbc),
		"no algorithm":              replaced(` Algorithm="`+xmlenc.AES256GCM+`"`, ""),
		"no EncryptionMethod":       replaced(contentMethod, ""),
		"two EncryptionMethods":     replaced(contentMethod, contentMethod+contentMethod),
		"content of the method":     replaced(contentMethod, strings.Replace(contentMethod, "><", "><xenc:KeySize>8</xenc:KeySize><", 1)),
		"PKCS #1 v1.5 named":        replaced(xmlenc.OAEPMGF1P, v15),
		"digest SHA-256 for mgf1p":  replaced("http://www.w3.org/2000/09/xmldsig#sha1", enc+"sha256"),
		"digest MD5":                replaced("http://www.w3.org/2000/09/xmldsig#sha1", "http://www.w3.org/2001/04/xmldsig-more#md5"),
		"two digests":               replaced(digest, digest+digest),
		"OAEP parameters":           replaced(digest, digest+"<xenc:OAEPparams>AAAA</xenc:OAEPparams>"),
		"newer OAEP without MGF":    replaced(xmlenc.OAEPMGF1P, xmlenc.OAEP),
		"MGF of SHA-1":              strings.Replace(newer, "mgf1sha256", "mgf1sha1", 1),
		"digest of another space":   replaced(digest, strings.ReplaceAll(digest, "ds:", "xenc:")),
		"value by reference":        replaced(data, `<xenc:CipherData><xenc:CipherReference URI="http://127.0.0.1/"></xenc:CipherReference></xenc:CipherData>`),
		"two CipherData":            replaced(data, data+data),
		"two CipherValues":          replaced(data, strings.Replace(data, "</xenc:CipherValue>", "</xenc:CipherValue><xenc:CipherValue>AAAA</xenc:CipherValue>", 1)),
		"element in the value":      replaced(data, strings.Replace(data, "</xenc:CipherValue>", "<a></a></xenc:CipherValue>", 1)),
		"not base64":                replaced(data, strings.Replace(data, "</xenc:CipherValue>", "!</xenc:CipherValue>", 1)),
		"no CipherData":             replaced(data, ""),
		"content of another space":  replaced(data, strings.ReplaceAll(strings.Replace(data, "xenc:CipherData", `xenc:CipherData xmlns:xenc="urn:x:x"`, 1), "<ds:", "<xenc:")),
		"no KeyInfo":                replaced(info, ""),
		"two KeyInfos":              replaced(info, info+info),
		"EncryptedKey as the root":  strings.Replace(strings.TrimSuffix(strings.TrimPrefix(info, `<ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#">`), "</ds:KeyInfo>"), "<xenc:EncryptedKey", `<xenc:EncryptedKey xmlns:ds="http://www.w3.org/2000/09/xmldsig#" xmlns:xenc="`+enc+`"`, 1),
		"root of another namespace": `<EncryptedData></EncryptedData>`,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := xmlenc.Decrypt(read(t, xml), k, limits)
			if err != xmlenc.ErrDecrypt || got != nil { //nolint:errorlint // the very same error, so that nothing is told
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	t.Run("by another program, CBC", func(t *testing.T) {
		got, err := xmlenc.Decrypt(read(t, byXMLSec(t, cbc, "aes-256", xmlenc.OAEPMGF1P, plain)), k, limits)
		if err != xmlenc.ErrDecrypt || got != nil { //nolint:errorlint // the very same error
			t.Errorf("%q, %v", got, err)
		}
	})
	t.Run("by another program, PKCS #1 v1.5", func(t *testing.T) {
		got, err := xmlenc.Decrypt(read(t, byXMLSec(t, xmlenc.AES256GCM, "aes-256", v15, plain)), k, limits)
		if err != xmlenc.ErrDecrypt || got != nil { //nolint:errorlint // the very same error
			t.Errorf("%q, %v", got, err)
		}
	})
	t.Run("longer than the limit", func(t *testing.T) {
		small := limits
		small.Bytes = len(plain)
		if got, err := xmlenc.Decrypt(read(t, good), k, small); err != nil || string(got) != plain {
			t.Error("just as long:", err)
		}
		small.Bytes--
		if got, err := xmlenc.Decrypt(read(t, good), k, small); err != xmlenc.ErrDecrypt || got != nil { //nolint:errorlint // the very same error
			t.Errorf("%q, %v", got, err)
		}
	})
	t.Run("nothing", func(t *testing.T) {
		for _, e := range []*xmldsig.Element{nil, {}} {
			if got, err := xmlenc.Decrypt(e, k, limits); err != xmlenc.ErrDecrypt || got != nil { //nolint:errorlint // the very same error
				t.Errorf("%q, %v", got, err)
			}
		}
		if got, err := xmlenc.Decrypt(read(t, good), nil, limits); err != xmlenc.ErrDecrypt || got != nil { //nolint:errorlint // the very same error
			t.Errorf("%q, %v", got, err)
		}
	})
}

func must(r *xmlenc.Recipient, err error) *xmlenc.Recipient {
	if err != nil {
		panic(err)
	}
	return r
}

// values returns the decoded values of the key and of the content.
func values(xml string) (wrapped, sealed []byte) {
	edit(xml, 0, func(b []byte) []byte { wrapped = bytes.Clone(b); return b })
	edit(xml, 1, func(b []byte) []byte { sealed = bytes.Clone(b); return b })
	return wrapped, sealed
}

// FuzzDecrypt: what comes out is what the owner of the certificate was sent, whatever is done to the document.
func FuzzDecrypt(f *testing.F) {
	seeds, err := filepath.Glob("testdata/*.xml")
	if err != nil || len(seeds) == 0 {
		f.Fatal("no seed", err)
	}
	const plain = `<a xmlns="urn:a:a">seed</a>`
	for _, file := range seeds {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	k := key(f)
	f.Fuzz(func(t *testing.T, xml []byte) {
		e, err := xmldsig.Read(xml, limits)
		if err != nil {
			return
		}
		got, err := xmlenc.Decrypt(e, k, limits)
		switch {
		case err == nil && string(got) != plain:
			t.Fatalf("decrypted what nobody encrypted: %s", got)
		case err != nil && (got != nil || err != xmlenc.ErrDecrypt): //nolint:errorlint // the very same error
			t.Fatalf("%q beside %v", got, err)
		}
	})
}

// TestSeeds: the seeds of FuzzDecrypt can be decrypted. With -update they are made anew.
func TestSeeds(t *testing.T) {
	const plain = `<a xmlns="urn:a:a">seed</a>`
	for name, opts := range map[string][]xmlenc.Option{"testdata/mgf1p.xml": nil, "testdata/oaep.xml": {xmlenc.OAEPSHA256()}} {
		if *update {
			if err := os.WriteFile(name, []byte(encrypt(t, recipient(t, "", opts...), plain)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := xmlenc.Decrypt(read(t, string(b)), key(t), limits); err != nil || string(got) != plain {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func BenchmarkAppendEncryptedData(b *testing.B) {
	r := recipient(b, "")
	plain := bytes.Repeat([]byte("<a>0123456789</a>"), 200)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = r.AppendEncryptedData(buf[:0], plain); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleRecipient_AppendEncryptedData() {
	pair := samltest.IdP()
	recipient, err := xmlenc.NewRecipient(pair.Cert, xmlenc.AES256GCM)
	if err != nil {
		panic(err)
	}
	xml, err := recipient.AppendEncryptedData(nil, []byte(`<name>Ada</name>`))
	if err != nil {
		panic(err)
	}

	// The other side:
	limits := xmldsig.Limits{Bytes: 10000, Depth: 10, Attributes: 10, Nodes: 100}
	root, err := xmldsig.Read(xml, limits)
	if err != nil {
		panic(err)
	}
	plain, err := xmlenc.Decrypt(root, pair.Key.(*rsa.PrivateKey), limits)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s\n", plain)
	// Output: <name>Ada</name>
}

// A nonce of AES-GCM is never used twice, whatever becomes of the key one day (NIST SP 800-38D §8).
func TestClass08_FreshNonce(t *testing.T) {
	r := must(xmlenc.NewRecipient(samltest.IdP().Cert, ""))
	seen := map[string]bool{}
	for range 3 {
		_, content := values(encrypt(t, r, "the same"))
		if nonce := string(content[:12]); seen[nonce] || nonce == string(make([]byte, 12)) {
			t.Errorf("nonce %x", nonce)
		} else {
			seen[nonce] = true
		}
	}
}
