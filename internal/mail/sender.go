package mail

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/textproto"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/latchkey-idp/latchkey/internal/problem"
)

// Security is how a connection to a mail server is protected.
type Security string

// How. Auto is Implicit on port 465 and StartTLS on any other; there is no falling back to plain text.
const (
	Auto     Security = "auto"
	StartTLS Security = "starttls"
	Implicit Security = "implicit"
	// Plain is only taken for a server on this machine.
	Plain Security = "none"
)

// SMTP is a mail server that takes mail for others (RFC 6409).
type SMTP struct {
	Host string
	Port int
	// Username and Password sign in, unless Username is "". keys.Secret is a password.
	Username string
	Password interface{ Reveal() string }
	// From is the sender's address.
	From     string
	Security Security
	// Timeout bounds connecting and each part of the conversation; 0 means 30 seconds.
	Timeout time.Duration
	// Roots are who may vouch for the server; nil means the machine's.
	Roots *x509.CertPool
}

// Check returns what is wrong, with the fields "host", "port", "from" and "security".
func (s *SMTP) Check() error {
	var f problem.Fields
	if s.Host == "" || !oneLine(s.Host) || strings.ContainsAny(s.Host, " /:@") && !isAddress(s.Host) {
		f.Add("host", "Give the name or address of the mail server alone, like smtp.example.com.")
	}
	if s.Port < 1 || s.Port > 65535 {
		f.Add("port", "A port is a number from 1 to 65535; mail servers take mail for others at 587 or 465.")
	}
	if err := CheckAddress(s.From); err != nil {
		f.Add("from", "Mail needs a sender: %s", problem.Public(err))
	}
	switch s.Security {
	case "", Auto, StartTLS, Implicit:
	case Plain:
		if !loopback(s.Host) {
			f.Add("security", "Mail is only sent unencrypted to a server on this machine. Choose starttls or implicit.")
		}
	default:
		f.Add("security", "Choose auto, starttls, implicit or none.")
	}
	return f.Err()
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func (s *SMTP) security() Security {
	switch {
	case s.Security != "" && s.Security != Auto:
		return s.Security
	case s.Port == 465:
		return Implicit
	}
	return StartTLS
}

// mechanisms of signing in, best first. The connection is encrypted, or stays on this machine.
var mechanisms = []gomail.SMTPAuthType{
	gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthSCRAMSHA1, gomail.SMTPAuthCramMD5, gomail.SMTPAuthPlain, gomail.SMTPAuthLogin,
}

// Send hands a message over on a connection of its own.
func (s *SMTP) Send(ctx context.Context, m Message) error {
	msg, err := compose(s.From, m)
	if err != nil {
		return err
	}
	timeout := s.Timeout
	if timeout == 0 {
		timeout = 30 * time.Second
	}
	helo := m.ID // a server takes any name; ours would tell of the network within
	if _, domain, ok := strings.Cut(s.From, "@"); ok {
		helo = domain
	}
	config := &tls.Config{ServerName: s.Host, RootCAs: s.Roots, MinVersion: tls.VersionTLS12}
	policy := gomail.TLSMandatory
	if s.security() != StartTLS {
		policy = gomail.NoTLS // none is needed any more, or wanted
	}
	// The library only bounds parts of a conversation; the whole ends with the context.
	var stop func() bool
	at := net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) // the library makes no address of an IPv6 one
	dial := func(dialCtx context.Context, network, _ string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(dialCtx, network, at)
		if err != nil {
			return nil, err
		}
		stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
		if s.security() != Implicit {
			return conn, nil
		}
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(dialCtx); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return secure, nil
	}
	options := []gomail.Option{
		gomail.WithPort(s.Port), gomail.WithTimeout(timeout), gomail.WithTLSPolicy(policy), gomail.WithTLSConfig(config),
		gomail.WithHELO(helo), gomail.WithDialContextFunc(dial), gomail.WithoutNoop(),
	}
	if s.Username != "" {
		password := ""
		if s.Password != nil {
			password = s.Password.Reveal()
		}
		options = append(options, gomail.WithUsername(s.Username), gomail.WithPassword(password), gomail.WithOpportunisticSMTPAuth(mechanisms...))
	}
	client, err := gomail.NewClient(s.Host, options...)
	if err != nil {
		return problem.Wrap(problem.Unavailable, err, "The settings of the mail server can't be used.")
	}
	defer func() {
		if stop != nil {
			stop()
		}
	}()
	conn, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return s.unavailable(ctx, err)
	}
	err = client.SendWithSMTPClient(conn, msg)
	// After its word for the message, a server may end the conversation as it likes.
	if msg.IsDelivered() {
		_ = client.CloseWithSMTPClient(conn)
		return nil
	}
	if e, ok := errors.AsType[*gomail.SendError](err); ok && e.ErrorCode() != 0 {
		_ = client.CloseWithSMTPClient(conn)
		text := reply(err)
		if e.Reason == gomail.ErrSMTPRcptTo && isFinal(e.ErrorCode(), text) || e.Reason == gomail.ErrSMTPDataClose && isFinal(e.ErrorCode(), text) {
			return problem.Wrap(problem.Invalid, err, "The mail server refused this mail: %s", text)
		}
		return problem.Wrap(problem.Unavailable, err, "The mail server doesn't take this mail now: %s", text)
	}
	_ = conn.Close()
	if err == nil { // can't be: neither delivered nor refused
		err = errors.New("mail: not delivered")
	}
	return s.unavailable(ctx, err)
}

// isFinal tells a mailbox that isn't there from a server that doesn't trust us (5.7, or 530): that is a matter of
// settings and can be mended.
func isFinal(code int, text string) bool {
	return code >= 500 && code != 530 && code != 535 && !strings.Contains(text, " 5.7.")
}

// unavailable puts a conversation that failed into words.
func (s *SMTP) unavailable(ctx context.Context, err error) error {
	at := net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
	var reason string
	_, wrongName := errors.AsType[x509.HostnameError](err)
	_, untrusted := errors.AsType[x509.UnknownAuthorityError](err)
	_, expired := errors.AsType[x509.CertificateInvalidError](err)
	answer, answered := errors.AsType[*textproto.Error](err)
	dns, noName := errors.AsType[*net.DNSError](err)
	timeout, isNet := errors.AsType[net.Error](err)
	switch {
	case wrongName, untrusted, expired:
		reason = "its certificate isn't trusted here. Check mail.host, or the machine's certificate authorities"
	case strings.Contains(err.Error(), "does not support STARTTLS"):
		reason = "it doesn't offer encryption (STARTTLS). Set mail.security to implicit if this is port 465, or to none for a server on this machine"
	case strings.Contains(err.Error(), "SMTP AUTH"):
		reason = "signing in failed"
		if answered {
			reason += ": " + serverWords(answer.Error())
		}
	case answered:
		reason = "it answers: " + serverWords(answer.Error())
	case noName:
		reason = "its name isn't known: " + printable(dns.Name)
	case ctx.Err() != nil, isNet && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		strings.Contains(err.Error(), os.ErrDeadlineExceeded.Error()): // the library's errors don't all unwrap
		reason = "it didn't answer in time"
	default:
		reason = "the connection failed"
	}
	return problem.Wrap(problem.Unavailable, err, "The mail server %s can't be used: %s.", at, strings.TrimSuffix(reason, "."))
}

// reply is what the server said, from the library's sentence around it.
func reply(err error) string {
	text := err.Error()
	if _, after, ok := strings.Cut(text, ": "); ok {
		text = after
	}
	text, _, _ = strings.Cut(text, ", affected ")
	return serverWords(text)
}

// serverWords takes the library's quotes off an answer: 550 "5.1.1 no such user".
func serverWords(s string) string {
	s = printable(s)
	if code, quoted, ok := strings.Cut(s, " "); ok && len(quoted) > 1 && strings.HasPrefix(quoted, `"`) && strings.HasSuffix(quoted, `"`) {
		return code + " " + quoted[1:len(quoted)-1]
	}
	return s
}

// printable makes one bounded line of what came from elsewhere.
func printable(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	s = strings.Map(func(r rune) rune {
		if !oneLine(string(r)) {
			return -1
		}
		return r
	}, s)
	if r := []rune(s); len(r) > 300 {
		s = string(r[:300]) + "…"
	}
	return s
}

// compose builds the message as it is sent.
func compose(from string, m Message) (*gomail.Msg, error) {
	// Checked when it was queued; here too, since a header must never be made by what was stored.
	x := Mail{To: m.To, Subject: m.Subject}
	if err := x.check(); err != nil {
		return nil, err
	}
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	if err := msg.FromFormat(strings.NewReplacer(`"`, "'", `\`, "/").Replace(printable(m.FromName)), from); err != nil {
		return nil, problem.Wrap(problem.Unavailable, err, "The sender's address, mail.from, can't be used.")
	}
	if err := msg.To(m.To); err != nil {
		return nil, problem.Wrap(problem.Invalid, err, "The address can't be used.")
	}
	domain := "latchkey.invalid"
	if _, d, ok := strings.Cut(from, "@"); ok {
		domain = d
	}
	msg.Subject(m.Subject)
	msg.SetDateWithValue(m.CreatedAt)
	msg.SetMessageIDWithValue(m.ID + "@" + domain) // the same if it is sent twice
	// RFC 3834 §5: nobody's holiday note shall answer.
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetGenHeader("X-Auto-Response-Suppress", "All")
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	return msg, nil
}

// Folder is a sender for development: it writes each message into a file.
type Folder struct {
	Dir  string
	From string
}

// Send writes <time>-<id>.eml, which mail programs open. The same message sent again replaces it.
func (f *Folder) Send(_ context.Context, m Message) error {
	msg, err := compose(f.From, m)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if _, err := msg.WriteTo(&b); err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	name := filepath.Join(f.Dir, m.CreatedAt.UTC().Format("20060102-150405")+"-"+m.ID+".eml")
	err = os.MkdirAll(f.Dir, 0o700)
	if err == nil {
		err = os.WriteFile(name+".part", b.Bytes(), 0o600)
	}
	if err == nil {
		err = os.Rename(name+".part", name)
	}
	if err != nil {
		return problem.Wrap(problem.Unavailable, err, "The mail can't be written to %s.", f.Dir)
	}
	return nil
}
