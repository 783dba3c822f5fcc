package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/mail"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// Change is one setting's old and new value.
type Change = audit.Change

// Config is what Applications works with. All fields but Generate are needed.
type Config struct {
	DB      *store.DB
	Catalog *catalog.Catalog
	Pairs   *keys.Pairs
	Sealer  *keys.Sealer
	// PublicURL is how people and service providers reach us, e.g. "https://id.example.org", without a slash at the end.
	PublicURL string
	Now       func() time.Time
	// Generate makes signing pairs; nil means keys.GenerateMaterial, which takes a while.
	Generate func(commonName string, now time.Time, o keys.Options) (keys.Material, error)
	// Fetch reads metadata at a web address, guarding where it connects to; nil: none can be watched.
	Fetch func(context.Context, Request) (Answer, error)
	// Mailer takes the mail of reminders; nil: there are only events.
	Mailer *mail.Mailer
}

// Applications reads and writes applications. It is safe for concurrent use.
type Applications struct {
	db        *store.DB
	catalog   *catalog.Catalog
	pairs     *keys.Pairs
	sealer    *keys.Sealer
	publicURL string
	now       func() time.Time
	generate  func(commonName string, now time.Time, o keys.Options) (keys.Material, error)
	fetch     func(context.Context, Request) (Answer, error)
	mailer    *mail.Mailer
	whole     sync.Mutex // held while a signed document is
}

// New returns the applications that a database holds.
func New(c Config) *Applications {
	if c.Generate == nil {
		c.Generate = keys.GenerateMaterial
	}
	return &Applications{
		generate: c.Generate, fetch: c.Fetch, mailer: c.Mailer,
		db: c.DB, catalog: c.Catalog, pairs: c.Pairs, sealer: c.Sealer,
		publicURL: strings.TrimRight(c.PublicURL, "/"), now: c.Now,
	}
}

// SSOPath is the path below which every IdP URL is: SSOPath + slug.
const SSOPath = "/saml2/"

// URLs returns the addresses for an application's present slug.
func (a *Applications) URLs(app Application) URLs { return a.urls(app.Slug) }

func (a *Applications) urls(slug string) URLs {
	if slug == "" {
		return URLs{}
	}
	sso := a.publicURL + SSOPath + slug
	return URLs{SSO: sso, SLO: sso + sloPath, Metadata: sso + "/metadata", Certificate: sso + "/certificate.pem"}
}

// LogoutEndpoints returns every URL that takes logout messages for the application, the present one first.
func (a *Applications) LogoutEndpoints(app Application) []string {
	out := a.Endpoints(app)
	for i := range out {
		out[i] += sloPath
	}
	return out
}

// sloPath follows the IdP URL.
const sloPath = "/slo"

// Endpoints returns every sign-on URL that answers for the application, the present one first.
func (a *Applications) Endpoints(app Application) []string {
	if app.Slug == "" {
		return nil
	}
	out := make([]string, 0, 1+len(app.OldSlugs))
	out = append(out, a.urls(app.Slug).SSO)
	for _, s := range app.OldSlugs {
		out = append(out, a.urls(s).SSO)
	}
	return out
}

func errNoApplication() error {
	return problem.New(problem.NotFound, "There is no such application. It may have been deleted.")
}

func ref(app Application) audit.Ref {
	return audit.Ref{Kind: audit.KindApplication, ID: string(app.ID), Name: app.Label}
}

// event is an application's event, to be completed.
func event(by access.Actor, app Application, t audit.Type, message string) audit.Event {
	return audit.Event{Type: t, Actor: by, Object: ref(app), ApplicationID: string(app.ID), Message: message}
}

// Get returns an application. Needs ReadApplications.
func (a *Applications) Get(ctx context.Context, by access.Actor, id ID) (Application, error) {
	var app Application
	if err := access.Allow(by, access.ReadApplications); err != nil {
		return app, err
	}
	err := a.db.View(ctx, func(tx *store.Tx) (err error) {
		app, err = GetApplication(tx, id)
		return err
	})
	return app, err
}

// List returns a page of applications by label. Needs ReadApplications.
func (a *Applications) List(ctx context.Context, by access.Actor, q Query) (store.Page[Application], error) {
	var page store.Page[Application]
	if err := access.Allow(by, access.ReadApplications); err != nil {
		return page, err
	}
	cursor, err := store.DecodeCursor(q.Cursor, 1)
	if err != nil {
		return page, err
	}
	limit := store.PageLimit(q.Limit, 50)
	text := store.Fold(q.Text)
	err = a.db.View(ctx, func(tx *store.Tx) error {
		// There are hundreds of applications at most, so their names are searched here: no folded column is needed.
		names, err := listNames(tx)
		if err != nil {
			return err
		}
		var ids []ID
		var last string
		page = store.Page[Application]{}
		for _, n := range names {
			if text != "" && !strings.Contains(store.Fold(n.label+" "+n.description+" "+n.slug+" "+a.connectorWords(n.connector)), text) {
				continue
			}
			page.Total++
			switch {
			case cursor != nil && n.key <= cursor[0]:
			case len(ids) == limit:
				page.Next = store.EncodeCursor(last)
			default:
				ids, last = append(ids, n.id), n.key
			}
		}
		page.Items, err = getMany(tx, ids)
		return err
	})
	return page, err
}

func (a *Applications) connectorWords(key string) string {
	con, err := a.catalog.Get(key)
	if err != nil {
		return key
	}
	return con.Name + " " + strings.Join(con.Aliases, " ")
}

// Create adds an application, with its signing key pair if the connector has sign-on. It is bound to no group, so nobody
// reaches it yet. Needs ManageApplications.
func (a *Applications) Create(ctx context.Context, by access.Actor, n NewApplication) (Application, error) {
	var app Application
	if err := access.Allow(by, access.ManageApplications); err != nil {
		return app, err
	}
	con, err := a.catalog.Get(n.Connector)
	if err != nil {
		return app, problem.InvalidField("connector", "%s", problem.Public(err))
	}
	var f problem.Fields
	checkAttributes(&f, &n.Attributes, con)
	if len(n.Logo) > 0 {
		t, err := logoType(n.Logo)
		if err != nil {
			f.Add("logo", "%s", problem.Public(err))
		}
		n.LogoType = t
	} else {
		n.LogoType = ""
	}
	hasSAML, hasSCIM, _ := con.Has()
	n.Slug = strings.TrimSpace(n.Slug)
	if !hasSAML && n.Slug != "" {
		f.Add("slug", "%s has no sign-on, so it has no IdP URL.", con.Name)
	}
	if n.Slug != "" {
		checkSlug(&f, n.Slug)
	}
	if err := f.Err(); err != nil {
		return app, err
	}
	now := a.now().UTC()
	var material keys.Material
	if hasSAML {
		if material, err = a.generate(n.Label, now, keys.Options{}); err != nil {
			return app, err
		}
	}
	id := ID(store.NewID())
	err = a.db.Update(ctx, func(tx *store.Tx) error {
		if err := insertApplication(tx, id, n, now); err != nil {
			return err
		}
		slug := ""
		if hasSAML {
			if slug, err = a.claimSlug(tx, id, n.Slug, con, now); err != nil {
				return err
			}
			if err := saveSAML(tx, id, a.initialSAML(con, slug), now); err != nil {
				return err
			}
			if _, err := a.pairs.Store(tx, string(id), material, keys.Current); err != nil {
				return err
			}
		}
		if hasSCIM {
			if err := saveSCIM(tx, id, initialSCIM(), 0, now); err != nil {
				return err
			}
		}
		if app, err = GetApplication(tx, id); err != nil {
			return err
		}
		e := event(by, app, audit.ApplicationCreate, fmt.Sprintf("Application %s was created from %s.", app.Label, con.Name))
		e.Changes = audit.Diff(nil, app.Attributes)
		e.Detail = map[string]any{"connector": con.Key, "slug": slug}
		_, err := audit.Record(tx, now, e)
		return err
	})
	if err != nil {
		return Application{}, nameTaken(err, n.Label, n.Slug)
	}
	return app, nil
}

// initialSAML is what a connector's sign-on starts with. Our entity ID is stored and not derived, so that it stays what
// the service provider was told when slug or public URL change.
func (a *Applications) initialSAML(con *catalog.Connector, slug string) SAMLSettings {
	s := SAMLSettings{
		IDPEntityID:        a.urls(slug).Metadata,
		SignAssertion:      con.SAML.Sign != catalog.SignResponse,
		SignResponse:       con.SAML.Sign == catalog.SignResponse || con.SAML.Sign == catalog.SignBoth,
		SignatureAlgorithm: con.SAML.SignatureAlgorithm,
	}
	return s
}

func initialSCIM() SCIMSettings {
	return SCIMSettings{OnLeave: Deactivate, Guard: Guard{MaxCount: 50, MaxPercent: 20}}
}

// nameTaken gives a broken unique index its words.
func nameTaken(err error, label, slug string) error {
	switch store.Unique(err) {
	case "applications_label_key":
		p := problem.InvalidField("label", "Another application is called %q. Choose another label.", label)
		p.Kind, p.Err = problem.Conflict, err
		return p
	case "application_slugs_slug", "application_slugs_pkey":
		p := problem.InvalidField("slug", "Another application answers at %q. Choose another IdP URL.", slug)
		p.Kind, p.Err = problem.Conflict, err
		return p
	}
	return err
}

// claimSlug reserves a new application's slug. One that was asked for must be free; the connector's gets a number.
func (a *Applications) claimSlug(tx *store.Tx, id ID, asked string, con *catalog.Connector, now time.Time) (string, error) {
	if asked != "" {
		return asked, insertSlug(tx, id, asked, now)
	}
	base := con.Slug
	if base == "" {
		base = con.Key
	}
	taken, err := slugsLike(tx, base)
	if err != nil {
		return "", err
	}
	slug := base
	for n := 2; slices.Contains(taken, slug); n++ {
		slug = base + "-" + strconv.Itoa(n)
	}
	return slug, insertSlug(tx, id, slug, now)
}

var errStale = errors.New("app: changed meanwhile")

// edit changes an application. prepare gets it as it is, changes it, checks it (which may take a while, so it happens
// outside of the transaction), and returns how to write the change, or nil if there is none. If somebody else changes the
// application meanwhile, all begins anew; so prepare may run more than once.
func (a *Applications) edit(ctx context.Context, by access.Actor, id ID, ifVersion int64,
	prepare func(app *Application) (func(tx *store.Tx, now time.Time) error, error),
) (Application, error) {
	if err := access.Allow(by, access.ManageApplications); err != nil {
		return Application{}, err
	}
	const attempts = 8
	for range attempts {
		var app Application
		err := a.db.View(ctx, func(tx *store.Tx) (err error) {
			app, err = GetApplication(tx, id)
			return err
		})
		if err != nil {
			return Application{}, err
		}
		if ifVersion != 0 && app.Version != ifVersion {
			return Application{}, problem.New(problem.Conflict, "Somebody changed this application while you were editing it. Load it again and repeat your change.")
		}
		version := app.Version
		write, err := prepare(&app)
		if err != nil {
			return Application{}, err
		}
		if write == nil {
			return app, nil
		}
		err = a.db.Update(ctx, func(tx *store.Tx) error {
			now := a.now().UTC()
			if ok, err := touch(tx, id, version, now); err != nil {
				return err
			} else if !ok {
				return errStale
			}
			if err := write(tx, now); err != nil {
				return err
			}
			app, err = GetApplication(tx, id)
			return err
		})
		if !errors.Is(err, errStale) {
			if err != nil {
				return Application{}, err
			}
			return app, nil
		}
	}
	return Application{}, problem.New(problem.Conflict, "Others are changing this application right now. Try again in a moment.")
}

// Update changes label, description and the like. ifVersion is the version that the caller looked at, 0 for any; change
// may run more than once. Needs ManageApplications.
func (a *Applications) Update(ctx context.Context, by access.Actor, id ID, ifVersion int64, change func(*Attributes) error) (Application, error) {
	var label string
	app, err := a.edit(ctx, by, id, ifVersion, func(app *Application) (func(*store.Tx, time.Time) error, error) {
		before := app.Attributes
		if err := change(&app.Attributes); err != nil {
			return nil, err
		}
		con, err := a.catalog.Get(app.Connector)
		if err != nil {
			return nil, err
		}
		var f problem.Fields
		checkAttributes(&f, &app.Attributes, con)
		if err := f.Err(); err != nil {
			return nil, err
		}
		if app.Attributes == before {
			return nil, nil
		}
		after := *app
		label = after.Label
		return func(tx *store.Tx, now time.Time) error {
			if err := updateAttributes(tx, id, after.Attributes); err != nil {
				return err
			}
			e := event(by, after, audit.ApplicationUpdate, fmt.Sprintf("Application %s was changed.", before.Label))
			e.Changes = audit.Diff(before, after.Attributes)
			_, err := audit.Record(tx, now, e)
			return err
		}, nil
	})
	return app, nameTaken(err, label, "")
}

// SetLogo replaces the picture; an empty one removes it. It must be PNG, JPEG, WebP or GIF of at most MaxLogo bytes. SVG
// is refused because it can carry scripts. Needs ManageApplications.
func (a *Applications) SetLogo(ctx context.Context, by access.Actor, id ID, picture []byte) (Application, error) {
	t := ""
	if len(picture) > 0 {
		var err error
		if t, err = logoType(picture); err != nil {
			return Application{}, err
		}
	}
	return a.edit(ctx, by, id, 0, func(app *Application) (func(*store.Tx, time.Time) error, error) {
		if !app.HasLogo && t == "" {
			return nil, nil
		}
		before := app.HasLogo
		after := *app
		return func(tx *store.Tx, now time.Time) error {
			if err := updateLogo(tx, id, t, picture); err != nil {
				return err
			}
			e := event(by, after, audit.ApplicationUpdate, fmt.Sprintf("The logo of %s was changed.", after.Label))
			word := map[bool]any{true: "a picture", false: nil}
			e.Changes = []audit.Change{{Attribute: "logo", Old: word[before], New: word[t != ""]}}
			_, err := audit.Record(tx, now, e)
			return err
		}, nil
	})
}

// Logo returns the picture and its media type. NotFound if there is none. It needs no permission: people see it on their
// tile.
func (a *Applications) Logo(ctx context.Context, id ID) (mediaType string, picture []byte, err error) {
	err = a.db.View(ctx, func(tx *store.Tx) error {
		mediaType, picture, err = readLogo(tx, id)
		return err
	})
	if err != nil {
		return "", nil, err
	}
	return mediaType, bytes.Clone(picture), nil
}

// ChangeSlug gives the application another IdP URL. The old one keeps answering until DropSlug; our entity ID stays as it
// is. One of its own old slugs can be taken back. Needs ManageApplications.
func (a *Applications) ChangeSlug(ctx context.Context, by access.Actor, id ID, slug string) (Application, error) {
	slug = strings.TrimSpace(slug)
	app, err := a.edit(ctx, by, id, 0, func(app *Application) (func(*store.Tx, time.Time) error, error) {
		if !app.SAML.Offered {
			return nil, problem.InvalidField("slug", "This application has no sign-on, so it has no IdP URL.")
		}
		var f problem.Fields
		checkSlug(&f, slug)
		if err := f.Err(); err != nil {
			return nil, err
		}
		if app.Slug == slug {
			return nil, nil
		}
		before := *app
		return func(tx *store.Tx, now time.Time) error {
			if err := retireSlug(tx, id); err != nil {
				return err
			}
			if slices.Contains(before.OldSlugs, slug) {
				if err := reviveSlug(tx, id, slug); err != nil {
					return err
				}
			} else if err := insertSlug(tx, id, slug, now); err != nil {
				return err
			}
			e := event(by, before, audit.ApplicationUpdate, fmt.Sprintf("The IdP URL of %s was changed. The old one still answers.", before.Label))
			e.Changes = []audit.Change{{Attribute: "slug", Old: before.Slug, New: slug}}
			_, err := audit.Record(tx, now, e)
			return err
		}, nil
	})
	return app, nameTaken(err, "", slug)
}

// DropSlug ends an old IdP URL. Needs ManageApplications.
func (a *Applications) DropSlug(ctx context.Context, by access.Actor, id ID, oldSlug string) (Application, error) {
	return a.edit(ctx, by, id, 0, func(app *Application) (func(*store.Tx, time.Time) error, error) {
		switch {
		case oldSlug == app.Slug:
			return nil, problem.InvalidField("slug", "This is the present IdP URL. Change it first; the old one can then be dropped.")
		case !slices.Contains(app.OldSlugs, oldSlug):
			return nil, problem.New(problem.NotFound, "This application has no old IdP URL %q.", oldSlug)
		}
		after := *app
		return func(tx *store.Tx, now time.Time) error {
			if err := deleteSlug(tx, id, oldSlug); err != nil {
				return err
			}
			e := event(by, after, audit.ApplicationUpdate, fmt.Sprintf("The old IdP URL %s of %s was dropped.", oldSlug, after.Label))
			e.Changes = []audit.Change{{Attribute: "oldSlugs", Old: oldSlug, New: nil}}
			_, err := audit.Record(tx, now, e)
			return err
		}, nil
	})
}

// Delete removes an application with its settings, keys and bindings. Remote accounts stay as they are, so provisioning
// must have been deactivated before. typedLabel is what the administrator typed to confirm: the label. Needs
// ManageApplications.
func (a *Applications) Delete(ctx context.Context, by access.Actor, id ID, typedLabel string) error {
	if err := access.Allow(by, access.ManageApplications); err != nil {
		return err
	}
	return a.db.Update(ctx, func(tx *store.Tx) error {
		app, err := getForUpdate(tx, id)
		if err != nil {
			return err
		}
		if store.Key(typedLabel) != store.Key(app.Label) {
			return problem.InvalidField("label", "Type the application's label, %s, to delete it.", app.Label)
		}
		if app.SCIM.Status == Active || app.SCIM.Status == Paused {
			return problem.New(problem.Conflict, "Provisioning of %s is %s. Deactivate it first: remote accounts stay as they are, and what is still waiting is cancelled. If people should be deactivated there, unbind the groups and let that finish before.", app.Label, app.SCIM.Status)
		}
		groups, err := boundGroups(tx, id)
		if err != nil {
			return err
		}
		names := make([]string, len(groups))
		for i, g := range groups {
			names[i] = g.Name
		}
		if err := deleteApplication(tx, id); err != nil {
			return err
		}
		now := a.now().UTC()
		e := event(by, app, audit.ApplicationDelete, fmt.Sprintf("Application %s was deleted. Accounts there stay as they are.", app.Label))
		e.Changes = audit.Diff(app.Attributes, nil)
		e.Detail = map[string]any{"connector": app.Connector, "groups": names}
		eid, err := audit.Record(tx, now, e)
		if err != nil {
			return err
		}
		return audit.Changed(tx, now, audit.KindApplication, string(id), eid)
	})
}

// Limits of text.
const (
	maxLabel       = 100
	maxDescription = 256
	maxSlug        = 63
)

// checkAttributes checks and tidies.
func checkAttributes(f *problem.Fields, at *Attributes, con *catalog.Connector) {
	at.Label = strings.Join(strings.Fields(at.Label), " ")
	at.Description = strings.TrimSpace(at.Description)
	at.Colour = strings.ToLower(strings.TrimSpace(at.Colour))
	at.BookmarkURL = strings.TrimSpace(at.BookmarkURL)
	switch {
	case at.Label == "":
		f.Add("label", "Give the application a label: people see it on their tile.")
	case utf8.RuneCountInString(at.Label) > maxLabel:
		f.Add("label", "The label may have at most %d characters.", maxLabel)
	case !plainText(at.Label):
		f.Add("label", "The label holds characters that can't be shown.")
	}
	if utf8.RuneCountInString(at.Description) > maxDescription {
		f.Add("description", "The description may have at most %d characters.", maxDescription)
	} else if !plainText(strings.ReplaceAll(strings.ReplaceAll(at.Description, "\n", " "), "\r", " ")) {
		f.Add("description", "The description holds characters that can't be shown.")
	}
	if at.Colour == "" {
		at.Colour = strings.ToLower(con.Colour)
	}
	if at.Colour != "" && !isColour(at.Colour) {
		f.Add("colour", "Give the colour as # and six hexadecimal digits, for example #1868db.")
	}
	if at.BookmarkURL != "" {
		if err := checkLink(at.BookmarkURL); err != nil {
			f.Add("bookmarkUrl", "%s", problem.Public(err))
		}
	} else if hasSAML, hasSCIM, bookmark := con.Has(); bookmark && !hasSAML && !hasSCIM {
		f.Add("bookmarkUrl", "Enter the address that the tile opens.")
	}
}

// plainText reports whether s is valid text without control characters or the marks that turn its direction around.
func plainText(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == utf8.RuneError {
			return false
		}
	}
	return true
}

func isColour(s string) bool {
	if len(s) != 7 || s[0] != '#' {
		return false
	}
	for _, c := range s[1:] {
		if !strings.ContainsRune("0123456789abcdef", c) {
			return false
		}
	}
	return true
}

// reservedSlugs are paths below SSOPath that mean something else.
var reservedSlugs = []string{"resume", "metadata", "launch", "logout"}

func checkSlug(f *problem.Fields, slug string) {
	ok := slug != "" && len(slug) <= maxSlug && slug[0] != '-' && slug[len(slug)-1] != '-'
	for _, c := range slug {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			ok = false
		}
	}
	switch {
	case !ok:
		f.Add("slug", "The IdP URL's last part is made of a to z, 0 to 9 and -, with at most %d characters, and neither begins nor ends with -.", maxSlug)
	case slices.Contains(reservedSlugs, slug):
		f.Add("slug", "%q is used by Latchkey itself. Choose another IdP URL.", slug)
	}
}
