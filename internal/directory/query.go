package directory

import (
	"strconv"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/store"
)

// where collects the conditions of a list.
type where struct {
	conds []string
	args  []any
}

// add adds a condition in which each ? stands for the next argument.
func (w *where) add(cond string, args ...any) {
	for _, a := range args {
		cond = strings.Replace(cond, "?", w.param(a), 1)
	}
	w.conds = append(w.conds, cond)
}

// param adds a parameter and returns how it is written in SQL.
func (w *where) param(v any) string {
	w.args = append(w.args, v)
	return "$" + strconv.Itoa(len(w.args))
}

// search looks for every word of text in search_key.
func (w *where) search(text string) {
	const most = 8
	words := strings.Fields(store.Fold(text))
	for _, word := range words[:min(len(words), most)] {
		if len(word) > maxText {
			word = strings.ToValidUTF8(word[:maxText], "")
		}
		w.add(`search_key LIKE ? ESCAPE '\'`, store.LikePattern(word))
	}
}

func (w *where) sql() string {
	if len(w.conds) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.conds, " AND ")
}

// countMost bounds how far a list is counted: beyond, the number would cost more than the page.
const countMost = 10_000

// countUpTo counts rows, and returns -1 when there are more than countMost.
func countUpTo(tx *store.Tx, table string, w where) (int, error) {
	n, err := store.One(tx, store.Scalar[int], `SELECT count(*) FROM (SELECT 1 AS one FROM `+table+w.sql()+` LIMIT `+strconv.Itoa(countMost+1)+`) AS counted`, w.args...)
	if n > countMost {
		n = -1
	}
	return n, err
}
