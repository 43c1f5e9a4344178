"""The HTTP/1.1 driver of a listener: one task per connection, one stream at a time on it.

Invariants: the next request of a connection is parsed only after the last response is finished
(pipelined requests wait, bounded); after an early final response or any refusal of the bytes the
connection is closed; a request that was refused by the codec never becomes a stream.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, cast

from policy.reason import Reason
from sidecar.http.exchange import Exchange
from sidecar.http.head import BY_LENGTH, Limits, Refused, RequestHead
from sidecar.http.http1 import HeadReader
from sidecar.http.refusal import refusal
from sidecar.http.stream import Connection
from sidecar.identity.peer import Peer
from sidecar.net.deadlines import NEVER, Deadlines
from sidecar.net.link import Link
from sidecar.net.tls import TlsFailure

PIPELINED_BYTES_MAX: Final = 131_072

Handler = Callable[[Exchange], Awaitable[None]]

log = logging.getLogger("narrowgate.server")


@dataclass
class Door:
    """What every connection of one listener shares. `admit` turns a certificate into a peer."""

    name: str
    handler: Handler
    deadlines: Deadlines
    limits: Limits
    handshake_s: float
    head_s: float
    idle_s: float
    connections_max: int
    context: Callable[[], ssl.SSLContext] | None = None
    admit: Callable[[bytes | None], Peer] | None = None
    event: Callable[[str, str], None] = lambda _door, _result: None
    change: Callable[[int], None] = lambda _by: None
    draining: bool = False

    def __post_init__(self) -> None:
        self.open: set[ServerConnection] = set()
        self._emptied: asyncio.Event | None = None

    def connection(self) -> ServerConnection:
        """Make the protocol of a fresh connection."""
        return ServerConnection(self)

    def drain(self) -> None:
        """Finish what is in flight, close what is idle."""
        self.draining = True
        for connection in list(self.open):
            connection.drain_idle()

    async def drained(self) -> None:
        """Wait until the last connection is gone."""
        while self.open:
            if self._emptied is None or self._emptied.is_set():
                self._emptied = asyncio.Event()
            await self._emptied.wait()

    def left(self, connection: ServerConnection) -> None:
        """A connection is gone."""
        if connection in self.open:
            self.open.discard(connection)
            self.change(-1)
        if not self.open and self._emptied is not None:
            self._emptied.set()


class ServerConnection(Link):
    """One caller's connection."""

    def __init__(self, door: Door) -> None:
        context = door.context() if door.context is not None else None
        super().__init__(door.deadlines, context, server_side=True)
        self.door = door
        self.facts: Connection | None = None
        self._buffer = bytearray()
        self._reader = HeadReader(door.limits)
        self._exchange: Exchange | None = None
        self._arrival: asyncio.Future[None] | None = None
        self._next: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._input_over = False

    # Link events

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Bound the number of connections, then start."""
        door = self.door
        if len(door.open) >= door.connections_max or door.draining:
            self.transport = cast(asyncio.Transport, transport)
            door.event(door.name, Reason.TOO_MANY.label)
            self.abort()
            return
        door.open.add(self)
        door.change(1)
        self.deadline_s = door.deadlines.now_s + door.handshake_s
        super().connection_made(transport)

    def opened(self) -> None:
        """Identify the peer; without an identity there is no stream."""
        door = self.door
        peer = None
        if door.admit is not None:
            try:
                peer = door.admit(self.peer_certificate())
            except (ValueError, Refused):  # an SvidError, or a key that no SVID has
                door.event(door.name, Reason.PEER_UNVERIFIED.label)
                self.close()
                return
        if self._tls is not None:
            door.event(door.name, "ok")
        remote = self.transport.get_extra_info("peername") or ("", 0)
        local = self.transport.get_extra_info("sockname") or ("", 0)
        self.facts = Connection(peer, _address(remote), _address(local), self._tls is not None)
        self.deadline_s = door.deadlines.now_s + door.idle_s
        self._task = asyncio.get_running_loop().create_task(self._serve())

    def refused(self, failure: TlsFailure) -> None:
        """Count the broken handshake or record."""
        self.door.event(self.door.name, str(failure))

    def received(self, data: bytes) -> None:
        """Feed the stream that is open, or look for the next head."""
        exchange = self._exchange
        if exchange is not None and not exchange.intake.complete:
            data = exchange.intake.feed(data)
            if not data:
                return
        self._buffer += data
        if exchange is not None:
            if len(self._buffer) > PIPELINED_BYTES_MAX:
                self.pause()
            return
        self._parse()

    def ended(self) -> None:
        """The peer sends no more: finish what it asked, then close."""
        self._input_over = True
        exchange = self._exchange
        if exchange is None:
            self.close()
            return
        exchange.intake.eof()

    def lost(self) -> None:
        """Wake the stream and the task; both end."""
        self.door.left(self)
        if self._exchange is not None:
            self._exchange.gone()
        self._wake()

    def expire(self) -> None:
        """Too slow: a half-sent head is told so, anything else is just closed."""
        if self.closed:
            self.abort()
        elif self._exchange is None and self._buffer and self.facts is not None:
            self._refuse(Refused(Reason.HEAD_TIMEOUT, "the head did not arrive in time"))
        elif self._exchange is not None:
            self._exchange.expire()
        else:
            self.close()

    # For the exchange and the door

    def resume(self) -> None:
        """Take input again, unless more than enough of it waits for its turn."""
        exchange = self._exchange
        full = len(self._buffer) > PIPELINED_BYTES_MAX
        if not full or (exchange is not None and not exchange.intake.complete):
            super().resume()

    def drain_idle(self) -> None:
        """Close now if no request is in flight; otherwise it closes after the response."""
        if self._exchange is not None:
            self._exchange.draining = True
        elif not self._buffer:
            self.close()

    # The loop

    async def _serve(self) -> None:
        while not self.closed:
            exchange = await self._arrived()
            if exchange is None:
                return
            try:
                await self.door.handler(exchange)
            except Exception:
                log.exception("%s: a handler failed; its connection is closed", self.door.name)
                self.door.event(self.door.name, Reason.INTERNAL.label)
                exchange.reset()
            finally:
                exchange.conclude()
            self._after(exchange)

    async def _arrived(self) -> Exchange | None:
        while self._next is None and not self.closed:
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival
        exchange, self._next = self._next, None
        return None if self.closed else exchange

    def _after(self, exchange: Exchange) -> None:
        self._exchange = None
        if self.closed:
            return
        if not exchange.reusable or self.door.draining:
            self._leave(exchange)
            return
        self.deadline_s = self._deadlines.now_s + self.door.idle_s
        if self._buffer:
            self._parse()
        self.resume()
        if self._input_over and self._exchange is None:
            self.close()

    def _leave(self, exchange: Exchange) -> None:
        """Close; a caller that is still sending is heard out, or it would lose our answer."""
        sending = not exchange.complete or self._paused or self._buffer
        self._buffer.clear()
        if sending and not self._input_over:
            self.linger()
        else:
            self.close()

    def _parse(self) -> None:
        try:
            parsed = self._reader.request(self._buffer)
            if parsed is None:
                self._await_rest_of_head()
                return
            head, used = parsed
            del self._buffer[:used]
            self._begin(head)
        except Refused as refused:
            self._refuse(refused)

    def _await_rest_of_head(self) -> None:
        # The bound holds for the whole head: a byte now and then does not move it (slowloris).
        head_deadline_s = self._deadlines.now_s + self.door.head_s
        self.deadline_s = min(self.deadline_s, head_deadline_s)

    def _begin(self, head: RequestHead) -> None:
        facts = self.facts
        if facts is None:
            raise RuntimeError("a head was parsed before the peer was identified")
        self.deadline_s = NEVER
        buffer, whole = self._buffer, b""
        if head.framing is BY_LENGTH and len(buffer) >= head.length:
            whole = bytes(buffer[: head.length])
            del buffer[: head.length]
        door = self.door
        exchange = self._exchange = self._next = Exchange(
            self, head, facts, door.limits, draining=door.draining, whole=whole
        )
        if buffer and not exchange.intake.complete:
            buffer[:] = exchange.intake.feed(bytes(buffer))
        if self._input_over:
            exchange.intake.eof()
        self._wake()

    def _refuse(self, refused: Refused) -> None:
        """Answer bytes that are no request, and close: what follows cannot be framed."""
        self._buffer.clear()
        authenticated = self.facts is not None and self.facts.peer is not None
        self.door.event(self.door.name, refused.reason.label)
        self.write(refusal(refused.reason, authenticated=authenticated))
        if self._input_over:
            self.close()
        else:
            self.linger()
        self._wake()

    def _wake(self) -> None:
        waiter, self._arrival = self._arrival, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


def _address(found: object) -> tuple[str, int]:
    match found:
        case (str(host), int(port), *_):
            return host, port
        case _:
            return "", 0
