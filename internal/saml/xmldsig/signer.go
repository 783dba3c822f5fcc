package xmldsig

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"sync"
)

// Signer signs with one key and names one certificate in KeyInfo. All that does not change from one signature to the
// next is made once. It is safe for concurrent use if its key is.
type Signer struct {
	key    crypto.Signer
	cert   *x509.Certificate
	method method
	sigLen int // bytes of a signature value

	// The Signature element is head, ID, middle, digest, afterDigest, value, tail.
	head, middle, tail string
	info               []byte // SignedInfo's start tag as it is signed

	scratch sync.Pool // *scratch
}

// scratch is what one signature needs while it is made.
type scratch struct {
	hash hash.Hash
	sum  [64]byte
}

const (
	sigStart    = `<ds:Signature xmlns:ds="` + ns + `">`
	infoStart   = `<ds:SignedInfo>`                       // as it stands in the document
	infoC14N    = `<ds:SignedInfo xmlns:ds="` + ns + `">` // as exclusive canonicalization makes it for signing
	afterDigest = `</ds:DigestValue></ds:Reference></ds:SignedInfo>`
	valueStart  = `<ds:SignatureValue>`
)

// NewSigner prepares a key (RSA from 2048 bits or ECDSA) for signing. The certificate must be of that key; it is put
// into KeyInfo exactly as it is. hash is SHA-256 (also meant by 0), SHA-384 or SHA-512.
func NewSigner(key crypto.Signer, cert *x509.Certificate, hash crypto.Hash) (*Signer, error) {
	if hash == 0 {
		hash = crypto.SHA256
	}
	if hash == crypto.SHA1 {
		return nil, fmt.Errorf("xmldsig: hash %v is not allowed", hash)
	}
	return newSigner(key, cert, hash)
}

// NewSignerSHA1 is NewSigner for a peer that takes nothing but RSASHA1: an exception that an administrator makes.
func NewSignerSHA1(key crypto.Signer, cert *x509.Certificate) (*Signer, error) {
	return newSigner(key, cert, crypto.SHA1)
}

func newSigner(key crypto.Signer, cert *x509.Certificate, hash crypto.Hash) (*Signer, error) {
	if key == nil || cert == nil {
		return nil, errors.New("xmldsig: a signer needs a key and a certificate")
	}
	public := key.Public()
	if err := CheckKey(public); err != nil {
		return nil, fmt.Errorf("xmldsig: %w", err)
	}
	if eq, ok := public.(interface{ Equal(crypto.PublicKey) bool }); !ok || !eq.Equal(cert.PublicKey) {
		return nil, errors.New("xmldsig: the certificate is of another key")
	}
	s := &Signer{key: key, cert: cert, method: method{hash: hash}, info: []byte(infoC14N)}
	switch public := public.(type) {
	case *rsa.PublicKey:
		s.sigLen = public.Size()
	case *ecdsa.PublicKey:
		s.method.ecdsa = true
		s.sigLen = 2 * halfLen(public)
	}
	if s.method.uri() == "" {
		return nil, fmt.Errorf("xmldsig: hash %v is not allowed for this type of key", hash)
	}
	s.head = `<ds:CanonicalizationMethod Algorithm="` + algExcC14N + `"></ds:CanonicalizationMethod>` +
		`<ds:SignatureMethod Algorithm="` + s.method.uri() + `"></ds:SignatureMethod><ds:Reference URI="#`
	s.middle = `"><ds:Transforms><ds:Transform Algorithm="` + algEnveloped + `"></ds:Transform>` +
		`<ds:Transform Algorithm="` + algExcC14N + `"></ds:Transform></ds:Transforms>` +
		`<ds:DigestMethod Algorithm="` + digestURI(hash) + `"></ds:DigestMethod><ds:DigestValue>`
	s.tail = `</ds:SignatureValue><ds:KeyInfo><ds:X509Data><ds:X509Certificate>` +
		base64.StdEncoding.EncodeToString(cert.Raw) + `</ds:X509Certificate></ds:X509Data></ds:KeyInfo></ds:Signature>`
	s.scratch.New = func() any { return &scratch{hash: hash.New()} }
	return s, nil
}

// Certificate returns the certificate that KeyInfo names.
func (s *Signer) Certificate() *x509.Certificate { return s.cert }

// Algorithm returns the identifier of the signature algorithm.
func (s *Signer) Algorithm() string { return s.method.uri() }

// Len returns the exact length of the Signature element for a reference to this ID.
func (s *Signer) Len(id string) int {
	return len(sigStart) + len(infoStart) + len(s.head) + len(id) + len(s.middle) +
		base64.StdEncoding.EncodedLen(s.method.hash.Size()) + len(afterDigest) +
		len(valueStart) + base64.StdEncoding.EncodedLen(s.sigLen) + len(s.tail)
}

// Sign signs the element whose ID is given and whose canonical form is element without the Len(id) bytes that begin at
// gap; it puts the Signature element there. So the bytes are hashed where they stand, and nothing moves.
func (s *Signer) Sign(element []byte, gap int, id string) error {
	if !IsNCName(id) {
		return fmt.Errorf("xmldsig: %q can't be an ID", id)
	}
	end := gap + s.Len(id)
	if gap <= 0 || end >= len(element) {
		return errors.New("xmldsig: the gap for the signature is not within the element")
	}
	t := s.scratch.Get().(*scratch)
	defer s.scratch.Put(t)
	t.hash.Reset()
	t.hash.Write(element[:gap])
	t.hash.Write(element[end:])
	digest := t.hash.Sum(t.sum[:0])

	out := element[gap:gap:end]
	out = append(out, sigStart...)
	out = append(out, infoStart...)
	info := len(out)
	out = append(out, s.head...)
	out = append(out, id...)
	out = append(out, s.middle...)
	out = base64.StdEncoding.AppendEncode(out, digest)
	out = append(out, afterDigest...)

	t.hash.Reset()
	t.hash.Write(s.info)
	t.hash.Write(out[info:])
	value, err := s.sign(t.hash.Sum(t.sum[:0]))
	if err != nil {
		return err
	}
	out = append(out, valueStart...)
	out = base64.StdEncoding.AppendEncode(out, value)
	out = append(out, s.tail...)
	if len(out) != end-gap {
		return errors.New("xmldsig: the signature has an unexpected length")
	}
	return nil
}

// SignDetached signs bytes as the HTTP-Redirect binding does.
func (s *Signer) SignDetached(octets []byte) ([]byte, error) {
	h := s.method.hash.New()
	h.Write(octets)
	return s.sign(h.Sum(nil))
}

// sign makes the signature value in XML signature's form.
func (s *Signer) sign(digest []byte) ([]byte, error) {
	value, err := s.key.Sign(rand.Reader, digest, s.method.hash)
	if err != nil {
		return nil, fmt.Errorf("xmldsig: sign: %w", err)
	}
	if s.method.ecdsa {
		if value, err = ecdsaFromDER(s.cert.PublicKey.(*ecdsa.PublicKey), value); err != nil {
			return nil, fmt.Errorf("xmldsig: sign: %w", err)
		}
	}
	if len(value) != s.sigLen {
		return nil, fmt.Errorf("xmldsig: sign: a signature of %d bytes, expected %d", len(value), s.sigLen)
	}
	return value, nil
}
