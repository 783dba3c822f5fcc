package provision

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision/plan"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/work"
)

// laneDrift compares one application; key: application.
const laneDrift = "provision.drift"

// driftLook is how often it is looked whether a comparison is due.
const driftLook = 10 * time.Minute

func (e *Engine) handleDrift() {
	free := e.holding(1)
	e.Pool.Handle(laneDrift, work.Options{Workers: 2, PerScope: func(scope string) int {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		// Paused and stopped, it waits: it goes on where it was.
		if t, err := e.target(ctx, app.ID(scope)); err == nil && (t.app.SCIM.Status == app.Paused || t.app.SCIM.Status == app.Stopped) {
			return 0
		}
		return free(scope)
	}}, e.compare)
	e.Pool.Every("provision.drift-due", driftLook, e.driftDue)
}

// The phases of a comparison, in order. Where it is, and where in that, is stored with what was
// found, so that another process goes on.
const (
	phaseUsers    = "users"          // lists accounts, or reads each
	phaseMissing  = "missing"        // reads those that no page had
	phaseGroups   = "groups"         // lists groups, or reads each
	phaseNoGroups = "missing-groups" // reads those that no page had
	phaseConclude = "conclude"       // sums up
	phaseRepair   = "repair"         // asks for what the policy repairs
)

// A comparison that nobody worked on for so long begins anew: pages have moved meanwhile.
const driftStale = time.Hour

const (
	// maxUnmanaged is how many unmanaged accounts are listed; all are counted.
	maxUnmanaged = 10_000
	// maxAsked is how many objects that no page had are asked for one by one.
	maxAsked = 1000
	// keptRows is of how many reports the findings are kept, keptReports how many reports are.
	keptRows    = 3
	keptReports = 100
	// groupPage is how many groups are asked for at once, since each brings its members.
	groupPage = 20
)

// comparison is one run of a comparison.
type comparison struct {
	e     *Engine
	t     *target
	lease work.Lease
	rep   *DriftReport
	run   *run
}

// compare is the handler of laneDrift.
func (e *Engine) compare(ctx context.Context, l work.Lease) error {
	id := app.ID(l.Key)
	var rep *DriftReport
	if err := e.DB.View(ctx, func(tx *store.Tx) (err error) {
		rep, err = latestReport(tx, id)
		return err
	}); err != nil || rep == nil || rep.State != DriftRunning {
		return err
	}
	e.stale(id)
	t, err := e.target(ctx, id)
	if problem.Is(err, problem.NotFound) {
		return nil
	}
	c := &comparison{e: e, t: t, lease: l, rep: rep}
	if err != nil {
		return c.fail(ctx, err.Error())
	}
	c.run = &run{e: e, t: t}
	if t.client == nil || t.mapping == nil {
		return c.fail(ctx, "Base URL or token is missing.")
	}
	if e.Now().Sub(rep.updatedAt) > driftStale && rep.phase != phaseRepair {
		if err := c.restart(ctx); err != nil {
			return err
		}
	}
	for {
		if err := c.ready(ctx); err != nil {
			return err
		}
		var err error
		switch rep.phase {
		case phaseUsers:
			err = c.read(ctx, scim.User, phaseMissing)
		case phaseMissing:
			then := phaseGroups
			if !c.t.abilities.ManageGroups {
				then = phaseConclude
			}
			err = c.missing(ctx, scim.User, then)
		case phaseGroups:
			err = c.read(ctx, scim.Group, phaseNoGroups)
		case phaseNoGroups:
			err = c.missing(ctx, scim.Group, phaseConclude)
		case phaseConclude:
			err = c.conclude(ctx)
		default:
			return c.repair(ctx)
		}
		if err != nil {
			return c.failed(ctx, err)
		}
	}
}

// ready tells whether the comparison may go on.
func (c *comparison) ready(ctx context.Context) error {
	t, err := c.e.target(ctx, c.t.app.ID)
	if problem.Is(err, problem.NotFound) {
		return work.ErrLost
	}
	if err != nil {
		return err
	}
	switch t.app.SCIM.Status {
	case app.Active:
		c.t, c.run.t = t, t
		return nil
	case app.Paused, app.Stopped:
		return work.Hold(time.Second, "Provisioning is "+string(t.app.SCIM.Status)+".")
	}
	if err := c.fail(ctx, "Provisioning was switched off."); err != nil {
		return err
	}
	return work.ErrLost
}

// failed decides what a failed request means for the comparison.
func (c *comparison) failed(ctx context.Context, cause error) error {
	var call *scim.CallError
	if !errors.As(cause, &call) || ctx.Err() != nil {
		return cause // a hold, or the program is ending
	}
	now := c.e.Now()
	reason, result := c.run.consequence(now, call)
	switch call.Class {
	case scim.Throttled, scim.Temporary:
		return result // goes on from where it was
	case scim.Unauthorized:
		if err := c.e.DB.Update(ctx, func(tx *store.Tx) error { return c.e.stop(tx, c.t.app.ID, reason) }); err != nil {
			return err
		}
		c.e.stale(c.t.app.ID)
		return c.fail(ctx, reason)
	}
	return c.fail(ctx, reason)
}

func (c *comparison) fail(ctx context.Context, reason string) error {
	now := c.e.Now()
	return c.e.DB.Update(ctx, func(tx *store.Tx) error {
		name := string(c.rep.ApplicationID)
		if a, err := app.GetApplication(tx, c.rep.ApplicationID); err == nil {
			name = a.Label
		}
		if _, err := tx.Exec(`UPDATE drift_reports SET state = 'failed', reason = $1, ended_at = $2, updated_at = $2 WHERE id = $3`,
			reason, store.Micros(now), c.rep.ID); err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM drift_seen WHERE report_id = $1`, c.rep.ID); err != nil {
			return err
		}
		if _, err := audit.Record(tx, now, audit.Event{
			Type: audit.DriftCheck, Outcome: audit.Failure, Actor: system(), ApplicationID: string(c.rep.ApplicationID),
			Object:  audit.Ref{Kind: audit.KindApplication, ID: string(c.rep.ApplicationID), Name: name},
			Message: fmt.Sprintf("%s can't be compared: %s", name, reason), Detail: map[string]any{"report": c.rep.ID, "reason": reason},
		}); err != nil {
			return err
		}
		return c.lease.Done(tx)
	})
}

func (c *comparison) restart(ctx context.Context) error {
	return c.e.DB.Update(ctx, func(tx *store.Tx) error {
		for _, table := range []string{"drift_rows", "drift_seen"} {
			if _, err := tx.Exec(`DELETE FROM `+table+` WHERE report_id = $1`, c.rep.ID); err != nil {
				return err
			}
		}
		c.rep.phase, c.rep.next, c.rep.Counts, c.rep.ByObject, c.rep.StartedAt = phaseUsers, "", DriftCounts{}, false, c.e.Now()
		return c.save(tx)
	})
}

// save stores how far the comparison is.
func (c *comparison) save(tx *store.Tx) error {
	counts, err := json.Marshal(c.rep.Counts)
	if err != nil {
		return err
	}
	c.rep.updatedAt = c.e.Now()
	n, err := tx.Exec(`UPDATE drift_reports SET phase = $1, next = $2, by_object = $3, counts = $4, held = $5, cause = $6, started_at = $7, updated_at = $8
		WHERE id = $9 AND state = 'running'`, c.rep.phase, c.rep.next, c.rep.ByObject, string(counts), c.rep.Held, c.rep.cause,
		store.Micros(c.rep.StartedAt), store.Micros(c.rep.updatedAt), c.rep.ID)
	if err == nil && n == 0 {
		return work.ErrLost
	}
	return err
}

// step does a part of the work and stores how far it is, in one transaction.
func (c *comparison) step(ctx context.Context, fn func(*store.Tx) error) error {
	before := *c.rep
	return c.e.DB.Update(ctx, func(tx *store.Tx) error {
		*c.rep = before // the function may run again
		if err := fn(tx); err != nil {
			return err
		}
		return c.save(tx)
	})
}

// whole tells whether a list of this kind has all that is compared.
func (c *comparison) whole(kind scim.ResourceType) bool {
	if c.rep.ByObject {
		return false
	}
	g := c.t.connector.SCIM.Groups
	return kind == scim.User || g.MembersInList || g.MembersHidden
}

// read reads one page of a list and compares it; where there is no list, nothing: all are missing
// from it, and are read one by one.
func (c *comparison) read(ctx context.Context, kind scim.ResourceType, then string) error {
	if !c.whole(kind) {
		return c.step(ctx, func(*store.Tx) error { c.rep.phase, c.rep.next = then, ""; return nil })
	}
	o := scim.ListOptions{StartIndex: 1}
	if kind == scim.Group {
		o.Count = groupPage
	}
	cursors := c.t.connector.SCIM.Page.Cursor
	if cursors {
		o.Cursor = c.rep.next
	} else if n, err := strconv.Atoi(c.rep.next); err == nil {
		o.StartIndex = n
	}
	asked := c.e.Now()
	var page scim.Page
	_, err := c.run.call(ctx, func() (scim.Exchange, error) {
		for p, err := range c.t.client.List(ctx, kind, o) {
			page = p
			return p.Exchange, err
		}
		return scim.Exchange{}, nil
	})
	switch scim.ClassOf(err) {
	case scim.Refused, scim.NotFound:
		if o.StartIndex == 1 && o.Cursor == "" {
			// It can't list: each is read by itself.
			return c.step(ctx, func(*store.Tx) error {
				c.rep.ByObject, c.rep.phase, c.rep.next = true, then, ""
				c.rep.Counts.Requests++
				return nil
			})
		}
	}
	if err != nil {
		return err
	}
	next := strconv.Itoa(o.StartIndex + len(page.Resources))
	done := len(page.Resources) == 0 || o.StartIndex+len(page.Resources) > page.TotalResults
	if cursors {
		next, done = page.NextCursor, page.NextCursor == "" || page.NextCursor == o.Cursor
	}
	return c.compareAll(ctx, kind, asked, page.Resources, func() {
		c.rep.next = next
		if done {
			c.rep.phase, c.rep.next = then, ""
		}
	})
}

// missing goes on with what no page had: each is asked for by its id, up to some number.
func (c *comparison) missing(ctx context.Context, kind scim.ResourceType, then string) error {
	listed := c.whole(kind)
	after, asked, _ := strings.Cut(c.rep.next, "\n") // ids hold no line break
	n, _ := strconv.Atoi(asked)
	var list []Link
	if err := c.e.DB.View(ctx, func(tx *store.Tx) (err error) {
		list, err = store.All(tx, scanLink, `SELECT `+linkColumns+` FROM links l WHERE application_id = $1 AND object_kind = $2 AND object_id > $3
			AND linked AND remote_id <> '' AND known <> 'absent' AND status <> 'released'
			AND NOT EXISTS (SELECT 1 FROM drift_seen s WHERE s.report_id = $4 AND s.object_kind = l.object_kind AND s.object_id = l.object_id)
			ORDER BY object_id LIMIT 100`, string(c.t.app.ID), kindName(kind), after, c.rep.ID)
		return err
	}); err != nil {
		return err
	}
	if len(list) == 0 {
		return c.step(ctx, func(*store.Tx) error { c.rep.phase, c.rep.next = then, ""; return nil })
	}
	for _, l := range list {
		if err := c.ready(ctx); err != nil {
			return err
		}
		mark := func() { c.rep.next = l.ObjectID + "\n" + strconv.Itoa(n) }
		if listed && n >= maxAsked {
			if err := c.step(ctx, func(tx *store.Tx) error {
				mark()
				return c.gone(tx, l, "No list had it; it wasn't asked for by itself, since so many are missing.", false)
			}); err != nil {
				return err
			}
			continue
		}
		n++
		at := c.e.Now()
		var res scim.Resource
		_, err := c.run.call(ctx, func() (ex scim.Exchange, err error) {
			res, ex, err = c.t.client.Get(ctx, kind, l.RemoteID)
			return ex, err
		})
		switch {
		case scim.ClassOf(err) == scim.NotFound:
			err = c.step(ctx, func(tx *store.Tx) error {
				mark()
				c.rep.Counts.Requests++
				return c.gone(tx, l, "", true)
			})
		case err == nil:
			err = c.compareAll(ctx, kind, at, []scim.Resource{res}, mark)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// compareAll compares what was read, and notes what differs and how far it is.
func (c *comparison) compareAll(ctx context.Context, kind scim.ResourceType, asked time.Time, list []scim.Resource, mark func()) error {
	return c.step(ctx, func(tx *store.Tx) error {
		mark()
		c.rep.Counts.Requests++
		byID := map[string]scim.Resource{}
		for _, r := range list {
			if r.ID() != "" {
				byID[r.ID()] = r
			}
		}
		if kind == scim.User {
			c.rep.Counts.Users += len(byID)
		} else {
			c.rep.Counts.Groups += len(byID)
		}
		links, err := linksAt(tx, c.t.app.ID, kind, slices.Sorted(maps.Keys(byID)))
		if err != nil {
			return err
		}
		if err := c.seen(tx, kind, links); err != nil {
			return err
		}
		var rows []DriftRow
		if kind == scim.User {
			rows, err = c.people(tx, asked, links, byID)
		} else {
			rows, err = c.teams(tx, asked, links, byID)
		}
		if err != nil {
			return err
		}
		for _, row := range rows {
			if err := c.found(tx, row); err != nil {
				return err
			}
		}
		return nil
	})
}

// linksAt returns our links to remote objects, by id there.
func linksAt(tx *store.Tx, id app.ID, kind scim.ResourceType, remote []string) (map[string]Link, error) {
	out := map[string]Link{}
	for part := range slices.Chunk(remote, memberChunk) {
		args := []any{string(id), kindName(kind)}
		for _, r := range part {
			args = append(args, r)
		}
		for l, err := range store.Each(tx, scanLink, `SELECT `+linkColumns+` FROM links
			WHERE application_id = $1 AND object_kind = $2 AND remote_id <> '' AND linked AND remote_id IN (`+store.Placeholders(3, len(part))+`)`, args...) {
			if err != nil {
				return nil, err
			}
			out[l.RemoteID] = l
		}
	}
	return out, nil
}

// seen notes which of our objects are there.
func (c *comparison) seen(tx *store.Tx, kind scim.ResourceType, links map[string]Link) error {
	ids := make([]string, 0, len(links))
	for _, l := range links {
		ids = append(ids, l.ObjectID)
	}
	slices.Sort(ids)
	for part := range slices.Chunk(ids, memberChunk) {
		args := []any{c.rep.ID, kindName(kind)}
		var values []string
		for _, id := range part {
			args = append(args, id)
			values = append(values, "($1, $2, "+store.Placeholders(len(args), 1)+")")
		}
		if _, err := tx.Exec(`INSERT INTO drift_seen (report_id, object_kind, object_id) VALUES `+strings.Join(values, ", ")+` ON CONFLICT DO NOTHING`, args...); err != nil {
			return err
		}
	}
	return nil
}

// busy tells whether something is being sent to an object, or was since it was asked for: what
// was read may be older than what is remembered.
func (c *comparison) busy(tx *store.Tx, l Link, asked time.Time) (bool, error) {
	if !l.UpdatedAt.Before(asked) {
		return true, nil
	}
	n, err := store.One(tx, store.Scalar[int], `SELECT count(*) FROM lanes WHERE kind = $1 AND key = $2 AND wanted > synced AND NOT parked`,
		laneSync, object{l.Application, l.Kind, l.ObjectID}.key())
	return n > 0, err
}

// people compares accounts.
func (c *comparison) people(tx *store.Tx, asked time.Time, links map[string]Link, there map[string]scim.Resource) (rows []DriftRow, err error) {
	ids := make([]directory.UserID, 0, len(links))
	for _, l := range links {
		ids = append(ids, directory.UserID(l.ObjectID))
	}
	slices.Sort(ids)
	people, err := loadPeople(tx, c.t, ids)
	if err != nil {
		return nil, err
	}
	for _, p := range people {
		res, ok := there[p.link.RemoteID]
		if !ok {
			continue // linked to another account meanwhile
		}
		row, differs := c.person(p, res)
		if !differs {
			continue
		}
		if busy, err := c.busy(tx, p.link, asked); err != nil || busy {
			if busy {
				c.rep.Counts.Waiting++
			}
			if err != nil {
				return nil, err
			}
			continue
		}
		if err := c.settle(tx, &row, p.link); err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	for _, id := range slices.Sorted(maps.Keys(there)) {
		if _, ours := links[id]; !ours {
			rows = append(rows, unmanaged(there[id]))
		}
	}
	return rows, nil
}

// person compares one account by what the planner would write.
func (c *comparison) person(p person, res scim.Resource) (DriftRow, bool) {
	row := DriftRow{Kind: scim.User, RemoteID: res.ID(), ObjectID: p.want.ID, Name: cmp.Or(p.link.Name, p.want.Label, res.UserName()), remote: res}
	p.state = p.state.Seen(res)
	p.want.Kept = p.link.Drift.chosen()
	for _, s := range plan.ForPerson(p.want, p.state, c.t.abilities) {
		switch s.Kind {
		case plan.Deactivated, plan.Deleted:
			row.Finding = FoundActive
			if active, known := res.Active(); s.Kind == plan.Deactivated || !known || active {
				row.Differences = append(row.Differences, DriftDifference{Path: driftActive, Ours: false, Theirs: true, Remembered: valueAt(p.link.Snapshot, driftActive), Policy: c.t.drift.Of(driftActive)})
			} else {
				row.Note = "It is switched off there, but should be deleted."
				row.Differences = append(row.Differences, DriftDifference{Path: driftActive, Theirs: false, Policy: c.t.drift.Of(driftActive)})
			}
		case plan.Update, plan.Reactivate:
			if row.Finding = FoundChanged; s.Kind == plan.Reactivate {
				row.Finding = FoundInactive
			}
			for _, x := range s.Changes {
				row.Differences = append(row.Differences, DriftDifference{
					Path: x.Path, Ours: x.New, Theirs: x.Old, Remembered: valueAt(p.link.Snapshot, x.Path), Policy: c.t.drift.Of(x.Path),
				})
			}
		}
	}
	return row, row.Finding != ""
}

// teams compares groups.
func (c *comparison) teams(tx *store.Tx, asked time.Time, links map[string]Link, there map[string]scim.Resource) (rows []DriftRow, err error) {
	for _, remote := range slices.Sorted(maps.Keys(links)) {
		l := links[remote]
		g, err := loadTeam(tx, c.t, directory.GroupID(l.ObjectID))
		if err != nil {
			return nil, err
		}
		if g.want.Want != plan.Present || g.link.RemoteID != remote {
			continue
		}
		row, differs, err := c.team(tx, g, there[remote])
		if err != nil {
			return nil, err
		}
		if !differs {
			continue
		}
		busy, err := c.busy(tx, g.link, asked)
		if err != nil {
			return nil, err
		}
		if busy || g.coming > 0 {
			c.rep.Counts.Waiting++
			continue
		}
		if err := c.settle(tx, &row, g.link); err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// team compares one group.
func (c *comparison) team(tx *store.Tx, g groupAt, res scim.Resource) (DriftRow, bool, error) {
	row := DriftRow{Kind: scim.Group, RemoteID: res.ID(), ObjectID: g.want.ID, Name: g.want.Name}
	now := g.state.Seen(res)
	if c.t.connector.SCIM.Groups.MembersHidden {
		now.Members = g.state.Members
	}
	if name := res.DisplayName(); name != g.want.Name && (c.t.abilities.RenameGroups || !strings.EqualFold(name, g.state.Name)) {
		row.Finding = FoundChanged
		policy := c.t.drift.Of(driftName)
		if policy != Ours || !c.t.abilities.RenameGroups {
			policy = ReportOnly
		}
		row.Differences = append(row.Differences, DriftDifference{Path: driftName, Ours: g.want.Name, Theirs: name, Remembered: g.state.Name, Policy: policy})
	}
	missing, foreign := plan.MemberDiff(g.want, now)
	remote := scim.Resource{"id": res.ID(), "displayName": res.DisplayName()}
	if len(missing)+len(foreign) > 0 {
		row.Finding = FoundMembers
		display, err := c.displays(tx, res, foreign)
		if err != nil {
			return row, false, err
		}
		ids := func(list []plan.Ref) (ids, names []any) {
			for i, m := range list {
				ids = append(ids, m.Remote)
				if i < shownMembers {
					names = append(names, cmp.Or(m.Label, display[m.Remote], m.Remote))
				}
			}
			if n := len(list) - shownMembers; n > 0 {
				names = append(names, fmt.Sprintf("and %d more", n))
			}
			return ids, names
		}
		d := DriftDifference{Path: driftMembers, Policy: c.t.drift.Of(driftMembers)}
		var m, f, mn, fn []any
		if m, mn = ids(missing); len(m) > 0 {
			remote["missing"], d.Ours = m, mn
		}
		if f, fn = ids(foreign); len(f) > 0 {
			remote["foreign"], d.Theirs = f, fn
		}
		row.Differences = append(row.Differences, d)
	}
	row.remote = remote
	return row, row.Finding != "", nil
}

// shownMembers is how many members of each kind are named in a report.
const shownMembers = 100

// displays are the names of members that aren't ours: those of their accounts, as they were read,
// else those that the group gives them.
func (c *comparison) displays(tx *store.Tx, group scim.Resource, foreign []plan.Ref) (map[string]string, error) {
	out := map[string]string{}
	v, _ := group.Get("members")
	list, _ := v.([]any)
	for _, x := range list {
		m, ok := x.(map[string]any)
		if !ok {
			continue
		}
		r := scim.Resource(m)
		if id, name := r.Text("value"), r.Text("display"); id != "" && name != "" {
			out[id] = name
		}
	}
	args := []any{c.rep.ID}
	for _, m := range foreign[:min(len(foreign), shownMembers)] {
		args = append(args, m.Remote)
	}
	if len(args) == 1 {
		return out, nil
	}
	for r, err := range store.Each(tx, func(r store.Row) (ref plan.Ref, err error) {
		err = r.Scan(&ref.Remote, &ref.Label)
		return ref, err
	}, `SELECT remote_id, name FROM drift_rows WHERE report_id = $1 AND object_kind = 'user' AND remote_id IN (`+store.Placeholders(2, len(args)-1)+`)`, args...) {
		if err != nil {
			return nil, err
		}
		out[r.Remote] = r.Label
	}
	return out, nil
}

// unmanaged is an account that isn't ours.
func unmanaged(res scim.Resource) DriftRow {
	email := cmp.Or(res.Text(`emails[primary eq true].value`), res.Text(`emails[type eq "work"].value`))
	row := DriftRow{Kind: scim.User, RemoteID: res.ID(), Name: cmp.Or(res.DisplayName(), res.UserName(), res.ID()), Finding: FoundUnmanaged}
	for path, v := range map[string]any{"userName": res.UserName(), "emails": email} {
		if v != "" {
			row.Differences = append(row.Differences, DriftDifference{Path: path, Theirs: v, Policy: ReportOnly})
		}
	}
	active, known := res.Active()
	row.Differences = append(row.Differences, DriftDifference{Path: driftActive, Theirs: active || !known, Policy: ReportOnly})
	slices.SortFunc(row.Differences, func(a, b DriftDifference) int { return strings.Compare(b.Path, a.Path) })
	return row
}

// settle decides what becomes of a finding: what the policy leaves is kept at once.
func (c *comparison) settle(tx *store.Tx, row *DriftRow, l Link) error {
	row.State = DriftOpen
	kept, ours := 0, 0
	d := LinkDrift{Kept: maps.Clone(l.Drift.Kept), Members: maps.Clone(l.Drift.Members)}
	for _, x := range row.Differences {
		switch x.Policy {
		case Ours:
			ours++
		case Theirs:
			kept++
			row.keep(&d, x, true)
		}
	}
	if kept > 0 {
		if ok, err := c.e.remember(tx, l, *row, d, func(x DriftDifference) bool { return x.Policy == Theirs }); err != nil || !ok {
			return err
		}
	}
	switch {
	case kept == len(row.Differences):
		row.State = DriftKept
	case ours > 0:
		row.repair = true
		if ours+kept < len(row.Differences) {
			row.Note = "Only the values that the policy calls ours are written by itself."
		}
		return c.again(tx, row)
	}
	return nil
}

// keep adds a difference to what is left as it is there.
func (r *DriftRow) keep(d *LinkDrift, x DriftDifference, whatever bool) {
	if r.Kind == scim.Group {
		if x.Path != driftMembers {
			return
		}
		if d.Members == nil {
			d.Members = map[string]bool{}
		}
		missing, foreign := r.memberIDs()
		for _, id := range missing {
			d.Members[id] = true
		}
		for _, id := range foreign {
			d.Members[id] = false
		}
		return
	}
	if d.Kept == nil {
		d.Kept = map[string]plan.Kept{}
	}
	d.Kept[x.Path] = plan.Kept{Ours: x.Ours, Theirs: x.Theirs, Any: whatever}
}

// remember stores what is left as it is there, and makes those values what is remembered of the
// account. It is false if the link has changed since it was read.
func (e *Engine) remember(tx *store.Tx, l Link, row DriftRow, d LinkDrift, which func(DriftDifference) bool) (bool, error) {
	snapshot := l.Snapshot
	if row.Kind == scim.User {
		var paths []string
		for _, x := range row.Differences {
			if which(x) {
				paths = append(paths, x.Path)
			}
		}
		snapshot = learn(l.Snapshot, row.remote, paths)
	}
	text, err := json.Marshal(snapshot)
	if err != nil {
		return false, err
	}
	n, err := tx.Exec(`UPDATE links SET snapshot = $1 WHERE application_id = $2 AND object_kind = $3 AND object_id = $4 AND updated_at = $5 AND remote_id = $6`,
		string(text), string(l.Application), kindName(l.Kind), l.ObjectID, store.Micros(l.UpdatedAt), row.RemoteID)
	if err != nil || n == 0 {
		return false, err
	}
	return true, saveDrift(tx, object{l.Application, l.Kind, l.ObjectID}, d)
}

// again finds out whether the same was repaired after the last comparison: a target that doesn't
// keep what it is told must not be told every day.
func (c *comparison) again(tx *store.Tx, row *DriftRow) error {
	n, err := store.One(tx, store.Scalar[int], `SELECT count(*) FROM drift_rows WHERE object_kind = $1 AND remote_id = $2 AND (state = 'repairing' OR note <> '') AND differences = $3
		AND report_id = (SELECT max(id) FROM drift_reports WHERE application_id = $4 AND id < $5 AND state = 'done')`,
		kindName(row.Kind), row.RemoteID, row.text(), string(c.t.app.ID), c.rep.ID)
	if err == nil && n > 0 {
		row.repair = false
		row.Note = "It was put right after the last comparison, and is the same again: the application may not keep what it is told. It isn't written by itself any more."
	}
	return err
}

func (r DriftRow) text() string {
	b, err := json.Marshal(r.Differences)
	if err != nil {
		return "[]" // values that came as JSON can be written as JSON
	}
	return string(b)
}

// gone notes that something of ours isn't there any more.
func (c *comparison) gone(tx *store.Tx, l Link, note string, sure bool) error {
	o := object{c.t.app.ID, l.Kind, l.ObjectID}
	row := DriftRow{Kind: l.Kind, RemoteID: l.RemoteID, ObjectID: l.ObjectID, Name: l.Name, Finding: FoundDeleted, State: DriftOpen, Note: note}
	now, err := getLink(tx, o)
	if err != nil {
		return err
	}
	if now.RemoteID != l.RemoteID || !now.Linked {
		return nil
	}
	want := plan.Leave
	if l.Kind == scim.User {
		p, err := loadPerson(tx, c.t, directory.UserID(l.ObjectID))
		if err != nil {
			return err
		}
		want, row.Name = p.want.Want, cmp.Or(p.link.Name, row.Name)
	} else {
		g, err := loadTeam(tx, c.t, directory.GroupID(l.ObjectID))
		if err != nil {
			return err
		}
		want, row.Name = g.want.Want, cmp.Or(g.want.Name, row.Name)
	}
	if want != plan.Present {
		return nil // nobody misses it
	}
	if busy, err := c.busy(tx, now, c.rep.StartedAt); err != nil || busy {
		if busy {
			c.rep.Counts.Waiting++
		}
		return err
	}
	switch c.t.drift.Deleted {
	case DriftRecreate:
		row.repair = true
		if err := c.again(tx, &row); err != nil {
			return err
		}
	case DriftPark:
		if !sure {
			break
		}
		row.State = DriftParked
		if err := forgetMembers(tx, o, l.RemoteID); err != nil {
			return err
		}
		now.Drift.Lost = true
		now.Known, now.RemoteID, now.Linked, now.Snapshot = plan.Absent, "", false, nil
		now.Status, now.Reason = LinkBlocked, plan.LostReason
		if err := now.save(tx, c.e.Now()); err != nil {
			return err
		}
		if err := saveDrift(tx, o, now.Drift); err != nil {
			return err
		}
	}
	return c.found(tx, row)
}

// found stores a finding and counts it.
func (c *comparison) found(tx *store.Tx, row DriftRow) error {
	n := &c.rep.Counts
	switch row.Finding {
	case FoundChanged:
		n.Changed++
	case FoundDeleted:
		n.Deleted++
	case FoundActive:
		n.Active++
	case FoundInactive:
		n.Inactive++
	case FoundMembers:
		n.Members++
	case FoundUnmanaged:
		if n.Unmanaged++; n.Unmanaged > maxUnmanaged {
			return nil
		}
	}
	switch row.State {
	case DriftKept:
		n.Kept++
	case DriftParked:
		n.Parked++
	case "":
		row.State = DriftOpen
	}
	remote := ""
	if row.Finding != FoundUnmanaged && len(row.remote) > 0 {
		b, err := json.Marshal(row.remote)
		if err != nil {
			return err
		}
		remote = string(b)
	}
	words := []string{row.Name, row.RemoteID}
	for _, d := range row.Differences {
		if s, ok := d.Theirs.(string); ok && row.Finding == FoundUnmanaged {
			words = append(words, s)
		}
	}
	if row.Differences == nil {
		row.Differences = []DriftDifference{}
	}
	_, err := tx.Exec(`INSERT INTO drift_rows (report_id, object_kind, remote_id, object_id, name, finding, state, repair, differences, remote, note, search_key)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
		ON CONFLICT (report_id, object_kind, remote_id) DO UPDATE SET object_id = excluded.object_id, name = excluded.name, finding = excluded.finding,
			state = excluded.state, repair = excluded.repair, differences = excluded.differences, remote = excluded.remote, note = excluded.note, search_key = excluded.search_key`,
		c.rep.ID, kindName(row.Kind), row.RemoteID, row.ObjectID, row.Name, string(row.Finding), string(row.State), row.repair, row.text(), remote, row.Note,
		store.Fold(strings.Join(words, " ")))
	return err
}

// recount makes the counts those of the findings: one that came on two pages was counted twice.
func (c *comparison) recount(tx *store.Tx) (repairs int, err error) {
	n := &c.rep.Counts
	unmanaged := n.Unmanaged
	n.Changed, n.Deleted, n.Active, n.Inactive, n.Members, n.Unmanaged, n.Kept, n.Parked = 0, 0, 0, 0, 0, 0, 0, 0
	type row struct {
		finding DriftFinding
		state   DriftState
		repair  bool
		n       int
	}
	rows, err := store.All(tx, func(r store.Row) (x row, err error) {
		err = r.Scan(&x.finding, &x.state, &x.repair, &x.n)
		return x, err
	}, `SELECT finding, state, repair, count(*) FROM drift_rows WHERE report_id = $1 GROUP BY finding, state, repair`, c.rep.ID)
	for _, x := range rows {
		switch x.finding {
		case FoundChanged:
			n.Changed += x.n
		case FoundDeleted:
			n.Deleted += x.n
		case FoundActive:
			n.Active += x.n
		case FoundInactive:
			n.Inactive += x.n
		case FoundMembers:
			n.Members += x.n
		case FoundUnmanaged:
			n.Unmanaged += x.n
		}
		switch x.state {
		case DriftKept:
			n.Kept += x.n
		case DriftParked:
			n.Parked += x.n
		}
		if x.repair && x.state == DriftOpen {
			repairs += x.n
		}
	}
	if n.Unmanaged == maxUnmanaged {
		n.Unmanaged = max(unmanaged, n.Unmanaged)
	}
	return repairs, err
}

// conclude sums up, tells the result, and decides whether what the policy repairs may be repaired
// without a person.
func (c *comparison) conclude(ctx context.Context) error {
	repairs := 0
	if err := c.e.DB.View(ctx, func(tx *store.Tx) (err error) {
		repairs, err = c.recount(tx)
		return err
	}); err != nil {
		return err
	}
	held, err := c.e.repairHeld(ctx, c.t, repairs)
	if err != nil {
		return err
	}
	return c.step(ctx, func(tx *store.Tx) error {
		c.rep.phase, c.rep.next, c.rep.Held = phaseRepair, "", held
		if held == "" {
			c.rep.Counts.Repairing = repairs
		}
		e := audit.Event{
			Type: audit.DriftCheck, Actor: system(), Object: audit.Ref{Kind: audit.KindApplication, ID: string(c.t.app.ID), Name: c.t.app.Label},
			ApplicationID: string(c.t.app.ID), Cause: c.lease.Cause, Message: c.sentence(),
			Detail: map[string]any{"report": c.rep.ID, "counts": c.rep.Counts, "byObject": c.rep.ByObject, "askedBy": c.rep.AskedBy},
		}
		if held != "" {
			e.Detail["held"] = held
		}
		c.rep.cause, err = audit.Record(tx, c.e.Now(), e)
		return err
	})
}

func (c *comparison) sentence() string {
	n := c.rep.Counts
	var parts []string
	add := func(k int, one, many string) {
		if k > 0 {
			parts = append(parts, count(k, one, many))
		}
	}
	add(n.Changed, "has other values", "have other values")
	add(n.Deleted, "was deleted there", "were deleted there")
	add(n.Active, "should be switched off", "should be switched off")
	add(n.Inactive, "should be switched on", "should be switched on")
	add(n.Members, "group has other members", "groups have other members")
	text := "all is as it should be"
	if len(parts) > 0 {
		text = strings.Join(parts, ", ")
	}
	if n.Unmanaged > 0 {
		text += "; " + count(n.Unmanaged, "account isn't managed from here", "accounts aren't managed from here")
	}
	return fmt.Sprintf("%s was compared: %s.", c.t.app.Label, text)
}

// repair asks for what the policy repairs, and ends the comparison.
func (c *comparison) repair(ctx context.Context) error {
	for c.rep.Held == "" {
		var rows []DriftRow
		if err := c.e.DB.View(ctx, func(tx *store.Tx) error {
			page, err := driftRows(tx, *c.rep, DriftQuery{State: DriftOpen, repair: true, Limit: 100})
			rows = page.Items
			return err
		}); err != nil {
			return err
		}
		if len(rows) == 0 {
			break
		}
		if err := c.e.repairAll(ctx, c.t, *c.rep, rows, c.rep.cause, true); err != nil {
			return err
		}
	}
	return c.e.DB.Update(ctx, func(tx *store.Tx) error {
		now := store.Micros(c.e.Now())
		if _, err := tx.Exec(`UPDATE drift_reports SET state = 'done', ended_at = $1, updated_at = $1 WHERE id = $2 AND state = 'running'`, now, c.rep.ID); err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM drift_seen WHERE report_id = $1`, c.rep.ID); err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM drift_rows WHERE report_id IN (SELECT id FROM drift_reports WHERE application_id = $1 ORDER BY id DESC LIMIT 1000 OFFSET $2)`,
			string(c.t.app.ID), keptRows); err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM drift_reports WHERE id IN (SELECT id FROM drift_reports WHERE application_id = $1 ORDER BY id DESC LIMIT 1000 OFFSET $2)`,
			string(c.t.app.ID), keptReports); err != nil {
			return err
		}
		return c.lease.Done(tx)
	})
}
