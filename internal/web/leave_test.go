package web_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/web"
)

// Browsers read any number of slashes at the beginning as those before a host; net/url reads no host behind three.
func TestLocalPathWithManySlashes(t *testing.T) {
	for n := 2; n < 8; n++ {
		for _, s := range []string{strings.Repeat("/", n) + "evil.example", strings.Repeat("/", n) + "evil.example/a?b#c", strings.Repeat("/", n)} {
			if got := web.LocalPath(s, "/f"); got != "/f" {
				t.Errorf("LocalPath(%q) = %q", s, got)
			}
			w := httptest.NewRecorder()
			web.Redirect(w, request(t, http.MethodGet, "/"), s)
			if got := w.Header().Get("Location"); got != "/" {
				t.Errorf("Redirect(%q) leads to %q", s, got)
			}
		}
	}
}

// What net/url takes for a host may hold what ends a directive or a source of a policy; and where there is no host nothing
// is opened.
func TestAllowFormTargetTakesHostsOnly(t *testing.T) {
	for _, target := range []string{
		"http://a;script-src/acs", "http://a;b", "http://a,b/acs", "http://127.0.0.1,evil.example/acs", "http://a'b/acs", `http://a"b/acs`, "https://a;b/acs", "https://'self'/acs",
		"https:///acs", "http:///acs", "https:/acs", "https:", "http:opaque", "https:a.example",
	} {
		w := serve(t, web.Edge{}, false, request(t, http.MethodGet, "/"), func(w http.ResponseWriter, r *http.Request) error {
			web.AllowFormTarget(w, target)
			return web.Render(w, r, http.StatusOK, web.Text(""))
		})
		if got := w.Header().Get("Content-Security-Policy"); !strings.Contains(got, "form-action 'self';") || strings.Count(got, "script-src") != 1 {
			t.Errorf("%q: %s", target, got)
		}
	}
}
