package scim

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Token is a bearer token. It prints as [redacted] everywhere; only
// [Token.Reveal] gives the text.
type Token struct {
	// A pointer, so that printing a struct which holds a token in a private
	// field, where no method of ours is called, shows an address.
	text *string
}

// NewToken takes a token's text; surrounding white space, which comes with
// pasting, is dropped.
func NewToken(text string) Token {
	text = strings.TrimSpace(text)
	return Token{&text}
}

const redacted = "[redacted]"

// Reveal gives the token's text, for the one who sends or seals it.
func (t Token) Reveal() string {
	if t.text == nil {
		return ""
	}
	return *t.text
}

// IsZero tells whether there is no token.
func (t Token) IsZero() bool { return t.Reveal() == "" }

// String is "[redacted]".
func (t Token) String() string { return redacted }

// GoString is "[redacted]".
func (t Token) GoString() string { return redacted }

// LogValue is "[redacted]".
func (t Token) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText is "[redacted]".
func (t Token) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Media types of SCIM bodies (RFC 7644 §3.1).
const (
	MediaSCIM = "application/scim+json"
	MediaJSON = "application/json"
)

// Defaults and limits of a [Client].
const (
	DefaultMaxBody = 64 << 20 // bytes of an answer
	DefaultPage    = 100      // resources of a page
	keepBody       = 16 << 10 // bytes of a body kept in an Exchange
	keepMembers    = 1 << 20  // bytes of a PATCH answer above which it is not decoded
)

// ClientConfig says how to reach one target.
type ClientConfig struct {
	// BaseURL is the directory's URL; resources hang directly below it. A
	// slash at its end is dropped. Required; http or https.
	BaseURL string
	// Token is sent as a bearer token. Required.
	Token Token
	// HTTP carries the requests: its transport guards where they may go and
	// its timeout bounds a request. Redirects are never followed. Required.
	HTTP *http.Client
	// UserAgent is sent with every request, such as "Latchkey/1.2". Required,
	// since some gateways refuse Go's default.
	UserAgent string
	// ContentType of request bodies; MediaSCIM when empty.
	ContentType string
	// MaxBody bounds the bytes read of an answer; DefaultMaxBody when zero.
	MaxBody int64
	// Cursor is whether lists are walked by cursor and nextCursor (RFC 9865)
	// and not by startIndex, which such a target ignores.
	Cursor bool
	// Page is how many resources of a page a list asks for where its options don't
	// say; DefaultPage when zero.
	Page int
	// Now tells the time, for Retry-After dates and durations. Required.
	Now func() time.Time
}

// Client speaks to one SCIM service provider. It is safe for concurrent use. It
// never retries: every method sends one request (lists: one per page) and tells
// what became of it.
type Client struct {
	base        string
	token       Token
	http        *http.Client
	userAgent   string
	contentType string
	maxBody     int64
	cursor      bool
	pageSize    int
	now         func() time.Time
}

// NewClient checks the configuration; it sends nothing.
func NewClient(c ClientConfig) (*Client, error) {
	u, err := url.Parse(strings.TrimSpace(c.BaseURL))
	if err != nil {
		return nil, fmt.Errorf("scim: base URL: %w", err)
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return nil, errors.New("scim: the base URL needs http or https and a host")
	case u.User != nil:
		return nil, errors.New("scim: the base URL must not hold a user or password")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("scim: the base URL must not have a query or fragment")
	case c.Token.IsZero():
		return nil, errors.New("scim: the token is missing")
	case strings.ContainsFunc(c.Token.Reveal(), func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return nil, errors.New("scim: the token holds characters that no bearer token has")
	case c.HTTP == nil || c.Now == nil || c.UserAgent == "":
		return nil, errors.New("scim: HTTP, Now and UserAgent are required")
	}
	h := *c.HTTP
	h.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	h.Jar = nil
	cl := &Client{
		base:        strings.TrimRight(u.String(), "/"),
		token:       c.Token,
		http:        &h,
		userAgent:   c.UserAgent,
		contentType: c.ContentType,
		maxBody:     c.MaxBody,
		cursor:      c.Cursor,
		pageSize:    c.Page,
		now:         c.Now,
	}
	if cl.contentType == "" {
		cl.contentType = MediaSCIM
	}
	if cl.pageSize <= 0 {
		cl.pageSize = DefaultPage
	}
	if cl.maxBody <= 0 {
		cl.maxBody = DefaultMaxBody
	}
	return cl, nil
}

// BaseURL is the directory's URL without a slash at its end.
func (c *Client) BaseURL() string { return c.base }

// Get reads one resource.
func (c *Client) Get(ctx context.Context, t ResourceType, id string) (Resource, Exchange, error) {
	return c.resource(ctx, http.MethodGet, c.item(t, id), nil)
}

// Create makes a resource and gives it as the target keeps it, with its id. An
// answer without an id counts as broken, and uncertain.
func (c *Client) Create(ctx context.Context, t ResourceType, body Resource) (Resource, Exchange, error) {
	r, x, err := c.resource(ctx, http.MethodPost, t.Endpoint(), body)
	if err == nil && r.ID() == "" {
		// The Location header names it when the body doesn't.
		if id := idFromLocation(x.Header["Location"]); id != "" {
			if r == nil {
				r = Resource{}
			}
			r["id"] = id
			return r, x, nil
		}
		return nil, x, &CallError{
			Class: Temporary, Uncertain: true, Exchange: x,
			Err: errors.New("the answer to a create has no id"),
		}
	}
	return r, x, err
}

// Replace writes the whole resource by PUT.
func (c *Client) Replace(ctx context.Context, t ResourceType, id string, body Resource) (Resource, Exchange, error) {
	return c.resource(ctx, http.MethodPut, c.item(t, id), body)
}

// Patch changes a resource. The answer is nil when the target sends none (204)
// or one so long that it was not decoded (a group with very many members).
func (c *Client) Patch(ctx context.Context, t ResourceType, id string, patch PatchOp) (Resource, Exchange, error) {
	return c.resource(ctx, http.MethodPatch, c.item(t, id), patch)
}

// Delete removes a resource.
func (c *Client) Delete(ctx context.Context, t ResourceType, id string) (Exchange, error) {
	_, x, err := c.call(ctx, http.MethodDelete, c.item(t, id), nil)
	return x, err
}

// Find lists the resources that a filter selects, at most one page. Every hit is
// checked against the filter again, so that a target which ignores filters can't
// pass off somebody else; when such a target hides more on further pages the
// error is Refused.
func (c *Client) Find(ctx context.Context, t ResourceType, f Filter) ([]Resource, Exchange, error) {
	list, x, err := c.page(ctx, t, "filter="+escapeQuery(f.String()))
	if err != nil {
		return nil, x, err
	}
	var hits []Resource
	for _, r := range list.Resources {
		if r.ID() != "" && f.Match(r) {
			hits = append(hits, r)
		}
	}
	if len(hits) == 0 && len(list.Resources) > 0 && list.TotalResults > len(list.Resources) {
		return nil, x, &CallError{
			Class: Refused, Exchange: x,
			Err: fmt.Errorf("the target did not apply the filter %s", f),
		}
	}
	return hits, x, nil
}

// FindUser lists the users whose attribute (externalId, userName) equals value.
func (c *Client) FindUser(ctx context.Context, attribute, value string) ([]Resource, Exchange, error) {
	return c.Find(ctx, User, Eq(attribute, value))
}

// FindGroup lists the groups with a display name.
func (c *Client) FindGroup(ctx context.Context, displayName string) ([]Resource, Exchange, error) {
	return c.Find(ctx, Group, Eq("displayName", displayName))
}

// ListOptions narrow a list.
type ListOptions struct {
	Filter     *Filter
	Count      int      // resources asked per page; the client's when zero
	StartIndex int      // first resource, from 1
	Cursor     string   // where to go on, of a page's NextCursor, at a target with cursors
	Attributes []string // only these
	Excluded   []string // all but these
}

// Page is one page of a list and how it was got.
type Page struct {
	ListResponse
	Exchange Exchange
}

// List walks through all pages. It goes on by the number of resources that came,
// never by what the target says of its page size, and ends at an empty page or
// when totalResults is passed; or, by cursor, when no next one is given. After an error, which comes with the page's
// Exchange, nothing follows. Resources that change while a list is read can be
// missed or come twice, as SCIM paging has no snapshot.
func (c *Client) List(ctx context.Context, t ResourceType, o ListOptions) iter.Seq2[Page, error] {
	return func(yield func(Page, error) bool) {
		start, count := max(o.StartIndex, 1), o.Count
		if count <= 0 {
			count = c.pageSize
		}
		cursor := o.Cursor
		for {
			q := "startIndex=" + strconv.Itoa(start) + "&count=" + strconv.Itoa(count)
			if c.cursor {
				q = "cursor=" + escapeQuery(cursor) + "&count=" + strconv.Itoa(count)
			}
			if o.Filter != nil {
				q += "&filter=" + escapeQuery(o.Filter.String())
			}
			if len(o.Attributes) > 0 {
				q += "&attributes=" + escapeQuery(strings.Join(o.Attributes, ","))
			}
			if len(o.Excluded) > 0 {
				q += "&excludedAttributes=" + escapeQuery(strings.Join(o.Excluded, ","))
			}
			list, x, err := c.page(ctx, t, q)
			if err != nil {
				yield(Page{Exchange: x}, err)
				return
			}
			if !yield(Page{ListResponse: list, Exchange: x}, nil) {
				return
			}
			if c.cursor {
				// A page may be empty and still not be the last one, RFC 9865 §2.
				if list.NextCursor == "" || list.NextCursor == cursor {
					return
				}
				cursor = list.NextCursor
				continue
			}
			start += len(list.Resources)
			if len(list.Resources) == 0 || start > list.TotalResults {
				return
			}
		}
	}
}

// ServiceProviderConfig asks what the target can do: a read that proves URL and
// token.
func (c *Client) ServiceProviderConfig(ctx context.Context) (ServiceProviderConfig, Exchange, error) {
	var out ServiceProviderConfig
	body, x, err := c.call(ctx, http.MethodGet, "/ServiceProviderConfig", nil)
	if err != nil {
		return out, x, err
	}
	r, err := ParseResource(body)
	if err == nil && len(r.Schemas()) == 0 {
		_, ok := r.Get("patch")
		if !ok {
			err = errors.New("no ServiceProviderConfig")
		}
	}
	if err != nil {
		return out, x, c.broken(x, http.MethodGet, err)
	}
	return serviceProviderConfig(r), x, nil
}

func (c *Client) item(t ResourceType, id string) string {
	return t.Endpoint() + "/" + url.PathEscape(id)
}

func (c *Client) page(ctx context.Context, t ResourceType, query string) (ListResponse, Exchange, error) {
	var list ListResponse
	body, x, err := c.call(ctx, http.MethodGet, t.Endpoint()+"?"+query, nil)
	if err != nil {
		return list, x, err
	}
	var seen struct {
		ListResponse
		TotalResults *int `json:"totalResults"`
	}
	err = decodeExact(body, &seen)
	if err == nil && c.cursor && slices.Contains(seen.Schemas, SchemaListResponse) {
		// totalResults is optional there, RFC 9865 §2.1.
		seen.TotalResults = cmp.Or(seen.TotalResults, new(int))
	}
	if err == nil && seen.TotalResults == nil {
		// Some other JSON. Taking it for an empty list would make accounts
		// twice.
		err = errors.New("a list without totalResults")
	}
	if err != nil {
		return list, x, c.broken(x, http.MethodGet, err)
	}
	list = seen.ListResponse
	list.TotalResults = *seen.TotalResults
	return list, x, nil
}

func (c *Client) resource(ctx context.Context, method, path string, body any) (Resource, Exchange, error) {
	answer, x, err := c.call(ctx, method, path, body)
	if err != nil {
		return nil, x, err
	}
	if method == http.MethodPatch && len(answer) > keepMembers {
		return nil, x, nil
	}
	if len(bytes.TrimSpace(answer)) == 0 && (x.Status == http.StatusNoContent || method != http.MethodGet) {
		return nil, x, nil
	}
	r, err := ParseResource(answer)
	if err == nil && r.ID() == "" && method != http.MethodPost && (method == http.MethodGet || len(r.Schemas()) == 0) {
		err = errors.New("a resource without id") // some gateway's own JSON
	}
	if err != nil {
		return nil, x, c.broken(x, method, err)
	}
	return r, x, nil
}

// broken is a 2xx answer that can't be read.
func (c *Client) broken(x Exchange, method string, cause error) error {
	detail := ParseError(x.Status, []byte(x.ResponseBody)).Detail
	return &CallError{
		Class:     Temporary,
		Uncertain: method != http.MethodGet,
		Exchange:  x,
		Err:       fmt.Errorf("the answer is not SCIM: %w (%s)", cause, clip(detail, 120)),
	}
}

// call sends one request and reads the answer's body.
func (c *Client) call(ctx context.Context, method, path string, body any) ([]byte, Exchange, error) {
	started := c.now()
	x := Exchange{Method: method, URL: c.base + path, Time: started}
	finish := func() { x.Duration = c.now().Sub(started) }

	var content io.Reader
	if body != nil {
		b, err := marshal(body)
		if err != nil {
			return nil, x, &CallError{Class: Refused, Exchange: x, Err: fmt.Errorf("write the request: %w", err)}
		}
		x.RequestBody = c.keep(b)
		content = bytes.NewReader(b)
	}
	sent := sentTrace{}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, sent.trace()), method, x.URL, content)
	if err != nil {
		return nil, x, &CallError{Class: Refused, Exchange: x, Err: fmt.Errorf("write the request: %w", err)}
	}
	req.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	req.Header.Set("Accept", MediaSCIM+", "+MediaJSON)
	req.Header.Set("User-Agent", c.userAgent)
	if body != nil {
		req.Header.Set("Content-Type", c.contentType)
	}

	if err := ctx.Err(); err != nil { // nothing was sent, for certain
		return nil, x, &CallError{Class: Temporary, Exchange: x, Err: err}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		finish()
		return nil, x, &CallError{
			Class:     Temporary,
			Uncertain: method != http.MethodGet && sent.maybe(err),
			Exchange:  x,
			Err:       c.hide(err),
		}
	}
	defer func() { _ = resp.Body.Close() }()
	x.Status = resp.StatusCode
	x.Header = interesting(resp.Header)
	answer, err := io.ReadAll(io.LimitReader(resp.Body, c.maxBody+1))
	finish()
	x.ResponseBody = c.keep(answer)
	x.ResponseSize = int64(len(answer))
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		// The status decides even when the body broke off.
		return nil, x, c.refusal(x, resp, answer)
	}
	if err == nil && int64(len(answer)) > c.maxBody {
		err = fmt.Errorf("the answer is longer than %d bytes", c.maxBody)
	}
	if err != nil {
		return nil, x, &CallError{
			Class:     Temporary,
			Uncertain: method != http.MethodGet,
			Exchange:  x,
			Err:       fmt.Errorf("read the answer: %w", c.hide(err)),
		}
	}
	return answer, x, nil
}

// refusal turns a status other than 2xx into a typed error.
func (c *Client) refusal(x Exchange, resp *http.Response, body []byte) error {
	e := &CallError{Exchange: x}
	scimErr := ParseError(resp.StatusCode, []byte(strings.ReplaceAll(string(body[:min(len(body), keepMembers)]), c.token.Reveal(), redacted)))
	e.Err = scimErr
	write := x.Method != http.MethodGet
	switch s := resp.StatusCode; {
	case s == http.StatusUnauthorized || s == http.StatusForbidden:
		e.Class = Unauthorized
	case s == http.StatusNotFound || s == http.StatusGone:
		e.Class = NotFound
	case s == http.StatusConflict || strings.EqualFold(scimErr.ScimType, Uniqueness):
		e.Class = Conflict
	case s == http.StatusTooManyRequests:
		e.Class = Throttled
		e.RetryAfter = retryAfter(resp.Header, c.now())
	case s == http.StatusNotImplemented:
		e.Class = Refused
	case s == http.StatusRequestTimeout || s == http.StatusTooEarly || s >= 500:
		e.Class = Temporary
		e.RetryAfter = retryAfter(resp.Header, c.now())
		// A gateway's 502 or 504, and a crash's 500, say nothing about what
		// the service behind has done.
		e.Uncertain = write && s != http.StatusTooEarly
	case s >= 300 && s < 400:
		// Not about this object: the base URL is wrong or a login page is in
		// the way. The token is not carried anywhere else.
		e.Class = Temporary
		e.Err = fmt.Errorf("the target redirects to %s, which is not followed; check the base URL",
			clip(oneLine(resp.Header.Get("Location")), 200))
	default:
		e.Class = Refused
	}
	return e
}

// sentTrace watches whether a request can have left this machine.
type sentTrace struct {
	asked, wrote bool
}

func (s *sentTrace) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn:      func(string) { s.asked = true },
		WroteHeaders: func() { s.wrote = true },
	}
}

// maybe tells whether a request that ended in err may have reached the target.
// A transport that doesn't report to the trace counts as having sent, unless the
// error is plainly one of connecting.
func (s *sentTrace) maybe(err error) bool {
	if s.asked {
		return s.wrote
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return false
	}
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	return !errors.As(err, &dns) && !errors.As(err, &cert)
}

// hide takes the token out of an error's text.
func (c *Client) hide(err error) error {
	if !strings.Contains(err.Error(), c.token.Reveal()) {
		return err
	}
	return errors.New(strings.ReplaceAll(err.Error(), c.token.Reveal(), redacted))
}

// escapeQuery writes a query value with %20 for a space and %22 for a quote.
func escapeQuery(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}

func idFromLocation(location string) string {
	u, err := url.Parse(location)
	if err != nil || location == "" {
		return ""
	}
	path := strings.TrimRight(u.Path, "/")
	i := strings.LastIndexByte(path, '/')
	if i < 0 || !strings.HasSuffix(path[:i], "s") {
		return ""
	}
	return path[i+1:]
}
