// Package mail sends what people have to know to their mailboxes. It hides how a mail waits, sealed, in the database
// until a server took it, how it is tried again, and how it is sent.
//
//	Queue ──▶ waiting ──▶ sent
//	            ▲  │
//	      Retry │  └──▶ failed (refused for good, or for days)
//	            └────────┘
//
// A mail is queued in the transaction of what it tells, so that neither exists without the other. A program that is
// killed between the server's word and ours sends the mail again: it may come twice, never not at all. Its Message-ID is
// the same then, by which many mailboxes know it.
package mail

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/mail"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/work"
)

// Kind is the kind of the lanes that send mail.
const Kind = "mail"

// Sealer seals texts at rest for one place; *keys.Sealer is one.
type Sealer interface {
	Seal(plain []byte, place string) (string, error)
	Open(sealed, place string) ([]byte, error)
}

// Sender hands one message over, within the context's time. An error of kind Invalid means that trying again is of no
// use; any other is tried again. Its public text is shown to administrators.
type Sender interface {
	Send(ctx context.Context, m Message) error
}

// Config is what a Mailer works with. Sender and Organization may be nil.
type Config struct {
	DB     *store.DB
	Sealer Sealer
	Pool   *work.Pool
	Now    func() time.Time
	Log    *slog.Logger
	// Sender is nil where no mail is set up: then Queue stores nothing.
	Sender Sender
	// Organization names whose mail it is; "" is Latchkey's.
	Organization func(*store.Tx) (string, error)
}

// Mail is one mail to one person.
type Mail struct {
	// Kind is a stable word for what it is about, e.g. "reminder".
	Kind string
	// To is an e-mail address without a name.
	To string
	// Subject is kept unsealed, so it must hold no secret.
	Subject string
	// Text is plain text: paragraphs with an empty line between them.
	Text string
	// HTML is the body of the same as HTML; "" makes it of Text.
	HTML string
	// Cause is the id of the event that it tells of.
	Cause string
}

// Message is a mail on its way.
type Message struct {
	ID string
	// FromName is whose mail it is.
	FromName  string
	To        string
	Subject   string
	Text      string
	HTML      string
	CreatedAt time.Time
}

// State is what became of a mail.
type State string

// The states.
const (
	Waiting State = "waiting"
	Sent    State = "sent"
	Failed  State = "failed"
)

// Status is a mail as it is listed: never its content.
type Status struct {
	ID      string
	Kind    string
	To      string
	Subject string
	State   State
	// Attempts is how often it was tried, Error what went wrong the last time; "" if nothing did.
	Attempts  int
	Error     string
	Cause     string
	CreatedAt time.Time
	// SentAt is zero until it was.
	SentAt time.Time
}

// Mailer queues and sends mail. It is safe for concurrent use. A nil one is one that isn't set up.
type Mailer struct {
	db     *store.DB
	sealer Sealer
	now    func() time.Time
	log    *slog.Logger
	sender Sender
	name   func(*store.Tx) (string, error)
}

// sendTime bounds one attempt, workers is how many are made at once on each replica.
const (
	sendTime = 90 * time.Second
	workers  = 2
)

// New returns a mailer, and registers with the pool what sends and what tidies up.
func New(c Config) *Mailer {
	m := &Mailer{db: c.DB, sealer: c.Sealer, now: c.Now, log: c.Log, sender: c.Sender, name: c.Organization}
	if m.sender != nil {
		c.Pool.Handle(Kind, work.Options{Workers: workers}, m.deliver)
	}
	c.Pool.Every("prune mail", 24*time.Hour, m.Prune)
	return m
}

// Configured reports whether mail is sent at all.
func (m *Mailer) Configured() bool { return m != nil && m.sender != nil }

// Queue stores a mail in the transaction of what it tells; it is sent once that is durable. It returns false, and stores
// nothing, where no mail is set up. A wrong address or subject is Invalid, with the fields "to" and "subject".
func (m *Mailer) Queue(tx *store.Tx, now time.Time, x Mail) (bool, error) {
	if err := x.check(); err != nil {
		return false, err
	}
	if !m.Configured() {
		return false, nil
	}
	err := m.insert(tx, now, store.NewID(), x, Waiting, "")
	return err == nil, err
}

func (m *Mailer) insert(tx *store.Tx, now time.Time, id string, x Mail, state State, failure string) error {
	sealed := ""
	if state != Sent {
		raw, err := json.Marshal(content{x.Text, x.HTML})
		if err != nil {
			return fmt.Errorf("mail: %w", err)
		}
		if sealed, err = m.sealer.Seal(raw, place(id)); err != nil {
			return fmt.Errorf("mail: %w", err)
		}
	}
	sent, attempts := time.Time{}, 0
	if state != Waiting {
		attempts = 1
	}
	if state == Sent {
		sent = now
	}
	_, err := tx.Exec(`INSERT INTO mails (id, kind, recipient, subject, content, state, attempts, error, cause, created_at, sent_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		id, x.Kind, x.To, x.Subject, sealed, string(state), attempts, failure, x.Cause, store.Micros(now), store.Micros(sent))
	if err != nil {
		return fmt.Errorf("mail: queue: %w", err)
	}
	if state != Waiting {
		return nil
	}
	return work.Want(tx, now, work.Lane{Kind: Kind, Key: id, Cause: x.Cause})
}

// content is what is sealed.
type content struct {
	Text string `json:"text"`
	HTML string `json:"html"`
}

func place(id string) string { return "mails/" + id + "/content" }

func (x *Mail) check() error {
	var f problem.Fields
	if err := CheckAddress(x.To); err != nil {
		f.Add("to", "%s", problem.Public(err))
	}
	if x.Subject == "" || !oneLine(x.Subject) || utf8.RuneCountInString(x.Subject) > 200 {
		f.Add("subject", "A subject is one line of at most 200 characters.")
	}
	return f.Err()
}

// CheckAddress reports whether mail can be addressed so: a bare address without name, comment or line break.
func CheckAddress(address string) error {
	parsed, err := mail.ParseAddress(address)
	if err != nil || parsed.Address != address || parsed.Name != "" || len(address) > 254 || !oneLine(address) ||
		strings.ContainsAny(address, " <>(),;:\"\\") {
		return problem.New(problem.Invalid, "Give one e-mail address, like ada@example.com.")
	}
	return nil
}

// oneLine reports whether a text can stand in a header.
func oneLine(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' })
}

// Time of trying: a wait of a minute doubles up to an hour, and after days it is given up.
const (
	firstWait = time.Minute
	longest   = time.Hour
	giveUp    = 3 * 24 * time.Hour
)

func wait(attempt int) time.Duration {
	d := min(firstWait<<min(max(attempt-1, 0), 6), longest)
	return d*3/4 + rand.N(d/2)
}

// deliver sends one mail.
func (m *Mailer) deliver(ctx context.Context, l work.Lease) error {
	msg, attempts, err := m.load(ctx, l.Key)
	if errors.Is(err, store.ErrNotFound) {
		return nil // sent, or pruned
	}
	if err == nil {
		err = m.send(ctx, msg)
	}
	if err != nil && ctx.Err() != nil {
		return err // the end of the program is no failure of the mail
	}
	now := m.now().UTC()
	attempts++
	switch {
	case err == nil:
		return m.db.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
			if _, err := tx.Exec(`UPDATE mails SET state = 'sent', content = '', attempts = $1, error = '', sent_at = $2 WHERE id = $3`,
				attempts, store.Micros(now), l.Key); err != nil {
				return err
			}
			return l.Done(tx)
		})
	case problem.Is(err, problem.Invalid), now.Sub(l.Since) >= giveUp:
		m.log.Warn("a mail can't be delivered", "mail", l.Key, "attempts", attempts, "error", err)
		return m.db.Update(ctx, func(tx *store.Tx) error {
			if err := setFailure(tx, l.Key, Failed, attempts, err); err != nil {
				return err
			}
			return l.Done(tx)
		})
	default:
		m.log.Info("a mail will be tried again", "mail", l.Key, "attempts", attempts, "error", err)
		if err := m.db.Update(ctx, func(tx *store.Tx) error { return setFailure(tx, l.Key, Waiting, attempts, err) }); err != nil {
			return err
		}
		return work.RetryAfter(wait(attempts), problem.Public(err))
	}
}

func setFailure(tx *store.Tx, id string, state State, attempts int, cause error) error {
	_, err := tx.Exec(`UPDATE mails SET state = $1, attempts = $2, error = $3 WHERE id = $4`,
		string(state), attempts, problem.Public(cause), id)
	return err
}

// load returns a waiting mail and how often it was tried; store.ErrNotFound if it doesn't wait.
func (m *Mailer) load(ctx context.Context, id string) (Message, int, error) {
	var msg Message
	var attempts int
	err := m.db.View(ctx, func(tx *store.Tx) error {
		var sealed string
		var created int64
		_, err := store.One(tx, func(r store.Row) (struct{}, error) {
			return struct{}{}, r.Scan(&msg.ID, &msg.To, &msg.Subject, &sealed, &attempts, &created)
		}, `SELECT id, recipient, subject, content, attempts, created_at FROM mails WHERE id = $1 AND state = 'waiting'`, id)
		if err != nil {
			return err
		}
		msg.CreatedAt = store.FromMicros(created)
		raw, err := m.sealer.Open(sealed, place(id))
		if err != nil {
			return problem.Wrap(problem.Invalid, err, "This mail can't be read: it was sealed under another master key.")
		}
		var c content
		if err := json.Unmarshal(raw, &c); err != nil {
			return fmt.Errorf("mail: content of %s: %w", id, err)
		}
		return m.finish(tx, &msg, c.Text, c.HTML)
	})
	return msg, attempts, err
}

// finish puts the organization's name on a message.
func (m *Mailer) finish(tx *store.Tx, msg *Message, text, html string) error {
	name := ""
	if m.name != nil {
		var err error
		if name, err = m.name(tx); err != nil {
			return err
		}
	}
	if name == "" || !oneLine(name) {
		name = "Latchkey"
	}
	msg.FromName, msg.Text = name, textBody(name, text)
	if html == "" {
		html = paragraphs(text)
	}
	msg.HTML = htmlBody(name, msg.Subject, html)
	return nil
}

func (m *Mailer) send(ctx context.Context, msg Message) error {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	return m.sender.Send(ctx, msg)
}

// Test sends a short mail now, past the queue, and returns what went wrong. It is listed like others. Needs
// ManageSettings.
func (m *Mailer) Test(ctx context.Context, by access.Actor, to string) error {
	if err := access.Allow(by, access.ManageSettings); err != nil {
		return err
	}
	if !m.Configured() {
		return problem.New(problem.Unavailable, "No mail is set up. Set mail.host and mail.from in the configuration, and start Latchkey again.")
	}
	x := Mail{
		Kind: "test", To: strings.TrimSpace(to), Subject: "Test of mail from Latchkey",
		Text: fmt.Sprintf("Mail from Latchkey reaches this mailbox.\n\n%s asked for this test. There is nothing to do.", by.Name),
	}
	if err := x.check(); err != nil {
		return err
	}
	now := m.now().UTC()
	msg := Message{ID: store.NewID(), To: x.To, Subject: x.Subject, CreatedAt: now}
	if err := m.db.View(ctx, func(tx *store.Tx) error { return m.finish(tx, &msg, x.Text, "") }); err != nil {
		return err
	}
	failed := m.send(ctx, msg)
	state, failure := Sent, ""
	if failed != nil {
		state, failure = Failed, problem.Public(failed)
	}
	err := m.db.Update(ctx, func(tx *store.Tx) error { return m.insert(tx, now, msg.ID, x, state, failure) })
	if failed != nil {
		return failed
	}
	return err
}

const statusColumns = `id, kind, recipient, subject, state, attempts, error, cause, created_at, sent_at`

func scanStatus(r store.Row) (Status, error) {
	var s Status
	var created, sent int64
	err := r.Scan(&s.ID, &s.Kind, &s.To, &s.Subject, &s.State, &s.Attempts, &s.Error, &s.Cause, &created, &sent)
	s.CreatedAt, s.SentAt = store.FromMicros(created), store.FromMicros(sent)
	return s, err
}

// List returns a page of mails, newest first. Needs ManageSettings.
func (m *Mailer) List(ctx context.Context, by access.Actor, cursor string, limit int) (store.Page[Status], error) {
	var page store.Page[Status]
	if err := access.Allow(by, access.ManageSettings); err != nil {
		return page, err
	}
	at, err := store.DecodeCursor(cursor, 1)
	if err != nil {
		return page, err
	}
	limit = store.PageLimit(limit, 50)
	where, args := "", []any{limit + 1}
	if at != nil {
		where, args = ` WHERE id < $2`, append(args, at[0])
	}
	err = m.db.View(ctx, func(tx *store.Tx) error {
		page = store.Page[Status]{}
		var err error
		if page.Total, err = store.One(tx, store.Scalar[int], `SELECT count(*) FROM mails`); err != nil {
			return err
		}
		page.Items, err = store.All(tx, scanStatus, `SELECT `+statusColumns+` FROM mails`+where+` ORDER BY id DESC LIMIT $1`, args...)
		if len(page.Items) > limit {
			page.Items = page.Items[:limit]
			page.Next = store.EncodeCursor(page.Items[limit-1].ID)
		}
		return err
	})
	return page, err
}

// Retry sends a mail that waits or failed as soon as can be. Needs ManageSettings.
func (m *Mailer) Retry(ctx context.Context, by access.Actor, id string) error {
	if err := access.Allow(by, access.ManageSettings); err != nil {
		return err
	}
	if !m.Configured() {
		return problem.New(problem.Unavailable, "No mail is set up, so nothing can be sent.")
	}
	return m.db.Update(ctx, func(tx *store.Tx) error {
		state, err := store.One(tx, store.Scalar[string], `SELECT state FROM mails WHERE id = $1`+tx.ForUpdate(), id)
		if errors.Is(err, store.ErrNotFound) {
			return problem.New(problem.NotFound, "There is no such mail. It may be too old to be kept.")
		}
		if err != nil {
			return err
		}
		if State(state) == Sent {
			return problem.New(problem.Conflict, "This mail was sent already.")
		}
		if _, err := tx.Exec(`UPDATE mails SET state = 'waiting', error = '' WHERE id = $1`, id); err != nil {
			return err
		}
		now := m.now().UTC()
		if ok, err := work.Retry(tx, now, Kind, id); err != nil || ok {
			return err
		}
		return work.Want(tx, now, work.Lane{Kind: Kind, Key: id})
	})
}

// keep is how long a mail that was sent, or failed, is listed.
const keep = 30 * 24 * time.Hour

// Prune forgets old mails. What waits stays.
func (m *Mailer) Prune(ctx context.Context) error {
	return m.db.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM mails WHERE state <> 'waiting' AND id < $1`, store.FirstID(m.now().Add(-keep)))
		return err
	})
}
