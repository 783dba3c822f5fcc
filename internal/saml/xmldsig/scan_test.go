package xmldsig_test

import (
	"bytes"
	"crypto"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
)

// short is a reader that makes a Scanner begin with the smallest pieces.
type short struct{ io.Reader }

func (short) Len() int { return 0 }

// events lists the elements that a Scanner gives, and the canonical form of those at depth 2 when parts is true.
func events(r io.Reader, lim, part xmldsig.Limits, parts bool) (out []string, err error) {
	s := xmldsig.NewScanner(r, lim, part)
	for {
		e, depth, err := s.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, fmt.Sprintf("%d {%s}%s", depth, e.Space, e.Local))
		if parts && depth == 2 {
			children := 0
			p, err := s.Part(func(*xmldsig.Element) { children++ })
			if err != nil {
				return nil, err
			}
			tree, err := p.Tree()
			if err != nil {
				return nil, err
			}
			if n := len(tree.Elements()); n != children {
				return nil, fmt.Errorf("%d children, not %d", children, n)
			}
			out = append(out, string(xmldsig.Canonical(tree)))
		}
	}
}

// eventsOfTree does the same with a tree.
func eventsOfTree(root *xmldsig.Element, parts bool) (out []string) {
	var walk func(e *xmldsig.Element, depth int)
	walk = func(e *xmldsig.Element, depth int) {
		out = append(out, fmt.Sprintf("%d {%s}%s", depth, e.Space, e.Local))
		if parts && depth == 2 {
			out = append(out, string(xmldsig.Canonical(e)))
			return
		}
		for _, c := range e.Elements() {
			walk(c, depth+1)
		}
	}
	walk(root, 1)
	return out
}

func TestReadByScanner(t *testing.T) {
	long := strings.Repeat("é\r\n&amp;", 20)
	for _, test := range []struct{ name, xml string }{
		{"least", `<a/>`},
		{"all sorts", "\ufeff<?xml version='1.0'?>\r\n<!-- x -->\r<p:a xmlns:p='urn:a:a' xmlns='urn:b:b'>\r\n<b c='1'>" + long + "<p:d/></b>" + long + "<e><![CDATA[<x>]]></e><p:f xmlns:p='urn:c:c'><p:g/><!-- y --></p:f></p:a>\r\n<!-- z -->"},
		{"many", `<a xmlns:p="urn:p:p">` + strings.Repeat("<p:b><c/>x</p:b>\n", 500) + `</a>`},
		{"long comments around", strings.Repeat("<!-- 0123456789 -->\n", 50) + `<a/>` + strings.Repeat("<!-- 0123456789 -->\n", 50)},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := read(t, test.xml)
			part := xmldsig.Limits{Bytes: 400, Depth: 30, Attributes: 30, Nodes: 200}
			for name, r := range map[string]func() io.Reader{
				"at once":       func() io.Reader { return strings.NewReader(test.xml) },
				"by byte":       func() io.Reader { return iotest.OneByteReader(strings.NewReader(test.xml)) },
				"small windows": func() io.Reader { return short{strings.NewReader(test.xml)} },
			} {
				for _, parts := range []bool{false, true} {
					got, err := events(r(), limits, part, parts)
					if err != nil {
						t.Fatal(name, err)
					}
					if diff := cmp.Diff(eventsOfTree(root, parts), got); diff != "" {
						t.Error(name, diff)
					}
				}
			}
		})
	}
	t.Run("source fails", func(t *testing.T) {
		broken := errors.New("the line is down")
		_, err := events(io.MultiReader(strings.NewReader("<a><b/>"), iotest.ErrReader(broken)), limits, limits, false)
		if !errors.Is(err, broken) {
			t.Error(err)
		}
	})
	t.Run("part of nothing", func(t *testing.T) {
		if _, err := xmldsig.NewScanner(strings.NewReader("<a/>"), limits, limits).Part(nil); err == nil {
			t.Error("passed over nothing")
		}
	})
}

func TestClass14_ScannerLimits(t *testing.T) {
	lim := xmldsig.Limits{Bytes: 1000, Depth: 4, Attributes: 4, Nodes: 60}
	part := xmldsig.Limits{Bytes: 100, Depth: 3, Attributes: 2, Nodes: 10}
	for xml, ok := range map[string]bool{
		`<a><b>` + strings.Repeat("x", 90) + `</b></a>`:                           true,
		`<a><b>` + strings.Repeat("x", 94) + `</b></a>`:                           false, // part's bytes
		`<a>` + strings.Repeat(`<b>0123456789</b>`, 29) + `</a>`:                  true,
		`<a>` + strings.Repeat(`<b>0123456789</b>`, 30) + `</a>`:                  false, // nodes
		`<a>` + strings.Repeat(`<b>`+strings.Repeat("0", 80)+`</b>`, 12) + `</a>`: false, // bytes
		`<a><b><c><d/></c></b></a>`:                                               true,
		`<a><b><c><d><e/></d></c></b></a>`:                                        false, // depth
		`<a><b c="" d=""/></a>`:                                                   true,
		`<a><b c="" d="" e=""/></a>`:                                              false, // attributes of a part
		`<a b="" c="" d="" e=""/>`:                                                true,
		`<a b="" c="" d="" e="" f=""/>`:                                           false, // attributes
		`<a><b>` + strings.Repeat("<c/>", 9) + `</b></a>`:                         true,
		`<a><b>` + strings.Repeat("<c/>", 10) + `</b></a>`:                        false, // nodes of a part
		`<a b="` + strings.Repeat("x", 200) + `"/>`:                               false, // a tag longer than the window
		`<a>` + strings.Repeat("x", 200) + `</a>`:                                 false, // text longer than the window
		`<a><!--` + strings.Repeat("x", 200) + `--></a>`:                          false,
		`<a><![CDATA[` + strings.Repeat("x", 200) + `]]></a>`:                     false,
		strings.Repeat(" ", 200) + `<a/>`:                                         false,
	} {
		_, err := events(short{strings.NewReader(xml)}, lim, part, true)
		if (err == nil) != ok || err != nil && !errors.Is(err, xmldsig.ErrLimit) {
			t.Errorf("%s: %v", xml, err)
		}
	}
}

// TestClass14_ScannerPart: what is only passed over is limited too, though the window may reach further.
func TestClass14_ScannerPart(t *testing.T) {
	part := xmldsig.Limits{Bytes: 100, Depth: 3, Attributes: 2, Nodes: 10}
	for n, ok := range map[int]bool{10: true, 11: false} {
		s := xmldsig.NewScanner(strings.NewReader("<a>"+strings.Repeat("<b>"+strings.Repeat("<c></c> ", n)+strings.Repeat(" ", 13)+"</b>", 3)+"</a>"), limits, part)
		for range 2 {
			if _, _, err := s.Next(); err != nil {
				t.Fatal(err)
			}
		}
		_, err := s.Part(nil)
		if (err == nil) != ok || err != nil && !errors.Is(err, xmldsig.ErrLimit) {
			t.Errorf("%d children: %v", n, err)
		}
	}
}

// FuzzScanner: a Scanner with the smallest windows takes and refuses what Read does, but for its limits.
func FuzzScanner(f *testing.F) {
	for _, form := range canonicalForms {
		f.Add([]byte(form.xml))
	}
	f.Add([]byte("<a>\r</a>"))
	f.Add([]byte("<a b='\r\n'>\xc3\xa9\xff</a>"))
	for _, pattern := range []string{"testdata/read/*.xml", "testdata/verify/*.xml", "../testdata/requests/*.xml"} {
		for _, b := range seeds(f, pattern) {
			f.Add(b)
		}
	}
	part := limits
	part.Bytes = 64
	f.Fuzz(func(t *testing.T, data []byte) {
		root, err := xmldsig.Read(data, limits)
		for _, parts := range []bool{false, true} {
			got, scanErr := events(short{bytes.NewReader(data)}, limits, part, parts)
			switch {
			case errors.Is(scanErr, xmldsig.ErrLimit):
			case (scanErr == nil) != (err == nil):
				t.Fatalf("Read: %v; Scanner: %v", err, scanErr)
			case err == nil:
				if diff := cmp.Diff(eventsOfTree(root, parts), got); diff != "" {
					t.Fatal(diff)
				}
			}
		}
	})
}

// aggregate is a signed document of this many elements.
func aggregate(t testing.TB, n int) []byte {
	t.Helper()
	pair := samltest.IdP()
	k, err := xmldsig.NewSigner(pair.Key, pair.Cert, 0)
	if err != nil {
		t.Fatal(err)
	}
	head := `<m:all xmlns:m="urn:m:m" ID="_1">`
	doc := append([]byte(head), make([]byte, k.Len("_1"))...)
	for i := range n {
		doc = fmt.Appendf(doc, `<m:one ID="_i%d"><m:name xml:lang="en">Number %d</m:name></m:one>`, i, i)
	}
	doc = append(doc, `</m:all>`...)
	if err := k.Sign(doc, len(head), "_1"); err != nil {
		t.Fatal(err)
	}
	return doc
}

// TestVerifyLarge: a signed document of many more elements than other libraries take.
func TestVerifyLarge(t *testing.T) {
	doc := aggregate(t, 20_000)
	lim := xmldsig.Limits{Bytes: 16 << 20, Depth: 10, Attributes: 10, Nodes: 200_000}
	keys := []crypto.PublicKey{samltest.IdP().Cert.PublicKey}
	raw, err := xmldsig.VerifyBytes(doc, keys, lim)
	if err != nil {
		t.Fatal(err)
	}
	root, err := xmldsig.Read(doc, lim)
	if err != nil {
		t.Fatal(err)
	}
	v, err := xmldsig.Verify(root, keys, lim)
	if err != nil || !bytes.Equal(v.Bytes(), raw) {
		t.Error("another result than Verify's:", err)
	}
	dir := t.TempDir()
	for name, b := range map[string][]byte{"ours.xml": doc, "cert.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: samltest.IdP().Cert.Raw})} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "xmlsec1", "--verify", "--pubkey-cert-pem", "cert.pem", "--id-attr:ID", "urn:m:m:all", "ours.xml")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("xmlsec1: %v: %s", err, out)
	}
	for name, change := range map[string][2]string{
		"text":         {"Number 19999<", "Number 29999<"},
		"attribute":    {`ID="_i77"`, `ID="_j77"`},
		"ID twice":     {`ID="_i77"`, `ID="_i78"`},
		"comment":      {`Number 7<`, `Number <!-- -->7<`},
		"element more": {`</m:all>`, `<m:one/></m:all>`},
		"second":       {`</m:all>`, `<Signature xmlns="http://www.w3.org/2000/09/xmldsig#"/></m:all>`},
		"other root":   {`urn:m:m`, `urn:m:n`},
		"unfinished":   {`</m:all>`, ``},
	} {
		bad := bytes.ReplaceAll(doc, []byte(change[0]), []byte(change[1]))
		if raw, err := xmldsig.VerifyBytes(bad, keys, lim); err == nil || raw != nil {
			t.Error(name, "passes")
		}
	}
	if _, err := xmldsig.VerifyBytes([]byte(`<a ID="_1"/>`), keys, lim); !errors.Is(err, xmldsig.ErrNoSignature) {
		t.Error(err)
	}
	for _, keys := range [][]crypto.PublicKey{nil, {samltest.Other().Cert.PublicKey}} {
		if raw, err := xmldsig.VerifyBytes(doc, keys, lim); err == nil || raw != nil {
			t.Error("verified without the key")
		}
	}
	padded := bytes.Replace(doc, []byte("<ds:KeyInfo>"), []byte("<ds:KeyInfo>"+strings.Repeat(" ", 256<<10)), 1)
	if _, err := xmldsig.VerifyBytes(padded, keys, lim); !errors.Is(err, xmldsig.ErrLimit) {
		t.Error("a Signature too large:", err)
	}
	small := lim
	small.Nodes = 50_000
	if _, err := xmldsig.VerifyBytes(doc, keys, small); !errors.Is(err, xmldsig.ErrLimit) {
		t.Error(err)
	}
}
