package main

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/keys/libcrypto"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/server"
)

// signOn is an installation with people who sign on at two applications.
type signOn struct {
	*seeded
	*installation
	// The applications: one gets the assertion signed, the other the response too.
	one, both provider
	// people can sign in; size is how many there are in all.
	people []string
	size   int
}

// grow fills the directory up to so many people.
func (s *signOn) grow(ctx context.Context, people int) error {
	if people <= s.size {
		return nil
	}
	h, err := s.house(ctx)
	if err != nil {
		return err
	}
	if err := seedPeople(ctx, h, s.seeded, s.size, people); err != nil {
		return errors.Join(err, h.Close())
	}
	s.size = people
	return h.Close()
}

// provider is a service provider and what it knows of us.
type provider struct {
	*samltest.SP
	sso, entityID string
	certificate   *x509.Certificate
}

func furnishSignOn(ctx context.Context, people, withPassword int) (*signOn, error) {
	s := &signOn{size: people}
	var err error
	s.installation, err = furnish(ctx, func(ctx context.Context, h *server.House) (err error) {
		if s.seeded, err = seedOwner(ctx, h); err != nil {
			return err
		}
		if err := seedPeople(ctx, h, s.seeded, 0, people); err != nil {
			return err
		}
		var groups []directory.GroupID
		for i := range 10 {
			g, err := h.Directory.CreateGroup(ctx, s.by, directory.NewGroup{GroupAttributes: directory.GroupAttributes{Name: fmt.Sprintf("Role %d of the company", i)}})
			if err != nil {
				return err
			}
			groups = append(groups, g.ID)
		}
		for i := range withPassword {
			u, err := h.Directory.UserByLogin(ctx, s.by, login(i))
			if err != nil {
				return err
			}
			if err := h.Authn.SetPassword(ctx, s.by, u.ID, keys.Secret(password), false); err != nil {
				return err
			}
			for _, g := range groups {
				if _, err := h.Directory.AddMembers(ctx, s.by, g, []directory.UserID{u.ID}); err != nil {
					return err
				}
			}
			s.people = append(s.people, u.Email)
		}
		if s.one, err = addProvider(ctx, h, s.seeded, "One signature", false, groups); err != nil {
			return err
		}
		s.both, err = addProvider(ctx, h, s.seeded, "Two signatures", true, groups)
		return err
	})
	return s, err
}

// addProvider makes an application that gets six attributes and the groups.
func addProvider(ctx context.Context, h *server.House, s *seeded, label string, both bool, groups []directory.GroupID) (provider, error) {
	var p provider
	a, err := h.Apps.Create(ctx, s.by, app.NewApplication{Connector: "custom-saml", Attributes: app.Attributes{Label: label}})
	if err != nil {
		return p, err
	}
	on := true
	host := strings.ReplaceAll(strings.ToLower(label), " ", "-") + ".example"
	p.SP = samltest.NewSP("https://"+host+"/saml/metadata", "https://"+host+"/saml/acs")
	if a, err = h.Apps.SaveSAML(ctx, s.by, a.ID, func(c *app.SAMLSettings) error {
		c.SPEntityID, c.ACS = p.EntityID, []app.ACS{{URL: p.ACS, Default: true}}
		c.SignAssertion, c.SignResponse = true, both
		c.Mapping.Rows = []catalog.RowOverride{
			{Target: "groups", Enabled: &on},
			{Target: "department", Source: &catalog.Source{Attribute: "department"}},
			{Target: "title", Source: &catalog.Source{Attribute: "title"}},
		}
		return nil
	}); err != nil {
		return p, err
	}
	if a, err = h.Apps.ActivateSAML(ctx, s.by, a.ID); err != nil {
		return p, err
	}
	for _, g := range groups {
		if err := h.Apps.Bind(ctx, s.by, a.ID, g); err != nil {
			return p, err
		}
	}
	pairs, err := h.Apps.Certificates(ctx, s.by, a.ID)
	if err != nil {
		return p, err
	}
	p.sso, p.entityID, p.certificate = h.Apps.URLs(a).SSO, a.SAML.IDPEntityID, pairs[0].Certificate
	return p, nil
}

// keeping keeps as many connections as there are requests at once: opening them isn't what is measured.
var keeping = &http.Transport{MaxIdleConnsPerHost: 512, DisableCompression: true}

// browser is a person's browser that keeps cookies. It follows our redirects, as browsers do.
func browser() (*http.Client, error) {
	jar, err := cookiejar.New(nil)
	return &http.Client{Jar: jar, Timeout: time.Minute, Transport: keeping}, err
}

// signIn gives name and password at the form, and returns the page behind it.
func signIn(ctx context.Context, c *http.Client, base, flow, email string) (*http.Response, error) {
	form := url.Values{"login": {email}, "password": {password}}
	if flow != "" {
		form.Set("flow", flow)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/signin", strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", base)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	return c.Do(req)
}

// request is an AuthnRequest as an address of ours.
func (p *provider) request() (id, address string) {
	r := p.Request(p.sso, time.Now())
	return r.ID, p.sso + "?" + samltest.RedirectQuery(r.XML(), "")
}

// fetch opens an address and returns the page.
func fetch(ctx context.Context, c *http.Client, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	page, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: status %d", address, resp.StatusCode)
	}
	return page, err
}

// check has a page judged as the service provider does: by a library that didn't write it.
func (p *provider) check(page []byte, id, email string, both bool) error {
	action, fields, err := samltest.AutoForm(strings.NewReader(string(page)))
	if err != nil {
		return err
	}
	if action != p.ACS {
		return fmt.Errorf("the form goes to %s", action)
	}
	got, err := p.Receive(fields.Get("SAMLResponse"), p.entityID, p.certificate, id, time.Now())
	if err != nil {
		return err
	}
	groups := len(got.Attributes["groups"])
	switch {
	case !got.AssertionSigned || got.ResponseSigned != both:
		return fmt.Errorf("signed: assertion %v, response %v", got.AssertionSigned, got.ResponseSigned)
	case got.NameID != email:
		return fmt.Errorf("the NameID is %q", got.NameID)
	case groups != 10 || len(got.Attributes) != 7:
		return fmt.Errorf("%d attributes, %d groups", len(got.Attributes), groups)
	}
	return nil
}

// deflaters make the queries of requests, which are all different, at little cost to the machine that is measured.
var deflaters = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, flate.BestSpeed)
	if err != nil {
		panic(err)
	}
	return w
}}

// address is request without waste.
func (p *provider) address() string {
	var b bytes.Buffer
	w := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(w)
	w.Reset(&b)
	_, err := io.WriteString(w, p.Request(p.sso, time.Now()).XML())
	if err = errors.Join(err, w.Close()); err != nil {
		panic(err) // to a buffer
	}
	return p.sso + "?SAMLRequest=" + url.QueryEscape(base64.StdEncoding.EncodeToString(b.Bytes()))
}

// kinds are the two kinds of response.
var kinds = []string{"(a) assertion signed", "(b) both signed"}

// looped is the result of a closed loop.
type looped struct {
	n    int
	took time.Duration
	// cpu is the server's processor time for one response, in the least disturbed second.
	cpu  time.Duration
	each []time.Duration
}

func (l looped) rate() float64 { return perSecond(l.n, l.took) }

func (l looped) String() string {
	return fmt.Sprintf("%.0f/s, CPU %s, p50 %s, p99 %s", l.rate(), ms(l.cpu), ms(quantile(l.each, .5)), ms(quantile(l.each, .99)))
}

// closedLoop has so many clients open the provider's requests one after the other.
func closedLoop(ctx context.Context, p *process, sp *provider, people []*http.Client, n int, d time.Duration) (looped, error) {
	var mu sync.Mutex
	var out looped
	var failed error
	var wg sync.WaitGroup
	cost, begin := p.follow(), time.Now()
	for i := range n {
		c := people[i%len(people)]
		wg.Go(func() {
			var each []time.Duration
			for time.Since(begin) < d && ctx.Err() == nil {
				address := sp.address()
				sent := time.Now()
				page, err := fetch(ctx, c, address)
				if err == nil && !bytes.Contains(page, []byte("SAMLResponse")) {
					err = errors.New("a page without SAMLResponse")
				}
				if err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
					return
				}
				each = append(each, time.Since(sent))
				cost.unit()
			}
			mu.Lock()
			out.each = append(out.each, each...)
			mu.Unlock()
		})
	}
	wg.Wait()
	out.n, out.took, out.cpu = len(out.each), time.Since(begin), cost.least()
	return out, failed
}

// openLoop sends at a fixed rate, whatever the answers do, and measures from the moment at which
// each request was due.
func openLoop(ctx context.Context, sp *provider, people []*http.Client, rate int, d time.Duration) ([]time.Duration, error) {
	var mu sync.Mutex
	var each []time.Duration
	var failed error
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range int(d.Seconds() * float64(rate)) {
		due := begin.Add(time.Duration(i) * time.Second / time.Duration(rate))
		address, c := sp.address(), people[i%len(people)]
		if err := sleep(ctx, time.Until(due)); err != nil {
			break
		}
		wg.Go(func() {
			_, err := fetch(ctx, c, address)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err
				return
			}
			each = append(each, time.Since(due))
		})
	}
	wg.Wait()
	return each, failed
}

// enter serves the installation with signatures made by "go" or "libcrypto", signs the people in, and has a response of
// each kind verified.
func (s *signOn) enter(ctx context.Context, o options, by string) (_ *process, people []*http.Client, err error) {
	p, err := s.serve(ctx, o.bin, true, "--signing", by)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.kill())
		}
	}()
	for _, email := range s.people {
		c, err := browser()
		if err != nil {
			return nil, nil, err
		}
		resp, err := signIn(ctx, c, s.url, "", email)
		if err != nil {
			return nil, nil, err
		}
		_ = resp.Body.Close()
		for _, sp := range []*provider{&s.one, &s.both} {
			id, address := sp.request()
			page, err := fetch(ctx, c, address)
			if err != nil {
				return nil, nil, err
			}
			if err := sp.check(page, id, email, sp == &s.both); err != nil {
				return nil, nil, fmt.Errorf("a sample response: %w", err)
			}
		}
		people = append(people, c)
	}
	return p, people, nil
}

// beside measures with a yardstick before and after, since the machine's speed changes, and returns the lesser.
func beside(ctx context.Context, by string, measure func() error) (time.Duration, error) {
	before, err := yardstick(ctx, "bare-rsa", by)
	if err != nil {
		return 0, err
	}
	if err := measure(); err != nil {
		return 0, err
	}
	after, err := yardstick(ctx, "bare-rsa", by)
	return min(before, after), err
}

// beyondMost is what a whole exchange may cost beyond its signatures.
const beyondMost = 200 * time.Microsecond

// exchanges measures the whole exchange with signatures made by "go" or "libcrypto".
func (s *signOn) exchanges(ctx context.Context, o options, by string, r *report) (err error) {
	p, people, err := s.enter(ctx, o, by)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.kill()) }()
	idle, _ := p.memory()
	for i, sp := range []*provider{&s.one, &s.both} {
		name, signatures := kinds[i]+", "+by, i+1
		var best, most looped
		bare, err := beside(ctx, by, func() error {
			if _, err := closedLoop(ctx, p, sp, people, 2, time.Second); err != nil { // warm
				return err
			}
			for _, n := range []int{1, 2, 4, 16} {
				got, err := closedLoop(ctx, p, sp, people, n, o.seconds)
				if err != nil {
					return err
				}
				r.fact(fmt.Sprintf("%s, %d at once", name, n), got.String())
				if best.n == 0 || got.cpu > 0 && got.cpu < best.cpu {
					best = got
				}
				if got.rate() > most.rate() {
					most = got
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if best.cpu == 0 {
			return errors.New("the exchanges took too little processor time to be measured: take a longer -time")
		}
		sign := bare * time.Duration(signatures)
		beyond := best.cpu - sign
		r.fact("  bare signatures/s and core, "+by, fmt.Sprintf("%.0f", float64(time.Second)/float64(bare)))
		// 0.45 ms where a signature takes 0.25, 1.2 ms where it takes 1: the target moves with the machine.
		r.row(name+", CPU", ms(sign), ms(best.cpu), fmt.Sprintf("%.2f", float64(best.cpu)/float64(sign)), "≤ bare + 0.20 ms", beyond <= beyondMost)
		r.fact("  beyond the signatures", us(beyond))
		if signatures > 1 {
			continue
		}
		perCore, least := float64(time.Second)/float64(best.cpu), float64(time.Second)/float64(bare+beyondMost)
		r.row("  responses/s and core by CPU, "+by, fmt.Sprintf("%.0f", float64(time.Second)/float64(bare)), fmt.Sprintf("%.0f", perCore),
			fmt.Sprintf("%.2f", perCore*bare.Seconds()), fmt.Sprintf("≥ %.0f here", least), perCore >= least)
		for _, rate := range []int{100, int(most.rate() / 2)} {
			each, err := openLoop(ctx, sp, people, rate, o.seconds)
			if err != nil {
				return err
			}
			p50, p99 := quantile(each, .5), quantile(each, .99)
			if rate == 100 {
				r.row("  at 100/s, "+by+", p50", "", ms(p50), "", "≤ 2.5 ms", p50 <= 2500*time.Microsecond)
				r.row("  at 100/s, "+by+", p99", "", ms(p99), "", "≤ 6 ms", p99 <= 6*time.Millisecond)
			} else {
				r.fact(fmt.Sprintf("  at %d/s (half of the most), %s, p50", rate, by), ms(p50))
				r.row(fmt.Sprintf("  at %d/s (half of the most), %s, p99", rate, by), "", ms(p99), "", "≤ 10 ms", p99 <= 10*time.Millisecond)
			}
		}
	}
	now, high := p.memory()
	r.fact("resident before, after, at most, "+by, mib(idle)+", "+mib(now)+", "+mib(high))
	return nil
}

// growth measures (a) while the directory grows: beside the yardstick, since it takes a while.
func (s *signOn) growth(ctx context.Context, o options, by string, sizes []int, r *report) error {
	var first float64
	for i, size := range sizes {
		if err := s.grow(ctx, size); err != nil {
			return err
		}
		p, people, err := s.enter(ctx, o, by)
		if err != nil {
			return err
		}
		idle, _ := p.memory()
		var got looped
		bare, err := beside(ctx, by, func() (err error) {
			if _, err = closedLoop(ctx, p, &s.one, people, 2, time.Second); err == nil {
				got, err = closedLoop(ctx, p, &s.one, people, 16, max(o.seconds, 4*time.Second))
			}
			return err
		})
		if err = errors.Join(err, p.kill()); err != nil {
			return err
		}
		ratio := float64(got.cpu) / float64(bare)
		name, result := fmt.Sprintf("(a) with %d people", size), ms(got.cpu)+", "+mib(idle)+" resident when idle"
		if i == 0 {
			first = ratio
			r.rows = append(r.rows, [5]string{name, ms(bare), result, fmt.Sprintf("%.2f", ratio), ""})
			continue
		}
		r.row(name, ms(bare), result, fmt.Sprintf("%.2f, %.2f × that of %d", ratio, ratio/first, sizes[0]), "≤ 1.20 ×", ratio <= 1.2*first)
	}
	return nil
}

func measureSSO(ctx context.Context, o options, r *report) (err error) {
	sizes := []int{100, 1000, 5000, 20_000}
	if o.short {
		sizes = []int{100, 1000}
	}
	if o.users > sizes[len(sizes)-1] {
		sizes = append(sizes, o.users)
	}
	s, err := furnishSignOn(ctx, sizes[0], 4)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.remove()) }()
	signers := []string{"go"}
	if lib, err := libcrypto.Load(); err != nil {
		r.note("no libcrypto here: %v", err)
		r.missing("not measured with libcrypto")
	} else {
		r.note("libcrypto is %s", lib.Version())
		signers = []string{"libcrypto", "go"}
	}
	r.note("the server is kept on core %s, this program on core %s: %v", serverCore, ownCore, canPin() && processors() > 1)
	if err := measureEncoder(ctx, signers[0], r); err != nil {
		return err
	}
	for _, by := range signers {
		if err := s.exchanges(ctx, o, by, r); err != nil {
			return err
		}
	}
	r.note("responses of each kind were verified by a foreign library")
	if err := s.growth(ctx, o, signers[0], sizes, r); err != nil {
		return err
	}
	r.note("load of the machine after: %s; more than 1.5 means that others disturbed", loadAverage())
	r.note("peers are not part of this run")
	return nil
}

// loopSSO runs one closed loop of (a), for a profiler to look at: bench-sso measures, this only keeps the server busy.
func loopSSO(ctx context.Context, o options, r *report) (err error) {
	s, err := furnishSignOn(ctx, 100, 4)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.remove()) }()
	p, people, err := s.enter(ctx, o, "auto")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.kill()) }()
	got, err := closedLoop(ctx, p, &s.one, people, 16, o.seconds)
	r.fact("(a) assertion signed, 16 at once", got.String())
	return err
}
