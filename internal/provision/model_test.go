package provision_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/scim/scimtest"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
	"github.com/latchkey-idp/latchkey/internal/work"
)

// TestModel has random things happen in the directory, at the target, on the wire and to the program, and then asks for
// three things whatever happened: the target holds exactly what a simple model says; nobody and no group is there twice;
// and nothing was written that no event tells of with the same request.
func TestModel(t *testing.T) {
	t.Parallel()
	for engine, config := range map[string]func(t *testing.T) store.Config{
		"sqlite":     func(t *testing.T) store.Config { return store.Config{Dir: t.TempDir()} },
		"postgresql": func(t *testing.T) store.Config { return store.Config{PostgresURL: storetest.Schema(t), MaxConns: 8} },
	} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			config := config(t)
			n := 0
			rapid.Check(t, func(rt *rapid.T) {
				n++
				m := &model{t: t, rt: rt, config: config, people: map[directory.UserID]*human{}, quiet: true, prefix: fmt.Sprintf("m%d", n)}
				m.run()
			})
		})
	}
}

// model is what should be true, kept by the simplest means.
type model struct {
	t      *testing.T
	rt     *rapid.T
	world  *world
	config store.Config
	prefix string // of names: the runs share a database
	app    app.ID
	target *scimtest.Target
	people map[directory.UserID]*human
	groups []*circle
	n      int
	// quiet is true as long as every request of the program was answered, and the program lived to read it.
	quiet bool
	story []string
}

type human struct {
	name, title string
	state       directory.State
}

type circle struct {
	id      directory.GroupID
	name    string
	bound   bool
	members map[directory.UserID]bool
}

func (m *model) must(err error) {
	m.t.Helper()
	if err != nil {
		m.rt.Fatalf("%v\n%s", err, strings.Join(m.story, "\n"))
	}
}

func (m *model) tell(format string, args ...any) {
	m.story = append(m.story, fmt.Sprintf(format, args...))
}

func (m *model) open() *store.DB {
	db, err := store.Open(m.t.Context(), m.config)
	m.must(err)
	return db
}

func (m *model) run() {
	m.target = scimtest.New(scimtest.Atlassian())
	m.world = &world{t: m.t, target: m.target, name: "model"}
	m.world.boot(m.open())
	m.world.start()
	defer func() {
		m.world.stop()
		m.must(m.world.db.Close())
	}()
	name := m.prefix + " group 0"
	m.world.furnish(m.prefix, name)
	m.app = m.world.app
	m.groups = []*circle{{id: m.world.group, name: name, bound: true, members: map[directory.UserID]bool{}}}
	m.must(m.world.engine.Activate(m.t.Context(), owner, m.app, ""))
	for range rapid.IntRange(5, 25).Draw(m.rt, "steps") {
		m.step()
		// Sometimes things happen faster than they can be sent, sometimes not.
		time.Sleep(time.Duration(rapid.SampledFrom([]int{0, 0, 5, 40, 300}).Draw(m.rt, "pause")) * time.Millisecond)
	}
	m.target.Heal()
	m.settle()
	m.check()
	// Nothing is left: a plan is empty, and comparing everything once more writes nothing.
	p, err := m.world.engine.Preview(m.t.Context(), owner, m.app)
	m.must(err)
	if len(p.Steps) != 0 {
		m.rt.Errorf("a plan after the end: %+v\n%s", p.Steps, strings.Join(m.story, "\n"))
	}
	before := len(m.target.Writes())
	m.must(m.world.engine.Pause(m.t.Context(), owner, m.app, "test"))
	m.must(m.world.engine.Resume(m.t.Context(), owner, m.app)) // which compares everything
	m.settle()
	if all := m.target.Writes(); len(all) != before {
		m.rt.Errorf("comparing again wrote %v\n%s", all[before:], strings.Join(m.story, "\n"))
	}
}

// step does one thing.
func (m *model) step() {
	ctx, dir := m.t.Context(), m.world.dir
	who := func() (directory.UserID, *human) {
		if len(m.people) == 0 {
			return "", nil
		}
		ids := slices.SortedFunc(maps.Keys(m.people), func(a, b directory.UserID) int { return strings.Compare(m.people[a].name, m.people[b].name) })
		id := rapid.SampledFrom(ids).Draw(m.rt, "who")
		return id, m.people[id]
	}
	group := func() *circle { return m.groups[rapid.IntRange(0, len(m.groups)-1).Draw(m.rt, "group")] }
	switch what := rapid.IntRange(0, 13).Draw(m.rt, "what"); what {
	case 0, 1: // somebody comes
		if len(m.people) >= 8 { // the guard lets ten leave at once
			return
		}
		m.n++
		name := fmt.Sprintf("%s-%d", m.prefix, m.n)
		at := directory.Attributes{Username: name, Email: name + "@example.com"}
		at.GivenName, at.FamilyName = "Given", name
		g := group()
		u, err := dir.CreateUser(ctx, owner, directory.NewUser{Attributes: at, State: directory.Active, Groups: []directory.GroupID{g.id}})
		m.must(err)
		m.people[u.ID] = &human{name: name, state: directory.Active}
		g.members[u.ID] = true
		m.tell("%s comes, in %s", name, g.name)
	case 2: // changes
		if id, h := who(); h != nil {
			h.title = rapid.SampledFrom([]string{"", "Dr", "Countess", "Ünïcode & <b>"}).Draw(m.rt, "title")
			_, err := dir.UpdateUser(ctx, owner, id, 0, func(a *directory.Attributes) error { a.Title = h.title; return nil })
			m.must(err)
			m.tell("%s is called %q", h.name, h.title)
		}
	case 3: // is suspended or comes back
		if id, h := who(); h != nil {
			var err error
			if h.state == directory.Active {
				_, err = dir.Suspend(ctx, owner, id)
				h.state = directory.Suspended
			} else {
				_, err = dir.Unsuspend(ctx, owner, id)
				h.state = directory.Active
			}
			m.must(err)
			m.tell("%s is %s", h.name, h.state)
		}
	case 4: // goes for good
		if id, h := who(); h != nil {
			m.must(dir.DeleteUser(ctx, owner, id))
			delete(m.people, id)
			for _, g := range m.groups {
				delete(g.members, id)
			}
			m.tell("%s is deleted", h.name)
		}
	case 5, 6: // joins or leaves a group
		if id, h := who(); h != nil {
			g := group()
			var err error
			if g.members[id] {
				_, err = dir.RemoveMembers(ctx, owner, g.id, []directory.UserID{id})
				delete(g.members, id)
				m.tell("%s leaves %s", h.name, g.name)
			} else {
				_, err = dir.AddMembers(ctx, owner, g.id, []directory.UserID{id})
				g.members[id] = true
				m.tell("%s joins %s", h.name, g.name)
			}
			m.must(err)
		}
	case 7: // a group more
		if len(m.groups) < 4 {
			name := fmt.Sprintf("%s group %d", m.prefix, len(m.groups))
			g, err := dir.CreateGroup(ctx, owner, directory.NewGroup{GroupAttributes: directory.GroupAttributes{Name: name}})
			m.must(err)
			m.groups = append(m.groups, &circle{id: g.ID, name: name, members: map[directory.UserID]bool{}})
			m.tell("there is %s", name)
		}
	case 8, 9: // a group is bound or not
		g := group()
		var err error
		if g.bound {
			err = m.world.apps.Unbind(ctx, owner, m.app, g.id)
		} else {
			err = m.world.apps.Bind(ctx, owner, m.app, g.id)
		}
		m.must(err)
		g.bound = !g.bound
		m.tell("%s is bound: %v", g.name, g.bound)
	case 10, 11: // something goes wrong on the way
		f := scimtest.Fault{Times: rapid.IntRange(1, 3).Draw(m.rt, "times"), Skip: rapid.IntRange(0, 2).Draw(m.rt, "skip")}
		switch rapid.IntRange(0, 6).Draw(m.rt, "fault") {
		case 0:
			f.Status, f.Header = http.StatusTooManyRequests, map[string]string{"Retry-After": "1"}
		case 1:
			f.Status = http.StatusServiceUnavailable
		case 2:
			f.Status, f.Body = http.StatusOK, "<html>Please sign in</html>"
		case 3:
			f.HangUp = true
		case 4:
			f.HangUp, f.AfterEffect = true, true
		case 5:
			f.Cut = true
		case 6:
			f.Status, f.Body = http.StatusConflict, `{"status":"409","detail":"taken","scimType":"uniqueness"}`
		}
		m.quiet = false
		m.target.Fail(f)
		m.tell("fault %+v", f)
	case 12: // all is well again
		m.target.Heal()
		m.tell("the target is well")
	case 13: // the program dies, and another one goes on with the same data
		m.must(m.world.db.Close()) // what it does from now on is lost
		m.world.stop()
		m.quiet = false
		m.world.boot(m.open())
		m.world.start()
		m.tell("the program dies")
	}
}

// settle waits until nothing is left to do. What a fault parked is tried again, as an administrator would.
func (m *model) settle() {
	deadline := time.Now().Add(40 * time.Second)
	for {
		waiting, parked := 0, []work.State{}
		m.must(m.world.db.View(m.t.Context(), func(tx *store.Tx) (err error) {
			if parked, err = work.States(tx, time.Now(), work.Filter{Scope: string(m.app), Parked: true}); err != nil {
				return err
			}
			waiting, err = store.One(tx, store.Scalar[int], `SELECT (SELECT count(*) FROM outbox) +
				(SELECT count(*) FROM lanes WHERE wanted > synced AND NOT parked AND scope = $1)`, string(m.app))
			return err
		}))
		if waiting == 0 && len(parked) == 0 {
			return
		}
		for _, l := range parked {
			parts := strings.SplitN(l.Key, "/", 3)
			kind := scim.User
			if parts[1] == "group" {
				kind = scim.Group
			}
			m.must(m.world.engine.RetryObject(m.t.Context(), owner, m.app, kind, parts[2]))
		}
		if time.Now().After(deadline) {
			m.rt.Fatalf("work is left: %+v\n%s", m.world.lanes(), strings.Join(m.story, "\n"))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// check compares the target with the model.
func (m *model) check() {
	bad := func(format string, args ...any) {
		m.t.Helper()
		m.rt.Errorf(format+"\n%s", append(args, strings.Join(m.story, "\n"))...)
	}
	entitled := map[directory.UserID]bool{}
	for _, g := range m.groups {
		for id := range g.members {
			if g.bound && m.people[id].state == directory.Active {
				entitled[id] = true
			}
		}
	}
	account := map[directory.UserID]scim.Resource{}
	owners := map[string]directory.UserID{}
	for _, r := range m.target.Resources(scim.User) {
		id := directory.UserID(r.ExternalID())
		if _, twice := account[id]; twice {
			bad("%s has two accounts", r.UserName())
		}
		account[id], owners[r.ID()] = r, id
		if active, _ := r.Active(); active != entitled[id] {
			bad("%s is active: %v", r.UserName(), active)
		}
	}
	for id := range entitled {
		r, ok := account[id]
		if !ok {
			bad("%s has no account", m.people[id].name)
			continue
		}
		if title, _ := r["title"].(string); title != m.people[id].title || r.UserName() != m.people[id].name {
			bad("%s is called %q, want %q", r.UserName(), title, m.people[id].title)
		}
	}
	there := map[string][]string{}
	for _, r := range m.target.Resources(scim.Group) {
		if _, twice := there[r.DisplayName()]; twice {
			bad("group %s is there twice", r.DisplayName())
		}
		there[r.DisplayName()] = []string{}
		for _, member := range r.Members() {
			there[r.DisplayName()] = append(there[r.DisplayName()], string(owners[member]))
		}
	}
	for _, g := range m.groups {
		want := []string{}
		for id := range g.members {
			if entitled[id] {
				want = append(want, string(id))
			}
		}
		got, made := there[g.name]
		if !g.bound || !made && len(want) == 0 {
			continue // left as it is; not made for nobody
		}
		sort.Strings(want)
		sort.Strings(got)
		if !slices.Equal(got, want) {
			bad("members of %s: %v, want %v", g.name, got, want)
		}
	}
	m.checkEvents(bad)
}

// checkEvents holds what the target was asked against what the events tell.
func (m *model) checkEvents(bad func(string, ...any)) {
	asked := map[string]int{}
	for _, r := range m.target.Writes() {
		if r.Status < 300 && r.Status != 0 {
			asked[r.Method+" "+r.Path]++
		}
	}
	told := map[string]int{}
	for q := (audit.Query{ApplicationID: string(m.app), Outcome: audit.Success, Limit: 200}); ; {
		page, err := audit.NewLog(m.world.db).Search(m.t.Context(), owner, q)
		m.must(err)
		for _, e := range page.Items {
			ex, ok := e.Detail["exchange"].(map[string]any)
			if !ok || ex["method"] == http.MethodGet {
				continue
			}
			_, path, _ := strings.Cut(fmt.Sprint(ex["url"]), scimtest.Atlassian().BasePath)
			told[fmt.Sprint(ex["method"], " ", path)]++
			if e.Cause == "" {
				bad("%s has no cause", e.Message)
			}
		}
		if q.Cursor = page.Next; page.Next == "" {
			break
		}
	}
	for what, n := range told {
		if asked[what] < n {
			bad("events tell of %d × %s, the target saw %d", n, what, asked[what])
		}
	}
	for what, n := range asked {
		if m.quiet && told[what] != n {
			bad("the target saw %d × %s, events tell of %d", n, what, told[what])
		}
	}
}
