"""What is handed on verifies at the next gate, and never grows."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from ca.spiffe import jws
from policy.call import Gate, Grant
from policy.reason import Reason
from sidecar.token.narrow import Narrower
from sidecar.token.refusal import TokenRefused
from sidecar.token.verify import Verifier


def held(mesh: Any, *names: str) -> Grant:
    """The grant of the last of `names`, really verified."""
    return Verifier(mesh.trust()).verify(
        *mesh.chain(*names),
        peer=mesh.workload(names[-2]).id,
        me=mesh.workload(names[-1]).id,
        now_s=mesh.now_s,
    )


def refused(narrower: Narrower, permit: Any, to: Any, now_s: float) -> Reason:
    with pytest.raises(TokenRefused) as caught:
        narrower.hand_on(permit, to, now_s)
    return caught.value.reason


@pytest.fixture
def narrower(mesh: Any) -> Narrower:
    return Narrower(mesh.workload("orders").signer)


async def test_handed_on_chain_verifies(mesh: Any, permit_for: Any, narrower: Narrower) -> None:
    pay = mesh.workload("pay").id
    grant = held(mesh, "edge", "orders")
    permit = await permit_for(grant, pay, ["pay"])
    root, hops = narrower.hand_on(permit, pay, mesh.now_s)
    assert root == grant.root
    assert hops.startswith(grant.chain + "~")
    there = Verifier(mesh.trust()).verify(
        root, hops, peer=mesh.workload("orders").id, me=pay, now_s=mesh.now_s
    )
    assert there.scope == {"pay"}
    assert there.expires_at_s == grant.expires_at_s


async def test_no_obligation_hands_on_nothing(
    mesh: Any, permit_for: Any, narrower: Narrower
) -> None:
    pay = mesh.workload("pay").id
    permit = await permit_for(held(mesh, "edge", "orders"), pay)
    _, hops = narrower.hand_on(permit, pay, mesh.now_s)
    hop = jws.parse(hops.split("~")[-1], typ="narrowgate-hop+jwt", bytes_max=8192)
    assert hop.claims["scope"] == ""


async def test_first_hop_of_the_edge(mesh: Any, permit_for: Any, grant: Any) -> None:
    edge, orders = mesh.workload("edge"), mesh.workload("orders").id
    own = grant(root=mesh.root(), chain="", hops=())
    permit = await permit_for(own, orders, ["pay"])
    chain = Narrower(edge.signer).hand_on(permit, orders, mesh.now_s)
    assert "~" not in chain[1]
    assert Verifier(mesh.trust()).verify(*chain, peer=edge.id, me=orders, now_s=mesh.now_s)


async def test_warm_hop_is_the_same_and_is_kept_apart(
    mesh: Any, permit_for: Any, narrower: Narrower
) -> None:
    pay, stock = mesh.workload("pay").id, mesh.workload("stock").id
    grant = held(mesh, "edge", "orders")
    permit = await permit_for(grant, pay, ["pay"])
    first = narrower.hand_on(permit, pay, mesh.now_s)
    assert narrower.hand_on(permit, pay, mesh.now_s + 59) is first
    others = [
        narrower.hand_on(await permit_for(grant, stock, ["pay"]), stock, mesh.now_s),
        narrower.hand_on(await permit_for(grant, pay, []), pay, mesh.now_s),
    ]
    assert len({first, *others}) == 3


async def test_rotation_drops_the_old_signers_hops(
    mesh: Any, permit_for: Any, narrower: Narrower
) -> None:
    pay = mesh.workload("pay").id
    permit = await permit_for(held(mesh, "edge", "orders"), pay, ["pay"])
    first = narrower.hand_on(permit, pay, mesh.now_s)
    narrower.signer = mesh.workload("orders").signer
    assert narrower.hand_on(permit, pay, mesh.now_s) != first


async def test_hop_never_outlives_the_wit(mesh: Any, permit_for: Any) -> None:
    signer = mesh.workload("brief", life_s=20).signer
    pay = mesh.workload("pay").id
    permit = await permit_for(held(mesh, "edge", "brief"), pay, ["pay"])
    narrower = Narrower(signer)
    _, hops = narrower.hand_on(permit, pay, mesh.now_s)
    hop = jws.parse(hops.split("~")[-1], typ="narrowgate-hop+jwt", bytes_max=8192)
    assert hop.claims["exp"] == mesh.now_s + 20
    assert refused(narrower, permit, pay, mesh.now_s + 20) is Reason.TOKEN_EXPIRED


async def test_expired_grant_is_not_handed_on_warm_or_cold(
    mesh: Any, permit_for: Any, narrower: Narrower
) -> None:
    pay = mesh.workload("pay").id
    permit = await permit_for(held(mesh, "edge", "orders"), pay, ["pay"])
    assert refused(narrower, permit, pay, mesh.now_s + 60) is Reason.TOKEN_EXPIRED
    narrower.hand_on(permit, pay, mesh.now_s)
    assert refused(narrower, permit, pay, mesh.now_s + 60) is Reason.TOKEN_EXPIRED


async def test_scope_is_checked_again(mesh: Any, narrower: Narrower, permit_for: Any) -> None:
    """The judge would not mint such a permit; the narrower does not rely on it."""
    pay = mesh.workload("pay").id
    permit = await permit_for(held(mesh, "edge", "orders"), pay, ["pay"])

    class Wider:
        call, grant, scope = permit.call, permit.grant, frozenset({"pay", "admin"})

    assert refused(narrower, Wider(), pay, mesh.now_s) is Reason.SCOPE_WIDENED


async def test_permit_for_something_else_hands_on_nothing(
    mesh: Any, permit_for: Any, narrower: Narrower
) -> None:
    pay, stock = mesh.workload("pay").id, mesh.workload("stock").id
    grant = held(mesh, "edge", "orders")
    outbound = await permit_for(grant, pay, ["pay"])
    inbound = await permit_for(grant, pay, ["pay"], gate=Gate.INBOUND)
    assert refused(narrower, outbound, stock, mesh.now_s) is Reason.INTERNAL
    assert refused(narrower, inbound, pay, mesh.now_s) is Reason.INTERNAL
    without = await permit_for(None, pay)
    assert refused(narrower, without, pay, mesh.now_s) is Reason.TOKEN_MISSING


async def test_depth_and_size_are_refused_by_the_sender(
    mesh: Any, permit_for: Any, narrower: Narrower, grant: Any
) -> None:
    pay = mesh.workload("pay").id
    edge = mesh.workload("edge").id
    for changes, reason in (
        ({"hops": (edge,) * 6}, Reason.CHAIN_TOO_DEEP),
        ({"chain": "h" * 7500}, Reason.CHAIN_TOO_LARGE),
        ({"root": "r" * 2049}, Reason.CHAIN_TOO_LARGE),
    ):
        permit = await permit_for(grant(**changes), pay, ["pay"])
        assert refused(narrower, permit, pay, mesh.now_s) is reason


async def test_six_hops_fit(mesh: Any, permit_for: Any) -> None:
    """The whole depth is usable within the whole size, with names of this mesh's form."""
    names = ["edge", "orders", "pay", "stock", "ship", "mail", "audit"]
    root, hops = mesh.root(), ""
    me = held(mesh, "edge", "orders")
    for here, there in itertools.pairwise(names[1:]):
        to = mesh.workload(there).id
        permit = await permit_for(me, to, ["pay"])
        root, hops = Narrower(mesh.workload(here).signer).hand_on(permit, to, mesh.now_s)
        me = Verifier(mesh.trust()).verify(
            root, hops, peer=mesh.workload(here).id, me=to, now_s=mesh.now_s
        )
    assert len(me.hops) == 6
    assert me.scope == {"pay"}
