// Command mutation removes each semantic check of the security-relevant code, one at a time, and runs the tests that
// should notice. A removal that no test notices is a missing test.
//
// The checkout is never modified: the compiler is given the changed file by an overlay. What is changed stands in the
// list of checks, as an exact piece of source; a piece that isn't there any more is an error, so that the list follows
// the code.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// check is one semantic check and the change that removes it.
type check struct {
	name string
	// file is relative to the root of the repository.
	file string
	// edits are pieces of source, each of which occurs exactly once, and what replaces them. Most checks are one edit;
	// two are needed where one check stands behind another.
	edits []edit
	suite suite
}

type edit struct{ from, to string }

// suite names the tests that should notice.
type suite struct {
	packages string // separated by spaces
	run      string // a pattern for go test -run
}

func (s suite) String() string { return s.packages + " " + s.run }

// outcome is what became of one check.
type outcome struct {
	check
	caught string // the test that failed first
	err    error  // the list is wrong, or go itself failed
	took   time.Duration
}

func main() {
	only := flag.String("only", "", "run only the checks whose name matches this `pattern`")
	list := flag.Bool("list", false, "only list the checks, and see that the list fits the source")
	after := flag.String("after", "", "the output of an earlier run: the test that noticed a removal then is tried first (`file`)")
	parallel := flag.Int("parallel", 2, "checks removed at the same time")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *only, *after, *list, *parallel); err != nil {
		fmt.Println("VERDICT mutation short", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func run(ctx context.Context, only, after string, list bool, parallel int) error {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "latchkey-mutation")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a leftover in the temporary folder harms nobody
	r := &runner{root: root, dir: dir, baselines: map[suite]func() error{}}
	chosen, err := r.choose(pattern)
	if err != nil {
		return err
	}
	if r.before, err = noticed(after); err != nil {
		return err
	}
	if list {
		for _, c := range chosen {
			fmt.Printf("%-52s %s\n", c.name, c.file)
		}
		fmt.Printf("%d checks, all found in the source\n", len(chosen))
		return nil
	}
	begin := time.Now()
	if r.all, err = r.batch(ctx, chosen, parallel); err != nil {
		return err
	}
	fmt.Printf("%-52s %-34s %s\n", "REMOVED CHECK", "FILE", "NOTICED BY")
	results := each(parallel, chosen, func(c check) outcome {
		if ctx.Err() != nil {
			return outcome{check: c, err: ctx.Err()}
		}
		o := r.remove(ctx, c)
		fmt.Printf("%-52s %-34s %s\n", c.name, strings.TrimPrefix(c.file, "internal/"), o.verdict())
		return o
	})
	if ctx.Err() != nil {
		return errors.New("it was interrupted")
	}
	return sum(results, time.Since(begin))
}

// sum prints what survived, and returns an error unless every removal was noticed.
func sum(results []outcome, took time.Duration) error {
	var survived, failed []string
	for _, o := range results {
		switch {
		case o.err != nil:
			failed = append(failed, o.name)
			fmt.Printf("\n%s: %v\n", o.name, o.err)
		case o.caught == "":
			survived = append(survived, o.name)
		}
	}
	caught := len(results) - len(survived) - len(failed)
	fmt.Printf("\n%d of %d removals noticed, in %s\n", caught, len(results), took.Round(time.Second))
	switch {
	case len(failed) > 0:
		return fmt.Errorf("%d could not be judged: %s", len(failed), strings.Join(failed, ", "))
	case len(survived) > 0:
		return fmt.Errorf("no test notices the removal of: %s", strings.Join(survived, ", "))
	}
	fmt.Printf("VERDICT mutation pass %d semantic checks removed one by one, each noticed by a test\n", len(results))
	return nil
}

func (o outcome) verdict() string {
	switch {
	case o.err != nil:
		return "?? not judged"
	case o.caught == "":
		return "!! NOBODY"
	}
	return fmt.Sprintf("%s (%s)", o.caught, o.took.Round(time.Second))
}

// noticed reads which test noticed which removal, from the output of an earlier run.
func noticed(file string) (map[string]string, error) {
	out := map[string]string{}
	if file == "" {
		return out, nil
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	line := regexp.MustCompile(`(?m)^(.+?) +\S+\.go +(Test[A-Za-z0-9_]+)\S*.* \(.*\)$`)
	for _, m := range line.FindAllStringSubmatch(string(raw), -1) {
		out[m[1]] = m[2]
	}
	return out, nil
}

// moduleRoot returns the folder of go.mod.
func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env: %w", err)
	}
	mod := strings.TrimSpace(string(out))
	if filepath.Base(mod) != "go.mod" {
		return "", errors.New("not within the module")
	}
	return filepath.Dir(mod), nil
}

type runner struct {
	root string // of the module
	dir  string // for changed files
	// before are the tests that noticed in an earlier run, by the name of the check.
	before map[string]string
	all    *batch

	mu        sync.Mutex
	baselines map[suite]func() error
}

// choose returns the checks that match, after seeing that every check of the list fits the source.
func (r *runner) choose(pattern *regexp.Regexp) ([]check, error) {
	var out []check
	var errs []error
	names := map[string]bool{}
	for _, c := range checks {
		if names[c.name] {
			errs = append(errs, fmt.Errorf("%s: listed twice", c.name))
		}
		names[c.name] = true
		if _, err := r.changed(c); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", c.name, err))
		}
		if pattern.MatchString(c.name) {
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		errs = append(errs, errors.New("no check matches"))
	}
	return out, errors.Join(errs...)
}

// changed returns the source of the check's file without the check.
func (r *runner) changed(c check) ([]byte, error) {
	raw, err := os.ReadFile(filepath.Join(r.root, c.file))
	if err != nil {
		return nil, err
	}
	if len(c.edits) == 0 {
		return nil, errors.New("no edit")
	}
	source := string(raw)
	for _, e := range c.edits {
		if n := strings.Count(source, e.from); n != 1 {
			return nil, fmt.Errorf("%s has this %d times instead of once: %s", c.file, n, e.from)
		}
		source = strings.Replace(source, e.from, e.to, 1)
	}
	return []byte(source), nil
}

// baseline sees, once for each suite, that its tests pass while nothing is removed; otherwise a failure would say nothing.
func (r *runner) baseline(ctx context.Context, s suite) error {
	r.mu.Lock()
	once := r.baselines[s]
	if once == nil {
		once = sync.OnceValue(func() error { return r.passes(ctx, s) })
		r.baselines[s] = once
	}
	r.mu.Unlock()
	return once()
}

func (r *runner) passes(ctx context.Context, s suite) error {
	var t tested
	var err error
	if r.all.has(s) {
		t, err = r.all.test(ctx, r.root, s, "", "")
	} else {
		t, err = r.test(ctx, s, "", "")
	}
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", s, err)
	case t.failed != "":
		return fmt.Errorf("%s: %s fails although nothing is removed", s, t.failed)
	case t.ran == 0:
		return fmt.Errorf("%s: there is no such test", s)
	}
	return nil
}

// remove runs the tests without the check.
func (r *runner) remove(ctx context.Context, c check) outcome {
	o := outcome{check: c}
	if o.err = r.baseline(ctx, c.suite); o.err != nil {
		return o
	}
	begin := time.Now()
	var overlay string
	if overlay, o.err = r.overlay(c); o.err != nil {
		return o
	}
	test := func(s suite, skip string) (tested, error) { return r.test(ctx, s, overlay, skip) }
	if number := r.all.numbers[c.name]; number != "" && r.all.has(c.suite) {
		test = func(s suite, skip string) (tested, error) { return r.all.test(ctx, r.root, s, number, skip) }
	}
	tries := []func() (tested, error){
		func() (tested, error) { return test(c.suite, quick) },
		func() (tested, error) { return test(c.suite, slow) },
	}
	if name := r.before[c.name]; name != "" {
		one := suite{c.suite.packages, "^" + name + "$"}
		tries = slices.Insert(tries, 0, func() (tested, error) { return test(one, quick) })
	}
	var t tested
	var err error
	for _, try := range tries {
		if t, err = try(); err != nil || t.failed != "" {
			break
		}
	}
	o.caught, o.err, o.took = t.failed, err, time.Since(begin)
	return o
}

// overlay writes the changed file and the list for go build -overlay.
func (r *runner) overlay(c check) (string, error) {
	source, err := r.changed(c)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(r.dir, "check")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, filepath.Base(c.file))
	if err := os.WriteFile(file, source, 0o600); err != nil {
		return "", err
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(r.root, c.file): file}})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, list, 0o600)
}

// What go test is told to leave out. Most tests run on both databases, and most of what they notice they notice on either:
// so a removal is first tried without the slower one, and only with it if nobody noticed.
const (
	quick = "/^postgresql$"
	slow  = "/^sqlite$"
)

// tested is what a run of tests gave.
type tested struct {
	ran    int    // tests that ran
	failed string // the first test that failed, with the innermost case; "" if none did
}

// test runs a suite, package by package until one fails. The error is about what says nothing about a check: a program
// that doesn't compile.
func (r *runner) test(ctx context.Context, s suite, overlay, skip string) (tested, error) {
	var all tested
	for p := range strings.FieldsSeq(s.packages) {
		t, err := r.testPackage(ctx, p, s.run, overlay, skip)
		all.ran += t.ran
		all.failed = t.failed
		if err != nil || t.failed != "" {
			return all, err
		}
	}
	return all, nil
}

func (r *runner) testPackage(ctx context.Context, pkg, run, overlay, skip string) (tested, error) {
	// Without symbols a test program is linked in half the time.
	args := []string{"test", "-json", "-vet=off", "-failfast", "-count=1", "-p=1", "-timeout=150s", "-ldflags=-s -w", "-run", run}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	if skip != "" {
		args = append(args, "-skip", skip)
	}
	args = append(args, "./"+pkg)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = r.root
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	out, runErr := cmd.Output()
	var t tested
	var failures []string
	var said strings.Builder
	panicked := false
	for line := range strings.Lines(string(out)) {
		var e struct{ Action, Test, Output, Package, FailedBuild string }
		if json.Unmarshal([]byte(line), &e) != nil {
			said.WriteString(line)
			continue
		}
		switch {
		case e.Action == "build-output" || e.FailedBuild != "":
			said.WriteString(e.Output)
			if e.FailedBuild != "" {
				return t, fmt.Errorf("it doesn't compile: %s", said.String())
			}
		case e.Action == "run" && e.Test != "":
			t.ran++
		case e.Action == "output" && strings.HasPrefix(e.Output, "panic: "):
			panicked = true
		case e.Action == "fail" && e.Test != "":
			failures = append(failures, e.Test)
		case e.Action == "fail" && e.Test == "":
			failures = append(failures, "("+filepath.Base(e.Package)+")")
		}
	}
	if ctx.Err() != nil {
		return t, ctx.Err()
	}
	// The innermost case says most, and go reports it before the test that it belongs to.
	if len(failures) > 0 {
		t.failed = failures[0]
		if panicked {
			t.failed += ", by a panic or the end of its time"
		}
		return t, nil
	}
	if runErr != nil {
		return t, fmt.Errorf("go test: %w: %s", runErr, cmp.Or(said.String(), stderr(runErr)))
	}
	return t, nil
}

func stderr(err error) string {
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(e.Stderr)
	}
	return ""
}

// each calls fn for all items, some at the same time, and returns the results in order.
func each[T, R any](parallel int, items []T, fn func(T) R) []R {
	out := make([]R, len(items))
	slots := make(chan struct{}, max(parallel, 1))
	var wg sync.WaitGroup
	for i, item := range items {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			out[i] = fn(item)
		})
	}
	wg.Wait()
	return out
}
