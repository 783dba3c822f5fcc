package saml_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/saml/xmlenc"
)

// federation writes a federation's aggregate in canonical form, entity by entity: service providers and, every third
// one, identity providers, of some 13 KB each. It is a reader, so that nobody needs to hold it.
type federation struct {
	entities int

	next   int
	buf    bytes.Buffer
	sample func() // called once in a while
}

const federationHead = `<md:EntitiesDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" ID="_f1" Name="urn:example:federation" validUntil="2026-04-01T00:00:00Z">`

func federationEntity(i int) string {
	role := "SP"
	endpoint := fmt.Sprintf(`<md:AssertionConsumerService Binding="%s" Location="https://sp%d.example.edu/Shibboleth.sso/SAML2/POST" index="1"></md:AssertionConsumerService>`, saml.BindingHTTPPost, i)
	if i%3 == 2 {
		role = "IDP"
		endpoint = fmt.Sprintf(`<md:SingleSignOnService Binding="%s" Location="https://idp%d.example.edu/idp/profile/SAML2/Redirect/SSO"></md:SingleSignOnService>`, saml.BindingHTTPRedirect, i)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<md:EntityDescriptor entityID="https://e%d.example.edu/shibboleth">`, i)
	b.WriteString(`<md:Extensions><mdattr:EntityAttributes xmlns:mdattr="urn:oasis:names:tc:SAML:metadata:attribute"><saml:Attribute xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" Name="http://macedir.org/entity-category">`)
	for j := range 12 {
		fmt.Fprintf(&b, `<saml:AttributeValue>http://refeds.org/category/number-%d</saml:AttributeValue>`, j)
	}
	fmt.Fprintf(&b, `</saml:Attribute></mdattr:EntityAttributes></md:Extensions>`+"\n  "+`<md:%sSSODescriptor protocolSupportEnumeration="%s">`, role, saml.NSProtocol)
	b.WriteString(`<md:Extensions><mdui:UIInfo xmlns:mdui="urn:oasis:names:tc:SAML:metadata:ui">`)
	for _, lang := range []string{"en", "de", "fr", "it", "sv", "fi", "ja", "pl"} {
		fmt.Fprintf(&b, `<mdui:DisplayName xml:lang="%s">Service %d (%s)</mdui:DisplayName><mdui:Description xml:lang="%s">%s</mdui:Description>`+"\n", lang, i, lang, lang, strings.Repeat("A service for members of the university. ", 24))
	}
	b.WriteString(`</mdui:UIInfo></md:Extensions>`)
	for _, use := range []string{"signing", "encryption"} {
		fmt.Fprintf(&b, `<md:KeyDescriptor use="%s"><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data><ds:X509Certificate>%s</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>`, use, federationCert)
	}
	fmt.Fprintf(&b, `%s</md:%sSSODescriptor>`, endpoint, role)
	for j := range 6 {
		fmt.Fprintf(&b, `<md:ContactPerson contactType="technical"><md:GivenName>Ada %d</md:GivenName><md:EmailAddress>mailto:ada%d@e%d.example.edu</md:EmailAddress></md:ContactPerson>`, j, j, i)
	}
	b.WriteString("</md:EntityDescriptor>\n")
	return b.String()
}

var federationCert = base64Cert(samltest.IdP().Cert)

func (f *federation) Read(p []byte) (int, error) {
	for f.buf.Len() == 0 {
		switch {
		case f.next == 0:
			f.buf.WriteString(federationHead)
		case f.next <= f.entities:
			f.buf.WriteString(federationEntity(f.next - 1))
		case f.next == f.entities+1:
			f.buf.WriteString(`</md:EntitiesDescriptor>`)
		default:
			return 0, io.EOF
		}
		f.next++
		if f.sample != nil && f.next%500 == 0 {
			f.sample()
		}
	}
	return f.buf.Read(p)
}

// TestReadSPMetadataFederation reads an aggregate of 5,000 entities and 64 MB without holding it.
func TestReadSPMetadataFederation(t *testing.T) {
	const entities = 5000
	live := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, most := live(), uint64(0)
	f := &federation{entities: entities, sample: func() { most = max(most, live()) }}
	read := &counting{r: f}
	m, err := saml.ReadSPMetadata(read, "https://e4998.example.edu/shibboleth", noon)
	if err != nil {
		t.Fatal(err)
	}
	if m.DisplayName != "Service 4998 (en)" || len(m.Certificates) != 2 || m.ACS[0].URL != "https://sp4998.example.edu/Shibboleth.sso/SAML2/POST" || m.ValidUntil != time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC) {
		t.Errorf("%+v", m)
	}
	if read.n < 64<<20 {
		t.Errorf("the aggregate has %d bytes only", read.n)
	}
	if more := int64(most) - int64(before); more > 24<<20 {
		t.Errorf("%d MB are held while reading", more>>20)
	}
	t.Logf("%d MB read, at most %d KB held", read.n>>20, (int64(most)-int64(before))>>10)

	ids, err := saml.ReadSPEntityIDs(&federation{entities: 300}, noon)
	if err != nil || len(ids) != 200 || ids[199] != "https://e298.example.edu/shibboleth" {
		t.Error(len(ids), err)
	}
	_, err = saml.ReadSPMetadata(&federation{entities: 300}, "https://e299.example.edu/shibboleth", noon)
	if e := refused(t, err, saml.MetadataInvalid); !strings.Contains(e.Text, "no service provider with the entity ID") {
		t.Error("e299 is an identity provider:", e.Text)
	}
	_, err = saml.ReadSPMetadata(&federation{entities: 300}, "", noon)
	if e := refused(t, err, saml.MetadataManyEntities); !strings.Contains(e.Text, "200 service providers") {
		t.Error(e.Text)
	}
	_, err = saml.ReadSPMetadata(&federation{entities: 300}, "https://e0.example.edu/shibboleth", time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC))
	refused(t, err, saml.MetadataInvalid)
}

// counting counts the bytes read.
type counting struct {
	r io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

// signedFederation is an aggregate with a signature.
func signedFederation(t testing.TB, entities int) []byte {
	t.Helper()
	k := signer(t, 0)
	doc, err := io.ReadAll(&federation{entities: entities})
	if err != nil {
		t.Fatal(err)
	}
	doc = append(doc, make([]byte, k.Len("_f1"))...)
	copy(doc[len(federationHead)+k.Len("_f1"):], doc[len(federationHead):len(doc)-k.Len("_f1")])
	if err := k.Sign(doc, len(federationHead), "_f1"); err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestVerifyMetadataFederation(t *testing.T) {
	doc := signedFederation(t, 500)
	keys := []crypto.PublicKey{samltest.IdP().Cert.PublicKey}
	signed, err := saml.VerifyMetadata(doc, keys)
	if err != nil {
		t.Fatal(err)
	}
	m, err := saml.ParseSPMetadata(signed, "https://e498.example.edu/shibboleth", noon)
	if err != nil || m.DisplayName != "Service 498 (en)" {
		t.Error(m, err)
	}
	for name, bad := range map[string][]byte{
		"endpoint changed": bytes.Replace(doc, []byte("https://sp498."), []byte("https://sp499."), 1),
		"entity more":      bytes.Replace(doc, []byte("</md:EntitiesDescriptor>"), []byte(federationEntity(900)+"</md:EntitiesDescriptor>"), 1),
		"end later":        bytes.Replace(doc, []byte(`validUntil="2026`), []byte(`validUntil="2036`), 1),
		"no signature":     signed,
	} {
		out, err := saml.VerifyMetadata(bad, keys)
		refused(t, err, saml.SignatureInvalid)
		if out != nil {
			t.Error(name, "gives metadata")
		}
	}
	_, err = saml.VerifyMetadata(doc, []crypto.PublicKey{samltest.Other().Cert.PublicKey})
	refused(t, err, saml.SignatureInvalid)
}

// endless repeats a piece for ever.
type endless struct{ piece, rest []byte }

func (e *endless) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if len(e.rest) == 0 {
			e.rest = e.piece
		}
		c := copy(p[n:], e.rest)
		n, e.rest = n+c, e.rest[c:]
	}
	return n, nil
}

// TestClass14_MetadataExhaustion: whoever serves a metadata document can't make us read or hold without end.
func TestClass14_MetadataExhaustion(t *testing.T) {
	open := `<md:EntitiesDescriptor xmlns:md="` + saml.NSMetadata + `">`
	within := func(content string) string {
		return strings.Replace(entity("urn:a:a", onePostACS), `</md:EntityD`, content+`</md:EntityD`, 1)
	}
	piece := func(s string) io.Reader { return &endless{piece: []byte(s)} }
	for name, r := range map[string]io.Reader{
		"white space":         piece(strings.Repeat(" ", 60000)),
		"one comment":         io.MultiReader(strings.NewReader("<!--"), piece("x")),
		"one tag":             io.MultiReader(strings.NewReader("<a "), piece("x")),
		"one value":           io.MultiReader(strings.NewReader("<a x='"), piece("x")),
		"one text":            io.MultiReader(strings.NewReader(open), piece("x")),
		"one entity":          io.MultiReader(strings.NewReader(open+`<md:EntityDescriptor entityID="urn:a:a">`), piece("<md:Extensions></md:Extensions>")),
		"one foreign element": io.MultiReader(strings.NewReader(open+`<x>`), piece("<y></y>")),
		"entities":            io.MultiReader(strings.NewReader(open), piece(within(strings.Repeat("x", 900<<10)))),
		"nodes of one entity": strings.NewReader(within(strings.Repeat("<x/>", 20_000))),
		"depth":               strings.NewReader(within(strings.Repeat("<x>", 40) + strings.Repeat("</x>", 40))),
		"depth of groups":     piece(open),
		"attributes":          strings.NewReader(within("<x " + distinct(`a%d="" `, 70) + "/>")),
		"namespaces":          strings.NewReader(within("<x " + distinct(`xmlns:a%d="urn:a:a" `, 63) + "><x " + distinct(`xmlns:b%d="urn:a:a" `, 63) + "><x " + distinct(`xmlns:c%d="urn:a:a" `, 63) + "/></x></x>")),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := saml.ReadSPMetadata(r, "urn:a:a", noon)
			refused(t, err, saml.TooLarge)
		})
	}
	t.Run("certificates", func(t *testing.T) {
		one := `<ds:X509Data xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Certificate>` + federationCert + `</ds:X509Certificate></ds:X509Data>`
		_, err := saml.ParseSPMetadata([]byte(entity("urn:a:a", `<md:KeyDescriptor><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#">`+strings.Repeat(one, 33)+`</ds:KeyInfo></md:KeyDescriptor>`+onePostACS)), "", noon)
		refused(t, err, saml.MetadataInvalid)
	})
	t.Run("verification", func(t *testing.T) {
		doc := []byte(within("<x " + distinct(`a%d="" `, 70) + "/>"))
		_, err := saml.VerifyMetadata(doc, []crypto.PublicKey{samltest.IdP().Cert.PublicKey})
		refused(t, err, saml.TooLarge)
	})
}

func TestReadSPMetadataSource(t *testing.T) {
	good := entity("urn:a:a", onePostACS)
	if m, err := saml.ReadSPMetadata(iotest.OneByteReader(strings.NewReader(good)), "", noon); err != nil || m.EntityID != "urn:a:a" {
		t.Error(m, err)
	}
	broken := errors.New("the line is down")
	for name, r := range map[string]io.Reader{
		"at once": iotest.ErrReader(broken),
		"halfway": io.MultiReader(strings.NewReader(good[:100]), iotest.ErrReader(broken)),
		"late":    io.MultiReader(strings.NewReader(good), iotest.ErrReader(broken)),
	} {
		_, err := saml.ReadSPMetadata(r, "", noon)
		if e := new(saml.Error); !errors.Is(err, broken) || errors.As(err, &e) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := saml.ReadSPEntityIDs(r, noon); err == nil {
			t.Error(name, "gives IDs")
		}
	}
}

func selfSigned(t testing.TB, key crypto.Signer) string {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: noon.AddDate(-9, 0, 0), NotAfter: noon.AddDate(-8, 0, 0)}
	template.Subject.CommonName = "sp.example.com"
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return saml.EncodePost(der)
}

// TestReadSPMetadataKeys: what is said of keys that are weak or can't be taken.
func TestReadSPMetadataKeys(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0")
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := func(c string) string {
		return `<ds:X509Data><ds:X509Certificate>` + c + `</ds:X509Certificate></ds:X509Data>`
	}
	key := func(use, content, more string) string {
		return `<md:KeyDescriptor` + use + `><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#">` + content + `</ds:KeyInfo>` + more + `</md:KeyDescriptor>`
	}
	good := cert(federationCert)
	const value = `<ds:KeyValue><ds:RSAKeyValue><ds:Modulus>AQAB</ds:Modulus><ds:Exponent>AQAB</ds:Exponent></ds:RSAKeyValue></ds:KeyValue>`
	const signing, encryption = ` use="signing"`, ` use="encryption"`
	for _, test := range []struct {
		name, keys               string
		certificates, encryption int
		notes                    []string
	}{
		{"good ones", key(signing, good, "") + key(encryption, good, "") + key("", good, ""), 3, 2, nil},
		{"several in one", key(signing, good+good, ""), 2, 0, nil},
		{"KeyValue beside the certificate", key(signing, value+good, ""), 1, 0, nil},
		{"KeyValue alone", key(signing, value, ""), 0, 0, []string{"A key for signing was passed over: it is not given by a certificate"}},
		{"KeyValue for any use", key("", value, "") + key(signing, good, ""), 1, 0, []string{"A key was passed over"}},
		{"KeyName alone", key(encryption, `<ds:KeyName>x</ds:KeyName>`, ""), 0, 0, []string{"A key for encryption was passed over"}},
		{"short", key(signing, cert(selfSigned(t, short)), "") + key(signing, good, ""), 2, 0, []string{`The key for signing in the certificate of "CN=sp.example.com" can't be used: RSA key of 1024 bits`}},
		{"short, for any use", key("", cert(selfSigned(t, short)), ""), 1, 0, []string{`The key in the certificate of "CN=sp.example.com" can't be used`}},
		{"short, for encryption", key(encryption, cert(selfSigned(t, short)), ""), 1, 0, []string{`The key for encryption in the certificate of "CN=sp.example.com" can't be used: RSA key of 1024 bits`}},
		{"ECDSA", key(signing, cert(selfSigned(t, p256)), ""), 1, 0, nil},
		{"ECDSA, for encryption", key(encryption, cert(selfSigned(t, p256)), ""), 1, 0, []string{"not supported for encryption"}},
		{"ECDSA, for any use", key("", cert(selfSigned(t, p256)), ""), 1, 0, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, err := saml.ParseSPMetadata([]byte(entity("urn:a:a", test.keys+onePostACS)), "", noon)
			if err != nil {
				t.Fatal(err)
			}
			if len(m.Certificates) != test.certificates || len(m.EncryptionKeys()) != test.encryption || len(m.Notes) != len(test.notes) {
				t.Errorf("%d certificates, %d for encryption, notes %q", len(m.Certificates), len(m.EncryptionKeys()), m.Notes)
			}
			for i, part := range test.notes {
				if i < len(m.Notes) && !strings.Contains(m.Notes[i], part) {
					t.Errorf("%q does not say %q", m.Notes[i], part)
				}
			}
		})
	}
	t.Run("methods", func(t *testing.T) {
		m, err := saml.ParseSPMetadata([]byte(entity("urn:a:a", key(encryption, good+good, `<md:EncryptionMethod Algorithm=" urn:b:b "/><md:EncryptionMethod Algorithm="urn:a:a"><x/></md:EncryptionMethod><md:EncryptionMethod/>`)+key("", good, "")+onePostACS)), "", noon)
		if err != nil {
			t.Fatal(err)
		}
		var got [][]string
		for _, c := range m.EncryptionKeys() {
			got = append(got, c.EncryptionMethods)
		}
		if diff := cmp.Diff([][]string{{"urn:b:b", "urn:a:a"}, {"urn:b:b", "urn:a:a"}, nil}, got); diff != "" {
			t.Error(diff)
		}
	})
}

// TestReadSPMetadataValidity: the earliest end and the shortest duration of all elements around hold.
func TestReadSPMetadataValidity(t *testing.T) {
	at := func(day int) time.Time { return time.Date(2026, 4, day, 0, 0, 0, 0, time.UTC) }
	attrs := func(day int, duration string) string {
		s := ""
		if day > 0 {
			s += at(day).Format(` validUntil="2006-01-02T15:04:05Z"`)
		}
		if duration != "" {
			s += ` cacheDuration="` + duration + `"`
		}
		return s
	}
	for _, test := range []struct {
		name                       string
		outer, inner, entity, role string
		until                      time.Time
		cache                      time.Duration
		notes                      int
	}{
		{"nothing", "", "", "", "", time.Time{}, 0, 0},
		{"outermost", attrs(3, "PT1H"), "", attrs(4, "PT2H"), "", at(3), time.Hour, 0},
		{"inner group", attrs(5, ""), attrs(3, "P1D"), attrs(4, ""), "", at(3), 24 * time.Hour, 0},
		{"entity", attrs(5, ""), "", attrs(3, "P1M2DT3H4M5.6S"), attrs(4, "P1Y"), at(3), 32*24*time.Hour + 3*time.Hour + 4*time.Minute + 5*time.Second, 0},
		{"role", "", "", "", attrs(3, "PT30M"), at(3), 30 * time.Minute, 0},
		{"none of a sibling", "", attrs(0, ""), attrs(9, ""), "", at(9), 0, 0},
		{"zero says nothing", attrs(0, "PT0S"), "", "", attrs(0, "PT1M"), time.Time{}, time.Minute, 0},
		{"negative", attrs(0, "-PT1H"), "", "", "", time.Time{}, 0, 1},
		{"not a duration", attrs(0, "1 hour"), "", attrs(0, "PT1H"), "", time.Time{}, time.Hour, 1},
		{"P", attrs(0, "P"), "", attrs(0, "PT"), "", time.Time{}, 0, 1},
		{"enormous", attrs(0, "P9999Y"), "", "", "", time.Time{}, 10 * 365 * 24 * time.Hour, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			group := func(attr, content string) string {
				return `<md:EntitiesDescriptor xmlns:md="` + saml.NSMetadata + `"` + attr + `>` + content + `</md:EntitiesDescriptor>`
			}
			wanted := entity("urn:a:a", onePostACS)
			wanted = strings.Replace(wanted, " entityID", test.entity+" entityID", 1)
			wanted = strings.Replace(wanted, " protocolS", test.role+" protocolS", 1)
			sibling := group(attrs(1, "PT1S"), entity("urn:b:b", onePostACS))
			m, err := saml.ParseSPMetadata([]byte(group(test.outer, sibling+group(test.inner, wanted)+sibling)), "urn:a:a", noon)
			if err != nil {
				t.Fatal(err)
			}
			if !m.ValidUntil.Equal(test.until) || m.CacheDuration != test.cache || len(m.Notes) != test.notes {
				t.Errorf("until %v, cache %v, notes %q", m.ValidUntil, m.CacheDuration, m.Notes)
			}
		})
	}
}

// FuzzReadSPMetadata: a document read piece by piece says what it says at once, the service provider that is read is in
// the list, and nobody's signature is on it.
func FuzzReadSPMetadata(f *testing.F) {
	stranger := []crypto.PublicKey{samltest.Other().Cert.PublicKey}
	for _, xml := range seeds(f, "testdata/metadata/*.xml") {
		f.Add(bytes.ReplaceAll(bytes.ReplaceAll(xml, []byte("CERTIFICATE-SP"), []byte(federationCert)), []byte("CERTIFICATE-NEXT"), []byte(federationCert)), "")
	}
	f.Add(atlassian().Metadata(), spEntityID)
	group := strings.Replace(federationHead, ">", ` cacheDuration="PT6H">`, 1)
	f.Add([]byte(group+federationEntity(0)+group+federationEntity(1)+`</md:EntitiesDescriptor>`+federationEntity(2)+`</md:EntitiesDescriptor>`), "https://e1.example.edu/shibboleth")
	f.Add(signedFederation(f, 2), "https://e0.example.edu/shibboleth")
	f.Fuzz(func(t *testing.T, xml []byte, id string) {
		m, err := saml.ParseSPMetadata(xml, id, noon)
		again, errAgain := saml.ReadSPMetadata(iotest.HalfReader(bytes.NewReader(xml)), id, noon)
		if diff := cmp.Diff(m, again, cmp.Comparer((*x509.Certificate).Equal)); diff != "" || (err == nil) != (errAgain == nil) {
			t.Fatal(err, errAgain, diff)
		}
		if signed, err := saml.VerifyMetadata(xml, stranger); err == nil {
			t.Fatalf("verified %s", signed)
		}
		if err != nil {
			if e := new(saml.Error); !errors.As(err, &e) || e.Text == "" {
				t.Fatalf("no text for the administrator: %v", err)
			}
			return
		}
		ids, err := saml.SPEntityIDs(xml, noon)
		if err != nil || !slices.Contains(ids, m.EntityID) {
			t.Fatalf("%q is not among %q: %v", m.EntityID, ids, err)
		}
		if id != "" && m.EntityID != id {
			t.Fatalf("entityID %q for %q", m.EntityID, id)
		}
		for _, c := range m.EncryptionKeys() {
			if _, err := xmlenc.NewRecipient(c.Certificate, ""); err != nil || c.Use == saml.UseSigning {
				t.Fatalf("a key that can't be encrypted to: %v", err)
			}
		}
	})
}

func BenchmarkReadSPMetadata(b *testing.B) {
	doc, err := io.ReadAll(&federation{entities: 5000})
	if err != nil {
		b.Fatal(err)
	}
	signed := signedFederation(b, 5000)
	keys := []crypto.PublicKey{samltest.IdP().Cert.PublicKey}
	for name, run := range map[string]func() error{
		"one-of-5000": func() error {
			_, err := saml.ReadSPMetadata(struct{ io.Reader }{bytes.NewReader(doc)}, "https://e2499.example.edu/shibboleth", noon)
			return err
		},
		"list-5000":   func() error { _, err := saml.ReadSPEntityIDs(bytes.NewReader(doc), noon); return err },
		"verify-5000": func() error { _, err := saml.VerifyMetadata(signed, keys); return err },
		"single": func() error {
			_, err := saml.ParseSPMetadata([]byte(strings.Replace(federationEntity(1), "<md:EntityDescriptor ", `<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" `, 1)), "", noon)
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			if name != "single" {
				b.SetBytes(int64(len(doc)))
			}
			for b.Loop() {
				if err := run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
