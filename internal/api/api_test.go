package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/api"
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
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
	"github.com/latchkey-idp/latchkey/internal/work"
)

var update = flag.Bool("update", false, "write golden files")

// house is an installation with its API and a key per role.
type house struct {
	t      *testing.T
	db     *store.DB
	dir    *directory.Directory
	apps   *app.Applications
	authn  *authn.Authn
	engine *provision.Engine
	signOn *idp.IDP
	fetch  func(context.Context, app.Request) (app.Answer, error)
	mail   *mail.Mailer
	api    *api.API
	server *httptest.Server
	keys   map[access.Role]string
	log    *bytes.Buffer
	mu     sync.Mutex
	ahead  time.Duration
}

func (h *house) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Now().Add(h.ahead)
}

func (h *house) later(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ahead += d
}

func newHouse(t *testing.T) *house {
	t.Helper()
	return newHouseOn(t, storetest.SQLite(t))
}

func newHouseOn(t *testing.T, db *store.DB) *house {
	t.Helper()
	h := &house{t: t, db: db, keys: map[access.Role]string{}, log: &bytes.Buffer{}}
	cat, err := catalog.Builtin()
	h.must(err)
	sealer, err := keys.NewSealer(make([]byte, keys.MasterKeySize))
	h.must(err)
	h.dir = directory.New(h.db, h.now)
	h.apps = app.New(app.Config{
		DB: h.db, Catalog: cat, Pairs: keys.NewPairs(sealer, h.now), Sealer: sealer, PublicURL: "https://id.example.org", Now: h.now,
		Fetch: func(ctx context.Context, r app.Request) (app.Answer, error) {
			if h.fetch == nil {
				return app.Answer{}, problem.New(problem.Unavailable, "nobody answers")
			}
			return h.fetch(ctx, r)
		},
	})
	h.authn, err = authn.New(authn.Config{DB: h.db, Directory: h.dir, Now: h.now, Argon2: authn.Argon2{Memory: 64, Passes: 1, Threads: 1}})
	h.must(err)
	log := slog.New(slog.NewTextHandler(h.log, nil))
	pool := work.NewPool(h.db, slog.New(slog.DiscardHandler), h.now)
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{}}
	h.engine = provision.New(provision.Config{
		DB: h.db, Catalog: cat, Apps: h.apps, Directory: h.dir, Pool: pool, HTTP: client, Version: "test", Now: h.now, Log: slog.New(slog.DiscardHandler),
	})
	pairs := keys.NewPairs(sealer, h.now)
	h.signOn = idp.New(idp.Config{
		DB: h.db, Apps: h.apps, Authn: h.authn, Catalog: cat, Pairs: pairs, PublicURL: "https://id.example.org", Now: h.now,
		ClientAddress: func(*http.Request) string { return "192.0.2.7" },
	})
	h.mail = mail.New(mail.Config{DB: h.db, Sealer: sealer, Pool: pool, Now: h.now, Sender: &mail.Folder{Dir: t.TempDir(), From: "id@example.org"}})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() { _ = pool.Run(ctx) })
	wg.Go(func() { _ = h.engine.Run(ctx) })
	wg.Go(func() { _ = h.signOn.Run(ctx) })
	h.api = api.New(api.Config{
		SignOn: h.signOn, Mail: h.mail, DB: h.db, Directory: h.dir, Apps: h.apps, Authn: h.authn, Engine: h.engine, Log: audit.NewLog(h.db), Catalog: cat, Version: "1.2.3", Now: h.now,
		Logger: log, ClientAddress: func(*http.Request) string { return "192.0.2.7" },
	})
	h.server = httptest.NewServer(h.api)
	t.Cleanup(func() {
		h.server.Close()
		cancel()
		wg.Wait()
		client.CloseIdleConnections()
	})
	for _, r := range access.Roles() {
		_, secret, err := h.authn.CreateAPIKey(t.Context(), access.SystemActor(""), "key of "+string(r), r, time.Time{})
		h.must(err)
		h.keys[r] = secret.Reveal()
	}
	return h
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// reply is an answer to a request.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// json decodes the body as an object.
func (r reply) json(t *testing.T) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal(r.body, &out); err != nil {
		t.Fatalf("body %q: %v", r.body, err)
	}
	return out
}

func (r reply) text(t *testing.T, name string) string {
	t.Helper()
	s, _ := r.json(t)[name].(string)
	return s
}

func (r reply) items(t *testing.T) []map[string]any {
	t.Helper()
	var out struct{ Items []map[string]any }
	if err := json.Unmarshal(r.body, &out); err != nil || out.Items == nil {
		t.Fatalf("no list: %s (%v)", r.body, err)
	}
	return out.Items
}

// send sends a request as a role. body is nil, a string as it is, or a value to send as JSON.
// headers are names and values in turn.
func (h *house) send(t *testing.T, role access.Role, method, path string, body any, headers ...string) reply {
	t.Helper()
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		r = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, h.server.URL+path, r)
	if err != nil {
		t.Fatal(err)
	}
	if key := h.keys[role]; key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := h.server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	out := reply{res.StatusCode, res.Header, raw}
	checkShape(t, method+" "+path, out)
	return out
}

// want sends as owner and expects a status.
func (h *house) want(t *testing.T, status int, method, path string, body any, headers ...string) reply {
	t.Helper()
	return h.wantAs(t, access.Owner, status, method, path, body, headers...)
}

func (h *house) wantAs(t *testing.T, role access.Role, status int, method, path string, body any, headers ...string) reply {
	t.Helper()
	r := h.send(t, role, method, path, body, headers...)
	if r.status != status {
		t.Fatalf("%s %s: status %d, want %d: %s", method, path, r.status, status, r.body)
	}
	return r
}

// checkShape looks at what every answer has to be.
func checkShape(t *testing.T, what string, r reply) {
	t.Helper()
	if r.header.Get("X-Request-Id") == "" {
		t.Errorf("%s: no request id", what)
	}
	if r.status == http.StatusNoContent {
		if len(r.body) > 0 {
			t.Errorf("%s: 204 with a body", what)
		}
		return
	}
	ct := r.header.Get("Content-Type")
	if strings.HasPrefix(ct, "image/") {
		return
	}
	var v any
	if err := json.Unmarshal(r.body, &v); err != nil {
		t.Errorf("%s: status %d, body isn't JSON: %q", what, r.status, r.body)
		return
	}
	noNull(t, what, "", v)
	if r.status < 400 {
		if ct != "application/json" {
			t.Errorf("%s: content type %q", what, ct)
		}
		return
	}
	if ct != "application/problem+json" {
		t.Errorf("%s: content type %q", what, ct)
	}
	var p api.Problem
	if err := json.Unmarshal(r.body, &p); err != nil || p.Status != r.status || !strings.HasPrefix(p.Type, "urn:latchkey:problem:") || p.Title == "" || p.Detail == "" || p.RequestID == "" {
		t.Errorf("%s: incomplete problem: %s", what, r.body)
	}
}

// noNull finds null where a program would expect a list, and what the framework adds unasked.
func noNull(t *testing.T, what, path string, v any) {
	t.Helper()
	switch v := v.(type) {
	case nil:
		if !strings.Contains(path, ".changes[") {
			t.Errorf("%s: %s is null", what, path)
		}
	case map[string]any:
		if _, ok := v["$schema"]; ok && path == "" {
			t.Errorf("%s: $schema was added", what)
		}
		for name, x := range v {
			noNull(t, what, path+"."+name, x)
		}
	case []any:
		for i, x := range v {
			noNull(t, what, fmt.Sprintf("%s[%d]", path, i), x)
		}
	}
}

func fieldsOf(t *testing.T, r reply) []string {
	t.Helper()
	var p api.Problem
	if err := json.Unmarshal(r.body, &p); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range p.Errors {
		out = append(out, f.Name)
		if !strings.HasSuffix(f.Detail, ".") {
			t.Errorf("field %s: %q isn't a sentence", f.Name, f.Detail)
		}
	}
	return out
}

func (h *house) user(t *testing.T, email string) reply {
	t.Helper()
	return h.want(t, 201, "POST", "/api/v1/users", map[string]any{"email": email, "givenName": "Ada", "familyName": "Lovelace", "state": "active"})
}

func TestOpenAPIDocument(t *testing.T) {
	h := newHouse(t)
	r := h.send(t, "", "GET", "/api/openapi.json", nil)
	golden := "openapi.json"
	// The version changes with every release and says nothing about the operations.
	got := bytes.Replace(r.body, []byte(`"version": "1.2.3"`), []byte(`"version": "dev"`), 1)
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(filepath.Clean(golden))
	if err != nil {
		t.Fatalf("%v (write it with -update)", err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("openapi.json is out of date, run go test ./internal/api -update (-golden +now):\n%s", d)
	}
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string
			Summary     string
			Tags        []string
			Security    []map[string][]string
		}
	}
	if err := json.Unmarshal(r.body, &doc); err != nil || !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Fatalf("OpenAPI %q, %v", doc.OpenAPI, err)
	}
	ids := map[string]bool{}
	for path, ops := range doc.Paths {
		for method, op := range ops {
			if op.OperationID == "" || ids[op.OperationID] || op.Summary == "" || len(op.Tags) != 1 || len(op.Security) != 1 {
				t.Errorf("%s %s: id, summary, tag or security is missing or not unique: %+v", method, path, op)
			}
			ids[op.OperationID] = true
		}
	}
	if len(ids) < 60 {
		t.Errorf("only %d operations", len(ids))
	}
	for _, path := range []string{"/docs", "/api/docs", "/openapi.json", "/schemas/User.json", "/api/openapi.yaml", "/api/schemas/User.json"} {
		if r := h.send(t, access.Owner, "GET", path, nil); r.status != 404 {
			t.Errorf("%s answers %d", path, r.status)
		}
	}
}

func TestWhoMayCome(t *testing.T) {
	h := newHouse(t)
	for name, c := range map[string]struct {
		header string
		status int
	}{
		"nothing":        {"", 401},
		"other scheme":   {"Basic b3duZXI6eA==", 401},
		"no token":       {"Bearer ", 401},
		"unknown key":    {"Bearer lk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 401},
		"truncated":      {"Bearer " + h.keys[access.Owner][:20], 401},
		"lower case":     {"bearer " + h.keys[access.Owner], 200},
		"a usual header": {"Bearer " + h.keys[access.ReadOnly], 200},
	} {
		t.Run(name, func(t *testing.T) {
			r := h.send(t, "", "GET", "/api/v1/me", nil, "Authorization", c.header)
			if r.status != c.status {
				t.Errorf("status %d: %s", r.status, r.body)
			}
			if r.status == 401 && !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Bearer") {
				t.Error("no WWW-Authenticate")
			}
			if strings.Contains(string(r.body), "lk_A") {
				t.Error("the key was repeated")
			}
		})
	}
	// Not even whether an operation exists is told without a key.
	if r := h.send(t, "", "GET", "/api/v1/nothing", nil); r.status != 401 {
		t.Errorf("status %d", r.status)
	}
	me := h.wantAs(t, access.HelpDesk, 200, "GET", "/api/v1/me", nil).json(t)
	if me["role"] != "help_desk" || me["kind"] != "api_key" {
		t.Errorf("me: %v", me)
	}
	// A revoked key ends at once.
	k := h.want(t, 201, "POST", "/api/v1/api-keys", map[string]any{"name": "script", "role": "read_only"})
	auth := "Bearer " + k.text(t, "secret")
	h.wantAs(t, "", 200, "GET", "/api/v1/users", nil, "Authorization", auth)
	h.want(t, 204, "DELETE", "/api/v1/api-keys/"+k.text(t, "id"), nil)
	h.wantAs(t, "", 401, "GET", "/api/v1/users", nil, "Authorization", auth)
	keys := h.want(t, 200, "GET", "/api/v1/api-keys", nil)
	if len(keys.items(t)) != 5 || strings.Contains(string(keys.body), "secret") {
		t.Errorf("keys: %s", keys.body)
	}
	h.want(t, 404, "DELETE", "/api/v1/api-keys/none", nil)
	h.wantAs(t, access.Administrator, 403, "POST", "/api/v1/api-keys", map[string]any{"name": "x", "role": "owner"})
	if got := fieldsOf(t, h.want(t, 422, "POST", "/api/v1/api-keys", map[string]any{})); len(got) != 2 {
		t.Errorf("fields %v", got)
	}
}

func TestAddressesThatAreNone(t *testing.T) {
	h := newHouse(t)
	h.want(t, 404, "GET", "/api/v1/nothing", nil)
	h.want(t, 404, "GET", "/api/v2/users", nil)
	h.want(t, 404, "GET", "/api/", nil)
	r := h.want(t, 405, "PUT", "/api/v1/users", map[string]any{})
	if allow := r.header.Get("Allow"); !strings.Contains(allow, "GET") || !strings.Contains(allow, "POST") {
		t.Errorf("Allow is %q", allow)
	}
}

func TestUnfitRequestsAreToldWhyAndNotRepeated(t *testing.T) {
	h := newHouse(t)
	id := h.user(t, "ada@example.com").text(t, "id")
	const secret = "hunter2-hunter2"
	big := `{"email":"` + strings.Repeat("x", 1<<20) + `"}`
	for name, c := range map[string]struct {
		method, path string
		body         any
		header       []string
		status       int
		fields       []string
	}{
		"no JSON":              {"POST", "/api/v1/users", `{"email":"` + secret, nil, 400, nil},
		"no body":              {"POST", "/api/v1/users", nil, nil, 400, nil},
		"a list":               {"POST", "/api/v1/users", `["` + secret + `"]`, nil, 422, []string{"body"}},
		"unknown field":        {"POST", "/api/v1/users", map[string]any{"email": "x@example.com", "password": secret}, nil, 422, []string{"password"}},
		"wrong type":           {"POST", "/api/v1/users", map[string]any{"email": []string{secret}}, nil, 422, []string{"email"}},
		"wrong state":          {"POST", "/api/v1/users", map[string]any{"email": "x@example.com", "state": secret}, nil, 422, []string{"state"}},
		"bad values":           {"POST", "/api/v1/users", map[string]any{"email": secret, "timezone": secret}, nil, 422, []string{"email", "timezone"}},
		"too large":            {"POST", "/api/v1/users", big, nil, 413, nil},
		"other content type":   {"POST", "/api/v1/users", `<user/>`, []string{"Content-Type", "application/xml"}, 415, nil},
		"password too weak":    {"PUT", "/api/v1/users/" + id + "/password", map[string]any{"password": "hunter2"}, nil, 422, []string{"password"}},
		"password, wrong type": {"PUT", "/api/v1/users/" + id + "/password", map[string]any{"password": map[string]any{"a": secret}}, nil, 422, []string{"password"}},
		"no password":          {"PUT", "/api/v1/users/" + id + "/password", map[string]any{}, nil, 422, []string{"body"}},
		"unknown parameter":    {"GET", "/api/v1/users?txt=" + secret, nil, nil, 422, []string{"txt"}},
		"limit no number":      {"GET", "/api/v1/users?limit=" + secret, nil, nil, 422, []string{"limit"}},
		"limit too large":      {"GET", "/api/v1/users?limit=5000", nil, nil, 422, []string{"limit"}},
		"bad cursor":           {"GET", "/api/v1/users?cursor=" + secret, nil, nil, 422, []string{"cursor"}},
		"bad time":             {"GET", "/api/v1/events?from=" + secret, nil, nil, 422, []string{"from"}},
		"patch no JSON":        {"PATCH", "/api/v1/users/" + id, secret, nil, 400, nil},
		"patch a list":         {"PATCH", "/api/v1/users/" + id, `["` + secret + `"]`, nil, 400, nil},
		"patch null":           {"PATCH", "/api/v1/users/" + id, `null`, nil, 400, nil},
		"patch unknown field":  {"PATCH", "/api/v1/users/" + id, map[string]any{"state": secret}, nil, 422, []string{"state"}},
		"patch wrong type":     {"PATCH", "/api/v1/users/" + id, map[string]any{"title": map[string]any{"a": secret}}, nil, 422, []string{"title"}},
		"patch too large":      {"PATCH", "/api/v1/users/" + id, big, nil, 413, nil},
		"patch as text":        {"PATCH", "/api/v1/users/" + id, `{}`, []string{"Content-Type", "text/plain"}, 415, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := h.send(t, access.Owner, c.method, c.path, c.body, c.header...)
			if r.status != c.status {
				t.Fatalf("status %d, want %d: %s", r.status, c.status, r.body)
			}
			if d := cmp.Diff(c.fields, fieldsOf(t, r)); d != "" {
				t.Errorf("fields (-want +got):\n%s\n%s", d, r.body)
			}
			if strings.Contains(string(r.body), "hunter2") || strings.Contains(h.log.String(), "hunter2") {
				t.Errorf("what was sent is repeated: %s\n%s", r.body, h.log)
			}
		})
	}
}

func TestFailureOfOursIsLoggedAndNotShown(t *testing.T) {
	h := newHouse(t)
	h.must(h.db.Update(t.Context(), func(tx *store.Tx) error { _, err := tx.Exec(`DROP TABLE memberships`); return err }))
	r := h.send(t, access.Owner, "GET", "/api/v1/groups", nil)
	if r.status != 500 || strings.Contains(string(r.body), "memberships") {
		t.Errorf("status %d: %s", r.status, r.body)
	}
	if !strings.Contains(h.log.String(), "memberships") || !strings.Contains(h.log.String(), r.text(t, "requestId")) {
		t.Errorf("the log doesn't tell: %s", h.log)
	}
}

type UserID = directory.UserID

func errorsAs(err error, p **api.Problem) bool { return errors.As(err, p) }
