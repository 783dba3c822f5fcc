package store

import (
	"context"
	"database/sql"
	"errors"
	"iter"
	"slices"
	"strconv"
	"strings"
)

// ErrNotFound is returned by One when no row matches.
var ErrNotFound = errors.New("store: no such row")

// Row is one row of a result, to be scanned.
type Row interface {
	Scan(dest ...any) error
}

type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// Tx is a transaction. It must not be used after the function it was given to returned, nor
// by two goroutines.
type Tx struct {
	ctx    context.Context //nolint:containedctx // a Tx lives exactly as long as one call
	calls  context.Context //nolint:containedctx // what the driver is given, if not ctx
	q      querier
	engine Engine
	topics []string
	wrote  bool // a statement that may write has run
}

// callContext is the context that the driver is given.
func (tx *Tx) callContext() context.Context {
	if tx.calls != nil {
		return tx.calls
	}
	return tx.ctx
}

// Context returns the context that the transaction runs under.
func (tx *Tx) Context() context.Context { return tx.ctx }

// Exec runs a statement and returns the number of rows it touched. A broken unique index gives
// an error of which Unique tells the index.
func (tx *Tx) Exec(query string, args ...any) (int64, error) {
	tx.wrote = true
	res, err := tx.q.ExecContext(tx.callContext(), query, args...)
	if err != nil {
		return 0, translate("exec", err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return 0, translate("rows affected", err)
	}
	return n, nil
}

// ForUpdate returns the clause that locks the rows a SELECT returns until the transaction
// ends, and nothing where the engine has a single writer anyway.
func (tx *Tx) ForUpdate() string {
	if tx.engine == PostgreSQL {
		return " FOR UPDATE"
	}
	return ""
}

// SkipLocked is ForUpdate that passes over rows which another transaction holds.
func (tx *Tx) SkipLocked() string {
	if tx.engine == PostgreSQL {
		return " FOR UPDATE SKIP LOCKED"
	}
	return ""
}

// Wake rings topic after the transaction is durable, on every replica.
func (tx *Tx) Wake(topic string) {
	if !slices.Contains(tx.topics, topic) {
		tx.topics = append(tx.topics, topic)
	}
}

// Each runs a query and yields its rows as scanned by scan. An error ends the sequence.
func Each[T any](tx *Tx, scan func(Row) (T, error), query string, args ...any) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		if err := tx.ctx.Err(); err != nil {
			yield(zero, err)
			return
		}
		tx.wrote = tx.wrote || !isSelect(query)
		rows, err := tx.q.QueryContext(tx.callContext(), query, args...)
		if err != nil {
			yield(zero, translate("query", err))
			return
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			if err := tx.ctx.Err(); err != nil {
				yield(zero, err)
				return
			}
			v, err := scan(rows)
			if err != nil {
				yield(zero, translate("scan", err))
				return
			}
			if !yield(v, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(zero, translate("rows", err))
		}
	}
}

// isSelect reports whether a statement certainly only reads.
func isSelect(query string) bool { return strings.HasPrefix(query, "SELECT") }

// All runs a query and returns all its rows as scanned by scan.
func All[T any](tx *Tx, scan func(Row) (T, error), query string, args ...any) ([]T, error) {
	var out []T
	for v, err := range Each(tx, scan, query, args...) {
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// One runs a query and returns its first row, or ErrNotFound.
func One[T any](tx *Tx, scan func(Row) (T, error), query string, args ...any) (T, error) {
	for v, err := range Each(tx, scan, query, args...) {
		return v, err
	}
	var zero T
	return zero, ErrNotFound
}

// Scalar scans a row of one column, for use with One and All.
func Scalar[T any](r Row) (T, error) {
	var v T
	err := r.Scan(&v)
	return v, err
}

// Placeholders returns "$from, $from+1, …" for n parameters, for an IN list.
func Placeholders(from, n int) string {
	b := make([]byte, 0, n*len("$999, "))
	for i := range n {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = strconv.AppendInt(append(b, '$'), int64(from+i), 10)
	}
	return string(b)
}

// LikePattern returns a LIKE pattern (with ESCAPE '\') that finds needle anywhere.
func LikePattern(needle string) string {
	return "%" + strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(needle) + "%"
}
