package console

import (
	"cmp"
	"errors"
	"net/http"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// scopeResult is what a scope filter says about a person.
type scopeResult struct {
	Level web.Level
	// Label is one or two words, Text a sentence.
	Label, Text string
}

// scopePage edits who of the members of bound groups is provisioned.
type scopePage struct {
	appFrame
	Form   web.Form
	Sample sampleView
	// Result is what the filter says about the sample; nil if there is nobody or it can't be said.
	Result *scopeResult
	Fault  *catalog.ExpressionError
	Reads  []string
}

// inScope tries a filter on a person.
func (c *Console) inScope(expression string, v sampleView) (*scopeResult, error) {
	if !v.Found {
		return nil, nil
	}
	if !v.Entitled {
		return &scopeResult{web.Neutral, "No access", v.User.Name() + " is in none of the bound groups or not active, so is not provisioned, whatever the filter says."}, nil
	}
	if expression == "" {
		return &scopeResult{web.OK, "In scope", v.User.Name() + " is provisioned: everybody in a bound group is."}, nil
	}
	f, err := c.Catalog.Compiler().Filter(expression)
	if err != nil {
		return nil, err
	}
	in, err := f.Matches(&v.person)
	switch {
	case err != nil:
		return &scopeResult{web.Warn, "Can't be said", "The filter fails for " + v.User.Name() + ": " + strings.TrimSuffix(err.Error(), ".") + ". The account would be left as it is, and shown as blocked."}, nil
	case in:
		return &scopeResult{web.OK, "In scope", v.User.Name() + " is provisioned."}, nil
	}
	return &scopeResult{web.Warn, "Out of scope", v.User.Name() + " is not provisioned. An account that is there is treated as a leaver's. Sign-on isn't touched."}, nil
}

func (c *Console) scopeFrame(w http.ResponseWriter, r *request, person string) (scopePage, error) {
	if err := mayManage(r); err != nil {
		return scopePage{}, err
	}
	f, err := c.application(w, r, tabMappings)
	if err != nil {
		return scopePage{}, err
	}
	if f.Con.SCIM == nil {
		return scopePage{}, problem.New(problem.NotFound, "%s can't be provisioned by SCIM.", f.App.Label)
	}
	p := scopePage{appFrame: f.inner("Who is provisioned", "Mappings", "mappings")}
	p.Subtitle = "Of the members of bound groups"
	p.Form = web.NewForm(map[string]string{"scopeFilter": f.App.SCIM.ScopeFilter})
	p.Sample, err = c.sample(r, f.App.ID, person)
	return p, err
}

// look tries the filter on the sample, and finds where it is wrong.
func (c *Console) look(p *scopePage, expression string) error {
	if expression != "" {
		f, err := c.Catalog.Compiler().Filter(expression)
		if err != nil {
			fault, ok := errors.AsType[*catalog.ExpressionError](err)
			if !ok {
				return err
			}
			p.Fault = fault
			return problem.InvalidField("scopeFilter", "Line %d, column %d: %s.", fault.Line, fault.Column, strings.TrimSuffix(fault.Message, "."))
		}
		p.Reads = f.Reads()
	}
	var err error
	p.Result, err = c.inScope(expression, p.Sample)
	return err
}

func (c *Console) scopeFilter(w http.ResponseWriter, r *request) error {
	p, err := c.scopeFrame(w, r, r.URL.Query().Get("person"))
	if err != nil {
		return err
	}
	if err := c.look(&p, p.App.SCIM.ScopeFilter); err != nil {
		return err
	}
	return web.Render(w, r.Request, http.StatusOK, scopeView(p))
}

func (c *Console) saveScopeFilter(w http.ResponseWriter, r *request) error {
	p, err := c.scopeFrame(w, r, r.PostForm.Get("person"))
	if err != nil {
		return err
	}
	expression := strings.TrimSpace(strings.ReplaceAll(r.PostForm.Get("scopeFilter"), "\r\n", "\n"))
	err = c.look(&p, expression)
	fail := func(err error) error {
		form, ok := web.PostedForm(r.Request).Fail(err)
		if !ok {
			return err
		}
		p.Form = form
		return web.Render(w, r.Request, web.Status(err), scopeView(p))
	}
	if err != nil {
		return fail(err)
	}
	if r.PostForm.Get(fieldAct) == "preview" || goesBack(r) {
		p.Form = web.PostedForm(r.Request)
		return web.Render(w, r.Request, http.StatusOK, scopeView(p))
	}
	change := app.SCIMChange{Settings: func(s *app.SCIMSettings) error { s.ScopeFilter = expression; return nil }}
	what := "Who is provisioned: " + cmp.Or(expression, "everybody in a bound group")
	a, made, err := c.approve(w, r, p.appFrame, change, review{What: what, Label: "Mappings", Tab: "mappings", Cancel: p.path("mappings"), Form: true})
	if err != nil {
		return fail(err)
	}
	if !made {
		return nil
	}
	return done(w, r, p.path("mappings")+"#scope", savedWords("The scope is saved.", a))
}

// savedWords says what follows from a change of what is provisioned.
func savedWords(saved string, a app.Application) string {
	switch a.SCIM.Status {
	case app.Active:
		return saved + " What it changes is being sent."
	case app.Paused, app.Stopped:
		return saved + " What it changes is sent when provisioning is resumed; the plan shows it."
	}
	return saved
}
