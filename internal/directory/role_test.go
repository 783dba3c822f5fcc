package directory_test

import (
	"fmt"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

// Whoever may create people may not by that give them a role: only owners give roles, also those weaker than one's own.
func TestRolesProtectThemselvesFromCreation(t *testing.T) {
	f := newFixture(t, storetest.SQLite(t))
	n := 0
	create := func(by access.Actor, role access.Role) error {
		n++
		_, err := f.CreateUser(t.Context(), by, directory.NewUser{
			Attributes: directory.Attributes{
				Email: fmt.Sprintf("p%d@example.com", n), Profile: directory.Profile{GivenName: "P", FamilyName: fmt.Sprint(n)},
			},
			Role: role,
		})
		return err
	}
	for _, role := range []access.Role{access.Owner, access.Administrator, access.HelpDesk, access.ReadOnly} {
		for _, by := range []access.Actor{admin, helpDesk, readOnly, nobody} {
			if err := create(by, role); !problem.Is(err, problem.Forbidden) {
				t.Errorf("%s by %s: %v", role, by.ID, err)
			}
		}
		if err := create(owner, role); err != nil {
			t.Errorf("%s by an owner: %v", role, err)
		}
	}
	if err := create(admin, access.None); err != nil {
		t.Errorf("without a role: %v", err)
	}
}
