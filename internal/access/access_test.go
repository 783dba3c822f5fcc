package access

import (
	"testing"

	"github.com/latchkey-idp/latchkey/internal/problem"
)

func TestAllow(t *testing.T) {
	for _, c := range []struct {
		role Role
		can  Permission
		want bool
	}{
		{Owner, ManageRoles, true},
		{Administrator, ManageRoles, false},
		{Administrator, ManageApplications, true},
		{HelpDesk, SuspendUser, true},
		{HelpDesk, ManageDirectory, false},
		{HelpDesk, ManageApplications, false},
		{ReadOnly, ReadEvents, true},
		{ReadOnly, SuspendUser, false},
		{None, ReadDirectory, false},
		{Role("root"), ReadDirectory, false},
	} {
		err := Allow(Actor{Role: c.role}, c.can)
		if (err == nil) != c.want {
			t.Errorf("%q %s: %v", c.role, c.can, err)
		}
		if err != nil && problem.KindOf(err) != problem.Forbidden {
			t.Errorf("%q %s: kind %v", c.role, c.can, problem.KindOf(err))
		}
	}
}

func TestEveryRoleReadsWhatAWeakerOneReads(t *testing.T) {
	roles := Roles()
	for i := 1; i < len(roles); i++ {
		for _, p := range granted[roles[i]] {
			if !roles[i-1].Can(p) {
				t.Errorf("%s lacks %s, which %s has", roles[i-1], p, roles[i])
			}
		}
	}
}

func TestAtLeast(t *testing.T) {
	if !Owner.AtLeast(Administrator) || HelpDesk.AtLeast(Administrator) || !None.AtLeast(None) || None.AtLeast(ReadOnly) {
		t.Fatal("ranking is wrong")
	}
}
