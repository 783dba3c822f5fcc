package web

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/a-h/templ"
)

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxPooled keeps one huge page from holding its memory for ever.
const maxPooled = 256 << 10

// compressFrom is from how many bytes on a page is compressed: lists, not the small pages on
// the sign-on path, for which it would cost more than it brings.
const compressFrom = 16 << 10

var compressors = sync.Pool{New: func() any {
	w, _ := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed) // fails only for an unknown level
	return w
}}

// compresses reports whether a page is sent compressed. Only answers to GET are: secrets that
// are shown once come as answers to POST, and no page holds a token that its size could betray.
func compresses(r *http.Request, size int) bool {
	return size >= compressFrom && r.Method == http.MethodGet && acceptsGzip(r.Header.Get("Accept-Encoding"))
}

// Render writes component c as an HTML answer. It renders into a buffer first: when c fails,
// nothing has been sent and the error is returned for the error page. Unless the handler has
// set Cache-Control, the answer must not be stored, since most pages show data of a person.
func Render(w http.ResponseWriter, r *http.Request, status int, c templ.Component) error {
	return render(w, r, status, c, true)
}

// RenderPlain is Render without compression: for a page of which most is random, so that compressing takes time and
// saves little, and which holds both a secret and what a stranger may choose.
func RenderPlain(w http.ResponseWriter, r *http.Request, status int, c templ.Component) error {
	return render(w, r, status, c, false)
}

func render(w http.ResponseWriter, r *http.Request, status int, c templ.Component, compress bool) error {
	buf := buffers.Get().(*bytes.Buffer)
	buf.Reset()
	defer func() {
		if buf.Cap() <= maxPooled {
			buffers.Put(buf)
		}
	}()
	if err := c.Render(r.Context(), buf); err != nil {
		return fmt.Errorf("web: rendering %s: %w", r.URL.Path, err)
	}
	h := w.Header()
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	if compress {
		h.Add("Vary", "Accept-Encoding")
	}
	if compress && compresses(r, buf.Len()) {
		h.Set("Content-Encoding", "gzip")
		w.WriteHeader(status)
		z := compressors.Get().(*gzip.Writer)
		z.Reset(w)
		_, _ = z.Write(buf.Bytes()) // the reader may have gone; nothing to do about it
		_ = z.Close()               // as above
		z.Reset(io.Discard)
		compressors.Put(z)
		return nil
	}
	h.Set("Content-Length", strconv.Itoa(buf.Len()))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(buf.Bytes()) // the reader may have gone; nothing to do about it
	}
	return nil
}

// IsHTMX reports whether htmx asked for a fragment rather than the browser for a page. A
// restored history entry is a page, although htmx asks for it.
func IsHTMX(r *http.Request) bool {
	return r.Header.Get("HX-Request") == "true" && r.Header.Get("HX-History-Restore-Request") != "true"
}
