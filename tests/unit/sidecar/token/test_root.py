"""A minted root verifies, is narrow, short, and pseudonymous."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ca.spiffe import jws
from policy.reason import Reason
from sidecar.token.external import External
from sidecar.token.narrow import Narrower
from sidecar.token.pseudonym import Pseudonyms
from sidecar.token.refusal import TokenRefused
from sidecar.token.root import RootMinter
from sidecar.token.verify import Verifier

IDP = "https://idp.example"


def external(mesh: Any, **changes: Any) -> External:
    made = External(IDP, "alice", frozenset({"pay", "unknown"}), mesh.now_s + 600, "")
    return made._replace(**changes)


@pytest.fixture
def minter(mesh: Any) -> RootMinter:
    return RootMinter(mesh.workload("edge").signer, Pseudonyms(b"k" * 32))


def claims(text: str) -> dict[str, Any]:
    return jws.parse(text, typ="txntoken+jwt", bytes_max=2048).claims


def refused(minter: RootMinter, *args: Any, **kwargs: Any) -> Reason:
    with pytest.raises(TokenRefused) as caught:
        minter.mint(*args, **kwargs)
    return caught.value.reason


def test_root_has_the_claims(mesh: Any, minter: RootMinter) -> None:
    grant = minter.mint(
        external(mesh), mesh.issuers(), mesh.now_s, context={"a": 1}, request={"ip": "x"}
    )
    found = claims(grant.root)
    edge = mesh.workload("edge").id.uri
    assert found.pop("sub") == Pseudonyms(b"k" * 32).subject(IDP, "alice")
    assert len(found.pop("txn")) == 22
    assert found == {
        "iss": edge,
        "iat": mesh.now_s,
        "exp": mesh.now_s + 60,
        "aud": "shop.example",
        "scope": "pay",
        "req_wl": edge,
        "tctx": {"a": 1},
        "rctx": {"ip": "x"},
    }
    assert "alice" not in json.dumps(claims(grant.root))


def test_grant_is_what_the_root_says(mesh: Any, minter: RootMinter) -> None:
    grant = minter.mint(external(mesh), mesh.issuers(), mesh.now_s, context={"a": 1})
    found = claims(grant.root)
    assert (grant.txn, grant.subject) == (found["txn"], found["sub"])
    assert grant.scope == {"pay"}
    assert (grant.chain, grant.hops) == ("", ())
    assert grant.context == {"a": 1}
    assert grant.expires_at_s == found["exp"]


async def test_minted_root_passes_the_next_gate(
    mesh: Any, minter: RootMinter, permit_for: Any
) -> None:
    grant = minter.mint(external(mesh), mesh.issuers(), mesh.now_s)
    orders = mesh.workload("orders").id
    permit = await permit_for(grant, orders, ["pay"])
    chain = Narrower(minter.signer).hand_on(permit, orders, mesh.now_s)
    there = Verifier(mesh.trust()).verify(
        *chain, peer=mesh.workload("edge").id, me=orders, now_s=mesh.now_s
    )
    assert (there.txn, there.scope) == (grant.txn, {"pay"})


def test_root_outlives_nothing_it_rests_on(mesh: Any, minter: RootMinter) -> None:
    until = {"expires_at_s": mesh.now_s + 5.7}
    short = minter.mint(external(mesh, **until), mesh.issuers(), mesh.now_s)
    assert short.expires_at_s == mesh.now_s + 5
    listed = minter.mint(external(mesh), mesh.issuers(lifetime_s_max=7), mesh.now_s)
    assert listed.expires_at_s == mesh.now_s + 7
    brief = RootMinter(mesh.workload("brief", life_s=9).signer, Pseudonyms(b"k" * 32))
    by_wit = brief.mint(external(mesh), mesh.issuers(edge="brief"), mesh.now_s)
    assert by_wit.expires_at_s == mesh.now_s + 9


def test_each_root_is_its_own_transaction(mesh: Any, minter: RootMinter) -> None:
    minted = {minter.mint(external(mesh), mesh.issuers(), mesh.now_s).txn for _ in range(4)}
    assert len(minted) == 4


def test_randomness_is_injected(mesh: Any) -> None:
    asked = []

    def fixed(count: int) -> bytes:
        asked.append(count)
        return b"\x00" * count

    minter = RootMinter(mesh.workload("edge").signer, Pseudonyms(b"k" * 32), random=fixed)
    assert minter.mint(external(mesh), mesh.issuers(), mesh.now_s).txn == "A" * 22
    assert asked == [16]


def test_what_is_not_listed_is_not_minted(mesh: Any, minter: RootMinter) -> None:
    issuers = mesh.issuers()
    assert refused(minter, external(mesh), None, mesh.now_s) is Reason.ISSUER_NOT_LISTED
    other = external(mesh, issuer="https://evil.example")
    assert refused(minter, other, issuers, mesh.now_s) is Reason.ISSUER_NOT_LISTED
    assert refused(minter, external(mesh), issuers, issuers.expires_at_s) is (
        Reason.ISSUER_NOT_LISTED
    )
    unlisted = RootMinter(mesh.workload("orders").signer, Pseudonyms(b"k" * 32))
    assert refused(unlisted, external(mesh), issuers, mesh.now_s) is Reason.ISSUER_NOT_LISTED
    keyless = RootMinter(mesh.workload("edge").signer, None)
    assert refused(keyless, external(mesh), issuers, mesh.now_s) is Reason.ISSUER_NOT_LISTED


def test_expired_inputs_mint_nothing(mesh: Any, minter: RootMinter) -> None:
    dead = external(mesh, expires_at_s=mesh.now_s)
    assert refused(minter, dead, mesh.issuers(), mesh.now_s) is Reason.CREDENTIAL_EXPIRED
    almost = external(mesh, expires_at_s=mesh.now_s + 0.5)
    assert refused(minter, almost, mesh.issuers(), mesh.now_s) is Reason.CREDENTIAL_EXPIRED
    brief = RootMinter(mesh.workload("brief", life_s=9).signer, Pseudonyms(b"k" * 32))
    late_s = mesh.now_s + 9
    issuers = mesh.issuers(edge="brief")
    assert refused(brief, external(mesh), issuers, late_s) is Reason.SEALED_IDENTITY


def test_root_is_bounded(mesh: Any, minter: RootMinter) -> None:
    big = {"note": "n" * 2000}
    reason = refused(minter, external(mesh), mesh.issuers(), mesh.now_s, context=big)
    assert reason is Reason.CHAIN_TOO_LARGE
