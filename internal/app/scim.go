package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// missing names what provisioning needs and hasn't got.
func (s *SCIM) missing() []string {
	var out []string
	if s.BaseURL == "" {
		out = append(out, "base URL")
	}
	if !s.TokenSet {
		out = append(out, "token")
	}
	return out
}

func (s *SCIM) begun() bool { return s.BaseURL != "" || s.TokenSet }

// SaveSCIM changes the provisioning settings. A change of mapping or scope raises the generation and is worked out at
// once if provisioning is active. change may run more than once. Needs ManageApplications.
func (a *Applications) SaveSCIM(ctx context.Context, by access.Actor, id ID, change func(*SCIMSettings) error) (Application, error) {
	return a.ChangeSCIM(ctx, by, id, SCIMChange{Settings: change}, nil)
}

// SCIMChange is a change of what an application provisions. It is looked at as a whole and made in one transaction.
type SCIMChange struct {
	// Settings changes the settings; nil keeps them. It may run more than once.
	Settings func(*SCIMSettings) error
	// Bind are groups to bind, Unbind to unbind.
	Bind, Unbind []directory.GroupID
}

// ProposeSCIM returns an application as a change of settings would make it, checked as when it is saved. Nothing is
// saved; groups are left to the caller.
func (a *Applications) ProposeSCIM(app Application, c SCIMChange) (Application, error) {
	if c.Settings == nil {
		return app, nil
	}
	after, err := a.changedSCIM(app, c.Settings)
	app.SCIM.SCIMSettings = after
	return app, err
}

// changedSCIM returns the settings after a change, checked and tidied.
func (a *Applications) changedSCIM(app Application, change func(*SCIMSettings) error) (SCIMSettings, error) {
	con, err := a.catalog.Get(app.Connector)
	if err != nil {
		return SCIMSettings{}, err
	}
	if con.SCIM == nil {
		return SCIMSettings{}, problem.New(problem.Invalid, "%s can't be provisioned by SCIM.", con.Name)
	}
	after := cloneSCIM(app.SCIM.SCIMSettings)
	if err := change(&after); err != nil {
		return after, err
	}
	if err := a.checkSCIM(&after, con); err != nil {
		return after, err
	}
	if (app.SCIM.Status == Active || app.SCIM.Status == Paused) && after.BaseURL == "" {
		return after, problem.New(problem.Conflict, "Provisioning is %s and needs its base URL. Deactivate it before removing that.", app.SCIM.Status)
	}
	return after, nil
}

// ChangeSCIM makes a change. check, if there is one, sees the application in the transaction that makes the change, and
// keeps it from being made by an error. Needs ManageApplications.
func (a *Applications) ChangeSCIM(ctx context.Context, by access.Actor, id ID, c SCIMChange, check func(*store.Tx, Application) error) (Application, error) {
	if check == nil {
		check = func(*store.Tx, Application) error { return nil }
	}
	bindings := func(tx *store.Tx, now time.Time) error {
		for _, g := range c.Bind {
			if err := bindGroup(tx, now, by, id, g, true); err != nil {
				return err
			}
		}
		for _, g := range c.Unbind {
			if err := bindGroup(tx, now, by, id, g, false); err != nil {
				return err
			}
		}
		return nil
	}
	if c.Settings == nil {
		if err := access.Allow(by, access.ManageApplications); err != nil {
			return Application{}, err
		}
		var out Application
		err := a.db.Update(ctx, func(tx *store.Tx) error {
			was, err := getForUpdate(tx, id)
			if err != nil {
				return err
			}
			if err := check(tx, was); err != nil {
				return err
			}
			if err := bindings(tx, a.now().UTC()); err != nil {
				return err
			}
			out, err = GetApplication(tx, id)
			return err
		})
		return out, err
	}
	return a.edit(ctx, by, id, 0, func(app *Application) (func(*store.Tx, time.Time) error, error) {
		before := app.SCIM.SCIMSettings
		after, err := a.changedSCIM(*app, c.Settings)
		if err != nil {
			return nil, err
		}
		same := reflect.DeepEqual(cloneSCIM(before), cloneSCIM(after))
		if same && len(c.Bind)+len(c.Unbind) == 0 {
			return nil, nil
		}
		raise := int64(0)
		if before.BaseURL != after.BaseURL || before.ManageGroups != after.ManageGroups || before.OnLeave != after.OnLeave ||
			before.ScopeFilter != after.ScopeFilter || !slices.Equal(before.Match, after.Match) || !reflect.DeepEqual(cloneSCIM(before).Mapping, cloneSCIM(after).Mapping) {
			raise = 1
		}
		was := *app
		return func(tx *store.Tx, now time.Time) error {
			current, err := GetApplication(tx, id)
			if err != nil {
				return err
			}
			if err := check(tx, current); err != nil {
				return err
			}
			if err := bindings(tx, now); err != nil || same {
				return err
			}
			if err := saveSCIM(tx, id, after, raise, now); err != nil {
				return err
			}
			e := event(by, was, audit.ApplicationUpdate, fmt.Sprintf("Provisioning settings of %s were changed.", was.Label))
			e.Changes = prefixed("scim.", audit.Diff(before, after))
			eid, err := audit.Record(tx, now, e)
			if err != nil || raise == 0 {
				return err
			}
			return audit.Changed(tx, now, audit.KindApplication, string(id), eid)
		}, nil
	})
}

func cloneSCIM(s SCIMSettings) SCIMSettings {
	s.Mapping.Rows = append([]catalog.RowOverride{}, s.Mapping.Rows...)
	s.Match = append([]string{}, s.Match...)
	return s
}

// checkSCIM checks settings and tidies them.
func (a *Applications) checkSCIM(s *SCIMSettings, con *catalog.Connector) error {
	var f problem.Fields
	s.BaseURL = strings.TrimRight(strings.TrimSpace(s.BaseURL), "/")
	if s.BaseURL != "" {
		if err := checkBaseURL(s.BaseURL); err != nil {
			f.Add("baseUrl", "%s", problem.Public(err))
		}
	}
	if s.ManageGroups && !con.SCIM.Groups.Supported {
		f.Add("manageGroups", "%s takes no groups by SCIM.", con.Name)
	}
	switch s.OnLeave {
	case "":
		s.OnLeave = Deactivate
	case Deactivate:
	case Remove:
		if !con.SCIM.Users.Delete {
			f.Add("onLeave", "%s doesn't let accounts be deleted by SCIM. Choose to deactivate them.", con.Name)
		}
	default:
		f.Add("onLeave", "Choose deactivate or delete.")
	}
	if s.Guard.MaxCount < 0 || s.Guard.MaxCount > 1_000_000 {
		f.Add("guard.maxCount", "Give a number from 0 (no limit by number) to 1,000,000.")
	}
	if s.Guard.MaxPercent < 0 || s.Guard.MaxPercent > 100 {
		f.Add("guard.maxPercent", "Give a percentage from 0 (no limit by percentage) to 100.")
	}
	if s.RatePerSecond < 0 || s.RatePerSecond > 10_000 || s.RatePerSecond != s.RatePerSecond {
		f.Add("ratePerSecond", "Give the number of requests per second, or 0 for the connector's.")
	}
	if s.Burst < 0 || s.Burst > 10_000 {
		f.Add("burst", "Give a number from 0 (the connector's) to 10,000.")
	}
	if s.Concurrency < 0 || s.Concurrency > 100 {
		f.Add("concurrency", "Give a number from 0 (the connector's) to 100.")
	}
	if !s.TokenExpiresAt.IsZero() {
		s.TokenExpiresAt = s.TokenExpiresAt.UTC().Truncate(time.Microsecond)
	}
	if _, err := a.catalog.SCIMMapping(con.Key, s.Mapping); err != nil {
		addMapping(&f, err)
	}
	checkMatch(&f, s, con.SCIM.Users.Filters)
	s.ScopeFilter = strings.TrimSpace(strings.ReplaceAll(s.ScopeFilter, "\r\n", "\n"))
	if s.ScopeFilter != "" {
		if _, err := a.catalog.Compiler().Filter(s.ScopeFilter); err != nil {
			fault, ok := errors.AsType[*catalog.ExpressionError](err)
			if !ok {
				return err
			}
			f.Add("scopeFilter", "Line %d, column %d: %s.", fault.Line, fault.Column, strings.TrimSuffix(fault.Message, "."))
		}
	}
	return f.Err()
}

// checkMatch checks by what accounts are looked up, and spells it as the connector does.
func checkMatch(f *problem.Fields, s *SCIMSettings, filters []string) {
	if len(s.Match) == 0 {
		s.Match = nil
	}
	for i, name := range s.Match {
		at := slices.IndexFunc(filters, func(f string) bool { return strings.EqualFold(f, strings.TrimSpace(name)) })
		if at < 0 {
			f.Add("match", "The product can't be asked for accounts by %s. It can by: %s.", name, cmp.Or(strings.Join(filters, ", "), "nothing, so leave this empty"))
			return
		}
		s.Match[i] = filters[at]
		if slices.Contains(s.Match[:i], filters[at]) {
			f.Add("match", "%s is named twice.", filters[at])
			return
		}
	}
}

func checkBaseURL(raw string) error {
	if err := checkEndpoint(raw, "base URL"); err != nil {
		return err
	}
	if strings.Contains(raw, "?") {
		return problem.New(problem.Invalid, "The base URL must not have a part behind ?.")
	}
	for _, end := range []string{"/Users", "/Groups"} {
		if strings.HasSuffix(raw, end) {
			return problem.New(problem.Invalid, "Give the base URL without %s at its end: Latchkey adds that itself.", end)
		}
	}
	return nil
}

// maxToken bounds a token; it goes into a header.
const maxToken = 8 << 10

// SetSCIMToken stores the target's token, sealed; nothing shows it again. expires is when it ends, zero if unknown. An
// empty token removes it, which an active provisioning refuses. Needs ManageApplications.
func (a *Applications) SetSCIMToken(ctx context.Context, by access.Actor, id ID, token keys.Secret, expires time.Time) (Application, error) {
	return a.edit(ctx, by, id, 0, func(app *Application) (func(*store.Tx, time.Time) error, error) {
		if token == "" && !app.SCIM.TokenSet {
			return nil, nil
		}
		return func(tx *store.Tx, now time.Time) error {
			return a.StoreSCIMToken(tx, now, by, id, token, expires)
		}, nil
	})
}

// StoreSCIMToken is SetSCIMToken in a transaction of the caller's, who has checked the permission.
func (a *Applications) StoreSCIMToken(tx *store.Tx, now time.Time, by access.Actor, id ID, token keys.Secret, expires time.Time) error {
	app, err := GetApplication(tx, id)
	if err != nil {
		return err
	}
	if !app.SCIM.Offered {
		return problem.New(problem.Invalid, "%s can't be provisioned by SCIM.", app.Label)
	}
	token = keys.Secret(strings.TrimSpace(token.Reveal()))
	if err := checkToken(token); err != nil {
		return err
	}
	sealed := ""
	if token == "" {
		if app.SCIM.Status == Active || app.SCIM.Status == Paused {
			return problem.New(problem.Conflict, "Provisioning is %s and needs its token. Deactivate it before removing that.", app.SCIM.Status)
		}
		expires = time.Time{}
	} else if sealed, err = a.sealer.Seal([]byte(token.Reveal()), tokenPlace(id)); err != nil {
		return err
	}
	if err := setToken(tx, id, sealed, expires, now); err != nil {
		return err
	}
	e := event(by, app, audit.ApplicationUpdate, fmt.Sprintf("The provisioning token of %s was replaced.", app.Label))
	word := func(set bool, until time.Time) any {
		switch {
		case !set:
			return nil
		case until.IsZero():
			return "a token without known end"
		}
		return "a token until " + until.UTC().Format("2006-01-02")
	}
	e.Changes = []audit.Change{{Attribute: "scim.token", Old: word(app.SCIM.TokenSet, app.SCIM.TokenExpiresAt), New: word(token != "", expires)}}
	_, err = audit.Record(tx, now, e)
	return err
}

func checkToken(token keys.Secret) error {
	if len(token) > maxToken {
		return problem.InvalidField("token", "This is too long for a token. Copy only the token itself.")
	}
	for _, r := range token.Reveal() {
		if r > unicode.MaxASCII || !unicode.IsPrint(r) || unicode.IsSpace(r) {
			return problem.InvalidField("token", "A token holds no spaces, line breaks or special characters. Copy it again, whole and without anything around it.")
		}
	}
	return nil
}

func tokenPlace(id ID) string { return "scim_integrations/" + string(id) + "/token" }

// SCIMToken returns the target's token, for the engine that sends it. NotFound if none is set.
func (a *Applications) SCIMToken(tx *store.Tx, id ID) (keys.Secret, error) {
	sealed, err := readToken(tx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && sealed == "" {
		return "", problem.New(problem.NotFound, "No provisioning token is set.")
	}
	if err != nil {
		return "", err
	}
	plain, err := a.sealer.Open(sealed, tokenPlace(id))
	if err != nil {
		return "", problem.Wrap(problem.Internal, err, "The provisioning token can't be read: it was sealed under another master key. Enter the token again.")
	}
	return keys.Secret(plain), nil
}

// SetSCIMStatus changes the status of provisioning, records who did it and why, and has the consequences worked out. The
// engine drives it and has checked the permission. Active is refused while something is missing. It returns the event's
// id, "" if the status was this one already.
func SetSCIMStatus(tx *store.Tx, now time.Time, by access.Actor, id ID, st Status, reason string) (string, error) {
	app, err := getForUpdate(tx, id)
	if err != nil {
		return "", err
	}
	if !app.SCIM.Offered {
		return "", problem.New(problem.Invalid, "%s can't be provisioned by SCIM.", app.Label)
	}
	was := app.SCIM.Status
	if was == st && app.SCIM.Reason == reason {
		return "", nil
	}
	var t audit.Type
	var verb string
	switch st {
	case Active:
		if len(app.SCIM.Missing) > 0 {
			return "", incomplete("Provisioning", app.SCIM.Missing)
		}
		t, verb = audit.IntegrationActivate, "activated"
		if was == Paused {
			t, verb = audit.IntegrationResume, "resumed"
		}
	case Paused:
		t, verb = audit.IntegrationPause, "paused"
	case Stopped:
		t, verb = audit.IntegrationStop, "stopped"
	case Off:
		t, verb = audit.IntegrationDeactivate, "deactivated"
	case Incomplete:
		return "", fmt.Errorf("app: status %q is derived and can't be set", st)
	default:
		return "", fmt.Errorf("app: there is no status %q", st)
	}
	if err := setSCIMState(tx, id, st, reason, now); err != nil {
		return "", err
	}
	e := event(by, app, t, fmt.Sprintf("Provisioning of %s was %s.", app.Label, verb))
	if reason != "" {
		e.Message = strings.TrimSuffix(e.Message, ".") + ": " + reason
	}
	if st == Stopped {
		e.Outcome = audit.Failure
	}
	e.Changes = []audit.Change{{Attribute: "scim.status", Old: was, New: st}}
	e.Detail = map[string]any{"integration": "scim", "reason": reason}
	eid, err := audit.Record(tx, now, e)
	if err != nil {
		return "", err
	}
	return eid, audit.Changed(tx, now, audit.KindApplication, string(id), eid)
}
