package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// noExpiry is the end of what doesn't end.
var noExpiry time.Time

type backupCmd struct {
	File string `arg:"" help:"File to write; it must not exist."`
}

// Run copies the database.
func (b backupCmd) Run(ctx context.Context, c *server.Config, t terminal) (err error) {
	h, err := open(ctx, c, t)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	if h.DB.Engine() != store.SQLite {
		return problem.New(problem.Invalid, "The data is in PostgreSQL: back it up with pg_dump, and the master key apart from it.")
	}
	if err := h.DB.Backup(ctx, b.File); err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.out, "Copied the database to %s. Keep %s too: without the master key, tokens and signing keys in the copy can't be read.\nTo restore, put the copy in place of latchkey.db in the data folder while nothing runs.\n", b.File, h.Config.MasterKeyFile)
	return err
}
