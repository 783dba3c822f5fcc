package main

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/beevik/etree"

	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
)

// judges has all that Latchkey sent in the cases before validated by the OASIS schemas, and its XML signatures verified
// by xmlsec1; encrypted assertions are decrypted by xmlsec1 for that.
func judges(ctx context.Context, b *bench) error {
	if len(b.issued) == 0 {
		return errors.New("nothing was sent")
	}
	md, err := fetch(ctx, b.app.URLs.Metadata)
	if err != nil {
		return err
	}
	if err := samltest.Validate(ctx, md, samltest.SchemaMetadata); err != nil {
		return fmt.Errorf("our metadata: %w", err)
	}
	pair, err := tls.X509KeyPair(b.lab.key.certPEM, b.lab.key.keyPEM)
	if err != nil {
		return err
	}
	key, ok := pair.PrivateKey.(*rsa.PrivateKey)
	if !ok {
		return errors.New("not an RSA key")
	}
	for _, m := range b.issued {
		cert, err := keys.ParseCertificate(m.certificate)
		if err != nil {
			return err
		}
		what := m.caseKey + ", " + rootName(m.xml)
		if err := samltest.Validate(ctx, m.xml, samltest.SchemaProtocol); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		// In the case of the change, some were signed by the certificate before; in the other, by that of another application.
		if m.caseKey == "certificate" || m.caseKey == "slo-both" {
			continue
		}
		xml := m.xml
		if err := samltest.XMLSec(ctx, xml, cert, bytes.Count(xml, []byte("<ds:Signature "))); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if !holds(xml, "EncryptedData") {
			continue
		}
		if xml, err = samltest.XMLSecDecrypt(ctx, xml, key); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if xml, err = assertionOf(xml); err != nil {
			return fmt.Errorf("%s, decrypted: %w", what, err)
		}
		if err := samltest.Validate(ctx, xml, samltest.SchemaProtocol); err != nil {
			return fmt.Errorf("%s, decrypted: %w", what, err)
		}
		if err := samltest.XMLSec(ctx, xml, cert, 1); err != nil {
			return fmt.Errorf("%s, decrypted: %w", what, err)
		}
	}
	return nil
}

// assertionOf returns the assertion of a response as a document of its own: the response's signature covers it encrypted.
func assertionOf(response []byte) ([]byte, error) {
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(response); err != nil {
		return nil, err
	}
	assertion := doc.FindElement("//Assertion")
	if assertion == nil {
		return nil, errors.New("no assertion")
	}
	own := etree.NewDocument()
	own.SetRoot(assertion)
	return own.WriteToBytes()
}
