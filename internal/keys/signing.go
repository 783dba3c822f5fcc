package keys

import (
	"crypto"
	"crypto/rsa"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/latchkey-idp/latchkey/internal/keys/libcrypto"
	"github.com/latchkey-idp/latchkey/internal/problem"
)

// Signing says who computes signatures. Each gives the same bytes; libcrypto is faster.
type Signing string

// The choices.
const (
	SignAuto      Signing = "auto"      // libcrypto where there is one, else Go
	SignGo        Signing = "go"        // Go's own crypto/rsa
	SignLibcrypto Signing = "libcrypto" // libcrypto, and an error where there is none
)

// Check returns an error for the person if there is no such choice. "" means SignAuto.
func (s Signing) Check() error {
	switch s {
	case "", SignAuto, SignGo, SignLibcrypto:
		return nil
	}
	return problem.New(problem.Invalid, "Signatures are made by auto, go or libcrypto, not by %q.", string(s))
}

// inTurn bounds how many signatures are made at once, and makes them in the order in which they were asked for. More of
// them than processors would only slow each other down, so that the first ends with the last; libcrypto's besides are
// out of reach of Go's scheduler.
type inTurn struct {
	crypto.Signer
	turns chan struct{}
}

func (s *inTurn) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	s.turns <- struct{}{}
	defer func() { <-s.turns }()
	return s.Signer.Sign(rand, digest, opts)
}

// backend makes private keys ready to sign. The library is looked for when it is first needed, since that takes some
// milliseconds that most commands needn't spend.
type backend struct {
	choice Signing
	load   func() (*libcrypto.Library, error)
	turns  chan struct{} // as many as signatures are made at once

	once sync.Once
	lib  *libcrypto.Library // nil: Go signs
	why  error              // why lib is nil although it was asked for
}

func (b *backend) library() (*libcrypto.Library, error) {
	b.once.Do(func() {
		if b.choice != SignGo {
			b.lib, b.why = b.load()
		}
	})
	return b.lib, b.why
}

func newBackend() *backend {
	return &backend{choice: SignGo, load: libcrypto.Load, turns: make(chan struct{}, runtime.GOMAXPROCS(0))}
}

// open loads the library if it is wanted. The error is for the person.
func (b *backend) open() (*libcrypto.Library, error) {
	if err := b.choice.Check(); err != nil {
		return nil, err
	}
	lib, why := b.library()
	if why != nil && b.choice == SignLibcrypto {
		return nil, problem.Wrap(problem.Unavailable, why, "There is no libcrypto of OpenSSL 3 here that can be used. Install it, or set signing to auto. The cause: %v", why)
	}
	return lib, nil
}

// signer makes a key ready.
func (b *backend) signer(key *rsa.PrivateKey) (crypto.Signer, error) {
	lib, err := b.open()
	if err != nil {
		return nil, err
	}
	out := &inTurn{Signer: key, turns: b.turns}
	if lib == nil {
		return out, nil
	}
	s, err := lib.Signer(key)
	switch {
	case err == nil:
		out.Signer = s
	case b.choice == SignLibcrypto:
		return nil, fmt.Errorf("keys: make the key ready: %w", err)
	}
	return out, nil
}

// Signing finds out who makes the signatures, as a text for the log: "Go", or the library's name and version. reason
// says why it is Go where libcrypto was looked for. The error, for the person, is that libcrypto is demanded and absent.
func (p *Pairs) Signing() (by string, reason, err error) {
	lib, err := p.signing.open()
	switch {
	case err != nil:
		return "", nil, err
	case lib != nil:
		return lib.Version(), nil, nil
	}
	return "Go", p.signing.why, nil
}
