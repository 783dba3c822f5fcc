//go:build !((linux || darwin) && (amd64 || arm64)) || nolibcrypto

package libcrypto

import (
	"crypto"
	"crypto/rsa"
	"errors"
	"io"
)

// Library is never loaded in this build.
type Library struct{}

// Load always fails.
func Load() (*Library, error) {
	return nil, errors.New("libcrypto: this program was built without it")
}

// Version is empty.
func (*Library) Version() string { return "" }

// Signer always fails.
func (*Library) Signer(*rsa.PrivateKey) (*Signer, error) {
	return nil, errors.New("libcrypto: this program was built without it")
}

// Signer is Go's signer in this build.
type Signer struct{ key *rsa.PrivateKey }

// Public returns the public key.
func (s *Signer) Public() crypto.PublicKey { return s.key.Public() }

// Close does nothing.
func (s *Signer) Close() {}

// Sign is rsa.PrivateKey's.
func (s *Signer) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.key.Sign(rand, digest, opts)
}
