package xmldsig_test

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
)

var limits = xmldsig.Limits{Bytes: 1 << 20, Depth: 30, Attributes: 40, Nodes: 10000}

// outline writes a tree so that two readers can be compared: {namespace}local, attributes, and text in quotes.
func outline(e *xmldsig.Element) string {
	var b strings.Builder
	var walk func(*xmldsig.Element)
	walk = func(e *xmldsig.Element) {
		b.WriteString("<{" + e.Space + "}" + e.Local + ">")
		children := e.Elements()
		if len(children) == 0 {
			if s, err := e.Text(); err == nil {
				b.WriteString("«" + s + "»")
			}
		}
		for _, c := range children {
			walk(c)
		}
		b.WriteString("</>")
	}
	walk(e)
	return b.String()
}

func TestRead(t *testing.T) {
	for _, test := range []struct{ name, xml, want string }{
		{"empty element", `<a/>`, `<{}a>«»</>`},
		{"declaration", `<?xml version="1.0" encoding="utf-8" standalone='yes' ?>` + "\n<a/>\n", `<{}a>«»</>`},
		{"byte order mark", "\ufeff<a/>", `<{}a>«»</>`},
		{"comments around", `<!-- a --><a/><!----> `, `<{}a>«»</>`},
		{"text", `<a> x </a>`, `<{}a>« x »</>`},
		{"references", `<a>&lt;&gt;&amp;&quot;&apos;&#65;&#x1F600;&#xd;</a>`, "<{}a>«<>&\"'A😀\r»</>"},
		{"CDATA", `<a>x<![CDATA[<&]]]]><![CDATA[>]]>y</a>`, `<{}a>«x<&]]>y»</>`},
		{"line ends", "<a>1\r\n2\r3\n4</a>", "<{}a>«1\n2\n3\n4»</>"},
		{"default namespace", `<a xmlns="urn:a:a"><b xmlns=""/><c/></a>`, `<{urn:a:a}a><{}b>«»</><{urn:a:a}c>«»</></>`},
		{"prefixes", `<p:a xmlns:p="urn:a:a"><p:b xmlns:p="urn:b:b"><p:c/></p:b><p:d/></p:a>`, `<{urn:a:a}a><{urn:b:b}b><{urn:b:b}c>«»</></><{urn:a:a}d>«»</></>`},
		{"white space in tags", "<a\n  x = '1'\ty=\"2\" ></a \n>", `<{}a>«»</>`},
		{"mixed content", `<a>x<b/>y</a>`, `<{}a><{}b>«»</></>`},
		{"comment between elements", "<a>\n<!-- x --><b/>\n</a>", `<{}a><{}b>«»</></>`},
		{"attribute without namespace beside one with", `<a xmlns="urn:a:a" xmlns:p="urn:a:a" x="1" p:x="2"/>`, `<{urn:a:a}a>«»</>`},
		{"names", `<_a-1.b é="1"/>`, ""},
		{"non-ASCII name", `<é/>`, ""},
		{"nothing", ``, ""},
		{"space only", " \n", ""},
		{"text only", `a`, ""},
		{"unfinished", `<a>`, ""},
		{"unfinished text", `<a>x`, ""},
		{"unfinished tag", `<a`, ""},
		{"unfinished attribute", `<a b="`, ""},
		{"unfinished comment", `<a><!-- `, ""},
		{"unfinished CDATA", `<a><![CDATA[`, ""},
		{"unfinished reference", `<a>&amp</a>`, ""},
		{"end without start", `</a>`, ""},
		{"end too much", `<a/></a>`, ""},
		{"crossed", `<a><b></a></b>`, ""},
		{"end of another prefix", `<p:a xmlns:p="urn:a:a" xmlns:q="urn:a:a"></q:a>`, ""},
		{"longer end", `<a></ab>`, ""},
		{"two roots", `<a/><b/>`, ""},
		{"text behind", `<a/>x`, ""},
		{"reference behind", `<a/>&#32;`, ""},
		{"text before", `x<a/>`, ""},
		{"declaration late", ` <?xml version="1.0"?><a/>`, ""},
		{"declaration twice", `<?xml version="1.0"?><?xml version="1.0"?><a/>`, ""},
		{"declaration without version", `<?xml encoding="utf-8"?><a/>`, ""},
		{"declaration, nothing in it", `<?xml?><a/>`, ""},
		{"declaration in wrong order", `<?xml version="1.0" standalone="yes" encoding="utf-8"?><a/>`, ""},
		{"declaration unfinished", `<?xml version="1.0"`, ""},
		{"declaration with letters for quotes", `<?xml version=x1.0x?><a/>`, ""},
		{"declaration with one quote", `<?xml version="1.0?><a b="?>"/>`, ""},
		{"declaration without =", `<?xml version "1.0"?><a/>`, ""},
		{"declaration without space", `<?xml version="1.0"encoding="utf-8"?><a/>`, ""},
		{"other encoding", `<?xml version="1.0" encoding="iso-8859-1"?><a/>`, ""},
		{"processing instruction", `<a><?php x?></a>`, ""},
		{"doctype", `<!DOCTYPE a><a/>`, ""},
		{"element declaration", `<a><!ELEMENT a ANY></a>`, ""},
		{"unknown entity", `<a>&nbsp;</a>`, ""},
		{"reference to NUL", `<a>&#0;</a>`, ""},
		{"reference to a surrogate", `<a>&#xd800;</a>`, ""},
		{"reference to nothing", `<a>&#;</a>`, ""},
		{"reference beyond Unicode", `<a>&#x110000;</a>`, ""},
		{"signed reference", `<a>&#+65;</a>`, ""},
		{"reference with underscore", `<a>&#1_0;</a>`, ""},
		{"reference without #", `<a>&65;</a>`, ""},
		{"upper-case X", `<a>&#X41;</a>`, ""},
		{"bare ampersand", `<a>a & b</a>`, ""},
		{"control character", "<a>\x01</a>", ""},
		{"control character in attribute", "<a b='\x01'/>", ""},
		{"U+FFFF", "<a>\uffff</a>", ""},
		{"not UTF-8", "<a>\xff</a>", ""},
		{"]]> in text", `<a>]]></a>`, ""},
		{"< in attribute", `<a b="<"/>`, ""},
		{"no quotes", `<a b=c/>`, ""},
		{"letters for quotes", `<a b=xyx/>`, ""},
		{"no value", `<a b/>`, ""},
		{"no space between", `<a b="1"c="2"/>`, ""},
		{"same attribute", `<a b="1" b="2"/>`, ""},
		{"same attribute by namespace", `<a xmlns:p="urn:a:a" xmlns:q="urn:a:a" p:b="1" q:b="2"/>`, ""},
		{"same declaration", `<a xmlns:p="urn:a:a" xmlns:p="urn:b:b"/>`, ""},
		{"undeclared prefix", `<p:a/>`, ""},
		{"undeclared prefix of an attribute", `<a p:b="1"/>`, ""},
		{"prefix undeclared again", `<a xmlns:p=""/>`, ""},
		{"prefix out of scope", `<a><b xmlns:p="urn:a:a"/><p:c/></a>`, ""},
		{"xmlns declared", `<a xmlns:xmlns="urn:a:a"/>`, ""},
		{"xmlns as element's prefix", `<xmlns:a/>`, ""},
		{"xml declared elsewhere", `<a xmlns:xml="urn:a:a"/>`, ""},
		{"xml's name for another prefix", `<a xmlns:p="http://www.w3.org/XML/1998/namespace"/>`, ""},
		{"xmlns' name", `<a xmlns:p="http://www.w3.org/2000/xmlns/"/>`, ""},
		{"relative namespace", `<a xmlns="b"/>`, ""},
		{"namespace is a path", `<a xmlns="/b:c"/>`, ""},
		{"namespace with space", `<a xmlns="urn:a b"/>`, ""},
		{"namespace with ampersand", `<a xmlns="urn:a?b&amp;c"/>`, ""},
		{"namespace with quote", `<a xmlns="urn:a&quot;b"/>`, ""},
		{"namespace with apostrophe", `<a xmlns="urn:a'b"/>`, ""},
		{"namespace with markup", `<a xmlns="urn:a&lt;b"/>`, ""},
		{"namespace with line feed", `<a xmlns="urn:a&#10;b"/>`, ""},
		{"namespace beyond ASCII", `<a xmlns="urn:é:é"/>`, ""},
		{"namespace with query", `<a xmlns="http://a.example/b?c=1#d"/>`, `<{http://a.example/b?c=1#d}a>«»</>`},
		{"two colons", `<a:b:c xmlns:a="urn:a:a"/>`, ""},
		{"colon first", `<:a/>`, ""},
		{"colon last", `<a:/>`, ""},
		{"digit first", `<1a/>`, ""},
		{"comment within text", `<a>x<!-- -->y</a>`, ""},
		{"comment before text", `<a><!-- -->y</a>`, ""},
		{"comment behind text", `<a>x<!-- --></a>`, ""},
		{"comment beside CDATA", `<a><![CDATA[x]]><!-- --></a>`, ""},
		{"comment in mixed content", `<a><b/>x<!-- --></a>`, ""},
		{"-- in comment", `<a><!-- -- --></a>`, ""},
		{"control character in comment", "<a><!-- \x01 --></a>", ""},
		{"space before name", `< a/>`, ""},
		{"nothing but <", `<`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			e, err := xmldsig.Read([]byte(test.xml), limits)
			if test.want == "" {
				if err == nil {
					t.Errorf("accepted as %s", outline(e))
				}
				if errors.Is(err, xmldsig.ErrLimit) {
					t.Error(err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, outline(e)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestClass14_ReadLimits(t *testing.T) {
	small := xmldsig.Limits{Bytes: 40, Depth: 2, Attributes: 2, Nodes: 6}
	for xml, ok := range map[string]bool{
		`<a>` + strings.Repeat("x", 33) + `</a>`:  true,
		`<a>` + strings.Repeat("x", 34) + `</a>`:  false,
		`<a><b></b></a>`:                          true,
		`<a><b><c/></b></a>`:                      false,
		`<a b="" c=""/>`:                          true,
		`<a b="" c="" d=""/>`:                     false,
		`<a b="" xmlns:c="urn:c:c" d=""/>`:        false,
		`<a>x<b/>x<b/>x</a>`:                      true,
		`<a>x<b/>x<b/>x<b/></a>`:                  false,
		`<!----><!----><!----><!----><!----><a/>`: true,
		`<a b=""><b c=""/><d/>x</a>`:              true,
		`<a b=""><b c=""/><d/>x<e/></a>`:          false,
	} {
		_, err := xmldsig.Read([]byte(xml), small)
		if (err == nil) != ok || err != nil && !errors.Is(err, xmldsig.ErrLimit) {
			t.Errorf("%s: %v", xml, err)
		}
	}
}

func TestElement(t *testing.T) {
	e, err := xmldsig.Read([]byte(`<a xmlns:p="urn:p:p" x=" 1&#10;&#9;2`+"\n\t"+`3 " p:x="y"><p:b/><b>t</b><b/><c><!-- --></c></a>`), limits)
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := e.Attr("x"); !ok || v != " 1\n\t2  3 " {
		t.Errorf("attribute x: %q %t", v, ok)
	}
	if v, ok := e.AttrNS("urn:p:p", "x"); !ok || v != "y" {
		t.Errorf("attribute p:x: %q %t", v, ok)
	}
	if _, ok := e.Attr("p"); ok {
		t.Error("a namespace declaration is no attribute")
	}
	if n := len(e.Children("", "b")); n != 2 {
		t.Errorf("%d elements b", n)
	}
	if b, found, err := e.Child("urn:p:p", "b"); err != nil || !found || !b.Is("urn:p:p", "b") {
		t.Error("p:b:", b, found, err)
	}
	if _, _, err := e.Child("", "b"); err == nil {
		t.Error("one b of two")
	}
	if _, found, err := e.Child("", "z"); found || err != nil {
		t.Error("z:", found, err)
	}
	c, _, _ := e.Child("", "c")
	if _, err := c.Text(); err == nil {
		t.Error("a comment is not text")
	}
	if _, err := e.Text(); err == nil {
		t.Error("elements are not text")
	}
}

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

// FuzzRead compares with encoding/xml: whatever we accept, the other reader must accept too and understand alike.
func FuzzRead(f *testing.F) {
	for _, b := range seeds(f, "testdata/read/*.xml") {
		f.Add(b)
	}
	for _, b := range seeds(f, "../testdata/requests/*.xml") {
		f.Add(b)
	}
	for _, b := range seeds(f, "../testdata/golden/*.xml") {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := xmldsig.Read(data, limits)
		if err != nil {
			return
		}
		other, err := outlineByStandardLibrary(data)
		if err != nil {
			t.Fatalf("encoding/xml refuses what we accept: %v", err)
		}
		if diff := cmp.Diff(other, outline(e)); diff != "" {
			t.Fatalf("encoding/xml reads something else:\n%s", diff)
		}
	})
}

// outlineByStandardLibrary does with encoding/xml what outline does.
func outlineByStandardLibrary(data []byte) (string, error) {
	type open struct {
		b                 strings.Builder // from the element's start tag on
		text              strings.Builder
		children, comment bool
	}
	var stack []*open
	result := ""
	d := xml.NewDecoder(strings.NewReader(strings.TrimPrefix(string(data), "\ufeff")))
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return result, nil
		}
		if err != nil {
			return "", err
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			if len(stack) > 0 {
				stack[len(stack)-1].children = true
			}
			o := &open{}
			o.b.WriteString("<{" + tok.Name.Space + "}" + tok.Name.Local + ">")
			stack = append(stack, o)
		case xml.CharData:
			if len(stack) > 0 {
				stack[len(stack)-1].text.Write(tok)
			}
		case xml.Comment:
			if len(stack) > 0 {
				stack[len(stack)-1].comment = true
			}
		case xml.EndElement:
			o := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			if !o.children && !o.comment {
				o.b.WriteString("«" + o.text.String() + "»")
			}
			o.b.WriteString("</>")
			if len(stack) > 0 {
				stack[len(stack)-1].b.WriteString(o.b.String())
			} else {
				result = o.b.String()
			}
		}
	}
}
