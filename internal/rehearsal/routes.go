package rehearsal

import (
	"net"
	"net/http"
	"net/url"
	"strings"
)

// routes lists everything that the site serves.
func (s *Site) routes() http.Handler {
	mux := http.NewServeMux()
	s.mountBrowser(mux)
	s.mountAdmin(mux)
	s.mountAPI(mux)

	csrf := http.NewCrossOriginProtection()
	csrf.AddInsecureBypassPattern("POST /login/callback") // SAML responses come from the identity provider's page
	protected := csrf.Handler(mux)

	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// SCIM comes before the mux, which would redirect "//Users" to "/Users".
		if strings.HasPrefix(r.URL.Path, scimPrefix) {
			s.serveSCIM(w, r)
			return
		}
		protected.ServeHTTP(w, r)
	})
}

// guard keeps administration and control to this machine: they know no sign-in. The Host is checked too, so
// that a page elsewhere can't reach them through a name that resolves to loopback.
func (s *Site) guard(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.cfg.AllowRemote && !(loopback(r.RemoteAddr) && s.ownHost(r.Host)) {
			http.Error(w, "The rehearsal's administration answers only on its own machine.", http.StatusForbidden)
			return
		}
		next(w, r)
	}
}

func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return strings.EqualFold(host, "localhost") || (ip != nil && ip.IsLoopback())
}

func (s *Site) ownHost(host string) bool {
	if loopback(host) {
		return true
	}
	u, err := url.Parse(s.BaseURL())
	return err == nil && strings.EqualFold(u.Host, host)
}
