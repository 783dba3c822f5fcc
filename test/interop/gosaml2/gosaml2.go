package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"encoding/xml"
	"errors"
	"net/http"

	saml2 "github.com/russellhaering/gosaml2"
	dsig "github.com/russellhaering/goxmldsig"
)

type goSAML2 struct{}

func (goSAML2) provider(s *settings) (*saml2.SAMLServiceProvider, error) {
	var roots []*x509.Certificate
	for _, text := range s.IDP.Certificates {
		b, _ := pem.Decode([]byte(text))
		if b == nil {
			return nil, errors.New("no certificate")
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, err
		}
		roots = append(roots, c)
	}
	sso := s.IDP.SSORedirect
	if s.Binding == "post" {
		sso = s.IDP.SSOPost
	}
	sp := &saml2.SAMLServiceProvider{
		IdentityProviderSSOURL: sso, IdentityProviderSLOURL: s.IDP.SLOPost, IdentityProviderIssuer: s.IDP.EntityID,
		AssertionConsumerServiceURL: s.Base + "/acs", ServiceProviderSLOURL: s.Base + "/slo", ServiceProviderIssuer: s.EntityID,
		AudienceURI: s.EntityID, SignAuthnRequests: s.Sign, ForceAuthn: s.Force, IsPassive: s.Passive, NameIdFormat: s.Format,
		// Its default is C14N 1.1, which saml-core 5.4.3 advises against.
		SignAuthnRequestsCanonicalizer: dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList(""),
		IDPCertificateStore:            &dsig.MemoryX509CertificateStore{Roots: roots},
	}
	// Its advice is SetSPKeyStore, but assertions are decrypted by this field alone.
	sp.SPKeyStore = dsig.TLSCertKeyStore(tls.Certificate{Certificate: [][]byte{s.certificate.Raw}, PrivateKey: s.key})
	return sp, sp.SetSPSigningKeyStore(&saml2.KeyStore{Signer: s.key, Cert: s.certificate.Raw})
}

func (l goSAML2) metadata(s *settings) ([]byte, error) {
	sp, err := l.provider(s)
	if err != nil {
		return nil, err
	}
	// The hours are taken for nanoseconds: anything but 0 has ended by the time it is read.
	md, err := sp.MetadataWithSLO(0)
	if err != nil {
		return nil, err
	}
	return xml.MarshalIndent(md, "", "  ")
}

func (l goSAML2) login(s *settings) (onward, error) {
	sp, err := l.provider(s)
	if err != nil {
		return onward{}, err
	}
	if s.Binding == "post" {
		page, err := sp.BuildAuthBodyPost("/session")
		return onward{page: page}, err
	}
	doc, err := sp.BuildAuthRequestDocumentNoSig()
	if err != nil {
		return onward{}, err
	}
	to, err := sp.BuildAuthURLRedirect("/session", doc)
	return onward{url: to}, err
}

func (l goSAML2) response(s *settings, r *http.Request) (*person, error) {
	sp, err := l.provider(s)
	if err != nil {
		return nil, err
	}
	info, err := sp.RetrieveAssertionInfo(r.PostFormValue("SAMLResponse"))
	switch {
	case err != nil:
		return nil, err
	// These two are left to the program.
	case info.WarningInfo.InvalidTime:
		return nil, errors.New("the assertion isn't valid now")
	case info.WarningInfo.NotInAudience:
		return nil, errors.New("the assertion is for somebody else")
	case s.WantResponseSigned && !info.ResponseSignatureValidated:
		return nil, errors.New("the response isn't signed")
	}
	p := &person{NameID: info.NameID, Format: info.NameIDFormat, Attributes: map[string][]string{}, index: info.SessionIndex}
	for name := range info.Values {
		p.Attributes[name] = info.Values.GetAll(name)
	}
	return p, nil
}

func (l goSAML2) logout(s *settings, p *person) (onward, error) {
	sp, err := l.provider(s)
	if err != nil {
		return onward{}, err
	}
	doc, err := sp.BuildLogoutRequestDocument(p.NameID, p.index)
	if err != nil {
		return onward{}, err
	}
	page, err := sp.BuildLogoutBodyPostFromDocument("", doc)
	return onward{page: page}, err
}

func (l goSAML2) logoutMessage(s *settings, r *http.Request) (string, onward, error) {
	sp, err := l.provider(s)
	if err != nil {
		return "", onward{}, err
	}
	if v := r.PostFormValue("SAMLResponse"); v != "" {
		_, err := sp.ValidateEncodedLogoutResponsePOST(v)
		return "", onward{}, err
	}
	req, err := sp.ValidateEncodedLogoutRequestPOST(r.PostFormValue("SAMLRequest"))
	if err != nil {
		return "", onward{}, err
	}
	if req.NameID == nil {
		return "", onward{}, errors.New("no NameID")
	}
	doc, err := sp.BuildLogoutResponseDocument(saml2.StatusCodeSuccess, req.ID)
	if err != nil {
		return "", onward{}, err
	}
	page, err := sp.BuildLogoutResponseBodyPostFromDocument(r.PostFormValue("RelayState"), doc)
	if err == nil && !bytes.Contains(page, []byte("SAMLResponse")) {
		err = errors.New("no answer was made")
	}
	return req.NameID.Value, onward{page: page}, err
}
