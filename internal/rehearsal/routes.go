package rehearsal

import (
	"net/http"
	"strings"
)

func (s *Site) routes() http.Handler {
	mux := http.NewServeMux()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// SCIM comes before the mux, which would redirect "//Users" to "/Users".
		if strings.HasPrefix(r.URL.Path, scimPrefix) {
			s.serveSCIM(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}
