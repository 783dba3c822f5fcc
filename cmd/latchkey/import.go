package main

import (
	"context"
	"encoding/csv"
	"errors"
	"time"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/work"
)

type importCmd struct {
	Start    importStartCmd    `cmd:"" help:"List the accounts at an application: which are new, matched, likely, conflicting or orphaned."`
	List     importListCmd     `cmd:"" help:"List an application's imports."`
	Accounts importAccountsCmd `cmd:"" help:"List the accounts of the newest import, and what was done with them."`
	Run      importRunCmd      `cmd:"" help:"Create people from accounts of the newest import."`
	Link     importLinkCmd     `cmd:"" help:"Link accounts to the people here that they match, without sending anything."`
	Update   importUpdateCmd   `cmd:"" help:"Change people here after what their accounts say."`
	Undo     importUndoCmd     `cmd:"" help:"Undo an import, as far as nobody touched its people since."`
	Report   importReportCmd   `cmd:"" help:"Print what became of each account, as CSV or JSON lines."`
}

// Help tells the way.
func (importCmd) Help() string {
	return "First start, which reads the accounts at the application; then accounts, to look at them; then run for those who are new, and link for those who are here. People who are here already are never created twice, and undo takes it back."
}

type importStartCmd struct {
	appArg
	outputFlag
}

func (n importStartCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		a, err := d.provisioned(ctx, n.App)
		if err != nil {
			return err
		}
		imp, err := d.Engine.StartImport(ctx, d.by, a.ID)
		if err != nil {
			return err
		}
		if imp, err = d.awaitImport(ctx, imp); err != nil {
			return err
		}
		if n.json() {
			err = d.printJSON(imp)
		} else if imp.State == "listed" {
			err = d.say("%s has %s: %s new, %s matched, %s likely, %s conflicting, %s orphaned.\nLook at them: latchkey import accounts %s", visible(a.Label),
				count(imp.Accounts(), "account", "accounts"), grouped(imp.New), grouped(imp.Matched), grouped(imp.Likely), grouped(imp.Conflict), grouped(imp.Orphan), quoted(a.Label))
		}
		if err == nil && imp.State != "listed" {
			err = problem.New(problem.Unavailable, "The accounts of %s can't be listed. %s", visible(a.Label), imp.Reason)
		}
		return err
	})
}

// awaitImport waits until an import is listed.
func (d desk) awaitImport(ctx context.Context, imp provision.Import) (provision.Import, error) {
	err := d.awaitLane(ctx, imp.ID, "Listing accounts", 0, func() (done int, ended bool, err error) {
		imp, err = d.Engine.Import(ctx, d.by, imp.ID)
		return imp.Accounts(), imp.State != "listing", err
	})
	return imp, err
}

// awaitLane waits until something in the background is done. A running server does it; without one,
// this process does.
func (d desk) awaitLane(ctx context.Context, key, what string, total int, look func() (done int, ended bool, err error)) error {
	p := d.startProgress(what, total)
	defer p.end()
	worker, stop := context.WithCancel(ctx)
	defer stop()
	var ended chan error
	begin := time.Now()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
		n, over, err := look()
		if err != nil {
			return err
		}
		p.at(n)
		if over {
			break
		}
		if ended != nil || time.Since(begin) < 1500*time.Millisecond {
			continue
		}
		taken, err := d.taken(ctx, key)
		if err != nil {
			return err
		}
		if !taken {
			ended = make(chan error, 1)
			go func() { ended <- d.Pool.Run(worker) }()
		}
	}
	stop()
	if ended != nil {
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return nil
}

// taken reports whether a server works on an import.
func (d desk) taken(ctx context.Context, key string) (taken bool, err error) {
	err = d.DB.View(ctx, func(tx *store.Tx) error {
		lanes, err := work.States(tx, d.Now(), work.Filter{Key: key})
		taken = len(lanes) > 0 && lanes[0].Running
		return err
	})
	return taken, err
}

type importListCmd struct {
	appArg
	outputFlag
}

func (n importListCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		a, err := d.provisioned(ctx, n.App)
		if err != nil {
			return err
		}
		list, err := d.Engine.Imports(ctx, d.by, a.ID)
		if err != nil {
			return err
		}
		if n.json() {
			if list == nil {
				list = []provision.Import{}
			}
			return d.printJSON(list)
		}
		if len(list) == 0 {
			return d.say("There is none yet: latchkey import start %s", quoted(a.Label))
		}
		tb := newTable("STARTED", "STATE", "NEW", "MATCHED", "LIKELY", "CONFLICTING", "ORPHANED", "ID").figures(2, 3, 4, 5, 6)
		for _, i := range list {
			tb.add(i.CreatedAt, i.State, grouped(i.New), grouped(i.Matched), grouped(i.Likely), grouped(i.Conflict), grouped(i.Orphan), i.ID)
		}
		return tb.print(t)
	})
}

// newest is the import that the other commands are about.
func (d desk) newest(ctx context.Context, a app.Application, id string) (provision.Import, error) {
	if id != "" {
		return d.Engine.Import(ctx, d.by, id)
	}
	list, err := d.Engine.Imports(ctx, d.by, a.ID)
	if err == nil && len(list) == 0 {
		err = problem.New(problem.NotFound, "The accounts of %s were not listed yet: latchkey import start %s", visible(a.Label), quoted(a.Label))
	}
	if err != nil {
		return provision.Import{}, err
	}
	return list[0], nil
}

type importAccountsCmd struct {
	appArg
	Text    string                  `arg:"" optional:"" help:"Look for this in names and addresses."`
	Status  provision.ImportStatus  `enum:",new,matched,likely,conflict,orphan" default:"" help:"Only those that are new, matched, likely, conflict or orphan."`
	Outcome provision.ImportOutcome `enum:",created,linked,updated,skipped,failed,undone,kept" default:"" help:"Only those with which this was done."`
	ID      string                  `name:"import" placeholder:"ID" help:"An older import. Default: the newest."`
	limitFlag
	outputFlag
}

func (n importAccountsCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		a, err := d.provisioned(ctx, n.App)
		if err != nil {
			return err
		}
		imp, err := d.newest(ctx, a, n.ID)
		if err != nil {
			return err
		}
		rows := []provision.ImportRow{}
		tb := newTable("STATUS", "USER NAME", "E-MAIL", "NAME", "ACCOUNT", "NOTE")
		tones := map[provision.ImportStatus]tone{provision.ImportNew: good, provision.ImportConflict: bad, provision.ImportOrphan: bad}
		_, more, err := pages(n.most(n.outputFlag), func(cursor string, limit int) (store.Page[provision.ImportRow], error) {
			return d.Engine.ImportRows(ctx, d.by, imp.ID, provision.RowQuery{Status: n.Status, Outcome: n.Outcome, Text: n.Text, Cursor: cursor, Limit: limit})
		}, func(r provision.ImportRow) {
			if n.json() {
				rows = append(rows, r)
				return
			}
			tb.add(cell{string(r.Status), tones[r.Status]}, r.Username, r.Email, r.DisplayName, r.RemoteID, firstOf(r.Result, r.Detail))
		})
		switch {
		case err != nil:
			return err
		case n.json():
			return d.printJSON(rows)
		case len(tb.rows) == 0:
			return d.say("Nothing found.")
		}
		if err := tb.print(t); err != nil || !more {
			return err
		}
		return d.left(len(tb.rows), -1)
	})
}

// importChoice are the accounts that a command is about.
type importChoice struct {
	Accounts []string `arg:"" optional:"" name:"account" help:"Accounts, by the id, user name or e-mail address that they have there."`
	ID       string   `name:"import" placeholder:"ID" help:"An older import. Default: the newest."`
	outputFlag
}

type importRunCmd struct {
	appArg
	importChoice
	AllNew bool            `help:"All that are new."`
	State  directory.State `enum:"staged,active" default:"staged" help:"State of the people that are created: staged or active."`
}

func (n importRunCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	if n.AllNew == (len(n.Accounts) > 0) {
		return problem.New(problem.Invalid, "Name the accounts, or say --all-new.")
	}
	choice := provision.ImportChoice{Act: provision.ActCreate, State: n.State}
	if n.AllNew {
		choice.Status = provision.ImportNew
	}
	return n.do(ctx, c, t, n.App, choice)
}

type importLinkCmd struct {
	appArg
	importChoice
	AllMatched bool `help:"All that match somebody."`
}

func (n importLinkCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	if n.AllMatched == (len(n.Accounts) > 0) {
		return problem.New(problem.Invalid, "Name the accounts, or say --all-matched. Those that are likely have to be named.")
	}
	choice := provision.ImportChoice{Act: provision.ActLink}
	if n.AllMatched {
		choice.Status = provision.ImportMatched
	}
	return n.do(ctx, c, t, n.App, choice)
}

type importUpdateCmd struct {
	appArg
	importChoice
	AllMatched bool `help:"All that match somebody."`
}

func (n importUpdateCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	if n.AllMatched == (len(n.Accounts) > 0) {
		return problem.New(problem.Invalid, "Name the accounts, or say --all-matched.")
	}
	choice := provision.ImportChoice{Act: provision.ActUpdate}
	if n.AllMatched {
		choice.Status = provision.ImportMatched
	}
	return n.do(ctx, c, t, n.App, choice)
}

type importUndoCmd struct {
	appArg
	importChoice
	Yes bool `short:"y" help:"Don't ask."`
}

func (n importUndoCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	if err := t.agree(n.Yes, "People whom the import created and nobody touched since are deleted, links that it made are removed, and people whom it updated become as they were.", "undo"); err != nil {
		return err
	}
	return n.do(ctx, c, t, n.App, provision.ImportChoice{Act: provision.ActUndo})
}

// do does something with the accounts that were named, or with those that choice is about.
func (n importChoice) do(ctx context.Context, c *server.Config, t terminal, ref string, choice provision.ImportChoice) error {
	return at(ctx, c, t, func(d desk) error {
		a, err := d.provisioned(ctx, ref)
		if err != nil {
			return err
		}
		imp, err := d.newest(ctx, a, n.ID)
		if err != nil {
			return err
		}
		if choice.RemoteIDs, err = n.pick(ctx, d, imp); err != nil {
			return err
		}
		job, err := d.Engine.StartImportJob(ctx, d.by, imp.ID, choice)
		if err != nil {
			return err
		}
		if err := d.awaitLane(ctx, job.ID, "Accounts", job.Total, func() (done int, ended bool, err error) {
			job, err = d.Engine.ImportJob(ctx, d.by, imp.ID, job.ID)
			return job.Done, job.State != "running", err
		}); err != nil {
			return err
		}
		if n.json() {
			err = d.printJSON(job)
		} else {
			err = d.say("%s", visible(job.Sentence(a.Label)))
		}
		switch {
		case err != nil:
			return err
		case job.State == "failed":
			return problem.New(problem.Conflict, "It ended before all was done. %s", job.Reason)
		case job.Failed > 0:
			return problem.New(problem.Invalid, "%s failed: latchkey import accounts %s --outcome failed", count(job.Failed, "account", "accounts"), quoted(a.Label))
		case job.Kept > 0 && !n.json():
			return d.say("What was kept, and why: latchkey import accounts %s --outcome kept", quoted(a.Label))
		}
		return nil
	})
}

// pick finds the accounts that were named.
func (n importChoice) pick(ctx context.Context, d desk, imp provision.Import) ([]string, error) {
	if len(n.Accounts) == 0 {
		return nil, nil
	}
	left := map[string]bool{}
	for _, ref := range n.Accounts {
		left[ref] = true
	}
	var ids []string
	if err := d.Engine.EachImportRow(ctx, d.by, imp.ID, provision.RowQuery{}, func(r provision.ImportRow) error {
		for _, ref := range n.Accounts {
			if left[ref] && (r.RemoteID == ref || store.Key(r.Username) == store.Key(ref) || store.Key(r.Email) == store.Key(ref)) {
				delete(left, ref)
				ids = append(ids, r.RemoteID)
			}
		}
		return nil
	}); err != nil {
		return nil, err
	}
	for _, ref := range n.Accounts {
		if left[ref] {
			return nil, problem.New(problem.NotFound, "No account of this import has the id, user name or e-mail address %q.", ref)
		}
	}
	return ids, nil
}

type importReportCmd struct {
	appArg
	Format string `enum:"csv,jsonl" default:"csv" help:"csv or jsonl."`
	ID     string `name:"import" placeholder:"ID" help:"An older import. Default: the newest."`
}

func (n importReportCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		a, err := d.provisioned(ctx, n.App)
		if err != nil {
			return err
		}
		imp, err := d.newest(ctx, a, n.ID)
		if err != nil {
			return err
		}
		if n.Format == "jsonl" {
			return d.Engine.EachImportRow(ctx, d.by, imp.ID, provision.RowQuery{}, func(r provision.ImportRow) error { return d.printLine(r) })
		}
		out := csv.NewWriter(t.out)
		if err := out.Write([]string{"account", "userName", "email", "displayName", "status", "person", "detail", "outcome", "result"}); err != nil {
			return err
		}
		if err := d.Engine.EachImportRow(ctx, d.by, imp.ID, provision.RowQuery{}, func(r provision.ImportRow) error {
			return out.Write([]string{r.RemoteID, r.Username, r.Email, r.DisplayName, string(r.Status), string(r.UserID), r.Detail, string(r.Outcome), r.Result})
		}); err != nil {
			return err
		}
		out.Flush()
		return out.Error()
	})
}
