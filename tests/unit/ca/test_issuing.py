"""Issuing: everything recorded or nothing issued."""

from __future__ import annotations

from typing import Any

import pytest

from ca.attest import PeerProcess, join_token
from ca.issuing import check_live
from ca.refusal import Reason, Refused
from ca.revocations import Kind, revoke, serial_text
from ca.spiffe.ids import SpiffeId

_ORDERS = SpiffeId.parse("spiffe://shop.example/ns/shop/sa/orders")
_A = "spiffe://shop.example/a"
_B = "spiffe://shop.example/b"
_PEER = PeerProcess(1, 1000, 1000)


def _token(world: Any) -> dict[str, object]:
    with world.store.transaction() as rows:
        return {"token": join_token.create(rows, _ORDERS, 600, world.clock())}


def _attest(world: Any, keys: Any) -> Any:
    return world.issuing.attest("join_token", _token(world), keys.request(), None)


def test_what_is_issued_is_recorded(world: Any, make_keys: Any) -> None:
    keys = make_keys()
    issued = _attest(world, keys)
    with world.store.snapshot() as rows:
        found = rows.execute("SELECT * FROM svids").fetchall()
    assert len(found) == 1
    serial, workload, issued_s, not_after_s, key, hop_key, jti = found[0]
    assert serial == serial_text(issued.svid.serial) and workload == _ORDERS.uri
    assert not_after_s == issued.svid.not_after_s > issued_s
    assert (key, hop_key) == keys.thumbprints() and jti == issued.wit.jti
    world.issuing.admit(issued.svid)


def test_a_signing_failure_records_nothing_and_keeps_the_token(
    world: Any, make_keys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = _token(world)

    def fail(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(world.authority, "issue", fail)
        with pytest.raises(RuntimeError):
            world.issuing.attest("join_token", evidence, make_keys().request(), None)
    with world.store.snapshot() as rows:
        assert rows.execute("SELECT count(*) FROM svids").fetchone()[0] == 0
    world.issuing.attest("join_token", evidence, make_keys().request(), None)


def test_several_fitting_workloads_need_a_name(world: Any, make_keys: Any) -> None:
    for name in (_A, _B):
        world.add(name, selectors=("unix:uid:1000",))
    with pytest.raises(Refused) as caught:
        world.issuing.attest("unix", {}, make_keys().request(), _PEER)
    assert caught.value.reason is Reason.AMBIGUOUS
    issued = world.issuing.attest("unix", {}, make_keys().request(_B), _PEER)
    assert issued.svid.id.uri == _B
    with pytest.raises(Refused) as caught:
        world.issuing.attest("unix", {}, make_keys().request(_ORDERS.uri), _PEER)
    assert caught.value.reason is Reason.OTHER_WORKLOAD


def test_unknown_attestor(world: Any, make_keys: Any) -> None:
    with pytest.raises(Refused, match="join_token, unix"):
        world.issuing.attest("magic", {}, make_keys().request(), None)


def test_an_entry_may_shorten_the_life(world: Any, make_keys: Any) -> None:
    world.add(_A, selectors=("unix:uid:1000",), svid_lifetime_s=30)
    issued = world.issuing.attest("unix", {}, make_keys().request(), _PEER)
    assert issued.svid.not_after_s <= world.clock() + 30
    assert issued.wit.expires_at_s == issued.svid.not_after_s


def test_a_revoked_key_is_not_certified(world: Any, make_keys: Any) -> None:
    for number in (0, 1):
        keys = make_keys()
        with world.store.transaction() as rows:
            revoke(rows, Kind.KEY, keys.thumbprints()[number], world.clock())
        with pytest.raises(Refused) as caught:
            _attest(world, keys)
        assert caught.value.reason is Reason.REVOKED


def test_a_serial_recorded_for_another_workload(world: Any, make_keys: Any) -> None:
    issued = _attest(world, make_keys())
    with world.store.transaction() as rows:
        rows.execute("UPDATE svids SET workload = ?", (_A,))
        with pytest.raises(Refused) as caught:
            check_live(rows, issued.svid)
    assert caught.value.reason is Reason.NOT_ISSUED


def test_records_are_swept_a_day_after_they_ran_out(world: Any, make_keys: Any) -> None:
    _attest(world, make_keys())
    world.clock.ahead_s = 27 * 3600
    _attest(world, make_keys())
    with world.store.snapshot() as rows:
        assert rows.execute("SELECT count(*) FROM svids").fetchone()[0] == 1
