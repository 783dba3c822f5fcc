package browser

import (
	"context"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// focused is the element that has the keyboard.
type focused struct {
	Name, Tag string
	Shown     bool
	Ring      bool // whether one sees that it is focused
}

// tabTo presses Tab until the element called name has the keyboard; every stop on the way must
// be seen.
func (p *person) tabTo(name string) {
	p.t.Helper()
	var way []string
	for range 80 {
		p.keys(kb.Tab)
		f, err := ask[focused](p, "active")
		if err != nil {
			p.fail("Tab: %v", err)
		}
		way = append(way, f.Name)
		if f.Tag != "" && (!f.Shown || !f.Ring) {
			p.fail("the keyboard is at “%s” (%s), and one doesn't see it: shown %t, with a ring %t", f.Name, f.Tag, f.Shown, f.Ring)
		}
		if f.Name == name || strings.HasPrefix(f.Name, name+" ") {
			return
		}
	}
	p.fail("Tab never comes to “%s”, but to %s", name, strings.Join(way, " · "))
}

// pressEnter sends what a real keyboard does. (KeyEvent's "keyDown" lets the character through
// to whatever has the focus after the key did its work; a raw one doesn't.)
func (p *person) pressEnter() {
	p.t.Helper()
	p.do("press Enter", func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		for _, kind := range []input.DispatchKeyEventType{input.DispatchKeyEventTypeRawKeyDown, input.DispatchKeyEventTypeChar, input.DispatchKeyEventTypeKeyUp} {
			event := input.DispatchKeyEventParams{Type: kind, Key: "Enter", Code: "Enter", WindowsVirtualKeyCode: 13, NativeVirtualKeyCode: 13}
			if kind == input.DispatchKeyEventTypeChar {
				event.Text, event.UnmodifiedText = "\r", "\r"
			}
			if _, err := cdp.Call(ctx, t, input.DispatchKeyEvent, event); err != nil {
				return chromedp.Void{}, err
			}
		}
		return chromedp.Void{}, nil
	})
}

// enter presses Enter and waits for the next page.
func (p *person) enter() {
	p.t.Helper()
	p.leaving("Enter", p.pressEnter)
}

// focusIs fails unless the element called name has the keyboard.
func (p *person) focusIs(name string) {
	p.t.Helper()
	wait(p, "the keyboard is at “"+name+"”", func(f focused) bool { return f.Name == name }, "active")
}

// TestKeyboard signs in and adds an application without touching the mouse.
func TestKeyboard(t *testing.T) {
	in := start(t)
	var seq int
	p := newPerson(t, "keyboard-", &seq)

	p.open(in.url + "/signin")
	p.focusIs("E-mail or user name")
	p.keys(seedOwner)
	p.enter()
	p.focusIs("Password")
	p.keys(seedPassword)
	p.enter()
	p.arrives(in.url + "/")

	// By the skip link to the content, and by the account's menu to the console.
	p.keys(kb.Tab)
	p.focusIs("Skip to content")
	p.tabTo("Ada Okafor")
	p.pressEnter()
	p.tabTo("Open the console")
	p.enter()
	p.arrives(in.url + "/console")
	p.tabTo("Applications")
	p.enter()
	p.tabTo("Add application")
	p.enter()
	p.keys("/") // the page's search
	p.focusIs("Search")
	p.keys("Jira")
	p.missing("No connector")
	p.tabTo("Atlassian Cloud")
	p.enter()
	p.focusIs("Display label")
	p.do("choose all", chromedp.KeyEvent("a", chromedp.KeyModifiers(kb.ModifierCtrl)))
	p.keys("Second Atlassian")
	p.tabTo("Show in the user portal")
	p.keys(" ")
	if got := p.value("Show in the user portal", ""); got != "false" {
		t.Errorf("the space bar leaves the switch at %s", got)
	}
	p.tabTo("Advanced")
	p.pressEnter()
	p.tabTo("IdP URL")
	p.keys("second-atlassian")
	p.tabTo("Save")
	p.enter()
	p.sees("Second Atlassian is saved", "/saml2/second-atlassian")
	p.tabTo("Configure now")
	p.enter()
	p.sees("Values to give to Atlassian Cloud")
	p.shot("configure")

	// A dialog takes the keyboard, Escape gives it back.
	p.open(in.url + "/console/users?q=hiro")
	p.tabTo("Hiro Tanaka")
	p.enter()
	p.tabTo("Suspend")
	p.pressEnter()
	p.sees("Suspend Hiro Tanaka?")
	for range 12 {
		p.keys(kb.Tab)
		inside := wait(p, "stay in the dialog", anything[bool], "insideDialog")
		if !inside {
			p.fail("Tab leaves the dialog")
		}
	}
	p.keys(kb.Escape)
	p.focusIs("Suspend")
	p.contented()
}

// TestWithoutScript signs in, opens a page of each audience and signs out where scripts don't run.
func TestWithoutScript(t *testing.T) {
	in := start(t)
	var seq int
	p := newPerson(t, "no-script-", &seq)
	if _, err := chromedp.Call(p.tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	p.signIn(in, seedEngineer, "wrong wrong wrong")
	p.sees("Password")
	p.shot("refused")
	p.fill("Password", seedPassword)
	p.follow("Sign in", "")
	p.sees("Atlassian Cloud")
	p.shot("portal")

	// Sign-on needs one more press, on the page that carries the answer.
	p.open(p.hrefOf("Atlassian Cloud"))
	p.shot("carried")
	p.follow("Continue", "")
	p.sees("Hiro Tanaka", "Signed in to")
	p.open(in.url + "/")
	p.click("Hiro Tanaka", "")
	p.follow("Sign out", "")
	p.sees("You are signed out")

	p.signIn(in, seedOwner, seedPassword)
	p.open(in.url + "/console/users")
	p.fill("Search", "Kavya")
	p.follow("Search", "")
	p.follow("Kavya Nair", "")
	p.fill("Job title", "Principal Engineer")
	p.follow("Save", "Profile")
	p.sees("Kavya Nair was saved")
	if got := p.value("Job title", ""); got != "Principal Engineer" {
		t.Errorf("the title is %q", got)
	}
	p.shot("user")
	p.contented()
}
