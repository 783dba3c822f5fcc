package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/work"
)

// Alarms say when somebody is called.
type Alarms struct {
	// ReceiptSeconds is how long after somebody lost access their account may not be proved to be off.
	ReceiptSeconds int `json:"receiptSeconds" minimum:"1" maximum:"2592000"`
	// SilenceSeconds is how long an active application may give no good answer while work waits.
	SilenceSeconds int `json:"silenceSeconds" minimum:"1" maximum:"2592000"`
}

const alarmsKey = "provisioning_alarms"

// alarms returns the settings, or what holds without any: 15 minutes each.
func alarms(tx *store.Tx) (Alarms, error) {
	a := Alarms{ReceiptSeconds: 15 * 60, SilenceSeconds: 15 * 60}
	raw, err := store.One(tx, store.Scalar[string], `SELECT value FROM settings WHERE key = $1`, alarmsKey)
	if errors.Is(err, store.ErrNotFound) {
		return a, nil
	}
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal([]byte(raw), &a); err != nil {
		return a, fmt.Errorf("provision: alarms: %w", err)
	}
	return a, nil
}

// Alarms returns when somebody is called. Needs ReadApplications.
func (e *Engine) Alarms(ctx context.Context, by access.Actor) (a Alarms, err error) {
	if err := access.Allow(by, access.ReadApplications); err != nil {
		return a, err
	}
	err = e.DB.View(ctx, func(tx *store.Tx) (err error) {
		a, err = alarms(tx)
		return err
	})
	return a, err
}

// SetAlarms says when somebody is called. Needs ManageSettings.
func (e *Engine) SetAlarms(ctx context.Context, by access.Actor, a Alarms) error {
	if err := access.Allow(by, access.ManageSettings); err != nil {
		return err
	}
	var f problem.Fields
	const most = 30 * 24 * 60 * 60
	if a.ReceiptSeconds < 1 || a.ReceiptSeconds > most {
		f.Add("receiptSeconds", "Give a time of up to 30 days.")
	}
	if a.SilenceSeconds < 1 || a.SilenceSeconds > most {
		f.Add("silenceSeconds", "Give a time of up to 30 days.")
	}
	if err := f.Err(); err != nil {
		return err
	}
	now := e.Now()
	return e.DB.Update(ctx, func(tx *store.Tx) error {
		old, err := alarms(tx)
		if err != nil || old == a {
			return err
		}
		raw, err := json.Marshal(a)
		if err != nil {
			return fmt.Errorf("provision: alarms: %w", err)
		}
		if _, err := tx.Exec(`INSERT INTO settings (key, value, updated_at) VALUES ($1, $2, $3)
			ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at`,
			alarmsKey, string(raw), store.Micros(now)); err != nil {
			return err
		}
		_, err = audit.Record(tx, now, audit.Event{
			Type: audit.SettingsUpdate, Actor: by, Object: audit.Ref{Kind: audit.KindSettings, ID: alarmsKey, Name: "Alarms"},
			Changes: audit.Diff(old, a), Message: "When provisioning calls somebody was changed.",
		})
		return err
	})
}

// watchEvery is how often it is looked for what is overdue.
const watchEvery = 10 * time.Second

// Watch looks once for open receipts that are overdue and for targets that are silent, and tells each once. The pool
// calls it every few seconds, on one replica.
func (e *Engine) Watch(ctx context.Context) error {
	if err := e.withdrawReturned(ctx); err != nil {
		return err
	}
	return e.DB.Update(ctx, func(tx *store.Tx) error {
		now := e.Now()
		set, err := alarms(tx)
		if err != nil {
			return err
		}
		if err := e.nudge(tx, now); err != nil {
			return err
		}
		if err := e.overdue(tx, now, set); err != nil {
			return err
		}
		if err := e.silence(tx, now, set); err != nil {
			return err
		}
		_, err = tx.Exec(`DELETE FROM target_pace WHERE minute < $1`, now.Add(-time.Hour).Unix()/60)
		return err
	})
}

// atOnceTold bounds what one look tells; the next look tells the rest.
const atOnceTold = 200

// nudge has accounts read back of which nothing else would remind: provisioning was off meanwhile, or a person
// switched the account off there before we did.
func (e *Engine) nudge(tx *store.Tx, now time.Time) error {
	type row struct{ app, user string }
	rows, err := store.All(tx, func(r store.Row) (x row, err error) {
		err = r.Scan(&x.app, &x.user)
		return x, err
	}, `SELECT r.application_id, r.user_id FROM receipts r
		JOIN scim_integrations s ON s.application_id = r.application_id AND s.state = 'active'
		LEFT JOIN links l ON l.application_id = r.application_id AND l.object_kind = 'user' AND l.object_id = r.user_id
		WHERE r.state = 'open' AND r.ended_at < $1 AND (r.sent_at > 0 OR l.status IS NULL OR l.status = 'inactive')
			AND NOT EXISTS (SELECT 1 FROM lanes x WHERE x.kind IN ($2, $3) AND x.key = r.application_id || '/user/' || r.user_id AND x.wanted > x.synced)
		ORDER BY r.ended_at LIMIT $4`, store.Micros(now.Add(-watchEvery)), laneSync, laneVerify, atOnceTold)
	if err != nil {
		return err
	}
	for _, x := range rows {
		if err := work.Want(tx, now, verifyLane(object{app.ID(x.app), scim.User, x.user}, now, "")); err != nil {
			return err
		}
	}
	return nil
}

// overdue tells open receipts that are older than the setting, each once.
func (e *Engine) overdue(tx *store.Tx, now time.Time, set Alarms) error {
	rows, err := store.All(tx, scanReceipt, `SELECT `+receiptColumns+` FROM receipts
		WHERE state = 'open' AND alarmed_at = 0 AND ended_at <= $1 ORDER BY ended_at LIMIT $2`,
		store.Micros(now.Add(-time.Duration(set.ReceiptSeconds)*time.Second)), atOnceTold)
	if err != nil {
		return err
	}
	for _, x := range rows {
		a, err := app.GetApplication(tx, x.Application)
		if err != nil {
			return err
		}
		why, err := whyOpen(tx, now, a, x)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`UPDATE receipts SET alarmed_at = $1 WHERE id = $2`, store.Micros(now), x.ID); err != nil {
			return err
		}
		if _, err := audit.Record(tx, now, audit.Event{
			Type: audit.ReceiptOverdue, Outcome: audit.Failure, Actor: system(), Object: x.ref(), ApplicationID: string(a.ID), Cause: x.Cause.ID,
			Message: fmt.Sprintf("%s lost access to %s %s ago, and it isn't proved that the account there is off. %s", x.Name, a.Label, span(now.Sub(x.EndedAt)), why),
			Detail:  map[string]any{"receipt": x.ID, "endedAt": x.EndedAt, "why": why},
		}); err != nil {
			return err
		}
	}
	return nil
}

// silence tells active applications that gave no good answer for too long while work waited, and those that answer again.
func (e *Engine) silence(tx *store.Tx, now time.Time, set Alarms) error {
	type row struct {
		id                                app.ID
		label, state                      string
		since, answered, silent, waitFrom int64
	}
	rows, err := store.All(tx, func(r store.Row) (x row, err error) {
		err = r.Scan(&x.id, &x.label, &x.state, &x.since, &x.answered, &x.silent, &x.waitFrom)
		return x, err
	}, `SELECT s.application_id, a.label, s.state, s.state_since, COALESCE(h.answered_at, 0), COALESCE(h.silent_at, 0),
			CASE WHEN s.state = 'active' THEN
				COALESCE((SELECT MIN(since) FROM lanes l WHERE l.scope = s.application_id AND l.kind IN ($1, $2) AND l.wanted > l.synced AND NOT l.parked), 0)
			ELSE 0 END
		FROM scim_integrations s JOIN applications a ON a.id = s.application_id
		LEFT JOIN target_health h ON h.application_id = s.application_id
		WHERE s.state = 'active' OR COALESCE(h.silent_at, 0) > 0`, laneSync, laneVerify)
	if err != nil {
		return err
	}
	for _, x := range rows {
		quiet := max(x.answered, x.waitFrom, x.since) // since when nothing good came though something waited
		ref := audit.Ref{Kind: audit.KindApplication, ID: string(x.id), Name: x.label}
		last := "It has never answered well."
		if x.answered > 0 {
			last = "The last good answer came at " + store.FromMicros(x.answered).UTC().Format("2006-01-02 15:04:05") + " UTC."
		}
		switch {
		case x.silent == 0 && x.waitFrom > 0 && quiet <= store.Micros(now.Add(-time.Duration(set.SilenceSeconds)*time.Second)):
			if _, err := tx.Exec(`INSERT INTO target_health (application_id, silent_at, updated_at) VALUES ($1, $2, $2)
				ON CONFLICT (application_id) DO UPDATE SET silent_at = excluded.silent_at`, string(x.id), store.Micros(now)); err != nil {
				return err
			}
			detail := map[string]any{"waitingSince": store.FromMicros(x.waitFrom)}
			if x.answered > 0 {
				detail["lastAnswer"] = store.FromMicros(x.answered)
			}
			if _, err := audit.Record(tx, now, audit.Event{
				Type: audit.IntegrationSilent, Outcome: audit.Failure, Actor: system(), Object: ref, ApplicationID: string(x.id), Detail: detail,
				Message: fmt.Sprintf("%s has given no good answer for %s, and changes wait. %s", x.label, span(now.Sub(store.FromMicros(quiet))), last),
			}); err != nil {
				return err
			}
		case x.silent > 0 && (x.answered > x.silent || x.state != string(app.Active)):
			if _, err := tx.Exec(`UPDATE target_health SET silent_at = 0 WHERE application_id = $1`, string(x.id)); err != nil {
				return err
			}
			if x.answered <= x.silent {
				break // it was paused or stopped: nothing waits for it
			}
			if _, err := audit.Record(tx, now, audit.Event{
				Type: audit.IntegrationAnswers, Actor: system(), Object: ref, ApplicationID: string(x.id),
				Message: fmt.Sprintf("%s answers again, after %s.", x.label, span(store.FromMicros(x.answered).Sub(store.FromMicros(x.silent)))),
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// whyOpen says in a sentence why it isn't proved that an account is off.
func whyOpen(tx *store.Tx, now time.Time, a app.Application, x ReceiptItem) (string, error) {
	switch a.SCIM.Status {
	case app.Paused:
		if a.SCIM.Reason != "" {
			return "Provisioning is paused: " + sentenceEnd(a.SCIM.Reason), nil
		}
		return "Provisioning is paused, so nothing is sent.", nil
	case app.Stopped:
		return "Provisioning is stopped: " + sentenceEnd(a.SCIM.Reason), nil
	case app.Off, app.Incomplete:
		return "Provisioning is off, so nothing is sent: switch the account off there by hand.", nil
	}
	o := object{a.ID, scim.User, x.UserID}
	for _, kind := range []string{laneSync, laneVerify} {
		states, err := work.States(tx, now, work.Filter{Kind: kind, Key: o.key()})
		if err != nil {
			return "", err
		}
		for _, s := range states {
			switch {
			case s.Reason != "":
				return sentenceEnd(s.Reason), nil
			case kind == laneSync:
				return "The request still waits to be sent.", nil
			}
		}
	}
	link, err := getLink(tx, o)
	switch {
	case err != nil:
		return "", err
	case link.Reason != "" && (link.Status == LinkBlocked || link.Status == LinkFailed):
		return sentenceEnd(link.Reason), nil
	case x.Finding != "":
		return x.Finding, nil
	case x.SentAt.IsZero():
		return "Nothing was sent yet.", nil
	}
	return "It wasn't read back yet.", nil
}

func sentenceEnd(s string) string {
	s = strings.TrimSpace(s)
	if s == "" || strings.HasSuffix(s, ".") || strings.HasSuffix(s, "!") {
		return s
	}
	return s + "."
}

// span is a length of time, for people.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return count(max(1, int(d/time.Second)), "second", "seconds")
	case d < time.Hour:
		return count(int(d/time.Minute), "minute", "minutes")
	case d < 48*time.Hour:
		return count(int(d/time.Hour), "hour", "hours")
	}
	return count(int(d/(24*time.Hour)), "day", "days")
}
