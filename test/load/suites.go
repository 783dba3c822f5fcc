package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
)

// suite runs tests of packages that hold what a measure asks for, and tells how many passed. The
// subtests of each, if that is a test's name, are told one by one.
func suite(ctx context.Context, r *report, what, run, each string, packages ...string) error {
	args := append([]string{"test", "-count=1", "-json", "-run", run}, packages...)
	cmd := exec.CommandContext(ctx, "go", args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	passed, skipped := 0, 0
	var failed []string
	said := map[string]string{} // by subtest of each
	type part struct {
		name   string
		passed bool
	}
	var parts []part
	d := json.NewDecoder(out)
	for {
		var e struct{ Action, Package, Test, Output string }
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return errors.Join(err, cmd.Wait())
		}
		name := e.Package[strings.LastIndexByte(e.Package, '/')+1:] + " " + e.Test
		if name, ok := strings.CutPrefix(e.Test, each+"/"); ok && each != "" {
			switch e.Action {
			case "output":
				if _, text, ok := strings.Cut(e.Output, ".go:"); ok && strings.Contains(text, "requests, at least") {
					_, text, _ = strings.Cut(text, ": ")
					said[name] = ", " + strings.TrimSpace(text)
				}
			case "pass", "fail":
				parts = append(parts, part{name, e.Action == "pass"})
			}
		}
		switch {
		case e.Action == "fail" && (e.Test != "" || len(failed) == 0):
			failed = append(failed, strings.TrimSpace(name))
		case e.Test == "":
		case e.Action == "pass":
			passed++
		case e.Action == "skip":
			skipped++
		}
	}
	if err := cmd.Wait(); err != nil && len(failed) == 0 {
		failed = append(failed, err.Error())
	}
	result := fmt.Sprintf("%d passed", passed)
	if len(failed) > 0 {
		result += ", failed: " + strings.Join(failed[:min(len(failed), 3)], ", ")
	}
	if skipped > 0 {
		result += fmt.Sprintf(", %d skipped", skipped)
	}
	r.row(what, "", result, "", "all", len(failed) == 0 && passed > 0 && skipped == 0)
	slices.SortFunc(parts, func(a, b part) int { return strings.Compare(a.name, b.name) })
	for _, p := range parts {
		result := "failed"
		if p.passed {
			result = "passed"
		}
		r.row("  "+p.name, "", result+said[p.name], "", "passed", p.passed)
	}
	if each != "" && len(parts) == 0 {
		return fmt.Errorf("%s has no subtests", each)
	}
	return nil
}

func measureContract(ctx context.Context, _ options, r *report) error {
	for _, s := range []struct {
		what, run, each string
		packages        []string
	}{
		{"connectors as files: facts, sources, examples, mappings", ".", "", []string{"./internal/catalog"}},
		{"the targets that play products", ".", "", []string{"./internal/rehearsal", "./internal/scim/scimtest"}},
		{"provisioning, and one life of each connector at its product's habits", ".", "TestContracts", []string{"./internal/provision", "./internal/provision/plan"}},
	} {
		if err := suite(ctx, r, s.what, s.run, s.each, s.packages...); err != nil {
			return err
		}
	}
	r.missing("no real tenant was asked")
	return nil
}
