package api_test

import (
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/scim/scimtest"
)

// TestChangesAreMadeByTheirPlan changes an active application by each write that may send
// something.
func TestChangesAreMadeByTheirPlan(t *testing.T) {
	h := newHouse(t)
	base := scimtest.New(scimtest.Atlassian()).Start(t)
	id, path := h.application(t, object{"connector": "atlassian-cloud", "label": "Atlassian"})
	person := func(name, department string) string {
		return h.want(t, 201, "POST", "/api/v1/users", object{
			"email": name + "@example.com", "givenName": name, "familyName": "Example", "state": "active", "department": department,
		}).text(t, "id")
	}
	ada, bob := person("ada", "Research"), person("bob", "Sales")
	engineers := h.want(t, 201, "POST", "/api/v1/groups", object{"name": "Engineers", "members": []string{ada}}).text(t, "id")
	sales := h.want(t, 201, "POST", "/api/v1/groups", object{"name": "Sales", "members": []string{bob}}).text(t, "id")
	h.want(t, 204, "PUT", path+"/groups/"+engineers, nil)
	h.want(t, 200, "PATCH", path+"/scim", object{"baseUrl": base, "manageGroups": true, "ratePerSecond": 1000, "burst": 100})
	h.want(t, 200, "PUT", path+"/scim/token", object{"token": scimtest.Token})
	prov := path + "/provisioning"
	h.want(t, 200, "POST", prov+"/activate", nil)
	settled := func() {
		t.Helper()
		quiet := 0
		eventually(t, "everything is sent", func() bool {
			s := h.want(t, 200, "GET", prov, nil).json(t)
			if s["waiting"] == 0.0 && s["users"].(object)["pending"] == 0.0 {
				quiet++
			}
			return quiet > 20
		})
	}
	settled()

	mapping := object{"mapping": object{"rows": []object{{"target": "title", "source": object{"expression": "user.department"}}}}}
	for _, c := range []struct {
		name, method, url string
		body              any
		change            object
		success           int
		count             func(counts object) any
		want              float64
	}{
		{"mapping", "PATCH", path + "/scim", mapping, object{"settings": mapping}, 200, func(c object) any { return c["users"].(object)["update"] }, 1},
		{"bind", "PUT", path + "/groups/" + sales, nil, object{"bind": []string{sales}}, 204, func(c object) any { return c["users"].(object)["create"] }, 1},
		{"unbind", "DELETE", path + "/groups/" + sales, nil, object{"unbind": []string{sales}}, 204, func(c object) any { return c["users"].(object)["deactivate"] }, 1},
		{"scope", "PATCH", path + "/scim", object{"scopeFilter": `user.department == "Law"`}, object{"settings": object{"scopeFilter": `user.department == "Law"`}}, 200, func(c object) any { return c["users"].(object)["deactivate"] }, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			refused := h.want(t, 409, c.method, c.url, c.body)
			told := refused.json(t)
			if !strings.Contains(told["detail"].(string), "plan") || told["plan"] == nil {
				t.Fatalf("%s", refused.body)
			}
			p := h.want(t, 200, "POST", prov+"/plan", object{"change": c.change}).json(t)
			if got := c.count(p["counts"].(object)); got != c.want {
				t.Errorf("counts %v", p["counts"])
			}
			if told["plan"].(object)["hash"] != p["hash"] {
				t.Errorf("the refusal tells another plan: %s", refused.body)
			}
			stale := h.want(t, 409, c.method, c.url+"?planHash=0123", c.body)
			if !strings.Contains(string(stale.body), "Nothing was changed") {
				t.Errorf("%s", stale.body)
			}
			h.want(t, c.success, c.method, c.url+"?planHash="+p["hash"].(string), c.body)
			settled()
			if left := h.want(t, 200, "GET", prov+"/plan", nil).json(t); len(left["steps"].([]any)) != 0 {
				t.Errorf("left: %v", left)
			}
			// Made already, it has nothing to send.
			h.want(t, c.success, c.method, c.url, c.body)
		})
	}

	t.Run("as one", func(t *testing.T) {
		change := object{"settings": object{"scopeFilter": ""}, "bind": []string{sales}}
		h.want(t, 409, "POST", prov+"/changes", object{"change": change})
		p := h.want(t, 200, "POST", prov+"/plan", object{"change": change}).json(t)
		if got := p["counts"].(object)["users"].(object)["reactivate"]; got != 2.0 {
			t.Errorf("%v", p["counts"])
		}
		r := h.want(t, 200, "POST", prov+"/changes", object{"change": change, "planHash": p["hash"]}).json(t)
		if r["scim"].(object)["scopeFilter"] != "" || r["groups"] != 2.0 {
			t.Errorf("%v", r)
		}
		settled()
	})
	t.Run("refused", func(t *testing.T) {
		r := h.want(t, 422, "POST", prov+"/plan", object{"change": object{"settings": object{"scopeFilter": "user.nobody == 1"}}})
		if !strings.Contains(string(r.body), "Line 1, column 5") {
			t.Errorf("%s", r.body)
		}
		h.want(t, 422, "POST", prov+"/plan", object{"change": object{"settings": object{"scope": "x"}}})
		h.want(t, 404, "POST", prov+"/plan", object{"change": object{"bind": []string{"none"}}})
		h.want(t, 404, "GET", prov+"/plan?user=none", nil)
	})
	t.Run("one person and everything", func(t *testing.T) {
		if p := h.want(t, 200, "GET", prov+"/plan?user="+ada, nil).json(t); len(p["steps"].([]any)) != 0 {
			t.Errorf("%v", p)
		}
		if p := h.want(t, 200, "POST", prov+"/plan", nil).json(t); len(p["steps"].([]any)) != 0 {
			t.Errorf("%v", p)
		}
		list := h.want(t, 200, "GET", "/api/v1/provisioning/plans", nil).items(t)
		if len(list) != 1 || list[0]["application"] != id || list[0]["plan"] == nil {
			t.Errorf("%v", list)
		}
	})
	// Paused, nothing is sent, so nothing has to be approved.
	h.want(t, 200, "POST", prov+"/pause", nil)
	h.want(t, 204, "DELETE", path+"/groups/"+sales, nil)
}
