package provision

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/work"
)

// object names one thing of ours that an application should have.
type object struct {
	app  app.ID
	kind scim.ResourceType
	id   string
}

func (o object) key() string {
	return string(o.app) + "/" + strings.ToLower(string(o.kind)) + "/" + o.id
}

func parseObject(key string) (object, error) {
	a, rest, ok := strings.Cut(key, "/")
	kind, id, ok2 := strings.Cut(rest, "/")
	o := object{app: app.ID(a), id: id}
	switch kind {
	case audit.KindUser:
		o.kind = scim.User
	case audit.KindGroup:
		o.kind = scim.Group
	default:
		ok = false
	}
	if !ok || !ok2 || id == "" {
		return o, fmt.Errorf("provision: bad lane key %q", key)
	}
	return o, nil
}

// settle is how long a group's or a leaver's lane waits for more of the same: a person who joins
// comes with a change of the person and one of the group, and whether many leave at once is
// known only when all of them are counted.
const settle = 250 * time.Millisecond

// want asks for an object to be synchronized.
func (e *Engine) want(tx *store.Tx, o object, priority int, cause string) error {
	now := e.Now()
	return work.Want(tx, now, o.lane(now, priority, cause))
}

func (o object) lane(now time.Time, priority int, cause string) work.Lane {
	l := work.Lane{Kind: laneSync, Key: o.key(), Scope: string(o.app), Priority: priority, Cause: cause, Due: now}
	if o.kind == scim.Group || priority == leaver {
		l.Due = now.Add(settle)
	}
	return l
}

func (e *Engine) wantSweep(tx *store.Tx, id app.ID, cause string) error {
	return work.Want(tx, e.Now(), work.Lane{Kind: laneSweep, Key: string(id), Scope: string(id), Cause: cause})
}

// sweepAfter sees to it that a sweep follows a change of status. The change asks for one by way
// of the outbox; only where there was none (no event) it has to be asked for here. Two wishes
// would sweep twice.
func (e *Engine) sweepAfter(tx *store.Tx, id app.ID, cause string) error {
	if cause != "" {
		return nil
	}
	return e.wantSweep(tx, id, cause)
}

// dispatch takes changes from the outbox and asks for what follows from them. It returns how
// many it took.
func (e *Engine) dispatch(ctx context.Context) (n int, err error) {
	err = e.DB.Claim(ctx, func(tx *store.Tx) error {
		rows, err := audit.Take(tx, 200)
		n = len(rows)
		if err != nil {
			return err
		}
		for _, r := range rows {
			switch r.Kind {
			case audit.KindUser:
				err = e.userChanged(tx, r)
			case audit.KindGroup:
				err = e.groupChanged(tx, r)
			case audit.KindApplication:
				err = e.applicationChanged(tx, r)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}

func (e *Engine) userChanged(tx *store.Tx, r audit.Pending) error {
	type concern struct {
		app              app.ID
		state            app.Status
		linked, entitled bool
	}
	all, err := store.All(tx, func(r store.Row) (concern, error) {
		var c concern
		err := r.Scan(&c.app, &c.state, &c.linked, &c.entitled)
		return c, err
	}, `SELECT s.application_id, s.state,
			EXISTS (SELECT 1 FROM links l WHERE l.application_id = s.application_id AND l.object_kind = 'user' AND l.object_id = $1),
			EXISTS (SELECT 1 FROM memberships m JOIN bindings b ON b.group_id = m.group_id JOIN users u ON u.id = m.user_id
				WHERE m.user_id = $1 AND b.application_id = s.application_id AND u.state = 'active')
		FROM scim_integrations s`, r.ID)
	if err != nil {
		return err
	}
	for _, c := range all {
		if !c.linked && !c.entitled {
			continue
		}
		if !c.entitled {
			// Somebody who left has an account there, be it that nothing is sent.
			link, err := getLink(tx, object{c.app, scim.User, r.ID})
			if err != nil {
				return err
			}
			if err := e.openReceipt(tx, link, r.Cause); err != nil {
				return err
			}
		}
		if c.state == app.Off {
			continue
		}
		p := update
		switch {
		case !c.entitled:
			p = leaver
		case !c.linked:
			p = joiner
		}
		if err := e.want(tx, object{c.app, scim.User, r.ID}, p, r.Cause); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) groupChanged(tx *store.Tx, r audit.Pending) error {
	apps, err := store.All(tx, store.Scalar[app.ID], `SELECT s.application_id FROM scim_integrations s
		WHERE s.state <> 'off' AND s.manage_groups AND (
			EXISTS (SELECT 1 FROM bindings b WHERE b.application_id = s.application_id AND b.group_id = $1) OR
			EXISTS (SELECT 1 FROM links l WHERE l.application_id = s.application_id AND l.object_kind = 'group' AND l.object_id = $1))`, r.ID)
	if err != nil {
		return err
	}
	for _, id := range apps {
		if err := e.want(tx, object{id, scim.Group, r.ID}, team, r.Cause); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) applicationChanged(tx *store.Tx, r audit.Pending) error {
	id := app.ID(r.ID)
	states, err := store.All(tx, store.Scalar[string], `SELECT state FROM scim_integrations WHERE application_id = $1`, string(id))
	switch {
	case err != nil:
		return err
	case len(states) == 0: // deleted, or without provisioning
		return work.DeleteScope(tx, string(id))
	case states[0] == string(app.Off):
		return nil
	}
	return e.wantSweep(tx, id, r.Cause)
}
