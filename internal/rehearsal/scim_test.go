package rehearsal

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUserPatchForms(t *testing.T) {
	full := UserData{
		UserName: "ada", Active: true, Title: "Engineer", DisplayName: "Ada", Department: "R&D",
		Name:         &UserName{GivenName: "Ada", FamilyName: "Byron"},
		Emails:       []MultiValue{{Value: "ada@acme.test", Type: "work", Primary: true}},
		PhoneNumbers: []MultiValue{{Value: "1", Type: "work"}, {Value: "2", Type: "mobile"}},
	}
	const enterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
	for name, c := range map[string]struct {
		ops    string
		change func(*UserData)
		detail string // of the error
	}{
		"simple path":                {`{"op":"replace","path":"title","value":"Countess"}`, func(u *UserData) { u.Title = "Countess" }, ""},
		"upper case and URN":         {`{"op":"Replace","path":"URN:ietf:params:scim:schemas:core:2.0:User:Title","value":"Countess"}`, func(u *UserData) { u.Title = "Countess" }, ""},
		"sub-attribute":              {`{"op":"add","path":"name.familyName","value":"Lovelace"}`, func(u *UserData) { u.Name = &UserName{GivenName: "Ada", FamilyName: "Lovelace"} }, ""},
		"whole name merges":          {`{"op":"replace","path":"name","value":{"familyName":"Lovelace"}}`, func(u *UserData) { u.Name = &UserName{GivenName: "Ada", FamilyName: "Lovelace"} }, ""},
		"without a path":             {`{"op":"replace","value":{"title":"Countess","name.familyName":"Lovelace","unknown":1}}`, func(u *UserData) { u.Title = "Countess"; u.Name = &UserName{GivenName: "Ada", FamilyName: "Lovelace"} }, ""},
		"remove":                     {`{"op":"remove","path":"title"}`, func(u *UserData) { u.Title = "" }, ""},
		"remove a sub-attribute":     {`{"op":"remove","path":"name.givenName"}`, func(u *UserData) { u.Name = &UserName{FamilyName: "Byron"} }, ""},
		"null clears":                {`{"op":"replace","path":"title","value":null}`, func(u *UserData) { u.Title = "" }, ""},
		"extension":                  {`{"op":"replace","path":"` + enterprise + `:department","value":"Maths"}`, func(u *UserData) { u.Department = "Maths" }, ""},
		"extension as an object":     {`{"op":"replace","value":{"` + enterprise + `":{"department":"Maths","manager":"x"}}}`, func(u *UserData) { u.Department = "Maths" }, ""},
		"extension removed":          {`{"op":"remove","path":"` + enterprise + `"}`, func(u *UserData) { u.Department = "" }, ""},
		"filtered value":             {`{"op":"replace","path":"emails[type eq \"work\"].value","value":"l@acme.test"}`, func(u *UserData) { u.Emails[0].Value = "l@acme.test" }, ""},
		"filtered by primary":        {`{"op":"replace","path":"emails[primary eq true].value","value":"l@acme.test"}`, func(u *UserData) { u.Emails[0].Value = "l@acme.test" }, ""},
		"filtered add makes a value": {`{"op":"Add","path":"phoneNumbers[type eq \"home\"].value","value":"3"}`, func(u *UserData) { u.PhoneNumbers = append(u.PhoneNumbers, MultiValue{Value: "3", Type: "home"}) }, ""},
		"filtered remove":            {`{"op":"remove","path":"phoneNumbers[type eq \"mobile\"]"}`, func(u *UserData) { u.PhoneNumbers = u.PhoneNumbers[:1] }, ""},
		"new primary": {`{"op":"add","path":"emails","value":[{"value":"l@acme.test","type":"home","primary":true}]}`, func(u *UserData) {
			u.Emails[0].Primary = false
			u.Emails = append(u.Emails, MultiValue{Value: "l@acme.test", Type: "home", Primary: true})
		}, ""},
		"filtered replace of nothing": {
			`{"op":"replace","path":"phoneNumbers[type eq \"home\"].value","value":"3"}`, nil,
			`Resource [USER] nothing matches phoneNumbers[type eq "home"].value`,
		},
		"unknown path":     {`{"op":"replace","path":"shoeSize","value":"38"}`, nil, "Resource [USER] invalid path shoeSize"},
		"read-only":        {`{"op":"replace","path":"id","value":"x"}`, nil, "Resource [USER] attribute id is read only."},
		"no emails left":   {`{"op":"remove","path":"emails"}`, nil, primaryNeeded},
		"two primaries":    {`{"op":"replace","path":"emails","value":[{"value":"a@acme.test","primary":true},{"value":"b@acme.test","primary":true}]}`, nil, primaryNeeded},
		"userName removed": {`{"op":"remove","path":"userName"}`, nil, "Resource [USER] attribute userName can't be removed."},
		"op":               {`{"op":"move","path":"title"}`, nil, "Resource [USER] op must be add, remove or replace."},
		"compound filter":  {`{"op":"remove","path":"emails[type eq \"work\" and primary eq true]"}`, nil, `Resource [USER] invalid path emails[type eq "work" and primary eq true]`},
	} {
		t.Run(name, func(t *testing.T) {
			got := full.clone()
			m, err := object("USER", []byte(patchBody(c.ops)))
			must(t, err)
			if err = patchUser(&got, m, DefaultSwitches()); err == nil {
				err = got.check()
			}
			if c.detail != "" {
				if err == nil || err.Error() != c.detail {
					t.Errorf("error %v, want %s", err, c.detail)
				}
				return
			}
			must(t, err)
			want := full.clone()
			c.change(&want)
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestAPatchIsAllOrNothing(t *testing.T) {
	st := newStage(t)
	u, g := st.user("ada"), st.group("g")
	before := st.do("GET", "/Users/"+u.str("id"), "").text
	st.want(st.do("PATCH", "/Users/"+u.str("id"), patchBody(`{"op":"replace","path":"title","value":"x"},{"op":"replace","path":"nonsense","value":1}`)), 400, "")
	if after := st.do("GET", "/Users/"+u.str("id"), "").text; after != before {
		t.Error(cmp.Diff(before, after))
	}
	r := st.do("PATCH", "/Groups/"+g.str("id"), patchBody(`{"op":"add","path":"members","value":[{"value":"`+u.str("id")+`"},{"value":"nobody"}]}`))
	st.want(r, 404, "Resource [USER] nobody not found.")
	if m := st.do("GET", "/Groups/"+g.str("id"), "").members(); len(m) != 0 {
		t.Error(m)
	}
	sw := st.site.Switches()
	sw.IgnoreUnknownMembers = true
	st.site.SetSwitches(sw)
	r = st.do("PATCH", "/Groups/"+g.str("id"), patchBody(`{"op":"add","path":"members","value":[{"value":"`+u.str("id")+`"},{"value":"`+accountID(u)+`"}]}`))
	st.want(r, 200, "")
	if len(r.members()) != 1 {
		t.Error(r.text)
	}
}

func TestMembersInBodiesThatDoNotTakeThem(t *testing.T) {
	st := newStage(t)
	u := st.user("ada")
	members := `"members":[{"value":"` + u.str("id") + `"}]`
	r := st.do("POST", "/Groups", `{"displayName":"dropped",`+members+`}`)
	st.want(r, 201, "")
	if len(r.members()) != 0 {
		t.Error(r.text)
	}
	r = st.do("PUT", "/Groups/"+r.str("id"), `{"displayName":"dropped","externalId":"e1",`+members+`}`)
	st.want(r, 200, "")
	if len(r.members()) != 0 || r.str("externalId") != "e1" {
		t.Error(r.text)
	}
	sw := st.site.Switches()
	sw.KeepMembersOnCreate = true
	st.site.SetSwitches(sw)
	if r = st.do("POST", "/Groups", `{"displayName":"kept",`+members+`}`); len(r.members()) != 1 {
		t.Error(r.text)
	}
}

func TestExternalUsersKeepTheirAccount(t *testing.T) {
	st := newStage(t)
	other, err := st.site.AddAccount(NewAccount{Email: "guest@partner.test", OtherOrganization: true, GivenName: "Guest"})
	must(t, err)
	r := st.do("POST", "/Users", userBody("guest", "guest@partner.test", `"title":"Consultant"`))
	st.want(r, 201, "")
	if accountID(r) != other.ID {
		t.Error("not linked")
	}
	g := st.group("Partners")
	st.do("PATCH", "/Groups/"+g.str("id"), patchBody(`{"op":"add","path":"members","value":[{"value":"`+r.str("id")+`"}]}`))
	a := st.account(other.ID)
	if a.JobTitle != "" || len(a.Groups) != 2 {
		t.Errorf("attributes don't reach it, groups do: %+v", a)
	}
	st.do("PATCH", "/Users/"+r.str("id"), patchBody(`{"op":"replace","path":"active","value":false}`))
	if a = st.account(other.ID); !a.Active || len(a.Groups) != 0 {
		t.Errorf("it leaves the groups and stays active: %+v", a)
	}
	st.do("PATCH", "/Users/"+r.str("id"), patchBody(`{"op":"replace","path":"active","value":true}`))
	if a = st.account(other.ID); len(a.Groups) != 2 {
		t.Errorf("%+v", a)
	}
}

func TestBodiesThatAreNotJSONObjects(t *testing.T) {
	st := newStage(t)
	u := st.user("ada")
	for _, body := range []string{"{", "[]", "null", `"x"`, ""} {
		for _, c := range []struct{ method, path string }{{"POST", "/Users"}, {"PUT", "/Users/" + u.str("id")}, {"PATCH", "/Users/" + u.str("id")}, {"POST", "/Groups"}} {
			r := st.do(c.method, c.path, body)
			st.want(r, 400, "")
			if r.str("scimType") != "invalidSyntax" {
				t.Errorf("%s %s %q: %s", c.method, c.path, body, r.text)
			}
		}
	}
	st.want(st.do("DELETE", "/Users", ""), 405, "")
	st.want(st.do("POST", "/Schemas", "{}"), 405, "")
	st.want(st.do("PATCH", "/Users/"+u.str("id"), `{"Operations":[]}`), 400, "")
	st.want(st.do("POST", "/Groups", `{"displayName":""}`), 400, "")
	st.want(st.do("POST", "/Users", userBody("b", "not-an-address", "")), 400, "")
}

func TestPathsAndFilters(t *testing.T) {
	for text, want := range map[string]attributePath{
		`title`:                       {attribute: "title"},
		`Name.FamilyName`:             {attribute: "name", sub: "familyname"},
		urnUser + `:userName`:         {attribute: "username"},
		urnEnterprise + `:x`:          {attribute: "x", extension: urnEnterprise},
		urnEnterprise:                 {extension: urnEnterprise},
		`members[value eq "1"]`:       {attribute: "members", filter: &equality{"value", "1"}},
		`emails[type eq "a]b"].value`: {attribute: "emails", filter: &equality{"type", "a]b"}, sub: "value"},
	} {
		got, ok := parsePath(text)
		if d := cmp.Diff(want, got, cmp.AllowUnexported(attributePath{}, equality{})); d != "" || !ok {
			t.Errorf("%s: %v %s", text, ok, d)
		}
	}
	for _, text := range []string{"", "urn:other:x", urnUser, "emails[", "emails[type]", `emails[type eq "x"]value`, `emails[type eq "x"].`, `a b`} {
		if p, ok := parsePath(text); ok {
			t.Errorf("%q was read as %+v", text, p)
		}
	}
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"title", "name.givenName", `emails[type eq "work"].value`, urnEnterprise + ":department", `members[value eq "\""]`, "urn:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, ok := parsePath(s)
		if ok && p.attribute == "" && p.extension == "" {
			t.Errorf("%q names nothing", s)
		}
		if ok && strings.ContainsAny(p.attribute, "[]\" ") {
			t.Errorf("%q: attribute %q", s, p.attribute)
		}
	})
}

func FuzzUserPatch(f *testing.F) {
	for _, ops := range []string{
		`{"op":"replace","path":"emails[type eq \"work\"].value","value":"b@acme.test"}`, `{"op":"add","value":{"name":{"givenName":"x"}}}`,
		`{"op":"remove","path":"phoneNumbers[primary eq true].type"}`, `{"op":"replace","path":"emails","value":"x"}`,
	} {
		f.Add(patchBody(ops))
	}
	f.Fuzz(func(t *testing.T, body string) {
		m, err := object("USER", []byte(body))
		if err != nil {
			return
		}
		full := UserData{UserName: "ada", Active: true, Emails: []MultiValue{{Value: "ada@acme.test", Primary: true}}, PhoneNumbers: []MultiValue{{Value: "1"}}}
		got := full.clone()
		_ = patchUser(&got, m, DefaultSwitches()) // refusing is fine; what was there must not be touched
		want := UserData{UserName: "ada", Active: true, Emails: []MultiValue{{Value: "ada@acme.test", Primary: true}}, PhoneNumbers: []MultiValue{{Value: "1"}}}
		if d := cmp.Diff(want, full); d != "" {
			t.Error(d)
		}
	})
}
