package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"image/color"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"charm.land/lipgloss/v2"
	"golang.org/x/term"

	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
)

// outputFlag is embedded in every command that prints something worth reading by a program.
type outputFlag struct {
	Output string `enum:"text,json" default:"text" short:"o" help:"text or json."`
}

func (o outputFlag) json() bool { return o.Output == "json" }

// printJSON writes one value, indented, for a person or a program.
func (t terminal) printJSON(v any) error {
	e := json.NewEncoder(t.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// printLine writes one value as one line of JSON.
func (t terminal) printLine(v any) error {
	e := json.NewEncoder(t.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// done tells what was done: as a sentence, or as one line of JSON for each object.
func (t terminal) done(o outputFlag, v any, format string, args ...any) error {
	if o.json() {
		return t.printLine(v)
	}
	return t.say(format, args...)
}

// say prints a sentence.
func (t terminal) say(format string, args ...any) error {
	_, err := fmt.Fprintf(t.out, format+"\n", args...)
	return err
}

// isTerminal reports whether a person is at the other end.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// width is the number of columns that output should fit into; 0 when nobody is bothered by
// long lines.
func (t terminal) width() int {
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	if f, ok := t.out.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil {
			return w
		}
	}
	return 0
}

// colours reports whether output may be coloured (https://no-color.org).
func (t terminal) colours() bool {
	return isTerminal(t.out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// tone is what a colour means. Words always say the same, so that nothing is lost without it.
type tone int

const (
	plain tone = iota
	good
	warn
	bad
	faint
	strong
)

// paint colours text by its tone where that is wanted.
func (t terminal) paint(tn tone, s string) string {
	if tn == plain || s == "" || !t.colours() {
		return s
	}
	colour := map[tone]color.Color{good: lipgloss.Green, warn: lipgloss.Yellow, bad: lipgloss.Red}
	style := lipgloss.NewStyle()
	switch c, ok := colour[tn]; {
	case ok:
		style = style.Foreground(c)
	case tn == faint:
		style = style.Faint(true)
	default:
		style = style.Bold(true)
	}
	return style.Render(s)
}

// visible makes text safe to print: what would steer the terminal, or turn the direction of
// writing, is shown as a replacement character.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == 0x2028 || r == 0x2029 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// cell is one value of a table.
type cell struct {
	text string
	tone tone
}

// table prints rows in aligned columns.
type table struct {
	heads []string
	// right columns hold figures.
	right map[int]bool
	// whole columns are never cut.
	whole map[int]bool
	rows  [][]cell
}

func newTable(heads ...string) *table {
	return &table{heads: heads, right: map[int]bool{}, whole: map[int]bool{}}
}

// figures says which columns are aligned to the right.
func (tb *table) figures(columns ...int) *table {
	for _, c := range columns {
		tb.right[c] = true
	}
	return tb
}

// add appends a row of strings, numbers, times or cells.
func (tb *table) add(values ...any) {
	row := make([]cell, len(values))
	for i, v := range values {
		switch v := v.(type) {
		case cell:
			row[i] = cell{visible(v.text), v.tone}
		case time.Time:
			row[i] = cell{text: moment(v)}
			tb.whole[i] = true
		default:
			row[i] = cell{text: visible(fmt.Sprint(v))}
		}
	}
	tb.rows = append(tb.rows, row)
}

const gap = 2

// print writes the table. On a narrow terminal the widest columns give way.
func (tb *table) print(t terminal) error {
	widths := make([]int, len(tb.heads))
	for i, h := range tb.heads {
		widths[i] = lipgloss.Width(h)
		for _, r := range tb.rows {
			widths[i] = max(widths[i], lipgloss.Width(r[i].text))
		}
	}
	if most := t.width(); most > 0 {
		narrow(widths, tb.whole, most-gap*(len(widths)-1))
	}
	w := bufio.NewWriter(t.out)
	line := func(cells []cell) {
		var b strings.Builder
		for i, c := range cells {
			text := cut(c.text, widths[i])
			pad := strings.Repeat(" ", max(0, widths[i]-lipgloss.Width(text)))
			text = t.paint(c.tone, text)
			switch {
			case tb.right[i]:
				text = pad + text
			case i < len(cells)-1:
				text += pad
			}
			b.WriteString(text)
			if i < len(cells)-1 {
				b.WriteString(strings.Repeat(" ", gap))
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
	heads := make([]cell, len(tb.heads))
	for i, h := range tb.heads {
		heads[i] = cell{h, faint}
	}
	line(heads)
	for _, r := range tb.rows {
		line(r)
	}
	return w.Flush()
}

// narrow takes width from the widest columns until the sum fits.
func narrow(widths []int, whole map[int]bool, room int) {
	const least = 6
	for {
		sum, widest := 0, -1
		for i, w := range widths {
			sum += w
			if !whole[i] && (widest < 0 || w > widths[widest]) {
				widest = i
			}
		}
		if sum <= room || widest < 0 || widths[widest] <= least {
			return
		}
		widths[widest]--
	}
}

// cut shortens text to a width.
func cut(s string, width int) string {
	if lipgloss.Width(s) <= width {
		return s
	}
	var b strings.Builder
	used := 0
	for _, r := range s {
		w := lipgloss.Width(string(r))
		if used+w > width-1 {
			break
		}
		used += w
		b.WriteRune(r)
	}
	return b.String() + "…"
}

// facts prints names and values of one thing, one a line; empty values are left out.
type facts struct {
	names  []string
	values []cell
}

func (f *facts) add(name string, value any) {
	c, ok := value.(cell)
	if !ok {
		if at, isTime := value.(time.Time); isTime {
			c.text = moment(at)
		} else {
			c.text = fmt.Sprint(value)
		}
	}
	if c.text == "" {
		return
	}
	c.text = visible(c.text)
	f.names, f.values = append(f.names, name), append(f.values, c)
}

func (f *facts) print(t terminal) error {
	width := 0
	for _, n := range f.names {
		width = max(width, lipgloss.Width(n))
	}
	w := bufio.NewWriter(t.out)
	for i, n := range f.names {
		fmt.Fprintf(w, "%s%s  %s\n", t.paint(faint, n), strings.Repeat(" ", width-lipgloss.Width(n)), t.paint(f.values[i].tone, f.values[i].text))
	}
	return w.Flush()
}

// heading prints a title above what follows.
func (t terminal) heading(format string, args ...any) {
	fmt.Fprintf(t.out, "\n%s\n", t.paint(strong, fmt.Sprintf(format, args...)))
}

// moment is a time for people, in their own zone; "" for the zero time.
func moment(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.Local().Format("2006-01-02 15:04:05")
}

// day is a date for people.
func day(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.Local().Format("2006-01-02")
}

// yes prints a truth.
func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// count prints a number with its noun: 1 person, 2 people, 12,000 people.
func count(n int, one, many string) string {
	return grouped(n) + " " + noun(n, one, many)
}

func noun(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// grouped prints a number with commas between thousands.
func grouped(n int) string {
	s := strconv.Itoa(n)
	neg := strings.HasPrefix(s, "-")
	s = strings.TrimPrefix(s, "-")
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	if neg {
		s = "-" + s
	}
	return s
}

// progress shows how far long work has come, on a terminal only: everywhere else a log would
// fill with it.
type progress struct {
	w     io.Writer
	what  string
	total int
	begin time.Time
	last  time.Time
	wrote bool
}

// startProgress begins; total is 0 if nobody knows it.
func (t terminal) startProgress(what string, total int) *progress {
	p := &progress{what: what, total: total, begin: time.Now()}
	if isTerminal(t.err) {
		p.w = t.err
	}
	return p
}

// at says how much is done. It prints a few times a second at most.
func (p *progress) at(done int) {
	now := time.Now()
	if p.w == nil || now.Sub(p.last) < 200*time.Millisecond {
		return
	}
	p.last, p.wrote = now, true
	fmt.Fprintf(p.w, "\r\x1b[K%s", p.line(done, now))
}

func (p *progress) line(done int, now time.Time) string {
	rate := float64(done) / max(now.Sub(p.begin).Seconds(), 0.001)
	if p.total <= 0 {
		return fmt.Sprintf("%s %s, %s/s", p.what, grouped(done), grouped(int(rate)))
	}
	s := fmt.Sprintf("%s %s of %s (%d %%), %s/s", p.what, grouped(done), grouped(p.total), 100*done/p.total, grouped(int(rate)))
	if rate > 0 && done < p.total {
		left := time.Duration(float64(p.total-done) / rate * float64(time.Second))
		s += ", " + left.Round(time.Second).String() + " left"
	}
	return s
}

// end removes the line.
func (p *progress) end() {
	if p.wrote {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// agree asks a person to type a word before something that can't be undone. Without a terminal
// the command has to be told beforehand.
func (t terminal) agree(already bool, consequence, word string) error {
	if already {
		return nil
	}
	if !isTerminal(t.in) {
		return problem.New(problem.Invalid, "%s Say --yes if that is meant.", consequence)
	}
	fmt.Fprintf(t.err, "%s\nType %s to go on: ", consequence, t.paint(strong, word))
	line, err := bufio.NewReader(t.in).ReadString('\n')
	if err != nil && line == "" {
		return problem.New(problem.Invalid, "Nothing was typed, so nothing was done.")
	}
	if strings.TrimSpace(line) != word {
		return problem.New(problem.Invalid, "That isn't %s, so nothing was done.", word)
	}
	return nil
}

// secret asks for a secret on a terminal, and reads a line elsewhere.
func (t terminal) secret(prompt, field string) (keys.Secret, error) {
	if f, ok := t.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprint(t.err, prompt+": ")
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(t.err)
		if err != nil {
			return "", err
		}
		if len(b) > 0 {
			return keys.Secret(b), nil
		}
	} else if line, err := bufio.NewReader(t.in).ReadString('\n'); err == nil || line != "" {
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			return keys.Secret(line), nil
		}
	}
	return "", problem.InvalidField(field, "Give the %s as a line on standard input.", field)
}

// parseWhen reads a point in time: a date, a time (RFC 3339), or how far it is from now
// ("90d", "36h"). Past says that a distance goes backwards.
func parseWhen(flag, s string, now time.Time, past bool) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		return at, nil
	}
	for _, layout := range []string{"2006-01-02", "2006-01-02 15:04", "2006-01-02 15:04:05"} {
		if at, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return at, nil
		}
	}
	if d, err := parseSpan(s); err == nil {
		if past {
			d = -d
		}
		return now.Add(d), nil
	}
	return time.Time{}, problem.InvalidField(flag, "--%s: %q is neither a date (2026-12-31), a time (2026-12-31T18:00:00Z) nor a span like 90d, 36h or 15m.", flag, s)
}

// parseSpan is time.ParseDuration that knows days.
func parseSpan(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.Atoi(days)
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(s)
}

// readFile reads a file, or standard input for "-", up to a limit.
func (t terminal) readFile(path string, limit int64) ([]byte, error) {
	r, closeFile, err := t.openFile(path)
	if err != nil {
		return nil, err
	}
	defer closeFile()
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	switch {
	case err != nil:
		return nil, problem.Wrap(problem.Invalid, err, "%s can't be read: %v", path, err)
	case int64(len(b)) > limit:
		return nil, problem.New(problem.Invalid, "%s is larger than %s bytes.", path, grouped(int(limit)))
	}
	return b, nil
}

// openFile opens a file, or standard input for "-".
func (t terminal) openFile(path string) (io.Reader, func(), error) {
	if path == "-" {
		return t.in, func() {}, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, problem.Wrap(problem.Invalid, err, "%s can't be read: %v", path, cmp.Or(unwrapPath(err), err))
	}
	return f, func() { _ = f.Close() }, nil // it was only read
}

// unwrapPath is what went wrong without the path, which the sentence has already.
func unwrapPath(err error) error {
	if p, ok := err.(*os.PathError); ok { //nolint:errorlint // os.Open returns nothing else
		return p.Err
	}
	return nil
}

// anyOf tells a list in words for an error: "a, b or c".
func anyOf(words []string) string {
	words = slices.Clone(words)
	for i, w := range words {
		words[i] = visible(w)
	}
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}
