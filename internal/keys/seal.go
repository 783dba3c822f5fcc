package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// MasterKeySize is the length of a master key in bytes.
const MasterKeySize = 32

// sealVersion begins every sealed text, so that another scheme can follow one day.
const sealVersion = "v1"

// ErrSealed is in the chain of every error of Open. A sealed text that can't be opened was made under another master
// key, belongs elsewhere, or was tampered with.
var ErrSealed = errors.New("keys: the sealed value can't be opened")

// Sealer seals secrets for the database with AES-256-GCM. It is safe for concurrent use.
type Sealer struct {
	id   string
	aead cipher.AEAD
}

// NewSealer returns a sealer under a master key of 32 random bytes (LoadMasterKey).
func NewSealer(master []byte) (*Sealer, error) {
	if len(master) != MasterKeySize {
		return nil, fmt.Errorf("keys: the master key has %d bytes; it needs %d", len(master), MasterKeySize)
	}
	// The master key itself never enciphers, so that other uses can be given keys of their own.
	key, err := hkdf.Key(sha256.New, master, nil, "latchkey seal "+sealVersion, MasterKeySize)
	if err != nil {
		return nil, fmt.Errorf("keys: derive the sealing key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	// A random 96-bit nonce is sound for 2³² seals under one key (NIST SP 800-38D §8.3), far more than there are
	// secrets in an installation.
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	sum := sha256.Sum256(append([]byte("latchkey key id\x00"), key...))
	return &Sealer{id: hex.EncodeToString(sum[:4]), aead: aead}, nil
}

// KeyID is the short public name of the master key; it stands in every sealed text.
func (s *Sealer) KeyID() string { return s.id }

// Seal enciphers plain for one place, named by aad, e.g. "scim_integrations/<application id>/token". It can only be
// opened under the same key and for the same place, so a sealed text copied to another row is of no use.
func (s *Sealer) Seal(plain []byte, aad string) (string, error) {
	nonce := make([]byte, s.aead.NonceSize(), s.aead.NonceSize()+len(plain)+s.aead.Overhead())
	if _, err := rand.Read(nonce); err != nil {
		return "", fmt.Errorf("keys: seal: %w", err)
	}
	prefix := sealVersion + "." + s.id + "."
	return prefix + base64.RawURLEncoding.EncodeToString(s.aead.Seal(nonce, nonce, plain, []byte(prefix+aad))), nil
}

// Open is the inverse of Seal. Its errors wrap ErrSealed and say whether the master key is another one.
func (s *Sealer) Open(sealed, aad string) ([]byte, error) {
	version, rest, ok := strings.Cut(sealed, ".")
	id, body, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 || version != sealVersion {
		return nil, fmt.Errorf("%w: not a sealed text", ErrSealed)
	}
	if id != s.id {
		return nil, fmt.Errorf("%w: it was sealed under master key %q, and the present one is %s", ErrSealed, id, s.id)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil || len(raw) < s.aead.NonceSize() {
		return nil, fmt.Errorf("%w: damaged", ErrSealed)
	}
	n := s.aead.NonceSize()
	plain, err := s.aead.Open(nil, raw[:n], raw[n:], []byte(version+"."+id+"."+aad))
	if err != nil {
		return nil, fmt.Errorf("%w: damaged, or it belongs elsewhere", ErrSealed)
	}
	return plain, nil
}
