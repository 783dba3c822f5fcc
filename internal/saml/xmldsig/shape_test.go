package xmldsig_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	_ "crypto/sha1"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
)

// handmade is a document signed by hand: every part is a string that a case can change before the signature is made, so
// that the cryptography is right and only the shape is wrong.
type handmade struct {
	id, digested    string // the root's ID; what the digest is taken of
	c14n, method    string // elements
	reference       string // with URI, TRANSFORMS, DIGESTMETHOD and DIGEST to be replaced
	uri, transforms string
	digestMethod    string
	digestHash      crypto.Hash
	info            string // the content of SignedInfo, with C14N, METHOD and REFERENCE to be replaced
	signature       string // the content of Signature, with INFO and VALUE to be replaced
	document        string // with SIGNATURE to be replaced
}

const (
	dsNS      = "http://www.w3.org/2000/09/xmldsig#"
	exc       = "http://www.w3.org/2001/10/xml-exc-c14n#"
	enveloped = dsNS + "enveloped-signature"
)

func tag(name, attribute, value, content string) string {
	return `<ds:` + name + ` ` + attribute + `="` + value + `">` + content + `</ds:` + name + `>`
}

func wellMade() handmade {
	return handmade{
		id: "_1", digested: `<a ID="_1"><b></b></a>`,
		c14n: tag("CanonicalizationMethod", "Algorithm", exc, ""), method: tag("SignatureMethod", "Algorithm", xmldsig.RSASHA256, ""),
		uri: "#_1", transforms: tag("Transform", "Algorithm", enveloped, "") + tag("Transform", "Algorithm", exc, ""),
		digestMethod: tag("DigestMethod", "Algorithm", sha256URI, ""), digestHash: crypto.SHA256,
		reference: `<ds:Reference URI="URI"><ds:Transforms>TRANSFORMS</ds:Transforms>DIGESTMETHOD<ds:DigestValue>DIGEST</ds:DigestValue></ds:Reference>`,
		info:      "C14NMETHODREFERENCE",
		signature: `INFO<ds:SignatureValue>VALUE</ds:SignatureValue>`,
		document:  `<a ID="_1">SIGNATURE<b></b></a>`,
	}
}

func (h handmade) sign(t testing.TB, key crypto.Signer) string {
	t.Helper()
	hash := h.digestHash.New()
	hash.Write([]byte(h.digested))
	digest := base64.StdEncoding.EncodeToString(hash.Sum(nil))
	reference := strings.NewReplacer(`"URI"`, `"`+h.uri+`"`, "TRANSFORMS", h.transforms, "DIGESTMETHOD", h.digestMethod, "DIGEST", digest).Replace(h.reference)
	info := strings.NewReplacer("C14N", h.c14n, "METHOD", h.method, "REFERENCE", reference).Replace(h.info)
	sum := crypto.SHA256.New()
	sum.Write([]byte(`<ds:SignedInfo xmlns:ds="` + dsNS + `">` + info + `</ds:SignedInfo>`))
	value, err := key.Sign(rand.Reader, sum.Sum(nil), crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	signature := strings.NewReplacer("INFO", `<ds:SignedInfo>`+info+`</ds:SignedInfo>`, "VALUE", base64.StdEncoding.EncodeToString(value)).Replace(h.signature)
	return strings.ReplaceAll(h.document, "SIGNATURE", `<ds:Signature xmlns:ds="`+dsNS+`">`+signature+`</ds:Signature>`)
}

// TestClass05_SignatureShape: shapes that are refused even when the owner of the key has signed them.
func TestClass05_SignatureShape(t *testing.T) {
	pair := samltest.IdP()
	keys := []crypto.PublicKey{pair.Cert.PublicKey}
	const inclusive = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
	list := func(prefixes string) string {
		return `<x:InclusiveNamespaces xmlns:x="` + exc + `" PrefixList="` + prefixes + `"></x:InclusiveNamespaces>`
	}
	transforms := func(algorithms ...string) string {
		s := ""
		for _, a := range algorithms {
			s += tag("Transform", "Algorithm", a, "")
		}
		return s
	}
	for _, test := range []struct {
		name   string
		change func(*handmade)
		edit   func(string) string // after signing, where that leaves the signature right
		ok     bool
	}{
		{name: "well made", change: func(*handmade) {}, ok: true},
		{name: "with KeyInfo", change: func(h *handmade) { h.signature += `<ds:KeyInfo><ds:KeyName>x</ds:KeyName></ds:KeyInfo>` }, ok: true},
		{name: "indented values", change: func(h *handmade) {
			h.signature = "\n  INFO\n  <ds:SignatureValue>\n\t VALUE \r\n</ds:SignatureValue>\n"
		}, ok: true},
		{name: "value split by blanks", change: func(*handmade) {}, edit: func(s string) string {
			i := strings.Index(s, "<ds:SignatureValue>") + 30
			return s[:i] + " \t" + s[i:]
		}, ok: true},
		{name: "prefix list", change: func(h *handmade) {
			h.transforms = transforms(enveloped) + tag("Transform", "Algorithm", exc, list("p q"))
		}, ok: true},

		{name: "SignedInfo by inclusive canonicalization", change: func(h *handmade) { h.c14n = tag("CanonicalizationMethod", "Algorithm", inclusive, "") }},
		{name: "SignedInfo with comments", change: func(h *handmade) { h.c14n = tag("CanonicalizationMethod", "Algorithm", exc+"WithComments", "") }},
		{name: "SignedInfo with prefix list", change: func(h *handmade) { h.c14n = tag("CanonicalizationMethod", "Algorithm", exc, list("p")) }},
		{name: "cut MAC length", change: func(h *handmade) {
			h.method = tag("SignatureMethod", "Algorithm", xmldsig.RSASHA256, "<ds:HMACOutputLength>0</ds:HMACOutputLength>")
		}},
		{name: "empty URI", change: func(h *handmade) { h.uri = "" }},
		{name: "no URI", change: func(h *handmade) { h.reference = strings.Replace(h.reference, ` URI="URI"`, "", 1) }},
		{name: "URI of a bare #", change: func(h *handmade) { h.uri = "#" }},
		{name: "XPointer to the root", change: func(h *handmade) { h.uri = "#xpointer(/)" }},
		{name: "no enveloped-signature", change: func(h *handmade) { h.transforms = transforms(exc) }},
		{name: "no canonicalization", change: func(h *handmade) { h.transforms = transforms(enveloped) }},
		{name: "no transforms", change: func(h *handmade) { h.transforms = "" }},
		{name: "inclusive canonicalization", change: func(h *handmade) { h.transforms = transforms(enveloped, inclusive) }},
		{name: "with comments", change: func(h *handmade) { h.transforms = transforms(enveloped, exc+"WithComments") }},
		{name: "transforms in the other order", change: func(h *handmade) { h.transforms = transforms(exc, enveloped) }},
		{name: "canonicalized twice", change: func(h *handmade) { h.transforms = transforms(enveloped, exc, exc) }},
		{name: "content of enveloped-signature", change: func(h *handmade) {
			h.transforms = tag("Transform", "Algorithm", enveloped, "<ds:x></ds:x>") + transforms(exc)
		}},
		{name: "junk in a transform", change: func(h *handmade) {
			h.transforms = transforms(enveloped) + tag("Transform", "Algorithm", exc, "<ds:XPath>1</ds:XPath>")
		}},
		{name: "two prefix lists", change: func(h *handmade) {
			h.transforms = transforms(enveloped) + tag("Transform", "Algorithm", exc, list("p")+list("q"))
		}},
		{name: "no prefix in the prefix list", change: func(h *handmade) {
			h.transforms = transforms(enveloped) + tag("Transform", "Algorithm", exc, list("#any"))
		}},
		{name: "two references", change: func(h *handmade) { h.info += strings.Replace(h.reference, `"URI"`, `"#other"`, 1) }},
		{name: "two references to the root", change: func(h *handmade) { h.info += "REFERENCE" }},
		{name: "SHA-1 digest", change: func(h *handmade) {
			h.digestHash, h.digestMethod = crypto.SHA1, tag("DigestMethod", "Algorithm", dsNS+"sha1", "")
		}},
		{name: "content of DigestMethod", change: func(h *handmade) { h.digestMethod = tag("DigestMethod", "Algorithm", sha256URI, "<ds:x></ds:x>") }},
		{name: "text in SignedInfo", change: func(h *handmade) { h.info = "x" + h.info }},
		{name: "more in SignedInfo", change: func(h *handmade) { h.info += "<ds:Object></ds:Object>" }},
		{name: "comment in SignedInfo", change: func(*handmade) {}, edit: func(s string) string { return strings.Replace(s, "<ds:SignedInfo>", "<ds:SignedInfo><!-- -->", 1) }},
		{name: "comment in Signature", change: func(h *handmade) { h.signature = "<!-- -->" + h.signature }},
		{name: "Object", change: func(h *handmade) { h.signature += "<ds:Object></ds:Object>" }},
		{name: "KeyInfo twice", change: func(h *handmade) { h.signature += "<ds:KeyInfo></ds:KeyInfo><ds:KeyInfo></ds:KeyInfo>" }},
		{name: "KeyInfo first", change: func(h *handmade) { h.signature = "<ds:KeyInfo></ds:KeyInfo>" + h.signature }},
		{name: "value twice", change: func(h *handmade) { h.signature += "<ds:SignatureValue>VALUE</ds:SignatureValue>" }},
		{name: "signature deeper down", change: func(h *handmade) { h.document = `<a ID="_1"><b>SIGNATURE</b></a>` }},
		{name: "signature twice", change: func(h *handmade) { h.document = `<a ID="_1">SIGNATURESIGNATURE<b></b></a>` }},
		{name: "signature within the signature", change: func(h *handmade) { h.signature += `<ds:KeyInfo><ds:Signature></ds:Signature></ds:KeyInfo>` }},
		{name: "signature of another namespace besides", change: func(h *handmade) {
			h.digested = `<a ID="_1"><Signature></Signature><b></b></a>`
			h.document = `<a ID="_1">SIGNATURE<Signature></Signature><b></b></a>`
		}, ok: true},
		{name: "ID is a number", change: func(h *handmade) {
			h.digested, h.uri, h.document = `<a ID="1"><b></b></a>`, "#1", `<a ID="1">SIGNATURE<b></b></a>`
		}},
		{name: "ID of another case", change: func(h *handmade) {
			h.digested, h.document = `<a Id="_1"><b></b></a>`, `<a Id="_1">SIGNATURE<b></b></a>`
		}},
		{name: "ID of another namespace", change: func(h *handmade) {
			h.digested, h.document = `<a xmlns:p="urn:p:p" p:ID="_1"><b></b></a>`, `<a xmlns:p="urn:p:p" p:ID="_1">SIGNATURE<b></b></a>`
		}},
		{name: "ID twice", change: func(h *handmade) {
			h.digested, h.document = `<a ID="_1"><b id="_1"></b></a>`, `<a ID="_1">SIGNATURE<b id="_1"></b></a>`
		}},
		{name: "other IDs twice", change: func(h *handmade) {
			h.digested, h.document = `<a ID="_1"><b Id="x"></b><b xml:id="x"></b></a>`, `<a ID="_1">SIGNATURE<b Id="x"></b><b xml:id="x"></b></a>`
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := wellMade()
			test.change(&h)
			doc := h.sign(t, pair.Key)
			if test.edit != nil {
				doc = test.edit(doc)
			}
			v, err := xmldsig.Verify(read(t, doc), keys, limits)
			raw, errBytes := xmldsig.VerifyBytes([]byte(doc), keys, limits)
			if (err == nil) != (errBytes == nil) || !bytes.Equal(raw, v.Bytes()) {
				t.Errorf("VerifyBytes differs: %v\n%s", errBytes, raw)
			}
			if test.ok {
				if err != nil || string(v.Bytes()) != h.digested {
					t.Errorf("%v\n%s\n%s", err, doc, v.Bytes())
				}
				if theirs, err := byGoxmldsig(read(t, doc), keys[0]); err != nil || string(theirs) != h.digested {
					t.Errorf("goxmldsig: %v\n%s", err, theirs)
				}
				return
			}
			if err == nil {
				t.Errorf("verified %s\nof %s", v.Bytes(), doc)
			}
			t.Log(err)
		})
	}
}
