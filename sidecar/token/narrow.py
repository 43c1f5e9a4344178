"""Handing a grant on: the next hop, signed for one destination with the scope that was permitted.

Invariants: the scope handed on is a subset of what is held, or nothing is signed; a hop never
outlives the grant or the signer's WIT; a chain that a receiver would refuse for its size or depth
is refused here. A hop may be used again for the same grant texts, destination and scope while it
lives: it says nothing about a single call.
"""

from __future__ import annotations

from math import floor
from typing import Final, NamedTuple

from ca.spiffe.ids import SpiffeId
from policy.call import Gate, Grant
from policy.permit import Permit
from policy.reason import Reason
from sidecar.token.chain import (
    DEPTH_MAX,
    HOP_TYPE,
    HOPS_BYTES_MAX,
    ROOT_BYTES_MAX,
    SEPARATOR,
    digest,
)
from sidecar.token.lru import Lru
from sidecar.token.refusal import TokenRefused
from sidecar.token.scope import format_scope
from sidecar.token.signer import HopSigner

HOPS_MAX: Final = 4096


class _Handed(NamedTuple):
    """A signed hop: the two field values, and until when they are good, in epoch seconds."""

    fields: tuple[str, str]
    expires_at_s: float


class Narrower:
    """Signs hops with `signer`, which one assignment replaces; hops of the old one are dropped."""

    def __init__(self, signer: HopSigner, *, hops_max: int = HOPS_MAX) -> None:
        self._signer = signer
        self._hops: Lru[tuple[str, str, SpiffeId, frozenset[str]], _Handed] = Lru(hops_max)

    @property
    def signer(self) -> HopSigner:
        """Who signs from now on."""
        return self._signer

    @signer.setter
    def signer(self, signer: HopSigner) -> None:
        self._signer = signer
        self._hops.clear()

    def hand_on(self, permit: Permit, destination: SpiffeId, now_s: float) -> tuple[str, str]:
        """Return the texts of `Txn-Token` and `Txn-Hops` for a permitted call to `destination`.

        Raises:
            TokenRefused: INTERNAL when the permit is not for this destination at the outbound
                gate, TOKEN_MISSING without a grant, SCOPE_WIDENED, TOKEN_EXPIRED,
                CHAIN_TOO_DEEP, CHAIN_TOO_LARGE.
        """
        call, grant, scope = permit.call, permit.grant, permit.scope
        if call.gate is not Gate.OUTBOUND or call.destination != destination:
            raise TokenRefused(Reason.INTERNAL, "the permit is for something else")
        if grant is None:
            raise TokenRefused(Reason.TOKEN_MISSING, "nothing to hand on")
        if not scope <= grant.scope:
            raise TokenRefused(Reason.SCOPE_WIDENED)
        if now_s >= grant.expires_at_s:
            raise TokenRefused(Reason.TOKEN_EXPIRED, "the grant")
        key = (grant.root, grant.chain, destination, scope)
        handed = self._hops.get(key)
        if handed is None or now_s >= handed.expires_at_s:
            handed = self._sign(grant, scope, destination, now_s)
            self._hops.put(key, handed)
        return handed.fields

    def _sign(
        self, grant: Grant, scope: frozenset[str], destination: SpiffeId, now_s: float
    ) -> _Handed:
        signer = self._signer
        if len(grant.hops) >= DEPTH_MAX:
            raise TokenRefused(Reason.CHAIN_TOO_DEEP)
        # Whole seconds, rounded down, so that no reader sees a longer life than was held.
        expires_at_s = floor(min(grant.expires_at_s, signer.expires_at_s))
        if now_s >= expires_at_s:
            raise TokenRefused(Reason.TOKEN_EXPIRED, "the grant or the signer's WIT")
        before = grant.chain
        claims = {
            "iss": signer.id.uri,
            "aud": destination.uri,
            "txn": grant.txn,
            "scope": format_scope(scope),
            "iat": int(now_s),
            "exp": expires_at_s,
            "prev": digest(f"{grant.root}{SEPARATOR}{before}" if before else grant.root),
        }
        hop = signer.sign(claims, HOP_TYPE)
        hops = f"{before}{SEPARATOR}{hop}" if before else hop
        if len(grant.root) > ROOT_BYTES_MAX or len(hops) > HOPS_BYTES_MAX:
            raise TokenRefused(Reason.CHAIN_TOO_LARGE)
        return _Handed((grant.root, hops), float(expires_at_s))
