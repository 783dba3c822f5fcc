package internal_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// testsOf returns the names of all tests in the tree.
func testsOf(t *testing.T, root string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != root) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") {
				names[fn.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// The table of docs/security-classes.md names tests that exist, has a row for every class and for every neighbour, and each
// class has at least one test that is called after it.
func TestSecurityClasses(t *testing.T) {
	top := root(t)
	tests := testsOf(t, top)
	raw, err := os.ReadFile(filepath.Join(top, "docs", "security-classes.md"))
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile("`(Test[A-Za-z0-9_]+)`")
	number := regexp.MustCompile(`^\| (\d+) \|`)
	rows := map[string][]string{}
	named, neighbours := 0, 0
	for line := range strings.Lines(string(raw)) {
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		var inRow []string
		for _, m := range name.FindAllStringSubmatch(line, -1) {
			inRow = append(inRow, m[1])
			named++
			if !tests[m[1]] {
				t.Errorf("there is no test %s", m[1])
			}
		}
		if m := number.FindStringSubmatch(line); m != nil {
			rows[m[1]] = inRow
		} else if strings.HasPrefix(line, "| **") {
			neighbours++
			if len(inRow) == 0 && !strings.Contains(line, "Does not apply") {
				t.Errorf("a neighbour without a test: %.60s", line)
			}
		}
	}
	for n := 1; n <= 21; n++ {
		prefix := fmt.Sprintf("TestClass%02d_", n)
		found := false
		for _, test := range rows[fmt.Sprint(n)] {
			if !strings.HasPrefix(test, prefix) {
				t.Errorf("%s stands in the row of class %d", test, n)
			}
			found = true
		}
		if !found {
			t.Errorf("class %d has no test", n)
		}
	}
	if neighbours < 13 || named < 60 {
		t.Errorf("only %d neighbours and %d tests are named: the table wasn't understood", neighbours, named)
	}
	// What is called after a class or a neighbour isn't forgotten in the table.
	for test := range tests {
		if strings.HasPrefix(test, "TestNeighbour_") && !strings.Contains(string(raw), "`"+test+"`") {
			t.Errorf("%s isn't in the table", test)
		}
	}
}
