package catalog

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFilterMatches(t *testing.T) {
	ada := &Person{Department: "Research", Email: "ada@example.org", EmployeeType: "staff", State: StateActive, Groups: []string{"jira-users", "vip"},
		Custom: map[string]any{"remote": true, "level": int64(3), "site": "Bern"}}
	for name, c := range map[string]struct {
		expr  string
		want  bool
		fault string
	}{
		"equal":                    {`user.department == "Research"`, true, ""},
		"unequal":                  {`user.department != "Research"`, false, ""},
		"no value is empty text":   {`user.title == ""`, true, ""},
		"and, or, not":             {`(user.department == "Sales" || user.employeeType == "staff") && !(user.title == "x")`, true, ""},
		"in a group":               {`"vip" in user.groups`, true, ""},
		"not in a group":           {`"admins" in user.groups`, false, ""},
		"end of an address":        {`user.email.endsWith("@example.org")`, true, ""},
		"a custom truth":           {`user.custom["remote"]`, true, ""},
		"a custom number":          {`user.custom["level"] >= 4`, false, ""},
		"a custom text":            {`user.custom["site"] in ["Bern", "Basel"]`, true, ""},
		"a custom one with others": {`user.custom[?"nowhere"].orValue("") == ""`, true, ""},
		"constant":                 {`true`, true, ""},
		"a custom one is missing":  {`user.custom["nowhere"] == "x"`, false, "no such key"},
		"a custom text as truth":   {`user.custom["site"]`, false, "true or false"},
		"clear":                    {`user.title == "" ? clear : true`, false, "true or false"},
		"too much work":            {`[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, user.email.matches("x*") || true)))))`, false, "too much work"},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := NewCompiler().Filter(c.expr)
			if err != nil {
				t.Fatal(err)
			}
			got, err := f.Matches(ada)
			switch {
			case c.fault == "" && err != nil, c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)):
				t.Fatalf("error %v, want %q", err, c.fault)
			case got != c.want:
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestFilterRefused(t *testing.T) {
	for name, c := range map[string]struct {
		expr         string
		line, column int
		message      string
	}{
		"not closed":            {"user.department ==", 1, 19, "Syntax error"},
		"second line":           {"user.department == \"A\" ||\n  user.departmnt == \"B\"", 2, 7, "there is no attribute user.departmnt"},
		"forgot user":           {`department == "A"`, 1, 1, "write user.department"},
		"two types":             {`user.department == 5`, 1, 17, "no matching overload"},
		"gives text":            {`user.department`, 1, 1, "must give true or false"},
		"gives a list":          {`user.groups`, 1, 1, "must give true or false"},
		"longer than it may be": {`user.department == "` + strings.Repeat("x", MaxExpression) + `"`, 1, 1, "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewCompiler().Filter(c.expr)
			e, ok := errors.AsType[*ExpressionError](err)
			if !ok {
				t.Fatalf("got %v, want an ExpressionError", err)
			}
			if e.Line != c.line || e.Column != c.column || !strings.Contains(e.Message, c.message) {
				t.Errorf("line %d, column %d: %s; want line %d, column %d: %s", e.Line, e.Column, e.Message, c.line, c.column, c.message)
			}
		})
	}
}

func TestFilterReads(t *testing.T) {
	f, err := NewCompiler().Filter(`user.title == "" || user.custom["a"] == 1 || user.email != ""`)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"custom", "email", "title"}, f.Reads()); diff != "" {
		t.Error(diff)
	}
}
