package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

//go:embed static
var staticFiles embed.FS

// StaticPath is the path below which Static serves.
const StaticPath = "/static/"

// asset is one embedded file, ready to be sent.
type asset struct {
	url   string // hashed, below StaticPath
	kind  string // media type
	plain []byte
	gzip  []byte // nil when compressing gains nothing
	etag  string
}

// assetSet holds the embedded files by name and by hashed name. It is built on first use, so
// that commands which serve no page don't pay for it.
type assetSet struct {
	byName map[string]*asset
	byURL  map[string]*asset
	icons  map[string]bool
}

var mediaTypes = map[string]string{
	".css":   "text/css; charset=utf-8",
	".js":    "text/javascript; charset=utf-8",
	".svg":   "image/svg+xml",
	".woff2": "font/woff2",
}

var (
	cssURL   = regexp.MustCompile(`url\("([a-z0-9.-]+)"\)`)
	symbolID = regexp.MustCompile(`<symbol id="([a-z0-9-]+)"`)
)

var loadAssets = sync.OnceValue(func() *assetSet {
	set := &assetSet{byName: map[string]*asset{}, byURL: map[string]*asset{}, icons: map[string]bool{}}
	entries, err := fs.ReadDir(staticFiles, "static")
	if err != nil {
		panic("web: embedded files are unreadable: " + err.Error()) // cannot happen in a built binary
	}
	// Style sheets name other files, whose hashed names must be known first.
	slices.SortStableFunc(entries, func(a, b fs.DirEntry) int {
		return sheetLast(a.Name()) - sheetLast(b.Name())
	})
	for _, e := range entries {
		data, err := fs.ReadFile(staticFiles, "static/"+e.Name())
		if err != nil {
			panic("web: embedded file is unreadable: " + err.Error())
		}
		set.add(e.Name(), data)
	}
	return set
})

func sheetLast(name string) int {
	if path.Ext(name) == ".css" {
		return 1
	}
	return 0
}

func (s *assetSet) add(name string, data []byte) {
	ext := path.Ext(name)
	if ext == ".css" {
		data = cssURL.ReplaceAllFunc(data, func(m []byte) []byte {
			ref := string(cssURL.FindSubmatch(m)[1])
			a, ok := s.byName[ref]
			if !ok {
				panic("web: " + name + " names the missing file " + ref)
			}
			return []byte(`url("` + a.url + `")`)
		})
	}
	if name == "icons.svg" {
		for _, m := range symbolID.FindAllSubmatch(data, -1) {
			s.icons[string(m[1])] = true
		}
	}
	sum := sha256.Sum256(data)
	hash := hex.EncodeToString(sum[:6])
	a := &asset{
		url:   StaticPath + strings.TrimSuffix(name, ext) + "." + hash + ext,
		kind:  mediaTypes[ext],
		plain: data,
		etag:  `"` + hash + `"`,
	}
	if ext != ".woff2" {
		var b bytes.Buffer
		zw, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // fails only for an unknown level
		_, _ = zw.Write(data)                                  // a bytes.Buffer never fails
		_ = zw.Close()
		if b.Len() < len(data)*9/10 {
			a.gzip = b.Bytes()
		}
	}
	s.byName[name] = a
	s.byURL[a.url] = a
}

// Asset returns the path of an embedded file, with a hash of its content in the name, e.g.
// "/static/app.1f9c03aa52bd.css". It panics for a file that doesn't exist, which is a mistake
// in the program.
func Asset(name string) string {
	a, ok := loadAssets().byName[name]
	if !ok {
		panic(fmt.Sprintf("web: no embedded file %q", name))
	}
	return a.url
}

// Static serves the embedded files below StaticPath. A hashed name never changes its content,
// so the answer may be kept for a year.
func Static() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		a, ok := loadAssets().byURL[r.URL.Path]
		if !ok {
			w.Header().Set("Cache-Control", "no-store")
			http.Error(w, "not found", http.StatusNotFound)
			return
		}
		h := w.Header()
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
		h.Set("Content-Type", a.kind)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("ETag", a.etag)
		h.Set("Vary", "Accept-Encoding")
		if strings.Contains(r.Header.Get("If-None-Match"), a.etag) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		body := a.plain
		if a.gzip != nil && acceptsGzip(r.Header.Get("Accept-Encoding")) {
			h.Set("Content-Encoding", "gzip")
			body = a.gzip
		}
		h.Set("Content-Length", strconv.Itoa(len(body)))
		if r.Method == http.MethodGet {
			_, _ = w.Write(body) // the reader may have gone; nothing to do about it
		}
	})
}

func acceptsGzip(header string) bool {
	for part := range strings.SplitSeq(header, ",") {
		coding, q, _ := strings.Cut(strings.TrimSpace(part), ";")
		if coding == "gzip" {
			q = strings.ReplaceAll(q, " ", "")
			return q != "q=0" && !strings.HasPrefix(q, "q=0.000")
		}
	}
	return false
}

// Icons returns the names of the icons in the sprite, sorted.
func Icons() []string {
	var names []string
	for n := range loadAssets().icons {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
