package app

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/latchkey-idp/latchkey/internal/store"
)

// source is a watched address as it is stored.
type source struct {
	application ID
	MetadataWatch
	etag, lastModified string
	// found is what the document said when it was last read, known what it said when that was last agreed to; nil if never.
	found, known *offer
	// settled is the fingerprint of what was agreed to or turned down.
	settled    string
	cache      time.Duration
	failure    string
	validUntil time.Time
	checked    time.Time
	changed    time.Time
	next       time.Time
	created    time.Time
}

const sourceColumns = `application_id, url, entity_id, signer, etag, last_modified, found, known, settled, cache_seconds, error, valid_until,
	checked_at, changed_at, next_at, created_at`

func scanSource(r store.Row) (source, error) {
	var s source
	var found, known string
	var cache, valid, checked, changed, next, created int64
	err := r.Scan(&s.application, &s.URL, &s.EntityID, &s.SigningCertificate, &s.etag, &s.lastModified, &found, &known, &s.settled, &cache,
		&s.failure, &valid, &checked, &changed, &next, &created)
	if err != nil {
		return s, err
	}
	if s.found, err = unpackOffer(found); err == nil {
		s.known, err = unpackOffer(known)
	}
	s.cache = time.Duration(cache) * time.Second
	s.validUntil, s.checked, s.changed = store.FromMicros(valid), store.FromMicros(checked), store.FromMicros(changed)
	s.next, s.created = store.FromMicros(next), store.FromMicros(created)
	if err != nil {
		return s, fmt.Errorf("app: watched metadata of %s: %w", s.application, err)
	}
	return s, nil
}

func unpackOffer(text string) (*offer, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // there is none, and that is no error
	}
	o := new(offer)
	return o, json.Unmarshal([]byte(text), o)
}

func packOffer(o *offer) (string, error) {
	if o == nil {
		return "", nil
	}
	raw, err := json.Marshal(o)
	return string(raw), err
}

// getSource returns what is watched for an application, or store.ErrNotFound.
func getSource(tx *store.Tx, id ID) (source, error) {
	return store.One(tx, scanSource, `SELECT `+sourceColumns+` FROM metadata_sources WHERE application_id = $1`, string(id))
}

// putSource stores a source in place of what was watched before.
func putSource(tx *store.Tx, s source) error {
	found, err := packOffer(s.found)
	if err != nil {
		return err
	}
	known, err := packOffer(s.known)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO metadata_sources (`+sourceColumns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
		ON CONFLICT (application_id) DO UPDATE SET url = excluded.url, entity_id = excluded.entity_id, signer = excluded.signer,
			etag = excluded.etag, last_modified = excluded.last_modified, found = excluded.found, known = excluded.known,
			settled = excluded.settled, cache_seconds = excluded.cache_seconds, error = excluded.error, valid_until = excluded.valid_until,
			checked_at = excluded.checked_at, changed_at = excluded.changed_at, next_at = excluded.next_at, created_at = excluded.created_at`,
		string(s.application), s.URL, s.EntityID, s.SigningCertificate, s.etag, s.lastModified, found, known, s.settled,
		int64(s.cache/time.Second), s.failure, store.Micros(s.validUntil), store.Micros(s.checked), store.Micros(s.changed),
		store.Micros(s.next), store.Micros(s.created))
	return err
}

func deleteSource(tx *store.Tx, id ID) error {
	_, err := tx.Exec(`DELETE FROM metadata_sources WHERE application_id = $1`, string(id))
	return err
}

// claimDue returns up to n sources that are due, and holds them until a time: nobody else claims them before.
func claimDue(tx *store.Tx, now, until time.Time, n int) ([]source, error) {
	due, err := store.All(tx, scanSource, `SELECT `+sourceColumns+` FROM metadata_sources WHERE next_at <= $1
		ORDER BY next_at LIMIT $2`+tx.SkipLocked(), store.Micros(now), n)
	if err != nil || len(due) == 0 {
		return nil, err
	}
	args := []any{store.Micros(until)}
	for _, s := range due {
		args = append(args, string(s.application))
	}
	_, err = tx.Exec(`UPDATE metadata_sources SET next_at = $1 WHERE application_id IN (`+store.Placeholders(2, len(due))+`)`, args...)
	return due, err
}
