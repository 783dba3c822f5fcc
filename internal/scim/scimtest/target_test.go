package scimtest_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/scim/scimtest"
)

func start(t *testing.T, q scimtest.Quirks) (*scimtest.Target, *scim.Client) {
	t.Helper()
	target := scimtest.New(q)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	c, err := scim.NewClient(scim.ClientConfig{
		BaseURL: target.Start(t), Token: scim.NewToken(scimtest.Token), UserAgent: "test/1",
		HTTP: &http.Client{Transport: transport, Timeout: 5 * time.Second}, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return target, c
}

func user(name string) scim.Resource {
	return scim.Resource{
		"schemas": []any{scim.SchemaUser}, "userName": name, "externalId": "x-" + name,
		"emails": []any{map[string]any{"value": name + "@x.org", "type": "work", "primary": true}},
	}
}

func TestQuirks(t *testing.T) {
	replace := func(path string, v any) scim.PatchOp {
		return scim.NewPatch(scim.Operation{Op: scim.PatchReplace, Path: path, Value: v})
	}
	tests := []struct {
		name   string
		quirks scimtest.Quirks
		do     func(context.Context, *scim.Client, string) error
		want   string // class of the error and a part of its detail
	}{
		{"another token", scimtest.Quirks{Token: "other"}, func(ctx context.Context, c *scim.Client, id string) error {
			_, _, err := c.Get(ctx, scim.User, id)
			return err
		}, "unauthorized Unauthorized"},
		{"filters of Atlassian", scimtest.Atlassian(), func(ctx context.Context, c *scim.Client, _ string) error {
			_, _, err := c.FindUser(ctx, "emails.value", "a@x.org")
			return err
		}, "refused Resource [USER] invalid filter"},
		{"same e-mail again", scimtest.Atlassian(), func(ctx context.Context, c *scim.Client, id string) error {
			_, _, err := c.Patch(ctx, scim.User, id, replace("emails", user("ada")["emails"]))
			return err
		}, "refused One email address"},
		{"no primary e-mail", scimtest.Atlassian(), func(ctx context.Context, c *scim.Client, id string) error {
			_, _, err := c.Replace(ctx, scim.User, id, scim.Resource{"userName": "ada"})
			return err
		}, "refused One email address"},
		{"rename", scimtest.Atlassian(), func(ctx context.Context, c *scim.Client, _ string) error {
			g, _, err := c.Create(ctx, scim.Group, scim.Resource{"displayName": "A"})
			if err != nil {
				return err
			}
			_, _, err = c.Patch(ctx, scim.Group, g.ID(), replace("displayName", "B"))
			return err
		}, "refused immutable"},
		{"PATCH unknown", scimtest.Quirks{NoPatch: true}, func(ctx context.Context, c *scim.Client, id string) error {
			_, _, err := c.Patch(ctx, scim.User, id, replace("title", "x"))
			return err
		}, "refused not supported"},
		{"duplicate e-mail", scimtest.Quirks{StatusNumber: true}, func(ctx context.Context, c *scim.Client, _ string) error {
			other := user("bob")
			other["emails"] = user("ADA")["emails"]
			_, _, err := c.Create(ctx, scim.User, other)
			return err
		}, "conflict with email[ada@x.org] already exists"},
		{"unknown member", scimtest.Quirks{}, func(ctx context.Context, c *scim.Client, _ string) error {
			_, _, err := c.Create(ctx, scim.Group, scim.Resource{"displayName": "A", "members": []any{map[string]any{"value": "nobody"}}})
			return err
		}, "not_found nobody not found"},
		{"deleted", scimtest.Quirks{}, func(ctx context.Context, c *scim.Client, id string) error {
			if _, err := c.Delete(ctx, scim.User, id); err != nil {
				return err
			}
			_, err := c.Delete(ctx, scim.User, id)
			return err
		}, "not_found not found"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target, c := start(t, tt.quirks)
			err := tt.do(t.Context(), c, target.Put(scim.User, user("ada")))
			class, detail, _ := strings.Cut(tt.want, " ")
			if string(scim.ClassOf(err)) != class || !strings.Contains(err.Error(), detail) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestKept(t *testing.T) {
	target, c := start(t, scimtest.Quirks{Drop: []string{"title"}, LowerEmails: true, NoContent: true, Extension: map[string]any{"own": "x"}})
	u := user("Ada")
	u["title"], u["active"] = "x", "False"
	made, _, err := c.Create(t.Context(), scim.User, u)
	if err != nil {
		t.Fatal(err)
	}
	kept := target.Resource(scim.User, made.ID())
	got := []any{kept["title"], kept["active"], kept["own"], kept.Text(`emails[type eq "work"].value`)}
	if d := cmp.Diff([]any{nil, false, "x", "ada@x.org"}, got); d != "" {
		t.Error(d)
	}
	g, _, err := c.Create(t.Context(), scim.Group, scim.Resource{"displayName": "A", "members": []any{map[string]any{"value": made.ID()}}})
	if err != nil {
		t.Fatal(err)
	}
	answer, x, err := c.Patch(t.Context(), scim.User, made.ID(), scim.NewPatch(scim.Operation{Op: "replace", Path: "userName", Value: "al"}))
	if err != nil || answer != nil || x.Status != 204 {
		t.Errorf("%v, %v, %d", answer, err, x.Status)
	}
	// The old user name is free again, the new one is found.
	if hits, _, err := c.FindUser(t.Context(), "userName", "AL"); err != nil || len(hits) != 1 {
		t.Errorf("%v, %v", hits, err)
	}
	if _, err := c.Delete(t.Context(), scim.User, made.ID()); err != nil {
		t.Fatal(err)
	}
	if m := target.Resource(scim.Group, g.ID()).Members(); len(m) != 0 {
		t.Errorf("a deleted user is still a member: %v", m)
	}
	if n := len(target.Resources(scim.User)); n != 0 {
		t.Errorf("%d users left", n)
	}
}

func TestFaultsComeAndGo(t *testing.T) {
	target, c := start(t, scimtest.Quirks{})
	target.Fail(scimtest.Fault{Method: "POST", Path: "/Users", Skip: 1, Times: 2, Status: 503})
	var got []scim.Class
	for _, n := range []string{"a", "b", "c", "d"} {
		_, _, err := c.Create(t.Context(), scim.User, user(n))
		got = append(got, scim.ClassOf(err))
	}
	if d := cmp.Diff([]scim.Class{"", scim.Temporary, scim.Temporary, ""}, got); d != "" {
		t.Error(d)
	}
	// The effect happens, the answer is lost.
	target.Fail(scimtest.Fault{HangUp: true, AfterEffect: true, Times: 1})
	if _, _, err := c.Create(t.Context(), scim.User, user("e")); scim.ClassOf(err) != scim.Temporary {
		t.Errorf("got %v", err)
	}
	if n := len(target.Resources(scim.User)); n != 3 {
		t.Errorf("%d users, want 3", n)
	}
	if n := len(target.Writes()); n != 5 {
		t.Errorf("%d writes, want 5", n)
	}
	target.Forget()
	if n := len(target.Requests()); n != 0 {
		t.Errorf("%d requests after Forget", n)
	}
}
