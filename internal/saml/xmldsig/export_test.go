package xmldsig

import (
	"math"

	"github.com/beevik/etree"
)

// Canonical is canonical for tests, without limit.
func Canonical(e *Element, prefixList ...string) []byte {
	b, err := canonical(e, nil, prefixList, math.MaxInt)
	if err != nil {
		panic(err)
	}
	return b
}

// Etree copies a tree for the libraries that our own code is compared with, so that only what comes behind reading is
// compared. In place of SignatureValue's text it writes value, if that is not "", and it leaves KeyInfo out.
func Etree(e *Element, value string) *etree.Element {
	out := &etree.Element{Space: e.prefix, Tag: e.Local}
	for _, d := range e.declares {
		if d.prefix == "" {
			out.Attr = append(out.Attr, etree.Attr{Key: "xmlns", Value: d.uri})
		} else {
			out.Attr = append(out.Attr, etree.Attr{Space: "xmlns", Key: d.prefix, Value: d.uri})
		}
	}
	for _, a := range e.attrs {
		out.Attr = append(out.Attr, etree.Attr{Space: a.prefix, Key: a.Local, Value: a.Value})
	}
	if value != "" && e.Is(ns, "SignatureValue") {
		out.CreateText(value)
		return out
	}
	for _, n := range e.content {
		switch {
		case n.element == nil:
			out.CreateText(n.text)
		case value != "" && e.Is(ns, "Signature") && n.element.Is(ns, "KeyInfo"):
		default:
			out.AddChild(Etree(n.element, value))
		}
	}
	return out
}

// Comparable reports whether goxmldsig gets the canonical form right. It does not where an element has attributes of two
// prefixes, which it does not sort by namespace, nor where a default namespace is taken back that is not in force in the
// output, where it writes xmlns="" all the same. libxml2 agrees with us on both.
func Comparable(e *Element) bool {
	return e.All(func(e *Element) bool {
		prefixes := map[string]bool{}
		for _, a := range e.attrs {
			if a.prefix != "" {
				prefixes[a.prefix] = true
			}
		}
		for _, d := range e.declares {
			if d.uri == "" {
				return false
			}
		}
		return len(prefixes) < 2
	})
}
