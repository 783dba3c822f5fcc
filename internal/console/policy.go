package console

import (
	"net/http"
	"strconv"
	"time"

	"github.com/latchkey-idp/latchkey/internal/web"
)

// Policy is the sign-in policy in force, as set in the configuration. A zero field means the
// default.
type Policy struct {
	// Idle and Absolute end a session: unused, and after sign-in.
	Idle, Absolute time.Duration
	// Account and Network are how many failures pass before sign-in slows down: for one name
	// from one place in an hour, and from one network in a quarter of an hour.
	Account, Network int
}

// policyRow is one setting in force.
type policyRow struct{ Name, Value, Help, Setting string }

// policyPart is a group of settings.
type policyPart struct {
	Title, Text string
	Rows        []policyRow
}

func (c *Console) policyParts() []policyPart {
	setting := func(set bool, value, fallback string) string {
		if set {
			return value
		}
		return fallback
	}
	p := c.Policy
	return []policyPart{
		{"Sessions", "How long people stay signed in, here and for applications that ask anew.", []policyRow{
			{"Without use", setting(p.Idle > 0, span(p.Idle), "8 hours"), "A session that isn't used ends after this long.", "session.idle"},
			{"At most", setting(p.Absolute > 0, span(p.Absolute), "1 day"), "A session ends this long after sign-in, used or not.", "session.absolute"},
			{"Suspending or deleting somebody", "at once", "Ends all of their sessions on every replica, with the next click.", ""},
		}},
		{"Passwords", "What a new password needs. Old ones stay valid when the rule changes.", []policyRow{
			{"Length", "at least " + strconv.Itoa(c.Authn.MinPassword()) + " characters", "Long ones of a few unrelated words are best.", "session.minPassword"},
			{"Refused", "common and simple ones", "Passwords that many use, simple patterns, and those that are mostly the person's own name or address.", ""},
			{"Kept as", "Argon2id", "Only a hash is kept; it is renewed at sign-in when the cost rises.", ""},
		}},
		{"Guessing", "Slows attackers down without letting them lock anybody out: a browser that somebody is known by isn't slowed down by others' failures.", []policyRow{
			{"One name from one place", setting(p.Account > 0, strconv.Itoa(p.Account), "5") + " failures in an hour", "Then answers slow down, for names that exist and for those that don't.", "limits.account"},
			{"One network", setting(p.Network > 0, strconv.Itoa(p.Network), "100") + " failures in a quarter of an hour", "Over all names.", "limits.network"},
		}},
		{"Proofs", "What a person shows at sign-in.", []policyRow{
			{"Everybody", "password", "Applications are told how and when the person proved who they are.", ""},
			{"Asked for again", "when an application wants it", "A service provider that sends ForceAuthn gets a fresh proof.", ""},
		}},
	}
}

func (c *Console) policy(w http.ResponseWriter, r *request) error {
	p := c.page(w, r, "policy", "Sign-in policy")
	p.Subtitle = "The rules in force for everybody who signs in."
	return web.Render(w, r.Request, http.StatusOK, policyPage(p, c.policyParts()))
}
