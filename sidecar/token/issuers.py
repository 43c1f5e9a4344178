"""The issuer list: which workloads may mint roots, from whose credentials, and up to what.

The authority signs it (compact JWS, typ `narrowgate-issuers+jwt`), because a sidecar that could be
talked into another list would accept any root. Invariants: an expired list lists nobody; a workload
is listed once; a ceiling is a finite scope and a finite lifetime.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Self

from ca.spiffe.bundle import TrustBundle
from ca.spiffe.ids import SpiffeId, SpiffeIdError
from ca.spiffe.jws import JwsError, numeric_date, parse, verify
from sidecar.token.scope import ScopeError, scope_of

ISSUERS_TYPE: Final = "narrowgate-issuers+jwt"
LIST_BYTES_MAX: Final = 65536
ISSUERS_MAX: Final = 256
EXTERNAL_ISSUERS_MAX: Final = 32
LIFETIME_S_MAX: Final = 3600.0


class IssuerListError(ValueError):
    """The text is not an issuer list that the authority signed."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What one workload may mint at most; `lifetime_s_max` in seconds."""

    workload: SpiffeId
    external_issuers: frozenset[str]
    scope: frozenset[str]
    lifetime_s_max: float


@dataclass(frozen=True, slots=True)
class IssuerList:
    """The ceilings by workload; of no effect from `expires_at_s` (epoch seconds) on."""

    ceilings: Mapping[SpiffeId, Ceiling]
    expires_at_s: float

    @classmethod
    def parse(cls, text: str, bundle: TrustBundle, now_s: float) -> Self:
        """Verify and read the list with a JWT authority key of our own trust domain.

        Raises:
            IssuerListError: malformed, not signed by the authority, or expired.
        """
        try:
            jws = parse(text, typ=ISSUERS_TYPE, bytes_max=LIST_BYTES_MAX)
            kid = jws.header.get("kid")
            key = bundle.jwt_authorities.get(kid) if isinstance(kid, str) else None
            if key is None:
                raise IssuerListError("not signed by a key of the bundle")
            verify(jws, key, "ES256")
            expires_at_s = numeric_date(jws.claims, "exp")
        except JwsError as error:
            raise IssuerListError(str(error)) from None
        if now_s >= expires_at_s:
            raise IssuerListError("the list has expired")
        ceilings = [_ceiling(item) for item in _items(jws.claims.get("issuers"), ISSUERS_MAX)]
        by_workload = {ceiling.workload: ceiling for ceiling in ceilings}
        if len(by_workload) != len(ceilings):
            raise IssuerListError("a workload is listed twice")
        return cls(MappingProxyType(by_workload), expires_at_s)

    def ceiling(self, workload: SpiffeId, now_s: float) -> Ceiling | None:
        """The ceiling of `workload` while the list lives, else `None`."""
        return self.ceilings.get(workload) if now_s < self.expires_at_s else None


def _items(value: object, items_max: int) -> list[object]:
    if not isinstance(value, list) or len(value) > items_max:
        raise IssuerListError("not a bounded list")
    return value


def _ceiling(item: object) -> Ceiling:
    if not isinstance(item, dict):
        raise IssuerListError("an issuer is an object")
    workload, lifetime_s_max = item.get("workload"), item.get("lifetime_s_max")
    names = _items(item.get("external_issuers"), EXTERNAL_ISSUERS_MAX)
    external = frozenset(name for name in names if isinstance(name, str) and name.isprintable())
    if len(external) != len(names) or not isinstance(workload, str):
        raise IssuerListError("an issuer's names are different texts")
    if isinstance(lifetime_s_max, bool) or not isinstance(lifetime_s_max, int | float):
        raise IssuerListError("a lifetime is a number of seconds")
    if not 0 < lifetime_s_max <= LIFETIME_S_MAX:
        raise IssuerListError("a lifetime is outside its bounds")
    try:
        scope = scope_of(_items(item.get("scope"), ISSUERS_MAX))
        return Ceiling(SpiffeId.parse(workload), external, scope, float(lifetime_s_max))
    except (ScopeError, SpiffeIdError) as error:
        raise IssuerListError(str(error)) from None
