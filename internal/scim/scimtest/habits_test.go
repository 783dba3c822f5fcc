package scimtest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/scim/scimtest"
)

// Each habit refuses what the product would refuse, and takes what it takes.
func TestHabitsRefuse(t *testing.T) {
	op := func(op, path string, v any) scim.PatchOp {
		return scim.NewPatch(scim.Operation{Op: op, Path: path, Value: v})
	}
	member := []any{map[string]any{"value": "user-1"}}
	for _, c := range []struct {
		name     string
		quirks   scimtest.Quirks
		kind     scim.ResourceType
		bad, fit any // a PatchOp, or a Resource that is put; nil is none
	}{
		{"no PATCH of users", scimtest.Quirks{NoUserPatch: true}, scim.User, op("replace", "title", "x"), user("ada")},
		{"no PUT of users", scimtest.Quirks{NoUserPut: true}, scim.User, user("ada"), op("replace", "title", "x")},
		{"no PUT of groups", scimtest.Quirks{NoGroupPut: true}, scim.Group, scim.Resource{"displayName": "x"}, op("add", "members", member)},
		{"PATCH of active only", scimtest.Quirks{PatchActiveOnly: true}, scim.User, op("replace", "title", "x"), op("replace", "active", false)},
		{"no filters in paths", scimtest.Quirks{NoPathFilters: true}, scim.User, op("replace", `emails[type eq "work"].value`, "x@x.org"), op("replace", "title", "x")},
		{"required", scimtest.Quirks{Required: []string{"User.emails"}}, scim.User, op("remove", "emails", nil), op("replace", "title", "x")},
		{"fixed", scimtest.Quirks{Fixed: []string{"userName"}}, scim.User, op("replace", "userName", "x"), op("replace", "title", "x")},
		{"single", scimtest.Quirks{Single: []string{"User.emails"}}, scim.User, op("add", "emails", []any{map[string]any{"value": "b@x.org"}}), op("replace", "title", "x")},
		{"longest", scimtest.Quirks{Longest: map[string]int{"User.title": 3}}, scim.User, op("replace", "title", "äöüß"), op("replace", "title", "äöü")},
		{"an address of its own", scimtest.Quirks{EmailIsName: true}, scim.User, scim.Resource{"userName": "ada", "emails": map[string]any{"value": "b"}}, scim.Resource{"userName": "ada", "emails": map[string]any{"value": "ada"}}},
		{"removal by filter", scimtest.Quirks{Removal: "filter"}, scim.Group, op("remove", "members", member), op("remove", `members[value eq "user-1"]`, nil)},
		{"removal by value", scimtest.Quirks{Removal: "value"}, scim.Group, op("remove", `members[value eq "user-1"]`, nil), op("remove", "members", member)},
		{"members all at once", scimtest.Quirks{NoMembersReplaced: true}, scim.Group, op("replace", "members", member), op("add", "members", member)},
		{"all members out", scimtest.Quirks{NoMembersReplaced: true}, scim.Group, op("remove", "members", nil), op("remove", "members", member)},
		{"most members", scimtest.Quirks{MostMembers: 1}, scim.Group, op("add", "members", []any{member[0], member[0]}), op("add", "members", member)},
		{
			"most operations", scimtest.Quirks{MostOperations: 1}, scim.Group,
			scim.NewPatch(scim.Operation{Op: "add", Path: "members", Value: member}, scim.Operation{Op: "add", Path: "members", Value: member}), op("add", "members", member),
		},
		{"no groups", scimtest.Quirks{NoGroups: true}, scim.Group, op("add", "members", member), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			target, client := start(t, c.quirks)
			ids := map[scim.ResourceType]string{scim.User: target.Put(scim.User, user("ada"))}
			ids[scim.Group] = target.Put(scim.Group, scim.Resource{"displayName": "team"})
			send := func(what any) error {
				if p, ok := what.(scim.PatchOp); ok {
					_, _, err := client.Patch(t.Context(), c.kind, ids[c.kind], p)
					return err
				}
				_, _, err := client.Replace(t.Context(), c.kind, ids[c.kind], what.(scim.Resource))
				return err
			}
			before := target.Resource(c.kind, ids[c.kind])
			if err := send(c.bad); err == nil {
				t.Error("it took what it should refuse")
			}
			if diff := cmp.Diff(before, target.Resource(c.kind, ids[c.kind])); diff != "" {
				t.Errorf("a refusal changed it: %s", diff)
			}
			if c.fit != nil {
				if err := send(c.fit); err != nil {
					t.Errorf("it refused what it should take: %v", err)
				}
			}
		})
	}
}

// What is kept, and what is answered, need not be what was sent.
func TestHabitsKeepAndAnswer(t *testing.T) {
	target, client := start(t, scimtest.Quirks{
		Kept: []string{"User.userName", "User.externalId", "User.active", "User.name.familyName", "Group.displayName", "Group.members"}, Unshown: []string{"User.externalId"},
		LowerUserNames: true, GroupsStartEmpty: true, ListHidesMembers: true, Slugs: true, DeleteDeactivates: true, PutMerges: true,
		ID: func(kind scim.ResourceType, _ int, r scim.Resource) string { return string(kind[0]) + r.ExternalID() },
	})
	ctx := t.Context()
	u := user("Ada")
	u["title"], u["name"] = "Countess", map[string]any{"givenName": "Ada", "familyName": "King"}
	got, _, err := client.Create(ctx, scim.User, u)
	if err != nil {
		t.Fatal(err)
	}
	delete(got, "meta")
	want := scim.Resource{"id": "Ux-Ada", "schemas": []any{scim.SchemaUser}, "userName": "ada", "active": true, "name": map[string]any{"familyName": "King"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("made: %s", diff)
	}
	if _, _, err := client.Replace(ctx, scim.User, "Ux-Ada", scim.Resource{"userName": "ada"}); err != nil {
		t.Fatal(err)
	}
	if got := target.Resource(scim.User, "Ux-Ada").Text("name.familyName"); got != "King" {
		t.Errorf("a PUT that leaves out the name made it %q", got)
	}
	g, _, err := client.Create(ctx, scim.Group, scim.Resource{"displayName": "The Team", "members": []any{map[string]any{"value": "Ux-Ada"}}})
	if err != nil || len(g.Members()) != 0 {
		t.Errorf("group %v: %v", g, err)
	}
	if _, _, err := client.Create(ctx, scim.Group, scim.Resource{"displayName": "the-team"}); scim.ClassOf(err) != scim.Conflict {
		t.Errorf("a name of the same letters: %v", err)
	}
	if _, err := client.Delete(ctx, scim.User, "Ux-Ada"); err != nil {
		t.Fatal(err)
	}
	if active, known := target.Resource(scim.User, "Ux-Ada").Active(); active || !known {
		t.Errorf("deleted: active %v", active)
	}
}

func TestAccountsAreTakenOver(t *testing.T) {
	target, client := start(t, scimtest.Quirks{InactiveGoes: true})
	u := user("ada")
	u["title"] = "Countess"
	id := target.Put(scim.User, u)
	target.Hide(id)
	if hits, _, err := client.FindUser(t.Context(), "userName", "ada"); err != nil || len(hits) != 0 {
		t.Fatalf("found %v: %v", hits, err)
	}
	if _, _, err := client.Get(t.Context(), scim.User, id); scim.ClassOf(err) != scim.NotFound {
		t.Errorf("read: %v", err)
	}
	got, _, err := client.Create(t.Context(), scim.User, user("ada"))
	if err != nil || got.ID() != id || got.Text("title") != "Countess" {
		t.Errorf("%v: %v", got, err)
	}
	if _, _, err := client.Patch(t.Context(), scim.User, id, scim.NewPatch(scim.Operation{Op: "replace", Path: "active", Value: false})); err != nil {
		t.Fatal(err)
	}
	if n := len(target.Resources(scim.User)); n != 0 {
		t.Errorf("%d are left", n)
	}
}

func TestCursorsAndTokens(t *testing.T) {
	target := scimtest.New(scimtest.Quirks{Cursor: true, PageCap: 2, NoProjection: true, HideMembers: true, UserAgent: true, NoDiscovery: true, PlainErrors: true, Account: "acct:client:secret"})
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		target.Put(scim.User, user(name))
	}
	base := target.Start(t)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	open := func(token string, cursor bool) *scim.Client {
		c, err := scim.NewClient(scim.ClientConfig{
			BaseURL: base, Token: scim.NewToken(token), UserAgent: "test/1", Cursor: cursor, Now: time.Now,
			HTTP: scim.WithAccountTokens(&http.Client{Transport: transport}, base+"/oauth/token", time.Now),
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	list := func(c *scim.Client, o scim.ListOptions) (names []string, err error) {
		for page, err := range c.List(t.Context(), scim.User, o) {
			if err != nil {
				return names, err
			}
			for _, r := range page.Resources {
				names = append(names, r.UserName())
			}
		}
		return names, nil
	}
	c := open("acct:client:secret", true)
	names, err := list(c, scim.ListOptions{})
	if err != nil || strings.Join(names, "") != "abcde" {
		t.Errorf("listed %v: %v", names, err)
	}
	if n := len(target.Requests()); n != 4 { // one for the token
		t.Errorf("%d requests", n)
	}
	if _, err := list(c, scim.ListOptions{Excluded: []string{"emails"}}); scim.ClassOf(err) != scim.Refused {
		t.Errorf("a projection: %v", err)
	}
	if _, err := list(open("acct:client:secret", false), scim.ListOptions{}); scim.ClassOf(err) != scim.Refused {
		t.Errorf("startIndex: %v", err)
	}
	if _, err := list(open("acct:client:wrong", true), scim.ListOptions{}); scim.ClassOf(err) != scim.Unauthorized {
		t.Errorf("a wrong secret: %v", err)
	}
	if _, _, err := c.ServiceProviderConfig(t.Context()); scim.ClassOf(err) != scim.NotFound {
		t.Errorf("discovery: %v", err)
	}
	id := target.Put(scim.Group, scim.Resource{"displayName": "team", "members": []any{map[string]any{"value": "user-1"}}})
	if g, _, err := c.Get(t.Context(), scim.Group, id); err != nil || len(g.Members()) != 0 {
		t.Errorf("group %v: %v", g, err)
	}
}
