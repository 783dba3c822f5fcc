package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"
)

const pageTop = `# SAML: interoperation with foreign service providers

<!-- Written by make interop-page. -->

Service providers that others wrote sign people on by the built program, over loopback, in a browser that keeps cookies
as browsers do: a post from another site takes none of Latchkey's along. Latchkey is set up by its command line and API
only, and service providers by the files that their administrators would write.

` + "```" + `
make interop                                              # all of it; the last line is VERDICT interop pass | short <what>
go run ./test/interop -only mellon,node-saml -v           # some of them
go run ./test/interop -only mellon -case slo-sp -keep -v  # one case; messages, configurations and logs are kept
make interop-page                                         # all of it, and writes this page
` + "```" + `

It needs Debian, and root where service providers have to be installed first. Apache and ` + "`shibd`" + ` run as instances of
their own with configuration, sockets and logs in a temporary folder.

Each case looks at what went over the wire, too: that the request was signed, by which binding it came, which element of
the response carries a signature, that an assertion was really encrypted. To be refused, responses are changed on their
way, and where the signature has to be right, signed anew by a key that Latchkey was given for this; the case "Control"
shows that a response treated so is accepted when nothing else is changed.

## Matrix

✓ passes · – the service provider can't do this, and the note says why · ✗ fails

`

// writePage writes the matrix as a page of the documentation.
func writePage(path string, m *matrix, all []entry) error {
	var b bytes.Buffer
	b.WriteString(pageTop)
	fmt.Fprintf(&b, "Run of %s.\n\n", time.Now().UTC().Format("2 January 2006"))
	b.WriteString("|")
	for _, c := range m.columns {
		fmt.Fprintf(&b, " | %s<br>%s", c.name, c.version)
	}
	b.WriteString(" |\n|---" + strings.Repeat("|:-:", len(m.columns)) + "|\n")
	var notes []string
	for _, r := range m.rows {
		fmt.Fprintf(&b, "| %s", r.title)
		for _, c := range m.columns {
			o := c.cell(r.key)
			mark := map[string]string{pass: "✓", none: "–", fail: "✗", later: "not tried"}[o.mark]
			if o.reason != "" {
				notes = append(notes, fmt.Sprintf("%s, %s: %s.", c.name, r.title, strings.TrimSuffix(escaped(o.reason), ".")))
				mark += fmt.Sprintf(" <sup>%d</sup>", len(notes))
			}
			fmt.Fprintf(&b, " | %s", mark)
		}
		b.WriteString(" |\n")
	}
	b.WriteString("\n")
	for i, n := range notes {
		fmt.Fprintf(&b, "%d. %s\n", i+1, n)
	}
	b.WriteString("\n## What administrators of these service providers should know\n")
	for _, e := range all {
		if len(e.advice) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n### %s\n\n", e.make().name())
		for _, a := range e.advice {
			fmt.Fprintf(&b, "- %s\n", a)
		}
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// escaped keeps text from being taken for marks of the page.
func escaped(s string) string {
	return strings.NewReplacer("&", "&amp;", "|", `\|`, "<", `\<`, "*", `\*`, "`", "'").Replace(s)
}
