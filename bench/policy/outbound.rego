# What the frontend may call, and the scope that it hands on: one atom, whatever else it holds.
package narrowgate.outbound

import rego.v1

default allow := false

allow := {"allowed": true, "narrowgate": {"scope": ["payments:charge"]}} if {
	input.narrowgate.identity.self == "spiffe://shop.example/ns/shop/sa/frontend"
	input.narrowgate.destination.workload == "spiffe://shop.example/ns/shop/sa/payments"
	"payments:charge" in input.narrowgate.token.scope
}
