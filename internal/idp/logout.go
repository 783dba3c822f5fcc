package idp

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
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

// Single logout, by way of the browser (saml-profiles §4.4):
//
//	GET|POST /saml2/{slug}/slo  a LogoutRequest ─┐
//	POST /signout at our portal ─────────────────┤ our sessions end, in one transaction with the first row of the chain
//	                                             ▼
//	              ┌────────── somebody is left to ask ── logout ── nobody is ──▶ LogoutResponse to who asked first,
//	              ▼                                        ▲                      or the page that tells how it went
//	      page that leads to the application's SLO service │
//	              └──▶ /saml2/{slug}/slo, a LogoutResponse ┘
//
// There is one dispatcher, logout; every step comes back to it, and all it knows stands in the chain. Nothing depends on
// a cookie: a browser sends ours with no post from another site, and the session is gone anyway.
//
// Three kinds of flow hold it together. The chain is the state; its token is thrown away, and the others name it by its
// id. A view stands for the chain in the browser's address. A step is one LogoutRequest of ours: its token is the
// request's ID, so that the InResponseTo of the answer finds it, whatever the application does with RelayState; it is
// consumed by the answer. So an application that is asked learns nothing by which it could look at the chain.
const (
	chainKind = "logout_chain"
	viewKind  = "logout"
	stepKind  = "logout_step"
)

// LogoutPath is the page of a single logout under way, with ?flow=.
const LogoutPath = app.SSOPath + "logout"

// skipPath goes on without an application that doesn't answer.
const skipPath = LogoutPath + "/skip"

// chain is a single logout under way.
type chain struct {
	// Person is who is signed out, for events.
	Person access.Actor `json:"person"`
	// First is the application that asked; nil if the person signed out with us.
	First *initiator `json:"first,omitempty"`
	Steps []step     `json:"steps"`
	// Told says that First has its answer.
	Told bool `json:"told,omitempty"`
}

// initiator is the application that asked for a logout, and how it is answered.
type initiator struct {
	ApplicationID app.ID        `json:"applicationId"`
	Label         string        `json:"label"`
	RequestID     string        `json:"requestId"`
	RelayState    string        `json:"relayState,omitempty"`
	Reply         saml.Endpoint `json:"reply"`
}

// step is one application that knows the person.
type step struct {
	ApplicationID app.ID      `json:"applicationId"`
	Label         string      `json:"label"`
	Name          saml.NameID `json:"name"`
	Indexes       []string    `json:"indexes,omitempty"`
	Result        result      `json:"result,omitempty"`
}

// result is how a step went.
type result string

const (
	waiting  result = ""         // not asked yet
	asked    result = "asked"    // asked, and nothing came back yet
	out      result = "out"      // signed out
	partly   result = "partly"   // signed out, but it couldn't tell all that depend on it
	silent   result = "silent"   // no answer, or none that can be trusted
	declined result = "declined" // it answered that it didn't
	unable   result = "unable"   // it has no single logout service, or its sign-on is off
)

// stepToken is what the flow of a step keeps.
type stepToken struct {
	Chain         string `json:"chain"`
	ApplicationID app.ID `json:"applicationId"`
}

// viewToken is what the flow of a view keeps.
type viewToken struct {
	Chain string `json:"chain"`
}

// complete reports whether everybody was signed out.
func (c *chain) complete() bool {
	return !slices.ContainsFunc(c.Steps, func(s step) bool { return s.Result != out })
}

// pending returns the application that is asked at present, or nil.
func (c *chain) pending() *step {
	if i := slices.IndexFunc(c.Steps, func(s step) bool { return s.Result == asked }); i >= 0 {
		return &c.Steps[i]
	}
	return nil
}

// Bounds of a chain. An application that was used very often in one session is told the newest sign-ons; one that was
// opened after very many others is named on the page, but not asked.
const (
	maxIndexes = 10
	maxSteps   = 40
	maxChain   = 40 << 10 // bytes as JSON; a flow keeps somewhat more
)

// participation is one sign-on of a session.
type participation struct {
	index, session string
	application    app.ID
	label          string
	name           saml.NameID
}

// participations reads the sign-ons of sessions, newest first.
func participations(tx *store.Tx, sessions []string) ([]participation, error) {
	if len(sessions) == 0 {
		return nil, nil
	}
	args := make([]any, len(sessions))
	for i, s := range sessions {
		args[i] = s
	}
	return store.All(tx, func(r store.Row) (x participation, err error) {
		err = r.Scan(&x.index, &x.session, &x.application, &x.label, &x.name.Value, &x.name.Format)
		return x, err
	}, `SELECT s.session_index, s.session_id, s.application_id, a.label, s.name_id, s.name_id_format FROM saml_sessions s
		JOIN applications a ON a.id = s.application_id
		WHERE s.session_id IN (`+store.Placeholders(1, len(sessions))+`) ORDER BY s.created_at DESC, s.session_index DESC`, args...)
}

// stepsOf groups sign-ons by application. An application knows the person by the newest name that it was sent: with a
// transient one each sign-on took the place of the one before.
func stepsOf(all []participation, but app.ID) []step {
	var steps []step
	at := map[app.ID]int{}
	for _, x := range all {
		i, known := at[x.application]
		switch {
		case x.application == but:
		case !known:
			at[x.application] = len(steps)
			steps = append(steps, step{ApplicationID: x.application, Label: x.label, Name: x.name, Indexes: []string{x.index}})
		case steps[i].Name == x.name && len(steps[i].Indexes) < maxIndexes:
			steps[i].Indexes = append(steps[i].Indexes, x.index)
		}
	}
	for i := range steps {
		if i >= maxSteps {
			steps[i] = step{ApplicationID: steps[i].ApplicationID, Label: steps[i].Label, Result: unable}
		}
	}
	return steps
}

// qualified completes a name that was sent with what it was qualified by (saml-core §8.3.7).
func qualified(a app.Application, id saml.NameID) saml.NameID {
	if id.Format == saml.NameIDPersistent {
		id.NameQualifier, id.SPNameQualifier = a.SAML.IDPEntityID, a.SAML.SPEntityID
	}
	return id
}

// startChain stores a chain and returns the address at which it goes on.
func (p *IDP) startChain(tx *store.Tx, now time.Time, c *chain) (string, error) {
	raw, err := json.Marshal(c)
	for i := len(c.Steps) - 1; err == nil && i >= 0 && len(raw) > maxChain; i-- {
		c.Steps[i] = step{ApplicationID: c.Steps[i].ApplicationID, Label: clip(c.Steps[i].Label, 100), Result: unable}
		raw, err = json.Marshal(c)
	}
	if err != nil {
		return "", err
	}
	token, err := authn.StartFlow(tx, now, chainKind, c, p.limits.FlowLife)
	if err != nil {
		return "", err
	}
	return p.viewOf(tx, now, authn.FlowID(token))
}

// viewOf returns a new address at which a chain goes on.
func (p *IDP) viewOf(tx *store.Tx, now time.Time, id string) (string, error) {
	token, err := authn.StartFlow(tx, now, viewKind, viewToken{Chain: id}, p.limits.FlowLife)
	return LogoutPath + "?flow=" + url.QueryEscape(token), err
}

// readChain reads a chain in a transaction that goes on to write it.
func readChain(tx *store.Tx, now time.Time, id string) (*chain, error) {
	f, err := authn.FlowByID(tx, now, id)
	if err == nil && f.Kind != chainKind {
		err = problem.Wrap(problem.NotFound, authn.ErrStale, "This sign-out belongs to something else.")
	}
	if err != nil {
		return nil, err
	}
	c := &chain{}
	return c, json.Unmarshal(f.Data, c)
}

// SignOut ends the session of a browser's token at the wish of its owner, and begins to sign them out of the applications
// that they used in it, as far as these can be signed out of. It returns the local path at which that goes on. If no
// such application took part it does nothing and returns "": the caller then ends the session by itself.
func (p *IDP) SignOut(r *http.Request, token string) (path string, err error) {
	now := p.now().UTC()
	err = p.db.Update(r.Context(), func(tx *store.Tx) error {
		path = ""
		s, err := p.authn.SessionIn(tx, token)
		if problem.Is(err, problem.Unauthenticated) {
			return nil
		}
		if err != nil {
			return err
		}
		all, err := participations(tx, []string{s.ID})
		if err != nil {
			return err
		}
		steps := stepsOf(all, "")
		able := false
		for i := range steps {
			x, err := p.byID(tx, steps[i].ApplicationID)
			if err != nil {
				return err
			}
			_, ok := x.logoutService("")
			able = able || ok
		}
		if !able {
			return nil
		}
		if _, _, err := authn.EndSession(tx, s.ID); err != nil {
			return err
		}
		by := p.actor(r, s)
		e := ended(by, s, s.User.Name()+" signed out, also of the applications used in this session.", labels(steps))
		if _, err := audit.Record(tx, now, e); err != nil {
			return err
		}
		path, err = p.startChain(tx, now, &chain{Person: by, Steps: steps})
		return err
	})
	return path, err
}

// ended is the event of a session that single logout ends.
func ended(by access.Actor, s authn.Session, message string, others []string) audit.Event {
	return audit.Event{
		Type: audit.SessionEnd, Actor: by, Object: audit.Ref{Kind: audit.KindUser, ID: string(s.User.ID), Name: s.User.Name()},
		Message: message, Detail: map[string]any{"session": s.ID, "protocol": "saml", "also": others},
	}
}

func labels(steps []step) []string {
	out := []string{}
	for _, s := range steps {
		out = append(out, s.Label)
	}
	return out
}

// logoutService is where an application takes logout messages, by the wanted binding if it may be chosen; false if it
// can't be told, or its sign-on is off.
func (x *prepared) logoutService(binding string) (saml.Endpoint, bool) {
	if !x.active() {
		return saml.Endpoint{}, false
	}
	if binding == "" {
		binding = saml.BindingHTTPRedirect
	}
	return x.sp.LogoutEndpoint(binding)
}

// logout is the dispatcher of a single logout: it asks the next application, answers the one that asked, or shows how it
// went. Loading it again asks nobody twice.
func (p *IDP) logout(w http.ResponseWriter, r *http.Request) error {
	if noHead(w, r) {
		return nil
	}
	p.forget(w, r)
	view := r.URL.Query().Get("flow")
	id, err := p.chainOf(r, view)
	if err != nil {
		return p.staleLogout(w, r, err)
	}
	now := p.now().UTC()
	var c *chain
	var ask *step
	var x *prepared
	var service saml.Endpoint
	var request string
	answers := false
	err = p.db.Update(r.Context(), func(tx *store.Tx) (err error) {
		ask, answers = nil, false
		if c, err = readChain(tx, now, id); err != nil {
			return err
		}
		if c.pending() != nil {
			return nil
		}
		changed := false
		for i := range c.Steps {
			s := &c.Steps[i]
			if s.Result != waiting {
				continue
			}
			changed = true
			x, err = p.byID(tx, s.ApplicationID)
			if err != nil && !problem.Is(err, problem.NotFound) {
				return err
			}
			ok := false
			if err == nil {
				service, ok = x.logoutService("")
			}
			if !ok {
				s.Result = unable
				if err := p.recordStep(tx, now, c, s, ""); err != nil {
					return err
				}
				continue
			}
			token, err := authn.StartFlow(tx, now, stepKind, stepToken{Chain: id, ApplicationID: s.ApplicationID}, p.limits.FlowLife)
			if err != nil {
				return err
			}
			s.Result = asked
			ask, request = s, messageID(token)
			break
		}
		if ask == nil && c.First != nil && !c.Told {
			c.Told, answers, changed = true, true, true
		}
		if !changed {
			return nil
		}
		return authn.RewriteFlow(tx, id, c)
	})
	switch {
	case err != nil:
		return p.staleLogout(w, r, err)
	case ask != nil:
		return p.askToLogOut(w, r, view, c, ask, x, service, request)
	case answers:
		return p.answerLogout(w, r, view, c)
	}
	return p.logoutPage(w, r, view, c)
}

// messageID makes of a step's token the ID of its request: an XML identifier may not begin with every character that a
// token may.
func messageID(token string) string { return "_" + token }

// stepOf is the inverse of messageID.
func stepOf(id string) string { return strings.TrimPrefix(id, "_") }

// chainOf returns the chain that a view in the browser's address stands for.
func (p *IDP) chainOf(r *http.Request, view string) (string, error) {
	f, err := p.authn.Flow(r.Context(), view)
	if err == nil && f.Kind != viewKind {
		err = problem.Wrap(problem.NotFound, authn.ErrStale, "This sign-out belongs to something else.")
	}
	if err != nil {
		return "", err
	}
	var v viewToken
	return v.Chain, json.Unmarshal(f.Data, &v)
}

// forget takes the session's token from the browser if it stands for nothing any more.
func (p *IDP) forget(w http.ResponseWriter, r *http.Request) {
	token := p.cookie.Read(r)
	if token == "" {
		return
	}
	if _, err := p.authn.Session(r.Context(), token); problem.Is(err, problem.Unauthenticated) {
		p.cookie.Clear(w)
	}
}

// askToLogOut leads the browser to an application with our LogoutRequest.
func (p *IDP) askToLogOut(w http.ResponseWriter, r *http.Request, view string, c *chain, s *step, x *prepared, to saml.Endpoint, id string) error {
	now := p.now().UTC()
	m := saml.LogoutRequest{
		ID: id, IssueInstant: now, Destination: to.URL, Issuer: x.app.SAML.IDPEntityID, NotOnOrAfter: now.Add(p.limits.AssertionLife),
		Reason: saml.LogoutByUser, NameID: qualified(x.app, s.Name), SessionIndexes: s.Indexes,
	}
	sending, err := deliver(x, to.Binding, to.URL, saml.ParameterRequest, stepOf(id), func(dst []byte, signed bool) ([]byte, error) {
		if signed {
			return saml.AppendLogoutRequest(dst, &m, x.signer)
		}
		return saml.AppendLogoutRequest(dst, &m, nil)
	})
	if err != nil {
		return fmt.Errorf("idp: logout request for %s: %w", x.app.ID, err)
	}
	sending.To, sending.Theme, sending.Steps, sending.Skip = s.Label, web.ThemeOf(r), c.shown(), view
	return p.sendLogout(w, r, sending)
}

// answerLogout leads the browser back to the application that asked first.
func (p *IDP) answerLogout(w http.ResponseWriter, r *http.Request, view string, c *chain) error {
	var x *prepared
	err := p.db.View(r.Context(), func(tx *store.Tx) (err error) {
		x, err = p.byID(tx, c.First.ApplicationID)
		return err
	})
	// Only at an address that is registered now, whatever was registered when it asked.
	if problem.Is(err, problem.NotFound) || err == nil && !(x.active() && slices.Contains(x.sp.SLO, c.First.Reply)) {
		return p.logoutPage(w, r, view, c)
	}
	if err != nil {
		return err
	}
	// saml-core §3.7.3.2: the session is ended here in any case; the second-level code says that it isn't everywhere.
	status := saml.Status{Code: saml.StatusSuccess}
	if !c.complete() {
		status.SubCode = saml.StatusPartialLogout
	}
	sending, err := p.logoutResponse(x, c.First, status)
	if err != nil {
		return err
	}
	sending.Theme, sending.Steps = web.ThemeOf(r), c.shown()
	return p.sendLogout(w, r, sending)
}

// logoutResponse makes the answer to an application's LogoutRequest.
func (p *IDP) logoutResponse(x *prepared, to *initiator, status saml.Status) (sending, error) {
	m := saml.LogoutResponse{
		ID: saml.NewID(), InResponseTo: to.RequestID, IssueInstant: p.now().UTC(), Destination: to.Reply.ReplyURL(),
		Issuer: x.app.SAML.IDPEntityID, Status: status,
	}
	out, err := deliver(x, to.Reply.Binding, to.Reply.ReplyURL(), saml.ParameterResponse, to.RelayState, func(dst []byte, signed bool) ([]byte, error) {
		if signed {
			return saml.AppendLogoutResponse(dst, &m, x.signer)
		}
		return saml.AppendLogoutResponse(dst, &m, nil)
	})
	if err != nil {
		return out, fmt.Errorf("idp: logout response for %s: %w", x.app.ID, err)
	}
	out.To, out.Back = to.Label, true
	return out, nil
}

// deliver packs a logout message for a binding: into a URL, which carries the signature, or into a form, whose message
// carries it.
func deliver(x *prepared, binding, to, parameter, relayState string, write func(dst []byte, signed bool) ([]byte, error)) (sending, error) {
	if binding == saml.BindingHTTPRedirect {
		xml, err := write(nil, false)
		if err != nil {
			return sending{}, err
		}
		link, err := saml.RedirectURL(to, parameter, xml, relayState, x.signer)
		return sending{URL: link}, err
	}
	xml, err := write(nil, true)
	if err != nil {
		return sending{}, err
	}
	out := sending{URL: to, Fields: []web.Hidden{{Name: parameter, Value: saml.EncodePost(xml)}}}
	if relayState != "" {
		out.Fields = append(out.Fields, web.Hidden{Name: "RelayState", Value: relayState})
	}
	return out, nil
}

// sendLogout shows the page that leads to an application by itself. With a form it works as that of an answer does;
// with a link the browser is told to follow it. A plain redirect would do for one application, but browsers follow only
// some twenty in a row, and a person with ten applications would get no further. (Tried with Chromium under our policy.)
func (p *IDP) sendLogout(w http.ResponseWriter, r *http.Request, s sending) error {
	w.Header().Set("Cache-Control", "no-store")
	if len(s.Fields) > 0 {
		web.AllowFormTarget(w, s.URL)
	} else {
		w.Header().Set("Refresh", "0; url="+s.URL)
	}
	return web.Render(w, r, http.StatusOK, sendingPage(s))
}

// skip goes on without the application that is asked.
func (p *IDP) skip(w http.ResponseWriter, r *http.Request) error {
	view := r.FormValue("flow")
	id, err := p.chainOf(r, view)
	if err != nil {
		return p.staleLogout(w, r, err)
	}
	now := p.now().UTC()
	err = p.db.Update(r.Context(), func(tx *store.Tx) error {
		c, err := readChain(tx, now, id)
		if err != nil {
			return err
		}
		s := c.pending()
		if s == nil || string(s.ApplicationID) != r.FormValue("application") {
			return nil // it has answered meanwhile
		}
		s.Result = silent
		if err := p.recordStep(tx, now, c, s, ""); err != nil {
			return err
		}
		return authn.RewriteFlow(tx, id, c)
	})
	if err != nil {
		return p.staleLogout(w, r, err)
	}
	web.Redirect(w, r, LogoutPath+"?flow="+url.QueryEscape(view))
	return nil
}

// recordStep writes the event of a step that came to an end.
func (p *IDP) recordStep(tx *store.Tx, now time.Time, c *chain, s *step, why string) error {
	outcome, what := audit.Success, "%s signed %s out."
	switch s.Result {
	case silent:
		outcome, what = audit.Failure, "%s gave no valid answer to whether %s is signed out."
	case declined:
		outcome, what = audit.Denied, "%s answered that it didn't sign %s out."
	case unable:
		outcome, what = audit.Failure, "%s can't be told that %s signed out."
	case partly:
		what = "%s signed %s out, but not everywhere."
	}
	d := map[string]any{"result": string(s.Result)}
	if s.Name.Value != "" {
		d["name_id"], d["name_id_format"] = s.Name.Value, s.Name.Format
	}
	if len(s.Indexes) > 0 {
		d["session_index"] = s.Indexes
	}
	if why != "" {
		d["cause"] = clip(why, 500)
	}
	_, err := audit.Record(tx, now, audit.Event{
		Type: audit.SLO, Outcome: outcome, Actor: c.Person, ApplicationID: string(s.ApplicationID),
		Object:  audit.Ref{Kind: audit.KindApplication, ID: string(s.ApplicationID), Name: s.Label},
		Message: fmt.Sprintf(what, s.Label, c.Person.Name), Detail: d,
	})
	return err
}

// logoutPage tells how it went, or goes, application by application.
func (p *IDP) logoutPage(w http.ResponseWriter, r *http.Request, view string, c *chain) error {
	page := p.page(w, r)
	page.HideHeader = true
	v := logoutView{Steps: c.shown(), Flow: view}
	switch s := c.pending(); {
	case s != nil:
		page.Title, v.Icon, v.Pending = "Waiting for "+s.Label, "hourglass", s
		v.Text = "You are signed out here. " + s.Label + " was asked to sign you out too, and hasn't answered yet."
	case c.complete():
		page.Title, v.Icon = "You are signed out", "log-out"
		v.Text = "You are signed out here and of the applications that you used."
	default:
		page.Title, v.Icon = "You are signed out here", "log-out"
		v.Text = "Not every application that you used could be signed out of. On a shared computer, close the browser."
	}
	w.Header().Set("Cache-Control", "no-store")
	return web.Render(w, r, http.StatusOK, logoutResult(page, v))
}

// staleLogout shows that a sign-out is over, or returns the error if it is about something else.
func (p *IDP) staleLogout(w http.ResponseWriter, r *http.Request, err error) error {
	if !errors.Is(err, authn.ErrStale) {
		return err
	}
	page := p.page(w, r)
	page.Title, page.HideHeader = "This sign-out is over", true
	return web.Render(w, r, http.StatusGone, logoutResult(page, logoutView{
		Icon: "hourglass", Text: "It was finished already, or it took too long. You are signed out here. On a shared computer, close the browser.",
	}))
}

// sending is a page that leads to an application with a logout message.
type sending struct {
	To    string
	Theme web.Theme
	// URL is where the message goes: with it, or with a form of Fields.
	URL    string
	Fields []web.Hidden
	Steps  []shownStep
	// Back says that the application asked for it and is answered; Refused, that nobody was signed out.
	Back, Refused bool
	// Skip is the view by which one can go on without the application.
	Skip string
}

// logoutView is what the page about a single logout shows.
type logoutView struct {
	Icon, Text string
	Steps      []shownStep
	Pending    *step
	Flow       string
}

// shownStep is an application in a list, with how it stands.
type shownStep struct {
	Label string
	Badge web.Badge
	Hint  string
}

func (c *chain) shown() []shownStep {
	list := make([]shownStep, 0, len(c.Steps))
	for _, s := range c.Steps {
		x := shownStep{Label: s.Label}
		switch s.Result {
		case waiting:
			x.Badge = web.Badge{Level: web.Neutral, Label: "next"}
		case asked:
			x.Badge = web.Badge{Level: web.Info, Label: "being signed out"}
		case out:
			x.Badge = web.Badge{Level: web.OK, Label: "signed out"}
		case partly:
			x.Badge, x.Hint = web.Badge{Level: web.Warn, Label: "signed out in part"}, "Something that depends on it may still know you."
		case silent:
			x.Badge, x.Hint = web.Badge{Level: web.Warn, Label: "no answer"}, "It may still know you. Open it and sign out there."
		case declined:
			x.Badge, x.Hint = web.Badge{Level: web.Warn, Label: "refused"}, "It didn't sign you out. Open it and sign out there."
		case unable:
			x.Badge, x.Hint = web.Badge{Level: web.Neutral, Label: "can't be signed out from here"}, "Open it and sign out there, or close the browser."
		}
		list = append(list, x)
	}
	return list
}

// title says where the browser is led.
func (s sending) title() string {
	switch {
	case s.Refused:
		return "Going back to " + s.To + "…"
	case s.Back:
		return "You are signed out. Going back to " + s.To + "…"
	}
	return "Signing you out of " + s.To + "…"
}
