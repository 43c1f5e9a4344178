package narrowgate.lib.peer_test

import data.narrowgate.lib.peer
import rego.v1

from(id) := {"attributes": {"source": {"principal": id}}}

frontend := "spiffe://shop.example/ns/shop/sa/frontend"

known := {"spiffe://shop.example/ns/shop/sa/frontend"}

test_one_of if {
	peer.one_of(known) with input as from(frontend)
	not peer.one_of(known) with input as from("spiffe://shop.example/ns/shop/sa/frontend2")
	not peer.one_of(known) with input as {}
}

test_in_namespace if {
	peer.in_namespace("shop.example", "shop") with input as from(frontend)
	not peer.in_namespace("shop.example", "sho") with input as from(frontend)
	not peer.in_namespace("shop.example", "shop") with input as {}
}

test_verified if {
	peer.verified with input as from(frontend)
	not peer.verified with input as {}
}
