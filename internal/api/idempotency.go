package api

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
)

const (
	// answersKept is how long an answer can be had again.
	answersKept = 24 * time.Hour
	// abandoned is when a request that has no answer yet is taken to have died.
	abandoned   = 2 * time.Minute
	maxKey      = 255
	maxOnceBody = 1 << 20
)

// neverStored are operations that are repeatable by themselves and have large bodies.
var neverStored = map[string]bool{
	"POST " + Prefix + "/users/import":                    true,
	"POST " + Prefix + "/applications/{id}/saml/metadata": true,
}

// secretAnswers are operations whose answer holds a secret, which must not lie in the database.
var secretAnswers = map[string]bool{"POST " + Prefix + "/api-keys": true}

// kept is an answer as it is stored.
type kept struct {
	Header http.Header `json:"header"`
	Body   []byte      `json:"body"`
}

// once runs a request that has an Idempotency-Key at most once, and gives its answer again when
// it is repeated. Only successes are kept: what failed changed nothing and may be tried again.
//
// The request's hash is keyed with the caller's own secret, so that a copy of the database
// tells nobody what was sent.
func (a *API) once(w http.ResponseWriter, r *http.Request, by access.Actor, secret keys.Secret, key, pattern string) {
	if !plainKey(key) {
		a.refuse(w, r, problem.InvalidField("Idempotency-Key", "The key has to have 1 to %d printable ASCII characters.", maxKey))
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxOnceBody+1))
	if _, large := errors.AsType[*http.MaxBytesError](err); large || len(body) > maxOnceBody {
		a.refuse(w, r, refused(http.StatusRequestEntityTooLarge, nil))
		return
	}
	if err != nil {
		a.refuse(w, r, refused(http.StatusRequestTimeout, nil))
		return
	}
	mac := hmac.New(sha256.New, []byte(secret.Reveal()))
	for _, part := range [][]byte{[]byte(r.Method), []byte(r.URL.RequestURI()), body} {
		_, _ = mac.Write(part) // a hash never fails
		_, _ = mac.Write([]byte{0})
	}
	hash := hex.EncodeToString(mac.Sum(nil))

	before, err := a.claim(r.Context(), by, key, hash)
	if err != nil {
		a.refuse(w, r, err)
		return
	}
	if before != nil {
		if secretAnswers[pattern] {
			a.refuse(w, r, problem.New(problem.Conflict, "This request was carried out already. Its answer held a secret, which is shown only once. Revoke what was made and send the request with a new Idempotency-Key."))
			return
		}
		maps.Copy(w.Header(), before.kept.Header)
		w.Header().Set("Idempotent-Replayed", "true")
		w.WriteHeader(before.status)
		_, _ = w.Write(before.kept.Body) // the caller is gone
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	rec := newRecorder()
	done := false
	defer func() {
		if !done { // a panic: nothing is known, so it may be tried again
			_ = a.forget(context.WithoutCancel(r.Context()), by, key)
		}
	}()
	a.mux.ServeHTTP(rec, r)
	done = true
	if err := a.keep(context.WithoutCancel(r.Context()), by, key, pattern, rec); err != nil {
		a.Logger.Error("the answer to a request with an idempotency key can't be kept", "request_id", requestOf(r.Context()).id, "error", err)
	}
	rec.copyTo(w)
	a.tidy(context.WithoutCancel(r.Context()))
}

// tidy forgets old answers, at most once an hour.
func (a *API) tidy(ctx context.Context) {
	now, last := a.Now().Unix(), a.tidied.Load()
	if now-last < int64(time.Hour/time.Second) || !a.tidied.CompareAndSwap(last, now) {
		return
	}
	if err := a.prune(ctx); err != nil {
		a.Logger.Warn("old answers to requests with idempotency keys can't be removed", "error", err)
	}
}

func plainKey(key string) bool {
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return false
		}
	}
	return key != "" && len(key) <= maxKey
}

type stored struct {
	hash    string
	status  int
	body    string
	created time.Time
	kept    kept
}

// claim takes a key for a request. It returns the answer if the same request has one already.
func (a *API) claim(ctx context.Context, by access.Actor, key, hash string) (*stored, error) {
	var found *stored
	err := a.DB.Update(ctx, func(tx *store.Tx) error {
		found = nil
		now := a.Now()
		s, err := store.One(tx, func(r store.Row) (stored, error) {
			var s stored
			var created int64
			err := r.Scan(&s.hash, &s.status, &s.body, &created)
			s.created = store.FromMicros(created)
			return s, err
		}, `SELECT request_hash, status, body, created_at FROM idempotency_keys WHERE actor_id = $1 AND key = $2`, by.ID, key)
		running := problem.New(problem.Conflict, "A request with this Idempotency-Key is running right now. Send it again in a moment.")
		running.RetryAfter = time.Second
		switch {
		case errors.Is(err, store.ErrNotFound):
			n, err := tx.Exec(`INSERT INTO idempotency_keys (actor_id, key, request_hash, status, body, created_at) VALUES ($1, $2, $3, 0, '', $4)
				ON CONFLICT DO NOTHING`, by.ID, key, hash, store.Micros(now))
			if err == nil && n == 0 {
				return running
			}
			return err
		case err != nil:
			return err
		case now.Sub(s.created) >= answersKept, s.status == 0 && s.hash == hash && now.Sub(s.created) >= abandoned:
			_, err := tx.Exec(`UPDATE idempotency_keys SET request_hash = $3, status = 0, body = '', created_at = $4 WHERE actor_id = $1 AND key = $2`,
				by.ID, key, hash, store.Micros(now))
			return err
		case !hmac.Equal([]byte(s.hash), []byte(hash)):
			return problem.New(problem.Conflict, "This Idempotency-Key was used for another request. Use a new key for every request.")
		case s.status == 0:
			return running
		}
		if s.body != "" {
			if err := json.Unmarshal([]byte(s.body), &s.kept); err != nil {
				return err
			}
		}
		found = &s
		return nil
	})
	return found, err
}

func (a *API) keep(ctx context.Context, by access.Actor, key, pattern string, rec *recorder) error {
	if rec.status < 200 || rec.status > 299 {
		return a.forget(ctx, by, key)
	}
	body := ""
	if !secretAnswers[pattern] {
		k := kept{Header: http.Header{}, Body: rec.body.Bytes()}
		for _, name := range []string{"Content-Type", "Etag", "Location"} {
			if v := rec.header.Values(name); len(v) > 0 {
				k.Header[name] = v
			}
		}
		raw, err := json.Marshal(k)
		if err != nil {
			return err
		}
		body = string(raw)
	}
	return a.DB.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE idempotency_keys SET status = $3, body = $4 WHERE actor_id = $1 AND key = $2`, by.ID, key, rec.status, body)
		return err
	})
}

func (a *API) forget(ctx context.Context, by access.Actor, key string) error {
	return a.DB.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM idempotency_keys WHERE actor_id = $1 AND key = $2`, by.ID, key)
		return err
	})
}

// prune forgets answers that are older than a day.
func (a *API) prune(ctx context.Context) error {
	return a.DB.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM idempotency_keys WHERE created_at < $1`, store.Micros(a.Now().Add(-answersKept)))
		return err
	})
}

// recorder keeps an answer instead of sending it.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newRecorder() *recorder { return &recorder{header: http.Header{}} }

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *recorder) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(b)
}

func (r *recorder) copyTo(w http.ResponseWriter) {
	maps.Copy(w.Header(), r.header)
	if r.status != 0 {
		w.WriteHeader(r.status)
	}
	_, _ = w.Write(r.body.Bytes()) // the caller is gone
}
