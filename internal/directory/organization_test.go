package directory_test

import (
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

func TestOrganization(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		d := directory.New(db, func() time.Time { return time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC) })
		ctx := t.Context()
		if o, err := d.Organization(ctx); err != nil || o.Name != "" {
			t.Fatalf("before anybody gave a name: %+v, %v", o, err)
		}
		system := access.SystemActor("")
		for range 2 { // the second time changes nothing
			if err := d.SetOrganization(ctx, system, directory.Organization{Name: "  Corp  & Sons "}); err != nil {
				t.Fatal(err)
			}
		}
		if o, err := d.Organization(ctx); err != nil || o.Name != "Corp & Sons" {
			t.Errorf("%+v, %v", o, err)
		}
		for name, c := range map[string]struct {
			by   access.Actor
			to   string
			kind problem.Kind
		}{
			"help desk": {access.Actor{Role: access.HelpDesk}, "Other", problem.Forbidden},
			"empty":     {system, " ", problem.Invalid},
			"too long":  {system, strings.Repeat("x", 101), problem.Invalid},
			"control":   {system, "a\x00b", problem.Invalid},
		} {
			if err := d.SetOrganization(ctx, c.by, directory.Organization{Name: c.to}); !problem.Is(err, c.kind) {
				t.Errorf("%s: %v", name, err)
			}
		}
		page, err := audit.NewLog(db).Search(ctx, system, audit.Query{Types: []audit.Type{audit.SettingsUpdate}})
		if err != nil || len(page.Items) != 1 || page.Items[0].Message != "The organization is now called Corp & Sons." {
			t.Errorf("events: %+v, %v", page.Items, err)
		}
	})
}
