package console

import (
	"encoding/csv"
	"encoding/json"
	"net/http"
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
	Shown provision.ImportStatus
	// Outcome narrows to accounts with which this was done; "" doesn't.
	Outcome   provision.ImportOutcome
	Query     string
	Pager     web.Pager
	MayImport bool
	Form      web.Form
}

// importRefresh is how often a running import is looked at again.
const importRefresh = time.Second

func (p importPage) refresh() time.Duration {
	if p.Import.State == "listing" || p.running() {
		return importRefresh
	}
	return 0
}

// running tells whether something is being done with the accounts.
func (p importPage) running() bool { return p.Import.Job != nil && p.Import.Job.State == "running" }

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
	p.Query, p.Shown, p.Outcome = q.Get("q"), provision.ImportStatus(q.Get("status")), provision.ImportOutcome(q.Get("outcome"))
	switch {
	case p.Shown == "" && p.Outcome == "":
		p.Shown = provision.ImportNew
	case p.Shown == "all":
		p.Shown = ""
	}
	list, err := c.Engine.ImportRows(r.Context(), r.By, p.Import.ID, provision.RowQuery{Status: p.Shown, Outcome: p.Outcome, Text: p.Query, Cursor: q.Get("cursor"), Limit: 100})
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

// here is the list as it is shown.
func (p importPage) here() string {
	return p.self("status", importStatus(p), "outcome", string(p.Outcome), "q", p.Query)
}

func (p importPage) tabs() []web.Tab {
	list := []web.Tab{}
	for _, s := range provision.ImportStatuses() {
		t := web.Tab{Label: importWords[s].tab, Href: p.self("status", string(s)), Active: p.Shown == s, Count: web.Number(p.Import.Of(s)).String()}
		if p.Import.Of(s) > 0 && (s == provision.ImportConflict || s == provision.ImportOrphan) {
			t.Level = web.Warn
		}
		list = append(list, t)
	}
	return append(list, web.Tab{Label: "All, with results", Href: p.self("status", "all"), Active: p.Shown == "", Count: web.Number(p.Import.Accounts()).String()})
}

// importWords are how the page speaks of each status.
var importWords = map[provision.ImportStatus]struct {
	tab   string
	badge web.Badge
	text  string
}{
	provision.ImportNew:      {"New", web.Badge{Level: web.Info, Label: "New", Icon: "user-plus"}, "Nobody here has these accounts."},
	provision.ImportMatched:  {"Matched", web.Badge{Level: web.OK, Label: "Matched", Icon: "user-check"}, "These people are here already."},
	provision.ImportLikely:   {"Likely", web.Badge{Level: web.Info, Label: "Likely", Icon: "search"}, "Somebody here may be meant. Look at each, then say so by linking, or import those who are somebody else."},
	provision.ImportConflict: {"Conflicting", web.Badge{Level: web.Warn, Label: "Conflict"}, "Here and there disagree. Correct one of them and list again, or choose accounts whose person you know and link them."},
	provision.ImportOrphan:   {"Orphaned", web.Badge{Level: web.Warn, Label: "Orphan"}, "Their people were deleted or suspended here. See to those accounts at the application."},
}

// outcomes are the choices of the filter.
func (p importPage) outcomes() web.Filter {
	f := web.Filter{Name: "outcome", Label: "What was done", Value: string(p.Outcome), Options: []web.Option{{Value: "", Label: "Anything or nothing"}}}
	for _, o := range []provision.ImportOutcome{
		provision.ImportCreated, provision.ImportLinked, provision.ImportUpdated, provision.ImportSkipped, provision.ImportFailed, provision.ImportUndone, provision.ImportKept,
	} {
		f.Options = append(f.Options, web.Option{Value: string(o), Label: upper(string(o))})
	}
	return f
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
		badge := importWords[x.Status].badge
		if badge.Level == web.Warn {
			row.Level = web.Warn
		}
		result := x.Detail
		if x.Result != "" {
			result = upper(x.Result)
		}
		switch x.Outcome {
		case provision.ImportFailed:
			row.Level = web.Danger
		case provision.ImportKept:
			row.Level = web.Warn
		}
		row.Cells = web.Cells(
			web.Identity{Name: name, Detail: x.Email, Mark: web.Avatar{Name: name}}, web.Text(x.Username), badge, here, web.Text(result))
		rows = append(rows, row)
	}
	return rows
}

// runImport begins to do something with accounts: with those chosen, or with all of the list.
func (c *Console) runImport(w http.ResponseWriter, r *request) error {
	p, err := c.importFrame(w, r)
	if err != nil {
		return err
	}
	fail := func(err error) error {
		form, ok := web.PostedForm(r.Request).Fail(err)
		if !ok {
			return err
		}
		return c.renderAccounts(w, r, web.Status(err), form)
	}
	choice := provision.ImportChoice{State: directory.State(r.PostForm.Get("state"))}
	shown := r.PostForm.Get("shown")
	act, all := r.PostForm.Get("act"), true
	if act == "" {
		act, all = r.PostForm.Get("chosen"), false
	}
	choice.Act = provision.ImportAct(act)
	if choice.Act == provision.ActCreate {
		switch choice.State {
		case directory.Staged, directory.Active:
		default:
			return fail(problem.InvalidField("state", "Choose in which state the people are created."))
		}
	}
	if all {
		choice.Status, choice.Text = provision.ImportStatus(shown), r.PostForm.Get("text")
	} else if choice.RemoteIDs = r.PostForm["account"]; len(choice.RemoteIDs) == 0 {
		return fail(problem.New(problem.Invalid, "Choose accounts in the list, or take all of them."))
	}
	if _, err := c.Engine.StartImportJob(r.Context(), r.By, p.Import.ID, choice); err != nil {
		return fail(err)
	}
	web.Redirect(w, r.Request, p.self("status", shown))
	return nil
}

// undoPage asks before an import is undone.
type undoPage struct {
	appFrame
	Confirm web.ConfirmForm
}

func (c *Console) askUndoImport(w http.ResponseWriter, r *request) error {
	p, err := c.importFrame(w, r)
	if err != nil {
		return err
	}
	if err := access.Allow(r.By, access.ManageDirectory); err != nil {
		return err
	}
	v := undoPage{appFrame: p.inner("Undo the import", "Import", "import"), Confirm: web.ConfirmForm{
		Action: p.path("import", p.Import.ID, "undo"), Submit: "Undo the import", Cancel: p.self(),
		Consequences: []string{
			count(p.Import.Undoable, "account is", "accounts are") + " looked at, with which something was done.",
			"People whom the import created, and whom nobody touched since, are deleted.",
			"Links that it made are removed; people whom it updated become as they were, unless they were changed since.",
			"What was touched since is kept, and listed. Nothing is sent to the application.",
		},
	}}
	return web.Render(w, r.Request, http.StatusOK, undoImportView(v))
}

func (c *Console) undoImport(w http.ResponseWriter, r *request) error {
	p, err := c.importFrame(w, r)
	if err != nil {
		return err
	}
	_, err = c.Engine.StartImportJob(r.Context(), r.By, p.Import.ID, provision.ImportChoice{Act: provision.ActUndo})
	if problem.Is(err, problem.Conflict) || problem.Is(err, problem.Invalid) {
		return redirect(w, r, p.self("status", "all"), web.Warn, problem.Public(err))
	}
	if err != nil {
		return err
	}
	web.Redirect(w, r.Request, p.self("status", "all"))
	return nil
}

// importReport is what was found and done, a line for each account.
func (c *Console) importReport(w http.ResponseWriter, r *request) error {
	p, err := c.importFrame(w, r)
	if err != nil {
		return err
	}
	if r.PathValue("file") == "report.jsonl" {
		w.Header().Set("Content-Type", "application/jsonl; charset=utf-8")
		w.Header().Set("Content-Disposition", `attachment; filename="import-report.jsonl"`)
		out := json.NewEncoder(w)
		out.SetEscapeHTML(false)
		return c.Engine.EachImportRow(r.Context(), r.By, p.Import.ID, provision.RowQuery{}, func(x provision.ImportRow) error { return out.Encode(x) })
	}
	if r.PathValue("file") != "report.csv" {
		return problem.New(problem.NotFound, "There is no such report.")
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="import-report.csv"`)
	out := csv.NewWriter(w)
	if err := out.Write([]string{"account", "userName", "email", "displayName", "status", "person", "detail", "outcome", "result"}); err != nil {
		return err
	}
	if err := c.Engine.EachImportRow(r.Context(), r.By, p.Import.ID, provision.RowQuery{}, func(x provision.ImportRow) error {
		return out.Write([]string{
			harmless(x.RemoteID), harmless(x.Username), harmless(x.Email), harmless(x.DisplayName), string(x.Status), string(x.UserID),
			harmless(x.Detail), string(x.Outcome), harmless(x.Result),
		})
	}); err != nil {
		return err
	}
	out.Flush()
	return out.Error()
}
