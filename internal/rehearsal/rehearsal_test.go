package rehearsal

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// clock is a clock that tests move by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// stage is a site on a real listener, with a directory whose provisioning is set up.
type stage struct {
	*testing.T
	site  *Site
	clock *clock
	url   string
	dir   Directory
	base  string
	key   string
}

func newStage(t *testing.T) *stage { return newStageOf(t, Config{}) }

func newStageOf(t *testing.T, cfg Config) *stage {
	t.Helper()
	c := &clock{now: time.Date(2026, 3, 1, 9, 0, 0, 123456789, time.UTC)}
	cfg.Now, cfg.Log = c.Now, slog.New(slog.DiscardHandler)
	site, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(site.Handler())
	t.Cleanup(func() {
		if err := site.Close(); err != nil {
			t.Error(err)
		}
		srv.Close()
	})
	site.SetBaseURL(srv.URL)
	st := &stage{T: t, site: site, clock: c, url: srv.URL}
	must(t, second(site.AddDomain("acme.test")))
	must(t, site.VerifyDomain("acme.test"))
	st.dir, err = site.CreateDirectory("Latchkey")
	must(t, err)
	must(t, site.LinkDomain("acme.test", st.dir.ID))
	p, err := site.SetUpProvisioning(st.dir.ID)
	must(t, err)
	st.base, st.key = p.BaseURL, p.APIKey
	return st
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func second[T any](_ T, err error) error { return err }

// reply is an answer with its decoded body.
type reply struct {
	status int
	header http.Header
	text   string
	body   map[string]any
}

func (r reply) str(name string) string {
	s, _ := r.body[name].(string)
	return s
}

func (r reply) resources() []map[string]any {
	list, _ := r.body["Resources"].([]any)
	out := make([]map[string]any, 0, len(list))
	for _, v := range list {
		m, _ := v.(map[string]any)
		out = append(out, m)
	}
	return out
}

// members lists the ids of a group's members.
func (r reply) members() []string {
	list, _ := r.body["members"].([]any)
	out := make([]string, 0, len(list))
	for _, v := range list {
		m, _ := v.(map[string]any)
		id, _ := m["value"].(string)
		out = append(out, id)
	}
	return out
}

func (st *stage) do(method, path, body string) reply {
	st.Helper()
	return st.send(method, st.base+path, st.key, body)
}

func (st *stage) send(method, url, key, body string) reply {
	st.Helper()
	r, err := st.try(method, url, key, body)
	if err != nil {
		st.Fatal(err)
	}
	return r
}

func (st *stage) try(method, url, key, body string) (reply, error) {
	req, err := http.NewRequestWithContext(st.Context(), method, url, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/scim+json; charset=utf-8")
	}
	req.Header.Set("User-Agent", "rehearsal-test")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{}, err
	}
	out := reply{status: resp.StatusCode, header: resp.Header, text: string(data)}
	_ = json.NewDecoder(bytes.NewReader(data)).Decode(&out.body) // HTML bodies have no JSON
	return out, nil
}

// want checks the status, and the detail when one is given.
func (st *stage) want(r reply, status int, detail string) {
	st.Helper()
	if r.status != status {
		st.Fatalf("status %d, want %d: %s", r.status, status, r.text)
	}
	if detail != "" && r.str("detail") != detail {
		st.Fatalf("detail %q, want %q", r.str("detail"), detail)
	}
}

func userBody(userName, email string, more string) string {
	b := `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"` + userName +
		`","emails":[{"value":"` + email + `","type":"work","primary":true}]`
	if more != "" {
		b += "," + more
	}
	return b + "}"
}

func patchBody(ops string) string {
	return `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[` + ops + `]}`
}

// user creates a user and returns the answer.
func (st *stage) user(name string) reply {
	st.Helper()
	r := st.do("POST", "/Users", userBody(name, name+"@acme.test", `"externalId":"ext-`+name+`","name":{"givenName":"Ada","familyName":"`+name+`"},"title":"Engineer"`))
	st.want(r, 201, "")
	return r
}

func (st *stage) group(name string) reply {
	st.Helper()
	r := st.do("POST", "/Groups", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"`+name+`"}`)
	st.want(r, 201, "")
	return r
}

func accountID(r reply) string {
	ext, _ := r.body[urnExternal].(map[string]any)
	id, _ := ext["atlassianAccountId"].(string)
	return id
}

func (st *stage) account(ref string) Account {
	st.Helper()
	a, err := st.site.Account(ref)
	must(st.T, err)
	return a
}
