package envoy.authz_test

import rego.v1

entry := {
	"attributes": {
		"source": {"principal": "spiffe://shop.example/ns/shop/sa/payments"},
		"request": {"http": {"method": "POST", "path": "/entries"}},
	},
	"parsed_path": ["entries"],
	"narrowgate": {"token": {"scope": ["ledger:append"]}},
}

test_payments_may_append if data.envoy.authz.allow with input as entry

test_orders_may_not if {
	not data.envoy.authz.allow with input as entry
		with input.attributes.source.principal as "spiffe://shop.example/ns/shop/sa/orders"
}

test_nobody_without_the_scope if {
	not data.envoy.authz.allow with input as entry with input.narrowgate.token.scope as []
}

test_neighbours_may_ask_for_health if {
	data.envoy.authz.allow with input as {
		"attributes": {
			"source": {"principal": "spiffe://shop.example/ns/shop/sa/orders"},
			"request": {"http": {"method": "GET", "path": "/healthz"}},
		},
		"parsed_path": ["healthz"],
	}
}

test_the_ledger_calls_nobody if {
	data.narrowgate.outbound.allow == false with input as {}
}
