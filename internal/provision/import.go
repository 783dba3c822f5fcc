package provision

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/work"
)

// Import is a listing of the accounts at a target, made so that an administrator can import
// people.
type Import struct {
	ID            string    `json:"id"`
	ApplicationID app.ID    `json:"applicationId"`
	State         string    `json:"state" enum:"listing,listed,failed"`
	Reason        string    `json:"reason" doc:"Why it failed, or what it waits for."`
	CreatedAt     time.Time `json:"createdAt"`
	New           int       `json:"new"`
	Matched       int       `json:"matched"`
	Likely        int       `json:"likely"`
	Conflict      int       `json:"conflict"`
	Orphan        int       `json:"orphan"`
	// Undoable is how many accounts something was done with that can be undone.
	Undoable int `json:"undoable" doc:"Accounts with which something was done that undoing takes back."`
	// Job is the latest act upon the accounts, nil before the first.
	Job *ImportJob `json:"job,omitempty" doc:"The latest act upon the accounts; missing before the first."`
}

// Accounts is how many accounts were found.
func (i Import) Accounts() int { return i.New + i.Matched + i.Likely + i.Conflict + i.Orphan }

// ImportRow is one account at a target.
type ImportRow struct {
	RemoteID string       `json:"remoteId"`
	Status   ImportStatus `json:"status" enum:"new,matched,likely,conflict,orphan"`
	// UserID is the person here that is meant; empty if there is none.
	UserID      directory.UserID `json:"userId"`
	Username    string           `json:"username"`
	Email       string           `json:"email"`
	DisplayName string           `json:"displayName"`
	// Detail says why it has its status.
	Detail  string        `json:"detail"`
	Outcome ImportOutcome `json:"outcome" enum:",created,linked,updated,skipped,failed,undone,kept"`
	// Result says in words what was done with it.
	Result   string        `json:"result"`
	Resource scim.Resource `json:"-"`

	made madeByImport
}

// ImportStatus says what an account means for us.
type ImportStatus string

// The statuses of an import row.
const (
	ImportNew      ImportStatus = "new"      // nobody here
	ImportMatched  ImportStatus = "matched"  // the person is here
	ImportLikely   ImportStatus = "likely"   // somebody here may be meant; a person has to say
	ImportConflict ImportStatus = "conflict" // here and there disagree
	ImportOrphan   ImportStatus = "orphan"   // whose person left
)

// ImportStatuses are all, in the order of lists.
func ImportStatuses() []ImportStatus {
	return []ImportStatus{ImportNew, ImportMatched, ImportLikely, ImportConflict, ImportOrphan}
}

// ImportOutcome says what was done with an account; "" for nothing yet.
type ImportOutcome string

// The outcomes.
const (
	ImportCreated ImportOutcome = "created"
	ImportLinked  ImportOutcome = "linked"
	ImportUpdated ImportOutcome = "updated"
	ImportSkipped ImportOutcome = "skipped"
	ImportFailed  ImportOutcome = "failed"
	ImportUndone  ImportOutcome = "undone"
	ImportKept    ImportOutcome = "kept" // undoing left it, because it was touched since
)

// StartImport begins to list the accounts at a target. Needs ManageDirectory.
func (e *Engine) StartImport(ctx context.Context, by access.Actor, id app.ID) (Import, error) {
	if err := access.Allow(by, access.ManageDirectory); err != nil {
		return Import{}, err
	}
	if _, err := e.ready(ctx, id); err != nil {
		return Import{}, err
	}
	now := e.Now()
	imp := Import{ID: store.NewID(), ApplicationID: id, State: "listing", CreatedAt: now}
	err := e.DB.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(`INSERT INTO imports (id, application_id, state, created_at, updated_at) VALUES ($1, $2, 'listing', $3, $3)`,
			imp.ID, string(id), store.Micros(now)); err != nil {
			return err
		}
		return work.Want(tx, now, work.Lane{Kind: laneImport, Key: imp.ID, Scope: string(id)})
	})
	return imp, err
}

func scanImport(r store.Row) (Import, error) {
	var i Import
	var created int64
	err := r.Scan(&i.ID, &i.ApplicationID, &i.State, &i.Reason, &created, &i.Undoable)
	i.CreatedAt = store.FromMicros(created)
	return i, err
}

const importColumns = `i.id, i.application_id, i.state, i.reason, i.created_at,
	(SELECT count(*) FROM import_rows r WHERE r.import_id = i.id AND r.made <> '')`

// count fills in how many accounts have which status, and the latest job.
func (i *Import) count(tx *store.Tx) error {
	type tally struct {
		status ImportStatus
		n      int
	}
	for x, err := range store.Each(tx, func(r store.Row) (x tally, err error) {
		err = r.Scan(&x.status, &x.n)
		return x, err
	}, `SELECT status, count(*) FROM import_rows WHERE import_id = $1 GROUP BY status`, i.ID) {
		if err != nil {
			return err
		}
		*i.of(x.status) = x.n
	}
	jobs, err := store.All(tx, scanImportJob, `SELECT `+importJobColumns+` FROM import_jobs WHERE import_id = $1 ORDER BY id DESC LIMIT 1`, i.ID)
	if err == nil && len(jobs) > 0 {
		i.Job = &jobs[0]
	}
	return err
}

// Of is how many accounts have a status.
func (i Import) Of(s ImportStatus) int { return *i.of(s) }

func (i *Import) of(s ImportStatus) *int {
	switch s {
	case ImportNew:
		return &i.New
	case ImportMatched:
		return &i.Matched
	case ImportLikely:
		return &i.Likely
	case ImportOrphan:
		return &i.Orphan
	}
	return &i.Conflict
}

// Imports lists an application's imports, newest first. Needs ReadDirectory.
func (e *Engine) Imports(ctx context.Context, by access.Actor, id app.ID) (list []Import, err error) {
	if err := access.Allow(by, access.ReadDirectory); err != nil {
		return nil, err
	}
	err = e.DB.View(ctx, func(tx *store.Tx) (err error) {
		if _, err := app.GetApplication(tx, id); err != nil {
			return err
		}
		list, err = store.All(tx, scanImport, `SELECT `+importColumns+` FROM imports i WHERE i.application_id = $1 ORDER BY i.id DESC LIMIT 20`, string(id))
		for n := range list {
			if err == nil {
				err = list[n].count(tx)
			}
		}
		return err
	})
	return list, err
}

// Import returns one import. Needs ReadDirectory.
func (e *Engine) Import(ctx context.Context, by access.Actor, id string) (imp Import, err error) {
	if err := access.Allow(by, access.ReadDirectory); err != nil {
		return imp, err
	}
	err = e.DB.View(ctx, func(tx *store.Tx) error {
		if imp, err = store.One(tx, scanImport, `SELECT `+importColumns+` FROM imports i WHERE i.id = $1`, id); err != nil {
			return notFound(err, errNoImport)
		}
		return imp.count(tx)
	})
	return imp, err
}

// RowQuery narrows a list of import rows; zero fields don't.
type RowQuery struct {
	Status  ImportStatus
	Outcome ImportOutcome
	// Text is looked for in user name, e-mail and display name, without case and accents.
	Text   string
	Cursor string
	Limit  int // default 50
}

// where is the condition that the query is, upon an import's rows.
func (q RowQuery) where(importID string) ([]string, []any) {
	where, args := []string{"import_id = $1"}, []any{importID}
	add := func(cond string, v any) {
		args = append(args, v)
		where = append(where, strings.ReplaceAll(cond, "?", "$"+strconv.Itoa(len(args))))
	}
	if q.Status != "" {
		add("status = ?", string(q.Status))
	}
	if q.Outcome != "" {
		add("outcome = ?", string(q.Outcome))
	}
	if text := store.Fold(q.Text); text != "" {
		add(`search_key LIKE ? ESCAPE '\'`, store.LikePattern(text))
	}
	return where, args
}

const rowColumns = `remote_id, status, user_id, username, email, display_name, detail, outcome, result, made, resource`

func scanRow(r store.Row) (ImportRow, error) {
	var x ImportRow
	var resource, made string
	err := r.Scan(&x.RemoteID, &x.Status, &x.UserID, &x.Username, &x.Email, &x.DisplayName, &x.Detail, &x.Outcome, &x.Result, &made, &resource)
	if err == nil && made != "" {
		err = json.Unmarshal([]byte(made), &x.made)
	}
	if err == nil {
		x.Resource, err = scim.ParseResource([]byte(resource))
	}
	return x, err
}

// ImportRows lists the accounts of an import. Needs ReadDirectory.
func (e *Engine) ImportRows(ctx context.Context, by access.Actor, importID string, q RowQuery) (store.Page[ImportRow], error) {
	page := store.Page[ImportRow]{Total: -1}
	if err := access.Allow(by, access.ReadDirectory); err != nil {
		return page, err
	}
	cursor, err := store.DecodeCursor(q.Cursor, 2)
	if err != nil {
		return page, err
	}
	where, args := q.where(importID)
	if cursor != nil {
		args = append(args, cursor[0], cursor[1])
		where = append(where, "(username, remote_id) > ($"+strconv.Itoa(len(args)-1)+", $"+strconv.Itoa(len(args))+")")
	}
	limit := store.PageLimit(q.Limit, 50)
	args = append(args, limit+1)
	err = e.DB.View(ctx, func(tx *store.Tx) (err error) {
		page.Items, err = store.All(tx, scanRow, `SELECT `+rowColumns+` FROM import_rows WHERE `+strings.Join(where, " AND ")+
			` ORDER BY username, remote_id LIMIT $`+strconv.Itoa(len(args)), args...)
		return err
	})
	if len(page.Items) > limit {
		page.Items = page.Items[:limit]
		last := page.Items[limit-1]
		page.Next = store.EncodeCursor(last.Username, last.RemoteID)
	}
	return page, err
}

// EachImportRow calls fn with the accounts of an import in the order of the list, a page in
// memory at a time. Needs ReadDirectory.
func (e *Engine) EachImportRow(ctx context.Context, by access.Actor, importID string, q RowQuery, fn func(ImportRow) error) error {
	q.Limit = 500
	for {
		page, err := e.ImportRows(ctx, by, importID, q)
		if err != nil {
			return err
		}
		for _, row := range page.Items {
			if err := fn(row); err != nil {
				return err
			}
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return nil
		}
	}
}
