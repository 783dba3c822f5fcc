package app

import (
	"fmt"

	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
)

// Warnings returns what looks wrong with an application's settings for its product. They are doubts: everything can be
// saved and activated all the same.
func (a *Applications) Warnings(app Application) []Warning {
	con, err := a.catalog.Get(app.Connector)
	if err != nil {
		return []Warning{{Field: "connector", Text: fmt.Sprintf("The catalogue no longer has the connector %q. Sign-on and provisioning of this application don't work until it is back.", app.Connector)}}
	}
	var out []Warning
	add := func(name string, f *catalog.Field, value string) {
		for _, text := range f.Warnings(value) {
			out = append(out, Warning{Field: name, Text: text})
		}
	}
	if con.SAML != nil {
		f := &con.SAML.Fields
		add("saml.idpEntityId", &f.IdPEntityID, app.SAML.IDPEntityID)
		add("saml.spEntityId", &f.SPEntityID, app.SAML.SPEntityID)
		for i, acs := range app.SAML.ACS {
			add(fmt.Sprintf("saml.acs[%d].url", i), &f.ACSURL, acs.URL)
		}
		add("saml.defaultRelayState", &f.RelayState, app.SAML.DefaultRelayState)
		out = append(out, a.signOnWarnings(app, con)...)
	}
	if con.SCIM != nil {
		add("scim.baseUrl", &con.SCIM.BaseURL, app.SCIM.BaseURL)
	}
	if con.Bookmark != nil {
		add("bookmarkUrl", &con.Bookmark.URL, app.BookmarkURL)
	}
	return out
}

// signOnWarnings are doubts about keys and algorithms.
func (a *Applications) signOnWarnings(app Application, con *catalog.Connector) []Warning {
	var out []Warning
	s := &app.SAML.SAMLSettings
	add := func(field, format string, args ...any) {
		out = append(out, Warning{Field: "saml." + field, Text: fmt.Sprintf(format, args...)})
	}
	switch {
	case s.SignatureAlgorithm == xmldsig.RSASHA1:
		add("signatureAlgorithm", "Answers are signed with SHA-1, which can be forged with effort. Choose RSA with SHA-256 as soon as %s takes it.", con.Name)
	case s.AllowSHA1:
		add("allowSha1", "Signatures with SHA-1 are accepted from %s. End this exception as soon as it can do better.", con.Name)
	}
	now := a.now()
	for i, text := range s.SPCertificates {
		field := fmt.Sprintf("spCertificates[%d]", i)
		cert, err := keys.ParseCertificate(text)
		if err != nil {
			continue // refused when it was entered
		}
		if err := xmldsig.CheckKey(cert.PublicKey); err != nil {
			add(field, "This certificate's key is too weak, and signatures by it are refused: %s. Ask the service provider for a new one.", err)
		}
		if !now.Before(cert.NotAfter) {
			add(field, "This certificate ended on %s. Its key is accepted all the same; ask the service provider for a new one.", cert.NotAfter.UTC().Format("2 January 2006"))
		}
	}
	if cert, err := keys.ParseCertificate(s.EncryptionCertificate); err == nil && !now.Before(cert.NotAfter) {
		add("encryptionCertificate", "This certificate ended on %s. Assertions are encrypted for it all the same; ask the service provider for a new one.", cert.NotAfter.UTC().Format("2 January 2006"))
	}
	if s.EncryptAssertions && !con.SAML.EncryptionSupported {
		add("encryptAssertions", "As far as we know %s can't read encrypted assertions. Try it with one person first.", con.Name)
	}
	return out
}

// TokenWarnings returns what looks wrong with a token for an application's product, before it is stored: afterwards
// nobody can look at it any more.
func (a *Applications) TokenWarnings(app Application, token keys.Secret) []Warning {
	con, err := a.catalog.Get(app.Connector)
	if err != nil || con.SCIM == nil {
		return nil
	}
	var out []Warning
	for _, text := range con.SCIM.Token.Warnings(token.Reveal()) {
		out = append(out, Warning{Field: "token", Text: text})
	}
	return out
}
