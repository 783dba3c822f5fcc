package console

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestIndented(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"no XML", "hello < there", "hello\n< there"},
		{"nested", `<a x="1>2"><b>text</b><c></c><d/></a>`, "<a x=\"1>2\">\n  <b>text</b>\n  <c></c>\n  <d/>\n</a>"},
		{"with lines", "<a>\n  <b>\n  </b>\n</a>", "<a>\n  <b>\n  </b>\n</a>"},
		{"declaration", `<?xml version="1.0"?><!-- a --><a/>`, "<?xml version=\"1.0\"?>\n<!-- a -->\n<a/>"},
		{"broken off", `<a><b x="`, "<a>\n  <b x=\""},
		{"too many ends", `</a></b>`, "</a>\n</b>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, indented(c.in)); d != "" {
				t.Error(d)
			}
		})
	}
}
