package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision/plan"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/work"
)

// laneImportJob has one lane for each act upon many accounts; its key is the job.
const laneImportJob = "provision.import.job"

// ImportAct is what can be done with accounts of an import.
type ImportAct string

// The acts.
const (
	// ActCreate creates people. They are bound to nothing, and have no password.
	ActCreate ImportAct = "create"
	// ActLink notes whose account it is. Nothing is sent: once the person is entitled, the account
	// is taken over instead of another one being made.
	ActLink ImportAct = "link"
	// ActUpdate changes people who are here after what their account says, user name and e-mail
	// address apart.
	ActUpdate ImportAct = "update"
	// ActUndo takes back what the other acts did, as far as nobody touched it since.
	ActUndo ImportAct = "undo"
)

// ImportChoice says what to do with which accounts: those picked, or all of a status that match
// a text. To undo takes all with which something was done.
type ImportChoice struct {
	Act       ImportAct
	RemoteIDs []string
	Status    ImportStatus
	Text      string
	// State is the state of people that are created; default staged.
	State directory.State
}

// ImportJob is one act upon many accounts of an import.
type ImportJob struct {
	ID       string    `json:"id"`
	ImportID string    `json:"importId"`
	Act      ImportAct `json:"act" enum:"create,link,update,undo"`
	State    string    `json:"state" enum:"running,done,failed"`
	Reason   string    `json:"reason" doc:"Why it failed."`
	By       string    `json:"by" doc:"Who asked for it."`
	Total    int       `json:"total" doc:"How many accounts it is about."`
	Done     int       `json:"done" doc:"With how many it has dealt."`
	ImportCounts
	CreatedAt time.Time `json:"createdAt"`
	EndedAt   time.Time `json:"endedAt,omitzero"`

	actor     access.Actor
	userState directory.State
}

// ImportCounts are accounts by what was done with them.
type ImportCounts struct {
	Created int `json:"created"`
	Linked  int `json:"linked"`
	Updated int `json:"updated"`
	Skipped int `json:"skipped"`
	Failed  int `json:"failed"`
	Undone  int `json:"undone"`
	Kept    int `json:"kept" doc:"What undoing left, because it was touched since."`
}

func (c *ImportCounts) add(o ImportOutcome) {
	switch o {
	case ImportCreated:
		c.Created++
	case ImportLinked:
		c.Linked++
	case ImportUpdated:
		c.Updated++
	case ImportSkipped:
		c.Skipped++
	case ImportUndone:
		c.Undone++
	case ImportKept:
		c.Kept++
	default:
		c.Failed++
	}
}

func (c ImportCounts) sum() int {
	return c.Created + c.Linked + c.Updated + c.Skipped + c.Failed + c.Undone + c.Kept
}

const importJobColumns = `id, import_id, act, state, reason, actor, user_state, total, counts, created_at, ended_at`

func scanImportJob(r store.Row) (ImportJob, error) {
	var j ImportJob
	var actor, counts string
	var created, ended int64
	err := r.Scan(&j.ID, &j.ImportID, &j.Act, &j.State, &j.Reason, &actor, &j.userState, &j.Total, &counts, &created, &ended)
	if err != nil {
		return j, err
	}
	j.CreatedAt = store.FromMicros(created)
	if ended != 0 {
		j.EndedAt = store.FromMicros(ended)
	}
	if err := json.Unmarshal([]byte(counts), &j.ImportCounts); err != nil {
		return j, err
	}
	j.Done = j.sum()
	err = json.Unmarshal([]byte(actor), &j.actor)
	j.By = j.actor.Name
	return j, err
}

// madeByImport is what an import did with an account, as far as it can be undone.
type madeByImport struct {
	// User tells that the person was created.
	User bool `json:"user,omitempty"`
	// Link tells that the account was linked to the person.
	Link bool `json:"link,omitempty"`
	// Before is what the person's profile was before it was updated.
	Before *directory.Profile `json:"before,omitempty"`
	// Version is the person's version after our last change: another one was touched since.
	Version int64 `json:"version,omitempty"`
	// Status, UserID and Detail are the row's before.
	Status ImportStatus     `json:"status,omitempty"`
	UserID directory.UserID `json:"userId,omitempty"`
	Detail string           `json:"detail,omitempty"`
}

func (m madeByImport) empty() bool { return !m.User && !m.Link && m.Before == nil }

// first keeps what the row was before anything was done.
func (m *madeByImport) first(row ImportRow) {
	if m.empty() {
		m.Status, m.UserID, m.Detail = row.Status, row.UserID, row.Detail
	}
}

// StartImportJob begins to do something with accounts of an import. One job runs at a time.
// Nothing is done twice: what was done before is skipped. Needs ManageDirectory; to link, also
// ManageApplications.
func (e *Engine) StartImportJob(ctx context.Context, by access.Actor, importID string, c ImportChoice) (ImportJob, error) {
	var job ImportJob
	imp, err := e.Import(ctx, by, importID)
	if err != nil {
		return job, err
	}
	if err := access.Allow(by, access.ManageDirectory); err != nil {
		return job, err
	}
	switch c.Act {
	case ActCreate, ActUpdate, ActUndo:
	case ActLink:
		if err := access.Allow(by, access.ManageApplications); err != nil {
			return job, err
		}
	default:
		return job, problem.InvalidField("act", "Choose what to do: create, link, update or undo.")
	}
	if c.State == "" {
		c.State = directory.Staged
	}
	if !c.State.Valid() {
		return job, problem.InvalidField("state", "Choose in which state the people are created.")
	}
	if c.Status != "" && !slices.Contains(ImportStatuses(), c.Status) {
		return job, problem.InvalidField("status", "Choose new, matched, likely, conflict or orphan.")
	}
	if c.Act != ActUndo && (c.Status == "") == (len(c.RemoteIDs) == 0) {
		return job, problem.New(problem.Invalid, "Choose accounts in the list, or all of a status.")
	}
	if imp.State != "listed" {
		return job, problem.New(problem.Conflict, "The accounts are still being listed, or that failed. Wait, or list them again.")
	}
	actor, err := json.Marshal(by)
	if err != nil {
		return job, err
	}
	now := e.Now()
	id := store.NewID()
	err = e.DB.Update(ctx, func(tx *store.Tx) error {
		running, err := store.One(tx, store.Scalar[int], `SELECT count(*) FROM import_jobs WHERE import_id = $1 AND state = 'running'`, importID)
		if err != nil {
			return err
		}
		if running > 0 {
			return problem.New(problem.Conflict, "Something is being done with the accounts of this import already. Wait until it is done.")
		}
		n, err := c.mark(tx, importID, id)
		if err != nil {
			return err
		}
		if n == 0 {
			return problem.New(problem.Invalid, "There is no such account in this import: nothing would be done.")
		}
		if _, err := tx.Exec(`INSERT INTO import_jobs (id, import_id, act, state, actor, user_state, total, created_at, updated_at)
			VALUES ($1, $2, $3, 'running', $4, $5, $6, $7, $7)`, id, importID, string(c.Act), string(actor), string(c.State), n, store.Micros(now)); err != nil {
			return err
		}
		if err := work.Want(tx, now, work.Lane{Kind: laneImportJob, Key: id, Scope: string(imp.ApplicationID)}); err != nil {
			return err
		}
		job, err = store.One(tx, scanImportJob, `SELECT `+importJobColumns+` FROM import_jobs WHERE id = $1`, id)
		return err
	})
	return job, err
}

// mark gives the chosen rows to a job, and returns how many they are.
func (c ImportChoice) mark(tx *store.Tx, importID, job string) (n int64, err error) {
	if c.Act == ActUndo && len(c.RemoteIDs) == 0 {
		return tx.Exec(`UPDATE import_rows SET job = $1 WHERE import_id = $2 AND made <> ''`, job, importID)
	}
	if len(c.RemoteIDs) == 0 {
		where, args := RowQuery{Status: c.Status, Text: c.Text}.where(importID)
		args = append(args, job)
		return tx.Exec(fmt.Sprintf(`UPDATE import_rows SET job = $%d WHERE %s`, len(args), strings.Join(where, " AND ")), args...)
	}
	also := ""
	if c.Act == ActUndo {
		also = ` AND made <> ''`
	}
	for part := range slices.Chunk(c.RemoteIDs, memberChunk) {
		args := []any{job, importID}
		for _, id := range part {
			args = append(args, id)
		}
		more, err := tx.Exec(`UPDATE import_rows SET job = $1 WHERE import_id = $2 AND job <> $1`+also+` AND remote_id IN (`+store.Placeholders(3, len(part))+`)`, args...)
		if err != nil {
			return n, err
		}
		n += more
	}
	return n, nil
}

// ImportJob returns one job. Needs ReadDirectory.
func (e *Engine) ImportJob(ctx context.Context, by access.Actor, importID, id string) (job ImportJob, err error) {
	if err := access.Allow(by, access.ReadDirectory); err != nil {
		return job, err
	}
	job, err = viewOne(ctx, e.DB, scanImportJob, `SELECT `+importJobColumns+` FROM import_jobs WHERE id = $1 AND import_id = $2`, id, importID)
	return job, notFound(err, problem.New(problem.NotFound, "There is no such job of this import."))
}

// ImportJobs lists the jobs of an import, newest first, at most 50. Needs ReadDirectory.
func (e *Engine) ImportJobs(ctx context.Context, by access.Actor, importID string) (list []ImportJob, err error) {
	if err := access.Allow(by, access.ReadDirectory); err != nil {
		return nil, err
	}
	err = e.DB.View(ctx, func(tx *store.Tx) error {
		list, err = store.All(tx, scanImportJob, `SELECT `+importJobColumns+` FROM import_jobs WHERE import_id = $1 ORDER BY id DESC LIMIT 50`, importID)
		return err
	})
	return list, err
}

func (e *Engine) handleImports() {
	one := func(string) int { return 1 }
	e.Pool.Handle(laneImport, work.Options{Workers: 2, PerScope: e.holding(1)}, e.list)
	e.Pool.Handle(laneImportJob, work.Options{Workers: 2, PerScope: one}, e.importJob)
}

// importBatch is how many accounts are dealt with in one transaction.
const importBatch = 25

// importJob is the handler of laneImportJob. Each account is dealt with in the transaction that
// takes it off the job: a run that ends in the middle is gone on with.
func (e *Engine) importJob(ctx context.Context, l work.Lease) error {
	job, err := viewOne(ctx, e.DB, scanImportJob, `SELECT `+importJobColumns+` FROM import_jobs WHERE id = $1`, l.Key)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if job.State != "running" {
		return e.DB.Update(ctx, l.Done)
	}
	id, err := viewOne(ctx, e.DB, store.Scalar[app.ID], `SELECT application_id FROM imports WHERE id = $1`, job.ImportID)
	if err != nil {
		return err
	}
	t, err := e.target(ctx, id)
	if err != nil {
		return err
	}
	i := importing{e: e, t: t, job: job}
	for {
		var rows []ImportRow
		if err := e.DB.View(ctx, func(tx *store.Tx) (err error) {
			rows, err = store.All(tx, scanRow, `SELECT `+rowColumns+` FROM import_rows WHERE job = $1 ORDER BY remote_id LIMIT `+fmt.Sprint(importBatch), job.ID)
			return err
		}); err != nil {
			return err
		}
		if len(rows) == 0 {
			return i.end(ctx, l, "done", "")
		}
		if i.together(ctx, rows) == nil {
			continue
		}
		for _, row := range rows {
			if err := ctx.Err(); err != nil {
				return err
			}
			err := i.together(ctx, []ImportRow{row})
			switch {
			case err == nil:
				continue
			case problem.Is(err, problem.Forbidden):
				return i.end(ctx, l, "failed", problem.Public(err))
			case problem.Is(err, problem.Conflict):
				err = i.note(ctx, row, ImportSkipped, problem.Public(err))
			case problem.Is(err, problem.Invalid), problem.Is(err, problem.NotFound):
				err = i.note(ctx, row, ImportFailed, problem.Public(err))
			}
			if err != nil {
				return err
			}
		}
	}
}

// importing is a job that is being done.
type importing struct {
	e   *Engine
	t   *target
	job ImportJob
}

// together deals with rows in one transaction: with all, or with none.
func (i importing) together(ctx context.Context, rows []ImportRow) error {
	return i.e.DB.Update(ctx, func(tx *store.Tx) error {
		var c ImportCounts
		for _, row := range rows {
			var err error
			switch i.job.Act {
			case ActCreate:
				err = i.create(tx, &row)
			case ActLink:
				err = i.link(tx, &row)
			case ActUpdate:
				err = i.update(tx, &row)
			default:
				err = i.undo(tx, &row)
			}
			if err != nil {
				return err
			}
			if err := i.save(tx, row); err != nil {
				return err
			}
			c.add(row.Outcome)
		}
		return i.tally(tx, c)
	})
}

// note takes a row off the job without having done anything.
func (i importing) note(ctx context.Context, row ImportRow, o ImportOutcome, result string) error {
	return i.e.DB.Update(ctx, func(tx *store.Tx) error {
		row.Outcome, row.Result = o, result
		if err := i.save(tx, row); err != nil {
			return err
		}
		var c ImportCounts
		c.add(o)
		return i.tally(tx, c)
	})
}

// save stores what became of a row. ErrLost says that another worker dealt with it.
func (i importing) save(tx *store.Tx, row ImportRow) error {
	made := ""
	if !row.made.empty() {
		b, err := json.Marshal(row.made)
		if err != nil {
			return err
		}
		made = string(b)
	}
	n, err := tx.Exec(`UPDATE import_rows SET job = '', status = $1, user_id = $2, detail = $3, outcome = $4, result = $5, made = $6
		WHERE import_id = $7 AND remote_id = $8 AND job = $9`,
		string(row.Status), string(row.UserID), row.Detail, string(row.Outcome), row.Result, made, i.job.ImportID, row.RemoteID, i.job.ID)
	if err == nil && n == 0 {
		err = work.ErrLost
	}
	return err
}

// tally adds to what the job has done.
func (i importing) tally(tx *store.Tx, c ImportCounts) error {
	was, err := store.One(tx, scanImportJob, `SELECT `+importJobColumns+` FROM import_jobs WHERE id = $1`, i.job.ID)
	if err != nil {
		return err
	}
	sum := was.ImportCounts
	sum.Created += c.Created
	sum.Linked += c.Linked
	sum.Updated += c.Updated
	sum.Skipped += c.Skipped
	sum.Failed += c.Failed
	sum.Undone += c.Undone
	sum.Kept += c.Kept
	b, err := json.Marshal(sum)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`UPDATE import_jobs SET counts = $1, updated_at = $2 WHERE id = $3`, string(b), store.Micros(i.e.Now()), i.job.ID)
	return err
}

// end ends the job, and tells it.
func (i importing) end(ctx context.Context, l work.Lease, state, reason string) error {
	return i.e.DB.Update(ctx, func(tx *store.Tx) error {
		now := i.e.Now()
		if _, err := tx.Exec(`UPDATE import_rows SET job = '' WHERE job = $1`, i.job.ID); err != nil {
			return err
		}
		if _, err := tx.Exec(`UPDATE import_jobs SET state = $1, reason = $2, updated_at = $3, ended_at = $3 WHERE id = $4`,
			state, reason, store.Micros(now), i.job.ID); err != nil {
			return err
		}
		job, err := store.One(tx, scanImportJob, `SELECT `+importJobColumns+` FROM import_jobs WHERE id = $1`, i.job.ID)
		if err != nil {
			return err
		}
		event := audit.Event{
			Type: audit.UserImport, Actor: i.job.actor, Object: audit.Ref{Kind: audit.KindImport, ID: i.job.ImportID, Name: i.t.app.Label},
			ApplicationID: string(i.t.app.ID), Message: job.Sentence(i.t.app.Label), Outcome: audit.Success,
			Detail: map[string]any{"act": string(job.Act), "job": job.ID, "created": job.Created, "linked": job.Linked, "updated": job.Updated,
				"skipped": job.Skipped, "failed": job.Failed, "undone": job.Undone, "kept": job.Kept},
		}
		if state == "failed" {
			event.Outcome, event.Message = audit.Failure, event.Message+" It ended early: "+reason
		}
		if _, err := audit.Record(tx, now, event); err != nil {
			return err
		}
		return l.Done(tx)
	})
}

// Sentence tells in words what the job did with the accounts at an application.
func (j ImportJob) Sentence(label string) string {
	var s string
	switch j.Act {
	case ActCreate:
		s = count(j.Created, "person was", "people were") + " imported from " + label
	case ActLink:
		s = count(j.Linked, "account", "accounts") + " at " + label + " linked"
	case ActUpdate:
		s = count(j.Updated, "person was", "people were") + " updated from " + label
	default:
		s = "The import from " + label + " was undone for " + count(j.Undone, "account", "accounts")
	}
	for _, x := range []struct {
		n    int
		what string
	}{{j.Kept, "kept"}, {j.Skipped, "skipped"}, {j.Failed, "failed"}} {
		if x.n > 0 {
			s += fmt.Sprintf("; %d %s", x.n, x.what)
		}
	}
	return s + "."
}

// create makes a person of an account.
func (i importing) create(tx *store.Tx, row *ImportRow) error {
	switch {
	case row.made.User:
		row.Outcome, row.Result = ImportSkipped, "Imported before."
		return nil
	case row.Status == ImportNew, row.Status == ImportLikely, row.Status == ImportOrphan && row.UserID == "":
	default:
		row.Outcome, row.Result = ImportSkipped, cannot[row.Status]
		return nil
	}
	at := directory.Attributes{Username: row.Username, Email: row.Email, Profile: profileOf(row.Resource)}
	u, err := i.e.Directory.CreateUserIn(tx, i.job.actor, directory.NewUser{Attributes: at, State: i.job.userState})
	if err != nil {
		return err
	}
	row.made.first(*row)
	row.made.User, row.made.Version = true, u.Version
	row.Status, row.UserID, row.Detail = ImportMatched, u.ID, ""
	row.Outcome, row.Result = ImportCreated, "Created as "+string(u.State)+"."
	return nil
}

// cannot says why an account doesn't become a person, nor is linked or updated.
var cannot = map[ImportStatus]string{
	ImportNew:      "Nobody here is meant.",
	ImportMatched:  "The person is here already.",
	ImportLikely:   "Nobody said yet that it is the same person: link it first.",
	ImportConflict: "In conflict with somebody here.",
	ImportOrphan:   "Its person left.",
}

// profileOf is what an account says of a person.
func profileOf(r scim.Resource) directory.Profile {
	return directory.Profile{
		GivenName: r.Text("name.givenName"), FamilyName: r.Text("name.familyName"), MiddleName: r.Text("name.middleName"),
		DisplayName: r.DisplayName(), Title: r.Text("title"),
		Department: r.Text(scim.SchemaEnterpriseUser + ":department"), Company: r.Text(scim.SchemaEnterpriseUser + ":organization"),
	}
}

// imported are the attributes of a profile that an import sets.
func imported(p *directory.Profile) []*string {
	return []*string{&p.GivenName, &p.FamilyName, &p.MiddleName, &p.DisplayName, &p.Title, &p.Department, &p.Company}
}

// link notes whose account it is.
func (i importing) link(tx *store.Tx, row *ImportRow) error {
	skip := func(why string) error { row.Outcome, row.Result = ImportSkipped, why; return nil }
	switch {
	case row.UserID == "" && row.Status == ImportConflict, row.Status == ImportNew, row.Status == ImportOrphan:
		return skip(cannot[row.Status])
	case row.UserID == "":
		return skip(cannot[ImportNew])
	}
	u, err := directory.GetUser(tx, row.UserID)
	if problem.Is(err, problem.NotFound) {
		return skip("The person was deleted meanwhile.")
	}
	if err != nil {
		return err
	}
	o := object{i.t.app.ID, scim.User, string(u.ID)}
	lanes, err := work.States(tx, i.e.Now(), work.Filter{Kind: laneSync, Key: o.key()})
	if err != nil {
		return err
	}
	if len(lanes) > 0 && lanes[0].Running {
		return skip("The person is being provisioned at this moment. Try again.")
	}
	p, err := loadPerson(tx, i.t, u.ID)
	if err != nil {
		return err
	}
	other, err := claimedBy(tx, o, row.RemoteID)
	switch {
	case err != nil:
		return err
	case p.link.RemoteID == row.RemoteID && (p.link.Linked || row.made.Link):
		return skip("Linked before.")
	case p.link.Linked && p.link.RemoteID != "":
		return skip(u.Name() + " has another account there already.")
	case other != "":
		return skip("The account belongs to " + other + " already.")
	}
	link := p.link
	link.Known, link.Linked, link.RemoteID, link.Snapshot = plan.Remembered, false, row.RemoteID, row.Resource
	link.Status, link.Reason = LinkPending, ""
	if p.want.Want == plan.Gone {
		link.Status, link.Reason = LinkInactive, p.why
	}
	if err := link.save(tx, i.e.Now()); err != nil {
		return err
	}
	if _, err := audit.Record(tx, i.e.Now(), audit.Event{
		Type: audit.UserImport, Actor: i.job.actor, Object: audit.Ref{Kind: audit.KindUser, ID: string(u.ID), Name: u.Name()},
		ApplicationID: string(i.t.app.ID), Message: fmt.Sprintf("Account %s at %s was linked to %s; nothing was sent.", row.Username, i.t.app.Label, u.Name()),
		Detail: map[string]any{"remoteId": row.RemoteID, "import": i.job.ImportID},
	}); err != nil {
		return err
	}
	row.made.first(*row)
	row.made.Link = true
	row.Status, row.Detail = ImportMatched, ""
	row.Outcome, row.Result = ImportLinked, "Linked; nothing was sent."
	return nil
}

// update changes a person after what the account says.
func (i importing) update(tx *store.Tx, row *ImportRow) error {
	if row.Status != ImportMatched || row.UserID == "" {
		row.Outcome, row.Result = ImportSkipped, cannot[row.Status]
		return nil
	}
	before, err := directory.GetUser(tx, row.UserID)
	if err != nil {
		return err
	}
	theirs := profileOf(row.Resource)
	was := before.Profile
	u, err := i.e.Directory.UpdateUserIn(tx, i.job.actor, row.UserID, 0, func(a *directory.Attributes) error {
		ours := imported(&a.Profile)
		for n, v := range imported(&theirs) {
			if *v != "" {
				*ours[n] = *v
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if u.Version == before.Version {
		row.Outcome, row.Result = ImportSkipped, "Nothing differs."
		return nil
	}
	row.made.first(*row)
	if row.made.Before == nil || row.made.Version != before.Version {
		row.made.Before = &was
	}
	if !row.made.User || row.made.Version == before.Version {
		row.made.Version = u.Version // else it was touched, and stays so
	}
	row.Outcome, row.Result = ImportUpdated, "Updated from the account."
	return nil
}

// undo takes back what was done with an account, or says what was touched since.
func (i importing) undo(tx *store.Tx, row *ImportRow) error {
	keep := func(why string) error { row.Outcome, row.Result = ImportKept, "Kept: "+why; return nil }
	m := row.made
	if m.empty() {
		row.Outcome, row.Result = ImportSkipped, "There is nothing to undo."
		return nil
	}
	u, err := directory.GetUser(tx, row.UserID)
	gone := problem.Is(err, problem.NotFound)
	if err != nil && !gone {
		return err
	}
	o := object{i.t.app.ID, scim.User, string(row.UserID)}
	link, err := getLink(tx, o)
	if err != nil {
		return err
	}
	ours := m.Link && link.RemoteID == row.RemoteID
	if !gone {
		if ours && link.Linked {
			return keep("provisioning took the account over since.")
		}
		if m.User {
			if why, err := i.touched(tx, u, m); err != nil || why != "" {
				return errors.Join(err, keep(why))
			}
		} else if m.Before != nil && u.Version != m.Version {
			return keep("the person was changed since.")
		}
	}
	if ours && !link.Linked {
		if _, err := tx.Exec(`DELETE FROM links WHERE application_id = $1 AND object_kind = 'user' AND object_id = $2 AND remote_id = $3 AND NOT linked`,
			string(i.t.app.ID), string(row.UserID), row.RemoteID); err != nil {
			return err
		}
	}
	var did []string
	if m.Link {
		did = append(did, "the link was removed")
	}
	switch {
	case gone:
		did = append(did, "the person was deleted already")
	case m.User:
		if err := i.e.Directory.DeleteUserIn(tx, i.job.actor, u.ID); err != nil {
			return err
		}
		did = append(did, "the person was deleted")
	case m.Before != nil:
		if _, err := i.e.Directory.UpdateUserIn(tx, i.job.actor, u.ID, m.Version, func(a *directory.Attributes) error {
			now := imported(&a.Profile)
			for n, v := range imported(m.Before) {
				*now[n] = *v
			}
			return nil
		}); err != nil {
			return err
		}
		did = append(did, "the person is as before")
	}
	row.Status, row.UserID, row.Detail, row.made = m.Status, m.UserID, m.Detail, madeByImport{}
	row.Outcome, row.Result = ImportUndone, "Undone: "+joinAnd(did)+"."
	return nil
}

func joinAnd(words []string) string { return strings.Join(words, " and ") }

// touched says what somebody did with a person that an import created; "" for nothing.
func (i importing) touched(tx *store.Tx, u directory.User, m madeByImport) (string, error) {
	switch {
	case u.Version != m.Version:
		return "the person was changed since.", nil
	case u.PasswordStatus != directory.PasswordPending:
		return "the person set a password since.", nil
	}
	for _, q := range []struct{ query, why string }{
		{`SELECT count(*) FROM memberships WHERE user_id = $1`, "the person is in a group since."},
		{`SELECT count(*) FROM links WHERE object_kind = 'user' AND object_id = $1 AND linked`, "the person has an account at an application since."},
		{`SELECT count(*) FROM users WHERE manager_id = $1 AND manager_id <> ''`, "the person is somebody's manager since."},
	} {
		n, err := store.One(tx, store.Scalar[int], q.query, string(u.ID))
		if err != nil {
			return "", err
		}
		if n > 0 {
			return q.why, nil
		}
	}
	return "", nil
}
