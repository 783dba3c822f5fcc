package console

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/a-h/templ"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// readsMetadata tells whether the other side's metadata has a place of its own on the sign-on tab: where the product has
// any, or its address is watched.
func (f appFrame) readsMetadata() bool { return f.Con.SAML.SPMetadata || f.Con.Generic || f.Watched }

// showsMetadata is readsMetadata, or that an address was tried all the same.
func (p signOnPage) showsMetadata() bool { return p.readsMetadata() || p.Watch.Failed() }

func watchForm(src app.MetadataSource) web.Form {
	return web.NewForm(map[string]string{"url": src.URL, "entityId": src.EntityID, "signingCertificate": src.SigningCertificate}).Named("watch")
}

// watchBadge says how it stands with a watched address.
func watchBadge(src app.MetadataSource) web.Badge {
	switch {
	case src.Proposal != nil:
		return web.Badge{Level: web.Warn, Label: "Changes wait for you", Icon: "git-compare"}
	case src.Error != "":
		return web.Badge{Level: web.Warn, Label: "Can't be read"}
	}
	return web.Badge{Level: web.OK, Label: "Watched"}
}

// proposed says in one sentence that changes wait.
func proposed(label string, p *app.MetadataProposal) string {
	return "The metadata of " + label + " has changed: " + plural(len(p.Changes), "one value differs", web.Number(len(p.Changes)).String()+" values differ") + " from what is in use."
}

// metadataProblem puts what is wrong with a file or an address into one of the two forms.
func (c *Console) metadataProblem(w http.ResponseWriter, r *request, p signOnPage, to func(*signOnPage, web.Form), form web.Form, err error) error {
	form, ok := form.Fail(err)
	if !ok {
		return err
	}
	to(&p, form)
	return web.Render(w, r.Request, web.Status(err), signOnView(p))
}

// uploadMetadata takes a file and shows what it would change.
func (c *Console) uploadMetadata(w http.ResponseWriter, r *request) error {
	if err := mayManage(r); err != nil {
		return err
	}
	p, err := c.signOnFrame(w, r)
	if err != nil {
		return err
	}
	xml, err := postedFile(r, "metadata", app.MaxSPMetadata)
	if err == nil && len(xml) == 0 {
		err = problem.InvalidField("metadata", "Choose the metadata file of %s.", p.product())
	}
	var ids []string
	if err == nil {
		ids, err = c.Apps.SPEntityIDs(r.By, xml)
	}
	if err == nil && len(ids) == 1 { // what can't be taken isn't kept
		_, err = c.Apps.PreviewMetadata(r.Context(), r.By, p.App.ID, xml, ids[0])
	}
	if err != nil {
		return c.metadataProblem(w, r, p, func(p *signOnPage, f web.Form) { p.File = f }, web.Form{}.Named("file"), err)
	}
	u := metadataFile{ID: store.NewID(), By: r.By.ID, Application: p.App.ID, EntityIDs: ids, XML: xml}
	now := c.Now()
	err = c.DB.Update(r.Context(), func(tx *store.Tx) error {
		if err := pruneUploads(tx, now.Add(-uploadLife)); err != nil {
			return err
		}
		return insertMetadataFile(tx, now, u)
	})
	if err != nil {
		return err
	}
	return redirect(w, r, p.path("sign-on", "metadata", u.ID), web.Neutral, "")
}

// metadataPage shows what a document would change, to take it or not.
type metadataPage struct {
	appFrame
	Proposal app.MetadataProposal
	Diff     web.Diff
	// Entity is whose values they are; Choices is how many others the file holds.
	Entity  string
	Choices int
	// Where is the page that shows this, Take and Drop are where its buttons post.
	Where, Take, Drop      string
	TakeLabel, DropLabel   string
	Trouble, TroubleDetail string
	// Watched tells that the document is at a watched address.
	FromURL string
}

// metadataChoicePage chooses one of the entities of a file.
type metadataChoicePage struct {
	appFrame
	Query string
	Found []string
	All   int
	Path  string
	Pager web.Pager
}

// choicesShown is how many entities of an aggregate are listed at once.
const choicesShown = 50

func (c *Console) loadMetadataFile(r *request) (metadataFile, error) {
	var u metadataFile
	if err := mayManage(r); err != nil {
		return u, err
	}
	err := c.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		u, err = getMetadataFile(tx, r.PathValue("upload"))
		return err
	})
	if err == nil && (u.Application != app.ID(r.PathValue("id")) || u.By != r.By.ID) {
		err = errNoMetadataFile()
	}
	return u, err
}

// withXML reads the file's content.
func (c *Console) withXML(r *request, u metadataFile) (metadataFile, error) {
	err := c.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		u.XML, err = readMetadataFile(tx, u.ID)
		return err
	})
	return u, err
}

func (c *Console) showMetadataFile(w http.ResponseWriter, r *request) error {
	u, err := c.loadMetadataFile(r)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	entity := q.Get("entity")
	f, err := c.application(w, r, tabSignOn)
	if err != nil {
		return err
	}
	if entity == "" && len(u.EntityIDs) > 1 && (q.Has("choose") || !slices.Contains(u.EntityIDs, f.App.SAML.SPEntityID)) {
		return c.chooseEntity(w, r, f, u)
	}
	if u, err = c.withXML(r, u); err != nil {
		return err
	}
	return c.renderMetadataFile(w, r, http.StatusOK, f, u, entity, nil)
}

func (c *Console) chooseEntity(w http.ResponseWriter, r *request, f appFrame, u metadataFile) error {
	p := metadataChoicePage{appFrame: f.inner("Which service provider?", "Sign-on", "sign-on"), Query: strings.TrimSpace(r.URL.Query().Get("q")), All: len(u.EntityIDs), Path: f.path("sign-on", "metadata", u.ID)}
	words := strings.Fields(strings.ToLower(p.Query))
	n := 0
	for _, id := range u.EntityIDs {
		text := strings.ToLower(id)
		if slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) }) {
			continue
		}
		if n++; n <= choicesShown {
			p.Found = append(p.Found, id)
		}
	}
	p.Pager.Summary = count(n, "service provider", "service providers")
	if n > choicesShown {
		p.Pager.Summary = fmt.Sprintf("The first %d of %s. Search for the one you want.", choicesShown, web.Number(n))
	}
	p.Subtitle = "The file describes " + count(p.All, "service provider", "service providers") + ". Choose the one that " + f.App.Label + " is."
	return web.Render(w, r.Request, http.StatusOK, metadataChoiceView(p))
}

func (c *Console) renderMetadataFile(w http.ResponseWriter, r *request, status int, f appFrame, u metadataFile, entity string, trouble error) error {
	proposal, err := c.Apps.PreviewMetadata(r.Context(), r.By, f.App.ID, u.XML, entity)
	if problem.Is(err, problem.Invalid) { // the one entity that was chosen can't be taken
		if len(u.EntityIDs) > 1 {
			return redirect(w, r, f.path("sign-on", "metadata", u.ID)+"?choose=1", web.Warn, problem.Public(err))
		}
		return redirect(w, r, f.path("sign-on"), web.Warn, problem.Public(err))
	}
	if err != nil {
		return err
	}
	if entity == "" {
		entity = f.App.SAML.SPEntityID
		if len(u.EntityIDs) == 1 {
			entity = u.EntityIDs[0]
		}
	}
	p := f.metadataPage("What the metadata changes", proposal, trouble)
	p.Entity, p.Choices, p.Where = entity, len(u.EntityIDs)-1, f.path("sign-on", "metadata", u.ID)
	p.Take, p.TakeLabel = p.Where+"/take", "Take these values"
	p.Drop, p.DropLabel = p.Where+"/drop", "Discard the file"
	return web.Render(w, r.Request, status, metadataView(p))
}

func (f appFrame) metadataPage(title string, proposal app.MetadataProposal, trouble error) metadataPage {
	p := metadataPage{appFrame: f.inner(title, "Sign-on", "sign-on"), Proposal: proposal, Diff: samlDiff(proposal.Changes)}
	if trouble != nil {
		p.Trouble = problem.Public(trouble)
	}
	return p
}

// errMetadataStale says that what is approved isn't what was looked at.
func errMetadataStale() error {
	return problem.New(problem.Conflict, "The metadata or the settings have changed since you looked. Below is what it would change now.")
}

func (c *Console) takeMetadataFile(w http.ResponseWriter, r *request) error {
	u, err := c.loadMetadataFile(r)
	if err != nil {
		return err
	}
	f, err := c.application(w, r, tabSignOn)
	if err != nil {
		return err
	}
	if u, err = c.withXML(r, u); err != nil {
		return err
	}
	entity := r.PostForm.Get("entity")
	now, err := c.Apps.PreviewMetadata(r.Context(), r.By, f.App.ID, u.XML, entity)
	if err != nil {
		return err
	}
	if now.Hash != r.PostForm.Get("hash") {
		return c.renderMetadataFile(w, r, http.StatusConflict, f, u, entity, errMetadataStale())
	}
	got, err := c.Apps.ImportSPMetadata(r.Context(), r.By, f.App.ID, u.XML, entity)
	if k := problem.KindOf(err); err != nil && (k == problem.Invalid || k == problem.Conflict) {
		return c.renderMetadataFile(w, r, web.Status(err), f, u, entity, err)
	}
	if err != nil {
		return err
	}
	if err := c.DB.Update(r.Context(), func(tx *store.Tx) error { return deleteUpload(tx, u.ID) }); err != nil {
		return err
	}
	return metadataTaken(w, r, f, got)
}

// metadataTaken tells what was taken.
func metadataTaken(w http.ResponseWriter, r *request, f appFrame, got app.MetadataImport) error {
	message := "The metadata said nothing new."
	if len(got.Changes) > 0 {
		var names []string
		for _, x := range got.Changes {
			names = append(names, samlWord(x.Attribute))
		}
		message = "Taken from the metadata: " + sentenceList(names) + "."
	}
	if a := got.Application.SAML; len(a.Missing) == 0 && a.Status != app.Active {
		message += " Nothing is missing: sign-on can be activated."
	}
	return done(w, r, f.path("sign-on"), message)
}

func (c *Console) dropMetadataFile(w http.ResponseWriter, r *request) error {
	u, err := c.loadMetadataFile(r)
	if err != nil {
		return err
	}
	if err := c.DB.Update(r.Context(), func(tx *store.Tx) error { return deleteUpload(tx, u.ID) }); err != nil {
		return err
	}
	return redirect(w, r, appPath(u.Application, "sign-on"), web.Info, "The file was discarded. Nothing was changed.")
}

// watchMetadata begins to watch an address.
func (c *Console) watchMetadata(w http.ResponseWriter, r *request) error {
	if err := mayManage(r); err != nil {
		return err
	}
	p, err := c.signOnFrame(w, r)
	if err != nil {
		return err
	}
	begun := p.App.SAML.SPEntityID != "" || len(p.App.SAML.ACS) > 0
	src, err := c.Apps.WatchMetadata(r.Context(), r.By, p.App.ID, app.MetadataWatch{
		URL: r.PostForm.Get("url"), EntityID: strings.TrimSpace(r.PostForm.Get("entityId")), SigningCertificate: r.PostForm.Get("signingCertificate"),
	})
	if problem.Is(err, problem.Unavailable) {
		err = problem.InvalidField("url", "%s", problem.Public(err))
	}
	if err != nil {
		return c.metadataProblem(w, r, p, func(p *signOnPage, f web.Form) { p.Watch = f }, web.PostedForm(r.Request).Named("watch"), err)
	}
	switch {
	case src.Proposal != nil:
		return redirect(w, r, p.path("sign-on", "metadata", "changes"), web.Info, "The address is watched from now on. What it says differs from what is in use.")
	case !begun:
		return done(w, r, p.path("sign-on"), "The values were taken from the metadata, and its address is watched from now on.")
	}
	return done(w, r, p.path("sign-on")+"#metadata", "The address is watched from now on. It says what is in use already.")
}

func (c *Console) checkMetadata(w http.ResponseWriter, r *request) error {
	id := app.ID(r.PathValue("id"))
	src, err := c.Apps.CheckMetadataNow(r.Context(), r.By, id)
	switch {
	case err != nil:
		return err
	case src.Error != "":
		return redirect(w, r, appPath(id, "sign-on")+"#metadata", web.Warn, "The metadata can't be taken: "+src.Error)
	case src.Proposal != nil:
		return redirect(w, r, appPath(id, "sign-on", "metadata", "changes"), web.Info, "Checked just now: there are changes.")
	}
	return done(w, r, appPath(id, "sign-on")+"#metadata", "Checked just now: nothing has changed.")
}

func (c *Console) unwatchMetadata(w http.ResponseWriter, r *request) error {
	id := app.ID(r.PathValue("id"))
	if err := c.Apps.UnwatchMetadata(r.Context(), r.By, id); err != nil {
		return err
	}
	return done(w, r, appPath(id, "sign-on"), "The metadata is no longer watched. All settings stay as they are.")
}

func (c *Console) metadataChanges(w http.ResponseWriter, r *request) error {
	return c.renderMetadataChanges(w, r, http.StatusOK, nil)
}

func (c *Console) renderMetadataChanges(w http.ResponseWriter, r *request, status int, trouble error) error {
	f, err := c.application(w, r, tabSignOn)
	if err != nil {
		return err
	}
	if f.Source.Proposal == nil {
		message := "No changes of the metadata wait for anybody."
		if trouble != nil {
			message = "They were approved or dismissed meanwhile, or the metadata is as it was again. Nothing waits any more."
		}
		return redirect(w, r, f.path("sign-on"), web.Info, message)
	}
	p := f.metadataPage("Changes of the metadata", *f.Source.Proposal, trouble)
	p.Entity, p.FromURL, p.Where = f.Source.EntityID, f.Source.URL, f.path("sign-on", "metadata", "changes")
	p.Take, p.TakeLabel = f.path("sign-on", "metadata", "approve"), "Approve"
	p.Drop, p.DropLabel = f.path("sign-on", "metadata", "dismiss"), "Dismiss"
	return web.Render(w, r.Request, status, metadataView(p))
}

func (c *Console) approveMetadata(w http.ResponseWriter, r *request) error {
	if err := mayManage(r); err != nil {
		return err
	}
	f, err := c.application(w, r, tabSignOn)
	if err != nil {
		return err
	}
	got, err := c.Apps.ApproveMetadata(r.Context(), r.By, f.App.ID, r.PostForm.Get("hash"))
	if k := problem.KindOf(err); err != nil && (k == problem.Conflict || k == problem.Invalid) {
		return c.renderMetadataChanges(w, r, web.Status(err), err)
	}
	if err != nil {
		return err
	}
	return metadataTaken(w, r, f, got)
}

func (c *Console) dismissMetadata(w http.ResponseWriter, r *request) error {
	id := app.ID(r.PathValue("id"))
	err := c.Apps.DismissMetadata(r.Context(), r.By, id, r.PostForm.Get("hash"))
	if problem.Is(err, problem.Conflict) {
		return c.renderMetadataChanges(w, r, http.StatusConflict, err)
	}
	if err != nil {
		return err
	}
	return redirect(w, r, appPath(id, "sign-on"), web.Info, "Dismissed. It is not proposed again unless the metadata changes again.")
}

// samlDiff is changes of sign-on settings for people: lists item by item, certificates by the beginning of their
// fingerprints.
func samlDiff(changes []app.Change) web.Diff {
	var out web.Diff
	for _, x := range changes {
		name, note, level := samlWord(x.Attribute), "", web.Neutral
		switch x.Attribute {
		case "spEntityId":
			if x.Old != nil && x.Old != "" {
				level, note = web.Warn, "This is the application's name in every message. Make sure that it is still the same service provider."
			}
		case "acs":
			name = "ACS URL"
		case "spCertificates":
			name = "SP certificate"
		}
		old, is := items(x.Old), items(x.New)
		gone := slices.DeleteFunc(slices.Clone(old), func(s string) bool { return slices.Contains(is, s) })
		came := slices.DeleteFunc(slices.Clone(is), func(s string) bool { return slices.Contains(old, s) })
		if len(gone) == 0 && len(came) == 0 { // only the order
			gone, came = []string{strings.Join(old, ", ")}, []string{strings.Join(is, ", ")}
		}
		for i := range max(len(gone), len(came)) {
			y := web.Change{Name: name, Note: note, Level: level}
			if i < len(gone) {
				y.Old = gone[i]
			}
			if i < len(came) {
				y.New = came[i]
			}
			switch {
			case x.Attribute == "acs" && y.New == "":
				y.Level, y.Note = web.Warn, "Answers are no longer sent there."
			case x.Attribute == "spCertificates" && y.New == "":
				y.Level, y.Note = web.Warn, "What is signed with it is no longer accepted."
			}
			out = append(out, y)
		}
	}
	return out
}

// items are the parts of a value of settings, in words.
func items(v any) []string {
	switch v := v.(type) {
	case nil:
		return nil
	case []string:
		return v
	case []any:
		var out []string
		for _, x := range v {
			out = append(out, items(x)...)
		}
		return out
	case map[string]any: // an assertion consumer service
		text := fmt.Sprint(v["url"])
		if v["default"] == true {
			return []string{fmt.Sprintf("%s (index %v, default)", text, v["index"])}
		}
		return []string{fmt.Sprintf("%s (index %v)", text, v["index"])}
	case bool:
		return []string{yesNo(v)}
	case string:
		if v == "" {
			return nil
		}
		if print, end, ok := strings.Cut(v, " until "); ok && strings.Count(print, ":") > 16 {
			return []string{shortText(print) + " until " + end}
		}
		if t, err := time.Parse(time.RFC3339, v); err == nil {
			return []string{day(t)}
		}
		for _, name := range []func(string) string{bindingName, encryptionName, formatName} {
			if text := name(v); text != v {
				return []string{text}
			}
		}
		return []string{v}
	}
	return []string{fmt.Sprint(v)}
}

// samlWord names a setting of sign-on.
func samlWord(attribute string) string {
	switch attribute {
	case "spEntityId":
		return "SP entity ID"
	case "acs":
		return "ACS URLs"
	case "spCertificates":
		return "SP certificates"
	case "encryptionCertificate":
		return "certificate for encryption"
	case "encryptionAlgorithm":
		return "encryption algorithm"
	case "sloUrl":
		return "single logout URL"
	case "sloBinding":
		return "single logout binding"
	case "sloResponseUrl":
		return "single logout response URL"
	case "metadata.nameIdFormats":
		return "NameID formats it takes"
	case "metadata.authnRequestsSigned":
		return "It signs its requests"
	case "metadata.wantAssertionsSigned":
		return "It wants assertions signed"
	case "metadata.validUntil":
		return "The metadata is valid until"
	}
	return attribute
}

// postedUpload bounds a form with a metadata file.
const postedUpload = app.MaxSPMetadata + 1<<20

// metadataConcern is what home says of an application's watched metadata.
func metadataConcern(v *homeView, a app.Application, src app.MetadataSource) {
	look := func(label, href string) web.Button { return web.Button{Label: label, Small: true, Href: href} }
	switch {
	case src.Proposal != nil:
		v.Concerns = append(v.Concerns, concern{
			Level: web.Warn, Text: proposed(a.Label, src.Proposal), Detail: "Nothing is changed before somebody has approved it.",
			Action: look("Review", appPath(a.ID, "sign-on", "metadata", "changes")),
		})
	case src.Error != "":
		v.Concerns = append(v.Concerns, concern{
			Level: web.Warn, Text: "The metadata of " + a.Label + " can't be taken from its address: " + src.Error, Detail: "What was known before stays in use.",
			Action: look("Look at it", appPath(a.ID, "sign-on")+"#metadata"),
		})
	}
}

// watchFacts are what is known of a watched address.
func (f appFrame) watchFacts() web.Facts {
	s := f.Source
	facts := web.Facts{
		{Term: "Address", Value: web.Code(s.URL), Copy: s.URL},
		{Term: "Last check", Value: web.Time{At: s.CheckedAt, Now: f.Now}},
		{Term: "Next check", Value: web.Time{At: s.NextAt, Now: f.Now}},
		{Term: "Last change", Value: web.Time{At: s.ChangedAt, Now: f.Now, None: "none seen"}},
	}
	if !s.ValidUntil.IsZero() {
		var v templ.Component = web.Time{At: s.ValidUntil, Now: f.Now}
		if !s.ValidUntil.After(f.Now) {
			v = web.Badge{Level: web.Warn, Label: "ended " + web.Ago(s.ValidUntil, f.Now)}
		}
		facts = append(facts, web.Fact{Term: "Valid until", Value: v})
	}
	if s.SigningCertificate != "" {
		facts = append(facts, web.Fact{Term: "Must be signed by", Value: web.Code(shortText(fingerprintOf(s.SigningCertificate)))})
	}
	return facts
}
