package keys

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
)

// BenchmarkXMLSigner signs an element of a response's size, with Go and with libcrypto: compare with BenchmarkSign of
// keys/libcrypto, which is the RSA operation alone.
func BenchmarkXMLSigner(b *testing.B) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	m, err := SelfSign(key, "x", time.Now(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	for _, by := range []Signing{SignGo, SignAuto} {
		p := NewPairs(nil, nil, WithSigning(by))
		name, _, err := p.Signing()
		if err != nil {
			b.Fatal(err)
		}
		k, err := p.signing.signer(key)
		if err != nil {
			b.Fatal(err)
		}
		s, err := xmldsig.NewSigner(k, m.Certificate, 0)
		if err != nil {
			b.Fatal(err)
		}
		const id, head, tail = "_0123456789abcdef", `<a ID="_0123456789abcdef">`, "</a>"
		element := append([]byte(head), make([]byte, s.Len(id))...)
		element = append(append(element, bytes.Repeat([]byte("a"), 4<<10)...), tail...)
		b.Run(string(by)+"/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Sign(element, len(head), id); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(string(by)+"/"+name+"/parallel", func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				own := bytes.Clone(element)
				for pb.Next() {
					if err := s.Sign(own, len(head), id); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
