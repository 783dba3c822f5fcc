package web_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/web"
)

func TestRenderCompressesLargePages(t *testing.T) {
	long := strings.Repeat("many rows ", 4000)
	for _, c := range []struct {
		name, method, text, accept string
		compressed                 bool
	}{
		{"a list", http.MethodGet, long, "gzip, br", true},
		{"a small page", http.MethodGet, "hello", "gzip", false},
		{"a client that takes none", http.MethodGet, long, "", false},
		{"a client that refuses it", http.MethodGet, long, "gzip;q=0", false},
		{"an answer to a form, which may hold a secret", http.MethodPost, long, "gzip", false},
		{"only the head", http.MethodHead, long, "gzip", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), c.method, "/", nil)
			r.Header.Set("Accept-Encoding", c.accept)
			for range 2 { // the second time with a compressor that was used
				w := httptest.NewRecorder()
				if err := web.Render(w, r, http.StatusOK, web.Text(c.text)); err != nil {
					t.Fatal(err)
				}
				res := w.Result()
				var body io.Reader = res.Body
				if got := res.Header.Get("Content-Encoding") == "gzip"; got != c.compressed {
					t.Fatalf("compressed: %t, want %t", got, c.compressed)
				}
				if !strings.Contains(res.Header.Get("Vary"), "Accept-Encoding") {
					t.Errorf("Vary is %q", res.Header.Get("Vary"))
				}
				if c.compressed {
					if w.Body.Len() > len(c.text)/10 {
						t.Errorf("%d bytes of %d", w.Body.Len(), len(c.text))
					}
					z, err := gzip.NewReader(body)
					if err != nil {
						t.Fatal(err)
					}
					body = z
				}
				got, err := io.ReadAll(body)
				if err != nil {
					t.Fatal(err)
				}
				if want := c.text; c.method != http.MethodHead && string(got) != want {
					t.Errorf("the page is %d bytes, want %d", len(got), len(want))
				}
			}
		})
	}
}

func TestFieldThatDoesNotMatterNowIsLeftOutFromTheFirstMoment(t *testing.T) {
	for _, c := range []struct {
		kind, when string
		off        bool
	}{
		{"own", "kind=own", false},
		{"own", "kind=other|own", false},
		{"", "kind=own", true},
		{"made", "kind=own", true},
	} {
		form := web.NewForm(map[string]string{"kind": c.kind})
		var page strings.Builder
		if err := web.TextField(form.Field("value", "Value").OnlyWhen(c.when)).Render(t.Context(), &page); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(page.String(), " data-off"); got != c.off {
			t.Errorf("%s with kind=%q: off %t, want %t", c.when, c.kind, got, c.off)
		}
	}
}

func TestRenderPlainIsNeverCompressed(t *testing.T) {
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	w := httptest.NewRecorder()
	if err := web.RenderPlain(w, r, http.StatusOK, web.Text(strings.Repeat("many rows ", 4000))); err != nil {
		t.Fatal(err)
	}
	if res := w.Result(); res.Header.Get("Content-Encoding") != "" || res.ContentLength != int64(w.Body.Len()) {
		t.Errorf("%v", res.Header)
	}
}
