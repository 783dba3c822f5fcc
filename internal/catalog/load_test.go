package catalog

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

func readConnector(tb testing.TB, name string) string {
	tb.Helper()
	data, err := fs.ReadFile(builtin, "connectors/"+name)
	if err != nil {
		tb.Fatal(err)
	}
	return string(data)
}

// Each case breaks a good file in one place and must be refused at that place.
func TestFaultyFilesAreRefusedWithTheirPlace(t *testing.T) {
	for _, x := range []struct {
		name, file, old, new string
		// at is text on the line that the error must name; says is part of its message.
		at, says string
	}{
		{"unknown key", "bookmark.yaml", "label: Bookmark", "lable: Bookmark", "lable:", "unknown field"},
		{"unknown key deep inside", "atlassian-cloud.yaml", "    exact: true", "    exactly: true", "exactly:", "unknown field"},
		{"unknown key in a row", "custom-scim.yaml", "      attribute: username", "      attribut: username", "attribut:", "unknown field"},
		{"duplicate key", "bookmark.yaml", "label: Bookmark", "label: Bookmark\nlabel: Twice", "label: Twice", "already defined"},
		{"wrong type", "atlassian-cloud.yaml", "    slots: 1", "    slots: many", "slots: many", "cannot unmarshal"},
		{"not YAML", "bookmark.yaml", "aliases: [Link", "aliases: [[Link", "", ""},
		{"alias", "bookmark.yaml", "label: Bookmark", "label: &a Bookmark", "label: &a", "anchors"},
		{"key and file name differ", "bookmark.yaml", "key: bookmark", "key: bookmarks", "key:", "must be named bookmarks.yaml"},
		{"unknown category", "bookmark.yaml", "category: generic", "category: toys", "category:", "not one of"},
		{"colour", "bookmark.yaml", `colour: "#5b6472"`, `colour: red`, "colour:", "#rrggbb"},
		{"description too long", "bookmark.yaml", "A tile in", strings.Repeat("long ", 60), "description:", "longer than 256"},
		{"logo with script", "bookmark.yaml", `<path d=`, `<script/><path d=`, "logo:", "<script> is not allowed"},
		{"logo with handler", "bookmark.yaml", `<path d=`, `<path onload="x()" d=`, "logo:", "onload is not allowed"},
		{"logo with style", "bookmark.yaml", `<path d=`, `<path style="fill:red" d=`, "logo:", "style is not allowed"},
		{"logo that fetches", "bookmark.yaml", `fill="#5b6472"`, `fill="url(x)"`, "logo:", "is not allowed"},
		{"logo with reference", "bookmark.yaml", `<path d=`, `<image href="https://example.com/x.png"/><path d=`, "logo:", "<image> is not allowed"},
		{"logo with comment", "bookmark.yaml", `<path d=`, `<!-- x --><path d=`, "logo:", "comments"},
		{"logo not closed", "bookmark.yaml", `</svg>`, ``, "logo:", "not well-formed"},
		{"bad pattern", "bookmark.yaml", `^https?://[^/\s]+`, `(`, "match: (", "error parsing regexp"},
		{"example fails its check", "bookmark.yaml", "- https://intranet.example.com\n", "- intranet\n", "- intranet", "is warned about"},
		{"wrong value passes", "bookmark.yaml", "- intranet.example.com\n", "- https://x.example.com\n", "- https://x.example.com", "passes every check"},
		{"unproved check", "bookmark.yaml", "      - http://intranet.example.com\n", "", "avoid: ^http://", "no wrong value fails this check"},
		{"unknown placeholder", "bookmark.yaml", "{{.Label}}", "{{.Lable}}", "Lable", "unknown placeholder {{.Lable}}"},
		{"open placeholder", "bookmark.yaml", "{{.Label}}", "{{.Label", "{{.Label see", "{{ without }}"},
		{"unknown attribute", "custom-scim.yaml", "attribute: username", "attribute: login", "target: userName", `no attribute "login"`},
		{"two sources", "custom-scim.yaml", "attribute: username", "attribute: username\n      constant: x", "target: userName", "exactly one of"},
		{"no source", "custom-scim.yaml", "      attribute: username\n", "", "target: userName", "exactly one of"},
		{"bad SCIM path", "custom-scim.yaml", "target: title", "target: ti tle", "ti tle", "not a SCIM path"},
		{"target twice", "custom-scim.yaml", "target: title", "target: USERNAME", "USERNAME", "target of two rows"},
		{"reserved target", "custom-scim.yaml", "target: title", "target: meta", "target: meta", "can't be the target"},
		{"active is fixed", "custom-scim.yaml", "      label: Active\n      attribute: active", "      label: Active\n      constant: true", "target: active", "always follows"},
		{"no active row", "custom-scim.yaml", "target: active\n      label: Active\n      attribute: active", "target: nickName\n      label: Active\n      attribute: active", "- target: userName", "needs a row for active"},
		{"required and disabled", "custom-scim.yaml", "      attribute: username\n      required: true", "      attribute: username\n      required: true\n      disabled: true", "target: userName", "can't be disabled"},
		{"list into one value", "custom-scim.yaml", "target: phoneNumbers", `target: phoneNumbers[type eq "work"].value`, `phoneNumbers[type`, "is a list"},
		{"extension attribute that is not kept", "atlassian-cloud.yaml", "2.0:User:department", "2.0:User:costCenter", "costCenter", "doesn't keep"},
		{"active is fixed", "custom-scim.yaml", "    deactivate: active\n", "    fixed: [active]\n    deactivate: active\n", "fixed: [active]", "changes with every leaver"},
		{"fixed, and changed by PUT", "atlassian-cloud.yaml", "putFor: [emails]", "putFor: [emails]\n    fixed: [emails]", "fixed: [emails]", "can't be fixed"},
		{"active by PATCH where all goes by it", "custom-scim.yaml", "    deactivate: active\n", "    patchFor: [active]\n    deactivate: active\n", "patchFor: [active]", "update is not put"},
		{"PATCH for what else", "zoom.yaml", "patchFor: [active]", "patchFor: [emails]", "patchFor: [emails]", "not one of"},
		{"fixed is no path", "custom-scim.yaml", "    deactivate: active\n", "    fixed: [\"a b\"]\n    deactivate: active\n", "fixed:", "not a SCIM path"},
		{"token address without its scheme", "custom-scim.yaml", "    scheme: bearer\n", "    scheme: bearer\n    tokenURL: https://example.com/token\n", "tokenURL:", "exactly for the scheme"},
		{"token to be exchanged nowhere", "custom-scim.yaml", "scheme: bearer", "scheme: account", "token:", "exactly for the scheme"},
		{"unknown scheme of a token", "custom-scim.yaml", "scheme: bearer", "scheme: basic", "scheme: basic", "not one of"},
		{"groups need what can't be sent", "custom-scim.yaml", "    rename: true\n", "    rename: true\n    required: [owner]\n", "required: [owner]", "not one of"},
		{"members in lists and hidden", "custom-scim.yaml", "    membersInList: true\n", "    membersInList: true\n    membersHidden: true\n", "membersHidden:", "contradicts"},
		{"match is no filter", "atlassian-cloud.yaml", "match: [externalId, userName]", "match: [externalId, emails]", "match: [externalId, emails]", "not among the filters"},
		{"rename without advice", "custom-scim.yaml", "rename: true", "rename: false", "groups:", "say what to do"},
		{"quirk without reference", "atlassian-cloud.yaml", "references: [access-1388]\n\nguide", "references: []\n\nguide", "id: forgotten-users", "needs a reference"},
		{"quirk with unknown reference", "atlassian-cloud.yaml", "references: [access-1388]\n\nguide", "references: [access-9]\n\nguide", "[access-9]", `no reference "access-9"`},
		{"unused reference", "atlassian-cloud.yaml", "references: [id-8027]", "references: [access-1388]", "- {id: scim-intro", `nothing uses the reference "id-8027"`},
		{"reference over http", "atlassian-cloud.yaml", `"https://jira.atlassian.com/browse/ID-8027"`, `"http://jira.atlassian.com/browse/ID-8027"`, "ID-8027", "https address"},
		{"weak key", "atlassian-cloud.yaml", "minRSABits: 2048", "minRSABits: 1024", "minRSABits", "2048 to 8192"},
		{"SHA-1", "atlassian-cloud.yaml", "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", "http://www.w3.org/2000/09/xmldsig#rsa-sha1", "signatureAlgorithm", "not one of"},
		{"NameID format", "atlassian-cloud.yaml", "    format: urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress", "    format: urn:oasis:names:tc:SAML:2.0:nameid-format:email", "formats:", "must hold the default format"},
		{"slug", "atlassian-cloud.yaml", "slug: atlassiancloud", "slug: Atlassian Cloud", "slug:", "lower-case"},
		{"http link in the guide", "atlassian-cloud.yaml", "In [Atlassian Administration](https://admin", "In [Atlassian Administration](http://admin", "(http://admin", "https address"},
	} {
		t.Run(x.name, func(t *testing.T) {
			good := readConnector(t, x.file)
			if !strings.Contains(good, x.old) {
				t.Fatalf("%s does not hold %q", x.file, x.old)
			}
			bad := strings.Replace(good, x.old, x.new, 1)
			con, err := Parse(x.file, []byte(bad))
			if err == nil {
				t.Fatal("accepted")
			}
			if con != nil {
				t.Error("a faulty connector was returned")
			}
			var list []error
			if j, ok := err.(interface{ Unwrap() []error }); ok {
				list = j.Unwrap()
			} else {
				list = []error{err}
			}
			lines := strings.Split(bad, "\n")
			for _, e := range list {
				var fe *FileError
				if !errors.As(e, &fe) {
					t.Fatalf("not a FileError: %v", e)
				}
				if fe.File != x.file || fe.Line < 1 || fe.Line > len(lines) || fe.Column < 1 {
					t.Fatalf("no place in the file: %v", e)
				}
				near := strings.Join(lines[max(fe.Line-2, 0):min(fe.Line+1, len(lines))], "\n")
				if strings.Contains(fe.Message, x.says) && strings.Contains(near, x.at) {
					return
				}
			}
			t.Errorf("no error near %q that says %q:\n%v", x.at, x.says, err)
		})
	}
}

func TestLoadReportsEveryFile(t *testing.T) {
	book := readConnector(t, "bookmark.yaml")
	_, err := Load(fstest.MapFS{
		"bookmark.yaml": {Data: []byte(strings.Replace(book, "label: Bookmark", "label: ''", 1))},
		"other.yaml":    {Data: []byte(book)},
		"notes.txt":     {Data: []byte("not a connector")},
	})
	if err == nil || !strings.Contains(err.Error(), "bookmark.yaml:") || !strings.Contains(err.Error(), "other.yaml:") {
		t.Fatalf("Load: %v", err)
	}
	c, err := Load(fstest.MapFS{"bookmark.yaml": {Data: []byte(book)}})
	if err != nil || len(c.All()) != 1 {
		t.Fatalf("Load: %v, %v", c, err)
	}
}

func TestLoadRefusesHugeAndEmptyFiles(t *testing.T) {
	for name, data := range map[string]string{
		"empty": "", "two documents": "key: a\n---\nkey: b\n", "huge": "#" + strings.Repeat("x", maxFile),
		"a list": "- a\n", "a scalar": "hello",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse("x.yaml", []byte(data)); err == nil {
				t.Error("accepted")
			}
		})
	}
}

// Class: resource exhaustion. Unchecked, the first of these runs for minutes.
func TestDeepNestingIsRefusedAtOnce(t *testing.T) {
	var steps strings.Builder
	for i := range 500 {
		steps.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	for name, data := range map[string]string{
		"brackets": "a: 1\n" + strings.Repeat("[", 200_000),
		"braces":   "a: 1\nb: " + strings.Repeat("{a: ", 50_000),
		"dashes":   "a: 1\n" + strings.Repeat("- ", 100_000),
		"keys":     "a: 1\n" + strings.Repeat("? ", 100_000),
		"steps":    steps.String(),
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, err := Parse("x.yaml", []byte(data))
			var e *FileError
			if !errors.As(err, &e) || e.Message != "nested too deeply" || e.Line < 2 {
				t.Errorf("Parse: %.200v", err)
			}
			if d := time.Since(start); d > time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}

func TestLogoRules(t *testing.T) {
	const ns = `xmlns="http://www.w3.org/2000/svg"`
	for _, x := range []struct {
		name, svg string
		ok        bool
	}{
		{"plain", `<svg ` + ns + ` viewBox="0 0 1 1"><path d="M0 0h1" fill="#fff"/></svg>`, true},
		{"no namespace", `<svg viewBox="0 0 1 1"/>`, false},
		{"foreign element", `<svg ` + ns + `><foreignObject/></svg>`, false},
		{"other namespace", `<svg ` + ns + `><p xmlns="http://www.w3.org/1999/xhtml"/></svg>`, false},
		{"prefixed attribute", `<svg ` + ns + ` xmlns:xlink="http://www.w3.org/1999/xlink"><path xlink:href="#a"/></svg>`, false},
		{"doctype", `<!DOCTYPE svg><svg ` + ns + `/>`, false},
		{"cdata", `<svg ` + ns + `><title><![CDATA[<script>]]></title></svg>`, false},
		{"instruction", `<?xml version="1.0"?><svg ` + ns + `/>`, false},
		{"two roots", `<svg ` + ns + `/><svg ` + ns + `/>`, false},
		{"text after", `<svg ` + ns + `/>x`, false},
		{"too large", `<svg ` + ns + `>` + strings.Repeat("<g/>", 2000) + `</svg>`, false},
		{"empty", ``, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			if err := checkLogo(x.svg); (err == nil) != x.ok {
				t.Errorf("checkLogo: %v", err)
			}
		})
	}
}

// FuzzParse wants no panic and, for what is accepted, a connector that can be used.
func FuzzParse(f *testing.F) {
	names, err := fs.Glob(builtin, "connectors/*.yaml")
	if err != nil || len(names) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, n := range names {
		data, err := fs.ReadFile(builtin, n)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("key: bookmark\nname: [x"))
	f.Add([]byte("a: &a [*a]"))
	c := NewCompiler()
	f.Fuzz(func(t *testing.T, data []byte) {
		con, err := Parse("bookmark.yaml", data)
		if err != nil {
			return
		}
		con.FillGuide("", GuideValues{})
		if con.SCIM != nil {
			_, _ = c.CompileSCIM(con.SCIM.Mapping)
		}
		if con.SAML != nil {
			_, _ = c.CompileSAML(con.SAML.NameID, con.SAML.Attributes)
		}
	})
}

func BenchmarkBuiltin(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Builtin(); err != nil {
			b.Fatal(err)
		}
	}
}
