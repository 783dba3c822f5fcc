package api_test

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

// lists returns the GET operations of the document by path, with their query parameters.
func (h *house) lists(t *testing.T) map[string][]string {
	t.Helper()
	var doc struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name, In string }
		}
	}
	if err := json.Unmarshal(h.send(t, "", "GET", "/api/openapi.json", nil).body, &doc); err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for path, ops := range doc.Paths {
		get, ok := ops["get"]
		if !ok {
			continue
		}
		out[path] = []string{}
		for _, p := range get.Parameters {
			if p.In == "query" {
				out[path] = append(out[path], p.Name)
			}
		}
	}
	return out
}

// hostile are texts that a program which puts text into SQL, a path or a pattern would stumble over.
var hostile = []string{
	"'", `' OR '1'='1`, `'; DROP TABLE users; --`, `" OR ""="`, `\`, `%`, `_`, "$1", "?", "a\x00b", "\x00", "\xff\xfe", "\u202e", "ﬀ", "-1", "0",
	"9223372036854775808", "1e999", "NaN", "null", "true", "{}", "[]", "../../etc/passwd", "*)(uid=*))(|(uid=*", "${jndi:ldap://x}", strings.Repeat("a", 9000),
}

// Forged pagination tokens (GO-2026-4800): whatever somebody writes into a cursor, it is told that it isn't one or gives
// some page of the same list. It never becomes part of a statement, and never an error of ours. The lists are those of the
// OpenAPI document, so a new one is covered by itself.
func TestNeighbour_PageTokens(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouseOn(t, db)
		ada := h.user(t, "ada@example.com").text(t, "id")
		h.user(t, "bob@example.com")
		g := h.want(t, 201, "POST", "/api/v1/groups", object{"name": "Engineers"}).text(t, "id")
		h.want(t, 201, "POST", "/api/v1/groups", object{"name": "Sales"})
		h.want(t, 200, "POST", "/api/v1/groups/"+g+"/members", object{"add": []string{ada}})
		id, _ := h.application(t, object{"connector": "atlassian-cloud", "label": "Atlassian"})
		h.application(t, object{"connector": "atlassian-cloud", "label": "Another"})
		fill := func(path string) string {
			return strings.NewReplacer("/users/{id}", "/users/"+ada, "/groups/{id}", "/groups/"+g, "/applications/{id}", "/applications/"+id,
				"{user}", ada, "{import}", "none", "{job}", "none", "{id}", "none").Replace(path)
		}
		forged := []string{"!!!", "=", "AAAA=", "e30", "bnVsbA", "W10", "%00", "' OR 1=1 --"}
		forge := func(raw string) { forged = append(forged, base64.RawURLEncoding.EncodeToString([]byte(raw))) }
		for _, raw := range []string{`[1]`, `[1,2]`, `[null]`, `[null,null]`, `{"a":1}`, `"a"`, `[["a"]]`, `["a","b","c"]`, `["a"`, `["a"]x`, `[""]`, `["",""]`, `["\ud800"]`} {
			forge(raw)
		}
		for _, s := range hostile {
			forged = append(forged, store.EncodeCursor(s), store.EncodeCursor(s, s), store.EncodeCursor("a", s), store.EncodeCursor(s, "a"))
		}
		lists := h.lists(t)
		var paths []string
		for path, parameters := range lists {
			if slices.Contains(parameters, "cursor") {
				paths = append(paths, path)
			}
		}
		slices.Sort(paths)
		if len(paths) < 7 {
			t.Fatalf("only %d lists have pages: %v", len(paths), paths)
		}
		// What one list gave is tried at all others, too.
		for _, path := range paths {
			if r := h.send(t, access.Owner, "GET", fill(path)+"?limit=1", nil); r.status == 200 {
				if next := r.text(t, "next"); next != "" {
					forged = append(forged, next, next[:len(next)-1], next[1:], next+"A", strings.ToUpper(next), next+"=", next+next)
				}
			}
		}
		users := len(h.want(t, 200, "GET", "/api/v1/users", nil).items(t))
		for _, path := range paths {
			for _, cursor := range forged {
				r := h.send(t, access.Owner, "GET", fill(path)+"?cursor="+url.QueryEscape(cursor), nil)
				switch {
				case r.status == 200 && strings.Contains(path, "{import}"):
					t.Errorf("%s: an import that isn't there", path)
				case r.status == 200, r.status == 404 && strings.Contains(path, "{import}"):
				case r.status == 400 || r.status == 422:
					if f := fieldsOf(t, r); len(f) != 1 || f[0] != "cursor" && !strings.HasSuffix(f[0], ".cursor") {
						t.Errorf("%s with cursor %.60q: fields %v", path, cursor, f)
					}
				default:
					t.Errorf("%s with cursor %.60q: %d %s", path, cursor, r.status, r.body)
				}
			}
			for _, nonsense := range []string{"!!!", "e30", "W10", base64.RawURLEncoding.EncodeToString([]byte(`["a","b","c"]`)), store.EncodeCursor("a\x00b"), store.EncodeCursor("a\x00b", "a")} {
				if r := h.send(t, access.Owner, "GET", fill(path)+"?cursor="+nonsense, nil); r.status == 200 {
					t.Errorf("%s: %q is taken for a cursor", path, nonsense)
				}
			}
		}
		if n := len(h.want(t, 200, "GET", "/api/v1/users", nil).items(t)); n != users {
			t.Errorf("%d users, then %d", users, n)
		}
	})
}

// The same for everything else that a client may write into an address: no text is an error of ours.
func TestNeighbour_TextInAddresses(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouseOn(t, db)
		ada := h.user(t, "ada@example.com").text(t, "id")
		g := h.want(t, 201, "POST", "/api/v1/groups", object{"name": "Engineers"}).text(t, "id")
		id, _ := h.application(t, object{"connector": "atlassian-cloud", "label": "Atlassian"})
		lists := h.lists(t)
		for _, path := range slices.Sorted(maps.Keys(lists)) {
			good := strings.NewReplacer("/users/{id}", "/users/"+ada, "/groups/{id}", "/groups/"+g, "/applications/{id}", "/applications/"+id,
				"{user}", ada, "{import}", "none", "{job}", "none", "{id}", "none").Replace(path)
			for _, text := range hostile {
				for _, parameter := range lists[path] {
					if r := h.send(t, access.Owner, "GET", good+"?"+parameter+"="+url.QueryEscape(text), nil); r.status >= 500 {
						t.Errorf("%s?%s=%.40q: %d %s", path, parameter, text, r.status, r.body)
					}
				}
				for _, part := range []string{"{id}", "{user}", "{import}"} {
					if !strings.Contains(path, part) {
						continue
					}
					bad := strings.Replace(path, part, url.PathEscape(text), 1)
					bad = strings.NewReplacer("{id}", id, "{user}", ada, "{import}", "none").Replace(bad)
					if r := h.send(t, access.Owner, "GET", bad, nil); r.status >= 500 {
						t.Errorf("%s with %.40q: %d %s", path, text, r.status, r.body)
					}
				}
			}
		}
	})
}

// API authorization (CVE-2025-4210): no operation of the document, but the document itself, answers who has no key or one
// that doesn't count. That each operation asks for its role is TestEveryOperationAsksForItsRole; both follow the document,
// so that an operation which is added is covered by itself.
func TestNeighbour_APIAuthorization(t *testing.T) {
	h := newHouse(t)
	var doc struct {
		Paths map[string]map[string]struct{ OperationID string }
	}
	if err := json.Unmarshal(h.send(t, "", "GET", "/api/openapi.json", nil).body, &doc); err != nil {
		t.Fatal(err)
	}
	good := h.keys[access.Owner]
	revoked, secret, err := h.authn.CreateAPIKey(t.Context(), access.SystemActor(""), "revoked", access.Owner, time.Time{})
	h.must(err)
	h.must(h.authn.RevokeAPIKey(t.Context(), access.SystemActor(""), revoked.ID))
	_, short, err := h.authn.CreateAPIKey(t.Context(), access.SystemActor(""), "short", access.Owner, h.now().Add(time.Minute))
	h.must(err)
	h.later(2 * time.Minute)
	bearer := func(key string) []string { return []string{"Authorization", "Bearer " + key} }
	ways := map[string][]string{
		"nothing": nil, "an empty key": bearer(""), "no key": bearer("x"), "a shortened key": bearer(good[:len(good)-1]), "a longer key": bearer(good + "A"),
		"a key in capitals": bearer(strings.ToUpper(good)), "a revoked key": bearer(secret.Reveal()), "a key that has ended": bearer(short.Reveal()),
		"another scheme": {"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("owner:"+good))}, "no scheme": {"Authorization", good},
		"a cookie": {"Cookie", "latchkey_session=" + good + "; __Host-latchkey_session=" + good}, "another header": {"X-Api-Key", good},
		"a proxy's word": {"X-Forwarded-User", "owner", "X-Remote-User", "owner", "X-Original-Url", "/api/openapi.json"},
		"another method": {"X-Http-Method-Override", "GET"},
	}
	users := func() int { return len(h.want(t, 200, "GET", "/api/v1/users", nil).items(t)) }
	h.user(t, "ada@example.com")
	before, operations := users(), 0
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		for method, op := range doc.Paths[path] {
			operations++
			target := strings.NewReplacer("{", "", "}", "").Replace(path)
			for name, headers := range ways {
				if r := h.send(t, "", strings.ToUpper(method), target, object{}, headers...); r.status != 401 {
					t.Errorf("%s with %s: %d %s", op.OperationID, name, r.status, r.body)
				}
			}
			if r := h.send(t, "", strings.ToUpper(method), target+"?key="+url.QueryEscape(good)+"&access_token="+url.QueryEscape(good), object{}); r.status != 401 {
				t.Errorf("%s with a key in the address: %d", op.OperationID, r.status)
			}
		}
	}
	if operations < 50 {
		t.Fatalf("only %d operations: the document wasn't understood", operations)
	}
	if after := users(); after != before {
		t.Errorf("%d users, then %d", before, after)
	}
}
