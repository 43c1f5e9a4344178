# The demo's fire drill: a caller may ask, with `x-drill`, for a decision that goes wrong.
# Nothing real has this. It shows what a gate does with a policy that fails or never ends.
package shop.drill

import rego.v1

asked := object.get(input.attributes.request.http.headers, "x-drill", "none")

survived if asked == "none"

# A text that is no JSON is an error here; OPA alone would call it undefined.
survived if {
	asked == "error"
	json.unmarshal("{") == {}
}

# A million steps to nowhere.
survived if {
	asked == "hang"
	some i in numbers.range(1, 1000)
	some j in numbers.range(1, 1000)
	i + j == -1
}
