"""The issuer list."""

from __future__ import annotations

from typing import Any

import pytest

from ca import entries, issuers
from ca.authority import IssuerRule
from ca.entries import EntryError
from ca.spiffe.ids import SpiffeId

_ORDERS = SpiffeId.parse("spiffe://shop.example/ns/shop/sa/orders")
_RULE = IssuerRule(_ORDERS, ("https://idp.example",), ("pay", "read"), 60)


def test_put_replace_delete(world: Any) -> None:
    with world.store.transaction() as rows:
        issuers.put(rows, _RULE)
        assert issuers.every(rows) == [_RULE]
        more = IssuerRule(_ORDERS, ("https://idp.example",), ("read",), 30)
        issuers.put(rows, more)
        assert issuers.every(rows) == [more]
        issuers.delete(rows, _ORDERS)
        assert issuers.every(rows) == []
        with pytest.raises(EntryError, match="not on the issuer list"):
            issuers.delete(rows, _ORDERS)


def test_deleting_the_entry_takes_the_rule_along(world: Any) -> None:
    with world.store.transaction() as rows:
        issuers.put(rows, _RULE)
        entries.delete(rows, _ORDERS)
        assert issuers.every(rows) == []


@pytest.mark.parametrize(
    "rule",
    [
        IssuerRule(SpiffeId.parse("spiffe://shop.example/x"), ("https://i",), ("a",)),
        IssuerRule(_ORDERS, (), ("a",)),
        IssuerRule(_ORDERS, ("https://i",), ()),
        IssuerRule(_ORDERS, ("idp",), ("a",)),
        IssuerRule(_ORDERS, ("https://i d",), ("a",)),
        IssuerRule(_ORDERS, ("https://i", "https://i"), ("a",)),
        IssuerRule(_ORDERS, ("https://i",), ("a b",)),
        IssuerRule(_ORDERS, ("https://i",), ("a", "a")),
        IssuerRule(_ORDERS, ("https://i",), ('a"',)),
        IssuerRule(_ORDERS, ("https://i",), ("a",), 0),
        IssuerRule(_ORDERS, ("https://i",), ("a",), 3601),
    ],
)
def test_refused(world: Any, rule: IssuerRule) -> None:
    with pytest.raises(EntryError), world.store.transaction() as rows:
        issuers.put(rows, rule)
