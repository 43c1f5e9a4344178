"""The snapshot cannot change, and a revocation list is read whole or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from ca.spiffe.ids import SpiffeId
from sidecar.token.trust import Revocations, RevocationsError

SECTION: dict[str, Any] = {
    "epoch": 7,
    "serials": ["0A", "ff"],
    "workloads": ["spiffe://shop.example/ns/shop/sa/orders"],
    "keys": ["k" * 43],
    "transactions": ["txn"],
    "tokens": ["jti"],
}


def test_section_is_read() -> None:
    revocations = Revocations.from_section(SECTION)
    assert revocations.epoch == 7
    assert revocations.serials == {10, 255}
    assert revocations.workloads == {SpiffeId.parse("spiffe://shop.example/ns/shop/sa/orders")}
    assert (revocations.keys, revocations.transactions) == ({"k" * 43}, {"txn"})
    assert revocations.tokens == {"jti"}


@pytest.mark.parametrize("name", list(SECTION))
def test_missing_member_is_refused(name: str) -> None:
    with pytest.raises(RevocationsError):
        Revocations.from_section({key: SECTION[key] for key in SECTION if key != name})


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": -1},
        {"epoch": True},
        {"epoch": "7"},
        {"serials": ["xyz"]},
        {"serials": ["0x1"]},
        {"serials": [1]},
        {"workloads": ["orders"]},
        {"keys": "k"},
        {"tokens": [None]},
        {"tokens": [""]},
        {"transactions": ["a\n"]},
    ],
)
def test_entry_that_cannot_be_read_refuses_the_list(changes: dict[str, Any]) -> None:
    with pytest.raises(RevocationsError):
        Revocations.from_section(SECTION | changes)


def test_snapshot_does_not_change(mesh: Any) -> None:
    bundles = {mesh.domain: mesh.bundle}
    trust = mesh.trust(bundles=bundles)
    bundles.clear()
    assert mesh.domain in trust.bundles
    with pytest.raises(AttributeError):
        trust.bundle_sequence = 2
    with pytest.raises(TypeError):
        trust.bundles[mesh.domain] = mesh.bundle
