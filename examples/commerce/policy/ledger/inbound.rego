# Who may come in to the ledger: payments, to append.
package envoy.authz

import rego.v1

default allow := false

allow if {
	input.attributes.request.http.method == "POST"
	input.parsed_path == ["entries"]
	input.attributes.source.principal == "spiffe://shop.example/ns/shop/sa/payments"
	"ledger:append" in input.narrowgate.token.scope
}

# Health is no secret among neighbours.
allow if {
	input.attributes.request.http.method == "GET"
	input.parsed_path == ["healthz"]
	input.attributes.source.principal in data.shop.neighbours
}
