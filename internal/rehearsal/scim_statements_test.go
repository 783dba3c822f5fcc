package rehearsal

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestStatement01_NoKeyIsRefusedByTheGateway(t *testing.T) {
	st := newStage(t)
	other, err := st.site.CreateDirectory("Other")
	must(t, err)
	p, err := st.site.SetUpProvisioning(other.ID)
	must(t, err)
	for name, key := range map[string]string{"none": "", "invented": "nonsense", "of another directory": p.APIKey} {
		r := st.send("GET", st.base+"/Users", key, "")
		st.want(r, 401, "")
		if r.text != `{"code":401,"message":"Unauthorized"}` || r.header.Get("Content-Type") != "application/json" {
			t.Errorf("key %s: %s %s", name, r.header.Get("Content-Type"), r.text)
		}
	}
	if r := st.do("GET", "/Users", ""); r.status != 200 {
		t.Errorf("the right key gives %d", r.status)
	}
}

func TestStatement02_ExpiredOrRegeneratedKeyIsDeadAtOnce(t *testing.T) {
	st := newStage(t)
	old := st.key
	p, err := st.site.RegenerateKey(st.dir.ID)
	must(t, err)
	st.want(st.send("GET", st.base+"/Users", old, ""), 401, "")
	st.want(st.send("GET", st.base+"/Users", p.APIKey, ""), 200, "")
	if want := st.clock.Now().AddDate(1, 0, 0); !p.ExpiresAt.Equal(want) {
		t.Errorf("expires %s, want %s", p.ExpiresAt, want)
	}
	st.clock.advance(366 * 24 * time.Hour)
	st.want(st.send("GET", st.base+"/Users", p.APIKey, ""), 401, "")
}

func TestStatement03_ServiceProviderConfig(t *testing.T) {
	st := newStage(t)
	r := st.do("GET", "/ServiceProviderConfig", "")
	st.want(r, 200, "")
	filter, _ := r.body["filter"].(map[string]any)
	bulk, _ := r.body["bulk"].(map[string]any)
	patch, _ := r.body["patch"].(map[string]any)
	meta, _ := r.body["meta"].(map[string]any)
	got := []any{filter["maxResults"], bulk["supported"], patch["supported"], meta["location"], r.body["documentationUri"]}
	want := []any{10000.0, false, true, st.base + "/ServiceProviderConfig", nil}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestStatement04_Schemas(t *testing.T) {
	st := newStage(t)
	r := st.do("GET", "/Schemas", "")
	st.want(r, 200, "")
	var names []any
	for _, m := range r.resources() {
		names = append(names, m["name"])
	}
	got := []any{r.body["totalResults"], r.body["itemsPerPage"], r.body["startIndex"], names}
	want := []any{3.0, 10.0, 1.0, []any{"User", "EnterpriseUser", "Group"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	st.want(st.do("GET", "/Schemas/"+urnGroup, ""), 200, "")
	st.want(st.do("GET", "/ResourceTypes/User", ""), 200, "")
	st.want(st.do("GET", "/Schemas/urn:nonsense", ""), 404, "")
}

// crowd creates n users directly and returns their userNames in order.
func (st *stage) crowd(n int) []string {
	st.Helper()
	names := make([]string, 0, n)
	for i := range n {
		name := fmt.Sprintf("user%03d", i)
		st.user(name)
		names = append(names, name)
	}
	return names
}

func userNames(r reply) []string {
	var out []string
	for _, m := range r.resources() {
		s, _ := m["userName"].(string)
		out = append(out, s)
	}
	return out
}

func TestStatement05_ListWithoutParametersStopsAt100(t *testing.T) {
	st := newStage(t)
	names := st.crowd(250)
	r := st.do("GET", "/Users", "")
	if d := cmp.Diff(names[:100], userNames(r)); d != "" {
		t.Error(d)
	}
	if r.body["totalResults"] != 250.0 || r.body["itemsPerPage"] != 100.0 {
		t.Errorf("totalResults %v, itemsPerPage %v", r.body["totalResults"], r.body["itemsPerPage"])
	}
	r = st.do("GET", "/Users?startIndex=251", "") // beyond the end
	st.want(r, 200, "")
	if !strings.Contains(r.text, `"Resources":[]`) || r.body["totalResults"] != 250.0 {
		t.Error(r.text)
	}
}

func TestStatement06_CountIsCappedTo100(t *testing.T) {
	st := newStage(t)
	names := st.crowd(250)
	r := st.do("GET", "/Users?startIndex=101&count=200", "")
	if d := cmp.Diff(names[100:200], userNames(r)); d != "" {
		t.Error(d)
	}
}

func TestStatement07_ItemsPerPageEchoesThePageSize(t *testing.T) {
	st := newStage(t)
	st.crowd(2)
	r := st.do("GET", "/Users?count=50", "")
	if r.body["itemsPerPage"] != 50.0 || len(r.resources()) != 2 {
		t.Error(r.text)
	}
}

func TestStatement08_StartIndexZeroIsOne(t *testing.T) {
	st := newStage(t)
	names := st.crowd(2)
	r := st.do("GET", "/Users?startIndex=0", "")
	if d := cmp.Diff(names, userNames(r)); d != "" || r.body["startIndex"] != 1.0 {
		t.Error(d, r.body["startIndex"])
	}
	st.want(st.do("GET", "/Users?startIndex=x", ""), 400, "")
}

func TestStatement09_EqFilters(t *testing.T) {
	st := newStage(t)
	st.user("Ada")
	for filter, hits := range map[string]int{
		`userName eq "Ada"`: 1, `userName eq "aDA"`: 1, `USERNAME EQ "ada"`: 1, `userName eq "Bob"`: 0,
		`externalId eq "ext-Ada"`: 1, `externalId eq "ext-ada"`: 0, `userName eq "a\"b"`: 0,
		urnUser + `:userName eq "ada"`: 1,
	} {
		r := st.do("GET", "/Users?filter="+strings.ReplaceAll(url.QueryEscape(filter), "+", "%20"), "")
		st.want(r, 200, "")
		if len(r.resources()) != hits || r.body["totalResults"] != float64(hits) {
			t.Errorf("%s: %s", filter, r.text)
		}
	}
}

func TestStatement10_OtherUserFiltersAreInvalid(t *testing.T) {
	st := newStage(t)
	for _, filter := range []string{
		`emails.value eq "a@acme.test"`, `title eq "x"`, `id eq "x"`, `userName eq "a" and active eq true`, `userName co "a"`,
		`userName sw "a"`, `userName pr`, `userName eq "a" or userName eq "b"`, `meta.lastModified gt "2020-01-01T00:00:00Z"`, `userName eq a`, ``,
	} {
		r := st.do("GET", "/Users?filter="+url.QueryEscape(filter), "")
		st.want(r, 400, "Resource [USER] invalid filter")
		if r.str("scimType") != "invalidFilter" || r.str("status") != "400" {
			t.Errorf("%s: %s", filter, r.text)
		}
	}
}

func TestStatement11_GroupFilters(t *testing.T) {
	st := newStage(t)
	st.group("Engineering")
	r := st.do("GET", "/Groups?filter="+url.QueryEscape(`displayName eq "engineering"`), "")
	if len(r.resources()) != 1 {
		t.Error(r.text)
	}
	for _, filter := range []string{`externalId eq "x"`, `displayName co "x"`, `members.value eq "x"`} {
		r := st.do("GET", "/Groups?filter="+url.QueryEscape(filter), "")
		st.want(r, 400, "Resource [GROUP] invalid filter")
		if r.str("scimType") != "invalidFilter" {
			t.Error(r.text)
		}
	}
	st.want(st.do("GET", "/Groups?excludedAttributes=members", ""), 200, "") // tolerated, ignored
}

func keys(m map[string]any) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func TestStatement12_Projections(t *testing.T) {
	st := newStage(t)
	id := st.user("ada").str("id")
	st.want(st.do("GET", "/Users?attributes=userName&excludedAttributes=title", ""), 400, "")
	r := st.do("GET", "/Users/"+id+"?attributes=userName,emails.value", "")
	if d := cmp.Diff([]string{"emails", "id", "schemas", "userName"}, keys(r.body)); d != "" {
		t.Error(d)
	}
	emails, _ := r.body["emails"].([]any)
	if d := cmp.Diff([]any{map[string]any{"value": "ada@acme.test"}}, emails); d != "" {
		t.Error(d)
	}
	r = st.do("GET", "/Users?excludedAttributes=emails,name.givenName", "")
	m := r.resources()[0]
	name, _ := m["name"].(map[string]any)
	if _, there := m["emails"]; there || name["givenName"] != nil || name["familyName"] != "ada" {
		t.Error(r.text)
	}
}

func TestStatement13_ExactlyOnePrimaryEmail(t *testing.T) {
	st := newStage(t)
	for name, emails := range map[string]string{
		"missing": ``,
		"empty":   `,"emails":[]`,
		"none":    `,"emails":[{"value":"a@acme.test","type":"work"}]`,
		"two":     `,"emails":[{"value":"a@acme.test","primary":true},{"value":"b@acme.test","primary":true}]`,
	} {
		r := st.do("POST", "/Users", `{"schemas":["`+urnUser+`"],"userName":"a"`+emails+`}`)
		st.want(r, 400, "Resource [USER] One email address need to be marked as primary.")
		if _, there := r.body["scimType"]; there {
			t.Errorf("%s: %s", name, r.text)
		}
	}
	if n := len(st.site.Users(st.dir.ID)); n != 0 {
		t.Errorf("%d users were made", n)
	}
}

func TestStatement14_MinimalUser(t *testing.T) {
	st := newStage(t)
	r := st.do("POST", "/Users", userBody("ada", "ada@acme.test", ""))
	st.want(r, 201, "")
	if r.body["active"] != true || accountID(r) == "" || r.header.Get("Location") != st.base+"/Users/"+r.str("id") {
		t.Error(r.text, r.header)
	}
	if d := cmp.Diff([]any{}, r.body["groups"]); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]any{urnExternal, urnUser, urnEnterprise}, r.body["schemas"]); d != "" {
		t.Error(d)
	}
	for _, absent := range []string{"name", "displayName", "title", "externalId", urnEnterprise} {
		if _, there := r.body[absent]; there {
			t.Errorf("%s is there: %s", absent, r.text)
		}
	}
	if a := st.account("ada@acme.test"); a.ID != accountID(r) || !a.Managed || a.Source != SourceSCIM {
		t.Errorf("%+v", a)
	}
}

func TestStatement15_StringsAreCoercedToBooleans(t *testing.T) {
	st := newStage(t)
	r := st.do("POST", "/Users", `{"schemas":["`+urnUser+`"],"userName":"a","active":"False","emails":[{"value":"a@acme.test","primary":"true"}]}`)
	st.want(r, 201, "")
	if r.body["active"] != false || !strings.Contains(r.text, `"primary":true`) {
		t.Error(r.text)
	}
	r = st.do("PATCH", "/Users/"+r.str("id"), patchBody(`{"op":"Replace","path":"active","value":"True"}`))
	if r.body["active"] != true {
		t.Error(r.text)
	}
	st.want(st.do("PATCH", "/Users/"+r.str("id"), patchBody(`{"op":"replace","path":"active","value":"maybe"}`)), 400, "")
}

func TestStatement16_ExistingAccountIsLinked(t *testing.T) {
	st := newStage(t)
	local, err := st.site.AddAccount(NewAccount{Email: "Ada@acme.test", GivenName: "A", FamilyName: "Old"})
	must(t, err)
	r := st.user("ada")
	if accountID(r) != local.ID {
		t.Errorf("account %s, want %s", accountID(r), local.ID)
	}
	a := st.account(local.ID)
	if a.SCIMUserID != r.str("id") || a.FamilyName != "ada" || a.Source != SourceLocal {
		t.Errorf("%+v", a)
	}
	p, err := st.site.DefaultPolicy(st.dir.ID)
	must(t, err)
	if a.Policy != p.ID {
		t.Error("a provisioned person lands in the directory's default policy")
	}
	if n := len(st.site.Accounts()); n != 1 {
		t.Errorf("%d accounts", n)
	}
}

func TestStatement17_DuplicatesAnswer409(t *testing.T) {
	st := newStage(t)
	st.user("ada")
	for name, c := range map[string]struct{ body, detail string }{
		"email":      {userBody("other", "ADA@acme.test", ""), "Resource [USER]: with email[ADA@acme.test] already exists."},
		"userName":   {userBody("Ada", "other@acme.test", ""), "Resource [USER]: with userName[Ada] already exists."},
		"externalId": {userBody("other", "other@acme.test", `"externalId":"ext-ada"`), "Resource [USER]: with externalId[ext-ada] already exists."},
	} {
		r := st.do("POST", "/Users", c.body)
		st.want(r, 409, c.detail)
		want := `{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"409","scimType":"uniqueness","detail":"` + c.detail + `"}`
		if r.text != want {
			t.Errorf("%s:\n%s\n%s", name, r.text, want)
		}
	}
	sw := st.site.Switches()
	sw.UniqueExternalID = false
	st.site.SetSwitches(sw)
	st.want(st.do("POST", "/Users", userBody("other", "other@acme.test", `"externalId":"ext-ada"`)), 201, "")
}

func TestStatement18_PatchOfTheSameEmail(t *testing.T) {
	st := newStage(t)
	id := st.user("ada").str("id")
	same := patchBody(`{"op":"replace","path":"emails","value":[{"value":"ada@acme.test","type":"work","primary":true}]}`)
	r := st.do("PATCH", "/Users/"+id, same)
	st.want(r, 400, "Resource [USER] One email address need to be marked as primary.")
	if r.text != `{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"400","detail":"Resource [USER] One email address need to be marked as primary."}` {
		t.Error(r.text)
	}
	st.want(st.do("PUT", "/Users/"+id, userBody("ada", "ada@acme.test", "")), 200, "") // the work-around
	st.want(st.do("PATCH", "/Users/"+id, patchBody(`{"op":"replace","path":"emails","value":[{"value":"ada2@acme.test","type":"work","primary":true}]}`)), 200, "")
	sw := st.site.Switches()
	sw.RefuseSameEmail = false
	st.site.SetSwitches(sw)
	st.want(st.do("PATCH", "/Users/"+id, strings.ReplaceAll(same, "ada@", "ada2@")), 200, "")
}

func TestStatement19_PutClearsWhatIsLeftOut(t *testing.T) {
	st := newStage(t)
	id := st.user("ada").str("id")
	st.want(st.do("PATCH", "/Users/"+id, patchBody(`{"op":"replace","path":"active","value":false}`)), 200, "")
	r := st.do("PUT", "/Users/"+id, userBody("ada", "ada@acme.test", ""))
	st.want(r, 200, "")
	for _, absent := range []string{"title", "name", "externalId"} {
		if _, there := r.body[absent]; there {
			t.Errorf("%s is still there", absent)
		}
	}
	if r.body["active"] != true {
		t.Error("active left out is true")
	}
	if r.str("id") != id || accountID(r) == "" {
		t.Error("read-only attributes stay")
	}
}

func TestStatement20_EmailOfAnotherAccountOnThePlatform(t *testing.T) {
	st := newStage(t)
	must(t, second(st.site.AddAccount(NewAccount{Email: "ada@elsewhere.test", OtherOrganization: true})))
	id := st.user("ada").str("id")
	r := st.do("PATCH", "/Users/"+id, patchBody(`{"op":"replace","path":"emails[type eq \"work\"].value","value":"ada@elsewhere.test"}`))
	st.want(r, 409, "Resource [USER]: with email[ada@elsewhere.test] already exists.")
	if a := st.account("ada@acme.test"); a.SCIMUserID != id {
		t.Error("nothing may have changed")
	}
}

func TestStatement21_EmailToAnUnverifiedDomainUnlinks(t *testing.T) {
	st := newStage(t)
	u := st.user("ada")
	g := st.group("Engineering")
	st.want(st.do("PATCH", "/Groups/"+g.str("id"), patchBody(`{"op":"add","path":"members","value":[{"value":"`+u.str("id")+`"}]}`)), 200, "")
	if !slices.Contains(st.account("ada@acme.test").Groups, "Engineering") {
		t.Fatal("not in the group")
	}
	r := st.do("PATCH", "/Users/"+u.str("id"), patchBody(`{"op":"replace","path":"emails[type eq \"work\"].value","value":"ada@gmail.test"}`))
	st.want(r, 200, "")
	if id := accountID(r); id != "" {
		t.Errorf("still linked to %s", id)
	}
	a := st.account(accountID(u))
	if a.Email != "ada@acme.test" || a.SCIMUserID != "" || len(a.Groups) != 0 {
		t.Errorf("%+v", a)
	}
	lines := st.site.Troubleshooting()
	want := "Email update to unmanaged user with ID " + u.str("id") + ", primary email ada@gmail.test, unlinked any associated atlassian account."
	if len(lines) != 1 || lines[0].Text != want {
		t.Errorf("%+v", lines)
	}
	// Back on the old address the link is not restored.
	r = st.do("PATCH", "/Users/"+u.str("id"), patchBody(`{"op":"replace","path":"emails[type eq \"work\"].value","value":"ada2@acme.test"}`))
	st.want(r, 200, "")
	if accountID(r) != "" {
		t.Error("linked again")
	}
}

func TestStatement22_ActiveDisablesAndRestores(t *testing.T) {
	st := newStage(t)
	u := st.user("ada")
	// Path-less, as some clients send it.
	r := st.do("PATCH", "/Users/"+u.str("id"), patchBody(`{"op":"replace","value":{"active":false}}`))
	st.want(r, 200, "")
	if r = st.do("GET", "/Users/"+u.str("id"), ""); r.status != 200 || r.body["active"] != false {
		t.Error(r.text)
	}
	if st.account("ada@acme.test").Active {
		t.Error("the account is still active")
	}
	if err := st.site.SetAccountActive("ada@acme.test", true); statusOf(err) != 409 {
		t.Errorf("an administrator can't re-activate a synced account: %v", err)
	}
	st.want(st.do("PATCH", "/Users/"+u.str("id"), patchBody(`{"op":"replace","path":"active","value":true}`)), 200, "")
	if !st.account("ada@acme.test").Active {
		t.Error("not restored")
	}
}

func TestStatement23_DeleteThenCreateAgain(t *testing.T) {
	st := newStage(t)
	u, g := st.user("ada"), st.group("Engineering")
	st.do("PATCH", "/Groups/"+g.str("id"), patchBody(`{"op":"add","path":"members","value":[{"value":"`+u.str("id")+`"}]}`))
	r := st.do("DELETE", "/Users/"+u.str("id"), "")
	st.want(r, 204, "")
	if r.text != "" {
		t.Error("204 has no body")
	}
	for _, method := range []string{"GET", "DELETE"} {
		st.want(st.do(method, "/Users/"+u.str("id"), ""), 404, "")
	}
	st.want(st.do("PATCH", "/Users/"+u.str("id"), patchBody(`{"op":"replace","path":"active","value":true}`)), 404, "")
	if a := st.account("ada@acme.test"); a.Active || a.SCIMUserID != "" || len(a.Groups) != 0 {
		t.Errorf("%+v", a)
	}
	again := st.user("ada")
	if again.str("id") == u.str("id") || accountID(again) != accountID(u) {
		t.Errorf("id %s → %s, account %s → %s", u.str("id"), again.str("id"), accountID(u), accountID(again))
	}
	if m := st.do("GET", "/Groups/"+g.str("id"), "").members(); len(m) != 0 {
		t.Errorf("members %v", m)
	}
	if !st.account("ada@acme.test").Active {
		t.Error("the account is active again")
	}
}

func TestStatement24_TimestampsAreTrimmed(t *testing.T) {
	st := newStage(t)
	meta, _ := st.user("ada").body["meta"].(map[string]any)
	if meta["created"] != "2026-03-01T09:00:00.123456Z" {
		t.Error(meta["created"])
	}
	for in, want := range map[time.Duration]string{
		345 * time.Millisecond: "2026-03-01T09:00:00.345Z", 0: "2026-03-01T09:00:00Z", 13450 * time.Microsecond: "2026-03-01T09:00:00.01345Z",
	} {
		if got := timestamp(time.Date(2026, 3, 1, 9, 0, 0, int(in), time.UTC)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestStatement25_DuplicateGroup(t *testing.T) {
	st := newStage(t)
	st.group("Engineering")
	r := st.do("POST", "/Groups", `{"displayName":"ENGINEERING"}`)
	st.want(r, 409, "Resource [GROUP]: with displayName already exists.")
	if r.str("scimType") != "uniqueness" {
		t.Error(r.text)
	}
	sw := st.site.Switches()
	sw.NameInGroupConflict = true
	st.site.SetSwitches(sw)
	st.want(st.do("POST", "/Groups", `{"displayName":"ENGINEERING"}`), 409, "Resource [GROUP]: with displayName[ENGINEERING] already exists.")
}

func TestStatement26_GroupNamedLikeOneOfTheSite(t *testing.T) {
	st := newStage(t)
	must(t, st.site.AddSiteGroup("Marketing"))
	r := st.group("marketing")
	g, err := st.site.Group(st.dir.ID, r.str("id"))
	must(t, err)
	if g.Propagated || !g.Conflict {
		t.Errorf("%+v", g)
	}
	want := "Failed to create group of name marketing for OrgId " + st.site.Organization().ID + " due to existing group with same name in organization"
	if lines := st.site.Troubleshooting(); len(lines) != 1 || lines[0].Text != want {
		t.Errorf("%+v", lines)
	}
	u := st.user("ada")
	st.want(st.do("PATCH", "/Groups/"+g.ID, patchBody(`{"op":"add","path":"members","value":[{"value":"`+u.str("id")+`"}]}`)), 200, "")
	if slices.Contains(st.account("ada@acme.test").Groups, "marketing") {
		t.Error("propagated in spite of the conflict")
	}
	// Review groups → Sync group takes it over, with the members that it has by now.
	must(t, st.site.SyncGroup(st.dir.ID, g.ID))
	if !slices.Contains(st.account("ada@acme.test").Groups, "marketing") {
		t.Error("not taken over")
	}
	// A default access group must lose its status first.
	d := st.group("jira-users-acme")
	if err := st.site.SyncGroup(st.dir.ID, d.str("id")); statusOf(err) != 409 {
		t.Error(err)
	}
	must(t, st.site.SetDefaultGroup("jira-users-acme", false))
	must(t, st.site.SyncGroup(st.dir.ID, d.str("id")))
}

func TestStatement27_GroupsAreNeverRenamed(t *testing.T) {
	for _, lenient := range []bool{false, true} {
		st := newStage(t)
		sw := st.site.Switches()
		sw.LenientRename = lenient
		st.site.SetSwitches(sw)
		g := st.group("Engineering")
		for _, r := range []reply{
			st.do("PATCH", "/Groups/"+g.str("id"), patchBody(`{"op":"replace","path":"displayName","value":"R&D"}`)),
			st.do("PATCH", "/Groups/"+g.str("id"), patchBody(`{"op":"replace","value":{"id":"x","displayName":"R&D"}}`)),
			st.do("PUT", "/Groups/"+g.str("id"), `{"schemas":["`+urnGroup+`"],"displayName":"R&D"}`),
		} {
			if lenient {
				st.want(r, 200, "")
			} else if st.want(r, 400, ""); r.str("scimType") != "mutability" {
				t.Error(r.text)
			}
		}
		if r := st.do("GET", "/Groups/"+g.str("id"), ""); r.str("displayName") != "Engineering" {
			t.Error(r.text)
		}
		st.want(st.do("PUT", "/Groups/"+g.str("id"), `{"displayName":"Engineering"}`), 200, "")
	}
}

func TestStatement28_PatchAnswersTheWholeGroup(t *testing.T) {
	st := newStage(t)
	g := st.group("Engineering")
	var values []string
	for _, name := range []string{"Ada", "Bob", "Cy"} {
		values = append(values, `{"value":"`+st.user(name).str("id")+`","display":"ignored"}`)
	}
	r := st.do("PATCH", "/Groups/"+g.str("id"), patchBody(`{"op":"add","path":"members","value":[`+strings.Join(values, ",")+`]}`))
	st.want(r, 200, "")
	if len(r.members()) != 3 {
		t.Fatal(r.text)
	}
	list, _ := r.body["members"].([]any)
	first, _ := list[0].(map[string]any)
	want := map[string]any{"type": "User", "value": r.members()[0], "display": "ada", "$ref": st.base + "/Users/" + r.members()[0]}
	if d := cmp.Diff(want, first); d != "" {
		t.Error(d)
	}
	// And the user tells the group.
	u := st.do("GET", "/Users/"+r.members()[0], "")
	groups, _ := u.body["groups"].([]any)
	wantGroups := []any{map[string]any{"type": "direct", "value": g.str("id"), "display": "Engineering", "$ref": st.base + "/Groups/" + g.str("id")}}
	if d := cmp.Diff(wantGroups, groups); d != "" {
		t.Error(d)
	}
}

func TestStatement29_PresentAndAbsentMembersChangeNothing(t *testing.T) {
	st := newStage(t)
	g, u, o := st.group("Engineering"), st.user("ada"), st.user("bob")
	add := patchBody(`{"op":"add","path":"members","value":[{"value":"` + u.str("id") + `"}]}`)
	st.want(st.do("PATCH", "/Groups/"+g.str("id"), add), 200, "")
	before := st.do("GET", "/Groups/"+g.str("id"), "").text
	st.clock.advance(time.Minute)
	st.want(st.do("PATCH", "/Groups/"+g.str("id"), add), 200, "")
	st.want(st.do("PATCH", "/Groups/"+g.str("id"), patchBody(`{"op":"remove","path":"members[value eq \"`+o.str("id")+`\"]"}`)), 200, "")
	if after := st.do("GET", "/Groups/"+g.str("id"), "").text; after != before {
		t.Errorf("%s\n%s", before, after)
	}
}

func TestStatement30_FormsOfRemoving(t *testing.T) {
	for name, op := range map[string]string{
		"RFC":        `{"op":"remove","path":"members[value eq \"ID\"]"}`,
		"Entra":      `{"op":"Remove","path":"members","value":[{"value":"ID"}]}`,
		"other case": `{"OP":"REMOVE","Path":"Members","Value":{"value":"ID"}}`,
		"everybody":  `{"op":"remove","path":"members"}`,
		"replace":    `{"op":"replace","path":"members","value":[]}`,
	} {
		t.Run(name, func(t *testing.T) {
			st := newStage(t)
			g, u := st.group("Engineering"), st.user("ada")
			r := st.do("PATCH", "/Groups/"+g.str("id"), patchBody(`{"op":"add","path":"members","value":[{"value":"`+u.str("id")+`"}]}`))
			if len(r.members()) != 1 {
				t.Fatal(r.text)
			}
			body := strings.Replace(patchBody(strings.ReplaceAll(op, "ID", u.str("id"))), `"Operations"`, `"operations"`, 1)
			r = st.do("PATCH", "/Groups/"+g.str("id"), body)
			st.want(r, 200, "")
			if len(r.members()) != 0 || len(st.account("ada@acme.test").Groups) != 1 { // the automatic group stays
				t.Error(r.text, st.account("ada@acme.test").Groups)
			}
		})
	}
}

func TestStatement31_NestedGroupsAreRefused(t *testing.T) {
	st := newStage(t)
	g, o := st.group("Engineering"), st.group("Core")
	for _, member := range []string{
		`{"value":"` + o.str("id") + `","type":"Group"}`,
		`{"value":"` + o.str("id") + `","$ref":"` + st.base + `/Groups/` + o.str("id") + `"}`,
		`{"value":"` + o.str("id") + `"}`,
	} {
		st.want(st.do("PATCH", "/Groups/"+g.str("id"), patchBody(`{"op":"add","path":"members","value":[`+member+`]}`)), 400, "")
	}
}

func TestStatement32_DeleteGroup(t *testing.T) {
	st := newStage(t)
	g, u := st.group("Engineering"), st.user("ada")
	st.do("PATCH", "/Groups/"+g.str("id"), patchBody(`{"op":"add","path":"members","value":[{"value":"`+u.str("id")+`"}]}`))
	must(t, st.site.GrantProduct("Jira", "Engineering"))
	if d := cmp.Diff([]string{"Jira"}, st.account("ada@acme.test").Products); d != "" {
		t.Fatal(d)
	}
	st.want(st.do("DELETE", "/Groups/"+g.str("id"), ""), 204, "")
	st.want(st.do("DELETE", "/Groups/"+g.str("id"), ""), 404, "")
	if len(st.account("ada@acme.test").Products) != 0 {
		t.Error("the licence goes with the group")
	}
}

func TestStatement33_EffectsComeLater(t *testing.T) {
	st := newStage(t)
	sw := st.site.Switches()
	sw.PropagationDelay = time.Minute
	st.site.SetSwitches(sw)
	u, g := st.user("ada"), st.group("Engineering")
	st.want(st.do("PATCH", "/Groups/"+g.str("id"), patchBody(`{"op":"add","path":"members","value":[{"value":"`+u.str("id")+`"}]}`)), 200, "")
	if slices.Contains(st.account("ada@acme.test").Groups, "Engineering") {
		t.Error("at once")
	}
	st.clock.advance(time.Minute)
	if !slices.Contains(st.account("ada@acme.test").Groups, "Engineering") {
		t.Error("not at all")
	}
	st.want(st.do("PATCH", "/Users/"+u.str("id"), patchBody(`{"op":"replace","path":"active","value":false}`)), 200, "")
	if r := st.do("GET", "/Users/"+u.str("id"), ""); r.body["active"] != false {
		t.Error("the record changes at once")
	}
	if !st.account("ada@acme.test").Active {
		t.Error("deactivated at once")
	}
	st.clock.advance(time.Minute)
	if st.account("ada@acme.test").Active {
		t.Error("not deactivated")
	}
	st.want(st.do("DELETE", "/Groups/"+g.str("id"), ""), 204, "")
	if !slices.Contains(st.account("ada@acme.test").Groups, "Engineering") {
		t.Error("group gone at once")
	}
	st.clock.advance(time.Minute)
	if slices.Contains(st.account("ada@acme.test").Groups, "Engineering") {
		t.Error("group still there")
	}
}

func TestStatement34_RateLimit(t *testing.T) {
	for name, c := range map[string]struct {
		limit       RateLimit
		status      int
		retryAfter  string
		contentType string
	}{
		"plain":          {RateLimit{PerSecond: 0.5, Burst: 2}, 429, "2", "application/json"},
		"no Retry-After": {RateLimit{PerSecond: 1, Burst: 2, NoRetryAfter: true}, 429, "", "application/json"},
		"HTML":           {RateLimit{PerSecond: 1, Burst: 2, HTML: true}, 429, "1", "text/html; charset=utf-8"},
		"503":            {RateLimit{PerSecond: 1, Burst: 2, Unavailable: true}, 503, "1", "application/json"},
	} {
		t.Run(name, func(t *testing.T) {
			st := newStage(t)
			must(t, st.site.SetRateLimit(&c.limit))
			for range 2 {
				st.want(st.do("GET", "/Users", ""), 200, "")
			}
			r := st.do("GET", "/Users", "")
			st.want(r, c.status, "")
			if r.header.Get("Retry-After") != c.retryAfter || r.header.Get("Content-Type") != c.contentType {
				t.Error(r.header)
			}
			st.clock.advance(2 * time.Second)
			st.want(st.do("GET", "/Users", ""), 200, "")
		})
	}
}

func TestStatement35_IgnoredAndMissing(t *testing.T) {
	st := newStage(t)
	r := st.user("ada")
	if r.header.Get("ETag") != "" {
		t.Error("an ETag")
	}
	st.want(st.do("GET", "/Users?sortBy=userName&sortOrder=descending", ""), 200, "")
	for _, path := range []string{"/Bulk", "/Me", "/.search", "/v2/Users", "//Users", "/Users/", "", "/"} {
		for _, method := range []string{"GET", "POST"} {
			r := st.do(method, path, "")
			if r.status != 404 || strings.Contains(r.text, "urn:ietf") {
				t.Errorf("%s %s: %d %s", method, path, r.status, r.text)
			}
		}
	}
}

func TestStatement36_UnknownAttributesAreIgnored(t *testing.T) {
	st := newStage(t)
	r := st.do("POST", "/Users", userBody("ada", "ada@acme.test", `"addresses":[{"locality":"Bern"}],"password":"x",
		"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"R&D","manager":{"value":"1"},"employeeNumber":"7"}`))
	st.want(r, 201, "")
	ext, _ := r.body[urnEnterprise].(map[string]any)
	if d := cmp.Diff(map[string]any{"department": "R&D"}, ext); d != "" {
		t.Error(d)
	}
	for _, word := range []string{"addresses", "password", "manager", "employeeNumber"} {
		if strings.Contains(r.text, word) {
			t.Errorf("%s came back", word)
		}
	}
	r = st.do("PATCH", "/Users/"+r.str("id"), patchBody(`{"op":"add","path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:organization","value":"Acme"}`))
	ext, _ = r.body[urnEnterprise].(map[string]any)
	if d := cmp.Diff(map[string]any{"department": "R&D", "organization": "Acme"}, ext); d != "" {
		t.Error(d)
	}
}

func TestStatement37_MediaType(t *testing.T) {
	st := newStage(t)
	u := st.user("ada")
	for _, r := range []reply{
		u, st.do("GET", "/Users", ""), st.do("GET", "/Users/nobody", ""), st.do("POST", "/Users", "{"), st.do("GET", "/Schemas", ""), st.group("g"),
	} {
		if ct := r.header.Get("Content-Type"); ct != "application/scim+json" {
			t.Errorf("%s for %s", ct, r.text)
		}
	}
}

func TestStatement38_Limits(t *testing.T) {
	st := newStage(t)
	sw := st.site.Switches()
	sw.MaxUsers, sw.MaxGroups, sw.MaxMembers = 2, 1, 1
	st.site.SetSwitches(sw)
	a, b, g := st.user("a"), st.user("b"), st.group("g")
	st.want(st.do("POST", "/Users", userBody("c", "c@acme.test", "")), 400, "")
	st.want(st.do("POST", "/Groups", `{"displayName":"h"}`), 400, "")
	both := patchBody(`{"op":"add","path":"members","value":[{"value":"` + a.str("id") + `"},{"value":"` + b.str("id") + `"}]}`)
	r := st.do("PATCH", "/Groups/"+g.str("id"), both)
	st.want(r, 400, "")
	if r.str("scimType") != "tooMany" || len(st.do("GET", "/Groups/"+g.str("id"), "").members()) != 0 {
		t.Error(r.text)
	}
}

func TestStatement39_UnknownDirectory(t *testing.T) {
	st := newStage(t)
	st.want(st.send("GET", st.url+"/scim/directory/nowhere/Users", st.key, ""), 401, "")
	sw := st.site.Switches()
	sw.UnknownDirectory404 = true
	st.site.SetSwitches(sw)
	st.want(st.send("GET", st.url+"/scim/directory/nowhere/Users", st.key, ""), 404, "")
}

func TestStatement40_GroupAnswersEmbedAllMembers(t *testing.T) {
	st := newStage(t)
	g := st.group("Everybody")
	// 50,000 members are put in place directly: creating them by HTTP is another test's matter.
	const n = 50_000
	st.site.lock()
	d := st.site.st.directory(st.dir.ID)
	rec := d.groupByID[g.str("id")]
	for i := range n {
		u := &userRecord{UserData: UserData{UserName: fmt.Sprintf("User%d", i), Active: true}, id: newID(), seq: int64(i + 1)}
		d.users = append(d.users, u)
		d.userByID[u.id] = u
		rec.add(u.id)
		u.groups = []string{rec.id}
	}
	st.site.unlock()
	r := st.do("GET", "/Groups/"+g.str("id"), "")
	if len(r.members()) != n {
		t.Errorf("%d members", len(r.members()))
	}
	one := st.user("ada")
	r = st.do("PATCH", "/Groups/"+g.str("id"), patchBody(`{"op":"add","path":"members","value":[{"value":"`+one.str("id")+`"}]}`))
	if len(r.members()) != n+1 {
		t.Errorf("%d members", len(r.members()))
	}
	if !strings.Contains(r.text, one.str("id")) {
		t.Error("the new member is missing")
	}
}
