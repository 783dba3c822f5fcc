package main

const (
	tokenFile    = "internal/authn/token.go"
	sessionFile  = "internal/authn/session.go"
	flowFile     = "internal/authn/flow.go"
	linkFile     = "internal/authn/link.go"
	keyFile      = "internal/authn/apikey.go"
	signInFile   = "internal/authn/signin.go"
	throttleFile = "internal/authn/throttle.go"
	passwordFile = "internal/authn/password.go"
	hashFile     = "internal/authn/hash.go"
)

// sessionChecks are those of who is signed in, and of how they got there.
var sessionChecks = []check{
	{"token: its length", tokenFile, one("if len(token) != tokenChars {", "if false {"), tokenSuite},
	{"token: one spelling only", tokenFile, one("base64.RawURLEncoding.Strict().DecodeString(token)", "base64.RawURLEncoding.DecodeString(token)"), tokenSuite},
	{"session: the person's sessions were not ended", sessionFile, one("WHERE s.epoch = u.session_epoch AND u.state", "WHERE u.state"), sessionSuite},
	{"session: the person is active", sessionFile, one("AND u.state = '` + string(directory.Active) + `' AND `", "AND `"), sessionSuite},
	{"session: its end", sessionFile, one("return now.Before(s.ExpiresAt) && now.Sub(s.SeenAt) < a.idle", "return now.Sub(s.SeenAt) < a.idle"), sessionSuite},
	{"session: idle", sessionFile, one("return now.Before(s.ExpiresAt) && now.Sub(s.SeenAt) < a.idle", "return now.Before(s.ExpiresAt)"), sessionSuite},
	{"session: another's may not go on", sessionFile, one("WHERE token_hash = $7 AND user_id = $8 AND epoch = $9", "WHERE token_hash = $7 AND $8 <> '' AND epoch = $9"), sessionSuite},
	{"session: the one before ends", sessionFile, one("if _, err := tx.Exec(`DELETE FROM sessions WHERE token_hash = $1`, old); err != nil {", "if err != nil && false {"), sessionSuite},
	{"session: only who may ends another's", sessionFile, one("if !own(by, s.User.ID) {", "if false {"), sessionSuite},
	{"session: only who is as strong touches somebody", sessionFile, one("if !by.Role.AtLeast(u.Role) {", "if false {"), sessionSuite},
	{"session: who may list another's", sessionFile, one("if !own(by, id) {\n\t\tif err := access.Allow(by, access.ReadDirectory)", "if false {\n\t\tif err := access.Allow(by, access.ReadDirectory)"), sessionSuite},
	{"flow: used once", flowFile, one("UPDATE flows SET consumed_at = $2 WHERE id = $1 AND consumed_at = 0 AND expires_at > $2", "UPDATE flows SET consumed_at = $2 WHERE id = $1 AND expires_at > $2"), flowSuite},
	{"flow: its end", flowFile, one("UPDATE flows SET consumed_at = $2 WHERE id = $1 AND consumed_at = 0 AND expires_at > $2", "UPDATE flows SET consumed_at = $2 WHERE id = $1 AND consumed_at = 0"), flowSuite},
	{"flow: a used one is not read", flowFile, one("FROM flows WHERE id = $1 AND consumed_at = 0 AND expires_at > $2", "FROM flows WHERE id = $1 AND expires_at > $2"), flowSuite},
	{"flow: its size", flowFile, one("if len(raw) > maxFlow {", "if false {"), flowSuite},
	{"link: used once", linkFile, one("UPDATE one_time_links SET consumed_at = $2 WHERE token_hash = $1 AND consumed_at = 0 AND expires_at > $2", "UPDATE one_time_links SET consumed_at = $2 WHERE token_hash = $1 AND expires_at > $2"), linkSuite},
	{"link: its end", linkFile, one("WHERE token_hash = $1 AND consumed_at = 0 AND expires_at > $2`, hash", "WHERE token_hash = $1 AND consumed_at = 0 AND $2 <> 0`, hash"), linkSuite},
	{"link: void while the person isn't active", linkFile, one("if problem.Is(err, problem.NotFound) || err == nil && u.State != directory.Active {", "if problem.Is(err, problem.NotFound) {"), linkSuite},
	{"link: a new one makes the others void", linkFile, one("if err := voidLinks(tx, now, id); err != nil {", "if err := error(nil); err != nil {"), linkSuite},
	{"link: that of setup gives no password", linkFile, one("if l.Purpose == Setup {", "if false {"), linkSuite},
	{"link: only for who is as strong", linkFile, one("if err := mayTouch(by, u); err != nil {", "if err := error(nil); err != nil {"), linkSuite},
	{"link: not the password that has to go", linkFile, one("if l.Purpose == Renewal {", "if false {"), linkSuite},
	{"API key: revoked", keyFile, one("return k.RevokedAt.IsZero() && (", "return true && ("), keySuite},
	{"API key: its end", keyFile, one("(k.ExpiresAt.IsZero() || now.Before(k.ExpiresAt))", "true"), keySuite},
	{"API key: not stronger than who makes it", keyFile, one("if !by.Role.AtLeast(role) {", "if false {"), keySuite},
	{"API key: only who is as strong revokes it", keyFile, one("if !by.Role.AtLeast(k.Role) {", "if false {"), keySuite},
	{"sign-in: the person is active", signInFile, one("if !match || c.user.State != directory.Active {", "if !match {"), guessSuite},
	{"sign-in: nothing changed meanwhile", signInFile, one("if u.State != directory.Active || u.SessionEpoch != c.user.SessionEpoch {", "if false {"), guessSuite},
	{"sign-in: a password that has to be replaced", signInFile, one("if c.temp || u.PasswordStatus == directory.PasswordExpired {", "if false {"), guessSuite},
	{"sign-in: counters hold up", signInFile, one("if v.refuse > 0 {", "if false {"), guessSuite},
	{"sign-in: a held-up person's password is not looked at", signInFile, one("if v.check {", "if true {"), guessSuite},
	{"sign-in: parallel tries wait", signInFile, one("a.throttle.name.free, a.hasher.wait)", "1<<20, a.hasher.wait)"), guessSuite},
	{"throttle: a name's variants are one", throttleFile, one("key(t.name, place, store.Key(login))", "key(t.name, place, login)"), guessSuite},
	{"throttle: counted by person", throttleFile, one("key(t.account, place, subject)", "key(t.account, place, login)"), guessSuite},
	{"throttle: from anywhere", throttleFile, one("hidden := t.account.blocked(now) > 0 || !known && t.strange.blocked(now) > 0", "hidden := t.account.blocked(now) > 0"), guessSuite},
	{"throttle: from one network", throttleFile, one("if d := t.network.blocked(now); d > 0 {", "if d := t.network.blocked(now); d > 0 && false {"), guessSuite},
	{"throttle: an IPv6 network", throttleFile, one("p, err := ip.Prefix(64)", "p, err := ip.Prefix(128)"), guessSuite},
	{"password: one's own only by the current one", passwordFile, one("if own(by, id) {", "if false {"), passwordSuite},
	{"password: changed only with the current one", passwordFile, one("if !match {", "if !match && false {"), passwordSuite},
	{"password: guessing the current one is slowed down", passwordFile, one("d > 0 {\n\t\treturn tooMany(d)", "d < 0 {\n\t\treturn tooMany(d)"), passwordSuite},
	{"password: sessions end with it", passwordFile, one("if _, err := endSessions(tx, u, keep); err != nil {", "if false {"), passwordSuite},
	{"password: links end with it", passwordFile, one("if err := voidLinks(tx, now, u.ID); err != nil {", "if err != nil && false {"), passwordSuite},
	{"password: cost of a stored hash", hashFile, one("case p.Memory*p.Passes > maxWork:", "case false:"), passwordSuite},
}

// edgeChecks are those around: cursors, addresses, cookies, roles.
var edgeChecks = []check{
	{"cursor: number of keys", "internal/store/page.go", one("if err != nil || len(keys) != n ", "if err != nil "), storeSuite},
	{"redirect: stays on this site", "internal/web/redirect.go", one(`if !strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//") {`, `if !strings.HasPrefix(s, "/") {`), webSuite},
	{"redirect: backslash and control characters", "internal/web/redirect.go", one(`if c < 0x20 || c == 0x7f || c == '\\' {`, "if c < 0 {"), webSuite},
	{"page: the form's target is a host", "internal/web/security.go", one(`if err != nil || u.Host == "" || strings.ContainsAny(u.Host, " ;,'\"") {`, `if err != nil || false && strings.ContainsAny(u.Host, " ") {`), webSuite},
	{"page: content policy", "internal/web/security.go", one(`h.Set("Content-Security-Policy", policy("'self'"))`, ``), serverSuite},
	{"request id: not the caller's", "internal/web/security.go", one("id := newRequestID(time.Now())", `id := r.Header.Get("X-Request-Id")`), webSuite},
	{"outbound: addresses are looked at", "internal/server/outbound.go", one("if err := public.Safe(network, address, conn); err != nil {", "if err := public.Safe(network, address, conn); err != nil && false {"), serverSuite},
	{"proxy: only a trusted one is believed", "internal/server/server.go", one("if !s.trusted(addr) {\n\t\treturn addr.String()", "if false {\n\t\treturn addr.String()"), serverSuite},
	{"proxy: only as far as proxies vouch", "internal/server/server.go", one("if !s.trusted(addr) {\n\t\t\tbreak", "if false {\n\t\t\tbreak"), serverSuite},
	{"metrics: for this machine only", "internal/server/server.go", one("|| !a.IsLoopback() || passedOn {", "|| !a.IsValid() || passedOn {"), serverSuite},
	{"metrics: not through a proxy", "internal/server/server.go", one("|| !a.IsLoopback() || passedOn {", "|| !a.IsLoopback() || passedOn && false {"), serverSuite},
	{"metrics: labels are patterns", "internal/server/server.go", one("_, route := mux.Handler(r)", "route := r.URL.Path"), serverSuite},
	{"forms: from other sites", "internal/server/server.go", one("return p.Handler(next)", "return next"), serverSuite},
	{"body: its length", "internal/server/server.go", one("if limit > 0 && r.Body != nil {", "if false {"), serverSuite},
	{"role: permissions", "internal/access/access.go", one("if by.Role.Can(p) {", "if true {"), accessSuite},
	{"role: strength", "internal/access/access.go", one("return rank(r) <= rank(other)", "return rank(r) <= rank(other) || true"), accessSuite},
	{"role: given by owners", "internal/directory/user.go", one("if err := access.Allow(by, access.ManageRoles); err != nil {\n\t\treturn err\n\t}\n\tif !by", "if err := error(nil); err != nil {\n\t\treturn err\n\t}\n\tif !by"), accessSuite},
	{"role: one that there is", "internal/directory/user.go", one("if !to.Valid() {", "if false {"), accessSuite},
	{"role: a person is changed by who is as strong", "internal/directory/user.go", one("if by.Role.AtLeast(u.Role) {", "if true {"), accessSuite},
	{"logo: a picture", "internal/app/logo.go", one(`return "", problem.InvalidField("logo", "The logo must be a PNG`, `return "image/svg+xml", nil
	}
	if false {
		return "", problem.InvalidField("logo", "The logo must be a PNG`), suite{"internal/app internal/server", `^Test(Logo|Neighbour)`}},
}
