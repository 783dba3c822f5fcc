package idp

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// errChanged says that something which the answer rests on changed before the answer was recorded.
var errChanged = errors.New("idp: changed meanwhile")

// state is all that an answer rests on, as one snapshot of the database has it.
type state struct {
	*prepared
	// session is the visitor's; the zero value if they aren't signed in.
	session  authn.Session
	standing app.Standing
}

func (st *state) signedIn() bool { return st.session.ID != "" }

// look reads the state; find tells the application.
func (p *IDP) look(r *http.Request, find func(*store.Tx) (*prepared, error)) (*state, error) {
	st, token := &state{}, p.cookie.Read(r)
	err := p.db.View(r.Context(), func(tx *store.Tx) (err error) {
		if st.prepared, err = find(tx); err != nil {
			return err
		}
		st.session, err = p.authn.SessionIn(tx, token)
		if problem.Is(err, problem.Unauthenticated) {
			return nil
		}
		if err == nil {
			st.standing, err = app.StandingFor(tx, st.app.ID, st.session.User)
		}
		return err
	})
	return st, err
}

// maxTries is how often an answer is made anew because something changed meanwhile.
const maxTries = 5

// again goes back to the dispatcher, which looks at everything anew: session, settings and access.
func (p *IDP) again(w http.ResponseWriter, r *http.Request, v *visit) error {
	if v.tries++; v.tries == maxTries {
		return problem.New(problem.Unavailable, "The settings of %s are changing right now. Try again in a moment.", v.Application)
	}
	return p.dispatch(w, r, v)
}

// answer gives a signed-in person what they came for, or says why not.
func (p *IDP) answer(w http.ResponseWriter, r *http.Request, v *visit, st *state) error {
	a, s := st.app, st.session
	if !st.active() {
		if v.Decision == nil && a.BookmarkURL != "" && st.standing.Granted() {
			w.Header().Set("Cache-Control", "no-store")
			http.Redirect(w, r, a.BookmarkURL, http.StatusSeeOther)
			return nil
		}
		ref := notReady(a)
		if !st.standing.Granted() {
			ref = denied(a, s)
		}
		return p.refuse(w, r, ref.of(v, s))
	}
	if !st.standing.Granted() {
		if v.passive() {
			return p.decline(w, r, v, s, saml.AccessDenied, "The person isn't in a group that is bound to this application.")
		}
		return p.refuse(w, r, denied(a, s).of(v, s))
	}
	to, ok := target(st.sp, v, a)
	if !ok {
		return p.refuse(w, r, (&refusal{
			application: a, status: http.StatusBadRequest, reason: string(saml.UnregisteredACS), outcome: audit.Failure,
			Title: "The answer has nowhere to go",
			Text:  "The address at which " + a.Label + " wanted the answer was removed from its settings while you were signing in.",
			Next:  "Open " + a.Label + " again.",
		}).of(v, s))
	}
	person := st.standing.Person()
	person.AuthnMethods = methods(s.Factors)
	claims, err := st.mapping.Apply(&person)
	if blocked, ok := errors.AsType[*catalog.BlockedError](err); ok {
		return p.refuse(w, r, blockedBy(a, blocked).of(v, s))
	}
	if err != nil {
		return fmt.Errorf("idp: claims for %s: %w", a.ID, err)
	}
	known, err := p.names(r.Context(), st, v)
	if err != nil {
		return err
	}
	if asked, ok := v.asksFor(); ok && !known.isAsked(asked, claims.NameID) {
		return p.anotherPerson(w, r, v, s, a)
	}
	var wish saml.RequestedAuthnContext
	if v.Decision != nil {
		wish = v.Decision.Request.RequestedAuthnContext
	}
	class, ok := wish.Choose(contextOrder, p.achieved(s)...)
	if !ok {
		return p.decline(w, r, v, s, saml.NoAuthnContext, "The application asks for a way of signing in that was not used.")
	}
	name, err := p.name(r.Context(), st, v, claims.NameID, known)
	if errors.Is(err, errNoName) {
		return p.decline(w, r, v, s, saml.UnsupportedNameID, "The application asks for a lasting name of a person who has none there yet, and doesn't allow one to be made.")
	}
	if store.Foreign(err) {
		return p.again(w, r, v) // the application was deleted
	}
	if err != nil {
		return err
	}
	now := p.now().UTC()
	response := saml.Response{
		ID: saml.NewID(), AssertionID: saml.NewID(), IssueInstant: now, Issuer: a.SAML.IDPEntityID,
		Destination: to.ACS.URL, InResponseTo: to.InResponseTo, Audiences: []string{a.SAML.SPEntityID}, Subject: name,
		// Clocks differ by seconds even where they are kept; a minute saves people from a refusal that nobody understands.
		NotBefore: now.Add(-time.Minute), NotOnOrAfter: now.Add(p.limits.AssertionLife),
		Authn:      saml.Authn{Instant: s.AuthenticatedAt, SessionIndex: saml.NewID(), ContextClass: class},
		Attributes: claims.Attributes, Encrypt: st.sp.Encryption,
	}
	if a.SAML.SendSessionEnd {
		response.Authn.SessionNotOnOrAfter = s.ExpiresAt
	}
	arrived := p.db.Announce()
	defer arrived()
	xml, err := saml.AppendResponse(nil, &response, st.signer, a.SAML.Sign())
	if err != nil {
		return fmt.Errorf("idp: answer for %s: %w", a.ID, err)
	}
	event := p.success(r, v, st, &response)
	err = p.db.Update(r.Context(), func(tx *store.Tx) error {
		arrived()
		if err := p.unchanged(tx, a, s); err != nil {
			return err
		}
		if v.flow != "" {
			if _, err := authn.ConsumeFlow(tx, now, v.flow); err != nil {
				return err
			}
		}
		if v.Decision != nil {
			if err := claimMessage(tx, a.ID, v.Decision.Request.ID, p.remembered(now)); err != nil {
				return err
			}
		}
		if err := insertSession(tx, response.Authn.SessionIndex, s.ID, a.ID, name, now); err != nil {
			return err
		}
		_, err := audit.Record(tx, now, event)
		return err
	})
	switch {
	case errors.Is(err, authn.ErrStale):
		return p.refuse(w, r, stale().of(v, s))
	case errors.Is(err, errReplayed):
		return p.refuse(w, r, replayed(a).of(v, s))
	case errors.Is(err, errChanged), store.Foreign(err): // or the session or the application is gone
		return p.again(w, r, v)
	case err != nil:
		return err
	}
	p.noteAnswer(r, v, st, xml, to.RelayState)
	return p.send(w, r, a.Label, to.ACS.URL, xml, to.RelayState)
}

// target is where an answer goes: only to an address that is registered now, whatever was registered when the person set
// out.
func target(sp saml.ServiceProvider, v *visit, a app.Application) (saml.Reply, bool) {
	if v.Decision == nil {
		acs, ok := sp.DefaultACS()
		reply := saml.Reply{ACS: acs, RelayState: a.SAML.DefaultRelayState}
		if v.RelayState != nil {
			reply.RelayState = *v.RelayState
		}
		return reply, ok
	}
	reply := v.Decision.Reply
	for _, acs := range sp.ACS {
		if acs.URL == reply.ACS.URL {
			return reply, v.Decision.Request.Issuer == sp.EntityID
		}
	}
	return saml.Reply{}, false
}

// unchanged makes sure, in the transaction that records the answer, that the application's settings are those that the
// answer was made from, and that the person still has access.
func (p *IDP) unchanged(tx *store.Tx, a app.Application, s authn.Session) error {
	version, err := app.Admits(tx, a.ID, s.User.ID)
	if err == nil && version != a.Version {
		err = errChanged
	}
	return err
}

// decline answers a good request with a status instead of an assertion, at the service provider's registered address.
func (p *IDP) decline(w http.ResponseWriter, r *http.Request, v *visit, s authn.Session, reason saml.Reason, text string) error {
	if v.Decision == nil {
		return fmt.Errorf("idp: %s without a request", reason)
	}
	e := v.Decision.Refuse(reason, text)
	return p.sendStatus(w, r, v, s, e)
}

// sendStatus sends an error that may go to the service provider. It consumes the flow: a request is answered once.
func (p *IDP) sendStatus(w http.ResponseWriter, r *http.Request, v *visit, s authn.Session, e *saml.Error) error {
	var st *prepared
	now := p.now().UTC()
	err := p.db.View(r.Context(), func(tx *store.Tx) (err error) {
		st, err = p.byID(tx, v.ApplicationID)
		return err
	})
	if err != nil {
		return err
	}
	if !st.active() {
		return p.refuse(w, r, notReady(st.app).of(v, s))
	}
	known := false
	for _, acs := range st.sp.ACS {
		known = known || acs.URL == e.Reply.ACS.URL
	}
	ref := badRequest(st.app, e).of(v, s)
	if !known {
		return p.refuse(w, r, ref)
	}
	xml, err := saml.AppendStatus(nil, &saml.StatusResponse{
		ID: saml.NewID(), IssueInstant: now, Issuer: st.app.SAML.IDPEntityID, Destination: e.Reply.ACS.URL,
		InResponseTo: e.Reply.InResponseTo, Status: e.Status,
	}, st.signer)
	if err != nil {
		return fmt.Errorf("idp: status for %s: %w", st.app.ID, err)
	}
	ref.sent = xml
	err = p.record(r, ref, func(tx *store.Tx) error {
		if v.flow != "" {
			if _, err := authn.ConsumeFlow(tx, now, v.flow); err != nil {
				return err
			}
		}
		return claimMessage(tx, st.app.ID, e.Reply.InResponseTo, p.remembered(now))
	})
	if errors.Is(err, authn.ErrStale) {
		return p.refuse(w, r, stale().of(v, s))
	}
	if errors.Is(err, errReplayed) {
		return p.refuse(w, r, replayed(st.app).of(v, s))
	}
	if err != nil {
		return err
	}
	return p.send(w, r, st.app.Label, e.Reply.ACS.URL, xml, e.Reply.RelayState)
}

// send shows the page that posts a message to a registered ACS by itself (saml-bindings §3.5.4).
func (p *IDP) send(w http.ResponseWriter, r *http.Request, label, acs string, xml []byte, relayState string) error {
	form := web.PostForm{
		Action: acs, To: label, Theme: web.ThemeOf(r),
		Fields: []web.Hidden{{Name: "SAMLResponse", Value: saml.EncodePost(xml)}},
	}
	if relayState != "" {
		form.Fields = append(form.Fields, web.Hidden{Name: "RelayState", Value: relayState})
	}
	web.AllowFormTarget(w, acs)
	w.Header().Set("Cache-Control", "no-store")
	return web.RenderPlain(w, r, http.StatusOK, web.PostPage(form))
}

// insertSession remembers what a service provider was told, for single logout. It fails if the session is gone.
func insertSession(tx *store.Tx, index, session string, id app.ID, name saml.NameID, now time.Time) error {
	_, err := tx.Exec(`INSERT INTO saml_sessions (id, session_id, application_id, name_id, name_id_format, created_at)
		VALUES ($1, $2, $3, $4, $5, $6)`, index, session, string(id), name.Value, name.Format, store.Micros(now))
	return err
}

// actor is who visits: the person, or somebody who isn't signed in.
func (p *IDP) actor(r *http.Request, s authn.Session) access.Actor {
	address, correlation := p.address(r), web.RequestID(r.Context())
	if s.ID == "" {
		return access.Actor{Kind: access.Person, Name: "not signed in", Address: address, Correlation: correlation}
	}
	return s.Actor(address, correlation)
}
