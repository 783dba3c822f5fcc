package api

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
)

// The examples of RFC 7396 Appendix A whose result is an object.
func TestMergePatchFollowsTheRFC(t *testing.T) {
	for _, c := range []struct{ target, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		var target, patch, want map[string]any
		for v, text := range map[*map[string]any]string{&target: c.target, &patch: c.patch, &want: c.want} {
			if err := json.Unmarshal([]byte(text), v); err != nil {
				t.Fatal(err)
			}
		}
		if d := cmp.Diff(want, merge(target, patch)); d != "" {
			t.Errorf("%s patched by %s (-want +got):\n%s", c.target, c.patch, d)
		}
	}
}

func FuzzMergePatch(f *testing.F) {
	seeds, err := filepath.Glob("testdata/patch/*.json")
	if err != nil || len(seeds) == 0 {
		f.Fatalf("no seeds in testdata/patch: %v", err)
	}
	for _, path := range seeds {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var p MergePatch
		if json.Unmarshal(b, &p.changes) != nil || p.changes == nil {
			return
		}
		before := directory.Attributes{Email: "ada@example.com", Profile: directory.Profile{Custom: map[string]any{"a": "b"}}}
		for _, dst := range []any{&before, &directory.GroupAttributes{Name: "x"}, &app.Attributes{Label: "x"}, &app.SAMLSettings{}, &app.SCIMSettings{}} {
			err := p.apply(dst)
			if err == nil {
				// Doing it again changes nothing more.
				once, _ := json.Marshal(dst)
				if err := p.apply(dst); err != nil {
					t.Fatalf("the same patch again: %v", err)
				}
				if twice, _ := json.Marshal(dst); string(once) != string(twice) {
					t.Errorf("once %s, twice %s", once, twice)
				}
				continue
			}
			if !problem.Is(err, problem.Invalid) {
				t.Errorf("the patch isn't to blame for %v", err)
			}
		}
	})
}
