package xmlenc

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
)

// ErrDecrypt is the only error of Decrypt: whoever sends ciphertexts to be tried must not learn what was wrong with one.
var ErrDecrypt = errors.New("xmlenc: this can't be decrypted")

// Decrypt undoes AppendEncryptedData, and takes the same from other programs. Content of other algorithms than AES-GCM, or
// whose key was moved otherwise than by RSA-OAEP, or that would be longer than lim.Bytes, is refused. What comes out is
// as untrusted as what went in: read it by xmldsig.Read. The error is ErrDecrypt.
func Decrypt(data *xmldsig.Element, key *rsa.PrivateKey, lim xmldsig.Limits) ([]byte, error) {
	m, ok := readEncryptedData(data, lim)
	if !ok || key == nil {
		return nil, ErrDecrypt
	}
	// A key that can't be unwrapped is replaced by one that fits nothing, so that both failures take the same way.
	session := make([]byte, m.keySize)
	rand.Read(session)
	k, err := key.Decrypt(nil, m.wrapped, &rsa.OAEPOptions{Hash: m.oaep})
	if err == nil && len(k) == len(session) && len(m.wrapped) == key.Size() { // RFC 8017 §7.1.2, step 1
		session = k
	}
	gcm, err := newGCM(session)
	if err != nil {
		return nil, ErrDecrypt
	}
	plain, err := gcm.Open(nil, m.sealed[:ivSize], m.sealed[ivSize:], nil)
	if err != nil || len(plain) == 0 {
		return nil, ErrDecrypt
	}
	return plain, nil
}

// encrypted is what an EncryptedData says.
type encrypted struct {
	keySize         int
	oaep            crypto.Hash
	wrapped, sealed []byte
}

// readEncryptedData reads the one shape that is taken: EncryptedKey within the EncryptedData's KeyInfo, values inline.
func readEncryptedData(data *xmldsig.Element, lim xmldsig.Limits) (m encrypted, ok bool) {
	if data == nil || !data.Is(ns, "EncryptedData") {
		return m, false
	}
	method := only(data, ns, "EncryptionMethod")
	algorithm, _ := method.Attr("Algorithm")
	if m.keySize = keySize(algorithm); m.keySize == 0 || len(method.Elements()) > 0 {
		return m, false
	}
	key := only(only(data, nsDSig, "KeyInfo"), ns, "EncryptedKey")
	if m.oaep = readTransport(only(key, ns, "EncryptionMethod")); m.oaep == 0 {
		return m, false
	}
	const longestKey = 16384 / 8
	m.wrapped, ok = cipherValue(key, longestKey)
	if !ok || len(m.wrapped) == 0 {
		return m, false
	}
	m.sealed, ok = cipherValue(data, lim.Bytes+ivSize+tagSize)
	return m, ok && len(m.sealed) > ivSize+tagSize
}

// readTransport returns the hash of an OAEP that is allowed, used for label and mask alike; else 0.
func readTransport(method *xmldsig.Element) crypto.Hash {
	algorithm, _ := method.Attr("Algorithm")
	digest, mgf := "", ""
	for _, e := range method.Elements() {
		value, _ := e.Attr("Algorithm")
		switch {
		case e.Is(nsDSig, "DigestMethod") && digest == "":
			digest = value
		case e.Is(ns11, "MGF") && mgf == "":
			mgf = value
		default:
			return 0 // OAEPparams among others
		}
	}
	switch {
	case algorithm == OAEPMGF1P && (digest == "" || digest == hashSHA1) && mgf == "":
		return crypto.SHA1
	case algorithm == OAEP && digest == hashSHA256 && mgf == mgfSHA256:
		return crypto.SHA256
	}
	return 0
}

// only returns the single child of this name, or an element that has nothing.
func only(e *xmldsig.Element, space, local string) *xmldsig.Element {
	child, found, err := e.Child(space, local)
	if err != nil || !found {
		return &xmldsig.Element{}
	}
	return child
}

// cipherValue decodes an element's CipherData of at most limit bytes.
func cipherValue(e *xmldsig.Element, limit int) ([]byte, bool) {
	text, err := only(only(e, ns, "CipherData"), ns, "CipherValue").Text()
	if err != nil || len(text) > 2*base64.StdEncoding.EncodedLen(limit) {
		return nil, false
	}
	text = strings.Join(strings.Fields(text), "")
	if base64.StdEncoding.DecodedLen(len(text)) > limit+2 {
		return nil, false
	}
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	return b, err == nil && len(b) <= limit
}
