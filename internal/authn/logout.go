package authn

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-idp/latchkey/internal/store"
)

// EndSession ends a session, in the transaction of whoever has a reason to; recording it is theirs. It returns the
// session, and false if none that still holds was there. What hangs on the session goes with it.
func EndSession(tx *store.Tx, id string) (Session, bool, error) {
	s, err := store.One(tx, scanSession, sessionSelect+`s.id = $1`, id)
	held := err == nil
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return Session{}, false, err
	}
	n, err := tx.Exec(`DELETE FROM sessions WHERE id = $1`, id)
	return s, held && n > 0, err
}

// FlowID returns the name of a flow in the database, for state that other flows refer to. It opens nothing; "" if the
// token can't be one.
func FlowID(token string) string {
	hash, _ := tokenHash(token)
	return hash
}

// FlowByID returns a flow that can still be consumed, in a transaction that goes on to write it with RewriteFlow: nobody
// else does so meanwhile. A NotFound error with ErrStale if there is none.
func FlowByID(tx *store.Tx, now time.Time, id string) (Flow, error) {
	f, err := store.One(tx, scanFlow, `SELECT `+flowColumns+` FROM flows WHERE id = $1 AND consumed_at = 0 AND expires_at > $2`+tx.ForUpdate(),
		id, store.Micros(now))
	if errors.Is(err, store.ErrNotFound) {
		return f, staleFlow()
	}
	return f, err
}

// RewriteFlow replaces what a flow keeps.
func RewriteFlow(tx *store.Tx, id string, data any) error {
	raw, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("authn: rewrite a flow: %w", err)
	}
	_, err = tx.Exec(`UPDATE flows SET data = $2 WHERE id = $1`, id, string(raw))
	return err
}
