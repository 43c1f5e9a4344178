# Who may come in to orders: the storefront and the kiosk, with a grant to write orders.
package envoy.authz

import rego.v1

default allow := false

scope := input.narrowgate.token.scope

shops := {
	"spiffe://shop.example/ns/shop/sa/storefront",
	"spiffe://shop.example/ns/shop/sa/kiosk",
}

allow if {
	input.attributes.request.http.method == "POST"
	input.parsed_path == ["orders"]
	input.attributes.source.principal in shops
	"orders:write" in scope
}

allow if {
	input.attributes.request.http.method == "GET"
	count(input.parsed_path) == 2
	input.parsed_path[0] == "orders"
	input.attributes.source.principal in shops
	"orders:read" in scope
}

# Health is no secret among neighbours.
allow if {
	input.attributes.request.http.method == "GET"
	input.parsed_path == ["healthz"]
	input.attributes.source.principal in data.shop.neighbours
}
