package directory

import (
	"context"
	"errors"
	"io"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/problem"
)

var errLater = errors.New("directory: not there yet")

// RowReport tells what an import did with one row.
type RowReport struct {
	Line    int             `json:"line"`
	Email   string          `json:"email"`
	UserID  UserID          `json:"userId,omitempty"`
	Outcome RowOutcome      `json:"outcome"`
	Detail  string          `json:"detail,omitempty"`
	Fields  []problem.Field `json:"fields,omitempty"`
}

// ImportReport tells what an import did, or would do.
type ImportReport struct {
	DryRun    bool `json:"dryRun"`
	Created   int  `json:"created"`
	Updated   int  `json:"updated"`
	Unchanged int  `json:"unchanged"`
	Failed    int  `json:"failed"`
	// GroupsCreated are the names of groups that were created for rows.
	GroupsCreated []string    `json:"groupsCreated,omitempty"`
	Rows          []RowReport `json:"rows"`
}

func ParseImport(r io.Reader, format ImportFormat) ([]ImportRow, error) { return nil, errLater }
func (d *Directory) Import(ctx context.Context, by access.Actor, rows []ImportRow, o ImportOptions) (ImportReport, error) {
	return ImportReport{}, errLater
}
