package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// suite runs tests of packages that hold what a measure asks for, and tells how many passed.
func suite(ctx context.Context, r *report, what, run string, packages ...string) error {
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
	d := json.NewDecoder(out)
	for {
		var e struct{ Action, Package, Test string }
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return errors.Join(err, cmd.Wait())
		}
		name := e.Package[strings.LastIndexByte(e.Package, '/')+1:] + " " + e.Test
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
	return nil
}

func measureContract(ctx context.Context, _ options, r *report) error {
	for _, s := range []struct {
		what, run string
		packages  []string
	}{
		{"connectors as files: facts, sources, examples, mappings", ".", []string{"./internal/catalog"}},
		{"the target that plays Atlassian's quirks", ".", []string{"./internal/rehearsal"}},
		{"provisioning against a target with those quirks", ".", []string{"./internal/provision", "./internal/provision/plan"}},
	} {
		if err := suite(ctx, r, s.what, s.run, s.packages...); err != nil {
			return err
		}
	}
	r.missing("no real tenant was asked")
	return nil
}
