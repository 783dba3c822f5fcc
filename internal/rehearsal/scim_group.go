package rehearsal

import (
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strings"
	"time"
)

// groupRecord is a SCIM group. Its members are ids of users of the same directory, without a fixed order.
type groupRecord struct {
	DisplayName string
	ExternalID  string
	id          string
	seq         int64
	created     time.Time
	modified    time.Time
	members     []string
	position    map[string]int // of a member in members
	conflict    bool           // not propagated: the organization has a group of that name
}

// Group is a SCIM group, for reading back.
type Group struct {
	ID          string    `json:"id"`
	DisplayName string    `json:"displayName"`
	ExternalID  string    `json:"externalId,omitempty"`
	Members     []string  `json:"members"`    // userNames, sorted
	MemberIDs   []string  `json:"memberIds"`  // in the same order
	Propagated  bool      `json:"propagated"` // it exists in the organization
	Conflict    bool      `json:"conflict"`   // it doesn't, because of its name
	Created     time.Time `json:"created"`
	Modified    time.Time `json:"modified"`
}

func (g *groupRecord) add(id string) bool {
	if _, in := g.position[id]; in {
		return false
	}
	g.position[id] = len(g.members)
	g.members = append(g.members, id)
	return true
}

func (g *groupRecord) drop(id string) bool {
	i, in := g.position[id]
	if !in {
		return false
	}
	last := len(g.members) - 1
	g.members[i] = g.members[last]
	g.position[g.members[i]] = i
	g.members = g.members[:last]
	delete(g.position, id)
	return true
}

// renderGroup writes the whole group with all its members, which may be megabytes.
func (s *Site) renderGroup(d *directory, g *groupRecord) []byte {
	base := s.scimBase(d)
	b := make([]byte, 0, 512+len(g.members)*(len(base)+160))
	b = append(b, `{"schemas":["`+urnGroup+`"],"id":"`...)
	b = append(b, g.id...)
	b = append(b, `",`...)
	if g.ExternalID != "" {
		b = append(b, `"externalId":`...)
		b = append(b, marshal(g.ExternalID)...)
		b = append(b, ',')
	}
	b = append(b, `"displayName":`...)
	b = append(b, marshal(g.DisplayName)...)
	b = append(b, `,"members":[`...)
	first := true
	for _, id := range g.members {
		u := d.userByID[id]
		if u == nil {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, `{"type":"User","value":"`...)
		b = append(b, id...)
		b = append(b, `","display":`...)
		b = appendString(b, fold(u.UserName))
		b = append(b, `,"$ref":"`...)
		b = append(b, base...)
		b = append(b, "/Users/"...)
		b = append(b, id...)
		b = append(b, `"}`...)
	}
	b = append(b, `],"meta":`...)
	b = append(b, marshal(wireMeta{
		ResourceType: "Group", Location: base + "/Groups/" + g.id,
		LastModified: timestamp(g.modified), Created: timestamp(g.created),
	})...)
	return append(b, '}')
}

// appendString writes a JSON string; plain text needs no encoder.
func appendString(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= 0x7f {
			return append(b, marshal(s)...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

func (s *Site) answerGroups(method, dirID, id string, q url.Values, body []byte) (*answer, error) {
	if id == "" {
		switch method {
		case http.MethodGet:
			return s.listGroups(dirID, q)
		case http.MethodPost:
			return s.createGroup(dirID, body)
		}
		return nil, nil
	}
	switch method {
	case http.MethodGet:
		s.mu.RLock()
		defer s.mu.RUnlock()
		d := s.st.directory(dirID)
		g := d.groupByID[id]
		if g == nil {
			return nil, notFound("GROUP", id)
		}
		return scimAnswer(http.StatusOK, s.renderGroup(d, g)), nil
	case http.MethodPut, http.MethodPatch:
		return s.changeGroup(method, dirID, id, body)
	case http.MethodDelete:
		return s.deleteGroup(dirID, id)
	}
	return nil, nil
}

func (s *Site) listGroups(dirID string, q url.Values) (*answer, error) {
	start, count, err := page(q)
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	d := s.st.directory(dirID)
	found := d.groups
	if q.Has("filter") {
		_, value, err := resourceFilter("GROUP", q.Get("filter"), "displayName")
		if err != nil {
			return nil, err
		}
		found = nil
		if g := d.groupByName[fold(value)]; g != nil {
			found = []*groupRecord{g}
		}
	}
	from, to := window(len(found), start, count)
	resources := make([][]byte, 0, to-from)
	for _, g := range found[from:to] {
		resources = append(resources, s.renderGroup(d, g))
	}
	return listAnswer(len(found), start, count, resources), nil
}

func (s *Site) createGroup(dirID string, body []byte) (*answer, error) {
	m, err := object("GROUP", body)
	if err != nil {
		return nil, err
	}
	s.lock()
	defer s.unlock()
	d := s.st.directory(dirID)
	sw := s.st.switches
	name, external, err := groupFields(m, sw.RequireSchemas)
	if err != nil {
		return nil, err
	}
	if o := d.groupByName[fold(name)]; o != nil {
		if sw.NameInGroupConflict {
			return nil, conflict("Resource [GROUP]: with displayName[%s] already exists.", name)
		}
		return nil, conflict("Resource [GROUP]: with displayName already exists.")
	}
	if n := limit(sw.MaxGroups, hardMaxGroups); len(d.groups) >= n {
		return nil, badRequest("tooMany", "Resource [GROUP] limit of %d groups per directory reached.", n)
	}
	now := s.now().UTC().Truncate(time.Microsecond)
	d.groupSeq++
	g := &groupRecord{
		DisplayName: name, ExternalID: external, id: newID(), seq: d.groupSeq, created: now, modified: now,
		position: map[string]int{},
	}
	if v, ok := field(m, "members"); ok && sw.KeepMembersOnCreate {
		ids, err := s.memberIDs(d, v)
		if err != nil {
			return nil, err
		}
		if err := s.changeMembers(d, g, ids, nil); err != nil {
			return nil, err
		}
	}
	d.groups = append(d.groups, g)
	d.groupByID[g.id] = g
	d.groupByName[fold(name)] = g
	s.st.later(now, effect{Kind: effectGroup, Directory: d.id, Group: g.id})
	a := scimAnswer(http.StatusCreated, s.renderGroup(d, g))
	a.location = s.scimBase(d) + "/Groups/" + g.id
	return a, nil
}

func groupFields(m map[string]any, requireSchemas bool) (name, external string, err error) {
	if v, ok := field(m, "schemas"); requireSchemas && (!ok || v == nil) {
		return "", "", badRequest("invalidSyntax", "Resource [GROUP] schemas is required.")
	}
	v, _ := field(m, "displayName")
	name, ok := v.(string)
	if !ok || strings.TrimSpace(name) == "" {
		return "", "", badRequest("invalidValue", "Resource [GROUP] displayName is required.")
	}
	v, _ = field(m, "externalId")
	external, ok = toString(v)
	if !ok {
		return "", "", badRequest("invalidValue", "Resource [GROUP] invalid value for attribute externalId.")
	}
	return name, external, nil
}

func (s *Site) changeGroup(method, dirID, id string, body []byte) (*answer, error) {
	m, err := object("GROUP", body)
	if err != nil {
		return nil, err
	}
	s.lock()
	defer s.unlock()
	d := s.st.directory(dirID)
	g := d.groupByID[id]
	if g == nil {
		return nil, notFound("GROUP", id)
	}
	if method == http.MethodPut {
		// Only displayName is documented in the body; members in it are ignored.
		name, external, err := groupFields(m, s.st.switches.RequireSchemas)
		if err != nil {
			return nil, err
		}
		if err := s.rename(g, name); err != nil {
			return nil, err
		}
		if g.ExternalID != external {
			g.ExternalID, g.modified = external, s.now().UTC().Truncate(time.Microsecond)
		}
	} else if err := s.patchGroup(d, g, m); err != nil {
		return nil, err
	}
	return scimAnswer(http.StatusOK, s.renderGroup(d, g)), nil
}

// rename refuses another name, or ignores it: displayName is immutable.
func (s *Site) rename(g *groupRecord, name string) error {
	if fold(name) == fold(g.DisplayName) || s.st.switches.LenientRename {
		return nil
	}
	return badRequest("mutability", "Resource [GROUP] attribute displayName is immutable.")
}

// patchGroup works out what a PATCH body means and then does it: all of it or nothing.
func (s *Site) patchGroup(d *directory, g *groupRecord, m map[string]any) error {
	ops, err := operations("GROUP", m)
	if err != nil {
		return err
	}
	var flat []operation
	for _, o := range ops {
		if o.path != "" {
			flat = append(flat, o)
			continue
		}
		obj, ok := o.value.(map[string]any)
		if !ok || o.op == "remove" {
			return badRequest("noTarget", "Resource [GROUP] a path is required.")
		}
		for k, v := range obj {
			switch strings.ToLower(k) {
			case "displayname", "members", "externalid":
				flat = append(flat, operation{o.op, k, v})
			}
		}
	}
	external := g.ExternalID
	// wanted holds, for each id that the operations mention, whether it is a member in the end.
	wanted := map[string]bool{}
	var order []string
	mark := func(id string, in bool) {
		if _, seen := wanted[id]; !seen {
			order = append(order, id)
		}
		wanted[id] = in
	}
	everybody := func(in bool) {
		for id := range wanted {
			wanted[id] = in
		}
		for _, id := range g.members {
			mark(id, in)
		}
	}
	for _, o := range flat {
		p, ok := parsePath(o.path)
		if !ok || p.extension != "" {
			return badRequest("invalidPath", "Resource [GROUP] invalid path %s", o.path)
		}
		switch p.attribute {
		case "displayname":
			name, ok := o.value.(string)
			if o.op == "remove" || !ok {
				return badRequest("mutability", "Resource [GROUP] attribute displayName is immutable.")
			}
			if err := s.rename(g, name); err != nil {
				return err
			}
		case "externalid":
			external = ""
			if o.op != "remove" {
				if external, ok = toString(o.value); !ok {
					return badRequest("invalidValue", "Resource [GROUP] invalid value for attribute externalId.")
				}
			}
		case "members":
			if p.filter != nil {
				id, isString := p.filter.value.(string)
				if o.op != "remove" || !isString || !strings.EqualFold(p.filter.attribute, "value") || p.sub != "" {
					return badRequest("invalidPath", "Resource [GROUP] invalid path %s", o.path)
				}
				mark(id, false)
				continue
			}
			if p.sub != "" {
				return badRequest("invalidPath", "Resource [GROUP] invalid path %s", o.path)
			}
			if o.op == "remove" {
				if o.value == nil {
					everybody(false)
					continue
				}
				ids, err := rawMembers(o.value)
				if err != nil {
					return err
				}
				for _, id := range ids {
					mark(id, false)
				}
				continue
			}
			ids, err := s.memberIDs(d, o.value)
			if err != nil {
				return err
			}
			if o.op == "replace" {
				everybody(false)
			}
			for _, id := range ids {
				mark(id, true)
			}
		default:
			if s.st.switches.IgnoreUnknownPaths {
				continue
			}
			return badRequest("invalidPath", "Resource [GROUP] invalid path %s", o.path)
		}
	}
	var add, drop []string
	for _, id := range order {
		if wanted[id] {
			add = append(add, id)
		} else {
			drop = append(drop, id)
		}
	}
	if err := s.changeMembers(d, g, add, drop); err != nil {
		return err
	}
	if external != g.ExternalID {
		g.ExternalID, g.modified = external, s.now().UTC().Truncate(time.Microsecond)
	}
	return nil
}

// rawMembers reads ids from [{"value":"…"}], {"value":"…"} or "…". Groups as members are refused.
func rawMembers(v any) ([]string, error) {
	var in []any
	switch x := v.(type) {
	case []any:
		in = x
	case map[string]any, string:
		in = []any{x}
	default:
		return nil, badRequest("invalidValue", "Resource [GROUP] invalid value for attribute members.")
	}
	out := make([]string, 0, len(in))
	for _, item := range in {
		switch x := item.(type) {
		case string:
			out = append(out, x)
		case map[string]any:
			if t, ok := field(x, "type"); ok {
				if s, _ := t.(string); strings.EqualFold(s, "Group") {
					return nil, badRequest("invalidValue", "Resource [GROUP] nested groups are not supported.")
				}
			}
			if r, ok := field(x, "$ref"); ok {
				if s, _ := r.(string); strings.Contains(s, "/Groups/") {
					return nil, badRequest("invalidValue", "Resource [GROUP] nested groups are not supported.")
				}
			}
			id, _ := field(x, "value")
			s, ok := id.(string)
			if !ok || s == "" {
				return nil, badRequest("invalidValue", "Resource [GROUP] a member needs a value.")
			}
			out = append(out, s)
		default:
			return nil, badRequest("invalidValue", "Resource [GROUP] invalid value for attribute members.")
		}
	}
	return out, nil
}

// memberIDs reads ids that are to become members: users of this directory, by their SCIM id.
func (s *Site) memberIDs(d *directory, v any) ([]string, error) {
	if v == nil {
		return nil, nil
	}
	ids, err := rawMembers(v)
	if err != nil {
		return nil, err
	}
	out := ids[:0]
	for _, id := range ids {
		if d.userByID[id] == nil {
			if d.groupByID[id] != nil {
				return nil, badRequest("invalidValue", "Resource [GROUP] nested groups are not supported.")
			}
			if s.st.switches.IgnoreUnknownMembers {
				continue
			}
			return nil, notFound("USER", id)
		}
		out = append(out, id)
	}
	return out, nil
}

func (s *Site) changeMembers(d *directory, g *groupRecord, add, drop []string) error {
	now := s.now().UTC().Truncate(time.Microsecond)
	fresh := 0
	for _, id := range add {
		if _, in := g.position[id]; !in {
			fresh++
		}
	}
	if n := limit(s.st.switches.MaxMembers, hardMaxMembers); len(g.members)-len(drop)+fresh > n && fresh > 0 {
		return badRequest("tooMany", "Resource [GROUP] limit of %d users per group reached.", n)
	}
	changed := false
	for _, id := range drop {
		if !g.drop(id) {
			continue
		}
		changed = true
		d.memberships--
		if u := d.userByID[id]; u != nil {
			u.groups = slices.DeleteFunc(u.groups, func(gid string) bool { return gid == g.id })
			if u.accountID != "" {
				s.st.later(now, effect{Kind: effectLeave, Directory: d.id, Group: g.id, Account: u.accountID})
			}
		}
	}
	for _, id := range add {
		if !g.add(id) {
			continue
		}
		changed = true
		d.memberships++
		u := d.userByID[id]
		u.groups = append(u.groups, g.id)
		if u.accountID != "" {
			s.st.later(now, effect{Kind: effectJoin, Directory: d.id, Group: g.id, Account: u.accountID})
		}
	}
	if changed {
		g.modified = now
	}
	return nil
}

func (s *Site) deleteGroup(dirID, id string) (*answer, error) {
	s.lock()
	defer s.unlock()
	d := s.st.directory(dirID)
	g := d.groupByID[id]
	if g == nil {
		return nil, notFound("GROUP", id)
	}
	for _, uid := range g.members {
		if u := d.userByID[uid]; u != nil {
			u.groups = slices.DeleteFunc(u.groups, func(gid string) bool { return gid == g.id })
		}
	}
	d.memberships -= len(g.members)
	delete(d.groupByID, g.id)
	delete(d.groupByName, fold(g.DisplayName))
	i := sort.Search(len(d.groups), func(i int) bool { return d.groups[i].seq >= g.seq })
	d.groups = slices.Delete(d.groups, i, i+1)
	s.st.later(s.now(), effect{Kind: effectGroupDelete, Directory: d.id, Group: g.id, Name: g.DisplayName})
	return &answer{status: http.StatusNoContent}, nil
}

// Groups lists the SCIM groups of a directory in the order of their creation.
func (s *Site) Groups(directoryID string) []Group {
	s.lock()
	defer s.unlock()
	d := s.st.directory(directoryID)
	if d == nil {
		return nil
	}
	out := make([]Group, 0, len(d.groups))
	for _, g := range d.groups {
		out = append(out, s.groupView(d, g))
	}
	return out
}

// Group finds a SCIM group by id or displayName.
func (s *Site) Group(directoryID, ref string) (Group, error) {
	s.lock()
	defer s.unlock()
	d := s.st.directory(directoryID)
	if d == nil {
		return Group{}, refuse(http.StatusNotFound, "There is no directory %s.", directoryID)
	}
	for _, g := range []*groupRecord{d.groupByID[ref], d.groupByName[fold(ref)]} {
		if g != nil {
			return s.groupView(d, g), nil
		}
	}
	return Group{}, refuse(http.StatusNotFound, "There is no group %s in the directory %s.", ref, d.name)
}

func (s *Site) groupView(d *directory, g *groupRecord) Group {
	v := Group{
		ID: g.id, DisplayName: g.DisplayName, ExternalID: g.ExternalID, Conflict: g.conflict,
		Propagated: s.st.groupOf(d.id, g.id) != nil, Created: g.created, Modified: g.modified,
		Members: []string{}, MemberIDs: slices.Clone(g.members),
	}
	if v.MemberIDs == nil {
		v.MemberIDs = []string{}
	}
	slices.SortFunc(v.MemberIDs, func(a, b string) int {
		return strings.Compare(fold(d.userByID[a].UserName), fold(d.userByID[b].UserName))
	})
	for _, id := range v.MemberIDs {
		v.Members = append(v.Members, d.userByID[id].UserName)
	}
	return v
}
