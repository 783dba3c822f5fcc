package console

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/provision/plan"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// review tells how a change is looked at before it is made.
type review struct {
	// What names the change, e.g. "The mapping of Job title".
	What string
	// Tab is the tab, by label and path, that the change belongs to.
	Label, Tab string
	// Cancel is where the person goes who doesn't want it.
	Cancel string
	// Form tells that the change comes from a form, to which one can go back.
	Form bool
}

// reviewPage stands between a form and its effect: what the change would send, before it is made.
type reviewPage struct {
	planPage
	review
	Action string
	// Fields are the values of the form, which are posted again.
	Fields []reviewField
	// More is how many steps are shown next, 0 if all are.
	More int
}

type reviewField struct{ name, value string }

// The fields of the review itself. Those of the form are posted again beside them.
const (
	fieldPlan = "planHash"
	fieldHeld = "held"
	fieldMore = "more"
	fieldAct  = "act"
	actBack   = "back"
)

// goesBack tells whether the person wants to go on with the form.
func goesBack(r *request) bool { return r.PostForm.Get(fieldAct) == actBack }

// approve makes a change of what an application provisions. If its plan has to be looked at first,
// the review is drawn in place of it: made is false then, and the request is answered.
func (c *Console) approve(w http.ResponseWriter, r *request, f appFrame, change app.SCIMChange, v review) (a app.Application, made bool, err error) {
	if err := mayManage(r); err != nil {
		return a, false, err
	}
	hash, wrong := r.PostForm.Get(fieldPlan), ""
	if hash != "" && r.PostForm.Get(fieldHeld) != "" && !sameWord(r, f.App.Label) {
		wrong = "Type " + f.App.Label + " to confirm that this change takes so much away."
	}
	if wrong != "" || r.PostForm.Has(fieldMore) {
		proposed, err := c.Engine.Propose(r.Context(), r.By, f.App.ID, change)
		if err != nil {
			return a, false, err
		}
		if proposed.Hash == hash {
			status := http.StatusOK
			if wrong != "" {
				status = http.StatusUnprocessableEntity
			}
			return a, false, c.renderReview(w, r, f, v, proposed, status, "", wrong)
		}
	}
	a, _, err = c.Engine.Apply(r.Context(), r.By, f.App.ID, change, hash)
	u, ok := errors.AsType[*provision.Unapproved](err)
	switch {
	case ok && u.Stale:
		return a, false, c.renderReview(w, r, f, v, u.Plan, http.StatusConflict, problem.Public(err), "")
	case ok:
		return a, false, c.renderReview(w, r, f, v, u.Plan, http.StatusOK, "", "")
	case problem.Is(err, problem.Unavailable):
		c.Log.InfoContext(r.Context(), "no plan of a change", "application", f.App.ID, "error", err)
		return a, false, redirect(w, r, v.Cancel, web.Danger, problem.Public(err)+" Nothing was changed.")
	}
	return a, err == nil, err
}

func (c *Console) renderReview(w http.ResponseWriter, r *request, f appFrame, v review, preview provision.Preview, status int, stale, wrong string) error {
	s := provisioningPage{appFrame: f}
	p := reviewPage{review: v, Action: r.URL.RequestURI()}
	p.planPage = planPage{
		appFrame: s.inner("Review the change", v.Label, v.Tab), Hash: preview.Hash, Counts: preview.Counts, All: len(preview.Steps), Found: len(preview.Steps),
		Problem: stale, Wrong: wrong,
	}
	// As the engine's guard sees it.
	there := f.Provisioning.Users
	guard := plan.Guard{MaxCount: f.App.SCIM.Guard.MaxCount, MaxPercent: f.App.SCIM.Guard.MaxPercent, Floor: plan.GuardFloor}
	if reason, held := guard.Held(plan.Plan{Steps: preview.Steps}, there.Synced+there.Pending+there.Blocked+there.Failed); held {
		p.Held = reason
	}
	p.Subtitle = v.What + ". Nothing is saved yet."
	shown, _ := strconv.Atoi(r.PostForm.Get(fieldMore))
	shown = min(max(shown, planMost), 5000)
	for _, x := range preview.Steps[:min(shown, len(preview.Steps))] {
		p.Steps = append(p.Steps, s.planStep(x))
	}
	if len(preview.Steps) > shown && shown < 5000 {
		p.More = shown + 500
	}
	for _, name := range slices.Sorted(keysOf(r.PostForm)) {
		if slices.Contains([]string{fieldPlan, fieldHeld, fieldMore, fieldAct, "confirm", "token"}, name) {
			continue
		}
		for _, value := range r.PostForm[name] {
			p.Fields = append(p.Fields, reviewField{name, value})
		}
	}
	return web.Render(w, r.Request, status, reviewView(p))
}

func keysOf(v url.Values) func(func(string) bool) {
	return func(yield func(string) bool) {
		for name := range v {
			if !yield(name) {
				return
			}
		}
	}
}

// figures are the counts, which lead nowhere: the plan is on this page only.
func (p reviewPage) figures() web.Stats {
	list := p.tiles()
	for i := range list {
		list[i].Href = ""
	}
	return list
}

func (p reviewPage) consequence() string {
	return p.summary() + " Applying saves the change and sends exactly this: should anything that it rests on change meanwhile, it is refused and shown again."
}

func (p reviewPage) applyButton() web.Button {
	b := web.Button{Label: "Apply the change", Variant: web.Primary, Icon: "check"}
	if p.Held != "" {
		b.Variant = web.Destructive
	}
	return b
}

// guardNote says what the guard does with a change that takes much away.
func (p reviewPage) guardNote() string {
	return cmp.Or(p.Held, "") + " Once the change is made, provisioning holds what takes accounts away until somebody resumes it."
}
