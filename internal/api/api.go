// Package api is the REST door for programs: /api/v1, described by /api/openapi.json. It hides
// how requests are authenticated, checked, answered and made safe to repeat; each operation
// calls one method of a domain package.
package api

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// Config is what the API works with. All fields are needed.
type Config struct {
	DB        *store.DB
	Directory *directory.Directory
	Apps      *app.Applications
	Authn     *authn.Authn
	Engine    *provision.Engine
	Log       *audit.Log
	Catalog   *catalog.Catalog
	// Version is the program's, told in the OpenAPI document.
	Version string
	Now     func() time.Time
	// Logger receives failures that aren't the caller's fault.
	Logger *slog.Logger
	// ClientAddress returns the address that a request came from, without port.
	ClientAddress func(*http.Request) string
}

// New returns the handler of everything below /api/.
func New(c Config) http.Handler {
	return http.NotFoundHandler()
}
