// Package store hides which database holds the data. The same SQL runs on SQLite (embedded,
// the default) and on PostgreSQL (shared by replicas); whatever differs between the two lives
// here: opening, pools, transactions, row locks, error codes, wake-ups and backup.
//
// Rules for SQL elsewhere: parameters are $1, $2 …; ids are TEXT made by NewID; times are
// BIGINT microseconds UTC (Micros, FromMicros); JSON is TEXT; case is folded in Go into *_key
// columns; no column is NULL.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Config says where the data is.
type Config struct {
	// Dir is the data folder. SQLite keeps latchkey.db in it. Ignored when PostgresURL is set.
	Dir string
	// PostgresURL, e.g. postgres://user@host/db, selects PostgreSQL.
	PostgresURL string
	// MaxConns bounds the PostgreSQL pool or the number of SQLite readers; 0 means a default.
	MaxConns int
	// Log receives what happens in the background; nil discards it.
	Log *slog.Logger
}

// Engine names a database engine.
type Engine string

// The engines.
const (
	SQLite     Engine = "sqlite"
	PostgreSQL Engine = "postgresql"
)

// DB is an open, migrated database. It is safe for concurrent use.
type DB struct {
	engine Engine
	read   *sql.DB
	write  *sql.DB
	path   string
	log    *slog.Logger
	wakes  *wakes
	writer *writer // SQLite only
}

// Open opens the database, applies missing migrations (forward only; replicas that start
// together take turns), and starts its background work. Close ends it.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if cfg.PostgresURL != "" {
		return openPostgres(ctx, cfg, log)
	}
	return openSQLite(ctx, cfg, log)
}

func openSQLite(ctx context.Context, cfg Config, log *slog.Logger) (*DB, error) {
	if cfg.Dir == "" {
		return nil, errors.New("store: neither a data folder nor a PostgreSQL URL is set")
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("store: make the data folder: %w", err)
	}
	path := filepath.Join(cfg.Dir, "latchkey.db")
	// The file holds people's data: nobody but its owner may read it, whatever the umask.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("store: open the database file: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("store: open the database file: %w", err)
	}
	readers := cfg.MaxConns
	if readers == 0 {
		readers = max(4, 2*runtime.NumCPU())
	}
	if err := migrateSQLite(ctx, path); err != nil {
		return nil, err
	}
	write, err := openKeeping(sqliteDSN(path, false))
	if err != nil {
		return nil, err
	}
	write.SetMaxOpenConns(1)
	write.SetMaxIdleConns(1)
	write.SetConnMaxLifetime(0)
	read, err := openKeeping(sqliteDSN(path, true))
	if err != nil {
		return nil, errors.Join(err, write.Close())
	}
	read.SetMaxOpenConns(readers)
	read.SetMaxIdleConns(readers)
	db := &DB{engine: SQLite, read: read, write: write, path: path, log: log, wakes: newWakes()}
	db.writer = newWriter(db)
	return db, nil
}

func migrateSQLite(ctx context.Context, path string) error {
	db, err := sql.Open("sqlite", sqliteDSN(path, false))
	if err != nil {
		return fmt.Errorf("store: open SQLite: %w", err)
	}
	db.SetMaxOpenConns(1)
	return errors.Join(migrate(ctx, SQLite, db), db.Close())
}

// sqliteDSN builds the connection string. synchronous=FULL because an acknowledged write must
// survive a power cut; group commit (see writer) pays for it.
func sqliteDSN(path string, readOnly bool) string {
	dsn := "file:" + strings.NewReplacer("?", "%3f", "#", "%23").Replace(path) +
		"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)" +
		"&_pragma=foreign_keys(1)&_pragma=temp_store(MEMORY)&_pragma=cache_size(-16000)&_pragma=wal_autocheckpoint(4000)"
	if readOnly {
		return dsn + "&_pragma=query_only(1)"
	}
	return dsn + "&_txlock=immediate"
}

// Engine returns which database engine is in use.
func (db *DB) Engine() Engine { return db.engine }

// Close ends background work and closes the database. Updates under way are finished first.
func (db *DB) Close() error {
	if db.writer != nil {
		db.writer.close()
	}
	db.wakes.close()
	err := db.read.Close()
	if db.write != db.read {
		err = errors.Join(err, db.write.Close())
	}
	return err
}

// Ping reports whether the database answers.
func (db *DB) Ping(ctx context.Context) error {
	if err := db.read.PingContext(ctx); err != nil {
		return fmt.Errorf("store: ping: %w", err)
	}
	return nil
}

// Backup writes a consistent copy of an SQLite database to a new file at path while the
// program runs. On PostgreSQL it refuses: use pg_dump.
func (db *DB) Backup(ctx context.Context, path string) error {
	if db.engine != SQLite {
		return errors.New("store: back up PostgreSQL with pg_dump")
	}
	if _, err := os.Stat(path); err == nil {
		return fmt.Errorf("store: %s exists already", path)
	}
	if _, err := db.write.ExecContext(ctx, "VACUUM INTO $1", path); err != nil {
		return fmt.Errorf("store: back up: %w", err)
	}
	return os.Chmod(path, 0o600)
}

// View runs fn in a read-only transaction with one consistent snapshot. When ctx ends, so does the
// reading: on SQLite before the next row or statement.
func (db *DB) View(ctx context.Context, fn func(*Tx) error) error {
	opts := &sql.TxOptions{ReadOnly: true}
	t := &Tx{ctx: ctx, engine: db.engine}
	if db.engine == PostgreSQL {
		opts.Isolation = sql.LevelRepeatableRead
	} else {
		// To watch a context, the driver and database/sql start goroutines for each transaction, statement and
		// result: more work than most statements are. Each looks at the context instead.
		t.calls = context.WithoutCancel(ctx)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	tx, err := db.read.BeginTx(t.callContext(), opts)
	if err != nil {
		return translate("begin", err)
	}
	defer func() { _ = tx.Rollback() }() // ends the snapshot; there is nothing to lose
	t.q = tx
	return fn(t)
}

// Update runs fn in one transaction and returns when it is durable. If fn fails nothing is
// written. fn may run more than once (a serialization conflict repeats it), so it must have no
// effect outside the transaction; it must never do network I/O nor call Update.
//
// A row that fn reads and then writes can't have been changed by another transaction in
// between: the loser runs again.
func (db *DB) Update(ctx context.Context, fn func(*Tx) error) error {
	if db.writer != nil {
		return db.writer.do(ctx, fn)
	}
	return db.retry(ctx, sql.LevelRepeatableRead, fn)
}

// Occupy tells that the caller is busy for a moment with what follows from its last update: a signature's time, of which
// many may wait for few processors. While several are, there is no hurry with further updates, which would queue behind
// them: a group of updates waits for others that come meanwhile, and they share a commit. Call done at the end.
func (db *DB) Occupy() (done func()) {
	if db.writer == nil {
		return func() {}
	}
	db.writer.busy.Add(1)
	return func() { db.writer.busy.Add(-1) }
}

// Claim is Update for taking rows that others take too, with the clause of Tx.SkipLocked. A
// row that another transaction holds is passed over and not waited for.
func (db *DB) Claim(ctx context.Context, fn func(*Tx) error) error {
	if db.writer != nil {
		return db.writer.do(ctx, fn)
	}
	return db.retry(ctx, sql.LevelReadCommitted, fn)
}

const maxAttempts = 12

func (db *DB) retry(ctx context.Context, level sql.IsolationLevel, fn func(*Tx) error) error {
	for attempt := 1; ; attempt++ {
		err := db.once(ctx, level, fn)
		if err == nil || attempt == maxAttempts || !isSerialization(err) {
			return err
		}
		pause := time.Duration(1<<min(attempt, 7)) * time.Millisecond
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause/2 + rand.N(pause)):
		}
	}
}

func (db *DB) once(ctx context.Context, level sql.IsolationLevel, fn func(*Tx) error) error {
	tx, err := db.write.BeginTx(ctx, &sql.TxOptions{Isolation: level})
	if err != nil {
		return translate("begin", err)
	}
	defer func() { _ = tx.Rollback() }() // no effect after Commit
	t := &Tx{ctx: ctx, q: tx, engine: db.engine}
	if err := fn(t); err != nil {
		return err
	}
	for _, topic := range t.topics {
		if _, err := t.Exec("SELECT pg_notify($1, $2)", db.wakes.channel, topic); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return translate("commit", err)
	}
	db.wakes.ring(t.topics...)
	return nil
}

// NewID returns a new UUIDv7: unique, and later ids sort after earlier ones.
func NewID() string {
	id, err := uuid.NewV7()
	if err != nil {
		// The operating system's random source failed; nothing secure can be done any more.
		panic("store: no randomness: " + err.Error())
	}
	return id.String()
}

// FirstID returns an id that sorts before every id made at t or later: a bound for reading by
// time through an index on ids.
func FirstID(t time.Time) string {
	ms := uint64(max(t.UnixMilli(), 0))
	return fmt.Sprintf("%08x-%04x-7000-8000-000000000000", ms>>16&0xffffffff, ms&0xffff)
}

// Micros returns t as the database keeps it: microseconds since 1970 UTC, 0 for the zero time.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// FromMicros is the inverse of Micros.
func FromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
