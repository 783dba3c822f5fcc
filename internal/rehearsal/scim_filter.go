package rehearsal

import (
	"encoding/json"
	"strings"
)

// equality is the only kind of filter that the service knows: one attribute eq one value.
type equality struct {
	attribute string // as written
	value     any    // string or bool
}

// parseEquality reads `attribute eq value`; ok is false for anything else.
func parseEquality(s string) (e equality, ok bool) {
	s = strings.TrimSpace(s)
	attr, rest, found := strings.Cut(s, " ")
	if !found || attr == "" {
		return equality{}, false
	}
	op, value, found := strings.Cut(strings.TrimSpace(rest), " ")
	if !found || !strings.EqualFold(op, "eq") {
		return equality{}, false
	}
	value = strings.TrimSpace(value)
	if strings.HasPrefix(value, `"`) {
		var str string
		if json.Unmarshal([]byte(value), &str) != nil {
			return equality{}, false // also `"a" and b eq "c"`: more than one string
		}
		return equality{attr, str}, true
	}
	switch strings.ToLower(value) {
	case "true":
		return equality{attr, true}, true
	case "false":
		return equality{attr, false}, true
	}
	return equality{}, false
}

// resourceFilter reads the filter of a list request.
func resourceFilter(kind, text string, attributes ...string) (attribute, value string, err error) {
	e, ok := parseEquality(text)
	if ok {
		name := e.attribute
		for _, urn := range []string{urnUser + ":", urnGroup + ":"} {
			if len(name) > len(urn) && strings.EqualFold(name[:len(urn)], urn) {
				name = name[len(urn):]
			}
		}
		str, isString := e.value.(string)
		for _, a := range attributes {
			if isString && strings.EqualFold(a, name) {
				return a, str, nil
			}
		}
	}
	return "", "", badRequest("invalidFilter", "Resource [%s] invalid filter", kind)
}

// attributePath is the path of a PATCH operation: attribute[filter].sub, without the schema's URN.
type attributePath struct {
	attribute string // lower case; "" stands for the whole extension
	extension string // the URN of an extension, or ""
	filter    *equality
	sub       string // lower case
}

func parsePath(s string) (attributePath, bool) {
	var p attributePath
	s = strings.TrimSpace(s)
	if s == "" {
		return p, false
	}
	if len(s) > 4 && strings.EqualFold(s[:4], "urn:") {
		known := false
		for _, urn := range []string{urnUser, urnGroup, urnEnterprise, urnExternal} {
			if len(s) >= len(urn) && strings.EqualFold(s[:len(urn)], urn) {
				rest := s[len(urn):]
				if rest != "" && rest[0] != ':' {
					continue
				}
				if urn == urnEnterprise || urn == urnExternal {
					p.extension = urn
				}
				s, known = strings.TrimPrefix(rest, ":"), true
				break
			}
		}
		if !known {
			return p, false
		}
		if s == "" {
			return p, p.extension != ""
		}
	}
	if open := strings.IndexByte(s, '['); open >= 0 {
		end := strings.LastIndexByte(s, ']')
		if end < open {
			return p, false
		}
		e, ok := parseEquality(s[open+1 : end])
		if !ok {
			return p, false
		}
		p.filter = &e
		p.attribute = strings.ToLower(s[:open])
		switch rest := s[end+1:]; {
		case rest == "":
		case rest[0] == '.' && len(rest) > 1:
			p.sub = strings.ToLower(rest[1:])
		default:
			return p, false
		}
	} else {
		attr, sub, _ := strings.Cut(s, ".")
		p.attribute, p.sub = strings.ToLower(attr), strings.ToLower(sub)
	}
	return p, p.attribute != "" && !strings.ContainsAny(p.attribute+p.sub, " []\"")
}
