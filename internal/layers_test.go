package internal_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/latchkey-idp/latchkey/"

// layers is the order of packages, the highest first. A package imports only packages of lines
// below its own. rehearsal stands beside the house: see TestRehearsalStandsBeside.
var layers = [][]string{
	{"cmd/latchkey"},
	{"internal/server"},
	{"internal/api", "internal/console"},
	{"internal/portal", "internal/idp", "internal/provision"},
	{"internal/app", "internal/authn"},
	{"internal/directory", "internal/keys", "internal/mail", "internal/provision/plan"},
	{"internal/audit", "internal/catalog", "internal/work"},
	{"internal/access", "internal/store", "internal/saml", "internal/web"},
	{"internal/saml/xmlenc"},
	{"internal/keys/libcrypto", "internal/problem", "internal/saml/xmldsig", "internal/scim"},
}

// beside are packages outside of the order: the rehearsal, tests and fakes.
func beside(pkg string) bool {
	return pkg == "internal/rehearsal" || pkg == "internal" || strings.HasPrefix(pkg, "test/") || strings.HasPrefix(pkg, "tools") ||
		strings.HasSuffix(pkg, "test") || strings.Contains(pkg, "test/")
}

func imports(t *testing.T, root string, visit func(pkg, file, imported string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != root) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			visit(filepath.ToSlash(rel), path, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(dir)
}

func TestImportsGoDown(t *testing.T) {
	height := map[string]int{}
	for i, line := range layers {
		for _, pkg := range line {
			height[pkg] = len(layers) - i
		}
	}
	seen := 0
	imports(t, root(t), func(pkg, file, imported string) {
		own, ok := strings.CutPrefix(imported, module)
		if !ok || beside(pkg) {
			return
		}
		seen++
		from, known := height[pkg]
		if !known {
			t.Errorf("%s: package %s has no place in the order: add it to layers", file, pkg)
			return
		}
		if own == "internal/rehearsal" && pkg == "cmd/latchkey" {
			return // the program runs the rehearsal
		}
		to, known := height[own]
		switch {
		case !known:
			t.Errorf("%s: imports %s, which has no place in the order", file, own)
		case to >= from:
			t.Errorf("%s: %s may not import %s, which is not below it", file, pkg, own)
		}
	})
	if seen < 50 {
		t.Fatalf("only %d imports found: the test looks in the wrong place", seen)
	}
}

// The rehearsal checks the other side, so it must not share its code.
func TestRehearsalStandsBeside(t *testing.T) {
	allowed := map[string]bool{"internal/problem": true, "internal/web": true, "internal/scim": true, "internal/saml": true}
	imports(t, root(t), func(pkg, file, imported string) {
		own, ok := strings.CutPrefix(imported, module)
		if ok && strings.HasPrefix(pkg, "internal/rehearsal") && !strings.HasPrefix(own, "internal/rehearsal") && !allowed[own] {
			t.Errorf("%s: the rehearsal may not import %s", file, own)
		}
	})
}

// Who may know what: SQL only in store, HTTP not in the domain.
func TestForbiddenKnowledge(t *testing.T) {
	domain := map[string]bool{
		"internal/access": true, "internal/audit": true, "internal/app": true, "internal/authn": true, "internal/catalog": true,
		"internal/directory": true, "internal/keys": true, "internal/work": true, "internal/store": true, "internal/problem": true,
	}
	imports(t, root(t), func(pkg, file, imported string) {
		switch {
		case imported == "database/sql" && strings.HasPrefix(pkg, "internal/") && !strings.HasPrefix(pkg, "internal/store"):
			t.Errorf("%s: database/sql belongs to internal/store only", file)
		case imported == "net/http" && domain[pkg]:
			t.Errorf("%s: a domain package knows nothing of HTTP", file)
		case imported == "encoding/xml" && strings.HasPrefix(pkg, "internal/saml"):
			t.Errorf("%s: encoding/xml doesn't round-trip; use the strict reader", file)
		}
	})
}
