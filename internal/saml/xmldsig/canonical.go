package xmldsig

import (
	"cmp"
	"fmt"
	"slices"
)

// canonicalizer writes elements in exclusive canonical form without comments (xml-exc-c14n §3, xml-c14n §2.3). It is
// fed with what a reader met, in document order, from a tree or while reading.
//
// Every element is in the output, with all that it holds, so that the rules come down to this: an element declares the
// prefixes that its own name and its attributes use, and those of the PrefixList that are declared at it in the
// document, unless the output has the same declaration in force already.
type canonicalizer struct {
	out      []byte
	list     []string      // PrefixList of InclusiveNamespaces; "" is the default namespace
	rendered []declaration // in force in the output, innermost last
	outside  []int         // length of rendered outside of each open element
	limit    int           // bytes of output

	attrs []*Attr // scratch
}

// canonical returns an element's canonical form, leaving out one of its children. One longer than limit is refused while
// it is made: it can be the square of the document's length, if many elements declare a prefix with a long name that was
// declared once.
func canonical(e, without *Element, list []string, limit int) ([]byte, error) {
	c := canonicalizer{list: list, limit: limit, out: make([]byte, 0, 2048)}
	err := c.tree(e, without)
	return c.out, err
}

func (c *canonicalizer) tree(e, without *Element) error {
	c.start(e)
	for _, n := range e.content {
		if n.element != nil && n.element != without {
			if err := c.tree(n.element, without); err != nil {
				return err
			}
		}
		if n.element == nil {
			c.text(n.text)
		}
	}
	c.end(e)
	return c.check()
}

// check refuses what is too long; it is called after every element.
func (c *canonicalizer) check() error {
	if len(c.out) > c.limit {
		return fmt.Errorf("canonical form of more than %d bytes: %w", c.limit, ErrLimit)
	}
	return nil
}

func (c *canonicalizer) start(e *Element) {
	c.outside = append(c.outside, len(c.rendered))
	c.out = append(c.out, '<')
	c.name(e.prefix, e.Local)

	from := len(c.rendered)
	c.use(from, e.prefix, e.Space)
	c.attrs = c.attrs[:0]
	for i := range e.attrs {
		a := &e.attrs[i]
		c.attrs = append(c.attrs, a)
		if a.prefix != "" {
			c.use(from, a.prefix, a.Space)
		}
	}
	if len(c.list) > 0 {
		for _, d := range e.declares {
			if slices.Contains(c.list, d.prefix) {
				c.use(from, d.prefix, d.uri)
			}
		}
	}
	fresh := c.rendered[from:]
	slices.SortFunc(fresh, func(a, b declaration) int { return cmp.Compare(a.prefix, b.prefix) })
	for _, d := range fresh {
		c.out = append(c.out, " xmlns"...)
		if d.prefix != "" {
			c.out = append(c.out, ':')
			c.out = append(c.out, d.prefix...)
		}
		c.value(d.uri)
	}
	slices.SortFunc(c.attrs, func(a, b *Attr) int {
		return cmp.Or(cmp.Compare(a.Space, b.Space), cmp.Compare(a.Local, b.Local))
	})
	for _, a := range c.attrs {
		c.out = append(c.out, ' ')
		c.name(a.prefix, a.Local)
		c.value(a.Value)
	}
	c.out = append(c.out, '>')
}

// use sees to it that a prefix means this namespace in the output, from the present element on, whose own declarations
// begin at from.
func (c *canonicalizer) use(from int, prefix, uri string) {
	if prefix == "xml" {
		return // is never declared
	}
	inForce := "" // outside of all declarations, this is what no prefix means; other prefixes mean nothing
	for i, d := range slices.Backward(c.rendered) {
		if d.prefix == prefix {
			if i >= from {
				return
			}
			inForce = d.uri
			break
		}
	}
	if inForce != uri {
		c.rendered = append(c.rendered, declaration{prefix, uri})
	}
}

func (c *canonicalizer) end(e *Element) {
	c.out = append(c.out, "</"...)
	c.name(e.prefix, e.Local)
	c.out = append(c.out, '>')
	last := len(c.outside) - 1
	c.rendered, c.outside = c.rendered[:c.outside[last]], c.outside[:last]
}

func (c *canonicalizer) name(prefix, local string) {
	if prefix != "" {
		c.out = append(c.out, prefix...)
		c.out = append(c.out, ':')
	}
	c.out = append(c.out, local...)
}

// text writes character data: & < > and carriage return are replaced.
func (c *canonicalizer) text(s string) {
	from := 0
	for i := range len(s) {
		var as string
		switch s[i] {
		case '&':
			as = "&amp;"
		case '<':
			as = "&lt;"
		case '>':
			as = "&gt;"
		case '\r':
			as = "&#xD;"
		default:
			continue
		}
		c.out = append(c.out, s[from:i]...)
		c.out = append(c.out, as...)
		from = i + 1
	}
	c.out = append(c.out, s[from:]...)
}

// value writes an attribute's value: & < " and tab, line feed and carriage return are replaced.
func (c *canonicalizer) value(s string) {
	c.out = append(c.out, `="`...)
	from := 0
	for i := range len(s) {
		var as string
		switch s[i] {
		case '&':
			as = "&amp;"
		case '<':
			as = "&lt;"
		case '"':
			as = "&quot;"
		case '\t':
			as = "&#x9;"
		case '\n':
			as = "&#xA;"
		case '\r':
			as = "&#xD;"
		default:
			continue
		}
		c.out = append(c.out, s[from:i]...)
		c.out = append(c.out, as...)
		from = i + 1
	}
	c.out = append(c.out, s[from:]...)
	c.out = append(c.out, '"')
}
