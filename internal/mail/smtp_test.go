package mail_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// smtpServer is a mail server for tests that does as it is told.
type smtpServer struct {
	t        *testing.T
	listener net.Listener
	port     int
	roots    *x509.CertPool

	mu       sync.Mutex
	script   script
	messages []received
	sessions int
	conns    []net.Conn
	wg       sync.WaitGroup
}

// script says how a server behaves.
type script struct {
	tls      bool // from the first byte on
	startTLS bool
	login    string // "user:password", asked for by AUTH PLAIN; "" asks for nothing
	rcpt     string // answer to RCPT; "" takes it
	data     string // answer to the message; "" takes it
	hangAt   string // the command that is never answered
	dropAt   string // the command after which the connection ends; "." is the end of the message, which was taken
}

type received struct {
	from, to string
	user     string
	secure   bool
	text     string
}

func newSMTPServer(t *testing.T, s script) *smtpServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &smtpServer{t: t, listener: l, port: l.Addr().(*net.TCPAddr).Port, script: s}
	cert := srv.certificate()
	srv.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			srv.mu.Lock()
			srv.sessions++
			srv.conns = append(srv.conns, conn)
			srv.mu.Unlock()
			srv.wg.Go(func() {
				defer func() { _ = conn.Close() }()
				srv.talk(conn, cert)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		srv.mu.Lock()
		for _, c := range srv.conns {
			_ = c.Close()
		}
		srv.mu.Unlock()
		srv.wg.Wait()
	})
	return srv
}

func (s *smtpServer) certificate() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		s.t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		s.t.Fatal(err)
	}
	s.roots = x509.NewCertPool()
	s.roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (s *smtpServer) behave(x script) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = x
}

func (s *smtpServer) got() []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]received(nil), s.messages...)
}

func (s *smtpServer) talk(conn net.Conn, cert tls.Certificate) {
	s.mu.Lock()
	x := s.script
	s.mu.Unlock()
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	var m received
	if x.tls {
		conn, m.secure = tls.Server(conn, config), true
	}
	r := bufio.NewReader(conn)
	say := func(line string) bool {
		_, err := conn.Write([]byte(line + "\r\n"))
		return err == nil
	}
	if x.hangAt == "connect" {
		_, _ = r.ReadString('\n') // the client gives up
		return
	}
	say("220 test ESMTP")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		if verb == x.hangAt {
			_, _ = r.ReadString('\n')
			return
		}
		if verb == x.dropAt {
			return
		}
		switch verb {
		case "EHLO":
			say("250-test")
			if x.startTLS && !m.secure {
				say("250-STARTTLS")
			}
			if x.login != "" && (m.secure || !x.startTLS) {
				say("250-AUTH PLAIN LOGIN")
			}
			say("250 8BITMIME")
		case "STARTTLS":
			say("220 go on")
			secure := tls.Server(conn, config)
			if secure.Handshake() != nil {
				return
			}
			conn, m.secure = secure, true
			r = bufio.NewReader(conn)
		case "AUTH":
			fields := strings.Fields(line)
			raw, _ := base64.StdEncoding.DecodeString(fields[len(fields)-1])
			parts := strings.Split(string(raw), "\x00")
			if len(parts) != 3 || parts[1]+":"+parts[2] != x.login {
				say("535 5.7.8 wrong user name or password")
				continue
			}
			m.user = parts[1]
			say("235 2.7.0 welcome")
		case "MAIL":
			if x.login != "" && m.user == "" {
				say("530 5.7.0 sign in first")
				continue
			}
			m.from = line
			say("250 ok")
		case "RCPT":
			if x.rcpt != "" {
				say(x.rcpt)
				continue
			}
			m.to = line
			say("250 ok")
		case "DATA":
			say("354 go on")
			var text strings.Builder
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				text.WriteString(strings.TrimPrefix(line, "."))
			}
			if x.hangAt == "." {
				_, _ = r.ReadString('\n')
				return
			}
			if x.data != "" {
				say(x.data)
				continue
			}
			m.text = text.String()
			s.mu.Lock()
			s.messages = append(s.messages, m)
			s.mu.Unlock()
			if x.dropAt == "." {
				return
			}
			say("250 2.0.0 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}
