package xmlenc_test

import (
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/saml/xmlenc"
)

// TestClass08_OldAlgorithms: content algorithms that tell a padding oracle something exist on neither side, not even by
// name: what is called so is refused before anything is decrypted.
func TestClass08_OldAlgorithms(t *testing.T) {
	good := encrypt(t, recipient(t, xmlenc.AES128GCM), "<a></a>")
	if _, err := xmlenc.Decrypt(read(t, good), key(t), limits); err != nil {
		t.Fatal(err)
	}
	for _, old := range []string{"aes128-cbc", "aes192-cbc", "aes256-cbc", "tripledes-cbc", "kw-aes128", "aes128-gcm"} {
		name := "http://www.w3.org/2001/04/xmlenc#" + old
		if _, err := xmlenc.NewRecipient(samltest.IdP().Cert, name); err == nil {
			t.Errorf("%s is taken to encrypt with", old)
		}
		if _, err := xmlenc.Decrypt(read(t, strings.Replace(good, xmlenc.AES128GCM, name, 1)), key(t), limits); err == nil {
			t.Errorf("%s is taken to decrypt with", old)
		}
	}
}

// TestClass08_OneSpelling: a ciphertext has one spelling; bits of base64 that say nothing can't be used to make others.
func TestClass08_OneSpelling(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for _, plain := range []string{"<a></a>", "<ab></ab>", "<abc></abc>"} {
		good := encrypt(t, recipient(t, ""), plain)
		end := strings.LastIndex(good, "</xenc:CipherValue>")
		last := end - 1
		for good[last] == '=' {
			last--
		}
		if last == end-1 {
			continue // no bits are left over
		}
		for twin := range alphabet {
			changed := good[:last] + alphabet[twin:twin+1] + good[last+1:]
			if _, err := xmlenc.Decrypt(read(t, changed), key(t), limits); err == nil && changed != good {
				t.Errorf("%s: %c for %c", plain, alphabet[twin], good[last])
			}
		}
	}
}
