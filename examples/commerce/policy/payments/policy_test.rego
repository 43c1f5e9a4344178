package envoy.authz_test

import rego.v1

charge := {
	"attributes": {
		"source": {"principal": "spiffe://shop.example/ns/shop/sa/orders"},
		"request": {"http": {"method": "POST", "path": "/charges"}},
	},
	"parsed_path": ["charges"],
	"narrowgate": {"token": {"scope": ["ledger:append", "payments:charge"]}},
}

test_orders_may_charge if data.envoy.authz.allow with input as charge

test_the_storefront_may_not if {
	not data.envoy.authz.allow with input as charge
		with input.attributes.source.principal as "spiffe://shop.example/ns/shop/sa/storefront"
}

test_no_charge_without_the_scope if {
	not data.envoy.authz.allow with input as charge
		with input.narrowgate.token.scope as ["ledger:append"]
}

outbound := {
	"attributes": {"request": {"http": {"method": "POST", "path": "/entries"}}},
	"parsed_path": ["entries"],
	"narrowgate": {
		"destination": {"workload": "spiffe://shop.example/ns/shop/sa/ledger"},
		"token": {"scope": ["ledger:append", "payments:charge"]},
	},
}

test_the_ledger_gets_only_its_part if {
	answer := data.narrowgate.outbound.allow with input as outbound
	answer.narrowgate.scope == ["ledger:append"]
}
