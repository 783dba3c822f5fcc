package keys

import (
	"cmp"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// Pairs keeps the applications' key pairs in the database, and those in use ready to sign in memory.
//
// A pair never changes but for its status, so what is cached by its id is never stale: which pair is current is read
// each time.
type Pairs struct {
	sealer  *Sealer
	now     func() time.Time
	signing *backend

	mu    sync.Mutex
	cache map[string]*ready
}

// ready is a pair that can sign without being parsed again.
type ready struct {
	pair Pair // Status is as it was when read; callers set it
	key  crypto.Signer

	mu      sync.Mutex
	signers map[crypto.Hash]*xmldsig.Signer
}

// maxReady bounds the cache; a pair takes about 10 KB.
const maxReady = 2000

// PairsOption changes how NewPairs works.
type PairsOption func(*Pairs)

// WithSigning says who makes the signatures; without it Go does. A choice that Check refuses is an error of all that
// needs a key.
func WithSigning(by Signing) PairsOption {
	return func(p *Pairs) { p.signing.choice = cmp.Or(by, SignAuto) }
}

// NewPairs returns the keeper of key pairs.
func NewPairs(sealer *Sealer, now func() time.Time, options ...PairsOption) *Pairs {
	p := &Pairs{sealer: sealer, now: now, cache: map[string]*ready{}, signing: newBackend()}
	for _, o := range options {
		o(p)
	}
	return p
}

const pairColumns = `id, application_id, status, certificate, not_before, not_after, created_at`

func scanPair(r store.Row) (Pair, error) {
	var p Pair
	var before, after, created int64
	if err := r.Scan(&p.ID, &p.ApplicationID, &p.Status, &p.PEM, &before, &after, &created); err != nil {
		return p, err
	}
	p.NotBefore, p.NotAfter, p.CreatedAt = store.FromMicros(before), store.FromMicros(after), store.FromMicros(created)
	var err error
	if p.Certificate, err = ParseCertificate(p.PEM); err != nil {
		return p, fmt.Errorf("keys: pair %s: stored certificate: %w", p.ID, err)
	}
	return p, nil
}

func keyPlace(id string) string { return "key_pairs/" + id + "/private_key" }

// Store adds a pair to an application. A pair that already has this status makes way: a next or previous one is
// removed, and storing a current one makes the present one previous.
func (p *Pairs) Store(tx *store.Tx, applicationID string, m Material, status Status) (Pair, error) {
	der, err := m.pkcs8()
	if err != nil {
		return Pair{}, err
	}
	id := store.NewID()
	sealed, err := p.sealer.Seal(der, keyPlace(id))
	if err != nil {
		return Pair{}, err
	}
	if status == Current {
		err = p.move(tx, applicationID, Current, Previous)
	} else {
		_, err = p.Remove(tx, applicationID, status)
	}
	if err != nil {
		return Pair{}, err
	}
	pair := Pair{
		ID: id, ApplicationID: applicationID, Status: status, Certificate: m.Certificate, PEM: m.PEM,
		NotBefore: m.Certificate.NotBefore, NotAfter: m.Certificate.NotAfter, CreatedAt: p.now().UTC().Truncate(time.Microsecond),
	}
	_, err = tx.Exec(`INSERT INTO key_pairs (`+pairColumns+`, private_key) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		pair.ID, applicationID, string(status), pair.PEM, store.Micros(pair.NotBefore), store.Micros(pair.NotAfter),
		store.Micros(pair.CreatedAt), sealed)
	if err != nil {
		return Pair{}, fmt.Errorf("keys: store the pair: %w", err)
	}
	return pair, nil
}

// Upload is ParseMaterial and Store.
func (p *Pairs) Upload(tx *store.Tx, applicationID, certPEM string, keyPEM Secret, status Status) (Pair, error) {
	m, err := ParseMaterial(certPEM, keyPEM, p.now())
	if err != nil {
		return Pair{}, err
	}
	return p.Store(tx, applicationID, m, status)
}

// Remove deletes the application's pair of that status and reports whether there was one. The current one can't be
// removed.
func (p *Pairs) Remove(tx *store.Tx, applicationID string, status Status) (bool, error) {
	if status == Current {
		return false, problem.New(problem.Conflict, "The certificate in use can't be removed. Switch to another one first.")
	}
	n, err := tx.Exec(`DELETE FROM key_pairs WHERE application_id = $1 AND status = $2`, applicationID, string(status))
	if err != nil {
		return false, fmt.Errorf("keys: remove the %s pair: %w", status, err)
	}
	return n > 0, nil
}

// move changes the status of the application's pair with status from; the pair that had status to is removed.
func (p *Pairs) move(tx *store.Tx, applicationID string, from, to Status) error {
	if to != Current { // there is none then: it has just moved
		if _, err := p.Remove(tx, applicationID, to); err != nil {
			return err
		}
	}
	_, err := tx.Exec(`UPDATE key_pairs SET status = $1 WHERE application_id = $2 AND status = $3`, string(to), applicationID, string(from))
	if err != nil {
		return fmt.Errorf("keys: make the %s pair %s: %w", from, to, err)
	}
	return nil
}

// List returns an application's pairs: current, next, previous, as far as there are any.
func (p *Pairs) List(tx *store.Tx, applicationID string) ([]Pair, error) {
	return store.All(tx, scanPair, `SELECT `+pairColumns+` FROM key_pairs WHERE application_id = $1
		ORDER BY CASE status WHEN 'current' THEN 0 WHEN 'next' THEN 1 ELSE 2 END`, applicationID)
}

// Expiring returns the current pairs, over all applications, whose certificates end before the given time, soonest
// first, at most limit.
func (p *Pairs) Expiring(tx *store.Tx, before time.Time, limit int) ([]Pair, error) {
	return store.All(tx, scanPair, `SELECT `+pairColumns+` FROM key_pairs WHERE status = 'current' AND not_after < $1
		ORDER BY not_after, id LIMIT $2`, store.Micros(before), limit)
}

// Switch puts the next pair to use: next becomes current, current becomes previous. The pair that was previous is
// removed. It returns the new current pair.
func (p *Pairs) Switch(tx *store.Tx, applicationID string) (Pair, error) {
	next, err := p.one(tx, applicationID, Next)
	if errors.Is(err, store.ErrNotFound) {
		return Pair{}, problem.New(problem.Conflict, "There is no next certificate to switch to. Prepare or upload one first.")
	}
	if err != nil {
		return Pair{}, err
	}
	if !p.now().Before(next.NotAfter) {
		return Pair{}, problem.New(problem.Conflict, "The next certificate ended on %s. Prepare a new one first.", next.NotAfter.Format("2 January 2006"))
	}
	if err := p.move(tx, applicationID, Current, Previous); err != nil {
		return Pair{}, err
	}
	if err := p.move(tx, applicationID, Next, Current); err != nil {
		return Pair{}, err
	}
	next.Status = Current
	return next, nil
}

// Back undoes a switch: previous becomes current, current becomes next. It refuses while another next pair is prepared,
// which would be lost. It returns the new current pair.
func (p *Pairs) Back(tx *store.Tx, applicationID string) (Pair, error) {
	previous, err := p.one(tx, applicationID, Previous)
	if errors.Is(err, store.ErrNotFound) {
		return Pair{}, problem.New(problem.Conflict, "There is no previous certificate to go back to.")
	}
	if err != nil {
		return Pair{}, err
	}
	if !p.now().Before(previous.NotAfter) {
		return Pair{}, problem.New(problem.Conflict, "The previous certificate ended on %s, so there is no way back to it.", previous.NotAfter.Format("2 January 2006"))
	}
	if _, err := p.one(tx, applicationID, Next); err == nil {
		return Pair{}, problem.New(problem.Conflict, "Another next certificate is prepared. Remove it before going back.")
	} else if !errors.Is(err, store.ErrNotFound) {
		return Pair{}, err
	}
	if err := p.move(tx, applicationID, Current, Next); err != nil {
		return Pair{}, err
	}
	if err := p.move(tx, applicationID, Previous, Current); err != nil {
		return Pair{}, err
	}
	previous.Status = Current
	return previous, nil
}

func (p *Pairs) one(tx *store.Tx, applicationID string, status Status) (Pair, error) {
	return store.One(tx, scanPair, `SELECT `+pairColumns+` FROM key_pairs WHERE application_id = $1 AND status = $2`+tx.ForUpdate(),
		applicationID, string(status))
}

// Current returns the application's current pair and its private key, ready to sign. One small query; the key is opened
// and parsed only the first time that this program uses it. NotFound if the application has no key.
func (p *Pairs) Current(tx *store.Tx, applicationID string) (Pair, crypto.Signer, error) {
	r, err := p.current(tx, applicationID)
	if err != nil {
		return Pair{}, nil, err
	}
	return r.pair, r.key, nil
}

// XMLSigner is Current as a signer of XML, with hash SHA-256 (also meant by 0), SHA-384 or SHA-512. SHA-1 is taken too:
// whether an application may use it is decided by its settings.
func (p *Pairs) XMLSigner(tx *store.Tx, applicationID string, hash crypto.Hash) (Pair, *xmldsig.Signer, error) {
	r, err := p.current(tx, applicationID)
	if err != nil {
		return Pair{}, nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.signers[hash]
	if !ok {
		if hash == crypto.SHA1 {
			s, err = xmldsig.NewSignerSHA1(r.key, r.pair.Certificate)
		} else {
			s, err = xmldsig.NewSigner(r.key, r.pair.Certificate, hash)
		}
		if err != nil {
			return Pair{}, nil, err
		}
		r.signers[hash] = s // only a handful of hashes get this far
	}
	return r.pair, s, nil
}

func (p *Pairs) current(tx *store.Tx, applicationID string) (*ready, error) {
	id, err := store.One(tx, store.Scalar[string], `SELECT id FROM key_pairs WHERE application_id = $1 AND status = 'current'`, applicationID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, problem.New(problem.NotFound, "This application has no signing certificate. Prepare one on its sign-on page.")
	}
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	r, ok := p.cache[id]
	p.mu.Unlock()
	if ok {
		return r, nil
	}
	if r, err = p.load(tx, id); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if known, ok := p.cache[id]; ok {
		return known, nil
	}
	if len(p.cache) >= maxReady {
		for other := range p.cache { // any one; it is loaded again when it is needed
			delete(p.cache, other)
			break
		}
	}
	p.cache[id] = r
	return r, nil
}

func (p *Pairs) load(tx *store.Tx, id string) (*ready, error) {
	pair, err := store.One(tx, scanPair, `SELECT `+pairColumns+` FROM key_pairs WHERE id = $1`, id)
	if err != nil {
		return nil, fmt.Errorf("keys: read pair %s: %w", id, err)
	}
	sealed, err := store.One(tx, store.Scalar[string], `SELECT private_key FROM key_pairs WHERE id = $1`, id)
	if err != nil {
		return nil, fmt.Errorf("keys: read pair %s: %w", id, err)
	}
	der, err := p.sealer.Open(sealed, keyPlace(id))
	if err != nil {
		return nil, fmt.Errorf("keys: private key of pair %s: %w", id, err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	clear(der)
	if err != nil {
		return nil, fmt.Errorf("keys: private key of pair %s: %w", id, err)
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("keys: private key of pair %s is of type %T", id, parsed)
	}
	signer, err := p.signing.signer(key)
	if err != nil {
		return nil, err
	}
	pair.Status = Current
	return &ready{pair: pair, key: signer, signers: map[crypto.Hash]*xmldsig.Signer{}}, nil
}
