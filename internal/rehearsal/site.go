package rehearsal

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Config says how a Site is set up. The zero value is usable: an organization "Acme" without domains, kept in
// memory, on http://127.0.0.1:8081.
type Config struct {
	// BaseURL is the address under which browsers and clients reach the site, without a trailing slash.
	BaseURL string
	// StateFile, when set, keeps the state across restarts. It is read by New and written at most once per
	// second, atomically, and a last time by Close.
	StateFile string
	// Now is the clock; time.Now when nil.
	Now func() time.Time
	// Log receives what an operator should know; slog.Default() when nil.
	Log *slog.Logger

	// Organization and SiteName name the organization and its site (<SiteName>.atlassian.net). They are used
	// only when there is no state to restore.
	Organization string
	SiteName     string
	// Switches choose between behaviours that are documented as possible; DefaultSwitches() when nil.
	Switches *Switches
	// RequestLogSize is the number of SCIM requests that are remembered; 5,000 when zero.
	RequestLogSize int
	// LogBodyLimit is the number of bytes of a body that the request log keeps; 8,192 when zero.
	LogBodyLimit int
	// AllowRemote opens the administration pages and the control API to other machines. They know no sign-in,
	// so by default they answer only to loopback.
	AllowRemote bool
}

// Site is one stand-in: an organization with its site, directories and accounts. All methods are safe for
// concurrent use.
type Site struct {
	cfg Config
	now func() time.Time
	log *slog.Logger

	mu    sync.RWMutex
	base  string
	st    *state
	dirty bool

	faults  faultBox
	journal journal
	pages   pages
	handler http.Handler

	closing  chan struct{}
	closed   sync.Once
	saver    sync.WaitGroup
	closeErr error
}

// New restores the site from cfg.StateFile, or creates it.
func New(cfg Config) (*Site, error) {
	if cfg.BaseURL == "" {
		cfg.BaseURL = "http://127.0.0.1:8081"
	}
	if _, err := url.Parse(cfg.BaseURL); err != nil {
		return nil, fmt.Errorf("rehearsal: base URL: %w", err)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Organization == "" {
		cfg.Organization = "Acme"
	}
	if cfg.SiteName == "" {
		cfg.SiteName = siteNameOf(cfg.Organization)
	}
	if cfg.RequestLogSize <= 0 {
		cfg.RequestLogSize = 5000
	}
	if cfg.LogBodyLimit <= 0 {
		cfg.LogBodyLimit = 8192
	}
	s := &Site{
		cfg:     cfg,
		now:     cfg.Now,
		log:     cfg.Log,
		base:    strings.TrimRight(cfg.BaseURL, "/"),
		journal: newJournal(cfg.RequestLogSize, cfg.LogBodyLimit),
		closing: make(chan struct{}),
	}
	st, err := loadState(cfg.StateFile)
	if err != nil {
		return nil, err
	}
	if st == nil {
		switches := DefaultSwitches()
		if cfg.Switches != nil {
			switches = *cfg.Switches
		}
		st = newState(cfg.Organization, cfg.SiteName, switches)
	} else if cfg.Switches != nil {
		st.switches = *cfg.Switches
	}
	s.st = st
	s.pages = loadPages()
	s.handler = s.routes()
	if cfg.StateFile != "" {
		s.dirty = true
		s.saver.Add(1)
		go s.saveLoop()
	}
	return s, nil
}

// SetBaseURL changes the address that the site gives out. It is meant for a listener whose port is known only
// after New; identifiers that were handed out before contain the old address.
func (s *Site) SetBaseURL(base string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.base = strings.TrimRight(base, "/")
}

// BaseURL is the address under which the site is reached.
func (s *Site) BaseURL() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.base
}

// Handler serves everything: SCIM, the SAML service provider, the site, the administration pages and the
// control API.
func (s *Site) Handler() http.Handler { return s.handler }

// Close ends requests that a fault keeps hanging, writes the state a last time and waits for the writer.
func (s *Site) Close() error {
	s.closed.Do(func() {
		close(s.closing)
		s.saver.Wait()
		if s.cfg.StateFile != "" {
			s.closeErr = s.save()
		}
	})
	return s.closeErr
}

// lock takes the state for writing and lets everything happen that is due.
func (s *Site) lock() {
	s.mu.Lock()
	s.st.settle(s.now())
	s.dirty = true
}

func (s *Site) unlock() { s.mu.Unlock() }

// Error is a refusal: what was wrong with a request to the stand-in, for the person who made it.
type Error struct {
	Status int    // the HTTP status that fits
	Text   string // what is wrong and what to do
}

func (e *Error) Error() string { return e.Text }

func refuse(status int, format string, args ...any) error {
	return &Error{Status: status, Text: fmt.Sprintf(format, args...)}
}

func statusOf(err error) int {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Status
	}
	return http.StatusInternalServerError
}

func newID() string { return uuid.NewString() }

// newAccountID makes an account id of the newer form, "712020:<uuid>".
func newAccountID() string { return "712020:" + uuid.NewString() }

func newSecret() string {
	var b [32]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(err) // crypto/rand.Read never fails since Go 1.24
	}
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func hashSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

func siteNameOf(organization string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(organization) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	name := strings.Trim(b.String(), "-")
	if name == "" {
		return "example"
	}
	return name
}
