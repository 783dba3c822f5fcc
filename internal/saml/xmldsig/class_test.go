package xmldsig_test

import (
	"crypto"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
)

// mustRefuse asserts that neither way of verifying takes the document.
func mustRefuse(t *testing.T, doc string) {
	t.Helper()
	keys := []crypto.PublicKey{samltest.IdP().Cert.PublicKey}
	if raw, err := xmldsig.VerifyBytes([]byte(doc), keys, limits, xmldsig.AllowSHA1()); err == nil || raw != nil {
		t.Errorf("verified by VerifyBytes: %s\nof %s", raw, doc)
	}
	root, err := xmldsig.Read([]byte(doc), limits)
	if err != nil {
		return
	}
	if v, err := xmldsig.Verify(root, keys, limits, xmldsig.AllowSHA1()); err == nil || v.Bytes() != nil || v.Root().Local != "" {
		t.Errorf("verified: %s\nof %s", v.Bytes(), doc)
	}
}

// TestClass01_SignatureWrapping moves the signature, and what is signed, to all places where a careless reader finds
// them; the forged content is <evil>.
func TestClass01_SignatureWrapping(t *testing.T) {
	h := wellMade()
	doc := h.sign(t, samltest.IdP().Key)
	i, j := strings.Index(doc, "<ds:Signature "), strings.Index(doc, "</ds:Signature>")+len("</ds:Signature>")
	sig, original := doc[i:j], doc[:i]+doc[j:]
	within := func(name, content string) string {
		return strings.Replace(sig, "</ds:Signature>", "<ds:"+name+">"+content+"</ds:"+name+"></ds:Signature>", 1)
	}
	for name, doc := range map[string]string{
		"original in the signature":                  `<a ID="_2">` + within("Object", original) + `<evil/></a>`,
		"original in the signature, same ID":         `<a ID="_1">` + within("Object", original) + `<evil/></a>`,
		"original in KeyInfo, same ID":               `<a ID="_1">` + within("KeyInfo", original) + `<evil/></a>`,
		"original beside the signature":              `<a ID="_2">` + original + sig + `<evil/></a>`,
		"original beside the signature, same ID":     `<a ID="_1">` + original + sig + `<evil/></a>`,
		"signed original within":                     `<a ID="_2">` + doc + `<evil/></a>`,
		"signed original within, same ID":            `<a ID="_1">` + doc + `<evil/></a>`,
		"forged one within the signed one, same ID":  strings.Replace(doc, "</a>", `<a ID="_1"><evil/></a></a>`, 1),
		"signature twice":                            `<a ID="_1">` + sig + sig + `<evil/></a>`,
		"signature of the original, nothing else":    `<a ID="_1">` + sig + `</a>`,
		"signature without prefix beside":            `<a ID="_1">` + sig + `<Signature xmlns="http://www.w3.org/2000/09/xmldsig#"/><evil/></a>`,
		"other root of the same ID":                  strings.NewReplacer(`<a `, `<evil `, `</a>`, `</evil>`).Replace(doc),
		"other namespace of the root":                strings.Replace(doc, `<a `, `<a xmlns="urn:e:e" `, 1),
		"attribute more":                             strings.Replace(doc, `<a `, `<a evil="1" `, 1),
		"namespace of what is below":                 strings.Replace(doc, `<b>`, `<b xmlns="urn:e:e">`, 1),
		"text more":                                  strings.Replace(doc, `<b>`, `<b>evil`, 1),
		"white space more":                           strings.Replace(doc, `<b>`, ` <b>`, 1),
		"ID in another spelling besides":             strings.Replace(doc, `<b>`, `<b id="_1">`, 1),
		"xml:id besides":                             strings.Replace(doc, `<b>`, `<b xml:id="_1">`, 1),
		"content taken out":                          strings.Replace(doc, `<b></b>`, ``, 1),
		"signed content moved into the signature":    strings.Replace(strings.Replace(doc, `<b></b>`, ``, 1), "</ds:Signature>", "<b></b></ds:Signature>", 1),
		"nothing but the signature, as the document": sig,
	} {
		t.Run(name, func(t *testing.T) { mustRefuse(t, doc) })
	}
}

// TestClass04_NothingCanonicalized: the digest of nothing, or of less than all, never passes.
func TestClass04_NothingCanonicalized(t *testing.T) {
	for name, digested := range map[string]string{
		"nothing":               "",
		"white space":           "\n",
		"start tag":             `<a ID="_1">`,
		"content":               `<b></b>`,
		"not canonical":         `<a ID="_1"><b/></a>`,
		"with the signature":    `<a ID="_1"><ds:Signature xmlns:ds="` + dsNS + `"></ds:Signature><b></b></a>`,
		"with a line feed":      `<a ID="_1"><b></b></a>` + "\n",
		"with a byte order one": "\ufeff" + `<a ID="_1"><b></b></a>`,
	} {
		t.Run(name, func(t *testing.T) {
			h := wellMade()
			h.digested = digested
			mustRefuse(t, h.sign(t, samltest.IdP().Key))
		})
	}
	for name, declaration := range map[string]string{
		"relative":      `xmlns="evil"`,
		"path":          `xmlns="/evil"`,
		"empty prefix":  `xmlns:e=""`,
		"odd character": `xmlns="urn:e&quot;e"`,
		"unused":        `xmlns:unused="evil"`,
	} {
		t.Run(name+" namespace", func(t *testing.T) {
			h := wellMade()
			h.digested = `<a ` + declaration + ` ID="_1"><b></b></a>`
			h.document = `<a ` + declaration + ` ID="_1">SIGNATURE<b></b></a>`
			mustRefuse(t, h.sign(t, samltest.IdP().Key))
		})
	}
}

// TestClass06_NothingToCheck: where something is missing, nothing is taken as verified.
func TestClass06_NothingToCheck(t *testing.T) {
	h := wellMade()
	doc := h.sign(t, samltest.IdP().Key)
	cut := func(from, to string) string {
		i := strings.Index(doc, from)
		j := i + strings.Index(doc[i:], to) + len(to)
		return doc[:i] + doc[j:]
	}
	for name, doc := range map[string]string{
		"no signature":            `<a ID="_1"><b></b></a>`,
		"empty signature":         `<a ID="_1"><ds:Signature xmlns:ds="` + dsNS + `"/><b></b></a>`,
		"no SignedInfo":           cut("<ds:SignedInfo", "</ds:SignedInfo>"),
		"no SignatureValue":       cut("<ds:SignatureValue", "</ds:SignatureValue>"),
		"no reference":            cut("<ds:Reference", "</ds:Reference>"),
		"no digest":               cut("<ds:DigestValue", "</ds:DigestValue>"),
		"no digest method":        cut("<ds:DigestMethod", "</ds:DigestMethod>"),
		"no signature method":     cut("<ds:SignatureMethod", "</ds:SignatureMethod>"),
		"no transforms":           cut("<ds:Transforms", "</ds:Transforms>"),
		"no ID":                   strings.Replace(doc, ` ID="_1"`, "", 1),
		"empty ID":                strings.Replace(strings.Replace(doc, `ID="_1"`, `ID=""`, 1), `URI="#_1"`, `URI="#"`, 1),
		"signature without space": strings.Replace(doc, dsNS+`"`, `http://www.w3.org/2000/09/xmldsig"`, 1),
	} {
		t.Run(name, func(t *testing.T) { mustRefuse(t, doc) })
	}
	t.Run("empty value", func(t *testing.T) {
		i, j := strings.Index(doc, "<ds:SignatureValue>")+len("<ds:SignatureValue>"), strings.Index(doc, "</ds:SignatureValue>")
		for _, value := range []string{"", " ", "AA==", "!", doc[i:j] + "=", doc[i : j-4], "<!-- -->" + doc[i:j], "<x/>" + doc[i:j]} {
			mustRefuse(t, doc[:i]+value+doc[j:])
		}
	})
	var v xmldsig.Verified
	if v.Bytes() != nil || v.Root() == nil || v.Root().Local != "" || xmldsig.HasSignature(v.Root()) {
		t.Error("the zero value has content")
	}
}

// TestClass07_CommentSplitsText: what a comment splits is not text for anybody.
func TestClass07_CommentSplitsText(t *testing.T) {
	const text = "ada@example.com.evil.example"
	h := wellMade()
	h.digested, h.document = `<a ID="_1"><b>`+text+`</b></a>`, `<a ID="_1">SIGNATURE<b>`+text+`</b></a>`
	doc := h.sign(t, samltest.IdP().Key)
	for _, split := range []string{"<!-- -->", "<!---->", "<?x?>", "<![CDATA[]]><!-- -->", "<x/>"} {
		for _, at := range []int{0, len("ada@example.com"), len(text)} {
			mustRefuse(t, strings.Replace(doc, text, text[:at]+split+text[at:], 1))
		}
	}
}
