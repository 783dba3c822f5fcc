package idp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// logoutRedirect takes a logout message by HTTP-Redirect (saml-bindings §3.4).
func (p *IDP) logoutRedirect(w http.ResponseWriter, r *http.Request) error {
	if noHead(w, r) {
		return nil
	}
	return p.takeLogout(w, r, r.URL.RawQuery, saml.ReadLogoutRedirect)
}

// logoutPost takes a logout message by HTTP-POST (saml-bindings §3.5).
func (p *IDP) logoutPost(w http.ResponseWriter, r *http.Request) error {
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media != "application/x-www-form-urlencoded" {
		return problem.New(problem.Invalid, "The sign-out message from the application can't be read. Sign out again; if it happens again, close the browser and tell your administrator.")
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, saml.MaxPostBody+1))
	if err != nil {
		return problem.Wrap(problem.Invalid, err, "The sign-out message broke off. Sign out again.")
	}
	return p.takeLogout(w, r, string(body), func(s string) (saml.Incoming, error) { return saml.ReadLogoutPost([]byte(s)) })
}

// takeLogout finds the application and does what its message asks.
func (p *IDP) takeLogout(w http.ResponseWriter, r *http.Request, raw string, read func(string) (saml.Incoming, error)) error {
	var x *prepared
	slug := r.PathValue("slug")
	err := p.db.View(r.Context(), func(tx *store.Tx) (err error) {
		x, err = p.bySlug(tx, slug)
		return err
	})
	if problem.Is(err, problem.NotFound) {
		return p.refuse(w, r, &refusal{
			event: audit.SLO, status: http.StatusNotFound, reason: "unknown_application", outcome: audit.Failure,
			Title: "There is no application at this address",
			Text:  "The sign-out address belongs to “" + shown(slug) + "”, and no application here answers to that.",
			Next:  "To sign out here, use your portal. On a shared computer, close the browser.",
		})
	}
	if err != nil {
		return err
	}
	if !x.active() {
		ref := notReady(x.app)
		ref.event = audit.SLO
		ref.Next = "To sign out here, use your portal."
		return p.refuse(w, r, ref)
	}
	in, err := read(raw)
	m := message{x: x, in: in, at: p.now().UTC()}
	if err == nil && in.Message() == "LogoutResponse" {
		return p.logoutAnswered(w, r, m)
	}
	var d saml.LogoutDecision
	if err == nil {
		d, err = saml.CheckLogoutRequest(in, x.sp, p.self(x.app), m.at)
	}
	if e, ok := errors.AsType[*saml.Error](err); ok {
		return p.refuseLogout(w, r, m, e)
	}
	if err != nil {
		return err
	}
	return p.logOut(w, r, m, d)
}

// message is a logout message that came in.
type message struct {
	x  *prepared
	in saml.Incoming
	at time.Time
}

// badLogout is the page and event for a logout message that is refused.
func badLogout(a app.Application, e *saml.Error) *refusal {
	ref := badRequest(a, e)
	ref.event = audit.SLO
	ref.Title = "The sign-out message from " + a.Label + " can't be accepted"
	ref.Next = "To sign out here, use your portal. On a shared computer, close the browser."
	return ref
}

// refuseLogout answers a LogoutRequest that isn't followed: to the application if it is known to be its own.
func (p *IDP) refuseLogout(w http.ResponseWriter, r *http.Request, m message, e *saml.Error) error {
	ref := badLogout(m.x.app, e)
	p.noteLogout(m, ref.outcome, ref.reason, access.Actor{}, web.RequestID(r.Context()))
	if !e.SendableLogout() {
		return p.refuse(w, r, ref)
	}
	if err := p.record(r, ref, nil); err != nil {
		return err
	}
	s, err := p.logoutResponse(m.x, &initiator{
		Label: m.x.app.Label, RequestID: e.Reply.InResponseTo, RelayState: e.Reply.RelayState, Reply: e.SLO,
	}, e.Status)
	if err != nil {
		return err
	}
	s.Theme, s.Refused = web.ThemeOf(r), true
	return p.sendLogout(w, r, s)
}

// logOut carries an application's LogoutRequest out: the sessions that it took part in under this name end, and then
// the others are told (saml-core §3.7.3.2).
//
// A request that names a person or a session of which the application has none here is answered like one whose session
// has ended already: there is nothing left to end. So the answer tells nothing about who is signed in.
func (p *IDP) logOut(w http.ResponseWriter, r *http.Request, m message, d saml.LogoutDecision) error {
	a := m.x.app
	c := &chain{First: &initiator{
		ApplicationID: a.ID, Label: a.Label, RequestID: d.Request.ID, RelayState: d.RelayState, Reply: d.Reply,
	}}
	var to string
	err := p.db.Update(r.Context(), func(tx *store.Tx) error {
		if err := p.stillActive(tx, a); err != nil {
			return err
		}
		if err := claimMessage(tx, a.ID, d.Request.ID, p.remembered(m.at)); err != nil {
			return err
		}
		own, err := p.sessionsNamed(tx, a, d.Request.NameID, d.Request.SessionIndexes)
		if err != nil {
			return err
		}
		all, err := participations(tx, own)
		if err != nil {
			return err
		}
		c.Steps = stepsOf(all, a.ID)
		c.Person = access.Actor{Kind: access.Person, Name: "not signed in", Address: p.address(r), Correlation: web.RequestID(r.Context())}
		ended := 0
		for _, id := range own {
			s, held, err := authn.EndSession(tx, id)
			if err != nil {
				return err
			}
			if !held {
				continue
			}
			ended++
			c.Person = p.actor(r, s)
			if err := p.recordEnd(tx, m, d, s, c); err != nil {
				return err
			}
		}
		if ended == 0 {
			c.Steps = nil // what is left of sessions that ended otherwise is told to nobody
			if err := p.recordNothing(tx, m, d, c); err != nil {
				return err
			}
		}
		to, err = p.startChain(tx, m.at, c)
		return err
	})
	switch {
	case errors.Is(err, errReplayed):
		ref := &refusal{
			event: audit.SLO, application: a, status: http.StatusConflict, reason: reasonReplayed, outcome: audit.Failure,
			Title: "This sign-out was done already",
			Text:  "That happens when a page is loaded again, or after going back. Each message is acted upon once.",
			Next:  "To sign out here, use your portal. On a shared computer, close the browser.",
		}
		p.noteLogout(m, ref.outcome, ref.reason, c.Person, web.RequestID(r.Context()))
		return p.refuse(w, r, ref)
	case errors.Is(err, errChanged):
		return problem.Wrap(problem.Unavailable, err, "The settings of %s are changing right now. Sign out again in a moment.", a.Label)
	case err != nil:
		return err
	}
	p.noteLogout(m, audit.Success, "", c.Person, web.RequestID(r.Context()))
	web.Redirect(w, r, to)
	return nil
}

// stillActive makes sure, in the transaction that acts upon a message, that the settings by which it was checked hold.
func (p *IDP) stillActive(tx *store.Tx, a app.Application) error {
	version, err := app.VersionOf(tx, a.ID)
	if problem.Is(err, problem.NotFound) || err == nil && version != a.Version {
		return errChanged
	}
	return err
}

// maxAsked is how many session indexes of one request are looked for.
const maxAsked = 200

// sessionsNamed returns the sessions in which the application was told this name, and one of these indexes if there are
// any.
func (p *IDP) sessionsNamed(tx *store.Tx, a app.Application, name saml.NameID, indexes []string) ([]string, error) {
	query := `SELECT session_id, name_id, name_id_format FROM saml_sessions WHERE application_id = $1 AND name_id = $2`
	args := []any{string(a.ID), name.Value}
	if len(indexes) > 0 {
		indexes = indexes[:min(len(indexes), maxAsked)]
		for _, index := range indexes {
			args = append(args, index)
		}
		query += ` AND session_index IN (` + store.Placeholders(3, len(indexes)) + `)`
	}
	var out []string
	seen := map[string]bool{}
	for x, err := range store.Each(tx, func(r store.Row) (x participation, err error) {
		err = r.Scan(&x.session, &x.name.Value, &x.name.Format)
		return x, err
	}, query+` ORDER BY created_at, session_id`, args...) {
		if err != nil {
			return nil, err
		}
		if qualified(a, x.name).Matches(name) && !seen[x.session] {
			seen[x.session] = true
			out = append(out, x.session)
		}
	}
	return out, nil
}

// recordEnd writes the event of a session that an application's request ended.
func (p *IDP) recordEnd(tx *store.Tx, m message, d saml.LogoutDecision, s authn.Session, c *chain) error {
	e := ended(c.Person, s, s.User.Name()+" was signed out at the request of "+m.x.app.Label+".", labels(c.Steps))
	e.ApplicationID = string(m.x.app.ID)
	request(e.Detail, d)
	_, err := audit.Record(tx, m.at, e)
	return err
}

// recordNothing writes the event of a request that found nothing to end.
func (p *IDP) recordNothing(tx *store.Tx, m message, d saml.LogoutDecision, c *chain) error {
	e := audit.Event{
		Type: audit.SLO, Actor: c.Person, ApplicationID: string(m.x.app.ID),
		Object:  audit.Ref{Kind: audit.KindApplication, ID: string(m.x.app.ID), Name: m.x.app.Label},
		Message: m.x.app.Label + " asked to sign somebody out who has no session with it here.", Detail: map[string]any{"sessions": 0},
	}
	request(e.Detail, d)
	_, err := audit.Record(tx, m.at, e)
	return err
}

// request adds to an event's detail what an application asked.
func request(detail map[string]any, d saml.LogoutDecision) {
	detail["request_id"], detail["binding"] = d.Request.ID, d.Binding
	detail["name_id"], detail["name_id_format"] = clip(d.Request.NameID.Value, 300), d.Request.NameID.Format
	if n := len(d.Request.SessionIndexes); n > 0 {
		detail["session_index"] = d.Request.SessionIndexes[:min(n, maxIndexes)]
	}
	if d.Request.Reason != "" {
		detail["reason"] = clip(d.Request.Reason, 200)
	}
}

// errOtherStep says that an answer came from another application than the one that was asked.
var errOtherStep = errors.New("idp: an answer to a request that went to another application")

// logoutAnswered takes an application's answer to our LogoutRequest and goes on. Each request is answered once. An answer
// that can't be trusted counts as none; it moves the person on all the same, if it names the request that waits.
func (p *IDP) logoutAnswered(w http.ResponseWriter, r *http.Request, m message) error {
	a := m.x.app
	answer, err := saml.CheckLogoutResponse(m.in, m.x.sp, p.self(a), m.at)
	refused, bad := errors.AsType[*saml.Error](err)
	if err != nil && !bad {
		return err
	}
	how, why, token := silent, "", m.in.RelayState()
	switch {
	case bad:
		why = refused.Error()
	case answer.Status.Code != saml.StatusSuccess:
		how, why, token = declined, answer.Status.Code+" "+answer.Status.SubCode+" "+answer.Status.Message, stepOf(answer.InResponseTo)
	case answer.Status.SubCode == saml.StatusPartialLogout:
		how, token = partly, stepOf(answer.InResponseTo)
	default:
		how, token = out, stepOf(answer.InResponseTo)
	}
	var to string
	var by access.Actor
	err = p.db.Update(r.Context(), func(tx *store.Tx) error {
		f, err := authn.ConsumeFlow(tx, m.at, token)
		if err != nil {
			return err
		}
		var s stepToken
		if f.Kind != stepKind {
			return errOtherStep
		}
		if err := json.Unmarshal(f.Data, &s); err != nil {
			return fmt.Errorf("idp: flow: %w", err)
		}
		if s.ApplicationID != a.ID {
			return errOtherStep
		}
		c, err := readChain(tx, m.at, s.Chain)
		if err != nil {
			return err
		}
		by = c.Person
		for i := range c.Steps {
			if c.Steps[i].ApplicationID == a.ID {
				c.Steps[i].Result = how
				if err := p.recordStep(tx, m.at, c, &c.Steps[i], why); err != nil {
					return err
				}
			}
		}
		if err := authn.RewriteFlow(tx, s.Chain, c); err != nil {
			return err
		}
		to, err = p.viewOf(tx, m.at, s.Chain)
		return err
	})
	known := err == nil
	if errors.Is(err, authn.ErrStale) || errors.Is(err, errOtherStep) {
		if !bad {
			refused = &saml.Error{Reason: unknownRequest, Err: err, Text: "It answers no request that waits for an answer: it was taken already, or it came too late."}
		}
	} else if err != nil {
		return err
	}
	switch {
	case known && bad:
		p.noteLogout(m, audit.Failure, string(refused.Reason), by, web.RequestID(r.Context()))
	case known && how == declined:
		p.noteLogout(m, audit.Denied, "declined", by, web.RequestID(r.Context()))
	case known:
		p.noteLogout(m, audit.Success, "", by, web.RequestID(r.Context()))
	default:
		p.noteLogout(m, audit.Failure, string(refused.Reason), by, web.RequestID(r.Context()))
		return p.refuse(w, r, badLogout(a, refused))
	}
	web.Redirect(w, r, to)
	return nil
}

// unknownRequest is the reason of an answer to a request that nobody waits for.
const unknownRequest saml.Reason = "unknown_request"
