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

// getMetadataFile returns a file without its XML, which can be large.
func getMetadataFile(tx *store.Tx, id string) (metadataFile, error) {
	u := metadataFile{ID: id}
	var options string
	_, err := store.One(tx, func(r store.Row) (struct{}, error) { return struct{}{}, r.Scan(&u.By, &options) },
		`SELECT user_id, options FROM uploads WHERE id = $1 AND name = $2`, id, metadataKind)
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
	if o.Kind != metadataKind { // a file of people that is called so
		return u, errNoMetadataFile()
	}
	u.Application, u.EntityIDs = o.Application, o.EntityIDs
	return u, nil
}

// readMetadataFile returns the XML of a file.
func readMetadataFile(tx *store.Tx, id string) ([]byte, error) {
	packed, err := store.One(tx, store.Scalar[[]byte], `SELECT content FROM uploads WHERE id = $1`, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, errNoMetadataFile()
	}
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("console: metadata file %s: %w", id, err)
	}
	xml, err := io.ReadAll(io.LimitReader(z, app.MaxSPMetadata+1))
	if err != nil {
		return nil, fmt.Errorf("console: metadata file %s: %w", id, err)
	}
	return xml, nil
}
