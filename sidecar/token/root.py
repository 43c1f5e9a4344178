"""Minting a root at the edge: an external caller's access token becomes a transaction token.

Invariants: a root is minted only for an external issuer that the authority's list gives to this
workload; its scope is in the external token and in the ceiling; it outlives neither the external
token, nor the ceiling's lifetime, nor the WIT it is signed under; it names nobody in clear.
Claims as in draft-ietf-oauth-transaction-tokens.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from math import floor
from typing import Final

from ca.spiffe.jws import b64url_encode
from policy.call import Grant
from policy.reason import Reason
from sidecar.token.chain import ROOT_BYTES_MAX, ROOT_TYPE
from sidecar.token.external import External
from sidecar.token.issuers import Ceiling, IssuerList
from sidecar.token.pseudonym import Pseudonyms
from sidecar.token.refusal import TokenRefused
from sidecar.token.scope import format_scope
from sidecar.token.signer import HopSigner

__all__ = ["IssuerList", "RootMinter"]

TXN_BYTES: Final = 16


class RootMinter:
    """Mints roots with `signer` and `pseudonyms`, each replaced by one assignment.

    `pseudonyms` is `None` for a workload that the authority did not make an edge: it mints nothing.
    """

    def __init__(
        self,
        signer: HopSigner,
        pseudonyms: Pseudonyms | None,
        *,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.signer = signer
        self.pseudonyms = pseudonyms
        self._random = random

    def mint(
        self,
        external: External,
        issuers: IssuerList | None,
        now_s: float,
        *,
        context: Mapping[str, object] | None = None,
        request: Mapping[str, object] | None = None,
    ) -> Grant:
        """Mint a root for a verified external token; the grant has no hops yet.

        `context` becomes `tctx` and is seen by every policy on the way; `request` becomes `rctx`.

        Raises:
            TokenRefused: ISSUER_NOT_LISTED, CREDENTIAL_EXPIRED, SEALED_IDENTITY when the own WIT
                has expired, CHAIN_TOO_LARGE.
        """
        signer, pseudonyms = self.signer, self.pseudonyms
        ceiling = _listed(external, issuers, signer, now_s)
        if pseudonyms is None:
            raise TokenRefused(Reason.ISSUER_NOT_LISTED, "no pseudonym key")
        scope = external.scope & ceiling.scope
        expires_at_s = _expiry(external, ceiling, signer, now_s)
        txn = b64url_encode(self._random(TXN_BYTES)).decode("ascii")
        subject = pseudonyms.subject(external.issuer, external.subject)
        claims: dict[str, object] = {
            "iss": signer.id.uri,
            "iat": int(now_s),
            "exp": expires_at_s,
            "aud": signer.id.trust_domain.name,
            "txn": txn,
            "sub": subject,
            "scope": format_scope(scope),
            "req_wl": signer.id.uri,
        }
        root = _signed(signer, claims, context, request)
        return Grant(
            txn=txn,
            subject=subject,
            scope=scope,
            requesting_workload=signer.id,
            issuer=signer.id,
            expires_at_s=float(expires_at_s),
            hops=(),
            context=dict(context or {}),
            root=root,
            chain="",
        )


def _signed(
    signer: HopSigner,
    claims: dict[str, object],
    context: Mapping[str, object] | None,
    request: Mapping[str, object] | None,
) -> str:
    """The root with the contexts that there are; raise TokenRefused when it is too large."""
    if context:
        claims["tctx"] = dict(context)
    if request:
        claims["rctx"] = dict(request)
    root = signer.sign(claims, ROOT_TYPE)
    if len(root) > ROOT_BYTES_MAX:
        raise TokenRefused(Reason.CHAIN_TOO_LARGE, "the root")
    return root


def _listed(
    external: External, issuers: IssuerList | None, signer: HopSigner, now_s: float
) -> Ceiling:
    """The ceiling for this workload and this external issuer; raise TokenRefused without one."""
    ceiling = issuers.ceiling(signer.id, now_s) if issuers is not None else None
    if ceiling is None:
        raise TokenRefused(Reason.ISSUER_NOT_LISTED, "this workload")
    if external.issuer not in ceiling.external_issuers:
        raise TokenRefused(Reason.ISSUER_NOT_LISTED, "the external issuer")
    return ceiling


def _expiry(external: External, ceiling: Ceiling, signer: HopSigner, now_s: float) -> int:
    """Whole seconds, rounded down; raise TokenRefused when nothing is left to live."""
    if now_s >= external.expires_at_s:
        raise TokenRefused(Reason.CREDENTIAL_EXPIRED)
    longest_s = floor(min(signer.expires_at_s, now_s + ceiling.lifetime_s_max))
    if now_s >= longest_s:
        raise TokenRefused(Reason.SEALED_IDENTITY, "the WIT has expired")
    expires_at_s = min(longest_s, floor(external.expires_at_s))
    if now_s >= expires_at_s:
        raise TokenRefused(Reason.CREDENTIAL_EXPIRED)
    return expires_at_s
