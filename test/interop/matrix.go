package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// outcome is one cell of the matrix.
type outcome struct {
	mark   string // pass, fail, n/a (the service provider can't), or - (not tried)
	reason string
}

// The marks.
const (
	pass  = "pass"
	fail  = "FAIL"
	none  = "n/a"
	later = "-"
)

// column is what came out with one service provider.
type column struct {
	name, version string
	cells         map[string]outcome
	failed        string // why it couldn't be tried at all
	took          time.Duration
}

// matrix is the result of a run.
type matrix struct {
	rows    []aCase
	columns []*column
}

// counts returns how many cells of columns have each mark.
func (m *matrix) counts(columns ...*column) map[string]int {
	n := map[string]int{}
	for _, c := range columns {
		for _, r := range m.rows {
			n[c.cell(r.key).mark]++
		}
	}
	return n
}

func (c *column) cell(key string) outcome {
	if o, ok := c.cells[key]; ok {
		return o
	}
	return outcome{mark: later}
}

// print writes the matrix as text.
func (m *matrix) print(w io.Writer) {
	wide := 0
	for _, r := range m.rows {
		wide = max(wide, utf8.RuneCountInString(r.title))
	}
	fmt.Fprintf(w, "\n%-*s", wide, "")
	for _, c := range m.columns {
		fmt.Fprintf(w, "  %s", c.name)
	}
	fmt.Fprintln(w)
	for _, r := range m.rows {
		var line strings.Builder
		fmt.Fprintf(&line, "%-*s", wide, r.title)
		for _, c := range m.columns {
			fmt.Fprintf(&line, "  %-*s", utf8.RuneCountInString(c.name), c.cell(r.key).mark)
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
	for _, mark := range []string{fail, none} {
		for _, c := range m.columns {
			if mark == fail && c.failed != "" {
				fmt.Fprintf(w, "%s: could not be tried: %s\n", c.name, c.failed)
			}
			for _, r := range m.rows {
				if o := c.cell(r.key); o.mark == mark {
					fmt.Fprintf(w, "%s, %s: %s: %s\n", c.name, r.title, o.mark, o.reason)
				}
			}
		}
	}
}

// verdict is the last line.
func (m *matrix) verdict() string {
	var short []string
	for _, c := range m.columns {
		if c.failed != "" {
			short = append(short, c.name+" could not be tried")
			continue
		}
		var failing, untried []string
		for _, r := range m.rows {
			switch c.cell(r.key).mark {
			case fail:
				failing = append(failing, r.key)
			case later:
				untried = append(untried, r.key)
			}
		}
		if failing != nil {
			short = append(short, c.name+" fails "+strings.Join(failing, ", "))
		}
		if untried != nil {
			short = append(short, c.name+" not tried: "+strings.Join(untried, ", "))
		}
	}
	if short == nil {
		n := m.counts(m.columns...)
		return fmt.Sprintf("VERDICT interop pass %d service providers, %d cases pass, %d not supported by the service provider", len(m.columns), n[pass], n[none])
	}
	return "VERDICT interop short " + strings.Join(short, "; ")
}
