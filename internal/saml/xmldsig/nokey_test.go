package xmldsig_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
)

// TestClass06_NoKey: without a key to verify with, nothing is verified, however good the signature is.
func TestClass06_NoKey(t *testing.T) {
	doc := wellMade().sign(t, samltest.IdP().Key)
	root, err := xmldsig.Read([]byte(doc), limits)
	if err != nil {
		t.Fatal(err)
	}
	octets := []byte("SAMLRequest=x&SigAlg=y")
	sum := sha256.Sum256(octets)
	good, err := rsa.SignPKCS1v15(rand.Reader, samltest.IdP().Key.(*rsa.PrivateKey), crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	if err := xmldsig.VerifyDetached(xmldsig.RSASHA256, octets, good, []crypto.PublicKey{samltest.IdP().Cert.PublicKey}); err != nil {
		t.Fatal(err)
	}
	for name, keys := range map[string][]crypto.PublicKey{
		"none": nil, "an empty list": {}, "nil": {nil}, "no key at all": {"key", 1, errors.New("x")}, "the private one": {samltest.IdP().Key},
	} {
		if err := xmldsig.VerifyDetached(xmldsig.RSASHA256, octets, good, keys); err == nil {
			t.Errorf("%s: a detached signature verifies", name)
		}
		if v, err := xmldsig.Verify(root, keys, limits); err == nil || v.Bytes() != nil {
			t.Errorf("%s: an enveloped signature verifies", name)
		}
		if raw, err := xmldsig.VerifyBytes([]byte(doc), keys, limits); err == nil || raw != nil {
			t.Errorf("%s: that of a large document verifies", name)
		}
	}
}

// TestClass10_WeakKeys: a key that is too short verifies nothing, even if somebody registered it.
func TestClass10_WeakKeys(t *testing.T) {
	octets := []byte("SAMLRequest=x&SigAlg=y")
	sum := sha256.Sum256(octets)
	curve, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r, s, err := ecdsa.Sign(rand.Reader, curve, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 56)
	r.FillBytes(signature[:28])
	s.FillBytes(signature[28:])
	if xmldsig.CheckKey(&curve.PublicKey) == nil {
		t.Error("a curve of 224 bits is taken")
	}
	if err := xmldsig.VerifyDetached(xmldsig.ECDSASHA256, octets, signature, []crypto.PublicKey{&curve.PublicKey}); err == nil {
		t.Error("a signature on a curve of 224 bits verifies")
	}
}

// TestClass05_OneSpelling: the values of a signature have one spelling; bits of base64 that say nothing must be zero.
func TestClass05_OneSpelling(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	doc := wellMade().sign(t, samltest.IdP().Key)
	end := strings.Index(doc, "</ds:SignatureValue>")
	last := strings.LastIndexFunc(doc[:end], func(r rune) bool { return r != '=' })
	for i := range alphabet {
		if changed := doc[:last] + alphabet[i:i+1] + doc[last+1:]; changed != doc {
			mustRefuse(t, changed)
		}
	}
}
