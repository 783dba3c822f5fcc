package main

import "slices"

// checks is the whole list.
var checks = slices.Concat(xmlChecks, secretChecks, bindingChecks, requestChecks, logoutChecks, watchChecks, signOnChecks, sessionChecks, edgeChecks)

// one is the edit of a check that is removed by changing one piece of source.
func one(from, to string) []edit { return []edit{{from, to}} }

// The suites.
var (
	readSuite     = suite{"internal/saml/xmldsig", `^Test(Read|Element|Class04|Class07|Class14_ReadLimits)`}
	shapeSuite    = suite{"internal/saml/xmldsig internal/saml", `^Test(Verify|SignerFaulty|Class0[1456]|Class10|Class14_CanonicalForm|EveryRule)`}
	secretSuite   = suite{"internal/saml/xmlenc", `^Test(RoundTrip|New|Choose|Class08)`}
	samlSuite     = suite{"internal/saml", `^Test(Read|Check|AuthnRequest|Choose|Refuse|EveryRule|Pasted|Class|ResponseRefused|Status|Write|Logout|NameID|Requested|Signature|Skew|Tolerated|SHA1)`}
	signOnSuite   = suite{"internal/idp", `^Test(SignOn|NameID|Another|Requested|Neighbour_[MF]|Class20|Class21|Class13|Class11|BadInput|ForceAuthn|Signed|WhatIs|NoSignOn|NoLogout|OldSlug)`}
	logoutSuite   = suite{"internal/idp", `^Test(SingleLogout|Chain|Logout|NoLogout|Class06_Unsigned|Class11_Logout|Class12_DisabledApp|Class13_Logout|Class18_Logout|Class19_Logout)`}
	spSuite       = suite{"internal/saml", `^Test(ReadSP|ParseSP|VerifyMetadata|Class14_Metadata)`}
	watchSuite    = suite{"internal/app", `^Test(Import|Watch|NextCheck|Class06|ReplicasShare|Claimed|Offer|Preview)`}
	standingSuite = suite{"internal/idp", `^Test(Class12|Class19|Class20|Access|Class11)`}
	tokenSuite    = suite{"internal/authn", `^TestNeighbour_TruncatedTokens`}
	sessionSuite  = suite{"internal/authn", `^Test(Session|SignIn|Revoke|WhoMay|Class12_DisabledPerson|Class12_Staged)`}
	flowSuite     = suite{"internal/authn", `^Test(Class12_Used|Class19_Single|Flow)`}
	linkSuite     = suite{"internal/authn", `^Test(Links|Setup|CreateOwner|Temporary|WhoMay|Class12_DisabledPerson|Class12_Used|Class19_Single)`}
	keySuite      = suite{"internal/authn", `^Test(APIKeys|WhoMay|Class12_DisabledKey)`}
	guessSuite    = suite{"internal/authn", `^Test(Neighbour_|Judge|WaitsGrow|NetworkOf|Temporary|Class12_|Class18_KnownAndUnknownGet|SignIn|Password)`}
	passwordSuite = suite{"internal/authn", `^Test(ChangePassword|Temporary|AStolen|WhoMay|DecodePHC|Class12_DisabledPerson|SignIn|Links)`}
	storeSuite    = suite{"internal/store", `^Test(Cursor|Neighbour|Fold)`}
	webSuite      = suite{"internal/web", `^Test`}
	serverSuite   = suite{"internal/server", `^Test`}
	accessSuite   = suite{"internal/access internal/directory", `^Test(Allow|EveryRole|AtLeast|RolesProtect|LastOwner)`}
)
