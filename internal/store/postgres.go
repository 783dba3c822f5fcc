package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite" // registers the driver "sqlite"

	"github.com/latchkey-idp/latchkey/internal/problem"
)

func openPostgres(ctx context.Context, cfg Config, log *slog.Logger) (*DB, error) {
	pc, err := pgxpool.ParseConfig(cfg.PostgresURL)
	if err != nil {
		// The parser's error repeats the URL, which holds a password.
		return nil, problem.New(problem.Invalid, "The PostgreSQL URL can't be understood. It looks like postgres://user:password@host:5432/database.")
	}
	pc.MaxConns = 24
	if cfg.MaxConns > 0 {
		pc.MaxConns = int32(min(cfg.MaxConns, 1000))
	}
	// One connection listens for wake-ups all the time.
	pc.MaxConns = max(pc.MaxConns, 2)
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, fmt.Errorf("store: open PostgreSQL: %w", err)
	}
	sqlDB := stdlib.OpenDBFromPool(pool)
	fail := func(err error) (*DB, error) {
		err = errors.Join(err, sqlDB.Close())
		pool.Close()
		return nil, err
	}
	// The pool below decides how many connections there are.
	sqlDB.SetMaxIdleConns(0)
	sqlDB.SetMaxOpenConns(int(pc.MaxConns) - 1)
	if err := migrate(ctx, PostgreSQL, sqlDB); err != nil {
		return fail(err)
	}
	var schema string
	if err := sqlDB.QueryRowContext(ctx, "SELECT current_schema()").Scan(&schema); err != nil {
		return fail(translate("current schema", err))
	}
	db := &DB{engine: PostgreSQL, read: sqlDB, write: sqlDB, log: log, wakes: newWakes()}
	// Installations that share a database by schema must not wake each other.
	db.wakes.channel = "latchkey_" + schema
	db.wakes.listen(pool, log)
	stop := db.wakes.stop
	db.wakes.stop = func() { stop(); pool.Close() }
	return db, nil
}
