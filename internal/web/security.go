package web

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"net/http"
	"net/url"
	"strings"
	"time"
)

type contextKey int

const (
	requestIDKey contextKey = iota
	httpsKey
)

// SecurityHeaders sets the headers that keep a page from being framed, sniffed, or made to
// run or load foreign things. https says that people reach this installation by https
// (directly or through a proxy), which adds Strict-Transport-Security and makes cookies
// secure.
//
// One answer can widen its policy with AllowFormTarget.
func SecurityHeaders(https bool) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h.Set("Content-Security-Policy", policy("'self'"))
			h.Set("X-Content-Type-Options", "nosniff")
			h.Set("Referrer-Policy", "same-origin")
			h.Set("Cross-Origin-Opener-Policy", "same-origin")
			h.Set("Cross-Origin-Resource-Policy", "same-origin")
			h.Set("X-Frame-Options", "DENY")
			h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=(), usb=(), "+
				"clipboard-read=(), clipboard-write=(self), publickey-credentials-get=(self), publickey-credentials-create=(self)")
			if https || r.TLS != nil {
				h.Set("Strict-Transport-Security", "max-age=31536000")
				r = r.WithContext(context.WithValue(r.Context(), httpsKey, true))
			}
			next.ServeHTTP(w, r)
		})
	}
}

// policy is the Content-Security-Policy of every page, with the given form-action sources.
func policy(formAction string) string {
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
		"connect-src 'self'; form-action " + formAction + "; frame-ancestors 'none'; base-uri 'none'"
}

// AllowFormTarget lets this one answer post a form to target, an absolute http or https URL.
// Anything else leaves the policy as strict as it was.
//
// A browser applies form-action to every redirect that follows the post as well (tried with
// Chromium 156), and a service provider's ACS answers with a redirect to wherever the person
// was going, on a host that we can't know. So an https target opens all of https, and an http
// target (a rehearsal on loopback) its own origin besides. What is posted where is still fixed
// by the page, which has one form and no script of its own.
func AllowFormTarget(w http.ResponseWriter, target string) {
	u, err := url.Parse(target)
	if err != nil || u.Host == "" || strings.ContainsAny(u.Host, " ;,'\"") {
		return
	}
	switch u.Scheme {
	case "https":
		w.Header().Set("Content-Security-Policy", policy("'self' https:"))
	case "http":
		w.Header().Set("Content-Security-Policy", policy("'self' https: http://"+u.Host))
	}
}

// IsHTTPS reports whether the person reaches us by https, as SecurityHeaders was told.
func IsHTTPS(r *http.Request) bool {
	told, _ := r.Context().Value(httpsKey).(bool)
	return told || r.TLS != nil
}

// RequestIDs gives every request an id, sends it back as X-Request-Id, and keeps it in the
// context. An id sent by the caller is ignored, so that nobody can write into our log.
func RequestIDs(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := newRequestID(time.Now())
		w.Header().Set("X-Request-Id", id)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestIDKey, id)))
	})
}

// requestIDs makes ids of 16 characters that sort by time, so that the index over them grows at one end.
var requestIDs = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

func newRequestID(now time.Time) string {
	var b [10]byte // 48 bits of milliseconds, 32 random ones
	binary.BigEndian.PutUint64(b[:], uint64(now.UnixMilli())<<16)
	_, _ = rand.Read(b[6:]) // never fails
	return requestIDs.EncodeToString(b[:])
}

// RequestID returns the id that RequestIDs gave the request, or "".
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey).(string)
	return id
}
