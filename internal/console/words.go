package console

import (
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// count is a number with its noun: "1 person", "12,408 people".
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return web.Number(n).String() + " " + many
}

func people(n int) string { return count(n, "person", "people") }

// sentenceList joins names: "A", "A and B", "A, B and 3 more".
func sentenceList(names []string) string {
	const most = 4
	switch n := len(names); {
	case n == 0:
		return ""
	case n == 1:
		return names[0]
	case n > most:
		return strings.Join(names[:most-1], ", ") + " and " + web.Number(n-most+1).String() + " more"
	default:
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
}

// upper is s with a capital first letter; s begins with an ASCII letter.
func upper(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// day is a date as people write it.
func day(t time.Time) string { return t.UTC().Format("2 January 2006") }

// span is a length of time in words: "8 hours".
func span(d time.Duration) string {
	switch {
	case d%(24*time.Hour) == 0:
		return count(int(d/(24*time.Hour)), "day", "days")
	case d%time.Hour == 0:
		return count(int(d/time.Hour), "hour", "hours")
	case d%time.Minute == 0:
		return count(int(d/time.Minute), "minute", "minutes")
	default:
		return d.String()
	}
}

// roleName is a role in words.
func roleName(r access.Role) string {
	switch r {
	case access.Owner:
		return "Owner"
	case access.Administrator:
		return "Administrator"
	case access.HelpDesk:
		return "Help desk"
	case access.ReadOnly:
		return "Read-only"
	default:
		return "No role"
	}
}

// roleHelp says what a role may do.
func roleHelp(r access.Role) string {
	switch r {
	case access.Owner:
		return "Everything, and gives roles to others."
	case access.Administrator:
		return "Everything but giving roles."
	case access.HelpDesk:
		return "Looks at everything; suspends people and resets how they sign in."
	case access.ReadOnly:
		return "Looks at everything and changes nothing."
	default:
		return "Uses applications, and has no access to this console."
	}
}

// roleOptions lists the roles that by may give.
func roleOptions(by access.Role, none string) []web.Option {
	var list []web.Option
	for _, r := range access.Roles() {
		if by.AtLeast(r) {
			list = append(list, web.Option{Value: string(r), Label: roleName(r), Help: roleHelp(r)})
		}
	}
	if none != "" {
		list = append(list, web.Option{Value: "none", Label: none, Help: roleHelp(access.None)})
	}
	return list
}

func stateName(s directory.State) string {
	switch s {
	case directory.Active:
		return "Active"
	case directory.Suspended:
		return "Suspended"
	default:
		return "Staged"
	}
}

func stateBadge(s directory.State) web.Badge {
	switch s {
	case directory.Active:
		return web.Badge{Level: web.OK, Label: stateName(s)}
	case directory.Suspended:
		return web.Badge{Level: web.Warn, Label: stateName(s), Icon: "circle-pause"}
	default:
		return web.Badge{Level: web.Neutral, Label: stateName(s), Icon: "circle-dashed"}
	}
}

func passwordBadge(s directory.PasswordStatus) web.Badge {
	switch s {
	case directory.PasswordCurrent:
		return web.Badge{Level: web.OK, Label: "Set"}
	case directory.PasswordExpired:
		return web.Badge{Level: web.Warn, Label: "To be replaced"}
	default:
		return web.Badge{Level: web.Neutral, Label: "Not chosen yet", Icon: "circle-dashed"}
	}
}

// linkBadge says how it stands with one object at one application.
func linkBadge(s provision.LinkStatus) web.Badge {
	switch s {
	case provision.LinkSynced:
		return web.Badge{Level: web.OK, Label: "In sync"}
	case provision.LinkPending:
		return web.Badge{Level: web.Info, Label: "Waiting", Icon: "clock"}
	case provision.LinkInactive:
		return web.Badge{Level: web.Neutral, Label: "Inactive there", Icon: "circle-pause"}
	case provision.LinkBlocked:
		return web.Badge{Level: web.Warn, Label: "Blocked", Icon: "hand"}
	case provision.LinkFailed:
		return web.Badge{Level: web.Danger, Label: "Refused"}
	case provision.LinkReleased:
		return web.Badge{Level: web.Neutral, Label: "Left as it is", Icon: "link-2-off"}
	default:
		return web.Badge{Level: web.Neutral, Label: "Nothing sent yet"}
	}
}

// integrationBadge says how it stands with one half of an application.
func integrationBadge(s app.Status) web.Badge {
	switch s {
	case app.Active:
		return web.Badge{Level: web.OK, Label: "Active"}
	case app.Paused:
		return web.Badge{Level: web.Warn, Label: "Paused", Icon: "circle-pause"}
	case app.Stopped:
		return web.Badge{Level: web.Danger, Label: "Stopped"}
	case app.Incomplete:
		return web.Badge{Level: web.Info, Label: "Incomplete", Icon: "circle-dashed"}
	default:
		return web.Badge{Level: web.Neutral, Label: "Off"}
	}
}

// device says in words which program and system a User-Agent names.
func device(agent string) string {
	first := func(pairs ...string) string {
		for i := 0; i < len(pairs); i += 2 {
			if strings.Contains(agent, pairs[i]) {
				return pairs[i+1]
			}
		}
		return ""
	}
	// Order matters: browsers name those that they descend from.
	program := first("Edg/", "Edge", "OPR/", "Opera", "Firefox/", "Firefox", "Chrome/", "Chrome", "Safari/", "Safari", "curl/", "curl")
	system := first("iPhone", "iPhone", "iPad", "iPad", "Android", "Android", "Windows", "Windows", "Mac OS X", "macOS", "CrOS", "ChromeOS", "Linux", "Linux")
	switch {
	case program != "" && system != "":
		return program + " on " + system
	case program+system != "":
		return program + system
	case agent == "":
		return "Unknown program"
	default:
		return agent
	}
}
