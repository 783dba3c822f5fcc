package authn

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

func TestDecodePHC(t *testing.T) {
	const salt, key = "c2FsdHNhbHRzYWx0c2FsdA", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
	for _, c := range []struct {
		name, in string
		ok       bool
	}{
		{"default cost", "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + key, true},
		{"Keycloak's cost", "$argon2id$v=19$m=7168,t=5,p=1$" + salt + "$" + key, true},
		{"no passes", "$argon2id$v=19$m=19456,t=0,p=1$" + salt + "$" + key, false},
		{"no threads", "$argon2id$v=19$m=19456,t=2,p=0$" + salt + "$" + key, false},
		{"no memory", "$argon2id$v=19$m=0,t=2,p=1$" + salt + "$" + key, false},
		{"less than eight blocks a thread", "$argon2id$v=19$m=15,t=2,p=2$" + salt + "$" + key, false},
		{"four gigabytes", "$argon2id$v=19$m=4194304,t=1,p=1$" + salt + "$" + key, false},
		{"most memory", "$argon2id$v=19$m=262144,t=4,p=1$" + salt + "$" + key, true},
		{"a long time", "$argon2id$v=19$m=262144,t=5,p=1$" + salt + "$" + key, false},
		{"very many passes", "$argon2id$v=19$m=64,t=4294967295,p=1$" + salt + "$" + key, false},
		{"threads beyond a byte", "$argon2id$v=19$m=19456,t=2,p=257$" + salt + "$" + key, false},
		{"overflow", "$argon2id$v=19$m=99999999999999999999,t=2,p=1$" + salt + "$" + key, false},
		{"leading zero", "$argon2id$v=19$m=019456,t=2,p=1$" + salt + "$" + key, false},
		{"sign", "$argon2id$v=19$m=+19456,t=2,p=1$" + salt + "$" + key, false},
		{"other order", "$argon2id$v=19$t=2,m=19456,p=1$" + salt + "$" + key, false},
		{"argon2i", "$argon2i$v=19$m=19456,t=2,p=1$" + salt + "$" + key, false},
		{"old version", "$argon2id$v=16$m=19456,t=2,p=1$" + salt + "$" + key, false},
		{"no version", "$argon2id$m=19456,t=2,p=1$" + salt + "$" + key, false},
		{"padded", "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "==$" + key + "=", false},
		{"not canonical base64", "$argon2id$v=19$m=19456,t=2,p=1$" + salt[:21] + "B$" + key, false},
		{"short salt", "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$" + key, false},
		{"short key", "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$AAEC", false},
		{"no key", "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$", false},
		{"line end in base64", "$argon2id$v=19$m=19456,t=2,p=1$" + salt[:4] + "\n" + salt[4:] + "$" + key, false},
		{"bcrypt", "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy", false},
		{"empty", "", false},
		{"very long", strings.Repeat("$", 1000), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, err := decodePHC(c.in)
			if (err == nil) != c.ok {
				t.Fatalf("got %v", err)
			}
			if err == nil && h.encode() != c.in {
				t.Errorf("encoded again: %s", h.encode())
			}
		})
	}
}

func FuzzDecodePHC(f *testing.F) {
	seeds, err := filepath.Glob("testdata/phc/*")
	if err != nil || len(seeds) == 0 {
		f.Fatalf("no seeds in testdata/phc: %v", err)
	}
	for _, name := range seeds {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(strings.TrimSpace(string(b)))
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := decodePHC(s)
		if err != nil {
			return
		}
		if err := h.check(); err != nil {
			t.Errorf("accepted a cost out of bounds: %v", err)
		}
		if h.encode() != s {
			t.Errorf("%q encodes as %q", s, h.encode())
		}
		if h.Memory*h.Passes <= 1024 { // a hash of every cost would take too long here
			argon2.IDKey([]byte("x"), h.salt, h.Passes, h.Memory, h.Threads, uint32(len(h.key)))
		}
	})
}

func TestVerify(t *testing.T) {
	h := newHasher(cheap, 1, time.Second)
	ctx := t.Context()
	stored, err := h.hash(ctx, "pässword of Zoë")
	if err != nil {
		t.Fatal(err)
	}
	twin, err := h.hash(ctx, "pässword of Zoë")
	if err != nil || twin == stored {
		t.Errorf("two hashes of one password are equal: the salt isn't random (%v)", err)
	}
	for _, c := range []struct {
		name   string
		stored string
		pw     keys.Secret
		want   bool
	}{
		{"right", stored, "pässword of Zoë", true},
		{"composed of letters and accents", stored, "pa\u0308ssword of Zoe\u0308", true},
		{"another accent", stored, "password of Zoe", false},
		{"empty", stored, "", false},
		{"too long", stored, keys.Secret(strings.Repeat("x", 1<<20)), false},
		{"no hash", "", "", false},
		{"broken hash", "$argon2id$v=19$m=64,t=0,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAECAwQFBgcICQoLDA0ODw", "x", false},
	} {
		got, _, err := h.verify(ctx, c.stored, c.pw)
		if err != nil || got != c.want {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
	}
}

func TestNoMoreHashesAtOnceThanAllowed(t *testing.T) {
	h := newHasher(cheap, 1, 20*time.Millisecond)
	if err := h.acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, _, err := h.verify(t.Context(), "", "x")
	wantKind(t, "while another hashes", err, problem.Unavailable)
	gone, stop := context.WithCancel(t.Context())
	stop()
	if _, err := h.hash(gone, "x"); err == nil {
		t.Error("hashed for somebody who has gone")
	}
	h.release()
	if _, _, err := h.verify(t.Context(), "", "x"); err != nil {
		t.Errorf("after the other: %v", err)
	}
}

// The yardstick of BenchmarkSignIn.
func BenchmarkBareHash(b *testing.B) {
	p := DefaultArgon2()
	salt := randomBytes(saltSize)
	for b.Loop() {
		argon2.IDKey([]byte(goodPassword), salt, p.Passes, p.Memory, p.Threads, keySize)
	}
}

// A whole sign-in with durable session and event on SQLite, at the default cost. Target: 1.15
// times BenchmarkBareHash.
func BenchmarkSignIn(b *testing.B) {
	db := storetest.SQLite(b)
	h := open(b, db, newClock(), func(c *Config) { c.Argon2 = DefaultArgon2() })
	h.person("anna")
	_, token, device := "", "", ""
	for b.Loop() {
		s, t := h.mustIn("anna", func(a *Attempt) { a.Replace, a.Device = token, device })
		token = t
		if d := s.Device.Reveal(); d != "" {
			device = d
		}
	}
}

func BenchmarkSession(b *testing.B) {
	h := open(b, storetest.SQLite(b), newClock())
	h.person("anna")
	_, token := h.mustIn("anna")
	for b.Loop() {
		if _, err := h.Session(b.Context(), token); err != nil {
			b.Fatal(err)
		}
	}
}
