"""Strict reading of roots and hops: one broken claim at a time, properly signed."""

from __future__ import annotations

from typing import Any

import pytest

from policy.reason import Reason
from sidecar.token.chain import digest, parse_chain
from sidecar.token.refusal import TokenRefused

ROOT_CHANGES: list[dict[str, Any]] = [
    {"iss": None},
    {"iss": "https://shop.example"},
    {"iss": "spiffe://Shop.example/ns/a"},
    {"iat": None},
    {"iat": "1"},
    {"exp": None},
    {"exp": True},
    {"exp": "1800000060"},
    {"exp": -1},
    {"aud": None},
    {"aud": ["shop.example"]},
    {"txn": ""},
    {"txn": "t" * 129},
    {"txn": "a\nb"},
    {"sub": "a\x00b"},
    {"sub": None},
    {"req_wl": None},
    {"req_wl": "spiffe://shop.example/a/../b"},
    {"tctx": "x"},
    {"tctx": None, "rctx": []},
    {"jti": ""},
    {"jti": 1},
    {"replaces": 1},
    {"header": {}},
    {"header": {"wit": 1}},
    {"header": {"wit": ""}},
]
HOP_CHANGES: list[dict[str, Any]] = [
    {"iss": None},
    {"aud": None},
    {"aud": "shop.example"},
    {"txn": None},
    {"scope": ["a  b"]},
    {"scope": ["a", "a"]},
    {"scope": [" a"]},
    {"exp": None},
    {"iat": None},
    {"prev": None},
    {"prev": "A" * 42},
    {"prev": "A" * 42 + "="},
    {"header": {}},
    {"typ": "narrowgate-hop+JWT"},
]


def malformed(root: str, hops: str) -> bool:
    with pytest.raises(TokenRefused) as caught:
        parse_chain(root, hops)
    return caught.value.reason is Reason.TOKEN_MALFORMED


def test_valid_chain_is_read(mesh: Any) -> None:
    root, hops = mesh.chain("edge", "orders", "pay")
    chain = parse_chain(root, hops)
    assert chain.root.wit == mesh.workload("edge").text
    assert [hop.prev == hop.follows for hop in chain.hops] == [True, True]
    assert chain.hops[0].prev == digest(root)


@pytest.mark.parametrize("changes", ROOT_CHANGES)
def test_broken_root_is_malformed(mesh: Any, changes: dict[str, Any]) -> None:
    root = mesh.root(**changes)
    if changes.get("tctx", 0) is None:
        root = mesh.root(rctx=[])
    assert malformed(root, mesh.hop("edge", "orders", [root]))


def test_root_without_scope_claim_is_malformed(mesh: Any) -> None:
    for broken in ("a  b", "a a", " ".join(f"s{n}" for n in range(65)), 'a"b'):
        root = mesh.root(scope=[broken])
        assert malformed(root, mesh.hop("edge", "orders", [root]))


@pytest.mark.parametrize("changes", HOP_CHANGES)
def test_broken_hop_is_malformed(mesh: Any, changes: dict[str, Any]) -> None:
    root = mesh.root()
    assert malformed(root, mesh.hop("edge", "orders", [root], **changes))


def test_authority_brings_no_wit_and_a_workload_does(mesh: Any) -> None:
    root = mesh.root(
        iss="spiffe://shop.example",
        key=mesh.authority_key,
        header={"kid": "authority-1", "wit": "x"},
    )
    assert malformed(root, mesh.hop("edge", "orders", [root]))
    root = mesh.root(header={"kid": "authority-1"})
    assert malformed(root, mesh.hop("edge", "orders", [root]))


@pytest.mark.parametrize("separator", ["~~", "~ ", ",", "~\n", ";"])
def test_hops_are_joined_by_one_tilde(mesh: Any, separator: str) -> None:
    root, hops = mesh.chain("edge", "orders", "pay")
    assert malformed(root, hops.replace("~", separator))
    assert malformed(root, hops + "~")
    assert malformed(root, "~" + hops)


def test_non_ascii_is_malformed(mesh: Any) -> None:
    root, hops = mesh.chain("edge", "orders")
    assert malformed(root + "é", hops)
    assert malformed(root, hops + "é")
