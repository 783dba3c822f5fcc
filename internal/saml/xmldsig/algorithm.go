package xmldsig

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	_ "crypto/sha1"   //nolint:gosec // G505: registers SHA-1, for the exception that AllowSHA1 and NewSignerSHA1 make
	_ "crypto/sha256" // registers SHA-256
	_ "crypto/sha512" // registers SHA-384 and SHA-512
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
)

// Identifiers of xmldsig-core and RFC 6931.
const (
	ns           = "http://www.w3.org/2000/09/xmldsig#"
	algEnveloped = ns + "enveloped-signature"
	algExcC14N   = "http://www.w3.org/2001/10/xml-exc-c14n#"

	RSASHA256   = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
	RSASHA384   = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384"
	RSASHA512   = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512"
	ECDSASHA256 = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"
	ECDSASHA384 = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"
	ECDSASHA512 = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512"

	// RSASHA1 is broken against whoever can choose what is signed. It is taken only where an option says so.
	RSASHA1 = ns + "rsa-sha1"

	digestSHA1   = ns + "sha1"
	digestSHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
	digestSHA384 = "http://www.w3.org/2001/04/xmldsig-more#sha384"
	digestSHA512 = "http://www.w3.org/2001/04/xmlenc#sha512"
)

// method is a signature algorithm bound to the type of key that it works with.
type method struct {
	hash  crypto.Hash
	ecdsa bool
}

// Option loosens a rule of verification.
type Option func(*options)

type options struct{ sha1, inner bool }

// AllowSHA1 takes RSASHA1 signatures and SHA-1 digests too: an exception that an administrator makes for one peer that
// can do no better.
func AllowSHA1() Option { return func(o *options) { o.sha1 = true } }

// AllowInner takes a root whose children are signed too, by signatures that are content like any other and are not
// verified: an answer of which both the response and the assertion are signed. The root's own signature is still the
// only one among its children.
func AllowInner() Option { return func(o *options) { o.inner = true } }

func optionsOf(opts []Option) (o options) {
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// method is the whole allow-list of signature algorithms: no MAC, and SHA-1 only by exception.
func (o options) method(uri string) (method, bool) {
	switch uri {
	case RSASHA1:
		return method{crypto.SHA1, false}, o.sha1
	case RSASHA256:
		return method{crypto.SHA256, false}, true
	case RSASHA384:
		return method{crypto.SHA384, false}, true
	case RSASHA512:
		return method{crypto.SHA512, false}, true
	case ECDSASHA256:
		return method{crypto.SHA256, true}, true
	case ECDSASHA384:
		return method{crypto.SHA384, true}, true
	case ECDSASHA512:
		return method{crypto.SHA512, true}, true
	}
	return method{}, false
}

// uri is the inverse of options.method.
func (m method) uri() string {
	switch m {
	case method{crypto.SHA1, false}:
		return RSASHA1
	case method{crypto.SHA256, false}:
		return RSASHA256
	case method{crypto.SHA384, false}:
		return RSASHA384
	case method{crypto.SHA512, false}:
		return RSASHA512
	case method{crypto.SHA256, true}:
		return ECDSASHA256
	case method{crypto.SHA384, true}:
		return ECDSASHA384
	case method{crypto.SHA512, true}:
		return ECDSASHA512
	}
	return ""
}

// digest is the whole allow-list of digest algorithms.
func (o options) digest(uri string) (crypto.Hash, bool) {
	switch uri {
	case digestSHA1:
		return crypto.SHA1, o.sha1
	case digestSHA256:
		return crypto.SHA256, true
	case digestSHA384:
		return crypto.SHA384, true
	case digestSHA512:
		return crypto.SHA512, true
	}
	return 0, false
}

func digestURI(h crypto.Hash) string {
	switch h {
	case crypto.SHA1:
		return digestSHA1
	case crypto.SHA256:
		return digestSHA256
	case crypto.SHA384:
		return digestSHA384
	case crypto.SHA512:
		return digestSHA512
	}
	return ""
}

// fits reports whether a public key is of the type that the method works with.
func (m method) fits(key crypto.PublicKey) bool {
	switch key.(type) {
	case *rsa.PublicKey:
		return !m.ecdsa
	case *ecdsa.PublicKey:
		return m.ecdsa
	}
	return false
}

// verifyAny checks a signature over octets by the keys that are of the right type and strong enough. Only the key is
// trusted, not what a certificate says of it: SAML metadata pins keys, and expired certificates are common there
// (saml-metadata-iop §2.6.1).
func (m method) verifyAny(keys []crypto.PublicKey, octets, signature []byte) error {
	h := m.hash.New()
	h.Write(octets)
	digest := h.Sum(nil)
	for _, key := range keys {
		if CheckKey(key) == nil && m.fits(key) && len(signature) > 0 && m.verify(key, digest, signature) {
			return nil
		}
	}
	return errors.New("the signature does not verify with a known key")
}

// verify checks a signature in XML signature's form: for ECDSA that is r and s side by side (RFC 6931 §2.3.6).
func (m method) verify(key crypto.PublicKey, digest, signature []byte) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return !m.ecdsa && rsa.VerifyPKCS1v15(key, m.hash, digest, signature) == nil
	case *ecdsa.PublicKey:
		der, err := ecdsaToDER(key, signature)
		return m.ecdsa && err == nil && ecdsa.VerifyASN1(key, digest, der)
	}
	return false
}

// halfLen is the length of r and of s for a curve.
func halfLen(key *ecdsa.PublicKey) int { return (key.Curve.Params().BitSize + 7) / 8 }

// ecdsaToDER turns r‖s into the ASN.1 form that Go's libraries take.
func ecdsaToDER(key *ecdsa.PublicKey, signature []byte) ([]byte, error) {
	n := halfLen(key)
	if len(signature) != 2*n {
		return nil, errors.New("ECDSA signature of wrong length")
	}
	return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(signature[:n]), new(big.Int).SetBytes(signature[n:])})
}

// ecdsaFromDER is the inverse of ecdsaToDER.
func ecdsaFromDER(key *ecdsa.PublicKey, der []byte) ([]byte, error) {
	var sig struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(der, &sig); err != nil || len(rest) > 0 {
		return nil, errors.New("malformed ECDSA signature")
	}
	n := halfLen(key)
	if sig.R.Sign() <= 0 || sig.S.Sign() <= 0 || sig.R.BitLen() > 8*n || sig.S.BitLen() > 8*n {
		return nil, errors.New("malformed ECDSA signature")
	}
	out := make([]byte, 2*n)
	sig.R.FillBytes(out[:n])
	sig.S.FillBytes(out[n:])
	return out, nil
}

// CheckKey reports why a public key can't verify signatures here: only RSA of at least 2048 bits and ECDSA on P-256,
// P-384 or P-521 can.
func CheckKey(key crypto.PublicKey) error {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < 2048 {
			return fmt.Errorf("RSA key of %d bits; at least 2048 are needed", key.N.BitLen())
		}
		return nil
	case *ecdsa.PublicKey:
		if key.Curve.Params().BitSize < 256 {
			return errors.New("ECDSA key on a curve below 256 bits")
		}
		return nil
	}
	return fmt.Errorf("keys of type %T are not supported; use RSA or ECDSA", key)
}
