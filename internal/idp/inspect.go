package idp

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// bundle is what a person gives to whoever helps them with a fault: what an exchange looked like, and the settings that
// it depends on. It names nobody and holds no secret.
type bundle struct {
	MadeAt      time.Time      `json:"madeAt"`
	Note        string         `json:"note"`
	Application bundleSettings `json:"application"`
	Exchange    bundleExchange `json:"exchange"`
}

type bundleExchange struct {
	Kind        ExchangeKind      `json:"kind"`
	Outcome     string            `json:"outcome"`
	Reason      string            `json:"reason,omitempty"`
	At          time.Time         `json:"at"`
	Correlation string            `json:"correlation,omitempty"`
	Person      string            `json:"person,omitempty"`
	Request     *ExchangedMessage `json:"request,omitempty"`
	Response    *ExchangedMessage `json:"response,omitempty"`
}

type bundleSettings struct {
	Connector             string              `json:"connector"`
	SignOn                string              `json:"signOn"`
	SSO                   []string            `json:"ssoUrls"`
	SLO                   []string            `json:"sloUrls"`
	IDPEntityID           string              `json:"idpEntityId"`
	SPEntityID            string              `json:"spEntityId"`
	ACS                   []app.ACS           `json:"acs"`
	DefaultRelayState     string              `json:"defaultRelayState,omitempty"`
	NameIDFormats         []string            `json:"nameIdFormats,omitempty"`
	SignAssertion         bool                `json:"signAssertion"`
	SignResponse          bool                `json:"signResponse"`
	SignatureAlgorithm    string              `json:"signatureAlgorithm"`
	RequireSignedRequests bool                `json:"requireSignedRequests"`
	AllowSHA1             bool                `json:"allowSha1"`
	EncryptAssertions     bool                `json:"encryptAssertions"`
	EncryptionAlgorithm   string              `json:"encryptionAlgorithm,omitempty"`
	SPLogout              string              `json:"spSloUrl,omitempty"`
	SPLogoutBinding       string              `json:"spSloBinding,omitempty"`
	SendSessionEnd        bool                `json:"sendSessionEnd"`
	Certificates          []bundleCertificate `json:"certificates"`
	SPCertificates        []bundleCertificate `json:"spCertificates,omitempty"`
}

type bundleCertificate struct {
	Status   string    `json:"status,omitempty"`
	SHA256   string    `json:"sha256"`
	NotAfter time.Time `json:"notAfter"`
}

func describe(status string, c *x509.Certificate) bundleCertificate {
	sum := sha256.Sum256(c.Raw)
	return bundleCertificate{Status: status, SHA256: hex.EncodeToString(sum[:]), NotAfter: c.NotAfter.UTC()}
}

// Bundle returns an exchange with the settings it depends on as a JSON file that may be given to others: people's names
// and attributes are masked, certificates are named by fingerprint, and no key, token or signature is in it. Needs
// ReadApplications and ReadDirectory.
func (p *IDP) Bundle(ctx context.Context, by access.Actor, exchangeID string) ([]byte, error) {
	x, err := p.Exchange(ctx, by, exchangeID)
	if err != nil {
		return nil, err
	}
	var prep *prepared
	var pairs []keys.Pair
	err = p.db.View(ctx, func(tx *store.Tx) (err error) {
		if prep, err = p.byID(tx, x.ApplicationID); err != nil {
			return err
		}
		pairs, err = p.pairs.List(tx, string(x.ApplicationID))
		return err
	})
	if err != nil {
		return nil, err
	}
	a := prep.app
	b := bundle{
		MadeAt: p.now().UTC(),
		Note:   "Messages are redacted: names of people and values of attributes are masked, signatures and certificates are shortened. The settings are those of now.",
		Application: bundleSettings{
			Connector: a.Connector, SignOn: string(a.SAML.Status), SSO: p.apps.Endpoints(a), SLO: p.apps.LogoutEndpoints(a),
			IDPEntityID: a.SAML.IDPEntityID, SPEntityID: a.SAML.SPEntityID, ACS: a.SAML.ACS, DefaultRelayState: shape(a.SAML.DefaultRelayState),
			NameIDFormats: prep.sp.NameIDFormats, SignAssertion: a.SAML.SignAssertion, SignResponse: a.SAML.SignResponse,
			SignatureAlgorithm: a.SAML.SignatureAlgorithm, RequireSignedRequests: a.SAML.RequireSignedRequests, AllowSHA1: a.SAML.AllowSHA1,
			EncryptAssertions: a.SAML.EncryptAssertions, EncryptionAlgorithm: a.SAML.EncryptionAlgorithm,
			SPLogout: a.SAML.SLOURL, SPLogoutBinding: a.SAML.SLOBinding, SendSessionEnd: a.SAML.SendSessionEnd,
		},
		Exchange: bundleExchange{
			Kind: x.Kind, Outcome: string(x.Outcome), Reason: x.Reason, At: x.At, Correlation: x.Correlation, Request: x.Request, Response: x.Response,
		},
	}
	if x.UserName != "" {
		b.Exchange.Person = saml.Mask(x.UserName)
	}
	for _, pair := range pairs {
		b.Application.Certificates = append(b.Application.Certificates, describe(string(pair.Status), pair.Certificate))
	}
	for _, text := range a.SAML.SPCertificates {
		if c, err := keys.ParseCertificate(text); err == nil {
			b.Application.SPCertificates = append(b.Application.SPCertificates, describe("", c))
		}
	}
	return json.MarshalIndent(b, "", "  ")
}

// SimulateOptions say what the application is thought to ask. Zero fields are what a sign-on from the portal has.
type SimulateOptions struct {
	// NameIDFormat is a format to ask for.
	NameIDFormat string
	// ACS is a registered assertion consumer service; "" is the default one.
	ACS string
	// Methods are the proofs that the session is thought to rest on (RFC 8176); none means a password.
	Methods []string
}

// Simulation is what an application would be told about a person. Nobody is signed in by it, and nothing is kept.
type Simulation struct {
	// Granted says whether the person would get in. Refusals are the sentences that say why not; the rest is filled as
	// far as it can be all the same.
	Granted  bool     `json:"granted"`
	Refusals []string `json:"refusals,omitempty"`
	// Groups are those by which the person has access.
	Groups []string    `json:"groups"`
	NameID saml.NameID `json:"nameId"`
	// NameIDNote says what the name of a real answer will be, where it isn't made before.
	NameIDNote   string            `json:"nameIdNote,omitempty"`
	Attributes   []saml.Attribute  `json:"attributes"`
	Rows         []catalog.Outcome `json:"rows"`
	AuthnContext string            `json:"authnContext"`
	Destination  string            `json:"destination"`
	// Signed and Encrypted tell what a real answer would be.
	Signed    string `json:"signed"`
	Encrypted bool   `json:"encrypted"`
	// XML is the response in full, without any signature, not encrypted, and dated a day back: taken anywhere, it lets
	// nobody in.
	XML      string         `json:"xml"`
	Findings []saml.Finding `json:"findings"`
}

// simulatedAge is how far back a simulated response is dated, so that its time is over even for a service provider that
// doesn't look at signatures.
const simulatedAge = 24 * time.Hour

// Simulate works out what an application would be told about a person if they signed on now. What it returns can't be
// used as a sign-on. A persistent name that wasn't made yet isn't made by it. Needs ReadApplications and ReadDirectory.
func (p *IDP) Simulate(ctx context.Context, by access.Actor, id app.ID, user directory.UserID, o SimulateOptions) (Simulation, error) {
	var out Simulation
	if err := mayInspect(by); err != nil {
		return out, err
	}
	st := &state{}
	var lasting string
	err := p.db.View(ctx, func(tx *store.Tx) (err error) {
		if st.prepared, err = p.byID(tx, id); err != nil {
			return err
		}
		if st.standing, err = app.StandingOf(tx, id, user); err != nil {
			return err
		}
		lasting, err = pairwise(tx, id, user)
		return err
	})
	if err != nil {
		return out, err
	}
	a := st.app
	if !st.active() {
		ref := notReady(a)
		return out, problem.New(problem.Conflict, "%s. %s Nothing can be simulated until it is active.", ref.Title, ref.Text)
	}
	out.Granted = st.standing.Granted()
	out.Groups, out.Rows = []string{}, []catalog.Outcome{}
	for _, g := range st.standing.Via {
		out.Groups = append(out.Groups, g.Name)
	}
	switch u := st.standing.User; {
	case u.State != directory.Active:
		out.Refusals = append(out.Refusals, u.Name()+" is "+string(u.State)+".")
	case !out.Granted:
		out.Refusals = append(out.Refusals, u.Name()+" is in none of the groups that are bound to "+a.Label+".")
	}
	acs, err := st.acs(o.ACS)
	if err != nil {
		return out, err
	}
	out.Destination, out.Encrypted = acs.URL, st.sp.Encryption != nil
	out.Signed = map[saml.Sign]string{saml.SignAssertion: "assertion", saml.SignResponse: "response", saml.SignBoth: "assertion and response"}[a.SAML.Sign()]
	if len(o.Methods) == 0 {
		o.Methods = []string{passwordMethod}
	}
	person := st.standing.Person()
	person.AuthnMethods = o.Methods
	out.Rows = st.mapping.Preview(&person)
	claims, err := st.mapping.Apply(&person)
	if blocked, ok := errors.AsType[*catalog.BlockedError](err); ok {
		ref := blockedBy(a, blocked)
		out.Granted, out.Refusals = false, append(out.Refusals, ref.Items...)
		return out, nil
	}
	if err != nil {
		return out, err
	}
	out.Attributes = claims.Attributes
	if out.NameID, out.NameIDNote, err = st.simulatedName(claims.NameID, o.NameIDFormat, lasting); err != nil {
		return out, err
	}
	out.AuthnContext, _ = saml.RequestedAuthnContext{}.Choose(contextOrder, p.classes(slices.Clone(o.Methods)...)...)
	at := p.now().UTC().Add(-simulatedAge)
	r := saml.Response{
		ID: saml.NewID(), AssertionID: saml.NewID(), IssueInstant: at, Issuer: a.SAML.IDPEntityID, Destination: acs.URL,
		Audiences: []string{a.SAML.SPEntityID}, Subject: out.NameID, NotBefore: at.Add(-time.Minute), NotOnOrAfter: at.Add(p.limits.AssertionLife),
		Authn: saml.Authn{Instant: at, SessionIndex: saml.NewID(), ContextClass: out.AuthnContext}, Attributes: claims.Attributes,
	}
	if a.SAML.SendSessionEnd {
		r.Authn.SessionNotOnOrAfter = at.Add(p.limits.AssertionLife)
	}
	xml, err := saml.PreviewResponse(&r)
	if err != nil {
		return out, problem.Wrap(problem.Invalid, err, "No response can be made of these values. Look at the attributes for characters that XML can't hold.")
	}
	out.XML = string(xml)
	out.Findings = saml.ExplainResponse(xml, st.sp, p.judging(st.prepared), at)
	for i := range out.Findings {
		if f := &out.Findings[i]; f.Check == "signed" {
			f.Verdict, f.Text = saml.Skip, "A simulation is never signed. Of a real answer the "+out.Signed+" is."
		}
	}
	return out, nil
}

// judging is our own side of an explanation, with the certificate that answers are signed by.
func (p *IDP) judging(x *prepared) saml.IdentityProvider {
	self := p.self(x.app)
	if x.signer != nil {
		self.Certificates = []*x509.Certificate{x.signer.Certificate()}
	}
	return self
}

// acs returns a registered assertion consumer service, the default one for "".
func (x *prepared) acs(wanted string) (saml.Endpoint, error) {
	if wanted == "" {
		if acs, ok := x.sp.DefaultACS(); ok {
			return acs, nil
		}
	}
	for _, acs := range x.sp.ACS {
		if acs.URL == wanted {
			return acs, nil
		}
	}
	return saml.Endpoint{}, problem.InvalidField("acs", "This address isn't registered as an assertion consumer service of %s.", x.app.Label)
}

// simulatedName is the NameID that an answer would have, with a note where that shows only then.
func (st *state) simulatedName(mapped saml.NameID, format, lasting string) (saml.NameID, string, error) {
	if format == "" || format == saml.NameIDUnspecified {
		format = st.sp.NameIDFormats[0]
	}
	if !slices.Contains(st.sp.NameIDFormats, format) {
		return saml.NameID{}, "", problem.InvalidField("nameIdFormat", "%s isn't served in this NameID format; a request for it is answered with InvalidNameIDPolicy.", st.app.Label)
	}
	id, note := qualified(st.app, saml.NameID{Value: mapped.Value, Format: format}), ""
	switch {
	case format == saml.NameIDTransient:
		id.Value, note = saml.NewID(), "Each sign-on has another one."
	case format == saml.NameIDPersistent && !st.ownNames && lasting != "":
		id.Value = lasting
	case format == saml.NameIDPersistent && !st.ownNames:
		id.Value, note = "made-at-the-first-sign-on", "It is made at the first sign-on, at random, and stays."
	}
	return id, note, nil
}

// Inspection is a message that an administrator pasted, decoded, with what each check says about it for one application.
type Inspection struct {
	// Message is the kind: AuthnRequest, Response, LogoutRequest, LogoutResponse; "" if that can't be told.
	Message string `json:"message"`
	// Binding is the URI of the binding by which it seems to have come.
	Binding    string `json:"binding"`
	Issuer     string `json:"issuer"`
	RelayState string `json:"relayState,omitempty"`
	// XML is the message as it was, Redacted what may be given to others.
	XML      string         `json:"xml"`
	Redacted string         `json:"redacted"`
	Findings []saml.Finding `json:"findings"`
	Failed   int            `json:"failed"`
}

// Inspect decodes what an administrator pasted: a URL, a query, the body of a form, base64, or XML, of any SAML message.
// What can't be read is no error: a finding says why. Nothing is acted upon. Needs ReadApplications and ReadDirectory.
func (p *IDP) Inspect(ctx context.Context, by access.Actor, id app.ID, pasted string) (Inspection, error) {
	var out Inspection
	if err := mayInspect(by); err != nil {
		return out, err
	}
	var x *prepared
	err := p.db.View(ctx, func(tx *store.Tx) (err error) {
		x, err = p.byID(tx, id)
		return err
	})
	if err != nil {
		return out, err
	}
	if !x.active() {
		ref := notReady(x.app)
		return out, problem.New(problem.Conflict, "%s. %s Messages can be judged once it is active.", ref.Title, ref.Text)
	}
	in, err := saml.ReadPasted(pasted)
	if e, ok := errors.AsType[*saml.Error](err); err != nil && !ok {
		return out, err
	} else if ok && len(in.XML()) == 0 {
		return out, problem.InvalidField("message", "%s", e.Text)
	}
	out = Inspection{
		Message: in.Message(), Binding: in.Binding(), Issuer: in.Issuer(), RelayState: in.RelayState(), XML: string(in.XML()),
		Redacted: saml.Redact(in.XML()), Findings: saml.Explain(in, x.sp, p.judging(x), p.now().UTC()),
	}
	out.Failed = failures(&ExchangedMessage{Findings: out.Findings})
	return out, nil
}
