//go:build (linux || darwin) && (amd64 || arm64) && !nolibcrypto

package libcrypto

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"testing"
)

// BenchmarkSign compares the library with Go, for each size, one after the other and in parallel.
func BenchmarkSign(b *testing.B) {
	digest := sha256.Sum256([]byte("x"))
	for _, bits := range []int{2048, 3072, 4096} {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			b.Fatal(err)
		}
		signers := map[string]crypto.Signer{"go": key}
		if lib, err := Load(); err == nil {
			if signers["libcrypto"], err = lib.Signer(key); err != nil {
				b.Fatal(err)
			}
		}
		for name, s := range signers {
			sign := func(b *testing.B) {
				if _, err := s.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
					b.Fatal(err)
				}
			}
			b.Run(fmt.Sprintf("%s-%d", name, bits), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					sign(b)
				}
			})
			b.Run(fmt.Sprintf("%s-%d-parallel", name, bits), func(b *testing.B) {
				b.RunParallel(func(p *testing.PB) {
					for p.Next() {
						sign(b)
					}
				})
			})
		}
	}
}
