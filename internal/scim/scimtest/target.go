// Package scimtest is a small SCIM service provider for tests: it hides storage,
// paging and checks behind an http.Handler whose quirks and faults a test
// switches. It keeps every request, so that a test can say exactly what was sent.
package scimtest

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/scim"
)

// Token is what a target expects unless its quirks say otherwise.
const Token = "scimtest-token"

// Quirks are lasting habits of a target. The zero value follows the RFCs.
type Quirks struct {
	Token    string // bearer token; Token when empty
	BasePath string // where the resources hang, such as "/scim/directory/x"
	PageCap  int    // most resources of a page; 100 when zero
	// Filters lists what a single eq may ask, as "User.userName"; nil allows
	// every filter.
	Filters []string
	// IgnoreFilters answers every filter with all resources.
	IgnoreFilters bool
	// NoPatch answers 501 to PATCH.
	NoPatch bool
	// NoRename refuses a changed displayName of a group (400 mutability).
	NoRename bool
	// RefuseSameEmails answers 400 to a PATCH of emails that changes nothing.
	RefuseSameEmails bool
	// OnePrimary refuses users without exactly one primary e-mail address.
	OnePrimary bool
	// NoContent answers 204 without a body to PATCH and PUT.
	NoContent bool
	// Drop lists attributes that are silently not kept.
	Drop []string
	// LowerEmails keeps e-mail addresses in lower case.
	LowerEmails bool
	// Extension is added to every user, as a target's own decoration.
	Extension map[string]any
	// StatusNumber writes the status of errors as a number.
	StatusNumber bool

	// Kept lists what is kept of a resource, as "User.title", "User.name.formatted" or
	// "Group.members"; all else is silently dropped. A type without an entry keeps everything.
	Kept []string
	// Unshown lists what is kept and never answered, as "User.externalId".
	Unshown []string
	// Required refuses a resource without them (400), as "User.name.familyName" or "Group.externalId".
	// "Group.members" may be an empty list.
	Required []string
	// Fixed refuses changes of these attributes of users (400).
	Fixed []string
	// Single lists attributes that take one element at most (400), as "User.emails".
	Single []string
	// Longest is the most characters of a value (400), as "User.userName".
	Longest map[string]int
	// Spelt gives the names under which attributes are answered, by their right ones.
	Spelt map[string]string
	// EmailIsName answers the user name as emails, in a single object whose primary is a text,
	// and refuses any other address (400).
	EmailIsName bool
	// LowerUserNames keeps user names in lower case.
	LowerUserNames bool
	// ID makes the id of the n-th resource; nil counts.
	ID func(kind scim.ResourceType, n int, r scim.Resource) string

	// NoUserPatch and NoUserPut answer 405 to changes of users in that form, NoGroupPut of groups.
	NoUserPatch, NoUserPut, NoGroupPut bool
	// PatchActiveOnly refuses a PATCH of a user that has anything but active (400).
	PatchActiveOnly bool
	// NoPathFilters refuses a PATCH of a user with a filter in a path (400).
	NoPathFilters bool
	// PutMerges leaves alone what a PUT of a user doesn't carry.
	PutMerges bool
	// InactiveGoes takes away for good a user who is set inactive.
	InactiveGoes bool
	// DeleteDeactivates sets a user inactive in place of deleting.
	DeleteDeactivates bool

	// NoGroups answers 404 to all about groups.
	NoGroups bool
	// GroupsStartEmpty makes groups without the members that the request brings.
	GroupsStartEmpty bool
	// Removal is the only form in which members are removed: "filter" by a path for each,
	// "value" by a list of values; "" takes both.
	Removal string
	// NoMembersReplaced refuses to replace all members or to remove all of them (400).
	NoMembersReplaced bool
	// MostMembers and MostOperations are the most of a PATCH of a group (400).
	MostMembers, MostOperations int
	// HideMembers never answers members, ListHidesMembers not in lists.
	HideMembers, ListHidesMembers bool
	// Slugs makes groups of the same letters and digits one.
	Slugs bool

	// Cursor pages by cursor and nextCursor, and refuses startIndex (400).
	Cursor bool
	// NoProjection refuses attributes and excludedAttributes (400).
	NoProjection bool
	// NoDiscovery answers 404 to ServiceProviderConfig.
	NoDiscovery bool
	// Account is "account:client:secret", for which POST /oauth/token gives the token that
	// is good for the rest; Token does nothing then.
	Account string
	// UserAgent answers 403 to requests without one.
	UserAgent bool
	// PlainErrors answers errors as a list of objects with errorCode and message.
	PlainErrors bool
}

// Atlassian are the quirks of Atlassian Cloud that matter to a client.
func Atlassian() Quirks {
	return Quirks{
		BasePath: "/scim/directory/d1", PageCap: 100,
		Filters:  []string{"User.userName", "User.externalId", "Group.displayName"},
		NoRename: true, RefuseSameEmails: true, OnePrimary: true,
		Extension: map[string]any{"urn:scim:schemas:extension:atlassian-external:1.0": map[string]any{"atlassianAccountId": "712020:x"}},
	}
}

// Fault makes matching requests fail.
type Fault struct {
	Method string // "" matches every method
	Path   string // a part of the path; "" matches every path
	Skip   int    // matching requests that pass first
	Times  int    // matching requests that fail then; 0 means for ever

	Status int // answer this status in place of handling the request
	Header map[string]string
	Body   string
	// HangUp closes the connection without an answer, before (the default) or
	// after the request took effect.
	HangUp      bool
	AfterEffect bool
	// Cut sends the right answer but breaks off in the middle.
	Cut bool
	// Delay waits first, or until the client goes away.
	Delay time.Duration
}

// Request is one request as it came.
type Request struct {
	Method string
	Path   string // below the base path
	Query  string
	Header http.Header
	Body   string
	Status int // what was answered; 0 after a hang-up
	At     time.Time
}

// String is "METHOD path?query body".
func (r Request) String() string {
	s := r.Method + " " + r.Path
	if r.Query != "" {
		s += "?" + r.Query
	}
	if r.Body != "" {
		s += " " + r.Body
	}
	return s
}

// Target is the service provider. It is safe for concurrent use.
type Target struct {
	mu       sync.Mutex
	quirks   Quirks
	faults   []*Fault
	requests []Request
	sequence int
	access   string // the token that an account got
	hidden   map[string]bool
	store    map[scim.ResourceType]*collection
}

type collection struct {
	order []string
	slugs bool
	byID  map[string]scim.Resource
	keys  map[string]string // unique value → id
}

// New makes an empty target.
func New(q Quirks) *Target {
	t := &Target{quirks: q, hidden: make(map[string]bool), store: make(map[scim.ResourceType]*collection)}
	for _, k := range []scim.ResourceType{scim.User, scim.Group} {
		t.store[k] = &collection{slugs: q.Slugs, byID: make(map[string]scim.Resource), keys: make(map[string]string)}
	}
	return t
}

// Start serves the target on loopback until the test ends and gives the base
// URL.
func (t *Target) Start(tb testing.TB) string {
	s := httptest.NewServer(t)
	tb.Cleanup(s.Close)
	return s.URL + t.quirks.BasePath
}

// Change switches quirks.
func (t *Target) Change(change func(*Quirks)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.quirks)
}

// Fail adds a fault. The first fault that matches a request wins.
func (t *Target) Fail(f Fault) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults = append(t.faults, &f)
}

// Heal drops all faults.
func (t *Target) Heal() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults = nil
}

// Put keeps a resource as if it had always been there, past all checks, and
// gives its id.
func (t *Target) Put(kind scim.ResourceType, r scim.Resource) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	r = r.Clone()
	if r.ID() == "" {
		t.stamp(kind, r, "")
	}
	t.store[kind].put(kind, r)
	return r.ID()
}

// Resources lists copies of what is kept, in order of creation.
func (t *Target) Resources(kind scim.ResourceType) []scim.Resource {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.store[kind]
	out := make([]scim.Resource, 0, len(c.order))
	for _, id := range c.order {
		out = append(out, c.byID[id].Clone())
	}
	return out
}

// Resource gives a copy of one, or nil.
func (t *Target) Resource(kind scim.ResourceType, id string) scim.Resource {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.store[kind].byID[id].Clone()
}

// Requests lists all requests so far.
func (t *Target) Requests() []Request {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.requests)
}

// Writes lists all requests so far but GET.
func (t *Target) Writes() []Request {
	return slices.DeleteFunc(t.Requests(), func(r Request) bool { return r.Method == http.MethodGet })
}

// Forget empties the list of requests.
func (t *Target) Forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requests = nil
}

func (c *collection) put(kind scim.ResourceType, r scim.Resource) {
	id := r.ID()
	if old, ok := c.byID[id]; ok {
		for _, k := range c.keysOf(kind, old) {
			if c.keys[k] == id {
				delete(c.keys, k)
			}
		}
	} else {
		c.order = append(c.order, id)
	}
	c.byID[id] = r
	for _, k := range c.keysOf(kind, r) {
		c.keys[k] = id
	}
}

func (c *collection) remove(kind scim.ResourceType, id string) {
	for _, k := range c.keysOf(kind, c.byID[id]) {
		if c.keys[k] == id {
			delete(c.keys, k)
		}
	}
	delete(c.byID, id)
	c.order = slices.DeleteFunc(c.order, func(x string) bool { return x == id })
}

// keysOf are the values that only one resource may have, each also an index.
func (c *collection) keysOf(kind scim.ResourceType, r scim.Resource) []string {
	if kind == scim.Group {
		if c.slugs {
			return []string{"displayname\x00" + slug(r.DisplayName())}
		}
		return []string{"displayname\x00" + strings.ToLower(r.DisplayName())}
	}
	keys := []string{"username\x00" + strings.ToLower(r.UserName())}
	if x := r.ExternalID(); x != "" {
		keys = append(keys, "externalid\x00"+x)
	}
	for _, v := range emails(r) {
		keys = append(keys, "email\x00"+strings.ToLower(v))
	}
	return keys
}

func emails(r scim.Resource) []string {
	v, _ := r.Get("emails.value")
	list, _ := v.([]any)
	var out []string
	for _, e := range list {
		if s, ok := e.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// ServeHTTP answers one request.
func (t *Target) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client went away in the middle of its request
	}
	t.mu.Lock()
	path := strings.TrimPrefix(r.URL.Path, t.quirks.BasePath)
	at := len(t.requests)
	t.requests = append(t.requests, Request{
		Method: r.Method, Path: path, Query: r.URL.RawQuery, Header: r.Header.Clone(), Body: string(body), At: time.Now(),
	})
	fault := t.fault(r.Method, path)
	t.mu.Unlock()

	if fault != nil && fault.Delay > 0 {
		select {
		case <-time.After(fault.Delay):
		case <-r.Context().Done():
			return
		}
	}
	if fault != nil && fault.HangUp && !fault.AfterEffect {
		panic(http.ErrAbortHandler)
	}
	status, header, answer := 0, map[string]string{}, []byte(nil)
	if fault != nil && fault.Status != 0 {
		status, header, answer = fault.Status, fault.Header, []byte(fault.Body)
	} else {
		t.mu.Lock()
		var v any
		status, v = t.handle(r, path, body)
		if v != nil {
			answer, _ = json.Marshal(v)
		}
		if res, ok := v.(scim.Resource); ok && status == http.StatusCreated {
			header["Location"] = res.Meta().Location
		}
		t.mu.Unlock()
		header["Content-Type"] = scim.MediaSCIM
	}
	if fault != nil && fault.HangUp {
		panic(http.ErrAbortHandler)
	}
	t.mu.Lock()
	if at < len(t.requests) {
		t.requests[at].Status = status
	}
	t.mu.Unlock()
	for k, v := range header {
		w.Header().Set(k, v)
	}
	if fault != nil && fault.Cut {
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		w.WriteHeader(status)
		_, _ = w.Write(answer[:len(answer)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(status)
	_, _ = w.Write(answer)
}

func (t *Target) fault(method, path string) *Fault {
	for i, f := range t.faults {
		if f.Method != "" && f.Method != method || !strings.Contains(path, f.Path) {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		hit := *f
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				t.faults = slices.Delete(t.faults, i, i+1)
			}
		}
		return &hit
	}
	return nil
}

func (t *Target) fail(status int, scimType, format string, args ...any) (int, any) {
	detail := fmt.Sprintf(format, args...)
	if t.quirks.PlainErrors {
		return status, []any{map[string]any{"errorCode": strings.ToUpper(scimType), "message": detail}}
	}
	if t.quirks.StatusNumber {
		return status, map[string]any{"schemas": []string{scim.SchemaError}, "status": status, "scimType": scimType, "detail": detail}
	}
	return status, &scim.Error{Status: status, ScimType: scimType, Detail: detail}
}

func (t *Target) handle(r *http.Request, path string, body []byte) (int, any) {
	token := t.quirks.Token
	if token == "" {
		token = Token
	}
	if t.quirks.Account != "" {
		if r.URL.Path == "/oauth/token" {
			return t.login(r, body)
		}
		token = t.access
	}
	if t.quirks.UserAgent && r.Header.Get("User-Agent") == "" {
		return http.StatusForbidden, map[string]any{"message": "Request forbidden by administrative rules."}
	}
	if r.Header.Get("Authorization") != "Bearer "+token {
		return http.StatusUnauthorized, map[string]any{"code": 401, "message": "Unauthorized"}
	}
	if !strings.HasPrefix(r.URL.Path, t.quirks.BasePath) {
		return t.fail(http.StatusNotFound, "", "No such path.")
	}
	if path == "/ServiceProviderConfig" && !t.quirks.NoDiscovery && r.Method == http.MethodGet {
		return http.StatusOK, map[string]any{
			"schemas": []string{scim.SchemaServiceProviderConfig},
			"patch":   map[string]any{"supported": !t.quirks.NoPatch},
			"filter":  map[string]any{"supported": true, "maxResults": 10000},
			"bulk":    map[string]any{"supported": false}, "sort": map[string]any{"supported": false},
			"etag": map[string]any{"supported": false}, "changePassword": map[string]any{"supported": false},
		}
	}
	var kind scim.ResourceType
	id, rest := "", ""
	for _, k := range []scim.ResourceType{scim.User, scim.Group} {
		if path == k.Endpoint() {
			kind = k
		} else if after, ok := strings.CutPrefix(path, k.Endpoint()+"/"); ok {
			kind, id = k, after
			id, rest, _ = strings.Cut(id, "/")
		}
	}
	if kind == "" || rest != "" || strings.HasSuffix(path, "/") || kind == scim.Group && t.quirks.NoGroups {
		return t.fail(http.StatusNotFound, "", "No such path.")
	}
	c := t.store[kind]
	name := strings.ToUpper(string(kind))
	if id == "" {
		switch r.Method {
		case http.MethodGet:
			return t.list(kind, r.URL.Query())
		case http.MethodPost:
			res, err := scim.ParseResource(body)
			if err != nil {
				return t.fail(http.StatusBadRequest, scim.InvalidSyntax, "%v", err)
			}
			delete(res, "id")
			return t.write(kind, nil, res, http.StatusCreated)
		}
		return t.fail(http.StatusMethodNotAllowed, "", "Method not allowed.")
	}
	old, ok := c.byID[id]
	if !ok || t.hidden[id] {
		return t.fail(http.StatusNotFound, "", "Resource [%s] %s not found.", name, id)
	}
	switch r.Method {
	case http.MethodGet:
		return http.StatusOK, t.show(kind, old, false)
	case http.MethodDelete:
		if kind == scim.User && t.quirks.DeleteDeactivates {
			off := old.Clone()
			off["active"] = false
			c.put(kind, off)
			t.leaveGroups(id)
			return http.StatusNoContent, nil
		}
		c.remove(kind, id)
		if kind == scim.User {
			t.leaveGroups(id)
		}
		return http.StatusNoContent, nil
	case http.MethodPut:
		if kind == scim.User && t.quirks.NoUserPut || kind == scim.Group && t.quirks.NoGroupPut {
			return t.fail(http.StatusMethodNotAllowed, "", "Method not allowed.")
		}
		res, err := scim.ParseResource(body)
		if err != nil {
			return t.fail(http.StatusBadRequest, scim.InvalidSyntax, "%v", err)
		}
		if kind == scim.User && t.quirks.PutMerges {
			res = merged(old, res)
		}
		return t.write(kind, old, res, http.StatusOK)
	case http.MethodPatch:
		if t.quirks.NoPatch {
			return t.fail(http.StatusNotImplemented, "", "PATCH is not supported.")
		}
		if kind == scim.User && t.quirks.NoUserPatch {
			return t.fail(http.StatusMethodNotAllowed, "", "Method not allowed.")
		}
		patch, err := scim.ParsePatch(body)
		if err == nil {
			if why := t.quirks.refuses(kind, patch); why != "" {
				return t.fail(http.StatusBadRequest, scim.InvalidValue, "%s", why)
			}
			var res scim.Resource
			if res, err = patch.Apply(old); err == nil {
				if kind == scim.User && t.quirks.RefuseSameEmails && touches(patch, "emails") {
					was, _ := old.Get("emails")
					is, _ := res.Get("emails")
					if scim.Equal(was, is) {
						return t.fail(http.StatusBadRequest, "", "Resource [USER] One email address need to be marked as primary.")
					}
				}
				return t.write(kind, old, res, http.StatusOK)
			}
		}
		return http.StatusBadRequest, err
	}
	return t.fail(http.StatusMethodNotAllowed, "", "Method not allowed.")
}

func touches(p scim.PatchOp, attribute string) bool {
	return slices.ContainsFunc(p.Operations, func(o scim.Operation) bool {
		path, err := scim.ParsePath(o.Path)
		return err == nil && path.Schema == "" && strings.EqualFold(path.Attribute, attribute)
	})
}

// write checks and keeps a resource; old is nil for a new one.
func (t *Target) write(kind scim.ResourceType, old, res scim.Resource, status int) (int, any) {
	c := t.store[kind]
	name := strings.ToUpper(string(kind))
	for _, d := range t.quirks.Drop {
		_ = res.Remove(d)
	}
	if kind == scim.Group && old == nil && t.quirks.GroupsStartEmpty && len(res.Members()) > 0 {
		res["members"] = []any{}
	}
	if why := t.quirks.lacks(kind, old, res); why != "" {
		return t.fail(http.StatusBadRequest, scim.InvalidValue, "%s", why)
	}
	t.quirks.keep(kind, res)
	if kind == scim.User && old == nil {
		if old = t.found(res); old != nil {
			status = http.StatusCreated
			res = merged(old, res)
		}
	}
	switch kind {
	case scim.User:
		if res.UserName() == "" {
			return t.fail(http.StatusBadRequest, scim.InvalidValue, "Resource [USER] userName is required.")
		}
		if t.quirks.OnePrimary {
			v, _ := res.Get("emails.primary")
			list, _ := v.([]any)
			n := 0
			for _, p := range list {
				if b, _ := (scim.Resource{"active": p}).Active(); b {
					n++
				}
			}
			if n != 1 {
				return t.fail(http.StatusBadRequest, "", "Resource [USER] One email address need to be marked as primary.")
			}
		}
		if v, ok := res["emails"]; ok && t.quirks.EmailIsName {
			if m, _ := v.(map[string]any); m["value"] != res.UserName() {
				return t.fail(http.StatusBadRequest, scim.InvalidValue, "emails differs from userName.")
			}
			delete(res, "emails")
		}
		if t.quirks.LowerUserNames {
			res["userName"] = strings.ToLower(res.UserName())
		}
		if t.quirks.LowerEmails {
			v, _ := res.Get("emails")
			list, _ := v.([]any)
			for _, e := range list {
				if m, ok := e.(map[string]any); ok {
					if s, ok := m["value"].(string); ok {
						m["value"] = strings.ToLower(s)
					}
				}
			}
		}
		if active, known := res.Active(); known {
			res["active"] = active
		} else {
			res["active"] = true
		}
		maps.Copy(res, t.quirks.Extension)
	case scim.Group:
		if res.DisplayName() == "" {
			return t.fail(http.StatusBadRequest, scim.InvalidValue, "Resource [GROUP] displayName is required.")
		}
		if old != nil && t.quirks.NoRename && res.DisplayName() != old.DisplayName() {
			return t.fail(http.StatusBadRequest, scim.Mutability, "Resource [GROUP] displayName is immutable.")
		}
		for _, m := range res.Members() {
			if _, ok := t.store[scim.User].byID[m]; !ok {
				return t.fail(http.StatusNotFound, "", "Resource [USER] %s not found.", m)
			}
		}
	}
	for _, k := range c.keysOf(kind, res) {
		if other, ok := c.keys[k]; ok && (old == nil || other != old.ID()) {
			attribute, value, _ := strings.Cut(k, "\x00")
			return t.fail(http.StatusConflict, scim.Uniqueness, "Resource [%s]: with %s[%s] already exists.", name, attribute, value)
		}
	}
	id := ""
	if old != nil {
		id = old.ID()
	}
	t.stamp(kind, res, id)
	if old != nil {
		res["meta"] = old["meta"]
	}
	c.put(kind, res)
	if active, _ := res.Active(); kind == scim.User && t.quirks.InactiveGoes && !active {
		c.remove(kind, res.ID())
		t.leaveGroups(res.ID())
	}
	if t.quirks.NoContent && status == http.StatusOK {
		return http.StatusNoContent, nil
	}
	return status, t.show(kind, res, false)
}

// stamp gives id and meta.
func (t *Target) stamp(kind scim.ResourceType, r scim.Resource, id string) {
	if id == "" {
		t.sequence++
		id = fmt.Sprintf("%s-%d", strings.ToLower(string(kind)), t.sequence)
		if t.quirks.ID != nil {
			id = t.quirks.ID(kind, t.sequence, r)
		}
	}
	r["id"] = id
	r["meta"] = map[string]any{
		"resourceType": string(kind),
		"location":     "https://target.test" + t.quirks.BasePath + kind.Endpoint() + "/" + id,
	}
}

func (t *Target) leaveGroups(user string) {
	groups := t.store[scim.Group]
	one := scim.Eq("value", user)
	path := scim.Path{Attribute: "members", Filter: &one}
	for id, g := range groups.byID {
		if slices.Contains(g.Members(), user) {
			g = g.Clone()
			path.Remove(g)
			groups.byID[id] = g
		}
	}
}

func (t *Target) list(kind scim.ResourceType, q url.Values) (int, any) {
	c := t.store[kind]
	limit := t.quirks.PageCap
	if limit <= 0 {
		limit = 100
	}
	if t.quirks.NoProjection && (q.Has("attributes") || q.Has("excludedAttributes")) {
		return t.fail(http.StatusBadRequest, scim.InvalidValue, "Attributes can't be chosen.")
	}
	if t.quirks.Cursor {
		if q.Has("startIndex") {
			return t.fail(http.StatusBadRequest, scim.InvalidValue, "startIndex isn't supported.")
		}
		q.Set("startIndex", strings.TrimPrefix(q.Get("cursor"), "after-"))
	}
	start, err1 := number(q, "startIndex", 1)
	count, err2 := number(q, "count", limit)
	if err1 != nil || err2 != nil {
		return t.fail(http.StatusBadRequest, scim.InvalidValue, "startIndex and count are numbers.")
	}
	start, count = max(start, 1), min(max(count, 0), limit)

	hits := c.order
	if text := q.Get("filter"); text != "" && !t.quirks.IgnoreFilters {
		f, err := scim.ParseFilter(text)
		if err != nil || !t.allowed(kind, f) {
			return t.fail(http.StatusBadRequest, scim.InvalidFilter, "Resource [%s] invalid filter", strings.ToUpper(string(kind)))
		}
		hits = c.find(f)
	}
	if len(t.hidden) > 0 {
		hits = slices.DeleteFunc(slices.Clone(hits), func(id string) bool { return t.hidden[id] })
	}
	total := len(hits)
	hits = hits[min(start-1, total):]
	hits = hits[:min(count, len(hits))]
	list := scim.ListResponse{
		Schemas: []string{scim.SchemaListResponse}, TotalResults: total, StartIndex: start,
		ItemsPerPage: count, Resources: []scim.Resource{},
	}
	for _, id := range hits {
		list.Resources = append(list.Resources, t.show(kind, c.byID[id], true))
	}
	if next := start + len(hits); t.quirks.Cursor && next <= total {
		list.NextCursor = "after-" + strconv.Itoa(next)
	}
	return http.StatusOK, list
}

func (t *Target) allowed(kind scim.ResourceType, f scim.Filter) bool {
	if t.quirks.Filters == nil {
		return true
	}
	return f.Op == scim.OpEqual && slices.ContainsFunc(t.quirks.Filters, func(s string) bool {
		return strings.EqualFold(s, string(kind)+"."+f.Path.String())
	})
}

// find uses the index for a single eq of an indexed attribute.
func (c *collection) find(f scim.Filter) []string {
	if v, ok := f.Value.(string); ok && f.Op == scim.OpEqual {
		attribute := strings.ToLower(f.Path.String())
		switch attribute {
		case "username", "displayname":
			v = strings.ToLower(v)
			if c.slugs && attribute == "displayname" {
				if id, ok := c.keys[attribute+"\x00"+slug(v)]; ok {
					return []string{id}
				}
			}
			fallthrough
		case "externalid":
			id, ok := c.keys[attribute+"\x00"+v]
			if ok && f.Match(c.byID[id]) {
				return []string{id}
			}
		}
	}
	var out []string
	for _, id := range c.order {
		if f.Match(c.byID[id]) {
			out = append(out, id)
		}
	}
	return out
}

func number(q url.Values, name string, otherwise int) (int, error) {
	if q.Get(name) == "" {
		return otherwise, nil
	}
	return strconv.Atoi(q.Get(name))
}
