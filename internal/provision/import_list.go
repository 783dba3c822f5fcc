package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/work"
)

// list is the handler of laneImport. After each page it notes where to go on, so that a run that
// ends in the middle repeats at most one.
func (e *Engine) list(ctx context.Context, l work.Lease) error {
	type position struct{ id, app, state, next string }
	at, err := viewOne(ctx, e.DB, func(r store.Row) (p position, err error) {
		err = r.Scan(&p.id, &p.app, &p.state, &p.next)
		return p, err
	}, `SELECT id, application_id, state, next FROM imports WHERE id = $1`, l.Key)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	end := func(state, reason string) error {
		return e.DB.Update(ctx, func(tx *store.Tx) error {
			if _, err := tx.Exec(`UPDATE imports SET state = $1, reason = $2, next = '', updated_at = $3 WHERE id = $4`,
				state, reason, store.Micros(e.Now()), at.id); err != nil {
				return err
			}
			return l.Done(tx)
		})
	}
	if at.state != "listing" {
		return e.DB.Update(ctx, l.Done)
	}
	t, err := e.target(ctx, app.ID(at.app))
	if problem.Is(err, problem.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if t.client == nil {
		return end("failed", "Base URL or token is missing.")
	}
	known, err := e.readHints(ctx)
	if err != nil {
		return err
	}
	cursors := t.connector.SCIM.Page.Cursor
	o := scim.ListOptions{StartIndex: 1}
	if cursors {
		o.Cursor = at.next
	} else if n, err := strconv.Atoi(at.next); err == nil {
		o.StartIndex = n
	}
	for page, err := range t.client.List(ctx, scim.User, o) {
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			return e.unlistedImport(ctx, l, t, at.id, err, end)
		}
		t.good(e.Now())
		next := page.NextCursor
		if !cursors {
			o.StartIndex += len(page.Resources)
			next = strconv.Itoa(o.StartIndex)
		}
		if err := e.DB.Update(ctx, func(tx *store.Tx) error {
			for part := range slices.Chunk(page.Resources, importChunk) {
				if err := classify(tx, t, at.id, part, known); err != nil {
					return err
				}
			}
			_, err := tx.Exec(`UPDATE imports SET next = $1, reason = '', updated_at = $2 WHERE id = $3`, next, store.Micros(e.Now()), at.id)
			return err
		}); err != nil {
			return err
		}
		if err := e.wait(ctx, t); err != nil {
			return err
		}
	}
	return end("listed", "")
}

// unlistedImport decides what becomes of a list that couldn't be read: what passes is waited for,
// and told meanwhile.
func (e *Engine) unlistedImport(ctx context.Context, l work.Lease, t *target, id string, cause error, end func(state, reason string) error) error {
	const patience = 8
	call, ok := errors.AsType[*scim.CallError](cause)
	if !ok || call.Class != scim.Throttled && (call.Class != scim.Temporary || l.Attempts >= patience) {
		return end("failed", explain(cause))
	}
	d := t.bad(e.Now(), call.RetryAfter)
	reason := fmt.Sprintf("%s doesn't answer as it should (%s); trying again.", t.app.Label, strings.TrimSpace(call.Detail()))
	if call.Class == scim.Throttled {
		reason = t.app.Label + " asks for fewer requests; going on in a moment."
	}
	if err := e.DB.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE imports SET reason = $1 WHERE id = $2`, reason, id)
		return err
	}); err != nil {
		return err
	}
	if call.Class == scim.Throttled {
		return work.Hold(d, reason)
	}
	return work.RetryAfter(d, reason)
}

// importChunk is how many accounts are classified by one statement of each kind.
const importChunk = 100

// hints lead from what people may have in common with an account to the people: small, since it
// holds everybody in memory while a list is read. What it finds is read before it is believed.
type hints struct {
	seed maphash.Seed
	ids  map[uint64]uuid.UUID
}

// The kinds of hint.
const (
	hintName      = 'n'
	hintLocal     = 'l'
	hintAlternate = 'a'
)

func (h *hints) key(kind byte, s string) uint64 {
	return maphash.String(h.seed, string(kind)+s)
}

func (h *hints) add(kind byte, s string, id uuid.UUID) {
	if s == "" {
		return
	}
	if k := h.key(kind, s); h.ids[k] == uuid.Nil {
		h.ids[k] = id
	}
}

func (h *hints) find(kind byte, s string) directory.UserID {
	if id := h.ids[h.key(kind, s)]; s != "" && id != uuid.Nil {
		return directory.UserID(id.String())
	}
	return ""
}

// localPart is a user name or address before the @, as it is compared.
func localPart(s string) string {
	s, _, _ = strings.Cut(store.Key(s), "@")
	if len(s) < 3 {
		return "" // initials say nothing
	}
	return s
}

// fullName is a name as it is compared; one word alone says nothing.
func fullName(s string) string {
	s = store.Fold(s)
	if !strings.Contains(s, " ") {
		return ""
	}
	return s
}

// readHints reads the whole directory, page by page.
func (e *Engine) readHints(ctx context.Context) (*hints, error) {
	h := &hints{seed: maphash.MakeSeed(), ids: map[uint64]uuid.UUID{}}
	type known struct{ id, username, email, name, profile string }
	after := ""
	for {
		var page []known
		if err := e.DB.View(ctx, func(tx *store.Tx) (err error) {
			page, err = store.All(tx, func(r store.Row) (k known, err error) {
				err = r.Scan(&k.id, &k.username, &k.email, &k.name, &k.profile)
				return k, err
			}, `SELECT id, username, email, display_name, CASE WHEN profile LIKE '%"alternateEmail"%' THEN profile ELSE '' END
				FROM users WHERE id > $1 ORDER BY id LIMIT 2000`, after)
			return err
		}); err != nil {
			return nil, err
		}
		if len(page) == 0 {
			return h, nil
		}
		for _, k := range page {
			after = k.id
			id, err := uuid.Parse(k.id)
			if err != nil {
				continue
			}
			h.add(hintLocal, localPart(k.email), id)
			h.add(hintLocal, localPart(k.username), id)
			h.add(hintName, fullName(k.name), id)
			if k.profile != "" {
				var p directory.Profile
				if err := json.Unmarshal([]byte(k.profile), &p); err == nil {
					h.add(hintAlternate, store.Key(p.AlternateEmail), id)
				}
			}
		}
	}
}

// found is an account with what has to be known to say what it means.
type found struct {
	res       scim.Resource
	row       ImportRow
	addresses []string // all, lower case
}

func foundAccount(res scim.Resource) found {
	f := found{res: res, row: ImportRow{
		RemoteID: res.ID(), Username: res.UserName(), Email: strings.ToLower(res.Text(`emails[primary eq true].value`)),
		DisplayName: res.DisplayName(), Status: ImportNew,
	}}
	if f.row.Email == "" {
		f.row.Email = strings.ToLower(res.Text(`emails[type eq "work"].value`))
	}
	if f.row.DisplayName == "" {
		f.row.DisplayName = strings.TrimSpace(res.Text("name.givenName") + " " + res.Text("name.familyName"))
	}
	if f.row.Email != "" {
		f.addresses = append(f.addresses, f.row.Email)
	}
	list, _ := valueAt(res, "emails").([]any)
	for _, x := range list {
		if m, ok := x.(map[string]any); ok {
			if v, ok := m["value"].(string); ok && v != "" && !slices.Contains(f.addresses, strings.ToLower(v)) && len(f.addresses) < 10 {
				f.addresses = append(f.addresses, strings.ToLower(v))
			}
		}
	}
	return f
}

// neighbours are the people and links that a chunk of accounts may have to do with.
type neighbours struct {
	links  map[string]directory.UserID // by remote id
	people map[directory.UserID]directory.User
	mail   map[string]directory.UserID
	name   map[string]directory.UserID
	gone   map[string]bool // ids that were people here once
}

// in runs a query over a set of strings, in one statement.
func in[T any](tx *store.Tx, scan func(store.Row) (T, error), query string, before []any, set map[string]bool) ([]T, error) {
	delete(set, "")
	if len(set) == 0 {
		return nil, nil
	}
	args := slices.Clone(before)
	for s := range set {
		args = append(args, s)
	}
	return store.All(tx, scan, strings.Replace(query, "(?)", "("+store.Placeholders(len(before)+1, len(set))+")", 1), args...)
}

func readNeighbours(tx *store.Tx, t *target, accounts []found, h *hints) (n neighbours, err error) {
	n = neighbours{links: map[string]directory.UserID{}, mail: map[string]directory.UserID{}, name: map[string]directory.UserID{}, gone: map[string]bool{}}
	remote, external, mail, names, ids := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, f := range accounts {
		remote[f.row.RemoteID] = true
		names[store.Key(f.row.Username)] = true
		if uuid.Validate(f.res.ExternalID()) == nil {
			external[f.res.ExternalID()], ids[f.res.ExternalID()] = true, true
		}
		for _, a := range f.addresses {
			mail[a] = true
			ids[string(h.find(hintAlternate, a))], ids[string(h.find(hintLocal, localPart(a)))] = true, true
		}
		ids[string(h.find(hintLocal, localPart(f.row.Username)))], ids[string(h.find(hintName, fullName(f.row.DisplayName)))] = true, true
	}
	type pair struct{ key, id string }
	scan := func(r store.Row) (p pair, err error) {
		err = r.Scan(&p.key, &p.id)
		return p, err
	}
	for _, q := range []struct {
		query  string
		before []any
		set    map[string]bool
		into   map[string]directory.UserID
	}{
		{`SELECT remote_id, object_id FROM links WHERE application_id = $1 AND object_kind = 'user' AND remote_id IN (?)`, []any{string(t.app.ID)}, remote, n.links},
		{`SELECT email, id FROM users WHERE email IN (?)`, nil, mail, n.mail},
		{`SELECT username_key, id FROM users WHERE username_key IN (?)`, nil, names, n.name},
	} {
		list, err := in(tx, scan, q.query, q.before, q.set)
		if err != nil {
			return n, err
		}
		for _, p := range list {
			q.into[p.key], ids[p.id] = directory.UserID(p.id), true
		}
	}
	delete(ids, "")
	list := make([]directory.UserID, 0, len(ids))
	for id := range ids {
		list = append(list, directory.UserID(id))
	}
	n.people = map[directory.UserID]directory.User{}
	for part := range slices.Chunk(list, 2*importChunk) {
		some, err := directory.GetUsers(tx, part)
		if err != nil {
			return n, err
		}
		for id, u := range some {
			n.people[id] = u
		}
	}
	for id := range external {
		if _, ok := n.people[directory.UserID(id)]; ok {
			delete(external, id)
		}
	}
	for _, query := range []string{
		`SELECT DISTINCT object_id FROM links WHERE object_kind = 'user' AND object_id IN (?)`,
		`SELECT DISTINCT user_id FROM receipts WHERE user_id IN (?)`,
		`SELECT DISTINCT object_id FROM events WHERE object_kind = 'user' AND object_id IN (?)`,
	} {
		list, err := in(tx, store.Scalar[string], query, nil, external)
		if err != nil {
			return n, err
		}
		for _, id := range list {
			n.gone[id] = true
		}
	}
	return n, nil
}

// status says what an account means for us.
func (n neighbours) status(f *found, h *hints) {
	row := &f.row
	set := func(s ImportStatus, id directory.UserID, detail string) {
		row.Status, row.UserID, row.Detail = s, id, detail
	}
	active, known := f.res.Active()
	off := known && !active
	matched := func(id directory.UserID) {
		if u := n.people[id]; u.State == directory.Suspended && !off {
			set(ImportOrphan, id, u.Name()+" is suspended here, but the account is active there.")
			return
		}
		set(ImportMatched, id, "")
	}
	left := func(detail string) {
		if off {
			detail += " It is inactive there."
		}
		set(ImportOrphan, "", detail)
	}
	byMail, byName := n.mail[row.Email], n.name[store.Key(row.Username)]
	if row.Username == "" {
		byName = ""
	}
	linked := n.links[row.RemoteID]
	external := directory.UserID(f.res.ExternalID())
	_, here := n.people[linked]
	_, named := n.people[external]
	switch {
	case linked != "" && here:
		matched(linked)
	case linked != "":
		left("It was managed from here. Its person was deleted.")
	case named:
		matched(external)
	case n.gone[string(external)]:
		left("It names a person who was here once and was deleted.")
	case byMail != "" && byName != "" && byMail != byName:
		set(ImportConflict, "", "The e-mail address belongs to one person here, the user name to another. Correct one of them first.")
	case byMail != "":
		matched(byMail)
	case byName != "":
		set(ImportConflict, byName, "Somebody here has this user name, but another e-mail address.")
	case row.Email == "":
		set(ImportConflict, "", "The account has no e-mail address, which a person here needs.")
	default:
		if id, why := n.likely(f, h); id != "" {
			set(ImportLikely, id, why)
		}
	}
}

// likely is somebody who may be meant, and why.
func (n neighbours) likely(f *found, h *hints) (directory.UserID, string) {
	person := func(id directory.UserID, same func(directory.User) bool) bool {
		u, ok := n.people[id]
		return ok && same(u)
	}
	for _, a := range f.addresses {
		if id := n.mail[a]; id != "" {
			return id, "Another address of the account, " + a + ", is that of " + n.people[id].Name() + "."
		}
		if id := h.find(hintAlternate, a); person(id, func(u directory.User) bool { return store.Key(u.AlternateEmail) == a }) {
			return id, "The address " + a + " is the alternate one of " + n.people[id].Name() + "."
		}
	}
	for _, s := range slices.Concat([]string{f.row.Username}, f.addresses) {
		local := localPart(s)
		id := h.find(hintLocal, local)
		if person(id, func(u directory.User) bool { return localPart(u.Email) == local || localPart(u.Username) == local }) {
			return id, "The user name before the @ is the same as that of " + n.people[id].Name() + " (" + n.people[id].Email + ")."
		}
	}
	name := fullName(f.row.DisplayName)
	id := h.find(hintName, name)
	if person(id, func(u directory.User) bool { return fullName(u.Name()) == name }) {
		return id, "The name is the same as that of " + n.people[id].Name() + " (" + n.people[id].Email + ")."
	}
	return "", ""
}

// classify stores accounts with what they mean for us.
func classify(tx *store.Tx, t *target, importID string, list []scim.Resource, h *hints) error {
	accounts := make([]found, 0, len(list))
	seen := map[string]bool{}
	for _, res := range list {
		if id := res.ID(); id != "" && !seen[id] {
			seen[id] = true
			accounts = append(accounts, foundAccount(res))
		}
	}
	n, err := readNeighbours(tx, t, accounts, h)
	if err != nil {
		return err
	}
	for _, f := range accounts {
		n.status(&f, h)
		raw, err := json.Marshal(f.res)
		if err != nil {
			return err
		}
		row := f.row
		if _, err := tx.Exec(`INSERT INTO import_rows (import_id, remote_id, status, user_id, username, email, display_name, search_key, resource, detail)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
			ON CONFLICT (import_id, remote_id) DO UPDATE SET status = excluded.status, user_id = excluded.user_id, username = excluded.username,
				email = excluded.email, display_name = excluded.display_name, search_key = excluded.search_key, resource = excluded.resource, detail = excluded.detail`,
			importID, row.RemoteID, string(row.Status), string(row.UserID), row.Username, row.Email, row.DisplayName,
			store.Fold(row.Username+" "+row.Email+" "+row.DisplayName), string(raw), row.Detail); err != nil {
			return err
		}
	}
	return nil
}

// viewOne is store.One in a transaction of its own.
func viewOne[T any](ctx context.Context, db *store.DB, scan func(store.Row) (T, error), query string, args ...any) (x T, err error) {
	err = db.View(ctx, func(tx *store.Tx) error {
		x, err = store.One(tx, scan, query, args...)
		return err
	})
	return x, err
}
