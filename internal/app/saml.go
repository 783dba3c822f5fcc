package app

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
	"github.com/latchkey-idp/latchkey/internal/saml/xmlenc"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// missing names what sign-on needs and hasn't got.
func (s *SAMLSettings) missing() []string {
	var out []string
	if s.SPEntityID == "" {
		out = append(out, "SP entity ID")
	}
	if len(s.ACS) == 0 {
		out = append(out, "ACS URL")
	}
	if s.RequireSignedRequests && !slices.ContainsFunc(s.SPCertificates, canVerify) {
		out = append(out, "SP certificate")
	}
	if s.EncryptAssertions && s.EncryptionCertificate == "" {
		out = append(out, "SP encryption certificate")
	}
	return out
}

// canVerify reports whether signatures by a certificate's key are accepted. A weak key may be registered, with a warning,
// but it proves nothing.
func canVerify(certificate string) bool {
	cert, err := keys.ParseCertificate(certificate)
	return err == nil && xmldsig.CheckKey(cert.PublicKey) == nil
}

// begun reports whether any value of the service provider's has been entered.
func (s *SAMLSettings) begun() bool {
	return s.SPEntityID != "" || len(s.ACS) > 0 || len(s.SPCertificates) > 0 || s.DefaultRelayState != "" ||
		s.EncryptionCertificate != "" || s.SLOURL != ""
}

// SaveSAML changes the sign-on settings. Values of the service provider may be left empty until it shows them; but an
// active sign-on can't be made incomplete. change may run more than once. Needs ManageApplications.
func (a *Applications) SaveSAML(ctx context.Context, by access.Actor, id ID, change func(*SAMLSettings) error) (Application, error) {
	return a.editSAML(ctx, by, id, samlEdit{}, change)
}

// editSAML is SaveSAML with what goes with it.
func (a *Applications) editSAML(ctx context.Context, by access.Actor, id ID, with samlEdit, change func(*SAMLSettings) error) (Application, error) {
	return a.edit(ctx, by, id, 0, func(app *Application) (func(*store.Tx, time.Time) error, error) {
		con, err := a.catalog.Get(app.Connector)
		if err != nil {
			return nil, err
		}
		if con.SAML == nil {
			return nil, problem.New(problem.Invalid, "%s has no sign-on by SAML.", con.Name)
		}
		before := app.SAML.SAMLSettings
		after := clone(before)
		if err := change(&after); err != nil {
			return nil, err
		}
		if strings.TrimSpace(after.IDPEntityID) == "" {
			after.IDPEntityID = a.urls(app.Slug).Metadata
		}
		if err := a.checkSAML(&after, app.Connector); err != nil {
			return nil, err
		}
		same := reflect.DeepEqual(clone(before), clone(after))
		if same && with.also == nil {
			return nil, nil
		}
		if missing := after.missing(); app.SAML.Status == Active && len(missing) > 0 {
			return nil, problem.New(problem.Conflict, "Sign-on is active and needs: %s. Deactivate it before saving it without.", strings.Join(missing, ", "))
		}
		was := *app
		message := with.message
		if message == "" {
			message = fmt.Sprintf("Sign-on settings of %s were changed.", app.Label)
		}
		return func(tx *store.Tx, now time.Time) error {
			if with.also != nil {
				if err := with.also(tx, now); err != nil {
					return err
				}
			}
			if same {
				return nil
			}
			if err := saveSAML(tx, id, after, now); err != nil {
				return err
			}
			e := event(by, was, audit.ApplicationUpdate, message)
			e.Changes = prefixed("saml.", diffSAML(before, after))
			e.Detail = with.detail
			_, err := audit.Record(tx, now, e)
			return err
		}, nil
	})
}

// clone copies what a change could reach through, with no list nil.
func clone(s SAMLSettings) SAMLSettings {
	s.ACS = append([]ACS{}, s.ACS...)
	s.SPCertificates = append([]string{}, s.SPCertificates...)
	s.Mapping.Rows = append([]catalog.RowOverride{}, s.Mapping.Rows...)
	return s
}

func prefixed(prefix string, changes []audit.Change) []audit.Change {
	for i := range changes {
		changes[i].Attribute = prefix + changes[i].Attribute
	}
	return changes
}

// Limits of sign-on settings.
const (
	maxEntityID   = 1024 // saml-core §8.3.6
	maxURL        = 2048
	maxACS        = 100
	maxCerts      = 10
	maxRelayState = 1024
)

// checkSAML checks settings and tidies them.
func (a *Applications) checkSAML(s *SAMLSettings, connector string) error {
	var f problem.Fields
	checkEntityID(&f, "idpEntityId", &s.IDPEntityID)
	checkEntityID(&f, "spEntityId", &s.SPEntityID)
	checkACS(&f, s)
	checkRelayState(&f, s)
	if !s.SignAssertion && !s.SignResponse {
		f.Add("signAssertion", "Sign the assertion, the response, or both: an unsigned answer is refused by every service provider.")
	}
	if s.SignatureAlgorithm == "" {
		s.SignatureAlgorithm = xmldsig.RSASHA256
	}
	switch _, ok := hashes[s.SignatureAlgorithm]; {
	case !ok:
		f.Add("signatureAlgorithm", "Choose RSA with SHA-256, SHA-384 or SHA-512.")
	case s.SignatureAlgorithm == xmldsig.RSASHA1 && !s.AllowSHA1:
		f.Add("signatureAlgorithm", "SHA-1 is broken. Choose RSA with SHA-256, or allow SHA-1 for this application first, as an exception, if its other side can do no better.")
	}
	checkSPCertificates(&f, s)
	checkEncryption(&f, s)
	checkSLO(&f, s)
	if _, err := a.catalog.SAMLMapping(connector, s.Mapping); err != nil {
		addMapping(&f, err)
	}
	return f.Err()
}

// addMapping adds what is wrong with a mapping, field by field.
func addMapping(f *problem.Fields, err error) {
	fields := problem.FieldsOf(err)
	for _, x := range fields {
		f.Add("mapping."+x.Name, "%s", x.Detail)
	}
	if len(fields) == 0 {
		f.Add("mapping", "%s", problem.Public(err))
	}
}

func checkEntityID(f *problem.Fields, name string, v *string) {
	*v = strings.TrimSpace(*v)
	switch {
	case len(*v) > maxEntityID:
		f.Add(name, "An entity ID has at most %d characters.", maxEntityID)
	case strings.ContainsAny(*v, " \t\r\n") || !plainText(*v):
		f.Add(name, "An entity ID holds no spaces. Copy it again from the other side, whole and without anything around it.")
	}
}

func checkACS(f *problem.Fields, s *SAMLSettings) {
	if len(s.ACS) > maxACS {
		f.Add("acs", "At most %d assertion consumer services can be registered.", maxACS)
		return
	}
	indexes, urls := map[int]bool{}, map[string]bool{}
	defaults := 0
	for i := range s.ACS {
		acs := &s.ACS[i]
		name := fmt.Sprintf("acs[%d].", i)
		acs.URL = strings.TrimSpace(acs.URL)
		if err := checkEndpoint(acs.URL, "ACS URL"); err != nil {
			f.Add(name+"url", "%s", problem.Public(err))
		} else if urls[acs.URL] {
			f.Add(name+"url", "This ACS URL is given twice.")
		}
		urls[acs.URL] = true
		switch {
		case acs.Index < 0 || acs.Index > 65535: // saml-metadata §2.2.3: unsignedShort
			f.Add(name+"index", "An index is a number from 0 to 65535.")
		case indexes[acs.Index]:
			f.Add(name+"index", "Index %d is given twice.", acs.Index)
		}
		indexes[acs.Index] = true
		if acs.Default {
			defaults++
		}
	}
	switch {
	case len(s.ACS) == 1:
		s.ACS[0].Default = true
	case len(s.ACS) > 1 && defaults == 0:
		f.Add("acs", "Mark one of the ACS URLs as the default: sign-on from the portal goes there.")
	case defaults > 1:
		f.Add("acs", "Only one ACS URL can be the default.")
	}
}

func checkRelayState(f *problem.Fields, s *SAMLSettings) {
	s.DefaultRelayState = strings.TrimSpace(s.DefaultRelayState)
	v := s.DefaultRelayState
	scheme, _, _ := strings.Cut(strings.ToLower(v), ":")
	switch {
	case len(v) > maxRelayState:
		f.Add("defaultRelayState", "The RelayState has at most %d bytes.", maxRelayState)
	case !plainText(v):
		f.Add("defaultRelayState", "The RelayState holds characters that can't be sent.")
	case strings.Contains(v, "<") && strings.Contains(v, ">"):
		f.Add("defaultRelayState", "Put your own value in place of the part in angle brackets, %s.", v[strings.Index(v, "<"):strings.LastIndex(v, ">")+1])
	case slices.Contains([]string{"javascript", "data", "vbscript", "file", "blob"}, scheme):
		f.Add("defaultRelayState", "A RelayState that is an address must be an http or https one.")
	case strings.Contains(v, "://"):
		if err := checkLink(v); err != nil {
			f.Add("defaultRelayState", "%s", problem.Public(err))
		}
	}
}

func checkSPCertificates(f *problem.Fields, s *SAMLSettings) {
	if len(s.SPCertificates) > maxCerts {
		f.Add("spCertificates", "At most %d certificates can be registered.", maxCerts)
		return
	}
	kept := make([]string, 0, len(s.SPCertificates))
	for i, text := range s.SPCertificates {
		if strings.TrimSpace(text) == "" {
			continue
		}
		cert, err := keys.ParseCertificate(text)
		if err == nil && !isRSAOrECDSA(cert) { // a weak one is a warning
			err = problem.New(problem.Invalid, "The key of this certificate can't be used: %s.", xmldsig.CheckKey(cert.PublicKey))
		}
		if err != nil {
			f.Add("spCertificates["+strconv.Itoa(i)+"]", "%s", problem.Public(err))
			continue
		}
		if text = certificateText(cert); !slices.Contains(kept, text) {
			kept = append(kept, text)
		}
	}
	if f.Has("spCertificates") {
		return
	}
	s.SPCertificates = kept
	if len(kept) == 0 {
		s.SPCertificates = nil
	}
}

func isRSAOrECDSA(c *x509.Certificate) bool {
	return c.PublicKeyAlgorithm == x509.RSA || c.PublicKeyAlgorithm == x509.ECDSA
}

func checkEncryption(f *problem.Fields, s *SAMLSettings) {
	if s.EncryptionAlgorithm != "" && !slices.Contains(xmlenc.Algorithms(), s.EncryptionAlgorithm) {
		f.Add("encryptionAlgorithm", "Choose AES-GCM with 256, 192 or 128 bits. The older AES-CBC can be tampered with and isn't offered.")
	}
	s.EncryptionCertificate = strings.TrimSpace(s.EncryptionCertificate)
	if s.EncryptionCertificate == "" {
		return
	}
	cert, err := keys.ParseCertificate(s.EncryptionCertificate)
	if err == nil {
		if e := xmlenc.CheckKey(cert.PublicKey); e != nil {
			err = problem.New(problem.Invalid, "Nothing can be encrypted for this certificate: %s. Ask the service provider for one with an RSA key of at least 2048 bits.", e)
		}
	}
	if err != nil {
		f.Add("encryptionCertificate", "%s", problem.Public(err))
		return
	}
	s.EncryptionCertificate = certificateText(cert)
}

func checkSLO(f *problem.Fields, s *SAMLSettings) {
	s.SLOURL, s.SLOResponseURL = strings.TrimSpace(s.SLOURL), strings.TrimSpace(s.SLOResponseURL)
	if s.SLOURL != "" {
		if err := checkEndpoint(s.SLOURL, "single logout URL"); err != nil {
			f.Add("sloUrl", "%s", problem.Public(err))
		}
	}
	if s.SLOResponseURL != "" {
		if err := checkEndpoint(s.SLOResponseURL, "single logout response URL"); err != nil {
			f.Add("sloResponseUrl", "%s", problem.Public(err))
		} else if s.SLOURL == "" {
			f.Add("sloUrl", "Enter the single logout URL too: the response URL is only where our answers go.")
		}
	}
	switch s.SLOBinding {
	case "", saml.BindingHTTPRedirect, saml.BindingHTTPPost:
	default:
		f.Add("sloBinding", "Choose HTTP-Redirect or HTTP-POST for single logout.")
	}
}

func certificateText(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

// hashes are the signature algorithms that can be chosen, for the RSA keys that applications have.
var hashes = map[string]crypto.Hash{
	xmldsig.RSASHA256: crypto.SHA256,
	xmldsig.RSASHA384: crypto.SHA384,
	xmldsig.RSASHA512: crypto.SHA512,
	xmldsig.RSASHA1:   crypto.SHA1, // only with AllowSHA1
}

// SignatureAlgorithms lists the URIs of the signature algorithms that can be chosen, the default first. With AllowSHA1
// there is xmldsig.RSASHA1 too.
func SignatureAlgorithms() []string {
	return []string{xmldsig.RSASHA256, xmldsig.RSASHA384, xmldsig.RSASHA512}
}

// EncryptionAlgorithms lists the URIs of the encryption algorithms that can be chosen, the default first.
func EncryptionAlgorithms() []string { return xmlenc.Algorithms() }

// Hash is the signature algorithm's hash.
func (s *SAMLSettings) Hash() crypto.Hash { return hashes[s.SignatureAlgorithm] }

// Sign is what is signed, in the words of package saml.
func (s *SAMLSettings) Sign() saml.Sign {
	switch {
	case s.SignAssertion && s.SignResponse:
		return saml.SignBoth
	case s.SignResponse:
		return saml.SignResponse
	}
	return saml.SignAssertion
}

// ActivateSAML turns sign-on on. It refuses, with the list of what is missing, while it is incomplete. Needs
// ManageApplications.
func (a *Applications) ActivateSAML(ctx context.Context, by access.Actor, id ID) (Application, error) {
	return a.switchSAML(ctx, by, id, Active)
}

// DeactivateSAML turns sign-on off at once: nobody gets into the application any more. Needs ManageApplications.
func (a *Applications) DeactivateSAML(ctx context.Context, by access.Actor, id ID) (Application, error) {
	return a.switchSAML(ctx, by, id, Off)
}

// fieldOf are the fields behind the words of missing.
var fieldOf = map[string]string{
	"SP entity ID": "spEntityId", "ACS URL": "acs", "SP certificate": "spCertificates",
	"SP encryption certificate": "encryptionCertificate",
	"base URL":                  "baseUrl", "token": "token",
}

// incomplete is the error that lists what is missing.
func incomplete(what string, missing []string) error {
	var f problem.Fields
	for _, m := range missing {
		f.Add(fieldOf[m], "%s is missing.", m)
	}
	err := f.Err()
	if p, ok := err.(*problem.Error); ok { //nolint:errorlint // just made
		p.Public = fmt.Sprintf("%s can't be activated yet. Missing: %s.", what, strings.Join(missing, ", "))
	}
	return err
}

func (a *Applications) switchSAML(ctx context.Context, by access.Actor, id ID, to Status) (Application, error) {
	return a.edit(ctx, by, id, 0, func(app *Application) (func(*store.Tx, time.Time) error, error) {
		if !app.SAML.Offered {
			return nil, problem.New(problem.Invalid, "This application has no sign-on by SAML.")
		}
		if app.SAML.Status == to {
			return nil, nil
		}
		t, message := audit.IntegrationDeactivate, fmt.Sprintf("Sign-on to %s was deactivated.", app.Label)
		if to == Active {
			if len(app.SAML.Missing) > 0 {
				return nil, incomplete("Sign-on", app.SAML.Missing)
			}
			t, message = audit.IntegrationActivate, fmt.Sprintf("Sign-on to %s was activated.", app.Label)
		}
		was := *app
		return func(tx *store.Tx, now time.Time) error {
			if err := setSAMLState(tx, id, to, now); err != nil {
				return err
			}
			e := event(by, was, t, message)
			e.Changes = []audit.Change{{Attribute: "saml.status", Old: was.SAML.Status, New: to}}
			e.Detail = map[string]any{"integration": "saml"}
			_, err := audit.Record(tx, now, e)
			return err
		}, nil
	})
}
