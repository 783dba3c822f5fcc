package webtest_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/web/webtest"
)

func TestFindings(t *testing.T) {
	page := func(body string) string {
		return `<!DOCTYPE html><html lang="en"><head><title>T</title></head><body><main><h1>T</h1>` + body + `</main></body></html>`
	}
	tests := []struct{ name, html, want string }{
		{"good page", page(`<form method="post"><label for="a">A</label><input id="a" name="a"></form>`), ""},
		{"good piece", `<p>hello</p>`, ""},
		{"not closed", `<div><p>x</p>`, "never closed: div"},
		{"wrong order", `<b><i>x</b></i>`, "</b> closes nothing; open: b i"},
		{"two ids", `<p id="x">a</p><p id="x">b</p>`, `id "x" is used 2 times`},
		{"style attribute", `<p style="color:red">a</p>`, "<p> has a style attribute, which the policy forbids"},
		{"style element", `<style>p{}</style>`, "a style element, which the policy forbids"},
		{"inline script", `<script>1</script>`, "a script in the page, which the policy forbids"},
		{"handler", `<p onclick="x()">a</p>`, "<p> has the script attribute onclick, which the policy forbids"},
		{"htmx handler", `<p hx-on:click="x()">a</p>`, "<p> has the script attribute hx-on:click, which the policy forbids"},
		{"script link", `<a href="javascript:x()">a</a>`, `<a href="javascript:x()"> has a script in href`},
		{"no label", `<input name="a">`, `<input name="a"> has no label`},
		{"empty label", `<label for="a"></label><input id="a">`, `<input id="a"> has no label`},
		{"wrapped label", `<label>A <input name="a"></label>`, ""},
		{"described by nothing", `<label for="a">A</label><input id="a" aria-describedby="b">`, `<input id="a"> names the missing id "b" in aria-describedby`},
		{"link to nothing", `<a href="#x">a</a>`, `<a href="#x"> leads to the missing id "x"`},
		{"target of htmx", `<div hx-target="#x"></div>`, `<div> names the missing id "x" in hx-target`},
		{"icon button", `<button type="button"><svg aria-hidden="true"></svg></button>`, `<button type="button"> has no name`},
		{"button without type", `<button>a</button>`, `<button> has no type`},
		{"picture", `<img src="/x">`, "<img> has no alt"},
		{"unnamed drawing", `<svg></svg>`, "<svg> is neither hidden from screen readers nor named"},
		{"new tab", `<a href="/" target="_blank">a</a>`, `<a href="/"> opens a tab that could reach back`},
		{"password echoed", `<input type="password" aria-label="P" value="secret">`, `<input type="password" aria-label="P"> sends a password to the browser`},
		{"fieldset", `<fieldset><p>a</p></fieldset>`, "<fieldset> has no legend"},
		{"table", `<table><tbody></tbody></table>`, "<table> has no caption"},
		{"form", `<form></form>`, "<form> doesn't say its method"},
		{"two headings", page(`<h1>U</h1>`), "the page has 2 h1 elements instead of one"},
		{"no language", strings.Replace(page(""), ` lang="en"`, "", 1), "the page doesn't say its language"},
		{"no title", strings.Replace(page(""), "<title>T</title>", "", 1), "the page has no title"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.Join(webtest.Findings([]byte(tt.html)), "\n")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}
