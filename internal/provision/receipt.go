package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
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

// A receipt proves that somebody who left has no access any more. It is opened with the wish that their account be
// switched off, notes the request that did it, and is closed when the account was read back and is off:
//
//	access ends ─▶ open ──sent──▶ open ──read back, off──▶ closed
//	                 │              │ ▲  └─ read back, still on: sent again
//	                 └── comes back ┴─│─▶ withdrawn
//	                                  └── reading fails: tried again; can't be read at all: closed, and says so

// laneVerify reads back the accounts of leavers; key as of laneSync.
const laneVerify = "provision.verify"

// verifiers is how many accounts of one target are read back at once: what is to be sent goes first.
const verifiers = 2

func verifyLane(o object, due time.Time, cause string) work.Lane {
	return work.Lane{Kind: laneVerify, Key: o.key(), Scope: string(o.app), Due: due, Cause: cause}
}

// ReceiptState says how it stands with one entry of a receipt.
type ReceiptState string

// The states.
const (
	ReceiptOpen      ReceiptState = "open"
	ReceiptClosed    ReceiptState = "closed"
	ReceiptWithdrawn ReceiptState = "withdrawn" // the person has access again
)

// ReceiptOutcome says what closed an entry.
type ReceiptOutcome string

// The outcomes.
const (
	// Verified: read back, and it is there but not active.
	Verified ReceiptOutcome = "verified"
	// GoneThere: read back, and there is none.
	GoneThere ReceiptOutcome = "absent"
	// Unreadable: the target acknowledged that it is off, but can't be asked.
	Unreadable ReceiptOutcome = "unreadable"
	// ByHand: a person says that they have seen to it.
	ByHand ReceiptOutcome = "by_hand"
	// NothingThere: there is no account that we manage; only sign-on.
	NothingThere ReceiptOutcome = "unmanaged"
)

// CauseRef is the event that something follows from.
type CauseRef struct {
	ID      string     `json:"id,omitempty"`
	Type    audit.Type `json:"type,omitempty"`
	Message string     `json:"message,omitempty"`
	Actor   string     `json:"actor,omitempty"`
	At      time.Time  `json:"at,omitzero"`
}

// ReceiptItem is the proof for one person at one application.
type ReceiptItem struct {
	ID          string         `json:"id,omitempty"`
	Application app.ID         `json:"applicationId"`
	Label       string         `json:"application"`
	UserID      string         `json:"userId"`
	Name        string         `json:"name"`
	Email       string         `json:"email,omitempty"`
	Reason      string         `json:"reason"`
	Cause       CauseRef       `json:"cause"`
	EndedAt     time.Time      `json:"accessEndedAt,omitzero"`
	LastSignOn  time.Time      `json:"lastSignOnAt,omitzero"`
	RemoteID    string         `json:"remoteId,omitempty"`
	State       ReceiptState   `json:"state"`
	Outcome     ReceiptOutcome `json:"outcome,omitempty"`
	SentAt      time.Time      `json:"deactivatedAt,omitzero"`
	SentEvent   string         `json:"deactivationEvent,omitempty"`
	Request     string         `json:"request,omitempty"`
	Answer      int            `json:"answer,omitempty"`
	ReadAt      time.Time      `json:"verifiedAt,omitzero"`
	ReadEvent   string         `json:"verificationEvent,omitempty"`
	Finding     string         `json:"finding,omitempty"`
	// Why says why an open one is open; Overdue that somebody was called.
	Why       string    `json:"why,omitempty"`
	Overdue   bool      `json:"overdue"`
	AlarmedAt time.Time `json:"alarmedAt,omitzero"`
	ClosedAt  time.Time `json:"closedAt,omitzero"`
	ClosedBy  string    `json:"closedBy,omitempty"`
}

func (x ReceiptItem) ref() audit.Ref {
	return audit.Ref{Kind: audit.KindUser, ID: x.UserID, Name: x.Name}
}

const receiptColumns = `id, application_id, user_id, user_name, user_email, reason, cause, cause_text, cause_actor, ended_at, remote_id,
	state, outcome, sent_at, sent_event, request, answer, read_at, read_event, finding, alarmed_at, closed_at, closed_by`

func scanReceipt(r store.Row) (ReceiptItem, error) {
	var x ReceiptItem
	var ended, sent, read, alarmed, closed int64
	err := r.Scan(&x.ID, &x.Application, &x.UserID, &x.Name, &x.Email, &x.Reason, &x.Cause.ID, &x.Cause.Message, &x.Cause.Actor, &ended, &x.RemoteID,
		&x.State, &x.Outcome, &sent, &x.SentEvent, &x.Request, &x.Answer, &read, &x.ReadEvent, &x.Finding, &alarmed, &closed, &x.ClosedBy)
	x.EndedAt, x.SentAt, x.ReadAt, x.AlarmedAt, x.ClosedAt = store.FromMicros(ended), store.FromMicros(sent), store.FromMicros(read), store.FromMicros(alarmed), store.FromMicros(closed)
	x.Overdue = x.State == ReceiptOpen && alarmed > 0
	if x.Cause.ID != "" {
		x.Cause.At = x.EndedAt
	}
	return x, err
}

// causeEvent reads what an event says, for those that follow from it; zero if it is unknown or was removed.
func causeEvent(tx *store.Tx, id string) (CauseRef, []audit.Change, error) {
	if id == "" {
		return CauseRef{}, nil, nil
	}
	var changes []audit.Change
	c, err := store.One(tx, func(r store.Row) (CauseRef, error) {
		c := CauseRef{ID: id}
		var at int64
		var raw string
		if err := r.Scan(&at, &c.Type, &c.Message, &c.Actor, &raw); err != nil {
			return c, err
		}
		c.At = store.FromMicros(at)
		return c, json.Unmarshal([]byte(raw), &changes)
	}, `SELECT at, type, message, actor_name, changes FROM events WHERE id = $1`, id)
	if errors.Is(err, store.ErrNotFound) {
		return CauseRef{ID: id}, nil, nil
	}
	return c, changes, err
}

// openReceipt opens the receipt of somebody who has lost access to an application, if an account of theirs is known
// there that isn't off, and none is open.
func (e *Engine) openReceipt(tx *store.Tx, l Link, cause string) error {
	if l.Kind != scim.User || !l.Linked && l.Known != plan.Doubtful || l.Status == LinkInactive {
		return nil
	}
	now := e.Now()
	c, changes, err := causeEvent(tx, cause)
	if err != nil {
		return err
	}
	x := ReceiptItem{Application: l.Application, UserID: l.ObjectID, Name: l.Name, RemoteID: l.RemoteID, Reason: "left"}
	u, err := directory.GetUser(tx, directory.UserID(l.ObjectID))
	ended := c.Type
	switch {
	case problem.Is(err, problem.NotFound) || errors.Is(err, store.ErrNotFound):
		x.Reason, ended = "deleted", audit.UserDelete
	case err != nil:
		return err
	default:
		x.Name, x.Email = u.Name(), u.Email
		if u.State == directory.Suspended {
			x.Reason, x.EndedAt, ended = "suspended", u.SuspendedAt, audit.UserSuspended
		}
	}
	if ended != c.Type {
		// A comparison, or another change, was quicker than the word of what ended access.
		last, err := store.All(tx, store.Scalar[string], `SELECT id FROM events WHERE object_kind = 'user' AND object_id = $1 AND type = $2 ORDER BY id DESC LIMIT 1`,
			l.ObjectID, string(ended))
		if err != nil {
			return err
		}
		if len(last) > 0 {
			if c, changes, err = causeEvent(tx, last[0]); err != nil {
				return err
			}
		}
	}
	if x.Cause = c; !c.At.IsZero() {
		x.EndedAt = c.At
	}
	if x.Reason == "deleted" {
		for _, ch := range changes {
			if s, ok := ch.Old.(string); ok && ch.Attribute == "email" {
				x.Email = s
			}
		}
	}
	if x.Email == "" {
		x.Email = l.Snapshot.Text("userName")
	}
	if x.EndedAt.IsZero() {
		x.EndedAt = now
	}
	_, err = tx.Exec(`INSERT INTO receipts (id, application_id, user_id, user_name, user_email, reason, cause, cause_text, cause_actor, ended_at, remote_id, state)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'open') ON CONFLICT DO NOTHING`,
		store.NewID(), string(x.Application), x.UserID, x.Name, strings.ToLower(x.Email), x.Reason, x.Cause.ID, x.Cause.Message, x.Cause.Actor,
		store.Micros(x.EndedAt), x.RemoteID)
	return err
}

// requestLine is a request's method and path, for people.
func requestLine(ex scim.Exchange) string {
	if ex.Method == "" {
		return ""
	}
	if u, err := url.Parse(ex.URL); err == nil {
		return ex.Method + " " + u.Path
	}
	return ex.Method
}

// receipt notes a step that the target acknowledged in the receipt that it concerns, and has the account read back.
func (r *run) receipt(tx *store.Tx, now time.Time, s plan.Step, ex scim.Exchange, event string) error {
	if r.o.kind != scim.User {
		return nil
	}
	switch s.Kind {
	case plan.Reactivate:
		return withdraw(tx, now, r.o)
	case plan.Deactivated, plan.Deleted:
	default:
		return nil
	}
	was := *r.link
	was.Linked, was.Status = true, LinkPending
	if err := r.e.openReceipt(tx, was, r.lease.Cause); err != nil { // mostly it is open
		return err
	}
	if _, err := tx.Exec(`UPDATE receipts SET sent_at = $1, sent_event = $2, request = $3, answer = $4, remote_id = $5, finding = ''
		WHERE application_id = $6 AND user_id = $7 AND state = 'open'`,
		store.Micros(now), event, requestLine(ex), ex.Status, s.On.Remote, string(r.o.app), r.o.id); err != nil {
		return err
	}
	return work.Want(tx, now, verifyLane(r.o, now.Add(settle), event))
}

// restReceipt has the receipt of somebody closed for whom nothing was to be sent.
func (r *run) restReceipt(tx *store.Tx, now time.Time) error {
	if r.o.kind != scim.User {
		return nil
	}
	open, err := openReceiptOf(tx, r.o)
	if err != nil || open.ID == "" {
		return err
	}
	if r.link.RemoteID == "" {
		return closeReceipt(tx, now, open.ID, GoneThere, "", "There is no account there any more.")
	}
	return work.Want(tx, now, verifyLane(r.o, now, r.lease.Cause))
}

func openReceiptOf(tx *store.Tx, o object) (ReceiptItem, error) {
	x, err := store.One(tx, scanReceipt, `SELECT `+receiptColumns+` FROM receipts WHERE application_id = $1 AND user_id = $2 AND state = 'open'`, string(o.app), o.id)
	if errors.Is(err, store.ErrNotFound) {
		return ReceiptItem{}, nil
	}
	return x, err
}

func closeReceipt(tx *store.Tx, now time.Time, id string, outcome ReceiptOutcome, event, finding string) error {
	_, err := tx.Exec(`UPDATE receipts SET state = 'closed', outcome = $1, read_at = $2, read_event = $3, finding = $4, closed_at = $2
		WHERE id = $5 AND state = 'open'`, string(outcome), store.Micros(now), event, finding, id)
	return err
}

// withdraw ends an open receipt: the person has access again.
func withdraw(tx *store.Tx, now time.Time, o object) error {
	_, err := tx.Exec(`UPDATE receipts SET state = 'withdrawn', closed_at = $1 WHERE application_id = $2 AND user_id = $3 AND state = 'open'`,
		store.Micros(now), string(o.app), o.id)
	return err
}

// withdrawReturned withdraws the receipts of all who have access again.
func (e *Engine) withdrawReturned(ctx context.Context) error {
	type row struct {
		app  app.ID
		user directory.UserID
	}
	var back []row
	if err := e.DB.View(ctx, func(tx *store.Tx) (err error) {
		back, err = store.All(tx, func(r store.Row) (x row, err error) {
			err = r.Scan(&x.app, &x.user)
			return x, err
		}, `SELECT r.application_id, r.user_id FROM receipts r WHERE r.state = 'open' AND EXISTS (
			SELECT 1 FROM users u JOIN memberships m ON m.user_id = u.id JOIN bindings b ON b.group_id = m.group_id
			WHERE u.id = r.user_id AND u.state = 'active' AND b.application_id = r.application_id)`)
		return err
	}); err != nil {
		return err
	}
	for _, x := range back {
		t, err := e.target(ctx, x.app)
		if problem.Is(err, problem.NotFound) || err == nil && t.mapping == nil {
			continue
		}
		if err != nil {
			return err
		}
		if err := e.DB.Update(ctx, func(tx *store.Tx) error {
			p, err := loadPerson(tx, t, x.user)
			if err != nil || p.want.Want != plan.Present {
				return err
			}
			return withdraw(tx, e.Now(), object{x.app, scim.User, string(x.user)})
		}); err != nil {
			return err
		}
	}
	return nil
}

// verifying is how many accounts of an application may be read back at once, here and now.
func (e *Engine) verifying(scope string) int {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if t, err := e.target(ctx, app.ID(scope)); err == nil && (t.app.SCIM.Status == app.Paused || t.app.SCIM.Status == app.Stopped) {
		return 0
	}
	return min(verifiers, max(0, e.window(scope)))
}

// verify is the handler of laneVerify: it reads a leaver's account back.
func (e *Engine) verify(ctx context.Context, l work.Lease) error {
	o, err := parseObject(l.Key)
	if err != nil {
		return work.Park(err.Error())
	}
	t, err := e.target(ctx, o.app)
	if problem.Is(err, problem.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	switch t.app.SCIM.Status {
	case app.Active:
	case app.Paused, app.Stopped:
		return work.RetryAfter(5*time.Second, "Provisioning is "+string(t.app.SCIM.Status)+".")
	default:
		return nil // the receipt stays open; should provisioning be activated again, Watch has it read
	}
	if t.client == nil {
		return work.RetryAfter(5*time.Second, "Base URL or token is missing.")
	}
	var open ReceiptItem
	var link Link
	var back, pending bool
	if err := e.DB.View(ctx, func(tx *store.Tx) (err error) {
		if open, err = openReceiptOf(tx, o); err != nil || open.ID == "" {
			return err
		}
		p, err := loadPerson(tx, t, directory.UserID(o.id))
		if err != nil {
			return err
		}
		link, back = p.link, p.want.Want == plan.Present
		states, err := work.States(tx, e.Now(), work.Filter{Kind: laneSync, Key: o.key()})
		pending = len(states) > 0
		return err
	}); err != nil {
		return err
	}
	r := &run{e: e, lease: l, t: t, o: o, link: &link}
	end := func(fn func(*store.Tx, time.Time) error) error {
		now := e.Now()
		return r.store(ctx, func(tx *store.Tx) error {
			if err := fn(tx, now); err != nil {
				return err
			}
			return l.Done(tx)
		})
	}
	remote := open.RemoteID
	if link.RemoteID != "" {
		remote = link.RemoteID
	}
	switch {
	case open.ID == "":
		return nil
	case back:
		return end(func(tx *store.Tx, now time.Time) error { return withdraw(tx, now, o) })
	case pending && open.SentAt.IsZero():
		return nil // its end asks again
	case remote == "":
		return end(func(tx *store.Tx, now time.Time) error {
			return closeReceipt(tx, now, open.ID, GoneThere, "", "There is no account there.")
		})
	}
	var hit scim.Resource
	ex, err := r.call(ctx, func() (ex scim.Exchange, err error) {
		hit, ex, err = t.client.Get(ctx, scim.User, remote)
		return ex, err
	})
	var call *scim.CallError
	if err != nil && !errors.As(err, &call) {
		return err // a hold, or the program is ending
	}
	name := t.app.Label
	var outcome ReceiptOutcome
	var finding string
	switch active, said := hit.Active(); {
	case call == nil && !said:
		outcome, finding = Unreadable, fmt.Sprintf("%s took the request, but its answers don't say whether an account is active.", name)
	case call == nil && !active:
		outcome, finding = Verified, fmt.Sprintf("Read back from %s: the account is not active.", name)
	case call == nil:
		finding = fmt.Sprintf("Read back from %s: the account is still active. It is switched off once more.", name)
	case call.Class == scim.NotFound:
		outcome, finding = GoneThere, fmt.Sprintf("Read back from %s: there is no such account any more.", name)
	case call.Class == scim.Throttled || call.Class == scim.Temporary || call.Class == scim.Unauthorized:
		reason, result := r.consequence(e.Now(), call)
		return errors.Join(r.unread(ctx, open, ex, reason, call.Class == scim.Unauthorized), result)
	default:
		outcome, finding = Unreadable, fmt.Sprintf("%s took the request, but doesn't let the account be read back (%s).", name, strings.TrimSpace(call.Detail()))
	}
	if outcome == Unreadable && open.SentAt.IsZero() {
		finding = fmt.Sprintf("Nothing was sent, and %s doesn't say whether the account is active. Look there.", name)
	}
	event := audit.Event{
		Type: audit.UserVerifyProvision, Actor: system(), Object: open.ref(), ApplicationID: string(o.app), Cause: open.SentEvent,
		Message: open.Name + ": " + finding, Detail: map[string]any{"receipt": open.ID, "remoteId": remote, "exchange": ex, "outcome": string(outcome)},
	}
	if event.Cause == "" {
		event.Cause = open.Cause.ID
	}
	if outcome == "" || outcome == Unreadable {
		event.Outcome = audit.Failure
	}
	if outcome != "" && (outcome != Unreadable || !open.SentAt.IsZero()) {
		return end(func(tx *store.Tx, now time.Time) error {
			id, err := audit.Record(tx, now, event)
			if err != nil {
				return err
			}
			return closeReceipt(tx, now, open.ID, outcome, id, finding)
		})
	}
	// Still active: it is read and switched off again, unless that is under way already.
	now := e.Now()
	if err := r.store(ctx, func(tx *store.Tx) error {
		if open.Finding != finding {
			if _, err := audit.Record(tx, now, event); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(`UPDATE receipts SET read_at = $1, finding = $2 WHERE id = $3 AND state = 'open'`, store.Micros(now), finding, open.ID); err != nil {
			return err
		}
		if pending || outcome == Unreadable {
			return nil
		}
		if _, err := tx.Exec(`UPDATE links SET known = $1, status = $2 WHERE application_id = $3 AND object_kind = 'user' AND object_id = $4`,
			string(plan.Doubtful), string(LinkPending), string(o.app), o.id); err != nil {
			return err
		}
		return e.want(tx, o, leaver, open.Cause.ID)
	}); err != nil {
		return err
	}
	return work.RetryAfter(0, finding)
}

// unread notes that an account couldn't be read back now.
func (r *run) unread(ctx context.Context, open ReceiptItem, ex scim.Exchange, reason string, refused bool) error {
	now := r.e.Now()
	err := r.store(ctx, func(tx *store.Tx) error {
		if refused {
			if err := r.e.stop(tx, r.o.app, reason); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(`UPDATE receipts SET finding = $1 WHERE id = $2 AND state = 'open'`, reason, open.ID); err != nil || open.Finding != "" && !refused {
			return err // told before
		}
		_, err := audit.Record(tx, now, audit.Event{
			Type: audit.UserVerifyProvision, Outcome: audit.Failure, Actor: system(), Object: open.ref(), ApplicationID: string(r.o.app),
			Cause: open.SentEvent, Message: open.Name + " couldn't be read back: " + reason, Detail: map[string]any{"receipt": open.ID, "exchange": ex},
		})
		return err
	})
	if refused {
		r.e.stale(r.o.app)
	}
	return err
}

// Receipt is the proof that a person who left has no access any more, whole.
type Receipt struct {
	UserID string `json:"userId"`
	Name   string `json:"name"`
	Email  string `json:"email,omitempty"`
	// State is the person's: staged, active, suspended or deleted.
	State string `json:"state"`
	// Ended is the suspension or deletion by which all access ended; zero Type if the person only left applications.
	Ended CauseRef `json:"ended,omitzero"`
	// Sessions is how many sessions of theirs are open here now.
	Sessions int           `json:"openSessions"`
	Items    []ReceiptItem `json:"applications"`
	Open     int           `json:"open"`
	Overdue  int           `json:"overdue"`
	// Complete: nothing is open. Sentence says how it stands.
	Complete bool      `json:"complete"`
	Sentence string    `json:"sentence"`
	At       time.Time `json:"at"`
}

// FindLeaver returns the id of a person by id, e-mail address, user name or, when they were deleted, by the name that
// they had. NotFound if nobody is or was called so. Needs ReadApplications.
func (e *Engine) FindLeaver(ctx context.Context, by access.Actor, ref string) (id directory.UserID, err error) {
	if err := access.Allow(by, access.ReadApplications); err != nil {
		return "", err
	}
	ref = strings.TrimSpace(ref)
	err = e.DB.View(ctx, func(tx *store.Tx) error {
		id = ""
		if u, err := directory.FindByLogin(tx, ref); err == nil {
			id = u.ID
			return nil
		} else if !problem.Is(err, problem.NotFound) && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		ids, err := store.All(tx, store.Scalar[string], `SELECT id FROM users WHERE id = $1
			UNION SELECT user_id FROM receipts WHERE user_id = $1 OR user_email = $2 OR user_name = $1
			UNION SELECT object_id FROM links WHERE object_kind = 'user' AND object_id = $1
			UNION SELECT object_id FROM events WHERE object_kind = 'user' AND object_id = $1
			UNION SELECT object_id FROM events WHERE type = 'user_delete' AND object_name = $1`, ref, strings.ToLower(ref))
		if err != nil {
			return err
		}
		if len(ids) == 0 { // the address of somebody who was deleted is in that event
			if ids, err = store.All(tx, store.Scalar[string], `SELECT object_id FROM events WHERE type = 'user_delete' AND changes LIKE $1 ESCAPE '\' ORDER BY id DESC LIMIT 20`,
				store.LikePattern(`"old":"`+strings.ToLower(ref)+`"`)); err != nil {
				return err
			}
		}
		slices.Sort(ids)
		ids = slices.Compact(ids)
		switch len(ids) {
		case 0:
			return problem.New(problem.NotFound, "Nobody is or was called %q. Give the id, the e-mail address or the user name.", ref)
		case 1:
			id = directory.UserID(ids[0])
			return nil
		}
		return problem.New(problem.Conflict, "Several people were called %q. Give the id of one: %s.", ref, strings.Join(ids, ", "))
	})
	return id, err
}

// Receipt returns the proof for a person, who may be deleted already. NotFound if there never was such a person. Needs
// ReadApplications.
func (e *Engine) Receipt(ctx context.Context, by access.Actor, user directory.UserID) (Receipt, error) {
	x := Receipt{UserID: string(user), State: "deleted", At: e.Now(), Items: []ReceiptItem{}}
	if err := access.Allow(by, access.ReadApplications); err != nil {
		return x, err
	}
	err := e.DB.View(ctx, func(tx *store.Tx) error {
		x = Receipt{UserID: string(user), State: "deleted", At: e.Now(), Items: []ReceiptItem{}}
		u, err := directory.GetUser(tx, user)
		known := err == nil
		switch {
		case known:
			x.Name, x.Email, x.State = u.Name(), u.Email, string(u.State)
			if x.Sessions, err = store.One(tx, store.Scalar[int], `SELECT count(*) FROM sessions WHERE user_id = $1 AND epoch >= $2 AND expires_at > $3`,
				string(user), u.SessionEpoch, store.Micros(x.At)); err != nil {
				return err
			}
		case !problem.Is(err, problem.NotFound) && !errors.Is(err, store.ErrNotFound):
			return err
		}
		// What ended all access: the last suspension or deletion, unless it was undone.
		if !known || u.State == directory.Suspended {
			type ended struct {
				CauseRef
				name    string
				changes string
			}
			list, err := store.All(tx, func(r store.Row) (c ended, err error) {
				var at int64
				err = r.Scan(&c.ID, &at, &c.Type, &c.Message, &c.Actor, &c.name, &c.changes)
				c.At = store.FromMicros(at)
				return c, err
			}, `SELECT id, at, type, message, actor_name, object_name, changes FROM events
				WHERE object_kind = 'user' AND object_id = $1 AND type IN ('user_suspended', 'user_delete') ORDER BY id DESC LIMIT 1`, string(user))
			if err != nil {
				return err
			}
			for _, c := range list {
				known, x.Ended = true, c.CauseRef
				if x.Name == "" {
					x.Name = c.name
					var changes []audit.Change
					if json.Unmarshal([]byte(c.changes), &changes) == nil {
						for _, ch := range changes {
							if s, ok := ch.Old.(string); ok && ch.Attribute == "email" {
								x.Email = s
							}
						}
					}
				}
			}
		}
		if err := e.receiptItems(tx, &x); err != nil {
			return err
		}
		if !known && len(x.Items) == 0 {
			return problem.New(problem.NotFound, "There is no such person, and there was none.")
		}
		if x.Name == "" && len(x.Items) > 0 {
			x.Name, x.Email = x.Items[0].Name, x.Items[0].Email
		}
		return nil
	})
	if err != nil {
		return x, err
	}
	for _, i := range x.Items {
		if i.State == ReceiptOpen {
			x.Open++
		}
		if i.Overdue {
			x.Overdue++
		}
	}
	x.Complete = x.Open == 0 && (x.Sessions == 0 || x.State == "active" || x.State == "staged")
	x.Sentence = x.say()
	return x, nil
}

func (x *Receipt) say() string {
	switch {
	case x.Overdue > 0:
		return fmt.Sprintf("%s not proved to be off, for longer than allowed.", count(x.Overdue, "account is", "accounts are"))
	case x.Open > 0:
		return fmt.Sprintf("%s not proved to be off yet.", count(x.Open, "account is", "accounts are"))
	case len(x.Items) == 0 && (x.State == "active" || x.State == "staged"):
		return "Has left nothing: there is nothing to prove."
	case x.Sessions > 0 && (x.State == "suspended" || x.State == "deleted"):
		return "Sessions are still open here."
	}
	off, unread := 0, 0
	for _, i := range x.Items {
		switch {
		case i.State == ReceiptClosed && (i.Outcome == Verified || i.Outcome == GoneThere):
			off++
		case i.State == ReceiptClosed && i.Outcome != NothingThere:
			unread++
		}
	}
	switch {
	case off+unread == 0:
		return "Access has ended; there was no account that Latchkey manages."
	case unread > 0:
		return fmt.Sprintf("Access has ended. %s proved to be off; %s sent without being read back.", count(off, "account is", "accounts are"), count(unread, "one was", "were"))
	}
	return fmt.Sprintf("Access has ended everywhere: %s proved to be off.", count(off, "account is", "accounts are"))
}

// receiptItems fills in the entries: the latest of each application that the person has no access to now.
func (e *Engine) receiptItems(tx *store.Tx, x *Receipt) error {
	all, err := store.All(tx, scanReceipt, `SELECT `+receiptColumns+` FROM receipts WHERE user_id = $1 ORDER BY id DESC`, x.UserID)
	if err != nil {
		return err
	}
	seen := map[app.ID]bool{}
	add := func(i ReceiptItem) error {
		a, err := app.GetApplication(tx, i.Application)
		if problem.Is(err, problem.NotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		via, err := app.Entitled(tx, a.ID, directory.UserID(x.UserID))
		if err != nil {
			return err
		}
		if len(via) > 0 {
			// In a bound group; but what decides may be more than that, and then the account is off.
			if l, err := getLink(tx, object{a.ID, scim.User, x.UserID}); err != nil || l.Status != LinkInactive {
				return err
			}
		}
		i.Label = a.Label
		last, err := store.All(tx, store.Scalar[int64], `SELECT at FROM events WHERE object_kind = 'user' AND object_id = $1 AND application_id = $2
			AND type = 'sso_auth' AND outcome = 'success' ORDER BY id DESC LIMIT 1`, x.UserID, string(a.ID))
		if err != nil {
			return err
		}
		if len(last) > 0 {
			i.LastSignOn = store.FromMicros(last[0])
		}
		if i.State == ReceiptOpen {
			if i.Why, err = whyOpen(tx, x.At, a, i); err != nil {
				return err
			}
		}
		x.Items = append(x.Items, i)
		return nil
	}
	for _, i := range all {
		if seen[i.Application] {
			continue
		}
		seen[i.Application] = true
		if i.State == ReceiptWithdrawn {
			continue
		}
		if err := add(i); err != nil {
			return err
		}
	}
	reason := "left"
	if x.State == "suspended" || x.State == "deleted" {
		reason = x.State
	}
	// Applications that are signed on to and keep no account that we manage: sign-on ended with the access.
	apps, err := store.All(tx, store.Scalar[app.ID], `SELECT DISTINCT application_id FROM events
		WHERE object_kind = 'user' AND object_id = $1 AND type = 'sso_auth' AND outcome = 'success' AND application_id <> ''`, x.UserID)
	if err != nil {
		return err
	}
	for _, id := range apps {
		link, err := getLink(tx, object{id, scim.User, x.UserID})
		if err != nil {
			return err
		}
		if seen[id] || link.stored && link.RemoteID != "" {
			continue
		}
		seen[id] = true
		if err := add(ReceiptItem{
			Application: id, UserID: x.UserID, Name: x.Name, Email: x.Email, Reason: reason, Cause: x.Ended, EndedAt: x.Ended.At,
			State: ReceiptClosed, Outcome: NothingThere, Finding: "Latchkey keeps no account there. If the application made one at sign-on, look there.",
		}); err != nil {
			return err
		}
	}
	// Accounts that were off before receipts were kept.
	links, err := store.All(tx, scanLink, `SELECT `+linkColumns+` FROM links WHERE object_kind = 'user' AND object_id = $1 AND linked AND status = 'inactive' ORDER BY application_id`, x.UserID)
	if err != nil {
		return err
	}
	for _, l := range links {
		if seen[l.Application] {
			continue
		}
		if err := add(ReceiptItem{
			Application: l.Application, UserID: x.UserID, Name: l.Name, Email: x.Email, Reason: reason, Cause: x.Ended, EndedAt: x.Ended.At, RemoteID: l.RemoteID,
			State: ReceiptClosed, Outcome: Unreadable, SentAt: l.SyncedAt, Finding: "Deactivated before accounts were read back.",
		}); err != nil {
			return err
		}
	}
	slices.SortStableFunc(x.Items, func(a, b ReceiptItem) int { return strings.Compare(strings.ToLower(a.Label), strings.ToLower(b.Label)) })
	return nil
}

// ReceiptQuery narrows a list of receipts; zero fields don't.
type ReceiptQuery struct {
	State       ReceiptState
	Overdue     bool
	Application app.ID
	Cursor      string
	Limit       int // default 50
}

// Receipts lists the entries of all people, newest first. Needs ReadApplications.
func (e *Engine) Receipts(ctx context.Context, by access.Actor, q ReceiptQuery) (store.Page[ReceiptItem], error) {
	page := store.Page[ReceiptItem]{Total: -1}
	if err := access.Allow(by, access.ReadApplications); err != nil {
		return page, err
	}
	cursor, err := store.DecodeCursor(q.Cursor, 1)
	if err != nil {
		return page, err
	}
	where, args := []string{"1 = 1"}, []any{}
	add := func(cond string, v any) {
		args = append(args, v)
		where = append(where, fmt.Sprintf(cond, len(args)))
	}
	if q.State != "" {
		add("state = $%d", string(q.State))
	}
	if q.Overdue {
		where = append(where, "state = 'open' AND alarmed_at > 0")
	}
	if q.Application != "" {
		add("application_id = $%d", string(q.Application))
	}
	if cursor != nil {
		add("id < $%d", cursor[0])
	}
	limit := store.PageLimit(q.Limit, 50)
	args = append(args, limit+1)
	err = e.DB.View(ctx, func(tx *store.Tx) error {
		now := e.Now()
		page.Items, err = store.All(tx, scanReceipt, fmt.Sprintf(`SELECT %s FROM receipts WHERE %s ORDER BY id DESC LIMIT $%d`,
			receiptColumns, strings.Join(where, " AND "), len(args)), args...)
		if err != nil {
			return err
		}
		apps := map[app.ID]app.Application{}
		for n := range page.Items {
			i := &page.Items[n]
			a, ok := apps[i.Application]
			if !ok {
				if a, err = app.GetApplication(tx, i.Application); err != nil {
					return err
				}
				apps[i.Application] = a
			}
			i.Label = a.Label
			if i.State == ReceiptOpen {
				if i.Why, err = whyOpen(tx, now, a, *i); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if len(page.Items) > limit {
		page.Items = page.Items[:limit]
		page.Next = store.EncodeCursor(page.Items[limit-1].ID)
	}
	return page, err
}

// ReceiptCounts is how many receipts are open, and how many of these for too long.
type ReceiptCounts struct {
	Open    int       `json:"open"`
	Overdue int       `json:"overdue"`
	Oldest  time.Time `json:"oldest,omitzero"`
}

// CountReceipts counts the open receipts of an application, or of all if id is "". Needs ReadApplications.
func (e *Engine) CountReceipts(ctx context.Context, by access.Actor, id app.ID) (c ReceiptCounts, err error) {
	if err := access.Allow(by, access.ReadApplications); err != nil {
		return c, err
	}
	err = e.DB.View(ctx, func(tx *store.Tx) (err error) {
		c, err = countReceipts(tx, id)
		return err
	})
	return c, err
}

func countReceipts(tx *store.Tx, id app.ID) (ReceiptCounts, error) {
	return store.One(tx, func(r store.Row) (c ReceiptCounts, err error) {
		var oldest int64
		err = r.Scan(&c.Open, &c.Overdue, &oldest)
		c.Oldest = store.FromMicros(oldest)
		return c, err
	}, `SELECT count(*), COALESCE(SUM(CASE WHEN alarmed_at > 0 THEN 1 ELSE 0 END), 0), COALESCE(MIN(ended_at), 0)
		FROM receipts WHERE state = 'open' AND ($1 = '' OR application_id = $1)`, string(id))
}

// CloseReceipt closes an open entry by a person's word: they have seen to the account there themselves. Needs
// ManageApplications.
func (e *Engine) CloseReceipt(ctx context.Context, by access.Actor, id, note string) error {
	if err := access.Allow(by, access.ManageApplications); err != nil {
		return err
	}
	note = strings.Join(strings.Fields(note), " ")
	if note == "" || len(note) > 500 {
		return problem.InvalidField("note", "Say in a few words what you saw or did there.")
	}
	now := e.Now()
	return e.DB.Update(ctx, func(tx *store.Tx) error {
		x, err := store.One(tx, scanReceipt, `SELECT `+receiptColumns+` FROM receipts WHERE id = $1`, id)
		if errors.Is(err, store.ErrNotFound) {
			return problem.New(problem.NotFound, "There is no such entry of a receipt.")
		}
		if err != nil {
			return err
		}
		if x.State != ReceiptOpen {
			return problem.New(problem.Conflict, "This entry isn't open any more.")
		}
		a, err := app.GetApplication(tx, x.Application)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`UPDATE receipts SET state = 'closed', outcome = $1, finding = $2, closed_at = $3, closed_by = $4 WHERE id = $5`,
			string(ByHand), note, store.Micros(now), by.Name, id); err != nil {
			return err
		}
		_, err = audit.Record(tx, now, audit.Event{
			Type: audit.ReceiptClose, Actor: by, Object: x.ref(), ApplicationID: string(a.ID), Cause: x.Cause.ID,
			Message: fmt.Sprintf("%s says that the account of %s at %s is off: %s", by.Name, x.Name, a.Label, note),
			Detail:  map[string]any{"receipt": id, "note": note},
		})
		return err
	})
}
