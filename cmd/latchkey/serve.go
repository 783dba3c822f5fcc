package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/server"
)

type serveCmd struct{}

// Run serves until the program is told to end.
func (serveCmd) Run(ctx context.Context, c *server.Config, t terminal) (err error) {
	log := logger(c, t.err)
	// The heap is small and each request leaves much behind: collecting half as often costs some ten megabytes.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
	listener, err := listen(ctx, c.Listen)
	if err != nil {
		return err
	}
	h, err := server.Open(ctx, *c, fullVersion(), log)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	if err := logSigning(h.Pairs, log); err != nil {
		return errors.Join(err, listener.Close())
	}
	s, err := server.New(h)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	return s.Run(ctx, listener, func() {
		log.Info("serving", "address", listener.Addr().String(), "publicUrl", h.Config.PublicURL, "database", string(h.DB.Engine()), "version", fullVersion())
		offerSetup(ctx, h, log, t)
	})
}

// logSigning says who computes the signatures of sign-on, which decides how many there can be in a second.
func logSigning(pairs *keys.Pairs, log *slog.Logger) error {
	by, reason, err := pairs.Signing()
	if err != nil {
		return err
	}
	why := slog.Attr{}
	if reason != nil { // the system's loader writes a line for each place that it looked at
		why = slog.String("reason", reason.Error())
	}
	log.Info("signatures are computed", slog.String("by", by), why)
	return nil
}

// offerSetup prints a one-time link for the first owner of a new installation.
func offerSetup(ctx context.Context, h *server.House, log *slog.Logger, t terminal) {
	needed, err := h.Authn.NeedsSetup(ctx)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		log.Error("whether an owner exists could not be found out", "error", err)
		return
	}
	if !needed {
		return
	}
	token, err := h.Authn.NewSetupLink(ctx)
	if err != nil {
		log.Error("the link for the first owner could not be made", "error", err)
		return
	}
	fmt.Fprintf(t.out, "\n  Nobody owns this installation yet. Open this link once to become its first owner:\n\n    %s/setup?token=%s\n\n", h.Config.PublicURL, token.Reveal())
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		hint := "Choose another address with --listen."
		if strings.Contains(err.Error(), "address already in use") {
			hint = "Another program listens there. End it, or choose another address with --listen."
		}
		return nil, problem.Wrap(problem.Unavailable, err, "Can't listen on %s. %s", addr, hint)
	}
	return l, nil
}
