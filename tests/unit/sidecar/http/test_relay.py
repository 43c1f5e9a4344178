"""A raw client, our server, relay and client, a raw destination: both ways, and every way to break.

The rule behind most of these: whatever breaks on one side, the other never takes a part for the
whole.
"""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from sidecar.http.client import ClientConnection
from sidecar.http.exchange import GATHER_BYTES_MAX
from sidecar.http.intake import WAITING_BYTES_HIGH
from sidecar.http.relay import INTERIM_MAX
from sidecar.identity.peer import peer_of
from sidecar.net.link import WRITE_BYTES_HIGH, Link
from tests.support.certs import CertificateAuthority
from tests.support.peers import Peer, Script, Upstream
from tests.support.world import (
    FIRST_BYTE_S,
    REQUEST_S,
    SILENCE_S,
    Gateway,
    Opened,
    World,
    eventually,
)

GET = b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n"
CHUNKED = b"POST /c HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
READ_BYTES = 262_144
"""What a loop may read at once."""


def post(length: int) -> bytes:
    return b"POST /p HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % length


class Route:
    """One relay from end to end."""

    def __init__(self, world: World, upstream: Upstream, gateway: Gateway, opened: Opened) -> None:
        self.world = world
        self.upstream = upstream
        self.gateway = gateway
        self.opened = opened

    async def peer(self) -> Peer:
        return await self.world.connect(self.opened.port)

    async def outcome(self) -> str:
        return await self.gateway.outcomes.get()

    def client(self) -> ClientConnection:
        return self.gateway.connections[-1]


async def route(world: World, script: Script, *, keep: bool = False) -> Route:
    upstream = await world.upstream(script)
    gateway = world.gateway(upstream.port)
    gateway.keep = keep
    return Route(world, upstream, gateway, await world.door(gateway))


def says(*pieces: bytes, end: str = "hold") -> Script:
    async def script(peer: Peer) -> None:
        while True:
            await peer.head()
            for piece in pieces:
                await peer.send(piece)
                await asyncio.sleep(0)
            if end == "close":
                return
            if end == "reset":
                peer.reset()
                return

    return script


async def test_a_request_and_its_answer(world: World) -> None:
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        while True:
            seen.append(await peer.head())
            await peer.send(OK)

    made = await route(world, script, keep=True)
    peer = await made.peer()
    for _ in range(3):
        await peer.send(GET)
        assert (await peer.response()).body == b"ok"
        assert await made.outcome() == "ok"
    assert seen == [GET] * 3
    assert len(made.gateway.connections) == 1


async def test_chunked_both_ways_with_trailers(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        got = await peer.until(b"0\r\n")
        got += await peer.until(b"\r\n\r\n")
        upper = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        await peer.send(upper + b"3\r\nabc\r\n")
        await peer.send(b"%x\r\n%b\r\n0\r\nx-r: 2\r\ncontent-length: 9\r\n\r\n" % (len(got), got))

    made = await route(world, script)
    peer = await made.peer()
    await peer.send(CHUNKED + b"5;ext=1\r\nhello\r\n")
    await eventually(lambda: made.gateway.connections)
    await peer.send(b"1\r\n!\r\n0\r\nx-t: 1\r\nauthorization: no\r\n\r\n")
    found = await peer.response()
    assert found.body == b"abc5\r\nhello\r\n1\r\n!\r\n0\r\nx-t: 1\r\n\r\n"
    assert found.trailers == {"x-r": "2"}
    assert await made.outcome() == "ok"


@pytest.mark.parametrize(
    ("request_bytes", "answer", "status"),
    [
        (GET.replace(b"GET", b"HEAD"), b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", 200),
        (GET, b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        (GET, b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", 304),
    ],
)
async def test_bodiless_answers(
    world: World, request_bytes: bytes, answer: bytes, status: int
) -> None:
    made = await route(world, says(answer), keep=True)
    peer = await made.peer()
    for _ in range(2):
        await peer.send(request_bytes)
        found = await peer.response(head_request=True)
        assert found.status == status
        assert ("content-length" in found.fields) == (status != 204)
        assert "transfer-encoding" not in found.fields
    assert len(made.gateway.connections) == 1


async def test_a_body_framed_by_closing_becomes_chunked(world: World) -> None:
    made = await route(world, says(b"HTTP/1.0 200 OK\r\n\r\nall of it", end="close"))
    peer = await made.peer()
    await peer.send(GET)
    found = await peer.response()
    assert found.whole
    assert found.body == b"all of it"
    assert found.fields["transfer-encoding"] == "chunked"
    assert not made.client().reusable
    old = await made.peer()
    await old.send(GET.replace(b"1.1", b"1.0"))
    found = await old.response()
    assert found.body == b"all of it"
    assert found.whole


FRAMINGS = {
    "length": b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
    "chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "malformed": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
}


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("end", ["close", "reset", "timeout"])
@pytest.mark.parametrize("framing", [*FRAMINGS, "closing"])
async def test_an_answer_that_breaks_off_is_never_whole(
    world: World, framing: str, end: str, version: bytes
) -> None:
    if framing == "closing":
        wire = b"HTTP/1.1 200 OK\r\n\r\nhello"
        if end == "close":
            pytest.skip("that is its well-formed end")
    else:
        wire = FRAMINGS[framing]
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(wire)
        await go.wait()
        if end == "timeout":
            await peer.end()
        elif end == "reset":
            peer.reset()

    made = await route(world, script)
    peer = await made.peer()
    await peer.send(GET.replace(b"1.1", version))
    await peer.head()
    if framing != "malformed":
        await peer.until(b"hello")
    go.set()
    if end == "timeout" and framing != "malformed":
        await eventually(lambda: made.client().deadline_s == world.deadlines.now_s + SILENCE_S)
        world.deadlines.advance(SILENCE_S)
    rest: bytes | None
    try:
        rest = await peer.rest()
    except ConnectionResetError:
        rest = None
    assert rest is None, f"a clean end after {rest!r}"
    assert await made.outcome() == "reset"
    assert not made.client().reusable


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 200 OK\r\nx: "])
async def test_a_destination_that_dies_before_it_answers(
    world: World, part: bytes, end: str
) -> None:
    made = await route(world, says(*([part] if part else []), end=end))
    peer = await made.peer()
    await peer.send(GET)
    found = await peer.response()
    assert (found.status, found.body) == (502, b"destination_reset")
    assert await made.outcome() == "destination_reset"
    await peer.send(GET)
    assert (await peer.response()).status == 502


@pytest.mark.parametrize("request_bytes", [GET, CHUNKED + b"1\r\nx\r\n"])
async def test_silence_before_the_answer(world: World, request_bytes: bytes) -> None:
    """A caller that is still uploading is not a silent destination; the whole has its own bound."""
    made = await route(world, says())
    peer = await made.peer()
    await peer.send(request_bytes)
    await eventually(lambda: made.upstream.peers and made.client()._busy)
    world.deadlines.advance(FIRST_BYTE_S - 1)
    if request_bytes == GET:
        world.deadlines.advance(1)
        assert (await peer.response()).status == 504
        assert await made.outcome() == "destination_timeout"
        return
    world.deadlines.advance(FIRST_BYTE_S)
    await peer.send(b"0\r\n\r\n")
    await eventually(lambda: made.client().deadline_s == world.deadlines.now_s + FIRST_BYTE_S)
    world.deadlines.advance(FIRST_BYTE_S)
    assert (await peer.response()).status == 504


async def test_an_exchange_has_a_bound_as_a_whole(world: World) -> None:
    made = await route(world, says())
    peer = await made.peer()
    await peer.send(CHUNKED + b"1\r\nx\r\n")
    await eventually(lambda: made.upstream.peers and made.client()._busy)
    world.deadlines.advance(REQUEST_S)
    assert await peer.end() == "reset"
    await made.outcome()
    await eventually(lambda: made.client().closed)


async def test_a_slow_caller_is_not_a_silent_destination(world: World) -> None:
    """The destination has sent everything; how long the caller takes to read it is its business."""
    size = 16_000_000
    made = await route(
        world, says(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size)
    )
    peer = await made.peer()
    await peer.send(GET)
    await peer.head()
    peer.hold()
    await eventually(lambda: made.gateway.streams[0].blocked)
    world.deadlines.advance(FIRST_BYTE_S + SILENCE_S)
    peer.let_go()
    assert len(await peer.reader.readexactly(size)) == size
    assert await made.outcome() == "ok"


async def test_bytes_after_the_answer_end_the_connection(world: World) -> None:
    made = await route(
        world, says(OK + b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbad"), keep=True
    )
    peer = await made.peer()
    for _ in range(2):
        await peer.send(GET)
        assert (await peer.response()).body == b"ok"
        assert not made.client().reusable
    assert len(made.gateway.connections) == 2


async def test_interim_answers_pass_except_100(world: World) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n"
    made = await route(world, says(b"HTTP/1.1 100 Continue\r\n\r\n" + hints + hints + OK))
    peer = await made.peer()
    await peer.send(GET)
    for _ in range(2):
        found = await peer.response()
        assert (found.status, found.fields) == (103, {"link": "<a>"})
    assert (await peer.response()).body == b"ok"


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n" * (INTERIM_MAX + 1) + OK,
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
async def test_answers_that_never_pass(world: World, wire: bytes) -> None:
    made = await route(world, says(wire))
    peer = await made.peer()
    await peer.send(GET)
    statuses: list[int] = []
    while not statuses or statuses[-1] == 102:
        statuses.append((await peer.response()).status)
    assert statuses[-1] == 502
    assert set(statuses[:-1]) <= {102}
    assert await made.outcome() == "destination_malformed"
    assert made.client().closed


async def test_an_answer_before_the_upload_ended(world: World) -> None:
    """The caller gets it, and neither connection is used again."""
    made = await route(world, says(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno"))
    peer = await made.peer()
    await peer.send(post(10_000_000) + b"x" * 100)
    found = await peer.response()
    assert (found.status, found.body) == (413, b"no")
    assert found.fields["connection"] == "close"
    await peer.send(b"x" * 1_000_000)
    assert await peer.end() == "eof"
    assert await made.outcome() == "ok"
    assert made.client().closed
    assert not made.client().reusable


async def test_an_answer_that_begins_early_and_ends_late(world: World) -> None:
    """An echo: the answer starts before the upload is over, and both end well."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n")
        for _ in range(3):
            await peer.send(await peer.reader.readexactly(2))

    made = await route(world, script)
    peer = await made.peer()
    await peer.send(post(6))
    await peer.head()
    for piece in (b"ab", b"cd", b"ef"):
        await peer.send(piece)
        assert await peer.reader.readexactly(2) == piece
    assert await made.outcome() == "ok"
    assert made.client().complete


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_destination_that_closes_while_it_is_sent_to(world: World, end: str) -> None:
    made = await route(world, says(end=end))
    peer = await made.peer()
    await peer.send(post(10_000_000))
    peer.writer.write(b"x" * 5_000_000)
    found = await peer.response()
    assert found.status == 502
    assert await made.outcome() == "destination_reset"
    assert await peer.end() in {"eof", "reset"}
    assert not made.client().reusable


async def until_end(peer: Peer) -> None:
    await peer.head()
    await peer.end()


class Ends:
    """A destination that never answers and tells how its connection ended."""

    def __init__(self) -> None:
        self.how: asyncio.Queue[str] = asyncio.Queue()

    async def __call__(self, peer: Peer) -> None:
        await peer.head()
        self.how.put_nowait(await peer.end())


@pytest.mark.parametrize("request_bytes", [post(100) + b"half", CHUNKED + b"9\r\nhalf", GET])
async def test_a_caller_that_vanishes_takes_the_request_along(
    world: World, request_bytes: bytes
) -> None:
    ends = Ends()
    made = await route(world, ends)
    peer = await made.peer()
    await peer.send(request_bytes)
    await eventually(lambda: made.upstream.peers and made.client()._busy)
    peer.reset()
    assert await ends.how.get() == "reset"
    await made.outcome()
    await made.opened.door.drained()
    assert not made.client().reusable


@pytest.mark.parametrize("request_bytes", [post(100) + b"half", CHUNKED + b"9\r\nhalf"])
async def test_an_upload_that_ends_early_never_looks_whole(
    world: World, request_bytes: bytes
) -> None:
    ends = Ends()
    made = await route(world, ends)
    peer = await made.peer()
    await peer.send(request_bytes)
    await eventually(lambda: made.upstream.peers and made.client()._busy)
    peer.half_close()
    assert (await peer.response()).status == 400
    assert await made.outcome() == "body_truncated"
    assert await ends.how.get() == "reset"


async def test_a_malformed_upload_breaks_the_request_off(world: World) -> None:
    ends = Ends()
    made = await route(world, ends)
    peer = await made.peer()
    await peer.send(CHUNKED + b"1\r\nx\r\n")
    await eventually(lambda: made.upstream.peers and made.client()._busy)
    await peer.send(b"zz\r\n0\r\n\r\n")
    assert (await peer.response()).status == 400
    assert await made.outcome() == "malformed"
    assert await ends.how.get() == "reset"


async def test_a_caller_that_was_gone_before_the_request_went_out(world: World) -> None:
    """Nothing is sent on behalf of nobody."""
    seen: asyncio.Queue[bytes] = asyncio.Queue()

    async def script(peer: Peer) -> None:
        try:
            seen.put_nowait(await peer.reader.read())
        except OSError:
            seen.put_nowait(b"")

    made = await route(world, script)
    peer = await made.peer()
    await peer.send(GET)
    await eventually(lambda: made.gateway.streams)
    stream = made.gateway.streams[0]
    peer.reset()
    if not made.gateway.connections or not made.client()._busy:
        stream.gone()
    assert await seen.get() in {b"", GET}
    await made.outcome()


async def test_100_continue_is_answered_here_and_not_asked_for_there(world: World) -> None:
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.head())
        seen.append(await peer.reader.readexactly(5))
        await peer.send(OK)

    made = await route(world, script)
    peer = await made.peer()
    await peer.send(post(5)[:-2] + b"expect: 100-continue\r\n\r\n")
    assert await peer.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    await peer.send(b"hello")
    assert (await peer.response()).body == b"ok"
    assert b"expect" not in seen[0]


async def test_an_upload_that_fails_inside_breaks_the_request_off(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_data: bytes) -> bytes:
        raise RuntimeError("broken")

    ends = Ends()
    made = await route(world, ends)
    peer = await made.peer()
    await peer.send(CHUNKED)
    await eventually(lambda: made.upstream.peers and made.client()._busy)
    monkeypatch.setattr("sidecar.http.relay.encode_chunk", broken)
    await peer.send(b"1\r\nx\r\n0\r\n\r\n")
    assert (await peer.response()).status == 500
    assert await ends.how.get() == "reset"
    assert len(caplog.records) == 1


# Back-pressure


class Watch:
    """The most that ever waited in one relay, and whether it was ever held back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waiting = 0
        self.unsent = 0
        self.pauses = 0
        self.links: set[Link] = set()
        pause, data_received = Link.pause, Link.data_received

        def counted(link: Link) -> None:
            self.pauses += not link._paused
            pause(link)

        def measured(link: Link, data: bytes) -> None:
            data_received(link, data)
            self.links.add(link)
            self.look()

        monkeypatch.setattr(Link, "pause", counted)
        monkeypatch.setattr(Link, "data_received", measured)

    def look(self) -> None:
        for link in self.links:
            if link.closed:
                continue
            self.unsent = max(self.unsent, link.transport.get_write_buffer_size())
            intake = getattr(link, "_intake", None)
            exchange = getattr(link, "_exchange", None)
            if intake is None and exchange is not None:
                intake = exchange.intake
            if intake is not None:
                self.waiting = max(self.waiting, sum(map(len, intake._chunks)))
            self.waiting = max(self.waiting, len(getattr(link, "_buffer", b"")))


def small_buffers(peer: Peer) -> None:
    found = peer.writer.get_extra_info("socket")
    found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 131_072)


def assert_bounded(watch: Watch) -> None:
    assert watch.pauses > 0, "nothing was ever held back"
    assert watch.waiting <= WAITING_BYTES_HIGH + READ_BYTES
    # What was waiting is written at once, on top of what was just below the bound.
    most = WRITE_BYTES_HIGH + WAITING_BYTES_HIGH + READ_BYTES + GATHER_BYTES_MAX
    assert watch.unsent <= most


MIB = 1 << 20


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_a_large_answer_to_a_slow_reader_stays_bounded(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    authority: CertificateAuthority,
    secure: bool,
) -> None:
    watch = Watch(monkeypatch)
    size = (16 if secure else 64) * MIB
    piece = b"x" * 65_536

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        for _ in range(size // len(piece)):
            await peer.send(piece)
        await peer.end()

    tls, mine = contexts(authority, secure)
    upstream = await world.upstream(script)
    changes = {} if tls is None else {"context": lambda: tls, "admit": peer_of}
    opened = await world.door(world.gateway(upstream.port), **changes)
    peer = await world.connect(opened.port, mine)
    small_buffers(peer)
    await peer.send(GET)
    await peer.head()
    left = size
    while left:
        left -= len(await peer.reader.read(32_768))
        await asyncio.sleep(0)
        watch.look()
    assert_bounded(watch)


async def test_a_large_upload_to_a_slow_destination_stays_bounded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(monkeypatch)
    size = 64 * MIB
    piece = b"x" * 65_536

    async def script(peer: Peer) -> None:
        small_buffers(peer)
        await peer.head()
        left = size
        while left:
            left -= len(await peer.reader.read(32_768))
            await asyncio.sleep(0)
            watch.look()
        await peer.send(OK)

    made = await route(world, script)
    peer = await made.peer()
    await peer.send(post(size))
    for _ in range(size // len(piece)):
        await peer.send(piece)
    assert (await peer.response()).body == b"ok"
    assert_bounded(watch)


def contexts(
    authority: CertificateAuthority, secure: bool
) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
    if not secure:
        return None, None
    gate, caller = (authority.issue(f"ns/shop/sa/{name}") for name in ("gate", "caller"))
    return authority.server(gate), authority.client(caller)
