# Who may come in to payments: orders, on behalf of somebody who may be charged.
package envoy.authz

import rego.v1

default allow := false

allow if {
	input.attributes.request.http.method == "POST"
	input.parsed_path == ["charges"]
	input.attributes.source.principal == "spiffe://shop.example/ns/shop/sa/orders"
	"payments:charge" in input.narrowgate.token.scope
}

# Health is no secret among neighbours.
allow if {
	input.attributes.request.http.method == "GET"
	input.parsed_path == ["healthz"]
	input.attributes.source.principal in data.shop.neighbours
}
