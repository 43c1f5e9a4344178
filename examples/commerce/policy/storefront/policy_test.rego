package envoy.authz_test

import rego.v1

checkout := {
	"attributes": {"source": {}, "request": {"http": {"method": "POST", "path": "/checkout"}}},
	"parsed_path": ["checkout"],
	"narrowgate": {"token": {"scope": ["orders:write"]}},
}

test_checkout_with_the_scope if data.envoy.authz.allow with input as checkout

test_no_checkout_without_the_scope if {
	not data.envoy.authz.allow with input as checkout
		with input.narrowgate.token.scope as ["catalog:read"]
}

test_no_checkout_without_a_grant if {
	not data.envoy.authz.allow with input as object.union(checkout, {"narrowgate": {"token": null}})
}

outbound := {
	"attributes": {"request": {"http": {"method": "POST", "path": "/orders"}}},
	"parsed_path": ["orders"],
	"narrowgate": {
		"destination": {"workload": "spiffe://shop.example/ns/shop/sa/orders"},
		"token": {"scope": [
			"catalog:read", "ledger:append", "notifications:send",
			"orders:write", "payments:charge",
		]},
	},
}

test_browsing_is_not_handed_on if {
	answer := data.narrowgate.outbound.allow with input as outbound
	answer.allowed
	not "catalog:read" in answer.narrowgate.scope
	count(answer.narrowgate.scope) == 4
}

test_nothing_without_the_scope if {
	data.narrowgate.outbound.allow == false with input as outbound
		with input.narrowgate.token.scope as ["orders:write"]
}
