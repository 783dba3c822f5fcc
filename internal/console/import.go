package console

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/a-h/templ"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// importHomePage lists what was listed before.
type importHomePage struct {
	appFrame
	Imports []provision.Import
	// MayImport tells whether the person may add people.
	MayImport bool
}

func (c *Console) importHome(w http.ResponseWriter, r *request) error {
	s, err := c.provisioningFrame(w, r)
	if err != nil {
		return err
	}
	p := importHomePage{appFrame: s.inner("Import from "+s.product(), "Provisioning", "provisioning"), MayImport: r.can(access.ManageDirectory)}
	if p.Imports, err = c.Engine.Imports(r.Context(), r.By, s.App.ID); err != nil {
		return err
	}
	return web.Render(w, r.Request, http.StatusOK, importHomeView(p))
}

func (c *Console) startImport(w http.ResponseWriter, r *request) error {
	s, err := c.provisioningFrame(w, r)
	if err != nil {
		return err
	}
	imp, err := c.Engine.StartImport(r.Context(), r.By, s.App.ID)
	if problem.Is(err, problem.Conflict) {
		return redirect(w, r, s.path("import"), web.Warn, problem.Public(err))
	}
	if err != nil {
		return err
	}
	web.Redirect(w, r.Request, s.path("import", imp.ID))
	return nil
}

// importPage lists the accounts of one import.
type importPage struct {
	appFrame
	Import provision.Import
	Rows   []provision.ImportRow
	// Shown is the status that the list is narrowed to; "" shows all.
	Shown     string
	Query     string
	Pager     web.Pager
	MayImport bool
	Form      web.Form
}

// importRefresh is how often a running import is looked at again.
const importRefresh = time.Second

func (p importPage) refresh() time.Duration {
	if p.Import.State == "listing" {
		return importRefresh
	}
	return 0
}

func (c *Console) importAccounts(w http.ResponseWriter, r *request) error {
	return c.renderAccounts(w, r, http.StatusOK, web.NewForm(map[string]string{"state": string(directory.Staged)}))
}

func (c *Console) renderAccounts(w http.ResponseWriter, r *request, status int, form web.Form) error {
	p, err := c.importFrame(w, r)
	if err != nil {
		return err
	}
	p.Form = form
	q := r.URL.Query()
	p.Query, p.Shown = q.Get("q"), q.Get("status")
	if !q.Has("status") {
		p.Shown = provision.ImportNew
	}
	if p.Shown == "all" {
		p.Shown = ""
	}
	list, err := c.Engine.ImportRows(r.Context(), r.By, p.Import.ID, provision.RowQuery{Status: p.Shown, Text: p.Query, Cursor: q.Get("cursor"), Limit: 100})
	if err != nil {
		return err
	}
	p.Rows, p.Pager = list.Items, pager(r, list.Next, "")
	return web.Render(w, r.Request, status, importView(p))
}

func (c *Console) importFrame(w http.ResponseWriter, r *request) (importPage, error) {
	s, err := c.provisioningFrame(w, r)
	if err != nil {
		return importPage{}, err
	}
	imp, err := c.Engine.Import(r.Context(), r.By, r.PathValue("import"))
	if err != nil {
		return importPage{}, err
	}
	if imp.ApplicationID != s.App.ID {
		return importPage{}, problem.New(problem.NotFound, "There is no such import of %s.", s.App.Label)
	}
	f := s.inner("Accounts at "+s.product(), "Import", "import")
	return importPage{appFrame: f, Import: imp, MayImport: r.can(access.ManageDirectory)}, nil
}

func (p importPage) self(pairs ...string) string {
	return withQuery(p.path("import", p.Import.ID), pairs...)
}

func (p importPage) tabs() []web.Tab {
	tab := func(label, status string, n int) web.Tab {
		key := status
		if key == "" {
			key = "all"
		}
		return web.Tab{Label: label, Href: p.self("status", key), Active: p.Shown == status, Count: web.Number(n).String()}
	}
	i := p.Import
	list := []web.Tab{
		tab("New", provision.ImportNew, i.New), tab("Matched", provision.ImportMatched, i.Matched), tab("Conflicting", provision.ImportConflict, i.Conflict),
		tab("All, with results", "", i.New+i.Matched+i.Conflict),
	}
	if i.Conflict > 0 {
		list[2].Level = web.Warn
	}
	return list
}

func (p importPage) rows() []web.Row {
	var rows []web.Row
	for _, x := range p.Rows {
		row := web.Row{ID: x.RemoteID, Name: x.Username}
		name := x.DisplayName
		if name == "" {
			name = x.Username
		}
		var here templ.Component = web.Muted("not here")
		if x.UserID != "" {
			here = web.Link{Label: "Open", Href: userPath(x.UserID)}
		}
		var badge web.Badge
		switch x.Status {
		case provision.ImportNew:
			badge = web.Badge{Level: web.Info, Label: "New", Icon: "user-plus"}
		case provision.ImportMatched:
			badge = web.Badge{Level: web.OK, Label: "Matched", Icon: "user-check"}
		default:
			badge, row.Level = web.Badge{Level: web.Warn, Label: "Conflict"}, web.Warn
		}
		result := x.Detail
		if x.Result != "" {
			result = upper(x.Result)
			if strings.HasPrefix(x.Result, "failed") {
				row.Level = web.Danger
			}
		}
		row.Cells = web.Cells(
			web.Identity{Name: name, Detail: x.Email, Mark: web.Avatar{Name: name}}, web.Text(x.Username), badge, here, web.Text(result))
		rows = append(rows, row)
	}
	return rows
}

func (c *Console) runImport(w http.ResponseWriter, r *request) error {
	p, err := c.importFrame(w, r)
	if err != nil {
		return err
	}
	choice := provision.ImportChoice{RemoteIDs: r.PostForm["account"], AllNew: r.PostForm.Get("act") == "all", State: directory.State(r.PostForm.Get("state"))}
	fail := func(err error) error {
		form, ok := web.PostedForm(r.Request).Fail(err)
		if !ok {
			return err
		}
		return c.renderAccounts(w, r, web.Status(err), form)
	}
	switch choice.State {
	case directory.Staged, directory.Active:
	default:
		return fail(problem.InvalidField("state", "Choose in which state the people are created."))
	}
	if !choice.AllNew && len(choice.RemoteIDs) == 0 {
		return fail(problem.New(problem.Invalid, "Choose accounts in the list, or import all new ones."))
	}
	report, err := c.Engine.ImportAccounts(r.Context(), r.By, p.Import.ID, choice)
	if err != nil {
		return fail(err)
	}
	level := web.OK
	message := fmt.Sprintf("%s imported.", count(report.Created, "person is", "people are"))
	if report.Created == 0 {
		level, message = web.Info, "Nobody was imported."
	}
	if report.Skipped > 0 {
		message += fmt.Sprintf(" %s skipped.", count(report.Skipped, "account was", "accounts were"))
	}
	if report.Failed > 0 {
		level = web.Warn
		message += fmt.Sprintf(" %s taken over; the list says why.", count(report.Failed, "account couldn't be", "accounts couldn't be"))
	}
	return redirect(w, r, p.self("status", "all"), level, message)
}
