package web

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func styleSheet(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("static/app.css")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	lum := func(s string) float64 {
		r, g, bl, ok := parseColor(s)
		if !ok {
			t.Fatalf("%q is no colour", s)
		}
		return luminance(r, g, bl)
	}
	x, y := lum(a), lum(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// Text has a contrast of 4.5, lines and marks that carry meaning have 3 (WCAG 2.2, 1.4.3 and
// 1.4.11), in both themes.
func TestContrastOfTokens(t *testing.T) {
	tokens := map[string][2]string{}
	for _, m := range regexp.MustCompile(`--([a-z0-9-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);`).FindAllStringSubmatch(styleSheet(t), -1) {
		tokens[m[1]] = [2]string{m[2], m[3]}
	}
	grounds := []string{"paper", "surface", "raised", "sunken", "hover"}
	type pair struct {
		text, ground string
		least        float64
	}
	var pairs []pair
	for _, g := range grounds {
		for _, ink := range []string{"ink", "ink-2", "ink-3", "accent-ink", "danger-ink", "warn-ink", "ok-ink"} {
			pairs = append(pairs, pair{ink, g, 4.5})
		}
		pairs = append(pairs, pair{"accent", g, 3})
	}
	for _, g := range []string{"paper", "surface", "raised"} {
		pairs = append(pairs, pair{"field-line", g, 3})
	}
	for _, state := range []string{"ok", "info", "warn", "danger", "neutral"} {
		pairs = append(pairs, pair{state + "-ink", state + "-soft", 4.5}, pair{"ink", state + "-soft", 4.5}, pair{"ink-2", state + "-soft", 4.5})
	}
	pairs = append(pairs, pair{"on-accent", "accent", 4.5}, pair{"on-accent", "accent-hover", 4.5},
		pair{"on-danger", "danger", 4.5}, pair{"on-danger", "danger-hover", 4.5})
	for _, p := range pairs {
		for i, theme := range []string{"light", "dark"} {
			text, ok := tokens[p.text]
			ground, ok2 := tokens[p.ground]
			if !ok || !ok2 {
				t.Fatalf("no token %q or %q", p.text, p.ground)
			}
			if c := contrast(t, text[i], ground[i]); c < p.least {
				t.Errorf("%s: %s %s on %s %s has %.2f, wants %.1f", theme, p.text, text[i], p.ground, ground[i], c, p.least)
			}
		}
	}
}

func TestTokensAreDefinedAndUsed(t *testing.T) {
	css := styleSheet(t)
	defined := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\s*(--[a-z0-9-]+):`).FindAllStringSubmatch(css, -1) {
		defined[m[1]] = true
	}
	used := map[string]bool{}
	for _, m := range regexp.MustCompile(`var\((--[a-z0-9-]+)`).FindAllStringSubmatch(css, -1) {
		used[m[1]] = true
		if !defined[m[1]] {
			t.Errorf("%s is used and not defined", m[1])
		}
	}
	for d := range defined {
		if !used[d] {
			t.Errorf("%s is defined and not used", d)
		}
	}
}

// Nothing moves for longer than 150 ms, but for the sign of waiting.
func TestMotionIsShort(t *testing.T) {
	css := styleSheet(t)
	css = strings.ReplaceAll(css, "animation: turn 0.9s linear infinite", "")
	css = strings.ReplaceAll(css, "animation: appear 1ms linear 600ms both", "") // a wait, no motion
	found := 0
	for _, m := range regexp.MustCompile(`(?:transition|animation|--quick)[^;:]*:[^;]*`).FindAllString(css, -1) {
		for _, d := range regexp.MustCompile(`\b([0-9.]+)(ms|s)\b`).FindAllStringSubmatch(m, -1) {
			found++
			v, err := strconv.ParseFloat(d[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			if d[2] == "s" {
				v *= 1000
			}
			if v > 150 {
				t.Errorf("%s takes longer than 150 ms", m)
			}
		}
	}
	if found == 0 {
		t.Error("found no duration")
	}
	if !strings.Contains(css, "prefers-reduced-motion: reduce") {
		t.Error("motion isn't switched off for those who want none")
	}
}

func TestTintsCarryWhiteText(t *testing.T) {
	for _, c := range tints {
		if got := contrast(t, c, "#ffffff"); got < 4.5 {
			t.Errorf("white on %s has %.2f", c, got)
		}
		if inkOn(c) != "#fff" {
			t.Errorf("inkOn(%s) = %s", c, inkOn(c))
		}
	}
}

func TestInkOnAnyColorIsReadable(t *testing.T) {
	for v := 0; v < 1<<24; v += 4099 { // a prime step visits the whole cube
		c := fmt.Sprintf("#%06x", v)
		ink := map[string]string{"#000": "#000000", "#fff": "#ffffff"}[inkOn(c)]
		if got := contrast(t, c, ink); got < 4.5 {
			t.Fatalf("%s on %s has %.2f", ink, c, got)
		}
	}
}

func TestAgo(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		ago  time.Duration
		want string
	}{
		{0, "just now"},
		{44 * time.Second, "just now"},
		{45 * time.Second, "1 minute ago"},
		{90 * time.Second, "2 minutes ago"},
		{59*time.Minute + 29*time.Second, "59 minutes ago"},
		{59*time.Minute + 30*time.Second, "1 hour ago"},
		{23 * time.Hour, "23 hours ago"},
		{23*time.Hour + 30*time.Minute, "1 day ago"},
		{44 * 24 * time.Hour, "44 days ago"},
		{60 * 24 * time.Hour, "2 months ago"},
		{366 * 24 * time.Hour, "24 Nov 2025"},
		{-10 * time.Second, "in a moment"},
		{-3 * time.Minute, "in 3 minutes"},
		{-12 * 24 * time.Hour, "in 12 days"},
	} {
		if got := Ago(now.Add(-tt.ago), now); got != tt.want {
			t.Errorf("Ago(%v) = %q, want %q", tt.ago, got, tt.want)
		}
	}
}

func TestNumber(t *testing.T) {
	for n, want := range map[Number]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1234: "−1,234"} {
		if got := n.String(); got != want {
			t.Errorf("%d: %q, want %q", int64(n), got, want)
		}
	}
}

func TestInitials(t *testing.T) {
	for name, want := range map[string]string{
		"Åsa Lindqvist": "ÅL", "atlassian": "A", "Anna Maria de Souza": "AS", "": "?", " – ": "?", "李 小龍": "李小", "o'neil, pat": "OP",
	} {
		if got := Initials(name); got != want {
			t.Errorf("Initials(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestTrendStaysInItsFrame(t *testing.T) {
	for _, values := range [][]float64{{1, 2}, {5, 5, 5}, {0, 1e9, -1e9, 3}} {
		for p := range strings.FieldsSeq(trendPoints(values)) {
			var x, y float64
			if _, err := fmt.Sscanf(p, "%f,%f", &x, &y); err != nil {
				t.Fatal(err)
			}
			if x < 0 || x > trendWidth || y < 0 || y > trendHeight {
				t.Errorf("%v: point %s lies outside", values, p)
			}
		}
	}
}

func TestGroupsOfKeepsOrder(t *testing.T) {
	got := groupsOf([]Option{{Group: "b"}, {}, {Group: "a"}, {Group: "b"}})
	if want := []string{"", "b", "a"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
