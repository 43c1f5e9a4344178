# Who may come in to the storefront: customers, whom the edge has turned into a grant.
package envoy.authz

import rego.v1

default allow := false

scope := input.narrowgate.token.scope

allow if {
	input.attributes.request.http.method == "GET"
	input.parsed_path == ["products"]
	"catalog:read" in scope
}

allow if {
	input.attributes.request.http.method == "POST"
	input.parsed_path == ["checkout"]
	"orders:write" in scope
}

# Health is no secret among neighbours.
allow if {
	input.attributes.request.http.method == "GET"
	input.parsed_path == ["healthz"]
	input.attributes.source.principal in data.shop.neighbours
}
