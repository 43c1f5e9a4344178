"""Strict compact JWS (RFC 7515): one reading of every token, or a refusal.

PyJWT's algorithm objects do the cryptography; everything around them is stricter than PyJWT.

Invariants:
- A token is exactly three non-empty parts of strict base64url; header and claims are strict JSON.
- `typ` and `alg` are compared exactly with what the caller expects; the token chooses neither.
- A header that brings or points at its own key, or asks for an extension, is refused.
- Text of a token never appears in an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from ca.spiffe.encoding import (
    JwsError,
    b64url_decode,
    b64url_encode,
    json_bytes,
    json_object,
)
from ca.spiffe.jwk import (
    RSA_BITS_MIN,
    PublicKey,
    ec_jwk,
    jwk_allows,
    jwk_to_key,
    thumbprint,
)

__all__ = [
    "ALGORITHMS",
    "Envelope",
    "Jws",
    "JwsError",
    "PublicKey",
    "b64url_decode",
    "b64url_encode",
    "ec_jwk",
    "json_object",
    "jwk_allows",
    "jwk_to_key",
    "numeric_date",
    "open_envelope",
    "parse",
    "protected_header",
    "sign",
    "sign_protected",
    "text_claim",
    "thumbprint",
    "verify",
]

ALGORITHMS: Final = frozenset({"ES256", "RS256", "EdDSA"})
_HEADERS_REFUSED: Final = frozenset({"crit", "jku", "x5u", "jwk", "x5c", "b64"})
_PARTS: Final = 3  # RFC 7515 section 7.1
_DATE_MAX_S: Final = 253_402_300_799.0  # 9999-12-31T23:59:59Z
_P256_BYTES: Final = 32
_ES256_HASH: Final = ec.ECDSA(hashes.SHA256())
_ES256: Final = ECAlgorithm(ECAlgorithm.SHA256)
_RS256: Final = RSAAlgorithm(RSAAlgorithm.SHA256)
_EDDSA: Final = OKPAlgorithm()


class Envelope(NamedTuple):
    """A JWS taken apart, its payload not yet read; nothing in it is verified."""

    header: dict[str, object]
    payload: bytes
    signed: bytes
    signature: bytes


class Jws(NamedTuple):
    """A JWT taken apart; nothing in it is verified until `verify` has returned."""

    header: dict[str, object]
    claims: dict[str, object]
    signed: bytes
    signature: bytes


def open_envelope(token: str | bytes, *, bytes_max: int) -> Envelope:
    """Take a compact JWS apart without reading its payload.

    Raises:
        JwsError: `malformed`; also for every header that names a key or an extension.
    """
    if len(token) > bytes_max:
        raise JwsError("malformed", "longer than its bound")
    try:
        octets = token.encode("ascii") if isinstance(token, str) else bytes(token)
    except UnicodeEncodeError:
        raise JwsError("malformed", "not ASCII") from None
    parts = octets.split(b".", 3)
    if len(parts) != _PARTS:
        raise JwsError("malformed", "not three parts")
    header = json_object(b64url_decode(parts[0]))
    if not _HEADERS_REFUSED.isdisjoint(header):
        raise JwsError("malformed", "a header parameter that is never accepted")
    signed = octets[: len(parts[0]) + 1 + len(parts[1])]
    return Envelope(header, b64url_decode(parts[1]), signed, b64url_decode(parts[2]))


def parse(token: str | bytes, *, typ: str, bytes_max: int) -> Jws:
    """Take a compact JWT of exactly this `typ` apart; verifies nothing.

    Raises:
        JwsError: `type` when `typ` is absent or other, else `malformed`.
    """
    header, payload, signed, signature = open_envelope(token, bytes_max=bytes_max)
    if header.get("typ") != typ:
        raise JwsError("type", "not the expected typ")
    return Jws(header, json_object(payload), signed, signature)


def verify(jws: Jws | Envelope, key: PublicKey, alg: str) -> None:
    """Check the signature with a key that the caller trusts, by the algorithm of that key.

    Raises:
        JwsError: `algorithm` when the header's `alg` is not exactly `alg`, or `alg` does not go
            with the key; `signature` when the signature does not verify.
    """
    if alg not in ALGORITHMS or jws.header.get("alg") != alg:
        raise JwsError("algorithm", "not the expected alg")
    match key:
        case ec.EllipticCurvePublicKey() if alg == "ES256" and isinstance(key.curve, ec.SECP256R1):
            good = _ES256.verify(jws.signed, key, jws.signature)
        case rsa.RSAPublicKey() if alg == "RS256" and key.key_size >= RSA_BITS_MIN:
            good = _RS256.verify(jws.signed, key, jws.signature)
        case ed25519.Ed25519PublicKey() if alg == "EdDSA":
            good = _EDDSA.verify(jws.signed, key, jws.signature)
        case _:
            raise JwsError("algorithm", "the key does not go with the algorithm")
    if good is not True:
        raise JwsError("signature", "the signature does not verify")


def sign(
    claims: Mapping[str, object],
    key: ec.EllipticCurvePrivateKey,
    *,
    typ: str,
    headers: Mapping[str, object] | None = None,
) -> str:
    """Sign claims as a compact JWT with ES256 (RFC 7518 section 3.4).

    Raises:
        JwsError: `algorithm` for a key that is not P-256; `malformed` for a header that no
            reader accepts, or claims that JSON cannot carry.
    """
    return sign_protected(protected_header(typ, headers or {}), claims, key)


def protected_header(typ: str, headers: Mapping[str, object]) -> bytes:
    """The encoded ES256 header that `sign_protected` takes; for signers that re-use one header.

    Raises:
        JwsError: `malformed` for a header that no reader accepts.
    """
    if not _HEADERS_REFUSED.isdisjoint(headers) or not headers.keys().isdisjoint({"typ", "alg"}):
        raise JwsError("malformed", "a header parameter that is never accepted")
    return b64url_encode(json_bytes({"typ": typ, "alg": "ES256", **headers}))


def sign_protected(
    protected: bytes, claims: Mapping[str, object], key: ec.EllipticCurvePrivateKey
) -> str:
    """Sign claims under a header made by `protected_header`.

    Raises:
        JwsError: as `sign`.
    """
    if not isinstance(key.curve, ec.SECP256R1):
        raise JwsError("algorithm", "ES256 needs a P-256 key")
    signed = protected + b"." + b64url_encode(json_bytes(claims))
    r, s = decode_dss_signature(key.sign(signed, _ES256_HASH))
    raw = r.to_bytes(_P256_BYTES, "big") + s.to_bytes(_P256_BYTES, "big")
    return (signed + b"." + b64url_encode(raw)).decode("ascii")


def numeric_date(claims: Mapping[str, object], name: str) -> float:
    """A required NumericDate in seconds since the epoch (RFC 7519 section 2).

    Raises:
        JwsError: `claim` when absent, a bool, not a number, not finite, or outside 1970..9999.
    """
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise JwsError("claim", f"{name} is not a number")
    if not 0 <= value <= _DATE_MAX_S:
        raise JwsError("claim", f"{name} is not a date")
    return float(value)


def text_claim(claims: Mapping[str, object], name: str, *, chars_max: int = 2048) -> str:
    """A required, non-empty, printable text of at most `chars_max` characters.

    Raises:
        JwsError: `claim`.
    """
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        raise JwsError("claim", f"{name} is not a text")
    if len(value) > chars_max or not value.isprintable():
        raise JwsError("claim", f"{name} is too long or not printable")
    return value
