package catalog

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Guide is the set-up guide shown beside the form, in our own words.
type Guide struct {
	Sections []Section `yaml:"sections"`
}

// Section is one heading of a guide.
type Section struct {
	// ID is stable and unique in the guide, e.g. "sign-on-there".
	ID    string `yaml:"id"`
	Title string `yaml:"title"`
	// For says beside which form the section stands.
	For []Part `yaml:"for"`
	// Intro is a paragraph before the steps, or empty.
	Intro string `yaml:"intro"`
	// Steps are done in order; Notes are facts in no order. A section has at least one.
	Steps []string `yaml:"steps"`
	Notes []string `yaml:"notes"`
	// References are ids of Connector.References.
	References []string `yaml:"references"`
}

// Part is a part of the application's form.
type Part string

// The parts.
const (
	PartStart        Part = "start"
	PartSignOn       Part = "sign-on"
	PartProvisioning Part = "provisioning"
	PartRemoval      Part = "removal"
)

// SpanKind is how a piece of guide text is shown.
type SpanKind string

// The kinds.
const (
	SpanText SpanKind = "text"
	SpanBold SpanKind = "bold"
	SpanCode SpanKind = "code"
	// SpanLink is a link; URL holds its address (https only).
	SpanLink SpanKind = "link"
	// SpanValue is a value of this installation, to be copied; Name is its placeholder.
	SpanValue SpanKind = "value"
	// SpanPending stands where a value will be once it is known; Text says so.
	SpanPending SpanKind = "pending"
)

// Span is a piece of guide text. Text is plain: the page escapes it.
type Span struct {
	Kind SpanKind
	Text string
	URL  string
	Name string
}

// Text is a line of guide text.
type Text []Span

// String returns the text without any marks.
func (t Text) String() string {
	var b strings.Builder
	for _, s := range t {
		b.WriteString(s.Text)
	}
	return b.String()
}

// GuideValues are this installation's and application's values for a guide. An empty one is
// shown as not known yet.
type GuideValues struct {
	// Label is the application's display label.
	Label string
	// EntityID is our entity ID towards this application.
	EntityID string
	// SSOURL is the address that takes AuthnRequests.
	SSOURL string
	// MetadataURL is the address of our metadata for this application.
	MetadataURL string
	// CertificateURL is where certificate.pem can be downloaded.
	CertificateURL string
	// CertificateExpiry is the day the certificate ends, as the page writes days.
	CertificateExpiry string
	// SPEntityID and ACSURL are the product's values.
	SPEntityID string
	ACSURL     string
	// RelayState is the default RelayState.
	RelayState string
	// SCIMBaseURL is the product's SCIM base URL.
	SCIMBaseURL string
	// PortalURL is where people find their tiles.
	PortalURL string
}

// placeholders are the names that a guide may use, with what is shown while the value is not
// known.
var placeholders = map[string]struct {
	get     func(*GuideValues) string
	pending string
}{
	"Label":             {func(v *GuideValues) string { return v.Label }, "the application"},
	"EntityID":          {func(v *GuideValues) string { return v.EntityID }, "our entity ID (shown after saving)"},
	"SSOURL":            {func(v *GuideValues) string { return v.SSOURL }, "the IdP URL (shown after saving)"},
	"MetadataURL":       {func(v *GuideValues) string { return v.MetadataURL }, "the metadata URL (shown after saving)"},
	"CertificateURL":    {func(v *GuideValues) string { return v.CertificateURL }, "the certificate (made when you save)"},
	"CertificateExpiry": {func(v *GuideValues) string { return v.CertificateExpiry }, "the certificate's last day"},
	"SPEntityID":        {func(v *GuideValues) string { return v.SPEntityID }, "the SP entity ID (not entered yet)"},
	"ACSURL":            {func(v *GuideValues) string { return v.ACSURL }, "the ACS URL (not entered yet)"},
	"RelayState":        {func(v *GuideValues) string { return v.RelayState }, "the default RelayState (not entered yet)"},
	"SCIMBaseURL":       {func(v *GuideValues) string { return v.SCIMBaseURL }, "the SCIM base URL (not entered yet)"},
	"PortalURL":         {func(v *GuideValues) string { return v.PortalURL }, "the portal"},
}

// FilledSection is a section with this installation's values in it.
type FilledSection struct {
	ID         string
	Title      string
	Intro      Text
	Steps      []Text
	Notes      []Text
	References []Reference
}

// FillGuide returns the guide's sections for one part of the form, with values in place of
// placeholders. An empty part means all sections.
func (c *Connector) FillGuide(part Part, v GuideValues) []FilledSection {
	var out []FilledSection
	for _, s := range c.Guide.Sections {
		if part != "" && !hasPart(s.For, part) {
			continue
		}
		f := FilledSection{ID: s.ID, Title: s.Title, Intro: fill(s.Intro, &v)}
		for _, t := range s.Steps {
			f.Steps = append(f.Steps, fill(t, &v))
		}
		for _, t := range s.Notes {
			f.Notes = append(f.Notes, fill(t, &v))
		}
		for _, id := range s.References {
			if r, ok := c.Reference(id); ok {
				f.References = append(f.References, r)
			}
		}
		out = append(out, f)
	}
	return out
}

func hasPart(list []Part, p Part) bool {
	return slices.Contains(list, p)
}

// fill parses guide text that Load has checked. A mistake cannot happen then, and would show
// as plain text.
func fill(s string, v *GuideValues) Text {
	t, err := parseText(s)
	if err != nil {
		return Text{{Kind: SpanText, Text: s}}
	}
	for i := range t {
		if t[i].Kind != SpanValue {
			continue
		}
		p := placeholders[t[i].Name]
		if val := p.get(v); val != "" {
			t[i].Text = val
		} else {
			t[i].Kind, t[i].Text = SpanPending, p.pending
		}
	}
	return t
}

// parseText reads guide text: **bold**, `code`, [words](https://…) and {{.Placeholder}}. Marks
// do not nest. A SpanValue has no Text yet.
func parseText(s string) (Text, error) {
	var out Text
	plain := 0
	flush := func(to int) {
		if to > plain {
			out = append(out, Span{Kind: SpanText, Text: s[plain:to]})
		}
	}
	for i := 0; i < len(s); {
		rest := s[i:]
		var span Span
		var n int
		switch {
		case strings.HasPrefix(rest, "{{"):
			end := strings.Index(rest, "}}")
			if end < 0 {
				return nil, fmt.Errorf("{{ without }}")
			}
			name, dotted := strings.CutPrefix(rest[2:end], ".")
			if _, ok := placeholders[name]; !dotted || !ok {
				return nil, fmt.Errorf("unknown placeholder %s", rest[:end+2])
			}
			span, n = Span{Kind: SpanValue, Name: name}, end+2
		case strings.HasPrefix(rest, "**"):
			end := strings.Index(rest[2:], "**")
			if end <= 0 {
				return nil, fmt.Errorf("** without a second **")
			}
			span, n = Span{Kind: SpanBold, Text: rest[2 : 2+end]}, end+4
		case rest[0] == '`':
			end := strings.IndexByte(rest[1:], '`')
			if end <= 0 {
				return nil, fmt.Errorf("` without a second `")
			}
			span, n = Span{Kind: SpanCode, Text: rest[1 : 1+end]}, end+2
		case rest[0] == '[':
			mid := strings.Index(rest, "](")
			if mid < 0 {
				i++
				continue
			}
			end := strings.IndexByte(rest[mid:], ')')
			if end < 0 {
				return nil, fmt.Errorf("link without )")
			}
			addr := rest[mid+2 : mid+end]
			u, err := url.Parse(addr)
			if err != nil || u.Scheme != "https" || u.Host == "" {
				return nil, fmt.Errorf("link %q must be an https address", addr)
			}
			span, n = Span{Kind: SpanLink, Text: rest[1:mid], URL: addr}, mid+end+1
		default:
			i++
			continue
		}
		if strings.Contains(span.Text, "{{") {
			return nil, fmt.Errorf("a placeholder can't stand inside other marks")
		}
		flush(i)
		out = append(out, span)
		i += n
		plain = i
	}
	flush(len(s))
	return out, nil
}
