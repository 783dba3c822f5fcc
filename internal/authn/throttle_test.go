package authn

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

func TestWaitsGrow(t *testing.T) {
	c := counter{free: 3, first: 5 * time.Second, most: time.Minute}
	var got []time.Duration
	for n := range int64(9) {
		got = append(got, c.wait(n))
	}
	s := time.Second
	if diff := cmp.Diff([]time.Duration{0, 0, 0, 5 * s, 10 * s, 20 * s, 40 * s, 60 * s, 60 * s}, got); diff != "" {
		t.Error(diff)
	}
	if c.wait(1<<60) != time.Minute {
		t.Error("a very high count overflows")
	}
}

func TestNetworkOf(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "2001:db8:1:2::1": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
		"": "unknown", "nonsense": "unknown", "192.0.2.7:80": "unknown",
	} {
		if got := network(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestJudge(t *testing.T) {
	now := newClock().now()
	till := now.Add(30 * time.Second)
	names := func(v verdict) string {
		var s []string
		for _, x := range v.count {
			s = append(s, x.counter.name)
		}
		return strings.Join(s, " ")
	}
	th := newThrottle(Limits{})
	for _, c := range []struct {
		name    string
		blocked string
		known   bool
		refuse  bool
		check   bool
		told    bool
		count   string
	}{
		{"nothing", "", false, false, true, false, "name account strange network"},
		{"nothing, known place", "", true, false, true, false, "name account network"},
		{"name", "name", false, true, false, false, ""},
		{"name, known place", "name", true, true, false, false, ""},
		{"account", "account", false, false, false, false, "name network"},
		{"account, known place", "account", true, false, false, false, "name network"},
		{"strange", "strange", false, false, false, false, "name network"},
		{"strange, known place", "strange", true, false, true, false, "name account network"},
		{"network", "network", false, false, false, true, "name account strange"},
		{"network, known place", "network", true, false, true, true, "name account"},
		{"all", "name account strange network", true, true, false, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := tallies{name: tally{counter: th.name}, account: tally{counter: th.account}, strange: tally{counter: th.strange}, network: tally{counter: th.network}}
			for _, one := range x.all() {
				if strings.Contains(c.blocked, one.counter.name) {
					one.till = till
				}
			}
			v := x.judge(now, c.known)
			if (v.refuse > 0) != c.refuse || v.check != c.check || (v.told > 0) != c.told || names(v) != c.count {
				t.Errorf("%+v, counts for %q", v, names(v))
			}
			if v := x.judge(till, c.known); v.refuse > 0 || !v.check || v.told > 0 {
				t.Errorf("when the time is over: %+v", v)
			}
		})
	}
}

// Brute force: guessing is slowed down more and more, and what a person mistyped is forgiven when they get in.
func TestNeighbour_BruteForce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := open(t, db, newClock())
		h.person("anna")
		for i := range 5 {
			_, _, err := h.in("anna", wrongPassword)
			wantKind(t, "guess "+itoa(i), err, problem.Unauthenticated)
		}
		_, _, err := h.in("anna", goodPassword)
		wantKind(t, "the sixth, although right", err, problem.Throttled)
		h.clock.pass(6 * time.Second)
		_, _, err = h.in("anna", wrongPassword)
		wantKind(t, "after the wait", err, problem.Unauthenticated)
		h.clock.pass(6 * time.Second)
		_, _, err = h.in("anna", goodPassword)
		wantKind(t, "the wait has grown", err, problem.Throttled)
		h.clock.pass(6 * time.Second)
		h.mustIn("anna")
		for i := range 4 {
			_, _, err := h.in("anna", wrongPassword)
			wantKind(t, "forgiven, guess "+itoa(i), err, problem.Unauthenticated)
		}
		h.mustIn("anna")
		if got := h.events(audit.UserLockout); len(got) != 1 || got[0] != "user_lockout denied Sign-in as Anna Example is slowed down after 5 failures." {
			t.Errorf("events: %q", got)
		}
	})
}

// Writing a name in other ways gives no more tries (Authelia GO-2025-3468, GO-2026-5430).
func TestUsernameVariantsShareOneCounter(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := open(t, db, newClock())
		h.person("anna")
		checked := 0
		for range 10 {
			for _, login := range []string{"anna", "ANNA", "Anna", " anna ", "anna\t", "an\x00na", "anna@corp.example", "ANNA@corp.example", "anna@CORP.example "} {
				if _, _, err := h.in(login, wrongPassword, from("203.0.113.5")); problem.Is(err, problem.Internal) {
					t.Fatal(err)
				}
			}
		}
		for _, e := range h.events(audit.UserLoginAttempt) {
			if strings.HasSuffix(e, "wrong password.") {
				checked++
			}
		}
		if checked != 5 {
			t.Errorf("%d passwords were looked at, want 5", checked)
		}
		_, _, err := h.in("anna", goodPassword, from("203.0.113.5"))
		wantKind(t, "the right one from there", err, problem.Throttled)
	})
}

// An attacker who fails with somebody's name on purpose must not keep them out.
func TestNeighbour_BruteForceLocksNobodyOut(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := open(t, db, newClock(), func(c *Config) { c.Throttle = Limits{Account: 3, Strange: 6, Network: 10} })
		h.person("anna")
		home, office := from("192.0.2.1"), from("192.0.2.2")
		s, _ := h.mustIn("anna", home)
		device := s.Device.Reveal()
		if device == "" {
			t.Fatal("a new browser got no token to be known by")
		}
		browser := func(a *Attempt) { a.Device = device }
		if s, _ := h.mustIn("anna", home, browser); s.Device != "" {
			t.Error("a known browser got another token")
		}
		h.mustIn("anna", office)
		attack := func(address string, n int) {
			for range n {
				if _, _, err := h.in("anna", wrongPassword, from(address)); err == nil {
					t.Fatal("signed in")
				}
				h.clock.pass(2 * time.Second)
			}
		}
		for i := range 8 {
			attack("203.0.113."+itoa(i), 4)
		}
		// From a place where she is unknown the attack does hold her up, for a while…
		_, _, err := h.in("anna", goodPassword, from("198.51.100.1"))
		wantKind(t, "unknown place during the attack", err, problem.Unauthenticated)
		// …but not at home, nor in her browser on the way.
		h.mustIn("anna", home)
		h.mustIn("anna", from("198.51.100.1"), browser)
		h.clock.pass(16 * time.Minute)
		h.mustIn("anna", from("198.51.100.2"))

		// A colleague fails with her name and with others' in the same network.
		attack("192.0.2.1", 4)
		for i := range 20 {
			if _, _, err := h.in("nobody"+itoa(i), wrongPassword, home); err == nil {
				t.Fatal("signed in")
			}
		}
		_, _, err = h.in("nobody", wrongPassword, home)
		wantKind(t, "the network is held up", err, problem.Throttled)
		h.mustIn("anna", home, browser)
		h.clock.pass(time.Minute)
		h.mustIn("anna", home) // without her browser at most a minute later
		h.mustIn("anna", office)
	})
}

func TestNeighbour_BruteForceInParallel(t *testing.T) {
	storetest.Two(t, func(t *testing.T, da, db *store.DB) {
		c := newClock()
		a, b := open(t, da, c), open(t, db, c)
		a.person("anna")
		var wg sync.WaitGroup
		for i := range 60 {
			h := a
			if i%2 == 1 {
				h = b
			}
			wg.Go(func() {
				if _, _, err := h.in("anna", wrongPassword, from("203.0.113.5")); err == nil {
					t.Error("signed in")
				}
			})
		}
		wg.Wait()
		checked := 0
		for _, e := range a.events(audit.UserLoginAttempt) {
			if strings.HasSuffix(e, "wrong password.") {
				checked++
			}
		}
		// Five are free. When four are counted, five can run on each replica.
		if checked < 5 || checked > 4+2*5 {
			t.Errorf("%d of 60 passwords were looked at", checked)
		}
		if len(a.throttle.running)+len(b.throttle.running) != 0 {
			t.Error("gates are left behind")
		}
	})
}

func TestPruneForgetsOldCountersAndPlaces(t *testing.T) {
	h := open(t, storetest.SQLite(t), newClock())
	h.person("anna")
	h.mustIn("anna")
	if _, _, err := h.in("anna", wrongPassword); err == nil {
		t.Fatal("signed in")
	}
	h.flow("saml", time.Minute)
	h.clock.pass(familiarFor + time.Hour)
	if err := h.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"throttles", "familiar_places", "flows", "sessions"} {
		if n := h.count(table); n != 0 {
			t.Errorf("%s: %d rows left", table, n)
		}
	}
}
