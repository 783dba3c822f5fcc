package console

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// side is one of an application's two mappings.
type side string

const (
	sideSCIM side = "scim"
	sideSAML side = "saml"
)

func (s side) label() string {
	if s == sideSAML {
		return "Sign-on attributes"
	}
	return "Provisioned attributes"
}

// mappingFacts is a mapping of an application as it stands.
type mappingFacts struct {
	Side side
	// Rows are the merged rows; for sign-on the first is the subject, with target NameID.
	Rows []catalog.Row
	// Own tells which targets the application changed or added; Added are those that the
	// connector doesn't have.
	Own, Added map[string]bool
	// Format and Formats are the subject's, for sign-on.
	Format  string
	Formats []string
}

// overrideOf is what the application changes in one mapping.
func overrideOf(a app.Application, s side) catalog.MappingOverride {
	if s == sideSAML {
		return a.SAML.Mapping
	}
	return a.SCIM.Mapping
}

func factsOf(con *catalog.Connector, s side, o catalog.MappingOverride) (mappingFacts, error) {
	m := mappingFacts{Side: s, Own: map[string]bool{}, Added: map[string]bool{}}
	var standard []catalog.Row
	var err error
	if s == sideSAML {
		var id catalog.NameIDFacts
		standard = con.SAML.Attributes
		if id, m.Rows, err = catalog.MergeSAML(con.SAML, o); err != nil {
			return m, err
		}
		m.Rows = append([]catalog.Row{{Target: catalog.NameIDTarget, Label: "NameID", Source: id.Source, Required: true, Hint: con.SAML.NameID.Hint}}, m.Rows...)
		m.Format, m.Formats = id.Format, con.SAML.NameID.Formats
		m.Own[catalog.NameIDTarget] = o.NameID != nil
	} else {
		standard = con.SCIM.Mapping
		if m.Rows, err = catalog.MergeSCIM(standard, o); err != nil {
			return m, err
		}
	}
	for _, x := range o.Rows {
		m.Own[x.Target] = true
		m.Added[x.Target] = !slices.ContainsFunc(standard, func(r catalog.Row) bool { return r.Target == x.Target })
	}
	return m, nil
}

func (m mappingFacts) row(target string) (catalog.Row, bool) {
	for _, r := range m.Rows {
		if r.Target == target {
			return r, true
		}
	}
	return catalog.Row{}, false
}

// sampleView is the person that a mapping is tried on.
type sampleView struct {
	// Asked is what was searched; Found whether somebody was.
	Asked string
	Found bool
	User  directory.User
	// Entitled tells whether the person has access to the application.
	Entitled bool
	person   catalog.Person
}

// sample finds the person that a mapping is tried on: by login or name, else somebody with
// access, else anybody.
func (c *Console) sample(r *request, id app.ID, asked string) (sampleView, error) {
	v := sampleView{Asked: strings.TrimSpace(asked)}
	var user directory.UserID
	switch {
	case v.Asked != "":
		u, err := c.Directory.UserByLogin(r.Context(), r.By, v.Asked)
		switch {
		case err == nil:
			user = u.ID
		case !problem.Is(err, problem.NotFound):
			return v, err
		}
		if user == "" {
			list, err := c.Directory.ListUsers(r.Context(), r.By, directory.UserQuery{Text: v.Asked, Limit: 1})
			if err != nil {
				return v, err
			}
			if len(list.Items) > 0 {
				user = list.Items[0].ID
			}
		}
	default:
		err := c.DB.View(r.Context(), func(tx *store.Tx) error {
			ids, err := app.EntitledUserIDs(tx, id, "", 1)
			if len(ids) > 0 {
				user = ids[0]
			}
			return err
		})
		if err != nil {
			return v, err
		}
		if user == "" {
			user = r.Session.User.ID
		}
	}
	if user == "" {
		return v, nil
	}
	err := c.DB.View(r.Context(), func(tx *store.Tx) error {
		s, err := app.StandingOf(tx, id, user)
		if err != nil {
			return err
		}
		v.User, v.Entitled, v.person, v.Found = s.User, s.Granted(), s.Person(), true
		return nil
	})
	return v, err
}

// outcomes answers every row of a mapping for the person, by target.
func (c *Console) outcomes(con *catalog.Connector, s side, o catalog.MappingOverride, v sampleView) (map[string]catalog.Outcome, error) {
	if !v.Found {
		return nil, nil
	}
	var list []catalog.Outcome
	if s == sideSAML {
		m, err := c.Catalog.SAMLMapping(con.Key, o)
		if err != nil {
			return nil, err
		}
		list = m.Preview(&v.person)
	} else {
		m, err := c.Catalog.SCIMMapping(con.Key, o)
		if err != nil {
			return nil, err
		}
		list = m.Preview(&v.person)
	}
	out := map[string]catalog.Outcome{}
	for _, x := range list {
		out[x.Row.Target] = x
	}
	return out, nil
}

// mappingsPage is the tab of mappings.
type mappingsPage struct {
	appFrame
	Sample sampleView
	// Scope is what the scope filter says about the sample; nil if there is none to say.
	Scope  *scopeResult
	Tables []mappingTable
}

type mappingTable struct {
	mappingFacts
	Outcomes map[string]catalog.Outcome
}

func (f appFrame) sides() []side {
	var list []side
	if f.Con.SCIM != nil {
		list = append(list, sideSCIM)
	}
	if f.Con.SAML != nil {
		list = append(list, sideSAML)
	}
	return list
}

func (c *Console) mappings(w http.ResponseWriter, r *request) error {
	f, err := c.application(w, r, tabMappings)
	if err != nil {
		return err
	}
	if len(f.sides()) == 0 {
		return problem.New(problem.NotFound, "%s has neither sign-on nor provisioning, so there is nothing to map.", f.App.Label)
	}
	p := mappingsPage{appFrame: f}
	if p.Sample, err = c.sample(r, f.App.ID, r.URL.Query().Get("person")); err != nil {
		return err
	}
	if f.Con.SCIM != nil {
		if p.Scope, err = c.inScope(f.App.SCIM.ScopeFilter, p.Sample); err != nil {
			return err
		}
	}
	for _, s := range f.sides() {
		t := mappingTable{}
		if t.mappingFacts, err = factsOf(f.Con, s, overrideOf(f.App, s)); err != nil {
			return err
		}
		if t.Outcomes, err = c.outcomes(f.Con, s, overrideOf(f.App, s), p.Sample); err != nil {
			return err
		}
		p.Tables = append(p.Tables, t)
	}
	return web.Render(w, r.Request, http.StatusOK, mappingsView(p))
}

// mappingRowPage edits one row.
type mappingRowPage struct {
	appFrame
	Facts mappingFacts
	Row   catalog.Row
	// New tells that the row doesn't exist yet.
	New    bool
	Form   web.Form
	Sample sampleView
	// Outcome is what the row as it stands in the form gives for the sample; nil if that can't
	// be said.
	Outcome *catalog.Outcome
	// Fault is where the expression is wrong; nil if it isn't.
	Fault *catalog.ExpressionError
	// Reads are the attributes that the expression looks at.
	Reads []string
}

func (c *Console) mappingRowFrame(w http.ResponseWriter, r *request, target string) (mappingRowPage, error) {
	if err := mayManage(r); err != nil {
		return mappingRowPage{}, err
	}
	f, err := c.application(w, r, tabMappings)
	if err != nil {
		return mappingRowPage{}, err
	}
	s := side(r.PathValue("side"))
	if !slices.Contains(f.sides(), s) {
		return mappingRowPage{}, problem.New(problem.NotFound, "%s has no such mapping.", f.App.Label)
	}
	p := mappingRowPage{New: target == ""}
	if p.Facts, err = factsOf(f.Con, s, overrideOf(f.App, s)); err != nil {
		return p, err
	}
	title := "Add an attribute"
	if !p.New {
		var ok bool
		if p.Row, ok = p.Facts.row(target); !ok {
			return p, problem.New(problem.NotFound, "The mapping has no row for %s. It may have been removed.", target)
		}
		if p.Row.Locked {
			return p, problem.New(problem.Conflict, "%s is fixed by the connector and can't be changed.", cmp.Or(p.Row.Label, target))
		}
		title = cmp.Or(p.Row.Label, target)
	}
	p.appFrame = f.inner(title, "Mappings", "mappings")
	if !p.New {
		p.Subtitle = target
	}
	p.Form = rowForm(p.Row, p.Facts.Format)
	return p, nil
}

// How a constant is read.
const (
	constText   = "text"
	constNumber = "number"
	constBool   = "bool"
	constList   = "list"
)

const customAttribute = "custom"

func rowForm(row catalog.Row, format string) web.Form {
	v := map[string]string{
		"target": row.Target, "label": row.Label, "kind": "attribute", "attribute": row.Attribute, "constantKind": constText,
		"expression": row.Expression, "empty": string(cmp.Or(row.Empty, catalog.EmptyClear)), "required": boolValue(row.Required),
		"excluded": boolValue(row.Disabled), "primary": boolValue(row.Primary), "nameFormat": row.NameFormat, "format": format,
	}
	if key, ok := strings.CutPrefix(row.Attribute, catalog.CustomPrefix); ok {
		v["attribute"], v["customKey"] = customAttribute, key
	}
	switch {
	case row.Expression != "":
		v["kind"] = "expression"
	case row.Constant != nil:
		v["kind"] = "constant"
		v["constantKind"], v["constant"] = constantText(row.Constant)
	}
	if row.Default != nil {
		_, v["default"] = constantText(row.Default)
	}
	return web.NewForm(v)
}

func constantText(c any) (kind, text string) {
	switch c := c.(type) {
	case bool:
		return constBool, strconv.FormatBool(c)
	case []string:
		return constList, strings.Join(c, "\n")
	case []any:
		var parts []string
		for _, x := range c {
			parts = append(parts, fmt.Sprint(x))
		}
		return constList, strings.Join(parts, "\n")
	case string:
		return constText, c
	}
	return constNumber, fmt.Sprint(c)
}

func constantValue(kind, text string) (any, error) {
	switch kind {
	case constNumber:
		n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if err != nil {
			return nil, problem.InvalidField("constant", "Enter a number.")
		}
		return n, nil
	case constBool:
		switch strings.ToLower(strings.TrimSpace(text)) {
		case "true", "yes", "on", "1":
			return true, nil
		case "false", "no", "off", "0":
			return false, nil
		}
		return nil, problem.InvalidField("constant", "Enter true or false.")
	case constList:
		var list []any
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "" {
				list = append(list, line)
			}
		}
		if len(list) == 0 {
			return nil, problem.InvalidField("constant", "Enter one value on each line.")
		}
		return list, nil
	}
	if strings.TrimSpace(text) == "" {
		return nil, problem.InvalidField("constant", "Enter the value that everybody gets.")
	}
	return text, nil
}

// postedSource reads where the value comes from. A faulty expression gives a
// *catalog.ExpressionError beside the field's error.
func (c *Console) postedSource(r *request) (catalog.Source, *catalog.ExpressionError, error) {
	var s catalog.Source
	get := r.PostForm.Get
	switch get("kind") {
	case "attribute":
		s.Attribute = get("attribute")
		if s.Attribute == customAttribute {
			key := strings.TrimSpace(get("customKey"))
			if key == "" {
				return s, nil, problem.InvalidField("customKey", "Enter the custom attribute's key.")
			}
			s.Attribute = catalog.CustomPrefix + key
		}
		if s.Attribute == "" {
			return s, nil, problem.InvalidField("attribute", "Choose an attribute.")
		}
	case "constant":
		var err error
		if s.Constant, err = constantValue(get("constantKind"), get("constant")); err != nil {
			return s, nil, err
		}
	case "expression":
		s.Expression = strings.TrimSpace(strings.ReplaceAll(get("expression"), "\r\n", "\n"))
		if s.Expression == "" {
			return s, nil, problem.InvalidField("expression", "Enter an expression, such as user.givenName.")
		}
		if _, err := c.Catalog.Compiler().CheckExpression(s.Expression); err != nil {
			fault, ok := errors.AsType[*catalog.ExpressionError](err)
			if !ok {
				return s, nil, err
			}
			return s, fault, problem.InvalidField("expression", "Line %d, column %d: %s.", fault.Line, fault.Column, strings.TrimSuffix(fault.Message, "."))
		}
	default:
		return s, nil, problem.InvalidField("kind", "Choose where the value comes from.")
	}
	return s, nil, nil
}

// withRow returns the override with one row changed as posted.
func (p mappingRowPage) withRow(r *request, o catalog.MappingOverride, s catalog.Source) catalog.MappingOverride {
	o.Rows = slices.Clone(o.Rows)
	get := r.PostForm.Get
	target := strings.TrimSpace(p.Row.Target)
	if p.New {
		target = strings.TrimSpace(get("target"))
	}
	if p.Facts.Side == sideSAML && target == catalog.NameIDTarget {
		o.NameID = &catalog.NameIDOverride{Source: &s, Format: get("format")}
		return o
	}
	x := catalog.RowOverride{Target: target, Source: &s}
	if text := strings.TrimSpace(get("default")); text != "" {
		var v any = text
		x.Default = &v
	} else if p.Row.Default != nil {
		var v any = ""
		x.Default = &v
	}
	if e := catalog.Empty(get("empty")); e != "" && e != cmp.Or(p.Row.Empty, catalog.EmptyClear) || p.New {
		x.Empty = &e
	}
	if required := checked(r, "required"); required != p.Row.Required {
		x.Required = &required
	}
	if enabled := !checked(r, "excluded"); enabled != p.Row.Enabled() {
		x.Enabled = &enabled
	} else if p.Row.Disabled {
		x.Enabled = &enabled
	}
	if p.New {
		if label := strings.TrimSpace(get("label")); label != "" {
			x.Label = &label
		}
		if checked(r, "primary") {
			yes := true
			x.Primary = &yes
		}
		if f := get("nameFormat"); f != "" {
			x.NameFormat = &f
		}
	}
	for i, old := range o.Rows {
		if old.Target == target {
			o.Rows[i] = merged(old, x)
			return o
		}
	}
	o.Rows = append(o.Rows, x)
	return o
}

// merged lays a new override of a row over an older one.
func merged(old, x catalog.RowOverride) catalog.RowOverride {
	keep(&old.Source, x.Source)
	keep(&old.Default, x.Default)
	keep(&old.Empty, x.Empty)
	keep(&old.Required, x.Required)
	keep(&old.Enabled, x.Enabled)
	return old
}

func keep[T any](to **T, from *T) {
	if from != nil {
		*to = from
	}
}

// try works out what the row gives for the sample.
func (c *Console) try(p *mappingRowPage, o catalog.MappingOverride, target string) error {
	list, err := c.outcomes(p.Con, p.Facts.Side, o, p.Sample)
	if err != nil {
		return err
	}
	if x, ok := list[target]; ok {
		p.Outcome = &x
	}
	return nil
}

func (c *Console) mappingRow(w http.ResponseWriter, r *request) error {
	p, err := c.mappingRowFrame(w, r, r.URL.Query().Get("target"))
	if err != nil {
		return err
	}
	if p.Sample, err = c.sample(r, p.App.ID, r.URL.Query().Get("person")); err != nil {
		return err
	}
	if !p.New {
		if err := c.try(&p, overrideOf(p.App, p.Facts.Side), p.Row.Target); err != nil {
			return err
		}
	}
	return web.Render(w, r.Request, http.StatusOK, mappingRowView(p))
}

func (c *Console) saveMappingRow(w http.ResponseWriter, r *request) error {
	p, err := c.mappingRowFrame(w, r, r.URL.Query().Get("target"))
	if err != nil {
		return err
	}
	if p.Sample, err = c.sample(r, p.App.ID, r.PostForm.Get("person")); err != nil {
		return err
	}
	preview := r.PostForm.Get("act") == "preview"
	fail := func(err error) error {
		form, ok := web.PostedForm(r.Request).Fail(err)
		if !ok {
			return err
		}
		p.Form = form
		return web.Render(w, r.Request, web.Status(err), mappingRowView(p))
	}
	source, fault, err := c.postedSource(r)
	if err != nil {
		p.Fault = fault
		return fail(err)
	}
	if source.Expression != "" {
		if p.Reads, err = c.Catalog.Compiler().CheckExpression(source.Expression); err != nil {
			return err
		}
	}
	o := p.withRow(r, overrideOf(p.App, p.Facts.Side), source)
	target := p.Row.Target
	if p.New {
		target = strings.TrimSpace(r.PostForm.Get("target"))
		if target == "" {
			return fail(problem.InvalidField("target", "Say where the value goes."))
		}
		if _, taken := p.Facts.row(target); taken {
			return fail(problem.InvalidField("target", "The mapping has a row for %s already. Change that one.", target))
		}
	}
	if preview || goesBack(r) {
		if err := c.try(&p, o, target); err != nil {
			return fail(p.rowProblem(err, source))
		}
		p.Form = web.PostedForm(r.Request)
		return web.Render(w, r.Request, http.StatusOK, mappingRowView(p))
	}
	v := review{What: "The mapping of " + cmp.Or(p.Row.Label, target), Form: true}
	a, made, err := c.saveOverride(w, r, p.appFrame, p.Facts.Side, v, func(now catalog.MappingOverride) catalog.MappingOverride { return p.withRow(r, now, source) })
	if err != nil {
		return fail(p.rowProblem(err, source))
	}
	if !made {
		return nil
	}
	return done(w, r, p.path("mappings")+"#"+string(p.Facts.Side), mappingSaved(a, p.Facts.Side))
}

// rowProblem puts what is wrong with a mapping to the fields of the one row that was edited.
func (p mappingRowPage) rowProblem(err error, s catalog.Source) error {
	if !problem.Is(err, problem.Invalid) {
		return err
	}
	field := "attribute"
	switch {
	case s.Expression != "":
		field = "expression"
	case s.Constant != nil:
		field = "constant"
	}
	var f problem.Fields
	for _, x := range problem.FieldsOf(err) {
		name := field
		switch {
		case strings.HasSuffix(x.Name, ".target"):
			name = "target"
		case strings.HasSuffix(x.Name, ".required"):
			name = "required"
		case strings.HasSuffix(x.Name, ".enabled"):
			name = "excluded"
			if p.Row.Required {
				name = "required" // the other isn't shown
			}
		case strings.HasSuffix(x.Name, ".format") && len(p.Facts.Formats) > 1:
			name = "format"
		}
		f.Add(name, "%s", x.Detail)
	}
	if e := f.Err(); e != nil {
		return e
	}
	return err
}

// saveOverride changes one of the mappings. That of provisioning is planned first, where something would be sent: made is
// false if the review was drawn in place of saving.
func (c *Console) saveOverride(w http.ResponseWriter, r *request, f appFrame, s side, v review, change func(catalog.MappingOverride) catalog.MappingOverride) (a app.Application, made bool, err error) {
	if s == sideSAML {
		a, err = c.Apps.SaveSAML(r.Context(), r.By, f.App.ID, func(x *app.SAMLSettings) error {
			x.Mapping = change(x.Mapping)
			return nil
		})
		return a, err == nil, err
	}
	v.Label, v.Tab, v.Cancel = "Mappings", "mappings", f.path("mappings")
	return c.approve(w, r, f, app.SCIMChange{Settings: func(x *app.SCIMSettings) error {
		x.Mapping = change(x.Mapping)
		return nil
	}}, v)
}

func mappingSaved(a app.Application, s side) string {
	switch {
	case s == sideSAML:
		return "The mapping is saved. It counts from the next sign-on on."
	}
	return savedWords("The mapping is saved.", a)
}

// resetMappingRow takes back what the application changed of a row.
func (c *Console) resetMappingRow(w http.ResponseWriter, r *request) error {
	if err := mayManage(r); err != nil {
		return err
	}
	s, target := side(r.PathValue("side")), r.PostForm.Get("target")
	if s != sideSAML && s != sideSCIM {
		return problem.New(problem.NotFound, "There is no such mapping.")
	}
	f, err := c.application(w, r, tabMappings)
	if err != nil {
		return err
	}
	if !slices.Contains(f.sides(), s) {
		return problem.New(problem.NotFound, "%s has no such mapping.", f.App.Label)
	}
	a, made, err := c.saveOverride(w, r, f, s, review{What: "The mapping of " + target + " goes back to the connector's"}, func(o catalog.MappingOverride) catalog.MappingOverride {
		if s == sideSAML && target == catalog.NameIDTarget {
			o.NameID = nil
			return o
		}
		o.Rows = slices.DeleteFunc(slices.Clone(o.Rows), func(x catalog.RowOverride) bool { return x.Target == target })
		return o
	})
	if err != nil || !made {
		return err
	}
	return done(w, r, f.path("mappings")+"#"+string(s), mappingSaved(a, s))
}

// outcomeText is what a row gives for the sample, in words.
func outcomeText(x catalog.Outcome) string {
	switch {
	case x.Problem != "":
		return x.Problem
	case x.Action == catalog.Leave:
		return "left alone"
	case x.Action == catalog.Clear:
		return "no value: cleared there"
	}
	switch v := x.Value.(type) {
	case []string:
		return strings.Join(v, ", ")
	case []map[string]any:
		var list []string
		for _, m := range v {
			list = append(list, fmt.Sprint(m["value"]))
		}
		return strings.Join(list, ", ")
	}
	return fmt.Sprint(x.Value)
}

// attributeOptions are the attributes that a row can read.
func attributeOptions() []web.Option {
	list := []web.Option{{Value: "", Label: "Choose…"}}
	for _, a := range catalog.Attributes() {
		list = append(list, web.Option{Value: a.Name, Label: upper(a.Label)})
	}
	return append(list, web.Option{Value: customAttribute, Label: "A custom attribute…"})
}
