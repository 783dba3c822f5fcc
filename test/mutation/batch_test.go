package main

import (
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const wovenSource = `package main

import "fmt"

type T struct{ n int }

var table = []string{"a", "b"}

const fixed = 1

func sum(from int, more ...int) (n int) {
	n = from
	for _, m := range more {
		n += m
	}
	return n
}

// show prints.
func (t T) show(s string) { fmt.Println(s, t.n, table) }

func odd(_ int) int { return 1 }

func main() { T{sum(1, 2, 3)}.show("s") }
`

// Each removal is made by its number and by no other, and without a number nothing is changed.
func TestWoven(t *testing.T) {
	w, err := newWoven([]byte(wovenSource))
	if err != nil {
		t.Fatal(err)
	}
	numbers := map[string]string{"": "s 6 [a b]"}
	for number, c := range map[string]struct{ from, to, prints string }{
		"1": {`{"a", "b"}`, `{"a"}`, "s 6 [a]"},
		"2": {`{"a", "b"}`, `{"b"}`, "s 6 [b]"},
		"3": {`{"a", "b"}`, `{}`, "s 6 []"},
		"4": {"n += m", "n -= m", "s -4 [a b]"},
		"5": {"n = from\n", "", "s 5 [a b]"},
		"6": {"Println(s, t.n", `Println("t", t.n`, "t 6 [a b]"},
	} {
		if strings.Count(wovenSource, c.from) != 1 || !w.add([]byte(strings.Replace(wovenSource, c.from, c.to, 1)), number) {
			t.Errorf("%s can't be woven", number)
		}
		numbers[number] = c.prints
	}
	for _, c := range [][2]string{{"fixed = 1", "fixed = 2"}, {"return 1 }", "return 2 }"}, {"", ""}, {"package main", "package"}} {
		if w.add([]byte(strings.Replace(wovenSource, c[0], c[1], 1)), "9") {
			t.Errorf("%q was woven", c)
		}
	}
	source, err := format.Source(w.source())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module woven\n\ngo 1.26\n", "main.go": string(source),
		"switch.go": strings.NewReplacer("%s", "main", "%q", `"`+switchName+`"`).Replace(switchSource),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(dir, "woven")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s\n%s", out, source)
	}
	for number, want := range numbers {
		cmd := exec.CommandContext(t.Context(), program)
		cmd.Env = append(os.Environ(), switchName+"="+number)
		if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("%q prints %q, want %q, %v", number, out, want, err)
		}
	}
}

// What was noticed before is read from what was printed then.
func TestNoticed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "last.txt")
	text := "REMOVED CHECK                    FILE          NOTICED BY\n" +
		"a: short                         saml/a.go     TestA/b/c (3s)\n" +
		"a: a name that is longer than its column, by far saml/a.go TestB, by a panic or the end of its time (2m31s)\n" +
		"a: none                          saml/a.go     !! NOBODY\n" +
		"a: odd                           saml/a.go     ?? not judged\n" +
		"a: no test                       saml/a.go     (saml) (3s)\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := noticed(file)
	if err != nil || len(got) != 2 || got["a: short"] != "TestA" || got["a: a name that is longer than its column, by far"] != "TestB" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := noticed(file + "x"); err == nil {
		t.Error("a file that isn't there")
	}
}
