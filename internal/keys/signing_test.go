package keys

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/latchkey-idp/latchkey/internal/keys/libcrypto"
	"github.com/latchkey-idp/latchkey/internal/problem"
)

func TestWhoSigns(t *testing.T) {
	lib, absent := libcrypto.Load()
	present := absent == nil
	none := errors.New("libcrypto: not found")
	found := func() (*libcrypto.Library, error) { return lib, absent }
	missing := func() (*libcrypto.Library, error) { return nil, none }
	unwanted := func() (*libcrypto.Library, error) { t.Error("the library was looked for"); return nil, none }
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("x"))
	want, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		choice  Signing
		load    func() (*libcrypto.Library, error)
		foreign bool
		reason  bool
		refused problem.Kind
	}{
		"auto, present":       {SignAuto, found, present, !present, 0},
		"unset, present":      {"", found, present, !present, 0},
		"auto, absent":        {SignAuto, missing, false, true, 0},
		"go":                  {SignGo, unwanted, false, false, 0},
		"libcrypto, absent":   {SignLibcrypto, missing, false, false, problem.Unavailable},
		"something else":      {"boringssl", unwanted, false, false, problem.Invalid},
		"demanded, present":   {SignLibcrypto, found, present, false, kindUnless(present)},
		"default of NewPairs": {NewPairs(nil, nil).signing.choice, unwanted, false, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := NewPairs(nil, nil, WithSigning(c.choice))
			p.signing.load = c.load
			by, reason, err := p.Signing()
			if c.refused != 0 {
				if !problem.Is(err, c.refused) {
					t.Errorf("error %v", err)
				}
				if _, err := p.signing.signer(key); !problem.Is(err, c.refused) {
					t.Errorf("a key's error is %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.foreign != strings.HasPrefix(by, "OpenSSL 3") || !c.foreign && by != "Go" || (reason != nil) != c.reason {
				t.Errorf("by %q, reason %v", by, reason)
			}
			s, err := p.signing.signer(key)
			if err != nil {
				t.Fatal(err)
			}
			if _, isGo := s.(*inTurn).Signer.(*rsa.PrivateKey); isGo == c.foreign {
				t.Errorf("the signer is %T", s)
			}
			if got, err := s.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%x, %v", got, err)
			}
		})
	}
}

func kindUnless(present bool) problem.Kind {
	if present {
		return 0
	}
	return problem.Unavailable
}

// slowSigner tells when it signs, and ends when it is told to.
type slowSigner struct {
	crypto.Signer
	began chan byte
	end   chan bool
}

func (s slowSigner) Sign(_ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	s.began <- digest[0]
	<-s.end
	return digest, nil
}

// No more signatures are made at once than there are turns, and none overtakes another.
func TestSignaturesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := slowSigner{began: make(chan byte, 100), end: make(chan bool)}
		s := &inTurn{Signer: slow, turns: make(chan struct{}, 2)}
		var wg sync.WaitGroup
		for i := range byte(6) {
			wg.Go(func() {
				if got, err := s.Sign(nil, []byte{i}, crypto.SHA256); err != nil || got[0] != i {
					t.Errorf("%v, %v", got, err)
				}
			})
			synctest.Wait() // so that they come in this order
		}
		var order []byte
		for i := range 6 {
			synctest.Wait()
			for len(slow.began) > 0 {
				order = append(order, <-slow.began)
			}
			if want := min(i+2, 6); len(order) != want {
				t.Errorf("after %d ended, %d began; want %d", i, len(order), want)
			}
			slow.end <- true
		}
		wg.Wait()
		if !slices.IsSorted(order) {
			t.Errorf("the order is %v", order)
		}
	})
}

// Until a key is needed the library isn't touched.
func TestLibraryIsLoadedWhenNeeded(t *testing.T) {
	loads := 0
	p := NewPairs(nil, nil, WithSigning(SignAuto))
	p.signing.load = func() (*libcrypto.Library, error) { loads++; return nil, errors.New("none") }
	if loads != 0 {
		t.Error("loaded before anybody signs")
	}
	for range 3 {
		if _, _, err := p.Signing(); err != nil {
			t.Fatal(err)
		}
	}
	if loads != 1 {
		t.Errorf("looked for %d times", loads)
	}
}
