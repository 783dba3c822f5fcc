package keys_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func material(t testing.TB, at time.Time) keys.Material {
	t.Helper()
	m, err := keys.GenerateMaterial("Atlassian Cloud", at, keys.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestGenerateMaterial(t *testing.T) {
	m, other := material(t, now), material(t, now)
	c := m.Certificate
	key, ok := c.PublicKey.(*rsa.PublicKey)
	if !ok || key.N.BitLen() != 2048 {
		t.Fatalf("key %T", c.PublicKey)
	}
	if c.SignatureAlgorithm != x509.SHA256WithRSA {
		t.Errorf("signed with %v", c.SignatureAlgorithm)
	}
	if err := c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature); err != nil {
		t.Errorf("not signed by itself: %v", err)
	}
	if c.Subject.CommonName != "Atlassian Cloud" {
		t.Errorf("common name %q", c.Subject.CommonName)
	}
	if c.SerialNumber.Sign() <= 0 || c.SerialNumber.BitLen() < 120 || c.SerialNumber.Cmp(other.Certificate.SerialNumber) == 0 {
		t.Errorf("serial number %v is not random", c.SerialNumber)
	}
	if c.NotBefore.After(now) || !c.NotAfter.Equal(now.Add(keys.Lifetime)) {
		t.Errorf("valid from %v to %v", c.NotBefore, c.NotAfter)
	}
	block, rest := pem.Decode([]byte(m.PEM))
	if block == nil || block.Type != "CERTIFICATE" || len(rest) > 0 || string(block.Bytes) != string(c.Raw) {
		t.Errorf("certificate.pem is %q", m.PEM)
	}
	for _, shown := range []string{fmt.Sprint(m), fmt.Sprintf("%+v", m), fmt.Sprintf("%#v", m)} {
		if !strings.HasPrefix(shown, "key pair ") {
			t.Errorf("a pair shows as %q", shown)
		}
	}
}

func TestOptions(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		o         keys.Options
		valid     time.Duration
		algorithm x509.SignatureAlgorithm
		want      []string // fields
	}{
		"defaults":         {keys.Options{}, keys.Lifetime, x509.SHA256WithRSA, nil},
		"all set":          {keys.Options{Bits: 4096, Days: 365, Hash: crypto.SHA512}, 365 * day, x509.SHA512WithRSA, nil},
		"one day, SHA-384": {keys.Options{Bits: 3072, Days: 1, Hash: crypto.SHA384}, day, x509.SHA384WithRSA, nil},
		"ten years":        {keys.Options{Bits: 2048, Days: 3650, Hash: crypto.SHA256}, 3650 * day, x509.SHA256WithRSA, nil},
		"too small":        {keys.Options{Bits: 1024}, 0, 0, []string{"bits"}},
		"odd":              {keys.Options{Bits: 2049}, 0, 0, []string{"bits"}},
		"too large":        {keys.Options{Bits: 8192}, 0, 0, []string{"bits"}},
		"ended already":    {keys.Options{Days: -1}, 0, 0, []string{"days"}},
		"too long":         {keys.Options{Days: 3651}, 0, 0, []string{"days"}},
		"SHA-1":            {keys.Options{Hash: crypto.SHA1}, 0, 0, []string{"hash"}},
		"all wrong":        {keys.Options{Bits: 1, Days: 1e9, Hash: crypto.MD5}, 0, 0, []string{"bits", "days", "hash"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.o.Check()
			var fields []string
			for _, f := range problem.FieldsOf(err) {
				fields = append(fields, f.Name)
			}
			if d := cmp.Diff(c.want, fields); d != "" {
				t.Errorf("fields (-want +got):\n%s", d)
			}
			m, signErr := keys.SelfSign(key, "x", now, c.o)
			if (signErr == nil) != (c.want == nil) {
				t.Fatalf("SelfSign: %v", signErr)
			}
			if c.want != nil {
				if _, err := keys.GenerateMaterial("x", now, c.o); !problem.Is(err, problem.Invalid) {
					t.Errorf("GenerateMaterial: %v", err)
				}
				return
			}
			got := m.Certificate
			if got.SignatureAlgorithm != c.algorithm || !got.NotAfter.Equal(now.Add(c.valid)) || got.NotBefore.After(now) {
				t.Errorf("%v, valid from %v to %v", got.SignatureAlgorithm, got.NotBefore, got.NotAfter)
			}
			if err := got.CheckSignature(got.SignatureAlgorithm, got.RawTBSCertificate, got.Signature); err != nil {
				t.Error(err)
			}
		})
	}
	m, err := keys.GenerateMaterial("x", now, keys.Options{Bits: 3072})
	if err != nil {
		t.Fatal(err)
	}
	if n := m.Certificate.PublicKey.(*rsa.PublicKey).N.BitLen(); n != 3072 {
		t.Errorf("a key of %d bits", n)
	}
}

// Pairs of each size are uploaded, stored, and sign with each hash, whoever signs.
func TestSizesAndHashes(t *testing.T) {
	db := storetest.SQLite(t)
	for _, bits := range []int{2048, 3072, 4096} {
		block, err := os.ReadFile(fmt.Sprintf("libcrypto/testdata/rsa-%d.pem", bits))
		if err != nil {
			t.Fatal(err)
		}
		private := strings.ReplaceAll(string(block), "TESTING", "PRIVATE")
		parsed, _ := pem.Decode([]byte(private))
		key, err := x509.ParsePKCS1PrivateKey(parsed.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		certificate := selfSigned(t, key, now.Add(-time.Hour), now.Add(24*time.Hour))
		id := fmt.Sprint(bits)
		seedApplication(t, db, id)
		for _, by := range []keys.Signing{keys.SignGo, keys.SignAuto} {
			t.Run(id+" "+string(by), func(t *testing.T) {
				p := keys.NewPairs(sealer(t, 1), func() time.Time { return now }, keys.WithSigning(by))
				err := db.Update(t.Context(), func(tx *store.Tx) error {
					_, err := p.Upload(tx, id, certificate, keys.Secret(private), keys.Current)
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				for hash, uri := range map[crypto.Hash]string{
					0: xmldsig.RSASHA256, crypto.SHA256: xmldsig.RSASHA256, crypto.SHA384: xmldsig.RSASHA384, crypto.SHA512: xmldsig.RSASHA512, crypto.SHA1: xmldsig.RSASHA1,
				} {
					err := db.View(t.Context(), func(tx *store.Tx) error {
						_, s, err := p.XMLSigner(tx, id, hash)
						if err != nil {
							return err
						}
						octets := []byte("SAMLRequest=x")
						sig, err := s.SignDetached(octets)
						if err != nil {
							return err
						}
						h := hash
						if h == 0 {
							h = crypto.SHA256
						}
						d := h.New()
						d.Write(octets)
						if err := rsa.VerifyPKCS1v15(&key.PublicKey, h, d.Sum(nil), sig); err != nil || s.Algorithm() != uri || len(sig) != bits/8 {
							t.Errorf("%v: %d bytes by %s, %v", hash, len(sig), s.Algorithm(), err)
						}
						_, again, err := p.XMLSigner(tx, id, hash)
						if again != s {
							t.Error("made twice")
						}
						return err
					})
					if err != nil {
						t.Fatal(err)
					}
				}
			})
		}
	}
}

func TestLongCommonNameIsCut(t *testing.T) {
	m, err := keys.GenerateMaterial(strings.Repeat("ä", 100), now, keys.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Certificate.Subject.CommonName; got != strings.Repeat("ä", 64) {
		t.Errorf("common name %q", got)
	}
}

func TestDaysLeft(t *testing.T) {
	for _, c := range []struct {
		end  time.Duration
		want int
	}{{0, 0}, {time.Hour, 0}, {24 * time.Hour, 1}, {47 * time.Hour, 1}, {-time.Second, -1}, {-25 * time.Hour, -2}} {
		if got := keys.DaysLeft(now.Add(c.end), now); got != c.want {
			t.Errorf("DaysLeft(%v) = %d, want %d", c.end, got, c.want)
		}
	}
}

func keyPEM(t testing.TB, key any) keys.Secret {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return keys.Secret(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func selfSigned(t testing.TB, key crypto.Signer, from, to time.Time) string {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestParseMaterial(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GODEBUG", "rsa1024min=0")
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	from, to := now.Add(-time.Hour), now.Add(24*time.Hour)
	good := selfSigned(t, key, from, to)
	pkcs1 := keys.Secret(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	// A certificate of a key that would take a second to sign with. Nobody needs the key to make it.
	n := new(big.Int).SetBit(big.NewInt(1), 16383, 1)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &rsa.PublicKey{N: n, E: 65537}, key)
	if err != nil {
		t.Fatal(err)
	}
	vast := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	encrypted := keys.Secret(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1}}))
	cases := map[string]struct {
		cert string
		key  keys.Secret
		want []string // fields
	}{
		"PKCS#8":                     {good, keyPEM(t, key), nil},
		"PKCS#1":                     {good, pkcs1, nil},
		"text around the PEM":        {"Bag Attributes\n" + good, "\n" + keyPEM(t, key) + "\n", nil},
		"certificate without PEM":    {strings.NewReplacer("-----BEGIN CERTIFICATE-----", "", "-----END CERTIFICATE-----", "").Replace(good), keyPEM(t, key), nil},
		"another key":                {good, keyPEM(t, other), []string{"privateKey"}},
		"expired":                    {selfSigned(t, key, from.Add(-time.Hour), from), keyPEM(t, key), []string{"certificate"}},
		"ends this very moment":      {selfSigned(t, key, from, now), keyPEM(t, key), []string{"certificate"}},
		"not yet valid":              {selfSigned(t, key, to, to.Add(time.Hour)), keyPEM(t, key), []string{"certificate"}},
		"RSA of 1024 bits":           {selfSigned(t, small, from, to), keyPEM(t, small), []string{"privateKey", "certificate"}},
		"elliptic curve":             {selfSigned(t, ec, from, to), keyPEM(t, ec), []string{"privateKey", "certificate"}},
		"key with password":          {good, encrypted, []string{"privateKey"}},
		"nothing":                    {"", "", []string{"certificate", "privateKey"}},
		"key in place of the cert":   {keyPEM(t, key).Reveal(), keyPEM(t, key), []string{"certificate"}},
		"two certificates":           {good + good, keyPEM(t, key), []string{"certificate"}},
		"certificate cut":            {good[:len(good)/2], keyPEM(t, key), []string{"certificate"}},
		"certificate of wrong bytes": {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", keyPEM(t, key), []string{"certificate"}},
		"rubbish behind the key":     {good, keyPEM(t, key) + "x", []string{"privateKey"}},
		"RSA of 16384 bits":          {vast, keyPEM(t, key), []string{"certificate"}},
		"huge":                       {strings.Repeat("A", 1<<17), keys.Secret(strings.Repeat("A", 1<<17)), []string{"certificate", "privateKey"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			m, err := keys.ParseMaterial(c.cert, c.key, now)
			var got []string
			for _, f := range problem.FieldsOf(err) {
				got = append(got, f.Name)
				if strings.Contains(f.Detail, "BEGIN PRIVATE") && !strings.Contains(f.Detail, "begins with") {
					t.Errorf("the error shows the key: %s", f.Detail)
				}
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("fields (-want +got):\n%s%v", d, err)
			}
			if c.want == nil && (err != nil || m.Certificate == nil || m.PEM != good) {
				t.Errorf("taken as %q, %v", m.PEM, err)
			}
		})
	}
}

func seedApplication(t *testing.T, db *store.DB, id string) {
	t.Helper()
	err := db.Update(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(`INSERT INTO applications (id, connector, label, label_key, logo, portal_visible, created_at, updated_at)
			VALUES ($1, 'x', $1, $1, $2, TRUE, 1, 1)`, id, []byte{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRollover(t *testing.T) {
	a, b, c := material(t, now), material(t, now), material(t, now)
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		seedApplication(t, db, "app1")
		seedApplication(t, db, "app2")
		p := keys.NewPairs(sealer(t, 1), func() time.Time { return now })
		update := func(fn func(tx *store.Tx) error) error { return db.Update(t.Context(), fn) }
		// state names the pairs by their letter, in the order of List.
		letters := map[string]string{
			keys.Fingerprint(a.Certificate): "a", keys.Fingerprint(b.Certificate): "b", keys.Fingerprint(c.Certificate): "c",
		}
		state := func() string {
			var out []string
			err := db.View(t.Context(), func(tx *store.Tx) error {
				out = nil
				list, err := p.List(tx, "app1")
				for _, x := range list {
					out = append(out, string(x.Status)+"="+letters[x.Fingerprint()])
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return strings.Join(out, " ")
		}
		put := func(m keys.Material, s keys.Status) func(*store.Tx) error {
			return func(tx *store.Tx) error { _, err := p.Store(tx, "app1", m, s); return err }
		}
		doSwitch := func(tx *store.Tx) error { _, err := p.Switch(tx, "app1"); return err }
		back := func(tx *store.Tx) error { _, err := p.Back(tx, "app1"); return err }
		remove := func(s keys.Status) func(*store.Tx) error {
			return func(tx *store.Tx) error { _, err := p.Remove(tx, "app1", s); return err }
		}
		steps := []struct {
			name string
			do   func(*store.Tx) error
			kind problem.Kind // when it is refused
			want string
		}{
			{"nothing to switch to", doSwitch, problem.Conflict, ""},
			{"first pair", put(a, keys.Current), 0, "current=a"},
			{"no way back yet", back, problem.Conflict, "current=a"},
			{"prepare", put(b, keys.Next), 0, "current=a next=b"},
			{"prepare again", put(c, keys.Next), 0, "current=a next=c"},
			{"switch", doSwitch, 0, "current=c previous=a"},
			{"back", back, 0, "current=a next=c"},
			{"switch once more", doSwitch, 0, "current=c previous=a"},
			{"prepare another", put(b, keys.Next), 0, "current=c next=b previous=a"},
			{"back would lose it", back, problem.Conflict, "current=c next=b previous=a"},
			{"remove current", remove(keys.Current), problem.Conflict, "current=c next=b previous=a"},
			{"switch drops the previous", doSwitch, 0, "current=b previous=c"},
			{"remove previous", remove(keys.Previous), 0, "current=b"},
			{"new current at once", put(a, keys.Current), 0, "current=a previous=b"},
		}
		for _, s := range steps {
			err := update(s.do)
			if s.kind != 0 && !problem.Is(err, s.kind) || s.kind == 0 && err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
			if got := state(); got != s.want {
				t.Fatalf("%s: %q, want %q", s.name, got, s.want)
			}
		}

		digest := sha256.Sum256([]byte("x"))
		check := func(want keys.Material) {
			t.Helper()
			err := db.View(t.Context(), func(tx *store.Tx) error {
				pair, signer, err := p.Current(tx, "app1")
				if err != nil {
					return err
				}
				if pair.Fingerprint() != keys.Fingerprint(want.Certificate) || pair.Status != keys.Current {
					t.Errorf("current pair is %s %s", pair.Status, letters[pair.Fingerprint()])
				}
				sig, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256)
				if err != nil {
					return err
				}
				if err := rsa.VerifyPKCS1v15(want.Certificate.PublicKey.(*rsa.PublicKey), crypto.SHA256, digest[:], sig); err != nil {
					t.Errorf("signed with another key than the certificate's: %v", err)
				}
				_, again, err := p.Current(tx, "app1")
				if again != signer {
					t.Error("the key was parsed twice")
				}
				if err != nil {
					return err
				}
				_, x1, err := p.XMLSigner(tx, "app1", crypto.SHA256)
				if err != nil {
					return err
				}
				_, x2, err := p.XMLSigner(tx, "app1", crypto.SHA256)
				if x1 != x2 || !x1.Certificate().Equal(want.Certificate) {
					t.Error("the XML signer isn't cached, or of another certificate")
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		check(a)
		// Another replica's switch counts at once, although a's key is cached here.
		replica := keys.NewPairs(sealer(t, 1), func() time.Time { return now })
		if err := update(func(tx *store.Tx) error { _, err := replica.Back(tx, "app1"); return err }); err != nil {
			t.Fatal(err)
		}
		check(b)

		err := db.View(t.Context(), func(tx *store.Tx) error {
			if _, _, err := p.Current(tx, "app2"); !problem.Is(err, problem.NotFound) {
				t.Errorf("an application without key: %v", err)
			}
			stranger := keys.NewPairs(sealer(t, 2), func() time.Time { return now })
			if _, _, err := stranger.Current(tx, "app1"); err == nil || !strings.Contains(err.Error(), "master key") {
				t.Errorf("under another master key: %v", err)
			}
			soon, err := p.Expiring(tx, now.Add(keys.Lifetime+time.Hour), 10)
			if err != nil || len(soon) != 1 {
				t.Errorf("expiring: %d, %v", len(soon), err)
			}
			later, err := p.Expiring(tx, now.Add(time.Hour), 10)
			if err != nil || len(later) != 0 {
				t.Errorf("expiring too early: %d, %v", len(later), err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestSwitchRefusesAnEndedCertificate(t *testing.T) {
	current, next := material(t, now), material(t, now)
	db := storetest.SQLite(t)
	seedApplication(t, db, "app1")
	clock := now
	p := keys.NewPairs(sealer(t, 1), func() time.Time { return clock })
	err := db.Update(t.Context(), func(tx *store.Tx) error {
		if _, err := p.Store(tx, "app1", current, keys.Current); err != nil {
			return err
		}
		_, err := p.Store(tx, "app1", next, keys.Next)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	clock = now.Add(keys.Lifetime)
	err = db.Update(t.Context(), func(tx *store.Tx) error { _, err := p.Switch(tx, "app1"); return err })
	if !problem.Is(err, problem.Conflict) {
		t.Errorf("switch to an ended certificate: %v", err)
	}
}

func TestStoredKeyIsSealed(t *testing.T) {
	m := material(t, now)
	db := storetest.SQLite(t)
	seedApplication(t, db, "app1")
	p := keys.NewPairs(sealer(t, 1), func() time.Time { return now })
	err := db.Update(t.Context(), func(tx *store.Tx) error {
		if _, err := p.Store(tx, "app1", m, keys.Current); err != nil {
			return err
		}
		text, err := store.One(tx, store.Scalar[string], `SELECT private_key FROM key_pairs`)
		if err != nil {
			return err
		}
		if !strings.HasPrefix(text, "v1.") || strings.Contains(text, "PRIVATE KEY") {
			t.Errorf("the key is stored as %.40q", text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func FuzzParseCertificate(f *testing.F) {
	m, err := keys.GenerateMaterial("x", now, keys.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.PEM)
	f.Add("")
	f.Add("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----")
	f.Add(strings.TrimSpace(strings.ReplaceAll(m.PEM, "-----", "")))
	f.Fuzz(func(t *testing.T, text string) {
		c, err := keys.ParseCertificate(text)
		if (c == nil) == (err == nil) {
			t.Fatalf("certificate %v, error %v", c, err)
		}
		if err != nil && !problem.Is(err, problem.Invalid) {
			t.Fatalf("error of another kind: %v", err)
		}
	})
}
