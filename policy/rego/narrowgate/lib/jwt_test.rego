package narrowgate.lib.jwt_test

import data.narrowgate.lib.jwt
import rego.v1

# {"alg":"none"} . {"sub":"a"} . (empty)
token := "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0."

test_claims if jwt.claims(token) == {"sub": "a"}

test_header if jwt.header(token) == {"alg": "none"}

test_three_parts if not jwt.claims("a.b")

carrying(value) := {"attributes": {"request": {"http": {"headers": {"authorization": value}}}}}

test_bearer if {
	jwt.bearer == "x" with input as carrying("Bearer x")
	not jwt.bearer with input as carrying("Basic x")
	not jwt.bearer with input as {}
}
