# Where the storefront may call, and how much of its grant goes with the call.
package narrowgate.outbound

import rego.v1

default allow := false

# Destination -> the one call that is made there, and the scope that is handed on with it.
calls := {"spiffe://shop.example/ns/shop/sa/orders": {
	"method": "POST",
	"path": ["orders"],
	"scope": ["orders:write", "payments:charge", "ledger:append", "notifications:send"],
}}

allow := {"allowed": true, "narrowgate": {"scope": call.scope}} if {
	call := calls[input.narrowgate.destination.workload]
	input.attributes.request.http.method == call.method
	input.parsed_path == call.path
	every atom in call.scope {
		atom in input.narrowgate.token.scope
	}
}
