"""Registration entries: what is accepted, what is refused, and what a deletion takes along."""

from __future__ import annotations

from typing import Any

import pytest

from ca import entries
from ca.entries import Entry, EntryError
from ca.spiffe.ids import SpiffeId, TrustDomain

_STOCK = "spiffe://shop.example/ns/shop/sa/stock"
_DOMAIN = TrustDomain.parse("shop.example")


def _entry(**members: Any) -> Entry:
    return Entry(SpiffeId.parse(_STOCK), **members)


def test_round_trip(world: Any) -> None:
    entry = _entry(
        selectors=("unix:uid:1000", "unix:gid:0"),
        hosts=("stock", "stock.shop.svc"),
        endpoints=("127.0.0.1:17206", "[::1]:17206"),
        svid_lifetime_s=60,
    )
    with world.store.transaction() as rows:
        entries.create(rows, entry, 0.0)
        assert entries.find(rows, entry.id) == entry
        assert entries.require(rows, entry.id) == entry
        assert [one.id.uri for one in entries.every(rows)] == [
            "spiffe://shop.example/ns/shop/sa/orders",
            _STOCK,
        ]
        entries.delete(rows, entry.id)
        assert entries.find(rows, entry.id) is None
        with pytest.raises(EntryError, match="entry create"):
            entries.require(rows, entry.id)
        with pytest.raises(EntryError, match="not registered"):
            entries.delete(rows, entry.id)


@pytest.mark.parametrize(
    "members",
    [
        *(
            {"selectors": (one,)}
            for one in (
                "uid:0",
                "unix:uid:",
                "unix:uid:-1",
                "unix:uid:01",
                "unix:path:/bin/sh",
                "unix:uid:1\n",
            )
        ),
        *(
            {"hosts": (one,)}
            for one in ("Stock", "stock:80", "", "-stock", "a b", "stock.", "a" * 254, "st\u00f6ck")
        ),
        *(
            {"endpoints": (one,)}
            for one in (
                "stock:80",
                "127.0.0.1",
                "127.0.0.1:0",
                "::1:80",
                "127.0.0.1:65536",
                "[127.0.0.1]:80",
                "127.1:80",
                "127.0.0.1:\u0661",
            )
        ),
        {"hosts": ("stock", "stock")},
        {"hosts": tuple(f"h{n}" for n in range(65))},
        {"svid_lifetime_s": 4},
        {"svid_lifetime_s": 86_401},
    ],
)
def test_refused(world: Any, members: dict[str, Any]) -> None:
    with pytest.raises(EntryError), world.store.transaction() as rows:
        entries.create(rows, _entry(**members), 0.0)
    with world.store.snapshot() as rows:
        assert entries.find(rows, SpiffeId.parse(_STOCK)) is None


def test_ids_and_hosts_are_unique(world: Any) -> None:
    with world.store.transaction() as rows:
        with pytest.raises(EntryError, match="host orders already belongs"):
            entries.create(rows, _entry(hosts=("orders",)), 0.0)
        entries.create(rows, _entry(), 0.0)
        with pytest.raises(EntryError, match="already registered"):
            entries.create(rows, _entry(), 0.0)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("spiffe://bank.example/a", "speaks only for"),
        ("spiffe://shop.example", "has a path"),
        ("spiffe://shop.example/narrowgate/authority", "own"),
        ("spiffe://shop.example/narrowgate", "own"),
        ("shop.example/a", "not a SPIFFE ID"),
    ],
)
def test_ids_that_are_not_workloads_of_ours(text: str, why: str) -> None:
    with pytest.raises(EntryError, match=why):
        entries.workload_id(text, _DOMAIN)
    assert entries.workload_id(_STOCK, _DOMAIN).uri == _STOCK


def test_the_number_of_entries_is_bounded(world: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(entries, "ENTRIES_MAX", 1)
    with pytest.raises(EntryError, match="at most"), world.store.transaction() as rows:
        entries.create(rows, _entry(), 0.0)
