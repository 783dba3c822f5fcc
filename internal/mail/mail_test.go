package mail_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	netmail "net/mail"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/mail"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
	"github.com/latchkey-idp/latchkey/internal/work"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	admin  = access.Actor{Kind: access.Person, ID: "admin", Name: "ada@example.org", Role: access.Administrator}
	reader = access.Actor{Kind: access.Person, ID: "reader", Role: access.ReadOnly}
	quiet  = slog.New(slog.DiscardHandler)
)

const to = "owner@example.org"

// post is a mailer with a pool that runs when it is told to.
type post struct {
	*mail.Mailer
	t    *testing.T
	db   *store.DB
	pool *work.Pool
	mu   sync.Mutex
	skew time.Duration
}

func (p *post) now() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Add(p.skew)
}

// later moves the clock.
func (p *post) later(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.skew += d
}

func newPost(t *testing.T, db *store.DB, s mail.Sender) *post {
	t.Helper()
	sealer, err := keys.NewSealer([]byte("0123456789abcdef0123456789ABCDEF"))
	if err != nil {
		t.Fatal(err)
	}
	p := &post{t: t, db: db}
	p.pool = work.NewPool(db, quiet, p.now)
	p.Mailer = mail.New(mail.Config{
		DB: db, Sealer: sealer, Pool: p.pool, Now: p.now, Log: quiet, Sender: s,
		Organization: func(*store.Tx) (string, error) { return `Ex "ample" & Söhne`, nil },
	})
	return p
}

// run works until stop is called or the test ends.
func (p *post) run() (stop func()) {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.pool.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			p.t.Error(err)
		}
	})
	p.t.Cleanup(stop)
	return stop
}

func (p *post) queue(x mail.Mail) {
	p.t.Helper()
	if err := p.db.Update(p.t.Context(), func(tx *store.Tx) error {
		ok, err := p.Queue(tx, p.now().UTC(), x)
		if err == nil && !ok {
			p.t.Error("nothing was queued")
		}
		return err
	}); err != nil {
		p.t.Fatal(err)
	}
}

func (p *post) list() []mail.Status {
	p.t.Helper()
	page, err := p.List(p.t.Context(), admin, "", 0)
	if err != nil {
		p.t.Fatal(err)
	}
	return page.Items
}

// until waits for what is asked of the newest mail.
func (p *post) until(what string, ok func(mail.Status) bool) mail.Status {
	p.t.Helper()
	for range 1500 {
		if l := p.list(); len(l) > 0 && ok(l[0]) {
			return l[0]
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.t.Fatalf("never happened: %s; %+v", what, p.list())
	return mail.Status{}
}

// inTime is until while the clock runs on by step now and then.
func (p *post) inTime(step time.Duration, what string, ok func(mail.Status) bool) mail.Status {
	p.t.Helper()
	return p.until(what, func() func(mail.Status) bool {
		n := 0
		return func(x mail.Status) bool {
			if ok(x) {
				return true
			}
			if n++; n%20 == 1 {
				p.later(step)
			}
			return false
		}
	}())
}

func is(s mail.State) func(mail.Status) bool {
	return func(x mail.Status) bool { return x.State == s }
}

func server(srv *smtpServer) *mail.SMTP {
	return &mail.SMTP{
		Host: "127.0.0.1", Port: srv.port, From: "latchkey@example.org", Security: mail.StartTLS, Roots: srv.roots, Timeout: 2 * time.Second,
	}
}

var greeting = mail.Mail{
	Kind: "greeting", To: to, Subject: "Zertifikat läuft ab: 7 Tage",
	Text:  "Hello <b>you</b> & all,\n\nlook at https://id.example.org/console?a=1&b=2.\n.\nÄnde",
	Cause: "event-1",
}

func TestDelivery(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		srv := newSMTPServer(t, script{startTLS: true, login: "latchkey:open sesame"})
		s := server(srv)
		s.Username, s.Password = "latchkey", keys.Secret("open sesame")
		p := newPost(t, db, s)
		p.run()
		p.queue(greeting)
		got := p.until("sent", is(mail.Sent))
		if got.Attempts != 1 || got.Error != "" || got.SentAt.IsZero() || got.To != to || got.Cause != "event-1" || got.Kind != "greeting" {
			t.Errorf("listed as %+v", got)
		}
		all := srv.got()
		if len(all) != 1 || !all[0].secure || all[0].user != "latchkey" || !strings.Contains(all[0].from, "<latchkey@example.org>") || !strings.Contains(all[0].to, "<"+to+">") {
			t.Fatalf("the server got %+v", all)
		}
		checkMessage(t, all[0].text, got.ID)
		if err := db.View(t.Context(), func(tx *store.Tx) error {
			left, err := store.One(tx, store.Scalar[string], `SELECT content FROM mails`)
			if left != "" {
				t.Error("the content is kept after it was sent")
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	})
}

// checkMessage reads a message as a mail program does.
func checkMessage(t *testing.T, raw, id string) {
	t.Helper()
	m, err := netmail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil || subject != greeting.Subject {
		t.Errorf("subject %q: %v", subject, err)
	}
	from, err := m.Header.AddressList("From")
	if err != nil || len(from) != 1 || from[0].Name != `Ex 'ample' & Söhne` || from[0].Address != "latchkey@example.org" {
		t.Errorf("from %v: %v", from, err)
	}
	for name, want := range map[string]string{"Message-Id": "<" + id + "@example.org>", "Auto-Submitted": "auto-generated", "Mime-Version": "1.0"} {
		if got := m.Header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if _, err := m.Header.Date(); err != nil {
		t.Error(err)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("%s: %v", kind, err)
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	var bodies []string
	for {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(quotedprintable.NewReader(part))
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, part.Header.Get("Content-Type")+"\n"+strings.ReplaceAll(string(body), "\r\n", "\n"))
	}
	if len(bodies) != 2 || !strings.HasPrefix(bodies[0], "text/plain; charset=UTF-8\n"+greeting.Text) {
		t.Fatalf("parts %q", bodies)
	}
	for _, want := range []string{
		"<p>Hello &lt;b&gt;you&lt;/b&gt; &amp; all,</p>",
		`<a href="https://id.example.org/console?a=1&amp;b=2">https://id.example.org/console?a=1&amp;b=2</a>.`,
		"Ex &#34;ample&#34; &amp; Söhne",
	} {
		if !strings.Contains(bodies[1], want) {
			t.Errorf("%q isn't in %s", want, bodies[1])
		}
	}
}

func TestImplicitTLSAndPlainOnLoopback(t *testing.T) {
	for name, c := range map[string]struct {
		script script
		how    mail.Security
		secure bool
	}{
		"implicit": {script{tls: true, login: "u:p"}, mail.Implicit, true},
		"none":     {script{login: "u:p"}, mail.Plain, false},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newSMTPServer(t, c.script)
			s := server(srv)
			s.Security, s.Username, s.Password = c.how, "u", keys.Secret("p")
			if err := s.Check(); err != nil {
				t.Fatal(err)
			}
			p := newPost(t, storetest.SQLite(t), s)
			if err := p.Test(t.Context(), admin, to); err != nil {
				t.Fatal(err)
			}
			if got := srv.got(); len(got) != 1 || got[0].secure != c.secure || got[0].user != "u" {
				t.Errorf("got %+v", got)
			}
			if l := p.list(); len(l) != 1 || l[0].State != mail.Sent || l[0].Kind != "test" {
				t.Errorf("listed %+v", l)
			}
		})
	}
}

// A server that refuses a mailbox ends it; one that can't now, or doesn't know us, is asked again.
func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		script script
		change func(*mail.SMTP)
		state  mail.State
		words  string
	}{
		"no such mailbox":      {script{startTLS: true, rcpt: "550 5.1.1 no such user here"}, nil, mail.Failed, "no such user here"},
		"message refused":      {script{startTLS: true, data: "554 5.6.0 not like this"}, nil, mail.Failed, "not like this"},
		"relaying not allowed": {script{startTLS: true, rcpt: "554 5.7.1 relay access denied"}, nil, mail.Waiting, "relay access denied"},
		"not now":              {script{startTLS: true, rcpt: "451 4.7.1 greylisted, come back"}, nil, mail.Waiting, "greylisted"},
		"message not now":      {script{startTLS: true, data: "452 4.3.1 disk full"}, nil, mail.Waiting, "disk full"},
		"wrong password": {script{startTLS: true, login: "u:other"}, func(s *mail.SMTP) {
			s.Username, s.Password = "u", keys.Secret("p")
		}, mail.Waiting, "signing in failed: 535 5.7.8 wrong user name"},
		"no encryption offered": {script{}, nil, mail.Waiting, "STARTTLS"},
		"unknown authority":     {script{startTLS: true}, func(s *mail.SMTP) { s.Roots = nil }, mail.Waiting, "certificate isn't trusted"},
		"ends at once":          {script{dropAt: "EHLO"}, nil, mail.Waiting, "connection failed"},
		"nobody listens":        {script{}, func(s *mail.SMTP) { s.Port = 1 }, mail.Waiting, "connection failed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := newSMTPServer(t, c.script)
			s := server(srv)
			if c.change != nil {
				c.change(s)
			}
			p := newPost(t, storetest.SQLite(t), s)
			p.run()
			p.queue(greeting)
			got := p.until("tried", func(x mail.Status) bool { return x.Attempts > 0 })
			if got.State != c.state || !strings.Contains(got.Error, c.words) || strings.Contains(got.Error, "\n") {
				t.Errorf("%s: %q", got.State, got.Error)
			}
			if len(srv.got()) != 0 {
				t.Error("it was delivered")
			}
			// The same in words for whoever tests the settings.
			if err := p.Test(t.Context(), admin, to); !strings.Contains(problem.Public(err), c.words) {
				t.Errorf("test says %q", problem.Public(err))
			}
		})
	}
}

func TestRetriesUntilTaken(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		srv := newSMTPServer(t, script{startTLS: true, rcpt: "451 not now"})
		p := newPost(t, db, server(srv))
		p.run()
		p.queue(greeting)
		p.until("tried", func(x mail.Status) bool { return x.Attempts == 1 })
		p.inTime(2*time.Minute, "tried again", func(x mail.Status) bool { return x.Attempts >= 2 })
		srv.behave(script{startTLS: true})
		if got := p.inTime(10*time.Minute, "sent", is(mail.Sent)); got.Attempts < 3 || got.Error != "" {
			t.Errorf("%+v", got)
		}
	})
}

func TestGivesUpAfterDaysAndCanBeSentAgain(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		srv := newSMTPServer(t, script{startTLS: true, rcpt: "451 not now"})
		p := newPost(t, db, server(srv))
		p.run()
		p.queue(greeting)
		p.until("tried", func(x mail.Status) bool { return x.Attempts == 1 })
		got := p.inTime(25*time.Hour, "given up", is(mail.Failed))
		if !strings.Contains(got.Error, "not now") {
			t.Errorf("%+v", got)
		}
		srv.behave(script{startTLS: true})
		if err := p.Retry(t.Context(), reader, got.ID); !problem.Is(err, problem.Forbidden) {
			t.Errorf("retried without permission: %v", err)
		}
		if err := p.Retry(t.Context(), admin, got.ID); err != nil {
			t.Fatal(err)
		}
		p.until("sent", is(mail.Sent))
		if err := p.Retry(t.Context(), admin, got.ID); !problem.Is(err, problem.Conflict) {
			t.Errorf("sent again: %v", err)
		}
		if err := p.Retry(t.Context(), admin, "none"); !problem.Is(err, problem.NotFound) {
			t.Errorf("%v", err)
		}
		if n := len(srv.got()); n != 1 {
			t.Errorf("delivered %d times", n)
		}
		p.later(31 * 24 * time.Hour)
		if err := p.Prune(t.Context()); err != nil || len(p.list()) != 0 {
			t.Errorf("%v, left: %v", err, p.list())
		}
	})
}

func TestHangingServer(t *testing.T) {
	for _, at := range []string{"connect", "EHLO", "MAIL", "."} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			srv := newSMTPServer(t, script{startTLS: true, hangAt: at})
			s := server(srv)
			s.Timeout = 300 * time.Millisecond
			p := newPost(t, storetest.SQLite(t), s)
			begin := time.Now()
			if err := p.Test(t.Context(), admin, to); !strings.Contains(problem.Public(err), "didn't answer in time") {
				t.Errorf("%v", err)
			}
			if d := time.Since(begin); d > 3*time.Second {
				t.Errorf("it took %s", d)
			}
		})
	}
}

// The end of the program doesn't wait for a server that hangs, and loses nothing.
func TestShutdownDuringDelivery(t *testing.T) {
	srv := newSMTPServer(t, script{startTLS: true, hangAt: "MAIL"})
	s := server(srv)
	s.Timeout = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Send(ctx, mail.Message{ID: "1", To: to, Subject: "x", CreatedAt: time.Now()}) }()
	time.Sleep(200 * time.Millisecond)
	cancel()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("sent")
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it hangs")
	}
}

// crash hands the message over and then ends without a word, as a program that is killed does.
type crash struct{ mail.Sender }

func (c crash) Send(ctx context.Context, m mail.Message) error {
	if err := c.Sender.Send(ctx, m); err != nil {
		return err
	}
	panic("killed")
}

// A program that is killed between the server's word and ours sends the mail again, with the same Message-ID.
func TestKilledInTheMiddle(t *testing.T) {
	storetest.Two(t, func(t *testing.T, a, b *store.DB) {
		srv := newSMTPServer(t, script{startTLS: true})
		first := newPost(t, a, crash{server(srv)})
		stop := first.run()
		first.queue(greeting)
		for range 500 {
			if len(srv.got()) > 0 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		stop()
		second := newPost(t, b, server(srv))
		second.run()
		got := second.until("sent", is(mail.Sent))
		all := srv.got()
		if len(all) < 2 {
			t.Fatalf("delivered %d times", len(all))
		}
		for _, m := range all {
			if !strings.Contains(m.text, "<"+got.ID+"@example.org>") {
				t.Errorf("another Message-ID: %s", m.text)
			}
		}
	})
}

// A connection that ends right after the message was taken leaves doubt: it is sent again.
func TestLostAnswer(t *testing.T) {
	srv := newSMTPServer(t, script{startTLS: true, dropAt: "."})
	p := newPost(t, storetest.SQLite(t), server(srv))
	p.run()
	p.queue(greeting)
	p.until("tried", func(x mail.Status) bool { return x.Attempts == 1 && x.State == mail.Waiting })
	srv.behave(script{startTLS: true})
	p.inTime(2*time.Minute, "sent", is(mail.Sent))
}

func TestNothingIsQueuedWithoutASender(t *testing.T) {
	p := newPost(t, storetest.SQLite(t), nil)
	if p.Configured() {
		t.Error("configured")
	}
	if err := p.db.Update(t.Context(), func(tx *store.Tx) error {
		ok, err := p.Queue(tx, time.Now(), greeting)
		if ok {
			t.Error("queued")
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if l := p.list(); len(l) != 0 {
		t.Errorf("%+v", l)
	}
	if err := p.Test(t.Context(), admin, to); !problem.Is(err, problem.Unavailable) {
		t.Errorf("%v", err)
	}
	var none *mail.Mailer
	if ok, err := none.Queue(nil, time.Now(), greeting); ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
}

// What isn't durable isn't sent.
func TestRolledBack(t *testing.T) {
	srv := newSMTPServer(t, script{startTLS: true})
	p := newPost(t, storetest.SQLite(t), server(srv))
	p.run()
	_ = p.db.Update(t.Context(), func(tx *store.Tx) error {
		if _, err := p.Queue(tx, p.now(), greeting); err != nil {
			t.Error(err)
		}
		return errors.New("something else failed")
	})
	second := greeting
	second.Subject = "the second"
	p.queue(second)
	p.until("sent", is(mail.Sent))
	if n := len(srv.got()); n != 1 {
		t.Errorf("%d mails", n)
	}
}

func TestHeaderInjection(t *testing.T) {
	p := newPost(t, storetest.SQLite(t), &mail.Folder{Dir: t.TempDir(), From: "latchkey@example.org"})
	for name, c := range map[string]struct {
		to, subject string
		fields      []string
	}{
		"line break in the address":     {"a@example.org\r\nBcc: b@example.org", "x", []string{"to"}},
		"line feed in the address":      {"a@example.org\nBcc: b@example.org", "x", []string{"to"}},
		"two addresses":                 {"a@example.org, b@example.org", "x", []string{"to"}},
		"name":                          {"Ada <a@example.org>", "x", []string{"to"}},
		"comment":                       {"a@example.org (Ada)", "x", []string{"to"}},
		"parameter of RCPT":             {"a@example.org> SIZE=1", "x", []string{"to"}},
		"quoted":                        {`"a b"@example.org`, "x", []string{"to"}},
		"none":                          {"", "x", []string{"to"}},
		"line break in the subject":     {to, "x\r\nBcc: b@example.org", []string{"subject"}},
		"line separator in the subject": {to, "x\u2028Bcc: b@example.org", []string{"subject"}},
		"no subject":                    {to, "", []string{"subject"}},
		"both":                          {"a", strings.Repeat("x", 201), []string{"to", "subject"}},
	} {
		err := p.db.Update(t.Context(), func(tx *store.Tx) error {
			_, err := p.Queue(tx, p.now(), mail.Mail{Kind: "x", To: c.to, Subject: c.subject, Text: "x"})
			return err
		})
		var got []string
		for _, f := range problem.FieldsOf(err) {
			got = append(got, f.Name)
		}
		if d := cmp.Diff(c.fields, got); d != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(p.list()) != 0 {
		t.Error("something was queued")
	}
}

func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mail")
	p := newPost(t, storetest.SQLite(t), &mail.Folder{Dir: dir, From: "latchkey@example.org"})
	p.run()
	p.queue(greeting)
	got := p.until("sent", is(mail.Sent))
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 || !strings.HasSuffix(files[0], got.ID+".eml") {
		t.Fatalf("%v %v", files, err)
	}
	raw, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	checkMessage(t, string(raw), got.ID)
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}

func TestSMTPIsChecked(t *testing.T) {
	good := mail.SMTP{Host: "smtp.example.org", Port: 587, From: "latchkey@example.org"}
	for name, c := range map[string]struct {
		change func(*mail.SMTP)
		want   []string
	}{
		"good":                    {func(*mail.SMTP) {}, nil},
		"IPv6":                    {func(s *mail.SMTP) { s.Host = "2001:db8::1" }, nil},
		"no host":                 {func(s *mail.SMTP) { s.Host = "" }, []string{"host"}},
		"URL":                     {func(s *mail.SMTP) { s.Host = "smtp://example.org" }, []string{"host"}},
		"host and port":           {func(s *mail.SMTP) { s.Host = "example.org:25" }, []string{"host"}},
		"no port":                 {func(s *mail.SMTP) { s.Port = 0 }, []string{"port"}},
		"no sender":               {func(s *mail.SMTP) { s.From = "" }, []string{"from"}},
		"sender with name":        {func(s *mail.SMTP) { s.From = "IT <it@example.org>" }, []string{"from"}},
		"unknown":                 {func(s *mail.SMTP) { s.Security = "ssl3" }, []string{"security"}},
		"unencrypted elsewhere":   {func(s *mail.SMTP) { s.Security = mail.Plain }, []string{"security"}},
		"unencrypted on loopback": {func(s *mail.SMTP) { s.Security, s.Host = mail.Plain, "localhost" }, nil},
	} {
		s := good
		c.change(&s)
		var got []string
		for _, f := range problem.FieldsOf(s.Check()) {
			got = append(got, f.Name)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestListPages(t *testing.T) {
	p := newPost(t, storetest.SQLite(t), &mail.Folder{Dir: t.TempDir(), From: "latchkey@example.org"})
	for _, s := range []string{"a", "b", "c"} {
		x := greeting
		x.Subject = s
		p.queue(x)
	}
	var got []string
	cursor := ""
	for range 2 {
		page, err := p.List(t.Context(), admin, cursor, 2)
		if err != nil || page.Total != 3 {
			t.Fatal(page, err)
		}
		for _, x := range page.Items {
			got = append(got, x.Subject)
		}
		cursor = page.Next
	}
	if d := cmp.Diff([]string{"c", "b", "a"}, got); d != "" || cursor != "" {
		t.Errorf("%s, next %q", d, cursor)
	}
	if _, err := p.List(t.Context(), reader, "", 0); !problem.Is(err, problem.Forbidden) {
		t.Errorf("%v", err)
	}
}
