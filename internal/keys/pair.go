package keys

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/problem"
)

// Status is a key pair's place in an application's rollover.
type Status string

// The places. Signatures are made with the current pair; the next one is published beside it; the previous one is kept
// so that there is a way back.
const (
	Next     Status = "next"
	Current  Status = "current"
	Previous Status = "previous"
)

// Lifetime is how long a certificate made here is valid unless Options say otherwise.
const Lifetime = defaultDays * day

const (
	day         = 24 * time.Hour
	defaultDays = 3 * 365
	maxDays     = 10 * 365
	// rsaBits is the size of keys made here unless Options say otherwise, and the least of uploaded ones.
	rsaBits = 2048
	// maxBits bounds uploaded keys: a signature's time grows with the cube of the size.
	maxBits = 8192
)

// Options say what pair to make. The zero value of a field means what is said there.
type Options struct {
	// Bits is the size of the RSA key: 2048 (also meant by 0), 3072 or 4096.
	Bits int
	// Days is how long the certificate is valid: 1 to 3650; 0 means three years.
	Days int
	// Hash is that of the certificate's own signature: SHA-256 (also meant by 0), SHA-384 or SHA-512. The signatures
	// on messages have a setting of their own.
	Hash crypto.Hash
}

// Check returns what is wrong with the options: Invalid, with the fields "bits", "days" and "hash".
func (o Options) Check() error {
	var f problem.Fields
	switch o.Bits {
	case 0, 2048, 3072, 4096:
	default:
		f.Add("bits", "A key has 2048, 3072 or 4096 bits.")
	}
	if o.Days < 0 || o.Days > maxDays {
		f.Add("days", "A certificate is valid for 1 to %d days.", maxDays)
	}
	if _, ok := certificateSignatures[o.orDefaults().Hash]; !ok {
		f.Add("hash", "A certificate is signed with SHA-256, SHA-384 or SHA-512.")
	}
	return f.Err()
}

func (o Options) orDefaults() Options {
	if o.Bits == 0 {
		o.Bits = rsaBits
	}
	if o.Days == 0 {
		o.Days = defaultDays
	}
	if o.Hash == 0 {
		o.Hash = crypto.SHA256
	}
	return o
}

var certificateSignatures = map[crypto.Hash]x509.SignatureAlgorithm{
	crypto.SHA256: x509.SHA256WithRSA, crypto.SHA384: x509.SHA384WithRSA, crypto.SHA512: x509.SHA512WithRSA,
}

// Pair is a stored signing key with its certificate. It never holds the private key.
type Pair struct {
	ID            string
	ApplicationID string
	Status        Status
	Certificate   *x509.Certificate
	// PEM is the certificate as it is given to service providers: the text of certificate.pem.
	PEM       string
	NotBefore time.Time
	NotAfter  time.Time
	CreatedAt time.Time
}

// Fingerprint returns the SHA-256 of the certificate as upper-case hexadecimal pairs with colons, as `openssl x509
// -fingerprint -sha256` prints it.
func (p Pair) Fingerprint() string { return Fingerprint(p.Certificate) }

// DaysLeft returns the whole days until the certificate ends, negative once it has.
func (p Pair) DaysLeft(now time.Time) int { return DaysLeft(p.NotAfter, now) }

// Fingerprint returns a certificate's SHA-256 as upper-case hexadecimal pairs with colons.
func Fingerprint(c *x509.Certificate) string {
	if c == nil {
		return ""
	}
	sum := sha256.Sum256(c.Raw)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

// DaysLeft returns the whole days from now until end, negative once it has passed.
func DaysLeft(end, now time.Time) int { return int(math.Floor(end.Sub(now).Hours() / 24)) }

// Material is a key pair that isn't stored yet. It doesn't print its key.
type Material struct {
	Certificate *x509.Certificate
	PEM         string
	key         *rsa.PrivateKey
}

// String names the certificate only.
func (m Material) String() string { return "key pair " + Fingerprint(m.Certificate) }

// GoString is like String.
func (m Material) GoString() string { return m.String() }

// GenerateMaterial makes an RSA key and a certificate for it, signed by itself. Wrong options are Invalid. It takes tenths
// of a second, with 4096 bits several seconds: never call it in a transaction.
func GenerateMaterial(commonName string, now time.Time, o Options) (Material, error) {
	if err := o.Check(); err != nil {
		return Material{}, err
	}
	key, err := rsa.GenerateKey(rand.Reader, o.orDefaults().Bits)
	if err != nil {
		return Material{}, fmt.Errorf("keys: generate: %w", err)
	}
	return SelfSign(key, commonName, now, o)
}

// SelfSign makes the certificate of GenerateMaterial for a key that exists, whatever its size.
func SelfSign(key *rsa.PrivateKey, commonName string, now time.Time, o Options) (Material, error) {
	if err := o.Check(); err != nil {
		return Material{}, err
	}
	o = o.orDefaults()
	serial := make([]byte, 16) // RFC 5280 §4.1.2.2: positive, at most 20 octets
	if _, err := rand.Read(serial); err != nil {
		return Material{}, fmt.Errorf("keys: generate: %w", err)
	}
	serial[0] = serial[0]&0x7f | 0x40
	if cn := []rune(commonName); len(cn) > 64 { // ub-common-name, RFC 5280 appendix A.1
		commonName = string(cn[:64])
	}
	// A clock that runs behind ours must not find the certificate not yet valid.
	from := now.UTC().Add(-time.Hour).Truncate(time.Second)
	template := &x509.Certificate{
		SerialNumber:          new(big.Int).SetBytes(serial),
		Subject:               pkix.Name{CommonName: commonName, Organization: []string{"Latchkey"}},
		NotBefore:             from,
		NotAfter:              from.Add(time.Hour + time.Duration(o.Days)*day),
		SignatureAlgorithm:    certificateSignatures[o.Hash],
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return Material{}, fmt.Errorf("keys: make the certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return Material{}, fmt.Errorf("keys: make the certificate: %w", err)
	}
	return Material{Certificate: cert, PEM: certificatePEM(der), key: key}, nil
}

func certificatePEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// maxPEM bounds what is taken as a certificate or key.
const maxPEM = 64 << 10

// ParseCertificate reads the one certificate of a PEM text. Text around it is allowed, as is base64 without the PEM
// lines, which some products show; more than one certificate is not. The error is for the person.
func ParseCertificate(text string) (*x509.Certificate, error) {
	if len(text) > maxPEM {
		return nil, problem.New(problem.Invalid, "This is too large for a certificate.")
	}
	var der []byte
	rest := []byte(text)
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		switch {
		case block.Type != "CERTIFICATE":
			return nil, problem.New(problem.Invalid, "This holds a PEM block %q where a certificate is expected.", block.Type)
		case der != nil:
			return nil, problem.New(problem.Invalid, "This holds more than one certificate; give only the signing certificate itself.")
		}
		der = block.Bytes
	}
	if der == nil && !strings.Contains(text, "-----") {
		if block, _ := pem.Decode([]byte("-----BEGIN CERTIFICATE-----\n" + strings.TrimSpace(text) + "\n-----END CERTIFICATE-----\n")); block != nil {
			der = block.Bytes
		}
	}
	if der == nil {
		return nil, problem.New(problem.Invalid, "This is not a certificate. Paste the whole text from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----.")
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, problem.New(problem.Invalid, "This certificate is damaged. Copy or download it again.")
	}
	return cert, nil
}

// ParseMaterial reads an administrator's own pair: a PEM certificate and its RSA private key (PKCS#8 or PKCS#1, at least
// 2048 bits, not encrypted). They must belong together and the certificate must be valid. Errors are Invalid, with the
// fields "certificate" and "privateKey", and never hold the key.
func ParseMaterial(certPEM string, keyPEM Secret, now time.Time) (Material, error) {
	var f problem.Fields
	cert, err := ParseCertificate(certPEM)
	if err != nil {
		f.Add("certificate", "%s", err)
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		f.Add("privateKey", "%s", err)
	}
	if cert != nil {
		public, isRSA := cert.PublicKey.(*rsa.PublicKey)
		switch {
		case !isRSA:
			f.Add("certificate", "This certificate is of a key that isn't RSA. Service providers expect RSA with at least %d bits.", rsaBits)
		case public.N.BitLen() < rsaBits:
			f.Add("certificate", "This certificate's key has %d bits. At least %d are needed.", public.N.BitLen(), rsaBits)
		case public.N.BitLen() > maxBits:
			f.Add("certificate", "This certificate's key has %d bits. At most %d can be used.", public.N.BitLen(), maxBits)
		case !now.Before(cert.NotAfter):
			f.Add("certificate", "This certificate ended on %s. Give one that is still valid.", cert.NotAfter.UTC().Format("2 January 2006"))
		case now.Before(cert.NotBefore):
			f.Add("certificate", "This certificate is only valid from %s on.", cert.NotBefore.UTC().Format("2 January 2006, 15:04 MST"))
		case key != nil && !public.Equal(key.Public()):
			f.Add("privateKey", "This private key doesn't belong to the certificate. Upload the two files that were made together.")
		}
	}
	if err := f.Err(); err != nil {
		return Material{}, err
	}
	return Material{Certificate: cert, PEM: certificatePEM(cert.Raw), key: key}, nil
}

func parseKey(text Secret) (*rsa.PrivateKey, error) {
	if len(text) > maxPEM {
		return nil, problem.New(problem.Invalid, "This is too large for a private key.")
	}
	block, rest := pem.Decode([]byte(text.Reveal()))
	if block == nil {
		return nil, problem.New(problem.Invalid, "This is not a private key in PEM form. It begins with -----BEGIN PRIVATE KEY-----.")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, problem.New(problem.Invalid, "There is more than the private key in this text; give only the key.")
	}
	var parsed any
	var err error
	switch {
	case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
		return nil, problem.New(problem.Invalid, "This private key is protected by a password. Remove it first, for example with: openssl pkey -in key.pem -out plain.pem")
	case block.Type == "RSA PRIVATE KEY":
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case block.Type == "PRIVATE KEY":
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	default:
		return nil, problem.New(problem.Invalid, "This is a PEM block %q where an RSA private key is expected.", block.Type)
	}
	if err != nil {
		return nil, problem.New(problem.Invalid, "This private key is damaged or too weak to be used.")
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, problem.New(problem.Invalid, "This private key isn't RSA. Service providers expect RSA with at least 2048 bits.")
	}
	if key.N.BitLen() < rsaBits {
		return nil, problem.New(problem.Invalid, "This private key has %d bits. At least %d are needed.", key.N.BitLen(), rsaBits)
	}
	if key.N.BitLen() > maxBits {
		return nil, problem.New(problem.Invalid, "This private key has %d bits. At most %d can be used.", key.N.BitLen(), maxBits)
	}
	if err := key.Validate(); err != nil {
		return nil, problem.New(problem.Invalid, "This private key is damaged.")
	}
	return key, nil
}

// pkcs8 returns the private key for sealing.
func (m Material) pkcs8() ([]byte, error) {
	if m.key == nil {
		return nil, errors.New("keys: a pair without a private key")
	}
	return x509.MarshalPKCS8PrivateKey(m.key)
}
