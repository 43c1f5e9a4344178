"""Views: built once per state, private where they must be."""

from __future__ import annotations

from typing import Any

import pytest

from ca import issuers, policies
from ca.authority import IssuerRule
from ca.policies import PolicyFiles
from ca.sections import SECTIONS, Views
from ca.spiffe.ids import SpiffeId
from ca.store import Store

_ORDERS = SpiffeId.parse("spiffe://shop.example/ns/shop/sa/orders")
_STOCK = SpiffeId.parse("spiffe://shop.example/ns/shop/sa/stock")


@pytest.fixture
def other(world: Any) -> Any:
    """A second connection, as the command line has."""
    store = Store.open(world.store.path)
    yield store
    store.close()


def test_the_same_view_until_something_changes(world: Any, other: Store) -> None:
    views = Views(world.store, world.authority, world.clock)
    first = views.current()
    assert views.current() is first
    with other.transaction() as rows:
        issuers.put(rows, IssuerRule(_ORDERS, ("https://idp",), ("a",)))
    second = views.current()
    assert second is not first
    assert second.shared["issuers"] != first.shared["issuers"]
    assert second.shared["registry"] == first.shared["registry"]


def test_the_issuer_list_is_not_signed_for_other_changes(world: Any, other: Store) -> None:
    views = Views(world.store, world.authority, world.clock)
    first = views.current().shared["issuers"]
    with other.transaction() as rows:
        policies.put(rows, None, PolicyFiles({"a.rego": "package a"}, {}), 0.0)
    assert views.current().shared["issuers"] == first


def test_pseudonyms_and_policies_are_per_workload(world: Any, other: Store) -> None:
    world.add(_STOCK.uri)
    with other.transaction() as rows:
        issuers.put(rows, IssuerRule(_ORDERS, ("https://idp",), ("a",)))
        policies.put(rows, None, PolicyFiles({"a.rego": "package a"}, {}), 0.0)
        policies.put(rows, _STOCK, PolicyFiles({"b.rego": "package b"}, {}), 0.0)
    view = Views(world.store, world.authority, world.clock).current()
    orders, stock = view.sections_for(_ORDERS), view.sections_for(_STOCK)
    assert set(orders) == set(stock) == set(SECTIONS)
    assert orders["pseudonyms"] is not None and stock["pseudonyms"] is None
    assert orders["policy"]["modules"] == {"a.rego": "package a"}  # type: ignore[index]
    assert stock["policy"]["modules"] == {"b.rego": "package b"}  # type: ignore[index]


def test_admission(world: Any, make_keys: Any) -> None:
    keys = make_keys()
    svid = world.authority.issue(
        _ORDERS, keys.tls.public_key(), keys.hop.public_key(), 60, world.clock()
    ).svid
    view = Views(world.store, world.authority, world.clock).current()
    assert view.admits(svid, world.clock())
    assert not view.admits(svid, svid.not_after_s)
    stranger = world.authority.issue(
        _STOCK, keys.tls.public_key(), keys.hop.public_key(), 60, world.clock()
    ).svid
    assert not view.admits(stranger, world.clock())
