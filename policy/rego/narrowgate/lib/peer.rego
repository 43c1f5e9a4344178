# Questions about the verified peer. A peer outside the mesh has no name and is nobody.
package narrowgate.lib.peer

import rego.v1

id := input.attributes.source.principal

# The peer is exactly one of these SPIFFE IDs.
one_of(ids) if id in ids

# The peer is a workload of this namespace: spiffe://<td>/ns/<namespace>/sa/<account>.
in_namespace(domain, namespace) if startswith(id, concat("", ["spiffe://", domain, "/ns/", namespace, "/sa/"]))

verified if id != ""
