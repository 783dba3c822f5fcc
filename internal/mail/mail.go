// Package mail sends what people have to know to their mailboxes. It hides how a mail waits, sealed, in the database
// until the server took it, how it is tried again, and how it is sent.
//
// A mail is queued in the transaction of what it tells, so that neither exists without the other. It may come twice if
// the program is killed between the server's word and ours; its Message-ID is the same then.
package mail

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/work"
)

// Kind is the kind of lane that sends mail.
const Kind = "mail"

// Sealer seals texts at rest; keys.Sealer is one.
type Sealer interface {
	Seal(plain []byte, place string) (string, error)
	Open(sealed, place string) ([]byte, error)
}

// Config is what a Mailer works with. All fields but Sender and Organization are needed.
type Config struct {
	DB     *store.DB
	Sealer Sealer
	Pool   *work.Pool
	Now    func() time.Time
	Log    *slog.Logger
	// Sender sends; nil: no mail is set up.
	Sender Sender
	// Organization names whose mail it is; nil or "" is Latchkey's.
	Organization func(*store.Tx) (string, error)
}

// Mail is one mail to one person.
type Mail struct {
	// Kind is a stable word for what it is about, e.g. "reminder".
	Kind string
	// To is an e-mail address without a name.
	To      string
	Subject string
	// Text is plain text: paragraphs with empty lines between them.
	Text string
	// HTML is a body; "" makes one of Text.
	HTML string
	// Cause is the id of the event that it tells of.
	Cause string
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
	ID        string
	Kind      string
	To        string
	Subject   string
	State     State
	Attempts  int
	Error     string
	Cause     string
	CreatedAt time.Time
	SentAt    time.Time
}

// Sender hands one message to a server.
type Sender interface {
	Send(ctx context.Context, m Message) error
}

// Message is a mail ready to be sent.
type Message struct {
	ID        string
	FromName  string
	To        string
	Subject   string
	Text      string
	HTML      string
	CreatedAt time.Time
}

// Mailer queues and sends mail. A nil one is one that isn't set up.
type Mailer struct{ c Config }

// New returns a mailer and registers its lane with the pool.
func New(c Config) *Mailer { return &Mailer{c: c} }

var errNotYet = errors.New("mail: not yet")

// Configured reports whether mail is sent at all.
func (m *Mailer) Configured() bool { return m != nil && m.c.Sender != nil }

// Queue stores a mail in the transaction of what it tells; it is sent once that is durable. It reports whether there is
// anything that sends mail: without, nothing is stored.
func (m *Mailer) Queue(tx *store.Tx, now time.Time, x Mail) (bool, error) { return false, errNotYet }

// List returns a page of mails, newest first. Needs ManageSettings.
func (m *Mailer) List(ctx context.Context, by access.Actor, cursor string, limit int) (store.Page[Status], error) {
	return store.Page[Status]{}, errNotYet
}

// Retry sends a mail that waits or failed, now. Needs ManageSettings.
func (m *Mailer) Retry(ctx context.Context, by access.Actor, id string) error { return errNotYet }

// Test sends a short mail at once, past the queue, and returns what the server said. Needs ManageSettings.
func (m *Mailer) Test(ctx context.Context, by access.Actor, to string) error { return errNotYet }
