package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/server"
)

func TestServeSaysWhoSigns(t *testing.T) {
	for by, want := range map[keys.Signing]string{keys.SignGo: "by=Go\n", keys.SignAuto: "by="} {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		if err := logSigning(keys.NewPairs(nil, nil, keys.WithSigning(by)), log); err != nil {
			t.Fatal(err)
		}
		if line := out.String(); strings.Count(line, "\n") != 1 || !strings.Contains(line, want) {
			t.Errorf("%s: %q", by, line)
		}
	}
	err := logSigning(keys.NewPairs(nil, nil, keys.WithSigning("somebody")), slog.New(slog.DiscardHandler))
	if !problem.Is(err, problem.Invalid) {
		t.Errorf("somebody: %v", err)
	}
}

func TestSigningIsChecked(t *testing.T) {
	for value, bad := range map[string]bool{"": false, "auto": false, "go": false, "libcrypto": false, "openssl": true} {
		c := server.Config{Listen: "127.0.0.1:0", Signing: value}
		fields := problem.FieldsOf(c.Check())
		if got := len(fields) == 1 && fields[0].Name == "signing"; got != bad {
			t.Errorf("%q: %v", value, fields)
		}
	}
}
