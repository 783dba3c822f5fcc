package console

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/idp"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// Inspector tells what went on between applications and the identity provider; *idp.IDP is one.
type Inspector interface {
	Exchanges(ctx context.Context, by access.Actor, id app.ID, cursor string, limit int) (store.Page[idp.Exchange], error)
	Exchange(ctx context.Context, by access.Actor, exchangeID string) (idp.Exchange, error)
	Bundle(ctx context.Context, by access.Actor, exchangeID string) ([]byte, error)
	Simulate(ctx context.Context, by access.Actor, id app.ID, user directory.UserID, o idp.SimulateOptions) (idp.Simulation, error)
	Inspect(ctx context.Context, by access.Actor, id app.ID, pasted string) (idp.Inspection, error)
}

// inspectorFrame is the frame of the inspector's pages: the sign-on tab with one of its pages.
func (c *Console) inspectorFrame(w http.ResponseWriter, r *request, page string) (appFrame, []web.Tab, error) {
	f, err := c.application(w, r, tabSignOn)
	if err != nil {
		return f, nil, err
	}
	if f.Con.SAML == nil {
		return f, nil, problem.New(problem.NotFound, "%s has no sign-on by SAML.", f.App.Label)
	}
	return f, f.signOnTabs(page), nil
}

// exchangesPage lists the last exchanges of an application.
type exchangesPage struct {
	appFrame
	Inner []web.Tab
	List  []idp.Exchange
	Pager web.Pager
}

const exchangesShown = 25

func (c *Console) exchanges(w http.ResponseWriter, r *request) error {
	f, inner, err := c.inspectorFrame(w, r, "exchanges")
	if err != nil {
		return err
	}
	list, err := c.Inspector.Exchanges(r.Context(), r.By, f.App.ID, r.URL.Query().Get("cursor"), exchangesShown)
	if err != nil {
		return err
	}
	p := exchangesPage{appFrame: f, Inner: inner, List: list.Items, Pager: pager(r, list.Next, listSummary(r, list, "exchange", "exchanges"))}
	return web.Render(w, r.Request, http.StatusOK, exchangesView(p))
}

// exchangePage is one exchange in full.
type exchangePage struct {
	appFrame
	idp.Exchange
	// Linked tells whether the person still exists, to lead to their page.
	Linked bool
}

func (c *Console) loadExchange(w http.ResponseWriter, r *request) (exchangePage, error) {
	x, err := c.Inspector.Exchange(r.Context(), r.By, r.PathValue("exchange"))
	if err != nil {
		return exchangePage{}, err
	}
	if x.ApplicationID != app.ID(r.PathValue("id")) {
		return exchangePage{}, problem.New(problem.NotFound, "There is no such exchange of this application.")
	}
	f, err := c.application(w, r, tabSignOn)
	if err != nil {
		return exchangePage{}, err
	}
	p := exchangePage{appFrame: f, Exchange: x}
	if x.UserID != "" {
		_, err := c.Directory.User(r.Context(), r.By, directory.UserID(x.UserID))
		if err != nil && !problem.Is(err, problem.NotFound) {
			return p, err
		}
		p.Linked = err == nil
	}
	return p, nil
}

func (c *Console) exchange(w http.ResponseWriter, r *request) error {
	p, err := c.loadExchange(w, r)
	if err != nil {
		return err
	}
	if web.IsHTMX(r.Request) {
		return web.Render(w, r.Request, http.StatusOK, exchangeBody(p))
	}
	badge := outcomeBadge(p.Outcome)
	p.appFrame = p.inner(exchangeTitle(p.Exchange), "Last exchanges", "sign-on/exchanges")
	p.Crumbs[len(p.Crumbs)-1].Href = p.path("sign-on", "exchanges")
	p.Badge = badge
	return web.Render(w, r.Request, http.StatusOK, exchangeView(p))
}

// bundle is an exchange as a file to give to others.
func (c *Console) bundle(w http.ResponseWriter, r *request) error {
	x, err := c.loadExchange(w, r)
	if err != nil {
		return err
	}
	text, err := c.Inspector.Bundle(r.Context(), r.By, x.ID)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Disposition", `attachment; filename="`+bundleName(x.Exchange)+`"`)
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(text) // the reader may have gone
	return nil
}

func bundleName(x idp.Exchange) string {
	return "sign-on-" + x.At.UTC().Format("2006-01-02-150405") + ".json"
}

// exchangeTitle says what an exchange was.
func exchangeTitle(x idp.Exchange) string {
	who := cmp.Or(x.UserName, "somebody who isn't signed in")
	switch x.Kind {
	case idp.LogoutRequestExchange:
		return "Request to sign out " + who
	case idp.LogoutResponseExchange:
		return "Answer to our logout of " + who
	}
	if x.Request == nil {
		return "Sign-on from the portal by " + who
	}
	return "Sign-on by " + who
}

// reasonText says why an exchange ended as it did.
func reasonText(x idp.Exchange) string {
	switch x.Reason {
	case "":
		if x.Outcome == audit.Success {
			if x.Failed > 0 {
				return "It went well, but the other side may refuse it: look at the checks that failed."
			}
			return ""
		}
		return "No reason was kept."
	case "stale_flow":
		return "The sign-in took too long, or was finished in another tab."
	case "replayed":
		return "This message was answered before; each counts once."
	case "sign_on_incomplete", "no_sign_on", "sign_on_off":
		return "Sign-on of this application was not active."
	case "not_bound":
		return "The person is in none of the bound groups."
	case "attribute_missing":
		return "The person lacks a value that the mapping requires."
	case "attribute_faulty":
		return "A value of the person can't be sent as the mapping asks."
	case "relay_state":
		return "The RelayState can't be sent."
	}
	switch saml.Reason(x.Reason) {
	case saml.TooLarge:
		return "The message is larger than any real one."
	case saml.Malformed:
		return "The message can't be read."
	case saml.UnknownIssuer:
		return "The message comes from another entity ID than the registered one."
	case saml.UnregisteredACS:
		return "It asks for the answer at an address that isn't registered."
	case saml.WrongDestination:
		return "The message was made for another address."
	case saml.Stale:
		return "The message is too old."
	case saml.FromTheFuture:
		return "The message is from the future: the clock there is ahead."
	case saml.SignatureMissing:
		return "The message isn't signed, and must be."
	case saml.SignatureInvalid:
		return "The signature isn't by a registered certificate, or the message was changed."
	case saml.UnexpectedMessage:
		return "It is another kind of message than belongs there."
	case saml.NoACS:
		return "No ACS URL is registered to answer to."
	case saml.UnsupportedVersion:
		return "The message is of another version of SAML."
	case saml.UnsupportedBinding:
		return "It asks for a binding that isn't offered."
	case saml.UnsupportedNameID:
		return "It asks for a NameID format that isn't served."
	case saml.UnsupportedSubject:
		return "It asks for a certain person in a way that isn't served."
	case saml.NoAuthnContext:
		return "It asks for a way of signing in that the person doesn't have."
	case saml.PassiveImpossible:
		return "It asks for a sign-on without any page, and the person has to sign in."
	case saml.AccessDenied:
		return "The person has no access."
	case saml.AuthenticationFails:
		return "The person couldn't prove who they are."
	case saml.UnknownPrincipal:
		return "It names another person than the one who is signed in."
	}
	return upper(strings.ReplaceAll(x.Reason, "_", " ")) + "."
}

// shownFindings are checks for people: what failed first, what wasn't looked at last.
func shownFindings(list []saml.Finding) web.Findings {
	rank := map[saml.Verdict]int{saml.Fail: 0, saml.Warn: 1, saml.Pass: 2, saml.Skip: 3}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b saml.Finding) int { return rank[a.Verdict] - rank[b.Verdict] })
	var out web.Findings
	for _, x := range list {
		f := web.Finding{Title: checkName(x.Check), Text: x.Text, Rule: x.Rule, Source: x.Source}
		switch x.Verdict {
		case saml.Fail:
			f.Level, f.Verdict = web.Danger, "Failed"
		case saml.Warn:
			f.Level, f.Verdict = web.Warn, "Doubtful"
		case saml.Pass:
			f.Level, f.Verdict = web.OK, "Passed"
		default:
			f.Level, f.Verdict, f.Icon, f.Quiet = web.Neutral, "Left out", "minus", true
		}
		out = append(out, f)
	}
	return out
}

// checkName is a check's stable name in words.
func checkName(name string) string {
	switch name {
	case "acs":
		return "ACS."
	case "id":
		return "ID."
	case "name_id":
		return "NameID."
	case "name_id_format":
		return "NameID format."
	case "name_id_qualifier":
		return "NameID qualifier."
	case "relay_state":
		return "RelayState."
	}
	return upper(strings.ReplaceAll(name, "_", " ")) + "."
}

// verdict sums checks up.
func verdict(list []saml.Finding) (web.Level, string) {
	n := map[saml.Verdict]int{}
	for _, x := range list {
		n[x.Verdict]++
	}
	all := count(n[saml.Pass]+n[saml.Warn]+n[saml.Fail], "check", "checks")
	switch {
	case len(list) == 0:
		return web.Neutral, "Not checked"
	case n[saml.Fail] > 0:
		return web.Danger, web.Number(n[saml.Fail]).String() + " of " + all + " failed"
	case n[saml.Warn] > 0:
		return web.Warn, all + ", " + web.Number(n[saml.Warn]).String() + " doubtful"
	}
	return web.OK, all + " passed"
}

// simulatePage shows what a person would be sent.
type simulatePage struct {
	appFrame
	Inner  []web.Tab
	Sample sampleView
	Form   web.Form
	Facts  mappingFacts
	// Result is nil until there is something to show; Trouble says why there can't be, Wrong what was asked for in vain.
	Result         *idp.Simulation
	Trouble, Wrong string
}

func (c *Console) simulate(w http.ResponseWriter, r *request) error {
	f, inner, err := c.inspectorFrame(w, r, "simulate")
	if err != nil {
		return err
	}
	q := r.URL.Query()
	p := simulatePage{appFrame: f, Inner: inner, Form: web.NewForm(map[string]string{"person": q.Get("person"), "format": q.Get("format"), "acs": q.Get("acs")}).Named("simulate")}
	if p.Facts, err = factsOf(f.Con, sideSAML, f.App.SAML.Mapping); err != nil {
		return err
	}
	if p.Sample, err = c.sample(r, f.App.ID, q.Get("person")); err != nil {
		return err
	}
	status := http.StatusOK
	if p.Sample.Found {
		got, err := c.Inspector.Simulate(r.Context(), r.By, f.App.ID, p.Sample.User.ID, idp.SimulateOptions{NameIDFormat: q.Get("format"), ACS: q.Get("acs")})
		switch k := problem.KindOf(err); {
		case err == nil:
			p.Result = &got
		case k == problem.Conflict:
			p.Trouble = problem.Public(err)
		case k == problem.Invalid:
			p.Wrong = problem.Public(err)
			if fields := problem.FieldsOf(err); len(fields) > 0 {
				p.Wrong = fields[0].Detail
			}
			status = web.Status(err)
		default:
			return err
		}
	}
	return web.Render(w, r.Request, status, simulateView(p))
}

// simulatedFindings are the checks of a simulated response, which is unsigned on purpose.
func simulatedFindings(s idp.Simulation) []saml.Finding {
	list := slices.Clone(s.Findings)
	for i := range list {
		if list[i].Check == "signed" && list[i].Verdict == saml.Fail {
			list[i].Verdict, list[i].Text = saml.Skip, "This one is left unsigned, so that nobody can use it. A real answer is signed: the "+s.Signed+"."
		}
	}
	return list
}

// indented puts each element of a message on a line of its own, for people to read. It doesn't parse: what isn't XML comes
// out nearly as it was. Where white space matters is no question, since nobody reads the result but people.
func indented(xml string) string {
	var b strings.Builder
	depth, text := 0, false
	for len(xml) > 0 {
		if xml[0] != '<' {
			n := strings.IndexByte(xml, '<')
			if n < 0 {
				n = len(xml)
			}
			if part := strings.TrimSpace(xml[:n]); part != "" {
				b.WriteString(part)
				text = true
			}
			xml = xml[n:]
			continue
		}
		n := tagLength(xml)
		tag := xml[:n]
		xml = xml[n:]
		closes := strings.HasPrefix(tag, "</")
		if closes {
			depth = max(0, depth-1)
		}
		if b.Len() > 0 && (!closes || !text) {
			b.WriteString("\n" + strings.Repeat("  ", min(depth, 40)))
		}
		b.WriteString(tag)
		opens := !closes && !strings.HasSuffix(tag, "/>") && !strings.HasPrefix(tag, "<?") && !strings.HasPrefix(tag, "<!")
		if opens {
			depth++
		}
		// An element without children keeps its end on its line.
		text = opens && (strings.HasPrefix(xml, "</") || !strings.HasPrefix(strings.TrimSpace(xml), "<"))
	}
	return b.String()
}

// tagLength is the length of the tag that s begins with; ">" within a value doesn't end it.
func tagLength(s string) int {
	quote := byte(0)
	for i := range len(s) {
		switch c := s[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '>':
			return i + 1
		}
	}
	return len(s)
}

// decodePage reads a message that somebody pasted.
type decodePage struct {
	appFrame
	Inner  []web.Tab
	Form   web.Form
	Result *idp.Inspection
}

func (c *Console) decodeFrame(w http.ResponseWriter, r *request) (decodePage, error) {
	f, inner, err := c.inspectorFrame(w, r, "decode")
	return decodePage{appFrame: f, Inner: inner, Form: web.Form{}.Named("decode")}, err
}

func (c *Console) decodeForm(w http.ResponseWriter, r *request) error {
	p, err := c.decodeFrame(w, r)
	if err != nil {
		return err
	}
	return web.Render(w, r.Request, http.StatusOK, decodeView(p))
}

func (c *Console) decode(w http.ResponseWriter, r *request) error {
	p, err := c.decodeFrame(w, r)
	if err != nil {
		return err
	}
	p.Form = web.PostedForm(r.Request).Named("decode")
	text := strings.TrimSpace(r.PostForm.Get("message"))
	if text == "" {
		err = problem.InvalidField("message", "Paste a message: the address of a redirect, base64, or XML.")
	}
	var got idp.Inspection
	if err == nil {
		got, err = c.Inspector.Inspect(r.Context(), r.By, p.App.ID, text)
	}
	if err != nil {
		form, ok := p.Form.Fail(err)
		if !ok {
			return err
		}
		p.Form = form
		return web.Render(w, r.Request, web.Status(err), decodeView(p))
	}
	p.Result = &got
	return web.Render(w, r.Request, http.StatusOK, decodeView(p))
}
