package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"sync/atomic"
	"time"
)

// scenario is something that goes wrong during a first load.
type scenario struct {
	name   string
	people int
	rate   float64
	// set makes the target misbehave, and returns what looks at it from then on.
	set func(t *target) judge
	// act is what happens meanwhile; nil for nothing.
	act func(ctx context.Context, w *world) error
	// missing are people who can't be there at the end, by number.
	missing []int
	// extra is how many requests more than the least possible are no waste: those that the fault made vain.
	extra func(t *target) int
}

// judge answers a request in the target's place with a status, or lets it pass with 0. It is called with the target locked.
type judge func(w http.ResponseWriter, r *http.Request, body []byte, now time.Time) int

// Violations of what the target said are counted by the judges.
type violations struct{ rate, rest, stopped atomic.Int64 }

func (v *violations) String() string {
	return fmt.Sprintf("%d over the limit, %d within Retry-After, %d while stopped", v.rate.Load(), v.rest.Load(), v.stopped.Load())
}

func (v *violations) none() bool { return v.rate.Load()+v.rest.Load()+v.stopped.Load() == 0 }

// bucket lets perSecond pass, and so many at once.
func bucket(perSecond, burst float64) func(now time.Time) bool {
	left, last := burst, time.Time{}
	return func(now time.Time) bool {
		if !last.IsZero() {
			left = min(burst, left+now.Sub(last).Seconds()*perSecond)
		}
		last = now
		if left < 1 {
			return false
		}
		left--
		return true
	}
}

// underWay is how long a request may have been on its way when the target changed its mind.
const underWay = 60 * time.Millisecond

func scenarios(n int, v *violations) []scenario {
	var refused atomic.Int64
	vain := func(*target) int { return int(refused.Load()) }
	return []scenario{
		{name: "a limit of 20/s, kept", people: 200, rate: 20, set: func(*target) judge {
			// The clocks of sender and target differ by what a request takes: two more are no violation.
			pass := bucket(20, 20+2)
			return func(_ http.ResponseWriter, _ *http.Request, _ []byte, now time.Time) int {
				if !pass(now) {
					v.rate.Add(1)
				}
				return 0
			}
		}},
		{name: "429 storm: 200/s, and a second's rest whenever it is more", people: n, rate: 10_000, extra: vain, set: func(*target) judge {
			refused.Store(0)
			pass, since := bucket(200, 100), time.Time{}
			return func(w http.ResponseWriter, _ *http.Request, _ []byte, now time.Time) int {
				rest := now.Sub(since)
				switch {
				case rest < time.Second && rest > underWay:
					v.rest.Add(1)
				case rest >= time.Second && pass(now):
					return 0
				case rest >= time.Second:
					since = now
				}
				refused.Add(1)
				w.Header().Set("Retry-After", "1")
				return http.StatusTooManyRequests
			}
		}},
		{name: "flapping: 503 for 0.3 s of every second", people: n, rate: 500, extra: vain, set: func(*target) judge {
			refused.Store(0)
			begin := time.Now()
			return func(_ http.ResponseWriter, r *http.Request, _ []byte, now time.Time) int {
				if math.Mod(now.Sub(begin).Seconds(), 1) < 0.7 {
					return 0
				}
				refused.Add(1)
				if r.Method == http.MethodPost { // it may have been made all the same: that is looked up, by two attributes
					refused.Add(2)
				}
				return http.StatusServiceUnavailable
			}
		}},
		{name: "token revoked, then replaced", people: n, rate: 2000, extra: vain, set: func(t *target) judge {
			refused.Store(0)
			seen, since := 0, time.Time{}
			return func(_ http.ResponseWriter, r *http.Request, _ []byte, now time.Time) int {
				if seen++; seen == n/2 {
					t.token, since = "another-token", now
				}
				if r.Header.Get("Authorization") == "Bearer "+t.token {
					return 0
				}
				if now.Sub(since) > time.Second {
					v.stopped.Add(1)
				}
				refused.Add(1)
				return http.StatusUnauthorized
			}
		}, act: func(ctx context.Context, w *world) error {
			if err := w.state(ctx, "stopped"); err != nil {
				return err
			}
			if err := sleep(ctx, 2*time.Second); err != nil { // nothing may be sent
				return err
			}
			return w.api.call(ctx, http.MethodPut, "/applications/"+string(w.id)+"/scim/token", `{"token":"another-token"}`, nil)
		}},
		{name: "one poisoned person", people: n, rate: 10_000, missing: []int{7}, extra: vain, set: func(*target) judge {
			refused.Store(0)
			name := []byte(`"` + login(7) + `"`)
			return func(_ http.ResponseWriter, r *http.Request, body []byte, _ time.Time) int {
				if r.Method == http.MethodPost && bytes.Contains(body, name) {
					refused.Add(1)
					return http.StatusBadRequest
				}
				return 0
			}
		}},
	}
}

// state waits until provisioning has a state.
func (w *world) state(ctx context.Context, want string) error {
	var got struct {
		State string `json:"state"`
	}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		if err := w.api.call(ctx, http.MethodGet, w.provisioning(), "", &got); err != nil {
			return err
		}
		if got.State == want {
			return nil
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("provisioning is %s, not %s", got.State, want)
}

// faults runs every scenario in a world of its own.
func faults(ctx context.Context, o options, n int, r *report) error {
	v := &violations{}
	for _, s := range scenarios(n, v) {
		if err := s.run(ctx, o, v, r); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return massChange(ctx, o, n, r)
}

func (s scenario) run(ctx context.Context, o options, v *violations, r *report) (err error) {
	t, err := newTarget(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	w, err := newWorldAt(ctx, t, s.people, s.rate)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	v.rate.Store(0)
	v.rest.Store(0)
	v.stopped.Store(0)
	t.mu.Lock()
	t.judge = s.set(t)
	t.mu.Unlock()
	if err := w.start(ctx, o); err != nil {
		return err
	}
	if err := w.settled(ctx, time.Minute); err != nil {
		return err
	}
	t.reset()
	begin := time.Now()
	if err := w.api.call(ctx, http.MethodPost, w.provisioning()+"/activate", "{}", nil); err != nil {
		return err
	}
	if s.act != nil {
		if err := s.act(ctx, w); err != nil {
			return err
		}
	}
	if err := w.settledBut(ctx, len(s.missing), 5*time.Minute); err != nil {
		return err
	}
	_, last := t.span()
	took := last.Sub(begin)
	teams := w.teams()
	for _, i := range s.missing {
		team := teams[teamName(i/100)]
		for j, name := range team {
			if name == login(i) {
				teams[teamName(i/100)] = append(team[:j], team[j+1:]...)
				break
			}
		}
	}
	difference := t.exact(teams)
	all, _ := t.requests()
	least := w.least() - len(s.missing)
	if s.extra != nil {
		least += s.extra(t)
	}
	ratio := float64(all) / float64(least)
	t.mu.Lock()
	twice := t.conflicts
	t.mu.Unlock()
	r.row(s.name, fmt.Sprintf("%d requests", least), fmt.Sprintf("%d", all), fmt.Sprintf("%.3f", ratio), "≤ 1.05, nobody twice", ratio <= 1.05 && twice == 0)
	r.fact("  took, requests by kind", fmt.Sprintf("%.1f s, %s", took.Seconds(), t.breakdown()))
	r.row("  violations", "0", v.String(), "", "0", v.none())
	what := "none"
	if difference != nil {
		what = difference.Error()
	}
	r.row("  difference at the end", "none", what, "", "none", difference == nil)
	if s.rate == 20 {
		used := float64(all-20) / (20 * took.Seconds()) // a burst comes first
		r.row("  of the limit used", "20/s", fmt.Sprintf("%.1f/s", 20*used), fmt.Sprintf("%.3f", used), "≥ 0.95", used >= 0.95)
	}
	return nil
}

// massChange has many people leave at once: that is held until somebody approves it.
func massChange(ctx context.Context, o options, n int, r *report) (err error) {
	t, err := newTarget(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	w, err := newWorld(ctx, t, n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := w.start(ctx, o); err != nil {
		return err
	}
	if err := w.api.call(ctx, http.MethodPost, w.provisioning()+"/activate", "{}", nil); err != nil {
		return err
	}
	if err := w.settled(ctx, 5*time.Minute); err != nil {
		return err
	}
	leavers := n / 4
	ids, err := w.someone(ctx, 0, leavers)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := w.api.call(ctx, http.MethodPost, "/users/"+string(id)+"/suspend", "{}", nil); err != nil {
			return err
		}
	}
	if err := errors.Join(w.state(ctx, "paused"), sleep(ctx, 2*time.Second)); err != nil {
		return err
	}
	before := t.inactive()
	r.row(fmt.Sprintf("mass change: %d of %d leave; deactivated before approval", leavers, n), "", fmt.Sprint(before), "", "≤ 10", before <= 10)
	if err := w.api.call(ctx, http.MethodPost, w.provisioning()+"/resume", "{}", nil); err != nil {
		return err
	}
	if err := w.settled(ctx, time.Minute); err != nil {
		return err
	}
	after := t.inactive()
	r.row("  after approval", fmt.Sprint(leavers), fmt.Sprint(after), "", "all of them", after == leavers)
	return nil
}

// inactive is how many accounts are not active.
func (t *target) inactive() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, u := range t.users {
		if bytes.Contains(u, []byte(`"active":false`)) {
			n++
		}
	}
	return n
}

// measureFaults is that part of measureProvisioning alone.
func measureFaults(ctx context.Context, o options, r *report) error {
	n := o.users
	if n == 0 {
		n = 1000
	}
	return faults(ctx, o, n, r)
}
