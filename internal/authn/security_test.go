package authn

import (
	"errors"
	"fmt"
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

// Class 12: a disabled thing still works. For every state of a person and every way in: what is
// disabled on one replica is refused on the other at once.
func TestClass12_DisabledPersonIsRefusedOnEveryPath(t *testing.T) {
	type ways struct {
		session string
		link    keys.Secret
	}
	// Each way in, tried on the other replica. password is what the person would type.
	paths := []struct {
		name string
		try  func(h *house, w ways, s Session) error
	}{
		{"session", func(h *house, w ways, _ Session) error { _, err := h.Session(h.t.Context(), w.session); return err }},
		{"password", func(h *house, _ ways, _ Session) error { _, _, err := h.in("anna", goodPassword); return err }},
		{"link shown", func(h *house, w ways, _ Session) error { _, err := h.Link(h.t.Context(), w.link.Reveal()); return err }},
		{"link redeemed", func(h *house, w ways, _ Session) error {
			_, _, err := h.RedeemLink(h.t.Context(), w.link.Reveal(), otherPassword, "", Origin{})
			return err
		}},
		{"change of password", func(h *house, _ ways, s Session) error {
			return h.ChangePassword(h.t.Context(), s, Origin{Address: "192.0.2.7"}, goodPassword, otherPassword)
		}},
	}
	states := []struct {
		name string
		to   func(h *house, u directory.User) error
		// works lists the paths that stay open.
		works []string
	}{
		{"active", func(*house, directory.User) error { return nil }, []string{"session", "password", "link shown", "link redeemed", "change of password"}},
		{"suspended", func(h *house, u directory.User) error {
			_, err := h.directory.Suspend(h.t.Context(), system, u.ID)
			return err
		}, nil},
		{"suspended and reactivated", func(h *house, u directory.User) error {
			if _, err := h.directory.Suspend(h.t.Context(), system, u.ID); err != nil {
				return err
			}
			_, err := h.directory.Unsuspend(h.t.Context(), system, u.ID)
			return err
			// The old session stays ended; the person signs in again.
		}, []string{"password", "link shown", "link redeemed", "change of password"}},
		{"deleted", func(h *house, u directory.User) error { return h.directory.DeleteUser(h.t.Context(), system, u.ID) }, nil},
		{"password set by an administrator", func(h *house, u directory.User) error {
			return h.SetPassword(h.t.Context(), system, u.ID, otherPassword, false)
		}, nil},
		{
			"all sessions ended", func(h *house, u directory.User) error { return h.RevokeAll(h.t.Context(), system, u.ID) },
			[]string{"password", "link shown", "link redeemed", "change of password"},
		},
		{"newer link made", func(h *house, u directory.User) error {
			_, err := h.NewLink(h.t.Context(), system, u.ID, Reset, time.Hour)
			return err
		}, []string{"session", "password", "change of password"}},
		{
			"session and link expired", func(h *house, _ directory.User) error { h.clock.pass(25 * time.Hour); return nil },
			[]string{"password", "change of password"},
		},
	}
	storetest.Two(t, func(t *testing.T, da, db *store.DB) {
		for _, state := range states {
			for _, path := range paths {
				t.Run(state.name+"/"+path.name, func(t *testing.T) {
					c := newClock()
					a, b := open(t, da, c), open(t, db, c)
					u := a.person("anna")
					defer func() { _ = a.directory.DeleteUser(t.Context(), system, u.ID) }()
					s, session := a.mustIn("anna")
					link, err := a.NewLink(t.Context(), system, u.ID, Reset, time.Hour)
					if err != nil {
						t.Fatal(err)
					}
					if err := state.to(a, u); err != nil {
						t.Fatal(err)
					}
					err = path.try(b, ways{session: session, link: link}, s)
					want := false
					for _, w := range state.works {
						want = want || w == path.name
					}
					if (err == nil) != want {
						t.Errorf("got %v, want open: %v", err, want)
					}
					if err != nil && problem.Is(err, problem.Internal) {
						t.Errorf("refused by a failure of ours: %v", err)
					}
				})
			}
		}
	})
}

func TestClass12_StagedPersonHasNoWayIn(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := open(t, db, newClock())
		u, err := h.directory.CreateUser(t.Context(), system, directory.NewUser{Attributes: directory.Attributes{Email: "s@corp.example"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := h.SetPassword(t.Context(), system, u.ID, goodPassword, false); err != nil {
			t.Fatal(err)
		}
		_, _, err = h.in("s@corp.example", goodPassword)
		wantKind(t, "password", err, problem.Unauthenticated)
		_, err = h.NewLink(t.Context(), system, u.ID, Activation, time.Hour)
		wantKind(t, "link", err, problem.Conflict)
	})
}

func TestClass12_DisabledKeyIsRefused(t *testing.T) {
	storetest.Two(t, func(t *testing.T, da, db *store.DB) {
		c := newClock()
		a, b := open(t, da, c), open(t, db, c)
		for _, k := range []struct {
			name    string
			expires time.Duration
			to      func(APIKey) error
			want    bool
		}{
			{"works", time.Hour, func(APIKey) error { return nil }, true},
			{"works without an end", 0, func(APIKey) error { c.pass(24 * 365 * time.Hour); return nil }, true},
			{"revoked", time.Hour, func(k APIKey) error { return a.RevokeAPIKey(t.Context(), system, k.ID) }, false},
			{"expired", time.Hour, func(APIKey) error { c.pass(time.Hour); return nil }, false},
			{"role taken from the table", time.Hour, func(k APIKey) error {
				return a.db.Update(t.Context(), func(tx *store.Tx) error {
					_, err := tx.Exec(`DELETE FROM api_keys WHERE id = $1`, k.ID)
					return err
				})
			}, false},
		} {
			t.Run(k.name, func(t *testing.T) {
				var expires time.Time
				if k.expires > 0 {
					expires = c.now().Add(k.expires)
				}
				key, secret, err := a.CreateAPIKey(t.Context(), system, k.name, access.Administrator, expires)
				if err != nil {
					t.Fatal(err)
				}
				if err := k.to(key); err != nil {
					t.Fatal(err)
				}
				got, err := b.APIKeyActor(t.Context(), secret, "192.0.2.1", "c9")
				if (err == nil) != k.want {
					t.Fatalf("got %v", err)
				}
				if !k.want {
					wantKind(t, "refusal", err, problem.Unauthenticated)
					return
				}
				want := access.Actor{Kind: access.APIKey, ID: key.ID, Name: k.name, Role: access.Administrator, Address: "192.0.2.1", Correlation: "c9"}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
			})
		}
	})
}

func TestClass12_UsedOrExpiredFlowIsRefused(t *testing.T) {
	storetest.Two(t, func(t *testing.T, da, db *store.DB) {
		c := newClock()
		a, b := open(t, da, c), open(t, db, c)
		consume := func(h *house, token string) (f Flow, err error) {
			err = h.db.Update(t.Context(), func(tx *store.Tx) error {
				f, err = ConsumeFlow(tx, c.now(), token)
				return err
			})
			return f, err
		}
		used, expired, fresh := a.flow("saml", time.Hour), a.flow("saml", time.Minute), a.flow("saml", time.Hour)
		if _, err := consume(a, used); err != nil {
			t.Fatal(err)
		}
		c.pass(time.Minute)
		for name, token := range map[string]string{"used": used, "expired": expired} {
			if _, err := b.Flow(t.Context(), token); !errors.Is(err, ErrStale) || !problem.Is(err, problem.NotFound) {
				t.Errorf("%s flow read: %v", name, err)
			}
			if _, err := consume(b, token); !errors.Is(err, ErrStale) {
				t.Errorf("%s flow consumed: %v", name, err)
			}
		}
		read, err := b.Flow(t.Context(), fresh)
		if err != nil {
			t.Fatal(err)
		}
		got, err := consume(b, fresh)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(read, got); diff != "" {
			t.Error(diff)
		}
		if got.Kind != "saml" || got.ReturnTo() != "/saml2/resume" || got.Application() != "Jira" || !strings.Contains(string(got.Data), `"n":1`) {
			t.Errorf("flow: %+v %s", got, got.Data)
		}
	})
}

// Class 18: information leak. Whoever doesn't know a password gets the same answers whether the
// person exists or not, however often and in whatever order they ask.
func TestClass18_KnownAndUnknownGetTheSameAnswers(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		c := newClock()
		h := open(t, db, c, func(c *Config) { c.Throttle = Limits{Account: 3, Strange: 7, Network: 40} })
		h.person("known")
		h.person("familiar")
		suspended := h.person("suspended")
		if _, err := h.directory.CreateUser(t.Context(), system, directory.NewUser{
			Attributes: directory.Attributes{Username: "pending", Email: "pending@corp.example"}, State: directory.Active,
		}); err != nil {
			t.Fatal(err)
		}
		h.mustIn("familiar", from("198.51.100.1"))
		if _, err := h.directory.Suspend(t.Context(), system, suspended.ID); err != nil {
			t.Fatal(err)
		}
		answer := func(err error) string {
			if err == nil {
				return "signed in"
			}
			e, ok := errors.AsType[*problem.Error](err)
			if !ok {
				return "unclassified: " + err.Error()
			}
			return fmt.Sprint(e.Kind, " ", e.Public, " ", e.RetryAfter)
		}
		// The same pattern of tries for each name: names and addresses vary, and in the end the
		// whole network is held up by failures with other names.
		try := func(name, network string) []string {
			var got []string
			step := func(login, address string, pw keys.Secret) {
				_, _, err := h.in(login, pw, from(address))
				got = append(got, answer(err))
			}
			for range 6 {
				step(name, network+".1", wrongPassword)
			}
			for range 6 {
				step(name+"@corp.example", network+".1", wrongPassword)
			}
			c.pass(30 * time.Second)
			for i := range 12 {
				step(strings.ToUpper(name), network+"."+itoa(10+i), wrongPassword)
			}
			for i := range 50 {
				step("nobody"+itoa(i), network+".1", wrongPassword)
			}
			c.pass(time.Minute / 2)
			for range 6 {
				step(name, network+".1", wrongPassword)
				c.pass(5 * time.Second)
			}
			c.pass(2 * time.Hour)
			step(name, network+".1", wrongPassword)
			return got
		}
		want := try("nobody", "203.0.113")
		for name, network := range map[string]string{"known": "203.1.113", "familiar": "198.51.100", "suspended": "203.2.113", "pending": "203.3.113", "other": "203.4.113"} {
			// Each person is tried from networks of their own and, for a fresh start, a day later.
			c.pass(25 * time.Hour)
			if diff := cmp.Diff(want, try(name, network)); diff != "" {
				t.Errorf("%s (-nobody +%s):\n%s", name, name, diff)
			}
		}
		c.pass(25 * time.Hour)
		_, _, err := h.in("suspended", goodPassword, from("203.0.113.200"))
		_, _, unknown := h.in("nobody", goodPassword, from("203.0.113.201"))
		if answer(err) != answer(unknown) {
			t.Errorf("suspended with the right password: %q, unknown: %q", answer(err), answer(unknown))
		}
	})
}

func TestClass18_KnownAndUnknownTakeTheSameTime(t *testing.T) {
	// A hash of some milliseconds stands out from the noise of a busy machine. Compared are the
	// least times, which noise can only raise.
	h := open(t, storetest.SQLite(t), newClock(), func(c *Config) {
		c.Argon2 = Argon2{Memory: 8 * 1024, Passes: 2, Threads: 1}
		c.Throttle = Limits{Account: 1000, Strange: 1000, Network: 1000}
	})
	h.person("known")
	least := map[string]time.Duration{}
	for range 12 {
		for _, login := range []string{"known", "unknown"} {
			start := time.Now()
			if _, _, err := h.in(login, wrongPassword); err == nil {
				t.Fatal("signed in")
			}
			if d := time.Since(start); least[login] == 0 || d < least[login] {
				least[login] = d
			}
		}
	}
	k, u := least["known"], least["unknown"]
	if k > u*2 || u > k*2 { // without the dummy hash it is a hundredfold
		t.Errorf("known %v, unknown %v", k, u)
	}
}

func TestClass18_EventsDontShowWhatSomebodyTypedAsName(t *testing.T) {
	h := open(t, storetest.SQLite(t), newClock())
	if _, _, err := h.in("my-secret-Passw0rd", "x"); err == nil {
		t.Fatal("signed in")
	}
	if _, _, err := h.in("stranger@corp.example", "x"); err == nil {
		t.Fatal("signed in")
	}
	want := []string{
		"user_login_attempt failure Sign-in as (a user name) failed: unknown name.",
		"user_login_attempt failure Sign-in as stranger@corp.example failed: unknown name.",
	}
	if diff := cmp.Diff(want, h.events(audit.UserLoginAttempt)); diff != "" {
		t.Error(diff)
	}
}

// Class 19: race on single-use things. Of many that consume one thing at once, on two replicas,
// exactly one gets it.
func TestClass19_SingleUseThingsAreUsedOnce(t *testing.T) {
	storetest.Two(t, func(t *testing.T, da, db *store.DB) {
		c := newClock()
		a, b := open(t, da, c), open(t, db, c)
		u := a.person("anna")
		link := func() string {
			token, err := a.NewLink(t.Context(), system, u.ID, Reset, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			return token.Reveal()
		}
		for _, thing := range []struct {
			name  string
			token string
			use   func(h *house, token string, i int) error
		}{
			{"flow", a.flow("saml", time.Hour), func(h *house, token string, _ int) error {
				return h.db.Update(t.Context(), func(tx *store.Tx) error {
					_, err := ConsumeFlow(tx, c.now(), token)
					return err
				})
			}},
			{"link", link(), func(h *house, token string, i int) error {
				_, _, err := h.RedeemLink(t.Context(), token, goodPassword+keys.Secret(itoa(i)), "", Origin{Address: "192.0.2.9"})
				return err
			}},
		} {
			t.Run(thing.name, func(t *testing.T) {
				const callers = 16
				errs := make([]error, callers)
				var wg sync.WaitGroup
				for i := range callers {
					h := a
					if i%2 == 1 {
						h = b
					}
					wg.Go(func() { errs[i] = thing.use(h, thing.token, i) })
				}
				wg.Wait()
				got := 0
				for _, err := range errs {
					switch {
					case err == nil:
						got++
					case !errors.Is(err, ErrStale):
						t.Errorf("a loser got %v", err)
					}
				}
				if got != 1 {
					t.Errorf("%d callers got it", got)
				}
			})
		}
	})
}

func TestClass19_OneFirstOwner(t *testing.T) {
	storetest.Two(t, func(t *testing.T, da, db *store.DB) {
		c := newClock()
		a, b := open(t, da, c), open(t, db, c)
		const callers = 8
		errs := make([]error, callers)
		links := make([]keys.Secret, callers)
		for i := range callers {
			var err error
			if links[i], err = a.NewSetupLink(t.Context()); err != nil { // each replica prints a link of its own
				t.Fatal(err)
			}
		}
		var wg sync.WaitGroup
		for i := range callers {
			h := a
			if i%2 == 1 {
				h = b
			}
			wg.Go(func() {
				_, _, errs[i] = h.CompleteSetup(t.Context(), links[i].Reveal(), Owner{
					Email: "owner" + itoa(i) + "@corp.example", GivenName: "Olga", FamilyName: "Owner", Password: goodPassword, Organization: "Corp",
				}, "", Origin{Address: "192.0.2.1"})
			})
		}
		wg.Wait()
		got := 0
		for _, err := range errs {
			switch {
			case err == nil:
				got++
			case !errors.Is(err, ErrStale) && !problem.Is(err, problem.Conflict):
				t.Errorf("a loser got %v", err)
			}
		}
		if n := a.count("users"); got != 1 || n != 1 {
			t.Errorf("%d callers made an owner, there are %d people", got, n)
		}
	})
}
