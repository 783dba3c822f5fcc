package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
)

const uploadColumns = `id, user_id, name, options, state, reason, done, total, content, report, created_at, updated_at`

func scanUpload(r store.Row) (upload, error) {
	var u upload
	var options, report string
	var created, updated int64
	if err := r.Scan(&u.ID, &u.By, &u.Name, &options, &u.State, &u.Reason, &u.Done, &u.All, &u.Content, &report, &created, &updated); err != nil {
		return u, err
	}
	u.CreatedAt, u.UpdatedAt = store.FromMicros(created), store.FromMicros(updated)
	if err := json.Unmarshal([]byte(options), &u.Options); err != nil {
		return u, fmt.Errorf("console: upload %s: %w", u.ID, err)
	}
	if report == "" {
		return u, nil
	}
	if err := json.Unmarshal([]byte(report), &u.Report); err != nil {
		return u, fmt.Errorf("console: upload %s: %w", u.ID, err)
	}
	return u, nil
}

func insertUpload(tx *store.Tx, now time.Time, u upload) error {
	options, err := encodeJSON(u.Options)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO uploads (`+uploadColumns+`) VALUES ($1, $2, $3, $4, $5, '', 0, $6, $7, '', $8, $8)`,
		u.ID, u.By, u.Name, options, string(u.State), u.All, u.Content, store.Micros(now))
	return err
}

func getUpload(tx *store.Tx, id string) (upload, error) {
	u, err := store.One(tx, scanUpload, `SELECT `+uploadColumns+` FROM uploads WHERE id = $1`, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && u.Options.Kind != "" {
		return u, problem.New(problem.NotFound, "There is no such import. Files are kept for a day; upload it again.")
	}
	return u, err
}

func noteProgress(tx *store.Tx, now time.Time, id string, done int) error {
	_, err := tx.Exec(`UPDATE uploads SET done = $2, updated_at = $3 WHERE id = $1`, id, done, store.Micros(now))
	return err
}

// claimUpload takes a checked file, or one whose import stopped before the given time, to import
// it. It reports whether nobody else did.
func claimUpload(tx *store.Tx, now time.Time, id string, before time.Time) (bool, error) {
	n, err := tx.Exec(`UPDATE uploads SET state = 'running', done = 0, reason = '', updated_at = $2
		WHERE id = $1 AND (state = 'checked' OR state = 'running' AND updated_at < $3)`, id, store.Micros(now), store.Micros(before))
	return n == 1, err
}

func finishUpload(tx *store.Tx, now time.Time, u upload) error {
	report, err := encodeJSON(u.Report)
	if err != nil {
		return err
	}
	content := u.Content
	if content == nil {
		content = []byte{}
	}
	_, err = tx.Exec(`UPDATE uploads SET state = $2, reason = $3, done = $4, content = $5, report = $6, updated_at = $7 WHERE id = $1`,
		u.ID, string(u.State), u.Reason, u.Done, content, report, store.Micros(now))
	return err
}

func deleteUpload(tx *store.Tx, id string) error {
	_, err := tx.Exec(`DELETE FROM uploads WHERE id = $1 AND state <> 'running'`, id)
	return err
}

func pruneUploads(tx *store.Tx, before time.Time) error {
	_, err := tx.Exec(`DELETE FROM uploads WHERE updated_at < $1`, store.Micros(before))
	return err
}
