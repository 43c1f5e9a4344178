package narrowgate.lib.http_test

import data.narrowgate.lib.http
import rego.v1

request(method, path) := {
	"attributes": {"request": {"http": {"method": method}}},
	"parsed_path": path,
}

test_safe if {
	http.safe with input as request("GET", [""])
	not http.safe with input as request("POST", [""])
}

test_method if {
	http.method({"POST"}) with input as request("POST", [""])
	not http.method({"POST"}) with input as request("post", [""])
	not http.method({"POST"}) with input as {}
}

test_path if {
	http.path(["orders"]) with input as request("GET", ["orders"])
	not http.path(["orders"]) with input as request("GET", ["orders", ""])
}

test_below if {
	http.below(["orders"]) with input as request("GET", ["orders", "1"])
	http.below(["orders"]) with input as request("GET", ["orders"])
	not http.below(["orders"]) with input as request("GET", ["orders-old", "1"])
	not http.below(["orders", "1"]) with input as request("GET", ["orders"])
	not http.below(["orders"]) with input as {}
}

test_like if {
	http.like(["orders", "*"]) with input as request("GET", ["orders", "1"])
	not http.like(["orders", "*"]) with input as request("GET", ["orders", ""])
	not http.like(["orders", "*"]) with input as request("GET", ["orders", "1", "x"])
	not http.like(["orders", "*"]) with input as request("GET", ["pay", "1"])
}
