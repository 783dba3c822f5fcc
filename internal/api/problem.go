package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision"
)

// Problem is the body of every error: RFC 9457 problem details. It never repeats what was sent.
// It is the Client's error, too.
type Problem struct {
	Type   string  `json:"type" doc:"The kind of problem: urn:latchkey:problem: and invalid, unauthenticated, forbidden, not_found, conflict, throttled, unavailable or internal."`
	Title  string  `json:"title" doc:"The status in words."`
	Status int     `json:"status" doc:"The HTTP status."`
	Detail string  `json:"detail" doc:"A sentence for people: what is wrong and what to do."`
	Errors []Field `json:"errors,omitempty" doc:"What is wrong field by field."`
	// RequestID finds the request in the log and its events.
	RequestID string `json:"requestId,omitempty" doc:"Finds the request in the log and among the events."`
	// Plan is what a change would send that wasn't made because its plan wasn't approved.
	Plan *PlanSummary `json:"plan,omitempty" doc:"What the change would send now: it was not made, because its plan has to be approved first."`

	headers http.Header
}

// Field is what is wrong with one field.
type Field struct {
	Name   string `json:"name" doc:"The field as the request names it."`
	Detail string `json:"detail" doc:"A sentence for people."`
}

// Error returns the detail with the fields.
func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.Detail)
	for _, f := range p.Errors {
		if f.Detail == p.Detail {
			b.WriteString(" (" + f.Name + ")")
			continue
		}
		b.WriteString(" " + f.Name + ": " + f.Detail)
	}
	return b.String()
}

// Kind returns the kind of problem, as the domain knows it.
func (p *Problem) Kind() problem.Kind {
	for status, kind := range map[int]problem.Kind{
		http.StatusBadRequest: problem.Invalid, http.StatusUnprocessableEntity: problem.Invalid, http.StatusRequestEntityTooLarge: problem.Invalid,
		http.StatusUnauthorized: problem.Unauthenticated, http.StatusForbidden: problem.Forbidden, http.StatusNotFound: problem.NotFound,
		http.StatusConflict: problem.Conflict, http.StatusPreconditionFailed: problem.Conflict,
		http.StatusTooManyRequests: problem.Throttled, http.StatusServiceUnavailable: problem.Unavailable,
	} {
		if p.Status == status {
			return kind
		}
	}
	return problem.Internal
}

// GetStatus and ContentType serve huma.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is that of RFC 9457 §3.
func (p *Problem) ContentType(string) string { return problemType }

// GetHeaders returns the headers that go with the problem.
func (p *Problem) GetHeaders() http.Header { return p.headers }

const problemType = "application/problem+json"

func (p *Problem) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the caller is gone
}

var statuses = map[problem.Kind]int{
	problem.Internal:        http.StatusInternalServerError,
	problem.Invalid:         http.StatusUnprocessableEntity,
	problem.Unauthenticated: http.StatusUnauthorized,
	problem.Forbidden:       http.StatusForbidden,
	problem.NotFound:        http.StatusNotFound,
	problem.Conflict:        http.StatusConflict,
	problem.Throttled:       http.StatusTooManyRequests,
	problem.Unavailable:     http.StatusServiceUnavailable,
}

func kindURI(k problem.Kind) string { return "urn:latchkey:problem:" + k.String() }

func newProblem(k problem.Kind, detail string) *Problem {
	return &Problem{Type: kindURI(k), Title: http.StatusText(statuses[k]), Status: statuses[k], Detail: detail}
}

// failure turns an error into what the caller is told, and logs it if it isn't the caller's
// fault.
func (a *API) failure(ctx context.Context, err error) *Problem {
	req := requestOf(ctx)
	if u, ok := errors.AsType[*provision.Unapproved](err); ok {
		err = unapproved(u)
	}
	p, told := errors.AsType[*Problem](err)
	if told {
		c := *p
		p = &c
	} else {
		k := problem.KindOf(err)
		p = newProblem(k, problem.Public(err))
		for _, f := range problem.FieldsOf(err) {
			p.Errors = append(p.Errors, Field(f))
		}
		if k == problem.Internal || k == problem.Unavailable {
			a.Logger.Error("an API request failed", slog.String("request_id", req.id), slog.String("method", req.method),
				slog.String("path", req.path), slog.Any("error", err))
		}
		p.headers = http.Header{}
		if e, ok := errors.AsType[*problem.Error](err); ok && e.RetryAfter > 0 {
			p.headers.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Round(time.Millisecond).Seconds()))))
		}
		if k == problem.Unauthenticated {
			p.headers.Set("WWW-Authenticate", `Bearer realm="latchkey"`)
		}
	}
	p.RequestID = req.id
	return p
}

var replaced sync.Once

// replaceErrors gives the framework our form of errors, once for the process: its own repeats
// the values that were sent, passwords among them.
func replaceErrors() {
	replaced.Do(func() {
		huma.NewError = func(status int, msg string, errs ...error) huma.StatusError { return refused(status, errs).about(msg) }
		huma.NewErrorWithContext = func(c huma.Context, status int, msg string, errs ...error) huma.StatusError {
			p := refused(status, errs).about(msg)
			p.RequestID = requestOf(c.Context()).id
			return p
		}
		// A list is never null.
		huma.DefaultArrayNullable = false
	})
}

// about adds what only the framework's message tells.
func (p *Problem) about(msg string) *Problem {
	if p.Status == http.StatusBadRequest && msg == "request body is required" {
		p.Detail = "This operation needs a body."
	}
	return p
}

// refused is the framework's refusal of a request that doesn't fit the operation's description.
func refused(status int, errs []error) *Problem {
	p := newProblem(problem.Invalid, "The request can't be understood.")
	p.Status, p.Title = status, http.StatusText(status)
	switch status {
	case http.StatusBadRequest:
		p.Detail = "The body isn't valid JSON."
		return p
	case http.StatusRequestEntityTooLarge:
		p.Detail = "The body is too large for this operation."
		return p
	case http.StatusUnsupportedMediaType:
		p.Detail = "The body has a content type that this operation doesn't take."
		return p
	case http.StatusRequestTimeout:
		p.Detail = "The body didn't arrive in time. Send it again."
		return p
	case http.StatusNotAcceptable:
		p.Detail = "Answers are JSON only."
		return p
	case http.StatusUnprocessableEntity:
	case http.StatusInternalServerError:
		if len(errs) > 0 && isTooLarge(errs) {
			return refused(http.StatusRequestEntityTooLarge, nil)
		}
		p = newProblem(problem.Internal, problem.Public(nil))
		return p
	default:
		return p
	}
	for _, err := range errs {
		d, ok := err.(huma.ErrorDetailer)
		if !ok {
			if e, isProblem := errors.AsType[*Problem](err); isProblem {
				return e
			}
			continue
		}
		detail := d.ErrorDetail()
		name := detail.Location
		for _, place := range []string{"body.", "query.", "path.", "header."} {
			name = strings.TrimPrefix(name, place)
		}
		p.Errors = append(p.Errors, Field{Name: name, Detail: sentence(detail)})
	}
	if len(p.Errors) == 1 {
		p.Detail = p.Errors[0].Detail
	} else if len(p.Errors) > 1 {
		p.Detail = strconv.Itoa(len(p.Errors)) + " fields need attention."
	}
	return p
}

func isTooLarge(errs []error) bool {
	return slices.ContainsFunc(errs, func(err error) bool {
		_, ok := errors.AsType[*http.MaxBytesError](err)
		return ok
	})
}

// sentence says what the framework found wrong, without the value.
func sentence(d *huma.ErrorDetail) string {
	switch {
	case d.Message == "unexpected property":
		return "There is no such field."
	case d.Message == "unknown query parameter":
		return "There is no such query parameter."
	case strings.HasPrefix(d.Message, "expected value to be one of"), strings.HasPrefix(d.Message, "expected number"), strings.HasPrefix(d.Message, "expected required"),
		strings.HasPrefix(d.Message, "expected string"), strings.HasPrefix(d.Message, "expected array"), strings.HasPrefix(d.Message, "expected boolean"),
		strings.HasPrefix(d.Message, "expected integer"), strings.HasPrefix(d.Message, "expected object"), strings.HasPrefix(d.Message, "required "), strings.HasPrefix(d.Message, "expected length"):
		first, size := utf8.DecodeRuneInString(d.Message)
		return string(unicode.ToUpper(first)) + d.Message[size:] + "."
	}
	return "This value isn't valid here."
}
