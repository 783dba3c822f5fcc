package authn

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

func TestSetup(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := open(t, db, newClock())
		ctx := t.Context()
		if needs, err := h.NeedsSetup(ctx); err != nil || !needs {
			t.Fatalf("empty database: %v, %v", needs, err)
		}
		link, err := h.NewSetupLink(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if l, err := h.Link(ctx, link.Reveal()); err != nil || l.Purpose != Setup {
			t.Fatalf("link: %+v, %v", l, err)
		}
		_, _, err = h.RedeemLink(ctx, link.Reveal(), goodPassword, "", Origin{})
		wantKind(t, "set-up link as a person's", err, problem.NotFound)

		owner := Owner{Email: "Olga@Corp.Example", GivenName: "Olga", FamilyName: "Owner", Password: goodPassword, Organization: "Corp"}
		for name, change := range map[string]func(*Owner){
			"password": func(o *Owner) { o.Password = "olga.owner.1" },
			"email":    func(o *Owner) { o.Email = "nonsense" },
		} {
			bad := owner
			change(&bad)
			_, _, err := h.CompleteSetup(ctx, link.Reveal(), bad, "", Origin{})
			if f := problem.FieldsOf(err); len(f) == 0 || f[0].Name != name {
				t.Errorf("bad %s: %v", name, err)
			}
		}
		s, token, err := h.CompleteSetup(ctx, link.Reveal(), owner, "", Origin{Address: "192.0.2.1"})
		if err != nil {
			t.Fatalf("after corrections the link should still work: %v", err)
		}
		if s.User.Role != access.Owner || s.User.State != directory.Active || s.User.Email != "olga@corp.example" || s.User.PasswordStatus != directory.PasswordCurrent {
			t.Errorf("owner: %+v", s.User)
		}
		if _, err := h.Session(ctx, token.Reveal()); err != nil {
			t.Errorf("the owner's session: %v", err)
		}
		if o, err := h.directory.Organization(ctx); err != nil || o.Name != "Corp" {
			t.Errorf("organization: %+v, %v", o, err)
		}
		if needs, err := h.NeedsSetup(ctx); err != nil || needs {
			t.Errorf("after set-up: %v, %v", needs, err)
		}
		_, err = h.NewSetupLink(ctx)
		wantKind(t, "another link", err, problem.Conflict)
		_, err = h.CreateOwner(ctx, owner)
		wantKind(t, "another owner", err, problem.Conflict)
		if _, err := h.Link(ctx, link.Reveal()); !errors.Is(err, ErrStale) {
			t.Errorf("the used link: %v", err)
		}
		h.mustIn("olga@corp.example")
	})
}

func TestCreateOwner(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := open(t, db, newClock())
		link, err := h.NewSetupLink(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		u, err := h.CreateOwner(t.Context(), Owner{Email: "o@corp.example", Username: "boss", Password: goodPassword})
		if err != nil || u.Role != access.Owner {
			t.Fatalf("%+v, %v", u, err)
		}
		h.mustIn("boss")
		if _, err := h.Link(t.Context(), link.Reveal()); !errors.Is(err, ErrStale) {
			t.Errorf("a printed set-up link outlives the set-up: %v", err)
		}
	})
}

func TestLinks(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := open(t, db, newClock())
		ctx := t.Context()
		u, err := h.directory.CreateUser(ctx, system, directory.NewUser{
			Attributes: directory.Attributes{Email: "anna@corp.example", Profile: directory.Profile{GivenName: "Anna", FamilyName: "Example"}}, State: directory.Active,
		})
		if err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			purpose Purpose
			ttl     time.Duration
		}{"setup": {Setup, time.Hour}, "renewal": {Renewal, time.Hour}, "unknown": {"x", time.Hour}, "no life": {Reset, 0}, "too long": {Reset, 31 * 24 * time.Hour}} {
			_, err := h.NewLink(ctx, system, u.ID, c.purpose, c.ttl)
			wantKind(t, name, err, problem.Invalid)
		}
		link, err := h.NewLink(ctx, system, u.ID, Activation, 24*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		l, err := h.Link(ctx, link.Reveal())
		if err != nil || l.Purpose != Activation || l.User.ID != u.ID || !l.ExpiresAt.Equal(h.clock.now().Add(24*time.Hour)) {
			t.Fatalf("%+v, %v", l, err)
		}
		_, _, err = h.RedeemLink(ctx, link.Reveal(), "anna-example", "", Origin{})
		wantKind(t, "own name as password", err, problem.Invalid)
		s, token, err := h.RedeemLink(ctx, link.Reveal(), goodPassword, "", Origin{Address: "192.0.2.7", UserAgent: "Firefox"})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := h.Session(ctx, token.Reveal()); err != nil || got.ID != s.ID || got.UserAgent != "Firefox" {
			t.Errorf("%+v, %v", got, err)
		}
		h.mustIn("anna@corp.example")
		want := []string{
			"one_time_link_create success system made a link for Anna Example to choose a password.",
			"user_password_set success Anna Example chose a password by a one-time link.",
		}
		if diff := cmp.Diff(want, h.events(audit.OneTimeLinkCreate, audit.UserPasswordSet)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAPIKeys(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := open(t, db, newClock())
		ctx := t.Context()
		admin := access.Actor{Kind: access.Person, ID: "a", Name: "adam", Role: access.Administrator}
		help := access.Actor{Kind: access.Person, ID: "h", Name: "hugo", Role: access.HelpDesk}

		for _, c := range []struct {
			name    string
			by      access.Actor
			key     string
			role    access.Role
			expires time.Time
			kind    problem.Kind
		}{
			{"help desk may not", help, "k", access.ReadOnly, time.Time{}, problem.Forbidden},
			{"stronger than oneself", admin, "k", access.Owner, time.Time{}, problem.Forbidden},
			{"no name", admin, " ", access.ReadOnly, time.Time{}, problem.Invalid},
			{"no role", admin, "k", access.None, time.Time{}, problem.Invalid},
			{"unknown role", admin, "k", "root", time.Time{}, problem.Invalid},
			{"ended before it began", admin, "k", access.ReadOnly, h.clock.now(), problem.Invalid},
		} {
			_, secret, err := h.CreateAPIKey(ctx, c.by, c.key, c.role, c.expires)
			if !problem.Is(err, c.kind) || secret != "" {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		k, secret, err := h.CreateAPIKey(ctx, admin, " deploy ", access.Administrator, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		if s := secret.Reveal(); len(s) != 46 || s[:3] != "lk_" {
			t.Errorf("the key is %d characters and begins with %q", len(s), s[:3])
		}
		h.clock.pass(2 * time.Minute)
		for range 3 {
			if _, err := h.APIKeyActor(ctx, secret, "", ""); err != nil {
				t.Fatal(err)
			}
			h.clock.pass(10 * time.Second)
		}
		if err := h.flush(ctx); err != nil {
			t.Fatal(err)
		}
		list, err := h.APIKeys(ctx, admin)
		if err != nil || len(list) != 1 {
			t.Fatalf("%v, %v", list, err)
		}
		used := list[0].LastUsedAt
		if list[0].Name != "deploy" || list[0].CreatedBy != "a" || used.Before(k.CreatedAt.Add(2*time.Minute)) || used.After(k.CreatedAt.Add(3*time.Minute)) {
			t.Errorf("%+v", list[0])
		}
		wantKind(t, "help desk lists", func() error { _, err := h.APIKeys(ctx, help); return err }(), problem.Forbidden)
		wantKind(t, "help desk revokes", h.RevokeAPIKey(ctx, help, k.ID), problem.Forbidden)
		wantKind(t, "unknown key", h.RevokeAPIKey(ctx, admin, "x"), problem.NotFound)
		for range 2 {
			if err := h.RevokeAPIKey(ctx, admin, k.ID); err != nil {
				t.Fatal(err)
			}
		}
		want := []string{
			"api_key_create success API key deploy was created with the role administrator.",
			"api_key_revoke success API key deploy was revoked.",
		}
		if diff := cmp.Diff(want, h.events(audit.APIKeyCreate, audit.APIKeyRevoke)); diff != "" {
			t.Error(diff)
		}
		strong, _, err := h.CreateAPIKey(ctx, system, "owner's", access.Owner, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		wantKind(t, "revoking a stronger key", h.RevokeAPIKey(ctx, admin, strong.ID), problem.Forbidden)
	})
}

func TestPasswordPolicy(t *testing.T) {
	h := open(t, storetest.SQLite(t), newClock())
	u := directory.User{Attributes: directory.Attributes{
		Username: "aschmidt", Email: "anna.schmidt@corp.example", Profile: directory.Profile{GivenName: "Anna", FamilyName: "Schmidt", EmployeeID: "E12345"},
	}}
	for _, c := range []struct {
		pw string
		ok bool
	}{
		{"velvet-hammer-drums", true},
		{"Tr0ub4dor&3-ext", true},
		{"öäüßéèêøå-ñçþð", true},
		{"密码安全长度十二字以上好", true},
		{"annas velvet hammer drums", true},
		{"k7Q!p2Zx9@Lm", true},
		{"elevenchars", false},
		{"password1234", false},
		{"P@ssw0rd2026!", false},
		{"Pa55w0rd!!!!!", false},
		{"passwordpassword", false},
		{"drowssap12345", false},
		{"Welcome2026!!", false},
		{"sunshine-2026", false},
		{"correcthorsebatterystaple", false},
		{"Correct Horse Battery Staple", false},
		{"aaaaaaaaaaaaaa", false},
		{"abcabcabcabcabc", false},
		{"123456789012", false},
		{"qwertyuiop[]", false},
		{"qwertyuiopasdf", false},
		{"abcdefghijklmnop", false},
		{"anna.schmidt@corp.example", false},
		{"Anna-Schmidt-1", false},
		{"ASCHMIDT-2026", false},
		{"schmidtE12345!", false},
		{"with\x00control-characters", false},
		{"broken \xff text is not typed", false},
	} {
		err := h.CheckPasswordPolicy(keys.Secret(c.pw), u)
		if (err == nil) != c.ok {
			t.Errorf("%q: %v", c.pw, err)
		}
		if err != nil && (len(problem.FieldsOf(err)) != 1 || problem.FieldsOf(err)[0].Name != "password") {
			t.Errorf("%q: %v isn't about the password", c.pw, err)
		}
	}
}

func TestCommonPasswordsAreMany(t *testing.T) {
	n := 0
	for i := range common {
		if common[i] == '\n' {
			n++
		}
	}
	if n < 1001 || common[0] != '\n' || common[len(common)-1] != '\n' {
		t.Errorf("%d lines; each word needs a line end before and after", n)
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	db := storetest.SQLite(t)
	c := newClock()
	for name, change := range map[string]func(*Config){
		"no clock":          func(c *Config) { c.Now = nil },
		"no passes":         func(c *Config) { c.Argon2 = Argon2{Memory: 64, Threads: 1} },
		"absurd memory":     func(c *Config) { c.Argon2 = Argon2{Memory: 1 << 30, Passes: 1, Threads: 1} },
		"short passwords":   func(c *Config) { c.MinPassword = 4 },
		"endless passwords": func(c *Config) { c.MinPassword = 1000 },
	} {
		cfg := Config{DB: db, Directory: directory.New(db, c.now), Now: c.now, Argon2: cheap}
		change(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
