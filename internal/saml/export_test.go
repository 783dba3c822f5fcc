package saml

import "time"

// RuleNames lists the rules of a kind of message, those that can be broken or that read something.
func RuleNames(kind string) []string {
	var names []string
	for _, r := range tables[kind] {
		if r.check != nil {
			names = append(names, r.name)
		}
	}
	return names
}

var tables = map[string][]rule{
	kindAuthnRequest: authnRequestRules, kindLogoutRequest: logoutRequestRules, kindLogoutResponse: logoutResponseRules,
	kindResponse: responseRules,
}

// JudgeWithout judges a message by all rules of its kind but one, and returns what it decides or why it refuses.
func JudgeWithout(in Incoming, sp ServiceProvider, idp IdentityProvider, now time.Time, rule string) (any, *Error) {
	j := judgement{in: in, root: in.root, sp: sp, idp: idp, now: now, words: signOnWords}
	for _, r := range tables[in.root.Local] {
		if r.name == rule || r.check == nil {
			continue
		}
		if e := r.check(&j); e != nil {
			return nil, j.complete(e)
		}
	}
	switch in.root.Local {
	case kindAuthnRequest:
		return j.decision(), nil
	case kindLogoutRequest:
		return []any{j.id, j.issuer, j.issueInstant, j.destination, j.logout, j.reply}, nil
	case kindLogoutResponse:
		return []any{j.id, j.issuer, j.issueInstant, j.destination, j.response}, nil
	}
	return []any{j.id, j.issuer, j.issueInstant, j.destination, j.answer.status, j.answer.inResponseTo, j.answer.signatures, j.logout.NameID}, nil
}
