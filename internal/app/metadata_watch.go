package app

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// MetadataWatch says where a service provider's metadata is watched.
type MetadataWatch struct {
	// URL is an https address; http only where outbound requests to the host behind it are allowed.
	URL string
	// EntityID chooses one of several in the document; "" means the application's SP entity ID, or the only one there is.
	EntityID string
	// SigningCertificate (PEM) is whose signature the document must carry, usually a federation's. "" takes it unsigned.
	SigningCertificate string
}

// MetadataSource is how it stands with a watched address.
type MetadataSource struct {
	MetadataWatch
	// CheckedAt is when it was last asked for, ChangedAt when what it says of the service provider last changed, NextAt
	// when it will be asked for again.
	CheckedAt, ChangedAt, NextAt time.Time
	// ValidUntil is the end that the document gives itself; zero if none.
	ValidUntil time.Time
	// Error says in words why the last check failed; "" if it didn't. What was known before stays in use.
	Error string
	// Proposal is a change that waits for a person; nil if nothing does.
	Proposal *MetadataProposal
}

// MetadataProposal is what taking a document's values would change.
type MetadataProposal struct {
	// Hash names exactly these changes; ApproveMetadata and DismissMetadata refuse another one.
	Hash    string
	FoundAt time.Time
	Changes []Change
	// Notes are sentences about what would be left out or should be looked at.
	Notes []string
}

// Request is one request for a document at a web address.
type Request struct {
	URL string
	// ETag and LastModified are those of the copy that we have; "" if none.
	ETag, LastModified string
}

// Answer is what came. An error that Fetch returns instead has a public text.
type Answer struct {
	// Unchanged tells that the copy that we have is still good; there is no body then.
	Unchanged          bool
	ETag, LastModified string
	// Body is read until its end or the limit, and closed.
	Body io.ReadCloser
}

// WatchMetadata begins to watch a service provider's metadata at an address, or watches it elsewhere. The document is
// fetched at once: an application without values of the service provider takes them, for any other they are a proposal.
// An address where there is nothing to watch is refused. Needs ManageApplications.
func (a *Applications) WatchMetadata(ctx context.Context, by access.Actor, id ID, w MetadataWatch) (MetadataSource, error) {
	app, err := a.withSAML(ctx, by, id)
	if err != nil {
		return MetadataSource{}, err
	}
	if err := w.check(); err != nil {
		return MetadataSource{}, err
	}
	if a.fetch == nil {
		return MetadataSource{}, problem.New(problem.Unavailable, "This installation fetches nothing from other addresses.")
	}
	if w.EntityID == "" {
		w.EntityID = app.SAML.SPEntityID
	}
	seen := a.look(ctx, source{MetadataWatch: w})
	if seen.err != nil {
		field := "url"
		if f := problem.FieldsOf(seen.err); len(f) > 0 && f[0].Name == "entityId" {
			field = "entityId"
		}
		p := problem.InvalidField(field, "%s", problem.Public(seen.err))
		p.Err = seen.err
		return MetadataSource{}, p
	}
	w.EntityID = seen.offer.EntityID // from now on only this one
	begin := func(tx *store.Tx, now time.Time, taken bool) error {
		old, err := getSource(tx, id)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		src := source{application: id, MetadataWatch: w, created: now}
		if old.MetadataWatch != w {
			e := event(by, app, audit.ApplicationUpdate, fmt.Sprintf("The metadata of %s is watched at %s.", app.Label, w.URL))
			e.Changes = diffWatch(old.MetadataWatch, w)
			if _, err := audit.Record(tx, now, e); err != nil {
				return err
			}
		} else { // what was agreed to or turned down stays so
			src = old
		}
		if err := putSource(tx, src); err != nil {
			return err
		}
		if taken {
			src.agree(*seen.offer)
		}
		return a.note(tx, now, by, src, seen)
	}
	if app.SAML.SPEntityID == "" && len(app.SAML.ACS) == 0 {
		_, err = a.takeOffer(ctx, by, id, *seen.offer, samlEdit{
			message: fmt.Sprintf("Sign-on settings of %s were taken from the service provider's metadata.", app.Label),
			detail:  map[string]any{"source": "SP metadata", "url": w.URL},
			also:    func(tx *store.Tx, now time.Time) error { return begin(tx, now, true) },
		}, func(s SAMLSettings) error {
			if s.SPEntityID != "" || len(s.ACS) > 0 {
				return errMeanwhile()
			}
			return nil
		})
	} else {
		err = a.db.Update(ctx, func(tx *store.Tx) error {
			if _, err := getForUpdate(tx, id); err != nil {
				return err
			}
			return begin(tx, a.now().UTC(), false)
		})
	}
	if err != nil {
		return MetadataSource{}, err
	}
	out, _, err := a.MetadataSource(ctx, by, id)
	return out, err
}

func errMeanwhile() error {
	return problem.New(problem.Conflict, "The metadata or the settings have changed meanwhile. Look at the changes again.")
}

// check checks and tidies.
func (w *MetadataWatch) check() error {
	var f problem.Fields
	w.URL, w.SigningCertificate = strings.TrimSpace(w.URL), strings.TrimSpace(w.SigningCertificate)
	if _, err := parseURL(w.URL, "metadata URL"); err != nil {
		f.Add("url", "%s", problem.Public(err))
	} else if strings.Contains(w.URL, "#") {
		f.Add("url", "The metadata URL must not have a part behind #.")
	}
	checkEntityID(&f, "entityId", &w.EntityID)
	if w.SigningCertificate != "" {
		cert, err := keys.ParseCertificate(w.SigningCertificate)
		if err == nil {
			if e := xmldsig.CheckKey(cert.PublicKey); e != nil {
				err = problem.New(problem.Invalid, "Signatures can't be checked with this certificate: %s.", e)
			}
		}
		if err != nil {
			f.Add("signingCertificate", "%s", problem.Public(err))
		} else {
			w.SigningCertificate = certificateText(cert)
		}
	}
	return f.Err()
}

func diffWatch(before, after MetadataWatch) []Change {
	type watch struct {
		URL      string `json:"metadata.url"`
		EntityID string `json:"metadata.entityId"`
		Signer   string `json:"metadata.signingCertificate"`
	}
	named := func(w MetadataWatch) watch { return watch{w.URL, w.EntityID, certificateName(w.SigningCertificate)} }
	return audit.Diff(named(before), named(after))
}

// sighting is what came of asking for a document.
type sighting struct {
	// offer is nil if the document is as it was, or err says what is wrong with it.
	offer              *offer
	etag, lastModified string
	cache              time.Duration
	err                error
}

// look asks for a document and reads it. It writes nothing.
func (a *Applications) look(ctx context.Context, src source) sighting {
	ans, err := a.fetch(ctx, Request{URL: src.URL, ETag: src.etag, LastModified: src.lastModified})
	if err != nil {
		return sighting{err: err}
	}
	if ans.Unchanged {
		if src.found == nil {
			return sighting{err: problem.New(problem.Unavailable, "The address answers that nothing has changed, but it has never given anything.")}
		}
		return sighting{}
	}
	md, err := a.readDocument(ans.Body, src.MetadataWatch)
	err = errors.Join(err, ans.Body.Close())
	if err != nil {
		return sighting{err: err}
	}
	o, err := newOffer(md, a.now())
	if err != nil {
		return sighting{err: err}
	}
	return sighting{offer: &o, etag: short(ans.ETag), lastModified: short(ans.LastModified), cache: md.CacheDuration}
}

// short drops a validator that nobody would send back.
func short(v string) string {
	if len(v) > 1024 || !plainText(v) {
		return ""
	}
	return v
}

// maxWatched is the largest document that is read at an address, in bytes: research federations' have 100 MB.
const maxWatched = 128 << 20

// readDocument reads no more than maxWatched, and with a signer only what that one signed.
func (a *Applications) readDocument(body io.Reader, w MetadataWatch) (saml.SPMetadata, error) {
	limited := &limitedReader{r: body, left: maxWatched}
	r := io.Reader(limited)
	if w.SigningCertificate != "" {
		// A signature covers the whole, so the whole is held: one at a time. Without, it is read piece by piece.
		a.whole.Lock()
		defer a.whole.Unlock()
		data, err := io.ReadAll(limited)
		if err != nil {
			return saml.SPMetadata{}, unreadable(limited, err)
		}
		cert, err := keys.ParseCertificate(w.SigningCertificate)
		if err != nil {
			return saml.SPMetadata{}, err
		}
		signed, err := saml.VerifyMetadata(data, []crypto.PublicKey{cert.PublicKey})
		if err != nil {
			return saml.SPMetadata{}, badMetadata(err)
		}
		r = bytes.NewReader(signed)
	}
	md, err := saml.ReadSPMetadata(r, w.EntityID, a.now())
	if err != nil {
		return md, unreadable(limited, err)
	}
	return md, nil
}

// unreadable tells a body that broke off or was too long from a document that is wrong.
func unreadable(body *limitedReader, err error) error {
	switch {
	case errors.Is(body.err, errTooLarge):
		return problem.New(problem.Invalid, "The document at this address is larger than %d MB.", maxWatched>>20)
	case body.err != nil:
		return problem.Wrap(problem.Unavailable, body.err, "The answer broke off before its end.")
	}
	return badMetadata(err)
}

// limitedReader remembers how reading failed, since a parser makes its own words of it.
type limitedReader struct {
	r    io.Reader
	left int64
	err  error
}

var errTooLarge = errors.New("app: the document is too large")

func (l *limitedReader) Read(p []byte) (int, error) {
	if l.err != nil {
		return 0, l.err
	}
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		l.err = errTooLarge
		return 0, l.err
	}
	if err != nil && !errors.Is(err, io.EOF) {
		l.err = err
	}
	return n, err
}

// agree marks an offer as what is in use.
func (src *source) agree(o offer) {
	src.known, src.settled = &o, o.fingerprint()
}

// waiting returns the proposal that waits for a person; false if nothing does.
func (src *source) waiting(s SAMLSettings) (MetadataProposal, bool) {
	if src.found == nil || src.found.fingerprint() == src.settled {
		return MetadataProposal{}, false
	}
	p := src.found.proposal(s, src.known, src.changed)
	return p, len(p.Changes) > 0
}

// note stores a sighting in the source, and records what there is to tell. Nothing of it is put to use.
func (a *Applications) note(tx *store.Tx, now time.Time, by access.Actor, src source, seen sighting) error {
	app, err := GetApplication(tx, src.application)
	if err != nil {
		return err
	}
	record := func(e audit.Event) error {
		e.Detail = map[string]any{"url": src.URL, "entityId": src.EntityID}
		_, err := audit.Record(tx, now, e)
		return err
	}
	src.checked = now
	if seen.err == nil && seen.offer == nil && !src.validUntil.IsZero() && !src.validUntil.After(now) {
		seen.err = problem.New(problem.Invalid, "The metadata was valid until %s only, and the address gives nothing newer.", src.validUntil.Format("2 January 2006"))
	}
	if seen.err != nil {
		failed := src.failure != ""
		src.failure, src.next = problem.Public(seen.err), nextCheck(now, 0, time.Time{}, true)
		if !failed {
			e := event(by, app, audit.MetadataChange, fmt.Sprintf("The metadata of %s can't be taken from its address: %s", app.Label, src.failure))
			e.Outcome = audit.Failure
			if err := record(e); err != nil {
				return err
			}
		}
		return putSource(tx, src)
	}
	if src.failure != "" {
		src.failure = ""
		if err := record(event(by, app, audit.MetadataChange, fmt.Sprintf("The metadata of %s can be taken from its address again.", app.Label))); err != nil {
			return err
		}
	}
	if seen.offer == nil {
		src.next = nextCheck(now, src.cache, src.validUntil, false)
		return putSource(tx, src)
	}
	o := *seen.offer
	print := o.fingerprint()
	fresh := src.found == nil || src.found.fingerprint() != print
	src.found, src.validUntil, src.etag, src.lastModified, src.cache = &o, o.ValidUntil, seen.etag, seen.lastModified, seen.cache
	src.next = nextCheck(now, src.cache, src.validUntil, false)
	if fresh {
		src.changed = now
	}
	switch changes := o.compare(app.SAML.SAMLSettings, src.known); {
	case len(changes) == 0:
		src.agree(o)
	case fresh && print != src.settled:
		e := event(by, app, audit.MetadataChange, fmt.Sprintf("The metadata of %s has changed. Nothing is taken over before somebody agrees.", app.Label))
		e.Changes = prefixed("saml.", changes)
		if err := record(e); err != nil {
			return err
		}
	}
	return putSource(tx, src)
}

// Bounds of the time between two checks, and the time if the document says nothing.
const (
	minCheck     = time.Hour
	maxCheck     = 24 * time.Hour
	defaultCheck = 6 * time.Hour
)

// nextCheck returns when a document is asked for again. What the document says of its end and of caching counts within
// bounds; the checks of many documents are spread.
func nextCheck(now time.Time, cache time.Duration, end time.Time, failed bool) time.Time {
	d := defaultCheck
	switch {
	case failed:
		d = minCheck
	case cache > 0:
		d = cache
	}
	if !end.IsZero() {
		d = min(d, end.Sub(now)/2) // before its end, with time for another try
	}
	d = min(max(d, minCheck), maxCheck)
	d = d*9/10 + rand.N(d/5)
	return now.Add(min(max(d, minCheck), maxCheck))
}

// MetadataSource returns the address that is watched for an application; false if there is none. Needs
// ReadApplications.
func (a *Applications) MetadataSource(ctx context.Context, by access.Actor, id ID) (MetadataSource, bool, error) {
	if err := access.Allow(by, access.ReadApplications); err != nil {
		return MetadataSource{}, false, err
	}
	var out MetadataSource
	err := a.db.View(ctx, func(tx *store.Tx) error {
		app, err := GetApplication(tx, id)
		if err != nil {
			return err
		}
		src, err := getSource(tx, id)
		if err != nil {
			return err
		}
		out = MetadataSource{
			MetadataWatch: src.MetadataWatch, CheckedAt: src.checked, ChangedAt: src.changed, NextAt: src.next,
			ValidUntil: src.validUntil, Error: src.failure,
		}
		if p, ok := src.waiting(app.SAML.SAMLSettings); ok {
			out.Proposal = &p
		}
		return nil
	})
	if errors.Is(err, store.ErrNotFound) {
		return MetadataSource{}, false, nil
	}
	return out, err == nil, err
}

// sourceOf returns what is watched for an application. NotFound if nothing is.
func (a *Applications) sourceOf(ctx context.Context, id ID) (src source, err error) {
	err = a.db.View(ctx, func(tx *store.Tx) error {
		if _, err := GetApplication(tx, id); err != nil {
			return err
		}
		src, err = getSource(tx, id)
		return noSource(err)
	})
	return src, err
}

func noSource(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return problem.New(problem.NotFound, "No metadata is watched for this application.")
	}
	return err
}

// CheckMetadataNow fetches the document without waiting for its time. What goes wrong stands in the source's Error.
// Needs ManageApplications.
func (a *Applications) CheckMetadataNow(ctx context.Context, by access.Actor, id ID) (MetadataSource, error) {
	if err := access.Allow(by, access.ManageApplications); err != nil {
		return MetadataSource{}, err
	}
	src, err := a.sourceOf(ctx, id)
	if err != nil {
		return MetadataSource{}, err
	}
	if err := a.checkSource(ctx, by, src); err != nil {
		return MetadataSource{}, err
	}
	out, ok, err := a.MetadataSource(ctx, by, id)
	if err == nil && !ok {
		err = noSource(store.ErrNotFound)
	}
	return out, err
}

// checkSource looks at a source's document and notes what it found, unless the source has become another one meanwhile.
func (a *Applications) checkSource(ctx context.Context, by access.Actor, src source) error {
	if a.fetch == nil {
		return problem.New(problem.Unavailable, "This installation fetches nothing from other addresses.")
	}
	seen := a.look(ctx, src)
	if err := ctx.Err(); err != nil {
		return err // the end of the program is no error of the address
	}
	return a.db.Update(ctx, func(tx *store.Tx) error {
		if _, err := getForUpdate(tx, src.application); problem.Is(err, problem.NotFound) {
			return nil // deleted, and the source with it
		} else if err != nil {
			return err
		}
		now, err := getSource(tx, src.application)
		if errors.Is(err, store.ErrNotFound) || err == nil && now.MetadataWatch != src.MetadataWatch {
			return nil
		}
		if err != nil {
			return err
		}
		return a.note(tx, a.now().UTC(), by, now, seen)
	})
}

// ApproveMetadata takes the proposal with that hash. Conflict if the document or the settings have changed meanwhile.
// Needs ManageApplications.
func (a *Applications) ApproveMetadata(ctx context.Context, by access.Actor, id ID, hash string) (MetadataImport, error) {
	if err := access.Allow(by, access.ManageApplications); err != nil {
		return MetadataImport{}, err
	}
	src, err := a.sourceOf(ctx, id)
	if err != nil {
		return MetadataImport{}, err
	}
	app, err := a.Get(ctx, by, id)
	if err != nil {
		return MetadataImport{}, err
	}
	p, ok := src.waiting(app.SAML.SAMLSettings)
	if err := matches(p, ok, hash); err != nil {
		return MetadataImport{}, err
	}
	out, err := a.takeOffer(ctx, by, id, *src.found, samlEdit{
		message: fmt.Sprintf("The change in the metadata of %s was agreed to.", app.Label),
		detail:  map[string]any{"source": "SP metadata", "url": src.URL},
		also: func(tx *store.Tx, now time.Time) error {
			row, err := getSource(tx, id)
			if err != nil {
				return noSource(err)
			}
			if row.found == nil || row.found.fingerprint() != src.found.fingerprint() {
				return errMeanwhile()
			}
			row.agree(*row.found)
			if err := putSource(tx, row); err != nil {
				return err
			}
			return a.toldOnly(tx, now, by, app, p)
		},
	}, func(s SAMLSettings) error {
		p, ok := src.waiting(s)
		return matches(p, ok, hash)
	})
	if err != nil {
		return MetadataImport{}, err
	}
	out.Changes = p.Changes
	return out, nil
}

// toldOnly records the agreement to changes of which no setting follows.
func (a *Applications) toldOnly(tx *store.Tx, now time.Time, by access.Actor, app Application, p MetadataProposal) error {
	for _, c := range p.Changes {
		if !strings.HasPrefix(c.Attribute, "metadata.") {
			return nil // the change of settings is told
		}
	}
	e := event(by, app, audit.MetadataChange, fmt.Sprintf("The change in the metadata of %s was agreed to. No setting differs.", app.Label))
	e.Changes = prefixed("saml.", append([]Change{}, p.Changes...))
	_, err := audit.Record(tx, now, e)
	return err
}

func matches(p MetadataProposal, waits bool, hash string) error {
	switch {
	case !waits:
		return problem.New(problem.Conflict, "No change of the metadata waits to be agreed to.")
	case p.Hash != hash:
		return errMeanwhile()
	}
	return nil
}

// changeSource runs change with the application and its watched address, both held until the transaction ends.
func (a *Applications) changeSource(ctx context.Context, by access.Actor, id ID, change func(*store.Tx, Application, source) error) error {
	if err := access.Allow(by, access.ManageApplications); err != nil {
		return err
	}
	return a.db.Update(ctx, func(tx *store.Tx) error {
		app, err := getForUpdate(tx, id)
		if err != nil {
			return err
		}
		src, err := getSource(tx, id)
		if err != nil {
			return noSource(err)
		}
		return change(tx, app, src)
	})
}

// DismissMetadata turns the proposal with that hash down: it isn't made again unless the document changes again. Needs
// ManageApplications.
func (a *Applications) DismissMetadata(ctx context.Context, by access.Actor, id ID, hash string) error {
	return a.changeSource(ctx, by, id, func(tx *store.Tx, app Application, src source) error {
		p, ok := src.waiting(app.SAML.SAMLSettings)
		if err := matches(p, ok, hash); err != nil {
			return err
		}
		src.settled = src.found.fingerprint()
		if err := putSource(tx, src); err != nil {
			return err
		}
		e := event(by, app, audit.MetadataChange, fmt.Sprintf("The change in the metadata of %s was turned down.", app.Label))
		e.Outcome = audit.Denied
		e.Changes = prefixed("saml.", p.Changes)
		e.Detail = map[string]any{"url": src.URL}
		_, err := audit.Record(tx, a.now().UTC(), e)
		return err
	})
}

// UnwatchMetadata ends watching; the settings stay as they are. Needs ManageApplications.
func (a *Applications) UnwatchMetadata(ctx context.Context, by access.Actor, id ID) error {
	return a.changeSource(ctx, by, id, func(tx *store.Tx, app Application, src source) error {
		if err := deleteSource(tx, id); err != nil {
			return err
		}
		e := event(by, app, audit.ApplicationUpdate, fmt.Sprintf("The metadata of %s is no longer watched.", app.Label))
		e.Changes = diffWatch(src.MetadataWatch, MetadataWatch{})
		_, err := audit.Record(tx, a.now().UTC(), e)
		return err
	})
}

// How many sources one claim takes, how many documents are fetched at once, and how long a claim holds: a replica that
// dies leaves its sources to the others after that.
const (
	claimSources = 8
	fetchAtOnce  = 4
	claimTime    = 15 * time.Minute
)

// RunMetadata checks the sources that are due. Replicas that run it together share them.
func (a *Applications) RunMetadata(ctx context.Context) error {
	if a.fetch == nil {
		return nil
	}
	by := access.SystemActor(store.NewID())
	for {
		var due []source
		if err := a.db.Claim(ctx, func(tx *store.Tx) (err error) {
			now := a.now().UTC()
			due, err = claimDue(tx, now, now.Add(claimTime), claimSources)
			return err
		}); err != nil {
			return fmt.Errorf("app: metadata that is due: %w", err)
		}
		if len(due) == 0 {
			return nil
		}
		work := make(chan source)
		errs := make([]error, fetchAtOnce)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				for src := range work {
					if err := a.checkSource(ctx, by, src); err != nil {
						errs[i] = errors.Join(errs[i], fmt.Errorf("app: metadata of %s: %w", src.application, err))
					}
				}
			})
		}
		for _, src := range due {
			work <- src
		}
		close(work)
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
}
