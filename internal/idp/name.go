package idp

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// names are those by which an application may know a person, beside the one that its mapping makes.
type names struct {
	// pairwise is the stored persistent one; "" if none was made yet or it was not looked for.
	pairwise string
	// sent are those that the application was told in this session; only read if it asks for somebody.
	sent []string
}

// format is the NameID format of the answer.
func (v *visit) format(x *prepared) string {
	if v.Decision != nil {
		return v.Decision.NameIDFormat
	}
	return x.sp.NameIDFormats[0]
}

// asksFor returns the person that the service provider wants the answer to be about, if it named one.
func (v *visit) asksFor() (saml.NameID, bool) {
	if v.Decision == nil || !v.Decision.Request.HasSubject {
		return saml.NameID{}, false
	}
	return v.Decision.Request.Subject, true
}

// readNames reads the names that a visit needs, which are none for most.
func readNames(tx *store.Tx, st *state, v *visit) (n names, err error) {
	asked, asks := v.asksFor()
	if !st.ownNames && (v.format(st.prepared) == saml.NameIDPersistent || asks && asked.Format == saml.NameIDPersistent) {
		if n.pairwise, err = pairwise(tx, st.app.ID, st.session.User.ID); err != nil {
			return n, err
		}
	}
	if asks {
		n.sent, err = store.All(tx, store.Scalar[string],
			`SELECT name_id FROM saml_sessions WHERE session_id = $1 AND application_id = $2`, st.session.ID, string(st.app.ID))
	}
	return n, err
}

// pairwise returns a person's persistent name at an application, "" if there is none yet.
func pairwise(tx *store.Tx, id app.ID, user directory.UserID) (string, error) {
	value, err := store.One(tx, store.Scalar[string], `SELECT value FROM name_ids WHERE application_id = $1 AND user_id = $2`, string(id), string(user))
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	return value, err
}

// makePairwise gives a person their persistent name at an application: random, so that no two applications can find out
// from it that they know the same person (saml-core §8.3.7). Of several at once the first one's counts for all.
func (p *IDP) makePairwise(tx *store.Tx, id app.ID, user directory.UserID) (string, error) {
	if _, err := tx.Exec(`INSERT INTO name_ids (application_id, user_id, value, created_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (application_id, user_id) DO NOTHING`, string(id), string(user), rand.Text(), store.Micros(p.now())); err != nil {
		return "", err
	}
	return pairwise(tx, id, user)
}

// errNoName says that the person has no persistent name yet and the service provider allows none to be made.
var errNoName = errors.New("idp: no persistent name yet")

// name makes the NameID of an answer from the mapping's.
func (p *IDP) name(tx *store.Tx, st *state, v *visit, mapped saml.NameID, known names) (saml.NameID, error) {
	id := saml.NameID{Value: mapped.Value, Format: v.format(st.prepared)}
	switch id.Format {
	case saml.NameIDTransient: // saml-core §8.3.8
		id.Value = saml.NewID()
	case saml.NameIDPersistent: // saml-core §8.3.7
		id.NameQualifier, id.SPNameQualifier = st.app.SAML.IDPEntityID, st.app.SAML.SPEntityID
		if st.ownNames {
			break
		}
		if known.pairwise == "" {
			if d := v.Decision; d != nil && !d.MayCreate {
				return id, errNoName
			}
			var err error
			if known.pairwise, err = p.makePairwise(tx, st.app.ID, st.session.User.ID); err != nil {
				return id, err
			}
		}
		id.Value = known.pairwise
	}
	return id, nil
}

// isAsked reports whether a person is the one that the service provider asks for: by the name that the mapping makes, by
// the persistent one, or by one that it was told in this session. Addresses are compared without case.
func (n *names) isAsked(asked, mapped saml.NameID) bool {
	if asked.Value == "" {
		return false
	}
	if asked.Value == n.pairwise {
		return true
	}
	if slices.Contains(n.sent, asked.Value) {
		return true
	}
	if asked.Format == saml.NameIDPersistent && mapped.Format != saml.NameIDPersistent || asked.Format == saml.NameIDTransient {
		return false
	}
	if asked.Format == saml.NameIDEmailAddress || mapped.Format == saml.NameIDEmailAddress || strings.Contains(mapped.Value, "@") {
		return strings.EqualFold(asked.Value, mapped.Value)
	}
	return asked.Value == mapped.Value
}

// errReplayed says that a request was answered before.
var errReplayed = errors.New("idp: the request was answered before")

// claimMessage makes sure, in the transaction that acts upon a message, that nobody does so again. Whoever is second gets
// errReplayed.
func claimMessage(tx *store.Tx, id app.ID, message string, until time.Time) error {
	n, err := tx.Exec(`INSERT INTO saml_requests (application_id, request_id, expires_at) VALUES ($1, $2, $3)
		ON CONFLICT (application_id, request_id) DO NOTHING`, string(id), message, store.Micros(until))
	if err == nil && n == 0 {
		err = errReplayed
	}
	return err
}

// answered reports whether a message was acted upon.
func answered(tx *store.Tx, id app.ID, message string) (bool, error) {
	_, err := store.One(tx, store.Scalar[int], `SELECT 1 FROM saml_requests WHERE application_id = $1 AND request_id = $2`, string(id), message)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// remembered is until when a message that is acted upon now has to be known: until it is too old to be accepted, and no
// flow that holds it is left.
func (p *IDP) remembered(now time.Time) time.Time {
	return now.Add(saml.DefaultMaxAge + 2*saml.DefaultSkew + p.limits.FlowLife)
}

// Prune forgets messages that are too old to be accepted again. Run it every few minutes.
func (p *IDP) Prune(ctx context.Context) error {
	return p.db.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM saml_requests WHERE expires_at < $1`, store.Micros(p.now()))
		return err
	})
}
