package xmldsig_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
)

// TestClass10_SHA1: SHA-1 is taken only where the option says so, and nothing else comes in by that option.
func TestClass10_SHA1(t *testing.T) {
	pair := samltest.IdP()
	keys := []crypto.PublicKey{pair.Cert.PublicKey}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const sha1URI, ecdsaSHA1 = dsNS + "sha1", "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha1"
	for _, test := range []struct {
		name, method, digest string
		key                  crypto.Signer
		allowed              bool // with the option
		always               bool
	}{
		{"signature and digest", xmldsig.RSASHA1, sha1URI, pair.Key, true, false},
		{"signature", xmldsig.RSASHA1, sha256URI, pair.Key, true, false},
		{"digest", xmldsig.RSASHA256, sha1URI, pair.Key, true, false},
		{"digest under ECDSA", xmldsig.ECDSASHA256, sha1URI, p256, true, false},
		{"ECDSA", ecdsaSHA1, sha1URI, p256, false, false},
		{"none", xmldsig.RSASHA256, sha256URI, pair.Key, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			doc := byXMLSec(t, test.key, test.method, test.digest, "")
			keys := append(keys, test.key.Public())
			for _, allow := range []bool{false, true} {
				var opts []xmldsig.Option
				if allow {
					opts = append(opts, xmldsig.AllowSHA1())
				}
				_, err := xmldsig.Verify(read(t, doc), keys, limits, opts...)
				_, errBytes := xmldsig.VerifyBytes([]byte(doc), keys, limits, opts...)
				if want := test.always || allow && test.allowed; (err == nil) != want || (errBytes == nil) != want {
					t.Errorf("with the option (%t): %v, %v", allow, err, errBytes)
				}
			}
		})
	}

	k, err := xmldsig.NewSignerSHA1(pair.Key, pair.Cert)
	if err != nil {
		t.Fatal(err)
	}
	if k.Algorithm() != xmldsig.RSASHA1 {
		t.Error(k.Algorithm())
	}
	sig, err := k.SignDetached([]byte("octets"))
	if err != nil {
		t.Fatal(err)
	}
	t.Run("detached", func(t *testing.T) {
		if err := xmldsig.VerifyDetached(xmldsig.RSASHA1, []byte("octets"), sig, keys); err == nil {
			t.Error("verified without the option")
		}
		if err := xmldsig.VerifyDetached(xmldsig.RSASHA1, []byte("octets"), sig, keys, xmldsig.AllowSHA1()); err != nil {
			t.Error(err)
		}
		for _, alg := range []string{dsNS + "dsa-sha1", dsNS + "hmac-sha1", ecdsaSHA1, "http://www.w3.org/2001/04/xmldsig-more#rsa-md5", xmldsig.RSASHA256, ""} {
			if err := xmldsig.VerifyDetached(alg, []byte("octets"), sig, keys, xmldsig.AllowSHA1()); err == nil {
				t.Errorf("verified as %q", alg)
			}
		}
	})
	t.Run("signer", func(t *testing.T) {
		if k, err := xmldsig.NewSignerSHA1(p256, certificate(t, p256)); err == nil || k != nil {
			t.Error("an ECDSA key signs with SHA-1")
		}
		if k, err := xmldsig.NewSigner(pair.Key, pair.Cert, crypto.SHA1); err == nil || k != nil {
			t.Error("signs with SHA-1 by the ordinary way")
		}
		const head, tail = `<r:root xmlns:r="urn:r:r" ID="_1">`, `<r:a></r:a></r:root>`
		doc := []byte(head + strings.Repeat(" ", k.Len("_1")) + tail)
		if err := k.Sign(doc, len(head), "_1"); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(doc), "sha256") || strings.Count(string(doc), "sha1") != 2 {
			t.Errorf("other algorithms in %s", doc)
		}
		if _, err := xmldsig.Verify(read(t, string(doc)), keys, limits); err == nil {
			t.Error("verified without the option")
		}
		if v, err := xmldsig.Verify(read(t, string(doc)), keys, limits, xmldsig.AllowSHA1()); err != nil || string(v.Bytes()) != head+tail {
			t.Error(err, string(v.Bytes()))
		}
		dir := t.TempDir()
		for name, b := range map[string][]byte{"ours.xml": doc, "cert.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Cert.Raw})} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), "xmlsec1", "--verify", "--pubkey-cert-pem", "cert.pem", "--id-attr:ID", "urn:r:r:root", "ours.xml")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("xmlsec1: %v: %s", err, out)
		}
	})
}
