package browser

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

//go:embed page.js
var pageScript string

// patience is how long a person waits for a page to do what it should.
const patience = 20 * time.Second

// person is somebody at a browser of their own.
type person struct {
	t   *testing.T
	tab context.Context
	// prefix names the person's pictures; seq numbers those of the test.
	prefix string
	seq    *int

	mu sync.Mutex
	// complaints are what the browser said against pages: errors of scripts, broken rules of
	// the content security policy.
	complaints []string
	requests   []request
	pending    map[network.RequestID]bool
}

// request is something that a page made the browser ask for.
type request struct {
	url  string
	page string  // that asked for it
	size float64 // bytes received, as they came over the wire
}

// newPerson opens a tab in a browser context without any cookie.
func newPerson(t *testing.T, prefix string, seq *int) *person {
	t.Helper()
	tab, end := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(end)
	p := &person{t: t, tab: tab, prefix: prefix, seq: seq}
	p.do("open a tab", chromedp.EmulateViewport(1280, 900))
	p.listen()
	return p
}

// listen keeps what the browser asks for and complains about in p's tab.
func (p *person) listen() {
	p.t.Helper()
	p.pending = map[network.RequestID]bool{}
	byID := map[network.RequestID]request{}
	err := chromedp.Listen(p.tab, func(ev any) {
		p.mu.Lock()
		defer p.mu.Unlock()
		switch ev := ev.(type) {
		case *runtime.EventExceptionThrown:
			text := ev.ExceptionDetails.Text
			if x := ev.ExceptionDetails.Exception; x != nil {
				text += " " + x.Description
			}
			p.complaints = append(p.complaints, "script: "+text)
		case *runtime.EventConsoleAPICalled:
			if ev.Type == runtime.ConsoleAPICalledTypeError || ev.Type == runtime.ConsoleAPICalledTypeWarning {
				var words []string
				for _, a := range ev.Args {
					words = append(words, string(a.Value)+a.Description)
				}
				p.complaints = append(p.complaints, "console: "+strings.Join(words, " "))
			}
		case *log.EventEntryAdded:
			// A page that was refused is told as an error too; the tests look at pages themselves.
			refused := ev.Entry.Source == log.EntrySourceNetwork && strings.Contains(ev.Entry.Text, "the server responded with a status of 4")
			if (ev.Entry.Level == log.EntryLevelError || ev.Entry.Level == log.EntryLevelWarning) && !refused {
				p.complaints = append(p.complaints, string(ev.Entry.Source)+": "+ev.Entry.Text+" ("+ev.Entry.URL+")")
			}
		case *network.EventRequestWillBeSent:
			byID[ev.RequestID] = request{url: ev.Request.URL, page: ev.DocumentURL}
			p.pending[ev.RequestID] = true
			p.requests = append(p.requests, byID[ev.RequestID])
		case *network.EventLoadingFinished:
			delete(p.pending, ev.RequestID)
			done := byID[ev.RequestID]
			done.size = ev.EncodedDataLength
			p.requests = append(p.requests, done)
		case *network.EventLoadingFailed:
			delete(p.pending, ev.RequestID)
		case *page.EventJavascriptDialogOpening:
			p.complaints = append(p.complaints, "a dialog opened: "+ev.Message)
		}
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

// inNewTab clicks what opens a tab, does something in that, and closes it.
func (p *person) inNewTab(name, within string, do func(*person)) {
	p.t.Helper()
	known := map[target.ID]bool{}
	own := chromedp.FromContext(p.tab).BrowserContextID
	tabs := func() []*target.Info {
		list, err := chromedp.Targets(p.tab)
		if err != nil {
			p.fail("list the tabs: %v", err)
		}
		return list
	}
	for _, t := range tabs() {
		known[t.TargetID] = true
	}
	p.click(name, within)
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(25 * time.Millisecond) {
		for _, t := range tabs() {
			if known[t.TargetID] || t.Type != "page" || t.BrowserContextID != own {
				continue
			}
			ctx, closeTab := chromedp.NewContext(p.tab, chromedp.WithTargetID(t.TargetID))
			defer closeTab()
			q := &person{t: p.t, tab: ctx, prefix: p.prefix, seq: p.seq}
			q.do("take the new tab", chromedp.EmulateViewport(1280, 900))
			q.listen()
			do(q)
			p.mu.Lock()
			p.complaints = append(p.complaints, q.complaints...)
			p.mu.Unlock()
			return
		}
	}
	p.fail("“%s” opens no tab", name)
}

// fail ends the test with what the person sees.
func (p *person) fail(format string, args ...any) {
	p.t.Helper()
	message := fmt.Sprintf(format, args...)
	ctx, cancel := context.WithTimeout(p.tab, 10*time.Second)
	defer cancel()
	where, _ := chromedp.Run(ctx, chromedp.Location())
	said, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText.replace(/\s+/g, " ").slice(0, 1500)`))
	name := strings.NewReplacer("/", "-", " ", "-").Replace("failed-" + p.t.Name())
	if png, err := picture(ctx, false); err == nil {
		_ = os.WriteFile(filepath.Join(shots, name+".png"), png, 0o644)
	}
	p.t.Fatalf("%s\n  at %s\n  which says: %s\n  picture: test/browser/%s/%s.png", message, where, said, shots, name)
}

func (p *person) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.tab, 3*patience)
	defer cancel()
	// The first call opens the tab, which must live longer than this call.
	if chromedp.FromContext(p.tab).Target == nil {
		ctx = p.tab
	}
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.fail("%s: %v", what, err)
	}
}

// open goes to an address and waits until it is there.
func (p *person) open(address string) {
	p.t.Helper()
	p.do("open "+address, chromedp.Navigate(address))
}

// ask evaluates a function of page.js in p's page.
func ask[T any](p *person, name string, args ...any) (T, error) {
	raw, err := json.Marshal(append([]any{}, args...))
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(p.tab, patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](strings.TrimSpace(pageScript)+"."+name+"(..."+string(raw)+")"))
}

// wait asks until the answer satisfies, and fails with the last one.
func wait[T any](p *person, what string, ok func(T) bool, name string, args ...any) T {
	p.t.Helper()
	var last T
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(40 * time.Millisecond) {
		if last, err = ask[T](p, name, args...); err == nil && ok(last) {
			return last
		}
	}
	if err != nil {
		p.fail("%s: %v", what, err)
	}
	p.fail("%s: it is %v", what, last)
	return last
}

func anything[T any](T) bool { return true }

type point struct{ X, Y float64 }

func (p *person) press(at point) {
	p.t.Helper()
	p.do("press", chromedp.MouseClickXY(at.X, at.Y))
}

// click presses a control by what it says. within is a text of the part that it stands in; ""
// is the whole page.
func (p *person) click(name, within string) {
	p.t.Helper()
	p.press(wait(p, "click “"+name+"”", anything[point], "control", name, within))
}

// follow clicks what leads to another page and waits for it.
func (p *person) follow(name, within string) {
	p.t.Helper()
	at := wait(p, "follow “"+name+"”", anything[point], "control", name, within)
	p.leaving("“"+name+"”", func() { p.press(at) })
}

// leaving waits until an act has brought another document.
func (p *person) leaving(what string, act func()) {
	p.t.Helper()
	p.do("mark the page", chromedp.Evaluate[chromedp.Void](`window.stillHere = true`))
	act()
	var there bool
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(25 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(p.tab, 5*time.Second)
		// A page that only carries a form on to another site is no destination.
		there, err = chromedp.Run(ctx, chromedp.Evaluate[bool](
			`!window.stillHere && document.readyState === "complete" && location.href !== "about:blank" && !document.querySelector("form[data-autosubmit]")`))
		cancel()
		if err == nil && there {
			return
		}
	}
	p.fail("%s leads nowhere (%v)", what, err)
}

// fill types into a field, in place of what stands there.
func (p *person) fill(label, value string) { p.t.Helper(); p.fillIn(label, "", value) }

func (p *person) fillIn(label, within, value string) {
	p.t.Helper()
	switch wait(p, "fill “"+label+"”", anything[string], "focus", label, within) {
	case "select", "select-one", "date", "color":
		wait(p, "choose in “"+label+"”", anything[string], "put", label, within, value)
		return
	}
	p.do("type into “"+label+"”", func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		if value == "" {
			return chromedp.KeyEvent("\b")(ctx, t)
		}
		_, err := cdp.Call(ctx, t, input.InsertText, input.InsertTextParams{Text: value})
		return chromedp.Void{}, err
	})
	if got := wait(p, "read “"+label+"”", anything[string], "value", label, within); got != strings.ReplaceAll(value, "\r\n", "\n") {
		p.fail("“%s” holds %q, not %q", label, got, value)
	}
}

// choose clicks a check box, a switch or a radio button by its label.
func (p *person) choose(label, within string) {
	p.t.Helper()
	p.press(wait(p, "choose “"+label+"”", anything[point], "choice", label, within))
}

// set brings a check box or switch into a state.
func (p *person) set(label string, on bool) {
	p.t.Helper()
	if wait(p, "look at “"+label+"”", anything[string], "value", label, "") != fmt.Sprint(on) {
		p.choose(label, "")
	}
	wait(p, "“"+label+"” is set", func(s string) bool { return s == fmt.Sprint(on) }, "value", label, "")
}

// attach chooses a file in a file field.
func (p *person) attach(label, file string) {
	p.t.Helper()
	wait(p, "find “"+label+"”", anything[bool], "mark", label, "")
	p.do("attach "+file, chromedp.SetUploadFiles(chromedp.CSS("[data-test-file]"), []string{file}))
}

// value reads a field by its label.
func (p *person) value(label, within string) string {
	p.t.Helper()
	return wait(p, "read “"+label+"”", anything[string], "value", label, within)
}

// sees waits until the page says all of the texts.
func (p *person) sees(texts ...string) {
	p.t.Helper()
	for _, text := range texts {
		want := strings.Join(strings.Fields(text), " ")
		said := func(s string) bool { return strings.Contains(s, want) }
		var last string
		var err error
		ok := false
		for end := time.Now().Add(patience); !ok && time.Now().Before(end); {
			if last, err = ask[string](p, "text"); err == nil && said(last) {
				ok = true
			} else {
				time.Sleep(50 * time.Millisecond)
			}
		}
		if !ok {
			p.fail("the page doesn't say “%s” (%v)", want, err)
		}
	}
}

// comesToSee loads the page again until it says text: what pages without a live part need.
func (p *person) comesToSee(text string) {
	p.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(250 * time.Millisecond) {
		if said, _ := ask[string](p, "text"); strings.Contains(said, text) {
			return
		}
		p.do("load again", chromedp.Reload())
	}
	p.fail("the page never says “%s”", text)
}

// missing waits until the page doesn't say text (any more).
func (p *person) missing(text string) {
	p.t.Helper()
	wait(p, "the page says “"+text+"”", func(said string) bool { return !strings.Contains(said, text) }, "text")
}

// lacks fails if there is something called name to press.
func (p *person) lacks(name string) {
	p.t.Helper()
	if _, err := ask[point](p, "control", name, ""); err == nil {
		p.fail("there is “%s” to press", name)
	}
}

// at returns the address that the person is at.
func (p *person) at() string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.tab, patience)
	defer cancel()
	where, err := chromedp.Run(ctx, chromedp.Location())
	if err != nil {
		p.fail("where am I: %v", err)
	}
	return where
}

// arrives waits until the address begins with prefix.
func (p *person) arrives(prefix string) {
	p.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(40 * time.Millisecond) {
		if strings.HasPrefix(p.at(), prefix) {
			return
		}
	}
	p.fail("not at %s", prefix)
}

// cookies returns the person's cookies for an address, as a header.
func (p *person) cookies(address string) string {
	p.t.Helper()
	res, err := chromedp.Call(p.tab, network.GetCookies, network.GetCookiesParams{URLs: []string{address}})
	if err != nil {
		p.fail("cookies: %v", err)
	}
	var list []string
	for _, c := range res.Cookies {
		list = append(list, c.Name+"="+c.Value)
	}
	return strings.Join(list, "; ")
}

// keys types as on a keyboard.
func (p *person) keys(text string) {
	p.t.Helper()
	p.do("type", chromedp.KeyEvent(text))
}

// size sets the window.
func (p *person) size(width, height int64) {
	p.t.Helper()
	p.do("size the window", chromedp.EmulateViewport(width, height))
	ctx, cancel := context.WithTimeout(p.tab, patience)
	defer cancel()
	for ctx.Err() == nil {
		if now, err := chromedp.Run(ctx, chromedp.Evaluate[int64](`window.innerWidth`)); err == nil && now == width {
			return
		}
	}
	p.fail("the window is not %d wide", width)
}

// colours sets what the person prefers: "light" or "dark".
func (p *person) colours(scheme string) {
	p.t.Helper()
	p.do("prefer "+scheme, func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
		})
		return chromedp.Void{}, err
	})
}

// shot keeps a picture of the whole page, numbered in the order of the test.
func (p *person) shot(name string) {
	p.t.Helper()
	*p.seq++
	p.keep(fmt.Sprintf("%02d-%s%s.png", *p.seq, p.prefix, name))
}

// keep writes a picture of the whole page to a file among the pictures.
func (p *person) keep(file string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.tab, patience)
	defer cancel()
	// What sticks to the window's edge would stand in the middle of the picture otherwise.
	if err := chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void](`window.scrollTo(0, 0)`)); err != nil {
		p.fail("picture %s: %v", file, err)
	}
	png, err := picture(ctx, true)
	if err != nil {
		p.fail("picture %s: %v", file, err)
	}
	path := filepath.Join(shots, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, png, 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// picture takes the window, or the page from top to bottom up to three windows.
func picture(ctx context.Context, whole bool) ([]byte, error) {
	params := page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatPng}
	if whole {
		metrics, err := chromedp.Call(ctx, page.GetLayoutMetrics, cdp.Empty{})
		if err != nil {
			return nil, err
		}
		width, err := chromedp.Run(ctx, chromedp.Evaluate[float64](`window.innerWidth`)) // with a scroll bar, which the picture lacks
		if err != nil {
			return nil, err
		}
		params.CaptureBeyondViewport = new(true)
		params.Clip = &page.Viewport{Width: width, Height: min(metrics.CSSContentSize.Height, 2700), Scale: 1}
	}
	res, err := chromedp.Call(ctx, page.CaptureScreenshot, params)
	return res.Data, err
}

// contented fails if the browser complained about any page.
func (p *person) contented() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.complaints {
		p.t.Errorf("%sthe browser complains: %s", p.prefix, c)
	}
}
