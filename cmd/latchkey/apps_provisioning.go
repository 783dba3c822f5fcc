package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/api"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/work"
)

type appsSCIMCmd struct {
	appArg
	BaseURL      *string  `name:"base-url" placeholder:"URL" help:"Base URL that the other side gives."`
	ManageGroups *bool    `negatable:"" help:"Also send the bound groups and their members."`
	OnLeave      *string  `placeholder:"ACT" help:"What becomes of accounts of people who lose access: deactivate or delete."`
	ScopeFilter  *string  `placeholder:"EXPR" help:"Provision only those members of bound groups for whom this expression is true, e.g. 'user.department == \"Sales\"'; empty for all of them."`
	Match        []string `placeholder:"ATTR" help:"Attributes there by which an account is looked up, in order; the product's unless given."`
	GuardCount   *int     `placeholder:"N" help:"Hold a plan that would deactivate or delete more accounts than this; 0 is no limit."`
	GuardPercent *int     `placeholder:"N" help:"The same, in percent of the accounts."`
	Rate         *float64 `placeholder:"N" help:"Requests per second; 0 is the product's."`
	Burst        *int     `placeholder:"N" help:"Requests at once; 0 is the product's."`
	Concurrency  *int     `placeholder:"N" help:"Requests under way at a time; 0 is the product's."`
	approvalFlags
	outputFlag
}

// Help tells where the token goes.
func (appsSCIMCmd) Help() string {
	return "Without flags it shows the settings. The token is set by `latchkey apps token`."
}

func (n appsSCIMCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		a, err := d.provisioned(ctx, n.App)
		if err != nil {
			return err
		}
		if a, err = d.change(ctx, a, app.SCIMChange{Settings: func(s *app.SCIMSettings) error {
			set(&s.ScopeFilter, n.ScopeFilter)
			if len(n.Match) > 0 {
				s.Match = slices.DeleteFunc(n.Match, func(m string) bool { return m == "" }) // --match= is the product's again
			}
			set(&s.BaseURL, n.BaseURL)
			set(&s.ManageGroups, n.ManageGroups)
			set((*string)(&s.OnLeave), n.OnLeave)
			set(&s.Guard.MaxCount, n.GuardCount)
			set(&s.Guard.MaxPercent, n.GuardPercent)
			set(&s.RatePerSecond, n.Rate)
			set(&s.Burst, n.Burst)
			set(&s.Concurrency, n.Concurrency)
			return nil
		}}, n.approvalFlags, n.outputFlag); err != nil {
			return flagged(err, appFlagNames())
		}
		if n.json() {
			return d.showApp(ctx, a, n.outputFlag)
		}
		if err := d.printSCIM(a); err != nil {
			return err
		}
		return d.warnings(a)
	})
}

// provisioned finds an application that can be provisioned.
func (d desk) provisioned(ctx context.Context, ref string) (app.Application, error) {
	a, err := d.app(ctx, ref)
	if err == nil && !a.SCIM.Offered {
		err = problem.New(problem.Invalid, "%s can't be provisioned by SCIM.", visible(a.Label))
	}
	return a, err
}

func (d desk) printSCIM(a app.Application) error {
	s := a.SCIM
	var f facts
	f.add("Status", statusCell(true, s.Status))
	f.add("Reason", s.Reason)
	f.add("Since", s.Since)
	if len(s.Missing) > 0 {
		f.add("Missing", cell{strings.Join(s.Missing, ", "), warn})
	}
	f.add("Base URL", s.BaseURL)
	token := "not set"
	if s.TokenSet {
		token = "set"
		if !s.TokenExpiresAt.IsZero() {
			token += ", ends " + day(s.TokenExpiresAt)
		}
	}
	f.add("Token", token)
	f.add("Groups", map[bool]string{true: "managed", false: "not managed"}[s.ManageGroups])
	f.add("Leavers", map[app.OnLeave]string{app.Deactivate: "deactivated", app.Remove: "deleted"}[s.OnLeave])
	f.add("Scope", s.ScopeFilter)
	f.add("Looked up by", strings.Join(s.Match, ", "))
	guard := []string{}
	if s.Guard.MaxCount > 0 {
		guard = append(guard, "more than "+count(s.Guard.MaxCount, "account", "accounts"))
	}
	if s.Guard.MaxPercent > 0 {
		guard = append(guard, fmt.Sprintf("more than %d %%", s.Guard.MaxPercent))
	}
	f.add("Held", strings.Join(guard, ", or "))
	if s.RatePerSecond > 0 {
		f.add("Rate", strconv.FormatFloat(s.RatePerSecond, 'g', -1, 64)+" requests a second")
	}
	if s.Concurrency > 0 {
		f.add("At a time", count(s.Concurrency, "request", "requests"))
	}
	return f.print(d.terminal)
}

type appsMappingCmd struct {
	appArg
	integrationArg
	File string `placeholder:"FILE" help:"Replace the application's own rows by those of this JSON file; - for standard input."`
	approvalFlags
	outputFlag
}

// Help tells how to change a mapping.
func (appsMappingCmd) Help() string {
	return "With --output json it prints what differs from the product's mapping: edit that and give it back with --file. {} is the product's mapping."
}

func (n appsMappingCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		a, err := d.app(ctx, n.App)
		if err != nil {
			return err
		}
		if n.File != "" {
			if a, err = n.replace(ctx, d, a); err != nil {
				return err
			}
		}
		con, err := d.Catalog.Get(a.Connector)
		if err != nil {
			return err
		}
		override, rows := a.SAML.Mapping, []catalog.Row(nil)
		switch {
		case n.What == "sign-on" && con.SAML != nil:
			var subject catalog.NameIDFacts
			if subject, rows, err = catalog.MergeSAML(con.SAML, override); err != nil {
				return err
			}
			rows = append([]catalog.Row{{Target: catalog.NameIDTarget, Label: subject.Format, Source: subject.Source, Required: true}}, rows...)
		case n.What == "provisioning" && con.SCIM != nil:
			override = a.SCIM.Mapping
			if rows, err = catalog.MergeSCIM(con.SCIM.Mapping, override); err != nil {
				return err
			}
		default:
			return problem.New(problem.Invalid, "%s has no %s.", visible(a.Label), n.What)
		}
		if n.json() {
			return d.printJSON(override)
		}
		own := map[string]bool{}
		for _, r := range override.Rows {
			own[r.Target] = true
		}
		tb := newTable("GOES TO", "COMES FROM", "REQUIRED", "OWN", "LABEL")
		for _, r := range rows {
			from := cell{text: r.Source.String()}
			if !r.Enabled() {
				from = cell{"excluded", faint}
			}
			tb.add(r.Target, from, yes(r.Required), yes(own[r.Target] || r.Target == catalog.NameIDTarget && override.NameID != nil), r.Label)
		}
		return tb.print(t)
	})
}

func (n appsMappingCmd) replace(ctx context.Context, d desk, a app.Application) (app.Application, error) {
	raw, err := d.readFile(n.File, 1<<20)
	if err != nil {
		return a, err
	}
	override, err := catalog.ParseOverride(raw)
	if err != nil {
		return a, problem.Wrap(problem.Invalid, err, "%s: %v", n.File, err)
	}
	if n.What == "sign-on" {
		a, err = d.Apps.SaveSAML(ctx, d.by, a.ID, func(s *app.SAMLSettings) error { s.Mapping = override; return nil })
	} else {
		a, err = d.change(ctx, a, app.SCIMChange{Settings: func(s *app.SCIMSettings) error { s.Mapping = override; return nil }}, n.approvalFlags, n.outputFlag)
	}
	return a, inFile(err, n.File)
}

type appsTokenCmd struct {
	appArg
	Expires string `placeholder:"WHEN" help:"When the token ends: a date, or 365d from now."`
	Remove  bool   `help:"Remove the token."`
	Force   bool   `help:"Store it although the target refuses it."`
	outputFlag
}

// Help tells where the token comes from.
func (appsTokenCmd) Help() string {
	return "The token is asked for on a terminal, and read as a line from standard input elsewhere. While provisioning is on, paused or stopped, it is tried first by reading, " +
		"and one that the target refuses changes nothing; after a pause or stop, provisioning then goes on."
}

func (n appsTokenCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		a, err := d.provisioned(ctx, n.App)
		if err != nil {
			return err
		}
		expires, err := parseWhen("expires", n.Expires, d.Now(), false)
		if err != nil {
			return err
		}
		if n.Remove {
			if a, err = d.Apps.SetSCIMToken(ctx, d.by, a.ID, "", time.Time{}); err != nil {
				return err
			}
			return d.switched(ctx, a, n.outputFlag, "%s has no token any more.", visible(a.Label))
		}
		token, err := d.secret("Token of "+a.Label, "token")
		if err != nil {
			return err
		}
		var texts []string
		for _, w := range d.Apps.TokenWarnings(a, token) {
			texts = append(texts, w.Text)
		}
		tried := false
		switch a.SCIM.Status {
		case app.Active, app.Paused, app.Stopped:
			if !n.Force {
				tried = true
				_, err = d.Engine.ReplaceToken(ctx, d.by, a.ID, token, expires)
				break
			}
			fallthrough
		default:
			_, err = d.Apps.SetSCIMToken(ctx, d.by, a.ID, token, expires)
		}
		if err != nil {
			return err
		}
		if a, err = d.Apps.Get(ctx, d.by, a.ID); err != nil {
			return err
		}
		if n.json() {
			return d.showApp(ctx, a, n.outputFlag)
		}
		if err := d.warn(texts); err != nil {
			return err
		}
		if tried {
			return d.say("The target takes the new token. Provisioning of %s is %s.", visible(a.Label), a.SCIM.Status)
		}
		return d.say("The token of %s is stored, sealed. Try it: latchkey apps test %s", visible(a.Label), quoted(a.Label))
	})
}

type appsTestCmd struct {
	appArg
	outputFlag
}

func (n appsTestCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		a, err := d.provisioned(ctx, n.App)
		if err != nil {
			return err
		}
		p, err := d.Engine.Test(ctx, d.by, a.ID)
		if err != nil {
			return err
		}
		if n.json() {
			err = d.printJSON(p)
		} else {
			err = d.printProbe(p)
		}
		if err == nil && !p.OK {
			err = problem.New(problem.Unavailable, "The connection to %s doesn't work.", visible(a.Label))
		}
		return err
	})
}

func (d desk) printProbe(p provision.Probe) error {
	for _, c := range p.Checks {
		mark := d.paint(good, "ok    ")
		if !c.OK {
			mark = d.paint(bad, "failed")
		}
		if err := d.say("%s  %s: %s", mark, c.Name, visible(c.Detail)); err != nil {
			return err
		}
	}
	return nil
}

type appsActivateCmd struct {
	appArg
	integrationArg
	Hash string `placeholder:"HASH" help:"Only if what would be sent is still the plan with this hash."`
	Yes  bool   `short:"y" help:"Don't show the plan and ask."`
	outputFlag
}

func (n appsActivateCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		if n.What == "sign-on" {
			a, err := d.app(ctx, n.App)
			if err != nil {
				return err
			}
			if a, err = d.Apps.ActivateSAML(ctx, d.by, a.ID); err != nil {
				return flagged(err, appFlagNames())
			}
			if n.json() {
				return d.showApp(ctx, a, n.outputFlag)
			}
			return d.say("Sign-on of %s is on.", visible(a.Label))
		}
		a, err := d.provisioned(ctx, n.App)
		if err != nil {
			return err
		}
		return d.activate(ctx, a, n.Hash, n.Yes, n.outputFlag)
	})
}

// activate begins to provision, by a plan that somebody looked at.
func (d desk) activate(ctx context.Context, a app.Application, hash string, sure bool, o outputFlag) error {
	if hash == "" && !sure {
		if !isTerminal(d.in) {
			return problem.New(problem.Invalid, "Look at the plan (latchkey plan %s), then give its --hash; or say --yes.", quoted(a.Label))
		}
		p, err := d.Engine.Preview(ctx, d.by, a.ID)
		if err != nil {
			return err
		}
		if err := d.printPlan(fmt.Sprintf("What would be sent to %s", visible(a.Label)), a, p, 20); err != nil {
			return err
		}
		if err := d.agree(false, fmt.Sprintf("That would be sent to %s now, and every change from then on.", visible(a.Label)), "yes"); err != nil {
			return err
		}
		hash = p.Hash
	}
	if err := d.Engine.Activate(ctx, d.by, a.ID, hash); err != nil {
		return err
	}
	return d.switched(ctx, a, o, "Provisioning of %s is on. The server sends from here on; follow it: latchkey apps status %s", visible(a.Label), quoted(a.Label))
}

// switched tells how an application stands after an act.
func (d desk) switched(ctx context.Context, a app.Application, o outputFlag, format string, args ...any) error {
	if !o.json() {
		return d.say(format, args...)
	}
	a, err := d.Apps.Get(ctx, d.by, a.ID)
	if err != nil {
		return err
	}
	return d.showApp(ctx, a, o)
}

type appsDeactivateCmd struct {
	appArg
	integrationArg
	outputFlag
}

func (n appsDeactivateCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		a, err := d.app(ctx, n.App)
		if err != nil {
			return err
		}
		if n.What == "sign-on" {
			if _, err := d.Apps.DeactivateSAML(ctx, d.by, a.ID); err != nil {
				return err
			}
			return d.switched(ctx, a, n.outputFlag, "Sign-on of %s is off: nobody gets in by Latchkey any more.", visible(a.Label))
		}
		if err := d.Engine.Deactivate(ctx, d.by, a.ID); err != nil {
			return err
		}
		return d.switched(ctx, a, n.outputFlag, "Provisioning of %s is off. Nothing is sent any more; accounts there stay as they are.", visible(a.Label))
	})
}

type appsPauseCmd struct {
	appArg
	Reason string `placeholder:"TEXT" help:"Why, for those who wonder."`
	outputFlag
}

func (n appsPauseCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		a, err := d.provisioned(ctx, n.App)
		if err != nil {
			return err
		}
		if err := d.Engine.Pause(ctx, d.by, a.ID, n.Reason); err != nil {
			return err
		}
		return d.switched(ctx, a, n.outputFlag, "Provisioning of %s is paused. Changes are kept until: latchkey apps resume %s", visible(a.Label), quoted(a.Label))
	})
}

type appsResumeCmd struct {
	appArg
	outputFlag
}

func (n appsResumeCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		a, err := d.provisioned(ctx, n.App)
		if err != nil {
			return err
		}
		if err := d.Engine.Resume(ctx, d.by, a.ID); err != nil {
			return err
		}
		return d.switched(ctx, a, n.outputFlag, "Provisioning of %s goes on.", visible(a.Label))
	})
}

type appsStatusCmd struct {
	appArg
	Wait time.Duration `placeholder:"TIME" help:"Wait up to this long until nothing is left to be sent; exit code 6 if something is."`
	outputFlag
}

func (n appsStatusCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		a, err := d.provisioned(ctx, n.App)
		if err != nil {
			return err
		}
		s, settled, err := d.await(ctx, a, n.Wait)
		if err != nil {
			return err
		}
		if n.json() {
			err = d.printJSON(s)
		} else {
			err = d.printStatus(s)
		}
		if err == nil && n.Wait > 0 && !settled {
			err = problem.New(problem.Unavailable, "After %s %s still to be sent to %s. Is the server running?", n.Wait, count(s.Waiting, "change is", "changes are"), visible(a.Label))
		}
		return err
	})
}

// settledFor is how long nothing may be waiting before all counts as sent: a change becomes
// work only moments after it was stored.
const settledFor = 3

// await looks at the status until nothing is left to be sent, or the time is over.
func (d desk) await(ctx context.Context, a app.Application, most time.Duration) (s provision.Status, settled bool, err error) {
	p := d.startProgress("Waiting for", 0)
	defer p.end()
	end := time.Now().Add(most)
	quiet := 0
	for {
		pending, err := d.pending(ctx, a)
		if err != nil {
			return s, false, err
		}
		if s, err = d.Engine.Status(ctx, d.by, a.ID); err != nil {
			return s, false, err
		}
		if s.State != app.Active {
			return s, true, nil
		}
		p.at(s.Waiting)
		if s.Waiting == 0 && !pending {
			quiet++
		} else {
			quiet = 0
		}
		if quiet >= settledFor || most <= 0 || time.Now().After(end) {
			return s, quiet >= settledFor, nil
		}
		select {
		case <-ctx.Done():
			return s, false, ctx.Err()
		case <-time.After(150 * time.Millisecond):
		}
	}
}

// pending reports whether it isn't even worked out yet what is to be sent.
func (d desk) pending(ctx context.Context, a app.Application) (pending bool, err error) {
	err = d.DB.View(ctx, func(tx *store.Tx) error {
		if pending, err = audit.Waiting(tx); err != nil || pending {
			return err
		}
		// The lane whose key is the application compares all of it.
		lanes, err := work.States(tx, d.Now(), work.Filter{Key: string(a.ID), Limit: 1})
		pending = len(lanes) > 0
		return err
	})
	return pending, err
}

func (d desk) printStatus(s provision.Status) error {
	level := map[string]tone{"ok": good, "warn": warn, "danger": bad}[s.Level]
	if err := d.say("%s", d.paint(level, visible(s.Sentence))); err != nil {
		return err
	}
	if s.State == app.Off || s.State == app.Incomplete {
		return nil
	}
	tb := newTable("", "IN SYNC", "PENDING", "INACTIVE", "BLOCKED", "FAILED", "RELEASED").figures(1, 2, 3, 4, 5, 6)
	for _, row := range []struct {
		name string
		t    provision.Tally
	}{{"Users", s.Users}, {"Groups", s.Groups}} {
		tb.add(row.name, grouped(row.t.Synced), grouped(row.t.Pending), grouped(row.t.Inactive), grouped(row.t.Blocked), grouped(row.t.Failed), grouped(row.t.Released))
	}
	if err := tb.print(d.terminal); err != nil {
		return err
	}
	return d.printVital(s)
}

type appsAccountsCmd struct {
	appArg
	Text   string               `arg:"" optional:"" help:"Look for this in names."`
	Kind   string               `enum:",user,group" default:"" help:"Only user or group."`
	Status provision.LinkStatus `enum:",pending,synced,inactive,blocked,failed,released" default:"" help:"Only those that are pending, synced, inactive, blocked, failed or released."`
	limitFlag
	outputFlag
}

// resourceType is a kind of ours as SCIM calls it.
func resourceType(kind string) scim.ResourceType {
	return map[string]scim.ResourceType{"user": scim.User, "group": scim.Group}[kind]
}

func (n appsAccountsCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		a, err := d.provisioned(ctx, n.App)
		if err != nil {
			return err
		}
		views := []api.ProvisioningLink{}
		tb := newTable("KIND", "NAME", "STATUS", "IN SYNC SINCE", "REASON")
		tones := map[provision.LinkStatus]tone{
			provision.LinkSynced: good, provision.LinkPending: warn, provision.LinkBlocked: bad, provision.LinkFailed: bad,
			provision.LinkInactive: faint, provision.LinkReleased: faint,
		}
		_, more, err := pages(n.most(n.outputFlag), func(cursor string, limit int) (store.Page[provision.Link], error) {
			return d.Engine.Links(ctx, d.by, a.ID, provision.LinkQuery{Kind: resourceType(n.Kind), Status: n.Status, Text: n.Text, Cursor: cursor, Limit: limit})
		}, func(l provision.Link) {
			if n.json() {
				views = append(views, api.LinkJSON(l))
				return
			}
			tb.add(strings.ToLower(string(l.Kind)), l.Name, cell{string(l.Status), tones[l.Status]}, l.SyncedAt, l.Reason)
		})
		switch {
		case err != nil:
			return err
		case n.json():
			return d.printJSON(views)
		case len(tb.rows) == 0:
			return d.say("Nothing found.")
		}
		if err := tb.print(t); err != nil || !more {
			return err
		}
		return d.left(len(tb.rows), -1)
	})
}

type appsExplainCmd struct {
	appArg
	User string `arg:"" help:"E-mail address, user name or id."`
	outputFlag
}

func (n appsExplainCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		a, err := d.provisioned(ctx, n.App)
		if err != nil {
			return err
		}
		id, err := d.leaver(ctx, n.User)
		if err != nil {
			return err
		}
		e, err := d.Engine.Explain(ctx, d.by, a.ID, id)
		if err != nil {
			return err
		}
		if n.json() {
			return d.printJSON(api.ExplanationJSON(e))
		}
		return d.printExplanation(e)
	})
}

type appsRetryCmd struct {
	appArg
	Users  []string `arg:"" optional:"" name:"user" help:"People, by e-mail address, user name or id."`
	Group  []string `sep:"none" placeholder:"GROUP" help:"A group. Repeatable."`
	Failed bool     `help:"All that are blocked or failed."`
	outputFlag
}

func (n appsRetryCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		a, err := d.provisioned(ctx, n.App)
		if err != nil {
			return err
		}
		type object struct {
			kind scim.ResourceType
			id   string
		}
		var objects []object
		for _, ref := range n.Users {
			u, err := d.user(ctx, ref)
			if err != nil {
				return err
			}
			objects = append(objects, object{scim.User, string(u.ID)})
		}
		for _, ref := range n.Group {
			g, err := d.group(ctx, ref)
			if err != nil {
				return err
			}
			objects = append(objects, object{scim.Group, string(g.ID)})
		}
		if n.Failed {
			for _, status := range []provision.LinkStatus{provision.LinkBlocked, provision.LinkFailed} {
				if _, _, err := pages(0, func(cursor string, limit int) (store.Page[provision.Link], error) {
					return d.Engine.Links(ctx, d.by, a.ID, provision.LinkQuery{Status: status, Cursor: cursor, Limit: limit})
				}, func(l provision.Link) { objects = append(objects, object{l.Kind, l.ObjectID}) }); err != nil {
					return err
				}
			}
		} else if len(objects) == 0 {
			return problem.New(problem.Invalid, "Name people or a --group, or say --failed for all that are blocked or failed.")
		}
		for _, o := range objects {
			if err := d.Engine.RetryObject(ctx, d.by, a.ID, o.kind, o.id); err != nil {
				return err
			}
		}
		return d.done(n.outputFlag, map[string]int{"retried": len(objects)}, "%s tried again.", count(len(objects), "object is", "objects are"))
	})
}
