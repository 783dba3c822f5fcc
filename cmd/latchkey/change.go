package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/api"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision"
)

// approvalFlags say that a change's plan was looked at.
type approvalFlags struct {
	Hash string `placeholder:"HASH" help:"Make the change only if it would send the plan with this hash. While provisioning is on, a change that would send something shows its plan first."`
	Yes  bool   `short:"y" help:"Don't show the plan and ask."`
}

// change makes a change of what an application provisions. While provisioning is active, its plan
// is approved by the hash that was given, by somebody at the terminal who sees it, or by --yes.
func (d desk) change(ctx context.Context, a app.Application, c app.SCIMChange, f approvalFlags, o outputFlag) (app.Application, error) {
	hash := f.Hash
	const attempts = 5
	for try := 0; ; try++ {
		out, _, err := d.Engine.Apply(ctx, d.by, a.ID, c, hash)
		u, ok := errors.AsType[*provision.Unapproved](err)
		switch {
		case !ok:
			return out, err
		case f.Yes && f.Hash == "" && try < attempts:
			hash = u.Plan.Hash
		case f.Hash == "" && !f.Yes && isTerminal(d.in) && !o.json() && try < attempts:
			if err := d.printChange(a, u.Plan); err != nil {
				return a, err
			}
			if err := d.agree(false, fmt.Sprintf("That would be sent to %s now.", visible(a.Label)), "yes"); err != nil {
				return a, err
			}
			hash = u.Plan.Hash
		default:
			if !o.json() {
				if err := d.printChange(a, u.Plan); err != nil {
					return a, err
				}
			}
			return a, problem.Wrap(problem.Conflict, err, "%s To make the change by this plan, give --hash %s.", u.Error(), u.Plan.Hash)
		}
	}
}

// printChange prints the plan of a change that wasn't made.
func (d desk) printChange(a app.Application, p provision.Preview) error {
	return d.printPlan(fmt.Sprintf("What the change would send to %s", visible(a.Label)), a, p, 20)
}

// changeFile reads a change as the API takes it; groups go by name or id.
func (d desk) changeFile(ctx context.Context, file string) (app.SCIMChange, error) {
	raw, err := d.readFile(file, 1<<20)
	if err != nil {
		return app.SCIMChange{}, err
	}
	var c api.ProvisioningChange
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return app.SCIMChange{}, problem.Wrap(problem.Invalid, err, "%s: This isn't a change: %s. It is an object with settings, bind and unbind.", file, strings.TrimPrefix(err.Error(), "json: "))
	}
	for _, list := range [][]directory.GroupID{c.Bind, c.Unbind} {
		for i, ref := range list {
			g, err := d.group(ctx, string(ref))
			if err != nil {
				return app.SCIMChange{}, inFile(err, file)
			}
			list[i] = g.ID
		}
	}
	return c.SCIMChange(), nil
}
