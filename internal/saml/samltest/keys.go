package samltest

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"embed"
	"encoding/pem"
	"fmt"
)

// The keys are for tests only: everybody has them. They are stored because making an RSA key takes longer than a test.
//
//go:embed testdata/*.pem
var pems embed.FS

// KeyPair is a private RSA key and its self-signed certificate.
type KeyPair struct {
	Key  crypto.Signer
	Cert *x509.Certificate
}

// IdP returns the key pair of the identity provider under test.
func IdP() KeyPair { return load("idp") }

// IdPNext returns a second one, for tests of certificates being replaced.
func IdPNext() KeyPair { return load("idp-next") }

// Other returns a key pair that no party knows: an attacker's.
func Other() KeyPair { return load("other") }

func load(name string) KeyPair {
	key, err := x509.ParsePKCS8PrivateKey(block(name + ".key.pem"))
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(block(name + ".cert.pem"))
	if err != nil {
		panic(err)
	}
	return KeyPair{Key: key.(*rsa.PrivateKey), Cert: cert}
}

func block(file string) []byte {
	b, err := pems.ReadFile("testdata/" + file)
	if err != nil {
		panic(err)
	}
	p, _ := pem.Decode(b)
	if p == nil {
		panic(fmt.Sprintf("no PEM in %s", file))
	}
	return p.Bytes
}

// Certificates returns the certificates of key pairs.
func Certificates(pairs ...KeyPair) []*x509.Certificate {
	var out []*x509.Certificate
	for _, p := range pairs {
		out = append(out, p.Cert)
	}
	return out
}
