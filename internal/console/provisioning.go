package console

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// provisioningPage is the provisioning tab.
type provisioningPage struct {
	appFrame
	Banner   web.Banner
	Form     web.Form
	Warnings map[string][]string
	// Probe is the result of a test that was just made.
	Probe *provision.Probe
	// MayRun tells whether the person may test and retry.
	MayRun bool
	Guide  templ.Component
}

// running tells whether provisioning has been activated, be it paused or stopped now.
func (f appFrame) running() bool {
	switch f.App.SCIM.Status {
	case app.Active, app.Paused, app.Stopped:
		return true
	}
	return false
}

func (c *Console) provisioningFrame(w http.ResponseWriter, r *request) (provisioningPage, error) {
	f, err := c.application(w, r, tabProvisioning)
	if err != nil {
		return provisioningPage{}, err
	}
	if f.Con.SCIM == nil {
		return provisioningPage{}, problem.New(problem.NotFound, "%s can't be provisioned by SCIM.", f.App.Label)
	}
	f.Actions = nil
	p := provisioningPage{appFrame: f, Warnings: map[string][]string{}, MayRun: r.can(access.RunProvisioning)}
	for _, x := range c.Apps.Warnings(f.App) {
		if name, ok := strings.CutPrefix(x.Field, "scim."); ok {
			p.Warnings[name] = append(p.Warnings[name], x.Text)
		}
	}
	p.Guide = f.guide(catalog.PartProvisioning, "")
	p.Banner = p.banner()
	s := f.App.SCIM.SCIMSettings
	p.Form = scimForm(s)
	return p, nil
}

func scimForm(s app.SCIMSettings) web.Form {
	number := func(n float64) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatFloat(n, 'f', -1, 64)
	}
	v := map[string]string{
		"baseUrl": s.BaseURL, "manageGroups": boolValue(s.ManageGroups), "onLeave": string(cmp.Or(s.OnLeave, app.Deactivate)),
		"match":         strings.Join(s.Match, ", "),
		"ratePerSecond": number(s.RatePerSecond), "burst": number(float64(s.Burst)), "concurrency": number(float64(s.Concurrency)),
		"guard.maxCount": strconv.Itoa(s.Guard.MaxCount), "guard.maxPercent": strconv.Itoa(s.Guard.MaxPercent), "tokenExpiresAt": dayValue(s.TokenExpiresAt),
	}
	return web.NewForm(v)
}

func dayValue(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.DateOnly)
}

// banner says in one sentence how it stands, since when, and what to do.
func (p provisioningPage) banner() web.Banner {
	s := p.Provisioning
	b := p.provisioningBanner()
	switch s.State {
	case app.Active:
		b.Detail = "Active since " + day(s.Since) + ". Every change of a bound person or group is sent within seconds."
		if !s.HeldTill.IsZero() {
			b.Detail = "The next try is " + web.Ago(s.HeldTill, p.Now) + ". Nothing has to be done."
		} else if p.App.Groups == 0 {
			b.Level, b.Detail = web.Warn, "But no group is bound, so there is nobody to provision."
		}
	case app.Paused:
		b.Detail = "Since " + day(s.Since) + ". Changes are kept and sent when it is resumed."
	case app.Stopped:
		b.Detail = "Since " + day(s.Since) + ". Changes are kept. Put the reason right, then resume; a refused token is replaced."
	case app.Off:
		if len(p.App.SCIM.Missing) > 0 {
			break
		}
		b.Detail = "Look at the plan: it shows what would be written, and activates exactly that."
	}
	b.Action = p.bannerAction()
	return b
}

func (p provisioningPage) bannerAction() templ.Component {
	if !p.May {
		return nil
	}
	var list []templ.Component
	plan := web.Button{Label: "See the plan", Icon: "list-checks", Small: true, Href: p.path("provisioning", "plan")}
	post := func(label, icon, act string) templ.Component {
		return web.PostButton{Button: web.Button{Label: label, Icon: icon, Small: true}, Action: p.path("provisioning", act)}
	}
	switch p.App.SCIM.Status {
	case app.Off:
		if len(p.App.SCIM.Missing) > 0 {
			return nil
		}
		plan.Variant = web.Primary
		list = append(list, plan)
	case app.Active:
		list = append(list, plan, post("Pause", "pause", "pause"))
	case app.Paused:
		list = append(list, plan, post("Resume", "play", "resume"))
	case app.Stopped:
		list = append(list, web.Button{Label: "Replace token", Icon: "key-round", Small: true, Href: p.path("provisioning", "token")}, post("Resume", "play", "resume"))
	default:
		return nil
	}
	return web.Group(list...)
}

// refresh is how often the state is looked at again.
func (p provisioningPage) refresh() time.Duration {
	switch {
	case p.Provisioning.State != app.Active:
		return 0
	case p.Provisioning.Waiting > 0:
		return 2 * time.Second
	}
	return 10 * time.Second
}

func (p provisioningPage) objects(pairs ...string) string {
	return withQuery(p.path("provisioning", "objects"), pairs...)
}

// stats are the objects by state; each figure leads to its list.
func (p provisioningPage) stats() web.Stats {
	s := p.Provisioning
	both := func(label string, users, groups int, status provision.LinkStatus, level web.Level) web.Stat {
		x := web.Stat{Label: label, Value: web.Number(users + groups).String(), Href: p.objects("status", string(status))}
		if users+groups > 0 {
			x.Level = level
			x.Note = people(users)
			if groups > 0 {
				x.Note += ", " + count(groups, "group", "groups")
			}
		}
		return x
	}
	waiting := web.Stat{Label: "Waiting", Value: web.Number(s.Waiting).String(), Href: p.objects("status", string(provision.LinkPending))}
	if s.Waiting > 0 {
		waiting.Level, waiting.Note = web.Info, "oldest "+web.Ago(s.OldestWaiting, p.Now)
	}
	return web.Stats{
		both("In sync", s.Users.Synced, s.Groups.Synced, provision.LinkSynced, web.OK),
		waiting,
		both("Blocked", s.Users.Blocked, s.Groups.Blocked, provision.LinkBlocked, web.Warn),
		both("Refused", s.Users.Failed, s.Groups.Failed, provision.LinkFailed, web.Danger),
		both("Inactive there", s.Users.Inactive, s.Groups.Inactive, provision.LinkInactive, web.Neutral),
	}
}

// vital are the facts by which one sees that it lives.
func (p provisioningPage) vital() web.Facts {
	s := p.Provisioning
	facts := web.Facts{{Term: "Last good answer", Value: web.Time{At: s.LastAnswer, Now: p.Now, None: "none yet"}}}
	if !s.SilentSince.IsZero() {
		facts = append(facts, web.Fact{Term: "Silent", Value: web.Group(web.Badge{Level: web.Danger, Label: "No good answer"}, web.Time{At: s.SilentSince, Now: p.Now})})
	}
	if !s.OldestWaiting.IsZero() {
		facts = append(facts, web.Fact{Term: "Waiting longest", Value: web.Text("since " + web.Ago(s.OldestWaiting, p.Now))})
	}
	if s.Failures > 0 {
		facts = append(facts, web.Fact{Term: "Failures in a row", Value: web.Number(s.Failures)})
	}
	rate := p.Con.SCIM.Rate.PerSecond
	if p.App.SCIM.RatePerSecond > 0 {
		rate = p.App.SCIM.RatePerSecond
	}
	budget := "no limit of ours"
	if rate > 0 {
		budget = strconv.FormatFloat(rate, 'f', -1, 64) + " a second"
		if p.App.SCIM.RatePerSecond == 0 && !p.Con.SCIM.Rate.Published {
			budget += " (the product publishes none; this is a careful guess)"
		}
	}
	facts = append(facts, web.Fact{Term: "Requests", Value: web.Text(budget)})
	if s.Budget.Limited {
		facts = append(facts, web.Fact{Term: "Left in the budget", Value: web.Text(count(s.Budget.Left, "request", "requests") + " at once")})
	}
	if s.ObjectsPerSecond > 0 {
		facts = append(facts, web.Fact{Term: "Speed lately", Value: web.Text(strconv.FormatFloat(s.ObjectsPerSecond, 'f', 1, 64) + " people and groups a second")})
	}
	if !s.FinishAt.IsZero() {
		facts = append(facts, web.Fact{Term: "Done in about", Value: web.Text(roughly(s.FinishAt.Sub(p.Now)))})
	}
	if s.Receipts.Open > 0 {
		badge := web.Badge{Level: web.Info, Label: count(s.Receipts.Open, "account", "accounts")}
		if s.Receipts.Overdue > 0 {
			badge.Level = web.Warn
		}
		facts = append(facts, web.Fact{Term: "Leavers not proved off", Value: web.Group(badge, web.Link{Label: "See", Href: withQuery(receiptsPath, "application", string(p.App.ID))})})
	}
	token := web.Fact{Term: "Token", Value: web.Muted("none")}
	if p.App.SCIM.TokenSet {
		level, text := p.tokenState()
		var value templ.Component = web.Text("stored, end unknown")
		if text != "" {
			value = endBadge(level, text)
		}
		if p.May {
			value = web.Group(value, web.Link{Label: "Replace", Href: p.path("provisioning", "token")})
		}
		token.Value = value
	}
	return append(facts, token)
}

// roughly is a length of time, rounded for people.
func roughly(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "a minute"
	case d < time.Hour:
		return count(int((d+30*time.Second)/time.Minute), "minute", "minutes")
	}
	return count(int((d+30*time.Minute)/time.Hour), "hour", "hours")
}

func (c *Console) provisioning(w http.ResponseWriter, r *request) error {
	p, err := c.provisioningFrame(w, r)
	if err != nil {
		return err
	}
	return web.Render(w, r.Request, http.StatusOK, provisioningView(p))
}

// postedSCIM reads the form into settings.
func postedSCIM(r *request, s *app.SCIMSettings) error {
	var bad problem.Fields
	whole := func(name string, to *int) {
		text := strings.TrimSpace(r.PostForm.Get(name))
		if text == "" {
			*to = 0
			return
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			bad.Add(name, "Enter a whole number.")
			return
		}
		*to = n
	}
	s.BaseURL, s.ManageGroups, s.OnLeave = r.PostForm.Get("baseUrl"), checked(r, "manageGroups"), app.OnLeave(r.PostForm.Get("onLeave"))
	if r.PostForm.Has("match") {
		s.Match = strings.FieldsFunc(r.PostForm.Get("match"), func(c rune) bool { return c == ',' || c == ' ' })
	}
	whole("guard.maxCount", &s.Guard.MaxCount)
	whole("guard.maxPercent", &s.Guard.MaxPercent)
	whole("burst", &s.Burst)
	whole("concurrency", &s.Concurrency)
	s.RatePerSecond = 0
	if text := strings.TrimSpace(r.PostForm.Get("ratePerSecond")); text != "" {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			bad.Add("ratePerSecond", "Enter a number of requests per second, such as 5 or 0.5.")
		}
		s.RatePerSecond = n
	}
	return bad.Err()
}

// postedExpiry reads the day on which a token ends; it ends with that day.
func postedExpiry(r *request, now time.Time) (time.Time, error) {
	text := strings.TrimSpace(r.PostForm.Get("tokenExpiresAt"))
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return time.Time{}, problem.InvalidField("tokenExpiresAt", "Enter a day such as %s.", now.AddDate(1, 0, 0).Format(time.DateOnly))
	}
	return t.Add(24*time.Hour - time.Second), nil
}

func (c *Console) saveProvisioning(w http.ResponseWriter, r *request) error {
	p, err := c.provisioningFrame(w, r)
	if err != nil {
		return err
	}
	fail := func(err error) error {
		form, ok := web.PostedForm(r.Request).Fail(err)
		if !ok {
			return err
		}
		p.Form = form
		return web.Render(w, r.Request, web.Status(err), provisioningView(p))
	}
	token := keys.Secret(strings.TrimSpace(r.PostForm.Get("token")))
	expires, err := postedExpiry(r, c.Now())
	if err != nil {
		return fail(err)
	}
	if token != "" && p.running() {
		return fail(problem.InvalidField("token", "Provisioning is set up already. Use Replace token, which tries the new one before it takes the place of the old one."))
	}
	if goesBack(r) {
		p.Form = web.PostedForm(r.Request)
		return web.Render(w, r.Request, http.StatusOK, provisioningView(p))
	}
	changed, made, err := c.approve(w, r, p.appFrame, app.SCIMChange{Settings: func(s *app.SCIMSettings) error {
		if err := postedSCIM(r, s); err != nil {
			return err
		}
		if r.PostForm.Has("tokenExpiresAt") {
			s.TokenExpiresAt = expires
		}
		return nil
	}}, review{What: "The provisioning settings", Label: "Provisioning", Tab: "provisioning", Cancel: p.path("provisioning"), Form: true})
	if err != nil {
		return fail(err)
	}
	if !made {
		return nil
	}
	message, level := "The settings are saved.", web.OK
	if token != "" {
		if expires.IsZero() {
			if life := p.Con.SCIM.Token.Lifetime(); life > 0 {
				expires = c.Now().Add(life)
				message = fmt.Sprintf("The settings and the token are saved. No end was given, so its usual life of %s is watched.", span(life))
			}
		}
		if changed, err = c.Apps.SetSCIMToken(r.Context(), r.By, p.App.ID, token, expires); err != nil {
			return fail(err)
		}
		for _, x := range c.Apps.TokenWarnings(changed, token) {
			message, level = message+" "+x.Text, web.Warn
		}
	}
	switch {
	case changed.SCIM.Status == app.Active:
		message += " What they change is being sent."
	case len(changed.SCIM.Missing) == 0 && !p.running():
		message += " Now test the connection, then look at the plan."
	}
	return redirect(w, r, p.path("provisioning"), level, message)
}

func (c *Console) testProvisioning(w http.ResponseWriter, r *request) error {
	p, err := c.provisioningFrame(w, r)
	if err != nil {
		return err
	}
	probe, err := c.Engine.Test(r.Context(), r.By, p.App.ID)
	if problem.Is(err, problem.Conflict) {
		return redirect(w, r, p.path("provisioning"), web.Warn, problem.Public(err))
	}
	if err != nil {
		return err
	}
	p.Probe = &probe
	return web.Render(w, r.Request, http.StatusOK, provisioningView(p))
}

// engineAct answers a button that needs no more words, for those who may change applications.
func (c *Console) engineAct(w http.ResponseWriter, r *request, message string, act func(app.ID) error) error {
	if err := mayManage(r); err != nil {
		return err
	}
	id := app.ID(r.PathValue("id"))
	if err := act(id); err != nil {
		if problem.Is(err, problem.Conflict) || problem.Is(err, problem.Invalid) {
			if _, gone := c.Apps.Get(r.Context(), r.By, id); gone != nil {
				return gone
			}
			return redirect(w, r, appPath(id, "provisioning"), web.Warn, problem.Public(err))
		}
		return err
	}
	return done(w, r, appPath(id, "provisioning"), message)
}

func (c *Console) pauseProvisioning(w http.ResponseWriter, r *request) error {
	return c.engineAct(w, r, "Provisioning is paused. Changes are kept.", func(id app.ID) error {
		return c.Engine.Pause(r.Context(), r.By, id, "")
	})
}

func (c *Console) resumeProvisioning(w http.ResponseWriter, r *request) error {
	return c.engineAct(w, r, "Provisioning goes on. What changed meanwhile is being sent.", func(id app.ID) error {
		return c.Engine.Resume(r.Context(), r.By, id)
	})
}

func (c *Console) confirmDeactivateProvisioning(w http.ResponseWriter, r *request) error {
	if err := mayManage(r); err != nil {
		return err
	}
	s, err := c.provisioningFrame(w, r)
	if err != nil {
		return err
	}
	f := s.inner("Deactivate provisioning?", "Provisioning", "provisioning")
	p := confirmPage{Page: f.Page, Aside: f.guide(catalog.PartRemoval, ""), Confirm: web.ConfirmForm{
		Action: f.path("provisioning", "deactivate"), Submit: "Deactivate provisioning", Cancel: f.path("provisioning"),
	}}
	live := f.Provisioning.Users.Synced + f.Provisioning.Users.Pending
	p.Confirm.Consequences = []string{
		fmt.Sprintf("Sending stops at once. Everything at %s stays as it is: %s stay active there.", f.product(), count(live, "account", "accounts")),
		"People who leave, are suspended or change are no longer followed there.",
		"Base URL, token, mapping and what is known of each account are kept, so that it can be activated again.",
	}
	if n := f.Provisioning.Waiting; n > 0 {
		p.Confirm.Consequences = append(p.Confirm.Consequences, count(n, "change that waits is", "changes that wait are")+" cancelled.")
	}
	if live > 0 && f.App.Groups > 0 && f.running() {
		p.First = web.Banner{
			Level: web.Info, Text: "Should the accounts be switched off there?",
			Detail: "Then unbind the groups first and wait until nothing is waiting. To stop only for a while, pause instead: changes are then kept.",
			Action: web.Group(
				web.Button{Label: "Unbind groups", Small: true, Href: f.path("groups")},
				web.PostButton{Button: web.Button{Label: "Pause instead", Small: true, Icon: "pause"}, Action: f.path("provisioning", "pause")},
			),
		}
	}
	return c.renderConfirm(w, r, http.StatusOK, p)
}

func (c *Console) deactivateProvisioning(w http.ResponseWriter, r *request) error {
	return c.engineAct(w, r, "Provisioning is off. Everything there stays as it is.", func(id app.ID) error {
		return c.Engine.Deactivate(r.Context(), r.By, id)
	})
}

// tokenPage is the guided replacement of the token.
type tokenPage struct {
	appFrame
	Form  web.Form
	Probe *provision.Probe
	Guide templ.Component
}

func (c *Console) tokenFrame(w http.ResponseWriter, r *request) (tokenPage, error) {
	if err := mayManage(r); err != nil {
		return tokenPage{}, err
	}
	s, err := c.provisioningFrame(w, r)
	if err != nil {
		return tokenPage{}, err
	}
	p := tokenPage{appFrame: s.inner("Replace the token", "Provisioning", "provisioning"), Guide: s.Guide}
	v := map[string]string{}
	if life := s.Con.SCIM.Token.Lifetime(); life > 0 {
		v["tokenExpiresAt"] = dayValue(c.Now().Add(life))
	}
	p.Form = web.NewForm(v)
	return p, nil
}

func (c *Console) tokenPage(w http.ResponseWriter, r *request) error {
	p, err := c.tokenFrame(w, r)
	if err != nil {
		return err
	}
	return web.Render(w, r.Request, http.StatusOK, tokenView(p))
}

func (c *Console) replaceToken(w http.ResponseWriter, r *request) error {
	p, err := c.tokenFrame(w, r)
	if err != nil {
		return err
	}
	token := keys.Secret(strings.TrimSpace(r.PostForm.Get("token")))
	expires, err := postedExpiry(r, c.Now())
	var probe provision.Probe
	if err == nil {
		probe, err = c.Engine.ReplaceToken(r.Context(), r.By, p.App.ID, token, expires)
	}
	if err != nil {
		form, ok := web.PostedForm(r.Request).Fail(err)
		if !ok {
			return err
		}
		p.Form = form
		if len(probe.Checks) > 0 {
			p.Probe = &probe
		}
		return web.Render(w, r.Request, web.Status(err), tokenView(p))
	}
	message := "The new token works and is stored."
	switch p.App.SCIM.Status {
	case app.Stopped, app.Paused:
		message += " Provisioning goes on with what changed meanwhile."
	}
	level := web.OK
	for _, x := range c.Apps.TokenWarnings(p.App, token) {
		message, level = message+" "+x.Text, web.Warn
	}
	return redirect(w, r, p.path("provisioning"), level, message)
}

// probeRows are the checks of a test.
func probeRows(p provision.Probe) []web.Row {
	var rows []web.Row
	for _, x := range p.Checks {
		b := web.Badge{Level: web.OK, Label: "Works"}
		row := web.Row{}
		if !x.OK {
			b, row.Level = web.Badge{Level: web.Danger, Label: "Doesn't work"}, web.Danger
		}
		row.Cells = web.Cells(web.Text(x.Name), b, web.Text(x.Detail))
		rows = append(rows, row)
	}
	return slices.Clip(rows)
}
