package idp

import (
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// refusal is a sign-on that ends here: what the page says, and what the event tells.
type refusal struct {
	// event is the type of the event; "" is that of a sign-on.
	event       audit.Type
	application app.Application
	status      int
	// reason is a stable word for events.
	reason       string
	outcome      audit.Outcome
	idpInitiated bool
	cause        error // more for the event; may be nil
	came         *saml.Incoming
	sent         []byte // what the application was answered, if it was
	visit        *visit
	session      authn.Session

	// Title, Text (what happened) and Next (what to do) are for the person.
	Title, Text, Next string
	// Items are single things that are wrong.
	Items []string
	// Switch offers to sign out.
	Switch bool
	// Actions are the buttons; none means the one that leads to the person's applications.
	Actions []web.Button
}

// of says whose visit it was.
func (ref *refusal) of(v *visit, s authn.Session) *refusal {
	ref.visit, ref.session = v, s
	return ref
}

// icon stands above the page's title.
func (ref *refusal) icon() string {
	switch {
	case ref.reason == "stale_flow":
		return "hourglass"
	case ref.reason == reasonReplayed:
		return "rotate-ccw"
	case ref.reason == string(saml.UnknownPrincipal):
		return "users"
	case ref.outcome == audit.Denied:
		return "shield-off"
	case ref.status == http.StatusNotFound:
		return "search"
	}
	return "circle-alert"
}

func (ref *refusal) actions() []web.Button {
	if len(ref.Actions) > 0 {
		return ref.Actions
	}
	return []web.Button{{Label: "Go to your applications", Href: "/", Variant: web.Primary, Icon: "layout-grid"}}
}

// refuse records a refusal and shows its page.
func (p *IDP) refuse(w http.ResponseWriter, r *http.Request, ref *refusal) error {
	if err := p.record(r, ref, nil); err != nil {
		return err
	}
	page := p.page(w, r)
	page.Title, page.HideHeader = ref.Title, true
	return web.Render(w, r, ref.status, refusalPage(page, ref, web.RequestID(r.Context())))
}

func stale() *refusal {
	return &refusal{
		status: http.StatusGone, reason: "stale_flow", outcome: audit.Failure,
		Title: "This sign-in is over",
		Text:  "It was finished already, or it took too long. Each sign-in works once, so that nobody can use it after you.",
		Next:  "Start again: open the application, or choose it among your applications.",
	}
}

// reasonReplayed is the reason of a message that was acted upon before.
const reasonReplayed = "replayed"

// replayed says that a request was answered before.
func replayed(a app.Application) *refusal {
	ref := &refusal{
		application: a, status: http.StatusConflict, reason: reasonReplayed, outcome: audit.Failure,
		Title: "This sign-in to " + a.Label + " was used already",
		Text:  "That happens when a page is loaded again, or after going back. Each request is answered once, so that nobody can use it after you.",
		Next:  "If " + a.Label + " isn't open already, open it again. A bookmark of the sign-in page doesn't work; bookmark " + a.Label + " instead.",
	}
	ref.Actions = []web.Button{
		{Label: "Open " + a.Label, Href: launchPath + url.PathEscape(string(a.ID)), Variant: web.Primary, Icon: "external-link"},
		{Label: "Go to your applications", Href: "/", Icon: "layout-grid"},
	}
	return ref
}

// wrongPerson says that the application asks for somebody else. What it calls that person is shown if it looks like an
// e-mail address; other names say nothing to people.
func wrongPerson(a app.Application, s authn.Session, v *visit, switchTo string) *refusal {
	who := "another person"
	asked, _ := v.asksFor()
	if _, domain, ok := strings.Cut(asked.Value, "@"); ok && domain != "" {
		who = shown(asked.Value)
	}
	return &refusal{
		application: a, status: http.StatusConflict, reason: string(saml.UnknownPrincipal), outcome: audit.Denied,
		Title: a.Label + " asks for " + who,
		Text:  "You are signed in as " + s.User.Email + ", and " + a.Label + " asked for " + who + " to be signed in. Nothing was sent to it.",
		Next:  "Sign in as " + who + ", or go back to " + a.Label + " without.",
		Actions: []web.Button{
			{Label: "Use another account", Href: switchTo, Variant: web.Primary, Icon: "log-in"},
			{Label: "Back to " + a.Label, Href: resumeAt(v.flow) + "&give_up=1"},
		},
	}
}

// notReady says why an application has no sign-on at present.
func notReady(a app.Application) *refusal {
	ref := &refusal{application: a, status: http.StatusConflict, outcome: audit.Denied}
	switch {
	case a.SAML.Status == app.Incomplete, a.SAML.Offered && len(a.SAML.Missing) > 0:
		ref.reason = "sign_on_incomplete"
		ref.Title = "Sign-on to " + a.Label + " isn't set up completely"
		ref.Text = "Still missing: " + strings.Join(a.SAML.Missing, ", ") + "."
	case !a.SAML.Offered:
		ref.reason = "no_sign_on"
		ref.Title = a.Label + " has no sign-on"
		ref.Text = "People don't sign in to it from here."
	default:
		ref.reason = "sign_on_off"
		ref.Title = "Sign-on to " + a.Label + " is switched off"
		ref.Text = "An administrator has deactivated it, or has not activated it yet."
	}
	ref.Next = "Ask your administrator about it."
	return ref
}

// denied says that a person has no access. It names no groups: who isn't in them needn't know them.
func denied(a app.Application, s authn.Session) *refusal {
	return &refusal{
		application: a, status: http.StatusForbidden, reason: "not_bound", outcome: audit.Denied, Switch: true,
		Title: "You don't have access to " + a.Label,
		Text:  "You are signed in as " + s.User.Email + ". Access to " + a.Label + " comes from groups, and you are in none of its groups.",
		Next:  "If you need it for your work, ask your administrator to add you.",
	}
}

// blockedBy says which of a person's attributes is missing.
func blockedBy(a app.Application, b *catalog.BlockedError) *refusal {
	ref := &refusal{
		application: a, status: http.StatusUnprocessableEntity, reason: "attribute_missing", outcome: audit.Failure, cause: b,
		Title: "Something about you is missing",
		Text:  a.Label + " needs to know more about you than is recorded here.",
		Next:  "Ask your administrator to complete your record. Then open " + a.Label + " again.",
	}
	names := []string{}
	for _, m := range b.Missing {
		names = append(names, m.Label)
		ref.Items = append(ref.Items, m.Label+" is missing.")
	}
	for i := range b.Faulty {
		names = append(names, b.Faulty[i].Label)
		ref.Items = append(ref.Items, b.Faulty[i].Label+" can't be worked out.")
		ref.reason = "attribute_faulty"
	}
	ref.Text = strings.TrimSuffix(ref.Text, ".") + ": " + strings.Join(names, ", ") + "."
	return ref
}

// badRequest is the page for a request that is refused.
func badRequest(a app.Application, e *saml.Error) *refusal {
	ref := &refusal{
		application: a, status: http.StatusBadRequest, reason: string(e.Reason), outcome: audit.Failure, cause: e,
		Title: "The sign-in request from " + a.Label + " can't be accepted",
		Text:  e.Text,
	}
	switch e.Reason {
	case saml.TooLarge:
		ref.status = http.StatusRequestEntityTooLarge
	case saml.AccessDenied, saml.UnknownPrincipal, saml.PassiveImpossible, saml.NoAuthnContext:
		ref.outcome = audit.Denied
	}
	return ref
}

// shown makes what a stranger sent fit for a page: short and printable.
func shown(s string) string { return clip(s, 64) }

func clip(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && !unicode.Is(unicode.Bidi_Control, r) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(s, ""))
	if runes := []rune(s); len(runes) > n {
		s = string(runes[:n]) + "…"
	}
	return s
}
