// Package xmlenc encrypts XML for one recipient in the one form that is still sound: AES-GCM for the content, RSA-OAEP
// for its key. It hides the syntax of XML encryption, and knows nothing of CBC and PKCS #1 v1.5, which padding oracles
// broke.
//
// Sources: xmlenc-core1 §5.2.4 (AES-GCM), §5.5.2 (RSA-OAEP); saml-core §2.3.4 for where it is used.
package xmlenc
