package browser

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// scimCall is a request of somebody else's to the rehearsal, with its answer.
func scimCall(t *testing.T, key, method, address, body string) map[string]any {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/scim+json")
	if key == "" {
		req.Header.Set("Content-Type", "application/json")
	} else {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	req.Header.Set("User-Agent", "somebody")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode >= 300 {
		t.Fatalf("%s %s: %d %s", method, address, resp.StatusCode, raw)
	}
	var out map[string]any
	if len(raw) > 0 && raw[0] == '{' {
		if err := json.Unmarshal(raw, &out); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// TestDrift has somebody change things at the application, compares, and puts it right.
func TestDrift(t *testing.T) {
	in := start(t)
	var seq int
	ada := newPerson(t, "drift-", &seq)
	ada.colours("light")
	ada.signIn(in, seedOwner, seedPassword)
	ada.open(in.url + "/console/applications?q=atlassian")
	app := ada.hrefOf(label)

	// A key of somebody else's: the demo's is sealed.
	var dirs []struct{ ID string }
	raw := fetch(t, in.site+"/rehearsal/api/directories", "")
	if err := json.Unmarshal([]byte(raw), &dirs); err != nil || len(dirs) == 0 {
		t.Fatalf("%v: %s", err, raw)
	}
	prov := scimCall(t, "", "POST", in.site+"/rehearsal/api/directories/"+dirs[0].ID+"/provisioning/key", "")
	base, key := prov["baseUrl"].(string), prov["apiKey"].(string)
	ada.open(app + "/provisioning/token")
	ada.fill("New token", key)
	ada.follow("Try it and replace", "")
	ada.comesToSee("37")

	ada.open(app + "/provisioning/drift")
	ada.sees("has not been compared yet")
	users := scimCall(t, key, "GET", base+"/Users?startIndex=1&count=6", "")["Resources"].([]any)
	patch := func(n int, path, value string) {
		scimCall(t, key, "PATCH", base+"/Users/"+users[n].(map[string]any)["id"].(string),
			`{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"replace","path":"`+path+`","value":`+value+`}]}`)
	}
	patch(0, "title", `"Somebody else's idea"`)
	patch(0, "displayName", `"Another Name"`)
	patch(1, "active", `false`)
	scimCall(t, key, "DELETE", base+"/Users/"+users[2].(map[string]any)["id"].(string), "")
	zoe := scimCall(t, key, "POST", base+"/Users", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"zoe","displayName":"Zoe Stranger","emails":[{"value":"zoe@`+domain+`","type":"work","primary":true}],"active":true}`)
	group := scimCall(t, key, "GET", base+"/Groups?filter="+url.QueryEscape(`displayName eq "Engineering"`), "")["Resources"].([]any)[0].(map[string]any)
	scimCall(t, key, "PATCH", base+"/Groups/"+group["id"].(string),
		`{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"add","path":"members","value":[{"value":"`+zoe["id"].(string)+`"}]}]}`)

	ada.follow("Compare now", "")
	ada.comesToSee("as of")
	ada.sees("Zoe Stranger", "Deleted there", "Switched off", "Other values", "Other members")
	look := func(name string) {
		for _, scheme := range []string{"light", "dark"} {
			ada.colours(scheme)
			ada.size(1280, 900)
			ada.shot(name + "-1280-" + scheme)
			ada.size(390, 844)
			ada.shot(name + "-390-" + scheme)
		}
		ada.colours("light")
		ada.size(1280, 900)
	}
	look("report")
	var j judge
	j.rules(ada, "drift")
	j.wide(ada, "drift")

	ada.follow("Put all right…", "")
	ada.sees("Put right exactly this", "PATCH", "POST")
	look("repair")
	j.rules(ada, "repair")
	ada.follow("Put right", "")
	ada.sees("being put right")
	ada.open(app + "/provisioning/drift?finding=changed")
	ada.comesToSee("Put right")
	ada.contented()
	for _, x := range j.problems {
		t.Error(x)
	}
}
