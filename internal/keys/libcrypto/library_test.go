//go:build (linux || darwin) && (amd64 || arm64) && !nolibcrypto

package libcrypto

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ebitengine/purego"
)

func library(t testing.TB) *Library {
	t.Helper()
	l, err := Load()
	if err != nil {
		t.Fatalf("these tests need the libcrypto of OpenSSL 3 (Debian: apt-get install libssl3): %v", err)
	}
	return l
}

// testingKey reads a key that was made for these tests.
func testingKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("testdata/rsa-%d.pem", bits))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil || key.N.BitLen() != bits {
		t.Fatalf("%v", err)
	}
	return key
}

func signer(t testing.TB, l *Library, key *rsa.PrivateKey) *Signer {
	t.Helper()
	s, err := l.Signer(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func random(t testing.TB, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVersionIsOfOpenSSL(t *testing.T) {
	if v := library(t).Version(); !strings.HasPrefix(v, "OpenSSL 3.") {
		t.Errorf("version %q", v)
	}
}

func TestSameBytesAsGo(t *testing.T) {
	l := library(t)
	for _, bits := range []int{2048, 3072, 4096} {
		key := testingKey(t, bits)
		s := signer(t, l, key)
		if !key.PublicKey.Equal(s.Public()) {
			t.Errorf("%d bits: another public key", bits)
		}
		for _, h := range hashes {
			t.Run(fmt.Sprintf("%d %v", bits, h), func(t *testing.T) {
				for range 10 {
					digest := random(t, h.Size())
					want, err := rsa.SignPKCS1v15(nil, key, h, digest)
					if err != nil {
						t.Fatal(err)
					}
					// Not by way of Sign, which would have Go sign instead.
					got, err := s.foreign(digest, h)
					if err != nil {
						t.Fatal(err)
					}
					if !bytes.Equal(got, want) {
						t.Fatalf("digest %x: signature %x, Go makes %x", digest, got, want)
					}
					if got, err = s.Sign(rand.Reader, digest, h); err != nil || !bytes.Equal(got, want) {
						t.Fatalf("Sign: %x, %v", got, err)
					}
				}
			})
		}
	}
}

// What isn't for the library is done by Go, and refused as Go refuses it.
func TestGoDoesTheRest(t *testing.T) {
	key := testingKey(t, 2048)
	s := signer(t, library(t), key)
	for name, c := range map[string]struct {
		digest []byte
		opts   crypto.SignerOpts
		bad    bool
	}{
		"SHA-224":                  {random(t, 28), crypto.SHA224, false},
		"no hash":                  {random(t, 30), crypto.Hash(0), false},
		"digest too short":         {random(t, 31), crypto.SHA256, true},
		"digest of another length": {random(t, 32), crypto.SHA512, true},
		"no digest":                {nil, crypto.SHA256, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := s.Sign(rand.Reader, c.digest, c.opts)
			want, wantErr := key.Sign(rand.Reader, c.digest, c.opts)
			if !bytes.Equal(got, want) || fmt.Sprint(err) != fmt.Sprint(wantErr) || (err != nil) != c.bad {
				t.Errorf("%x %v, Go: %x %v", got, err, want, wantErr)
			}
		})
	}
	t.Run("PSS", func(t *testing.T) {
		digest, opts := random(t, 32), &rsa.PSSOptions{Hash: crypto.SHA256}
		sig, err := s.Sign(rand.Reader, digest, opts)
		if err != nil {
			t.Fatal(err)
		}
		if err := rsa.VerifyPSS(&key.PublicKey, crypto.SHA256, digest, sig, opts); err != nil {
			t.Error(err)
		}
	})
}

// Signatures in many goroutines stay right while signers come, are closed in the middle of it, and are collected.
func TestConcurrently(t *testing.T) {
	l, key := library(t), testingKey(t, 2048)
	digest := random(t, 32)
	want, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest)
	if err != nil {
		t.Fatal(err)
	}
	shared := signer(t, l, key)
	check := func(s *Signer) {
		if got, err := s.Sign(rand.Reader, digest, crypto.SHA256); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%x, %v", got, err)
		}
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 8 {
				check(shared)
				own, err := l.Signer(key)
				if err != nil {
					t.Error(err)
					return
				}
				var pair sync.WaitGroup
				pair.Go(func() { check(own) })
				pair.Go(own.Close)
				pair.Wait()
				check(own) // by Go: it is closed
				dropped, err := l.Signer(key)
				if err != nil {
					t.Error(err)
					return
				}
				check(dropped)
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			runtime.GC()
			time.Sleep(time.Millisecond)
		}
	})
	wg.Wait()
	if n := len(shared.mem.free[1]); n < 1 || n > 4 {
		t.Errorf("%d contexts of one key that signed at most 4 times at once", n)
	}
}

// A signer that nobody holds gives its foreign memory back, and so does one that is closed.
func TestNothingLeaks(t *testing.T) {
	l, key := library(t), testingKey(t, 2048)
	digest := random(t, 32)
	use := func(n int, end func(*Signer)) {
		for range n {
			s := signer(t, l, key)
			for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA512} {
				if _, err := s.foreign(append(digest, digest...)[:h.Size()], h); err != nil {
					t.Fatal(err)
				}
			}
			end(s)
		}
	}
	collected := func() (pkeys, contexts int64) {
		for range 100 {
			runtime.GC()
			if pkeys, contexts = l.pkeys.Load(), l.contexts.Load(); pkeys+contexts == 0 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		return pkeys, contexts
	}
	t.Run("dropped", func(t *testing.T) {
		use(30, func(*Signer) {})
		if p, c := collected(); p != 0 || c != 0 {
			t.Errorf("%d keys and %d contexts are still held", p, c)
		}
	})
	t.Run("closed", func(t *testing.T) {
		use(30, func(s *Signer) { s.Close(); s.Close() })
		if p, c := l.pkeys.Load(), l.contexts.Load(); p != 0 || c != 0 {
			t.Errorf("%d keys and %d contexts are still held", p, c)
		}
	})
	t.Run("resident", func(t *testing.T) {
		keys := func(n int) {
			for range n {
				s := signer(t, l, key)
				ctx, err := s.mem.take(1)
				if err != nil {
					t.Fatal(err)
				}
				s.mem.give(1, ctx)
				s.Close()
			}
			debug.FreeOSMemory()
		}
		keys(500) // what the library keeps for good
		before := resident(t)
		keys(2000)
		// A key takes about 10 KB: 2000 lost ones would be 20 MB. Go's own heap moves by some 3 MB.
		if grown := resident(t) - before; grown > 8<<20 {
			t.Errorf("%d KB more resident after 2000 keys", grown>>10)
		}
	})
	t.Run("failed signatures", func(t *testing.T) {
		s := signer(t, l, key)
		defer s.Close()
		for range 20 {
			if err := s.mem.explain(1, make([]byte, 10), digest); err == nil || !strings.Contains(err.Error(), "error:") {
				t.Fatalf("a signature without room: %v", err)
			}
		}
		if c := l.contexts.Load(); c != 0 {
			t.Errorf("%d contexts are held", c)
		}
	})
}

func resident(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0 // not Linux: the counts above have to do
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// After a failure nothing is left in the thread's error queue, and the error tells what it was.
func TestErrorsAreTaken(t *testing.T) {
	l := library(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for name, der := range map[string][]byte{"no DER": random(t, 100), "empty": {}, "cut": x509.MarshalPKCS1PrivateKey(testingKey(t, 2048))[:500]} {
		if _, err := l.readKey(der); err == nil {
			t.Errorf("%s: read as a key", name)
		}
		if code, _, _ := purego.SyscallN(l.fn.ERR_peek_last_error); code != 0 {
			t.Errorf("%s: error %#x is left", name, code)
		}
	}
	if _, err := l.Signer(testingKey(t, 2048)); err != nil {
		t.Fatal(err)
	}
	if code, _, _ := purego.SyscallN(l.fn.ERR_peek_last_error); code != 0 {
		t.Errorf("after reading a key error %#x is left", code)
	}
}

func TestCopyOfTheKeyIsOverwritten(t *testing.T) {
	var kept []byte
	if err := withDER(testingKey(t, 2048), func(der []byte) error {
		if _, err := x509.ParsePKCS1PrivateKey(der); err != nil {
			t.Errorf("what is handed out is no key: %v", err)
		}
		kept = der
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(kept) < 1000 || bytes.Count(kept, []byte{0}) != len(kept) {
		t.Error("the copy is still there")
	}
}

// What can't be used is told apart from what can, without harm.
func TestUnusableLibraries(t *testing.T) {
	text := filepath.Join(t.TempDir(), "libcrypto.so.3")
	if err := os.WriteFile(text, []byte("no library"), 0o600); err != nil {
		t.Fatal(err)
	}
	other := "libm.so.6"
	if runtime.GOOS == "darwin" {
		other = "/usr/lib/libz.1.dylib"
	}
	for name, c := range map[string]struct {
		from []string
		want string
	}{
		"absent":          {[]string{"libcrypto.so.none", "/nonexistent/libcrypto"}, "not found"},
		"nowhere to look": {nil, "not found"},
		"not a library":   {[]string{text}, "not found"},
		"another library": {[]string{other}, "not OpenSSL 3"},
	} {
		t.Run(name, func(t *testing.T) {
			if l, err := load(c.from...); err == nil || l != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, %v", l, err)
			}
		})
	}
	if _, err := load(append([]string{"libcrypto.so.none"}, names()...)...); err != nil {
		t.Errorf("the second of two places: %v", err)
	}
}

func TestSelfTestFindsAnotherSignature(t *testing.T) {
	l := library(t)
	one, two := testingKey(t, 2048), testingKey(t, 3072)
	s := signer(t, l, one)
	s.key = two // Go signs with another key than the library
	if err := s.compare(crypto.SHA256); err == nil || !strings.Contains(err.Error(), "another signature") {
		t.Errorf("%v", err)
	}
}
