package store

import (
	"container/list"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"modernc.org/sqlite"
)

// SQLite parses and plans a statement anew each time unless it is kept: that takes longer than
// most of our statements take to run. Every connection therefore keeps the last ones that it
// ran, by their text.

// keptStatements bounds what one connection keeps; each takes some kilobytes.
const keptStatements = 200

// openKeeping opens a pool of SQLite connections that keep their statements.
func openKeeping(dsn string) (*sql.DB, error) {
	c, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, fmt.Errorf("store: open SQLite: %w", err)
	}
	begin := "BEGIN"
	if strings.Contains(dsn, "_txlock=immediate") {
		begin = "BEGIN IMMEDIATE"
	}
	return sql.OpenDB(keeper{c, begin}), nil
}

type keeper struct {
	driver.Connector
	begin string
}

// rawConn is what the driver's connections can do, and database/sql wants to see.
type rawConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// Connect opens one connection.
func (k keeper) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := k.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	raw, ok := c.(rawConn)
	if !ok {
		return nil, errors.Join(errors.New("store: the SQLite driver has changed"), c.Close())
	}
	return &keepingConn{rawConn: raw, begin: k.begin, byText: map[string]*list.Element{}, order: list.New()}, nil
}

// keepingConn is one connection. database/sql lets only one goroutine use it at a time.
type keepingConn struct {
	rawConn
	begin  string
	byText map[string]*list.Element // of *kept
	order  *list.List               // the last used first
}

// kept is a prepared statement. It is busy while rows of it are read: then it can't run again.
type kept struct {
	text string
	stmt rawStmt
	busy bool
}

type rawStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// take returns the statement of a text, marked busy; nil if it is busy already.
func (c *keepingConn) take(ctx context.Context, text string) (*kept, error) {
	if e := c.byText[text]; e != nil {
		k := e.Value.(*kept) //nolint:forcetypeassert // the list holds nothing else
		if k.busy {
			return nil, nil
		}
		c.order.MoveToFront(e)
		k.busy = true
		return k, nil
	}
	s, err := c.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	raw, ok := s.(rawStmt)
	if !ok {
		return nil, errors.Join(errors.New("store: the SQLite driver has changed"), s.Close())
	}
	for e := c.order.Back(); e != nil && c.order.Len() >= keptStatements; {
		older := e.Prev()
		if k := e.Value.(*kept); !k.busy { //nolint:forcetypeassert // the list holds nothing else
			c.order.Remove(e)
			delete(c.byText, k.text)
			if err := k.stmt.Close(); err != nil {
				return nil, errors.Join(err, s.Close())
			}
		}
		e = older
	}
	k := &kept{text: text, stmt: raw, busy: true}
	c.byText[text] = c.order.PushFront(k)
	return k, nil
}

// ExecContext runs a statement that returns no rows.
func (c *keepingConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	k, err := c.take(ctx, query)
	if err != nil {
		return nil, err
	}
	if k == nil {
		return c.rawConn.ExecContext(ctx, query, args)
	}
	defer func() { k.busy = false }()
	return k.stmt.ExecContext(ctx, args)
}

// BeginTx begins a transaction; the driver would prepare the statements of each anew. A BEGIN that took effect must
// become a transaction, so the end of ctx doesn't interrupt it: database/sql rolls back then.
func (c *keepingConn) BeginTx(ctx context.Context, _ driver.TxOptions) (driver.Tx, error) {
	if _, err := c.ExecContext(context.WithoutCancel(ctx), c.begin, nil); err != nil {
		return nil, err
	}
	return keptTx{c}, nil
}

// keptTx is a transaction of a connection.
type keptTx struct{ c *keepingConn }

// Commit ends the transaction even if it fails: database/sql takes it to be over then.
func (t keptTx) Commit() error {
	ctx := context.Background()
	_, err := t.c.ExecContext(ctx, "COMMIT", nil)
	if err != nil {
		_, _ = t.c.ExecContext(ctx, "ROLLBACK", nil) // fails if the failure has rolled back already
	}
	return err
}

// Rollback ends the transaction without effect.
func (t keptTx) Rollback() error {
	_, err := t.c.ExecContext(context.Background(), "ROLLBACK", nil)
	return err
}

// QueryContext runs a statement that returns rows.
func (c *keepingConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	k, err := c.take(ctx, query)
	if err != nil {
		return nil, err
	}
	if k == nil {
		return c.rawConn.QueryContext(ctx, query, args)
	}
	rows, err := k.stmt.QueryContext(ctx, args)
	if err != nil {
		k.busy = false
		return nil, err
	}
	return &keptRows{Rows: rows, k: k}, nil
}

// Close closes the statements, then the connection.
func (c *keepingConn) Close() error {
	var err error
	for e := c.order.Front(); e != nil; e = e.Next() {
		err = errors.Join(err, e.Value.(*kept).stmt.Close()) //nolint:forcetypeassert // the list holds nothing else
	}
	c.order.Init()
	clear(c.byText)
	return errors.Join(err, c.rawConn.Close())
}

// keptRows gives the statement back when they are closed.
type keptRows struct {
	driver.Rows
	k *kept
}

// Close ends the reading.
func (r *keptRows) Close() error {
	err := r.Rows.Close()
	r.k.busy = false
	return err
}
