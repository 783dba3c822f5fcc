package console

import (
	"net/http"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/web"
)

const searchPath = root + "/search"

// found is how many of each kind a search shows.
const found = 8

// searchView is what a search over everything found.
type searchView struct {
	Text   string
	Users  []directory.User
	Groups []directory.Group
	Apps   []app.Application
	// MoreUsers, MoreGroups and MoreApps lead to the rest, "" where all is shown.
	MoreUsers, MoreGroups, MoreApps string
}

func (c *Console) search(w http.ResponseWriter, r *request) error {
	text := r.URL.Query().Get("q")
	p := c.page(w, r, "", "Search")
	v := searchView{Text: text}
	if text == "" {
		p.Subtitle = "Users, groups and applications."
		return web.Render(w, r.Request, http.StatusOK, searchPage(p, v))
	}
	p.Subtitle = "What has “" + text + "” in it."
	users, err := c.Directory.ListUsers(r.Context(), r.By, directory.UserQuery{Text: text, Limit: found})
	if err != nil {
		return err
	}
	groups, err := c.Directory.ListGroups(r.Context(), r.By, directory.GroupQuery{Text: text, Limit: found})
	if err != nil {
		return err
	}
	apps, err := c.Apps.List(r.Context(), r.By, app.Query{Text: text, Limit: found})
	if err != nil {
		return err
	}
	v.Users, v.Groups, v.Apps = users.Items, groups.Items, apps.Items
	if len(v.Users) == 1 && len(v.Groups)+len(v.Apps) == 0 {
		web.Redirect(w, r.Request, userPath(v.Users[0].ID))
		return nil
	}
	more := func(next, path string) string {
		if next == "" {
			return ""
		}
		return withQuery(path, "q", text)
	}
	v.MoreUsers, v.MoreGroups, v.MoreApps = more(users.Next, usersPath), more(groups.Next, groupsPath), more(apps.Next, appsPath)
	return web.Render(w, r.Request, http.StatusOK, searchPage(p, v))
}
