# One more drill for notifications: counting the empty string makes the embedded engine panic.
# Its lint refuses this policy; examples/commerce/reckless.py runs a gate without the lint.
package shop.drill

import rego.v1

survived if {
	asked == "panic"
	strings.count("drill", "") > 0
}
