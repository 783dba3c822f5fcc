package console

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/web"
)

const activityPath = root + "/activity"

func eventPath(id string) string { return activityPath + "/" + url.PathEscape(id) }

// eventsView is a list of events.
type eventsView struct {
	Events []audit.Event
	Pager  web.Pager
	// All leads to the same events in the activity, with more filters; empty leaves it out.
	All string
	// Empty stands in when there are none.
	Empty web.Empty
	Now   time.Time
}

func (c *Console) eventsView(r *request, list store.Page[audit.Event], all string) eventsView {
	return eventsView{
		Events: list.Items, Pager: pager(r, list.Next, ""), All: all, Now: c.Now(),
		Empty: web.Empty{Icon: "activity", Title: "Nothing yet", Text: "What happens is noted here, with who did it and what followed."},
	}
}

// eventEntry is an event as a row of a log.
func eventEntry(e audit.Event, now time.Time) web.LogEntry {
	return web.LogEntry{
		At: e.At, Now: now, Level: outcomeBadge(e.Outcome).Level, Outcome: outcomeBadge(e.Outcome).Label,
		Title: eventTitle(e), Detail: eventDetail(e), Code: string(e.Type), Load: eventPath(e.ID), Href: eventPath(e.ID),
	}
}

func outcomeBadge(o audit.Outcome) web.Badge {
	switch o {
	case audit.Failure:
		return web.Badge{Level: web.Danger, Label: "Failed"}
	case audit.Denied:
		return web.Badge{Level: web.Warn, Label: "Denied", Icon: "ban"}
	default:
		return web.Badge{Level: web.OK, Label: "Done"}
	}
}

// eventTitle says what happened, also for an event without a sentence of its own.
func eventTitle(e audit.Event) string {
	if e.Message != "" {
		return e.Message
	}
	title := eventName(e.Type)
	if e.Object.Name != "" {
		title += ": " + e.Object.Name
	}
	return title
}

// eventName is a type of event in words: "User create provision".
func eventName(t audit.Type) string {
	words := strings.Split(string(t), "_")
	for i, w := range words {
		if w == "sso" || w == "api" {
			words[i] = strings.ToUpper(w)
		}
	}
	return upper(strings.Join(words, " "))
}

func eventDetail(e audit.Event) string {
	who := actorName(e.Actor)
	if e.Actor.Address != "" {
		who += " · " + e.Actor.Address
	}
	return who
}

func actorName(a access.Actor) string {
	switch {
	case a.Kind == access.System:
		return "Latchkey itself"
	case a.Kind == access.APIKey:
		return "API key " + a.Name
	case a.Name == "":
		return "Somebody unknown"
	default:
		return a.Name
	}
}

// objectHref leads to the object of an event, "" where there is no page for it. The object may
// be gone; its page then says so.
func objectHref(o audit.Ref) string {
	if o.ID == "" {
		return ""
	}
	switch o.Kind {
	case audit.KindUser:
		return usersPath + "/" + url.PathEscape(o.ID)
	case audit.KindGroup:
		return groupsPath + "/" + url.PathEscape(o.ID)
	case audit.KindApplication:
		return appPath(app.ID(o.ID))
	case audit.KindAPIKey:
		return settingsPath + "/keys"
	case audit.KindSettings:
		return settingsPath
	default:
		return ""
	}
}

func objectKind(kind string) string {
	switch kind {
	case audit.KindAPIKey:
		return "API key"
	case "":
		return "Object"
	default:
		return upper(kind)
	}
}

// chip is a filter that isn't in the filter bar, with the way to take it off.
type chip struct{ Text, Off string }

// activityView is the page of all events.
type activityView struct {
	Log     eventsView
	Filter  web.FilterBar
	More    web.Form
	Hidden  map[string]string
	Chips   []chip
	CSV     string
	Lines   string
	Invalid string
}

// eventQuery reads a search from an address. What it can't read it says, and leaves out.
func eventQuery(q url.Values) (audit.Query, error) {
	var bad problem.Fields
	out := audit.Query{
		Text: q.Get("q"), ActorID: q.Get("actor"), ApplicationID: q.Get("application"), Outcome: audit.Outcome(q.Get("outcome")),
		Correlation: q.Get("correlation"), Cause: q.Get("cause"), Cursor: q.Get("cursor"),
	}
	if t := q.Get("type"); t != "" {
		out.Types = typesOf(t)
		if out.Types == nil {
			bad.Add("type", "There is no event of type %s.", t)
		}
	}
	if kind, id, _ := strings.Cut(q.Get("object"), ":"); kind != "" {
		out.Object = audit.Ref{Kind: kind, ID: id}
	}
	out.From = readDay(q.Get("from"), "from", 0, &bad)
	out.To = readDay(q.Get("to"), "to", 24*time.Hour, &bad)
	if !out.From.IsZero() && !out.To.IsZero() && !out.From.Before(out.To) {
		bad.Add("to", "The last day lies before the first one.")
	}
	return out, bad.Err()
}

func readDay(s, field string, plus time.Duration, bad *problem.Fields) time.Time {
	if s == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		bad.Add(field, "Enter a day such as 2026-11-25.")
		return time.Time{}
	}
	return t.Add(plus)
}

// Kinds of event that are looked for together; other values of the filter are a single type.
func eventKinds() []web.Option {
	return []web.Option{
		{Value: "", Label: "Everything"},
		{Value: "@signin", Label: "Sign-in and sign-on"},
		{Value: "@provision", Label: "Provisioning"},
		{Value: "@directory", Label: "Users and groups"},
		{Value: "@application", Label: "Applications"},
		{Value: "@security", Label: "Passwords, keys and settings"},
	}
}

func typesOf(name string) []audit.Type {
	switch name {
	case "@signin":
		return []audit.Type{audit.UserLoginAttempt, audit.AdminLoginAttempt, audit.UserLockout, audit.SSOAuth, audit.SessionEnd}
	case "@provision":
		return []audit.Type{
			audit.UserLookupProvision, audit.UserCreateProvision, audit.UserUpdateProvision, audit.UserDeprovision, audit.UserDeleteProvision,
			audit.GroupLookupProvision, audit.GroupCreateProvision, audit.GroupUpdateProvision, audit.GroupDeleteProvision,
			audit.UserVerifyProvision, audit.ReceiptOverdue, audit.ReceiptClose, audit.IntegrationSilent, audit.IntegrationAnswers,
		}
	case "@directory":
		return []audit.Type{
			audit.UserCreate, audit.UserUpdate, audit.UserDelete, audit.UserActivated, audit.UserSuspended, audit.UserUnsuspended,
			audit.UserRoleChange, audit.UserImport, audit.GroupCreate, audit.GroupUpdate, audit.GroupDelete, audit.AssociationChange,
		}
	case "@application":
		return []audit.Type{
			audit.ApplicationCreate, audit.ApplicationUpdate, audit.ApplicationDelete, audit.AssociationChange, audit.CertificateChange,
			audit.IntegrationActivate, audit.IntegrationDeactivate, audit.IntegrationPause, audit.IntegrationResume, audit.IntegrationStop,
		}
	case "@security":
		return []audit.Type{audit.UserPasswordSet, audit.OneTimeLinkCreate, audit.APIKeyCreate, audit.APIKeyRevoke, audit.UserRoleChange, audit.SettingsUpdate}
	}
	if t := audit.Type(name); slices.Contains(audit.Types(), t) {
		return []audit.Type{t}
	}
	return nil
}

func typeFilter() []web.Option {
	list := eventKinds()
	for _, t := range audit.Types() {
		list = append(list, web.Option{Value: string(t), Label: eventName(t), Group: "One type"})
	}
	return list
}

func (c *Console) activity(w http.ResponseWriter, r *request) error {
	q := r.URL.Query()
	query, qerr := eventQuery(q)
	if qerr != nil && !problem.Is(qerr, problem.Invalid) {
		return qerr
	}
	list, err := c.Events.Search(r.Context(), r.By, query)
	if err != nil {
		return err
	}
	apps, err := c.Apps.List(r.Context(), r.By, app.Query{Limit: 200})
	if err != nil {
		return err
	}
	appOptions := []web.Option{{Value: "", Label: "Any application"}}
	for _, a := range apps.Items {
		appOptions = append(appOptions, web.Option{Value: string(a.ID), Label: a.Label})
	}
	v := activityView{Log: c.eventsView(r, list, "")}
	v.Log.Empty = web.Empty{Icon: "search", Title: "No event matches", Text: "Take a filter away, or look at more days.", Action: web.Button{Label: "Show everything", Href: activityPath}}
	hidden := func(names ...string) map[string]string {
		m := map[string]string{}
		for _, n := range names {
			if s := q.Get(n); s != "" {
				m[n] = s
			}
		}
		return m
	}
	v.Hidden = hidden("q", "type", "outcome", "application", "actor", "object", "cause")
	v.Filter = web.FilterBar{
		Action: activityPath, Query: query.Text, Placeholder: "Name, address or text", Target: "#events",
		Hidden: hidden("from", "to", "actor", "object", "correlation", "cause"),
		Filters: []web.Filter{
			{Name: "type", Label: "What", Value: q.Get("type"), Options: typeFilter()},
			{Name: "outcome", Label: "Outcome", Value: q.Get("outcome"), Options: []web.Option{
				{Value: "", Label: "Any outcome"}, {Value: string(audit.Success), Label: "Done"}, {Value: string(audit.Failure), Label: "Failed"}, {Value: string(audit.Denied), Label: "Denied"},
			}},
			{Name: "application", Label: "Application", Value: q.Get("application"), Options: appOptions},
		},
	}
	v.More = web.NewForm(hidden("from", "to", "correlation"))
	if qerr != nil {
		v.More, _ = v.More.Fail(qerr)
	}
	v.Chips = activityChips(r, query, list.Items)
	if len(q) > 0 {
		v.Filter.Clear = activityPath
	}
	narrowed := hidden("q", "type", "outcome", "application", "actor", "object", "correlation", "cause", "from", "to")
	export := url.Values{}
	for k, s := range narrowed {
		export.Set(k, s)
	}
	v.CSV, v.Lines = activityPath+"/export.csv"+encoded(export), activityPath+"/export.jsonl"+encoded(export)
	p := c.page(w, r, "activity", "Activity")
	p.Subtitle = "Who did what, what was sent, and what came back."
	p.Actions = web.Menu{Label: "Export", Items: []web.MenuItem{
		{Label: "CSV", Icon: "download", Href: v.CSV, Attrs: map[string]any{"download": true}},
		{Label: "JSON Lines", Icon: "braces", Href: v.Lines, Attrs: map[string]any{"download": true}},
	}}
	status := http.StatusOK
	if qerr != nil {
		status = web.Status(qerr)
	}
	return web.Render(w, r.Request, status, activityPage(p, v))
}

// activityChips names the filters that links set, with names as far as the events found tell them.
func activityChips(r *request, q audit.Query, events []audit.Event) []chip {
	var list []chip
	add := func(param, text string) {
		list = append(list, chip{Text: text, Off: without(r, param)})
	}
	if q.Object.Kind != "" {
		switch kind := objectKind(q.Object.Kind); {
		case q.Object.ID == "":
			add("object", "of the kind “"+kind+"”")
		case len(events) > 0 && events[0].Object.Name != "":
			add("object", "about "+events[0].Object.Name)
		default:
			add("object", "about one "+strings.ToLower(kind))
		}
	}
	if q.ActorID != "" {
		who := "one person or key"
		if len(events) > 0 {
			who = actorName(events[0].Actor)
		}
		add("actor", "done by "+who)
	}
	if q.Cause != "" {
		add("cause", "that followed from one event")
	}
	if q.Correlation != "" {
		add("correlation", "of one request")
	}
	if !q.From.IsZero() {
		add("from", "since "+day(q.From))
	}
	if !q.To.IsZero() {
		add("to", "until "+day(q.To.Add(-time.Second)))
	}
	return list
}

// eventView is one event with all that is known of it.
type eventView struct {
	Event audit.Event
	// Application is the label of the event's application, "" without one.
	Application string
	Cause       *audit.Event
	Changes     web.Diff
	Facts       web.Facts
	Blocks      []web.CodeBlock
	// Fix leads to where something can be done about it; without a label there is nothing to do.
	Fix web.Button
}

func (c *Console) event(w http.ResponseWriter, r *request) error {
	e, err := c.Events.Get(r.Context(), r.By, r.PathValue("id"))
	if err != nil {
		return err
	}
	v, err := c.eventView(r, e)
	if err != nil {
		return err
	}
	if web.IsHTMX(r.Request) {
		return web.Render(w, r.Request, http.StatusOK, eventBody(v))
	}
	p := c.page(w, r, "activity", eventName(e.Type))
	p.Subtitle = eventTitle(e)
	p.Badge = outcomeBadge(e.Outcome)
	p.Crumbs = []web.Crumb{{Label: "Activity", Href: activityPath}}
	return web.Render(w, r.Request, http.StatusOK, eventPage(p, v))
}

func (c *Console) eventView(r *request, e audit.Event) (eventView, error) {
	v := eventView{Event: e}
	if e.ApplicationID != "" {
		a, err := c.Apps.Get(r.Context(), r.By, app.ID(e.ApplicationID))
		switch {
		case problem.Is(err, problem.NotFound):
			v.Application = "a deleted application"
		case err != nil:
			return v, err
		default:
			v.Application = a.Label
		}
	}
	if e.Cause != "" {
		cause, err := c.Events.Get(r.Context(), r.By, e.Cause)
		if err != nil && !problem.Is(err, problem.NotFound) {
			return v, err
		}
		if err == nil {
			v.Cause = &cause
		}
	}
	for _, x := range e.Changes {
		v.Changes = append(v.Changes, web.Change{Name: x.Attribute, Old: shownValue(x.Old), New: shownValue(x.New)})
	}
	v.Facts, v.Blocks = detailParts(e.Detail)
	v.Fix = fixOf(e)
	return v, nil
}

// fixOf leads from something that went wrong to where one sees why, and can try it again.
func fixOf(e audit.Event) web.Button {
	if e.Outcome != audit.Success && e.ApplicationID != "" && (e.Type == audit.SSOAuth || e.Type == audit.SLO) {
		return web.Button{Label: "The last exchanges", Icon: "scan-line", Href: appPath(app.ID(e.ApplicationID), "sign-on", "exchanges")}
	}
	if e.Outcome == audit.Success || e.ApplicationID == "" || e.Object.ID == "" || !strings.HasSuffix(string(e.Type), "provision") {
		return web.Button{}
	}
	kind := "people"
	if e.Object.Kind == audit.KindGroup {
		kind = "groups"
	}
	return web.Button{Label: "How it stands now", Icon: "list-checks", Href: appPath(app.ID(e.ApplicationID), "provisioning", kind, e.Object.ID)}
}

// exchangeParts is one request to a target and its answer.
func exchangeParts(detail any) (web.Facts, []web.CodeBlock) {
	var x scim.Exchange
	raw, err := json.Marshal(detail)
	if err != nil || json.Unmarshal(raw, &x) != nil || x.Method == "" {
		return nil, nil
	}
	answer := "none came"
	if x.Status != 0 {
		answer = strings.TrimSpace(fmt.Sprintf("%d %s", x.Status, http.StatusText(x.Status)))
	}
	facts := web.Facts{
		{Term: "Request", Value: web.Code(x.Method + " " + x.URL)},
		{Term: "Answer", Value: web.Text(fmt.Sprintf("%s, after %s", answer, x.Duration.Round(100*time.Microsecond)))},
	}
	for _, name := range slices.Sorted(maps.Keys(x.Header)) {
		facts = append(facts, web.Fact{Term: name, Value: web.Code(x.Header[name])})
	}
	var blocks []web.CodeBlock
	for _, b := range []web.CodeBlock{{Label: "What was sent", Text: x.RequestBody}, {Label: "What came back", Text: x.ResponseBody}} {
		if b.Text == "" {
			continue
		}
		if pretty, ok := prettyJSON(b.Text); ok {
			b.Text = pretty
		}
		blocks = append(blocks, b)
	}
	return facts, blocks
}

// detailParts splits what else is known of an event: short values are facts, requests and
// answers are blocks.
func detailParts(detail map[string]any) (web.Facts, []web.CodeBlock) {
	var facts web.Facts
	var blocks []web.CodeBlock
	names := make([]string, 0, len(detail))
	for name := range detail {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if f, b := exchangeParts(detail[name]); f != nil {
			facts, blocks = append(facts, f...), append(blocks, b...)
			continue
		}
		text, long := detailText(detail[name])
		if text == "" {
			continue
		}
		if long {
			blocks = append(blocks, web.CodeBlock{Label: attributeLabel(name), Text: text})
		} else {
			facts = append(facts, web.Fact{Term: attributeLabel(name), Value: web.Text(text)})
		}
	}
	return facts, blocks
}

const shortValue = 100 // characters that fit beside a name

func detailText(v any) (text string, long bool) {
	switch x := v.(type) {
	case nil:
		return "", false
	case string:
		if pretty, ok := prettyJSON(x); ok {
			return pretty, true
		}
		return x, len(x) > shortValue || strings.Contains(x, "\n")
	case map[string]any:
		raw, err := json.MarshalIndent(x, "", "  ")
		if err != nil {
			return fmt.Sprint(x), true
		}
		return string(raw), true
	default:
		text = shownValue(v)
		return text, len(text) > shortValue
	}
}

// prettyJSON indents the JSON in a text: the whole of it, or what follows the first empty line,
// as in a recorded HTTP message.
func prettyJSON(s string) (string, bool) {
	head, body := "", s
	if !strings.HasPrefix(strings.TrimSpace(s), "{") && !strings.HasPrefix(strings.TrimSpace(s), "[") {
		for _, gap := range []string{"\r\n\r\n", "\n\n"} {
			if h, b, ok := strings.Cut(s, gap); ok {
				head, body = h+"\n\n", b
				break
			}
		}
		if head == "" {
			return "", false
		}
	}
	var v any
	d := json.NewDecoder(strings.NewReader(body))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return "", false
	}
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return "", false
	}
	return head + string(raw), true
}

// shownValue is an old or new value as text.
func shownValue(v any) string {
	switch x := v.(type) {
	case nil:
		return ""
	case string:
		return x
	case bool:
		if x {
			return "yes"
		}
		return "no"
	case []any:
		parts := make([]string, 0, len(x))
		for _, p := range x {
			switch p.(type) {
			case map[string]any, []any:
				raw, err := json.Marshal(x)
				if err != nil {
					return fmt.Sprint(x)
				}
				return string(raw)
			}
			parts = append(parts, shownValue(p))
		}
		return strings.Join(parts, ", ")
	default:
		raw, err := json.Marshal(v)
		if err != nil {
			return fmt.Sprint(v)
		}
		return string(raw)
	}
}

// attributeLabel turns a name of the JSON form into words: "userAgent" is "User agent".
func attributeLabel(name string) string {
	var b strings.Builder
	for i, c := range name {
		if c >= 'A' && c <= 'Z' && i > 0 {
			b.WriteByte(' ')
			c += 'a' - 'A'
		}
		b.WriteRune(c)
	}
	return upper(strings.ReplaceAll(b.String(), "_", " "))
}

// maxExport bounds how many events one export has.
const maxExport = 100_000

// exportEvent is an event as exports have it.
type exportEvent struct {
	ID          string         `json:"id"`
	At          time.Time      `json:"at"`
	Type        audit.Type     `json:"type"`
	Outcome     audit.Outcome  `json:"outcome"`
	Message     string         `json:"message,omitempty"`
	ActorKind   access.Kind    `json:"actorKind"`
	ActorID     string         `json:"actorId,omitempty"`
	ActorName   string         `json:"actorName,omitempty"`
	Address     string         `json:"address,omitempty"`
	Object      audit.Ref      `json:"object"`
	Application string         `json:"applicationId,omitempty"`
	Correlation string         `json:"correlation,omitempty"`
	Cause       string         `json:"cause,omitempty"`
	Changes     []audit.Change `json:"changes,omitempty"`
	Detail      map[string]any `json:"detail,omitempty"`
}

func exported(e audit.Event) exportEvent {
	return exportEvent{
		ID: e.ID, At: e.At.UTC(), Type: e.Type, Outcome: e.Outcome, Message: e.Message, ActorKind: e.Actor.Kind, ActorID: e.Actor.ID,
		ActorName: e.Actor.Name, Address: e.Actor.Address, Object: e.Object, Application: e.ApplicationID,
		Correlation: e.Actor.Correlation, Cause: e.Cause, Changes: e.Changes, Detail: e.Detail,
	}
}

func (c *Console) exportCSV(w http.ResponseWriter, r *request) error {
	out := csv.NewWriter(w)
	return c.export(w, r, "csv", "text/csv; charset=utf-8", func() error {
		return out.Write([]string{"id", "at", "type", "outcome", "message", "actorKind", "actorId", "actorName", "address", "objectKind", "objectId", "objectName", "applicationId", "correlation", "cause", "changes", "detail"})
	}, func(e exportEvent) error {
		changes, err := jsonCell(e.Changes, len(e.Changes) == 0)
		if err != nil {
			return err
		}
		detail, err := jsonCell(e.Detail, len(e.Detail) == 0)
		if err != nil {
			return err
		}
		row := []string{
			e.ID, e.At.Format(time.RFC3339Nano), string(e.Type), string(e.Outcome), e.Message, string(e.ActorKind), e.ActorID, e.ActorName,
			e.Address, e.Object.Kind, e.Object.ID, e.Object.Name, e.Application, e.Correlation, e.Cause, changes, detail,
		}
		for i, s := range row {
			row[i] = harmless(s)
		}
		return out.Write(row)
	}, func() error {
		out.Flush()
		return out.Error()
	})
}

func jsonCell(v any, empty bool) (string, error) {
	if empty {
		return "", nil
	}
	raw, err := json.Marshal(v)
	return string(raw), err
}

// harmless keeps spreadsheets from taking a cell for a formula: names come from people.
func harmless(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

func (c *Console) exportLines(w http.ResponseWriter, r *request) error {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	return c.export(w, r, "jsonl", "application/jsonl; charset=utf-8", nil, func(e exportEvent) error { return out.Encode(e) }, nil)
}

// export streams the events that the address selects, newest first, page by page, so that no
// more than one page is in memory.
func (c *Console) export(w http.ResponseWriter, r *request, ext, mediaType string, begin func() error, write func(exportEvent) error, flush func() error) error {
	q, err := eventQuery(r.URL.Query())
	if err != nil {
		return err
	}
	q.Cursor, q.Limit = "", 500
	list, err := c.Events.Search(r.Context(), r.By, q)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Content-Disposition", `attachment; filename="latchkey-activity-`+c.Now().UTC().Format("2006-01-02-150405")+`.`+ext+`"`)
	h.Set("Cache-Control", "no-store")
	if begin != nil {
		if err := begin(); err != nil {
			return err
		}
	}
	for done := 0; ; {
		for _, e := range list.Items {
			if err := write(exported(e)); err != nil {
				return fmt.Errorf("console: export: %w", err)
			}
		}
		if flush != nil {
			if err := flush(); err != nil {
				return fmt.Errorf("console: export: %w", err)
			}
		}
		done += len(list.Items)
		if list.Next == "" || done >= maxExport {
			return nil
		}
		q.Cursor = list.Next
		if list, err = c.Events.Search(r.Context(), r.By, q); err != nil {
			return err
		}
	}
}
