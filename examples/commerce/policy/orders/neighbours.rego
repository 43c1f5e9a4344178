# The workloads that stand beside each other in this shop.
package shop

import rego.v1

neighbours := {
	"spiffe://shop.example/ns/shop/sa/storefront",
	"spiffe://shop.example/ns/shop/sa/orders",
	"spiffe://shop.example/ns/shop/sa/payments",
	"spiffe://shop.example/ns/shop/sa/ledger",
	"spiffe://shop.example/ns/shop/sa/notifications",
}
