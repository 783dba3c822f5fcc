//go:build !((linux || darwin) && (amd64 || arm64)) || nolibcrypto

package libcrypto_test

import (
	"testing"

	"github.com/latchkey-idp/latchkey/internal/keys/libcrypto"
)

func TestLeftOut(t *testing.T) {
	if l, err := libcrypto.Load(); err == nil || l != nil {
		t.Errorf("%v, %v", l, err)
	}
}
