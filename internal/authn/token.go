package authn

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"

	"github.com/latchkey-idp/latchkey/internal/keys"
)

// A token is 32 random bytes in URL-safe base64. The database holds only its SHA-256: with so
// much randomness nothing slower is needed.
const (
	tokenBytes = 32
	tokenChars = 43
)

func newToken() keys.Secret {
	return keys.Secret(base64.RawURLEncoding.EncodeToString(randomBytes(tokenBytes)))
}

// tokenHash returns what the database holds of a token; ok is false if it can't be one. It
// accepts exactly one spelling: a shortened, padded or re-encoded token isn't one.
func tokenHash(token string) (hash string, ok bool) {
	if len(token) != tokenChars {
		return "", false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) != tokenBytes {
		return "", false
	}
	return digest(token), true
}

// mustHash is tokenHash of a token that newToken made.
func mustHash(token keys.Secret) string { return digest(token.Reveal()) }

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
