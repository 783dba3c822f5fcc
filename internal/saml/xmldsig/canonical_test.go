package xmldsig_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
)

// canonicalForms are documents with their exclusive canonical form. Where list is not empty it is the PrefixList.
var canonicalForms = []struct{ name, xml, list, want string }{
	{"least", `<a/>`, "", `<a></a>`},
	{"declaration and comments around", "<?xml version='1.0'?>\n<!-- x --><a/>\n<!-- y -->\n", "", `<a></a>`},
	{"comments within", "<a><!-- x --><b/><!-- y --> <!-- z --> </a>", "", `<a><b></b>  </a>`},
	{"white space in tags", "<a\n b = '1'\t\n c=\"2\"\n></a\n>", "", `<a b="1" c="2"></a>`},
	{"text", "<a>&lt;&gt;&amp;&quot;&apos;&#13;&#9;&#10;\t\n</a>", "", "<a>&lt;&gt;&amp;\"'&#xD;\t\n\t\n</a>"},
	{"CDATA", "<a><![CDATA[<&>\"]]> <![CDATA[]]></a>", "", "<a>&lt;&amp;&gt;\" </a>"},
	{"attribute values", "<a b='&lt;&gt;&amp;&quot;&apos;\"&#13;&#9;&#10;\t\n'/>", "", `<a b="&lt;>&amp;&quot;'&quot;&#xD;&#x9;&#xA;  "></a>`},
	{"order of attributes", `<a zz="1" b="2" B="3" _="4" a.b="5" a-b="6" ab="7"/>`, "", `<a B="3" _="4" a-b="6" a.b="5" ab="7" b="2" zz="1"></a>`},
	{"unused namespaces", `<a xmlns="urn:d:d" xmlns:p="urn:p:p" xmlns:q="urn:q:q"><p:b/></a>`, "", `<a xmlns="urn:d:d"><p:b xmlns:p="urn:p:p"></p:b></a>`},
	{"declared where it is used", `<a xmlns:p="urn:p:p"><b/><p:c><p:d/></p:c><p:e/></a>`, "", `<a><b></b><p:c xmlns:p="urn:p:p"><p:d></p:d></p:c><p:e xmlns:p="urn:p:p"></p:e></a>`},
	{"declared again alike", `<p:a xmlns:p="urn:p:p"><p:b xmlns:p="urn:p:p"/></p:a>`, "", `<p:a xmlns:p="urn:p:p"><p:b></p:b></p:a>`},
	{"declared again otherwise", `<p:a xmlns:p="urn:p:p"><p:b xmlns:p="urn:q:q"><p:c xmlns:p="urn:p:p"/></p:b></p:a>`, "", `<p:a xmlns:p="urn:p:p"><p:b xmlns:p="urn:q:q"><p:c xmlns:p="urn:p:p"></p:c></p:b></p:a>`},
	{"default taken back", `<a xmlns="urn:a:a"><b xmlns=""><c/><d xmlns="urn:a:a"/></b></a>`, "", `<a xmlns="urn:a:a"><b xmlns=""><c></c><d xmlns="urn:a:a"></d></b></a>`},
	{"default taken back where none was used", `<p:a xmlns="urn:a:a" xmlns:p="urn:p:p"><b xmlns=""/></p:a>`, "", `<p:a xmlns:p="urn:p:p"><b></b></p:a>`},
	{"default empty from the start", `<a xmlns=""/>`, "", `<a></a>`},
	{"prefix of an attribute", `<a xmlns:p="urn:p:p" p:x="1" x="2"/>`, "", `<a xmlns:p="urn:p:p" x="2" p:x="1"></a>`},
	{"attributes by namespace", `<a xmlns:a="urn:z:z" xmlns:z="urn:a:a" a:x="1" z:x="2" x="3" z:b="4"/>`, "", `<a xmlns:a="urn:z:z" xmlns:z="urn:a:a" x="3" z:b="4" z:x="2" a:x="1"></a>`},
	{"attributes by namespace from above", `<r xmlns:a="urn:z:z" xmlns:z="urn:a:a"><b a:x="1" z:y="2"/></r>`, "", `<r><b xmlns:a="urn:z:z" xmlns:z="urn:a:a" z:y="2" a:x="1"></b></r>`},
	{"two prefixes of one namespace", `<p:a xmlns:p="urn:p:p" xmlns:q="urn:p:p"><q:b p:x="1" q:y="2"/></p:a>`, "", `<p:a xmlns:p="urn:p:p"><q:b xmlns:q="urn:p:p" p:x="1" q:y="2"></q:b></p:a>`},
	{"order of declarations", `<b:x xmlns:b="urn:a:a" xmlns:c="urn:c:c" xmlns:A="urn:z:z" xmlns="urn:d:d" A:x="" c:x=""><y/></b:x>`, "", `<b:x xmlns:A="urn:z:z" xmlns:b="urn:a:a" xmlns:c="urn:c:c" c:x="" A:x=""><y xmlns="urn:d:d"></y></b:x>`},
	{"xml:lang", `<a xml:lang="en" x="1" xmlns:xml="http://www.w3.org/XML/1998/namespace"/>`, "", `<a x="1" xml:lang="en"></a>`},
	{"beyond ASCII", "<a b='\u00e9&#x1F600;'>\u00e9\u2028&#x85;\U0001F600</a>", "", "<a b=\"\u00e9\U0001F600\">\u00e9\u2028\u0085\U0001F600</a>"},
	{"deep", strings.Repeat("<a>", 20) + strings.Repeat("</a>", 20), "", strings.Repeat("<a>", 20) + strings.Repeat("</a>", 20)},

	{"list", `<a xmlns="urn:d:d" xmlns:p="urn:p:p" xmlns:q="urn:q:q"><p:b/></a>`, "p", `<a xmlns="urn:d:d" xmlns:p="urn:p:p"><p:b></p:b></a>`},
	{"list, prefix from below", `<a><b xmlns:p="urn:p:p"><c xmlns:p="urn:p:p" xmlns:q="urn:q:q"/></b><p:d xmlns:p="urn:p:p"/></a>`, "q p", `<a><b xmlns:p="urn:p:p"><c xmlns:q="urn:q:q"></c></b><p:d xmlns:p="urn:p:p"></p:d></a>`},
	{"list, declared otherwise", `<a xmlns:p="urn:p:p"><b xmlns:p="urn:q:q"><p:c/></b><p:d/></a>`, "p", `<a xmlns:p="urn:p:p"><b xmlns:p="urn:q:q"><p:c></p:c></b><p:d></p:d></a>`},
	{"list of what is not there", `<a xmlns:p="urn:p:p"/>`, "x xml y", `<a></a>`},
}

// TestClass03_CanonicalForm: what is written is what was read, and reading it again gives the same octets.
func TestClass03_CanonicalForm(t *testing.T) {
	for _, test := range canonicalForms {
		t.Run(test.name, func(t *testing.T) {
			e := read(t, test.xml)
			got := string(xmldsig.Canonical(e, strings.Fields(test.list)...))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if again := string(xmldsig.Canonical(read(t, got), strings.Fields(test.list)...)); again != got {
				t.Errorf("the canonical form of the canonical form is %s", again)
			}
			if xmldsig.Comparable(e) {
				theirs, err := dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList(test.list).Canonicalize(xmldsig.Etree(e, ""))
				if diff := cmp.Diff(string(theirs), got); diff != "" || err != nil {
					t.Error("goxmldsig:", diff, err)
				}
			}
			if test.list == "" && !strings.Contains(test.xml, "<!--") { // xmllint keeps comments
				cmd := exec.CommandContext(t.Context(), "xmllint", "--nonet", "--exc-c14n", "-")
				cmd.Stdin = strings.NewReader(test.xml)
				theirs, err := cmd.Output()
				if diff := cmp.Diff(string(theirs), got); diff != "" || err != nil {
					t.Error("libxml2:", diff, err)
				}
			}
		})
	}
}

// FuzzCanonical compares with goxmldsig, and reads what was written.
func FuzzCanonical(f *testing.F) {
	for _, form := range canonicalForms {
		f.Add(form.xml, form.list)
	}
	for _, pattern := range []string{"testdata/read/*.xml", "../testdata/requests/*.xml", "../testdata/golden/*.xml"} {
		for _, b := range seeds(f, pattern) {
			f.Add(string(b), "ds samlp")
		}
	}
	f.Fuzz(func(t *testing.T, xml, list string) {
		e, err := xmldsig.Read([]byte(xml), limits)
		if err != nil {
			return
		}
		prefixes := strings.Fields(list)
		for _, p := range prefixes {
			if !xmldsig.IsNCName(p) {
				return
			}
		}
		got := xmldsig.Canonical(e, prefixes...)
		again, err := xmldsig.Read(got, xmldsig.Limits{Bytes: 1 << 24, Depth: 100, Attributes: 200, Nodes: 100000})
		if err != nil {
			t.Fatalf("%v in %s", err, got)
		}
		if diff := cmp.Diff(string(got), string(xmldsig.Canonical(again, prefixes...))); diff != "" {
			t.Fatalf("the canonical form of the canonical form: %s", diff)
		}
		if diff := cmp.Diff(outline(e), outline(again)); diff != "" && !strings.Contains(xml, "<!--") {
			t.Fatalf("the canonical form says something else: %s", diff)
		}
		if !xmldsig.Comparable(e) {
			return
		}
		theirs, err := dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList(list).Canonicalize(xmldsig.Etree(e, ""))
		if err != nil {
			return // it gives up on more than 1,000 elements
		}
		if diff := cmp.Diff(string(theirs), string(got)); diff != "" {
			t.Fatalf("goxmldsig: %s", diff)
		}
	})
}

// byGoxmldsig verifies with the other library, by one key; the shape must have been checked. It returns what was signed.
func byGoxmldsig(root *xmldsig.Element, key crypto.PublicKey) ([]byte, error) {
	carrier := &x509.Certificate{PublicKey: key, PublicKeyAlgorithm: x509.RSA}
	sig, _, err := root.Child(dsNS, "Signature")
	if err != nil {
		return nil, err
	}
	element, _, err := sig.Child(dsNS, "SignatureValue")
	if err != nil {
		return nil, err
	}
	text, err := element.Text()
	if err != nil {
		return nil, err
	}
	value, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		return nil, err
	}
	if _, ok := key.(*ecdsa.PublicKey); ok { // it wants ASN.1
		carrier.PublicKeyAlgorithm = x509.ECDSA
		n := len(value) / 2
		if value, err = asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(value[:n]), new(big.Int).SetBytes(value[n:])}); err != nil {
			return nil, err
		}
	}
	ctx := dsig.NewDefaultValidationContext(&dsig.MemoryX509CertificateStore{Roots: []*x509.Certificate{carrier}})
	ctx.Clock = dsig.NewFakeClockAt(time.Time{}) // dates don't count
	signed, err := ctx.Validate(xmldsig.Etree(root, base64.StdEncoding.EncodeToString(value)))
	if err != nil {
		return nil, err
	}
	return dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("").Canonicalize(signed)
}

// enclose makes a document with an ID at its root, for signing: (head)(content)(tail).
func enclose(content string) (head, tail string) {
	return `<r:root xmlns:r="urn:r:r" xmlns="urn:example:default" xmlns:unused="urn:example:unused" z="1" ID="_1">`, content + "\n</r:root>"
}

// signed makes a signature over head and tail with our own canonicalization, and puts it between them.
func signed(t testing.TB, head, tail, list string, key crypto.Signer) string {
	t.Helper()
	h := wellMade()
	h.digested = string(xmldsig.Canonical(read(t, head+tail), strings.Fields(list)...))
	h.document = head + "SIGNATURE" + tail
	if list != "" {
		h.transforms = tag("Transform", "Algorithm", enveloped, "") +
			tag("Transform", "Algorithm", exc, `<x:InclusiveNamespaces xmlns:x="`+exc+`" PrefixList="`+list+`"></x:InclusiveNamespaces>`)
	}
	return h.sign(t, key)
}

// TestClass02_OtherPrograms: what we sign, xmlsec1 and goxmldsig verify as the same octets, and what xmlsec1 signs, we do.
func TestClass02_OtherPrograms(t *testing.T) {
	pair := samltest.IdP()
	keys := []crypto.PublicKey{pair.Cert.PublicKey}
	dir := t.TempDir()
	write := func(name string, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Cert.Raw}))
	verify := []string{"--verify", "--pubkey-cert-pem", "cert.pem", "--id-attr:ID", "urn:r:r:root"}
	all := map[string]string{} // contents by PrefixList
	for i, test := range canonicalForms {
		if strings.HasPrefix(test.xml, "<?xml") {
			continue // can't be enclosed
		}
		all[test.list] += test.xml + "\n"
		t.Run(test.name, func(t *testing.T) {
			head, tail := enclose(test.xml)
			doc := signed(t, head, tail, test.list, pair.Key)
			v, err := xmldsig.Verify(read(t, doc), keys, limits)
			if err != nil {
				t.Fatal(err)
			}
			if want := string(xmldsig.Canonical(read(t, head+tail), strings.Fields(test.list)...)); want != string(v.Bytes()) {
				t.Error(cmp.Diff(want, string(v.Bytes())))
			}
			if xmldsig.Comparable(read(t, doc)) && test.list == "" {
				theirs, err := byGoxmldsig(read(t, doc), keys[0])
				if err != nil || !bytes.Equal(theirs, v.Bytes()) {
					t.Error("goxmldsig:", err, cmp.Diff(string(theirs), string(v.Bytes())))
				}
			}
			name := fmt.Sprintf("ours-%d.xml", i)
			write(name, []byte(doc))
			verify = append(verify, name)
		})
	}
	cmd := exec.CommandContext(t.Context(), "xmlsec1", verify...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil || strings.Count(string(out), "SignedInfo References (ok/all): 1/1") != len(verify)-5 {
		t.Errorf("xmlsec1: %v: %s", err, out)
	}
	for list, content := range all {
		head, tail := enclose(content)
		template := emptied(signed(t, head, tail, list, pair.Key))
		theirs := byXMLSecTemplate(t, pair.Key, pair.Cert, "urn:r:r:root", template)
		v, err := xmldsig.Verify(read(t, theirs), keys, limits)
		if diff := cmp.Diff(string(xmldsig.Canonical(read(t, head+tail), strings.Fields(list)...)), string(v.Bytes())); err != nil || diff != "" {
			t.Errorf("signed by xmlsec1 with the list %q: %v %s", list, err, diff)
		}
	}
}

// emptied takes the digest and the value out of a signature.
func emptied(doc string) string {
	for _, name := range []string{"ds:DigestValue", "ds:SignatureValue"} {
		i, j := strings.Index(doc, "<"+name+">"), strings.Index(doc, "</"+name+">")
		doc = doc[:i] + "<" + name + ">" + doc[j:]
	}
	return doc
}

// FuzzVerifyOthers signs whatever can be read and compares what we verify with what goxmldsig does.
func FuzzVerifyOthers(f *testing.F) {
	for _, form := range canonicalForms {
		f.Add(form.xml)
	}
	for _, b := range seeds(f, "../testdata/requests/*.xml") {
		f.Add(string(b))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	k, err := xmldsig.NewSigner(key, certificate(f, key), 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, content string) {
		head, tail := enclose(content)
		e, err := xmldsig.Read([]byte(head+tail), limits)
		if err != nil || xmldsig.HasSignature(e) {
			return
		}
		doc := xmldsig.Canonical(e)
		gap := bytes.IndexByte(doc, '>') + 1
		doc = append(doc[:gap:gap], append(make([]byte, k.Len("_1")), doc[gap:]...)...)
		if err := k.Sign(doc, gap, "_1"); err != nil {
			t.Fatal(err)
		}
		head, tail = string(doc[:gap]), string(doc[gap:])
		root, err := xmldsig.Read(fmt.Appendf(nil, "%s<!-- -->%s", head, tail), limits)
		if err != nil {
			return // text at the beginning, or over the limits by the signature
		}
		v, err := xmldsig.Verify(root, []crypto.PublicKey{key.Public()}, limits)
		if err != nil {
			if strings.Contains(err.Error(), "an ID occurs twice") || strings.Contains(err.Error(), "can't be read") {
				return
			}
			t.Fatal(err)
		}
		if want := xmldsig.Canonical(e); !bytes.Equal(want, v.Bytes()) {
			t.Fatal(cmp.Diff(string(want), string(v.Bytes())))
		}
		if !xmldsig.Comparable(e) {
			return
		}
		theirs, err := byGoxmldsig(root, key.Public())
		if err != nil {
			return // it refuses more than we do, such as 1,000 elements
		}
		if diff := cmp.Diff(string(theirs), string(v.Bytes())); diff != "" {
			t.Fatalf("goxmldsig: %s", diff)
		}
	})
}
