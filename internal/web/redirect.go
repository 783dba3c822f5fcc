package web

import (
	"net/http"
	"net/url"
	"strings"
)

// Redirect sends the browser to path, a path on this site, with a GET. Under htmx it asks for
// a whole new page, as a fragment can't follow a redirect sensibly. A path that leaves this
// site is replaced by "/".
func Redirect(w http.ResponseWriter, r *http.Request, path string) {
	path = LocalPath(path, "/")
	w.Header().Set("Cache-Control", "no-store")
	if IsHTMX(r) {
		w.Header().Set("HX-Redirect", path)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Location", path)
	w.WriteHeader(http.StatusSeeOther)
}

// LocalPath returns s when it is a path (with query) on this site, else fallback. Use it for
// every "return to" parameter.
func LocalPath(s, fallback string) string {
	// Browsers read a backslash as a slash and drop tabs and line ends, so "/\x.org" and
	// "/\t/x.org" would leave the site.
	if !strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//") {
		return fallback
	}
	for _, c := range s {
		if c < 0x20 || c == 0x7f || c == '\\' {
			return fallback
		}
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || strings.HasPrefix(u.Path, "//") {
		return fallback
	}
	return s
}
