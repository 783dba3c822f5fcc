package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/api"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/server"
)

type appsSAMLCmd struct {
	appArg
	IDPEntityID           *string  `name:"idp-entity-id" placeholder:"TEXT" help:"How we call ourselves towards this application; empty is our metadata URL."`
	SPEntityID            *string  `name:"sp-entity-id" placeholder:"TEXT" help:"Entity ID of the other side."`
	ACS                   []string `name:"acs" sep:"none" placeholder:"URL" help:"ACS URL of the other side, whole. Repeatable: the first is the default, and their order is their index."`
	RelayState            *string  `name:"relay-state" placeholder:"TEXT" help:"RelayState of sign-on that starts at the portal."`
	Metadata              string   `placeholder:"FILE" help:"Take entity ID, ACS URLs and certificates from the other side's metadata; - for standard input."`
	Entity                string   `placeholder:"TEXT" help:"With --metadata: which entity ID is meant, if the file describes several."`
	DryRun                bool     `help:"With --metadata: only tell what would change."`
	Sign                  string   `enum:",assertion,response,both" default:"" help:"What is signed: assertion, response or both."`
	SignatureAlgorithm    *string  `placeholder:"URI" help:"XML signature algorithm."`
	RequireSignedRequests *bool    `negatable:"" help:"Refuse requests that aren't signed."`
	SPCertificate         []string `name:"sp-certificate" sep:"none" placeholder:"FILE" help:"Certificate (PEM) that requests are signed with. Repeatable; replaces all."`
	SLOURL                *string  `name:"slo-url" placeholder:"URL" help:"Single logout service of the other side."`
	SLOBinding            string   `name:"slo-binding" enum:",redirect,post" default:"" help:"How it takes messages: redirect or post."`
	SLOResponseURL        *string  `name:"slo-response-url" placeholder:"URL" help:"Where it takes answers, if elsewhere."`
	Encrypt               *bool    `negatable:"" help:"Send assertions encrypted."`
	EncryptionCertificate string   `placeholder:"FILE" help:"Certificate (PEM) of the other side that assertions are encrypted for."`
	EncryptionAlgorithm   *string  `placeholder:"URI" help:"XML encryption algorithm; AES-256-GCM when empty."`
	AllowSHA1             *bool    `name:"allow-sha1" negatable:"" help:"The exception for an application that can't do better: SHA-1 in signatures."`
	SendSessionEnd        *bool    `negatable:"" help:"Tell the other side when our session ends at the latest."`
	outputFlag
}

// Help tells the two halves.
func (appsSAMLCmd) Help() string {
	return "Without flags it shows both halves: the values to give to the other side, and those that it gives you."
}

func (n appsSAMLCmd) change(t terminal) (func(*app.SAMLSettings) error, error) {
	var certs []string
	for _, path := range n.SPCertificate {
		b, err := t.readFile(path, app.MaxSPMetadata)
		if err != nil {
			return nil, err
		}
		certs = append(certs, string(b))
	}
	var encryption []byte
	if n.EncryptionCertificate != "" {
		var err error
		if encryption, err = t.readFile(n.EncryptionCertificate, app.MaxSPMetadata); err != nil {
			return nil, err
		}
	}
	return func(s *app.SAMLSettings) error {
		set(&s.SLOResponseURL, n.SLOResponseURL)
		set(&s.EncryptAssertions, n.Encrypt)
		set(&s.EncryptionAlgorithm, n.EncryptionAlgorithm)
		set(&s.AllowSHA1, n.AllowSHA1)
		set(&s.SendSessionEnd, n.SendSessionEnd)
		if encryption != nil {
			s.EncryptionCertificate = string(encryption)
		}
		switch n.SLOBinding {
		case "redirect":
			s.SLOBinding = saml.BindingHTTPRedirect
		case "post":
			s.SLOBinding = saml.BindingHTTPPost
		}
		set(&s.IDPEntityID, n.IDPEntityID)
		set(&s.SPEntityID, n.SPEntityID)
		set(&s.DefaultRelayState, n.RelayState)
		set(&s.SignatureAlgorithm, n.SignatureAlgorithm)
		set(&s.RequireSignedRequests, n.RequireSignedRequests)
		set(&s.SLOURL, n.SLOURL)
		if n.Sign != "" {
			s.SignAssertion, s.SignResponse = n.Sign != "response", n.Sign != "assertion"
		}
		if certs != nil {
			s.SPCertificates = certs
		}
		if n.ACS != nil {
			s.ACS = nil
			for i, url := range n.ACS {
				if url == "" { // --acs= removes them
					continue
				}
				s.ACS = append(s.ACS, app.ACS{Index: i, URL: url, Default: i == 0})
			}
		}
		return nil
	}, nil
}

func (n appsSAMLCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		a, err := d.app(ctx, n.App)
		if err != nil {
			return err
		}
		if !a.SAML.Offered {
			return problem.New(problem.Invalid, "%s has no sign-on by SAML.", visible(a.Label))
		}
		var notes []string
		if n.Metadata != "" {
			xml, err := t.readFile(n.Metadata, app.MaxSPMetadata)
			if err != nil {
				return err
			}
			if n.DryRun {
				p, err := d.Apps.PreviewMetadata(ctx, d.by, a.ID, xml, n.Entity)
				if err != nil {
					return inFile(err, n.Metadata)
				}
				return d.printProposal(p, n.outputFlag)
			}
			got, err := d.Apps.ImportSPMetadata(ctx, d.by, a.ID, xml, n.Entity)
			if err != nil {
				return inFile(err, n.Metadata)
			}
			a, notes = got.Application, got.Notes
		}
		change, err := n.change(t)
		if err != nil {
			return err
		}
		if a, err = d.Apps.SaveSAML(ctx, d.by, a.ID, change); err != nil {
			return flagged(err, appFlagNames())
		}
		if n.json() {
			return d.showApp(ctx, a, n.outputFlag)
		}
		if err := d.printSAML(a); err != nil {
			return err
		}
		if err := d.warn(notes); err != nil {
			return err
		}
		return d.warnings(a)
	})
}

// printOurHalf prints the values to give to the other side.
func (d desk) printOurHalf(a app.Application) error {
	u := d.Apps.URLs(a)
	var f facts
	f.add("IdP entity ID", a.SAML.IDPEntityID)
	f.add("IdP URL", u.SSO)
	f.add("Logout URL", u.SLO)
	f.add("Metadata", u.Metadata)
	f.add("Certificate", u.Certificate)
	return f.print(d.terminal)
}

func (d desk) printSAML(a app.Application) error {
	var f facts
	f.add("Status", statusCell(true, a.SAML.Status))
	if len(a.SAML.Missing) > 0 {
		f.add("Missing", cell{strings.Join(a.SAML.Missing, ", "), warn})
	}
	u := d.Apps.URLs(a)
	f.add("IdP entity ID", a.SAML.IDPEntityID)
	f.add("IdP URL", u.SSO)
	for _, old := range a.OldSlugs {
		f.add("Old IdP URL", strings.TrimSuffix(u.SSO, a.Slug)+old)
	}
	f.add("Logout URL", u.SLO)
	f.add("Metadata", u.Metadata)
	f.add("Certificate", u.Certificate)
	f.add("SP entity ID", a.SAML.SPEntityID)
	for _, acs := range a.SAML.ACS {
		mark := ""
		if len(a.SAML.ACS) > 1 {
			mark = fmt.Sprintf("  (index %d", acs.Index)
			if acs.Default {
				mark += ", default"
			}
			mark += ")"
		}
		f.add("ACS URL", acs.URL+mark)
	}
	f.add("RelayState", a.SAML.DefaultRelayState)
	signed := "assertion"
	switch {
	case a.SAML.SignAssertion && a.SAML.SignResponse:
		signed = "assertion and response"
	case a.SAML.SignResponse:
		signed = "response"
	}
	f.add("Signed", signed)
	if n := len(a.SAML.SPCertificates); n > 0 {
		f.add("SP certificates", grouped(n))
	}
	if a.SAML.RequireSignedRequests {
		f.add("Requests", "must be signed")
	}
	if a.SAML.EncryptAssertions {
		f.add("Assertions", "encrypted")
	}
	if a.SAML.AllowSHA1 {
		f.add("SHA-1", cell{"allowed, by exception", warn})
	}
	f.add("SP logout URL", a.SAML.SLOURL)
	return f.print(d.terminal)
}

type appsCertificateCmd struct {
	appArg
	Act    string `arg:"" optional:"" enum:",list,print,prepare,switch,back,upload,remove" default:"" help:"list (default), print (PEM), prepare (make the next one), switch (use the next one), back (to the previous one), upload or remove."`
	Status string `enum:"current,next,previous" default:"current" help:"Which one print and remove mean: current, next or previous."`
	Cert   string `placeholder:"FILE" help:"upload: the certificate (PEM)."`
	Key    string `placeholder:"FILE" help:"upload: its private key (PEM)."`
	Bits   int    `placeholder:"N" help:"prepare: size of the RSA key, 2048 (default), 3072 or 4096."`
	Days   int    `placeholder:"N" help:"prepare: how long the certificate is valid; three years by default."`
	Yes    bool   `short:"y" help:"Don't ask."`
	outputFlag
}

func (n appsCertificateCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		a, err := d.app(ctx, n.App)
		if err != nil {
			return err
		}
		switch n.Act {
		case "print":
			return n.print(ctx, d, a)
		case "prepare":
			if _, err = d.Apps.PrepareCertificate(ctx, d.by, a.ID, keys.Options{Bits: n.Bits, Days: n.Days}); err == nil {
				err = n.told(d, "The next certificate is published in the metadata beside the current one. Give it to %s, then: latchkey apps certificate %s switch", visible(a.Label), quoted(a.Label))
			}
		case "switch":
			consequence := fmt.Sprintf("Answers for %s will be signed with the next certificate at once. Sign-on fails there until it has that certificate.", visible(a.Label))
			if err = d.agree(n.Yes, consequence, "switch"); err == nil {
				if _, err = d.Apps.SwitchCertificate(ctx, d.by, a.ID); err == nil {
					err = n.told(d, "Answers for %s are signed with the new certificate now. The way back: latchkey apps certificate %s back", visible(a.Label), quoted(a.Label))
				}
			}
		case "back":
			if _, err = d.Apps.BackCertificate(ctx, d.by, a.ID); err == nil {
				err = n.told(d, "Answers for %s are signed with the previous certificate again.", visible(a.Label))
			}
		case "remove":
			err = d.Apps.RemoveCertificate(ctx, d.by, a.ID, keys.Status(n.Status))
		case "upload":
			err = n.upload(ctx, d, a)
		}
		if err != nil {
			return flagged(err, map[string]string{"bits": "--bits", "days": "--days"})
		}
		return n.list(ctx, d, a)
	})
}

// told says a sentence, unless a program reads.
func (n appsCertificateCmd) told(d desk, format string, args ...any) error {
	if n.json() {
		return nil
	}
	return d.say(format, args...)
}

func (n appsCertificateCmd) upload(ctx context.Context, d desk, a app.Application) error {
	if n.Cert == "" || n.Key == "" {
		return problem.New(problem.Invalid, "Give --cert and --key.")
	}
	cert, err := d.readFile(n.Cert, app.MaxSPMetadata)
	if err != nil {
		return err
	}
	key, err := d.readFile(n.Key, app.MaxSPMetadata)
	if err != nil {
		return err
	}
	_, err = d.Apps.UploadCertificate(ctx, d.by, a.ID, app.CertificateUpload{Certificate: string(cert), PrivateKey: keys.Secret(key)})
	return flagged(err, map[string]string{"certificate": "--cert", "privateKey": "--key"})
}

func (n appsCertificateCmd) print(ctx context.Context, d desk, a app.Application) error {
	pairs, err := d.Apps.Certificates(ctx, d.by, a.ID)
	if err != nil {
		return err
	}
	for _, p := range pairs {
		if string(p.Status) == n.Status {
			_, err := fmt.Fprint(d.out, p.PEM)
			return err
		}
	}
	return problem.New(problem.NotFound, "%s has no %s certificate.", visible(a.Label), n.Status)
}

func (n appsCertificateCmd) list(ctx context.Context, d desk, a app.Application) error {
	pairs, err := d.Apps.Certificates(ctx, d.by, a.ID)
	if err != nil {
		return err
	}
	now := d.Now()
	views := []api.Certificate{}
	tb := newTable("STATUS", "ENDS", "DAYS LEFT", "SHA-256 FINGERPRINT").figures(2)
	for _, p := range pairs {
		left := p.DaysLeft(now)
		views = append(views, api.CertificateJSON(p, now))
		tn := plain
		switch {
		case left < 7:
			tn = bad
		case left < 60:
			tn = warn
		}
		tb.add(p.Status, day(p.NotAfter), cell{grouped(left), tn}, p.Fingerprint())
	}
	if n.json() {
		return d.printJSON(views)
	}
	return tb.print(d.terminal)
}
