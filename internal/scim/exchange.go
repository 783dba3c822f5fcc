package scim

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Exchange records one request and its answer, for events and for people. It
// holds no secret: the Authorization header is never in it, passwords and the
// token's text are masked.
type Exchange struct {
	Method      string    `json:"method"`
	URL         string    `json:"url"`
	RequestBody string    `json:"request,omitempty"`
	Time        time.Time `json:"time"`
	// Status is 0 when no answer came.
	Status int `json:"status"`
	// Header holds the answer's headers of interest by their usual names.
	Header map[string]string `json:"headers,omitempty"`
	// ResponseBody is the beginning of the answer, at most 16 KiB; ResponseSize
	// is the number of bytes that were read.
	ResponseBody string        `json:"response,omitempty"`
	ResponseSize int64         `json:"responseSize,omitempty"`
	Duration     time.Duration `json:"durationNanos"`
}

// Class says what a failed call means for the one who made it.
type Class string

// Classes.
const (
	// Unauthorized: the token is wrong or may not do this (401, 403). Stop the
	// application and tell a person.
	Unauthorized Class = "unauthorized"
	// NotFound: no such resource, or a wrong base URL (404, 410).
	NotFound Class = "not_found"
	// Conflict: another resource has the value (409, uniqueness).
	Conflict Class = "conflict"
	// Throttled: too many requests (429). Wait RetryAfter.
	Throttled Class = "throttled"
	// Temporary: the target or the way to it fails (5xx, time-out, reset,
	// broken or foreign answer, redirect). Try again later.
	Temporary Class = "temporary"
	// Refused: the target won't have this request (other 4xx). It concerns this
	// one object, and repeating the same request won't help.
	Refused Class = "refused"
)

// CallError is the error of every [Client] method.
type CallError struct {
	Class Class
	// Uncertain: a write was sent, or may have been, and whether it took effect
	// is unknown. Look up before writing again.
	Uncertain bool
	// RetryAfter is how long the target asked to wait; 0 when it did not say.
	RetryAfter time.Duration
	Exchange   Exchange
	// Err is an [*Error] when an answer came, else the transport's error.
	Err error
}

// Error says what was called and why it failed, in one line.
func (e *CallError) Error() string {
	return "scim: " + e.Exchange.Method + " " + clip(e.Exchange.URL, 200) + ": " + strings.TrimPrefix(e.Err.Error(), "scim: ")
}

// Unwrap gives the cause.
func (e *CallError) Unwrap() error { return e.Err }

// Detail is the target's own explanation, or the transport's error.
func (e *CallError) Detail() string {
	if s, ok := errors.AsType[*Error](e.Err); ok {
		if s.Detail != "" {
			return s.Detail
		}
		return strconv.Itoa(s.Status) + " " + http.StatusText(s.Status)
	}
	return e.Err.Error()
}

// ClassOf is the class of an error that came from a [Client]; "" for others.
func ClassOf(err error) Class {
	if e, ok := errors.AsType[*CallError](err); ok {
		return e.Class
	}
	return ""
}

// interesting picks the headers that explain an answer.
func interesting(h http.Header) map[string]string {
	out := make(map[string]string)
	for _, name := range []string{
		"Content-Type", "Date", "ETag", "Location", "Retry-After", "Server", "X-Request-Id",
		"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Atl-Traceid",
	} {
		if v := h.Get(name); v != "" {
			out[name] = clip(oneLine(v), 200)
		}
	}
	return out
}

const maxWait = 24 * time.Hour

// retryAfter reads how long a target asks to wait: Retry-After in seconds or as
// a date (RFC 9110 §10.2.3), else X-RateLimit-Reset as seconds from now, as Unix
// time in seconds or milliseconds, or as a date. Dates are taken relative to the
// answer's own Date where it has one, so that clocks need not agree. At most a
// day; 0 when the target does not say.
func retryAfter(h http.Header, now time.Time) time.Duration {
	if d, err := http.ParseTime(h.Get("Date")); err == nil {
		now = d
	}
	bound := func(d time.Duration) time.Duration { return min(max(d, 0), maxWait) }
	seconds := func(n float64) time.Duration {
		if n > maxWait.Seconds() {
			return maxWait
		}
		return bound(time.Duration(n * float64(time.Second)))
	}
	if v := strings.TrimSpace(h.Get("Retry-After")); v != "" {
		if n, err := strconv.ParseFloat(v, 64); err == nil && n >= 0 {
			return seconds(n)
		}
		if t, err := http.ParseTime(v); err == nil {
			return bound(t.Sub(now))
		}
	}
	v := strings.TrimSpace(h.Get("X-RateLimit-Reset"))
	if v == "" {
		return 0
	}
	if n, err := strconv.ParseFloat(v, 64); err == nil && n >= 0 {
		switch {
		case n > 1e11: // milliseconds since 1970
			return bound(time.UnixMilli(int64(min(n, 1e15))).Sub(now))
		case n > 1e8: // seconds since 1970
			return bound(time.Unix(int64(n), 0).Sub(now))
		default:
			return seconds(n)
		}
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", http.TimeFormat} {
		if t, err := time.Parse(layout, v); err == nil {
			return bound(t.Sub(now))
		}
	}
	return 0
}

// keep is a body's beginning as text, without secrets.
func (c *Client) keep(b []byte) string {
	// Masking more than could be kept is wasted on a list of members; the
	// margin lets a secret that lies across the cut be seen whole.
	b = b[:min(len(b), keepMembers)]
	return clip(c.mask(b), keepBody)
}

// mask writes a body without secrets: the token's text, and the values of
// attributes that hold passwords.
func (c *Client) mask(b []byte) string {
	s := strings.ReplaceAll(string(b), c.token.Reveal(), redacted)
	if !strings.Contains(strings.ToLower(s), "password") {
		return s
	}
	var v any
	if decodeExact([]byte(s), &v) != nil {
		// Cut off or not JSON, yet with the word in it: keep none of it rather
		// than guess where the secret ends.
		return "[" + strconv.Itoa(len(b)) + " bytes not shown: they may hold a password]"
	}
	if !maskPasswords(v) {
		return s
	}
	out, err := marshal(v)
	if err != nil {
		return s
	}
	return string(out)
}

// maskPasswords covers passwords in attributes and in PATCH operations.
func maskPasswords(v any) bool {
	hit := false
	switch v := v.(type) {
	case map[string]any:
		if _, p, _ := lookup(v, "path"); p != nil {
			if p, ok := p.(string); ok && strings.Contains(strings.ToLower(p), "password") {
				if key, _, ok := lookup(v, "value"); ok {
					v[key] = redacted
					hit = true
				}
			}
		}
		for k, e := range v {
			if strings.EqualFold(k, "password") {
				if _, isObject := e.(map[string]any); !isObject {
					v[k] = redacted
					hit = true
				}
				continue
			}
			hit = maskPasswords(e) || hit
		}
	case []any:
		for _, e := range v {
			hit = maskPasswords(e) || hit
		}
	}
	return hit
}
