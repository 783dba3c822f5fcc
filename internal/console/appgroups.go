package console

import (
	"cmp"
	"fmt"
	"net/http"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// entitledPeople counts who has access to an application, up to entitledMost and one more.
func (c *Console) entitledPeople(r *request, id app.ID) (int, error) {
	n := 0
	err := c.DB.View(r.Context(), func(tx *store.Tx) error {
		ids, err := app.EntitledUserIDs(tx, id, "", entitledMost+1)
		n = len(ids)
		return err
	})
	return n, err
}

// appGroupsPage is the tab of bound groups.
type appGroupsPage struct {
	appFrame
	Bound []directory.Group
	// Warnings are the product's doubts about a group's name, by group.
	Warnings map[directory.GroupID][]string
	People   int
	// Asked is a group that somebody wants to bind, whose plan is to be looked at; nil if none.
	Asked *directory.Group
	// Offered are groups that aren't bound yet, as many as are shown before one searches.
	Offered []web.Option
	More    bool
	Form    web.Form
}

const groupsOffered = 20

func (c *Console) appGroups(w http.ResponseWriter, r *request) error {
	f, err := c.application(w, r, tabGroups)
	if err != nil {
		return err
	}
	return c.renderGroups(w, r, http.StatusOK, f, web.Form{})
}

func (c *Console) renderGroups(w http.ResponseWriter, r *request, status int, f appFrame, form web.Form) error {
	p := appGroupsPage{appFrame: f, Form: form, Warnings: map[directory.GroupID][]string{}}
	var err error
	if p.Bound, err = c.Apps.BoundGroups(r.Context(), r.By, f.App.ID); err != nil {
		return err
	}
	if f.Con.SCIM != nil {
		for _, g := range p.Bound {
			if list := f.Con.SCIM.Groups.Warnings(g.Name); len(list) > 0 {
				p.Warnings[g.ID] = list
			}
		}
	}
	if p.People, err = c.entitledPeople(r, f.App.ID); err != nil {
		return err
	}
	if id := r.URL.Query().Get("bind"); id != "" && f.May {
		g, err := c.Directory.Group(r.Context(), r.By, directory.GroupID(id))
		if err == nil {
			p.Asked = &g
		} else if !problem.Is(err, problem.NotFound) {
			return err
		}
	}
	if f.May {
		if p.Offered, p.More, err = c.unboundGroups(r, f, "", p.Bound); err != nil {
			return err
		}
	}
	return web.Render(w, r.Request, status, appGroupsView(p))
}

// unboundGroups finds groups that can be bound.
func (c *Console) unboundGroups(r *request, f appFrame, text string, bound []directory.Group) (list []web.Option, more bool, err error) {
	has := map[directory.GroupID]bool{}
	for _, g := range bound {
		has[g.ID] = true
	}
	page, err := c.Directory.ListGroups(r.Context(), r.By, directory.GroupQuery{Text: text, Limit: groupsOffered + len(bound)})
	if err != nil {
		return nil, false, err
	}
	more = page.Next != ""
	for _, g := range page.Items {
		if has[g.ID] {
			continue
		}
		if len(list) == groupsOffered {
			return list, true, nil
		}
		o := web.Option{Value: string(g.ID), Label: g.Name, Help: people(g.Members)}
		if f.Con.SCIM != nil {
			for _, s := range f.Con.SCIM.Groups.Warnings(g.Name) {
				o.Help += ". " + s
			}
		}
		list = append(list, o)
	}
	return list, more, nil
}

// appGroupOptions answers the picker's search.
func (c *Console) appGroupOptions(w http.ResponseWriter, r *request) error {
	f, err := c.application(w, r, "")
	if err != nil {
		return err
	}
	bound, err := c.Apps.BoundGroups(r.Context(), r.By, f.App.ID)
	if err != nil {
		return err
	}
	list, _, err := c.unboundGroups(r, f, r.URL.Query().Get("q"), bound)
	if err != nil {
		return err
	}
	return web.Render(w, r.Request, http.StatusOK, web.PickerOptions("group", list...))
}

func (c *Console) bindGroups(w http.ResponseWriter, r *request) error {
	f, err := c.application(w, r, tabGroups)
	if err != nil {
		return err
	}
	if err := mayManage(r); err != nil {
		return err
	}
	ids := r.PostForm["group"]
	if len(ids) == 0 {
		err := problem.New(problem.Invalid, "Choose at least one group.")
		form, _ := web.PostedForm(r.Request).Fail(err)
		return c.renderGroups(w, r, web.Status(err), f, form)
	}
	change := app.SCIMChange{}
	for _, id := range ids {
		change.Bind = append(change.Bind, directory.GroupID(id))
	}
	what := count(len(ids), "group is", "groups are") + " bound"
	if _, made, err := c.approve(w, r, f, change, review{What: what, Label: "User groups", Tab: "groups", Cancel: f.path("groups")}); err != nil || !made {
		return err
	}
	message := count(len(ids), "group is", "groups are") + " bound."
	if f.App.SCIM.Status == app.Active {
		message += " Accounts of their members are being made."
	}
	return done(w, r, f.path("groups"), message)
}

// unbindFrame says what unbinding a group does to whom.
func (c *Console) unbindFrame(w http.ResponseWriter, r *request) (confirmPage, appFrame, directory.Group, error) {
	var g directory.Group
	if err := mayManage(r); err != nil {
		return confirmPage{}, appFrame{}, g, err
	}
	f, err := c.application(w, r, "")
	if err != nil {
		return confirmPage{}, f, g, err
	}
	if g, err = c.Directory.Group(r.Context(), r.By, directory.GroupID(r.PathValue("group"))); err != nil {
		return confirmPage{}, f, g, err
	}
	through, lost := 0, 0
	err = c.DB.View(r.Context(), func(tx *store.Tx) error {
		members, err := app.EntitledMembers(tx, f.App.ID, g.ID)
		if err != nil {
			return err
		}
		others := map[directory.UserID]bool{}
		groups, err := app.BoundGroupIDs(tx, f.App.ID)
		if err != nil {
			return err
		}
		for _, id := range groups {
			if id == g.ID {
				continue
			}
			list, err := app.EntitledMembers(tx, f.App.ID, id)
			if err != nil {
				return err
			}
			for _, u := range list {
				others[u] = true
			}
		}
		through, lost = len(members), 0
		for _, u := range members {
			if !others[u] {
				lost++
			}
		}
		return nil
	})
	if err != nil {
		return confirmPage{}, f, g, err
	}
	f = f.inner(fmt.Sprintf("Unbind %s?", g.Name), "User groups", "groups")
	p := confirmPage{Page: f.Page, Confirm: web.ConfirmForm{Action: f.path("groups", string(g.ID), "unbind"), Submit: "Unbind", Cancel: f.path("groups")}}
	p.Intro = fmt.Sprintf("%s reach %s through it.", people(through), f.App.Label)
	if through == 1 {
		p.Intro = fmt.Sprintf("One person reaches %s through it.", f.App.Label)
	}
	add := func(s string) { p.Confirm.Consequences = append(p.Confirm.Consequences, s) }
	switch {
	case lost == 0 && through > 0:
		add("All of them hold another bound group, so nobody loses access.")
	case lost > 0:
		add(fmt.Sprintf("%s no other bound group and %s access at once: tile and sign-on.", count(lost, "person holds", "people hold"), verb(lost, "loses", "lose")))
	}
	if f.Con.SCIM == nil {
		return p, f, g, nil
	}
	switch f.App.SCIM.Status {
	case app.Active, app.Stopped, app.Paused:
		if lost > 0 {
			what := "deactivated"
			if f.App.SCIM.OnLeave == app.Remove {
				what = "deleted"
			}
			s := fmt.Sprintf("Their accounts at %s are %s.", f.product(), what)
			if lost == 1 {
				s = fmt.Sprintf("The account at %s is %s.", f.product(), what)
			}
			if f.App.SCIM.Status != app.Active {
				s += " That waits until provisioning is resumed."
			}
			effect := f.Con.SCIM.Users.DeactivateEffect
			if f.App.SCIM.OnLeave == app.Remove {
				effect = f.Con.SCIM.Users.DeleteEffect
			}
			add(s + " " + effect)
		}
		if f.App.SCIM.ManageGroups {
			add(fmt.Sprintf("The group %s at %s is left as it is; it is no longer kept up to date.", g.Name, f.product()))
		}
	default:
		add(fmt.Sprintf("Provisioning is off, so accounts at %s stay as they are.", f.product()))
	}
	return p, f, g, nil
}

func verb(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func (c *Console) confirmUnbind(w http.ResponseWriter, r *request) error {
	p, _, _, err := c.unbindFrame(w, r)
	if err != nil {
		return err
	}
	return c.renderConfirm(w, r, http.StatusOK, p)
}

func (c *Console) unbindGroup(w http.ResponseWriter, r *request) error {
	if err := access.Allow(r.By, access.ManageApplications); err != nil {
		return err
	}
	f, err := c.application(w, r, tabGroups)
	if err != nil {
		return err
	}
	g, err := c.Directory.Group(r.Context(), r.By, directory.GroupID(r.PathValue("group")))
	if err != nil {
		return err
	}
	v := review{What: g.Name + " is unbound", Label: "User groups", Tab: "groups", Cancel: f.path("groups")}
	if _, made, err := c.approve(w, r, f, app.SCIMChange{Unbind: []directory.GroupID{g.ID}}, v); err != nil || !made {
		return err
	}
	return done(w, r, f.path("groups"), cmp.Or(g.Name, "The group")+" is unbound.")
}
