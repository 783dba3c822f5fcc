package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// report collects the rows of a table and what fell short.
type report struct {
	name   string
	out    io.Writer
	notes  []string
	rows   [][5]string
	short  []string
	failed error
	text   bytes.Buffer
}

// note tells a fact about the run. It is printed at once, since a run takes a while.
func (r *report) note(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	r.notes = append(r.notes, line)
	fmt.Fprintln(r.out, "#", line)
}

// row adds a figure. yardstick and ratio may be empty. target is in words, and met says whether
// the figure meets it.
func (r *report) row(what, yardstick, result, ratio, target string, met bool) {
	mark := target
	if target != "" {
		mark += " ✓"
		if !met {
			mark = target + " ✗"
			r.short = append(r.short, what+" "+result+" (target "+target+")")
		}
	}
	r.rows = append(r.rows, [5]string{what, yardstick, result, ratio, mark})
}

// fact adds a figure that has no target.
func (r *report) fact(what, result string) {
	r.rows = append(r.rows, [5]string{what, "", result, "", ""})
}

// missing says what this measure doesn't measure yet.
func (r *report) missing(format string, args ...any) {
	r.short = append(r.short, fmt.Sprintf(format, args...))
}

func (r *report) finish() {
	for _, n := range r.notes {
		fmt.Fprintln(&r.text, "#", n)
	}
	var table bytes.Buffer
	if len(r.rows) > 0 {
		w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "\nwhat\tyardstick\tresult\tratio\ttarget")
		for _, row := range r.rows {
			fmt.Fprintln(w, strings.Join(row[:], "\t"))
		}
		_ = w.Flush() // to a buffer
		fmt.Fprintln(&table)
	}
	verdict := "pass"
	switch {
	case r.failed != nil:
		verdict = "short not measured: " + strings.ReplaceAll(r.failed.Error(), "\n", " ")
	case len(r.short) > 0:
		verdict = "short " + strings.Join(r.short, "; ")
	}
	fmt.Fprintf(&table, "VERDICT %s %s\n", r.name, verdict)
	r.text.Write(table.Bytes())
	_, _ = io.Copy(r.out, &table) // nothing can be done about a closed terminal
}

// save keeps the report as <folder>/<name>-<time>.txt.
func (r *report) save(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, r.name+"-"+time.Now().UTC().Format("20060102-1504")+".txt"), r.text.Bytes(), 0o644)
}

func processor() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "an unknown processor"
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return "an unknown processor"
}

// processors counts all of the machine's, also those that this program may not run on.
func processors() int {
	b, err := os.ReadFile("/proc/cpuinfo")
	if n := bytes.Count(b, []byte("processor\t:")); err == nil && n > 0 {
		return n
	}
	return runtime.NumCPU()
}

func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	f := strings.Fields(string(b))
	return strings.Join(f[:min(3, len(f))], " ")
}

func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// quantile returns the q-th quantile of durations; it sorts them.
func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[min(len(d)-1, int(q*float64(len(d))))]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond)) }

func perSecond(n int, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}
