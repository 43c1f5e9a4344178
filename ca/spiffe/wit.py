"""WIT-SVIDs: the authority's statement that a hop key belongs to a workload.

A WIT is a compact JWS of type `wit+jwt`, signed ES256 by a JWT authority of the trust domain
(header `kid`), with `iss` = `spiffe://<td>`, `sub`, `iat`, `exp`, `jti` and `cnf.jwk` (RFC 7800).
Invariants: signature, type, names and key are checked before a `Wit` exists; only the time may be
left for later, and only by the function whose name says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec

from ca.spiffe import jws
from ca.spiffe.bundle import TrustBundle
from ca.spiffe.ids import SpiffeId, SpiffeIdError
from ca.spiffe.svid import SvidError

TYPE: Final = "wit+jwt"
WIT_BYTES_MAX: Final = 4096
_JTI_CHARS_MAX: Final = 128
_CLOCK_SKEW_S: Final = 60.0


class Wit(NamedTuple):
    """`key` signs hops as `id` until `expires_at_s`; `key_thumbprint` is RFC 7638."""

    id: SpiffeId
    key: ec.EllipticCurvePublicKey
    expires_at_s: float
    token: str
    key_thumbprint: str
    jti: str

    def __repr__(self) -> str:
        return f"Wit({self.id.uri!r}, expires_at_s={self.expires_at_s})"


def verify_wit(token: str, bundle: TrustBundle, now_s: float) -> Wit:
    """Verify everything, the time included; raise `SvidError`."""
    wit, issued_at_s = _verify(token, bundle)
    if wit.expires_at_s <= now_s:
        raise SvidError("the WIT has expired")
    if issued_at_s > now_s + _CLOCK_SKEW_S:
        raise SvidError("the WIT was issued in the future")
    return wit


def verify_wit_signature(token: str, bundle: TrustBundle) -> Wit:
    """Verify everything but the time, so that the result may be cached; raise `SvidError`.

    The caller compares `expires_at_s` with now on every use.
    """
    return _verify(token, bundle)[0]


def _verify(token: str, bundle: TrustBundle) -> tuple[Wit, float]:
    try:
        parsed = jws.parse(token, typ=TYPE, bytes_max=WIT_BYTES_MAX)
        jws.verify(parsed, _authority(parsed.header, bundle), "ES256")
        claims = parsed.claims
        expires_at_s = jws.numeric_date(claims, "exp")
        issued_at_s = jws.numeric_date(claims, "iat")
        jti = jws.text_claim(claims, "jti", chars_max=_JTI_CHARS_MAX)
        jwk = _confirmation(claims)
        key = jws.jwk_to_key(jwk)
        thumbprint = jws.thumbprint(jwk)
    except jws.JwsError as error:
        raise SvidError(f"the WIT is refused: {error.kind}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise SvidError("the WIT's key is not an EC P-256 key")
    if issued_at_s >= expires_at_s:
        raise SvidError("the WIT expires before it was issued")
    name = _subject(claims, bundle)
    return Wit(name, key, expires_at_s, token, thumbprint, jti), issued_at_s


def _authority(header: Mapping[str, object], bundle: TrustBundle) -> ec.EllipticCurvePublicKey:
    kid = header.get("kid")
    key = bundle.jwt_authorities.get(kid) if isinstance(kid, str) else None
    if key is None:
        raise SvidError("no JWT authority of the bundle signed this WIT")
    return key


def _confirmation(claims: Mapping[str, object]) -> Mapping[str, object]:
    confirmation = claims.get("cnf")
    if not isinstance(confirmation, dict) or set(confirmation) != {"jwk"}:
        raise SvidError("the WIT's `cnf` holds exactly a `jwk`")
    jwk = confirmation["jwk"]
    if not isinstance(jwk, dict) or jwk.get("kty") != "EC" or "d" in jwk:
        raise SvidError("the WIT's key is not a public EC key")
    return jwk


def _subject(claims: Mapping[str, object], bundle: TrustBundle) -> SpiffeId:
    subject = claims.get("sub")
    if not isinstance(subject, str):
        raise SvidError("the WIT has no subject")
    try:
        name = SpiffeId.parse(subject)
    except SpiffeIdError as error:
        raise SvidError("the WIT's subject is not a SPIFFE ID") from error
    if not name.path or name.trust_domain != bundle.trust_domain:
        raise SvidError("the WIT's subject is not a workload of the bundle's trust domain")
    if claims.get("iss") != f"spiffe://{bundle.trust_domain.name}":
        raise SvidError("the WIT's issuer is not the bundle's trust domain")
    return name
