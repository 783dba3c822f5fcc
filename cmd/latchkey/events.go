package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/api"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/internal/store"
)

type eventsCmd struct {
	List eventsListCmd `cmd:"" default:"withargs" help:"Search events, newest first; or follow them."`
	Show eventsShowCmd `cmd:"" help:"Show one event with all its details."`
}

type eventsListCmd struct {
	Text        string        `arg:"" optional:"" help:"Look for this in type, names, message and address."`
	Type        []string      `placeholder:"TYPE" help:"Only events of this type, e.g. user_create_provision. Repeatable."`
	Outcome     audit.Outcome `enum:",success,failure,denied" default:"" help:"Only with this outcome: success, failure or denied."`
	Actor       string        `placeholder:"USER" help:"Only what this person did."`
	User        string        `placeholder:"USER" help:"Only about this person."`
	Group       string        `placeholder:"GROUP" help:"Only about this group."`
	App         string        `placeholder:"APP" help:"Only at this application."`
	Correlation string        `placeholder:"ID" help:"Only what one request caused."`
	Since       string        `placeholder:"WHEN" help:"From this date or time on, or as long ago: 7d, 2h."`
	Until       string        `placeholder:"WHEN" help:"Up to this date or time."`
	Follow      bool          `short:"f" help:"Go on printing new events until Ctrl-C."`
	limitFlag
	Output string `enum:"text,json" default:"text" short:"o" help:"text, or json: one event a line."`
}

func (n eventsListCmd) query(ctx context.Context, d desk) (audit.Query, error) {
	q := audit.Query{Text: n.Text, Outcome: n.Outcome, Correlation: n.Correlation}
	known := audit.Types()
	for _, ty := range n.Type {
		if !slices.Contains(known, audit.Type(ty)) {
			return q, problem.InvalidField("--type", "--type: there is no type of event %q. There are %s.", ty, strings.Join(typeNames(known), ", "))
		}
		q.Types = append(q.Types, audit.Type(ty))
	}
	var err error
	if q.From, err = parseWhen("since", n.Since, d.Now(), true); err != nil {
		return q, err
	}
	if q.To, err = parseWhen("until", n.Until, d.Now(), true); err != nil {
		return q, err
	}
	if n.Actor != "" {
		u, err := d.user(ctx, n.Actor)
		if err != nil {
			return q, err
		}
		q.ActorID = string(u.ID)
	}
	switch {
	case n.User != "" && n.Group != "":
		return q, problem.New(problem.Invalid, "Give --user or --group, not both.")
	case n.User != "":
		// Somebody who was removed is still known to the events by id.
		q.Object = audit.Ref{Kind: audit.KindUser, ID: n.User}
		if u, err := d.user(ctx, n.User); err == nil {
			q.Object.ID = string(u.ID)
		} else if !isID(n.User) || !problem.Is(err, problem.NotFound) {
			return q, err
		}
	case n.Group != "":
		q.Object = audit.Ref{Kind: audit.KindGroup, ID: n.Group}
		if g, err := d.group(ctx, n.Group); err == nil {
			q.Object.ID = string(g.ID)
		} else if !isID(n.Group) || !problem.Is(err, problem.NotFound) {
			return q, err
		}
	}
	if n.App != "" {
		q.ApplicationID = n.App
		if a, err := d.app(ctx, n.App); err == nil {
			q.ApplicationID = string(a.ID)
		} else if !isID(n.App) || !problem.Is(err, problem.NotFound) {
			return q, err
		}
	}
	return q, nil
}

func typeNames(types []audit.Type) []string {
	out := make([]string, len(types))
	for i, ty := range types {
		out[i] = string(ty)
	}
	return out
}

func (n eventsListCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		q, err := n.query(ctx, d)
		if err != nil {
			return err
		}
		if n.Follow {
			return n.follow(ctx, d, q)
		}
		isJSON := n.Output == "json"
		narrow := d.width() > 0 && d.width() < 130
		tb := newTable("TIME", "TYPE", "OUTCOME", "ACTOR", "OBJECT", "MESSAGE")
		if narrow { // the message names the object
			tb = newTable("TIME", "TYPE", "ACTOR", "MESSAGE")
		}
		var failed error
		_, more, err := pages(n.most(outputFlag{n.Output}), func(cursor string, limit int) (store.Page[audit.Event], error) {
			q.Cursor, q.Limit = cursor, limit
			return d.Events.Search(ctx, d.by, q)
		}, func(e audit.Event) {
			if isJSON {
				failed = errors.Join(failed, d.printLine(api.EventJSON(e)))
				return
			}
			if narrow {
				what := outcomeCell(e.Outcome)
				what.text = string(e.Type)
				if e.Outcome != audit.Success {
					what.text += " (" + string(e.Outcome) + ")"
				}
				tb.add(e.At, what, firstOf(e.Actor.Name, string(e.Actor.Kind)), firstOf(e.Message, e.Object.Name))
				return
			}
			tb.add(e.At, e.Type, outcomeCell(e.Outcome), firstOf(e.Actor.Name, string(e.Actor.Kind)), e.Object.Name, e.Message)
		})
		switch {
		case err != nil:
			return err
		case isJSON:
			return failed
		case len(tb.rows) == 0:
			return d.say("Nothing found.")
		}
		if err := tb.print(t); err != nil || !more {
			return err
		}
		return d.left(len(tb.rows), -1)
	})
}

func outcomeCell(o audit.Outcome) cell {
	return cell{string(o), map[audit.Outcome]tone{audit.Success: good, audit.Failure: bad, audit.Denied: warn}[o]}
}

// followOverlap is how far back each look goes: an event that was written early and stored
// late would be missed otherwise.
const followOverlap = 15 * time.Second

// follow prints events as they come, oldest first.
func (n eventsListCmd) follow(ctx context.Context, d desk, q audit.Query) error {
	seen := map[string]time.Time{}
	latest := d.Now()
	if !q.From.IsZero() {
		latest = q.From
	}
	begin := latest
	for {
		q.From = latest.Add(-followOverlap)
		if q.From.Before(begin) {
			q.From = begin
		}
		var fresh []audit.Event
		if _, _, err := pages(0, func(cursor string, limit int) (store.Page[audit.Event], error) {
			q.Cursor, q.Limit = cursor, limit
			return d.Events.Search(ctx, d.by, q)
		}, func(e audit.Event) {
			if _, old := seen[e.ID]; !old {
				seen[e.ID] = e.At
				fresh = append(fresh, e)
			}
		}); err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // Ctrl-C is how following ends
			}
			return err
		}
		slices.Reverse(fresh)
		for _, e := range fresh {
			if e.At.After(latest) {
				latest = e.At
			}
			if err := n.print(d, e); err != nil {
				return err
			}
		}
		for id, at := range seen {
			if at.Before(latest.Add(-2 * followOverlap)) {
				delete(seen, id)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func (n eventsListCmd) print(d desk, e audit.Event) error {
	if n.Output == "json" {
		return d.printLine(api.EventJSON(e))
	}
	o := outcomeCell(e.Outcome)
	return d.say("%s  %s  %s  %s", moment(e.At), d.paint(o.tone, string(e.Type)), visible(firstOf(e.Actor.Name, string(e.Actor.Kind))), visible(firstOf(e.Message, e.Object.Name)))
}

type eventsShowCmd struct {
	ID string `arg:"" help:"Id of the event."`
	outputFlag
}

func (n eventsShowCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		e, err := d.Events.Get(ctx, d.by, n.ID)
		if err != nil {
			return err
		}
		if n.json() {
			return d.printJSON(api.EventJSON(e))
		}
		var f facts
		f.add("Time", e.At)
		f.add("Type", cell{string(e.Type), strong})
		f.add("Outcome", outcomeCell(e.Outcome))
		f.add("Actor", e.Actor.Name)
		f.add("Address", e.Actor.Address)
		f.add("Object", strings.TrimSpace(e.Object.Kind+" "+e.Object.Name))
		f.add("Object id", e.Object.ID)
		f.add("Application", e.ApplicationID)
		f.add("Message", e.Message)
		f.add("Follows from", e.Cause)
		f.add("Correlation", e.Actor.Correlation)
		f.add("Id", e.ID)
		for _, ch := range e.Changes {
			f.add(ch.Attribute, fmt.Sprintf("%s → %s", firstOf(value(ch.Old), "nothing"), firstOf(value(ch.New), "nothing")))
		}
		if err := f.print(t); err != nil || len(e.Detail) == 0 {
			return err
		}
		d.heading("Detail")
		b, err := json.MarshalIndent(e.Detail, "", "  ")
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(b)) {
			if err := d.say("%s", visible(strings.TrimRight(line, "\n"))); err != nil {
				return err
			}
		}
		return nil
	})
}
