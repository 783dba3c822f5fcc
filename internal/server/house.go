// Package server joins everything into one program: configuration, wiring, the order of
// middleware, background loops, start and shutdown.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"time"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/mail"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/work"
)

// House is an opened installation without its edges: what a command works with.
type House struct {
	Config    Config
	Version   string
	DB        *store.DB
	Catalog   *catalog.Catalog
	Directory *directory.Directory
	Apps      *app.Applications
	Pairs     *keys.Pairs
	Authn     *authn.Authn
	Engine    *provision.Engine
	Events    *audit.Log
	Pool      *work.Pool
	Mail      *mail.Mailer
	Log       *slog.Logger
	Now       func() time.Time

	outbound  *http.Client
	documents *fetcher
}

// Open opens the installation that cfg describes, migrating its database if need be. Close
// ends it.
func Open(ctx context.Context, cfg Config, version string, log *slog.Logger) (_ *House, err error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	h := &House{Config: cfg, Version: version, Log: log, Now: time.Now}
	if h.Catalog, err = catalog.Builtin(); err != nil {
		return nil, fmt.Errorf("catalogue: %w", err)
	}
	if h.outbound, err = outboundClient(cfg.Outbound); err != nil {
		return nil, err
	}
	if h.documents, err = newFetcher(cfg.Outbound, version); err != nil {
		return nil, err
	}
	if h.DB, err = store.Open(ctx, store.Config{Dir: cfg.Data, PostgresURL: cfg.Postgres.Reveal(), Log: log}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.DB.Close())
		}
	}()
	master, created, err := keys.LoadMasterKey(cfg.MasterKey, cfg.MasterKeyFile)
	if err != nil {
		return nil, err
	}
	if created {
		path, err := filepath.Abs(cfg.MasterKeyFile)
		if err != nil {
			path = cfg.MasterKeyFile
		}
		log.Info("made a master key; back it up apart from the database, without it tokens and signing keys can't be read", "file", path)
	}
	sealer, err := keys.NewSealer(master)
	if err != nil {
		return nil, err
	}
	h.Directory = directory.New(h.DB, h.Now)
	h.Pairs = keys.NewPairs(sealer, h.Now, keys.WithSigning(keys.Signing(cfg.Signing)))
	h.Pool = work.NewPool(h.DB, log, h.Now)
	h.Mail = mail.New(mail.Config{
		DB: h.DB, Sealer: sealer, Pool: h.Pool, Now: h.Now, Log: log, Sender: cfg.Mail.sender(),
		Organization: func(tx *store.Tx) (string, error) {
			o, err := directory.GetOrganization(tx)
			return o.Name, err
		},
	})
	h.Apps = app.New(app.Config{
		DB: h.DB, Catalog: h.Catalog, Pairs: h.Pairs, Sealer: sealer, PublicURL: cfg.PublicURL, Now: h.Now,
		Fetch: h.documents.fetch, Mailer: h.Mail,
	})
	if h.Authn, err = authn.New(authn.Config{
		DB: h.DB, Directory: h.Directory, Now: h.Now, Log: log, Hashing: cfg.Limits.Hashing, MinPassword: cfg.Session.MinPassword,
		Idle: cfg.Session.Idle, Absolute: cfg.Session.Absolute, Throttle: authn.Limits{Account: cfg.Limits.Account, Network: cfg.Limits.Network},
	}); err != nil {
		return nil, err
	}
	h.Events = audit.NewLog(h.DB)
	h.Engine = provision.New(provision.Config{
		DB: h.DB, Catalog: h.Catalog, Apps: h.Apps, Directory: h.Directory, Pool: h.Pool, HTTP: h.outbound,
		Version: version, Workers: cfg.Outbound.Workers, Sweep: cfg.Outbound.Sweep, Now: h.Now, Log: log,
	})
	h.Pool.Every("prune sign-in", time.Hour, h.Authn.Prune)
	h.Pool.Every("watch metadata", time.Minute, h.Apps.RunMetadata)
	h.Pool.Every("remind", time.Hour, h.Apps.RunReminders)
	return h, nil
}

// Close closes the database.
func (h *House) Close() error {
	h.outbound.CloseIdleConnections()
	h.documents.close()
	return h.DB.Close()
}
