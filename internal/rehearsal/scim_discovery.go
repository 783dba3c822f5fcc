package rehearsal

import (
	"net/http"
	"strings"
)

const discoveryTime = "2018-05-03T19:31:29.723Z"

// answerDiscovery serves ServiceProviderConfig, Schemas and ResourceTypes (RFC 7644 §4). The configuration
// promises filter.maxResults 10000, which the list endpoints don't keep: they stop at 100.
func (s *Site) answerDiscovery(dirID, what, id string) (*answer, error) {
	s.mu.RLock()
	base := s.base + scimPrefix + dirID
	s.mu.RUnlock()
	switch what {
	case "ServiceProviderConfig":
		if id != "" {
			return gatewayError(http.StatusNotFound, "HTTP 404 Not Found"), nil
		}
		return scimAnswer(http.StatusOK, []byte(strings.ReplaceAll(serviceProviderConfig, "{base}", base))), nil
	case "Schemas":
		return discover(schemaList(base), "id", id, "SCHEMA")
	default:
		return discover(resourceTypes(base), "name", id, "RESOURCE_TYPE")
	}
}

func discover(list []map[string]any, key, id, kind string) (*answer, error) {
	if id == "" {
		resources := make([][]byte, 0, len(list))
		for _, m := range list {
			resources = append(resources, marshal(m))
		}
		return listAnswer(len(list), 1, 10, resources), nil
	}
	for _, m := range list {
		if name, _ := m[key].(string); strings.EqualFold(name, id) {
			return scimAnswer(http.StatusOK, marshal(m)), nil
		}
	}
	return nil, notFound(kind, id)
}

const serviceProviderConfig = `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],` +
	`"patch":{"supported":true},"bulk":{"supported":false,"maxOperations":0,"maxPayloadSize":0},` +
	`"filter":{"maxResults":10000,"supported":true},"changePassword":{"supported":false},"sort":{"supported":false},` +
	`"etag":{"supported":false},"authenticationSchemes":[{"type":"oauthbearertoken","name":"OAuth Bearer Token",` +
	`"description":"Authentication scheme using the OAuth Bearer Token Standard"}],` +
	`"meta":{"location":"{base}/ServiceProviderConfig","resourceType":"ServiceProviderConfig",` +
	`"lastModified":"` + discoveryTime + `","created":"` + discoveryTime + `"}}`

// attr describes an attribute; options are written "required", "multi", "readOnly", "immutable", "server" …
func attr(name, kind string, options string, subs ...map[string]any) map[string]any {
	has := func(o string) bool { return strings.Contains(" "+options+" ", " "+o+" ") }
	m := map[string]any{
		"name": name, "type": kind, "multiValued": has("multi"), "required": has("required"), "caseExact": has("exact"),
		"mutability": "readWrite", "returned": "default", "uniqueness": "none",
	}
	for _, o := range []string{"readOnly", "immutable"} {
		if has(o) {
			m["mutability"] = o
		}
	}
	if has("server") {
		m["uniqueness"] = "server"
	}
	if len(subs) > 0 {
		m["subAttributes"] = subs
	}
	return m
}

func oneOf(m map[string]any, values ...string) map[string]any {
	m["canonicalValues"] = values
	return m
}

func schemaList(base string) []map[string]any {
	schema := func(urn, name string, attributes ...map[string]any) map[string]any {
		return map[string]any{
			"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:Schema"},
			"id":      urn, "name": name, "description": name, "attributes": attributes,
			"meta": map[string]any{
				"resourceType": "Schema", "location": base + "/Schemas/" + urn,
				"lastModified": discoveryTime, "created": discoveryTime,
			},
		}
	}
	multi := func(name, options string, types ...string) map[string]any {
		return attr(name, "complex", "multi "+options,
			attr("value", "string", ""), attr("display", "string", ""),
			oneOf(attr("type", "string", ""), types...), attr("primary", "boolean", ""))
	}
	return []map[string]any{
		schema(
			urnUser, "User",
			attr("userName", "string", "required server"),
			attr("name", "complex", "",
				attr("formatted", "string", ""), attr("familyName", "string", ""), attr("givenName", "string", ""),
				attr("middleName", "string", ""), attr("honorificPrefix", "string", ""), attr("honorificSuffix", "string", "")),
			attr("displayName", "string", ""), attr("nickName", "string", ""), attr("title", "string", ""),
			attr("preferredLanguage", "string", ""), attr("timezone", "string", ""), attr("active", "boolean", ""),
			multi("emails", "required", "work", "home", "other"),
			multi("phoneNumbers", "", "work", "home", "mobile", "fax", "pager", "other"),
			attr("groups", "complex", "multi readOnly",
				attr("value", "string", "readOnly"), attr("$ref", "reference", "readOnly"), attr("display", "string", "readOnly"),
				oneOf(attr("type", "string", "readOnly"), "direct", "indirect")),
		),
		schema(
			urnEnterprise, "EnterpriseUser",
			attr("organization", "string", ""), attr("department", "string", ""),
		),
		schema(
			urnGroup, "Group",
			attr("displayName", "string", "required immutable"),
			attr("members", "complex", "multi", attr("value", "string", "immutable"), attr("$ref", "reference", "immutable")),
		),
	}
}

func resourceTypes(base string) []map[string]any {
	kind := func(name, endpoint, urn string, extensions ...map[string]any) map[string]any {
		m := map[string]any{
			"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:ResourceType"},
			"id":      name, "name": name, "description": name, "endpoint": endpoint, "schema": urn,
			"meta": map[string]any{
				"resourceType": "ResourceType", "location": base + "/ResourceTypes/" + name,
				"lastModified": discoveryTime, "created": discoveryTime,
			},
		}
		if len(extensions) > 0 {
			m["schemaExtensions"] = extensions
		}
		return m
	}
	return []map[string]any{
		kind("User", "/Users", urnUser, map[string]any{"schema": urnEnterprise, "required": false}),
		kind("Group", "/Groups", urnGroup),
	}
}
