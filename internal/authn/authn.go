// Package authn proves who acts. It hides how passwords are hashed and checked, how guessing is
// slowed down, and how sessions, sign-in flows, one-time links and API keys are kept so that a
// copy of the database opens nothing: of every token only a hash is stored.
//
// A person's way in:
//
//	StartFlow ─▶ SignIn ─▶ session ─▶ ConsumeFlow        every request: Session
//	               │ ▲
//	      password │ │ RedeemLink (a one-time link, also of first set-up)
//	       expired ▼ │
//	          PasswordExpired{token}
//
// A disabled thing works nowhere: each look-up of a session, link or key reads the person's
// state in the database, so that a change on one replica is effective on all at once.
package authn

import (
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// Config joins an Authn to its house. Zero fields but DB, Directory and Now have defaults.
type Config struct {
	DB        *store.DB
	Directory *directory.Directory
	Now       func() time.Time
	// Log receives what nobody is told otherwise; nil discards it.
	Log *slog.Logger
	// Argon2 is what new passwords are hashed with; default DefaultArgon2.
	Argon2 Argon2
	// Hashing is how many passwords are hashed at once; default one per processor. Each takes
	// Argon2.Memory KiB.
	Hashing int
	// HashingWait is how long a sign-in waits for its turn to hash before it is told to try
	// later; default 15 s.
	HashingWait time.Duration
	// MinPassword is the least number of characters of a new password; default 12.
	MinPassword int
	// Idle ends a session that was not used for so long; default 8 h.
	Idle time.Duration
	// Absolute ends a session so long after sign-in; default 24 h.
	Absolute time.Duration
	// Throttle slows guessing down; see Limits for the defaults.
	Throttle Limits
}

// Authn proves who acts. It is safe for concurrent use. Its Run writes in the background when
// sessions and keys were last used.
type Authn struct {
	db        *store.DB
	directory *directory.Directory
	now       func() time.Time
	log       *slog.Logger

	hasher   *hasher
	policy   policy
	idle     time.Duration
	absolute time.Duration
	throttle throttle
	seen     seen
	// owned remembers that there is an owner: there will always be one from then on.
	owned atomic.Bool
}

// New returns an Authn, or an error that says which setting can't be used.
func New(c Config) (*Authn, error) {
	if c.DB == nil || c.Directory == nil || c.Now == nil {
		return nil, fmt.Errorf("authn: DB, Directory and Now must be set")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Argon2 == (Argon2{}) {
		c.Argon2 = DefaultArgon2()
	}
	if err := c.Argon2.check(); err != nil {
		return nil, fmt.Errorf("authn: password hashing: %w", err)
	}
	c.Hashing = orDefault(c.Hashing, runtime.GOMAXPROCS(0))
	c.HashingWait = orDefault(c.HashingWait, 15*time.Second)
	c.MinPassword = orDefault(c.MinPassword, 12)
	c.Idle = orDefault(c.Idle, 8*time.Hour)
	c.Absolute = orDefault(c.Absolute, 24*time.Hour)
	if c.MinPassword < 8 || c.MinPassword > maxPassword {
		return nil, fmt.Errorf("authn: the least password length must be between 8 and %d characters", maxPassword)
	}
	return &Authn{
		db: c.DB, directory: c.Directory, now: c.Now, log: c.Log,
		hasher:   newHasher(c.Argon2, c.Hashing, c.HashingWait),
		policy:   policy{min: c.MinPassword},
		idle:     c.Idle,
		absolute: c.Absolute,
		throttle: newThrottle(c.Throttle),
		seen:     newSeen(),
	}, nil
}

func orDefault[T int | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}
