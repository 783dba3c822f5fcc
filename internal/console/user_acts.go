package console

import (
	"crypto/rand"
	"math/big"
	"net/http"
	"strings"
	"time"

	"github.com/a-h/templ"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// leaving says what happens when a person loses access, for a while or for good.
func (c *Console) leaving(r *request, u directory.User, forGood bool) ([]string, error) {
	list := []string{"All of their sessions end at once, and they can't sign in here any more."}
	if forGood {
		groups, err := c.Directory.GroupsOf(r.Context(), r.By, u.ID)
		if err != nil {
			return nil, err
		}
		if n := len(groups); n > 0 {
			list = append(list, "They leave "+count(n, "group", "groups")+".")
		}
	}
	entitled, err := c.Apps.ApplicationsOfUser(r.Context(), r.By, u.ID)
	if err != nil {
		return nil, err
	}
	var signOn []string
	for _, a := range entitled {
		if a.SAML.Status == app.Active {
			signOn = append(signOn, a.Label)
		}
	}
	if len(signOn) > 0 {
		list = append(list, "They can't sign on to "+sentenceList(signOn)+" any more.")
	}
	links, err := c.Engine.LinksOf(r.Context(), r.By, scim.User, string(u.ID))
	if err != nil {
		return nil, err
	}
	var deactivated, deleted, later, kept []string
	for _, l := range links {
		if l.RemoteID == "" || l.Status == provision.LinkInactive || l.Status == provision.LinkReleased {
			continue
		}
		a, err := c.Apps.Get(r.Context(), r.By, l.Application)
		if problem.Is(err, problem.NotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		switch {
		case a.SCIM.Status == app.Paused || a.SCIM.Status == app.Stopped:
			later = append(later, a.Label)
		case a.SCIM.Status != app.Active:
			kept = append(kept, a.Label)
		case a.SCIM.OnLeave == app.Remove:
			deleted = append(deleted, a.Label)
		default:
			deactivated = append(deactivated, a.Label)
		}
	}
	for _, part := range []struct {
		names        []string
		before, then string
	}{
		{deactivated, "Their account at ", " is deactivated."},
		{deleted, "Their account at ", " is deleted, as this application is set up."},
		{later, "Their account at ", " stays as it is until provisioning goes on there."},
		{kept, "Their account at ", " stays as it is: provisioning is off there. Deactivate it by hand."},
	} {
		if len(part.names) > 0 {
			list = append(list, part.before+sentenceList(part.names)+part.then)
		}
	}
	switch {
	case forGood:
		list = append(list, "This can't be taken back. What was logged about them stays in the activity.")
	default:
		list = append(list, "Nothing is lost: ending the suspension gives back what they are entitled to then.")
	}
	return list, nil
}

// userAct shows the form of one act as a page of its own; dialogs show the same form.
func (c *Console) userAct(title string, allowed func(userMay) bool, inner func(r *request, f userFrame) (templ.Component, error)) handler {
	return func(w http.ResponseWriter, r *request) error {
		f, err := c.userFrame(w, r, noTab)
		if err != nil {
			return err
		}
		return c.renderAct(w, r, http.StatusOK, f, title, allowed, inner)
	}
}

func (c *Console) renderAct(w http.ResponseWriter, r *request, status int, f userFrame, title string, allowed func(userMay) bool, inner func(r *request, f userFrame) (templ.Component, error)) error {
	if !allowed(f.May) {
		return notForYou(f.User)
	}
	body, err := inner(r, f)
	if err != nil {
		return err
	}
	f.Crumbs = append(f.Crumbs, web.Crumb{Label: f.User.Name(), Href: userPath(f.User.ID)})
	f.Title, f.Subtitle, f.Tabs, f.Actions = title+" "+f.User.Name(), f.User.Email, nil, nil
	f.Narrow = true
	return web.Render(w, r.Request, status, actPage(f.Page, body))
}

func notForYou(u directory.User) error {
	return problem.New(problem.Forbidden, "Your role doesn't allow this for %s. Ask an owner or administrator.", u.Name())
}

func mayMove(m userMay) bool     { return m.Move }
func mayDelete(m userMay) bool   { return m.Delete }
func mayReset(m userMay) bool    { return m.ResetSignIn }
func mayEnd(m userMay) bool      { return m.EndSessions }
func mayGiveRole(m userMay) bool { return m.GiveRole }

func (c *Console) roleForm(r *request, f userFrame) (templ.Component, error) {
	return roleForm(f.User, roleOptions(r.By.Role, "No role"), settingsPath+"/administrators"), nil
}

func (c *Console) linkForm(_ *request, f userFrame) (templ.Component, error) {
	if f.User.State != directory.Active {
		return nil, problem.New(problem.Conflict, "%s isn't active, and only active people can use a link.", f.User.Name())
	}
	return linkForm(f), nil
}

func (c *Console) endSessionsForm(_ *request, f userFrame) (templ.Component, error) {
	path := userPath(f.User.ID) + "/sessions"
	return web.ConfirmForm{Action: path + "/end", Submit: "End all sessions", Cancel: path, Consequences: []string{
		"They are signed out in every browser at once, and have to sign in again.",
		"Sessions that applications keep by themselves go on until they end there.",
	}}, nil
}

func (c *Console) suspendForm(r *request, f userFrame) (templ.Component, error) {
	list, err := c.leaving(r, f.User, false)
	return suspendForm(f.User, list), err
}

func suspendForm(u directory.User, consequences []string) web.ConfirmForm {
	return web.ConfirmForm{Action: userPath(u.ID) + "/suspend", Submit: "Suspend", Cancel: userPath(u.ID), Consequences: consequences}
}

func (c *Console) suspendUser(w http.ResponseWriter, r *request) error {
	u, err := c.Directory.Suspend(r.Context(), r.By, directory.UserID(r.PathValue("id")))
	if err != nil {
		return err
	}
	return done(w, r, userPath(u.ID), u.Name()+" is suspended. Their sessions have ended; accounts at applications follow where provisioning is on.")
}

func (c *Console) unsuspendUser(w http.ResponseWriter, r *request) error {
	u, err := c.Directory.Unsuspend(r.Context(), r.By, directory.UserID(r.PathValue("id")))
	if err != nil {
		return err
	}
	return done(w, r, userPath(u.ID), u.Name()+" is active again, with what they are entitled to now.")
}

func (c *Console) activateUser(w http.ResponseWriter, r *request) error {
	u, err := c.Directory.Activate(r.Context(), r.By, directory.UserID(r.PathValue("id")))
	if err != nil {
		return err
	}
	message := u.Name() + " is active."
	if u.PasswordStatus == directory.PasswordPending {
		message += " Hand out an activation link so that they can choose a password."
	}
	return done(w, r, userPath(u.ID), message)
}

func (c *Console) deleteForm(r *request, f userFrame) (templ.Component, error) {
	list, err := c.leaving(r, f.User, true)
	return deleteForm(f.User, list, ""), err
}

func deleteForm(u directory.User, consequences []string, wrong string) web.ConfirmForm {
	return web.ConfirmForm{
		Action: userPath(u.ID) + "/delete", Word: u.Email, What: "the person's e-mail address", Submit: "Delete " + u.Name(),
		Cancel: userPath(u.ID), Consequences: consequences, Error: wrong,
	}
}

func (c *Console) deleteUser(w http.ResponseWriter, r *request) error {
	u, err := c.Directory.User(r.Context(), r.By, directory.UserID(r.PathValue("id")))
	if err != nil {
		return err
	}
	if !confirmed(r, u.Email) {
		f, err := c.userFrame(w, r, noTab)
		if err != nil {
			return err
		}
		return c.renderAct(w, r, http.StatusUnprocessableEntity, f, "Delete", mayDelete, func(r *request, f userFrame) (templ.Component, error) {
			list, err := c.leaving(r, f.User, true)
			return deleteForm(f.User, list, "This isn't the person's e-mail address. Nothing was deleted."), err
		})
	}
	if err := c.Directory.DeleteUser(r.Context(), r.By, u.ID); err != nil {
		return err
	}
	return done(w, r, usersPath, u.Name()+" was deleted.")
}

// confirmed reports whether the word of a ConfirmForm was typed.
func confirmed(r *request, word string) bool {
	return strings.EqualFold(strings.TrimSpace(r.PostForm.Get("confirm")), word)
}

func (c *Console) setRole(w http.ResponseWriter, r *request) error {
	id := directory.UserID(r.PathValue("id"))
	back := web.LocalPath(r.PostForm.Get("back"), userPath(id))
	u, err := c.Directory.SetRole(r.Context(), r.By, id, postedRole(r))
	switch {
	case problem.Is(err, problem.Conflict):
		return redirect(w, r, back, web.Danger, problem.Public(err))
	case err != nil:
		return err
	case u.Role == access.None:
		return done(w, r, back, u.Name()+" has no role any more.")
	}
	return done(w, r, back, u.Name()+" now has the role "+roleName(u.Role)+".")
}

// Links that a person sets a password by.
const (
	defaultLinkLife = 24 * time.Hour
	activatePath    = "/activate"
)

func linkLives() []web.Option {
	return []web.Option{{Value: "1h0m0s", Label: "1 hour"}, {Value: "24h0m0s", Label: "1 day"}, {Value: "72h0m0s", Label: "3 days"}, {Value: "168h0m0s", Label: "7 days"}}
}

// handOver is something that is shown once.
type handOver struct {
	userFrame
	What, Label, Value, Help string
	Until                    time.Time
	Next                     string
}

func (c *Console) newLink(w http.ResponseWriter, r *request) error {
	f, err := c.userFrame(w, r, noTab)
	if err != nil {
		return err
	}
	life, err := time.ParseDuration(r.PostForm.Get("life"))
	if err != nil {
		life = defaultLinkLife
	}
	purpose := authn.Reset
	if f.User.PasswordStatus == directory.PasswordPending {
		purpose = authn.Activation
	}
	token, err := c.Authn.NewLink(r.Context(), r.By, f.User.ID, purpose, life)
	if problem.Is(err, problem.Conflict) || problem.Is(err, problem.Invalid) {
		return redirect(w, r, userPath(f.User.ID), web.Danger, problem.Public(err))
	}
	if err != nil {
		return err
	}
	v := handOver{
		What: "Reset link for " + f.User.Name(), Label: "One-time link",
		Value: c.PublicURL + withQuery(activatePath, "token", token.Reveal()),
		Help:  "Whoever has it can choose " + f.User.Name() + "’s password, once. Send it over a channel that only they read.",
		Until: c.Now().Add(life), Next: "Earlier links of theirs don't work any more. Their present password stays valid until they choose another.",
	}
	if purpose == authn.Activation {
		v.What, v.Next = "Activation link for "+f.User.Name(), "Earlier links of theirs don't work any more."
	}
	return c.renderHandOver(w, r, f, v)
}

func (c *Console) renderHandOver(w http.ResponseWriter, r *request, f userFrame, v handOver) error {
	f.Crumbs = append(f.Crumbs, web.Crumb{Label: f.User.Name(), Href: userPath(f.User.ID)})
	f.Title, f.Subtitle, f.Tabs, f.Actions, f.Badge = v.What, f.User.Email, nil, nil, nil
	f.Narrow = true
	v.userFrame = f
	return web.Render(w, r.Request, http.StatusOK, handOverPage(v))
}

func (c *Console) passwordForm(_ *request, f userFrame) (templ.Component, error) {
	return passwordForm(f, web.NewForm(map[string]string{"mode": "generate", "temporary": "on"}), c.Authn.MinPassword()), nil
}

const passwordTitle = "Set a password for"

func (c *Console) setPassword(w http.ResponseWriter, r *request) error {
	f, err := c.userFrame(w, r, noTab)
	if err != nil {
		return err
	}
	typed := r.PostForm.Get("mode") == "own"
	pw := keys.Secret(r.PostForm.Get("password"))
	if !typed {
		if pw, err = newPassword(); err != nil {
			return err
		}
	}
	temporary := r.PostForm.Get("temporary") != ""
	if err := c.Authn.SetPassword(r.Context(), r.By, f.User.ID, pw, temporary); err != nil {
		form, ok := web.PostedForm(r.Request).Fail(err)
		if !ok {
			return err
		}
		return c.renderAct(w, r, web.Status(err), f, passwordTitle, mayReset, func(_ *request, f userFrame) (templ.Component, error) {
			return passwordForm(f, form, c.Authn.MinPassword()), nil
		})
	}
	next := "Their sessions have ended."
	if temporary {
		next += " They have to choose another one when they sign in."
	}
	if typed {
		return done(w, r, userPath(f.User.ID), "The password of "+f.User.Name()+" is set. "+next)
	}
	return c.renderHandOver(w, r, f, handOver{
		What: "New password for " + f.User.Name(), Label: "Password", Value: pw.Reveal(),
		Help: "Tell it to them in person or by telephone.", Next: next,
	})
}

// Letters and digits that are told apart when read out: 31 of them, 20 in a password, 99 bits.
const (
	passwordSigns  = "abcdefghjkmnpqrstuvwxyz23456789"
	passwordGroups = 4
	passwordGroup  = 5
)

// newPassword returns a random password that can be read out on the telephone.
func newPassword() (keys.Secret, error) {
	var b strings.Builder
	signs := big.NewInt(int64(len(passwordSigns)))
	for i := range passwordGroups * passwordGroup {
		if i > 0 && i%passwordGroup == 0 {
			b.WriteByte('-')
		}
		n, err := rand.Int(rand.Reader, signs)
		if err != nil {
			return "", err
		}
		b.WriteByte(passwordSigns[n.Int64()])
	}
	return keys.Secret(b.String()), nil
}
