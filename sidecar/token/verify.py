"""Verification of a received chain: root and hops become a grant, or a refusal with its reason.

Invariants: a grant leaves here only after every rule in `rules` held for these exact bytes, this
peer, this recipient and this moment. Only signature results are kept, under the bytes, the bundle
sequence and the revocation epoch (rule 4); peer, recipient, expiry, issuer list and revocations
are looked at again on every use.
"""

from __future__ import annotations

from math import inf
from typing import Final, NamedTuple

from ca.spiffe.ids import SpiffeId
from ca.spiffe.jws import Jws, JwsError, PublicKey
from ca.spiffe.jws import verify as verify_signature
from ca.spiffe.svid import SvidError
from ca.spiffe.wit import Wit, verify_wit_signature
from policy.call import Grant
from policy.reason import Reason
from sidecar.token import rules
from sidecar.token.chain import Chain, Root, parse_chain
from sidecar.token.lru import Lru
from sidecar.token.refusal import TokenRefused
from sidecar.token.trust import Trust

CHAINS_MAX: Final = 4096
WITS_MAX: Final = 1024

_Wits = tuple[Wit | None, ...]


class _Verified(NamedTuple):
    """A chain whose signatures verify, and what its use depends on."""

    chain: Chain
    wits: _Wits
    grant: Grant
    sender: SpiffeId
    recipient: SpiffeId
    trust: Trust
    lifetime_s_max: float
    listed_until_s: float


class Verifier:
    """Verifies chains against `trust`, which one assignment replaces as a whole."""

    def __init__(self, trust: Trust, *, chains_max: int = CHAINS_MAX) -> None:
        self.trust = trust
        self._chains: Lru[tuple[str, str, int, int], _Verified] = Lru(chains_max)
        self._wits: Lru[tuple[str, int], Wit] = Lru(WITS_MAX)

    def verify(self, root: str, hops: str, *, peer: SpiffeId, me: SpiffeId, now_s: float) -> Grant:
        """Verify the exact texts of `Txn-Token` and `Txn-Hops`.

        `peer` is the identity that mutual TLS proved, `me` the recipient, `now_s` epoch seconds.

        Raises:
            TokenRefused: with the reason of the rule that was broken.
        """
        trust = self.trust
        key = (root, hops, trust.bundle_sequence, trust.revocations.epoch)
        known = self._chains.get(key)
        if known is None or known.trust is not trust:
            known = self._verify(root, hops, trust, known)
            self._chains.put(key, known)
        self._check_use(known, peer, me, now_s)
        return known.grant

    @staticmethod
    def _check_use(known: _Verified, peer: SpiffeId, me: SpiffeId, now_s: float) -> None:
        """Everything that depends on who and when, for a cached chain as for a fresh one."""
        rules.check_sender(known.sender, peer)
        rules.check_recipient(known.recipient, me)
        rules.check_expiry(known.grant.expires_at_s, now_s)
        rules.check_listed(known.listed_until_s, now_s)
        rules.check_lifetime(known.chain.root.exp_s, known.lifetime_s_max, now_s)

    def _verify(self, root: str, hops: str, trust: Trust, known: _Verified | None) -> _Verified:
        if known is None:
            rules.check_presence(root, hops)
            rules.check_bounds(root, hops)
            chain = parse_chain(root, hops)
            self._check_chain(chain)
            wits = self._signatures(chain, trust)
            rules.check_shortening(chain, wits)
        else:
            chain, wits = known.chain, known.wits
        rules.check_revocation(chain, wits, trust.revocations)
        lifetime_s_max, listed_until_s = self._check_issuer(chain.root, trust)
        last = chain.hops[-1]
        return _Verified(
            chain,
            wits,
            _grant(chain, root, hops),
            last.iss,
            last.aud,
            trust,
            lifetime_s_max,
            listed_until_s,
        )

    @staticmethod
    def _check_chain(chain: Chain) -> None:
        rules.check_start(chain)
        rules.check_links(chain)
        rules.check_transaction(chain)
        rules.check_handover(chain)
        rules.check_audience(chain)
        rules.check_narrowing(chain)
        rules.check_replacement(chain)

    @staticmethod
    def _check_issuer(root: Root, trust: Trust) -> tuple[float, float]:
        """`(lifetime_s_max, listed_until_s)` of the root; the authority needs no listing."""
        if not root.iss.path:
            return inf, inf
        issuers = trust.issuers
        ceiling = issuers.ceilings.get(root.iss) if issuers is not None else None
        rules.check_issuer(root, ceiling)
        if ceiling is None or issuers is None:
            raise TokenRefused(Reason.TOKEN_ISSUER)
        rules.check_ceiling(root, ceiling)
        return ceiling.lifetime_s_max, issuers.expires_at_s

    def _signatures(self, chain: Chain, trust: Trust) -> _Wits:
        """Verify every signature; return the WITs of the root (or `None`) and of each hop."""
        wits = [self._root_signature(chain.root, trust)]
        for hop in chain.hops:
            wit = self._wit(hop.wit, hop.iss, trust)
            _check_signature(hop.jws, wit.key)
            wits.append(wit)
        return tuple(wits)

    def _root_signature(self, root: Root, trust: Trust) -> Wit | None:
        if root.wit:
            wit = self._wit(root.wit, root.iss, trust)
            _check_signature(root.jws, wit.key)
            return wit
        bundle = trust.bundles.get(root.iss.trust_domain)
        key = bundle.jwt_authorities.get(root.kid) if bundle is not None else None
        if key is None:
            raise TokenRefused(Reason.TOKEN_SIGNATURE, "no such authority key")
        _check_signature(root.jws, key)
        return None

    def _wit(self, text: str, signer: SpiffeId, trust: Trust) -> Wit:
        """The WIT, its signature verified or known, if it certifies `signer`'s key."""
        wit = self._wits.get((text, trust.bundle_sequence))
        if wit is None:
            bundle = trust.bundles.get(signer.trust_domain)
            if bundle is None:
                raise TokenRefused(Reason.TOKEN_SIGNATURE, "no bundle of that trust domain")
            try:
                wit = verify_wit_signature(text, bundle)
            except SvidError as error:
                raise TokenRefused(Reason.TOKEN_SIGNATURE, str(error)) from None
            self._wits.put((text, trust.bundle_sequence), wit)
        if wit.id != signer:
            raise TokenRefused(Reason.TOKEN_SIGNATURE, "the WIT is another workload's")
        return wit


def _check_signature(jws: Jws, key: PublicKey) -> None:
    try:
        verify_signature(jws, key, "ES256")
    except JwsError as error:
        raise TokenRefused(Reason.TOKEN_SIGNATURE, str(error)) from None


def _grant(chain: Chain, root: str, hops: str) -> Grant:
    claims, last = chain.root, chain.hops[-1]
    return Grant(
        txn=claims.txn,
        subject=claims.sub,
        scope=last.scope,
        requesting_workload=claims.req_wl,
        issuer=claims.iss,
        expires_at_s=min(claims.exp_s, *(hop.exp_s for hop in chain.hops)),
        hops=tuple(hop.iss for hop in chain.hops),
        context=claims.tctx,
        jti=claims.jti,
        root=root,
        chain=hops,
    )
