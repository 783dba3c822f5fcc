package xmldsig

import (
	"crypto"
	"crypto/x509"
	"errors"
)

// Signer signs with one key and names one certificate in KeyInfo. It is safe for concurrent use if its key is.
type Signer struct {
	key  crypto.Signer
	cert *x509.Certificate
	hash crypto.Hash
}

// NewSigner prepares a key (RSA or ECDSA) for signing. The certificate must be of that key. hash is SHA-256 (also
// meant by 0), SHA-384 or SHA-512.
func NewSigner(key crypto.Signer, cert *x509.Certificate, hash crypto.Hash) (*Signer, error) {
	return &Signer{key, cert, hash}, errors.New("xmldsig: being written")
}
