# Who may come in to notifications: orders, to send a message.
package envoy.authz

import rego.v1

default allow := false

allow if {
	input.attributes.request.http.method == "POST"
	input.parsed_path == ["messages"]
	input.attributes.source.principal == "spiffe://shop.example/ns/shop/sa/orders"
	"notifications:send" in input.narrowgate.token.scope
}

# Health is no secret among neighbours. (`data.shop.drill` is the demo's; a real policy has none.)
allow if {
	input.attributes.request.http.method == "GET"
	input.parsed_path == ["healthz"]
	input.attributes.source.principal in data.shop.neighbours
	data.shop.drill.survived
}
