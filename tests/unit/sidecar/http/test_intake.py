"""One body on its way in: order, bounds, faults, and what can never count as an end."""

from __future__ import annotations

import asyncio

import pytest

from policy.reason import Reason
from sidecar.http.head import Framing, Limits, Refused
from sidecar.http.http1 import BodyDecoder
from sidecar.http.intake import WAITING_BYTES_HIGH, Intake
from sidecar.http.stream import Reset
from sidecar.net.deadlines import Deadlines
from sidecar.net.link import Link


class Gauge(Link):
    """A link without a socket that counts what the intake asks of it."""

    def __init__(self) -> None:
        super().__init__(Deadlines(), None, server_side=True)
        self.paused = 0

    def pause(self) -> None:
        self.paused += 1

    def resume(self) -> None:
        self.paused = 0


def intake(framing: Framing = Framing.LENGTH, length: int = 5) -> tuple[Intake, Gauge]:
    link = Gauge()
    decoder = None if framing is Framing.NONE else BodyDecoder(framing, length, Limits())
    return Intake(link, decoder), link


async def test_no_body() -> None:
    made, _ = intake(Framing.NONE)
    assert made.complete
    assert made.feed(b"next") == b"next"
    assert await made.read() == b""
    assert made.take() == b""
    assert made.trailers == []
    made.lost()
    assert await made.read() == b""


async def test_a_body_and_what_belongs_to_the_next_message() -> None:
    made, _ = intake()
    assert made.feed(b"hel") == b""
    assert made.waiting
    assert made.feed(b"loGET") == b"GET"
    assert made.complete
    assert made.feed(b" /") == b" /"
    assert await made.read() == b"hello"
    assert await made.read() == b""
    assert made.received_bytes == 5
    assert not made.waiting


async def test_a_reader_is_woken_and_told_before_it_waits() -> None:
    made, _ = intake()
    said: list[str] = []
    reading = asyncio.ensure_future(made.read(lambda: said.append("waiting")))
    await asyncio.sleep(0)
    assert said == ["waiting"]
    made.feed(b"hello")
    assert await reading == b"hello"


async def test_a_reader_that_gave_up_harms_nobody() -> None:
    made, _ = intake()
    reading = asyncio.ensure_future(made.read())
    await asyncio.sleep(0)
    reading.cancel()
    made.feed(b"hello")
    assert await made.read() == b"hello"
    made.lost()
    assert await made.read() == b""


async def test_what_waits_is_bounded() -> None:
    made, link = intake(length=10 * WAITING_BYTES_HIGH)
    made.feed(b"x" * WAITING_BYTES_HIGH)
    assert link.paused == 0
    made.feed(b"x")
    assert link.paused == 1
    assert len(made.take()) == WAITING_BYTES_HIGH + 1
    assert link.paused == 0


@pytest.mark.parametrize("framing", [Framing.LENGTH, Framing.CHUNKED])
async def test_an_end_too_early_is_a_fault(framing: Framing) -> None:
    made, _ = intake(framing)
    made.feed(b"hel" if framing is Framing.LENGTH else b"5\r\nhel")
    made.eof()
    made.eof()
    assert await made.read() == b"hel"
    for _ in range(2):
        with pytest.raises(Refused) as caught:
            await made.read()
        assert caught.value.reason is Reason.BODY_TRUNCATED
    assert not made.complete


async def test_only_an_orderly_end_completes_a_body_framed_by_closing() -> None:
    made, _ = intake(Framing.CLOSE)
    made.feed(b"all")
    made.eof()
    assert made.complete
    made.lost()
    assert await made.read() == b"all"
    assert await made.read() == b""
    broken, _ = intake(Framing.CLOSE)
    broken.feed(b"ha")
    broken.lost()
    broken.eof()
    assert not broken.complete
    assert await broken.read() == b"ha"
    with pytest.raises(Reset):
        await broken.read()
    late, _ = intake(Framing.CLOSE)
    late.fail(Refused(Reason.DESTINATION_TIMEOUT, "late"))
    late.eof()
    assert not late.complete


async def test_bytes_after_a_fault_do_not_mend_it() -> None:
    made, _ = intake(Framing.CHUNKED)
    made.feed(b"2\r\nab\r\n")
    assert made.feed(b"zz\r\n") == b""
    assert made.feed(b"0\r\n\r\n") == b""
    made.eof()
    made.lost()
    assert not made.complete
    assert made.take() == b"ab"
    with pytest.raises(Refused) as caught:
        await made.read()
    assert caught.value.reason is Reason.MALFORMED


async def test_the_first_fault_is_the_one_that_is_told() -> None:
    made, _ = intake()
    reading = asyncio.ensure_future(made.read())
    await asyncio.sleep(0)
    made.fail(Refused(Reason.DESTINATION_TIMEOUT, "first"))
    made.fail(Reset("second"))
    with pytest.raises(Refused, match="timeout"):
        await reading


async def test_a_fault_after_the_end_is_none() -> None:
    made, _ = intake()
    made.feed(b"hello")
    made.fail(Reset("late"))
    assert made.complete
    assert await made.read() == b"hello"
    assert await made.read() == b""
