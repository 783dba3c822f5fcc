// Package work keeps things true in the background, durably, on the database that the replicas
// share. It hides leases, fencing, back-off and schedules.
//
// The unit is a lane: one row for each thing to be kept true, not a message for each change.
//
//	at rest ──Want──▶ waiting ──lease──▶ running ──Done──▶ at rest
//	                    ▲  ▲                │ │
//	                    │  └──RetryAfter────┘ └──Park──▶ parked ──Want or Retry──▶ waiting
//	                    └── lease expired (the worker died)
//
// Want raises a counter, so ten changes become one run; a change that arrives while the lane
// runs makes it run once more. Every lease has a new fencing number: a worker that lost its
// lease can't mark anything as done. A handler may run twice, late, or after a crash.
package work

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/store"
)

// Topic is the wake-up that Want rings.
const Topic = "work"

// Lane names one thing to be kept true.
type Lane struct {
	Kind string
	Key  string
	// Scope is whose budget the work uses, e.g. an application's id. Lanes of one scope share
	// a limit on how many run at once.
	Scope string
	// Priority orders the lanes of a scope; lower goes first.
	Priority int
	// Due is when it may run; the zero time means now.
	Due time.Time
	// Cause is the id of the event that asked for it.
	Cause string
}

// Want asks for a lane to run. A parked lane is taken out of the park. Of several due times
// the earliest counts, of several priorities the most urgent, of several causes the latest.
func Want(tx *store.Tx, now time.Time, l Lane) error {
	_, err := tx.Exec(wantOne, wantArgs(now, l)...)
	if err != nil {
		return fmt.Errorf("work: want %s %s: %w", l.Kind, l.Key, err)
	}
	tx.Wake(Topic)
	return nil
}

// WantAll is Want of many lanes, in few statements.
func WantAll(tx *store.Tx, now time.Time, lanes []Lane) error {
	const together = 30
	for part := range slices.Chunk(lanes, together) {
		args := make([]any, 0, wantWidth*len(part))
		for _, l := range part {
			args = append(args, wantArgs(now, l)...)
		}
		if _, err := tx.Exec(wantSQL(len(part)), args...); err != nil {
			return fmt.Errorf("work: want %d lanes: %w", len(lanes), err)
		}
		tx.Wake(Topic)
	}
	return nil
}

const wantWidth = 7

var wantOne = wantSQL(1)

func wantArgs(now time.Time, l Lane) []any {
	due := l.Due
	if due.IsZero() {
		due = now
	}
	return []any{l.Kind, l.Key, l.Scope, l.Priority, store.Micros(due), store.Micros(now), l.Cause}
}

// wantSQL is the statement that wants n lanes; none may be there twice.
func wantSQL(n int) string {
	var rows strings.Builder
	for i := range n {
		if i > 0 {
			rows.WriteString(", ")
		}
		at := func(j int) string { return "$" + strconv.Itoa(i*wantWidth+j) }
		rows.WriteString("(" + at(1) + ", " + at(2) + ", " + at(3) + ", " + at(4) + ", 1, " + at(5) + ", " + at(6) + ", " + at(7) + ")")
	}
	return `INSERT INTO lanes (kind, key, scope, priority, wanted, due_at, since, cause) VALUES ` + rows.String() + `
		ON CONFLICT (kind, key) DO UPDATE SET
			wanted = lanes.wanted + 1,
			scope = excluded.scope,
			priority = CASE WHEN lanes.wanted > lanes.synced AND lanes.priority < excluded.priority THEN lanes.priority ELSE excluded.priority END,
			due_at = CASE WHEN lanes.wanted > lanes.synced AND NOT lanes.parked AND lanes.due_at < excluded.due_at THEN lanes.due_at ELSE excluded.due_at END,
			since = CASE WHEN lanes.wanted > lanes.synced THEN lanes.since ELSE excluded.since END,
			cause = CASE WHEN excluded.cause = '' AND lanes.wanted > lanes.synced THEN lanes.cause ELSE excluded.cause END, attempts = 0, parked = FALSE, reason = ''`
}

// Retry makes a waiting or parked lane due now. It reports whether there was one.
func Retry(tx *store.Tx, now time.Time, kind, key string) (bool, error) {
	n, err := tx.Exec(`UPDATE lanes SET due_at = $1, attempts = 0, parked = FALSE, reason = ''
		WHERE kind = $2 AND key = $3 AND wanted > synced`, store.Micros(now), kind, key)
	tx.Wake(Topic)
	return n > 0, err
}

// RetryScope makes all waiting and parked lanes of a scope due now and returns how many.
func RetryScope(tx *store.Tx, now time.Time, kind, scope string) (int64, error) {
	n, err := tx.Exec(`UPDATE lanes SET due_at = $1, attempts = 0, parked = FALSE, reason = ''
		WHERE kind = $2 AND scope = $3 AND wanted > synced`, store.Micros(now), kind, scope)
	tx.Wake(Topic)
	return n, err
}

// CancelScope puts all lanes of a scope to rest, and fences out the ones that run: their next
// runs are orphaned. It returns how many there were.
func CancelScope(tx *store.Tx, kind, scope string) (int64, error) {
	return tx.Exec(`UPDATE lanes SET synced = wanted, fence = fence + 1, attempts = 0, parked = FALSE, reason = ''
		WHERE kind = $1 AND scope = $2 AND wanted > synced`, kind, scope)
}

// DeleteScope removes all lanes of a scope.
func DeleteScope(tx *store.Tx, scope string) error {
	_, err := tx.Exec(`DELETE FROM lanes WHERE scope = $1`, scope)
	return err
}

// ErrLost says that another worker has the lane now, or that it was cancelled: what this one
// found out may be out of date.
var ErrLost = errors.New("work: the lease is lost")

// Lease is one run of a lane.
type Lease struct {
	Lane
	// Wanted is the counter that this run satisfies.
	Wanted int64
	Fence  int64
	// Attempts counts the runs since the lane was last wanted or done, this one included.
	Attempts int
	// Since is when the lane left rest.
	Since time.Time
	// Orphaned tells that the run before this one ended without a word: the program died, or it
	// was fenced out, or it failed by an error that it didn't expect. It may have done something
	// that nobody noted.
	Orphaned bool

	done *bool
}

// Done marks the lane as satisfied, in the transaction that stores the result, unless it was
// wanted again meanwhile. If the lease is lost it returns ErrLost, and the transaction must
// fail.
func (l Lease) Done(tx *store.Tx) error {
	// due_at goes back to the moment of the newer wish, if there is one: a retry's delay is over.
	n, err := tx.Exec(`UPDATE lanes SET synced = $1, leased_until = 0, attempts = 0, reason = '', parked = FALSE
		WHERE kind = $2 AND key = $3 AND fence = $4`, l.Wanted, l.Kind, l.Key, l.Fence)
	if err != nil {
		return fmt.Errorf("work: done: %w", err)
	}
	if n == 0 {
		return ErrLost
	}
	if l.done != nil {
		*l.done = true
	}
	return nil
}

// Held reports whether the lane is still this run's. If not, what the run remembers may be out of date.
func (l Lease) Held(tx *store.Tx) (bool, error) {
	_, err := store.One(tx, store.Scalar[int], `SELECT 1 FROM lanes WHERE kind = $1 AND key = $2 AND fence = $3`, l.Kind, l.Key, l.Fence)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// An ended run leaves one of these in leased_until: settled after a word of the handler's,
// orphaned without.
const (
	settled  = 0
	orphaned = 1
)

// release ends a run that didn't satisfy the lane.
func (l Lease) release(tx *store.Tx, due time.Time, parked bool, reason string, counted bool, left int) error {
	attempts := l.Attempts
	if !counted {
		attempts--
	}
	// A wish that came while the lane ran (wanted has moved, attempts is 0 again) is due already
	// and must not inherit the delay of the older one, nor its park.
	_, err := tx.Exec(`UPDATE lanes SET leased_until = $9, reason = $1,
			attempts = CASE WHEN wanted = $2 THEN $3 ELSE 0 END,
			due_at = CASE WHEN wanted = $2 THEN $4 ELSE due_at END,
			parked = CASE WHEN wanted = $2 THEN $5 ELSE FALSE END
		WHERE kind = $6 AND key = $7 AND fence = $8`,
		reason, l.Wanted, attempts, store.Micros(due), parked, l.Kind, l.Key, l.Fence, left)
	return err
}

const leaseColumns = `kind, key, scope, priority, due_at, cause, wanted, fence, attempts, since`

func scanLease(r store.Row) (Lease, error) {
	l := Lease{done: new(bool)}
	var due, since int64
	err := r.Scan(&l.Kind, &l.Key, &l.Scope, &l.Priority, &due, &l.Cause, &l.Wanted, &l.Fence, &l.Attempts, &since)
	l.Due, l.Since = store.FromMicros(due), store.FromMicros(since)
	return l, err
}

// scopes returns the scopes that have lanes of a kind waiting, by skipping through the index.
func scopes(tx *store.Tx, kind string) ([]string, error) {
	return store.All(tx, store.Scalar[string], `WITH RECURSIVE s(scope) AS (
			SELECT min(scope) FROM lanes WHERE kind = $1 AND wanted > synced AND NOT parked
			UNION ALL
			SELECT (SELECT min(scope) FROM lanes WHERE kind = $1 AND scope > s.scope AND wanted > synced AND NOT parked)
			FROM s WHERE s.scope IS NOT NULL
		) SELECT scope FROM s WHERE scope IS NOT NULL`, kind)
}

// Waiting reports whether a lane will run, and nobody runs it now: what this transaction writes
// will be seen by a run that begins after it, so that it needs no wish of its own.
func Waiting(tx *store.Tx, now time.Time, kind, key string) (bool, error) {
	_, err := store.One(tx, store.Scalar[int], `SELECT 1 FROM lanes
		WHERE kind = $1 AND key = $2 AND wanted > synced AND NOT parked AND leased_until <= $3`, kind, key, store.Micros(now))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// anyDue reports whether a scope has a lane that can be claimed.
func anyDue(tx *store.Tx, now time.Time, kind, scope string) (bool, error) {
	_, err := store.One(tx, store.Scalar[int], `SELECT 1 FROM lanes
		WHERE kind = $1 AND scope = $2 AND wanted > synced AND NOT parked AND due_at <= $3 AND leased_until <= $3 LIMIT 1`,
		kind, scope, store.Micros(now))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// nextDue returns when the next lane that isn't due yet will be; the zero time if there is none.
func nextDue(tx *store.Tx, now time.Time) (time.Time, error) {
	due, err := store.One(tx, store.Scalar[int64], `SELECT due_at FROM lanes
		WHERE wanted > synced AND NOT parked AND due_at > $1 ORDER BY due_at LIMIT 1`, store.Micros(now))
	if errors.Is(err, store.ErrNotFound) {
		return time.Time{}, nil
	}
	return store.FromMicros(due), err
}

// claim leases up to n due lanes of a kind and scope.
func claim(tx *store.Tx, now time.Time, kind, scope string, n int, lease time.Duration) ([]Lease, error) {
	type candidate struct {
		key  string
		left int64
	}
	found, err := store.All(tx, func(r store.Row) (candidate, error) {
		var c candidate
		err := r.Scan(&c.key, &c.left)
		return c, err
	}, `SELECT key, leased_until FROM lanes
		WHERE kind = $1 AND scope = $2 AND wanted > synced AND NOT parked AND due_at <= $3 AND leased_until <= $3
		ORDER BY priority, due_at LIMIT $4`+tx.SkipLocked(), kind, scope, store.Micros(now), n)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	args := []any{store.Micros(now.Add(lease)), kind}
	left := make(map[string]int64, len(found))
	for _, c := range found {
		left[c.key] = c.left
		args = append(args, c.key)
	}
	leases, err := store.All(tx, scanLease, `UPDATE lanes SET leased_until = $1, fence = fence + 1, attempts = attempts + 1
		WHERE kind = $2 AND key IN (`+store.Placeholders(3, len(found))+`)
		RETURNING `+leaseColumns, args...)
	for i := range leases {
		leases[i].Orphaned = left[leases[i].Key] != settled
	}
	return leases, err
}

// extend keeps running leases.
func extend(tx *store.Tx, until time.Time, leases []Lease) error {
	for _, l := range leases {
		if _, err := tx.Exec(`UPDATE lanes SET leased_until = $1 WHERE kind = $2 AND key = $3 AND fence = $4 AND leased_until > $5`,
			store.Micros(until), l.Kind, l.Key, l.Fence, orphaned); err != nil {
			return err
		}
	}
	return nil
}

// State is what a person may want to know of a lane that isn't at rest.
type State struct {
	Lane
	Attempts int
	Since    time.Time
	Running  bool
	Parked   bool
	Reason   string
}

// Filter narrows States; empty fields don't.
type Filter struct {
	Kind, Key, Scope string
	Parked           bool // only parked ones
	Limit            int  // default 100
}

// States lists lanes that are not at rest, the most urgent first.
func States(tx *store.Tx, now time.Time, f Filter) ([]State, error) {
	where := []string{"wanted > synced"}
	var args []any
	for _, c := range []struct{ column, value string }{{"kind", f.Kind}, {"key", f.Key}, {"scope", f.Scope}} {
		if c.value != "" {
			args = append(args, c.value)
			where = append(where, c.column+" = $"+strconv.Itoa(len(args)))
		}
	}
	if f.Parked {
		where = append(where, "parked")
	}
	args = append(args, store.PageLimit(f.Limit, 100))
	return store.All(tx, func(r store.Row) (State, error) {
		var s State
		var due, since, leased int64
		err := r.Scan(&s.Kind, &s.Key, &s.Scope, &s.Priority, &due, &s.Cause, &s.Attempts, &since, &leased, &s.Parked, &s.Reason)
		s.Due, s.Since = store.FromMicros(due), store.FromMicros(since)
		s.Running = leased > store.Micros(now)
		return s, err
	}, `SELECT kind, key, scope, priority, due_at, cause, attempts, since, leased_until, parked, reason
		FROM lanes WHERE `+strings.Join(where, " AND ")+` ORDER BY priority, due_at LIMIT $`+strconv.Itoa(len(args)), args...)
}

// Count is how many lanes of a scope are not at rest.
type Count struct {
	Waiting int
	Parked  int
	// Oldest is when the one that waits longest left rest; zero if none waits.
	Oldest time.Time
}

// CountScope counts the lanes of one kind and scope.
func CountScope(tx *store.Tx, kind, scope string) (Count, error) {
	return store.One(tx, func(r store.Row) (Count, error) {
		var c Count
		var oldest int64
		err := r.Scan(&c.Waiting, &c.Parked, &oldest)
		c.Oldest = store.FromMicros(oldest)
		return c, err
	}, `SELECT COALESCE(SUM(CASE WHEN parked THEN 0 ELSE 1 END), 0), COALESCE(SUM(CASE WHEN parked THEN 1 ELSE 0 END), 0),
			COALESCE(MIN(CASE WHEN parked THEN NULL ELSE since END), 0)
		FROM lanes WHERE kind = $1 AND scope = $2 AND wanted > synced`, kind, scope)
}
