package console

import (
	"net"
	"net/http"
	"net/url"

	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// maxReturn bounds the address that a flow keeps, since anybody can have one kept.
const maxReturn = 2000

// sendToSignIn keeps the asked-for page in a flow and sends the browser to sign in. What was
// posted is lost; the way back then leads to the page that it was posted from.
func (c *Console) sendToSignIn(w http.ResponseWriter, r *request) error {
	back := r.URL.RequestURI()
	if r.Method != http.MethodGet || web.IsHTMX(r.Request) {
		back = localReferrer(r.Request)
	}
	if len(back) > maxReturn {
		back = root
	}
	now := c.Now()
	var token string
	err := c.DB.Update(r.Context(), func(tx *store.Tx) error {
		var err error
		token, err = authn.StartFlow(tx, now, "console", map[string]string{"returnTo": withoutFlow(back)}, signInTime)
		return err
	})
	if err != nil {
		return err
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		web.SetFlash(w, r.Request, web.Warn, "Your session had ended, so nothing was changed. Sign in and do it again.")
	}
	web.Redirect(w, r.Request, signInPath+"?flow="+url.QueryEscape(token))
	return nil
}

// endFlow takes the flow of a finished sign-in out of the store and out of the address. One
// that is stale has done its service too.
func (c *Console) endFlow(w http.ResponseWriter, r *request, token string) error {
	now := c.Now()
	err := c.DB.Update(r.Context(), func(tx *store.Tx) error {
		_, err := authn.ConsumeFlow(tx, now, token)
		return err
	})
	if err != nil && !problem.Is(err, problem.NotFound) {
		return err
	}
	web.Redirect(w, r.Request, withoutFlow(r.URL.RequestURI()))
	return nil
}

// localReferrer is the console page that a request came from, or the console's first page.
func localReferrer(r *http.Request) string {
	from := r.Header.Get("HX-Current-URL")
	if from == "" {
		from = r.Referer()
	}
	u, err := url.Parse(from)
	if err != nil || u.Host != r.Host || !inConsole(u.Path) {
		return root
	}
	return web.LocalPath(u.RequestURI(), root)
}

func inConsole(path string) bool {
	return path == root || len(path) > len(root) && path[:len(root)+1] == root+"/"
}

// withoutFlow returns path without its parameter "flow".
func withoutFlow(path string) string {
	u, err := url.Parse(path)
	if err != nil {
		return root
	}
	q := u.Query()
	if !q.Has("flow") {
		return path
	}
	q.Del("flow")
	u.RawQuery = q.Encode()
	return u.RequestURI()
}

func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}
