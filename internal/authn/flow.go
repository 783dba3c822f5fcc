package authn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// ErrStale is in the chain of the NotFound error about a flow or one-time link that doesn't
// exist, has expired or was used. Which of them it was, nobody is told.
var ErrStale = errors.New("authn: unknown, expired or used")

// maxFlow bounds what a flow keeps: a SAML request with its RelayState is a few KiB.
const maxFlow = 64 << 10

// Flow is what was asked for, kept while the person proves who they are.
type Flow struct {
	// Kind says whose Data it is, e.g. "saml".
	Kind string
	// Data is a JSON object. Its "returnTo" is the local path to go on at after sign-in, and
	// its "application" the label of where the person is on the way to, if there is one.
	Data      json.RawMessage
	CreatedAt time.Time
	ExpiresAt time.Time
}

// ReturnTo returns the local path that the sign-in goes on at (with "?flow=" and the token), or
// "" if Data names none. The caller checks that it is a local path.
func (f Flow) ReturnTo() string { return f.text().ReturnTo }

// Application returns the label of the application that the person is on the way to, or "".
func (f Flow) Application() string { return f.text().Application }

// ApplicationID returns the id of the application that the person is on the way to, or "".
func (f Flow) ApplicationID() string { return f.text().ApplicationID }

// Login returns the e-mail address or user name that the application suggests, or "".
func (f Flow) Login() string { return f.text().Login }

type flowText struct {
	ReturnTo      string `json:"returnTo"`
	Application   string `json:"application"`
	ApplicationID string `json:"applicationId"`
	Login         string `json:"login"`
}

func (f Flow) text() flowText {
	var t flowText
	if json.Unmarshal(f.Data, &t) != nil {
		return flowText{} // Data of another shape has none of these
	}
	return t
}

// StartFlow keeps data, a value whose JSON is an object with "returnTo", for ttl. The token
// stands for it in the browser's address; it can be read often (Flow) and consumed once.
func StartFlow(tx *store.Tx, now time.Time, kind string, data any, ttl time.Duration) (token string, err error) {
	raw, err := json.Marshal(data)
	if err != nil {
		return "", fmt.Errorf("authn: start a %s flow: %w", kind, err)
	}
	if len(raw) > maxFlow {
		return "", problem.New(problem.Invalid, "The request is too large to be kept while you sign in.")
	}
	t := newToken()
	_, err = tx.Exec(`INSERT INTO flows (id, kind, data, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)`,
		mustHash(t), kind, string(raw), store.Micros(now), store.Micros(now.Add(ttl)))
	if err != nil {
		return "", fmt.Errorf("authn: start a %s flow: %w", kind, err)
	}
	return t.Reveal(), nil
}

const flowColumns = `kind, data, created_at, expires_at`

func scanFlow(r store.Row) (Flow, error) {
	var f Flow
	var data string
	var created, expires int64
	err := r.Scan(&f.Kind, &data, &created, &expires)
	f.Data, f.CreatedAt, f.ExpiresAt = json.RawMessage(data), store.FromMicros(created), store.FromMicros(expires)
	return f, err
}

// Flow returns a flow that can still be consumed, or a NotFound error with ErrStale.
func (a *Authn) Flow(ctx context.Context, token string) (Flow, error) {
	hash, ok := tokenHash(token)
	if !ok {
		return Flow{}, staleFlow()
	}
	var f Flow
	err := a.db.View(ctx, func(tx *store.Tx) (err error) {
		f, err = store.One(tx, scanFlow, `SELECT `+flowColumns+` FROM flows WHERE id = $1 AND consumed_at = 0 AND expires_at > $2`,
			hash, store.Micros(a.now()))
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return f, staleFlow()
	}
	return f, err
}

// ConsumeFlow returns a flow and makes sure that nobody gets it again: of any number of callers
// on any replica exactly one gets it, the others a NotFound error with ErrStale.
func ConsumeFlow(tx *store.Tx, now time.Time, token string) (Flow, error) {
	hash, ok := tokenHash(token)
	if !ok {
		return Flow{}, staleFlow()
	}
	f, err := store.One(tx, scanFlow, `UPDATE flows SET consumed_at = $2 WHERE id = $1 AND consumed_at = 0 AND expires_at > $2
		RETURNING `+flowColumns, hash, store.Micros(now))
	if errors.Is(err, store.ErrNotFound) {
		return f, staleFlow()
	}
	return f, err
}

func staleFlow() error {
	return problem.Wrap(problem.NotFound, ErrStale, "This sign-in has expired or was finished already. Start again at the application you wanted to reach.")
}
