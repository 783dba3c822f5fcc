package main

import "slices"

// checks is the whole list.
var checks = slices.Concat(xmlChecks, secretChecks, bindingChecks, requestChecks, signOnChecks, sessionChecks, edgeChecks)

// one is the edit of a check that is removed by changing one piece of source.
func one(from, to string) []edit { return []edit{{from, to}} }

// The suites.
var (
	xmlSuite    = suite{"internal/saml/xmldsig internal/saml", `^Test(Read|Element|Verify|Canonical|Signer|Class|Check|AuthnRequest)`}
	secretSuite = suite{"internal/saml/xmlenc", `^Test`}
	samlSuite   = suite{"internal/saml", `^Test`}
	signOnSuite = suite{"internal/idp", `^Test`}
	authnSuite  = suite{"internal/authn", `^Test`}
	storeSuite  = suite{"internal/store", `^Test(Cursor|Neighbour|Fold)`}
	webSuite    = suite{"internal/web", `^Test`}
	serverSuite = suite{"internal/server", `^Test`}
	accessSuite = suite{"internal/access internal/authn internal/directory", `^Test`}
)
