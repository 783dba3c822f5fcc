package web

import (
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/a-h/templ"
)

// Text is plain text as a component, e.g. for a table's cell.
type Text string

// Render implements templ.Component.
func (t Text) Render(_ context.Context, w io.Writer) error {
	_, err := io.WriteString(w, templ.EscapeString(string(t)))
	return err
}

// Code is a short piece of code or an identifier.
type Code string

// Render implements templ.Component.
func (c Code) Render(ctx context.Context, w io.Writer) error {
	return codeText(string(c)).Render(ctx, w)
}

// Muted is text that matters less.
type Muted string

// Render implements templ.Component.
func (m Muted) Render(ctx context.Context, w io.Writer) error {
	return muted(string(m)).Render(ctx, w)
}

// Number is a count, grouped by thousands.
type Number int64

// String returns the number as shown: "12,345".
func (n Number) String() string {
	s := strconv.FormatInt(int64(n), 10)
	sign := ""
	if s[0] == '-' {
		sign, s = "−", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// Render implements templ.Component.
func (n Number) Render(_ context.Context, w io.Writer) error {
	_, err := io.WriteString(w, n.String())
	return err
}

// Identity is a person or thing as the main cell of a row: a mark, a name that may be a link,
// and a second line.
type Identity struct {
	Name, Detail string
	Href         string
	// Mark is an Avatar or AppLogo; nil draws none.
	Mark templ.Component
}

// Render implements templ.Component.
func (i Identity) Render(ctx context.Context, w io.Writer) error { return identity(i).Render(ctx, w) }

// Time is a moment, shown relative to Now with the full time as a tip; a script keeps it
// current. A zero At shows None.
type Time struct {
	At, Now time.Time
	// None is shown for a zero At; empty means "never".
	None string
	// Absolute shows the full time instead.
	Absolute bool
}

// Render implements templ.Component.
func (t Time) Render(ctx context.Context, w io.Writer) error { return moment(t).Render(ctx, w) }

func (t Time) text() string {
	if t.Absolute || t.Now.IsZero() {
		return t.full()
	}
	return Ago(t.At, t.Now)
}

func (t Time) full() string { return t.At.UTC().Format("2 Jan 2006, 15:04:05 UTC") }

// Ago says how far t lies from now, e.g. "3 minutes ago", "in 2 days"; a year or more away it
// is the date.
func Ago(t, now time.Time) string {
	d := now.Sub(t)
	future := d < 0
	if future {
		d = -d
	}
	var n int
	var unit string
	switch {
	case d < 45*time.Second:
		if future {
			return "in a moment"
		}
		return "just now"
	case d < time.Hour-30*time.Second:
		n, unit = int((d+30*time.Second)/time.Minute), "minute"
	case d < 24*time.Hour-30*time.Minute:
		n, unit = int((d+30*time.Minute)/time.Hour), "hour"
	case d < 45*24*time.Hour:
		n, unit = int((d+12*time.Hour)/(24*time.Hour)), "day"
	case d < 365*24*time.Hour:
		n, unit = int((d+15*24*time.Hour)/(30*24*time.Hour)), "month"
	default:
		return t.UTC().Format("2 Jan 2006")
	}
	if n != 1 {
		unit += "s"
	}
	if future {
		return fmt.Sprintf("in %d %s", n, unit)
	}
	return fmt.Sprintf("%d %s ago", n, unit)
}

// Badge is a state as colour, icon and word.
type Badge struct {
	Level Level
	Label string
	// Icon replaces the level's own.
	Icon string
}

// Render implements templ.Component.
func (b Badge) Render(ctx context.Context, w io.Writer) error { return badge(b).Render(ctx, w) }

// Tag is a plain word in a frame, e.g. "SAML".
type Tag string

// Render implements templ.Component.
func (t Tag) Render(ctx context.Context, w io.Writer) error { return tag(string(t)).Render(ctx, w) }

// Banner says in one sentence how things stand, and what to do.
type Banner struct {
	Level Level
	// Text is the sentence.
	Text string
	// Detail is a second, quieter sentence: since when, why.
	Detail string
	// Icon replaces the level's own.
	Icon string
	// Action is what to do: Button, PostButton or a Group of them.
	Action templ.Component
}

// Render implements templ.Component.
func (b Banner) Render(ctx context.Context, w io.Writer) error { return banner(b).Render(ctx, w) }

// Stat is one figure with a name; with Href it leads to the list behind it.
type Stat struct {
	Label, Value string
	Href         string
	Level        Level
	// Note is a short line below.
	Note string
	// Trend, when it has at least two values, is drawn as a small line, oldest first.
	Trend []float64
}

// Render implements templ.Component.
func (s Stat) Render(ctx context.Context, w io.Writer) error { return stat(s).Render(ctx, w) }

// Stats is a row of figures.
type Stats []Stat

// Render implements templ.Component.
func (s Stats) Render(ctx context.Context, w io.Writer) error { return stats(s).Render(ctx, w) }

// Fact is a name and a value.
type Fact struct {
	Term  string
	Value templ.Component
	// Copy, when not empty, is what a copy button beside the value copies.
	Copy string
}

// Facts is a list of names and values.
type Facts []Fact

// Render implements templ.Component.
func (f Facts) Render(ctx context.Context, w io.Writer) error { return facts(f).Render(ctx, w) }

// CopyField is a value to be given to somebody else, with a copy button. Without script the
// value can be selected.
type CopyField struct {
	Label, Value string
	Help         string
	// ID defaults to a form of the label.
	ID string
}

// Render implements templ.Component.
func (c CopyField) Render(ctx context.Context, w io.Writer) error { return copyField(c).Render(ctx, w) }

func (c CopyField) id() string { return cmpOr(c.ID, "c-"+strings.ToLower(fieldID(c.Label))) }

// CodeBlock is a longer text in the code font, e.g. PEM, XML or JSON, with a copy button.
type CodeBlock struct {
	Label, Text string
	// DownloadHref adds a link that saves the text as a file of the name FileName.
	DownloadHref, FileName string
	// Tall lets it grow to its full height.
	Tall bool
}

// Render implements templ.Component.
func (c CodeBlock) Render(ctx context.Context, w io.Writer) error { return codeBlock(c).Render(ctx, w) }

// Empty stands where a list would be and teaches the next step.
type Empty struct {
	Icon, Title, Text string
	Action            templ.Component
}

// Render implements templ.Component.
func (e Empty) Render(ctx context.Context, w io.Writer) error { return empty(e).Render(ctx, w) }

// Avatar is a person's picture or initials. It is decoration: the name stands beside it.
type Avatar struct {
	Name, ImageURL string
	Large          bool
}

// Render implements templ.Component.
func (a Avatar) Render(ctx context.Context, w io.Writer) error { return avatar(a).Render(ctx, w) }

// AppLogo is an application's uploaded picture, or its colour with initials.
type AppLogo struct {
	Name, ImageURL string
	// Color is "#rrggbb"; anything else picks one by the name.
	Color string
	Large bool
}

// Render implements templ.Component.
func (l AppLogo) Render(ctx context.Context, w io.Writer) error { return appLogo(l).Render(ctx, w) }

// Initials returns one or two capital letters for a name.
func Initials(name string) string {
	words := strings.FieldsFunc(name, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) })
	if len(words) == 0 {
		return "?"
	}
	first := []rune(words[0])[:1]
	if len(words) > 1 {
		first = append(first, []rune(words[len(words)-1])[0])
	}
	return strings.ToUpper(string(first))
}

// tints are grounds for initials; white text has a contrast of at least 4.5 on each.
var tints = [...]string{"#0d6474", "#7a4a86", "#93502a", "#3f6b35", "#42599b", "#9a3d5c", "#5b5f66", "#7a5f14", "#1f6b54", "#6650a4", "#a03a2c"}

func tintOf(name string) string {
	h := fnv.New32a()
	_, _ = io.WriteString(h, name) // a hash never fails
	return tints[h.Sum32()%uint32(len(tints))]
}

func (l AppLogo) ground() string {
	if _, _, _, ok := parseColor(l.Color); ok {
		return l.Color
	}
	return tintOf(l.Name)
}

func parseColor(s string) (r, g, b uint8, ok bool) {
	if len(s) != 7 || s[0] != '#' {
		return 0, 0, 0, false
	}
	v, err := strconv.ParseUint(s[1:], 16, 32)
	if err != nil {
		return 0, 0, 0, false
	}
	return uint8(v >> 16), uint8(v >> 8 & 0xff), uint8(v & 0xff), true //nolint:gosec // masked to a byte each
}

// Steps shows where one is in a sequence of pages.
type Steps []Step

// Step is one page of Steps.
type Step struct {
	Label string
	// Href leads there, when it may be visited; empty draws no link.
	Href    string
	Done    bool
	Current bool
}

// Render implements templ.Component.
func (s Steps) Render(ctx context.Context, w io.Writer) error { return steps(s).Render(ctx, w) }

// Task is one line of a Checklist.
type Task struct {
	Title, Text string
	Done        bool
	// Action is shown while it isn't done.
	Action templ.Component
}

// Checklist is a list of things to do once, with those done ticked.
type Checklist []Task

// Render implements templ.Component.
func (c Checklist) Render(ctx context.Context, w io.Writer) error { return checklist(c).Render(ctx, w) }

// Diff is what changes from old to new, attribute by attribute.
type Diff []Change

// Change is one attribute's old and new value; an empty Old is an addition, an empty New a
// removal.
type Change struct {
	Name, Old, New string
	// Note says why, or warns.
	Note string
	// Level marks a change that needs attention.
	Level Level
}

// Render implements templ.Component.
func (d Diff) Render(ctx context.Context, w io.Writer) error { return diff(d).Render(ctx, w) }

// SettingOptions describe a Setting.
type SettingOptions struct {
	// ID is an anchor: a link to it opens the row.
	ID, Title string
	// Value says in short how it is set.
	Value string
	// Level marks a value that needs attention.
	Level Level
	Open  bool
}

// Findings are checks with what came of each, in the order in which they were made.
type Findings []Finding

// Finding is one check.
type Finding struct {
	// Level and Verdict are shown as a badge, e.g. OK "passed". Icon replaces the level's own.
	Level         Level
	Verdict, Icon string
	// Title names the check, Text says what was found.
	Title, Text string
	// Rule is what is demanded, Source where that stands.
	Rule, Source string
	// Quiet shows it paler, e.g. one that was left out.
	Quiet bool
}

// Render implements templ.Component.
func (f Findings) Render(ctx context.Context, w io.Writer) error { return findings(f).Render(ctx, w) }

// LogEntry is a row of a log. LogRow draws it with the children as its drawer.
type LogEntry struct {
	At, Now time.Time
	// Level and Outcome are shown as a badge, e.g. OK "sent", Danger "refused".
	Level   Level
	Outcome string
	// Title says what happened.
	Title string
	// Detail is a quieter second line: who, from where.
	Detail string
	// Code is the event's name, e.g. "user_update_provision".
	Code string
	// Load is fetched into the drawer by htmx when it is opened for the first time.
	Load string
	// Href is the entry as a page of its own.
	Href string
	Open bool
}

// Progress is how far long work has come.
type Progress struct {
	Label     string
	Done, All int
	// Note is shown behind, e.g. "about 3 minutes left".
	Note string
}

// Render implements templ.Component.
func (p Progress) Render(ctx context.Context, w io.Writer) error { return progress(p).Render(ctx, w) }

func (p Progress) figures() string {
	return Number(p.Done).String() + " of " + Number(p.All).String()
}

// Skeleton stands in for content that htmx is fetching: so many grey lines.
type Skeleton int

// Render implements templ.Component.
func (s Skeleton) Render(ctx context.Context, w io.Writer) error {
	return skeleton(int(s)).Render(ctx, w)
}

// Tile is an application in the portal.
type Tile struct {
	Name, Description, Href string
	ImageURL, Color         string
	// NewTab opens the application in a new tab.
	NewTab bool
	// Note is shown when it can't be used now, e.g. "not ready yet"; the tile is then no link.
	Note string
	// Tags are shown below the name, e.g. "SAML" in the catalogue.
	Tags []string
	// Terms are further words that the page's search finds, e.g. "Jira Confluence".
	Terms string
}

// Tiles is a grid of applications with a search box when there are many.
type Tiles struct {
	Items []Tile
	// Search labels the box that filters the tiles as one types; empty draws none. Where
	// scripts don't run there is no box and all tiles are shown.
	Search string
	// ID tells several grids of a page apart; empty means "tiles".
	ID string
}

// Render implements templ.Component.
func (t Tiles) Render(ctx context.Context, w io.Writer) error { return tiles(t).Render(ctx, w) }

// Trend is a small line of values, oldest first. Label says in words what it shows.
type Trend struct {
	Label  string
	Values []float64
}

// Render implements templ.Component.
func (t Trend) Render(ctx context.Context, w io.Writer) error { return trend(t).Render(ctx, w) }

const (
	trendWidth  = 96
	trendHeight = 24
)

func trendPoints(values []float64) string {
	lo, hi := values[0], values[0]
	for _, v := range values {
		lo, hi = min(lo, v), max(hi, v)
	}
	span := hi - lo
	if span == 0 {
		span, lo = 2, lo-1 // a flat line runs through the middle
	}
	var b strings.Builder
	for i, v := range values {
		if i > 0 {
			b.WriteByte(' ')
		}
		x := 2 + float64(i)*(trendWidth-4)/float64(len(values)-1)
		y := trendHeight - 3 - (v-lo)/span*(trendHeight-6)
		fmt.Fprintf(&b, "%.1f,%.1f", x, y)
	}
	return b.String()
}

// LiveOptions describe a Live part of a page.
type LiveOptions struct {
	// ID is the part's id.
	ID string
	// Href answers with the page that holds the part; usually the page's own path.
	Href string
	// Every is the time between two looks; zero stops, e.g. when the work is done.
	Every time.Duration
}

// CardOptions describe a Card.
type CardOptions struct {
	Title, Text string
	// ID is an anchor.
	ID string
	// Badge stands beside the title.
	Badge templ.Component
	// Action stands at the right of the title.
	Action templ.Component
	// Flush lets the content reach the edges, for tables and logs.
	Flush bool
}

// Table is a list in columns. On a narrow screen each row becomes a card.
type Table struct {
	// Caption names the table for screen readers.
	Caption string
	Columns []Column
	Rows    []Row
	// Empty stands in for a table without rows.
	Empty templ.Component
	// Select is the name of the check boxes at the rows' left, one per Row.ID; empty draws
	// none. Put the table into a form then.
	Select string
	// Bulk is shown while at least one row is chosen: buttons that submit the form.
	Bulk templ.Component
	// ID is for htmx.
	ID string
}

// Column is a column of a Table.
type Column struct {
	Title string
	// Numeric aligns right.
	Numeric bool
	// Narrow takes no more room than needed.
	Narrow bool
	// Hidden keeps the title for screen readers only, e.g. over buttons.
	Hidden bool
	// SortHref sorts by this column; Sorted is "ascending" or "descending" when it is so now.
	SortHref, Sorted string
}

// Row is a row of a Table: a cell for each column; nil is empty.
type Row struct {
	// ID is sent for a chosen row.
	ID string
	// Name says which row a check box is for.
	Name  string
	Cells []templ.Component
	// Level marks the row.
	Level Level
	// Quiet shows the row paler, e.g. a suspended person.
	Quiet bool
}

// Render implements templ.Component.
func (t Table) Render(ctx context.Context, w io.Writer) error { return table(t).Render(ctx, w) }

// Pager leads through a list by cursors.
type Pager struct {
	// Previous and Next are links; empty means there is none.
	Previous, Next string
	// Summary says what is shown, e.g. "1–50 of about 12,400".
	Summary string
}

// Render implements templ.Component.
func (p Pager) Render(ctx context.Context, w io.Writer) error { return pager(p).Render(ctx, w) }

// FilterBar searches and filters a list by a GET form, so that a filtered list has an address.
type FilterBar struct {
	// Action is the list's path.
	Action string
	// Query is the current search text, sent as "q".
	Query string
	// Placeholder says what is searched, e.g. "Name, e-mail or employee id".
	Placeholder string
	Filters     []Filter
	// Hidden are parameters to keep, by name.
	Hidden map[string]string
	// Target, a selector such as "#users", lets htmx replace only that part while one types
	// (the answer is the whole page, the part is cut out of it). Empty submits the form.
	Target string
	// Clear is where "Clear" leads; empty hides it.
	Clear string
	// ID tells several bars of a page apart; empty means "filter".
	ID string
}

func (f FilterBar) id(part string) string { return cmpOr(f.ID, "filter") + "-" + fieldID(part) }

// Filter is one list of choices in a FilterBar.
type Filter struct {
	Name, Label, Value string
	Options            []Option
}

// Render implements templ.Component.
func (f FilterBar) Render(ctx context.Context, w io.Writer) error { return filterBar(f).Render(ctx, w) }

func itoa(n int) string { return strconv.Itoa(n) }

// inkOn returns black or white, whichever reads better on the colour.
func inkOn(color string) string {
	r, g, b, _ := parseColor(color)
	if luminance(r, g, b) > 0.179 { // where black and white have the same contrast
		return "#000"
	}
	return "#fff"
}

// luminance is the relative luminance of WCAG 2.2, 0 to 1.
func luminance(r, g, b uint8) float64 {
	linear := func(c uint8) float64 {
		v := float64(c) / 255
		if v <= 0.04045 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(r) + 0.7152*linear(g) + 0.0722*linear(b)
}

// Cells lists a row's cells.
func Cells(list ...templ.Component) []templ.Component { return list }
