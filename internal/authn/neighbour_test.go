package authn

import (
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"

	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

// Username variants that split a ban counter (GO-2025-3468, GO-2026-5430): a name beyond ASCII in another case, another
// normal form, with other spaces or as an e-mail address, is the same person's, and gives no more tries. So does a name of
// nobody: its variants wait together, too, or the answers would tell who exists.
func TestNeighbour_UsernameVariants(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := open(t, db, newClock())
		u := h.person("zoe")
		_, err := h.directory.UpdateUser(t.Context(), system, u.ID, 0, func(a *directory.Attributes) error { a.Username = "zoë"; return nil })
		if err != nil {
			t.Fatal(err)
		}
		variants := func(name string) []string {
			return []string{
				name, strings.ToUpper(name), norm.NFD.String(name), norm.NFD.String(strings.ToUpper(name)), norm.NFC.String(name), " " + name, name + " ", "\t" + name + "\n",
				"\u00a0" + name + "\u2003", name + "\x00", "\x07" + name, name + strings.Repeat(" ", 600), name + "\xff",
			}
		}
		for who, address := range map[string]string{"zoë": "zoe@corp.example", "nobodyë": "nobody@corp.example"} {
			told := 0
			for _, login := range append(variants(who), variants(address)...) {
				_, _, err := h.in(login, wrongPassword, from("203.0.113.5"))
				switch {
				case problem.Is(err, problem.Throttled):
				case problem.Is(err, problem.Unauthenticated):
					told++
				default:
					t.Fatalf("%q: %v", login, err)
				}
			}
			// One counter for the name and one for the address, five tries each, are told. Whether a password is looked at is
			// counted by person, below.
			if told != 10 {
				t.Errorf("%s: %d tries were not held up", who, told)
			}
		}
		checked := 0
		for _, e := range h.events(audit.UserLoginAttempt) {
			if strings.HasSuffix(e, "wrong password.") {
				checked++
			}
		}
		if checked != 5 {
			t.Errorf("%d passwords were looked at, want 5", checked)
		}
	})
}
