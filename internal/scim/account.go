package scim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// maxTokenAnswer bounds what is read of a token endpoint's answer, in bytes.
const maxTokenAnswer = 64 << 10

// WithAccountTokens returns a copy of h for a [Client] whose token is not sent
// itself: it is account, client and client secret joined by colons, and is
// exchanged at tokenURL for an access token, which is kept until a sixth of its
// life is left. The grant is account_credentials, the client is authenticated by
// HTTP Basic (RFC 6749 §2.3.1, §4.5).
//
// If the target refuses an access token before its time, one new one is fetched
// and the request is sent again: what is answered 401 was not carried out. If the
// token endpoint refuses the credentials, the request answers 401 without having
// been sent; any other answer of it but success becomes a 503 with its
// Retry-After.
func WithAccountTokens(h *http.Client, tokenURL string, now func() time.Time) *http.Client {
	out := *h
	next := h.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	out.Transport = &accountTransport{next: next, url: tokenURL, now: now}
	return &out
}

type accountTransport struct {
	next http.RoundTripper
	url  string
	now  func() time.Time

	mu     sync.Mutex
	access string
	until  time.Time
}

// RoundTrip exchanges the bearer token and sends the request.
func (t *accountTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	credentials, _ := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	for again := false; ; again = true {
		access, kept, refused, err := t.token(req, credentials)
		if err != nil || refused != nil {
			if req.Body != nil {
				_ = req.Body.Close()
			}
			return refused, err
		}
		r := req.Clone(req.Context())
		r.Header.Set("Authorization", "Bearer "+access)
		resp, err := t.next.RoundTrip(r)
		if err != nil || resp.StatusCode != http.StatusUnauthorized || again || !kept {
			return resp, err
		}
		t.drop(access)
		if req.Body != nil {
			if req.GetBody == nil {
				return resp, nil
			}
			body, err := req.GetBody()
			if err != nil {
				_ = resp.Body.Close()
				return nil, fmt.Errorf("scim: send the request again: %w", err)
			}
			req = req.Clone(req.Context()) // the caller's own isn't changed, as http.RoundTripper asks
			req.Body = body
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxTokenAnswer))
		_ = resp.Body.Close()
	}
}

// drop forgets an access token, unless it is another one by now.
func (t *accountTransport) drop(access string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.access == access {
		t.access = ""
	}
}

// token returns an access token and whether it was kept from before, or the answer
// that the request gets instead. One exchange is under way at a time; the others
// wait for its token.
func (t *accountTransport) token(req *http.Request, credentials string) (access string, kept bool, refused *http.Response, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.access != "" && t.now().Before(t.until) {
		return t.access, true, nil, nil
	}
	account, rest, ok := strings.Cut(credentials, ":")
	client, secret, ok2 := strings.Cut(rest, ":")
	if !ok || !ok2 {
		return "", false, instead(req, http.StatusUnauthorized, "", "the token is not account, client and secret joined by colons"), nil
	}
	// The request's context carries a trace of whether it was written, which this
	// exchange must not set off.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer context.AfterFunc(req.Context(), cancel)()
	form := url.Values{"grant_type": {"account_credentials"}, "account_id": {account}}
	ask, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, strings.NewReader(form.Encode()))
	if err != nil {
		return "", false, nil, fmt.Errorf("scim: token address: %w", err)
	}
	ask.SetBasicAuth(url.QueryEscape(client), url.QueryEscape(secret))
	ask.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	ask.Header.Set("Accept", MediaJSON)
	ask.Header.Set("User-Agent", req.Header.Get("User-Agent"))
	resp, err := t.next.RoundTrip(ask)
	if err != nil {
		return "", false, nil, fmt.Errorf("scim: get an access token: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxTokenAnswer))
	if err != nil {
		return "", false, nil, fmt.Errorf("scim: get an access token: %w", err)
	}
	switch {
	case resp.StatusCode == http.StatusBadRequest, resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
		return "", false, instead(req, http.StatusUnauthorized, "", "the token endpoint refuses these credentials"), nil
	case resp.StatusCode != http.StatusOK:
		return "", false, instead(req, http.StatusServiceUnavailable, resp.Header.Get("Retry-After"), fmt.Sprintf("the token endpoint answers %d", resp.StatusCode)), nil
	}
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"` // seconds
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.AccessToken == "" || strings.ContainsFunc(answer.AccessToken, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", false, nil, errors.New("scim: get an access token: the answer holds none")
	}
	life := time.Duration(min(max(answer.ExpiresIn, 60), 24*3600)) * time.Second
	t.access, t.until = answer.AccessToken, t.now().Add(life-life/6)
	return t.access, false, nil, nil
}

// instead is the answer to a request that wasn't sent.
func instead(req *http.Request, status int, retryAfter, detail string) *http.Response {
	body, _ := json.Marshal(map[string]any{"schemas": []string{SchemaError}, "status": fmt.Sprint(status), "detail": detail})
	h := http.Header{"Content-Type": {MediaSCIM}}
	if retryAfter != "" {
		h.Set("Retry-After", retryAfter)
	}
	return &http.Response{
		Status: fmt.Sprint(status, " ", http.StatusText(status)), StatusCode: status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: h, Request: req,
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}
}
