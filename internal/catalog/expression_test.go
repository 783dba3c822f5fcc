package catalog

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestExpressions(t *testing.T) {
	c := NewCompiler()
	for _, x := range []struct {
		expr string
		want any
	}{
		{`user.email`, "ada@example.com"},
		{`user.givenName + " " + user.familyName`, "Ada Lovelace"},
		{`user.email.split("@")[0]`, "ada"},
		{`user.email.split("@", 1)[0]`, "ada@example.com"},
		{`user.email.replace("example.com", "example.org")`, "ada@example.org"},
		{`user.email.replace("a", "A", 1)`, "Ada@example.com"},
		{`user.email.substring(user.email.indexOf("@") + 1)`, "example.com"},
		{`user.givenName.substring(0, 1).lower() + user.familyName.lower()`, "alovelace"},
		{`user.givenName.substring(0, 99)`, "Ada"},
		{`user.givenName.substring(9)`, nil},
		{`"Zoë Łukasz Straße".plain()`, "Zoe Lukasz Strasse"},
		{`"ÉCOLE".lower() + "école".upper()`, "écoleÉCOLE"},
		{`"ÉCOLE".lowerAscii() + "école".upperAscii()`, "ÉcoleéCOLE"},
		{`"  x ".trim()`, "x"},
		{`"Zoë".charAt(2) + "Zoë".charAt(9)`, "ë"},
		{`"a/b/a".lastIndexOf("a")`, int64(4)},
		{`"ëa".indexOf("a") + "ëa".indexOf("z")`, int64(0)},
		{`"".split(",").join("-")`, nil},
		{`["a", "b"].join() + ["a", "b"].join(", ")`, "aba, b"},
		{`user.title == "Analyst" ? "yes" : "no"`, "yes"},
		{`user.department in ["Engines", "Sales"]`, true},
		{`user.groups`, []string{"Engineering", "jira editors"}},
		{`user.groups.filter(g, g.startsWith("jira ")).map(g, g.substring(5))`, []string{"editors"}},
		{`user.groups.exists(g, g == "Engineering")`, true},
		{`user.groups.size()`, int64(2)},
		{`user.phones.filter(p, p.type == "mobile").map(p, p.value)`, []string{"+44 7700 900000"}},
		{`user.addresses.map(a, a.country)`, []string{"GB"}},
		{`user.custom.badge`, "A-1"},
		{`user.custom.floor`, int64(3)},
		{`has(user.custom.nothing) ? user.custom.nothing : "none"`, "none"},
		{`user.custom[?"nothing"].orValue("none")`, "none"},
		{`user.custom[?"badge"]`, "A-1"},
		{`user.custom[?"nothing"]`, nil},
		{`user.active`, true},
		{`user.fullName`, "Ada Lovelace"},
		{`[{"value": user.email, "type": "work", "primary": true}]`, []map[string]any{{"value": "ada@example.com", "type": "work", "primary": true}}},
		{`["a", ""]`, []string{"a"}},
		{`[1, 2]`, []string{"1", "2"}},
		{`[]`, nil},
		{`1.0`, int64(1)},
		{`7u`, int64(7)},
		{`user.employeeId.matches("^[0-9]+$") ? int(user.employeeId) : 0`, int64(1815)},
	} {
		t.Run(x.expr, func(t *testing.T) {
			p, err := c.compile(x.expr)
			if err != nil {
				t.Fatal(err)
			}
			got, act, err := p.eval(ada())
			if err != nil || act != Set {
				t.Fatalf("%v, %v", act, err)
			}
			if diff := cmp.Diff(x.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestExpressionErrorsHavePositionAndWords(t *testing.T) {
	c := NewCompiler()
	for _, x := range []struct {
		name, expr   string
		line, column int
		says         string
	}{
		{"misspelled", `user.emial`, 1, 5, "there is no attribute user.emial (did you mean user.email?)"},
		{"without user", `"x" + email`, 1, 7, "email is not known here; write user.email"},
		{"user alone", `user`, 1, 1, "name one of its attributes"},
		{"second line", "user.email +\n  usr.email", 2, 6, "undeclared reference"},
		{"after wide characters", `"ëë" + nope`, 1, 8, "undeclared reference"},
		{"syntax", `user.email +`, 1, 13, "Syntax error"},
		{"types", `user.email + 1`, 1, 12, "no matching overload"},
		{"wrong kind", `duration("1s")`, 1, 1, "a mapping needs text"},
		{"an object", `{"a": "b"}`, 1, 1, "a mapping needs text"},
		{"bytes", `b"x"`, 1, 1, "a mapping needs text"},
		{"empty", ``, 1, 1, "Syntax error"},
		{"too long", `"` + strings.Repeat("x", MaxExpression) + `"`, 1, 1, "longer than"},
		{"too deep", strings.Repeat("(", 200) + "1" + strings.Repeat(")", 200), 1, 1, "recursion"},
		{"large pattern", `user.email.matches("(((a{99}){99}){99}){99}")`, 1, 1, "repeat"},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, err := c.CheckExpression(x.expr)
			var e *ExpressionError
			if !errors.As(err, &e) {
				t.Fatalf("CheckExpression: %v", err)
			}
			if e.Line != x.line || e.Column != x.column && x.name != "syntax" && x.name != "large pattern" || !strings.Contains(e.Message, x.says) {
				t.Errorf("line %d, column %d: %s", e.Line, e.Column, e.Message)
			}
		})
	}
}

func TestReadsOfAnExpression(t *testing.T) {
	got, err := NewCompiler().CheckExpression(`user.title + user.email + user.title + user.custom.x`)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"custom", "email", "title"}, got); diff != "" {
		t.Error(diff)
	}
}

// Class: resource exhaustion. Each of these would take seconds or gigabytes if left alone.
func TestGreedyExpressionsAreStopped(t *testing.T) {
	p := &Person{GivenName: strings.Repeat("a", 200), Title: strings.Repeat("(a+)+", 40)}
	for i := range 2000 {
		p.Groups = append(p.Groups, fmt.Sprintf("group %d", i))
	}
	grown := `user.givenName.replace("a", user.givenName)` // 40,000 characters
	c := NewCompiler()
	for _, x := range []struct{ name, expr string }{
		{"text grows by replace", `user.givenName` + strings.Repeat(`.replace("a", "aaaaaaaaaaaa")`, 25)},
		{"one large replace", grown + `.replace("a", ` + grown + `)`},
		{"replace of nothing", grown + `.replace("", ` + grown + `)`},
		{"join", `user.givenName.split("").join(` + grown + `)`},
		{"split", grown + `.split("")`},
		{"nested lists", `user.groups.map(a, user.groups.map(b, user.groups.map(c, "x")))`},
		{"large text in a loop", `user.groups.map(x, ` + grown + `.replace("b", "c"))`},
		{"lower in a loop", `user.groups.map(x, ` + grown + `.lower())`},
		{"sum in a loop", `user.groups.map(x, user.groups + user.groups)`},
		{"answer too long", grown + ` + ` + grown},
	} {
		t.Run(x.name, func(t *testing.T) {
			pr, err := c.compile(x.expr)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			_, _, err = pr.eval(p)
			if err == nil {
				t.Error("was let through")
			}
			// About 30 ms alone; the bound is wide because the machine may be busy.
			if d := time.Since(start); d > 2*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
	// A person of many groups is no attack.
	pr, err := c.compile(`user.groups.filter(g, g.startsWith("group ")).map(g, g.substring(6))`)
	if err != nil {
		t.Fatal(err)
	}
	if v, _, err := pr.eval(p); err != nil || len(v.([]string)) != 2000 {
		t.Errorf("2000 groups: %v", err)
	}
}

func TestExpressionOfAnEmptyPerson(t *testing.T) {
	c := NewCompiler()
	for _, a := range Attributes() {
		pr, err := c.compile("user." + a.Name)
		if err != nil {
			t.Fatal(err)
		}
		v, act, err := pr.eval(&Person{})
		if err != nil || act != Set || v != nil && v != false {
			t.Errorf("user.%s of nobody: %v, %v, %v", a.Name, v, act, err)
		}
	}
}

// Every attribute means the same to a row and to an expression.
func TestAttributeAndExpressionAgree(t *testing.T) {
	for _, a := range Attributes() {
		if a.Name == "active" {
			continue
		}
		direct := compileSCIM(t, Row{Target: "x", Source: Source{Attribute: a.Name}})
		expr := compileSCIM(t, Row{Target: "x", Source: Source{Expression: "user." + a.Name}})
		for _, p := range []*Person{ada(), bob(), {}} {
			d, err := direct.Apply(p)
			if err != nil {
				t.Fatal(err)
			}
			e, err := expr.Apply(p)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(d, e); diff != "" {
				t.Errorf("%s:\n%s", a.Name, diff)
			}
		}
	}
}

func TestCompilerIsSafeForConcurrentUse(t *testing.T) {
	c := NewCompiler()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				pr, err := c.compile(fmt.Sprintf(`user.email + "%d"`, j%5))
				if err != nil {
					t.Error(err)
					return
				}
				if v, _, err := pr.eval(ada()); err != nil || v != fmt.Sprintf("ada@example.com%d", j%5) {
					t.Errorf("%d: %v, %v", i, v, err)
				}
			}
		})
	}
	wg.Wait()
}

// FuzzExpression wants neither panic nor a long run, whatever compiles, and positions inside
// the text for what does not.
func FuzzExpression(f *testing.F) {
	for _, s := range []string{
		`user.email`, `user.givenName + " " + user.familyName`, `user.title == "" ? leave : clear`,
		`user.groups.filter(g, g.startsWith("a")).map(g, g.substring(1))`, `user.custom[?"x"].orValue("y")`,
		`user.phones.map(p, p.value).join(",")`, `user.email.replace("a", "b", 1).split("@")[0].trim().plain()`,
		`has(user.custom.x) && user.active`, `[1, 2, 3].map(x, x * 2)`, `"ë".charAt(0)`, `user.`, `1 +`, "\n\"", `timestamp("2026-01-01T00:00:00Z")`,
		`user.email.matches("^a+$")`, `int("9") / 0`, `-9223372036854775808 - 1`, `"x".substring(-1)`,
	} {
		f.Add(s)
	}
	people := []*Person{ada(), bob(), {}}
	f.Fuzz(func(t *testing.T, expr string) {
		c := NewCompiler()
		pr, err := c.compile(expr)
		if err != nil {
			var e *ExpressionError
			if !errors.As(err, &e) || e.Line < 1 || e.Column < 1 || e.Message == "" {
				t.Fatalf("%q: %#v", expr, err)
			}
			return
		}
		for _, n := range pr.reads {
			if n != "custom" && !isAttribute(n) {
				t.Errorf("%q reads %q", expr, n)
			}
		}
		for _, p := range people {
			start := time.Now()
			v, act, err := pr.eval(p)
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("%q took %v", expr, d)
			}
			if err != nil && (v != nil || act != Leave) || act != Set && v != nil {
				t.Errorf("%q: %v, %v, %v", expr, v, act, err)
			}
			if s, ok := v.(string); ok && (s == "" || len(s) > maxText) {
				t.Errorf("%q: a text of %d bytes", expr, len(s))
			}
			if !slices.Contains([]string{"<nil>", "string", "bool", "int64", "float64", "[]string", "[]map[string]interface {}"}, fmt.Sprintf("%T", v)) {
				t.Errorf("%q gives a %T", expr, v)
			}
		}
	})
}
