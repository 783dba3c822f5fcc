package saml_test

import (
	"bytes"
	"compress/flate"
	"crypto"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
)

// The tests of this file are named after classes of bugs that were found in other SAML products, so that a reader can see
// that they are not in this one:
//
//	01 signature wrapping: read is another element than the one that is signed
//	02 two parsers disagree about a document
//	03 XML changes its meaning when it is written again
//	04 canonicalization gives nothing, and a digest of nothing is accepted
//	05 ambiguous SignedInfo or digest; trust in KeyInfo
//	06 "nothing to check" is taken for good
//	07 a comment splits a text
//	08 encrypted parts
//	09 ambiguous query of the Redirect binding
//	10 algorithm confusion
//	11 missing checks of meaning: destination, time, issuer, address
//	13 reply address or form injection
//	14 exhaustion of memory or time
//	15 panic
//	16 readers that are blind to namespaces
//	17 external entities
//
// The numbers that are left out belong to other packages (disabled objects, races, stale trust, keys of another peer).
// Logout messages have their tests of the same classes in logout_security_test.go.

const otherACS = "https://auth.atlassian.com/other" // registered too, so that nothing but the signature protects it

// signing is the registration of a service provider that must sign.
func signing() saml.ServiceProvider {
	sp := registered()
	sp.Keys, sp.RequireSignedRequests = []crypto.PublicKey{atlassian().Cert.PublicKey}, true
	return sp
}

// checkPost sends a message by HTTP-POST to a check that needs a signature.
func checkPost(xml string) (saml.Decision, error) {
	in, err := saml.ReadPost([]byte(samltest.PostBody(xml, "")))
	if err != nil {
		return saml.Decision{}, err
	}
	return saml.Check(in, signing(), ourselves(), noon)
}

// mustNotPass asserts that the message is refused for a reason that is never told to anybody but the person.
func mustNotPass(t *testing.T, d saml.Decision, err error) {
	t.Helper()
	var e *saml.Error
	if err == nil || !errors.As(err, &e) {
		t.Fatalf("accepted: %+v, %v", d, err)
	}
	if e.Sendable() {
		t.Fatalf("would be answered: %v", e)
	}
	t.Log(e)
}

func tree(t *testing.T, xml string) *etree.Document {
	t.Helper()
	doc := etree.NewDocument()
	if err := doc.ReadFromString(xml); err != nil {
		t.Fatal(err)
	}
	return doc
}

// wrappings returns the eight arrangements of signature wrapping (Somorovsky et al., "On Breaking SAML", and the names
// that SAML Raider gave them) for a message whose own signature is signed, with evil as what the attacker wants read.
// Both are XML of the same kind; evil is unsigned.
func wrappings(t *testing.T, signed, evil string) map[string]string {
	t.Helper()
	const dsig = "./Signature"
	load := func() (original, sig, forged *etree.Element) {
		original = tree(t, signed).Root()
		sig = original.FindElement(dsig)
		if sig == nil {
			t.Fatal("no signature to wrap")
		}
		return original, sig, tree(t, evil).Root()
	}
	write := func(root *etree.Element) string {
		doc := etree.NewDocument()
		doc.SetRoot(root)
		doc.WriteSettings = etree.WriteSettings{CanonicalEndTags: true, CanonicalText: true, CanonicalAttrVal: true}
		s, err := doc.WriteToString()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	extensions := func(root *etree.Element) *etree.Element {
		ext := etree.NewElement("samlp:Extensions")
		root.InsertChildAt(1, ext)
		return ext
	}
	object := func(sig *etree.Element) *etree.Element {
		o := etree.NewElement("ds:Object")
		sig.AddChild(o)
		return o
	}
	out := map[string]string{}

	// 1: the forged root carries the signature, which carries the original.
	original, sig, forged := load()
	original.RemoveChild(sig)
	forged.InsertChildAt(1, sig)
	sig.AddChild(original)
	out["XSW1"] = write(forged)

	// 2: the forged root carries the original, then the signature.
	original, sig, forged = load()
	original.RemoveChild(sig)
	forged.InsertChildAt(1, original)
	forged.InsertChildAt(2, sig)
	out["XSW2"] = write(forged)

	// 3: the forged root carries the untouched, signed original first.
	original, _, forged = load()
	forged.InsertChildAt(0, original)
	out["XSW3"] = write(forged)

	// 4: the forged root carries the signed original in Extensions.
	original, _, forged = load()
	extensions(forged).AddChild(original)
	out["XSW4"] = write(forged)

	// 5: the forged root takes the signature and the ID; the original goes to the end.
	original, sig, forged = load()
	original.RemoveChild(sig)
	forged.CreateAttr("ID", original.SelectAttrValue("ID", ""))
	forged.InsertChildAt(1, sig)
	forged.AddChild(original)
	out["XSW5"] = write(forged)

	// 6: like 5, with the original in the signature's KeyInfo.
	original, sig, forged = load()
	original.RemoveChild(sig)
	forged.CreateAttr("ID", original.SelectAttrValue("ID", ""))
	forged.InsertChildAt(1, sig)
	sig.FindElement("./KeyInfo").AddChild(original)
	out["XSW6"] = write(forged)

	// 7: the signed original takes the forged one in Extensions, under the same ID.
	original, _, forged = load()
	forged.CreateAttr("ID", original.SelectAttrValue("ID", ""))
	extensions(original).AddChild(forged)
	out["XSW7"] = write(original)

	// 8: the forged root takes the signature; the original goes into its Object.
	original, sig, forged = load()
	original.RemoveChild(sig)
	forged.InsertChildAt(1, sig)
	object(sig).AddChild(original)
	out["XSW8"] = write(forged)
	return out
}

func TestClass01_SignatureWrapping(t *testing.T) {
	fake := atlassian()
	good, bad := fake.Request(ssoURL, noon), fake.Request(ssoURL, noon)
	bad.ACSURL = otherACS
	signed := fake.Sign(good.XML())
	if d, err := checkPost(signed); err != nil || d.Reply.ACS.URL != spACS {
		t.Fatalf("the unwrapped original: %+v, %v", d, err)
	}
	for name, xml := range wrappings(t, signed, bad.XML()) {
		t.Run("AuthnRequest/"+name, func(t *testing.T) {
			d, err := checkPost(xml)
			mustNotPass(t, d, err)
		})
	}

	meta := samltest.NewSP("https://evil.example/", "https://evil.example/acs").Metadata()
	key := signer(t, 0)
	ours, err := saml.AppendMetadata(nil, metadata(), key)
	if err != nil {
		t.Fatal(err)
	}
	evil := strings.Replace(string(meta), "<md:EntityDescriptor ", `<md:EntityDescriptor ID="_e" `, 1)
	for name, xml := range wrappings(t, string(ours), evil) {
		t.Run("metadata/"+name, func(t *testing.T) {
			if b, err := saml.VerifyMetadata([]byte(xml), []crypto.PublicKey{key.Certificate().PublicKey}); err == nil {
				t.Errorf("verified:\n%s", b)
			}
		})
	}

	// Whatever is changed in what is signed, nothing but the original is ever read.
	for i := 0; i < len(signed); i += 7 {
		changed := signed[:i] + string(signed[i]^1) + signed[i+1:]
		if d, err := checkPost(changed); err == nil && d.Reply.ACS.URL != spACS {
			t.Errorf("byte %d changed: %+v", i, d)
		}
	}

	t.Run("two signed roots", func(t *testing.T) {
		d, err := checkPost(signed + signed)
		mustNotPass(t, d, err)
	})
	t.Run("ID twice", func(t *testing.T) {
		req := good
		req.Children = `<samlp:Extensions><x:y xmlns:x="urn:example:x" Id="` + req.ID + `"></x:y></samlp:Extensions>`
		d, err := checkPost(fake.Sign(req.XML()))
		mustNotPass(t, d, err)
	})
	t.Run("reference to the whole document", func(t *testing.T) {
		d, err := checkPost(strings.Replace(signed, `URI="#`+good.ID+`"`, `URI=""`, 1))
		mustNotPass(t, d, err)
	})
}

func TestClass02_ParsersDisagree(t *testing.T) {
	fake := atlassian()
	xml := fake.Request(ssoURL, noon).XML()
	for name, message := range map[string]string{
		"DOCTYPE":                 `<!DOCTYPE samlp:AuthnRequest>` + xml,
		"DOCTYPE behind a BOM":    "\ufeff<!DOCTYPE x>" + xml,
		"lower-case doctype":      `<!doctype x>` + xml,
		"prefix declared anew":    strings.Replace(xml, "<saml:Issuer", `<saml:Issuer xmlns:samlp="urn:x:y" xmlns:samlp="urn:x:z"`, 1),
		"prefix undeclared":       strings.Replace(xml, "<saml:Issuer", `<saml:Issuer xmlns:samlp=""`, 1),
		"xmlns as a prefix":       strings.Replace(xml, "<saml:Issuer", `<saml:Issuer xmlns:xmlns="urn:x:y"`, 1),
		"xml bound elsewhere":     strings.Replace(xml, "<saml:Issuer", `<saml:Issuer xmlns:xml="urn:x:y"`, 1),
		"unknown prefix":          strings.Replace(xml, "</samlp:AuthnRequest>", `<q:x/></samlp:AuthnRequest>`, 1),
		"attribute twice":         strings.Replace(xml, " ID=", ` ID="_other" ID=`, 1),
		"attribute twice by name": strings.Replace(xml, " ID=", ` xmlns:a="urn:x:y" xmlns:b="urn:x:y" a:z="1" b:z="2" ID=`, 1),
		"UTF-16":                  "\xff\xfe<\x00a\x00/\x00>\x00",
		"UTF-7 declared":          `<?xml version="1.0" encoding="UTF-7"?>` + xml,
		"XML 1.1":                 `<?xml version="1.1"?>` + xml,
		"NUL":                     strings.Replace(xml, ">https", ">\x00https", 1),
		"text behind the root":    xml + "x",
		"CDATA behind the root":   xml + "<![CDATA[]]>",
	} {
		t.Run(name, func(t *testing.T) {
			if message == xml {
				t.Fatal("the case changes nothing")
			}
			_, err := saml.ReadPost([]byte(samltest.PostBody(message, "")))
			refused(t, err, saml.Malformed)
			_, err = saml.ReadRedirect(samltest.RedirectQuery(message, ""))
			refused(t, err, saml.Malformed)
		})
	}
}

// TestClass03_RoundTrip has the vectors by which Go's encoding/xml changed meaning when it wrote what it had read.
func TestClass03_RoundTrip(t *testing.T) {
	xml := atlassian().Request(ssoURL, noon).XML()
	for name, part := range map[string]string{
		"element name with two colons":    `<samlp:x:Extensions></samlp:x:Extensions>`,
		"element name beginning in colon": `<:Extensions></:Extensions>`,
		"element name ending in colon":    `<samlp:></samlp:>`,
		"attribute with two colons":       `<samlp:Extensions x::y="1"></samlp:Extensions>`,
		"attribute beginning in colon":    `<samlp:Extensions :y="1"></samlp:Extensions>`,
		"prefix with empty name":          `<samlp:Extensions xmlns:="urn:x:y"></samlp:Extensions>`,
		"directive with a comment":        `<!a <!-- > --> >`,
		"directive with quotes":           `<!a "<!--" '>' >`,
		"processing instruction":          `<?a b?>`,
		"xml declaration inside":          `<?xml version="1.0"?>`,
		"comment with dashes":             `<!-- a -- b -->`,
		"comment ending in three dashes":  `<!-- a --->`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := saml.ReadPost([]byte(samltest.PostBody(strings.Replace(xml, "</samlp:AuthnRequest>", part+"</samlp:AuthnRequest>", 1), "")))
			refused(t, err, saml.Malformed)
		})
	}
}

func TestClass04_NothingCanonicalized(t *testing.T) {
	fake := atlassian()
	empty := sha256.Sum256(nil)
	signed := fake.Sign(fake.Request(ssoURL, noon).XML())
	_, digest, _ := between(signed, "<ds:DigestValue>", "</ds:DigestValue>")
	for name, xml := range map[string]string{
		"digest of nothing":                    strings.Replace(signed, digest, base64.StdEncoding.EncodeToString(empty[:]), 1),
		"empty digest":                         strings.Replace(signed, digest, "", 1),
		"relative namespace":                   strings.Replace(signed, "<samlp:AuthnRequest ", `<samlp:AuthnRequest xmlns:r="relative" `, 1),
		"relative namespace, in the signature": strings.Replace(signed, "<ds:SignedInfo>", `<ds:SignedInfo xmlns:r="../r">`, 1),
		"namespace is a fragment":              strings.Replace(signed, "<samlp:AuthnRequest ", `<samlp:AuthnRequest xmlns:r="#r" `, 1),
		"no canonicalization":                  strings.Replace(signed, `<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"></ds:Transform>`, "", 1),
		"inclusive canonicalization":           strings.ReplaceAll(signed, "http://www.w3.org/2001/10/xml-exc-c14n#", "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"),
		"with comments":                        strings.ReplaceAll(signed, "http://www.w3.org/2001/10/xml-exc-c14n#", "http://www.w3.org/2001/10/xml-exc-c14n#WithComments"),
		"XPath that selects nothing":           strings.Replace(signed, `<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"></ds:Transform>`, `<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116"><ds:XPath>false()</ds:XPath></ds:Transform>`, 1),
		"XSLT":                                 strings.Replace(signed, `<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"></ds:Transform>`, `<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xslt-19991116"></ds:Transform>`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			if xml == signed {
				t.Fatal("the case changes nothing")
			}
			d, err := checkPost(xml)
			mustNotPass(t, d, err)
		})
	}
}

// between cuts s at the first pair of marks.
func between(s, from, to string) (before, within, after string) {
	before, rest, ok := strings.Cut(s, from)
	within, after, ok2 := strings.Cut(rest, to)
	if !ok || !ok2 {
		panic("no " + from)
	}
	return before, within, after
}

func TestClass05_AmbiguousSignedInfo(t *testing.T) {
	fake, evil := atlassian(), atlassian()
	evil.KeyPair = samltest.Other()
	req := fake.Request(ssoURL, noon)
	signed := fake.Sign(req.XML())
	part := func(name string) string {
		_, within, _ := between(signed, "<ds:"+name+">", "</ds:"+name+">")
		return "<ds:" + name + ">" + within + "</ds:" + name + ">"
	}
	_, ref, _ := between(signed, "<ds:Reference ", "</ds:Reference>")
	ref = "<ds:Reference " + ref + "</ds:Reference>"
	_, digest, _ := between(signed, "<ds:DigestValue>", "</ds:DigestValue>")
	_, sig, _ := between(signed, "<ds:Signature ", "</ds:Signature>")
	sig = "<ds:Signature " + sig + "</ds:Signature>"
	for name, xml := range map[string]string{
		"SignedInfo twice":             strings.Replace(signed, part("SignedInfo"), part("SignedInfo")+part("SignedInfo"), 1),
		"SignedInfo behind the value":  strings.Replace(strings.Replace(signed, part("SignedInfo"), "", 1), part("SignatureValue"), part("SignatureValue")+part("SignedInfo"), 1),
		"Signature twice":              strings.Replace(signed, sig, sig+sig, 1),
		"Reference twice":              strings.Replace(signed, ref, ref+ref, 1),
		"no Reference":                 strings.Replace(signed, ref, "", 1),
		"DigestValue twice":            strings.Replace(signed, part("DigestValue"), part("DigestValue")+part("DigestValue"), 1),
		"comment within DigestValue":   strings.Replace(signed, digest, digest[:10]+"<!-- -->"+digest[10:], 1),
		"comment before DigestValue":   strings.Replace(signed, digest, "<!--AAAA-->"+digest, 1),
		"element within DigestValue":   strings.Replace(signed, digest, digest+"<ds:x></ds:x>", 1),
		"two digests in DigestValue":   strings.Replace(signed, digest, digest+" "+digest, 1),
		"SignatureValue twice":         strings.Replace(signed, part("SignatureValue"), part("SignatureValue")+part("SignatureValue"), 1),
		"transform twice":              strings.Replace(signed, `<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"></ds:Transform>`, strings.Repeat(`<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"></ds:Transform>`, 2), 1),
		"Object":                       strings.Replace(signed, "</ds:Signature>", "<ds:Object></ds:Object></ds:Signature>", 1),
		"text within SignedInfo":       strings.Replace(signed, "<ds:SignedInfo>", "<ds:SignedInfo>x", 1),
		"key taken from KeyInfo":       evil.Sign(req.XML()),
		"foreign element between":      strings.Replace(signed, "</ds:SignedInfo>", `<x xmlns="urn:x:y"></x></ds:SignedInfo>`, 1),
		"reference to something else":  strings.Replace(signed, `URI="#`+req.ID, `URI="#_other`, 1),
		"external reference":           strings.Replace(signed, `URI="#`+req.ID, `URI="https://evil.example/x#`+req.ID, 1),
		"XPointer":                     strings.Replace(signed, `URI="#`+req.ID+`"`, `URI="#xpointer(id('`+req.ID+`'))"`, 1),
		"inclusive prefixes with junk": strings.Replace(signed, `<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"></ds:Transform>`, `<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"><x xmlns="urn:x:y"></x></ds:Transform>`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			if xml == signed {
				t.Fatal("the case changes nothing")
			}
			d, err := checkPost(xml)
			mustNotPass(t, d, err)
		})
	}
	t.Run("another's certificate in KeyInfo is no harm", func(t *testing.T) {
		_, cert, _ := between(signed, "<ds:X509Certificate>", "</ds:X509Certificate>")
		xml := strings.Replace(signed, cert, base64.StdEncoding.EncodeToString(evil.Cert.Raw), 1)
		if _, err := checkPost(xml); err != nil {
			t.Error("KeyInfo was looked at:", err)
		}
	})
}

// TestClass06_NothingToCheck is the matrix of signatures that are not there or not signatures, by entry.
func TestClass06_NothingToCheck(t *testing.T) {
	fake := atlassian()
	xml := fake.Request(ssoURL, noon).XML()
	query := samltest.RedirectQuery(xml, "r")
	alg := url.QueryEscape(xmldsig.RSASHA256)
	value := base64.StdEncoding.EncodeToString(make([]byte, 256))
	signed := fake.Sign(xml)
	_, sigValue, _ := between(signed, "<ds:SignatureValue>", "</ds:SignatureValue>")
	keys := []crypto.PublicKey{signer(t, 0).Certificate().PublicKey}
	meta, err := saml.AppendMetadata(nil, metadata(), nil)
	if err != nil {
		t.Fatal(err)
	}
	signedMeta, err := saml.AppendMetadata(nil, metadata(), signer(t, 0))
	if err != nil {
		t.Fatal(err)
	}
	_, metaValue, _ := between(string(signedMeta), "<ds:SignatureValue>", "</ds:SignatureValue>")

	for name, q := range map[string]string{
		"missing":           query,
		"empty":             query + "&SigAlg=" + alg + "&Signature=",
		"both empty":        query + "&SigAlg=&Signature=",
		"no algorithm":      query + "&Signature=" + url.QueryEscape(value),
		"empty algorithm":   query + "&SigAlg=&Signature=" + url.QueryEscape(value),
		"unknown algorithm": query + "&SigAlg=urn:none&Signature=" + url.QueryEscape(value),
		"zeros":             query + "&SigAlg=" + alg + "&Signature=" + url.QueryEscape(value),
		"short":             query + "&SigAlg=" + alg + "&Signature=AA==",
		"not base64":        query + "&SigAlg=" + alg + "&Signature=%21",
	} {
		t.Run("redirect/"+name, func(t *testing.T) {
			in, err := saml.ReadRedirect(q)
			var d saml.Decision
			if err == nil {
				d, err = saml.Check(in, signing(), ourselves(), noon)
			}
			mustNotPass(t, d, err)
		})
	}
	for name, x := range map[string]string{
		"missing":           xml,
		"empty element":     strings.Replace(xml, "</saml:Issuer>", `</saml:Issuer><ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"/>`, 1),
		"other namespace":   strings.Replace(signed, "http://www.w3.org/2000/09/xmldsig#\"", "http://www.w3.org/2000/09/xmldsig\"", 1),
		"empty value":       strings.Replace(signed, sigValue, "", 1),
		"blank value":       strings.Replace(signed, sigValue, " \n ", 1),
		"zeros":             strings.Replace(signed, sigValue, value, 1),
		"not base64":        strings.Replace(signed, sigValue, "!", 1),
		"unknown algorithm": strings.Replace(signed, xmldsig.RSASHA256, "urn:none", 1),
		"no algorithm":      strings.Replace(signed, ` Algorithm="`+xmldsig.RSASHA256+`"`, "", 1),
		"unknown digest":    strings.Replace(signed, "http://www.w3.org/2001/04/xmlenc#sha256", "urn:none", 1),
	} {
		t.Run("post/"+name, func(t *testing.T) {
			d, err := checkPost(x)
			mustNotPass(t, d, err)
		})
	}
	for name, x := range map[string]string{
		"missing":     string(meta),
		"empty value": strings.Replace(string(signedMeta), metaValue, "", 1),
		"zeros":       strings.Replace(string(signedMeta), metaValue, value, 1),
	} {
		t.Run("metadata/"+name, func(t *testing.T) {
			_, err := saml.VerifyMetadata([]byte(x), keys)
			refused(t, err, saml.SignatureInvalid)
		})
	}
	t.Run("no keys", func(t *testing.T) {
		_, err := saml.VerifyMetadata(signedMeta, nil)
		refused(t, err, saml.SignatureInvalid)
	})
	t.Run("key without use signs too", func(t *testing.T) {
		text := strings.Replace(string(fake.Metadata()), ` use="signing"`, "", 1)
		m, err := saml.ParseSPMetadata([]byte(text), "", noon)
		if err != nil {
			t.Fatal(err)
		}
		if len(m.SigningKeys()) != 1 {
			t.Error("a key without use would leave requests unverified")
		}
	})
}

func TestClass07_CommentSplitsText(t *testing.T) {
	fake := atlassian()
	xml := fake.Request(ssoURL, noon).XML()
	for name, x := range map[string]string{
		"Issuer":                   strings.Replace(xml, ">"+spEntityID+"<", ">"+spEntityID+"<!-- -->.evil.example<", 1),
		"Issuer, at the end":       strings.Replace(xml, ">"+spEntityID+"<", ">"+spEntityID+"<!-- --><", 1),
		"Issuer, at the beginning": strings.Replace(xml, ">"+spEntityID+"<", "><!-- -->"+spEntityID+"<", 1),
		"Issuer, by instruction":   strings.Replace(xml, ">"+spEntityID+"<", ">"+spEntityID+"<?x?>.evil.example<", 1),
		"Issuer, by element":       strings.Replace(xml, ">"+spEntityID+"<", ">"+spEntityID+"<saml:x/>.evil.example<", 1),
		"NameID":                   strings.Replace(xml, "</samlp:A", `<saml:Subject xmlns:saml="`+saml.NSAssertion+`"><saml:NameID>ada@example.com<!---->.evil.example</saml:NameID></saml:Subject></samlp:A`, 1),
		"context":                  strings.Replace(xml, "</samlp:A", `<samlp:RequestedAuthnContext><saml:AuthnContextClassRef xmlns:saml="`+saml.NSAssertion+`">urn:x<!---->:y</saml:AuthnContextClassRef></samlp:RequestedAuthnContext></samlp:A`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			if x == xml {
				t.Fatal("the case changes nothing")
			}
			in, err := saml.ReadPost([]byte(samltest.PostBody(x, "")))
			if err == nil {
				_, err = saml.Check(in, registered(), ourselves(), noon)
			}
			refused(t, err, saml.Malformed)
		})
	}
	t.Run("signed", func(t *testing.T) {
		d, err := checkPost(fake.Sign(strings.Replace(xml, ">"+spEntityID+"<", ">"+spEntityID+"<!-- -->.evil.example<", 1)))
		mustNotPass(t, d, err)
	})
}

func TestClass09_QueryAmbiguity(t *testing.T) {
	fake := atlassian()
	xml := fake.Request(ssoURL, noon).XML()
	evil := fake.Request(ssoURL, noon)
	evil.ACSURL = otherACS
	evilRequest := samltest.RedirectQuery(evil.XML(), "")
	query := fake.SignedRedirectQuery(xml, "https://example.atlassian.net/")
	check := func(q string) (saml.Decision, error) {
		in, err := saml.ReadRedirect(q)
		if err != nil {
			return saml.Decision{}, err
		}
		return saml.Check(in, signing(), ourselves(), noon)
	}
	for name, q := range map[string]string{
		"request twice":              evilRequest + "&" + query,
		"request twice, behind":      query + "&" + evilRequest,
		"encoded name before":        strings.Replace(evilRequest, "SAML", "%53AML", 1) + "&" + query,
		"encoded name behind":        query + "&" + strings.Replace(evilRequest, "SAML", "%53AML", 1),
		"encoded name, any":          query + "&%61=1",
		"name with plus":             query + "&SAML+Request=1",
		"RelayState twice":           query + "&RelayState=evil",
		"RelayState changed":         strings.Replace(query, "example.atlassian", "evil.atlassian", 1),
		"RelayState removed":         strings.Replace(query, "&RelayState="+url.QueryEscape("https://example.atlassian.net/"), "", 1),
		"request changed":            strings.Replace(query, query[:strings.Index(query, "&")], evilRequest, 1),
		"same octets, other hex":     strings.Replace(query, "%3A%2F%2F", "%3a%2f%2f", 1),
		"same value, not encoded":    strings.Replace(query, "%3A%2F%2F", "://", 1),
		"algorithm changed":          strings.Replace(query, "rsa-sha256", "rsa-sha512", 1),
		"parameters run together":    strings.Replace(query, "&RelayState=", "%26RelayState%3D", 1),
		"semicolon as separator":     strings.Replace(query, "&RelayState=", ";RelayState=", 1),
		"signature of another query": fake.SignedRedirectQuery(evil.XML(), "")[:len(evilRequest)] + query[strings.Index(query, "&SigAlg"):],
	} {
		t.Run(name, func(t *testing.T) {
			d, err := check(q)
			mustNotPass(t, d, err)
		})
	}
	t.Run("order in the URL does not matter", func(t *testing.T) {
		parts := strings.Split(query, "&")
		for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
			parts[i], parts[j] = parts[j], parts[i]
		}
		d, err := check("x=1&" + strings.Join(parts, "&"))
		if err != nil || !d.Signed {
			t.Error(err)
		}
	})
}

func TestClass10_AlgorithmConfusion(t *testing.T) {
	fake := atlassian()
	xml := fake.Request(ssoURL, noon).XML()
	signed := fake.Sign(xml)
	mac := func(key []byte, octets string) string {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(octets))
		return base64.StdEncoding.EncodeToString(h.Sum(nil))
	}
	spki, err := x509.MarshalPKIXPublicKey(fake.Cert.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, ecCert := ecdsaPair(t, elliptic.P256())
	for _, alg := range []string{
		"http://www.w3.org/2000/09/xmldsig#hmac-sha1", "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256",
		"http://www.w3.org/2000/09/xmldsig#rsa-sha1", "http://www.w3.org/2001/04/xmldsig-more#rsa-md5",
		"http://www.w3.org/2000/09/xmldsig#dsa-sha1", xmldsig.ECDSASHA256, "none", "",
		"HTTP://www.w3.org/2001/04/xmldsig-more#rsa-sha256", " " + xmldsig.RSASHA256,
	} {
		t.Run("redirect "+alg, func(t *testing.T) {
			octets := samltest.RedirectQuery(xml, "") + "&SigAlg=" + url.QueryEscape(alg)
			for name, key := range map[string][]byte{
				"DER": fake.Cert.Raw, "SPKI": spki,
				"PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}),
			} {
				in := readRedirect(t, octets+"&Signature="+url.QueryEscape(mac(key, octets)))
				d, err := saml.Check(in, signing(), ourselves(), noon)
				if err == nil {
					t.Errorf("accepted a MAC by the %s: %+v", name, d)
				}
				mustNotPass(t, d, err)
			}
		})
		t.Run("post "+alg, func(t *testing.T) {
			d, err := checkPost(strings.Replace(signed, xmldsig.RSASHA256, alg, 1))
			mustNotPass(t, d, err)
		})
	}
	t.Run("ECDSA key for an RSA algorithm", func(t *testing.T) {
		sp := signing()
		sp.Keys = []crypto.PublicKey{ecCert.PublicKey}
		_, err := saml.Check(readPost(t, samltest.PostBody(signed, "")), sp, ourselves(), noon)
		refused(t, err, saml.SignatureInvalid)
		_, err = saml.Check(readRedirect(t, fake.SignedRedirectQuery(xml, "")), sp, ourselves(), noon)
		refused(t, err, saml.SignatureInvalid)
	})
	t.Run("no use of a private key as public one", func(t *testing.T) {
		sp := signing()
		sp.Keys = []crypto.PublicKey{ecKey, nil, "secret", []byte("secret")}
		_, err := saml.Check(readPost(t, samltest.PostBody(signed, "")), sp, ourselves(), noon)
		refused(t, err, saml.SignatureInvalid)
	})
}

// TestClass11_SemanticChecks breaks one thing at a time in an otherwise good, signed request.
func TestClass11_SemanticChecks(t *testing.T) {
	fake := atlassian()
	for _, test := range []struct {
		name   string
		change func(*samltest.Request)
		want   saml.Reason
	}{
		{"Destination of another identity provider", func(r *samltest.Request) { r.Destination = "https://idp.example.org/sso" }, saml.WrongDestination},
		{"no Destination", func(r *samltest.Request) { r.Destination = "" }, saml.WrongDestination},
		{"old", func(r *samltest.Request) { r.IssueInstant = noon.Add(-time.Hour) }, saml.Stale},
		{"future", func(r *samltest.Request) { r.IssueInstant = noon.Add(time.Hour) }, saml.FromTheFuture},
		{"ACS not registered", func(r *samltest.Request) { r.ACSURL = "https://evil.example/acs" }, saml.UnregisteredACS},
		{"another service provider's name", func(r *samltest.Request) { r.Issuer = "https://other.example/" }, saml.UnknownIssuer},
		{"format not served", func(r *samltest.Request) { r.NameIDFormat = saml.NameIDTransient }, saml.UnsupportedNameID},
		{"binding not served", func(r *samltest.Request) { r.ProtocolBinding = "urn:x" }, saml.UnsupportedBinding},
		{"context out of reach", func(r *samltest.Request) { r.AuthnContexts = []string{"urn:x"} }, saml.NoAuthnContext},
		{"other version", func(r *samltest.Request) { r.Attributes = ` Version="2.1"` }, saml.UnsupportedVersion},
		{"no version", func(r *samltest.Request) { r.Attributes = ` notVersion="2.0"` }, saml.UnsupportedVersion},
	} {
		t.Run(test.name, func(t *testing.T) {
			req := fake.Request(ssoURL, noon)
			test.change(&req)
			_, err := checkPost(fake.Sign(req.XML()))
			refused(t, err, test.want)
		})
	}
	// The message of one service provider does not pass as another's, whoever signed it: keys are chosen by issuer.
	t.Run("checked as another service provider", func(t *testing.T) {
		sp := signing()
		sp.EntityID = "https://other.example/"
		_, err := saml.Check(readPost(t, samltest.PostBody(fake.Sign(fake.Request(ssoURL, noon).XML()), "")), sp, ourselves(), noon)
		refused(t, err, saml.UnknownIssuer)
		// And that is found before any key of the other is tried.
		_, err = saml.Check(readPost(t, samltest.PostBody(fake.Request(ssoURL, noon).XML(), "")), sp, ourselves(), noon)
		refused(t, err, saml.UnknownIssuer)
	})
}

func TestClass13_ReplyAddress(t *testing.T) {
	fake := atlassian()
	for _, acs := range []string{
		"https://evil.example/acs", spACS + "&x=1", spACS + "#", spACS + " ", " " + spACS, strings.Replace(spACS, "https", "http", 1),
		strings.Replace(spACS, "auth.atlassian.com", "auth.atlassian.com.evil.example", 1),
		strings.Replace(spACS, "auth.atlassian.com", "auth.atlassian.com@evil.example", 1),
		strings.Replace(spACS, "?", "%3F", 1), "javascript:alert(1)", "data:text/html,x", "//evil.example",
	} {
		t.Run(acs, func(t *testing.T) {
			req := fake.Request(ssoURL, noon)
			req.ACSURL = acs
			_, err := saml.Check(readRedirect(t, samltest.RedirectQuery(req.XML(), "")), registered(), ourselves(), noon)
			if e := refused(t, err, saml.UnregisteredACS); e.Sendable() || e.Reply != (saml.Reply{}) {
				t.Error("there is an address to answer at")
			}
		})
	}
	// Even a registered address must be one that a form may be sent to.
	for _, acs := range []string{"javascript:alert(1)", "http://sp.example.com/acs", "data:text/html,x", "/acs"} {
		t.Run("registered "+acs, func(t *testing.T) {
			sp := registered()
			sp.ACS = []saml.Endpoint{{URL: acs}}
			req := fake.Request(ssoURL, noon)
			req.ACSURL = ""
			_, err := saml.Check(readRedirect(t, samltest.RedirectQuery(req.XML(), "")), sp, ourselves(), noon)
			refused(t, err, saml.UnregisteredACS)
			r := response()
			r.Destination = acs
			if _, err := saml.AppendResponse(nil, r, signer(t, 0), 0); err == nil {
				t.Error("a response was written")
			}
		})
	}
	t.Run("the form's value is base64", func(t *testing.T) {
		out, err := saml.AppendResponse(nil, response(), signer(t, 0), 0)
		if err != nil {
			t.Fatal(err)
		}
		if v := saml.EncodePost(out); strings.ContainsFunc(v, func(r rune) bool {
			return !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=", r)
		}) {
			t.Error(v)
		}
	})
	t.Run("markup in what the SP sent stays text", func(t *testing.T) {
		r := response()
		r.Subject.Value = `</saml:NameID></saml:Subject><saml:Subject><saml:NameID>root@example.com`
		r.Subject.Format = `x" NameQualifier="y`
		r.Attributes[0].Values = []string{`</saml:AttributeValue><saml:AttributeValue>admin`}
		out, err := saml.AppendResponse(nil, r, signer(t, 0), 0)
		if err != nil {
			t.Fatal(err)
		}
		got, err := fake.Receive(saml.EncodePost(out), idpEntityID, samltest.IdP().Cert, "_q1", noon)
		if err != nil {
			t.Fatal(err)
		}
		if got.NameID != r.Subject.Value || got.NameIDFormat != r.Subject.Format || len(got.Attributes[claims+"givenname"]) != 1 {
			t.Errorf("%+v", got)
		}
	})
}

func TestClass14_Exhaustion(t *testing.T) {
	request := func(children string) string {
		req := atlassian().Request(ssoURL, noon)
		req.Children = children
		return req.XML()
	}
	ext := func(s string) string { return request(`<samlp:Extensions>` + s + `</samlp:Extensions>`) }
	var bomb bytes.Buffer
	w, err := flate.NewWriter(&bomb, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	w.Write([]byte(strings.TrimSuffix(request(""), "</samlp:AuthnRequest>")))
	for range 1 << 10 {
		w.Write(make([]byte, 32<<10)) // 32 MiB in 33 KiB
	}
	w.Close()
	bombQuery := "SAMLRequest=" + url.QueryEscape(base64.StdEncoding.EncodeToString(bomb.Bytes()))
	if len(bombQuery) > 48<<10 {
		t.Fatalf("the bomb has %d bytes and is stopped before it is inflated", len(bombQuery))
	}
	for name, send := range map[string]func() error{
		"long query":              func() error { _, err := saml.ReadRedirect("SAMLRequest=" + strings.Repeat("A", 64<<10)); return err },
		"inflates to 32 MiB":      func() error { _, err := saml.ReadRedirect(bombQuery); return err },
		"long body":               func() error { _, err := saml.ReadPost(make([]byte, saml.MaxPostBody+1)); return err },
		"long message":            func() error { return post(ext(strings.Repeat("a", 130<<10))) },
		"deep":                    func() error { return post(ext(strings.Repeat("<a>", 5000) + strings.Repeat("</a>", 5000))) },
		"just too deep":           func() error { return post(ext(strings.Repeat("<a>", 23) + strings.Repeat("</a>", 23))) },
		"deep and unfinished":     func() error { return post(strings.Repeat("<a>", 20000)) },
		"many attributes":         func() error { return post(ext("<a" + distinct(` a%="1"`, 41) + "/>")) },
		"many declarations":       func() error { return post(ext("<a" + distinct(` xmlns:a%="urn:x:y"`, 41) + "/>")) },
		"many elements":           func() error { return post(ext(strings.Repeat("<a/>", 2100))) },
		"many comments":           func() error { return post(ext(strings.Repeat("<!---->", 2100))) },
		"many attributes overall": func() error { return post(ext(strings.Repeat(`<a b="" c="" d=""/>`, 600))) },
		"long RelayState": func() error {
			_, err := saml.ReadPost([]byte(samltest.PostBody(request(""), strings.Repeat("r", 9<<10))))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { refused(t, send(), saml.TooLarge) })
	}
	for name, xml := range map[string]string{
		"deepest accepted": ext(strings.Repeat("<a>", 22) + strings.Repeat("</a>", 22)),
		"largest accepted": ext(strings.Repeat("a", 120<<10)),
	} {
		t.Run(name, func(t *testing.T) {
			if err := post(xml); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("worst accepted is cheap", func(t *testing.T) {
		// Much of everything at once, with each prefix looked up through the whole scope. A tenth of a second is far
		// beyond what it takes, and far below what an attacker needs.
		nest := ""
		for i := range 3 { // 117 prefixes; there is a limit to them
			nest += "<a" + strings.ReplaceAll(distinct(` xmlns:p%_`+string(rune('a'+i))+`="urn:x:y"`, 39), "_", "") + ">"
		}
		xml := ext(nest + strings.Repeat("<xml:a/>", 1800) + strings.Repeat("</a>", 3))
		best := time.Hour // of several, for the machine has other work
		for range 10 {
			start := time.Now()
			if err := post(xml); err != nil {
				t.Fatal(err)
			}
			best = min(best, time.Since(start))
		}
		if best > 100*time.Millisecond {
			t.Errorf("it took %v", best)
		}
	})
}

func post(xml string) error {
	_, err := saml.ReadPost([]byte(samltest.PostBody(xml, "")))
	return err
}

// distinct repeats a pattern with % replaced by a number.
func distinct(pattern string, n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.ReplaceAll(pattern, "%", string(rune('a'+i/26))+string(rune('a'+i%26))))
	}
	return b.String()
}

// TestClass15_Panic calls each door with nothing in its hands. The fuzz targets do the rest; none recovers.
func TestClass15_Panic(t *testing.T) {
	var in saml.Incoming
	if in.Issuer() != "" || in.Binding() != "" || in.XML() != nil {
		t.Error("the zero message says something")
	}
	if _, err := saml.Check(in, saml.ServiceProvider{}, saml.IdentityProvider{}, time.Time{}); err == nil {
		t.Error("the zero message passes")
	}
	if _, ok := (saml.ServiceProvider{}).DefaultACS(); ok {
		t.Error("an endpoint from nowhere")
	}
	if _, err := saml.AppendResponse(nil, &saml.Response{}, nil, 0); err == nil {
		t.Error("an empty response was written")
	}
	if _, err := saml.AppendStatus(nil, &saml.StatusResponse{}, nil); err == nil {
		t.Error("an empty status was written")
	}
	if _, err := saml.AppendMetadata(nil, &saml.IdPMetadata{}, nil); err == nil {
		t.Error("empty metadata was written")
	}
	if _, err := saml.ParseSPMetadata(nil, "", time.Time{}); err == nil {
		t.Error("empty metadata was read")
	}
	if d := (saml.Decision{}).Refuse("", ""); d.Sendable() {
		t.Error("the zero decision would be answered")
	}
	var v xmldsig.Verified
	if v.Root() == nil || len(v.Root().Elements()) > 0 || v.Bytes() != nil {
		t.Error("the zero Verified has content")
	}
	xml := atlassian().Request(ssoURL, noon).XML()
	for i := range len(xml) { // cut anywhere
		if err := post(xml[:i]); err == nil {
			t.Errorf("accepted: %s", xml[:i])
		}
	}
}

// TestClass16_ForeignNamespace has a twin of another namespace for each element and attribute that we read.
func TestClass16_ForeignNamespace(t *testing.T) {
	const twin = `xmlns:t="urn:example:twin"`
	req := atlassian().Request("", noon)
	req.ACSURL, req.ProtocolBinding = "", ""
	xml := req.XML()
	child := func(s string) string { return strings.Replace(xml, "</samlp:A", s+"</samlp:A", 1) }
	for name, x := range map[string]string{
		"Issuer beside":         strings.Replace(xml, "<saml:Issuer", `<t:Issuer `+twin+`>x</t:Issuer><saml:Issuer`, 1),
		"Issuer alone":          strings.Replace(strings.Replace(xml, "<saml:Issuer", `<t:Issuer `+twin, 1), "</saml:I", "</t:I", 1),
		"Issuer of protocol":    strings.Replace(strings.Replace(xml, "<saml:Issuer", `<samlp:Issuer `, 1), "</saml:I", "</samlp:I", 1),
		"Issuer without any":    strings.Replace(strings.Replace(xml, "<saml:Issuer", `<Issuer`, 1), "</saml:I", "</I", 1),
		"NameIDPolicy":          child(`<t:NameIDPolicy ` + twin + ` Format="x"/>`),
		"Subject":               child(`<t:Subject ` + twin + `/>`),
		"RequestedAuthnContext": child(`<t:RequestedAuthnContext ` + twin + `/>`),
		"AuthnContextClassRef":  child(`<samlp:RequestedAuthnContext><t:AuthnContextClassRef ` + twin + `>x</t:AuthnContextClassRef></samlp:RequestedAuthnContext>`),
		"Signature":             child(`<t:Signature ` + twin + `/>`),
	} {
		t.Run(name, func(t *testing.T) {
			in, err := saml.ReadPost([]byte(samltest.PostBody(x, "")))
			if err == nil {
				_, err = saml.Check(in, registered(), ourselves(), noon)
			}
			refused(t, err, saml.Malformed)
		})
	}
	t.Run("AuthnRequest", func(t *testing.T) {
		err := post(strings.Replace(xml, `xmlns:samlp="`+saml.NSProtocol, `xmlns:samlp="urn:example:twin`, 1))
		refused(t, err, saml.UnexpectedMessage)
	})
	t.Run("attributes and NameID are passed over", func(t *testing.T) {
		x := strings.Replace(xml, " ID=", ` `+twin+` t:ID="_t" t:Destination="x" t:AssertionConsumerServiceURL="x" t:AssertionConsumerServiceIndex="x" `+
			`t:ProtocolBinding="x" t:ForceAuthn="true" t:IsPassive="x" t:IssueInstant="x" t:Version="x" ID=`, 1)
		x = strings.Replace(x, "</samlp:A", `<saml:Subject xmlns:saml="`+saml.NSAssertion+`"><t:NameID>t</t:NameID><saml:NameID t:Format="x">real</saml:NameID></saml:Subject>`+
			`<samlp:NameIDPolicy t:Format="x" t:AllowCreate="x"/></samlp:A`, 1)
		d, err := saml.Check(readPost(t, samltest.PostBody(x, "")), registered(), ourselves(), noon)
		if err != nil {
			t.Fatal(err)
		}
		r := d.Request
		if r.ID != req.ID || r.Destination != "" || r.ACSURL != "" || r.HasACSIndex || r.ForceAuthn || r.Subject != (saml.NameID{Value: "real"}) || r.NameIDPolicy != (saml.NameIDPolicy{}) {
			t.Errorf("%+v", r)
		}
	})
	t.Run("metadata", func(t *testing.T) {
		good := string(atlassian().Metadata())
		for _, name := range []string{"AssertionConsumerService", "SPSSODescriptor", "EntityDescriptor"} {
			x := strings.NewReplacer("<md:"+name, `<t:`+name+` `+twin, "</md:"+name, "</t:"+name).Replace(good)
			_, err := saml.ParseSPMetadata([]byte(x), "", noon)
			refused(t, err, saml.MetadataInvalid)
		}
		x := strings.NewReplacer("<md:KeyDescriptor", `<t:KeyDescriptor `+twin, "</md:KeyDescriptor", "</t:KeyDescriptor").Replace(good)
		m, err := saml.ParseSPMetadata([]byte(x), "", noon)
		if err != nil || len(m.Certificates) != 0 {
			t.Errorf("%d keys, %v", len(m.Certificates), err)
		}
	})
}

func TestClass17_ExternalEntity(t *testing.T) {
	xml := atlassian().Request(ssoURL, noon).XML()
	for name, x := range map[string]string{
		"external entity":  `<!DOCTYPE r [<!ENTITY e SYSTEM "file:///etc/passwd">]>` + strings.Replace(xml, spEntityID, "&e;", 1),
		"external DTD":     `<!DOCTYPE r SYSTEM "http://127.0.0.1/evil.dtd">` + xml,
		"parameter entity": `<!DOCTYPE r [<!ENTITY % p SYSTEM "http://127.0.0.1/"> %p;]>` + xml,
		"billion laughs":   `<!DOCTYPE r [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>` + xml,
		"unknown entity":   strings.Replace(xml, spEntityID, "&e;", 1),
		"HTML's entity":    strings.Replace(xml, spEntityID, "&nbsp;", 1),
		"in an attribute":  strings.Replace(xml, ssoURL, "&e;", 1),
		"style sheet":      `<?xml-stylesheet href="http://127.0.0.1/"?>` + xml,
	} {
		t.Run(name, func(t *testing.T) {
			if x == xml {
				t.Fatal("the case changes nothing")
			}
			refused(t, post(x), saml.Malformed)
			_, err := saml.ParseSPMetadata([]byte(x), "", noon)
			refused(t, err, saml.MetadataInvalid)
		})
	}
	t.Run("XInclude is an element like others", func(t *testing.T) {
		x := strings.Replace(xml, "</samlp:A", `<samlp:Extensions><i:include xmlns:i="http://www.w3.org/2001/XInclude" href="/etc/passwd"/></samlp:Extensions></samlp:A`, 1)
		if err := post(x); err != nil {
			t.Error(err)
		}
	})
}
