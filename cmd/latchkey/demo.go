package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/latchkey-idp/latchkey/internal/rehearsal"
	"github.com/latchkey-idp/latchkey/internal/server"
)

type demoCmd struct {
	Folder           string `placeholder:"DIR" help:"Folder that keeps the demo's data over restarts. Default: a temporary one, deleted at the end."`
	RehearsalAddress string `default:"127.0.0.1:8081" help:"Address and port of the rehearsal Atlassian Cloud."`
	Empty            bool   `help:"Start with nothing configured, to click through the set-up."`
	Check            bool   `help:"Run the whole main job by itself, print each step, and exit."`
}

// Run serves Latchkey and the stand-in side by side.
func (d demoCmd) Run(ctx context.Context, c *server.Config, t terminal) (err error) {
	if os.Getenv("LATCHKEY_POSTGRES") == c.Postgres.Reveal() && !slices.ContainsFunc(os.Args, func(a string) bool { return strings.HasPrefix(a, "--postgres") }) {
		// A setting that is meant for the real installation must not get the demo's people.
		c.Postgres = ""
	}
	if d.Check {
		return d.check(ctx, c, t)
	}
	folder := d.Folder
	if folder == "" {
		if folder, err = os.MkdirTemp("", "latchkey-demo-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	}
	c.Data, c.MasterKeyFile = folder, filepath.Join(folder, "master.key")
	c.Outbound.Allow = append(c.Outbound.Allow, "127.0.0.0/8", "::1")
	if c.Log.Level == "info" {
		c.Log.Level = "warn"
	}
	log := logger(c, t.err)
	listener, err := listen(ctx, c.Listen)
	if err != nil {
		return err
	}
	siteListener, err := listen(ctx, d.RehearsalAddress)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	if c.PublicURL == "" {
		c.PublicURL = "http://" + listener.Addr().String()
	}
	siteURL := "http://" + siteListener.Addr().String()
	cfg := rehearsal.Config{BaseURL: siteURL, Organization: companyName, SiteName: companySite, Log: log}
	if d.Folder != "" {
		cfg.StateFile = filepath.Join(folder, "rehearsal.json")
	}
	site, err := rehearsal.New(cfg)
	if err != nil {
		return errors.Join(err, listener.Close(), siteListener.Close())
	}
	h, err := server.Open(ctx, *c, fullVersion(), log)
	if err != nil {
		return errors.Join(err, listener.Close(), siteListener.Close(), site.Close())
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	s, err := server.New(h)
	if err != nil {
		return errors.Join(err, listener.Close(), siteListener.Close(), site.Close())
	}
	told := ctx
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return serveSite(ctx, siteListener, site) })
	g.Go(func() error { return s.Run(ctx, listener, nil) })
	g.Go(func() error {
		if d.Empty {
			d.welcomeEmpty(ctx, h, siteURL, t)
			return nil
		}
		return d.welcome(ctx, h, site, siteURL, t)
	})
	if err := g.Wait(); !errors.Is(err, context.Canceled) || told.Err() == nil {
		return err
	}
	return nil // told to end while it was being set up
}

func (d demoCmd) welcomeEmpty(ctx context.Context, h *server.House, siteURL string, t terminal) {
	offerSetup(ctx, h, h.Log, t)
	fmt.Fprintf(t.out, `  Latchkey            %s
  Rehearsal Atlassian %s

  Nothing is configured. After the first sign-in: Applications, Add application, Atlassian Cloud.
  Press Ctrl-C to end.
`, h.Config.PublicURL, siteURL)
}

func (d demoCmd) welcome(ctx context.Context, h *server.House, site *rehearsal.Site, siteURL string, t terminal) error {
	needed, err := h.Authn.NeedsSetup(ctx)
	if err != nil {
		return err
	}
	if needed {
		fmt.Fprintf(t.out, "Setting up %s with 40 people, 6 groups and a live Atlassian application ...\n", companyName)
		by, groups, err := seedCompany(ctx, h)
		if err != nil {
			return err
		}
		a, err := connect(ctx, h, by, groups, site)
		if err != nil {
			return err
		}
		if err := waitInSync(ctx, h, by, a.ID, 20*time.Second); err != nil {
			return err
		}
		for product, group := range map[string]string{"Jira": "Engineering", "Confluence": "Design"} {
			if err := grant(ctx, site, product, group); err != nil && ctx.Err() == nil {
				h.Log.Warn("product access could not be granted at the rehearsal site", "product", product, "error", err)
			}
		}
	}
	people := company()
	fmt.Fprintf(t.out, `
  Portal              %[1]s
  Console             %[1]s/console
  Rehearsal Atlassian %[2]s      (its site: %[3]s)

  Sign in as          %[4]s   the owner, who sees the console
                      %[5]s   an engineer
  Password            %[6]s   (everybody's)

  Try: sign in, click the Atlassian tile. Then change somebody's title in the console
  and watch it arrive under Users at the rehearsal Atlassian.
  Press Ctrl-C to end.
`, h.Config.PublicURL, siteURL, site.Organization().SiteURL, people[0].email(), people[7].email(), companyPassword)
	return nil
}

// grant gives a group access to a product there. A group shows up in the organization moments
// after it was provisioned.
func grant(ctx context.Context, site *rehearsal.Site, product, group string) error {
	for range 50 {
		err := site.GrantProduct(product, group)
		if err == nil || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
	return site.GrantProduct(product, group)
}
