package api_test

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"image"
	"image/png"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/api"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/scim/scimtest"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

type object = map[string]any

func TestUsers(t *testing.T) {
	h := newHouse(t)
	created := h.want(t, 201, "POST", "/api/v1/users", object{
		"email": "Ada@Example.com", "username": "ada", "givenName": "Ada", "familyName": "Lovelace", "title": "Analyst",
		"phones": []object{{"type": "work", "value": "+44 20 1"}}, "custom": object{"floor": 2, "tags": []string{"x"}},
	})
	id := created.text(t, "id")
	path := "/api/v1/users/" + id
	if created.header.Get("Location") != path || created.header.Get("ETag") != `"1"` {
		t.Errorf("headers %v", created.header)
	}
	got := h.want(t, 200, "GET", path, nil)
	if d := cmp.Diff(created.json(t), got.json(t)); d != "" {
		t.Errorf("created and read differ:\n%s", d)
	}
	want := object{
		"id": id, "name": "Ada Lovelace", "username": "ada", "email": "ada@example.com", "givenName": "Ada", "familyName": "Lovelace", "title": "Analyst",
		"phones": []any{object{"type": "work", "value": "+44 20 1"}}, "custom": object{"floor": 2.0, "tags": []any{"x"}},
		"state": "staged", "passwordStatus": "pending", "role": "", "version": 1.0,
	}
	read := got.json(t)
	delete(read, "createdAt")
	delete(read, "updatedAt")
	if d := cmp.Diff(want, read); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}

	r := h.want(t, 409, "POST", "/api/v1/users", object{"email": "ada@example.com"})
	if d := cmp.Diff([]string{"email"}, fieldsOf(t, r)); d != "" {
		t.Error(d)
	}

	t.Run("patch", func(t *testing.T) {
		r := h.want(t, 200, "PATCH", path, object{"title": nil, "department": "Engines", "custom": object{"tags": nil, "new": true}}, "Content-Type", "application/merge-patch+json", "If-Match", `"1"`)
		m := r.json(t)
		if _, has := m["title"]; has || m["department"] != "Engines" || m["version"] != 2.0 || r.header.Get("ETag") != `"2"` {
			t.Errorf("patched: %s", r.body)
		}
		if d := cmp.Diff(object{"floor": 2.0, "new": true}, m["custom"]); d != "" {
			t.Error(d)
		}
		same := h.want(t, 200, "PATCH", path, object{"department": "Engines"})
		if same.header.Get("ETag") != `"2"` {
			t.Error("a change of nothing raised the version")
		}
		h.want(t, 412, "PATCH", path, object{"title": "x"}, "If-Match", `"1"`)
		h.want(t, 412, "PATCH", path, object{"title": "x"}, "If-Match", `"abc"`)
		h.want(t, 200, "PATCH", path, object{"title": "x"}, "If-Match", `*`)
		h.want(t, 200, "PATCH", path, object{"title": "y"}, "If-Match", `W/"3"`)
		h.want(t, 404, "PATCH", "/api/v1/users/none", object{"title": "x"})
		h.user(t, "grace@example.com")
		// A taken name isn't a stale version.
		h.want(t, 409, "PATCH", path, object{"email": "grace@example.com"}, "If-Match", `"4"`)
	})

	t.Run("states", func(t *testing.T) {
		h.want(t, 409, "POST", path+"/suspend", nil)
		if s := h.want(t, 200, "POST", path+"/activate", nil).text(t, "state"); s != "active" {
			t.Errorf("state %s", s)
		}
		r := h.wantAs(t, access.HelpDesk, 200, "POST", path+"/suspend", nil)
		if r.text(t, "state") != "suspended" || r.text(t, "suspendedAt") == "" {
			t.Errorf("%s", r.body)
		}
		h.wantAs(t, access.HelpDesk, 200, "POST", path+"/unsuspend", nil)
		h.want(t, 404, "POST", "/api/v1/users/none/suspend", nil)
	})

	t.Run("role and password", func(t *testing.T) {
		if r := h.want(t, 200, "PUT", path+"/role", object{"role": "owner"}); r.text(t, "role") != "owner" {
			t.Errorf("%s", r.body)
		}
		h.want(t, 409, "POST", path+"/suspend", nil) // the last owner
		h.wantAs(t, access.Administrator, 403, "PATCH", path, object{"title": "x"})
		h.wantAs(t, access.Administrator, 403, "PUT", path+"/role", object{"role": ""})
		h.want(t, 422, "PUT", path+"/role", object{"role": "emperor"})
		h.want(t, 204, "PUT", path+"/password", object{"password": "violet teapot orbits 93 gravel", "temporary": true})
		h.want(t, 204, "DELETE", path+"/sessions", nil)
	})

	t.Run("list", func(t *testing.T) {
		first := h.want(t, 200, "GET", "/api/v1/users?limit=1", nil)
		if len(first.items(t)) != 1 || first.json(t)["total"] != 2.0 {
			t.Errorf("%s", first.body)
		}
		second := h.want(t, 200, "GET", "/api/v1/users?limit=1&cursor="+first.text(t, "next"), nil)
		if len(second.items(t)) != 1 || second.text(t, "next") != "" || second.items(t)[0]["id"] == first.items(t)[0]["id"] {
			t.Errorf("%s", second.body)
		}
		for query, n := range map[string]int{
			"?text=grace": 1, "?state=suspended": 0, "?role=owner": 1, "?login=ADA": 1, "?login=nobody": 0, "?group=none": 0, "?state=active&text=ada": 2,
		} {
			if got := h.want(t, 200, "GET", "/api/v1/users"+query, nil).items(t); len(got) != n {
				t.Errorf("%s finds %d, want %d", query, len(got), n)
			}
		}
	})

	t.Run("delete", func(t *testing.T) {
		h.want(t, 409, "DELETE", path, nil) // the last owner
		grace := h.want(t, 200, "GET", "/api/v1/users?login=grace@example.com", nil).items(t)[0]["id"].(string)
		h.want(t, 204, "DELETE", "/api/v1/users/"+grace, nil)
		h.want(t, 404, "GET", "/api/v1/users/"+grace, nil)
		h.want(t, 404, "DELETE", "/api/v1/users/"+grace, nil)
	})
}

func TestGroups(t *testing.T) {
	h := newHouse(t)
	ada, grace := h.user(t, "ada@example.com").text(t, "id"), h.user(t, "grace@example.com").text(t, "id")
	created := h.want(t, 201, "POST", "/api/v1/groups", object{"name": "Engineers", "attributes": object{"department": "Engines"}, "members": []string{ada}})
	path := created.header.Get("Location")
	if m := created.json(t); m["members"] != 1.0 || m["name"] != "Engineers" {
		t.Errorf("%s", created.body)
	}
	h.want(t, 409, "POST", "/api/v1/groups", object{"name": "ENGINEERS"})
	h.want(t, 422, "POST", "/api/v1/groups", object{})
	r := h.want(t, 200, "PATCH", path, object{"description": "They build.", "attributes": object{"department": nil, "custom.floor": 3}}, "If-Match", `"1"`)
	if d := cmp.Diff(object{"custom.floor": 3.0}, r.json(t)["attributes"]); d != "" {
		t.Error(d)
	}
	h.want(t, 412, "PATCH", path, object{"name": "x"}, "If-Match", `"1"`)
	h.want(t, 422, "PATCH", path, object{"attributes": object{"email": "x"}})

	if m := h.want(t, 200, "POST", path+"/members", object{"add": []string{ada, grace}}).json(t); m["added"] != 1.0 || m["removed"] != 0.0 {
		t.Errorf("%v", m)
	}
	if m := h.want(t, 200, "POST", path+"/members", object{"remove": []string{grace}}).json(t); m["removed"] != 1.0 {
		t.Errorf("%v", m)
	}
	h.want(t, 422, "POST", path+"/members", object{"add": []string{"none"}})
	h.want(t, 404, "POST", "/api/v1/groups/none/members", object{})
	h.want(t, 204, "PUT", path+"/members/"+grace, nil)
	h.want(t, 204, "PUT", path+"/members/"+grace, nil)
	if got := h.want(t, 200, "GET", path+"/members?limit=1", nil); len(got.items(t)) != 1 || got.text(t, "next") == "" {
		t.Errorf("%s", got.body)
	}
	h.want(t, 204, "DELETE", path+"/members/"+grace, nil)
	h.want(t, 404, "GET", "/api/v1/groups/none/members", nil)
	if got := h.want(t, 200, "GET", "/api/v1/groups?text=engin", nil).items(t); len(got) != 1 || got[0]["members"] != 1.0 {
		t.Errorf("%v", got)
	}
	if got := h.want(t, 200, "GET", "/api/v1/users/"+ada+"/groups", nil).items(t); len(got) != 1 {
		t.Errorf("%v", got)
	}
	h.want(t, 200, "GET", path+"/applications", nil)
	h.want(t, 404, "GET", "/api/v1/groups/none/applications", nil)
	h.want(t, 204, "DELETE", path, nil)
	h.want(t, 404, "GET", path, nil)
}

func TestImport(t *testing.T) {
	h := newHouse(t)
	const file = "email,first name,groups\nada@example.com,Ada,Engineers\nbroken,Bob,\n"
	dry := h.want(t, 200, "POST", "/api/v1/users/import?dryRun=true&createGroups=true", file, "Content-Type", "text/csv").json(t)
	if dry["created"] != 1.0 || dry["failed"] != 1.0 || dry["dryRun"] != true {
		t.Errorf("%v", dry)
	}
	h.want(t, 200, "GET", "/api/v1/users", nil)
	real := h.want(t, 200, "POST", "/api/v1/users/import?createGroups=true&state=active&rows=failed&source=people.csv", file, "Content-Type", "text/csv").json(t)
	rows := real["rows"].([]any)
	if real["created"] != 1.0 || len(rows) != 1 || rows[0].(object)["line"] != 3.0 {
		t.Errorf("%v", real)
	}
	if got := h.want(t, 200, "GET", "/api/v1/users?state=active", nil).items(t); len(got) != 1 {
		t.Errorf("%v", got)
	}
	again := h.want(t, 200, "POST", "/api/v1/users/import?format=jsonl&updateExisting=true", `{"email":"ada@example.com","title":"x"}`, "Content-Type", "application/jsonl").json(t)
	if again["updated"] != 1.0 {
		t.Errorf("%v", again)
	}
	h.want(t, 422, "POST", "/api/v1/users/import", "name\nx\n")
	h.want(t, 422, "POST", "/api/v1/users/import?format=xml", "name\nx\n")
	h.want(t, 422, "POST", "/api/v1/users/import?groups=none", "email\nx@example.com\n")
	h.want(t, 422, "POST", "/api/v1/users/import", nil)
	h.wantAs(t, access.HelpDesk, 403, "POST", "/api/v1/users/import", file)
}

func (h *house) application(t *testing.T, body object) (id, path string) {
	t.Helper()
	r := h.want(t, 201, "POST", "/api/v1/applications", body)
	return r.text(t, "id"), r.header.Get("Location")
}

func TestApplications(t *testing.T) {
	h := newHouse(t)
	if got := h.want(t, 200, "GET", "/api/v1/connectors?text=jira", nil).items(t); len(got) == 0 || got[0]["key"] != "atlassian-cloud" {
		t.Errorf("connectors: %v", got)
	}
	if got := h.want(t, 200, "GET", "/api/v1/connectors", nil).items(t); len(got) < 5 {
		t.Errorf("%d connectors", len(got))
	}
	id, path := h.application(t, object{"connector": "atlassian-cloud", "label": "Atlassian"})
	first := h.want(t, 200, "GET", path, nil)
	m := first.json(t)
	if m["portalVisible"] != true || m["slug"] != "atlassiancloud" || m["urls"].(object)["sso"] != "https://id.example.org/saml2/atlassiancloud" {
		t.Errorf("%s", first.body)
	}
	if m["saml"].(object)["status"] != "incomplete" && m["saml"].(object)["status"] != "off" {
		t.Errorf("%v", m["saml"])
	}
	h.want(t, 409, "POST", "/api/v1/applications", object{"connector": "atlassian-cloud", "label": "ATLASSIAN"})
	h.want(t, 422, "POST", "/api/v1/applications", object{"connector": "atlassian-cloud"})
	if s := h.send(t, access.Owner, "POST", "/api/v1/applications", object{"connector": "none", "label": "x"}).status; s < 400 || s >= 500 {
		t.Errorf("an unknown connector: %d", s)
	}
	r := h.want(t, 200, "PATCH", path, object{"description": "Jira and more", "portalVisible": false}, "If-Match", first.header.Get("ETag"))
	if r.text(t, "description") != "Jira and more" || r.json(t)["portalVisible"] != false {
		t.Errorf("%s", r.body)
	}
	h.want(t, 412, "PATCH", path, object{"description": "x"}, "If-Match", first.header.Get("ETag"))
	if got := h.want(t, 200, "GET", "/api/v1/applications?text=atlas&limit=1", nil).items(t); len(got) != 1 {
		t.Errorf("%v", got)
	}

	r = h.want(t, 200, "PUT", path+"/slug", object{"slug": "atlas"})
	if d := cmp.Diff([]any{"atlassiancloud"}, r.json(t)["oldSlugs"]); d != "" {
		t.Error(d)
	}
	h.want(t, 422, "PUT", path+"/slug", object{"slug": "No Slug"})
	h.want(t, 200, "DELETE", path+"/slugs/atlassiancloud", nil)
	h.want(t, 404, "DELETE", path+"/slugs/atlassiancloud", nil)

	t.Run("logo", func(t *testing.T) {
		var picture bytes.Buffer
		if err := png.Encode(&picture, image.NewRGBA(image.Rect(0, 0, 4, 4))); err != nil {
			t.Fatal(err)
		}
		h.want(t, 404, "GET", path+"/logo", nil)
		if r := h.want(t, 200, "PUT", path+"/logo", picture.String(), "Content-Type", "image/png"); r.json(t)["hasLogo"] != true {
			t.Errorf("%s", r.body)
		}
		got := h.want(t, 200, "GET", path+"/logo", nil)
		if got.header.Get("Content-Type") != "image/png" || !bytes.Equal(got.body, picture.Bytes()) {
			t.Errorf("%s, %d bytes", got.header.Get("Content-Type"), len(got.body))
		}
		h.want(t, 422, "PUT", path+"/logo", "<svg/>", "Content-Type", "image/png")
		h.want(t, 400, "PUT", path+"/logo", nil)
		h.want(t, 413, "PUT", path+"/logo", strings.Repeat("x", 600<<10), "Content-Type", "image/png")
		h.want(t, 200, "DELETE", path+"/logo", nil)
	})

	t.Run("bindings", func(t *testing.T) {
		ada := h.user(t, "ada@example.com").text(t, "id")
		g := h.want(t, 201, "POST", "/api/v1/groups", object{"name": "Engineers", "members": []string{ada}}).text(t, "id")
		h.want(t, 204, "PUT", path+"/groups/"+g, nil)
		h.want(t, 204, "PUT", path+"/groups/"+g, nil)
		if got := h.want(t, 200, "GET", path+"/groups", nil).items(t); len(got) != 1 || got[0]["name"] != "Engineers" {
			t.Errorf("%v", got)
		}
		if got := h.want(t, 200, "GET", "/api/v1/groups/"+g+"/applications", nil).items(t); len(got) != 1 || got[0]["id"] != id {
			t.Errorf("%v", got)
		}
		got := h.want(t, 200, "GET", "/api/v1/users/"+ada+"/applications", nil).items(t)
		if d := cmp.Diff([]object{{"id": id, "label": "Atlassian", "via": []any{object{"id": g, "name": "Engineers"}}}}, got); d != "" {
			t.Error(d)
		}
		h.want(t, 204, "DELETE", path+"/groups/"+g, nil)
		if s := h.send(t, access.Owner, "PUT", path+"/groups/none", nil).status; s != 404 && s != 422 {
			t.Errorf("an unknown group: %d", s)
		}
	})

	h.want(t, 422, "DELETE", path, nil)
	h.want(t, 422, "DELETE", path+"?label=Wrong", nil)
	h.want(t, 204, "DELETE", path+"?label=Atlassian", nil)
	h.want(t, 404, "GET", path, nil)
}

func TestSignOn(t *testing.T) {
	h := newHouse(t)
	_, path := h.application(t, object{"connector": "atlassian-cloud", "label": "Atlassian"})
	h.want(t, 422, "POST", path+"/saml/activate", nil)
	settings := h.want(t, 200, "GET", path+"/saml", nil)
	if len(settings.json(t)["missing"].([]any)) == 0 {
		t.Errorf("%s", settings.body)
	}
	patch := object{
		"spEntityId": "https://auth.atlassian.com/saml/123", "defaultRelayState": "https://acme.atlassian.net",
		"acs": []object{{"index": 0, "url": "https://auth.atlassian.com/login/callback?connection=saml-123", "default": true}},
	}
	r := h.want(t, 200, "PATCH", path+"/saml", patch, "If-Match", settings.header.Get("ETag"))
	if got := r.json(t)["saml"].(object); len(got["missing"].([]any)) != 0 || len(got["acs"].([]any)) != 1 {
		t.Errorf("%s", r.body)
	}
	h.want(t, 412, "PATCH", path+"/saml", object{"defaultRelayState": "https://x.atlassian.net"}, "If-Match", settings.header.Get("ETag"))
	h.want(t, 422, "PATCH", path+"/saml", object{"acs": []object{{"index": 0, "url": "javascript:alert(1)"}}})
	h.want(t, 422, "PATCH", path+"/saml", object{"status": "active"})
	h.want(t, 422, "PATCH", path+"/saml", object{"acs": "x"})
	if r := h.want(t, 200, "POST", path+"/saml/activate", nil); r.json(t)["saml"].(object)["status"] != "active" {
		t.Errorf("%s", r.body)
	}
	h.want(t, 200, "POST", path+"/saml/deactivate", nil)
	const metadata = `<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="https://sp.example.com">
		<SPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">
		<AssertionConsumerService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="https://sp.example.com/acs" index="0" isDefault="true"/>
		</SPSSODescriptor></EntityDescriptor>`
	m := h.want(t, 200, "POST", path+"/saml/metadata", metadata, "Content-Type", "application/samlmetadata+xml").json(t)
	if m["application"].(object)["saml"].(object)["spEntityId"] != "https://sp.example.com" || len(m["changes"].([]any)) == 0 {
		t.Errorf("%v", m)
	}
	h.want(t, 422, "POST", path+"/saml/metadata", "<x/>", "Content-Type", "application/xml")
	h.want(t, 404, "GET", "/api/v1/applications/none/saml", nil)

	t.Run("certificates", func(t *testing.T) {
		first := h.want(t, 200, "GET", path+"/certificates", nil).items(t)
		if len(first) != 1 || first[0]["status"] != "current" {
			t.Fatalf("%v", first)
		}
		if b, _ := pem.Decode([]byte(first[0]["pem"].(string))); b == nil {
			t.Error("no PEM")
		}
		h.want(t, 409, "POST", path+"/certificates/switch", nil)
		next := h.want(t, 201, "POST", path+"/certificates", nil)
		if next.text(t, "status") != "next" {
			t.Errorf("%s", next.body)
		}
		h.want(t, 200, "POST", path+"/certificates/switch", nil)
		h.want(t, 200, "POST", path+"/certificates/back", nil)
		if got := h.want(t, 200, "GET", path+"/certificates", nil).items(t); got[0]["fingerprint"] != first[0]["fingerprint"] {
			t.Errorf("after the way back: %v", got)
		}
		const key = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"
		r := h.want(t, 422, "PUT", path+"/certificates/next", object{"certificate": first[0]["pem"], "privateKey": key})
		if strings.Contains(string(r.body), "c2VjcmV0") {
			t.Error("the private key was repeated")
		}
		h.want(t, 204, "DELETE", path+"/certificates/next", nil)
		h.want(t, 422, "DELETE", path+"/certificates/current", nil)
	})

	_, bookmark := h.application(t, object{"connector": "bookmark", "label": "Wiki", "bookmarkUrl": "https://wiki.example.com"})
	h.want(t, 422, "PATCH", bookmark+"/saml", object{"spEntityId": "x"})
	h.want(t, 422, "PATCH", bookmark+"/scim", object{"baseUrl": "https://x.example.com"})
}

// eventually repeats until is true.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 500 {
		if is() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("it didn't come to pass: %s", what)
}

func TestProvisioning(t *testing.T) {
	h := newHouse(t)
	target := scimtest.New(scimtest.Atlassian())
	base := target.Start(t)
	_, path := h.application(t, object{"connector": "atlassian-cloud", "label": "Atlassian"})
	ada := h.user(t, "ada@example.com").text(t, "id")
	g := h.want(t, 201, "POST", "/api/v1/groups", object{"name": "Engineers", "members": []string{ada}}).text(t, "id")
	h.want(t, 204, "PUT", path+"/groups/"+g, nil)
	prov := path + "/provisioning"

	h.want(t, 409, "POST", prov+"/activate", nil)
	h.want(t, 409, "POST", prov+"/test", nil)
	h.want(t, 409, "GET", prov+"/plan", nil)
	settings := h.want(t, 200, "GET", path+"/scim", nil)
	h.want(t, 200, "PATCH", path+"/scim", object{"baseUrl": base, "manageGroups": true, "ratePerSecond": 1000, "burst": 100}, "If-Match", settings.header.Get("ETag"))
	h.want(t, 412, "PATCH", path+"/scim", object{"manageGroups": false}, "If-Match", settings.header.Get("ETag"))
	h.want(t, 422, "PATCH", path+"/scim", object{"token": "x"})
	h.want(t, 422, "PUT", path+"/scim/token", object{})
	r := h.want(t, 200, "PUT", path+"/scim/token", object{"token": scimtest.Token, "expiresAt": "2099-01-01T00:00:00Z"})
	if r.json(t)["scim"].(object)["tokenSet"] != true || strings.Contains(string(r.body), scimtest.Token) {
		t.Errorf("%s", r.body)
	}
	if probe := h.want(t, 200, "POST", prov+"/test", nil).json(t); probe["ok"] != true {
		t.Errorf("%v", probe)
	}
	plan := h.want(t, 200, "GET", prov+"/plan", nil).json(t)
	if len(plan["steps"].([]any)) == 0 || plan["counts"].(object)["users"].(object)["create"] != 1.0 {
		t.Errorf("%v", plan)
	}
	h.want(t, 409, "POST", prov+"/activate", object{"hash": "stale"})
	if s := h.want(t, 200, "POST", prov+"/activate", object{"hash": plan["hash"]}); s.text(t, "state") != "active" {
		t.Errorf("%s", s.body)
	}
	eventually(t, "the person is in sync", func() bool {
		s := h.want(t, 200, "GET", prov, nil).json(t)
		return s["users"].(object)["synced"] == 1.0 && s["waiting"] == 0.0
	})
	links := h.want(t, 200, "GET", prov+"/links?kind=user&status=synced&text=ada", nil).items(t)
	if len(links) != 1 || links[0]["objectId"] != ada || links[0]["remoteId"] == "" {
		t.Errorf("%v", links)
	}
	if links := h.want(t, 200, "GET", prov+"/links?kind=group", nil).items(t); len(links) != 1 {
		t.Errorf("%v", links)
	}
	x := h.want(t, 200, "GET", prov+"/users/"+ada, nil).json(t)
	if x["want"] != "present" || x["link"].(object)["status"] != "synced" || len(x["via"].([]any)) != 1 {
		t.Errorf("%v", x)
	}
	h.want(t, 204, "POST", prov+"/links/user/"+ada+"/retry", nil)
	h.want(t, 422, "POST", prov+"/links/robot/"+ada+"/retry", nil)
	h.want(t, 404, "POST", prov+"/groups/none/approve-deletion", nil)
	if s := h.send(t, access.Owner, "POST", prov+"/groups/"+g+"/replace", nil).status; s >= 500 {
		t.Errorf("replace: %d", s)
	}

	t.Run("import", func(t *testing.T) {
		started := h.want(t, 202, "POST", prov+"/imports", nil)
		imp := started.header.Get("Location")
		eventually(t, "the accounts are listed", func() bool { return h.want(t, 200, "GET", imp, nil).text(t, "state") == "listed" })
		if got := h.want(t, 200, "GET", imp+"/accounts?status=matched", nil).items(t); len(got) != 1 {
			t.Errorf("%v", got)
		}
		matched := h.want(t, 200, "GET", imp+"/accounts", nil).items(t)[0]
		begun := h.want(t, 202, "POST", imp+"/jobs", object{"act": "create", "remoteIds": []string{matched["remoteId"].(string)}})
		job := begun.header.Get("Location")
		eventually(t, "the job is done", func() bool { return h.want(t, 200, "GET", job, nil).text(t, "state") == "done" })
		if got := h.want(t, 200, "GET", job, nil).json(t); got["created"] != 0.0 || got["skipped"] != 1.0 || got["done"] != 1.0 {
			t.Errorf("%v", got)
		}
		if got := h.want(t, 200, "GET", imp+"/jobs", nil).items(t); len(got) != 1 {
			t.Errorf("%v", got)
		}
		if got := h.want(t, 200, "GET", imp+"/accounts?outcome=skipped", nil).items(t); len(got) != 1 {
			t.Errorf("%v", got)
		}
		h.want(t, 422, "POST", imp+"/jobs", object{"act": "undo"})
		h.want(t, 422, "POST", imp+"/jobs", object{"act": "create"})
		h.want(t, 404, "GET", imp+"/jobs/none", nil)
		h.wantAs(t, access.HelpDesk, 403, "POST", imp+"/jobs", object{"act": "create", "status": "new"})
		if got := h.want(t, 200, "GET", prov+"/imports", nil).items(t); len(got) != 1 {
			t.Errorf("%v", got)
		}
		h.want(t, 404, "GET", prov+"/imports/none", nil)
		_, other := h.application(t, object{"connector": "atlassian-cloud", "label": "Another"})
		h.want(t, 404, "GET", other+"/provisioning/imports/"+started.text(t, "id"), nil)
		h.want(t, 404, "POST", other+"/provisioning/imports/"+started.text(t, "id")+"/jobs", object{"act": "create", "status": "new"})
	})

	t.Run("drift", func(t *testing.T) {
		drift := prov + "/drift"
		d := h.want(t, 200, "GET", drift, nil).json(t)
		if d["report"] != nil || d["next"] == "" || d["settings"].(object)["everyHours"] != 24.0 {
			t.Errorf("%v", d)
		}
		h.want(t, 409, "POST", drift+"/plan", object{"all": true}) // never compared
		h.want(t, 422, "PUT", drift+"/settings", object{"everyHours": 24, "policy": "report", "attributes": object{"active": "theirs"}, "deleted": "report"})
		set := h.want(t, 200, "PUT", drift+"/settings", object{"everyHours": 12, "policy": "report", "attributes": object{"title": "theirs"}, "deleted": "park"}).json(t)
		if set["settings"].(object)["deleted"] != "park" {
			t.Errorf("%v", set)
		}
		for _, r := range target.Resources(scim.User) {
			r = r.Clone()
			r["displayName"] = "Somebody Else"
			target.Put(scim.User, r)
		}
		h.want(t, 202, "POST", drift, nil)
		eventually(t, "it is compared", func() bool {
			r, _ := h.want(t, 200, "GET", drift, nil).json(t)["report"].(object)
			return r["state"] == "done"
		})
		rows := h.want(t, 200, "GET", drift+"/findings?finding=changed&state=open&kind=user", nil).items(t)
		if len(rows) != 1 || rows[0]["objectId"] != ada || rows[0]["differences"].([]any)[0].(object)["theirs"] != "Somebody Else" {
			t.Fatalf("%v", rows)
		}
		one := object{"remoteIds": []any{rows[0]["remoteId"]}}
		p := h.want(t, 200, "POST", drift+"/plan", one).json(t)
		if p["objects"] != 1.0 || p["hash"] == "" || len(p["steps"].([]any)) != 1 {
			t.Errorf("%v", p)
		}
		h.want(t, 422, "POST", drift+"/repair", object{"all": true})
		h.want(t, 409, "POST", drift+"/repair", object{"all": true, "hash": "stale"})
		h.want(t, 202, "POST", drift+"/repair", object{"all": true, "hash": p["hash"]})
		eventually(t, "it is put right", func() bool {
			rows := h.want(t, 200, "GET", drift+"/findings?text=ada", nil).items(t)
			return len(rows) == 1 && rows[0]["state"] == "repaired"
		})
		if got := target.Resources(scim.User)[0].DisplayName(); got == "Somebody Else" {
			t.Error("it isn't put right there")
		}
		h.want(t, 409, "POST", drift+"/keep", one) // nothing is open
		h.want(t, 409, "POST", prov+"/links/user/"+ada+"/recreate", nil)
		if got := h.want(t, 200, "GET", drift+"/reports", nil).items(t); len(got) != 1 {
			t.Errorf("%v", got)
		}
		h.want(t, 404, "GET", "/api/v1/applications/none/provisioning/drift", nil)
	})

	if s := h.want(t, 200, "POST", prov+"/pause", object{"reason": "Holidays."}); s.text(t, "state") != "paused" || s.text(t, "reason") != "Holidays." {
		t.Errorf("%s", s.body)
	}
	h.want(t, 409, "POST", prov+"/pause", nil)
	h.want(t, 200, "POST", prov+"/resume", nil)
	h.want(t, 409, "POST", prov+"/resume", nil)
	bad := h.want(t, 422, "PUT", path+"/scim/token", object{"token": "wrong-wrong-wrong"})
	if strings.Contains(string(bad.body), "wrong-wrong") {
		t.Errorf("the token was repeated: %s", bad.body)
	}
	h.want(t, 200, "PUT", path+"/scim/token", object{"token": scimtest.Token})
	h.want(t, 409, "DELETE", path+"?label=Atlassian", nil)
	h.want(t, 200, "POST", prov+"/deactivate", nil)
	h.want(t, 404, "GET", "/api/v1/applications/none/provisioning", nil)
	h.want(t, 404, "GET", "/api/v1/applications/none/provisioning/links", nil)
}

func TestEvents(t *testing.T) {
	h := newHouse(t)
	r := h.user(t, "ada@example.com")
	id, request := r.text(t, "id"), r.header.Get("X-Request-Id")
	h.user(t, "grace@example.com")
	all := h.want(t, 200, "GET", "/api/v1/events?type=user_create&limit=1", nil)
	if len(all.items(t)) != 1 || all.text(t, "next") == "" {
		t.Errorf("%s", all.body)
	}
	got := h.want(t, 200, "GET", "/api/v1/events?correlation="+request, nil).items(t)
	if len(got) != 1 {
		t.Fatalf("%v", got)
	}
	e := got[0]
	actor := e["actor"].(object)
	if e["type"] != "user_create" || e["object"].(object)["id"] != id || actor["kind"] != "api_key" || actor["address"] != "192.0.2.7" || actor["name"] != "key of owner" {
		t.Errorf("%v", e)
	}
	one := h.want(t, 200, "GET", "/api/v1/events/"+e["id"].(string), nil).json(t)
	if d := cmp.Diff(e, one); d != "" {
		t.Error(d)
	}
	h.want(t, 404, "GET", "/api/v1/events/none", nil)
	for query, n := range map[string]int{
		"?objectKind=user&object=" + id: 1, "?text=LOVELACE": 2, "?type=user_create,group_create": 2, "?outcome=failure": 0,
		"?from=2001-01-01T00:00:00Z&to=2001-01-02T00:00:00Z": 0, "?application=none": 0, "?actor=none": 0, "?cause=none": 0,
	} {
		if got := h.want(t, 200, "GET", "/api/v1/events"+query, nil).items(t); len(got) != n {
			t.Errorf("%s finds %d, want %d", query, len(got), n)
		}
	}
}

func TestIdempotencyKey(t *testing.T) {
	storetest.Each(t, testIdempotencyKey)
}

func testIdempotencyKey(t *testing.T, db *store.DB) {
	h := newHouseOn(t, db)
	body := object{"email": "ada@example.com", "givenName": "Ada"}
	first := h.want(t, 201, "POST", "/api/v1/users", body, "Idempotency-Key", "one")
	again := h.want(t, 201, "POST", "/api/v1/users", body, "Idempotency-Key", "one")
	if !bytes.Equal(first.body, again.body) || again.header.Get("Idempotent-Replayed") != "true" || again.header.Get("Location") != first.header.Get("Location") || again.header.Get("ETag") != `"1"` {
		t.Errorf("the answer isn't the same: %s / %s", first.body, again.body)
	}
	if got := h.want(t, 200, "GET", "/api/v1/users", nil).items(t); len(got) != 1 {
		t.Errorf("%d people", len(got))
	}
	h.want(t, 409, "POST", "/api/v1/users", object{"email": "other@example.com"}, "Idempotency-Key", "one")
	h.want(t, 409, "POST", "/api/v1/groups", body, "Idempotency-Key", "one")
	// Keys of different callers have nothing to do with each other.
	h.wantAs(t, access.Administrator, 201, "POST", "/api/v1/groups", object{"name": "x"}, "Idempotency-Key", "one")
	// What failed may be tried again.
	h.want(t, 422, "POST", "/api/v1/users", object{"email": "x"}, "Idempotency-Key", "two")
	h.want(t, 201, "POST", "/api/v1/users", object{"email": "x@example.com"}, "Idempotency-Key", "two")
	h.want(t, 422, "POST", "/api/v1/users", body, "Idempotency-Key", strings.Repeat("k", 256))
	h.want(t, 413, "POST", "/api/v1/users", strings.Repeat("x", 2<<20), "Idempotency-Key", "big")

	t.Run("a secret is neither kept nor shown twice", func(t *testing.T) {
		k := h.want(t, 201, "POST", "/api/v1/api-keys", object{"name": "k", "role": "read_only"}, "Idempotency-Key", "key")
		r := h.want(t, 409, "POST", "/api/v1/api-keys", object{"name": "k", "role": "read_only"}, "Idempotency-Key", "key")
		if strings.Contains(string(r.body), k.text(t, "secret")) {
			t.Error("shown twice")
		}
		if got := h.want(t, 200, "GET", "/api/v1/api-keys", nil).items(t); len(got) != 5 {
			t.Errorf("%d keys", len(got))
		}
	})

	t.Run("at the same time", func(t *testing.T) {
		const n = 6
		done := make(chan int, n)
		for range n {
			go func() {
				done <- h.send(t, access.Owner, "POST", "/api/v1/users", object{"email": "many@example.com"}, "Idempotency-Key", "many").status
			}()
		}
		count := map[int]int{}
		for range n {
			count[<-done]++
		}
		if count[201] == 0 || count[201]+count[409] != n {
			t.Errorf("statuses %v", count)
		}
		if got := h.want(t, 200, "GET", "/api/v1/users?text=many", nil).items(t); len(got) != 1 {
			t.Errorf("%d people", len(got))
		}
	})

	t.Run("forgotten after a day", func(t *testing.T) {
		h.later(25 * time.Hour)
		h.want(t, 409, "POST", "/api/v1/users", body, "Idempotency-Key", "one") // the e-mail is taken
		n := 0
		h.must(h.db.View(t.Context(), func(tx *store.Tx) (err error) {
			n, err = store.One(tx, store.Scalar[int], `SELECT count(*) FROM idempotency_keys`)
			return err
		}))
		if n != 0 {
			t.Errorf("%d old answers are kept", n)
		}
	})
}

// least is the weakest role that may carry out an operation, by its id. Operations that aren't
// listed need an administrator when they change something, and read-only when they don't.
var least = map[string]access.Role{
	"suspend-user": access.HelpDesk, "unsuspend-user": access.HelpDesk, "set-role": access.Owner, "set-password": access.HelpDesk, "end-sessions": access.HelpDesk,
	"list-api-keys": access.Administrator, "list-mails": access.Administrator,
	// They change nothing.
	"inspect-message": access.ReadOnly, "simulate-sign-on": access.ReadOnly, "plan-repair": access.ReadOnly,
}

func TestEveryOperationAsksForItsRole(t *testing.T) {
	h := newHouse(t)
	var doc struct {
		Paths map[string]map[string]struct{ OperationID string }
	}
	if err := json.Unmarshal(h.send(t, "", "GET", "/api/openapi.json", nil).body, &doc); err != nil {
		t.Fatal(err)
	}
	bodies := map[string]any{
		"create-user": object{"email": "new@example.com"}, "create-group": object{"name": "New"}, "create-application": object{"connector": "bookmark", "label": "New", "bookmarkUrl": "https://x.example.com"},
		"set-role": object{"role": ""}, "set-password": object{"password": "violet teapot orbits 93 gravel"}, "change-members": object{}, "create-api-key": object{"name": "x", "role": "read_only"},
		"change-slug": object{"slug": "other"}, "upload-certificate": object{"certificate": "x", "privateKey": "x"}, "set-scim-token": object{"token": "x"},
		"start-import-job": object{"act": "create"}, "set-logo": "x", "import-metadata": "<x/>", "preview-metadata": "<x/>", "list-metadata-entities": "<x/>",
		"watch-metadata": object{"url": "https://sp.example.com/"}, "approve-metadata": object{"hash": "x"}, "dismiss-metadata": object{"hash": "x"},
		"close-receipt": object{"note": "x"}, "set-alarms": object{"receiptSeconds": 60, "silenceSeconds": 60},
		"plan-repair": object{}, "repair": object{"hash": "x"}, "keep-drift": object{},
		"set-drift":    object{"everyHours": 24, "policy": "report", "attributes": object{}, "deleted": "report"},
		"apply-change": object{"change": object{}}, "inspect-message": object{"message": "x"}, "simulate-sign-on": object{"userId": "none"}, "test-mail": object{"to": "ada@example.com"}, "import-users": "email\nx@example.com\n",
	}
	ada := h.user(t, "ada@example.com").text(t, "id")
	g := h.want(t, 201, "POST", "/api/v1/groups", object{"name": "Engineers"}).text(t, "id")
	id, _ := h.application(t, object{"connector": "atlassian-cloud", "label": "Atlassian"})
	// What the others need is deleted last.
	last := func(path string) bool {
		return slices.Contains([]string{"/api/v1/users/{id}", "/api/v1/groups/{id}", "/api/v1/applications/{id}"}, path)
	}
	paths := slices.SortedFunc(maps.Keys(doc.Paths), func(a, b string) int {
		if last(a) != last(b) {
			return map[bool]int{true: 1, false: -1}[last(a)]
		}
		return strings.Compare(a, b)
	})
	for _, path := range paths {
		ops := doc.Paths[path]
		for _, method := range slices.Backward(slices.Sorted(maps.Keys(ops))) {
			op := ops[method]
			method = strings.ToUpper(method)
			url := strings.NewReplacer("/users/{id}", "/users/"+ada, "/groups/{id}", "/groups/"+g, "/applications/{id}", "/applications/"+id,
				"{user}", ada, "{group}", g, "{kind}", "user", "{object}", ada, "{status}", "next", "{slug}", "other", "{import}", "none", "{job}", "none", "{id}", "none").Replace(path)
			if op.OperationID == "delete-application" {
				url += "?label=Wrong"
			}
			body := bodies[op.OperationID]
			if body == nil && method == http.MethodPatch {
				body = object{}
			}
			needs, ok := least[op.OperationID]
			if !ok {
				needs = access.Administrator
				if method == http.MethodGet {
					needs = access.ReadOnly
				}
			}
			t.Run(op.OperationID, func(t *testing.T) {
				if r := h.send(t, "", method, url, body); r.status != 401 {
					t.Errorf("without a key: %d", r.status)
				}
				// From the weakest on, so that the strong ones' changes come last.
				for _, role := range slices.Backward(access.Roles()) {
					r := h.send(t, role, method, url, body)
					allowed := role.AtLeast(needs)
					if allowed && (r.status == 401 || r.status == 403 || r.status == 405 || r.status >= 500) {
						t.Errorf("%s is kept from %s %s: %d %s", role, method, url, r.status, r.body)
					}
					if !allowed && r.status != 403 {
						t.Errorf("%s gets %d from %s %s: %s", role, r.status, method, url, r.body)
					}
					if allowed {
						break // a stronger one may, too
					}
				}
			})
		}
	}
}

func TestClient(t *testing.T) {
	h := newHouse(t)
	c := &api.Client{URL: h.server.URL, Key: h.keys[access.Owner], HTTP: h.server.Client()}
	ctx := t.Context()
	if me, err := c.Me(ctx); err != nil || me.Role != access.Owner {
		t.Fatalf("%+v, %v", me, err)
	}
	var n api.NewUser
	n.Email, n.GivenName, n.State = "ada@example.com", "Ada", "active"
	u, err := c.CreateUser(ctx, n)
	h.must(err)
	for i := range 5 {
		n.Email, n.Username = fmt.Sprintf("u%d@example.com", i), ""
		_, err := c.CreateUser(ctx, n)
		h.must(err)
	}
	var emails []string
	for u, err := range c.Users(ctx, api.UserQuery{Text: "example", Limit: 2}) {
		h.must(err)
		emails = append(emails, u.Email)
	}
	if len(emails) != 6 {
		t.Errorf("%v", emails)
	}
	u, err = c.UpdateUser(ctx, string(u.ID), u.Version, map[string]any{"title": "Countess"})
	if err != nil || u.Title != "Countess" || u.Version != 2 {
		t.Errorf("%+v, %v", u, err)
	}
	_, err = c.UpdateUser(ctx, string(u.ID), 1, map[string]any{"title": "x"})
	var p *api.Problem
	if !errorsAs(err, &p) || p.Status != 412 {
		t.Errorf("stale: %v", err)
	}
	u, err = c.SuspendUser(ctx, string(u.ID))
	if err != nil || u.State != "suspended" {
		t.Errorf("%+v, %v", u, err)
	}
	g, err := c.CreateGroup(ctx, api.NewGroup{})
	if !errorsAs(err, &p) || p.Status != 422 || !strings.Contains(p.Error(), "name") {
		t.Errorf("%+v, %v", g, err)
	}
	var ng api.NewGroup
	ng.Name = "Engineers"
	g, err = c.CreateGroup(ctx, ng)
	h.must(err)
	if r, err := c.ChangeMembers(ctx, string(g.ID), api.MembersChange{Add: []UserID{u.ID}}); err != nil || r.Added != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	report, err := c.ImportUsers(ctx, strings.NewReader("email\nnew@example.com\n"), api.ImportOptions{DryRun: true, Format: "csv", Source: "x.csv"})
	if err != nil || report.Created != 1 || !report.DryRun {
		t.Errorf("%+v, %v", report, err)
	}
	var na api.NewApplication
	na.Connector, na.Label = "atlassian-cloud", "Atlassian"
	a, err := c.CreateApplication(ctx, na)
	h.must(err)
	h.must(c.Bind(ctx, string(a.ID), string(g.ID)))
	for x, err := range c.Applications(ctx, "") {
		if err != nil || x.Groups != 1 {
			t.Errorf("%+v, %v", x, err)
		}
	}
	types := map[string]int{}
	for e, err := range c.Events(ctx, api.EventQuery{Limit: 3}) {
		h.must(err)
		types[string(e.Type)]++
	}
	if types["user_create"] != 6 || types["association_change"] == 0 {
		t.Errorf("%v", slices.Sorted(maps.Keys(types)))
	}
	h.must(c.DeleteUser(ctx, string(u.ID)))
	if _, err := c.User(ctx, string(u.ID)); !errorsAs(err, &p) || p.Status != 404 {
		t.Errorf("a deleted person: %v", err)
	}
	if _, err := (&api.Client{URL: h.server.URL, Key: "wrong", HTTP: h.server.Client()}).Me(ctx); !errorsAs(err, &p) || p.Status != 401 {
		t.Errorf("a wrong key: %v", err)
	}
}
