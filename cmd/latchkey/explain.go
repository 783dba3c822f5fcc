package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/api"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/provision/plan"
	"github.com/latchkey-idp/latchkey/internal/server"
)

type explainCmd struct {
	User string `arg:"" help:"E-mail address, user name or id; of somebody who was deleted also the name."`
	App  string `arg:"" help:"Label, last part of the IdP URL, or id."`
	outputFlag
}

func (n explainCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
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

// leaver finds a person who may have been deleted.
func (d desk) leaver(ctx context.Context, ref string) (directory.UserID, error) {
	u, err := d.user(ctx, ref)
	if !problem.Is(err, problem.NotFound) {
		return u.ID, err
	}
	id, gone := d.Engine.FindLeaver(ctx, d.by, ref)
	if problem.Is(gone, problem.NotFound) {
		return id, err // it says who may be meant
	}
	return id, gone
}

func (d desk) printExplanation(e provision.Explanation) error {
	if err := d.say("%s\n", visible(e.Sentence)); err != nil {
		return err
	}
	var f facts
	f.add("Person", cell{e.Name, strong})
	f.add("Should have an account", yes(e.Want == plan.Present))
	f.add("Because", e.Why)
	f.add("Via", strings.Join(names(e.Via), ", "))
	for _, g := range e.Grants {
		f.add("Since", joined(moment(g.Since), g.Cause.Message, by(g.Cause.Actor)))
	}
	f.add("Account", e.Link.RemoteID)
	f.add("Status", e.Link.Status)
	f.add("Reason", e.Link.Reason)
	f.add("Missing", strings.Join(e.Missing, ", "))
	f.add("In sync since", e.Since)
	for _, p := range e.Pending {
		f.add("To be sent", p.Text)
	}
	if e.Waiting != nil {
		f.add("Waiting since", e.Waiting.Since)
		f.add("Asked for by", joined(e.WaitingCause.Message, by(e.WaitingCause.Actor)))
		f.add("Tried", count(e.Waiting.Attempts, "time", "times"))
	}
	f.add("Held by", e.WaitingFor)
	f.add("Next try", e.NextTry)
	if e.Receipt != nil {
		f.add("Receipt", joined(string(e.Receipt.State), string(e.Receipt.Outcome), e.Receipt.Finding))
	}
	if err := f.print(d.terminal); err != nil || len(e.Sent) == 0 {
		return err
	}
	tb := newTable("SENT", "WHAT", "ANSWER", "BECAUSE")
	for _, s := range e.Sent {
		answer := cell{text: "-"}
		if s.Answer > 0 {
			answer.text = strconv.Itoa(s.Answer)
		}
		if s.Outcome != "success" {
			answer.tone = bad
		}
		tb.add(moment(s.At), s.Message, answer, joined(s.Cause.Message, by(s.Cause.Actor)))
	}
	if err := d.say(""); err != nil {
		return err
	}
	return tb.print(d.terminal)
}

func by(actor string) string {
	if actor == "" {
		return ""
	}
	return "by " + actor
}

// joined joins what there is.
func joined(parts ...string) string {
	var out []string
	for _, p := range parts {
		if p != "" {
			out = append(out, p)
		}
	}
	return strings.Join(out, " ")
}

type receiptCmd struct {
	User  string `arg:"" help:"E-mail address, user name or id; of somebody who was deleted also the name."`
	Check bool   `help:"Exit code 6 if an account isn't proved to be off."`
	outputFlag
}

// Help tells what is in a receipt.
func (receiptCmd) Help() string {
	return "For each application that the person left: when access ended, which request switched the account off, and what was found when the account was read back. It works for people who were deleted, too."
}

func (n receiptCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		id, err := d.leaver(ctx, n.User)
		if err != nil {
			return err
		}
		r, err := d.Engine.Receipt(ctx, d.by, id)
		if err != nil {
			return err
		}
		if n.json() {
			err = d.printJSON(r)
		} else {
			err = d.printReceipt(r)
		}
		if err == nil && n.Check && !r.Complete {
			err = problem.New(problem.Unavailable, "%s", r.Sentence)
		}
		return err
	})
}

func (d desk) printReceipt(r provision.Receipt) error {
	tone := good
	switch {
	case r.Overdue > 0:
		tone = bad
	case !r.Complete:
		tone = warn
	}
	if err := d.say("%s\n", d.paint(tone, visible(r.Sentence))); err != nil {
		return err
	}
	var f facts
	f.add("Person", cell{r.Name, strong})
	f.add("E-mail", r.Email)
	f.add("Id", r.UserID)
	f.add("State", r.State)
	f.add("Access ended", joined(moment(r.Ended.At), r.Ended.Message, by(r.Ended.Actor)))
	f.add("Open sessions", strconv.Itoa(r.Sessions))
	f.add("As of", r.At)
	if err := f.print(d.terminal); err != nil || len(r.Items) == 0 {
		return err
	}
	tb := newTable("APPLICATION", "ACCESS ENDED", "DEACTIVATED", "READ BACK", "RESULT", "FOUND")
	for _, i := range r.Items {
		result, found := cell{string(i.State), warn}, i.Why
		if i.State == provision.ReceiptClosed {
			result, found = cell{string(i.Outcome), good}, i.Finding
			if i.Outcome == provision.Unreadable || i.Outcome == provision.NothingThere || i.Outcome == provision.ByHand {
				result.tone = faint
			}
		}
		if i.Overdue {
			result = cell{"overdue", bad}
		}
		tb.add(i.Label, orDash(moment(i.EndedAt)), orDash(joined(moment(i.SentAt), i.Request)), orDash(moment(i.ReadAt)), result, found)
	}
	if err := d.say(""); err != nil {
		return err
	}
	return tb.print(d.terminal)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

type healthCmd struct {
	App   string `arg:"" optional:"" help:"Label, last part of the IdP URL, or id; all applications without it."`
	Check bool   `help:"Exit code 6 if something needs somebody."`
	outputFlag
}

func (n healthCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		var list []api.Health
		add := func(a app.Application) error {
			s, err := d.Engine.Status(ctx, d.by, a.ID)
			list = append(list, api.Health{ApplicationID: a.ID, Label: a.Label, Status: s})
			return err
		}
		if n.App != "" {
			a, err := d.provisioned(ctx, n.App)
			if err != nil {
				return err
			}
			if err := add(a); err != nil {
				return err
			}
		} else {
			q := app.Query{Limit: 500}
			for {
				page, err := d.Apps.List(ctx, d.by, q)
				if err != nil {
					return err
				}
				for _, a := range page.Items {
					if !a.SCIM.Offered {
						continue
					}
					if err := add(a); err != nil {
						return err
					}
				}
				if q.Cursor = page.Next; q.Cursor == "" {
					break
				}
			}
		}
		ill := 0
		for _, h := range list {
			if h.Level == "warn" || h.Level == "danger" {
				ill++
			}
		}
		if err := n.print(d, list); err != nil {
			return err
		}
		if n.Check && ill > 0 {
			return problem.New(problem.Unavailable, "%s somebody.", count(ill, "application needs", "applications need"))
		}
		return nil
	})
}

func (n healthCmd) print(d desk, list []api.Health) error {
	switch {
	case n.json() && n.App != "":
		return d.printJSON(list[0])
	case n.json():
		if list == nil {
			list = []api.Health{}
		}
		return d.printJSON(list)
	case n.App != "":
		if err := d.say("%s", d.paint(levelTone(list[0].Level), visible(list[0].Sentence))); err != nil {
			return err
		}
		return d.printVital(list[0].Status)
	}
	tb := newTable("APPLICATION", "WAITING", "OLDEST", "PARKED", "LAST ANSWER", "HOW IT STANDS").figures(1, 3)
	for _, h := range list {
		oldest := "-"
		if h.OldestSeconds > 0 {
			oldest = roughly(h.OldestSeconds)
		}
		tb.add(h.Label, grouped(h.Waiting), oldest, grouped(h.Parked), orDash(moment(h.LastAnswer)), cell{h.Sentence, levelTone(h.Level)})
	}
	return tb.print(d.terminal)
}

func levelTone(level string) tone {
	return map[string]tone{"ok": good, "warn": warn, "danger": bad}[level]
}

func roughly(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}

// printVital tells by what one sees that provisioning lives.
func (d desk) printVital(s provision.Status) error {
	var f facts
	f.add("Waiting", grouped(s.Waiting))
	f.add("Oldest waits since", s.OldestWaiting)
	if s.Parked > 0 {
		f.add("Needs a person", cell{grouped(s.Parked), warn})
	}
	f.add("Last good answer", orDash(moment(s.LastAnswer)))
	if !s.SilentSince.IsZero() {
		f.add("Silent", cell{"told " + moment(s.SilentSince), bad})
	}
	if s.Failures > 0 {
		f.add("Failures in a row", cell{grouped(s.Failures), warn})
	}
	if s.Budget.Limited {
		f.add("Budget", fmt.Sprintf("%s left at once, %s a second", count(s.Budget.Left, "request", "requests"), strconv.FormatFloat(s.Budget.PerSecond, 'g', -1, 64)))
	}
	if s.ObjectsPerSecond > 0 {
		f.add("Speed", fmt.Sprintf("%.1f people and groups a second", s.ObjectsPerSecond))
	}
	f.add("Done at about", s.FinishAt)
	f.add("Left alone until", s.HeldTill)
	f.add("Token ends", day(s.TokenExpiresAt))
	if s.Receipts.Open > 0 {
		open := cell{grouped(s.Receipts.Open), warn}
		if s.Receipts.Overdue > 0 {
			open = cell{fmt.Sprintf("%s, %s for too long", grouped(s.Receipts.Open), grouped(s.Receipts.Overdue)), bad}
		}
		f.add("Leavers not proved off", open)
	}
	return f.print(d.terminal)
}
