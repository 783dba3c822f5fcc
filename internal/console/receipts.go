package console

import (
	"cmp"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/web"
)

const receiptsPath = root + "/receipts"

func receiptPath(user string) string { return receiptsPath + "/" + url.PathEscape(user) }

func overdueConcern(label string, n int) concern {
	return concern{
		Level: web.Danger, Text: label + ": of " + count(n, "person", "people") + " who left it isn't proved that the account is off.",
		Detail: "They may still get in there.", Action: web.Button{Label: "See who", Small: true, Href: withQuery(receiptsPath, "show", "overdue")},
	}
}

// receiptsView lists the entries of all receipts.
type receiptsView struct {
	web.Page
	Tabs  []web.Tab
	Rows  []web.Row
	Pager web.Pager
	Empty web.Empty
}

func (c *Console) receipts(w http.ResponseWriter, r *request) error {
	q := r.URL.Query()
	query := provision.ReceiptQuery{Application: app.ID(q.Get("application")), Cursor: q.Get("cursor"), Limit: 50}
	show := q.Get("show")
	switch show {
	case "overdue":
		query.Overdue = true
	case "all":
	default:
		show, query.State = "", provision.ReceiptOpen
	}
	list, err := c.Engine.Receipts(r.Context(), r.By, query)
	if err != nil {
		return err
	}
	v := receiptsView{Page: c.page(w, r, "users", "Receipts of leavers"), Pager: pager(r, list.Next, "")}
	v.Crumbs = []web.Crumb{{Label: "Users", Href: usersPath}}
	v.Subtitle = "Whether the accounts of people who left are off, and how that is known."
	for _, t := range []struct{ key, label string }{{"", "Open"}, {"overdue", "Overdue"}, {"all", "All"}} {
		var pairs []string
		if t.key != "" {
			pairs = append(pairs, "show", t.key)
		}
		if query.Application != "" {
			pairs = append(pairs, "application", string(query.Application))
		}
		v.Tabs = append(v.Tabs, web.Tab{Label: t.label, Href: withQuery(receiptsPath, pairs...), Active: t.key == show})
	}
	v.Page.Tabs = v.Tabs
	for _, x := range list.Items {
		row := web.Row{ID: x.ID, Name: x.Name, Quiet: x.State != provision.ReceiptOpen}
		b, text := receiptBadge(x)
		row.Level = attention(b.Level)
		row.Cells = web.Cells(
			web.Identity{Name: cmp.Or(x.Name, x.UserID), Detail: x.Email, Href: receiptPath(x.UserID)},
			web.Link{Label: x.Label, Href: appPath(x.Application, "provisioning", "people", x.UserID)},
			web.Time{At: x.EndedAt, Now: c.Now()}, twoLines(b, text),
		)
		v.Rows = append(v.Rows, row)
	}
	v.Empty = web.Empty{Icon: "shield-check", Title: "Nothing is open", Text: "The accounts of all people who left are proved to be off."}
	if show == "all" {
		v.Empty = web.Empty{Icon: "shield-check", Title: "Nobody has left yet", Text: "When somebody is suspended, deleted, or leaves an application, the proof that their account is off stands here."}
	}
	return web.Render(w, r.Request, http.StatusOK, receiptsPage(v))
}

// receiptBadge tells an entry in a word and a sentence.
func receiptBadge(x provision.ReceiptItem) (web.Badge, string) {
	switch {
	case x.Overdue:
		return web.Badge{Level: web.Danger, Label: "Overdue"}, x.Why
	case x.State == provision.ReceiptOpen:
		return web.Badge{Level: web.Warn, Label: "Open"}, x.Why
	case x.State == provision.ReceiptWithdrawn:
		return web.Badge{Label: "Came back"}, "Has access again."
	}
	switch x.Outcome {
	case provision.Verified, provision.GoneThere:
		return web.Badge{Level: web.OK, Label: "Proved off"}, x.Finding
	case provision.ByHand:
		return web.Badge{Level: web.Info, Label: "By hand"}, x.ClosedBy + ": " + x.Finding
	case provision.NothingThere:
		return web.Badge{Label: "Sign-on only"}, x.Finding
	}
	return web.Badge{Level: web.Info, Label: "Not read back"}, x.Finding
}

// receiptView is the receipt of one person.
type receiptView struct {
	web.Page
	Receipt  provision.Receipt
	Banner   web.Banner
	Facts    web.Facts
	Now      time.Time
	MayClose bool
	Form     web.Form
}

func (c *Console) receipt(w http.ResponseWriter, r *request) error {
	return c.renderReceipt(w, r, http.StatusOK, web.Form{})
}

func (c *Console) renderReceipt(w http.ResponseWriter, r *request, status int, form web.Form) error {
	id, err := c.Engine.FindLeaver(r.Context(), r.By, r.PathValue("user"))
	if err != nil {
		return err
	}
	x, err := c.Engine.Receipt(r.Context(), r.By, id)
	if err != nil {
		return err
	}
	name := cmp.Or(x.Name, x.UserID)
	v := receiptView{Page: c.page(w, r, "users", "Receipt for "+name), Receipt: x, Now: c.Now(), MayClose: r.can(access.ManageApplications), Form: form}
	v.Crumbs = []web.Crumb{{Label: "Users", Href: usersPath}, {Label: "Receipts", Href: withQuery(receiptsPath, "show", "all")}}
	v.Subtitle = "Proof that access has ended, as of " + exactly(x.At) + "."
	v.Actions = web.Button{Label: "Print", Icon: "file-text", Type: "button", Attrs: templ.Attributes{"data-print": ""}}
	v.Banner = web.Banner{Level: web.OK, Text: x.Sentence}
	switch {
	case x.Overdue > 0:
		v.Banner.Level = web.Danger
	case !x.Complete:
		v.Banner.Level = web.Warn
	case len(x.Items) == 0 && (x.State == "active" || x.State == "staged"):
		v.Banner.Level = web.Info
	}
	person := templ.Component(web.Text(name))
	if x.State != "deleted" {
		person = web.Link{Label: name, Href: userPath(directory.UserID(x.UserID))}
	}
	v.Facts = web.Facts{{Term: "Person", Value: person}}
	if x.Email != "" {
		v.Facts = append(v.Facts, web.Fact{Term: "E-mail", Value: web.Text(x.Email)})
	}
	v.Facts = append(v.Facts, web.Fact{Term: "Id", Value: web.Code(x.UserID)}, web.Fact{Term: "State", Value: web.Text(x.State)})
	if x.Ended.ID != "" {
		v.Facts = append(v.Facts,
			web.Fact{Term: "All sessions ended", Value: web.Text(exactly(x.Ended.At))},
			web.Fact{Term: "Because", Value: causeText(x.Ended)})
	}
	v.Facts = append(v.Facts, web.Fact{Term: "Sessions open here now", Value: web.Number(x.Sessions)})
	return web.Render(w, r.Request, status, receiptPage(v))
}

// exactly is a moment with its second, as proofs name it.
func exactly(t time.Time) string {
	if t.IsZero() {
		return "—"
	}
	return t.UTC().Format("2 January 2006, 15:04:05") + " UTC"
}

// causeText is an event that something follows from, with a link to it.
func causeText(x provision.CauseRef) templ.Component {
	text := strings.TrimSpace(x.Message)
	if x.Actor != "" {
		text = strings.TrimSpace(text + " By " + x.Actor + ".")
	}
	if x.ID == "" {
		return web.Muted(cmp.Or(text, "a comparison by the clock"))
	}
	return web.Link{Label: cmp.Or(text, "event"), Href: activityPath + "/" + x.ID}
}

// receiptFacts are the proof at one application.
func receiptFacts(x provision.ReceiptItem) web.Facts {
	ended := "Access ended, and sign-on from here"
	if x.Reason == "suspended" || x.Reason == "deleted" {
		ended = "Sessions and sign-on from here ended"
	}
	f := web.Facts{{Term: ended, Value: web.Text(exactly(x.EndedAt))}, {Term: "Because", Value: causeText(x.Cause)}}
	if !x.LastSignOn.IsZero() {
		f = append(f, web.Fact{Term: "Last signed on there", Value: web.Text(exactly(x.LastSignOn))})
	}
	if x.Outcome == provision.NothingThere {
		return append(f, web.Fact{Term: "Account", Value: web.Text(x.Finding)})
	}
	sent := templ.Component(web.Muted("nothing was sent"))
	if !x.SentAt.IsZero() {
		sent = web.Text(exactly(x.SentAt))
	}
	f = append(f, web.Fact{Term: "Account switched off", Value: sent})
	if x.Request != "" {
		text := x.Request
		if x.Answer > 0 {
			text += " → " + strconv.Itoa(x.Answer)
		}
		f = append(f, web.Fact{Term: "By the request", Value: eventLink(text, x.SentEvent)})
	}
	read := templ.Component(web.Muted("not yet"))
	if !x.ReadAt.IsZero() {
		read = eventLink(exactly(x.ReadAt), x.ReadEvent)
	} else if x.Outcome == provision.Unreadable || x.Outcome == provision.ByHand {
		read = web.Muted("no")
	}
	f = append(f, web.Fact{Term: "Read back", Value: read})
	if x.Finding != "" && x.Outcome != provision.ByHand {
		f = append(f, web.Fact{Term: "Found", Value: web.Text(x.Finding)})
	}
	if x.Outcome == provision.ByHand {
		f = append(f, web.Fact{Term: "Closed by " + x.ClosedBy, Value: web.Text(exactly(x.ClosedAt) + ": " + x.Finding)})
	}
	if x.Why != "" {
		f = append(f, web.Fact{Term: "Still open because", Value: web.Text(x.Why)})
	}
	if !x.AlarmedAt.IsZero() {
		f = append(f, web.Fact{Term: "Alarm given", Value: web.Text(exactly(x.AlarmedAt))})
	}
	return f
}

func eventLink(text, event string) templ.Component {
	if event == "" {
		return web.Text(text)
	}
	return web.Link{Label: text, Href: activityPath + "/" + event}
}

func (c *Console) closeReceipt(w http.ResponseWriter, r *request) error {
	if err := c.Engine.CloseReceipt(r.Context(), r.By, r.PostForm.Get("entry"), r.PostForm.Get("note")); err != nil {
		form, ok := web.PostedForm(r.Request).Fail(err)
		if !ok {
			return err
		}
		return c.renderReceipt(w, r, web.Status(err), form)
	}
	return done(w, r, receiptPath(r.PathValue("user")), "The entry is closed by your word.")
}

// explained adds what is pending and what was sent to the page about a person at an application.
func (p *objectPage) explained(x provision.Explanation) {
	if x.Waiting != nil {
		p.Facts = append(p.Facts, web.Fact{Term: "Waiting", Value: web.Text("since " + web.Ago(x.Waiting.Since, p.Now))},
			web.Fact{Term: "Asked for by", Value: causeText(x.WaitingCause)})
		if x.Waiting.Attempts > 0 {
			p.Facts = append(p.Facts, web.Fact{Term: "Tried", Value: web.Text(count(x.Waiting.Attempts, "time", "times"))})
		}
	}
	if x.WaitingFor != "" {
		p.Facts = append(p.Facts, web.Fact{Term: "Not sent yet because", Value: web.Text(x.WaitingFor)})
	}
	if !x.NextTry.IsZero() {
		p.Facts = append(p.Facts, web.Fact{Term: "Next try", Value: web.Time{At: x.NextTry, Now: p.Now}})
	}
	p.Receipt = x.Receipt
	for _, g := range x.Grants {
		p.Grants = append(p.Grants, web.Row{ID: string(g.Group), Name: g.Name, Cells: web.Cells(
			web.Link{Label: g.Name, Href: groupPath(g.Group)}, web.Time{At: g.Since, Now: p.Now}, causeText(g.Cause))})
	}
	for i, s := range x.Pending {
		var list []string
		for _, ch := range s.Changes {
			list = append(list, ch.Path+": "+plainValue(ch.Old)+" → "+plainValue(ch.New))
		}
		p.Pending = append(p.Pending, web.Row{ID: strconv.Itoa(i), Name: s.Text, Cells: web.Cells(web.Text(s.Text), web.Text(strings.Join(list, "; ")))})
	}
	for _, s := range x.Sent {
		row := web.Row{ID: s.Event, Name: s.Message}
		badge := web.Badge{Level: web.OK, Label: "Done"}
		if s.Outcome != audit.Success {
			badge, row.Level = web.Badge{Level: web.Danger, Label: "Failed"}, web.Danger
		}
		if s.Answer > 0 {
			badge.Label += " (" + strconv.Itoa(s.Answer) + ")"
		}
		row.Cells = web.Cells(web.Time{At: s.At, Now: p.Now}, web.Link{Label: s.Message, Href: activityPath + "/" + s.Event}, badge, causeText(s.Cause))
		p.Sent = append(p.Sent, row)
	}
}

func plainValue(v any) string {
	switch x := v.(type) {
	case nil:
		return "nothing"
	case string:
		if r := []rune(x); len(r) > 60 {
			return string(r[:59]) + "…"
		}
		return x
	case bool:
		return strconv.FormatBool(x)
	}
	return "…"
}

// alarmForm is the form of when somebody is called, in minutes.
func (c *Console) alarmForm(r *request) (web.Form, error) {
	a, err := c.Engine.Alarms(r.Context(), r.By)
	minutes := func(seconds int) string { return strconv.FormatFloat(float64(seconds)/60, 'f', -1, 64) }
	return web.NewForm(map[string]string{"receiptSeconds": minutes(a.ReceiptSeconds), "silenceSeconds": minutes(a.SilenceSeconds)}), err
}

func (c *Console) saveAlarms(w http.ResponseWriter, r *request) error {
	var bad problem.Fields
	read := func(name string) int {
		n, err := strconv.ParseFloat(strings.TrimSpace(r.PostForm.Get(name)), 64)
		if err != nil || n != n || n <= 0 || n > 30*24*60 {
			bad.Add(name, "Enter a number of minutes, up to 30 days.")
			return 0
		}
		return max(1, int(n*60+0.5))
	}
	a := provision.Alarms{ReceiptSeconds: read("receiptSeconds"), SilenceSeconds: read("silenceSeconds")}
	err := bad.Err()
	if err == nil {
		if err = c.Engine.SetAlarms(r.Context(), r.By, a); err == nil {
			return done(w, r, settingsPath, "The alarms are saved.")
		}
	}
	form, ok := web.PostedForm(r.Request).Fail(err)
	if !ok {
		return err
	}
	org, oerr := c.Directory.Organization(r.Context())
	if oerr != nil {
		return oerr
	}
	return c.renderSettings(w, r, web.Status(err), web.NewForm(map[string]string{"organization": org.Name}), &form)
}
