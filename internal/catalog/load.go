package catalog

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/latchkey-idp/latchkey/internal/saml"
)

// Limits of a connector file.
const (
	maxFile  = 256 << 10
	maxLogo  = 4 << 10
	maxDescr = 256
	maxNest  = 64
)

// FileError is a fault in a connector file.
type FileError struct {
	File string
	// Line and Column count from 1.
	Line, Column int
	Message      string
}

// Error is "file:line:column: message".
func (e *FileError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
}

type faultList []error

func (l *faultList) add(err error) {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		*l = append(*l, j.Unwrap()...)
		return
	}
	*l = append(*l, err)
}

func (l faultList) err() error { return errors.Join(l...) }

// Parse reads and checks one connector file. Its errors are *FileError, joined when there are
// several.
func Parse(name string, data []byte) (*Connector, error) {
	at := func(line, col int, format string, args ...any) error {
		return &FileError{File: name, Line: max(line, 1), Column: max(col, 1), Message: fmt.Sprintf(format, args...)}
	}
	if len(data) > maxFile {
		return nil, at(1, 1, "file is larger than %d bytes", maxFile)
	}
	if line := tooDeep(data); line > 0 {
		return nil, at(line, 1, "nested too deeply")
	}
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, yamlError(name, err)
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		return nil, at(1, 1, "a connector file holds exactly one YAML document")
	}
	// Aliases could make a small file large; a connector has no need of them.
	if n := firstAlias(file.Docs[0].Body); n != nil {
		p := n.GetToken().Position
		return nil, at(p.Line, p.Column, "anchors, aliases, tags and merge keys are not used in connector files")
	}
	var c Connector
	if err := yaml.NodeToValue(file.Docs[0].Body, &c, yaml.Strict()); err != nil {
		return nil, yamlError(name, err)
	}
	k := checker{name: name, file: file}
	k.connector(&c)
	if err := k.faults.err(); err != nil {
		return nil, err
	}
	return &c, nil
}

// tooDeep returns the first line that nests deeper than maxNest, or 0. The YAML library takes
// time that grows with the square of the depth, so this is looked at before it is called. It
// counts brackets, the indicators that open a line, and the indentation, and knows nothing of
// quotes; no honest file comes near.
func tooDeep(data []byte) int {
	depth, line := 0, 1
	opening, indicators, indent := true, 0, 0
	for _, c := range data {
		if c == '\n' {
			line++
			opening, indicators, indent = true, 0, 0
			continue
		}
		switch c {
		case '[', '{':
			depth++
		case ']', '}':
			depth = max(depth-1, 0)
		}
		if opening {
			switch c {
			case ' ', '\t':
				indent++
			case '-', '?', ':':
				indicators++
			default:
				opening = false
			}
		}
		if depth > maxNest || indicators > maxNest || indent > 2*maxNest {
			return line
		}
	}
	return 0
}

// yamlError turns the YAML library's error into ours.
func yamlError(name string, err error) error {
	e := &FileError{File: name, Line: 1, Column: 1, Message: err.Error()}
	if y, ok := errors.AsType[yaml.Error](err); ok {
		e.Message = y.GetMessage()
		if t := y.GetToken(); t != nil && t.Position != nil {
			e.Line, e.Column = t.Position.Line, t.Position.Column
		}
	}
	e.Message, _, _ = strings.Cut(e.Message, "\n")
	return e
}

type aliasFinder struct{ found ast.Node }

func (f *aliasFinder) Visit(n ast.Node) ast.Visitor {
	switch n.Type() {
	case ast.AliasType, ast.AnchorType, ast.MergeKeyType, ast.TagType:
		if f.found == nil {
			f.found = n
		}
		return nil
	}
	return f
}

func firstAlias(n ast.Node) ast.Node {
	var f aliasFinder
	ast.Walk(&f, n)
	return f.found
}

// checker collects what is wrong with a decoded connector, with places in the file.
type checker struct {
	name   string
	file   *ast.File
	faults faultList
}

// bad records a fault at a path such as "saml.attributes[1].target". Where the path is not in
// the file (a missing key), the nearest parent that is gives the place.
func (k *checker) bad(path, format string, args ...any) {
	e := &FileError{File: k.name, Line: 1, Column: 1, Message: path + ": " + fmt.Sprintf(format, args...)}
	for p := path; p != ""; {
		if yp, err := yaml.PathString("$." + p); err == nil {
			if n, err := yp.FilterFile(k.file); err == nil && n != nil && n.GetToken() != nil && n.GetToken().Position != nil {
				pos := n.GetToken().Position
				e.Line, e.Column = pos.Line, pos.Column
				break
			}
		}
		i := strings.LastIndexAny(p, ".[")
		if i < 0 {
			break
		}
		p = p[:i]
	}
	k.faults.add(e)
}

func oneOf[T comparable](k *checker, path string, v T, allowed ...T) {
	if !slices.Contains(allowed, v) {
		k.bad(path, "%v is not one of %v", v, allowed)
	}
}

func (k *checker) text(path, v string, most int) {
	switch {
	case strings.TrimSpace(v) == "":
		k.bad(path, "must not be empty")
	case len([]rune(v)) > most:
		k.bad(path, "is longer than %d characters", most)
	}
}

var (
	keyShape    = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	slugShape   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$`)
	colourShape = regexp.MustCompile(`^#[0-9a-f]{6}$`)
)

func httpsURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "https" && u.Host != ""
}

func (k *checker) connector(c *Connector) {
	if !keyShape.MatchString(c.Key) {
		k.bad("key", "must be lower-case words joined by hyphens")
	} else if want := c.Key + ".yaml"; k.name != want {
		k.bad("key", "the file of this key must be named %s", want)
	}
	k.text("name", c.Name, 64)
	k.text("label", c.Label, 64)
	k.text("description", c.Description, maxDescr)
	oneOf(k, "category", c.Category, CategoryCollaboration, CategoryDevelopment, CategoryInfrastructure,
		CategoryBusiness, CategorySecurity, CategoryGeneric)
	seen := map[string]bool{fold(c.Name): true}
	for i, a := range c.Aliases {
		p := fmt.Sprintf("aliases[%d]", i)
		k.text(p, a, 64)
		if seen[fold(a)] {
			k.bad(p, "%q is already a name of this connector", a)
		}
		seen[fold(a)] = true
	}
	if !colourShape.MatchString(c.Colour) {
		k.bad("colour", "must be #rrggbb in lower case")
	}
	if err := checkLogo(c.Logo); err != nil {
		k.bad("logo", "%v", err)
	}
	if c.Generic != (c.Category == CategoryGeneric) {
		k.bad("generic", "must be true exactly for the category generic")
	}
	if c.Website == "" && !c.Generic || c.Website != "" && !httpsURL(c.Website) {
		k.bad("website", "must be an https address")
	}
	refs := k.references(c)
	if c.Bookmark != nil {
		if c.SAML != nil || c.SCIM != nil || c.Slug != "" {
			k.bad("bookmark", "a bookmark has no saml, scim or slug")
		}
		k.field("bookmark.url", &c.Bookmark.URL)
	} else if c.SAML == nil && c.SCIM == nil {
		k.bad("key", "a connector needs saml, scim or bookmark")
	}
	if c.SAML != nil {
		if !slugShape.MatchString(c.Slug) {
			k.bad("slug", "must be 1 to 64 lower-case letters, digits and hyphens")
		}
		k.saml(c.SAML, refs)
	} else if c.Slug != "" {
		k.bad("slug", "belongs to saml only")
	}
	if c.SCIM != nil {
		k.scim(c.SCIM, refs)
	}
	k.guide(&c.Guide, refs)
	for id, used := range refs {
		if !used {
			k.bad("references", "nothing uses the reference %q", id)
		}
	}
}

// references checks the list and returns its ids, to be marked when used.
func (k *checker) references(c *Connector) map[string]bool {
	refs := map[string]bool{}
	for i, r := range c.References {
		p := fmt.Sprintf("references[%d]", i)
		if !keyShape.MatchString(r.ID) {
			k.bad(p+".id", "must be lower-case words joined by hyphens")
		}
		if _, dup := refs[r.ID]; dup {
			k.bad(p+".id", "%q is used twice", r.ID)
		}
		refs[r.ID] = false
		k.text(p+".title", r.Title, 200)
		if !httpsURL(r.URL) {
			k.bad(p+".url", "must be an https address")
		}
	}
	return refs
}

func (k *checker) use(path string, ids []string, refs map[string]bool) {
	for i, id := range ids {
		if _, ok := refs[id]; !ok {
			k.bad(fmt.Sprintf("%s[%d]", path, i), "there is no reference %q", id)
			continue
		}
		refs[id] = true
	}
}

func (k *checker) quirks(path string, list []Quirk, refs map[string]bool) {
	seen := map[string]bool{}
	for i, q := range list {
		p := fmt.Sprintf("%s[%d]", path, i)
		if !keyShape.MatchString(q.ID) || seen[q.ID] {
			k.bad(p+".id", "must be lower-case words joined by hyphens, unique in the list")
		}
		seen[q.ID] = true
		k.text(p+".fact", q.Fact, 500)
		k.text(p+".measure", q.Measure, 500)
		oneOf(k, p+".basis", q.Basis, BasisDocumented, BasisSupport, BasisField, BasisInferred)
		if len(q.References) == 0 {
			k.bad(p, "a claimed quirk needs a reference")
		}
		k.use(p+".references", q.References, refs)
	}
}

// checks verifies the shape of a list of patterns.
func (k *checker) checks(path string, list []Check) {
	for i := range list {
		c := &list[i]
		p := fmt.Sprintf("%s[%d]", path, i)
		place := p + ".match"
		switch {
		case (c.Match == "") == (c.Avoid == ""):
			k.bad(p, "give exactly one of match and avoid")
			continue
		case c.Avoid != "":
			place = p + ".avoid"
		}
		if err := c.compile(); err != nil {
			k.bad(place, "%v", err)
		}
		k.text(p+".warning", c.Warning, 300)
	}
}

func (k *checker) field(path string, f *Field) {
	k.checks(path+".checks", f.Checks)
	if len(f.Checks) > 0 && (len(f.Examples) == 0 || len(f.Wrong) == 0) {
		k.bad(path, "checks need examples and wrong values to prove them")
	}
	failed := map[string]bool{}
	for i, e := range f.Examples {
		if w := f.Warnings(e); len(w) > 0 {
			k.bad(fmt.Sprintf("%s.examples[%d]", path, i), "is warned about: %s", w[0])
		}
	}
	for i, e := range f.Wrong {
		w := f.Warnings(e)
		if len(w) == 0 {
			k.bad(fmt.Sprintf("%s.wrong[%d]", path, i), "passes every check")
		}
		for _, x := range w {
			failed[x] = true
		}
	}
	for i, c := range f.Checks {
		if !failed[c.Warning] {
			k.bad(fmt.Sprintf("%s.checks[%d]", path, i), "no wrong value fails this check")
		}
	}
}

func (k *checker) rows(path string, rows []Row, kd kind) {
	seen := map[string]bool{}
	for i := range rows {
		p := fmt.Sprintf("%s[%d]", path, i)
		if err := checkRow(&rows[i], kd); err != nil {
			k.bad(p, "%v", err)
		}
		k.text(p+".label", rows[i].Label, 64)
		if key := kd.key(rows[i].Target); seen[key] {
			k.bad(p+".target", "%s is the target of two rows", rows[i].Target)
		} else {
			seen[key] = true
		}
		if rows[i].Required && rows[i].Disabled {
			k.bad(p, "a required row can't be disabled")
		}
	}
}

func (k *checker) saml(s *SAML, refs map[string]bool) {
	if err := s.NameID.Source.check(); err != nil {
		k.bad("saml.nameID", "%v", err)
	}
	for i, f := range s.NameID.Formats {
		oneOf(k, fmt.Sprintf("saml.nameID.formats[%d]", i), f, saml.NameIDEmailAddress, saml.NameIDUnspecified,
			saml.NameIDPersistent, saml.NameIDTransient, saml.NameIDX509SubjectName)
	}
	if !slices.Contains(s.NameID.Formats, s.NameID.Format) {
		k.bad("saml.nameID.formats", "must hold the default format")
	}
	k.rows("saml.attributes", s.Attributes, samlKind)
	oneOf(k, "saml.sign", s.Sign, SignAssertion, SignResponse, SignBoth)
	oneOf(k, "saml.signatureAlgorithm", s.SignatureAlgorithm,
		"http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
		"http://www.w3.org/2001/04/xmldsig-more#rsa-sha384",
		"http://www.w3.org/2001/04/xmldsig-more#rsa-sha512")
	oneOf(k, "saml.setup", s.Setup, SetupIdPFirst, SetupSPFirst, SetupAny)
	oneOf(k, "saml.requestsSigned", s.RequestsSigned, Never, Optional, Always)
	if s.Certificates.Slots < 1 || s.Certificates.Slots > 8 {
		k.bad("saml.certificates.slots", "must be 1 to 8")
	}
	oneOf(k, "saml.certificates.form", s.Certificates.Form, CertificatePEM, CertificateMetadata, CertificateAny)
	if b := s.Certificates.MinRSABits; b < 2048 || b > 8192 {
		k.bad("saml.certificates.minRSABits", "must be 2048 to 8192")
	}
	if !s.SPInitiated && !s.IdPInitiated {
		k.bad("saml", "needs spInitiated or idpInitiated")
	}
	if s.JIT && !slices.ContainsFunc(s.Attributes, func(r Row) bool { return r.JIT }) {
		k.bad("saml.jit", "name the attributes that just-in-time creation needs (jit: true)")
	}
	k.field("saml.fields.idpEntityID", &s.Fields.IdPEntityID)
	k.field("saml.fields.spEntityID", &s.Fields.SPEntityID)
	k.field("saml.fields.acsURL", &s.Fields.ACSURL)
	k.field("saml.fields.relayState", &s.Fields.RelayState)
	k.quirks("saml.quirks", s.Quirks, refs)
}

func (k *checker) scim(s *SCIM, refs map[string]bool) {
	k.field("scim.baseURL", &s.BaseURL)
	k.field("scim.token", &s.Token.Field)
	oneOf(k, "scim.token.scheme", s.Token.Scheme, TokenBearer, TokenAccount)
	if (s.Token.Scheme == TokenAccount) != (s.Token.TokenURL != "") || s.Token.TokenURL != "" && !httpsURL(s.Token.TokenURL) {
		k.bad("scim.token.tokenURL", "must be an https address exactly for the scheme %s", TokenAccount)
	}
	if s.Token.LifetimeDays < 0 {
		k.bad("scim.token.lifetimeDays", "must not be negative")
	}
	if !slices.IsSortedFunc(s.Token.WarnDays, func(a, b int) int { return b - a }) {
		k.bad("scim.token.warnDays", "must fall")
	}
	oneOf(k, "scim.contentType", s.ContentType, "application/scim+json", "application/json")
	k.text("scim.accept", s.Accept, 200)
	u := &s.Users
	k.subset("scim.users.match", u.Match, u.Filters)
	oneOf(k, "scim.users.update", u.Update, WritePatch, WritePut)
	oneOf(k, "scim.users.deactivate", u.Deactivate, DeactivateByActive, DeactivateByDelete)
	for i, x := range u.Extensions {
		if !strings.HasPrefix(x.URN, "urn:") {
			k.bad(fmt.Sprintf("scim.users.extensions[%d].urn", i), "must be a URN")
		}
	}
	if u.Delete && u.DeleteEffect == "" {
		k.bad("scim.users.deleteEffect", "say what DELETE does, for the person who chooses it")
	}
	for path, list := range map[string][]string{"scim.users.putFor": u.PutFor, "scim.users.neverUnchanged": u.NeverUnchanged, "scim.users.fixed": u.Fixed, "scim.users.readOnly": u.ReadOnly, "scim.users.required": u.Required, "scim.users.filters": u.Filters} {
		for i, a := range list {
			if _, err := parseTarget(a); err != nil {
				k.bad(fmt.Sprintf("%s[%d]", path, i), "%v", err)
			}
		}
	}
	for i, a := range u.PatchFor {
		oneOf(k, fmt.Sprintf("scim.users.patchFor[%d]", i), a, ActiveTarget)
		if u.Update != WritePut {
			k.bad(fmt.Sprintf("scim.users.patchFor[%d]", i), "update is not put")
		}
	}
	for i, a := range u.Fixed {
		switch p := fmt.Sprintf("scim.users.fixed[%d]", i); {
		case strings.EqualFold(a, ActiveTarget):
			k.bad(p, "active changes with every leaver")
		case slices.Contains(u.PutFor, a) || slices.Contains(u.NeverUnchanged, a):
			k.bad(p, "%s can't be fixed and have a way to be changed", a)
		}
	}
	if g := &s.Groups; g.Supported {
		k.subset("scim.groups.match", g.Match, g.Filters)
		oneOf(k, "scim.groups.memberUpdate", g.MemberUpdate, WritePatch, WritePut)
		oneOf(k, "scim.groups.memberRemoval", g.MemberRemoval, RemoveByFilter, RemoveByValue)
		for i, a := range g.Required {
			oneOf(k, fmt.Sprintf("scim.groups.required[%d]", i), a, "externalId", "members")
		}
		if g.MembersHidden && (g.MembersInList || g.MemberUpdate == WritePut) {
			k.bad("scim.groups.membersHidden", "contradicts membersInList or memberUpdate put")
		}
		if g.MemberBatch < 1 || g.MemberBatch > 10_000 {
			k.bad("scim.groups.memberBatch", "must be 1 to 10000")
		}
		if !g.Rename && g.RenameAdvice == "" {
			k.bad("scim.groups.renameAdvice", "say what to do, since groups can't be renamed")
		}
		if g.Delete && g.DeleteEffect == "" {
			k.bad("scim.groups.deleteEffect", "say what DELETE does, for the person who chooses it")
		}
		k.checks("scim.groups.reserved", g.Reserved)
		for i, c := range g.Reserved {
			if c.Match != "" {
				k.bad(fmt.Sprintf("scim.groups.reserved[%d]", i), "use avoid")
			}
		}
	}
	if s.Page.Max < 1 || s.Page.Max > 10_000 {
		k.bad("scim.page.max", "must be 1 to 10000")
	}
	if r := s.Rate; r.PerSecond <= 0 || r.PerSecond > 1000 || r.Burst < 1 || r.Concurrency < 1 || r.Concurrency > 64 {
		k.bad("scim.rate", "perSecond, burst and concurrency must be positive and sensible")
	}
	k.rows("scim.mapping", s.Mapping, scimKind)
	k.kept(s)
	for _, need := range []string{"userName", "active"} {
		if !slices.ContainsFunc(s.Mapping, func(r Row) bool { return strings.EqualFold(r.Target, need) }) {
			k.bad("scim.mapping", "needs a row for %s", need)
		}
	}
	k.quirks("scim.quirks", s.Quirks, refs)
}

// kept refuses a row to an extension attribute that the product does not keep.
func (k *checker) kept(s *SCIM) {
	for i, r := range s.Mapping {
		t, err := parseTarget(r.Target)
		if err != nil || t.Schema == "" || len(s.Users.Extensions) == 0 {
			continue
		}
		ok := slices.ContainsFunc(s.Users.Extensions, func(x ExtensionFacts) bool {
			return x.URN == t.Schema && !x.ReadOnly && (len(x.Attributes) == 0 || slices.Contains(x.Attributes, t.Attribute))
		})
		if !ok {
			k.bad(fmt.Sprintf("scim.mapping[%d].target", i), "scim.users.extensions says that the product doesn't keep %s", r.Target)
		}
	}
}

func (k *checker) subset(path string, part, whole []string) {
	if len(part) == 0 {
		k.bad(path, "must not be empty")
	}
	for i, p := range part {
		if !slices.Contains(whole, p) {
			k.bad(fmt.Sprintf("%s[%d]", path, i), "%q is not among the filters", p)
		}
	}
}

func (k *checker) guide(g *Guide, refs map[string]bool) {
	seen := map[string]bool{}
	if len(g.Sections) == 0 {
		k.bad("guide", "needs at least one section")
	}
	for i, s := range g.Sections {
		p := fmt.Sprintf("guide.sections[%d]", i)
		if !keyShape.MatchString(s.ID) || seen[s.ID] {
			k.bad(p+".id", "must be lower-case words joined by hyphens, unique in the guide")
		}
		seen[s.ID] = true
		k.text(p+".title", s.Title, 80)
		if len(s.For) == 0 {
			k.bad(p+".for", "say beside which form it stands")
		}
		for j, f := range s.For {
			oneOf(k, fmt.Sprintf("%s.for[%d]", p, j), f, PartStart, PartSignOn, PartProvisioning, PartRemoval)
		}
		if len(s.Steps)+len(s.Notes) == 0 {
			k.bad(p, "needs steps or notes")
		}
		line := func(path, t string) {
			if _, err := parseText(t); err != nil {
				k.bad(path, "%v", err)
			}
		}
		line(p+".intro", s.Intro)
		for j, t := range s.Steps {
			k.text(fmt.Sprintf("%s.steps[%d]", p, j), t, 600)
			line(fmt.Sprintf("%s.steps[%d]", p, j), t)
		}
		for j, t := range s.Notes {
			k.text(fmt.Sprintf("%s.notes[%d]", p, j), t, 600)
			line(fmt.Sprintf("%s.notes[%d]", p, j), t)
		}
		k.use(p+".references", s.References, refs)
	}
}

// What a logo may hold. Presentation attributes only: our pages allow no inline style.
var (
	logoElements   = []string{"svg", "g", "rect", "circle", "ellipse", "path", "polygon", "polyline", "line", "text", "title"}
	logoAttributes = []string{
		"viewBox", "width", "height", "x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "r", "rx", "ry", "d", "points",
		"fill", "fill-rule", "fill-opacity", "opacity", "stroke", "stroke-width", "stroke-linecap", "stroke-linejoin",
		"transform", "role", "aria-hidden", "font-size", "font-weight", "font-family", "text-anchor", "dominant-baseline",
	}
)

const svgSpace = "http://www.w3.org/2000/svg"

// checkLogo accepts a small drawing and nothing that could act or fetch: it goes into pages
// as it is.
func checkLogo(s string) error {
	if s == "" {
		return errors.New("must hold an SVG drawing")
	}
	if len(s) > maxLogo {
		return fmt.Errorf("is larger than %d bytes", maxLogo)
	}
	if strings.Contains(s, "<!") || strings.Contains(s, "<?") {
		return errors.New("comments, directives and processing instructions are not allowed")
	}
	d := xml.NewDecoder(strings.NewReader(s))
	depth, roots := 0, 0
	for {
		t, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("is not well-formed: %w", err)
		}
		switch t := t.(type) {
		case xml.StartElement:
			if depth == 0 {
				roots++
				if t.Name.Local != "svg" {
					return errors.New("must start with <svg")
				}
			} else if t.Name.Local == "svg" {
				return errors.New("svg inside svg is not allowed")
			}
			depth++
			if t.Name.Space != svgSpace {
				return fmt.Errorf(`<%s> needs xmlns="%s"`, t.Name.Local, svgSpace)
			}
			if !slices.Contains(logoElements, t.Name.Local) {
				return fmt.Errorf("<%s> is not allowed", t.Name.Local)
			}
			for _, a := range t.Attr {
				if a.Name.Space == "" && a.Name.Local == "xmlns" {
					continue
				}
				if a.Name.Space != "" || !slices.Contains(logoAttributes, a.Name.Local) {
					return fmt.Errorf("attribute %s is not allowed", a.Name.Local)
				}
				if strings.ContainsAny(a.Value, "<>&:;\"'\\") || strings.Contains(strings.ToLower(a.Value), "url") {
					return fmt.Errorf("attribute %s: value %q is not allowed", a.Name.Local, a.Value)
				}
			}
		case xml.EndElement:
			depth--
		case xml.CharData:
			if depth == 0 && strings.TrimSpace(string(t)) != "" {
				return errors.New("text outside <svg>")
			}
		default:
			return errors.New("only elements and text are allowed")
		}
	}
	if roots != 1 {
		return errors.New("must hold exactly one <svg>")
	}
	return nil
}
