// Package xmldsig reads untrusted XML strictly and verifies and makes the one form of XML signature that SAML uses:
// enveloped, one reference to the root's ID, exclusive canonicalization, asymmetric algorithms bound to the key's type.
package xmldsig
