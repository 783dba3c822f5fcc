//go:build pictures

package browser

import (
	"bytes"
	"context"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// TestPictures takes the README's pictures anew: `make pictures`.
func TestPictures(t *testing.T) {
	in := start(t)
	var seq int
	ada, hiro := newPerson(t, "", &seq), newPerson(t, "", &seq)
	ada.colours("light")
	hiro.colours("light")
	ada.signIn(in, seedOwner, seedPassword)
	console := in.url + "/console"

	// More than one tile.
	for _, x := range []struct{ label, text, colour string }{
		{"Handbook", "How we work, and whom to ask", "#0f766e"},
		{"Travel", "Trains, hotels and expenses", "#b45309"},
		{"Payroll", "Payslips and holidays", "#7c3aed"},
		{"Status", "What runs, and what doesn't", "#be123c"},
	} {
		ada.open(console + "/catalogue/bookmark")
		ada.fill("Display label", x.label)
		ada.fill("Description", x.text)
		ada.fill("Address", "https://"+domain)
		ada.fill("Colour", x.colour)
		ada.follow("Save", "")
		ada.follow("Configure now", "")
		ada.choose("Engineering", "")
		ada.follow("Bind", "")
	}
	hiro.signIn(in, seedEngineer, seedPassword)
	hiro.size(1120, 460)
	hiro.paint("portal.png")

	ada.open(console + "/applications?q=atlassian")
	app := ada.hrefOf(label)
	ada.size(1280, 760)
	ada.open(app + "/provisioning")
	ada.comesToSee("37")
	ada.paint("provisioning.png")

	// A plan with something of everything, while provisioning is paused.
	ada.follow("Pause", "")
	change := func(name, field, value string) {
		ada.open(console + "/users?q=" + name)
		ada.follow(name, "")
		ada.fill(field, value)
		ada.follow("Save", "Profile")
	}
	change("Kavya", "Job title", "Senior Engineer")
	ada.open(console + "/users?q=Wim")
	ada.follow("Wim", "")
	ada.click("Suspend", "")
	ada.follow("Suspend", "sessions end at once")
	ada.open(console + "/users/new")
	ada.fill("Given name", "Milo")
	ada.fill("Family name", "Bergström")
	ada.fill("E-mail", "milo.bergstrom@"+domain)
	ada.choose("Engineering", "Groups")
	ada.follow("Add user", "")
	ada.open(console + "/groups?q=Design")
	ada.follow("Design", "")
	ada.follow("Edit", "")
	ada.fill("Name", "Product Design")
	ada.follow("Save", "")
	ada.open(app + "/provisioning/plan")
	ada.sees("Milo Bergström")
	ada.click("Kavya Nair", "")
	ada.size(1280, 900)
	ada.paint("plan.png")
}

// paint writes the window as a picture of the documentation.
func (p *person) paint(file string) {
	p.t.Helper()
	p.do("come to rest", chromedp.Evaluate[chromedp.Void](`document.activeElement.blur(); document.querySelectorAll("[data-dismissable]").forEach((e) => e.remove()); window.scrollTo(0, 0)`))
	if _, err := chromedp.Call(p.tab, emulation.SetScrollbarsHidden, emulation.SetScrollbarsHiddenParams{Hidden: true}); err != nil {
		p.t.Fatal(err)
	}
	p.settle()
	ctx, cancel := context.WithTimeout(p.tab, patience)
	defer cancel()
	raw, err := picture(ctx, false)
	if err != nil {
		p.fail("picture %s: %v", file, err)
	}
	img, err := png.Decode(bytes.NewReader(raw))
	if err != nil {
		p.t.Fatal(err)
	}
	var small bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&small, img); err != nil {
		p.t.Fatal(err)
	}
	if small.Len() > 200_000 {
		p.t.Errorf("%s has %d bytes", file, small.Len())
	}
	if err := os.WriteFile(filepath.Join("../../docs/images", file), small.Bytes(), 0o644); err != nil {
		p.t.Fatal(err)
	}
}
