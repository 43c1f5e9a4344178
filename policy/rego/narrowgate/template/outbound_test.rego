package narrowgate.outbound_test

import data.narrowgate.outbound
import rego.v1

call(workload, scope) := {"narrowgate": {
	"destination": {"workload": workload},
	"token": {"scope": scope},
}}

payments := "spiffe://shop.example/ns/shop/sa/payments"

test_hands_on_only_what_is_named if {
	outbound.allow == {"allowed": true, "narrowgate": {"scope": ["payments:charge"]}} with input as call(payments, ["orders:read", "payments:charge"])
}

test_hands_on_only_what_is_held if {
	outbound.allow == {"allowed": true, "narrowgate": {"scope": []}} with input as call(payments, [])
}

test_nothing_by_default if {
	outbound.allow == {"allowed": false} with input as call("spiffe://shop.example/ns/shop/sa/other", [])
	outbound.allow == {"allowed": false} with input as {}
}
