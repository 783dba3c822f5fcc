package console_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/web/webtest"
)

// Forged pagination tokens: a page address that somebody wrote themselves gives a page of the list or one that says that
// it isn't valid; it is never an error of ours, and never markup.
func TestNeighbour_PageTokens(t *testing.T) {
	s := newSite(t)
	s.provision()
	lists := []string{
		"/console/users", "/console/groups", "/console/applications", "/console/activity", s.groupPath(s.engineering), s.groupPath(s.engineering, "activity"),
		s.userPath("bob", "activity"), s.appPath(s.atlassian, "activity"), s.appPath(s.atlassian, "provisioning"), "/console/pick/users", "/console/pick/groups",
	}
	forged := []string{"!!!", "e30", "bnVsbA", "W10", "AAAA=", "' OR 1=1 --", `"><script>alert(1)</script>`, strings.Repeat("A", 9000)}
	for _, raw := range []string{`[1]`, `[1,2]`, `[null]`, `["a","b","c"]`, `["a"`, `[["a"]]`} {
		forged = append(forged, base64.RawURLEncoding.EncodeToString([]byte(raw)))
	}
	for _, key := range []string{`' OR 1=1 --`, "%", `\`, "a\x00b", "", "\xff", `"><script>alert(1)</script>`} {
		forged = append(forged, store.EncodeCursor(key), store.EncodeCursor(key, key))
	}
	for _, path := range lists {
		s.get("owner", path).status(http.StatusOK)
		for _, cursor := range forged {
			for _, query := range []string{"?cursor=" + url.QueryEscape(cursor), "?cursor=&back=" + url.QueryEscape(cursor), "?back=x&back=" + url.QueryEscape(cursor) + "&cursor=" + url.QueryEscape(cursor)} {
				a := s.get("owner", path+query)
				if a.Code != http.StatusOK && a.Code != http.StatusBadRequest && a.Code != http.StatusUnprocessableEntity {
					t.Errorf("%s%.80s: %d", path, query, a.Code)
				}
				a.hasNot("<script>alert")
				if strings.Contains(a.text(), "<html") {
					webtest.Check(t, a.Body.Bytes())
				}
			}
		}
	}
}
