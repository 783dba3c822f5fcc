package saml

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
)

// IdPMetadata is what an SP needs to know of us (saml-metadata §2.4.3).
type IdPMetadata struct {
	ID                      string // needed when signed; see NewID
	EntityID                string
	SSO                     []Endpoint          // Redirect and POST, at least one
	SLO                     []Endpoint          // none: no single logout is offered
	Certificates            []*x509.Certificate // current first, then the next one
	NameIDFormats           []string
	WantAuthnRequestsSigned bool
	ValidUntil              time.Time     // zero is left out
	CacheDuration           time.Duration // in whole seconds; 0 is left out
}

// AppendMetadata appends our metadata in canonical form, signed unless k is nil, to dst.
func AppendMetadata(dst []byte, m *IdPMetadata, k *xmldsig.Signer) ([]byte, error) {
	if m.EntityID == "" || len(m.EntityID) > 1024 || len(m.SSO) == 0 || len(m.Certificates) == 0 {
		return nil, errors.New("saml: metadata: it needs an entityID, a sign-on endpoint and a certificate")
	}
	w := writer{b: dst}
	start := len(w.b)
	w.raw(`<md:EntityDescriptor xmlns:md="` + NSMetadata + `"`)
	if m.ID != "" || k != nil {
		w.id("ID", m.ID)
	}
	if m.CacheDuration >= time.Second {
		w.attr("cacheDuration", "PT"+strconv.Itoa(int(m.CacheDuration/time.Second))+"S")
	}
	w.attr("entityID", m.EntityID)
	if !m.ValidUntil.IsZero() {
		w.time("validUntil", m.ValidUntil)
	}
	w.raw(`>`)
	gap := len(w.b)
	if k != nil {
		gap = w.gap(k, m.ID)
	}
	w.algorithms()
	w.raw(`<md:IDPSSODescriptor WantAuthnRequestsSigned="` + strconv.FormatBool(m.WantAuthnRequestsSigned) +
		`" protocolSupportEnumeration="` + NSProtocol + `">`)
	for _, c := range m.Certificates {
		w.raw(`<md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="` + nsSignature + `"><ds:X509Data><ds:X509Certificate>`)
		w.b = base64.StdEncoding.AppendEncode(w.b, c.Raw)
		w.raw(`</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>`)
	}
	w.endpoints("md:SingleLogoutService", m.SLO)
	for _, format := range m.NameIDFormats {
		w.element("md:NameIDFormat", "md:NameIDFormat", format)
	}
	w.endpoints("md:SingleSignOnService", m.SSO)
	w.raw(`</md:IDPSSODescriptor></md:EntityDescriptor>`)
	if k != nil {
		w.sign(k, m.ID, start, gap)
	}
	if w.err != nil {
		return nil, fmt.Errorf("saml: metadata: %w", w.err)
	}
	return w.b, nil
}

// algorithms tells which digests and signatures we take, the preferred first (sstc-saml-metadata-algsupport §2). Without it,
// Shibboleth SP signs requests by POST with SHA-1.
func (w *writer) algorithms() {
	w.raw(`<md:Extensions>`)
	for _, digest := range []string{
		"http://www.w3.org/2001/04/xmlenc#sha256", "http://www.w3.org/2001/04/xmldsig-more#sha384", "http://www.w3.org/2001/04/xmlenc#sha512",
	} {
		w.algorithm("alg:DigestMethod", digest)
	}
	for _, signature := range []string{
		xmldsig.RSASHA256, xmldsig.RSASHA384, xmldsig.RSASHA512, xmldsig.ECDSASHA256, xmldsig.ECDSASHA384, xmldsig.ECDSASHA512,
	} {
		w.algorithm("alg:SigningMethod", signature)
	}
	w.raw(`</md:Extensions>`)
}

func (w *writer) algorithm(name, uri string) {
	w.raw("<" + name + ` xmlns:alg="urn:oasis:names:tc:SAML:metadata:algsupport"`)
	w.attr("Algorithm", uri)
	w.raw("></" + name + ">")
}

func (w *writer) endpoints(name string, endpoints []Endpoint) {
	for _, e := range endpoints {
		if e.URL == "" {
			w.fail(errors.New("endpoint without URL"))
		}
		binding := e.Binding
		if binding == "" {
			binding = BindingHTTPPost
		}
		w.raw("<" + name)
		w.attr("Binding", binding)
		w.attr("Location", e.URL)
		w.optional("ResponseLocation", e.ResponseLocation)
		w.raw("></" + name + ">")
	}
}
