# The demo's fire drill: a caller may ask, with `x-drill`, for a decision that goes wrong.
# Nothing real has this. It shows what a gate does with a policy that fails, loops or panics.
package shop.drill

import rego.v1

asked := input.attributes.request.http.headers["x-drill"]

survived if not asked

# A complete rule with two values is an error in every engine.
survived if {
	asked == "error"
	two_values == 1
}

two_values := 1 if asked == "error"

two_values := 2 if startswith(asked, "err")

# Sixteen million steps to nowhere.
survived if {
	asked == "hang"
	some i in numbers.range(1, 4000)
	some j in numbers.range(1, 4000)
	i * j == -1
}

# Counting the empty string makes the embedded engine (regorus 0.13) panic.
survived if {
	startswith(asked, "panic")
	strings.count("drill", trim_prefix(asked, "panic")) > 0
}
