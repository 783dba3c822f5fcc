package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/rehearsal"
	"github.com/latchkey-idp/latchkey/internal/server"
)

// checker walks the main job: a real program in a process of its own, driven through its API
// and pages, against the rehearsal Atlassian Cloud in this process.
type checker struct {
	out    io.Writer
	folder string
	site   *rehearsal.Site
	dir    string // the directory at the stand-in

	exe  string
	cfg  *server.Config
	addr string // of the program
	base string
	proc *exec.Cmd
	log  *os.File
	key  string

	app       string
	people    map[string]string // e-mail to id
	groups    map[string]string // name to id
	hiro      *visitor
	prov      rehearsal.Provisioning
	sp        rehearsal.SAMLSettings
	idpEntity string
	ssoURL    string
	existing  string   // id of a record that was there before us
	guests    []string // people of whom only the target knows
	mark      int64    // the stand-in's last request before the step

	passed, failed int
}

// The people that the check looks at closely.
const (
	checkEngineer = "hiro.tanaka@" + companyDomain
	checkOutsider = "jaya.mehta@" + companyDomain // in Finance, which isn't bound
	checkExisting = "ines.carvalho@" + companyDomain
)

// errSteps says that steps failed; they were told already.
var errSteps = problem.New(problem.Internal, "some steps failed")

func (d demoCmd) check(ctx context.Context, cfg *server.Config, t terminal) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	c := &checker{out: t.out, cfg: cfg, people: map[string]string{}, groups: map[string]string{}}
	if c.exe, err = os.Executable(); err != nil {
		return err
	}
	if c.folder, err = os.MkdirTemp("", "latchkey-check-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(c.folder)) }()
	if c.log, err = os.Create(filepath.Join(c.folder, "serve.log")); err != nil {
		return err
	}
	l, err := listen(ctx, "127.0.0.1:0")
	if err != nil {
		return err
	}
	c.site, err = rehearsal.New(rehearsal.Config{
		BaseURL: "http://" + l.Addr().String(), Organization: companyName, SiteName: companySite, Log: logger(cfg, io.Discard),
	})
	if err != nil {
		return errors.Join(err, l.Close())
	}
	siteCtx, endSite := context.WithCancel(ctx)
	siteEnded := make(chan error, 1)
	go func() { siteEnded <- serveSite(siteCtx, l, c.site) }()
	defer func() {
		c.kill()
		endSite()
		err = errors.Join(err, <-siteEnded, c.log.Close())
	}()

	begin := time.Now()
	for _, s := range c.steps() {
		c.mark = c.site.LastRequest()
		stepBegin := time.Now()
		detail, err := s.do(ctx)
		if err != nil {
			c.failed++
			why := err.Error()
			if len(why) > 2000 {
				why = why[:2000] + " …"
			}
			fmt.Fprintf(c.out, "FAIL %s: %s\n", s.name, why)
			if s.vital || ctx.Err() != nil {
				break
			}
			continue
		}
		c.passed++
		fmt.Fprintf(c.out, "ok   %s: %s (%s)\n", s.name, detail, time.Since(stepBegin).Round(time.Millisecond))
	}
	if c.failed > 0 {
		if _, err := c.log.Seek(0, io.SeekStart); err == nil {
			fmt.Fprintln(c.out, "What the program logged:")
			_, _ = io.Copy(c.out, c.log)
		}
	}
	fmt.Fprintf(c.out, "The whole main job in %s.\n%d passed, %d failed\n", time.Since(begin).Round(100*time.Millisecond), c.passed, c.failed)
	if c.failed > 0 {
		return errSteps
	}
	return nil
}

// step is one line of the check. A vital step ends the check when it fails.
type step struct {
	name  string
	vital bool
	do    func(context.Context) (detail string, err error)
}

func (c *checker) steps() []step {
	return []step{
		{"set up a new installation without a browser", true, c.setup},
		{"start to first answer", true, c.start},
		{"import the company", true, c.importCompany},
		{"create the application from the catalogue", true, c.create},
		{"sign-on, first half, and download the certificate", true, c.firstHalf},
		{"sign-on is refused while it is incomplete", false, c.incomplete},
		{"at the rehearsal Atlassian: paste three values, get two", true, c.atAtlassian},
		{"sign-on, second half, activate", true, c.secondHalf},
		{"a person without a bound group is refused", false, c.refused},
		{"bind groups", true, c.bind},
		{"sign-on from Atlassian lands signed in with the right attributes", false, c.fromAtlassian},
		{"the account was created just in time", false, c.justInTime},
		{"sign-on from the portal with RelayState", false, c.fromPortal},
		{"an existing session serves without a new login", false, c.again},
		{"test the provisioning connection, writing nothing", true, c.test},
		{"see the plan", true, c.plan},
		{"activate provisioning: people and groups appear exactly", true, c.activate},
		{"an existing account is adopted, not doubled", false, c.adopted},
		{"a changed title is one PATCH of that attribute", false, c.title},
		{"change to first request", false, c.latency},
		{"a group rename is refused by the target and shown as blocked", false, c.rename},
		{"suspend: session ended, sign-on refused, inactive there", false, c.suspend},
		{"reactivate: back with what they are entitled to", false, c.reactivate},
		{"unbind a group: members deactivated, remote group left", false, c.unbind},
		{"a wrong token stops sending and says so; a new one resumes", false, c.token},
		{"target down for a while, then everything arrives", false, c.down},
		{"kill -9 in the middle, restart: nothing lost or doubled", true, c.crash},
		{"import accounts that exist there", false, c.importAccounts},
		{"malformed, oversized and forged requests get a page, not a redirect", false, c.badRequests},
		{"renew the certificate by a guided swap", false, c.renew},
		{"deactivate provisioning: the target stays untouched", false, c.deactivate},
		{"the events tell the story", false, c.events},
		{"delete the application", false, c.remove},
	}
}

// child runs the program with arguments and returns its output.
func (c *checker) command(ctx context.Context, input string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.exe, append(args, c.flags()...)...) //nolint:gosec // this very program
	cmd.Stdin = strings.NewReader(input)
	var out, errw bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errw
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", args[0], err, strings.TrimSpace(errw.String()))
	}
	return out.String(), nil
}

func (c *checker) flags() []string {
	f := []string{"--data=" + c.folder, "--listen=" + c.addr, "--outbound-allow=127.0.0.0/8,::1", "--outbound-timeout=3s"}
	if c.cfg.Postgres != "" {
		f = append(f, "--postgres="+c.cfg.Postgres.Reveal())
	}
	return f
}

func (c *checker) setup(ctx context.Context) (string, error) {
	l, err := listen(ctx, "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	c.addr = l.Addr().String()
	c.base = "http://" + c.addr
	if err := l.Close(); err != nil {
		return "", err
	}
	owner := company()[0]
	out, err := c.command(ctx, companyPassword+"\n", "setup", "--email="+owner.email(), "--username="+owner.login(),
		"--given-name="+owner.given, "--family-name="+owner.family, "--organization="+companyName, "--api-key=check", "--output=json")
	if err != nil {
		return "", err
	}
	var made struct{ Email, APIKey string }
	if err := json.Unmarshal([]byte(out), &made); err != nil || made.APIKey == "" {
		return "", fmt.Errorf("no API key in %q", out)
	}
	c.key = made.APIKey
	return "owner " + made.Email + " and an API key", nil
}

func (c *checker) start(ctx context.Context) (string, error) {
	begin := time.Now()
	c.proc = exec.Command(c.exe, append([]string{"serve"}, c.flags()...)...) //nolint:gosec,noctx // this very program; it outlives the step
	c.proc.Stdout, c.proc.Stderr = c.log, c.log
	if err := c.proc.Start(); err != nil {
		return "", err
	}
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.addr)
		if err == nil {
			_ = conn.Close()
			break
		}
		if ctx.Err() != nil || time.Since(begin) > 20*time.Second {
			return "", fmt.Errorf("it doesn't answer: %w", err)
		}
		time.Sleep(2 * time.Millisecond)
	}
	res, err := http.Get(c.base + "/readyz") //nolint:noctx // our own address
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("it is not ready: %s", res.Status)
	}
	return time.Since(begin).Round(time.Millisecond).String(), nil
}

// kill ends the program as a power cut would.
func (c *checker) kill() {
	if c.proc != nil && c.proc.Process != nil {
		_ = c.proc.Process.Signal(syscall.SIGKILL)
		_ = c.proc.Wait()
		c.proc = nil
	}
}

// api calls the REST API. in is sent as JSON, or as it is when it is a string.
func (c *checker) api(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	kind := "application/json"
	switch x := in.(type) {
	case nil:
	case string:
		body, kind = strings.NewReader(x), "application/jsonl"
	default:
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
		if method == http.MethodPatch {
			kind = "application/merge-patch+json"
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/api/v1"+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	if body != nil {
		req.Header.Set("Content-Type", kind)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, strings.TrimSpace(string(b)))
	}
	if out == nil || len(b) == 0 {
		return nil
	}
	return json.Unmarshal(b, out)
}

type object map[string]any

func (o object) text(path string) string {
	var v any = map[string]any(o)
	for p := range strings.SplitSeq(path, ".") {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	s, _ := v.(string)
	return s
}

func (o object) number(path string) int {
	var v any = map[string]any(o)
	for p := range strings.SplitSeq(path, ".") {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	f, _ := v.(float64)
	return int(f)
}

type items struct{ Items []object }

func (c *checker) importCompany(ctx context.Context) (string, error) {
	var rows strings.Builder
	for _, p := range company()[1:] {
		b, err := json.Marshal(object{
			"username": p.login(), "email": p.email(), "givenName": p.given, "familyName": p.family, "displayName": p.given + " " + p.family,
			"title": p.title, "department": p.department, "company": companyName, "timezone": "Europe/Amsterdam", "groups": p.groups,
		})
		if err != nil {
			return "", err
		}
		rows.Write(b)
		rows.WriteByte('\n')
	}
	rows.WriteString(`{"username":"broken","email":"not an address"}` + "\n")
	const query = "/users/import?state=active&createGroups=true&format=jsonl"
	var dry, report object
	if err := c.api(ctx, http.MethodPost, query+"&dryRun=true", rows.String(), &dry); err != nil {
		return "", err
	}
	if err := c.api(ctx, http.MethodPost, query, rows.String(), &report); err != nil {
		return "", err
	}
	for _, r := range []object{dry, report} {
		if r.number("created") != 39 || r.number("failed") != 1 {
			return "", fmt.Errorf("the report is %v", r)
		}
	}
	var list items
	if err := c.api(ctx, http.MethodGet, "/users?limit=100", nil, &list); err != nil {
		return "", err
	}
	for _, u := range list.Items {
		c.people[u.text("email")] = u.text("id")
	}
	list.Items = nil
	if err := c.api(ctx, http.MethodGet, "/groups?limit=100", nil, &list); err != nil {
		return "", err
	}
	for _, g := range list.Items {
		c.groups[g.text("name")] = g.text("id")
	}
	if len(c.people) != 40 || len(c.groups) != 6 {
		return "", fmt.Errorf("%d people and %d groups", len(c.people), len(c.groups))
	}
	for _, email := range []string{checkEngineer, checkOutsider} {
		if err := c.api(ctx, http.MethodPut, "/users/"+c.people[email]+"/password", object{"password": companyPassword}, nil); err != nil {
			return "", err
		}
	}
	return "39 created as the dry run said, 1 bad row reported, 6 groups", nil
}

func (c *checker) create(ctx context.Context) (string, error) {
	var found items
	if err := c.api(ctx, http.MethodGet, "/connectors?text=jira", nil, &found); err != nil {
		return "", err
	}
	if len(found.Items) == 0 || found.Items[0].text("key") != "atlassian-cloud" {
		return "", fmt.Errorf("searching jira finds %v", found.Items)
	}
	var a object
	if err := c.api(ctx, http.MethodPost, "/applications", object{"connector": "atlassian-cloud", "label": "Atlassian Cloud", "description": "Jira and Confluence"}, &a); err != nil {
		return "", err
	}
	c.app, c.ssoURL = "/applications/"+a.text("id"), a.text("urls.sso")
	if !strings.HasSuffix(c.ssoURL, "/saml2/atlassiancloud") {
		return "", fmt.Errorf("the IdP URL is %q", c.ssoURL)
	}
	return "found by “jira”, IdP URL " + c.ssoURL, nil
}

func (c *checker) firstHalf(ctx context.Context) (string, error) {
	c.idpEntity = companyDomain
	var a object
	if err := c.api(ctx, http.MethodPatch, c.app+"/saml", object{"idpEntityId": c.idpEntity, "defaultRelayState": c.site.Organization().SiteURL}, &a); err != nil {
		return "", err
	}
	if got := a.text("saml.status"); got != "incomplete" {
		return "", fmt.Errorf("the status is %q", got)
	}
	pem, err := c.fetch(ctx, c.ssoURL+"/certificate.pem")
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(pem, "-----BEGIN CERTIFICATE-----\n") {
		return "", fmt.Errorf("certificate.pem begins %.40q", pem)
	}
	metadata, err := c.fetch(ctx, c.ssoURL+"/metadata")
	if err != nil {
		return "", err
	}
	if !strings.Contains(metadata, `entityID="`+companyDomain+`"`) {
		return "", errors.New("the metadata has another entity ID")
	}
	return "entity ID " + companyDomain + ", certificate.pem, metadata", nil
}

func (c *checker) fetch(ctx context.Context, address string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", address, res.Status)
	}
	return string(b), err
}

func (c *checker) incomplete(ctx context.Context) (string, error) {
	if err := c.api(ctx, http.MethodPost, c.app+"/saml/activate", nil, nil); err == nil {
		return "", errors.New("it could be activated")
	}
	v, err := newVisitor()
	if err != nil {
		return "", err
	}
	if err := v.open(ctx, c.ssoURL+"?SAMLRequest=x"); err != nil {
		return "", err
	}
	if v.status < 400 || v.url.Host != c.addr {
		return "", fmt.Errorf("it answers %s", v.text())
	}
	return "activation lists what is missing; the page says so", nil
}

func (c *checker) atAtlassian(ctx context.Context) (string, error) {
	var err error
	if c.dir, err = seedSite(c.site); err != nil {
		return "", err
	}
	pem, err := c.fetch(ctx, c.ssoURL+"/certificate.pem")
	if err != nil {
		return "", err
	}
	c.sp, err = c.site.SetSAML(c.dir, rehearsal.IdPSettings{EntityID: c.idpEntity, SSOURL: c.ssoURL, CertificatePEM: pem})
	if err != nil {
		return "", err
	}
	return "ACS " + c.sp.ACSURL, enforceSite(c.site, c.dir)
}

func (c *checker) secondHalf(ctx context.Context) (string, error) {
	acs := []object{{"index": 0, "url": c.sp.ACSURL, "default": true}}
	if err := c.api(ctx, http.MethodPatch, c.app+"/saml", object{"spEntityId": c.sp.SPEntityID, "acs": acs}, nil); err != nil {
		return "", err
	}
	var a object
	if err := c.api(ctx, http.MethodPost, c.app+"/saml/activate", nil, &a); err != nil {
		return "", err
	}
	if got := a.text("saml.status"); got != "active" {
		return "", fmt.Errorf("the status is %q", got)
	}
	return "active", nil
}

// begin starts sign-on at the stand-in and signs in with us.
func (c *checker) begin(ctx context.Context, email string) (*visitor, error) {
	v, err := newVisitor()
	if err != nil {
		return nil, err
	}
	if err := v.open(ctx, c.site.Organization().LoginURL+"?email="+url.QueryEscape(email)); err != nil {
		return nil, err
	}
	if v.url.Host != c.addr {
		return nil, fmt.Errorf("Atlassian didn't send the browser to us: %s", v.text())
	}
	if err := v.signIn(ctx, email, companyPassword); err != nil {
		return nil, err
	}
	return v, v.post(ctx)
}

func (c *checker) refused(ctx context.Context) (string, error) {
	v, err := c.begin(ctx, checkEngineer)
	if err != nil {
		return "", err
	}
	if v.url.Host != c.addr || v.status != http.StatusForbidden || v.response != "" {
		return "", fmt.Errorf("without a binding: %s", v.text())
	}
	return "403 with a page that says why", nil
}

func (c *checker) bind(ctx context.Context) (string, error) {
	var names []string
	for _, g := range companyGroups {
		if !g.bound {
			continue
		}
		if err := c.api(ctx, http.MethodPut, c.app+"/groups/"+c.groups[g.name], nil, nil); err != nil {
			return "", err
		}
		names = append(names, g.name)
	}
	v, err := c.begin(ctx, checkOutsider)
	if err != nil {
		return "", err
	}
	if v.status != http.StatusForbidden {
		return "", fmt.Errorf("somebody of Finance gets in: %s", v.text())
	}
	return strings.Join(names, ", ") + "; Finance stays out", nil
}

func (c *checker) fromAtlassian(ctx context.Context) (string, error) {
	v, err := c.begin(ctx, checkEngineer)
	if err != nil {
		return "", err
	}
	if v.url.Host == c.addr || v.status != http.StatusOK {
		return "", fmt.Errorf("it ends %s", v.text())
	}
	c.hiro = v
	ins := c.site.SignIns()
	if len(ins) == 0 {
		return "", errors.New("no response arrived")
	}
	in := newest(ins)
	if !in.OK || in.NameID != checkEngineer || in.Signed != "assertion" || in.InResponseTo == "" {
		return "", fmt.Errorf("%+v", in)
	}
	const claims = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/"
	for name, want := range map[string]string{"givenname": "Hiro", "surname": "Tanaka", "name": c.people[checkEngineer]} {
		i := slices.IndexFunc(in.Attributes, func(a rehearsal.Attribute) bool { return a.Name == claims+name })
		if i < 0 || len(in.Attributes[i].Values) != 1 || in.Attributes[i].Values[0] != want {
			return "", fmt.Errorf("attribute %s: %+v", name, in.Attributes)
		}
	}
	return "NameID " + in.NameID + ", given name, surname and immutable id; signature verified there", nil
}

func newest(ins []rehearsal.SignIn) rehearsal.SignIn {
	return slices.MaxFunc(ins, func(a, b rehearsal.SignIn) int { return int(a.Number - b.Number) })
}

func (c *checker) justInTime(context.Context) (string, error) {
	a, err := c.site.Account(checkEngineer)
	if err != nil {
		return "", err
	}
	if a.Source != rehearsal.SourceJIT || !a.Active || a.GivenName != "Hiro" || a.ImmutableID != c.people[checkEngineer] {
		return "", fmt.Errorf("%+v", a)
	}
	return "account " + a.ID, nil
}

func (c *checker) fromPortal(ctx context.Context) (string, error) {
	if c.hiro == nil {
		return "", errors.New("there is no session")
	}
	if err := c.hiro.open(ctx, c.base+"/"); err != nil {
		return "", err
	}
	if !c.hiro.says("Atlassian Cloud") {
		return "", fmt.Errorf("no tile: %s", c.hiro.text())
	}
	if err := c.hiro.open(ctx, c.base+"/launch/"+strings.TrimPrefix(c.app, "/applications/")); err != nil {
		return "", err
	}
	if err := c.hiro.post(ctx); err != nil {
		return "", err
	}
	in := newest(c.site.SignIns())
	if !in.OK || !in.IdPInitiated || in.RelayState != c.site.Organization().SiteURL || c.hiro.url.String() != c.site.Organization().SiteURL {
		return "", fmt.Errorf("%+v, ends at %s", in, c.hiro.url)
	}
	return "tile, response, site " + c.hiro.url.String(), nil
}

func (c *checker) again(ctx context.Context) (string, error) {
	if c.hiro == nil {
		return "", errors.New("there is no session")
	}
	before := len(c.site.SignIns())
	if err := c.site.SignOutEverywhere(checkEngineer); err != nil {
		return "", err
	}
	if err := c.hiro.open(ctx, c.site.Organization().LoginURL+"?email="+url.QueryEscape(checkEngineer)); err != nil {
		return "", err
	}
	if _, asks := c.hiro.form("password"); asks {
		return "", errors.New("it asks for the password again")
	}
	if err := c.hiro.post(ctx); err != nil {
		return "", err
	}
	if in := newest(c.site.SignIns()); len(c.site.SignIns()) != before+1 || !in.OK {
		return "", fmt.Errorf("%+v", in)
	}
	return "no password asked", nil
}

func (c *checker) test(ctx context.Context) (string, error) {
	var err error
	if c.prov, err = c.site.SetUpProvisioning(c.dir); err != nil {
		return "", err
	}
	// A record that an earlier integration left: it has to be adopted.
	if c.existing, err = c.record(ctx, c.prov.APIKey, strings.TrimSuffix(checkExisting, "@"+companyDomain), "Ines", "C."); err != nil {
		return "", err
	}
	c.mark = c.site.LastRequest()
	if err := c.api(ctx, http.MethodPatch, c.app+"/scim", object{"baseUrl": c.prov.BaseURL, "manageGroups": true, "ratePerSecond": 500, "burst": 100, "concurrency": 8}, nil); err != nil {
		return "", err
	}
	if err := c.api(ctx, http.MethodPut, c.app+"/scim/token", object{"token": c.prov.APIKey, "expiresAt": c.prov.ExpiresAt}, nil); err != nil {
		return "", err
	}
	var probe object
	if err := c.api(ctx, http.MethodPost, c.app+"/provisioning/test", nil, &probe); err != nil {
		return "", err
	}
	if ok, _ := probe["ok"].(bool); !ok {
		return "", fmt.Errorf("%v", probe)
	}
	if n := len(c.site.Requests(rehearsal.RequestFilter{After: c.mark, Writes: true})); n != 0 {
		return "", fmt.Errorf("the test wrote %d times", n)
	}
	return fmt.Sprintf("%d reads, 0 writes", len(c.site.Requests(rehearsal.RequestFilter{After: c.mark}))), nil
}

// entitled are the people of the bound groups. The owner, who came with the set-up, is in none.
func (c *checker) entitled(except ...string) (emails []string) {
	for _, p := range company()[1:] {
		for _, g := range companyGroups {
			if g.bound && slices.Contains(p.groups, g.name) && !slices.Contains(except, g.name) {
				emails = append(emails, p.email())
				break
			}
		}
	}
	return emails
}

func (c *checker) plan(ctx context.Context) (string, error) {
	var p object
	if err := c.api(ctx, http.MethodGet, c.app+"/provisioning/plan", nil, &p); err != nil {
		return "", err
	}
	if got, want := p.number("counts.users.create")+p.number("counts.users.adopt"), len(c.entitled()); got != want || p.number("counts.groups.create") != 4 {
		return "", fmt.Errorf("%v, want %d users", p["counts"], want)
	}
	if n := len(c.site.Requests(rehearsal.RequestFilter{After: c.mark, Writes: true})); n != 0 {
		return "", fmt.Errorf("the plan wrote %d times", n)
	}
	if n := p.number("counts.users.adopt"); n != 1 {
		return "", fmt.Errorf("%d accounts to adopt, not 1", n)
	}
	return fmt.Sprintf("%d people and 4 groups to create, 1 account to adopt, %d members to add", p.number("counts.users.create"), p.number("counts.membersAdded")), nil
}

// eventually waits until ok says nil.
func (c *checker) eventually(ctx context.Context, most time.Duration, ok func() error) error {
	end := time.Now().Add(most)
	for {
		err := ok()
		if err == nil || time.Now().After(end) || ctx.Err() != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// exactly says nil when the stand-in holds just these active people and group members.
func (c *checker) exactly(active []string, groups map[string][]string) error {
	var got []string
	seen := map[string]bool{}
	for _, u := range c.site.Users(c.dir) {
		email := ""
		for _, e := range u.Emails {
			if e.Primary {
				email = e.Value
			}
		}
		if seen[email] {
			return fmt.Errorf("%s is there twice", email)
		}
		seen[email] = true
		if u.Active {
			got = append(got, email)
		}
	}
	if d := difference(append(slices.Clone(active), c.guests...), got); d != "" {
		return fmt.Errorf("active people: %s", d)
	}
	for name, want := range groups {
		g, err := c.site.Group(c.dir, name)
		if err != nil {
			return fmt.Errorf("group %s: %w", name, err)
		}
		if d := difference(want, g.Members); d != "" {
			return fmt.Errorf("group %s: %s", name, d)
		}
	}
	return nil
}

func difference(want, got []string) string {
	var out []string
	for _, w := range want {
		if !slices.Contains(got, w) {
			out = append(out, "missing "+w)
		}
	}
	for _, g := range got {
		if !slices.Contains(want, g) {
			out = append(out, "unexpected "+g)
		}
	}
	return strings.Join(out, ", ")
}

// members are the user names of a group's entitled members.
func (c *checker) members(group string, except ...string) (names []string) {
	for _, p := range company()[1:] {
		if slices.Contains(p.groups, group) && !slices.Contains(except, p.email()) {
			names = append(names, p.login())
		}
	}
	return names
}

func (c *checker) all() map[string][]string {
	out := map[string][]string{}
	for _, g := range companyGroups {
		if g.bound {
			out[g.name] = c.members(g.name)
		}
	}
	return out
}

func (c *checker) activate(ctx context.Context) (string, error) {
	if err := c.api(ctx, http.MethodPost, c.app+"/provisioning/activate", object{}, nil); err != nil {
		return "", err
	}
	if err := c.eventually(ctx, 30*time.Second, func() error { return c.exactly(c.entitled(), c.all()) }); err != nil {
		return "", err
	}
	if err := c.quiet(ctx); err != nil {
		return "", err
	}
	n := len(c.site.Requests(rehearsal.RequestFilter{After: c.mark, Writes: true}))
	return fmt.Sprintf("%d people, 4 groups, %d writes", len(c.entitled()), n), nil
}

// quiet waits until nothing is left to send.
func (c *checker) quiet(ctx context.Context) error {
	return c.eventually(ctx, 30*time.Second, func() error {
		var s object
		if err := c.api(ctx, http.MethodGet, c.app+"/provisioning", nil, &s); err != nil {
			return err
		}
		if n := s.number("waiting"); n > 0 {
			return fmt.Errorf("%d changes still wait: %s", n, s.text("sentence"))
		}
		return nil
	})
}

func (c *checker) adopted(context.Context) (string, error) {
	u, err := c.site.User(c.dir, checkExisting)
	if err != nil {
		return "", err
	}
	if u.ID != c.existing || u.ExternalID != c.people[checkExisting] || u.Name.FamilyName != "Carvalho" {
		return "", fmt.Errorf("record %s is now %+v", c.existing, u)
	}
	return "record " + u.ID + " is the same, now with our id and names", nil
}

// record makes a user record at the stand-in as another client would.
func (c *checker) record(ctx context.Context, key, name, given, family string) (string, error) {
	b, err := json.Marshal(object{
		"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:User"}, "userName": name, "name": object{"givenName": given, "familyName": family},
		"emails": []object{{"value": name + "@" + companyDomain, "type": "work", "primary": true}},
	})
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.prov.BaseURL+"/Users", bytes.NewReader(b))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/scim+json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	var made object
	if err := json.NewDecoder(res.Body).Decode(&made); err != nil || res.StatusCode != http.StatusCreated {
		return "", fmt.Errorf("the stand-in answers %s (%w)", res.Status, err)
	}
	return made.text("id"), nil
}

func (c *checker) title(ctx context.Context) (string, error) {
	id := c.people[checkEngineer]
	if err := c.api(ctx, http.MethodPatch, "/users/"+id, object{"title": "Principal Engineer"}, nil); err != nil {
		return "", err
	}
	if err := c.eventually(ctx, 10*time.Second, func() error {
		u, err := c.site.User(c.dir, checkEngineer)
		if err == nil && u.Title != "Principal Engineer" {
			err = fmt.Errorf("the title there is %q", u.Title)
		}
		return err
	}); err != nil {
		return "", err
	}
	if err := c.quiet(ctx); err != nil {
		return "", err
	}
	writes := c.site.Requests(rehearsal.RequestFilter{After: c.mark, Writes: true})
	if len(writes) != 1 || writes[0].Method != http.MethodPatch || strings.Count(writes[0].Body, `"path"`) != 1 || !strings.Contains(writes[0].Body, `"title"`) {
		return "", fmt.Errorf("%d writes: %+v", len(writes), writes)
	}
	return writes[0].Body, nil
}

func (c *checker) latency(ctx context.Context) (string, error) {
	var took []time.Duration
	for i := range 11 {
		mark := c.site.LastRequest()
		begin := time.Now()
		if err := c.api(ctx, http.MethodPatch, "/users/"+c.people[checkEngineer], object{"title": fmt.Sprintf("Engineer %d", i)}, nil); err != nil {
			return "", err
		}
		if err := c.eventually(ctx, 10*time.Second, func() error {
			if len(c.site.Requests(rehearsal.RequestFilter{After: mark})) == 0 {
				return errors.New("no request")
			}
			return nil
		}); err != nil {
			return "", err
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	if took[5] > time.Second {
		return "", fmt.Errorf("the median is %s", took[5])
	}
	return fmt.Sprintf("median %s, slowest %s of %d", took[5].Round(time.Millisecond), took[10].Round(time.Millisecond), len(took)), nil
}

func (c *checker) rename(ctx context.Context) (string, error) {
	id := c.groups["Design"]
	if err := c.api(ctx, http.MethodPatch, "/groups/"+id, object{"name": "Product Design"}, nil); err != nil {
		return "", err
	}
	reason := ""
	err := c.eventually(ctx, 10*time.Second, func() error {
		var list items
		if err := c.api(ctx, http.MethodGet, c.app+"/provisioning/links?kind=group&status=blocked", nil, &list); err != nil {
			return err
		}
		if len(list.Items) != 1 {
			return fmt.Errorf("%d groups are blocked", len(list.Items))
		}
		reason = list.Items[0].text("reason")
		return nil
	})
	if err != nil {
		return "", err
	}
	if err := c.exactly(c.entitled(), c.all()); err != nil {
		return "", err
	}
	if err := c.api(ctx, http.MethodPatch, "/groups/"+id, object{"name": "Design"}, nil); err != nil {
		return "", err
	}
	if err := c.quiet(ctx); err != nil {
		return "", err
	}
	return reason, nil
}

func (c *checker) suspend(ctx context.Context) (string, error) {
	if err := c.api(ctx, http.MethodPost, "/users/"+c.people[checkEngineer]+"/suspend", nil, nil); err != nil {
		return "", err
	}
	if c.hiro != nil {
		if err := c.hiro.open(ctx, c.base+"/"); err != nil {
			return "", err
		}
		if !strings.HasPrefix(c.hiro.url.Path, "/signin") {
			return "", fmt.Errorf("the session lives on: %s", c.hiro.text())
		}
		if err := c.hiro.open(ctx, c.base+"/launch/"+strings.TrimPrefix(c.app, "/applications/")); err != nil {
			return "", err
		}
		if _, ok := c.hiro.form("SAMLResponse"); ok {
			return "", errors.New("a response was issued to a suspended person")
		}
	}
	if v, err := c.begin(ctx, checkEngineer); err == nil && v.response != "" {
		return "", errors.New("a suspended person signed in")
	}
	active := slices.DeleteFunc(c.entitled(), func(e string) bool { return e == checkEngineer })
	groups := c.all()
	groups["Engineering"] = c.members("Engineering", checkEngineer)
	if err := c.eventually(ctx, 10*time.Second, func() error { return c.exactly(active, groups) }); err != nil {
		return "", err
	}
	a, err := c.site.Account(checkEngineer)
	if err != nil || a.Active {
		return "", fmt.Errorf("the account is active: %w", err)
	}
	return "out of the group, then active: false", nil
}

func (c *checker) reactivate(ctx context.Context) (string, error) {
	if err := c.api(ctx, http.MethodPost, "/users/"+c.people[checkEngineer]+"/unsuspend", nil, nil); err != nil {
		return "", err
	}
	if err := c.eventually(ctx, 10*time.Second, func() error { return c.exactly(c.entitled(), c.all()) }); err != nil {
		return "", err
	}
	v, err := c.begin(ctx, checkEngineer)
	if err != nil {
		return "", err
	}
	if v.url.Host == c.addr {
		return "", fmt.Errorf("sign-on: %s", v.text())
	}
	return "active, member again, signs on again", c.quiet(ctx)
}

func (c *checker) unbind(ctx context.Context) (string, error) {
	group := c.app + "/groups/" + c.groups["Support"]
	if err := c.api(ctx, http.MethodDelete, group, nil, nil); err == nil {
		return "", errors.New("people were deactivated by a change whose plan nobody approved")
	}
	n, err := c.approved(ctx, http.MethodDelete, group, object{"unbind": []string{c.groups["Support"]}})
	if err != nil {
		return "", err
	}
	left := c.all() // the remote group stays as it is, and so do its members
	if err := c.eventually(ctx, 10*time.Second, func() error { return c.exactly(c.entitled("Support"), left) }); err != nil {
		return "", err
	}
	if want := len(c.entitled()) - len(c.entitled("Support")); n != want {
		return "", fmt.Errorf("the plan said %d requests, there were to be %d", n, want)
	}
	// A plan made while the last of them still leave is stale a moment later: look again, as a person would.
	if err := c.eventually(ctx, 10*time.Second, func() error {
		_, err := c.approved(ctx, http.MethodPut, group, object{"bind": []string{c.groups["Support"]}})
		return err
	}); err != nil {
		return "", err
	}
	if err := c.eventually(ctx, 10*time.Second, func() error { return c.exactly(c.entitled(), c.all()) }); err != nil {
		return "", err
	}
	return fmt.Sprintf("planned first; %d people deactivated, then bound again and active", n), c.quiet(ctx)
}

// approved makes a change of what is provisioned by its plan, and returns how many requests the plan has.
func (c *checker) approved(ctx context.Context, method, path string, change object) (int, error) {
	var p struct {
		Hash   string `json:"hash"`
		Counts struct {
			Writes int `json:"writes"`
		} `json:"counts"`
	}
	if err := c.api(ctx, http.MethodPost, c.app+"/provisioning/plan", object{"change": change}, &p); err != nil {
		return 0, err
	}
	return p.Counts.Writes, c.api(ctx, method, path+"?planHash="+url.QueryEscape(p.Hash), nil, nil)
}

func (c *checker) token(ctx context.Context) (string, error) {
	fresh, err := c.site.RegenerateKey(c.dir)
	if err != nil {
		return "", err
	}
	id := c.people[checkExisting]
	if err := c.api(ctx, http.MethodPatch, "/users/"+id, object{"title": "Architect"}, nil); err != nil {
		return "", err
	}
	sentence := ""
	if err := c.eventually(ctx, 10*time.Second, func() error {
		var s object
		if err := c.api(ctx, http.MethodGet, c.app+"/provisioning", nil, &s); err != nil {
			return err
		}
		if s.text("state") != "stopped" {
			return fmt.Errorf("the state is %q", s.text("state"))
		}
		sentence = s.text("sentence")
		return nil
	}); err != nil {
		return "", err
	}
	if err := c.api(ctx, http.MethodPut, c.app+"/scim/token", object{"token": "wrong"}, nil); err == nil {
		return "", errors.New("a wrong token was taken")
	}
	if err := c.api(ctx, http.MethodPut, c.app+"/scim/token", object{"token": fresh.APIKey, "expiresAt": fresh.ExpiresAt}, nil); err != nil {
		return "", err
	}
	return sentence, c.eventually(ctx, 10*time.Second, func() error { return c.hasTitle(checkExisting, "Architect") })
}

func (c *checker) hasTitle(email, title string) error {
	u, err := c.site.User(c.dir, email)
	if err == nil && u.Title != title {
		err = fmt.Errorf("the title of %s there is %q", email, u.Title)
	}
	return err
}

// retitle changes the title of all entitled people.
func (c *checker) retitle(ctx context.Context, title string) error {
	for _, email := range c.entitled() {
		if err := c.api(ctx, http.MethodPatch, "/users/"+c.people[email], object{"title": title}, nil); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) allTitled(title string) error {
	for _, email := range c.entitled() {
		if err := c.hasTitle(email, title); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) down(ctx context.Context) (string, error) {
	c.site.SetDown(3 * time.Second)
	begin := time.Now()
	if err := c.retitle(ctx, "Sailor"); err != nil {
		return "", err
	}
	if err := c.eventually(ctx, 30*time.Second, func() error { return c.allTitled("Sailor") }); err != nil {
		return "", err
	}
	took := time.Since(begin)
	if took < 2*time.Second {
		return "", fmt.Errorf("it was not down: all arrived after %s", took)
	}
	return fmt.Sprintf("%d changes, all there %s after the outage began", len(c.entitled()), took.Round(100*time.Millisecond)), c.quiet(ctx)
}

func (c *checker) crash(ctx context.Context) (string, error) {
	// Slow answers make sure that requests are under way when the program dies.
	if _, err := c.site.InjectFault(rehearsal.Fault{Kind: rehearsal.FaultSlow, Delay: 150 * time.Millisecond, Times: 1000}); err != nil {
		return "", err
	}
	if err := c.retitle(ctx, "Navigator"); err != nil {
		return "", err
	}
	var late []string
	for i := range 6 {
		email := fmt.Sprintf("late%d@%s", i, companyDomain)
		var u object
		if err := c.api(ctx, http.MethodPost, "/users", object{
			"username": fmt.Sprintf("late%d", i), "email": email, "givenName": "Late", "familyName": fmt.Sprintf("Comer %d", i),
			"state": "active", "groups": []string{c.groups["Engineering"]},
		}, &u); err != nil {
			return "", err
		}
		c.people[email] = u.text("id")
		late = append(late, email)
	}
	time.Sleep(400 * time.Millisecond)
	sent := len(c.site.Requests(rehearsal.RequestFilter{After: c.mark, Writes: true}))
	c.kill()
	c.site.ClearFaults(0)
	begin := time.Now()
	if _, err := c.start(ctx); err != nil {
		return "", err
	}
	groups := c.all()
	for i := range late {
		groups["Engineering"] = append(groups["Engineering"], fmt.Sprintf("late%d", i))
	}
	if err := c.eventually(ctx, 30*time.Second, func() error {
		if err := c.exactly(append(c.entitled(), late...), groups); err != nil {
			return err
		}
		return c.allTitled("Navigator")
	}); err != nil {
		return "", err
	}
	detail := fmt.Sprintf("killed after %d writes, converged %s after the restart", sent, time.Since(begin).Round(100*time.Millisecond))
	for _, email := range late {
		if err := c.api(ctx, http.MethodDelete, "/users/"+c.people[email], nil, nil); err != nil {
			return "", err
		}
	}
	return detail, c.eventually(ctx, 15*time.Second, func() error { return c.exactly(c.entitled(), c.all()) })
}

func (c *checker) importAccounts(ctx context.Context) (string, error) {
	key, err := c.site.RegenerateKey(c.dir)
	if err != nil {
		return "", err
	}
	if err := c.api(ctx, http.MethodPut, c.app+"/scim/token", object{"token": key.APIKey}, nil); err != nil {
		return "", err
	}
	// Somebody of whom only the target knows.
	visitor, err := c.record(ctx, key.APIKey, "visitor", "Guest", "Visitor")
	if err != nil {
		return "", err
	}
	c.guests = append(c.guests, "visitor@"+companyDomain)
	var imp object
	if err := c.api(ctx, http.MethodPost, c.app+"/provisioning/imports", nil, &imp); err != nil {
		return "", err
	}
	path := c.app + "/provisioning/imports/" + imp.text("id")
	if err := c.eventually(ctx, 15*time.Second, func() error {
		if err := c.api(ctx, http.MethodGet, path, nil, &imp); err != nil {
			return err
		}
		if imp.text("state") != "listed" {
			return fmt.Errorf("the listing is %v", imp)
		}
		return nil
	}); err != nil {
		return "", err
	}
	if imp.number("new") != 1 {
		return "", fmt.Errorf("%v", imp)
	}
	for i, want := range []int{1, 0} {
		var report object
		choice := object{"act": "create", "remoteIds": []string{visitor}}
		if err := c.api(ctx, http.MethodPost, path+"/jobs", choice, &report); err != nil {
			return "", err
		}
		job := path + "/jobs/" + report.text("id")
		if err := c.eventually(ctx, 15*time.Second, func() error {
			if err := c.api(ctx, http.MethodGet, job, nil, &report); err != nil {
				return err
			}
			if report.text("state") != "done" {
				return fmt.Errorf("the import is %v", report)
			}
			return nil
		}); err != nil {
			return "", err
		}
		if report.number("created") != want {
			return "", fmt.Errorf("run %d: %v", i+1, report)
		}
	}
	return fmt.Sprintf("1 new, %d matched; a second run creates nobody", imp.number("matched")), nil
}

func (c *checker) badRequests(ctx context.Context) (string, error) {
	v, err := newVisitor()
	if err != nil {
		return "", err
	}
	cases := map[string]string{
		"malformed":           c.ssoURL + "?SAMLRequest=%21%21%21",
		"oversized":           c.ssoURL + "?SAMLRequest=" + strings.Repeat("A", 200_000),
		"unknown application": c.base + "/saml2/nobody?SAMLRequest=x",
		"twice":               c.ssoURL + "?SAMLRequest=a&SAMLRequest=b",
	}
	for name, address := range cases {
		if err := v.open(ctx, address); err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		if v.status < 400 || v.status >= 500 || v.url.Host != c.addr {
			return "", fmt.Errorf("%s: %s", name, v.text())
		}
	}
	return fmt.Sprintf("%d kinds, each a 4xx page of ours", len(cases)), nil
}

func (c *checker) renew(ctx context.Context) (string, error) {
	if err := c.api(ctx, http.MethodPost, c.app+"/certificates", nil, nil); err != nil {
		return "", err
	}
	var next object
	if err := c.api(ctx, http.MethodPost, c.app+"/certificates/switch", nil, &next); err != nil {
		return "", err
	}
	if v, err := c.begin(ctx, checkEngineer); err == nil && v.url.Host != c.addr && v.says("Hiro") && !strings.Contains(v.url.Path, "error") {
		return "", errors.New("Atlassian took a certificate that it doesn't know")
	}
	if _, err := c.site.SetSAML(c.dir, rehearsal.IdPSettings{EntityID: c.idpEntity, SSOURL: c.ssoURL, CertificatePEM: next.text("pem")}); err != nil {
		return "", err
	}
	v, err := c.begin(ctx, checkEngineer)
	if err != nil {
		return "", err
	}
	if in := newest(c.site.SignIns()); !in.OK {
		return "", fmt.Errorf("after the swap: %+v at %s", in.Description, v.url)
	}
	return "refused with the old certificate there, accepted with the new", nil
}

func (c *checker) deactivate(ctx context.Context) (string, error) {
	if err := c.quiet(ctx); err != nil {
		return "", err
	}
	if err := c.api(ctx, http.MethodPost, c.app+"/provisioning/deactivate", nil, nil); err != nil {
		return "", err
	}
	mark := c.site.LastRequest()
	if err := c.retitle(ctx, "Ghost"); err != nil {
		return "", err
	}
	time.Sleep(700 * time.Millisecond)
	if n := len(c.site.Requests(rehearsal.RequestFilter{After: mark})); n != 0 {
		return "", fmt.Errorf("%d requests after deactivation", n)
	}
	return "no request, accounts as they were", c.exactly(c.entitled(), c.all())
}

func (c *checker) events(ctx context.Context) (string, error) {
	counts := map[string]int{}
	for _, kind := range []string{
		"application_create", "association_change", "sso_auth", "integration_activate", "integration_deactivate", "integration_stop",
		"user_create_provision", "user_update_provision", "user_deprovision", "group_create_provision", "group_update_provision",
		"user_suspended", "user_unsuspended", "user_login_attempt", "user_import", "certificate_change",
	} {
		var list items
		if err := c.api(ctx, http.MethodGet, "/events?limit=1000&type="+kind, nil, &list); err != nil {
			return "", err
		}
		if len(list.Items) == 0 {
			return "", fmt.Errorf("there is no event %s", kind)
		}
		counts[kind] = len(list.Items)
	}
	var list items
	if err := c.api(ctx, http.MethodGet, "/events?limit=1000&type=user_update_provision", nil, &list); err != nil {
		return "", err
	}
	for _, e := range list.Items {
		if e.text("message") == "" {
			return "", fmt.Errorf("an event without a sentence: %v", e)
		}
	}
	raw, err := json.Marshal(list)
	if err != nil {
		return "", err
	}
	if strings.Contains(string(raw), c.prov.APIKey) {
		return "", errors.New("an event holds the token")
	}
	return fmt.Sprintf("%d kinds, %d sign-ons, %d updates sent", len(counts), counts["sso_auth"], counts["user_update_provision"]), nil
}

func (c *checker) remove(ctx context.Context) (string, error) {
	if err := c.api(ctx, http.MethodDelete, c.app+"?label=wrong", nil, nil); err == nil {
		return "", errors.New("it was deleted without the typed label")
	}
	if err := c.api(ctx, http.MethodDelete, c.app+"?label="+url.QueryEscape("Atlassian Cloud"), nil, nil); err != nil {
		return "", err
	}
	return "remote accounts stay as they are", c.exactly(c.entitled(), c.all())
}
