// Package xmldsig reads untrusted XML strictly and verifies and makes the one form of XML signature that SAML uses:
// enveloped, one reference to the root's ID, exclusive canonicalization, asymmetric algorithms bound to the key's type.
// It hides the XML syntax and canonicalization.
//
//	bytes ──Read──▶ Element ──Verify──▶ Verified ──Root──▶ Element, the only one to read from here on
//
// There is one parser, which alone sees input; what is verified is what it accepted. Verified holds the canonical bytes
// that the signature covers, read again by the same parser, so that nothing can be read that is not signed.
//
// Documents too large for a tree go the same way in pieces: VerifyBytes gives the canonical bytes, and a Scanner reads
// them, or any others, holding no more than a window.
//
// A Signer works the other way round: the writer has the element's canonical form in a buffer already, with a gap of
// Len bytes, and Sign hashes the bytes where they stand and fills the gap.
//
// Sources: xmldsig-core1, xml-exc-c14n, RFC 6931.
package xmldsig
