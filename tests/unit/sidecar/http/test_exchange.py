"""The response of one exchange as bytes: framed exactly once, for the client that asked."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.http.exchange import GATHER_BYTES_MAX, Exchange
from sidecar.http.head import Framing, Limits, RequestHead, ResponseHead
from sidecar.http.stream import Connection, Reset
from sidecar.net.deadlines import Deadlines
from sidecar.net.link import Link

FACTS = Connection(None, ("127.0.0.1", 1), ("127.0.0.1", 2), secure=False)


class Wire(Link):
    """A link without a socket that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__(Deadlines(), None, server_side=True)
        self.writes: list[bytes] = []
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def abort(self) -> None:
        self.aborted = self.closed = True

    def resume(self) -> None:
        pass

    @property
    def out(self) -> bytes:
        return b"".join(self.writes)


def exchange(
    method: str = "GET",
    *,
    minor: int = 1,
    framing: Framing = Framing.NONE,
    draining: bool = False,
    **head: bool,
) -> tuple[Exchange, Wire]:
    wire = Wire()
    asked = RequestHead(method, b"/", "/", "", "a", [], framing, 5, minor, minor == 1)
    for name, value in head.items():
        setattr(asked, name, value)
    return Exchange(wire, asked, FACTS, Limits(), draining=draining), wire


def ok(framing: Framing, length: int = -1) -> ResponseHead:
    return ResponseHead(200, b"OK", [], framing, length)


@pytest.mark.parametrize(
    ("minor", "framing", "expected"),
    [
        (1, Framing.LENGTH, b"content-length: 2\r\n\r\nhi"),
        (1, Framing.CHUNKED, b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-t: 1\r\n\r\n"),
        (1, Framing.CLOSE, b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-t: 1\r\n\r\n"),
        (0, Framing.LENGTH, b"content-length: 2\r\nconnection: close\r\n\r\nhi"),
        (0, Framing.CHUNKED, b"connection: close\r\n\r\nhi"),
        (0, Framing.CLOSE, b"connection: close\r\n\r\nhi"),
    ],
)
def test_framing_for_the_client(minor: int, framing: Framing, expected: bytes) -> None:
    made, wire = exchange(minor=minor)
    made.start(ok(framing, 2))
    made.write(b"hi")
    made.finish([(b"x-t", b"1")])
    assert wire.out == b"HTTP/1.1 200 OK\r\n" + expected
    assert len(wire.writes) == 1
    assert made.sent_bytes == 2
    assert made.reusable == (minor == 1)


@pytest.mark.parametrize("framing", [Framing.LENGTH, Framing.CHUNKED, Framing.CLOSE])
def test_no_body_follows_an_answer_to_head(framing: Framing) -> None:
    made, wire = exchange("HEAD")
    made.start(ok(framing, 7))
    made.write(b"1234567")
    made.finish([])
    assert wire.out.endswith(b"\r\n\r\n")
    assert made.reusable
    assert made.sent_bytes == 0


@pytest.mark.parametrize("status", [204, 304])
def test_no_body_follows_these(status: int) -> None:
    made, wire = exchange()
    made.start(ResponseHead(status, b"X", [], Framing.CHUNKED))
    made.write(b"never")
    made.finish([])
    assert b"never" not in wire.out
    assert b"chunked" not in wire.out


def test_a_body_is_as_long_as_its_head_says() -> None:
    made, wire = exchange()
    made.start(ok(Framing.LENGTH, 3))
    with pytest.raises(RuntimeError):
        made.finish([])
    with pytest.raises(RuntimeError):
        made.write(b"four")
    made.conclude()
    assert wire.aborted
    assert not made.reusable


def test_a_response_begins_once_and_before_it_ends() -> None:
    made, wire = exchange()
    with pytest.raises(RuntimeError):
        made.finish([])
    made.start(ok(Framing.LENGTH, 0))
    with pytest.raises(RuntimeError):
        made.start(ok(Framing.LENGTH, 0))
    made.finish([])
    made.conclude()
    assert not wire.aborted


def test_an_empty_piece_does_not_end_a_chunked_body() -> None:
    made, wire = exchange()
    made.start(ok(Framing.CHUNKED))
    made.write(b"")
    made.write(b"x")
    made.flush()
    assert b"\r\n0\r\n" not in wire.out
    made.flush()
    made.finish([])
    assert wire.out.endswith(b"\r\n\r\n1\r\nx\r\n0\r\n\r\n")


def test_what_is_gathered_is_bounded() -> None:
    made, wire = exchange()
    made.start(ok(Framing.CHUNKED))
    for _ in range(100):
        made.write(b"x" * 10_000)
        assert len(made._out) <= GATHER_BYTES_MAX + 10_000
    assert len(wire.writes) > 10


@pytest.mark.parametrize(
    ("head", "draining"), [({"keep_alive": False}, False), ({}, True), ({}, False)]
)
def test_keep_alive(head: dict[str, bool], draining: bool) -> None:
    made, wire = exchange(draining=draining, **head)  # type: ignore[arg-type]
    made.start(ok(Framing.LENGTH, 0))
    made.finish([])
    keep = not head and not draining
    assert made.reusable is keep
    assert (b"connection: close" in wire.out) is not keep


def test_an_unread_body_closes() -> None:
    made, wire = exchange("POST", framing=Framing.LENGTH)
    made.intake.feed(b"hel")
    made.start(ok(Framing.LENGTH, 0))
    made.finish([])
    assert b"connection: close" in wire.out
    made.intake.feed(b"lo")
    assert not made.reusable


def test_interim_answers() -> None:
    made, wire = exchange()
    hints = ResponseHead(103, b"Early Hints", [(b"link", b"</x>")])
    made.interim(hints)
    assert wire.out == b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    made.start(ok(Framing.LENGTH, 0))
    made.interim(hints)
    assert len(wire.writes) == 1
    old, silent = exchange(minor=0)
    old.interim(hints)
    assert not silent.writes


async def test_continue_is_owed_once_and_only_to_who_waits() -> None:
    made, wire = exchange("POST", framing=Framing.LENGTH, expect_continue=True)
    reading = asyncio.ensure_future(made.read())
    await asyncio.sleep(0)
    made.intake.feed(b"hel")
    assert await reading == b"hel"
    made.intake.feed(b"lo")
    assert await made.read() == b"lo"
    assert wire.writes == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    sent, silent = exchange("POST", framing=Framing.LENGTH, expect_continue=True)
    sent.intake.feed(b"hello")
    assert await sent.read() == b"hello"
    assert not silent.writes


async def test_a_lost_caller() -> None:
    made, wire = exchange("POST", framing=Framing.LENGTH)
    told: list[str] = []
    made.when_gone = lambda: told.append("gone")
    wire.closed = True
    made.gone()
    assert told == ["gone"]
    with pytest.raises(Reset):
        await made.read()
    with pytest.raises(Reset):
        await made.drain()
    made.when_gone = lambda: told.append("again")
    assert told == ["gone", "again"]
    made.when_gone = None
    assert made.when_gone is None


def test_a_caller_that_leaves_with_its_answer_troubles_nobody() -> None:
    made, _ = exchange()
    told: list[str] = []
    made.when_gone = lambda: told.append("gone")
    made.start(ok(Framing.LENGTH, 0))
    made.finish([])
    made.gone()
    assert told == []


def test_the_deadline_is_the_links() -> None:
    made, wire = exchange()
    made.deadline_s = 5.0
    assert wire.deadline_s == made.deadline_s == 5.0
    made.expire()
    assert wire.aborted
