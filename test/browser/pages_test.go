package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// The company that the demo is seeded with.
const (
	seedOwner    = "ada.okafor@harbourlight.example"
	seedEngineer = "hiro.tanaka@harbourlight.example"
	seedPassword = "rehearse-before-you-sail"
)

// Limits for every page.
const (
	heaviest  = 150_000 // bytes of a first load, as they come over the wire
	mostShift = 0.1     // cumulative layout shift; a loaded machine shows a page in parts
)

// watchScript runs before a page's own scripts and measures how much it moves while it loads.
const watchScript = `
window.shifted = 0;
window.shifts = [];
new PerformanceObserver((list) => {
  for (const e of list.getEntries()) {
    if (e.hadRecentInput) continue;
    window.shifted += e.value;
    const box = (r) => [r.x, r.y, r.width, r.height].map(Math.round).join(",");
    window.shifts.push(...e.sources.map((s) => (s.node ? s.node.nodeName + "." + (s.node.className || "") : "gone") +
      " " + box(s.previousRect) + " to " + box(s.currentRect) + " at " + Math.round(e.startTime) + " ms in " + innerWidth));
  }
}).observe({ type: "layout-shift", buffered: true });`

// axe is the engine of accessibility rules. It is not part of the repository.
var axe = sync.OnceValues(func() (string, error) {
	b, err := os.ReadFile("node_modules/axe-core/axe.min.js")
	if err != nil {
		return "", fmt.Errorf("axe-core is missing: run `npm ci --prefix test/browser` (%w)", err)
	}
	return string(b), nil
})

func (p *person) signIn(in installation, login, password string) {
	p.t.Helper()
	p.open(in.url + "/signin")
	p.fill("E-mail or user name", login)
	p.follow("Next", "")
	p.fill("Password", password)
	p.follow("Sign in", "")
}

// anotherTab opens a tab with the same cookies.
func (p *person) anotherTab() *person {
	p.t.Helper()
	tab, end := chromedp.NewContext(p.tab)
	p.t.Cleanup(end)
	q := &person{t: p.t, tab: tab, prefix: p.prefix, seq: p.seq}
	q.do("open a tab", chromedp.EmulateViewport(1280, 900))
	q.listen()
	return q
}

// watched makes p measure every page that it opens from now on.
func (p *person) watched() *person {
	p.t.Helper()
	p.do("watch pages", func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: watchScript})
		return chromedp.Void{}, err
	})
	return p
}

// judge collects what is wrong with pages.
type judge struct {
	mu       sync.Mutex
	problems []string
	pages    int
	loading  time.Duration // over all tabs
	ruling   time.Duration
	heaviest string
	most     float64
}

func (j *judge) object(where, format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	text := where + ": " + fmt.Sprintf(format, args...)
	if !slices.Contains(j.problems, text) {
		j.problems = append(j.problems, text)
	}
}

// load opens an address, with nothing cached when first is true, and judges how it arrives. It
// returns the links of the page.
func (j *judge) load(p *person, where, address string, first bool) []string {
	return j.arrive(p, where, address, first, 2)
}

// arrive is load, with so many chances more for a page that moves: what moves each time moves by itself, and not because
// the machine was busy and showed it in parts.
func (j *judge) arrive(p *person, where, address string, first bool, chances int) []string {
	p.mu.Lock()
	p.requests, p.complaints = nil, nil
	clear(p.pending)
	p.mu.Unlock()
	began := time.Now()
	ctx, cancel := context.WithTimeout(p.tab, 3*patience)
	defer cancel()
	if err := chromedp.Do(ctx, cached(!first), chromedp.Navigate(address)); err != nil {
		j.object(where, "can't be opened: %v", err)
		return nil
	}
	p.settle()
	found, err := chromedp.Run(ctx, chromedp.Evaluate[struct {
		Shift  float64
		Shifts []string
		Links  []string
	}](`({ Shift: window.shifted || 0, Shifts: window.shifts || [],
		Links: [...document.querySelectorAll("a[href]:not([download])")].map((a) => a.href) })`))
	if err != nil {
		j.object(where, "can't be read: %v", err)
		return nil
	}
	if found.Shift > mostShift {
		if chances > 0 {
			return j.arrive(p, where, address, first, chances-1)
		}
		j.object(where, "moves while it loads: %.3f, %v", found.Shift, found.Shifts)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.complaints {
		j.object(where, "the browser complains: %s", c)
	}
	origin, weight := originOf(address), 0.0
	for _, r := range p.requests {
		if originOf(r.page) != origin {
			continue // the page before still asked for something
		}
		if !strings.HasPrefix(r.url, origin+"/") && !strings.HasPrefix(r.url, "data:") {
			j.object(where, "asks another host: %s", r.url)
		}
		weight += r.size
	}
	if weight > heaviest {
		j.object(where, "weighs %.0f bytes", weight)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.loading += time.Since(began)
	if weight > j.most {
		j.most, j.heaviest = weight, where
	}
	return found.Links
}

func cached(on bool) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, network.SetCacheDisabled, network.SetCacheDisabledParams{CacheDisabled: !on})
		return chromedp.Void{}, err
	}
}

// settle waits until the tab has asked for nothing for a moment.
func (p *person) settle() {
	quiet := time.Now()
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		p.mu.Lock()
		busy := len(p.pending) > 0
		p.mu.Unlock()
		if busy {
			quiet = time.Now()
		} else if time.Since(quiet) > 60*time.Millisecond {
			return
		}
	}
}

func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// wide fails a page that has to be scrolled sideways.
func (j *judge) wide(p *person, where string) {
	ctx, cancel := context.WithTimeout(p.tab, patience)
	defer cancel()
	over, err := chromedp.Run(ctx, chromedp.Evaluate[string](`(() => {
		const root = document.documentElement;
		if (root.scrollWidth <= root.clientWidth) return "";
		const clipped = (e) => { for (let p = e.parentElement; p && p !== document.body; p = p.parentElement) if (getComputedStyle(p).overflowX !== "visible") return true; return false; };
		const out = [...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > root.clientWidth + 1 && e.checkVisibility() && !clipped(e));
		return root.scrollWidth + " of " + root.clientWidth + ": " + out.slice(0, 3).map((e) => e.outerHTML.slice(0, 90)).join(" | ");
	})()`))
	if err != nil {
		j.object(where, "its width can't be read: %v", err)
	} else if over != "" {
		j.object(where, "is wider than the window: %s", over)
	}
}

// repeated are rows of long lists. They are like those before them; leaving them out makes the
// difference between seconds and minutes.
var repeated = []string{"tbody tr:nth-child(n+7)", ".log > :nth-child(n+7)", "pre code"}

// rules are checked with axe, in the colours and the width that the page is in.
func (j *judge) rules(p *person, where string) {
	engine, err := axe()
	if err != nil {
		p.t.Fatal(err)
	}
	exclude := [][]string{}
	for _, s := range repeated {
		exclude = append(exclude, []string{s})
	}
	raw, err := json.Marshal(exclude)
	if err != nil {
		p.t.Fatal(err)
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(p.tab, 2*patience)
	defer cancel()
	there, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`typeof axe === "object"`))
	if err == nil && !there {
		err = chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void](engine+"\n;0"))
	}
	if err != nil {
		j.object(where, "axe can't be loaded: %v", err)
		return
	}
	type violation struct {
		ID, Impact, Help string
		Nodes            []string
	}
	list, err := chromedp.Run(ctx, chromedp.Evaluate[[]violation](`axe.run({ include: [["html"]], exclude: `+string(raw)+` }, { resultTypes: ["violations"], iframes: false }).then((r) => r.violations.map((v) => ({
		ID: v.id, Impact: v.impact || "", Help: v.help,
		Nodes: v.nodes.slice(0, 3).map((n) => n.html.slice(0, 140) + " " + (n.any.concat(n.all, n.none)[0] || {}).message) })))`, chromedp.EvalAwaitPromise))
	if err != nil {
		j.object(where, "axe fails: %v", err)
	}
	j.mu.Lock()
	j.ruling += time.Since(began)
	j.mu.Unlock()
	for _, v := range list {
		j.object(where, "axe %s (%s): %s: %s", v.ID, v.Impact, v.Help, strings.Join(v.Nodes, " | "))
	}
}

// look judges the page that p is at, without loading it again: wide in light colours, narrow in
// dark ones.
func (j *judge) look(p *person, where string) {
	p.colours("light")
	p.size(1280, 900)
	j.wide(p, where+" at 1280")
	j.rules(p, where)
	p.colours("dark")
	p.size(390, 844)
	j.wide(p, where+" at 390")
	j.rules(p, where+" at 390 in the dark")
	p.colours("light")
	p.size(1280, 900)
}

// thorough looks at every page in every way. Otherwise the rules of accessibility are checked
// on each page once, and on every second page narrow as well; what the pages share is seen in
// all ways either way.
var thorough = os.Getenv("LATCHKEY_THOROUGH") != ""

// visit judges an address, loaded at 1280 and at 390. Each width has its turn in light and in
// dark colours.
func (j *judge) visit(p *person, where, address string) []string {
	j.mu.Lock()
	j.pages++
	j.mu.Unlock()
	turn := fnv.New32a()
	_, _ = turn.Write([]byte(where)) // never fails
	first, second := "light", "dark"
	if turn.Sum32()&1 == 0 {
		first, second = second, first
	}
	p.colours(first)
	p.size(1280, 900)
	wide, narrow := where+" at 1280, "+first, where+" at 390, "+second
	links := j.load(p, wide, address, true)
	j.wide(p, wide)
	j.rules(p, wide)
	if thorough {
		p.colours(second)
		j.rules(p, where+" at 1280, "+second)
		p.size(390, 844)
		p.colours(first)
		j.rules(p, where+" at 390, "+first)
	}
	p.colours(second)
	p.size(390, 844)
	if thorough || turn.Sum32()&2 == 0 {
		j.rules(p, narrow)
	}
	j.load(p, narrow, address, false)
	j.wide(p, narrow)
	if os.Getenv("LATCHKEY_SHOTS") != "" {
		p.keep("pages/" + strings.Trim(strings.NewReplacer("/", "-", ", ", "-", " ", "-", "{", "", "}", "", "?", "-").Replace(narrow), "-") + ".png")
	}
	return links
}

var anyID = regexp.MustCompile(`/[0-9a-f]{8}-[0-9a-f-]{20,}|/[0-9]+:[0-9a-f-]{20,}|/[0-9a-z]{16,}|/[0-9]+(?:/|$)|/[^/]*@[^/]*`)

// One connector's page stands for all.
var connector = regexp.MustCompile(`/catalogue/[^/]+$`)

// shape is what an address has in common with those of pages of the same kind.
func shape(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return anyID.ReplaceAllStringFunc(connector.ReplaceAllString(u.Path, "/catalogue/{connector}"), func(s string) string {
		if strings.HasSuffix(s, "/") {
			return "/{id}/"
		}
		return "/{id}"
	})
}

// crawl visits one page of each kind that can be reached by links, beginning at some.
func (j *judge) crawl(tabs []*person, prefix string, begin ...string) (seen map[string]bool) {
	origin := originOf(begin[0])
	seen = map[string]bool{}
	var mu sync.Mutex
	var queue []string
	add := func(list []string) {
		for _, a := range list {
			u, err := url.Parse(a)
			if err != nil || !strings.HasPrefix(a, origin+"/") || !follows(u.Path) {
				continue
			}
			if k := shape(a); !seen[k] {
				seen[k] = true
				u.Fragment = ""
				queue = append(queue, u.String())
			}
		}
	}
	add(begin)
	busy := 0
	var work sync.WaitGroup
	for _, p := range tabs {
		work.Go(func() {
			for {
				mu.Lock()
				if len(queue) == 0 {
					idle := busy == 0
					mu.Unlock()
					if idle {
						return
					}
					time.Sleep(10 * time.Millisecond)
					continue
				}
				next := queue[0]
				queue = queue[1:]
				busy++
				mu.Unlock()
				func() {
					var links []string
					defer func() { // also when the visit ends the goroutine
						mu.Lock()
						defer mu.Unlock()
						add(links)
						busy--
					}()
					links = j.visit(p, prefix+shape(next), next)
				}()
			}
		})
	}
	work.Wait()
	return seen
}

// follows leaves out what is no page of the site: files, sign-on to another site, leaving.
func follows(path string) bool {
	for _, end := range []string{".csv", ".jsonl", ".pem", ".xml", ".json", ".svg", "/metadata", "/logo", "/signout"} {
		if strings.HasSuffix(path, end) {
			return false
		}
	}
	return !strings.HasPrefix(path, "/launch/") && !strings.HasPrefix(path, "/saml2/") && !strings.HasPrefix(path, "/scim/") && !strings.HasPrefix(path, "/api/")
}

// TestPages judges every page of the seeded demo.
func TestPages(t *testing.T) {
	if _, err := axe(); err != nil {
		t.Fatal(err)
	}
	in := start(t)
	var seq int
	owner := newPerson(t, "pages-", &seq)
	stranger := newPerson(t, "pages-", &seq).watched()
	owner.signIn(in, seedOwner, seedPassword)
	j := &judge{}

	// Some kinds of pages exist only after an act.
	console := in.url + "/console"
	owner.open(console + "/users?q=hiro")
	hiro := owner.hrefOf("Hiro Tanaka")
	owner.open(console + "/groups")
	group := owner.hrefOf("Engineering")
	owner.open(console + "/applications")
	app := owner.hrefOf("Atlassian Cloud")
	owner.open(app + "/import")
	owner.follow("List accounts", "")
	owner.comesToSee("Matched")
	listing := owner.at()
	file := filepath.Join(t.TempDir(), "people.csv")
	if err := os.WriteFile(file, []byte("email,givenName,familyName\nlate.comer@harbourlight.example,Late,Comer\nnobody,No,Body\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	owner.open(console + "/users/import")
	owner.attach("File", file)
	owner.follow("Check the file", "")
	owner.comesToSee("Would add")
	upload := owner.at()

	tabs := []*person{owner.watched(), owner.anotherTab().watched()}
	begin := []string{console, listing, upload, console + "/nothing/here"}
	for _, part := range []string{"", "/groups", "/applications", "/sessions", "/sessions/end", "/activity", "/suspend", "/delete", "/role", "/link", "/password"} {
		begin = append(begin, hiro+part)
	}
	for _, part := range []string{"", "/applications", "/activity", "/edit", "/delete"} {
		begin = append(begin, group+part)
	}
	for _, part := range []string{
		"", "/created", "/slug", "/delete", "/sign-on", "/sign-on/deactivate", "/certificate/swap", "/certificate/upload",
		"/provisioning", "/provisioning/plan", "/provisioning/objects", "/provisioning/token", "/provisioning/deactivate",
		"/import", "/groups", "/mappings", "/activity",
	} {
		begin = append(begin, app+part)
	}
	began := time.Now()
	seen := j.crawl(tabs, "", begin...)
	for _, must := range []string{
		"/console", "/console/users", "/console/users/new", "/console/users/import", "/console/users/{id}", "/console/imports/{id}",
		"/console/groups", "/console/groups/new", "/console/groups/{id}", "/console/applications", "/console/applications/{id}",
		"/console/applications/{id}/import/{id}", "/console/applications/{id}/provisioning/people/{id}", "/console/applications/{id}/groups/{id}/unbind",
		"/console/catalogue", "/console/catalogue/{connector}", "/console/policy", "/console/activity", "/console/activity/{id}",
		"/console/settings", "/console/settings/administrators", "/console/settings/keys", "/console/settings/mail", "/console/settings/about",
		"/console/applications/{id}/sign-on/exchanges", "/console/applications/{id}/sign-on/simulate", "/console/applications/{id}/sign-on/decode",
		"/", "/profile", "/security",
	} {
		if !seen[must] {
			t.Errorf("no link leads to a page %s", must)
		}
	}
	t.Logf("console and portal: %d kinds of pages in %s", len(seen), time.Since(began).Round(time.Second))

	// Answers to forms.
	p := tabs[0]
	p.colours("light")
	p.size(1280, 900)
	p.open(console + "/users/new")
	p.fill("E-mail", seedEngineer)
	p.follow("Add user", "")
	p.sees("One field needs attention")
	j.look(p, "a form with an error")
	p.open(hiro + "/link")
	p.follow("Make the link", "")
	p.sees("This is shown only once")
	j.look(p, "a link to hand over")
	p.open(console + "/settings/keys")
	p.fill("Name", "HR import")
	p.follow("Make key", "")
	p.sees("The key is shown only once")
	j.look(p, "a new API key")
	p.open(app + "/provisioning")
	p.follow("Test connection", "")
	p.sees("The connection works")
	j.look(p, "a test of the connection")

	// Pages before the door.
	for _, path := range []string{"/signin", "/setup?token=stale", "/activate?token=stale", "/signed-out", "/nothing", "/saml2/nobody?SAMLRequest=x", "/saml2/atlassiancloud?SAMLRequest=x", "/signin?flow=stale"} {
		j.visit(stranger, path, in.url+path)
	}
	stranger.open(in.url + "/signin")
	stranger.colours("light")
	for _, c := range []struct{ button, theme, ground string }{
		{"Dark", "dark", "dark"}, {"Light", "light", "light"}, {"As the system", "", "light"},
	} {
		stranger.click(c.button, "")
		stranger.do("load again", chromedp.Reload()) // from the cookie, before any script
		got := wait(stranger, "read the colours", anything[[2]string], "theme")
		if got != [2]string{c.theme, c.ground} {
			t.Errorf("after “%s” the page's theme and ground are %q", c.button, got)
		}
	}
	stranger.fill("E-mail or user name", seedEngineer)
	stranger.follow("Next", "")
	j.look(stranger, "the password")
	stranger.fill("Password", "wrong wrong wrong")
	stranger.follow("Sign in", "")
	j.look(stranger, "a wrong password")

	// The rehearsal site, and its site for people.
	began = time.Now()
	rehearsal := j.crawl(tabs, "rehearsal ", in.site+"/", in.site+"/login")
	for _, must := range []string{"/", "/admin/directories", "/admin/directories/{id}", "/admin/domains", "/admin/users", "/admin/users/{id}", "/admin/groups", "/admin/products", "/admin/requests", "/admin/requests/{id}", "/admin/log", "/admin/faults", "/login"} {
		if !rehearsal[must] {
			t.Errorf("no link leads to a rehearsal page %s", must)
		}
	}
	t.Logf("rehearsal: %d kinds of pages in %s", len(rehearsal), time.Since(began).Round(time.Second))

	t.Logf("%d pages; the heaviest is %s with %.0f bytes; %s of loading, %s of rules", j.pages, j.heaviest, j.most, j.loading.Round(time.Second), j.ruling.Round(time.Second))
	for _, problem := range j.problems {
		t.Error(problem)
	}
}

// hrefOf returns where the link leads that is called name.
func (p *person) hrefOf(name string) string {
	p.t.Helper()
	return wait(p, "find “"+name+"”", anything[string], "href", name, "")
}
