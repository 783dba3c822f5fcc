package samltest

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	_ "embed"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// XMLSec verifies every signature of a document with the program xmlsec1 (Debian package xmlsec1), by the certificate's
// key alone. signatures is the number that must be there.
func XMLSec(ctx context.Context, xml []byte, cert *x509.Certificate, signatures int) error {
	dir, err := os.MkdirTemp("", "samltest")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file, certFile := filepath.Join(dir, "message.xml"), filepath.Join(dir, "cert.pem")
	if err := os.WriteFile(file, xml, 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), 0o600); err != nil {
		return err
	}
	if n := bytes.Count(xml, []byte("<ds:Signature ")); n != signatures {
		return fmt.Errorf("%d signatures, not %d", n, signatures)
	}
	for i := range signatures {
		//nolint:gosec // the paths are our own temporary files
		out, err := exec.CommandContext(ctx, "xmlsec1", "--verify", "--pubkey-cert-pem", certFile, "--enabled-key-data", "key-name",
			"--id-attr:ID", "urn:oasis:names:tc:SAML:2.0:protocol:Response",
			"--id-attr:ID", "urn:oasis:names:tc:SAML:2.0:protocol:LogoutRequest",
			"--id-attr:ID", "urn:oasis:names:tc:SAML:2.0:protocol:LogoutResponse",
			"--id-attr:ID", "urn:oasis:names:tc:SAML:2.0:assertion:Assertion",
			"--id-attr:ID", "urn:oasis:names:tc:SAML:2.0:metadata:EntityDescriptor",
			"--node-xpath", fmt.Sprintf("(//*[local-name()='Signature'])[%d]", i+1), file).CombinedOutput()
		if err != nil {
			return fmt.Errorf("xmlsec1, signature %d: %w: %s", i+1, err, out)
		}
	}
	return nil
}

// XMLSecDecrypt decrypts the only EncryptedData of a document with the program xmlsec1, and returns the document with what
// was encrypted in its place.
func XMLSecDecrypt(ctx context.Context, xml []byte, key *rsa.PrivateKey) ([]byte, error) {
	dir, err := os.MkdirTemp("", "samltest")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	file, keyFile, outFile := filepath.Join(dir, "message.xml"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "out.xml")
	if err := os.WriteFile(file, xml, 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return nil, err
	}
	//nolint:gosec // the paths are our own temporary files
	out, err := exec.CommandContext(ctx, "xmlsec1", "--decrypt", "--privkey-pem", keyFile, "--output", outFile, file).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("xmlsec1: %w: %s", err, out)
	}
	return os.ReadFile(outFile)
}

// Schema names an XML schema of the OASIS standard as Debian's package opensaml-schemas installs it.
type Schema string

// The schemas.
const (
	SchemaProtocol Schema = "/usr/share/xml/opensaml/saml-schema-protocol-2.0.xsd"
	SchemaMetadata Schema = "/usr/share/xml/opensaml/saml-schema-metadata-2.0.xsd"
)

//go:embed testdata/catalog.xml
var catalog []byte

// Validate validates a document against a schema with the program xmllint (Debian packages libxml2-utils,
// opensaml-schemas and xmltooling-schemas), without using the network.
func Validate(ctx context.Context, xml []byte, schema Schema) error {
	dir, err := os.MkdirTemp("", "samltest")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	catalogFile := filepath.Join(dir, "catalog.xml")
	if err := os.WriteFile(catalogFile, catalog, 0o600); err != nil {
		return err
	}
	//nolint:gosec // the schema is one of the constants above
	cmd := exec.CommandContext(ctx, "xmllint", "--nonet", "--noout", "--schema", string(schema), "-")
	cmd.Env = append(os.Environ(), "XML_CATALOG_FILES="+catalogFile)
	cmd.Stdin = bytes.NewReader(xml)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("xmllint: %w: %s", err, out)
	}
	return nil
}
