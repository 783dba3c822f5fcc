package browser

import (
	"strings"
	"testing"
)

// TestChangeIsReviewed narrows who is provisioned at an active application: tried on a person,
// looked at, back to the form, and made by its plan.
func TestChangeIsReviewed(t *testing.T) {
	if _, err := axe(); err != nil {
		t.Fatal(err)
	}
	in := start(t)
	var seq int
	p := newPerson(t, "review-", &seq)
	j := &judge{}
	p.signIn(in, seedOwner, seedPassword)
	p.open(in.url + "/console/applications?q=atlassian")
	app := p.hrefOf("Atlassian Cloud")
	look := func(name string) {
		t.Helper()
		j.look(p, name)
		for _, c := range []struct {
			colours string
			width   int64
		}{{"light", 1280}, {"dark", 390}, {"dark", 1280}, {"light", 390}} {
			p.colours(c.colours)
			p.size(c.width, 844)
			p.shot(name)
		}
		p.colours("light")
		p.size(1280, 900)
	}

	p.open(app + "/provisioning")
	p.comesToSee("Provisioning is on")
	p.open(app + "/mappings")
	p.follow("Set a filter", "")
	p.fill("Expression", `user.department == "Nowhere`)
	p.follow("Try without saving", "")
	p.sees("Where it is wrong")
	look("a filter with an error")
	p.fill("Expression", `user.title != "Engineer"`)
	p.follow("Try without saving", "")
	p.sees("It looks at title")
	look("a filter that is tried")
	p.follow("Save", "")
	p.sees("Review the change", "Nothing is saved yet", "Apply the change")
	look("the review of a change")
	p.follow("Back to the form", "")
	if got := p.value("Expression", ""); !strings.Contains(got, `"Engineer"`) {
		t.Errorf("back at the form, the expression is %q", got)
	}
	p.fill("Expression", `user.email.endsWith("@nowhere.example")`)
	p.follow("Save", "")
	p.sees("This takes much away")
	look("a review that takes much away")
	p.follow("Cancel", "")
	p.sees("Everybody who is in a bound group")
	p.contented()
}
