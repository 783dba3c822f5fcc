package directory

import (
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/store"
)

// UserColumns returns the columns that ScanUser reads, of the table users joined under alias.
// With them another package reads a person together with a row of its own, in one query.
func UserColumns(alias string) string {
	cols := strings.Split(userColumns, ",")
	for i, c := range cols {
		cols[i] = alias + "." + strings.TrimSpace(c)
	}
	return strings.Join(cols, ", ")
}

// ScanUser reads the columns before those of UserColumns into before, and the person.
func ScanUser(r store.Row, before ...any) (User, error) {
	return scanUser(prefixed{r, before})
}

type prefixed struct {
	row    store.Row
	before []any
}

func (p prefixed) Scan(dest ...any) error {
	return p.row.Scan(append(slices.Clip(p.before), dest...)...)
}
