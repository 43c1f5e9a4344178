"""The driver towards a destination, against raw servers that answer well, badly, or not at all."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from ca.spiffe.svid import SvidError
from policy.reason import Reason
from sidecar.http.client import ClientConnection
from sidecar.http.head import Limits, Refused, ResponseHead
from sidecar.identity.peer import Peer as Identity
from sidecar.identity.peer import peer_of
from tests.support.certs import CertificateAuthority, Issued
from tests.support.peers import Peer, Script
from tests.support.world import HANDSHAKE_S, World, eventually

REQUEST = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
CLOSING = b"HTTP/1.1 200 OK\r\n\r\nhello"


def says(*pieces: bytes, end: str = "hold") -> Script:
    """Answer each request with `pieces`, then `hold` the connection, close or reset it."""

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


async def ask(connection: ClientConnection, world: World, method: str = "GET") -> ResponseHead:
    connection.begin(method, REQUEST, world.deadlines.now_s + 30)
    return await connection.response()


async def body_of(connection: ClientConnection) -> bytes:
    body = bytearray()
    while chunk := await connection.read():
        body += chunk
    return bytes(body)


async def to(world: World, script: Script) -> ClientConnection:
    upstream = await world.upstream(script)
    connection = await world.client(upstream.port)
    await connection.ready
    return connection


async def test_a_connection_is_used_again_and_again(world: World) -> None:
    connection = await to(world, says(OK))
    for _ in range(3):
        assert connection.reusable
        head = await ask(connection, world)
        assert head.status == 200
        assert await body_of(connection) == b"hello"
        assert connection.complete
        assert connection.answered


async def test_answers_in_single_bytes(world: World) -> None:
    wire = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n"
    connection = await to(world, says(*[bytes([byte]) for byte in wire]))
    await ask(connection, world)
    assert await body_of(connection) == b"hello"
    assert connection.trailers == [(b"x-t", b"1")]
    assert connection.reusable


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n"),
    ],
)
async def test_answers_without_a_body(world: World, method: str, answer: bytes) -> None:
    connection = await to(world, says(answer))
    await ask(connection, world, method)
    assert await body_of(connection) == b""
    assert connection.reusable


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"HTTP/1.1 200 OK\r\n\r\n",
        OK + b"\n",
        b"HTTP/1.1 204 No Content\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nextra",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
    ],
)
async def test_what_is_not_unambiguous_is_not_used_again(world: World, answer: bytes) -> None:
    connection = await to(world, says(answer))
    await ask(connection, world)
    await body_of(connection)
    assert not connection.reusable


async def test_bytes_that_nobody_asked_for_close(world: World) -> None:
    async def chatty(peer: Peer) -> None:
        await peer.send(OK)
        await peer.reader.read()

    connection = await to(world, chatty)
    await eventually(lambda: connection.closed)
    assert not connection.reusable
    with pytest.raises(Refused) as caught:
        await ask(connection, world)
    assert caught.value.reason is Reason.DESTINATION_RESET
    go = asyncio.Event()

    async def late(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK)
        await go.wait()
        await peer.send(OK)
        await peer.reader.read()

    connection = await to(world, late)
    await ask(connection, world)
    await body_of(connection)
    assert connection.reusable
    go.set()
    await eventually(lambda: connection.closed)


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize(
    "part", [b"", b"HTTP/1.1 20", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nx: 1\r\n"]
)
async def test_an_end_before_the_head(world: World, part: bytes, end: str) -> None:
    connection = await to(world, says(*([part] if part else []), end=end))
    connection.begin("GET", REQUEST, world.deadlines.now_s + 30)
    with pytest.raises(Refused) as caught:
        while True:
            await connection.response()
    assert caught.value.reason is Reason.DESTINATION_RESET
    await eventually(lambda: connection.closed)
    assert not connection.reusable


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize(
    "part",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ],
)
async def test_an_end_within_the_body_is_no_end_of_it(world: World, part: bytes, end: str) -> None:
    connection = await to(world, says(part, end=end))
    with pytest.raises((Refused, ConnectionError)) as caught:
        await ask(connection, world)
        await body_of(connection)
    assert isinstance(caught.value, Refused)
    assert caught.value.reason is Reason.DESTINATION_RESET
    assert not connection.complete


async def test_a_body_framed_by_closing(world: World) -> None:
    connection = await to(world, says(CLOSING, end="close"))
    await ask(connection, world)
    assert await body_of(connection) == b"hello"
    assert connection.complete
    assert not connection.reusable


async def test_a_reset_or_a_timeout_does_not_end_a_body_framed_by_closing(world: World) -> None:
    go = asyncio.Event()

    async def resets(peer: Peer) -> None:
        await peer.head()
        await peer.send(CLOSING)
        await go.wait()
        peer.reset()

    connection = await to(world, resets)
    await ask(connection, world)
    assert await connection.read() == b"hello"
    go.set()
    with pytest.raises(Refused) as caught:
        await connection.read()
    assert caught.value.reason is Reason.DESTINATION_RESET
    silent = await to(world, says(CLOSING))
    await ask(silent, world)
    assert await silent.read() == b"hello"
    world.deadlines.advance(30)
    with pytest.raises(Refused) as caught:
        await silent.read()
    assert caught.value.reason is Reason.DESTINATION_TIMEOUT
    assert not silent.complete


@pytest.mark.parametrize("well", [True, False])
async def test_over_tls_only_close_notify_ends_a_body_framed_by_closing(
    world: World, authority: CertificateAuthority, well: bool
) -> None:
    """A FIN can be forged by whoever is on the wire (RFC 9112 section 9.8)."""
    gate, caller = (authority.issue(f"ns/shop/sa/{name}") for name in ("gate", "caller"))

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(CLOSING)
        if not well:
            found = peer.writer.get_extra_info("socket")
            with socket.socket(fileno=socket.dup(found.fileno())) as raw:
                raw.shutdown(socket.SHUT_WR)
            await peer.reader.read()

    upstream = await world.upstream(script, authority.server(gate))
    connection = await world.client(upstream.port, authority.client(caller), peer_admit)
    await connection.ready
    await ask(connection, world)
    if well:
        assert await body_of(connection) == b"hello"
        return
    with pytest.raises(Refused) as caught:
        await body_of(connection)
    assert caught.value.reason is Reason.DESTINATION_RESET
    assert not connection.complete


@pytest.mark.parametrize(
    "wire",
    [
        b"garbage\r\n\r\n",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"a" * 70_000,
        b"HTTP/1.1 103 Early Hints\r\n\r\ngarbage\r\n\r\n",
    ],
)
async def test_answers_that_are_none(world: World, wire: bytes) -> None:
    connection = await to(world, says(wire))
    connection.begin("GET", REQUEST, world.deadlines.now_s + 30)
    with pytest.raises(Refused) as caught:
        while True:
            await connection.response()
    assert caught.value.reason is Reason.DESTINATION_MALFORMED
    await eventually(lambda: connection.closed)


async def test_a_body_over_its_bound(world: World) -> None:
    upstream = await world.upstream(says(OK))
    connection = await world.client(upstream.port, limits=Limits(body_bytes_max=4))
    await connection.ready
    with pytest.raises(Refused) as caught:
        await ask(connection, world)
    assert caught.value.reason is Reason.DESTINATION_MALFORMED


async def test_a_chunk_that_is_none_never_ends_well(world: World) -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    connection = await to(world, says(head + b"2\r\nab\r\n", b"zz\r\n", b"0\r\n\r\n"))
    await ask(connection, world)
    with pytest.raises(Refused) as caught:
        await body_of(connection)
    assert caught.value.reason is Reason.DESTINATION_MALFORMED
    for _ in range(20):
        await asyncio.sleep(0)
    assert not connection.complete
    assert not connection.reusable


async def test_interim_answers_come_one_by_one(world: World) -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n"
    connection = await to(world, says(interim * 2 + OK))
    assert (await ask(connection, world)).status == 103
    for _ in range(10):
        await asyncio.sleep(0)
    assert (await connection.response()).status == 103
    assert (await connection.response()).status == 200
    assert await body_of(connection) == b"hello"


async def test_no_answer_in_time(world: World) -> None:
    connection = await to(world, says())
    connection.begin("GET", REQUEST, world.deadlines.now_s + 30)
    waiting = asyncio.ensure_future(connection.response())
    await asyncio.sleep(0)
    world.deadlines.advance(29)
    assert not waiting.done()
    world.deadlines.advance(1)
    with pytest.raises(Refused) as caught:
        await waiting
    assert caught.value.reason is Reason.DESTINATION_TIMEOUT
    with pytest.raises(Refused) as caught:
        await connection.response()
    assert caught.value.reason is Reason.DESTINATION_TIMEOUT


async def test_an_idle_connection_is_closed_in_order(world: World) -> None:
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK)
        ended.set_result(await peer.end())

    connection = await to(world, script)
    await ask(connection, world)
    await body_of(connection)
    lost: list[ClientConnection] = []
    connection.when_lost = lost.append
    connection.deadline_s = world.deadlines.now_s + 60
    world.deadlines.advance(60)
    assert await ended == "eof"
    await eventually(lambda: lost)
    assert lost == [connection]


async def test_break_off_and_end(world: World) -> None:
    connection = await to(world, says())
    connection.begin("GET", REQUEST, world.deadlines.now_s + 30)
    connection.break_off(Refused(Reason.BODY_TRUNCATED, "x"))
    with pytest.raises(Refused) as caught:
        await connection.response()
    assert caught.value.reason is Reason.BODY_TRUNCATED
    other = await to(world, says())
    other.begin("GET", REQUEST, world.deadlines.now_s + 30)
    other.end()
    assert other.closed
    assert await other.read() == b""
    assert other.take() == b""
    third = await to(world, says())
    third.end()
    assert third.closed


async def test_a_waiter_that_gave_up_harms_nobody(world: World) -> None:
    connection = await to(world, says())
    connection.begin("GET", REQUEST, world.deadlines.now_s + 30)
    waiting = asyncio.ensure_future(connection.response())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    connection.abort()
    await eventually(connection.transport.is_closing)


# Who is at the other end


def peer_admit(certificate: bytes | None) -> Identity:
    return peer_of(certificate or b"")


@pytest.fixture(scope="module")
def gate(authority: CertificateAuthority) -> Issued:
    return authority.issue("ns/shop/sa/gate")


@pytest.fixture(scope="module")
def caller(authority: CertificateAuthority) -> Issued:
    return authority.issue("ns/shop/sa/caller")


async def silent(peer: Peer) -> None:
    """Keep what comes; the client never gets an answer."""
    got = await peer.reader.read()
    if got:
        raise AssertionError(f"written to the wrong peer: {got!r}")


async def refused_by(connection: ClientConnection) -> Reason:
    with pytest.raises(Refused) as caught:
        await connection.ready
    return caught.value.reason


async def test_the_peer_is_pinned_before_a_byte_is_written(
    world: World, authority: CertificateAuthority, gate: Issued, caller: Issued
) -> None:
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def listen(peer: Peer) -> None:
        heard.set_result(await peer.reader.read())

    def someone_else(_certificate: bytes | None) -> Identity:
        raise Refused(Reason.DESTINATION_IDENTITY, "another workload answered")

    upstream = await world.upstream(listen, authority.server(gate))
    connection = await world.client(upstream.port, authority.client(caller), someone_else)
    assert await refused_by(connection) is Reason.DESTINATION_IDENTITY
    connection.begin("GET", REQUEST, world.deadlines.now_s + 30)
    with pytest.raises(Refused):
        await connection.response()
    assert await heard == b""


async def test_certificates_that_no_destination_has(
    world: World, authority: CertificateAuthority, gate: Issued, caller: Issued
) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec

    def unreadable(_certificate: bytes | None) -> Identity:
        raise SvidError("no")

    odd = authority.issue("ns/shop/sa/gate", curve=ec.SECP384R1())
    for leaf, admit in ((gate, unreadable), (odd, peer_admit)):
        upstream = await world.upstream(silent, authority.server(leaf))
        connection = await world.client(upstream.port, authority.client(caller), admit)
        assert await refused_by(connection) is Reason.DESTINATION_IDENTITY
    other = CertificateAuthority()
    upstream = await world.upstream(silent, other.server(other.issue("ns/shop/sa/gate")))
    connection = await world.client(upstream.port, authority.client(caller), peer_admit)
    assert await refused_by(connection) is Reason.DESTINATION_IDENTITY


async def test_a_good_peer_is_known(
    world: World, authority: CertificateAuthority, gate: Issued, caller: Issued
) -> None:
    upstream = await world.upstream(says(OK), authority.server(gate))
    connection = await world.client(upstream.port, authority.client(caller), peer_admit)
    await connection.ready
    assert connection.peer is not None
    assert connection.peer.id == gate.id
    await ask(connection, world)
    assert await body_of(connection) == b"hello"


async def test_handshakes_that_lead_nowhere(
    world: World, authority: CertificateAuthority, caller: Issued
) -> None:
    context = authority.client(caller)
    garbage = await world.upstream(lambda peer: peer.send(OK))
    assert await refused_by(await world.client(garbage.port, context, peer_admit)) in {
        Reason.DESTINATION_IDENTITY,
        Reason.DESTINATION_UNREACHABLE,
    }

    async def closes(_peer: Peer) -> None:
        return

    closing = await world.upstream(closes)
    connection = await world.client(closing.port, context, peer_admit)
    assert await refused_by(connection) is Reason.DESTINATION_UNREACHABLE

    async def hangs(peer: Peer) -> None:
        await peer.end()

    hanging = await world.upstream(hangs)
    connection = await world.client(hanging.port, context, peer_admit)
    world.deadlines.advance(HANDSHAKE_S - 1)
    assert not connection.ready.done()
    world.deadlines.advance(1)
    assert await refused_by(connection) is Reason.DESTINATION_UNREACHABLE


async def test_a_server_that_refuses_our_certificate_afterwards(
    world: World, authority: CertificateAuthority, gate: Issued
) -> None:
    """In TLS 1.3 the client learns it only when it already believes in the connection."""
    upstream = await world.upstream(silent, authority.server(gate))
    connection = await world.client(upstream.port, authority.client(None), peer_admit)
    await connection.ready
    with pytest.raises(Refused) as caught:
        await ask(connection, world)
    assert caught.value.reason is Reason.DESTINATION_RESET


async def test_tls_1_2_destinations_are_refused(
    world: World, authority: CertificateAuthority, gate: Issued, caller: Issued
) -> None:
    old = authority.server(gate)
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    upstream = await world.upstream(silent, old)
    connection = await world.client(upstream.port, authority.client(caller), peer_admit)
    assert await refused_by(connection) in {
        Reason.DESTINATION_IDENTITY,
        Reason.DESTINATION_UNREACHABLE,
    }
