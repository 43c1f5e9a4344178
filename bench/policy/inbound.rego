# Who may call whom, on whose behalf, for the bench: principal, method, path and scope.
package envoy.authz

import rego.v1

default allow := false

callers := {"/charge": {"spiffe://shop.example/ns/shop/sa/frontend"}}

allow if {
	input.attributes.source.principal in callers["/charge"]
	input.attributes.request.http.method in {"GET", "POST"}
	input.parsed_path[0] == "charge"
	"payments:charge" in input.narrowgate.token.scope
}

# The one request from outside, which the holder keeps open while the load runs.
allow if {
	input.narrowgate.identity.self == "spiffe://shop.example/ns/shop/sa/frontend"
	input.attributes.request.http.method == "GET"
	input.parsed_path == ["hold"]
	"payments:charge" in input.narrowgate.token.scope
}
