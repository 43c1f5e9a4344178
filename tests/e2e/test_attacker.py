"""The attacker's tools against the real authority and the real verifier, without any sidecar.

A demo that shows refusals proves something only if the attacker is good: the same tools must make
chains that verify, and each abuse must fail for its own reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from ca.spiffe.bundle import TrustBundle
from ca.spiffe.ids import SpiffeId, TrustDomain
from examples.commerce.attacker import Identity, Loot, Trap
from examples.commerce.client import plain, post
from examples.commerce.mesh import INTRUDER, Mesh
from examples.commerce.topology import FULL_SCOPE, TRUST_DOMAIN, free_ports, spiffe_id
from policy.call import Grant
from sidecar.token.issuers import Ceiling, IssuerList
from sidecar.token.refusal import TokenRefused
from sidecar.token.trust import Revocations, Trust
from sidecar.token.verify import Verifier

LEDGER = spiffe_id("ledger")


class Court:
    """The verifier of the ledger, with a storefront that is on the issuer list."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        domain = TrustDomain.parse(TRUST_DOMAIN)
        self.bundle = TrustBundle.parse(domain, mesh.bundle_document)
        self.storefront = SpiffeId.parse(spiffe_id("storefront"))
        ceiling = Ceiling(self.storefront, frozenset(), frozenset(FULL_SCOPE), 300.0)
        issuers = IssuerList({self.storefront: ceiling}, time.time() + 300)
        self.verifier = Verifier(Trust({domain: self.bundle}, 1, issuers, Revocations()))

    def identity(self, name: str) -> Identity:
        return self.mesh.identity(name)

    def caught(self) -> Loot:
        """A chain as it arrives at payments."""
        storefront, orders = self.identity("storefront"), self.identity("orders")
        root = storefront.make_root(FULL_SCOPE)
        first = storefront.hand_on(root, orders.id, scope=FULL_SCOPE[1:])
        return orders.hand_on(first, spiffe_id("payments"), scope=FULL_SCOPE[2:4])

    def judge(self, loot: Loot, peer: str) -> Grant | str:
        """The ledger's verdict on a chain that `peer` presents."""
        try:
            return self.verifier.verify(
                loot.root,
                loot.hops,
                peer=SpiffeId.parse(spiffe_id(peer)),
                me=SpiffeId.parse(LEDGER),
                now_s=time.time(),
            )
        except TokenRefused as refused:
            return refused.reason.label


@pytest.fixture(scope="module")
def court() -> Iterator[Court]:
    mesh = Mesh(lambda text: None)
    with mesh.authority_only():
        yield Court(mesh)


def test_an_honest_chain_is_a_grant(court: Court) -> None:
    loot = court.identity("payments").hand_on(court.caught(), LEDGER, scope=["ledger:append"])
    grant = court.judge(loot, "payments")
    assert isinstance(grant, Grant)
    assert grant.scope == {"ledger:append"}
    expected = [spiffe_id(name) for name in ("storefront", "orders", "payments")]
    assert [hop.uri for hop in grant.hops] == expected


ABUSES: dict[str, tuple[str, str, Callable[[Court], Loot]]] = {
    "passed along": ("chain_sender", "payments", lambda court: court.caught()),
    "by another": (
        "chain_broken",
        INTRUDER,
        lambda court: court.identity(INTRUDER).hand_on(court.caught(), LEDGER),
    ),
    "in another's name": (
        "token_signature",
        INTRUDER,
        lambda court: court.identity(INTRUDER).hand_on(
            court.caught(), LEDGER, claims={"iss": spiffe_id("payments")}
        ),
    ),
    "cut off": ("chain_missing", "payments", lambda court: Loot(court.caught().root, "")),
    "left out": (
        "chain_broken",
        "payments",
        lambda court: court.identity("payments").hand_on(court.caught().first_hops(1), LEDGER),
    ),
    "spliced": (
        "chain_broken",
        "payments",
        lambda court: court.identity("payments").hand_on(
            Loot(court.caught().root, court.caught().hops), LEDGER
        ),
    ),
    "for someone else": (
        "chain_recipient",
        "payments",
        lambda court: court.identity("payments").hand_on(
            court.caught(), spiffe_id("notifications")
        ),
    ),
    "self-made": (
        "token_issuer",
        "payments",
        lambda court: court.identity("payments").hand_on(
            court.identity("payments").make_root(FULL_SCOPE), LEDGER, scope=["ledger:append"]
        ),
    ),
    "widened": (
        "chain_widened",
        "payments",
        lambda court: court.identity("payments").hand_on(
            court.caught(), LEDGER, scope=["ledger:append", "orders:write"]
        ),
    ),
    "stretched": (
        "chain_widened",
        "payments",
        lambda court: court.identity("payments").hand_on(
            court.caught(), LEDGER, claims={"exp": time.time() + 200}
        ),
    ),
    "expired": (
        "token_expired",
        "payments",
        lambda court: court.identity("payments").hand_on(
            court.caught(), LEDGER, claims={"exp": time.time() - 1}
        ),
    ),
}


@pytest.mark.parametrize("name", ABUSES)
def test_an_abuse_fails_for_its_own_reason(court: Court, name: str) -> None:
    reason, peer, make = ABUSES[name]
    assert court.judge(make(court), peer) == reason


def test_the_trap_speaks_mutual_tls_and_keeps_what_it_is_given(court: Court) -> None:
    payments, orders = court.identity("payments"), court.identity("orders")
    (port,) = free_ports(1)
    loot = court.caught()
    with Trap(payments, port) as trap:
        answer = orders.call(port, post("/charges", {"order": "1"}), loot)
        assert answer.status == 201
        assert trap.loot == [loot]
        assert plain(port, post("/charges", {})).status == 0
        assert trap.loot == [loot]


def test_nothing_secret_is_shown(court: Court) -> None:
    identity = court.identity("payments")
    assert "BEGIN" not in repr(identity)
    assert identity.wit not in repr(identity)


def test_a_join_token_attests_once(court: Court) -> None:
    with pytest.raises(RuntimeError, match="attestation failed"):
        court.mesh.attest_with("not a token")
    token = court.mesh.join_token("payments")
    assert court.mesh.attest_with(token).id == spiffe_id("payments")
    with pytest.raises(RuntimeError, match="attestation failed"):
        court.mesh.attest_with(token)
