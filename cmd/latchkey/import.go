package main

import (
	"context"
	"errors"
	"fmt"
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
	Start    importStartCmd    `cmd:"" help:"List the accounts at an application: which are new, matched or conflicting."`
	List     importListCmd     `cmd:"" help:"List an application's imports."`
	Accounts importAccountsCmd `cmd:"" help:"List the accounts of the newest import."`
	Run      importRunCmd      `cmd:"" help:"Import people from the newest import."`
}

// Help tells the way.
func (importCmd) Help() string {
	return "First start, which reads the accounts at the application; then accounts, to look at them; then run. People who are here already are never created twice."
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
			err = d.say("%s has %s: %s new, %s matched, %s conflicting.\nLook at them: latchkey import accounts %s", visible(a.Label),
				count(imp.New+imp.Matched+imp.Conflict, "account", "accounts"), grouped(imp.New), grouped(imp.Matched), grouped(imp.Conflict), quoted(a.Label))
		}
		if err == nil && imp.State != "listed" {
			err = problem.New(problem.Unavailable, "The accounts of %s can't be listed. %s", visible(a.Label), imp.Reason)
		}
		return err
	})
}

// awaitImport waits until an import is listed. A running server lists it; without one, this
// process does.
func (d desk) awaitImport(ctx context.Context, imp provision.Import) (provision.Import, error) {
	p := d.startProgress("Listing accounts", 0)
	defer p.end()
	worker, stop := context.WithCancel(ctx)
	defer stop()
	var ended chan error
	begin := time.Now()
	for imp.State == "listing" {
		select {
		case <-ctx.Done():
			return imp, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
		var err error
		if imp, err = d.Engine.Import(ctx, d.by, imp.ID); err != nil {
			return imp, err
		}
		p.at(imp.New + imp.Matched + imp.Conflict)
		if imp.State != "listing" || ended != nil || time.Since(begin) < 1500*time.Millisecond {
			continue
		}
		taken, err := d.taken(ctx, imp.ID)
		if err != nil {
			return imp, err
		}
		if !taken {
			ended = make(chan error, 1)
			go func() { ended <- d.Pool.Run(worker) }()
		}
	}
	stop()
	if ended != nil {
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			return imp, err
		}
	}
	return imp, nil
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
		tb := newTable("STARTED", "STATE", "NEW", "MATCHED", "CONFLICTING", "ID").figures(2, 3, 4)
		for _, i := range list {
			tb.add(i.CreatedAt, i.State, grouped(i.New), grouped(i.Matched), grouped(i.Conflict), i.ID)
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
	Text   string `arg:"" optional:"" help:"Look for this in names and addresses."`
	Status string `enum:",new,matched,conflict" default:"" help:"Only those that are new, matched or conflict."`
	ID     string `name:"import" placeholder:"ID" help:"An older import. Default: the newest."`
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
		tones := map[string]tone{provision.ImportNew: good, provision.ImportConflict: bad}
		_, more, err := pages(n.most(n.outputFlag), func(cursor string, limit int) (store.Page[provision.ImportRow], error) {
			return d.Engine.ImportRows(ctx, d.by, imp.ID, provision.RowQuery{Status: n.Status, Text: n.Text, Cursor: cursor, Limit: limit})
		}, func(r provision.ImportRow) {
			if n.json() {
				rows = append(rows, r)
				return
			}
			tb.add(cell{r.Status, tones[r.Status]}, r.Username, r.Email, r.DisplayName, r.RemoteID, firstOf(r.Result, r.Detail))
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

type importRunCmd struct {
	appArg
	Accounts []string        `arg:"" optional:"" name:"account" help:"Accounts, by the id, user name or e-mail address that they have there."`
	AllNew   bool            `help:"All that are new."`
	State    directory.State `enum:"staged,active" default:"staged" help:"State of the people that are created: staged or active."`
	ID       string          `name:"import" placeholder:"ID" help:"An older import. Default: the newest."`
	outputFlag
}

func (n importRunCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		if n.AllNew == (len(n.Accounts) > 0) {
			return problem.New(problem.Invalid, "Name the accounts, or say --all-new.")
		}
		a, err := d.provisioned(ctx, n.App)
		if err != nil {
			return err
		}
		imp, err := d.newest(ctx, a, n.ID)
		if err != nil {
			return err
		}
		ids, err := n.pick(ctx, d, imp)
		if err != nil {
			return err
		}
		rep, err := d.Engine.ImportAccounts(ctx, d.by, imp.ID, provision.ImportChoice{RemoteIDs: ids, AllNew: n.AllNew, State: n.State})
		if err != nil {
			return err
		}
		if n.json() {
			err = d.printJSON(rep)
		} else {
			err = d.say("%s created, %s skipped, %s failed.", grouped(rep.Created), grouped(rep.Skipped), grouped(rep.Failed))
		}
		if err == nil && rep.Failed > 0 {
			err = problem.New(problem.Invalid, "%s failed: latchkey import accounts %s", count(rep.Failed, "account", "accounts"), quoted(a.Label))
		}
		return err
	})
}

// pick finds the accounts that were named.
func (n importRunCmd) pick(ctx context.Context, d desk, imp provision.Import) ([]string, error) {
	var ids []string
	for _, ref := range n.Accounts {
		q := provision.RowQuery{Limit: 500}
		found := ""
		for found == "" {
			page, err := d.Engine.ImportRows(ctx, d.by, imp.ID, q)
			if err != nil {
				return nil, err
			}
			for _, r := range page.Items {
				if r.RemoteID == ref || store.Key(r.Username) == store.Key(ref) || store.Key(r.Email) == store.Key(ref) {
					found = r.RemoteID
				}
			}
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
		}
		if found == "" {
			return nil, problem.New(problem.NotFound, "No account of this import has the id, user name or e-mail address %s.", fmt.Sprintf("%q", ref))
		}
		ids = append(ids, found)
	}
	return ids, nil
}
