package provision_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/scim/scimtest"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
	"github.com/latchkey-idp/latchkey/internal/work"
)

func TestMain(m *testing.M) {
	// A run of the model takes seconds; make model has many more.
	few := flag.Lookup("rapid.checks")
	few.DefValue = "4"
	if err := few.Value.Set(few.DefValue); err != nil {
		panic(err)
	}
	flag.Parse()
	goleak.VerifyTestMain(m)
}

var owner = access.Actor{Kind: access.Person, ID: "owner", Name: "owner@example.com", Role: access.Owner}

// world is an installation with one application that is bound to group Engineering, and a
// target that behaves as Atlassian Cloud does.
type world struct {
	t      *testing.T
	db     *store.DB
	dir    *directory.Directory
	apps   *app.Applications
	engine *provision.Engine
	target *scimtest.Target
	app    app.ID
	group  directory.GroupID
	cat    *catalog.Catalog
	name   string // of the replica
	carry  http.RoundTripper
	stop   func()
}

func newWorld(t *testing.T, db *store.DB) *world {
	t.Helper()
	w := &world{t: t, target: scimtest.New(scimtest.Atlassian()), name: "test"}
	w.boot(db)
	w.start()
	t.Cleanup(func() { w.stop() })
	w.furnish("Atlassian", "Engineering")
	return w
}

// boot makes what works on a database.
func (w *world) boot(db *store.DB) {
	w.t.Helper()
	cat, err := catalog.Builtin()
	w.must(err)
	sealer, err := keys.NewSealer(make([]byte, keys.MasterKeySize))
	w.must(err)
	w.db, w.cat, w.dir = db, cat, directory.New(db, time.Now)
	w.apps = app.New(app.Config{
		DB: db, Catalog: cat, Pairs: keys.NewPairs(sealer, time.Now), Sealer: sealer, PublicURL: "http://127.0.0.1", Now: time.Now,
	})
}

// furnish makes the application, and its group.
func (w *world) furnish(label, group string) {
	t := w.t
	t.Helper()
	a, err := w.apps.Create(t.Context(), owner, app.NewApplication{Connector: "atlassian-cloud", Attributes: app.Attributes{Label: label}})
	w.must(err)
	w.app = a.ID
	base := w.target.Start(t)
	_, err = w.apps.SaveSCIM(t.Context(), owner, w.app, func(s *app.SCIMSettings) error {
		s.BaseURL, s.ManageGroups, s.RatePerSecond, s.Burst, s.Concurrency = base, true, 10000, 1000, 8
		return nil
	})
	w.must(err)
	_, err = w.apps.SetSCIMToken(t.Context(), owner, w.app, keys.Secret(scimtest.Token), time.Time{})
	w.must(err)
	g, err := w.dir.CreateGroup(t.Context(), owner, directory.NewGroup{GroupAttributes: directory.GroupAttributes{Name: group}})
	w.must(err)
	w.group = g.ID
	w.must(w.apps.Bind(t.Context(), owner, w.app, w.group))
}

// start runs an engine, until stop.
func (w *world) start() {
	pool := work.NewPool(w.db, slog.New(slog.DiscardHandler), time.Now)
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{}}
	if w.carry != nil {
		client.Transport = w.carry
	}
	w.engine = provision.New(provision.Config{
		DB: w.db, Catalog: w.cat, Apps: w.apps, Directory: w.dir, Pool: pool, HTTP: client, Version: w.name,
		Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() { _ = pool.Run(ctx) })
	wg.Go(func() { _ = w.engine.Run(ctx) })
	w.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		client.CloseIdleConnections()
	})
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) user(name string, groups ...directory.GroupID) directory.UserID {
	w.t.Helper()
	at := directory.Attributes{Username: name, Email: name + "@example.com"}
	at.GivenName, at.FamilyName = strings.ToUpper(name[:1])+name[1:], "Example"
	u, err := w.dir.CreateUser(w.t.Context(), owner, directory.NewUser{Attributes: at, State: directory.Active, Groups: groups})
	w.must(err)
	return u.ID
}

func (w *world) activate() { w.t.Helper(); w.must(w.engine.Activate(w.t.Context(), owner, w.app, "")) }

// settled waits until nothing is left to do.
func (w *world) settled() {
	w.t.Helper()
	for range 1500 {
		if w.idle() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.t.Fatalf("work is left: %+v", w.lanes())
}

func (w *world) idle() bool {
	n := 0
	w.must(w.db.View(w.t.Context(), func(tx *store.Tx) (err error) {
		n, err = store.One(tx, store.Scalar[int], `SELECT (SELECT count(*) FROM outbox) +
			(SELECT count(*) FROM lanes WHERE wanted > synced AND NOT parked AND kind NOT LIKE 'periodic%')`)
		return err
	}))
	return n == 0
}

func (w *world) lanes() (out []work.State) {
	w.must(w.db.View(w.t.Context(), func(tx *store.Tx) (err error) {
		out, err = work.States(tx, time.Now(), work.Filter{})
		return err
	}))
	return out
}

// there renders what the target holds: "user ada active", "group Engineering: ada bob".
func (w *world) there() string {
	names := map[string]string{}
	var lines []string
	for _, r := range w.target.Resources(scim.User) {
		names[r.ID()] = r.UserName()
		state := "inactive"
		if active, _ := r.Active(); active {
			state = "active"
		}
		lines = append(lines, "user "+r.UserName()+" "+state)
	}
	for _, r := range w.target.Resources(scim.Group) {
		var members []string
		for _, id := range r.Members() {
			members = append(members, names[id])
		}
		slices.Sort(members)
		lines = append(lines, strings.TrimRight("group "+r.DisplayName()+": "+strings.Join(members, " "), ": "))
	}
	slices.Sort(lines)
	return strings.Join(lines, "; ")
}

func (w *world) expect(want string) {
	w.t.Helper()
	if got := w.there(); got != want {
		w.t.Errorf("at the target:\n got %s\nwant %s", got, want)
	}
}

// writes returns the requests that change something, as "METHOD path".
func (w *world) writes() (out []string) {
	for _, r := range w.target.Requests() {
		if r.Method != http.MethodGet {
			out = append(out, r.Method+" "+r.Path+" "+r.Body)
		}
	}
	return out
}

func (w *world) events(types ...audit.Type) []audit.Event {
	w.t.Helper()
	page, err := audit.NewLog(w.db).Search(w.t.Context(), owner, audit.Query{Types: types, Limit: 1000})
	w.must(err)
	slices.Reverse(page.Items)
	return page.Items
}

func TestLifecycle(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		ada, bob := w.user("ada", w.group), w.user("bob", w.group)
		w.user("eve") // in no bound group
		w.settled()
		if n := len(w.target.Requests()); n != 0 {
			t.Fatalf("%d requests before activation", n)
		}
		w.activate()
		w.settled()
		w.expect("group Engineering: ada bob; user ada active; user bob active")

		// A changed title is one PATCH of just that.
		w.target.Forget()
		_, err := w.dir.UpdateUser(t.Context(), owner, ada, 0, func(a *directory.Attributes) error { a.Title = "Countess"; return nil })
		w.must(err)
		w.settled()
		if got := w.writes(); len(got) != 1 || !strings.HasPrefix(got[0], "PATCH /Users/") || !strings.Contains(got[0], "Countess") || strings.Contains(got[0], "emails") {
			t.Errorf("title: %q", got)
		}
		changed := w.events(audit.UserUpdateProvision)
		if e := changed[len(changed)-1]; len(e.Changes) != 1 || e.Changes[0].Attribute != "title" || e.Changes[0].New != "Countess" || e.Cause == "" || e.Detail["exchange"] == nil {
			t.Errorf("event: %+v", e)
		}

		// A changed e-mail goes by PUT and wipes nothing.
		w.target.Forget()
		_, err = w.dir.UpdateUser(t.Context(), owner, ada, 0, func(a *directory.Attributes) error { a.Email = "ada.l@example.com"; return nil })
		w.must(err)
		w.settled()
		if got := w.writes(); len(got) != 1 || !strings.HasPrefix(got[0], "PUT /Users/") || !strings.Contains(got[0], "Countess") {
			t.Errorf("e-mail: %q", got)
		}

		// Suspended: out of the group, then inactive. Back: what they are entitled to now.
		_, err = w.dir.Suspend(t.Context(), owner, bob)
		w.must(err)
		w.settled()
		w.expect("group Engineering: ada; user ada active; user bob inactive")
		_, err = w.dir.Unsuspend(t.Context(), owner, bob)
		w.must(err)
		w.settled()
		w.expect("group Engineering: ada bob; user ada active; user bob active")

		// A rename is blocked where the target can't, and members stay true.
		_, err = w.dir.UpdateGroup(t.Context(), owner, w.group, 0, func(g *directory.GroupAttributes) error { g.Name = "Builders"; return nil })
		w.must(err)
		cyd := w.user("cyd", w.group)
		w.settled()
		w.expect("group Engineering: ada bob cyd; user ada active; user bob active; user cyd active")
		links, err := w.engine.Links(t.Context(), owner, w.app, provision.LinkQuery{Kind: scim.Group})
		w.must(err)
		if l := links.Items[0]; l.Status != provision.LinkBlocked || !strings.Contains(l.Reason, "Builders") {
			t.Errorf("link: %+v", l)
		}
		// The alternative, as an explicit act.
		w.must(w.engine.ReplaceGroup(t.Context(), owner, w.app, w.group))
		w.settled()
		w.expect("group Builders: ada bob cyd; user ada active; user bob active; user cyd active")

		// Deleted people leave, and unbinding leaves the remote group as it is.
		w.must(w.dir.DeleteUser(t.Context(), owner, cyd))
		w.settled()
		w.expect("group Builders: ada bob; user ada active; user bob active; user cyd inactive")
		w.must(w.apps.Unbind(t.Context(), owner, w.app, w.group))
		w.settled()
		w.expect("group Builders: ada bob; user ada inactive; user bob inactive; user cyd inactive")
		w.must(w.apps.Bind(t.Context(), owner, w.app, w.group))
		w.settled()
		w.expect("group Builders: ada bob; user ada active; user bob active; user cyd inactive")

		// Nothing differs: nothing is sent.
		w.target.Forget()
		_, err = w.dir.UpdateUser(t.Context(), owner, ada, 0, func(a *directory.Attributes) error { a.CostCentre = "42"; return nil })
		w.must(err)
		w.settled()
		if got := w.target.Requests(); len(got) != 0 {
			t.Errorf("an attribute that isn't mapped gave %v", got)
		}

		// Deactivated: the target stays as it is.
		w.must(w.engine.Deactivate(t.Context(), owner, w.app))
		_, err = w.dir.Suspend(t.Context(), owner, bob)
		w.must(err)
		w.settled()
		if got := w.target.Requests(); len(got) != 0 {
			t.Errorf("after deactivation: %v", got)
		}
	})
}

func TestExistingAccountIsAdopted(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w.target.Put(scim.User, scim.Resource{"userName": "ADA", "active": true, "title": "kept?", "emails": []any{map[string]any{"value": "ada@example.com", "type": "work", "primary": true}}})
		w.target.Put(scim.Group, scim.Resource{"displayName": "Engineering"})
		w.user("ada", w.group)
		w.activate()
		w.settled()
		if n := len(w.target.Resources(scim.User)); n != 1 {
			t.Errorf("%d accounts", n)
		}
		if got := w.there(); !strings.HasSuffix(got, "active") || !strings.HasPrefix(got, "group Engineering: ") {
			t.Error(got)
		}
		for _, wr := range w.writes() {
			if strings.HasPrefix(wr, "POST") {
				t.Errorf("made again: %s", wr)
			}
		}
	})
}

func TestMissingAttributeBlocksOnePersonOnly(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		u, err := w.dir.CreateUser(t.Context(), owner, directory.NewUser{
			Attributes: directory.Attributes{Username: "nameless", Email: "nameless@example.com"}, State: directory.Active, Groups: []directory.GroupID{w.group},
		})
		w.must(err)
		w.user("ada", w.group)
		w.activate()
		w.settled()
		w.expect("group Engineering: ada; user ada active")
		s, err := w.engine.Status(t.Context(), owner, w.app)
		w.must(err)
		if s.Users.Blocked != 1 || s.Users.Synced != 1 || s.Level != "warn" {
			t.Errorf("%+v", s)
		}
		_, err = w.dir.UpdateUser(t.Context(), owner, u.ID, 0, func(a *directory.Attributes) error {
			a.GivenName, a.FamilyName = "No", "More"
			return nil
		})
		w.must(err)
		w.settled()
		w.expect("group Engineering: ada nameless; user ada active; user nameless active")
	})
}

func TestLostCreateAnswerMakesNoDouble(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w.target.Fail(scimtest.Fault{Method: http.MethodPost, Path: "/Users", Times: 1, HangUp: true, AfterEffect: true})
		w.target.Fail(scimtest.Fault{Method: http.MethodPost, Path: "/Groups", Times: 1, HangUp: true, AfterEffect: true})
		w.user("ada", w.group)
		w.activate()
		w.settled()
		w.expect("group Engineering: ada; user ada active")
	})
}

func TestTargetDownThenEverythingArrives(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w.activate()
		w.settled()
		w.target.Fail(scimtest.Fault{Status: http.StatusServiceUnavailable, Body: "<html>down</html>"})
		for i := range 10 {
			w.user(fmt.Sprintf("u%d", i), w.group)
		}
		time.Sleep(1500 * time.Millisecond)
		if w.there() != "" {
			t.Fatal("it is not down")
		}
		s, err := w.engine.Status(t.Context(), owner, w.app)
		w.must(err)
		if s.Waiting == 0 || s.Level != "warn" {
			t.Errorf("%+v", s)
		}
		w.target.Heal()
		w.settled()
		if got := strings.Count(w.there(), "active"); got != 10 {
			t.Errorf("%d arrived: %s", got, w.there())
		}
	})
}

func TestThrottledKeepsQuietUntilAsked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	w.activate()
	w.settled()
	w.target.Forget()
	w.target.Fail(scimtest.Fault{Times: 1, Status: http.StatusTooManyRequests, Header: map[string]string{"Retry-After": "2"}})
	begin := time.Now()
	for i := range 6 {
		w.user(fmt.Sprintf("u%d", i), w.group)
	}
	time.Sleep(1700 * time.Millisecond)
	// Requests that were under way beside the refused one are no offence; new ones are.
	early := len(w.target.Requests())
	time.Sleep(time.Until(begin.Add(1900 * time.Millisecond)))
	if n := len(w.target.Requests()); n != early || n > 8 {
		t.Errorf("%d requests, then %d, within Retry-After", early, n)
	}
	w.settled()
	if got := strings.Count(w.there(), "active"); got != 6 {
		t.Errorf("%d arrived", got)
	}
}

func TestRefusedTokenStopsAndReplacingResumes(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w.activate()
		w.settled()
		w.target.Change(func(q *scimtest.Quirks) { q.Token = "new-token" })
		w.user("ada", w.group)
		for range 500 {
			a, err := w.apps.Get(t.Context(), owner, w.app)
			w.must(err)
			if a.SCIM.Status == app.Stopped {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		s, err := w.engine.Status(t.Context(), owner, w.app)
		w.must(err)
		if s.State != app.Stopped || s.Level != "danger" || !strings.Contains(s.Sentence, "token") {
			t.Fatalf("%+v", s)
		}
		if n := len(w.events(audit.IntegrationStop)); n != 1 {
			t.Errorf("%d stop events", n)
		}
		if _, err := w.engine.ReplaceToken(t.Context(), owner, w.app, "wrong", time.Time{}); err == nil {
			t.Error("a token that the target refuses was taken")
		}
		_, err = w.engine.ReplaceToken(t.Context(), owner, w.app, "new-token", time.Time{})
		w.must(err)
		w.settled()
		w.expect("group Engineering: ada; user ada active")
	})
}

func TestRefusedObjectIsParkedAndOthersGoOn(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w.activate()
		w.settled()
		w.target.Fail(scimtest.Fault{Method: http.MethodPost, Path: "/Users", Times: 1, Status: http.StatusBadRequest, Body: `{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"400","detail":"not this one"}`})
		bad := w.user("bad", w.group)
		w.settled()
		w.user("ada", w.group)
		w.settled()
		w.expect("group Engineering: ada; user ada active")
		x, err := w.engine.Explain(t.Context(), owner, w.app, bad)
		w.must(err)
		if x.Waiting == nil || !x.Waiting.Parked || !strings.Contains(x.Waiting.Reason, "not this one") || x.Link.Status != provision.LinkFailed {
			t.Errorf("%+v", x)
		}
		w.must(w.engine.RetryObject(t.Context(), owner, w.app, scim.User, string(bad)))
		w.settled()
		w.expect("group Engineering: ada bad; user ada active; user bad active")
	})
}

func TestDeletedThereIsMadeAgain(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		ada := w.user("ada", w.group)
		w.activate()
		w.settled()
		w.target.Fail(scimtest.Fault{Method: http.MethodPatch, Path: "/Users/", Times: 1, Status: http.StatusNotFound})
		_, err := w.dir.UpdateUser(t.Context(), owner, ada, 0, func(a *directory.Attributes) error { a.Title = "x"; return nil })
		w.must(err)
		w.settled()
		// The stand-in only said so: the account is found again by its externalId, not made twice.
		w.expect("group Engineering: ada; user ada active")
	})
}

func TestPausedKeepsChangesAndResumeSendsThem(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w.activate()
		w.settled()
		w.must(w.engine.Pause(t.Context(), owner, w.app, ""))
		w.target.Forget()
		w.user("ada", w.group)
		time.Sleep(600 * time.Millisecond)
		if n := len(w.target.Requests()); n != 0 {
			t.Fatalf("%d requests while paused", n)
		}
		w.must(w.engine.Resume(t.Context(), owner, w.app))
		w.settled()
		w.expect("group Engineering: ada; user ada active")
	})
}

func TestGroupDeletionNeedsApproval(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w.user("ada", w.group)
		w.activate()
		w.settled()
		w.must(w.dir.DeleteGroup(t.Context(), owner, w.group))
		w.settled()
		if got := w.there(); !strings.Contains(got, "group Engineering") || !strings.Contains(got, "ada inactive") {
			t.Fatal(got)
		}
		w.must(w.engine.ApproveDeletion(t.Context(), owner, w.app, w.group))
		w.settled()
		w.expect("user ada inactive")
	})
}

func TestPreviewTellsWhatActivationSends(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		for i := range 8 {
			w.user(fmt.Sprintf("u%d", i), w.group)
		}
		w.target.Put(scim.User, scim.Resource{"userName": "u0", "active": true, "emails": []any{map[string]any{"value": "u0@example.com", "type": "work", "primary": true}}})
		p, err := w.engine.Preview(t.Context(), owner, w.app)
		w.must(err)
		if p.Counts.Users.Create != 7 || p.Counts.Users.Adopt != 1 || p.Counts.Groups.Create != 1 || p.Counts.MembersAdded != 8 {
			t.Errorf("%+v", p.Counts)
		}
		if n := len(w.writes()); n != 0 {
			t.Fatalf("a preview wrote %d times", n)
		}
		late := w.user("late", w.group)
		if err := w.engine.Activate(t.Context(), owner, w.app, p.Hash); err == nil {
			t.Fatal("a stale plan was carried out")
		}
		w.must(w.dir.DeleteUser(t.Context(), owner, late))
		w.must(w.engine.Activate(t.Context(), owner, w.app, p.Hash))
		w.settled()
		if got := strings.Count(w.there(), "active"); got != 8 {
			t.Error(w.there())
		}
		again, err := w.engine.Preview(t.Context(), owner, w.app)
		w.must(err)
		if len(again.Steps) != 0 {
			t.Errorf("after all was sent the plan still has %+v", again.Steps)
		}
	})
}

func TestFirstLoadIsNearTheLeastPossible(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		const n = 250
		for i := range n {
			w.user(fmt.Sprintf("u%03d", i), w.group)
		}
		w.settled()
		w.activate()
		w.settled()
		if got := strings.Count(w.there(), "active"); got != n {
			t.Fatalf("%d arrived", got)
		}
		// n creates, one list, one look-up and one create of the group, its members in batches
		// of 100.
		least := n + 1 + 3
		if got := len(w.target.Requests()); got > least+8 {
			t.Errorf("%d requests, the least possible is %d", got, least)
		}
	})
}

func TestConnectionTestWritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	p, err := w.engine.Test(t.Context(), owner, w.app)
	w.must(err)
	if !p.OK || len(p.Checks) < 3 || len(w.writes()) != 0 {
		t.Errorf("%+v, writes %v", p, w.writes())
	}
	w.target.Change(func(q *scimtest.Quirks) { q.Token = "other" })
	p, err = w.engine.Test(t.Context(), owner, w.app)
	w.must(err)
	if p.OK || !strings.Contains(p.Checks[0].Detail, "token") {
		t.Errorf("%+v", p)
	}
}

func TestTargetThatCannotFilterByExternalID(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t))
	w.target.Change(func(q *scimtest.Quirks) { q.Filters = []string{"User.userName", "Group.displayName"} })
	w.target.Put(scim.User, scim.Resource{"userName": "ada", "active": true, "emails": []any{map[string]any{"value": "ada@example.com", "type": "work", "primary": true}}})
	w.user("ada", w.group)
	w.activate()
	w.settled()
	w.expect("group Engineering: ada; user ada active")
}

func TestMassDeactivationIsHeldForApproval(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		var names []string
		for i := range 30 {
			name := fmt.Sprintf("u%02d", i)
			w.user(name, w.group)
			names = append(names, name)
		}
		w.activate()
		w.settled()
		w.target.Forget()
		w.must(w.apps.Unbind(t.Context(), owner, w.app, w.group))
		for range 500 {
			a, err := w.apps.Get(t.Context(), owner, w.app)
			w.must(err)
			if a.SCIM.Status == app.Paused {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		s, err := w.engine.Status(t.Context(), owner, w.app)
		w.must(err)
		if s.State != app.Paused || !strings.Contains(s.Sentence, "held for approval") || s.Waiting < 29 {
			t.Fatalf("%+v", s)
		}
		if got := w.writes(); len(got) != 0 {
			t.Fatalf("sent without approval: %v", got)
		}
		// Undone: nothing was lost and nothing is sent.
		w.must(w.apps.Bind(t.Context(), owner, w.app, w.group))
		w.must(w.engine.Resume(t.Context(), owner, w.app))
		w.settled()
		w.expect("group Engineering: " + strings.Join(names, " ") + "; user " + strings.Join(names, " active; user ") + " active")
		// Approved: all leave.
		w.must(w.apps.Unbind(t.Context(), owner, w.app, w.group))
		for range 500 {
			a, err := w.apps.Get(t.Context(), owner, w.app)
			w.must(err)
			if a.SCIM.Status == app.Paused {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		w.must(w.engine.Resume(t.Context(), owner, w.app))
		w.settled()
		if got := strings.Count(w.there(), " inactive"); got != 30 {
			t.Errorf("%d left: %s", got, w.there())
		}
	})
}
