package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/server"
)

// remote calls the program's API.
type remote struct {
	url string
	key string
}

func (c *remote) call(ctx context.Context, method, path, body string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.url+"/api/v1"+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	switch method {
	case http.MethodPatch:
		req.Header.Set("Content-Type", "application/merge-patch+json")
	case http.MethodGet:
	default:
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode > 299 {
		return fmt.Errorf("%s %s: %d %s", method, path, resp.StatusCode, bytes.TrimSpace(answer))
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer, into)
}

// database reads the program's database beside it.
type database struct{ db *sql.DB }

func (in *installation) open() (*database, error) {
	db, err := sql.Open("sqlite", "file:"+in.database()+"?_pragma=query_only(1)&_pragma=busy_timeout(10000)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return &database{db}, nil
}

func (d *database) count(ctx context.Context, query string, args ...any) (n int, err error) {
	err = d.db.QueryRowContext(ctx, query, args...).Scan(&n)
	return n, err
}

// waiting is how much has to be worked out or sent.
func (d *database) waiting(ctx context.Context) (int, error) {
	return d.count(ctx, `SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM lanes WHERE wanted > synced AND kind NOT LIKE 'periodic.%')`)
}

// world is an installation with people to be provisioned, and where they go.
type world struct {
	*seeded
	*installation
	target *target
	proc   *process
	api    *remote
	db     *database
	people int
}

func newWorld(ctx context.Context, t *target, people int) (*world, error) {
	return newWorldAt(ctx, t, people, 10_000)
}

// newWorldAt is newWorld with a limit of so many requests a second.
func newWorldAt(ctx context.Context, t *target, people int, rate float64) (*world, error) {
	w := &world{target: t, people: people}
	var err error
	w.installation, err = furnish(ctx, func(ctx context.Context, h *server.House) (err error) {
		if w.seeded, err = seedOwner(ctx, h); err != nil {
			return err
		}
		if err := seedPeople(ctx, h, w.seeded, 0, people); err != nil {
			return err
		}
		return seedProvisioning(ctx, h, w.seeded, t.base, rate)
	})
	if err != nil {
		return nil, err
	}
	if w.db, err = w.open(); err != nil {
		return nil, errors.Join(err, w.remove())
	}
	w.api = &remote{url: w.url, key: w.apiKey}
	return w, nil
}

func (w *world) start(ctx context.Context, o options) (err error) {
	w.proc, err = w.serve(ctx, o.bin, false)
	return err
}

// close ends and deletes everything but the target.
func (w *world) close() error {
	var err error
	if w.proc != nil {
		err = w.proc.kill()
	}
	return errors.Join(err, w.db.db.Close(), w.remove())
}

func (w *world) provisioning() string { return "/applications/" + string(w.id) + "/provisioning" }

// teams is what should be at the target.
func (w *world) teams() map[string][]string {
	teams := map[string][]string{}
	for i := range w.people {
		teams[teamName(i/100)] = append(teams[teamName(i/100)], login(i))
	}
	return teams
}

// least is the least number of requests of a first load: one for each person, and for each group
// one to make it and one for each hundred members.
func (w *world) least() int {
	n := w.people
	for _, people := range w.teams() {
		n += 1 + (len(people)+99)/100
	}
	return n
}

// settled waits until nothing is left to do and returns when the last request came.
func (w *world) settled(ctx context.Context, most time.Duration) error {
	return w.settledBut(ctx, 0, most)
}

// settledBut is settled where so many objects are left that the target refuses.
func (w *world) settledBut(ctx context.Context, refused int, most time.Duration) error {
	deadline := time.Now().Add(most)
	for {
		waiting, err := w.db.waiting(ctx)
		if err != nil {
			return err
		}
		parked := 0
		if waiting <= refused {
			if parked, err = w.db.count(ctx, `SELECT count(*) FROM lanes WHERE wanted > synced AND parked`); err != nil {
				return err
			}
		}
		if waiting == refused && parked == refused {
			return nil
		}
		if time.Now().After(deadline) {
			u, g, m := w.target.size()
			return fmt.Errorf("not settled after %s: %d users, %d groups and %d members arrived", most, u, g, m)
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func measureProvisioning(ctx context.Context, o options, r *report) (err error) {
	n := o.users
	if n == 0 {
		n = 5000
	}
	t, err := newTarget(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	plain1, err := plainRate(ctx, t, min(n, 20000), 1)
	if err != nil {
		return err
	}
	plain, err := plainRate(ctx, t, min(4*n, 100000), 8)
	if err != nil {
		return err
	}
	r.note("a plain client pushes ready-made bodies at the same target: %.0f/s with 1 worker, %.0f/s with 8; %.0f µs of processor time for each, the target's included", plain1.rate, plain.rate, float64(plain.cpu.Microseconds()))
	w, err := newWorld(ctx, t, n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := w.start(ctx, o); err != nil {
		return err
	}
	for _, part := range []func(context.Context, *world, plainResult, *report) error{firstLoad, repeat, fewChanges, latency} {
		if err := part(ctx, w, plain, r); err != nil {
			return err
		}
	}
	if err := crash(ctx, o, t, min(n, 5000), r); err != nil {
		return err
	}
	if err := faults(ctx, o, min(n, 1000), r); err != nil {
		return err
	}
	r.missing("latency with 50 busy applications and 250,000 accounts to match are not measured")
	return nil
}

// firstLoad measures the way from nothing to everything.
func firstLoad(ctx context.Context, w *world, plain plainResult, r *report) error {
	// What came of making the people is worked out before.
	if err := w.settled(ctx, 5*time.Minute); err != nil {
		return err
	}
	cpu, own, begin := w.proc.cpu(), ownCPU(), time.Now()
	if err := w.api.call(ctx, http.MethodPost, w.provisioning()+"/activate", "{}", nil); err != nil {
		return err
	}
	if err := w.settled(ctx, 10*time.Minute); err != nil {
		return err
	}
	if err := w.target.exact(w.teams()); err != nil {
		return err
	}
	// The work ends with the last answer; then it is only noticed.
	_, last := w.target.span()
	took, used, own := last.Sub(begin), w.proc.cpu()-cpu, ownCPU()-own
	objects := w.people + len(w.groups)
	rate := perSecond(objects, took)
	r.row(fmt.Sprintf("first load, %d people and %d groups", w.people, len(w.groups)), fmt.Sprintf("%.0f/s", plain.rate), fmt.Sprintf("%.0f objects/s", rate),
		fmt.Sprintf("%.3f", rate/plain.rate), "≥ 0.25 of plain", rate >= plain.rate/4)
	both := (used + own) / time.Duration(objects)
	r.rows = append(r.rows, [5]string{
		"  the same by processor time, target included", fmt.Sprintf("%d µs", plain.cpu.Microseconds()), fmt.Sprintf("%d µs", both.Microseconds()),
		fmt.Sprintf("%.3f", float64(plain.cpu)/float64(both)), "",
	})
	r.fact("  took, CPU per object", fmt.Sprintf("%.1f s, %.0f µs", took.Seconds(), float64(used.Microseconds())/float64(objects)))
	all, _ := w.target.requests()
	least := w.least()
	r.row("  requests", fmt.Sprint(least), fmt.Sprint(all), fmt.Sprintf("%.3f", float64(all)/float64(least)), "≤ 1.02 of least", float64(all) <= 1.02*float64(least))
	r.note("requests of the first load: %s", w.target.breakdown())
	_, most := w.proc.memory()
	r.row("  resident, most", "", mib(most), "", "≤ 400 MB", most <= 400<<20)
	return nil
}

// repeat has everything compared once more.
func repeat(ctx context.Context, w *world, _ plainResult, r *report) error {
	if err := sleep(ctx, time.Second); err != nil {
		return err
	}
	w.target.reset()
	cpu := w.proc.cpu()
	for _, act := range []string{"pause", "resume"} {
		if err := w.api.call(ctx, http.MethodPost, w.provisioning()+"/"+act, "{}", nil); err != nil {
			return err
		}
	}
	if err := sleep(ctx, 200*time.Millisecond); err != nil {
		return err
	}
	if err := w.settled(ctx, 5*time.Minute); err != nil {
		return err
	}
	all, writes := w.target.requests()
	used := w.proc.cpu() - cpu
	r.row("repeat sync, writes", "0", fmt.Sprintf("%d (of %d requests)", writes, all), "", "0", writes == 0)
	per := float64(used.Microseconds()) / float64(w.people)
	r.row("  planning, CPU per person", "", fmt.Sprintf("%.0f µs", per), "", "≤ 100 µs", per <= 100)
	return nil
}

// fewChanges changes ten people at once.
func fewChanges(ctx context.Context, w *world, _ plainResult, r *report) error {
	ids, err := w.someone(ctx, 0, 10)
	if err != nil {
		return err
	}
	w.target.reset()
	cpu := w.proc.cpu()
	for i, id := range ids {
		if err := w.api.call(ctx, http.MethodPatch, "/users/"+string(id), fmt.Sprintf(`{"title":"Changed %d"}`, i), nil); err != nil {
			return err
		}
	}
	if err := w.settled(ctx, time.Minute); err != nil {
		return err
	}
	all, _ := w.target.requests()
	r.row(fmt.Sprintf("10 changes among %d, requests a change", w.people), "1", fmt.Sprintf("%.1f", float64(all)/10), "", "≤ 3", all <= 30)
	r.fact("  CPU per change", fmt.Sprintf("%.1f ms", float64((w.proc.cpu()-cpu).Milliseconds())/10))
	return nil
}

// someone returns the ids of people by their numbers.
func (w *world) someone(ctx context.Context, from, n int) ([]directory.UserID, error) {
	ids := make([]directory.UserID, n)
	for i := range ids {
		var page struct {
			Items []struct {
				ID directory.UserID `json:"id"`
			} `json:"items"`
		}
		if err := w.api.call(ctx, http.MethodGet, "/users?login="+login(from+i), "", &page); err != nil {
			return nil, err
		}
		if len(page.Items) != 1 {
			return nil, fmt.Errorf("%s can't be found", login(from+i))
		}
		ids[i] = page.Items[0].ID
	}
	return ids, nil
}

// latency measures from the moment that a change is asked for by the API to its request.
func latency(ctx context.Context, w *world, _ plainResult, r *report) error {
	const changes, leavers = 50, 10
	ids, err := w.someone(ctx, 100, changes+leavers)
	if err != nil {
		return err
	}
	var took [2][]time.Duration
	seen := make(chan patched, 100)
	w.target.watch(seen)
	defer w.target.watch(nil)
	for i, id := range ids {
		leaver := 0
		if i >= changes {
			leaver = 1
		}
		begin := time.Now()
		if leaver == 1 {
			err = w.api.call(ctx, http.MethodPost, "/users/"+string(id)+"/suspend", "{}", nil)
		} else {
			err = w.api.call(ctx, http.MethodPatch, "/users/"+string(id), fmt.Sprintf(`{"title":"Later %d"}`, i), nil)
		}
		if err != nil {
			return err
		}
		for arrived := false; !arrived; {
			select {
			case p := <-seen:
				if p.person == string(id) {
					took[leaver] = append(took[leaver], p.at.Sub(begin))
					arrived = true
				}
			case <-time.After(20 * time.Second):
				return fmt.Errorf("the change of %s didn't arrive within 20 s", id)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := sleep(ctx, time.Duration(20+37*i%90)*time.Millisecond); err != nil {
			return err
		}
	}
	median, p99 := quantile(took[0], 0.5), quantile(took[0], 0.99)
	r.row(fmt.Sprintf("change to first request, median of %d", changes), "", ms(median), "", "≤ 1 s", median <= time.Second)
	r.row("  p99", "", ms(p99), "", "≤ 5 s", p99 <= 5*time.Second)
	worst := quantile(took[1], 0.99)
	r.row(fmt.Sprintf("  leaver, worst of %d", leavers), "", ms(worst), "", "≤ 1 s", worst <= time.Second)
	return nil
}

// crash kills the program in the middle of a first load.
func crash(ctx context.Context, o options, t *target, people int, r *report) (err error) {
	t.empty()
	w, err := newWorld(ctx, t, people)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	const kills = 20
	resumed, err := w.crashes(ctx, o, kills)
	if err != nil {
		return err
	}
	worst := quantile(resumed, 1)
	r.row(fmt.Sprintf("kill -9 %d times, worst time to the next request", kills), "", ms(worst), "", "≤ 5 s", worst <= 5*time.Second)
	t.mu.Lock()
	conflicts := t.conflicts
	t.mu.Unlock()
	r.row("  all there exactly once, created twice", "0", fmt.Sprint(conflicts), "", "0", conflicts == 0)
	return nil
}

// crashes loads everything while the program is killed so many times, and returns how long after
// each kill the next request came.
func (w *world) crashes(ctx context.Context, o options, times int) ([]time.Duration, error) {
	if err := w.start(ctx, o); err != nil {
		return nil, err
	}
	if err := w.api.call(ctx, http.MethodPost, w.provisioning()+"/activate", "{}", nil); err != nil {
		return nil, err
	}
	var resumed []time.Duration
	for i := range times {
		wanted := (i + 1) * w.people / (times + 1)
		for deadline := time.Now().Add(2 * time.Minute); ; {
			if users, _, _ := w.target.size(); users >= wanted {
				break
			}
			if time.Now().After(deadline) {
				return nil, fmt.Errorf("nothing arrives any more: %s", w.proc.log)
			}
			if err := sleep(ctx, 2*time.Millisecond); err != nil {
				return nil, err
			}
		}
		if err := w.proc.kill(); err != nil {
			return nil, err
		}
		killed := time.Now()
		w.target.reset()
		if err := w.start(ctx, o); err != nil {
			return nil, err
		}
		for first := (time.Time{}); first.IsZero(); {
			if time.Since(killed) > time.Minute {
				return nil, fmt.Errorf("nothing was sent in the minute after the crash: %s", w.proc.log)
			}
			if err := sleep(ctx, 2*time.Millisecond); err != nil {
				return nil, err
			}
			if first, _ = w.target.span(); !first.IsZero() {
				resumed = append(resumed, first.Sub(killed))
			}
		}
	}
	if err := w.settled(ctx, 5*time.Minute); err != nil {
		return nil, err
	}
	return resumed, w.target.exact(w.teams())
}
