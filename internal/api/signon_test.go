package api_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
)

const (
	spMetadata = `<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="https://sp.example.com">
		<SPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">
		<AssertionConsumerService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="https://sp.example.com/ACS" index="0" isDefault="true"/>
		</SPSSODescriptor></EntityDescriptor>`
	xmlType = "application/samlmetadata+xml"
)

// federation holds two service providers.
func federation() string {
	return `<EntitiesDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata">` + spMetadata +
		strings.ReplaceAll(spMetadata, "sp.example.com", "other.example.com") + `</EntitiesDescriptor>`
}

func TestMetadataOfTheServiceProvider(t *testing.T) {
	document := spMetadata
	h := newHouse(t)
	h.fetch = func(context.Context, app.Request) (app.Answer, error) {
		return app.Answer{Body: io.NopCloser(strings.NewReader(document))}, nil
	}
	_, path := h.application(t, object{"connector": "custom-saml", "label": "Custom"})
	source := path + "/saml/metadata-source"

	t.Run("several in one document", func(t *testing.T) {
		got := h.want(t, 200, "POST", "/api/v1/saml/metadata/entities", federation(), "Content-Type", xmlType).json(t)["items"].([]any)
		if len(got) != 2 || got[1] != "https://other.example.com" {
			t.Errorf("%v", got)
		}
		h.want(t, 422, "POST", path+"/saml/metadata/preview", federation(), "Content-Type", xmlType)
		p := h.want(t, 200, "POST", path+"/saml/metadata/preview?entityId=https://other.example.com", federation(), "Content-Type", xmlType).json(t)
		if len(p["changes"].([]any)) == 0 || p["hash"] == "" {
			t.Errorf("%v", p)
		}
		if s := h.want(t, 200, "GET", path+"/saml", nil).json(t); s["spEntityId"] != "" {
			t.Errorf("the preview has changed settings: %v", s)
		}
	})
	t.Run("watched", func(t *testing.T) {
		h.want(t, 404, "GET", source, nil)
		h.want(t, 422, "PUT", source, object{"url": "ftp://sp.example.com/"})
		first := h.want(t, 200, "PUT", source, object{"url": "https://sp.example.com/metadata"}).json(t)
		if first["proposal"] != nil || first["checkedAt"] == nil {
			t.Errorf("an application without values takes them at once: %v", first)
		}
		if s := h.want(t, 200, "GET", path+"/saml", nil).json(t); s["spEntityId"] != "https://sp.example.com" {
			t.Errorf("%v", s)
		}
		document = strings.ReplaceAll(spMetadata, "/ACS", "/acs/new")
		changed := h.want(t, 200, "POST", source+"/check", nil).json(t)
		proposal, ok := changed["proposal"].(object)
		if !ok || len(proposal["changes"].([]any)) == 0 {
			t.Fatalf("no proposal: %v", changed)
		}
		h.want(t, 409, "POST", source+"/approve", object{"hash": "another"})
		if s := h.want(t, 200, "GET", path+"/saml", nil).json(t); strings.HasSuffix(s["acs"].([]any)[0].(object)["url"].(string), "new") {
			t.Error("a change was taken without a word")
		}
		h.want(t, 200, "POST", source+"/approve", object{"hash": proposal["hash"]})
		if s := h.want(t, 200, "GET", path+"/saml", nil).json(t); !strings.HasSuffix(s["acs"].([]any)[0].(object)["url"].(string), "new") {
			t.Errorf("%v", s)
		}
		document = strings.ReplaceAll(spMetadata, "/ACS", "/acs/newer")
		p := h.want(t, 200, "POST", source+"/check", nil).json(t)["proposal"].(object)
		h.want(t, 204, "POST", source+"/dismiss", object{"hash": p["hash"]})
		if again := h.want(t, 200, "POST", source+"/check", nil).json(t); again["proposal"] != nil {
			t.Errorf("what was turned down is proposed again: %v", again)
		}
		h.want(t, 204, "DELETE", source, nil)
		h.want(t, 404, "GET", source, nil)
	})
}

func TestCertificateSizes(t *testing.T) {
	h := newHouse(t)
	_, path := h.application(t, object{"connector": "custom-saml", "label": "Custom"})
	next := h.want(t, 201, "POST", path+"/certificates", object{"bits": 3072, "days": 30}).json(t)
	if left := next["daysLeft"].(float64); left < 29 || left > 30 {
		t.Errorf("%v days left", left)
	}
	h.want(t, 422, "POST", path+"/certificates", object{"bits": 1024})
	h.want(t, 422, "POST", path+"/certificates", object{"days": 36500})
}

func TestInspector(t *testing.T) {
	h := newHouse(t)
	_, path := h.application(t, object{"connector": "custom-saml", "label": "Custom"})
	h.want(t, 200, "PATCH", path+"/saml", object{
		"spEntityId": "https://sp.example.com", "acs": []object{{"index": 0, "url": "https://sp.example.com/acs", "default": true}},
	})
	h.want(t, 200, "POST", path+"/saml/activate", nil)
	ada := h.want(t, 201, "POST", "/api/v1/users", object{"email": "ada@example.com", "givenName": "Ada", "familyName": "Lovelace", "state": "active"}).text(t, "id")

	simulate := h.want(t, 200, "POST", path+"/saml/simulate", object{"userId": ada}).json(t)
	if simulate["granted"] != false || len(simulate["refusals"].([]any)) != 1 {
		t.Errorf("somebody in no group: %v", simulate)
	}
	g := h.want(t, 201, "POST", "/api/v1/groups", object{"name": "Engineers", "members": []string{ada}}).text(t, "id")
	h.want(t, 204, "PUT", path+"/groups/"+g, nil)
	simulate = h.want(t, 200, "POST", path+"/saml/simulate", object{"userId": ada}).json(t)
	if simulate["granted"] != true || simulate["nameId"].(object)["value"] == "" || strings.Contains(simulate["xml"].(string), "SignatureValue") {
		t.Errorf("%v", simulate)
	}
	h.want(t, 422, "POST", path+"/saml/simulate", object{"userId": ada, "acs": "https://evil.example.com/"})

	sso := h.want(t, 200, "GET", path, nil).json(t)["urls"].(object)["sso"].(string)
	request := samltest.Request{ID: saml.NewID(), Issuer: "https://sp.example.com", Destination: sso, IssueInstant: time.Now().UTC()}.XML()
	got := h.want(t, 200, "POST", path+"/saml/inspect", object{"message": sso + "?" + samltest.RedirectQuery(request, "")}).json(t)
	if got["message"] != "AuthnRequest" || got["failed"] != 0.0 || len(got["findings"].([]any)) < 5 {
		t.Errorf("%v", got)
	}
	stale := samltest.Request{ID: saml.NewID(), Issuer: "https://sp.example.com", Destination: sso, IssueInstant: time.Now().Add(-time.Hour).UTC()}.XML()
	if got := h.want(t, 200, "POST", path+"/saml/inspect", object{"message": string(stale)}).json(t); got["failed"] == 0.0 {
		t.Errorf("a stale request: %v", got)
	}
	h.want(t, 422, "POST", path+"/saml/inspect", object{"message": "no message"})

	// Anybody's request is an exchange, also one that ends at a page.
	mux := http.NewServeMux()
	h.signOn.Routes(mux)
	h.visit(t, mux, strings.TrimPrefix(sso, "https://id.example.org")+"?"+samltest.RedirectQuery(stale, ""))
	var list []object
	for deadline := time.Now().Add(20 * time.Second); len(list) == 0 && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		list = h.want(t, 200, "GET", path+"/saml/exchanges", nil).items(t)
	}
	if len(list) != 1 || list[0]["kind"] != "sign_on" || list[0]["outcome"] != "failure" {
		t.Fatalf("%v", list)
	}
	id := list[0]["id"].(string)
	one := h.want(t, 200, "GET", path+"/saml/exchanges/"+id, nil).json(t)
	if one["request"].(object)["xml"] == "" || len(one["request"].(object)["findings"].([]any)) == 0 {
		t.Errorf("%v", one)
	}
	if b := h.want(t, 200, "GET", path+"/saml/exchanges/"+id+"/bundle", nil).json(t); b["exchange"] == nil || b["application"] == nil {
		t.Errorf("%v", b)
	}
	_, other := h.application(t, object{"connector": "custom-saml", "label": "Other"})
	h.want(t, 404, "GET", other+"/saml/exchanges/"+id, nil)
	h.want(t, 404, "GET", other+"/saml/exchanges/"+id+"/bundle", nil)
}

func TestMails(t *testing.T) {
	h := newHouse(t)
	h.want(t, 204, "POST", "/api/v1/mails/test", object{"to": "ada@example.com"})
	h.want(t, 422, "POST", "/api/v1/mails/test", object{"to": "ada@example.com\r\nBcc: eve@example.com"})
	list := h.want(t, 200, "GET", "/api/v1/mails", nil).items(t)
	if len(list) != 1 || list[0]["to"] != "ada@example.com" || list[0]["state"] != "sent" {
		t.Errorf("%v", list)
	}
	h.want(t, 409, "POST", "/api/v1/mails/"+list[0]["id"].(string)+"/retry", nil)
	h.want(t, 404, "POST", "/api/v1/mails/none/retry", nil)
}

// visit sends a browser without a session to an address.
func (h *house) visit(t *testing.T, handler http.Handler, target string) {
	t.Helper()
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil))
	if w.Code < 400 {
		t.Errorf("%s: %d", target, w.Code)
	}
}
