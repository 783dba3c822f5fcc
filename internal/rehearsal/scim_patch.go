package rehearsal

import (
	"errors"
	"strings"
)

// operation is one entry of a PATCH request (RFC 7644 §3.5.2), with op in lower case.
type operation struct {
	op    string
	path  string
	value any
}

// operations reads a PATCH body. Keys and op are matched without regard to case: clients send both
// "Operations" and "operations", "Replace" and "replace".
func operations(kind string, m map[string]any) ([]operation, error) {
	v, _ := field(m, "Operations")
	list, ok := v.([]any)
	if !ok || len(list) == 0 {
		return nil, badRequest("invalidSyntax", "Resource [%s] Operations is required.", kind)
	}
	out := make([]operation, 0, len(list))
	for _, item := range list {
		o, ok := item.(map[string]any)
		if !ok {
			return nil, badRequest("invalidSyntax", "Resource [%s] an operation is not an object.", kind)
		}
		op, _ := field(o, "op")
		path, _ := field(o, "path")
		value, _ := field(o, "value")
		name, _ := op.(string)
		text, ok := path.(string)
		if !ok && path != nil {
			return nil, badRequest("invalidPath", "Resource [%s] invalid path.", kind)
		}
		name = strings.ToLower(name)
		switch name {
		case "add", "replace", "remove":
		default:
			return nil, badRequest("invalidSyntax", "Resource [%s] op must be add, remove or replace.", kind)
		}
		out = append(out, operation{name, strings.TrimSpace(text), value})
	}
	return out, nil
}

// patchUser applies a PATCH body to the data of a user.
func patchUser(u *UserData, m map[string]any, sw Switches) error {
	ops, err := operations("USER", m)
	if err != nil {
		return err
	}
	for _, o := range ops {
		if o.path == "" {
			obj, ok := o.value.(map[string]any)
			if !ok || o.op == "remove" {
				return badRequest("noTarget", "Resource [USER] a path is required.")
			}
			for k, v := range obj {
				// Keys are attribute names, or paths as some clients write them ("name.givenName").
				err := u.patch(operation{o.op, k, v})
				if errors.Is(err, errUnknownAttribute) {
					continue
				}
				if err != nil {
					return err
				}
			}
			continue
		}
		if o.op == "replace" && sw.RefuseSameEmail && strings.EqualFold(o.path, "emails") {
			if list, err := multiValues("emails", o.value); err == nil && sameAddresses(list, u.Emails) {
				return badRequest("", primaryNeeded) // ID-8027
			}
		}
		err := u.patch(o)
		if errors.Is(err, errUnknownAttribute) {
			if sw.IgnoreUnknownPaths {
				continue
			}
			return badRequest("invalidPath", "Resource [USER] invalid path %s", o.path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sameAddresses says whether two lists hold the same addresses, in any order.
func sameAddresses(a, b []MultiValue) bool {
	if len(a) != len(b) {
		return false
	}
	have := map[string]int{}
	for _, v := range a {
		have[fold(v.Value)]++
	}
	for _, v := range b {
		have[fold(v.Value)]--
		if have[fold(v.Value)] < 0 {
			return false
		}
	}
	return true
}

// patch applies one operation whose path names an attribute.
func (u *UserData) patch(o operation) error {
	p, ok := parsePath(o.path)
	if !ok {
		return badRequest("invalidPath", "Resource [USER] invalid path %s", o.path)
	}
	remove := o.op == "remove"
	if p.extension == urnExternal {
		return badRequest("mutability", "Resource [USER] attribute %s is read only.", o.path)
	}
	if p.extension == urnEnterprise {
		switch p.attribute {
		case "":
			if remove {
				return u.set(urnEnterprise, nil)
			}
			return u.set(urnEnterprise, o.value)
		case "organization", "department":
		default:
			return errUnknownAttribute
		}
	}
	switch p.attribute {
	case "name":
		switch {
		case p.filter != nil:
			return badRequest("invalidPath", "Resource [USER] invalid path %s", o.path)
		case p.sub != "" && remove:
			return u.setName(p.sub, nil)
		case p.sub != "":
			return u.setName(p.sub, o.value)
		case remove:
			u.Name = nil
			return nil
		}
		return u.set("name", o.value)
	case "emails", "phonenumbers":
		return u.patchMulti(p, o)
	case "id", "meta", "groups", "schemas":
		return badRequest("mutability", "Resource [USER] attribute %s is read only.", o.path)
	}
	if p.sub != "" || p.filter != nil {
		if u.text(p.attribute) == nil && p.attribute != "active" {
			return errUnknownAttribute
		}
		return badRequest("invalidPath", "Resource [USER] invalid path %s", o.path)
	}
	if remove {
		switch {
		case p.attribute == "username", p.attribute == "active":
			return badRequest("mutability", "Resource [USER] attribute %s can't be removed.", o.path)
		case u.text(p.attribute) == nil:
			return errUnknownAttribute
		}
		*u.text(p.attribute) = ""
		return nil
	}
	if p.attribute == "active" && o.value == nil {
		return wrongType("active")
	}
	return u.set(p.attribute, o.value)
}

// patchMulti applies an operation to emails or phoneNumbers, with or without a filter.
func (u *UserData) patchMulti(p attributePath, o operation) error {
	list := u.multi(p.attribute)
	if p.filter == nil {
		if p.sub != "" {
			return badRequest("invalidPath", "Resource [USER] invalid path %s", o.path)
		}
		in, err := multiValues(p.attribute, o.value)
		if err != nil {
			return err
		}
		switch o.op {
		case "remove":
			*list = nil
		case "replace":
			*list = in
		case "add":
			for _, v := range in {
				addValue(list, v)
			}
		}
		return nil
	}
	hit := -1
	for i := range *list {
		if (*list)[i].matches(*p.filter) {
			hit = i
			break
		}
	}
	switch {
	case o.op == "remove" && p.sub == "":
		kept := (*list)[:0]
		for _, v := range *list {
			if !v.matches(*p.filter) {
				kept = append(kept, v)
			}
		}
		*list = kept
		return nil
	case o.op == "remove":
		if hit < 0 {
			return nil
		}
		return (*list)[hit].set(p.attribute, p.sub, nil)
	case hit < 0 && o.op == "replace":
		return badRequest("noTarget", "Resource [USER] nothing matches %s", o.path)
	}
	var mv MultiValue
	if hit >= 0 {
		mv = (*list)[hit]
	} else if s, ok := p.filter.value.(string); ok {
		_ = mv.set(p.attribute, p.filter.attribute, s)
	}
	if p.sub != "" {
		if err := mv.set(p.attribute, p.sub, o.value); err != nil {
			return err
		}
	} else {
		m, ok := o.value.(map[string]any)
		if !ok {
			return wrongType(p.attribute)
		}
		for k, v := range m {
			if err := mv.set(p.attribute, k, v); err != nil {
				return err
			}
		}
	}
	if hit < 0 {
		addValue(list, mv)
		return nil
	}
	if mv.Primary && !(*list)[hit].Primary {
		for i := range *list {
			(*list)[i].Primary = false
		}
	}
	(*list)[hit] = mv
	return nil
}

// addValue adds a value or merges it with the one that is there; a new primary takes the flag from the others
// (RFC 7644 §3.5.2.1).
func addValue(list *[]MultiValue, v MultiValue) {
	if v.Primary {
		for i := range *list {
			(*list)[i].Primary = false
		}
	}
	for i := range *list {
		if strings.EqualFold((*list)[i].Value, v.Value) {
			(*list)[i] = v
			return
		}
	}
	*list = append(*list, v)
}
