package app_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
	"github.com/latchkey-idp/latchkey/internal/saml/xmlenc"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

// web is what there is at addresses.
type web struct {
	mu       sync.Mutex
	pages    map[string]page
	requests []app.Request
}

type page struct {
	body string
	etag string
	err  error
	// endless goes on after the body.
	endless bool
	broken  bool
}

func (w *web) put(url string, p page) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pages[url] = p
}

func (w *web) asked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.requests)
}

func (w *web) last() app.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.requests[len(w.requests)-1]
}

type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

type breaking struct{}

func (breaking) Read([]byte) (int, error) { return 0, errors.New("connection reset by peer") }

func (w *web) fetch(_ context.Context, r app.Request) (app.Answer, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests = append(w.requests, r)
	p, ok := w.pages[r.URL]
	switch {
	case p.err != nil:
		return app.Answer{}, p.err
	case !ok:
		return app.Answer{}, problem.New(problem.Unavailable, "The address answers 404 (Not Found).")
	case p.etag != "" && p.etag == r.ETag:
		return app.Answer{Unchanged: true}, nil
	}
	body := io.Reader(strings.NewReader(p.body))
	if p.endless {
		body = io.MultiReader(body, spaces{})
	}
	if p.broken {
		body = io.MultiReader(strings.NewReader(p.body[:len(p.body)/2]), breaking{})
	}
	return app.Answer{ETag: p.etag, Body: io.NopCloser(body)}, nil
}

// spCert makes a service provider's certificate that ends at a time.
func spCert(t testing.TB, key crypto.Signer, until time.Time) string {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(until.UnixNano()), Subject: pkix.Name{CommonName: "SP"}, NotBefore: until.AddDate(-2, 0, 0), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func rsaKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	return must(oneKey())(t)
}

// sp describes a service provider in metadata.
type sp struct {
	entity     string
	acs        []string
	slo        string // the elements
	signing    []string
	encryption []string
	methods    []string
	formats    []string
	attributes string // of the EntityDescriptor
	signs      bool
}

func (x sp) xml() string {
	key := func(use, cert string, methods []string) string {
		body := strings.NewReplacer("-----BEGIN CERTIFICATE-----", "", "-----END CERTIFICATE-----", "").Replace(cert)
		s := `<md:KeyDescriptor` + use + `><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data><ds:X509Certificate>` + body + `</ds:X509Certificate></ds:X509Data></ds:KeyInfo>`
		for _, m := range methods {
			s += `<md:EncryptionMethod Algorithm="` + m + `"/>`
		}
		return s + `</md:KeyDescriptor>`
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" ID="_%d" entityID="%s"%s><md:SPSSODescriptor AuthnRequestsSigned="%t" protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">`,
		len(x.entity), x.entity, x.attributes, x.signs)
	for _, c := range x.signing {
		b.WriteString(key(` use="signing"`, c, nil))
	}
	for _, c := range x.encryption {
		b.WriteString(key(` use="encryption"`, c, x.methods))
	}
	b.WriteString(x.slo)
	for _, f := range x.formats {
		b.WriteString(`<md:NameIDFormat>` + f + `</md:NameIDFormat>`)
	}
	for i, u := range x.acs {
		fmt.Fprintf(&b, `<md:AssertionConsumerService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="%s" index="%d"></md:AssertionConsumerService>`, u, i)
	}
	b.WriteString(`</md:SPSSODescriptor></md:EntityDescriptor>`)
	return b.String()
}

func aggregate(list ...sp) string {
	var b strings.Builder
	b.WriteString(`<md:EntitiesDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata">`)
	for _, x := range list {
		b.WriteString(x.xml())
	}
	return b.String() + `</md:EntitiesDescriptor>`
}

const (
	entity = "https://sp.example.org/metadata"
	docURL = "https://sp.example.org/metadata.xml"
)

func slo(binding, url, response string) string {
	if response != "" {
		response = ` ResponseLocation="` + response + `"`
	}
	return `<md:SingleLogoutService Binding="` + binding + `" Location="` + url + `"` + response + `/>`
}

func (w *world) sp() sp {
	return sp{entity: entity, acs: []string{"https://sp.example.org/acs"}, signing: []string{spCert(w.t, rsaKey(w.t), w.now.AddDate(1, 0, 0))}}
}

func (w *world) saml() app.Application {
	w.t.Helper()
	return w.create(app.NewApplication{Connector: "custom-saml", Attributes: app.Attributes{Label: "Wiki"}})
}

func attributes(changes []app.Change) (out []string) {
	for _, c := range changes {
		out = append(out, c.Attribute)
	}
	return out
}

func TestImportTakesLogoutAndEncryption(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	until := w.now.AddDate(1, 0, 0)
	strong, other := spCert(t, rsaKey(t), until), spCert(t, rsaKey(t), until.AddDate(0, 0, 1))
	const soap = "urn:oasis:names:tc:SAML:2.0:bindings:SOAP"
	for name, c := range map[string]struct {
		change func(*sp)
		before func(*app.SAMLSettings)
		check  func(t *testing.T, s app.SAMLSettings)
		note   string
	}{
		"redirect logout with response location": {
			change: func(x *sp) {
				x.slo = slo(soap, "https://sp.example.org/soap", "") + slo(saml.BindingHTTPRedirect, "https://sp.example.org/slo", "https://sp.example.org/done")
			},
			check: func(t *testing.T, s app.SAMLSettings) {
				if s.SLOURL != "https://sp.example.org/slo" || s.SLOBinding != "" || s.SLOResponseURL != "https://sp.example.org/done" {
					t.Errorf("%q %q %q", s.SLOURL, s.SLOBinding, s.SLOResponseURL)
				}
			},
		},
		"POST logout": {
			change: func(x *sp) { x.slo = slo(saml.BindingHTTPPost, "https://sp.example.org/slo", "") },
			check: func(t *testing.T, s app.SAMLSettings) {
				if s.SLOURL != "https://sp.example.org/slo" || s.SLOBinding != saml.BindingHTTPPost {
					t.Errorf("%q %q", s.SLOURL, s.SLOBinding)
				}
			},
		},
		"logout only by SOAP": {
			change: func(x *sp) { x.slo = slo(soap, "https://sp.example.org/soap", "") },
			before: func(s *app.SAMLSettings) { s.SLOURL = "https://old.example.org/slo" },
			check: func(t *testing.T, s app.SAMLSettings) {
				if s.SLOURL != "" {
					t.Errorf("%q", s.SLOURL)
				}
			},
			note: "HTTP-Redirect and HTTP-POST",
		},
		"logout over http": {
			change: func(x *sp) { x.slo = slo(saml.BindingHTTPPost, "http://sp.example.org/slo", "") },
			check: func(t *testing.T, s app.SAMLSettings) {
				if s.SLOURL != "" {
					t.Errorf("%q", s.SLOURL)
				}
			},
			note: "must begin with https",
		},
		"encryption key": {
			change: func(x *sp) { x.encryption, x.methods = []string{strong, other}, []string{xmlenc.AES128GCM} },
			check: func(t *testing.T, s app.SAMLSettings) {
				if s.EncryptionCertificate != strong || s.EncryptionAlgorithm != xmlenc.AES128GCM || s.EncryptAssertions {
					t.Errorf("%q %q %t", s.EncryptionCertificate, s.EncryptionAlgorithm, s.EncryptAssertions)
				}
			},
			note: "encrypted too",
		},
		"the chosen algorithm stays if it is among them": {
			change: func(x *sp) {
				x.encryption, x.methods = []string{strong}, []string{xmlenc.AES256GCM, xmlenc.AES192GCM}
			},
			before: func(s *app.SAMLSettings) { s.EncryptionAlgorithm = xmlenc.AES192GCM },
			check: func(t *testing.T, s app.SAMLSettings) {
				if s.EncryptionAlgorithm != xmlenc.AES192GCM {
					t.Errorf("%q", s.EncryptionAlgorithm)
				}
			},
		},
		"encryption key that can't be used": {
			change: func(x *sp) { x.encryption = []string{spCert(t, weak, until), spCert(t, ec, until)} },
			before: func(s *app.SAMLSettings) { s.EncryptAssertions, s.EncryptionCertificate = true, other },
			check: func(t *testing.T, s app.SAMLSettings) {
				if s.EncryptionCertificate != other || !s.EncryptAssertions {
					t.Errorf("%q %t", s.EncryptionCertificate, s.EncryptAssertions)
				}
			},
			note: "no key for encryption. The registered certificate stays",
		},
		"no keys": {
			change: func(x *sp) { x.signing = nil },
			before: func(s *app.SAMLSettings) { s.SPCertificates = []string{other} },
			check: func(t *testing.T, s app.SAMLSettings) {
				if !slices.Equal(s.SPCertificates, []string{other}) {
					t.Errorf("%q", s.SPCertificates)
				}
			},
			note: "The registered certificates stay",
		},
		"weak and ended keys are kept": {
			change: func(x *sp) { x.signing = []string{spCert(t, weak, until), spCert(t, ec, w.now.Add(-time.Hour))} },
			check: func(t *testing.T, s app.SAMLSettings) {
				if len(s.SPCertificates) != 2 {
					t.Errorf("%q", s.SPCertificates)
				}
			},
			note: "ended on 25 November 2026",
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.create(app.NewApplication{Connector: "custom-saml", Attributes: app.Attributes{Label: name}})
			if c.before != nil {
				a = must(w.apps.SaveSAML(t.Context(), admin, a.ID, func(s *app.SAMLSettings) error { c.before(s); return nil }))(t)
			}
			x := w.sp()
			c.change(&x)
			preview := must(w.apps.PreviewMetadata(t.Context(), admin, a.ID, []byte(x.xml()), ""))(t)
			got := must(w.apps.ImportSPMetadata(t.Context(), admin, a.ID, []byte(x.xml()), ""))(t)
			c.check(t, got.Application.SAML.SAMLSettings)
			if !strings.Contains(strings.Join(got.Notes, " "), c.note) {
				t.Errorf("notes %q", got.Notes)
			}
			if d := cmp.Diff(preview.Changes, got.Changes); d != "" || len(preview.Hash) != 64 || len(preview.Changes) == 0 {
				t.Errorf("the preview promised something else: %s", d)
			}
			again := must(w.apps.PreviewMetadata(t.Context(), admin, a.ID, []byte(x.xml()), ""))(t)
			if len(again.Changes) != 0 {
				t.Errorf("the same again changes %v", again.Changes)
			}
		})
	}
}

func TestImportFromAggregate(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	a := w.saml()
	one, two := w.sp(), w.sp()
	two.entity, two.acs = "https://two.example.org", []string{"https://two.example.org/acs"}
	file := []byte(aggregate(one, two))
	if d := cmp.Diff([]string{entity, two.entity}, must(w.apps.SPEntityIDs(admin, file))(t)); d != "" {
		t.Error(d)
	}
	if _, err := w.apps.SPEntityIDs(reader, file); !problem.Is(err, problem.Forbidden) {
		t.Errorf("%v", err)
	}
	_, err := w.apps.ImportSPMetadata(t.Context(), admin, a.ID, file, "")
	if d := cmp.Diff([]string{"entityId"}, fields(err)); d != "" {
		t.Errorf("no choice: %v", err)
	}
	if _, err := w.apps.PreviewMetadata(t.Context(), admin, a.ID, file, "https://three.example.org"); !strings.Contains(problem.Public(err), "three") {
		t.Errorf("another one: %v", err)
	}
	if got := must(w.apps.ImportSPMetadata(t.Context(), admin, a.ID, file, two.entity))(t); got.Application.SAML.SPEntityID != two.entity {
		t.Errorf("took %q", got.Application.SAML.SPEntityID)
	}
	// From now on the choice is known.
	if got := must(w.apps.ImportSPMetadata(t.Context(), admin, a.ID, file, ""))(t); got.Application.SAML.SPEntityID != two.entity {
		t.Errorf("took %q", got.Application.SAML.SPEntityID)
	}
}

// told returns type, outcome and changed attributes of the application's events from a number on.
func (w *world) told(id app.ID, from int) []string {
	w.t.Helper()
	page := must(w.log.Search(w.t.Context(), admin, audit.Query{ApplicationID: string(id), Limit: 1000}))(w.t)
	var out []string
	for _, e := range slices.Backward(page.Items) {
		s := string(e.Type) + " " + string(e.Outcome)
		for _, c := range e.Changes {
			s += " " + c.Attribute
		}
		if e.Message == "" || e.Actor.Name == "" {
			w.t.Errorf("%+v", e)
		}
		out = append(out, s)
	}
	return out[min(from, len(out)):]
}

func (w *world) run() {
	w.t.Helper()
	if err := w.apps.RunMetadata(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) source(id app.ID) app.MetadataSource {
	w.t.Helper()
	src, ok, err := w.apps.MetadataSource(w.t.Context(), admin, id)
	if err != nil || !ok {
		w.t.Fatalf("no source: %v", err)
	}
	return src
}

func TestWatchedMetadata(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.saml()
		x := w.sp()
		x.formats = []string{saml.NameIDEmailAddress}
		x.slo = slo(saml.BindingHTTPRedirect, "https://sp.example.org/slo", "")
		w.web.put(docURL, page{body: x.xml(), etag: `"1"`})
		if _, ok, err := w.apps.MetadataSource(t.Context(), admin, a.ID); ok || err != nil {
			t.Fatalf("watched before: %v", err)
		}
		src := must(w.apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: " " + docURL}))(t)
		if src.Proposal != nil || src.EntityID != entity || src.Error != "" || !src.CheckedAt.Equal(w.now) || !src.ChangedAt.Equal(w.now) {
			t.Errorf("source %+v", src)
		}
		s := must(w.apps.Get(t.Context(), admin, a.ID))(t).SAML
		if s.SPEntityID != entity || s.SLOURL != "https://sp.example.org/slo" || len(s.SPCertificates) != 1 {
			t.Errorf("an application without values takes them at once: %+v", s.SAMLSettings)
		}
		n := len(w.told(a.ID, 0))
		must(w.apps.ActivateSAML(t.Context(), admin, a.ID))(t)
		n++

		// Before its time nothing is asked, then the copy at hand is named.
		w.run()
		if got := w.web.asked(); got != 1 {
			t.Errorf("asked %d times", got)
		}
		w.now = w.now.Add(7 * time.Hour)
		w.run()
		if got := w.web.last(); w.web.asked() != 2 || got.ETag != `"1"` {
			t.Errorf("asked %d times, lastly %+v", w.web.asked(), got)
		}
		if src := w.source(a.ID); !src.CheckedAt.Equal(w.now) || src.ChangedAt.Equal(w.now) || !src.NextAt.After(w.now) {
			t.Errorf("source %+v", src)
		}

		// A change is a proposal and an event, once, and nothing is applied.
		y := x
		y.signing = []string{spCert(t, rsaKey(t), w.now.AddDate(2, 0, 0))}
		y.acs = append([]string{"https://sp.example.org/new"}, x.acs...)
		y.slo, y.formats = "", []string{saml.NameIDPersistent}
		w.web.put(docURL, page{body: y.xml(), etag: `"2"`})
		for range 3 {
			w.now = w.now.Add(25 * time.Hour)
			w.run()
		}
		want := []string{"metadata_change success saml.acs saml.sloUrl saml.spCertificates saml.metadata.nameIdFormats"}
		if d := cmp.Diff(want, w.told(a.ID, n)); d != "" {
			t.Error(d)
		}
		n++
		if now := must(w.apps.Get(t.Context(), admin, a.ID))(t).SAML; now.SLOURL == "" || len(now.ACS) != 1 {
			t.Error("it was applied blindly")
		}
		p := w.source(a.ID).Proposal
		if p == nil || len(p.Changes) != 4 || len(p.Hash) != 64 {
			t.Fatalf("proposal %+v", p)
		}
		if c := p.Changes[2]; c.Attribute != "spCertificates" || strings.Contains(fmt.Sprint(c.Old, c.New), "BEGIN") || !strings.Contains(fmt.Sprint(c.New), "until 2028-") {
			t.Errorf("certificates are told as %v", c)
		}

		// A hash of other settings or of another document is refused.
		must(w.apps.SaveSAML(t.Context(), admin, a.ID, func(s *app.SAMLSettings) error { s.SLOURL = "https://sp.example.org/byhand"; return nil }))(t)
		n++
		if _, err := w.apps.ApproveMetadata(t.Context(), admin, a.ID, p.Hash); !problem.Is(err, problem.Conflict) {
			t.Errorf("approved what nobody saw: %v", err)
		}
		if err := w.apps.DismissMetadata(t.Context(), admin, a.ID, p.Hash); !problem.Is(err, problem.Conflict) {
			t.Errorf("dismissed what nobody saw: %v", err)
		}
		p = w.source(a.ID).Proposal
		if _, err := w.apps.ApproveMetadata(t.Context(), reader, a.ID, p.Hash); !problem.Is(err, problem.Forbidden) {
			t.Errorf("%v", err)
		}
		got := must(w.apps.ApproveMetadata(t.Context(), admin, a.ID, p.Hash))(t)
		if got.Application.SAML.SLOURL != "" || len(got.Application.SAML.ACS) != 2 || !slices.Equal(got.Application.SAML.SPCertificates, y.signing) {
			t.Errorf("approved: %+v", got.Application.SAML.SAMLSettings)
		}
		if d := cmp.Diff(p.Changes, got.Changes); d != "" {
			t.Error(d)
		}
		if w.source(a.ID).Proposal != nil {
			t.Error("it still waits")
		}
		if _, err := w.apps.ApproveMetadata(t.Context(), admin, a.ID, p.Hash); !problem.Is(err, problem.Conflict) {
			t.Errorf("approved twice: %v", err)
		}
		n++

		// What was turned down isn't proposed again, even if other things are read in between, unless the document changes.
		z := y
		z.acs = []string{"https://evil.example.org/acs"}
		w.web.put(docURL, page{body: z.xml()})
		w.now = w.now.Add(25 * time.Hour)
		w.run()
		p = w.source(a.ID).Proposal
		if err := w.apps.DismissMetadata(t.Context(), admin, a.ID, p.Hash); err != nil {
			t.Fatal(err)
		}
		w.web.put(docURL, page{err: problem.New(problem.Unavailable, "The address didn't answer in time.")})
		w.now = w.now.Add(25 * time.Hour)
		w.run()
		w.web.put(docURL, page{body: z.xml()})
		for range 2 {
			w.now = w.now.Add(25 * time.Hour)
			w.run()
			if p := w.source(a.ID).Proposal; p != nil {
				t.Errorf("proposed again: %+v", p)
			}
		}
		z.acs = append(z.acs, "https://sp.example.org/acs")
		w.web.put(docURL, page{body: z.xml()})
		w.now = w.now.Add(25 * time.Hour)
		w.run()
		if p := w.source(a.ID).Proposal; p == nil {
			t.Error("another change isn't proposed")
		}
		want = []string{
			"metadata_change success saml.acs", "metadata_change denied saml.acs",
			"metadata_change failure", "metadata_change success", "metadata_change success saml.acs",
		}
		if d := cmp.Diff(want, w.told(a.ID, n)); d != "" {
			t.Error(d)
		}

		if err := w.apps.UnwatchMetadata(t.Context(), admin, a.ID); err != nil {
			t.Fatal(err)
		}
		if _, ok, err := w.apps.MetadataSource(t.Context(), admin, a.ID); ok || err != nil {
			t.Errorf("still watched: %v", err)
		}
		if err := w.apps.UnwatchMetadata(t.Context(), admin, a.ID); !problem.Is(err, problem.NotFound) {
			t.Errorf("%v", err)
		}
		asked := w.web.asked()
		w.now = w.now.Add(48 * time.Hour)
		w.run()
		if w.web.asked() != asked {
			t.Error("still asked")
		}
	})
}

// An application that has values gets a proposal at once; one that has the same values gets none.
func TestWatchWithValues(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.saml()
		x := w.sp()
		must(w.apps.ImportSPMetadata(t.Context(), admin, a.ID, []byte(x.xml()), ""))(t)
		w.web.put(docURL, page{body: x.xml()})
		if src := must(w.apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL}))(t); src.Proposal != nil {
			t.Errorf("proposed: %+v", src.Proposal)
		}
		x.acs = []string{"https://sp.example.org/other"}
		w.web.put(docURL+"2", page{body: x.xml()})
		src := must(w.apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL + "2"}))(t)
		if src.Proposal == nil || !slices.Equal(attributes(src.Proposal.Changes), []string{"acs"}) {
			t.Fatalf("proposal %+v", src.Proposal)
		}
		// Entered by hand, it needs no word any more.
		must(w.apps.SaveSAML(t.Context(), admin, a.ID, func(s *app.SAMLSettings) error { s.ACS[0].URL = x.acs[0]; return nil }))(t)
		if src := w.source(a.ID); src.Proposal != nil {
			t.Errorf("it still waits: %+v", src.Proposal)
		}
		// The same address again changes nothing of what was decided.
		w.web.put(docURL+"2", page{body: w.sp().xml()})
		p := must(w.apps.CheckMetadataNow(t.Context(), admin, a.ID))(t).Proposal
		if p == nil {
			t.Fatal("no proposal")
		}
		if err := w.apps.DismissMetadata(t.Context(), admin, a.ID, p.Hash); err != nil {
			t.Fatal(err)
		}
	})
}

func TestWatchIsRefused(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	x := w.sp()
	other := w.sp()
	other.entity = "https://other.example.org"
	for url, p := range map[string]page{
		"https://sp.example.org/ok":      {body: x.xml()},
		"https://sp.example.org/html":    {body: "<!DOCTYPE html><html><body>Sign in</body></html>"},
		"https://sp.example.org/other":   {body: other.xml()},
		"https://sp.example.org/several": {body: aggregate(x, other)},
		"https://sp.example.org/expired": {body: strings.Replace(x.xml(), " entityID", ` validUntil="2026-11-24T00:00:00Z" entityID`, 1)},
		"https://sp.example.org/broken":  {body: x.xml(), broken: true},
		"https://sp.example.org/endless": {body: x.xml(), endless: true},
		"https://sp.example.org/guarded": {err: problem.New(problem.Forbidden, "connections to 10.0.0.1:443 are not allowed")},
	} {
		w.web.put(url, p)
	}
	for name, c := range map[string]struct {
		watch  app.MetadataWatch
		entity string // that the application has
		field  string
		words  string
	}{
		"no address":          {app.MetadataWatch{}, "", "url", "Enter the metadata URL"},
		"file":                {app.MetadataWatch{URL: "file:///etc/passwd"}, "", "url", "https://"},
		"user":                {app.MetadataWatch{URL: "https://me@sp.example.org/"}, "", "url", "user name"},
		"fragment":            {app.MetadataWatch{URL: "https://sp.example.org/ok#x"}, "", "url", "#"},
		"nothing there":       {app.MetadataWatch{URL: "https://sp.example.org/none"}, "", "url", "404"},
		"guarded":             {app.MetadataWatch{URL: "https://sp.example.org/guarded"}, "", "url", "not allowed"},
		"page":                {app.MetadataWatch{URL: "https://sp.example.org/html"}, "", "url", "web page"},
		"another entity":      {app.MetadataWatch{URL: "https://sp.example.org/other"}, entity, "url", entity},
		"several":             {app.MetadataWatch{URL: "https://sp.example.org/several"}, "", "entityId", "Choose one"},
		"not among them":      {app.MetadataWatch{URL: "https://sp.example.org/several", EntityID: "https://x.example.org"}, "", "url", "https://x.example.org"},
		"expired":             {app.MetadataWatch{URL: "https://sp.example.org/expired"}, "", "url", "24 November 2026"},
		"broken":              {app.MetadataWatch{URL: "https://sp.example.org/broken"}, "", "url", "broke off"},
		"endless":             {app.MetadataWatch{URL: "https://sp.example.org/endless"}, "", "url", "too large"},
		"no certificate":      {app.MetadataWatch{URL: "https://sp.example.org/ok", SigningCertificate: "rubbish"}, "", "signingCertificate", "not a certificate"},
		"unsigned where due":  {app.MetadataWatch{URL: "https://sp.example.org/ok", SigningCertificate: x.signing[0]}, "", "url", "signature"},
		"endless where due":   {app.MetadataWatch{URL: "https://sp.example.org/endless", SigningCertificate: x.signing[0]}, "", "url", "larger than 128 MB"},
		"entity ID with gaps": {app.MetadataWatch{URL: "https://sp.example.org/ok", EntityID: "a b"}, "", "entityId", "spaces"},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.create(app.NewApplication{Connector: "custom-saml", Attributes: app.Attributes{Label: name}})
			if c.entity != "" {
				must(w.apps.SaveSAML(t.Context(), admin, a.ID, func(s *app.SAMLSettings) error { s.SPEntityID = c.entity; return nil }))(t)
			}
			_, err := w.apps.WatchMetadata(t.Context(), admin, a.ID, c.watch)
			if d := cmp.Diff([]string{c.field}, fields(err)); d != "" || !strings.Contains(problem.Public(err), c.words) {
				t.Errorf("%q, fields %v", problem.Public(err), fields(err))
			}
			if _, ok, err := w.apps.MetadataSource(t.Context(), admin, a.ID); ok || err != nil {
				t.Errorf("watched all the same: %v", err)
			}
		})
	}
	if _, err := w.apps.WatchMetadata(t.Context(), reader, w.saml().ID, app.MetadataWatch{URL: docURL}); !problem.Is(err, problem.Forbidden) {
		t.Errorf("%v", err)
	}
}

// What goes wrong is an event when it begins and when it ends, and never touches the settings.
func TestWatchedAddressFails(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.saml()
		x := w.sp()
		w.web.put(docURL, page{body: x.xml()})
		must(w.apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL}))(t)
		before := must(w.apps.Get(t.Context(), admin, a.ID))(t)
		n := len(w.told(a.ID, 0))
		other := x
		other.entity = "https://other.example.org"
		expired := x
		expired.attributes = ` validUntil="2026-11-25T00:00:00Z"`
		for _, c := range []struct {
			name  string
			page  page
			words string
		}{
			{"unreachable", page{err: problem.New(problem.Unavailable, "The address didn't answer in time.")}, "in time"},
			{"unclassified", page{err: errors.New("dial tcp 10.1.1.1: secret network")}, "went wrong"},
			{"page", page{body: "<html><body>Sign in</body></html>"}, "web page"},
			{"wrong entity", page{body: other.xml()}, entity},
			{"expired", page{body: expired.xml()}, "valid until 25 November 2026"},
			{"gone", page{err: problem.New(problem.Unavailable, "The address answers 410 (Gone).")}, "410"},
		} {
			w.web.put(docURL, c.page)
			w.now = w.now.Add(2 * time.Hour) // after an error it is tried every hour
			if w.now.Before(w.source(a.ID).NextAt) {
				w.now = w.source(a.ID).NextAt
			}
			w.run()
			src := w.source(a.ID)
			if !strings.Contains(src.Error, c.words) || strings.Contains(src.Error, "secret") || src.Proposal != nil {
				t.Errorf("%s: %+v", c.name, src)
			}
			if d := src.NextAt.Sub(w.now); d < time.Hour || d > 90*time.Minute {
				t.Errorf("%s: again in %s", c.name, d)
			}
		}
		w.web.put(docURL, page{body: x.xml()})
		if src := must(w.apps.CheckMetadataNow(t.Context(), admin, a.ID))(t); src.Error != "" {
			t.Errorf("%q", src.Error)
		}
		if d := cmp.Diff([]string{"metadata_change failure", "metadata_change success"}, w.told(a.ID, n)); d != "" {
			t.Error(d)
		}
		if after := must(w.apps.Get(t.Context(), admin, a.ID))(t); after.Version != before.Version {
			t.Error("the application was changed")
		}
	})
}

// A document that says when it ends is over then, even if its address answers that nothing has changed.
func TestWatchedMetadataExpires(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	a := w.saml()
	x := w.sp()
	x.attributes = ` validUntil="2026-11-27T12:00:00Z" cacheDuration="PT2H"`
	w.web.put(docURL, page{body: x.xml(), etag: `"1"`})
	src := must(w.apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL}))(t)
	if d := src.NextAt.Sub(w.now); d < 90*time.Minute || d > 150*time.Minute || src.ValidUntil.IsZero() {
		t.Errorf("again in %s, valid until %s", d, src.ValidUntil)
	}
	w.now = w.now.Add(49 * time.Hour)
	w.run()
	if src := w.source(a.ID); !strings.Contains(src.Error, "27 November 2026") {
		t.Errorf("%+v", src)
	}
	// The next edition moves the end on; that is no change that somebody has to look at.
	x.attributes = ` validUntil="2026-12-27T12:00:00Z"`
	w.web.put(docURL, page{body: x.xml(), etag: `"2"`})
	w.now = w.now.Add(2 * time.Hour)
	w.run()
	if src := w.source(a.ID); src.Error != "" || src.Proposal != nil || src.ValidUntil.Month() != time.December {
		t.Errorf("%+v", src)
	}
	// Without any end from now on: that is one.
	x.attributes = ""
	w.web.put(docURL, page{body: x.xml(), etag: `"3"`})
	src = must(w.apps.CheckMetadataNow(t.Context(), admin, a.ID))(t)
	if src.Proposal == nil || !slices.Equal(attributes(src.Proposal.Changes), []string{"metadata.validUntil"}) {
		t.Fatalf("%+v", src.Proposal)
	}
	n := len(w.told(a.ID, 0))
	must(w.apps.ApproveMetadata(t.Context(), admin, a.ID, src.Proposal.Hash))(t)
	if d := cmp.Diff([]string{"metadata_change success saml.metadata.validUntil"}, w.told(a.ID, n)); d != "" {
		t.Error(d)
	}
	if w.source(a.ID).Proposal != nil {
		t.Error("it still waits")
	}
}

func TestNextCheckKeepsItsBounds(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	a := w.saml()
	for said, want := range map[string][2]time.Duration{
		``:                                   {5 * time.Hour, 7 * time.Hour},
		` cacheDuration="PT1S"`:              {time.Hour, 70 * time.Minute},
		` cacheDuration="P30D"`:              {21 * time.Hour, 24 * time.Hour},
		` cacheDuration="PT10H"`:             {9 * time.Hour, 11 * time.Hour},
		` validUntil="2026-11-25T16:00:00Z"`: {108 * time.Minute, 132 * time.Minute},
		` validUntil="2026-11-25T12:10:00Z"`: {time.Hour, 70 * time.Minute},
	} {
		x := w.sp()
		x.attributes = said
		for range 20 {
			w.web.put(docURL, page{body: x.xml()})
			src := must(w.apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL}))(t)
			if d := src.NextAt.Sub(w.now); d < want[0] || d > want[1] {
				t.Errorf("%s: again in %s", said, d)
			}
		}
	}
}

// With a pinned certificate only what that one signed is read (class 6: a missing signature is no good one).
func TestClass06_PinnedFederationSignature(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	federation, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	cert := spCert(t, federation, w.now.AddDate(5, 0, 0))
	x := w.sp()
	signed := signMetadata(t, federation, cert, x.xml())
	a := w.saml()
	w.web.put(docURL, page{body: signed})
	must(w.apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL, SigningCertificate: cert}))(t)
	if got := must(w.apps.Get(t.Context(), admin, a.ID))(t); got.SAML.SPEntityID != entity {
		t.Fatalf("not taken: %+v", got.SAML.SAMLSettings)
	}
	evil := strings.Replace(signed, "https://sp.example.org/acs", "https://evil.example.org/acs", 1)
	unsigned := x
	unsigned.acs = []string{"https://evil.example.org/acs"}
	for name, body := range map[string]string{
		"unsigned":                unsigned.xml(),
		"changed after":           evil,
		"signed by somebody else": signMetadata(t, rsaKey(t), x.signing[0], x.xml()),
		"signature emptied":       emptied(signed),
		"wrapped":                 strings.Replace(aggregate(unsigned), "</md:EntitiesDescriptor>", signed+"</md:EntitiesDescriptor>", 1),
	} {
		w.web.put(docURL, page{body: body})
		if src := must(w.apps.CheckMetadataNow(t.Context(), admin, a.ID))(t); !strings.Contains(src.Error, "signature") || src.Proposal != nil {
			t.Errorf("%s: %+v", name, src)
		}
	}
	w.web.put(docURL, page{body: signed})
	if src := must(w.apps.CheckMetadataNow(t.Context(), admin, a.ID))(t); src.Error != "" {
		t.Errorf("%q", src.Error)
	}
}

// signMetadata signs canonical metadata of one entity.
func signMetadata(t testing.TB, key *rsa.PrivateKey, cert, xml string) string {
	t.Helper()
	k := must(xmldsig.NewSigner(key, must(keys.ParseCertificate(cert))(t), crypto.SHA256))(t)
	id := fmt.Sprintf("_%d", len(entity))
	gap := strings.Index(xml, ">") + 1
	out := []byte(xml[:gap] + strings.Repeat(" ", k.Len(id)) + xml[gap:])
	if err := k.Sign(out, gap, id); err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func emptied(signed string) string {
	before, rest, _ := strings.Cut(signed, "<ds:SignatureValue>")
	_, after, _ := strings.Cut(rest, "</ds:SignatureValue>")
	return before + "<ds:SignatureValue></ds:SignatureValue>" + after
}

// Replicas share what is due: nothing is asked for twice.
func TestReplicasShareTheWatch(t *testing.T) {
	storetest.Two(t, func(t *testing.T, one, two *store.DB) {
		w := newWorld(t, one)
		const many = 30
		for i := range many {
			a := w.create(app.NewApplication{Connector: "custom-saml", Attributes: app.Attributes{Label: fmt.Sprintf("App %d", i)}})
			url := fmt.Sprintf("https://sp%d.example.org/", i)
			p := page{body: w.sp().xml()}
			w.web.put(url, p)
			must(w.apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: url}))(t)
		}
		before := w.web.asked()
		w.now = w.now.Add(25 * time.Hour)
		other := w.replica(two)
		var wg sync.WaitGroup
		for _, apps := range []*app.Applications{w.apps, other} {
			wg.Go(func() {
				if err := apps.RunMetadata(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := w.web.asked() - before; n != many {
			t.Errorf("%d requests for %d addresses", n, many)
		}
	})
}

// One of a federation is watched: what happens to the others is no change, and a document of thousands is read piece by
// piece.
func TestWatchOneOfAFederation(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	a := w.saml()
	own := w.sp()
	federation := func(own sp, others string) string {
		list := make([]sp, 0, 3000)
		for i := range 3000 {
			x := own
			x.entity, x.acs = fmt.Sprintf("https://sp%d.example.org", i), []string{"https://" + others + ".example.org/acs"}
			list = append(list, x)
		}
		return aggregate(append(list, own)...)
	}
	w.web.put(docURL, page{body: federation(own, "one")})
	if _, err := w.apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL}); !slices.Equal(fields(err), []string{"entityId"}) {
		t.Errorf("no choice: %v", err)
	}
	must(w.apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL, EntityID: entity}))(t)
	if got := must(w.apps.Get(t.Context(), admin, a.ID))(t).SAML; got.SPEntityID != entity || got.ACS[0].URL != own.acs[0] {
		t.Errorf("took %+v", got.SAMLSettings)
	}
	w.web.put(docURL, page{body: federation(own, "two")})
	changed := w.source(a.ID).ChangedAt
	w.now = w.now.Add(25 * time.Hour)
	w.run()
	if src := w.source(a.ID); src.Proposal != nil || !src.ChangedAt.Equal(changed) || !src.CheckedAt.Equal(w.now) {
		t.Errorf("%+v", src)
	}
	own.acs = []string{"https://sp.example.org/new"}
	w.web.put(docURL, page{body: federation(own, "two")})
	w.now = w.now.Add(25 * time.Hour)
	w.run()
	if src := w.source(a.ID); src.Proposal == nil || !slices.Equal(attributes(src.Proposal.Changes), []string{"acs"}) {
		t.Errorf("%+v", src)
	}
	w.web.put(docURL, page{body: federation(sp{entity: "https://elsewhere.example.org", acs: own.acs}, "two")})
	w.now = w.now.Add(25 * time.Hour)
	w.run()
	if src := w.source(a.ID); !strings.Contains(src.Error, entity) {
		t.Errorf("it has left the federation: %+v", src)
	}
}

// A replica that died between claiming and looking leaves its sources to the others after a while.
func TestClaimedByTheDead(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.saml()
		w.web.put(docURL, page{body: w.sp().xml()})
		must(w.apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL}))(t)
		w.now = w.now.Add(25 * time.Hour)
		dead, die := context.WithCancel(t.Context())
		w.web.put(docURL, page{err: context.Canceled})
		die()
		_ = w.apps.RunMetadata(dead)
		if src := w.source(a.ID); src.Error != "" {
			t.Errorf("the end of a program is told as an error of the address: %q", src.Error)
		}
		w.web.put(docURL, page{body: w.sp().xml()})
		w.now = w.now.Add(16 * time.Minute)
		w.run()
		if src := w.source(a.ID); !src.CheckedAt.Equal(w.now) {
			t.Errorf("%+v", src)
		}
	})
}

func TestWatchEndsWithTheApplication(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.saml()
		w.web.put(docURL, page{body: w.sp().xml()})
		must(w.apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL}))(t)
		if err := w.apps.Delete(t.Context(), admin, a.ID, a.Label); err != nil {
			t.Fatal(err)
		}
		asked := w.web.asked()
		w.now = w.now.Add(48 * time.Hour)
		w.run()
		if w.web.asked() != asked {
			t.Error("still asked")
		}
	})
}
