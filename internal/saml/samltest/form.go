package samltest

import (
	"fmt"
	"io"
	"net/url"

	"golang.org/x/net/html"
)

// AutoForm reads the page that carries a response: the action of its only form, which must be sent by POST, and the
// fields.
func AutoForm(page io.Reader) (action string, fields url.Values, err error) {
	doc, err := html.Parse(page)
	if err != nil {
		return "", nil, err
	}
	forms := 0
	method := ""
	fields = url.Values{}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		attr := map[string]string{}
		for _, a := range n.Attr {
			attr[a.Key] = a.Val
		}
		switch n.Data {
		case "form":
			forms++
			action, method = attr["action"], attr["method"]
		case "input":
			if attr["name"] != "" {
				fields.Add(attr["name"], attr["value"])
			}
		}
	}
	if forms != 1 || (method != "post" && method != "POST") {
		return "", nil, fmt.Errorf("the page has %d forms, the last one sent by %q", forms, method)
	}
	return action, fields, nil
}
