package idp

import (
	"crypto"
	"fmt"
	"reflect"
	"slices"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
	"github.com/latchkey-idp/latchkey/internal/saml/xmlenc"
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
	// ownNames says that the administrator chose what persistent names are made of; else they are ours, made at first use.
	ownNames bool
	pace     pace
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
	x, err := p.prepare(tx, id, version)
	if err == nil {
		p.mu.Lock()
		p.slugs[slug] = id
		p.mu.Unlock()
	}
	return x, err
}

// remembering returns the application that answered at a slug when that was last looked up, as it was then; nil if that
// isn't known any more.
func (p *IDP) remembering(slug string) *prepared {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.prepared[p.slugs[slug]]
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
	x = &prepared{app: a, pace: newPace()}
	if x.active() {
		if err := p.complete(tx, x); err != nil {
			return nil, fmt.Errorf("idp: application %s: %w", id, err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.prepared) >= maxPrepared {
		clear(p.prepared)
		clear(p.slugs)
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
	// A source that is the connector's anyway was not chosen for persistent names.
	x.ownNames = facts.Format == saml.NameIDPersistent && !reflect.DeepEqual(facts.Source, con.SAML.NameID.Source)
	x.sp = saml.ServiceProvider{
		EntityID: a.SAML.SPEntityID, NameIDFormats: formats(facts), RequireSignedRequests: a.SAML.RequireSignedRequests,
		AllowSHA1: a.SAML.AllowSHA1,
	}
	for _, acs := range a.SAML.ACS {
		x.sp.ACS = append(x.sp.ACS, saml.Endpoint{URL: acs.URL, Index: acs.Index, Default: acs.Default})
	}
	if x.sp.Keys, err = publicKeys(a.SAML.SPCertificates); err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	if a.SAML.SLOURL != "" {
		binding := a.SAML.SLOBinding
		if binding == "" {
			binding = saml.BindingHTTPRedirect
		}
		x.sp.SLO = []saml.Endpoint{{Binding: binding, URL: a.SAML.SLOURL, ResponseLocation: a.SAML.SLOResponseURL}}
	}
	if a.SAML.EncryptAssertions {
		certificate, err := keys.ParseCertificate(a.SAML.EncryptionCertificate)
		if err != nil {
			return fmt.Errorf("certificate for encryption: %w", err)
		}
		if x.sp.Encryption, err = xmlenc.NewRecipient(certificate, a.SAML.EncryptionAlgorithm); err != nil {
			return fmt.Errorf("encryption: %w", err)
		}
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
	// Where names are to tell nothing about the person, the address isn't given out by another door.
	hidden := facts.Format == saml.NameIDPersistent || facts.Format == saml.NameIDTransient
	add(saml.NameIDEmailAddress, facts.Attribute == "email" && !hidden)
	add(saml.NameIDPersistent, true) // ours, if the configured name is of another format
	add(saml.NameIDTransient, true)  // it is made anew each time
	add(saml.NameIDUnspecified, true)
	return out
}

// Authentication methods (RFC 8176) and the classes that they earn, weakest class first.
var contextOrder = []string{saml.AuthnContextPassword, saml.AuthnContextPasswordProtectedTransport, saml.AuthnContextREFEDSMFA}

// classes returns the authentication context classes that a set of methods earns.
func (p *IDP) classes(methods ...string) []string {
	var out []string
	if slices.Contains(methods, passwordMethod) {
		out = append(out, saml.AuthnContextPassword)
		if p.protected {
			out = append(out, saml.AuthnContextPasswordProtectedTransport)
		}
	}
	slices.Sort(methods)
	if len(slices.Compact(methods)) > 1 {
		out = append(out, saml.AuthnContextREFEDSMFA)
	}
	return out
}

// passwordMethod is how a password is called in a session's factors.
const passwordMethod = "pwd"

// reachable are the classes that sign-in can earn at present.
func (p *IDP) reachable() []string { return p.classes(passwordMethod) }

// achieved returns the classes that the proofs of a session earn.
func (p *IDP) achieved(s authn.Session) []string { return p.classes(methods(s.Factors)...) }

// methods names the proofs of a session.
func methods(factors []authn.Factor) []string {
	out := []string{}
	for _, f := range factors {
		out = append(out, f.Method)
	}
	return out
}

// self is our own side of a check. Wishes about the way of signing in are judged by the dispatcher, which knows the
// session.
func (p *IDP) self(a app.Application) saml.IdentityProvider {
	return saml.IdentityProvider{EntityID: a.SAML.IDPEntityID, Endpoints: p.apps.Endpoints(a), LogoutEndpoints: p.apps.LogoutEndpoints(a)}
}
