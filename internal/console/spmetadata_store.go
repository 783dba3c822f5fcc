package console

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// metadataFile is a service provider's metadata that somebody looks at before taking it. It is kept among the uploads,
// compressed, for a day.
type metadataFile struct {
	ID, By      string
	Application app.ID
	// EntityIDs are the service providers that it describes.
	EntityIDs []string
	XML       []byte
}

// metadataKind marks such a row.
const metadataKind = "sp-metadata"

type metadataOptions struct {
	Kind        string   `json:"kind"`
	Application app.ID   `json:"application"`
	EntityIDs   []string `json:"entityIds"`
}

func errNoMetadataFile() error {
	return problem.New(problem.NotFound, "There is no such metadata file any more. Files are kept for a day; choose it again.")
}

func insertMetadataFile(tx *store.Tx, now time.Time, u metadataFile) error {
	options, err := encodeJSON(metadataOptions{metadataKind, u.Application, u.EntityIDs})
	if err != nil {
		return err
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(u.XML); err != nil {
		return fmt.Errorf("console: metadata file: %w", err)
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("console: metadata file: %w", err)
	}
	_, err = tx.Exec(`INSERT INTO uploads (`+uploadColumns+`) VALUES ($1, $2, $3, $4, $5, '', 0, $6, $7, '', $8, $8)`,
		u.ID, u.By, metadataKind, options, string(uploadChecked), len(u.EntityIDs), packed.Bytes(), store.Micros(now))
	return err
}

func getMetadataFile(tx *store.Tx, id string) (metadataFile, error) {
	u := metadataFile{ID: id}
	var options string
	var packed []byte
	_, err := store.One(tx, func(r store.Row) (struct{}, error) { return struct{}{}, r.Scan(&u.By, &options, &packed) },
		`SELECT user_id, options, content FROM uploads WHERE id = $1 AND name = $2`, id, metadataKind)
	if errors.Is(err, store.ErrNotFound) {
		return u, errNoMetadataFile()
	}
	if err != nil {
		return u, err
	}
	var o metadataOptions
	if err := json.Unmarshal([]byte(options), &o); err != nil {
		return u, fmt.Errorf("console: metadata file %s: %w", id, err)
	}
	if o.Kind != metadataKind {
		return u, errNoMetadataFile()
	}
	u.Application, u.EntityIDs = o.Application, o.EntityIDs
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return u, fmt.Errorf("console: metadata file %s: %w", id, err)
	}
	if u.XML, err = io.ReadAll(io.LimitReader(z, app.MaxSPMetadata+1)); err != nil {
		return u, fmt.Errorf("console: metadata file %s: %w", id, err)
	}
	return u, nil
}
