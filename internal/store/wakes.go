package store

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// wakes carries "something changed" from a committed transaction to whoever waits for it: in
// this process directly, on other replicas by LISTEN and NOTIFY. A wake may be lost; it only
// makes things fast.
type wakes struct {
	channel string
	mu      sync.Mutex
	subs    map[string][]chan struct{}
	stop    context.CancelFunc
	done    chan struct{}
}

func newWakes() *wakes { return &wakes{subs: map[string][]chan struct{}{}} }

// Wakes returns a channel on which topic's wakes arrive; several that arrive while nobody
// receives become one. It lives as long as the DB.
func (db *DB) Wakes(topic string) <-chan struct{} {
	ch := make(chan struct{}, 1)
	db.wakes.mu.Lock()
	defer db.wakes.mu.Unlock()
	db.wakes.subs[topic] = append(db.wakes.subs[topic], ch)
	return ch
}

func (w *wakes) ring(topics ...string) {
	if len(topics) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, topic := range topics {
		for _, ch := range w.subs[topic] {
			select {
			case ch <- struct{}{}:
			default:
			}
		}
	}
}

func (w *wakes) close() {
	if w.stop != nil {
		w.stop()
		<-w.done
	}
}

// listen receives the wakes of other replicas until close.
func (w *wakes) listen(pool *pgxpool.Pool, log *slog.Logger) {
	ctx, stop := context.WithCancel(context.Background())
	w.stop, w.done = stop, make(chan struct{})
	go func() {
		defer close(w.done)
		for ctx.Err() == nil {
			err := w.listenOnce(ctx, pool)
			if ctx.Err() != nil {
				return
			}
			log.Warn("listening for wake-ups was interrupted", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}()
}

func (w *wakes) listenOnce(ctx context.Context, pool *pgxpool.Pool) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	// A connection that listens is closed and not given back, so that nobody inherits LISTEN.
	raw := conn.Hijack()
	defer func() { _ = raw.Close(context.WithoutCancel(ctx)) }()
	if _, err := raw.Exec(ctx, `LISTEN "`+w.channel+`"`); err != nil {
		return err
	}
	for {
		n, err := raw.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		w.ring(n.Payload)
	}
}
