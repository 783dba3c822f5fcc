package provision

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/work"
)

// Check is one thing that Test looked at.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// Probe is the result of Test.
type Probe struct {
	OK     bool    `json:"ok"`
	Checks []Check `json:"checks"`
}

// Test tries the connection of an application by reading only: nothing is created at the
// target. Needs RunProvisioning.
func (e *Engine) Test(ctx context.Context, by access.Actor, id app.ID) (Probe, error) {
	if err := access.Allow(by, access.RunProvisioning); err != nil {
		return Probe{}, err
	}
	t, err := e.ready(ctx, id)
	if err != nil {
		return Probe{}, err
	}
	p := e.probe(ctx, t, t.client)
	return p, e.storePulses(ctx, true)
}

// ready returns an application of which all that provisioning needs is entered.
func (e *Engine) ready(ctx context.Context, id app.ID) (*target, error) {
	e.stale(id)
	t, err := e.target(ctx, id)
	if err != nil {
		return nil, err
	}
	if t.connector.SCIM == nil {
		return nil, problem.New(problem.Invalid, "%s can't be provisioned by SCIM.", t.app.Label)
	}
	if t.client == nil {
		return nil, problem.New(problem.Conflict, "Enter the %s first.", strings.Join(t.app.SCIM.Missing, " and the "))
	}
	return t, nil
}

func (e *Engine) probe(ctx context.Context, t *target, c *scim.Client) Probe {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	p := Probe{OK: true}
	add := func(name, good string, err error) bool {
		check := Check{Name: name, OK: err == nil, Detail: good}
		if err == nil {
			t.pulse.answer(e.Now())
		} else {
			p.OK = false
			check.Detail = explain(err)
		}
		p.Checks = append(p.Checks, check)
		return err == nil
	}
	count := func(kind scim.ResourceType) (string, error) {
		for page, err := range c.List(ctx, kind, scim.ListOptions{Count: 1}) {
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("%d there now.", page.TotalResults), nil
		}
		return "None there now.", nil
	}
	text, err := count(scim.User)
	if !add("Base URL and token", "The target answers and takes the token.", err) {
		return p
	}
	add("Users can be read", text, nil)
	if t.connector.SCIM.Groups.Supported {
		text, err = count(scim.Group)
		add("Groups can be read", text, err)
	}
	if t.connector.SCIM.Discovery.ServiceProviderConfig {
		cfg, _, err := c.ServiceProviderConfig(ctx)
		text := "The target says what it can do."
		if err == nil && t.abilities.Patch && !cfg.Patch.Supported {
			err = problem.New(problem.Invalid, "The target says that it doesn't support PATCH, but its connector uses it.")
		}
		add("ServiceProviderConfig", text, err)
	}
	return p
}

// explain tells a failed request for people.
func explain(err error) string {
	switch scim.ClassOf(err) {
	case scim.Unauthorized:
		return "The target refuses the token. Copy it again, or make a new one there: it may have expired, belong to another directory, or be an organization's API key."
	case scim.NotFound:
		return "The address answers, but there is no SCIM service at it. Copy the base URL again, without /Users or /v2 at its end."
	case scim.Throttled:
		return "The target asks for fewer requests. Try again in a minute."
	case scim.Temporary:
		return "The target can't be reached or doesn't answer as a SCIM service does: " + err.Error() + ". Check the base URL, and that this server may open connections to it."
	}
	if problem.KindOf(err) != problem.Internal {
		return problem.Public(err)
	}
	return err.Error()
}

// Activate begins to provision an application. With a hash, of a Preview, it refuses when what
// would be sent has changed since. Needs ManageApplications.
func (e *Engine) Activate(ctx context.Context, by access.Actor, id app.ID, hash string) error {
	if err := access.Allow(by, access.ManageApplications); err != nil {
		return err
	}
	if _, err := e.ready(ctx, id); err != nil {
		return err
	}
	if hash != "" {
		p, err := e.preview(ctx, id)
		if err != nil {
			return err
		}
		if p.Hash != hash {
			return problem.New(problem.Conflict, "What would be sent has changed since you looked at it. Look at the plan again, then activate.")
		}
	}
	return e.setStatus(ctx, by, id, app.Active, "")
}

// Deactivate stops provisioning. Nothing at the target changes, and what was still to be sent
// is cancelled. Needs ManageApplications.
func (e *Engine) Deactivate(ctx context.Context, by access.Actor, id app.ID) error {
	return e.setStatus(ctx, by, id, app.Off, "")
}

// Pause stops sending, and keeps what is to be sent. Needs ManageApplications.
func (e *Engine) Pause(ctx context.Context, by access.Actor, id app.ID, reason string) error {
	a, err := e.Apps.Get(ctx, by, id)
	if err != nil {
		return err
	}
	if a.SCIM.Status != app.Active {
		return problem.New(problem.Conflict, "Provisioning is not active, so it can't be paused.")
	}
	return e.setStatus(ctx, by, id, app.Paused, reason)
}

// Resume goes on after a pause or a stop, with what changed meanwhile. Needs ManageApplications.
func (e *Engine) Resume(ctx context.Context, by access.Actor, id app.ID) error {
	a, err := e.Apps.Get(ctx, by, id)
	if err != nil {
		return err
	}
	if a.SCIM.Status != app.Paused && a.SCIM.Status != app.Stopped {
		return problem.New(problem.Conflict, "Provisioning is neither paused nor stopped, so there is nothing to resume.")
	}
	return e.setStatus(ctx, by, id, app.Active, "")
}

func (e *Engine) setStatus(ctx context.Context, by access.Actor, id app.ID, status app.Status, reason string) error {
	if err := access.Allow(by, access.ManageApplications); err != nil {
		return err
	}
	now := e.Now()
	err := e.DB.Update(ctx, func(tx *store.Tx) error {
		cause, err := app.SetSCIMStatus(tx, now, by, id, status, reason)
		if err != nil {
			return err
		}
		switch status {
		case app.Off:
			// What is in flight ends as cancelled: its lane is fenced out.
			if _, err := tx.Exec(`UPDATE links SET known = 'doubtful' WHERE application_id = $1 AND status = 'pending' AND known <> 'absent'`, string(id)); err != nil {
				return err
			}
			_, err = work.CancelScope(tx, laneSync, string(id))
			return err
		case app.Active:
			if _, err := work.RetryScope(tx, now, laneSync, string(id)); err != nil {
				return err
			}
			return e.sweepAfter(tx, id, cause)
		}
		return nil
	})
	// Even after an error nothing old may be trusted.
	e.forget(id)
	if status == app.Active {
		e.Pool.ReleaseScope(string(id))
	}
	return err
}

// ReplaceToken tries a new token by reading, stores it, and goes on if provisioning was stopped
// or paused. A token that the target refuses changes nothing. Needs ManageApplications.
func (e *Engine) ReplaceToken(ctx context.Context, by access.Actor, id app.ID, token keys.Secret, expires time.Time) (Probe, error) {
	if err := access.Allow(by, access.ManageApplications); err != nil {
		return Probe{}, err
	}
	a, err := e.Apps.Get(ctx, by, id)
	if err != nil {
		return Probe{}, err
	}
	token = keys.Secret(strings.TrimSpace(token.Reveal()))
	if token == "" {
		return Probe{}, problem.InvalidField("token", "Enter the new token.")
	}
	if a.SCIM.BaseURL == "" {
		return Probe{}, problem.InvalidField("baseUrl", "Enter the base URL first.")
	}
	t, err := e.target(ctx, id)
	if err != nil {
		return Probe{}, err
	}
	c, err := e.newClient(t.connector.SCIM, a.SCIM.BaseURL, token)
	if err != nil {
		return Probe{}, err
	}
	p := e.probe(ctx, t, c)
	if !p.OK {
		return p, problem.InvalidField("token", "%s Nothing was changed.", p.Checks[len(p.Checks)-1].Detail)
	}
	now := e.Now()
	err = e.DB.Update(ctx, func(tx *store.Tx) error {
		if err := e.Apps.StoreSCIMToken(tx, now, by, id, token, expires); err != nil {
			return err
		}
		if a.SCIM.Status != app.Stopped && a.SCIM.Status != app.Paused {
			return nil
		}
		cause, err := app.SetSCIMStatus(tx, now, by, id, app.Active, "")
		if err != nil {
			return err
		}
		if _, err := work.RetryScope(tx, now, laneSync, string(id)); err != nil {
			return err
		}
		return e.sweepAfter(tx, id, cause)
	})
	e.forget(id)
	e.Pool.ReleaseScope(string(id))
	return p, err
}

// RetryObject tries a parked object again, now. Needs RunProvisioning.
func (e *Engine) RetryObject(ctx context.Context, by access.Actor, id app.ID, kind scim.ResourceType, objectID string) error {
	if err := access.Allow(by, access.RunProvisioning); err != nil {
		return err
	}
	err := e.DB.Update(ctx, func(tx *store.Tx) error {
		a, err := app.GetApplication(tx, id)
		if err != nil {
			return err
		}
		if a.SCIM.Status == app.Off || a.SCIM.Status == app.Incomplete {
			return problem.New(problem.Conflict, "Provisioning of %s is not active.", a.Label)
		}
		return e.want(tx, object{id, kind, objectID}, update, "")
	})
	e.Pool.ReleaseScope(string(id))
	return err
}

// ApproveDeletion lets a group that was deleted here be deleted at the target too. Needs
// ManageApplications.
func (e *Engine) ApproveDeletion(ctx context.Context, by access.Actor, id app.ID, group directory.GroupID) error {
	if err := access.Allow(by, access.ManageApplications); err != nil {
		return err
	}
	now := e.Now()
	return e.DB.Update(ctx, func(tx *store.Tx) error {
		o := object{id, scim.Group, string(group)}
		link, err := getLink(tx, o)
		if err != nil {
			return err
		}
		if !link.Linked {
			return problem.New(problem.NotFound, "There is no such group at the target.")
		}
		link.Approved = true
		if err := link.save(tx, now); err != nil {
			return err
		}
		a, err := app.GetApplication(tx, id)
		if err != nil {
			return err
		}
		cause, err := audit.Record(tx, now, audit.Event{
			Type: audit.GroupDeleteProvision, Actor: by, Object: audit.Ref{Kind: audit.KindGroup, ID: string(group), Name: link.Name},
			ApplicationID: string(id), Message: fmt.Sprintf("Deleting group %s at %s was approved.", link.Name, a.Label),
		})
		if err != nil {
			return err
		}
		return e.want(tx, o, team, cause)
	})
}

// ReplaceGroup carries out what is offered where a target can't rename a group: make a group of
// the new name, move the members, delete the old one. Needs ManageApplications.
func (e *Engine) ReplaceGroup(ctx context.Context, by access.Actor, id app.ID, group directory.GroupID) error {
	if err := access.Allow(by, access.ManageApplications); err != nil {
		return err
	}
	t, err := e.ready(ctx, id)
	if err != nil {
		return err
	}
	if t.app.SCIM.Status != app.Active {
		return problem.New(problem.Conflict, "Provisioning of %s is not active.", t.app.Label)
	}
	return e.replaceGroup(ctx, t, group)
}

// Status is how it stands with an application's provisioning.
type Status struct {
	State  app.Status `json:"state"`
	Reason string     `json:"reason"`
	Since  time.Time  `json:"since,omitzero"`
	// Level is ok, info, warn or danger; Sentence says all in one sentence.
	Level    string `json:"level"`
	Sentence string `json:"sentence"`
	Users    Tally  `json:"users"`
	Groups   Tally  `json:"groups"`
	// Waiting is how many objects have something to be sent; Parked how many need a person.
	Waiting int `json:"waiting"`
	Parked  int `json:"parked"`
	// OldestWaiting is since when the first of them waits; zero if none does.
	OldestWaiting time.Time `json:"oldestWaiting,omitzero"`
	// LastAnswer is when the target last answered well, on any replica, before or after a restart.
	LastAnswer time.Time `json:"lastAnswer,omitzero"`
	Health
	// Failures is how many times in a row the target as a whole didn't answer as it should.
	Failures int `json:"failures"`
	// HeldTill is until when the target is left alone; zero if it isn't.
	HeldTill       time.Time `json:"heldTill,omitzero"`
	TokenExpiresAt time.Time `json:"tokenExpiresAt,omitzero"`
}

// Tally counts objects by their status.
type Tally struct {
	Synced   int `json:"synced"`
	Pending  int `json:"pending"`
	Inactive int `json:"inactive"`
	Blocked  int `json:"blocked"`
	Failed   int `json:"failed"`
	Released int `json:"released"`
}

func (t *Tally) add(status LinkStatus, n int) {
	switch status {
	case LinkSynced:
		t.Synced += n
	case LinkPending:
		t.Pending += n
	case LinkInactive:
		t.Inactive += n
	case LinkBlocked:
		t.Blocked += n
	case LinkFailed:
		t.Failed += n
	case LinkReleased:
		t.Released += n
	}
}

// Status tells how it stands. Needs ReadApplications.
func (e *Engine) Status(ctx context.Context, by access.Actor, id app.ID) (Status, error) {
	var s Status
	if err := access.Allow(by, access.ReadApplications); err != nil {
		return s, err
	}
	var a app.Application
	err := e.DB.View(ctx, func(tx *store.Tx) (err error) {
		if a, err = app.GetApplication(tx, id); err != nil {
			return err
		}
		type row struct {
			kind   string
			status LinkStatus
			n      int
		}
		rows, err := store.All(tx, func(r store.Row) (row, error) {
			var x row
			err := r.Scan(&x.kind, &x.status, &x.n)
			return x, err
		}, `SELECT object_kind, status, count(*) FROM links WHERE application_id = $1 GROUP BY object_kind, status`, string(id))
		if err != nil {
			return err
		}
		for _, x := range rows {
			if x.kind == "group" {
				s.Groups.add(x.status, x.n)
			} else {
				s.Users.add(x.status, x.n)
			}
		}
		c, err := work.CountScope(tx, laneSync, string(id))
		s.Waiting, s.Parked, s.OldestWaiting = c.Waiting, c.Parked, c.Oldest
		if err != nil {
			return err
		}
		return s.read(tx, e.Now(), a)
	})
	if err != nil {
		return s, err
	}
	s.State, s.Reason, s.Since, s.TokenExpiresAt = a.SCIM.Status, a.SCIM.Reason, a.SCIM.Since, a.SCIM.TokenExpiresAt
	e.mu.Lock()
	t := e.targets[id]
	e.mu.Unlock()
	if t != nil {
		t.mu.Lock()
		if t.answered.After(s.LastAnswer) {
			s.LastAnswer = t.answered
		}
		s.Failures = max(s.Failures, t.failures)
		if t.failures == 0 && !t.answered.IsZero() {
			s.Failures = 0
		}
		if t.till.After(e.Now()) {
			s.HeldTill = t.till
		}
		t.mu.Unlock()
	}
	e.reckon(ctx, &s, a, t)
	s.Level, s.Sentence = s.say(a)
	return s, nil
}

func (s *Status) say(a app.Application) (level, sentence string) {
	blocked := s.Users.Blocked + s.Users.Failed + s.Groups.Blocked + s.Groups.Failed
	sync := fmt.Sprintf("%s and %s are in sync", count(s.Users.Synced, "person", "people"), count(s.Groups.Synced, "group", "groups"))
	switch a.SCIM.Status {
	case app.Incomplete:
		return "info", "Provisioning is not set up yet: enter the " + strings.Join(a.SCIM.Missing, " and the ") + "."
	case app.Off:
		return "info", "Provisioning is off. Nothing is sent to " + a.Label + "; accounts there stay as they are."
	case app.Paused:
		if s.Reason != "" {
			return "warn", "Provisioning is paused: " + s.Reason
		}
		return "warn", fmt.Sprintf("Provisioning is paused. %s waiting until it is resumed.", count(s.Waiting, "change is", "changes are"))
	case app.Stopped:
		return "danger", "Provisioning is stopped: " + s.Reason
	}
	switch {
	case !s.SilentSince.IsZero():
		last := "it has never given one"
		if !s.LastAnswer.IsZero() {
			last = "the last one came " + span(s.now.Sub(s.LastAnswer)) + " ago"
		}
		return "danger", fmt.Sprintf("Provisioning is on, but %s gives no good answer: %s; %s waiting, and nothing is lost.", a.Label, last, count(s.Waiting, "change is", "changes are"))
	case !s.HeldTill.IsZero() || s.Failures > 0:
		return "warn", fmt.Sprintf("Provisioning is on, but %s can't take requests right now; %s waiting, and nothing is lost.", a.Label, count(s.Waiting, "change is", "changes are"))
	case blocked > 0:
		return "warn", fmt.Sprintf("Provisioning is on. %s; %s attention.", sync, count(blocked, "needs", "need"))
	case s.Receipts.Overdue > 0:
		return "warn", fmt.Sprintf("Provisioning is on. %s; of %s who left it isn't proved that the account is off.", sync, count(s.Receipts.Overdue, "person", "people"))
	case s.Waiting > 0 && !s.FinishAt.IsZero():
		return "ok", fmt.Sprintf("Provisioning is on. %s; %s being sent, done in about %s.", sync, count(s.Waiting, "change is", "changes are"), span(s.FinishAt.Sub(s.now)+time.Second))
	case s.Waiting > 0:
		return "ok", fmt.Sprintf("Provisioning is on. %s; %s being sent.", sync, count(s.Waiting, "change is", "changes are"))
	}
	return "ok", fmt.Sprintf("Provisioning is on. %s.", sync)
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
