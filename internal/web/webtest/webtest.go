// Package webtest checks pages in tests: that the markup is well-formed, that nothing offends
// the Content-Security-Policy, and that a screen reader finds a name for everything. It hides
// the walk through the HTML.
package webtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// Check reports everything that Findings finds as test errors.
func Check(t testing.TB, page []byte) {
	t.Helper()
	for _, f := range Findings(page) {
		t.Error(f)
	}
}

// Findings lists what is wrong with a page, or with a piece of one when it has no html
// element.
func Findings(page []byte) []string {
	found := wellFormed(page)
	root, err := html.Parse(bytes.NewReader(page))
	if err != nil {
		return append(found, "parsing: "+err.Error())
	}
	c := checker{found: found, ids: map[string]int{}, labelled: map[string]bool{}}
	c.collect(root)
	for _, id := range slices.Sorted(maps.Keys(c.ids)) {
		if n := c.ids[id]; n > 1 {
			c.add("id %q is used %d times", id, n)
		}
	}
	c.walk(root)
	if bytes.Contains(page, []byte("<html")) {
		c.page(root)
	}
	return c.found
}

var void = []string{"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}

// wellFormed finds elements that aren't closed, or closed out of order. The HTML parser would
// mend them in silence.
func wellFormed(page []byte) []string {
	var found, open []string
	z := html.NewTokenizer(bytes.NewReader(page))
	for {
		switch z.Next() {
		case html.ErrorToken:
			if err := z.Err(); !errors.Is(err, io.EOF) {
				found = append(found, "reading: "+err.Error())
			}
			if len(open) > 0 {
				found = append(found, "never closed: "+strings.Join(open, ", "))
			}
			return found
		case html.StartTagToken:
			name, _ := z.TagName()
			if tag := string(name); !slices.Contains(void, tag) {
				open = append(open, tag)
			}
		case html.EndTagToken:
			name, _ := z.TagName()
			if len(open) == 0 || open[len(open)-1] != string(name) {
				return append(found, fmt.Sprintf("</%s> closes nothing; open: %s", name, strings.Join(open, " ")))
			}
			open = open[:len(open)-1]
		}
	}
}

type checker struct {
	found    []string
	ids      map[string]int
	labelled map[string]bool // ids that a label names
}

func (c *checker) add(format string, args ...any) {
	c.found = append(c.found, fmt.Sprintf(format, args...))
}

func (c *checker) collect(n *html.Node) {
	for x := range n.Descendants() {
		if x.Type != html.ElementNode {
			continue
		}
		if id := attr(x, "id"); id != "" {
			c.ids[id]++
		}
		if x.Data == "label" && text(x) != "" {
			c.labelled[attr(x, "for")] = true
		}
	}
}

func (c *checker) walk(root *html.Node) {
	for n := range root.Descendants() {
		if n.Type == html.ElementNode {
			c.element(n)
		}
	}
}

func (c *checker) element(n *html.Node) {
	for _, a := range n.Attr {
		switch {
		case a.Key == "style":
			c.add("%s has a style attribute, which the policy forbids", describe(n))
		case strings.HasPrefix(a.Key, "on"), strings.HasPrefix(a.Key, "hx-on"):
			c.add("%s has the script attribute %s, which the policy forbids", describe(n), a.Key)
		case strings.HasPrefix(strings.ToLower(strings.TrimSpace(a.Val)), "javascript:"):
			c.add("%s has a script in %s", describe(n), a.Key)
		}
	}
	for _, ref := range []string{"aria-describedby", "aria-labelledby", "aria-controls", "popovertarget", "for", "data-dialog", "data-reveal"} {
		for id := range strings.FieldsSeq(attr(n, ref)) {
			if c.ids[id] == 0 {
				c.add("%s names the missing id %q in %s", describe(n), id, ref)
			}
		}
	}
	for _, ref := range []string{"hx-target", "data-filter", "data-filter-none"} {
		if v := attr(n, ref); len(v) > 1 && v[0] == '#' && c.ids[v[1:]] == 0 {
			c.add("%s names the missing id %q in %s", describe(n), v[1:], ref)
		}
	}
	if href := attr(n, "href"); len(href) > 1 && href[0] == '#' && c.ids[href[1:]] == 0 {
		c.add("%s leads to the missing id %q", describe(n), href[1:])
	}
	switch n.Data {
	case "style":
		c.add("a style element, which the policy forbids")
	case "script":
		if attr(n, "src") == "" {
			c.add("a script in the page, which the policy forbids")
		}
	case "img":
		if !has(n, "alt") {
			c.add("%s has no alt", describe(n))
		}
	case "svg":
		if attr(n, "aria-hidden") != "true" && attr(n, "aria-label") == "" {
			c.add("%s is neither hidden from screen readers nor named", describe(n))
		}
	case "button", "a", "summary":
		if c.name(n) == "" {
			c.add("%s has no name", describe(n))
		}
		if n.Data == "button" && attr(n, "type") == "" {
			c.add("%s has no type", describe(n))
		}
		if n.Data == "a" && !has(n, "href") {
			c.add("%s leads nowhere", describe(n))
		}
		if attr(n, "target") == "_blank" && !strings.Contains(attr(n, "rel"), "noopener") {
			c.add("%s opens a tab that could reach back", describe(n))
		}
	case "input", "select", "textarea":
		if t := attr(n, "type"); t != "hidden" && t != "submit" && !c.isLabelled(n) {
			c.add("%s has no label", describe(n))
		}
		if n.Data == "input" && attr(n, "type") == "password" && attr(n, "value") != "" {
			c.add("%s sends a password to the browser", describe(n))
		}
	case "fieldset":
		if firstElement(n) == nil || firstElement(n).Data != "legend" {
			c.add("%s has no legend", describe(n))
		}
	case "table":
		if first := firstElement(n); first == nil || first.Data != "caption" {
			c.add("%s has no caption", describe(n))
		}
	case "form":
		if m := attr(n, "method"); m != "get" && m != "post" && m != "dialog" && attr(n, "hx-post") == "" && attr(n, "hx-get") == "" {
			c.add("%s doesn't say its method", describe(n))
		}
	case "dialog":
		if attr(n, "aria-labelledby") == "" && attr(n, "aria-label") == "" {
			c.add("%s has no name", describe(n))
		}
	}
}

// page checks what only a whole page has.
func (c *checker) page(root *html.Node) {
	count := map[string]int{}
	lang, title := "", ""
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		count[n.Data]++
		switch n.Data {
		case "html":
			lang = attr(n, "lang")
		case "title":
			title = text(n)
		}
	}
	if lang == "" {
		c.add("the page doesn't say its language")
	}
	if title == "" {
		c.add("the page has no title")
	}
	for _, tag := range []string{"h1", "main"} {
		if count[tag] != 1 {
			c.add("the page has %d %s elements instead of one", count[tag], tag)
		}
	}
}

func (c *checker) isLabelled(n *html.Node) bool {
	if c.labelled[attr(n, "id")] && attr(n, "id") != "" || attr(n, "aria-label") != "" || attr(n, "aria-labelledby") != "" {
		return true
	}
	for p := n.Parent; p != nil; p = p.Parent {
		if p.Data == "label" {
			return text(p) != ""
		}
	}
	return false
}

// name is what a screen reader calls a button or link.
func (c *checker) name(n *html.Node) string {
	if l := attr(n, "aria-label"); l != "" {
		return l
	}
	if t := text(n); t != "" {
		return t
	}
	for x := range n.Descendants() {
		if x.Data == "img" && attr(x, "alt") != "" {
			return attr(x, "alt")
		}
	}
	return attr(n, "title")
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, key string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == key })
}

// text is the text that a screen reader reads in n.
func text(n *html.Node) string {
	var b strings.Builder
	var read func(*html.Node)
	read = func(x *html.Node) {
		if x.Type == html.TextNode {
			b.WriteString(x.Data)
		}
		if x.Type == html.ElementNode && attr(x, "aria-hidden") == "true" {
			return
		}
		for k := range x.ChildNodes() {
			read(k)
		}
	}
	read(n)
	return strings.TrimSpace(b.String())
}

func firstElement(n *html.Node) *html.Node {
	for k := range n.ChildNodes() {
		if k.Type == html.ElementNode {
			return k
		}
	}
	return nil
}

func describe(n *html.Node) string {
	var s strings.Builder
	s.WriteString("<" + n.Data)
	for _, key := range []string{"id", "name", "type", "class", "href", "aria-label"} {
		if v := attr(n, key); v != "" {
			s.WriteString(fmt.Sprintf(" %s=%q", key, v))
		}
	}
	return s.String() + ">"
}
