package provision

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/provision/plan"
)

// What becomes of leavers is the connector's word and the administrator's choice.
func TestLeaversByConnectorAndChoice(t *testing.T) {
	for _, x := range []struct {
		name  string
		users catalog.UserFacts
		leave app.OnLeave
		want  plan.Leavers
	}{
		{"active: false", catalog.UserFacts{Deactivate: catalog.DeactivateByActive, Delete: true}, "", plan.Deactivate},
		{"deletion chosen", catalog.UserFacts{Deactivate: catalog.DeactivateByActive, Delete: true}, app.Remove, plan.Delete},
		{"deletion chosen where it isn't offered", catalog.UserFacts{Deactivate: catalog.DeactivateByActive}, app.Remove, plan.Deactivate},
		{"no active: false there", catalog.UserFacts{Deactivate: catalog.DeactivateByDelete}, app.Deactivate, plan.Delete},
	} {
		t.Run(x.name, func(t *testing.T) {
			if got := abilities(&catalog.SCIM{Users: x.users}, app.SCIMSettings{OnLeave: x.leave}).Leavers; got != x.want {
				t.Errorf("leavers: %s, want %s", got, x.want)
			}
		})
	}
}

func TestFixedAttributesReachThePlanner(t *testing.T) {
	want := []string{"userName", "externalId"}
	got := abilities(&catalog.SCIM{Users: catalog.UserFacts{Fixed: want}}, app.SCIMSettings{}).Fixed
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
