# Reads a JWT without verifying it: for tokens of the application's own, as one more sign and never
# as proof. The gate verifies what it relies on and shows it at input.narrowgate.token.
# A text that is not a JWT is an evaluation error, and so a denial.
package narrowgate.lib.jwt

import rego.v1

header(token) := json.unmarshal(base64url.decode(part(token, 0)))

claims(token) := json.unmarshal(base64url.decode(part(token, 1)))

part(token, index) := parts[index] if {
	parts := split(token, ".")
	count(parts) == 3
}

# The token in `Authorization: Bearer <token>`.
bearer := trim_prefix(value, "Bearer ") if {
	value := input.attributes.request.http.headers.authorization
	startswith(value, "Bearer ")
}
