package web_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/internal/web/webtest"
)

const prefix = "/gallery"

var galleryPages = []string{
	"/", "/users", "/form", "/applications", "/application", "/activity", "/confirm", "/empty", "/portal", "/signin", "/post",
	"/error/internal", "/error/invalid", "/error/unauthenticated", "/error/forbidden", "/error/not_found", "/error/conflict",
	"/error/throttled", "/error/unavailable",
}

// get asks the gallery for a path as a browser does.
func get(t *testing.T, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	web.Gallery(prefix).ServeHTTP(w, r)
	return w
}

func TestGalleryIsSoundHTML(t *testing.T) {
	for _, path := range galleryPages {
		t.Run(path, func(t *testing.T) {
			w := get(t, prefix+path)
			if want := !strings.HasPrefix(path, "/error"); want != (w.Code == http.StatusOK) {
				t.Errorf("status %d", w.Code)
			}
			webtest.Check(t, w.Body.Bytes())
			if got := w.Header().Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control %q, want no-store", got)
			}
		})
	}
}

func TestGalleryFollowsTheThemeCookie(t *testing.T) {
	for cookie, want := range map[string]string{
		"theme=dark":    `data-theme="dark"`,
		"theme=light":   `data-theme="light"`,
		"theme=\"><b>x": "",
		"":              "",
	} {
		body := get(t, prefix+"/", "Cookie", cookie).Body.String()
		tag := body[strings.Index(body, "<html"):]
		tag = tag[:strings.Index(tag, ">")]
		if want == "" && strings.Contains(tag, "data-theme") || !strings.Contains(tag, want) {
			t.Errorf("cookie %q: %s, want %s", cookie, tag, want)
		}
	}
}

var linked = regexp.MustCompile(`(?:href|src)="(/static/[^"#]+)`)

// A page with all it needs, as it travels, stays below 150 KB: style sheet, scripts, both
// fonts, icons.
func TestFirstLoadWeight(t *testing.T) {
	const limit = 150_000
	for _, path := range []string{"/", "/users", "/application", "/portal", "/signin"} {
		body := get(t, prefix+path).Body.String()
		files := []string{web.Asset("inter-latin.woff2"), web.Asset("inter-latin-ext.woff2")}
		for _, m := range linked.FindAllStringSubmatch(body, -1) {
			files = append(files, m[1])
		}
		slices.Sort(files)
		files = slices.Compact(files)
		if len(files) < 6 {
			t.Fatalf("%s links only %v", path, files)
		}
		total := len(body)
		for _, f := range files {
			w := get(t, f, "Accept-Encoding", "gzip")
			if w.Code != http.StatusOK {
				t.Fatalf("%s: status %d", f, w.Code)
			}
			total += w.Body.Len()
		}
		t.Logf("%s: %d bytes in %d files", path, total, len(files)+1)
		if total > limit {
			t.Errorf("%s weighs %d bytes, limit %d", path, total, limit)
		}
	}
}

func TestStatic(t *testing.T) {
	css := web.Asset("app.css")
	if !regexp.MustCompile(`^/static/app\.[0-9a-f]{12}\.css$`).MatchString(css) {
		t.Fatalf("unexpected path %q", css)
	}
	plain := get(t, css)
	for name, want := range map[string]string{
		"Cache-Control":          "public, max-age=31536000, immutable",
		"Content-Type":           "text/css; charset=utf-8",
		"X-Content-Type-Options": "nosniff",
		"Vary":                   "Accept-Encoding",
		"Content-Encoding":       "",
	} {
		if got := plain.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if !strings.Contains(plain.Body.String(), `url("`+web.Asset("inter-latin.woff2")+`")`) {
		t.Error("the style sheet doesn't name the font by its hashed path")
	}

	zipped := get(t, css, "Accept-Encoding", "br, gzip;q=0.8")
	if got := zipped.Header().Get("Content-Encoding"); got != "gzip" {
		t.Fatalf("Content-Encoding %q, want gzip", got)
	}
	zr, err := gzip.NewReader(zipped.Body)
	if err != nil {
		t.Fatal(err)
	}
	unzipped, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	if string(unzipped) != plain.Body.String() {
		t.Error("the compressed file differs from the plain one")
	}
	if got := get(t, css, "Accept-Encoding", "gzip;q=0").Header().Get("Content-Encoding"); got != "" {
		t.Errorf("gzip sent although refused")
	}
	if got := get(t, css, "If-None-Match", plain.Header().Get("ETag")).Code; got != http.StatusNotModified {
		t.Errorf("status %d for a known ETag, want 304", got)
	}
	for _, path := range []string{"/static/app.css", "/static/app.000000000000.css", "/static/", "/static/../doc.go"} {
		if got := get(t, path).Code; got == http.StatusOK {
			t.Errorf("%s answers 200", path)
		}
	}
	post := httptest.NewRecorder()
	web.Static().ServeHTTP(post, httptest.NewRequestWithContext(t.Context(), http.MethodPost, css, nil))
	if post.Code != http.StatusMethodNotAllowed {
		t.Errorf("status %d for POST, want 405", post.Code)
	}
	head := httptest.NewRecorder()
	web.Static().ServeHTTP(head, httptest.NewRequestWithContext(t.Context(), http.MethodHead, css, nil))
	if head.Code != http.StatusOK || head.Body.Len() != 0 {
		t.Errorf("HEAD: status %d with %d bytes", head.Code, head.Body.Len())
	}
}

func TestAssetPanicsForAMissingFile(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	web.Asset("nothing.css")
}

var iconName = regexp.MustCompile(`\bIcon(?::\s*|\()"([a-z0-9-]+)"`)

// Pages name icons by string; each must be in the sprite.
func TestIconsNamedInPagesExist(t *testing.T) {
	icons := web.Icons()
	seen := 0
	for _, pattern := range []string{"*.go", "*.templ", "../console/*.go", "../console/*.templ", "../portal/*.go", "../portal/*.templ", "../rehearsal/*.go", "../rehearsal/*.templ"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			src, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range iconName.FindAllSubmatch(src, -1) {
				seen++
				if !slices.Contains(icons, string(m[1])) {
					t.Errorf("%s: no icon %q; add it to assets/icons.txt and run npm run copy there", f, m[1])
				}
			}
		}
	}
	if seen < 30 {
		t.Errorf("found only %d icon names", seen)
	}
}

func TestSpriteHoldsTheListedIcons(t *testing.T) {
	list, err := os.ReadFile("assets/icons.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Fields(string(list))
	slices.Sort(want)
	if got := web.Icons(); !slices.Equal(got, want) {
		t.Errorf("sprite holds %d icons, icons.txt lists %d", len(got), len(want))
	}
}

func TestThirdPartyNamesTheVersions(t *testing.T) {
	pkg, err := os.ReadFile("assets/package.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("assets/THIRD_PARTY.md")
	if err != nil {
		t.Fatal(err)
	}
	deps := string(pkg)[strings.Index(string(pkg), `"dependencies"`):strings.Index(string(pkg), `"devDependencies"`)]
	found := regexp.MustCompile(`"([^"]+)": "([0-9.]+)"`).FindAllStringSubmatch(deps, -1)
	if len(found) != 3 {
		t.Fatalf("read %d dependencies, want 3", len(found))
	}
	for _, m := range found {
		if !regexp.MustCompile(regexp.QuoteMeta(m[1]) + `[^\n]*\| ` + regexp.QuoteMeta(m[2]) + ` \|`).Match(doc) {
			t.Errorf("THIRD_PARTY.md doesn't name %s %s", m[1], m[2])
		}
	}
}
