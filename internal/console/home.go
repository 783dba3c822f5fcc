package console

import (
	"net/http"

	"github.com/latchkey-idp/latchkey/internal/web"
)

func (c *Console) home(w http.ResponseWriter, r *request) error {
	return web.Render(w, r.Request, http.StatusOK, web.Console(c.page(w, r, "home", "Home")))
}
