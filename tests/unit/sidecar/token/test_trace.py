"""traceparent strictly, tracestate with our member in front."""

from __future__ import annotations

import pytest

from sidecar.token import trace

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
HANDLE = "0123456789abcdef" * 2 + "07"


@pytest.mark.parametrize(
    "text",
    [f"00-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-00", f"cc-{TRACE}-{SPAN}-01-what-comes-later"],
)
def test_valid_traceparent(text: str) -> None:
    assert trace.trace_id(text.encode()) == TRACE


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\n",
        f"cc-{TRACE}-{SPAN}-01x",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"0-{TRACE}-{SPAN}-01",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0g",
        f"00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01",
    ],
)
def test_invalid_traceparent_is_as_if_absent(text: str) -> None:
    assert trace.trace_id(text.encode()) is None


def test_handle_has_one_form() -> None:
    assert trace.handle(HANDLE.encode()) == HANDLE
    for text in (b"", HANDLE.upper().encode(), HANDLE.encode() + b"\n", b"\xff" * 34, b"0" * 32):
        assert trace.handle(text) is None


def test_state_carries_the_handle() -> None:
    state = trace.with_handle(b"vendor=x, other=y=z", HANDLE)
    assert state == f"ng={HANDLE},vendor=x,other=y=z".encode()
    assert trace.state_handle(state) == HANDLE


def test_what_a_caller_put_under_our_key_is_removed() -> None:
    forged = f"ng={'f' * 34},a=1,ng={'e' * 34}".encode()
    assert trace.state_handle(forged) is None
    assert trace.with_handle(forged, HANDLE) == f"ng={HANDLE},a=1".encode()
    assert trace.with_handle(b"\xff", HANDLE) == f"ng={HANDLE}".encode()


def test_state_is_bounded() -> None:
    many = ",".join(f"k{number}=v" for number in range(40)).encode()
    assert trace.with_handle(many, HANDLE).count(b",") == 31
    assert len(trace.with_handle(b"a=" + b"x" * 300 + b",b=" + b"y" * 300, HANDLE)) <= 512


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"ng={HANDLE}", ""),
        (f"other=1,ng={HANDLE}", "other=1"),
        (f"ng={HANDLE}, other=ng=1", "other=ng=1"),
        ("sing=1", "sing=1"),
        ("ng", ""),
    ],
)
def test_without_our_member(before: str, after: str) -> None:
    assert trace.without_handle(before.encode()) == after.encode()
