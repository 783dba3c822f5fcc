package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/provision/plan"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/server"
)

type planCmd struct {
	App    string `arg:"" optional:"" help:"Label, last part of the IdP URL, or id."`
	All    bool   `help:"Of every application whose provisioning is on, paused or stopped."`
	User   string `placeholder:"LOGIN" help:"Only of this person: the account and its memberships."`
	Change string `placeholder:"FILE" help:"What a change would send, without making it; - for standard input. A JSON object: settings (as the API's provisioning settings, what is missing stays), bind and unbind (names of groups)."`
	Limit  int    `placeholder:"N" help:"Show at most so many objects; 0 shows all. The counts are always of all."`
	outputFlag
}

// Help tells what happens and what doesn't.
func (planCmd) Help() string {
	return "It reads here and at the target, and sends nothing that changes anything. With its hash, exactly this plan is carried out: latchkey apply APP --hash HASH. " +
		"The plan of a change holds what the change is the reason for; what is to be sent anyway isn't in it."
}

func (n planCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		switch {
		case n.All && (n.App != "" || n.User != "" || n.Change != ""):
			return problem.New(problem.Invalid, "--all goes without an application, --user and --change.")
		case n.All:
			return n.all(ctx, d)
		case n.App == "":
			return problem.New(problem.Invalid, "Name an application, or say --all.")
		case n.User != "" && n.Change != "":
			return problem.New(problem.Invalid, "--user and --change don't go together.")
		}
		a, err := d.provisioned(ctx, n.App)
		if err != nil {
			return err
		}
		var p provision.Preview
		title := fmt.Sprintf("What would be sent to %s", visible(a.Label))
		switch {
		case n.User != "":
			u, err := d.user(ctx, n.User)
			if err != nil {
				return err
			}
			title += " for " + visible(u.Name())
			if p, err = d.Engine.PreviewUser(ctx, d.by, a.ID, u.ID); err != nil {
				return err
			}
		case n.Change != "":
			c, err := d.changeFile(ctx, n.Change)
			if err != nil {
				return err
			}
			title = fmt.Sprintf("What the change would send to %s", visible(a.Label))
			if p, err = d.Engine.Propose(ctx, d.by, a.ID, c); err != nil {
				return inFile(err, n.Change)
			}
		default:
			if p, err = d.Engine.Preview(ctx, d.by, a.ID); err != nil {
				return err
			}
		}
		if n.json() {
			return d.printJSON(jsonPlan(p))
		}
		return d.printPlan(title, a, p, n.Limit)
	})
}

// jsonPlan is a plan whose list of steps is never null.
func jsonPlan(p provision.Preview) provision.Preview {
	if p.Steps == nil {
		p.Steps = []plan.Step{}
	}
	return p
}

// planOf is one application's plan among all, as JSON.
type planOf struct {
	ApplicationID app.ID             `json:"applicationId"`
	Label         string             `json:"label"`
	Status        app.Status         `json:"status"`
	Plan          *provision.Preview `json:"plan,omitempty"`
	Problem       string             `json:"problem,omitempty"`
}

// all prints the plan of every application. It fails if one can't be read, after all others.
func (n planCmd) all(ctx context.Context, d desk) error {
	plans, err := d.Engine.PreviewAll(ctx, d.by)
	if err != nil {
		return err
	}
	var failed error
	list := []planOf{}
	for i, o := range plans {
		if o.Err != nil && failed == nil {
			failed = o.Err
		}
		if n.json() {
			x := planOf{ApplicationID: o.Application.ID, Label: o.Application.Label, Status: o.Application.SCIM.Status}
			if o.Err != nil {
				x.Problem = problem.Public(o.Err)
			} else {
				p := jsonPlan(o.Plan)
				x.Plan = &p
			}
			list = append(list, x)
			continue
		}
		if i > 0 {
			fmt.Fprintln(d.out)
		}
		if o.Err != nil {
			report(d.err, o.Err)
			continue
		}
		title := fmt.Sprintf("What would be sent to %s", visible(o.Application.Label))
		if s := o.Application.SCIM.Status; s != app.Active {
			title += fmt.Sprintf(" (%s)", s)
		}
		if err := d.printPlan(title, o.Application, o.Plan, n.Limit); err != nil {
			return err
		}
	}
	if n.json() {
		if err := d.printJSON(list); err != nil {
			return err
		}
	} else if len(plans) == 0 {
		if err := d.say("Provisioning is on for no application, so there is nothing to be sent."); err != nil {
			return err
		}
	}
	if failed != nil {
		return problem.Wrap(problem.KindOf(failed), failed, "There is no plan for every application.")
	}
	return nil
}

type applyCmd struct {
	appArg
	Hash   string `required:"" placeholder:"HASH" help:"Hash of the plan, as latchkey plan printed it."`
	Change string `placeholder:"FILE" help:"Make the change of which the plan is, as given to latchkey plan --change. Without it, provisioning is switched on, or goes on after a pause or stop."`
	outputFlag
}

func (n applyCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		a, err := d.provisioned(ctx, n.App)
		if err != nil {
			return err
		}
		if n.Change == "" {
			return d.activate(ctx, a, n.Hash, true, n.outputFlag)
		}
		change, err := d.changeFile(ctx, n.Change)
		if err != nil {
			return err
		}
		if a, err = d.change(ctx, a, change, approvalFlags{Hash: n.Hash}, n.outputFlag); err != nil {
			return inFile(err, n.Change)
		}
		return d.switched(ctx, a, n.outputFlag, "The change is made. The server sends what its plan showed; follow it: latchkey apps status %s", quoted(a.Label))
	})
}

// mark is how a step shows in the plan: like the signs of a diff.
type mark struct {
	sign string
	tone tone
	verb string
}

func markOf(s plan.Step) mark {
	switch s.Kind {
	case plan.Create:
		return mark{"+", good, "create"}
	case plan.Adopt:
		return mark{"=", strong, "adopt"}
	case plan.Update:
		return mark{"~", warn, "change"}
	case plan.Reactivate:
		return mark{"~", good, "reactivate"}
	case plan.Deactivated:
		return mark{"-", bad, "deactivate"}
	case plan.Deleted:
		return mark{"-", bad, "DELETE"}
	case plan.AddMembers:
		return mark{"+", good, "add members"}
	case plan.RemoveMembers:
		return mark{"-", bad, "remove members"}
	case plan.Blocked:
		return mark{"!", bad, "blocked"}
	case plan.Lookup, plan.Read:
		return mark{"?", faint, "look up first"}
	}
	return mark{"?", plain, string(s.Kind)}
}

// printPlan prints what would be sent: each object once, with what changes, then the counts.
func (d desk) printPlan(title string, a app.Application, p provision.Preview, limit int) error {
	if len(p.Steps) == 0 {
		if err := d.say("Nothing is to be sent to %s: all is as it should be.", visible(a.Label)); err != nil {
			return err
		}
		return d.say("\nHash  %s", p.Hash)
	}
	w := bufio.NewWriter(d.out)
	fmt.Fprintf(w, "%s\n\n", d.paint(strong, title))
	shown, left := 0, 0
	previous := ""
	for _, s := range p.Steps {
		key := string(s.On.Type) + s.On.ID + s.On.Remote
		if key != previous {
			previous = key
			if limit > 0 && shown >= limit {
				left++
				previous = ""
				continue
			}
			shown++
		}
		d.printStep(w, s)
	}
	if left > 0 {
		fmt.Fprintf(w, "%s\n", d.paint(faint, "… and "+count(left, "step", "steps")+" more."))
	}
	fmt.Fprintln(w)
	d.printCounts(w, p.Counts)
	fmt.Fprintf(w, "\nHash  %s\n", p.Hash)
	return w.Flush()
}

func (d desk) printStep(w *bufio.Writer, s plan.Step) {
	m := markOf(s)
	kind := strings.ToLower(string(s.On.Type))
	name := s.On.Label
	if name == "" {
		name = s.On.ID + s.On.Remote
	}
	note := ""
	if s.Guarded {
		note = "  (needs approval)"
	}
	if s.Method != "" {
		note += "  " + d.paint(faint, s.Method)
	}
	fmt.Fprintf(w, "%s %s %s %s%s\n", d.paint(m.tone, m.sign), d.paint(m.tone, m.verb), kind, d.paint(strong, visible(name)), note)
	if s.Kind == plan.Adopt {
		fmt.Fprintf(w, "    it is there already, as %s, and is taken over\n", visible(s.On.Remote))
	}
	if s.Reason != "" {
		fmt.Fprintf(w, "    %s\n", visible(s.Reason))
	}
	if s.Alternative != "" {
		fmt.Fprintf(w, "    possible instead: %s\n", strings.ReplaceAll(s.Alternative, "_", " "))
	}
	for _, c := range s.Changes {
		was, now := value(c.Old), value(c.New)
		switch {
		case was == "":
			fmt.Fprintf(w, "    %s %s: %s\n", d.paint(good, "+"), visible(c.Path), now)
		case now == "":
			fmt.Fprintf(w, "    %s %s: %s\n", d.paint(bad, "-"), visible(c.Path), was)
		default:
			fmt.Fprintf(w, "    %s %s: %s → %s\n", d.paint(warn, "~"), visible(c.Path), was, now)
		}
	}
	if len(s.Members) > 0 {
		const most = 5
		var labels []string
		for i, m := range s.Members {
			if i == most {
				labels = append(labels, fmt.Sprintf("and %s more", grouped(len(s.Members)-most)))
				break
			}
			labels = append(labels, visible(firstOf(m.Label, m.ID, m.Remote)))
		}
		fmt.Fprintf(w, "    %s %s: %s\n", d.paint(m.tone, m.sign), count(len(s.Members), "member", "members"), strings.Join(labels, ", "))
	}
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// value prints one side of a change.
func value(v any) string {
	if scim.Empty(v) {
		return ""
	}
	if s, ok := v.(string); ok {
		return visible(s)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return visible(fmt.Sprint(v))
	}
	return visible(string(b))
}

func (d desk) printCounts(w *bufio.Writer, c plan.Counts) {
	tally := func(what string, t plan.Tally) {
		var parts []string
		for _, x := range []struct {
			n    int
			verb string
			tone tone
		}{
			{t.Create, "to create", good},
			{t.Adopt, "to adopt", strong},
			{t.Update, "to change", warn},
			{t.Reactivate, "to reactivate", good},
			{t.Deactivate, "to deactivate", bad},
			{t.Delete, "to delete", bad},
		} {
			if x.n > 0 {
				parts = append(parts, d.paint(x.tone, grouped(x.n)+" "+x.verb))
			}
		}
		if len(parts) == 0 {
			parts = []string{"nothing"}
		}
		fmt.Fprintf(w, "%-8s %s\n", what, strings.Join(parts, ", "))
	}
	tally("Users", c.Users)
	tally("Groups", c.Groups)
	if c.MembersAdded+c.MembersRemoved > 0 {
		fmt.Fprintf(w, "%-8s %s to add, %s to remove\n", "Members", grouped(c.MembersAdded), grouped(c.MembersRemoved))
	}
	if c.Lookups > 0 {
		fmt.Fprintf(w, "%-8s %s to look up first\n", "Unknown", grouped(c.Lookups))
	}
	if c.Blocked > 0 {
		fmt.Fprintf(w, "%-8s %s\n", "Blocked", d.paint(bad, grouped(c.Blocked)))
	}
	if c.Guarded > 0 {
		fmt.Fprintf(w, "%-8s %s need approval\n", "Guarded", d.paint(bad, grouped(c.Guarded)))
	}
	fmt.Fprintf(w, "%-8s %s\n", "Requests", count(c.Writes, "that writes something", "that write something"))
}
