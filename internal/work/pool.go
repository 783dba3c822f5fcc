package work

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// Options say how lanes of one kind run.
type Options struct {
	// Workers is how many run at once on this replica; default 1.
	Workers int
	// PerScope limits how many of one scope run at once; nil means no limit but Workers. It is
	// asked before each claim.
	PerScope func(scope string) int
}

// Pool runs lanes. Register handlers before Run.
type Pool struct {
	db    *store.DB
	log   *slog.Logger
	now   func() time.Time
	kinds []*kind
	every map[string]time.Duration

	mu      sync.Mutex
	running map[[2]string]Lease
	held    map[string]time.Time // scopes that aren't claimed before a time
	freed   chan struct{}
}

type kind struct {
	name    string
	opts    Options
	handle  func(context.Context, Lease) error
	running int
	scopes  map[string]int
}

// A worker that dies loses its lanes after leaseTime; a living one extends them well before.
const (
	leaseTime = 4 * time.Second
	heartbeat = time.Second
	poll      = time.Second
	grace     = 10 * time.Second
	gather    = 5 * time.Millisecond
)

// NewPool returns a pool that runs lanes of db.
func NewPool(db *store.DB, log *slog.Logger, now func() time.Time) *Pool {
	return &Pool{
		db: db, log: log, now: now,
		every: map[string]time.Duration{}, running: map[[2]string]Lease{}, held: map[string]time.Time{},
		freed: make(chan struct{}, 1),
	}
}

// retry, park and hold are what a handler may return.
type retryError struct {
	after  time.Duration
	reason string
}

func (e *retryError) Error() string { return "work: retry: " + e.reason }

type parkError struct{ reason string }

func (e *parkError) Error() string { return "work: parked: " + e.reason }

type holdError struct {
	after  time.Duration
	reason string
}

func (e *holdError) Error() string { return "work: scope held: " + e.reason }

// RetryAfter makes the lane run again after d. A d of zero leaves it to the back-off.
func RetryAfter(d time.Duration, reason string) error { return &retryError{after: d, reason: reason} }

// Park stops the lane until it is wanted again or a person retries it. The reason is shown.
func Park(reason string) error { return &parkError{reason: reason} }

// Hold makes the lane due again at once, not counting this attempt, but starts no lane of its
// scope for d: the target as a whole has to be left alone.
func Hold(d time.Duration, reason string) error { return &holdError{after: d, reason: reason} }

// Handle registers the handler of a kind. The handler does the work, then calls Lease.Done in
// the transaction that stores its result; returning nil without that marks the lane done all
// the same. RetryAfter, Park and Hold say what else to do; any other error retries with
// exponential back-off.
func (p *Pool) Handle(name string, o Options, fn func(context.Context, Lease) error) {
	if o.Workers <= 0 {
		o.Workers = 1
	}
	p.kinds = append(p.kinds, &kind{name: name, opts: o, handle: fn, scopes: map[string]int{}})
}

// Every runs fn about every d, on one replica at a time. A run that fails is repeated sooner.
func (p *Pool) Every(name string, d time.Duration, fn func(context.Context) error) {
	p.every[name] = d
	p.Handle("periodic."+name, Options{}, func(ctx context.Context, l Lease) error {
		if err := fn(ctx); err != nil {
			return err
		}
		return p.db.Update(ctx, func(tx *store.Tx) error {
			if err := l.Done(tx); err != nil {
				return err
			}
			return Want(tx, p.now(), Lane{Kind: l.Kind, Key: l.Key, Due: p.now().Add(d)})
		})
	})
}

// Run runs lanes until ctx ends, then lets those under way finish for a while, and returns
// when nothing runs any more.
func (p *Pool) Run(ctx context.Context) error {
	for name := range p.every {
		err := p.db.Update(ctx, func(tx *store.Tx) error {
			n, err := store.One(tx, store.Scalar[int], `SELECT count(*) FROM lanes WHERE kind = $1 AND key = 'all' AND wanted > synced`, "periodic."+name)
			if err != nil || n > 0 {
				return err
			}
			return Want(tx, p.now(), Lane{Kind: "periodic." + name, Key: "all"})
		})
		if ctx.Err() != nil { // ended as soon as it began
			return nil
		}
		if err != nil {
			return fmt.Errorf("work: schedule %s: %w", name, err)
		}
	}
	wakes := p.db.Wakes(Topic)
	handlers, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var wg sync.WaitGroup
	beats := make(chan struct{})
	wg.Go(func() { p.beat(handlers, beats) })
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-wakes:
		case <-p.freed:
		case <-timer.C:
		}
		if ctx.Err() != nil {
			break
		}
		next, err := p.pass(ctx, handlers, &wg)
		if err != nil && ctx.Err() == nil {
			p.log.Error("work could not be claimed", "error", err)
		}
		timer.Reset(p.pause(next))
		// While much goes on, every end of a run and every wish is a wake-up: take several with
		// each pass.
		select {
		case <-ctx.Done():
		case <-time.After(gather):
		}
	}
	done := make(chan struct{})
	go func() {
		select {
		case <-time.After(grace):
			stop()
		case <-done:
		}
	}()
	close(beats)
	wg.Wait()
	close(done)
	return nil
}

// pause is how long to wait for a wake-up: until the next lane is due or a hold ends, at most
// about poll, since a wake-up may be lost and other processes write too.
func (p *Pool) pause(next time.Time) time.Duration {
	d := poll/2 + rand.N(poll)
	now := p.now()
	if !next.IsZero() {
		d = min(d, next.Sub(now)+time.Millisecond)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, till := range p.held {
		if wait := till.Sub(now); wait > 0 {
			d = min(d, wait+time.Millisecond)
		}
	}
	return max(d, 0)
}

// pass looks once for due lanes of all kinds and starts them. It returns when the next lane
// that isn't due yet will be; the zero time if there is none.
func (p *Pool) pass(ctx, handlers context.Context, wg *sync.WaitGroup) (next time.Time, err error) {
	now := p.now()
	waiting := map[*kind][]string{}
	err = p.db.View(ctx, func(tx *store.Tx) error {
		clear(waiting)
		for _, k := range p.kinds {
			p.mu.Lock()
			free := k.opts.Workers - k.running
			p.mu.Unlock()
			// A claim is a transaction: take several lanes with each, and not one whenever a
			// worker ends.
			if free < max(1, k.opts.Workers/4) {
				continue
			}
			all, err := scopes(tx, k.name)
			if err != nil {
				return err
			}
			for _, scope := range all {
				// What isn't due, or runs, is no reason for a transaction.
				due, err := anyDue(tx, now, k.name, scope)
				if err != nil {
					return err
				}
				if due {
					waiting[k] = append(waiting[k], scope)
				}
			}
		}
		var err error
		next, err = nextDue(tx, now)
		return err
	})
	if err != nil {
		return time.Time{}, err
	}
	for _, k := range p.kinds {
		if len(waiting[k]) > 0 {
			err = errors.Join(err, p.fill(ctx, handlers, k, waiting[k], wg))
		}
	}
	return next, err
}

// fill claims as many due lanes of the waiting scopes as there are free workers, and starts them.
func (p *Pool) fill(ctx, handlers context.Context, k *kind, waiting []string, wg *sync.WaitGroup) error {
	p.mu.Lock()
	free := k.opts.Workers - k.running
	p.mu.Unlock()
	// No scope is always served first.
	rand.Shuffle(len(waiting), func(i, j int) { waiting[i], waiting[j] = waiting[j], waiting[i] })
	for i, scope := range waiting {
		now := p.now()
		// Each scope gets a fair part of what is free, the last ones what the others left.
		n := (free + len(waiting) - i - 1) / (len(waiting) - i)
		limit := n
		if k.opts.PerScope != nil {
			limit = k.opts.PerScope(scope)
		}
		p.mu.Lock()
		if till, ok := p.held[scope]; ok {
			if now.Before(till) {
				n = 0
			} else {
				delete(p.held, scope)
			}
		}
		if k.opts.PerScope != nil {
			n = min(n, limit-k.scopes[scope])
		}
		p.mu.Unlock()
		if n <= 0 {
			continue
		}
		var leases []Lease
		if err := p.db.Claim(ctx, func(tx *store.Tx) (err error) {
			leases, err = claim(tx, now, k.name, scope, n, leaseTime)
			return err
		}); err != nil {
			return err
		}
		free -= len(leases)
		slices.SortFunc(leases, func(a, b Lease) int { return a.Priority - b.Priority })
		for _, l := range leases {
			p.mu.Lock()
			k.running++
			k.scopes[scope]++
			p.running[[2]string{l.Kind, l.Key}] = l
			p.mu.Unlock()
			wg.Go(func() { p.one(handlers, k, l) })
		}
	}
	return nil
}

func (p *Pool) one(ctx context.Context, k *kind, l Lease) {
	defer func() {
		p.mu.Lock()
		k.running--
		k.scopes[l.Scope]--
		if k.scopes[l.Scope] == 0 {
			delete(k.scopes, l.Scope)
		}
		delete(p.running, [2]string{l.Kind, l.Key})
		p.mu.Unlock()
		select {
		case p.freed <- struct{}{}:
		default:
		}
	}()
	err := p.call(ctx, k, l)
	if *l.done || errors.Is(err, ErrLost) {
		if err != nil && !errors.Is(err, ErrLost) {
			p.log.Error("work failed after it was done", "kind", l.Kind, "key", l.Key, "error", err)
		}
		return
	}
	if err = p.settle(ctx, l, err); err != nil && !errors.Is(err, ErrLost) {
		// The lease runs out, and the lane runs again.
		p.log.Error("the end of work could not be stored", "kind", l.Kind, "key", l.Key, "error", err)
	}
}

// call runs the handler. A panic in one lane must not end the others.
func (p *Pool) call(ctx context.Context, k *kind, l Lease) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return k.handle(ctx, l)
}

func (p *Pool) settle(ctx context.Context, l Lease, cause error) error {
	now := p.now()
	return p.db.Update(ctx, func(tx *store.Tx) error {
		if cause == nil {
			return l.Done(tx)
		}
		if e, ok := errors.AsType[*parkError](cause); ok {
			return l.release(tx, now, true, e.reason, true, settled)
		}
		if e, ok := errors.AsType[*holdError](cause); ok {
			p.HoldScope(l.Scope, e.after)
			return l.release(tx, now, false, e.reason, false, settled)
		}
		if e, ok := errors.AsType[*retryError](cause); ok {
			after := e.after
			if after <= 0 {
				after = Backoff(l.Attempts)
			}
			return l.release(tx, now.Add(after), false, e.reason, true, settled)
		}
		if ctx.Err() == nil {
			p.log.Warn("work failed and will be retried", "kind", l.Kind, "key", l.Key, "attempt", l.Attempts, "error", cause)
		}
		return l.release(tx, now.Add(Backoff(l.Attempts)), false, problem.Public(cause), true, orphaned)
	})
}

// HoldScope starts no lane of scope on this replica for d.
func (p *Pool) HoldScope(scope string, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if till := p.now().Add(d); till.After(p.held[scope]) {
		p.held[scope] = till
	}
}

// ReleaseScope ends a hold.
func (p *Pool) ReleaseScope(scope string) {
	p.mu.Lock()
	delete(p.held, scope)
	p.mu.Unlock()
	select {
	case p.freed <- struct{}{}:
	default:
	}
}

// HeldTill returns until when a scope is held on this replica; zero if it isn't.
func (p *Pool) HeldTill(scope string) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if till := p.held[scope]; p.now().Before(till) {
		return till
	}
	return time.Time{}
}

// Backoff returns how long to wait after the nth attempt: 1 s, 2 s, 4 s … 5 min, give or take
// a quarter.
func Backoff(attempt int) time.Duration {
	d := min(time.Second<<min(max(attempt-1, 0), 10), 5*time.Minute)
	return d*3/4 + rand.N(d/2)
}

// beat extends the leases of what runs, until done is closed and nothing runs.
func (p *Pool) beat(ctx context.Context, done <-chan struct{}) {
	t := time.NewTicker(heartbeat)
	defer t.Stop()
	ending := false
	for {
		select {
		case <-t.C:
		case <-done:
			done, ending = nil, true
		case <-p.freedWhile(ending):
		}
		p.mu.Lock()
		leases := make([]Lease, 0, len(p.running))
		for _, l := range p.running {
			leases = append(leases, l)
		}
		p.mu.Unlock()
		if len(leases) == 0 {
			if ending {
				return
			}
			continue
		}
		if err := p.db.Update(ctx, func(tx *store.Tx) error { return extend(tx, p.now().Add(leaseTime), leases) }); err != nil && ctx.Err() == nil {
			p.log.Error("leases could not be extended", "error", err)
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// freedWhile returns the channel on which the end of a run is told, while shutting down: the
// main loop no longer listens to it then.
func (p *Pool) freedWhile(ending bool) <-chan struct{} {
	if ending {
		return p.freed
	}
	return nil
}
