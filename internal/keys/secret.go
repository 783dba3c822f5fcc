package keys

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

// redacted stands for every secret that is printed.
const redacted = "[redacted]"

// Secret is a text that must not be shown: a token, a password, a private key. However it is printed, logged or encoded
// it reads [redacted]; only Reveal gives it. It can be decoded from JSON like any text.
type Secret string

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// String returns [redacted], or "" if there is no secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString is like String.
func (s Secret) GoString() string { return `keys.Secret("` + s.String() + `")` }

// Format answers every verb, so that %x, %q and %d don't give it away either.
func (s Secret) Format(f fmt.State, verb rune) {
	text := s.String()
	switch {
	case verb == 'v' && f.Flag('#'):
		text = s.GoString()
	case verb == 'q':
		text = `"` + text + `"`
	}
	_, _ = io.WriteString(f, text)
}

// LogValue is what slog writes.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText serves YAML, XML and map keys.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON gives "[redacted]", or "" if there is no secret.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }
