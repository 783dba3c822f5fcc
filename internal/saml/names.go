package saml

// XML namespaces (saml-core §1.1, saml-metadata §1.1).
const (
	NSAssertion = "urn:oasis:names:tc:SAML:2.0:assertion"
	NSProtocol  = "urn:oasis:names:tc:SAML:2.0:protocol"
	NSMetadata  = "urn:oasis:names:tc:SAML:2.0:metadata"
	nsSignature = "http://www.w3.org/2000/09/xmldsig#"
	nsMDUI      = "urn:oasis:names:tc:SAML:metadata:ui"
)

// Bindings (saml-bindings §3).
const (
	BindingHTTPRedirect = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
	BindingHTTPPost     = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
)

// NameID formats (saml-core §8.3).
const (
	NameIDUnspecified     = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"
	NameIDEmailAddress    = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
	NameIDX509SubjectName = "urn:oasis:names:tc:SAML:1.1:nameid-format:X509SubjectName"
	NameIDPersistent      = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
	NameIDTransient       = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
	NameIDEncrypted       = "urn:oasis:names:tc:SAML:2.0:nameid-format:encrypted"
	NameIDEntity          = "urn:oasis:names:tc:SAML:2.0:nameid-format:entity"
)

// Attribute name formats (saml-core §8.2).
const (
	AttrNameUnspecified = "urn:oasis:names:tc:SAML:2.0:attrname-format:unspecified"
	AttrNameURI         = "urn:oasis:names:tc:SAML:2.0:attrname-format:uri"
	AttrNameBasic       = "urn:oasis:names:tc:SAML:2.0:attrname-format:basic"
)

// Authentication context classes (saml-authn-context §3.4) and the one that research federations and Entra use to ask
// for a second factor (refeds.org/profile/mfa).
const (
	AuthnContextUnspecified                = "urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified"
	AuthnContextPassword                   = "urn:oasis:names:tc:SAML:2.0:ac:classes:Password"
	AuthnContextPasswordProtectedTransport = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"
	AuthnContextTimeSyncToken              = "urn:oasis:names:tc:SAML:2.0:ac:classes:TimeSyncToken"
	AuthnContextREFEDSMFA                  = "https://refeds.org/profile/mfa"
)

// Status codes (saml-core §3.2.2.2). The first four are top-level codes, the others second-level.
const (
	StatusSuccess         = "urn:oasis:names:tc:SAML:2.0:status:Success"
	StatusRequester       = "urn:oasis:names:tc:SAML:2.0:status:Requester"
	StatusResponder       = "urn:oasis:names:tc:SAML:2.0:status:Responder"
	StatusVersionMismatch = "urn:oasis:names:tc:SAML:2.0:status:VersionMismatch"

	StatusAuthnFailed         = "urn:oasis:names:tc:SAML:2.0:status:AuthnFailed"
	StatusInvalidNameIDPolicy = "urn:oasis:names:tc:SAML:2.0:status:InvalidNameIDPolicy"
	StatusNoAuthnContext      = "urn:oasis:names:tc:SAML:2.0:status:NoAuthnContext"
	StatusNoPassive           = "urn:oasis:names:tc:SAML:2.0:status:NoPassive"
	StatusPartialLogout       = "urn:oasis:names:tc:SAML:2.0:status:PartialLogout"
	StatusRequestDenied       = "urn:oasis:names:tc:SAML:2.0:status:RequestDenied"
	StatusRequestUnsupported  = "urn:oasis:names:tc:SAML:2.0:status:RequestUnsupported"
	StatusUnknownPrincipal    = "urn:oasis:names:tc:SAML:2.0:status:UnknownPrincipal"
	StatusUnsupportedBinding  = "urn:oasis:names:tc:SAML:2.0:status:UnsupportedBinding"
)

// Reasons of a logout request (saml-core §3.7.3).
const (
	LogoutByUser  = "urn:oasis:names:tc:SAML:2.0:logout:user"
	LogoutByAdmin = "urn:oasis:names:tc:SAML:2.0:logout:admin"
)
