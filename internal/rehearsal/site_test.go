package rehearsal

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFaults(t *testing.T) {
	st := newStage(t)
	inject := func(f Fault) {
		t.Helper()
		must(t, second(st.site.InjectFault(f)))
	}
	create := func(name string) (reply, error) {
		return st.try("POST", st.base+"/Users", st.key, userBody(name, name+"@acme.test", ""))
	}
	exists := func(name string) bool {
		_, err := st.site.User(st.dir.ID, name)
		return err == nil
	}

	t.Run("status for the next two writes only", func(t *testing.T) {
		inject(Fault{Kind: FaultStatus, Status: 502, Times: 2, Method: "POST", RetryAfter: 7, HTML: true})
		st.want(st.do("GET", "/Users", ""), 200, "")
		for range 2 {
			r, err := create("a")
			must(t, err)
			st.want(r, 502, "")
			if r.header.Get("Retry-After") != "7" || !strings.Contains(r.text, "<html>") {
				t.Error(r.header, r.text)
			}
		}
		r, err := create("a")
		must(t, err)
		st.want(r, 201, "")
	})
	t.Run("reset before the write", func(t *testing.T) {
		inject(Fault{Kind: FaultResetBefore, Times: 1})
		if _, err := create("b"); err == nil || exists("b") {
			t.Error(err, exists("b"))
		}
	})
	t.Run("lost answer", func(t *testing.T) {
		inject(Fault{Kind: FaultResetAfter, Times: 1})
		if _, err := create("c"); err == nil || !exists("c") {
			t.Error(err, exists("c"))
		}
	})
	t.Run("truncated answer", func(t *testing.T) {
		inject(Fault{Kind: FaultTruncate, Times: 1})
		if _, err := create("d"); err == nil || !exists("d") {
			t.Error(err, exists("d"))
		}
	})
	t.Run("hang", func(t *testing.T) {
		inject(Fault{Kind: FaultHang, Times: 1, Delay: 50 * time.Millisecond})
		start := time.Now()
		if _, err := create("e"); err == nil || exists("e") || time.Since(start) < 50*time.Millisecond {
			t.Error(err, exists("e"), time.Since(start))
		}
	})
	t.Run("slow", func(t *testing.T) {
		inject(Fault{Kind: FaultSlow, Times: 1, Delay: 50 * time.Millisecond})
		start := time.Now()
		r, err := create("f")
		must(t, err)
		if st.want(r, 201, ""); time.Since(start) < 50*time.Millisecond {
			t.Error(time.Since(start))
		}
	})
	t.Run("down for a while", func(t *testing.T) {
		st.site.SetDown(time.Minute)
		st.want(st.do("GET", "/Users", ""), 503, "")
		st.clock.advance(time.Minute)
		st.want(st.do("GET", "/Users", ""), 200, "")
	})
	t.Run("path, until cleared", func(t *testing.T) {
		f, err := st.site.InjectFault(Fault{Kind: FaultStatus, Path: "/Groups"})
		must(t, err)
		for range 3 {
			st.want(st.do("GET", "/Groups", ""), 500, "")
		}
		st.want(st.do("GET", "/Users", ""), 200, "")
		st.site.ClearFaults(f.ID)
		st.want(st.do("GET", "/Groups", ""), 200, "")
	})
	t.Run("the log tells which", func(t *testing.T) {
		var got []string
		for _, r := range st.site.Requests(RequestFilter{Writes: true}) {
			got = append(got, fmt.Sprint(r.Fault, " ", r.Status))
		}
		want := []string{"status 502", "status 502", " 201", "reset-before 0", "reset-after 201", "truncate 201", "hang 0", "slow 201"}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	})
	for _, bad := range []Fault{{Kind: "meteor"}, {Kind: FaultStatus, Status: 200}, {Kind: FaultSlow, Delay: -1}} {
		if _, err := st.site.InjectFault(bad); statusOf(err) != 400 {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestCloseEndsHangingRequests(t *testing.T) {
	st := newStage(t)
	must(t, second(st.site.InjectFault(Fault{Kind: FaultHang, Delay: time.Hour})))
	done := make(chan error, 1)
	go func() {
		_, err := st.try("GET", st.base+"/Users", st.key, "")
		done <- err
	}()
	for st.site.Stats().Requests == 0 {
		time.Sleep(time.Millisecond)
	}
	must(t, st.site.Close())
	select {
	case err := <-done:
		if err == nil {
			t.Error("it was answered")
		}
	case <-time.After(5 * time.Second):
		t.Fatal("still hanging")
	}
}

func TestRequestLog(t *testing.T) {
	st := newStageOf(t, Config{RequestLogSize: 4, LogBodyLimit: 60})
	u := st.user("ada")
	for range 5 {
		st.want(st.do("PATCH", "/Users/"+u.str("id"), patchBody(`{"op":"replace","path":"title","value":"`+st.key+`"}`)), 200, "")
	}
	st.want(st.do("GET", "/Users?count=1", ""), 200, "")
	list := st.site.Requests(RequestFilter{})
	var numbers []int64
	for _, r := range list {
		numbers = append(numbers, r.Number)
		if strings.Contains(r.Body+r.Response, st.key) {
			t.Errorf("the key is in the log: %+v", r)
		}
	}
	if d := cmp.Diff([]int64{4, 5, 6, 7}, numbers); d != "" {
		t.Error(d)
	}
	last, err := st.site.Request(7)
	must(t, err)
	if last.Path != "/Users?count=1" || last.Status != 200 || last.UserAgent != "rehearsal-test" || last.ResponseType != "application/scim+json" || !strings.Contains(last.Response, "bytes more") {
		t.Errorf("%+v", last)
	}
	if _, err := st.site.Request(3); statusOf(err) != 404 {
		t.Error(err)
	}
	s := st.site.Stats()
	if s.Requests != 7 || s.Writes != 6 || s.ByStatus[200] != 6 || s.ByMethod["PATCH"] != 5 {
		t.Errorf("%+v", s)
	}
	if n := len(st.site.Requests(RequestFilter{Writes: true, Limit: 2})); n != 2 {
		t.Error(n)
	}
	st.site.ClearRequests()
	if n := len(st.site.Requests(RequestFilter{})); n != 0 || st.site.Stats().Requests != 0 || st.site.LastRequest() != 7 {
		t.Error(n)
	}
}

func TestStateSurvivesARestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rehearsal.json")
	p := newIdP(t)
	p.site.cfg.StateFile = file
	u, g := p.user("ada"), p.group("Engineering")
	p.want(p.do("PATCH", "/Groups/"+g.str("id"), patchBody(`{"op":"add","path":"members","value":[{"value":"`+u.str("id")+`"}]}`)), 200, "")
	must(t, p.site.GrantProduct("Jira", "Engineering"))
	b := newBrowser(t)
	p.landed(p.deliverIn(b, p.sign(p.response(says{nameID: "ada@acme.test", attributes: everything("id-1")}), false), ""), p.url+"/start")
	must(t, p.site.save())

	// The file holds neither the API key nor a session's cookie.
	data, err := os.ReadFile(file)
	must(t, err)
	base, err := url.Parse(p.url)
	must(t, err)
	cookie := b.Jar.Cookies(base)[0].Value
	if strings.Contains(string(data), p.key) || strings.Contains(string(data), cookie) {
		t.Error("a secret is in the file")
	}

	again, err := New(Config{BaseURL: p.url, StateFile: file, Now: p.clock.Now})
	must(t, err)
	defer again.Close()
	for name, pair := range map[string][2]any{
		"organization": {p.site.Organization(), again.Organization()},
		"domains":      {p.site.Domains(), again.Domains()},
		"directories":  {p.site.Directories(), again.Directories()},
		"policies":     {p.site.Policies(), again.Policies()},
		"accounts":     {p.site.Accounts(), again.Accounts()},
		"users":        {p.site.Users(p.dir.ID), again.Users(p.dir.ID)},
		"groups":       {p.site.Groups(p.dir.ID), again.Groups(p.dir.ID)},
		"site groups":  {p.site.SiteGroups(), again.SiteGroups()},
		"products":     {p.site.Products(), again.Products()},
		"sign-ins":     {p.site.SignIns(), again.SignIns()},
		"sessions":     {p.site.Sessions(), again.Sessions()},
		"switches":     {p.site.Switches(), again.Switches()},
	} {
		if d := cmp.Diff(pair[0], pair[1]); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	srv := httptest.NewServer(again.Handler())
	defer srv.Close()
	r := p.send("GET", srv.URL+"/scim/directory/"+p.dir.ID+"/Users/"+u.str("id"), p.key, "")
	p.want(r, 200, "")

	must(t, os.WriteFile(file, []byte("{"), 0o600))
	if _, err := New(Config{StateFile: file}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Error(err)
	}
}

func TestTheWriterWritesByItselfAndAtTheEnd(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rehearsal.json")
	site, err := New(Config{StateFile: file})
	must(t, err)
	must(t, second(site.AddDomain("acme.test")))
	must(t, site.Close())
	must(t, site.Close()) // once is enough, twice does no harm
	again, err := New(Config{StateFile: file})
	must(t, err)
	defer again.Close()
	if n := len(again.Domains()); n != 1 {
		t.Errorf("%d domains", n)
	}
	if left, _ := filepath.Glob(file + ".*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestSetUpRefusals(t *testing.T) {
	p := newIdP(t)
	site := p.site
	pem := p.sp.CertificatePEM
	ok := IdPSettings{EntityID: "x", SSOURL: "https://idp.test/sso", CertificatePEM: pem}
	with := func(change func(*IdPSettings)) IdPSettings {
		c := ok
		change(&c)
		return c
	}
	local, err := site.DefaultPolicy("")
	must(t, err)
	fresh, err := site.CreateDirectory("Fresh")
	must(t, err)
	freshPolicy, err := site.DefaultPolicy(fresh.ID)
	must(t, err)
	for name, c := range map[string]struct {
		err    error
		status int
	}{
		"no entity ID":          {second(site.SetSAML(p.dir.ID, with(func(s *IdPSettings) { s.EntityID = " " }))), 400},
		"relative URL":          {second(site.SetSAML(p.dir.ID, with(func(s *IdPSettings) { s.SSOURL = "/sso" }))), 400},
		"no certificate":        {second(site.SetSAML(p.dir.ID, with(func(s *IdPSettings) { s.CertificatePEM = "" }))), 400},
		"two certificates":      {second(site.SetSAML(p.dir.ID, with(func(s *IdPSettings) { s.CertificatePEM = pem + pem }))), 400},
		"a key":                 {second(site.SetSAML(p.dir.ID, with(func(s *IdPSettings) { s.CertificatePEM = strings.ReplaceAll(pem, "CERTIFICATE", "PRIVATE KEY") }))), 400},
		"cut off":               {second(site.SetSAML(p.dir.ID, with(func(s *IdPSettings) { s.CertificatePEM = pem[:len(pem)/2] }))), 400},
		"unknown directory":     {second(site.SetSAML("nowhere", ok)), 404},
		"provisioning twice":    {second(site.SetUpProvisioning(p.dir.ID)), 409},
		"key before set-up":     {second(site.RegenerateKey(fresh.ID)), 409},
		"enforce without SAML":  {site.EnforceSSO(freshPolicy.ID, true), 409},
		"enforce locally":       {site.EnforceSSO(local.ID, true), 409},
		"domain twice":          {second(site.AddDomain("ACME.test")), 409},
		"no domain":             {second(site.AddDomain("ada@acme.test")), 400},
		"unknown domain":        {site.VerifyDomain("other.test"), 404},
		"directory twice":       {second(site.CreateDirectory("latchkey")), 409},
		"account of nobody":     {site.MoveToPolicy(local.ID, "nobody"), 404},
		"address":               {second(site.AddAccount(NewAccount{Email: "nobody"})), 400},
		"unknown product":       {site.GrantProduct("Trello", "site-admins"), 404},
		"unknown group":         {site.GrantProduct("Jira", "nobody"), 404},
		"rate limit of nothing": {site.SetRateLimit(&RateLimit{}), 400},
	} {
		var e *Error
		if !errors.As(c.err, &e) || e.Status != c.status {
			t.Errorf("%s: %v", name, c.err)
		}
	}
	// Bare base64 and CRLF, as forms send it, are fine; the SP's values stay.
	sp, err := site.SetSAML(p.dir.ID, with(func(s *IdPSettings) { s.CertificatePEM = strings.ReplaceAll(pem, "\n", "\r\n") }))
	must(t, err)
	if sp.ACSURL != p.sp.ACSURL {
		t.Error(sp.ACSURL)
	}
	must(t, second(site.SetSAML(p.dir.ID, with(func(s *IdPSettings) { s.CertificatePEM = base64.StdEncoding.EncodeToString(p.keys.cert) }))))
	// Without Guard Standard nothing can be set up.
	must(t, site.SetOrganization("Acme", false))
	if err := second(site.SetUpProvisioning(fresh.ID)); statusOf(err) != 409 {
		t.Error(err)
	}
}

func TestLocalGroupsGiveAccess(t *testing.T) {
	st := newStage(t)
	must(t, second(st.site.AddAccount(NewAccount{Email: "ada@acme.test"})))
	must(t, st.site.SetGroupMember("jira-users-acme", "ada@acme.test", true))
	if d := cmp.Diff([]string{"Jira"}, st.account("ada@acme.test").Products); d != "" {
		t.Error(d)
	}
	must(t, st.site.SetGroupMember("jira-users-acme", "ada@acme.test", false))
	if n := len(st.account("ada@acme.test").Products); n != 0 {
		t.Error(n)
	}
	st.group("Synced")
	for group, want := range map[string]int{"Synced": 409, "nobody": 404} {
		if err := st.site.SetGroupMember(group, "ada@acme.test", true); statusOf(err) != want {
			t.Errorf("%s: %v", group, err)
		}
	}
}

// TestManyAtOnce is for the race detector: clients, pages, the control side and the writer at the same time.
func TestManyAtOnce(t *testing.T) {
	st := newStageOf(t, Config{StateFile: filepath.Join(t.TempDir(), "state.json")})
	g := st.group("Everybody")
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 15 {
				name := fmt.Sprintf("u%d-%d", w, i)
				r, err := st.try("POST", st.base+"/Users", st.key, userBody(name, name+"@acme.test", ""))
				if err != nil || r.status != 201 {
					t.Error(r.status, err)
					return
				}
				for _, c := range [][3]string{
					{"PATCH", st.base + "/Groups/" + g.str("id"), patchBody(`{"op":"add","path":"members","value":[{"value":"` + r.str("id") + `"}]}`)},
					{"GET", st.base + "/Users?count=10", ""},
					{"GET", st.url + "/admin/users", ""},
					{"GET", st.url + "/admin/requests", ""},
				} {
					if r, err := st.try(c[0], c[1], st.key, c[2]); err != nil || r.status != 200 {
						t.Error(c, r.status, err)
					}
				}
				if err := st.site.save(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	group, err := st.site.Group(st.dir.ID, "everybody")
	must(t, err)
	if len(group.Members) != 60 || len(st.site.Users(st.dir.ID)) != 60 {
		t.Errorf("%d members, %d users", len(group.Members), len(st.site.Users(st.dir.ID)))
	}
}

func TestManualClaim(t *testing.T) {
	p := newIdP(t)
	must(t, p.site.ClaimDomain("acme.test", false))
	must(t, second(p.site.AddAccount(NewAccount{Email: "ada@acme.test"})))
	if p.account("ada@acme.test").Managed {
		t.Error("managed before it is claimed")
	}
	must(t, p.site.ClaimAccounts("acme.test"))
	if !p.account("ada@acme.test").Managed {
		t.Error("not claimed")
	}
}

// TestPages fetches every page of the administration and what people meet, and looks at what a browser needs.
func TestPages(t *testing.T) {
	p := newIdP(t)
	u, g := p.user("ada"), p.group("Engineering")
	p.want(p.do("PATCH", "/Groups/"+g.str("id"), patchBody(`{"op":"add","path":"members","value":[{"value":"`+u.str("id")+`"}]}`)), 200, "")
	p.group("jira-users-acme")
	must(t, second(p.site.InjectFault(Fault{Kind: FaultSlow, Times: 3, Delay: time.Second})))
	b := newBrowser(t)
	p.landed(p.deliverIn(b, p.sign(p.response(says{nameID: "ada@acme.test", attributes: everything("<b>id</b>")}), false), ""), p.url+"/start")
	p.deliver(p.response(says{nameID: "ada@acme.test"}), "")
	for path, want := range map[string]string{
		"/":                              "Set-up guide",
		"/admin/directories":             "Latchkey",
		"/admin/directories/" + p.dir.ID: p.sp.ACSURL,
		"/admin/domains":                 "acme.test",
		"/admin/users":                   "ada@acme.test",
		"/admin/users?q=ada&page=9":      "ada@acme.test",
		"/admin/users/ada@acme.test":     accountID(u),
		"/admin/groups":                  "name conflict",
		"/admin/products":                "jira-users-acme",
		"/admin/requests":                "/Groups",
		"/admin/requests?status=201":     "/Users",
		"/admin/requests/1":              "ext-ada",
		"/admin/log":                     "due to existing group with same name",
		"/admin/sign-ins/1":              "&lt;b&gt;id",
		"/admin/sign-ins/2":              "neither the response nor the assertion are signed",
		"/admin/faults":                  "slow",
		"/login":                         "Log in to continue",
		"/error?error=e&error_description=%3Cb%3Ex": "&lt;b&gt;x",
		"/site":  "your identity provider said",
		"/start": "Your sites",
	} {
		status, _, body := b.get(p.url+path, "text/html")
		if status != 200 || !strings.Contains(body, want) || !strings.Contains(body, "Rehearsal: a stand-in for Atlassian Cloud.") {
			t.Errorf("%s: %d, %q is missing", path, status, want)
		}
		for _, bad := range []string{"<style", " style=", "<script>", "onclick", "<b>id</b>", "<no value>", "ZgotmplZ", p.key} {
			if strings.Contains(body, bad) {
				t.Errorf("%s holds %q", path, bad)
			}
		}
	}
	for path, want := range map[string]int{"/admin/directories/nowhere": 404, "/admin/users/nobody": 404, "/admin/requests/999": 404, "/admin/sign-ins/9": 404, "/admin/requests?status=x": 400, "/nowhere": 404, "/saml/x": 404} {
		if status, _, _ := b.get(p.url+path, "text/html"); status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
	if len(pageNames) != len(p.site.pages.byName) {
		t.Error("a page is named twice")
	}
}

func TestPageHeaders(t *testing.T) {
	p := newIdP(t)
	resp, err := http.Get(p.url + "/login")
	must(t, err)
	defer resp.Body.Close()
	csp := resp.Header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "form-action 'self' https://idp.acme.test"} {
		if !strings.Contains(csp, want) {
			t.Errorf("%q is missing in %q", want, csp)
		}
	}
	if strings.Contains(csp, "unsafe") {
		t.Error(csp)
	}
	for name, kind := range map[string]string{"rehearsal.css": "text/css; charset=utf-8", "rehearsal.js": "text/javascript; charset=utf-8", "mark.svg": "image/svg+xml"} {
		resp, err := http.Get(p.url + "/rehearsal/static/" + name)
		must(t, err)
		if err := resp.Body.Close(); err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != kind {
			t.Error(name, resp.StatusCode, resp.Header, err)
		}
	}
}

// TestSetUpByForms walks through the set-up with a browser's forms only.
func TestSetUpByForms(t *testing.T) {
	site, err := New(Config{})
	must(t, err)
	defer site.Close()
	srv := httptest.NewServer(site.Handler())
	defer srv.Close()
	site.SetBaseURL(srv.URL)
	b := newBrowser(t)
	post := func(path string, form url.Values, want int) string {
		t.Helper()
		status, location, body := b.post(srv.URL+path, form)
		if status != want {
			t.Fatalf("%s: %d: %s", path, status, body)
		}
		if location != "" {
			return location
		}
		return body
	}
	post("/admin/domains", url.Values{"name": {"acme.test"}}, 303)
	post("/admin/domains/acme.test/verify", nil, 303)
	dir := post("/admin/directories", url.Values{"name": {"Latchkey"}}, 303)
	if body := post(dir+"/saml", url.Values{"entityId": {"typed by hand"}, "ssoUrl": {"nonsense"}, "certificate": {"x"}}, 400); !strings.Contains(body, "typed by hand") || !strings.Contains(body, `role="alert"`) {
		t.Error("what was typed is lost")
	}
	cert := certificate(t, testKey(), 1)
	post(dir+"/saml", url.Values{"entityId": {"e"}, "ssoUrl": {"https://idp.test/sso"}, "certificate": {base64.StdEncoding.EncodeToString(cert)}}, 303)
	id := strings.TrimPrefix(dir, "/admin/directories/")
	post("/admin/domains/acme.test/link", url.Values{"directory": {id}}, 303)
	pol, err := site.DefaultPolicy(id)
	must(t, err)
	post("/admin/policies/"+pol.ID+"/enforce", nil, 303)
	body := post(dir+"/provisioning", nil, 200)
	i := strings.Index(body, "RHSL")
	if i < 0 {
		t.Fatal("no key shown")
	}
	key := body[i : i+47]
	_, _, page := b.get(srv.URL+dir, "text/html")
	if strings.Contains(page, key) || !strings.Contains(page, "ends in <code>"+key[43:]) {
		t.Error("shown a second time, or not to be told apart")
	}
	post(dir+"/provisioning", nil, 409)
	req, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/scim/directory/"+id+"/Users", nil)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+key)
	if status, _, _ := b.send(req); status != 200 {
		t.Error(status)
	}
	post("/admin/users", url.Values{"email": {"ada@acme.test"}, "givenName": {"Ada"}}, 303)
	post("/admin/users/ada@acme.test/move", url.Values{"policy": {pol.ID}}, 303)
	if status, location, _ := b.post(srv.URL+"/login", url.Values{"email": {"ada@acme.test"}}); status != 302 || !strings.HasPrefix(location, "https://idp.test/sso?SAMLRequest=") {
		t.Error(status, location)
	}
	post("/admin/faults/add", url.Values{"kind": {"status"}, "times": {"1"}, "status": {"503"}, "delay": {"0.5"}}, 303)
	post("/admin/faults/limit", url.Values{"perSecond": {"5"}, "burst": {"10"}, "html": {"on"}}, 303)
	post("/admin/faults/down", url.Values{"for": {"3"}}, 303)
	post("/admin/faults/down", url.Values{"for": {"soon"}}, 400)
	post("/admin/faults/switches", url.Values{"lenientRename": {"on"}, "propagationDelay": {"2.5"}, "maxUsers": {"7"}}, 303)
	want := Switches{LenientRename: true, PropagationDelay: 2500 * time.Millisecond, MaxUsers: 7}
	if d := cmp.Diff(want, site.Switches()); d != "" {
		t.Error(d)
	}
	if f := site.Faults(); len(f.Faults) != 1 || f.RateLimit == nil || !f.RateLimit.HTML || f.DownUntil.IsZero() {
		t.Errorf("%+v", f)
	}
	post("/admin/faults/clear", nil, 303)
	if f := site.Faults(); len(f.Faults) != 0 || f.RateLimit != nil || !f.DownUntil.IsZero() {
		t.Errorf("%+v", f)
	}
}

func TestControlAPI(t *testing.T) {
	site, err := New(Config{})
	must(t, err)
	defer site.Close()
	srv := httptest.NewServer(site.Handler())
	defer srv.Close()
	site.SetBaseURL(srv.URL)
	st := &stage{T: t, site: site, url: srv.URL}
	api := func(method, path, body string, into any) {
		t.Helper()
		r := st.send(method, srv.URL+"/rehearsal/api"+path, "", body)
		if r.status != 200 {
			t.Fatalf("%s %s: %d %s", method, path, r.status, r.text)
		}
		if into != nil {
			must(t, json.Unmarshal([]byte(r.text), into))
		}
	}
	cert := base64.StdEncoding.EncodeToString(certificate(t, testKey(), 1))
	api("POST", "/domains", `{"name":"acme.test"}`, nil)
	api("POST", "/domains/acme.test/verify", "", nil)
	var dir Directory
	api("POST", "/directories", `{"name":"Latchkey"}`, &dir)
	api("POST", "/domains/acme.test/link", `{"directory":"`+dir.ID+`"}`, nil)
	var sp SAMLSettings
	api("PUT", "/directories/"+dir.ID+"/saml", `{"entityId":"e","ssoUrl":"https://idp.test/sso","certificate":"`+cert+`"}`, &sp)
	if !strings.HasPrefix(sp.ACSURL, srv.URL+"/login/callback?connection=saml-") {
		t.Error(sp.ACSURL)
	}
	var prov Provisioning
	api("POST", "/directories/"+dir.ID+"/provisioning", "", &prov)
	st.base, st.key = prov.BaseURL, prov.APIKey
	st.want(st.do("GET", "/Users", ""), 200, "")
	api("POST", "/directories/"+dir.ID+"/provisioning/key", "", &prov)
	st.want(st.do("GET", "/Users", ""), 401, "")
	st.key = prov.APIKey
	u := st.user("ada")
	var policies []Policy
	api("GET", "/policies", "", &policies)
	i := slices.IndexFunc(policies, func(p Policy) bool { return p.Directory == dir.ID && p.Default })
	api("PATCH", "/policies/"+policies[i].ID, `{"enforceSso":true}`, nil)
	var a Account
	api("GET", "/accounts/ada@acme.test", "", &a)
	if a.ID != accountID(u) || !a.SSO {
		t.Errorf("%+v", a)
	}
	var users []User
	api("GET", "/directories/"+dir.ID+"/users", "", &users)
	if len(users) != 1 || users[0].Title != "Engineer" {
		t.Errorf("%+v", users)
	}
	var list []Request
	api("GET", "/requests?writes=true&status=201", "", &list)
	if len(list) != 1 || list[0].Method != "POST" {
		t.Errorf("%+v", list)
	}
	api("POST", "/faults", `{"kind":"slow","times":1,"delay":"1ms"}`, nil)
	api("PUT", "/rate-limit", `{"perSecond":100}`, nil)
	api("PUT", "/down", `{"for":"1m"}`, nil)
	var faults FaultState
	api("GET", "/faults", "", &faults)
	if len(faults.Faults) != 1 || faults.Faults[0].Delay != time.Millisecond || faults.RateLimit.Burst != 100 || faults.DownUntil.IsZero() {
		t.Errorf("%+v", faults)
	}
	api("DELETE", "/faults", "", nil)
	var sw Switches
	api("PUT", "/switches", `{"propagationDelay":"3s","lenientRename":true}`, &sw)
	want := DefaultSwitches()
	want.PropagationDelay, want.LenientRename = 3*time.Second, true
	if d := cmp.Diff(want, sw); d != "" {
		t.Error(d)
	}
	for _, path := range []string{"/organization", "/domains", "/directories", "/directories/" + dir.ID, "/directories/" + dir.ID + "/groups", "/accounts", "/products", "/site-groups", "/stats", "/troubleshooting", "/sign-ins", "/sessions", "/switches", "/requests/1"} {
		api("GET", path, "", nil)
	}
	r := st.send("GET", srv.URL+"/rehearsal/api/accounts/nobody", "", "")
	if r.status != 404 || r.str("error") != "There is no account nobody." {
		t.Error(r.text)
	}
	if r := st.send("POST", srv.URL+"/rehearsal/api/domains", "", "{"); r.status != 400 {
		t.Error(r.text)
	}
}

func TestAdministrationAnswersOnlyHere(t *testing.T) {
	site, err := New(Config{})
	must(t, err)
	defer site.Close()
	ask := func(remote, host, origin, path string) int {
		r := httptest.NewRequest("POST", path, strings.NewReader("name=x.test"))
		r.RemoteAddr, r.Host = remote, host
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if origin != "" {
			r.Header.Set("Origin", origin)
			r.Header.Set("Sec-Fetch-Site", "cross-site")
		}
		w := httptest.NewRecorder()
		site.Handler().ServeHTTP(w, r)
		_, _ = io.Copy(io.Discard, w.Body)
		return w.Code
	}
	for name, c := range map[string]struct {
		remote, host, origin, path string
		want                       int
	}{
		"another machine":         {"192.0.2.1:5000", "127.0.0.1:8081", "", "/admin/domains", 403},
		"another machine, API":    {"192.0.2.1:5000", "127.0.0.1:8081", "", "/rehearsal/api/domains", 403},
		"a name that points here": {"127.0.0.1:5000", "evil.test:8081", "", "/admin/domains", 403},
		"a page elsewhere":        {"127.0.0.1:5000", "127.0.0.1:8081", "https://evil.test", "/admin/domains", 403},
		"this machine":            {"[::1]:5000", "localhost:8081", "", "/admin/domains", 303},
		"a SAML response":         {"127.0.0.1:5000", "127.0.0.1:8081", "https://idp.test", "/login/callback?connection=x", 302},
	} {
		if got := ask(c.remote, c.host, c.origin, c.path); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func FuzzResponse(f *testing.F) {
	f.Add(`<samlp:Response xmlns:samlp="` + nsProtocol + `" xmlns:saml="` + nsAssertion + `"><saml:Assertion ID="a"/></samlp:Response>`)
	f.Add(`<!DOCTYPE x><x/>`)
	f.Add(`<samlp:Response xmlns:samlp="` + nsProtocol + `" xmlns:saml="` + nsAssertion + `"><saml:Assertion ID="a"><Signature xmlns="` + nsDSig + `"><SignedInfo><SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"/><Reference URI="#a"/></SignedInfo><SignatureValue>AA==</SignatureValue></Signature></saml:Assertion></samlp:Response>`)
	cert, _, err := parseCertificate(fuzzCertificate)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, _, err := verifyResponse(base64.StdEncoding.EncodeToString([]byte(text)), expectation{cert: cert, now: time.Unix(1, 0)})
		if err == nil {
			t.Errorf("accepted: %+v", a)
		}
		if _, ok := errors.AsType[*rejection](err); !ok {
			t.Errorf("refused without a text for the person: %v", err)
		}
	})
}
