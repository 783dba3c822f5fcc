package api

import (
	"time"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/provision"
)

// What the domain keeps, in the API's form: the command line prints the same JSON, so that a
// script can go from one to the other.

// UserJSON is the form of a person.
func UserJSON(u directory.User) User { return wireUser(u) }

// GroupJSON is the form of a group.
func GroupJSON(g directory.Group) Group { return wireGroup(g) }

// GroupRefs names groups.
func GroupRefs(groups []directory.Group) []GroupRef { return each(groups, refGroup) }

// ApplicationJSON is the form of an application of apps.
func ApplicationJSON(apps *app.Applications, x app.Application) Application {
	return (&API{Config: Config{Apps: apps}}).wireApplication(x)
}

// CertificateJSON is the form of a signing certificate.
func CertificateJSON(p keys.Pair, now time.Time) Certificate {
	return (&API{Config: Config{Now: func() time.Time { return now }}}).wireCertificate(p)
}

// ConnectorJSON is the form of a product of the catalogue.
func ConnectorJSON(c *catalog.Connector) Connector { return wireConnector(c) }

// LinkJSON is the form of what is remembered of an object at an application.
func LinkJSON(l provision.Link) ProvisioningLink { return wireLink(l) }

// EventJSON is the form of an event.
func EventJSON(e audit.Event) Event { return wireEvent(e) }

// APIKeyJSON is the form of an API key.
func APIKeyJSON(k authn.APIKey) APIKey { return wireKey(k) }

// ExplanationJSON is the form of why a person has, or hasn't, an account.
func ExplanationJSON(x provision.Explanation) Explanation { return wireExplanation(x) }
