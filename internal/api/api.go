// Package api is the REST door for programs: /api/v1, described by /api/openapi.json. It hides
// how requests are authenticated, checked, answered and made safe to repeat; each operation
// calls one method of a domain package, the same that the console calls.
//
// Conventions of all operations: JSON with camelCase names; lists in pages ("items", and "next"
// as the cursor of the next page); errors as RFC 9457 problem details that never repeat what
// was sent; PATCH takes a JSON merge patch (RFC 7396); ETag and If-Match keep two editors from
// overwriting each other; Idempotency-Key makes a POST safe to repeat.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/idp"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/mail"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// Config is what the API works with. All fields are needed.
type Config struct {
	DB        *store.DB
	Directory *directory.Directory
	Apps      *app.Applications
	Authn     *authn.Authn
	Engine    *provision.Engine
	Log       *audit.Log
	Catalog   *catalog.Catalog
	SignOn    *idp.IDP
	Mail      *mail.Mailer
	// Version is the program's, told in the OpenAPI document.
	Version string
	Now     func() time.Time
	// Logger receives failures that aren't the caller's fault.
	Logger *slog.Logger
	// ClientAddress returns the address that a request came from, without port.
	ClientAddress func(*http.Request) string
}

// API answers everything below /api/. It is safe for concurrent use.
type API struct {
	Config
	mux  *http.ServeMux
	huma huma.API
	// document is /api/openapi.json.
	document []byte
	// tidied is when old answers were last forgotten, in seconds since 1970.
	tidied atomic.Int64
}

// Prefix begins the path of every operation.
const Prefix = "/api/v1"

// New returns the API.
func New(c Config) *API {
	a := &API{Config: c, mux: http.NewServeMux()}
	if a.Logger == nil {
		a.Logger = slog.New(slog.DiscardHandler)
	}
	replaceErrors()
	a.huma = humago.New(a.mux, describe(c.Version))
	a.routes()
	a.document = a.openAPI()
	return a
}

// routes is the list of all operations, a function per subject.
func (a *API) routes() {
	a.userRoutes()
	a.groupRoutes()
	a.applicationRoutes()
	a.samlRoutes()
	a.scimRoutes()
	a.provisioningRoutes()
	a.receiptRoutes()
	a.eventRoutes()
	a.keyRoutes()
	a.mailRoutes()
}

// ServeHTTP authenticates a request and answers it.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := web.RequestID(r.Context())
	if id == "" {
		id = store.NewID()
		w.Header().Set("X-Request-Id", id)
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.URL.Path == "/api/openapi.json" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-cache")
		_, _ = w.Write(a.document)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	r = r.WithContext(context.WithValue(r.Context(), requestKey, request{id: id, method: r.Method, path: r.URL.Path}))
	if !strings.HasPrefix(r.URL.Path, Prefix+"/") {
		a.refuse(w, r, problem.New(problem.NotFound, "There is nothing at this address. Operations are below %s; /api/openapi.json describes them.", Prefix))
		return
	}
	secret, ok := bearer(r)
	if !ok {
		a.refuse(w, r, problem.New(problem.Unauthenticated, "Send an API key in the header: Authorization: Bearer lk_…"))
		return
	}
	by, err := a.Authn.APIKeyActor(r.Context(), secret, a.ClientAddress(r), id)
	if err != nil {
		a.refuse(w, r, err)
		return
	}
	r = r.WithContext(context.WithValue(r.Context(), actorKey, by))
	h, pattern := a.mux.Handler(r)
	if pattern == "" {
		a.refuseRoute(w, r, h)
		return
	}
	if key := r.Header.Get("Idempotency-Key"); key != "" && r.Method == http.MethodPost && !neverStored[pattern] {
		a.once(w, r, by, secret, key, pattern)
		return
	}
	// Through the mux, which fills in the path's values.
	a.mux.ServeHTTP(w, r)
}

type contextKey int

const (
	actorKey contextKey = iota
	requestKey
)

// request is what a failure is logged with.
type request struct{ id, method, path string }

func requestOf(ctx context.Context) request {
	v, _ := ctx.Value(requestKey).(request)
	return v
}

// bearer returns the API key of a request (RFC 6750 §2.1).
func bearer(r *http.Request) (keys.Secret, bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	return keys.Secret(token), ok && strings.EqualFold(scheme, "Bearer") && token != ""
}

// refuseRoute answers a request that no route takes; h is the mux's own answer.
func (a *API) refuseRoute(w http.ResponseWriter, r *http.Request, h http.Handler) {
	own := newRecorder()
	h.ServeHTTP(own, r)
	p := newProblem(problem.NotFound, "There is no such operation. /api/openapi.json lists them all.")
	if own.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", own.header.Get("Allow"))
		p.Status, p.Detail = own.status, "This address doesn't take this method. It takes "+own.header.Get("Allow")+"."
		p.Title = http.StatusText(p.Status)
	}
	p.RequestID = requestOf(r.Context()).id
	p.write(w)
}

// refuse answers a request with an error, outside of the operations.
func (a *API) refuse(w http.ResponseWriter, r *http.Request, err error) {
	p := a.failure(r.Context(), err)
	maps.Copy(w.Header(), p.GetHeaders())
	p.write(w)
}

// operation describes a route.
type operation struct {
	method, path string
	// id is unique, in lower case with hyphens.
	id, tag, summary, text string
	// status is that of success: 200 if zero.
	status int
	// body describes a request body that the operation reads itself.
	body *huma.RequestBody
	// responses describes answers that aren't JSON.
	responses map[string]*huma.Response
	// size bounds the body, when the default of 1 MiB doesn't fit.
	size int64
	// needs is asked for first where the domain would look at something else before.
	needs access.Permission
}

// route registers an operation. fn is given who acts.
func route[I, O any](a *API, op operation, fn func(ctx context.Context, by access.Actor, in *I) (*O, error)) {
	o := huma.Operation{
		OperationID: op.id, Method: op.method, Path: Prefix + op.path, Summary: op.summary, Description: op.text, Tags: []string{op.tag},
		DefaultStatus: op.status, Responses: op.responses, MaxBodyBytes: op.size,
		Security: []map[string][]string{{"apiKey": {}}},
	}
	huma.Register(a.huma, o, func(ctx context.Context, in *I) (*O, error) {
		by, ok := ctx.Value(actorKey).(access.Actor)
		if !ok {
			return nil, a.failure(ctx, errors.New("api: an operation was reached without an actor"))
		}
		if op.needs != "" {
			if err := access.Allow(by, op.needs); err != nil {
				return nil, a.failure(ctx, err)
			}
		}
		out, err := fn(ctx, by, in)
		if err != nil {
			return nil, a.failure(ctx, err)
		}
		return out, nil
	})
	if op.body != nil {
		// Described only now, or the framework would read it.
		item := a.huma.OpenAPI().Paths[o.Path]
		for _, x := range []*huma.Operation{item.Post, item.Put, item.Patch} {
			if x != nil && x.OperationID == op.id {
				x.RequestBody = op.body
			}
		}
	}
}

// answer is a JSON answer.
type answer[T any] struct {
	ETag     string `header:"ETag"`
	Location string `header:"Location"`
	Body     T
}

func reply[T any](v T) *answer[T] { return &answer[T]{Body: v} }

// list is the answer of a list.
type list[T any] = answer[List[T]]

// List is one page of a list.
type List[T any] struct {
	Items []T `json:"items" doc:"The items of this page."`
	// Next is the cursor of the next page; "" on the last one.
	Next string `json:"next,omitempty" doc:"Cursor of the next page. It is missing on the last one."`
	// Total is how many items there are on all pages; nil where it isn't counted.
	Total *int `json:"total,omitempty" doc:"How many items there are on all pages. It is missing where counting would take too long."`
}

// page turns a page of the domain's into one of ours.
func page[T, U any](p store.Page[T], wire func(T) U, err error) (*list[U], error) {
	if err != nil {
		return nil, err
	}
	out := &list[U]{Body: List[U]{Items: each(p.Items, wire), Next: p.Next}}
	if p.Total >= 0 {
		out.Body.Total = &p.Total
	}
	return out, nil
}

// all is the answer of a list that has only one page.
func all[T, U any](items []T, wire func(T) U, err error) (*list[U], error) {
	return page(store.Page[T]{Items: items, Total: len(items)}, wire, err)
}

// each converts items. It never returns nil: lists are never null.
func each[T, U any](items []T, wire func(T) U) []U {
	out := make([]U, len(items))
	for i, x := range items {
		out[i] = wire(x)
	}
	return out
}

func same[T any](v T) T { return v }

// orEmpty keeps a list from being null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// Paging holds the parameters of every list.
type Paging struct {
	Cursor string `query:"cursor" doc:"Next of the page before."`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" doc:"Size of a page. Default 50."`
}

// etag returns a version as entity tag.
func etag(version int64) string { return fmt.Sprintf(`"%d"`, version) }

// Precondition is the parameter of operations that change something with a version.
type Precondition struct {
	IfMatch string `header:"If-Match" doc:"ETag of what was read: the change is refused with 412 when somebody else changed it since."`
}

// version returns the version that the caller wants to change; 0 if any.
func (m Precondition) version() (int64, error) {
	tag := strings.TrimSpace(m.IfMatch)
	if tag == "" || tag == "*" {
		return 0, nil
	}
	var v int64
	if n, err := fmt.Sscanf(strings.TrimPrefix(tag, "W/"), `"%d"`, &v); err != nil || n != 1 || v <= 0 || etag(v) != strings.TrimPrefix(tag, "W/") {
		return 0, errStale
	}
	return v, nil
}

// errStale says that If-Match doesn't match (RFC 9110 §13.1.1).
var errStale = &Problem{
	Type: kindURI(problem.Conflict), Title: http.StatusText(http.StatusPreconditionFailed), Status: http.StatusPreconditionFailed,
	Detail: "Somebody else changed this since you read it. Read it again and repeat your change.",
}

// stale turns the domain's complaint about a version into errStale.
func stale(err error, version int64) error {
	if version != 0 && problem.Is(err, problem.Conflict) && len(problem.FieldsOf(err)) == 0 {
		return errStale
	}
	return err
}

// openAPI writes the document once.
func (a *API) openAPI() []byte {
	explain(a.huma.OpenAPI().Components.Schemas.Map())
	raw, err := json.MarshalIndent(a.huma.OpenAPI(), "", "  ")
	if err != nil {
		panic("api: the OpenAPI document can't be written: " + err.Error())
	}
	return append(raw, '\n')
}
