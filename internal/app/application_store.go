package app

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/store"
)

// columns are an application with everything but its logo. An integration that the connector doesn't offer has no row.
const columns = `a.id, a.connector, a.label, a.description, a.colour, a.logo_type, a.portal_visible, a.bookmark_url,
	a.version, a.created_at, a.updated_at,
	COALESCE((SELECT s.slug FROM application_slugs s WHERE s.application_id = a.id AND s.current), ''),
	COALESCE((SELECT string_agg(s.slug, ' ') FROM application_slugs s WHERE s.application_id = a.id AND NOT s.current), ''),
	(SELECT count(*) FROM bindings b WHERE b.application_id = a.id),
	COALESCE(m.state, ''), COALESCE(m.idp_entity_id, ''), COALESCE(m.sp_entity_id, ''), COALESCE(m.settings, ''), COALESCE(m.activated_at, 0),
	COALESCE(p.state, ''), COALESCE(p.state_reason, ''), COALESCE(p.state_since, 0), COALESCE(p.base_url, ''),
	COALESCE(p.token, '') <> '', COALESCE(p.token_expires_at, 0), COALESCE(p.manage_groups, FALSE), COALESCE(p.settings, ''), COALESCE(p.generation, 0)`

const tables = ` FROM applications a
	LEFT JOIN saml_integrations m ON m.application_id = a.id
	LEFT JOIN scim_integrations p ON p.application_id = a.id`

const selectApplication = `SELECT ` + columns + tables

func scanApplication(r store.Row) (Application, error) {
	var app Application
	var logo, oldSlugs, samlSettings, scimSettings string
	var created, updated, activated, since, tokenExpires int64
	err := r.Scan(&app.ID, &app.Connector, &app.Label, &app.Description, &app.Colour, &logo, &app.PortalVisible, &app.BookmarkURL,
		&app.Version, &created, &updated, &app.Slug, &oldSlugs, &app.Groups,
		&app.SAML.Status, &app.SAML.IDPEntityID, &app.SAML.SPEntityID, &samlSettings, &activated,
		&app.SCIM.Status, &app.SCIM.Reason, &since, &app.SCIM.BaseURL,
		&app.SCIM.TokenSet, &tokenExpires, &app.SCIM.ManageGroups, &scimSettings, &app.SCIM.Generation)
	if err != nil {
		return app, err
	}
	app.HasLogo = logo != ""
	app.OldSlugs = strings.Fields(oldSlugs)
	slices.Sort(app.OldSlugs)
	app.CreatedAt, app.UpdatedAt = store.FromMicros(created), store.FromMicros(updated)
	if samlSettings != "" {
		app.SAML.Offered = true
		if err := unpack(samlSettings, &app.SAML.SAMLSettings, app.SAML.IDPEntityID, app.SAML.SPEntityID); err != nil {
			return app, fmt.Errorf("app: sign-on settings of %s: %w", app.ID, err)
		}
		app.SAML.ActivatedAt = store.FromMicros(activated)
	}
	if scimSettings != "" {
		app.SCIM.Offered = true
		base, groups := app.SCIM.BaseURL, app.SCIM.ManageGroups
		if err := json.Unmarshal([]byte(scimSettings), &app.SCIM.SCIMSettings); err != nil {
			return app, fmt.Errorf("app: provisioning settings of %s: %w", app.ID, err)
		}
		app.SCIM.BaseURL, app.SCIM.ManageGroups, app.SCIM.TokenExpiresAt = base, groups, store.FromMicros(tokenExpires)
		app.SCIM.Since = store.FromMicros(since)
		app.SCIM.SCIMSettings = cloneSCIM(app.SCIM.SCIMSettings) // lists that older settings lack are empty ones
	}
	app.derive()
	return app, nil
}

func unpack(text string, s *SAMLSettings, idp, sp string) error {
	err := json.Unmarshal([]byte(text), s)
	s.IDPEntityID, s.SPEntityID = idp, sp // their columns are the truth
	return err
}

// derive works out what is missing and the statuses that follow from it.
func (app *Application) derive() {
	app.SAML.Missing = app.SAML.missing()
	switch {
	case !app.SAML.Offered:
		app.SAML.Status, app.SAML.Missing = Off, nil
	case len(app.SAML.Missing) > 0 && (app.SAML.Status != Off || app.SAML.begun()):
		app.SAML.Status = Incomplete
	}
	app.SCIM.Missing = app.SCIM.missing()
	switch {
	case !app.SCIM.Offered:
		app.SCIM.Status, app.SCIM.Missing = Off, nil
	case len(app.SCIM.Missing) > 0 && (app.SCIM.Status != Off || app.SCIM.begun()):
		app.SCIM.Status = Incomplete
	}
}

// GetApplication returns an application. NotFound if there is none.
func GetApplication(tx *store.Tx, id ID) (Application, error) {
	app, err := store.One(tx, scanApplication, selectApplication+` WHERE a.id = $1`, string(id))
	return app, notFound(err)
}

func notFound(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return errNoApplication()
	}
	return err
}

// getForUpdate is GetApplication in a transaction that goes on to write.
func getForUpdate(tx *store.Tx, id ID) (Application, error) {
	if _, err := store.One(tx, store.Scalar[string], `SELECT id FROM applications WHERE id = $1`+tx.ForUpdate(), string(id)); err != nil {
		return Application{}, notFound(err)
	}
	return GetApplication(tx, id)
}

// BySlug returns the application that answers at /saml2/<slug>. current is false if that is an old slug of it. NotFound
// if nothing answers there.
func BySlug(tx *store.Tx, slug string) (app Application, current bool, err error) {
	app, err = store.One(tx, scanApplication, selectApplication+
		` WHERE a.id = (SELECT q.application_id FROM application_slugs q WHERE q.slug = $1)`, slug)
	return app, app.Slug == slug, notFound(err)
}

// ActiveSCIM returns the applications whose provisioning is active, by label.
func ActiveSCIM(tx *store.Tx) ([]Application, error) {
	return listApplications(tx, ` WHERE p.state = 'active'`)
}

type appName struct {
	id                                       ID
	key, label, description, connector, slug string
}

func listNames(tx *store.Tx) ([]appName, error) {
	names, err := store.All(tx, func(r store.Row) (appName, error) {
		var n appName
		err := r.Scan(&n.id, &n.key, &n.label, &n.description, &n.connector, &n.slug)
		return n, err
	}, `SELECT a.id, a.label_key, a.label, a.description, a.connector, COALESCE(s.slug, '')
		FROM applications a LEFT JOIN application_slugs s ON s.application_id = a.id AND s.current`)
	slices.SortFunc(names, func(x, y appName) int { return strings.Compare(x.key, y.key) })
	return names, err
}

// sortByLabel sorts byte by byte: what the engines make of ORDER BY depends on their locale.
func sortByLabel(apps []Application) {
	slices.SortFunc(apps, func(x, y Application) int {
		return cmp.Or(strings.Compare(store.Key(x.Label), store.Key(y.Label)), strings.Compare(string(x.ID), string(y.ID)))
	})
}

// listApplications returns the applications that a query finds, by label.
func listApplications(tx *store.Tx, where string, args ...any) ([]Application, error) {
	apps, err := store.All(tx, scanApplication, selectApplication+where, args...)
	sortByLabel(apps)
	return apps, err
}

// getMany returns applications in the order of ids.
func getMany(tx *store.Tx, ids []ID) ([]Application, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	args := make([]any, len(ids))
	at := make(map[ID]int, len(ids))
	for i, id := range ids {
		args[i], at[id] = string(id), i
	}
	apps, err := store.All(tx, scanApplication, selectApplication+` WHERE a.id IN (`+store.Placeholders(1, len(ids))+`)`, args...)
	slices.SortFunc(apps, func(x, y Application) int { return at[x.ID] - at[y.ID] })
	return apps, err
}

func insertApplication(tx *store.Tx, id ID, n NewApplication, now time.Time) error {
	logo := n.Logo
	if logo == nil {
		logo = []byte{}
	}
	_, err := tx.Exec(`INSERT INTO applications (id, connector, label, label_key, description, colour, logo_type, logo, portal_visible, bookmark_url, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)`,
		string(id), n.Connector, n.Label, store.Key(n.Label), n.Description, n.Colour, n.LogoType, logo, n.PortalVisible, n.BookmarkURL, store.Micros(now))
	return err
}

// touch raises the version if it is still the given one.
func touch(tx *store.Tx, id ID, version int64, now time.Time) (bool, error) {
	n, err := tx.Exec(`UPDATE applications SET version = version + 1, updated_at = $1 WHERE id = $2 AND version = $3`,
		store.Micros(now), string(id), version)
	return n == 1, err
}

func updateAttributes(tx *store.Tx, id ID, at Attributes) error {
	_, err := tx.Exec(`UPDATE applications SET label = $1, label_key = $2, description = $3, colour = $4, portal_visible = $5, bookmark_url = $6 WHERE id = $7`,
		at.Label, store.Key(at.Label), at.Description, at.Colour, at.PortalVisible, at.BookmarkURL, string(id))
	return err
}

func updateLogo(tx *store.Tx, id ID, mediaType string, picture []byte) error {
	if picture == nil {
		picture = []byte{}
	}
	_, err := tx.Exec(`UPDATE applications SET logo_type = $1, logo = $2 WHERE id = $3`, mediaType, picture, string(id))
	return err
}

func readLogo(tx *store.Tx, id ID) (mediaType string, picture []byte, err error) {
	_, err = store.One(tx, func(r store.Row) (struct{}, error) {
		return struct{}{}, r.Scan(&mediaType, &picture)
	}, `SELECT logo_type, logo FROM applications WHERE id = $1 AND logo_type <> ''`, string(id))
	return mediaType, picture, notFound(err)
}

func deleteApplication(tx *store.Tx, id ID) error {
	_, err := tx.Exec(`DELETE FROM applications WHERE id = $1`, string(id))
	return err
}

func slugsLike(tx *store.Tx, base string) ([]string, error) {
	return store.All(tx, store.Scalar[string], `SELECT slug FROM application_slugs WHERE slug = $1 OR slug LIKE $2`, base, base+"-%")
}

func insertSlug(tx *store.Tx, id ID, slug string, now time.Time) error {
	_, err := tx.Exec(`INSERT INTO application_slugs (slug, application_id, current, created_at) VALUES ($1, $2, TRUE, $3)`,
		slug, string(id), store.Micros(now))
	return err
}

func retireSlug(tx *store.Tx, id ID) error {
	_, err := tx.Exec(`UPDATE application_slugs SET current = FALSE WHERE application_id = $1`, string(id))
	return err
}

func reviveSlug(tx *store.Tx, id ID, slug string) error {
	_, err := tx.Exec(`UPDATE application_slugs SET current = TRUE WHERE application_id = $1 AND slug = $2`, string(id), slug)
	return err
}

func deleteSlug(tx *store.Tx, id ID, slug string) error {
	_, err := tx.Exec(`DELETE FROM application_slugs WHERE application_id = $1 AND slug = $2 AND NOT current`, string(id), slug)
	return err
}

// saveSAML stores sign-on settings; a new row is off.
func saveSAML(tx *store.Tx, id ID, s SAMLSettings, now time.Time) error {
	idp, sp := s.IDPEntityID, s.SPEntityID
	s.IDPEntityID, s.SPEntityID = "", "" // they have columns of their own
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO saml_integrations (application_id, state, idp_entity_id, sp_entity_id, settings, updated_at)
		VALUES ($1, 'off', $2, $3, $4, $5)
		ON CONFLICT (application_id) DO UPDATE SET idp_entity_id = excluded.idp_entity_id, sp_entity_id = excluded.sp_entity_id,
			settings = excluded.settings, updated_at = excluded.updated_at`,
		string(id), idp, sp, string(text), store.Micros(now))
	return err
}

func setSAMLState(tx *store.Tx, id ID, st Status, now time.Time) error {
	activated := int64(0)
	if st == Active {
		activated = store.Micros(now)
	}
	_, err := tx.Exec(`UPDATE saml_integrations SET state = $1, activated_at = $2, updated_at = $3 WHERE application_id = $4`,
		string(st), activated, store.Micros(now), string(id))
	return err
}

// saveSCIM stores provisioning settings, not the token; a new row is off. raise is added to the generation.
func saveSCIM(tx *store.Tx, id ID, s SCIMSettings, raise int64, now time.Time) error {
	base, groups, expires := s.BaseURL, s.ManageGroups, s.TokenExpiresAt
	s.BaseURL, s.ManageGroups, s.TokenExpiresAt = "", false, time.Time{} // they have columns of their own
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO scim_integrations (application_id, state, base_url, token_expires_at, manage_groups, settings, updated_at)
		VALUES ($1, 'off', $2, $3, $4, $5, $6)
		ON CONFLICT (application_id) DO UPDATE SET base_url = excluded.base_url, token_expires_at = excluded.token_expires_at,
			manage_groups = excluded.manage_groups, settings = excluded.settings, updated_at = excluded.updated_at,
			generation = scim_integrations.generation + $7`,
		string(id), base, store.Micros(expires), groups, string(text), store.Micros(now), raise)
	return err
}

func setSCIMState(tx *store.Tx, id ID, st Status, reason string, now time.Time) error {
	// Whoever activates or resumes agrees to what waits by then.
	_, err := tx.Exec(`UPDATE scim_integrations SET state = $1, state_reason = $2, state_since = $3, updated_at = $3,
			approved_at = CASE WHEN $1 = 'active' THEN $3 ELSE approved_at END WHERE application_id = $4`,
		string(st), reason, store.Micros(now), string(id))
	return err
}

func setToken(tx *store.Tx, id ID, sealed string, expires, now time.Time) error {
	_, err := tx.Exec(`UPDATE scim_integrations SET token = $1, token_expires_at = $2, updated_at = $3 WHERE application_id = $4`,
		sealed, store.Micros(expires), store.Micros(now), string(id))
	return err
}

func readToken(tx *store.Tx, id ID) (string, error) {
	return store.One(tx, store.Scalar[string], `SELECT token FROM scim_integrations WHERE application_id = $1`, string(id))
}

func raiseGeneration(tx *store.Tx, id ID) error {
	_, err := tx.Exec(`UPDATE scim_integrations SET generation = generation + 1 WHERE application_id = $1`, string(id))
	return err
}

// VersionBySlug is BySlug for whoever keeps applications by their version: it reads only that. Bindings and the status of
// provisioning don't raise the version; all that sign-on rests on does.
func VersionBySlug(tx *store.Tx, slug string) (ID, int64, error) {
	return version(tx, `SELECT a.id, a.version FROM application_slugs s JOIN applications a ON a.id = s.application_id WHERE s.slug = $1`, slug)
}

// VersionOf is VersionBySlug for an id.
func VersionOf(tx *store.Tx, id ID) (int64, error) {
	_, v, err := version(tx, `SELECT id, version FROM applications WHERE id = $1`, string(id))
	return v, err
}

func version(tx *store.Tx, query, arg string) (ID, int64, error) {
	type row struct {
		id      ID
		version int64
	}
	x, err := store.One(tx, func(r store.Row) (x row, err error) {
		err = r.Scan(&x.id, &x.version)
		return x, err
	}, query, arg)
	return x.id, x.version, notFound(err)
}
