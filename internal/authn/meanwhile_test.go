package authn

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

// What follows looks at checks that stand behind or before others, each by itself: if the one were lost, the other would
// hide it from the tests of the whole.

// A token has one spelling. A browser's token by which a person is known is the one kind that may be new to the database,
// so here nothing else would notice another spelling.
func TestNeighbour_TruncatedTokens_OneSpelling(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for range 20 {
		token := newToken().Reveal()
		if devicePlace(token) == "" {
			t.Fatalf("%q is no token", token)
		}
		last := strings.IndexByte(alphabet, token[len(token)-1])
		for name, other := range map[string]string{
			"a line longer":         token + "\n",
			"a line within":         token[:20] + "\n" + token[20:],
			"a line end":            "\r" + token,
			"padded":                token + "=",
			"shorter":               token[:len(token)-1],
			"longer":                token + "A",
			"bits that say nothing": token[:len(token)-1] + string(alphabet[last^1]),
			"more of them":          token[:len(token)-1] + string(alphabet[last^3]),
		} {
			if _, ok := tokenHash(other); ok || devicePlace(other) != "" || FlowID(other) != "" {
				t.Errorf("%s: %q counts as a token", name, other)
			}
		}
	}
}

// The state of the person counts with each request by itself, not only because suspending ends the sessions.
func TestSessionOfAPersonWhoIsNotActive(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := open(t, db, newClock())
		u := h.person("anna")
		s, token := h.mustIn("anna")
		set := func(state directory.State) {
			t.Helper()
			if err := db.Update(t.Context(), func(tx *store.Tx) error {
				_, err := tx.Exec(`UPDATE users SET state = $1 WHERE id = $2`, string(state), string(u.ID))
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		for _, state := range []directory.State{directory.Suspended, directory.Staged} {
			set(state)
			_, err := h.Session(t.Context(), token)
			wantKind(t, string(state), err, problem.Unauthenticated)
			if list, err := h.Sessions(t.Context(), system, u.ID); err != nil || len(list) != 0 {
				t.Errorf("%s: %d sessions are listed, %v", state, len(list), err)
			}
			if err := h.RevokeSession(t.Context(), system, s.ID); !problem.Is(err, problem.NotFound) {
				t.Errorf("%s: the session is still there: %v", state, err)
			}
		}
		set(directory.Active)
		if _, err := h.Session(t.Context(), token); err != nil {
			t.Errorf("active again: %v", err)
		}
	})
}

// Somebody signs in where somebody else is signed in: their sessions have nothing to do with each other.
func TestSessionOfAnotherDoesNotGoOn(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := open(t, db, newClock())
		anna, ben := h.person("anna"), h.person("ben")
		if anna.SessionEpoch != ben.SessionEpoch {
			t.Fatal("something else tells them apart") // then this would show nothing
		}
		first, old := h.mustIn("anna")
		second, token := h.mustIn("ben", func(a *Attempt) { a.Replace = old })
		if second.ID == first.ID || second.User.ID != ben.ID {
			t.Errorf("Anna's session goes on as Ben's: %+v", second)
		}
		got, err := h.Session(t.Context(), token)
		if err != nil || got.User.ID != ben.ID || got.ID != second.ID {
			t.Errorf("Ben's token opens a session of %s, %v", got.User.Username, err)
		}
		_, err = h.Session(t.Context(), old)
		wantKind(t, "Anna's token", err, problem.Unauthenticated)
	})
}

func TestFlowKeepsNoMoreThanItMay(t *testing.T) {
	h := open(t, storetest.SQLite(t), newClock())
	keep := func(n int) error {
		return h.db.Update(t.Context(), func(tx *store.Tx) error {
			_, err := StartFlow(tx, h.clock.now(), "saml", map[string]string{"raw": strings.Repeat("x", n)}, time.Hour)
			return err
		})
	}
	around := len(`{"raw":""}`)
	if err := keep(maxFlow - around); err != nil {
		t.Errorf("all that may be kept: %v", err)
	}
	wantKind(t, "one byte more", keep(maxFlow-around+1), problem.Invalid)
	if n := h.count("flows"); n != 1 {
		t.Errorf("%d flows are kept", n)
	}
}

// Who knows the password of somebody who isn't active learns nothing by it, but the event says it: that is how a leaked
// password of a former colleague is noticed. Such tries are counted, too.
func TestSignInByTheRightPasswordOfASuspendedPerson(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := open(t, db, newClock())
		u := h.person("anna")
		if _, err := h.directory.Suspend(t.Context(), system, u.ID); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			_, _, err := h.in("anna", goodPassword)
			wantKind(t, "suspended", err, problem.Unauthenticated)
		}
		events := h.events(audit.UserLoginAttempt)
		if len(events) != 5 || !strings.HasPrefix(events[0], "user_login_attempt denied ") || !strings.HasSuffix(events[0], "failed: account is suspended.") {
			t.Errorf("events %q", events)
		}
		_, _, err := h.in("anna", goodPassword)
		wantKind(t, "the sixth try", err, problem.Throttled)
	})
}

// moment is a clock that lets something happen when it is asked.
type moment struct {
	*clock
	mu sync.Mutex
	in int // how often it is asked before
	do func()
}

func (m *moment) now() time.Time {
	m.mu.Lock()
	m.in--
	do := m.do
	if m.in != 0 {
		do = nil
	}
	m.mu.Unlock()
	if do != nil {
		do()
	}
	return m.clock.now()
}

// at lets something happen when the clock is asked for the nth time from now.
func (m *moment) at(n int, do func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.in, m.do = n, do
}

// What changes between the look at the password and the beginning of the session counts: nobody gets in by what held a
// moment ago.
func TestSignInWhileSomethingChanges(t *testing.T) {
	changes := map[string]func(h *house, u directory.User) error{
		"suspended": func(h *house, u directory.User) error {
			_, err := h.directory.Suspend(t.Context(), system, u.ID)
			return err
		},
		"suspended and back": func(h *house, u directory.User) error {
			if _, err := h.directory.Suspend(t.Context(), system, u.ID); err != nil {
				return err
			}
			_, err := h.directory.Unsuspend(t.Context(), system, u.ID)
			return err
		},
		"another password": func(h *house, u directory.User) error {
			return h.SetPassword(t.Context(), system, u.ID, otherPassword, false)
		},
		"all sessions ended": func(h *house, u directory.User) error { return h.RevokeAll(t.Context(), system, u.ID) },
		"deleted":            func(h *house, u directory.User) error { return h.directory.DeleteUser(t.Context(), system, u.ID) },
	}
	storetest.Two(t, func(t *testing.T, da, db *store.DB) {
		c := newClock()
		a := open(t, da, c)
		m := &moment{clock: c}
		b := open(t, db, c, func(cfg *Config) { cfg.Now = m.now })
		names := []string{"anna", "ben", "carl", "dora", "emil"}
		for name, change := range changes {
			u := a.person(names[0])
			names = names[1:]
			happened := false
			// It is asked at the beginning, and once the password was found right.
			m.at(2, func() {
				happened = true
				if err := change(a, u); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
			_, token, err := b.in(u.Username, goodPassword)
			wantKind(t, name, err, problem.Unauthenticated)
			if !happened {
				t.Errorf("%s: it didn't happen meanwhile", name)
			}
			if _, err := b.Session(t.Context(), token); err == nil {
				t.Errorf("%s: the token opens a session", name)
			}
		}
		if n := a.count("sessions"); n != 0 {
			t.Errorf("%d sessions", n)
		}
	})
}

// State that other flows refer to by its id ends like any other flow.
func TestFlowByIDHolds(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := open(t, db, newClock())
		used, expired, fresh := h.flow("saml", time.Hour), h.flow("saml", time.Minute), h.flow("saml", time.Hour)
		h.clock.pass(time.Minute)
		if err := db.Update(t.Context(), func(tx *store.Tx) error {
			_, err := ConsumeFlow(tx, h.clock.now(), used)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			id   string
			want bool
		}{
			"fresh": {FlowID(fresh), true}, "used": {FlowID(used), false}, "expired": {FlowID(expired), false},
			"unknown": {FlowID(newToken().Reveal()), false}, "none": {"", false}, "a token": {fresh, false},
		} {
			err := db.Update(t.Context(), func(tx *store.Tx) error {
				_, err := FlowByID(tx, h.clock.now(), c.id)
				return err
			})
			if (err == nil) != c.want || err != nil && !problem.Is(err, problem.NotFound) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// A session that is ended for a reason is told of only if it held until then.
func TestEndSessionTellsWhetherItHeld(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := open(t, db, newClock())
		u := h.person("anna")
		s, token := h.mustIn("anna")
		end := func(id string) (held bool) {
			t.Helper()
			if err := db.Update(t.Context(), func(tx *store.Tx) (err error) {
				_, held, err = EndSession(tx, id)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			return held
		}
		if !end(s.ID) || end(s.ID) || end("") {
			t.Error("a session ends once")
		}
		_, err := h.Session(t.Context(), token)
		wantKind(t, "ended", err, problem.Unauthenticated)
		s, _ = h.mustIn("anna")
		if err := db.Update(t.Context(), func(tx *store.Tx) error { return directory.EndSessions(tx, u.ID) }); err != nil {
			t.Fatal(err)
		}
		if end(s.ID) {
			t.Error("it was void already")
		}
		if n := h.count("sessions"); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
	})
}
