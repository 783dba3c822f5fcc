package main

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

// newPair makes a key and a certificate, and writes them to files.
func newPair(dir, name string) (pair, error) {
	var p pair
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return p, err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour), BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return p, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return p, err
	}
	p = pair{
		keyFile: filepath.Join(dir, name+".key"), certFile: filepath.Join(dir, name+".crt"),
		keyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
		certPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
	}
	// Programs that run as another user read them, too; they live as long as the run.
	return p, errors.Join(os.WriteFile(p.keyFile, p.keyPEM, 0o644), os.WriteFile(p.certFile, p.certPEM, 0o644))
}

// forge changes a response and signs its assertion anew with a pair. It is how a case makes a response that is true in
// all but one thing.
func forge(response []byte, p pair, change func(*etree.Element) error) ([]byte, error) {
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(response); err != nil {
		return nil, err
	}
	assertion := doc.Root().SelectElement("Assertion")
	if assertion == nil {
		return nil, errors.New("the response holds no assertion in the clear")
	}
	old := assertion.SelectElement("Signature")
	if old == nil {
		return nil, errors.New("the assertion isn't signed")
	}
	assertion.RemoveChild(old)
	if err := change(doc.Root()); err != nil {
		return nil, err
	}
	k, err := tls.X509KeyPair(p.certPEM, p.keyPEM)
	if err != nil {
		return nil, err
	}
	signer, ok := k.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, errors.New("the key can't sign")
	}
	ctx, err := dsig.NewSigningContext(signer, k.Certificate)
	if err != nil {
		return nil, err
	}
	ctx.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	if err := ctx.SetSignatureMethod(dsig.RSASHA256SignatureMethod); err != nil {
		return nil, err
	}
	sig, err := ctx.ConstructSignature(assertion, true)
	if err != nil {
		return nil, err
	}
	// saml-core §2.3.3: the signature follows the issuer.
	assertion.InsertChildAt(assertion.SelectElement("Issuer").Index()+1, sig)
	return doc.WriteToBytes()
}

// find returns the first element of a path of local names, whatever their prefixes.
func find(e *etree.Element, path ...string) (*etree.Element, error) {
	for _, name := range path {
		next := e.SelectElement(name)
		if next == nil {
			return nil, fmt.Errorf("no %s in %s", name, e.Tag)
		}
		e = next
	}
	return e, nil
}

// signedElement tells whether the first element of that name is signed by its own; "" means the root.
func signedElement(xml []byte, name string) bool {
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(xml); err != nil || doc.Root() == nil {
		return false
	}
	e := doc.Root()
	if name != "" {
		e = e.SelectElement(name)
	}
	return e != nil && e.SelectElement("Signature") != nil
}

// isTrue tells whether an attribute of a message's root is set to true.
func isTrue(xml []byte, name string) bool {
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(xml); err != nil || doc.Root() == nil {
		return false
	}
	v := doc.Root().SelectAttrValue(name, "")
	return v == "true" || v == "1"
}

func rootName(xml []byte) string {
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(xml); err != nil || doc.Root() == nil {
		return ""
	}
	return doc.Root().Tag
}

// holds tells whether a message has an element or attribute of that kind in it, by its text.
func holds(xml []byte, text string) bool { return bytes.Contains(xml, []byte(text)) }
