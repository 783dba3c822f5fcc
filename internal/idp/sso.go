package idp

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// flowKind marks our flows among those of authn.
const flowKind = "saml"

// visit is what a person is here for. It is stored in a flow while they sign in; its first fields are those that the
// sign-in page reads (authn.Flow).
type visit struct {
	ReturnTo      string `json:"returnTo"`
	Application   string `json:"application"`
	ApplicationID app.ID `json:"applicationId"`
	Login         string `json:"login,omitempty"`

	// Decision is the service provider's request; nil if the person started with us.
	Decision *saml.Decision `json:"decision,omitempty"`
	Binding  string         `json:"binding,omitempty"`
	// Raw is the query or form in which the request came, for the inspector.
	Raw string `json:"raw,omitempty"`
	// RelayState, for a visit without request, is the one given by the link; nil means the application's default.
	RelayState *string `json:"relayState,omitempty"`

	flow    string    // the token, once there is a flow
	started time.Time // when the flow began
	giveUp  bool      // the person has no wish to sign in as somebody else
	came    *saml.Incoming
	// judged is what the request was checked against, found at slug; nil if it was checked before.
	judged *prepared
	slug   string
}

// application is what a visit itself knows of its application: enough to speak of it.
func (v *visit) application() app.Application {
	return app.Application{ID: v.ApplicationID, Attributes: app.Attributes{Label: v.Application}}
}

func (v *visit) passive() bool { return v.Decision != nil && v.Decision.Request.IsPassive }
func (v *visit) force() bool   { return v.Decision != nil && v.Decision.Request.ForceAuthn }

// noHead refuses HEAD, which Go routes like GET: nobody signs on by it, and nothing must be stored or recorded for it.
func noHead(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodHead {
		return false
	}
	w.Header().Set("Allow", "GET, POST")
	w.WriteHeader(http.StatusMethodNotAllowed)
	return true
}

// received is what a service provider sent, as far as it can be read.
type received struct {
	in  saml.Incoming
	raw string // the query or form
	err error
}

// redirectBinding takes a request by HTTP-Redirect (saml-bindings §3.4).
func (p *IDP) redirectBinding(w http.ResponseWriter, r *http.Request) error {
	if noHead(w, r) {
		return nil
	}
	msg := received{raw: r.URL.RawQuery}
	msg.in, msg.err = saml.ReadRedirect(msg.raw)
	fresh := false
	for range maxTries {
		v, err := p.accept(w, r, &msg, fresh)
		if v == nil || err != nil {
			return err
		}
		if err := p.dispatch(w, r, v); !errors.Is(err, errChanged) {
			return err
		}
		fresh = true
	}
	return changing()
}

// maxTries is how often something is looked at anew because it changed meanwhile.
const maxTries = 5

func changing() error {
	return problem.New(problem.Unavailable, "The settings of this application are changing right now. Try again in a moment.")
}

// postBinding takes a request by HTTP-POST (saml-bindings §3.5). The browser sends no session cookie with a post from
// another site (SameSite=Lax), so the request is kept and the browser comes back with a GET.
func (p *IDP) postBinding(w http.ResponseWriter, r *http.Request) error {
	msg := readPost(r)
	v, err := p.accept(w, r, &msg, true)
	if v == nil || err != nil {
		return err
	}
	if err := p.start(r, v); err != nil {
		return p.notStarted(w, r, v, err)
	}
	web.Redirect(w, r, resumeAt(v.flow))
	return nil
}

func readPost(r *http.Request) (msg received) {
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media != "application/x-www-form-urlencoded" {
		msg.err = &saml.Error{
			Reason: saml.Malformed, Err: fmt.Errorf("content type %q", media),
			Text: "The sign-in request from the application can't be read. Open the application again; if it happens again, tell your administrator.",
		}
		return msg
	}
	// One byte more than allowed, so that ReadPost sees that it is too long.
	body, err := io.ReadAll(io.LimitReader(r.Body, saml.MaxPostBody+1))
	if err != nil {
		msg.err = problem.Wrap(problem.Invalid, err, "The sign-in request broke off. Open the application again.")
		return msg
	}
	msg.raw = string(body)
	msg.in, msg.err = saml.ReadPost(body)
	return msg
}

func resumeAt(flow string) string { return ResumePath + "?flow=" + url.QueryEscape(flow) }

// accept finds the application and checks the request. If it returns no visit and no error, it has answered.
//
// Unless fresh, the application may be the one in memory, which may have changed since: whoever goes on with the visit
// finds that out. Nobody is refused for what is in memory.
func (p *IDP) accept(w http.ResponseWriter, r *http.Request, msg *received, fresh bool) (*visit, error) {
	slug := r.PathValue("slug")
	var x *prepared
	if !fresh {
		if x = p.remembering(slug); x == nil || !x.active() {
			fresh = true
		}
	}
	if fresh {
		err := p.db.View(r.Context(), func(tx *store.Tx) (err error) {
			x, err = p.bySlug(tx, slug)
			return err
		})
		if problem.Is(err, problem.NotFound) {
			return nil, p.refuse(w, r, &refusal{
				status: http.StatusNotFound, reason: "unknown_application", outcome: audit.Failure,
				Title: "There is no application at this address",
				Text:  "The sign-in address ends in “" + shown(slug) + "”, and no application here answers to that. It may have been deleted, or the address in the application's settings is mistyped.",
				Next:  "Tell your administrator which application you wanted to open.",
			})
		}
		if err != nil {
			return nil, err
		}
	}
	a := x.app
	if !x.active() {
		return nil, p.refuse(w, r, notReady(a))
	}
	d, err := saml.Decision{}, msg.err
	if err == nil {
		d, err = saml.Check(msg.in, x.sp, p.self(a), p.now())
	}
	if err != nil && !fresh {
		return p.accept(w, r, msg, true)
	}
	v := &visit{
		ReturnTo: ResumePath, Application: a.Label, ApplicationID: a.ID, Decision: &d, Binding: msg.in.Binding(),
		judged: x, slug: slug, came: &msg.in,
	}
	if len(msg.raw) <= maxRaw {
		v.Raw = msg.raw
	}
	if e, ok := errors.AsType[*saml.Error](err); ok {
		if !e.Sendable() {
			ref := badRequest(a, e)
			ref.came = &msg.in
			return nil, p.refuse(w, r, ref)
		}
		// Who asks and where the answer goes are known, so the application is told.
		d = saml.Decision{Request: saml.AuthnRequest{ID: e.Reply.InResponseTo, Issuer: a.SAML.SPEntityID}, Reply: e.Reply}
		return nil, p.sendStatus(w, r, v, authn.Session{}, e)
	}
	if err != nil {
		return nil, err
	}
	if d.Request.HasSubject {
		v.Login = d.Request.Subject.Value
	}
	return v, nil
}

// launch begins a sign-on at our own side: the person clicked a tile. ?RelayState= may name the page to land on.
func (p *IDP) launch(w http.ResponseWriter, r *http.Request) error {
	if noHead(w, r) {
		return nil
	}
	v := &visit{ReturnTo: ResumePath, ApplicationID: app.ID(r.PathValue("application"))}
	if query := r.URL.Query(); query.Has("RelayState") {
		state := query.Get("RelayState")
		if err := checkRelayState(state); err != nil {
			var x *prepared
			if err := p.db.View(r.Context(), func(tx *store.Tx) (err error) {
				x, err = p.byID(tx, v.ApplicationID)
				return err
			}); err != nil {
				return p.noApplication(w, r, v, err)
			}
			return p.refuse(w, r, &refusal{
				application: x.app, status: http.StatusBadRequest, reason: "relay_state", outcome: audit.Failure, idpInitiated: true,
				Title: "This link can't be followed", Text: problem.Public(err),
				Next: "Open the application from your portal instead.",
			})
		}
		v.RelayState = &state
	}
	return p.dispatch(w, r, v)
}

// maxRelayState bounds what a link may give, in bytes.
const maxRelayState = 4 << 10

// checkRelayState refuses what no application has a use for: it will be told to go there.
func checkRelayState(s string) error {
	scheme, _, isURL := strings.Cut(strings.ToLower(strings.TrimSpace(s)), ":")
	switch {
	case len(s) > maxRelayState:
		return problem.New(problem.Invalid, "The place in the application that the link names is too long.")
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return problem.New(problem.Invalid, "The place in the application that the link names can't be read.")
	case isURL && (scheme == "javascript" || scheme == "data" || scheme == "vbscript" || scheme == "file" || scheme == "blob"),
		strings.Contains(s, "://") && scheme != "http" && scheme != "https":
		return problem.New(problem.Invalid, "The place in the application that the link names isn't a web address.")
	}
	return nil
}

// resume goes on with a flow, after sign-in or after a request by POST.
func (p *IDP) resume(w http.ResponseWriter, r *http.Request) error {
	if noHead(w, r) {
		return nil
	}
	token := r.URL.Query().Get("flow")
	f, err := p.authn.Flow(r.Context(), token)
	if err == nil && f.Kind != flowKind {
		err = problem.Wrap(problem.NotFound, authn.ErrStale, "This sign-in belongs to something else.")
	}
	if errors.Is(err, authn.ErrStale) {
		return p.refuse(w, r, stale())
	}
	if err != nil {
		return err
	}
	v := &visit{}
	if err := json.Unmarshal(f.Data, v); err != nil {
		return fmt.Errorf("idp: flow: %w", err)
	}
	v.flow, v.started = token, f.CreatedAt
	v.giveUp = r.URL.Query().Has("give_up")
	return p.dispatch(w, r, v)
}

// start stores the visit in a flow, unless its request was answered already.
func (p *IDP) start(r *http.Request, v *visit) error {
	return p.db.Update(r.Context(), func(tx *store.Tx) (err error) {
		if v.Decision != nil {
			if done, err := answered(tx, v.ApplicationID, v.Decision.Request.ID); err != nil || done {
				return cmp.Or(err, errReplayed)
			}
		}
		v.started = p.now()
		v.flow, err = authn.StartFlow(tx, v.started, flowKind, v, p.limits.FlowLife)
		return err
	})
}

// notStarted shows why a flow was not begun.
func (p *IDP) notStarted(w http.ResponseWriter, r *http.Request, v *visit, err error) error {
	if errors.Is(err, errReplayed) {
		return p.refuse(w, r, replayed(v.application()).of(v, authn.Session{}))
	}
	return err
}

// dispatch decides what comes next, in one transaction, and does it. It fails with errChanged, and nothing has happened,
// if the visit's request was judged by settings that don't hold any more.
func (p *IDP) dispatch(w http.ResponseWriter, r *http.Request, v *visit) error {
	token, run := p.cookie.Read(r), p.db.Update
	if token == "" {
		run = p.db.View // without a session nothing is recorded
	}
	var do next
	var err error
	for range maxTries {
		err = run(r.Context(), func(tx *store.Tx) (err error) {
			do, err = p.decide(tx, r, v, token)
			return err
		})
		if store.Foreign(err) { // the session or the application is gone since
			err = errChanged
		}
		if !errors.Is(err, errChanged) || v.judged != nil {
			break
		}
	}
	switch {
	case err == nil:
		return do(w, r)
	case errors.Is(err, authn.ErrStale):
		return p.refuse(w, r, stale().of(v, authn.Session{}))
	case errors.Is(err, errReplayed):
		return p.refuse(w, r, replayed(v.application()).of(v, authn.Session{}))
	case errors.Is(err, errChanged) && v.judged == nil:
		return changing()
	}
	return p.noApplication(w, r, v, err)
}

// noApplication refuses a visit if err says that its application is gone; else it returns err.
func (p *IDP) noApplication(w http.ResponseWriter, r *http.Request, v *visit, err error) error {
	if !problem.Is(err, problem.NotFound) {
		return err
	}
	ref := &refusal{
		status: http.StatusNotFound, reason: "unknown_application", outcome: audit.Failure, idpInitiated: v.Decision == nil,
		Title: "This application doesn't exist any more", Text: "It was deleted while you were signing in.",
		Next: "Load your applications again.",
	}
	if v.flow == "" {
		ref.Text = "It may have been deleted since you loaded the page with its tile."
	}
	return p.refuse(w, r, ref)
}

// decide tells what comes next: sign in first, or the answer. It has no effect but on tx.
func (p *IDP) decide(tx *store.Tx, r *http.Request, v *visit, token string) (next, error) {
	st, err := p.look(tx, v, token)
	if err != nil {
		return nil, err
	}
	s := st.session
	again := v.flow != "" && !s.AuthenticatedAt.Before(v.started) // the person signed in since they set out
	switch {
	case !st.signedIn():
	case v.force() && !again:
		// A session isn't enough: the service provider wants a proof given after it asked.
	case !p.proves(v, p.achieved(s)) && !again:
		// Nor is it if another proof is asked for that signing in anew may give.
	default:
		return p.answer(tx, r, v, st)
	}
	if !p.proves(v, p.reachable()) {
		return p.declining(v, s, saml.NoAuthnContext, "The application asks for a way of signing in that is not available here.")
	}
	if v.passive() {
		return p.declining(v, s, saml.PassiveImpossible, "The application asked to sign you in without showing anything, and you aren't signed in.")
	}
	label := st.app.Label
	return func(w http.ResponseWriter, r *http.Request) error {
		v.Application = label
		if v.flow == "" {
			if err := p.start(r, v); err != nil {
				return p.notStarted(w, r, v, err)
			}
		}
		web.Redirect(w, r, p.signInAt(v.flow))
		return nil
	}, nil
}

// signInAt is the sign-in page for a flow.
func (p *IDP) signInAt(flow string) string { return p.signIn + "?flow=" + url.QueryEscape(flow) }

// proves reports whether classes are enough for what the service provider asks (saml-core §3.3.2.2.1).
func (p *IDP) proves(v *visit, classes []string) bool {
	if v.Decision == nil {
		return true
	}
	_, ok := v.Decision.Request.RequestedAuthnContext.Choose(contextOrder, classes...)
	return ok
}

// anotherPerson says that the service provider asks for somebody else than who is signed in (saml-core §3.4.1): the
// answer must not be about another person. Where something may be shown the person can sign in as the other one.
func (p *IDP) anotherPerson(v *visit, s authn.Session, a app.Application) (next, error) {
	if v.passive() || v.giveUp {
		return p.declining(v, s, saml.UnknownPrincipal, "The application asked for another person than the one who is signed in.")
	}
	return func(w http.ResponseWriter, r *http.Request) error {
		if v.flow == "" {
			if err := p.start(r, v); err != nil {
				return p.notStarted(w, r, v, err)
			}
		}
		return p.refuse(w, r, wrongPerson(a, s, v, p.signInAt(v.flow)+"&switch=1").of(v, s))
	}, nil
}
