"""The rules alone, at their exact bounds; whole chains are broken in test_verify."""

from __future__ import annotations

from typing import Any

import pytest

from policy.reason import Reason
from sidecar.token import rules
from sidecar.token.chain import parse_chain
from sidecar.token.refusal import TokenRefused


def reason(check: Any, *args: Any) -> Reason | None:
    try:
        check(*args)
    except TokenRefused as refused:
        return refused.reason
    return None


@pytest.mark.parametrize(
    ("root", "hops", "wanted"),
    [
        (2048, 8192, None),
        (2049, 1, Reason.CHAIN_TOO_LARGE),
        (1, 8193, Reason.CHAIN_TOO_LARGE),
    ],
)
def test_size_bounds(root: int, hops: int, wanted: Reason | None) -> None:
    assert reason(rules.check_bounds, "r" * root, "h" * hops) is wanted


def test_depth_bound() -> None:
    assert reason(rules.check_bounds, "r", "~".join("h" * 6)) is None
    assert reason(rules.check_bounds, "r", "~".join("h" * 7)) is Reason.CHAIN_TOO_DEEP


def test_expiry_has_no_skew() -> None:
    assert reason(rules.check_expiry, 100.0, 99.999) is None
    assert reason(rules.check_expiry, 100.0, 100.0) is Reason.TOKEN_EXPIRED


def test_lifetime_is_measured_from_now_with_its_skew() -> None:
    assert reason(rules.check_lifetime, 190.0, 60.0, 100.0) is None
    assert reason(rules.check_lifetime, 190.1, 60.0, 100.0) is Reason.TOKEN_CEILING


def test_listing_ends_with_the_list() -> None:
    assert reason(rules.check_listed, 100.0, 99.9) is None
    assert reason(rules.check_listed, 100.0, 100.0) is Reason.TOKEN_ISSUER


def test_replacement_must_be_of_the_recipients_authority(mesh: Any) -> None:
    root = mesh.authority_root("orders", iss="spiffe://other.example")
    chain = parse_chain(root, mesh.hop("orders", "pay", [root]))
    assert reason(rules.check_replacement, chain) is Reason.TOKEN_ISSUER


@pytest.mark.parametrize("replaces", ["short", "A" * 42 + "=", "A" * 44])
def test_replacement_names_a_hash(mesh: Any, replaces: str) -> None:
    root = mesh.authority_root("orders", replaces=replaces)
    chain = parse_chain(root, mesh.hop("orders", "pay", [root]))
    assert reason(rules.check_replacement, chain) is Reason.TOKEN_ISSUER
