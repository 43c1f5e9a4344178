"""Handles live as long as their call, and a trace tells no more than it can."""

from __future__ import annotations

from typing import Any

import pytest

from policy.reason import Reason
from sidecar.token.correlation import Handles, combine, combine_answers, owner
from sidecar.token.refusal import TokenRefused

NOW_S = 1_800_000_000.0
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_handle_finds_its_grant_until_its_call_ends(grant: Any) -> None:
    handles, held = Handles(7), grant()
    handle = handles.open(held, trace_id=None, now_s=NOW_S)
    assert len(handle) == 34
    assert owner(handle) == 7
    assert handles.find(handle, NOW_S) is held
    handles.close(handle, NOW_S)
    assert handles.find(handle, NOW_S) is None
    assert len(handles) == 0
    handles.close(handle, NOW_S)


def test_handles_differ_and_come_from_the_injected_source(grant: Any) -> None:
    handles = Handles(0)
    assert len({handles.open(grant(), trace_id=None, now_s=NOW_S) for _ in range(50)}) == 50
    fixed = Handles(255, random=lambda count: b"\x01" * count)
    assert fixed.open(None, trace_id=None, now_s=NOW_S) == "01" * 16 + "ff"
    for broken in (fixed, Handles(0, random=lambda _: b"short")):
        with pytest.raises(TokenRefused) as caught:
            broken.open(None, trace_id=None, now_s=NOW_S)
        assert caught.value.reason is Reason.INTERNAL


def test_what_a_caller_sent_is_no_handle(grant: Any) -> None:
    handles = Handles(0)
    handles.open(grant(), trace_id=None, now_s=NOW_S)
    for sent in ("0" * 34, "", "x" * 34):
        assert handles.find(sent, NOW_S) is None


def test_linger_keeps_a_handle_that_long_and_no_longer(grant: Any) -> None:
    handles, held = Handles(0, linger_s=5), grant()
    handle = handles.open(held, trace_id=TRACE, now_s=NOW_S)
    handles.close(handle, NOW_S)
    assert handles.find(handle, NOW_S + 4.9) is held
    assert handles.by_trace(TRACE, NOW_S + 4.9) is held
    assert handles.find(handle, NOW_S + 5) is None
    assert handles.by_trace(TRACE, NOW_S + 5) is None


def test_store_is_bounded_and_recovers(grant: Any) -> None:
    handles = Handles(0, handles_max=2, linger_s=1)
    first = handles.open(grant(), trace_id=None, now_s=NOW_S)
    handles.open(grant(), trace_id=None, now_s=NOW_S)
    handles.close(first, NOW_S)
    with pytest.raises(TokenRefused) as caught:
        handles.open(grant(), trace_id=None, now_s=NOW_S)
    assert caught.value.reason is Reason.TOO_MANY
    assert handles.open(grant(), trace_id=None, now_s=NOW_S + 1)


@pytest.mark.parametrize("index", [-1, 256])
def test_worker_index_fits_in_a_handle(index: int) -> None:
    with pytest.raises(ValueError, match="one byte"):
        Handles(index)


@pytest.mark.parametrize(
    "text", ["", "0" * 33, "0" * 35, "0" * 33 + "g", "A" * 34, "0" * 33 + "\n"]
)
def test_owner_of_anything_else_is_nobody(text: str) -> None:
    assert owner(text) is None


def by_trace(*grants: Any) -> Any:
    handles = Handles(0)
    for one in grants:
        handles.open(one, trace_id=TRACE, now_s=NOW_S)
    handles.open(None, trace_id="another trace", now_s=NOW_S)
    return handles.by_trace(TRACE, NOW_S)


def test_trace_of_one_grant_is_that_grant(grant: Any) -> None:
    held = grant()
    assert by_trace(held) is held
    assert by_trace() is None


def test_trace_takes_the_smallest_that_is_inside_all_others(grant: Any) -> None:
    small, middle, large = grant(["a"]), grant(["a", "b"]), grant(["a", "b", "c"])
    assert by_trace(large, small, middle) is small


def test_trace_takes_the_intersection_where_none_is_inside_all(grant: Any) -> None:
    found = by_trace(grant(["a", "b"]), grant(["b", "c"]), grant(["b", "d", "e"]))
    assert found.scope == {"b"}
    assert by_trace(grant(["a"]), grant(["b"])).scope == frozenset()


def test_trace_that_cannot_be_told_apart_is_nothing(grant: Any) -> None:
    assert by_trace(grant(), grant(txn="txn-2")) is None
    assert by_trace(grant(), grant(subject="bob")) is None
    assert by_trace(grant(), None) is None
    assert by_trace(*[grant()] * 65) is None
    assert by_trace(*[grant()] * 64) is not None


def test_trace_forgets_calls_that_ended(grant: Any) -> None:
    handles, mine = Handles(0), grant()
    handles.open(mine, trace_id=TRACE, now_s=NOW_S)
    other = handles.open(grant(txn="txn-2"), trace_id=TRACE, now_s=NOW_S)
    assert handles.by_trace(TRACE, NOW_S) is None
    handles.close(other, NOW_S)
    assert handles.by_trace(TRACE, NOW_S) is mine


def test_answers_are_put_together(grant: Any) -> None:
    wide, narrow = grant(["a", "b"]), grant(["a"])
    assert combine([]) == ()
    assert combine_answers([(), ()]) is None
    assert combine_answers([(wide,), (), (narrow,)]) is narrow
    assert combine_answers([(wide,), None]) is None
    assert combine_answers([(wide,), (grant(txn="txn-2"),)]) is None
