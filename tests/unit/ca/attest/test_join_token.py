"""Join tokens at the level of the store; races and replays over the wire are in `test_api.py`."""

from __future__ import annotations

from typing import Any

import pytest

from ca.attest import join_token
from ca.attest.join_token import JoinTokenAttestor
from ca.entries import EntryError
from ca.refusal import Reason, Refused
from ca.spiffe.ids import SpiffeId

_ORDERS = SpiffeId.parse("spiffe://shop.example/ns/shop/sa/orders")


def test_only_the_hash_is_stored(world: Any) -> None:
    with world.store.transaction() as rows:
        token = join_token.create(rows, _ORDERS, 60, 0.0)
    world.store.close()
    for path in world.state.iterdir():
        assert token.encode() not in path.read_bytes()
    assert token.startswith("ngj_") and len(token) >= 47


def test_good_once_and_in_time(world: Any) -> None:
    attestor = JoinTokenAttestor()
    with world.store.transaction() as rows:
        token = join_token.create(rows, _ORDERS, 60, 1000.0)
        late = join_token.create(rows, _ORDERS, 60, 1000.0)
        assert attestor.attest(rows, {"token": token}, None, 1059.9) == (_ORDERS,)
        with pytest.raises(Refused) as caught:
            attestor.attest(rows, {"token": token}, None, 1059.9)
        assert caught.value.reason is Reason.TOKEN_USED
        with pytest.raises(Refused) as caught:
            attestor.attest(rows, {"token": late}, None, 1060.0)
        assert caught.value.reason is Reason.TOKEN_EXPIRED


@pytest.mark.parametrize(
    "evidence", [{}, {"token": 7}, {"token": "a" * 129}, {"token": "a", "more": 1}]
)
def test_evidence_refused(world: Any, evidence: dict[str, object]) -> None:
    with pytest.raises(Refused) as caught, world.store.transaction() as rows:
        JoinTokenAttestor().attest(rows, evidence, None, 0.0)
    assert caught.value.reason is Reason.MALFORMED


def test_a_token_needs_an_entry_and_a_lifetime(world: Any) -> None:
    other = SpiffeId.parse("spiffe://shop.example/ns/shop/sa/stock")
    with world.store.transaction() as rows:
        with pytest.raises(EntryError, match="not registered"):
            join_token.create(rows, other, 60, 0.0)
        for ttl_s in (0, -1, join_token.TTL_S_MAX + 1, float("nan")):
            with pytest.raises(EntryError, match="lives"):
                join_token.create(rows, _ORDERS, ttl_s, 0.0)


def test_old_tokens_are_swept(world: Any) -> None:
    with world.store.transaction() as rows:
        join_token.create(rows, _ORDERS, 60, 0.0)
        join_token.create(rows, _ORDERS, 60, 48 * 3600.0)
        assert rows.execute("SELECT count(*) FROM join_tokens").fetchone()[0] == 1
