package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/server"
)

type usersImportCmd struct {
	File         string          `arg:"" help:"CSV or JSON Lines file; - for standard input."`
	Format       string          `enum:",csv,jsonl" default:"" help:"csv or jsonl. Default: told by the content."`
	DryRun       bool            `help:"Report what would happen, and change nothing."`
	Update       bool            `help:"Also change people who are there already, found by e-mail address."`
	State        directory.State `enum:"staged,active" default:"staged" help:"State of new people whose row doesn't say: staged or active."`
	Group        []string        `placeholder:"GROUP" sep:"none" help:"Group that everybody in the file becomes a member of. Repeatable."`
	CreateGroups bool            `help:"Create groups that rows name and that don't exist."`
	Verbose      bool            `short:"v" help:"Print every row, not only those that failed."`
	outputFlag
}

// Help tells what a file looks like.
func (usersImportCmd) Help() string {
	return "A CSV file begins with a row of column names: " + strings.Join(directory.ImportColumns(), ", ") +
		", and custom.<name> for attributes of your own. A row that can't be taken is reported with its line, and the others go on; the exit code is then 2."
}

func (i usersImportCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	r, closeFile, err := t.openFile(i.File)
	if err != nil {
		return err
	}
	defer closeFile()
	rows, err := directory.ParseImport(r, directory.ImportFormat(i.Format))
	if err != nil {
		return inFile(err, i.File)
	}
	return at(ctx, c, t, func(d desk) error {
		groups, err := d.groups(ctx, i.Group)
		if err != nil {
			return err
		}
		p := d.startProgress("Importing", len(rows))
		source := "standard input"
		if i.File != "-" {
			source = filepath.Base(i.File)
		}
		rep, err := d.Directory.Import(ctx, d.by, rows, directory.ImportOptions{
			DryRun: i.DryRun, UpdateExisting: i.Update, State: i.State, Groups: groups, CreateGroups: i.CreateGroups, Source: source, Progress: p.at,
		})
		p.end()
		return errors.Join(err, i.tell(t, rep, err == nil))
	})
}

// tell prints the report. Failed rows make the command fail.
func (i usersImportCmd) tell(t terminal, rep directory.ImportReport, finished bool) error {
	if i.json() {
		if err := t.printJSON(rep); err != nil {
			return err
		}
	} else if err := i.tellText(t, rep); err != nil {
		return err
	}
	if rep.Failed > 0 && finished {
		return problem.New(problem.Invalid, "%s of %s could not be taken.", count(rep.Failed, "row", "rows"), grouped(len(rep.Rows)))
	}
	return nil
}

func (i usersImportCmd) tellText(t terminal, rep directory.ImportReport) error {
	tones := map[directory.RowOutcome]tone{directory.RowFailed: bad, directory.RowCreated: good, directory.RowUpdated: good}
	for _, r := range rep.Rows {
		if r.Outcome != directory.RowFailed && !i.Verbose {
			continue
		}
		detail := r.Detail
		for _, f := range r.Fields {
			if !strings.Contains(detail, f.Detail) {
				detail += " " + f.Name + ": " + f.Detail
			}
		}
		if err := t.say("%s:%d: %s: %s %s", i.File, r.Line, t.paint(tones[r.Outcome], string(r.Outcome)), visible(r.Email), visible(strings.TrimSpace(detail))); err != nil {
			return err
		}
	}
	if len(rep.GroupsCreated) > 0 {
		if err := t.say("%s created: %s", noun(len(rep.GroupsCreated), "Group", "Groups"), visible(strings.Join(rep.GroupsCreated, ", "))); err != nil {
			return err
		}
	}
	would := ""
	if rep.DryRun {
		would = "Dry run, nothing was changed. It would be: "
	}
	return t.say("%s%s created, %s updated, %s unchanged, %s failed.", would, grouped(rep.Created), grouped(rep.Updated), grouped(rep.Unchanged), grouped(rep.Failed))
}

// inFile names the file in an error about its content.
func inFile(err error, file string) error {
	if p, ok := errors.AsType[*problem.Error](err); ok {
		named := *p
		named.Public, named.Fields = file+": "+p.Public, nil
		if len(p.Fields) > 1 {
			named.Fields = p.Fields
		}
		return &named
	}
	return err
}
