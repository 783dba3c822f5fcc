package authn

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// Guessing is slowed down by four counters of failures. Each lets a number of failures in a
// window pass, and from then on makes everybody whom it is about wait after each further one,
// longer each time up to a bound. Nothing is ever locked until somebody unlocks it.
//
//	counter   counts failures                        waiting is     told
//	name      with one typed name from one place     ≤ 1 minute     yes
//	account   for one person from one place          ≤ 1 minute     no
//	strange   for one person from all places that    ≤ 15 minutes   no
//	          the person isn't known at
//	network   from one network for all names         ≤ 15 minutes   yes
//
// A place is a browser that the person signed in with before (it holds a token that says so),
// else the network: an IPv4 address, or an IPv6 /64. Where a person has signed in before, in
// that browser or from that network, neither "strange" nor "network" holds them up. So an
// attacker who fails with somebody's name on purpose holds up only himself, from everywhere
// that this person doesn't usually sign in; in the person's own network at most a minute, and
// not at all the person's own browsers.
//
// What is told must be the same for known and unknown people. So only counters that depend on
// what was typed and where from alone are told ("name", "network"). The hidden ones count
// person by person, so that writing a name in other ways gives no more tries; a try that they
// refuse is answered like a wrong password, after the same time. Unknown names have hidden
// counters too. A network that is held up still gets tries checked, a few at a time, since only
// that finds out whether the person is known there; but every answer except a success is the
// same, and takes the same time.
//
// A try that was refused by a counter doesn't count for it.

// Limits is how many failures pass before guessing is slowed down. Zero fields have defaults.
type Limits struct {
	// Account is for one name, or one person, from one place in an hour; default 5.
	Account int
	// Strange is for one person from all places where they aren't known, in a day; default 50.
	Strange int
	// Network is for one network, over all names, in a quarter of an hour; default 100.
	Network int
}

const (
	// longestWindow is the longest of the windows below.
	longestWindow = 24 * time.Hour
	// familiarFor is how long a place stays known after the last sign-in there.
	familiarFor = 90 * 24 * time.Hour
	// checkedInHeldUp is how many tries from one held-up network are checked at once.
	checkedInHeldUp = 4
)

// counter is the rule of one of the four.
type counter struct {
	name string
	free int
	// window is how long after the first failure the counter starts anew.
	window time.Duration
	// first is the wait after the failure number free, doubled by each further one up to most.
	first, most time.Duration
}

// wait returns how long to hold up after so many failures in the window.
func (c counter) wait(failures int64) time.Duration {
	over := failures - int64(c.free)
	if over < 0 {
		return 0
	}
	d := c.first
	for range min(over, 30) {
		if d *= 2; d >= c.most {
			return c.most
		}
	}
	return min(d, c.most)
}

type throttle struct {
	name, account, strange, network counter

	mu sync.Mutex
	// running counts what is under way by key, so that a burst of parallel tries doesn't pass
	// before the first of them is counted.
	running map[string]*gate
}

func newThrottle(l Limits) throttle {
	few := orDefault(l.Account, 5)
	return throttle{
		name:    counter{"name", few, time.Hour, 5 * time.Second, time.Minute},
		account: counter{"account", few, time.Hour, 5 * time.Second, time.Minute},
		strange: counter{"strange", orDefault(l.Strange, 50), longestWindow, time.Minute, 15 * time.Minute},
		network: counter{"network", orDefault(l.Network, 100), 15 * time.Minute, time.Minute, 15 * time.Minute},
		running: map[string]*gate{},
	}
}

// gate lets so many through at once.
type gate struct {
	slots chan struct{}
	users int
}

// enter waits until fewer than most tries with key run, for at most patience.
func (t *throttle) enter(ctx context.Context, key string, most int, patience time.Duration) (leave func(), err error) {
	t.mu.Lock()
	g := t.running[key]
	if g == nil {
		g = &gate{slots: make(chan struct{}, most)}
		t.running[key] = g
	}
	g.users++
	t.mu.Unlock()
	drop := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if g.users--; g.users == 0 {
			delete(t.running, key)
		}
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case g.slots <- struct{}{}:
		return func() { <-g.slots; drop() }, nil
	case <-ctx.Done():
		drop()
		return nil, ctx.Err()
	case <-timer.C:
		drop()
		return nil, tooMany(patience)
	}
}

func tooMany(wait time.Duration) error {
	e := problem.New(problem.Throttled, "There were too many tries. Wait a little, then try again.")
	e.RetryAfter = max(wait.Round(time.Second), time.Second)
	return e
}

// network returns what of an address counts as one network.
func network(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return "unknown"
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	p, err := ip.Prefix(64)
	if err != nil {
		return "unknown"
	}
	return p.String()
}

func networkPlace(address string) string { return "net:" + network(address) }

// devicePlace returns "" for what can't be a device's token.
func devicePlace(token string) string {
	hash, ok := tokenHash(token)
	if !ok {
		return ""
	}
	return "dev:" + hash
}

// familiar says which of two places a person is known at.
type familiar struct{ network, device bool }

func readFamiliar(tx *store.Tx, id directory.UserID, from Origin, now time.Time) (familiar, error) {
	var f familiar
	net, dev := networkPlace(from.Address), devicePlace(from.Device)
	for place, err := range store.Each(tx, store.Scalar[string],
		`SELECT place FROM familiar_places WHERE user_id = $1 AND place IN ($2, $3) AND seen_at >= $4`,
		string(id), net, dev, store.Micros(now.Add(-familiarFor))) {
		if err != nil {
			return f, err
		}
		f.network = f.network || place == net
		f.device = f.device || place == dev && dev != ""
	}
	return f, nil
}

func markFamiliar(tx *store.Tx, id directory.UserID, now time.Time, places ...string) error {
	for _, place := range places {
		if place == "" {
			continue
		}
		_, err := tx.Exec(`INSERT INTO familiar_places (user_id, place, seen_at) VALUES ($1, $2, $3)
			ON CONFLICT (user_id, place) DO UPDATE SET seen_at = excluded.seen_at WHERE familiar_places.seen_at < $4`,
			string(id), place, store.Micros(now), store.Micros(now.Add(-time.Hour)))
		if err != nil {
			return err
		}
	}
	return nil
}

// tally is one counter's state for what one try is about.
type tally struct {
	counter
	key      string
	failures int64
	start    time.Time
	till     time.Time
}

// blocked returns how long the tally still holds up.
func (t tally) blocked(now time.Time) time.Duration { return max(t.till.Sub(now), 0) }

// tallies are those of one try.
type tallies struct{ name, account, strange, network tally }

// all lists those that a failure counts for.
func (t *tallies) all() []*tally { return []*tally{&t.name, &t.account, &t.strange, &t.network} }

// read returns the tallies of a try with login for subject: a person's id, or the typed name of
// nobody.
func (t *throttle) read(tx *store.Tx, login, subject string, f familiar, from Origin) (tallies, error) {
	place := networkPlace(from.Address)
	if f.device {
		place = devicePlace(from.Device)
	}
	key := func(c counter, parts ...string) tally {
		// A digest keeps the key short, and people's names out of the table.
		return tally{counter: c, key: c.name + ":" + digest(strings.Join(parts, "\x00"))}
	}
	out := tallies{
		name:    key(t.name, place, store.Key(login)),
		account: key(t.account, place, subject),
		strange: key(t.strange, subject),
		network: key(t.network, networkPlace(from.Address)),
	}
	args := make([]any, 0, 4)
	for _, x := range out.all() {
		args = append(args, x.key)
	}
	type row struct {
		key                   string
		failures, start, till int64
	}
	rows := store.Each(tx, func(r store.Row) (x row, err error) {
		err = r.Scan(&x.key, &x.failures, &x.start, &x.till)
		return x, err
	}, `SELECT key, failures, window_start, blocked_till FROM throttles WHERE key IN (`+store.Placeholders(1, len(args))+`)`, args...)
	for r, err := range rows {
		if err != nil {
			return out, err
		}
		for _, x := range out.all() {
			if x.key == r.key {
				x.failures, x.start, x.till = r.failures, store.FromMicros(r.start), store.FromMicros(r.till)
			}
		}
	}
	return out, nil
}

// verdict says how to go on with a try.
type verdict struct {
	// refuse, when not zero, tells the person at once to wait so long.
	refuse time.Duration
	// check says that the password is to be looked at; otherwise any counts as wrong.
	check bool
	// told, when not zero, replaces the answer to a wrong password: wait so long.
	told time.Duration
	// count are the tallies that a failure counts for.
	count []*tally
}

// judge decides, from the tallies and from whether the person is known at the place.
func (t *tallies) judge(now time.Time, known bool) verdict {
	if d := t.name.blocked(now); d > 0 {
		return verdict{refuse: d}
	}
	hidden := t.account.blocked(now) > 0 || !known && t.strange.blocked(now) > 0
	v := verdict{check: !hidden, count: []*tally{&t.name}}
	if !hidden {
		v.count = append(v.count, &t.account)
		if !known {
			v.count = append(v.count, &t.strange)
		}
	}
	if d := t.network.blocked(now); d > 0 {
		v.told, v.check = d, v.check && known
	} else {
		v.count = append(v.count, &t.network)
	}
	return v
}

// fail counts a failure and returns the tallies that begin to hold up by it.
func fail(tx *store.Tx, now time.Time, count []*tally) ([]*tally, error) {
	var begun []*tally
	for _, x := range count {
		n, err := store.One(tx, store.Scalar[int64], `INSERT INTO throttles (key, failures, window_start, blocked_till) VALUES ($1, 1, $2, 0)
			ON CONFLICT (key) DO UPDATE SET
				failures = CASE WHEN throttles.window_start <= $3 THEN 1 ELSE throttles.failures + 1 END,
				window_start = CASE WHEN throttles.window_start <= $3 THEN $2 ELSE throttles.window_start END
			RETURNING failures`, x.key, store.Micros(now), store.Micros(now.Add(-x.window)))
		if err != nil {
			return nil, err
		}
		d := x.wait(n)
		if d == 0 {
			continue
		}
		if _, err := tx.Exec(`UPDATE throttles SET blocked_till = $2 WHERE key = $1`, x.key, store.Micros(now.Add(d))); err != nil {
			return nil, err
		}
		if n == int64(x.free) {
			begun = append(begun, x)
		}
	}
	return begun, nil
}

// forgive forgets the failures of a person who then signed in at that place. The counters that
// others' failures count for stay.
func (t *tallies) forgive(tx *store.Tx) error {
	for _, x := range []*tally{&t.name, &t.account} {
		if x.failures == 0 {
			continue
		}
		if _, err := tx.Exec(`DELETE FROM throttles WHERE key = $1`, x.key); err != nil {
			return err
		}
	}
	return nil
}
