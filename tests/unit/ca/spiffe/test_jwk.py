"""Public keys from JWKs, and the thumbprint of RFC 7638."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ca.spiffe.jwk import ec_jwk, jwk_allows, jwk_to_key, thumbprint
from ca.spiffe.jws import JwsError, b64url_encode

P256 = ec.generate_private_key(ec.SECP256R1()).public_key()
RSA = rsa.generate_private_key(65537, 2048).public_key()
ED = ed25519.Ed25519PrivateKey.generate().public_key()

# RFC 7638 section 3.1
RFC_N = (
    "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWK"
    "RXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMic"
    "AtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3"
    "XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
)


def number(value: int) -> str:
    return b64url_encode(value.to_bytes((value.bit_length() + 7) // 8, "big")).decode()


def rsa_jwk(n: int, e: int = 65537) -> dict[str, Any]:
    return {"kty": "RSA", "n": number(n), "e": number(e)}


def test_keys_come_back() -> None:
    assert jwk_to_key(ec_jwk(P256)) == P256
    assert jwk_to_key(rsa_jwk(RSA.public_numbers().n)) == RSA
    ed = {"kty": "OKP", "crv": "Ed25519", "x": b64url_encode(ED.public_bytes_raw()).decode()}
    assert jwk_to_key(ed) == ED


def test_thumbprint_of_the_rfc() -> None:
    jwk = {"kty": "RSA", "n": RFC_N, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}
    assert thumbprint(jwk) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    for broken in ({}, {"kty": "oct", "k": "AA"}, {"kty": "EC", "crv": "P-256", "x": "AA"}):
        with pytest.raises(JwsError):
            thumbprint(broken)


def test_thumbprint_looks_at_the_required_members_only() -> None:
    jwk: dict[str, object] = dict(ec_jwk(P256))
    assert thumbprint(jwk) == thumbprint(jwk | {"kid": "k", "use": "sig"})


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"kty": "oct"}, "algorithm"),
        ({"kty": None}, "algorithm"),
        ({"crv": "P-384"}, "algorithm"),
        ({"crv": "secp256k1"}, "algorithm"),
        ({"d": "AA"}, "malformed"),
        ({"k": "AA"}, "malformed"),
        ({"x": None}, "malformed"),
        ({"x": 1}, "malformed"),
        ({"x": "é"}, "malformed"),
        ({"x": "AA"}, "malformed"),
        ({"x": "A" * 43}, "malformed"),
        ({"y": "A" * 43 + "="}, "malformed"),
    ],
)
def test_other_ec_keys_are_refused(changes: dict[str, Any], kind: str) -> None:
    with pytest.raises(JwsError) as caught:
        jwk_to_key(ec_jwk(P256) | changes)
    assert caught.value.kind == kind


def test_rsa_keys_outside_their_bounds_are_refused() -> None:
    n = RSA.public_numbers().n
    for jwk in (
        rsa_jwk(n >> 1024),
        rsa_jwk((1 << 8193) + 1),
        rsa_jwk(n, (1 << 33) + 1),
        rsa_jwk(n, 2),
        rsa_jwk(n, 1),
        rsa_jwk(1 << 2047),
    ):
        with pytest.raises(JwsError):
            jwk_to_key(jwk)


def test_roca_keys_are_refused() -> None:
    """A modulus that is a power of 65537 modulo every small prime (CVE-2017-15361)."""
    primorial = 1
    for prime in (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157):
        primorial *= prime
    fingerprint = pow(65537, 5, primorial)
    n = ((1 << 2047) // primorial * primorial + fingerprint + primorial) | 0
    n += primorial if n % 2 == 0 else 0
    with pytest.raises(JwsError, match="ROCA"):
        jwk_to_key(rsa_jwk(n))


def test_other_curves_have_no_jwk() -> None:
    with pytest.raises(JwsError):
        ec_jwk(ec.generate_private_key(ec.SECP384R1()).public_key())


@pytest.mark.parametrize(
    ("members", "allowed"),
    [
        ({}, True),
        ({"use": "sig"}, True),
        ({"use": "enc"}, False),
        ({"use": None}, False),
        ({"alg": "ES256"}, True),
        ({"alg": "RS256"}, False),
        ({"key_ops": ["verify"]}, True),
        ({"key_ops": ["sign"]}, False),
        ({"key_ops": "verify"}, False),
    ],
)
def test_jwk_says_what_it_is_for(members: dict[str, Any], allowed: bool) -> None:
    assert jwk_allows(members, "ES256") is allowed
