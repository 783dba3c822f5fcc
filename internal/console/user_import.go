package console

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/web"
)

const (
	userImportPath = usersPath + "/import"
	uploadsPath    = root + "/imports"
)

func uploadPath(id string) string { return uploadsPath + "/" + url.PathEscape(id) }

// An uploaded file of people goes through
//
//	checking ──▶ checked ──▶ running ──▶ done
//	        └──▶ failed  ◀──────┘
//
// It is kept in the database, so that any replica can show how far it has come.
type uploadState string

const (
	uploadChecking uploadState = "checking"
	uploadChecked  uploadState = "checked"
	uploadRunning  uploadState = "running"
	uploadDone     uploadState = "done"
	uploadFailed   uploadState = "failed"
)

// working reports whether a replica is, or should be, at work on it.
func (s uploadState) working() bool { return s == uploadChecking || s == uploadRunning }

const (
	// answerAtOnce is from how many rows on the browser is answered before the work is done.
	answerAtOnce = 500
	// stalled is after what time without progress the work is taken for lost.
	stalled = 2 * time.Minute
	// uploadLife is how long a file and its report are kept.
	uploadLife = 24 * time.Hour
	// reportPage is how many rows of a report a page shows.
	reportPage = 100
)

// upload is a file of people with what was chosen for it.
type upload struct {
	ID, Name  string
	By        string // who uploaded it
	Options   uploadOptions
	State     uploadState
	Reason    string
	Done, All int
	Content   []byte
	Report    directory.ImportReport
	CreatedAt time.Time
	UpdatedAt time.Time
}

// uploadOptions are what the form chooses.
type uploadOptions struct {
	// Kind is empty for a file of people.
	Kind         string              `json:"kind,omitempty"`
	State        directory.State     `json:"state"`
	Update       bool                `json:"update"`
	CreateGroups bool                `json:"createGroups"`
	Groups       []directory.GroupID `json:"groups,omitempty"`
}

func (o uploadOptions) importOptions(source string) directory.ImportOptions {
	return directory.ImportOptions{State: o.State, UpdateExisting: o.Update, CreateGroups: o.CreateGroups, Groups: o.Groups, Source: source}
}

// userImportView is the form that uploads a file.
type userImportView struct {
	Form    web.Form
	Offered []web.Option
	Chosen  []web.Option
	Columns []string
	Most    string
}

func (c *Console) userImport(w http.ResponseWriter, r *request) error {
	if err := access.Allow(r.By, access.ManageDirectory); err != nil {
		return err
	}
	return c.renderImport(w, r, http.StatusOK, web.NewForm(map[string]string{"state": string(directory.Staged), "createGroups": "on"}), nil)
}

func (c *Console) renderImport(w http.ResponseWriter, r *request, status int, form web.Form, chosen []string) error {
	v := userImportView{Form: form, Columns: directory.ImportColumns(), Most: byteSize(c.MaxImport)}
	var err error
	if v.Offered, err = c.groupChoices(r, "", chosen); err != nil {
		return err
	}
	if v.Chosen, err = c.chosenGroups(r, chosen); err != nil {
		return err
	}
	p := c.page(w, r, "users", "Import people")
	p.Subtitle = "From a CSV or JSON Lines file. You see what would happen before anything is changed."
	p.Crumbs = []web.Crumb{{Label: "Users", Href: usersPath}}
	return web.Render(w, r.Request, status, userImportPage(p, v))
}

func byteSize(n int64) string {
	if n >= 1<<20 {
		return strconv.FormatInt(n>>20, 10) + " MB"
	}
	return strconv.FormatInt(max(1, n>>10), 10) + " KB"
}

// importTemplate is an empty CSV file with all columns.
func (c *Console) importTemplate(w http.ResponseWriter, r *request) error {
	if err := access.Allow(r.By, access.ManageDirectory); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="people.csv"`)
	_, err := io.WriteString(w, strings.Join(directory.ImportColumns(), ",")+"\r\n")
	return err
}

// uploadPeople takes the file and works out what an import of it would do.
func (c *Console) uploadPeople(w http.ResponseWriter, r *request) error {
	if err := access.Allow(r.By, access.ManageDirectory); err != nil {
		return err
	}
	content, name, rows, err := c.readUpload(r)
	if err != nil {
		form, ok := web.PostedForm(r.Request).Fail(err)
		if !ok {
			return err
		}
		return c.renderImport(w, r, web.Status(err), form, r.PostForm["group"])
	}
	u := upload{
		ID: store.NewID(), Name: name, By: r.By.ID, State: uploadChecking, All: len(rows), Content: content,
		Options: uploadOptions{State: directory.State(r.PostForm.Get("state")), Update: r.PostForm.Get("update") != "", CreateGroups: r.PostForm.Get("createGroups") != ""},
	}
	for _, g := range r.PostForm["group"] {
		u.Options.Groups = append(u.Options.Groups, directory.GroupID(g))
	}
	now := c.Now()
	err = c.DB.Update(r.Context(), func(tx *store.Tx) error {
		if err := pruneUploads(tx, now.Add(-uploadLife)); err != nil {
			return err
		}
		return insertUpload(tx, now, u)
	})
	if err != nil {
		return err
	}
	return c.carryOut(w, r, u, rows, true)
}

func (c *Console) readUpload(r *request) (content []byte, name string, rows []directory.ImportRow, err error) {
	file, header, err := r.FormFile("file")
	if err != nil {
		return nil, "", nil, problem.InvalidField("file", "Choose a file.")
	}
	defer func() { _ = file.Close() }() // only read
	if content, err = io.ReadAll(file); err != nil {
		return nil, "", nil, fmt.Errorf("console: upload: %w", err)
	}
	if len(bytes.TrimSpace(content)) == 0 {
		return nil, "", nil, problem.InvalidField("file", "The file is empty.")
	}
	rows, err = directory.ParseImport(bytes.NewReader(content), formatOf(header.Filename))
	if problem.Is(err, problem.Invalid) {
		return nil, "", nil, problem.InvalidField("file", "%s", problem.Public(err))
	}
	return content, header.Filename, rows, err
}

// formatOf tells the format by the file's name; "" leaves it to the content.
func formatOf(name string) directory.ImportFormat {
	switch name = strings.ToLower(name); {
	case strings.HasSuffix(name, ".csv"), strings.HasSuffix(name, ".tsv"):
		return directory.CSV
	case strings.HasSuffix(name, ".jsonl"), strings.HasSuffix(name, ".ndjson"):
		return directory.JSONL
	default:
		return ""
	}
}

// carryOut checks or imports an uploaded file. A long one goes on after the browser was
// answered, in this request: the server, which waits for its requests, waits for it too, and
// nobody who closes the window interrupts it.
func (c *Console) carryOut(w http.ResponseWriter, r *request, u upload, rows []directory.ImportRow, dryRun bool) error {
	long := len(rows) > answerAtOnce
	ctx := context.WithoutCancel(r.Context())
	if long {
		// The browser takes another connection for the page that shows the progress.
		w.Header().Set("Connection", "close")
		w.Header().Set("Content-Length", "0")
		web.Redirect(w, r.Request, uploadPath(u.ID))
		out := http.NewResponseController(w)
		_ = out.SetWriteDeadline(time.Time{}) // not every server has one
		if err := out.Flush(); err != nil {
			c.Log.InfoContext(ctx, "an import goes on unanswered", "error", err)
		}
	}
	o := u.Options.importOptions(u.Name)
	o.DryRun = dryRun
	told := c.Now()
	o.Progress = func(done int) {
		if now := c.Now(); now.Sub(told) > time.Second/2 {
			told = now
			if err := c.DB.Update(ctx, func(tx *store.Tx) error { return noteProgress(tx, now, u.ID, done) }); err != nil {
				c.Log.WarnContext(ctx, "an import's progress can't be noted", "error", err)
			}
		}
	}
	report, err := c.Directory.Import(ctx, r.By, rows, o)
	u.Report, u.Done, u.State = report, len(rows), uploadDone
	switch {
	case err != nil:
		u.State, u.Reason = uploadFailed, problem.Public(err)
	case dryRun:
		u.State = uploadChecked
	}
	if u.State != uploadChecked {
		u.Content = nil // it has served
	}
	if serr := c.DB.Update(ctx, func(tx *store.Tx) error { return finishUpload(tx, c.Now(), u) }); serr != nil {
		return serr
	}
	if long {
		return err // only logged: the person sees the upload's page
	}
	web.Redirect(w, r.Request, uploadPath(u.ID))
	return nil
}

// uploadView is one upload with its report.
type uploadView struct {
	upload
	Path    string
	Outcome string
	Stalled bool
	Tabs    []web.Tab
	Rows    []directory.RowReport
	Pager   web.Pager
}

func (c *Console) showUpload(w http.ResponseWriter, r *request) error {
	u, err := c.loadUpload(r)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	v := uploadView{upload: u, Path: uploadPath(u.ID), Outcome: q.Get("outcome")}
	v.Stalled = u.State.working() && c.Now().Sub(u.UpdatedAt) > stalled
	for _, t := range []struct {
		outcome directory.RowOutcome
		label   string
		n       int
	}{
		{"", "All rows", len(u.Report.Rows)},
		{directory.RowCreated, "New", u.Report.Created},
		{directory.RowUpdated, "Changed", u.Report.Updated},
		{directory.RowUnchanged, "Unchanged", u.Report.Unchanged},
		{directory.RowFailed, "Not possible", u.Report.Failed},
	} {
		tab := web.Tab{Label: t.label, Href: withQuery(v.Path, "outcome", string(t.outcome)), Active: v.Outcome == string(t.outcome), Count: web.Number(t.n).String()}
		if t.outcome == directory.RowFailed && t.n > 0 {
			tab.Level = web.Warn
		}
		v.Tabs = append(v.Tabs, tab)
	}
	from, err := strconv.Atoi(q.Get("from"))
	if err != nil || from < 0 {
		from = 0
	}
	v.Rows, v.Pager = reportRows(u.Report.Rows, v.Outcome, from, v.Path)
	p := c.page(w, r, "users", "Import of "+u.Name)
	p.Crumbs = []web.Crumb{{Label: "Users", Href: usersPath}, {Label: "Import people", Href: userImportPath}}
	if u.State == uploadChecked {
		p.Badge = web.Badge{Level: web.Info, Label: "Nothing changed yet"}
	}
	return web.Render(w, r.Request, http.StatusOK, uploadPage(p, v))
}

// reportRows is one page of the rows with an outcome ("" for all).
func reportRows(all []directory.RowReport, outcome string, from int, path string) ([]directory.RowReport, web.Pager) {
	var rows []directory.RowReport
	for _, x := range all {
		if outcome == "" || string(x.Outcome) == outcome {
			rows = append(rows, x)
		}
	}
	n := len(rows)
	from = min(from, n)
	to := min(from+reportPage, n)
	p := web.Pager{Summary: fmt.Sprintf("%s–%s of %s rows", web.Number(min(from+1, n)), web.Number(to), web.Number(n))}
	if from > 0 {
		p.Previous = withQuery(path, "outcome", outcome, "from", strconv.Itoa(max(0, from-reportPage)))
	}
	if to < n {
		p.Next = withQuery(path, "outcome", outcome, "from", strconv.Itoa(to))
	}
	return rows[from:to], p
}

func (c *Console) loadUpload(r *request) (upload, error) {
	var u upload
	if err := access.Allow(r.By, access.ManageDirectory); err != nil {
		return u, err
	}
	err := c.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		u, err = getUpload(tx, r.PathValue("id"))
		return err
	})
	return u, err
}

// runUpload imports a checked file.
func (c *Console) runUpload(w http.ResponseWriter, r *request) error {
	u, err := c.loadUpload(r)
	if err != nil {
		return err
	}
	if len(u.Content) == 0 {
		return redirect(w, r, uploadPath(u.ID), web.Warn, "This file was imported already.")
	}
	rows, err := directory.ParseImport(bytes.NewReader(u.Content), formatOf(u.Name))
	if err != nil {
		return err
	}
	now, claimed := c.Now(), false
	err = c.DB.Update(r.Context(), func(tx *store.Tx) (err error) {
		claimed, err = claimUpload(tx, now, u.ID, now.Add(-stalled))
		return err
	})
	if err != nil {
		return err
	}
	if !claimed {
		return redirect(w, r, uploadPath(u.ID), web.Warn, "This file is being imported already.")
	}
	return c.carryOut(w, r, u, rows, false)
}

func (c *Console) dropUpload(w http.ResponseWriter, r *request) error {
	u, err := c.loadUpload(r)
	if err != nil {
		return err
	}
	if err := c.DB.Update(r.Context(), func(tx *store.Tx) error { return deleteUpload(tx, u.ID) }); err != nil {
		return err
	}
	return redirect(w, r, userImportPath, web.Info, "The file was discarded. Nothing was imported.")
}

// uploadReport is the report as a CSV file.
func (c *Console) uploadReport(w http.ResponseWriter, r *request) error {
	u, err := c.loadUpload(r)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="import-report.csv"`)
	out := csv.NewWriter(w)
	if err := out.Write([]string{"line", "email", "outcome", "detail"}); err != nil {
		return err
	}
	for _, x := range u.Report.Rows {
		if err := out.Write([]string{strconv.Itoa(x.Line), harmless(x.Email), string(x.Outcome), harmless(rowDetail(x))}); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// rowDetail is all that is wrong with a row, or what it did.
func rowDetail(x directory.RowReport) string {
	if len(x.Fields) == 0 {
		return x.Detail
	}
	var parts []string
	for _, f := range x.Fields {
		parts = append(parts, fieldLabel(f.Name)+": "+f.Detail)
	}
	return strings.Join(parts, " ")
}

// fieldLabel is how the forms call an attribute.
func fieldLabel(name string) string {
	for _, t := range textFields() {
		if t.Name == name {
			return t.Label
		}
	}
	return attributeLabel(strings.TrimPrefix(name, directory.CustomPrefix))
}

func encodeJSON(v any) (string, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("console: upload: %w", err)
	}
	return string(raw), nil
}
