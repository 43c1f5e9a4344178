"""Trust bundles: the X.509 and JWT authorities of one trust domain, as a SPIFFE JWKS.

Invariants: a bundle without keys is valid and trusts nobody; an element with another `use`, a key
type that we do not verify or no certificate is ignored as the specification demands; an element
that is ours but broken refuses the whole document (SPIFFE Trust Domain and Bundle 4).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Self, cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from ca.spiffe.ids import TrustDomain
from ca.spiffe.jws import JwsError, ec_jwk, jwk_to_key

KEYS_MAX: Final = 64
_KID_CHARS_MAX: Final = 256
_SEQUENCE_MAX: Final = 2**64 - 1


class BundleError(ValueError):
    """The document is not a SPIFFE trust bundle."""


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """`jwt_authorities` maps kid to an EC P-256 key; `refresh_hint_s` is 0 when not given."""

    trust_domain: TrustDomain
    x509_authorities: tuple[x509.Certificate, ...]
    jwt_authorities: Mapping[str, ec.EllipticCurvePublicKey]
    sequence: int = 0
    refresh_hint_s: int = 0

    def __post_init__(self) -> None:
        frozen = MappingProxyType(dict(self.jwt_authorities))
        object.__setattr__(self, "jwt_authorities", frozen)

    @classmethod
    def parse(cls, trust_domain: TrustDomain, document: Mapping[str, object]) -> Self:
        """Take the decoded JSON document; raise `BundleError`."""
        certificates: list[x509.Certificate] = []
        keys: dict[str, ec.EllipticCurvePublicKey] = {}
        for jwk in _elements(document):
            match jwk.get("use"):
                case "x509-svid":
                    certificates.extend(_certificate(jwk))
                case "jwt-svid":
                    _add_jwt(keys, jwk)
                case _:
                    continue  # 4.2.2: an unknown use is ignored, and comparison is case-sensitive
        return cls(
            trust_domain,
            tuple(certificates),
            keys,
            _number(document, "spiffe_sequence"),
            _number(document, "spiffe_refresh_hint"),
        )

    def document(self) -> dict[str, object]:
        """Return the JWKS that `parse` reads."""
        keys: list[dict[str, object]] = [_x509_jwk(one) for one in self.x509_authorities]
        keys.extend(
            {"use": "jwt-svid", "kid": kid, **ec_jwk(key)}
            for kid, key in self.jwt_authorities.items()
        )
        return {
            "keys": keys,
            "spiffe_sequence": self.sequence,
            "spiffe_refresh_hint": self.refresh_hint_s,
        }

    def pem(self) -> str:
        """Return the X.509 authorities as PEM, for `ssl.SSLContext.load_verify_locations`."""
        return "".join(one.public_bytes(Encoding.PEM).decode() for one in self.x509_authorities)


def parse_jwt_bundle(document: Mapping[str, object]) -> dict[str, ec.EllipticCurvePublicKey]:
    """Read a Workload API JWT bundle, whose keys may omit `use`; raise `BundleError`."""
    keys: dict[str, ec.EllipticCurvePublicKey] = {}
    for jwk in _elements(document):
        if jwk.get("use") in (None, "jwt-svid"):
            _add_jwt(keys, jwk)
    return keys


def _elements(document: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    if not isinstance(document, Mapping):
        raise BundleError("a trust bundle is a JSON object")
    keys = document.get("keys")
    if not isinstance(keys, list):
        raise BundleError("a trust bundle has an array `keys`")
    if len(keys) > KEYS_MAX:
        raise BundleError(f"a trust bundle has at most {KEYS_MAX} keys")
    for jwk in keys:
        if not isinstance(jwk, Mapping):
            raise BundleError("every element of `keys` is an object")
        yield cast("Mapping[str, object]", jwk)


def _certificate(jwk: Mapping[str, object]) -> Iterator[x509.Certificate]:
    """Yield the one certificate of `x5c`, or nothing when there is none (X509-SVID 6.2)."""
    chain = jwk.get("x5c")
    if chain is None or chain == [] or not isinstance(jwk.get("kty"), str):
        return
    # More than one: go-spiffe refuses, the specification takes the first. We take the stricter.
    if not isinstance(chain, list) or len(chain) != 1 or not isinstance(chain[0], str):
        raise BundleError("`x5c` of an x509-svid key holds exactly one certificate")
    try:
        yield x509.load_der_x509_certificate(base64.b64decode(chain[0], validate=True))
    except (ValueError, binascii.Error) as error:
        raise BundleError("`x5c` does not hold a certificate") from error


def _add_jwt(keys: dict[str, ec.EllipticCurvePublicKey], jwk: Mapping[str, object]) -> None:
    kid = jwk.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= _KID_CHARS_MAX:
        raise BundleError("every JWT authority has a `kid` (JWT-SVID 6.1)")
    if jwk.get("kty") != "EC" or jwk.get("crv") != "P-256":
        return  # no other algorithm is ever verified with an authority key
    if kid in keys:
        raise BundleError("two JWT authorities share one `kid`")
    try:
        key = jwk_to_key(jwk)
    except JwsError as error:
        raise BundleError("a JWT authority is not a valid key") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise BundleError("a JWT authority is not an EC key")
    keys[kid] = key


def _number(document: Mapping[str, object], name: str) -> int:
    value = document.get(name, 0)
    if type(value) is not int or not 0 <= value <= _SEQUENCE_MAX:
        raise BundleError(f"`{name}` is an integer that is not negative")
    return value


def _x509_jwk(certificate: x509.Certificate) -> dict[str, object]:
    key = certificate.public_key()
    x5c = [base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()]
    if isinstance(key, ec.EllipticCurvePublicKey):
        size = (key.curve.key_size + 7) // 8
        point = key.public_numbers()
        names = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
        members = {
            "kty": "EC",
            "crv": names.get(key.curve.name, key.curve.name),
            "x": _base64url(point.x, size),
            "y": _base64url(point.y, size),
        }
    elif isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        members = {
            "kty": "RSA",
            "n": _base64url(numbers.n, (numbers.n.bit_length() + 7) // 8),
            "e": _base64url(numbers.e, (numbers.e.bit_length() + 7) // 8),
        }
    else:
        raise BundleError("an X.509 authority has an EC or RSA key")
    return {"use": "x509-svid", **members, "x5c": x5c}


def _base64url(number: int, size: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(size, "big")).rstrip(b"=").decode()
