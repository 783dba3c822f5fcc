package app

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/xmlenc"
)

// What is taken from a service provider's metadata, thing by thing.

var offered = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// certify makes the nth certificate of a key.
func certify(t *testing.T, key crypto.Signer, n int64) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(n), NotBefore: offered.AddDate(-1, 0, 0), NotAfter: offered.AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func offerKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func post(url string, index int, isDefault bool) saml.Endpoint {
	return saml.Endpoint{Binding: saml.BindingHTTPPost, URL: url, Index: index, Default: isDefault}
}

func spOffering(change func(*saml.SPMetadata)) saml.SPMetadata {
	md := saml.SPMetadata{EntityID: "https://sp.example", ACS: []saml.Endpoint{post("https://sp.example/acs", 0, false)}}
	change(&md)
	return md
}

func TestOfferOfAssertionConsumerServices(t *testing.T) {
	many := []saml.Endpoint{}
	for i := range maxACS + 5 {
		many = append(many, post(fmt.Sprintf("https://sp.example/%d", i), i, false))
	}
	for name, c := range map[string]struct {
		acs  []saml.Endpoint
		want []ACS
		n    int // of what is taken, if want is nil
	}{
		"as it is": {
			[]saml.Endpoint{post("https://sp.example/a", 3, false), post("https://sp.example/b", 5, true)},
			[]ACS{{Index: 3, URL: "https://sp.example/a"}, {Index: 5, URL: "https://sp.example/b", Default: true}},
			0,
		},
		"no default: the first": {
			[]saml.Endpoint{post("https://sp.example/a", 3, false), post("https://sp.example/b", 5, false)},
			[]ACS{{Index: 3, URL: "https://sp.example/a", Default: true}, {Index: 5, URL: "https://sp.example/b"}},
			0,
		},
		"two defaults: the first of them": {
			[]saml.Endpoint{post("https://sp.example/a", 0, false), post("https://sp.example/b", 1, true), post("https://sp.example/c", 2, true)},
			[]ACS{{URL: "https://sp.example/a"}, {Index: 1, URL: "https://sp.example/b", Default: true}, {Index: 2, URL: "https://sp.example/c"}},
			0,
		},
		"one index twice": {
			[]saml.Endpoint{post("https://sp.example/a", 1, true), post("https://sp.example/b", 1, false), post("https://sp.example/c", 2, false)},
			[]ACS{{Index: 1, URL: "https://sp.example/a", Default: true}, {Index: 2, URL: "https://sp.example/b"}, {Index: 3, URL: "https://sp.example/c"}},
			0,
		},
		"one address twice": {
			[]saml.Endpoint{post("https://sp.example/a", 1, true), post("https://sp.example/a", 2, false)},
			[]ACS{{Index: 1, URL: "https://sp.example/a", Default: true}},
			0,
		},
		"another binding": {
			[]saml.Endpoint{{Binding: "urn:oasis:names:tc:SAML:2.0:bindings:PAOS", URL: "https://sp.example/paos", Default: true}, post("https://sp.example/a", 1, false)},
			[]ACS{{Index: 1, URL: "https://sp.example/a", Default: true}},
			0,
		},
		"addresses that can't be sent to": {
			[]saml.Endpoint{post("javascript:alert(1)", 0, true), post("http://sp.example/a", 1, false), post("https://sp.example/a", 2, false)},
			[]ACS{{Index: 2, URL: "https://sp.example/a", Default: true}},
			0,
		},
		"very many": {many, nil, maxACS},
	} {
		got, notes := importACS(saml.SPMetadata{ACS: c.acs}, nil)
		if d := cmp.Diff(c.want, got); c.want != nil && d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if c.want == nil && (len(got) != c.n || len(notes) != len(c.acs)-c.n) {
			t.Errorf("%s: %d are taken, %d notes", name, len(got), len(notes))
		}
	}
	if _, err := newOffer(spOffering(func(md *saml.SPMetadata) { md.ACS = md.ACS[:0] }), offered); !problem.Is(err, problem.Invalid) {
		t.Errorf("none: %v", err)
	}
}

func TestOfferOfSingleLogout(t *testing.T) {
	const good, bad = "https://sp.example/slo", "http://sp.example/slo"
	for name, c := range map[string]struct {
		slo  []saml.Endpoint
		want [3]string // URL, binding, address of answers
	}{
		"one":                           {[]saml.Endpoint{{Binding: saml.BindingHTTPRedirect, URL: good}}, [3]string{good}},
		"by POST, answered elsewhere":   {[]saml.Endpoint{{Binding: saml.BindingHTTPPost, URL: good, ResponseLocation: good + "/2"}}, [3]string{good, saml.BindingHTTPPost, good + "/2"}},
		"an address that is bad":        {[]saml.Endpoint{{Binding: saml.BindingHTTPRedirect, URL: bad}}, [3]string{}},
		"answers to a bad address":      {[]saml.Endpoint{{Binding: saml.BindingHTTPRedirect, URL: good, ResponseLocation: bad}}, [3]string{}},
		"a bad one before a good one":   {[]saml.Endpoint{{Binding: saml.BindingHTTPRedirect, URL: good, ResponseLocation: bad}, {Binding: saml.BindingHTTPPost, URL: good}}, [3]string{good, saml.BindingHTTPPost}},
		"another binding":               {[]saml.Endpoint{{Binding: "urn:oasis:names:tc:SAML:2.0:bindings:SOAP", URL: good}}, [3]string{}},
		"another binding before a good": {[]saml.Endpoint{{Binding: "urn:oasis:names:tc:SAML:2.0:bindings:SOAP", URL: good + "/soap"}, {Binding: saml.BindingHTTPRedirect, URL: good}}, [3]string{good}},
	} {
		o, err := newOffer(spOffering(func(md *saml.SPMetadata) { md.SLO = c.slo }), offered)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c.want, [3]string{o.SLOURL, o.SLOBinding, o.SLOResponseURL}); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if (c.want[0] == "" || len(c.slo) > 1 && c.slo[0].ResponseLocation == bad) && len(o.Notes) == 0 {
			t.Errorf("%s: nobody is told", name)
		}
	}
}

func TestOfferOfCertificates(t *testing.T) {
	key := offerKey(t)
	_, odd, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := func(use saml.KeyUse, n int64) saml.KeyCertificate {
		return saml.KeyCertificate{Use: use, Certificate: certify(t, key, n)}
	}
	one := cert(saml.UseSigning, 1)
	both := saml.KeyCertificate{Use: saml.UseEncryption, Certificate: one.Certificate}
	many := []saml.KeyCertificate{}
	for i := range int64(maxCerts + 3) {
		many = append(many, cert(saml.UseSigning, 100+i))
	}
	for name, c := range map[string]struct {
		certs      []saml.KeyCertificate
		sign       int
		encryption int // number of the one for encryption, from 1
		note       string
	}{
		"for signatures":                   {[]saml.KeyCertificate{one}, 1, 0, ""},
		"for any use":                      {[]saml.KeyCertificate{cert(saml.UseAny, 2)}, 1, 1, ""},
		"for encryption":                   {[]saml.KeyCertificate{cert(saml.UseEncryption, 3)}, 0, 1, ""},
		"for both, told twice":             {[]saml.KeyCertificate{one, both}, 1, 2, ""},
		"the same twice":                   {[]saml.KeyCertificate{one, one}, 1, 0, ""},
		"for encryption behind any":        {[]saml.KeyCertificate{cert(saml.UseAny, 4), cert(saml.UseEncryption, 5)}, 1, 2, ""},
		"of a key that no signature takes": {[]saml.KeyCertificate{{Use: saml.UseSigning, Certificate: certify(t, odd, 6)}, one}, 1, 0, "can't be used"},
		"very many":                        {many, maxCerts, 0, "too many"},
	} {
		o, err := newOffer(spOffering(func(md *saml.SPMetadata) { md.Certificates = c.certs }), offered)
		if err != nil {
			t.Fatal(err)
		}
		want := ""
		if c.encryption > 0 {
			want = certificateText(c.certs[c.encryption-1].Certificate)
		}
		if len(o.Certificates) != c.sign || o.Encryption != want || !strings.Contains(strings.Join(o.Notes, " "), c.note) {
			t.Errorf("%s: %d may sign, encryption %t, notes %q", name, len(o.Certificates), o.Encryption == want, o.Notes)
		}
	}
	cbc := cert(saml.UseEncryption, 7)
	cbc.EncryptionMethods = []string{"http://www.w3.org/2001/04/xmlenc#aes128-cbc"}
	o, err := newOffer(spOffering(func(md *saml.SPMetadata) { md.Certificates = []saml.KeyCertificate{cbc} }), offered)
	if err != nil || !strings.Contains(strings.Join(o.Notes, " "), "can be tampered with") {
		t.Errorf("only AES-CBC: notes %q, %v", o.Notes, err)
	}
	var s SAMLSettings
	if o.apply(&s); s.EncryptionAlgorithm != "" {
		t.Errorf("algorithm %q is taken", s.EncryptionAlgorithm)
	}
}

// Keys are only replaced by keys, and an algorithm that was chosen only if the owner of the key can't decrypt it.
func TestOfferApplied(t *testing.T) {
	had := SAMLSettings{SPCertificates: []string{"S"}, EncryptionCertificate: "E", EncryptionAlgorithm: xmlenc.AES192GCM}
	for name, c := range map[string]struct {
		o    offer
		want [3]string
	}{
		"nothing":                     {offer{}, [3]string{"S", "E", xmlenc.AES192GCM}},
		"a key for signatures":        {offer{Certificates: []string{"T"}}, [3]string{"T", "E", xmlenc.AES192GCM}},
		"a key for encryption":        {offer{Encryption: "F"}, [3]string{"S", "F", xmlenc.AES192GCM}},
		"with the algorithm":          {offer{Encryption: "F", EncryptionMethods: []string{xmlenc.AES256GCM, xmlenc.AES192GCM}}, [3]string{"S", "F", xmlenc.AES192GCM}},
		"with other algorithms":       {offer{Encryption: "F", EncryptionMethods: []string{xmlenc.AES256GCM, xmlenc.AES128GCM}}, [3]string{"S", "F", xmlenc.AES256GCM}},
		"with algorithms alone":       {offer{EncryptionMethods: []string{xmlenc.AES256GCM}}, [3]string{"S", "E", xmlenc.AES192GCM}},
		"with algorithms of no worth": {offer{Encryption: "F", EncryptionMethods: []string{"urn:x"}}, [3]string{"S", "F", xmlenc.AES192GCM}},
	} {
		s := clone(had)
		c.o.apply(&s)
		if d := cmp.Diff(c.want, [3]string{strings.Join(s.SPCertificates, " "), s.EncryptionCertificate, s.EncryptionAlgorithm}); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// A document can't have us say as much as it likes.
func TestOfferSaysSoMuch(t *testing.T) {
	o, err := newOffer(spOffering(func(md *saml.SPMetadata) {
		for i := range 1000 {
			md.ACS = append(md.ACS, saml.Endpoint{Binding: "urn:x", URL: fmt.Sprintf("https://sp.example/%d", i)})
		}
	}), offered)
	if err != nil || len(o.Notes) != maxNotes+1 || !strings.Contains(o.Notes[maxNotes], fmt.Sprint(1000-maxNotes)) {
		t.Errorf("%d notes, %v: %q", len(o.Notes), err, o.Notes[len(o.Notes)-1])
	}
}

// A file that is too large isn't read at all.
func TestOfferOfALargeFile(t *testing.T) {
	a := New(Config{Now: func() time.Time { t.Error("it is read"); return offered }})
	file := []byte(strings.Repeat(" ", MaxSPMetadata+1))
	if _, err := a.readOffer(file, "", Application{}); !problem.Is(err, problem.Invalid) {
		t.Errorf("%v", err)
	}
	if _, err := a.SPEntityIDs(access.Actor{Role: access.Administrator}, file); !problem.Is(err, problem.Invalid) {
		t.Errorf("listed: %v", err)
	}
}
