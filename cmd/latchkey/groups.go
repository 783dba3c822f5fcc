package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/api"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/internal/store"
)

type groupsCmd struct {
	List   groupsListCmd   `cmd:"" help:"List groups."`
	Show   groupsShowCmd   `cmd:"" help:"Show one group: its applications and members."`
	Create groupsCreateCmd `cmd:"" help:"Add a group."`
	Update groupsUpdateCmd `cmd:"" help:"Change a group's name, description or inherited attributes."`
	Delete groupsDeleteCmd `cmd:"" help:"Remove groups; their members stay."`
	Add    groupsAddCmd    `cmd:"" help:"Make people members of a group."`
	Remove groupsRemoveCmd `cmd:"" help:"Take people out of a group."`
}

// groupView is a group as JSON: in the API's form, with applications where one is shown.
type groupView struct {
	api.Group
	Applications []api.ApplicationRef `json:"applications,omitempty"`
}

func viewGroup(g directory.Group) groupView { return groupView{Group: api.GroupJSON(g)} }

type groupsListCmd struct {
	Text string `arg:"" optional:"" help:"Look for this in name and description."`
	User string `placeholder:"USER" help:"Only groups of this person."`
	limitFlag
	outputFlag
}

func (l groupsListCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		q := directory.GroupQuery{Text: l.Text}
		if l.User != "" {
			u, err := d.user(ctx, l.User)
			if err != nil {
				return err
			}
			q.UserID = u.ID
		}
		views := []groupView{}
		tb := newTable("NAME", "MEMBERS", "DESCRIPTION").figures(1)
		total, more, err := pages(l.most(l.outputFlag), func(cursor string, limit int) (store.Page[directory.Group], error) {
			q.Cursor, q.Limit = cursor, limit
			return d.Directory.ListGroups(ctx, d.by, q)
		}, func(g directory.Group) {
			if l.json() {
				views = append(views, viewGroup(g))
				return
			}
			tb.add(g.Name, grouped(g.Members), g.Description)
		})
		switch {
		case err != nil:
			return err
		case l.json():
			return d.printJSON(views)
		case len(tb.rows) == 0:
			return d.say("No group found.")
		}
		if err := tb.print(t); err != nil || !more {
			return err
		}
		return d.left(len(tb.rows), total)
	})
}

type groupsShowCmd struct {
	Group string `arg:"" help:"Name or id."`
	limitFlag
	outputFlag
}

func (s groupsShowCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		g, err := d.group(ctx, s.Group)
		if err != nil {
			return err
		}
		if s.json() {
			return d.showGroup(ctx, g, s.outputFlag)
		}
		if err := d.showGroup(ctx, g, s.outputFlag); err != nil || g.Members == 0 {
			return err
		}
		d.heading("Members")
		return d.listUsers(ctx, directory.UserQuery{GroupID: g.ID}, s.limitFlag, s.outputFlag)
	})
}

func (d desk) showGroup(ctx context.Context, g directory.Group, o outputFlag) error {
	apps, err := d.Apps.ApplicationsOfGroup(ctx, d.by, g.ID)
	if err != nil {
		return err
	}
	v := viewGroup(g)
	labels := make([]string, len(apps))
	for i, a := range apps {
		labels[i] = a.Label
		v.Applications = append(v.Applications, api.ApplicationRef{ID: a.ID, Label: a.Label})
	}
	if o.json() {
		return d.printJSON(v)
	}
	var f facts
	f.add("Name", cell{g.Name, strong})
	f.add("Description", g.Description)
	f.add("Members", grouped(g.Members))
	f.add("Applications", strings.Join(labels, ", "))
	if len(g.Attributes) > 0 {
		b, err := json.Marshal(g.Attributes)
		if err != nil {
			return err
		}
		f.add("Inherited", string(b))
	}
	f.add("Id", g.ID)
	f.add("Created", g.CreatedAt)
	f.add("Changed", g.UpdatedAt)
	return f.print(d.terminal)
}

// inheritFlag sets attributes that members inherit.
type inheritFlag struct {
	Inherit []string `sep:"none" placeholder:"NAME=VALUE" help:"Attribute that members inherit: --inherit department=Sales, --inherit custom.floor:=3 (JSON). An empty value clears. Repeatable."`
}

func (f inheritFlag) change(a *directory.GroupAttributes) error {
	if len(f.Inherit) == 0 {
		return nil
	}
	attributes := map[string]any{}
	maps.Copy(attributes, a.Attributes)
	for _, set := range f.Inherit {
		name, value, err := parseSet(set)
		if err != nil {
			return err
		}
		if value == nil || value == "" {
			delete(attributes, name)
		} else {
			attributes[name] = exact(value)
		}
	}
	a.Attributes = attributes
	return nil
}

func groupFlagNames() map[string]string {
	return map[string]string{"name": "--name", "description": "--description", "attributes": "--inherit", "members": "--member"}
}

type groupsCreateCmd struct {
	Name        string `arg:"" help:"Name, unique without regard to case."`
	Description string `placeholder:"TEXT" help:"Description."`
	inheritFlag
	Member []string `placeholder:"USER" sep:"none" help:"First member. Repeatable."`
	outputFlag
}

func (n groupsCreateCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		members, err := d.users(ctx, n.Member)
		if err != nil {
			return err
		}
		at := directory.GroupAttributes{Name: n.Name, Description: n.Description}
		if err := n.change(&at); err != nil {
			return err
		}
		g, err := d.Directory.CreateGroup(ctx, d.by, directory.NewGroup{GroupAttributes: at, Members: members})
		if err != nil {
			flags := groupFlagNames()
			flags["name"] = "Name"
			return flagged(err, flags)
		}
		if n.json() {
			return d.showGroup(ctx, g, n.outputFlag)
		}
		return d.say("Group %s was added with %s.", visible(g.Name), count(g.Members, "member", "members"))
	})
}

type groupsUpdateCmd struct {
	Group       string  `arg:"" help:"Name or id."`
	Name        *string `placeholder:"TEXT" help:"New name."`
	Description *string `placeholder:"TEXT" help:"Description."`
	inheritFlag
	outputFlag
}

func (n groupsUpdateCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		g, err := d.group(ctx, n.Group)
		if err != nil {
			return err
		}
		before := g.Version
		if g, err = d.Directory.UpdateGroup(ctx, d.by, g.ID, 0, func(a *directory.GroupAttributes) error {
			if n.Name != nil {
				a.Name = *n.Name
			}
			if n.Description != nil {
				a.Description = *n.Description
			}
			return n.change(a)
		}); err != nil {
			return flagged(err, groupFlagNames())
		}
		if n.json() {
			return d.showGroup(ctx, g, n.outputFlag)
		}
		if g.Version == before {
			return d.say("Group %s is as asked for already; nothing was changed.", visible(g.Name))
		}
		return d.say("Group %s was changed.", visible(g.Name))
	})
}

type groupsDeleteCmd struct {
	Groups []string `arg:"" name:"group" help:"Names or ids."`
	Yes    bool     `short:"y" help:"Don't ask."`
	outputFlag
}

func (n groupsDeleteCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		return each(t, n.Groups, func(ref string) error {
			g, err := d.group(ctx, ref)
			if err != nil {
				return err
			}
			apps, err := d.Apps.ApplicationsOfGroup(ctx, d.by, g.ID)
			if err != nil {
				return err
			}
			consequence := fmt.Sprintf("Group %s with %s will be removed.", visible(g.Name), count(g.Members, "member", "members"))
			if len(apps) > 0 {
				consequence += fmt.Sprintf(" Members lose %s unless another group gives it.", words(apps, 3, func(a app.Application) string { return a.Label }))
			}
			if err := d.agree(n.Yes, consequence, g.Name); err != nil {
				return err
			}
			if err := d.Directory.DeleteGroup(ctx, d.by, g.ID); err != nil {
				return err
			}
			return d.done(n.outputFlag, removed{string(g.ID), true}, "Group %s was removed.", visible(g.Name))
		})
	})
}

// memberChange is what a change of members tells programs.
type memberChange struct {
	ID      directory.GroupID `json:"id"`
	Added   int               `json:"added"`
	Removed int               `json:"removed"`
}

type groupsAddCmd struct {
	Group string   `arg:"" help:"Name or id."`
	Users []string `arg:"" name:"user" help:"E-mail addresses, user names or ids."`
	outputFlag
}

func (n groupsAddCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		g, ids, err := d.membership(ctx, n.Group, n.Users)
		if err != nil {
			return err
		}
		added, err := d.Directory.AddMembers(ctx, d.by, g.ID, ids)
		if err != nil {
			return err
		}
		return d.done(n.outputFlag, memberChange{g.ID, added, 0}, "%s of %s %s new in group %s.", grouped(added), grouped(len(ids)), noun(added, "is", "are"), visible(g.Name))
	})
}

type groupsRemoveCmd struct {
	Group string   `arg:"" help:"Name or id."`
	Users []string `arg:"" name:"user" help:"E-mail addresses, user names or ids."`
	outputFlag
}

func (n groupsRemoveCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		g, ids, err := d.membership(ctx, n.Group, n.Users)
		if err != nil {
			return err
		}
		removed, err := d.Directory.RemoveMembers(ctx, d.by, g.ID, ids)
		if err != nil {
			return err
		}
		if removed == 0 {
			return problem.New(problem.NotFound, "None of them is in group %s.", visible(g.Name))
		}
		return d.done(n.outputFlag, memberChange{g.ID, 0, removed}, "%s of %s left group %s.", grouped(removed), grouped(len(ids)), visible(g.Name))
	})
}

func (d desk) membership(ctx context.Context, group string, users []string) (directory.Group, []directory.UserID, error) {
	g, err := d.group(ctx, group)
	if err != nil {
		return g, nil, err
	}
	ids, err := d.users(ctx, users)
	return g, ids, err
}
