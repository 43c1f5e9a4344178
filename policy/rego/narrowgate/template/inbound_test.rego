package envoy.authz_test

import data.envoy.authz
import rego.v1

call(method, path, peer, scope) := {
	"attributes": {
		"source": {"principal": peer},
		"request": {"http": {"method": method}},
	},
	"parsed_path": path,
	"narrowgate": {"token": {"scope": scope}},
}

frontend := "spiffe://shop.example/ns/shop/sa/frontend"

test_reads_one_order if {
	authz.allow with input as call("GET", ["orders", "7"], frontend, ["orders:read"])
}

test_needs_each_of_the_four if {
	not authz.allow with input as call("POST", ["orders", "7"], frontend, ["orders:read"])
	not authz.allow with input as call("GET", ["orders"], frontend, ["orders:read"])
	not authz.allow with input as call("GET", ["orders", "7"], "spiffe://x/y", ["orders:read"])
	not authz.allow with input as call("GET", ["orders", "7"], frontend, ["orders"])
}

test_nothing_by_default if not authz.allow with input as {}
