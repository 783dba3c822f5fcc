package rehearsal

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed static
var staticFiles embed.FS

// pageNames lists the pages; each has its file in templates.
var pageNames = []string{
	"overview", "directories", "directory", "domains", "users", "user", "groups", "products",
	"requests", "request", "log", "signin", "faults", "login", "error", "site", "start", "notfound",
}

// pageData is what every page gets; Data is the page's own.
type pageData struct {
	Title   string
	Nav     string // which entry of the navigation is current
	Public  bool   // a page that people meet, without the administration's navigation
	Problem string
	Org     Organization
	Version string // of the static files
	Data    any
}

type pages struct {
	byName  map[string]*template.Template
	static  map[string][]byte
	version string
}

func loadPages() pages {
	p := pages{byName: map[string]*template.Template{}, static: map[string][]byte{}}
	layout := template.Must(template.New("layout.html").Funcs(templateFuncs()).ParseFS(templateFiles, "templates/layout.html"))
	for _, name := range pageNames {
		t := template.Must(layout.Clone())
		p.byName[name] = template.Must(t.ParseFS(templateFiles, "templates/"+name+".html"))
	}
	sum := sha256.New()
	entries, err := fs.ReadDir(staticFiles, "static")
	if err != nil {
		panic(err) // embedded
	}
	for _, e := range entries {
		data, err := staticFiles.ReadFile("static/" + e.Name())
		if err != nil {
			panic(err) // embedded
		}
		p.static[e.Name()] = data
		sum.Write(data)
	}
	p.version = hex.EncodeToString(sum.Sum(nil))[:10]
	return p
}

func templateFuncs() template.FuncMap {
	return template.FuncMap{
		"when": func(t time.Time) string {
			if t.IsZero() {
				return "never"
			}
			return t.UTC().Format("2006-01-02 15:04:05")
		},
		"day":    func(t time.Time) string { return t.UTC().Format("2 January 2006") },
		"iso":    func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"short":  func(id string) string { return id[:min(8, len(id))] },
		"pretty": prettyJSON,
		"millis": func(d time.Duration) string {
			return strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', 1, 64) + " ms"
		},
		"join":  func(list []string) string { return strings.Join(list, ", ") },
		"class": statusClass,
		"claim": func(name string) string { // the last part of a claim's URI
			return name[strings.LastIndexByte(name, '/')+1:]
		},
		"seconds": func(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) },
		"initial": func(s string) string { return strings.ToUpper(string([]rune(s + " ")[:1])) },
		"plus":    func(a, b int) int { return a + b },
	}
}

func prettyJSON(s string) string {
	var b bytes.Buffer
	if json.Indent(&b, []byte(s), "", "  ") != nil {
		return s
	}
	return b.String()
}

func statusClass(status int) string {
	switch {
	case status == 0:
		return "bad"
	case status < 300:
		return "good"
	case status < 500:
		return "warn"
	}
	return "bad"
}

// render writes a page into a buffer first, so that a broken template never sends half a page.
func (s *Site) render(w http.ResponseWriter, r *http.Request, status int, name string, d pageData) {
	d.Org, d.Version = s.Organization(), s.pages.version
	var b bytes.Buffer
	if err := s.pages.byName[name].ExecuteTemplate(&b, "layout.html", d); err != nil {
		s.log.ErrorContext(r.Context(), "rehearsal page failed", "page", name, "error", err)
		http.Error(w, "This page failed. The log says more.", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; base-uri 'none'; "+
		"frame-ancestors 'none'; form-action 'self'"+s.idpOrigins())
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

// idpOrigins lists the origins of the identity providers: browsers apply form-action to the redirect that the
// log-in form leads to.
func (s *Site) idpOrigins() string {
	var b strings.Builder
	for _, d := range s.Directories() {
		if d.SAML == nil {
			continue
		}
		if u, err := url.Parse(d.SAML.SSOURL); err == nil && !strings.ContainsAny(u.Host, " ;,'\"") {
			b.WriteString(" " + u.Scheme + "://" + u.Host)
		}
	}
	return b.String()
}

func (s *Site) serveStatic(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	data, ok := s.pages.static[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	types := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	w.Header().Set("Content-Type", types[name[strings.LastIndexByte(name, '.'):]])
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable") // addressed with their hash
	_, _ = w.Write(data)
}

// show renders a page of the administration, with a problem when the last act failed.
type show func(w http.ResponseWriter, r *http.Request, status int, problem string)

func (s *Site) mountAdmin(mux *http.ServeMux) {
	get := func(path string, page show) {
		mux.HandleFunc("GET "+path, s.guard(func(w http.ResponseWriter, r *http.Request) { page(w, r, http.StatusOK, "") }))
	}
	post := func(path string, page show, act func(*http.Request) (to string, err error)) {
		mux.HandleFunc("POST "+path, s.guard(func(w http.ResponseWriter, r *http.Request) {
			to, err := act(r)
			if err != nil {
				page(w, r, statusOf(err), publicText(err))
				return
			}
			http.Redirect(w, r, to, http.StatusSeeOther)
		}))
	}
	mux.HandleFunc("GET /rehearsal/static/{name}", s.serveStatic)

	get("/{$}", s.showOverview)
	post("/admin/organization", s.showOverview, func(r *http.Request) (string, error) {
		return "/", s.SetOrganization(r.PostFormValue("name"), r.PostFormValue("guard") == "on")
	})

	get("/admin/directories", s.showDirectories)
	post("/admin/directories", s.showDirectories, func(r *http.Request) (string, error) {
		d, err := s.CreateDirectory(r.PostFormValue("name"))
		return "/admin/directories/" + d.ID, err
	})
	get("/admin/directories/{id}", s.showDirectory)
	post("/admin/directories/{id}/saml", s.showDirectory, func(r *http.Request) (string, error) {
		_, err := s.SetSAML(r.PathValue("id"), IdPSettings{
			EntityID: r.PostFormValue("entityId"), SSOURL: r.PostFormValue("ssoUrl"), CertificatePEM: r.PostFormValue("certificate"),
		})
		return "/admin/directories/" + r.PathValue("id") + "#service-provider", err
	})
	mux.HandleFunc("POST /admin/directories/{id}/provisioning", s.guard(s.postKey(s.SetUpProvisioning)))
	mux.HandleFunc("POST /admin/directories/{id}/key", s.guard(s.postKey(s.RegenerateKey)))

	get("/admin/domains", s.showDomains)
	post("/admin/domains", s.showDomains, func(r *http.Request) (string, error) {
		_, err := s.AddDomain(r.PostFormValue("name"))
		return "/admin/domains", err
	})
	post("/admin/domains/{name}/{act}", s.showDomains, func(r *http.Request) (string, error) {
		name := r.PathValue("name")
		switch r.PathValue("act") {
		case "verify":
			return "/admin/domains", s.VerifyDomain(name)
		case "automatic":
			return "/admin/domains", s.ClaimDomain(name, true)
		case "manual":
			return "/admin/domains", s.ClaimDomain(name, false)
		case "claim":
			return "/admin/domains", s.ClaimAccounts(name)
		case "link":
			return "/admin/domains", s.LinkDomain(name, r.PostFormValue("directory"))
		}
		return "", refuse(http.StatusNotFound, "There is no such act.")
	})
	post("/admin/policies", s.showDomains, func(r *http.Request) (string, error) {
		_, err := s.CreatePolicy(r.PostFormValue("directory"), r.PostFormValue("name"))
		return "/admin/domains#policies", err
	})
	post("/admin/policies/{id}/{act}", s.showDomains, func(r *http.Request) (string, error) {
		const back = "/admin/domains#policies"
		id := r.PathValue("id")
		switch r.PathValue("act") {
		case "enforce":
			return back, s.EnforceSSO(id, true)
		case "release":
			return back, s.EnforceSSO(id, false)
		case "default":
			return back, s.SetDefaultPolicy(id)
		}
		return "", refuse(http.StatusNotFound, "There is no such act.")
	})

	get("/admin/users", s.showUsers)
	post("/admin/users", s.showUsers, func(r *http.Request) (string, error) {
		a, err := s.AddAccount(NewAccount{
			Email: r.PostFormValue("email"), GivenName: r.PostFormValue("givenName"), FamilyName: r.PostFormValue("familyName"),
			OtherOrganization: r.PostFormValue("other") == "on",
		})
		return "/admin/users/" + url.PathEscape(a.ID), err
	})
	get("/admin/users/{ref}", s.showUser)
	post("/admin/users/{ref}/{act}", s.showUser, func(r *http.Request) (string, error) {
		ref := r.PathValue("ref")
		back := "/admin/users/" + url.PathEscape(ref)
		switch r.PathValue("act") {
		case "activate":
			return back, s.SetAccountActive(ref, true)
		case "deactivate":
			return back, s.SetAccountActive(ref, false)
		case "sign-out":
			return back, s.SignOutEverywhere(ref)
		case "move":
			return back, s.MoveToPolicy(r.PostFormValue("policy"), ref)
		case "join":
			return back, s.SetGroupMember(r.PostFormValue("group"), ref, true)
		case "leave":
			return back, s.SetGroupMember(r.PostFormValue("group"), ref, false)
		}
		return "", refuse(http.StatusNotFound, "There is no such act.")
	})

	get("/admin/groups", s.showGroups)
	post("/admin/groups/{directory}/{id}/sync", s.showGroups, func(r *http.Request) (string, error) {
		return "/admin/groups", s.SyncGroup(r.PathValue("directory"), r.PathValue("id"))
	})

	get("/admin/products", s.showProducts)
	post("/admin/products/{name}/{act}", s.showProducts, func(r *http.Request) (string, error) {
		if r.PathValue("act") == "revoke" {
			return "/admin/products", s.RevokeProduct(r.PathValue("name"), r.PostFormValue("group"))
		}
		return "/admin/products", s.GrantProduct(r.PathValue("name"), r.PostFormValue("group"))
	})
	post("/admin/site-groups", s.showProducts, func(r *http.Request) (string, error) {
		return "/admin/products", s.AddSiteGroup(r.PostFormValue("name"))
	})
	post("/admin/site-groups/default", s.showProducts, func(r *http.Request) (string, error) {
		return "/admin/products", s.SetDefaultGroup(r.PostFormValue("group"), r.PostFormValue("default") == "on")
	})

	get("/admin/requests", s.showRequests)
	get("/admin/requests/{number}", s.showRequest)
	post("/admin/requests/clear", s.showRequests, func(*http.Request) (string, error) {
		s.ClearRequests()
		return "/admin/requests", nil
	})
	get("/admin/log", s.showLog)
	get("/admin/sign-ins/{number}", s.showSignIn)

	get("/admin/faults", s.showFaults)
	post("/admin/faults/{act}", s.showFaults, func(r *http.Request) (string, error) {
		return "/admin/faults", s.actOnFaults(r)
	})
}

func (s *Site) showOverview(w http.ResponseWriter, r *http.Request, status int, problem string) {
	s.render(w, r, status, "overview", pageData{Title: "Overview", Nav: "overview", Problem: problem, Data: s.overview()})
}

// Step is one sentence of the set-up guide and whether it has been done here.
type step struct {
	Title, Text, Link, Action string
	Done                      bool
}

type overviewPage struct {
	Steps                                          []step
	Done                                           int
	Directories, Accounts, Active, Groups, SignIns int
	Requests                                       int64
	Next                                           string
}

func (s *Site) overview() overviewPage {
	stats := s.Stats()
	s.lock()
	defer s.unlock()
	st := s.st
	p := overviewPage{Directories: len(st.directories), Accounts: len(st.accounts), Requests: stats.Requests, SignIns: len(st.signIns)}
	var verified, linked, saml, prov, enforced, signedIn, granted bool
	first := ""
	for _, d := range st.domains {
		verified = verified || d.verified
		linked = linked || d.directory != ""
	}
	for _, d := range st.directories {
		if first == "" {
			first = d.id
		}
		saml, prov = saml || d.saml != nil, prov || d.prov != nil
		p.Groups += len(d.groups)
	}
	for _, pol := range st.policies {
		enforced = enforced || pol.enforce
	}
	for _, in := range st.signIns {
		signedIn = signedIn || in.OK
	}
	for _, a := range st.accounts {
		if a.active {
			p.Active++
		}
	}
	for _, pr := range st.products {
		for _, name := range pr.groups {
			if g := st.orgGroups[fold(name)]; g != nil && g.scimGroup != "" {
				granted = true
			}
		}
	}
	dir := "/admin/directories"
	if first != "" {
		dir += "/" + first
	}
	p.Steps = []step{
		{"Verify the mail domain", "Prove that the company owns it. The real check of DNS may take up to 72 hours; here it is one click.", "/admin/domains", "Domains", verified},
		{"Add an identity-provider directory", "Security → Identity providers. It holds the people who come from your identity provider.", "/admin/directories", "Directories", first != ""},
		{"Set up SAML single sign-on", "Paste entity ID, SSO URL and certificate of your identity provider; take the service provider's entity ID and assertion consumer service URL back to it.", dir, "SAML set-up", saml},
		{"Link the domain to the directory", "Without the link nobody is created just-in-time.", "/admin/domains", "Domains", linked},
		{"Enforce single sign-on", "Only an authentication policy that enforces it sends people to your identity provider. People from the local directory have to be moved into it.", "/admin/domains#policies", "Policies", enforced},
		{"Sign in once", "Begin at the log-in page with an e-mail address, or at your identity provider's portal.", "/login", "Log in", signedIn},
		{"Set up user provisioning", "Take the SCIM base URL and the API key, which is shown once and expires after a year.", dir + "#provisioning", "Provisioning", prov},
		{"See the first requests arrive", "Every request with its answer is in the request log.", "/admin/requests", "Request log", stats.Requests > 0},
		{"Give synced groups access to products", "A synced person has no product by that alone: access comes from groups.", "/admin/products", "Products", granted},
	}
	for _, st := range p.Steps {
		if st.Done {
			p.Done++
		} else if p.Next == "" {
			p.Next = st.Title
		}
	}
	return p
}

func (s *Site) showDirectories(w http.ResponseWriter, r *http.Request, status int, problem string) {
	s.render(w, r, status, "directories", pageData{Title: "Identity-provider directories", Nav: "directories", Problem: problem, Data: s.Directories()})
}

type directoryPage struct {
	Directory
	NewKey   string // shown once
	Form     IdPSettings
	Policies []Policy
}

func (s *Site) showDirectory(w http.ResponseWriter, r *http.Request, status int, problem string) {
	s.directoryPage(w, r, status, problem, "")
}

func (s *Site) directoryPage(w http.ResponseWriter, r *http.Request, status int, problem, key string) {
	d, err := s.Directory(r.PathValue("id"))
	if err != nil {
		s.render(w, r, statusOf(err), "notfound", pageData{Title: "Not found", Nav: "directories", Data: publicText(err)})
		return
	}
	page := directoryPage{Directory: d, NewKey: key}
	if d.SAML != nil {
		page.Form = d.SAML.IdPSettings
	}
	if r.Method == http.MethodPost && r.PostForm.Has("entityId") { // keep what was typed
		page.Form = IdPSettings{r.PostFormValue("entityId"), r.PostFormValue("ssoUrl"), r.PostFormValue("certificate")}
	}
	for _, p := range s.Policies() {
		if p.Directory == d.ID {
			page.Policies = append(page.Policies, p)
		}
	}
	s.render(w, r, status, "directory", pageData{Title: d.Name, Nav: "directories", Problem: problem, Data: page})
}

// postKey makes an API key and shows it in the answer itself, the only time that it can be seen.
func (s *Site) postKey(make func(string) (Provisioning, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p, err := make(r.PathValue("id"))
		if err != nil {
			s.directoryPage(w, r, statusOf(err), publicText(err), "")
			return
		}
		s.directoryPage(w, r, http.StatusOK, "", p.APIKey)
	}
}

type domainsPage struct {
	Domains     []Domain
	Directories []Directory
	Policies    []policyRow
}

type policyRow struct {
	Policy
	DirectoryName string
}

func (s *Site) showDomains(w http.ResponseWriter, r *http.Request, status int, problem string) {
	page := domainsPage{Domains: s.Domains(), Directories: s.Directories()}
	for _, p := range s.Policies() {
		row := policyRow{p, "Local directory"}
		for _, d := range page.Directories {
			if d.ID == p.Directory {
				row.DirectoryName = d.Name
			}
		}
		page.Policies = append(page.Policies, row)
	}
	s.render(w, r, status, "domains", pageData{Title: "Domains and policies", Nav: "domains", Problem: problem, Data: page})
}

const rowsPerPage = 50

// pager cuts a list of n rows into pages.
type pager struct {
	Query            string
	Page, Pages      int
	Total, From, To  int
	Previous, Follow int // page numbers, 0 when there is none
}

func newPager(r *http.Request, total int) pager {
	n, _ := strconv.Atoi(r.URL.Query().Get("page"))
	p := pager{Query: strings.TrimSpace(r.URL.Query().Get("q")), Total: total, Pages: max(1, (total+rowsPerPage-1)/rowsPerPage)}
	p.Page = min(max(n, 1), p.Pages)
	p.From = (p.Page - 1) * rowsPerPage
	p.To = min(p.From+rowsPerPage, total)
	p.Previous = p.Page - 1
	if p.Page < p.Pages {
		p.Follow = p.Page + 1
	}
	return p
}

type usersPage struct {
	Accounts []Account
	Pager    pager
}

func (s *Site) showUsers(w http.ResponseWriter, r *http.Request, status int, problem string) {
	q := fold(strings.TrimSpace(r.URL.Query().Get("q")))
	s.lock()
	var hits []*account
	for _, a := range s.st.accounts {
		if q == "" || strings.Contains(fold(a.email), q) || strings.Contains(fold(a.fullName), q) || a.id == q {
			hits = append(hits, a)
		}
	}
	page := usersPage{Pager: newPager(r, len(hits))}
	for _, a := range hits[page.Pager.From:page.Pager.To] {
		page.Accounts = append(page.Accounts, s.accountView(a))
	}
	s.unlock()
	s.render(w, r, status, "users", pageData{Title: "Users", Nav: "users", Problem: problem, Data: page})
}

type userPage struct {
	Account
	Record        *User
	DirectoryName string
	Policies      []policyRow
	Sessions      int
	Local         []localGroup
}

// localGroup is a group of the site that an administrator may put people into.
type localGroup struct {
	Name string
	In   bool
}

func (s *Site) showUser(w http.ResponseWriter, r *http.Request, status int, problem string) {
	a, err := s.Account(r.PathValue("ref"))
	if err != nil {
		s.render(w, r, statusOf(err), "notfound", pageData{Title: "Not found", Nav: "users", Data: publicText(err)})
		return
	}
	page := userPage{Account: a}
	if a.SCIMUserID != "" {
		if u, err := s.User(a.DirectoryID, a.SCIMUserID); err == nil {
			page.Record = &u
		}
		if d, err := s.Directory(a.DirectoryID); err == nil {
			page.DirectoryName = d.Name
		}
	}
	for _, p := range s.Policies() {
		page.Policies = append(page.Policies, policyRow{Policy: p})
	}
	s.lock()
	for _, g := range s.st.orgGroups {
		if g.directory == "" {
			_, in := g.members[a.ID]
			page.Local = append(page.Local, localGroup{g.name, in})
		}
	}
	s.unlock()
	slices.SortFunc(page.Local, func(a, b localGroup) int { return strings.Compare(fold(a.Name), fold(b.Name)) })
	for _, se := range s.Sessions() {
		if se.AccountID == a.ID {
			page.Sessions++
		}
	}
	title := a.FullName
	if title == "" {
		title = a.Email
	}
	s.render(w, r, status, "user", pageData{Title: title, Nav: "users", Problem: problem, Data: page})
}

type groupRow struct {
	Directory, DirectoryName string
	Group                    Group
	Count                    int
}

type groupsPage struct {
	Groups []groupRow
	Pager  pager
}

func (s *Site) showGroups(w http.ResponseWriter, r *http.Request, status int, problem string) {
	q := fold(strings.TrimSpace(r.URL.Query().Get("q")))
	type hit struct {
		d *directory
		g *groupRecord
	}
	s.lock()
	var hits []hit
	for _, d := range s.st.directories {
		for _, g := range d.groups {
			if q == "" || strings.Contains(fold(g.DisplayName), q) {
				hits = append(hits, hit{d, g})
			}
		}
	}
	page := groupsPage{Pager: newPager(r, len(hits))}
	for _, h := range hits[page.Pager.From:page.Pager.To] {
		row := groupRow{h.d.id, h.d.name, s.groupView(h.d, h.g), len(h.g.members)}
		if len(row.Group.Members) > 100 {
			row.Group.Members = row.Group.Members[:100]
		}
		page.Groups = append(page.Groups, row)
	}
	s.unlock()
	s.render(w, r, status, "groups", pageData{Title: "Groups", Nav: "groups", Problem: problem, Data: page})
}

type productsPage struct {
	Products []productRow
	Groups   []SiteGroup
	More     int
}

type productRow struct {
	Name   string
	Groups []SiteGroup
	People int
}

func (s *Site) showProducts(w http.ResponseWriter, r *http.Request, status int, problem string) {
	groups := s.SiteGroups()
	var page productsPage
	for _, p := range s.Products() {
		row := productRow{Name: p.Name}
		people := map[string]bool{}
		for _, g := range groups {
			if slices.Contains(g.Products, p.Name) {
				row.Groups = append(row.Groups, g)
				for _, m := range g.Members {
					people[m] = true
				}
			}
		}
		row.People = len(people)
		page.Products = append(page.Products, row)
	}
	page.Groups = groups
	if len(groups) > 200 {
		page.Groups, page.More = groups[:200], len(groups)-200
	}
	s.render(w, r, status, "products", pageData{Title: "Products and access", Nav: "products", Problem: problem, Data: page})
}

type requestsPage struct {
	Requests []Request
	Stats    Stats
	Filter   RequestFilter
	Older    bool
}

func (s *Site) showRequests(w http.ResponseWriter, r *http.Request, status int, problem string) {
	f, err := requestFilter(r)
	if err != nil && problem == "" {
		status, problem = statusOf(err), publicText(err)
	}
	f.Limit = 200
	list := s.Requests(f)
	slices.Reverse(list)
	s.render(w, r, status, "requests", pageData{
		Title: "Request log", Nav: "requests", Problem: problem,
		Data: requestsPage{Requests: list, Stats: s.Stats(), Filter: f, Older: len(list) == f.Limit},
	})
}

func (s *Site) showRequest(w http.ResponseWriter, r *http.Request, status int, problem string) {
	n, _ := strconv.ParseInt(r.PathValue("number"), 10, 64)
	req, err := s.Request(n)
	if err != nil {
		s.render(w, r, statusOf(err), "notfound", pageData{Title: "Not found", Nav: "requests", Data: publicText(err)})
		return
	}
	s.render(w, r, status, "request", pageData{Title: "Request " + strconv.FormatInt(n, 10), Nav: "requests", Problem: problem, Data: req})
}

type logPage struct {
	Lines   []LogLine
	SignIns []SignIn
}

func (s *Site) showLog(w http.ResponseWriter, r *http.Request, status int, problem string) {
	page := logPage{Lines: s.Troubleshooting(), SignIns: s.SignIns()}
	slices.Reverse(page.Lines)
	slices.Reverse(page.SignIns)
	page.Lines = page.Lines[:min(200, len(page.Lines))]
	page.SignIns = page.SignIns[:min(100, len(page.SignIns))]
	s.render(w, r, status, "log", pageData{Title: "Logs", Nav: "log", Problem: problem, Data: page})
}

func (s *Site) showSignIn(w http.ResponseWriter, r *http.Request, status int, problem string) {
	for _, in := range s.SignIns() {
		if strconv.FormatInt(in.Number, 10) == r.PathValue("number") {
			s.render(w, r, status, "signin", pageData{Title: "Sign-in " + r.PathValue("number"), Nav: "log", Problem: problem, Data: in})
			return
		}
	}
	s.render(w, r, http.StatusNotFound, "notfound", pageData{Title: "Not found", Nav: "log", Data: "That sign-in is not in the log any more."})
}

type faultsPage struct {
	FaultState
	Switches Switches
	Kinds    []FaultKind
}

func (s *Site) showFaults(w http.ResponseWriter, r *http.Request, status int, problem string) {
	s.render(w, r, status, "faults", pageData{
		Title: "Faults and switches", Nav: "faults", Problem: problem,
		Data: faultsPage{s.Faults(), s.Switches(), FaultKinds()},
	})
}

func (s *Site) actOnFaults(r *http.Request) error {
	number := func(name string) (int, error) {
		v := strings.TrimSpace(r.PostFormValue(name))
		if v == "" {
			return 0, nil
		}
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return 0, refuse(http.StatusBadRequest, "%s must be a whole number, 0 or more.", name)
		}
		return n, nil
	}
	seconds := func(name string) (time.Duration, error) {
		v := strings.TrimSpace(r.PostFormValue(name))
		if v == "" {
			return 0, nil
		}
		n, err := strconv.ParseFloat(v, 64)
		if err != nil || n < 0 || n > 86400 {
			return 0, refuse(http.StatusBadRequest, "%s must be a number of seconds.", name)
		}
		return time.Duration(n * float64(time.Second)), nil
	}
	on := func(name string) bool { return r.PostFormValue(name) == "on" }

	switch r.PathValue("act") {
	case "add":
		times, err := number("times")
		if err != nil {
			return err
		}
		code, err := number("status")
		if err != nil {
			return err
		}
		retry, err := number("retryAfter")
		if err != nil {
			return err
		}
		delay, err := seconds("delay")
		if err != nil {
			return err
		}
		_, err = s.InjectFault(Fault{
			Kind: FaultKind(r.PostFormValue("kind")), Times: times, Status: code, RetryAfter: retry, Delay: delay,
			Method: r.PostFormValue("method"), Path: strings.TrimSpace(r.PostFormValue("path")), HTML: on("html"),
		})
		return err
	case "remove":
		n, err := number("id")
		if err == nil && n > 0 {
			s.ClearFaults(int64(n))
		}
		return err
	case "clear":
		s.ClearFaults(0)
		return nil
	case "limit":
		if on("off") {
			return s.SetRateLimit(nil)
		}
		rate, err := strconv.ParseFloat(strings.TrimSpace(r.PostFormValue("perSecond")), 64)
		if err != nil {
			return refuse(http.StatusBadRequest, "Enter the number of requests per second.")
		}
		burst, err := number("burst")
		if err != nil {
			return err
		}
		return s.SetRateLimit(&RateLimit{
			PerSecond: rate, Burst: burst, NoRetryAfter: on("noRetryAfter"), HTML: on("html"), Unavailable: on("unavailable"),
		})
	case "down":
		d, err := seconds("for")
		if err != nil {
			return err
		}
		s.SetDown(d)
		return nil
	case "switches":
		sw := s.Switches()
		for name, p := range map[string]*bool{
			"lenientRename": &sw.LenientRename, "refuseSameEmail": &sw.RefuseSameEmail, "ignoreUnknownMembers": &sw.IgnoreUnknownMembers,
			"keepMembersOnCreate": &sw.KeepMembersOnCreate, "uniqueExternalId": &sw.UniqueExternalID, "ignoreUnknownPaths": &sw.IgnoreUnknownPaths,
			"requireSchemas": &sw.RequireSchemas, "unknownDirectory404": &sw.UnknownDirectory404, "nameInGroupConflict": &sw.NameInGroupConflict,
			"checkIssuer": &sw.CheckIssuer, "refuseSecondAccount": &sw.RefuseSecondAccount,
		} {
			*p = on(name)
		}
		var err error
		for name, p := range map[string]*int{"maxUsers": &sw.MaxUsers, "maxGroups": &sw.MaxGroups, "maxMembers": &sw.MaxMembers} {
			if *p, err = number(name); err != nil {
				return err
			}
		}
		for name, p := range map[string]*time.Duration{"propagationDelay": &sw.PropagationDelay, "clockSkew": &sw.ClockSkew} {
			if *p, err = seconds(name); err != nil {
				return err
			}
		}
		s.SetSwitches(sw)
		return nil
	}
	return refuse(http.StatusNotFound, "There is no such act.")
}
