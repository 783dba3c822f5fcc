package idp

import (
	"crypto/sha256"
	"encoding/hex"
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

// errChanged says that what a decision rests on changed before it was made.
var errChanged = errors.New("idp: changed meanwhile")

// state is all that an answer rests on.
type state struct {
	*prepared
	// session is the visitor's; the zero value if they aren't signed in.
	session  authn.Session
	standing app.Standing
}

func (st *state) signedIn() bool { return st.session.ID != "" }

// look reads the state. It fails with errChanged if the visit's request was judged by other settings.
func (p *IDP) look(tx *store.Tx, v *visit, token string) (st *state, err error) {
	st = &state{}
	if v.judged == nil {
		st.prepared, err = p.byID(tx, v.ApplicationID)
	} else if st.prepared, err = p.bySlug(tx, v.slug); problem.Is(err, problem.NotFound) || err == nil && !st.same(v.judged) {
		err = errChanged
	}
	if err != nil {
		return nil, err
	}
	st.session, err = p.authn.SessionIn(tx, token)
	if problem.Is(err, problem.Unauthenticated) {
		return st, nil
	}
	if err == nil {
		st.standing, err = app.StandingFor(tx, st.app.ID, st.session.User)
	}
	return st, err
}

// same reports whether two are the same application with the same settings.
func (x *prepared) same(y *prepared) bool {
	return x.app.ID == y.app.ID && x.app.Version == y.app.Version
}

// next is what follows from a decision, once what the decision wrote is durable.
type next func(http.ResponseWriter, *http.Request) error

// refusing is the next of a refusal.
func (p *IDP) refusing(ref *refusal) next {
	return func(w http.ResponseWriter, r *http.Request) error { return p.refuse(w, r, ref) }
}

// declining answers a good request with a status instead of an assertion, at the service provider's registered address.
func (p *IDP) declining(v *visit, s authn.Session, reason saml.Reason, text string) (next, error) {
	if v.Decision == nil {
		return nil, fmt.Errorf("idp: %s without a request", reason)
	}
	e := v.Decision.Refuse(reason, text)
	return func(w http.ResponseWriter, r *http.Request) error { return p.sendStatus(w, r, v, s, e) }, nil
}

// answer decides what a signed-in person gets of what they came for, and records it, in the transaction that st was read
// in: nothing that the answer rests on can change in between. The answer is signed and sent once all of that is durable.
func (p *IDP) answer(tx *store.Tx, r *http.Request, v *visit, st *state) (next, error) {
	a, s := st.app, st.session
	if !st.active() {
		if v.Decision == nil && a.BookmarkURL != "" && st.standing.Granted() {
			return func(w http.ResponseWriter, r *http.Request) error {
				w.Header().Set("Cache-Control", "no-store")
				http.Redirect(w, r, a.BookmarkURL, http.StatusSeeOther)
				return nil
			}, nil
		}
		ref := notReady(a)
		if !st.standing.Granted() {
			ref = denied(a, s)
		}
		return p.refusing(ref.of(v, s)), nil
	}
	if !st.standing.Granted() {
		if v.passive() {
			return p.declining(v, s, saml.AccessDenied, "The person isn't in a group that is bound to this application.")
		}
		return p.refusing(denied(a, s).of(v, s)), nil
	}
	to, ok := target(st.sp, v, a)
	if !ok {
		return p.refusing((&refusal{
			application: a, status: http.StatusBadRequest, reason: string(saml.UnregisteredACS), outcome: audit.Failure,
			Title: "The answer has nowhere to go",
			Text:  "The address at which " + a.Label + " wanted the answer was removed from its settings while you were signing in.",
			Next:  "Open " + a.Label + " again.",
		}).of(v, s)), nil
	}
	person := st.standing.Person()
	person.AuthnMethods = methods(s.Factors)
	claims, err := st.mapping.Apply(&person)
	if blocked, ok := errors.AsType[*catalog.BlockedError](err); ok {
		return p.refusing(blockedBy(a, blocked).of(v, s)), nil
	}
	if err != nil {
		return nil, fmt.Errorf("idp: claims for %s: %w", a.ID, err)
	}
	known, err := readNames(tx, st, v)
	if err != nil {
		return nil, err
	}
	if asked, ok := v.asksFor(); ok && !known.isAsked(asked, claims.NameID) {
		return p.anotherPerson(v, s, a)
	}
	var wish saml.RequestedAuthnContext
	if v.Decision != nil {
		wish = v.Decision.Request.RequestedAuthnContext
	}
	class, ok := wish.Choose(contextOrder, p.achieved(s)...)
	if !ok {
		return p.declining(v, s, saml.NoAuthnContext, "The application asks for a way of signing in that was not used.")
	}
	name, err := p.name(tx, st, v, claims.NameID, known)
	if errors.Is(err, errNoName) {
		return p.declining(v, s, saml.UnsupportedNameID, "The application asks for a lasting name of a person who has none there yet, and doesn't allow one to be made.")
	}
	if err != nil {
		return nil, err
	}
	now := p.now().UTC()
	response := &saml.Response{
		ID: saml.NewID(), AssertionID: saml.NewID(), IssueInstant: now, Issuer: a.SAML.IDPEntityID,
		Destination: to.ACS.URL, InResponseTo: to.InResponseTo, Audiences: []string{a.SAML.SPEntityID}, Subject: name,
		// Clocks differ by seconds even where they are kept; a minute saves people from a refusal that nobody understands.
		NotBefore: now.Add(-time.Minute), NotOnOrAfter: now.Add(p.limits.AssertionLife),
		Authn:      saml.Authn{Instant: s.AuthenticatedAt, SessionIndex: sessionIndex(s.ID, a.ID), ContextClass: class},
		Attributes: claims.Attributes, Encrypt: st.sp.Encryption,
	}
	if a.SAML.SendSessionEnd {
		response.Authn.SessionNotOnOrAfter = s.ExpiresAt
	}
	if v.flow != "" {
		if _, err := authn.ConsumeFlow(tx, now, v.flow); err != nil {
			return nil, err
		}
	}
	if v.Decision != nil {
		if err := claimMessage(tx, a.ID, v.Decision.Request.ID, p.remembered(now)); err != nil {
			return nil, err
		}
	}
	if err := rememberName(tx, response.Authn.SessionIndex, s.ID, a.ID, name, now); err != nil {
		return nil, err
	}
	if _, err := audit.Record(tx, now, p.success(r, v, st, response)); err != nil {
		return nil, err
	}
	return func(w http.ResponseWriter, r *http.Request) error { return p.sendAnswer(w, r, v, st, response, to) }, nil
}

// sendAnswer signs an answer that is recorded, and sends it.
func (p *IDP) sendAnswer(w http.ResponseWriter, r *http.Request, v *visit, st *state, response *saml.Response, to saml.Reply) error {
	done := p.db.Occupy()
	xml, err := saml.AppendResponse(nil, response, st.signer, st.app.SAML.Sign())
	done()
	if err != nil {
		p.log.ErrorContext(r.Context(), "an answer could not be made", "application", string(st.app.ID), "error", err)
		return p.refuse(w, r, (&refusal{
			application: st.app, status: http.StatusInternalServerError, reason: "not_signed", outcome: audit.Failure, cause: err,
			Title: "The answer to " + st.app.Label + " could not be made",
			Text:  "Signing or encrypting it failed. Nothing was sent.",
			Next:  "Try again; if it happens again, tell your administrator.",
		}).of(v, st.session))
	}
	p.noteAnswer(r, v, st, xml, to.RelayState)
	return p.send(w, r, st.app.Label, to.ACS.URL, xml, to.RelayState)
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

// sessionIndex names a session towards an application: always the same, so that a sign-on in a session that the
// application knows already needs nothing to be remembered, and different at each, so that no two can tell from it that
// they serve the same person (saml-core §2.7.2).
func sessionIndex(session string, id app.ID) string {
	sum := sha256.Sum256([]byte(session + "\x00" + string(id)))
	return "_" + hex.EncodeToString(sum[:16])
}

// rememberName keeps what a service provider was told, for single logout. The newest name is the one by which it knows
// the person.
func rememberName(tx *store.Tx, index, session string, id app.ID, name saml.NameID, now time.Time) error {
	_, err := tx.Exec(`INSERT INTO saml_sessions (session_id, application_id, session_index, name_id, name_id_format, created_at)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (session_id, application_id, session_index, name_id, name_id_format) DO UPDATE SET created_at = excluded.created_at
		WHERE EXISTS (SELECT 1 FROM saml_sessions x
			WHERE x.session_id = $1 AND x.application_id = $2 AND x.created_at > saml_sessions.created_at)`,
		session, string(id), index, name.Value, name.Format, store.Micros(now))
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
