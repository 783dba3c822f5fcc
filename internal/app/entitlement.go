package app

import (
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// Standing is how a person stands with an application.
type Standing struct {
	// User is the person, with their own attributes only.
	User directory.User
	// Groups are all groups of the person, by name; Via are those among them that are bound to the application. Their
	// members aren't counted.
	Groups []directory.Group
	Via    []directory.Group
}

// Granted reports whether the person has access: active, and in a bound group.
func (s *Standing) Granted() bool { return s.User.State == directory.Active && len(s.Via) > 0 }

// Person is what the application's mappings read: the person with what they inherit from their groups.
func (s *Standing) Person() catalog.Person {
	return Person(directory.Effective(s.User, s.Groups), s.Via)
}

// StandingOf returns how a person stands with an application. NotFound if there is no such person.
func StandingOf(tx *store.Tx, id ID, user directory.UserID) (Standing, error) {
	u, err := directory.GetUser(tx, user)
	if err != nil {
		return Standing{}, err
	}
	return StandingFor(tx, id, u)
}

// StandingFor is StandingOf for a person who has just been read.
func StandingFor(tx *store.Tx, id ID, u directory.User) (Standing, error) {
	s := Standing{User: u}
	type membership struct {
		directory.Group
		bound bool
	}
	all, err := store.All(tx, func(r store.Row) (membership, error) {
		var m membership
		var attributes string
		if err := r.Scan(&m.ID, &m.Name, &m.Description, &attributes, &m.Version, &m.bound); err != nil {
			return m, err
		}
		return m, unpackAttributes(attributes, &m.Group)
	}, `SELECT g.id, g.name, g.description, g.attributes, g.version,
			EXISTS (SELECT 1 FROM bindings b WHERE b.application_id = $1 AND b.group_id = g.id)
		FROM memberships m JOIN groups g ON g.id = m.group_id WHERE m.user_id = $2 ORDER BY g.name_key`, string(id), string(u.ID))
	if err != nil {
		return Standing{}, err
	}
	for _, m := range all {
		s.Groups = append(s.Groups, m.Group)
		if m.bound {
			s.Via = append(s.Via, m.Group)
		}
	}
	return s, nil
}

// StandingsOf is StandingOf for many people at once; those who don't exist are left out. Up to some hundred are read at
// once.
func StandingsOf(tx *store.Tx, id ID, people []directory.UserID) (map[directory.UserID]Standing, error) {
	users, err := directory.GetUsers(tx, people)
	if err != nil || len(users) == 0 {
		return nil, err
	}
	type membership struct {
		user  directory.UserID
		group directory.GroupID
	}
	args := make([]any, len(people))
	for i, u := range people {
		args[i] = string(u)
	}
	members, err := store.All(tx, func(r store.Row) (membership, error) {
		var m membership
		err := r.Scan(&m.user, &m.group)
		return m, err
	}, `SELECT user_id, group_id FROM memberships WHERE user_id IN (`+store.Placeholders(1, len(people))+`)`, args...)
	if err != nil {
		return nil, err
	}
	type group struct {
		directory.Group
		bound bool
	}
	// Each group is read once, however many of its members are asked for.
	var named []directory.GroupID
	of := map[directory.GroupID][]directory.UserID{}
	for _, m := range members {
		if of[m.group] == nil {
			named = append(named, m.group)
		}
		of[m.group] = append(of[m.group], m.user)
	}
	out := make(map[directory.UserID]Standing, len(users))
	for uid, u := range users {
		out[uid] = Standing{User: u}
	}
	var groups []group
	for part := range slices.Chunk(named, 500) {
		args := []any{string(id)}
		for _, g := range part {
			args = append(args, string(g))
		}
		some, err := store.All(tx, func(r store.Row) (group, error) {
			var g group
			var attributes string
			if err := r.Scan(&g.ID, &g.Name, &g.Description, &attributes, &g.Version, &g.bound); err != nil {
				return g, err
			}
			return g, unpackAttributes(attributes, &g.Group)
		}, `SELECT g.id, g.name, g.description, g.attributes, g.version,
				EXISTS (SELECT 1 FROM bindings b WHERE b.application_id = $1 AND b.group_id = g.id)
			FROM groups g WHERE g.id IN (`+store.Placeholders(2, len(part))+`) ORDER BY g.name_key`, args...)
		if err != nil {
			return nil, err
		}
		groups = append(groups, some...)
	}
	if len(named) > 500 {
		slices.SortStableFunc(groups, func(a, b group) int { return strings.Compare(store.Key(a.Name), store.Key(b.Name)) })
	}
	for _, g := range groups {
		for _, u := range of[g.ID] {
			s, ok := out[u]
			if !ok {
				continue
			}
			s.Groups = append(s.Groups, g.Group)
			if g.bound {
				s.Via = append(s.Via, g.Group)
			}
			out[u] = s
		}
	}
	return out, nil
}

// Entitled returns the bound groups by which a person has access to an application: none if they have none, or aren't
// active, or don't exist.
func Entitled(tx *store.Tx, id ID, user directory.UserID) ([]directory.Group, error) {
	return store.All(tx, scanGroup, `SELECT `+groupColumns+` FROM users u
		JOIN memberships m ON m.user_id = u.id
		JOIN bindings b ON b.group_id = m.group_id AND b.application_id = $1
		JOIN groups g ON g.id = m.group_id
		WHERE u.id = $2 AND u.state = 'active' ORDER BY g.name_key`, string(id), string(user))
}

// EntitledUserIDs returns the people who have access to an application, by id, at most limit of those behind after.
//
// A page costs the same on the last as on the first of 100,000 people: a few bound groups are walked along their index and
// the results merged; with many, which hold much of the directory, the people are walked.
func EntitledUserIDs(tx *store.Tx, id ID, after directory.UserID, limit int) ([]directory.UserID, error) {
	const few = 8
	groups, err := store.All(tx, store.Scalar[string], `SELECT group_id FROM bindings WHERE application_id = $1 LIMIT $2`, string(id), few+1)
	if err != nil {
		return nil, err
	}
	if len(groups) > few {
		return store.All(tx, store.Scalar[directory.UserID], `SELECT u.id FROM users u
			WHERE u.id > $2 AND u.state = 'active' AND EXISTS (SELECT 1 FROM memberships m
				JOIN bindings b ON b.application_id = $1 AND b.group_id = m.group_id WHERE m.user_id = u.id)
			ORDER BY u.id LIMIT $3`, string(id), string(after), limit)
	}
	var out []directory.UserID
	for _, g := range groups {
		ids, err := store.All(tx, store.Scalar[directory.UserID], `SELECT m.user_id FROM memberships m
			JOIN users u ON u.id = m.user_id AND u.state = 'active'
			WHERE m.group_id = $1 AND m.user_id > $2 ORDER BY m.user_id LIMIT $3`, g, string(after), limit)
		if err != nil {
			return nil, err
		}
		out = append(out, ids...)
	}
	slices.Sort(out)
	out = slices.Compact(out)
	return out[:min(len(out), limit)], nil
}

// EntitledMembers returns the members of a group who have access to an application through it, by id: its active members
// if it is bound, else nobody.
func EntitledMembers(tx *store.Tx, id ID, group directory.GroupID) ([]directory.UserID, error) {
	return store.All(tx, store.Scalar[directory.UserID], `SELECT m.user_id FROM bindings b
		JOIN memberships m ON m.group_id = b.group_id
		JOIN users u ON u.id = m.user_id AND u.state = 'active'
		WHERE b.application_id = $1 AND b.group_id = $2 ORDER BY m.user_id`, string(id), string(group))
}

// BoundGroupIDs returns the groups that are bound to an application, by id.
func BoundGroupIDs(tx *store.Tx, id ID) ([]directory.GroupID, error) {
	return store.All(tx, store.Scalar[directory.GroupID], `SELECT group_id FROM bindings WHERE application_id = $1 ORDER BY group_id`, string(id))
}

// TileApplications returns the applications that stand in a person's portal, by label: those they have access to, that
// are shown in the portal, and that lead somewhere, by active sign-on or by bookmark.
func TileApplications(tx *store.Tx, user directory.UserID) ([]Application, error) {
	apps, err := listApplications(tx, ` WHERE a.portal_visible AND (m.state = 'active' OR a.bookmark_url <> '')
		AND a.id IN (SELECT b.application_id FROM users u JOIN memberships ms ON ms.user_id = u.id
			JOIN bindings b ON b.group_id = ms.group_id WHERE u.id = $1 AND u.state = 'active')`, string(user))
	return slices.DeleteFunc(apps, func(app Application) bool {
		return app.SAML.Status != Active && app.BookmarkURL == ""
	}), err
}

// Person is a person as an application's mappings read them. u holds the effective attributes (directory.Effective), and
// bound are their groups that are bound to the application.
func Person(u directory.User, bound []directory.Group) catalog.Person {
	p := catalog.Person{
		ID: string(u.ID), Username: u.Username, Email: u.Email, AlternateEmail: u.AlternateEmail,
		GivenName: u.GivenName, MiddleName: u.MiddleName, FamilyName: u.FamilyName, DisplayName: u.DisplayName,
		Title: u.Title, Department: u.Department, Company: u.Company, CostCentre: u.CostCentre,
		EmployeeID: u.EmployeeID, EmployeeType: u.EmployeeType, Location: u.Location, ManagerID: string(u.ManagerID),
		Locale: u.Locale, Timezone: u.TimeZone, PreferredLanguage: u.PreferredLanguage,
		Custom: u.Custom, State: string(u.State),
	}
	for _, x := range u.Phones {
		p.Phones = append(p.Phones, catalog.Phone(x))
	}
	for _, x := range u.Addresses {
		p.Addresses = append(p.Addresses, catalog.Address(x))
	}
	for _, g := range bound {
		p.Groups = append(p.Groups, g.Name)
	}
	return p
}
