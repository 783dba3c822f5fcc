package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/a-h/templ"

	"github.com/latchkey-idp/latchkey/internal/problem"
)

// Handler answers a request or returns an error, which Edge turns into a page. It must not
// have written anything when it returns an error; Render sees to that.
type Handler func(w http.ResponseWriter, r *http.Request) error

// Edge is what a group of pages shares when something goes wrong.
type Edge struct {
	// Log gets every error once: Error for Internal, Warn for Unavailable, Info for the rest.
	Log *slog.Logger
	// Page gives the frame of an error page: organization, theme, signed-in person. Nil means
	// an empty frame. It must not fail; it leaves out what it doesn't know.
	Page func(w http.ResponseWriter, r *http.Request) Page
	// Layout draws the frame: Console, Portal or Bare. Nil means Bare.
	Layout func(Page) templ.Component
	// SignIn is the path of the sign-in page. An Unauthenticated error on a page (GET) goes
	// there at once, with the asked-for path as parameter "return"; elsewhere the error page
	// links to it. Empty means that the error page stands alone.
	SignIn string
	// Home is where the error page leads when there is nothing better; empty means "/".
	Home string
}

// Handle turns h into a http.Handler. Errors and panics become error pages that never show
// anything of our insides.
func (e Edge) Handle(h Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tw := &trackingWriter{ResponseWriter: w}
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler { //nolint:errorlint // a panic's value, the very same
				panic(v) // net/http's own way to drop a connection
			}
			e.Fail(tw, r, fmt.Errorf("panic: %v\n%s", v, debug.Stack()))
		}()
		if err := h(tw, r); err != nil {
			e.Fail(tw, r, err)
		}
	})
}

// NotFound answers every request with the page for a missing page.
func (e Edge) NotFound() http.Handler {
	return e.Handle(func(http.ResponseWriter, *http.Request) error {
		return problem.New(problem.NotFound, "There is nothing at this address. The link may be old, or the thing may have been deleted.")
	})
}

// Fail logs err and answers with its error page, or with a toast under htmx. When an answer
// was already begun it only logs.
func (e Edge) Fail(w http.ResponseWriter, r *http.Request, err error) {
	e.log(r, err)
	if tw, ok := w.(*trackingWriter); ok && tw.wrote {
		return
	}
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		return // the person has gone
	}
	kind := problem.KindOf(err)
	if kind == problem.Unauthenticated && e.SignIn != "" && (r.Method == http.MethodGet || IsHTMX(r)) {
		Redirect(w, r, e.signIn(r))
		return
	}
	status := Status(err)
	h := w.Header()
	h.Del("Content-Encoding")
	h.Set("Cache-Control", "no-store")
	if after := retryAfter(err); after > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
	}
	view := e.view(r, err, status)
	var c templ.Component
	if IsHTMX(r) {
		h.Set("HX-Retarget", "#toasts")
		h.Set("HX-Reswap", "beforeend")
		c = toast(Message{Danger, view.Text}, view.RequestID)
	} else {
		var p Page
		if e.Page != nil {
			p = e.Page(w, r)
		} else {
			p = NewPage(w, r, "")
		}
		p.Title, p.Subtitle, p.Actions, p.Tabs, p.Crumbs, p.HideHeader = view.Title, "", nil, nil, nil, true
		layout := e.Layout
		if layout == nil {
			layout = Bare
		}
		c = within(layout(p), errorView(view))
	}
	if err := Render(w, r, status, c); err != nil {
		e.log(r, fmt.Errorf("error page: %w", err))
		http.Error(w, view.Title+". "+view.Text+" Request id: "+view.RequestID, status)
	}
}

func (e Edge) log(r *http.Request, err error) {
	if e.Log == nil {
		return
	}
	level := slog.LevelInfo
	switch problem.KindOf(err) {
	case problem.Internal:
		level = slog.LevelError
	case problem.Unavailable:
		level = slog.LevelWarn
	}
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge || errors.Is(err, context.Canceled) {
		level = slog.LevelInfo
	}
	e.Log.LogAttrs(r.Context(), level, "request failed",
		slog.String("request_id", RequestID(r.Context())),
		slog.String("method", r.Method),
		slog.String("path", r.URL.Path),
		slog.Int("status", Status(err)),
		slog.String("kind", problem.KindOf(err).String()),
		slog.Any("error", err))
}

func (e Edge) signIn(r *http.Request) string {
	back := r.URL.RequestURI()
	if IsHTMX(r) || r.Method != http.MethodGet {
		// A fragment's own address is no page to come back to.
		back = ""
		if u, err := url.Parse(r.Header.Get("HX-Current-URL")); err == nil {
			back = u.RequestURI()
		}
	}
	if LocalPath(back, "") == "" {
		return e.SignIn
	}
	return e.SignIn + "?return=" + url.QueryEscape(back)
}

// Status returns the HTTP status for err's kind. A body over its limit is 413.
func Status(err error) int {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return http.StatusRequestEntityTooLarge
	}
	switch problem.KindOf(err) {
	case problem.Invalid:
		return http.StatusUnprocessableEntity
	case problem.Unauthenticated:
		return http.StatusUnauthorized
	case problem.Forbidden:
		return http.StatusForbidden
	case problem.NotFound:
		return http.StatusNotFound
	case problem.Conflict:
		return http.StatusConflict
	case problem.Throttled:
		return http.StatusTooManyRequests
	case problem.Unavailable:
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}

func retryAfter(err error) time.Duration {
	if p, ok := errors.AsType[*problem.Error](err); ok {
		return p.RetryAfter
	}
	return 0
}

// errorPage is what an error page says.
type errorPage struct {
	Title, Text, Next string
	Icon              string
	Status            int
	RequestID         string
	Fields            []problem.Field
	Actions           []Button
}

func (e Edge) view(r *http.Request, err error, status int) errorPage {
	v := errorPage{Status: status, RequestID: RequestID(r.Context()), Text: problem.Public(err), Fields: problem.FieldsOf(err)}
	if len(v.Fields) == 1 && v.Fields[0].Detail == v.Text {
		v.Fields = nil
	}
	home := Button{Label: "Go to the start page", Href: cmpOr(e.Home, "/"), Variant: Secondary, Icon: "house"}
	again := Button{Label: "Try again", Href: r.URL.RequestURI(), Variant: Primary, Icon: "rotate-ccw"}
	get := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch kind := problem.KindOf(err); {
	case status == http.StatusRequestEntityTooLarge:
		v.Title, v.Icon = "That is too large", "file-text"
		v.Text = "What was sent is larger than this page accepts."
		v.Next = "Send a smaller file, or split it into several."
	case kind == problem.Invalid:
		v.Title, v.Icon = "Something in the request isn't right", "circle-alert"
		v.Next = "Go back, correct it, and send it again."
	case kind == problem.Unauthenticated:
		v.Title, v.Icon = "Please sign in", "lock-keyhole"
		v.Next = "You aren't signed in, or your session has ended."
		if e.SignIn != "" {
			v.Actions = append(v.Actions, Button{Label: "Sign in", Href: e.signIn(r), Variant: Primary, Icon: "log-in"})
		}
	case kind == problem.Forbidden:
		v.Title, v.Icon = "You can't do this", "shield-off"
		v.Next = "If you need it for your work, ask an administrator."
	case kind == problem.NotFound:
		v.Title, v.Icon = "This page doesn't exist", "search"
	case kind == problem.Conflict:
		v.Title, v.Icon = "This has changed in the meantime", "git-compare"
		v.Next = "Open the page again to see how things stand, then repeat what you wanted to do."
	case kind == problem.Throttled:
		v.Title, v.Icon = "Too many tries", "hourglass"
		v.Next = "Wait " + waitText(retryAfter(err)) + ", then try again."
	case kind == problem.Unavailable:
		v.Title, v.Icon = "This isn't available right now", "unplug"
		v.Next = "Nothing was lost. Wait " + waitText(retryAfter(err)) + ", then try again."
	default:
		v.Title, v.Icon = "Something went wrong", "triangle-alert"
	}
	if get && (status >= 500 || status == http.StatusTooManyRequests) {
		v.Actions = append(v.Actions, again)
	}
	v.Actions = append(v.Actions, home)
	return v
}

func waitText(d time.Duration) string {
	switch s := int(math.Ceil(d.Seconds())); {
	case s <= 0:
		return "a moment"
	case s == 1:
		return "one second"
	case s < 120:
		return strconv.Itoa(s) + " seconds"
	default:
		return strconv.Itoa((s+59)/60) + " minutes"
	}
}

func cmpOr(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

// trackingWriter notes whether an answer has begun.
type trackingWriter struct {
	http.ResponseWriter
	wrote bool
}

func (t *trackingWriter) WriteHeader(status int) {
	t.wrote = t.wrote || status >= 200
	t.ResponseWriter.WriteHeader(status)
}

func (t *trackingWriter) Write(b []byte) (int, error) {
	t.wrote = true
	return t.ResponseWriter.Write(b)
}

// Unwrap serves http.ResponseController.
func (t *trackingWriter) Unwrap() http.ResponseWriter { return t.ResponseWriter }
