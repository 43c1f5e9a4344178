"""A link: one byte connection, plain or TLS, on which a codec is built by subclassing.

The link reads, feeds and writes; it knows nothing of HTTP. Invariants: `received()` sees plaintext
of an established connection only; after `lost()` nothing is called any more; unread input and
unwritten output are bounded (`pause()`, `blocked`).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from contextlib import suppress
from typing import Final, cast

from sidecar.net.deadlines import NEVER, Deadlines
from sidecar.net.tls import Tls, TlsFailure

WRITE_BYTES_HIGH: Final = 262_144
CLOSE_S: Final = 5.0
"""How long a closing connection may take to swallow what was written."""
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of zero seconds: closing sends RST and drops what was not sent."""


class Link(asyncio.Protocol):
    """Subclass it: `opened`, `received`, `ended`, `lost`, `expire` are the events."""

    transport: asyncio.Transport

    def __init__(
        self, deadlines: Deadlines, context: ssl.SSLContext | None, *, server_side: bool
    ) -> None:
        self._deadlines = deadlines
        self._tls = Tls(context, server_side=server_side) if context is not None else None
        self.deadline_s = NEVER
        self.blocked = False
        self.closed = False
        self._paused = False
        self._gone = False
        self._drained: asyncio.Future[None] | None = None

    # Events for the subclass.

    def opened(self) -> None:
        """The connection stands; with TLS, the handshake is complete."""

    def received(self, data: bytes) -> None:
        """Plaintext came."""

    def ended(self) -> None:
        """The peer sends no more."""
        self.close()

    def cut(self) -> None:
        """TCP ended without TLS's close_notify: a truncation, perhaps (RFC 8446 section 6.1).

        Nothing whose end is the end of the connection is complete then. Otherwise as `ended`.
        """
        self.ended()

    def refused(self, failure: TlsFailure) -> None:
        """The peer's TLS was refused; the connection is closed already."""

    def lost(self) -> None:
        """The connection is gone."""

    def expire(self) -> None:
        """The deadline has passed. A closing connection is always aborted then."""
        self.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start TLS, or open at once."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=WRITE_BYTES_HIGH)
        self._deadlines.add(self)
        if self._tls is None:
            self.opened()
            return
        self._tls.start()
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Decrypt, and hand on what became readable."""
        if self.closed:
            return
        tls = self._tls
        if tls is None:
            self.received(data)
            return
        fresh = not tls.established
        try:
            plaintext = tls.feed(data)
        except TlsFailure as failure:
            self._flush()
            self.refused(failure)
            self.abort_after_flush()
            return
        if fresh:
            self._flush()
            if not tls.established:
                return
            self.opened()
        if plaintext and not self.closed:
            self.received(plaintext)
        if tls.closed and not self.closed:
            self.ended()

    def eof_received(self) -> bool:
        """The peer half-closed TCP: with TLS that is the end, in plain text the input's end."""
        tls = self._tls
        if self.closed or (tls is not None and not tls.established):
            return False
        if tls is None:
            self.ended()
        elif not tls.closed:
            self.cut()
        return not self.closed

    def connection_lost(self, exc: Exception | None) -> None:
        """Release everything that waits."""
        self.closed = True
        self.blocked = False
        self._gone = True
        self._deadlines.discard(self)
        self._wake_drained()
        self.lost()

    def pause_writing(self) -> None:
        """The peer reads slower than we write."""
        self.blocked = True

    def resume_writing(self) -> None:
        """The peer caught up."""
        self.blocked = False
        self._wake_drained()

    # For the subclass and its users.

    def write(self, data: bytes) -> None:
        """Send plaintext; nothing when the connection is gone."""
        if self.closed or not data:
            return
        if self._tls is None:
            self.transport.write(data)
            return
        try:
            self.transport.write(self._tls.encrypt(data))
        except ssl.SSLError:
            self.abort()

    async def drain(self) -> None:
        """Wait until what was written is below the bound again, or the connection is gone."""
        while self.blocked and not self.closed:
            if self._drained is None:
                self._drained = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._drained)

    def pause(self) -> None:
        """Take no more input: back-pressure."""
        if not self._paused and not self.closed:
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Take input again."""
        if self._paused and not self.closed:
            self._paused = False
            self.transport.resume_reading()

    def peer_certificate(self) -> bytes | None:
        """The verified leaf certificate (DER) of a TLS peer."""
        return None if self._tls is None else self._tls.peer_certificate()

    def close(self) -> None:
        """Close in order, after what was written has been sent."""
        if self.closed:
            return
        if self._tls is not None and self._tls.established:
            self.transport.write(self._tls.close())
        self.abort_after_flush()

    def linger(self) -> None:
        """Send no more, but swallow what still comes until the peer closes (RFC 9112 9.6).

        Closing with unread input would reset the connection, and the peer would lose what was
        written last. Ends after `CLOSE_S` in any case.
        """
        if self.closed:
            return
        if self._tls is not None and self._tls.established:
            self.transport.write(self._tls.close())
        self.resume()
        self.closed = True
        self.deadline_s = self._deadlines.now_s + CLOSE_S
        if not self.transport.can_write_eof():
            self.transport.close()
            return
        try:
            self.transport.write_eof()
        except OSError:  # the peer reset the connection, and the loop does not know it yet
            self.abort()

    def abort_after_flush(self) -> None:
        """Close without TLS ceremony, after what was written has been sent."""
        if not self.closed:
            self.closed = True
            self.deadline_s = self._deadlines.now_s + CLOSE_S
            self.transport.close()

    def abort(self) -> None:
        """Close now; the peer sees a reset, never a well-formed end."""
        self.closed = True
        if self._gone:
            return
        # Without this an abort of all that was sent is a FIN, which ends an HTTP/1.0 body well.
        if (connection := self.transport.get_extra_info("socket")) is not None:
            with suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def _flush(self) -> None:
        if self._tls is not None and (waiting := self._tls.output()):
            self.transport.write(waiting)

    def _wake_drained(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None
