package app

import (
	"context"
	"fmt"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// Certificates returns the application's signing pairs: current, next, previous, as far as there are any. Needs
// ReadApplications.
func (a *Applications) Certificates(ctx context.Context, by access.Actor, id ID) ([]keys.Pair, error) {
	if err := access.Allow(by, access.ReadApplications); err != nil {
		return nil, err
	}
	var out []keys.Pair
	err := a.db.View(ctx, func(tx *store.Tx) error {
		if _, err := GetApplication(tx, id); err != nil {
			return err
		}
		var err error
		out, err = a.pairs.List(tx, string(id))
		return err
	})
	return out, err
}

// PrepareCertificate makes the next pair, in place of one that was prepared before. It is published in the metadata
// beside the current one, which goes on signing until SwitchCertificate. Wrong options are Invalid. Needs
// ManageApplications.
func (a *Applications) PrepareCertificate(ctx context.Context, by access.Actor, id ID, o keys.Options) (keys.Pair, error) {
	if err := access.Allow(by, access.ManageApplications); err != nil {
		return keys.Pair{}, err
	}
	if err := o.Check(); err != nil {
		return keys.Pair{}, err
	}
	app, err := a.Get(ctx, by, id)
	if err != nil {
		return keys.Pair{}, err
	}
	if !app.SAML.Offered { // before a key is made in vain
		return keys.Pair{}, errNoSAML(app)
	}
	material, err := a.generate(app.Label, a.now(), o)
	if err != nil {
		return keys.Pair{}, err
	}
	return a.storeNext(ctx, by, id, material, "A next certificate of %s was prepared.")
}

// UploadCertificate makes an administrator's own pair the next one. Certificate and key must belong together, be RSA of
// at least 2048 bits, and be valid. Needs ManageApplications.
func (a *Applications) UploadCertificate(ctx context.Context, by access.Actor, id ID, up CertificateUpload) (keys.Pair, error) {
	if err := access.Allow(by, access.ManageApplications); err != nil {
		return keys.Pair{}, err
	}
	material, err := keys.ParseMaterial(up.Certificate, up.PrivateKey, a.now())
	if err != nil {
		return keys.Pair{}, err
	}
	return a.storeNext(ctx, by, id, material, "An own certificate for %s was uploaded as the next one.")
}

func (a *Applications) storeNext(ctx context.Context, by access.Actor, id ID, m keys.Material, message string) (keys.Pair, error) {
	var pair keys.Pair
	err := a.changePairs(ctx, by, id, func(tx *store.Tx, app Application) (string, error) {
		var err error
		pair, err = a.pairs.Store(tx, string(id), m, keys.Next)
		return fmt.Sprintf(message, app.Label), err
	})
	return pair, err
}

// SwitchCertificate puts the next pair to use at once; the one so far becomes the previous. Needs ManageApplications.
func (a *Applications) SwitchCertificate(ctx context.Context, by access.Actor, id ID) (keys.Pair, error) {
	var pair keys.Pair
	err := a.changePairs(ctx, by, id, func(tx *store.Tx, app Application) (string, error) {
		var err error
		pair, err = a.pairs.Switch(tx, string(id))
		return fmt.Sprintf("Sign-on to %s was switched to the next certificate.", app.Label), err
	})
	return pair, err
}

// BackCertificate undoes SwitchCertificate. Needs ManageApplications.
func (a *Applications) BackCertificate(ctx context.Context, by access.Actor, id ID) (keys.Pair, error) {
	var pair keys.Pair
	err := a.changePairs(ctx, by, id, func(tx *store.Tx, app Application) (string, error) {
		var err error
		pair, err = a.pairs.Back(tx, string(id))
		return fmt.Sprintf("Sign-on to %s was switched back to the previous certificate.", app.Label), err
	})
	return pair, err
}

// RemoveCertificate drops the next or previous pair. Needs ManageApplications.
func (a *Applications) RemoveCertificate(ctx context.Context, by access.Actor, id ID, status keys.Status) error {
	return a.changePairs(ctx, by, id, func(tx *store.Tx, app Application) (string, error) {
		had, err := a.pairs.Remove(tx, string(id), status)
		if err == nil && !had {
			err = problem.New(problem.NotFound, "There is no %s certificate.", status)
		}
		return fmt.Sprintf("The %s certificate of %s was removed.", status, app.Label), err
	})
}

// changePairs runs change and records what it did to the pairs, by fingerprint.
func (a *Applications) changePairs(ctx context.Context, by access.Actor, id ID, change func(*store.Tx, Application) (message string, err error)) error {
	if err := access.Allow(by, access.ManageApplications); err != nil {
		return err
	}
	return a.db.Update(ctx, func(tx *store.Tx) error {
		app, err := getForUpdate(tx, id)
		if err != nil {
			return err
		}
		if !app.SAML.Offered {
			return problem.New(problem.Invalid, "%s has no sign-on, so it needs no certificate.", app.Label)
		}
		before, err := a.pairs.List(tx, string(id))
		if err != nil {
			return err
		}
		message, err := change(tx, app)
		if err != nil {
			return err
		}
		after, err := a.pairs.List(tx, string(id))
		if err != nil {
			return err
		}
		now := a.now().UTC()
		if ok, err := touch(tx, id, app.Version, now); err != nil || !ok {
			return orStale(err)
		}
		e := event(by, app, audit.CertificateChange, message)
		e.Changes = prefixed("certificate.", audit.Diff(prints(before), prints(after)))
		_, err = audit.Record(tx, now, e)
		return err
	})
}

func orStale(err error) error {
	if err == nil {
		return errStale
	}
	return err
}

// prints names pairs by fingerprint and end, by status.
func prints(pairs []keys.Pair) map[keys.Status]string {
	out := map[keys.Status]string{}
	for _, p := range pairs {
		out[p.Status] = p.Fingerprint() + " until " + p.NotAfter.UTC().Format(time.DateOnly)
	}
	return out
}
