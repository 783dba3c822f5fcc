package console

import "net/http"

// routesApplications adds the pages of applications.
func (c *Console) routesApplications(*http.ServeMux) {}
