package mail

import (
	"html"
	"regexp"
	"strings"
)

// textBody is plain text with whose it is below.
func textBody(name, text string) string {
	foot := "Latchkey"
	if name != foot {
		foot = name + " · Latchkey"
	}
	return strings.TrimRight(text, "\n") + "\n\n-- \n" + foot + "\n"
}

var address = regexp.MustCompile(`https?://[^\s<>"]*[^\s<>".,;:!?)]`)

// paragraphs makes HTML of plain text. Nothing in the text is taken for markup; addresses become links.
func paragraphs(text string) string {
	var b strings.Builder
	for p := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		if strings.TrimSpace(p) == "" {
			continue
		}
		b.WriteString("<p>")
		for i, line := range strings.Split(strings.Trim(p, "\n"), "\n") {
			if i > 0 {
				b.WriteString("<br>\n")
			}
			from := 0
			for _, at := range address.FindAllStringIndex(line, -1) {
				link := html.EscapeString(line[at[0]:at[1]])
				b.WriteString(html.EscapeString(line[from:at[0]]) + `<a href="` + link + `">` + link + `</a>`)
				from = at[1]
			}
			b.WriteString(html.EscapeString(line[from:]))
		}
		b.WriteString("</p>\n")
	}
	return b.String()
}

// htmlBody puts a body into a page that every mail program can show.
func htmlBody(name, subject, body string) string {
	return `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>` + html.EscapeString(subject) + `</title></head>
<body style="margin:0;padding:24px;background:#f4f5f7;color:#1d2433;font-family:system-ui,-apple-system,'Segoe UI',Roboto,Arial,sans-serif;font-size:16px;line-height:1.5">
<div style="max-width:560px;margin:0 auto;padding:24px 32px;background:#ffffff;border:1px solid #dfe2e8;border-radius:8px">
<p style="margin:0 0 16px;font-weight:600">` + html.EscapeString(name) + `</p>
` + body + `</div>
<p style="max-width:560px;margin:16px auto;color:#5b6472;font-size:13px">Sent by Latchkey.</p>
</body></html>
`
}
