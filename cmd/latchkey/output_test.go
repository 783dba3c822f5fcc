package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
)

func TestTablesFitTheWidth(t *testing.T) {
	for _, c := range []struct {
		name, columns, want string
	}{
		{"wide enough", "", "" +
			"NAME          NUMBER  MESSAGE\n" +
			"Ada           12,000  a rather long message that goes on\n" +
			"Zoë Ångström       7  short\n"},
		{"narrow", "40", "" +
			"NAME          NUMBER  MESSAGE\n" +
			"Ada           12,000  a rather long mes…\n" +
			"Zoë Ångström       7  short\n"},
		{"very narrow", "24", "" +
			"NAME     NUMBER  MESSAGE\n" +
			"Ada      12,000  a rath…\n" +
			"Zoë Ån…       7  short\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("COLUMNS", c.columns)
			var out bytes.Buffer
			tb := newTable("NAME", "NUMBER", "MESSAGE").figures(1)
			tb.add("Ada", grouped(12000), "a rather long message that goes on")
			tb.add("Zoë Ångström", 7, "short")
			if err := tb.print(terminal{out: &out}); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, out.String()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestTimesAreNeverCut(t *testing.T) {
	t.Setenv("COLUMNS", "20")
	var out bytes.Buffer
	tb := newTable("TIME", "MESSAGE")
	tb.add(time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local), "something that is longer")
	if err := tb.print(terminal{out: &out}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "2026-01-02 03:04:05  somet…") {
		t.Errorf("got\n%s", out.String())
	}
}

func TestWideLettersAreMeasuredByTheirWidth(t *testing.T) {
	var out bytes.Buffer
	tb := newTable("NAME", "X")
	tb.add("山田太郎", "1")
	tb.add("Ada", "2")
	if err := tb.print(terminal{out: &out}); err != nil {
		t.Fatal(err)
	}
	want := "NAME      X\n山田太郎  1\nAda       2\n"
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Error(d)
	}
}

func TestNamesCannotSteerTheTerminal(t *testing.T) {
	for _, s := range []string{"\x1b[2J", "a\nb", "a\rb", "\u202eevil", "\u009b31m", "\x07"} {
		for _, r := range visible(s) {
			if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u202e' {
				t.Errorf("visible(%q) keeps %q", s, r)
			}
		}
	}
	if got := visible("Zoë O'Brien 山田"); got != "Zoë O'Brien 山田" {
		t.Errorf("a plain name became %q", got)
	}
}

func TestNothingIsColouredOffATerminal(t *testing.T) {
	if got := (terminal{out: &bytes.Buffer{}}).paint(bad, "failed"); got != "failed" {
		t.Errorf("got %q", got)
	}
}

func TestNumbersAreGrouped(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -4321: "-4,321"} {
		if got := grouped(n); got != want {
			t.Errorf("grouped(%d) = %s, want %s", n, got, want)
		}
	}
	if got := count(1, "person", "people") + ", " + count(12000, "person", "people"); got != "1 person, 12,000 people" {
		t.Errorf("got %q", got)
	}
}

func TestProgressTellsRateAndTimeLeft(t *testing.T) {
	begin := time.Unix(0, 0)
	p := &progress{what: "Importing", total: 100_000, begin: begin}
	if got, want := p.line(25_000, begin.Add(10*time.Second)), "Importing 25,000 of 100,000 (25 %), 2,500/s, 30s left"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	p.total = 0
	if got, want := p.line(500, begin.Add(10*time.Second)), "Importing 500, 50/s"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPointsInTime(t *testing.T) {
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		in   string
		past bool
		want time.Time
	}{
		{"", false, time.Time{}},
		{"2026-12-31T18:00:00Z", false, time.Date(2026, 12, 31, 18, 0, 0, 0, time.UTC)},
		{"2026-12-31", false, time.Date(2026, 12, 31, 0, 0, 0, 0, time.Local)},
		{"90d", false, now.AddDate(0, 0, 90)},
		{"7d", true, now.AddDate(0, 0, -7)},
		{"36h", true, now.Add(-36 * time.Hour)},
	} {
		got, err := parseWhen("since", c.in, now, c.past)
		if err != nil || !got.Equal(c.want) {
			t.Errorf("%q: %v, %v, want %v", c.in, got, err, c.want)
		}
	}
	for _, in := range []string{"yesterday", "d", "31-12-2026", "5"} {
		_, err := parseWhen("since", in, now, false)
		if !problem.Is(err, problem.Invalid) || !strings.Contains(problem.Public(err), "--since") {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestAttributesBySet(t *testing.T) {
	a := directory.Attributes{Email: "ada@example.com"}
	a.Title = "Captain"
	a.Custom = map[string]any{"deck": int64(3)}
	err := setAttributes(&a, []string{
		"title=", "location=Oslo=North", "custom.badge:=7", "custom.height:=1.5", "custom.teams:=[\"a\",\"b\"]", "custom.big:=9007199254740992",
		`phones:=[{"type":"work","value":"+4712345678"}]`,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := directory.Attributes{Email: "ada@example.com"}
	want.Location = "Oslo=North"
	want.Phones = []directory.Phone{{Type: "work", Value: "+4712345678"}}
	want.Custom = map[string]any{"deck": int64(3), "badge": int64(7), "height": 1.5, "teams": []string{"a", "b"}, "big": int64(9007199254740992)}
	if d := cmp.Diff(want, a); d != "" {
		t.Error(d)
	}
	for set, says := range map[string]string{
		"title": "name=value", "=x": "name=value", ":=1": "name=value", "shoes=44": "no attribute", "custom.x:={": "isn't JSON",
		"custom.x:=1 2": "isn't JSON", "phones:=7": "--set", "custom=1": "no attribute",
	} {
		err := setAttributes(&a, []string{set})
		if !problem.Is(err, problem.Invalid) || !strings.Contains(problem.Public(err), says) {
			t.Errorf("--set %s: %v", set, err)
		}
	}
}

func TestWordsForTheShell(t *testing.T) {
	for in, want := range map[string]string{"jira": "jira", "Jira & Co": "'Jira & Co'", "it's": `'it'\''s'`, "": "''", "-x": "-x", "a;rm": "'a;rm'"} {
		if got := quoted(in); got != want {
			t.Errorf("quoted(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestErrorsNameTheFlag(t *testing.T) {
	flags := map[string]string{"email": "--email", "acs": "--acs"}
	var f problem.Fields
	f.Add("acs[0].url", "Not an address.")
	if got := problem.Public(flagged(f.Err(), flags)); got != "--acs: Not an address." {
		t.Errorf("got %q", got)
	}
	f.Add("email", "Taken.")
	f.Add("other", "Odd.")
	var names []string
	for _, x := range problem.FieldsOf(flagged(f.Err(), flags)) {
		names = append(names, x.Name)
	}
	if d := cmp.Diff([]string{"--acs", "--email", "other"}, names); d != "" {
		t.Error(d)
	}
	if got := problem.FieldsOf(f.Err())[0].Name; got != "acs[0].url" {
		t.Errorf("the domain's error was changed: %q", got)
	}
}

func TestExitCodes(t *testing.T) {
	for kind, want := range map[problem.Kind]int{
		problem.Internal: 1, problem.Invalid: 2, problem.NotFound: 3, problem.Conflict: 4, problem.Forbidden: 5, problem.Unauthenticated: 5,
		problem.Throttled: 6, problem.Unavailable: 6,
	} {
		var out bytes.Buffer
		if got := report(&out, problem.New(kind, "So it is.")); got != want {
			t.Errorf("%v exits with %d, want %d", kind, got, want)
		}
		if !strings.Contains(out.String(), "So it is.") {
			t.Errorf("%v says %q", kind, out.String())
		}
	}
}
