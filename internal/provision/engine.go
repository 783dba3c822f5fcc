package provision

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/provision/plan"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/work"
)

// Config is what an Engine is made of.
type Config struct {
	DB        *store.DB
	Catalog   *catalog.Catalog
	Apps      *app.Applications
	Directory *directory.Directory
	// Pool runs the engine's lanes; New registers its handlers on it.
	Pool *work.Pool
	// HTTP carries requests to targets. Its transport decides where they may go, and its
	// timeout bounds one request.
	HTTP *http.Client
	// Version is told to targets in the User-Agent.
	Version string
	// Workers is how many objects are synchronized at once on this replica; default 64.
	Workers int
	// Sweep is how often everything is compared with what is remembered; default 15 minutes.
	Sweep time.Duration
	Now   func() time.Time
	Log   *slog.Logger
}

// Engine provisions all applications. Run its dispatcher with Run and its lanes with the Pool.
type Engine struct {
	Config
	mu      sync.Mutex
	targets map[app.ID]*target
	holds   holds
	pulses  pulses
}

// The kinds of lane.
const (
	laneSync   = "provision.sync"   // key: application/user|group/id
	laneSweep  = "provision.sweep"  // key: application
	laneImport = "provision.import" // key: import
)

// Priorities of lanes: leavers first, then those who wait to start work.
const (
	leaver = iota
	joiner
	update
	team
)

// New returns an engine and registers its handlers on c.Pool.
func New(c Config) *Engine {
	if c.Workers <= 0 {
		c.Workers = 64
	}
	if c.Sweep <= 0 {
		c.Sweep = 15 * time.Minute
	}
	e := &Engine{Config: c, targets: map[app.ID]*target{}, holds: newHolds()}
	c.Pool.Handle(laneSync, work.Options{Workers: c.Workers, PerScope: e.window}, e.sync)
	c.Pool.Handle(laneSweep, work.Options{Workers: 2, PerScope: e.holding(1)}, e.sweep)
	c.Pool.Handle(laneVerify, work.Options{Workers: 8, PerScope: e.verifying}, e.verify)
	c.Pool.Every(laneSweep, c.Sweep, e.sweepAll)
	c.Pool.Every("provision.watch", watchEvery, e.Watch)
	e.handleImports()
	e.handleDrift()
	return e
}

// system is the actor of what the engine does by itself.
func system() access.Actor { return access.SystemActor("") }

// target is an application as the engine works with it.
type target struct {
	app       app.Application
	connector *catalog.Connector
	mapping   *catalog.SCIMMapping
	client    *scim.Client
	token     keys.Secret // as the client has it
	abilities plan.Abilities
	limiter   *rate.Limiter
	drift     DriftSettings
	// slots holds a token for each request under way.
	slots  chan struct{}
	pulse  *pulse
	loaded time.Time
	scope

	mu       sync.Mutex
	failures int       // in a row, that concern the target as a whole
	till     time.Time // no request before
	answered time.Time // last good answer
}

// freshness is how long a loaded application is trusted. What switches provisioning off tells
// this replica at once; another one notices within this time.
const freshness = 500 * time.Millisecond

// target returns an application ready for work. NotFound if it is gone.
func (e *Engine) target(ctx context.Context, id app.ID) (*target, error) {
	e.mu.Lock()
	known := e.targets[id]
	e.mu.Unlock()
	now := e.Now()
	if known != nil && now.Sub(known.loaded) < freshness {
		return known, nil
	}
	var a app.Application
	var token keys.Secret
	var drift DriftSettings
	err := e.DB.View(ctx, func(tx *store.Tx) (err error) {
		if a, err = app.GetApplication(tx, id); err != nil {
			return err
		}
		if drift, err = getDriftSettings(tx, id); err != nil {
			return err
		}
		if a.SCIM.TokenSet {
			token, err = e.Apps.SCIMToken(tx, id)
		}
		return err
	})
	if err != nil {
		e.forget(id)
		return nil, err
	}
	t, err := e.build(a, token)
	if err != nil {
		return nil, err
	}
	if err := t.heed(drift); err != nil {
		return nil, err
	}
	t.loaded, t.pulse = now, e.pulseOf(id)
	e.mu.Lock()
	defer e.mu.Unlock()
	if known = e.targets[id]; known != nil {
		// What was learnt of the target stays true when its settings are read again.
		known.mu.Lock()
		t.failures, t.till, t.answered = known.failures, known.till, known.answered
		known.mu.Unlock()
		if known.limiter.Limit() == t.limiter.Limit() && known.limiter.Burst() == t.limiter.Burst() {
			t.limiter = known.limiter
		}
		if t.client != nil && known.client != nil && known.token == t.token && known.client.BaseURL() == t.client.BaseURL() {
			t.client = known.client // it may hold an access token that is still good
		}
		if cap(known.slots) == cap(t.slots) {
			t.slots = known.slots
		}
	}
	e.targets[id] = t
	return t, nil
}

// forget makes the next use of an application read it again.
func (e *Engine) forget(id app.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.targets, id)
}

// stale makes the next use read the settings again, and keeps what was learnt of the target.
func (e *Engine) stale(id app.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t := e.targets[id]; t != nil {
		t.loaded = time.Time{}
	}
}

func (e *Engine) build(a app.Application, token keys.Secret) (*target, error) {
	con, err := e.Catalog.Get(a.Connector)
	if err != nil {
		return nil, fmt.Errorf("provision: %w", err)
	}
	t := &target{app: a, connector: con, limiter: rate.NewLimiter(rate.Inf, 1), slots: make(chan struct{}, atOnce(con, a.SCIM.SCIMSettings))}
	if con.SCIM == nil {
		return t, nil
	}
	if t.mapping, err = e.Catalog.SCIMMapping(a.Connector, a.SCIM.Mapping); err != nil {
		return nil, fmt.Errorf("provision: mapping of %s: %w", a.Label, err)
	}
	if err := t.narrow(e.Catalog.Compiler(), a.SCIM.ScopeFilter); err != nil {
		return nil, fmt.Errorf("provision: scope of %s: %w", a.Label, err)
	}
	t.abilities = abilities(con.SCIM, a.SCIM.SCIMSettings)
	t.limiter = limiter(con.SCIM.Rate, a.SCIM.SCIMSettings)
	if a.SCIM.BaseURL == "" || token == "" {
		return t, nil
	}
	t.token = token
	t.client, err = e.newClient(con.SCIM, a.SCIM.BaseURL, token)
	return t, err
}

func (e *Engine) newClient(c *catalog.SCIM, baseURL string, token keys.Secret) (*scim.Client, error) {
	h := e.HTTP
	if c.Token.Scheme == catalog.TokenAccount {
		h = scim.WithAccountTokens(h, c.Token.TokenURL, e.Now)
	}
	client, err := scim.NewClient(scim.ClientConfig{
		BaseURL: baseURL, Token: scim.NewToken(token.Reveal()), HTTP: h,
		UserAgent: "Latchkey/" + e.Version, ContentType: c.ContentType, Cursor: c.Page.Cursor, Page: c.Page.Max, Now: e.Now,
	})
	if err != nil {
		return nil, fmt.Errorf("provision: %w", err)
	}
	return client, nil
}

// abilities turns a connector's facts and an administrator's choices into what plan asks for.
func abilities(c *catalog.SCIM, s app.SCIMSettings) plan.Abilities {
	a := plan.Abilities{
		Patch:             c.Users.Update == catalog.WritePatch,
		PatchGroups:       c.Groups.MemberUpdate == catalog.WritePatch,
		EmailByPut:        slices.Contains(c.Users.PutFor, "emails"),
		ActiveByPatch:     slices.Contains(c.Users.PatchFor, catalog.ActiveTarget),
		Fixed:             c.Users.Fixed,
		ReadOnly:          slices.Clone(c.Users.ReadOnly),
		MatchUsers:        c.Users.Match,
		MatchGroups:       slices.Contains(c.Groups.Match, "displayName"),
		ManageGroups:      s.ManageGroups && c.Groups.Supported,
		RenameGroups:      c.Groups.Rename,
		CreateWithMembers: c.Groups.MembersOnCreate,
		GroupRequired:     c.Groups.Required,
		MemberBatch:       c.Groups.MemberBatch,

		RemoveMembersByValue: c.Groups.MemberRemoval == catalog.RemoveByValue,

		Leavers: plan.Deactivate,
	}
	for _, x := range c.Users.Extensions {
		if x.ReadOnly {
			a.ReadOnly = append(a.ReadOnly, x.URN)
		}
	}
	if len(s.Match) > 0 {
		a.MatchUsers = s.Match
	}
	// Where active: false is unknown, or takes the account away for good, DELETE says what is done.
	if c.Users.Deactivate == catalog.DeactivateByDelete || s.OnLeave == app.Remove && c.Users.Delete {
		a.Leavers = plan.Delete
	}
	return a
}

func limiter(c catalog.RateFacts, s app.SCIMSettings) *rate.Limiter {
	perSecond, burst := c.PerSecond, c.Burst
	if s.RatePerSecond > 0 {
		perSecond, burst = s.RatePerSecond, max(1, int(s.RatePerSecond))
	}
	if s.Burst > 0 {
		burst = s.Burst
	}
	if perSecond <= 0 {
		return rate.NewLimiter(rate.Inf, 1)
	}
	return rate.NewLimiter(rate.Limit(perSecond), max(1, burst))
}

// atOnce is how many requests may be under way at a target.
func atOnce(con *catalog.Connector, s app.SCIMSettings) int {
	switch {
	case s.Concurrency > 0:
		return s.Concurrency
	case con.SCIM != nil && con.SCIM.Rate.Concurrency > 0:
		return con.SCIM.Rate.Concurrency
	}
	return 4
}

// window is how many objects of an application are worked on at once. It is asked by the pool
// before each claim: paused and stopped applications get none, so that what waits stays waiting.
//
// It is more than the number of requests under way, since an object spends much of its time with
// the database, before and after its request; but no more than what is sent in a moment, since
// who is most urgent is decided by the claim.
func (e *Engine) window(scope string) int {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	t, err := e.target(ctx, app.ID(scope))
	if err != nil {
		// The handler deals with what is wrong.
		return 1
	}
	if t.app.SCIM.Status == app.Paused || t.app.SCIM.Status == app.Stopped {
		return 0
	}
	if mine, err := e.held(ctx, t); err == nil && !mine {
		return 0
	}
	const moment = 50 * time.Millisecond
	more := 3 * cap(t.slots)
	if limit := t.limiter.Limit(); limit != rate.Inf {
		more = min(more, int(float64(limit)*moment.Seconds()))
	}
	return cap(t.slots) + more
}

// enter waits until fewer requests are under way than may be, and returns what ends this one.
func (t *target) enter(ctx context.Context) (leave func(), err error) {
	select {
	case t.slots <- struct{}{}:
		return func() { <-t.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// wait waits for the target's budget. It returns a work.Hold while the target asked to be left
// alone.
func (t *target) wait(ctx context.Context, now time.Time) error {
	t.mu.Lock()
	till := t.till
	t.mu.Unlock()
	if d := till.Sub(now); d > 0 {
		return work.Hold(d, "The target asked us to wait.")
	}
	return t.limiter.Wait(ctx)
}

// good notes that the target answered as it should.
func (t *target) good(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failures, t.answered = 0, now
	t.pulse.answer(now)
}

// bad notes a failure of the target as a whole, and returns how long to leave it alone.
func (t *target) bad(now time.Time, asked time.Duration) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := asked
	if d <= 0 {
		// Failures that come from requests which ran side by side count once.
		if !now.Before(t.till) {
			t.failures++
		}
		d = min(work.Backoff(t.failures), time.Minute)
	}
	if till := now.Add(d); till.After(t.till) {
		t.till = till
	}
	return d
}

// Run works out the consequences of changes until ctx ends.
func (e *Engine) Run(ctx context.Context) error {
	wakes := e.DB.Wakes(audit.OutboxTopic)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		for ctx.Err() == nil {
			n, err := e.dispatch(ctx)
			if err != nil && ctx.Err() == nil {
				e.Log.Error("changes could not be dispatched", "error", err)
			}
			if n == 0 || err != nil {
				break
			}
		}
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			return e.storePulses(last, true)
		case <-wakes:
		case <-tick.C:
			if err := e.storePulses(ctx, false); err != nil && ctx.Err() == nil {
				e.Log.Error("signs of life could not be stored", "error", err)
			}
		}
	}
}
