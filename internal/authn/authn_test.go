package authn

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

// cheap keeps tests quick; the cost of a hash is measured by the benchmarks.
var cheap = Argon2{Memory: 64, Passes: 1, Threads: 1}

const (
	goodPassword  = keys.Secret("velvet-hammer-drums")
	otherPassword = keys.Secret("paper-lantern-orbit")
	wrongPassword = keys.Secret("not-the-one-at-all")
)

type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock {
	return &clock{t: time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)}
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

type house struct {
	t testing.TB
	*Authn
	clock *clock
}

func open(t testing.TB, db *store.DB, c *clock, change ...func(*Config)) *house {
	t.Helper()
	cfg := Config{DB: db, Directory: directory.New(db, c.now), Now: c.now, Argon2: cheap}
	for _, f := range change {
		f(&cfg)
	}
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &house{t: t, Authn: a, clock: c}
}

var system = access.SystemActor("")

// person makes an active person with goodPassword.
func (h *house) person(name string) directory.User {
	h.t.Helper()
	u, err := h.directory.CreateUser(h.t.Context(), system, directory.NewUser{
		Attributes: directory.Attributes{
			Username: name, Email: name + "@corp.example",
			Profile: directory.Profile{GivenName: strings.ToUpper(name[:1]) + name[1:], FamilyName: "Example"},
		},
		State: directory.Active,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.SetPassword(h.t.Context(), system, u.ID, goodPassword, false); err != nil {
		h.t.Fatal(err)
	}
	return h.reload(u.ID)
}

func (h *house) reload(id directory.UserID) directory.User {
	h.t.Helper()
	var u directory.User
	err := h.db.View(h.t.Context(), func(tx *store.Tx) (err error) {
		u, err = directory.GetUser(tx, id)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return u
}

func (h *house) in(login string, pw keys.Secret, change ...func(*Attempt)) (Session, string, error) {
	a := Attempt{Login: login, Password: pw, Origin: Origin{Address: "192.0.2.7", UserAgent: "test", Correlation: "c1"}}
	for _, f := range change {
		f(&a)
	}
	s, token, err := h.SignIn(h.t.Context(), a)
	return s, token.Reveal(), err
}

func (h *house) mustIn(login string, change ...func(*Attempt)) (Session, string) {
	h.t.Helper()
	s, token, err := h.in(login, goodPassword, change...)
	if err != nil {
		h.t.Fatalf("sign in as %s: %v", login, err)
	}
	return s, token
}

func from(address string) func(*Attempt) { return func(a *Attempt) { a.Address = address } }

// events lists what was recorded of the given types, oldest first, as "type outcome message".
func (h *house) events(types ...audit.Type) []string {
	h.t.Helper()
	page, err := audit.NewLog(h.db).Search(h.t.Context(), system, audit.Query{Types: types, Limit: 1000})
	if err != nil {
		h.t.Fatal(err)
	}
	var out []string
	for _, e := range slices.Backward(page.Items) {

		out = append(out, string(e.Type)+" "+string(e.Outcome)+" "+e.Message)
	}
	return out
}

func wantKind(t testing.TB, what string, err error, kind problem.Kind) {
	t.Helper()
	if !problem.Is(err, kind) {
		t.Errorf("%s: got %v, want kind %v", what, err, kind)
	}
}

func TestSignInAndOut(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := open(t, db, newClock())
		u := h.person("anna")
		for _, login := range []string{"anna", "ANNA", " Anna ", "anna@corp.example", "Anna@Corp.Example"} {
			s, token := h.mustIn(login)
			got, err := h.Session(t.Context(), token)
			if err != nil {
				t.Fatal(err)
			}
			s.Device = ""
			if diff := cmp.Diff(s, got); diff != "" {
				t.Errorf("session of %q (-at sign-in +read):\n%s", login, diff)
			}
			if got.User.ID != u.ID || got.Factors[0].Method != "pwd" || !got.AuthenticatedAt.Equal(h.clock.now()) {
				t.Errorf("%q: %+v", login, got)
			}
		}
		_, token := h.mustIn("anna")
		if err := h.SignOut(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		_, err := h.Session(t.Context(), token)
		wantKind(t, "after sign-out", err, problem.Unauthenticated)
		if err := h.SignOut(t.Context(), token); err != nil {
			t.Errorf("signing out twice: %v", err)
		}
		got := h.events(audit.UserLoginAttempt, audit.SessionEnd)
		if n := len(got); n != 7 || got[0] != "user_login_attempt success Anna Example signed in." || got[6] != "session_end success Anna Example signed out." {
			t.Errorf("events: %q", got)
		}
	})
}

func TestAdministratorsSignInIsAnEventOfItsOwn(t *testing.T) {
	h := open(t, storetest.SQLite(t), newClock())
	u := h.person("olga")
	if _, err := h.directory.SetRole(t.Context(), system, u.ID, access.ReadOnly); err != nil {
		t.Fatal(err)
	}
	h.mustIn("olga")
	if _, _, err := h.in("olga", wrongPassword); err == nil {
		t.Fatal("a wrong password was accepted")
	}
	want := []string{
		"admin_login_attempt success Olga Example signed in.",
		"admin_login_attempt failure Sign-in as Olga Example failed: wrong password.",
	}
	if diff := cmp.Diff(want, h.events(audit.AdminLoginAttempt, audit.UserLoginAttempt)); diff != "" {
		t.Error(diff)
	}
}

func TestSessionEndsIdleAndAbsolute(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := open(t, db, newClock(), func(c *Config) { c.Idle, c.Absolute = time.Hour, 3*time.Hour })
		h.person("anna")
		_, idle := h.mustIn("anna")
		_, used := h.mustIn("anna")
		for range 4 {
			h.clock.pass(40 * time.Minute)
			if _, err := h.Session(t.Context(), used); err != nil {
				t.Fatalf("a session in use: %v", err)
			}
			if err := h.flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		_, err := h.Session(t.Context(), idle)
		wantKind(t, "idle for longer than an hour", err, problem.Unauthenticated)
		h.clock.pass(20 * time.Minute)
		_, err = h.Session(t.Context(), used)
		wantKind(t, "in use, but three hours old", err, problem.Unauthenticated)
		if err := h.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.clock.pass(time.Hour)
		if err := h.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := h.count("sessions"); n != 0 {
			t.Errorf("%d ended sessions are left after pruning", n)
		}
	})
}

func (h *house) count(table string) int64 {
	h.t.Helper()
	var n int64
	err := h.db.View(h.t.Context(), func(tx *store.Tx) (err error) {
		n, err = store.One(tx, store.Scalar[int64], `SELECT count(*) FROM `+table)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

func TestUseIsWrittenAtMostOnceAMinute(t *testing.T) {
	h := open(t, storetest.SQLite(t), newClock())
	h.person("anna")
	_, token := h.mustIn("anna")
	start := h.clock.now()
	steps := []struct {
		pass time.Duration
		want time.Duration // seen, after the start
	}{
		{30 * time.Second, 0},
		{29 * time.Second, 0},
		{2 * time.Second, 61 * time.Second},
		{58 * time.Second, 61 * time.Second},
		{2 * time.Second, 121 * time.Second},
	}
	for i, c := range steps {
		h.clock.pass(c.pass)
		if _, err := h.Session(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		if err := h.flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		s, err := h.Session(t.Context(), token)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.SeenAt.Sub(start); got != c.want {
			t.Errorf("step %d: seen %v after the start, want %v", i, got, c.want)
		}
	}
}

func TestRunWritesWhatIsLeftWhenItEnds(t *testing.T) {
	h := open(t, storetest.SQLite(t), newClock())
	h.person("anna")
	s, token := h.mustIn("anna")
	h.clock.pass(time.Hour)
	if _, err := h.Session(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- h.Run(ctx) }()
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	got, err := h.Session(t.Context(), token)
	if err != nil || got.SeenAt.Sub(s.SeenAt) != time.Hour {
		t.Errorf("seen %v after sign-in, %v", got.SeenAt.Sub(s.SeenAt), err)
	}
}

// Session fixation: whatever token a browser had before, it doesn't stand for the session
// after sign-in.
func TestSessionFixation(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := open(t, db, newClock())
		h.person("anna")
		h.person("mallory")
		replace := func(token string) func(*Attempt) { return func(a *Attempt) { a.Replace = token } }

		_, planted := h.mustIn("mallory")
		_, token := h.mustIn("anna", replace(planted))
		if token == planted {
			t.Fatal("the planted token was taken over")
		}
		_, err := h.Session(t.Context(), planted)
		wantKind(t, "another person's session in this browser", err, problem.Unauthenticated)

		first, old := h.mustIn("anna")
		h.clock.pass(time.Minute)
		again, fresh := h.mustIn("anna", replace(old))
		_, err = h.Session(t.Context(), old)
		wantKind(t, "the own old token", err, problem.Unauthenticated)
		got, err := h.Session(t.Context(), fresh)
		if err != nil {
			t.Fatal(err)
		}
		if got.ID != first.ID || again.ID != first.ID || !got.AuthenticatedAt.After(first.AuthenticatedAt) || !got.CreatedAt.Equal(first.CreatedAt) {
			t.Errorf("signing in again should go on with the session at a new time of proof: %+v", got)
		}
		for _, invented := range []string{"", "x", strings.Repeat("A", tokenChars)} {
			_, token := h.mustIn("anna", replace(invented))
			if token == invented {
				t.Errorf("an invented token %q was taken over", invented)
			}
		}
	})
}

// Truncated tokens that are still valid (GO-2026-4573): only the whole token, in its one spelling, opens anything.
func TestNeighbour_TruncatedTokens(t *testing.T) {
	h := open(t, storetest.SQLite(t), newClock())
	u := h.person("anna")
	_, session := h.mustIn("anna")
	link, err := h.NewLink(t.Context(), system, u.ID, Reset, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	flow := h.flow("saml", time.Hour)
	_, key, err := h.CreateAPIKey(t.Context(), system, "k", access.ReadOnly, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		token string
		open  func(string) error
	}{
		{"session", session, func(s string) error { _, err := h.Session(t.Context(), s); return err }},
		{"link", link.Reveal(), func(s string) error { _, err := h.Link(t.Context(), s); return err }},
		{"flow", flow, func(s string) error { _, err := h.Flow(t.Context(), s); return err }},
		{"api key", key.Reveal(), func(s string) error {
			_, err := h.APIKeyActor(t.Context(), keys.Secret(s), "", "")
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.open(c.token); err != nil {
				t.Fatalf("whole: %v", err)
			}
			last := c.token[len(c.token)-1]
			// The last of 43 characters holds two bits that say nothing; only one spelling counts.
			twin := string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", last)^1])
			for _, bad := range []string{
				"", c.token[:1], c.token[:len(c.token)/2], c.token[:len(c.token)-1], c.token[1:], c.token + "A", c.token + "=", " " + c.token,
				c.token[:len(c.token)-1] + twin, strings.ToUpper(c.token), strings.ToLower(c.token), c.token + "\x00", "' OR 1=1 --",
			} {
				if err := c.open(bad); err == nil {
					t.Errorf("%q opened it", bad)
				} else if problem.Is(err, problem.Internal) {
					t.Errorf("%q: %v", bad, err)
				}
			}
		})
	}
}

func TestDatabaseHoldsNoToken(t *testing.T) {
	h := open(t, storetest.SQLite(t), newClock())
	u := h.person("anna")
	s, session := h.mustIn("anna")
	link, err := h.NewLink(t.Context(), system, u.ID, Reset, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := h.CreateAPIKey(t.Context(), system, "k", access.ReadOnly, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{session, s.Device.Reveal(), link.Reveal(), h.flow("saml", time.Hour), key.Reveal(), goodPassword.Reveal()}
	err = h.db.View(t.Context(), func(tx *store.Tx) error {
		for table, columns := range map[string]string{
			"sessions": "token_hash || factors", "one_time_links": "token_hash", "flows": "id || data", "api_keys": "secret_hash || name",
			"passwords": "hash", "familiar_places": "place", "throttles": "key", "events": "message || changes || detail || search_key",
		} {
			rows, err := store.All(tx, store.Scalar[string], `SELECT `+columns+` FROM `+table)
			if err != nil {
				return err
			}
			for _, row := range rows {
				for _, secret := range secrets {
					if strings.Contains(strings.ToLower(row), strings.ToLower(secret)) {
						t.Errorf("%s holds a secret: %s", table, row)
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (h *house) flow(kind string, ttl time.Duration) string {
	h.t.Helper()
	var token string
	err := h.db.Update(h.t.Context(), func(tx *store.Tx) (err error) {
		token, err = StartFlow(tx, h.clock.now(), kind, map[string]any{"returnTo": "/saml2/resume", "application": "Jira", "n": 1}, ttl)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return token
}

func TestTemporaryPasswordHasToBeReplaced(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := open(t, db, newClock())
		u := h.person("anna")
		_, before := h.mustIn("anna")
		if err := h.SetPassword(t.Context(), system, u.ID, otherPassword, true); err != nil {
			t.Fatal(err)
		}
		_, err := h.Session(t.Context(), before)
		wantKind(t, "session from before the reset", err, problem.Unauthenticated)
		if st := h.reload(u.ID).PasswordStatus; st != directory.PasswordExpired {
			t.Errorf("status %q", st)
		}
		_, token, err := h.in("anna", otherPassword)
		expired, ok := errors.AsType[*PasswordExpired](err)
		if !ok || token != "" {
			t.Fatalf("signed in with a temporary password: %v", err)
		}
		_, _, err = h.RedeemLink(t.Context(), expired.Token.Reveal(), otherPassword, "", Origin{})
		wantKind(t, "the same password again", err, problem.Invalid)
		s, session, err := h.RedeemLink(t.Context(), expired.Token.Reveal(), goodPassword, "", Origin{Address: "192.0.2.7"})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := h.Session(t.Context(), session.Reveal()); err != nil || got.ID != s.ID {
			t.Errorf("after replacing: %v", err)
		}
		if st := h.reload(u.ID).PasswordStatus; st != directory.PasswordCurrent {
			t.Errorf("status %q", st)
		}
		h.mustIn("anna")
	})
}

func TestChangePassword(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := open(t, db, newClock())
		h.person("anna")
		s, mine := h.mustIn("anna")
		_, other := h.mustIn("anna")
		here := Origin{Address: "192.0.2.7"}

		for _, c := range []struct {
			name            string
			current, wanted keys.Secret
			field           string
		}{
			{"wrong current one", wrongPassword, otherPassword, "current"},
			{"the same again", goodPassword, goodPassword, "password"},
			{"too short", goodPassword, "short", "password"},
			{"own name", goodPassword, "anna.example.1", "password"},
		} {
			err := h.ChangePassword(t.Context(), s, here, c.current, c.wanted)
			if f := problem.FieldsOf(err); len(f) != 1 || f[0].Name != c.field {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		if err := h.ChangePassword(t.Context(), s, here, goodPassword, otherPassword); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Session(t.Context(), mine); err != nil {
			t.Errorf("the session that changed it: %v", err)
		}
		_, err := h.Session(t.Context(), other)
		wantKind(t, "another session", err, problem.Unauthenticated)
		_, _, err = h.in("anna", goodPassword)
		wantKind(t, "the old password", err, problem.Unauthenticated)
		if _, _, err := h.in("anna", otherPassword); err != nil {
			t.Errorf("the new password: %v", err)
		}
		want := []string{"user_password_set success system set the password of Anna Example.", "user_password_set success Anna Example changed their password."}
		if diff := cmp.Diff(want, h.events(audit.UserPasswordSet)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAStolenSessionCannotGuessThePassword(t *testing.T) {
	h := open(t, storetest.SQLite(t), newClock())
	h.person("anna")
	s, _ := h.mustIn("anna")
	for i := range 5 {
		err := h.ChangePassword(t.Context(), s, Origin{Address: "198.51.100.9"}, wrongPassword, otherPassword)
		wantKind(t, "guess "+itoa(i), err, problem.Invalid)
	}
	err := h.ChangePassword(t.Context(), s, Origin{Address: "198.51.100.9"}, goodPassword, otherPassword)
	wantKind(t, "after five guesses", err, problem.Throttled)
	if got := h.events(audit.UserLoginAttempt); len(got) != 6 || got[5] != "user_login_attempt failure Anna Example wanted to change their password, but typed a wrong one." {
		t.Errorf("events: %q", got)
	}
}

func TestPasswordIsHashedAnewWhenTheCostRises(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		c := newClock()
		h := open(t, db, c)
		u := h.person("anna")
		stored := func() string {
			var hash string
			err := db.View(t.Context(), func(tx *store.Tx) (err error) {
				hash, _, err = readPassword(tx, u.ID)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return hash
		}
		before := stored()
		h.mustIn("anna")
		if stored() != before {
			t.Error("hashed anew at the same cost")
		}
		dearer := open(t, db, c, func(c *Config) { c.Argon2 = Argon2{Memory: 128, Passes: 2, Threads: 1} })
		if _, _, err := dearer.in("anna", wrongPassword); err == nil || stored() != before {
			t.Error("a wrong password changed the hash")
		}
		_, token := dearer.mustIn("anna")
		if got := stored(); !strings.HasPrefix(got, "$argon2id$v=19$m=128,t=2,p=1$") {
			t.Errorf("not hashed anew: %s", got)
		}
		if _, err := dearer.Session(t.Context(), token); err != nil {
			t.Errorf("session after hashing anew: %v", err)
		}
		h.mustIn("anna") // a cheaper setting keeps the dearer hash
		if got := stored(); !strings.HasPrefix(got, "$argon2id$v=19$m=128,t=2,p=1$") {
			t.Errorf("made cheaper: %s", got)
		}
	})
}

func TestWhoMayTouchWhom(t *testing.T) {
	h := open(t, storetest.SQLite(t), newClock())
	ctx := t.Context()
	role := func(name string, r access.Role) (directory.User, access.Actor) {
		u := h.person(name)
		u, err := h.directory.SetRole(ctx, system, u.ID, r)
		if err != nil {
			t.Fatal(err)
		}
		return u, personActor(u, "", "")
	}
	owner, byOwner := role("olga", access.Owner)
	admin, byAdmin := role("adam", access.Administrator)
	help, byHelp := role("hugo", access.HelpDesk)
	_, byReader := role("rita", access.ReadOnly)
	plain := h.person("paul")
	byPlain := personActor(plain, "", "")

	session := func(u directory.User) string { s, _ := h.mustIn(u.Username); return s.ID }
	for _, c := range []struct {
		name string
		by   access.Actor
		on   directory.User
		want bool
	}{
		{"owner on administrator", byOwner, admin, true},
		{"administrator on owner", byAdmin, owner, false},
		{"administrator on help desk", byAdmin, help, true},
		{"help desk on plain person", byHelp, plain, true},
		{"help desk on administrator", byHelp, admin, false},
		{"read-only on plain person", byReader, plain, false},
		{"plain person on another", byPlain, help, false},
	} {
		id := session(c.on)
		for what, err := range map[string]error{
			"SetPassword": h.SetPassword(ctx, c.by, c.on.ID, goodPassword, false),
			"NewLink":     linkError(h.NewLink(ctx, c.by, c.on.ID, Reset, time.Hour)),
			"RevokeAll":   h.RevokeAll(ctx, c.by, c.on.ID),
		} {
			if (err == nil) != c.want {
				t.Errorf("%s: %s: %v", c.name, what, err)
			}
		}
		if !c.want {
			if err := h.RevokeSession(ctx, c.by, id); err == nil {
				t.Errorf("%s: RevokeSession was allowed", c.name)
			}
		}
	}
	if err := h.RevokeSession(ctx, byPlain, session(plain)); err != nil {
		t.Errorf("one's own session: %v", err)
	}
	wantKind(t, "one's own password without the current one", h.SetPassword(ctx, byOwner, owner.ID, goodPassword, false), problem.Forbidden)
	if _, err := h.Sessions(ctx, byPlain, owner.ID); !problem.Is(err, problem.Forbidden) {
		t.Errorf("reading another's sessions: %v", err)
	}
	if list, err := h.Sessions(ctx, byPlain, plain.ID); err != nil || len(list) == 0 {
		// paul's sessions were ended by help desk and himself; sign in again to see one
		h.mustIn("paul")
		if list, err = h.Sessions(ctx, byPlain, plain.ID); err != nil || len(list) != 1 {
			t.Errorf("one's own sessions: %v, %v", list, err)
		}
	}
}

func linkError(_ keys.Secret, err error) error { return err }

func TestRevokeOthers(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := open(t, db, newClock())
		u := h.person("anna")
		s, mine := h.mustIn("anna")
		_, other := h.mustIn("anna")
		if err := h.RevokeOthers(t.Context(), s, Origin{}); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Session(t.Context(), mine); err != nil {
			t.Errorf("one's own: %v", err)
		}
		_, err := h.Session(t.Context(), other)
		wantKind(t, "another", err, problem.Unauthenticated)
		list, err := h.Sessions(t.Context(), s.Actor("", ""), u.ID)
		if err != nil || len(list) != 1 || list[0].ID != s.ID {
			t.Errorf("listed: %v, %v", list, err)
		}
	})
}
