package provision

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision/plan"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/work"
)

// Drift is what is at a target otherwise than it should be, because somebody changed it there. A
// comparison reads the target, decides with the planner what differs, and writes a report. What
// becomes of it is a policy's or a person's word; a repair only puts what is remembered in doubt
// and asks for the object's lane, so that it is read again and written under all the guards.

// DriftPolicy says what becomes of a value that differs at the target.
type DriftPolicy string

// The policies.
const (
	// ReportOnly: it is reported. The zero value means the same.
	ReportOnly DriftPolicy = "report"
	// Ours: ours is written again.
	Ours DriftPolicy = "ours"
	// Theirs: it is left as it is there until the directory changes it.
	Theirs DriftPolicy = "theirs"
	// FirstWrite: it is written when the account is made, and is the target's affair then.
	FirstWrite DriftPolicy = "first-write"
)

// DriftDeleted says what becomes of accounts and groups that were deleted at the target.
type DriftDeleted string

// The ways.
const (
	// DriftTell: it is reported, and made again when something is next written to it.
	DriftTell DriftDeleted = "report"
	// DriftRecreate: it is made again.
	DriftRecreate DriftDeleted = "recreate"
	// DriftPark: it isn't made again until a person says so.
	DriftPark DriftDeleted = "park"
)

// Attributes of which a policy has more to say than of others.
const (
	driftActive  = "active"      // accounts: whether they are switched on
	driftMembers = "members"     // groups
	driftName    = "displayName" // of groups
)

// DriftSettings are what an administrator chooses for one application.
type DriftSettings struct {
	// EveryHours is how often it is compared; 0 is only when somebody asks.
	EveryHours int         `json:"everyHours" minimum:"0" maximum:"8760" doc:"How often it is compared, in hours; 0 is only when somebody asks."`
	Policy     DriftPolicy `json:"policy" enum:"report,ours,theirs,first-write" doc:"What becomes of a value that differs there."`
	// Attributes are exceptions: by SCIM path, whole attribute, active or members.
	Attributes map[string]DriftPolicy `json:"attributes" doc:"Exceptions, by SCIM path or whole attribute; active and members are taken too."`
	Deleted    DriftDeleted           `json:"deleted" enum:"report,recreate,park" doc:"What becomes of what was deleted there."`
}

func defaultDrift() DriftSettings {
	return DriftSettings{EveryHours: 24, Policy: ReportOnly, Attributes: map[string]DriftPolicy{}, Deleted: DriftTell}
}

// Of is the policy for one path. Access never follows the target: where it would, it is reported.
func (s DriftSettings) Of(path string) DriftPolicy {
	policy := cmp.Or(s.Policy, ReportOnly)
	whole := path
	if p, err := scim.ParsePath(path); err == nil {
		p.Sub, p.Filter = "", nil
		whole = p.String()
	}
	best := ""
	for name, own := range s.Attributes {
		if strings.EqualFold(name, path) || strings.EqualFold(name, whole) && !strings.EqualFold(best, path) {
			policy, best = own, name
		}
	}
	switch {
	case strings.EqualFold(path, driftActive) && policy != Ours,
		strings.EqualFold(path, driftMembers) && policy == FirstWrite:
		return ReportOnly
	}
	return policy
}

func (s DriftSettings) leavesAny() bool {
	return s.Policy == Theirs || slices.Contains(slices.Collect(maps.Values(s.Attributes)), Theirs)
}

// heed makes the settings known to the planner.
func (t *target) heed(s DriftSettings) error {
	t.drift = s
	if t.mapping == nil || s.Policy != FirstWrite && !slices.Contains(slices.Collect(maps.Values(s.Attributes)), FirstWrite) {
		return nil
	}
	rows, err := catalog.MergeSCIM(t.connector.SCIM.Mapping, t.app.SCIM.Mapping)
	if err != nil {
		return err
	}
	for _, r := range rows {
		if p, err := scim.ParsePath(r.Target); err == nil && s.Of(p.String()) == FirstWrite {
			t.abilities.FirstWrite = append(t.abilities.FirstWrite, p.String())
		}
	}
	return nil
}

// Check tells what is wrong with the settings, field by field.
func (s *DriftSettings) Check() error {
	var f problem.Fields
	if s.EveryHours < 0 || s.EveryHours > 8760 {
		f.Add("everyHours", "Give a number of hours from 1 to 8,760, or 0 to compare only when somebody asks.")
	}
	if s.Policy = cmp.Or(s.Policy, ReportOnly); !s.Policy.known() {
		f.Add("policy", "Choose report, ours, theirs or first-write.")
	}
	if s.Deleted = cmp.Or(s.Deleted, DriftTell); s.Deleted != DriftTell && s.Deleted != DriftRecreate && s.Deleted != DriftPark {
		f.Add("deleted", "Choose report, recreate or park.")
	}
	if s.Attributes == nil {
		s.Attributes = map[string]DriftPolicy{}
	}
	for _, path := range slices.Sorted(maps.Keys(s.Attributes)) {
		policy, name := s.Attributes[path], "attributes."+path
		if _, err := scim.ParsePath(path); err != nil {
			f.Add(name, "%s is no SCIM path.", path)
		}
		switch {
		case !policy.known():
			f.Add(name, "Choose report, ours, theirs or first-write.")
		case strings.EqualFold(path, driftActive) && (policy == Theirs || policy == FirstWrite):
			f.Add(name, "Whether an account is switched on decides about access: it can't follow the application. Choose report or ours.")
		case strings.EqualFold(path, driftMembers) && policy == FirstWrite:
			f.Add(name, "Memberships follow the directory, or leavers would keep them. Choose report, ours or theirs.")
		}
	}
	return f.Err()
}

func (p DriftPolicy) known() bool {
	switch p {
	case ReportOnly, Ours, Theirs, FirstWrite:
		return true
	}
	return false
}

func getDriftSettings(tx *store.Tx, id app.ID) (DriftSettings, error) {
	s := defaultDrift()
	text, err := store.One(tx, store.Scalar[string], `SELECT settings FROM drift_settings WHERE application_id = $1`, string(id))
	if errors.Is(err, store.ErrNotFound) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal([]byte(text), &s)
	}
	return s, err
}

// SaveDrift changes the settings. Needs ManageApplications.
func (e *Engine) SaveDrift(ctx context.Context, by access.Actor, id app.ID, change func(*DriftSettings) error) (DriftSettings, error) {
	var after DriftSettings
	if err := access.Allow(by, access.ManageApplications); err != nil {
		return after, err
	}
	now := e.Now()
	err := e.DB.Update(ctx, func(tx *store.Tx) error {
		a, err := app.GetApplication(tx, id)
		if err != nil {
			return err
		}
		if !a.SCIM.Offered {
			return problem.New(problem.Invalid, "%s can't be provisioned by SCIM.", a.Label)
		}
		before, err := getDriftSettings(tx, id)
		if err != nil {
			return err
		}
		after = before
		after.Attributes = maps.Clone(before.Attributes)
		if err := change(&after); err != nil {
			return err
		}
		if err := after.Check(); err != nil {
			return err
		}
		changes := audit.Diff(before, after)
		if len(changes) == 0 {
			return nil
		}
		for i := range changes {
			changes[i].Attribute = "scim.drift." + changes[i].Attribute
		}
		text, err := json.Marshal(after)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`INSERT INTO drift_settings (application_id, settings, updated_at) VALUES ($1, $2, $3)
			ON CONFLICT (application_id) DO UPDATE SET settings = excluded.settings, updated_at = excluded.updated_at`,
			string(id), string(text), store.Micros(now)); err != nil {
			return err
		}
		_, err = audit.Record(tx, now, audit.Event{
			Type: audit.ApplicationUpdate, Actor: by, Object: audit.Ref{Kind: audit.KindApplication, ID: string(id), Name: a.Label}, ApplicationID: string(id),
			Message: fmt.Sprintf("How %s is compared was changed.", a.Label), Changes: changes,
		})
		return err
	})
	e.stale(id)
	return after, err
}

// DriftCounts sum a comparison up.
type DriftCounts struct {
	Users  int `json:"users" doc:"Accounts that were read."`
	Groups int `json:"groups" doc:"Groups that were read."`
	// The findings, by object.
	Changed   int `json:"changed" doc:"Accounts and groups with values that differ."`
	Deleted   int `json:"deleted" doc:"Accounts and groups that were deleted there."`
	Active    int `json:"active" doc:"Accounts that should be switched off or gone, and aren't."`
	Inactive  int `json:"inactive" doc:"Accounts that should be switched on, and aren't."`
	Members   int `json:"members" doc:"Groups whose members differ."`
	Unmanaged int `json:"unmanaged" doc:"Accounts that aren't managed from here."`
	// What became of them.
	Kept      int `json:"kept" doc:"Left as they are there."`
	Repairing int `json:"repairing" doc:"Being written again."`
	Parked    int `json:"parked" doc:"Deleted there, and not made again until somebody says so."`
	// Waiting were left out, since something is being sent to them anyway.
	Waiting  int `json:"waiting" doc:"Left out, since a change of them is being sent."`
	Requests int `json:"requests" doc:"Requests that it took."`
}

// Differing is how many of our objects differ.
func (c DriftCounts) Differing() int {
	return c.Changed + c.Deleted + c.Active + c.Inactive + c.Members
}

// DriftReport is one comparison.
type DriftReport struct {
	ID            string `json:"id"`
	ApplicationID app.ID `json:"applicationId"`
	State         string `json:"state" enum:"running,done,failed"`
	Reason        string `json:"reason,omitempty" doc:"Why it failed, or waits."`
	// Held says why what the policy would repair waits for a person.
	Held    string      `json:"held,omitempty" doc:"Why repairs by policy wait for a person."`
	AskedBy string      `json:"askedBy,omitempty" doc:"Who asked for it; missing: the clock."`
	Counts  DriftCounts `json:"counts"`
	// ByObject: the target can't list, so nothing is known of unmanaged accounts.
	ByObject  bool      `json:"byObject" doc:"Each object was read by itself, since the application can't list: nothing is known of unmanaged accounts."`
	StartedAt time.Time `json:"startedAt"`
	EndedAt   time.Time `json:"endedAt,omitzero"`

	phase, next, cause string
	updatedAt          time.Time
}

// The states of a report.
const (
	DriftRunning = "running"
	DriftDone    = "done"
	DriftFailed  = "failed"
)

// DriftFinding says in which way an object differs.
type DriftFinding string

// The findings.
const (
	FoundChanged   DriftFinding = "changed"
	FoundDeleted   DriftFinding = "deleted"
	FoundActive    DriftFinding = "active"
	FoundInactive  DriftFinding = "inactive"
	FoundMembers   DriftFinding = "members"
	FoundUnmanaged DriftFinding = "unmanaged"
)

// DriftState says what becomes of a finding.
type DriftState string

// The states of a finding. The last two are worked out when it is looked at.
const (
	DriftOpen      DriftState = "open"
	DriftRepairing DriftState = "repairing"
	DriftKept      DriftState = "kept"
	DriftParked    DriftState = "parked"
	DriftRepaired  DriftState = "repaired"
	DriftStuck     DriftState = "stuck"
)

// DriftDifference is one value that differs.
type DriftDifference struct {
	Path string `json:"path"`
	// Ours is what should be there, Theirs what is, Remembered what the target last acknowledged.
	// Of members, Ours are those that are missing and Theirs those that should not be there.
	Ours       any         `json:"ours,omitempty"`
	Theirs     any         `json:"theirs,omitempty"`
	Remembered any         `json:"remembered,omitempty"`
	Policy     DriftPolicy `json:"policy" enum:"report,ours,theirs,first-write"`
}

// DriftRow is one object that differs.
type DriftRow struct {
	Kind        scim.ResourceType
	RemoteID    string
	ObjectID    string
	Name        string
	Finding     DriftFinding
	State       DriftState
	Differences []DriftDifference
	Note        string

	repair bool
	remote scim.Resource
}

// Drift is how it stands with an application's comparisons.
type Drift struct {
	Settings DriftSettings `json:"settings"`
	// Report is the newest one, nil if there is none; Next is when the next begins, zero if none
	// is due.
	Report *DriftReport `json:"report,omitempty"`
	Next   time.Time    `json:"next,omitzero"`
}

const reportColumns = `id, application_id, state, reason, held, asked_by, cause, phase, next, by_object, counts, started_at, updated_at, ended_at`

func scanReport(r store.Row) (DriftReport, error) {
	var x DriftReport
	var counts string
	var started, updated, ended int64
	err := r.Scan(&x.ID, &x.ApplicationID, &x.State, &x.Reason, &x.Held, &x.AskedBy, &x.cause, &x.phase, &x.next, &x.ByObject, &counts, &started, &updated, &ended)
	if err == nil {
		err = json.Unmarshal([]byte(counts), &x.Counts)
	}
	x.StartedAt, x.updatedAt, x.EndedAt = store.FromMicros(started), store.FromMicros(updated), store.FromMicros(ended)
	return x, err
}

func latestReport(tx *store.Tx, id app.ID) (*DriftReport, error) {
	r, err := store.One(tx, scanReport, `SELECT `+reportColumns+` FROM drift_reports WHERE application_id = $1 ORDER BY id DESC LIMIT 1`, string(id))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return &r, err
}

// Drift tells how it stands. Needs ReadApplications.
func (e *Engine) Drift(ctx context.Context, by access.Actor, id app.ID) (Drift, error) {
	var d Drift
	if err := access.Allow(by, access.ReadApplications); err != nil {
		return d, err
	}
	err := e.DB.View(ctx, func(tx *store.Tx) error {
		a, err := app.GetApplication(tx, id)
		if err != nil {
			return err
		}
		if d.Settings, err = getDriftSettings(tx, id); err != nil {
			return err
		}
		if d.Report, err = latestReport(tx, id); err != nil {
			return err
		}
		if a.SCIM.Status == app.Active && d.Settings.EveryHours > 0 && (d.Report == nil || d.Report.State != DriftRunning) {
			d.Next = nextDrift(a, d.Settings, d.Report)
		}
		return nil
	})
	return d, err
}

// nextDrift is when the next comparison is due: so long after the last one began, or after
// provisioning did.
func nextDrift(a app.Application, s DriftSettings, last *DriftReport) time.Time {
	from := a.SCIM.Since
	if last != nil {
		from = last.StartedAt
	}
	return from.Add(time.Duration(s.EveryHours) * time.Hour)
}

// DriftReports lists an application's comparisons, newest first. Needs ReadApplications.
func (e *Engine) DriftReports(ctx context.Context, by access.Actor, id app.ID) (list []DriftReport, err error) {
	if err := access.Allow(by, access.ReadApplications); err != nil {
		return nil, err
	}
	err = e.DB.View(ctx, func(tx *store.Tx) error {
		list, err = store.All(tx, scanReport, `SELECT `+reportColumns+` FROM drift_reports WHERE application_id = $1 ORDER BY id DESC LIMIT 30`, string(id))
		return err
	})
	return list, err
}

// DriftQuery narrows a list of findings; zero fields don't.
type DriftQuery struct {
	Kind    scim.ResourceType
	Finding DriftFinding
	// State is open, repairing, kept or parked.
	State  DriftState
	Text   string
	Cursor string
	Limit  int // default 50
	// objects are only these, by id there.
	objects []string
	// repair are only those that the policy repairs.
	repair bool
}

const driftColumns = `r.object_kind, r.remote_id, r.object_id, r.name, r.finding, r.state, r.repair, r.differences, r.remote, r.note`

func scanDrift(r store.Row, more ...any) (DriftRow, error) {
	var x DriftRow
	var kind, differences, remote string
	err := r.Scan(append([]any{&kind, &x.RemoteID, &x.ObjectID, &x.Name, &x.Finding, &x.State, &x.repair, &differences, &remote, &x.Note}, more...)...)
	if err != nil {
		return x, err
	}
	x.Kind = scim.User
	if kind == "group" {
		x.Kind = scim.Group
	}
	if err := json.Unmarshal([]byte(differences), &x.Differences); err != nil {
		return x, err
	}
	if remote != "" {
		x.remote, err = scim.ParseResource([]byte(remote))
	}
	return x, err
}

// DriftRows lists what differs, by name. Needs ReadApplications.
func (e *Engine) DriftRows(ctx context.Context, by access.Actor, id app.ID, q DriftQuery) (store.Page[DriftRow], error) {
	page := store.Page[DriftRow]{Total: -1}
	if err := access.Allow(by, access.ReadApplications); err != nil {
		return page, err
	}
	if _, err := store.DecodeCursor(q.Cursor, 2); err != nil {
		return page, err
	}
	err := e.DB.View(ctx, func(tx *store.Tx) error {
		last, err := latestReport(tx, id)
		if err != nil || last == nil {
			return err
		}
		page, err = driftRows(tx, *last, q)
		return err
	})
	return page, err
}

func driftRows(tx *store.Tx, rep DriftReport, q DriftQuery) (store.Page[DriftRow], error) {
	page := store.Page[DriftRow]{Total: -1}
	cursor, err := store.DecodeCursor(q.Cursor, 2)
	if err != nil {
		return page, err
	}
	where, args := []string{"r.report_id = $2"}, []any{string(rep.ApplicationID), rep.ID, laneSync}
	arg := func(v any) string {
		args = append(args, v)
		return "$" + strconv.Itoa(len(args))
	}
	if q.Kind != "" {
		where = append(where, "r.object_kind = "+arg(kindName(q.Kind)))
	}
	if q.Finding != "" {
		where = append(where, "r.finding = "+arg(string(q.Finding)))
	}
	if q.State != "" {
		where = append(where, "r.state = "+arg(string(q.State)))
	}
	if q.repair {
		where = append(where, "r.repair")
	}
	if text := store.Fold(q.Text); text != "" {
		where = append(where, "r.search_key LIKE "+arg(store.LikePattern(text))+` ESCAPE '\'`)
	}
	if len(q.objects) > 0 {
		var in []string
		for _, o := range q.objects {
			in = append(in, arg(o))
		}
		where = append(where, "r.remote_id IN ("+strings.Join(in, ", ")+")")
	}
	if cursor != nil {
		kind, remote, _ := strings.Cut(cursor[1], "/")
		where = append(where, "(r.name, r.object_kind, r.remote_id) > ("+arg(cursor[0])+", "+arg(kind)+", "+arg(remote)+")")
	}
	limit := store.PageLimit(q.Limit, 50)
	// What became of a repair is seen at the link and its lane.
	page.Items, err = store.All(tx, func(r store.Row) (DriftRow, error) {
		var status LinkStatus
		var reason string
		var waiting bool
		x, err := scanDrift(r, &status, &reason, &waiting)
		if err == nil && x.State == DriftRepairing && !waiting {
			switch status {
			case LinkSynced, LinkInactive:
				x.State = DriftRepaired
			case LinkBlocked, LinkFailed:
				x.State, x.Note = DriftStuck, reason
			}
		}
		return x, err
	}, `SELECT `+driftColumns+`, COALESCE(l.status, ''), COALESCE(l.reason, ''),
			EXISTS (SELECT 1 FROM lanes w WHERE w.kind = $3 AND w.key = $1 || '/' || r.object_kind || '/' || r.object_id AND w.wanted > w.synced AND NOT w.parked)
		FROM drift_rows r LEFT JOIN links l ON l.application_id = $1 AND l.object_kind = r.object_kind AND l.object_id = r.object_id
		WHERE `+strings.Join(where, " AND ")+` ORDER BY r.name, r.object_kind, r.remote_id LIMIT `+arg(limit+1), args...)
	if len(page.Items) > limit {
		page.Items = page.Items[:limit]
		last := page.Items[limit-1]
		page.Next = store.EncodeCursor(last.Name, kindName(last.Kind)+"/"+last.RemoteID)
	}
	return page, err
}

// Compare begins a comparison now, or returns the one that runs. Needs RunProvisioning.
func (e *Engine) Compare(ctx context.Context, by access.Actor, id app.ID) (DriftReport, error) {
	if err := access.Allow(by, access.RunProvisioning); err != nil {
		return DriftReport{}, err
	}
	t, err := e.ready(ctx, id)
	if err != nil {
		return DriftReport{}, err
	}
	if t.app.SCIM.Status != app.Active {
		return DriftReport{}, problem.New(problem.Conflict, "Provisioning of %s is %s. It is compared only while provisioning is active.", t.app.Label, t.app.SCIM.Status)
	}
	var rep DriftReport
	err = e.DB.Update(ctx, func(tx *store.Tx) (err error) {
		rep, err = e.beginDrift(tx, id, cmp.Or(by.Name, string(by.Kind)))
		return err
	})
	e.Pool.ReleaseScope(string(id))
	return rep, err
}

// beginDrift makes a report and asks for its lane.
func (e *Engine) beginDrift(tx *store.Tx, id app.ID, asked string) (DriftReport, error) {
	now := e.Now()
	last, err := latestReport(tx, id)
	if err != nil {
		return DriftReport{}, err
	}
	if last != nil && last.State == DriftRunning {
		return *last, work.Want(tx, now, work.Lane{Kind: laneDrift, Key: string(id), Scope: string(id)})
	}
	rep := DriftReport{ID: store.NewID(), ApplicationID: id, State: DriftRunning, AskedBy: asked, StartedAt: now, updatedAt: now, phase: phaseUsers}
	counts, err := json.Marshal(rep.Counts)
	if err != nil {
		return rep, err
	}
	if _, err := tx.Exec(`INSERT INTO drift_reports (`+reportColumns+`) VALUES ($1, $2, 'running', '', '', $3, '', $4, '', FALSE, $5, $6, $6, 0)`,
		rep.ID, string(id), asked, rep.phase, string(counts), store.Micros(now)); err != nil {
		return rep, err
	}
	return rep, work.Want(tx, now, work.Lane{Kind: laneDrift, Key: string(id), Scope: string(id)})
}

// driftDue begins the comparisons that are due.
func (e *Engine) driftDue(ctx context.Context) error {
	return e.DB.Update(ctx, func(tx *store.Tx) error {
		apps, err := app.ActiveSCIM(tx)
		if err != nil {
			return err
		}
		for _, a := range apps {
			s, err := getDriftSettings(tx, a.ID)
			if err != nil {
				return err
			}
			last, err := latestReport(tx, a.ID)
			if err != nil {
				return err
			}
			if s.EveryHours <= 0 || last != nil && last.State == DriftRunning || nextDrift(a, s, last).After(e.Now()) {
				continue
			}
			if _, err := e.beginDrift(tx, a.ID, ""); err != nil {
				return err
			}
		}
		return nil
	})
}

// DriftChoice says what of the newest report is meant.
type DriftChoice struct {
	// All are all that are open; else RemoteIDs names objects by their id there.
	All       bool
	Kind      scim.ResourceType // with RemoteIDs; "" is any
	RemoteIDs []string
}

// maxChosen bounds how many objects are named one by one.
const maxChosen = 1000

// Repair is what would be written to put right what differs.
type Repair struct {
	Hash   string      `json:"hash" doc:"Give it back to have exactly this done."`
	Counts plan.Counts `json:"counts"`
	// Objects is how many are put right; Steps are the first of the operations, as of what was
	// read then and of the directory now.
	Objects int         `json:"objects" doc:"How many people and groups are put right."`
	Steps   []plan.Step `json:"steps" doc:"The operations; of very many, the first."`
	// Held says why it takes a person who may change applications; "" if it doesn't.
	Held string `json:"held,omitempty" doc:"Why it takes somebody who may change applications."`
}

// repairShown is how many steps of a repair are shown.
const repairShown = 500

// RepairPlan works out what a repair would write, by reading only here. Needs ReadApplications.
func (e *Engine) RepairPlan(ctx context.Context, by access.Actor, id app.ID, c DriftChoice) (Repair, error) {
	if err := access.Allow(by, access.ReadApplications); err != nil {
		return Repair{}, err
	}
	t, err := e.ready(ctx, id)
	if err != nil {
		return Repair{}, err
	}
	_, out, err := e.repairPlan(ctx, t, c)
	return out, err
}

func (e *Engine) repairPlan(ctx context.Context, t *target, c DriftChoice) (rep DriftReport, out Repair, err error) {
	h := sha256.New()
	rep, err = e.eachChosen(ctx, t, c, func(rows []DriftRow) error {
		var parts [][]plan.Step
		if err := e.DB.View(ctx, func(tx *store.Tx) error {
			parts = nil
			for _, row := range rows {
				steps, err := e.repairSteps(tx, t, row)
				if err != nil {
					return err
				}
				if len(steps) > 0 {
					parts = append(parts, steps)
				}
			}
			return nil
		}); err != nil {
			return err
		}
		out.Objects += len(parts)
		p := plan.Build(parts...)
		h.Write([]byte(p.Hash))
		addCounts(&out.Counts, p.Counts())
		out.Steps = append(out.Steps, p.Steps[:min(len(p.Steps), repairShown-len(out.Steps))]...)
		return nil
	})
	if err != nil {
		return rep, out, err
	}
	out.Hash = hex.EncodeToString(h.Sum(nil))
	out.Held, err = e.repairHeld(ctx, t, out.Objects)
	return rep, out, err
}

func addCounts(to *plan.Counts, c plan.Counts) {
	tally := func(to *plan.Tally, c plan.Tally) {
		to.Create += c.Create
		to.Adopt += c.Adopt
		to.Update += c.Update
		to.Reactivate += c.Reactivate
		to.Deactivate += c.Deactivate
		to.Delete += c.Delete
	}
	tally(&to.Users, c.Users)
	tally(&to.Groups, c.Groups)
	to.MembersAdded += c.MembersAdded
	to.MembersRemoved += c.MembersRemoved
	to.Lookups += c.Lookups
	to.Blocked += c.Blocked
	to.Guarded += c.Guarded
	to.Writes += c.Writes
}

// repairHeld says why so many repairs need a person's approval; "" if they don't: the limits are
// those of the mass-change guard, and the deactivations among them meet that guard once more.
func (e *Engine) repairHeld(ctx context.Context, t *target, n int) (string, error) {
	g := t.app.SCIM.Guard
	if g.MaxCount == 0 && g.MaxPercent == 0 || n <= plan.GuardFloor && (g.MaxCount == 0 || n <= g.MaxCount) {
		return "", nil
	}
	linked := 0
	if err := e.DB.View(ctx, func(tx *store.Tx) (err error) {
		linked, err = store.One(tx, store.Scalar[int], `SELECT count(*) FROM links WHERE application_id = $1 AND linked AND status <> 'inactive'`, string(t.app.ID))
		return err
	}); err != nil {
		return "", err
	}
	switch {
	case g.MaxCount > 0 && n > g.MaxCount:
		return fmt.Sprintf("%d repairs are more than the limit of %d of the mass-change guard.", n, g.MaxCount), nil
	case g.MaxPercent > 0 && n*100 > g.MaxPercent*linked:
		return fmt.Sprintf("%d repairs of %d accounts and groups are more than the limit of %d %% of the mass-change guard.", n, linked, g.MaxPercent), nil
	}
	return "", nil
}

// eachChosen gives the chosen findings of the newest report to fn, page by page.
func (e *Engine) eachChosen(ctx context.Context, t *target, c DriftChoice, fn func([]DriftRow) error) (rep DriftReport, err error) {
	switch {
	case !c.All && len(c.RemoteIDs) == 0:
		return rep, problem.New(problem.Invalid, "Choose what is meant, or all.")
	case len(c.RemoteIDs) > maxChosen:
		return rep, problem.New(problem.Invalid, "Choose at most %d, or all.", maxChosen)
	case c.All:
		return e.eachFinding(ctx, t, DriftQuery{State: DriftOpen, Limit: 500}, fn)
	}
	for part := range slices.Chunk(c.RemoteIDs, 100) {
		if rep, err = e.eachFinding(ctx, t, DriftQuery{Kind: c.Kind, objects: part, Limit: 500}, fn); err != nil {
			return rep, err
		}
	}
	return rep, nil
}

func (e *Engine) eachFinding(ctx context.Context, t *target, q DriftQuery, fn func([]DriftRow) error) (rep DriftReport, err error) {
	for {
		var page store.Page[DriftRow]
		if err := e.DB.View(ctx, func(tx *store.Tx) error {
			last, err := latestReport(tx, t.app.ID)
			if err != nil {
				return err
			}
			if last == nil || last.State == DriftRunning {
				return problem.New(problem.Conflict, "%s is being compared, or never was. Wait for the report.", t.app.Label)
			}
			rep = *last
			page, err = driftRows(tx, rep, q)
			return err
		}); err != nil {
			return rep, err
		}
		// What isn't ours can be neither put right nor kept.
		if err := fn(slices.DeleteFunc(page.Items, func(r DriftRow) bool { return r.ObjectID == "" })); err != nil {
			return rep, err
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return rep, nil
		}
	}
}

// repairSteps are the operations that put one finding right, as of what was read.
func (e *Engine) repairSteps(tx *store.Tx, t *target, row DriftRow) ([]plan.Step, error) {
	if row.Kind == scim.Group {
		g, err := loadTeam(tx, t, directory.GroupID(row.ObjectID))
		if err != nil {
			return nil, err
		}
		g.want.Kept = nil
		if row.Finding == FoundDeleted {
			g.state = plan.TeamState{Known: plan.Absent, People: g.state.People}
		} else {
			g.state = g.state.Seen(row.team(g))
		}
		return plan.ForTeam(g.want, g.state, t.abilities), nil
	}
	p, err := loadPerson(tx, t, directory.UserID(row.ObjectID))
	if err != nil {
		return nil, err
	}
	p.want.Kept = nil
	if row.Finding == FoundDeleted {
		p.state = plan.PersonState{Known: plan.Absent}
	} else {
		p.state = p.state.Seen(row.remote)
	}
	return plan.ForPerson(p.want, p.state, t.abilities), nil
}

// team is the group as it was read: of its members only what differed was stored.
func (r DriftRow) team(g groupAt) scim.Resource {
	missing, foreign := r.memberIDs()
	have := map[string]bool{}
	for _, m := range g.want.Members {
		if m.Remote != "" {
			have[m.Remote] = true
		}
	}
	for _, id := range missing {
		delete(have, id)
	}
	for _, id := range foreign {
		have[id] = true
	}
	members := []any{}
	for _, id := range slices.Sorted(maps.Keys(have)) {
		members = append(members, map[string]any{"value": id})
	}
	return scim.Resource{"id": r.RemoteID, "displayName": r.remote.DisplayName(), "members": members}
}

// memberIDs are the members that were missing, and those that should not have been there.
func (r DriftRow) memberIDs() (missing, foreign []string) {
	texts := func(name string) (out []string) {
		list, _ := r.remote[name].([]any)
		for _, v := range list {
			if s, ok := v.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return texts("missing"), texts("foreign")
}

// Repair has what differs put right: exactly what the hash, of a RepairPlan, stands for. Each
// object is read again before anything is written to it. Needs RunProvisioning, and
// ManageApplications when it is more than the mass-change guard lets pass.
func (e *Engine) Repair(ctx context.Context, by access.Actor, id app.ID, c DriftChoice, hash string) (Repair, error) {
	if err := access.Allow(by, access.RunProvisioning); err != nil {
		return Repair{}, err
	}
	t, err := e.ready(ctx, id)
	if err != nil {
		return Repair{}, err
	}
	if t.app.SCIM.Status != app.Active {
		return Repair{}, problem.New(problem.Conflict, "Provisioning of %s is %s. Nothing can be put right there now.", t.app.Label, t.app.SCIM.Status)
	}
	rep, out, err := e.repairPlan(ctx, t, c)
	if err != nil {
		return out, err
	}
	if out.Held != "" {
		if err := access.Allow(by, access.ManageApplications); err != nil {
			return out, err
		}
	}
	if hash == "" || hash != out.Hash {
		return out, problem.New(problem.Conflict, "What would be written has changed since you looked at it. Look at it again.")
	}
	if out.Objects == 0 {
		return out, problem.New(problem.Conflict, "There is nothing to put right.")
	}
	cause := ""
	if err := e.DB.Update(ctx, func(tx *store.Tx) (err error) {
		cause, err = audit.Record(tx, e.Now(), audit.Event{
			Type: audit.DriftRepair, Actor: by, Object: audit.Ref{Kind: audit.KindApplication, ID: string(id), Name: t.app.Label}, ApplicationID: string(id), Cause: rep.cause,
			Message: fmt.Sprintf("%s to be put right at %s.", count(out.Objects, "person or group is", "people and groups are"), t.app.Label),
			Detail:  map[string]any{"report": rep.ID, "objects": out.Objects, "counts": out.Counts, "hash": out.Hash, "held": out.Held},
		})
		return err
	}); err != nil {
		return out, err
	}
	// One that changes its state leaves the list of the open ones, but the cursor is behind it.
	_, err = e.eachChosen(ctx, t, c, func(rows []DriftRow) error {
		return e.repairAll(ctx, t, rep, rows, cause, false)
	})
	e.Pool.ReleaseScope(string(id))
	return out, err
}

// repairAll has findings put right: by policy what that says, else all of them.
func (e *Engine) repairAll(ctx context.Context, t *target, rep DriftReport, rows []DriftRow, cause string, policy bool) error {
	for part := range slices.Chunk(rows, 100) {
		if err := e.DB.Update(ctx, func(tx *store.Tx) error {
			for _, row := range part {
				if err := e.repairOne(tx, t, rep, row, cause, policy); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) repairOne(tx *store.Tx, t *target, rep DriftReport, row DriftRow, cause string, policy bool) error {
	o := object{t.app.ID, row.Kind, row.ObjectID}
	priority := update
	switch {
	case row.Kind == scim.Group:
		priority = team
	case row.Finding == FoundActive:
		priority = leaver
	case row.Finding == FoundDeleted, row.Finding == FoundInactive:
		priority = joiner
	}
	link, err := getLink(tx, o)
	if err != nil {
		return err
	}
	d := LinkDrift{}
	if policy && row.Kind == scim.User {
		// Only some of the values may be ours to write: the others are left meanwhile, and so is what
		// was chosen before.
		d.Kept = link.Drift.chosen()
		for _, x := range row.Differences {
			if x.Policy != Ours && x.Path != driftActive {
				row.keep(&d, x, x.Policy == Theirs)
			}
			if k, ok := d.Kept[x.Path]; ok && x.Policy == ReportOnly {
				k.Reported = true
				d.Kept[x.Path] = k
			}
		}
	}
	if policy && row.Kind == scim.Group {
		d.Members = link.Drift.Members
	}
	if !link.Drift.empty() || !d.empty() {
		if err := saveDrift(tx, o, d); err != nil {
			return err
		}
	}
	if row.Finding == FoundDeleted && (link.RemoteID == "" || link.RemoteID == row.RemoteID) {
		// It is looked up as if it never had been there: somebody may have made it again.
		if err := forgetMembers(tx, o, row.RemoteID); err != nil {
			return err
		}
		if _, err := tx.Exec(`UPDATE links SET known = 'unknown', remote_id = '', linked = FALSE, snapshot = '', status = 'pending', reason = ''
			WHERE application_id = $1 AND object_kind = $2 AND object_id = $3`, string(o.app), kindName(o.kind), o.id); err != nil {
			return err
		}
		err = e.want(tx, o, priority, cause)
	} else {
		err = e.doubt(tx, o, row.RemoteID, priority, cause)
	}
	if err != nil {
		return err
	}
	_, err = tx.Exec(`UPDATE drift_rows SET state = 'repairing', repaired_at = $1 WHERE report_id = $2 AND object_kind = $3 AND remote_id = $4`,
		store.Micros(e.Now()), rep.ID, kindName(row.Kind), row.RemoteID)
	return err
}

// KeepTheirs leaves findings as they are at the target: they are reported no more until the
// directory changes the value, or the target does once more. Memberships and values can be kept;
// whether an account is switched on can't. Needs ManageApplications.
func (e *Engine) KeepTheirs(ctx context.Context, by access.Actor, id app.ID, c DriftChoice) (kept int, err error) {
	if err := access.Allow(by, access.ManageApplications); err != nil {
		return 0, err
	}
	t, err := e.ready(ctx, id)
	if err != nil {
		return 0, err
	}
	var rep DriftReport
	rep, err = e.eachChosen(ctx, t, c, func(rows []DriftRow) error {
		return e.DB.Update(ctx, func(tx *store.Tx) error {
			for _, row := range rows {
				ok, err := e.keepOne(tx, t, row)
				if err != nil {
					return err
				}
				if !ok {
					continue
				}
				kept++
				if _, err := tx.Exec(`UPDATE drift_rows SET state = 'kept' WHERE report_id = (SELECT max(id) FROM drift_reports WHERE application_id = $1)
					AND object_kind = $2 AND remote_id = $3`, string(id), kindName(row.Kind), row.RemoteID); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return kept, err
	}
	if kept == 0 {
		return 0, problem.New(problem.Conflict, "None of it can be left as it is there: whether an account is switched on, or there at all, follows the directory. Or something is just being sent: compare again.")
	}
	return kept, e.DB.Update(ctx, func(tx *store.Tx) error {
		_, err := audit.Record(tx, e.Now(), audit.Event{
			Type: audit.DriftRepair, Actor: by, Object: audit.Ref{Kind: audit.KindApplication, ID: string(id), Name: t.app.Label}, ApplicationID: string(id), Cause: rep.cause,
			Message: fmt.Sprintf("%s left as at %s.", count(kept, "difference is", "differences are"), t.app.Label),
			Detail:  map[string]any{"report": rep.ID, "kept": kept},
		})
		return err
	})
}

func (e *Engine) keepOne(tx *store.Tx, t *target, row DriftRow) (bool, error) {
	if row.Finding != FoundChanged && row.Finding != FoundMembers || row.State != DriftOpen {
		return false, nil
	}
	link, err := getLink(tx, object{t.app.ID, row.Kind, row.ObjectID})
	if err != nil {
		return false, err
	}
	d := LinkDrift{Kept: maps.Clone(link.Drift.Kept), Members: maps.Clone(link.Drift.Members), Lost: link.Drift.Lost}
	which := func(x DriftDifference) bool { return row.Kind == scim.User || x.Path == driftMembers }
	n := 0
	for _, x := range row.Differences {
		if which(x) {
			row.keep(&d, x, false)
			n++
		}
	}
	if n == 0 {
		return false, nil
	}
	return e.remember(tx, link, row, d, which)
}

// Recreate lets something that was deleted at the target be made again, where the policy is not
// to. Needs RunProvisioning.
func (e *Engine) Recreate(ctx context.Context, by access.Actor, id app.ID, kind scim.ResourceType, objectID string) error {
	if err := access.Allow(by, access.RunProvisioning); err != nil {
		return err
	}
	o := object{id, kind, objectID}
	err := e.DB.Update(ctx, func(tx *store.Tx) error {
		a, err := app.GetApplication(tx, id)
		if err != nil {
			return err
		}
		link, err := getLink(tx, o)
		if err != nil {
			return err
		}
		if !link.Drift.Lost {
			return problem.New(problem.Conflict, "It isn't known to have been deleted at %s. Compare with it to find out.", a.Label)
		}
		d := link.Drift
		d.Lost = false
		if err := saveDrift(tx, o, d); err != nil {
			return err
		}
		// It is looked up first: somebody may have made it again there.
		link.Known, link.Status, link.Reason = plan.Unknown, LinkPending, ""
		if err := link.save(tx, e.Now()); err != nil {
			return err
		}
		cause, err := audit.Record(tx, e.Now(), audit.Event{
			Type: audit.DriftRepair, Actor: by, Object: audit.Ref{Kind: kindName(kind), ID: objectID, Name: link.Name}, ApplicationID: string(id),
			Message: fmt.Sprintf("%s is to be made again at %s.", cmp.Or(link.Name, objectID), a.Label),
		})
		if err != nil {
			return err
		}
		return e.want(tx, o, joiner, cause)
	})
	e.Pool.ReleaseScope(string(id))
	return err
}
