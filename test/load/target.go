package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/latchkey-idp/latchkey/internal/scim"
)

const targetToken = "load-token"

// target is a SCIM service provider that does as little as it can and sets no limits. It keeps
// users as the text they came in, and refuses with 409 what would be there twice.
type target struct {
	server *http.Server
	base   string

	mu       sync.Mutex
	token    string
	judge    judge             // looks at a request first; nil lets all pass
	users    map[string][]byte // by id
	order    []string
	names    map[string]string // user name to id
	external map[string]string
	groups   map[string]*remoteGroup
	byName   map[string]string
	sequence int

	counts    map[string]int // requests by method and kind
	conflicts int
	first     time.Time // of the requests since reset
	last      time.Time
	seen      chan patched // writes to users, for whoever watches; nil otherwise
	faulty    error        // the first request that couldn't be handled
}

type remoteGroup struct {
	name    string
	members map[string]bool
}

// patched is a write to one user, by our id of the person.
type patched struct {
	person string
	at     time.Time
}

func newTarget(ctx context.Context) (*target, error) {
	t := &target{
		token: targetToken, users: map[string][]byte{}, names: map[string]string{}, external: map[string]string{},
		groups: map[string]*remoteGroup{}, byName: map[string]string{}, counts: map[string]int{},
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t.base = "http://" + l.Addr().String() + "/scim"
	t.server = &http.Server{Handler: t, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = t.server.Serve(l) }()
	return t, nil
}

func (t *target) close() error { return t.server.Close() }

// reset forgets what was counted.
func (t *target) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts, t.first, t.last = map[string]int{}, time.Time{}, time.Time{}
}

// empty forgets everything.
func (t *target) empty() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.users, t.names, t.external, t.order = map[string][]byte{}, map[string]string{}, map[string]string{}, nil
	t.groups, t.byName = map[string]*remoteGroup{}, map[string]string{}
	t.counts, t.first, t.last, t.conflicts = map[string]int{}, time.Time{}, time.Time{}, 0
}

// requests returns how many requests came since reset, and how many of them wrote.
func (t *target) requests() (all, writes int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, n := range t.counts {
		all += n
		if !strings.HasPrefix(k, http.MethodGet) {
			writes += n
		}
	}
	return all, writes
}

func (t *target) breakdown() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimPrefix(fmt.Sprint(t.counts), "map")
}

// span is when the first and the last request since reset came.
func (t *target) span() (first, last time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.first, t.last
}

// watch tells every write to a user until it is called with nil.
func (t *target) watch(seen chan patched) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen = seen
}

func (t *target) size() (users, groups, members int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, g := range t.groups {
		members += len(g.members)
	}
	return len(t.users), len(t.groups), members
}

// exact reports whether there are users by exactly these names, in groups by exactly these names
// with exactly these members.
func (t *target) exact(teams map[string][]string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.faulty != nil {
		return t.faulty
	}
	total := 0
	for name, people := range teams {
		g := t.groups[t.byName[name]]
		if g == nil {
			return fmt.Errorf("group %s is missing", name)
		}
		if len(g.members) != len(people) {
			return fmt.Errorf("group %s has %d members, not %d", name, len(g.members), len(people))
		}
		for _, p := range people {
			if !g.members[t.names[p]] || t.names[p] == "" {
				return fmt.Errorf("%s is missing in group %s", p, name)
			}
		}
		total += len(people)
	}
	if len(t.groups) != len(teams) || len(t.users) != total {
		return fmt.Errorf("%d users and %d groups, not %d and %d", len(t.users), len(t.groups), total, len(teams))
	}
	return nil
}

var errUnknown = errors.New("load: the target can't do that")

func (t *target) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	path := strings.TrimPrefix(r.URL.Path, "/scim")
	kind, id, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[r.Method+" "+kind]++
	if t.first.IsZero() {
		t.first = now
	}
	t.last = now
	if t.judge != nil {
		if status := t.judge(w, r, body, now); status != 0 {
			w.WriteHeader(status)
			return
		}
	}
	if r.Header.Get("Authorization") != "Bearer "+t.token {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	status, answer, err := t.handle(r, kind, id, body, now)
	if err != nil {
		if t.faulty == nil {
			t.faulty = fmt.Errorf("%s %s %s: %w", r.Method, r.URL, body, err)
		}
		status, answer = http.StatusBadRequest, []byte(`{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"400"}`)
	}
	if len(answer) > 0 {
		w.Header().Set("Content-Type", scim.MediaSCIM)
	}
	w.WriteHeader(status)
	_, _ = w.Write(answer) // the client may be gone
}

func (t *target) handle(r *http.Request, kind, id string, body []byte, now time.Time) (int, []byte, error) {
	switch kind {
	case "Users":
		switch {
		case r.Method == http.MethodPost:
			return t.createUser(body)
		case r.Method == http.MethodGet && id == "":
			return t.list(r.URL.Query(), t.order, func(id string) []byte { return t.users[id] }, func(attribute, value string) string {
				if attribute == "externalId" {
					return t.external[value]
				}
				return t.names[value]
			})
		case t.users[id] == nil:
			return http.StatusNotFound, []byte(`{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"404"}`), nil
		case r.Method == http.MethodGet:
			return http.StatusOK, t.users[id], nil
		case r.Method == http.MethodPatch:
			return t.patchUser(id, body, now)
		}
	case "ServiceProviderConfig":
		return http.StatusOK, []byte(`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],"patch":{"supported":true},"bulk":{"supported":false},"filter":{"supported":true,"maxResults":100},"changePassword":{"supported":false},"sort":{"supported":false},"etag":{"supported":false},"authenticationSchemes":[]}`), nil
	case "Groups":
		switch {
		case r.Method == http.MethodPost:
			return t.createGroup(body)
		case r.Method == http.MethodGet && id == "":
			ids := make([]string, 0, len(t.groups))
			for id := range t.groups {
				ids = append(ids, id)
			}
			return t.list(r.URL.Query(), ids, t.group, func(_, value string) string { return t.byName[value] })
		case t.groups[id] == nil:
			return http.StatusNotFound, []byte(`{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"404"}`), nil
		case r.Method == http.MethodGet:
			return http.StatusOK, t.group(id), nil
		case r.Method == http.MethodPatch:
			return t.patchGroup(id, body)
		}
	}
	return 0, nil, errUnknown
}

const conflict = `{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"409","scimType":"uniqueness"}`

func (t *target) nextID(body []byte) (string, []byte, error) {
	_, after, ok := bytes.Cut(body, []byte{'{'})
	if !ok {
		return "", nil, errUnknown
	}
	t.sequence++
	id := "r" + strconv.Itoa(t.sequence)
	out := make([]byte, 0, len(body)+len(id)+10)
	out = append(out, `{"id":"`+id+`",`...)
	return id, append(out, after...), nil
}

func (t *target) createUser(body []byte) (int, []byte, error) {
	var u struct {
		UserName   string `json:"userName"`
		ExternalID string `json:"externalId"`
	}
	if err := json.Unmarshal(body, &u); err != nil {
		return 0, nil, err
	}
	if t.names[u.UserName] != "" || t.external[u.ExternalID] != "" {
		t.conflicts++
		return http.StatusConflict, []byte(conflict), nil
	}
	id, stored, err := t.nextID(body)
	if err != nil {
		return 0, nil, err
	}
	t.users[id], t.names[u.UserName], t.external[u.ExternalID] = stored, id, id
	t.order = append(t.order, id)
	return http.StatusCreated, stored, nil
}

func (t *target) patchUser(id string, body []byte, now time.Time) (int, []byte, error) {
	before, err := scim.ParseResource(t.users[id])
	if err != nil {
		return 0, nil, err
	}
	p, err := scim.ParsePatch(body)
	if err != nil {
		return 0, nil, err
	}
	after, err := p.Apply(before)
	if err != nil {
		return 0, nil, err
	}
	stored, err := json.Marshal(after)
	if err != nil {
		return 0, nil, err
	}
	t.users[id] = stored
	if t.seen != nil {
		select {
		case t.seen <- patched{person: after.ExternalID(), at: now}:
		default:
		}
	}
	return http.StatusOK, stored, nil
}

func (t *target) createGroup(body []byte) (int, []byte, error) {
	var g struct {
		DisplayName string `json:"displayName"`
		Members     []struct {
			Value string `json:"value"`
		} `json:"members"`
	}
	if err := json.Unmarshal(body, &g); err != nil {
		return 0, nil, err
	}
	if t.byName[g.DisplayName] != "" {
		t.conflicts++
		return http.StatusConflict, []byte(conflict), nil
	}
	id, stored, err := t.nextID(body)
	if err != nil {
		return 0, nil, err
	}
	made := &remoteGroup{name: g.DisplayName, members: map[string]bool{}}
	for _, m := range g.Members {
		made.members[m.Value] = true
	}
	t.groups[id], t.byName[g.DisplayName] = made, id
	return http.StatusCreated, stored, nil
}

func (t *target) group(id string) []byte {
	g := t.groups[id]
	members := make([]map[string]string, 0, len(g.members))
	for m := range g.members {
		members = append(members, map[string]string{"value": m})
	}
	b, err := json.Marshal(map[string]any{"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:Group"}, "id": id, "displayName": g.name, "members": members})
	if err != nil {
		panic(err) // strings always marshal
	}
	return b
}

func (t *target) patchGroup(id string, body []byte) (int, []byte, error) {
	var p struct {
		Operations []struct {
			Op    string          `json:"op"`
			Path  string          `json:"path"`
			Value json.RawMessage `json:"value"`
		}
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return 0, nil, err
	}
	g := t.groups[id]
	for _, op := range p.Operations {
		one, isOne := strings.CutPrefix(op.Path, `members[value eq "`)
		switch op.Op = strings.ToLower(op.Op); {
		case op.Op == "add" && op.Path == "members":
			var members []struct {
				Value string `json:"value"`
			}
			if err := json.Unmarshal(op.Value, &members); err != nil {
				return 0, nil, err
			}
			for _, m := range members {
				if t.users[m.Value] == nil {
					return http.StatusNotFound, []byte(`{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"404"}`), nil
				}
				g.members[m.Value] = true
			}
		case op.Op == "remove" && isOne:
			delete(g.members, strings.TrimSuffix(one, `"]`))
		default:
			return 0, nil, errUnknown
		}
	}
	return http.StatusNoContent, nil, nil
}

// list answers a page, or what a filter of one comparison finds.
func (t *target) list(q url.Values, ids []string, get func(string) []byte, find func(attribute, value string) string) (int, []byte, error) {
	start, count := 1, 100
	if q.Has("startIndex") {
		start, _ = strconv.Atoi(q.Get("startIndex"))
	}
	if q.Has("count") {
		count, _ = strconv.Atoi(q.Get("count"))
	}
	if f := q.Get("filter"); f != "" {
		attribute, rest, ok := strings.Cut(f, " eq ")
		value, err := strconv.Unquote(rest)
		if !ok || err != nil {
			return 0, nil, errUnknown
		}
		ids = nil
		if id := find(attribute, value); id != "" {
			ids = []string{id}
		}
	}
	total := len(ids)
	ids = ids[min(max(start-1, 0), total):min(max(start-1, 0)+min(count, 100), total)]
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:ListResponse"],"totalResults":%d,"startIndex":%d,"itemsPerPage":%d,"Resources":[`, total, start, len(ids))
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(get(id))
	}
	b.WriteString(`]}`)
	return http.StatusOK, b.Bytes(), nil
}
