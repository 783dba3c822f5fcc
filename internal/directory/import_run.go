package directory

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// Import creates and updates people by rows, in transactions of 500 rows. Needs
// ManageDirectory. A bad row is reported and the others go on. Repeating an import changes
// nothing that is there already. There is one event per changed person and one of the whole.
//
// A dry run decides each row by the same rules on one snapshot and writes nothing.
//
// An error means that the import ended early; the report then says how far it came.
func (d *Directory) Import(ctx context.Context, by access.Actor, rows []ImportRow, o ImportOptions) (ImportReport, error) {
	if err := access.Allow(by, access.ManageDirectory); err != nil {
		return ImportReport{}, err
	}
	if len(rows) > MaxImportRows {
		return ImportReport{}, tooManyRows()
	}
	if o.State == "" {
		o.State = Staged
	}
	if !o.State.Valid() {
		return ImportReport{}, problem.InvalidField("state", "The state has to be staged, active or suspended.")
	}
	m := &importer{d: d, by: by, o: o, id: store.NewID(), rows: make([]importing, len(rows))}
	m.prepare(rows)
	if err := d.db.View(ctx, m.plan); err != nil {
		return ImportReport{}, err
	}
	if o.DryRun {
		if o.Progress != nil {
			o.Progress(len(rows))
		}
		return m.report(), nil
	}
	err := m.write(ctx)
	report := m.report()
	// What was done is told even if the caller has given up.
	if sum := d.db.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error { return m.summary(tx, report, err) }); err == nil {
		err = sum
	}
	return report, err
}

// batch is how many rows one transaction of an import takes.
const batch = 500

// importing is a row on its way.
type importing struct {
	ImportRow
	given  []string
	id     UserID // of the person that is or would be created
	groups []string
	result RowReport
	// managed is the row whose new person is this one's manager, -1 if there is none.
	manager int
}

type importer struct {
	d    *Directory
	by   access.Actor
	o    ImportOptions
	id   string
	rows []importing
	// groups holds those that rows name, by key; those to be created have no version yet.
	groups map[string]Group
	all    []Group // those of ImportOptions
	// created are the names of the groups that the import creates.
	created []string
}

func (r *importing) fail(err error) {
	r.result.Outcome = RowFailed
	r.result.Detail, r.result.Fields = problem.Public(err), problem.FieldsOf(err)
	r.result.UserID = ""
}

func (r *importing) failed() bool { return r.result.Outcome == RowFailed }

// prepare checks what can be checked without the database.
func (m *importer) prepare(rows []ImportRow) {
	check := &checker{zones: map[string]string{}}
	claimed := make(map[string]int, 2*len(rows))
	type checkedName struct {
		key, name string
		err       error
	}
	groupNames := map[string]checkedName{}
	for i := range rows {
		r := &m.rows[i]
		r.ImportRow = rows[i]
		r.manager = -1
		r.result = RowReport{Line: r.Line, Email: tidy(r.Email)}
		if r.Err != nil {
			r.fail(r.Err)
			continue
		}
		r.Attributes = r.clone()
		if r.given = r.Given; r.given == nil {
			r.given = nonEmpty(r.Attributes)
		}
		var f problem.Fields
		check.check(&r.Attributes, &f)
		if r.State != "" && !r.State.Valid() {
			f.Add("state", "The state has to be staged, active or suspended.")
		}
		if r.Manager = tidy(r.Manager); r.Manager != "" && r.ManagerID != "" {
			f.Add("manager", "Give the manager either by name or by id.")
		}
		seen := map[string]bool{}
		for _, name := range r.Groups {
			n, known := groupNames[name]
			if !known {
				g := GroupAttributes{Name: name}
				var gf problem.Fields
				checkGroup(&g, &gf)
				n = checkedName{key: store.Key(g.Name), name: g.Name, err: gf.Err()}
				groupNames[name] = n
			}
			switch {
			case n.err != nil:
				f.Add("groups", "The name of a group isn't valid: %s", problem.Public(n.err))
			case !seen[n.key]:
				seen[n.key] = true
				r.groups = append(r.groups, n.name)
			}
		}
		r.result.Email = r.Email
		if err := f.Err(); err != nil {
			r.fail(err)
			continue
		}
		key := store.Key(r.Username)
		for _, c := range []struct{ field, key, what string }{{"email", r.Email, "e-mail address"}, {"username", key, "user name"}} {
			if other, taken := claimed[c.key]; taken && (c.field == "email" || key != r.Email) {
				f.Add(c.field, "Line %d has the same %s already.", m.rows[other].Line, c.what)
			}
		}
		if err := f.Err(); err != nil {
			r.fail(err)
			continue
		}
		claimed[r.Email], claimed[key] = i, i
		r.id = UserID(store.NewID())
	}
}

// nonEmpty names the attributes of a that have a value.
func nonEmpty(a Attributes) []string {
	out := []string{}
	for _, t := range textAttributes {
		if *t.at(&a) != "" {
			out = append(out, t.name)
		}
	}
	if len(a.Phones) > 0 {
		out = append(out, "phones")
	}
	if len(a.Addresses) > 0 {
		out = append(out, "addresses")
	}
	for _, key := range slices.Sorted(maps.Keys(a.Custom)) {
		out = append(out, CustomPrefix+key)
	}
	return out
}

// plan decides every row on one snapshot.
func (m *importer) plan(tx *store.Tx) error {
	var err error
	if m.all, err = groupsByID(tx, m.o.Groups); err != nil {
		return err
	}
	if err := m.findGroups(tx); err != nil {
		return err
	}
	if err := m.findManagers(tx); err != nil {
		return err
	}
	for start := 0; start < len(m.rows); start += batch {
		if err := tx.Context().Err(); err != nil {
			return err
		}
		if _, err := m.decide(tx, start, min(start+batch, len(m.rows))); err != nil {
			return err
		}
	}
	// Whoever counted on a manager who can't be created can't either.
	for again := true; again; {
		again = false
		for i := range m.rows {
			r := &m.rows[i]
			if !r.failed() && r.manager >= 0 && m.rows[r.manager].failed() {
				r.fail(problem.InvalidField("manager", "The manager's own row (line %d) can't be imported. Correct that one first.", m.rows[r.manager].Line))
				again = true
			}
		}
	}
	used := map[string]bool{}
	for i := range m.rows {
		if r := &m.rows[i]; r.result.Outcome == RowCreated || r.result.Outcome == RowUpdated {
			for _, name := range r.groups {
				used[store.Key(name)] = true
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(m.groups)) {
		if g := m.groups[key]; g.Version == 0 && used[key] {
			m.created = append(m.created, g.Name)
		}
	}
	return nil
}

// findGroups looks up the groups that rows name. Rows that name one that doesn't exist fail,
// unless it may be created.
func (m *importer) findGroups(tx *store.Tx) error {
	m.groups = map[string]Group{}
	wanted := map[string]string{}
	for i := range m.rows {
		for _, name := range m.rows[i].groups {
			if key := store.Key(name); wanted[key] == "" {
				wanted[key] = name
			}
		}
	}
	for part := range slices.Chunk(slices.Sorted(maps.Keys(wanted)), listed) {
		in, args := inList(1, part)
		found, err := store.All(tx, scanGroup, `SELECT `+groupColumns+uncounted+` FROM groups g WHERE g.name_key IN (`+in+`)`, args...)
		if err != nil {
			return err
		}
		for _, g := range found {
			m.groups[store.Key(g.Name)] = g
		}
	}
	if m.o.CreateGroups {
		for key, name := range wanted {
			if _, ok := m.groups[key]; !ok {
				m.groups[key] = Group{ID: GroupID(store.NewID()), GroupAttributes: GroupAttributes{Name: name}}
			}
		}
		return nil
	}
	for i := range m.rows {
		r := &m.rows[i]
		for _, name := range r.groups {
			if _, ok := m.groups[store.Key(name)]; !ok && !r.failed() {
				r.fail(problem.InvalidField("groups", "There is no group called %s. Create it first, or let the import create missing groups.", clip(name)))
			}
		}
	}
	return nil
}

// findManagers turns managers' e-mail addresses and user names into ids: of people who are
// there, or of other rows of the import.
func (m *importer) findManagers(tx *store.Tx) error {
	wanted := map[string]bool{}
	byID := map[UserID]bool{}
	for i := range m.rows {
		r := &m.rows[i]
		if r.failed() {
			continue
		}
		if r.Manager != "" {
			wanted[store.Key(r.Manager)] = true
		}
		if r.ManagerID != "" {
			byID[r.ManagerID] = false
		}
	}
	for part := range slices.Chunk(slices.Sorted(maps.Keys(byID)), listed) {
		in, args := inList(1, part)
		found, err := store.All(tx, store.Scalar[UserID], `SELECT id FROM users WHERE id IN (`+in+`)`, args...)
		if err != nil {
			return err
		}
		for _, id := range found {
			byID[id] = true
		}
	}
	people := map[string]UserID{}
	for part := range slices.Chunk(slices.Sorted(maps.Keys(wanted)), listed) {
		found, err := findLogins(tx, part)
		if err != nil {
			return err
		}
		// An e-mail address wins over a user name, as at sign-in.
		for _, u := range found {
			people[store.Key(u.Username)] = u.ID
		}
		for _, u := range found {
			people[u.Email] = u.ID
		}
	}
	rows := map[string]int{}
	if len(wanted) > 0 {
		for i := range m.rows {
			if r := &m.rows[i]; !r.failed() {
				rows[store.Key(r.Username)] = i
			}
		}
		for i := range m.rows {
			if r := &m.rows[i]; !r.failed() {
				rows[r.Email] = i
			}
		}
	}
	for i := range m.rows {
		r := &m.rows[i]
		if r.failed() {
			continue
		}
		if r.ManagerID != "" && !byID[r.ManagerID] {
			r.fail(problem.InvalidField("managerId", "There is no such person. Choose a manager who is in the directory."))
			continue
		}
		if r.Manager == "" {
			continue
		}
		key := store.Key(r.Manager)
		id, known := people[key]
		if row, inFile := rows[key]; !known && inFile {
			r.manager, known = row, true
		}
		switch {
		case !known:
			r.fail(problem.InvalidField("manager", "Nobody in the directory or in this import has this e-mail address or user name."))
			continue
		case r.manager == i:
			r.fail(problem.InvalidField("manager", "Nobody can be their own manager."))
			continue
		}
		r.ManagerID = id
		if !slices.Contains(r.given, "managerId") {
			r.given = append(slices.Clone(r.given), "managerId")
		}
	}
	return m.findManagersInFile(tx)
}

// findManagersInFile gives the ids of managers who are rows of the import themselves: those of
// new people, or of whom such a row updates.
func (m *importer) findManagersInFile(tx *store.Tx) error {
	emails := map[string]bool{}
	for i := range m.rows {
		if r := &m.rows[i]; !r.failed() && r.manager >= 0 {
			emails[m.rows[r.manager].Email] = true
		}
	}
	there := map[string]UserID{}
	for part := range slices.Chunk(slices.Sorted(maps.Keys(emails)), listed) {
		found, err := findLogins(tx, part)
		if err != nil {
			return err
		}
		for _, u := range found {
			there[u.Email] = u.ID
		}
	}
	for i := range m.rows {
		r := &m.rows[i]
		if r.failed() || r.manager < 0 {
			continue
		}
		r.ManagerID = m.rows[r.manager].id
		if id, ok := there[m.rows[r.manager].Email]; ok {
			r.ManagerID, r.manager = id, -1
		}
	}
	return nil
}

// findLogins returns the people who have one of these keys as e-mail address or user name.
func findLogins(tx *store.Tx, keys []string) ([]User, error) {
	var out []User
	seen := map[UserID]bool{}
	for part := range slices.Chunk(keys, listed) {
		in, args := inList(1, part)
		for _, column := range []string{"email", "username_key"} {
			found, err := store.All(tx, scanUser, `SELECT `+userColumns+` FROM users WHERE `+column+` IN (`+in+`)`, args...)
			if err != nil {
				return nil, err
			}
			for _, u := range found {
				if !seen[u.ID] {
					seen[u.ID] = true
					out = append(out, u)
				}
			}
		}
	}
	return out, nil
}

// decision is what will be written for a row.
type decision struct {
	row     *importing
	user    User
	changes []audit.Change
	joins   []Group
}

// decide looks what the rows of [from, to) mean now, notes it in their results, and returns
// what there is to write.
func (m *importer) decide(tx *store.Tx, from, to int) ([]decision, error) {
	keys := map[string]bool{}
	for i := from; i < to; i++ {
		if r := &m.rows[i]; !r.failed() {
			keys[r.Email], keys[store.Key(r.Username)] = true, true
		}
	}
	people, err := findLogins(tx, slices.Sorted(maps.Keys(keys)))
	if err != nil {
		return nil, err
	}
	byEmail, byUsername := make(map[string]User, len(people)), make(map[string]User, len(people))
	var known []UserID
	for _, u := range people {
		byEmail[u.Email], byUsername[store.Key(u.Username)] = u, u
		known = append(known, u.ID)
	}
	member := map[UserID]map[GroupID]bool{}
	for part := range slices.Chunk(known, listed) {
		in, args := inList(1, part)
		type pair struct {
			user  UserID
			group GroupID
		}
		for p, err := range store.Each(tx, func(r store.Row) (pair, error) {
			var p pair
			return p, r.Scan(&p.user, &p.group)
		}, `SELECT user_id, group_id FROM memberships WHERE user_id IN (`+in+`)`, args...) {
			if err != nil {
				return nil, err
			}
			if member[p.user] == nil {
				member[p.user] = map[GroupID]bool{}
			}
			member[p.user][p.group] = true
		}
	}
	now := m.d.moment()
	var out []decision
	for i := from; i < to; i++ {
		r := &m.rows[i]
		if r.failed() {
			continue
		}
		dec := decision{row: r}
		before, exists := byEmail[r.Email]
		var err error
		if exists {
			err = m.update(&dec, before, now)
		} else {
			m.create(&dec, now)
		}
		if err == nil {
			err = m.free(dec.user, byEmail, byUsername)
		}
		if err != nil {
			r.fail(err)
			continue
		}
		r.result.UserID = dec.user.ID
		if exists && !m.o.UpdateExisting {
			r.result.Outcome, r.result.Detail = RowUnchanged, "This person is there already, and the import doesn't update people."
			continue
		}
		for _, g := range m.groupsOf(r) {
			if !member[dec.user.ID][g.ID] {
				dec.joins = append(dec.joins, g)
			}
		}
		if len(dec.joins) > 0 {
			dec.changes = append(dec.changes, audit.Change{Attribute: "groups", New: names(dec.joins)})
		}
		switch {
		case !exists:
			r.result.Outcome = RowCreated
		case len(dec.changes) == 0:
			r.result.Outcome = RowUnchanged
			continue
		default:
			r.result.Outcome, r.result.Detail = RowUpdated, "Changed: "+labels(dec.changes)+"."
		}
		out = append(out, dec)
	}
	return out, nil
}

// groupsOf returns the groups that a row's person becomes a member of, each once.
func (m *importer) groupsOf(r *importing) []Group {
	out := slices.Clone(m.all)
	for _, name := range r.groups {
		if g := m.groups[store.Key(name)]; !slices.ContainsFunc(out, func(x Group) bool { return x.ID == g.ID }) {
			out = append(out, g)
		}
	}
	return out
}

// free refuses an e-mail address or user name that another person has.
func (m *importer) free(u User, byEmail, byUsername map[string]User) error {
	var f problem.Fields
	key := store.Key(u.Username)
	if o, ok := byUsername[u.Email]; ok && o.ID != u.ID {
		f.Add("email", emailTaken, ", "+o.Name())
	}
	for _, people := range []map[string]User{byEmail, byUsername} {
		if o, ok := people[key]; ok && o.ID != u.ID && !f.Has("username") && (key != u.Email || !f.Has("email")) {
			f.Add("username", usernameTaken, ", "+o.Name())
		}
	}
	return asConflict(f.Err())
}

// create fills in a new person.
func (m *importer) create(dec *decision, now time.Time) {
	r := dec.row
	dec.user = User{
		ID: r.id, Attributes: r.Attributes, State: r.State, PasswordStatus: PasswordPending, Version: 1, CreatedAt: now, UpdatedAt: now,
	}
	if dec.user.State == "" {
		dec.user.State = m.o.State
	}
	if dec.user.State == Suspended {
		dec.user.SuspendedAt = now
	}
}

// update merges a row into a person who is there.
func (m *importer) update(dec *decision, before User, now time.Time) error {
	dec.user = before
	if !m.o.UpdateExisting {
		return nil
	}
	u, r := &dec.user, dec.row
	u.Attributes = before.clone()
	merge(&u.Attributes, r.Attributes, r.given)
	var f problem.Fields
	(&checker{}).check(&u.Attributes, &f)
	if u.ManagerID == u.ID {
		f.Add("managerId", "Nobody can be their own manager.")
	}
	if err := f.Err(); err != nil {
		return err
	}
	dec.changes = audit.Diff(before.Attributes, u.Attributes)
	if r.State != "" && r.State != before.State {
		if err := m.move(u, r.State, now); err != nil {
			return err
		}
		dec.changes = append(dec.changes, audit.Change{Attribute: "state", Old: string(before.State), New: string(u.State)})
	}
	if len(dec.changes) == 0 {
		return nil
	}
	u.Version++
	u.UpdatedAt = now
	return mayTouch(m.by, before)
}

// move changes the state of a person who is there. Owners are left out, because whether one is
// the last can't be told row by row.
func (m *importer) move(u *User, to State, now time.Time) error {
	switch {
	case to == Staged:
		return problem.InvalidField("state", "Somebody who is active or suspended can't become staged again.")
	case to == Suspended && u.State == Staged:
		return problem.InvalidField("state", "This person is staged and has no access that could be suspended.")
	case to == Suspended && isSelf(m.by, u.ID):
		return problem.InvalidField("state", "You can't suspend yourself.")
	case to == Suspended && u.Role == access.Owner:
		return problem.InvalidField("state", "Owners aren't suspended by an import. Do it on their own page.")
	}
	u.State, u.SuspendedAt = to, time.Time{}
	if to == Suspended {
		u.SuspendedAt = now
		u.SessionEpoch++
	}
	return nil
}

// merge sets in a what a row gives.
func merge(a *Attributes, row Attributes, given []string) {
	for _, name := range given {
		if t, ok := findText(name); ok {
			*t.at(a) = *t.at(&row)
			continue
		}
		kind, rest, _ := strings.Cut(name, ".")
		switch {
		case kind == "phones" && rest == "":
			a.Phones = slices.Clone(row.Phones)
		case kind == "phones":
			for _, p := range row.Phones {
				if p.Type != rest {
					continue
				}
				if i := slices.IndexFunc(a.Phones, func(x Phone) bool { return x.Type == rest }); i >= 0 {
					a.Phones[i].Value = p.Value
				} else {
					a.Phones = append(a.Phones, p)
				}
			}
		case kind == "addresses" && rest == "":
			a.Addresses = slices.Clone(row.Addresses)
		case kind == "addresses":
			for _, x := range row.Addresses {
				if i := slices.IndexFunc(a.Addresses, func(y Address) bool { return y.Type == rest }); i >= 0 {
					x.Primary = a.Addresses[i].Primary
					a.Addresses[i] = x
				} else {
					a.Addresses = append(a.Addresses, x)
				}
			}
		case kind == "custom" && rest != "":
			v, ok := row.Custom[rest]
			switch {
			case !ok:
				delete(a.Custom, rest)
			case a.Custom == nil:
				a.Custom = map[string]any{rest: v}
			default:
				a.Custom[rest] = v
			}
		}
	}
}

// write carries the plan out, chunk by chunk; each looks again at what its rows mean, because
// the directory may have changed since.
func (m *importer) write(ctx context.Context) error {
	if err := m.createGroups(ctx); err != nil {
		return m.unreached(0, err)
	}
	for start := 0; start < len(m.rows); start += batch {
		end := min(start+batch, len(m.rows))
		var err error
		// A name that somebody takes between look-up and write breaks the whole chunk; the
		// next look sees it.
		for range 3 {
			err = m.d.db.Update(ctx, func(tx *store.Tx) error { return m.chunk(tx, start, end) })
			if !problem.Is(err, problem.Conflict) {
				break
			}
		}
		if err != nil {
			return m.unreached(start, err)
		}
		if m.o.Progress != nil {
			m.o.Progress(end)
		}
	}
	return m.forgetLost(ctx)
}

// unreached marks the rows from start on as not done.
func (m *importer) unreached(start int, err error) error {
	for i := start; i < len(m.rows); i++ {
		if r := &m.rows[i]; !r.failed() {
			r.fail(problem.New(problem.Unavailable, "The import ended before this row. Import the file again: what is done already stays as it is."))
		}
	}
	return fmt.Errorf("directory: import: %w", err)
}

func (m *importer) createGroups(ctx context.Context) error {
	if len(m.created) == 0 {
		return nil
	}
	return m.d.db.Update(ctx, func(tx *store.Tx) error {
		for _, name := range m.created {
			key := store.Key(name)
			g, err := store.One(tx, scanGroup, `SELECT `+groupColumns+uncounted+` FROM groups g WHERE g.name_key = $1`, key)
			if err != nil {
				if !errors.Is(err, store.ErrNotFound) {
					return err
				}
				if g, err = m.d.CreateGroupIn(tx, m.by, NewGroup{GroupAttributes: GroupAttributes{Name: name}}); err != nil {
					return err
				}
			}
			m.groups[key] = g
		}
		return nil
	})
}

func (m *importer) chunk(tx *store.Tx, from, to int) error {
	now := m.d.moment()
	decisions, err := m.decide(tx, from, to)
	if err != nil {
		return err
	}
	var fresh []User
	var joins []membership
	filled := map[GroupID]bool{}
	for _, dec := range decisions {
		if dec.row.result.Outcome == RowCreated {
			fresh = append(fresh, dec.user)
		} else if err := updateUser(tx, dec.user); err != nil {
			return err
		}
		for _, g := range dec.joins {
			joins = append(joins, membership{g.ID, dec.user.ID})
			filled[g.ID] = true
		}
	}
	if err := insertUsers(tx, fresh); err != nil {
		return err
	}
	if err := insertMemberships(tx, now, joins); err != nil {
		return err
	}
	touched := slices.Sorted(maps.Keys(filled))
	events := make([]audit.Event, len(decisions))
	for i, dec := range decisions {
		if dec.row.result.Outcome == RowCreated {
			events[i] = created(m.by, dec.user, dec.joins)
			events[i].Message = dec.user.Name() + " was created by an import."
		} else {
			events[i] = audit.Event{
				Type: audit.UserUpdate, Actor: m.by, Object: dec.user.ref(), Changes: dec.changes,
				Message: dec.user.Name() + " was changed by an import: " + labels(dec.changes) + ".",
			}
		}
		events[i].Detail = map[string]any{"import": m.id, "line": dec.row.Line}
	}
	causes, err := audit.RecordAll(tx, now, events)
	if err != nil {
		return err
	}
	changed := make([]audit.Pending, 0, len(decisions)+len(touched))
	for i, dec := range decisions {
		changed = append(changed, audit.Pending{Kind: audit.KindUser, ID: string(dec.user.ID), Cause: causes[i]})
	}
	for _, id := range touched {
		changed = append(changed, audit.Pending{Kind: audit.KindGroup, ID: string(id), Cause: causes[len(causes)-1]})
	}
	return audit.ChangedAll(tx, now, changed)
}

// forgetLost clears managers whose own row was decided to be created, but lost its name to
// somebody else before it was written.
func (m *importer) forgetLost(ctx context.Context) error {
	var lost []UserID
	for i := range m.rows {
		if r := &m.rows[i]; r.manager >= 0 && !r.failed() && m.rows[r.manager].failed() {
			lost = append(lost, m.rows[r.manager].id)
		}
	}
	for part := range slices.Chunk(unique(lost), listed) {
		in, args := inList(1, part)
		err := m.d.db.Update(ctx, func(tx *store.Tx) error {
			_, err := tx.Exec(`UPDATE users SET manager_id = '', version = version + 1 WHERE manager_id <> '' AND manager_id IN (`+in+`)`, args...)
			return err
		})
		if err != nil {
			return fmt.Errorf("directory: import: %w", err)
		}
	}
	return nil
}

func (m *importer) report() ImportReport {
	out := ImportReport{ID: m.id, DryRun: m.o.DryRun, GroupsCreated: m.created, Rows: make([]RowReport, len(m.rows))}
	for i := range m.rows {
		out.Rows[i] = m.rows[i].result
		switch m.rows[i].result.Outcome {
		case RowCreated:
			out.Created++
			if m.o.DryRun {
				out.Rows[i].UserID = "" // not given yet
			}
		case RowUpdated:
			out.Updated++
		case RowUnchanged:
			out.Unchanged++
		case RowFailed:
			out.Failed++
		}
	}
	return out
}

func (m *importer) summary(tx *store.Tx, r ImportReport, failure error) error {
	e := audit.Event{
		Type: audit.UserImport, Actor: m.by, Object: audit.Ref{Kind: audit.KindImport, ID: m.id, Name: m.o.Source},
		Message: fmt.Sprintf("An import of %d rows created %d people, changed %d, left %d as they were and refused %d.",
			len(r.Rows), r.Created, r.Updated, r.Unchanged, r.Failed),
		Detail: map[string]any{"created": r.Created, "updated": r.Updated, "unchanged": r.Unchanged, "failed": r.Failed},
	}
	if len(r.GroupsCreated) > 0 {
		e.Detail["groupsCreated"] = r.GroupsCreated
	}
	if failure != nil {
		e.Outcome = audit.Failure
		e.Message = fmt.Sprintf("An import of %d rows ended early. It created %d people and changed %d.", len(r.Rows), r.Created, r.Updated)
	}
	_, err := audit.Record(tx, m.d.moment(), e)
	return err
}
