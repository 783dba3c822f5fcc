package idp

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// ExchangeKind is what an exchange was about.
type ExchangeKind string

// The kinds: a sign-on, an application's request to sign somebody out, and its answer to ours.
const (
	SignOnExchange         ExchangeKind = "sign_on"
	LogoutRequestExchange  ExchangeKind = "logout_request"
	LogoutResponseExchange ExchangeKind = "logout_response"
)

// Exchange is what went on between an application and us once, for people who look for a fault. Messages are redacted
// before they are kept (saml.Redact).
type Exchange struct {
	ID            string        `json:"id"`
	ApplicationID app.ID        `json:"applicationId"`
	Kind          ExchangeKind  `json:"kind"`
	Outcome       audit.Outcome `json:"outcome"`
	// Reason is a stable word for why it ended otherwise than in a success; "" if it didn't.
	Reason   string `json:"reason,omitempty"`
	UserID   string `json:"userId,omitempty"`
	UserName string `json:"userName,omitempty"`
	// Correlation is the request's id, by which events and log lines are found.
	Correlation string    `json:"correlation,omitempty"`
	At          time.Time `json:"at"`
	// Request is what the application sent; nil if the person started with us. Response is what it was sent; nil if it
	// was sent nothing.
	Request  *ExchangedMessage `json:"request,omitempty"`
	Response *ExchangedMessage `json:"response,omitempty"`
	// Failed is how many checks of both failed.
	Failed int `json:"failed"`
}

// ExchangedMessage is one message with what each check says about it.
type ExchangedMessage struct {
	// Binding is the URI of the binding.
	Binding string `json:"binding"`
	// RelayState tells its shape only.
	RelayState string         `json:"relayState,omitempty"`
	XML        string         `json:"xml,omitempty"`
	Findings   []saml.Finding `json:"findings,omitempty"`
}

// sighting is an exchange as the hot path leaves it: nothing of it is worked out yet.
type sighting struct {
	x           *prepared
	self        saml.IdentityProvider
	kind        ExchangeKind
	outcome     audit.Outcome
	reason      string
	person      access.Actor
	correlation string
	at          time.Time

	came *saml.Incoming
	// raw and binding are of a request that was kept in a flow; it is read once more.
	raw, binding string
	arrived      time.Time

	sent       []byte
	relayState string
}

// Bounds of what is recorded. The inspector is for the last exchanges, not for all: those are in the events.
const (
	kept         = 50 // exchanges of an application
	keptStranger = 25 // of those, failures of people who weren't signed in, so that nobody can push the others out
	queueLength  = 256
	batchLength  = 32
	batchTime    = time.Second
	maxRaw       = 16 << 10 // bytes of a request that is kept in a flow for the inspector
)

// recorder takes sightings off the hot path.
type recorder struct {
	queue chan sighting
	all   *rate.Limiter
}

func newRecorder() *recorder {
	return &recorder{queue: make(chan sighting, queueLength), all: rate.NewLimiter(20, 100)}
}

// pace bounds what is recorded of one application.
type pace struct{ success, failure, stranger *rate.Limiter }

func newPace() pace {
	return pace{success: rate.NewLimiter(1, 20), failure: rate.NewLimiter(2, 50), stranger: rate.NewLimiter(0.5, 10)}
}

func (l pace) allow(outcome audit.Outcome, known bool) bool {
	switch {
	case outcome == audit.Success:
		return l.success.Allow()
	case known:
		return l.failure.Allow()
	}
	return l.stranger.Allow()
}

// wants reports whether an exchange is to be recorded: not if there were very many just now.
func (p *IDP) wants(x *prepared, outcome audit.Outcome, known bool) bool {
	return x != nil && x.active() && x.pace.allow(outcome, known) && p.recorder.all.Allow()
}

// note hands a sighting over. It never waits: if nobody keeps up, the sighting is lost.
func (p *IDP) note(s sighting) {
	s.self = p.self(s.x.app)
	select {
	case p.recorder.queue <- s:
	default:
	}
}

// noteAnswer records a sign-on that succeeded.
func (p *IDP) noteAnswer(r *http.Request, v *visit, st *state, xml []byte, relayState string) {
	if !p.wants(st.prepared, audit.Success, true) {
		return
	}
	p.note(sighting{
		x: st.prepared, kind: SignOnExchange, outcome: audit.Success, person: p.actor(r, st.session), correlation: web.RequestID(r.Context()),
		at: p.now().UTC(), came: v.came, raw: v.Raw, binding: v.Binding, arrived: v.started, sent: append([]byte(nil), xml...), relayState: relayState,
	})
}

// noteRefusal records a sign-on that ended otherwise.
func (p *IDP) noteRefusal(r *http.Request, ref *refusal) {
	if ref.event != "" || ref.application.ID == "" {
		return
	}
	p.mu.Lock()
	x := p.prepared[ref.application.ID]
	p.mu.Unlock()
	if !p.wants(x, ref.outcome, ref.session.ID != "") {
		return
	}
	s := sighting{
		x: x, kind: SignOnExchange, outcome: ref.outcome, reason: ref.reason, correlation: web.RequestID(r.Context()), at: p.now().UTC(),
		came: ref.came, sent: append([]byte(nil), ref.sent...),
	}
	if v := ref.visit; v != nil {
		s.raw, s.binding, s.arrived = v.Raw, v.Binding, v.started
		if s.came == nil {
			s.came = v.came
		}
	}
	if ref.session.ID != "" {
		s.person = p.actor(r, ref.session)
	}
	p.note(s)
}

// noteLogout records a logout message that came in.
func (p *IDP) noteLogout(m message, outcome audit.Outcome, reason string, by access.Actor, correlation string) {
	if !p.wants(m.x, outcome, by.ID != "") {
		return
	}
	kind := LogoutRequestExchange
	if m.in.Message() == "LogoutResponse" {
		kind = LogoutResponseExchange
	}
	p.note(sighting{
		x: m.x, kind: kind, outcome: outcome, reason: reason, person: by, correlation: correlation, at: m.at, came: &m.in,
	})
}

// Run records exchanges until ctx ends, and then what is still waiting. Nothing is recorded without it; sign-on works all
// the same.
func (p *IDP) Run(ctx context.Context) error {
	tick := time.NewTicker(batchTime)
	defer tick.Stop()
	var batch []sighting
	// A batch that is begun is written, also when ctx ends meanwhile.
	flush := func() {
		if len(batch) == 0 {
			return
		}
		writing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := p.keep(writing, batch); err != nil {
			p.log.WarnContext(ctx, "exchanges were not recorded", "error", err)
		}
		batch = nil
	}
	for {
		select {
		case s := <-p.recorder.queue:
			if batch = append(batch, s); len(batch) == batchLength {
				flush()
			}
		case <-tick.C:
			flush()
		case <-ctx.Done():
			for {
				select {
				case s := <-p.recorder.queue:
					batch = append(batch, s)
					continue
				default:
				}
				flush()
				return nil
			}
		}
	}
}

// content is what an exchange keeps as JSON.
type content struct {
	Request  *ExchangedMessage `json:"request,omitempty"`
	Response *ExchangedMessage `json:"response,omitempty"`
	Failed   int               `json:"failed,omitempty"`
}

// read works out what people are shown of a sighting.
func (s *sighting) read() content {
	var c content
	came, at := s.came, s.at
	if came == nil && s.raw != "" {
		in, _ := readRaw(s.binding, s.raw) // what can't be read is explained as such
		came, at = &in, s.arrived
	}
	if came != nil {
		c.Request = &ExchangedMessage{
			Binding: came.Binding(), RelayState: shape(came.RelayState()), XML: saml.Redact(came.XML()),
			Findings: saml.Explain(*came, s.x.sp, s.self, at),
		}
	}
	if len(s.sent) > 0 {
		self := s.self
		self.Certificates = append(self.Certificates, s.x.signer.Certificate())
		c.Response = &ExchangedMessage{
			Binding: saml.BindingHTTPPost, RelayState: shape(s.relayState), XML: saml.Redact(s.sent),
			Findings: saml.ExplainResponse(s.sent, s.x.sp, self, s.at),
		}
	}
	c.Failed = failures(c.Request) + failures(c.Response)
	return c
}

func readRaw(binding, raw string) (saml.Incoming, error) {
	if binding == saml.BindingHTTPPost {
		return saml.ReadPost([]byte(raw))
	}
	return saml.ReadRedirect(raw)
}

func failures(m *ExchangedMessage) int {
	n := 0
	if m != nil {
		for _, f := range m.Findings {
			if f.Verdict == saml.Fail {
				n++
			}
		}
	}
	return n
}

// shape tells what kind of thing a RelayState is. Its path and query may hold what is secret at the application.
func shape(relayState string) string {
	if relayState == "" {
		return ""
	}
	if u, err := url.Parse(relayState); err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" {
		return u.Scheme + "://" + clip(u.Host, 255) + "/… (" + count(relayState) + ")"
	}
	return "(" + count(relayState) + ")"
}

// keep writes sightings, and drops the oldest exchanges of their applications.
func (p *IDP) keep(ctx context.Context, batch []sighting) error {
	texts := make([]string, len(batch))
	for i := range batch {
		raw, err := json.Marshal(batch[i].read())
		if err != nil {
			return err
		}
		texts[i] = string(raw)
	}
	return p.db.Update(ctx, func(tx *store.Tx) error {
		touched := map[app.ID]bool{}
		for i := range batch {
			s := &batch[i]
			n, err := tx.Exec(`INSERT INTO saml_exchanges (id, application_id, kind, outcome, reason, user_id, user_name, correlation, content, created_at)
				SELECT $1, id, $3, $4, $5, $6, $7, $8, $9, $10 FROM applications WHERE id = $2`,
				store.NewID(), string(s.x.app.ID), string(s.kind), string(s.outcome), s.reason, s.person.ID, s.person.Name, s.correlation,
				texts[i], store.Micros(s.at))
			if err != nil {
				return err
			}
			touched[s.x.app.ID] = touched[s.x.app.ID] || n > 0
		}
		for id, any := range touched {
			if !any {
				continue
			}
			for _, q := range []string{
				`DELETE FROM saml_exchanges WHERE application_id = $1 AND user_id = '' AND id < (SELECT id FROM saml_exchanges
					WHERE application_id = $1 AND user_id = '' ORDER BY id DESC LIMIT 1 OFFSET $2)`,
				`DELETE FROM saml_exchanges WHERE application_id = $1 AND id < (SELECT id FROM saml_exchanges
					WHERE application_id = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)`,
			} {
				offset := kept - 1
				if strings.Contains(q, "user_id") {
					offset = keptStranger - 1
				}
				if _, err := tx.Exec(q, string(id), offset); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func scanExchange(r store.Row) (Exchange, error) {
	var x Exchange
	var text string
	var at int64
	if err := r.Scan(&x.ID, &x.ApplicationID, &x.Kind, &x.Outcome, &x.Reason, &x.UserID, &x.UserName, &x.Correlation, &text, &at); err != nil {
		return x, err
	}
	var c content
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return x, err
	}
	x.At, x.Request, x.Response, x.Failed = store.FromMicros(at), c.Request, c.Response, c.Failed
	return x, nil
}

const selectExchange = `SELECT id, application_id, kind, outcome, reason, user_id, user_name, correlation, content, created_at FROM saml_exchanges WHERE `

// mayInspect returns nil if the actor may look at exchanges, which are about applications and people.
func mayInspect(by access.Actor) error {
	if err := access.Allow(by, access.ReadApplications); err != nil {
		return err
	}
	return access.Allow(by, access.ReadDirectory)
}

// Exchanges returns a page of an application's last exchanges, newest first, without the messages' XML and findings: at
// most some 50 are kept, and of very many at once not all. limit is 20 when zero. Needs ReadApplications and
// ReadDirectory.
func (p *IDP) Exchanges(ctx context.Context, by access.Actor, id app.ID, cursor string, limit int) (store.Page[Exchange], error) {
	var page store.Page[Exchange]
	if err := mayInspect(by); err != nil {
		return page, err
	}
	keys, err := store.DecodeCursor(cursor, 1)
	if err != nil {
		return page, err
	}
	limit = store.PageLimit(limit, 20)
	err = p.db.View(ctx, func(tx *store.Tx) (err error) {
		if _, err := app.VersionOf(tx, id); err != nil {
			return err
		}
		if page.Total, err = store.One(tx, store.Scalar[int], `SELECT count(*) FROM saml_exchanges WHERE application_id = $1`, string(id)); err != nil {
			return err
		}
		query, args := `application_id = $1`, []any{string(id), limit + 1}
		if keys != nil {
			query, args = query+` AND id < $3`, append(args, keys[0])
		}
		page.Items, err = store.All(tx, scanExchange, selectExchange+query+` ORDER BY id DESC LIMIT $2`, args...)
		return err
	})
	if err != nil {
		return store.Page[Exchange]{}, err
	}
	if len(page.Items) > limit {
		page.Items = page.Items[:limit]
		page.Next = store.EncodeCursor(page.Items[limit-1].ID)
	}
	for i := range page.Items {
		for _, m := range []*ExchangedMessage{page.Items[i].Request, page.Items[i].Response} {
			if m != nil {
				m.XML, m.Findings = "", nil
			}
		}
	}
	return page, nil
}

// Exchange returns one exchange in full. Needs ReadApplications and ReadDirectory.
func (p *IDP) Exchange(ctx context.Context, by access.Actor, exchangeID string) (Exchange, error) {
	var x Exchange
	if err := mayInspect(by); err != nil {
		return x, err
	}
	err := p.db.View(ctx, func(tx *store.Tx) (err error) {
		x, err = store.One(tx, scanExchange, selectExchange+`id = $1`, exchangeID)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return x, problem.New(problem.NotFound, "There is no such exchange. Only the last ones are kept; a newer one has taken its place.")
	}
	return x, err
}

func count(s string) string { return strconv.Itoa(len(s)) + " bytes" }
