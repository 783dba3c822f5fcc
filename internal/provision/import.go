package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/work"
)

// Import is a listing of the accounts at a target, made so that an administrator can import
// people.
type Import struct {
	ID            string    `json:"id"`
	ApplicationID app.ID    `json:"applicationId"`
	State         string    `json:"state"` // listing, listed or failed
	Reason        string    `json:"reason"`
	CreatedAt     time.Time `json:"createdAt"`
	New           int       `json:"new"`
	Matched       int       `json:"matched"`
	Conflict      int       `json:"conflict"`
}

// ImportRow is one account at a target.
type ImportRow struct {
	RemoteID string `json:"remoteId"`
	// Status is new, matched (the person is here) or conflict (Detail says why).
	Status      string           `json:"status"`
	UserID      directory.UserID `json:"userId"`
	Username    string           `json:"username"`
	Email       string           `json:"email"`
	DisplayName string           `json:"displayName"`
	Detail      string           `json:"detail"`
	// Result says what an import did with it.
	Result   string        `json:"result"`
	Resource scim.Resource `json:"-"`
}

// The statuses of an import row.
const (
	ImportNew      = "new"
	ImportMatched  = "matched"
	ImportConflict = "conflict"
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
	err := r.Scan(&i.ID, &i.ApplicationID, &i.State, &i.Reason, &created, &i.New, &i.Matched, &i.Conflict)
	i.CreatedAt = store.FromMicros(created)
	return i, err
}

const importColumns = `i.id, i.application_id, i.state, i.reason, i.created_at,
	(SELECT count(*) FROM import_rows r WHERE r.import_id = i.id AND r.status = 'new'),
	(SELECT count(*) FROM import_rows r WHERE r.import_id = i.id AND r.status = 'matched'),
	(SELECT count(*) FROM import_rows r WHERE r.import_id = i.id AND r.status = 'conflict')`

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
		imp, err = store.One(tx, scanImport, `SELECT `+importColumns+` FROM imports i WHERE i.id = $1`, id)
		return notFound(err, errNoImport)
	})
	return imp, err
}

// RowQuery narrows a list of import rows; zero fields don't.
type RowQuery struct {
	Status string
	Text   string
	Cursor string
	Limit  int // default 50
}

const rowColumns = `remote_id, status, user_id, username, email, display_name, detail, result, resource`

func scanRow(r store.Row) (ImportRow, error) {
	var x ImportRow
	var resource string
	err := r.Scan(&x.RemoteID, &x.Status, &x.UserID, &x.Username, &x.Email, &x.DisplayName, &x.Detail, &x.Result, &resource)
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
	where, args := []string{"import_id = $1"}, []any{importID}
	if q.Status != "" {
		args = append(args, q.Status)
		where = append(where, "status = $"+strconv.Itoa(len(args)))
	}
	if text := store.Fold(q.Text); text != "" {
		args = append(args, store.LikePattern(text))
		where = append(where, "search_key LIKE $"+strconv.Itoa(len(args))+` ESCAPE '\'`)
	}
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

// list is the handler of laneImport.
func (e *Engine) list(ctx context.Context, l work.Lease) error {
	var imp Import
	err := e.DB.View(ctx, func(tx *store.Tx) (err error) {
		imp, err = store.One(tx, scanImport, `SELECT `+importColumns+` FROM imports i WHERE i.id = $1`, l.Key)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	t, err := e.target(ctx, imp.ApplicationID)
	if problem.Is(err, problem.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	end := func(state, reason string) error {
		return e.DB.Update(ctx, func(tx *store.Tx) error {
			if _, err := tx.Exec(`UPDATE imports SET state = $1, reason = $2, updated_at = $3 WHERE id = $4`,
				state, reason, store.Micros(e.Now()), imp.ID); err != nil {
				return err
			}
			return l.Done(tx)
		})
	}
	if t.client == nil {
		return end("failed", "Base URL or token is missing.")
	}
	for page, err := range t.client.List(ctx, scim.User, scim.ListOptions{}) {
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			return end("failed", explain(err))
		}
		t.good(e.Now())
		if err := e.DB.Update(ctx, func(tx *store.Tx) error {
			for _, res := range page.Resources {
				if err := e.classify(tx, t, imp.ID, res); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
		if err := e.wait(ctx, t); err != nil {
			return err
		}
	}
	return end("listed", "")
}

// classify stores one account with what it means for us.
func (e *Engine) classify(tx *store.Tx, t *target, importID string, res scim.Resource) error {
	row := ImportRow{
		RemoteID: res.ID(), Username: res.UserName(), Email: strings.ToLower(res.Text(`emails[primary eq true].value`)),
		DisplayName: res.DisplayName(), Status: ImportNew,
	}
	if row.Email == "" {
		row.Email = strings.ToLower(res.Text(`emails[type eq "work"].value`))
	}
	if row.DisplayName == "" {
		row.DisplayName = strings.TrimSpace(res.Text("name.givenName") + " " + res.Text("name.familyName"))
	}
	find := func(query string, arg string) (directory.UserID, error) {
		id, err := store.One(tx, store.Scalar[directory.UserID], query, arg)
		if errors.Is(err, store.ErrNotFound) {
			return "", nil
		}
		return id, err
	}
	linked, err := store.All(tx, store.Scalar[directory.UserID], `SELECT object_id FROM links
		WHERE application_id = $1 AND object_kind = 'user' AND remote_id = $2 AND linked`, string(t.app.ID), res.ID())
	if err != nil {
		return err
	}
	byID, err := find(`SELECT id FROM users WHERE id = $1`, res.ExternalID())
	if err != nil {
		return err
	}
	byEmail, err := find(`SELECT id FROM users WHERE email = $1`, row.Email)
	if err != nil {
		return err
	}
	byName, err := find(`SELECT id FROM users WHERE username_key = $1`, store.Key(row.Username))
	if err != nil {
		return err
	}
	switch {
	case len(linked) > 0:
		row.Status, row.UserID = ImportMatched, linked[0]
	case byID != "":
		row.Status, row.UserID = ImportMatched, byID
	case byEmail != "" && byName != "" && byEmail != byName:
		row.Status = ImportConflict
		row.Detail = "The e-mail address belongs to one person here, the user name to another. Correct one of them first."
	case byEmail != "":
		row.Status, row.UserID = ImportMatched, byEmail
	case byName != "":
		row.Status, row.UserID = ImportConflict, byName
		row.Detail = "Somebody here has this user name, but another e-mail address."
	case row.Email == "":
		row.Status, row.Detail = ImportConflict, "The account has no e-mail address, which a person here needs."
	}
	raw, err := json.Marshal(res)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO import_rows (import_id, remote_id, status, user_id, username, email, display_name, search_key, resource, detail)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (import_id, remote_id) DO UPDATE SET status = excluded.status, user_id = excluded.user_id, username = excluded.username,
			email = excluded.email, display_name = excluded.display_name, search_key = excluded.search_key, resource = excluded.resource, detail = excluded.detail`,
		importID, row.RemoteID, row.Status, string(row.UserID), row.Username, row.Email, row.DisplayName,
		store.Fold(row.Username+" "+row.Email+" "+row.DisplayName), string(raw), row.Detail)
	return err
}

// ImportChoice says what to import, and how.
type ImportChoice struct {
	// RemoteIDs are the accounts; empty with AllNew takes all new ones.
	RemoteIDs []string
	AllNew    bool
	// State is the state of the people that are created; default staged.
	State directory.State
}

// ImportReport tells what an import did.
type ImportReport struct {
	Created int `json:"created"`
	Skipped int `json:"skipped"`
	Failed  int `json:"failed"`
}

// ImportAccounts creates people from accounts of an import. They are bound to nothing, and have
// no password. Importing an account twice creates nobody twice. Needs ManageDirectory.
func (e *Engine) ImportAccounts(ctx context.Context, by access.Actor, importID string, c ImportChoice) (ImportReport, error) {
	var report ImportReport
	imp, err := e.Import(ctx, by, importID)
	if err != nil {
		return report, err
	}
	if err := access.Allow(by, access.ManageDirectory); err != nil {
		return report, err
	}
	if imp.State != "listed" {
		return report, problem.New(problem.Conflict, "The accounts are still being listed, or that failed. Wait, or list them again.")
	}
	if c.State == "" {
		c.State = directory.Staged
	}
	picked := map[string]bool{}
	for _, id := range c.RemoteIDs {
		picked[id] = true
	}
	cursor := ""
	for {
		q := RowQuery{Cursor: cursor, Limit: 500}
		if c.AllNew {
			q.Status = ImportNew
		}
		page, err := e.ImportRows(ctx, by, importID, q)
		if err != nil {
			return report, err
		}
		for _, row := range page.Items {
			if !c.AllNew && !picked[row.RemoteID] {
				continue
			}
			result, err := e.importOne(ctx, by, imp, row, c.State)
			switch {
			case err != nil:
				return report, err
			case strings.HasPrefix(result, "created"):
				report.Created++
			case strings.HasPrefix(result, "skipped"):
				report.Skipped++
			default:
				report.Failed++
			}
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	a, err := e.Apps.Get(ctx, by, imp.ApplicationID)
	if err != nil {
		return report, err
	}
	return report, e.DB.Update(ctx, func(tx *store.Tx) error {
		_, err := audit.Record(tx, e.Now(), audit.Event{
			Type: audit.UserImport, Actor: by, Object: audit.Ref{Kind: audit.KindImport, ID: importID, Name: a.Label}, ApplicationID: string(imp.ApplicationID),
			Message: fmt.Sprintf("%s imported from %s; %d skipped, %d failed.", count(report.Created, "person was", "people were"), a.Label, report.Skipped, report.Failed),
			Detail:  map[string]any{"created": report.Created, "skipped": report.Skipped, "failed": report.Failed},
		})
		return err
	})
}

func (e *Engine) importOne(ctx context.Context, by access.Actor, imp Import, row ImportRow, state directory.State) (string, error) {
	result := ""
	var created directory.UserID
	switch {
	case row.Status != ImportNew:
		result = "skipped: " + row.Status
	case row.Result != "" && strings.HasPrefix(row.Result, "created"):
		result = "skipped: imported before"
	default:
		at := directory.Attributes{Username: row.Username, Email: row.Email}
		at.GivenName, at.FamilyName, at.MiddleName = row.Resource.Text("name.givenName"), row.Resource.Text("name.familyName"), row.Resource.Text("name.middleName")
		at.DisplayName, at.Title = row.Resource.DisplayName(), row.Resource.Text("title")
		at.Department = row.Resource.Text(scim.SchemaEnterpriseUser + ":department")
		at.Company = row.Resource.Text(scim.SchemaEnterpriseUser + ":organization")
		u, err := e.Directory.CreateUser(ctx, by, directory.NewUser{Attributes: at, State: state})
		switch {
		case err == nil:
			result, created = "created", u.ID
		case problem.Is(err, problem.Internal), problem.Is(err, problem.Unavailable), problem.Is(err, problem.Forbidden):
			return "", err
		case problem.Is(err, problem.Conflict):
			result = "skipped: " + problem.Public(err)
		default:
			result = "failed: " + problem.Public(err)
		}
	}
	return result, e.DB.Update(ctx, func(tx *store.Tx) error {
		if result == "skipped: imported before" {
			return nil
		}
		status, user := row.Status, string(row.UserID)
		if created != "" {
			status, user = ImportMatched, string(created)
		}
		_, err := tx.Exec(`UPDATE import_rows SET result = $1, status = $2, user_id = $3 WHERE import_id = $4 AND remote_id = $5`,
			result, status, user, imp.ID, row.RemoteID)
		return err
	})
}
