package keys_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/keys"
)

func TestSecretIsNeverShown(t *testing.T) {
	const hidden = "hunter2-secret"
	s := keys.Secret(hidden)
	type holder struct {
		Token  keys.Secret
		Nested []keys.Secret
		Map    map[string]keys.Secret
	}
	type element struct{ T keys.Secret }
	h := holder{s, []keys.Secret{s}, map[string]keys.Secret{"k": s}}
	marshal := func(v any, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%s", v)
	}
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "token", s, "holder", h, "pointer", &s)
	shown := map[string]string{
		"String":   s.String(),
		"GoString": s.GoString(),
		"%v":       fmt.Sprintf("%v", s),
		"%+v":      fmt.Sprintf("%+v", h),
		"%#v":      fmt.Sprintf("%#v", h),
		"%s":       fmt.Sprintf("%s", s),
		"%q":       fmt.Sprintf("%q", s),
		"%x":       fmt.Sprintf("%x", s),
		"%X":       fmt.Sprintf("% X", s),
		"%d":       fmt.Sprintf("%d", s),
		"%10.3s":   fmt.Sprintf("%10.3s", s),
		"pointer":  fmt.Sprintf("%v %+v", &s, &h),
		"JSON":     marshal(json.Marshal(h)),
		"XML":      marshal(xml.Marshal(element{s})),
		"error":    fmt.Errorf("call with %v", s).Error(),
		"slog":     logged.String(),
	}
	for how, text := range shown {
		if strings.Contains(text, hidden) || strings.Contains(strings.ToLower(text), "68756e74") || strings.Contains(text, "hun") {
			t.Errorf("%s gives it away: %s", how, text)
		}
		if !strings.Contains(text, "redacted") {
			t.Errorf("%s doesn't say that something is hidden: %s", how, text)
		}
	}
	if s.Reveal() != hidden {
		t.Error("Reveal must give the secret")
	}
	var back holder
	if err := json.Unmarshal([]byte(`{"Token":"abc"}`), &back); err != nil || back.Token.Reveal() != "abc" {
		t.Errorf("a secret can be read from JSON: %q, %v", back.Token.Reveal(), err)
	}
	if keys.Secret("").String() != "" {
		t.Error("no secret shows as nothing")
	}
}
