"""The rules that a chain must satisfy, one function each ("Identity tokens that only narrow").

Every function looks at one rule, returns nothing, and raises `TokenRefused` with that rule's own
reason. None verifies a signature and none reads a clock. Scope atoms are opaque; a set that is not
a subset is refused, never intersected.
"""

from __future__ import annotations

import re
from typing import Final

from ca.spiffe.ids import SpiffeId
from ca.spiffe.wit import Wit
from policy.reason import Reason
from sidecar.token.chain import (
    DEPTH_MAX,
    HOPS_BYTES_MAX,
    ROOT_BYTES_MAX,
    SEPARATOR,
    Chain,
    Root,
)
from sidecar.token.issuers import Ceiling
from sidecar.token.refusal import TokenRefused
from sidecar.token.trust import Revocations

LIFETIME_SKEW_S: Final = 30.0
"""How far an edge's clock may run ahead before its roots look longer than their ceiling."""
_DIGEST: Final = re.compile(r"[A-Za-z0-9_-]{43}")


def check_presence(root: str, hops: str) -> None:
    """Rule 1: a root and at least one hop, or nothing."""
    if not root and not hops:
        raise TokenRefused(Reason.TOKEN_MISSING)
    if not root:
        raise TokenRefused(Reason.CHAIN_ROOTLESS)
    if not hops:
        raise TokenRefused(Reason.CHAIN_MISSING)


def check_bounds(root: str, hops: str) -> None:
    """Rule 5: root at most 2 KiB, hops at most 8 KiB, depth at most 6."""
    if len(root) > ROOT_BYTES_MAX or len(hops) > HOPS_BYTES_MAX:
        raise TokenRefused(Reason.CHAIN_TOO_LARGE)
    if hops.count(SEPARATOR) >= DEPTH_MAX:
        raise TokenRefused(Reason.CHAIN_TOO_DEEP)


def check_start(chain: Chain) -> None:
    """Rule 1: the first hop is signed by the workload that the root names."""
    if chain.hops[0].iss != chain.root.req_wl:
        raise TokenRefused(Reason.CHAIN_BROKEN, "the first hop is not by req_wl")


def check_links(chain: Chain) -> None:
    """Rule 1: every hop commits to the exact bytes before it."""
    for hop in chain.hops:
        if hop.prev != hop.follows:
            raise TokenRefused(Reason.CHAIN_BROKEN, "prev is not the hash of what precedes")


def check_transaction(chain: Chain) -> None:
    """Rule 1: every hop belongs to the root's transaction."""
    for hop in chain.hops:
        if hop.txn != chain.root.txn:
            raise TokenRefused(Reason.CHAIN_BROKEN, "txn differs")


def check_handover(chain: Chain) -> None:
    """Rule 1: whoever signs a hop is who the hop before was for."""
    for before, after in zip(chain.hops, chain.hops[1:], strict=False):
        if before.aud != after.iss:
            raise TokenRefused(Reason.CHAIN_BROKEN, "a hop is not by whom it was handed to")


def check_sender(sender: SpiffeId, peer: SpiffeId) -> None:
    """Rule 1: the last hop was signed by the workload at the other end of this connection."""
    if sender != peer:
        raise TokenRefused(Reason.CHAIN_SENDER)


def check_recipient(recipient: SpiffeId, me: SpiffeId) -> None:
    """Rule 1: the last hop was handed to me."""
    if recipient != me:
        raise TokenRefused(Reason.CHAIN_RECIPIENT)


def check_audience(chain: Chain) -> None:
    """The root is for the trust domain of whom it was handed to."""
    if chain.root.aud != chain.hops[-1].aud.trust_domain.name:
        raise TokenRefused(Reason.TOKEN_AUDIENCE)


def check_issuer(root: Root, ceiling: Ceiling | None) -> None:
    """Rule 2: the root's issuer is on the issuer list, and starts the hops itself."""
    if ceiling is None or ceiling.workload != root.iss:
        raise TokenRefused(Reason.TOKEN_ISSUER)
    if root.req_wl != root.iss:
        raise TokenRefused(Reason.TOKEN_ISSUER, "an edge starts the hops of its own roots")


def check_listed(listed_until_s: float, now_s: float) -> None:
    """Rule 2: the issuer list itself is alive now."""
    if now_s >= listed_until_s:
        raise TokenRefused(Reason.TOKEN_ISSUER, "the issuer list has expired")


def check_ceiling(root: Root, ceiling: Ceiling) -> None:
    """Rule 2: the root's scope is inside its issuer's ceiling; an unknown atom is outside."""
    if not root.scope <= ceiling.scope:
        raise TokenRefused(Reason.TOKEN_CEILING, "scope")


def check_lifetime(expires_at_s: float, lifetime_s_max: float, now_s: float) -> None:
    """Rule 2: the root does not live longer from now on than its issuer may let it."""
    if expires_at_s > now_s + lifetime_s_max + LIFETIME_SKEW_S:
        raise TokenRefused(Reason.TOKEN_CEILING, "lifetime")


def check_narrowing(chain: Chain) -> None:
    """Rule 2: scope is a subset at every step."""
    held = chain.root.scope
    for hop in chain.hops:
        if not hop.scope <= held:
            raise TokenRefused(Reason.CHAIN_WIDENED, "scope")
        held = hop.scope


def check_shortening(chain: Chain, wits: tuple[Wit | None, ...]) -> None:
    """Rule 3: nothing outlives what precedes it, nor the WIT it is signed under.

    `wits` are those of the root (`None` for the authority's) and of each hop.
    """
    until_s = chain.root.exp_s
    for exp_s, wit in zip([until_s, *(hop.exp_s for hop in chain.hops)], wits, strict=True):
        if exp_s > until_s or (wit is not None and exp_s > wit.expires_at_s):
            raise TokenRefused(Reason.CHAIN_WIDENED, "lifetime")
        until_s = exp_s


def check_expiry(expires_at_s: float, now_s: float) -> None:
    """Rule 3: alive now; no skew, since all clocks that count are the mesh's own."""
    if now_s >= expires_at_s:
        raise TokenRefused(Reason.TOKEN_EXPIRED)


def check_replacement(chain: Chain) -> None:
    """Rule 7: only the recipient's authority replaces a chain, and it names what it replaces."""
    root = chain.root
    if root.iss.path:
        if root.replaces:
            raise TokenRefused(Reason.TOKEN_ISSUER, "only the authority replaces a chain")
        return
    if root.iss.trust_domain != chain.hops[-1].aud.trust_domain:
        raise TokenRefused(Reason.TOKEN_ISSUER, "another trust domain's authority")
    if _DIGEST.fullmatch(root.replaces) is None:
        raise TokenRefused(Reason.TOKEN_ISSUER, "the authority's root names no chain")


def check_revocation(chain: Chain, wits: tuple[Wit | None, ...], revocations: Revocations) -> None:
    """Nothing in the chain was revoked: transaction, token, workload or hop key."""
    root = chain.root
    known = [wit for wit in wits if wit is not None]
    if (
        root.txn in revocations.transactions
        or not revocations.tokens.isdisjoint([root.jti, *(wit.jti for wit in known)])
        or not revocations.workloads.isdisjoint(
            [root.iss, root.req_wl, *(wit.id for wit in known), chain.hops[-1].aud]
        )
        or not revocations.keys.isdisjoint(wit.key_thumbprint for wit in known)
    ):
        raise TokenRefused(Reason.TOKEN_REVOKED)
