package main

import (
	"context"
	"fmt"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/server"
)

type appsMetadataCmd struct {
	appArg
	Act     string `arg:"" optional:"" enum:",show,watch,check,approve,dismiss,stop" default:"" help:"show (default), watch (an address), check (fetch it now), approve or dismiss (the changes that were found), stop."`
	URL     string `name:"url" placeholder:"URL" help:"watch: where the other side's metadata is."`
	Entity  string `placeholder:"TEXT" help:"watch: which entity ID is meant, if the document describes several."`
	Signer  string `placeholder:"FILE" help:"watch: certificate (PEM) whose signature the document must carry."`
	Changes string `name:"hash" placeholder:"HASH" help:"approve, dismiss: the hash of the changes, as shown; others are refused. Left out, those that wait now are shown and asked about."`
	Yes     bool   `short:"y" help:"Don't ask."`
	outputFlag
}

// Help tells that nothing is taken without a word.
func (appsMetadataCmd) Help() string {
	return "Changes found at the address wait until they are approved. `latchkey apps saml APP --metadata FILE` takes a file at once."
}

// metadataView is a watched address as JSON.
type metadataView struct {
	Watched bool                `json:"watched"`
	Source  *app.MetadataSource `json:"source,omitempty"`
}

func (n appsMetadataCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		a, err := d.app(ctx, n.App)
		if err != nil {
			return err
		}
		switch n.Act {
		case "watch":
			err = n.watch(ctx, d, a)
		case "check":
			_, err = d.Apps.CheckMetadataNow(ctx, d.by, a.ID)
		case "approve", "dismiss":
			err = n.decide(ctx, d, a)
		case "stop":
			err = d.Apps.UnwatchMetadata(ctx, d.by, a.ID)
		}
		if err != nil {
			return flagged(err, map[string]string{"url": "--url", "entityId": "--entity", "signingCertificate": "--signer"})
		}
		src, ok, err := d.Apps.MetadataSource(ctx, d.by, a.ID)
		if err != nil {
			return err
		}
		if n.json() {
			v := metadataView{Watched: ok}
			if ok {
				v.Source = &src
			}
			return d.printJSON(v)
		}
		if !ok {
			return d.say("No metadata is watched for %s.", visible(a.Label))
		}
		return n.print(d, src)
	})
}

func (n appsMetadataCmd) watch(ctx context.Context, d desk, a app.Application) error {
	if n.URL == "" {
		return problem.New(problem.Invalid, "Give --url.")
	}
	w := app.MetadataWatch{URL: n.URL, EntityID: n.Entity}
	if n.Signer != "" {
		b, err := d.readFile(n.Signer, app.MaxSPMetadata)
		if err != nil {
			return err
		}
		w.SigningCertificate = string(b)
	}
	_, err := d.Apps.WatchMetadata(ctx, d.by, a.ID, w)
	return err
}

// decide approves or dismisses. Without a hash the changes that wait are shown first.
func (n appsMetadataCmd) decide(ctx context.Context, d desk, a app.Application) error {
	hash := n.Changes
	if hash == "" {
		src, ok, err := d.Apps.MetadataSource(ctx, d.by, a.ID)
		if err != nil {
			return err
		}
		if !ok || src.Proposal == nil {
			return problem.New(problem.Conflict, "Nothing waits for approval.")
		}
		hash = src.Proposal.Hash
		if n.Act == "approve" {
			if !n.json() {
				if err := d.printProposal(*src.Proposal, n.outputFlag); err != nil {
					return err
				}
			}
			if err := d.agree(n.Yes, fmt.Sprintf("Sign-on to %s uses these values at once.", visible(a.Label)), "approve"); err != nil {
				return err
			}
		}
	}
	if n.Act == "dismiss" {
		return d.Apps.DismissMetadata(ctx, d.by, a.ID, hash)
	}
	_, err := d.Apps.ApproveMetadata(ctx, d.by, a.ID, hash)
	return err
}

func (n appsMetadataCmd) print(d desk, src app.MetadataSource) error {
	var f facts
	f.add("Address", src.URL)
	f.add("Entity ID", src.EntityID)
	if src.SigningCertificate != "" {
		f.add("Signature", "demanded")
	}
	f.add("Last check", src.CheckedAt)
	f.add("Last change", src.ChangedAt)
	f.add("Next check", src.NextAt)
	f.add("Valid until", src.ValidUntil)
	if src.Error != "" {
		f.add("Error", cell{src.Error, bad})
	}
	if err := f.print(d.terminal); err != nil {
		return err
	}
	if src.Proposal == nil {
		return nil
	}
	d.heading("Waits for approval")
	return d.printProposal(*src.Proposal, n.outputFlag)
}

// printProposal prints what taking a document's values would change.
func (d desk) printProposal(p app.MetadataProposal, o outputFlag) error {
	if o.json() {
		return d.printJSON(p)
	}
	if len(p.Changes) == 0 {
		if err := d.say("Nothing would change."); err != nil {
			return err
		}
	} else {
		tb := newTable("SETTING", "NOW", "NEW")
		for _, c := range p.Changes {
			tb.add(c.Attribute, firstOf(value(c.Old), "nothing"), firstOf(value(c.New), "nothing"))
		}
		if err := tb.print(d.terminal); err != nil {
			return err
		}
		if err := d.say("%s", d.paint(faint, "hash "+p.Hash)); err != nil {
			return err
		}
	}
	return d.warn(p.Notes)
}
