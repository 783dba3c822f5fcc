package keys

import (
	"crypto"
	"crypto/rsa"
	"fmt"
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

// backend makes private keys ready to sign. The library is looked for when it is first needed, since that takes some
// milliseconds that most commands needn't spend.
type backend struct {
	choice Signing
	load   func() (*libcrypto.Library, error)

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
	if lib == nil {
		return key, nil
	}
	s, err := lib.Signer(key)
	switch {
	case err == nil:
		return s, nil
	case b.choice == SignLibcrypto:
		return nil, fmt.Errorf("keys: make the key ready: %w", err)
	}
	return key, nil
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
