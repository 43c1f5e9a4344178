"""Public keys as JWKs (RFC 7517, RFC 7518, RFC 8037): read strictly, written minimally.

Invariants: only EC P-256, RSA of 2048 to 8192 bits, and Ed25519 become keys; a JWK that shows
private or symmetric material never does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ca.spiffe.encoding import JwsError, b64url_decode, b64url_encode

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
Key = TypeVar("Key")

_PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
RSA_BITS_MIN: Final = 2048
RSA_BITS_MAX: Final = 8192
_RSA_EXPONENT_MIN: Final = 3
_RSA_EXPONENT_MAX: Final = 1 << 32
_P256_BYTES: Final = 32


def jwk_to_key(jwk: Mapping[str, object]) -> PublicKey:
    """Read a public JWK: EC P-256, RSA of 2048 to 8192 bits, or Ed25519 (RFC 7517, RFC 8037).

    Raises:
        JwsError: `algorithm` for another kind of key, `malformed` for a bad or a private one.
    """
    if not _PRIVATE_MEMBERS.isdisjoint(jwk):
        raise JwsError("malformed", "a private or symmetric key where a public one belongs")
    kty, crv = jwk.get("kty"), jwk.get("crv")
    if kty == "EC" and crv == "P-256":
        return _p256_key(jwk)
    if kty == "RSA":
        return _rsa_key(jwk)
    if kty == "OKP" and crv == "Ed25519":
        return _ed25519_key(jwk)
    raise JwsError("algorithm", "a kind of key that is not supported")


def jwk_allows(jwk: Mapping[str, object], alg: str) -> bool:
    """Whether `use`, `key_ops` and `alg` of a JWK, where present, let it verify `alg`."""
    operations = jwk.get("key_ops", ["verify"])
    return (
        jwk.get("use", "sig") == "sig"
        and jwk.get("alg", alg) == alg
        and isinstance(operations, list)
        and "verify" in operations
    )


def ec_jwk(key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    """The public JWK of a P-256 key: exactly kty, crv, x, y.

    Raises:
        JwsError: `algorithm` for another curve.
    """
    if not isinstance(key.curve, ec.SECP256R1):
        raise JwsError("algorithm", "not a P-256 key")
    numbers = key.public_numbers()
    x, y = (
        b64url_encode(n.to_bytes(_P256_BYTES, "big")).decode("ascii")
        for n in (numbers.x, numbers.y)
    )
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}


def thumbprint(jwk: Mapping[str, object]) -> str:
    """The JWK thumbprint with SHA-256, base64url without padding (RFC 7638).

    Raises:
        JwsError: `malformed` when a required member is missing or not a text.
    """
    names = _REQUIRED_MEMBERS.get(str(jwk.get("kty")), ())
    members = {name: jwk.get(name) for name in names}
    if not members or not all(isinstance(value, str) for value in members.values()):
        raise JwsError("malformed", "not a complete public JWK")
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True).encode("utf-8")
    return b64url_encode(hashlib.sha256(canonical).digest()).decode("ascii")


_REQUIRED_MEMBERS: Final[Mapping[str, tuple[str, ...]]] = {
    "EC": ("crv", "kty", "x", "y"),
    "RSA": ("e", "kty", "n"),
    "OKP": ("crv", "kty", "x"),
}


def _p256_key(jwk: Mapping[str, object]) -> ec.EllipticCurvePublicKey:
    x, y = (_member(jwk, name, _P256_BYTES) for name in ("x", "y"))
    numbers = ec.EllipticCurvePublicNumbers(
        int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1()
    )
    return _built(numbers.public_key)


def _rsa_key(jwk: Mapping[str, object]) -> rsa.RSAPublicKey:
    n, e = (int.from_bytes(_member(jwk, name, None), "big") for name in ("n", "e"))
    odd = n & e & 1
    if not odd or not RSA_BITS_MIN <= n.bit_length() <= RSA_BITS_MAX:
        raise JwsError("algorithm", "an RSA key outside its bounds")
    if not _RSA_EXPONENT_MIN <= e <= _RSA_EXPONENT_MAX:
        raise JwsError("algorithm", "an RSA key outside its bounds")
    if all(n % prime in residues for prime, residues in _ROCA_RESIDUES.items()):
        raise JwsError("algorithm", "an RSA key of the ROCA kind")
    return _built(rsa.RSAPublicNumbers(e, n).public_key)


def _powers(base: int, prime: int) -> frozenset[int]:
    return frozenset(pow(base, exponent, prime) for exponent in range(prime - 1))


# CVE-2017-15361: both primes, so also the modulus, are powers of 65537 modulo small primes.
# A sound key passes for all of these with a probability below 2^-27.
_ROCA_RESIDUES: Final[Mapping[int, frozenset[int]]] = {
    prime: _powers(65537, prime)
    for prime in (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)
}


def _ed25519_key(jwk: Mapping[str, object]) -> ed25519.Ed25519PublicKey:
    x = _member(jwk, "x", 32)
    return _built(lambda: ed25519.Ed25519PublicKey.from_public_bytes(x))


def _built(build: Callable[[], Key]) -> Key:
    try:
        return build()
    except ValueError:
        raise JwsError("malformed", "not a valid public key") from None


def _member(jwk: Mapping[str, object], name: str, length_bytes: int | None) -> bytes:
    value = jwk.get(name)
    if not isinstance(value, str) or not value.isascii():
        raise JwsError("malformed", f"JWK member {name} is missing")
    raw = b64url_decode(value.encode("ascii"))
    if length_bytes is not None and len(raw) != length_bytes:
        raise JwsError("malformed", f"JWK member {name} has the wrong length")
    return raw
