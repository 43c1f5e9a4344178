"""The listener's driver against raw clients: framing, order, bounds, refusals, ends."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from functools import partial

import pytest

from ca.spiffe.svid import SvidError
from policy.reason import Reason
from sidecar.http.exchange import Exchange
from sidecar.http.head import Field, Framing, ResponseHead
from sidecar.http.server import PIPELINED_BYTES_MAX, Handler, ServerConnection
from sidecar.identity.peer import Peer as Identity
from sidecar.identity.peer import peer_of
from sidecar.net.link import CLOSE_S
from tests.support.certs import CertificateAuthority, Issued
from tests.support.peers import Peer
from tests.support.world import HANDSHAKE_S, HEAD_S, IDLE_S, Opened, World, answer, echo, eventually

GET = b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n"


def post(body: bytes, *fields: bytes) -> bytes:
    lines = [b"POST /p HTTP/1.1", b"host: a", b"content-length: %d" % len(body), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


CHUNKED = b"POST /c HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def gate(authority: CertificateAuthority) -> Issued:
    return authority.issue("ns/shop/sa/gate")


@pytest.fixture(scope="module")
def caller(authority: CertificateAuthority) -> Issued:
    return authority.issue("ns/shop/sa/caller")


@pytest.fixture(params=["plain", "tls"])
def tls(
    request: pytest.FixtureRequest, authority: CertificateAuthority, gate: Issued, caller: Issued
) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
    if request.param == "plain":
        return None, None
    return authority.server(gate), authority.client(caller)


Contexts = tuple[ssl.SSLContext | None, ssl.SSLContext | None]


def over(tls: Contexts) -> dict[str, object]:
    return {} if tls[0] is None else {"context": lambda: tls[0], "admit": admit}


def admit(certificate: bytes | None) -> Identity:
    return peer_of(certificate or b"")


async def deny(stream: Exchange) -> None:
    answer(stream, 403, b"no")


class Held:
    """A handler that answers when it is let."""

    def __init__(self, body: bytes = b"late") -> None:
        self.go = asyncio.Event()
        self.streams: list[Exchange] = []
        self.body = body

    async def __call__(self, stream: Exchange) -> None:
        self.streams.append(stream)
        await self.go.wait()
        answer(stream, 200, self.body)


async def test_keep_alive_and_every_framing(world: World, tls: Contexts) -> None:
    opened = await world.door(echo, **over(tls))
    peer = await world.connect(opened.port, tls[1])
    await peer.send(GET % 1)
    assert (await peer.response()).body == b"GET /1 "
    await peer.send(post(b"hello"))
    assert (await peer.response()).body == b"POST /p hello"
    for byte in CHUNKED + b"3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nx-t: 1\r\n\r\n":
        peer.writer.write(bytes([byte]))
        await asyncio.sleep(0)
    found = await peer.response()
    assert found.body == b"POST /c abcd"
    assert "connection" not in found.fields
    await peer.send(b"GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    found = await peer.response()
    assert found.fields["connection"] == "close"
    assert await peer.end() == "eof"
    peer.close()
    await opened.door.drained()
    assert opened.count == 0
    assert opened.events == ([] if tls[0] is None else ["ok"])


async def test_trailers_and_facts_reach_the_handler(world: World, caller: Issued) -> None:
    seen: list[list[Field]] = []

    async def look(stream: Exchange) -> None:
        while await stream.read():
            pass
        seen.append(stream.trailers)
        facts = stream.connection
        answer(stream, 200, f"{facts.address[0]} {facts.local_address[1]} {facts.secure}".encode())

    opened = await world.door(look)
    peer = await world.connect(opened.port)
    await peer.send(CHUNKED + b"0\r\nx-t: 1\r\nauthorization: no\r\n\r\n")
    assert (await peer.response()).body == f"127.0.0.1 {opened.port} False".encode()
    assert seen == [[(b"x-t", b"1")]]


async def test_the_peer_is_known_over_tls(
    world: World, authority: CertificateAuthority, gate: Issued, caller: Issued
) -> None:
    streams: list[Exchange] = []

    async def look(stream: Exchange) -> None:
        streams.append(stream)
        answer(stream)

    context = authority.server(gate)
    opened = await world.door(look, context=lambda: context, admit=admit)
    peer = await world.connect(opened.port, authority.client(caller))
    await peer.send(GET % 1)
    assert (await peer.response()).status == 200
    found = streams[0].connection.peer
    assert found is not None
    assert found.id == caller.id
    assert streams[0].connection.secure


async def test_pipelined_requests_are_answered_in_order_one_at_a_time(
    world: World, tls: Contexts
) -> None:
    running = 0

    async def one_at_a_time(stream: Exchange) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(0)
        running -= 1
        await echo(stream)

    opened = await world.door(one_at_a_time, **over(tls))
    peer = await world.connect(opened.port, tls[1])
    await peer.send(b"".join([GET % 1, post(b"two"), CHUNKED + b"1\r\nx\r\n0\r\n\r\n", GET % 4]))
    bodies = [(await peer.response()).body for _ in range(4)]
    assert bodies == [b"GET /1 ", b"POST /p two", b"POST /c x", b"GET /4 "]


@pytest.mark.parametrize("request_bytes", [GET % 7, post(b"x")])
async def test_pipelined_bytes_are_bounded(world: World, request_bytes: bytes) -> None:
    """However much is pipelined, and however many requests of it are served, little waits here."""
    most = 0

    async def slow(stream: Exchange) -> None:
        nonlocal most
        connection = next(iter(opened.door.open))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        most = max(most, len(connection._buffer))
        await echo(stream)

    opened = await world.door(slow)
    peer = await world.connect(opened.port)
    count = 4_000_000 // len(request_bytes) // 40
    flood = request_bytes * count
    sending = asyncio.ensure_future(send_often(peer, flood, 40))
    for _ in range(2000):
        assert (await peer.response()).status == 200
    assert PIPELINED_BYTES_MAX < most <= PIPELINED_BYTES_MAX + 2 * 262_144
    sending.cancel()
    peer.reset()


async def send_often(peer: Peer, data: bytes, times: int) -> None:
    for _ in range(times):
        await peer.send(data)


async def test_head_and_bodiless_answers(world: World) -> None:
    async def bodiless(stream: Exchange) -> None:
        status = int(stream.head.path[1:])
        stream.start(ResponseHead(status, b"X", [], Framing.LENGTH, 5))
        stream.write(b"12345")
        stream.finish([])

    opened = await world.door(bodiless)
    peer = await world.connect(opened.port)
    await peer.send(b"HEAD /200 HTTP/1.1\r\nhost: a\r\n\r\n")
    found = await peer.response(head_request=True)
    assert found.fields["content-length"] == "5"
    for status in (204, 304):
        await peer.send(GET % status)
        found = await peer.response()
        assert found.status == status
        assert "transfer-encoding" not in found.fields
        assert ("content-length" in found.fields) == (status == 304)
    await peer.send(GET % 200)
    assert (await peer.response()).body == b"12345"


async def test_http_1_0_gets_an_answer_that_ends_with_the_connection(
    world: World, tls: Contexts
) -> None:
    async def stream_out(stream: Exchange) -> None:
        stream.interim(ResponseHead(103, b"Early Hints"))
        stream.start(ResponseHead(200, b"OK", [], Framing.CHUNKED))
        stream.write(b"one")
        stream.write(b"two")
        stream.finish([(b"x-t", b"1")])

    opened = await world.door(stream_out, **over(tls))
    peer = await world.connect(opened.port, tls[1])
    await peer.send(b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
    found = await peer.response()
    assert found.whole
    assert found.body == b"onetwo"
    assert found.fields == {"connection": "close"}


async def test_an_http_1_0_answer_that_breaks_off_is_a_reset(world: World, tls: Contexts) -> None:
    """With its body framed by the connection, only a reset tells that it is not complete."""
    sent = asyncio.Event()

    async def break_off(stream: Exchange) -> None:
        stream.start(ResponseHead(200, b"OK", [], Framing.CHUNKED))
        stream.write(b"one")
        stream.flush()
        await sent.wait()
        stream.reset()

    opened = await world.door(break_off, **over(tls))
    peer = await world.connect(opened.port, tls[1])
    await peer.send(b"GET / HTTP/1.0\r\n\r\n")
    await peer.until(b"one")
    sent.set()
    assert await peer.end() == "reset"


async def test_100_continue_is_asked_only_when_the_handler_reads(world: World) -> None:
    go = asyncio.Event()

    async def late(stream: Exchange) -> None:
        await go.wait()
        await echo(stream)

    opened = await world.door(late)
    peer = await world.connect(opened.port)
    head = post(b"hello", b"expect: 100-continue").removesuffix(b"hello")
    await peer.send(head)
    reading = asyncio.ensure_future(peer.head())
    await eventually(lambda: opened.door.open)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not reading.done()
    go.set()
    assert await reading == b"HTTP/1.1 100 Continue\r\n\r\n"
    await peer.send(b"hello")
    assert (await peer.response()).body == b"POST /p hello"
    await peer.send(GET % 2)
    assert (await peer.response()).status == 200


async def test_100_continue_is_not_asked_by_who_does_not_read(world: World) -> None:
    opened = await world.door(deny)
    peer = await world.connect(opened.port)
    await peer.send(post(b"hello", b"expect: 100-continue").removesuffix(b"hello"))
    found = await peer.response()
    assert found.status == 403
    assert found.fields["connection"] == "close"
    assert await peer.end() == "eof"


async def test_an_early_answer_reaches_a_client_that_goes_on_sending(
    world: World, tls: Contexts
) -> None:
    opened = await world.door(deny, **over(tls))
    peer = await world.connect(opened.port, tls[1])
    size = 8_000_000
    await peer.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % size)
    for _ in range(40):
        peer.writer.write(b"x" * 100_000)
    found = await peer.response()
    assert (found.status, found.body) == (403, b"no")
    assert found.fields["connection"] == "close"
    if tls[0] is None:
        await peer.send(b"x" * 4_000_000)  # swallowed, never read as a request
    assert await peer.end() == "eof"
    peer.close()
    await opened.door.drained()


async def test_a_closing_answer_survives_pipelined_bytes_behind_it(world: World) -> None:
    """What nobody read would turn the close into a reset that takes the answer along."""
    held = Held(b"x" * 100_000)
    opened = await world.door(held)
    peer = await world.connect(opened.port)
    await peer.send(b"GET /1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    peer.writer.write((GET % 2) * 60_000)
    await eventually(lambda: any(one._paused for one in opened.door.open))
    held.go.set()
    found = await peer.response()
    assert found.whole
    assert len(found.body) == 100_000
    assert await peer.end() == "eof"
    assert len(held.streams) == 1


def after_the_end(world_doors: list[Opened]) -> Handler:
    """Answer only when the caller's end has been seen, so that all of it is pipelined."""

    async def late(stream: Exchange) -> None:
        connection = next(iter(world_doors[0].door.open))
        await eventually(lambda: connection._input_over)
        await echo(stream)

    return late


async def half_closed(world: World, data: bytes) -> tuple[Peer, Opened]:
    doors: list[Opened] = []
    doors.append(await world.door(after_the_end(doors)))
    peer = await world.connect(doors[0].port)
    peer.writer.write(data)
    peer.half_close()
    return peer, doors[0]


async def test_half_close_gets_every_answer(world: World) -> None:
    peer, opened = await half_closed(world, (GET % 1) + post(b"two") + (GET % 3))
    bodies = [(await peer.response()).body for _ in range(3)]
    assert bodies == [b"GET /1 ", b"POST /p two", b"GET /3 "]
    assert await peer.end() == "eof"
    await opened.door.drained()


async def test_a_pipelined_request_cut_by_half_close(world: World) -> None:
    peer, opened = await half_closed(world, (GET % 1) + post(b"12345")[:-2])
    assert (await peer.response()).body == b"GET /1 "
    found = await peer.response()
    assert (found.status, found.body) == (400, b"body_truncated")
    assert await peer.end() == "eof"
    await opened.door.drained()
    peer, opened = await half_closed(world, (GET % 1) + (GET % 2)[:-2])
    assert (await peer.response()).body == b"GET /1 "
    assert await peer.rest() == b""
    await opened.door.drained()
    peer, opened = await half_closed(world, (GET % 1) + b"\x00\x01\r\n\r\n")
    assert (await peer.response()).status == 200
    assert (await peer.response()).status == 400
    assert await peer.rest() == b""
    await opened.door.drained()


async def test_slowloris_head(world: World, tls: Contexts) -> None:
    opened = await world.door(echo, **over(tls))
    peer = await world.connect(opened.port, tls[1])
    connection = await first(opened.door.open)
    for index, byte in enumerate((GET % 12)[:12]):
        peer.writer.write(bytes([byte]))
        await eventually(partial(lambda size: len(connection._buffer) == size, index + 1))
        world.deadlines.advance(0.25)
    assert not connection.closed
    world.deadlines.advance(HEAD_S - 12 * 0.25)
    found = await peer.response()
    assert found.status == 408
    assert found.fields["connection"] == "close"
    assert await peer.end() == "eof"
    assert opened.events[-1] == Reason.HEAD_TIMEOUT.label
    peer.close()
    await opened.door.drained()


async def first(found: set[ServerConnection]) -> ServerConnection:
    """The one connection, once it is identified."""
    await eventually(lambda: found and next(iter(found)).facts is not None)
    return next(iter(found))


async def test_slowloris_after_a_request(world: World) -> None:
    opened = await world.door(echo)
    peer = await world.connect(opened.port)
    await peer.send(GET % 1)
    assert (await peer.response()).status == 200
    world.deadlines.advance(IDLE_S - 1)
    connection = await first(opened.door.open)
    await peer.send(b"G")
    await eventually(lambda: connection._buffer)
    world.deadlines.advance(1)
    assert (await peer.response()).status == 408
    assert await peer.end() == "eof"


async def test_idle_connections_are_closed(world: World, tls: Contexts) -> None:
    opened = await world.door(echo, **over(tls))
    peer = await world.connect(opened.port, tls[1])
    await first(opened.door.open)
    world.deadlines.advance(IDLE_S - 1)
    await peer.send(GET % 1)
    assert (await peer.response()).status == 200
    world.deadlines.advance(IDLE_S - 1)
    assert opened.door.open
    world.deadlines.advance(1)
    assert await peer.rest() == b""
    peer.close()
    await opened.door.drained()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01", 400),
        (b"hello there\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nhost: a\n\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n", 501),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET /" + b"a" * 20_000, 414),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"a" * 70_000, 431),
        (post(b"", b"transfer-encoding: chunked"), 400),
    ],
)
async def test_bytes_that_are_no_request(world: World, data: bytes, status: int) -> None:
    opened = await world.door(echo)
    peer = await world.connect(opened.port)
    peer.writer.write(data)
    found = await peer.response()
    assert found.status == status
    assert found.fields["connection"] == "close"
    assert b"reason" not in found.body
    await peer.send(GET % 1)
    assert await peer.end() == "eof"
    peer.close()
    await opened.door.drained()


async def test_garbage_and_a_reset_fail_nothing(world: World) -> None:
    opened = await world.door(echo)
    for _ in range(20):
        peer = await world.connect(opened.port)
        peer.writer.write(b"\x00garbage\r\n\r\n")
        peer.reset()
    peer = await world.connect(opened.port)
    await peer.send(GET % 1)
    assert (await peer.response()).status == 200


@pytest.mark.parametrize("body", [b"5\r\nhelloX\r\n0\r\n\r\n", b"zz\r\n", b"5\r\nhel"])
async def test_a_malformed_body_reaches_no_one_whole(world: World, body: bytes) -> None:
    opened = await world.door(echo)
    peer = await world.connect(opened.port)
    await peer.send(CHUNKED + body)
    if body == b"5\r\nhel":
        peer.half_close()
    found = await peer.response()
    assert found.status == 400
    assert found.fields["connection"] == "close"
    assert await peer.end() == "eof"


async def test_a_body_that_went_wrong_never_becomes_complete(world: World) -> None:
    """Bytes that would end the body, after the ones that broke it, do not mend it."""
    held = Held()
    opened = await world.door(held)
    peer = await world.connect(opened.port)
    await peer.send(CHUNKED + b"2\r\nabX\r\n")
    await eventually(lambda: held.streams)
    for _ in range(3):
        await peer.send(b"0\r\n\r\n")
        await asyncio.sleep(0)
    stream = held.streams[0]
    assert not stream.complete
    held.go.set()
    assert (await peer.response()).fields["connection"] == "close"
    assert await peer.end() == "eof"
    assert len(held.streams) == 1


async def test_too_long_a_body_is_refused_before_it_comes(world: World) -> None:
    from sidecar.http.head import Limits

    opened = await world.door(echo, limits=Limits(body_bytes_max=4))
    peer = await world.connect(opened.port)
    await peer.send(post(b"12345"))
    assert (await peer.response()).status == 413
    other = await world.connect(opened.port)
    await other.send(CHUNKED + b"5\r\n12345\r\n0\r\n\r\n")
    assert (await other.response()).status == 413


async def test_connections_are_bounded(world: World) -> None:
    opened = await world.door(echo, connections_max=2)
    kept = [await world.connect(opened.port) for _ in range(2)]
    await eventually(lambda: len(opened.door.open) == 2)
    third = await world.connect(opened.port)
    await third.end()
    assert opened.events == [Reason.TOO_MANY.label]
    assert opened.count == 2
    kept[0].close()
    await eventually(lambda: len(opened.door.open) == 1)
    fourth = await world.connect(opened.port)
    await fourth.send(GET % 1)
    assert (await fourth.response()).status == 200


async def test_drain_closes_the_idle_and_finishes_the_rest(world: World, tls: Contexts) -> None:
    held = Held()
    opened = await world.door(held, **over(tls))
    idle = await world.connect(opened.port, tls[1])
    await first(opened.door.open)
    busy = await world.connect(opened.port, tls[1])
    await busy.send(GET % 1)
    await eventually(lambda: held.streams)
    partial = await world.connect(opened.port, tls[1])
    await partial.send((GET % 2)[:10])
    await eventually(lambda: any(one._buffer for one in opened.door.open))
    opened.door.drain()
    assert await idle.rest() == b""
    idle.close()
    waits = [asyncio.ensure_future(opened.door.drained()) for _ in range(2)]
    with pytest.raises((OSError, ConnectionError)):
        refused = await world.connect(opened.port, tls[1])
        await refused.send(GET % 1)
        await refused.until(b"\n")
    held.go.set()
    found = await busy.response()
    assert found.fields["connection"] == "close"
    await partial.send((GET % 2)[10:])
    assert (await partial.response()).fields["connection"] == "close"
    for peer in (busy, partial):
        assert await peer.end() == "eof"
        peer.close()
    await asyncio.gather(*waits)
    assert opened.count == 0


async def test_a_handler_that_fails_closes_its_connection_only(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(stream: Exchange) -> None:
        match stream.head.path:
            case "/before":
                raise RuntimeError("broken")
            case "/within":
                stream.start(ResponseHead(200, b"OK", [], Framing.CHUNKED))
                stream.write(b"half")
                stream.flush()
                raise RuntimeError("broken")
            case "/short":
                stream.start(ResponseHead(200, b"OK", [], Framing.LENGTH, 5))
                stream.finish([])
            case "/long":
                stream.start(ResponseHead(200, b"OK", [], Framing.LENGTH, 1))
                stream.write(b"12")
            case "/twice":
                answer(stream)
                answer(stream)
            case "/never":
                stream.finish([])
            case "/forgets":
                return
            case "/after":
                answer(stream)
                raise RuntimeError("broken")
        answer(stream)

    opened = await world.door(fails)
    for path in ("before", "within", "short", "long", "twice", "never", "forgets", "after"):
        peer = await world.connect(opened.port)
        await peer.send(b"GET /%b HTTP/1.1\r\nhost: a\r\n\r\n" % path.encode())
        assert await peer.end() == "reset", path
    peer = await world.connect(opened.port)
    await peer.send(GET % 1)
    assert (await peer.response()).status == 200
    assert opened.events == [Reason.INTERNAL.label] * 7
    peer.close()
    await opened.door.drained()
    assert len(caplog.records) == 7


async def test_an_exchange_that_takes_too_long_is_reset(world: World) -> None:
    gone = asyncio.Event()

    async def hangs(stream: Exchange) -> None:
        stream.deadline_s = world.deadlines.now_s + 30
        stream.when_gone = gone.set
        await gone.wait()
        with pytest.raises(RuntimeError):
            stream.finish([])

    opened = await world.door(hangs)
    peer = await world.connect(opened.port)
    await peer.send(GET % 1)
    await eventually(
        lambda: any(one.deadline_s < 2000 and one._exchange for one in opened.door.open)
    )
    await eventually(lambda: next(iter(opened.door.open)).deadline_s == world.deadlines.now_s + 30)
    world.deadlines.advance(30)
    assert await peer.end() == "reset"
    assert gone.is_set()


async def test_a_caller_that_vanishes_is_told_at_once_or_on_asking(world: World) -> None:
    held, gone = Held(), asyncio.Event()
    opened = await world.door(held)
    peer = await world.connect(opened.port)
    await peer.send(GET % 1)
    await eventually(lambda: held.streams)
    held.streams[0].when_gone = gone.set
    peer.reset()
    await gone.wait()
    late = asyncio.Event()
    held.streams[0].when_gone = late.set  # it is gone already
    assert late.is_set()
    held.go.set()
    await opened.door.drained()


# TLS


async def served(
    world: World, authority: CertificateAuthority, gate: Issued, **changes: object
) -> Opened:
    context = authority.server(gate)
    return await world.door(echo, **({"context": lambda: context, "admit": admit} | changes))


async def test_tls_garbage(world: World, authority: CertificateAuthority, gate: Issued) -> None:
    opened = await served(world, authority, gate)
    peer = await world.connect(opened.port)
    await peer.send(GET % 1)
    await peer.end()
    await opened.door.drained()
    assert opened.events != ["ok"]
    assert len(opened.events) == 1


async def test_tls_1_2_and_no_certificate_reach_no_handler(
    world: World, authority: CertificateAuthority, gate: Issued, caller: Issued
) -> None:
    opened = await served(world, authority, gate)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    with pytest.raises((ssl.SSLError, OSError)):
        await world.connect(opened.port, old)
    for context in (authority.client(None), CertificateAuthority().client(None)):
        with pytest.raises((ssl.SSLError, OSError, asyncio.IncompleteReadError)):
            peer = await world.connect(opened.port, context)
            await peer.send(GET % 1)
            await peer.head()
    await opened.door.drained()
    assert "ok" not in opened.events


@pytest.mark.parametrize("slow", [b"", b"\x16\x03\x01"])
async def test_a_handshake_takes_no_longer_than_it_may(
    world: World, authority: CertificateAuthority, gate: Issued, slow: bytes
) -> None:
    opened = await served(world, authority, gate)
    peer = await world.connect(opened.port)
    await eventually(lambda: opened.door.open)
    peer.writer.write(slow)
    world.deadlines.advance(HANDSHAKE_S - 1)
    assert opened.door.open
    world.deadlines.advance(1)
    await peer.end()
    await opened.door.drained()


async def test_a_peer_that_is_not_admitted_gets_nothing(
    world: World, authority: CertificateAuthority, gate: Issued, caller: Issued
) -> None:
    def nobody(_certificate: bytes | None) -> Identity:
        raise SvidError("no")

    opened = await served(world, authority, gate, admit=nobody)
    peer = await world.connect(opened.port, authority.client(caller))
    peer.writer.write(GET % 1)
    with contextlib.suppress(OSError):
        assert await peer.rest() == b""
    await opened.door.drained()
    assert opened.events == [Reason.PEER_UNVERIFIED.label]


@pytest.mark.parametrize("kind", ["p384", "no-uri", "two-uris"])
async def test_certificates_that_are_no_svid(
    world: World, authority: CertificateAuthority, gate: Issued, kind: str
) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec

    odd = {
        "p384": lambda: authority.issue("ns/shop/sa/x", curve=ec.SECP384R1()),
        "no-uri": lambda: authority.issue("ns/shop/sa/x", uris=0),
        "two-uris": lambda: authority.issue("ns/shop/sa/x", uris=2),
    }[kind]()
    opened = await served(world, authority, gate)
    peer = await world.connect(opened.port, authority.client(odd))
    await peer.end()
    await opened.door.drained()
    assert opened.events == [Reason.PEER_UNVERIFIED.label]


async def test_a_rotated_certificate_leaves_open_connections_alone(
    world: World, authority: CertificateAuthority, gate: Issued, caller: Issued
) -> None:
    contexts = [authority.server(gate)]
    opened = await world.door(echo, context=lambda: contexts[-1], admit=admit)
    before = await world.connect(opened.port, authority.client(caller))
    await before.send(GET % 1)
    await before.response()
    renewed = authority.issue("ns/shop/sa/gate")
    contexts.append(authority.server(renewed))
    await before.send(GET % 2)
    assert (await before.response()).body == b"GET /2 "
    after = await world.connect(opened.port, authority.client(caller))
    found = after.writer.get_extra_info("ssl_object").getpeercert(True)
    assert found == renewed.der
    assert before.writer.get_extra_info("ssl_object").getpeercert(True) == gate.der


async def test_a_caller_that_never_reads_its_last_answer_is_let_go(world: World) -> None:
    big = b"x" * 8_000_000

    async def large(stream: Exchange) -> None:
        answer(stream, 200, big)

    opened = await world.door(large)
    peer = await world.connect(opened.port)
    peer.hold()
    await peer.send(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    connection = await first(opened.door.open)
    await eventually(lambda: connection.closed)
    world.deadlines.advance(CLOSE_S)
    await opened.door.drained()
