package rehearsal

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// UserName and MultiValue are SCIM's complex attributes (RFC 7643 §4.1).
type UserName struct {
	Formatted       string `json:"formatted,omitempty"`
	FamilyName      string `json:"familyName,omitempty"`
	GivenName       string `json:"givenName,omitempty"`
	MiddleName      string `json:"middleName,omitempty"`
	HonorificPrefix string `json:"honorificPrefix,omitempty"`
	HonorificSuffix string `json:"honorificSuffix,omitempty"`
}

// MultiValue is one value of emails or phoneNumbers.
type MultiValue struct {
	Value   string `json:"value"`
	Display string `json:"display,omitempty"`
	Type    string `json:"type,omitempty"`
	Primary bool   `json:"primary"`
}

// UserData holds the attributes that the directory keeps of a user; all others are ignored.
type UserData struct {
	UserName          string       `json:"userName"`
	ExternalID        string       `json:"externalId,omitempty"`
	Name              *UserName    `json:"name,omitempty"`
	DisplayName       string       `json:"displayName,omitempty"`
	NickName          string       `json:"nickName,omitempty"`
	Title             string       `json:"title,omitempty"`
	PreferredLanguage string       `json:"preferredLanguage,omitempty"`
	Timezone          string       `json:"timezone,omitempty"`
	Active            bool         `json:"active"`
	Emails            []MultiValue `json:"emails"`
	PhoneNumbers      []MultiValue `json:"phoneNumbers,omitempty"`
	Organization      string       `json:"organization,omitempty"`
	Department        string       `json:"department,omitempty"`
}

// userRecord is a SCIM user. Its UserData is replaced as a whole and never changed in place.
type userRecord struct {
	UserData
	id        string
	seq       int64
	accountID string // "" when unlinked
	created   time.Time
	modified  time.Time
	groups    []string // ids of groups of this directory
}

// User is a SCIM user record, for reading back.
type User struct {
	ID        string    `json:"id"`
	AccountID string    `json:"accountId"`
	Created   time.Time `json:"created"`
	Modified  time.Time `json:"modified"`
	Groups    []string  `json:"groups"` // display names
	UserData
}

func (u *UserData) givenName() string {
	if u.Name == nil {
		return ""
	}
	return u.Name.GivenName
}

func (u *UserData) familyName() string {
	if u.Name == nil {
		return ""
	}
	return u.Name.FamilyName
}

// primary is the address that stands for the account.
func (u *UserData) primary() string {
	for _, e := range u.Emails {
		if e.Primary {
			return e.Value
		}
	}
	return ""
}

func (u *UserData) clone() UserData {
	c := *u
	if u.Name != nil {
		n := *u.Name
		c.Name = &n
	}
	c.Emails = slices.Clone(u.Emails)
	c.PhoneNumbers = slices.Clone(u.PhoneNumbers)
	return c
}

const primaryNeeded = "Resource [USER] One email address need to be marked as primary."

// check says whether the data is complete: a userName and exactly one primary address.
func (u *UserData) check() error {
	if strings.TrimSpace(u.UserName) == "" {
		return badRequest("invalidValue", "Resource [USER] userName is required.")
	}
	n := 0
	for _, e := range u.Emails {
		if e.Primary {
			n++
		}
	}
	if n != 1 {
		return badRequest("", primaryNeeded)
	}
	if !plausibleEmail(u.primary()) {
		return badRequest("invalidValue", "Resource [USER] %s is not an email address.", u.primary())
	}
	return nil
}

// toString, toBool coerce what clients send in the place of a string or boolean.
func toString(v any) (string, bool) {
	switch x := v.(type) {
	case nil:
		return "", true
	case string:
		return x, true
	case bool:
		return fmt.Sprint(x), true
	case float64:
		return strconv.FormatFloat(x, 'f', -1, 64), true
	}
	return "", false
}

func toBool(v any) (value, ok bool) {
	switch x := v.(type) {
	case bool:
		return x, true
	case string:
		switch strings.ToLower(strings.TrimSpace(x)) {
		case "true":
			return true, true
		case "false":
			return false, true
		}
	}
	return false, false
}

// errUnknownAttribute marks an attribute that the service doesn't have.
var errUnknownAttribute = fmt.Errorf("unknown attribute")

func wrongType(name string) error {
	return badRequest("invalidValue", "Resource [USER] invalid value for attribute %s.", name)
}

// set gives one top-level attribute a new value; null clears it.
func (u *UserData) set(name string, v any) error {
	if p := u.text(strings.ToLower(name)); p != nil {
		s, ok := toString(v)
		if !ok {
			return wrongType(name)
		}
		*p = s
		return nil
	}
	switch strings.ToLower(name) {
	case "active":
		if v == nil {
			u.Active = true
			return nil
		}
		b, ok := toBool(v)
		if !ok {
			return wrongType(name)
		}
		u.Active = b
	case "name":
		if v == nil {
			u.Name = nil
			return nil
		}
		m, ok := v.(map[string]any)
		if !ok {
			return wrongType(name)
		}
		for k, sub := range m {
			if err := u.setName(k, sub); err != nil {
				return err
			}
		}
	case "emails", "phonenumbers":
		list, err := multiValues(name, v)
		if err != nil {
			return err
		}
		*u.multi(strings.ToLower(name)) = list
	case strings.ToLower(urnEnterprise):
		if v == nil {
			u.Organization, u.Department = "", ""
			return nil
		}
		m, ok := v.(map[string]any)
		if !ok {
			return wrongType(name)
		}
		for k, sub := range m {
			switch strings.ToLower(k) {
			case "organization", "department":
				if err := u.set(k, sub); err != nil {
					return err
				}
			}
		}
	case "id", "meta", "groups", "schemas", strings.ToLower(urnExternal):
		// read-only: ignored
	default:
		return errUnknownAttribute
	}
	return nil
}

// text finds the simple string attribute of that (lower-cased) name.
func (u *UserData) text(name string) *string {
	switch name {
	case "username":
		return &u.UserName
	case "externalid":
		return &u.ExternalID
	case "displayname":
		return &u.DisplayName
	case "nickname":
		return &u.NickName
	case "title":
		return &u.Title
	case "preferredlanguage":
		return &u.PreferredLanguage
	case "timezone":
		return &u.Timezone
	case "organization":
		return &u.Organization
	case "department":
		return &u.Department
	}
	return nil
}

func (u *UserData) multi(name string) *[]MultiValue {
	if name == "emails" {
		return &u.Emails
	}
	return &u.PhoneNumbers
}

func (u *UserData) setName(sub string, v any) error {
	n := UserName{}
	if u.Name != nil {
		n = *u.Name
	}
	s, ok := toString(v)
	if !ok {
		return wrongType("name." + sub)
	}
	switch strings.ToLower(sub) {
	case "formatted":
		n.Formatted = s
	case "familyname":
		n.FamilyName = s
	case "givenname":
		n.GivenName = s
	case "middlename":
		n.MiddleName = s
	case "honorificprefix":
		n.HonorificPrefix = s
	case "honorificsuffix":
		n.HonorificSuffix = s
	default:
		return nil
	}
	u.Name = &n
	if n == (UserName{}) {
		u.Name = nil
	}
	return nil
}

// multiValues reads a list of values; one object or one string stands for a list of one.
func multiValues(name string, v any) ([]MultiValue, error) {
	var in []any
	switch x := v.(type) {
	case nil:
		return nil, nil
	case []any:
		in = x
	case map[string]any, string:
		in = []any{x}
	default:
		return nil, wrongType(name)
	}
	out := make([]MultiValue, 0, len(in))
	for _, item := range in {
		var mv MultiValue
		switch x := item.(type) {
		case string:
			mv.Value = x
		case map[string]any:
			for k, sub := range x {
				if err := mv.set(name, k, sub); err != nil {
					return nil, err
				}
			}
		default:
			return nil, wrongType(name)
		}
		if mv.Value == "" {
			return nil, wrongType(name)
		}
		out = append(out, mv)
	}
	return out, nil
}

func (mv *MultiValue) set(name, sub string, v any) error {
	if strings.EqualFold(sub, "primary") {
		b, ok := toBool(v)
		if !ok && v != nil {
			return wrongType(name + ".primary")
		}
		mv.Primary = b
		return nil
	}
	s, ok := toString(v)
	if !ok {
		return wrongType(name + "." + sub)
	}
	switch strings.ToLower(sub) {
	case "value":
		mv.Value = s
	case "display":
		mv.Display = s
	case "type":
		mv.Type = s
	}
	return nil
}

func (mv *MultiValue) matches(e equality) bool {
	switch strings.ToLower(e.attribute) {
	case "type":
		s, ok := e.value.(string)
		return ok && strings.EqualFold(s, mv.Type)
	case "value":
		s, ok := e.value.(string)
		return ok && strings.EqualFold(s, mv.Value)
	case "primary":
		b, ok := toBool(e.value)
		return ok && b == mv.Primary
	}
	return false
}

// newUserData reads the body of POST and PUT. What is left out has its default.
func newUserData(m map[string]any, requireSchemas bool) (UserData, error) {
	u := UserData{Active: true}
	if requireSchemas {
		if v, ok := field(m, "schemas"); !ok || v == nil {
			return u, badRequest("invalidSyntax", "Resource [USER] schemas is required.")
		}
	}
	for k, v := range m {
		if err := u.set(k, v); err != nil && !errors.Is(err, errUnknownAttribute) {
			return u, err
		}
	}
	// The enterprise extension wins over top-level members of the same name, whatever their order.
	if v, ok := field(m, urnEnterprise); ok {
		if err := u.set(urnEnterprise, v); err != nil {
			return u, err
		}
	}
	return u, u.check()
}

type wireUser struct {
	Schemas           []string        `json:"schemas"`
	UserName          string          `json:"userName"`
	Emails            []MultiValue    `json:"emails"`
	PhoneNumbers      []MultiValue    `json:"phoneNumbers,omitempty"`
	ExternalID        string          `json:"externalId,omitempty"`
	Name              *UserName       `json:"name,omitempty"`
	DisplayName       string          `json:"displayName,omitempty"`
	NickName          string          `json:"nickName,omitempty"`
	Title             string          `json:"title,omitempty"`
	PreferredLanguage string          `json:"preferredLanguage,omitempty"`
	Timezone          string          `json:"timezone,omitempty"`
	Meta              wireMeta        `json:"meta"`
	Groups            []wireReference `json:"groups"`
	Enterprise        *wireEnterprise `json:"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User,omitempty"`
	External          wireExternal    `json:"urn:scim:schemas:extension:atlassian-external:1.0"`
	ID                string          `json:"id"`
	Active            bool            `json:"active"`
}

type wireReference struct {
	Type    string `json:"type"`
	Value   string `json:"value"`
	Display string `json:"display"`
	Ref     string `json:"$ref"`
}

type wireEnterprise struct {
	Organization string `json:"organization,omitempty"`
	Department   string `json:"department,omitempty"`
}

type wireExternal struct {
	AtlassianAccountID string `json:"atlassianAccountId,omitempty"`
}

func (s *Site) renderUser(d *directory, u *userRecord) []byte {
	base := s.scimBase(d)
	w := wireUser{
		Schemas:  []string{urnExternal, urnUser, urnEnterprise},
		UserName: u.UserName, Emails: u.Emails, PhoneNumbers: u.PhoneNumbers, ExternalID: u.ExternalID, Name: u.Name,
		DisplayName: u.DisplayName, NickName: u.NickName, Title: u.Title, PreferredLanguage: u.PreferredLanguage, Timezone: u.Timezone,
		Meta: wireMeta{
			ResourceType: "User", Location: base + "/Users/" + u.id,
			LastModified: timestamp(u.modified), Created: timestamp(u.created),
		},
		Groups:   make([]wireReference, 0, len(u.groups)),
		External: wireExternal{u.accountID},
		ID:       u.id, Active: u.Active,
	}
	if u.Organization != "" || u.Department != "" {
		w.Enterprise = &wireEnterprise{u.Organization, u.Department}
	}
	for _, id := range u.groups {
		if g := d.groupByID[id]; g != nil {
			w.Groups = append(w.Groups, wireReference{"direct", id, g.DisplayName, base + "/Groups/" + id})
		}
	}
	return marshal(w)
}

// projection is attributes or excludedAttributes of a request (RFC 7644 §3.9).
type projection struct {
	only, without []string
}

func readProjection(q url.Values) (*projection, error) {
	only, without := q.Get("attributes"), q.Get("excludedAttributes")
	if only != "" && without != "" {
		return nil, badRequest("invalidValue", "Resource [USER] attributes and excludedAttributes can't be used together.")
	}
	if only == "" && without == "" {
		return nil, nil
	}
	split := func(s string) []string {
		var out []string
		for f := range strings.SplitSeq(s, ",") {
			if f = strings.ToLower(strings.TrimSpace(f)); f != "" {
				out = append(out, strings.TrimPrefix(f, strings.ToLower(urnUser)+":"))
			}
		}
		return out
	}
	return &projection{split(only), split(without)}, nil
}

// apply cuts a rendered resource down. id and schemas are always returned.
func (p *projection) apply(resource []byte) []byte {
	if p == nil {
		return resource
	}
	var m map[string]json.RawMessage
	if json.Unmarshal(resource, &m) != nil {
		return resource
	}
	out := map[string]json.RawMessage{}
	for k, v := range m {
		key := strings.ToLower(k)
		if key == "id" || key == "schemas" {
			out[k] = v
			continue
		}
		if p.only != nil {
			if slices.Contains(p.only, key) {
				out[k] = v
			} else if subs := subAttributes(p.only, key); subs != nil {
				out[k] = trim(v, func(sub string) bool { return slices.Contains(subs, sub) })
			} else if key == strings.ToLower(urnEnterprise) && (slices.Contains(p.only, "department") || slices.Contains(p.only, "organization")) {
				out[k] = trim(v, func(sub string) bool { return slices.Contains(p.only, sub) })
			}
			continue
		}
		if slices.Contains(p.without, key) {
			continue
		}
		if subs := subAttributes(p.without, key); subs != nil {
			v = trim(v, func(sub string) bool { return !slices.Contains(subs, sub) })
		}
		out[k] = v
	}
	return marshal(out)
}

// subAttributes lists what the projection names below an attribute: "value" for "emails.value".
func subAttributes(paths []string, attribute string) []string {
	var out []string
	for _, p := range paths {
		if rest, ok := strings.CutPrefix(p, attribute+"."); ok {
			out = append(out, rest)
		} else if rest, ok := strings.CutPrefix(p, attribute+":"); ok {
			out = append(out, rest)
		}
	}
	return out
}

func trim(v json.RawMessage, keep func(string) bool) json.RawMessage {
	var list []map[string]json.RawMessage
	if json.Unmarshal(v, &list) == nil {
		for _, m := range list {
			for k := range m {
				if !keep(strings.ToLower(k)) {
					delete(m, k)
				}
			}
		}
		return marshal(list)
	}
	var m map[string]json.RawMessage
	if json.Unmarshal(v, &m) == nil {
		for k := range m {
			if !keep(strings.ToLower(k)) {
				delete(m, k)
			}
		}
		return marshal(m)
	}
	return v
}

func (s *Site) answerUsers(method, dirID, id string, q url.Values, body []byte) (*answer, error) {
	proj, err := readProjection(q)
	if err != nil {
		return nil, err
	}
	if id == "" {
		switch method {
		case http.MethodGet:
			return s.listUsers(dirID, q, proj)
		case http.MethodPost:
			return s.createUser(dirID, body, proj)
		}
		return nil, nil
	}
	switch method {
	case http.MethodGet:
		s.mu.RLock()
		defer s.mu.RUnlock()
		d := s.st.directory(dirID)
		u := d.userByID[id]
		if u == nil {
			return nil, notFound("USER", id)
		}
		return scimAnswer(http.StatusOK, proj.apply(s.renderUser(d, u))), nil
	case http.MethodPut, http.MethodPatch:
		return s.changeUser(method, dirID, id, body, proj)
	case http.MethodDelete:
		return s.deleteUser(dirID, id)
	}
	return nil, nil
}

func (s *Site) listUsers(dirID string, q url.Values, proj *projection) (*answer, error) {
	start, count, err := page(q)
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	d := s.st.directory(dirID)
	found := d.users
	if text := q.Get("filter"); text != "" || q.Has("filter") {
		attr, value, err := resourceFilter("USER", text, "userName", "externalId")
		if err != nil {
			return nil, err
		}
		u := d.userByName[fold(value)]
		if attr == "externalId" {
			u = d.userByExt[value]
		}
		found = nil
		if u != nil {
			found = []*userRecord{u}
		}
	}
	from, to := window(len(found), start, count)
	resources := make([][]byte, 0, to-from)
	for _, u := range found[from:to] {
		resources = append(resources, proj.apply(s.renderUser(d, u)))
	}
	return listAnswer(len(found), start, count, resources), nil
}

// clash finds another record with the same address, userName or externalId.
func (s *Site) clash(d *directory, self *userRecord, u *UserData) error {
	if o := d.userByEmail[fold(u.primary())]; o != nil && o != self {
		return conflict("Resource [USER]: with email[%s] already exists.", u.primary())
	}
	if o := d.userByName[fold(u.UserName)]; o != nil && o != self {
		return conflict("Resource [USER]: with userName[%s] already exists.", u.UserName)
	}
	if u.ExternalID != "" && s.st.switches.UniqueExternalID {
		if o := d.userByExt[u.ExternalID]; o != nil && o != self {
			return conflict("Resource [USER]: with externalId[%s] already exists.", u.ExternalID)
		}
	}
	return nil
}

func (d *directory) index(u *userRecord) {
	d.userByName[fold(u.UserName)] = u
	d.userByEmail[fold(u.primary())] = u
	if u.ExternalID != "" && d.userByExt[u.ExternalID] == nil {
		d.userByExt[u.ExternalID] = u
	}
}

func (d *directory) unindex(u *userRecord) {
	delete(d.userByName, fold(u.UserName))
	delete(d.userByEmail, fold(u.primary()))
	if u.ExternalID != "" && d.userByExt[u.ExternalID] == u {
		delete(d.userByExt, u.ExternalID)
	}
}

func (s *Site) createUser(dirID string, body []byte, proj *projection) (*answer, error) {
	m, err := object("USER", body)
	if err != nil {
		return nil, err
	}
	s.lock()
	defer s.unlock()
	d := s.st.directory(dirID)
	data, err := newUserData(m, s.st.switches.RequireSchemas)
	if err != nil {
		return nil, err
	}
	if err := s.clash(d, nil, &data); err != nil {
		return nil, err
	}
	if n := limit(s.st.switches.MaxUsers, hardMaxUsers); len(d.users) >= n {
		return nil, badRequest("tooMany", "Resource [USER] limit of %d users per directory reached.", n)
	}
	now := s.now().UTC().Truncate(time.Microsecond)
	d.userSeq++
	u := &userRecord{UserData: data, id: newID(), seq: d.userSeq, created: now, modified: now}
	d.users = append(d.users, u)
	d.userByID[u.id] = u
	d.index(u)
	s.st.link(now, d, u)
	s.st.later(now, effect{Kind: effectAccount, Directory: d.id, User: u.id})
	out := s.renderUser(d, u)
	a := scimAnswer(http.StatusCreated, proj.apply(out))
	a.location = s.scimBase(d) + "/Users/" + u.id
	return a, nil
}

func (s *Site) changeUser(method, dirID, id string, body []byte, proj *projection) (*answer, error) {
	m, err := object("USER", body)
	if err != nil {
		return nil, err
	}
	s.lock()
	defer s.unlock()
	d := s.st.directory(dirID)
	u := d.userByID[id]
	if u == nil {
		return nil, notFound("USER", id)
	}
	var data UserData
	if method == http.MethodPut {
		data, err = newUserData(m, s.st.switches.RequireSchemas)
	} else {
		data = u.clone()
		if err = patchUser(&data, m, s.st.switches); err == nil {
			err = data.check()
		}
	}
	if err != nil {
		return nil, err
	}
	if err := s.replaceUser(d, u, data); err != nil {
		return nil, err
	}
	return scimAnswer(http.StatusOK, proj.apply(s.renderUser(d, u))), nil
}

// replaceUser gives a record new data and lets a changed address do what it does to the account (A.8).
func (s *Site) replaceUser(d *directory, u *userRecord, data UserData) error {
	if reflect.DeepEqual(u.UserData, data) {
		return nil
	}
	if err := s.clash(d, u, &data); err != nil {
		return err
	}
	now := s.now().UTC().Truncate(time.Microsecond)
	oldEmail, newEmail := u.primary(), data.primary()
	moved := fold(oldEmail) != fold(newEmail)
	if moved {
		if o := s.st.accountByEmail[fold(newEmail)]; o != nil && o.id != u.accountID {
			return conflict("Resource [USER]: with email[%s] already exists.", newEmail)
		}
	}
	d.unindex(u)
	u.UserData, u.modified = data, now
	d.index(u)
	if a := s.st.accountByID[u.accountID]; a != nil && oldEmail != newEmail {
		if !moved || (s.st.managed(a) && s.st.verified(newEmail)) {
			s.st.renameAccount(a, newEmail)
		} else {
			s.st.unlink(u)
			s.st.leaveDirectory(a, d.id)
			s.st.troubleshoot(now, d.id, fmt.Sprintf(
				"Email update to unmanaged user with ID %s, primary email %s, unlinked any associated atlassian account.", u.id, newEmail))
		}
	}
	s.st.later(now, effect{Kind: effectAccount, Directory: d.id, User: u.id})
	return nil
}

func (s *Site) deleteUser(dirID, id string) (*answer, error) {
	s.lock()
	defer s.unlock()
	d := s.st.directory(dirID)
	u := d.userByID[id]
	if u == nil {
		return nil, notFound("USER", id)
	}
	for _, gid := range u.groups {
		if g := d.groupByID[gid]; g != nil && g.drop(u.id) {
			d.memberships--
			g.modified = s.now().UTC().Truncate(time.Microsecond)
		}
	}
	d.unindex(u)
	delete(d.userByID, u.id)
	i := sort.Search(len(d.users), func(i int) bool { return d.users[i].seq >= u.seq })
	d.users = slices.Delete(d.users, i, i+1)
	if a := s.st.unlink(u); a != nil {
		s.st.later(s.now(), effect{Kind: effectUserDelete, Directory: d.id, Account: a.id})
	}
	return &answer{status: http.StatusNoContent}, nil
}

// Users lists the SCIM users of a directory in the order of their creation.
func (s *Site) Users(directoryID string) []User {
	s.mu.RLock()
	defer s.mu.RUnlock()
	d := s.st.directory(directoryID)
	if d == nil {
		return nil
	}
	out := make([]User, 0, len(d.users))
	for _, u := range d.users {
		out = append(out, d.userView(u))
	}
	return out
}

// User finds a SCIM user by id, userName, externalId or primary e-mail address.
func (s *Site) User(directoryID, ref string) (User, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	d := s.st.directory(directoryID)
	if d == nil {
		return User{}, refuse(http.StatusNotFound, "There is no directory %s.", directoryID)
	}
	for _, u := range []*userRecord{d.userByID[ref], d.userByName[fold(ref)], d.userByExt[ref], d.userByEmail[fold(ref)]} {
		if u != nil {
			return d.userView(u), nil
		}
	}
	return User{}, refuse(http.StatusNotFound, "There is no user %s in the directory %s.", ref, d.name)
}

func (d *directory) userView(u *userRecord) User {
	v := User{ID: u.id, AccountID: u.accountID, Created: u.created, Modified: u.modified, UserData: u.UserData, Groups: []string{}}
	for _, id := range u.groups {
		if g := d.groupByID[id]; g != nil {
			v.Groups = append(v.Groups, g.DisplayName)
		}
	}
	slices.Sort(v.Groups)
	return v
}
