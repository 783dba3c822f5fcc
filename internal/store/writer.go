package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// writer is SQLite's single writer. It commits in groups: while one commit waits for the disk,
// the updates that arrive queue up and share the next. Each is acknowledged only when the group
// is durable. A failing update takes nobody with it: if it has written, the group is rolled back
// and runs again with a savepoint for each. (Savepoints from the start would cost every update
// two statements more.)
type writer struct {
	db   *DB
	jobs chan *job
	quit chan struct{}
	done chan struct{}
	once sync.Once
	busy atomic.Int64 // callers that are busy with what follows from their last update
}

type job struct {
	ctx    context.Context //nolint:containedctx // the caller's, for exactly this call
	fn     func(*Tx) error
	err    error
	panick any
	stack  []byte
	topics []string
	reply  chan struct{}
}

// A group ends after this many updates or this long, so that the first in it doesn't wait
// behind an endless stream. While callers are occupied it waits for others for part of the time that
// it will take until they are done.
const (
	groupSize = 128
	groupTime = 20 * time.Millisecond
	busyTime  = 400 * time.Microsecond // for each that is occupied beyond the first
	awaitTime = 5 * time.Millisecond   // at most
)

var errClosed = errors.New("store: the database is closed")

func newWriter(db *DB) *writer {
	w := &writer{db: db, jobs: make(chan *job, groupSize), quit: make(chan struct{}), done: make(chan struct{})}
	go w.run()
	return w
}

func (w *writer) close() {
	w.once.Do(func() { close(w.quit) })
	<-w.done
}

func (w *writer) do(ctx context.Context, fn func(*Tx) error) error {
	j := &job{ctx: ctx, fn: fn, reply: make(chan struct{})}
	select {
	case <-w.quit:
		return errClosed
	default:
	}
	select {
	case w.jobs <- j:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.quit:
		return errClosed
	}
	select {
	case <-j.reply:
	case <-w.done:
		// The writer drains its queue before it ends; only a job that slipped in behind the
		// drain has no answer.
		select {
		case <-j.reply:
		default:
			return errClosed
		}
	}
	if j.panick != nil {
		panic(fmt.Sprintf("%v\n%s", j.panick, j.stack))
	}
	return j.err
}

func (w *writer) run() {
	defer close(w.done)
	for {
		select {
		case j := <-w.jobs:
			w.group(j)
		case <-w.quit:
			for {
				select {
				case j := <-w.jobs:
					w.group(j)
				default:
					return
				}
			}
		}
	}
}

func (w *writer) group(first *job) {
	ctx := context.Background()
	var group []*job
	finish := func(err error) {
		for _, j := range group {
			if j.err == nil && j.panick == nil {
				j.err = err
			}
			if j.err == nil && j.panick == nil {
				w.db.wakes.ring(j.topics...)
			}
			close(j.reply)
		}
	}
	tx, err := w.db.write.BeginTx(ctx, nil)
	if err != nil {
		group = append(group, first)
		finish(translate("begin", err))
		return
	}
	defer func() { _ = tx.Rollback() }() // no effect after Commit
	began := time.Now()
	spoilt := false
	for j := first; j != nil && !spoilt; {
		group = append(group, j)
		spoilt = w.one(tx, j)
		j = nil
		if len(group) < groupSize && !spoilt {
			j = w.next(time.Since(began))
		}
	}
	if spoilt {
		if err := tx.Rollback(); err != nil {
			finish(translate("rollback", err))
			return
		}
		if tx, err = w.db.write.BeginTx(ctx, nil); err != nil {
			finish(translate("begin", err))
			return
		}
		defer func() { _ = tx.Rollback() }()
		for _, j := range group {
			if err := w.apart(tx, j); err != nil {
				finish(err)
				return
			}
		}
	}
	if err := tx.Commit(); err != nil {
		finish(translate("commit", err))
		return
	}
	finish(nil)
}

// next returns another update for a group that began some time ago; nil if it should be committed.
func (w *writer) next(age time.Duration) *job {
	if age >= groupTime {
		return nil
	}
	select {
	case j := <-w.jobs:
		return j
	default:
	}
	left := min(time.Duration(w.busy.Load()-1)*busyTime, awaitTime) - age
	if left <= 0 {
		return nil
	}
	patience := time.NewTimer(left)
	defer patience.Stop()
	select {
	case j := <-w.jobs:
		return j
	case <-patience.C:
	case <-w.quit:
	}
	return nil
}

// one runs a job. It reports whether it failed and left something written behind.
func (w *writer) one(tx *sql.Tx, j *job) (spoilt bool) {
	j.err, j.panick, j.topics = nil, nil, nil
	if j.err = j.ctx.Err(); j.err != nil {
		return false // the caller gave up; the group goes on
	}
	// An interrupted statement would roll back the whole group, so a caller that gives up
	// doesn't interrupt one that has begun.
	t := &Tx{ctx: context.WithoutCancel(j.ctx), q: tx, engine: SQLite}
	func() {
		defer func() {
			if p := recover(); p != nil {
				j.panick, j.stack = p, debug.Stack()
			}
		}()
		j.err = j.fn(t)
	}()
	if j.err != nil || j.panick != nil {
		return t.wrote
	}
	j.topics = t.topics
	return false
}

// apart is one in a savepoint, so that what it leaves behind can be undone. The error means that the whole transaction
// is lost.
func (w *writer) apart(tx *sql.Tx, j *job) error {
	ctx := context.Background()
	if _, err := tx.ExecContext(ctx, "SAVEPOINT job"); err != nil {
		return translate("savepoint", err)
	}
	if w.one(tx, j) {
		if _, err := tx.ExecContext(ctx, "ROLLBACK TO job"); err != nil {
			return translate("rollback", err)
		}
	}
	if _, err := tx.ExecContext(ctx, "RELEASE job"); err != nil {
		return translate("release", err)
	}
	return nil
}
