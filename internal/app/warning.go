package app

import (
	"fmt"

	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/keys"
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
	}
	if con.SCIM != nil {
		add("scim.baseUrl", &con.SCIM.BaseURL, app.SCIM.BaseURL)
	}
	if con.Bookmark != nil {
		add("bookmarkUrl", &con.Bookmark.URL, app.BookmarkURL)
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
