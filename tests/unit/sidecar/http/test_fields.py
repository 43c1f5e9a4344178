"""Field sections: syntax, framing, and what Connection may and may not strip."""

from __future__ import annotations

import pytest

from policy.reason import Reason
from sidecar.http.fields import (
    connection_options,
    read_fields,
    read_framing,
    upgrade_offer,
    without_listed,
)
from sidecar.http.grammar import REQUEST_NAMES
from sidecar.http.head import Framing, Limits, Refused


def refusal(lines: list[bytes], limits: Limits | None = None) -> Reason:
    with pytest.raises(Refused) as caught:
        read_fields(lines, REQUEST_NAMES, limits or Limits())
    return caught.value.reason


def test_fields_are_folded_trimmed_and_sorted_out() -> None:
    """RFC 9112 section 5, RFC 9110 section 5.5."""
    lines = [b"Host: a", b"X-A:\t b c \t", b"x-empty:", b"Keep-Alive: 5", b"X-A: again", b"X-B::"]
    fields, marks = read_fields(lines, REQUEST_NAMES, Limits())
    assert fields == [(b"x-a", b"b c"), (b"x-empty", b""), (b"x-a", b"again"), (b"x-b", b":")]
    assert marks == {b"host": b"a", b"keep-alive": b"5"}


def test_list_fields_are_joined() -> None:
    """RFC 9110 section 5.3."""
    _, marks = read_fields([b"Connection: a", b"CONNECTION: b"], REQUEST_NAMES, Limits())
    assert marks == {b"connection": b"a,b"}


@pytest.mark.parametrize(
    "line",
    [b"X : y", b" X: y", b"\tX: y", b": y", b"", b"X", b"Accept", b"Host", b"X Y: z", b"\xefoo: b"],
)
def test_what_is_not_a_field_is_refused(line: bytes) -> None:
    """RFC 9112 section 5.1 and 5.2 (no obs-fold)."""
    assert refusal([b"Host: a", line]) is Reason.MALFORMED


@pytest.mark.parametrize(
    "name",
    [
        b"host", b"authorization", b"txn-token", b"txn-hops", b"content-length", b"content-type",
        b"transfer-encoding", b"x-request-id", b"idempotency-key", b"expect",
    ],
)  # fmt: skip
def test_single_fields_come_once(name: bytes) -> None:
    """Even twice the same is refused: RFC 9112 section 3.2 (Host), 6.3 (Content-Length)."""
    assert refusal([name + b": 1", name.title() + b": 1"]) is Reason.DUPLICATE_FIELD


def test_the_number_of_fields_is_bounded() -> None:
    lines = [b"a: b"] * 3
    read_fields(lines, REQUEST_NAMES, Limits(fields_max=3))
    assert refusal(lines, Limits(fields_max=2)) is Reason.HEAD_TOO_LARGE


@pytest.mark.parametrize(
    ("marks", "minor", "framing", "length"),
    [
        ({}, 1, Framing.NONE, 0),
        ({b"content-length": b"0"}, 1, Framing.LENGTH, 0),
        ({b"content-length": b"007"}, 0, Framing.LENGTH, 7),
        ({b"content-length": b"9223372036854775807"}, 1, Framing.LENGTH, 2**63 - 1),
        ({b"transfer-encoding": b"chunked"}, 1, Framing.CHUNKED, 0),
        ({b"transfer-encoding": b"ChUnKeD"}, 1, Framing.CHUNKED, 0),
    ],
)
def test_framing(marks: dict[bytes, bytes], minor: int, framing: Framing, length: int) -> None:
    """RFC 9112 section 6.3."""
    assert read_framing(marks, minor) == (framing, length)


@pytest.mark.parametrize(
    "length",
    [
        b"", b"-1", b"+1", b"5_0", b"5.0", b"5Z", b"5, 5", b"5,5", b"0x5", b"\xb25", b"5 5",
        b"9223372036854775808", b"99999999999999999999",
    ],
)  # fmt: skip
def test_bad_lengths_are_refused(length: bytes) -> None:
    """RFC 9112 section 6.3, item 5."""
    with pytest.raises(Refused) as caught:
        read_framing({b"content-length": length}, 1)
    assert caught.value.reason is Reason.MALFORMED


@pytest.mark.parametrize(
    ("coding", "reason"),
    [
        (b"gzip", Reason.CODING_REFUSED),
        (b"x-chunked", Reason.CODING_REFUSED),
        (b"gzip, chunked", Reason.CODING_REFUSED),
        (b"identity", Reason.CODING_REFUSED),
        (b"chunked, gzip", Reason.MALFORMED),
        (b"chunked, chunked", Reason.MALFORMED),
        (b",chunked", Reason.MALFORMED),
        (b"chunked;a=b", Reason.MALFORMED),
        (b"", Reason.MALFORMED),
        (b"\x0bchunked", Reason.MALFORMED),
    ],
)
def test_other_codings_are_refused(coding: bytes, reason: Reason) -> None:
    """RFC 9112 section 6.1 (unknown: 501) and 6.3 item 4 (chunked not final: 400)."""
    with pytest.raises(Refused) as caught:
        read_framing({b"transfer-encoding": coding}, 1)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("marks", "minor"),
    [
        ({b"transfer-encoding": b"chunked", b"content-length": b"5"}, 1),
        ({b"transfer-encoding": b"chunked"}, 0),
    ],
)
def test_contradictory_framing_is_refused(marks: dict[bytes, bytes], minor: int) -> None:
    """RFC 9112 section 6.1."""
    with pytest.raises(Refused) as caught:
        read_framing(marks, minor)
    assert caught.value.reason is Reason.MALFORMED


def test_connection_options() -> None:
    """RFC 9110 section 7.6.1."""
    assert connection_options({}) == frozenset()
    assert connection_options({b"connection": b"Close,, X-A ,"}) == {b"close", b"x-a"}


@pytest.mark.parametrize(
    "value", [b"a b", b"a;b", b"host", b"close, Content-Length", b"transfer-encoding", b"\xff"]
)
def test_bad_connection_options_are_refused(value: bytes) -> None:
    with pytest.raises(Refused):
        connection_options({b"connection": value})


def test_listed_fields_are_removed() -> None:
    fields = [(b"x-a", b"1"), (b"x-b", b"2"), (b"x-a", b"3")]
    assert without_listed(fields, frozenset({b"x-a"})) == [(b"x-b", b"2")]


@pytest.mark.parametrize(
    "name", [b"authorization", b"txn-token", b"txn-hops", b"x-forwarded-client-cert", b"cookie"]
)
def test_end_to_end_fields_cannot_be_stripped(name: bytes) -> None:
    """Listed and sent: refused. Listed only: there is nothing to strip, so it says nothing."""
    with pytest.raises(Refused) as caught:
        without_listed([(name, b"1")], frozenset({name}))
    assert caught.value.reason is Reason.MALFORMED
    assert without_listed([(b"a", b"1")], frozenset({name})) == [(b"a", b"1")]


@pytest.mark.parametrize(
    ("connection", "upgrade", "offer"),
    [
        (b"upgrade", b"WebSocket", b"websocket"),
        (b"upgrade", b"h2c", b""),
        (b"upgrade", b"h2c, websocket", b"websocket"),
        (b"keep-alive", b"websocket", b""),
        (b"upgrade", b"", b""),
    ],
)
def test_upgrade_counts_only_when_connection_lists_it(
    connection: bytes, upgrade: bytes, offer: bytes
) -> None:
    """RFC 9110 section 7.8; RFC 9113 section 3.1 ends h2c."""
    marks = {b"connection": connection, b"upgrade": upgrade}
    assert upgrade_offer(marks, connection_options(marks)) == offer
    assert upgrade_offer({b"connection": connection}, connection_options(marks)) == b""
