package console

import (
	"net/http"
	"net/url"
	"time"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/web"
)

const (
	appsPath      = root + "/applications"
	cataloguePath = root + "/catalogue"
	endsSoon      = 60 * 24 * time.Hour
	endsVerySoon  = 7 * 24 * time.Hour
)

// routesApplications adds the pages of applications.
func (c *Console) routesApplications(*http.ServeMux) {}

// appPath is the path of an application's page, with further parts behind it.
func appPath(id app.ID, parts ...string) string {
	p := appsPath + "/" + url.PathEscape(string(id))
	for _, s := range parts {
		p += "/" + url.PathEscape(s)
	}
	return p
}

// endState says how near an end is: "in 12 days".
func endState(end, now time.Time) (web.Level, string) {
	left := end.Sub(now)
	switch {
	case end.IsZero():
		return web.Neutral, ""
	case left <= 0:
		return web.Danger, "ended " + web.Ago(end, now)
	case left <= endsVerySoon:
		return web.Danger, "ends " + web.Ago(end, now)
	case left <= endsSoon:
		return web.Warn, "ends " + web.Ago(end, now)
	}
	return web.OK, "ends " + day(end)
}

func pairOf(pairs []keys.Pair, s keys.Status) (keys.Pair, bool) {
	for _, p := range pairs {
		if p.Status == s {
			return p, true
		}
	}
	return keys.Pair{}, false
}

func groupPath(id directory.GroupID) string { return groupsPath + "/" + url.PathEscape(string(id)) }
