"""Calls and grants for the tests of policy."""

from __future__ import annotations

import os

import pytest

from ca.spiffe.ids import SpiffeId
from policy.call import Call, Gate, Grant

os.environ.setdefault("RUST_BACKTRACE", "0")

ORDERS = SpiffeId.parse("spiffe://shop.example/ns/shop/sa/orders")
FRONTEND = SpiffeId.parse("spiffe://shop.example/ns/shop/sa/frontend")


@pytest.fixture
def call() -> Call:
    """A plain inbound GET from the front end."""
    return Call(
        gate=Gate.INBOUND,
        id="d-1",
        time_s=1_700_000_000.25,
        method="GET",
        target="/orders/7?page=2",
        path="/orders/7",
        query="page=2",
        host="orders",
        protocol="HTTP/1.1",
        fields=[(b"accept", b"*/*"), (b"x-a", b"1")],
        size=0,
        body=None,
        truncated=False,
        source=FRONTEND,
        source_address=("127.0.0.1", 4001),
        destination=ORDERS,
        destination_address=("127.0.0.1", 17106),
        workload=ORDERS,
    )


@pytest.fixture
def grant() -> Grant:
    """A grant of two atoms that came over one hop."""
    return Grant(
        txn="txn-1",
        subject="user-1",
        scope=frozenset({"orders:read", "payments:charge"}),
        requesting_workload=FRONTEND,
        issuer=FRONTEND,
        expires_at_s=1_700_000_060.0,
        hops=(FRONTEND,),
        context={"channel": "web"},
        root="SECRET-ROOT",
        chain="SECRET-CHAIN",
    )
