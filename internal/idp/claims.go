package idp

import (
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// prepared is an application at one version, with what follows from its settings and is costly to work out each time.
// Its bindings and provisioning may have changed since.
type prepared struct {
	app app.Application
	// The rest is only there if sign-on is active.
	sp      saml.ServiceProvider
	mapping *catalog.SAMLMapping
	signer  *xmldsig.Signer
}

func (x *prepared) active() bool { return x.app.SAML.Status == app.Active }

// maxPrepared bounds the cache.
const maxPrepared = 2000

// bySlug returns the application that answers at a slug.
func (p *IDP) bySlug(tx *store.Tx, slug string) (*prepared, error) {
	id, version, err := app.VersionBySlug(tx, slug)
	if err != nil {
		return nil, err
	}
	return p.prepare(tx, id, version)
}

// byID returns an application.
func (p *IDP) byID(tx *store.Tx, id app.ID) (*prepared, error) {
	version, err := app.VersionOf(tx, id)
	if err != nil {
		return nil, err
	}
	return p.prepare(tx, id, version)
}

// prepare returns what was worked out for this very version, or works it out. The version is read from the database with
// each request, so a change on one replica counts on all at once.
func (p *IDP) prepare(tx *store.Tx, id app.ID, version int64) (*prepared, error) {
	p.mu.Lock()
	x, ok := p.prepared[id]
	p.mu.Unlock()
	if ok && x.app.Version == version {
		return x, nil
	}
	a, err := app.GetApplication(tx, id)
	if err != nil {
		return nil, err
	}
	x = &prepared{app: a}
	if x.active() {
		if err := p.complete(tx, x); err != nil {
			return nil, fmt.Errorf("idp: application %s: %w", id, err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.prepared) >= maxPrepared {
		clear(p.prepared)
	}
	p.prepared[id] = x
	return x, nil
}

func (p *IDP) complete(tx *store.Tx, x *prepared) error {
	a := x.app
	con, err := p.catalog.Get(a.Connector)
	if err != nil {
		return err
	}
	if x.mapping, err = p.catalog.SAMLMapping(a.Connector, a.SAML.Mapping); err != nil {
		return fmt.Errorf("mapping: %w", err)
	}
	facts, _, err := catalog.MergeSAML(con.SAML, a.SAML.Mapping)
	if err != nil {
		return fmt.Errorf("mapping: %w", err)
	}
	x.sp = saml.ServiceProvider{
		EntityID: a.SAML.SPEntityID, NameIDFormats: formats(facts), RequireSignedRequests: a.SAML.RequireSignedRequests,
	}
	for _, acs := range a.SAML.ACS {
		x.sp.ACS = append(x.sp.ACS, saml.Endpoint{URL: acs.URL, Index: acs.Index, Default: acs.Default})
	}
	if x.sp.Keys, err = publicKeys(a.SAML.SPCertificates); err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	_, x.signer, err = p.pairs.XMLSigner(tx, string(a.ID), a.SAML.Hash())
	return err
}

func publicKeys(certificates []string) ([]crypto.PublicKey, error) {
	var out []crypto.PublicKey
	for _, text := range certificates {
		c, err := keys.ParseCertificate(text)
		if err != nil {
			return nil, err
		}
		out = append(out, c.PublicKey)
	}
	return out, nil
}

// formats lists the NameID formats that we serve honestly, the configured one first. A format is a promise about the
// value: an e-mail address doesn't become a persistent identifier by being called one.
func formats(facts catalog.NameIDFacts) []string {
	out := []string{facts.Format}
	add := func(format string, honest bool) {
		if honest && !slices.Contains(out, format) && (len(facts.Formats) == 0 || slices.Contains(facts.Formats, format)) {
			out = append(out, format)
		}
	}
	add(saml.NameIDEmailAddress, facts.Attribute == "email")
	add(saml.NameIDPersistent, facts.Attribute == "id")
	add(saml.NameIDTransient, true) // it is made anew each time
	add(saml.NameIDUnspecified, true)
	return out
}

// Authentication methods (RFC 8176) and the classes that they earn, weakest class first.
var contextOrder = []string{saml.AuthnContextPassword, saml.AuthnContextPasswordProtectedTransport, saml.AuthnContextREFEDSMFA}

// reachable are the classes that sign-in can earn at present.
var reachable = contextOrder[:2]

// achieved returns the classes that the proofs of a session earn.
func achieved(factors []authn.Factor) []string {
	var out []string
	methods := map[string]bool{}
	for _, f := range factors {
		methods[f.Method] = true
	}
	if methods["pwd"] {
		out = append(out, saml.AuthnContextPassword, saml.AuthnContextPasswordProtectedTransport)
	}
	if len(methods) > 1 {
		out = append(out, saml.AuthnContextREFEDSMFA)
	}
	return out
}

// methods names the proofs of a session, for the event.
func methods(factors []authn.Factor) []string {
	out := []string{}
	for _, f := range factors {
		out = append(out, f.Method)
	}
	return out
}

// self is our own side of a check.
func (p *IDP) self(a app.Application) saml.IdentityProvider {
	return saml.IdentityProvider{Endpoints: p.apps.Endpoints(a), AuthnContexts: reachable}
}

var errAnotherPerson = errors.New("idp: the service provider asks for another person")

// subject makes the NameID of an answer from the mapping's. format is what the request settled on, "" without request.
func subject(a app.Application, id saml.NameID, format string, asked *saml.AuthnRequest) (saml.NameID, error) {
	if asked != nil && asked.HasSubject && !sameSubject(asked.Subject, id) {
		return saml.NameID{}, errAnotherPerson
	}
	if format != "" {
		id.Format = format
	}
	switch id.Format {
	case saml.NameIDTransient: // saml-core §8.3.8
		id.Value = saml.NewID()
	case saml.NameIDPersistent: // saml-core §8.3.7
		id.NameQualifier, id.SPNameQualifier = a.SAML.IDPEntityID, a.SAML.SPEntityID
	}
	return id, nil
}

// sameSubject reports whether the service provider asks for this very person. Addresses are compared without case.
func sameSubject(asked, id saml.NameID) bool {
	if asked.Format == saml.NameIDEmailAddress || id.Format == saml.NameIDEmailAddress || strings.Contains(id.Value, "@") {
		return strings.EqualFold(asked.Value, id.Value)
	}
	return asked.Value == id.Value
}
