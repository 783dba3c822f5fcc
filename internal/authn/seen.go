package authn

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/latchkey-idp/latchkey/internal/store"
)

const (
	// seenEvery is how exact the times of last use are: a write for each use would cost more
	// than the use.
	seenEvery  = time.Minute
	flushEvery = 5 * time.Second
	// seenMax bounds what waits to be written, should writing fail for long.
	seenMax = 100_000
)

// seen gathers when sessions and keys were used, to be written in one go off the hot path.
type seen struct {
	mu       sync.Mutex
	sessions map[string]time.Time
	keys     map[string]time.Time
}

func newSeen() seen {
	return seen{sessions: map[string]time.Time{}, keys: map[string]time.Time{}}
}

func (s *seen) session(id string, stored, now time.Time) { s.note(&s.sessions, id, stored, now) }
func (s *seen) key(id string, stored, now time.Time)     { s.note(&s.keys, id, stored, now) }

func (s *seen) note(m *map[string]time.Time, id string, stored, now time.Time) {
	if now.Sub(stored) < seenEvery {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := (*m)[id]; ok || len(*m) < seenMax {
		(*m)[id] = now
	}
}

func (s *seen) take() (sessions, apiKeys map[string]time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sessions, apiKeys = s.sessions, s.keys
	s.sessions, s.keys = map[string]time.Time{}, map[string]time.Time{}
	return sessions, apiKeys
}

// flush writes what was gathered. What can't be written is dropped: the next use gathers it
// again.
func (a *Authn) flush(ctx context.Context) error {
	sessions, apiKeys := a.seen.take()
	if len(sessions)+len(apiKeys) == 0 {
		return nil
	}
	return a.db.Update(ctx, func(tx *store.Tx) error {
		// In order, so that replicas don't wait for each other in a circle.
		for _, id := range slices.Sorted(maps.Keys(sessions)) {
			if _, err := tx.Exec(`UPDATE sessions SET seen_at = $2 WHERE id = $1 AND seen_at < $2`, id, store.Micros(sessions[id])); err != nil {
				return err
			}
		}
		for _, id := range slices.Sorted(maps.Keys(apiKeys)) {
			if _, err := tx.Exec(`UPDATE api_keys SET last_used_at = $2 WHERE id = $1 AND last_used_at < $2`, id, store.Micros(apiKeys[id])); err != nil {
				return err
			}
		}
		return nil
	})
}

// Run writes every few seconds when sessions and API keys were last used, until ctx ends, and
// once more then. Without it an idle session ends too early.
func (a *Authn) Run(ctx context.Context) error {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushEvery)
			defer cancel()
			return a.flush(last)
		case <-tick.C:
			if err := a.flush(ctx); err != nil && ctx.Err() == nil {
				a.log.Warn("times of last use were not written", "error", err)
			}
		}
	}
}

// Prune deletes what has ended: sessions, flows, links, counters of failures, and places that
// nobody signed in from for long. Run it every hour or so.
func (a *Authn) Prune(ctx context.Context) error {
	now := a.now()
	for _, q := range []struct {
		sql    string
		before time.Time
	}{
		{`DELETE FROM sessions WHERE expires_at < $1`, now},
		{`DELETE FROM sessions WHERE seen_at < $1`, now.Add(-a.idle - time.Hour)},
		{`DELETE FROM sessions WHERE created_at < $1 AND epoch < (SELECT session_epoch FROM users WHERE users.id = sessions.user_id)`, now},
		{`DELETE FROM flows WHERE expires_at < $1`, now},
		{`DELETE FROM one_time_links WHERE expires_at < $1`, now},
		{`DELETE FROM throttles WHERE window_start < $1`, now.Add(-longestWindow)},
		{`DELETE FROM familiar_places WHERE seen_at < $1`, now.Add(-familiarFor)},
	} {
		err := a.db.Update(ctx, func(tx *store.Tx) error {
			_, err := tx.Exec(q.sql, store.Micros(q.before))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
