package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/latchkey-idp/latchkey/internal/rehearsal"
	"github.com/latchkey-idp/latchkey/internal/server"
)

type rehearseCmd struct {
	Address      string `default:"127.0.0.1:8081" env:"LATCHKEY_REHEARSE_ADDRESS" help:"Address and port of the stand-in."`
	URL          string `env:"LATCHKEY_REHEARSE_URL" help:"How browsers and Latchkey reach it. Default: http:// and the address."`
	State        string `placeholder:"FILE" env:"LATCHKEY_REHEARSE_STATE" help:"File that keeps its state over restarts; without one it forgets."`
	Organization string `default:"Acme" help:"Name of the organization there."`
	Site         string `default:"acme" help:"Name of its site."`
}

// Run serves the stand-in until the program is told to end.
func (r rehearseCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	l, err := listen(ctx, r.Address)
	if err != nil {
		return err
	}
	url := r.URL
	if url == "" {
		url = "http://" + l.Addr().String()
	}
	site, err := rehearsal.New(rehearsal.Config{
		BaseURL: url, StateFile: r.State, Organization: r.Organization, SiteName: r.Site, Log: logger(c, t.err),
	})
	if err != nil {
		return errors.Join(err, l.Close())
	}
	fmt.Fprintf(t.out, "The rehearsal Atlassian Cloud is at %s\n", url)
	return serveSite(ctx, l, site)
}

// serveSite serves a stand-in until ctx ends.
func serveSite(ctx context.Context, l net.Listener, site *rehearsal.Site) error {
	srv := &http.Server{Handler: site.Handler(), ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() {
		<-ctx.Done()
		// Closing first ends the requests that hang on purpose.
		err := site.Close()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		down := srv.Shutdown(end)
		if errors.Is(down, context.DeadlineExceeded) {
			down = srv.Close() // connections that were opened and never used aren't worth more waiting
		}
		ended <- errors.Join(err, down)
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return errors.Join(err, site.Close())
	}
	return <-ended
}
