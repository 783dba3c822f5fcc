package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/html"
)

// visitor is a person's browser without script: it keeps cookies, follows redirects, fills in
// forms, and presses the button of a form that would post itself.
type visitor struct {
	http *http.Client
	// page is what the visitor looks at.
	url    *url.URL
	status int
	body   []byte
	doc    *html.Node
	// response is the last SAML response that passed through, decoded.
	response string
}

func newVisitor() (*visitor, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	return &visitor{http: &http.Client{Jar: jar, Timeout: 20 * time.Second}}, nil
}

// open goes to an address.
func (v *visitor) open(ctx context.Context, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	return v.visit(req)
}

func (v *visitor) visit(req *http.Request) error {
	req.Header.Set("Accept", "text/html")
	res, err := v.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if v.body, err = io.ReadAll(io.LimitReader(res.Body, 4<<20)); err != nil {
		return err
	}
	v.url, v.status = res.Request.URL, res.StatusCode
	v.doc, err = html.Parse(bytes.NewReader(v.body))
	return err
}

// form is a form of the page.
type form struct {
	action string
	fields url.Values
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// form finds the form that has a field called name.
func (v *visitor) form(name string) (form, bool) {
	for n := range v.doc.Descendants() {
		if n.Type != html.ElementNode || n.Data != "form" {
			continue
		}
		f := form{action: attribute(n, "action"), fields: url.Values{}}
		for in := range n.Descendants() {
			if in.Type == html.ElementNode && in.Data == "input" && attribute(in, "name") != "" {
				f.fields.Set(attribute(in, "name"), attribute(in, "value"))
			}
		}
		if f.fields.Has(name) {
			return f, true
		}
	}
	return form{}, false
}

func (v *visitor) submit(ctx context.Context, f form) error {
	to, err := v.url.Parse(f.action)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), strings.NewReader(f.fields.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", v.url.Scheme+"://"+v.url.Host)
	return v.visit(req)
}

// signIn goes through the sign-in pages that the visitor stands at.
func (v *visitor) signIn(ctx context.Context, login, password string) error {
	for range 4 {
		f, ok := v.form("password")
		if ok {
			f.fields.Set("password", password)
			if f.fields.Has("login") && f.fields.Get("login") == "" {
				f.fields.Set("login", login)
			}
		} else if f, ok = v.form("login"); ok {
			f.fields.Set("login", login)
		} else {
			return nil
		}
		before := v.url.String()
		if err := v.submit(ctx, f); err != nil {
			return err
		}
		if _, again := v.form("password"); again && f.fields.Has("password") && v.url.String() == before {
			return fmt.Errorf("the sign-in page refuses: %s", v.text())
		}
	}
	return nil
}

// post presses on while a page only carries a SAML response to its destination.
func (v *visitor) post(ctx context.Context) error {
	for range 3 {
		f, ok := v.form("SAMLResponse")
		if !ok {
			return nil
		}
		raw, err := base64.StdEncoding.DecodeString(f.fields.Get("SAMLResponse"))
		if err != nil {
			return fmt.Errorf("the SAML response isn't base64: %w", err)
		}
		v.response = string(raw)
		if err := v.submit(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// text is what the page says, for messages.
func (v *visitor) text() string {
	var b strings.Builder
	for n := range v.doc.Descendants() {
		if n.Type != html.TextNode || n.Parent != nil && (n.Parent.Data == "style" || n.Parent.Data == "script" || n.Parent.Data == "title") {
			continue
		}
		if s := strings.Join(strings.Fields(n.Data), " "); s != "" {
			b.WriteString(s + " ")
		}
	}
	out := b.String()
	if len(out) > 400 {
		out = out[:400] + "…"
	}
	return fmt.Sprintf("%d at %s: %s", v.status, v.url.Path, out)
}

// says reports whether the page holds a text.
func (v *visitor) says(text string) bool { return strings.Contains(string(v.body), text) }
