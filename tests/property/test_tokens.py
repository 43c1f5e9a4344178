"""Over random chains: scope never grows, nothing outlives what precedes it, no flipped bit passes.

The chains are made by the real narrower from random permits, and forged by hand where the narrower
would refuse; every signature is real.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.call import Grant
from sidecar.token.fields import Requirement, demand
from sidecar.token.narrow import Narrower
from sidecar.token.refusal import TokenRefused
from sidecar.token.verify import Verifier

_PATH: Final = Path(__file__).parents[1] / "unit" / "sidecar" / "token" / "conftest.py"
_SPEC: Final = importlib.util.spec_from_file_location("narrowgate_mini_mesh", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
mini: Final[Any] = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(mini)

MESH: Final = mini.Mesh()
NOW_S: Final = MESH.now_s
NAMES: Final = ("edge", "orders", "pay", "stock", "ship", "mail", "audit")
TRUST: Final = MESH.trust()
SIGNERS: Final = {name: Narrower(MESH.workload(name).signer) for name in NAMES}

scopes = st.frozensets(st.sampled_from(mini.SCOPE))
steps = st.lists(st.tuples(scopes, st.sampled_from(NAMES)), min_size=1, max_size=6)


def verify(chain: Sequence[str], peer: str, me: str, now_s: float = NOW_S) -> Grant:
    return Verifier(TRUST).verify(
        chain[0], chain[1], peer=MESH.workload(peer).id, me=MESH.workload(me).id, now_s=now_s
    )


@settings(max_examples=40)
@given(root_scope=scopes, wanted=steps)
async def test_scope_only_narrows(
    root_scope: frozenset[str], wanted: list[tuple[frozenset[str], str]]
) -> None:
    root = MESH.root(scope=sorted(root_scope))
    chain: tuple[str, str] = (root, MESH.hop("edge", "orders", [root], scope=sorted(root_scope)))
    grant, here = verify(chain, "edge", "orders"), "orders"
    assert grant.scope == root_scope
    for wish, there in wanted[:5]:
        scope = wish & grant.scope
        permit = await mini.permitted(grant, MESH.workload(there).id, scope)
        chain = SIGNERS[here].hand_on(permit, MESH.workload(there).id, NOW_S)
        after = verify(chain, here, there)
        assert after.scope == scope <= grant.scope <= root_scope
        assert after.expires_at_s <= grant.expires_at_s
        assert (after.txn, after.subject) == (grant.txn, grant.subject)
        grant, here = after, there


@settings(max_examples=60)
@given(scope_list=st.lists(scopes, min_size=2, max_size=6), lives=st.data())
def test_forged_chain_passes_exactly_when_it_narrows(
    scope_list: list[frozenset[str]], lives: st.DataObject
) -> None:
    """Whatever compromised workloads sign, a grant is inside every scope and life before it."""
    ends = lives.draw(
        st.lists(st.integers(1, 60), min_size=len(scope_list), max_size=len(scope_list))
    )
    expiries = [int(NOW_S) + end for end in ends]
    texts = [MESH.root(scope=sorted(scope_list[0]), exp=expiries[0])]
    path = NAMES[: len(scope_list)]
    for index in range(1, len(scope_list)):
        texts.append(
            MESH.hop(
                path[index - 1],
                path[index],
                texts,
                scope=sorted(scope_list[index]),
                exp=expiries[index],
            )
        )
    narrows = all(
        after <= before and later <= sooner
        for before, after, sooner, later in zip(
            scope_list, scope_list[1:], expiries, expiries[1:], strict=False
        )
    )
    chain = (texts[0], "~".join(texts[1:]))
    if narrows:
        grant = verify(chain, path[-2], path[-1])
        assert grant.scope == frozenset.intersection(*scope_list)
        assert grant.expires_at_s == min(expiries)
    else:
        with pytest.raises(TokenRefused):
            verify(chain, path[-2], path[-1])


CHAIN: Final = MESH.chain("edge", "orders", "pay")


@settings(max_examples=300)
@given(data=st.data())
def test_no_flipped_bit_verifies(data: st.DataObject) -> None:
    which = data.draw(st.integers(0, 1))
    raw = bytearray(CHAIN[which].encode())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    changed = list(CHAIN)
    changed[which] = raw.decode("latin-1")
    with pytest.raises(TokenRefused):
        verify(changed, "orders", "pay")


@settings(max_examples=100)
@given(data=st.data())
def test_no_part_of_a_chain_verifies(data: st.DataObject) -> None:
    """Hops taken away, repeated or put in another order; texts cut off anywhere."""
    root, hops = CHAIN
    parts = hops.split("~")
    picked = data.draw(st.lists(st.sampled_from([root, *parts]), max_size=4))
    if picked != parts:
        with pytest.raises(TokenRefused):
            verify((root, "~".join(picked)), "orders", "pay")
    cut = data.draw(st.integers(0, len(hops) - 1))
    with pytest.raises(TokenRefused):
        verify((root, hops[:cut]), "orders", "pay")


@given(
    requirement=st.sampled_from(Requirement),
    root=st.sampled_from(["", CHAIN[0]]),
    hops=st.sampled_from(["", CHAIN[1]]),
)
def test_removing_a_token_never_adds_a_grant(
    requirement: Requirement, root: str, hops: str
) -> None:
    """Rule 6: with less than both fields there is a refusal or no grant, on every kind of route."""
    try:
        has_grant = demand(requirement, root, hops)
    except TokenRefused:
        return
    assert has_grant == bool(root and hops)
    assert has_grant is False or requirement is not Requirement.FORBIDDEN
    assert has_grant or requirement is not Requirement.REQUIRED


@given(text=st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_garbage_is_refused_and_nothing_else_is_raised(text: str) -> None:
    for chain in ((text, CHAIN[1]), (CHAIN[0], text), (text, text)):
        with pytest.raises(TokenRefused):
            verify(chain, "orders", "pay")
