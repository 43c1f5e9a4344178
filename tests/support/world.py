"""A small world around one gate: doors, raw peers, deadlines moved by hand, and a watchful loop.

Whatever reaches the loop's exception handler (an exception in a protocol callback, a task whose
error nobody retrieved) fails the test that owns the world.
"""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from sidecar.http.client import Admit, ClientConnection
from sidecar.http.exchange import Exchange
from sidecar.http.head import Framing, Limits, Refused, ResponseHead
from sidecar.http.http1 import encode_request
from sidecar.http.refusal import phrase
from sidecar.http.relay import Relay
from sidecar.http.server import Door, Handler
from sidecar.http.stream import Reset
from sidecar.net.deadlines import NEVER, Deadlines
from sidecar.net.link import Link
from sidecar.net.network import LoopNetwork
from tests.support.peers import Peer, Script, Upstream

HEAD_S = 10.0
IDLE_S = 60.0
HANDSHAKE_S = 5.0
FIRST_BYTE_S = 30.0
SILENCE_S = 20.0
REQUEST_S = 300.0
TURNS_MAX = 50_000


class HandDeadlines(Deadlines):
    """Time passes only when a test says so."""

    def start(self) -> None:
        self.now_s = 1000.0

    def stop(self) -> None:
        self._waiting.clear()

    def advance(self, seconds: float) -> None:
        """What a tick does, `seconds` later."""
        self.now_s += seconds
        for waiting in [one for one in self._waiting if one.deadline_s <= self.now_s]:
            waiting.deadline_s = NEVER
            waiting.expire()

    def links(self) -> list[Link]:
        return [one for one in self._waiting if isinstance(one, Link)]

    @property
    def watched(self) -> int:
        return len(self._waiting)


class Opened:
    """An open door: where it listens, and what it counted."""

    def __init__(self, door: Door, port: int) -> None:
        self.door = door
        self.port = port
        self.events: list[str] = []
        self.count = 0
        door.event = lambda _name, result: self.events.append(result)
        door.change = self._change

    def _change(self, by: int) -> None:
        self.count += by


class World:
    """Everything one test opened, closed again at its end."""

    def __init__(self) -> None:
        self.deadlines = HandDeadlines()
        self.deadlines.start()
        self.network = LoopNetwork()
        self.limits = Limits()
        self.faults: list[dict[str, Any]] = []
        self._closers: list[Callable[[], object]] = []
        self._upstreams: list[Upstream] = []
        self._peers: list[Peer] = []
        self._doors: list[Door] = []

    async def door(self, handler: Handler, **changes: Any) -> Opened:
        """Open a door on a free port."""
        settings: dict[str, Any] = {
            "limits": self.limits,
            "handshake_s": HANDSHAKE_S,
            "head_s": HEAD_S,
            "idle_s": IDLE_S,
            "connections_max": 64,
        }
        door = Door(
            name="inbound", handler=handler, deadlines=self.deadlines, **(settings | changes)
        )
        listening = await self.network.listen(door.connection, "127.0.0.1", 0)
        self._closers.append(listening.close)
        self._doors.append(door)
        port = cast(asyncio.Server, listening).sockets[0].getsockname()[1]
        return Opened(door, port)

    async def upstream(self, script: Script, tls: ssl.SSLContext | None = None) -> Upstream:
        """Open a raw server."""
        made = Upstream(script, tls)
        await made.open()
        self._upstreams.append(made)
        return made

    async def connect(self, port: int, tls: ssl.SSLContext | None = None) -> Peer:
        """A raw client."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, limit=1 << 20)
        self._peers.append(Peer(reader, writer))
        return self._peers[-1]

    async def client(
        self,
        port: int,
        tls: ssl.SSLContext | None = None,
        admit: Admit | None = None,
        *,
        limits: Limits | None = None,
    ) -> ClientConnection:
        """Our own client connection, ready or not: await its `ready`."""

        def factory() -> ClientConnection:
            made = ClientConnection(self.deadlines, limits or self.limits, tls, admit)
            made.deadline_s = self.deadlines.now_s + HANDSHAKE_S
            return made

        made = await self.network.connect(factory, "127.0.0.1", port)
        if not isinstance(made, ClientConnection):
            raise TypeError("not ours")
        return made

    def gateway(self, port: int, tls: ssl.SSLContext | None = None) -> Gateway:
        """A handler that relays each request to `port`."""
        return Gateway(self, port, tls)

    async def close(self) -> None:
        for close in self._closers:
            close()
        for peer in self._peers:
            peer.writer.transport.abort()
        for link in self.deadlines.links():
            link.abort()
        for upstream in self._upstreams:
            await upstream.close()
        for door in self._doors:
            for connection in list(door.open):
                connection.abort()
            await door.drained()


class Gateway:
    """What a gate does with a stream, reduced to the relay. `outcomes` tells how each one ended."""

    def __init__(self, world: World, port: int, tls: ssl.SSLContext | None) -> None:
        self._world = world
        self._port = port
        self._tls = tls
        self.outcomes: asyncio.Queue[str] = asyncio.Queue()
        self.connections: list[ClientConnection] = []
        self.streams: list[Exchange] = []
        self.keep = False

    async def __call__(self, stream: Exchange) -> None:
        world = self._world
        self.streams.append(stream)
        stream.deadline_s = world.deadlines.now_s + REQUEST_S
        try:
            await self._relay(stream)
        except Refused as refused:
            self.outcomes.put_nowait(refused.reason.label)
            if stream.started:
                stream.reset()
            else:
                answer(stream, refused.reason.status, refused.reason.label.encode())
        except Reset:
            self.outcomes.put_nowait("reset")
            stream.reset()
        else:
            self.outcomes.put_nowait("ok")

    async def _relay(self, stream: Exchange) -> None:
        world = self._world
        upstream = await self._connection()
        head = stream.head
        data = encode_request(
            head.method,
            head.target,
            head.authority.encode() or b"none",
            head.fields,
            head.framing,
            head.length,
        )
        relay = Relay(
            stream,
            upstream,
            world.deadlines.loop_s,
            first_byte_s=FIRST_BYTE_S,
            idle_s=SILENCE_S,
        )
        await relay.run(data, b"", lambda _head: None)

    async def _connection(self) -> ClientConnection:
        if self.keep and self.connections and self.connections[-1].reusable:
            return self.connections[-1]
        made = await self._world.client(self._port, self._tls)
        self.connections.append(made)
        await made.ready
        return made


def answer(
    stream: Exchange,
    status: int = 200,
    body: bytes = b"",
    framing: Framing = Framing.LENGTH,
) -> None:
    """Answer a stream with `body`."""
    length = len(body) if framing is Framing.LENGTH else -1
    stream.start(ResponseHead(status, phrase(status), [], framing, length))
    if body:
        stream.write(body)
    stream.finish([])


async def echo(stream: Exchange) -> None:
    """Answer with the method, the target and the whole body."""
    body = bytearray()
    try:
        while chunk := await stream.read():
            body += chunk
    except Refused as refused:
        answer(stream, refused.reason.status, refused.reason.label.encode())
        return
    except Reset:
        stream.reset()
        return
    answer(
        stream, 200, b"%b %b %b" % (stream.head.method.encode(), stream.head.target, bytes(body))
    )


async def eventually(happened: Callable[[], object]) -> None:
    """Let the loop turn until it happened, or fail after very many turns."""
    for _ in range(TURNS_MAX):
        if happened():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not happen")


@asynccontextmanager
async def opened_world() -> AsyncIterator[World]:
    """A world, and the proof that nothing in it failed unseen."""
    made = World()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: made.faults.append(context))
    try:
        yield made
    finally:
        await made.close()
        await eventually(lambda: not made.deadlines.watched)
        gc.collect()
        await asyncio.sleep(0)
        loop.set_exception_handler(None)
    if made.faults:
        raise AssertionError(f"unseen failures: {made.faults}")
