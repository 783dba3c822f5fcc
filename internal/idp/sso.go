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
	seen    *state    // what this request has read already, until it is used
	giveUp  bool      // the person has no wish to sign in as somebody else
	came    *saml.Incoming
	tries   int
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

// redirectBinding takes a request by HTTP-Redirect (saml-bindings §3.4).
func (p *IDP) redirectBinding(w http.ResponseWriter, r *http.Request) error {
	if noHead(w, r) {
		return nil
	}
	v, err := p.accept(w, r, func() (saml.Incoming, string, error) {
		in, err := saml.ReadRedirect(r.URL.RawQuery)
		return in, r.URL.RawQuery, err
	})
	if v == nil || err != nil {
		return err
	}
	return p.dispatch(w, r, v)
}

// postBinding takes a request by HTTP-POST (saml-bindings §3.5). The browser sends no session cookie with a post from
// another site (SameSite=Lax), so the request is kept and the browser comes back with a GET.
func (p *IDP) postBinding(w http.ResponseWriter, r *http.Request) error {
	v, err := p.accept(w, r, func() (saml.Incoming, string, error) {
		if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media != "application/x-www-form-urlencoded" {
			return saml.Incoming{}, "", &saml.Error{
				Reason: saml.Malformed, Err: fmt.Errorf("content type %q", media),
				Text: "The sign-in request from the application can't be read. Open the application again; if it happens again, tell your administrator.",
			}
		}
		// One byte more than allowed, so that ReadPost sees that it is too long.
		body, err := io.ReadAll(io.LimitReader(r.Body, saml.MaxPostBody+1))
		if err != nil {
			return saml.Incoming{}, "", problem.Wrap(problem.Invalid, err, "The sign-in request broke off. Open the application again.")
		}
		in, err := saml.ReadPost(body)
		return in, string(body), err
	})
	if v == nil || err != nil {
		return err
	}
	if err := p.start(r, v); err != nil {
		return p.notStarted(w, r, v, err)
	}
	web.Redirect(w, r, resumeAt(v.flow))
	return nil
}

func resumeAt(flow string) string { return ResumePath + "?flow=" + url.QueryEscape(flow) }

// accept finds the application, reads the request and checks it. If it returns no visit and no error, it has answered.
func (p *IDP) accept(w http.ResponseWriter, r *http.Request, read func() (in saml.Incoming, raw string, err error)) (*visit, error) {
	slug := r.PathValue("slug")
	st, err := p.look(r, func(tx *store.Tx) (*prepared, error) { return p.bySlug(tx, slug) })
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
	a := st.app
	if !st.active() {
		return nil, p.refuse(w, r, notReady(a))
	}
	in, raw, err := read()
	var d saml.Decision
	if err == nil {
		d, err = saml.Check(in, st.sp, p.self(a), p.now())
	}
	v := &visit{ReturnTo: ResumePath, Application: a.Label, ApplicationID: a.ID, Decision: &d, Binding: in.Binding(), seen: st, came: &in}
	if len(raw) <= maxRaw {
		v.Raw = raw
	}
	if e, ok := errors.AsType[*saml.Error](err); ok {
		if !e.Sendable() {
			ref := badRequest(a, e)
			ref.came = &in
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
	id := app.ID(r.PathValue("application"))
	st, err := p.look(r, func(tx *store.Tx) (*prepared, error) { return p.byID(tx, id) })
	if problem.Is(err, problem.NotFound) {
		return p.refuse(w, r, &refusal{
			status: http.StatusNotFound, reason: "unknown_application", outcome: audit.Failure, idpInitiated: true,
			Title: "This application doesn't exist any more",
			Text:  "It may have been deleted since you loaded the page with its tile.",
			Next:  "Load your applications again.",
		})
	}
	if err != nil {
		return err
	}
	v := &visit{ReturnTo: ResumePath, Application: st.app.Label, ApplicationID: st.app.ID, seen: st}
	if query := r.URL.Query(); query.Has("RelayState") {
		state := query.Get("RelayState")
		if err := checkRelayState(state); err != nil {
			return p.refuse(w, r, &refusal{
				application: st.app, status: http.StatusBadRequest, reason: "relay_state", outcome: audit.Failure, idpInitiated: true,
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
		a := app.Application{ID: v.ApplicationID, Attributes: app.Attributes{Label: v.Application}}
		return p.refuse(w, r, replayed(a).of(v, authn.Session{}))
	}
	return err
}

// dispatch decides what comes next: sign in first, or the answer.
func (p *IDP) dispatch(w http.ResponseWriter, r *http.Request, v *visit) error {
	st := v.seen
	v.seen = nil
	if st == nil {
		var err error
		st, err = p.look(r, func(tx *store.Tx) (*prepared, error) { return p.byID(tx, v.ApplicationID) })
		if problem.Is(err, problem.NotFound) {
			return p.refuse(w, r, &refusal{
				status: http.StatusNotFound, reason: "unknown_application", outcome: audit.Failure, idpInitiated: v.Decision == nil,
				Title: "This application doesn't exist any more", Text: "It was deleted while you were signing in.",
				Next: "Load your applications again.",
			})
		}
		if err != nil {
			return err
		}
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
		return p.answer(w, r, v, st)
	}
	if !p.proves(v, p.reachable()) {
		return p.decline(w, r, v, s, saml.NoAuthnContext, "The application asks for a way of signing in that is not available here.")
	}
	if v.passive() {
		return p.decline(w, r, v, s, saml.PassiveImpossible, "The application asked to sign you in without showing anything, and you aren't signed in.")
	}
	if v.flow == "" {
		if err := p.start(r, v); err != nil {
			return p.notStarted(w, r, v, err)
		}
	}
	web.Redirect(w, r, p.signInAt(v.flow))
	return nil
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
func (p *IDP) anotherPerson(w http.ResponseWriter, r *http.Request, v *visit, s authn.Session, a app.Application) error {
	if v.passive() || v.giveUp {
		return p.decline(w, r, v, s, saml.UnknownPrincipal, "The application asked for another person than the one who is signed in.")
	}
	if v.flow == "" {
		if err := p.start(r, v); err != nil {
			return p.notStarted(w, r, v, err)
		}
	}
	return p.refuse(w, r, wrongPerson(a, s, v, p.signInAt(v.flow)+"&switch=1").of(v, s))
}
