package api

import (
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// describe is the head of the OpenAPI document and how the framework behaves.
func describe(version string) huma.Config {
	c := huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Latchkey", Version: version,
				Description: "People, groups and applications of a Latchkey installation.\n\n" +
					"Send an API key as `Authorization: Bearer lk_…`. Its role decides what it may do. " +
					"Lists come in pages: pass `next` of one as `cursor` of the next. " +
					"Errors are problem details (RFC 9457) and never repeat what was sent. " +
					"PATCH takes a JSON merge patch (RFC 7396). " +
					"Send `If-Match` with the `ETag` of what you read to keep from overwriting somebody else's change. " +
					"Send an `Idempotency-Key` with a POST to be able to repeat it safely within a day.",
				License: &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
			},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", schemaName),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"apiKey": {Type: "http", Scheme: "bearer", Description: "An API key, from Settings or `latchkey setup`."},
				},
			},
			Tags: []*huma.Tag{
				{Name: "users", Description: "People, their state and role."},
				{Name: "groups", Description: "Groups and their members."},
				{Name: "applications", Description: "Applications, who may use them, and how they look."},
				{Name: "sign-on", Description: "Single sign-on to an application by SAML 2.0."},
				{Name: "provisioning", Description: "Accounts and groups inside an application, by SCIM 2.0."},
				{Name: "events", Description: "What happened."},
				{Name: "api-keys", Description: "Keys of this API."},
			},
		},
		Formats:                      map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
	}
	// What is needed is said by the domain, in sentences and all at once.
	c.FieldsOptionalByDefault = true
	return c
}

// schemaName keeps types of the same name in several packages apart: those of other packages
// than this get the package's name before their own.
func schemaName(t reflect.Type, hint string) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	name := huma.DefaultSchemaNamer(t, hint)
	path := t.PkgPath()
	pkg := path[strings.LastIndex(path, "/")+1:]
	if t.Name() == "" || pkg == "" || pkg == "api" || pkg == "directory" || strings.EqualFold(pkg, name) {
		return name
	}
	return strings.ToUpper(pkg[:1]) + pkg[1:] + name
}

// attributeTexts describe attributes that come from other packages' types.
var attributeTexts = map[string]string{
	"username":          "Unique, without regard to case. The e-mail address when missing.",
	"email":             "Unique; kept in lower case.",
	"displayName":       "Shown instead of given and family name.",
	"managerId":         "Id of the manager.",
	"locale":            "BCP 47 tag, for example en-GB.",
	"preferredLanguage": "BCP 47 tag, for example en-GB.",
	"timezone":          "Name of the IANA database, for example Europe/Berlin.",
	"custom":            "The organization's own attributes: text, number, boolean or list of texts, by name.",
	"passwordStatus":    "Apart from the state: an expired password takes nobody's access at an application away.",
	"attributes":        "Inherited by the members: department, company and the like, and custom.<name>.",
}

// explain adds texts to the descriptions of attributes that have none.
func explain(schemas map[string]*huma.Schema) {
	for _, name := range []string{"User", "NewUser", "Attributes", "Group", "NewGroup", "GroupAttributes"} {
		for property, s := range schemas[name].Properties {
			if text := attributeTexts[property]; text != "" && s.Description == "" {
				s.Description = text
			}
		}
	}
}
