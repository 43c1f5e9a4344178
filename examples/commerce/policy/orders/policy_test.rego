package envoy.authz_test

import rego.v1

order := {
	"attributes": {
		"source": {"principal": "spiffe://shop.example/ns/shop/sa/storefront"},
		"request": {"http": {"method": "POST", "path": "/orders"}},
	},
	"parsed_path": ["orders"],
	"narrowgate": {"token": {"scope": ["orders:write"]}},
}

test_the_storefront_may_order if data.envoy.authz.allow with input as order

test_another_may_not if {
	not data.envoy.authz.allow with input as order
		with input.attributes.source.principal as "spiffe://shop.example/ns/shop/sa/ledger"
}

test_no_order_without_the_scope if {
	not data.envoy.authz.allow with input as order
		with input.narrowgate.token.scope as ["payments:charge"]
}

outbound := {
	"attributes": {"request": {"http": {"method": "POST", "path": "/charges"}}},
	"parsed_path": ["charges"],
	"narrowgate": {
		"destination": {"workload": "spiffe://shop.example/ns/shop/sa/payments"},
		"token": {"scope": ["ledger:append", "notifications:send", "orders:write", "payments:charge"]},
	},
}

test_payments_gets_only_its_part if {
	answer := data.narrowgate.outbound.allow with input as outbound
	answer.narrowgate.scope == ["payments:charge", "ledger:append"]
}

test_no_other_path if {
	data.narrowgate.outbound.allow == false with input as outbound
		with input.parsed_path as ["refunds"]
}

test_no_other_destination if {
	data.narrowgate.outbound.allow == false with input as outbound
		with input.narrowgate.destination.workload as "spiffe://shop.example/ns/shop/sa/ledger"
}
