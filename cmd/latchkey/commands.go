package main

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"strings"

	"github.com/google/uuid"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// directoryCommands are the commands for people, groups and applications. They work on the
// installation's database directly, whether it is being served or not, by the methods that the
// console calls.
type directoryCommands struct {
	Users   usersCmd   `cmd:"" help:"People: list, create, change, suspend, import."`
	Groups  groupsCmd  `cmd:"" help:"Groups and their members."`
	Apps    appsCmd    `cmd:"" help:"Applications: sign-on, provisioning, certificates, groups."`
	SAML    samlCmd    `cmd:"" name:"saml" help:"Look into sign-on: decode a message, the last exchanges, simulate."`
	Plan    planCmd    `cmd:"" help:"Show what would be sent to an application now, or by a change."`
	Apply   applyCmd   `cmd:"" help:"Activate provisioning, or make a change, as a plan showed it."`
	Explain explainCmd `cmd:"" help:"Tell why a person has, or hasn't, an account at an application, and what was sent."`
	Receipt receiptCmd `cmd:"" help:"Prove that a person who left has no access any more."`
	Health  healthCmd  `cmd:"" help:"Say for each application whether provisioning lives."`
	Drift   driftCmd   `cmd:"" help:"Show what is at an application otherwise than it should be; compare, repair."`
	Import  importCmd  `cmd:"" help:"Import people from the accounts of an application."`
	Events  eventsCmd  `cmd:"" help:"Search what happened, or follow it."`
	APIKeys apiKeysCmd `cmd:"" name:"api-keys" help:"Keys of programs that use the API."`
}

// desk is where a command works: the opened installation, who acts, and the terminal.
type desk struct {
	*server.House
	terminal
	by access.Actor
}

// at opens the installation, lets fn work in it, and closes it.
func at(ctx context.Context, c *server.Config, t terminal, fn func(d desk) error) (err error) {
	h, err := open(ctx, c, t)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	return fn(desk{House: h, terminal: t, by: operator()})
}

// operator is who acts on the command line: whoever may read the database and the master key
// owns the installation.
func operator() access.Actor {
	name := "cli"
	if u, err := user.Current(); err == nil {
		name += ":" + u.Username
	}
	by := access.SystemActor(store.NewID())
	by.Name = name
	return by
}

// isID reports whether a reference is an id of ours and no name.
func isID(ref string) bool {
	_, err := uuid.Parse(ref)
	return err == nil && len(ref) == 36
}

// user finds a person by e-mail address, user name or id.
func (d desk) user(ctx context.Context, ref string) (directory.User, error) {
	if isID(ref) {
		u, err := d.Directory.User(ctx, d.by, directory.UserID(ref))
		if !problem.Is(err, problem.NotFound) {
			return u, err
		}
	}
	u, err := d.Directory.UserByLogin(ctx, d.by, ref)
	if !problem.Is(err, problem.NotFound) {
		return u, err
	}
	hint := "`latchkey users list` lists everybody."
	page, listErr := d.Directory.ListUsers(ctx, d.by, directory.UserQuery{Text: ref, Limit: 4})
	if listErr != nil {
		return u, listErr
	}
	if likely := words(page.Items, 3, func(u directory.User) string { return u.Email }); likely != "" {
		hint = "Did you mean " + likely + "?"
	}
	return u, problem.New(problem.NotFound, "Nobody has the e-mail address, user name or id %q. %s", ref, hint)
}

// users finds several people, each by e-mail address, user name or id.
func (d desk) users(ctx context.Context, refs []string) ([]directory.UserID, error) {
	ids := make([]directory.UserID, len(refs))
	for i, ref := range refs {
		u, err := d.user(ctx, ref)
		if err != nil {
			return nil, err
		}
		ids[i] = u.ID
	}
	return ids, nil
}

// group finds a group by name or id.
func (d desk) group(ctx context.Context, ref string) (directory.Group, error) {
	if isID(ref) {
		g, err := d.Directory.Group(ctx, d.by, directory.GroupID(ref))
		if !problem.Is(err, problem.NotFound) {
			return g, err
		}
	}
	q := directory.GroupQuery{Text: ref, Limit: 1000}
	var like []directory.Group
	for {
		page, err := d.Directory.ListGroups(ctx, d.by, q)
		if err != nil {
			return directory.Group{}, err
		}
		for _, g := range page.Items {
			if store.Key(g.Name) == store.Key(ref) {
				return g, nil
			}
			if len(like) < 4 {
				like = append(like, g)
			}
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	hint := "`latchkey groups list` lists all."
	if likely := words(like, 3, func(g directory.Group) string { return g.Name }); likely != "" {
		hint = "Did you mean " + likely + "?"
	}
	return directory.Group{}, problem.New(problem.NotFound, "No group has the name or id %q. %s", ref, hint)
}

// groups finds several groups, each by name or id.
func (d desk) groups(ctx context.Context, refs []string) ([]directory.GroupID, error) {
	ids := make([]directory.GroupID, len(refs))
	for i, ref := range refs {
		g, err := d.group(ctx, ref)
		if err != nil {
			return nil, err
		}
		ids[i] = g.ID
	}
	return ids, nil
}

// app finds an application by label, by the last part of its IdP URL, or by id.
func (d desk) app(ctx context.Context, ref string) (app.Application, error) {
	if isID(ref) {
		a, err := d.Apps.Get(ctx, d.by, app.ID(ref))
		if !problem.Is(err, problem.NotFound) {
			return a, err
		}
	}
	q := app.Query{Limit: 1000}
	var all []app.Application
	for {
		page, err := d.Apps.List(ctx, d.by, q)
		if err != nil {
			return app.Application{}, err
		}
		all = append(all, page.Items...)
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	for _, same := range []func(app.Application) bool{
		func(a app.Application) bool { return store.Key(a.Label) == store.Key(ref) },
		func(a app.Application) bool { return a.Slug != "" && strings.EqualFold(a.Slug, ref) },
	} {
		for _, a := range all {
			if same(a) {
				return d.Apps.Get(ctx, d.by, a.ID)
			}
		}
	}
	hint := "There are none yet: `latchkey apps create` adds one."
	if known := words(all, 5, func(a app.Application) string { return a.Label }); known != "" {
		hint = "There is " + known + "."
	}
	return app.Application{}, problem.New(problem.NotFound, "No application has the label, IdP URL or id %q. %s", ref, hint)
}

// words tells up to most items in words: "a, b or c"; "" for none.
func words[T any](items []T, most int, name func(T) string) string {
	var out []string
	for _, x := range items {
		if len(out) == most {
			out = append(out, fmt.Sprintf("one of %d more", len(items)-most))
			break
		}
		out = append(out, name(x))
	}
	return anyOf(out)
}

// flagged names the flag of each field that the domain complains about. How a field is set
// is in flags; a field that isn't there is named as the domain does.
func flagged(err error, flags map[string]string) error {
	p, ok := errors.AsType[*problem.Error](err)
	if !ok || len(p.Fields) == 0 {
		return err
	}
	named := *p
	named.Fields = make([]problem.Field, len(p.Fields))
	for i, f := range p.Fields {
		named.Fields[i] = f
		whole, _, _ := strings.Cut(f.Name, ".") // attributes.title, acs[0].url
		whole, _, _ = strings.Cut(whole, "[")
		if flag, ok := flags[f.Name]; ok {
			named.Fields[i].Name = flag
		} else if flag, ok := flags[whole]; ok {
			named.Fields[i].Name = flag
		}
	}
	if len(named.Fields) == 1 {
		named.Public = named.Fields[0].Name + ": " + named.Fields[0].Detail
		named.Fields = nil
	}
	return &named
}

// pages walks a list to its end, or until most items were given; most 0 is all. It returns
// how many there are in all, -1 if nobody counted, and whether some were left out.
func pages[T any](most int, next func(cursor string, limit int) (store.Page[T], error), give func(T)) (total int, more bool, err error) {
	given, cursor := 0, ""
	total = -1
	for {
		limit := 500
		if most > 0 {
			limit = min(limit, most-given)
		}
		page, err := next(cursor, limit)
		if err != nil {
			return total, false, err
		}
		if cursor == "" {
			total = page.Total
		}
		for _, x := range page.Items {
			give(x)
		}
		given += len(page.Items)
		if cursor = page.Next; cursor == "" {
			return total, false, nil
		}
		if most > 0 && given >= most {
			return total, true, nil
		}
	}
}

// limitFlag is embedded in every command that lists.
type limitFlag struct {
	Limit *int `placeholder:"N" help:"Most rows to show, 0 for all. Default: 100, and all with --output json."`
}

func (l limitFlag) most(o outputFlag) int {
	switch {
	case l.Limit != nil:
		return *l.Limit
	case o.json():
		return 0
	}
	return 100
}

// left says that a list goes on.
func (t terminal) left(shown, total int) error {
	if total > shown {
		return t.say("%s", t.paint(faint, fmt.Sprintf("… %s of %s shown; --limit 0 shows all.", grouped(shown), grouped(total))))
	}
	return t.say("%s", t.paint(faint, "… there are more; --limit 0 shows all."))
}

// each does one thing to several objects. One that fails doesn't keep the others from being
// done; the command fails in the end.
func each(t terminal, refs []string, do func(ref string) error) error {
	var first error
	failed := 0
	for _, ref := range refs {
		if err := do(ref); err != nil {
			if len(refs) == 1 {
				return err
			}
			report(t.err, err)
			failed++
			if first == nil {
				first = err
			}
		}
	}
	if failed > 0 {
		return problem.Wrap(problem.KindOf(first), first, "%d of %d failed.", failed, len(refs))
	}
	return nil
}
