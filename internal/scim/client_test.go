package scim_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/scim/scimtest"
)

var update = flag.Bool("update", false, "write the golden files")

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func client(tb testing.TB, base string, change ...func(*scim.ClientConfig)) *scim.Client {
	tb.Helper()
	transport := &http.Transport{}
	tb.Cleanup(transport.CloseIdleConnections)
	c := scim.ClientConfig{
		BaseURL:   base,
		Token:     scim.NewToken(scimtest.Token),
		HTTP:      &http.Client{Transport: transport, Timeout: 5 * time.Second},
		UserAgent: "Latchkey/test",
		Now:       func() time.Time { return noon },
	}
	for _, f := range change {
		f(&c)
	}
	out, err := scim.NewClient(c)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func ada() scim.Resource {
	return scim.Resource{
		"schemas": []any{scim.SchemaUser}, "userName": "ada@example.com", "externalId": "u-1", "active": true,
		"name":   map[string]any{"givenName": "Ada", "familyName": "King"},
		"emails": []any{map[string]any{"type": "work", "value": "ada@example.com", "primary": true}},
	}
}

// The wire is kept as a golden file: paths, escapes, headers and bodies.
func TestConversation(t *testing.T) {
	target := scimtest.New(scimtest.Atlassian())
	c := client(t, target.Start(t)+"/")
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	config, _, err := c.ServiceProviderConfig(ctx)
	must(err)
	if !config.Patch.Supported || config.MaxResults != 10000 {
		t.Errorf("config %+v", config)
	}
	hits, _, err := c.FindUser(ctx, "externalId", "u-1")
	must(err)
	if len(hits) != 0 {
		t.Errorf("found %v", hits)
	}
	user, x, err := c.Create(ctx, scim.User, ada())
	must(err)
	if x.Status != 201 || user.ID() == "" || x.Header["Location"] == "" {
		t.Errorf("created %v, exchange %+v", user, x)
	}
	hits, _, err = c.FindUser(ctx, "userName", `ADA@example.com`)
	must(err)
	if len(hits) != 1 || hits[0].ID() != user.ID() {
		t.Errorf("found %v", hits)
	}
	_, _, err = c.FindUser(ctx, "userName", `a "b" \ & + c`)
	must(err)
	_, _, err = c.Patch(ctx, scim.User, user.ID(), scim.NewPatch(scim.Operation{Op: scim.PatchReplace, Path: "active", Value: false}))
	must(err)
	user, _, err = c.Get(ctx, scim.User, user.ID())
	must(err)
	if active, _ := user.Active(); active {
		t.Error("still active")
	}
	changed := ada()
	changed["title"] = "<Countess & more>"
	user, _, err = c.Replace(ctx, scim.User, user.ID(), changed)
	must(err)
	if user["title"] != changed["title"] {
		t.Errorf("title %v", user["title"])
	}
	group, _, err := c.Create(ctx, scim.Group, scim.Resource{"schemas": []any{scim.SchemaGroup}, "displayName": "R&D"})
	must(err)
	_, _, err = c.Patch(ctx, scim.Group, group.ID(), scim.NewPatch(scim.Operation{
		Op: scim.PatchAdd, Path: "members", Value: []any{map[string]any{"value": user.ID()}},
	}))
	must(err)
	hits, _, err = c.FindGroup(ctx, "r&d")
	must(err)
	if len(hits) != 1 || len(hits[0].Members()) != 1 {
		t.Errorf("found %v", hits)
	}
	_, err = c.Delete(ctx, scim.Group, group.ID())
	must(err)
	for range c.List(ctx, scim.User, scim.ListOptions{Count: 50, Attributes: []string{"userName", "externalId"}}) {
	}

	var b strings.Builder
	for _, r := range target.Requests() {
		b.WriteString(r.String() + "\n")
		for _, h := range []string{"Authorization", "Accept", "Content-Type", "User-Agent"} {
			if v := r.Header.Get(h); v != "" {
				b.WriteString("    " + h + ": " + v + "\n")
			}
		}
		fmt.Fprintf(&b, "    -> %d\n", r.Status)
	}
	golden(t, "testdata/requests/conversation.txt", b.String())
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Error(d)
	}
}

func TestRecordedAnswers(t *testing.T) {
	mux := http.NewServeMux()
	serve := func(path, file string, status int) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", scim.MediaSCIM)
			w.WriteHeader(status)
			_, _ = w.Write(fixture(t, file))
		})
	}
	serve("GET /ServiceProviderConfig", "service-provider-config.json", 200)
	serve("GET /Users", "users-page.json", 200)
	serve("GET /Groups/1", "group.json", 200)
	serve("POST /Users", "error-409-email.json", 409)
	serve("PATCH /Users/1", "error-400-primary.json", 400)
	s := httptest.NewServer(mux)
	defer s.Close()
	c := client(t, s.URL)

	config, _, err := c.ServiceProviderConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := scim.ServiceProviderConfig{
		Patch: scim.Support{Supported: true}, Filter: scim.Support{Supported: true}, MaxResults: 10000, Authentication: []string{"oauthbearertoken"},
	}
	if d := cmp.Diff(want, config); d != "" {
		t.Error(d)
	}
	n := 0
	for p, err := range c.List(t.Context(), scim.User, scim.ListOptions{Count: 50}) {
		if err != nil {
			t.Fatal(err)
		}
		n += len(p.Resources)
	}
	if n != 2 {
		t.Errorf("%d users, want 2: itemsPerPage must not be trusted", n)
	}
	g, _, err := c.Get(t.Context(), scim.Group, "1")
	if err != nil || len(g.Members()) != 2 {
		t.Errorf("group %v, %v", g, err)
	}
	_, _, err = c.Create(t.Context(), scim.User, ada())
	e := callError(t, err)
	if e.Class != scim.Conflict || e.Detail() != "Resource [USER]: with email[a@b.c] already exists." {
		t.Errorf("%s: %s", e.Class, e.Detail())
	}
	_, _, err = c.Patch(t.Context(), scim.User, "1", scim.NewPatch(scim.Operation{Op: "replace", Path: "emails", Value: []any{}}))
	if e := callError(t, err); e.Class != scim.Refused || e.Uncertain {
		t.Errorf("%s, uncertain %v", e.Class, e.Uncertain)
	}
}

func callError(t *testing.T, err error) *scim.CallError {
	t.Helper()
	e, ok := errors.AsType[*scim.CallError](err)
	if !ok {
		t.Fatalf("error %v is not a CallError", err)
	}
	return e
}

func TestFailures(t *testing.T) {
	html := string(fixture(t, "error-503-gateway.html"))
	tests := []struct {
		name      string
		fault     scimtest.Fault
		class     scim.Class
		uncertain bool // of a write
		wait      time.Duration
	}{
		{"401", scimtest.Fault{Status: 401, Body: `{"code":401,"message":"Unauthorized"}`}, scim.Unauthorized, false, 0},
		{"403 in HTML", scimtest.Fault{Status: 403, Body: html}, scim.Unauthorized, false, 0},
		{"404", scimtest.Fault{Status: 404}, scim.NotFound, false, 0},
		{"410", scimtest.Fault{Status: 410}, scim.NotFound, false, 0},
		{"409", scimtest.Fault{Status: 409}, scim.Conflict, false, 0},
		{"400 that is a conflict", scimtest.Fault{Status: 400, Body: `{"scimType":"uniqueness"}`}, scim.Conflict, false, 0},
		{"400", scimtest.Fault{Status: 400}, scim.Refused, false, 0},
		{"413", scimtest.Fault{Status: 413}, scim.Refused, false, 0},
		{"501", scimtest.Fault{Status: 501}, scim.Refused, false, 0},
		{"429 in seconds", scimtest.Fault{Status: 429, Header: map[string]string{"Retry-After": "17"}}, scim.Throttled, false, 17 * time.Second},
		{"429 as a date", scimtest.Fault{Status: 429, Header: map[string]string{"Date": "Sun, 01 Mar 2026 12:00:00 GMT", "Retry-After": "Sun, 01 Mar 2026 12:02:00 GMT"}}, scim.Throttled, false, 2 * time.Minute},
		{"429 as a date by the target's own clock", scimtest.Fault{Status: 429, Header: map[string]string{"Date": "Sun, 01 Mar 2026 17:00:00 GMT", "Retry-After": "Sun, 01 Mar 2026 17:00:05 GMT"}}, scim.Throttled, false, 5 * time.Second},
		{"429 with a date in the past", scimtest.Fault{Status: 429, Header: map[string]string{"Date": "Sun, 01 Mar 2026 12:00:00 GMT", "Retry-After": "Sun, 01 Mar 2026 11:00:00 GMT"}}, scim.Throttled, false, 0},
		{"429 without a word, in HTML", scimtest.Fault{Status: 429, Body: html}, scim.Throttled, false, 0},
		{"429 with an absurd wait", scimtest.Fault{Status: 429, Header: map[string]string{"Retry-After": "99999999999999999999"}}, scim.Throttled, false, 24 * time.Hour},
		{"429 reset in seconds", scimtest.Fault{Status: 429, Header: map[string]string{"X-RateLimit-Reset": "30"}}, scim.Throttled, false, 30 * time.Second},
		{"429 reset as Unix time", scimtest.Fault{Status: 429, Header: map[string]string{"Date": "Sun, 01 Mar 2026 12:00:00 GMT", "X-RateLimit-Reset": fmt.Sprint(noon.Add(time.Minute).Unix())}}, scim.Throttled, false, time.Minute},
		{"429 reset in milliseconds", scimtest.Fault{Status: 429, Header: map[string]string{"Date": "Sun, 01 Mar 2026 12:00:00 GMT", "X-RateLimit-Reset": fmt.Sprint(noon.Add(time.Minute).UnixMilli())}}, scim.Throttled, false, time.Minute},
		{"429 reset as a date without seconds", scimtest.Fault{Status: 429, Header: map[string]string{"Date": "Sun, 01 Mar 2026 12:00:00 GMT", "X-RateLimit-Reset": "2026-03-01T12:05Z"}}, scim.Throttled, false, 5 * time.Minute},
		{"500", scimtest.Fault{Status: 500}, scim.Temporary, true, 0},
		{"503 with a wait, in HTML", scimtest.Fault{Status: 503, Body: html, Header: map[string]string{"Retry-After": "3"}}, scim.Temporary, true, 3 * time.Second},
		{"408", scimtest.Fault{Status: 408}, scim.Temporary, true, 0},
		{"200 in HTML", scimtest.Fault{Status: 200, Body: html}, scim.Temporary, true, 0},
		{"200 of another shape", scimtest.Fault{Status: 200, Body: `["x"]`}, scim.Temporary, true, 0},
		{"201 that breaks off", scimtest.Fault{Status: 201, Body: `{"id":"1","userName":"ada"}`, Cut: true}, scim.Temporary, true, 0},
		{"201 without an id", scimtest.Fault{Status: 201, Body: `{"userName":"ada"}`}, scim.Temporary, true, 0},
		{"hang-up before", scimtest.Fault{HangUp: true}, scim.Temporary, true, 0},
		{"hang-up after", scimtest.Fault{HangUp: true, AfterEffect: true}, scim.Temporary, true, 0},
		{"no answer in time", scimtest.Fault{Delay: time.Minute}, scim.Temporary, true, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target := scimtest.New(scimtest.Quirks{})
			target.Fail(tt.fault)
			c := client(t, target.Start(t), func(c *scim.ClientConfig) {
				if tt.fault.Delay > 0 {
					c.HTTP.Timeout = 50 * time.Millisecond
				}
			})
			_, x, err := c.Create(t.Context(), scim.User, ada())
			e := callError(t, err)
			if e.Class != tt.class || e.Uncertain != tt.uncertain || e.RetryAfter != tt.wait {
				t.Errorf("class %s, uncertain %v, wait %v; want %s, %v, %v (%v)",
					e.Class, e.Uncertain, e.RetryAfter, tt.class, tt.uncertain, tt.wait, err)
			}
			if e.Detail() == "" || strings.ContainsRune(err.Error(), '\n') {
				t.Errorf("detail %q, error %q", e.Detail(), err)
			}
			if x.Method != "POST" || x.RequestBody == "" || x.Status != tt.fault.Status {
				t.Errorf("exchange %+v", x)
			}
			if d := cmp.Diff(x, e.Exchange); d != "" {
				t.Error(d)
			}
			if n := len(target.Requests()); n != 1 {
				t.Errorf("%d requests, want 1: the client never retries", n)
			}
			if scim.ClassOf(fmt.Errorf("wrapped: %w", err)) != tt.class {
				t.Error("ClassOf does not see through wrapping")
			}

			// A read is never uncertain.
			target.Heal()
			target.Fail(tt.fault)
			if _, _, err := c.Get(t.Context(), scim.User, "1"); err != nil && callError(t, err).Uncertain {
				t.Error("a read is uncertain")
			}
		})
	}
}

func TestNothingSentIsCertain(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c := client(t, closed)
	_, _, err = c.Create(t.Context(), scim.User, ada())
	if e := callError(t, err); e.Class != scim.Temporary || e.Uncertain {
		t.Errorf("refused connection: %s, uncertain %v", e.Class, e.Uncertain)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = c.Create(ctx, scim.User, ada())
	if e := callError(t, err); e.Uncertain || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v, uncertain %v", err, e.Uncertain)
	}
	// A transport that reports nothing may have sent anything.
	c = client(t, closed, func(c *scim.ClientConfig) { c.HTTP.Transport = failing{} })
	_, _, err = c.Create(t.Context(), scim.User, ada())
	if e := callError(t, err); !e.Uncertain {
		t.Error("a silent transport's failure counts as certain")
	}
}

type failing struct{}

func (failing) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("broken pipe")
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	asked := 0
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		_, _ = w.Write([]byte(`{"id":"1"}`))
	}))
	defer other.Close()
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer first.Close()
	_, _, err := client(t, first.URL).Create(t.Context(), scim.User, ada())
	if e := callError(t, err); e.Class != scim.Temporary || !strings.Contains(err.Error(), "check the base URL") {
		t.Errorf("%s: %v", e.Class, err)
	}
	if asked != 0 {
		t.Error("the token went to another host")
	}
}

func TestListWalksByWhatCame(t *testing.T) {
	target := scimtest.New(scimtest.Quirks{PageCap: 100})
	for i := range 250 {
		target.Put(scim.User, scim.Resource{"userName": fmt.Sprintf("u%03d", i)})
	}
	c := client(t, target.Start(t))
	seen := make(map[string]bool)
	pages := 0
	for p, err := range c.List(t.Context(), scim.User, scim.ListOptions{Count: 1000}) {
		if err != nil {
			t.Fatal(err)
		}
		pages++
		for _, r := range p.Resources {
			seen[r.UserName()] = true
		}
	}
	if len(seen) != 250 || pages != 3 {
		t.Errorf("%d users on %d pages, want 250 on 3", len(seen), pages)
	}

	target.Fail(scimtest.Fault{Skip: 1, Status: 500})
	pages = 0
	var last error
	for _, err := range c.List(t.Context(), scim.User, scim.ListOptions{}) {
		pages++
		last = err
	}
	if pages != 2 || scim.ClassOf(last) != scim.Temporary {
		t.Errorf("after an error on page 2: %d rounds, %v", pages, last)
	}
	target.Heal()
	for range c.List(t.Context(), scim.User, scim.ListOptions{}) {
		break // must not go on, nor panic
	}
}

func TestListEndsWhenTheTargetLies(t *testing.T) {
	n := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n++; n > 3 {
			_, _ = w.Write([]byte(`{"totalResults":1000000,"itemsPerPage":100,"Resources":[]}`))
			return
		}
		_, _ = w.Write([]byte(`{"totalResults":1000000,"itemsPerPage":100,"Resources":[{"id":"1"}]}`))
	}))
	defer s.Close()
	for _, err := range client(t, s.URL).List(t.Context(), scim.User, scim.ListOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if n != 4 {
		t.Errorf("%d requests, want 4", n)
	}
}

func TestFindTrustsNoHitUnchecked(t *testing.T) {
	target := scimtest.New(scimtest.Quirks{IgnoreFilters: true, PageCap: 2})
	c := client(t, target.Start(t))
	target.Put(scim.User, scim.Resource{"userName": "eve"})
	hits, _, err := c.FindUser(t.Context(), "userName", "ada")
	if err != nil || len(hits) != 0 {
		t.Errorf("all accounts were seen and none is ada: %v, %v", hits, err)
	}
	target.Put(scim.User, scim.Resource{"userName": "ada"})
	hits, _, err = c.FindUser(t.Context(), "userName", "ada")
	if err != nil || len(hits) != 1 || hits[0].UserName() != "ada" {
		t.Errorf("found %v, %v", hits, err)
	}
	target.Put(scim.User, scim.Resource{"userName": "bob"})
	_, _, err = c.FindUser(t.Context(), "userName", "bob")
	if scim.ClassOf(err) != scim.Refused {
		t.Errorf("bob may be on the next page, yet %v", err)
	}
}

func TestSecretsStayOut(t *testing.T) {
	const secret = "tok-SECRET-1234567890"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(w, `{"detail":"bad header %s","password":"hunter2"}`, r.Header.Get("Authorization"))
	}))
	defer s.Close()
	token := scim.NewToken("  " + secret + "\n")
	c := client(t, s.URL, func(c *scim.ClientConfig) { c.Token = token })
	body := ada()
	body["password"] = "hunter2"
	_, x, err := c.Create(t.Context(), scim.User, body)
	patch := scim.NewPatch(scim.Operation{Op: "replace", Path: "password", Value: "hunter2"})
	_, y, _ := c.Patch(t.Context(), scim.User, "1", patch)
	_, z, _ := c.Patch(t.Context(), scim.User, "1", scim.NewPatch(scim.Operation{Op: "replace", Value: map[string]any{"Password": "hunter2"}}))
	logged := new(strings.Builder)
	slog.New(slog.NewJSONHandler(logged, nil)).Info("x", "token", token)
	exchanges, _ := json.Marshal([]any{x, y, z, token})
	all := fmt.Sprint(token) + fmt.Sprintf("%+v %#v %s %v %x %+v %#v", token, token, token, struct{ t scim.Token }{token}, token, c, c) +
		logged.String() + string(exchanges) + err.Error() + callError(t, err).Detail()
	for _, bad := range []string{secret, "hunter2"} {
		if strings.Contains(all, bad) {
			t.Errorf("%q leaks: %s", bad, all)
		}
	}
	if token.Reveal() != secret {
		t.Errorf("token %q", token.Reveal())
	}
	if !strings.Contains(x.RequestBody, "ada@example.com") {
		t.Errorf("the rest of the body is gone: %s", x.RequestBody)
	}
}

func TestLimits(t *testing.T) {
	big := `{"id":"1","members":[` + strings.Repeat(`{"value":"u"},`, 100_000) + `{"value":"u"}]}`
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(big)) }))
	defer s.Close()
	c := client(t, s.URL)
	r, x, err := c.Patch(t.Context(), scim.Group, "1", scim.NewPatch())
	if err != nil || r != nil {
		t.Errorf("a huge answer to PATCH: %d attributes, %v; want none decoded", len(r), err)
	}
	if len(x.ResponseBody) > 17<<10 || x.ResponseSize != int64(len(big)) {
		t.Errorf("kept %d bytes of %d", len(x.ResponseBody), x.ResponseSize)
	}
	r, _, err = c.Get(t.Context(), scim.Group, "1")
	if err != nil || len(r.Members()) != 100_001 {
		t.Errorf("a huge group: %d members, %v", len(r.Members()), err)
	}
	c = client(t, s.URL, func(c *scim.ClientConfig) { c.MaxBody = 1000 })
	_, _, err = c.Replace(t.Context(), scim.Group, "1", scim.Resource{})
	if e := callError(t, err); e.Class != scim.Temporary || !e.Uncertain {
		t.Errorf("an answer beyond the limit: %s, uncertain %v", e.Class, e.Uncertain)
	}
}

// JSON that is no SCIM must never pass for "nobody there" or "done".
func TestForeignJSONIsNoAnswer(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"code":200,"message":"please hold the line"}`))
	}))
	defer s.Close()
	c := client(t, s.URL)
	calls := map[string]func() error{
		"find":   func() error { _, _, err := c.FindUser(t.Context(), "userName", "x"); return err },
		"get":    func() error { _, _, err := c.Get(t.Context(), scim.User, "1"); return err },
		"create": func() error { _, _, err := c.Create(t.Context(), scim.User, ada()); return err },
		"put":    func() error { _, _, err := c.Replace(t.Context(), scim.User, "1", ada()); return err },
		"patch":  func() error { _, _, err := c.Patch(t.Context(), scim.User, "1", scim.NewPatch()); return err },
		"config": func() error { _, _, err := c.ServiceProviderConfig(t.Context()); return err },
		"list": func() (last error) {
			for _, err := range c.List(t.Context(), scim.Group, scim.ListOptions{}) {
				last = err
			}
			return last
		},
	}
	for name, call := range calls {
		if err := call(); scim.ClassOf(err) != scim.Temporary {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNoContentAndLocation(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.Header().Set("Location", "https://target.test/scim/Users/abc")
			w.WriteHeader(http.StatusCreated)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer s.Close()
	c := client(t, s.URL)
	r, _, err := c.Create(t.Context(), scim.User, ada())
	if err != nil || r.ID() != "abc" {
		t.Errorf("the id is in Location: %v, %v", r, err)
	}
	r, x, err := c.Patch(t.Context(), scim.User, "a/b?c", scim.NewPatch())
	if err != nil || r != nil || !strings.HasSuffix(x.URL, "/Users/a%2Fb%3Fc") {
		t.Errorf("%v, %v, %s", r, err, x.URL)
	}
}

func TestContentTypeSwitch(t *testing.T) {
	target := scimtest.New(scimtest.Quirks{})
	c := client(t, target.Start(t), func(c *scim.ClientConfig) { c.ContentType = scim.MediaJSON })
	if _, _, err := c.Create(t.Context(), scim.User, ada()); err != nil {
		t.Fatal(err)
	}
	if got := target.Requests()[0].Header.Get("Content-Type"); got != scim.MediaJSON {
		t.Errorf("Content-Type %q", got)
	}
}

func TestNewClientRefuses(t *testing.T) {
	good := scim.ClientConfig{
		BaseURL: "https://a.test/scim", Token: scim.NewToken("t"), HTTP: http.DefaultClient,
		UserAgent: "Latchkey/1", Now: time.Now,
	}
	if _, err := scim.NewClient(good); err != nil {
		t.Fatal(err)
	}
	tests := map[string]func(*scim.ClientConfig){
		"no URL":           func(c *scim.ClientConfig) { c.BaseURL = "" },
		"no scheme":        func(c *scim.ClientConfig) { c.BaseURL = "a.test/scim" },
		"another scheme":   func(c *scim.ClientConfig) { c.BaseURL = "file:///etc/passwd" },
		"password in it":   func(c *scim.ClientConfig) { c.BaseURL = "https://u:p@a.test" },
		"query":            func(c *scim.ClientConfig) { c.BaseURL = "https://a.test/?x=1" },
		"fragment":         func(c *scim.ClientConfig) { c.BaseURL = "https://a.test/#x" },
		"no token":         func(c *scim.ClientConfig) { c.Token = scim.NewToken(" ") },
		"line in a token":  func(c *scim.ClientConfig) { c.Token = scim.NewToken("a\r\nb") },
		"no User-Agent":    func(c *scim.ClientConfig) { c.UserAgent = "" },
		"no clock":         func(c *scim.ClientConfig) { c.Now = nil },
		"no HTTP client":   func(c *scim.ClientConfig) { c.HTTP = nil },
		"unreadable":       func(c *scim.ClientConfig) { c.BaseURL = "https://a.test/%zz" },
		"host is missing":  func(c *scim.ClientConfig) { c.BaseURL = "https:///scim" },
		"space in a token": func(c *scim.ClientConfig) { c.Token = scim.NewToken("a b") },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			c := good
			change(&c)
			if _, err := scim.NewClient(c); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func ExampleClient() {
	target := scimtest.New(scimtest.Quirks{})
	server := httptest.NewServer(target)
	defer server.Close()

	c, err := scim.NewClient(scim.ClientConfig{
		BaseURL:   server.URL,
		Token:     scim.NewToken(scimtest.Token),
		HTTP:      &http.Client{Timeout: 10 * time.Second},
		UserAgent: "Latchkey/1.0",
		Now:       time.Now,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	var want scim.Desired
	want.Set("userName", "ada@example.com")
	want.Set(`emails[type eq "work"].value`, "ada@example.com")
	body, err := want.Resource(scim.User)
	if err != nil {
		fmt.Println(err)
		return
	}
	user, exchange, err := c.Create(ctx, scim.User, body)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(exchange.Status, user.UserName())
	_, _, err = c.Create(ctx, scim.User, body)
	fmt.Println(scim.ClassOf(err))
	// Output:
	// 201 ada@example.com
	// conflict
}
