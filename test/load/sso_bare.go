package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/keys/libcrypto"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
)

// rsaSigner makes a key that signs as the server does: by "go" or "libcrypto"; "" is what the server chooses by itself.
func rsaSigner(by string) (*rsa.PrivateKey, crypto.Signer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, nil, err
	}
	if by == "go" {
		return key, key, nil
	}
	lib, err := libcrypto.Load()
	if err != nil {
		if by == "" {
			return key, key, nil
		}
		return nil, nil, err
	}
	s, err := lib.Signer(key)
	return key, s, err
}

// bareRSA is the yardstick of sign-on: one RSA-2048 signature over a SHA-256, made as the server makes it.
func bareRSA(args []string) error {
	by := ""
	if len(args) > 0 {
		by = args[0]
	}
	_, s, err := rsaSigner(by)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte("yardstick"))
	return bare(func() error {
		_, err := s.Sign(nil, sum[:], crypto.SHA256)
		return err
	})
}

// bareArgon2 is the yardstick of a sign-in: one hash at the cost that the program uses.
func bareArgon2([]string) error {
	c := authn.DefaultArgon2()
	salt := make([]byte, 16)
	return bare(func() error {
		argon2.IDKey([]byte(password), salt, c.Passes, c.Memory, c.Threads, 32)
		return nil
	})
}

// encoded is what the encoder helper finds, for one kind of response.
type encoded struct {
	Encode time.Duration // without the RSA operation
	Allocs float64
	Bytes  int
	// Signed is the whole, Bare the RSA operations alone, both from the same time.
	Signed, Bare time.Duration
	// Ratio is the median of those of neighbouring turns, which the machine disturbs alike.
	Ratio float64
}

// encoder is the helper that measures the encoder by itself: for (a) and (b), in this order.
func encoder(args []string) error {
	key, s, err := rsaSigner(args[0])
	if err != nil {
		return err
	}
	m, err := keys.SelfSign(key, "encoder", time.Now(), keys.Options{})
	if err != nil {
		return err
	}
	fake, err := xmldsig.NewSigner(instant{key, make([]byte, 256)}, m.Certificate, 0)
	if err != nil {
		return err
	}
	real, err := xmldsig.NewSigner(s, m.Certificate, 0)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte("yardstick"))
	response := sampleResponse()
	buf := make([]byte, 0, 32<<10)
	var out []encoded
	for i, what := range []saml.Sign{saml.SignAssertion, saml.SignBoth} {
		var e encoded
		with := func(k *xmldsig.Signer) func() error {
			return func() error {
				xml, err := saml.AppendResponse(buf, response, k, what)
				e.Bytes = len(xml)
				return err
			}
		}
		signatures := func() error {
			for range i + 1 {
				if _, err := s.Sign(nil, sum[:], crypto.SHA256); err != nil {
					return err
				}
			}
			return nil
		}
		free, err := inTurns(time.Second, 100, with(fake))
		if err != nil {
			return err
		}
		took, err := inTurns(3*time.Second, 2, with(real), signatures)
		if err != nil {
			return err
		}
		ratios := make([]float64, len(took[0]))
		for i := range ratios {
			ratios[i] = float64(took[0][i]) / float64(took[1][i])
		}
		slices.Sort(ratios)
		e.Ratio = ratios[len(ratios)/2]
		e.Encode, e.Signed, e.Bare = quantile(free[0], .1), quantile(took[0], .1), quantile(took[1], .1)
		if e.Allocs, err = allocations(with(fake)); err != nil {
			return err
		}
		out = append(out, e)
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// instant is a key that signs in no time.
type instant struct {
	key *rsa.PrivateKey
	sig []byte
}

func (i instant) Public() crypto.PublicKey { return i.key.Public() }

func (i instant) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return i.sig, nil }

// sampleResponse has an e-mail NameID, 6 attributes and 10 group values besides, as the exchange has.
func sampleResponse() *saml.Response {
	now := time.Now()
	r := &saml.Response{
		ID: "_0123456789abcdef0123456789abcdef", AssertionID: "_fedcba9876543210fedcba9876543210", IssueInstant: now,
		Issuer: "https://id.load.example/saml2/one-signature/metadata", Destination: "https://one-signature.example/saml/acs",
		InResponseTo: "_00112233445566778899aabbccddeeff", Audiences: []string{"https://one-signature.example/saml/metadata"},
		Subject:   saml.NameID{Format: saml.NameIDEmailAddress, Value: "person-000001@load.example"},
		NotBefore: now.Add(-time.Minute), NotOnOrAfter: now.Add(5 * time.Minute),
		Authn: saml.Authn{Instant: now, SessionIndex: "_s0123456789abcdef", ContextClass: saml.AuthnContextPasswordProtectedTransport},
	}
	for i, name := range []string{"email", "firstName", "lastName", "displayName", "department", "title"} {
		r.Attributes = append(r.Attributes, saml.Attribute{Name: name, Values: []string{fmt.Sprintf("A value of the usual length %d", i)}})
	}
	groups := saml.Attribute{Name: "groups"}
	for i := range 10 {
		groups.Values = append(groups.Values, fmt.Sprintf("Role %d of the company", i))
	}
	r.Attributes = append(r.Attributes, groups)
	return r
}

// inTurns runs functions in turns, and returns the processor time of one call in each turn. What a turn's first call
// brings back into the caches isn't counted.
func inTurns(most time.Duration, calls int, fns ...func() error) ([][]time.Duration, error) {
	took := make([][]time.Duration, len(fns))
	for begin := time.Now(); time.Since(begin) < most; {
		for i, fn := range fns {
			if err := fn(); err != nil {
				return nil, err
			}
			cpu := ownCPU()
			for range calls {
				if err := fn(); err != nil {
					return nil, err
				}
			}
			took[i] = append(took[i], (ownCPU()-cpu)/time.Duration(calls))
		}
	}
	return took, nil
}

// allocations counts those of one call.
func allocations(fn func() error) (float64, error) {
	const n = 1000
	var before, after runtime.MemStats
	if err := fn(); err != nil {
		return 0, err
	}
	runtime.ReadMemStats(&before)
	for range n {
		if err := fn(); err != nil {
			return 0, err
		}
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / n, nil
}

// measureEncoder adds the rows of the encoder alone.
func measureEncoder(ctx context.Context, by string, r *report) error {
	out, err := helper(ctx, true, nil, "encoder", by)
	if err != nil {
		return fmt.Errorf("encoder: %w", err)
	}
	var got []encoded
	if err := json.NewDecoder(bytes.NewReader([]byte(out))).Decode(&got); err != nil || len(got) != 2 {
		return errors.Join(fmt.Errorf("encoder: %q", out), err)
	}
	for i, e := range got {
		name, most := "encoder "+kinds[i], time.Duration(15*(i+1))*time.Microsecond
		r.row(name+", without RSA", "", us(e.Encode), "", "≤ "+us(most), e.Encode <= most)
		r.row(name+", allocations", "", fmt.Sprintf("%.1f", e.Allocs), "", "≤ 5", e.Allocs <= 5)
		r.row(name+", signed by "+by, us(e.Bare), us(e.Signed), fmt.Sprintf("%.3f", e.Ratio), "≤ 1.03", e.Ratio <= 1.03)
	}
	return nil
}

func us(d time.Duration) string { return fmt.Sprintf("%.1f µs", float64(d)/float64(time.Microsecond)) }
