"""Revocations: spelling, epoch, forgetting, restoring."""

from __future__ import annotations

from typing import Any

import pytest

from ca import revocations
from ca.revocations import Kind, RevocationError, normal, serial_text

_ORDERS = "spiffe://shop.example/ns/shop/sa/orders"
_KEY = "A" * 43


@pytest.mark.parametrize("text", ["0x0AbC", "abc", "0:ab:C".replace("0:ab:C", "0a:bc"), "ABC"])
def test_one_spelling_of_a_serial(text: str) -> None:
    assert normal(Kind.SERIAL, text) == "abc" == serial_text(0xABC)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Kind.SERIAL, ""),
        (Kind.SERIAL, "0"),
        (Kind.SERIAL, "xyz"),
        (Kind.SERIAL, "a" * 41),
        (Kind.WORKLOAD, "orders"),
        (Kind.KEY, "short"),
        (Kind.KEY, "A" * 42 + "="),
        (Kind.TRANSACTION, ""),
        (Kind.TOKEN, "a b"),
        (Kind.TOKEN, "a" * 257),
    ],
)
def test_values_refused(kind: Kind, value: str) -> None:
    with pytest.raises(RevocationError):
        normal(kind, value)


def test_each_revocation_raises_the_epoch(world: Any) -> None:
    values = {
        Kind.SERIAL: "abc",
        Kind.WORKLOAD: _ORDERS,
        Kind.KEY: _KEY,
        Kind.TRANSACTION: "txn",
        Kind.TOKEN: "jti",
    }
    with world.store.transaction() as rows:
        for kind, value in values.items():
            assert revocations.revoked(rows, [(kind, value)]) is None
            revocations.revoke(rows, kind, value, 1e9)
            assert revocations.revoked(rows, [(Kind.TOKEN, "x"), (kind, value)]) is kind
        assert revocations.section(rows) == {
            "epoch": 5,
            "serials": ["abc"],
            "workloads": [_ORDERS],
            "keys": [_KEY],
            "transactions": ["txn"],
            "tokens": ["jti"],
        }
        revocations.restore(rows, Kind.SERIAL, "0xABC")
        assert revocations.revoked(rows, [(Kind.SERIAL, "abc")]) is None
        assert revocations.section(rows)["epoch"] == 6
        with pytest.raises(RevocationError, match="not revoked"):
            revocations.restore(rows, Kind.SERIAL, "abc")


def test_what_has_run_out_is_forgotten_and_the_rest_is_not(world: Any) -> None:
    with world.store.transaction() as rows:
        revocations.revoke(rows, Kind.SERIAL, "abc", 0.0)
        revocations.revoke(rows, Kind.WORKLOAD, _ORDERS, 0.0)
        revocations.revoke(rows, Kind.KEY, _KEY, 0.0)
        revocations.revoke(rows, Kind.TOKEN, "new", 24 * 3600.0)
        assert revocations.section(rows)["serials"] == ["abc"]  # a 24 h SVID may still live
        revocations.revoke(rows, Kind.TOKEN, "newer", 25 * 3600.0 + 1)
        section = revocations.section(rows)
    assert section["serials"] == [] and section["workloads"] == [_ORDERS]
    assert section["keys"] == [_KEY] and section["tokens"] == ["new", "newer"]


def test_the_list_is_bounded(world: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(revocations, "REVOCATIONS_MAX", 1)
    with world.store.transaction() as rows:
        revocations.revoke(rows, Kind.TOKEN, "one", 0.0)
        with pytest.raises(RevocationError, match="at most"):
            revocations.revoke(rows, Kind.TOKEN, "two", 0.0)
