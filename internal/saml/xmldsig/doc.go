// Package xmldsig reads untrusted XML strictly and verifies and makes the one form of XML signature that SAML uses:
// enveloped, one reference to the root's ID, exclusive canonicalization, asymmetric algorithms bound to the key's type.
// It hides the XML syntax, canonicalization, and the library that verifies.
//
//	bytes ──Read──▶ Element ──Verify──▶ Verified ──Root──▶ Element, the only one to read from here on
//
// Read is the only parser that ever sees input; the tree that is verified is built from what it accepted. Verified holds
// the canonical bytes that the signature covers, read again by Read, so that nothing can be read that is not signed.
//
// A Signer works the other way round: the writer has the element's canonical form in a buffer already, with a gap of
// Len bytes, and Sign hashes the bytes where they stand and fills the gap.
//
// Sources: xmldsig-core1, xml-exc-c14n, RFC 6931.
package xmldsig
