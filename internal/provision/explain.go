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

// Explanation tells all about one person at one application.
type Explanation struct {
	// Name is the person's, Label the application's; Status and Reason are those of its provisioning.
	Name   string
	Label  string
	Status app.Status
	Reason string
	// Want is what should be: present, gone or leave; Why says because of what.
	Want plan.Want
	Why  string
	// Via are the person's groups that are bound to the application, Grants the same with how they came to it.
	Via    []directory.Group
	Grants []Grant
	// Link is what is remembered; its zero value if nothing is.
	Link Link
	// Missing are required attributes without a value.
	Missing []string
	// Pending is what is still to be sent, in order.
	Pending []PendingStep
	// Waiting is the lane's state; nil when nothing is to be sent. WaitingCause is what woke it.
	Waiting      *work.State
	WaitingCause CauseRef
	// WaitingFor says why it wasn't sent yet; NextTry is when it is tried next, zero if that depends on somebody.
	WaitingFor string
	NextTry    time.Time
	// Since is when the person's account was last as it should be.
	Since time.Time
	// Sent is what was sent about the person, the newest first.
	Sent []Sent
	// Receipt is the open entry of their receipt, or the last one that was closed; nil without any.
	Receipt *ReceiptItem
	// Sentence says all in one sentence.
	Sentence string
}

// Grant is a group that gives access, and how the person came to it.
type Grant struct {
	Group directory.GroupID `json:"groupId"`
	Name  string            `json:"name"`
	// Since is when the person was in the group and the group was bound.
	Since time.Time `json:"since,omitzero"`
	// Cause is the event by which the person joined the group or the group was bound, whichever was later.
	Cause CauseRef `json:"cause,omitzero"`
}

// PendingStep is something that is still to be sent.
type PendingStep struct {
	Kind    plan.Kind     `json:"kind"`
	Text    string        `json:"text"`
	Changes []plan.Change `json:"changes,omitempty"`
}

// Sent is one request that was sent about a person, or what was found out without one.
type Sent struct {
	Event   string         `json:"event"`
	At      time.Time      `json:"at"`
	Type    audit.Type     `json:"type"`
	Outcome audit.Outcome  `json:"outcome"`
	Message string         `json:"message"`
	Changes []audit.Change `json:"changes,omitempty"`
	// Request is method and path, Answer the status; empty if nothing was sent.
	Request string   `json:"request,omitempty"`
	Answer  int      `json:"answer,omitempty"`
	Cause   CauseRef `json:"cause,omitzero"`
}

// mostSent bounds what Explain tells of the past.
const mostSent = 25

// Explain tells why a person has, or hasn't, an account at an application, what was sent and why, and what is to be
// sent. The person may be deleted already. NotFound if there is no such application, or never was such a person. Needs
// ReadApplications.
func (e *Engine) Explain(ctx context.Context, by access.Actor, id app.ID, user directory.UserID) (Explanation, error) {
	var x Explanation
	if err := access.Allow(by, access.ReadApplications); err != nil {
		return x, err
	}
	t, err := e.target(ctx, id)
	if err != nil {
		return x, err
	}
	if t.mapping == nil {
		return x, problem.New(problem.Invalid, "%s can't be provisioned by SCIM.", t.app.Label)
	}
	o := object{id, scim.User, string(user)}
	err = e.DB.View(ctx, func(tx *store.Tx) error {
		p, err := loadPerson(tx, t, user)
		if err != nil {
			return err
		}
		x = Explanation{
			Name: p.link.Name, Label: t.app.Label, Status: t.app.SCIM.Status, Reason: t.app.SCIM.Reason,
			Want: p.want.Want, Why: p.why, Via: p.via, Link: p.link, Missing: p.want.Attributes.Missing, Since: p.link.SyncedAt,
		}
		if x.Name == "" {
			x.Name = p.want.Label
		}
		if err := known(tx, user, &x); err != nil {
			return err
		}
		states, err := work.States(tx, e.Now(), work.Filter{Kind: laneSync, Key: o.key()})
		if err != nil {
			return err
		}
		if len(states) > 0 {
			x.Waiting = &states[0]
			if x.WaitingCause, _, err = causeEvent(tx, x.Waiting.Cause); err != nil {
				return err
			}
		}
		if x.Grants, err = grants(tx, id, user, p.via); err != nil {
			return err
		}
		if x.Sent, err = sentAbout(tx, o, p); err != nil {
			return err
		}
		if err := x.pending(tx, t, p); err != nil {
			return err
		}
		last, err := store.All(tx, scanReceipt, `SELECT `+receiptColumns+` FROM receipts WHERE user_id = $1 AND application_id = $2 ORDER BY id DESC LIMIT 1`, string(user), string(id))
		if len(last) > 0 && last[0].State != ReceiptWithdrawn && p.want.Want != plan.Present {
			last[0].Label = t.app.Label
			x.Receipt = &last[0]
			if x.Receipt.State == ReceiptOpen {
				x.Receipt.Why, err = whyOpen(tx, e.Now(), t.app, *x.Receipt)
			}
		}
		return err
	})
	if err != nil {
		return x, err
	}
	x.waitingFor(e.Now(), t)
	x.Sentence = x.say()
	return x, nil
}

// known makes sure that there is, or was, such a person.
func known(tx *store.Tx, user directory.UserID, x *Explanation) error {
	if x.Link.stored {
		return nil
	}
	_, err := directory.GetUser(tx, user)
	if err == nil || !problem.Is(err, problem.NotFound) && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	names, err := store.All(tx, store.Scalar[string], `SELECT object_name FROM events WHERE object_kind = 'user' AND object_id = $1 ORDER BY id DESC LIMIT 1`, string(user))
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return problem.New(problem.NotFound, "There is no such person, and there was none.")
	}
	x.Name = names[0]
	return nil
}

// grants tells how a person came to the groups that give access.
func grants(tx *store.Tx, id app.ID, user directory.UserID, via []directory.Group) ([]Grant, error) {
	out := make([]Grant, 0, len(via))
	for _, g := range via {
		grant := Grant{Group: g.ID, Name: g.Name}
		type times struct{ joined, bound int64 }
		since, err := store.All(tx, func(r store.Row) (x times, err error) {
			err = r.Scan(&x.joined, &x.bound)
			return x, err
		}, `SELECT m.added_at, b.created_at FROM memberships m JOIN bindings b ON b.group_id = m.group_id
			WHERE m.user_id = $1 AND m.group_id = $2 AND b.application_id = $3`, string(user), string(g.ID), string(id))
		if err != nil {
			return nil, err
		}
		if len(since) > 0 {
			at := max(since[0].joined, since[0].bound)
			grant.Since = store.FromMicros(at)
			// The event was recorded in the transaction that did it, so at the same moment.
			ids, err := store.All(tx, store.Scalar[string], `SELECT id FROM events WHERE id >= $1 AND id < $2 AND type = 'association_change'
				AND (object_kind = 'user' AND object_id = $3 OR object_kind = 'application' AND object_id = $4)
				ORDER BY CASE WHEN at > $5 THEN at - $5 ELSE $5 - at END, id LIMIT 1`,
				store.FirstID(grant.Since.Add(-time.Second)), store.FirstID(grant.Since.Add(2*time.Second)), string(user), string(id), at)
			if err != nil {
				return nil, err
			}
			if len(ids) > 0 {
				if grant.Cause, _, err = causeEvent(tx, ids[0]); err != nil {
					return nil, err
				}
			}
		}
		out = append(out, grant)
	}
	return out, nil
}

// sentAbout lists what was sent about a person: about their account, and about their membership of the groups there.
func sentAbout(tx *store.Tx, o object, p person) ([]Sent, error) {
	scan := func(r store.Row) (Sent, error) {
		var s Sent
		var at int64
		var changes, detail string
		if err := r.Scan(&s.Event, &at, &s.Type, &s.Outcome, &s.Message, &s.Cause.ID, &changes, &detail); err != nil {
			return s, err
		}
		s.At = store.FromMicros(at)
		if err := json.Unmarshal([]byte(changes), &s.Changes); err != nil {
			return s, err
		}
		var d struct {
			Exchange scim.Exchange `json:"exchange"`
		}
		if err := json.Unmarshal([]byte(detail), &d); err != nil {
			return s, err
		}
		s.Request, s.Answer = requestLine(d.Exchange), d.Exchange.Status
		return s, nil
	}
	const columns = `id, at, type, outcome, message, cause, changes, detail`
	list, err := store.All(tx, scan, `SELECT `+columns+` FROM events WHERE object_kind = 'user' AND object_id = $1 AND application_id = $2
		AND (type LIKE '%_provision' OR type = 'user_deprovision') ORDER BY id DESC LIMIT $3`, o.id, string(o.app), mostSent)
	if err != nil {
		return nil, err
	}
	if remote := p.link.RemoteID; remote != "" {
		for _, g := range p.via {
			// Of a group's last requests those that name the account.
			more, err := store.All(tx, scan, `SELECT `+columns+` FROM (SELECT `+columns+` FROM events WHERE object_kind = 'group' AND object_id = $1
				AND application_id = $2 AND type IN ('group_create_provision', 'group_update_provision') ORDER BY id DESC LIMIT 200) AS g
				WHERE detail LIKE $3 ESCAPE '\' ORDER BY id DESC LIMIT 5`, string(g.ID), string(o.app), store.LikePattern(remote))
			if err != nil {
				return nil, err
			}
			list = append(list, more...)
		}
	}
	slices.SortStableFunc(list, func(a, b Sent) int { return strings.Compare(b.Event, a.Event) })
	list = list[:min(len(list), mostSent)]
	causes := map[string]CauseRef{}
	for i := range list {
		c, ok := causes[list[i].Cause.ID]
		if !ok {
			if c, _, err = causeEvent(tx, list[i].Cause.ID); err != nil {
				return nil, err
			}
			causes[list[i].Cause.ID] = c
		}
		list[i].Cause = c
	}
	return list, nil
}

// pending works out what is still to be sent.
func (x *Explanation) pending(tx *store.Tx, t *target, p person) error {
	if t.app.SCIM.Status == app.Off || t.app.SCIM.Status == app.Incomplete {
		return nil
	}
	for _, s := range plan.ForPerson(p.want, p.state, t.abilities) {
		x.Pending = append(x.Pending, PendingStep{Kind: s.Kind, Text: toDo(s, x.Name), Changes: s.Changes})
	}
	if !t.abilities.ManageGroups || p.want.Want != plan.Present {
		return nil
	}
	for _, g := range p.via {
		in, err := store.One(tx, store.Scalar[int], `SELECT count(*) FROM link_members WHERE application_id = $1 AND group_id = $2 AND remote_user_id = $3 AND remote_user_id <> ''`,
			string(t.app.ID), string(g.ID), p.link.RemoteID)
		if err != nil {
			return err
		}
		if in == 0 {
			x.Pending = append(x.Pending, PendingStep{Kind: plan.AddMembers, Text: fmt.Sprintf("%s is to join group %s.", x.Name, g.Name)})
		}
	}
	return nil
}

// toDo tells a step that wasn't carried out yet.
func toDo(s plan.Step, name string) string {
	switch s.Kind {
	case plan.Lookup, plan.Read:
		return fmt.Sprintf("%s is to be looked up there; what follows depends on it.", name)
	case plan.Adopt:
		return fmt.Sprintf("The account of %s there is to be taken over.", name)
	case plan.Create:
		return fmt.Sprintf("An account is to be created for %s.", name)
	case plan.Reactivate:
		return fmt.Sprintf("The account of %s is to be made active again.", name)
	case plan.Deactivated:
		return fmt.Sprintf("The account of %s is to be deactivated.", name)
	case plan.Deleted:
		return fmt.Sprintf("The account of %s is to be deleted.", name)
	case plan.AddMembers:
		return fmt.Sprintf("%s is to join group %s.", name, s.On.Label)
	case plan.RemoveMembers:
		return fmt.Sprintf("%s is to leave group %s.", name, s.On.Label)
	case plan.Blocked:
		return "Nothing can be sent: " + sentenceEnd(s.Reason)
	}
	var what []string
	for _, c := range s.Changes {
		what = append(what, c.Path)
	}
	slices.Sort(what)
	if len(what) == 0 {
		return fmt.Sprintf("The account of %s is to be updated.", name)
	}
	return fmt.Sprintf("The account of %s is to be updated: %s.", name, joinWords(what))
}

// waitingFor says why something wasn't sent yet, and when it is tried next.
func (x *Explanation) waitingFor(now time.Time, t *target) {
	t.mu.Lock()
	till := t.till
	t.mu.Unlock()
	switch {
	case x.Waiting == nil && len(x.Pending) == 0:
	case x.Status == app.Paused:
		x.WaitingFor = sentenceEnd(strings.TrimSuffix("Provisioning is paused: "+x.Reason, ": "))
	case x.Status == app.Stopped:
		x.WaitingFor = "Provisioning is stopped: " + sentenceEnd(x.Reason)
	case x.Waiting == nil:
		x.WaitingFor = "It is sent with the next comparison, or when something changes."
		if len(x.Pending) == 1 && x.Pending[0].Kind == plan.Blocked {
			x.WaitingFor = "Something has to change here first."
		}
	case x.Waiting.Parked:
		x.WaitingFor = sentenceEnd(x.Waiting.Reason) + " It is tried again when something changes, or when somebody asks for it."
	case x.Waiting.Running:
		x.WaitingFor, x.NextTry = "It is being sent now.", now
	default:
		x.NextTry = x.Waiting.Due
		if till.After(x.NextTry) {
			x.NextTry = till
		}
		if x.NextTry.Before(now) {
			x.NextTry = now
		}
		if x.WaitingFor = sentenceEnd(x.Waiting.Reason); x.WaitingFor == "" {
			x.WaitingFor = "It waits for its turn."
		}
	}
}

func (x *Explanation) say() string {
	account := "has no account"
	switch {
	case x.Link.Status == LinkInactive && x.Link.RemoteID != "":
		account = "has an account that isn't active"
	case x.Link.Linked:
		account = "has an account"
	case x.Link.RemoteID != "":
		account = "has an account that wasn't taken over yet"
	}
	should := "should have one"
	switch x.Want {
	case plan.Gone:
		should = "should have no access"
	case plan.Leave:
		should = "is left alone"
	}
	s := fmt.Sprintf("%s %s at %s and %s: %s.", x.Name, account, x.Label, should, x.Why)
	switch {
	case len(x.Missing) > 0:
		s += " Missing: " + joinWords(x.Missing) + "."
	case len(x.Pending) > 0 || x.Waiting != nil:
		s += " Something is still to be sent."
	case x.Status == app.Active:
		s += " Nothing is left to be sent."
	default:
		s += " Provisioning is " + string(x.Status) + "."
	}
	return s
}
