package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/xmlenc"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// MaxSPMetadata is the largest metadata document that is taken, in bytes: a federation's has thousands of entities.
const MaxSPMetadata = 64 << 20

// offer is what a document says of a service provider, as far as we use it. It is stored as JSON.
type offer struct {
	EntityID string `json:"entityId"`
	ACS      []ACS  `json:"acs"`
	// Certificates may sign; none: the document names no usable key, and what is registered stays.
	Certificates []string `json:"certificates"`
	// Encryption is a certificate to encrypt for, "" if none is offered, and EncryptionMethods what its owner decrypts.
	Encryption           string    `json:"encryption"`
	EncryptionMethods    []string  `json:"encryptionMethods"`
	SLOURL               string    `json:"sloUrl"`
	SLOBinding           string    `json:"sloBinding"`
	SLOResponseURL       string    `json:"sloResponseUrl"`
	NameIDFormats        []string  `json:"nameIdFormats"`
	AuthnRequestsSigned  bool      `json:"authnRequestsSigned"`
	WantAssertionsSigned bool      `json:"wantAssertionsSigned"`
	ValidUntil           time.Time `json:"validUntil,omitzero"`
	// Notes are sentences for the administrator.
	Notes []string `json:"notes"`
}

// newOffer picks what we use.
func newOffer(md saml.SPMetadata, now time.Time) (offer, error) {
	o := offer{
		EntityID: md.EntityID, NameIDFormats: md.NameIDFormats, AuthnRequestsSigned: md.AuthnRequestsSigned,
		WantAssertionsSigned: md.WantAssertionsSigned, ValidUntil: md.ValidUntil, Notes: slices.Clone(md.Notes),
	}
	o.ACS, o.Notes = importACS(md, o.Notes)
	if len(o.ACS) == 0 {
		return o, problem.InvalidField("metadata", "The metadata names no assertion consumer service with the HTTP-POST binding, so there is nowhere to send people. Ask the service provider for one.")
	}
	for _, c := range md.Certificates {
		text := certificateText(c.Certificate)
		if c.Use == saml.UseEncryption || slices.Contains(o.Certificates, text) {
			continue
		}
		if !isRSAOrECDSA(c.Certificate) || len(o.Certificates) == maxCerts {
			o.note("Left out the certificate %s: its key can't be used, or there are too many.", keys.Fingerprint(c.Certificate))
			continue
		}
		o.Certificates = append(o.Certificates, text)
		if !now.Before(c.Certificate.NotAfter) {
			o.note("A certificate of the service provider ended on %s. Its key is used all the same; ask for a new one.", c.Certificate.NotAfter.Format("2 January 2006"))
		}
	}
	if found := md.EncryptionKeys(); len(found) > 0 {
		best := found[0]
		for _, c := range found {
			if c.Use == saml.UseEncryption {
				best = c
				break
			}
		}
		o.Encryption, o.EncryptionMethods = certificateText(best.Certificate), best.EncryptionMethods
		if _, _, ok := xmlenc.Choose(o.EncryptionMethods); !ok {
			o.note("The service provider decrypts only with algorithms that can be tampered with (AES-CBC). Assertions can't be encrypted for it unless it also takes AES-GCM.")
		}
	}
	importSLO(md, &o)
	if o.AuthnRequestsSigned {
		o.note("The service provider signs its requests. You can require that on the sign-on page.")
	}
	if more := len(o.Notes) - maxNotes; more > 0 { // a document could have us say as much as it likes
		o.Notes = append(o.Notes[:maxNotes:maxNotes], fmt.Sprintf("There is more of this kind, %d times.", more))
	}
	return o, nil
}

// maxNotes bounds what is said about one document.
const maxNotes = 30

func (o *offer) note(format string, args ...any) {
	o.Notes = append(o.Notes, fmt.Sprintf(format, args...))
}

// importACS picks the endpoints that we can send to, with unique indexes and one default.
func importACS(md saml.SPMetadata, notes []string) ([]ACS, []string) {
	var acs []ACS
	used := map[int]bool{}
	hasDefault := false
	for _, e := range md.ACS {
		if e.Binding != "" && e.Binding != saml.BindingHTTPPost {
			notes = append(notes, fmt.Sprintf("Left out %s: its binding isn't HTTP-POST.", e.URL))
			continue
		}
		if err := checkEndpoint(e.URL, "ACS URL"); err != nil {
			notes = append(notes, fmt.Sprintf("Left out %s: %s", e.URL, problem.Public(err)))
			continue
		}
		if slices.ContainsFunc(acs, func(x ACS) bool { return x.URL == e.URL }) {
			continue
		}
		if len(acs) == maxACS {
			notes = append(notes, fmt.Sprintf("Left out %s: there are more than %d.", e.URL, maxACS))
			continue
		}
		index := e.Index
		for used[index] {
			index++
		}
		used[index] = true
		acs = append(acs, ACS{Index: index, URL: e.URL, Default: e.Default && !hasDefault})
		hasDefault = hasDefault || e.Default
	}
	if len(acs) > 0 && !hasDefault { // saml-metadata §2.2.3: else the first is the default
		acs[0].Default = true
	}
	return acs, notes
}

// importSLO picks the first single logout service that we can speak to.
func importSLO(md saml.SPMetadata, o *offer) {
	for _, e := range md.SLO {
		if e.Binding != "" && e.Binding != saml.BindingHTTPRedirect && e.Binding != saml.BindingHTTPPost {
			continue
		}
		if err := checkEndpoint(e.URL, "single logout URL"); err != nil {
			o.note("Left out the single logout service %s: %s", e.URL, problem.Public(err))
			continue
		}
		if e.ResponseLocation != "" {
			if err := checkEndpoint(e.ResponseLocation, "single logout response URL"); err != nil {
				o.note("Left out the single logout service %s: %s", e.URL, problem.Public(err))
				continue
			}
		}
		o.SLOURL, o.SLOResponseURL = e.URL, e.ResponseLocation
		if e.Binding == saml.BindingHTTPPost {
			o.SLOBinding = e.Binding
		}
		return
	}
	if len(md.SLO) > 0 {
		o.note("Single logout is only offered in ways that Latchkey doesn't speak; it takes HTTP-Redirect and HTTP-POST.")
	}
}

// apply puts what the document says into settings. Keys are only replaced by keys: a document without any takes none away.
func (o *offer) apply(s *SAMLSettings) {
	s.SPEntityID, s.ACS = o.EntityID, slices.Clone(o.ACS)
	if len(o.Certificates) > 0 {
		s.SPCertificates = slices.Clone(o.Certificates)
	}
	if o.Encryption != "" {
		s.EncryptionCertificate = o.Encryption
		algorithm := s.EncryptionAlgorithm
		if algorithm == "" {
			algorithm = xmlenc.Algorithms()[0]
		}
		// Where the document names no algorithm of ours, nothing speaks against the one that is set.
		if chosen, _, ok := xmlenc.Choose(o.EncryptionMethods); ok && slices.Contains(o.EncryptionMethods, chosen) && !slices.Contains(o.EncryptionMethods, algorithm) {
			s.EncryptionAlgorithm = chosen
		}
	}
	s.SLOURL, s.SLOResponseURL = o.SLOURL, o.SLOResponseURL
	if s.SLOBinding != saml.BindingHTTPRedirect || o.SLOBinding != "" { // "" is HTTP-Redirect
		s.SLOBinding = o.SLOBinding
	}
}

// fingerprint names what the document says. That a federation moves the end of validity on with each edition is no
// change, nor is what we say about the document.
func (o *offer) fingerprint() string {
	x := *o
	x.Notes, x.ValidUntil = nil, time.Time{}
	return digest(x, o.ValidUntil.IsZero())
}

// digest is the SHA-256 of values' JSON, in hexadecimal.
func digest(values ...any) string {
	raw, err := json.Marshal(values)
	if err != nil {
		raw = []byte(err.Error()) // can't be: these are texts, numbers and times
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// compare returns what taking the offer would change in settings, and what else the document says otherwise than when it
// was last agreed to (known, nil if never).
func (o *offer) compare(s SAMLSettings, known *offer) []Change {
	after := clone(s)
	o.apply(&after)
	changes := diffSAML(s, after)
	if known == nil {
		return changes
	}
	add := func(name string, differs bool, was, is any) {
		if differs {
			changes = append(changes, Change{Attribute: name, Old: was, New: is})
		}
	}
	add("metadata.nameIdFormats", !slices.Equal(known.NameIDFormats, o.NameIDFormats), known.NameIDFormats, o.NameIDFormats)
	add("metadata.authnRequestsSigned", known.AuthnRequestsSigned != o.AuthnRequestsSigned, known.AuthnRequestsSigned, o.AuthnRequestsSigned)
	add("metadata.wantAssertionsSigned", known.WantAssertionsSigned != o.WantAssertionsSigned, known.WantAssertionsSigned, o.WantAssertionsSigned)
	add("metadata.validUntil", known.ValidUntil.IsZero() != o.ValidUntil.IsZero() || o.ValidUntil.Before(known.ValidUntil),
		endWord(known.ValidUntil), endWord(o.ValidUntil))
	return changes
}

func endWord(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}

// proposal is compare with a name for exactly that.
func (o *offer) proposal(s SAMLSettings, known *offer, found time.Time) MetadataProposal {
	changes := o.compare(s, known)
	return MetadataProposal{Hash: digest(o.fingerprint(), changes), FoundAt: found, Changes: changes, Notes: o.notesFor(s)}
}

// notesFor adds what there is to say in view of settings.
func (o *offer) notesFor(s SAMLSettings) []string {
	notes := slices.Clone(o.Notes)
	if o.Encryption != "" && !s.EncryptAssertions {
		notes = append(notes, "The service provider offers a key for encryption. Assertions are sent signed and over https; you can have them encrypted too on the sign-on page.")
	}
	if len(o.Certificates) == 0 && len(s.SPCertificates) > 0 {
		notes = append(notes, "The metadata names no key that signs. The registered certificates stay as they are.")
	}
	if o.Encryption == "" && s.EncryptAssertions && s.EncryptionCertificate != "" {
		notes = append(notes, "The metadata names no key for encryption. The registered certificate stays as it is.")
	}
	return notes
}

// diffSAML is audit.Diff with certificates by their names: nobody reads PEM.
func diffSAML(before, after SAMLSettings) []Change {
	named := func(s SAMLSettings) SAMLSettings {
		s = clone(s)
		for i, text := range s.SPCertificates {
			s.SPCertificates[i] = certificateName(text)
		}
		s.EncryptionCertificate = certificateName(s.EncryptionCertificate)
		return s
	}
	return audit.Diff(named(before), named(after))
}

// certificateName names a certificate by fingerprint and end.
func certificateName(text string) string {
	cert, err := keys.ParseCertificate(text)
	if err != nil {
		return text
	}
	return keys.Fingerprint(cert) + " until " + cert.NotAfter.UTC().Format(time.DateOnly)
}

// readOffer reads a file. entityID chooses one of several service providers; without, an application's own is chosen.
func (a *Applications) readOffer(xml []byte, entityID string, app Application) (offer, error) {
	if len(xml) > MaxSPMetadata {
		return offer{}, problem.InvalidField("metadata", "This file is larger than %d MB. Give the metadata of this one service provider.", MaxSPMetadata>>20)
	}
	now := a.now()
	md, err := saml.ParseSPMetadata(xml, strings.TrimSpace(entityID), now)
	if e, ok := asSAML(err); ok && e.Reason == saml.MetadataManyEntities && app.SAML.SPEntityID != "" {
		if own, ownErr := saml.ParseSPMetadata(xml, app.SAML.SPEntityID, now); ownErr == nil {
			md, err = own, nil
		}
	}
	if err != nil {
		return offer{}, badMetadata(err)
	}
	return newOffer(md, now)
}

// badMetadata puts what is wrong with a document into words, for the field "metadata", or "entityId" if one has to be
// chosen.
func badMetadata(err error) error {
	text, field := "This file can't be read as a service provider's metadata.", "metadata"
	if e, ok := asSAML(err); ok {
		text = e.Text
		if e.Reason == saml.MetadataManyEntities {
			field = "entityId"
		}
	}
	p := problem.InvalidField(field, "%s", text)
	p.Err = err
	return p
}

// SPEntityIDs lists the service providers that a metadata file describes, in its order, for ImportSPMetadata and
// PreviewMetadata. Needs ManageApplications.
func (a *Applications) SPEntityIDs(by access.Actor, xml []byte) ([]string, error) {
	if err := access.Allow(by, access.ManageApplications); err != nil {
		return nil, err
	}
	if len(xml) > MaxSPMetadata {
		return nil, problem.InvalidField("metadata", "This file is larger than %d MB.", MaxSPMetadata>>20)
	}
	ids, err := saml.SPEntityIDs(xml, a.now())
	if err != nil {
		return nil, badMetadata(err)
	}
	return ids, nil
}

// PreviewMetadata returns what ImportSPMetadata would change. Needs ManageApplications.
func (a *Applications) PreviewMetadata(ctx context.Context, by access.Actor, id ID, xml []byte, entityID string) (MetadataProposal, error) {
	app, err := a.withSAML(ctx, by, id)
	if err != nil {
		return MetadataProposal{}, err
	}
	o, err := a.readOffer(xml, entityID, app)
	if err != nil {
		return MetadataProposal{}, err
	}
	return o.proposal(app.SAML.SAMLSettings, nil, a.now().UTC()), nil
}

// withSAML returns an application whose sign-on an administrator is about to change.
func (a *Applications) withSAML(ctx context.Context, by access.Actor, id ID) (Application, error) {
	if err := access.Allow(by, access.ManageApplications); err != nil {
		return Application{}, err
	}
	app, err := a.Get(ctx, by, id)
	if err == nil && !app.SAML.Offered {
		err = errNoSAML(app)
	}
	return app, err
}

func errNoSAML(app Application) error {
	return problem.New(problem.Invalid, "%s has no sign-on by SAML.", app.Label)
}

// ImportSPMetadata takes entity ID, assertion consumer services, certificates for signing and encryption, and single
// logout from a service provider's metadata (an EntityDescriptor, or the entity with that ID in an EntitiesDescriptor; ""
// means the application's own, or the only one), and tells what changed. What is wrong with the file is said in words for
// the administrator; several entities without a choice are Invalid with the field "entityId". Needs ManageApplications.
func (a *Applications) ImportSPMetadata(ctx context.Context, by access.Actor, id ID, xml []byte, entityID string) (MetadataImport, error) {
	app, err := a.withSAML(ctx, by, id)
	if err != nil {
		return MetadataImport{}, err
	}
	o, err := a.readOffer(xml, entityID, app)
	if err != nil {
		return MetadataImport{}, err
	}
	return a.takeOffer(ctx, by, id, o, samlEdit{
		message: fmt.Sprintf("Sign-on settings of %s were taken from the service provider's metadata.", app.Label),
		detail:  map[string]any{"source": "SP metadata"},
	}, nil)
}

// takeOffer applies an offer. check, if there is one, sees the settings as they are, and can refuse.
func (a *Applications) takeOffer(ctx context.Context, by access.Actor, id ID, o offer, e samlEdit, check func(SAMLSettings) error) (MetadataImport, error) {
	var out MetadataImport
	var before SAMLSettings
	var err error
	out.Application, err = a.editSAML(ctx, by, id, e, func(s *SAMLSettings) error {
		before = clone(*s)
		if check != nil {
			if err := check(before); err != nil {
				return err
			}
		}
		o.apply(s)
		return nil
	})
	if err != nil {
		return MetadataImport{}, err
	}
	after := out.Application.SAML.SAMLSettings
	out.Changes, out.Notes = diffSAML(before, after), o.notesFor(after)
	return out, nil
}

// samlEdit says how a change of sign-on settings is told, and what is written with it.
type samlEdit struct {
	message string
	detail  map[string]any
	// also runs in the transaction of the change, and even if no setting changes.
	also func(tx *store.Tx, now time.Time) error
}
