package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/server"
)

type setupCmd struct {
	Email        string      `required:"" env:"LATCHKEY_SETUP_EMAIL" help:"E-mail address of the first owner."`
	Username     string      `env:"LATCHKEY_SETUP_USERNAME" help:"User name; the e-mail address when left out."`
	GivenName    string      `env:"LATCHKEY_SETUP_GIVEN_NAME" help:"Given name."`
	FamilyName   string      `env:"LATCHKEY_SETUP_FAMILY_NAME" help:"Family name."`
	Password     keys.Secret `env:"LATCHKEY_SETUP_PASSWORD" help:"Password. Better left out: it is then asked for, or read as a line from standard input."`
	Organization string      `env:"LATCHKEY_SETUP_ORGANIZATION" help:"Name of the organization."`
	APIKey       string      `name:"api-key" placeholder:"NAME" env:"LATCHKEY_SETUP_API_KEY" help:"Also make an API key of this name with the owner role, and print it."`
	outputFlag
}

// Run creates the first owner.
func (s setupCmd) Run(ctx context.Context, c *server.Config, t terminal) (err error) {
	h, err := open(ctx, c, t)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	needed, err := h.Authn.NeedsSetup(ctx)
	if err != nil {
		return err
	}
	if !needed {
		return problem.New(problem.Conflict, "This installation has an owner already. Sign in at %s, or use an API key.", h.Config.PublicURL)
	}
	if s.Password == "" {
		if s.Password, err = readPassword(t); err != nil {
			return err
		}
	}
	u, err := h.Authn.CreateOwner(ctx, authn.Owner{
		Email: s.Email, Username: s.Username, GivenName: s.GivenName, FamilyName: s.FamilyName, Password: s.Password, Organization: s.Organization,
	})
	if err != nil {
		return err
	}
	result := struct {
		ID     string `json:"id"`
		Email  string `json:"email"`
		URL    string `json:"url"`
		APIKey string `json:"apiKey,omitempty"`
	}{ID: string(u.ID), Email: u.Email, URL: h.Config.PublicURL}
	if s.APIKey != "" {
		by := access.Actor{Kind: access.Person, ID: string(u.ID), Name: u.Email, Role: access.Owner}
		_, secret, err := h.Authn.CreateAPIKey(ctx, by, s.APIKey, access.Owner, noExpiry)
		if err != nil {
			return err
		}
		result.APIKey = secret.Reveal()
	}
	if s.json() {
		return json.NewEncoder(t.out).Encode(result) //nolint:gosec // showing the new key once is what was asked for
	}
	fmt.Fprintf(t.out, "%s owns this installation now. Sign in at %s.\n", result.Email, result.URL)
	if result.APIKey != "" {
		fmt.Fprintf(t.out, "API key %s (shown this once): %s\n", s.APIKey, result.APIKey)
	}
	return nil
}

// readPassword asks on a terminal, and reads a line elsewhere.
func readPassword(t terminal) (keys.Secret, error) {
	if f, ok := t.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprint(t.err, "Password of the first owner: ")
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(t.err)
		return keys.Secret(b), err
	}
	line, err := bufio.NewReader(t.in).ReadString('\n')
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", problem.InvalidField("password", "Give a password: as a line on standard input, with --password, or in LATCHKEY_SETUP_PASSWORD.")
	}
	if err != nil && line == "" {
		return "", err
	}
	return keys.Secret(line), nil
}
