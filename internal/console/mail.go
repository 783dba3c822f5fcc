package console

import (
	"net/http"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/mail"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/web"
)

const mailPath = settingsPath + "/mail"

// mailView is how it stands with mail.
type mailView struct {
	Where string
	Ready bool
	Mails []mail.Status
	Form  web.Form
	Pager web.Pager
	Now   time.Time
}

const mailsShown = 25

func (c *Console) mail(w http.ResponseWriter, r *request) error {
	return c.renderMail(w, r, http.StatusOK, web.NewForm(map[string]string{"to": r.Session.User.Email}))
}

func (c *Console) renderMail(w http.ResponseWriter, r *request, status int, form web.Form) error {
	if err := access.Allow(r.By, access.ManageSettings); err != nil {
		return err
	}
	v := mailView{Where: c.MailWhere, Ready: c.Mail.Configured(), Form: form, Now: c.Now()}
	if c.Mail != nil {
		page, err := c.Mail.List(r.Context(), r.By, r.URL.Query().Get("cursor"), mailsShown)
		if err != nil {
			return err
		}
		v.Mails, v.Pager = page.Items, pager(r, page.Next, listSummary(r, page, "mail", "mails"))
	}
	return web.Render(w, r.Request, status, mailPage(c.settingsFrame(w, r, "mail"), v))
}

// testMail sends one now and tells what came of it.
func (c *Console) testMail(w http.ResponseWriter, r *request) error {
	to := strings.TrimSpace(r.PostForm.Get("to"))
	err := c.Mail.Test(r.Context(), r.By, to)
	switch {
	case err == nil:
		return done(w, r, mailPath, "A test was sent to "+to+". Look into that mailbox, and among what it takes for junk.")
	case problem.Is(err, problem.Forbidden):
		return err
	case len(problem.FieldsOf(err)) > 0:
		form, _ := web.PostedForm(r.Request).Fail(err)
		return c.renderMail(w, r, web.Status(err), form)
	case problem.Is(err, problem.Internal):
		c.Log.WarnContext(r.Context(), "a test mail failed", "error", err)
	}
	return redirect(w, r, mailPath, web.Danger, "The test mail was not sent. "+problem.Public(err))
}

func (c *Console) retryMail(w http.ResponseWriter, r *request) error {
	if err := c.Mail.Retry(r.Context(), r.By, r.PathValue("id")); err != nil {
		if k := problem.KindOf(err); k == problem.Conflict || k == problem.Invalid || k == problem.Unavailable {
			return redirect(w, r, mailPath, web.Warn, problem.Public(err))
		}
		return err
	}
	return done(w, r, mailPath, "It is sent again now.")
}

func mailBadge(s mail.State) web.Badge {
	switch s {
	case mail.Sent:
		return web.Badge{Level: web.OK, Label: "Sent"}
	case mail.Failed:
		return web.Badge{Level: web.Danger, Label: "Failed"}
	}
	return web.Badge{Level: web.Info, Label: "Waiting", Icon: "clock"}
}

// mailKind says what a mail is about.
func mailKind(kind string) string {
	switch kind {
	case "test":
		return "Test"
	case "reminder":
		return "Reminder"
	}
	return upper(kind)
}
