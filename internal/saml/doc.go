// Package saml reads and writes the SAML 2.0 messages of an identity provider and hides XML, the bindings and the
// rules of the Web Browser SSO profile: bytes, keys and the time go in, values and decisions come out.
//
// It knows nothing of HTTP handlers, databases or people. The order of a sign-on is:
//
//	ReadRedirect / ReadPost   the request as it arrived, within limits; only its issuer is read, to find the SP
//	Check                     verifies, compares and decides: where the answer goes, or why there is none
//	AppendResponse            writes and signs the answer in one pass
//	EncodePost                the form value that the browser carries
//
// Single logout goes the same way: ReadLogoutRedirect / ReadLogoutPost, CheckLogoutRequest / CheckLogoutResponse,
// AppendLogoutRequest / AppendLogoutResponse, then EncodePost or RedirectURL.
//
// What Check returns is the only thing to read afterwards: a signed request is read again from the very bytes that
// its signature covers. An *Error says whether it may be told to the service provider (Sendable) or only to the person.
//
// What a check demands stands in tables of rules. Explain runs the same tables without stopping, and tells an administrator
// about each rule what was found and where the standard says it; it reads what came (also what could not be read), what
// somebody pasted (ReadPasted), and our own answers (ExplainResponse, PreviewResponse). Redact shows a message without what
// is secret in it.
//
// Metadata for service providers is written by AppendMetadata, theirs is read by ParseSPMetadata.
//
// Sources: saml-core, saml-bindings, saml-profiles and saml-metadata, all "2.0-os", with Errata 05.
package saml
