# A start for an outbound policy: nothing leaves but what a rule names, with the scope it names.
package narrowgate.outbound

import data.narrowgate.lib.scope
import rego.v1

# What each destination may be handed of the scope that is held.
reach := {"spiffe://shop.example/ns/shop/sa/payments": {"payments:charge"}}

default allow := {"allowed": false}

allow := {"allowed": true, "narrowgate": {"scope": scope.subset(wanted)}} if {
	wanted := reach[input.narrowgate.destination.workload]
}
