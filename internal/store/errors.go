package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/latchkey-idp/latchkey/internal/problem"
)

// uniqueError says that a statement broke a unique index.
type uniqueError struct {
	index string
	err   error
}

func (e *uniqueError) Error() string { return "store: not unique: " + e.index + ": " + e.err.Error() }
func (e *uniqueError) Unwrap() error { return e.err }

// Unique returns the name of the unique index that err says was broken, in the form
// table_column[_column…], e.g. "users_email"; "" if err is about something else. Migrations
// name their unique indexes so.
func Unique(err error) string {
	if e, ok := errors.AsType[*uniqueError](err); ok {
		return e.index
	}
	return ""
}

// Foreign reports whether err says that a row which another refers to doesn't exist, or is
// still referred to.
func Foreign(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code == "23503"
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
	}
	return false
}

func isSerialization(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == "40001" || e.Code == "40P01")
}

// translate gives an engine's error its meaning.
func translate(op string, err error) error {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch {
		case e.Code == "23505":
			return &uniqueError{index: e.ConstraintName, err: err}
		case e.Code == "22021": // NUL, or bytes that aren't UTF-8
			return problem.Wrap(problem.Invalid, err, "A text has characters that can't be stored. Type it anew.")
		case strings.HasPrefix(e.Code, "08"), strings.HasPrefix(e.Code, "53"), strings.HasPrefix(e.Code, "57P"):
			return problem.Wrap(problem.Unavailable, err, "The database can't be reached right now. Try again in a moment.")
		}
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() {
		case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
			return &uniqueError{index: sqliteIndex(e.Error()), err: err}
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL:
			return problem.Wrap(problem.Unavailable, err, "The database can't be written right now. Try again in a moment.")
		}
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return problem.Wrap(problem.Unavailable, err, "The database can't be reached right now. Try again in a moment.")
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("store: %s: %w", op, err)
}

// sqliteIndex turns "… UNIQUE constraint failed: users.email (2067)" into "users_email", and
// several columns of one table into table_column_column.
func sqliteIndex(msg string) string {
	_, list, ok := strings.Cut(msg, "constraint failed: ")
	if _, rest, found := strings.Cut(list, "constraint failed: "); found {
		list = rest
	}
	if !ok {
		return "unknown"
	}
	if i := strings.LastIndex(list, " ("); i >= 0 {
		list = list[:i]
	}
	var name strings.Builder
	for i, col := range strings.Split(list, ", ") {
		table, column, _ := strings.Cut(col, ".")
		if i == 0 {
			name.WriteString(table)
		}
		name.WriteString("_" + column)
	}
	return name.String()
}
