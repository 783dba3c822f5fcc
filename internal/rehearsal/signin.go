package rehearsal

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	sessionCookie   = "rehearsal_session"
	sessionLifetime = 30 * 24 * time.Hour // the documented idle time
	loginLifetime   = 15 * time.Minute
	maxLogins       = 10_000

	policyMismatch = "authentication-policy-strategy-mismatch"
)

// decision is what /login says about an address.
type decision struct {
	location string // where to go, when single sign-on is enforced
	message  string // what to tell, when it isn't
}

// startLogin looks up the policy for an address, as id.atlassian.com does, and begins single sign-on where the
// policy enforces it.
func (s *Site) startLogin(email, next string) (decision, error) {
	email = strings.TrimSpace(email)
	if !plausibleEmail(email) {
		return decision{}, refuse(http.StatusBadRequest, "Enter your e-mail address.")
	}
	s.lock()
	defer s.unlock()
	now := s.now()
	dirID, message := s.st.ssoDirectory(email)
	if dirID == "" {
		return decision{message: message}, nil
	}
	c := s.st.directory(dirID).saml
	relayState := newSecret()
	id, location, err := authnRequest(c, s.spEntityID(c), s.acsURL(c), relayState, now)
	if err != nil {
		return decision{}, err
	}
	s.st.pruneLogins(now)
	s.st.logins[relayState] = &pendingLogin{requestID: id, email: fold(email), directory: dirID, next: next, at: now}
	return decision{location: location}, nil
}

// ssoDirectory says by which directory an address signs in, or why by none.
func (st *state) ssoDirectory(email string) (directoryID, message string) {
	if a := st.accountByEmail[fold(email)]; a != nil {
		p := st.policy(a.policy)
		switch {
		case !st.managed(a):
			return "", email + " is not a managed account: its domain is not verified and claimed by this organization. It signs in with its own password."
		case p == nil || !p.enforce:
			return "", email + " is under a policy that does not enforce single sign-on. It signs in with its own password."
		}
		return p.directory, ""
	}
	d := st.domain(domainOf(email))
	switch {
	case d == nil || !d.verified:
		return "", "There is no account for " + email + ", and its domain is not verified here."
	case d.directory == "" || !d.automatic:
		return "", "There is no account for " + email + ". Its domain is not linked to an identity-provider directory with automatic claim, so none is created."
	case !st.defaultPolicy(d.directory).enforce:
		return "", "There is no account for " + email + ". The directory's default policy does not enforce single sign-on, so none is created."
	}
	return d.directory, ""
}

func (st *state) pruneLogins(now time.Time) {
	if len(st.logins)%500 != 499 { // now and then is enough
		return
	}
	for k, l := range st.logins {
		if now.Sub(l.at) > loginLifetime || len(st.logins) >= maxLogins {
			delete(st.logins, k)
		}
	}
}

// landing is the outcome of a SAML response: a page to go to and a session cookie, or an error.
type landing struct {
	location string
	cookie   string
}

// consume takes a SAML response at the assertion consumer service.
func (s *Site) consume(connection, response, relayState, cookie string) landing {
	s.mu.RLock()
	now, base, sw := s.now(), s.base, s.st.switches
	var d *directory
	for _, o := range s.st.directories {
		if o.saml != nil && connection == "saml-"+o.saml.sp {
			d = o
		}
	}
	var want expectation
	if d != nil {
		want = expectation{
			idpEntityID: d.saml.entityID, spEntityID: s.spEntityID(d.saml), acsURL: s.acsURL(d.saml), cert: d.saml.cert,
			skew: sw.ClockSkew, checkIssuer: sw.CheckIssuer, now: now,
		}
	}
	s.mu.RUnlock()

	in := SignIn{Time: now.UTC(), RelayState: relayState}
	var a *assertion
	var err error
	if d == nil {
		err = reject("the connection was not found", "The assertion consumer service URL must keep its query: ?connection=saml-….")
	} else {
		in.DirectoryID = d.id
		a, in.Response, err = verifyResponse(response, want)
	}
	s.lock()
	defer s.unlock()
	out := landing{}
	if err == nil {
		in.NameID, in.NameIDFormat, in.Attributes = a.nameID, a.nameIDFormat, a.attributes
		in.InResponseTo, in.Signed = a.inResponseTo, a.signed
		out, err = s.admit(d, a, relayState, cookie, now, &in)
	}
	if err != nil {
		in.Error, in.Description = "access_denied", "Something went wrong."
		if r, ok := errors.AsType[*rejection](err); ok {
			in.Description, in.Reason = r.description, r.reason
		}
		s.st.addSignIn(in)
		return landing{location: base + "/error?error=" + in.Error + "&error_description=" + percent(in.Description)}
	}
	in.OK, in.Landed = true, out.location
	s.st.addSignIn(in)
	return out
}

// percent encodes a query value with %20 for spaces, as the service's addresses have it.
func percent(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// admit decides who it is that a verified assertion brings, and whether they may come in.
func (s *Site) admit(d *directory, a *assertion, relayState, cookie string, now time.Time, in *SignIn) (landing, error) {
	st := s.st
	next := s.base + "/start"
	login := st.logins[relayState]
	switch {
	case login != nil && now.Sub(login.at) <= loginLifetime && login.directory == d.id:
		delete(st.logins, relayState) // good for once
		if login.next != "" {
			next = login.next
		}
	case a.inResponseTo != "":
		return landing{}, reject("Unable to verify the login state.",
			"The response answers a request (InResponseTo %s), but its RelayState is not the one that was sent with it. RelayState must come back unchanged.", a.inResponseTo)
	default:
		login = nil
		in.IdPInitiated = true
		switch u, err := url.Parse(relayState); {
		case relayState == "":
		case err == nil && u.IsAbs() && (relayState == s.base+"/site" || strings.HasPrefix(relayState, s.base+"/site/") || strings.HasPrefix(relayState, s.base+"/site?")):
			next = relayState
		case err == nil && u.IsAbs() && u.Host != "":
			in.Reason = "RelayState is not an address of the site, so the start page was shown."
		default:
			return landing{}, reject("Unable to verify the login state.", "RelayState %q is neither a login state that was sent nor an address of the site.", relayState)
		}
	}

	immutable := a.attribute(claimName)
	if immutable == "" {
		immutable = a.attribute(claimUPN)
	}
	acct := st.accountByEmail[fold(a.nameID)]
	before := "" // the address before the account followed the immutable id to a new one
	if known := st.byImmutableID(d, immutable); acct == nil && known != nil {
		if known.scimUser != "" {
			return landing{}, reject(policyMismatch,
				"NameID %s is new, the immutable id belongs to %s, whose address comes by SCIM. Both must carry the same address.", a.nameID, known.email)
		}
		if !plausibleEmail(a.nameID) || !st.verified(a.nameID) {
			return landing{}, reject(policyMismatch, "NameID %s is not on a verified domain, so %s can't follow it.", a.nameID, known.email)
		}
		acct, before = known, fold(known.email)
	}
	if login != nil && fold(a.nameID) != login.email && before != login.email {
		return landing{}, reject(policyMismatch, "The login was begun for %s, the NameID is %s: it must be the account's e-mail address.", login.email, a.nameID)
	}
	if before != "" {
		st.renameAccount(acct, a.nameID)
	}
	if acct == nil {
		var err error
		if acct, err = st.justInTime(d, a, immutable, now); err != nil {
			return landing{}, err
		}
		in.Created = true
	}
	p := st.policy(acct.policy)
	switch {
	case !acct.active:
		return landing{}, reject("Your account is deactivated.", "%s is deactivated.", acct.email)
	case !st.managed(acct):
		return landing{}, reject(policyMismatch, "%s is not a managed account of this organization.", acct.email)
	case p == nil || p.directory != d.id:
		return landing{}, reject(policyMismatch, "%s is under a policy of another directory. Move it into the policy that uses this identity provider.", acct.email)
	case !p.enforce:
		return landing{}, reject(policyMismatch, "%s is under the policy %q, which does not enforce single sign-on.", acct.email, p.name)
	}
	if st.switches.RefuseSecondAccount && cookie != "" {
		if se := st.sessions[hashSecret(cookie)]; se != nil && se.accountID != acct.id {
			if other := st.accountByID[se.accountID]; other != nil && other.active {
				return landing{}, reject(policyMismatch, "This browser is signed in as %s. Sign out first, or use a private window.", other.email)
			}
		}
	}
	if immutable != "" {
		if fold(immutable) == fold(a.nameID) {
			st.troubleshoot(now, d.id, "SAML: the immutable id of "+acct.email+" is the e-mail address; it must be a value that never changes.")
		}
		acct.immutableID = immutable
		st.accountByImmutable[immutable] = acct
	}
	if acct.scimUser == "" {
		// At each login the names follow the assertion, unless SCIM manages them.
		given, family := a.attribute(claimGivenName), a.attribute(claimSurname)
		if given != "" || family != "" {
			acct.given, acct.family = given, family
			acct.fullName = strings.TrimSpace(given + " " + family)
			acct.publicName = acct.fullName
		}
	}
	acct.lastSignIn = now.UTC()
	in.AccountID = acct.id
	secret := newSecret()
	st.pruneSessions(now)
	st.sessions[hashSecret(secret)] = &session{
		id: newID(), accountID: acct.id, started: now.UTC(), nameID: a.nameID, directory: d.id, attributes: a.attributes,
	}
	return landing{location: next, cookie: secret}, nil
}

func (st *state) byImmutableID(d *directory, id string) *account {
	if id == "" {
		return nil
	}
	a := st.accountByImmutable[id]
	if a == nil || a.immutableID != id {
		return nil
	}
	if p := st.policy(a.policy); p == nil || p.directory != d.id {
		return nil
	}
	return a
}

// justInTime creates the account of an unknown NameID where everything that it needs is in place.
func (st *state) justInTime(d *directory, a *assertion, immutable string, now time.Time) (*account, error) {
	dom := st.domain(domainOf(a.nameID))
	deflt := st.defaultPolicy(d.id)
	switch {
	case !plausibleEmail(a.nameID):
		return nil, reject(policyMismatch, "NameID %q is not an e-mail address.", a.nameID)
	case dom == nil || !dom.verified:
		return nil, reject(policyMismatch, "There is no account %s, and its domain is not verified.", a.nameID)
	case !dom.automatic:
		return nil, reject(policyMismatch, "There is no account %s. Just-in-time needs the domain's claim setting to be automatic.", a.nameID)
	case dom.directory != d.id:
		return nil, reject(policyMismatch, "There is no account %s. Just-in-time needs its domain to be linked to this directory.", a.nameID)
	case !deflt.enforce:
		return nil, reject(policyMismatch, "There is no account %s. Just-in-time needs the directory's default policy to enforce single sign-on.", a.nameID)
	}
	var missing []string
	for name, v := range map[string]string{claimGivenName: a.attribute(claimGivenName), claimSurname: a.attribute(claimSurname), claimName: immutable} {
		if v == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return nil, reject(policyMismatch, "There is no account %s, and just-in-time needs these attributes too: %s.", a.nameID, strings.Join(missing, ", "))
	}
	acct := &account{
		id: newAccountID(), email: a.nameID, active: true, source: SourceJIT, created: now.UTC(), policy: deflt.id,
	}
	st.addAccount(acct)
	return acct, nil
}

func (st *state) pruneSessions(now time.Time) {
	if len(st.sessions)%1000 != 999 {
		return
	}
	for k, se := range st.sessions {
		if now.Sub(se.started) > sessionLifetime || len(st.sessions) > 50_000 {
			delete(st.sessions, k)
		}
	}
}

// visitor is who is signed in with a browser, and what the site shows them.
type visitor struct {
	Session Session         `json:"session"`
	Account Account         `json:"account"`
	Access  []productAccess `json:"access"`
}

type productAccess struct {
	Product string `json:"product"`
	Group   string `json:"group,omitempty"` // the group that gives access; "" when none does
}

// visitor finds the session of a browser. Sessions of deactivated accounts end.
func (s *Site) visitor(r *http.Request) *visitor {
	c, err := r.Cookie(sessionCookie)
	if err != nil || c.Value == "" {
		return nil
	}
	s.lock()
	defer s.unlock()
	key := hashSecret(c.Value)
	se := s.st.sessions[key]
	if se == nil {
		return nil
	}
	a := s.st.accountByID[se.accountID]
	if a == nil || !a.active || s.now().Sub(se.started) > sessionLifetime {
		delete(s.st.sessions, key)
		return nil
	}
	v := &visitor{Session: se.view(a), Account: s.accountView(a), Access: []productAccess{}}
	for _, p := range s.st.products {
		v.Access = append(v.Access, productAccess{p.name, s.st.grants(p, a)})
	}
	return v
}

// signOut ends the session of a browser.
func (s *Site) signOut(r *http.Request) {
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return
	}
	s.lock()
	defer s.unlock()
	delete(s.st.sessions, hashSecret(c.Value))
}

// SignOutEverywhere ends all sessions of an account, named by id or e-mail address.
func (s *Site) SignOutEverywhere(ref string) error {
	s.lock()
	defer s.unlock()
	a := s.st.account(ref)
	if a == nil {
		return refuse(http.StatusNotFound, "There is no account %s.", ref)
	}
	for k, se := range s.st.sessions {
		if se.accountID == a.id {
			delete(s.st.sessions, k)
		}
	}
	return nil
}
