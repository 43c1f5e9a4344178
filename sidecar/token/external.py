"""External access tokens at the edge: JWTs (RFC 9068 or plain) of configured issuers.

Invariants: issuer, audience, algorithm and key are what the configuration says, never what the
token says; the token is alive now; only signature results are kept, and time, issuer and the age
of the keys are looked at on every use.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ca.spiffe.jws import (
    ALGORITHMS,
    Envelope,
    JwsError,
    json_object,
    numeric_date,
    open_envelope,
    text_claim,
    verify,
)
from policy.call import Field
from policy.reason import Reason
from sidecar.token.jwks import KeySet
from sidecar.token.lru import Lru
from sidecar.token.refusal import TokenRefused
from sidecar.token.scope import NOTHING, ScopeError, parse_scope, scope_of

TOKEN_BYTES_MAX: Final = 8192
SKEW_S: Final = 30.0
"""How far an issuer's clock may run ahead, for `nbf` and `iat` only."""
AUDIENCES_MAX: Final = 32
TOKENS_MAX: Final = 4096
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
_ID_CHARS_MAX: Final = 255


class External(NamedTuple):
    """A verified external token. `jti` is `""` when it has none."""

    issuer: str
    subject: str
    scope: frozenset[str]
    expires_at_s: float
    jti: str

    def __repr__(self) -> str:
        return f"External(issuer={self.issuer!r})"


@dataclass(frozen=True, slots=True)
class ExternalIssuer:
    """One issuer that the configuration accepts; `algorithms` is never empty."""

    issuer: str
    audience: str
    algorithms: frozenset[str]
    keys: KeySet = field(repr=False)

    def __post_init__(self) -> None:
        if not self.issuer or not self.audience:
            raise ValueError("an issuer and an audience are named")
        if not self.algorithms or not self.algorithms <= ALGORITHMS:
            raise ValueError(f"algorithms are some of {', '.join(sorted(ALGORITHMS))}")


class _Known(NamedTuple):
    """A token whose signature verified, under which generation of the issuer's keys."""

    external: External
    not_before_s: float
    generation: int
    issuer: ExternalIssuer


class Credentials:
    """Verifies external access tokens against the configured issuers."""

    def __init__(self, issuers: Iterable[ExternalIssuer], *, tokens_max: int = TOKENS_MAX) -> None:
        """Raises ValueError when an issuer is configured twice."""
        listed = list(issuers)
        self._issuers: Mapping[str, ExternalIssuer] = {one.issuer: one for one in listed}
        if len(self._issuers) != len(listed):
            raise ValueError("an issuer is configured twice")
        self._known: Lru[str, _Known] = Lru(tokens_max)

    async def verify(self, token: str, now_s: float) -> External:
        """Verify the text of a bearer token.

        Raises:
            TokenRefused: CREDENTIAL_INVALID, CREDENTIAL_EXPIRED, ISSUER_KEYS_UNAVAILABLE.
        """
        known = self._known.get(token)
        if known is not None:
            await known.issuer.keys.refresh(now_s)
        if known is None or known.generation != known.issuer.keys.generation:
            known = await self._verify(token, now_s)
            self._known.put(token, known)
        if now_s >= known.external.expires_at_s:
            raise TokenRefused(Reason.CREDENTIAL_EXPIRED)
        if now_s < known.not_before_s:
            raise TokenRefused(Reason.CREDENTIAL_INVALID, "not valid yet")
        return known.external

    async def _verify(self, token: str, now_s: float) -> _Known:
        try:
            envelope = open_envelope(token, bytes_max=TOKEN_BYTES_MAX)
            claims = json_object(envelope.payload)
            issuer = self._issuer(envelope, claims)
            known = _read(claims, issuer)
            # Dead tokens cost no key look-up and no signature check.
            if now_s >= known.external.expires_at_s:
                raise TokenRefused(Reason.CREDENTIAL_EXPIRED)
            await self._signature(envelope, issuer, now_s)
        except (JwsError, ScopeError) as error:
            raise TokenRefused(Reason.CREDENTIAL_INVALID, str(error)) from None
        return known._replace(generation=issuer.keys.generation)

    def _issuer(self, envelope: Envelope, claims: Mapping[str, object]) -> ExternalIssuer:
        typ = envelope.header.get("typ", "JWT")
        if not isinstance(typ, str) or typ.lower() not in _TYPES or not typ.isascii():
            raise JwsError("type", "not an access token")
        issuer = self._issuers.get(text_claim(claims, "iss"))
        if issuer is None:
            raise JwsError("claim", "an issuer that is not configured")
        if envelope.header.get("alg") not in issuer.algorithms:
            raise JwsError("algorithm", "an algorithm that is not configured")
        return issuer

    @staticmethod
    async def _signature(envelope: Envelope, issuer: ExternalIssuer, now_s: float) -> None:
        alg = str(envelope.header["alg"])
        kid = text_claim(envelope.header, "kid") if "kid" in envelope.header else None
        key = await issuer.keys.find(kid, alg, now_s)
        if key is None:
            raise JwsError("signature", "no key of the issuer has that kid")
        verify(envelope, key, alg)


def bearer(fields: Iterable[Field]) -> str:
    """Take the access token from `Authorization: Bearer` (RFC 6750 section 2.1).

    Raises:
        TokenRefused: CREDENTIAL_MISSING, DUPLICATE_FIELD, CREDENTIAL_INVALID.
    """
    values = [value for name, value in fields if name == b"authorization"]
    if len(values) > 1:
        raise TokenRefused(Reason.DUPLICATE_FIELD, "authorization")
    scheme, _, token = values[0].partition(b" ") if values else (b"", b"", b"")
    if scheme.lower() != b"bearer":
        raise TokenRefused(Reason.CREDENTIAL_MISSING)
    if not token.isascii() or not token.strip(b" "):
        raise TokenRefused(Reason.CREDENTIAL_INVALID, "not a token")
    return token.lstrip(b" ").decode("ascii")


def _read(claims: Mapping[str, object], issuer: ExternalIssuer) -> _Known:
    """Read the claims of a token that says it is `issuer`'s."""
    _check_audience(claims, issuer.audience)
    earliest = [numeric_date(claims, name) - SKEW_S for name in ("nbf", "iat") if name in claims]
    external = External(
        issuer=issuer.issuer,
        subject=text_claim(claims, "sub", chars_max=_ID_CHARS_MAX),
        scope=_scope(claims),
        expires_at_s=numeric_date(claims, "exp"),
        jti=text_claim(claims, "jti", chars_max=_ID_CHARS_MAX) if "jti" in claims else "",
    )
    return _Known(external, max(earliest, default=0.0), -1, issuer)


def _check_audience(claims: Mapping[str, object], audience: str) -> None:
    value = claims.get("aud")
    listed = value if isinstance(value, list) else [value]
    if len(listed) > AUDIENCES_MAX or not all(isinstance(one, str) for one in listed):
        raise JwsError("claim", "aud is not a text or a list of texts")
    if audience not in listed:
        raise JwsError("claim", "aud is another audience")


def _scope(claims: Mapping[str, object]) -> frozenset[str]:
    """`scope` (RFC 8693 section 4.2) or a list `scp`; a token without either has no scope."""
    if "scope" in claims and "scp" in claims:
        raise JwsError("claim", "both scope and scp")
    if "scp" in claims:
        atoms = claims["scp"]
        if not isinstance(atoms, list):
            raise JwsError("claim", "scp is not a list")
        return scope_of(atoms)
    return parse_scope(claims["scope"]) if "scope" in claims else NOTHING
