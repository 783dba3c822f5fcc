package saml

import (
	"crypto"
	"crypto/x509"
	"time"
)

// IdPMetadata is what an SP needs to know of us (saml-metadata §2.4.3).
type IdPMetadata struct {
	ID                      string // needed when signed; see NewID
	EntityID                string
	SSO                     []Endpoint // Redirect and POST
	SLO                     []Endpoint // none: no single logout is offered
	Certificates            []*x509.Certificate
	NameIDFormats           []string
	WantAuthnRequestsSigned bool
	ValidUntil              time.Time     // zero is left out
	CacheDuration           time.Duration // zero is left out
}

// SPMetadata is what a service provider says of itself (saml-metadata §2.4.4).
type SPMetadata struct {
	EntityID             string
	ACS                  []Endpoint // all bindings, in document order
	SLO                  []Endpoint
	Certificates         []KeyCertificate
	NameIDFormats        []string
	AuthnRequestsSigned  bool
	WantAssertionsSigned bool
	ValidUntil           time.Time // zero: no end
	DisplayName          string    // mdui:DisplayName, else Organization, else ""
}

// KeyUse is the purpose of a key in metadata. A key without use serves both (saml-metadata §2.4.1.1).
type KeyUse string

// Uses of a key.
const (
	UseAny        KeyUse = ""
	UseSigning    KeyUse = "signing"
	UseEncryption KeyUse = "encryption"
)

// KeyCertificate is a certificate with its purpose.
type KeyCertificate struct {
	Use         KeyUse
	Certificate *x509.Certificate
}

// SigningKeys returns the public keys that may sign this SP's messages: those for signing and those for any use.
func (m SPMetadata) SigningKeys() []crypto.PublicKey {
	var keys []crypto.PublicKey
	for _, c := range m.Certificates {
		if c.Use != UseEncryption {
			keys = append(keys, c.Certificate.PublicKey)
		}
	}
	return keys
}
