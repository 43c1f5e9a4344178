package envoy.authz_test

import rego.v1

message := {
	"attributes": {
		"source": {"principal": "spiffe://shop.example/ns/shop/sa/orders"},
		"request": {"http": {"method": "POST", "path": "/messages"}},
	},
	"parsed_path": ["messages"],
	"narrowgate": {"token": {"scope": ["notifications:send"]}},
}

health := {
	"attributes": {
		"source": {"principal": "spiffe://shop.example/ns/shop/sa/orders"},
		"request": {"http": {"method": "GET", "path": "/healthz", "headers": {}}},
	},
	"parsed_path": ["healthz"],
}

test_orders_may_send if data.envoy.authz.allow with input as message

test_payments_may_not if {
	not data.envoy.authz.allow with input as message
		with input.attributes.source.principal as "spiffe://shop.example/ns/shop/sa/payments"
}

test_nobody_without_the_scope if {
	not data.envoy.authz.allow with input as message with input.narrowgate.token.scope as []
}

test_health_without_a_drill if data.envoy.authz.allow with input as health

test_an_unknown_drill_is_refused if {
	not data.envoy.authz.allow with input as health
		with input.attributes.request.http.headers as {"x-drill": "unheard of"}
}
