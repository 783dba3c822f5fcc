package scim_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/scim"
)

func TestParseError(t *testing.T) {
	tests := []struct {
		name   string
		status int
		body   string
		want   scim.Error
	}{
		{"email clash", 409, string(fixture(t, "error-409-email.json")), scim.Error{Status: 409, ScimType: "uniqueness", Detail: "Resource [USER]: with email[a@b.c] already exists."}},
		{"group clash", 409, string(fixture(t, "error-409-group.json")), scim.Error{Status: 409, ScimType: "uniqueness", Detail: "Resource [GROUP]: with displayName already exists."}},
		{"filter", 400, string(fixture(t, "error-400-filter.json")), scim.Error{Status: 400, ScimType: "invalidFilter", Detail: "Resource [USER] invalid filter"}},
		{"unchanged email", 400, string(fixture(t, "error-400-primary.json")), scim.Error{Status: 400, Detail: "Resource [USER] One email address need to be marked as primary."}},
		{"gateway, not SCIM", 401, string(fixture(t, "error-401-gateway.json")), scim.Error{Status: 401, Detail: "Unauthorized"}},
		{"status as a number", 429, string(fixture(t, "error-429-number.json")), scim.Error{Status: 429, Detail: "Rate limit reached"}},
		{"HTML", 503, string(fixture(t, "error-503-gateway.html")), scim.Error{Status: 503, Detail: "The answer is an HTML page (503 Service Unavailable), not SCIM."}},
		{"nothing", 500, "", scim.Error{Status: 500}},
		{"plain text", 502, "  upstream\n\tgone ", scim.Error{Status: 502, Detail: "upstream gone"}},
		{"the HTTP status wins", 400, `{"status":"200","detail":"x"}`, scim.Error{Status: 400, Detail: "x"}},
		{"the body's status, where there is no other", 0, `{"status":"409"}`, scim.Error{Status: 409}},
		{"and as a number", 0, `{"status":409}`, scim.Error{Status: 409}},
		{"SCIM 1.1", 400, `{"Errors":[{"description":"bad","code":"400"}]}`, scim.Error{Status: 400, Detail: "bad"}},
		{"nested", 400, `{"error":{"message":"bad"}}`, scim.Error{Status: 400, Detail: "bad"}},
		{"oauth", 401, `{"error":"invalid_token","error_description":"The key has expired"}`, scim.Error{Status: 401, Detail: "The key has expired"}},
		{"other types in the fields", 400, `{"detail":{"a":1},"scimType":[],"status":{}}`, scim.Error{Status: 400}},
		{"an array", 400, `[1]`, scim.Error{Status: 400, Detail: "[1]"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, *scim.ParseError(tt.status, []byte(tt.body))); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestErrorWritesTheStandardForm(t *testing.T) {
	b, err := json.Marshal(&scim.Error{Status: 409, ScimType: scim.Uniqueness, Detail: "taken"})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"409","scimType":"uniqueness","detail":"taken"}`
	if string(b) != want {
		t.Errorf("got %s", b)
	}
}

func FuzzParseError(f *testing.F) {
	seeds, err := filepath.Glob("testdata/atlassian/error-*")
	if err != nil || len(seeds) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, name := range seeds {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(400, b)
	}
	f.Add(0, []byte("<title>"))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		e := scim.ParseError(status, body)
		if status != 0 && e.Status != status {
			t.Fatalf("status %d became %d", status, e.Status)
		}
		if len(e.Detail) > 510 || len(e.ScimType) > 50 {
			t.Fatalf("%d bytes of detail, %d of type", len(e.Detail), len(e.ScimType))
		}
		if !utf8.ValidString(e.Detail) || strings.ContainsAny(e.Detail, "\r\n\x00\x1b") {
			t.Fatalf("detail %q can't be shown", e.Detail)
		}
	})
}
