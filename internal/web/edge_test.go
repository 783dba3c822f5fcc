package web_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/a-h/templ"
	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/internal/web/webtest"
)

// serve runs one handler behind the middleware of a real server.
func serve(t *testing.T, edge web.Edge, https bool, r *http.Request, h web.Handler) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	web.RequestIDs(web.SecurityHeaders(https)(edge.Handle(h))).ServeHTTP(w, r)
	return w
}

func request(t *testing.T, method, target string) *http.Request {
	t.Helper()
	return httptest.NewRequestWithContext(t.Context(), method, target, nil)
}

func TestErrorPages(t *testing.T) {
	cause := errors.New("secret insides: password=hunter2")
	tests := []struct {
		name   string
		err    error
		status int
		says   []string
		level  string
	}{
		{"unclassified", cause, 500, []string{"Something went wrong", "request id", "Try again"}, "ERROR"},
		{"internal", problem.Wrap(problem.Internal, cause, "The list could not be read."), 500, []string{"The list could not be read."}, "ERROR"},
		{"invalid", problem.InvalidField("email", "Write it as name@example.com."), 422, []string{"Write it as name@example.com.", "Go back"}, "INFO"},
		{"unauthenticated", problem.New(problem.Unauthenticated, "Sign in first."), 401, []string{"Please sign in", "Sign in first."}, "INFO"},
		{"forbidden", problem.New(problem.Forbidden, "Only an owner may do this."), 403, []string{"Only an owner may do this.", "ask an administrator"}, "INFO"},
		{"not found", problem.New(problem.NotFound, "There is no such user."), 404, []string{"There is no such user."}, "INFO"},
		{"conflict", problem.Wrap(problem.Conflict, cause, "Somebody else changed it."), 409, []string{"Somebody else changed it.", "Open the page again"}, "INFO"},
		{"throttled", &problem.Error{Kind: problem.Throttled, Public: "Too many tries.", RetryAfter: 90 * time.Second}, 429, []string{"Wait 90 seconds"}, "INFO"},
		{"unavailable", problem.Wrap(problem.Unavailable, cause, "The database doesn't answer."), 503, []string{"Nothing was lost", "Wait a moment"}, "WARN"},
		{"too large", fmt.Errorf("reading: %w", &http.MaxBytesError{Limit: 10}), 413, []string{"too large"}, "INFO"},
		{"wrapped", fmt.Errorf("users: %w", problem.New(problem.NotFound, "There is no such user.")), 404, []string{"There is no such user."}, "INFO"},
		{"hostile text", problem.New(problem.NotFound, "<script>alert(1)</script>"), 404, []string{"&lt;script&gt;"}, "INFO"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			edge := web.Edge{Log: slog.New(slog.NewTextHandler(&log, nil))}
			w := serve(t, edge, false, request(t, http.MethodGet, "/users/7?token=secret"), func(http.ResponseWriter, *http.Request) error { return tt.err })
			if w.Code != tt.status {
				t.Errorf("status %d, want %d", w.Code, tt.status)
			}
			body := w.Body.String()
			webtest.Check(t, w.Body.Bytes())
			for _, s := range tt.says {
				if !strings.Contains(body, s) {
					t.Errorf("the page doesn't say %q", s)
				}
			}
			if strings.Contains(body, "hunter2") {
				t.Error("the page shows our insides")
			}
			id := w.Header().Get("X-Request-Id")
			if len(id) != 16 || !strings.Contains(body, id) {
				t.Errorf("the page doesn't show the request id %q", id)
			}
			line := log.String()
			if strings.Count(line, "\n") != 1 || !strings.Contains(line, "level="+tt.level) || !strings.Contains(line, id) {
				t.Errorf("log: %q, want one line at %s with the id", line, tt.level)
			}
			if strings.Contains(line, "token=secret") {
				t.Error("the log holds the query")
			}
			if got := w.Header().Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control %q", got)
			}
		})
	}
}

func TestErrorPageInALayout(t *testing.T) {
	edge := web.Edge{
		Page: func(w http.ResponseWriter, r *http.Request) web.Page {
			p := web.NewPage(w, r, "ignored")
			p.Organization.Name, p.Nav = "Vertex Instruments", "users"
			p.Person = &web.Person{Name: "Åsa Lindqvist", Email: "asa@vertex.example"}
			return p
		},
		Layout: web.Console,
	}
	w := serve(t, edge, false, request(t, http.MethodGet, "/console/users/7"), func(http.ResponseWriter, *http.Request) error {
		return problem.New(problem.NotFound, "There is no such user.")
	})
	webtest.Check(t, w.Body.Bytes())
	for _, s := range []string{"There is no such user.", "Vertex Instruments", "Åsa Lindqvist", `aria-current="page"`, "Sign-in policy"} {
		if !strings.Contains(w.Body.String(), s) {
			t.Errorf("the page lacks %q", s)
		}
	}
}

func TestPanicBecomesAPage(t *testing.T) {
	var log bytes.Buffer
	edge := web.Edge{Log: slog.New(slog.NewTextHandler(&log, nil))}
	w := serve(t, edge, false, request(t, http.MethodGet, "/"), func(http.ResponseWriter, *http.Request) error { panic("boom") })
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "boom") {
		t.Errorf("status %d, body shows the panic: %v", w.Code, strings.Contains(w.Body.String(), "boom"))
	}
	if !strings.Contains(log.String(), "boom") || !strings.Contains(log.String(), "edge_test.go") {
		t.Error("the log lacks the panic or its place")
	}
}

func TestAbortIsPassedOn(t *testing.T) {
	defer func() {
		if v := recover(); v != http.ErrAbortHandler { //nolint:errorlint // a panic's value, the very same
			t.Errorf("recovered %v", v)
		}
	}()
	serve(t, web.Edge{}, false, request(t, http.MethodGet, "/"), func(http.ResponseWriter, *http.Request) error { panic(http.ErrAbortHandler) })
}

func TestErrorAfterTheAnswerBeganIsOnlyLogged(t *testing.T) {
	var log bytes.Buffer
	edge := web.Edge{Log: slog.New(slog.NewTextHandler(&log, nil))}
	w := serve(t, edge, false, request(t, http.MethodGet, "/"), func(w http.ResponseWriter, _ *http.Request) error {
		_, _ = io.WriteString(w, "half")
		return errors.New("late")
	})
	if w.Body.String() != "half" || !strings.Contains(log.String(), "late") {
		t.Errorf("body %q, log %q", w.Body.String(), log.String())
	}
}

func TestRenderSendsNothingOfAFailedPage(t *testing.T) {
	broken := templ.ComponentFunc(func(_ context.Context, w io.Writer) error {
		_, _ = io.WriteString(w, "<p>half a page")
		return errors.New("no data")
	})
	w := serve(t, web.Edge{}, false, request(t, http.MethodGet, "/"), func(w http.ResponseWriter, r *http.Request) error {
		return web.Render(w, r, http.StatusOK, broken)
	})
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "half a page") {
		t.Errorf("status %d: %.60s", w.Code, w.Body.String())
	}
}

func TestErrorUnderHTMXIsAToast(t *testing.T) {
	r := request(t, http.MethodPost, "/x")
	r.Header.Set("HX-Request", "true")
	w := serve(t, web.Edge{}, false, r, func(http.ResponseWriter, *http.Request) error {
		return problem.New(problem.Forbidden, "Only an owner may do this.")
	})
	if w.Code != http.StatusForbidden || w.Header().Get("HX-Retarget") != "#toasts" || w.Header().Get("HX-Reswap") != "beforeend" {
		t.Errorf("status %d, headers %v", w.Code, w.Header())
	}
	if body := w.Body.String(); strings.Contains(body, "<html") || !strings.Contains(body, "Only an owner may do this.") {
		t.Errorf("body %.80q", body)
	}
	webtest.Check(t, w.Body.Bytes())
}

func TestUnauthenticatedLeadsToSignIn(t *testing.T) {
	refuse := func(http.ResponseWriter, *http.Request) error {
		return problem.New(problem.Unauthenticated, "Your session has ended.")
	}
	edge := web.Edge{SignIn: "/signin"}
	tests := []struct {
		name     string
		method   string
		htmx     string // HX-Current-URL
		status   int
		header   string
		location string
	}{
		{"page", http.MethodGet, "", 303, "Location", "/signin?return=%2Fusers%3Fq%3Da%26b"},
		{"post", http.MethodPost, "", 401, "Location", ""},
		{"fragment", http.MethodGet, "https://id.example/groups?q=1", 204, "HX-Redirect", "/signin?return=%2Fgroups%3Fq%3D1"},
		{"fragment of a hostile page", http.MethodPost, "https://id.example//evil.example", 204, "HX-Redirect", "/signin"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := request(t, tt.method, "/users?q=a&b")
			if tt.htmx != "" {
				r.Header.Set("HX-Request", "true")
				r.Header.Set("HX-Current-URL", tt.htmx)
			}
			w := serve(t, edge, false, r, refuse)
			if w.Code != tt.status || w.Header().Get(tt.header) != tt.location {
				t.Errorf("status %d %s %q, want %d %q", w.Code, tt.header, w.Header().Get(tt.header), tt.status, tt.location)
			}
			if tt.status == 401 && !strings.Contains(w.Body.String(), `href="/signin`) {
				t.Error("the page doesn't link to the sign-in page")
			}
		})
	}
}

func TestNotFound(t *testing.T) {
	w := httptest.NewRecorder()
	web.Edge{}.NotFound().ServeHTTP(w, request(t, http.MethodGet, "/nothing"))
	if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "There is nothing at this address.") {
		t.Errorf("status %d", w.Code)
	}
}

const strictPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
	"connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

func TestSecurityHeaders(t *testing.T) {
	ok := func(w http.ResponseWriter, r *http.Request) error {
		return web.Render(w, r, http.StatusOK, web.Text("hello"))
	}
	for _, https := range []bool{false, true} {
		w := serve(t, web.Edge{}, https, request(t, http.MethodGet, "/"), ok)
		want := map[string]string{
			"Content-Security-Policy":    strictPolicy,
			"X-Content-Type-Options":     "nosniff",
			"Referrer-Policy":            "same-origin",
			"Cross-Origin-Opener-Policy": "same-origin",
			"X-Frame-Options":            "DENY",
			"Strict-Transport-Security":  "",
			"Cache-Control":              "no-store",
			"Content-Type":               "text/html; charset=utf-8",
		}
		if https {
			want["Strict-Transport-Security"] = "max-age=31536000"
		}
		got := map[string]string{}
		for name := range want {
			got[name] = w.Header().Get(name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("https %v (-want +got):\n%s", https, diff)
		}
	}
}

func TestAllowFormTarget(t *testing.T) {
	for target, want := range map[string]string{
		"https://auth.example/acs?connection=1": "form-action 'self' https:;",
		"http://127.0.0.1:8081/acs":             "form-action 'self' https: http://127.0.0.1:8081;",
		"":                                      "form-action 'self';",
		"/acs":                                  "form-action 'self';",
		"javascript:alert(1)":                   "form-action 'self';",
		"data:text/html,x":                      "form-action 'self';",
		"http://a.example; script-src *":        "form-action 'self';",
		"http://a;script-src%20*/":              "form-action 'self';",
	} {
		w := serve(t, web.Edge{}, false, request(t, http.MethodGet, "/"), func(w http.ResponseWriter, r *http.Request) error {
			web.AllowFormTarget(w, target)
			return web.Render(w, r, http.StatusOK, web.Text(""))
		})
		if got := w.Header().Get("Content-Security-Policy"); !strings.Contains(got, want) || strings.Count(got, "script-src") != 1 {
			t.Errorf("%q: %s, want %s", target, got, want)
		}
	}
}

func TestRequestIDsIgnoreTheCaller(t *testing.T) {
	r := request(t, http.MethodGet, "/")
	r.Header.Set("X-Request-Id", "forged\nline")
	var inside string
	w := serve(t, web.Edge{}, false, r, func(_ http.ResponseWriter, r *http.Request) error {
		inside = web.RequestID(r.Context())
		return nil
	})
	if got := w.Header().Get("X-Request-Id"); got != inside || strings.Contains(got, "forged") || len(got) != 16 {
		t.Errorf("id %q, in context %q", got, inside)
	}
}

func TestFlash(t *testing.T) {
	for _, https := range []bool{false, true} {
		set := serve(t, web.Edge{}, https, request(t, http.MethodPost, "/"), func(w http.ResponseWriter, r *http.Request) error {
			web.SetFlash(w, r, web.OK, "Saved <b>you</b>.")
			web.Redirect(w, r, "/next")
			return nil
		})
		cookie := set.Result().Cookies()[0]
		wantName := map[bool]string{false: "flash", true: "__Host-flash"}[https]
		if cookie.Name != wantName || !cookie.HttpOnly || cookie.Secure != https || cookie.Path != "/" || cookie.MaxAge != 60 {
			t.Errorf("https %v: cookie %+v", https, cookie)
		}
		r := request(t, http.MethodGet, "/next")
		r.AddCookie(cookie)
		var got []web.Message
		taken := serve(t, web.Edge{}, https, r, func(w http.ResponseWriter, r *http.Request) error {
			p := web.NewPage(w, r, "Next")
			got = p.Flash
			return web.Render(w, r, http.StatusOK, web.Console(p))
		})
		if diff := cmp.Diff([]web.Message{{Level: web.OK, Text: "Saved <b>you</b>."}}, got); diff != "" {
			t.Errorf("message (-want +got):\n%s", diff)
		}
		if c := taken.Result().Cookies()[0]; c.Name != wantName || c.MaxAge >= 0 {
			t.Errorf("the cookie isn't deleted: %+v", c)
		}
		if !strings.Contains(taken.Body.String(), "Saved &lt;b&gt;you&lt;/b&gt;.") {
			t.Error("the message isn't on the page, escaped")
		}
	}
}

func TestForgedFlash(t *testing.T) {
	for name, value := range map[string]string{
		"no base64": "%%%", "no JSON": "bm90IGpzb24", "empty": "e30", "too long": strings.Repeat("QUFB", 600),
	} {
		r := request(t, http.MethodGet, "/")
		r.Header.Set("Cookie", "flash="+value)
		if got := web.TakeFlash(httptest.NewRecorder(), r); got != nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	r := request(t, http.MethodGet, "/")
	r.Header.Set("Cookie", "flash=eyJsIjoiZXZpbCIsInQiOiJoZWxsbyJ9") // {"l":"evil","t":"hello"}
	if diff := cmp.Diff([]web.Message{{Level: web.Info, Text: "hello"}}, web.TakeFlash(httptest.NewRecorder(), r)); diff != "" {
		t.Errorf("unknown level (-want +got):\n%s", diff)
	}
}

func TestLongFlashIsCutBetweenLetters(t *testing.T) {
	w := httptest.NewRecorder()
	r := request(t, http.MethodGet, "/")
	web.SetFlash(w, r, web.Warn, strings.Repeat("å", 1000))
	r.AddCookie(w.Result().Cookies()[0])
	got := web.TakeFlash(httptest.NewRecorder(), r)
	if len(got) != 1 || got[0].Text != strings.Repeat("å", 200) {
		t.Errorf("got %v", got)
	}
}

var localPaths = []struct{ in, want string }{
	{"/", "/"},
	{"/users?q=a#b", "/users?q=a#b"},
	{"/a//b", "/a//b"},
	{"", "/f"},
	{"users", "/f"},
	{"//evil.example", "/f"},
	{"/\\evil.example", "/f"},
	{"/\t/evil.example", "/f"},
	{"\t//evil.example", "/f"},
	{"https://evil.example/", "/f"},
	{"javascript:alert(1)", "/f"},
	{"/a\r\nSet-Cookie: x", "/f"},
	{"/%zz", "/f"},
	{"/%2f/evil.example", "/f"},
}

func TestLocalPath(t *testing.T) {
	for _, tt := range localPaths {
		if got := web.LocalPath(tt.in, "/f"); got != tt.want {
			t.Errorf("LocalPath(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func FuzzLocalPath(f *testing.F) {
	for _, tt := range localPaths {
		f.Add(tt.in)
	}
	base := &url.URL{Scheme: "https", Host: "id.example", Path: "/signin"}
	f.Fuzz(func(t *testing.T, s string) {
		got := web.LocalPath(s, "/f")
		u, err := base.Parse(got)
		if err != nil || u.Host != "id.example" || u.Scheme != "https" || u.User != nil {
			t.Errorf("%q leaves the site as %q", s, got)
		}
		if strings.ContainsAny(got, "\\\r\n\t") || !strings.HasPrefix(got, "/") || strings.HasPrefix(got, "//") {
			t.Errorf("%q gives %q, which a browser may read differently", s, got)
		}
	})
}

func TestRedirectStaysHere(t *testing.T) {
	w := httptest.NewRecorder()
	web.Redirect(w, request(t, http.MethodPost, "/"), "https://evil.example/")
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/" {
		t.Errorf("status %d to %q", w.Code, w.Header().Get("Location"))
	}
}

func TestForm(t *testing.T) {
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("email=a%22b&on=on&group=x&group=y"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if err := r.ParseForm(); err != nil {
		t.Fatal(err)
	}
	form := web.PostedForm(r)
	if form.Failed() {
		t.Error("failed before anything went wrong")
	}
	if _, ok := form.Fail(problem.New(problem.Internal, "x")); ok {
		t.Error("an internal error can't be put right in the form")
	}
	failed, ok := form.Fail(fmt.Errorf("users: %w", problem.InvalidField("email", "That is no address.")))
	if !ok || !failed.Failed() || form.Failed() {
		t.Error("Fail must mark the copy it returns, and only that")
	}
	email := failed.Field("email", "E-mail")
	if email.Value != `a"b` || email.Error != "That is no address." {
		t.Errorf("field %+v", email)
	}
	if !failed.Field("on", "On").Checked || !failed.Has("group", "y") || failed.Has("group", "z") || len(failed.All("group")) != 2 {
		t.Error("values are lost")
	}
	var page bytes.Buffer
	for _, c := range []templ.Component{failed.Summary(), web.EmailField(email.Must().Hint("Your address.")), web.PasswordField(web.Field{Name: "password", Label: "Password", Value: "hunter2"})} {
		if err := c.Render(t.Context(), &page); err != nil {
			t.Fatal(err)
		}
	}
	webtest.Check(t, page.Bytes())
	for _, s := range []string{`href="#f-email"`, `aria-describedby="f-email-error f-email-help"`, `aria-invalid="true"`, `value="a&#34;b"`, "required"} {
		if !strings.Contains(page.String(), s) {
			t.Errorf("the form lacks %s", s)
		}
	}
	if strings.Contains(page.String(), "hunter2") {
		t.Error("a password is sent back")
	}
}

func TestPostPage(t *testing.T) {
	var page bytes.Buffer
	hostile := `"><script>alert(1)</script>`
	p := web.PostForm{Action: "https://sp.example/acs?a=1&b=2", To: hostile, Fields: []web.Hidden{{Name: "SAMLResponse", Value: "PHNhbWw+"}, {Name: "RelayState", Value: hostile}}}
	if err := web.PostPage(p).Render(t.Context(), &page); err != nil {
		t.Fatal(err)
	}
	webtest.Check(t, page.Bytes())
	if s := page.String(); strings.Contains(s, "<script>alert") || !strings.Contains(s, `action="https://sp.example/acs?a=1&amp;b=2"`) {
		t.Errorf("page: %s", s)
	}
}

func TestHostileLinksAreDefused(t *testing.T) {
	var page bytes.Buffer
	for _, c := range []templ.Component{
		web.Button{Label: "x", Href: "javascript:alert(1)"},
		web.Link{Label: "x", Href: " JavaScript:alert(1)"},
		web.Tiles{Items: []web.Tile{{Name: "x", Href: "data:text/html,<script>1</script>"}}},
		web.PostPage(web.PostForm{Action: "javascript:alert(1)"}),
	} {
		if err := c.Render(t.Context(), &page); err != nil {
			t.Fatal(err)
		}
	}
	if s := strings.ToLower(page.String()); strings.Contains(s, "javascript:") || strings.Contains(s, "data:text") {
		t.Errorf("a script link survives: %s", page.String())
	}
}

func BenchmarkPostPage(b *testing.B) {
	p := web.PostForm{Action: "https://sp.example/acs?connection=1", To: "Atlassian Cloud", Fields: []web.Hidden{{Name: "SAMLResponse", Value: strings.Repeat("QUJD", 2000)}, {Name: "RelayState", Value: "https://site.example"}}}
	r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/", nil)
	b.ReportAllocs()
	for b.Loop() {
		if err := web.Render(discard{}, r, http.StatusOK, web.PostPage(p)); err != nil {
			b.Fatal(err)
		}
	}
}

// discard is a ResponseWriter that keeps nothing.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}
