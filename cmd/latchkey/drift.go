package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/internal/store"
)

type driftCmd struct {
	appArg
	Now       bool                             `help:"Compare now, and wait for the report."`
	Repair    bool                             `help:"Put right all that is open; shows the operations and asks."`
	Keep      bool                             `help:"Leave all open values and memberships as they are there."`
	Hash      string                           `placeholder:"HASH" help:"With --repair: only if exactly that is still to be written."`
	Yes       bool                             `short:"y" help:"With --repair: don't ask."`
	Finding   string                           `enum:",changed,deleted,active,inactive,members,unmanaged" default:"" help:"Only these findings: changed, deleted, active, inactive, members or unmanaged."`
	Every     *int                             `placeholder:"HOURS" help:"Compare every so many hours; 0 is only when asked."`
	Policy    *string                          `placeholder:"POLICY" help:"What becomes of values that differ: report, ours, theirs or first-write."`
	Attribute map[string]provision.DriftPolicy `placeholder:"PATH=POLICY" help:"An exception for one attribute; an empty policy takes it away."`
	Deleted   *string                          `placeholder:"WAY" help:"What becomes of what was deleted there: report, recreate or park."`
	limitFlag
	outputFlag
}

// Help tells what is done and what isn't.
func (driftCmd) Help() string {
	return "Without flags it shows the newest report: what is at the application otherwise than it should be. A comparison only reads. " +
		"--repair writes through the same lanes and guards as every other change."
}

func (n driftCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		a, err := d.provisioned(ctx, n.App)
		if err != nil {
			return err
		}
		if n.Repair && n.Keep {
			return problem.New(problem.Invalid, "Say --repair or --keep, not both.")
		}
		if err := n.set(ctx, d, a); err != nil {
			return err
		}
		if n.Now {
			if err := n.compare(ctx, d, a); err != nil {
				return err
			}
		}
		switch {
		case n.Repair:
			return n.repair(ctx, d, a)
		case n.Keep:
			kept, err := d.Engine.KeepTheirs(ctx, d.by, a.ID, provision.DriftChoice{All: true})
			if err != nil {
				return err
			}
			if n.json() {
				return d.printJSON(map[string]int{"kept": kept})
			}
			return d.say("%s left as at %s.", count(kept, "object is", "objects are"), visible(a.Label))
		}
		return n.show(ctx, d, a)
	})
}

// set changes the settings that were given.
func (n driftCmd) set(ctx context.Context, d desk, a app.Application) error {
	if n.Every == nil && n.Policy == nil && n.Deleted == nil && len(n.Attribute) == 0 {
		return nil
	}
	_, err := d.Engine.SaveDrift(ctx, d.by, a.ID, func(s *provision.DriftSettings) error {
		set(&s.EveryHours, n.Every)
		set((*string)(&s.Policy), n.Policy)
		set((*string)(&s.Deleted), n.Deleted)
		for path, policy := range n.Attribute {
			if policy == "" {
				delete(s.Attributes, path)
				continue
			}
			s.Attributes[path] = policy
		}
		return nil
	})
	return flagged(err, map[string]string{"everyHours": "--every", "policy": "--policy", "deleted": "--deleted", "attributes": "--attribute"})
}

// compare compares, and waits until it is done: a running server does it; without one, this
// process does.
func (n driftCmd) compare(ctx context.Context, d desk, a app.Application) error {
	rep, err := d.Engine.Compare(ctx, d.by, a.ID)
	if err != nil {
		return err
	}
	p := d.startProgress("Comparing", 0)
	defer p.end()
	worker, stop := context.WithCancel(ctx)
	defer stop()
	var ended chan error
	begin, before := time.Now(), rep.Counts.Requests
	for rep.State == provision.DriftRunning {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
		now, err := d.Engine.Drift(ctx, d.by, a.ID)
		if err != nil {
			return err
		}
		rep = *now.Report
		p.at(rep.Counts.Users + rep.Counts.Groups)
		if rep.State != provision.DriftRunning || ended != nil || rep.Counts.Requests > before || time.Since(begin) < 1500*time.Millisecond {
			continue
		}
		taken, err := d.taken(ctx, string(a.ID))
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
	if rep.State == provision.DriftFailed {
		return problem.New(problem.Unavailable, "%s can't be compared. %s", visible(a.Label), rep.Reason)
	}
	return nil
}

func (n driftCmd) repair(ctx context.Context, d desk, a app.Application) error {
	all := provision.DriftChoice{All: true}
	hash := n.Hash
	if hash == "" {
		p, err := d.Engine.RepairPlan(ctx, d.by, a.ID, all)
		if err != nil {
			return err
		}
		if p.Objects == 0 {
			return d.say("There is nothing to put right.")
		}
		w := bufio.NewWriter(d.out)
		if !n.json() {
			fmt.Fprintf(w, "%s\n\n", d.paint(strong, "What would be written to "+visible(a.Label)))
			for _, s := range p.Steps {
				d.printStep(w, s)
			}
			fmt.Fprintln(w)
			d.printCounts(w, p.Counts)
			if p.Held != "" {
				fmt.Fprintf(w, "%-8s %s\n", "Held", d.paint(warn, p.Held))
			}
			fmt.Fprintf(w, "\nHash  %s\n", p.Hash)
			if err := w.Flush(); err != nil {
				return err
			}
		}
		if !n.Yes {
			if !isTerminal(d.in) {
				return problem.New(problem.Invalid, "Give the --hash of what you looked at, or say --yes.")
			}
			if err := d.agree(false, fmt.Sprintf("That is to be written to %s.", visible(a.Label)), "yes"); err != nil {
				return err
			}
		}
		hash = p.Hash
	}
	p, err := d.Engine.Repair(ctx, d.by, a.ID, all, hash)
	if err != nil {
		return err
	}
	if n.json() {
		return d.printJSON(p)
	}
	return d.say("%s to be put right. The server sends it; follow it: latchkey apps status %s", count(p.Objects, "person or group is", "people and groups are"), quoted(a.Label))
}

// driftOutput is the report as JSON.
type driftOutput struct {
	provision.Drift
	Findings []driftFinding `json:"findings"`
}

type driftFinding struct {
	Kind        string                      `json:"kind"`
	ObjectID    string                      `json:"objectId,omitempty"`
	RemoteID    string                      `json:"remoteId"`
	Name        string                      `json:"name"`
	Finding     provision.DriftFinding      `json:"finding"`
	State       provision.DriftState        `json:"state"`
	Differences []provision.DriftDifference `json:"differences"`
	Note        string                      `json:"note,omitempty"`
}

func (n driftCmd) show(ctx context.Context, d desk, a app.Application) error {
	now, err := d.Engine.Drift(ctx, d.by, a.ID)
	if err != nil {
		return err
	}
	out := driftOutput{Drift: now, Findings: []driftFinding{}}
	tb := newTable("FINDING", "NAME", "STATE", "WHAT", "NOTE")
	_, more, err := pages(n.most(n.outputFlag), func(cursor string, limit int) (store.Page[provision.DriftRow], error) {
		return d.Engine.DriftRows(ctx, d.by, a.ID, provision.DriftQuery{Finding: provision.DriftFinding(n.Finding), Cursor: cursor, Limit: limit})
	}, func(r provision.DriftRow) {
		kind := strings.ToLower(string(r.Kind))
		if n.json() {
			out.Findings = append(out.Findings, driftFinding{kind, r.ObjectID, r.RemoteID, r.Name, r.Finding, r.State, r.Differences, r.Note})
			return
		}
		tb.add(cell{string(r.Finding), warn}, kind+" "+r.Name, string(r.State), differencesText(r), r.Note)
	})
	switch {
	case err != nil:
		return err
	case n.json():
		return d.printJSON(out)
	}
	if err := d.printDrift(now); err != nil {
		return err
	}
	if len(tb.rows) == 0 {
		return nil
	}
	if err := d.say(""); err != nil {
		return err
	}
	if err := tb.print(d.terminal); err != nil || !more {
		return err
	}
	return d.left(len(tb.rows), -1)
}

func differencesText(r provision.DriftRow) string {
	var parts []string
	for _, x := range r.Differences {
		ours, theirs := value(x.Ours), value(x.Theirs)
		switch {
		case r.Finding == provision.FoundUnmanaged:
			parts = append(parts, x.Path+" "+theirs)
		case x.Path == "members":
			if ours != "" {
				parts = append(parts, "missing "+ours)
			}
			if theirs != "" {
				parts = append(parts, "foreign "+theirs)
			}
		default:
			parts = append(parts, fmt.Sprintf("%s: %s there, should be %s", x.Path, firstOf(theirs, "nothing"), firstOf(ours, "nothing")))
		}
	}
	return strings.Join(parts, "; ")
}

func (d desk) printDrift(x provision.Drift) error {
	var f facts
	r := x.Report
	switch {
	case r == nil:
		f.add("Compared", "never")
	case r.State == provision.DriftRunning:
		f.add("Compared", fmt.Sprintf("running: %s and %s read", count(r.Counts.Users, "account", "accounts"), count(r.Counts.Groups, "group", "groups")))
	case r.State == provision.DriftFailed:
		f.add("Compared", cell{"failed: " + r.Reason, bad})
	default:
		f.add("Compared", r.EndedAt)
		c := r.Counts
		f.add("Read", fmt.Sprintf("%s, %s", count(c.Users, "account", "accounts"), count(c.Groups, "group", "groups")))
		f.add("Differ", grouped(c.Differing()))
		unmanaged := grouped(c.Unmanaged)
		if r.ByObject {
			unmanaged = "unknown: the application can't list"
		}
		f.add("Unmanaged", unmanaged)
		if r.Held != "" {
			f.add("Held", cell{r.Held, warn})
		}
	}
	if !x.Next.IsZero() {
		f.add("Next", x.Next)
	}
	policy := string(x.Settings.Policy)
	for _, path := range slices.Sorted(maps.Keys(x.Settings.Attributes)) {
		policy += fmt.Sprintf(", %s: %s", path, x.Settings.Attributes[path])
	}
	f.add("Policy", policy)
	f.add("Deleted", string(x.Settings.Deleted))
	return f.print(d.terminal)
}
