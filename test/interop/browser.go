package main

import (
	"bytes"
	"compress/flate"
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

// message is a SAML message that went through the browser.
type message struct {
	parameter string // SAMLRequest or SAMLResponse
	binding   string // Redirect or POST
	to        *url.URL
	values    url.Values
	xml       []byte
	changed   bool // on the way
}

// signed tells whether the message as a whole carries a signature: detached in the query, or enveloped below its root.
func (m *message) signed() bool {
	return m.values.Get("Signature") != "" || signedElement(m.xml, "")
}

// page is where a walk ended.
type page struct {
	url    *url.URL
	status int
	header http.Header
	body   []byte
}

// String shortens the page to what it says.
func (p *page) String() string {
	text := strings.Join(strings.Fields(plain(p.body)), " ")
	if len(text) > 300 {
		text = text[:300] + "…"
	}
	return fmt.Sprintf("%d at %s: %s", p.status, p.url.Redacted(), text)
}

// plain is the text of a page without its marks.
func plain(body []byte) string {
	if !bytes.Contains(body, []byte("<")) {
		return string(body)
	}
	doc, err := html.Parse(bytes.NewReader(body))
	if err != nil {
		return string(body)
	}
	var b strings.Builder
	for n := range doc.Descendants() {
		if n.Type == html.TextNode && (n.Parent == nil || n.Parent.Data != "script" && n.Parent.Data != "style") {
			b.WriteString(n.Data + " ")
		}
	}
	return b.String()
}

// browser acts for a person: it keeps cookies, follows redirects, sends forms that send themselves, and signs in where
// Latchkey asks. As with SameSite=Lax, a post from another site takes no cookie of Latchkey's along.
type browser struct {
	client *http.Client
	home   string // Latchkey's address
	login  string

	// signIns counts how often a password was given.
	signIns int
	// messages are all SAML messages on the way, in order.
	messages []message
	// alter, when set, changes the fields of a form that carries a SAMLResponse.
	alter func(url.Values) error
	// hold, when set, ends a walk before this address is opened.
	hold func(*url.URL) bool
	// stay ends a walk at the sign-in page.
	stay bool
}

func newBrowser(home, login string) (*browser, error) {
	jar, err := cookiejar.New(nil)
	return &browser{
		home: home, login: login,
		client: &http.Client{
			Jar: jar, Timeout: 30 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, err
}

// open goes to an address and on, until a page is reached that waits for the person.
func (b *browser) open(ctx context.Context, address string) (*page, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	return b.walk(ctx, req)
}

// post sends a form of the site itself, and goes on.
func (b *browser) post(ctx context.Context, address string, form url.Values) (*page, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	req, err := b.form(ctx, u, u, form)
	if err != nil {
		return nil, err
	}
	return b.walk(ctx, req)
}

func (b *browser) form(ctx context.Context, from, to *url.URL, form url.Values) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", from.Scheme+"://"+from.Host)
	site := "same-origin"
	if from.Host != to.Host {
		site = "cross-site"
	}
	req.Header.Set("Sec-Fetch-Site", site)
	return req, nil
}

func (b *browser) send(req *http.Request) (*page, error) {
	c := *b.client
	if req.Header.Get("Sec-Fetch-Site") == "cross-site" && strings.HasPrefix(req.URL.String(), b.home+"/") {
		c.Jar = lax{c.Jar}
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	return &page{url: req.URL, status: resp.StatusCode, header: resp.Header, body: body}, err
}

// lax sends no cookies, but takes them.
type lax struct{ http.CookieJar }

func (lax) Cookies(*url.URL) []*http.Cookie { return nil }

func (b *browser) walk(ctx context.Context, req *http.Request) (*page, error) {
	var trail []string
	for range 40 {
		if b.hold != nil && b.hold(req.URL) {
			return &page{url: req.URL}, nil
		}
		if err := b.note(req.URL, "Redirect", req.URL.Query(), false); err != nil {
			return nil, err
		}
		p, err := b.send(req)
		if err != nil {
			return nil, err
		}
		trail = append(trail, fmt.Sprintf("%d %s", p.status, strings.SplitN(p.url.String(), "?", 2)[0]))
		if next := b.next(p); next != "" {
			u, err := p.url.Parse(next)
			if err != nil {
				return nil, err
			}
			if req, err = http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil); err != nil {
				return nil, err
			}
			continue
		}
		action, fields := samlForm(p)
		switch {
		case action != nil:
			changed := b.alter != nil && fields.Has("SAMLResponse")
			if changed {
				if err := b.alter(fields); err != nil {
					return nil, err
				}
			}
			if err := b.note(action, "POST", fields, changed); err != nil {
				return nil, err
			}
			if req, err = b.form(ctx, p.url, action, fields); err != nil {
				return nil, err
			}
		case p.status == http.StatusOK && p.url.Path == "/signin" && strings.HasPrefix(p.url.String(), b.home+"/") && !b.stay:
			form := url.Values{"login": {b.login}, "password": {password}}
			for _, k := range []string{"flow", "return"} {
				if v := p.url.Query().Get(k); v != "" {
					form.Set(k, v)
				}
			}
			b.signIns++
			if req, err = b.form(ctx, p.url, &url.URL{Scheme: p.url.Scheme, Host: p.url.Host, Path: "/signin"}, form); err != nil {
				return nil, err
			}
		default:
			return p, nil
		}
	}
	return nil, fmt.Errorf("no end of redirects: %s", strings.Join(trail[len(trail)-10:], ", "))
}

// next is where a page sends the browser by itself: by a status, or by a refresh.
func (b *browser) next(p *page) string {
	if p.status >= 300 && p.status < 400 {
		return p.header.Get("Location")
	}
	refresh := p.header.Get("Refresh")
	if refresh == "" && strings.Contains(p.header.Get("Content-Type"), "html") {
		refresh = metaRefresh(p.body)
	}
	if _, to, found := strings.Cut(refresh, ";"); found {
		to = strings.TrimSpace(to)
		if len(to) > 4 && strings.EqualFold(to[:4], "url=") {
			return strings.Trim(to[4:], `"'`)
		}
	}
	return ""
}

func metaRefresh(body []byte) string {
	doc, err := html.Parse(bytes.NewReader(body))
	if err != nil {
		return ""
	}
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && n.Data == "meta" && strings.EqualFold(attribute(n, "http-equiv"), "refresh") && !within(n, "noscript") {
			return attribute(n, "content")
		}
	}
	return ""
}

func within(n *html.Node, name string) bool {
	for a := range n.Ancestors() {
		if a.Data == name {
			return true
		}
	}
	return false
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// samlForm finds a form that carries a SAML message, and what it sends where.
func samlForm(p *page) (*url.URL, url.Values) {
	if !bytes.Contains(p.body, []byte("SAMLRe")) {
		return nil, nil
	}
	doc, err := html.Parse(bytes.NewReader(p.body))
	if err != nil {
		return nil, nil
	}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode || n.Data != "form" {
			continue
		}
		fields := url.Values{}
		for in := range n.Descendants() {
			if in.Type != html.ElementNode || attribute(in, "name") == "" {
				continue
			}
			switch kind := attribute(in, "type"); {
			case in.Data == "input" && kind != "submit" && kind != "button":
				fields.Add(attribute(in, "name"), attribute(in, "value"))
			case in.Data == "textarea" && in.FirstChild != nil:
				fields.Add(attribute(in, "name"), in.FirstChild.Data)
			}
		}
		if !fields.Has("SAMLRequest") && !fields.Has("SAMLResponse") {
			continue
		}
		if action, err := p.url.Parse(attribute(n, "action")); err == nil {
			return action, fields
		}
	}
	return nil, nil
}

// note keeps a message that is on its way.
func (b *browser) note(to *url.URL, binding string, values url.Values, changed bool) error {
	for _, parameter := range []string{"SAMLRequest", "SAMLResponse"} {
		v := values.Get(parameter)
		if v == "" {
			continue
		}
		raw, err := base64.StdEncoding.DecodeString(strings.Map(func(r rune) rune {
			if r == ' ' || r == '\r' || r == '\n' {
				return -1
			}
			return r
		}, v))
		if err != nil {
			return fmt.Errorf("%s to %s: %w", parameter, to.Redacted(), err)
		}
		if binding == "Redirect" {
			if raw, err = io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(raw)), 1<<20)); err != nil {
				return fmt.Errorf("%s to %s: %w", parameter, to.Redacted(), err)
			}
		}
		b.messages = append(b.messages, message{parameter: parameter, binding: binding, to: to, values: values, xml: raw, changed: changed})
	}
	return nil
}

// last returns the last message of that root element, e.g. "AuthnRequest"; nil if there was none.
func (b *browser) last(root string) *message {
	for i := len(b.messages) - 1; i >= 0; i-- {
		if rootName(b.messages[i].xml) == root {
			return &b.messages[i]
		}
	}
	return nil
}
