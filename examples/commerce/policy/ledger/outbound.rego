# This service calls nobody.
package narrowgate.outbound

import rego.v1

allow := false
