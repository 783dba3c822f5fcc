package scim_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/scim"
)

// The examples of RFC 7644 §3.4.2.2, and what is easily got wrong.
var filterTexts = []struct{ text, written string }{
	{`userName eq "bjensen"`, ""},
	{`name.familyName co "O'Malley"`, ""},
	{`userName sw "J"`, ""},
	{`urn:ietf:params:scim:schemas:core:2.0:User:userName sw "J"`, `userName sw "J"`},
	{`title pr`, ""},
	{`meta.lastModified gt "2011-05-13T04:42:34Z"`, ""},
	{`title pr and userType eq "Employee"`, ""},
	{`title pr or userType eq "Intern"`, ""},
	{`schemas eq "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"`, ""},
	{`userType eq "Employee" and (emails co "example.com" or emails.value co "example.org")`, ""},
	{`userType ne "Employee" and not (emails co "example.com" or emails.value co "example.org")`, ""},
	{`userType eq "Employee" and (emails.type eq "work")`, `userType eq "Employee" and emails.type eq "work"`},
	{`userType eq "Employee" and emails[type eq "work" and value co "@example.com"]`, ""},
	{`emails[type eq "work" and value co "@example.com"] or ims[type eq "xmpp" and value co "@foo.com"]`, ""},
	{`USERNAME EQ "x"`, `USERNAME eq "x"`},
	{`userName eq "a \"quoted\" \\ name"`, ""},
	{`userName eq "\u00e4\n"`, `userName eq "ä\n"`},
	{`userName eq "and ) or ] not"`, ""},
	{`active eq true and age gt 18 and x eq null`, ""},
	{`a pr or b pr and c pr`, ""},
	{`(a pr or b pr) and c pr`, ""},
	{`a pr and (b pr and c pr)`, ""},
	{`not (a pr)`, ""},
	{`NOT(a pr) and(b pr)`, `not (a pr) and b pr`},
	{`not pr`, ""},
	{`((((a pr))))`, `a pr`},
	{`emails[type eq "work"].value eq "a@b.c"`, ""},
	{ent + `:department eq "R"`, ""},
	{`a  eq   "b"  `, `a eq "b"`},
	{`n eq -1.5e3`, ""},
}

func TestParseFilter(t *testing.T) {
	for _, tt := range filterTexts {
		t.Run(tt.text, func(t *testing.T) {
			f, err := scim.ParseFilter(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			want := tt.written
			if want == "" {
				want = tt.text
			}
			if got := f.String(); got != want {
				t.Errorf("written as %s, want %s", got, want)
			}
			again, err := scim.ParseFilter(f.String())
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(f, again); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestParseFilterRefuses(t *testing.T) {
	for _, text := range []string{
		``, ` `, `a`, `a eq`, `a eq `, `a eq b`, `a eq 'b'`, `a eq "b`, `a eq "b\"`, `a eq "b" and`, `and a pr`, `(a pr`, `a pr)`,
		`a pr b pr`, `a xx "b"`, `a eq "b" or or c pr`, `a[`, `a[]`, `a[b pr`, `emails[type eq "work"] eq`, `not a pr`, `a eq 01`, `a co 5`,
		`a eq "` + "\xff" + `"`, `a eq "\q"`, `a eqx "b"`, `apr`, `a pr and`, `a eq tru`,
		strings.Repeat("(", 100) + "a pr" + strings.Repeat(")", 100),
		"a pr" + strings.Repeat(" and a pr", 1000),
		`a eq "` + strings.Repeat("x", 20000) + `"`,
	} {
		if f, err := scim.ParseFilter(text); err == nil {
			t.Errorf("%q gave %s, want an error", text, f)
		} else if !errors.Is(err, scim.ErrFilter) {
			t.Errorf("%q: error %v is not an ErrFilter", text, err)
		}
	}
}

func TestFilterMatch(t *testing.T) {
	const r = `{
		"id": "AbC", "externalId": "X1", "userName": "Ada@Example.com", "active": true, "age": 36, "title": "",
		"name": {"familyName": "O'Malley \"Red\""},
		"emails": [{"type":"work","value":"ada@example.com","primary":true},{"type":"home","value":"ada@home.org"}],
		"tags": ["One", "two"],
		"meta": {"lastModified": "2021-04-05T03:16:34.13545Z"},
		"members": [{"value":"Id-1"}],
		"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "Research"}
	}`
	tests := []struct {
		filter string
		want   bool
	}{
		{`userName eq "ADA@example.COM"`, true},
		{`id eq "abc"`, false},
		{`id eq "AbC"`, true},
		{`externalId eq "x1"`, false},
		{`externalId eq "X1"`, true},
		{`members eq "id-1"`, false},
		{`members.value eq "Id-1"`, true},
		{`name.familyName eq "o'malley \"red\""`, true},
		{`emails eq "ada@home.org"`, true},
		{`emails co "nowhere"`, false},
		{`emails[type eq "home" and value ew "home.org"]`, true},
		{`emails[type eq "work" and value ew "home.org"]`, false},
		{`emails.type eq "work" and emails.value ew "home.org"`, true},
		{`emails[type eq "work"].value sw "ADA@"`, true},
		{`emails[primary eq "true"]`, true},
		{`tags eq "one"`, true},
		{`tags eq "three"`, false},
		{`title pr`, false},
		{`emails pr`, true},
		{`nickName pr`, false},
		{`nickName eq null`, true},
		{`title eq null`, true},
		{`userName eq null`, false},
		{`userName ne null`, true},
		{`userName ne "bob"`, true},
		{`nickName ne "bob"`, true},
		{`active eq true`, true},
		{`active eq "True"`, true},
		{`active ne true`, false},
		{`age gt 35.9`, true},
		{`age ge 36`, true},
		{`age lt 36`, false},
		{`age le 36.0`, true},
		{`age eq 36.00`, true},
		{`age gt "35"`, false},
		{`meta.lastModified gt "2021-04-05T05:16:34+02:00"`, true},
		{`meta.lastModified lt "2021-04-05T05:16:34+02:00"`, false},
		{`userName gt "aaa"`, true},
		{`userName eq "x" or active eq true`, true},
		{`userName eq "x" and active eq true`, false},
		{`not (userName eq "x")`, true},
		{ent + `:department eq "research"`, true},
		{ent + `:organization pr`, false},
		{`userName.sub pr`, false},
	}
	for _, tt := range tests {
		t.Run(tt.filter, func(t *testing.T) {
			f, err := scim.ParseFilter(tt.filter)
			if err != nil {
				t.Fatal(err)
			}
			if got := f.Match(resource(t, r)); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestEqWritesAnyValueSafely(t *testing.T) {
	for _, v := range []string{"", `"`, `\`, `\"`, `a" or userName pr or b eq "`, "line\nend\x00", "ä€😀<>&", `\u0041`} {
		f, err := scim.ParseFilter(scim.Eq("userName", v).String())
		if err != nil {
			t.Fatalf("%q: %v", v, err)
		}
		if f.Op != scim.OpEqual || f.Value != v {
			t.Errorf("%q came back as %s %q", v, f.Op, f.Value)
		}
	}
}

func FuzzFilter(f *testing.F) {
	if len(filterTexts) == 0 {
		f.Fatal("no seeds")
	}
	body, err := os.ReadFile("testdata/atlassian/user.json")
	if err != nil {
		f.Fatal(err)
	}
	user := resource(f, string(body))
	for _, s := range filterTexts {
		f.Add(s.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := scim.ParseFilter(text)
		if err != nil {
			return
		}
		again, err := scim.ParseFilter(p.String())
		if err != nil {
			t.Fatalf("%q was written as %q, which can't be read: %v", text, p, err)
		}
		if d := cmp.Diff(p, again); d != "" {
			t.Fatalf("%q changed on the way: %s", text, d)
		}
		if p.Match(user) != again.Match(user) {
			t.Fatalf("%q and %q select differently", text, again)
		}
	})
}

func ExampleParseFilter() {
	f, err := scim.ParseFilter(`userName eq "ada" and emails[type eq "work" and value ew "@example.com"]`)
	if err != nil {
		fmt.Println(err)
		return
	}
	user := scim.Resource{
		"userName": "Ada",
		"emails":   []any{map[string]any{"type": "work", "value": "ada@example.com"}},
	}
	fmt.Println(f.Match(user))
	// Output: true
}

func ExampleEq() {
	fmt.Println(scim.Eq("displayName", `The "A" team`))
	// Output: displayName eq "The \"A\" team"
}

func BenchmarkParseFilter(b *testing.B) {
	for b.Loop() {
		if _, err := scim.ParseFilter(`userName eq "ada" and emails[type eq "work" and value co "@example.com"]`); err != nil {
			b.Fatal(err)
		}
	}
}
