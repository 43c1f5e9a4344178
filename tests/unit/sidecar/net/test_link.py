"""The link over real sockets, plain and TLS: its events, its bounds, and how it ends."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import cast

import pytest

from sidecar.net.link import CLOSE_S, WRITE_BYTES_HIGH, Link
from sidecar.net.tls import TlsFailure
from tests.support.certs import CertificateAuthority, Issued
from tests.support.peers import Peer
from tests.support.world import World, eventually


class Recorder(Link):
    """Keeps its events in order."""

    def __init__(self, world: World, tls: ssl.SSLContext | None) -> None:
        super().__init__(world.deadlines, tls, server_side=True)
        self.events: list[str] = []
        self.got = bytearray()
        self.gone = asyncio.Event()

    def opened(self) -> None:
        self.events.append("opened")

    def received(self, data: bytes) -> None:
        self.got += data

    def ended(self) -> None:
        self.events.append("ended")

    def cut(self) -> None:
        self.events.append("cut")

    def refused(self, failure: TlsFailure) -> None:
        self.events.append("refused")

    def lost(self) -> None:
        self.events.append("lost")
        self.gone.set()


@pytest.fixture(scope="module")
def gate(authority: CertificateAuthority) -> Issued:
    return authority.issue("ns/shop/sa/gate")


@pytest.fixture(params=["plain", "tls"])
def contexts(
    request: pytest.FixtureRequest, authority: CertificateAuthority, gate: Issued
) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
    if request.param == "plain":
        return None, None
    return authority.server(gate), authority.client(gate)


async def linked(
    world: World, contexts: tuple[ssl.SSLContext | None, ssl.SSLContext | None]
) -> tuple[Recorder, Peer]:
    made: list[Recorder] = []

    def factory() -> Recorder:
        made.append(Recorder(world, contexts[0]))
        return made[-1]

    listening = await world.network.listen(factory, "127.0.0.1", 0)
    port = cast(asyncio.Server, listening).sockets[0].getsockname()[1]
    peer = await world.connect(port, contexts[1])
    listening.close()
    await eventually(lambda: made and made[0].events)
    return made[0], peer


Contexts = tuple[ssl.SSLContext | None, ssl.SSLContext | None]


async def test_bytes_both_ways_and_an_orderly_close(world: World, contexts: Contexts) -> None:
    link, peer = await linked(world, contexts)
    await peer.send(b"question")
    await eventually(lambda: len(link.got) == 8)
    link.write(b"")
    link.write(b"answer")
    link.close()
    link.close()
    link.write(b"too late")
    assert await peer.rest() == b"answer"
    peer.close()
    await link.gone.wait()
    assert link.events == ["opened", "lost"]
    link.pause()
    link.resume()
    link.abort()
    link.linger()
    assert world.deadlines.watched == 0


async def test_an_abort_is_a_reset_even_when_all_was_sent(world: World, contexts: Contexts) -> None:
    """Otherwise a body that ends with the connection would look complete."""
    link, peer = await linked(world, contexts)
    link.write(b"half")
    assert await peer.reader.readexactly(4) == b"half"
    link.abort()
    link.abort()
    assert await peer.end() == "reset"
    await link.gone.wait()


async def test_half_close(world: World) -> None:
    link, peer = await linked(world, (None, None))
    await peer.send(b"all")
    peer.half_close()
    await eventually(lambda: "ended" in link.events)
    link.write(b"answer")
    link.close()
    assert await peer.rest() == b"answer"
    assert link.events[:2] == ["opened", "ended"]


async def test_tls_that_ends_without_close_notify_was_cut(
    world: World, authority: CertificateAuthority, gate: Issued
) -> None:
    link, peer = await linked(world, (authority.server(gate), authority.client(gate)))
    await peer.send(b"all")
    await eventually(lambda: len(link.got) == 3)
    found = peer.writer.get_extra_info("socket")
    with socket.socket(fileno=socket.dup(found.fileno())) as raw:
        raw.shutdown(socket.SHUT_WR)
    await eventually(lambda: len(link.events) > 1)
    assert link.events == ["opened", "cut"]
    link.abort()


async def test_tls_that_ends_well(
    world: World, authority: CertificateAuthority, gate: Issued
) -> None:
    link, peer = await linked(world, (authority.server(gate), authority.client(gate)))
    peer.close()
    await eventually(lambda: len(link.events) > 1)
    assert link.events == ["opened", "ended"]
    link.close()
    await link.gone.wait()


async def test_lingering_hears_the_peer_out(world: World, contexts: Contexts) -> None:
    """The answer arrives although the peer goes on sending what nobody reads."""
    link, peer = await linked(world, contexts)
    link.pause()
    for _ in range(64):
        peer.writer.write(b"x" * 65_536)
    link.write(b"answer")
    link.linger()
    link.linger()
    assert await peer.reader.readexactly(6) == b"answer"
    if contexts[0] is None:
        await peer.writer.drain()
    peer.close()
    await link.gone.wait()
    assert link.events == ["opened", "lost"]
    assert not link.got


async def test_lingering_ends(world: World, contexts: Contexts) -> None:
    link, peer = await linked(world, contexts)
    link.linger()
    world.deadlines.advance(CLOSE_S - 1)
    assert not link.gone.is_set()
    world.deadlines.advance(1)
    await link.gone.wait()
    assert await peer.end() in {"reset", "eof"}


async def test_lingering_on_a_connection_that_was_reset(world: World) -> None:
    """Shutting down a socket that the peer has reset raises ENOTCONN: no failure of ours."""
    link, peer = await linked(world, (None, None))
    link.pause()
    peer.reset()
    await asyncio.sleep(0)
    link.linger()
    world.deadlines.advance(CLOSE_S)
    await link.gone.wait()


async def test_a_close_that_nobody_reads_ends(world: World) -> None:
    link, peer = await linked(world, (None, None))
    peer.hold()
    while not link.blocked:
        link.write(b"x" * 1_000_000)
    link.close()
    world.deadlines.advance(CLOSE_S)
    await link.gone.wait()


async def test_drain_waits_for_the_peer_and_for_its_loss(world: World, contexts: Contexts) -> None:
    link, peer = await linked(world, contexts)
    await link.drain()
    peer.hold()
    sent = 0
    while not link.blocked:
        link.write(b"x" * 65_536)
        sent += 65_536
    assert link.transport.get_write_buffer_size() <= WRITE_BYTES_HIGH + 2 * 65_536
    waiting = [asyncio.ensure_future(link.drain()) for _ in range(2)]
    await asyncio.sleep(0)
    waiting.pop().cancel()
    peer.let_go()
    await peer.reader.readexactly(sent)
    await waiting[0]
    assert not link.blocked
    peer.hold()
    while not link.blocked:
        link.write(b"x" * 65_536)
    waiter = asyncio.ensure_future(link.drain())
    await asyncio.sleep(0)
    link.abort()
    await waiter


async def test_pausing_stops_the_input(world: World, contexts: Contexts) -> None:
    link, peer = await linked(world, contexts)
    link.pause()
    link.pause()
    for _ in range(128):
        peer.writer.write(b"x" * 65_536)
    await eventually(lambda: peer.writer.transport.get_write_buffer_size() > 0)
    assert len(link.got) == 0
    link.resume()
    link.resume()
    await eventually(lambda: len(link.got) == 128 * 65_536)


async def test_a_flood_after_close_notify_is_not_kept(
    world: World, authority: CertificateAuthority, gate: Issued
) -> None:
    link, peer = await linked(world, (authority.server(gate), authority.client(gate)))
    found = peer.writer.get_extra_info("socket")
    peer.close()
    with socket.socket(fileno=socket.dup(found.fileno())) as raw:
        raw.setblocking(False)
        await eventually(lambda: "ended" in link.events)
        tls = link._tls
        assert tls is not None
        for _ in range(64):
            tls_flood(link, b"\x17\x03\x03\x40\x00" + b"x" * 16_384)
        assert tls._in.pending == 0
    link.abort()
    await link.gone.wait()


def tls_flood(link: Link, data: bytes) -> None:
    link.data_received(data)


async def test_what_tls_refuses_closes(
    world: World, authority: CertificateAuthority, gate: Issued
) -> None:
    made: list[Recorder] = []

    def factory() -> Recorder:
        made.append(Recorder(world, authority.server(gate)))
        return made[-1]

    listening = await world.network.listen(factory, "127.0.0.1", 0)
    port = cast(asyncio.Server, listening).sockets[0].getsockname()[1]
    peer = await world.connect(port)
    await peer.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" * 10)
    await peer.end()
    await eventually(lambda: made)
    await made[0].gone.wait()
    assert made[0].events == ["refused", "lost"]
    quiet = await world.connect(port)
    quiet.half_close()
    assert await quiet.end() == "eof"
    await eventually(lambda: len(made) == 2 and made[1].gone.is_set())
    assert made[1].events == ["lost"]
    listening.close()


Factory = Callable[[], asyncio.Protocol]
