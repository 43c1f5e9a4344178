package narrowgate.lib.scope_test

import data.narrowgate.lib.scope
import rego.v1

grant := {"narrowgate": {"token": {"scope": ["orders:read", "orders:write"]}}}

nobody := {"narrowgate": {}}

test_has if scope.has("orders:read") with input as grant

test_has_is_exact if not scope.has("orders") with input as grant

test_has_nothing_without_a_grant if {
	not scope.has("orders:read") with input as nobody
	not scope.has("orders:read") with input as {}
}

test_has_all if scope.has_all({"orders:read", "orders:write"}) with input as grant

test_has_all_needs_each if not scope.has_all({"orders:read", "pay"}) with input as grant

test_has_all_of_nothing_is_no if not scope.has_all(set()) with input as grant

test_has_any if scope.has_any({"pay", "orders:write"}) with input as grant

test_has_any_needs_one if not scope.has_any({"pay"}) with input as grant

test_subset if {
	scope.subset({"pay", "orders:write"}) == ["orders:write"] with input as grant
	scope.subset({"pay"}) == [] with input as nobody
}
