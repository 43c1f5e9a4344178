# A start for an inbound policy: nothing passes but what a rule names.
package envoy.authz

import data.narrowgate.lib.http
import data.narrowgate.lib.peer
import data.narrowgate.lib.scope
import rego.v1

default allow := false

# The front end reads one order for a user who may.
allow if {
	peer.one_of({"spiffe://shop.example/ns/shop/sa/frontend"})
	http.safe
	http.like(["orders", "*"])
	scope.has("orders:read")
}
