package authn

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
)

// Argon2 is the cost of an Argon2id hash (RFC 9106).
type Argon2 struct {
	// Memory is in KiB.
	Memory uint32
	// Passes is the number of passes over the memory.
	Passes  uint32
	Threads uint8
}

// DefaultArgon2 is 19 MiB, two passes, one thread: about 20 ms of one core.
func DefaultArgon2() Argon2 { return Argon2{Memory: 19 * 1024, Passes: 2, Threads: 1} }

// Bounds of what is accepted, also from a stored hash: a hash that came with an import must not
// be able to stop the server.
const (
	maxMemory  = 256 * 1024 // KiB
	maxPasses  = 32
	maxThreads = 16
	maxWork    = 1024 * 1024 // KiB times passes: about a second
	saltSize   = 16
	keySize    = 32
)

func (p Argon2) check() error {
	switch {
	case p.Passes < 1 || p.Passes > maxPasses:
		return fmt.Errorf("passes must be between 1 and %d", maxPasses)
	case p.Threads < 1 || p.Threads > maxThreads:
		return fmt.Errorf("threads must be between 1 and %d", maxThreads)
	case p.Memory < 8*uint32(p.Threads) || p.Memory > maxMemory:
		// RFC 9106 §3.1: at least eight blocks for each thread.
		return fmt.Errorf("memory must be between %d and %d KiB", 8*uint32(p.Threads), maxMemory)
	case p.Memory*p.Passes > maxWork:
		return fmt.Errorf("memory times passes must be at most %d KiB", maxWork)
	}
	return nil
}

// phc is a password hash in the PHC string format, as the reference implementation of Argon2
// writes it: $argon2id$v=19$m=19456,t=2,p=1$salt$key.
type phc struct {
	Argon2
	salt, key []byte
}

var errPHC = errors.New("authn: not a password hash that can be used")

func (h phc) encode() string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.Memory, h.Passes, h.Threads,
		b64.EncodeToString(h.salt), b64.EncodeToString(h.key))
}

// decodePHC accepts exactly what encode writes, within the bounds.
func decodePHC(s string) (phc, error) {
	var h phc
	if len(s) > 300 {
		return phc{}, errPHC
	}
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return phc{}, errPHC
	}
	costs := strings.Split(parts[3], ",")
	if len(costs) != 3 {
		return phc{}, errPHC
	}
	var n [3]uint32
	for i, name := range []string{"m=", "t=", "p="} {
		digits, ok := strings.CutPrefix(costs[i], name)
		v, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil || strconv.FormatUint(v, 10) != digits {
			return phc{}, errPHC
		}
		n[i] = uint32(v)
	}
	if n[2] > maxThreads {
		return phc{}, errPHC
	}
	h.Argon2 = Argon2{Memory: n[0], Passes: n[1], Threads: uint8(n[2])}
	if h.check() != nil {
		return phc{}, errPHC
	}
	b64 := base64.RawStdEncoding.Strict()
	var err, err2 error
	h.salt, err = b64.DecodeString(parts[4])
	h.key, err2 = b64.DecodeString(parts[5])
	if err != nil || err2 != nil || len(h.salt) < 8 || len(h.salt) > 64 || len(h.key) < 16 || len(h.key) > 64 || h.encode() != s {
		return phc{}, errPHC
	}
	return h, nil
}

// weakerThan reports whether a password should be hashed again at cost p.
func (h phc) weakerThan(p Argon2) bool {
	return h.Memory < p.Memory || h.Passes < p.Passes || len(h.salt) < saltSize || len(h.key) < keySize
}

// hasher hashes so many passwords at once and no more: each takes a core and much memory, and
// more at once would only make all of them late.
type hasher struct {
	cost  Argon2
	slots chan struct{}
	wait  time.Duration
	// nobody is what the passwords of unknown people are compared with. It costs what a new
	// hash costs; a person's older, cheaper hash takes less time until their next sign-in.
	nobody string
}

func newHasher(cost Argon2, atOnce int, wait time.Duration) *hasher {
	h := &hasher{cost: cost, slots: make(chan struct{}, atOnce), wait: wait}
	h.nobody = phc{Argon2: cost, salt: randomBytes(saltSize), key: randomBytes(keySize)}.encode()
	return h
}

// randomBytes never fails: crypto/rand ends the program when the system has no randomness.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func (h *hasher) acquire(ctx context.Context) error {
	select {
	case h.slots <- struct{}{}:
		return nil
	default:
	}
	t := time.NewTimer(h.wait)
	defer t.Stop()
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		e := problem.New(problem.Unavailable, "Too many people are signing in right now. Try again in a moment.")
		e.RetryAfter = h.wait
		return e
	}
}

func (h *hasher) release() { <-h.slots }

// derive computes what phc.key should be. A password is compared in Unicode's form NFC, since
// keyboards differ in how they compose an accent (RFC 8265 §4.2.2).
func derive(pw keys.Secret, salt []byte, cost Argon2, size int) []byte {
	return argon2.IDKey(norm.NFC.Bytes([]byte(pw.Reveal())), salt, cost.Passes, cost.Memory, cost.Threads, uint32(size)) //nolint:gosec // size is at most 64
}

// hash returns the PHC string of a new password.
func (h *hasher) hash(ctx context.Context, pw keys.Secret) (string, error) {
	if err := h.acquire(ctx); err != nil {
		return "", err
	}
	defer h.release()
	out := phc{Argon2: h.cost, salt: randomBytes(saltSize)}
	out.key = derive(pw, out.salt, h.cost, keySize)
	return out.encode(), nil
}

// verify reports whether pw is the password of the stored hash, and whether that should be
// made anew at today's cost. An empty or unusable hash matches nothing, after the same time.
func (h *hasher) verify(ctx context.Context, stored string, pw keys.Secret) (match, again bool, err error) {
	p, err := decodePHC(stored)
	usable := err == nil
	if !usable {
		if p, err = decodePHC(h.nobody); err != nil {
			return false, false, err
		}
	}
	if len(pw) > 4*maxPassword {
		pw, usable = "", false
	}
	if err := h.acquire(ctx); err != nil {
		return false, false, err
	}
	defer h.release()
	key := derive(pw, p.salt, p.Argon2, len(p.key))
	match = subtle.ConstantTimeCompare(key, p.key) == 1 && usable
	return match, match && p.weakerThan(h.cost), nil
}
