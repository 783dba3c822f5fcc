package scim_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/scim"
)

// exchange is a target whose tokens are exchanged, and the endpoint that gives them.
type exchange struct {
	*httptest.Server
	now     time.Time
	fetched atomic.Int32
	// answer is the token endpoint's status, 200 when 0; broken its body then.
	answer int
	broken string
	// good is the access token that the target takes, any when empty.
	good string
	seen []string
}

func newExchange(t *testing.T) *exchange {
	t.Helper()
	x := &exchange{now: noon}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		n := x.fetched.Add(1)
		client, secret, _ := r.BasicAuth()
		if err := r.ParseForm(); err != nil || r.Form.Get("grant_type") != "account_credentials" || r.Form.Get("account_id") != "acc" || client != "cli" || secret != "s3cr" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if x.answer != 0 {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(x.answer)
		}
		if x.broken != "" {
			io.WriteString(w, x.broken)
			return
		}
		fmt.Fprintf(w, `{"access_token":"a%d","token_type":"bearer","expires_in":3600}`, n)
	})
	mux.HandleFunc("/scim2/", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		x.seen = append(x.seen, r.Method+" "+token+" "+fmt.Sprint(len(body) > 0))
		if x.good != "" && token != x.good {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", scim.MediaSCIM)
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusCreated)
		}
		io.WriteString(w, `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"id":"1","userName":"ada@example.com"}`)
	})
	x.Server = httptest.NewServer(mux)
	t.Cleanup(x.Close)
	return x
}

func (x *exchange) client(t *testing.T, credentials string) *scim.Client {
	t.Helper()
	clock := func() time.Time { return x.now }
	return client(t, x.URL+"/scim2", func(c *scim.ClientConfig) {
		c.Token, c.Now = scim.NewToken(credentials), clock
		c.HTTP = scim.WithAccountTokens(c.HTTP, x.URL+"/token", clock)
	})
}

func TestAccountTokenIsFetchedOnceAndRenewedBeforeItsEnd(t *testing.T) {
	x := newExchange(t)
	c := x.client(t, "acc:cli:s3cr")
	for range 3 {
		if _, _, err := c.Get(t.Context(), scim.User, "1"); err != nil {
			t.Fatal(err)
		}
	}
	x.now = x.now.Add(51 * time.Minute)
	if _, _, err := c.Get(t.Context(), scim.User, "1"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"GET a1 false", "GET a1 false", "GET a1 false", "GET a2 false"}, x.seen); diff != "" {
		t.Error(diff)
	}
}

// A token that the target gives up before its time costs one exchange and no failure; the body
// goes again, whole.
func TestAccountTokenGivenUpEarly(t *testing.T) {
	x := newExchange(t)
	c := x.client(t, "acc:cli:s3cr")
	if _, _, err := c.Get(t.Context(), scim.User, "1"); err != nil {
		t.Fatal(err)
	}
	x.good = "a2"
	r := scim.Resource{"schemas": []any{scim.SchemaUser}, "userName": "ada@example.com"}
	if _, _, err := c.Create(t.Context(), scim.User, r); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"GET a1 false", "POST a1 true", "POST a2 true"}, x.seen); diff != "" {
		t.Error(diff)
	}
}

// Whatever the target says to a fresh token is its word.
func TestAccountTokenRefusedByTheTarget(t *testing.T) {
	x := newExchange(t)
	x.good = "another"
	_, ex, err := x.client(t, "acc:cli:s3cr").Get(t.Context(), scim.User, "1")
	if err == nil || ex.Status != http.StatusUnauthorized || x.fetched.Load() != 1 || len(x.seen) != 1 {
		t.Errorf("status %d after %d exchanges and %v: %v", ex.Status, x.fetched.Load(), x.seen, err)
	}
}

func TestAccountTokenNotGiven(t *testing.T) {
	for _, k := range []struct {
		name, credentials string
		answer            int
		broken            string
		status            int
		retryAfter        string
	}{
		{"wrong secret", "acc:cli:other", 0, "", http.StatusUnauthorized, ""},
		{"a bare token", "eyJhbGciOi", 0, "", http.StatusUnauthorized, ""},
		{"two parts", "acc:cli", 0, "", http.StatusUnauthorized, ""},
		{"refused", "acc:cli:s3cr", http.StatusBadRequest, "", http.StatusUnauthorized, ""},
		{"throttled", "acc:cli:s3cr", http.StatusTooManyRequests, "", http.StatusServiceUnavailable, "7"},
		{"down", "acc:cli:s3cr", http.StatusBadGateway, "", http.StatusServiceUnavailable, "7"},
		{"moved", "acc:cli:s3cr", http.StatusFound, "", http.StatusServiceUnavailable, "7"},
		{"a page", "acc:cli:s3cr", 0, "<html>", 0, ""},
		{"no token in it", "acc:cli:s3cr", 0, `{"access_token":""}`, 0, ""},
		{"a token that breaks the header", "acc:cli:s3cr", 0, `{"access_token":"a\nb"}`, 0, ""},
	} {
		t.Run(k.name, func(t *testing.T) {
			x := newExchange(t)
			x.answer, x.broken = k.answer, k.broken
			_, ex, err := x.client(t, k.credentials).Get(t.Context(), scim.User, "1")
			if err == nil || ex.Status != k.status || len(x.seen) != 0 {
				t.Errorf("status %d, requests %v: %v", ex.Status, x.seen, err)
			}
			var call *scim.CallError
			if errors.As(err, &call) && k.retryAfter != "" && call.RetryAfter != 7*time.Second {
				t.Errorf("told to wait %v", call.RetryAfter)
			}
			for _, secret := range []string{"s3cr", "acc:cli"} {
				if err != nil && strings.Contains(err.Error(), secret) {
					t.Errorf("the error holds %q: %v", secret, err)
				}
			}
		})
	}
}

// Who gives up while a token is fetched doesn't wait for it.
func TestAccountTokenGivenUpByTheCaller(t *testing.T) {
	hold := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-hold }))
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(hold) })
	c := client(t, s.URL, func(c *scim.ClientConfig) {
		c.Token, c.HTTP = scim.NewToken("acc:cli:s3cr"), scim.WithAccountTokens(c.HTTP, s.URL+"/token", c.Now)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, _, err := c.Get(ctx, scim.User, "1"); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestListByCursor(t *testing.T) {
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RawQuery)
		w.Header().Set("Content-Type", scim.MediaSCIM)
		const head = `{"schemas":["urn:ietf:params:scim:api:messages:2.0:ListResponse"],"itemsPerPage":2,`
		switch r.URL.Query().Get("cursor") {
		case "":
			io.WriteString(w, head+`"nextCursor":"b/1+","Resources":[{"id":"1"},{"id":"2"}]}`)
		case "b/1+":
			io.WriteString(w, head+`"nextCursor":"c","Resources":[]}`)
		default:
			io.WriteString(w, head+`"Resources":[{"id":"3"}]}`)
		}
	}))
	t.Cleanup(s.Close)
	c := client(t, s.URL, func(c *scim.ClientConfig) { c.Cursor = true })
	var ids []string
	for page, err := range c.List(t.Context(), scim.User, scim.ListOptions{Count: 2}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Resources {
			ids = append(ids, r.ID())
		}
	}
	if diff := cmp.Diff([]string{"1", "2", "3"}, ids); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"cursor=&count=2", "cursor=b%2F1%2B&count=2", "cursor=c&count=2"}, asked); diff != "" {
		t.Error(diff)
	}
}

// A list that names itself as its next page doesn't go on for ever, and other JSON is no list.
func TestListByCursorEnds(t *testing.T) {
	for name, body := range map[string]string{
		"the same cursor again": `{"schemas":["urn:ietf:params:scim:api:messages:2.0:ListResponse"],"nextCursor":"x","Resources":[{"id":"1"}]}`,
		"other JSON":            `{"message":"hello"}`,
	} {
		t.Run(name, func(t *testing.T) {
			n := 0
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { n++; io.WriteString(w, body) }))
			t.Cleanup(s.Close)
			c := client(t, s.URL, func(c *scim.ClientConfig) { c.Cursor = true })
			var last error
			for _, err := range c.List(t.Context(), scim.User, scim.ListOptions{}) {
				last = err
			}
			if n > 2 || (last != nil) != (name == "other JSON") {
				t.Errorf("%d requests, then %v", n, last)
			}
		})
	}
}
