package scimtest

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/latchkey-idp/latchkey/internal/scim"
)

// Hide keeps an account from being found or listed until somebody makes one with the same user
// name, which takes it over as it is: so do products where an account may be there before it is
// provisioned.
func (t *Target) Hide(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hidden[id] = true
}

// found gives the hidden account that a create takes over, or nil.
func (t *Target) found(res scim.Resource) scim.Resource {
	for id := range t.hidden {
		if u := t.store[scim.User].byID[id]; strings.EqualFold(u.UserName(), res.UserName()) {
			delete(t.hidden, id)
			return u
		}
	}
	return nil
}

// login exchanges the credentials of an account for a token.
func (t *Target) login(r *http.Request, body []byte) (int, any) {
	client, secret, _ := r.BasicAuth()
	form, err := url.ParseQuery(string(body))
	if err != nil || r.Method != http.MethodPost || form.Get("grant_type") != "account_credentials" ||
		form.Get("account_id")+":"+client+":"+secret != t.quirks.Account {
		return http.StatusBadRequest, map[string]any{"reason": "Invalid client_id or client_secret", "error": "invalid_client"}
	}
	t.sequence++
	t.access = fmt.Sprintf("access-%d", t.sequence)
	return http.StatusOK, map[string]any{"access_token": t.access, "token_type": "bearer", "expires_in": 3600}
}

// of is what a list of "User.title" and the like says of one type.
func of(kind scim.ResourceType, list []string) (out []string) {
	for _, s := range list {
		if rest, ok := strings.CutPrefix(s, string(kind)+"."); ok {
			out = append(out, rest)
		}
	}
	return out
}

// keep drops what the target doesn't keep.
func (q *Quirks) keep(kind scim.ResourceType, res scim.Resource) {
	kept := of(kind, q.Kept)
	if kept == nil {
		return
	}
	among := func(name string) bool {
		return slices.ContainsFunc(kept, func(s string) bool { return strings.EqualFold(s, name) })
	}
	for name, value := range res {
		if strings.EqualFold(name, "schemas") || among(name) {
			continue
		}
		if m, ok := value.(map[string]any); ok {
			for sub := range m {
				if !among(name + "." + sub) {
					delete(m, sub)
				}
			}
			if len(m) > 0 {
				continue
			}
		}
		delete(res, name)
	}
}

// lacks tells what is wrong with a resource as it is to be kept.
func (q *Quirks) lacks(kind scim.ResourceType, old, res scim.Resource) string {
	for _, path := range of(kind, q.Required) {
		v, ok := res.Get(path)
		if !ok || path != "members" && scim.Empty(v) {
			return path + " is required."
		}
	}
	for _, path := range of(kind, q.Single) {
		v, _ := res.Get(path)
		if l, _ := v.([]any); len(l) > 1 {
			return path + " takes one value."
		}
	}
	for name, most := range q.Longest {
		for _, path := range of(kind, []string{name}) {
			if n := utf8.RuneCountInString(res.Text(path)); n > most {
				return fmt.Sprintf("%s has %d characters, more than %d.", path, n, most)
			}
		}
	}
	if kind == scim.User && old != nil {
		for _, path := range q.Fixed {
			was, _ := old.Get(path)
			is, _ := res.Get(path)
			if !(scim.Empty(was) && scim.Empty(is)) && !scim.Equal(was, is) {
				return path + " can't be changed."
			}
		}
	}
	return ""
}

// refuses tells what is wrong with the form of a PATCH.
func (q *Quirks) refuses(kind scim.ResourceType, p scim.PatchOp) string {
	members := 0
	for _, o := range p.Operations {
		path, err := scim.ParsePath(o.Path)
		if err != nil {
			return "a path is needed."
		}
		list, _ := o.Value.([]any)
		switch {
		case kind == scim.User && q.PatchActiveOnly && o.Path != "active":
			return "active is all that PATCH changes."
		case kind == scim.User && q.NoPathFilters && path.Filter != nil:
			return "a filter in a path isn't supported."
		case kind == scim.User || !strings.EqualFold(path.Attribute, "members"):
			continue
		case q.NoMembersReplaced && (o.Op == scim.PatchReplace || o.Op == scim.PatchRemove && path.Filter == nil && len(list) == 0):
			return "members can't be changed all at once."
		case o.Op == scim.PatchRemove && q.Removal == "filter" && path.Filter == nil,
			o.Op == scim.PatchRemove && q.Removal == "value" && path.Filter != nil:
			return "members aren't removed in this form."
		}
		members += max(1, len(list))
	}
	switch {
	case kind == scim.Group && q.MostMembers > 0 && members > q.MostMembers:
		return fmt.Sprintf("more than %d members.", q.MostMembers)
	case kind == scim.Group && q.MostOperations > 0 && len(p.Operations) > q.MostOperations:
		return fmt.Sprintf("more than %d operations.", q.MostOperations)
	}
	return ""
}

// show is a resource as it is answered, alone or in a list.
func (t *Target) show(kind scim.ResourceType, r scim.Resource, listed bool) scim.Resource {
	q := &t.quirks
	unshown := of(kind, q.Unshown)
	if kind == scim.Group && (q.HideMembers || listed && q.ListHidesMembers) {
		unshown = append(unshown, "members")
	}
	named := kind == scim.User && q.EmailIsName
	if len(unshown) == 0 && len(q.Spelt) == 0 && !named {
		return r
	}
	r = r.Clone()
	for _, path := range unshown {
		_ = r.Remove(path)
	}
	if named {
		r["emails"] = map[string]any{"value": r.UserName(), "type": "work", "primary": "true"}
	}
	for right, other := range q.Spelt {
		if v, ok := r[right]; ok {
			delete(r, right)
			r[other] = v
		}
	}
	return r
}

// merged is what is there with what was sent laid over it.
func merged(old, sent scim.Resource) scim.Resource {
	out := old.Clone()
	for name, value := range sent {
		if name == "id" || name == "meta" {
			continue
		}
		was, ok1 := out[name].(map[string]any)
		is, ok2 := value.(map[string]any)
		if !ok1 || !ok2 {
			out[name] = value
			continue
		}
		for k, v := range is {
			was[k] = v
		}
	}
	return out
}

// slug is a name in lower-case letters, digits and hyphens.
func slug(name string) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(name)), "-")
}
