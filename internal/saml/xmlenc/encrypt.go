package xmlenc

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" //nolint:gosec // G505: within OAEP, where SHA-1's collisions do no harm; the default of all peers
	_ "crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
)

// Identifiers of the algorithms.
const (
	AES128GCM = ns11 + "aes128-gcm"
	AES192GCM = ns11 + "aes192-gcm"
	AES256GCM = ns11 + "aes256-gcm"

	OAEPMGF1P = ns + "rsa-oaep-mgf1p" // RSA-OAEP with SHA-1, which every service provider knows
	OAEP      = ns11 + "rsa-oaep"     // RSA-OAEP whose hash is named; here SHA-256 for both of its uses
)

const (
	ns         = "http://www.w3.org/2001/04/xmlenc#"
	ns11       = "http://www.w3.org/2009/xmlenc11#"
	nsDSig     = "http://www.w3.org/2000/09/xmldsig#"
	typeXML    = ns + "Element"
	hashSHA1   = nsDSig + "sha1"
	hashSHA256 = ns + "sha256"
	mgfSHA256  = ns11 + "mgf1sha256"
)

// Algorithms lists the content algorithms that NewRecipient takes, the default first.
func Algorithms() []string { return []string{AES256GCM, AES128GCM, AES192GCM} }

// keySize returns the bytes of a content algorithm's key; 0 for what is not allowed.
func keySize(algorithm string) int {
	switch algorithm {
	case AES128GCM:
		return 16
	case AES192GCM:
		return 24
	case AES256GCM:
		return 32
	}
	return 0
}

// Choose picks from the methods that a peer says it can decrypt (EncryptionMethod elements in its metadata, key
// transports among them) the algorithm and options for NewRecipient. A peer that names no content algorithm gets the
// default. ok is false if it names some and none is allowed here.
func Choose(methods []string) (algorithm string, opts []Option, ok bool) {
	if slices.Contains(methods, OAEP) && !slices.Contains(methods, OAEPMGF1P) {
		opts = append(opts, OAEPSHA256())
	}
	for _, a := range Algorithms() {
		if slices.Contains(methods, a) {
			return a, opts, true
		}
	}
	for _, m := range methods {
		if m != OAEP && m != OAEPMGF1P && m != transportV15 {
			return "", nil, false
		}
	}
	return AES256GCM, opts, true
}

// transportV15 is only known to be told from content algorithms.
const transportV15 = ns + "rsa-1_5"

// CheckKey reports why a public key can't be encrypted to: only RSA from 2048 bits can.
func CheckKey(key crypto.PublicKey) error {
	k, ok := key.(*rsa.PublicKey)
	if !ok {
		return fmt.Errorf("keys of type %T are not supported for encryption; use RSA", key)
	}
	if n := k.N.BitLen(); n < 2048 {
		return fmt.Errorf("RSA key of %d bits; at least 2048 are needed", n)
	}
	return nil
}

// Option changes what NewRecipient does by default.
type Option func(*Recipient)

// OAEPSHA256 moves the key by OAEP with SHA-256 instead of OAEPMGF1P.
func OAEPSHA256() Option { return func(r *Recipient) { r.oaep = crypto.SHA256 } }

// Recipient is whom we encrypt to. All that does not change from one message to the next is made once. It is safe for
// concurrent use.
type Recipient struct {
	cert      *x509.Certificate
	key       *rsa.PublicKey
	algorithm string
	oaep      crypto.Hash

	head, middle string // before the key's CipherValue, and between it and the content's
}

const tail = `</xenc:CipherValue></xenc:CipherData></xenc:EncryptedData>`

// NewRecipient prepares encryption to a certificate's RSA key, by one of Algorithms ("" is the default). What the
// certificate says besides its key does not count; it is put into KeyInfo so that the peer finds its private key.
func NewRecipient(cert *x509.Certificate, algorithm string, opts ...Option) (*Recipient, error) {
	if cert == nil {
		return nil, errors.New("xmlenc: a recipient needs a certificate")
	}
	if err := CheckKey(cert.PublicKey); err != nil {
		return nil, fmt.Errorf("xmlenc: %w", err)
	}
	if algorithm == "" {
		algorithm = AES256GCM
	}
	if keySize(algorithm) == 0 {
		return nil, fmt.Errorf("xmlenc: encryption algorithm %q is not allowed", algorithm)
	}
	r := &Recipient{cert: cert, key: cert.PublicKey.(*rsa.PublicKey), algorithm: algorithm, oaep: crypto.SHA1}
	for _, opt := range opts {
		opt(r)
	}
	transport := `<xenc:EncryptionMethod Algorithm="` + OAEPMGF1P + `"><ds:DigestMethod Algorithm="` + hashSHA1 + `"></ds:DigestMethod></xenc:EncryptionMethod>`
	if r.oaep == crypto.SHA256 {
		transport = `<xenc:EncryptionMethod Algorithm="` + OAEP + `"><ds:DigestMethod Algorithm="` + hashSHA256 + `"></ds:DigestMethod>` +
			`<xenc11:MGF xmlns:xenc11="` + ns11 + `" Algorithm="` + mgfSHA256 + `"></xenc11:MGF></xenc:EncryptionMethod>`
	}
	r.head = `<xenc:EncryptedData xmlns:xenc="` + ns + `" Type="` + typeXML + `">` +
		`<xenc:EncryptionMethod Algorithm="` + algorithm + `"></xenc:EncryptionMethod>` +
		`<ds:KeyInfo xmlns:ds="` + nsDSig + `"><xenc:EncryptedKey>` + transport +
		`<ds:KeyInfo><ds:X509Data><ds:X509Certificate>` + base64.StdEncoding.EncodeToString(cert.Raw) +
		`</ds:X509Certificate></ds:X509Data></ds:KeyInfo><xenc:CipherData><xenc:CipherValue>`
	r.middle = `</xenc:CipherValue></xenc:CipherData></xenc:EncryptedKey></ds:KeyInfo><xenc:CipherData><xenc:CipherValue>`
	return r, nil
}

// Certificate returns the certificate that is encrypted to.
func (r *Recipient) Certificate() *x509.Certificate { return r.cert }

// Algorithm returns the identifier of the content algorithm.
func (r *Recipient) Algorithm() string { return r.algorithm }

const (
	ivSize  = 12 // xmlenc-core1 §5.2.4: 96 bits before the ciphertext
	tagSize = 16 // and 128 bits behind it
)

// AppendEncryptedData encrypts an element's XML by a fresh key and appends an EncryptedData, in canonical form and
// without white space, to dst. plain may lie in dst's array: it is encrypted before anything is written.
func (r *Recipient) AppendEncryptedData(dst, plain []byte) ([]byte, error) {
	if len(plain) == 0 {
		return nil, errors.New("xmlenc: nothing to encrypt")
	}
	var secret [32]byte
	key := secret[:keySize(r.algorithm)]
	rand.Read(key) // never fails
	defer clear(key)
	gcm, err := newGCM(key)
	if err != nil {
		return nil, fmt.Errorf("xmlenc: %w", err)
	}
	sealed := make([]byte, ivSize, ivSize+len(plain)+tagSize)
	rand.Read(sealed)
	sealed = gcm.Seal(sealed, sealed, plain, nil)
	moved, err := rsa.EncryptOAEP(r.oaep.New(), rand.Reader, r.key, key, nil)
	if err != nil {
		return nil, fmt.Errorf("xmlenc: %w", err)
	}
	dst = slices.Grow(dst, len(r.head)+len(r.middle)+len(tail)+base64.StdEncoding.EncodedLen(len(moved))+base64.StdEncoding.EncodedLen(len(sealed)))
	dst = append(dst, r.head...)
	dst = base64.StdEncoding.AppendEncode(dst, moved)
	dst = append(dst, r.middle...)
	dst = base64.StdEncoding.AppendEncode(dst, sealed)
	return append(dst, tail...), nil
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
