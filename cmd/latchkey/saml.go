package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/idp"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// samlCmd looks into sign-on: what was exchanged, what would be, and what a message says.
type samlCmd struct {
	Inspect   samlInspectCmd   `cmd:"" help:"Decode a SAML message and tell what each check says about it."`
	Exchanges samlExchangesCmd `cmd:"" help:"List the last exchanges with an application, or show one."`
	Simulate  samlSimulateCmd  `cmd:"" help:"Show what an application would be told about a person."`
}

// signOn is the identity provider without a server around it.
func (d desk) signOn() *idp.IDP {
	return idp.New(idp.Config{
		DB: d.DB, Apps: d.Apps, Authn: d.Authn, Catalog: d.Catalog, Pairs: d.Pairs, PublicURL: d.Config.PublicURL, Now: d.Now, Log: d.Log,
		ClientAddress: func(*http.Request) string { return "" },
	})
}

type samlInspectCmd struct {
	Message string `arg:"" default:"-" help:"A file, - for standard input, or the message itself: a URL, a query, base64 or XML."`
	App     string `placeholder:"APP" help:"The application that it is for. Left out, the message's issuer or destination tells."`
	All     bool   `help:"Show the checks that passed, too, and what the standard says."`
	Redact  bool   `help:"Mask names, attribute values and signatures in what is shown."`
	outputFlag
}

// Help tells where a message is found.
func (samlInspectCmd) Help() string {
	return "Copy the address of the browser's request to /saml2/…, or the value of SAMLRequest or SAMLResponse from its network tools. Nothing is acted upon. The exit code is 1 if a check failed."
}

const maxPasted = 1 << 20

func (n samlInspectCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	text := n.Message
	if _, err := os.Stat(filepath.Clean(text)); err == nil || text == "-" {
		b, err := t.readFile(text, maxPasted)
		if err != nil {
			return err
		}
		text = string(b)
	}
	return at(ctx, c, t, func(d desk) error {
		a, err := n.application(ctx, d, text)
		if err != nil {
			return err
		}
		x, err := d.signOn().Inspect(ctx, d.by, a.ID, text)
		if err != nil {
			return err
		}
		if n.Redact {
			x.XML, x.RelayState = x.Redacted, ""
		}
		if n.json() {
			err = d.printJSON(x)
		} else {
			err = n.print(d, a, x)
		}
		if err == nil && x.Failed > 0 {
			err = problem.New(problem.Internal, "%s.", counted(x.Failed, "check failed", "checks failed"))
		}
		return err
	})
}

// application finds whom a message is for.
func (n samlInspectCmd) application(ctx context.Context, d desk, text string) (app.Application, error) {
	if n.App != "" {
		return d.app(ctx, n.App)
	}
	in, err := saml.ReadPasted(text)
	if err != nil && len(in.XML()) == 0 {
		said := "This can't be read as a SAML message."
		if e, ok := errors.AsType[*saml.Error](err); ok {
			said = e.Text
		}
		return app.Application{}, problem.Wrap(problem.Invalid, err, "%s", said)
	}
	var issued, addressed []app.Application
	q := app.Query{Limit: 1000}
	for {
		page, err := d.Apps.List(ctx, d.by, q)
		if err != nil {
			return app.Application{}, err
		}
		for _, a := range page.Items {
			u := d.Apps.URLs(a)
			switch {
			case !a.SAML.Offered:
			case a.SAML.SPEntityID != "" && in.Issuer() == a.SAML.SPEntityID:
				issued = append(issued, a)
			case u.SSO != "" && (strings.Contains(text, u.SSO) || strings.Contains(string(in.XML()), u.SSO)),
				in.Issuer() != "" && in.Issuer() == a.SAML.IDPEntityID:
				addressed = append(addressed, a)
			}
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	switch {
	case len(issued) == 1:
		return issued[0], nil
	case len(issued) == 0 && len(addressed) == 1:
		return addressed[0], nil
	}
	return app.Application{}, problem.New(problem.Invalid, "Which application it is for can't be told from the message (issuer %q). Name it with --app.", visible(in.Issuer()))
}

func (n samlInspectCmd) print(d desk, a app.Application, x idp.Inspection) error {
	var f facts
	f.add("Message", x.Message)
	f.add("Application", a.Label)
	f.add("Issuer", x.Issuer)
	f.add("Binding", bindingName(x.Binding))
	f.add("RelayState", x.RelayState)
	if err := f.print(d.terminal); err != nil {
		return err
	}
	if err := d.say("\n%s\n", lines(x.XML)); err != nil {
		return err
	}
	return d.printFindings(x.Findings, n.All)
}

// lines is XML to be read on a terminal: what would steer it is replaced, but lines stay lines.
func lines(xml string) string {
	parts := strings.Split(strings.TrimRight(xml, "\n"), "\n")
	for i := range parts {
		parts[i] = visible(strings.ReplaceAll(parts[i], "\t", "  "))
	}
	return strings.Join(parts, "\n")
}

// bindingName is the last part of a binding's URI.
func bindingName(uri string) string { return uri[strings.LastIndex(uri, ":")+1:] }

// printFindings prints what each check says. Those that passed or had nothing to check are only counted, unless all are
// wanted.
func (d desk) printFindings(list []saml.Finding, all bool) error {
	marks := map[saml.Verdict]cell{
		saml.Pass: {"pass", good}, saml.Fail: {"FAIL", bad}, saml.Warn: {"warn", warn}, saml.Skip: {"  – ", faint},
	}
	passed, idle := 0, 0
	for _, x := range list {
		if !all && (x.Verdict == saml.Pass || x.Verdict == saml.Skip) {
			if x.Verdict == saml.Pass {
				passed++
			} else {
				idle++
			}
			continue
		}
		m := marks[x.Verdict]
		if err := d.say("%s  %s", d.paint(m.tone, m.text), d.paint(strong, visible(x.Check))); err != nil {
			return err
		}
		if err := d.wrapped("      ", x.Text); err != nil {
			return err
		}
		if all || x.Verdict == saml.Fail {
			if err := d.wrapped("      ", "Rule: "+x.Rule+" ("+x.Source+")"); err != nil {
				return err
			}
		}
	}
	if all || passed+idle == 0 {
		return nil
	}
	return d.say("%s", d.paint(faint, fmt.Sprintf("%s, %s; --all shows them.", counted(passed, "check passed", "checks passed"), counted(idle, "had nothing to check", "had nothing to check"))))
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return grouped(n) + " " + many
}

type samlExchangesCmd struct {
	appArg
	Exchange string `arg:"" optional:"" help:"Id of the exchange to show in full; last is the newest."`
	All      bool   `help:"With an exchange: show the checks that passed, too, and what the standard says."`
	Bundle   string `placeholder:"FILE" help:"With an exchange: write it, with the settings that it rests on, to a file that may be given to others; - for standard output."`
	limitFlag
	outputFlag
}

// Help tells what is kept.
func (samlExchangesCmd) Help() string {
	return "The last 50 exchanges of each application are kept; of very many at once not all. Names, attribute values and signatures were masked before."
}

func (n samlExchangesCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		a, err := d.app(ctx, n.App)
		if err != nil {
			return err
		}
		if n.Exchange != "" {
			return n.show(ctx, d, a)
		}
		tb := newTable("WHEN", "KIND", "OUTCOME", "PERSON", "REASON", "FAILED CHECKS", "ID").figures(5)
		list, in := []idp.Exchange{}, d.signOn()
		total, more, err := pages(n.most(n.outputFlag), func(cursor string, limit int) (store.Page[idp.Exchange], error) {
			return in.Exchanges(ctx, d.by, a.ID, cursor, limit)
		}, func(x idp.Exchange) {
			list = append(list, x)
			outcome := cell{string(x.Outcome), good}
			if x.Outcome != "success" {
				outcome.tone = bad
			}
			tb.add(moment(x.At), strings.ReplaceAll(string(x.Kind), "_", " "), outcome, x.UserName, x.Reason, grouped(x.Failed), x.ID)
		})
		if err != nil {
			return err
		}
		if n.json() {
			return d.printJSON(list)
		}
		if len(list) == 0 {
			return d.say("Nothing was exchanged with %s yet.", visible(a.Label))
		}
		if err := tb.print(d.terminal); err != nil || !more {
			return err
		}
		return d.left(len(list), total)
	})
}

func (n samlExchangesCmd) show(ctx context.Context, d desk, a app.Application) error {
	in, id := d.signOn(), n.Exchange
	if id == "last" {
		page, err := in.Exchanges(ctx, d.by, a.ID, "", 1)
		if err != nil {
			return err
		}
		if len(page.Items) == 0 {
			return problem.New(problem.NotFound, "Nothing was exchanged with %s yet.", visible(a.Label))
		}
		id = page.Items[0].ID
	}
	x, err := in.Exchange(ctx, d.by, id)
	if err == nil && x.ApplicationID != a.ID {
		err = problem.New(problem.NotFound, "This exchange wasn't with %s.", visible(a.Label))
	}
	if err != nil {
		return err
	}
	if n.Bundle != "" {
		b, err := in.Bundle(ctx, d.by, id)
		if err != nil {
			return err
		}
		if n.Bundle == "-" {
			return d.say("%s", b)
		}
		if err := os.WriteFile(filepath.Clean(n.Bundle), append(b, '\n'), 0o600); err != nil {
			return problem.Wrap(problem.Invalid, err, "--bundle: %s can't be written: %v.", n.Bundle, err)
		}
		return d.say("%s was written. It holds the settings of %s and the exchange, without secrets.", n.Bundle, visible(a.Label))
	}
	if n.json() {
		return d.printJSON(x)
	}
	var f facts
	f.add("When", moment(x.At))
	f.add("Kind", strings.ReplaceAll(string(x.Kind), "_", " "))
	f.add("Outcome", string(x.Outcome))
	f.add("Reason", x.Reason)
	f.add("Person", x.UserName)
	f.add("Request id", x.Correlation)
	if err := f.print(d.terminal); err != nil {
		return err
	}
	for _, part := range []struct {
		name string
		m    *idp.ExchangedMessage
	}{{"Request", x.Request}, {"Answer", x.Response}} {
		if part.m == nil {
			continue
		}
		d.heading("%s, by %s", part.name, bindingName(part.m.Binding))
		if err := d.say("%s\n", lines(part.m.XML)); err != nil {
			return err
		}
		if err := d.printFindings(part.m.Findings, n.All); err != nil {
			return err
		}
	}
	return nil
}

type samlSimulateCmd struct {
	appArg
	Person string `arg:"" help:"E-mail address, username or id."`
	Format string `placeholder:"URI" help:"NameID format that the application is thought to ask for."`
	ACS    string `name:"acs" placeholder:"URL" help:"One of its assertion consumer services; the default one when left out."`
	XML    bool   `name:"xml" help:"Print the response, too. It is unsigned and a day old: nobody gets in with it."`
	outputFlag
}

// Help tells that nobody is signed in.
func (samlSimulateCmd) Help() string {
	return "Nobody is signed in by it, and no name is made for good. The exit code is 1 if the person would not get in."
}

func (n samlSimulateCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		a, err := d.app(ctx, n.App)
		if err != nil {
			return err
		}
		u, err := d.user(ctx, n.Person)
		if err != nil {
			return err
		}
		x, err := d.signOn().Simulate(ctx, d.by, a.ID, u.ID, idp.SimulateOptions{NameIDFormat: n.Format, ACS: n.ACS})
		if err != nil {
			return flagged(err, map[string]string{"nameIdFormat": "--format", "acs": "--acs"})
		}
		if n.json() {
			err = d.printJSON(x)
		} else {
			err = n.print(d, u.Name(), a.Label, x)
		}
		if err == nil && !x.Granted {
			err = problem.New(problem.Internal, "%s would not get in.", visible(u.Name()))
		}
		return err
	})
}

func (n samlSimulateCmd) print(d desk, person, label string, x idp.Simulation) error {
	for _, text := range x.Refusals {
		if err := d.wrapped("      ", text); err != nil {
			return err
		}
	}
	var f facts
	f.add("Person", person)
	f.add("Application", label)
	f.add("By groups", strings.Join(x.Groups, ", "))
	f.add("NameID", x.NameID.Value)
	f.add("", x.NameIDNote)
	f.add("Format", bindingName(x.NameID.Format))
	f.add("Sent to", x.Destination)
	f.add("Signed", x.Signed)
	f.add("Encrypted", yes(x.Encrypted))
	f.add("Proof", bindingName(x.AuthnContext))
	if err := f.print(d.terminal); err != nil {
		return err
	}
	if len(x.Attributes) > 0 {
		d.heading("Attributes")
		tb := newTable("NAME", "VALUE")
		for _, at := range x.Attributes {
			name := at.Name
			if u, err := url.Parse(name); err == nil && u.Host != "" && at.FriendlyName != "" {
				name = at.FriendlyName
			}
			tb.add(name, strings.Join(at.Values, ", "))
		}
		if err := tb.print(d.terminal); err != nil {
			return err
		}
	}
	if n.XML && x.XML != "" {
		d.heading("Response, unsigned and out of date")
		return d.say("%s", lines(x.XML))
	}
	return nil
}
