package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// To compile and link a test program takes much longer than most tests. So one program per package is made that holds all
// removals, and the environment tells which of them is made: a changed function stands beside the one it was made of, which
// calls it in its place, and a changed variable is chosen when the program starts. What doesn't fit into this is compiled by
// itself.
type batch struct {
	programs map[string]string // by package
	numbers  map[string]string // of checks, by name
}

// switchName is the variable of the environment that tells which removal is made.
const switchName = "LATCHKEY_REMOVED_CHECK"

// batch makes the programs for the checks. A package whose program doesn't compile has none.
func (r *runner) batch(ctx context.Context, chosen []check, parallel int) (*batch, error) {
	b := &batch{programs: map[string]string{}, numbers: map[string]string{}}
	files := map[string]*woven{}
	var packages []string
	for i, c := range chosen {
		w := files[c.file]
		if w == nil {
			raw, err := os.ReadFile(filepath.Join(r.root, c.file))
			if err != nil {
				return nil, err
			}
			if w, err = newWoven(raw); err != nil {
				return nil, fmt.Errorf("%s: %w", c.file, err)
			}
			files[c.file] = w
		}
		changed, err := r.changed(c)
		if err != nil {
			return nil, err
		}
		if number := strconv.Itoa(i + 1); w.add(changed, number) {
			b.numbers[c.name] = number
			packages = append(packages, strings.Fields(c.suite.packages)...)
		}
	}
	replace := map[string]string{}
	put := func(path string, source []byte) error {
		file := filepath.Join(r.dir, fmt.Sprintf("woven%d.go", len(replace)))
		replace[filepath.Join(r.root, path)] = file
		return os.WriteFile(file, source, 0o600)
	}
	for path, w := range files {
		if err := put(path, w.source()); err != nil {
			return nil, err
		}
		name := filepath.Join(filepath.Dir(path), "zz_removed_check.go")
		if replace[filepath.Join(r.root, name)] != "" {
			continue
		}
		if err := put(name, fmt.Appendf(nil, switchSource, w.file.Name.Name, switchName)); err != nil {
			return nil, err
		}
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		return nil, err
	}
	overlay := filepath.Join(r.dir, "batch.json")
	if err := os.WriteFile(overlay, list, 0o600); err != nil {
		return nil, err
	}
	slices.Sort(packages)
	packages = slices.Compact(packages)
	for i, path := range each(parallel, packages, func(pkg string) string {
		program := filepath.Join(r.dir, strings.ReplaceAll(pkg, "/", "_")+".test")
		cmd := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay", overlay, "-o", program, "./"+pkg)
		cmd.Dir = r.root
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Printf("%s: its removals are compiled one by one, because together they don't: %s\n", pkg, out)
			return ""
		}
		return program
	}) {
		if path != "" {
			b.programs[packages[i]] = path
		}
	}
	return b, ctx.Err()
}

const switchSource = `package %s

import "os"

var removedCheck = os.Getenv(%q)

func pickRemoved[T any](number string, whole, removed T) T {
	if removedCheck == number {
		return removed
	}
	return whole
}
`

// has reports whether a suite can be run by the programs of the batch.
func (b *batch) has(s suite) bool {
	for p := range strings.FieldsSeq(s.packages) {
		if b.programs[p] == "" {
			return false
		}
	}
	return true
}

var failLine = regexp.MustCompile(`(?m)^ *--- FAIL: (\S+) \(`)

// test is runner.test by the programs of the batch; number "" removes nothing.
func (b *batch) test(ctx context.Context, root string, s suite, number, skip string) (tested, error) {
	var all tested
	for p := range strings.FieldsSeq(s.packages) {
		args := []string{"-test.failfast", "-test.timeout=150s", "-test.v", "-test.run", s.run}
		if skip != "" {
			args = append(args, "-test.skip", skip)
		}
		cmd := exec.CommandContext(ctx, b.programs[p], args...)
		cmd.Dir = filepath.Join(root, p)
		cmd.Env = append(os.Environ(), switchName+"="+number)
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.WaitDelay = 10 * time.Second
		out, err := cmd.CombinedOutput()
		if ctx.Err() != nil {
			return all, ctx.Err()
		}
		all.ran += bytes.Count(out, []byte("=== RUN "))
		if err == nil {
			continue
		}
		// The innermost case says most, and comes after the test that it belongs to.
		for _, m := range failLine.FindAllSubmatch(out, -1) {
			if name := string(m[1]); all.failed == "" || strings.HasPrefix(name, all.failed+"/") {
				all.failed = name
			}
		}
		all.failed = cmp.Or(all.failed, "("+filepath.Base(p)+")")
		if bytes.Contains(out, []byte("\npanic: ")) {
			all.failed += ", by a panic or the end of its time"
		}
		return all, nil
	}
	return all, nil
}

// woven is a file that holds removals beside what they are made of.
type woven struct {
	raw    []byte
	set    *token.FileSet
	file   *ast.File
	behind []string // changed functions
	places []place
}

// place is where something is put into the file, in front of what stands there.
type place struct {
	offset int
	text   string
	closes bool // what was opened last is closed first
	order  int  // at one offset
}

func newWoven(raw []byte) (*woven, error) {
	w := &woven{raw: raw, set: token.NewFileSet()}
	var err error
	w.file, err = parser.ParseFile(w.set, "", raw, parser.SkipObjectResolution)
	return w, err
}

// add weaves one removal in; false if it is none that can be woven.
func (w *woven) add(changed []byte, number string) bool {
	other, err := newWoven(changed)
	if err != nil || len(other.file.Decls) != len(w.file.Decls) {
		return false
	}
	var behind []string
	var places []place
	for i, decl := range w.file.Decls {
		was, is := w.text(decl), other.text(other.file.Decls[i])
		if was == is {
			continue
		}
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			call, ok := w.call(decl, number)
			if !ok {
				return false
			}
			fn := other.file.Decls[i].(*ast.FuncDecl)
			begin, name := other.offset(fn.Pos()), other.offset(fn.Name.End())
			if fn.Doc != nil {
				begin = other.offset(fn.Type.Func)
			}
			behind = append(behind, string(changed[begin:name])+"__"+number+string(changed[name:other.offset(fn.End())]))
			places = append(places, place{w.offset(decl.Body.Lbrace) + 1, "\nif removedCheck == \"" + number + "\" {\n" + call + "\n}\n", false, 0})
		case *ast.GenDecl:
			more, ok := w.variables(decl, other, other.file.Decls[i], number)
			if !ok {
				return false
			}
			places = append(places, more...)
		}
	}
	w.behind, w.places = append(w.behind, behind...), append(w.places, places...)
	return len(places) > 0
}

// variables chooses between the values of changed variables.
func (w *woven) variables(decl *ast.GenDecl, other *woven, otherDecl ast.Decl, number string) ([]place, bool) {
	changed, ok := otherDecl.(*ast.GenDecl)
	if !ok || decl.Tok != token.VAR || len(decl.Specs) != len(changed.Specs) {
		return nil, false
	}
	var out []place
	for i, spec := range decl.Specs {
		was, is := spec.(*ast.ValueSpec), changed.Specs[i].(*ast.ValueSpec)
		if w.text(was) == other.text(is) {
			continue
		}
		if len(was.Values) != 1 || len(is.Values) != 1 || len(was.Names) != 1 || was.Type != nil {
			return nil, false
		}
		value := was.Values[0]
		out = append(out, place{w.offset(value.Pos()), "pickRemoved(\"" + number + "\", ", false, 0}, place{w.offset(value.End()), ", " + other.text(is.Values[0]) + ")", true, 0})
	}
	return out, len(out) > 0
}

// call is the statement by which a function calls its changed twin.
func (w *woven) call(fn *ast.FuncDecl, number string) (string, bool) {
	if fn.Type.TypeParams != nil || fn.Body == nil {
		return "", false
	}
	callee := fn.Name.Name + "__" + number
	if fn.Recv != nil {
		names := fn.Recv.List[0].Names
		if len(names) != 1 || names[0].Name == "_" {
			return "", false
		}
		callee = names[0].Name + "." + callee
	}
	var args []string
	for _, field := range fn.Type.Params.List {
		if len(field.Names) == 0 {
			return "", false
		}
		for _, name := range field.Names {
			arg := name.Name
			if arg == "_" {
				return "", false
			}
			if _, many := field.Type.(*ast.Ellipsis); many {
				arg += "..."
			}
			args = append(args, arg)
		}
	}
	call := callee + "(" + strings.Join(args, ", ") + ")"
	if fn.Type.Results == nil {
		return call + "\nreturn", true
	}
	return "return " + call, true
}

func (w *woven) offset(p token.Pos) int { return w.set.Position(p).Offset }

func (w *woven) text(n ast.Node) string { return string(w.raw[w.offset(n.Pos()):w.offset(n.End())]) }

// source returns the file with all that was woven in.
func (w *woven) source() []byte {
	places := slices.Clone(w.places)
	for i := range places {
		if places[i].order = i; places[i].closes {
			places[i].order = -i
		}
	}
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(a.order, b.order))
	})
	var out bytes.Buffer
	at := 0
	for _, p := range places {
		out.Write(w.raw[at:p.offset])
		out.WriteString(p.text)
		at = p.offset
	}
	out.Write(w.raw[at:])
	for _, fn := range w.behind {
		out.WriteString("\n\n" + fn)
	}
	out.WriteString("\n")
	return out.Bytes()
}
